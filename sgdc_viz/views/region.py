"""Where does it matter? The same intervention, once only around the outline and once only beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .causal import HARDLY, NO_OP
from .charts import Effect, Effects
from .figure import Column, Figure, Outline, Picture
from .style import MAPS, number, outlines_of, percent, shared_scale


@dataclass(frozen=True, eq=False)
class Region:
    """An intervention inside one region.

    Attributes:
        mask: bool [H, W], where it acted.
        before, after: float [H, W], probability of being object without and with it.
        effect: `sgdc_viz.lens.patch_effect(...).effect`, share of a gap restored; None if it was not measured.
        control: True for the region to compare with.
    """

    mask: np.ndarray
    before: np.ndarray
    after: np.ndarray
    effect: float | None = None
    control: bool = False


def region(
    image: np.ndarray,
    regions: Mapping[str, Region],
    *,
    what: str,
    truth: np.ndarray | None = None,
    faithfulness: float | None = None,
    window: tuple[int, int, int, int] | None = None,
) -> Figure:
    """The effect of acting only inside a region, beside a control region of the same size.

    Regions: `ring` and `elsewhere` of sgdc_viz.views.

    Args:
        image: uint8 [H, W, 3], as the network saw it.
        regions: name -> what happened; the message compares the first with the first control.
        what: what was done inside, such as "guidance zeroed".
        truth: object numbers (or a binary mask) [H, W]; its outline is drawn.
        faithfulness: largest |change of the probability| when the intervention writes back what was recorded.
        window: part to show first, (y0, x0, y1, x1).

    Raises:
        ValueError: no region, an empty one, or masks that do not fit the image.
    """
    if not regions:
        raise ValueError("regions is empty: give at least one.")
    for name, r in regions.items():
        if r.mask.shape != image.shape[:2] or not r.mask.any():
            raise ValueError(
                f"region {name!r}: its mask must be {image.shape[:2]} and not empty, got {r.mask.shape} with "
                f"{int(r.mask.sum())} pixels."
            )
    changes = {name: r.after - r.before for name, r in regions.items()}
    moved = {name: float(np.abs(c).mean()) for name, c in changes.items()}
    flipped = {name: int(((r.after > 0.5) != (r.before > 0.5)).sum()) for name, r in regions.items()}
    inside = {name: _share_inside(changes[name], r.mask) for name, r in regions.items()}
    scale = shared_scale(f"change of probability, {what}", *changes.values(), cmap=MAPS["signed"], symmetric=True)
    lines = () if truth is None else (Outline("true outline", outlines_of(truth)),)
    common = dict(linked=True, window=window)
    rows = []
    for name, r in regions.items():
        shape = Outline(name, outlines_of(r.mask), "region")
        rows.append((
            Picture(_lit(image, r.mask), f"Where it acted, {name}: {int(r.mask.sum())} pixels.", outlines=(shape,),
                    **common),
            Picture(changes[name], f"{name}: the probability changes by {number(moved[name], 2)} on average over the "
                    "image, without sign.", scale, **common),
        ))  # fmt: skip
    message = _message(regions, moved, what)
    strip = [_chart("Over the whole image", "mean |change of probability|", moved, regions)]
    if all(r.effect is not None for r in regions.values()):
        strip.append(_chart("Causal effect", "share of the gap restored (0 none, 1 all)",
                            {n: r.effect for n, r in regions.items()}, regions))  # fmt: skip
    summary = (
        f"{what[0].upper() + what[1:]}, only inside each region. One image, no interval. "
        + "; ".join(f"{n}: {int(r.mask.sum())} pixels, {percent(inside[n])} of the change lies inside it, {flipped[n]} "
                    "pixels change sides" for n, r in regions.items())
        + ". The change can reach beyond the region: kernels look around, and later layers look farther."
    )  # fmt: skip
    return Figure(
        name="region",
        title=f"Only here: {what}",
        message=message,
        summary=summary,
        alt=f"Two regions and the change of the probability when the network is changed only there. {message}",
        rows=tuple(regions),
        columns=(Column("Where it acts"), Column("Change of the probability", scale)),
        cells=tuple(rows),
        lead=Picture(image, "The image as the network saw it.", outlines=lines, **common),
        legend=(("region", "border of the region"), ("truth", "true outline") if lines else
                ("none", "no truth is known for this image")),
        strip=tuple(strip),
        faithfulness=faithfulness,
        checked=NO_OP,
    )  # fmt: skip


def _share_inside(change: np.ndarray, mask: np.ndarray) -> float:
    total = float(np.abs(change).sum())
    return float(np.abs(change[mask]).sum()) / total if total > 0 else 0.0


def _lit(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The image, dark outside the region."""
    return np.where(mask[..., None], image, image // 3).astype(np.uint8)


def _chart(title: str, axis: str, values: Mapping[str, float], regions: Mapping[str, Region]) -> Effects:
    told = "; ".join(f"{name} {number(v, 2)}" for name, v in values.items())
    entries = tuple(Effect(name, v, control=regions[name].control) for name, v in values.items())
    return Effects(title, entries, axis, f"{title}: {told}.", "nothing changed", plus=False)


def _message(regions: Mapping[str, Region], moved: Mapping[str, float], what: str) -> str:
    first = next(iter(regions))
    other = next((n for n, r in regions.items() if r.control and n != first), None)
    a = moved[first]
    if other is None:
        return (
            f"{what.capitalize()} only in “{first}” moves the probability by {number(a, 2)} on average over the image."
        )
    b = moved[other]
    sizes = [int(regions[n].mask.sum()) for n in (first, other)]
    size = "the same number of pixels" if abs(sizes[0] - sizes[1]) <= 0.02 * max(sizes) else (
        f"{sizes[1]} pixels instead of {sizes[0]}")  # fmt: skip
    start = f"{what.capitalize()} only in “{first}” moves the prediction by {number(a, 2)} on average"
    if max(a, b) < HARDLY / 10:  # most pixels of an image never change: a tenth of what counts near an outline
        return f"{start}, in “{other}” by {number(b, 2)}: next to nothing in either place."
    if a >= 1.5 * b:
        ratio = f"{number(a / b, 2)} times" if b > 1e-9 else "infinitely more than"
        return f"{start}: {ratio} what it does with {size} in “{other}” ({number(b, 2)})."
    if b >= 1.5 * a:
        return f"{start}, less than with {size} in “{other}” ({number(b, 2)}): the outline is not where it matters."
    return f"{start}, about as much as with {size} in “{other}” ({number(b, 2)}): the place makes no difference."
