"""What views of a whole image say at one pixel: a small table, with the facts that the page's script reads."""

from __future__ import annotations

import numpy as np

from sgdc_viz.views import Figure
from sgdc_viz.views.overview import check_pixel
from sgdc_viz.views.style import number

from .arms import POOL_SIZES, RANDOM, Arm, pooling_label
from .pair import Pair


def pooling_at(pair: Pair, pool_size: int | None, pixel: tuple[int, int]) -> Figure:
    """What every pool size predicts at a pixel, the chosen one first.

    Args:
        pool_size: one of `POOL_SIZES`; None is the whole image.
        pixel: (row, column) in image pixels.

    Raises:
        ValueError: the pixel lies outside the image, or the pool size is not one of those that were run.
    """
    check_pixel(pixel, pair.image)
    steps = pair.pooling_steps()
    label = pooling_label(pool_size)
    if label not in steps:
        raise ValueError(f"pool_size={pool_size!r} is none of {', '.join(map(str, POOL_SIZES))}.")
    first, trained = next(iter(steps)), [name for name, step in steps.items() if step.retrained]
    told = {name: number(float(step.probability[pixel])) for name, step in steps.items()}
    i, j = (n // pair.first.stride for n in pixel)
    entropy = {name: number(float(step.maps.entropy[i, j])) for name, step in steps.items()}
    shown = dict.fromkeys([first, label, *trained])
    message = "Probability of object here: " + ", ".join(f"{told[name]} with {name}" for name in shown)
    told_trained = f"Only {trained[0]} was trained that way; all others" if trained else "All"
    message += f". {told_trained} have the weights of {first}."
    head = ("at this pixel", *steps)
    table = (head, ("probability of object", *told.values()), ("kernel entropy, mean of heads", *entropy.values()))
    return _pixel_figure(pixel, message, table, label)


def change_at(pair: Pair, change: str, pixel: tuple[int, int], mask: np.ndarray | None = None) -> Figure:
    """What a change of the guided network does at a pixel, with and without training.

    Args:
        change: one of `CHANGES`.
        pixel: (row, column) in image pixels.
        mask: bool [H, W], where the change is made; None: everywhere.

    Raises:
        ValueError: the pixel lies outside the image, or the guided network cannot be changed so.
    """
    check_pixel(pixel, pair.image)
    arms = {"trained": pair, RANDOM: pair.random_weights()} if pair.trained else {RANDOM: pair}
    rows = []
    for name, own in arms.items():
        before = float(own.run(Arm()).probability[pixel])
        after = float(own.run(Arm(change=change), mask=mask).probability[pixel])
        rows.append((name, number(before), number(after), number(after - before, 2)))
    name, before, after, _ = rows[0]
    where = "" if mask is None else " in the region"
    message = f"Probability of object here: {before} as it is, {after} with {change}{where} ({name})."
    head = ("guided network", "as it is", f"{change}{where}", "change of the probability")
    return _pixel_figure(pixel, message, (head, *rows), change)


def _pixel_figure(pixel: tuple[int, int], message: str, table: tuple[tuple[str, ...], ...], chosen: str) -> Figure:
    y, x = pixel
    return Figure(
        name="pixel", title=f"Row {y}, column {x}", message=message, summary="", alt=message,
        rows=(), columns=(), cells=(), table=table, data=(("y", str(y)), ("x", str(x)), ("chosen", chosen)),
    )  # fmt: skip
