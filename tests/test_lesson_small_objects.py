"""The small objects of notebook 09: counted by hand, and the laws of its measures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sgdc_viz.data import open_dataset
from sgdc_viz.learn import load_pretrained, predict_mask
from sgdc_viz.lens import intervene, zero
from sgdc_viz.teach.lessons import small_objects as lesson
from sgdc_viz.views import Plot


def test_drawn_objects_have_the_size_that_was_asked_for():
    for radius in (2, 6):
        sample = lesson.draw(3, radius, "histology")
        areas = np.bincount(sample.instances.ravel())[1:]
        assert sample.image.shape == (128, 128, 3) and sample.instances.max() == 25
        assert np.sqrt(np.median(areas) / np.pi) == pytest.approx(radius, rel=0.25)
    assert not np.array_equal(lesson.draw(3, 2, "fluorescence").image, lesson.draw(4, 2, "fluorescence").image)


def test_recall_and_precision_by_hand():
    objects = np.zeros((4, 6), int)
    objects[0, 0:2], objects[2:4, 0:6] = 1, 5  # 2 and 12 pixels
    mask = np.zeros(objects.shape, bool)
    mask[0, 1:5] = True  # half of the small one, and three pixels beside it
    assert lesson.object_recall(mask, objects) == 0.5
    assert lesson.object_recall(mask, objects, share=0.6) == 0.0
    assert lesson.pixel_precision(mask, objects) == 0.25
    assert np.isnan(lesson.object_recall(mask, 0 * objects)) and np.isnan(lesson.pixel_precision(mask & False, objects))


@settings(deadline=None, max_examples=30)
@given(arrays(np.int8, (7, 9), elements=st.integers(0, 4)), arrays(bool, (7, 9)), st.integers(1, 50))
def test_laws_of_recall(objects, mask, factor):
    recall = lesson.object_recall(mask, objects)
    same = np.testing.assert_equal  # NaN equals NaN
    same(lesson.object_recall(mask, objects.astype(int) * factor), recall)  # names of objects do not matter
    same(lesson.object_recall(mask.T, objects.T), recall)
    if (objects > 0).any():
        assert lesson.object_recall(objects > 0, objects) == lesson.pixel_precision(objects > 0, objects) == 1
        assert lesson.object_recall(mask | (objects == objects.max()), objects) >= recall  # more marked, no fewer found


def test_every_arm_sees_the_same_pictures_and_the_difference_is_paired(monkeypatch):
    seen: dict[str, list] = {"a": [], "b": []}

    def arm(name, cut):
        def predict(image):
            seen[name].append(image)
            return image.mean(2) < cut

        return predict

    told = lesson.measure({"a": arm("a", 150), "b": arm("b", 0)}, (3, 6), "histology", range(3))
    monkeypatch.setitem(lesson.TOLD, ("a", "b"), ("See.", "What it says."))
    assert all(np.array_equal(x, y) for x, y in zip(*seen.values(), strict=True)) and len(seen["a"]) == 6
    assert set(told) == set(lesson.MEASURES) and told["iou"]["a"].shape == (2, 3)
    assert (told["recall"]["b"] == 0).all() and np.isnan(told["precision"]["b"]).all()
    gap = lesson.difference(told["recall"], "a", "b", row=1)
    assert gap["mean"] == pytest.approx(told["recall"]["a"][1].mean()) and gap["count"] == 3
    assert gap["low"] <= gap["mean"] <= gap["high"]

    figure = lesson.size_curves({"histology": told}, (3, 6), ("recall", "precision"), ("a", "b"))
    plots = [cell for row in figure.cells for cell in row if isinstance(cell, Plot)]
    assert [p.title for p in plots] == ["histology: objects found", "histology: marked pixels that are right"]
    line = plots[0].series[0]
    assert line.label == "a" and np.allclose(line.y, told["recall"]["a"].mean(1))
    assert (line.low <= line.y).all() and (line.y <= line.high).all() and plots[0].ticks[1] == (np.log2(6), "6")
    assert figure.message == "See." and figure.alt == "What it says." and figure.to_png()


def test_what_the_pictures_tell_is_what_is_measured():
    """TOLD and the texts of notebook 09 rest on these ten pictures a point; if they fail, write the texts anew."""
    net = load_pretrained("nuclei-structure")

    def zeroed(image):
        with intervene(net, {"*.guidance": zero()}):
            return predict_mask(net, image)

    arms = {name: lambda image, net=net: predict_mask(net, image)
            for name, net in (("guided", net), ("pooled", load_pretrained("nuclei-pooled")))}  # fmt: skip
    arms["guidance zeroed"] = zeroed
    found = {
        style: {arm: values.mean(1) for arm, values in lesson.measure(arms, (1.5, 2), style, range(200, 210))[
            "recall"].items()}
        for style in ("fluorescence", "histology")
    }  # fmt: skip
    light, dark = found["fluorescence"], found["histology"]
    assert (
        light["pooled"][0] > light["guided"][0] + 0.05 and abs(light["guidance zeroed"] - light["guided"]).max() < 0.05
    )
    assert (dark["guided"] > dark["pooled"] + 0.1).all() and (dark["guidance zeroed"] <= dark["pooled"]).all()
    assert (dark["guided"] > dark["guidance zeroed"] + 0.1).all()


def test_written_pictures_are_read_back_as_a_data_set_with_object_numbers(tmp_path):
    lesson.write_folder(tmp_path / "small", range(4, 7), 2, "histology")
    lesson.write_folder(tmp_path / "small", [5], 6, "fluorescence")
    dataset = open_dataset("folder", tmp_path / "small", instances=True)
    assert sorted(dataset.names) == ["fluorescence-6-0005", *(f"histology-2-{n:04d}" for n in (4, 5, 6))]
    samples = {sample.name: sample for sample in dataset}
    for name, drawn in (("histology-2-0006", lesson.draw(6, 2, "histology")),
                        ("fluorescence-6-0005", lesson.draw(5, 6, "fluorescence"))):  # fmt: skip
        np.testing.assert_array_equal(samples[name].image, drawn.image)
        np.testing.assert_array_equal(samples[name].instances, drawn.instances)
        np.testing.assert_array_equal(samples[name].mask > 0, drawn.instances > 0)


def test_masks_tell_their_numbers():
    arms = {"all": lambda image: np.ones(image.shape[:2], bool), "none": lambda image: np.zeros(image.shape[:2], bool)}
    figure = lesson.masks(arms, 4, "fluorescence", 7)
    assert "all: 100% of the objects found" in figure.summary and "none: 0% of the objects found" in figure.summary
    assert "nan" not in figure.summary and "nothing" in figure.summary
    assert figure.cells[0][0].window == (32, 32, 96, 96)
