"""Does it cause anything? Change one thing inside the network and see what happens to the prediction, and where."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .charts import Effect, Effects
from .figure import Column, Figure, Outline, Picture, Words, true_outline
from .geometry import beside_outline, interval_of_mean, mean_gradient, signed_distance, steepness
from .prediction import Prediction
from .style import change_scale, number, outlines_of, with_interval

NO_OP = "same probability after writing back what was recorded"
STEEPER = "change of mean |gradient| of the probability at the outline, per px (left is blurrier)"
HARDLY = 0.005  # changes of a probability or of surface Dice that this figure calls none
ABREAST = 5  # maps in one row


@dataclass(frozen=True, eq=False)
class Change:
    """One intervention on one image: what the network said before and after.

    Attributes:
        before, after: with metrics where the truth is known.
        control: True for a row that is there for comparison, such as random weights.
    """

    before: Prediction
    after: Prediction
    control: bool = False


@dataclass(frozen=True, eq=False)
class Case:
    """One image with all interventions. changes: what was done -> its effect; truth: object numbers [H, W] or None."""

    image: np.ndarray
    changes: Mapping[str, Change]
    truth: np.ndarray | None = None


def causal(
    cases: Sequence[Case],
    *,
    shown: int = 0,
    ring_width: float = 3.0,
    faithfulness: float | None = None,
    window: tuple[int, int, int, int] | None = None,
) -> Figure:
    """Interventions as rows, their effects as points, the unchanged network as zero; below, where the change is.

    Effects: mean |change of the probability| in the ring around the outline (and, as a cross, in the rest of the
    image); change of surface Dice at 1 px; change of HD95 in px; change of the steepness of the probability at the
    outline (negative: blurrier). Surface Dice and HD95 need truth in every case. Ring and steepness are taken at the
    true outline; without truth the ring lies around the unchanged prediction's, and steepness at each prediction's own.

    Args:
        cases: images, all with the same rows. Several give means with 95 % bootstrap intervals over the images.
        shown: which case is drawn as maps.
        ring_width: half width of the ring, in pixels.
        faithfulness: largest |change of the probability| when the intervention writes back what was recorded.
        window: part to show first, (y0, x0, y1, x1).

    Raises:
        ValueError: no case, no such case, no change, or rows that differ between cases.
    """
    cases = list(cases)
    if not cases:
        raise ValueError("cases is empty: give at least one image with its changes.")
    names = list(cases[0].changes)
    if not names:
        raise ValueError("the first case has no changes: give at least one intervention.")
    if not 0 <= shown < len(cases):
        raise ValueError(f"shown={shown} is no case: give 0 to {len(cases) - 1}.")
    for i, case in enumerate(cases):
        if list(case.changes) != names:
            raise ValueError(f"case {i} has the rows {list(case.changes)}, case 0 has {names}: give all the same.")
    many = len(cases) > 1
    if not ring_width >= 0.5:
        raise ValueError(f"ring_width={ring_width!r} must be 0.5 pixels or more.")
    moved = np.array([_moved(case, ring_width) for case in cases])  # [cases, rows, inside and outside the ring]
    inside, outside = interval_of_mean(moved[..., 0]), interval_of_mean(moved[..., 1])
    controls = [cases[0].changes[name].control for name in names]
    around = "the true outline" if cases[shown].truth is not None else "the unchanged prediction's outline"
    measures = [("near the outline", f"mean |change of probability| within {ring_width:g} px of the outline; cross: "
                 "elsewhere", inside, outside)]  # fmt: skip
    judged = all(
        c.before.metrics is not None and c.after.metrics is not None for k in cases for c in k.changes.values()
    )
    if judged:
        for key, title, axis in (
            ("nsd1", "Surface Dice at 1 px", "change of surface Dice at 1 px (left is worse)"),
            ("hd95", "HD95", "change of HD95, px (right is worse)"),
        ):
            gain = [[c.after.metrics[key] - c.before.metrics[key] for c in case.changes.values()] for case in cases]
            measures.append((title, axis, interval_of_mean(np.array(gain)), None))
    gain = np.array([_steeper(case) for case in cases])
    measures.append(("Steepness", STEEPER, interval_of_mean(gain), None))
    message = _message(names, controls, inside, outside, measures[1][2] if judged else None, many)
    strip = tuple(
        Effects(
            "Prediction near the outline" if i == 0 else title,
            tuple(_entry(j, names, controls, values, beside) for j in range(len(names))), axis,
            f"{title}: " + "; ".join(f"{n} {number(float(v), 2)}" for n, v in zip(names, values[0], strict=True)) + ".",
            "unchanged network",
            plus=i > 0,
        )
        for i, (title, axis, values, beside) in enumerate(measures)
    )  # fmt: skip
    columns, cells = _maps(cases[shown], window)
    count = f"{len(cases)} images; bars are 95 % bootstrap intervals of the mean over images" if many else (
        "One image, no interval")  # fmt: skip
    lost = "" if judged else " No truth, so no surface Dice and no HD95."
    claims = [j for j, control in enumerate(controls) if not control and np.isfinite(inside[0][j])]
    least = min(claims, key=lambda j: inside[0][j], default=None)
    least = (
        "" if len(claims) < 2 else f" Least near the outline: “{names[least]}”, {number(float(inside[0][least]), 2)}."
    )
    at = "the true outline" if all(case.truth is not None for case in cases) else "the outline of each prediction"
    summary = (
        f"{count}. Each row against its own unchanged network, which is zero. The ring lies within {ring_width:g} px "
        f"of {around}.{lost}{least} {_scales(cases)} Steepness is "
        f"taken at {at}. Hollow squares are controls. An intervention can also put the network where it has never "
        "been: a large effect shows that the part is used, not how well."
    )
    legend = [("prediction", "outline of the unchanged prediction")]
    if cases[shown].truth is not None:
        legend.append(("truth", "true outline"))
    return Figure(
        name="causal",
        title="What causes what",
        message=message,
        summary=summary,
        alt=f"Effects of {len(names)} interventions on the prediction, and maps of where it changes. {message}",
        rows=("",) * len(cells),
        columns=columns,
        cells=cells,
        legend=tuple(legend),
        table=_table(names, controls, measures),
        strip=strip,
        faithfulness=faithfulness,
        checked=NO_OP,
        data=(("images", str(len(cases))),),
    )


def _moved(case: Case, width: float) -> list[tuple[float, float]]:
    """For each row: mean |change of the probability| in the ring and outside it; NaN where there is no outline."""
    known = None if case.truth is None else np.abs(signed_distance(case.truth)) <= width
    rows = []
    for change in case.changes.values():
        near = np.abs(signed_distance(change.before.probability > 0.5)) <= width if known is None else known
        difference = np.abs(change.after.probability - change.before.probability)
        places = (near, ~near) if near.any() else (near, near)  # without an outline there is no elsewhere
        rows.append(tuple(float(difference[m].mean()) if m.any() else np.nan for m in places))
    return rows


def _steeper(case: Case) -> list[float]:
    """For each row: change of the steepness at the true outline, or without truth at each prediction's own."""
    steep = steepness_at(case.truth)
    return [steep(c.after.probability) - steep(c.before.probability) for c in case.changes.values()]


