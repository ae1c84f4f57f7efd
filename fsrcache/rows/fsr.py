"""fsr: feature super-resolution by Tan et al. (CVPR 2018), whose losses are squared distance and critic alone."""

from fsrcache.models.generators.fsr import FSRConfig
from fsrcache.presets import CriticConfig, TrainConfig
from fsrcache.rows.trained_generator import generator_row

NAME = "fsr"
NOTE = "Tan et al. (CVPR 2018): its networks, and its losses, squared distance and a critic, here one of WGAN-div"
SETTINGS = TrainConfig(
    generator=FSRConfig(),
    critic=CriticConfig(filters=8, layers="fsr"),
    steps=5_000,  # six epochs of FER2013
    learning_rate=8e-4,
    milestones=(),
    betas=(0.9, 0.999),
    perceptual_weight=0.0,
    l2_weight=1.0,
    reweight="none",
)
obstacle, train, predictors = generator_row(NAME, NOTE, SETTINGS)
