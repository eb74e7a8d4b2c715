"""One pixel under the microscope: its kernels, its gates, and the sum that is the network's own value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from .figure import Bars, Box, Column, Figure, Heat, Picture, Words
from .overview import check_pixel
from .style import MAPS, Scale, direction, number, shared_scale

if TYPE_CHECKING:
    from sgdc_viz.lens import PixelView


def pixel_kernels(views: Mapping[str, PixelView], pixel: tuple[int, int]) -> Figure:
    """The kernels of all heads at one pixel, one row for each network, all on one scale.

    Args:
        views: name of a network -> what its block did at this pixel (`Recording.at`); kernels [heads, k, k].
        pixel: (y, x) selected image pixel.
    """
    kernels = {name: _array(view.kernels) for name, view in views.items()}
    scale = _kernel_scale(kernels.values())
    rows, told = [], []
    for name, ks in kernels.items():
        spread = [neighbours(k) for k in ks]
        rows.append((tuple(
            Heat(k, scale, f"{h}: {number(n, 2)} of {k.size}", f"Kernel of head {h}, {name}: {_describe(k)}")
            for h, (k, n) in enumerate(zip(ks, spread, strict=True), start=1)
        ),))  # fmt: skip
        told.append(f"{name}: {describe_spread(float(np.mean(spread)), ks[0].size)}")
    k = scale_size = next(iter(kernels.values())).shape[-1]
    message = f"row {pixel[0]}, column {pixel[1]}"
    summary = f"Under each kernel: how many of its {k * scale_size} neighbours count. {'; '.join(told)}."
    return Figure(
        name="kernels",
        title="Selected pixel",
        message=message,
        summary=summary,
        alt=f"Kernels of each head at row {pixel[0]}, column {pixel[1]}. {summary}",
        rows=tuple(kernels),
        columns=(Column(f"Kernels, {len(rows[0][0])} heads", scale),),
        cells=tuple(rows),
        data=(("y", str(pixel[0])), ("x", str(pixel[1]))),
    )


def microscope(
    image: np.ndarray,
    views: Mapping[str, PixelView],
    pixel: tuple[int, int],
    *,
    pool_sizes: Mapping[str, int | None],
    channel: int | None = None,
) -> Figure:
    """How a block makes one value at one pixel: neighbours x kernel, summed, times the gate; and all gates there.

    Args:
        image: uint8 [H, W, 3], as the networks saw it.
        views: name of a network -> what its block did at this pixel (`Recording.at`).
        pixel: (y, x) selected image pixel.
        pool_sizes: name of a network -> p in feature pixels if its kernels are shared by p x p blocks, else None.
        channel: which channel to follow; None takes the one of the largest mean |value| over the networks, for all.

    Raises:
        ValueError: pixel outside the image, or no such channel.
    """
    check_pixel(pixel, image)
    if channel is None:
        channel = int(np.mean([np.abs(_array(view.dynamic)) for view in views.values()], axis=0).argmax())
    parts = {name: _follow(view, channel) for name, view in views.items()}
    v_scale = shared_scale("normalised feature v (no unit)", *(p["patch"] for p in parts.values()), cmap=MAPS["signed"],
                           symmetric=True, share=100)  # fmt: skip
    p_scale = shared_scale("product v × weight (no unit)", *(p["product"] for p in parts.values()), cmap=MAPS["signed"],
                           symmetric=True, share=100)  # fmt: skip
    k_scale = _kernel_scale([_array(view.kernels) for view in views.values()])
    rows, told, shared = [], [], []
    for name, view in views.items():
        p = parts[name]
        block = _shared_block(view, pool_sizes.get(name))
        if block is not None:
            shared.append(f"All pixels of the dashed {block.y1 - block.y0} px block share the {name} kernels.")
        what = f"{name}, channel {p['channel']}"
        rows.append((
            _where(image, view, block, name),
            Heat(p["patch"], v_scale, f"channel {p['channel']}", f"The neighbours of {what}, normalised features."),
            Heat(p["kernel"], k_scale, f"head {p['head'] + 1}", f"Kernel of head {p['head'] + 1}, {name}: "
                 f"{_describe(p['kernel'])}"),
            Heat(p["product"], p_scale, f"sum {number(p['sum'])}", f"Products of neighbours and kernel of {what}; "
                 f"their sum is {number(p['sum'])}."),
            Words((
                f"channel {p['channel']}, head {p['head'] + 1}",
                f"sum of {p['kernel'].size} products {number(p['sum'])}",
                f"× gate {number(p['gate'])}",
                f"= {number(p['value'])}",
                f"network's own value {number(p['own'])}",
            )),
            Bars(_array(view.gate_static), GATES, f"Gates of the static branch, {name}: {_range(view.gate_static)}",
                 p["channel"]),
            Bars(_array(view.gate_dynamic), GATES, f"Gates of the dynamic branch, {name}: {_range(view.gate_dynamic)}",
                 p["channel"]),
        ))  # fmt: skip
        told.append(
            f"{name}, channel {p['channel']}: {number(p['sum'])} × {number(p['gate'])} = {number(p['value'])}; the "
            f"network computed {number(p['own'])}"
        )
    error = max(view.error for view in views.values())
    channels = len(_array(next(iter(views.values())).gate_static))
    i, j = next(iter(views.values())).feature
    stride = next(iter(views.values())).stride
    summary = (
        f"Image row {pixel[0]}, column {pixel[1]} lies in feature pixel ({i}, {j}); stride {stride}, so each tap is "
        f"{stride} × {stride} image pixels. {'. '.join(told)}. Checked on all {channels} channels. {' '.join(shared)}"
    ).strip()
    return Figure(
        name="microscope",
        title="The sum at the selected pixel",
        message="Each neighbour times its weight, added up, times the gate: the network's own value.",
        summary=summary,
        alt=f"Neighbours, kernel, products and gates at row {pixel[0]}, column {pixel[1]}. {summary}",
        rows=tuple(views),
        columns=(
            Column("Where the kernel looks"), Column("Neighbours v", v_scale), Column("× kernel of its head", k_scale),
            Column("= products", p_scale), Column("The sum, gated"), Column("Static gate of each channel"),
            Column("Dynamic gate of each channel"),
        ),
        cells=tuple(rows),
        legend=(("footprint", "the kernel's footprint"), ("block", "block that shares one kernel of each head"),
                ("chosen", "the channel followed here")),
        faithfulness=error,
        data=(("y", str(pixel[0])), ("x", str(pixel[1]))),
    )  # fmt: skip


GATES = Scale("gate (0 shut, 1 open), one bar a channel", 0.0, 1.0, MAPS["gate"])


def neighbours(kernel: np.ndarray) -> float:
    """How many neighbours a kernel effectively averages: exp of its entropy; 1 for one tap, k*k for a uniform one."""
    p = kernel[kernel > 0]
    return float(np.exp(-(p * np.log(p)).sum()))


def describe_spread(count: float, taps: int) -> str:
    """A kernel's spread in words."""
    share = count / taps
    words = ("almost a single neighbour" if count < 1.5 else "a few neighbours" if share < 0.15 else
             "a part of the window" if share < 0.5 else "most of the window" if share < 0.9 else
             "all neighbours nearly alike")  # fmt: skip
    return f"{words} ({number(count, 2)} of {taps} on average)"


