"""Two networks while they learn: loss and score of both arms so far, and what each makes of one held-out image now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .charts import Plot, Series
from .figure import Column, Figure, Picture, true_outline, truth_key
from .style import MAPS, Scale, number

if TYPE_CHECKING:
    from sgdc_viz.learn.live import SeedNoise, Snapshot

SMOOTH = 15  # steps of the running mean of the loss
POINTS = 200  # drawn at most of a curve: more cannot be told apart, and a page gets them every second
EARLY = 60  # steps in which the running averages of batch norm lag behind
METRICS = {"nsd1": "surface Dice at 1 px", "iou": "IoU"}


def snapshot(s: Snapshot, noise: SeedNoise | None = None) -> Figure:
    """A paired training at one moment, as `sgdc_viz.learn.live` hands it out.

    Args:
        s: the moment; before the first step, the figure says what will be trained.
        noise: how far the luck of the seed sets one pair apart; None where nobody has measured it.
    """
    arms = list(s.probability)
    scale = Scale("probability of object", 0.0, 1.0, MAPS["probability"])
    stage = "untrained" if s.steps == 0 else f"after {s.steps} steps"
    pictures = (
        Picture(s.image, "A held-out image with the true outline of the object.", outlines=true_outline(s.truth),
                title="image"),
        *(Picture(s.probability[arm], f"Probability of object, {arm}, {stage}.", scale, title=arm, bar=True)
          for arm in arms),
    )  # fmt: skip
    message = _message(s, noise)
    data = [("state", s.state), ("steps", str(s.steps)), ("seed", str(s.seed))]
    data += [(f"{arm}-{m}", f"{s.scores[arm][m][-1]:.6f}") for arm in arms for m in METRICS if len(s.scored)]
    return Figure(
        name="live",
        title="Guided and pooled learn side by side",
        message=message,
        summary=_summary(s, noise),
        alt=f"Loss and score of two networks in training, and their maps of one held-out image. {message}",
        rows=("",),
        columns=(Column(""),) * len(pictures),
        cells=(pictures,),
        strip=(_loss(s, arms), _score(s, arms)) if s.steps else (),
        legend=(*((f"series-{i}", arm) for i, arm in enumerate(arms) if s.steps), truth_key(s.truth)),
        table=_table(s, arms) if s.steps else (),
        data=tuple(data),
    )  # fmt: skip


def running_mean(values: np.ndarray) -> np.ndarray:
    """Mean of the last SMOOTH values up to each; of as many as there are at the start. [n] -> [n]"""
    sums = np.concatenate([[0.0], np.cumsum(np.asarray(values, float))])
    ends = np.arange(1, len(sums))
    starts = np.maximum(0, ends - SMOOTH)
    return (sums[ends] - sums[starts]) / (ends - starts)


def _loss(s: Snapshot, arms: list[str]) -> Plot:
    means = {arm: running_mean(s.losses[arm]) for arm in arms}
    shown = np.unique(np.linspace(0, s.steps - 1, min(s.steps, POINTS)).round().astype(int))  # the last step always
    series = [Series(arm, *_to_the_end(s, shown + 1, means[arm][shown]), i) for i, arm in enumerate(arms)]
    told = "; ".join(f"{arm} from {number(means[arm][0])} to {number(means[arm][-1])}" for arm in arms)
    top = max(float(values.max()) for values in means.values())
    title = f"Training loss, mean of {SMOOTH} steps"
    return Plot(title, tuple(series), "training step", "loss", (0.0, 1.05 * top), f"{title}: {told}.")


def _score(s: Snapshot, arms: list[str]) -> Plot:
    points = {arm: 100 * s.scores[arm]["nsd1"] for arm in arms}
    series = [Series(arm, *_to_the_end(s, s.scored, points[arm]), i) for i, arm in enumerate(arms)]
    told = "; ".join(f"{arm} {points[arm][-1]:.1f} points" for arm in arms)
    title = f"Score on {s.held_out} held-out images"
    alt = f"Surface Dice at 1 px on {s.held_out} held-out images after {s.scored[-1]} steps: {told}."
    return Plot(title, tuple(series), "training step", f"{METRICS['nsd1']} (points)", (0.0, 100.0), alt)


def _to_the_end(s: Snapshot, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A curve on an axis from 0 to the last planned step, so that it grows to the right."""
    end = max(s.steps, s.planned or 0)
    return np.concatenate([[0], x, [end]]), np.concatenate([[np.nan], y, [np.nan]])


