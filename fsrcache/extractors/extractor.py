"""What everything after it knows of a frozen network: pictures in; features, embedding, logits, early ones out."""

import copy
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, Self

import torch
from torch import Tensor, nn

from fsrcache.errors import FsrcacheError, Remedy, RequestError, arguments
from fsrcache.models.form import FeatureForm
from fsrcache.presets import PretrainConfig, Side
from fsrcache.records import check_value, shortened
from fsrcache.spd import vech_length

LUMA = (19595, 38470, 7471)  # of 65536: Rec. 601 as Pillow computes it
_PROBED = 2  # random pictures on which a network shows its widths
_AGREEMENT = 1e-3  # relative distance between a network's logits and its head's


class FrozenNetwork(Protocol):
    """A network that can be an extractor: an ``nn.Module`` with these attributes, in evaluation mode.

    It may also have ``spd_side``, D, where features are the triangles (``fsrcache.spd.vech``) of D x D symmetric
    matrices, and ``preprocessing``, a text that names what ``embed`` does to the pixels; it must have that where
    ``embed`` is no method of its class whose source can be read. ``embed`` may return a fourth tensor, always or never:
    early features [B, Q], what an earlier layer says of the pictures. The store keeps them, and a generator of the form
    ``mlp`` reads them beside the feature.

    Attributes
    ----------
    classes
        The K class names in the order of the logits.
    side, channels
        Side S of the square pictures in pixels, and their channels: 1 (grey) or 3 (RGB).
    head
        A module from features [B, P] to (embedding [B, E], logits [B, K]), differentiable.
    """

    classes: tuple[str, ...]
    side: int
    channels: int
    head: nn.Module

    def embed(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """Return features [B, P], embedding [B, E], logits [B, K] and perhaps early features [B, Q], all finite.

        Parameters
        ----------
        pictures
            uint8 ``[B, channels, S, S]``.
        """
        ...


class Taps(NamedTuple):
    """What an extractor says about pictures.

    Attributes
    ----------
    features, embedding, logits
        fp32 [B, P], [B, E] and [B, K].
    early
        fp32 [B, Q], the early features; None where there are none.
    """

    features: Tensor
    embedding: Tensor
    logits: Tensor
    early: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Extractor:
    """A frozen network, what it is and what it was made for.

    Attributes
    ----------
    module
        The network, a ``FrozenNetwork`` in evaluation mode.
    name
        Its name for people and for a store's record, without any folder.
    digest
        Hexadecimal SHA-256 of its weights.
    form, embedding
        What a feature is, and E, the width of the embedding.
    preprocessing
        What it does to the pixels.
    summary
        One line on its shape and training.
    trainable
        Whether its weights can be trained further.
    any_pixels
        Whether it takes grey pictures with one channel, and pixels that are no whole numbers, as they are.
    schedule
        How it was pre-trained; None where that is not known.
    """

    module: Any  # a FrozenNetwork, which is an nn.Module too
    name: str
    digest: str
    form: FeatureForm
    embedding: int
    preprocessing: str
    summary: str = field(repr=False)
    trainable: bool = True
    any_pixels: bool = False
    schedule: PretrainConfig | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The K class names in the order of the logits."""
        return tuple(self.module.classes)

    @property
    def side(self) -> int:
        """Pixels of the square pictures."""
        side: int = self.module.side
        return side

    @property
    def channels(self) -> int:
        """Channels of the pictures, 1 or 3."""
        channels: int = self.module.channels
        return channels

    @property
    def head(self) -> nn.Module:
        """The classifier, features [B, P] -> (embedding [B, E], logits [B, K])."""
        head: nn.Module = self.module.head
        return head

    @property
    def device(self) -> torch.device:
        """The device of its weights."""
        return next(_tensors(self.module)).device

    def to(self, device: torch.device | str) -> Self:
        """Move the network to a device, in place, and return the extractor."""
        self.module.to(device)
        return self

    def embed(self, pictures: Tensor) -> Taps:
        """Return what the network says about pictures.

        Parameters
        ----------
        pictures
            uint8 ``[B, 1 or 3, S, S]`` on its device, or such numbers in floating point, which are rounded. Grey is
            repeated for a network of three channels, and colour becomes luma (Rec. 601, as Pillow's ``L``) for one of a
            single channel.
        """
        if self.any_pixels:
            return _in_fp32(self.module.embed(pictures))
        channels = pictures.shape[1]
        if pictures.is_floating_point():
            pictures = pictures.round().clamp(0, 255).to(torch.uint8)
        if channels == 1 and self.channels == 3:
            pictures = pictures.expand(-1, 3, -1, -1)
        elif channels == 3 and self.channels == 1:
            weights = torch.tensor(LUMA, dtype=torch.int32, device=pictures.device)[:, None, None]
            luma = ((pictures.int() * weights).sum(1, keepdim=True) + (1 << 15)) >> 16
            pictures = luma.to(torch.uint8)
        return self._embed(pictures)

    def _embed(self, pictures: Tensor) -> Taps:
        """Return what the network says about pictures that it takes as they are."""
        try:
            taps = self.module.embed(pictures)
            widths = [tap.shape[1] for tap in taps if tap is not None and len(tap) == len(pictures)]
        except FsrcacheError:
            raise
        except Exception as error:  # whatever somebody's network raises
            raise FsrcacheError(
                f"embed of {self.name} raised {type(error).__name__} on {pictures.dtype} {list(pictures.shape)}: "
                f"{shortened(str(error), most=200)[1:-1]}.",
                "Try it in Python by itself, on as many pictures.",
            ) from error
        first = [self.form.length, self.embedding, len(self.classes), *([self.form.early] if self.form.early else [])]
        if widths != first and not (self.module.training and widths[:3] == first[:3]):  # early ones are for evaluation
            raise FsrcacheError(
                f"embed of {self.name} returns {', '.join(str(list(tap.shape)) for tap in taps if tap is not None)} "
                f"for {len(pictures)} pictures.",
                f"It should return [{len(pictures)}, P], P being {', '.join(map(str, first))} as for the first "
                "pictures.",
            )
        return _in_fp32(taps)

    def fresh_head(self) -> nn.Module:
        """Return an untrained copy of the head, its weights drawn from torch's global random state.

        Raises
        ------
        RequestError
            If a weight of it stays as it was trained, or it has no parameters at all.
        """
        head = copy.deepcopy(self.head)
        for module in head.modules():
            for name in ("reset_parameters", "_reset_parameters"):  # the second is that of torch's attention
                if callable(reset := getattr(module, name, None)):
                    reset()
        trained = dict(self.head.named_parameters())
        kept = [name for name, weight in head.named_parameters() if _is_as_trained(weight, trained[name])]
        if kept or not trained:
            what = f"{kept[0]} stays as it was trained" if kept else "it has no parameters"
            raise RequestError(
                f"The head of {self.name} cannot be re-fitted: {what}.",
                Remedy(
                    "Give its modules a method reset_parameters that draws every weight, or leave that head out: `{}`.",
                    arguments(heads=["frozen", "refit-linear"]),
                ),
            )
        if not any(weight.requires_grad for weight in head.parameters()):  # of a network that is frozen itself
            head.requires_grad_(True)
        return head.train()

    def frozen_head(self) -> nn.Module:
        """Return a copy of the head whose weights take no gradients, in evaluation mode."""
        return copy.deepcopy(self.head).requires_grad_(False).eval()

    def with_weights(self, module: nn.Module, *, digest: str, summary: str) -> Self:
        """Return the same extractor with other weights."""
        return replace(self, module=module, digest=digest, summary=summary)


def make_extractor(module: nn.Module, *, name: str, digest: str, preprocessing: str, trainable: bool) -> Extractor:
    """Return an extractor of somebody's network, after a look at what it says about two random pictures.

    Raises
    ------
    RequestError
        If an attribute is missing or of another type, or ``embed`` or ``head`` return something else than they should;
        the message names the network, what it has and what it should have.
    """
    module.eval()
    _check_attributes(module, name)
    side, channels = int(module.side), int(module.channels)  # type: ignore[arg-type]
    classes = tuple(module.classes)  # type: ignore[arg-type]
    random = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (_PROBED, channels, side, side), generator=random, dtype=torch.uint8)
    pictures = pictures.to(next(_tensors(module)).device)
    names = ("features", "embedding", "logits", "early")
    with torch.no_grad():  # what a network keeps of its first call can take part in a gradient later
        taps, repeated = ([one.float() for one in _call(module, "embed", pictures, names=names, name=name, least=3)]
                          for _ in range(2))  # fmt: skip
        length, embedding = taps[0].shape[1], taps[1].shape[1]
        again = _call(module, "head", taps[0], names=("embedding", "logits"), name=name)
    for what, one, other in zip(names, taps, repeated, strict=False):
        if torch.dist(one, other) > _AGREEMENT * (1 + one.norm()):
            raise RequestError(
                f"embed of {name} returns other {what} each time.",
                "A frozen network is deterministic: pass training=self.training to functional.dropout.",
            )
    spd_side = getattr(module, "spd_side", None)
    check_value(Side | None, spd_side, name=f"{name}: spd_side")
    if spd_side is not None and vech_length(spd_side) != length:
        raise RequestError(
            f"{name} has features of {length:,} numbers and spd_side {spd_side}.",
            f"The triangle of a {spd_side} x {spd_side} matrix has {vech_length(spd_side):,}.",
        )
    if taps[2].shape[1] != len(classes):
        raise RequestError(
            f"{name} has {taps[2].shape[1]} logits and {len(classes)} classes.",
            "There should be one logit per class.",
        )
    for what, ours, heads in zip(("embedding", "logits"), taps[1:3], again, strict=True):
        if ours.shape != heads.shape or torch.dist(ours, heads) > _AGREEMENT * (1 + ours.norm()):
            raise RequestError(
                f"The head of {name} makes another {what} of the features than embed does.",
                "head(features) should be what embed returns beside the features.",
            )
    return Extractor(
        module=module,
        name=name,
        digest=digest,
        form=FeatureForm(length, spd_side, early=taps[3].shape[1] if len(taps) > 3 else 0),
        embedding=embedding,
        preprocessing=preprocessing,
        summary=f"{name}, {side} x {side} pixels, {weight_count(module):,} weights",
        trainable=trainable,
    )


def weight_count(module: nn.Module) -> int:
    """Return the number of a network's weights, its parameters; of one that keeps them as buffers, those."""
    weights: list[Tensor] = [*module.parameters()]
    return sum(weight.numel() for weight in weights or module.buffers())


def state_digest(module: nn.Module) -> str:
    """Return the hexadecimal SHA-256 of a module's parameters and buffers: names, types, shapes and values.

    Buffers that no state dict holds are among them: ``embed`` may compute with them all the same.

    Raises
    ------
    RequestError
        If its state dict holds anything but tensors, as that of a quantised module does.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted({**module.state_dict(), **dict(module.named_buffers(remove_duplicate=False))}.items()):
        if not isinstance(tensor, Tensor):
            raise RequestError(
                f"{name} in the state of the network is a {type(tensor).__name__} and no tensor, and has no digest.",
                "Take the network as it was before it was quantised, or an ONNX file of it; let get_extra_state return "
                "a tensor.",
            )
        try:
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
            values: Any = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        except (RuntimeError, NotImplementedError, TypeError) as error:  # lazy, sparse, or on the device meta
            raise RequestError(
                f"{name} in the state of the network has no bytes of its own: {str(error).splitlines()[0]}",
                "Let the factory return dense tensors with values; call a network of lazy layers once in it.",
            ) from None
        digest.update(values)
    return digest.hexdigest()


def _in_fp32(taps: Sequence[Any]) -> Taps:
    """Return what ``embed`` returned, three or four tensors, or None as the fourth, as fp32."""
    features, embedding, logits, *rest = taps
    early = rest[0] if rest else None
    return Taps(features.float(), embedding.float(), logits.float(), None if early is None else early.float())


def _check_attributes(module: nn.Module, name: str) -> None:
    for attribute, form in (("classes", tuple[str, ...]), ("side", Side), ("channels", int)):
        if not hasattr(module, attribute):
            raise RequestError(f"{name} has no attribute {attribute}.", _INTERFACE)
        value = getattr(module, attribute)
        check_value(form, tuple(value) if isinstance(value, list) else value, name=f"{name}: {attribute}")
    classes: tuple[str, ...] = tuple(module.classes)  # type: ignore[arg-type]
    if not classes or len(set(classes)) != len(classes):
        raise RequestError(f"{name} has the classes {shortened(classes)}.", "One at least, and none twice.")
    if module.channels not in (1, 3):
        raise RequestError(f"{name} has channels {module.channels!r}.", "It is 1 for grey pictures, 3 for RGB.")
    if not callable(getattr(module, "embed", None)) or not isinstance(getattr(module, "head", None), nn.Module):
        raise RequestError(f"{name} has no method embed, or no module head.", _INTERFACE)
    if next(_tensors(module), None) is None:
        raise RequestError(f"{name} has no weights.", "Register them as parameters or buffers of the module.")


def _call(
    module: nn.Module, method: str, argument: Tensor, *, names: tuple[str, ...], name: str, least: int | None = None
) -> tuple[Tensor, ...]:
    """Return what a method returns, as many tensors as there are names, or at least so many."""
    try:
        result = getattr(module, method)(argument)
    except Exception as error:  # whatever somebody's network raises
        raise RequestError(
            f"{method} of {name} fails on {argument.dtype} {list(argument.shape)}: {type(error).__name__}: "
            f"{shortened(str(error), most=200)[1:-1]}.",
            _INTERFACE,
        ) from error
    tensors = tuple(result) if isinstance(result, tuple | list) else (result,)
    if len(tensors) == len(names) > (least or len(names)) and tensors[-1] is None:  # as of Taps
        tensors = tensors[:-1]
    many = range(least or len(names), len(names) + 1)
    fits = len(tensors) in many and all(isinstance(one, Tensor) and one.ndim == 2 and one.shape[1] for one in tensors)
    if not fits or any(len(one) != len(argument) or not one.isfinite().all() for one in tensors):
        shown = [list(one.shape) if isinstance(one, Tensor) else type(one).__name__ for one in tensors]
        raise RequestError(
            f"{method} of {name} returns {shortened(shown, most=200)} for {len(argument)} pictures.",
            f"It should return {', '.join(names[: many[0]])}{', and perhaps early' * (len(many) > 1)}, each "
            "[B, numbers] and finite.",
        )
    return tensors


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _is_as_trained(weight: Tensor, trained: Tensor) -> bool:
    """Tell whether a weight that was reset is the trained one; what is the same number everywhere may be both."""
    return bool(torch.equal(weight, trained) and (weight != weight.flatten()[:1]).any())


_INTERFACE = (
    "An extractor has classes, side, channels, embed(pictures uint8 [B, channels, side, side]) -> (features, "
    "embedding, logits) or (features, embedding, logits, early), and head: features -> (embedding, logits)."
)
