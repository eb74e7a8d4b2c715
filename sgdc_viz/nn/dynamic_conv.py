"""Dynamic convolution: every pixel is filtered with a kernel of its own.

    out[b, c, p] = sum_q  kernels[b, head(c), q, p] * x[b, c, p + q]

q runs over the k x k taps in row-major order, centred on p; head h owns the h-th contiguous slice of C / heads
channels. SGDC (Shi et al., MIDL 2026, arXiv 2602.23496) uses it with kernels that a softmax has made sum to one.

Two versions stand here side by side. `dynamic_conv2d_reference` says the formula out loud: it gathers all k*k
neighbours of each pixel and so holds a tensor of C*k*k*H*W numbers (784 MiB for C = 64, k = 7, 256 x 256 in float32).
`dynamic_conv2d` gives the same result and never holds it: shift the image by one tap, multiply by that tap's weights,
add, next tap. Only x and the kernels are kept for the backward pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

PADDINGS = ("zeros", "replicate", "renormalize")

# "renormalize" divides by the kernel's mass inside the image, which is 0 if a sharp kernel looks only outside: 0/0.
_LEAST_MASS = 1e-6

# On a CPU the work is cut into tiles of about this many output values, so that the running sum stays in the cache.
# 2**20 was the best of 2**15 ... 2**20 on a two-core machine (see `make bench`). A GPU takes everything in one tile.
_CPU_TILE = 2**20


def dynamic_conv2d(x: Tensor, kernels: Tensor, padding: str = "zeros") -> Tensor:
    """Filter each pixel of `x` with its own kernel (fast path; same result as `dynamic_conv2d_reference`).

    Args:
        x: features [B, C, H, W].
        kernels: [B, heads, k*k, H, W], used as they are (softmax them first if they should sum to one); k odd.
        padding: what lies outside the image.
            "zeros": nothing, as the authors released it. With kernels that sum to one this darkens borders: a uniform
            7 x 7 kernel keeps 33 % of its mass in a corner and 57 % at an edge.
            "replicate": the border pixel goes on for ever; kernels keep their full mass.
            "renormalize": zeros, then divide by the kernel's mass inside the image, so that a constant image stays
            constant. Meant for kernels >= 0. A kernel with less than 1e-6 of its mass inside fades to 0.

    Returns:
        [B, C, H, W], in the wider of the two input dtypes.

    Raises:
        ValueError: if shapes do not fit, k is even or `padding` is unknown.

    Half-precision inputs are summed in float32. Differentiable once (no double backward); works on the meta device
    and inside `torch.compile` without a graph break.
    """
    k = _check(x, kernels, padding)
    dtype = torch.promote_types(x.dtype, kernels.dtype)
    x, kernels = x.to(dtype), kernels.to(dtype)
    out = _valid(_pad(x, k // 2, padding), kernels)
    if padding == "renormalize":
        ones = x.new_ones(x.shape[0], kernels.shape[1], *x.shape[2:])  # one channel a head: [B, heads, H, W]
        mass = _valid(_pad(ones, k // 2, padding), kernels).clamp_min(_LEAST_MASS)
        out = (out.unflatten(1, (kernels.shape[1], -1)) / mass[:, :, None]).flatten(1, 2)
    return out


def dynamic_conv2d_reference(x: Tensor, kernels: Tensor, padding: str = "zeros") -> Tensor:
    """The formula, spelled out with `unfold`. Slow and hungry for memory; the judge of `dynamic_conv2d`.

    Args, Returns, Raises: as `dynamic_conv2d`.
    """
    k = _check(x, kernels, padding)
    batch, channels, height, width = x.shape
    heads = kernels.shape[1]
    patches = F.unfold(_pad(x, k // 2, padding), k)  # [B, C*k*k, H*W]
    patches = patches.view(batch, heads, channels // heads, k * k, height, width)
    weights = kernels[:, :, None]  # [B, heads, 1, k*k, H, W]: all channels of a head share the kernel
    out = (patches * weights).sum(3)  # [B, heads, C/heads, H, W]
    if padding == "renormalize":
        inside = F.unfold(_pad(torch.ones_like(x[:, :1]), k // 2, padding), k).view(batch, 1, 1, k * k, height, width)
        out = out / (inside * weights).sum(3).clamp_min(_LEAST_MASS)
    return out.reshape(batch, channels, height, width)


def _check(x: Tensor, kernels: Tensor, padding: str) -> int:
    """Return k, or raise a ValueError that says which argument does not fit."""
    if x.ndim != 4 or kernels.ndim != 5:
        raise ValueError(
            f"dynamic_conv2d needs x [B, C, H, W] and kernels [B, heads, k*k, H, W], got x {tuple(x.shape)} "
            f"and kernels {tuple(kernels.shape)}."
        )
    if padding not in PADDINGS:
        raise ValueError(f"padding={padding!r} is unknown: use one of {', '.join(PADDINGS)}.")
    k = math.isqrt(kernels.shape[2])
    if k * k != kernels.shape[2] or k % 2 == 0:
        raise ValueError(
            f"kernels have {kernels.shape[2]} taps, which is not the square of an odd number: use k = 1, 3, 5, 7, ..."
        )
    if x.shape[0] != kernels.shape[0] or x.shape[2:] != kernels.shape[3:]:
        raise ValueError(
            f"x {tuple(x.shape)} and kernels {tuple(kernels.shape)} differ in batch or image size: "
            "each pixel of x needs one kernel per head."
        )
    if kernels.shape[1] < 1 or x.shape[1] % kernels.shape[1]:
        raise ValueError(f"{x.shape[1]} channels cannot be shared by {kernels.shape[1]} heads: make heads a divisor.")
    return k


def _pad(x: Tensor, r: int, padding: str) -> Tensor:
    mode = "replicate" if padding == "replicate" else "constant"
    return F.pad(x, (r, r, r, r), mode=mode) if r else x


# --- the fast path --------------------------------------------------------------------------------------------------


def _valid(padded: Tensor, kernels: Tensor) -> Tensor:
    """`padded` [B, C, H+2r, W+2r], `kernels` [B, heads, k*k, H, W] -> [B, C, H, W]: `_shift_and_add`, as it is needed.

    A custom operator where a gradient is wanted, and where torch.compile or the meta device must see one opaque step
    with a known output shape. Else the function itself: the first custom operator makes torch load its compiler, which
    takes longer than the program that only wants to look at an image.
    """
    plain = type(padded) is type(kernels) is Tensor and not padded.is_meta
    if plain and not torch.is_grad_enabled() and not torch.compiler.is_compiling():
        return _shift_and_add(padded, kernels)
    return _valid_op(padded, kernels)


def _shift_and_add(padded: Tensor, kernels: Tensor) -> Tensor:
    """`padded` [B, C, H+2r, W+2r], `kernels` [B, heads, k*k, H, W] -> [B, C, H, W].

    Rows must be contiguous for the shifts to be fast, so a channels_last input is copied first.
    """
    batch, heads, taps, height, width = kernels.shape
    k, channels = math.isqrt(taps), padded.shape[1] // heads
    work = _accumulate_in(padded.dtype)
    source = padded.to(work).contiguous().unflatten(1, (heads, channels))
    out = source.new_zeros(batch, heads, channels, height, width)
    for b, h, y in _tiles(batch, heads, channels, height, width, padded.device):
        total = out[b, h, :, y]
        weights = kernels[b, h, :, y].to(work)
        for q, shifted in enumerate(_shifts(source[b, h], k, y, width)):
            total.addcmul_(shifted, weights[:, :, None, q])
    return out.flatten(1, 2).to(padded.dtype)


_valid_op = torch.library.custom_op("sgdc_viz::dynamic_conv2d_valid", _shift_and_add, mutates_args=())


@torch.library.custom_op("sgdc_viz::dynamic_conv2d_valid_backward", mutates_args=())
def _valid_backward(grad: Tensor, padded: Tensor, kernels: Tensor) -> tuple[Tensor, Tensor]:
    """The two gradients of `_valid`.

    d padded: each output pixel sends grad * weight back to the neighbour it read (the same shifts, written to).
    d kernels[q]: grad * shifted neighbour, summed over the channels of the head. Here the loop runs over channels and
    does all k*k taps at once through a strided view, so nothing larger than the kernels themselves is made.
    """
    batch, heads, taps, height, width = kernels.shape
    k, channels = math.isqrt(taps), padded.shape[1] // heads
    work = _accumulate_in(padded.dtype)
    source = padded.to(work).contiguous().unflatten(1, (heads, channels))
    grad = grad.to(work).contiguous().unflatten(1, (heads, channels))
    grad_source = torch.zeros_like(source)
    grad_kernels = grad.new_zeros(batch, heads, k, k, height, width)
    for b, h, y in _tiles(batch, heads, channels, height, width, padded.device):
        weights, g = kernels[b, h, :, y].to(work), grad[b, h, :, y]
        for q, shifted in enumerate(_shifts(grad_source[b, h], k, y, width)):
            shifted.addcmul_(g, weights[:, :, None, q])
    # Here a tile holds k*k planes a head instead of `channels`.
    for b, h, y in _tiles(batch, heads, k * k, height, width, padded.device):
        total = grad_kernels[b, h, :, :, y]
        rows = slice(y.start, y.stop + k - 1)
        for c in range(channels):
            window = source[b, h, c, rows].unfold(2, y.stop - y.start, 1).unfold(3, width, 1)  # [b, h, k, k, rows, W]
            total.addcmul_(window, grad[b, h, c, y][:, :, None, None])
    return grad_source.flatten(1, 2).to(padded.dtype), grad_kernels.flatten(2, 3).to(kernels.dtype)


def _shifts(source: Tensor, k: int, y: slice, width: int) -> Iterator[Tensor]:
    """The k*k shifted views (no copies) of rows `y`: source [b, h, c, H+2r, W+2r] -> each [b, h, c, rows, W]."""
    for dy in range(k):
        rows = source[..., y.start + dy : y.stop + dy, :]
        yield from rows.unfold(4, width, 1).unbind(4)


def _tiles(
    batch: int, heads: int, channels: int, height: int, width: int, device: torch.device
) -> Iterator[tuple[slice, slice, slice]]:
    """Cut (batch, heads, rows) into tiles of about `_CPU_TILE` values; one tile for all on other devices."""
    budget = _CPU_TILE if device.type == "cpu" else batch * heads * channels * height * width
    rows = _clamp(budget // max(1, channels * width), height)
    head_step = _clamp(budget // max(1, channels * width * rows), heads)
    batch_step = _clamp(budget // max(1, channels * width * rows * head_step), batch)
    for b in range(0, batch, batch_step):
        for h in range(0, heads, head_step):
            for y in range(0, height, rows):
                yield slice(b, b + batch_step), slice(h, h + head_step), slice(y, min(y + rows, height))


def _clamp(value: int, most: int) -> int:
    return max(1, min(value, most))


def _accumulate_in(dtype: torch.dtype) -> torch.dtype:
    """49 products summed in bfloat16 would keep two digits: sum half precision in float32."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


@_valid_op.register_fake
def _(padded: Tensor, kernels: Tensor) -> Tensor:
    return padded.new_empty(padded.shape[0], padded.shape[1], *kernels.shape[3:])


@_valid_backward.register_fake
def _(grad: Tensor, padded: Tensor, kernels: Tensor) -> tuple[Tensor, Tensor]:
    return padded.new_empty(padded.shape), kernels.new_empty(kernels.shape)


def _save(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor]:
    return _valid_backward(grad, *ctx.saved_tensors)


_valid_op.register_autograd(_backward, setup_context=_save)
