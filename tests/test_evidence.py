"""What is told about the experiments: as strong as the intervals allow, and the same in every place."""

import copy
import json
import re
from pathlib import Path

import numpy as np
import pytest
from made_results import made_results

from sgdc_viz import assets_dir, evidence
from sgdc_viz.evidence import (
    compare,
    contrast_table,
    corrected_level,
    dose_sentence,
    figures,
    levels_told,
    page,
    points,
    readme_part,
    sentence,
    summarise,
    with_part,
    write,
)  # fmt: skip
from sgdc_viz.learn.experiment import DECLARED, EXPERIMENTS, read_results, write_result
from sgdc_viz.learn.publish import for_json

PROJECT = Path(__file__).parents[1]
ARMS = {"structure": 0.0, "semantic": -0.02, "pooled-8": -0.04}


def put(folder: Path, results: list[dict]) -> Path:
    for result in results:
        write_result(folder / result["experiment"] / f"{result['cell']}.json", result)
    return folder


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> dict:
    """Guidance far ahead on shapes, nothing on nuclei, pooled far ahead on dermoscopy."""
    folder = tmp_path_factory.mktemp("evidence")
    arms = {**ARMS, **{a: -0.03 for a in ("pooled-2", "pooled-4", "pooled-16", "global")}}
    arms |= {
        f"{arm}-no-skips": effect for arm, effect in {"structure": -0.1, "semantic": -0.4, "pooled-8": -0.5}.items()
    }
    put(folder, made_results("shapes", arms, images=6))
    put(folder, made_results("nuclei", dict.fromkeys(ARMS, 0.0) | {"edges-off": -0.02}, noise=0.02))
    put(folder, made_results("dermoscopy", {"structure": 0.0, "semantic": 0.03, "pooled-8": 0.06}))
    return summarise(folder)


def test_differences_are_paired_by_seed_and_image():
    results = made_results("nuclei", ARMS, noise=0.0)
    for metric in ("nsd1", "hd95"):
        told = compare(results, "structure", "pooled-8", metric)
        assert (told.mean, told.low, told.high) == pytest.approx((0.04, 0.04, 0.04), abs=1e-9)
    assert compare(results, "structure", "structure", control="guidance zeroed").mean == pytest.approx(-0.05)
    only = compare(results, "structure", "semantic", keep=lambda c: np.array(c["kind"]) == "dark")
    assert (only.images, only.mean) == (8, pytest.approx(0.02))


def test_images_of_folds_are_different_images(told):
    """Each fold numbers its groups from 0: that must not make them the same groups."""
    told = compare(made_results("dermoscopy", ARMS), "structure", "pooled-8")
    assert (told.images, told.groups, told.seeds) == (120, 60, 5)
    same = compare(made_results("nuclei", ARMS), "structure", "pooled-8")
    assert (same.images, same.groups, same.seeds) == (24, 12, 5)


def test_only_seeds_that_both_arms_have_count():
    results = made_results("nuclei", {"structure": 0.0, "edges-off": -0.1})
    assert compare(results, "structure", "edges-off").seeds == 3
    assert compare(results[:6], "structure", "edges-off") is None


def test_arms_tested_on_other_images_are_not_compared():
    results = made_results("nuclei", ARMS)
    results[-1]["images"]["name"][0] = "another"
    with pytest.raises(ValueError, match="different images"):
        compare(results, "structure", "pooled-8")


def test_the_declared_level_shares_five_percent_among_nine():
    assert corrected_level() == pytest.approx(1 - 0.05 / 9)


def test_each_sentence_is_as_strong_as_its_interval(told):
    assert "guided networks are better than pooled networks, by 3." in sentence(told, "shapes")
    assert "pooled networks are better than guided networks, by 5." in sentence(told, "dermoscopy")
    assert "it is undecided whether guided networks or pooled networks" in sentence(told, "nuclei")
    for name, experiment in told["experiments"].items():
        for contrast, values in experiment["contrasts"].items():
            wide, words = values["corrected"], sentence(told, name, contrast)
            low, high = sorted((abs(wide["low"]), abs(wide["high"])))
            if wide["low"] <= 0 <= wide["high"]:
                assert "undecided" in words and points(wide["low"]) in words and points(wide["high"]) in words
            else:
                assert f"by {points(low, False)} to {points(high, False)} points" in words
            narrow = values["nsd1"]
            assert wide["low"] < narrow["low"] < narrow["high"] < wide["high"]


