"""The tab "Train": both arms trained while one looks on, one visitor at a time. Wiring only."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

import gradio as gr

from sgdc_viz.evidence import load_summary
from sgdc_viz.learn.live import ARMS, EXPERIMENT, SeedNoise, before, recorded, seed_noise, train_live
from sgdc_viz.views.live import snapshot

from .refusal import refuse

# Goes with `views.CSS` to the page. On wide screens curves and pictures stand side by side: all is in one screen.
TRAINING_CSS = """
#sg-training { align-items: end; }
#sg-training .form { flex: 3 1 260px; }
#sg-training button { flex: 1 1 120px; max-width: 260px; padding-left: 8px; padding-right: 8px; }
.sg-figure.sg-live .sg-titled { align-self: start; }
.sg-figure.sg-live .sg-grid {
  grid-template-columns: repeat(var(--columns), minmax(0, var(--sg-unit))); grid-template-rows: auto;
}
.sg-figure.sg-live .sg-grid > * { grid-column: auto; grid-row: auto; align-items: start; }
.sg-figure.sg-live .sg-head { display: none; }
.sg-figure.sg-live .sg-table { justify-self: start; }
@media (min-width: 1100px) {
  .sg-figure.sg-live { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); column-gap: 24px; }
  .sg-figure.sg-live > * { grid-column: 1 / -1; }
  .sg-figure.sg-live > .sg-strip { grid-column: 1; }
  .sg-figure.sg-live > .sg-strip + .sg-body { grid-column: 2; }
}
"""
MINUTES = [("half a minute", 0.5), ("1 minute", 1.0), ("2 minutes", 2.0)]
USUAL = 2.0  # minutes
GRACE = 2.0  # seconds that a start waits for the training before it: after a reload the old one needs one to end


@dataclass
class Running:
    """The training that has the turn: whose it is, when it ends at the latest (time.monotonic), and its stop button."""

    session: str | None
    ends: float
    stop: threading.Event = field(default_factory=threading.Event)


turn = threading.Lock()  # held while a training runs; released by whichever thread closes the generator
running: Running | None = None


@cache
def noise() -> SeedNoise | None:
    """What the luck of a seed makes, from the recorded experiment; None where assets/evidence.json does not tell."""
    try:
        arms = load_summary()["experiments"][EXPERIMENT]["arms"]
        told = arms[ARMS["pooled"]]["guided minus this"]["nsd1"]
        return seed_noise(told["by_seed"], arms[ARMS["pooled"]]["steps"])
    except (OSError, KeyError, TypeError, ValueError):
        return None


def train(seed: float | None, minutes: float, request: gr.Request) -> Iterator[str]:
    """Figures as HTML, about one a second, until the time is up or this visitor stops it.

    Gradio closes this generator when the visitor leaves (measured: about one second after the page is gone), and the
    `finally` then gives the turn back.
    """
    global running
    try:
        snapshots = train_live(_whole_seed(seed), 60 * minutes, stop=lambda: mine.stop.is_set())
    except ValueError as error:
        raise refuse(error) from None
    # A second visitor is told at once instead of queueing: Gradio's queue would show a counter, and start the training
    # minutes later, perhaps when nobody looks.
    if not turn.acquire(timeout=GRACE):
        raise refuse(_somebody_else())
    mine = running = Running(request.session_hash, time.monotonic() + 60 * minutes)
    try:
        for s in snapshots:
            yield snapshot(s, noise()).to_html()
    except ValueError as error:
        raise refuse(error) from None
    finally:
        snapshots.close()
        running = None
        turn.release()


def stop_training(request: gr.Request) -> None:
    """Ends this visitor's training, which then sends its last figure; another visitor's goes on."""
    now = running
    if now is None or now.session != request.session_hash:
        raise refuse("you have no training that runs: nothing was stopped.")
    now.stop.set()


def _somebody_else() -> str:
    now = running
    left = 0 if now is None else max(0, round(now.ends - time.monotonic()))
    return f"somebody else is training on this computer: theirs ends in {left} s at the latest, start yours then."


def _whole_seed(seed: float | None) -> int:
    if seed is None or seed != int(seed):
        raise ValueError("the seed must be a whole number, such as 0.")
    return int(seed)


def first_figure() -> str:
    """What there is before a training, as HTML: one that was recorded, or the untrained networks where none is."""
    return snapshot(recorded() or before(), noise()).to_html()


def build_training_tab(first: str | None = None) -> gr.HTML:
    """The parts of the tab; call it inside `with gr.Blocks(): with gr.Tab("Train"):`.

    Args:
        first: HTML to begin with, in place of `first_figure`.

    Returns:
        The component that shows the training.
    """
    with gr.Row(elem_id="sg-training"):
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, min_width=90, elem_id="sg-seed")
        minutes = gr.Dropdown(MINUTES, value=USUAL, label="Time for both together", min_width=150)
        start = gr.Button("Start training", variant="primary", min_width=120)
        stop = gr.Button("Stop", min_width=80)
    figure = gr.HTML(first_figure() if first is None else first, elem_id="sg-live", apply_default_css=False)
    start.click(train, [seed, minutes], figure, api_name="train", show_progress="hidden", concurrency_id="training",
                concurrency_limit=4)  # fmt: skip
    stop.click(
        stop_training, None, None, api_name="stop_training", show_progress="hidden", concurrency_id="stop"
    )  # in a queue, without which Gradio hides what an error says
    return figure
