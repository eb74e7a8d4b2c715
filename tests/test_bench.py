"""The benchmark runs, measures what it says and leaves the thread count alone. No test here depends on a speed."""

import sys

import pytest
import torch

from sgdc_viz import bench as module
from sgdc_viz.bench import GOALS, Sizes, bench

TINY = Sizes(image=32, channels=8, heads=2, kernel_size=5, deep_channels=8, shallow_channels=8, mid_channels=8,
             sge_image=64, copy_megabytes=1, matmul=32, repeats=1)  # fmt: skip
NAMES = ["forward", "forward + backward", "saved for backward", "SGE forward", "SGE fwd + bwd", "predict",
         "training step"]  # fmt: skip


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_measures_with_all_threads_and_with_one(two_threads, capsys):
    reports = bench(sizes=TINY)
    assert [report["threads"] for report in reports] == [2, 1]
    assert torch.get_num_threads() == 2
    for report in reports:
        assert [row["name"] for row in report["rows"]] == NAMES
        assert report["bandwidth"] > 0 and report["flop_rate"] > 0
        assert all(row["ours"] > 0 and row["goal"] is None for row in report["rows"])  # goals are for the full sizes
        kept = [row["name"] for row in report["kept"]]
        assert kept == (NAMES[:3] if sys.platform == "linux" else [])
        forward, both, *_ = report["rows"]
        assert 0 < forward["floor"] < both["floor"]
        assert forward["over_floor"] == pytest.approx(forward["ours"] / forward["floor"])
        assert forward["ratio"] == pytest.approx(forward["theirs"] / forward["ours"])
    printed = capsys.readouterr().out
    assert all(name in printed for name in NAMES)
    assert "=== 2 threads ===" in printed and "=== 1 thread ===" in printed
    assert sys.platform != "linux" or "=== 1 thread, freed memory kept" in printed
    assert "Small sizes" in printed and "MISSED" not in printed


def test_counts_what_is_saved_for_the_backward_pass():
    (saved,) = [row for row in bench(sizes=TINY)[-1]["rows"] if row["name"] == "saved for backward"]
    assert saved["ours"] == 4 * (8 * 36 * 36 + 2 * 25 * 32 * 32)  # the padded image and the kernels
    assert saved["theirs"] >= 4 * 8 * 25 * 32 * 32  # all neighbours


def test_the_floor_counts_each_number_once():
    pixels, channels, taps = 32 * 32, 8, 2 * 25
    moved = 4 * pixels * (channels + taps + channels)
    moved_both = moved + 4 * pixels * (channels + channels + taps + channels + taps)
    flops = 2 * channels * 25 * pixels
    rows = module._operator(TINY, {}, bandwidth=1.0, flop_rate=1e30)  # at one byte a second the floor is the bytes
    assert [row["floor"] for row in rows[:2]] == [moved, moved_both]
    rows = module._operator(TINY, {}, bandwidth=1e30, flop_rate=1.0)
    assert [row["floor"] for row in rows[:2]] == [flops, 3 * flops]


def test_goals_are_judged(capsys):
    slow = module._row("forward", [1.0], [19.0], GOALS)
    fast = module._row("forward", [1.0, 9.0], [21.0, 30.0], GOALS)
    assert (slow["met"], fast["met"], fast["ratio"]) == (False, True, 21.0)
    missed, met = capsys.readouterr().out.splitlines()
    assert ">= 20x MISSED" in missed and ">= 20x met" in met


def test_unequal_results_stop_the_benchmark(monkeypatch):
    """A fast wrong answer is not a speed-up."""
    monkeypatch.setattr(module, "dynamic_conv2d", lambda x, kernels: 2 * x)
    with pytest.raises(AssertionError):
        bench(sizes=TINY)


def test_the_threads_come_back_after_a_failure(two_threads, monkeypatch):
    monkeypatch.setattr(module, "_sge", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        bench(sizes=TINY)
    assert torch.get_num_threads() == 2
