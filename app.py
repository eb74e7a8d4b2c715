"""The demo: pick an image, click a pixel, see what kernels made per pixel or per block do there, guided or not.

    make demo            or            python app.py [--port 7860] [--no-browser]

Wiring only: every number and every figure comes from sgdc_viz. Nothing leaves this computer, and uploaded images are
not kept: the file is deleted as soon as it is read, the pixels are forgotten once a few others have been looked at.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import threading
from collections import OrderedDict
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import NamedTuple

import gradio as gr
import numpy as np

from sgdc_viz.data import load_image
from sgdc_viz.data.samples import Example, example, examples
from sgdc_viz.explore import COMPARISONS, UNTRAINED, Arm, Explorer, Pair, Place, families, missing_weights
from sgdc_viz.explore.networks import digest
from sgdc_viz.views import CSS, LINKED_JS

MAX_UPLOAD = 20 * 2**20  # bytes
KEEP_UPLOADS = 8  # images
FIRST = "immunohistochemistry"
PARTS = 10  # of the page, that `show` makes
AUTOMATIC = -1  # the channel with the largest value, the same one for all networks
MEANT_FOR = {"nuclei": "cell nuclei", "dermoscopy": "skin lesions", "synthetic": "drawn skin lesions"}

explorer = Explorer()


class View(NamedTuple):
    """What a visitor's page shows: image, networks, what they are compared with, and the selected pixel."""

    key: str
    family: str
    versus: str
    y: int
    x: int


uploads: OrderedDict[str, np.ndarray] = OrderedDict()  # images that users brought, by hash; bounded, in memory only
uploads_lock = threading.Lock()
# Gradio writes uploads to a folder for temporary files: one of our own, that goes when the demo ends.
scratch = tempfile.TemporaryDirectory(prefix="sgdc-demo-", ignore_cleanup_errors=True)


# --- from keys to pictures -------------------------------------------------------------------------------------------


