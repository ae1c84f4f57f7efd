"""Registers and memory of a Triton kernel's machine code, compiled and inspected without a GPU."""

import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"


def resources(
    kernel: Any, types: str, settings: Mapping[str, Any], divisible: Iterable[str] = (), *, capability: int = 90
) -> dict[str, int]:
    """Return ``REG``, ``STACK``, ``LOCAL`` and ``SHARED`` of a kernel's machine code.

    Parameters
    ----------
    kernel
        A function that ``triton.jit`` made.
    types
        Types of the arguments that are not constants, in order, as Triton writes them: ``*fp32 i32``.
    settings
        Constants, by the names of the arguments, and options of the compiler.
    divisible
        Names of whole-number arguments that divide by 16; pointers always do.
    capability
        Compute capability of the GPU: 80 for an A100, 90 for an H100 or H200.

    Returns
    -------
    dict
        Registers of a thread; bytes of a thread's stack and local memory, both 0 if nothing spills; bytes of a
        program's shared memory.
    """
    constants = {name: value for name, value in settings.items() if name in kernel.arg_names}
    names = [name for name in kernel.arg_names if name not in constants]
    signature = dict(zip(names, types.split(), strict=True)) | dict.fromkeys(constants, "constexpr")
    aligned = {
        (kernel.arg_names.index(name),): [["tt.divisibility", 16]]
        for name, kind in zip(names, types.split(), strict=True)
        if kind[0] == "*" or name in divisible
    }
    source = ASTSource(kernel, signature, {(kernel.arg_names.index(n),): v for n, v in constants.items()}, aligned)
    options = {name: value for name, value in settings.items() if name not in constants}
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        dump = subprocess.run(
            [CUOBJDUMP, "--dump-resource-usage", file.name], capture_output=True, text=True, check=True
        )
    usage = {name: int(value) for name, value in re.findall(r"(REG|STACK|LOCAL|SHARED):(\d+)", dump.stdout)}
    return {**usage, "SHARED": max(usage["SHARED"], compiled.metadata.shared)}
