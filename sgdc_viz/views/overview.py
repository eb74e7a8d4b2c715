"""The picture that makes the point: gates and kernel entropy of the finest block of two networks, on one scale."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from .figure import Box, Column, Figure, Picture, true_outline, truth_key
from .geometry import grey_at
from .style import MAPS, Scale, number, percent, shared_scale, two_digits


@dataclass(frozen=True, eq=False)
class BlockMaps:
    """What one dynamic block does at each pixel of its feature map, each float [h, w].

    Attributes:
        gate_static, gate_dynamic: mean over the channels of the two gates, 0..1.
        entropy: mean over the heads of `kernel_entropy`, 0 (one neighbour only) .. 1 (all neighbours alike).
        faithfulness: largest |rebuilt - the network's own| over the pixels that were checked.
    """

    gate_static: np.ndarray
    gate_dynamic: np.ndarray
    entropy: np.ndarray
    faithfulness: float


COLUMNS = (
    ("gate_static", "Static gate", "mean over channels; 0 shut, 1 open", "gate"),
    ("gate_dynamic", "Dynamic gate", "mean over channels; 0 shut, 1 open", "gate"),
    ("entropy", "Kernel entropy", "mean over heads; 0 one neighbour, 1 all alike", "entropy"),
)


def block_scales(maps: Iterable[BlockMaps]) -> list[Scale]:
    """The colour scale of each of COLUMNS, shared by all of `maps`."""
    maps = list(maps)
    return [
        shared_scale(f"{title.lower()} ({unit})", *(getattr(m, name) for m in maps), cmap=MAPS[look])
        for name, title, unit, look in COLUMNS
    ]


def overview(
    image: np.ndarray,
    maps: Mapping[str, BlockMaps],
    *,
    stride: int,
    pool_size: int,
    pixel: tuple[int, int],
    taps: int = 7,
    truth: np.ndarray | None = None,
    zoom: int = 1,
    trained: bool = True,
    remark: str = "",
    key: str = "",
) -> Figure:
    """Gates and kernel entropy of one block of two networks, side by side on one scale for each quantity.

    Args:
        image: uint8 [H, W, 3], as the networks saw it.
        maps: name of a network -> its maps [h, w]; first the guided one, then what it is compared with.
        stride: image pixels per feature pixel.
        pool_size: p of the second network, in feature pixels; without one, the p whose blocks are counted.
        pixel: (y, x) selected image pixel.
        taps: k of the k x k kernels.
        truth: object numbers (or a binary mask) [H, W], 0 background; None where nobody knows it.
        zoom: show 1/zoom of the longer side at first, around the pixel.
        trained: False where random weights are among the networks; the text then says so.
        remark: a sentence that follows the message.
        key: names the image; a page that gets another key forgets its zoom.

    Raises:
        ValueError: maps of unequal shape, or a pixel outside the image.
    """
    check_pixel(pixel, image)
    first, second = maps.values()
    if first.entropy.shape != second.entropy.shape:
        raise ValueError(f"maps to compare must agree in shape, got {first.entropy.shape} and {second.entropy.shape}.")
    outlines = true_outline(truth)
    mark = footprint(pixel, stride, taps)
    window = window_around(pixel, image.shape[:2], zoom)
    common = dict(linked=True, mark=mark, window=window)

    columns, rows = [], [[] for _ in maps]
    for (name, title, *_), scale in zip(COLUMNS, block_scales(maps.values()), strict=True):
        columns.append(Column(title, scale))
        for row, (label, m) in zip(rows, maps.items(), strict=True):
            pixels = getattr(m, name)
            alt = f"{title}, {label}: {number(scale.low)} to {number(scale.high)} on the shared scale."
            row.append(Picture(pixels, alt, scale, stride, **common))

    names, side = list(maps), pool_size * stride
    within = [within_block_variation(m.gate_static, pool_size) for m in maps.values()]
    along = [np.mean([edge_agreement(image, getattr(m, name), stride) for name, *_ in COLUMNS]) for m in maps.values()]
    told = [
        f"one map pixel is {stride} × {stride} image pixels",
        f"of all variation of the static gate, {percent(within[0])} happens inside the {side} × {side} pixel blocks "
        f"when {names[0]}, {percent(within[1])} when {names[1]}",
        f"edges of the image and changes of the maps go together with correlation {two_digits(along[0])} when "
        f"{names[0]}, {two_digits(along[1])} when {names[1]} (0 unrelated, 1 the same; mean of the three maps)",
    ]
    summary = f"Finest block: {'; '.join(told)}."
    message = _message(names, list(maps.values()), pool_size, along)
    message = f"{message if trained else f'Random weights, as a control. {message}'} {remark}".strip()
    return Figure(
        name="overview",
        title="What the finest block does where",
        message=message,
        summary=summary,
        alt=f"{message} {summary}",
        rows=tuple(names),
        columns=tuple(columns),
        cells=tuple(tuple(row) for row in rows),
        lead=Picture(image, f"The image, {image.shape[0]} rows by {image.shape[1]} columns. Click a pixel, or move it "
                     "with the arrow keys (shift: by ten).", outlines=outlines, **common),
        legend=_legend(truth, taps, stride),
        faithfulness=max(m.faithfulness for m in maps.values()),
        data=(("key", key), ("zoom", str(zoom)), ("stride", str(stride)),
              ("row", str(pixel[0])), ("column", str(pixel[1]))),
    )  # fmt: skip


FINE = 0.01  # a map is fine if more than this share of its variation lies inside the blocks
SAME = 0.05  # two maps are alike if their mean difference is below this share of their standard deviation
WEAK = 0.5  # maps that vary less than this share of the others are called weaker


def _message(names: list[str], maps: list[BlockMaps], pool_size: int, along: list[float]) -> str:
    """What there is to see, from the maps alone: who changes pixel by pixel, who follows the image's edges better."""
    a, b = (_quoted(name) for name in names)
    one, two = ([getattr(m, name) for name, *_ in COLUMNS] for m in maps)
    fine = [any(within_block_variation(m, pool_size) > FINE for m in ms) for ms in (one, two)]
    if all(np.abs(x - y).mean() <= max(SAME * x.std(), 1e-9) for x, y in zip(one, two, strict=True)):
        return f"The maps of {a} and {b} are alike: what differs shows in the kernels and the prediction."
    if fine[0] != fine[1]:
        by_pixel, by_block = names if fine[0] else names[::-1]
        constant = all(np.ptp(m) < 1e-6 for m in (two if fine[0] else one))
        other = "are the same everywhere" if constant else "only from block to block"
        return f"{_start(by_pixel)} gates and kernels change from pixel to pixel; {_quoted(by_block)} ones {other}."
    if not fine[0]:
        return f"Here neither {a} nor {b} changes inside its blocks."
    ahead = (
        f"{a} maps follow the outlines more closely" if along[0] - along[1] > 0.1 else
        f"{b} maps follow the outlines {'as' if along[1] - along[0] <= 0.1 else 'more'} closely"
        f"{' as' if along[1] - along[0] <= 0.1 else ' than'} {a} ones"
    )  # fmt: skip
    text = f"Both change pixel by pixel; {ahead} (correlation with the image's edges {two_digits(along[0])} {a}, "
    text += f"{two_digits(along[1])} {b})"
    strength = float(np.median([y.std() / max(x.std(), 1e-12) for x, y in zip(one, two, strict=True)]))
    return text + (f"; {b} maps vary only {number(strength, 2)} times as much." if strength < WEAK else ".")


