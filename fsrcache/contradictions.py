"""Settings of a generator's training that contradict each other: one without effect beside another, nothing learnt."""

from collections.abc import Callable
from typing import Any, NamedTuple

from fsrcache.errors import RequestError

_SHOWN = 60  # characters of a value


class _Unread(NamedTuple):
    """Settings that are not read under a condition.

    Attributes
    ----------
    names
        The settings.
    holds
        The condition, of a ``TrainConfig``.
    why
        The condition in words.
    other
        Assignment under which they are read, in words.
    """

    names: tuple[str, ...]
    holds: Callable[[Any], bool]
    why: str
    other: str


_UNREAD = (
    _Unread(
        ("adversarial_weight", "penalty_weight", "penalty_power", "penalty_norm", "critic_steps", "reweight_critic"),
        lambda config: config.critic is None,
        "there is no critic",
        "critic.filters=64, which adds one",
    ),
    _Unread(
        ("penalty_power", "penalty_norm"),
        lambda config: not config.penalty_weight,
        "penalty_weight is 0",
        "penalty_weight above 0",
    ),
    _Unread(
        ("sigma", "exponent", "reweight_critic"),
        lambda config: config.reweight == "none",
        "reweight is 'none': all samples weigh 1",
        "reweight=lr",
    ),
    _Unread(
        ("milestones",),
        lambda config: config.schedule == "one_cycle",
        "schedule is 'one_cycle', which has none",
        "schedule=milestones",
    ),
    _Unread(
        ("label_smoothing",),
        lambda config: not config.classification_weight,
        "classification_weight is 0",
        "classification_weight above 0",
    ),
    _Unread(
        ("weight_decay",),
        lambda config: config.optimiser == "adam",
        "optimiser is 'adam', which decays nothing",
        "optimiser=adamw",
    ),
)


def refuse_contradictions(config: Any) -> None:
    """Raise if a setting has no effect because of another one, or nothing would be learnt.

    A setting without effect may have its default, or be 0, false or empty.

    Parameters
    ----------
    config
        A ``TrainConfig``.

    Raises
    ------
    RequestError
        With the settings and their values.
    """
    for unread in _UNREAD:
        values = {name: getattr(config, name) for name in unread.names if unread.holds(config)}
        defaults = {name: getattr(type(config), name) for name in values}
        odd = [name for name, value in values.items() if value and value != defaults[name]]
        if odd:
            shown = " and ".join(f"{name} is {repr(values[name])[:_SHOWN]}" for name in odd)
            neutral = " and ".join(f"{name}={_as_set(defaults[name])}" for name in odd)
            effect = "they have" if len(odd) > 1 else "it has"
            raise RequestError(
                f"TrainConfig.{shown}, and {unread.why}: {effect} no effect.", f"Set {neutral}, or {unread.other}."
            )
    terms = ["perceptual_weight", "l2_weight", "classification_weight", "distillation_weight"]
    terms += [] if config.critic is None else ["adversarial_weight"]
    if not any(getattr(config, name) for name in terms):
        raise RequestError(
            f"TrainConfig has only weights of 0 for the generator: {', '.join(terms)}.", "Set one of them above 0."
        )
    if config.critic is not None and not config.adversarial_weight:
        raise RequestError(
            "TrainConfig.adversarial_weight is 0 and there is a critic: it would be trained and reach nothing.",
            "Set critic=none, or adversarial_weight above 0.",
        )
    if config.l2_steps and not config.l2_weight:
        raise RequestError(
            f"TrainConfig.l2_steps is {config.l2_steps:,} and l2_weight is 0: nothing is learnt in these steps.",
            "Set l2_steps=0, or l2_weight above 0.",
        )
    if (members := getattr(config.generator, "members", 1)) > config.batch:
        raise RequestError(
            f"TrainConfig.batch is {config.batch}, and generator.members is {members}, each with a share of it.",
            "Set a batch of at least as many samples, or fewer members.",
        )


def _as_set(default: Any) -> str:
    """Return a default as ``--set`` takes it."""
    return "" if isinstance(default, tuple) else str(default).lower()
