"""Reading kernels (notebook 06): a few kernels with their ellipse and frequency response, and which way kernels look.

Arrays and runs in, one `Figure` or plain arrays out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from sgdc_viz.explore import Pair, Run
from sgdc_viz.lens import kernel_covariance, kernel_displacement, kernel_ellipse, kernel_entropy, kernel_response
from sgdc_viz.views import (
    Box,
    Column,
    Figure,
    Picture,
    Plot,
    Scale,
    Strokes,
    panels,
    signed_distance,
    statistic_by_distance,
)
from sgdc_viz.views.boundary_profile import SAME, crossing
from sgdc_viz.views.ellipses import SHIFTS, aligned, grey_gradient
from sgdc_viz.views.geometry import arrow_head, interval_of_mean, sample
from sgdc_viz.views.style import MAPS, fixed, number, outlines_of

FREQUENCIES = 33  # odd: as many on either side of frequency 0
LOOKS, ENTROPY = "away from the object", "kernel entropy"
STATISTICS = {
    "total weight": lambda kernels: kernels.sum(1), "entropy": kernel_entropy, "displacement": kernel_displacement,
    "covariance": kernel_covariance, "frequency response": lambda kernels: kernel_response(kernels, 9),
}  # fmt: skip
REACH, STEP = 12.0, 0.5  # of a line across an outline, in image pixels: as far and as fine as the boundary profile
FAR = 1.5  # px: a lead that one sees


def kernels_of(run: Run) -> Tensor:
    """All kernels of a run's finest block, [heads, k*k, h, w]."""
    return run.recording[f"{run.block}.kernels"][0]


def kernel_at(run: Run, head: int, pixel: tuple[int, int]) -> Tensor:
    """The kernel of one head (1, 2, ...) of a run at an image pixel (row, column): [k*k], row by row."""
    return run.at(pixel).kernels[head - 1].flatten()


def gallery(kernels: Mapping[str, Tensor]) -> Figure:
    """A few kernels: above with arrow and ellipse, below the patterns that each lets pass.

    The ellipse is drawn for kernels of several peaks too: here one shall see that it misleads.

    Args:
        kernels: name -> weights [k*k], row by row, >= 0, sum 1.

    Raises:
        ValueError: no kernel, or weights that are none (from `sgdc_viz.lens`).
    """
    if not kernels:
        raise ValueError("gallery needs at least one kernel.")
    weight = Scale("weight (they sum to 1), square-root colours", 0.0, max(float(k.max()) for k in kernels.values()),
                   MAPS["kernel"], power=0.5)  # fmt: skip
    passed = Scale("share of the amplitude that passes", 0.0, 1.0)
    above, below, told = [], [], []
    for name, kernel in kernels.items():
        maps = kernel.detach()[None, :, None, None]  # one head, one pixel
        (dy, dx), e = kernel_displacement(maps)[0, :, 0, 0].tolist(), kernel_ellipse(maps)
        k = int(len(kernel) ** 0.5)
        count = len(kernel) ** kernel_entropy(maps).item()
        response = kernel_response(maps, FREQUENCIES)[0, :, :, 0, 0]
        peaks = "one peak (our rule)" if e.unimodal.item() else "several peaks"
        about = f"{number(count, 2)} taps count; {peaks}"
        above.append(Picture(kernel.reshape(k, k).numpy(), f"{name}: {about}.", weight, title=about,
                             boxes=(_centre(k),), strokes=_arrow_and_ellipse(k, dy, dx, e)))  # fmt: skip
        mean = float(response.square().mean())
        below.append(Picture(response.numpy(), f"{name}: passes {number(mean, 2)} of white noise.", passed,
                             boxes=(_centre(FREQUENCIES),), title=f"{mean:.0%} of white noise passes"))  # fmt: skip
        told.append(f"{name}: {about}, {mean:.0%} of white noise passes")
    message = (
        "Top: the weights, their ellipse, and an arrow to their centre of mass. Below: which stripes pass; no stripes "
        "in the middle, finer ones further out, the finest at the edge."
    )
    return Figure(
        name="gallery",
        title="Kernels, their ellipses, and what they let pass",
        message=message,
        summary="",
        alt=f"Kernels above, frequency responses below. {'; '.join(told)}.",
        rows=("kernel", "passes"),
        columns=tuple(Column(name, None) for name in kernels),
        cells=tuple(tuple(replace(cell, bar=i == 0) for i, cell in enumerate(row)) for row in (above, below)),
        legend=(("ellipse", "one standard deviation of the weights"), ("arrow", "from the pixel to the centre of mass"),
                ("footprint", "the kernel's own pixel; below: frequency 0"),
                ("none", "our rule for one peak: all taps with at least half of the largest weight touch")),
    )  # fmt: skip


