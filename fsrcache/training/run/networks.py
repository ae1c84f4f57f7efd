"""From features, an extractor's head, settings and a seed to a trainer at its first step."""

from dataclasses import replace

import torch

from fsrcache.extractors.extractor import Extractor
from fsrcache.models.critic import make_critic
from fsrcache.models.form import FeatureForm
from fsrcache.models.generators.forms import form_of, make_generator
from fsrcache.presets import TrainConfig
from fsrcache.progress import ProgressCallback, no_progress
from fsrcache.training.data.batches import Batches
from fsrcache.training.data.memory import refuse_too_large
from fsrcache.training.ranks import ALONE, Ranks
from fsrcache.training.run.features import TrainFeatures
from fsrcache.training.run.loop import MOST_STEPS
from fsrcache.training.step.capture import capturer
from fsrcache.training.step.trainer import Trainer
from fsrcache.training.step.updates import Networks


def refuse_impossible_networks(
    config: TrainConfig, form: FeatureForm, *, device: torch.device, plain: bool = False
) -> None:
    """Raise if no networks of some settings can be trained on features of a form; nothing is drawn or allocated.

    Raises
    ------
    RequestError
        If generator or critic need symmetric matrices and the features are plain vectors, their settings do not fit the
        features, or they are too large for the memory.
    """
    with torch.random.fork_rng([]), torch.device("meta"):
        networks = [make_generator(config.generator, form, plain=plain)]
        if config.critic is not None:
            networks.append(make_critic(config.critic, form.side))
    weights = sum(weight.numel() for network in networks for weight in network.parameters())
    named = "The generator" if config.critic is None else "Generator and critic"
    refuse_too_large(weights, networks=named, device=device)


def make_trainer(
    features: TrainFeatures,
    extractor: Extractor,
    config: TrainConfig,
    *,
    seed: int,
    plain: bool = False,
    measured: bool = False,
    ranks: Ranks = ALONE,
    on_progress: ProgressCallback = no_progress,
) -> Trainer:
    """Return a trainer at its first step.

    Parameters
    ----------
    features
        Features that the networks learn from.
    extractor
        Network that made them; a copy of its head is the frozen one.
    config
        Settings of the training.
    seed
        Random seed of the first weights, the batches and all else that is random.
    plain
        Whether every part is computed as it is defined.
    measured
        Whether weights of samples and norms of gradients are counted too.
    ranks
        The processes that share every batch.
    on_progress
        Callback while the features' moments are computed.

    Raises
    ------
    RequestError
        If generator or critic need symmetric matrices and the features are plain vectors.
    """
    device = features.device
    torch.manual_seed(seed)
    form = replace(extractor.form, early=features.early)
    generator = make_generator(config.generator, form, plain=plain)
    critic = None if config.critic is None else make_critic(config.critic, extractor.form.side).to(device)
    standardise = form_of(config.generator).standardise
    if standardise is not None:
        standardise(generator, *(moment.cpu() for moment in features.source.moments(on_progress)))
    networks = Networks(generator.to(device), critic, extractor.frozen_head().to(device))
    batches = Batches(features.source, config, mode=features.location.mode, seed=seed, device=device, ahead=MOST_STEPS)
    captures = capturer(device, plain=plain)
    return Trainer(networks, batches, config, plain=plain, capturer=captures, measured=measured, ranks=ranks)
