"""The layers of an SPD network: covariance pooling, BiMap, LogEig and vech as ``nn.Module``.

    maps [B, C, H, W] -> CovariancePool [B, C, C] -> BiMap [B, D, D] -> LogEig [B, D, D] -> Vech [B, D(D + 1) / 2]

    network = nn.Sequential(trunk, CovariancePool(bimap=BiMap(256, 64)), LogEig(), Vech(), nn.Linear(2080, 7))

Layers compute as if there were no autocast: in fp32 from fp16, bf16 and fp32, in float64 from float64. Their matrices
are symmetric to rounding. A BiMap's weight ``[D, C]`` has orthonormal rows; spd_learn's is its transpose ``[1, C, D]``.

Source: Huang and Van Gool, "A Riemannian Network for SPD Matrix Learning", AAAI 2017; Acharya et al., "Covariance
Pooling for Facial Expression Recognition", CVPR Workshops 2018.
"""

from typing import Annotated

import torch
from torch import Tensor, nn

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.kernels import bimap_covariance_pool, covariance_pool, log_eig
from fsrcache.kernels.modes import accumulator, multiplier, without_autocast
from fsrcache.records import Between, check_value, shortened
from fsrcache.spd.stiefel import orthonormal, retract, tangent
from fsrcache.spd.vech import vech

_Features = Annotated[int, Between(1, 2**16)]
_Ridge = Annotated[float, Between(0, 1e38)]  # what fp32 holds
_Floor = Annotated[float, Between(1e-307, 1e307)]  # what has a logarithm in float64