def steepness_at(truth: np.ndarray | None) -> Callable[[np.ndarray], float]:
    """`steepness` of probabilities [H, W] at the true outline, found once, or without truth at each one's own."""
    if truth is None:
        return lambda probability: steepness(probability, probability > 0.5)
    near = beside_outline(truth)
    return lambda probability: mean_gradient(probability, near)


def _scales(cases: Sequence[Case]) -> str:
    """How much the unchanged networks vary over an image: a change of 0.01 is little for one and all for another."""
    own: dict[str, float] = {}
    for name, row in cases[0].changes.items():
        who = name if row.control else "the network"
        own.setdefault(who, float(np.mean([case.changes[name].before.probability.std() for case in cases])))
    told = "; ".join(f"{who} {number(value, 2)}" for who, value in own.items())
    return f"Standard deviation of the unchanged probability over the image: {told}."


def _entry(j: int, names, controls, values, beside) -> Effect:
    mean, low, high = values
    interval = (None, None) if low is None else (float(low[j]), float(high[j]))
    return Effect(names[j], float(mean[j]), *interval, controls[j], None if beside is None else float(beside[0][j]))


def _message(names, controls, inside, outside, accuracy, many: bool) -> str:
    """What the strongest intervention does: at the outline or everywhere, for better or worse, more than a control?"""
    claims = [j for j, control in enumerate(controls) if not control and np.isfinite(inside[0][j])]
    if not claims:
        if all(controls):
            return "Only controls were given: give an intervention that they are controls of."
        return f"There is no outline in {'these images' if many else 'this image'} whose change could be measured."
    j = max(claims, key=lambda i: inside[0][i])
    near, far = float(inside[0][j]), float(outside[0][j])
    if near < HARDLY:
        return (
            f"None of the interventions moves the prediction near the outline by more than {number(near, 2)}: what "
            "they change is hardly used here."
        )
    where = (
        f"{number(near / far, 2)} times as much as elsewhere" if far > 1e-4 and near / far >= 1.5 else
        "and hardly anything elsewhere" if far <= 1e-4 else
        f"and elsewhere {'no less' if far >= near else 'nearly as much'} ({number(far, 2)})"
    )  # fmt: skip
    most = " most:" if len(claims) > 1 else ""
    text = f"“{names[j]}” moves the prediction{most} by {number(near, 2)} near the outline, {where}"
    if accuracy is not None and np.isfinite(accuracy[0][j]):
        change = float(accuracy[0][j])
        sure = abs(change) >= HARDLY and (not many or accuracy[1][j] > 0 or accuracy[2][j] < 0)
        text += (
            ", yet surface Dice stays the same within its interval" if many and not sure else
            ", yet surface Dice stays the same" if not sure else
            f"; surface Dice at 1 px falls by {number(-change, 2)}" if change < 0 else
            f"; surface Dice at 1 px even rises by {number(change, 2)}"
        )  # fmt: skip
    strong = [i for i, control in enumerate(controls) if control and inside[0][i] >= 0.8 * near]
    text += f", but the control “{names[strong[0]]}” moves it as much." if strong else "."
    if near >= 1.5 * far:  # the ratio is told: does it need training?
        ratios = {i: inside[0][i] / outside[0][i] for i, c in enumerate(controls) if c and outside[0][i] > 0}
        alike = [i for i, ratio in ratios.items() if ratio >= 0.8 * near / max(far, 1e-4)]
        if alike:
            text += f" Acting there rather than elsewhere takes no training: the same holds of “{names[alike[0]]}”."
    return text


