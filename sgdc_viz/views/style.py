"""One look for all views: colour scales, outlines, and how numbers are written."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

# Perceptually uniform and safe for colour-blind readers; the last one is for values with a sign.
MAPS = {"gate": "viridis", "entropy": "cividis", "kernel": "magma", "probability": "viridis", "edge": "magma",
        "signed": "RdBu_r"}  # fmt: skip


MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Scale:
    """What colours mean: values from `low` to `high` take the colours of `cmap`; values beyond take the end colours.

    Attributes:
        label: quantity and unit, printed under the colour bar.
        low, high: values at the two ends; low < high.
        cmap: name of a matplotlib colour map.
        power: a value at share s of the way from low to high has the colour at s**power; 0.5 (square root) brings out
            small values, as of kernels where one weight outshines the rest.
    """

    label: str
    low: float
    high: float
    cmap: str = "viridis"
    power: float = 1.0

    def __post_init__(self):
        if not self.low < self.high:
            raise ValueError(f"scale {self.label!r}: low={self.low} must be below high={self.high}.")

    def index(self, values: np.ndarray) -> np.ndarray:
        """Values of any shape -> their place on the colour bar, uint8 0..255."""
        place = (np.asarray(values, np.float64) - self.low) / (self.high - self.low)
        return np.rint(255 * np.clip(place, 0, 1) ** self.power).astype(np.uint8)

    def colour(self, value: float) -> str:
        """One value -> "#rrggbb"."""
        return "#" + "".join(f"{c:02x}" for c in colour_table(self.cmap)[self.index(value)])

    @property
    def ticks(self) -> tuple[str, str, str]:
        """The values at the left end, the middle and the right end of the colour bar, as written there."""
        middle = self.low + 0.5 ** (1 / self.power) * (self.high - self.low)
        places = max(0, 1 - int(np.floor(np.log10(middle - self.low))))  # enough to tell the ends apart
        return tuple(_short(v, places) for v in (self.low, middle, self.high))


def shared_scale(
    label: str, *maps: np.ndarray, cmap: str = "viridis", symmetric: bool = False, share: float = 99,
    at_least: float = 1e-6,
) -> Scale:  # fmt: skip
    """One scale for maps that are to be compared.

    It goes from the 1st to the 99th percentile (`share`) of all their values together. symmetric: from -m to +m with m
    the 99th percentile of |value|, or `at_least`, so that zero has the middle colour. share=100 leaves nothing out.
    """
    values = np.concatenate([np.ravel(m) for m in maps])
    if not np.isfinite(values).all():
        raise ValueError(f"the map {label!r} holds NaN or infinite values: the network that made it is broken.")
    if symmetric:
        high = max(float(np.percentile(np.abs(values), share)), at_least)
        return Scale(label, -high, high, cmap)
    low, high = (float(v) for v in np.percentile(values, (100 - share, share)))
    if high - low < 1e-6:  # a constant map: put its value in the middle
        low, high = low - 0.5, high + 0.5
    return Scale(label, low, high, cmap)


def change_scale(label: str, *maps: np.ndarray) -> Scale:
    """One scale for maps of a change, from -m to +m with 0 in the middle.

    m is the 99th percentile of |change| where there is any, over 1 % of the largest: most pixels of an image hardly
    change, and a percentile of all of them would paint the few that do as if they were all alike.
    """
    values = np.concatenate([np.ravel(m) for m in maps])
    if not np.isfinite(values).all():
        return shared_scale(label, values, cmap=MAPS["signed"], symmetric=True)  # says what is wrong
    size = np.abs(values)
    return shared_scale(label, values[size >= 0.01 * size.max()], cmap=MAPS["signed"], symmetric=True)


@lru_cache
def colour_table(cmap: str) -> np.ndarray:
    """uint8 [256, 3], RGB, of a matplotlib colour map; the middle of the map for values with a sign has no tint."""
    from matplotlib import colormaps

    table = np.rint(255 * colormaps[cmap](np.linspace(0, 1, 256))[:, :3]).astype(np.uint8)
    if cmap == MAPS["signed"]:  # of 256 colours none is the middle: 0 would be a pale blue or a pale red
        table[127:129] = np.rint(table[127:129].mean())
    return table


def png_uri(pixels: np.ndarray, scale: Scale | None = None) -> str:
    """An image (uint8 [H, W, 3]) or a map (float [H, W] with its scale) -> lossless "data:image/png;base64,...".

    One map pixel is one PNG pixel: the page enlarges it, without smoothing, to any size.
    """
    from PIL import Image

    if scale is None:
        picture = Image.fromarray(np.ascontiguousarray(pixels))
    else:
        picture = Image.fromarray(scale.index(pixels)).convert("P")
        picture.putpalette(colour_table(scale.cmap).tobytes())
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=6)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def outlines_of(labels: np.ndarray) -> tuple[np.ndarray, ...]:
    """Outlines of every object: labels [H, W], 0 background, one number per object (a binary mask: 0 and 1).

    Returns:
        closed curves, each float [n, 2] of (y, x) in image pixels, where pixel (i, j) covers [i, i+1) x [j, j+1).
    """
    from scipy.ndimage import find_objects
    from skimage.measure import find_contours

    labels = np.asarray(labels).astype(np.int32)
    curves = []
    for value, box in enumerate(find_objects(labels), start=1):
        if box is not None:
            inside = np.pad(labels[box] == value, 1)
            start = np.array([box[0].start, box[1].start])
            curves += [_corners(curve) + start - 0.5 for curve in find_contours(inside.astype(float), 0.5)]
    return tuple(curves)


def _corners(curve: np.ndarray) -> np.ndarray:
    """Drop the points in the middle of straight lines; first and last stay. [n, 2], coordinates are exact halves."""
    step = np.diff(curve, axis=0)
    turns = step[:-1, 0] * step[1:, 1] != step[:-1, 1] * step[1:, 0]
    return curve[np.r_[True, turns, True]]


def number(value: float, digits: int = 3) -> str:
    """A value as people write it: 3 significant digits, a true minus sign, no "-0"; NaN is "undefined"."""
    if np.isnan(value):
        return "undefined"
    if value == 0 or abs(value) < 1e-12:
        return "0"
    if abs(value) >= 1e4 or abs(value) < 1e-3:
        return f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e").replace("-", MINUS)
    text = f"{value:.{max(0, digits - 1 - int(np.floor(np.log10(abs(value)))))}f}"
    return text.replace("-", MINUS)


def fixed(value: float, digits: int = 2) -> str:
    """A change with its sign and so many digits after the point: "+0.12"; what rounds to zero has no sign."""
    rounded = round(float(value), digits)
    return f"{rounded:+.{digits}f}".replace("-", MINUS) if rounded else f"{0:.{digits}f}"


def with_interval(mean: float, low: float | None = None, high: float | None = None) -> str:
    """A mean and its interval in words; NaN is "undefined"."""
    text = number(float(mean), 2)
    return text if low is None or np.isnan(mean) else f"{text} ({number(float(low), 2)} to {number(float(high), 2)})"


def _short(value: float, places: int) -> str:
    """`places` digits after the point, trailing zeros dropped."""
    if value != 0 and places > 6:
        return number(value, 2)
    text = f"{round(value, places) + 0.0:.{places}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", MINUS)


def two_digits(value: float) -> str:
    """For correlations: two digits after the point, never "-0.00"."""
    return f"{round(value, 2) + 0.0:.2f}".replace("-", MINUS)


def percent(share: float) -> str:
    """A share 0..1 as percent, with one digit where it is small."""
    value = 100 * share
    return f"{value:.0f} %" if value >= 10 or value == 0 else f"{value:.1f} %" if value >= 0.1 else "under 0.1 %"


def direction(dy: int, dx: int) -> str:
    """A step in a grid in words: (-1, 2) -> "1 up, 2 right", (0, 0) -> "centre"."""
    words = [f"{abs(d)} {names[d > 0]}" for d, names in ((dy, ("up", "down")), (dx, ("left", "right"))) if d]
    return ", ".join(words) or "centre"
