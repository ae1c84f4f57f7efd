"""The description of a form of generator, by which everything else knows it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from fsrcache.models.form import FeatureForm


@dataclass(frozen=True)
class GeneratorForm:
    """A form of generator: its settings, how its network is made, and the features that it works on.

    A generator is a module that turns the features of low-resolution faces into those of their full-resolution ones,
    fp32 ``[B, P]`` to fp32 ``[B, P]``. One that reads early features too has an attribute ``early``, their number
    ``Q``, and takes them, fp32 ``[B, Q]``, as its second argument; ``super_resolve`` calls either.

    Attributes
    ----------
    config
        Class of its settings: a frozen dataclass with a field ``form`` whose default is the form's name in records, and
        with defaults for the others.
    make
        Function of settings, feature form and ``plain`` that returns the untrained network. Its weights come from
        torch's global random state. ``plain`` asks for the computation as it is defined, slower, with the same weights.
    layers
        Function of settings that returns the least number of layers with weights; a file with fewer tensors is refused
        before its network is made.
    vectors
        Whether it works on plain vectors; a form that does not needs triangles of symmetric matrices.
    pictures
        Whether the network also takes and returns symmetric matrices as pictures ``[B, 1, D, D]``. In training it then
        gets those, and critic and generator need no conversion.
    standardise
        Function that gives a network the mean and the standard deviation of the training features over all scales, fp32
        ``[P + Q]`` each, those of early features behind; None for a form that needs no statistics.
    """

    config: type[Any]
    make: Callable[[Any, FeatureForm, bool], nn.Module]
    layers: Callable[[Any], int]
    vectors: bool
    pictures: bool = False
    standardise: Callable[[Any, Tensor, Tensor], None] | None = None

    @property
    def name(self) -> str:
        """The form's name in records."""
        name: str = self.config.form
        return name


def early_width(generator: nn.Module) -> int:
    """Return Q, the number of early values that a generator reads; 0 for one that reads none."""
    width: int = getattr(generator, "early", 0)
    return width


def super_resolve(generator: nn.Module, features: Tensor, early: Tensor | None = None) -> Tensor:
    """Return what a generator makes of features, fp32 [B, P] or pictures [B, 1, D, D], and of early ones, fp32 [B, Q].

    One that reads no early features is given none.

    Raises
    ------
    FsrcacheError
        If it reads early features, and there are none or another number.
    """
    generated: Tensor = generator(features, early) if early_width(generator) else generator(features)
    return generated
