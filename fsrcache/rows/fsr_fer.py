"""fsr-fer: the paper's generator, critic and losses, at a size that two cores can train."""

from dataclasses import replace

from fsrcache.presets import TRAINING, CriticConfig, RRDBConfig
from fsrcache.rows.trained_generator import generator_row

NAME = "fsr-fer"
NOTE = (
    "the paper's losses and forms of networks at a size that two cores can train: a generator of 2 blocks of 16 "
    "channels on the feature folded by 2, a critic of 8, 8,000 steps"
)
SETTINGS = replace(
    TRAINING["paper"],
    generator=RRDBConfig(filters=16, growth=8, blocks=2, unshuffle=2),
    critic=CriticConfig(filters=8),
    steps=8_000,
    milestones=(400, 1_000, 2_000, 4_000),  # at the paper's shares of the steps
    precision="fp32",
)
obstacle, train, predictors = generator_row(NAME, NOTE, SETTINGS)
