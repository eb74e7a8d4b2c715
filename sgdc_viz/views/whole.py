"""A whole image, however large, with what was found in it and the part that the other pictures show."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from .figure import Box, Column, Figure, Outline, Picture, Words, truth_key
from .style import number, outlines_of, percent, png_uri

SIDE = 1024  # pixels of the longer side that are drawn, at most
BYTES = 1_000_000  # of the drawn picture as PNG, at most
POINTS = 40_000  # of all outlines, at most; each point is written twice, with 10 letters
SMOOTH = 1.0  # drawn pixels by which an outline may be off
SMALL = 1 / 40  # of the longer side: outlines of objects that are smaller than this (the median) are drawn finer
MEASURES = (("iou", "IoU"), ("dice", "Dice"), ("nsd1", "surface Dice at 1 px"), ("hd95", "HD95 (px)"))

# For gr.HTML's js_on_load, as views/linked.js: a click or an arrow key tells which pixel of the whole image is wanted.
# Not linked with the other pictures: those count the pixels of the part that they show.
WHOLE_JS = """
const picture = () => element.querySelector(".sg-whole .sg-lead svg, .sg-whole .sg-cell svg.sg-plane");
const tell = (y, x) => trigger("select", { index: [x, y], value: null });

element.addEventListener("click", (event) => {
  const svg = event.target.closest?.("svg");
  if (!svg || svg !== picture()) return;
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  const { width, height } = svg.viewBox.baseVal;
  const [y, x] = [Math.floor(point.y), Math.floor(point.x)];
  if (y >= 0 && x >= 0 && y < height && x < width) tell(y, x);
});

element.addEventListener("keydown", (event) => {
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  const svg = picture();
  if (!step || event.target !== svg) return;
  event.preventDefault();
  const { width, height } = svg.viewBox.baseVal;
  const shown = element.querySelector("[data-part]").dataset.part;
  const [y0, x0, y1, x1] = shown ? shown.split(" ").map(Number) : [0, 0, height, width];
  const inside = (n, size) => Math.max(0, Math.min(size - 1, Math.floor(n)));
  const [y, x] = [y0 + ((1 + step[0]) * (y1 - y0)) / 2, x0 + ((1 + step[1]) * (x1 - x0)) / 2]; // half a part further
  tell(inside(y, height), inside(x, width));
});

