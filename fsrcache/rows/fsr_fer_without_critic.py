"""fsr-fer-without-critic: fsr-fer without critic and adversarial loss."""

from dataclasses import replace

import fsrcache.rows.fsr_fer as fsr_fer
from fsrcache.rows.trained_generator import generator_row

NAME = "fsr-fer-without-critic"
NOTE = "fsr-fer without critic and adversarial loss"
SETTINGS = replace(fsr_fer.SETTINGS, critic=None)
obstacle, train, predictors = generator_row(NAME, NOTE, SETTINGS)
