"""Both arms trained before one's eyes, step by step in turn: a generator hands out what there is about every second.

What is trained is the experiment "shapes" (learn/experiment.py), cut short: its two narrow networks (77,437 parameters
each), its drawn training images, its windows, losses and rates. This task was chosen because 400 steps of it are done
in two minutes on an ordinary laptop, and because `assets/evidence.json` tells how far apart five paired seeds of it
are; not by which arm wins. Which one is ahead at the end differs from seed to seed, the more so the shorter the
training: after 150 steps guided was ahead of pooled by 6, 14, 9, -9 and 3 points of surface Dice (seeds 0 to 4, the 8
held-out images below), a standard deviation of 8 points, where the recorded 400 steps have 3. On two cores that two
other trainings kept busy, two minutes were 309 steps, and took both arms from 0 to over 0.8.

The two arms are a pair: the same initial weights, the same windows in the same order (drawn pictures are new each time,
so nothing is augmented, as in the experiment), and the same rate at the same step.

Scores are of `eval` mode. In the first tens of steps the running averages of batch norm lag behind the weights, and the
networks predict worse than they train.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from scipy.special import stdtrit

from sgdc_viz.data import Sample, open_dataset

from .checkpoints import assets_dir, write_whole
from .experiment import EXPERIMENTS, Cell, build_network, training_of
from .predict import evaluate, predict_probability
from .train import make_batch, make_optimizer, train_step

ARMS = {"guided": "structure", "pooled": "pooled-8"}  # what people call them -> arms of the experiment
EXPERIMENT = "shapes"
HELD_OUT = 8  # drawn test images behind every score
RECORDED = "training.json"  # in assets/: a finished training, to open with
SHOWN = 2  # the one of them that is shown: thin branches, well visible; chosen before anything was trained
SCORE_EVERY = 4.0  # seconds between scores, where a clock runs
SCORE_STEPS = 10  # steps between them, where none does


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A paired training at one moment. Arrays are read-only; dicts have the keys of `ARMS`.

    Attributes:
        state: "before", "training", "stopped" (by `stop`), "finished" or "recorded" (finished, and kept in a file).
        seed: of weights, order and windows.
        steps: optimizer steps done by each arm.
        planned: steps that each arm will have done at the end, as the speed so far says; None before the first step.
        seconds: since the start.
        budget: seconds that the whole training may take; None: no clock, the steps count.
        losses: arm -> float32 [steps], total training loss of every step.
        scored: int [n], the steps after which the held-out images were scored; 0 is before training.
        scores: arm -> metric, "nsd1" (surface Dice at 1 px) or "iou" -> float [n], mean over the held-out images.
        held_out: number of these images.
        image: uint8 [H, W, 3], one of them.
        truth: uint8 [H, W], 1 at the object.
        probability: arm -> float32 [H, W], of object, after `steps` steps.
        parameters: of each network.
    """

    state: str
    seed: int
    steps: int
    planned: int | None
    seconds: float
    budget: float | None
    losses: dict[str, np.ndarray]
    scored: np.ndarray
    scores: dict[str, dict[str, np.ndarray]]
    held_out: int
    image: np.ndarray
    truth: np.ndarray
    probability: dict[str, np.ndarray]
    parameters: int

    @property
    def ahead(self) -> float | None:
        """Last score of guided minus that of pooled, surface Dice at 1 px (-1..1); None before the first step."""
        if len(self.scored) == 0 or self.scored[-1] == 0:
            return None
        guided, pooled = (self.scores[arm]["nsd1"][-1] for arm in ARMS)
        return float(guided - pooled)


@dataclass(frozen=True)
class SeedNoise:
    """How far the luck of the seed alone sets one pair of trainings apart. Made by `seed_noise`.

    Attributes:
        reach: of 100 further pairs of equally good arms, about 95 differ by less; in units of the score (0..1).
        spread: standard deviation of the paired differences over the seeds.
        seeds: how many were measured.
        steps: of each training measured.
    """

    reach: float
    spread: float
    seeds: int
    steps: int


def seed_noise(by_seed: Sequence[float], steps: int) -> SeedNoise:
    """From the paired differences of a few seeds (guided minus pooled, 0..1) to what one more pair can tell.

    reach = t * s, with s the standard deviation and t Student's 97.5 % quantile for n - 1 degrees of freedom: 2.78 for
    five seeds, which is more than the usual 1.96 because five seeds know their own spread only roughly.

    Raises:
        ValueError: fewer than two seeds.
    """
    if len(by_seed) < 2:
        raise ValueError(f"{len(by_seed)} seed(s) tell no spread: give the differences of two or more.")
    spread = float(np.std(by_seed, ddof=1))
    return SeedNoise(float(stdtrit(len(by_seed) - 1, 0.975)) * spread, spread, len(by_seed), steps)


