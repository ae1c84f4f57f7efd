"""Where tensors live: the device asked for, or the best there is."""

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
