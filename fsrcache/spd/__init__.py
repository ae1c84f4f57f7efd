"""Symmetric positive definite matrices: layers, vectors of their triangles, and maps with orthonormal rows."""

from fsrcache.spd.layers import BiMap, CovariancePool, LogEig, Vech
from fsrcache.spd.stiefel import orthonormal, retract, tangent
from fsrcache.spd.vech import unvech, vech, vech_length, vech_side

__all__ = [
    "BiMap",
    "CovariancePool",
    "LogEig",
    "Vech",
    "orthonormal",
    "retract",
    "tangent",
    "unvech",
    "vech",
    "vech_length",
    "vech_side",
]