def _maps(case: Case, window) -> tuple[tuple[Column, ...], tuple]:
    """The image, then where each intervention changes the probability, all on one scale."""
    changes = {k: c.after.probability - c.before.probability for k, c in case.changes.items()}
    scale = change_scale("change of probability, all maps", *changes.values())
    before = next(iter(case.changes.values())).before.probability
    truth = true_outline(case.truth)
    pictures: list = [
        Picture(case.image, "The image with the outline of the unchanged prediction.", linked=True, window=window,
                outlines=(Outline("unchanged prediction", outlines_of(before > 0.5), "prediction"), *truth),
                title="the image")
    ]  # fmt: skip
    for name, change in changes.items():
        alt = f"{name}: the probability changes by {number(float(np.abs(change).mean()), 2)} on average, without sign."
        pictures.append(Picture(change, alt, scale, linked=True, window=window, title=name))
    n = min(ABREAST, len(pictures))
    pictures += [Words(("",))] * (-len(pictures) % n)
    rows = tuple(tuple(pictures[i : i + n]) for i in range(0, len(pictures), n))
    return (Column("", scale), *(Column("") for _ in range(n - 1))), rows


def _table(names, controls, measures) -> tuple[tuple[str, ...], ...]:
    rows = []
    for j, name in enumerate(names):
        values = (with_interval(*(v if v is None else v[j] for v in value)) for _, _, value, _ in measures)
        rows.append((f"{name} (control)" if controls[j] else name, *values))
    return (("change against the unchanged network", *(title for title, *_ in measures)), *rows)