def _describe(kernel: np.ndarray) -> str:
    y, x = np.unravel_index(kernel.argmax(), kernel.shape)
    where = direction(int(y) - kernel.shape[0] // 2, int(x) - kernel.shape[1] // 2)
    told = f"{number(neighbours(kernel), 2)} of {kernel.size} neighbours count"
    return f"{told}; the largest weight, {number(kernel.max())}, is at {where}."


def _kernel_scale(kernels) -> Scale:
    high = max(float(k.max()) for k in kernels)
    return Scale("weight (they sum to 1), square-root colours", 0.0, high, MAPS["kernel"], power=0.5)


def _follow(view: PixelView, channel: int) -> dict:
    """One channel on its way from the neighbours to the value."""
    value = _array(view.dynamic)
    if not 0 <= channel < len(value):
        raise ValueError(f"channel {channel} does not exist: this block has channels 0 to {len(value) - 1}.")
    weights = _array(view.weights)
    head = channel // (len(value) // len(weights))
    return {
        "channel": channel, "head": head, "patch": _array(view.patch)[channel], "kernel": weights[head],
        "product": _array(view.contribution)[channel], "sum": float(view.filtered[channel]),
        "gate": float(view.gate_dynamic[channel]), "value": float(value[channel]),
        "own": float(view.model_dynamic[channel]),
    }  # fmt: skip


def _where(image: np.ndarray, view: PixelView, block: Box | None, name: str) -> Picture:
    """The image around the footprint, twice as wide as that (or as the shared block)."""
    y0, x0, y1, x1 = view.box
    boxes = [Box("the kernel's footprint", y0, x0, y1, x1)]
    if block is not None:
        boxes.append(block)
    margin = y1 - y0
    top, left = max(0, y0 - margin), max(0, x0 - margin)
    crop = image[top : y1 + margin, left : x1 + margin]
    alt = f"The image around the selected pixel, {name}. The solid box is what the kernel reaches"
    alt += "." if block is None else "; all pixels of the dashed block share one kernel."
    return Picture(crop, alt, origin=(top, left), boxes=tuple(boxes),
                   window=(y0 - margin, x0 - margin, y1 + margin, x1 + margin))  # fmt: skip


def _shared_block(view: PixelView, pool_size: int | None) -> Box | None:
    if pool_size is None or pool_size == 1:
        return None
    side = pool_size * view.stride
    y, x = (n // pool_size * side for n in view.feature)
    return Box("pixels that share one kernel", y, x, y + side, x + side, "block")


def _range(values) -> str:
    values = _array(values)
    return f"from {number(values.min())} to {number(values.max())}, mean {number(values.mean())}."


def _array(tensor) -> np.ndarray:
    return np.asarray(tensor, dtype=np.float64)
