"""The short training of notebook 05, its figures, and the seeds that were measured in advance."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import replace
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from made_results import made_results
from scipy import stats

from sgdc_viz import assets_dir, evidence
from sgdc_viz.explore import watch
from sgdc_viz.learn import TrainConfig
from sgdc_viz.learn.experiment import write_result
from sgdc_viz.learn.losses import total_loss
from sgdc_viz.learn.metrics import evaluate_masks
from sgdc_viz.learn.publish import paired_difference
from sgdc_viz.lens import kernel_entropy
from sgdc_viz.teach.lessons import training as lesson

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "05_train_it.ipynb"


# --- the training ----------------------------------------------------------------------------------------------------


def test_notebook_trains_with_the_settings_of_the_measured_seeds():
    source = "\n".join(
        c.source for c in nbformat.read(NOTEBOOK, 4).cells if c.cell_type == "code" and "def" in c.source
    )
    calls = [
        n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "TrainConfig"
    ]
    (call,) = calls
    shown = TrainConfig(**{k.arg: 3 if k.arg == "seed" else ast.literal_eval(k.value) for k in call.keywords})
    assert shown == lesson.recipe(3)
    told = json.loads(lesson.SEEDS_FILE.read_text(encoding="utf-8"))["recipe"]
    assert TrainConfig(**{**told, "seed": 3}) == lesson.recipe(3)


def test_training_and_test_images_are_different_drawings():
    train, test = lesson.drawn_nuclei(0, 3), lesson.drawn_nuclei(lesson.FIRST_TEST, 2)
    assert lesson.TRAIN_IMAGES < lesson.FIRST_TEST
    assert len({s.name for s in [*train, *test]}) == 5
    assert all(s.image.shape == (64, 64, 3) and s.mask.any() for s in [*train, *test])
    assert np.array_equal(lesson.drawn_nuclei(1, 1)[0].image, train[1].image)


def test_arms_begin_with_equal_weights_and_a_seed_changes_them():
    guided, pooled, other = (lesson.new_network(*a) for a in (("structure", 0), ("pooled", 0), ("structure", 1)))
    assert sum(p.numel() for p in guided.parameters()) == 77_437
    assert all(torch.equal(a, b) for a, b in zip(guided.parameters(), pooled.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(guided.parameters(), other.parameters(), strict=True))


def test_idle_weights_are_those_without_a_gradient():
    layers = torch.nn.ModuleList([torch.nn.Linear(3, 2), torch.nn.Linear(5, 1)])
    assert lesson.idle_weights(layers, layers[0](torch.ones(1, 3)).sum()) == 6  # 5 weights and a bias
    assert lesson.idle_weights(layers, layers[0](torch.zeros(1, 3)).sum()) == 12  # zeros in: only the first bias learns
    images, mask = torch.rand(2, 3, 32, 32), (torch.rand(2, 32, 32) > 0.5).long()
    idle = {}
    for source in ("structure", "pooled"):
        network = lesson.new_network(source, 0)
        idle[source] = lesson.idle_weights(network, total_loss(network(images), mask)["total"])
        guidance = [p.numel() for n, p in network.named_parameters() if "proj_guidance" in n or "out_guidance" in n]
    assert idle == {"structure": 0, "pooled": sum(guidance)}


def test_measure_seeds_trains_both_arms_and_repeats(monkeypatch, tmp_path):
    short = TrainConfig(steps=2, batch_size=2, crop=32, augment=False, warmup=1, learning_rate=0.05)
    monkeypatch.setattr(lesson, "recipe", lambda seed: replace(short, seed=seed))
    train, test = lesson.drawn_nuclei(0, 4), lesson.drawn_nuclei(lesson.FIRST_TEST, 3)
    measured = lesson.measure_seeds((0, 1), train, test)
    assert np.shape(measured["guided"]) == np.shape(measured["pooled"]) == (2, 3)
    assert lesson.measure_seeds((1,), train, test)["pooled"] == measured["pooled"][1:]
    lesson.write_seeds(tmp_path / "seeds.json", measured)
    monkeypatch.setattr(lesson, "SEEDS_FILE", tmp_path / "seeds.json")
    assert {arm: values.tolist() for arm, values in lesson.seeds_measured().items()} == measured


def test_main_says_how_to_use_it():
    with pytest.raises(SystemExit, match="OUT.json"):
        lesson.main([])


def test_the_measured_seeds_say_what_the_notebook_says():
    iou = lesson.seeds_measured()
    assert iou["guided"].shape == iou["pooled"].shape == (10, lesson.TEST_IMAGES)
    assert all(0.3 < v.min() and v.max() < 1 for v in iou.values())
    assert {arm: lesson.decided_pairs(v) for arm, v in iou.items()} == {"guided": (22, 45), "pooled": (25, 45)}
    alone = [lesson.interval(iou["guided"][s] - iou["pooled"][s]) for s in (0, 7)]
    assert alone[0][1] > 0 > alone[1][2]  # seed 0 says guided, seed 7 says pooled
    gaps = (iou["guided"] - iou["pooled"]).mean(1)
    assert lesson.decided(lesson.seed_interval(gaps[:6])) and not lesson.decided(lesson.seed_interval(gaps))
    spread = [np.std(values.mean(1), ddof=1) for values in iou.values()]
    assert np.std(gaps, ddof=1) < 0.6 * min(spread)  # pairing by seed pays


# --- curves ----------------------------------------------------------------------------------------------------------


def test_loss_curves_of_unfinished_trainings_keep_the_axis_of_the_whole():
    figure = lesson.loss_curves({"a": [3.0, 2.0], "b": [], "c": [1.0] * 5}, 5, {"first": ("a", "b"), "second": ("b",)})
    (plot,) = figure.strip  # nothing of the second has begun
    (series,) = plot.series
    assert series.label == "a" and plot.x_range == (1, 5)
    assert series.y[:2].tolist() == [3, 2] and np.isnan(series.y[2:]).all()
    assert "from 3.00 to 2.00" in figure.alt and "Mean distance" not in figure.alt


def test_loss_curves_tell_the_distance_of_two_finished_trainings():
    figure = lesson.loss_curves({"a": [3.0, 2.0], "b": [2.5, 2.0]}, 2, {"pair": ("a", "b"), "self": ("a", "a")},
                                message="They part.")  # fmt: skip
    assert "pair: 0.25; self: 0" in figure.summary and "They part." in figure.alt
    live = lesson.LiveTraining(steps=2)
    live.losses |= {"a": [3.0, 2.0], "b": [2.5, 2.0]}
    same = lesson.compared_curves(live, {"pair": ("a", "b"), "self": ("a", "a")})
    assert same.summary == figure.summary and not any(c.isdigit() for c in same.message)
    assert lesson.distance([3.0, 2.0], [2.5, 3.0]) == 0.75


@pytest.mark.parametrize(
    ("losses", "message"), [({}, "no training"), ({"a": []}, "no training"), ({"a": [1.0] * 3}, "3 losses")]
)
def test_loss_curves_refuse(losses, message):
    with pytest.raises(ValueError, match=message):
        lesson.loss_curves(losses, 2, {"plot": tuple(losses)})


def test_live_training_draws_every_few_steps_and_at_the_end():
    live = lesson.LiveTraining(steps=7, every=3)
    assert live.picture.detail == "" and "LiveTraining" in repr(live) and "0x" not in repr(live)
    step = live.follow("guided")
    drawn = []
    for n in range(1, 8):
        assert step(n, {"total": torch.tensor(2.0 / n)}) is None  # True would stop the training
        drawn.append(live.picture.detail)
    assert [a != b for a, b in zip(["", *drawn], drawn, strict=False)] == [n in (3, 6, 7) for n in range(1, 8)]
    assert live.bar.value == 7 and "step 7 of 7" in live.label.value
    assert live.render() == live.picture.detail and live.losses["guided"][1] == 1.0
    live.follow("pooled")(1, {"total": 1.0})
    assert live.losses["pooled"] == [1.0] and len(live.losses["guided"]) == 7
    live.follow("guided")
    assert live.losses["guided"] == []  # the same name again: a new curve


def test_live_training_of_one_step():
    live = lesson.LiveTraining(steps=1)
    live.follow("a")(1, {"total": 0.5})
    assert "<svg" in live.picture.detail


@pytest.mark.parametrize("steps_every", [(0, 5), (5, 0), (-1, 1)])
def test_live_training_refuses(steps_every):
    with pytest.raises(ValueError, match="must be 1 or more"):
        lesson.LiveTraining(*steps_every)


def test_targets_shows_image_mask_and_a_line_where_nuclei_touch():
    sample = lesson.drawn_nuclei(2, 1)[0]
    figure = lesson.targets(sample)
    _, mask, line = figure.cells[0]
    assert np.array_equal(mask.pixels, sample.mask > 0)
    assert mask.scale == line.scale and mask.bar and line.bar
    assert set(np.unique(line.pixels)) == {0, 1} and not np.array_equal(mask.pixels, line.pixels)
    assert figure.to_png()[:4] == b"\x89PNG" and "<svg" in figure.to_html()


# --- mistakes --------------------------------------------------------------------------------------------------------


def test_mistakes_do_what_the_table_of_traps_says():
    scores = {
        mistake: {name: evaluate_masks(*masks) for name, masks in lesson.mistaken(mistake).items()}
        for mistake in lesson.MISTAKES
    }
    shift, stray, false, nothing = scores.values()
    for each in shift.values():
        assert each["nsd1"] == 1 and each["hd95"] == 1
    assert shift["large object"]["iou"] > 0.9 > 0.5 > shift["small object"]["iou"]
    assert stray["large object"]["hd95"] == 0 and stray["small object"]["hd95"] == pytest.approx(26.3, abs=0.05)
    assert false["large object"]["iou"] > 0.95 and min(each["hd95"] for each in false.values()) > 25
    assert all(each["failure"] and each["hd95"] == pytest.approx(64 * 2**0.5) for each in nothing.values())


def test_objects_are_as_large_as_the_notebook_says():
    large, small = lesson.objects().values()
    assert large.any(0).sum() == 33 and small.any(0).sum() == 5


@pytest.mark.parametrize("mistake", list(lesson.MISTAKES))
def test_mistake_figures_tell_every_measure_of_both_objects(mistake):
    figure = lesson.mistake_figure(mistake)
    head, *rows = figure.table
    assert head[1:] == ("IoU", "Dice", "HD95 (px)", "surface Dice at 1 px", "boundary IoU")
    for row, (pred, true) in zip(rows, lesson.mistaken(mistake).values(), strict=True):
        assert row[1] == f"{evaluate_masks(pred, true)['iou']:.2f}"
    assert mistake in figure.alt and "<svg" in figure.to_html()


def test_mistakes_still_is_the_same_in_one_picture():
    figure = lesson.mistakes_still()
    assert len(figure.table) == 1 + 2 * len(lesson.MISTAKES)
    assert figure.table[4][2:] == lesson.mistake_figure("one stray pixel far away").table[2][1:]
    assert figure.to_png()[:4] == b"\x89PNG"


def test_an_unknown_mistake_is_refused():
    with pytest.raises(ValueError, match="'typo' is none of shifted"):
        lesson.mistake_figure("typo")


# --- intervals -------------------------------------------------------------------------------------------------------


def images(values):
    return [{"name": str(i), "iou": float(v)} for i, v in enumerate(values)]


def test_interval_is_the_library_s_paired_one():
    rng = np.random.default_rng(1)
    first, second = rng.random(30), rng.random(30)
    told = paired_difference(images(first), images(second), "iou")
    assert lesson.interval(first - second) == (told["mean"], told["low"], told["high"])


def test_unpaired_interval_agrees_with_the_two_standard_errors():
    rng = np.random.default_rng(2)
    first, second = rng.normal(1.0, 0.3, 200), rng.normal(0.0, 0.4, 200)
    mean, low, high = lesson.unpaired_interval(first, second)
    half = 1.96 * np.hypot(first.std(), second.std()) / 200**0.5
    assert mean == pytest.approx(first.mean() - second.mean())
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.1 * half)


def test_seed_interval_is_student_s():
    values = np.array([0.1, 0.4, -0.2, 0.3])
    mean, low, high = lesson.seed_interval(values)
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 3, values.mean(), stats.sem(values)))
    assert mean == pytest.approx(0.15)
    with pytest.raises(ValueError, match="two or more"):
        lesson.seed_interval(values[:1])


@pytest.mark.parametrize(("low", "high", "wanted"), [(0.1, 0.2, True), (-0.2, -0.1, True), (-0.1, 0.1, False),
                                                     (0.0, 0.1, False)])  # fmt: skip
def test_decided_means_that_zero_is_left_out(low, high, wanted):
    assert lesson.decided((0.0, low, high)) is wanted


def test_decided_pairs_counts_pairs_of_runs():
    rng = np.random.default_rng(0)
    base = rng.random(50)
    runs = np.stack([base, base + rng.normal(0, 0.01, 50), base + 0.5])
    assert lesson.decided_pairs(runs) == (2, 3)


def test_paired_figure_shows_sorted_differences_and_both_intervals():
    rng = np.random.default_rng(0)
    pooled = rng.random(40)
    guided = pooled + rng.normal(0.01, 0.01, 40)
    figure = lesson.paired_figure(guided, pooled, "nsd1", "Drawn images")
    plot, chart = figure.strip
    assert np.array_equal(plot.series[0].y, np.sort(guided - pooled))
    paired, unpaired = chart.entries
    assert paired.high - paired.low < 0.1 * (unpaired.high - unpaired.low)
    assert "40 test images" in figure.summary and figure.to_png()[:4] == b"\x89PNG"


def test_seeds_figure_shows_both_arms_single_seeds_and_all_seeds():
    iou = lesson.seeds_measured()
    figure = lesson.seeds_figure(iou, more={"mine": iou["guided"][3] - iou["pooled"][3]})
    plot, chart = figure.strip
    assert [s.label for s in plot.series] == ["guided", "pooled"]
    assert [e.label for e in chart.entries] == ["seed 0", "seed 7", "mine", "first 6 seeds", "all 10 seeds"]
    assert chart.entries[-1].value == pytest.approx(100 * (iou["guided"] - iou["pooled"]).mean())
    few = lesson.seeds_figure({arm: v[:4] for arm, v in iou.items()}, alone=(1,))
    assert [e.label for e in few.strip[1].entries] == ["seed 1", "all 4 seeds"]
    assert figure.to_png()[:4] == b"\x89PNG" and "<svg" in figure.to_html()


def test_what_the_text_says_of_the_shipped_pair_of_nuclei_networks():
    """Sections 5 and 7 and sentence A of exercise 5, which tell no number but say which way it goes."""
    results = json.loads((assets_dir() / "results.json").read_text(encoding="utf-8"))
    pair = [results[f"nuclei-{source}"]["images"] for source in lesson.ARMS.values()]
    gaps = np.sort([a["nsd1"] - b["nsd1"] for a, b in zip(*pair, strict=True)])
    assert 0.5 < (gaps > 0).mean() < 0.6 and gaps[-5:].sum() > 0.6 * gaps.sum()
    assert lesson.interval(gaps)[1] > 0
    assert not any(lesson.decided(lesson.interval(np.array([a[m] - b[m] for a, b in zip(*pair, strict=True)])))
                   for m in ("iou", "hd95"))  # fmt: skip


# --- several seeds ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A summary of made results: guided 4 points ahead of pooled on nuclei, no pooled network on shapes."""
    folder = tmp_path_factory.mktemp("evidence")
    arms = {"structure": 0.04, "semantic": 0.02, "pooled-8": 0.0}
    made = {name: made_results(name, arms) for name in ("nuclei", "dermoscopy")}
    made["shapes"] = made_results("shapes", {"structure": 0.0, "semantic": 0.0}, images=2)
    for name, results in made.items():
        for result in results:
            write_result(folder / name / f"{result['cell']}.json", result)
    return evidence.summarise(folder)