def _table(s: Snapshot, arms: list[str]) -> tuple[tuple[str, ...], ...]:
    """Numbers to read off, with equally many digits after the point so that columns can be compared."""
    scores = [
        (f"{name} (points), step {s.scored[-1]}", *(f"{100 * s.scores[arm][metric][-1]:.1f}" for arm in arms))
        for metric, name in METRICS.items()
    ]
    means = (f"{running_mean(s.losses[arm])[-1]:.3f}" for arm in arms)
    return (("measure", *arms), *scores, (f"training loss, step {s.steps}", *means))


def _message(s: Snapshot, noise: SeedNoise | None) -> str:
    if s.state == "before":
        return (
            "Nothing is trained yet: both networks start from the same random weights. Start trains them in turn on "
            "the same drawn pictures, for the time you choose; two minutes are about 300 steps of each on a laptop."
        )
    if s.state == "recorded":
        begin = f"Recorded, {s.steps} steps from random weights (Start trains anew, here and now)"
    elif s.state == "finished":
        begin = f"Finished after {s.steps} steps"
    elif s.state == "stopped":
        begin = f"Stopped after {s.steps} steps"
    elif s.steps == 0:
        return "Step 0: the untrained networks are scored; the first steps come now."
    else:
        begin = f"Step {s.steps}" + (f" of about {s.planned}" if s.planned else "")
        if s.budget is not None:
            begin += f", {max(0, round(s.budget - s.seconds))} s left"
    if s.ahead is None:
        return f"{begin}: no score yet."
    return f"{begin}: {_who(s, noise)}"


def _who(s: Snapshot, noise: SeedNoise | None) -> str:
    """Who is ahead, by how much, and whether that means anything."""
    ahead, verb = s.ahead, "is" if s.state == "training" else "was"
    last = {arm: round(100 * float(scores["nsd1"][-1]), 1) for arm, scores in s.scores.items()}  # as the table says
    points = f"{abs(last['guided'] - last['pooled']):.1f}"
    if points == "0.0":
        who = "guided and pooled score alike"
    else:
        first, second = ("guided", "pooled") if ahead > 0 else ("pooled", "guided")
        name = "point" if points == "1.0" else "points"
        who = f"{first} {verb} {points} {name} of surface Dice ahead of {second}"
    if noise is None:
        return f"{who}; one run of one seed, so this alone means little."
    limit = f"about {100 * noise.reach:.0f} points"
    if s.steps < noise.steps:  # measured: shorter trainings scatter more, see learn/live.py
        return (
            f"{who}; one run of one seed: differences under {limit} mean nothing after {noise.steps} steps, and after "
            "fewer even larger ones."
        )
    if abs(ahead) < noise.reach:
        return f"{who}; one run of one seed: differences under {limit} mean nothing."
    return f"{who}, more than the {limit} that luck makes; train other seeds before you believe it."


def _summary(s: Snapshot, noise: SeedNoise | None) -> str:
    height, width = s.truth.shape
    what = (
        f"Two networks of {s.parameters:,} parameters that differ in where kernels and gates come from: guided per "
        f"pixel, pooled per block. Same first weights, same pictures in the same order, seed {s.seed}; drawn pictures "
        f"of {height} × {width} px; the one shown and those scored are held out. A point is a hundredth."
    )
    if 0 < s.steps < EARLY:
        what += " Scores jump in the first tens of steps: batch norm's running averages lag behind the weights."
    if noise is None:
        return what
    return (
        f"{what} What luck makes: in the recorded experiment on these pictures ({noise.seeds} seeds, {noise.steps} "
        f"steps), guided minus pooled has a standard deviation of {100 * noise.spread:.1f} points between seeds, so "
        f"one pair of equally good networks differs by up to about {100 * noise.reach:.0f} points (95 %); shorter "
        "trainings scatter more."
    )
