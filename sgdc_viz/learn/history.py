"""A training as a film: the weights of one network at a few steps, in one small file.

`fit(..., keep=(0, 10, 20, ...))` keeps a checkpoint at each of these steps. `pack_history` makes one file of them:

- Weights of two and more dimensions are stored in half precision (10 bits of mantissa), vectors (biases, norms, layer
  scales) in float32. What that changes in the predictions is measured when the file is made and stands in it.
- All steps of one weight are one tensor [steps, ...], so that the names stand in the file once.

The shipped pair is narrower (`SMALL`) than the shipped models: twelve steps of both arms then take 4 MB together, where
the compact network would take 28. It learns the same task with the same blocks; its numbers are its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sgdc_viz import __version__, assets_dir
from sgdc_viz.data import Sample
from sgdc_viz.nn import SGDCNet, SGDCNetConfig

from .checkpoints import (
    FORMAT_VERSION,
    HISTORY_FORMAT,
    HISTORY_PREFIX,
    CheckpointInfo,
    check_writable,
    load_checkpoint,
    read_safetensors,
    write_safetensors,
)
from .metrics import evaluate_masks, summarise
from .predict import predict_probability
from .train import HISTORY_FILE, KEPT_FOLDER

# 77,437 parameters: the compact network with narrower layers, all else equal.
SMALL = dict(encoder_channels=(8, 12, 16, 24), decoder_channels=(12, 16, 20, 24), mid_channels=16, guidance_channels=8)


@dataclass(frozen=True, eq=False)
class TrainingHistory:
    """One training at a few steps. Made by `load_history`.

    Attributes:
        name: such as "synthetic-structure".
        config: the network's settings.
        steps: the steps kept, ascending; 0 is before training.
        losses: float32 [last step], the training loss ("total") of every optimizer step, kept or not.
        scores: by metric ("iou", "nsd1"): float [len(steps)], mean over `tested` images, with the weights as stored.
        tested: number of test images behind `scores`.
        rounding: what storing the weights in half precision changes in the predictions, over all steps and test
            images: "probability", the largest change of a probability, and "mask", the share of mask pixels that flip.
        data, training: as in `CheckpointInfo`.
    """

    name: str
    config: SGDCNetConfig
    steps: tuple[int, ...]
    losses: np.ndarray
    scores: dict[str, np.ndarray]
    tested: int
    rounding: dict[str, float]
    data: dict
    training: dict
    _weights: dict[str, Tensor] = field(repr=False)

    def model(self, step: int) -> SGDCNet:
        """The network as it was after `step` optimizer steps, in eval mode; made anew at each call.

        Raises:
            ValueError: a step that was not kept; the message lists those that were.
        """
        if step not in self.steps:
            kept = ", ".join(map(str, self.steps))
            raise ValueError(f"step={step!r} of {self.name!r} was not kept: choose one of {kept}.")
        return _network(self, {name: values[self.steps.index(step)] for name, values in self._weights.items()}, step)


def _network(history: TrainingHistory, weights: dict[str, Tensor], step: int) -> SGDCNet:
    model = SGDCNet(history.config)
    model.load_state_dict(weights)  # half precision becomes float32 again as it is copied
    model.info = CheckpointInfo(f"{history.name} step {step}", history.config, history.data, {}, history.training)
    return model.eval()


def list_histories() -> tuple[str, ...]:
    """Names of the histories that ship with sgdc_viz."""
    paths = assets_dir().glob(f"{HISTORY_PREFIX}*.safetensors")
    return tuple(sorted(path.stem.removeprefix(HISTORY_PREFIX) for path in paths))


def load_history(name: str | Path) -> TrainingHistory:
    """A shipped history by name ("synthetic-structure"), or a file of `pack_history` by path.

    Raises:
        FileNotFoundError, ValueError: one sentence that names the file and the remedy.
    """
    path = Path(name)
    if path.suffix != ".safetensors":
        if str(name) not in list_histories():
            known = ", ".join(list_histories()) or "none: the files are missing in the assets folder"
            raise ValueError(f"there is no training history {str(name)!r}. Known: {known}.")
        path = assets_dir() / f"{HISTORY_PREFIX}{name}.safetensors"
    tensors, metadata = read_safetensors(path)
    if metadata.get("format") != HISTORY_FORMAT:
        raise ValueError(f"{str(path)!r} is no training history: make one with sgdc_viz.learn.history.pack_history.")
    if int(metadata["format_version"]) > FORMAT_VERSION:
        raise ValueError(f"{str(path)!r} was written by a newer sgdc_viz ({metadata.get('sgdc_viz')}): update yours.")
    try:
        told = json.loads(metadata["history"])
        history = TrainingHistory(
            name=path.stem.removeprefix(HISTORY_PREFIX), config=SGDCNetConfig.from_dict(told["config"]),
            steps=tuple(told["steps"]), losses=tensors.pop("losses").numpy(),
            scores={key: np.asarray(values) for key, values in told["scores"].items()}, tested=told["tested"],
            rounding=told["rounding"], data=told["data"], training=told["training"], _weights=tensors,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{str(path)!r} has settings that cannot be read: {error}") from error
    own, count = SGDCNet(history.config).state_dict(), len(history.steps)
    if {name: (count, *value.shape) for name, value in own.items()} != {n: tuple(t.shape) for n, t in tensors.items()}:
        raise ValueError(
            f"{str(path)!r} does not fit its own settings: it was changed after it was saved. Get it again."
        )
    return history


def pack_history(run: str | Path, path: str | Path, test: Iterable[Sample]) -> TrainingHistory:
    """Make one file of the checkpoints that `fit(..., out=run, keep=...)` kept, atomically.

    Args:
        run: folder of a finished training.
        path: the file to write, .safetensors.
        test: images with truth that nothing was trained or tuned on: they give the score of every step, and measure
            what half precision changes.

    Returns:
        The history, read back from the file.

    Raises:
        FileNotFoundError: `run` kept no checkpoint, or its training is not finished.
        ValueError: the checkpoints are of different trainings, or a weight does not fit into half precision.
    """
    run, path, test = Path(run), Path(path), list(test)
    if path.suffix != ".safetensors":
        raise ValueError(f"the file to write, {str(path)!r}, must end in .safetensors.")
    check_writable(path.parent)
    files = sorted((run / KEPT_FOLDER).glob("step-*.safetensors"))
    if not files or not (run / HISTORY_FILE).exists():
        raise FileNotFoundError(f"{str(run)!r} is no finished training with kept checkpoints: train with --keep 0,50.")
    if not test:
        raise ValueError("there is no test image to measure the kept steps on.")
    models = [load_checkpoint(file) for file in files]
    first = models[0]
    for model, file in zip(models, files, strict=True):
        if model.config != first.config or model.info.training["config"] != first.info.training["config"]:
            raise ValueError(f"{str(file)!r} is of another training than {files[0].name}: keep runs in folders apart.")
    steps = tuple(model.info.training["step"] for model in models)
    stacks = [torch.stack(values) for values in zip(*(m.state_dict().values() for m in models), strict=True)]
    stored = {name: _half(name, stack) for name, stack in zip(first.state_dict(), stacks, strict=True)}
    records = json.loads((run / HISTORY_FILE).read_text(encoding="utf-8"))
    losses = np.asarray([record["total"] for record in records], np.float32)
    history = TrainingHistory(
        path.stem.removeprefix(HISTORY_PREFIX), first.config, steps, losses, {}, len(test), {}, first.info.data,
        {"config": first.info.training["config"]}, stored,
    )  # fmt: skip
    scores, rounding = _measure(history, models, test)
    told = {
        "config": first.config.to_dict(), "steps": steps, "scores": scores, "tested": len(test), "rounding": rounding,
        "data": history.data, "training": history.training,
    }  # fmt: skip
    metadata = {"format": HISTORY_FORMAT, "format_version": str(FORMAT_VERSION), "sgdc_viz": __version__}
    metadata["history"] = json.dumps(told, allow_nan=False)
    write_safetensors(path, {**stored, "losses": torch.from_numpy(losses)}, metadata)
    return load_history(path)


def _half(name: str, stack: Tensor) -> Tensor:
    """[steps, ...]: matrices and filters in half precision; vectors are few and set whole channels, they stay."""
    if stack.ndim < 3 or not stack.is_floating_point():
        return stack
    half = stack.half()
    if not torch.isfinite(half).all():
        raise ValueError(f"a weight in {name!r} is over 65504, the largest half-precision number: this run diverged.")
    return half


def _measure(history: TrainingHistory, models: list[SGDCNet], test: list[Sample]) -> tuple[dict, dict]:
    """(scores of the stored weights, {"iou": [...], "nsd1": [...]}; what the rounding changes)."""
    scores, largest, flipped = {"iou": [], "nsd1": []}, 0.0, []
    for step, exact in zip(history.steps, models, strict=True):
        rounded, records = history.model(step), []
        for sample in test:
            probability = predict_probability(rounded, sample.image)
            before = predict_probability(exact, sample.image)
            largest = max(largest, float(np.abs(probability - before).max()))
            flipped.append(float(np.mean((probability > 0.5) != (before > 0.5))))
            records.append(evaluate_masks(probability > 0.5, sample.mask > 0))
        summary = summarise(records)
        for metric, values in scores.items():
            values.append(round(summary[metric]["mean"], 6))
    return scores, {"probability": round(largest, 6), "mask": round(float(np.mean(flipped)), 8)}


def card(history: TrainingHistory, command: str, tested: dict) -> str:
    """What a history is, in Markdown: how it was trained, what half precision changes, the score of every step.

    Args:
        command: the command line that trained it.
        tested: `describe()` of the test images.
    """
    training, data = history.training["config"], history.data
    parameters = sum(p.numel() for p in history.model(history.steps[0]).parameters())
    lines = [
        f"# History of {history.name}",
        "",
        f"One training, seen at {len(history.steps)} steps, for `sgdc_viz.learn.history.load_history`. It is",
        f"a narrower network ({parameters:,} parameters, kernels from `{history.config.kernel_source}` context) than",
        "those that ship for prediction. For teaching and research; not a medical device.",
        "",
        f"- Trained on: {data['name']}, {data['images']} images (split rule: {data['rule']}), seed {training['seed']},"
        f" {training['steps']} steps, batches of {training['batch_size']} windows of {training['crop']} x"
        f" {training['crop']} px.",
        f"- Scores below: mean over {history.tested} images of {tested['name']}, split `{tested['split']}`, none seen"
        " in training.",
        "- Weights are stored in half precision, vectors in float32: that changes a probability by at most"
        f" {history.rounding['probability']:.3f} (all steps, all test images) and flips"
        f" {history.rounding['mask']:.4%} of the mask pixels.",
        "- Step 0 is before training. In the first tens of steps batch norm's running averages lag behind the weights,"
        " so that these networks predict worse than they trained.",
        "",
        "```",
        command,
        "```",
        "",
        "| step | IoU | surface Dice at 1 px |",
        "|---|---|---|",
    ]
    scores = zip(history.steps, history.scores["iou"], history.scores["nsd1"], strict=True)
    return "\n".join(lines + [f"| {step} | {iou:.3f} | {nsd1:.3f} |" for step, iou, nsd1 in scores]) + "\n"
