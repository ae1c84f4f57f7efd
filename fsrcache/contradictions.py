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
        for name in unread.names if unread.holds(config) else ():
            value, default = getattr(config, name), getattr(type(config), name)
            if value and value != default:
                neutral = "" if isinstance(default, tuple) else str(default).lower()
                raise RequestError(
                    f"TrainConfig.{name} is {repr(value)[:_SHOWN]}, and {unread.why}: it has no effect.",
                    f"Set {name}={neutral}, or {unread.other}.",
                )
    terms = ["perceptual_weight", "l2_weight", "classification_weight", "distillation_weight"]
    terms += [] if config.critic is None else ["adversarial_weight"]
    if not any(getattr(config, name) for name in terms):
        raise RequestError(
            f"TrainConfig has only weights of 0 for the generator: {', '.join(terms)}.", "Set one of them above 0."
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
