"""Every Triton kernel compiled for sm_80 and sm_90 without a GPU, at the sizes that matter: nothing spills."""

import re
import subprocess
import tempfile
from pathlib import Path

import pytest
import triton
import triton.language as tl
from fsrcache.kernels.bimap_covariance_pool import bimap_covariance_pool_kernel, bimap_covariance_pool_settings
from fsrcache.kernels.covariance_pool import (
    covariance_pool_backward_kernel,
    covariance_pool_backward_settings,
    covariance_pool_kernel,
    covariance_pool_settings,
)
from fsrcache.kernels.gradient_norm import gradient_norm_kernel, gradient_norm_settings, penalty_direction_kernel
from fsrcache.kernels.symmetric_gather import symmetric_gather_kernel, symmetric_gather_settings
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
SHARED = {80: 163 * 1024, 90: 227 * 1024}  # bytes a program may have

CASES = {
    **{
        f"covariance_pool C {C} N {N} {kind}": (
            covariance_pool_kernel, f"*{kind} *fp32 *fp32 i32 i32 i32 fp32", covariance_pool_settings(C, N)
        )
        for C, N, kind in [(256, 144, "fp32"), (256, 144, "fp16"), (256, 144, "bf16"), (128, 144, "fp32"),
                           (64, 36, "fp32")]
    },
    **{
        f"covariance_pool_backward C {C} N {N}": (
            covariance_pool_backward_kernel, "*fp32 *fp32 *fp32 *fp32 i32 i32 i32 fp32",
            covariance_pool_backward_settings(C, N),
        )
        for C, N in [(256, 144), (64, 36)]
    },
    **{
        f"bimap_covariance_pool D {D} {kind}": (
            bimap_covariance_pool_kernel, f"*{kind} *fp32 *fp32 *fp32 i32 i32 i32 i32 fp32",
            bimap_covariance_pool_settings(D, 144),
        )
        for D, kind in [(64, "fp32"), (128, "fp32"), (128, "fp16"), (32, "fp32")]
    },
    **{
        f"gradient_norm p {power} {kind}": (
            gradient_norm_kernel, f"*{kind} *fp32 i32 fp32", gradient_norm_settings(power)
        )
        for power, kind in [(6.0, "fp32"), (3.5, "fp32"), (6.0, "fp16")]
    },
    **{
        f"penalty_direction p {power}": (
            penalty_direction_kernel, "*fp32 *fp32 *fp32 *fp32 *i32 i32 i32 fp32 fp32",
            {**gradient_norm_settings(power), "SAMPLES": 256},
        )
        for power in (6.0, 3.5)
    },
    **{
        f"symmetric_gather D {D} {kind}": (
            symmetric_gather_kernel, f"*{kind} *i64 *fp32 *fp32 *fp32 i32 i32 i32", symmetric_gather_settings(D)
        )
        for D, kind in [(64, "fp16"), (128, "fp16"), (128, "i8"), (128, "bf16"), (32, "fp16")]
    },
}  # fmt: skip


def resources(kernel, types, settings, capability):
    """Compile a kernel and return what its machine code needs: registers, stack, local and shared memory in bytes."""
    constants = {name: value for name, value in settings.items() if name.isupper()}
    names = [name for name in kernel.arg_names if name not in constants]
    signature = dict(zip(names, types.split(), strict=True)) | dict.fromkeys(constants, "constexpr")
    aligned = {(place,): [["tt.divisibility", 16]] for place, kind in enumerate(types.split()) if kind[0] == "*"}
    source = ASTSource(kernel, signature, {(kernel.arg_names.index(n),): v for n, v in constants.items()}, aligned)
    options = {name: value for name, value in settings.items() if name.islower()}
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        said = subprocess.run(
            [CUOBJDUMP, "--dump-resource-usage", file.name], capture_output=True, text=True, check=True
        )
    found = {name: int(value) for name, value in re.findall(r"(REG|STACK|LOCAL|SHARED):(\d+)", said.stdout)}
    return {**found, "SHARED": max(found["SHARED"], compiled.metadata.shared)}


@pytest.mark.slow
@pytest.mark.parametrize("capability", SHARED)
@pytest.mark.parametrize("case", CASES)
def test_nothing_spills(case, capability):
    found = resources(*CASES[case], capability)
    assert found["LOCAL"] == found["STACK"] == 0
    assert 0 < found["REG"] <= 255
    assert found["SHARED"] <= SHARED[capability]


@triton.jit
def _spilling_kernel(x, y, SIZE: tl.constexpr):
    at = tl.arange(0, SIZE)
    values = tl.load(x + at)
    tl.debug_barrier()
    more = tl.load(x + SIZE + at)
    tl.debug_barrier()
    tl.store(y + at, more)
    tl.debug_barrier()
    tl.store(y + SIZE + at, values)


@pytest.mark.slow
def test_a_spill_would_be_seen():
    settings = {"SIZE": 32768, "enable_fp_fusion": True, "num_warps": 4}  # 512 numbers a thread
    assert resources(_spilling_kernel, "*fp32 *fp32", settings, 90)["STACK"] > 0
