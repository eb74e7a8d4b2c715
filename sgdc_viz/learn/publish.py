"""Turn a finished training run into a shipped model: measure it on the test split, keep the numbers, write its card.

No number on a card is typed by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sgdc_viz.data import Dataset
from sgdc_viz.nn import SGDC, SGDCNet

from .checkpoints import check_writable, load_checkpoint, save_checkpoint, write_whole
from .metrics import METRICS, summarise
from .predict import evaluate
from .train import MODEL_FILE

RESULTS_FILE = "results.json"
NAMES = {
    "iou": "IoU",
    "dice": "Dice",
    "nsd1": "surface Dice at 1 px",
    "nsd2": "surface Dice at 2 px",
    "boundary_iou": "boundary IoU",
    "hd95": "HD95 (px)",
}


def publish(run: Path, name: str, command: str, test: Dataset, assets: Path, note: str = "") -> dict:
    """Evaluate the model of a run on `test` and write NAME.safetensors, NAME.md and its part of results.json.

    Models that read the guidance are measured twice more, with the guidance set to zero and with its pixels shuffled:
    the controls that say whether the guidance matters to this model at all.

    Args:
        run: folder of the training run.
        name: such as "nuclei-structure".
        command: the command line that trains it, for the card.
        test: images that nothing was trained or tuned on.
        assets: where the shipped models live.
        note: a sentence for the card, about the data.

    Returns:
        The results, as written to results.json.
    """
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ValueError(f"name={name!r} must be letters, digits, - and _, such as nuclei-structure.")
    check_writable(assets)
    model = load_checkpoint(run / MODEL_FILE)
    result = evaluate(model, test, progress=True)
    controls = {}
    if model.config.kernel_source == "structure":
        for control, change in GUIDANCE_CONTROLS.items():
            with changed_guidance(model, change):
                changed = evaluate(model, test, progress=True)
            difference = {m: paired_difference(changed["images"], result["images"], m) for m in METRICS}
            controls[control] = {"summary": changed["summary"], "difference": difference}
    metrics = for_json({"summary": result["summary"], "controls": controls, "data": test.describe()})
    save_checkpoint(assets / f"{name}.safetensors", model, metrics=metrics)
    write_whole(assets / f"{name}.md", card(model, name, command, metrics, note).encode())

    path = assets / RESULTS_FILE
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    results[name] = {"command": command, **metrics, "images": for_json(result["images"])}
    write_whole(path, json.dumps(results, indent=0, allow_nan=False).encode())
    return results


def shuffle_pixels(guidance: Tensor) -> Tensor:
    """The same values at other places (one fixed random permutation): [B, g, h, w] -> [B, g, h, w]."""
    flat = guidance.flatten(2)
    order = torch.randperm(flat.shape[-1], generator=torch.Generator().manual_seed(0)).to(flat.device)
    return flat[..., order].view_as(guidance)


# What is done to the guidance that a trained network's blocks read, to see whether it matters to them.
GUIDANCE_CONTROLS = {"guidance zeroed": torch.zeros_like, "guidance shuffled": shuffle_pixels}


def average_pixels(x: Tensor) -> Tensor:
    """The mean over all pixels at every pixel: [..., h, w] -> [..., h, w]."""
    return x.mean((-2, -1), keepdim=True).expand_as(x)


@contextmanager
def changed_guidance(
    model: SGDCNet, change: Callable[[Tensor], Tensor], taps: Sequence[str] = ("guidance",)
) -> Iterator[None]:
    """While it lasts, SGDC blocks go on with `change(guidance)` in place of the guidance, in training too.

    taps: change what passes these taps instead, such as "kernels" or "gate_static".
    """
    places = [getattr(block, tap) for block in model.modules() if isinstance(block, SGDC) for tap in taps]
    handles = [place.register_forward_hook(lambda module, args, output: change(output)) for place in places]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def paired_difference(first: Sequence[dict], second: Sequence[dict], metric: str) -> dict:
    """Mean of first - second over the images in which both are defined, with a 95 % bootstrap interval over images.

    Args:
        first, second: per-image records with "name", in the same order (as `evaluate` gives them).
        metric: such as "iou".

    Returns:
        {"mean", "low", "high", "count"}; one training seed each, so the interval does not cover seed to seed variation.
    """
    if [r["name"] for r in first] != [r["name"] for r in second]:
        raise ValueError("the two results are of different images: evaluate both models on the same split.")
    pairs = [(a[metric], b[metric]) for a, b in zip(first, second, strict=True)]
    differences = [a - b for a, b in pairs if a is not None and b is not None and np.isfinite(a - b)]
    return summarise([{metric: value} for value in differences])[metric]


def card(model: SGDCNet, name: str, command: str, metrics: dict, note: str) -> str:
    """The model card, in Markdown."""
    info, training, data, tested = model.info, model.info.training["config"], model.info.data, metrics["data"]
    parameters = sum(p.numel() for p in model.parameters())
    scale = "its own pixels" if data["longest_side"] is None else f"longest side {data['longest_side']} px"
    side, failures = info.config.pool_size, metrics["summary"]["failures"]
    source = f"kernels from `{info.config.kernel_source}` context"
    source += f" (blocks of {side} x {side} feature pixels)" if info.config.kernel_source == "pooled" else ""
    drawn = "drawn " if data["name"].startswith("synthetic") else ""
    columns = {"as trained": metrics["summary"]} | {n: c["summary"] for n, c in metrics["controls"].items()}
    lines = [
        f"# {name}",
        "",
        f"SGDCNet, compact, {source}, {parameters:,} parameters. For teaching and research; not a medical device.",
        "",
        f"- Meant for: {drawn}{data['kind']} images; the image is used at {scale}.",
        f"- Trained on: {data['name']}, {data['images']} images in {data['groups']} groups"
        f" (split rule: {data['rule']}; fingerprint of the image names {data['names_sha256'][:12]}).",
        f"- Measured on: {tested['name']}, split `{tested['split']}`, {tested['images']} images in"
        f" {tested['groups']} groups, none of them seen in training; nothing was tuned on them"
        f" (fingerprint {tested['names_sha256'][:12]}).",
        f"- Seed {training['seed']}, {training['steps']} steps, batches of {training['batch_size']} windows of"
        f" {training['crop']} x {training['crop']} px.",
        *([f"- {note}"] if note else []),
        "",
        "```",
        command,
        "```",
        "",
        "Mean over images, and its 95 % bootstrap interval over images"
        f" ({failures} {'image' if failures == 1 else 'images'} where nothing was found or all was a false alarm):",
        "",
        "| | " + " | ".join(columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    for metric in METRICS:
        cells = [f"{s[metric]['mean']:.3f} [{s[metric]['low']:.3f}, {s[metric]['high']:.3f}]" for s in columns.values()]
        lines.append(f"| {NAMES[metric]} | " + " | ".join(cells) + " |")
    if metrics["controls"]:
        lines += [
            "",
            "The controls use the same weights; only the guidance that the SGDC blocks read is changed.",
        ]
    return "\n".join(lines) + "\n"


def for_json(value, digits: int | None = 6):
    """The same with floats rounded to some digits (None: as they are) and NaN and infinity as None: JSON knows none."""
    if isinstance(value, dict):
        return {key: for_json(item, digits) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [for_json(item, digits) for item in value]
    if isinstance(value, float):
        return None if not np.isfinite(value) else value if digits is None else round(value, digits)
    return value


def results_table(results: dict) -> str:
    """The shipped pairs side by side, in Markdown; the README carries it and a test compares.

    Differences are paired by image, with a 95 % bootstrap interval over images: structure minus pooled, and the two
    controls, the structure model with its guidance zeroed or shuffled minus itself as trained.
    """
    lines = [
        "| test images | | guided | pooled | guided - pooled | guidance zeroed - as trained | shuffled - as trained |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind in ("nuclei", "dermoscopy", "synthetic"):
        guided, pooled = results[f"{kind}-structure"], results[f"{kind}-pooled"]
        for row, metric in enumerate(("nsd1", "iou", "hd95")):
            digits = 2 if metric == "hd95" else 3
            gaps = [paired_difference(guided["images"], pooled["images"], metric)]
            gaps += [guided["controls"][c]["difference"][metric] for c in ("guidance zeroed", "guidance shuffled")]
            cells = [
                f"{kind}, {guided['summary']['images']}" if row == 0 else "",
                NAMES[metric],
                *(f"{arm['summary'][metric]['mean']:.{digits}f}" for arm in (guided, pooled)),
                *(f"{g['mean']:+.{digits}f} [{g['low']:+.{digits}f}, {g['high']:+.{digits}f}]" for g in gaps),
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
