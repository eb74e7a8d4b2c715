"""From the results of the experiments to what may be said: differences, tables, sentences and figures.

    python -m sgdc_viz evidence        # or: make evidence

reads assets/evidence/NAME/*.json (one file a cell, written by `python -m sgdc_viz experiment NAME`), and writes

    assets/evidence.json               every number that a table, a figure, the README or a notebook tells
    assets/evidence/README.md, *.png   the page and its figures
    README.md                          the part between its evidence marks

Nothing here trains, and no number is typed by hand.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from sgdc_viz import assets_dir
from sgdc_viz.learn.experiment import ARMS, DECLARED, EXPERIMENTS, read_results
from sgdc_viz.learn.metrics import METRICS
from sgdc_viz.learn.publish import NAMES, for_json
from sgdc_viz.learn.statistics import Difference, hierarchical_bootstrap
from sgdc_viz.views import Column, Figure
from sgdc_viz.views.charts import Effect, Effects, Plot, Series, padded_range

SUMMARY_FILE, FOLDER, DIGITS = "evidence.json", "evidence", 5
BEGIN, END = "<!-- evidence: `make evidence` writes this part -->", "<!-- /evidence -->"
TITLES = {"shapes": "drawn shapes", "nuclei": "real nuclei", "dermoscopy": "real skin lesions"}
DIALS = {
    "lobes": "bumps around the body",
    "width": "width of the branches (px)",
    "contrast": "contrast",
    "noise": "standard deviation of the noise",
}
DOSE_ARMS = ("semantic", "pooled-2", "pooled-4", "pooled-8", "pooled-16", "global")
DOSE_NAMES = {
    "structure": "guided", "semantic": "p = 1 (per pixel)", "pooled-2": "p = 2", "pooled-4": "p = 4",
    "pooled-8": "p = 8", "pooled-16": "p = 16", "global": "global",
}  # fmt: skip
# Further pairs of arms, exploratory: what is told -> (first, second).
MORE = {
    "guided - pooled, three times the steps": ("structure-long", "pooled-8-long"),
    "guided - per pixel, three times the steps": ("structure-long", "semantic-long"),
    "per pixel - pooled, three times the steps": ("semantic-long", "pooled-8-long"),
    "guided - pooled, decoder without skips": ("structure-no-skips", "pooled-8-no-skips"),
    "guided - per pixel, decoder without skips": ("structure-no-skips", "semantic-no-skips"),
    "guided at wrong pixels - pooled, decoder without skips": ("shuffled-no-skips", "pooled-8-no-skips"),
    "guided without edge supervision - pooled, decoder without skips": ("edges-off-no-skips", "pooled-8-no-skips"),
    "guided - guided without edge supervision, decoder without skips": ("structure-no-skips", "edges-off-no-skips"),
    "guided without skips - guided with skips": ("structure-no-skips", "structure"),
    "guided without skips - pooled with skips": ("structure-no-skips", "pooled-8"),
}
# Further trainings on the drawn shapes: ending of the arms' names -> what is different.
VARIANTS = {"-no-skips": "decoder without skips", "-long": "three times the steps"}
WITHIN = {
    "guidance zeroed": "guidance set to zero",
    "guidance shuffled": "guidance at wrong pixels",
    "kernels averaged": "kernels averaged over the image, gates as they are",
    "gates averaged": "gates averaged over the image, kernels as they are",
}

# What the paper says (Shi et al., MIDL 2026, arXiv 2602.23496), and what it was measured with.
PAPER = {
    "iou": "+0.99 to +1.49 points",
    "hd95": "-2.05",
    "scale": "ResNet-50; ISIC 2016, PH2, ISIC 2018, CoNIC; seeds and intervals are not given",
}


# --- numbers ---------------------------------------------------------------------------------------------------------


def compare(
    results: Sequence[dict],
    first: str,
    second: str,
    metric: str = "nsd1",
    *,
    level: float = 0.95,
    control: str = "",
    keep: Callable[[dict], np.ndarray] | None = None,
) -> Difference | None:
    """First arm minus second, paired by seed and image.

    Args:
        results: of one experiment.
        first, second: arms.
        metric: such as "nsd1".
        level: of the interval.
        control: take this control of the first arm ("guidance zeroed") in place of the arm as trained.
        keep: says from the columns of a result which images count, bool [images].

    Returns:
        None where fewer than two seeds have both arms.

    Raises:
        ValueError: the arms of one seed were tested on different images.
    """
    of = {(r["arm"], r["seed"]): r for r in results}
    seeds = sorted({s for a, s in of if a == first} & {s for a, s in of if a == second})
    rows, groups = [], []
    for seed in seeds:
        a, b = of[first, seed], of[second, seed]
        if a["images"]["name"] != b["images"]["name"]:
            raise ValueError(f"{a['experiment']}: {a['cell']} and {b['cell']} were tested on different images.")
        chosen = np.ones(len(a["images"]["name"]), bool) if keep is None else keep(a["images"])
        source = a["controls"][control] if control else a["images"]
        difference = np.array(source[metric], float) - np.array(b["images"][metric], float)
        rows.append(difference[chosen])
        groups.append(np.array(a["images"]["group"])[chosen])
    names = [of[first, seed]["images"]["name"] for seed in seeds]
    if any(own != names[0] for own in names):  # folds: group 0 of one fold is not group 0 of another
        groups = [own + 1_000_000 * i for i, own in enumerate(groups)]
    return hierarchical_bootstrap(rows, groups, level) if len(rows) > 1 else None


def corrected_level() -> float:
    """The level of the declared comparisons: 95 %, shared out among all of them (Bonferroni)."""
    return 1 - 0.05 / (len(DECLARED["contrasts"]) * len(DECLARED["experiments"]))


def summarise_experiment(results: Sequence[dict]) -> dict:
    """Everything that is told about one experiment."""
    name = results[0]["experiment"]
    experiment, one = EXPERIMENTS[name], results[0]
    arms = {}
    for arm in experiment.arms:
        own = [r for r in results if r["arm"] == arm]
        if not own:
            continue
        told = {"what": ARMS[arm].what, "seeds": len(own), "parameters": own[0]["parameters"]}
        told["steps"] = own[0]["training"]["steps"]
        told["means"] = {m: float(np.nanmean(np.concatenate([_column(r, m) for r in own]))) for m in METRICS}
        told["failures"] = int(sum(np.sum(r["images"]["failure"]) for r in own))
        guided = "structure" + next((ending for ending in VARIANTS if arm.endswith(ending)), "")
        if arm != guided:
            told["guided"] = guided
            told["guided minus this"] = {m: _told(compare(results, guided, arm, m)) for m in METRICS}
        arms[arm] = told
    contrasts = {}
    for contrast, (first, second) in DECLARED["contrasts"].items():
        contrasts[contrast] = {m: _told(compare(results, first, second, m)) for m in METRICS}
        wide = compare(results, first, second, DECLARED["primary"], level=corrected_level())
        contrasts[contrast]["corrected"] = _told(wide)
        also = compare(results, first, second, DECLARED["secondary"], level=corrected_level())
        contrasts[contrast]["corrected secondary"] = _told(also)
        contrasts[contrast]["verdict"] = verdict(wide)
    more = {told: {m: _told(compare(results, *pair, m)) for m in METRICS} for told, pair in MORE.items()}
    more = {told: values for told, values in more.items() if values["nsd1"]}
    kinds = {}
    for kind, count in Counter(one["images"]["kind"]).most_common():
        if count >= 5 and len(set(one["images"]["kind"])) > 1:
            only = lambda columns, kind=kind: np.array([k == kind for k in columns["kind"]])  # noqa: E731
            kinds[kind] = {"images": count} | {
                contrast: {m: _told(compare(results, *pair, m, keep=only)) for m in ("nsd1", "iou")}
                for contrast, pair in DECLARED["contrasts"].items()
            }
    folds = experiment.folds
    return {
        "question": experiment.question,
        "images": sum(len(r["images"]["name"]) for r in results if r["arm"] == one["arm"]) if folds
        else len(one["images"]["name"]),
        "folds": folds,
        "longest_side": experiment.longest_side,
        "train_images": one["train_data"]["images"],
        "batch_size": one["training"]["batch_size"],
        "crop": one["training"]["crop"],
        "cells": len(results),
        "declared_cells": len(experiment.cells()),
        "commits": sorted({str(r["commit"])[:7] for r in results}),
        "torch": sorted({r["machine"]["torch"] for r in results}),
        "arms": arms,
        "contrasts": contrasts,
        "settings": sum(len(levels) for levels in experiment.sweeps.values()),
        "controls": _controls(results, "structure"),
        "controls without skips": _controls(results, "structure-no-skips"),
        "more": more,
        "kinds": kinds,
        "images_by_kind": {} if folds else images_by_kind(results),
    }  # fmt: skip


def _controls(results: Sequence[dict], arm: str) -> dict:
    """What changing a trained guided network does, for each control that all seeds have."""
    own = [r for r in results if r["arm"] == arm]
    known = [control for control in WITHIN if own and all(control in r["controls"] for r in own)]
    return {control: {m: _told(compare(results, arm, arm, m, control=control)) for m in METRICS} for control in known}


def images_by_kind(results: Sequence[dict]) -> dict:
    """Which test images are of which kind, kinds too rare for an interval as well, and the IoU of the main arms there.

    Returns:
        kind -> {"names", "iou": arm -> mean over images and seeds}, the most frequent first; {} if there is one kind.
    """
    columns = results[0]["images"]
    kinds = Counter(columns["kind"])
    told = {}
    for kind, _ in kinds.most_common() if len(kinds) > 1 else ():
        there = np.array(columns["kind"]) == kind
        told[kind] = {"names": [name for name, yes in zip(columns["name"], there, strict=True) if yes], "iou": {}}
        for arm in SHORT:
            own = [_column(r, "iou")[there] for r in results if r["arm"] == arm]
            if own:
                told[kind]["iou"][arm] = float(np.nanmean(own))
    return told


def dose(results: Sequence[dict], suffix: str = "") -> dict:
    """Gain of guidance over each pooling, level by level of each dial: dial -> {"levels", "means", "gain"}.

    suffix: of the names of the arms that are compared, see VARIANTS.
    """
    told = {}
    columns = results[0]["images"]
    for dial, levels in EXPERIMENTS[results[0]["experiment"]].sweeps.items():
        if dial not in columns["dial"]:
            continue
        told[dial] = {"levels": list(levels), "means": {}, "gain": {}}
        for arm in ("structure", *DOSE_ARMS):
            own = [r for r in results if r["arm"] == arm + suffix]
            if not own:
                continue
            told[dial]["means"][arm] = [
                float(np.mean([np.nanmean(_column(r, "nsd1")[_at(r["images"], dial, level)]) for r in own]))
                for level in levels
            ]
            if arm == "structure":
                continue
            gains = [
                compare(results, "structure" + suffix, arm + suffix, keep=lambda c, d=dial, v=level: _at(c, d, v))
                for level in levels
            ]
            if None not in gains:
                told[dial]["gain"][arm] = [_told(gain) for gain in gains]
    return told


def _at(columns: dict, dial: str, level: float) -> np.ndarray:
    return (np.array(columns["dial"]) == dial) & (np.array(columns["level"], float) == level)


def _column(result: dict, metric: str) -> np.ndarray:
    return np.array(result["images"][metric], float)


def _told(difference: Difference | None) -> dict | None:
    if difference is None:
        return None
    d = difference
    return {
        "mean": d.mean, "low": d.low, "high": d.high, "median": d.median, "better": d.better,
        "by_seed": list(d.by_seed), "seeds": d.seeds, "images": d.images, "groups": d.groups,
    }  # fmt: skip


def verdict(difference: Difference | None) -> str:
    """ "first", "second" or "undecided"; "not run" without two seeds."""
    if difference is None:
        return "not run"
    return ("first" if difference.low > 0 else "second") if difference.decided else "undecided"


def summarise(folder: Path) -> dict:
    """All that is told, from the results in `folder`/NAME/*.json."""
    experiments, doses = {}, {}
    for name in DECLARED["experiments"]:
        results = read_results(folder / name)
        if results:
            experiments[name] = summarise_experiment(results)
            for suffix in ("", *VARIANTS) if EXPERIMENTS[name].sweeps else ():
                told = dose(results, suffix)
                if told and all({"semantic", "pooled-8"} <= values["gain"].keys() for values in told.values()):
                    doses[name + suffix] = told
    return {
        "declared": {**DECLARED, "corrected_level": corrected_level()},
        "experiments": experiments,
        "dose": doses,
        "paper": PAPER,
    }


def load_summary() -> dict:
    """What assets/evidence.json says. Raises FileNotFoundError where it is missing."""
    return json.loads((assets_dir() / SUMMARY_FILE).read_text(encoding="utf-8"))


# --- words and tables ------------------------------------------------------------------------------------------------

ARM_WORDS = {
    "structure": "guided networks",
    "semantic": "per-pixel networks without guidance",
    "pooled-8": "pooled networks",
}


def points(value: float | None, sign: bool = True) -> str:
    """A share as points (hundredths) with one digit: 0.00512 -> "+0.5"; "n/a" if undefined.

    One digit, because drawing the resamples anew moves the ends of the widest intervals by some tenths of a point.
    """
    if value is None or not np.isfinite(value):
        return "n/a"
    text = f"{100 * value:+.1f}" if sign else f"{100 * value:.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def change(told: dict | None, metric: str = "nsd1") -> str:
    """ "+0.5 [-0.0, +1.0]" in points; HD95 in pixels."""
    if told is None:
        return "not run"
    write = (lambda v: f"{v:+.1f}") if metric == "hd95" else points
    return f"{write(told['mean'])} {_interval(told, write)}"


def _interval(told: dict | None, write: Callable[[float], str] = points) -> str:
    return "not run" if told is None else f"[{write(told['low'])}, {write(told['high'])}]"


def _decided(told: dict) -> bool:
    """Whether the interval leaves out 0."""
    return told["low"] > 0 or told["high"] < 0


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


VERDICTS = {"first": "{0} ahead", "second": "{1} ahead", "undecided": "undecided", "not run": "not run"}
SHORT = {"structure": "guided", "semantic": "per pixel", "pooled-8": "pooled"}


def contrast_table(summary: dict, metrics: Sequence[str] = ("iou", "hd95")) -> str:
    """The nine declared comparisons by the primary measure, and what some other metrics say, in Markdown."""
    rows = []
    for name, told in summary["experiments"].items():
        for contrast, pair in summary["declared"]["contrasts"].items():
            values = told["contrasts"][contrast]
            seeds = values["nsd1"]["seeds"] if values["nsd1"] else 0
            rows.append((
                f"{TITLES[name]}, {_tested(told)}, {seeds} seeds", contrast, change(values["nsd1"]),
                _interval(values["corrected"]),
                VERDICTS[values["verdict"]].format(*(SHORT[arm] for arm in pair)),
                *(change(values[m], m) for m in metrics),
            ))  # fmt: skip
    head = ("test images", "difference", "surface Dice at 1 px, 95 %", "for nine comparisons", "so")
    return _table((*head, *(NAMES[m] for m in metrics)), rows)


def _tested(told: dict) -> str:
    """Such as "108 images", or "30 drawings at 28 settings"."""
    settings = told["settings"]
    return f"{told['images'] // settings} drawings at {settings} settings" if settings else f"{told['images']} images"


def arm_table(summary: dict, name: str, metrics: Sequence[str] = tuple(METRICS)) -> str:
    """All arms of an experiment with the means of some metrics, in Markdown."""
    rows, shares = [], [m for m in metrics if m != "hd95"]
    compared = [m for m in ("nsd1", "iou") if m in metrics]
    for arm, told in summary["experiments"][name]["arms"].items():
        means, less = told["means"], told.get("guided minus this", {})
        rows.append((
            f"`{arm}`", told["what"], told["seeds"], *(points(means[m], sign=False) for m in shares),
            *([f"{means['hd95']:.1f}"] if "hd95" in metrics else []), told["failures"],
            *(change(less[m]) if less.get(m) else "" for m in compared),
        ))  # fmt: skip
    names = [*(NAMES[m] for m in shares), *([NAMES["hd95"]] if "hd95" in metrics else [])]
    less = [f"{'' if i else 'guided, same skips and steps, - this: '}{NAMES[m]}" for i, m in enumerate(compared)]
    return _table(("arm", "kernels", "seeds", *names, "failures", *less), rows)


def control_table(summary: dict) -> str:
    """What the trained guided network loses when its guidance is taken away in the test, in Markdown."""
    rows = [
        (TITLES[name], skips, WITHIN[control], *(change(values[m], m) for m in ("nsd1", "iou", "hd95")))
        for name, told in summary["experiments"].items()
        for skips, key in (("with", "controls"), ("without", "controls without skips"))
        for control, values in told[key].items()
    ]
    return _table(
        ("test images", "skips", "in the trained guided network", NAMES["nsd1"], NAMES["iou"], NAMES["hd95"]), rows
    )


def kind_table(summary: dict, name: str = "nuclei") -> str:
    """The declared comparisons for each kind of image, in Markdown. Exploratory."""
    kinds = summary["experiments"][name]["kinds"]
    contrasts = list(summary["declared"]["contrasts"])
    rows = [
        (kind, told["images"], *(change(told[contrast]["nsd1"]) for contrast in contrasts))
        for kind, told in kinds.items()
    ]
    return _table(("kind", "images", *(f"{c}, surface Dice at 1 px" for c in contrasts)), rows)


def more_table(summary: dict, name: str) -> str:
    """Further pairs of arms, in Markdown. Exploratory."""
    rows = [
        (told, values["nsd1"]["seeds"], change(values["nsd1"]), change(values["iou"]), change(values["hd95"], "hd95"))
        for told, values in summary["experiments"][name]["more"].items()
    ]
    return _table(("difference", "seeds", NAMES["nsd1"], NAMES["iou"], NAMES["hd95"]), rows)


def _dose_arms(summary: dict, name: str) -> list[str]:
    return [arm for arm in DOSE_ARMS if all(arm in told["gain"] for told in summary["dose"][name].values())]


def dose_table(summary: dict, name: str = "shapes") -> str:
    """Gain of guidance over each pooling at each level of each dial, in Markdown. Exploratory."""
    doses, rows = summary["dose"][name], []
    arms = _dose_arms(summary, name)
    for dial, told in doses.items():
        for i, level in enumerate(told["levels"]):
            mean = points(told["means"]["structure"][i], sign=False)
            rows.append((f"{DIALS[dial]} {level:g}", mean, *(change(told["gain"][arm][i]) for arm in arms)))
    return _table(("dial", "guided", *(f"over {DOSE_NAMES[arm]}" for arm in arms)), rows)


def paper_table(summary: dict) -> str:
    """The paper's claim beside ours, in Markdown."""
    rows = [("paper", summary["paper"]["scale"], summary["paper"]["iou"], summary["paper"]["hd95"])]
    for name, told in summary["experiments"].items():
        values = told["contrasts"]["guided - pooled"]
        guided = told["arms"].get("structure")
        if values["iou"] is None or guided is None:
            continue
        scale = f"{guided['parameters']:,} parameters, {guided['steps']} steps, {told['train_images']} training images"
        cells = (f"{change(values['iou'])} points", change(values["hd95"], "hd95"))
        rows.append((f"ours, {TITLES[name]}", f"{scale}, {values['iou']['seeds']} seeds", *cells))
    return _table(("", "scale", "IoU, guided - pooling-based", "HD95 (px)"), rows)


def sentence(summary: dict, name: str, contrast: str = "guided - pooled") -> str:
    """What the corrected interval of the primary measure allows to say, and no more."""
    told = summary["experiments"][name]
    first, second = (ARM_WORDS[arm] for arm in summary["declared"]["contrasts"][contrast])
    values = told["contrasts"][contrast]
    wide = values["corrected"]
    if wide is None:
        return f"On {TITLES[name]}, {first} and {second} were not compared."
    low, high = points(wide["low"]), points(wide["high"])
    if values["verdict"] == "undecided":
        seeds = values["nsd1"]["by_seed"]
        return (
            f"On {TITLES[name]} it is undecided whether {first} or {second} are better: the interval of the difference "
            f"in surface Dice at 1 px, widened for nine comparisons, runs from {low} to {high} points ({len(seeds)} "
            f"seeds: {points(min(seeds))} to {points(max(seeds))})."
        )
    ahead, behind = (first, second) if values["verdict"] == "first" else (second, first)
    ends = sorted((abs(wide["low"]), abs(wide["high"])))
    return (
        f"On {TITLES[name]}, {ahead} are better than {behind}, by {points(ends[0], False)} to {points(ends[1], False)} "
        "points of surface Dice at 1 px."
    )


def sentences(summary: dict) -> str:
    """What may be said of each declared comparison, as a list in Markdown."""
    return "\n".join(
        f"- {sentence(summary, name, contrast)}"
        for name in summary["experiments"]
        for contrast in summary["declared"]["contrasts"]
    )


def seeds_needed(by_seed: Sequence[float], difference: float = 0.01) -> int:
    """How many paired seeds it would take to see a difference, with 80 % power in one comparison at 95 %.

    n = ((1.96 + 0.84) * s / difference)^2 with s the standard deviation over seeds; images as they are.
    """
    return max(2, math.ceil(((1.96 + 0.84) * float(np.std(by_seed, ddof=1)) / difference) ** 2))


def power_table(summary: dict) -> str:
    """What it would take to decide between guided and pooled, in Markdown."""
    rows = []
    for name, told in summary["experiments"].items():
        values = told["contrasts"]["guided - pooled"]["nsd1"]
        if values and not told["folds"]:
            seeds = values["by_seed"]
            listed, spread = " ".join(points(seed) for seed in seeds), points(float(np.std(seeds, ddof=1)), sign=False)
            rows.append((TITLES[name], "guided - pooled", listed, spread, f"about {seeds_needed(seeds)}, very roughly"))
    head = ("test images", "difference", "seed by seed", "standard deviation", "seeds needed to see 1 point")
    return _table(head, rows)


def regime(summary: dict) -> str:
    """What a student may repeat about guided against pooled, from the verdicts alone: one or two paragraphs."""
    told = summary["experiments"]
    decided, every = _count_decided(summary)
    start = f"{decided} of {every} planned comparisons are decided."
    parts = [start if decided else f"Undecided in all {every} planned comparisons."]
    verdicts = {name: told[name]["contrasts"]["guided - pooled"]["verdict"] for name in told}
    for verdict, better in (("first", "guided"), ("second", "pooled")):
        where = [TITLES[name] for name, own in verdicts.items() if own == verdict]
        if where:
            parts.append(f"On {_and(where)}, {better} networks drew better borders.")
    undecided = [name for name, own in verdicts.items() if own == "undecided"]
    apart = [name for name in undecided if not told[name]["folds"] and _seeds_part(told[name])]
    if apart:
        parts.append(
            f"On {_and([TITLES[name] for name in apart])}, the difference between guided and pooled networks changed "
            "more from one training seed to the next than it amounts to on average: one training of each cannot "
            "decide it."
        )
    for name in undecided:
        if told[name]["folds"]:
            parts.append(f"On {TITLES[name]}, few images and few seeds cannot tell.")
        elif name not in apart:
            parts.append(f"On {TITLES[name]}, these trainings cannot tell.")
    return "\n\n".join(filter(None, [" ".join(parts), without_skips(summary)]))


def _count_decided(summary: dict) -> tuple[int, int]:
    """(decided, all) of the declared comparisons."""
    every = [v["verdict"] for told in summary["experiments"].values() for v in told["contrasts"].values()]
    return sum(verdict in ("first", "second") for verdict in every), len(every)


def _seeds_part(told: dict) -> bool:
    gap = told["contrasts"]["guided - pooled"]["nsd1"]
    return max(gap["by_seed"]) - min(gap["by_seed"]) > 2 * abs(gap["mean"])


def without_skips(summary: dict) -> str:
    """What guidance is worth where the decoder has no other way to fine features; "" where that was not run."""
    pair, worth = "guided - pooled, decoder without skips", []
    for name, told in summary["experiments"].items():
        gain = told["more"].get(pair, {}).get("nsd1")
        if gain:
            worth.append(f"{_gain(gain)} on {TITLES[name]}")
    if not worth:
        return ""
    return (
        "Cut the decoder's skips, which nobody need do, and the guidance is the only way for fine features into the "
        f"decoder: guided minus pooled is then, in points, {_and(worth)} (exploratory). "
        + _in_place_of_skips(summary)
        + _its_controls(summary)
    ).strip()


def _gain(told: dict) -> str:
    return change(told) + ("" if _decided(told) else ", undecided,")


def _in_place_of_skips(summary: dict, name: str = "shapes") -> str:
    told = summary["experiments"].get(name, {"more": {}})["more"].get("guided without skips - pooled with skips")
    if not told:
        return ""
    return (
        f"That shows that guidance can carry detail, not that it does so better than skips: guided without skips minus "
        f"pooled with skips is {_gain(told['nsd1'])} on {TITLES[name]}. "
    )


def _its_controls(summary: dict, name: str = "shapes") -> str:
    """What remains of that with the guidance at wrong pixels, unsupervised, or without its kernels; "" if not run."""
    told = summary["experiments"].get(name, {"more": {}, "controls without skips": {}})
    pairs = {
        "trained with guidance at wrong pixels": "guided at wrong pixels - pooled, decoder without skips",
        "trained without edge supervision": "guided without edge supervision - pooled, decoder without skips",
    }
    words = [f"{what} {_gain(told['more'][pair]['nsd1'])}" for what, pair in pairs.items() if pair in told["more"]]
    text = f"Of the gain over pooled remain, {_and(words)}. " if words else ""
    inside = told["controls without skips"]
    if {"kernels averaged", "gates averaged"} <= inside.keys():
        kernels, gates = (inside[key]["nsd1"] for key in ("kernels averaged", "gates averaged"))
        text += (
            "In the trained guided network, averaging its kernels over the image changes the score by "
            f"{change(kernels)}, averaging its gates by {change(gates)}"
            + (": the gates carry it." if gates["high"] < min(0, kernels["low"]) else ".")
        )
    return text


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def report(results: Sequence[dict]) -> list[str]:
    """The three comparisons in the results of one experiment, a line each; those without two seeds are left out."""
    lines = []
    for contrast, pair in DECLARED["contrasts"].items():
        values = {m: compare(results, *pair, m) for m in (DECLARED["primary"], DECLARED["secondary"])}
        first = values[DECLARED["primary"]]
        if first is not None:
            numbers = ", ".join(f"{NAMES[m]} {change(_told(d))}" for m, d in values.items())
            who = VERDICTS[verdict(first)].format(*(SHORT[arm] for arm in pair))
            lines.append(
                f"{contrast}: {numbers} points (95 % over {first.seeds} seeds and {first.images} images): {who}"
            )
    return lines


def levels_told(summary: dict, arm: str = "pooled-8", name: str = "shapes") -> dict[str, dict[str, list[float]]]:
    """Dial -> {"guided", "other": levels where the 95 % interval (of one level, not corrected) leaves out 0}."""
    told = {}
    for dial, values in summary["dose"][name].items():
        gains = list(zip(values["levels"], values["gain"].get(arm, []), strict=False))
        told[dial] = {
            "guided": [level for level, gain in gains if gain["low"] > 0],
            "other": [level for level, gain in gains if gain["high"] < 0],
        }
    return told


# --- figures ---------------------------------------------------------------------------------------------------------


def _effects(title: str, axis: str, entries: Sequence[tuple[str, dict | None]], start: str) -> Effects:
    """Differences in points with their intervals, hollow where undecided; those that were not run are left out."""
    drawn = tuple(
        Effect(label, *(100 * told[key] for key in ("mean", "low", "high")), control=not _decided(told))
        for label, told in entries
        if told
    )
    listed = "; ".join(f"{e.label} {e.value:+.2f} [{e.low:+.2f}, {e.high:+.2f}]" for e in drawn)
    return Effects(title, drawn, axis, f"{start}: {listed}.", zero="no difference")


def _gain_lines(gains: Sequence[dict]) -> tuple[np.ndarray, ...]:
    """Mean, low and high of a gain at each level, in points."""
    return tuple(100 * np.array([gain[key] for gain in gains]) for key in ("mean", "low", "high"))


def _level_ticks(levels: Sequence[float]) -> tuple[tuple[float, str], ...]:
    """Levels of a dial at equal distances."""
    return tuple((float(i), f"{level:g}") for i, level in enumerate(levels))


def contrast_figure(summary: dict) -> Figure:
    """The declared comparisons as points with intervals, primary and secondary measure, each on one axis."""
    strip = []
    for metric, key in ((DECLARED["primary"], "corrected"), (DECLARED["secondary"], "corrected secondary")):
        entries = []
        for name, told in summary["experiments"].items():
            for contrast in summary["declared"]["contrasts"]:
                label = f"{TITLES[name].split()[-1]}: {contrast.replace(' - ', ' minus ')}"
                entries.append((label, told["contrasts"][contrast][key]))
        title = f"{NAMES[metric]} ({'judged by' if key == 'corrected' else 'second measure'})"
        strip.append(_effects(title, "points; intervals widened for nine comparisons", entries, NAMES[metric]))
    told = [sentence(summary, name) for name in summary["experiments"]]
    decided, every = _count_decided(summary)
    return Figure(
        name="contrasts", title="Does guidance help?",
        message=f"{decided or 'None'} of {every} declared comparisons can be called a difference. Filled, "
        "right of 0: the first is better; left of 0: the second. Hollow, across 0: undecided.",
        summary="Means over test images and seeds; the lines are intervals over both.", alt=" ".join(told),
        rows=(), columns=(), cells=(), strip=tuple(strip),
    )  # fmt: skip


def regime_figure(summary: dict, arm: str = "pooled-8", name: str = "shapes") -> Figure:
    """Gain of guidance over one pooling against each dial, in networks with and without skips: the whole story."""
    # label -> (which trainings, look of the line)
    lines = {"decoder with skips (as everywhere else)": (name, 1), "decoder without skips": (f"{name}-no-skips", 0)}
    drawn = {}
    for dial, told in summary["dose"][name].items():
        at = np.arange(len(told["levels"]), dtype=float)
        gains = [_gain_lines(summary["dose"][variant][dial]["gain"][arm]) for variant, _ in lines.values()]
        drawn[dial] = tuple(
            Series(label, at, mean, style, low, high)
            for (label, (_, style)), (mean, low, high) in zip(lines.items(), gains, strict=True)
        )
    span = padded_range(*(bound for series in drawn.values() for line in series for bound in (line.low, line.high)))
    strip = tuple(
        Plot(
            "", series, DIALS[dial], "gain of guidance (points)", span,
            f"Gain of guidance over pooled kernels against {DIALS[dial]}: with skips {_list(series[0].y)}; "
            f"without skips {_list(series[1].y)}.",
            ticks=_level_ticks(summary["dose"][name][dial]["levels"]), level="no gain",
        )
        for dial, series in drawn.items()
    )  # fmt: skip
    return Figure(
        name="regime", title="Guidance pays where fine detail has no other way into the decoder",
        message=_regime_message(summary, name),
        summary=f"Drawn shapes, {dose_setting(summary, name)}: surface Dice at 1 px of guided minus pooled kernels "
        f"({DOSE_NAMES[arm]}), one dial turned at a time. Bands: 95 % intervals over seeds and images, each for one "
        f"level alone; {_seeds(summary, name, '')} seeds with skips, {_seeds(summary, name, '-no-skips')} without.",
        alt=regime(summary), rows=(), columns=(), cells=(), strip=strip,
        legend=tuple((f"series-{style}", label) for label, (_, style) in lines.items()),
    )  # fmt: skip


def _regime_message(summary: dict, name: str) -> str:
    told = summary["experiments"][name]["more"]["guided - pooled, decoder without skips"]["nsd1"]
    return (
        f"With skips the gain of guidance over pooling is undecided at every level; without, it is {change(told)} "
        "points."
        if not any(levels["guided"] or levels["other"] for levels in levels_told(summary, name=name).values())
        else f"Without skips the gain of guidance over pooling is {change(told)} points."
    )


def _seeds(summary: dict, name: str, ending: str) -> int:
    return summary["experiments"][name]["arms"][f"structure{ending}"]["seeds"]


def _list(values: np.ndarray) -> str:
    return ", ".join(f"{v:+.1f}" for v in values)


def dose_figure(summary: dict, arms: Sequence[str] = ("semantic", "pooled-8"), name: str = "shapes") -> Figure:
    """Above: surface Dice of some arms against each dial. Below: what guidance gains over each of them.

    name: "shapes", or with an ending of VARIANTS.
    """
    shown = ("structure", *arms)
    values, gains = [], []
    doses = summary["dose"][name]
    spans = [100 * np.array(told["means"][arm]) for told in doses.values() for arm in shown]
    gaps = [bound for told in doses.values() for arm in arms for bound in _gain_lines(told["gain"][arm])[1:]]
    for dial, told in doses.items():
        at, ticks = np.arange(len(told["levels"]), dtype=float), _level_ticks(told["levels"])
        lines = tuple(Series(DOSE_NAMES[arm], at, 100 * np.array(told["means"][arm]), i) for i, arm in enumerate(shown))
        alt = f"Surface Dice against {DIALS[dial]}."
        axis = f"{NAMES['nsd1']} (points)"
        values.append(Plot("", lines, DIALS[dial], axis, padded_range(*spans), alt, ticks=ticks))
        lines = []
        for i, arm in enumerate(arms, start=1):  # as above, where guided is line 0
            mean, low, high = _gain_lines(told["gain"][arm])
            lines.append(Series(DOSE_NAMES[arm], at, mean, i, low, high))
        alt = f"Gain of guidance against {DIALS[dial]}: {_gains_in_words(summary, dial, arms, name)}"
        axis = "guided minus each (points)"
        gains.append(Plot("", tuple(lines), DIALS[dial], axis, padded_range(*gaps), alt, ticks=ticks, level="no gain"))
    message = dose_sentence(summary, name, arms)
    return Figure(
        name="dose", title="Dose and response: gain of guidance against what is in the image", message=message,
        summary=f"Drawn shapes, one dial turned at a time, networks of {dose_setting(summary, name)}. Below, "
        "bands are 95 % intervals over seeds and images, each for one level alone. p: side of a pooled block in "
        "feature pixels.",
        alt=message, rows=("", ""), columns=(Column(""),) * len(doses),
        cells=(tuple(values), tuple(gains)),
        legend=tuple((f"series-{i}", DOSE_NAMES[arm]) for i, arm in enumerate(shown)),
    )  # fmt: skip


def dose_setting(summary: dict, name: str) -> str:
    """Which networks a dose figure is of, such as "400 steps, decoder without skips"."""
    experiment, _, variant = name.partition("-")
    ending = f"-{variant}" if variant else ""
    steps = summary["experiments"][experiment]["arms"][f"structure{ending}"]["steps"]
    return f"{steps} steps" + (f", {VARIANTS[ending]}" if ending == "-no-skips" else "")


def _gains_in_words(summary: dict, dial: str, arms: Sequence[str], name: str) -> str:
    words = []
    for arm in arms:
        told = levels_told(summary, arm, name)[dial]
        for key, what in (("guided", "guided ahead of"), ("other", "guided behind")):
            if told[key]:
                words.append(f"{what} {DOSE_NAMES[arm]} at {', '.join(f'{level:g}' for level in told[key])}")
    return f"{DIALS[dial].capitalize()}: {'; '.join(words) or 'no level decided'}."


def dose_sentence(summary: dict, name: str = "shapes", arms: Sequence[str] = ("pooled-8",)) -> str:
    """At how many levels guidance gains or loses against some poolings (single levels, not corrected)."""
    doses, parts = summary["dose"][name], []
    count = sum(len(values["levels"]) for values in doses.values())
    for arm in arms:
        told = levels_told(summary, arm, name)
        ahead, behind = (sum(len(levels[key]) for levels in told.values()) for key in ("guided", "other"))
        parts.append(f"{DOSE_NAMES[arm]}: ahead at {ahead}, behind at {behind}")
    return f"Guided against {'; '.join(parts)} of {count} levels (each level for itself, not corrected)."


def arm_figure(summary: dict, name: str) -> Figure:
    """Guided minus every other arm of an experiment, primary and secondary measure."""
    told, strip = summary["experiments"][name], []
    for metric in (DECLARED["primary"], DECLARED["secondary"]):
        entries = [
            (key, arm["guided minus this"][metric])
            for key, arm in told["arms"].items()
            if arm.get("guided") == "structure"
        ]
        start = f"Guided minus each arm on {TITLES[name]}, {NAMES[metric]}"
        strip.append(_effects(NAMES[metric], "guided minus this arm (points), 95 % interval", entries, start))
    return Figure(
        name=f"arms-{name}", title=f"Guided minus each other arm: {TITLES[name]}",
        message="Right of 0: the guided network is better than this arm. Hollow, across 0: undecided.",
        summary="Means over seeds and images; 95 % intervals over both, each for one comparison alone (exploratory).",
        alt=sentence(summary, name), rows=(), columns=(), cells=(), strip=tuple(strip),
    )  # fmt: skip


# --- the page --------------------------------------------------------------------------------------------------------


def figures(summary: dict) -> dict[str, Figure]:
    """File name without suffix -> figure."""
    made = {"contrasts": contrast_figure(summary)}
    if _has_regime(summary):
        made["regime"] = regime_figure(summary)
    for name, told in summary["dose"].items():
        made[name.replace("shapes", "dose")] = dose_figure(summary, name=name)
        others = [arm for arm in DOSE_ARMS if arm not in ("semantic", "pooled-8")]
        if all(arm in values["gain"] for values in told.values() for arm in others):
            made["dose-of-pooling"] = dose_figure(summary, others, name)
    compared = [
        name
        for name, told in summary["experiments"].items()
        if any(arm.get("guided") == "structure" and arm["guided minus this"]["nsd1"] for arm in told["arms"].values())
    ]
    return made | {f"arms-{name}": arm_figure(summary, name) for name in compared}


def _has_regime(summary: dict) -> bool:
    return {"shapes", "shapes-no-skips"} <= summary["dose"].keys()


def readme_part(summary: dict) -> str:
    """What the README says, between its marks."""
    lines = [f"- {sentence(summary, name)}" for name in summary["experiments"]]
    return "\n".join([
        regime(summary), "", *lines, "",
        "![The declared comparisons as points with intervals](assets/evidence/contrasts.png)", "",
        *(["![Gain of guidance with and without skips](assets/evidence/regime.png)", ""] * _has_regime(summary)),
        contrast_table(summary),
    ])  # fmt: skip


def page(summary: dict) -> str:
    """assets/evidence/README.md."""
    declared, experiments = summary["declared"], summary["experiments"]
    parts = [
        "# Does guidance help? The evidence",
        "`make evidence` writes this page from the results beside it, one JSON file a training, and no number is typed "
        "by hand. Differences are in points (hundredths), HD95 in pixels.",
        "- **Guided**, **per pixel** and **pooled** networks differ in one thing: from which features each block "
        "makes its kernels *and its gates*: those of the pixel plus the guidance of the boundary branch, those of the "
        "pixel alone, or their mean over blocks of p x p feature pixels (p = 8 unless said; a feature pixel of the "
        "finest block is 2 x 2 image pixels).\n"
        "- **Surface Dice at 1 px**: share of the outline pixels, of both masks, that lie within 1 px of the other's "
        "outline. **Boundary IoU**: IoU of two bands along the outlines. **HD95**: distance that 95 % of the outline "
        "keeps to the other, lower is better. **Failures**: images where nothing was found or nothing was there.\n"
        "- **Skips** hand the encoder's fine features to the decoder, as in every U-Net. A **dial** is one property "
        "of the drawn images.",
        "## What was planned",
        f"- Primary measure: {NAMES[declared['primary']]}; second: {NAMES[declared['secondary']]}. The rest is told, "
        "not judged by.\n"
        "- Comparisons: guided minus pooled (what the paper claims), guided minus per pixel (is it the guidance?), per "
        "pixel minus pooled (is it that kernels differ from pixel to pixel?), each on three kinds of images.\n"
        f"- Interval: {declared['interval']}\n"
        f"- {declared['rule']}\n"
        "- Nothing was tuned on the test images, and the last step of each training counts, whatever its score.\n"
        "- Added after results had been seen, and exploratory: the decoder without skips and its controls, longer "
        "trainings on shapes.",
        "## The nine comparisons",
        regime(summary),
        sentences(summary),
        "![The declared comparisons as points with intervals](contrasts.png)",
        contrast_table(summary),
        "Undecided is not equal: the intervals hold differences of several points. On shapes and nuclei it is the "
        "seeds that make them wide (of the lesions each seed is tested on other images, and the two cannot be told "
        "apart). What it would take to see a difference of one point (80 % power, one comparison at 95 %):",
        power_table(summary),
        "## Does the trained network use its guidance?",
        "The same weights, measured again with the guidance changed; minus the network as trained. A network that "
        "uses its guidance need not need it.",
        control_table(summary),
    ]
    if summary["dose"]:
        parts += [
            "## Dose and response",
            *(["![Gain of guidance with and without skips](regime.png)"] * _has_regime(summary)),
            "One network an arm and seed, trained on drawn shapes, all four dials turned at random; tested with one "
            "dial turned and the others in the middle. Intervals of single levels, not corrected.",
        ]
    for name in summary["dose"]:
        file = name.replace("shapes", "dose")
        parts += [
            f"Networks of {dose_setting(summary, name)}. " + dose_sentence(summary, name, _dose_arms(summary, name)),
            f"![Gain of guidance against the four dials]({file}.png)",
            *(["![The same for further sizes of the pooled block](dose-of-pooling.png)"] if name == "shapes" else []),
            dose_table(summary, name),
        ]
    for name, told in experiments.items():
        parts += [f"## All arms: {TITLES[name]}", _setting(told), f"![Guided minus each arm](arms-{name}.png)",
                  arm_table(summary, name)]  # fmt: skip
        if told["more"]:
            parts += ["Further pairs (exploratory):", more_table(summary, name)]
        if told["kinds"]:
            parts += ["By kind of image (exploratory):", kind_table(summary, name)]
    if "shapes" in experiments:
        parts += ["## Is it the size of the pooled block?", size_sentence(summary)]
    parts += [
        "## The paper's claim beside ours",
        paper_table(summary),
        "Ours are other networks at another scale: the table compares claims, it refutes nothing. To repeat the "
        "paper's: "
        'its four data sets from their owners, a GPU, and `pip install -e ".[paper]"`; then',
        "```\n"
        + "\n".join(f"python -m sgdc_viz experiment {n} --root ..." for n in EXPERIMENTS if n.startswith("paper-"))
        + "\n```",
        "(`paper-ph2` also needs `--test-root`, the folder of PH2.) The paper gives no losses and no schedule; ours "
        "stand in sgdc_viz/learn/experiment.py. Add `--rehearse` to see in a minute whether everything is in place.",
        "## Repeat it",
        "```\npython -m sgdc_viz experiment shapes\n"
        "python -m sgdc_viz experiment nuclei --root stage1_train.zip\n"
        "python -m sgdc_viz experiment dermoscopy --root isic2017\n```",
        "These start from nothing; with `--out assets/evidence/shapes` (and so on) they add what is missing here. "
        "Each goes on where it was stopped; `--list` prints the grid and what is done, `--jobs` says how many cells to "
        "train at a time (one a GPU where there are several), and `accelerate launch --multi_gpu --num_processes 2 -m "
        "sgdc_viz experiment ...` trains each cell on two GPUs together. "
        "`--cell structure-seed0 --again --out assets/evidence/shapes --threads 1` "
        "trains one cell anew and compares it with the file. " + TOLERANCE,
    ]
    return "\n\n".join(parts) + "\n"


TOLERANCE = (
    "On the machine that made these files, with one thread, all digits agree; on another machine rounding differs, a "
    "training magnifies it, and the numbers differ by about as much as those of another seed."
)


def size_sentence(summary: dict, name: str = "shapes") -> str:
    """How the sizes of the pooled block rank by their means, and which of them is decided."""
    told = summary["experiments"][name]["arms"]
    gaps = {
        arm: told[arm]["guided minus this"]["nsd1"] for arm in DOSE_ARMS if told.get(arm, {}).get("guided minus this")
    }
    gaps = {arm: gap for arm, gap in gaps.items() if gap}
    higher = [DOSE_NAMES[arm] for arm, gap in gaps.items() if gap["mean"] < 0]
    decided = [DOSE_NAMES[arm] for arm, gap in gaps.items() if _decided(gap)]
    listed = "; ".join(f"{DOSE_NAMES[arm]} {change(gap)}" for arm, gap in gaps.items())
    return (
        f"On {TITLES[name]}, guided minus each: {listed}. A higher mean than guided: "
        f"{_and(higher) if higher else 'none'}. Decided, even if each were the only question: "
        f"{_and(decided) if decided else 'none'}."
    )


def _setting(told: dict) -> str:
    tested = f"{told['folds']} folds, each seed tested on one" if told["folds"] else "tested on images of their own"
    side = f", longest side {told['longest_side']} px" if told["longest_side"] else ""
    sizes = [arm["parameters"] for arm in told["arms"].values()]
    steps = Counter(arm["steps"] for arm in told["arms"].values()).most_common(1)[0][0]
    return (
        f"{told['question']} {told['train_images']} training and {told['images']} test images{side} ({tested}); "
        f"{steps} steps of {told['batch_size']} windows of {told['crop']} x {told['crop']} px, {min(sizes):,} to "
        f"{max(sizes):,} parameters. {told['cells']} of {told['declared_cells']} declared trainings are done."
    )


def write(project: Path) -> list[Path]:
    """Make everything anew from the results in `project`/assets/evidence.

    Returns:
        The files written.

    Raises:
        FileNotFoundError, ValueError: no results there, or the README has lost its marks.
    """
    assets = project / "assets"
    summary = for_json(summarise(assets / FOLDER), DIGITS)
    if not summary["experiments"]:
        raise FileNotFoundError(f"there are no results in {str(assets / FOLDER)!r}: run `experiment shapes` first.")
    pictures = {name: figure.to_png() for name, figure in figures(summary).items()}
    readme = project / "README.md"
    told = with_part(readme.read_text(encoding="utf-8"), readme_part(summary))
    texts = {
        assets / SUMMARY_FILE: as_json(summary),
        assets / FOLDER / "README.md": page(summary),
        readme: told,
    }
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8", newline="\n")
    for name, picture in pictures.items():
        (assets / FOLDER / f"{name}.png").write_bytes(picture)
    return [*texts, *(assets / FOLDER / f"{name}.png" for name in pictures)]


def as_json(summary: dict) -> str:
    """The text of evidence.json."""
    return json.dumps(summary, indent=0, allow_nan=False) + "\n"


def with_part(readme: str, part: str) -> str:
    """The README with `part` between its marks. Raises ValueError if the marks are gone."""
    if readme.count(BEGIN) != 1 or readme.count(END) != 1:
        raise ValueError(f"README.md must hold the lines {BEGIN!r} and {END!r} once each.")
    before, after = readme.split(BEGIN)[0], readme.split(END)[1]
    return f"{before}{BEGIN}\n{part}\n{END}{after}"
