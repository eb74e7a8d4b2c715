"""Notebook 04's figures and its short training."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from conftest import features
from PIL import Image

from sgdc_viz.lens import record
from sgdc_viz.nn import SGDC, dynamic_conv2d_reference
from sgdc_viz.teach.lessons import block as lesson
from sgdc_viz.teach.lessons.block import (
    Waking,
    edited_figure,
    flow_figure,
    kernels_figure,
    padded,
    padding_figure,
    wake,
    waking_figure,
)
from sgdc_viz.views import Figure, Picture


class Network(torch.nn.Module):
    """An image with twice the pixels, and one block on its features."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.block = SGDC(8, guidance_channels=3, heads=2, kernel_size=5, layer_scale_init=1.0)

    def forward(self, image):
        return self.block(*features(height=8, width=12))


def run(patterns="*"):
    network = Network().eval()
    with record(network, patterns) as recording, torch.no_grad():
        network(torch.zeros(1, 3, 16, 24))
    return recording


def drawn(figure: Figure) -> Image.Image:
    assert len(figure.alt) > 60 and figure.to_html()
    assert not any(c.isdigit() for c in figure.message), "the message holds no measured number"
    return Image.open(io.BytesIO(figure.to_png()))


def pictures(figure: Figure) -> dict[str, Picture]:
    return {cell.title: cell for row in figure.cells for cell in row if isinstance(cell, Picture)}


IMAGE = np.zeros((16, 24, 3), np.uint8)


class TestFlow:
    def test_each_map_is_what_was_recorded(self):
        recording = run()
        figure = flow_figure(IMAGE, recording, "block")
        assert drawn(figure).width > 600
        maps = pictures(figure)
        assert len(maps) == 8
        static, dynamic = (recording[f"block.{tap}"][0].numpy() for tap in ("static_out", "dynamic_out"))
        np.testing.assert_allclose(maps["s, static branch: size"].pixels, np.sqrt((static**2).mean(0)), rtol=1e-5)
        np.testing.assert_allclose(maps["s + u: size"].pixels, np.sqrt(((static + dynamic) ** 2).mean(0)), rtol=1e-5)
        gate = recording["block.gate_dynamic"][0].mean(0).numpy()
        np.testing.assert_allclose(maps["dynamic gate (mean of channels)"].pixels, gate)
        assert f"dynamic one {gate.mean():.2f}" in figure.alt
        assert all(cell.stride == 2 for title, cell in maps.items() if title != "image")

    def test_compared_maps_share_a_scale(self):
        maps = pictures(flow_figure(IMAGE, run(), "block"))
        gates = [cell.scale for title, cell in maps.items() if "gate" in title]
        branches = [maps[title].scale for title in ("s, static branch: size", "u, dynamic branch: size", "s + u: size")]
        assert len(set(gates)) == len(set(branches)) == 1 and branches[0].low == 0

    def test_a_window_shows_a_part(self):
        window = (0, 4, 8, 12)
        assert {cell.window for cell in pictures(flow_figure(IMAGE, run(), "block", window)).values()} == {window}

    def test_what_is_missing_is_named(self):
        with pytest.raises(ValueError, match="not recorded completely .no guidance, gate_static"):
            flow_figure(IMAGE, run(["block.kernels"]), "block")


class TestKernels:
    def test_logits_above_kernels_below(self):
        recording = run()
        figure = kernels_figure(recording, "block", (3, 5))
        drawn(figure)
        assert [len(row) for row in figure.cells] == [2, 2]
        for row, tap in zip(figure.cells, ("kernel_logits", "kernels"), strict=True):
            for head, cell in enumerate(row):
                wanted = recording[f"block.{tap}"][0, head, :, 3, 5].numpy().reshape(5, 5)
                np.testing.assert_allclose(cell.pixels, wanted, rtol=1e-6)
                assert cell.bar is (head == 0)  # one colour bar for each row, since a row has one scale
                assert (cell.boxes[0].y0, cell.boxes[0].x1) == (2, 3)  # the centre
            assert len({cell.scale for cell in row}) == 1

    @pytest.mark.parametrize("pixel", [(0, 0), (7, 11)])
    def test_corners(self, pixel):
        drawn(kernels_figure(run(), "block", pixel))

    @pytest.mark.parametrize("pixel", [(-1, 0), (8, 0), (0, 12)])
    def test_outside(self, pixel):
        with pytest.raises(ValueError, match="outside the feature map of 8 x 12"):
            kernels_figure(run(), "block", pixel)