def test_the_regime_says_who_was_better_and_where_nobody_knows(told):
    words = evidence.regime(told)
    assert words.startswith("6 of 9 planned comparisons are decided.")
    assert "On drawn shapes, guided networks drew better borders." in words
    assert "On real skin lesions, pooled networks drew better borders." in words
    assert "On real nuclei, the difference between guided and pooled networks changed more from one training" in words
    changed = copy.deepcopy(told)
    for name in ("shapes", "dermoscopy"):
        for values in changed["experiments"][name]["contrasts"].values():
            values["verdict"] = "undecided"
    changed["experiments"]["nuclei"]["contrasts"]["guided - pooled"]["nsd1"] |= {
        "mean": 0.01, "by_seed": [0.009, 0.011],
    }  # fmt: skip
    words = evidence.regime(changed)
    assert words.startswith("Undecided in all 9 planned comparisons.")
    assert "On real nuclei, these trainings cannot tell." in words
    assert "On real skin lesions, few images and few seeds cannot tell." in words  # folds: images and seeds go together


def test_an_interval_that_leaves_out_0_only_before_the_correction_decides_nothing(told):
    changed = copy.deepcopy(told)
    values = changed["experiments"]["nuclei"]["contrasts"]["guided - pooled"]
    assert values["verdict"] == "undecided"
    values["nsd1"] |= {"low": 0.001, "high": 0.02}
    assert "undecided" in sentence(changed, "nuclei")


def test_levels_of_the_dials(told):
    doses = told["dose"]["shapes"]
    assert {dial: tuple(v["levels"]) for dial, v in doses.items()} == EXPERIMENTS["shapes"].sweeps
    ahead = levels_told(told)
    assert all(len(ahead[dial]["guided"]) == 7 and not ahead[dial]["other"] for dial in doses)
    assert "p = 8: ahead at 28, behind at 0 of 28 levels" in dose_sentence(told)
    assert "p = 2: ahead at 28, behind at 0; global: ahead" in dose_sentence(told, arms=("pooled-2", "global"))
    gain = doses["width"]["gain"]["pooled-8"][0]
    assert gain["images"] == 6 and gain["mean"] == pytest.approx(0.04, abs=0.01)
    words = evidence.size_sentence(told)
    assert re.search(r"p = 8 \+[34]\.\d \[", words) and "A higher mean than guided: none." in words


def test_what_guidance_is_worth_without_skips_is_told_whatever_it_is(told):
    words = evidence.without_skips(told)
    assert re.search(r"is then, in points, \+[34]\d\.\d \[\+3\d\.\d, \+4\d\.\d\] on drawn shapes", words)
    assert "wrong pixels" not in words  # that control was not run
    figure = figures(told)["regime"]
    for plot in figure.strip:
        with_skips, without = plot.series
        assert np.allclose(with_skips.y, 4, atol=1.5) and np.allclose(without.y, 40, atol=1.5)
        assert (without.low < without.y).all() and (without.y < without.high).all()
    assert "5 seeds with skips, 3 without" in figure.summary
    assert {"dose", "dose-no-skips", "dose-of-pooling"} <= figures(told).keys()
    changed = copy.deepcopy(told)
    shapes = changed["experiments"]["shapes"]
    ends = {"mean": 0.3, "low": 0.2, "high": 0.4}
    for control in ("at wrong pixels", "without edge supervision"):
        shapes["more"][f"guided {control} - pooled, decoder without skips"] = {"nsd1": ends | {"low": -0.1}}
    shapes["controls without skips"] |= {"kernels averaged": {"nsd1": ends}, "gates averaged": {"nsd1": ends}}
    words = evidence.without_skips(changed)
    assert "trained with guidance at wrong pixels +30.0 [-10.0, +40.0], undecided," in words
    assert "averaging its gates by +30.0 [+20.0, +40.0]." in words and "the gates carry it" not in words
    shapes["controls without skips"]["gates averaged"]["nsd1"] = {"mean": -0.3, "low": -0.4, "high": -0.2}
    assert "[-40.0, -20.0]: the gates carry it." in evidence.without_skips(changed)
    shapes["more"]["guided - pooled, decoder without skips"]["nsd1"]["low"] = -0.01
    assert "[-1.0, " in evidence.without_skips(changed) and ", undecided, on drawn shapes" in evidence.without_skips(
        changed
    )


def test_a_report_of_any_experiment():
    lines = evidence.report(made_results("nuclei", ARMS))
    assert len(lines) == 3 and lines[0].startswith("guided - pooled: surface Dice at 1 px +")
    assert "(95 % over 5 seeds and 24 images): guided ahead" in lines[0]
    assert evidence.report(made_results("nuclei", ARMS, seeds=1)) == []
    (line,) = evidence.report(made_results("nuclei", {"structure": 0.0, "pooled-8": 0.0}))
    assert line.endswith("undecided")


def test_what_was_not_run_is_said(tmp_path):
    put(tmp_path, made_results("nuclei", {"structure": 0.0, "pooled-8": -0.1}))
    told = summarise(tmp_path)
    assert "were not compared" in sentence(told, "nuclei", "guided - per pixel")
    assert "not run" in contrast_table(told)
    assert set(figures(told)) == {"contrasts", "arms-nuclei"}
    assert f"10 of {len(EXPERIMENTS['nuclei'].cells())} declared trainings are done" in page(told)


