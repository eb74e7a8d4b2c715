"""Answers to the exercises of notebook 05: right ones written differently, and mistakes that students make."""

from __future__ import annotations

import inspect
import math
import warnings

import numpy as np

from answers import Exercise

# --- exercise 1: fair_pairs(runs) ------------------------------------------------------------------------------------

NO_SETTINGS = ("name", "kernel_source", "iou")


def _settings(run):
    return {key: value for key, value in run.items() if key not in NO_SETTINGS}


def by_comprehension(runs):
    return [
        (a["name"], b["name"])
        for a in runs
        for b in runs
        if (a["kernel_source"], b["kernel_source"]) == ("structure", "pooled") and _settings(a) == _settings(b)
    ]


def by_keys(runs):
    found = set()
    for a in (run for run in runs if run["kernel_source"] == "structure"):
        for b in (run for run in runs if run["kernel_source"] == "pooled"):
            keys = (set(a) | set(b)) - set(NO_SETTINGS)
            if all(key in a and key in b and a[key] == b[key] for key in keys):
                found.add((a["name"], b["name"]))
    return found


def by_groups(runs):
    groups = {}
    for run in runs:
        groups.setdefault(frozenset(_settings(run).items()), []).append(run)
    of = lambda group, source: [r["name"] for r in group if r["kernel_source"] == source]  # noqa: E731
    return [(g, p) for group in groups.values() for g in of(group, "structure") for p in of(group, "pooled")]


def _pairs_where(same):
    return lambda runs: [
        (a["name"], b["name"])
        for a in runs
        for b in runs
        if a["kernel_source"] == "structure" and b["kernel_source"] == "pooled" and same(a, b)
    ]


known_settings = _pairs_where(lambda a, b: all(a[k] == b[k] for k in ("seed", "steps", "data")))
without_seed = _pairs_where(lambda a, b: a["steps"] == b["steps"] and a["data"] == b["data"])
without_steps = _pairs_where(lambda a, b: a["seed"] == b["seed"] and a["data"] == b["data"])
without_data = _pairs_where(lambda a, b: a["seed"] == b["seed"] and a["steps"] == b["steps"])
first_ones_keys = _pairs_where(lambda a, b: all(a[k] == b.get(k) for k in a if k not in NO_SETTINGS))
common_keys = _pairs_where(lambda a, b: all(a[k] == b[k] for k in set(a) & set(b) if k not in NO_SETTINGS))
everything_equal = _pairs_where(lambda a, b: all(a[k] == b[k] for k in a if k not in ("name", "kernel_source")))
name_too = _pairs_where(lambda a, b: all(a.get(k) == b.get(k) for k in a if k not in ("kernel_source", "iou")))
second_ones_keys = _pairs_where(lambda a, b: all(b[k] == a.get(k) for k in b if k not in NO_SETTINGS))


def values_only(runs):
    return [(a["name"], b["name"]) for a in runs for b in runs if (a["kernel_source"], b["kernel_source"]) ==
            ("structure", "pooled") and list(_settings(a).values()) == list(_settings(b).values())]  # fmt: skip


def as_text(runs):
    return [(a["name"], b["name"]) for a in runs for b in runs if (a["kernel_source"], b["kernel_source"]) ==
            ("structure", "pooled") and str(_settings(a)) == str(_settings(b))]  # fmt: skip


def at_equal_places(runs):
    guided = [r for r in runs if r["kernel_source"] == "structure"]
    pooled = [r for r in runs if r["kernel_source"] == "pooled"]
    return [(a["name"], b["name"]) for a, b in zip(guided, pooled, strict=False) if _settings(a) == _settings(b)]


def neighbours_in_the_list(runs):
    return [(a["name"], b["name"]) for a, b in zip(runs, runs[1:], strict=False) if (a["name"], b["name"]) in
            by_keys(runs)]  # fmt: skip


def pooled_first(runs):
    return [(b, a) for a, b in by_keys(runs)]


def both_orders(runs):
    return [*by_keys(runs), *pooled_first(runs)]


def any_two_sources(runs):
    return [(a["name"], b["name"]) for i, a in enumerate(runs) for b in runs[i + 1 :] if _settings(a) == _settings(b)
            and a["kernel_source"] != b["kernel_source"]]  # fmt: skip