def test_seed_rows_tell_what_each_seed_alone_would_have_told(told):
    head, rows = lesson.seed_rows(told)
    assert head[1] == "guided - pooled, surface Dice at 1 px: each seed"
    assert [row[0] for row in rows] == ["real nuclei", "real skin lesions (other test images for each seed)"]
    values = told["experiments"]["nuclei"]["contrasts"]["guided - pooled"]["nsd1"]
    each = [float(value) for value in rows[0][1].split(", ")]
    assert each == pytest.approx(100 * np.array(values["by_seed"]), abs=0.051) and each == pytest.approx([4] * 5, abs=1)
    assert rows[0][2] == "5 of 5" and float(rows[0][3]) == pytest.approx(np.mean(each), abs=0.1)
    assert len(lesson.seed_rows(told, "guided - per pixel")[1]) == 3


def test_tables_for_a_notebook_have_few_columns(told):
    def lines(table):
        return [line.strip("| ").split(" | ") for line in table.splitlines()]

    whole, few = (evidence.arm_table(told, "nuclei", *more) for more in ((), (("nsd1", "iou"),)))
    assert lines(whole)[0][3:10] == [
        "IoU", "Dice", "surface Dice at 1 px", "surface Dice at 2 px", "boundary IoU", "HD95 (px)", "failures",
    ]  # fmt: skip
    assert lines(few)[0] == ["arm", "kernels", "seeds", "surface Dice at 1 px", "IoU", "failures",
                             "guided, same skips and steps, - this: surface Dice at 1 px", "IoU"]  # fmt: skip
    assert lines(few)[3][3:5] == [lines(whole)[3][5], lines(whole)[3][3]]  # the same numbers, where there are some
    assert lines(few)[3][6:] == lines(whole)[3][10:]
    assert (
        lines(evidence.arm_table(told, "nuclei", ("nsd1",)))[0][-1]
        == "guided, same skips and steps, - this: surface Dice at 1 px"
    )
    whole, few = lines(evidence.contrast_table(told)), lines(evidence.contrast_table(told, metrics=("iou",)))
    assert [row[:6] for row in whole] == few and whole[0][6] == "HD95 (px)"


