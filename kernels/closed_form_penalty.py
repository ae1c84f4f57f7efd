"""The gradient of WGAN-div's penalty for a critic's weights, without a double backward: ``closed_form_penalty``.

For a critic D of convolutions, linear layers and (leaky) ReLUs, piecewise linear in its input x, and

    penalty = (k / B) Σ_i |g_i|^p,   g_i = ∂D/∂x at x_i,

let v_i = (k p / B) |g_i|^(p-2) g_i, the penalty's gradient with respect to g_i. The critic's slope in the direction v_i
is the output of the layers for v_i without their biases and with the ReLUs switched as at x_i, and it depends on each
layer's weights W_l as a linear network's output does. So

    ∂ penalty / ∂ W_l = Σ_i δ_(l,i) ⊗ t_(l,i),   ∂ penalty / ∂ b_l = 0,

with δ_(l,i) the derivative of D(x_i) by the layer's output, computed on the way to g_i, and t_(l,i) the direction v_i
as it reaches the layer's input. That is a forward, a backward, a forward of the direction and the weights' gradients:
four passes, where automatic differentiation of a gradient needs six; and it is first-order code, which compiles.

``closed_form_critic`` adds the critic's own terms Σ_i c_i D(x_i) in the same passes: their weights' gradient is
Σ_i c_i δ_(l,i) ⊗ h_(l,i) with the layer's input h, one product for both.

Source: Wu et al., "Wasserstein Divergence for GANs", ECCV 2018, for the penalty.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, linear

from fsrcache.errors import FsrcacheError
from fsrcache.kernels.arguments import described
from fsrcache.kernels.critic_layers import CONVOLUTIONS, layers, padding_of, refuse_mixed_samples
from fsrcache.kernels.gradient_norm import penalty_direction
from fsrcache.kernels.modes import transformed, without_autocast


class CriticGradients(NamedTuple):
    """The values and gradients of a critic's training step.

    Attributes
    ----------
    scores
        Scores of the samples, ``[S]``.
    penalty
        Gradient penalty, ``[]``.
    grads
        Gradients of Σ c_i D(sample_i) + penalty, aligned with ``critic.parameters()``.
    """

    scores: Tensor
    penalty: Tensor
    grads: list[Tensor]


def closed_form_penalty(
    critic: nn.Sequential, x: Tensor, *, weight: float = 2.0, power: float = 6.0
) -> tuple[Tensor, list[Tensor]]:
    """Return ``k E[|∂D/∂x|^p]`` and its gradients with respect to the critic's parameters.

    Parameters
    ----------
    critic
        Convolutions (padded with zeros or not at all), linear layers, ReLU, LeakyReLU, Flatten and Identity, nested in
        ``nn.Sequential`` or not, with one number a sample as output; layers and parameters may be shared.
    x
        Samples ``[B, ...]``, fp32 or float64 as the critic's weights, on their device.
    weight, power
        Weight k, and exponent p above 0.

    Returns
    -------
    tuple
        The penalty ``[]`` and the gradients, aligned with ``critic.parameters()``; zero for biases, and for parameters
        that do not require a gradient. Nothing is added to the parameters' ``grad``, and the results are constants to
        autograd. Products follow PyTorch's setting for fp32, and are not in autocast.

    Raises
    ------
    FsrcacheError
        If a layer is not one of these, or a module on any level has a hook, a ``forward`` or ``__iter__`` of its own,
        or weights that are no parameters of it (it is named); if the critic does not return one number a sample, dtypes
        or shapes differ, or a transform of ``torch.func`` or forward-mode differentiation is active.
    """
    if not isinstance(x, Tensor):
        raise FsrcacheError(f"closed_form_penalty got samples of {described(x)}.", "They should be a tensor [B, ...].")
    _, penalty, grads = closed_form_critic(critic, x[:0], x.new_empty(0), x, weight=weight, power=power)
    return penalty, grads


@torch.no_grad()
@without_autocast
def closed_form_critic(
    critic: nn.Sequential,
    samples: Tensor,
    coefficients: Tensor,
    x: Tensor,
    *,
    weight: float = 2.0,
    power: float = 6.0,
    columns: bool = False,
) -> CriticGradients:
    """Return the scores of samples, the penalty at x, and the gradients of their sum for the critic's parameters.

    Parameters
    ----------
    critic, x, weight, power
        Arguments of ``closed_form_penalty``.
    samples, coefficients
        Samples ``[S, ...]`` and their coefficients c ``[S]`` in the critic's own terms Σ c_i D(sample_i).
    columns
        Whether the norm is that of every last-axis column of a gradient by itself, the mean being over columns too.

    Returns
    -------
    CriticGradients
        Scores, penalty and gradients.

    Raises
    ------
    FsrcacheError
        For the same reasons as ``closed_form_penalty``.
    """
    known = list(layers(critic)) or [("", nn.Identity())]
    _check(critic, samples, coefficients, x)
    samples, x = _channels_last(samples), _channels_last(x)
    count, inputs, hidden = len(samples), [], torch.cat([samples, x]) if len(samples) else x
    for name, layer in known:
        inputs.append(hidden)
        try:
            hidden = _forward(layer, hidden)
        except RuntimeError as error:
            raise FsrcacheError(
                f"The critic's layer {name}, {type(layer).__name__}, does not take {list(hidden.shape)}: {error}.",
                "Samples [B, ...] should be of the shape that the critic's first layer takes.",
            ) from error
        refuse_mixed_samples(name, layer, inputs[-1], hidden)
    sequence = [layer for _, layer in known]
    if hidden.numel() != len(inputs[0]):
        raise FsrcacheError(
            f"The critic returns {list(hidden.shape)} for {len(samples) + len(x)} samples.",
            "It should return one number a sample.",
        )
    ones = torch.ones(len(x), dtype=hidden.dtype, device=hidden.device)
    delta = torch.cat([coefficients.to(hidden.dtype), ones]).reshape(hidden.shape)
    deltas = [delta]
    for layer, entering in zip(reversed(sequence[1:]), reversed(inputs[1:]), strict=True):
        deltas.append(_adjoint(layer, entering, deltas[-1]))
    gradient = _adjoint(sequence[0], x, deltas[-1][count:])
    gradient = gradient.movedim(-1, 1).flatten(0, 1) if columns else gradient
    penalty, tangent, _ = penalty_direction(gradient, weight, power)
    if columns:
        tangent = tangent.unflatten(0, (len(x), x.shape[-1])).movedim(1, -1)
    tangent = _channels_last(tangent)
    grads: dict[Tensor, Tensor] = {}
    for layer, entering, delta in zip(sequence, inputs, reversed(deltas), strict=True):
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            if layer.weight.requires_grad:
                reaching = tangent
                if count:  # the input beside the samples is not needed any more
                    reaching = entering
                    reaching[count:] = tangent
                _add(grads, layer.weight, _by_weight(layer, reaching, delta))
            if layer.bias is not None and layer.bias.requires_grad and count:
                axis = -1 if isinstance(layer, nn.Linear) else 1
                of_samples = delta[:count].movedim(axis, -1).reshape(count, -1, len(layer.bias)).sum(1)
                _add(grads, layer.bias, of_samples.double().sum(0).to(of_samples.dtype))  # exactly 0 if it cancels
        tangent = _tangent(layer, entering[count:], tangent)
    aligned = [grads[one] if one in grads else torch.zeros_like(one) for one in critic.parameters()]
    return CriticGradients(hidden.flatten()[:count], penalty, aligned)


def closed_form_penalty_reference(
    critic: nn.Module, x: Tensor, *, weight: float = 2.0, power: float = 6.0
) -> tuple[Tensor, list[Tensor]]:
    """Return ``closed_form_penalty`` by definition, for any critic: its gradient, differentiated."""
    x = x.detach().requires_grad_()
    (g,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    penalty = weight * (g.flatten(1).square().sum(1) ** (power / 2)).sum() / max(len(x), 1)
    parameters = [one for one in critic.parameters() if one.requires_grad]
    grads = dict(zip(parameters, torch.autograd.grad(penalty, parameters, allow_unused=True), strict=True))
    aligned = [grads.get(one) for one in critic.parameters()]
    return penalty.detach(), [
        torch.zeros_like(one) if gradient is None else gradient
        for one, gradient in zip(critic.parameters(), aligned, strict=True)
    ]


def _check(critic: nn.Module, samples: Tensor, coefficients: Tensor, x: Tensor) -> None:
    """Refuse arguments that the passes would compute wrongly or PyTorch not explain."""
    if transformed():
        raise FsrcacheError(
            "The closed form of the penalty is not differentiated, by torch.func or in forward mode, nor vectorised.",
            "Differentiate the gradient with autograd.",
        )
    kinds = {(one.dtype, one.device) for one in (samples, x, *critic.parameters())}
    if x.dtype not in (torch.float32, torch.float64) or len(kinds) > 1:
        raise FsrcacheError(
            f"The closed form of the penalty got {x.dtype} on {x.device}, and with the critic "
            f"{', '.join(sorted(f'{dtype} on {device}' for dtype, device in kinds))}.",
            "All should be fp32 or all float64, on one device.",
        )
    if x.ndim < 2 or samples.shape[1:] != x.shape[1:] or coefficients.shape != samples.shape[:1]:
        raise FsrcacheError(
            f"The closed form of the penalty got x of shape {list(x.shape)}, samples {list(samples.shape)} and "
            f"coefficients {list(coefficients.shape)}.",
            "They should be [B, ...], [S, ...] and [S].",
        )


def _add(grads: dict[Tensor, Tensor], parameter: Tensor, gradient: Tensor) -> None:
    """Add a gradient to a parameter's; two layers may share a parameter."""
    grads[parameter] = grads[parameter] + gradient if parameter in grads else gradient