def everything_but_pooled(runs):
    return [(a["name"], b["name"]) for a in runs for b in runs
            if a["kernel_source"] != "pooled" == b["kernel_source"] and _settings(a) == _settings(b)]  # fmt: skip


def everything_but_structure(runs):
    return [(a["name"], b["name"]) for a in runs for b in runs
            if a["kernel_source"] == "structure" != b["kernel_source"] and _settings(a) == _settings(b)]  # fmt: skip


def one_partner(runs):
    found = {}
    for a, b in by_comprehension(runs):
        found.setdefault(a, b)
    return list(found.items())


def the_first_only(runs):
    return by_comprehension(runs)[:1]


def by_their_names(runs):
    return [(a["name"], b["name"]) for a in runs for b in runs
            if (a["name"][0], b["name"][0]) == ("g", "p") and _settings(a) == _settings(b)]  # fmt: skip


def _differing(a, b, without=()):
    return sum(a.get(key) != b.get(key) for key in set(a) | set(b) if key not in without)


one_difference = _pairs_where(lambda a, b: _differing(a, b, ("name", "iou")) == 1)
three_differences = _pairs_where(lambda a, b: _differing(a, b) <= 3)
same_names_of_settings = _pairs_where(lambda a, b: _settings(a).keys() == _settings(b).keys())


def whole_runs(runs):
    return [(a, b) for a in runs for b in runs if (a["name"], b["name"]) in by_keys(runs)]


def pops(runs):
    names = [(run.pop("name"), run.pop("kernel_source"), run.pop("iou")) for run in runs]
    return [(a[0], b[0]) for a, r in zip(names, runs, strict=True) for b, s in zip(names, runs, strict=True)
            if a[1] == "structure" and b[1] == "pooled" and r == s]  # fmt: skip


# --- exercise 2: overlap(pred, true) ---------------------------------------------------------------------------------


def from_dice(pred, true):
    size = int(pred.sum()) + int(true.sum())
    if size == 0:
        return math.nan, math.nan
    dice = 2 * int(np.logical_and(pred, true).sum()) / size
    return dice / (2 - dice), dice


def by_sets(pred, true):
    a, b = ({tuple(p) for p in np.argwhere(m)} for m in (pred, true))
    return (len(a & b) / len(a | b), 2 * len(a & b) / (len(a) + len(b))) if a or b else (float("nan"),) * 2


def by_counts(pred, true):
    both, one = np.sum(pred * true), np.sum(pred ^ true)
    with np.errstate(invalid="ignore"):
        return np.array([both / (both + one), 2 * both / (2 * both + one)])


def _guarded(iou, dice):
    def answer(pred, true):
        if not (pred.any() or true.any()):
            return math.nan, math.nan
        both, either, first, second = (pred & true).sum(), (pred | true).sum(), pred.sum(), true.sum()
        return iou(both, either, first, second, pred.size), dice(both, either, first, second, pred.size)

    return answer


def _iou(both, either, first, second, size):
    return both / either


def _dice(both, either, first, second, size):
    return 2 * both / (first + second)


def accuracy(pred, true):
    return _guarded(lambda *_: (pred == true).mean(), _dice)(pred, true)


def empty_is_one(pred, true):
    return by_sets(pred, true) if pred.any() or true.any() else (1.0, 1.0)


def empty_is_zero(pred, true):
    return by_sets(pred, true) if pred.any() or true.any() else (0.0, 0.0)


def with_a_small_number(pred, true):
    both = (pred & true).sum()
    return (both + 1e-6) / ((pred | true).sum() + 1e-6), (2 * both + 1e-6) / (pred.sum() + true.sum() + 1e-6)


def one_empty_is_undefined(pred, true):
    return by_sets(pred, true) if pred.any() and true.any() else (math.nan, math.nan)


def divides_by_nothing(pred, true):
    both, either = int((pred & true).sum()), int((pred | true).sum())
    return both / either, 2 * both / (int(pred.sum()) + int(true.sum()))


def overflows(pred, true):
    both = np.sum(pred & true, dtype=np.uint8)
    size = np.sum(pred, dtype=np.uint8), np.sum(true, dtype=np.uint8)
    return _guarded(lambda *_: both / max(1, int(size[0]) + int(size[1]) - int(both)), _dice)(pred, true)