class TestPadding:
    @pytest.mark.parametrize("kernel_size", [3, 7])
    @pytest.mark.parametrize("padding", lesson.PADDINGS)
    def test_is_the_mean_of_what_lies_in_the_window(self, padding, kernel_size):
        image = torch.rand(9, 11, generator=torch.Generator().manual_seed(0))
        kernels = torch.full((1, 1, kernel_size**2, 9, 11), 1 / kernel_size**2)
        wanted = dynamic_conv2d_reference(image[None, None], kernels, padding)[0, 0]
        torch.testing.assert_close(padded(image, padding, kernel_size), wanted)

    def test_mass_of_a_uniform_kernel_by_hand(self):
        ones = padded(torch.ones(24, 24), "zeros")
        assert ones[0, 0].item() == pytest.approx(16 / 49)
        assert ones[0, 12].item() == pytest.approx(28 / 49)
        assert ones[12, 12].item() == pytest.approx(1)
        for padding in ("replicate", "renormalize"):
            torch.testing.assert_close(padded(torch.ones(24, 24), padding), torch.ones(24, 24))

    @pytest.mark.parametrize("padding", lesson.PADDINGS)
    def test_figure(self, padding):
        figure = padding_figure(padding)
        drawn(figure)
        ones, ramp = pictures(figure).values()
        assert ones.pixels.shape == ramp.pixels.shape == (lesson.SIDE, lesson.SIDE)
        assert abs(ramp.pixels[12, 12]) < 1e-6  # in the middle nothing is wrong

    def test_how_far_each_padding_takes_a_ramp_off(self):
        """As the notebook says. By hand: 20 to 23 over 7 for zeros at the right end; for the others at the left end, in
        steps of the ramp, the means of 0 0 0 0 1 2 3 and of 0 1 2 3."""
        bent = {p: pictures(padding_figure(p))["ramp 0 to 1: filtered − ramp"].pixels[12] for p in lesson.PADDINGS}
        off = {padding: np.abs(values).max() for padding, values in bent.items()}
        assert off["zeros"] == -bent["zeros"][-1] == pytest.approx(1 - (20 + 21 + 22 + 23) / 23 / 7, rel=1e-4)
        assert off["replicate"] == pytest.approx(6 / 7 / 23, rel=1e-4)
        assert off["renormalize"] == pytest.approx(1.5 / 23, rel=1e-4)
        assert {p: round(float(v), 2) for p, v in off.items()} == {
            "zeros": 0.47,
            "replicate": 0.04,
            "renormalize": 0.07,
        }

    def test_unknown(self):
        with pytest.raises(ValueError, match="padding='reflect' is none of zeros, replicate, renormalize"):
            padding_figure("reflect")


class TestWake:
    SGD, FASTER, ADAMW = "SGD, rate 0.1", "SGD, rate 5", "AdamW, rate 0.002"

    def test_repeats_itself_and_leaves_the_random_numbers_alone(self):
        before = torch.random.get_rng_state()
        assert wake(self.ADAMW, 0.1, 3) == wake(self.ADAMW, 0.1, 3) != wake(self.ADAMW, 0.1, 3, seed=1)
        assert torch.equal(before, torch.random.get_rng_state())

    def test_the_first_gradient_is_proportional_to_the_layer_scale(self):
        small, large = (wake(self.SGD, scale, steps=1) for scale in (1e-6, 1e-3))
        assert isinstance(small, Waking) and len(small.gradient) == len(small.loss) == 1
        assert large.gradient[0] / small.gradient[0] == pytest.approx(1000, rel=0.01)
        assert small.layer_scale == pytest.approx((1e-6,))

    def test_who_does_not_look_at_guidance_has_a_loss_of_a_sixteenth(self):
        """Of all c x: the error is (0.5 - (c - 1))^2 where G is positive and (c - 1)^2 elsewhere; half of each."""
        losses = [((1.5 - c) ** 2 + (c - 1) ** 2) / 2 for c in np.linspace(0.9, 1.6, 71)]
        assert min(losses) == pytest.approx(lesson.WITHOUT_GUIDANCE)

    def test_what_the_notebook_says(self):
        """AdamW and SGD at 5 use guidance from both starts and move equally far; SGD at 0.1 learns from neither."""
        runs = {(how, start): wake(how, start) for how in lesson.TRAININGS for start in lesson.STARTS}
        assert runs[self.ADAMW, 1e-6].layer_scale[1] == pytest.approx(2e-3, rel=0.05)
        for how in (self.ADAMW, self.FASTER):
            both = [runs[how, start] for start in lesson.STARTS]
            assert max(run.loss[-1] for run in both) < 0.95 * lesson.WITHOUT_GUIDANCE
            assert max(run.moved for run in both) < 1.1 * min(run.moved for run in both)
        for start in lesson.STARTS:
            assert runs[self.SGD, start].loss[-1] > 0.9 * runs[self.SGD, start].loss[0]
            assert runs[self.SGD, start].moved < 0.02
        figure = waking_figure(runs)
        drawn(figure)
        assert [plot.title for plot in figure.strip] == list(lesson.TRAININGS)
        for plot in figure.strip:
            assert [line.y[-1] for line in plot.series] == [
                *(runs[plot.title, start].loss[-1] for start in lesson.STARTS), lesson.WITHOUT_GUIDANCE]  # fmt: skip

    @pytest.mark.parametrize(("training", "steps"), [("Adam", 3), ("SGD, rate 5", 0)])
    def test_bad_arguments_are_named(self, training, steps):
        with pytest.raises(ValueError, match=f"training='{training}', steps={steps}"):
            wake(training, 0.1, steps)


@pytest.mark.parametrize(("antialias", "found"), [(False, 2), (True, 8)])
def test_a_thin_line_in_guidance_made_8_times_smaller(antialias, found):
    """The notebook's detail of step 1: in how many of its 8 positions in a box is the line still there?"""
    lines = torch.zeros(8, 1, 128, 128)
    lines[range(8), :, :, range(64, 72)] = 1
    small = torch.nn.functional.interpolate(
        lines, size=(16, 16), mode="bilinear", align_corners=False, antialias=antialias
    )
    assert (small.flatten(1).amax(1) > 0).sum() == found


def test_edited_figure_tells_the_largest_change():
    half = np.full((16, 24), 0.5, np.float32)
    changes = {"nothing": np.zeros((16, 24), np.float32), "much": np.full((16, 24), -0.25, np.float32)}
    figure = edited_figure(IMAGE, half[::2, ::2], half[::2, ::2], half, changes)
    drawn(figure)
    assert "nothing 0, much 0.25" in figure.summary and "nothing 0, much 0.25" in figure.alt
    maps = pictures(figure)
    assert maps["change: nothing"].scale == maps["change: much"].scale
    assert maps["boundary map as made"].stride == 2
    assert (maps["change: much"].pixels == -0.25).all()
