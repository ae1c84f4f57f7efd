"""The layers of a critic that the closed form of the penalty can differentiate; others are refused by name."""

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.modules import module as modules

from fsrcache.errors import FsrcacheError

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_LAYERS = (*CONVOLUTIONS, nn.Linear, nn.LeakyReLU, nn.ReLU, nn.Flatten, nn.Identity)
_CALLS = ("forward", "__call__", "_call_impl", "__iter__", "__getattr__")  # methods that run when a sequence is called
_METHODS = ("forward", "_call_impl", "_wrapped_call_impl", "_conv_forward")  # methods that an instance may replace
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def layers(critic: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the paths and the layers of a critic in their order.

    Raises
    ------
    FsrcacheError
        If a module, a container or a layer, is of another type or has been changed; the module is named.
    """
    _refuse_hooks_of_all()
    reason = _reason(critic)
    if reason:
        shown = type(critic).__name__ if isinstance(critic, nn.Sequential) else critic
        raise FsrcacheError(
            f"The closed form of the penalty does not know the critic's layer {name or 'itself'}: {shown}, {reason}.",
            "It knows zero-padded convolutions, Linear, ReLU, LeakyReLU, Flatten and Identity without hooks in an "
            "nn.Sequential; differentiate the gradient with autograd for others.",
        )
    if not isinstance(critic, nn.Sequential):
        yield name, critic
        return
    for child, layer in critic._modules.items():  # named_children() leaves out repeated modules
        yield from layers(layer, f"{name}.{child}" if name else child)


def padding_of(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> list[int] | None:
    """Return the zeros on either side of each axis; None if the sides differ, as with "same" and an even kernel."""
    if layer.padding == "valid":
        return [0] * len(layer.kernel_size)
    if layer.padding != "same":
        return [int(side) for side in layer.padding]
    both = [wide * (size - 1) for size, wide in zip(layer.kernel_size, layer.dilation, strict=True)]
    return None if any(total % 2 for total in both) else [total // 2 for total in both]


def _reason(module: nn.Module) -> str:
    """Return why a module cannot be differentiated here, or nothing."""
    if isinstance(module, nn.Sequential):
        changed = [name for name in _CALLS if getattr(type(module), name) is not getattr(nn.Sequential, name)]
        if changed:
            return f"a sequence with its own {changed[0]}"
    elif type(module) not in _LAYERS:
        return "which is of another type"
    replaced = [name for name in _METHODS if name in module.__dict__]
    if replaced:
        return f"whose {replaced[0]} is replaced"
    hooks = [kind for kind in _HOOKS if getattr(module, kind)]
    if hooks:
        return f"which has hooks ({hooks[0].strip('_')})"
    for name in ("weight", "bias"):
        value = getattr(module, name, None)
        if isinstance(module, nn.Sequential) or value is None:
            continue
        if name not in module._parameters:
            return f"whose {name} is not a parameter"
        if value._backward_hooks:
            return f"whose {name} has a hook"
    if isinstance(module, CONVOLUTIONS) and (module.padding_mode != "zeros" or padding_of(module) is None):
        return "which pads with other values than zeros, or unequally"
    return ""


def _refuse_hooks_of_all() -> None:
    """Refuse hooks that are registered for every module of the process."""
    for kind in _HOOKS:
        if getattr(modules, "_global" + kind):
            raise FsrcacheError(
                f"The closed form of the penalty does not know hooks for all modules (torch's _global{kind}).",
                "Remove them, or differentiate the gradient with autograd.",
            )


def refuse_mixed_samples(name: str, layer: nn.Module, entering: Tensor, leaving: Tensor) -> None:
    """Refuse a layer that mixes samples, as an unbatched convolution or a Flatten from axis 0 on may."""
    if isinstance(layer, CONVOLUTIONS):
        alone = entering.ndim == len(layer.kernel_size) + 2
    elif isinstance(layer, nn.Linear):
        alone = entering.ndim >= 2
    else:
        alone = True
    if not alone or leaving.shape[0] != entering.shape[0]:
        raise FsrcacheError(
            f"The critic's layer {name or 'itself'}, {layer}, turns {list(entering.shape)} into {list(leaving.shape)}.",
            "The first axis should stay that of the samples.",
        )
