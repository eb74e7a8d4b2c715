"""Steering: the shape of each kernel as an ellipse on the image."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from .figure import Column, Figure, Picture, Strokes, true_outline
from .geometry import arrow_head, grey_at
from .style import number, percent, two_digits

STRONG = 0.4  # an alignment this far from that with the shifted image is called plain
ROUNDING = 0.005  # of what is written
SHIFTS = tuple((y, x) for y in (0.25, 0.5, 0.75) for x in (0.25, 0.5, 0.75))  # shares of height and width
POINTS = 20  # of a drawn ellipse


@dataclass(frozen=True, eq=False)
class KernelEllipses:
    """Second moments of the kernels of one block (`sgdc_viz.lens.kernel_ellipse`, `kernel_displacement`).

    Attributes:
        major, minor: float [heads, h, w], standard deviation along the two axes, in feature pixels.
        angle: float [heads, h, w], radians, of the major axis from +x (right) towards +y (down).
        unimodal: bool [heads, h, w]; False where several peaks make an ellipse misleading.
        displacement: float [heads, 2, h, w], centre of mass (dy, dx) in feature pixels.
        faithfulness: largest |rebuilt - the network's own| over the pixels that were checked.
    """

    major: np.ndarray
    minor: np.ndarray
    angle: np.ndarray
    unimodal: np.ndarray
    displacement: np.ndarray
    faithfulness: float


def ellipses(
    image: np.ndarray,
    kernels: Mapping[str, KernelEllipses],
    *,
    stride: int,
    window: tuple[int, int, int, int] | None = None,
    truth: np.ndarray | None = None,
    across: int = 9,
    controls: Collection[str] = (),
) -> Figure:
    """The kernel of every n-th pixel as an ellipse in true size, with an arrow to where it looks.

    Args:
        image: uint8 [H, W, 3], as the networks saw it.
        kernels: name of a network (or of a control) -> its ellipses; rows. The message compares the first two.
        stride: image pixels per feature pixel.
        window: part to draw, (y0, x0, y1, x1); None draws all of the image.
        truth: object numbers (or a binary mask) [H, W]; its outline is drawn dashed.
        across: how many ellipses along the longer side of the window.
        controls: those of `kernels` that are controls; the message says if one is stretched along edges as much.

    Raises:
        ValueError: no network, or `across` below 1.
    """
    if not kernels:
        raise ValueError("kernels is empty: give at least one network.")
    if across < 1:
        raise ValueError(f"across={across} must be 1 or more ellipses.")
    height, width = image.shape[:2]
    window = window or (0, 0, height, width)
    lines = true_outline(truth)
    heads = len(next(iter(kernels.values())).major)
    top, left = max(0, window[0]), max(0, window[1])
    part = image[top : window[2], left : window[3]] // 2 + 40  # faint, so that the lines stand out
    places = _places(window, (height, width), stride, across)
    head = ("network, head", "long axis (px)", "short axis (px)", "several peaks", "along the edges")
    rows, table = [], [(*head, "image shifted: mean (range)")]
    told = {}
    for name, k in kernels.items():
        gradient = grey_gradient(image, k.angle.shape[1:], stride)
        told[name] = np.array([[aligned(gradient, k.angle[h], k.major[h], k.minor[h], k.unimodal[h], shift)
                                for shift in ((0, 0), *SHIFTS)] for h in range(heads)])  # fmt: skip
    for name, k in kernels.items():
        cells = []
        for h in range(heads):
            along, *chance = told[name][h]
            many = float(1 - k.unimodal[h].mean())
            size = (number(2 * stride * float(v[h].mean()), 2) for v in (k.major, k.minor))
            table.append((f"{name}, {h + 1}", *size, percent(many), two_digits(along), _by_chance(chance)))
            alt = f"Kernels of head {h + 1}, {name}, as ellipses; along the edges {two_digits(along)}."
            cells.append(Picture(part, alt, origin=(top, left), outlines=lines, window=window,
                                 strokes=_strokes(k, h, places, stride)))  # fmt: skip
        rows.append(tuple(cells))
    message = _message({name: v.mean(0) for name, v in told.items()}, controls)
    step = places[1][1] - places[1][0] if len(places[1]) > 1 else 1
    summary = (
        f"Every {step * stride} px one kernel: the ellipse holds one standard deviation of its weights, in image "
        "pixels, around its centre of mass; an arrow leads there from the pixel itself. A cross stands where the "
        "kernel has several peaks: an ellipse would mislead. Along the edges: mean of cos(2 × angle between long "
        "axis and image edge), 1 along, −1 across, 0 unrelated; weighted by edge strength and elongation, "
        f"single-peaked kernels only. Chance: the same kernels against the image shifted around by a quarter, a half "
        "and three quarters of its height and width (9 shifts), mean and range. One image, no interval."
    )
    return Figure(
        name="ellipses",
        title="Where kernels look, and how they are stretched",
        message=message,
        summary=summary,
        alt=f"The image with kernels drawn as ellipses, one column for each head. {message}",
        rows=tuple(kernels),
        columns=tuple(Column(f"Head {h + 1}") for h in range(heads)),
        cells=tuple(rows),
        legend=(("ellipse", "one standard deviation of the weights"), ("arrow", "from the pixel to the centre of mass"),
                ("xmark", "several peaks, no ellipse drawn"), *((("truth", "true outline"),) if lines else ())),
        table=tuple(table),
        faithfulness=max(k.faithfulness for k in kernels.values()),
    )  # fmt: skip


def alignment(image, angle, major, minor, unimodal, stride: int, shift: tuple[float, float] = (0, 0)) -> float:
    """Are kernels stretched along image edges? Weighted mean of cos(2 x angle between long axis and edge), -1..1.

    Args:
        image: uint8 [H, W, 3].
        angle, major, minor, unimodal: of one head, [h, w].
        stride: image pixels per feature pixel.
        shift: share of (height, width) by which the image is shifted around before: a control, for what kernels that
            know nothing of the image would reach.

    The edge runs at a right angle to the gradient of the grey image (Gaussian derivative, 1 feature pixel). Weights:
    gradient x elongation (major - minor) / (major + minor), and 0 where a kernel has several peaks.
    """
    return aligned(grey_gradient(image, angle.shape, stride), angle, major, minor, unimodal, shift)


def grey_gradient(image: np.ndarray, shape: tuple[int, int], stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Gradient (dy, dx) of the grey image at the feature pixels: uint8 [H, W, 3] -> two of [h, w]."""
    from scipy.ndimage import gaussian_filter

    grey = grey_at(image, shape, stride)
    return tuple(gaussian_filter(grey, 1.0, order=order) for order in ((1, 0), (0, 1)))