def bool_plus_bool(pred, true):
    return _guarded(lambda *_: (pred & true).sum() / (pred.sum() + true.sum() - (pred + true).sum()), _dice)(pred, true)


def bool_minus_bool(pred, true):
    return _guarded(lambda *_: (pred & true).sum() / (pred - true).sum(), _dice)(pred, true)


def swapped(pred, true):
    return by_sets(pred, true)[::-1]


def in_place(pred, true):
    both_sizes = pred.sum() + true.sum()
    union = (pred | true).sum()
    pred &= true
    return (pred.sum() / union, 2 * pred.sum() / both_sizes) if union else (math.nan, math.nan)


def one_number(pred, true):
    return by_sets(pred, true)[0]


def by_the_library(pred, true):
    from sgdc_viz.learn.metrics import evaluate_masks

    scores = evaluate_masks(pred, true)
    return scores["iou"], scores["dice"]


def by_two_functions_of_the_library(pred, true):
    from sgdc_viz.learn import metrics

    return metrics.iou(pred, true), metrics.dice(pred, true)


def len_of_a_mask(pred, true):
    return by_sets(pred, true)[0], 2 * (pred & true).sum() / (len(pred) + len(true))


def pythons_sum(pred, true):
    return sum(pred & true) / sum(pred | true), 2 * sum(pred & true) / (sum(pred) + sum(true))


# --- exercise 3: border_scores(from_pred, from_true, tolerance) ------------------------------------------------------


def with_quantile(from_pred, from_true, tolerance):
    near = sum(np.count_nonzero(side <= tolerance) for side in (from_pred, from_true))
    return near / (from_pred.size + from_true.size), max(np.quantile(s, 0.95) for s in (from_pred, from_true))


def by_hand(from_pred, from_true, tolerance):
    def percentile(values):
        values = sorted(values)
        whole, part = divmod(0.95 * (len(values) - 1), 1)
        upper = values[min(int(whole) + 1, len(values) - 1)]
        return values[int(whole)] * (1 - part) + upper * part

    joined = [*from_pred, *from_true]
    return sum(1 for d in joined if not d > tolerance) / len(joined), max(percentile(from_pred), percentile(from_true))


def _share(a, b, tolerance):
    return float((np.r_[a, b] <= tolerance).mean())


def _far(a, b):
    return max(np.percentile(a, 95), np.percentile(b, 95))


def _share_wrong(share):
    return lambda a, b, tolerance: (share(a, b, tolerance), _far(a, b))


def _far_wrong(far):
    return lambda a, b, tolerance: (_share(a, b, tolerance), far(a, b))


def sorts(from_pred, from_true, tolerance):
    from_pred.sort()
    return _share(from_pred, from_true, tolerance), _far(from_pred, from_true)


def by_the_private_functions(from_pred, from_true, tolerance):
    from sgdc_viz.learn.metrics import _hd95, _surface_dice

    return _surface_dice(from_pred, from_true, tolerance), _hd95(from_pred, from_true)


# --- exercise 4: paired_interval(first, second, resamples, generator) ------------------------------------------------


def _defined(first, second):
    differences = first - second
    return differences[~np.isnan(differences)]


def with_choice(first, second, resamples, generator):
    d = _defined(first, second)
    means = [generator.choice(d, size=len(d), replace=True).mean() for _ in range(resamples)]
    return d.mean(), *np.percentile(means, [2.5, 97.5])


def with_common_indices(first, second, resamples, generator):
    good = np.isfinite(first) & np.isfinite(second)
    first, second = first[good], second[good]
    index = generator.integers(0, len(first), (resamples, len(first)))
    low, high = np.quantile(first[index].mean(axis=1) - second[index].mean(axis=1), (0.025, 0.975))
    return float(first.mean() - second.mean()), float(low), float(high)


def with_weights(first, second, resamples, generator):
    d = _defined(first, second)
    counts = generator.multinomial(len(d), np.full(len(d), 1 / len(d)), size=resamples)
    return [d.mean(), *np.percentile(counts @ d / len(d), (2.5, 97.5))]


def _bootstrap(draw=None, ends=(2.5, 97.5), centre=np.mean, of=np.mean, defined=_defined):
    """A bootstrap with one thing replaced."""

    def answer(first, second, resamples, generator):
        d = defined(first, second)
        means = np.array([of(draw(d, generator) if draw else generator.choice(d, len(d))) for _ in range(resamples)])
        return centre(d), *np.percentile(means, ends)

    return answer


