"""The boundary branch against the truth: what it finds, what it misses, what it invents."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .charts import Plot, Series
from .figure import Column, Figure, Picture, true_outline
from .geometry import BoundaryScore, boundary_score, true_boundary, upsample
from .style import MAPS, Scale, number, percent

COLOURS = {"hits": (255, 255, 255), "misses": (230, 97, 0), "false_alarms": (86, 180, 233)}
TOLERANCES = np.array([0, 1, 2, 3, 4, 5, 6], float)
SAME = 0.01  # F scores nearer than this are called equal


def boundary_branch(
    image: np.ndarray,
    boundaries: Mapping[str, np.ndarray],
    truth: np.ndarray,
    *,
    stride: int,
    tolerance: float = 1.0,
    threshold: float = 0.5,
    window: tuple[int, int, int, int] | None = None,
) -> Figure:
    """Hits, misses and false alarms of thresholded boundary maps, and the boundary F score over the tolerance.

    The map is brought to image resolution (bilinear), thresholded and thinned to lines of one pixel, so that a thick
    line gains nothing. True boundary: pixels of an object beside another object or background.

    Args:
        image: uint8 [H, W, 3], as the networks saw it.
        boundaries: name of a network (or of a control) -> its boundary map, float [h, w], 0..1.
        truth: object numbers (or a binary mask) [H, W].
        stride: image pixels per pixel of the boundary maps.
        tolerance: distance that still counts as right, in pixels.
        threshold: of the boundary probability, between 0 and 1.
        window: part to show first, (y0, x0, y1, x1).

    Raises:
        ValueError: no network, truth of another size, or tolerance or threshold out of range.
    """
    if not boundaries:
        raise ValueError("boundaries is empty: give at least one network.")
    if truth.shape != image.shape[:2]:
        raise ValueError(f"truth {truth.shape} and image {image.shape[:2]} must agree in size.")
    if not 0 < threshold < 1:
        raise ValueError(f"threshold={threshold!r} must lie between 0 and 1: it is a probability.")
    true = true_boundary(truth)
    scale = Scale("probability of boundary", 0.0, 1.0, MAPS["edge"])
    outline = true_outline(truth)
    common = dict(linked=True, window=window)
    rows, scores, table = [], {}, []
    for name, boundary in boundaries.items():
        line = thin(boundary, stride, truth.shape, threshold)
        score = scores[name] = boundary_score(line, true, tolerance)
        over = [boundary_score(line, true, t) for t in TOLERANCES]
        counts = [int(m.sum()) for m in (score.hits, score.misses, score.false_alarms)]
        numbers = [number(v) for v in (score.precision, score.recall, score.f)]
        table.append((name, *(str(n) for n in counts), *numbers))
        alt = f"{name}: {counts[0]} boundary pixels found, {counts[1]} missed, {counts[2]} invented."
        rows.append((
            Picture(boundary, f"Boundary branch of {name}.", scale, stride, **common),
            Picture(_judged(image, score), alt, **common),
            Plot("",
                 tuple(Series(label, TOLERANCES, np.array([getattr(s, key) for s in over]), i)
                       for i, (key, label) in enumerate(SHARES)),
                 "tolerance, px", "share, 0..1", (0.0, 1.03),
                 f"{name}: F {number(over[1].f)} at 1 px, {number(over[3].f)} at 3 px.",
                 mark=(tolerance, "chosen") if tolerance <= TOLERANCES[-1] else None),
        ))  # fmt: skip
    message = _message(scores, tolerance)
    summary = (
        f"One image, no interval. Threshold {threshold:g}, lines thinned to one pixel, tolerance {tolerance:g} px "
        "between pixel centres. Precision: share of the predicted line near a true one; recall: share of the true "
        f"line that was found; F: their harmonic mean. One pixel of the boundary map is {stride} × {stride} image "
        "pixels. The boundary map itself enters no block: only the guidance made beside it does."
    )
    return Figure(
        name="boundary",
        title="The boundary branch against the truth",
        message=message,
        summary=summary,
        alt=f"Boundary maps with hits, misses and false alarms. {message}",
        rows=tuple(boundaries),
        columns=(Column("Boundary branch", scale), Column("Found, missed, invented"),
                 Column("Agreement over the tolerance")),
        cells=tuple(rows),
        lead=Picture(image, "The image with the true outline.", outlines=outline, **common),
        legend=(*((f"series-{i}", label) for i, (_, label) in enumerate(SHARES)), ("truth", "true outline"),
                ("hit", "hit: true boundary, found"), ("miss", "miss: true boundary, nothing near"),
                ("false", "false alarm: predicted, no true boundary near")),
        table=(("this image alone", "hits (px)", "misses (px)", "false alarms (px)", "precision", "recall", "F"),
               *table),
        data=(("tolerance", f"{tolerance:g}"), ("threshold", f"{threshold:g}")),
    )  # fmt: skip


SHARES = (("f", "F score"), ("precision", "precision"), ("recall", "recall"))


def thin(boundary: np.ndarray, stride: int, shape: tuple[int, int], threshold: float = 0.5) -> np.ndarray:
    """A boundary map [h, w] as lines of one pixel at image resolution: bool [H, W]."""
    from skimage.morphology import skeletonize

    return skeletonize(upsample(boundary, stride, shape) > threshold)


def _judged(image: np.ndarray, score: BoundaryScore) -> np.ndarray:
    """The image, dark and grey, with the three kinds of pixels on it: uint8 [H, W, 3]."""
    picture = np.repeat((0.35 * image.mean(2))[..., None], 3, 2).astype(np.uint8)
    for kind, colour in COLOURS.items():
        picture[getattr(score, kind)] = colour
    return picture


def _message(scores: Mapping[str, BoundaryScore], tolerance: float) -> str:
    names = list(scores)
    found = ", ".join(f"{n} {percent(s.recall)}" for n, s in scores.items() if not np.isnan(s.recall))
    if not found:
        return "There is no true boundary in this image: every predicted line is a false alarm."
    text = f"Share of the true boundary that is found within {tolerance:g} px: {found}"
    if len(names) == 1:
        return f"{text} (F score {number(scores[names[0]].f)})."
    a, b = scores[names[0]].f, scores[names[1]].f
    if abs(a - b) < SAME:
        return f"{text}; the F scores of {names[0]} and {names[1]} are alike ({number(a)} and {number(b)})."
    ahead, behind = (names[0], names[1]) if a > b else (names[1], names[0])
    return f"{text}; {ahead} has the better F score, {number(max(a, b))} against {number(min(a, b))} of {behind}."
