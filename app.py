"""The demo: pick an image, click a pixel, see what guided and pooled dynamic convolution make there.

    make demo            or            python app.py [--port 7860] [--no-browser]

Wiring only: every number and every figure comes from sgdc_viz. Nothing leaves this computer, and uploaded images are
not kept: the file is deleted as soon as it is read, the pixels are forgotten once a few others have been looked at.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
import threading
from collections import OrderedDict
from functools import lru_cache
from html import escape
from pathlib import Path

import gradio as gr
import numpy as np

from sgdc_viz.data import Sample, load_image
from sgdc_viz.data.samples import Example, example, examples
from sgdc_viz.explore import UNTRAINED, Explorer, Pair, families, missing_weights
from sgdc_viz.views import CSS, LINKED_JS

MAX_UPLOAD = 20 * 2**20  # bytes
KEEP_UPLOADS = 8  # images
FIRST = "immunohistochemistry"
MEANT_FOR = {"nuclei": "cell nuclei", "dermoscopy": "skin lesions", "synthetic": "drawn skin lesions"}

explorer = Explorer()
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
    chosen, sample = example(key), sample_of(key)
    truth = None
    if chosen.has_truth:
        truth = sample.mask if sample.instances is None else sample.instances
    return sample.image, truth


@lru_cache
def sample_of(key: str) -> Sample:
    return example(key).make()


@lru_cache(maxsize=4)  # a click asks for the same pair again and again; a large image takes long to scale and hash
def look(key: str, family: str) -> Pair:
    image, truth = image_of(key)
    return explorer.look(family, image, truth)


def offers(key: str) -> list[tuple[str, str]]:
    """Choices of networks for an image, (text, family): the one meant for it first, the control last."""
    meant = None if key.startswith("upload-") else example(key).family
    ready = sorted(families(), key=lambda f: f != meant)
    choices = [(f"trained on {MEANT_FOR[f]}" + (" · meant for this image" if f == meant else ""), f) for f in ready]
    return [*choices, ("random weights · a control, nothing learnt", UNTRAINED)]


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


def show(key: str, family: str | None, channel: float | None = None, pixel: tuple[int, int] | None = None) -> list:
    """A new image or other networks: every part of the page. The pixel stays where it is if the new image has it."""
    try:
        choices = offers(key)
        family = family if family in [f for _, f in choices] else choices[0][1]
        pair = look(key, family)
    except (ValueError, FileNotFoundError) as error:
        raise refuse(error) from None
    chosen = None if key.startswith("upload-") else example(key)
    (height, width), (first, zoom) = pair.image.shape[:2], first_pixel(pair, chosen)
    if pixel is None or not (0 <= pixel[0] < height and 0 <= pixel[1] < width):
        pixel = first
    return [
        key, gr.Dropdown(choices=choices, value=family), note(key, family, pair),
        pair.overview(pixel, zoom).to_html(),
        gr.Number(value=pixel[0], label=f"Row y, 0–{height - 1} px"),
        gr.Number(value=pixel[1], label=f"Column x, 0–{width - 1} px"),
        pair.kernels(pixel).to_html(), pair.microscope(pixel, as_channel(channel)).to_html(),
        pair.predictions(pixel, zoom).to_html(),
    ]  # fmt: skip


def first_pixel(pair: Pair, chosen: Example | None) -> tuple[tuple[int, int], int]:
    """Pixel and zoom to begin with: the example's own where the image is shown at its own size, else the middle."""
    height, width = pair.image.shape[:2]
    if chosen is not None and not pair.notes:
        return chosen.pixel, chosen.zoom
    return (height // 2, width // 2), 1


def choose_sample(sample: str, family: str | None) -> list:
    return show(sample, example(sample).family or family)


def choose_networks(key: str, family: str, channel: float | None, y: float | None, x: float | None) -> list:
    return show(key, family, channel, None if y is None or x is None else (int(y), int(x)))


def upload_image(file: str | None, family: str | None) -> list:
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
    key = "upload-" + hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()[:16]
    with uploads_lock:
        uploads[key] = image
        while len(uploads) > KEEP_UPLOADS:
            uploads.popitem(last=False)
    return show(key, family)


def to_xy(event: gr.SelectData) -> tuple[int, int]:
    """A click on any linked picture -> (y, x). Private: a client of the API has no mouse."""
    x, y = event.index
    return int(y), int(x)


def inspect_pixel(y: float | None, x: float | None, channel: float | None, key: str, family: str) -> tuple[str, str]:
    """Kernels and sum at one image pixel; the recordings are there already, so no network runs."""
    if y is None or x is None:
        raise refuse("give a row y and a column x, in image pixels.")
    try:
        pair = look(key, family)
        pixel = (whole("row y", y), whole("column x", x))
        return pair.kernels(pixel).to_html(), pair.microscope(pixel, as_channel(channel)).to_html()
    except ValueError as error:
        raise refuse(error) from None


def whole(name: str, value: float) -> int:
    if value != int(value):
        raise ValueError(f"{name}={value} must be a whole number of pixels.")
    return int(value)


def as_channel(channel: float | None) -> int | None:
    """-1 (or nothing) means: the channel with the largest value."""
    return None if channel is None or channel < 0 else whole("channel", channel)


def refuse(reason: object) -> gr.Error:
    """One sentence in place of a traceback; escaped, because Gradio shows it as HTML."""
    text = str(reason)
    return gr.Error(escape(text[:1].upper() + text[1:], quote=False), title="That did not work", duration=None,
                    print_exception=False)  # fmt: skip


# --- the page --------------------------------------------------------------------------------------------------------

INTRO = (
    "Two networks, one switch apart. **Guided** (SGDC) makes kernels and gates for every pixel, led by a boundary "
    "branch; **pooled** makes them from averages over blocks. **Click any picture.**"
)

PAGE_CSS = """
.gradio-container { max-width: 1840px !important; margin: 0 auto !important; }
.gradio-container .main { padding: 10px 16px !important; }
.gradio-container .column { gap: 10px !important; }
.gradio-container .html-container { padding: 0 !important; }
.sg-note { margin: 0; font-size: 0.95em; max-width: 130ch; }
#sg-intro h1 { margin: 0; font-size: 1.3em; line-height: 1.2; }
#sg-intro p { margin: 2px 0 0; }
#sg-controls, #sg-controls .row { align-items: end; gap: 10px; flex-wrap: nowrap; }
#sg-controls .row { min-width: 0; }
#sg-choose { flex: 5 !important; }
#sg-fine { flex: 3 !important; }
#sg-controls .form { border: 0; gap: 10px; background: none; flex-wrap: nowrap; min-width: 0 !important; }
#sg-controls .block { padding: 0; border: 0 !important; box-shadow: none; background: none; min-width: 0 !important; }
#sg-controls button { min-height: 38px; min-width: 90px; }
#sg-top { gap: 16px; align-items: flex-start; flex-wrap: nowrap; }
#sg-overview { flex: none; width: calc(5 * var(--sg-unit) + 62px); }
#sg-kernels { flex: none; width: calc(var(--sg-unit) + 30px); }
@media (max-width: 760px) {
  .gradio-container .main { padding: 8px 10px !important; }
  #sg-intro h1 { font-size: 1.1em; }
  #sg-intro p { font-size: 0.93em; line-height: 1.3; }
  #sg-top { flex-wrap: wrap; }
  #sg-overview, #sg-kernels { width: 100%; }
  /* the picture first: fine controls and the note come after it */
  #sg-controls { display: contents; }
  #sg-intro, #sg-choose { order: -3; }
  #sg-top { order: -2; }
  #sg-fine, #sg-note { order: -1; }
}
"""


def build() -> gr.Blocks:
    """The page, not yet served."""
    os.environ["GRADIO_TEMP_DIR"] = scratch.name  # read when the page is made
    ready = offers(FIRST)
    start = show(FIRST, ready[0][1])
    _, _, note_html, overview_html, _, _, kernels_html, microscope_html, predictions_html = start
    pair = look(FIRST, ready[0][1])
    (y0, x0), (height, width) = example(FIRST).pixel, pair.image.shape[:2]
    one_at_a_time = dict(concurrency_id="networks", concurrency_limit=1)

    with gr.Blocks(title="SGDC: guided or pooled", fill_width=True, analytics_enabled=False,
                   delete_cache=(600, 600)) as page:  # fmt: skip
        key = gr.State(FIRST)
        gr.Markdown(f"# What does structure guidance change?\n{INTRO}", elem_id="sg-intro")
        with gr.Row(elem_id="sg-controls"):
            with gr.Row(elem_id="sg-choose"):
                sample = gr.Dropdown([(e.title, e.key) for e in examples()], value=FIRST, label="Image")
                networks = gr.Dropdown(ready, value=ready[0][1], label="Networks")
            with gr.Row(elem_id="sg-fine"):
                y = gr.Number(y0, label=f"Row y, 0–{height - 1} px", precision=0)
                x = gr.Number(x0, label=f"Column x, 0–{width - 1} px", precision=0)
                upload = gr.UploadButton("Upload", type="filepath")  # what it is, load_image finds out
        note_box = gr.HTML(note_html, elem_id="sg-note", apply_default_css=False)
        view = dict(js_on_load=LINKED_JS, apply_default_css=False)
        with gr.Row(elem_id="sg-top"):
            overview_box = gr.HTML(overview_html, elem_id="sg-overview", **view)
            kernels_box = gr.HTML(kernels_html, elem_id="sg-kernels", **view)
        microscope_box = gr.HTML(microscope_html, elem_id="sg-microscope", **view)
        channel = gr.Slider(-1, 23, value=-1, step=1, label="Channel to follow (−1: the one with the largest value)")
        predictions_box = gr.HTML(predictions_html, elem_id="sg-predictions", **view)

        everything = [key, networks, note_box, overview_box, y, x, kernels_box, microscope_box, predictions_box]
        pixel_boxes = [kernels_box, microscope_box]
        sample.input(choose_sample, [sample, networks], everything, api_name="choose_sample", **one_at_a_time)
        networks.input(
            choose_networks, [key, networks, channel, y, x], everything, api_name="choose_networks", **one_at_a_time
        )
        upload.upload(upload_image, [upload, networks], everything, api_name="upload_image", **one_at_a_time)

        ask = dict(fn=inspect_pixel, inputs=[y, x, channel, key, networks], outputs=pixel_boxes,
                   show_progress="hidden", **one_at_a_time)  # fmt: skip
        gr.on([overview_box.select, predictions_box.select], to_xy, None, [y, x], api_visibility="private",
              show_progress="hidden", trigger_mode="always_last", queue=False).then(
            **ask, api_name="inspect_pixel", trigger_mode="always_last")  # fmt: skip
        gr.on([y.input, x.input, channel.input], **ask, api_visibility="private", trigger_mode="always_last")
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
    try:
        page = build()
        _, address, _ = launch(page, port=given.port, browser=not (given.no_browser or os.environ.get("CI")))
        print(f"The demo runs at {address} (Ctrl+C ends it).", flush=True)
        page.block_thread()
    except OSError as error:  # Gradio found no free port
        parser.exit(1, f"app.py: cannot serve on port {given.port or 7860}: {error} Give another one with --port.\n")


if __name__ == "__main__":
    main()