def unpaired(first, second, resamples, generator):
    d = _defined(first, second)
    good = np.isfinite(first - second)
    lists = [v[good] for v in (first, second)]
    means = [np.mean([generator.choice(v, len(v)) for _ in range(resamples)], axis=1) for v in lists]
    return d.mean(), *np.percentile(means[0] - means[1], [2.5, 97.5])


def second_minus_first(first, second, resamples, generator):
    return with_choice(second, first, resamples, generator)


def low_first(first, second, resamples, generator):
    mean, low, high = with_choice(first, second, resamples, generator)
    return low, mean, high


def high_before_low(first, second, resamples, generator):
    mean, low, high = with_choice(first, second, resamples, generator)
    return mean, high, low


def spread_of_images(first, second, resamples, generator):
    d = _defined(first, second)
    return d.mean(), d.mean() - 1.96 * d.std(), d.mean() + 1.96 * d.std()


def one_spread_of_images(first, second, resamples, generator):
    d = _defined(first, second)
    return d.mean(), d.mean() - d.std(ddof=1), d.mean() + d.std(ddof=1)


def standard_error(first, second, resamples, generator):
    d = _defined(first, second)
    half = 1.96 * d.std(ddof=1) / math.sqrt(len(d))
    return d.mean(), d.mean() - half, d.mean() + half


def percentiles_of_images(first, second, resamples, generator):
    d = _defined(first, second)
    return d.mean(), *np.percentile(d, [2.5, 97.5])


def mirrored(first, second, resamples, generator):
    mean, low, high = with_choice(first, second, resamples, generator)
    return mean, 2 * mean - high, 2 * mean - low


def sizes_exchanged(first, second, resamples, generator):
    d = _defined(first, second)
    means = generator.choice(d, size=(len(d), resamples)).mean(axis=1)
    return d.mean(), *np.percentile(means, [2.5, 97.5])


def mean_over_the_wrong_axis(first, second, resamples, generator):
    d = _defined(first, second)
    means = generator.choice(d, size=(resamples, len(d))).mean(axis=0)
    return d.mean(), *np.percentile(means, [2.5, 97.5])


def one_resample_for_all(first, second, resamples, generator):
    d = _defined(first, second)
    mean = generator.choice(d, len(d)).mean()
    return d.mean(), *np.percentile([mean] * resamples, [2.5, 97.5])


def nan_kept(first, second, resamples, generator):
    d = first - second
    return d.mean(), *np.percentile(generator.choice(d, (resamples, len(d))).mean(1), [2.5, 97.5])


def nan_left_out_of_each(first, second, resamples, generator):
    first, second = first[np.isfinite(first)], second[np.isfinite(second)]
    return with_choice(first, second, resamples, generator)


def nan_is_zero(first, second, resamples, generator):
    return with_choice(np.nan_to_num(first), np.nan_to_num(second), resamples, generator)


def no_difference_is_zero(first, second, resamples, generator):
    return with_choice(np.nan_to_num(first - second), np.zeros(len(first)), resamples, generator)


def resamples_built_in(first, second, resamples, generator):
    return with_choice(first, second, 2000, generator)


def images_built_in(first, second, resamples, generator):
    d = _defined(first, second)
    return d.mean(), *np.percentile(generator.choice(d, (resamples, 24)).mean(1), [2.5, 97.5])


def own_generator(first, second, resamples, generator):
    return with_choice(first, second, resamples, np.random.default_rng(0))


def not_repeatable(first, second, resamples, generator):
    return with_choice(first, second, resamples, np.random.default_rng())


def one_image_a_resample(first, second, resamples, generator):
    d = _defined(first, second)
    return d.mean(), *np.percentile(generator.choice(d, resamples), [2.5, 97.5])


def mean_of_resamples(first, second, resamples, generator):
    d = _defined(first, second)
    means = generator.choice(d, (resamples, len(d))).mean(1)
    return means.mean(), *np.percentile(means, [2.5, 97.5])


def shuffled_in_place(first, second, resamples, generator):
    generator.shuffle(first)
    return with_choice(first, second, resamples, generator)


