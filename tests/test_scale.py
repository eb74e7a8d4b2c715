"""What larger images and more of them cost: shapes of curves, never speeds."""

from __future__ import annotations

import multiprocessing
import tracemalloc

import numpy as np
import pytest

from sgdc_viz import scale
from sgdc_viz.learn import predict
from sgdc_viz.scale import Point, bench_scale, measure, slope, stream, tiles


def test_a_hundred_times_as_many_images_take_no_more_memory(monkeypatch):
    monkeypatch.setattr(scale, "READ", 16)
    peaks = []
    for count in (200, 20_000):
        tracemalloc.start()
        stream(count)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 20_000 * 500  # bytes that say where each image lies; its pixels are 12 kB


def test_in_tiles_the_network_sees_no_more_of_a_larger_image(monkeypatch):
    monkeypatch.setattr(predict, "TILE", 96)
    monkeypatch.setattr(predict, "OVERLAP", 64)
    seen = []
    network = scale._network()
    network.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[-2:].numel()))
    monkeypatch.setattr(scale, "_network", lambda: network)
    monkeypatch.setattr(scale, "_measure", lambda side, run: run())
    tiles(160)
    assert len(seen) == 9 and max(seen) == 96 * 96


def test_points_come_from_processes_of_their_own():
    (point,) = measure("one piece", [64])
    assert point.size == 64 and point.seconds > 0 and point.memory >= 0


def test_memory_is_that_of_the_process_alone():
    """`make bench` measures here after the unfold form, which takes gigabytes."""
    held = np.ones(60_000_000)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert 0 < pool.apply(scale._memory) < held.nbytes < scale._memory()


def test_slope_is_the_exponent():
    points = [Point(n, 3e-6 * n**2 + (n < 300), 0) for n in (128, 256, 512, 1024, 2048)]
    assert slope(points) == pytest.approx(2)


def test_it_is_printed_and_drawn(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(scale, "measure", lambda kind, sizes: [Point(n, n / 1e3, n * 1024) for n in sizes])
    told = bench_scale(tmp_path / "new")
    assert list(told) == ["one piece", "tiles", "stream"] and [p.size for p in told["tiles"]] == list(scale.SIDES)
    assert (tmp_path / "new" / "scale.png").read_bytes()[:4] == b"\x89PNG"
    printed = capsys.readouterr().out
    assert "to the power of 0.50" in printed and "100,000" in printed and "scale.png" in printed


