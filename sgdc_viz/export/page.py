"""The exported page: one index.html that holds its style, its scripts, its pictures and every number it shows."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from importlib.resources import files
from pathlib import Path

import numpy as np

from sgdc_viz import __version__
from sgdc_viz.explore import Arm
from sgdc_viz.explore.linked import linked
from sgdc_viz.explore.networks import MEANT_FOR
from sgdc_viz.learn.checkpoints import write_whole
from sgdc_viz.views import CSS, LINKED_JS, Figure, Outline, outlines_of, overview, pooling
from sgdc_viz.views import Picture as Plane
from sgdc_viz.views.boundary_profile import MOST, QUANTITIES, SAME, STEP
from sgdc_viz.views.charts import BOTTOM, HIGH, LEFT, RIGHT, SERIES, SHAPES, TOP, WIDE
from sgdc_viz.views.overview import COLUMNS, edge_agreement, footprint, window_around
from sgdc_viz.views.style import MAPS, MINUS, colour_table, number, png_uri, two_digits

from .outline import normals_everywhere
from .pictures import PICTURES, Picture, Shown, load_pictures
from .stored import TOLERANCE, Array, pack, stored_network

PAGE_FILE = "index.html"
SCRIPTS = ("unpack.js", "numbers.js", "microscope.js", "profile.js", "page.js")
REACH = 12.0  # pixels to each side of an outline
MAP_STEP = 1e-6  # of gates, entropy, probability and the like
IMAGE = "{image}"  # stands in stored HTML for the picture, which is stored once
COMMAND = "python -m sgdc_viz export DIR"


def export_page(folder: str | Path, chosen: Sequence[Shown] = PICTURES) -> Path:
    """Write the page to `folder`/index.html: whole or not at all; other files there stay as they are.

    Args:
        folder: made if need be; an index.html in it is overwritten.
        chosen: which pictures.

    Returns:
        The file written. Two exports on one machine are equal byte for byte.

    Raises:
        ValueError: `folder` is a file, weights are missing, or none of the pictures is there.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{str(folder)!r} is a file: give the name of a folder.")
    page = build_page(load_pictures(chosen))
    write_whole(folder / PAGE_FILE, page.encode())
    return folder / PAGE_FILE


def build_page(pictures: Sequence[Picture]) -> str:
    """The page as HTML. A picture can be looked at as soon as its own part has arrived, in the order given."""
    packed, worst = {}, 0.0
    for picture in pictures:
        data, error = _packed(picture)
        packed[picture.shown.key], worst = base64.b64encode(data).decode(), max(worst, error)
    scripts = "\n".join(_own(name) for name in SCRIPTS)
    link = f"function link(element, trigger, watch) {{\n{LINKED_JS}\n}}"
    weights = sorted({name for picture in pictures for name in picture.names.values()})
    data = "\n".join(
        f'<script type="text/plain" id="data-{escape(key)}">{text}</script><script>arrived("{escape(key)}")</script>'
        for key, text in packed.items()
    )
    parts = {
        "style": f"{CSS}\n{_own('page.css')}",
        "options": "".join(
            f'<option value="{escape(p.shown.key)}">{escape(p.example.title)}</option>' for p in pictures
        ),
        "script": f'"use strict";\nconst FACTS = {_as_script(_facts(pictures))};\n{link}\n{scripts}',
        "version": escape(__version__),
        "command": escape(COMMAND),
        "weights": escape(", ".join(weights)),
        "tolerance": f"{TOLERANCE:.5f}",
        "worst": number(worst, 2),
        "data": data,
    }
    page = _own("page.html")
    for name, text in parts.items():
        page = page.replace(f"<!--{name}-->", text)
    return page


