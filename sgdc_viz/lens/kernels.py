"""Statistics of kernels: one number per head and pixel, from the kernels that `record` captured.

All take kernels [..., heads, k*k, H, W], each >= 0 and summing to one over its k*k taps (row-major), and work on all
pixels at once; half precision is computed in float32. A kernel is read as a distribution of mass over places: its tap
(dy, dx), counted from the centre, weighs the neighbour that lies dy rows below and dx columns to the right. Lengths are
in feature pixels: times the block's stride they are image pixels.

All raise TypeError if they are no tensor, and ValueError if k*k is not the square of an odd number, or the kernels are
negative or do not sum to one (`kernel_logits` have the same shape: easily mistaken).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

# Below this variance (a standard deviation of 0.01 pixel) rounding decides which way a kernel points.
_LEAST_VARIANCE = 1e-4


def kernel_entropy(kernels: Tensor) -> Tensor:
    """How widely a kernel spreads its mass: 0 all on one tap, 1 the same on every tap.

        entropy = -sum_q K_q log K_q / log(k*k)        (Shannon 1948, divided by its largest value)

    Args:
        kernels: [..., heads, k*k, H, W], each >= 0 and summing to one over the k*k taps.

    Returns:
        [..., heads, H, W], 0..1; float32 for half-precision kernels. A 1 x 1 kernel has one tap: 0.
    """
    kernels, k = _checked(kernels, "kernel_entropy")
    if k == 1:
        return torch.zeros_like(kernels).squeeze(-3)
    return (torch.special.entr(kernels).sum(-3) / math.log(k * k)).clamp(0, 1)  # entr(p) = -p log p, and 0 at 0


def kernel_width(kernels: Tensor) -> Tensor:
    """Side of the square of equal weights that has the kernel's entropy: 1 for one tap, k for the uniform kernel.

        width = k ** entropy = exp(-1/2 sum_q K_q log K_q)

    Two far-off taps of one half each count as two taps, however far they lie apart: how far the mass reaches is in
    `kernel_covariance`.

    Returns:
        [..., heads, H, W], 1..k feature pixels.
    """
    return math.isqrt(kernels.shape[-3]) ** kernel_entropy(kernels)


def kernel_displacement(kernels: Tensor) -> Tensor:
    """Where a kernel looks on average: its centre of mass, (dy, dx) from its own pixel (dy > 0: down).

        displacement = sum_q K_q q

    Returns:
        [..., heads, 2, H, W], dy then dx, -(k-1)/2..(k-1)/2 feature pixels.
    """
    kernels, k = _checked(kernels, "kernel_displacement")
    return _moments(kernels, k)[0]


def kernel_covariance(kernels: Tensor) -> Tensor:
    """How far around its centre of mass m a kernel spreads, and in which direction.

        C = sum_q K_q (q - m) (q - m)^T

    The uniform kernel has (k^2 - 1) / 12 in both directions.

    Returns:
        [..., heads, 2, 2, H, W], rows and columns in the order y, x; squared feature pixels.
    """
    kernels, k = _checked(kernels, "kernel_covariance")
    mean, second = _moments(kernels, k)
    covariance = second - mean.unsqueeze(-4) * mean.unsqueeze(-3)
    covariance.diagonal(dim1=-4, dim2=-3).clamp_(min=0)  # a variance is never negative; rounding may say so
    return covariance


class KernelEllipse(NamedTuple):
    """The one-standard-deviation ellipse of each kernel, around its `kernel_displacement`. All [..., heads, H, W].

    major, minor: half axes, standard deviations in feature pixels, major >= minor >= 0.
    angle: of the major axis in radians, from +x towards +y (down), above -pi/2 up to pi/2; without meaning where
        anisotropy is near 0.
    anisotropy: (major^2 - minor^2) / (major^2 + minor^2), 0 round .. 1 a line; 0 where both axes are under 0.01 pixel.
    unimodal: bool. False where the taps with at least half the largest weight fall apart into several islands: then
        the kernel looks at several places at once, and one ellipse misleads. A ring is one island: unimodal, and its
        round ellipse has the right size, but says nothing of the hole in its middle.
    """

    major: Tensor
    minor: Tensor
    angle: Tensor
    anisotropy: Tensor
    unimodal: Tensor


def kernel_ellipse(kernels: Tensor) -> KernelEllipse:
    """Shape and direction of each kernel: principal axes of `kernel_covariance`, with a warning where they mislead.

    The eigenvalues of [[a, b], [b, c]] are t +- d, with t = (a + c) / 2 and d = sqrt(((a - c) / 2)^2 + b^2).
    Steering kernels were drawn as ellipses by Takeda, Farsiu and Milanfar (IEEE Trans. Image Processing 16, 2007).
    """
    covariance = kernel_covariance(kernels)
    var_y, var_x, mixed = covariance[..., 0, 0, :, :], covariance[..., 1, 1, :, :], covariance[..., 0, 1, :, :]
    half_trace, half_gap = (var_x + var_y) / 2, torch.hypot((var_x - var_y) / 2, mixed)
    anisotropy = torch.where(half_trace > _LEAST_VARIANCE, half_gap / half_trace, 0.0).clamp(0, 1)
    return KernelEllipse(
        major=(half_trace + half_gap).sqrt(),
        minor=(half_trace - half_gap).clamp_min(0).sqrt(),
        angle=torch.atan2(2 * mixed, var_x - var_y) / 2,
        anisotropy=anisotropy,
        unimodal=_in_one_piece(kernels),
    )


def kernel_in_bounds(kernels: Tensor) -> Tensor:
    """How much of each kernel's mass falls inside the feature map: with zero padding, the rest is lost.

    Give the whole recorded map, because its borders are where the mass is lost; cut the result, not the kernels.

    Returns:
        [..., heads, H, W], 0..1. Uniform 7 x 7 kernels: 16/49 in a corner, 28/49 at an edge, 1 well inside.
    """
    kernels, k = _checked(kernels, "kernel_in_bounds")
    height, width = kernels.shape[-2:]
    rows, columns = _inside(height, k, kernels), _inside(width, k, kernels)  # [k, height], [k, width]
    by_row = (kernels.unflatten(-3, (k, k)) * columns[:, None, :]).sum(-3)  # [..., k, H, W]
    return (by_row * rows[:, :, None]).sum(-3)


def kernel_response(kernels: Tensor, size: int = 16) -> Tensor:
    """Which frequencies a kernel lets pass: the absolute value of its discrete Fourier transform.

        R(f) = |sum_q K_q exp(-2 pi i f.q)|,  f = -1/2, -1/2 + 1/size, ... cycles per feature pixel

    1 in the middle (frequency 0: the kernel sums to one), 1 everywhere for a single tap, wherever it lies, and 0 at the
    multiples of 1/k for the uniform kernel. It holds size * size numbers per kernel: ask for a few pixels, not a map.

    Returns:
        [..., heads, size, size, H, W], 0..1; f_y down, f_x to the right, frequency 0 at [size // 2, size // 2].

    Raises:
        ValueError: if `size` is less than 1.
    """
    if size < 1:
        raise ValueError(f"size={size} must be 1 or more frequencies.")
    kernels, k = _checked(kernels, "kernel_response")
    frequencies = torch.arange(size, device=kernels.device, dtype=kernels.dtype).sub(size // 2) / size
    phase = -2 * math.pi * frequencies[:, None] * _offsets(k, kernels)  # [size, k]
    wave = torch.polar(torch.ones_like(phase), phase)
    taps = kernels.unflatten(-3, (k, k)).to(wave.dtype)
    return torch.einsum("fu,...uvhw,gv->...fghw", wave, taps, wave).abs()


def kernel_cutoff(kernels: Tensor) -> Tensor:
    """How low-pass a kernel is, in one number: 1/2 lets all frequencies pass, 1/(2k) is the uniform kernel.

        cutoff = 1/2 sqrt(sum_q K_q^2)

    The share of white noise that passes is the mean of R(f)^2 over all frequencies (`kernel_response`), which is
    sum_q K_q^2 (Parseval). An ideal filter that passes |f_y|, |f_x| <= cutoff and nothing else passes as much: the
    equivalent noise bandwidth (Harris, Proc. IEEE 66, 1978), in two dimensions. It says how much passes, not what:
    a kernel of two far-off taps passes some high frequencies and stops lower ones.

    Returns:
        [..., heads, H, W], 1/(2k)..1/2 cycles per feature pixel.
    """
    kernels, _ = _checked(kernels, "kernel_cutoff")
    return kernels.square().sum(-3).sqrt() / 2  # many times as fast as torch's norm along a dimension in the middle


def _checked(kernels: Tensor, who: str) -> tuple[Tensor, int]:
    """The kernels in float32 or float64, and k."""
    if not isinstance(kernels, Tensor):
        raise TypeError(
            f"{who} needs a torch tensor, got {type(kernels).__name__}: torch.from_numpy makes one of an array."
        )
    if kernels.ndim < 4:
        raise ValueError(f"{who} needs kernels [..., heads, k*k, H, W], got {tuple(kernels.shape)}.")
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
        raise ValueError(f"{who} needs kernels >= 0 that sum to one: give it `kernels`, not `kernel_logits`.")
    return work, k


def _offsets(k: int, like: Tensor) -> Tensor:
    """[k]: -(k-1)/2 .. (k-1)/2."""
    return torch.arange(k, device=like.device, dtype=like.dtype) - k // 2


def _moments(kernels: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """First [..., 2, H, W] and second [..., 2, 2, H, W] moments about the kernel's own pixel, in the order y, x."""
    offsets = _offsets(k, kernels)
    y, x = offsets.repeat_interleave(k), offsets.repeat(k)  # row-major taps
    powers = torch.stack([torch.ones_like(y), y, x, y * y, y * x, x * y, x * x])  # [7, k*k]
    mass, moments = (powers @ kernels.flatten(-2)).unflatten(-1, kernels.shape[-2:]).split((1, 6), -3)
    moments = moments / mass  # rounded kernels miss 1 by a little, which far from the centre is no little variance
    return moments[..., :2, :, :], moments[..., 2:, :, :].unflatten(-3, (2, 2))


def _inside(length: int, k: int, like: Tensor) -> Tensor:
    """[k, length]: 1 where a tap at that offset from that row (or column) lies inside the map, otherwise 0."""
    place = torch.arange(length, device=like.device) + torch.arange(k, device=like.device)[:, None] - k // 2
    return ((place >= 0) & (place < length)).to(like.dtype)


def _in_one_piece(kernels: Tensor) -> Tensor:
    """Whether the taps with at least half the largest weight hang together, corners included: [..., H, W] bool."""
    taps = kernels.shape[-3]
    k = math.isqrt(taps)
    top = kernels.amax(-3, keepdim=True)
    high = kernels >= top / 2
    # Pour water on one tap of `high` (the last) and let it run: what stays dry is another island.
    number = torch.arange(taps, device=kernels.device, dtype=torch.int32)[:, None, None]
    wet = number == torch.where(high, number, -1).amax(-3, keepdim=True)
    high, wet = high.unflatten(-3, (k, k)), wet.unflatten(-3, (k, k))
    while True:
        before, wet = wet, _widened(_widened(wet, -4), -3) & high
        if torch.equal(before, wet):
            return (wet == high).flatten(-4, -3).all(-3) & ~top.squeeze(-3).isnan()


def _widened(mask: Tensor, dim: int) -> Tensor:
    """Each True spreads to its two neighbours along `dim`."""
    out = mask.clone()
    length = mask.shape[dim]
    out.narrow(dim, 1, length - 1).logical_or_(mask.narrow(dim, 0, length - 1))
    out.narrow(dim, 0, length - 1).logical_or_(mask.narrow(dim, 1, length - 1))
    return out
