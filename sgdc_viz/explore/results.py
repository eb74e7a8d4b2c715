"""What somebody takes home: masks, probabilities, figures and numbers in one zip file, made in memory.

Equal inputs give equal bytes: no date, no file name and no name of a person is written.
"""

from __future__ import annotations

import csv
import io
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sgdc_viz import __version__
from sgdc_viz.learn.metrics import evaluate_masks
from sgdc_viz.learn.predict import at_size
from sgdc_viz.views import Figure

from .pair import Pair
from .whole import Whole, count_objects

# Heading of a column -> key in the metrics of `evaluate_masks`.
MEASURES = {"IoU (0 to 1)": "iou", "Dice (0 to 1)": "dice", "HD95 (pixels)": "hd95",
            "surface Dice at 1 px (0 to 1)": "nsd1", "surface Dice at 2 px (0 to 1)": "nsd2",
            "boundary IoU (0 to 1)": "boundary_iou"}  # fmt: skip
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # a text that begins so could be run by a spreadsheet
CITATION = (
    "Shi, B., Zhu, W.-P., Swamy, M. N. S.: SGDC: Structurally-Guided Dynamic Convolution for Medical Image "
    "Segmentation. Medical Imaging with Deep Learning 2026, PMLR 315, 989-1003. arXiv 2602.23496"
)
README = """What this is
============
Masks that small research networks (Structure-Guided Dynamic Convolution, SGDC) drew into an image, with numbers.
Made by sgdc_viz {version}, a teaching toolkit.

NOT A MEDICAL DEVICE. Not for diagnosis, nor for any decision about a patient: these networks were never tested for it.

Files
=====
{files}
Networks
========
{networks}
How to read the numbers
=======================
- All lengths and areas are in pixels of the image as it was given, upright; rows and columns count from 0 and include
  the last. Shares and scores go from 0 to 1.
- objects: connected parts of the mask; objects that touch, even at a corner, count as one.
- Scores (IoU, Dice, HD95, ...) compare the mask with the truth, the mask that came with the image. They are empty where
  no truth is known, and where neither the truth nor the mask has an object. If one of both is empty, HD95 is the
  diagonal of what was compared, and "one mask empty" is 1. Definitions: sgdc_viz.learn.metrics.
- boundary IoU compares bands along the inside of the outlines, as wide as a fiftieth of the image's diagonal; where
  objects are thinner than twice that, the bands are the objects, and it is the IoU.
- faithfulness: largest difference between a value rebuilt from the recorded parts of the network and its own; empty
  where nothing inside the network was recorded.
- The table is separated by commas and has a decimal point.

Cite
====
{citation}
"""


@dataclass(frozen=True, eq=False)
class Result:
    """What one network says about an image, or about a part of it.

    Attributes:
        label: row name, such as "guided".
        model: which weights, such as "nuclei-structure".
        mask: bool [h, w], at the given image's own scale.
        image: (rows, columns) of the given image.
        part: (y0, x0, y1, x1), the part of the image that `mask` covers; all of it by default.
        change: what was changed in the network while it ran; "" for nothing.
        pool_size: p in feature pixels where kernels are shared by p x p blocks.
        probability: float [h, w], 0..1, of being object; None if it is not handed on.
        metrics: as `sgdc_viz.learn.metrics.evaluate_masks` gives them; None without truth.
        faithfulness: see the README in the zip file.
    """

    label: str
    model: str
    mask: np.ndarray
    image: tuple[int, int]
    part: tuple[int, int, int, int] | None = None
    change: str = ""
    pool_size: int | None = None
    probability: np.ndarray | None = None
    metrics: Mapping[str, float] | None = None
    faithfulness: float | None = None

    @property
    def box(self) -> tuple[int, int, int, int]:
        return self.part or (0, 0, *self.image)

    def __post_init__(self):
        y0, x0, y1, x1 = self.box
        if self.mask.dtype != bool or self.mask.shape != (y1 - y0, x1 - x0):
            raise ValueError(
                f"mask of {self.label!r} is {self.mask.dtype} {self.mask.shape}; it covers {y1 - y0} rows and "
                f"{x1 - x0} columns, so give bool {(y1 - y0, x1 - x0)}."
            )


def result_of_whole(label: str, model: str, whole: Whole, pool_size: int | None = None) -> Result:
    """A whole segmented image, from `Explorer.whole`; names from `Explorer.names_of`."""
    return Result(label, model, whole.mask, whole.mask.shape, pool_size=pool_size, probability=whole.probability,
                  metrics=whole.metrics)  # fmt: skip


def results_of_pair(pair: Pair, truth: np.ndarray | None = None) -> list[Result]:
    """What the networks of a pair say about what they saw: the image, or the part of it that is looked at.

    Where they saw it at another scale, their logits are brought to the image's own as `predict_probability` does.

    Args:
        truth: of the image as it was given, [H, W]; needed only where the networks saw it at another scale.

    Raises:
        ValueError: the truth is known to the pair at another scale than the image's own, and not given.
    """
    arms, names = pair.explorer.arms_of(pair.family), pair.explorer.names_of(pair.family)
    models = {arm.source: names[label] for label, arm in arms.items()}
    box = pair.place.box
    size = (box[2] - box[0], box[3] - box[1])
    own_scale = pair.image.shape[:2] == size
    if pair.truth is not None and truth is None and not own_scale:
        raise ValueError("the networks saw this image at another scale: give the truth of the image as it was given.")
    results = []
    for label, run in pair.runs.items():
        probability, arm, metrics = run.probability, pair.arms[label], pair.prediction(run).metrics
        if not own_scale:
            logits = torch.from_numpy(probability)[None, None].clamp(1e-7, 1 - 1e-7).logit()
            probability = at_size(logits, size)[0, 0].sigmoid().numpy()
        mask = probability > 0.5
        if truth is not None and not own_scale:
            metrics = evaluate_masks(mask, truth[box[0] : box[2], box[1] : box[3]] > 0)
        results.append(Result(
            label, models[arm.source], mask, pair.place.given or size, box if pair.place.part else None,
            arm.change or "", run.pool_size, probability, metrics, run.maps.faithfulness,
        ))  # fmt: skip
    return results


