"""Notebook 01: kernels made by hand for dynamic convolution, kernels shared by blocks, and memory counted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sgdc_viz.data.synthetic import synthetic_nuclei
from sgdc_viz.lens import saved_for_backward
from sgdc_viz.nn import dynamic_conv2d
from sgdc_viz.views import Box, Figure, Picture, Scale, curves, heat, panels, square

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
        name, message = "one kernel for all pixels", "All pixels share the mean kernel: noise goes, borders too."
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
    """Count the numbers that autograd keeps for the backward pass of `forward()`, each storage once."""
    kept = saved_for_backward(forward)
    sizes = (tensor.untyped_storage().nbytes() // tensor.element_size() for tensor in kept)
    return Saved(sorted(sizes, reverse=True))


# --- pictures that answer a question of the notebook: what they say is not to be read before ------------------------


def first_picture(picture: Tensor, kernel: Tensor, result: Tensor) -> Figure:
    """A picture [H, W], a kernel [3, 3] whose only weight is right of the centre, and what it makes [H, W]."""
    scale = Scale("value", 0, 1, "gray")
    return panels(
        {
            "picture": picture.numpy(),
            "kernel: reads the right neighbour": heat(kernel, scale),
            "result": result.numpy(),
        },
        scale=scale,
        title="A tap right of the centre",
        message="Each pixel takes the value of its right neighbour, so the picture moves to the left.",
        alt="The letter F, a 3 by 3 kernel whose only weight is right of the centre, and the result: the same letter, "
        "one column further left.",
    )


def second_picture(images: Mapping[str, Tensor], kernels: Mapping[str, Tensor]) -> Figure:
    """Images [1, 1, H, W] (dark, its pixels shuffled, bright) above the kernel [k, k] that was made from each."""
    weight = Scale("weight of a tap (square-root colours)", 0, 1, "magma", power=0.5)
    made = {f"kernel made from: {name}": kernel for name, kernel in kernels.items()}
    return panels(
        {name: values.squeeze().numpy() for name, values in {**images, **made}.items()},
        columns=3,
        scale={**dict.fromkeys(images, BRIGHTNESS), **dict.fromkeys(made, weight)},
        title="One kernel per image",
        message="Dark and bright image get two kernels. Shuffled, the image keeps its kernel, though nothing is left "
        "to see.",
        alt="Three images above the kernels made from them. The dark image and its shuffled copy get the same kernel, "
        "all weight on the centre; the bright negative gets an almost uniform kernel that averages 7 by 7 pixels.",
    )


def third_picture(columns: np.ndarray, lines: Mapping[str, np.ndarray]) -> Figure:
    """A step before and after filtering: name -> brightness along a row, [n]; columns: where, [n]."""
    part = slice(8, 32)
    return curves(
        {"A blurred step": {name: (columns[part], values[part]) for name, values in lines.items()}},
        x_label="column (pixels)",
        y_label="brightness",
        y_range=(-0.05, 1.05),
        title="Can an average make a step steeper?",
        message="One kernel for all makes the step flatter. Kernels that look to their own side make it steeper, never "
        "higher.",
        alt="Three curves over 24 columns. Before: a smooth step from 0 to 1. One kernel for all: flatter. Kernels "
        "that look to their own side: a sudden jump in the middle, and never below 0 or above 1.",
    )


def fourth_picture(after: Mapping[str, np.ndarray]) -> Figure:
    """A picture of ones after a uniform 7 x 7 kernel: kind of padding -> values [15, 15], zeros first."""
    zeros = next(iter(after.values()))
    middle = len(zeros) // 2
    return panels(
        after,
        scale=Scale("value after filtering (1 before)", 0, 1),
        title="A constant picture, filtered with a uniform 7 × 7 kernel",
        message="With zeros outside, a frame three pixels wide loses value. The two other kinds keep the picture "
        "constant.",
        summary=f"Mass inside with zeros: {zeros[0, 0]:.0%} in a corner, {zeros[0, middle]:.0%} at a side, "
        f"{zeros[middle, middle]:.0%} inside.",
        alt="Three pictures that were 1 everywhere. With zero padding a frame of three pixels is lower, a third of the "
        "value in the corners and 57 percent at the sides; with replicate and renormalize the picture stays constant.",
    )