def before(seed: int = 0) -> Snapshot:
    """What there is before the first step: untrained networks and one held-out image. Raises as `train_live`."""
    _check(seed, None, 1)
    with _one_thread():
        return _Pair(seed).snapshot("before", None, 0.0, None)


def keep(snapshot: Snapshot, path: Path) -> None:
    """Write the end of a training to a JSON file, without the image, which is drawn anew (see `recorded`)."""
    told = {
        "seed": snapshot.seed, "steps": snapshot.steps, "seconds": round(snapshot.seconds, 1),
        "parameters": snapshot.parameters, "held_out": snapshot.held_out, "scored": snapshot.scored.tolist(),
        "losses": {arm: [round(float(v), 6) for v in own] for arm, own in snapshot.losses.items()},
        "scores": {arm: {m: v.tolist() for m, v in own.items()} for arm, own in snapshot.scores.items()},
        "probability": {arm: np.round(p.astype(float), 3).tolist() for arm, p in snapshot.probability.items()},
    }  # fmt: skip
    write_whole(path, (json.dumps(told, allow_nan=False) + "\n").encode())


def recorded() -> Snapshot | None:
    """The training that ships in assets/, made by `python -m sgdc_viz live`; None where the file is missing."""
    file = assets_dir() / RECORDED
    if not file.is_file():
        return None
    told = json.loads(file.read_text(encoding="utf-8"))
    shown = _held_out()[SHOWN]
    return Snapshot(
        "recorded", told["seed"], told["steps"], told["steps"], told["seconds"], None,
        {arm: _kept(np.array(v, np.float32)) for arm, v in told["losses"].items()}, _kept(np.array(told["scored"])),
        {arm: {m: _kept(np.array(v)) for m, v in own.items()} for arm, own in told["scores"].items()},
        told["held_out"], _kept(shown.image), _kept(shown.mask),
        {arm: _kept(np.array(p, np.float32)) for arm, p in told["probability"].items()}, told["parameters"],
    )  # fmt: skip


def _held_out() -> list[Sample]:
    """The drawn test images behind every score."""
    experiment = EXPERIMENTS[EXPERIMENT]
    test = open_dataset(experiment.data, None, "test", size=experiment.options["size"], count=HELD_OUT)
    return [test[i] for i in range(HELD_OUT)]


def train_live(
    seed: int = 0,
    seconds: float | None = 120.0,
    max_steps: int | None = None,
    *,
    every: float = 1.0,
    stop: Callable[[], bool] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Snapshot]:
    """Train both arms and hand out a snapshot about every second; the last one is "finished" or "stopped".

    With `seconds` the rate falls to zero as the time runs out, however fast the computer is. Without, nothing depends
    on a clock but when snapshots come: the same seed and steps give the same numbers, bit for bit, on one machine.

    Nothing runs between two snapshots that are asked for, no thread and no process: whoever closes the generator (or
    forgets it) ends the training, and its memory is free.

    Args:
        seed: of weights, order and windows, from 0.
        seconds: for both arms together, from the first snapshot to the last, scoring included; None: no clock.
        max_steps: of each arm, at most; needed where there is no clock.
        every: least number of seconds between two snapshots.
        stop: asked after every step; True ends the training with one more snapshot.
        clock: seconds, ever growing; for tests.

    Returns:
        A generator of snapshots; the first is of step 0.

    Raises:
        ValueError: a seed, time or number of steps that makes no sense; while it runs: a loss that is not finite.
    """
    _check(seed, seconds, max_steps)
    return _train(seed, seconds, max_steps, every, stop or (lambda: False), clock)


def _check(seed: int, seconds: float | None, max_steps: int | None) -> None:
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise ValueError(f"seed={seed!r} must be a whole number from 0 to {2**32 - 1}.")
    if seconds is None and max_steps is None:
        raise ValueError("give seconds, or max_steps, or both: a training must end.")
    if seconds is not None and not 0 < seconds < math.inf:
        raise ValueError(f"seconds={seconds!r} must be more than 0.")
    if max_steps is not None and max_steps < 1:
        raise ValueError(f"max_steps={max_steps!r} must be 1 or more.")


