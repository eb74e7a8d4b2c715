"""How fast is it, here and now? `make bench` or `python -m sgdc_viz bench`.

Everything is measured in one run on this machine, nothing is remembered from another: our dynamic convolution against
the unfold formulation, SGE against its released form with dense Sobel filters, and a floor under the operator: the time
that this machine needs to move the bytes, or to do the arithmetic, that nobody can avoid.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .lens import saved_for_backward
from .memory import keep_freed
from .nn import SGE, SGDCNet, SGDCNetConfig, dynamic_conv2d, dynamic_conv2d_reference
from .nn.sge import SOBEL_X, SOBEL_Y

GOALS = {"forward": 20.0, "forward + backward": 10.0, "saved for backward": 10.0, "SGE forward": 1.6}


@dataclass(frozen=True)
class Sizes:
    """What is measured; the defaults are the sizes that the goals are set for."""

    image: int = 256  # the operator's map and the network's image, pixels a side
    channels: int = 64
    heads: int = 4
    kernel_size: int = 7
    deep_channels: int = 2048  # of SGE, at stride 32 of a 256 x 256 image: ResNet-50's last stage
    shallow_channels: int = 256  # at stride 4: its first stage
    mid_channels: int = 256
    sge_image: int = 256
    copy_megabytes: int = 256  # far more than any cache holds
    matmul: int = 2048
    repeats: int = 7


QUICK = Sizes(image=64, channels=16, deep_channels=64, shallow_channels=32, mid_channels=32, sge_image=128,
              copy_megabytes=32, matmul=512, repeats=2)  # fmt: skip


def bench(quick: bool = False, sizes: Sizes | None = None) -> list[dict]:
    """Measure and print a table for torch's default number of threads and for one.

    Args:
        quick: small sizes and few repeats: a smoke test of a few seconds. The goals are not for these sizes.
        sizes: other sizes.

    All is measured as in any Python program, and the operator once more with freed memory kept in the process, as this
    project's commands and page do on Linux (memory.py): the unfold form asks the system for new memory again and again,
    and that is most of its time. Kept memory stays kept, in this process.

    Returns:
        What was printed, a dict for each thread count: "threads", "bandwidth" (bytes/s), "flop_rate" (1/s), "rows" and
        "kept" (rows with freed memory kept; none where that cannot be asked for). A row is a dict: name, ours, theirs
        (seconds or bytes, best of n), ratio, goal and met (None: no goal), floor (seconds) and over_floor (None where
        no floor was counted).

    The full run took two minutes and 3.1 GB on a machine with two cores; nearly all of it is the unfold form's.
    """
    sizes = sizes or (QUICK if quick else Sizes())
    goals = {} if sizes != Sizes() else GOALS
    default = torch.get_num_threads()
    load = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"torch {torch.__version__}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores{load}")
    print(f"CPU, float32, batch 1. Times: best of {sizes.repeats} after a warm-up, in brackets the median.")
    print("Measure on an idle machine: with fewer free cores than threads, every step waits for the slowest thread.")
    if not goals:
        print("Small sizes: the goals are set for the full run.")
    reports = []
    try:
        for threads in dict.fromkeys((default, 1)):
            torch.set_num_threads(threads)
            reports.append(_report(threads, sizes, goals))
        kept = keep_freed()
        for report in reports:
            torch.set_num_threads(report["threads"])
            report["kept"] = _kept(report, sizes) if kept else []
    finally:
        torch.set_num_threads(default)
    missed = [f"{row['name']} ({_threads(r)})" for r in reports for row in r["rows"] if row["met"] is False]
    if goals:
        print(f"\nGoals missed: {', '.join(missed)}." if missed else "\nAll goals met.")
    return reports


def _report(threads: int, sizes: Sizes, goals: dict[str, float]) -> dict:
    bandwidth, flop_rate = _bandwidth(sizes), _flop_rate(sizes)
    report = {"threads": threads, "bandwidth": bandwidth, "flop_rate": flop_rate}
    print(f"\n=== {_threads(report)} ===")
    print(f"this machine: {bandwidth / 1e9:.1f} GB/s (copy, read + write), {flop_rate / 1e9:.0f} GFLOP/s (matmul)")
    rows = [
        *_operator(sizes, goals, bandwidth, flop_rate),
        *_sge(sizes, goals),
        *_network(sizes),
    ]
    return {**report, "rows": rows}


def _kept(report: dict, sizes: Sizes) -> list[dict]:
    """The operator once more, in a process that keeps what it frees."""
    print(f"\n=== {_threads(report)}, freed memory kept, as in our commands ===")
    return _operator(sizes, {}, report["bandwidth"], report["flop_rate"])


def _threads(report: dict) -> str:
    return f"{report['threads']} thread{'s' * (report['threads'] != 1)}"


# --- the operator ---------------------------------------------------------------------------------------------------


def _operator(sizes: Sizes, goals: dict[str, float], bandwidth: float, flop_rate: float) -> list[dict]:
    side, channels, heads, taps = sizes.image, sizes.channels, sizes.heads, sizes.kernel_size**2
    torch.manual_seed(0)
    x = torch.randn(1, channels, side, side, requires_grad=True)
    kernels = torch.randn(1, heads, taps, side, side).softmax(2).requires_grad_()
    direction = torch.randn_like(x)
    with torch.no_grad():
        torch.testing.assert_close(dynamic_conv2d(x, kernels), dynamic_conv2d_reference(x, kernels))

    def forward(operator: Callable) -> None:
        with torch.no_grad():
            operator(x, kernels)

    def both(operator: Callable) -> None:
        torch.autograd.grad(operator(x, kernels), (x, kernels), direction)

    # The floor: each input read once, each output written once, each multiplication and addition done once.
    pixels = side * side
    flops = 2 * channels * taps * pixels
    once = 4 * pixels * (channels + heads * taps)  # x and kernels, or their gradients
    bytes_forward = once + 4 * pixels * channels
    bytes_both = bytes_forward + 4 * pixels * channels + 2 * once  # backward: read grad, x, kernels; write 2 gradients
    floors = {"forward": (bytes_forward, flops), "forward + backward": (bytes_both, 3 * flops)}

    print(f"\ndynamic_conv2d: x {tuple(x.shape)}, kernels {tuple(kernels.shape)}")
    print(f"  {'':<20}{'ours':>20}{'unfold form':>20}  {'ratio':>7}  {'goal':<15}{'floor':>9}  {'over the floor'}")
    rows = []
    for name, run in (("forward", forward), ("forward + backward", both)):
        ours, theirs = _race(sizes.repeats, lambda r=run: r(dynamic_conv2d), lambda r=run: r(dynamic_conv2d_reference))
        floor = max(floors[name][0] / bandwidth, floors[name][1] / flop_rate)
        rows.append(_row(name, ours, theirs, goals, floor))
    ours, theirs = (_saved_bytes(lambda o=o: o(x, kernels)) for o in (dynamic_conv2d, dynamic_conv2d_reference))
    rows.append(_row("saved for backward", [ours], [theirs], goals, unit="MB"))
    for name, (moved, done) in floors.items():
        print(f"  floor of {name}: {moved / 1e6:.0f} MB = {1e3 * moved / bandwidth:.1f} ms, "
              f"{done / 1e6:.0f} MFLOP = {1e3 * done / flop_rate:.1f} ms; the larger counts")  # fmt: skip
    return rows


def _saved_bytes(forward: Callable[[], Tensor]) -> int:
    """Bytes that autograd keeps between forward and backward, each storage counted once."""
    return sum(tensor.untyped_storage().nbytes() for tensor in saved_for_backward(forward))


# --- SGE and the network --------------------------------------------------------------------------------------------


class DenseSGE(SGE):
    """SGE as released: the Sobel filters as two dense m-to-m convolutions with constant weights."""

    def __init__(self, deep_channels: int, shallow_channels: int, mid_channels: int):
        super().__init__(deep_channels, shallow_channels, mid_channels)
        for name, kernel in (("sobel_x", SOBEL_X), ("sobel_y", SOBEL_Y)):
            self.register_buffer(name, torch.tensor(kernel).repeat(mid_channels, mid_channels, 1, 1))

    def magnitude(self, p: Tensor) -> Tensor:
        gx, gy = F.conv2d(p, self.sobel_x, padding=1), F.conv2d(p, self.sobel_y, padding=1)
        return (gx.square() + gy.square()).sqrt()


def _sge(sizes: Sizes, goals: dict[str, float]) -> list[dict]:
    torch.manual_seed(0)
    widths = (sizes.deep_channels, sizes.shallow_channels, sizes.mid_channels)
    ours, dense = SGE(*widths).eval(), DenseSGE(*widths).eval()
    dense.load_state_dict(ours.state_dict(), strict=False)  # the Sobel buffers stay
    deep = torch.randn(1, sizes.deep_channels, sizes.sge_image // 32, sizes.sge_image // 32)
    shallow = torch.randn(1, sizes.shallow_channels, sizes.sge_image // 4, sizes.sge_image // 4)
    print(f"\nSGE, m = {sizes.mid_channels}: deep {tuple(deep.shape)}, shallow {tuple(shallow.shape)}")
    print(f"  {'':<20}{'ours':>20}{'dense Sobel':>20}  {'ratio':>7}  {'goal':<15}")
    with torch.no_grad():
        for a, b in zip(ours(deep, shallow), dense(deep, shallow), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)

    def forward(sge: SGE) -> None:
        with torch.no_grad():
            sge(deep, shallow)

    def both(sge: SGE) -> None:
        edge, guidance = sge(deep, shallow)
        torch.autograd.grad(edge.sum() + guidance.sum(), list(sge.parameters()))

    rows = []
    for name, run in (("SGE forward", forward), ("SGE fwd + bwd", both)):
        times = _race(sizes.repeats, lambda r=run: r(ours), lambda r=run: r(dense))
        rows.append(_row(name, *times, goals))
    return rows


def _network(sizes: Sizes) -> list[dict]:
    torch.manual_seed(0)
    net = SGDCNet(SGDCNetConfig.compact())
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)
    image = torch.rand(1, 3, sizes.image, sizes.image)
    mask = (image.mean(1, keepdim=True) > 0.5).float()

    def predict() -> None:
        with torch.no_grad():
            net(image)

    def step() -> None:
        out = net(image)
        edge = F.interpolate(out.edge_logits, size=mask.shape[-2:], mode="bilinear", align_corners=False)
        loss = F.binary_cross_entropy_with_logits(out.logits, mask) + F.binary_cross_entropy_with_logits(edge, mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    print(f"\nSGDCNet compact, image {tuple(image.shape)}")
    rows = []
    for name, run, train in (("predict", predict, False), ("training step", step, True)):
        net.train(train)
        (times,) = _race(sizes.repeats, run)
        rows.append(_row(name, times))
    return rows


# --- measuring and printing -----------------------------------------------------------------------------------------


def _race(repeats: int, *runs: Callable[[], None]) -> list[list[float]]:
    """Seconds of each run, `repeats` times in turn (so that a busy moment hits them all), after one warm-up each."""
    for run in runs:
        run()
    times = [[] for _ in runs]
    for _ in range(repeats):
        for run, mine in zip(runs, times, strict=True):
            start = time.perf_counter()
            run()
            mine.append(time.perf_counter() - start)
    return times


def _bandwidth(sizes: Sizes) -> float:
    """Bytes a second of a large copy, reading and writing counted."""
    source = torch.zeros(sizes.copy_megabytes * 2**18)  # 4 bytes each
    target = torch.empty_like(source)
    (times,) = _race(sizes.repeats, lambda: target.copy_(source))
    return 2 * source.nbytes / min(times)


def _flop_rate(sizes: Sizes) -> float:
    """Floating point operations a second of a float32 matrix product."""
    a = torch.randn(sizes.matmul, sizes.matmul)
    (times,) = _race(sizes.repeats, lambda: a @ a)
    return 2 * sizes.matmul**3 / min(times)


def _row(
    name: str,
    ours: list[float],
    theirs: list[float] | None = None,
    goals: dict[str, float] | None = None,
    floor: float | None = None,
    unit: str = "ms",
) -> dict:
    """Print one line and return it."""
    best, other = min(ours), min(theirs) if theirs else None
    ratio = other / best if other else None
    goal = (goals or {}).get(name)
    met = ratio >= goal if goal else None
    over = best / floor if floor else None
    line = f"  {name:<20}{_amount(ours, unit):>20}"
    if theirs:
        verdict = f">= {goal:g}x {'met' if met else 'MISSED'}" if goal else ""
        line += f"{_amount(theirs, unit):>20}  {ratio:>6.1f}x  {verdict:<15}"
    if floor:
        line += f"{1e3 * floor:>6.1f} ms  {over:.1f}x"
    print(line.rstrip())
    return {"name": name, "ours": best, "theirs": other, "ratio": ratio, "goal": goal, "met": met, "floor": floor,
            "over_floor": over}  # fmt: skip


def _amount(values: list[float], unit: str) -> str:
    if unit == "MB":
        return f"{values[0] / 1e6:.1f} MB"
    return f"{1e3 * min(values):.1f} ms ({1e3 * statistics.median(values):.1f})"