def _centre(k: int) -> Box:
    return Box("middle", k // 2, k // 2, k // 2 + 1, k // 2 + 1)


def _arrow_and_ellipse(k: int, dy: float, dx: float, e) -> tuple[Strokes, ...]:
    """In the units of the kernel's picture: one tap is one pixel."""
    own = np.array([k / 2, k / 2])
    centre = own + (dy, dx)
    major, minor, a = (v.item() for v in (e.major, e.minor, e.angle))
    turn = np.linspace(0, 2 * np.pi, 41)
    u, v = major * np.cos(turn), minor * np.sin(turn)
    shape = centre + np.stack([u * np.sin(a) + v * np.cos(a), u * np.cos(a) - v * np.sin(a)], 1)
    strokes = [Strokes("one standard deviation", (shape,), "ellipse")]
    length = float(np.hypot(dy, dx))
    if length > 0.3:
        head = arrow_head(own, centre, min(0.6, 0.45 * length))  # never longer than half of its arrow
        strokes.append(Strokes("to the centre of mass", (np.array([own, centre]), head), "arrow"))
    return tuple(strokes)


def outward(labels: np.ndarray, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Where a feature pixel lies, and which way leads out of the object.

    Args:
        labels: object numbers [H, W], 0 background.
        stride: image pixels per feature pixel.

    Returns:
        signed distance to the nearest outline in image pixels [h, w], negative inside; direction (dy, dx) [2, h, w] of
        length 1 in which that distance grows (0 in the few places where it has none).

    Raises:
        ValueError: no outline.
    """
    from scipy.ndimage import gaussian_filter

    distance = signed_distance(labels)
    if not np.isfinite(distance).all():
        raise ValueError("there is no outline: the mask is empty or covers the whole image.")
    distance = np.pad(distance, [(0, -n % stride) for n in distance.shape], mode="edge")
    h, w = (n // stride for n in distance.shape)
    distance = distance.reshape(h, stride, w, stride).mean((1, 3))
    gradient = np.stack([gaussian_filter(distance, 1.0, order=order) for order in ((1, 0), (0, 1))])
    return distance, gradient / np.maximum(np.hypot(*gradient), 1e-9)


def looks_away(run: Run, labels: np.ndarray) -> np.ndarray:
    """How far kernels look away from the object: their displacement along the outward direction, mean over heads.

    A part of the displacement that is the same everywhere cancels: around a whole object, outward is every direction.

    Args:
        run: of an image, recorded.
        labels: object numbers (or a mask) [H, W] of that image.

    Returns:
        [h, w], feature pixels; positive away from the object, negative into it.
    """
    distance, (ny, nx) = outward(labels, run.stride)
    height, width = distance.shape
    d = kernel_displacement(kernels_of(run))[..., :height, :width].numpy()
    return (d[:, 0] * ny + d[:, 1] * nx).mean(0)


def beside(away: np.ndarray, labels: np.ndarray, stride: int) -> tuple[float, float]:
    """Means of a map [h, w] over the feature pixels 1 to 4 image pixels inside the outlines, and over those outside."""
    distance, _ = outward(labels, stride)
    return tuple(float(away[(distance * side > 1) & (distance * side < 4)].mean()) for side in (-1, 1))


def own_side(away: np.ndarray, labels: np.ndarray, stride: int) -> float:
    """Share of the feature pixels 1 to 4 image pixels from an outline at which a map [h, w] of `looks_away` has the
    sign of the own side: negative inside, positive outside. Scale-free, so that tiny displacements count as well."""
    distance, _ = outward(labels, stride)
    near = (abs(distance) > 1) & (abs(distance) < 4)
    return float((away * distance > 0)[near].mean())


def across_outlines(pairs: Sequence[Pair]) -> tuple[Figure, dict[str, np.ndarray]]:
    """Which way kernels look, and how widely, against the distance to the true outlines of several images.

    Args:
        pairs: of the same arms, all with truth.

    Returns:
        figure, and network -> [images, 3]: mean of `looks_away` over the feature pixels 1 to 4 px inside the outlines,
        over those 1 to 4 px outside, and the share of `own_side`.

    Raises:
        ValueError: no pair, or one without truth.
    """
    if not pairs or any(pair.truth is None for pair in pairs):
        raise ValueError("across_outlines needs at least one pair, and the truth of each.")
    values: dict[str, dict[str, list[np.ndarray]]] = {LOOKS: {}, ENTROPY: {}}
    sides: dict[str, list[tuple[float, ...]]] = {}
    for pair in pairs:
        for name, run in pair.runs.items():
            away = looks_away(run, pair.truth)
            values[LOOKS].setdefault(name, []).append(away)
            values[ENTROPY].setdefault(name, []).append(run.maps.entropy)
            sides.setdefault(name, []).append(
                (*beside(away, pair.truth, run.stride), own_side(away, pair.truth, run.stride))
            )
    runs = [run for pair in pairs for run in pair.runs.values()]
    figure = statistic_by_distance(
        values, [pair.truth for pair in pairs], stride=runs[0].stride, reach=14.0,
        units={LOOKS: "displacement outward, feature px", ENTROPY: "0 one neighbour, 1 all alike"},
        faithfulness=max(run.maps.faithfulness for run in runs),
    )  # fmt: skip
    summary = (
        f"{len(pairs)} images; shaded: 95 % bootstrap intervals of the mean over images. Distance to the nearest true "
        f"outline, negative inside, in bins of 2 px; one feature pixel is {runs[0].stride} × {runs[0].stride} image "
        "pixels."
    )
    figure = replace(
        figure, title="Where kernels look, and how widely", summary=summary, table=(),
        message="Left: beside an outline guided kernels look to their own side; the controls hardly. Right: entropy.",
        alt="Two plots over the distance to the outline. Displacement outward: guided kernels go from clearly negative "
        "inside to clearly positive outside, all controls stay near 0. Entropy: guided and permuted are one line.",
    )  # fmt: skip
    return figure, {name: np.array(v) for name, v in sides.items()}


def with_interval(values: np.ndarray) -> str:
    """Mean over images [n] and its 95 % bootstrap interval, one digit after the point: "+0.9 [+0.7, +1.1]"."""
    told = [fixed(v, 1) for v in interval_of_mean(values) if v is not None]
    return told[0] if len(told) == 1 else f"{told[0]} [{told[1]}, {told[2]}]"


def along_outlines(pair: Pair) -> dict[str, float]:
    """How often which network is nearer to the true outline: the boundary profile's question at all places.

    Every object's outline is walked in steps of at most one pixel (the frame of the image is none). At each step the
    probability is read along the normal, and where it goes through 0.5 nearest to the outline is compared.

    Args:
        pair: with truth; its first two networks are compared.

    Returns:
        "A nearer", "same within 0.25 px", "B nearer", "no crossing" (of one or both networks): shares of the outlines'
        length that sum to 1; and "A nearer by 1.5 px or more", "B nearer by 1.5 px or more". A and B are the names.

    Raises:
        ValueError: no truth, or no outline.
    """
    if pair.truth is None or not pair.truth.any():
        raise ValueError("along_outlines needs a pair with truth, and an object in it.")
    first, second = (name for name, _ in zip(pair.runs, range(2), strict=False))
    points, normals, length = _around(pair.truth.astype(np.int32))
    if not len(length):
        raise ValueError("there is no outline: one object covers the whole image.")
    distance = np.arange(-REACH, REACH + STEP / 2, STEP)
    lines = (points[..., None] + normals[..., None] * distance).reshape(2, -1)
    off = []
    for name in (first, second):
        read = sample(pair.runs[name].probability, lines).reshape(len(length), -1)
        found = [crossing(distance, line) for line in read]
        off.append(np.array([np.nan if at is None else abs(at[0]) for at in found]))
    ahead = off[1] - off[0]  # NaN where one of them never crosses
    places = {
        f"{first} nearer": ahead >= SAME, f"same within {SAME:g} px": abs(ahead) < SAME,
        f"{second} nearer": ahead <= -SAME, "no crossing": np.isnan(ahead),
        f"{first} nearer by {FAR:g} px or more": ahead >= FAR, f"{second} nearer by {FAR:g} px or more": ahead <= -FAR,
    }  # fmt: skip
    return {name: float(length[there].sum() / length.sum()) for name, there in places.items()}


def _around(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (y, x) [2, n] along all outlines, their outward normals [2, n] of length 1, and the lengths [n] that they
    stand for."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    points, normals, lengths = [], [], []
    for value in np.unique(labels[labels > 0]):
        own = labels == value
        distance = signed_distance(own)
        if not np.isfinite(distance).all():
            continue
        gradient = np.gradient(gaussian_filter(distance, 1.5))  # as smooth as in `sgdc_viz.views.geometry.normal_at`
        for curve in outlines_of(own):
            for start, end in zip(curve, curve[1:], strict=False):
                steps = max(1, int(np.ceil(np.hypot(*(end - start)))))
                share = (np.arange(steps) + 0.5) / steps
                at = start[:, None] + (end - start)[:, None] * share
                if ((at <= 0.5) | (at >= np.array(labels.shape)[:, None] - 0.5)).any():
                    continue  # along the frame
                normal = np.stack([map_coordinates(g, at - 0.5, order=1, mode="nearest") for g in gradient])
                points.append(at)
                normals.append(normal / np.maximum(np.hypot(*normal), 1e-9))
                lengths.append(np.full(steps, np.hypot(*(end - start)) / steps))
    if not points:
        return np.zeros((2, 0)), np.zeros((2, 0)), np.zeros(0)
    return np.concatenate(points, 1), np.concatenate(normals, 1), np.concatenate(lengths)


def beside_each_other(still: Figure, without: str = "") -> Figure:
    """The static twin of the boundary profile lying down: one row for each place, one column for each quantity.

    Args:
        still: from `BoundaryProfile.still`.
        without: title of a quantity to leave out.
    """
    rows = [row for row in still.cells if not (isinstance(row[0], Plot) and row[0].title == without)]
    heads = ["place" if isinstance(row[0], Picture) else "" for row in rows]  # plots have their titles
    return replace(
        still, rows=tuple(column.title for column in still.columns), columns=tuple(Column(head) for head in heads),
        cells=tuple(zip(*rows, strict=True)),
    )  # fmt: skip


def four_maps(image: np.ndarray, trained: np.ndarray, untrained: np.ndarray, stride: int = 2) -> Figure:
    """A part of the image, and two maps of kernel entropy there; the second one with its colours stretched too.

    Args:
        image: uint8 [H, W, 3].
        trained, untrained: kernel entropy [h, w], 0..1.
        stride: image pixels per feature pixel.
    """
    part, small = np.s_[: 88 * stride, : 88 * stride], np.s_[:88, :88]
    names = ("guided", "random weights, same colours", "random weights, colours stretched")
    maps = dict(zip(names, (trained[small], untrained[small], untrained[small]), strict=True))
    scales = {name: Scale("kernel entropy", 0.0, 1.0, "cividis") for name in maps}
    low, high = (round(float(v), 3) for v in np.percentile(untrained, (0.5, 99.5)))
    scales[names[2]] = Scale("kernel entropy", low, high, "cividis")
    return panels(
        {"image": image[part], **maps}, title="The same map twice", scale=scales,
        message="The two maps on the right hold the same numbers; only the colours are stretched.",
        alt="Four pictures: the image, the entropy of guided kernels with rich structure, random weights on the same "
        "colours with none at all, and the same map with colours stretched, where every nucleus shows.",
    )  # fmt: skip


def along_edges(image: np.ndarray, run: Run) -> list[float]:
    """Are a run's kernels stretched along the edges of the image? `sgdc_viz.views.ellipses.alignment`, mean over heads.

    Args:
        image: uint8 [H, W, 3].
        run: of that image, recorded.

    Returns:
        with the image as it is, then with each of its nine shifts (`SHIFTS`).
    """
    e = run.ellipses
    gradient = grey_gradient(image, e.angle.shape[1:], run.stride)
    heads = list(zip(e.angle, e.major, e.minor, e.unimodal, strict=True))
    return [float(np.mean([aligned(gradient, *head, shift) for head in heads])) for shift in ((0, 0), *SHIFTS)]


def shift_p_value(statistic: np.ndarray, edges: np.ndarray, count: int = 99, shuffle: bool = False) -> float:
    """How often the correlation of two maps is reached by chance, when one of them is shifted round (seeded).

    Args:
        statistic, edges: maps [h, w].
        count: of random shifts, by at least an eighth of each side.
        shuffle: put the pixels into random order in place of a shift; a control that is too easy for smooth maps.

    Returns:
        (1 + number of shifts with |correlation| >= the observed one) / (1 + count).
    """
    rng = np.random.default_rng(0)
    low, high = (np.array(statistic.shape) * part // 8 for part in (1, 7))

    def r(m: np.ndarray) -> float:
        return abs(float(np.corrcoef(m.ravel(), edges.ravel())[0, 1]))

    moved = (rng.permutation(statistic.ravel()) if shuffle else np.roll(statistic, rng.integers(low, high), (0, 1))
             for _ in range(count))  # fmt: skip
    return (1 + sum(r(m) >= r(statistic) for m in moved)) / (1 + count)


def variants(kernels: Tensor) -> dict[str, Tensor]:
    """The same weights otherwise arranged: "as it is", "taps reordered", "turned by 180°", "moved by one tap".

    All in a window two taps wider, with zeros around, so that a moved kernel loses nothing.

    Args:
        kernels: [heads, k*k, h, w].

    Returns:
        name -> [heads, (k+2)*(k+2), h, w].
    """
    k = round(kernels.shape[1] ** 0.5)
    square = kernels.unflatten(1, (k, k))

    def padded(top: int, left: int) -> Tensor:
        return torch.nn.functional.pad(square, (0, 0, 0, 0, left, 2 - left, top, 2 - top)).flatten(1, 2)

    middle = padded(1, 1)
    order = torch.randperm(middle.shape[1], generator=torch.Generator().manual_seed(0))
    return {
        "as it is": middle, "taps reordered": middle[:, order], "turned by 180°": middle.flip(1),
        "moved by one tap": padded(2, 1),
    }  # fmt: skip


def same(a: Tensor, b: Tensor) -> str:
    """How one statistic compares with another of the same kernels: "same", "sign flips" or "changes"."""
    if torch.allclose(a, b, atol=1e-4):
        return "same"
    return "sign flips" if torch.allclose(a, -b, atol=1e-4) else "changes"