def _train(
    seed: int,
    seconds: float | None,
    max_steps: int | None,
    every: float,
    stop: Callable[[], bool],
    clock: Callable[[], float],
) -> Iterator[Snapshot]:
    start = clock()
    with _one_thread():
        pair = _Pair(seed)
        pair.score()
        scored_at = told_at = begun = clock()
        scoring = begun - start  # seconds that a score takes, at most
        first = pair.snapshot("training", max_steps, begun - start, seconds)
    yield first
    state, told = "training", 0
    while state == "training":
        # Never across a yield: the next stretch may run in another thread (Gradio's does).
        with _one_thread():
            while True:
                now = clock()
                each = (now - begun) / max(1, pair.steps)  # seconds a step of both arms takes, with all that belongs
                left = math.inf if seconds is None else start + seconds - now - scoring - each  # for further steps
                if stop():
                    state = "stopped"
                    break
                if pair.steps and (left <= 0 or pair.steps == max_steps):
                    state = "finished"
                    break
                if now - told_at >= every and pair.steps > told:
                    break
                pair.planned = _planned(pair.steps, each, left, max_steps)
                pair.step()
                due = pair.steps % SCORE_STEPS == 0 if seconds is None else clock() - scored_at >= SCORE_EVERY
                if due:
                    before_score = clock()
                    pair.score()
                    scored_at = clock()
                    scoring = scored_at - before_score
                time.sleep(0)  # lets the threads that answer clicks have Python
            if state != "training" and pair.scored[-1] != pair.steps:
                pair.score()
            told_at, told = clock(), pair.steps
            planned = pair.planned if state == "training" else pair.steps
            snapshot = pair.snapshot(state, planned, told_at - start, seconds)
        yield snapshot


def _planned(done: int, each: float, left: float, max_steps: int | None) -> int | None:
    """Steps that there will be in all; None as long as nobody can know."""
    if not done or left == math.inf:
        return max_steps
    planned = done + max(1, round(left / each))
    return planned if max_steps is None else min(planned, max_steps)


class _Pair:
    """The two networks, what they learn from, and what was noted so far."""

    def __init__(self, seed: int):
        experiment = EXPERIMENTS[EXPERIMENT]
        self.seed, self.steps, self.planned = seed, 0, None
        cells = {name: Cell(arm, seed) for name, arm in ARMS.items()}
        with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they are
            self.nets = {name: build_network(experiment, cell).train() for name, cell in cells.items()}
        self.config = training_of(experiment, cells["guided"])
        self.train = open_dataset(experiment.data, None, "train", **experiment.options)
        self.test = _held_out()
        self.losses: dict[str, list[float]] = {name: [] for name in ARMS}
        self.scored: list[int] = []
        self.scores: dict[str, dict[str, list[float]]] = {name: {"nsd1": [], "iou": []} for name in ARMS}

    @cached_property  # making one loads torch's compiler, which `before` need not wait for
    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {name: make_optimizer(net, self.config) for name, net in self.nets.items()}

    def step(self) -> None:
        """One step of each arm on the same batch."""
        # As long as nobody knows how many steps there will be, it is warm-up, which does not depend on it.
        config = replace(self.config, steps=max(self.steps + 1, self.planned or self.config.steps))
        batch = make_batch(self.train, config, self.steps)
        for name, net in self.nets.items():
            losses = train_step(net, self.optimizers[name], batch, config, self.steps)
            self.losses[name].append(float(losses["total"].detach()))
        self.steps += 1

    def score(self) -> None:
        """Both arms on the held-out images."""
        self.scored.append(self.steps)
        for name, net in self.nets.items():
            summary = evaluate(net.eval(), self.test)["summary"]
            net.train()
            for metric, values in self.scores[name].items():
                values.append(float(summary[metric]["mean"]))

    def snapshot(self, state: str, planned: int | None, seconds: float, budget: float | None) -> Snapshot:
        shown, probability = self.test[SHOWN], {}
        for name, net in self.nets.items():
            probability[name] = _kept(predict_probability(net.eval(), shown.image))
            net.train()
        return Snapshot(
            state, self.seed, self.steps, planned, seconds, budget,
            {name: _kept(np.array(values, np.float32)) for name, values in self.losses.items()},
            _kept(np.array(self.scored, int)),
            {name: {m: _kept(np.array(v, float)) for m, v in own.items()} for name, own in self.scores.items()},
            len(self.test), _kept(shown.image.copy()), _kept(shown.mask.copy()), probability,
            sum(p.numel() for p in self.nets["guided"].parameters()),
        )  # fmt: skip


def _kept(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch use one thread here, so that a training leaves the other cores to whoever clicks.

    torch.set_num_threads holds for the calling thread (measured on torch 2.13 with OpenMP: a thread that has used torch
    before keeps its number). A thread that first uses torch meanwhile starts with one as well, which suits it while a
    training runs; Gradio's threads end after ten idle seconds.
    """
    number = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(number)
