"""Views over several images: what one picture shows may be chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sgdc_viz.views import Case, Change, Figure
from sgdc_viz.views import causal as draw_causal
from sgdc_viz.views import statistic_by_distance as draw_statistic

from .arms import MIRRORED

if TYPE_CHECKING:
    from .pair import Pair

CAUSES = ("guidance zeroed", "guidance averaged", "guidance shuffled", MIRRORED, "kernels uniform", "kernels permuted")
QUANTITIES = {  # what people read -> (unit, how it is read from a run)
    "kernel entropy": ("mean over heads; 0 one neighbour, 1 all alike", lambda run: run.maps.entropy),
    "kernel anisotropy": ("mean over heads; 0 round, 1 a line", lambda run: run.kernel_maps.anisotropy.mean(0)),
    "static gate": ("mean over channels; 0 shut, 1 open", lambda run: run.maps.gate_static),
    "dynamic gate": ("mean over channels; 0 shut, 1 open", lambda run: run.maps.gate_dynamic),
}


def causal(
    pairs: Sequence[Pair], *, changes: Sequence[str] = CAUSES, controls: bool = True, shown: int = 0,
    ring_width: float = 3.0, window: tuple[int, int, int, int] | None = None,
) -> Figure:  # fmt: skip
    """What changes do to the prediction of the first arm: one image, or several with an interval over images.

    Args:
        pairs: from `Explorer.look`, of one family; all with truth, or none.
        changes: some of `CHANGES`; the default ones destroy the guidance in four ways and the kernels in two. Which
            head does what is asked with "head 1 uniform" to "head 4 uniform".
        controls: add the first change in networks with random weights, where it has nothing to destroy.
        shown: which pair is drawn.
        ring_width: pixels around the outlines that count as near.
        window: part of the image to show first, (y0, x0, y1, x1).

    Raises:
        ValueError: no pair, an unknown change, or truth for some of the images only.
    """
    if not pairs:
        raise ValueError("there is no image: give at least one pair from Explorer.look.")
    if isinstance(changes, str):
        raise ValueError(f"changes={changes!r} is a text: give a list, [{changes!r}].")
    if len({pair.truth is None for pair in pairs}) > 1:
        raise ValueError("some of these images have a truth and some have none: leave out one kind.")
    cases = []
    for pair in pairs:
        before = pair.prediction(pair.first)
        rows = {c: Change(before, pair.prediction(pair.run(pair._changed(c)))) for c in changes}
        if controls and pair.trained:
            random, first = pair.random_weights(), changes[0]
            after = random.prediction(random.run(random._changed(first)))
            rows[f"{first}, random weights"] = Change(random.prediction(random.first), after, control=True)
        cases.append(Case(pair.image, rows, pair.truth))
    return draw_causal(cases, shown=shown, ring_width=ring_width,
                       faithfulness=max(pair.rewriting_error() for pair in pairs), window=window)  # fmt: skip


def statistic_by_distance(
    pairs: Sequence[Pair], *, quantities: Sequence[str] = tuple(QUANTITIES), controls: bool = False,
    reach: float = 16.0, width: float = 2.0,
) -> Figure:  # fmt: skip
    """What gates and kernels do at which distance to the outlines, over all pixels of several images.

    Args:
        pairs: from `Explorer.look`; images without truth use the outline of the first arm's own mask.
        quantities: some of "kernel entropy", "kernel anisotropy", "static gate", "dynamic gate".
        controls: add random weights, shuffled guidance and permuted kernels.
        reach: largest distance shown, in image pixels.
        width: of a distance bin, in image pixels.

    Raises:
        ValueError: no pair, an unknown quantity, or a true outline in some of the images only.
    """
    if not pairs:
        raise ValueError("there is no image: give at least one pair from Explorer.look.")
    for quantity in quantities:
        if quantity not in QUANTITIES:
            raise ValueError(f"quantity {quantity!r} is unknown: use some of {', '.join(QUANTITIES)}.")
    contours = [pair.contour for pair in pairs]
    if len({contour is pair.truth for (contour, _), pair in zip(contours, pairs, strict=True)}) > 1:
        raise ValueError("some of these images have a true outline and some have none: leave out one kind.")
    values: dict[str, dict[str, list[np.ndarray]]] = {quantity: {} for quantity in quantities}
    worst = 0.0
    for pair in pairs:  # one after the other: the recordings of one image at a time
        for label, run in pair._rows(controls).items():
            worst = max(worst, run.maps.faithfulness)
            for quantity in quantities:
                values[quantity].setdefault(label, []).append(QUANTITIES[quantity][1](run))
    return draw_statistic(
        values, [contour for contour, _ in contours], stride=pairs[0].first.stride, contour_is=contours[0][1],
        units={quantity: QUANTITIES[quantity][0] for quantity in quantities}, reach=reach, width=width,
        faithfulness=worst,
    )  # fmt: skip
