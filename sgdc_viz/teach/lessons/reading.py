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
from sgdc_viz.lens import kernel_displacement, kernel_ellipse, kernel_entropy, kernel_response
from sgdc_viz.views import Box, Column, Figure, Picture, Scale, Strokes, signed_distance, statistic_by_distance
from sgdc_viz.views.geometry import arrow_head, interval_of_mean
from sgdc_viz.views.style import MAPS, MINUS, number

FREQUENCIES = 33  # odd: as many on either side of frequency 0
LOOKS, ENTROPY = "away from the object", "kernel entropy"


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
        peaks = "one peak" if e.unimodal.item() else "several peaks"
        about = f"{number(count, 2)} of {len(kernel)} taps count; {peaks}"
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
                ("footprint", "the kernel's own pixel; below: frequency 0")),
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
    if np.hypot(dy, dx) > 0.3:
        strokes.append(Strokes("to the centre of mass", (np.array([own, centre]), arrow_head(own, centre, 0.6)),
                               "arrow"))  # fmt: skip
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


def across_outlines(pairs: Sequence[Pair]) -> tuple[Figure, dict[str, np.ndarray]]:
    """Which way kernels look, and how widely, against the distance to the true outlines of several images.

    Args:
        pairs: of the same arms, all with truth.

    Returns:
        figure, and network -> [images, 2]: mean of `looks_away` over the feature pixels 1 to 4 px inside the outlines,
        and over those 1 to 4 px outside.

    Raises:
        ValueError: no pair, or one without truth.
    """
    if not pairs or any(pair.truth is None for pair in pairs):
        raise ValueError("across_outlines needs at least one pair, and the truth of each.")
    values: dict[str, dict[str, list[np.ndarray]]] = {LOOKS: {}, ENTROPY: {}}
    sides: dict[str, list[tuple[float, float]]] = {}
    for pair in pairs:
        for name, run in pair.runs.items():
            away = looks_away(run, pair.truth)
            values[LOOKS].setdefault(name, []).append(away)
            values[ENTROPY].setdefault(name, []).append(run.maps.entropy)
            sides.setdefault(name, []).append(beside(away, pair.truth, run.stride))
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
    figure = replace(figure, title="Where kernels look, and how widely", summary=summary, table=())
    return figure, {name: np.array(v) for name, v in sides.items()}


def signed(value: float, digits: int = 2) -> str:
    """A number with its sign and so many digits after the point; zero without one."""
    rounded = round(float(value), digits)
    return f"{rounded:+.{digits}f}".replace("-", MINUS) if rounded else f"{0:.{digits}f}"


def with_interval(values: np.ndarray) -> str:
    """Mean over images [n] and its 95 % bootstrap interval, one digit after the point: "+0.9 [+0.7, +1.1]"."""
    told = [signed(v, 1) for v in interval_of_mean(values) if v is not None]
    return told[0] if len(told) == 1 else f"{told[0]} [{told[1]}, {told[2]}]"


def edges_and_changes(image: np.ndarray, values: np.ndarray, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """How strongly the image changes at each feature pixel, and how strongly a map does.

    Args:
        image: uint8 [H, W, 3].
        values: a map [h, w].
        stride: image pixels per feature pixel.

    Returns:
        two maps [h, w]: lengths of the gradients (Gaussian derivative, 1 feature pixel) of the grey image and of the
        map. Their correlation is `sgdc_viz.views.overview.edge_agreement`.
    """
    from scipy.ndimage import gaussian_gradient_magnitude

    grey = image.mean(2)
    grey = np.pad(grey, [(0, -n % stride) for n in grey.shape], mode="edge")
    grey = grey.reshape(grey.shape[0] // stride, stride, -1, stride).mean((1, 3))
    return tuple(gaussian_gradient_magnitude(np.asarray(m, float), 1.0) for m in (grey, values))


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
