"""What the two networks predict, and where they differ: two masks look alike, so the difference comes first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .figure import Column, Figure, Outline, Picture, true_outline, truth_key
from .style import MAPS, Scale, number, outlines_of, percent, shared_scale


@dataclass(frozen=True, eq=False)
class Prediction:
    """What one network says.

    Attributes:
        probability: float [H, W], 0..1, of being object.
        boundary: float [h, w], 0..1, output of the boundary branch, `stride` image pixels a pixel.
        metrics: against the truth, as `sgdc_viz.learn.metrics.evaluate_masks` gives them; None without truth.
    """

    probability: np.ndarray
    boundary: np.ndarray
    metrics: Mapping[str, float] | None = None


HARDLY = 0.05  # the scale of the difference goes at least so far: smaller ones are to look small
MEASURES = (("iou", "IoU"), ("nsd1", "surface Dice at 1 px"), ("hd95", "HD95 (px, smaller is better)"))


def predictions(
    image: np.ndarray,
    predicted: Mapping[str, Prediction],
    *,
    stride: int,
    truth: np.ndarray | None = None,
    window: tuple[int, int, int, int] | None = None,
    beyond: str = "",
) -> Figure:
    """Masks, probabilities and boundaries of two networks, with the map of their difference in front.

    Args:
        image: uint8 [H, W, 3], as the networks saw it.
        predicted: name of a network -> its prediction; first the guided one, then what it is compared with.
        stride: image pixels per pixel of the boundary maps.
        truth: object numbers (or a binary mask) [H, W]; None where nobody knows it.
        window: part to show first, (y0, x0, y1, x1).
        beyond: a sentence under the table: what holds beyond this image.
    """
    names = list(predicted)
    first, second = predicted.values()
    true_lines = true_outline(truth)
    common = dict(linked=True, window=window)
    probability = Scale("probability of object", 0.0, 1.0, MAPS["probability"])
    edge = Scale("probability of boundary", 0.0, 1.0, MAPS["edge"])
    rows = []
    for name, p in predicted.items():
        mask = p.probability > 0.5
        line = Outline(f"{name} mask", outlines_of(mask), "prediction")
        area = percent(float(mask.mean()))
        rows.append((
            Picture(image, f"Image with the outline of the {name} mask, which covers {area} of it.",
                    outlines=(line, *true_lines), **common),
            Picture(p.probability, f"Probability of object, {name}.", probability, **common),
            Picture(p.boundary, f"Boundary branch, {name}.", edge, stride, **common),
        ))  # fmt: skip

    difference = first.probability - second.probability
    scale = shared_scale(f"probability, {names[0]} minus {names[1]}", difference, cmap=MAPS["signed"], symmetric=True,
                         at_least=HARDLY)  # fmt: skip
    differing = np.mean((first.probability > 0.5) != (second.probability > 0.5))
    alike = "The two masks look alike, so look at" if differing < 0.05 else "The two masks differ visibly; look at"
    told = _disagreement(names, first.probability > 0.5, second.probability > 0.5, truth)
    table = ()
    if first.metrics is not None and second.metrics is not None:
        table = (("this image alone", *names),) + tuple(
            (label, *(number(p.metrics[key]) for p in (first, second)))
            for key, label in MEASURES
            if not any(np.isnan(p.metrics[key]) for p in (first, second))
        )
    legend = [("prediction", "outline of the predicted mask (probability over 0.5)")]
    legend.append(truth_key(truth))
    return Figure(
        name="prediction",
        title="What they predict, and where they differ",
        message=f"{alike} the difference of their probabilities: red where {names[0]} is surer of an object, blue "
        f"where {names[1]} is.",
        summary=f"{beyond} {told}".strip() if table else told,
        alt=f"Masks, probabilities and boundary maps of both networks, and their difference. {told}",
        rows=tuple(names),
        columns=(Column("Mask on the image"), Column("Probability of object", probability),
                 Column("Boundary branch", edge)),
        cells=tuple(rows),
        lead=Picture(difference, f"Difference of the two probabilities, {names[0]} minus {names[1]}. {told}", scale,
                     outlines=true_lines, **common),
        legend=tuple(legend),
        table=table,
    )  # fmt: skip


def _disagreement(names: list[str], a: np.ndarray, b: np.ndarray, truth: np.ndarray | None) -> str:
    """Where the two masks differ, in numbers."""
    from scipy.ndimage import distance_transform_edt

    differs = a ^ b
    count = int(differs.sum())
    if count == 0:
        return "The two masks are equal at every pixel."
    text = f"The masks differ at {count} of {a.size} pixels ({percent(count / a.size)}): {int((a & ~b).sum())} are "
    text += f"object for {names[0]} alone, {int((b & ~a).sum())} for {names[1]} alone."
    if a.any() and not a.all():
        inside, outside = distance_transform_edt(a), distance_transform_edt(~a)
        depth = np.where(a, inside, outside) - 0.5  # distance to the line between mask and background
        middle = number(float(np.median(depth[differs])), 2)
        text += f" Half of the differing pixels lie within {middle} px of the {names[0]} outline."
    if truth is not None:
        right = int((a == (truth > 0))[differs].sum())
        text += f" Of these pixels {names[0]} is right at {right}, {names[1]} at {count - right}."
    return text
