"""Notebook 06's longer code: the gallery of kernels, which way kernels look, and its controls."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sgdc_viz.data.synthetic import synthetic_nuclei
from sgdc_viz.explore import Arm, Explorer
from sgdc_viz.lens import kernel_displacement, kernel_entropy
from sgdc_viz.teach.lessons import reading
from sgdc_viz.views import Column, Figure, Picture, Plot, Strokes, signed_distance
from sgdc_viz.views.ellipses import SHIFTS, alignment
from sgdc_viz.views.geometry import normal_at
from sgdc_viz.views.overview import edge_agreement, edges_and_changes
from sgdc_viz.views.style import fixed


def disc(radius=12.0, size=48) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return (np.hypot(y, x) < radius).astype(np.int32)


def one_tap(dy: int, dx: int) -> torch.Tensor:
    kernel = torch.zeros(7, 7)
    kernel[3 + dy, 3 + dx] = 1
    return kernel.flatten()


@pytest.fixture(scope="module")
def pairs():
    explorer = Explorer()
    arms = {"guided": Arm(), "random weights": Arm(change="random weights")}
    drawn = [synthetic_nuclei(seed, 64, style="histology", count=4, radius=0.16) for seed in (0, 1)]
    return [explorer.compare("nuclei", s.image, arms, s.instances) for s in drawn]


def test_kernels_of_a_run_are_its_recorded_ones(pairs):
    run = pairs[0].runs["guided"]
    kernels = reading.kernels_of(run)
    assert kernels.shape == (4, 49, 32, 32)
    torch.testing.assert_close(reading.kernel_at(run, 3, (21, 40)), kernels[2, :, 10, 20])


def test_gallery_tells_peaks_and_noise_and_draws_the_arrow_to_the_centre_of_mass():
    two = 0.5 * one_tap(-3, -3) + 0.5 * one_tap(3, 3)
    figure = reading.gallery({"one": one_tap(2, -1), "two": two, "all alike": torch.full((49,), 1 / 49)})
    above, below = figure.cells
    assert [cell.title for cell in above] == [
        "1.0 taps count; one peak (our rule)", "2.0 taps count; several peaks", "49 taps count; one peak (our rule)",
    ]  # fmt: skip
    assert [cell.title.split("%")[0] for cell in below] == ["100", "50", "2"]
    np.testing.assert_allclose(below[0].pixels, 1, atol=1e-5)  # one tap passes everything
    assert below[2].pixels[16, 16] == pytest.approx(1, abs=1e-5) and below[2].pixels.mean() < 0.1
    (arrow,) = [s for s in above[0].strokes if s.style == "arrow"]
    assert isinstance(arrow, Strokes)
    np.testing.assert_allclose(arrow.lines[0], [[3.5, 3.5], [5.5, 2.5]], atol=1e-5)  # (y, x): 2 down, 1 to the left
    short = reading.gallery({"a": 0.8 * one_tap(0, 0) + 0.2 * one_tap(0, 3)}).cells[0][0]
    (arrow,) = [s for s in short.strokes if s.style == "arrow"]
    sides = [np.hypot(*(arrow.lines[1][i] - arrow.lines[1][1])) for i in (0, 2)]
    assert max(sides) < 0.6 * np.hypot(*np.diff(arrow.lines[0], axis=0)[0])  # the head is shorter than its arrow
    assert not [s for s in above[1].strokes if s.style == "arrow"]  # centre of mass on the own pixel
    (shape,) = [s for s in above[1].strokes if s.style == "ellipse"]
    ends = shape.lines[0][[0, 20]]
    np.testing.assert_allclose(np.abs(ends - 3.5), 3, atol=1e-3)  # the long axis ends at the two taps
    assert len(figure.to_png()) > 10_000 and "<svg" in figure.to_html()
    with pytest.raises(ValueError, match="at least one"):
        reading.gallery({})


def test_outward_points_away_from_the_middle_of_a_disc():
    distance, (ny, nx) = reading.outward(disc(), 2)
    assert distance.shape == (24, 24)
    y, x = np.mgrid[:24, :24] - 11.5
    there = (np.abs(distance) < 5) & (np.hypot(y, x) > 1)
    cos = (ny * y + nx * x)[there] / np.hypot(y, x)[there]
    assert cos.min() > 0.9
    assert distance[11, 11] < -9 and distance[0, 0] > 8
    np.testing.assert_allclose(np.hypot(ny, nx)[there], 1, atol=1e-6)
    for empty in (np.zeros((8, 8), int), np.ones((8, 8), int)):
        with pytest.raises(ValueError, match="no outline"):
            reading.outward(empty, 2)


def test_outward_of_an_odd_size_fits_the_network_s_map():
    distance, normal = reading.outward(disc(6, 33), 2)
    assert distance.shape == (17, 17) and normal.shape == (2, 17, 17)


class FakeRun:
    """Kernels that all look in given directions."""

    def __init__(self, kernels, stride=2):
        self.block, self.stride, self.recording = "b", stride, {"b.kernels": kernels[None]}


def looking(labels, way) -> FakeRun:
    """One head; each kernel has one tap, `way` (-3..3) steps outward, rounded to the grid."""
    distance, (ny, nx) = reading.outward(labels, 2)
    kernels = torch.zeros(1, 49, *distance.shape)
    for i, j in np.ndindex(distance.shape):
        tap = np.rint(way(distance[i, j]) * np.array([ny[i, j], nx[i, j]])).astype(int) + 3
        kernels[0, tap[0] * 7 + tap[1], i, j] = 1
    return FakeRun(kernels)


def test_looks_away_has_the_sign_of_the_side_and_a_common_direction_cancels():
    labels = disc()
    away = reading.looks_away(looking(labels, lambda d: 2 * np.sign(d)), labels)
    inside, outside = reading.beside(away, labels, 2)
    assert inside == pytest.approx(-2, abs=0.3) and outside == pytest.approx(2, abs=0.3)
    same = FakeRun(one_tap(2, 1)[None, :, None, None].expand(1, 49, 24, 24).contiguous())
    assert np.allclose(reading.beside(reading.looks_away(same, labels), labels, 2), 0, atol=0.05)


def test_own_side_counts_signs_not_lengths():
    labels = disc()
    for far in (3.0, 0.001):
        distance, _ = reading.outward(labels, 2)
        away = far * np.sign(distance)
        assert reading.own_side(away, labels, 2) == 1 and reading.own_side(-away, labels, 2) == 0
    noise = np.random.default_rng(0).standard_normal((24, 24))
    assert reading.own_side(noise, labels, 2) == pytest.approx(0.5, abs=0.15)


def test_across_outlines_reads_every_arm_of_every_pair(pairs):
    figure, sides = reading.across_outlines(pairs)
    assert list(sides) == ["guided", "random weights"] and all(v.shape == (2, 3) for v in sides.values())
    away = reading.looks_away(pairs[1].runs["guided"], pairs[1].truth)
    np.testing.assert_allclose(sides["guided"][1, :2], reading.beside(away, pairs[1].truth, 2))
    np.testing.assert_allclose(sides["guided"][1, 2], reading.own_side(away, pairs[1].truth, 2))
    assert abs(sides["random weights"][:, :2]).max() < 0.05 < abs(sides["guided"][:, :2]).max()
    looks, entropy = figure.strip
    assert [s.label for s in looks.series] == list(sides)
    random = entropy.series[1].y
    assert np.nanmin(random) > 0.99  # random weights: nearly uniform kernels
    assert "2 images" in figure.summary and not figure.table
    with pytest.raises(ValueError, match="at least one pair"):
        reading.across_outlines([])
    unknown = Explorer().look("nuclei", pairs[0].image)
    with pytest.raises(ValueError, match="truth"):
        reading.across_outlines([unknown])


def soft(labels, shift):
    """A probability that goes through 0.5 `shift` px outside every outline."""
    return 1 / (1 + np.exp(2 * (signed_distance(labels) - shift)))


class FakePair:
    def __init__(self, truth, **probabilities):
        self.truth, self.runs = truth, {n: SimpleNamespace(probability=p) for n, p in probabilities.items()}


def test_along_outlines_counts_who_is_nearer():
    labels = disc(14.0, 64)
    near, far, level = soft(labels, 0.2), soft(labels, 2.5), np.full(labels.shape, 0.9)
    told = reading.along_outlines(FakePair(labels, guided=near, pooled=far))
    assert list(told) == ["guided nearer", "same within 0.25 px", "pooled nearer", "no crossing",
                          "guided nearer by 1.5 px or more", "pooled nearer by 1.5 px or more"]  # fmt: skip
    assert told["guided nearer"] == 1 and told["guided nearer by 1.5 px or more"] == 1
    told = reading.along_outlines(FakePair(labels, guided=far, pooled=near))
    assert told["pooled nearer"] == 1 and told["guided nearer by 1.5 px or more"] == 0
    assert reading.along_outlines(FakePair(labels, a=near, b=near))["same within 0.25 px"] == 1
    assert reading.along_outlines(FakePair(labels, a=near, b=level))["no crossing"] == 1
    half = np.where(np.arange(64) < 32, near, far)  # the left half of the disc as one, the right half as the other
    told = reading.along_outlines(FakePair(labels, a=near, b=half))
    assert told["a nearer"] == pytest.approx(0.5, abs=0.05) == told["same within 0.25 px"]
    for truth in (None, np.zeros((8, 8), int)):
        with pytest.raises(ValueError, match="with truth"):
            reading.along_outlines(FakePair(truth, a=near, b=near))
    with pytest.raises(ValueError, match="no outline"):
        reading.along_outlines(FakePair(np.ones((8, 8), int), a=near, b=near))


def test_along_outlines_agrees_with_the_boundary_profile(pairs):
    """Point by point: the same lines, read by the view that the notebook shows."""
    labels = pairs[0].truth.astype(np.int32)
    points, normals, lengths = reading._around(labels)
    assert lengths.sum() > 100 and np.allclose(np.hypot(*normals), 1, atol=1e-6)
    for i in range(0, points.shape[1], 97):
        normal = normal_at(labels, tuple(int(v) for v in points[:, i] - 0.5 * normals[:, i]))
        assert np.dot(normal.direction, normals[:, i]) > 0.9


def test_a_frame_is_no_outline():
    labels = np.zeros((32, 32), int)
    labels[:, :10] = 1  # its outline is the line between columns 9 and 10; the rest is the image's frame
    points, normals, lengths = reading._around(labels)
    assert np.allclose(points[1], 10, atol=0.6) and np.allclose(normals[1], 1, atol=0.02)
    assert lengths.sum() == pytest.approx(32, abs=2)


def test_the_still_profile_lies_down_and_loses_a_quantity():
    plots = [[Plot(title, (), "", "", (0.0, 1.0), "alt") for _ in range(2)] for title in ("a", "b")]
    pictures = [Picture(np.zeros((4, 4, 3), np.uint8), "alt") for _ in range(2)]
    still = Figure("profiles", "T", "M", "", "alt", ("place", "", ""), (Column("A"), Column("B")),
                   (tuple(pictures), *map(tuple, plots)))  # fmt: skip
    lying = reading.beside_each_other(still, without="b")
    assert lying.rows == ("A", "B") and [c.title for c in lying.columns] == ["place", ""]
    assert lying.cells == tuple(zip(pictures, plots[0], strict=True))
    assert len(reading.beside_each_other(still).columns) == 3


def test_four_maps_show_one_map_on_two_scales():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (200, 200, 3)).astype(np.uint8)
    trained, untrained = rng.random((100, 100)), 0.99 + 0.001 * rng.random((100, 100))
    figure = reading.four_maps(image, trained, untrained)
    cells = [cell for row in figure.cells for cell in row if isinstance(cell, Picture)]
    assert len(cells) == 4 and np.array_equal(cells[2].pixels, cells[3].pixels)
    assert (cells[2].scale.low, cells[2].scale.high) == (cells[1].scale.low, cells[1].scale.high) == (0, 1)
    assert cells[3].scale.low >= 0.98 and cells[3].scale.high <= 1


def test_along_edges_is_the_view_s_alignment(pairs):
    run, image = pairs[0].runs["guided"], pairs[0].image
    e = run.ellipses
    for shift, told in zip(((0, 0), *SHIFTS), reading.along_edges(image, run), strict=True):
        heads = zip(e.angle, e.major, e.minor, e.unimodal, strict=True)
        assert told == pytest.approx(np.mean([alignment(image, *head, run.stride, shift) for head in heads]), abs=1e-6)


@pytest.mark.parametrize(
    ("value", "digits", "text"), [(0.254, 2, "+0.25"), (-1.04, 1, "−1.0"), (-0.04, 1, "0.0"), (0.0, 2, "0.00")]
)
def test_signed_writes_no_minus_zero(value, digits, text):
    assert fixed(value, digits) == text


def test_with_interval_leaves_the_interval_out_for_one_image():
    assert reading.with_interval(np.array([0.31])) == "+0.3"
    assert reading.with_interval(np.array([1.0, 1.0, 1.0])) == "+1.0 [+1.0, +1.0]"


def test_edges_and_changes_are_what_edge_agreement_correlates():
    rng = np.random.default_rng(0)
    image, values = rng.integers(0, 256, (41, 32, 3)).astype(np.uint8), rng.random((21, 16))
    edges, changes = edges_and_changes(image, values, 2)
    assert edges.shape == changes.shape == (21, 16)
    assert np.corrcoef(edges.ravel(), changes.ravel())[0, 1] == pytest.approx(edge_agreement(image, values, 2))


def test_shift_p_value_is_small_for_equal_maps_and_fair_for_unrelated_smooth_ones():
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(1)
    maps = [gaussian_filter(rng.standard_normal((64, 64)), 4, mode="wrap") for _ in range(24)]
    assert reading.shift_p_value(maps[0], maps[0], 49) == 1 / 50
    p = [reading.shift_p_value(a, b, 49) for a, b in zip(maps[::2], maps[1::2], strict=True)]
    easy = [reading.shift_p_value(a, b, 49, shuffle=True) for a, b in zip(maps[::2], maps[1::2], strict=True)]
    assert np.mean(np.array(p) <= 0.1) < 0.5 < np.mean(np.array(easy) <= 0.1)  # random order: chance looks too small
    assert reading.shift_p_value(maps[0], maps[1], 49) == p[0]  # seeded


def test_variants_keep_the_weights_and_move_them():
    kernels = torch.randn(2, 49, 3, 4, generator=torch.Generator().manual_seed(0)).softmax(1)
    arranged = reading.variants(kernels)
    original = arranged.pop("as it is")
    torch.testing.assert_close(kernel_displacement(original), kernel_displacement(kernels))
    for name, other in arranged.items():
        torch.testing.assert_close(other.sort(1).values, original.sort(1).values)
        torch.testing.assert_close(kernel_entropy(other), kernel_entropy(original))
        assert not torch.equal(other, original), name
    moved = kernel_displacement(arranged["moved by one tap"]) - kernel_displacement(original)
    torch.testing.assert_close(moved, torch.tensor([1.0, 0.0])[None, :, None, None].expand(2, 2, 3, 4))


def test_same_names_what_happened():
    a = torch.tensor([1.0, -2.0])
    assert [reading.same(a, b) for b in (a + 1e-6, -a, 2 * a)] == ["same", "sign flips", "changes"]