def test_figures_tell_their_conclusion_and_compared_axes_agree(told):
    made = figures(told)
    for name, figure in made.items():
        assert figure.alt and figure.message, name
        assert figure.to_png()[:4] == b"\x89PNG" and "<svg" in figure.to_html()
    for row in made["dose"].cells:
        assert len({plot.y_range for plot in row}) == 1
    assert sentence(told, "nuclei") in made["contrasts"].alt
    assert len(made["contrasts"].strip[0].entries) == 9


def test_seeds_needed_is_what_a_simulation_says():
    rng, spread = np.random.default_rng(0), 0.012
    needed = evidence.seeds_needed(spread * np.array([-1.0, 1.0]) / np.sqrt(2))  # their standard deviation is `spread`
    assert needed == 12
    draws = rng.normal(0.01, spread, (4000, needed))
    seen = draws.mean(1) / (draws.std(1, ddof=1) / np.sqrt(needed)) > 2.2  # Student's with 11 degrees of freedom
    assert 0.7 < seen.mean() < 0.85
    assert evidence.seeds_needed([0.01, 0.01]) == 2


def test_points():
    assert [points(v) for v in (0.00512, -0.0001, -0.00001, 0.0, None, float("nan"))] == [
        "+0.5", "0.0", "0.0", "0.0", "n/a", "n/a",
    ]  # fmt: skip


def test_the_readme_keeps_what_is_outside_its_marks():
    text = f"before\n{evidence.BEGIN}\nold\n{evidence.END}\nafter"
    assert with_part(text, "new") == f"before\n{evidence.BEGIN}\nnew\n{evidence.END}\nafter"
    assert with_part(with_part(text, "new"), "new") == with_part(text, "new")
    with pytest.raises(ValueError, match="once each"):
        with_part("no marks", "new")


def test_without_results_nothing_is_written(tmp_path):
    (tmp_path / "assets" / "evidence").mkdir(parents=True)
    (tmp_path / "README.md").write_text("as it was", encoding="utf-8")
    with pytest.raises(FileNotFoundError, match="no results"):
        write(tmp_path)
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == "as it was"


def test_a_file_that_is_no_result_is_named(tmp_path):
    (tmp_path / "nuclei").mkdir()
    (tmp_path / "nuclei" / "broken.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match=r"broken.json.*is no result"):
        summarise(tmp_path)


# --- what is committed -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def anew() -> dict:
    return for_json(summarise(assets_dir() / "evidence"), evidence.DIGITS)


def close(a, b, where=""):
    """Equal words and structure; numbers to the last digit but one."""
    assert type(a) is type(b) or {type(a), type(b)} == {int, float}, where
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            close(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, list):
        assert len(a) == len(b), where
        for i, pair in enumerate(zip(a, b, strict=True)):
            close(*pair, f"{where}/{i}")
    elif isinstance(a, float):
        assert a == pytest.approx(b, abs=2e-5), where
    else:
        assert a == b, where


def test_every_number_that_is_told_comes_from_the_results(anew):
    told = evidence.load_summary()
    close(json.loads(evidence.as_json(anew)), told)
    assert (assets_dir() / "evidence" / "README.md").read_text(encoding="utf-8") == page(told), "run `make evidence`"
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert readme == with_part(readme, readme_part(told)), "run `make evidence`"
    for name in figures(told):
        assert (assets_dir() / "evidence" / f"{name}.png").stat().st_size > 10_000


def test_the_committed_cells_are_those_of_the_declared_grids():
    for name in DECLARED["experiments"]:
        experiment = EXPERIMENTS[name]
        cells = {cell.name: cell for cell in experiment.cells()}
        results = read_results(assets_dir() / "evidence" / name)
        steps = experiment.training.steps
        for result in results:
            assert result["cell"] in cells, f"{name}: {result['cell']} is not in the grid"
            assert result["training"]["steps"] in (steps, 3 * steps) and result["commit"][:40].isalnum()
            assert result["training"]["seed"] == result["seed"] == cells[result["cell"]].seed
        counts = {len(r["images"]["name"]) for r in results if not experiment.folds}
        assert len(counts) <= 1
        for seed in {r["seed"] for r in results}:
            own = [r for r in results if r["seed"] == seed]
            assert len({r["test_data"]["names_sha256"] for r in own}) == 1
            assert len({r["train_data"]["names_sha256"] for r in own}) == 1


def test_no_real_image_hides_in_the_evidence():
    files = sorted((assets_dir() / "evidence").rglob("*"))
    assert all(f.suffix in (".json", ".md", ".png") for f in files if f.is_file())
    pictures = {f.stem for f in files if f.suffix == ".png"}
    assert pictures == set(figures(evidence.load_summary()))  # charts of numbers only
    assert not any(re.search(r"/(work|home|tmp|shared)/", f.read_text()) for f in files if f.suffix in (".json", ".md"))