def aligned(gradient, angle, major, minor, unimodal, shift: tuple[float, float]) -> float:
    """`alignment` with a gradient from `grey_gradient`."""
    rolled = [round(part * n) for part, n in zip(shift, angle.shape, strict=True)]
    dy, dx = (np.roll(d, rolled, (0, 1)) for d in gradient)
    edge = np.arctan2(dx, -dy)  # direction of the edge: the gradient turned by 90 degrees
    weight = np.hypot(dy, dx) * (major - minor) / np.maximum(major + minor, 1e-9) * unimodal
    return 0.0 if weight.sum() < 1e-9 else float((weight * np.cos(2 * (angle - edge))).sum() / weight.sum())


def _places(window, shape, stride: int, across: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows, columns) of the feature pixels to draw."""
    y0, x0, y1, x1 = window
    step = max(1, round(max(y1 - y0, x1 - x0) / across / stride))
    ranges = []
    for low, high, size in ((y0, y1, shape[0]), (x0, x1, shape[1])):
        first, last = max(0, low) // stride, min(high, size) // stride
        ranges.append(np.arange(first + step // 2, max(last, first + step // 2 + 1), step))
    return tuple(ranges)


def _strokes(k: KernelEllipses, head: int, places, stride: int) -> tuple[Strokes, ...]:
    turn = np.linspace(0, 2 * np.pi, POINTS + 1)
    circle = np.stack([np.cos(turn), np.sin(turn)])
    shapes, arrows, crosses = [], [], []
    rows, columns = places
    for i in rows[rows < k.major.shape[1]]:
        for j in columns[columns < k.major.shape[2]]:
            pixel = (np.array([i, j]) + 0.5) * stride
            centre = pixel + k.displacement[head, :, i, j] * stride
            if not k.unimodal[head, i, j]:
                d = 0.6 * stride
                crosses += [np.array([pixel - d, pixel + d]), np.array([pixel + (-d, d), pixel + (d, -d)])]
                continue
            a = k.angle[head, i, j]
            u, v = circle * stride * np.array([[k.major[head, i, j]], [k.minor[head, i, j]]])
            shapes.append(centre + np.stack([u * np.sin(a) + v * np.cos(a), u * np.cos(a) - v * np.sin(a)], 1))
            if np.hypot(*(centre - pixel)) > 0.5 * stride:
                arrows += [np.array([pixel, centre]), arrow_head(pixel, centre, 0.5 * stride)]
    told = (
        ("kernel", shapes, "ellipse"),
        ("to its centre of mass", arrows, "arrow"),
        ("several peaks", crosses, "xmark"),
    )
    return tuple(Strokes(label, tuple(lines), style) for label, lines, style in told if lines)


def _by_chance(values) -> str:
    return f"{two_digits(np.mean(values))} ({two_digits(min(values))} to {two_digits(max(values))})"


def _message(along: Mapping[str, np.ndarray], controls: Collection[str]) -> str:
    """along: name -> alignment [1 + shifts], first with the image where it is."""

    def told(values: np.ndarray) -> str:
        value, chance = values[0], values[1:]
        shifted = f"{two_digits(value)}; image shifted {_by_chance(chance)}"
        if chance.min() - ROUNDING <= value <= chance.max() + ROUNDING:
            return f"stretched along the edges of the image no more than by chance ({shifted})"
        gap = value - chance.mean()
        way = "along" if gap > 0 else "across"
        return f"stretched {'' if abs(gap) >= STRONG else 'a little '}{way} the edges of the image ({shifted})"

    names = list(along)
    text = f"{names[0][0].upper()}{names[0][1:]} kernels are {told(along[names[0]])}"
    if len(names) > 1:
        text += f", {names[1]} ones {told(along[names[1]])}"
    gap = {name: float(v[0] - v[1:].mean()) for name, v in along.items()}
    way = 1 if gap[names[0]] >= 0 else -1
    rivals = [name for name in names[1:] if name in controls and way * gap[name] >= abs(gap[names[0]])]
    if rivals:
        top = max(rivals, key=lambda name: way * gap[name])
        text += f". The control “{top}” reaches as much ({two_digits(along[top][0])})"
    return f"{text}. 1 is along, −1 across, 0 unrelated."
