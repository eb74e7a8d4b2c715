"""The lesson of notebook 03: gate figures, and the boundary branch trained alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sgdc_viz.learn.losses import edge_loss, edge_target
from sgdc_viz.nn import SGDCNet
from sgdc_viz.nn.sge import SGE
from sgdc_viz.teach.lessons import boundary as lesson
from sgdc_viz.views import Plot, true_boundary


@pytest.fixture(scope="module")
def pictures():
    return lesson.small_pictures(range(9))


@pytest.fixture(scope="module")
def net(pictures):
    return lesson.train(edge_loss, pictures, steps=25)


def test_pictures_are_the_same_for_the_same_seeds(pictures):
    again = lesson.small_pictures(range(9))
    assert torch.equal(again.images, pictures.images) and torch.equal(again.instances, pictures.instances)
    assert pictures.images.shape == (9, 3, 64, 64) and pictures.images.dtype == torch.float32
    assert 0 <= pictures.images.min() and pictures.images.max() <= 1
    assert pictures.instances.shape == (9, 64, 64) and (pictures.instances.amax((1, 2)) >= 2).all()
    assert 0.02 < edge_target(pictures.instances, 1).mean() < 0.08  # a rare class, as the notebook says


def test_sge_inputs_are_those_of_the_network():
    torch.manual_seed(0)
    net = SGDCNet().eval()
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    seen = []
    handle = net.sge.register_forward_pre_hook(lambda module, args: seen.extend(args))
    with torch.no_grad():
        net(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)
    handle.remove()
    for got, wanted in zip(lesson.sge_inputs(net, image), seen, strict=True):
        assert torch.allclose(got, wanted, atol=1e-6)
    with pytest.raises(ValueError, match="multiples of 16"):
        lesson.sge_inputs(net, image[:30])


def test_projection_normalises_by_the_batch_and_leaves_the_branch_as_it_was():
    torch.manual_seed(0)
    sge = SGE(6, 5, 16).eval()
    before = {k: v.clone() for k, v in sge.state_dict().items()}
    x = torch.randn(1, 5, 7, 9)
    got = lesson.projected(sge, x)
    conv = F.conv2d(x, sge.s1_proj.conv.weight)
    wanted = F.relu(F.batch_norm(conv, None, None, training=True))
    assert torch.allclose(got, wanted, atol=1e-5)
    assert not sge.training and all(torch.equal(v, before[k]) for k, v in sge.state_dict().items())


@pytest.mark.parametrize(
    ("value", "words"),
    [(1.0, "nearly all are stuck open"), (0.6, "most stay under 0.65"), (0.8, "hardly any is stuck"),
     (None, "many are stuck")],
)  # fmt: skip
def test_gate_figure_counts_what_is_stuck(value, words):
    gate = torch.full((1, 3, 8, 8), 0.7 if value is None else value)
    if value is None:
        gate[:, :, :4] = 1.0
    gate[:, 1] = gate[:, 0] - 0.001  # the map shows the first channel, not the mean
    figure = lesson.gate_figure(np.zeros((16, 16, 3), np.uint8), gate, "32 channels", window=(0, 0, 8, 8))
    assert words in figure.message and words in figure.alt
    _, shown, plot = figure.cells[0]
    assert isinstance(plot, Plot) and np.array_equal(shown.pixels, gate[0, 0].numpy())
    assert shown.scale.high == (0.75 if value == 0.6 else 1.0)
    (line,) = plot.series
    assert line.y[1:-1].sum() == pytest.approx(100)  # shares, without the two ends of the line
    stuck = {1.0: "100 %", 0.6: "0 %", 0.8: "0 %", None: "50.0 %"}[value]
    assert f"Over 0.99: {stuck}" in figure.summary and "of all of it" in figure.summary
    assert figure.to_png()[:4] == b"\x89PNG"


def test_a_few_values_of_many_are_not_written_with_powers_of_ten():
    gate = torch.full((1, 1, 64, 64), 0.55)
    gate[0, 0, 0, 0] = 1.0
    figure = lesson.gate_figure(np.zeros((128, 128, 3), np.uint8), gate, "1 channel")
    assert "Over 0.99: under 0.1 % of" in figure.summary and figure.message.startswith("Hardly any value")


def test_alt_text_tells_of_each_gate():
    values = {"channels: 1": 0.8, "channels: 4": 0.9, "channels: 256": 1.0, "channels: each alone / 8": 0.55}
    gates = {name: torch.full((1, 2, 4, 4), value) for name, value in values.items()}
    told = lesson.three_states(gates)
    assert "channels: 256: Of the gate's values, nearly all are stuck open. Median 1.00." in told
    assert "works weakly. Median 0.55." in told and "channels: 4" not in told


def test_shrunk_figure_shows_the_same_part_of_all():
    line = torch.zeros(16, 16)
    line[5, 4:12] = 1
    small = {"nearest": torch.zeros(1, 1, 4, 4), "max": F.max_pool2d(line[None, None], 4)}
    figure = lesson.shrunk_figure(line, small, (slice(4, 12), slice(4, 16)))
    full, nearest, largest = (cell.pixels[..., 0] > 0 for cell in figure.cells[0])
    assert np.array_equal(full, line[4:12, 4:16].numpy() > 0)
    assert nearest.shape == largest.shape == (2, 3) and not nearest.any()
    assert largest.tolist() == [[True, True, False], [False] * 3]


def test_black_white():
    target = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    assert lesson.black_white(target)[..., 0].tolist() == [[0, 255], [255, 0]]
    assert lesson.black_white(target).shape == (2, 2, 3) and lesson.black_white(target).dtype == np.uint8


def test_plain_loss_is_torchs_on_enlarged_logits():
    logits, target = torch.randn(2, 1, 4, 5), (torch.rand(2, 1, 8, 10) > 0.5).float()
    enlarged = F.interpolate(logits, size=(8, 10), mode="bilinear", align_corners=False)
    wanted = F.binary_cross_entropy_with_logits(enlarged, target)
    assert lesson.plain_loss(logits, target) == pytest.approx(wanted.item())


def test_training_learns_and_leaves_random_numbers_alone(pictures, net):
    torch.manual_seed(7)
    state = torch.get_rng_state()
    again = lesson.train(edge_loss, pictures, steps=25)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))
    assert not net.training
    target = edge_target(pictures.instances, 1)
    with torch.no_grad():
        learnt = edge_loss(net(pictures.images), target)
        start = edge_loss(lesson.train(edge_loss, pictures, steps=0)(pictures.images), target)
        other = lesson.train(edge_loss, pictures, seed=1, steps=0)
    assert learnt < 0.85 * start
    assert not torch.equal(other.sge.fuse.conv.weight, again.sge.fuse.conv.weight)


@pytest.mark.parametrize("gate", ["per_channel", "channel_sum", "off"])
def test_every_gate_can_be_trained(pictures, gate):
    net = lesson.train(edge_loss, pictures, steps=1, sobel_gate=gate)
    assert net.sge.sobel_gate == gate
    maps = lesson.probability(net, pictures)
    assert maps.shape == (9, 64, 64) and np.isfinite(maps).all() and 0 <= maps.min() and maps.max() <= 1


def test_too_few_pictures():
    with pytest.raises(ValueError, match="fewer than one batch"):
        lesson.train(edge_loss, lesson.small_pictures(range(3)))


def test_scores_of_truth_of_never_and_of_always(pictures):
    target = edge_target(pictures.instances, 1)[:, 0].numpy()
    truth = np.stack([true_boundary(labels) for labels in pictures.instances.numpy()]).astype(np.float32)
    perfect = lesson.scores(truth, pictures)
    assert perfect.f > 0.97 and perfect.recall > 0.97  # thinning takes a few pixels where two lines touch
    assert perfect.accuracy > 0.98  # 4 neighbours here, 8 in the target
    never = lesson.scores(np.zeros_like(target), pictures)
    assert never.accuracy == pytest.approx(1 - target.mean()) and never.recall == never.f == 0
    assert np.isnan(never.precision)
    half = np.concatenate([truth[:1], np.zeros_like(truth[1:])])  # one picture right, nothing said in the others
    some = lesson.scores(half, pictures)
    assert some.precision > 0.97 and some.recall == pytest.approx(lesson.scores(truth[:1], _first(pictures)).recall / 9)
    assert lesson.scores(0.4 * truth, pictures).recall == 0 and lesson.scores(0.4 * truth, pictures, 0.3).recall > 0.97


def _first(pictures):
    return lesson.Pictures(pictures.images[:1], pictures.instances[:1])


def test_runs_and_their_figure(pictures):
    unseen = lesson.small_pictures((100, 101))
    runs = {
        "plain loss": lesson.train_and_score(lesson.plain_loss, pictures, unseen, seeds=(0, 1), steps=2),
        "balanced loss": lesson.train_and_score(edge_loss, pictures, unseen, seeds=(0, 1), steps=2),
    }
    for one in runs.values():
        assert len(one.maps) == 2 and one.maps[0].shape == (2, 64, 64)
        assert one.f.shape == (2, len(lesson.THRESHOLDS))
        each = [lesson.scores(m, unseen) for m in one.maps]
        assert one.scores.recall == pytest.approx(np.mean([s.recall for s in each]))
        assert one.scores.accuracy == pytest.approx(np.mean([s.accuracy for s in each]))
        assert one.f[1, lesson.THRESHOLDS.index(0.5)] == pytest.approx(each[1].f)
    figure = lesson.trained_figure(unseen, runs, which=1)
    picture, plain, balanced, plot = figure.cells[0]
    assert np.array_equal(plain.pixels, runs["plain loss"].maps[0][1])
    assert plain.scale == balanced.scale and [s.label for s in plot.series] == list(runs)
    assert np.array_equal(plot.series[1].y, runs["balanced loss"].f.mean(0))
    assert f"recall {runs['balanced loss'].scores.recall:.2f}" in figure.summary
    assert picture.outlines[0].curves and figure.to_png()[:4] == b"\x89PNG"
    assert "balanced loss" in figure.to_html()
