"""What notebook 08 uses beside the library: layouts on disk, a leak, scale, failures, the evidence."""

import json
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from made_results import made_results

from sgdc_viz import assets_dir, evidence
from sgdc_viz.data import open_dataset
from sgdc_viz.data.samples import example
from sgdc_viz.data.synthetic import synthetic_dermoscopy, synthetic_nuclei
from sgdc_viz.learn import load_pretrained
from sgdc_viz.learn.experiment import read_result, write_result
from sgdc_viz.learn.metrics import iou, surface_dice
from sgdc_viz.learn.publish import paired_difference
from sgdc_viz.teach.lessons import real

RESULTS = json.loads((assets_dir() / "results.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("layouts")
    return {name: real.write_layout(name, folder) for name in real.SETS}


# --- data sets on disk ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "images", "groups", "classes", "instances"),
    [("isic2016", 6, 6, 1, False), ("isic2018", 6, 6, 1, False), ("ph2", 3, 3, 1, False), ("conic", 12, 4, 7, True),
     ("bbbc038", 12, 3, 1, True)],
)  # fmt: skip
def test_layouts_open_as_the_library_opens_real_ones(roots, name, images, groups, classes, instances):
    dataset = open_dataset(name, roots[name])
    assert (len(dataset), len(set(dataset.groups)), dataset.num_classes) == (images, groups, classes)
    for sample in dataset:
        assert 0.02 < (sample.mask > 0).mean() < 0.6
        assert (sample.instances is not None) == instances
        if instances:
            np.testing.assert_array_equal(sample.instances > 0, sample.mask > 0)


def test_the_masks_are_the_drawn_shapes(roots):
    np.testing.assert_array_equal(open_dataset("isic2016", roots["isic2016"])[4].mask, real._lesion(4).mask)
    np.testing.assert_array_equal(open_dataset("isic2018", roots["isic2018"])[0].mask, real._lesion(10).mask)
    np.testing.assert_array_equal(open_dataset("ph2", roots["ph2"])[1].mask, real._lesion(23).mask)
    np.testing.assert_array_equal(
        open_dataset("ph2", roots["ph2"])[1].image, real._lesion(23).image
    )  # BMP loses nothing


def test_tiles_of_bbbc038_are_put_together_by_the_field_they_are_from(roots):
    dataset = open_dataset("bbbc038", roots["bbbc038"])
    fields = [synthetic_nuclei(40 + n, 192, style="fluorescence", count=40, radius=0.06).image for n in range(3)]
    field_of = {}
    for sample in dataset:
        (number,) = [
            n
            for n, field in enumerate(fields)
            for y in (0, 96)
            for x in (0, 96)
            if np.array_equal(field[y : y + 96, x : x + 96], sample.image)
        ]
        field_of.setdefault(sample.group, set()).add(number)
    assert sorted(map(tuple, field_of.values())) == [(0,), (1,), (2,)]


def test_only_one_of_five_masks_holds_ones_for_its_objects(roots):
    """What q1 asks: one bit a pixel reads as True, and True == 1."""
    right = {}
    for name, root in roots.items():
        values = real.first_mask(name, root)
        right[name] = (values == 1).sum() == (open_dataset(name, root)[0].mask > 0).sum()
    assert right == {"isic2016": False, "isic2018": False, "ph2": True, "conic": False, "bbbc038": False}
    assert np.unique(real.first_mask("isic2016", roots["isic2016"])).tolist() == [0, 255]
    conic = real.first_mask("conic", roots["conic"])
    assert np.unique(conic).tolist() == list(range(conic.max() + 1)) and conic.max() > 1  # objects 1, 2, 3 ...


def test_first_files_show_names_without_this_machine(roots):
    for name, root in roots.items():
        files = real.first_files(name, root)
        assert 2 <= len(files) <= 3
        assert all(str(root) not in file and "\\" not in file and len(file) < 90 for file in files)
    assert real.first_files("isic2016", roots["isic2016"])[1].endswith("ISIC_0000000_Segmentation.png")  # capital S
    assert real.first_files("isic2018", roots["isic2018"])[1].endswith("ISIC_0000010_segmentation.png")
    image, mask = real.first_files("bbbc038", roots["bbbc038"])
    assert image.startswith(mask.split("/")[0]) and "…" in image


def test_an_unknown_layout_is_refused(tmp_path):
    with pytest.raises(ValueError, match="isic2019.*none of isic2016"):
        real.write_layout("isic2019", tmp_path)


def test_layouts_figure_shows_every_set_with_its_outlines(roots):
    figure = real.layouts_figure({name: open_dataset(name, root) for name, root in roots.items()})
    pictures = [cell for row in figure.cells for cell in row if hasattr(cell, "outlines")]
    assert [p.title for p in pictures] == list(real.SETS)
    assert all(len(p.outlines[0].curves) >= 1 for p in pictures)
    assert len(pictures[4].outlines[0].curves) > 3  # single nuclei, not one blob
    assert figure.to_png().startswith(b"\x89PNG")


# --- a leak -----------------------------------------------------------------------------------------------------------


def test_patches_of_a_slide_share_its_stain():
    colours, slides = real.slide_patches(6)
    assert colours.shape == (96, 3) and np.bincount(slides).tolist() == [16] * 6
    within = np.mean([colours[slides == s].std(0) for s in range(6)])
    between = np.std([colours[slides == s].mean(0) for s in range(6)], axis=0).mean()
    assert between > 1.5 * within


def test_nearest_is_the_smallest_distance():
    known, asked = np.random.default_rng(0).random((7, 3)), np.random.default_rng(1).random((5, 3))
    wanted = [min(range(7), key=lambda k: np.linalg.norm(known[k] - one)) for one in asked]  # noqa: B023
    assert real.nearest(known, asked).tolist() == wanted


# --- own images -------------------------------------------------------------------------------------------------------


def test_scale_curve_falls_at_both_ends_while_one_pixel_counts_less_and_less():
    network, moved = real.scale_curve(load_pretrained("nuclei-structure"), (3, 32, 96))
    assert network[1] > network[0] + 0.2 and network[1] > network[2] + 0.05
    assert moved[0] < moved[1] < moved[2]
    assert network[0] > moved[0] and network[2] < moved[2]  # the measure's loss at one end, the network's at the other
    figure = real.scale_figure((3, 32, 96), network, moved)
    (plot,) = figure.strip
    np.testing.assert_array_equal(plot.series[0].y, network)
    assert [text for _, text in plot.ticks] == ["3", "32", "96"]
    assert f"{network[0]:.2f} at 3 px" in figure.alt


def test_look_at_tells_how_much_is_marked_and_how_surely():
    image = np.zeros((10, 20, 3), np.uint8)
    probability = np.zeros((10, 20))
    probability[:5, :4], probability[:5, 4:8] = 0.95, 0.6
    figure = real.look_at(image, probability, "a test", "Half of it is sure.")
    assert "covers 20% of the image; 50% of its pixels" in figure.alt and "Half of it is sure." in figure.alt
    assert len(figure.legend) == 1 and figure.cells[0][1].scale == real.PROBABILITY
    with_truth = real.look_at(image, probability, "a test", "And the truth.", np.eye(10, 20) > 0)
    assert len(with_truth.legend) == 2
    nothing = real.look_at(image, probability * 0, "nothing", "Nothing is marked.")
    assert "covers 0% of the image; 0%" in nothing.alt


def test_the_gallery_draws_the_image_that_is_asked_for():
    images = {label: (np.full((8, 9, 3), i, np.uint8), np.eye(8, 9) if i == 0 else None)
              for i, label in enumerate(real.SEEN)}  # fmt: skip
    gallery = real.gallery(images, {label: np.full((8, 9), 0.3 * i) for i, label in enumerate(images)})
    assert list(gallery) == list(images)
    for i, (label, draw) in enumerate(gallery.items()):
        figure = draw()
        assert figure.title == label and figure.message == real.SEEN[label]
        assert (figure.cells[0][0].pixels == i).all() and len(figure.legend) == (2 if i == 0 else 1)


def test_a_retina_is_marked_more_surely_than_tissue_and_a_detail_of_one_not_at_all():
    """What q3 and its explanation say of the guided network; "not at all" of both."""
    from sgdc_viz.learn import predict_probability

    networks = [load_pretrained(f"nuclei-{source}") for source in ("structure", "pooled")]
    p = {key: predict_probability(networks[0], example(key).load()[0]) for key in ("retina", "immunohistochemistry")}
    sure = {key: (values[values > 0.5] > 0.9).mean() for key, values in p.items()}
    assert (p["retina"] > 0.5).mean() > 0.2 and sure["retina"] > sure["immunohistochemistry"] + 0.1
    for network in networks:
        assert predict_probability(network, example("microaneurysms").load()[0]).max() < 0.5


# --- failures and scale of the measure --------------------------------------------------------------------------------


def test_sorted_scores_are_sorted_and_carry_their_mean():
    figure = real.sorted_scores_figure({"nuclei": [0.9, 0.0, 0.6], "other": [0.5, 0.7]})
    first, second = figure.strip
    assert first.series[0].y.tolist() == [0.0, 0.6, 0.9] and first.series[0].x.tolist()[-1] == 100
    assert first.series[1].y.tolist() == [0.5] * 3 and second.title == "other: 2 images"
    assert "nuclei: mean 0.50, median 0.60, 1 under 0.1" in figure.alt
    assert first.y_range == second.y_range == (0, 1)


def test_through_the_grid_keeps_what_the_grid_can_hold():
    mask = np.zeros((48, 64), bool)
    mask[8:24, 16:40] = True
    np.testing.assert_array_equal(real.through_the_grid(mask, 16), mask)  # blocks of 4 x 4
    np.testing.assert_array_equal(real.through_the_grid(mask, 64), mask)
    mask[0, 0] = True
    assert not real.through_the_grid(mask, 16)[0, 0]  # a single pixel is lost


def test_a_faultless_coarse_mask_has_a_good_iou_and_a_poor_surface_dice():
    """What q5 says, on another drawn lesion than the notebook's."""
    photo = synthetic_dermoscopy(9, (768, 1024), lobes=12, lobe_depth=0.08, radius=0.3)
    true = photo.mask > 0
    masks = {f"grid of {side}": real.through_the_grid(true, side) for side in (160, 640)}
    coarse, fine = masks.values()
    assert iou(coarse, true) > 0.97 and surface_dice(coarse, true, 1) < 0.7 < 0.95 < surface_dice(fine, true, 1)
    figure = real.ceiling_figure(photo, masks, (100, 100, 144, 144))
    assert [cell.title for cell in figure.cells[0]] == list(masks)
    assert all(cell.window == (100, 100, 144, 144) and len(cell.outlines) == 2 for cell in figure.cells[0])


# --- the evidence -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["iou", "nsd1"])
def test_evidence_is_the_paired_difference_and_the_controls(metric):
    rows = real.evidence(RESULTS, ("nuclei", "dermoscopy"), metric)
    assert [row.control for row in rows] == [False, True, True] * 2
    gap = paired_difference(RESULTS["nuclei-structure"]["images"], RESULTS["nuclei-pooled"]["images"], metric)
    assert rows[0].value == pytest.approx(gap["mean"], abs=1e-4) and (rows[0].low, rows[0].high) == (
        gap["low"],
        gap["high"],
    )
    told = RESULTS["dermoscopy-structure"]["controls"]["guidance shuffled"]["difference"][metric]
    assert rows[5].value == told["mean"] and "shuffled" in rows[5].label
    charts = real.evidence_figure(RESULTS).strip
    assert [row.label for row in charts[0].entries] == [row.label for row in rows]
    assert charts[0].zero == "no difference"


def test_differences_are_written_alike_in_table_picture_and_alt():
    assert [real.difference_text(v, "nsd1") for v in (-0.00004, 0.0002, 0.0046, -0.08)] == [
        "0.000", "0.000", "+0.005", "-0.080",
    ]  # fmt: skip
    assert real.difference_text(-0.001, "hd95") == "0.00" and real.difference_text(12.345, "hd95") == "+12.35"
    figure = real.evidence_figure(RESULTS)
    assert [figure.strip[1].written(figure.strip[1].entries[i]) for i in (0, 3, 4)] == ["+0.005", "0.000", "−0.084"]
    assert "dermoscopy: guided − pooled 0.000" in figure.alt and "-0.000" not in figure.alt + figure.to_html()


def test_the_judgements_of_exercise_5_rest_on_what_was_measured():
    """If new results say otherwise, prompt, answer and messages of exercise 5 must be written anew."""
    scores = np.array([image["iou"] for image in RESULTS["dermoscopy-structure"]["images"]])
    assert len(scores) == 11 and (scores < 0.1).sum() == 2  # A
    assert round(scores.mean(), 2) == 0.67 and np.median(scores) > 0.8  # B
    assert round(scores[scores >= 0.1].mean(), 1) == 0.8  # H
    pairs = {
        family: paired_difference(
            *(RESULTS[f"{family}-{source}"]["images"] for source in ("structure", "pooled")), "iou"
        )
        for family in ("nuclei", "dermoscopy")
    }
    assert all(gap["low"] < 0 < gap["high"] for gap in pairs.values())  # C, E
    zeroed = RESULTS["nuclei-structure"]["controls"]["guidance zeroed"]["difference"]["iou"]
    assert zeroed["high"] < 0  # D
    assert all("--seed 0" in RESULTS[f"{f}-{s}"]["command"] for f in pairs for s in ("structure", "pooled"))  # G


def test_the_table_read_aloud_in_section_6_says_what_it_says():
    def gap(family, metric, leave_out=None):
        arms = [list(RESULTS[f"{family}-{source}"]["images"]) for source in ("structure", "pooled")]
        return paired_difference(*([i for i in arm if i["name"] != leave_out] for arm in arms), metric)

    assert gap("nuclei", "nsd1")["low"] > 0 and round(gap("nuclei", "nsd1")["mean"], 3) == 0.005
    assert RESULTS["nuclei-structure"]["data"]["groups"] == 65
    whole, without = gap("dermoscopy", "hd95"), gap("dermoscopy", "hd95", "ISIC_0012127")
    assert whole["low"] > 0 and without["low"] > 0 and without["mean"] < 0.4 * whole["mean"]
    decided = [g for f in ("nuclei", "dermoscopy", "synthetic") for m in ("iou", "nsd1", "hd95")
               if (g := gap(f, m))["low"] > 0 or g["high"] < 0]  # fmt: skip
    assert len(decided) == 2
    beyond = [
        (f, c, m)
        for f in ("nuclei", "dermoscopy")
        for c, control in RESULTS[f"{f}-structure"]["controls"].items()
        for m in ("iou", "nsd1")
        if control["difference"][m]["high"] >= 0
    ]
    assert beyond == [("dermoscopy", "guidance shuffled", "nsd1")]


# --- several seeds ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A summary of made results: nuclei of two kinds, no drawn shapes."""
    folder = tmp_path_factory.mktemp("evidence")
    for name in ("nuclei", "dermoscopy"):
        for result in made_results(name, {"structure": 0.0, "semantic": -0.02, "pooled-8": -0.04}):
            write_result(folder / name / f"{result['cell']}.json", result)
    return evidence.summarise(folder)


def test_images_by_kind_names_each_image_once_and_means_over_images_and_seeds():
    results = made_results("nuclei", {"structure": 0.0, "pooled-8": -0.04}, images=5)
    told = evidence.images_by_kind(results)
    assert {kind: about["names"] for kind, about in told.items()} == {
        "bright": ["0-1", "0-2", "0-4"], "dark": ["0-0", "0-3"],
    }  # fmt: skip
    dark = [r["images"]["iou"][i] for r in results if r["arm"] == "structure" for i in (0, 3)]
    assert told["dark"]["iou"]["pooled-8"] == pytest.approx(np.mean(dark) - 0.04, abs=0.02)
    assert told["dark"]["iou"]["structure"] == pytest.approx(np.mean(dark))
    for result in results:
        result["images"]["kind"] = ["bright"] * 5
    assert evidence.images_by_kind(results) == {}


def test_claims_stand_beside_their_controls(made):
    text = real.claims(made)
    nuclei, lesions = text.split("**Real skin lesions**")
    assert "24 test images\n" in nuclei and "pixels at the longest side" in lesions
    for name, part in (("nuclei", nuclei), ("dermoscopy", lesions)):
        at = [part.index(evidence.sentence(made, name, contrast)) for contrast in made["declared"]["contrasts"]]
        assert at == sorted(at)
    assert nuclei.index("*The claim.*") < nuclei.index("*Its control.*") < nuclei.index("*Without guidance.*")
    assert real.claims(made, ["shapes"]) == ""  # not run


def test_kinds_are_told_where_there_are_some(made):
    assert real.kinds_told(made, ("nuclei",)) == f"**Real nuclei**\n\n{evidence.kind_table(made, 'nuclei')}"
    assert "| dark | 8 |" in real.kinds_told(made)
    one = {"experiments": {"dermoscopy": {"kinds": {}}}}
    assert real.kinds_told(one).startswith("**Real skin lesions**: the files name one kind only")


def test_the_guess_of_section_4_is_right():
    """The text says so, and why it cannot say why: rare in training, large, and the only kind of its sort."""
    summary = evidence.load_summary()
    kind_of = real.kind_of_image(summary)
    guess = "1024x1024 grey brightfield"
    for source in ("structure", "pooled"):
        images = RESULTS[f"nuclei-{source}"]["images"]
        assert sorted(image["name"][:12] for image in images) == sorted(kind_of)  # the same test images
        ordered = sorted(images, key=lambda image: image["iou"])
        assert {kind_of[image["name"][:12]] for image in ordered[:3]} == {guess}
        assert ordered[3]["iou"] > 2 * ordered[2]["iou"]  # far below the rest
    kinds = list(kind_of.values())
    assert {k: kinds.count(k) for k in kinds} == RESULTS["nuclei-structure"]["data"]["strata"]
    assert max(kinds, key=lambda kind: np.prod([int(n) for n in re.findall(r"\d+", kind)])) == guess  # the largest
    assert [k for k in set(kinds) if "brightfield" in k] == [guess]
    train = read_result(assets_dir() / "evidence" / "nuclei" / "structure-seed0.json")["train_data"]
    assert 0 < train["strata"][guess] < 0.05 * train["images"]


def test_kind_rows_are_means_of_the_shipped_and_of_the_new_networks():
    summary = evidence.load_summary()
    head, rows = real.kind_rows(RESULTS, summary)
    assert head[2:4] == ["IoU: shipped guided", "IoU: shipped pooled"] and len(head) == 7
    assert all(len(row) == 7 for row in rows) and sum(int(row[1]) for row in rows) == 108
    one = next(row for row in rows if row[1] == "1")
    (name,) = summary["experiments"]["nuclei"]["images_by_kind"][one[0]]["names"]
    (iou,) = [i["iou"] for i in RESULTS["nuclei-structure"]["images"] if i["name"].startswith(name)]
    assert one[2] == f"{iou:.2f}"


# --- no number typed by hand ------------------------------------------------------------------------------------------

# The decimals and percentages in the text of notebooks 05 and 08, and where they come from. What results.json and
# evidence.json measure is not among them: a cell computes it, or the text does without.
TYPED = {
    "05_train_it": {
        "arXiv": "2602.23496",
        "choices of predictions and exercises": "5 % 95 %",
        "a made-up run": "0.81",
        "weights without a gradient; small object; log 2; size of a network": "1 % 99 % 0.69 0.6",
        "the trainings of this notebook and its ten seeds": "0.006 0.016 0.06 0.17 0.4 0.2 0.22 0.17 0.54",
        "the recorded film": "0.99 2.4 1.1 3.5 0.74 0.93 0.94",
        "the drawn mistakes": "1.00 0.92 0.44",
        "percentiles and levels": "2.5 97.5",
    },
    "08_real_images": {
        "arXiv and licences": "2602.23496 4.0",
        "choices of predictions": "60 % 70 % 1 % 0.7 0.95",
        "settings and thresholds": "0.2 0.9 0.5 0.1 0.000",
        "160 / 1024": "0.16",
    },
}


@pytest.mark.parametrize("name", TYPED)
def test_no_measured_number_is_typed_by_hand(name):
    notebook = nbformat.read(Path(__file__).parent.parent / "notebooks" / f"{name}.ipynb", 4)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    typed = set(re.findall(r"\d+(?:\.\d+)?\s?%|\d+\.\d+", text))
    known = set(re.findall(r"[\d.]+ %|[\d.]+", " ".join(TYPED[name].values())))
    assert typed <= known, f"compute these in a cell, or say here where they come from: {sorted(typed - known)}"
    assert known <= typed, f"no longer in the text: {sorted(known - typed)}"


def shown(name: str) -> tuple[set[str], set[str]]:
    """What is saved in a notebook's outputs: Markdown, and alt texts of pictures."""
    notebook = nbformat.read(Path(__file__).parent.parent / "notebooks" / f"{name}.ipynb", 4)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return (
        {output.data["text/markdown"] for output in outputs if "text/markdown" in output.get("data", {})},
        {output.metadata["image/png"]["alt"] for output in outputs if "image/png" in output.get("metadata", {})},
    )


def test_what_the_notebooks_show_is_what_evidence_json_says():
    """nbval finds this too, but it takes a minute and compares no pictures. Remedy: run both notebooks again."""
    told = evidence.load_summary()
    tables, pictures = shown("05_train_it")
    assert tables >= {
        evidence.sentences(told),
        evidence.contrast_table(told, metrics=("iou",)),
        evidence.arm_table(told, "nuclei", metrics=("nsd1", "iou")),
    }
    assert evidence.contrast_figure(told).alt in pictures
    tables, _ = shown("08_real_images")
    assert tables >= {
        real.claims(told), evidence.control_table(told), real.kinds_told(told), evidence.paper_table(told),
    }  # fmt: skip