def results_csv(results: Sequence[Result]) -> bytes:
    """The numbers as a table for a spreadsheet: one row for each network, units in the headings.

    UTF-8; with the mark at its beginning that Excel wants only if there is a letter outside ASCII, because other
    programs take the mark for a part of the first heading. No text is left that a spreadsheet would run as a formula.

    Raises:
        ValueError: no results.
    """
    if not results:
        raise ValueError("there are no results yet: segment an image first.")
    head = [
        "network", "model", "change", "kernel pool size (feature pixels)", "image height (pixels)",
        "image width (pixels)", "first row", "last row", "first column", "last column", "objects (count)",
        "object area (pixels)", "object area (share of the part, 0 to 1)", "truth", *MEASURES,
        "one mask empty (0 or 1)", "faithfulness (largest difference)",
    ]  # fmt: skip
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(head)
    for r in results:
        (y0, x0, y1, x1), area = r.box, int(np.count_nonzero(r.mask))
        scores = r.metrics or {}
        truth = "unknown" if r.metrics is None else "known"
        writer.writerow([
            *(_text(value) for value in (r.label, r.model, r.change)), _number(r.pool_size), *r.image, y0, y1 - 1, x0,
            x1 - 1, count_objects(r.mask), area, _number(area / r.mask.size), truth,
            *(_number(scores.get(key)) for key in MEASURES.values()), _number(scores.get("failure")),
            _number(r.faithfulness),
        ])  # fmt: skip
    written = text.getvalue()
    return written.encode("ascii" if written.isascii() else "utf-8-sig")


def results_zip(
    results: Sequence[Result], figures: Mapping[str, Figure] | None = None, *, probabilities: bool = False
) -> bytes:
    """Everything in one zip file: masks and figures as PNG, the table, and a README.txt that says what they are.

    Args:
        results: from `result_of_whole` and `results_of_pair`.
        figures: file name without ending -> figure.
        probabilities: add the probabilities as PNG of 16 bits, 0..65535 for 0..1 (up to 20 MB each).

    Raises:
        ValueError: no results.
    """
    files, told = {}, []
    for number, r in enumerate(results, start=1):
        y0, x0, y1, x1 = r.box
        part = "" if r.box == (0, 0, *r.image) else f", rows {y0} to {y1 - 1}, columns {x0} to {x1 - 1} of the image"
        name = f"{number}-{_file_name(r.label)}"
        files[f"{name}-mask.png"] = mask_png(r.mask)
        told.append(f"- {name}-mask.png: mask of {r.label}, 255 object and 0 background{part}.")
        if probabilities and r.probability is not None:
            files[f"{name}-probability.png"] = probability_png(r.probability)
            told.append(f"- {name}-probability.png: probability of object, 0 to 65535 for 0 to 1{part}.")
    files["numbers.csv"] = results_csv(results)
    told.append("- numbers.csv: one row for each network.")
    for name, figure in (figures or {}).items():
        files[f"{_file_name(name)}.png"] = figure.to_png()
        told.append(f"- {_file_name(name)}.png: {figure.title}.")
    networks = dict.fromkeys(f"- {r.label}: {r.model}" + f", changed: {r.change}" * bool(r.change) for r in results)
    readme = README.format(version=__version__, files="\n".join(told) + "\n", networks="\n".join(networks) + "\n",
                           citation=CITATION)  # fmt: skip
    files = {"README.txt": readme.encode(), **files}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))  # the oldest date that a zip file can hold
            entry.create_system, entry.external_attr = 3, 0o644 << 16  # the same on every system
            entry.compress_type = zipfile.ZIP_STORED if name.endswith(".png") else zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return packed.getvalue()


def mask_png(mask: np.ndarray) -> bytes:
    """bool [H, W] -> PNG of 0 and 255."""
    return png(mask.astype(np.uint8) * 255)


def probability_png(probability: np.ndarray) -> bytes:
    """float [H, W], 0..1 -> PNG of 16 bits, 0..65535."""
    return png(np.rint(probability.astype(np.float32) * 65535).astype(np.uint16))


def png(pixels: np.ndarray, software: str = "sgdc_viz") -> bytes:
    """uint8 or uint16 [H, W], or uint8 [H, W, 3] -> PNG with the same numbers that says what made it."""
    file, info = io.BytesIO(), PngInfo()
    info.add_text("Software", software)
    Image.fromarray(pixels).save(file, "PNG", compress_level=6, pnginfo=info)
    return file.getvalue()


def _file_name(text: str) -> str:
    """Letters and digits that every system takes: "kernels permuted" -> "kernels-permuted"."""
    safe = "".join(c if c.isascii() and c.isalnum() else "-" for c in text)
    return "-".join(filter(None, safe.split("-")))[:60] or "result"


def _text(value: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{value}" if value.startswith(FORMULA) else value


def _number(value: float | None) -> str:
    """6 digits; empty where there is none."""
    return "" if value is None or math.isnan(value) else f"{value:.6g}"