class BiMap(nn.Module):
    """A linear map on both sides: symmetric matrices S ``[..., C, C]`` -> W S Wᵀ ``[..., D, D]``.

    The rows of the weight W stay orthonormal in training if every step of the optimiser stands between
    ``project_gradient`` and ``retract``::

        loss.backward()
        bimap.project_gradient()
        optimiser.step()
        bimap.retract()

    Give the weight no weight decay. For float64 call ``double()``, then ``retract()``: the weight is drawn in fp32.

    Parameters
    ----------
    in_features, out_features
        C and D; D is at most C.
    generator
        Source of the initial weight; PyTorch's global one by default.

    Attributes
    ----------
    weight
        Parameter, fp32 ``[D, C]``, with orthonormal rows, on PyTorch's default device.

    Raises
    ------
    RequestError
        If a number is out of its range.
    """

    def __init__(self, in_features: int, out_features: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        check_value(_Features, in_features, name="in_features")
        check_value(_Features, out_features, name="out_features")
        if out_features > in_features:
            raise RequestError(
                f"A BiMap from {in_features} to {out_features} features has no orthonormal rows.",
                "out_features is at most in_features.",
            )
        self.in_features, self.out_features = in_features, out_features
        self.weight = nn.Parameter(orthonormal(out_features, in_features, generator=generator))

    @without_autocast
    def forward(self, S: Tensor) -> Tensor:
        """Return W S Wᵀ.

        Parameters
        ----------
        S
            Floating point ``[..., C, C]``, on the weight's device.

        Returns
        -------
        Tensor
            fp32 ``[..., D, D]`` (float64 if matrices and weight are).

        Raises
        ------
        FsrcacheError
            If the shape, type or device is another one.
        """
        _check_matrices("BiMap", S)
        if S.shape[-1] != self.in_features or S.device != self.weight.device:
            raise FsrcacheError(
                f"BiMap got matrices of shape {list(S.shape)} on {S.device}.",
                f"It takes [..., {self.in_features}, {self.in_features}] on {self.weight.device}.",
            )
        dtype = multiplier(S, self.weight)
        weight = self.weight.to(dtype)
        return (weight @ S.to(dtype) @ weight.mT).to(accumulator(S, self.weight))

    @torch.no_grad()
    def project_gradient(self) -> None:
        """Project the weight's gradient on the manifold's tangent space; a weight without one is left alone."""
        if self.weight.grad is not None:
            self.weight.grad.copy_(tangent(self.weight, self.weight.grad))

    @torch.no_grad()
    def retract(self) -> None:
        """Bring the weight back to orthonormal rows."""
        self.weight.copy_(retract(self.weight))

    def extra_repr(self) -> str:
        """Return both widths."""
        return f"in_features={self.in_features}, out_features={self.out_features}"


class CovariancePool(nn.Module):
    """The covariance of feature maps over their positions, with a ridge r: cov + r tr(cov) I.

    The covariance is centred and divided by N - 1, as spd_learn's ``sample_covariance``.

    **Choosing the ridge.** It limits the condition number to 1 + 1/r: with 1e-4 the logarithms of the eigenvalues span
    9.2 at most. Below 1e-6 the smallest eigenvalues of an fp32 covariance are rounding; a large ridge hides the weak
    directions. Where there are fewer positions than channels, the ridge alone makes the matrix positive definite.

    Parameters
    ----------
    ridge
        Share of the covariance's trace that is added to its diagonal; 0 or more.
    bimap
        Layer to apply to the covariance in the same op: less than half of the bytes read and written for D = C/4, as
        the ``C x C`` covariance is never formed. Its ``weight`` is read; its ``forward``, and thus its hooks, are not
        called.

    Raises
    ------
    RequestError
        If the ridge is out of its range, or ``bimap`` is no ``BiMap``.
    """

    bimap: BiMap | None

    def __init__(self, ridge: float = 1e-4, bimap: BiMap | None = None) -> None:
        super().__init__()
        check_value(_Ridge, ridge, name="ridge")
        if not isinstance(bimap, BiMap | None):
            raise RequestError(f"bimap is {shortened(bimap)}.", "It should be a fsrcache.spd.BiMap, or None.")
        self.ridge, self.bimap = ridge, bimap

    @without_autocast
    def forward(self, maps: Tensor) -> Tensor:
        """Return the covariance.

        Parameters
        ----------
        maps
            fp16, bf16, fp32 or float64 ``[B, C, N]``, ``[B, C, H, W]`` or, for one sample, ``[C, N]``.

        Returns
        -------
        Tensor
            fp32 ``[B, C, C]`` or ``[C, C]`` (float64 if maps and weight are), with a ``bimap`` D instead of C. Positive
            definite for a ridge above 0, unless the maps are constant.

        Raises
        ------
        FsrcacheError
            If the shape, type or device is another one.
        """
        if not isinstance(maps, Tensor) or maps.ndim not in (2, 3, 4):
            raise FsrcacheError(
                f"CovariancePool got {_described(maps)}.", "It takes feature maps [B, C, N], [B, C, H, W] or [C, N]."
            )
        if self.bimap is None:
            return covariance_pool(maps, self.ridge)
        return bimap_covariance_pool(maps, self.bimap.weight, self.ridge)

    def extra_repr(self) -> str:
        """Return the ridge."""
        return f"ridge={self.ridge:g}"


class LogEig(nn.Module):
    """The logarithm of symmetric matrices, eigenvalues below a floor counted as the floor.

    This is spd_learn's ``ReEig(floor)`` and ``LogEig(upper=False, flatten=False)`` by one decomposition, with a
    gradient that is exact where eigenvalues repeat.

    **Choosing the floor.** It is absolute, in the units of the covariance, and directions below it get no gradient:
    choose it below ridge times the usual trace, so that it acts on almost constant maps alone. Without a ridge, 1e-6 of
    the largest eigenvalue is what fp32 resolves, 1e-14 for float64.

    Parameters
    ----------
    floor
        Smallest eigenvalue, above 0.

    Raises
    ------
    RequestError
        If the floor is out of its range.
    """

    def __init__(self, floor: float = 1e-4) -> None:
        super().__init__()
        check_value(_Floor, floor, name="floor")
        self.floor = floor

    @without_autocast
    def forward(self, S: Tensor) -> Tensor:
        """Return the logarithm.

        Parameters
        ----------
        S
            fp16, bf16, fp32 or float64 ``[..., D, D]``; the symmetric part is read.

        Returns
        -------
        Tensor
            fp32 ``[..., D, D]`` (float64 for float64), differentiable once.

        Raises
        ------
        FsrcacheError
            If the shape or type is another one, or the floor is none for this type.
        """
        _check_matrices("LogEig", S)
        return log_eig(S.reshape(-1, *S.shape[-2:]), self.floor).reshape(S.shape)

    def extra_repr(self) -> str:
        """Return the floor."""
        return f"floor={self.floor:g}"


class Vech(nn.Module):
    """Symmetric matrices ``[..., D, D]`` -> vectors ``[..., D(D + 1) / 2]`` of the same lengths and distances.

    The upper triangle row by row, off-diagonal elements times the square root of 2: element for element spd_learn's
    ``Vech`` and pyriemann's ``upper``. ``fsrcache.spd.unvech`` is the inverse.
    """

    def forward(self, S: Tensor) -> Tensor:
        """Return the vectors; ``FsrcacheError`` if the matrices are not square."""
        return vech(S)


def _check_matrices(layer: str, S: Tensor) -> None:
    """Refuse what is no floating-point tensor of square matrices."""
    square = isinstance(S, Tensor) and S.ndim >= 2 and S.shape[-1] == S.shape[-2] > 0
    if not square or not S.is_floating_point():
        raise FsrcacheError(f"{layer} got {_described(S)}.", "It takes floating-point matrices [..., D, D].")


def _described(value: Tensor) -> str:
    """Return shape and type of a tensor, or the value that is none."""
    return f"shape {list(value.shape)}, {value.dtype}" if isinstance(value, Tensor) else shortened(value)