def _channels_last(values: Tensor) -> Tensor:
    """Return the values, pictures on a CPU with their channels last: oneDNN's convolutions are fastest then."""
    if values.ndim == 4 and values.device.type == "cpu":
        return values.to(memory_format=torch.channels_last)
    return values


def _forward(layer: nn.Module, hidden: Tensor) -> Tensor:
    """Return the layer's output; the input stays as it is, even with ``inplace``."""
    if isinstance(layer, nn.ReLU):
        return hidden.relu()
    if isinstance(layer, nn.LeakyReLU):
        return leaky_relu(hidden, layer.negative_slope)
    output: Tensor = layer(hidden)
    return output


def _adjoint(layer: nn.Module, entering: Tensor, delta: Tensor) -> Tensor:
    """Return the gradient with respect to the layer's input, from that with respect to its output."""
    if isinstance(layer, nn.Linear):
        return delta @ layer.weight
    if isinstance(layer, CONVOLUTIONS):
        return _convolution_backward(layer, entering, delta, by_input=True)
    if isinstance(layer, nn.Flatten):
        return _channels_last(delta.reshape(entering.shape))
    return _switched(layer, entering, delta)


def _tangent(layer: nn.Module, entering: Tensor, tangent: Tensor) -> Tensor:
    """Return the direction as it leaves the layer: the layer without its bias."""
    if isinstance(layer, nn.Linear):
        return linear(tangent, layer.weight)
    if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        convolved: Tensor = layer._conv_forward(tangent, layer.weight, None)
        return convolved
    if isinstance(layer, nn.Flatten):
        flat: Tensor = layer(tangent)
        return flat
    return _switched(layer, entering, tangent)


