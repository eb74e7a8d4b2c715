"""The boundary branch (SGE), stage by stage: projected features, Sobel gate, refined, fused, boundary, guidance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .figure import Column, Figure, Picture, true_outline, truth_key
from .overview import edge_agreement
from .style import MAPS, Scale, number, percent, shared_scale, two_digits

OPEN = 0.99  # a gate above this passes everything


@dataclass(frozen=True, eq=False)
class SGEStages:
    """What passes through the boundary branch; means over the channels unless said.

    Attributes:
        deep, refined_deep: float [h4, w4], projected and refined deep features (after ReLU: 0 or more).
        shallow, refined_shallow, fused: float [h, w], the same at the shallow level, and both fused.
        boundary: float [h, w], 0..1, probability of boundary: the output that is supervised.
        guidance: float [h, w], root of the mean square over the channels: the output that the blocks read.
        faithfulness: largest |rebuilt from the recorded parts - the network's own|.
        gate_deep, gate_shallow: float [h4, w4] and [h, w], 0.5..1, sigmoid of the Sobel map; None if it is off.
    """

    deep: np.ndarray
    refined_deep: np.ndarray
    shallow: np.ndarray
    refined_shallow: np.ndarray
    fused: np.ndarray
    boundary: np.ndarray
    guidance: np.ndarray
    faithfulness: float
    gate_deep: np.ndarray | None = None
    gate_shallow: np.ndarray | None = None


def sge_stages(
    image: np.ndarray,
    stages: SGEStages,
    *,
    strides: tuple[int, int],
    truth: np.ndarray | None = None,
    window: tuple[int, int, int, int] | None = None,
) -> Figure:
    """How the boundary branch gets from features to boundary and guidance.

    Args:
        image: uint8 [H, W, 3], as the network saw it.
        stages: the maps.
        strides: image pixels per pixel of the deep and of the shallow maps.
        truth: object numbers (or a binary mask) [H, W]; its outline is drawn on the image.
        window: part to show first, (y0, x0, y1, x1).

    Raises:
        ValueError: exactly one of the two gates is given.
    """
    if (stages.gate_deep is None) != (stages.gate_shallow is None):
        raise ValueError("give both gates, gate_deep and gate_shallow, or neither (sobel_gate='off').")
    deep, shallow = strides
    gated = stages.gate_deep is not None
    gate = Scale("gate, sigmoid of Sobel (0.5 to 1)", 0.5, 1.0, MAPS["gate"])

    def picture(values: np.ndarray, stride: int, title: str, scale: Scale) -> Picture:
        alt = f"{title}: {number(float(values.min()), 2)} to {number(float(values.max()), 2)}, stride {stride}."
        return Picture(values, alt, scale, stride, linked=True, window=window, title=title, bar=True)

    def feature(values: np.ndarray) -> Scale:
        return shared_scale("mean over channels (no unit)", values, cmap="viridis")

    rows = []
    for stride, start, gates, end, size in (
        (deep, stages.deep, stages.gate_deep, stages.refined_deep, "deep"),
        (shallow, stages.shallow, stages.gate_shallow, stages.refined_shallow, "shallow"),
    ):
        row = [picture(start, stride, f"1 · {size} features, projected", feature(start))]
        if gated:
            row.append(picture(gates, stride, "2 · Sobel gate", gate))
        row.append(picture(end, stride, "3 · gated and refined", feature(end)))
        rows.append(tuple(row))
    edge = Scale("probability of boundary", 0.0, 1.0, MAPS["edge"])
    length = shared_scale("root mean square over channels", stages.guidance, cmap="viridis")
    last = [picture(stages.fused, shallow, "4 · both fused", feature(stages.fused)),
            picture(stages.boundary, shallow, "5 · boundary: supervised, read by no block", edge),
            picture(stages.guidance, shallow, "6 · guidance: what the blocks read", length)]  # fmt: skip
    rows.append(tuple(last if gated else last[1:]))
    agree = [edge_agreement(image, m, shallow) for m in (stages.shallow, stages.boundary, stages.guidance)]
    message = _message(stages)
    named = ("shallow features", "boundary", "guidance")
    summary = (
        f"One pixel of the deep maps is {deep} × {deep} image pixels, of all others {shallow} × {shallow}. Each map "
        "has its own scale, except the two gates. Changes of a map lie where the image has edges (correlation, 1 the "
        "same): "
        + ", ".join(f"{n} {two_digits(v)}" for n, v in zip(named, agree, strict=True))
        + ". One image, no interval."
    )
    lines = true_outline(truth)
    return Figure(
        name="sge",
        title="The boundary branch, stage by stage",
        message=message,
        summary=summary,
        alt=f"Maps of the stages of the boundary branch. {message}",
        rows=(f"deep, stride {deep}", f"shallow, stride {shallow}", "together"),
        columns=tuple(Column("") for _ in range(3 if gated else 2)),
        cells=tuple(rows),
        lead=Picture(image, "The image as the network saw it.", outlines=lines, linked=True, window=window),
        legend=(truth_key(truth),),
        faithfulness=stages.faithfulness,
    )


def _message(stages: SGEStages) -> str:
    """What the Sobel gate does: stuck open, or at work; and where it is off."""
    if stages.gate_deep is None:
        return "The Sobel gate is off: features are refined as they are; boundary and guidance come out at the end."
    shares = [float((g > OPEN).mean()) for g in (stages.gate_deep, stages.gate_shallow)]
    means = [float(g.mean()) for g in (stages.gate_deep, stages.gate_shallow)]
    told = f"over {OPEN:g} on {percent(shares[0])} of the deep and {percent(shares[1])} of the shallow pixels"
    if min(shares) > 0.9:
        return f"Look at the Sobel gates: stuck open, {told}. They pass nearly everything, edge or not."
    if max(shares) > 0.5:
        return f"The Sobel gates are open at most places, {told}; elsewhere edges pass and flat parts are halved."
    return (
        f"The Sobel gates work: mean {number(means[0], 2)} (deep) and {number(means[1], 2)} (shallow), high at edges; "
        "no gate can fall under 0.5, so flat parts are halved, never shut."
    )