def _quoted(name: str) -> str:
    """A name of several words needs quotes to be read as one."""
    return f"“{name}”" if " " in name else name


def _start(name: str) -> str:
    """A name at the start of a sentence."""
    return name.capitalize() if _quoted(name) == name else _quoted(name)


def _legend(truth: np.ndarray | None, taps: int, stride: int) -> tuple[tuple[str, str], ...]:
    box = ("footprint", f"the {taps * stride} × {taps * stride} pixels that the selected pixel's kernels reach")
    return box, truth_key(truth)


def within_block_variation(values: np.ndarray, pool_size: int) -> float:
    """Share of the variance of a map [h, w] that lies inside its p x p blocks: 0 if each block has one value, 0..1."""
    h, w = values.shape
    p = pool_size
    blocks = np.full((-(-h // p) * p, -(-w // p) * p), np.nan)
    blocks[:h, :w] = values
    blocks = blocks.reshape(blocks.shape[0] // p, p, -1, p)
    inside = values - np.nanmean(blocks, (1, 3)).repeat(p, 0).repeat(p, 1)[:h, :w]
    variance = float(np.var(values))
    return 0.0 if variance < 1e-14 else min(1.0, float(np.mean(inside**2)) / variance)


def edges_and_changes(image: np.ndarray, values: np.ndarray, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """How strongly the image changes at each feature pixel, and how strongly a map does.

    Args:
        image: uint8 [H, W, 3].
        values: a map [h, w].
        stride: image pixels per feature pixel.

    Returns:
        two maps [h, w]: lengths of the gradients (Gaussian derivative, 1 feature pixel) of the grey image and of the
        map. Their correlation is `edge_agreement`.
    """
    from scipy.ndimage import gaussian_gradient_magnitude

    grey = grey_at(image, tuple(-(-n // stride) for n in image.shape[:2]), stride)
    return tuple(gaussian_gradient_magnitude(np.asarray(m, float), 1.0) for m in (grey, values))


def edge_agreement(image: np.ndarray, values: np.ndarray, stride: int) -> float:
    """Do a map's changes lie where the image has edges? Pearson correlation of `edges_and_changes`, -1..1."""
    edges, changes = (m.ravel() for m in edges_and_changes(image, values, stride))
    if edges.std() < 1e-9 or changes.std() < 1e-9:
        return 0.0  # nothing changes anywhere
    return float(np.corrcoef(edges, changes)[0, 1])


def footprint(pixel: tuple[int, int], stride: int, taps: int) -> Box:
    """The image pixels that a k x k kernel reaches, around the feature pixel that `pixel` lies in."""
    y, x = ((n // stride - taps // 2) * stride for n in pixel)
    return Box(f"{taps} x {taps} taps", y, x, y + taps * stride, x + taps * stride)


def window_around(pixel: tuple[int, int], shape: tuple[int, int], zoom: int) -> tuple[int, int, int, int]:
    """(y0, x0, y1, x1): a square of 1/zoom of the longer side around `pixel`, kept inside the image where it fits."""
    if zoom <= 1:
        return 0, 0, *shape
    side = max(1, round(max(shape) / zoom))
    y0, x0 = (
        int(np.clip(n - side // 2, 0, size - side)) if side <= size else (size - side) // 2
        for n, size in zip(pixel, shape, strict=True)
    )
    return y0, x0, y0 + side, x0 + side


def check_pixel(pixel: tuple[int, int], image: np.ndarray) -> None:
    check_inside(pixel, *image.shape[:2])


def check_inside(pixel: tuple[int, int], height: int, width: int) -> None:
    y, x = pixel
    if not (0 <= y < height and 0 <= x < width):
        raise ValueError(
            f"pixel row {y}, column {x} is outside the image: rows go from 0 to {height - 1}, columns to {width - 1}."
        )
