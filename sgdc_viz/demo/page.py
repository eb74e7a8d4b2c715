"""The page: controls, tabs, and what happens when something is chosen. Wiring only: what visitors do is in `actions`,
every picture comes from `parts`, and `Page.go` draws what is new in the tab that is open.
"""

from __future__ import annotations

import atexit
import base64
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from html import escape
from importlib.resources import files

import gradio as gr

from sgdc_viz.explore import POOL_SIZES, Pair
from sgdc_viz.explore.arms import pooling_label
from sgdc_viz.explore.networks import MOST_BYTES
from sgdc_viz.views import CSS, LINKED_JS, WHOLE_JS
from sgdc_viz.views.overview import check_pixel

from . import actions, gallery
from .actions import AUTOMATIC, Visit, arrive
from .parts import PARTS, evidence_html, html_of, results_of
from .refusal import quietly, refuse, refusing
from .training_tab import TRAINING_CSS, build_training_tab, first_figure
from .view import CHANGES_OFFERED, MOST_RADIUS, PLACES, TABS, TOLERANCES, View

SESSIONS = 64  # visitors whose pages Gradio remembers, some 5 MB each; who comes back after that many starts anew
WAITING = 32  # events in the queue; more are turned away with a sentence
TITLE = "Kernels per pixel (SGDC) or per block (pooled): what changes?"
INTRO = (
    "**Guided** (SGDC) makes kernels and gates per pixel, led by a boundary branch; **pooled** per block, without "
    "guidance: two changes, which **Compare with** separates. **Click any picture.**"
)
FOLDER = files(__package__)
PAGE_CSS = FOLDER.joinpath("page.css").read_text(encoding="utf-8")
PAGE_JS = FOLDER.joinpath("page.js").read_text(encoding="utf-8")

# Gradio writes uploads to a folder for temporary files: one of our own, that goes when the demo ends.
scratch = tempfile.TemporaryDirectory(prefix="sgdc-demo-", ignore_cleanup_errors=True)
atexit.register(scratch.cleanup)


def to_xy(event: gr.SelectData) -> tuple[int, int]:
    """A click on a picture -> (y, x). Private: a client of the API has no mouse."""
    x, y = event.index
    return int(y), int(x)


def to_dabs(event: gr.EventData) -> str:
    """A stroke of the brush -> "row,column row,column ..."."""
    return str(event.dabs)[:20_000]


