"""fsr-fer-unweighted: fsr-fer without the re-weighting of samples."""

from dataclasses import replace

import fsrcache.rows.fsr_fer as fsr_fer
from fsrcache.rows.trained_generator import generator_row

NAME = "fsr-fer-unweighted"
NOTE = "fsr-fer with equal weights of all samples"
SETTINGS = replace(fsr_fer.SETTINGS, reweight="none")
obstacle, train, predictors = generator_row(NAME, NOTE, SETTINGS)