def _switched(layer: nn.Module, entering: Tensor, values: Tensor) -> Tensor:
    """Return values times the slope of a (leaky) ReLU at what entered it."""
    if isinstance(layer, nn.Identity):
        return values
    slope = layer.negative_slope if isinstance(layer, nn.LeakyReLU) else 0.0
    switched: Tensor = torch.ops.aten.leaky_relu_backward(values, entering, slope, False)
    return switched


def _by_weight(layer: nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d, reaching: Tensor, delta: Tensor) -> Tensor:
    """Return Σ_i δ_i ⊗ t_i in the shape of the layer's weight."""
    if isinstance(layer, nn.Linear):
        return delta.flatten(0, -2).mT @ reaching.flatten(0, -2)
    return _convolution_backward(layer, reaching, delta, by_input=False)


def _convolution_backward(
    layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, entering: Tensor, delta: Tensor, *, by_input: bool
) -> Tensor:
    of_input, of_weight, _ = torch.ops.aten.convolution_backward(
        delta, entering, layer.weight, None, layer.stride, padding_of(layer), layer.dilation, False,
        [0] * (entering.ndim - 2), layer.groups, [by_input, not by_input, False],
    )  # fmt: skip
    gradient: Tensor = of_input if by_input else of_weight
    return gradient