class Page:
    """The page, not yet served.

    Attributes:
        blocks: what Gradio serves.
        parts: name of a part -> its component.
        outputs: name -> component that an event may change, in the order in which an API client gets them.
    """

    def __init__(self):
        os.environ["GRADIO_TEMP_DIR"] = scratch.name  # read when the page is made
        first = arrive({})
        self.parts: dict[str, gr.HTML] = {}
        with gr.Blocks(title="SGDC: kernels per pixel or per block", fill_width=True, analytics_enabled=False,
                       delete_cache=(600, 600)) as self.blocks:  # fmt: skip
            self._layout(first)
            self._events()
        # What a program asks for that no list offers is refused likewise; Gradio makes new components as it goes.
        for kind in {type(b) for b in self.blocks.blocks.values() if isinstance(b, gr.components.FormComponent)}:
            kind.preprocess = quietly(kind.preprocess)
        self.blocks.queue(max_size=WAITING)

    # --- what a new visit changes ------------------------------------------------------------------------------------

    def go(self, new: Visit, before: Visit, arrived: bool = False) -> dict:
        """Draw what is new, and set the controls to it.

        Args:
            new: what the visitor is to see.
            before: what the page shows.
            arrived: by an address: all controls are set.

        Returns:
            component -> update; what is not there stays as it is.

        Raises:
            ValueError: it cannot be shown; the page is to stay as it is.
        """
        view, old = new.view, before.view
        pair = gallery.see(view)
        check_pixel(view.pixel, pair.image)
        drawn, updates = dict(new.drawn), {}
        for part in PARTS:
            depends = part.depends(view, pair.key)
            if part.tab == view.tab and drawn.get(part.name) != depends:
                updates[self.parts[part.name]] = html_of(part, view, pair)
                drawn[part.name] = depends
        for tab, box, draw in (("train", self.training, first_figure), ("evidence", self.evidence, evidence_html)):
            if view.tab == tab and tab not in drawn:
                updates[box], drawn[tab] = draw(), ()
        if (view.image, view.family, view.versus, view.centre) != (old.image, old.family, old.versus, old.centre) or (
            arrived or new.said or before.said or new.images != before.images or new.networks != before.networks
        ):
            updates |= self._controls(new, pair)
        if arrived or view.place != old.place:
            updates[self.painting] = gr.update(visible=view.place == PLACES[2])
        return updates | {self.visit: replace(new, drawn=drawn), self.address: address(view, pair)}

    def _controls(self, visit: Visit, pair: Pair) -> dict:
        """The controls, and the note, for another image or other networks."""
        view, (height, width) = visit.view, pair.image.shape[:2]
        part = "of the part " if pair.place.part else ""
        told = "".join(f" <strong>{escape(line)}</strong>" for line in visit.said)
        note = gallery.note(view.image, view.family, pair)
        return {
            self.sample: gr.update(choices=gallery.images(visit.images), value=view.image),
            self.networks: gr.update(choices=gallery.offers(view.image, visit.networks), value=view.family),
            self.versus: gr.update(choices=gallery.comparisons(view.family), value=view.versus),
            self.y: gr.update(value=view.y, label=f"Row y {part}(0–{height - 1})"),
            self.x: gr.update(value=view.x, label=f"Column x {part}(0–{width - 1})"),
            self.note: note.replace("</p>", f"{told}</p>"),
            self.channel: gr.update(choices=channels(pair), value=AUTOMATIC if view.channel is None else view.channel),
            self.tolerance: gr.update(value=view.tolerance, visible=pair.truth is not None),
            self.status: "",
            self.saved: "",
        }

    def _answers(self, do: Callable[..., Visit]) -> Callable[..., dict]:
        """An action as what Gradio calls: inputs, then the visit -> updates."""

        def answer(*given) -> dict:
            *inputs, visit = given
            with refusing():
                try:
                    new = do(visit, *inputs)
                except (TypeError, AttributeError):
                    if any(value is None or isinstance(value, list) for value in inputs):  # of a program, no visitor
                        raise ValueError("a value is missing, or there are several: give one of each.") from None
                    raise
                return self.go(new, visit)

        return answer

    # --- actions that need the page ----------------------------------------------------------------------------------

    def leave(self, do: Callable[..., Visit]) -> Callable[..., dict]:
        """A list tells that it was left even if nothing was chosen: then the page stays as it is."""
        answer = self._answers(do)

        def left(*given) -> dict:
            *inputs, visit = given
            view = visit.view
            same = inputs in ([view.image], [view.family, view.versus])
            return {self.visit: gr.skip()} if same else answer(*given)

        return left

    def type_pixel(self, y: float | None, x: float | None, visit: Visit) -> dict:
        """The number fields when they are left: what they hold if it is a pixel, else what they held before."""
        if (y, x) == visit.view.pixel:
            return {self.visit: gr.skip()}
        if y is not None and x is not None:
            try:
                return self.go(actions.inspect_pixel(visit, y, x), visit)
            except ValueError as error:
                told = refuse(error)
                gr.Warning(told.message, title=told.title, duration=told.duration)
        return {self.y: visit.view.y, self.x: visit.view.x}

    def move_part(self, y: float | None, x: float | None, visit: Visit) -> dict:
        """The one click that does not come from the number fields: it sets them. (Others must not: by the time that an
        answer is here, they may hold a later pixel, which would be lost.)"""
        told = self._answers(actions.move_part)(y, x, visit)
        view = told[self.visit].view
        return {self.y: view.y, self.x: view.x} | told

    def choose_tab(self, name: str, acted: bool, visit: Visit) -> dict:
        if not acted:
            return {self.visit: gr.skip()}
        return self._answers(lambda visit: actions.open_tab(visit, name))(visit)

    def open_link(self, link: str, visit: Visit) -> dict:
        with refusing():
            new = actions.open_link(visit, link or "")
            if new is visit:
                return {self.visit: gr.skip()}
            told = self.go(new, visit, arrived=True)
        view = new.view
        return told | {
            self.tabs: gr.update(selected=view.tab), self.pool_size: view.pool_size or 0, self.controls: view.controls,
            self.change: view.change, self.place: view.place,
        }  # fmt: skip

    def segment(self, visit: Visit) -> Iterator[str]:
        """The whole image, tile by tile, told as HTML; a visitor who leaves ends it after the tile that runs."""
        view = visit.view
        with refusing():
            image, truth = gallery.image_of(view.image)
            for step in gallery.explorer.whole(view.family, image, truth=truth):
                yield f'<p class="sg-note" role="status">{step.done} of {step.all} tiles</p>'

    def save(self, visit: Visit) -> dict:
        """Masks, figures and numbers as one file, inside the page: nothing is written to disk here."""
        with refusing():
            data = results_of(visit.view)
        link = "data:application/zip;base64," + base64.b64encode(data).decode()
        listed = {key: text for text, key in gallery.images(visit.images)}
        told = re.sub(r"\W+", "-", listed.get(visit.view.image, "image").removeprefix("Your image:")).strip("-_")
        name = escape(f"sgdc-{told}.zip")
        return {
            self.saved: f'<p class="sg-note" role="status"><a download="{name}" href="{link}">Save {name} '
            f"({max(1, len(data) // 1024)} KB)</a></p>"
        }

    # --- layout ------------------------------------------------------------------------------------------------------

    def _layout(self, first: Visit) -> None:
        view, pair = first.view, gallery.see(first.view)
        height, width = pair.image.shape[:2]
        gr.Markdown(f"# {TITLE}", elem_id="sg-title")
        gr.Markdown(INTRO, elem_id="sg-intro")
        with gr.Row(elem_id="sg-controls"):
            with gr.Row(elem_id="sg-choose"):
                self.sample = gr.Dropdown(gallery.images(), value=view.image, label="Image", elem_id="sg-image")
                self.networks = gr.Dropdown(gallery.offers(view.image), value=view.family, label="Networks",
                                            elem_id="sg-networks")  # fmt: skip
                self.versus = gr.Dropdown(gallery.comparisons(view.family), value=view.versus, label="Compare with",
                                          elem_id="sg-versus")  # fmt: skip
            with gr.Row(elem_id="sg-fine"):
                self.y = gr.Number(view.y, label=f"Row y (0–{height - 1})", precision=0)
                self.x = gr.Number(view.x, label=f"Column x (0–{width - 1})", precision=0)
                self.upload = gr.UploadButton("Upload", type="filepath")  # what it is, load_image finds out
        with gr.Row(elem_id="sg-under"):
            note = gallery.note(view.image, view.family, pair)
            self.note = gr.HTML(note, elem_id="sg-note", apply_default_css=False)
            told = address(view, pair)
            self.address = gr.HTML(told, elem_id="sg-address", js_on_load=PAGE_JS, apply_default_css=False)
        drawn = {}
        with gr.Tabs(selected=view.tab, elem_id="sg-tabs") as self.tabs:
            self.tab = {}
            for name, label in TABS.items():
                with gr.Tab(label, id=name) as self.tab[name]:
                    getattr(self, f"_{name}_tab")(view, pair, drawn)
        self.visit = gr.State(replace(first, drawn=drawn))
        self.outputs = {
            "visit": self.visit, "address": self.address, "sample": self.sample, "networks": self.networks,
            "versus": self.versus, "y": self.y, "x": self.x, "note": self.note, "tabs": self.tabs,
            "channel": self.channel, "pool_size": self.pool_size, "tolerance": self.tolerance,
            "controls": self.controls, "change": self.change, "place": self.place, "painting": self.painting,
            **self.parts, "training": self.training, "evidence": self.evidence, "status": self.status,
            "saved": self.saved,
        }  # fmt: skip

    def _part(self, name: str, view: View, pair: Pair, drawn: dict, script: str = LINKED_JS) -> None:
        """A part's component, drawn if its tab is open at first."""
        part, html = next(p for p in PARTS if p.name == name), ""
        if part.tab == view.tab:
            html, drawn[name] = html_of(part, view, pair), part.depends(view, pair.key)
        self.parts[name] = gr.HTML(html, elem_id=f"sg-{name}", js_on_load=script, apply_default_css=False)

    def _look_tab(self, view: View, pair: Pair, drawn: dict) -> None:
        with gr.Row(elem_id="sg-top"):
            self._part("overview", view, pair, drawn)
            self._part("kernels", view, pair, drawn)
        self._part("microscope", view, pair, drawn)
        self.channel = gr.Dropdown(channels(pair), value=AUTOMATIC, label="Channel to follow", elem_id="sg-channel")

    def _compare_tab(self, view: View, pair: Pair, drawn: dict) -> None:
        sizes = [(pooling_label(p).removeprefix("guided, ").removeprefix("pool size "), p or 0) for p in POOL_SIZES]
        label = "Pool size p: p × p feature pixels share one kernel; same weights, not retrained"
        self.pool_size = gr.Radio(sizes, value=view.pool_size or 0, label=label, elem_id="sg-pool-size")
        self._part("pooling", view, pair, drawn)
        self._part("pooling-here", view, pair, drawn)
        self._part("predictions", view, pair, drawn)

    def _boundary_tab(self, view: View, pair: Pair, drawn: dict) -> None:
        self._part("profile", view, pair, drawn)
        with gr.Row(elem_classes="sg-row-of-controls"):
            steps, label = [(f"{t:g} px", t) for t in TOLERANCES], "How far the branch may miss"
            self.tolerance = gr.Radio(steps, value=view.tolerance, label=label, visible=pair.truth is not None)
            label = "Draw the controls too: random weights, guidance shuffled, kernels permuted"
            self.controls = gr.Checkbox(view.controls, label=label)
        self._part("branch", view, pair, drawn)

    def _cause_tab(self, view: View, pair: Pair, drawn: dict) -> None:
        with gr.Row(elem_classes="sg-row-of-controls"):
            self.change = gr.Dropdown(list(CHANGES_OFFERED), value=view.change, label="Change in every block")
            self.place = gr.Radio(list(PLACES), value=view.place, label="Where")
        with gr.Row(elem_classes="sg-row-of-controls", visible=False) as self.painting:
            self.radius = gr.Slider(
                2, MOST_RADIUS, value=8, step=1, label="Brush radius (image pixels)", elem_id="sg-brush"
            )
            self.here = gr.Button("Paint at the selected pixel")
            self.clear = gr.Button("Clear the region")
        self.dabs = gr.Textbox(visible=False, label="Region")
        with gr.Row(elem_id="sg-cause"):
            self._part("canvas", view, pair, drawn)
            self._part("effect", view, pair, drawn)
        self._part("effect-here", view, pair, drawn)

    def _train_tab(self, view: View, pair: Pair, drawn: dict) -> None:
        self.training = build_training_tab(first="")  # drawn when the tab is opened: the page is there sooner

    def _evidence_tab(self, view: View, pair: Pair, drawn: dict) -> None:
        self.evidence = gr.HTML("", elem_id="sg-evidence", apply_default_css=False)

    def _yours_tab(self, view: View, pair: Pair, drawn: dict) -> None:
        gr.Markdown(
            "Bring a picture with **Upload** above (PNG, JPEG, TIFF or BMP, up to 4096 pixels a side). Of a large "
            "one a part is shown; **Segment** then goes over all of it. It stays in this computer's memory and is "
            "forgotten. **Not a medical device.**",
            elem_id="sg-yours",
        )
        with gr.Row(elem_classes="sg-row-of-controls"):
            self.truth = gr.UploadButton("Add its true mask", type="filepath")
            self.network = gr.UploadButton("Bring a network (.safetensors)", type="filepath")
            self.all = gr.Button("Segment the whole image", variant="primary")
            self.keep = gr.Button("Make a file of the results")
        self.status = gr.HTML("", elem_id="sg-status", apply_default_css=False)
        self.saved = gr.HTML("", elem_id="sg-saved", apply_default_css=False)
        self._part("whole", view, pair, drawn, WHOLE_JS)

    # --- events ------------------------------------------------------------------------------------------------------

    def _events(self) -> None:
        outputs = list(self.outputs.values())
        one_at_a_time = dict(concurrency_id="networks", concurrency_limit=1)
        # One place tells how it goes: an error must not be painted over everything that stays as it was.
        slow = dict(show_progress_on=[self.note], **one_at_a_time)
        quick = dict(show_progress="hidden", trigger_mode="always_last", **one_at_a_time)

        def on(triggers, answer: Callable[..., dict], inputs: list, how: dict, api: str | None = None) -> None:
            named = dict(api_visibility="private") if api is None else dict(api_name=api)
            inputs = [*inputs, self.visit]
            if isinstance(triggers, list):
                gr.on(triggers, answer, inputs, outputs, **named, **how)
            else:
                triggers(answer, inputs, outputs, **named, **how)

        do, client = self._answers, gr.Button(visible=False)  # an API client is answered even if nothing changes
        compared = [self.networks, self.versus]
        on(self.sample.input, self.leave(actions.choose_sample), [self.sample], slow)
        on(client.click, do(actions.choose_sample), [self.sample], slow, "choose_sample")
        on([self.networks.input, self.versus.input], self.leave(actions.choose_networks), compared, slow)
        on(client.click, do(actions.choose_networks), compared, slow, "choose_networks")
        on(self.upload.upload, do(actions.upload_image), [self.upload], slow, "upload_image")
        on(self.truth.upload, do(actions.upload_truth), [self.truth], slow, "upload_truth")
        on(self.network.upload, do(actions.upload_network), [self.network], slow, "upload_network")

        fast = dict(api_visibility="private", show_progress="hidden", queue=False)
        pictures = [self.parts[p.name].select for p in PARTS if p.name != "whole" and not p.name.endswith("-here")]
        clicked = gr.on(pictures, to_xy, None, [self.y, self.x], trigger_mode="always_last", **fast)
        on(clicked.then, do(actions.inspect_pixel), [self.y, self.x], quick, "inspect_pixel")
        typed = [self.y.submit, self.y.blur, self.x.submit, self.x.blur]
        on(typed, self.type_pixel, [self.y, self.x], quick)
        on(self.channel.input, do(actions.follow_channel), [self.channel], quick, "follow_channel")
        on(self.pool_size.input, do(actions.set_pool_size), [self.pool_size], quick, "set_pool_size")
        boundary = [self.tolerance, self.controls]
        on([b.input for b in boundary], do(actions.set_boundary), boundary, quick, "set_boundary")
        changed = [self.change, self.place]
        on([b.input for b in changed], do(actions.set_change), changed, quick, "set_change")

        stroke = self.parts["canvas"].input(to_dabs, None, self.dabs, **fast)
        on(stroke.then, do(actions.paint), [self.dabs, self.radius], quick, "paint")
        on(self.here.click, do(actions.paint_here), [self.radius], quick)
        on(self.clear.click, do(actions.clear_region), [], quick)

        far = [gr.Number(visible=False, label="Row of the whole image"), gr.Number(visible=False, label="Column")]
        moved = self.parts["whole"].select(to_xy, None, far, **fast)
        on(moved.then, self.move_part, far, slow, "move_part")
        # In a queue of its own: others can click meanwhile, and this visitor too, who may then see another image.
        segmented = self.all.click(self.segment, self.visit, self.status, api_name="segment", show_progress="hidden",
                                   concurrency_id="whole")  # fmt: skip
        on(segmented.success, do(actions.show_whole), [], quick, "show_whole")
        on(self.keep.click, self.save, [], slow, "save_results")

        # Gradio tells of the first tab as well when the page has just come: that is nobody's wish.
        acted = gr.Checkbox(visible=False, label="Did somebody choose it?")
        ask = dict(js="(_, visit) => [window.sgdcActed === true, visit]", **quick)
        for name, tab in self.tab.items():
            on(tab.select, partial(self.choose_tab, name), [acted], ask)
        asked = gr.Textbox(visible=False, label="Tab, or the part of an address behind its question mark")
        on(client.click, do(actions.open_tab), [asked], quick, "open_tab")
        on(client.click, self.open_link, [asked], slow, "open_link")

        def arrived(visit: Visit, request: gr.Request) -> dict:
            return self.open_link(str(request.query_params), visit)

        self.blocks.load(arrived, self.visit, outputs, api_visibility="private", **slow)


