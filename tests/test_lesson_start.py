"""What notebook 00 uses beside the library, and what it says about the three pixels it clicks."""

import random

import numpy as np
import pytest

from sgdc_viz.data.samples import example
from sgdc_viz.explore import Explorer
from sgdc_viz.teach.lessons.start import alike, clicked

CLICKS = {"A": (171, 55), "B": (171, 59), "C": (187, 50)}


@pytest.fixture(scope="module")
def pair():
    return Explorer().look("nuclei", example("immunohistochemistry").make().image)


def test_clicked_marks_each_pixel(pair):
    figure = clicked(pair, {**CLICKS, "D": (10, 11)})
    for place, (y, x) in zip(figure.cells[0], [*CLICKS.values(), (10, 11)], strict=True):
        mark = place.boxes[-1]
        assert (mark.y0, mark.x0, mark.y1, mark.x1) == (y // 2 * 2, x // 2 * 2, y // 2 * 2 + 2, x // 2 * 2 + 2)
        assert mark.style == "footprint" and len(place.boxes) == 3  # reach, block, pixel
    assert [column.title for column in figure.columns] == [
        "A, border of a nucleus", "B, inside that nucleus", "C, border of another one", "D",
    ]  # fmt: skip
    assert "row 171, column 59" in figure.alt and figure.to_png()[:4] == b"\x89PNG"


def test_clicked_refuses(pair):
    with pytest.raises(ValueError, match="2 to 4"):
        clicked(pair, {"A": (1, 1)})
    with pytest.raises(ValueError, match="outside the image"):
        clicked(pair, {"A": (1, 1), "B": (256, 0)})


def test_alike_is_the_correlation_of_each_head(pair):
    run = pair.runs["guided"]
    one, other = (run.at(CLICKS[label]).kernels.double().flatten(1) for label in "AB")
    one, other = one - one.mean(1, keepdim=True), other - other.mean(1, keepdim=True)
    wanted = (one * other).sum(1) / (one.norm(dim=1) * other.norm(dim=1))
    assert alike(run, CLICKS["A"], CLICKS["B"]) == pytest.approx(wanted.tolist(), abs=1e-5)
    assert alike(run, CLICKS["A"], CLICKS["A"]) == pytest.approx([1] * 4)


def test_what_the_notebook_says_of_the_clicks(pair):
    guided, pooled = pair.runs["guided"], pair.runs["pooled"]
    assert sum(r > 0.9 for r in alike(guided, CLICKS["A"], CLICKS["C"])) == 3
    assert max(alike(guided, CLICKS["A"], CLICKS["B"])) < 0.8
    assert min(alike(pooled, CLICKS["A"], CLICKS["B"])) > 0.9999
    draw = random.Random(0)
    pixels = [(draw.randrange(256), draw.randrange(256)) for _ in range(400)]
    pairs = [(a, b) for a, b in zip(pixels[::2], pixels[1::2], strict=True)]
    for run, low, high in ((guided, 0.05, 0.25), (pooled, 0.75, 0.98)):
        medians = np.median([alike(run, a, b) for a, b in pairs], axis=0)
        assert low < medians.min() and medians.max() < high
