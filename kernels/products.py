"""Products of tiles on tensor cores with fp32's precision: every factor is a sum of two numbers that they multiply.

A factor x is split into ``big``, its nearest number of fewer bits, and ``small``, the remainder. Then

    x y = small_x big_y + big_x small_y + big_x big_y + small_x small_y

and the last product is below fp32's rounding. TF32 numbers have 11 significant bits and fp32's exponents, so that any
factor can be split into two of them. fp16 numbers have as many bits and are multiplied twice as fast, but their
exponents end early: they are for factors whose size is known. Triton's own ``tf32x3`` computes the first, and splits
again whatever is used twice.

Source: Ootomo and Yokota, "Recovering single precision accuracy from Tensor Cores while surpassing the FP32 theoretical
peak performance", IJHPCA 2022.

Tensor cores cut off what does not fit into their sums, and never round up: the error of a long sum grows with its
length, to 6e-6 of it at 1,023 terms on an H200. ``LONG`` sums are therefore added up in parts outside of the tensor
cores, which costs registers.
"""

from fsrcache.kernels.launch import tl, triton

LONGEST = 256  # terms of a sum that is left to the tensor cores


@triton.jit
def split_tf32(x):
    """Return fp32 numbers as two TF32 ones, rounded half away from zero."""
    big = ((x.to(tl.int32, bitcast=True) + 0x1000) & -0x2000).to(tl.float32, bitcast=True)
    return big, x - big


@triton.jit
def add_product(left_big, left_small, right_big, right_small, tile, LONG: tl.constexpr):
    """Return ``tile + left @ right``, all fp32, for factors from ``split_tf32``; small products first."""
    if LONG:
        part = tl.dot(left_small, right_big, input_precision="tf32")
        part = tl.dot(left_big, right_small, part, input_precision="tf32")
        return tile + tl.dot(left_big, right_big, part, input_precision="tf32")
    tile = tl.dot(left_small, right_big, tile, input_precision="tf32")
    tile = tl.dot(left_big, right_small, tile, input_precision="tf32")
    return tl.dot(left_big, right_big, tile, input_precision="tf32")


@triton.jit
def split_half(x):
    """Return fp32 numbers below 65504 as two fp16 ones, with an error below 2^-24 of them, or below 2^-25."""
    big = x.to(tl.float16)
    return big, (x - big.to(tl.float32)).to(tl.float16)


@triton.jit
def add_half_product(left_big, left_small, right_big, right_small, tile, LONG: tl.constexpr):
    """Return ``tile + left @ right``, fp32, for factors from ``split_half``; small products first."""
    if LONG:
        part = tl.dot(left_small, right_big)
        part = tl.dot(left_big, right_small, part)
        return tile + tl.dot(left_big, right_big, part)
    tile = tl.dot(left_small, right_big, tile)
    tile = tl.dot(left_big, right_small, tile)
    return tl.dot(left_big, right_big, tile)