function ready() {
  const svg = picture();
  if (!svg) return;
  svg.setAttribute("tabindex", "0");
  svg.setAttribute("role", "application");
  svg.setAttribute("aria-roledescription", "part picker");
  svg.style.cursor = "crosshair";
}
watch("value", ready);
ready();
"""


def whole(
    image: np.ndarray,
    *,
    mask: np.ndarray | None = None,
    objects: int | None = None,
    name: str = "guided",
    truth: np.ndarray | None = None,
    metrics: Mapping[str, float] | None = None,
    part: tuple[int, int, int, int] | None = None,
) -> Figure:
    """The whole image made smaller, with outlines and the box of the part that is looked at closely; once there is a
    mask, that part stands beside it, pixel for pixel.

    Coordinates are pixels of `image`, whatever size it is drawn at; so are clicks (`WHOLE_JS`).

    Args:
        image: uint8 [H, W, 3], as it was given.
        mask: bool [H, W], what a network found; None: it was not asked yet.
        objects: connected parts of the mask.
        name: of that network.
        truth: object numbers (or a binary mask) [H, W]; None where nobody knows it.
        metrics: of the mask against the truth, as `sgdc_viz.learn.metrics.evaluate_masks` gives them.
        part: (y0, x0, y1, x1), what the other pictures show; None where they can show all of it.

    Raises:
        ValueError: a mask or a truth of another size than the image.
    """
    height, width = image.shape[:2]
    for what, map_ in (("mask", mask), ("truth", truth)):
        if map_ is not None and map_.shape != (height, width):
            raise ValueError(f"{what} has shape {map_.shape} and the image {(height, width)}: make them agree.")
    stride = -(-max(height, width) // SIDE)
    pixels, stride = _light(image, stride)
    drawn = {style: (label, map_) for style, label, map_ in (
        ("prediction", f"{name} mask", mask), ("truth", "true outline", truth)) if map_ is not None}  # fmt: skip
    outlines, left_out = _outlines(drawn, stride, POINTS)
    outlines = tuple(replace(o, fine=_small(o.curves, SMALL * max(height, width))) for o in outlines)
    part = None if part == (0, 0, height, width) else part
    boxes = () if part is None else _frame(part, max(height, width))

    found, told = _found(mask, objects, name, metrics, truth)
    size = f"{width} × {height} pixels"
    where = f"rows {part[0]}–{part[2] - 1}, columns {part[1]}–{part[3] - 1}" if part else "all of it"
    shown = f"The other pictures {'show' if part else 'can show'} {where}."
    scale = f"The image has {size}; drawn here is one pixel for {stride} × {stride} of them." if stride > 1 else (
        f"The image has {size}.")  # fmt: skip
    if left_out:
        scale += f" The {left_out} smallest outlines are left out of the drawing, not of the numbers."
    summary = f"{told} {scale} {shown}".strip()
    legend = []
    if mask is not None:
        legend.append(("prediction", f"outline of the {name} mask (probability over 0.5)"))
    legend.append(truth_key(truth))
    if part:
        legend.append(("footprint", "double frame: the part that the other pictures show"))
    alt = f"The whole image, {height} rows by {width} columns. {found} {shown}"
    lines = ["click the picture to see another part" if part else "the image is small enough to be seen whole"]
    cells = {"found": Words(_words(mask, objects, metrics, truth)), "shown": Words((size, *where.split(", "), *lines))}
    if part and mask is not None:
        close, too_many = _close(image, part, drawn, where)
        cells = {"close": close, **cells}
        summary += f" The {too_many} smallest outlines are left out of the close picture." * (too_many > 0)
    return Figure(
        name="whole",
        title="The whole image",
        message=found,
        summary=summary,
        alt=alt,
        rows=tuple(cells),
        columns=(Column(""),),
        cells=tuple((cell,) for cell in cells.values()),
        lead=Picture(pixels, alt, stride=stride, outlines=outlines, boxes=boxes, window=(0, 0, height, width)),
        legend=tuple(legend),
        data=(("part", " ".join(map(str, part)) if part else ""),),
    )  # fmt: skip


def _close(image: np.ndarray, part: tuple[int, int, int, int], drawn: dict, where: str) -> tuple[Picture, int]:
    """The part as it was given, and how many of its smallest outlines are too many. drawn: style -> (label, map)."""
    y0, x0, y1, x1 = part
    pixels, stride = _light(image[y0:y1, x0:x1], 1)
    cut = {style: (label, map_[y0:y1, x0:x1]) for style, (label, map_) in drawn.items()}
    outlines, left_out = _outlines(cut, 1, POINTS // 2)
    outlines = tuple(replace(o, curves=tuple(curve + (y0, x0) for curve in o.curves)) for o in outlines)
    alt = f"The part at {where}, closely."
    return Picture(pixels, alt, stride=stride, origin=(y0, x0), outlines=outlines, window=part), left_out


def _outlines(drawn: dict, stride: int, points: int) -> tuple[tuple[Outline, ...], int]:
    """`simple_outlines` of each map, which share the points, and how many were dropped. drawn: style -> (label, map)"""
    found = {style: simple_outlines(map_, stride, points // len(drawn)) for style, (_, map_) in drawn.items()}
    outlines = tuple(Outline(drawn[style][0], curves, style) for style, (curves, _) in found.items())
    return outlines, sum(dropped for _, dropped in found.values())


def _small(curves: tuple[np.ndarray, ...], side: float) -> bool:
    """Whether the median of what these curves go around is shorter than `side`."""
    return bool(curves) and float(np.median([np.ptp(curve, axis=0).max() for curve in curves])) < side


def _frame(part: tuple[int, int, int, int], side: int) -> tuple[Box, Box]:
    """Two boxes, one around the other, to stand out among outlines."""
    y0, x0, y1, x1 = part
    gap = side / 128
    label = "the part that the other pictures show"
    return Box(label, *part), Box(label, y0 - gap, x0 - gap, y1 + gap, x1 + gap)


def _light(image: np.ndarray, stride: int) -> tuple[np.ndarray, int]:
    """The image made smaller by a whole number, uint8 [h, w, 3], so that its PNG stays small enough for a page.

    Where it does not, as with noise, colours are rounded to steps of 2, 4, 8; where that is not enough, it is drawn
    smaller.
    """
    while True:
        small = smaller(image, stride)
        for step in (1, 2, 4, 8):
            pixels = np.minimum(small // step * step + step // 2, 255).astype(np.uint8)
            if len(base64.b64decode(png_uri(pixels).split(",", 1)[1])) <= BYTES:
                return pixels, stride
        stride += 1


def smaller(image: np.ndarray, stride: int) -> np.ndarray:
    """uint8 [H, W, 3] -> [ceil(H / stride), ceil(W / stride), 3]: means of stride x stride pixels."""
    if stride == 1:
        return image
    height, width = image.shape[:2]
    rows = np.add.reduceat(image, np.arange(0, height, stride), axis=0, dtype=np.uint32)
    sums = np.add.reduceat(rows, np.arange(0, width, stride), axis=1)
    down, across = (np.minimum(stride, n - np.arange(0, n, stride)) for n in (height, width))
    return np.rint(sums / (down[:, None, None] * across[None, :, None])).astype(np.uint8)


def simple_outlines(labels: np.ndarray, stride: int, points: int = POINTS) -> tuple[tuple[np.ndarray, ...], int]:
    """Outlines as fine as a picture shows them that is drawn smaller.

    Args:
        labels: object numbers (or a mask) [H, W].
        stride: pixels of `labels` per drawn pixel.
        points: how many there may be in all curves together.

    Returns:
        (closed curves [n, 2] of (y, x) in pixels of `labels`, how many of the smallest were dropped for `points`).
    """
    from skimage.measure import approximate_polygon

    height, width = labels.shape
    rows, columns = (np.minimum(np.arange(0, n, stride) + stride // 2, n - 1) for n in (height, width))
    curves = sorted(outlines_of(labels[np.ix_(rows, columns)]), key=lambda c: -np.prod(np.ptp(c, axis=0)))
    kept, left = [], points
    for curve in curves:
        simple = approximate_polygon(curve, SMOOTH) if stride > 1 and len(curve) > 8 else curve
        simple = simple if len(simple) > 3 else curve
        left -= len(simple)
        if left < 0:
            break
        kept.append(np.minimum(simple * stride, (height, width)))
    return tuple(kept), len(curves) - len(kept)


def _found(mask, objects, name, metrics, truth) -> tuple[str, str]:
    """(what was found, in one sentence; the numbers behind it)."""
    if mask is None:
        return "The whole image, not segmented yet.", ""
    share = percent(float(mask.mean()))
    if not mask.any():
        found = f"The {name} network finds no object in this image."
    else:
        count = "" if objects is None else f"{objects} separate object{'s' * (objects != 1)}, on "
        found = f"The {name} network finds {count}{share} of the area."
    told = "Objects that touch count as one." if objects else ""
    if metrics is None:
        return found, told
    if metrics.get("undefined"):
        return f"{found} The truth has none either.", told
    if metrics.get("failure"):
        missed = "The truth is empty: all of it is a false alarm." if mask.any() else (
            f"All that the truth shows ({percent(float((truth > 0).mean()))} of the area) is missed.")  # fmt: skip
        return f"{found} {missed}", told
    scores = ", ".join(f"{label} {number(metrics[key])}" for key, label in MEASURES if key in metrics)
    return (
        f"{found} Its IoU with the truth is {number(metrics['iou'])}.",
        f"{told} Against the truth: {scores}.".strip(),
    )


def _words(mask, objects, metrics, truth) -> tuple[str, ...]:
    if mask is None:
        return ("not segmented yet",)
    lines = []
    if metrics is not None:
        lines += [f"{label} {number(metrics[key])}" for key, label in MEASURES if key in metrics]
    elif truth is None:
        lines.append("no truth is known")
    lines.append(f"{percent(float(mask.mean()))} of the area")
    if objects is not None:
        lines.append(f"{objects} separate objects" if objects != 1 else "1 object")
    return tuple(lines)
