"""Checks of ``ops`` that use a library's linear algebra: matrix logarithms and the penalty's closed form."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fsrcache.device import fp32_precision
from fsrcache.kernels import closed_form_penalty, log_eig, log_eig_gemm
from fsrcache.kernels.closed_form_penalty import closed_form_penalty_reference
from fsrcache.kernels.log_eig import log_eig_reference
from fsrcache.kernels.log_eig_gemm import launch_log_eig_gemm
from fsrcache.models.critic import VGGCritic
from fsrcache.presets import CriticConfig
from studies.gpu.checks import Check, Limited, Setting, distance, unequal
from studies.gpu.drawn import drawn, ridged, symmetric

Results = Iterator[tuple[str, Any]]
_FLOOR = 1e-4
_BELOW = 1e-5  # a floor below the ridge of every matrix here, where ``log_eig_gemm`` shifts nothing
_LOGARITHM, _DERIVATIVE = 1e-4, 1e-2  # four decades of eigenvalues cost as many digits, twice in a derivative
_PENALTY = 1e-3  # a ReLU within rounding of its kink changed a gradient by 6e-4


def logarithm_checks(setting: Setting) -> Iterator[Check]:
    """Yield the checks."""
    for side in (1, 5) if setting.rehearsal else (1, 31, 33, 64, 128, 131):
        yield Check(f"log_eig D {side}", partial(_log_eig, setting.device, side))
        yield Check(f"log_eig_gemm D {side}", partial(_log_eig_gemm, setting.device, side))
    yield Check("log_eig of equal and of small eigenvalues", partial(_special, setting.device))
    yield Check("a NaN stays in its matrix", partial(_nan, setting.device))
    for power in (2.0, 6.0):
        yield Check(f"closed_form_penalty, p {power}", partial(_penalty, setting, power))


def _log_eig(device: torch.device, side: int) -> Results:
    S = ridged(2, side, device=device)
    with fp32_precision(tf32=False):
        logarithm = log_eig(S, _FLOOR)
        yield "forward", Limited(distance(logarithm, log_eig_reference(S.double(), _FLOOR)[0]), _LOGARITHM)
        yield "backward", Limited(distance(*_gradients(log_eig, S)), _DERIVATIVE)
    for dtype in (torch.float16, torch.bfloat16):
        lower = S.to(dtype)
        expected = log_eig_reference(lower.double(), _FLOOR)[0]
        yield f"of {dtype}", Limited(distance(log_eig(lower, _FLOOR), expected), _LOGARITHM)


def _log_eig_gemm(device: torch.device, side: int) -> Results:
    S = ridged(2, side, device=device)
    expected = log_eig_reference(S.double(), _BELOW)[0]
    launched = launch_log_eig_gemm(S, _BELOW)
    yield "launched", Limited(distance(launched, expected), _LOGARITHM)
    yield "symmetric", unequal(launched, launched.mT)
    with fp32_precision(tf32=False):
        yield "the op", Limited(distance(log_eig_gemm(S, _BELOW), expected), _LOGARITHM)
        yield "backward", Limited(distance(*_gradients(log_eig_gemm, S)), _DERIVATIVE)
    shifted = 1e-2 * S  # the ridge is below the floor: a multiple of the identity makes up for it
    shift = _FLOOR - 1e-4 * shifted.double().diagonal(dim1=-2, dim2=-1).sum(-1)
    raised = shifted.double() + shift.clamp(min=0)[:, None, None] * torch.eye(side, device=device)
    expected = log_eig_reference(raised, 1e-12)[0]
    yield "shifted", Limited(distance(launch_log_eig_gemm(shifted, _FLOOR), expected), _LOGARITHM)


def _gradients(op: Any, S: Tensor, floor: float = _BELOW) -> tuple[Tensor, Tensor]:
    """Return the gradient by an op in fp32, and ``log_eig``'s in float64, where nothing is clipped or shifted."""
    upstream = symmetric(*S.shape[:2], device=S.device, seed=3)
    leaf, exact = S.clone().requires_grad_(), S.double().requires_grad_()
    (mine,) = torch.autograd.grad(op(leaf, floor), leaf, upstream)
    (by,) = torch.autograd.grad(log_eig(exact, floor), exact, upstream.double())
    return mine, by


def _special(device: torch.device) -> Results:
    identity = torch.eye(16, device=device)
    small = identity.clone()
    small[3, 3] = small[4, 4] = 1e-7
    S = torch.stack([2 * identity, small, 0 * identity])
    expected = log_eig_reference(S.double(), _FLOOR)[0]
    yield "forward", Limited(distance(log_eig(S, _FLOOR), expected), _LOGARITHM)
    yield "backward", Limited(distance(*_gradients(log_eig, S, _FLOOR)), _DERIVATIVE)


def _nan(device: torch.device) -> Results:
    S = ridged(3, 16, device=device)
    S[1, 2, 3] = torch.nan
    results = {"log_eig": log_eig(S, _FLOOR), "log_eig_gemm": launch_log_eig_gemm(S, _FLOOR)}
    for name, result in results.items():
        yield name, Limited(float(result.flatten(1).isnan().any(1).tolist() != [False, True, False]), 0)


def _penalty(setting: Setting, power: float) -> Results:
    device = setting.device
    side, config = (16, CriticConfig(filters=4)) if setting.rehearsal else (128, CriticConfig(filters=16))
    torch.manual_seed(0)
    critic, exact = VGGCritic(config, side).to(device), VGGCritic(config, side).to(device).double()
    for parameter in critic.parameters():  # a norm near 1, as training holds it
        parameter.data *= 1.6
    exact.load_state_dict(critic.state_dict())
    x = drawn(8, 1, side, side, device=device)
    with fp32_precision(tf32=False):
        value, grads = closed_form_penalty(critic, x, power=power)
    expected, by = closed_form_penalty_reference(exact, x.double(), power=power)
    yield "penalty", Limited(distance(value, expected), _PENALTY)
    mine, theirs = (torch.cat([gradient.flatten() for gradient in each]) for each in (grads, by))
    yield "gradient", Limited(distance(mine, theirs), _PENALTY)
    with fp32_precision(tf32=True):
        _, grads = closed_form_penalty(critic, x, power=power)
    yield "gradient's distance with TF32", distance(torch.cat([gradient.flatten() for gradient in grads]), theirs)