def _own(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _as_script(facts: dict) -> str:
    """JSON that may stand inside a <script>."""
    return json.dumps(facts, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")


def _facts(pictures: Sequence[Picture]) -> dict:
    """What the scripts need to know besides the pictures: colours, looks of lines, sizes of charts, names."""
    tables = {name: ["#" + "".join(f"{c:02x}" for c in colour) for colour in colour_table(MAPS[name])]
              for name in ("kernel", "signed")}  # fmt: skip
    series = [{"colour": colour, "dashes": dashes, "shape": SHAPES[marker], "open": marker in "x+"}
              for colour, dashes, _, marker in SERIES]  # fmt: skip
    return {
        "keys": [picture.shown.key for picture in pictures], "colours": tables, "series": series, "image": IMAGE,
        "minus": MINUS, "chart": {"wide": WIDE, "high": HIGH, "left": LEFT, "right": RIGHT, "top": TOP,
        "bottom": BOTTOM}, "profile": {"step": STEP, "reach": REACH, "same": SAME, "imageStyle": MOST,
        "quantities": QUANTITIES},
    }  # fmt: skip


# --- one picture -----------------------------------------------------------------------------------------------------


def _packed(picture: Picture) -> tuple[bytes, float]:
    """Everything that the page holds of a picture, compressed, and the largest error of its numbers."""
    pair, pixel = picture.pair, picture.pixel
    arrays, errors = {}, []
    for name in pair.runs:
        kept, error = stored_network(pair, name)
        arrays |= {f"{name}.{key}": array for key, array in kept.items()}
        errors.append(error)
    crossing, told = _profile(picture)
    steps = pair.pooling_steps()
    first = pair.first
    figures = {
        "overview": _overview(picture),
        "kernels": pair.kernels(pixel),
        "microscope": replace(pair.microscope(pixel), faithfulness=max(errors),
                              checked="kernels, gates and values made from what this page stores, at every pixel and "
                              "channel"),
        "pooling": _pooling(picture, steps),
        "profile": told,
    }  # fmt: skip
    image = png_uri(pair.image)
    note, outside = picture.note
    facts = {
        "key": pair.key, "title": picture.example.title, "note": note, "outside": outside, "networks":
        f"Networks: {' and '.join(picture.names.values())}, trained on "
        f"{MEANT_FOR[pair.family]}.", "image": image, "height": pair.image.shape[0], "width": pair.image.shape[1],
        "pixel": pixel, "zoom": picture.shown.zoom, "stride": first.stride,
        "share": {name: run.pool_size or 1 for name, run in pair.runs.items()},
        "html": {name: figure.to_html().replace(image, IMAGE) for name, figure in figures.items()},
        "steps": _steps(picture, steps), "masks": pair.predictions(pixel).summary, **crossing[0],
    }  # fmt: skip
    return pack(facts, {**arrays, **crossing[1]}), max(errors)


def _overview(picture: Picture) -> Figure:
    """As in the demo; what the two differences are is measured here, because the page has no other comparison."""
    pair = picture.pair
    guided, pooled = pair.runs.values()
    zeroed = pair.run(Arm(change="guidance zeroed"))

    def along(run) -> float:
        told = (edge_agreement(pair.image, getattr(run.maps, name), run.stride) for name, *_ in COLUMNS)
        return float(np.mean(list(told)))

    strength = float(np.median([getattr(zeroed.maps, name).std() / max(getattr(guided.maps, name).std(), 1e-12)
                                for name, *_ in COLUMNS]))  # fmt: skip
    remark = (
        "Two things differ, per pixel and guidance; fine detail needs only the first: with its guidance set "
        f"to zero, the same network still changes from pixel to pixel, {number(strength, 2)} times as much, and its "
        f"maps follow the image's edges with correlation {two_digits(along(zeroed))} (guided "
        f"{two_digits(along(guided))}, pooled {two_digits(along(pooled))})."
    )
    return overview(
        pair.image, {name: run.maps for name, run in pair.runs.items()}, stride=guided.stride,
        pool_size=pooled.pool_size, pixel=picture.pixel, truth=pair.truth, zoom=picture.shown.zoom, remark=remark,
        key=pair.key,
    )  # fmt: skip


def _pooling(picture: Picture, steps: dict) -> Figure:
    """All pool sizes at once, on one scale; the page shows the row that the slider chooses beside the fixed ones."""
    pair, stride = picture.pair, picture.pair.first.stride
    window = window_around(picture.pixel, pair.image.shape[:2], picture.shown.zoom)
    figure = pooling(pair.image, steps, stride=stride, truth=pair.truth, window=window)
    legend = (("prediction", "outline of the mask with the chosen pool size"), *figure.legend)
    return linked(replace(figure, legend=legend), pair.key, picture.pixel, stride, picture.shown.zoom)


def _steps(picture: Picture, steps: dict) -> list[dict]:
    """What the slider's stops are called, say and outline, and where they stand in the curves."""
    pair = picture.pair
    stride = pair.first.stride
    sizes = [step.pool_size for step in steps.values() if not step.retrained]
    found = []
    for label, step in steps.items():
        figure = pooling(pair.image, steps, stride=stride, truth=pair.truth, chosen=label)
        name = "trained" if step.retrained else "all" if step.pool_size is None else str(step.pool_size)
        at = (sizes.index(step.pool_size) + 0.4) / (len(sizes) - 0.1)
        found.append({"name": name, "label": label, "retrained": step.retrained, "message": figure.message,
                      "summary": figure.summary,
                      "outline": _path(outlines_of(step.probability > 0.5)),
                      "at": round(LEFT + at * (WIDE - LEFT - RIGHT), 1)})  # fmt: skip
    return found


def _path(curves) -> str:
    """Closed curves [n, 2] of (y, x) as an SVG path."""
    return "".join("M" + "L".join(f"{x:g} {y:g}" for y, x in curve[:-1]) + "Z" for curve in curves)


def _profile(picture: Picture) -> tuple[tuple[dict, dict[str, Array]], Figure]:
    """What is read across outlines: (facts, arrays), and the figure around it, whose charts the page draws."""
    pair, pixel = picture.pair, picture.pixel
    runs, first = pair.runs, pair.first
    try:
        contour, contour_is = pair.contour
        normals = normals_everywhere(contour)
    except ValueError:  # nothing is known or predicted to be an object
        contour, contour_is, normals = None, "", None
    arrays = {"grey": Array(pair.image.sum(2, dtype=int) / (3 * 255), 1 / (3 * 255))}
    for name, run in runs.items():
        for key, *_ in QUANTITIES:
            values = getattr(run.profile, key)
            if values is not None:
                arrays[f"{name}.{key}"] = Array(values, MAP_STEP)
    if normals is not None:
        arrays |= {"normals": Array(normals[0], MAP_STEP), "normal": Array(normals[1], 1.0),
                   "labels": Array(contour, 1.0)}  # fmt: skip
    outlines = () if contour is None else (Outline(contour_is, outlines_of(contour)),)
    lead = Plane(pair.image, "The image with its outline and the line that crosses it.", linked=True, outlines=outlines,
                 mark=footprint(pixel, first.stride, 1),
                 window=window_around(pixel, pair.image.shape[:2], picture.shown.zoom))  # fmt: skip
    legend = (
        *((f"series-{i}", name) for i, name in enumerate(runs)), (f"series-{MOST}", "image"),
        *((("truth", contour_is),) if contour_is else ()), ("normal", "the line that is read; its tip is outside"),
        ("footprint", "feature pixel of the selected pixel"),
    )  # fmt: skip
    figure = Figure(
        name="profile", title="Across the outline", message=" ", summary=f"One place, one image, no interval. One "
        f"pixel of gates, kernels and boundary is {first.stride} × {first.stride} image pixels, so nothing finer than "
        f"{first.stride} px can show there.", alt="Profiles across the nearest outline.", rows=(), columns=(),
        cells=(), lead=lead, legend=legend, faithfulness=max(run.maps.faithfulness for run in runs.values()),
    )  # fmt: skip
    facts = {"contourIs": contour_is, "isTruth": contour is not None and contour is pair.truth}
    return (facts, arrays), figure
