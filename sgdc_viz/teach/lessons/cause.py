"""Notebook 07, cause and effect: an arbitrary change that is as large as taking the guidance away, charts of paired
effects, and the pictures that stand below a prediction (kept here, so that the cell does not tell what they show)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from sgdc_viz.lens.interventions import Change
from sgdc_viz.views import Effect, Effects, Figure, Outline, Picture, Scale, outlines_of, panels, shared_scale
from sgdc_viz.views.geometry import interval_of_mean

WAYS = {"kernels": "kernels", "gate_static": "static gate", "gate_dynamic": "dynamic gate"}
WORSE, AS_IT_IS = "change of IoU (left is worse)", "the network as it is"


def turned(seed: int = 0) -> Change:
    """Add to each pixel's vector a turned copy of itself, -R v, with one random rotation R of the channels.

    `zero()` adds -v. This adds a vector of the same length at every pixel, in an arbitrary direction: the control that
    says whether a network minds what was changed, or only how much. R is orthogonal and drawn uniformly (QR of a normal
    matrix, signs fixed), the same for all pixels and images, so the change is also as smooth as v.

    Args:
        seed: of R.

    Raises:
        ValueError: while the model runs, if the value is not [B, C, H, W].
    """

    def make(value: Tensor, site: str) -> Tensor:
        if value.ndim != 4:
            raise ValueError(f"turned(seed={seed}) is for features [B, C, H, W], not for {site!r}.")
        return value - torch.einsum("ij,bjhw->bihw", rotation(value.shape[1], seed).to(value), value)

    return Change(f"turned(seed={seed})", make)


def rotation(size: int, seed: int) -> Tensor:
    """A random orthogonal matrix [size, size], float64, the same on every machine."""
    normal = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    q, r = torch.linalg.qr(normal)
    return q * r.diagonal().sign()  # QR leaves these signs open: without them R would depend on the library


def effects_figure(
    effects: Mapping[str, np.ndarray],
    *,
    title: str,
    axis: str,
    message: str,
    alt: str,
    controls: Collection[str] = (),
    zero: str = "as it is",
    summary: str = "",
) -> Figure:
    """Paired effects as points, with the 95 % bootstrap interval of their mean over images.

    Args:
        effects: name of a change -> effect on each image, float [n]; the same images for all.
        title, axis: what is drawn; quantity and unit.
        message: what to see, one sentence without measured numbers.
        alt: the conclusion for those who do not see it.
        controls: names drawn as hollow squares.
        zero: what 0 means.
        summary: more, below the chart.

    Raises:
        ValueError: nothing to draw, other numbers of images, or an unknown name in `controls`.
    """
    if not effects:
        raise ValueError("effects is empty: give at least one change.")
    if unknown := [name for name in controls if name not in effects]:
        raise ValueError(f"{unknown[0]!r} is none of the effects: {', '.join(effects)}.")
    values = {name: np.asarray(v, float) for name, v in effects.items()}
    shapes = {v.shape for v in values.values()}
    if len(shapes) > 1 or len(next(iter(shapes))) != 1:
        raise ValueError(f"effects have the shapes {sorted(shapes)}: give one number an image, of the same images.")
    entries = []
    for name, value in values.items():
        mean, low, high = (None if v is None else float(v) for v in interval_of_mean(value))
        entries.append(Effect(name, mean, low, high, name in controls))
    ((count,),) = shapes
    images = f"Mean over {count} images" if count > 1 else "One image"
    bars = "Bars: 95 % bootstrap interval of the mean over images." if count > 1 else "One image, no interval."
    hollow = " Hollow square: control." if controls else ""
    return Figure(
        name="effects", title=title, message=message, summary=f"{bars}{hollow} {summary}".rstrip(), alt=alt,
        rows=(), columns=(), cells=(), strip=(Effects(images, tuple(entries), axis, alt, zero),),
    )  # fmt: skip


def chart_of_changes(effects: Mapping[str, np.ndarray], controls: Collection[str]) -> Figure:
    """Section 3: what each change of the guidance does, `effects_figure` with its words."""
    return effects_figure(
        effects, title="What each change of the guidance does to the masks", controls=controls, axis=WORSE,
        zero=AS_IT_IS,
        message="Each way of destroying the guidance lowers IoU; changing it as much in other directions hardly does.",
        alt="Mean change of IoU over ten drawn images, with intervals. Zeroed, averaged, shuffled, mirrored and "
        "another image's guidance all lower it, with intervals that overlap; the equally long turned change does next "
        "to nothing.",
    )  # fmt: skip


def corner(images: Mapping[str, np.ndarray], off: Mapping[str, np.ndarray], side: int = 76) -> Figure:
    """Section 4: the upper left corner of an image, and how far runs are off its sharp run.

    Args:
        images: name -> uint8 [H, W, 3].
        off: name -> probability minus that of the sharp image [H, W].
        side: of the corner, in pixels.
    """
    scale = Scale("probability minus that of the sharp image", -1, 1, "RdBu_r")
    return panels(
        {**images, **off}, title="Sharp guidance in a blurred run: one corner of an image", columns=5,
        window=(0, 0, side, side), scale=dict.fromkeys(off, scale),
        message="Blurring moves the prediction; the sharp image's own guidance takes much of that back, another's not.",
        alt="A drawn image and its blurred copy; three maps of how far the probability is off that of the sharp image. "
        "Blurred: off around the nuclei. With its own sharp guidance: much less. With another image's guidance: as "
        "much.",
    )  # fmt: skip


def maps_of_regions(
    image: np.ndarray, base: np.ndarray, changed: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> Figure:
    """Section 5: where a change was made, and where probability and logit moved.

    Args:
        image: uint8 [H, W, 3].
        base: logits [H, W] of the network as it is.
        changed: name of the region -> (logits [H, W] with the change made there, region bool [H, W]).
    """

    def probability(logits: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-logits))

    cells, scale = {}, {}
    for name, (logits, region) in changed.items():
        lines = (Outline(name, outlines_of(region), "region"),)
        cells[f"where it is zeroed ({name})"] = Picture(image, f"{name}.", outlines=lines)
        cells[f"change of probability ({name})"] = probability(logits) - probability(base)
        cells[f"change of logit ({name})"] = logits - base
    for what in ("change of probability", "change of logit"):
        maps = {name: cell for name, cell in cells.items() if what in name}
        scale |= dict.fromkeys(maps, shared_scale(what, *maps.values(), cmap="RdBu_r", symmetric=True))
    return panels(
        cells, scale=scale, columns=3, title="Guidance zeroed in the ring, and as much elsewhere",
        legend=(("region", "border of the region"),),
        message="The probability changes only near outlines; the logits change elsewhere too, and even more.",
        alt="Guidance zeroed in a ring and elsewhere. Middle column: the probability changes along outlines, mostly "
        "when the ring is changed. Right column: the logits change strongly in both cases.",
    )  # fmt: skip


def chart_of_ways(alone: Mapping[str, np.ndarray], kept: Mapping[str, np.ndarray], zeroed: np.ndarray) -> Figure:
    """Section 5: the ways of guidance, each cut alone and each left alone.

    Args:
        alone: part ("kernels", "gate_static", "gate_dynamic") -> effect [n] when it alone is cut.
        kept: part -> effect [n] when it alone is left.
        zeroed: effect [n] of zeroed guidance.
    """
    rows = {f"{WAYS[part]} cut": effect for part, effect in alone.items()}
    rows |= {f"only {WAYS[part]} left": effect for part, effect in kept.items()}
    return effects_figure(
        {**rows, "all three cut: guidance zeroed": zeroed}, zero=AS_IT_IS, axis=WORSE,
        title="Through which way does guidance act?",
        message="Cutting the static gate costs most. Left alone, the static gate keeps about half of the effect, the "
        "kernels about a third.",
        alt="Mean change of IoU over ten drawn images when ways of the guidance are cut. Static gate cut: the largest "
        "loss of the three, kernels cut: a small one. Only one way left: with each of the three a part of the loss of "
        "zeroed guidance is gone, with the static gate about half, with the kernels about a third; intervals overlap.",
    )  # fmt: skip


def two_questions(score: Callable[[set[str]], float], parts: Sequence[str]) -> dict:
    """Which part is needed, and which is enough? Shares of the whole effect T = score(none taken) - score(all taken).

    Args:
        score: set of parts that are taken away -> score of the network without them.
        parts: all of them.

    Returns:
        {"needed": {part: what is lost if it alone is taken}, "enough": {part: what is kept if it alone is left},
        "interaction": 1 - sum of needed}; all NaN if T is 0.
    """
    everything = set(parts)
    full, none = score(set()), score(everything)
    total = full - none or np.nan
    needed = {part: float((full - score({part})) / total) for part in parts}
    enough = {part: float((score(everything - {part}) - none) / total) for part in parts}
    return {"needed": needed, "enough": enough, "interaction": 1 - sum(needed.values())}


def to_5_percent(share: float) -> str:
    """A share to the nearest 5 %: 0.31 -> "30 %"."""
    return f"{5 * round(20 * share)} %"
