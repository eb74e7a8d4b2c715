"""Where does it matter? The same intervention, once only around the outline and once only beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .causal import HARDLY, NO_OP, STEEPER, steepness_at
from .charts import Effect, Effects, signed
from .figure import Column, Figure, Outline, Picture, true_outline, truth_key
from .style import change_scale, number, outlines_of, percent

ALIKE = 1.1  # effects in two regions are called alike below this ratio


@dataclass(frozen=True, eq=False)
class Region:
    """An intervention inside one region.

    Attributes:
        mask: bool [H, W], where it acted.
        before, after: float [H, W], probability of being object without and with it.
        effect: `sgdc_viz.lens.patch_effect(...).effect`, share of a gap restored; None if it was not measured.
        control: True for the region to compare with.
        surface_dice: (before, after), at 1 px; None without truth.
    """

    mask: np.ndarray
    before: np.ndarray
    after: np.ndarray
    effect: float | None = None
    control: bool = False
    surface_dice: tuple[float, float] | None = None


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
        truth: object numbers (or a binary mask) [H, W]; its outline is drawn, and steepness is taken there.
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
    scale = change_scale(f"change of probability, {what}", *changes.values())
    rows = []
    for name, r in regions.items():
        shape = Outline(name, outlines_of(r.mask), "region")
        rows.append((
            # neither is ever zoomed: the region to compare with may lie far away
            Picture(_lit(image, r.mask), f"Where it acted, {name}: {int(r.mask.sum())} pixels.", outlines=(shape,)),
            Picture(changes[name], f"{name}: the probability changes by {number(moved[name], 2)} on average over the "
                    "image, without sign.", scale),
        ))  # fmt: skip
    message = _message(regions, moved, what)
    strip = [_chart("Over the whole image", "mean |change of probability|", moved, regions)]
    if all(r.effect is not None for r in regions.values()):
        strip.append(_chart("Causal effect", "share of the gap restored (0 none, 1 all)",
                            {n: r.effect for n, r in regions.items()}, regions))  # fmt: skip
    steep = steepness_at(truth)
    steeper = {n: steep(r.after) - steep(r.before) for n, r in regions.items()}
    strip.append(_chart("Steepness", STEEPER, steeper, regions, plus=True))
    if all(r.surface_dice is not None for r in regions.values()):
        gain = {n: r.surface_dice[1] - r.surface_dice[0] for n, r in regions.items()}
        strip.append(_chart("Surface Dice at 1 px", "change of surface Dice at 1 px", gain, regions, plus=True))
    own = "; ".join(f"{n} {number(float(r.before.std()), 2)}" for n, r in regions.items())
    summary = (
        f"{what[0].upper() + what[1:]}, only inside each region. One image, no interval. "
        + "; ".join(f"{n}: {int(r.mask.sum())} pixels, {percent(inside[n])} of the change lies inside it, {flipped[n]} "
                    "pixels change sides" for n, r in regions.items())
        + f". Standard deviation of the probability before, over the image: {own}. Steepness is taken at "
        + ("the outline of each prediction" if truth is None else "the true outline")
        + ". The change can reach beyond the region: kernels look around, and later layers look farther."
    )  # fmt: skip
    return Figure(
        name="region",
        title=f"Only here: {what}",
        message=message,
        summary=summary,
        alt=f"Regions and the change of the probability when the network is changed only there. {message}",
        rows=tuple(regions),
        columns=(Column("Where it acts"), Column("Change of the probability", scale)),
        cells=tuple(rows),
        lead=Picture(image, "The image as the network saw it.", outlines=true_outline(truth), linked=True,
                     window=window),
        legend=(("region", "border of the region"), truth_key(truth)),
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


def _chart(
    title: str, axis: str, values: Mapping[str, float], regions: Mapping[str, Region], plus: bool = False
) -> Effects:
    told = "; ".join(f"{name} {signed(v) if plus else number(v, 2)}" for name, v in values.items())
    entries = tuple(Effect(name, v, control=regions[name].control) for name, v in values.items())
    return Effects(title, entries, axis, f"{title}: {told}.", "nothing changed", plus=plus)


def _message(regions: Mapping[str, Region], moved: Mapping[str, float], what: str) -> str:
    first = next(iter(regions))
    other = next((n for n, r in regions.items() if r.control and n != first), None)
    a, restored = moved[first], regions[first].effect
    start = f"{what[0].upper()}{what[1:]} only in “{first}” moves the probability by {number(a, 2)} on average"
    if other is None:
        share = "" if restored is None else f" and restores {_share(restored)} of the gap"
        return f"{start} over the image{share}."
    b, effect = moved[other], regions[other].effect
    known = restored is not None and effect is not None
    share = f" It restores {_share(restored)} of the gap, in “{other}” {_share(effect)}." if known else ""
    sizes = [int(regions[n].mask.sum()) for n in (first, other)]
    size = "the same number of pixels" if abs(sizes[0] - sizes[1]) <= 0.02 * max(sizes) else (
        f"{sizes[1]} pixels instead of {sizes[0]}")  # fmt: skip
    if max(a, b) < HARDLY / 10:  # most pixels of an image never change: a tenth of what counts near an outline
        return f"{start}, in “{other}” by {number(b, 2)}: next to nothing in either place.{share}"
    if max(a, b) < ALIKE * min(a, b):
        both = f"about as much as with {size} in “{other}” ({number(b, 2)})"
        return f"{start}, {both}: the place makes no difference.{share}"
    if a > b:
        ratio = f"{number(a / b, 2)} times" if b > 1e-9 else "infinitely more than"
        return f"{start}: {ratio} what it does with {size} in “{other}” ({number(b, 2)}).{share}"
    ratio = f"{number(b / a, 2)} times as much" if a > 1e-9 else "infinitely more"
    return f"{start}, and {ratio} with {size} in “{other}” ({number(b, 2)}): it matters more there.{share}"


def _share(effect: float) -> str:
    return percent(effect) if effect >= 0 else f"less than nothing ({number(100 * effect, 2)} %)"
