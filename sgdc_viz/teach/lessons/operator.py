"""Notebook 01: kernels made by hand for dynamic convolution, kernels shared by blocks, and memory counted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from sgdc_viz.data.synthetic import synthetic_nuclei
from sgdc_viz.nn import dynamic_conv2d
from sgdc_viz.views import Box, Figure, Picture, Scale, panels, square

BRIGHTNESS = Scale("brightness", 0, 1, "gray")
WEIGHT = Scale("weight of a tap", 0, 0.05, "magma")
ERROR = Scale("distance from the clean picture", 0, 0.2, "magma")


def drawn_cells(side: int = 96, noise: float = 0.1) -> tuple[Tensor, Tensor]:
    """A drawn picture of bright cells on dark ground, and the same with noise.

    Returns:
        clean and noisy, each [1, 1, side, side]: cells 0.7, ground 0.3; Gaussian noise of standard deviation `noise`.
    """
    cells = synthetic_nuclei(3, side, style="fluorescence", count=9, radius=0.085).mask
    clean = 0.3 + 0.4 * torch.from_numpy(cells).float()[None, None]
    return clean, clean + noise * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))


def similarity_kernels(x: Tensor, kernel_size: int, width: float) -> Tensor:
    """Kernels made by hand: at each pixel, neighbours count that are about as bright as the pixel itself.

        L[q, p] = -(x[p + q] - x[p])^2 / (2 width^2)        K = softmax over q of L

    This is the range part of a bilateral filter (Tomasi and Manduchi, ICCV 1998). Neighbours outside the image get
    no weight (their logit is minus infinity), so every kernel keeps its whole mass inside.

    Args:
        x: image [B, C, H, W]; each channel gets kernels of its own, one head a channel.
        kernel_size: k, odd.
        width: a difference in brightness of more than about two widths counts as another thing.

    Returns:
        [B, C, k*k, H, W], sums over k*k are 1.

    Raises:
        ValueError: k is even, or width is not positive.
    """
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size={kernel_size} must be odd and positive, so that the kernel has a centre.")
    if not width > 0:
        raise ValueError(f"width={width} must be positive.")
    batch, channels, height, wide = x.shape
    neighbours = F.unfold(F.pad(x, (kernel_size // 2,) * 4, value=math.inf), kernel_size)
    neighbours = neighbours.view(batch, channels, kernel_size**2, height, wide)
    return (-((neighbours - x[:, :, None]) ** 2) / (2 * width**2)).softmax(2)  # exp(-inf) = 0 outside


def share_kernels(kernels: Tensor, block: int) -> Tensor:
    """All pixels of a block get one kernel: the mean of the kernels that they had. It sums to one as they did.

    Args:
        kernels: [B, heads, k*k, H, W].
        block: side of a block in pixels, counted from the upper left corner; blocks at the far borders may be smaller.
            A block as large as the image gives one kernel for all pixels; 1 changes nothing.

    Raises:
        ValueError: block under 1.
    """
    if block < 1:
        raise ValueError(f"block={block} must be 1 pixel or more.")
    height, width = kernels.shape[-2:]
    block = min(block, max(height, width))
    flat = kernels.flatten(1, 2)
    means = F.avg_pool2d(flat, block, ceil_mode=True, count_include_pad=False)
    rows, columns = torch.arange(height) // block, torch.arange(width) // block
    return means[:, :, rows][:, :, :, columns].view_as(kernels)


def sharing_figure(clean: Tensor, noisy: Tensor, kernels: Tensor, block: int, pixel: tuple[int, int]) -> Figure:
    """What is left of a filter when all pixels of a block share one kernel.

    Args:
        clean, noisy: [1, 1, H, W].
        kernels: [1, 1, k*k, H, W], one per pixel.
        block: see `share_kernels`.
        pixel: (row, column) whose kernel is shown.

    Returns:
        where the pixel and its block lie, the filtered picture, its distance from the clean one, and the kernel.
    """
    shared = share_kernels(kernels, block)
    filtered = dynamic_conv2d(noisy, shared)
    row, column = pixel
    kernel = square(shared[0, 0, :, row, column].numpy())
    reach = len(kernel) // 2
    seen = Box("window of this kernel", row - reach, column - reach, row + reach + 1, column + reach + 1)
    height, width = noisy.shape[-2:]
    top, left = row - row % block, column - column % block
    mine = Box("block that shares it", top, left, min(top + block, height), min(left + block, width), "block")
    boxes = (seen,) if block == 1 else (seen, mine)

    def rms(values: Tensor) -> float:
        """Without a rim in which zero padding tells more than the kernel."""
        inner = (values - clean)[..., reach : height - reach, reach : width - reach]
        return float(inner.square().mean().sqrt())

    def picture(values: Tensor, scale: Scale, alt: str, boxes: tuple[Box, ...] = ()) -> Picture:
        return Picture(values[0, 0].numpy(), alt, scale, boxes=boxes, bar=True)

    if block == 1:
        name, message = "one kernel per pixel", "Every pixel has its own kernel: most of the noise goes, borders stay."
    elif block >= max(height, width):
        name, message = "one kernel for all pixels", "All pixels share one kernel: noise goes, and so do the borders."
    else:
        name = f"one kernel per block of {block} × {block} pixels"
        message = "A block shares one kernel; where a border runs through it, the kernel takes from both sides."
    return panels(
        {
            "where (clean picture)": picture(clean, BRIGHTNESS, "The clean picture.", boxes),
            "filtered noisy picture": picture(filtered, BRIGHTNESS, f"The noisy picture, filtered with {name}."),
            "error": picture((filtered - clean).abs(), ERROR, "Distance of the filtered picture from the clean one."),
            "kernel of the white box": Picture(
                kernel,
                f"The kernel, {len(kernel)} by {len(kernel)} weights.",
                WEIGHT,
                bar=True,
                boxes=(Box("centre", reach, reach, reach + 1, reach + 1),),
            ),
        },
        title=f"{name[0].upper()}{name[1:]}",
        message=message,
        summary=f"Root mean square error, without a rim of {reach} pixels: {rms(filtered) / rms(noisy):.0%} of "
        "the noisy picture's.",
        alt=f"{name}: {message} The clean picture with the place, the filtered noisy picture, its "
        "error, and the kernel at a cell's border.",
        legend=(("footprint", "window of the kernel"), *((("block", "its block"),) if block > 1 else ())),
        name="sharing",
    )


@dataclass
class Saved:
    """What autograd keeps between forward and backward.

    Attributes:
        sizes: numbers in each storage kept, largest first.
    """

    sizes: list[int] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many numbers in all."""
        return sum(self.sizes)


def saved_numbers(forward: Callable[[], Tensor]) -> Saved:
    """Count the numbers that autograd keeps for the backward pass of `forward()`, each storage once.

    Views share the storage of what they look at, so a shifted view of an image costs nothing. Works on the meta
    device too, where tensors have a shape but no numbers: sizes can be counted that this machine could not hold.
    """
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor  # kept alive, or another storage could get the same identity
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        forward()
    sizes = (tensor.untyped_storage().nbytes() // tensor.element_size() for tensor in kept.values())
    return Saved(sorted(sizes, reverse=True))