def all_images_at_a_time(first, second, resamples, generator):
    d = _defined(first, second)
    return d.mean(), *np.percentile(generator.choice(d, (resamples, len(first))).mean(1), [2.5, 97.5])


def counts_from_one(first, second, resamples, generator):
    d = _defined(first, second)
    return d.mean(), *np.percentile(d[generator.integers(1, len(d), (resamples, len(d)))].mean(1), [2.5, 97.5])


def stops_one_early(first, second, resamples, generator):
    d = _defined(first, second)
    return d.mean(), *np.percentile(d[generator.integers(0, len(d) - 1, (resamples, len(d)))].mean(1), [2.5, 97.5])


def sums(first, second, resamples, generator):
    d = _defined(first, second)
    return d.mean(), *np.percentile(generator.choice(d, (resamples, len(d))).sum(1), [2.5, 97.5])


def pairs_broken(first, second, resamples, generator):
    d = _defined(first, second)
    index = generator.integers(len(first), size=(2, resamples, len(first)))
    means = np.nanmean(first[index[0]], axis=1) - np.nanmean(second[index[1]], axis=1)
    return d.mean(), *np.percentile(means, [2.5, 97.5])


def both_ends_in_one(first, second, resamples, generator):
    mean, *ends = with_choice(first, second, resamples, generator)
    return mean, np.array(ends)


def by_the_lesson(first, second, resamples, generator):
    from sgdc_viz.teach.lessons import training as lesson

    return lesson.interval(_defined(first, second))


def by_the_summary(first, second, resamples, generator):
    from sgdc_viz.learn.metrics import summarise

    told = summarise([{"iou": float(value)} for value in _defined(first, second)])["iou"]
    return told["mean"], told["low"], told["high"]


def drawn_before_undefined_are_left_out(first, second, resamples, generator):
    d = first - second
    rows = d[generator.integers(len(d), size=(resamples, len(d)))]
    means = [_defined(row, 0).mean() if np.isfinite(row).any() else math.nan for row in rows]
    return _defined(first, second).mean(), *np.percentile(means, [2.5, 97.5])


def jackknife(first, second, resamples, generator):
    d = _defined(first, second)
    return d.mean(), *np.percentile([np.delete(d, i).mean() for i in range(len(d))], [2.5, 97.5])


def signs_turned(first, second, resamples, generator):
    d = _defined(first, second)
    means = (d * generator.choice([-1, 1], size=(resamples, len(d)))).mean(1)
    return d.mean(), *np.percentile(means, [2.5, 97.5])


def scipys_default(first, second, resamples, generator):
    from scipy import stats

    d = _defined(first, second)
    named = "rng" if "rng" in inspect.signature(stats.bootstrap).parameters else "random_state"  # by SciPy's version
    with warnings.catch_warnings():  # where all differences are equal
        warnings.simplefilter("ignore")
        ends = stats.bootstrap((d,), np.mean, n_resamples=resamples, **{named: generator}).confidence_interval
    return d.mean(), ends.low, ends.high


# --- exercise 5: report() --------------------------------------------------------------------------------------------


def says(letters):
    def report():
        return letters

    return report