def channels(pair: Pair) -> list[tuple[str, int]]:
    """Choices of channels."""
    return [("automatic: the largest value", AUTOMATIC), *((str(c), c) for c in range(actions.channels_of(pair)))]


def address(view: View, pair: Pair) -> str:
    """What the page's script reads: the address, which pixel is selected in which image, and what is painted."""
    dabs = " ".join(f"{y},{x},{radius}" for y, x, radius in view.dabs)
    facts = {"query": view.query(), "key": pair.key, "y": view.y, "x": view.x, "dabs": dabs}
    data = "".join(f' data-{name}="{escape(str(value))}"' for name, value in facts.items())
    return (
        f'<span class="sg-where"{data}></span><button type="button" class="sg-zoom" id="sg-copy">Copy a link to this '
        'view</button> <span role="status" id="sg-copied"></span>'
    )


def launch(page: Page, *, port: int | None = None, browser: bool = False):
    """Serve the page on this computer alone; returns at once: (app, address, None)."""
    # Fonts of the system: a web font would tell another host who is reading.
    theme = gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]).set(
        button_primary_background_fill="#1d4ed8",
        button_primary_background_fill_dark="#1d4ed8",
        button_primary_background_fill_hover="#1e40af",
        button_primary_background_fill_hover_dark="#1e40af",
    )  # fmt: skip  (Gradio's own blue is too pale under white letters)
    return page.blocks.launch(
        server_name="127.0.0.1", server_port=port, inbrowser=browser, prevent_thread_lock=True, quiet=True,
        theme=theme, css=CSS + PAGE_CSS + TRAINING_CSS, footer_links=[], share=False, show_error=False,
        max_file_size=MOST_BYTES, allowed_paths=[], run_history=False, enable_monitoring=False,
        mcp_server=False, pwa=False, ssr_mode=False, state_session_capacity=SESSIONS,
        _frontend=False,  # else Gradio gives up if the page does not answer itself within 3 s, as on a busy computer
    )  # fmt: skip