def image_of(key: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Image key -> (image, truth or None where nobody knows it)."""
    with uploads_lock:
        if key in uploads:
            uploads.move_to_end(key)
            return uploads[key], None
    if key.startswith("upload-"):
        raise ValueError("that image is no longer kept: upload it again.")
    return loaded(key)


@lru_cache
def loaded(key: str) -> tuple[np.ndarray, np.ndarray | None]:
    return example(key).load()


@lru_cache(maxsize=4)  # a click asks for the same pair again and again; a large image takes long to scale and hash
def look(key: str, family: str, versus: str) -> Pair:
    image, truth = image_of(key)
    return explorer.compare(family, image, {"guided": Arm(), versus: COMPARISONS[versus]}, truth)


def offers(key: str) -> list[tuple[str, str]]:
    """Choices of networks for an image, (text, family): the one meant for it first, the control last."""
    meant = None if key.startswith("upload-") else example(key).family
    ready = sorted(families(), key=lambda f: f != meant)
    choices = [(f"trained on {MEANT_FOR[f]}" + (" · meant for this image" if f == meant else ""), f) for f in ready]
    return [*choices, ("random weights · a control, nothing learnt", UNTRAINED)]


def comparisons(family: str) -> list[tuple[str, str]]:
    """Choices of what the guided network is compared with, (text, row name); random weights not with themselves."""
    told = {"pooled": "pooled · trained, kernels per block", "random weights": "random weights · nothing learnt"}
    return [
        (told.get(name, f"{name} · not retrained"), name)
        for name in COMPARISONS
        if name != "random weights" or family != UNTRAINED
    ]


def images(mine: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    """Choices of images, (text, key): the examples, and what this visitor brought (text, key) as long as it is kept."""
    with uploads_lock:
        return [(e.title, e.key) for e in examples()] + [(text, key) for text, key in mine if key in uploads]


def note(key: str, family: str, pair: Pair) -> str:
    """What people should know about this image and these networks, as HTML."""
    lines = []
    if missing := missing_weights():
        lines.append(
            f"<strong>Weights are missing in assets/: {escape(', '.join(missing))}.</strong> "
            "Get them with the repository, or train them (see the README)."
        )
    chosen = None if key.startswith("upload-") else example(key)
    if chosen is not None:
        lines.append(escape(chosen.note))
    if family == UNTRAINED:
        lines.append("<strong>These networks have random weights: nothing they show was learnt.</strong>")
    elif chosen is None:
        lines.append(
            f"These networks learnt {MEANT_FOR[family]}; if yours shows anything else, do not trust the masks."
        )
    elif chosen.family is None:
        lines.append("<strong>Outside what any of these networks learnt:</strong> watch how they react, do not believe "
                     "the masks.")  # fmt: skip
    elif chosen.family != family:
        lines.append(
            f"<strong>Outside what these networks learnt ({MEANT_FOR[family]}):</strong> do not believe the masks."
        )
    lines += [escape(line) for line in pair.notes]
    return f'<p class="sg-note">{" ".join(lines)}</p>'


# --- what the page does ----------------------------------------------------------------------------------------------


def show(key: str, family: str | None, versus: str, channel: int | None = None, before: View | None = None) -> list:
    """A new image, other networks or another comparison: every part of the page.

    Args:
        before: what the page shows; the same image keeps its selected place.
    """
    try:
        choices = offers(key)
        family = family if family in [f for _, f in choices] else choices[0][1]
        versus = versus if versus in [name for _, name in comparisons(family)] else "pooled"
        pair = look(key, family, versus)
        chosen = None if key.startswith("upload-") else example(key)
        pixel, zoom = first_pixel(pair, chosen)
        if before is not None and before.key == key:
            seen = pair if before.family == family else look(key, before.family, before.versus)
            pixel = pair.place.from_other((before.y, before.x), seen.place)
    except (ValueError, FileNotFoundError) as error:
        raise refuse(error) from None
    height, width = pair.image.shape[:2]
    return [
        View(key, family, versus, *pixel), gr.Dropdown(choices=choices, value=family),
        gr.Dropdown(choices=comparisons(family), value=versus), note(key, family, pair),
        pair.overview(pixel, zoom).to_html(),
        gr.Number(value=pixel[0], label=f"Row y (0–{height - 1})"),
        gr.Number(value=pixel[1], label=f"Column x (0–{width - 1})"),
        pair.kernels(pixel).to_html(), pair.microscope(pixel, as_channel(channel)).to_html(),
        pair.predictions(pixel, zoom).to_html(),
    ]  # fmt: skip


def first_pixel(pair: Pair, chosen: Example | None) -> tuple[tuple[int, int], int]:
    """Pixel and zoom to begin with: the example's own, else the middle."""
    height, width = pair.image.shape[:2]
    if chosen is None:
        return (height // 2, width // 2), 1
    return pair.place.from_other(chosen.pixel, Place()), chosen.zoom


def choose_sample(sample: str, family: str | None, versus: str, channel: int | None, before: View) -> list:
    if sample == before.key:  # chosen again: the page keeps what it shows
        return show(sample, before.family, versus, channel, before)
    meant = None if sample.startswith("upload-") else example(sample).family
    return show(sample, meant or family, versus, channel)


def choose_networks(
    family: str, versus: str, channel: int | None, y: float | None, x: float | None, before: View
) -> list:
    """y, x: pixel of the image as it was shown before; left out, the one that was selected."""
    try:
        if y is not None and x is not None:
            height, width = look(before.key, before.family, before.versus).image.shape[:2]
            pixel = whole("row y", y), whole("column x", x)
            if 0 <= pixel[0] < height and 0 <= pixel[1] < width:
                before = before._replace(y=pixel[0], x=pixel[1])
    except ValueError as error:
        raise refuse(error) from None
    return show(before.key, family, versus, channel, before)


def leave_sample(sample: str, family: str | None, versus: str, channel: int | None, before: View) -> list:
    """A list tells that it was left even if nothing was chosen: then the page stays as it is."""
    return [gr.skip()] * PARTS if sample == before.key else choose_sample(sample, family, versus, channel, before)


def leave_networks(
    family: str, versus: str, channel: int | None, y: float | None, x: float | None, before: View
) -> list:
    """As `leave_sample`."""
    if (family, versus) == (before.family, before.versus):
        return [gr.skip()] * PARTS
    return choose_networks(family, versus, channel, y, x, before)


def upload_image(file: str | None, family: str | None, versus: str, mine: tuple[tuple[str, str], ...]) -> list:
    if file is None:
        raise refuse("no file arrived: choose a PNG, JPEG, TIFF or BMP image.")
    path = Path(file)
    try:
        size = path.stat().st_size
        if size > MAX_UPLOAD:
            raise ValueError(f"the file has {size / 2**20:.0f} MB; at most {MAX_UPLOAD // 2**20} MB are read.")
        image = load_image(path.read_bytes(), name=path.name)
    except (ValueError, OSError) as error:
        raise refuse(error) from None
    finally:
        path.unlink(missing_ok=True)  # images of patients must not stay on disk
    key = f"upload-{digest(image)}"
    with uploads_lock:
        uploads[key] = image
        uploads.move_to_end(key)
        while len(uploads) > KEEP_UPLOADS:
            uploads.popitem(last=False)
    name = "".join(c for c in path.name if c.isprintable())[:40]
    mine = (*(m for m in mine if m[1] != key), (f"Your image: {name}", key))[-KEEP_UPLOADS:]
    return [gr.Dropdown(choices=images(mine), value=key), mine, *show(key, family, versus)]


def to_xy(event: gr.SelectData) -> tuple[int, int]:
    """A click on any linked picture -> (y, x). Private: a client of the API has no mouse."""
    x, y = event.index
    return int(y), int(x)


def inspect_pixel(
    y: float | None, x: float | None, channel: int | None, family: str, versus: str, before: View
) -> tuple[View, str, str]:
    """Kernels and sum at one image pixel; the recordings are there already, so no network runs."""
    if y is None or x is None:
        raise refuse("give a row y and a column x, in image pixels.")
    try:
        pair = look(before.key, family, versus)
        pixel = (whole("row y", y), whole("column x", x))
        parts = pair.kernels(pixel).to_html(), pair.microscope(pixel, as_channel(channel)).to_html()
    except ValueError as error:
        raise refuse(error) from None
    return View(before.key, family, versus, *pixel), *parts


def type_pixel(y: float | None, x: float | None, channel: int | None, family: str, versus: str, before: View) -> tuple:
    """The number fields when they are left: what they hold if it is a pixel, else what they held before."""
    skip = gr.skip()
    if (y, x) == (before.y, before.x):
        return (skip,) * 5
    if y is not None and x is not None:
        try:
            return (*inspect_pixel(y, x, channel, family, versus, before), skip, skip)
        except gr.Error as error:
            gr.Warning(error.message, title=error.title, duration=error.duration)
    return skip, skip, skip, before.y, before.x


def whole(name: str, value: float) -> int:
    if value != int(value):
        raise ValueError(f"{name}={value} must be a whole number.")
    return int(value)


def as_channel(channel: float | None) -> int | None:
    """AUTOMATIC (or nothing) means: the channel with the largest value."""
    return None if channel is None or channel == AUTOMATIC else whole("channel", channel)


def refuse(reason: object) -> gr.Error:
    """One sentence in place of a traceback; escaped, because Gradio shows it as HTML."""
    text = str(reason)
    return gr.Error(escape(text[:1].upper() + text[1:], quote=False), title="That did not work", duration=6,
                    print_exception=False)  # fmt: skip


# --- the page --------------------------------------------------------------------------------------------------------

TITLE = "Kernels per pixel (SGDC) or per block (pooled): what changes?"
INTRO = (
    "**Guided** (SGDC) makes kernels and gates per pixel, led by a boundary branch; **pooled** per block, without "
    "guidance: two changes, which **Compare with** separates. **Click any picture.**"
)

PAGE_CSS = """
.gradio-container { max-width: 1840px !important; margin: 0 auto !important; }
.gradio-container .main { padding: 10px 16px !important; }
.gradio-container .column { gap: 10px !important; }
.gradio-container .html-container { padding: 0 !important; }
.sg-note { margin: 0; font-size: 0.95em; max-width: 130ch; }
.gradio-container #sg-intro { margin-top: -8px; }
#sg-title h1 { margin: 0; font-size: 1.3em; line-height: 1.2; }
#sg-intro p { margin: 0; }
/* Gradio 6 opens a list again, with its own choice alone, when it is left */
:is(#sg-controls .block, #sg-channel):not(:focus-within) .options { display: none !important; }
#sg-note .wrap:has(.error) { display: none !important; } /* the message in the corner tells it */
#sg-controls, #sg-controls .row { align-items: end; gap: 10px; flex-wrap: nowrap; }
#sg-controls .row { min-width: 0; }
#sg-choose { flex: 7.6 !important; }
#sg-versus { flex-grow: 1.25 !important; }
#sg-fine { flex: 3.3 !important; }
#sg-fine .form { flex: 3 !important; align-items: flex-end; }
#sg-fine button { flex: 1; padding: 0 8px; font-size: 1em; }
#sg-controls .secondary-wrap input, #sg-channel input { padding-right: 22px; text-overflow: ellipsis; }
#sg-channel { max-width: 22em; margin: 0 auto 0 0; padding: 0; border: 0; background: none; }
.form:has(> #sg-channel) { border: 0; background: none; justify-content: flex-start; }
#sg-controls .form { border: 0; gap: 10px; background: none; flex-wrap: nowrap; min-width: 0 !important; }
#sg-controls .block { padding: 0; border: 0 !important; box-shadow: none; background: none; min-width: 0 !important; }
#sg-controls button { min-height: 38px; min-width: 80px; }
#sg-top { gap: 16px; align-items: flex-start; flex-wrap: nowrap; }
#sg-overview { flex: none; width: calc(5 * var(--sg-unit) + 62px); }
#sg-kernels { flex: none; width: calc(var(--sg-unit) + 30px); }
@media (min-width: 761px) and (max-width: 1200px) {
  #sg-controls { flex-wrap: wrap; }
  #sg-choose, #sg-fine { flex-basis: 100% !important; }
}
@media (max-width: 1046px) { #sg-top { flex-wrap: wrap; } }
@media (max-width: 760px) {
  .gradio-container .main { padding: 8px 10px !important; }
  #sg-title h1 { font-size: 1.05em; }
  #sg-intro p { font-size: 0.93em; line-height: 1.3; }
  .gradio-container #sg-intro { margin: 0; }
  /* image, comparison, picture and kernels first; the other controls and the words come after them */
  .column:has(> #sg-controls) {
    display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 8px 10px !important;
  }
  .column:has(> #sg-controls) > *, #sg-networks, #sg-fine { grid-column: 1 / -1; }
  #sg-controls, #sg-choose, #sg-choose .form { display: contents; }
  #sg-title, #sg-image, #sg-versus { order: -3; }
  #sg-top { order: -2; }
  #sg-intro, #sg-networks, #sg-fine, #sg-note { order: -1; }
  #sg-controls input, #sg-controls button, #sg-channel input, .sg-zoom { min-height: 40px; }
  #sg-channel .icon-wrap, #sg-controls .icon-wrap { right: 6px; }
  #sg-controls .wrap-inner { padding: 0; }
  #sg-controls .secondary-wrap input { padding-left: 10px; font-size: 14px; }
  #sg-top { display: flex; flex-direction: column; align-items: stretch; gap: 6px; }
  #sg-overview, #sg-overview div:has(> .sg-figure), #sg-overview .html-container, #sg-overview .sg-figure,
  #sg-overview .sg-body { display: contents; }
  #sg-overview .sg-title, #sg-overview .sg-hint, #sg-kernels .sg-head { display: none; }
  #sg-overview .sg-message { margin: 0; font-size: 15px; line-height: 1.3; }
  #sg-overview .sg-lead { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 10px; margin: 0; }
  #sg-overview .sg-tools { margin: 0; flex-direction: column; align-items: flex-start; font-size: 13px; }
  #sg-kernels { order: 1; width: 100%; }
  #sg-kernels .sg-summary { margin: 0; font-size: 13px; line-height: 1.3; }
  #sg-kernels .sg-title { display: inline; font-size: 15px; }
  #sg-kernels .sg-message { display: inline; margin-left: 8px; font-size: 15px; }
  #sg-overview .sg-grid { order: 2; }
  #sg-overview .sg-legend { order: 3; }
  #sg-overview .sg-summary { order: 4; font-size: 14px; }
}
"""


def build() -> gr.Blocks:
    """The page, not yet served."""
    os.environ["GRADIO_TEMP_DIR"] = scratch.name  # read when the page is made
    ready = offers(FIRST)
    first, _, _, note_html, overview_html, _, _, kernels_html, microscope_html, predictions_html = show(
        FIRST, ready[0][1], "pooled"
    )
    pair = look(FIRST, first.family, first.versus)
    height, width = pair.image.shape[:2]
    channels = pair.runs["guided"].at((first.y, first.x)).gate_dynamic.shape[0]
    one_at_a_time = dict(concurrency_id="networks", concurrency_limit=1)

    with gr.Blocks(title="SGDC: kernels per pixel or per block", fill_width=True, analytics_enabled=False,
                   delete_cache=(600, 600)) as page:  # fmt: skip
        shown = gr.State(first)
        mine = gr.State(())  # what this visitor brought, (text, key); the pixels are in `uploads`
        gr.Markdown(f"# {TITLE}", elem_id="sg-title")
        gr.Markdown(INTRO, elem_id="sg-intro")
        with gr.Row(elem_id="sg-controls"):
            with gr.Row(elem_id="sg-choose"):
                sample = gr.Dropdown(images(()), value=FIRST, label="Image", elem_id="sg-image")
                networks = gr.Dropdown(ready, value=first.family, label="Networks", elem_id="sg-networks")
                versus = gr.Dropdown(comparisons(first.family), value=first.versus, label="Compare with",
                                     elem_id="sg-versus")  # fmt: skip
            with gr.Row(elem_id="sg-fine"):
                y = gr.Number(first.y, label=f"Row y (0–{height - 1})", precision=0)
                x = gr.Number(first.x, label=f"Column x (0–{width - 1})", precision=0)
                upload = gr.UploadButton("Upload", type="filepath")  # what it is, load_image finds out
        note_box = gr.HTML(note_html, elem_id="sg-note", apply_default_css=False)
        view = dict(js_on_load=LINKED_JS, apply_default_css=False)
        with gr.Row(elem_id="sg-top"):
            overview_box = gr.HTML(overview_html, elem_id="sg-overview", **view)
            kernels_box = gr.HTML(kernels_html, elem_id="sg-kernels", **view)
        microscope_box = gr.HTML(microscope_html, elem_id="sg-microscope", **view)
        channel = gr.Dropdown([("automatic: the largest value", AUTOMATIC), *((str(c), c) for c in range(channels))],
                              value=AUTOMATIC, label="Channel to follow", elem_id="sg-channel")  # fmt: skip
        predictions_box = gr.HTML(predictions_html, elem_id="sg-predictions", **view)

        everything = [
            shown, networks, versus, note_box, overview_box, y, x, kernels_box, microscope_box, predictions_box,
        ]  # fmt: skip
        # One place tells how it goes: an error must not be painted over everything that stays as it was.
        slow = dict(show_progress_on=[note_box], **one_at_a_time)
        for_sample, for_networks = [sample, networks, versus, channel, shown], [networks, versus, channel, y, x, shown]
        sample.input(leave_sample, for_sample, everything, api_visibility="private", **slow)
        gr.on(
            [networks.input, versus.input], leave_networks, for_networks, everything, api_visibility="private", **slow
        )
        client = gr.Button(visible=False)  # what a client of the API asks for is answered even if nothing changes
        client.click(choose_sample, for_sample, everything, api_name="choose_sample", **slow)
        client.click(choose_networks, for_networks, everything, api_name="choose_networks", **slow)
        upload.upload(upload_image, [upload, networks, versus, mine], [sample, mine, *everything],
                      api_name="upload_image", **slow)  # fmt: skip

        place = [y, x, channel, networks, versus, shown]
        ask = dict(fn=inspect_pixel, inputs=place, outputs=[shown, kernels_box, microscope_box],
                   show_progress="hidden", trigger_mode="always_last", **one_at_a_time)  # fmt: skip
        gr.on(
            [overview_box.select, predictions_box.select],
            to_xy,
            None,
            [y, x],
            api_visibility="private",
            show_progress="hidden",
            trigger_mode="always_last",
            queue=False,
        ).then(**ask, api_name="inspect_pixel")
        channel.input(**ask, api_visibility="private")
        gr.on(
            [y.submit, y.blur, x.submit, x.blur],
            type_pixel,
            place,
            [*ask["outputs"], y, x],
            api_visibility="private",
            show_progress="hidden",
            trigger_mode="always_last",
            **one_at_a_time,
        )
    return page.queue(max_size=32)


def launch(page: gr.Blocks, *, port: int | None = None, browser: bool = False):
    """Serve the page on this computer alone; returns at once: (app, address, None)."""
    # Fonts of the system: a web font would tell another host who is reading.
    theme = gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    return page.launch(
        server_name="127.0.0.1", server_port=port, inbrowser=browser, prevent_thread_lock=True, quiet=True,
        theme=theme, css=CSS + PAGE_CSS, footer_links=[], share=False, show_error=False, max_file_size=MAX_UPLOAD,
        allowed_paths=[], run_history=False, enable_monitoring=False, mcp_server=False, pwa=False, ssr_mode=False,
    )  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Open the SGDC demo in a browser; nothing leaves this computer.")
    parser.add_argument("--port", type=int, help="default: 7860, or the next free one")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # an orderly end, so that the folder for uploads goes
    try:
        page = build()
        _, address, _ = launch(page, port=given.port, browser=not (given.no_browser or os.environ.get("CI")))
        print(f"The demo runs at {address} (Ctrl+C ends it).", flush=True)
        page.block_thread()
    except OSError as error:  # Gradio found no free port
        parser.exit(1, f"app.py: cannot serve on port {given.port or 7860}: {error} Give another one with --port.\n")


if __name__ == "__main__":
    main()
