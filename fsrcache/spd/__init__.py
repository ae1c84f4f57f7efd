"""Symmetric matrices as vectors, and matrices with orthonormal rows."""

from fsrcache.spd.stiefel import orthonormal, retract, tangent
from fsrcache.spd.vech import unvech, vech, vech_length, vech_side

__all__ = ["orthonormal", "retract", "tangent", "unvech", "vech", "vech_length", "vech_side"]
