"""Statistics of kernels: one number per head and pixel, from the kernels that `record` captured."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def kernel_entropy(kernels: Tensor) -> Tensor:
    """How widely a kernel spreads its mass: 0 all on one tap, 1 the same on every tap.

        entropy = -sum_q K_q log K_q / log(k*k)        (Shannon 1948, divided by its largest value)

    Args:
        kernels: [..., heads, k*k, H, W], each >= 0 and summing to one over the k*k taps.

    Returns:
        [..., heads, H, W], 0..1; float32 for half-precision kernels. A 1 x 1 kernel has one tap: 0.

    Raises:
        ValueError: if k*k is not the square of an odd number, or the kernels are negative or do not sum to one
            (`kernel_logits` has the same shape: easily mistaken).
    """
    if kernels.ndim < 4:
        raise ValueError(f"kernel_entropy needs kernels [..., heads, k*k, H, W], got {tuple(kernels.shape)}.")
    taps = kernels.shape[-3]
    k = math.isqrt(taps)
    if k * k != taps or k % 2 == 0:
        raise ValueError(
            f"kernels {tuple(kernels.shape)} have {taps} taps in their third last dimension, which is not the square "
            "of an odd number: give [..., heads, k*k, H, W]."
        )
    work = kernels.to(torch.promote_types(kernels.dtype, torch.float32))
    # 49 numbers rounded to bfloat16 (8 bits) miss 1 by 0.004 at most; logits miss it by far more.
    if (work < 0).any() or ((work.sum(-3) - 1).abs() > 0.02).any():
        raise ValueError("kernel_entropy needs kernels >= 0 that sum to one: give it `kernels`, not `kernel_logits`.")
    if taps == 1:
        return torch.zeros_like(work).squeeze(-3)
    return (torch.special.entr(work).sum(-3) / math.log(taps)).clamp(0, 1)  # entr(p) = -p log p, and 0 at 0