def test_sentences_are_those_of_each_comparison(told):
    lines = evidence.sentences(told).splitlines()
    assert len(lines) == 9 and len(set(lines)) == 9
    assert lines[3] == f"- {evidence.sentence(told, 'nuclei')}" and "pooled networks" in lines[3]
    assert "were not compared" in lines[0]


# --- what the notebook's text says of the recorded training ----------------------------------------------------------


def test_the_film_says_what_the_notebook_says():
    film = watch(lesson.drawn_nuclei(lesson.FIRST_TEST + 3, 1)[0].image)
    entropy = kernel_entropy(torch.as_tensor(film.reels["guided"].kernels[0]).float()[None])
    assert entropy.min() > 0.99

    def neighbours(step, network):
        """What is told of the kernels at the border of a nucleus: how many neighbours count, mean over heads."""
        summary = film.training((37, 19), step, network, (step,)).summary
        return float(re.search(rf"{step} steps: ([\d.]+)\.(?: |$)", summary)[1])

    assert [neighbours(step, "guided") for step in (0, 40, 60, 600)] == [48, 34, 11, 2.4]
    assert round(neighbours(120, "guided")) == 3 and neighbours(600, "pooled") == 43
    iou = dict(zip(film.steps, film.reels["guided"].history.scores["iou"], strict=True))
    assert [round(float(iou[step]), 2) for step in (120, 320, 600)] == [0.74, 0.93, 0.94]