EXERCISES = {
    "exercise_1": Exercise(
        right=[by_comprehension, by_keys, by_groups],
        wrong=[
            ("seeds do not matter", without_seed, "seeds differ"),
            ("steps do not matter", without_steps, "steps differ"),
            ("data do not matter", without_data, "data differ"),
            ("only settings known by name", known_settings, "\\*every\\* setting"),
            ("only settings that both have", common_keys, "does not have: that is a difference"),
            ("a setting only the pooled run has", first_ones_keys, "on whichever side"),
            ("a setting only the guided run has", second_ones_keys, "that the other does not have"),
            ("values without their keys", values_only, "keys and values"),
            ("compared as text", as_text, "order the settings stand"),
            ("results must agree too", everything_equal, "a result may differ"),
            ("names must agree too", name_too, "name and iou are no settings"),
            ("partners stand at equal places", at_equal_places, "equal places"),
            ("partners stand side by side", neighbours_in_the_list, "in both orders"),
            ("pooled name first", pooled_first, "guided name first"),
            ("each pair twice", both_orders, "not in both orders"),
            ("any two sources make a pair", any_two_sources, "this one is semantic"),
            ("all that is not pooled is guided", everything_but_pooled, "this one is semantic"),
            ("all that is not structure is pooled", everything_but_structure, "this one is semantic"),
            ("stops after one pair", the_first_only, "do not stop at the first"),
            ("arms told by their names", by_their_names, "not at how a run is called"),
            ("a missing setting is None", one_difference, "with the value None"),
            ("counts differences, results among them", three_differences, "does not make up for it"),
            ("settings of equal names", same_names_of_settings, "seeds differ"),
            ("kernel_source called guided", lambda runs: [p for p in by_keys(runs) if "guided" in runs[0].values()],
             'which is "structure" or "pooled"'),
            ("a generator", lambda runs: (pair for pair in by_keys(runs)), "got generator"),
            ("one partner is enough", one_partner, "every fair pair counts"),
            ("runs in place of names", whole_runs, "\\*names\\*"),
            ("takes keys out of the runs", pops, "changes the runs"),
            ("one flat list of names", lambda runs: [n for pair in by_keys(runs) for n in pair], "each entry must be"),
        ],
    ),
    "exercise_2": Exercise(
        right=[from_dice, by_sets, by_counts],
        wrong=[
            ("accuracy", accuracy, "that is accuracy"),
            ("intersection over the sum of sizes", _guarded(lambda b, e, f, s, n: b / (f + s), _dice), "counted twice"),
            ("precision", _guarded(lambda b, e, f, s, n: b / max(f, 1), _dice), "that is precision"),
            ("recall", _guarded(lambda b, e, f, s, n: b / max(s, 1), _dice), "that is recall"),
            ("over the whole image", _guarded(lambda b, e, f, s, n: b / n, _dice), "whole image"),
            ("over the xor", _guarded(lambda b, e, f, s, n: b / max(e - b, 1), _dice), "xor"),
            ("Dice without its 2", _guarded(_iou, lambda b, e, f, s, n: b / (f + s)), "factor 2 is missing"),
            ("Dice over the union", _guarded(_iou, lambda b, e, f, s, n: 2 * b / e), "by the union; Dice"),
            ("Dice is IoU", _guarded(_iou, _iou), "the other one"),
            ("IoU is Dice", _guarded(_dice, _dice), "the other one"),
            ("swapped", swapped, "in this order"),
            ("empty masks agree, so 1", empty_is_one, "nothing was right"),
            ("empty masks score 0", empty_is_zero, "nothing was missed"),
            ("a small number against 0 / 0", with_a_small_number, "against 0 / 0"),
            ("one empty mask is undefined too", one_empty_is_undefined, "only \\*two\\* empty"),
            ("0 / 0 forgotten", divides_by_nothing, "ZeroDivisionError.*two empty masks"),
            ("counts in 8 bits", overflows, "overflows"),
            ("bool + bool is no sum", bool_plus_bool, "their union, not a sum"),
            ("bool minus bool", bool_minus_bool, "stops with TypeError"),
            ("changes the prediction", in_place, "changes the arrays"),
            ("one number", one_number, "return \\(iou, dice\\)"),
            ("the library's own", by_the_library, "evaluate_masks is the library's own"),
            ("the library's own, one by one", by_two_functions_of_the_library, "is the library's own"),
            ("Python's sum", pythons_sum, "adds rows only"),
            ("percent", _guarded(lambda b, e, f, s, n: 100 * b / e, _dice), "not percent"),
            ("len of a mask", len_of_a_mask, "counts its rows"),
        ],
    ),
    "exercise_3": Exercise(
        right=[with_quantile, by_hand],
        wrong=[
            ("share of each border, averaged", _share_wrong(
                lambda a, b, t: ((a <= t).mean() + (b <= t).mean()) / 2), "you averaged the shares"),
            ("predicted border only", _share_wrong(lambda a, b, t: (a <= t).mean()), "predicted border only"),
            ("true border only", _share_wrong(lambda a, b, t: (b <= t).mean()), "true border only"),
            ("below the tolerance", _share_wrong(lambda a, b, t: (np.r_[a, b] < t).mean()), "use <="),
            ("1 px built in", _share_wrong(lambda a, b, t: (np.r_[a, b] <= 1).mean()), "built in"),
            ("share of far pixels", _share_wrong(lambda a, b, t: (np.r_[a, b] > t).mean()), "too far away"),
            ("a count", _share_wrong(lambda a, b, t: (np.r_[a, b] <= t).sum()), "that is a count"),
            ("distances rounded", _share_wrong(lambda a, b, t: (np.r_[a, b].round() <= t).mean()), "do not round"),
            ("distances cut", _share_wrong(lambda a, b, t: (np.r_[a, b].astype(int) <= t).mean()), "do not"),
            ("factor 2 once more", _share_wrong(lambda a, b, t: 2 * (np.r_[a, b] <= t).mean()), "factor 2"),
            ("mean of the two percentiles", _far_wrong(
                lambda a, b: (np.percentile(a, 95) + np.percentile(b, 95)) / 2), "averaged the two percentiles"),
            ("one percentile of both lists", _far_wrong(
                lambda a, b: np.percentile(np.r_[a, b], 95)), "lists put together"),
            ("from the prediction only", _far_wrong(lambda a, b: np.percentile(a, 95)), "from the predicted"),
            ("from the truth only", _far_wrong(lambda a, b: np.percentile(b, 95)), "from the true border only"),
            ("the smaller percentile", _far_wrong(
                lambda a, b: min(np.percentile(a, 95), np.percentile(b, 95))), "the smaller"),
            ("plain Hausdorff", _far_wrong(lambda a, b: max(a.max(), b.max())), "plain Hausdorff"),
            ("0.95 of 100", _far_wrong(lambda a, b: max(np.percentile(s, 0.95) for s in (a, b))), "counts to 100"),
            ("5th percentile", _far_wrong(lambda a, b: max(np.percentile(s, 5) for s in (a, b))), "5th percentile"),
            ("mean distance", _far_wrong(lambda a, b: max(a.mean(), b.mean())), "a mean distance"),
            ("sum of both", _far_wrong(lambda a, b: np.percentile(a, 95) + np.percentile(b, 95)), "added"),
            ("sorted and counted", _far_wrong(
                lambda a, b: max(sorted(s)[int(0.95 * len(s))] for s in (a, b))), "interpolate"),
            ("percentile without interpolation", _far_wrong(
                lambda a, b: max(np.percentile(s, 95, method="lower") for s in (a, b))), "interpolate"),
            ("percent", _share_wrong(lambda a, b, t: 100 * _share(a, b, t)), "not percent"),
            ("near ones of one border, of all", _share_wrong(lambda a, b, t: (a <= t).sum() / (len(a) + len(b))),
             "near pixels of \\*one\\* border"),
            ("one border twice", _share_wrong(lambda a, b, t: 2 * (a <= t).sum() / (len(a) + len(b))), "border twice"),
            ("borders taken as equally long", _share_wrong(
                lambda a, b, t: ((a <= t).sum() + (b <= t).sum()) / (2 * len(a))), "equally long"),
            ("median", _far_wrong(lambda a, b: max(np.median(a), np.median(b))), "that is a median"),
            ("90th percentile", _far_wrong(lambda a, b: max(np.percentile(s, 90) for s in (a, b))), "90th"),
            ("99th percentile", _far_wrong(lambda a, b: max(np.percentile(s, 99) for s in (a, b))), "99th"),
            ("95 % of the maximum", _far_wrong(lambda a, b: 0.95 * max(a.max(), b.max())), "of the largest distance"),
            ("percentile of percentiles", _far_wrong(
                lambda a, b: np.percentile([np.percentile(s, 95) for s in (a, b)], 95)), "of the two percentiles; t"),
            ("the library's own", by_the_private_functions, "is the library's own"),
            ("swapped", lambda a, b, t: (_far(a, b), _share(a, b, t)), "in this order"),
            ("sorts what it is given", sorts, "changes the arrays"),
            ("one number", lambda a, b, t: _far(a, b), "return \\(surface_dice, hd95\\)"),
        ],
    ),
    "exercise_4": Exercise(
        right=[with_choice, with_common_indices, with_weights],
        wrong=[
            ("unpaired", unpaired, "unpaired bootstrap"),
            ("pairs broken by two sets of indices", pairs_broken, "unpaired bootstrap"),
            ("without replacement", _bootstrap(lambda d, g: g.permutation(d)), "\\*with\\* replacement"),
            ("one resample for all", one_resample_for_all, "anew for each resample"),
            ("5 % at each end", _bootstrap(ends=(5, 95)), "2.5 % at each"),
            ("99 % interval", _bootstrap(ends=(0.5, 99.5)), "99 % interval"),
            ("quartiles", _bootstrap(ends=(25, 75)), "50 % interval"),
            ("percentiles counted to 1", _bootstrap(ends=(0.025, 0.975)), "counts to 100"),
            ("spread of the images", spread_of_images, "\\*of the images\\*"),
            ("one standard deviation", one_spread_of_images, "\\*of the images\\*"),
            ("standard error", standard_error, "standard error"),
            ("percentiles of the images", percentiles_of_images, "single images"),
            ("one image a resample", one_image_a_resample, "single images spread"),
            ("mirrored ends", mirrored, "mirrored"),
            ("sizes exchanged", sizes_exchanged, "sizes exchanged"),
            ("mean over the wrong axis", mean_over_the_wrong_axis, "sizes exchanged"),
            ("second minus first", second_minus_first, "sign is turned"),
            ("low, mean, high", low_first, "in this order"),
            ("mean, high, low", high_before_low, "larger than high"),
            ("median", _bootstrap(centre=np.median), "that is the median"),
            ("median of each resample", _bootstrap(of=np.median), "not its median"),
            ("mean of the resamples", mean_of_resamples, "images themselves"),
            ("undefined kept", nan_kept, "holds NaN"),
            ("undefined left out of each list", nan_left_out_of_each, "leave out the \\*pair\\*"),
            ("undefined is 0", nan_is_zero, "undefined is not 0"),
            ("undefined difference is 0", no_difference_is_zero, "undefined difference"),
            ("2000 built in", resamples_built_in, "built in"),
            ("24 images built in", images_built_in, "18 at a time|is 24 built in"),
            ("undefined ones left out, but drawn for", all_images_at_a_time, "18 at a time"),
            ("first image never drawn", counts_from_one, "first image is never drawn"),
            ("last image never drawn", stops_one_early, "last image is never drawn"),
            ("sum in place of mean", sums, "\\*means\\* of the resamples"),
            ("a generator of its own", own_generator, "passed in"),
            ("not repeatable", not_repeatable, "same seed"),
            ("shuffles what it is given", shuffled_in_place, "changes the arrays"),
            ("one number", lambda a, b, n, g: float(np.mean(a - b)), "return \\(mean, low, high\\)"),
            ("both ends in one entry", both_ends_in_one, "entry 2 of yours is an array of 2"),
            ("the lesson's own", by_the_lesson, "interval is the library's own"),
            ("the summary's own", by_the_summary, "summarise is the library's own"),
            ("drawn before undefined ones are left out", drawn_before_undefined_are_left_out, "\\*before\\* you draw"),
            ("jackknife", jackknife, "jackknife"),
            ("signs turned", signs_turned, "no difference"),
            ("SciPy's default", scipys_default, "BCa"),
            ("absolute values", lambda a, b, n, g: with_choice(np.abs(a - b), np.zeros(len(a)), n, g), "absolute"),
            ("each list sorted", lambda a, b, n, g: with_choice(np.sort(a), np.sort(b), n, g), "pairs are broken"),
        ],
    ),
    "exercise_5": Exercise(
        right=[says({"A", "D", "G"}), says(["G", "A", "D"]), says("ADG")],
        wrong=[
            ("the larger number in bold", says({"A", "B", "D", "G"}), "B may not.*fifth digit"),
            ("undecided means equal", says({"A", "C", "D", "G"}), "C may not.*not 'equal'"),
            ("another seed would agree", says({"A", "D", "E", "G"}), "E may not.*another seed"),
            ("95 % of the images", says({"A", "D", "F", "G"}), "F may not.*than half"),
            ("guidance is the cause", says({"A", "D", "G", "H"}), "H may not.*two things"),
            ("no interval reported", says({"D", "G"}), "over which images"),
            ("undecided left out", says({"A", "G"}), "leaves both directions open"),
            ("one run kept quiet", says({"A", "D"}), "trained once"),
            ("nothing may be said", says(set()), "3 more"),
            ("a letter that does not exist", says({"A", "Z"}), "letters A to H"),
            ("true or false", says(True), "letters A to H"),
        ],
    ),
}  # fmt: skip
