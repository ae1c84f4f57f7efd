"""Where tensors live, and whether bf16 pays there."""

import torch

from fsrcache.errors import RequestError


def pick_device(name: str = "auto") -> torch.device:
    """Return a device by name; ``auto`` is the GPU if there is one, else the CPU.

    Raises
    ------
    RequestError
        If there is no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise RequestError(
            f"There is no device {name!r} here: {str(error).splitlines()[0]}.", "Take cpu, cuda or auto."
        ) from None
    return device


def computes_bf16(device: torch.device) -> bool:
    """Tell whether a device multiplies bf16 in hardware; a CPU that does not is some 30 times slower than in fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
