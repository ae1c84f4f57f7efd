"""Every Triton kernel compiled for sm_80 and sm_90 without a GPU, at the sizes that matter: next to nothing spills."""

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
from fsrcache.kernels.log_eig_gemm import log_eig_gemm_kernel, log_eig_gemm_settings
from fsrcache.kernels.symmetric_gather import symmetric_gather_kernel, symmetric_gather_settings
from studies.gpu.estimates import as_markdown, as_row, estimates
from studies.gpu.machine_code import resources

SHARED = {80: 163 * 1024, 90: 227 * 1024}  # bytes a program may have

# Some keep registers of every thread, here in bytes, in local memory: on sm_90 where that was measured to be faster.
FEW = {
    80: {"bimap_covariance_pool D 128": 48, "bimap_covariance_pool D 64": 104, "log_eig_gemm D 64": 24},
    90: {"bimap_covariance_pool D 64": 32, "covariance_pool_backward": 40},
}

STRIDES = "i32 i32 i32 i32 i32"  # C, N, two strides of three, degrees of freedom
LAID, CHANNELS_LAST = {"column_stride": 1}, {"row_stride": 1}  # Triton compiles a stride of 1 as a constant
MAPS = ("C", "N", "sample_stride", "row_stride", "column_stride")  # divide by 16, as real sizes do
CASES = {
    **{
        f"covariance_pool C {C} N {N} {kind}": (
            covariance_pool_kernel, f"*{kind} *fp32 *fp32 {STRIDES} fp32",
            {**covariance_pool_settings(C, N), **LAID}, MAPS,
        )
        for C, N, kind in [(256, 144, "fp32"), (256, 144, "fp16"), (256, 144, "bf16"), (128, 144, "fp32"),
                           (64, 48, "fp32")]
    },
    **{
        f"covariance_pool_backward C {C} N {N}": (
            covariance_pool_backward_kernel, f"*fp32 *fp32 *fp32 *fp32 {STRIDES} fp32",
            {**covariance_pool_backward_settings(C, N), **LAID}, MAPS if N % 16 == 0 else (),
        )
        for C, N in [(256, 144), (128, 144), (64, 36), (255, 143)]
    },
    **{
        f"bimap_covariance_pool D {D} {kind} {'channels last' if 'row_stride' in laid else ''}": (
            bimap_covariance_pool_kernel, f"*{kind} *fp32 *fp32 *fp32 i32 {STRIDES} fp32",
            {**bimap_covariance_pool_settings(256, D, 144), **laid}, ("D", *MAPS),
        )
        for D, kind, laid in [(64, "fp32", LAID), (64, "fp32", CHANNELS_LAST), (128, "fp32", LAID),
                              (128, "fp32", CHANNELS_LAST), (128, "fp16", LAID), (32, "fp32", LAID)]
    },
    **{
        f"log_eig_gemm D {D}": (
            log_eig_gemm_kernel, "*fp32 *fp16 *fp32 i32 i32 fp32 fp32 fp32 fp32", log_eig_gemm_settings(D), ("D",)
        )
        for D in (16, 32, 64, 128)
    },
    **{
        f"gradient_norm p {power} {kind}": (
            gradient_norm_kernel, f"*{kind} *fp32 i32 fp32", gradient_norm_settings(16384, power)
        )
        for power, kind in [(6.0, "fp32"), (3.5, "fp32"), (6.0, "fp16")]
    },
    **{
        f"penalty_direction size {size} p {power} {kind}": (
            penalty_direction_kernel, f"*{kind} *fp32 *fp32 *fp32 i32 fp32 fp32",
            {**gradient_norm_settings(size, power), "KEPT": size <= 32768},
        )
        for size, power, kind in [(16384, 6.0, "fp32"), (16384, 3.5, "fp32"), (16384, 6.0, "fp16"), (128, 6.0, "fp32"),
                                  (32768, 3.5, "fp32"), (65536, 6.0, "fp32")]
    },
    **{
        f"symmetric_gather D {D} {kind} {'quantised' if given else 'plain'}": (
            symmetric_gather_kernel, f"*{kind} *i64 *fp32 *fp32 *fp32 i32 i32 i32",
            {**symmetric_gather_settings(D), "MEAN": given, "SCALE": given},
        )
        for D, kind, given in [(64, "fp16", False), (128, "fp16", True), (128, "fp16", False), (128, "i8", True),
                               (128, "bf16", True), (32, "fp16", True)]
    },
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("capability", SHARED)
@pytest.mark.parametrize("case", CASES)
def test_next_to_nothing_spills(case, capability):
    found = resources(*CASES[case], capability=capability)
    assert found["LOCAL"] == 0
    assert found["STACK"] <= next((most for name, most in FEW[capability].items() if case.startswith(name)), 0)
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
    assert resources(_spilling_kernel, "*fp32 *fp32", settings, capability=90)["STACK"] > 0


@pytest.mark.slow
def test_the_estimates_of_the_documentation():
    rows = [as_row(case) for case in estimates()]
    assert all(row["spilt"] <= max(FEW[90].values()) and row["programs"] >= 1 for row in rows)
    assert all(row["estimate"] >= max(row["memory"], row["products"]) for row in rows)
    assert rows[0]["memory"] == pytest.approx(1e6 * 4 * 1024 * (256 * 144 + 256 * 256) / 4.3e12)
    assert len(as_markdown(rows).splitlines()) == len(rows) + 2
