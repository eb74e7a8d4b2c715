"""The live training: a fair pair, repeatable, on time, gone when nobody looks, and shown with what one run can say."""

from __future__ import annotations

import gc
import html
import re
import threading
import time
import weakref
from dataclasses import FrozenInstanceError, replace
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdc_viz.data import open_dataset
from sgdc_viz.demo import training_tab
from sgdc_viz.evidence import load_summary
from sgdc_viz.learn import fit, live
from sgdc_viz.learn.experiment import EXPERIMENTS, Cell, build_network, training_of
from sgdc_viz.learn.live import SeedNoise, before, seed_noise, train_live
from sgdc_viz.views import CSS
from sgdc_viz.views.live import SMOOTH, running_mean, snapshot

NOISE = SeedNoise(reach=0.08, spread=0.03, seeds=5, steps=400)


@pytest.fixture(scope="module", autouse=True)
def few_images():
    """Three held-out images in place of eight: scoring takes as long as a step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live, "HELD_OUT", 3)
        yield


@pytest.fixture(scope="module")
def run() -> list[live.Snapshot]:
    """Sixteen steps without a clock, a snapshot after each."""
    return list(train_live(0, None, 16, every=0))


def words(text: str) -> str:
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", text))).strip()


# --- the training ----------------------------------------------------------------------------------------------------


def test_both_arms_learn_and_every_step_is_told(run):
    last = run[-1]
    assert [s.steps for s in run] == [*range(17)] and [s.state for s in run] == ["training"] * 16 + ["finished"]
    assert last.scored.tolist() == [0, 10, 16] and last.planned == 16
    assert last.parameters == 77_437
    for arm in ("guided", "pooled"):
        losses = last.losses[arm]
        assert len(losses) == 16 and losses[-5:].mean() < 0.95 * losses[:5].mean()
        assert all(np.array_equal(s.losses[arm], losses[: s.steps]) for s in run)
    assert not np.array_equal(last.losses["guided"], last.losses["pooled"])


def test_snapshots_never_change(run):
    with pytest.raises(FrozenInstanceError):
        run[3].steps = 7
    for array in (run[3].losses["guided"], run[3].scored, run[3].image, run[3].truth, run[3].probability["pooled"]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_the_same_seed_gives_the_same_numbers_bit_for_bit(run):
    torch.rand(3)  # the caller's random numbers must not matter
    again = list(train_live(0, None, 10, every=1e9))  # nor how often somebody looks
    other = list(train_live(1, None, 1))
    assert [s.steps for s in again] == [0, 10]
    for arm in ("guided", "pooled"):
        assert np.array_equal(again[-1].losses[arm][:10], run[10].losses[arm])
        assert again[-1].losses[arm][0] != other[-1].losses[arm][0]
    for metric in ("nsd1", "iou"):  # the rate is that of the whole plan, but in these ten steps it only warms up
        assert again[-1].scores["guided"][metric].tolist() == run[10].scores["guided"][metric].tolist()
    assert np.array_equal(again[-1].probability["pooled"], run[10].probability["pooled"])


@pytest.mark.parametrize("arm", ["guided", "pooled"])
def test_it_is_the_recorded_experiment_step_by_step(run, arm):
    """Each arm alone, trained by `fit` as the experiment does, has the same losses: same weights, windows and rates."""
    experiment, cell = EXPERIMENTS["shapes"], Cell(live.ARMS[arm], 0)
    data = open_dataset(experiment.data, None, "train", **experiment.options)
    config = replace(training_of(experiment, cell), steps=16)
    history = fit(build_network(experiment, cell), data, None, config, progress=False, cpu=True,
                  on_step=lambda step, _: step == 3)  # fmt: skip
    assert [np.float32(r["total"]) for r in history] == run[3].losses[arm].tolist()


def test_the_arms_are_a_pair(monkeypatch):
    pair, seen = live._Pair(4), []
    guided, pooled = (net.state_dict() for net in pair.nets.values())
    assert guided.keys() == pooled.keys() and all(torch.equal(guided[k], pooled[k]) for k in guided)

    def spy(net, optimizer, batch, config, step):
        seen.append((net, batch, step, config.rate(step)))
        return {"total": torch.tensor(1.0)}

    monkeypatch.setattr(live, "train_step", spy)
    for _ in range(3):
        pair.step()
    for one, other in zip(seen[::2], seen[1::2], strict=True):
        assert one[0] is pair.nets["guided"] and other[0] is pair.nets["pooled"]
        assert torch.equal(one[1][0], other[1][0]) and torch.equal(one[1][1], other[1][1]) and one[2:] == other[2:]
    assert not torch.equal(seen[0][1][0], seen[2][1][0])


def test_nothing_held_out_is_trained_on():
    pair = live._Pair(0)
    assert not {s.name for s in pair.test} & set(pair.train.names)
    rows = {record.image.tobytes() for record in (pair.train[i] for i in range(20))}
    assert not rows & {s.image.tobytes() for s in pair.test}


@pytest.fixture
def fake_clock(monkeypatch):
    """A clock that only steps (0.1 s an arm) and scores (0.2 s an arm) move; notes the rates."""
    told = SimpleNamespace(now=100.0, rates=[])

    def step(net, optimizer, batch, config, step):
        told.now += 0.1
        told.rates.append(config.rate(step))
        return {"total": torch.tensor(1.0)}

    def score(net, samples):
        told.now += 0.2
        return {"summary": {"nsd1": {"mean": 0.5}, "iou": {"mean": 0.5}}}

    monkeypatch.setattr(live, "train_step", step)
    monkeypatch.setattr(live, "evaluate", score)
    monkeypatch.setattr(live, "make_batch", lambda *_: None)
    return told


@pytest.mark.parametrize("seconds", [3.0, 12.0, 30.0])
def test_the_time_is_kept_and_the_rate_falls_to_zero_with_it(fake_clock, seconds):
    run = list(train_live(0, seconds, clock=lambda: fake_clock.now))
    last = run[-1]
    assert last.state == "finished" and seconds - 0.9 < last.seconds <= seconds
    gaps = np.diff([s.seconds for s in run[:-1]])
    assert (gaps >= 1 - 1e-9).all() and gaps.max() < 1.7  # a step and a score later at most
    planned = [s.planned for s in run[2:]]
    assert all(abs(p - last.steps) <= 0.15 * last.steps + 2 for p in planned)
    assert fake_clock.rates[::2] == fake_clock.rates[1::2]
    if last.steps > 50:  # beyond the warm-up
        assert max(fake_clock.rates) == pytest.approx(0.004) and fake_clock.rates[-1] < 0.05 * 0.004
    assert np.diff(last.scored).max() * 0.2 < live.SCORE_EVERY + 0.5  # a score every few seconds


def test_the_first_limit_to_be_reached_counts(fake_clock):
    assert list(train_live(0, 30.0, 5, clock=lambda: fake_clock.now))[-1].steps == 5
    slow = list(train_live(0, 0.01, clock=lambda: fake_clock.now))[-1]
    assert slow.steps == 1 and slow.state == "finished"  # one step at least, however little time there is


def test_stop_ends_it_after_the_step_with_a_score(fake_clock):
    run = list(train_live(0, 60.0, stop=lambda: fake_clock.now > 101.75, clock=lambda: fake_clock.now))
    last = run[-1]  # 0.4 s for the first score, 0.2 s for each step, 0.4 s for the last score
    assert (last.state, last.steps, last.scored.tolist()) == ("stopped", 7, [0, 7])
    assert last.seconds == pytest.approx(2.2) and last.planned == 7


def test_closing_frees_everything_at_once(monkeypatch):
    kept, build, threads = [], live.build_network, threading.active_count()

    def watched(*args):
        kept.append(weakref.ref(net := build(*args)))
        return net

    monkeypatch.setattr(live, "build_network", watched)
    torch.manual_seed(3)
    state, number = torch.get_rng_state(), torch.get_num_threads()
    training = train_live(0, 60.0, every=0)
    assert next(training).steps == 0 and next(training).steps == 1
    assert len(kept) == 2 and all(ref() is not None for ref in kept)
    assert torch.get_num_threads() == number and torch.equal(torch.get_rng_state(), state)
    begun = time.perf_counter()
    training.close()
    gc.collect()
    assert time.perf_counter() - begun < 1 and all(ref() is None for ref in kept)
    assert threading.active_count() <= threads and list(training) == []


def test_it_trains_with_one_thread_in_whatever_thread_it_goes_on(fake_clock, monkeypatch):
    step, numbers = live.train_step, []

    def noted(*args):
        numbers.append(torch.get_num_threads())
        return step(*args)

    monkeypatch.setattr(live, "train_step", noted)
    training = train_live(0, None, 5, every=0, clock=lambda: fake_clock.now)

    def go_on():
        torch.set_num_threads(2)
        next(training)
        numbers.append(-torch.get_num_threads())

    torch.set_num_threads(1)
    try:
        for _ in range(2):
            thread = threading.Thread(target=go_on)
            thread.start()
            thread.join()
    finally:
        torch.set_num_threads(1)
        training.close()
    assert numbers == [-2, 1, 1, -2]


@pytest.mark.parametrize(
    ("settings_given", "says"),
    [
        (dict(seed=-1), "seed=-1 must be a whole number"),
        (dict(seed=1.5), "seed=1.5 must be a whole number"),
        (dict(seconds=0), "seconds=0 must be more than 0"),
        (dict(seconds=float("nan")), "seconds=nan must be"),
        (dict(seconds=None), "a training must end"),
        (dict(max_steps=0), "max_steps=0 must be 1 or more"),
    ],
)
def test_bad_settings_are_refused_before_anything_runs(settings_given, says):
    with pytest.raises(ValueError, match=says):
        train_live(**settings_given)


def test_what_luck_makes_covers_95_of_100_further_pairs():
    rng = np.random.default_rng(0)
    drawn = rng.normal(0, 0.03, (4000, 6))
    inside = np.mean([abs(row[5]) < seed_noise(row[:5], 400).reach for row in drawn])
    assert inside == pytest.approx(0.95, abs=0.012)
    with pytest.raises(ValueError, match="1 seed"):
        seed_noise([0.1], 400)


def test_what_luck_makes_comes_from_the_recorded_experiment():
    arm = load_summary()["experiments"]["shapes"]["arms"]["pooled-8"]
    noise = training_tab.noise()
    assert noise.spread == pytest.approx(np.std(arm["guided minus this"]["nsd1"]["by_seed"], ddof=1))
    assert (noise.seeds, noise.steps) == (len(arm["guided minus this"]["nsd1"]["by_seed"]), arm["steps"])


# --- the figure ------------------------------------------------------------------------------------------------------


def with_scores(s: live.Snapshot, guided: float, pooled: float) -> live.Snapshot:
    """The same moment with other last scores."""
    scores = {arm: {"nsd1": np.array([0.0, v]), "iou": np.array([0.0, v])}
              for arm, v in (("guided", guided), ("pooled", pooled))}  # fmt: skip
    return replace(s, scores=scores, scored=np.array([0, s.steps]))


@pytest.mark.parametrize(
    ("guided", "pooled", "steps", "says"),
    [
        (0.62, 0.60, 400, "guided was 2.0 points of surface Dice ahead of pooled; one run of one seed: differences "
         "under about 8 points mean nothing."),
        (0.60, 0.61, 400, "pooled was 1.0 point of surface Dice ahead of guided; one run"),
        (0.6001, 0.60, 400, "guided and pooled score alike; one run"),
        (0.75, 0.60, 400, "guided was 15.0 points of surface Dice ahead of pooled, more than the about 8 points that "
         "luck makes; train other seeds"),
        (0.60, 0.75, 100, "pooled was 15.0 points of surface Dice ahead of guided; one run of one seed: differences "
         "under about 8 points mean nothing after 400 steps, and after fewer even larger ones."),
    ],
)  # fmt: skip
def test_the_message_says_what_one_run_can_say(run, guided, pooled, steps, says):
    s = with_scores(replace(run[-1], steps=steps), guided, pooled)
    s = replace(s, losses={arm: np.ones(steps, np.float32) for arm in s.losses})
    assert snapshot(s, NOISE).message.startswith(f"Finished after {steps} steps: {says}")
    assert "one run of one seed, so this alone means little" in snapshot(s).message


def test_on_the_way_the_time_is_told_and_a_large_gap_is_no_news(run):
    s = with_scores(replace(run[12], budget=60.0, seconds=20.4, planned=90), 0.5, 0.2)
    message = snapshot(s, NOISE).message
    assert message.startswith("Step 12 of about 90, 40 s left: guided is 30.0 points of surface Dice ahead of pooled;")
    assert message.endswith("and after fewer even larger ones.")
    stopped = snapshot(replace(s, state="stopped"), NOISE).message
    assert stopped.startswith("Stopped after 12 steps: guided was 30.0 points")


def test_the_figure_tells_the_numbers_of_the_snapshot(run):
    s = run[-1]
    figure = snapshot(s, NOISE)
    loss, score = figure.strip
    for i, arm in enumerate(("guided", "pooled")):
        line = score.series[i]
        assert (line.label, line.style) == (arm, i)
        known = np.isfinite(line.y)
        assert line.x[known].tolist() == s.scored.tolist()
        np.testing.assert_allclose(line.y[known], 100 * s.scores[arm]["nsd1"])
        line = loss.series[i]
        assert line.x[np.isfinite(line.y)].tolist() == [*range(1, 17)]
        assert line.y[np.isfinite(line.y)][-1] == pytest.approx(s.losses[arm][-SMOOTH:].mean())
        assert figure.table[1][1 + i] == f"{100 * s.scores[arm]['nsd1'][-1]:.1f}"
        assert figure.table[2][1 + i] == f"{100 * s.scores[arm]['iou'][-1]:.1f}"
        assert dict(figure.data)[f"{arm}-nsd1"] == f"{s.scores[arm]['nsd1'][-1]:.6f}"
        assert figure.cells[0][1 + i].pixels is s.probability[arm]
    assert len({(picture.scale.low, picture.scale.high) for picture in figure.cells[0][1:]}) == 1
    assert loss.x_range == score.x_range == (0, 16) and "Scores jump" in figure.summary
    text = words(figure.to_html())
    assert figure.message in text and "standard deviation of 3.0 points" in text and "77,437 parameters" in text
    assert figure.to_png().startswith(b"\x89PNG")
    long = replace(s, steps=5000, losses={arm: np.ones(5000, np.float32) for arm in s.losses})
    assert len(snapshot(long).to_html()) < 1.2 * len(figure.to_html()) + 20_000  # a page gets one every second


def test_a_training_is_kept_and_read_again(run, tmp_path, monkeypatch):
    monkeypatch.setattr(live, "assets_dir", lambda: tmp_path)
    assert live.recorded() is None
    live.keep(run[-1], tmp_path / live.RECORDED)
    told, last = live.recorded(), run[-1]
    assert (told.state, told.seed, told.steps, told.held_out) == ("recorded", 0, 16, 3)
    assert told.ahead == last.ahead and told.scored.tolist() == last.scored.tolist()
    np.testing.assert_array_equal(told.image, last.image)
    np.testing.assert_array_equal(told.truth, last.truth)
    for arm in ("guided", "pooled"):
        np.testing.assert_allclose(told.losses[arm], last.losses[arm], atol=1e-6)
        np.testing.assert_allclose(told.probability[arm], last.probability[arm], atol=6e-4)


def test_the_page_opens_with_a_training_that_was_recorded_and_begins_as_one_does_here():
    told = live.recorded()
    here = train_live(told.seed, None, told.steps, every=0)
    first = [next(here) for _ in range(3)][-1]
    here.close()
    for arm in ("guided", "pooled"):  # another computer may round otherwise
        np.testing.assert_allclose(told.losses[arm][:2], first.losses[arm], rtol=1e-3)
    assert told.steps == load_summary()["experiments"]["shapes"]["arms"]["structure"]["steps"]
    message = snapshot(told, NOISE).message
    assert message.startswith(f"Recorded, {told.steps} steps from random weights") and "mean nothing" in message


def test_before_the_start_the_figure_says_what_will_be_trained():
    figure = snapshot(before(), NOISE)
    assert figure.message.startswith("Nothing is trained yet") and "two minutes" in figure.message
    assert figure.strip == () and figure.table == () and dict(figure.data)["state"] == "before"
    guided, pooled = (picture.pixels for picture in figure.cells[0][1:])
    assert np.abs(guided - pooled).max() < 0.1  # random weights: nothing to tell apart
    assert snapshot(replace(before(), state="training"), NOISE).message.startswith("Step 0:")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=1, max_size=60))
def test_the_running_mean_is_the_mean_of_the_last_values(values):
    expected = [np.mean(values[max(0, i - SMOOTH) : i]) for i in range(1, len(values) + 1)]
    np.testing.assert_allclose(running_mean(np.array(values)), expected, atol=1e-9)


# --- the tab ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server():
    """A page with this tab alone; its shortest training takes three seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_tab, "MINUTES", [("3 seconds", 0.05), ("a minute", 1.0)])
        patch.setattr(training_tab, "USUAL", 1.0)
        patch.setattr(training_tab, "GRACE", 0.2)
        with gr.Blocks(analytics_enabled=False) as page, gr.Tab("Train"):
            training_tab.build_training_tab()
        _, address, _ = page.queue(max_size=8).launch(
            server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, css=CSS + training_tab.TRAINING_CSS,
            show_error=False, ssr_mode=False, footer_links=[],
        )  # fmt: skip
        yield address
        page.close()


def new_client(server):
    from gradio_client import Client

    return Client(server, verbose=False)


def wait_until(what, seconds: float = 20.0) -> float:
    """Seconds until what() is true."""
    begun = time.monotonic()
    while not what():
        assert time.monotonic() - begun < seconds, "it did not happen in time"
        time.sleep(0.02)
    return time.monotonic() - begun


def nobody_trains() -> bool:
    return training_tab.running is None and not training_tab.turn.locked()


def state_of(text: str) -> tuple[str, int]:
    return re.search(r'data-state="(\w+)"', text)[1], int(re.search(r'data-steps="(\d+)"', text)[1])


def test_a_client_gets_figures_as_they_come(server):
    figures = [state_of(text) for text in new_client(server).submit(3, 0.05, api_name="/train")]
    assert figures[0] == ("training", 0) and figures[-1][0] == "finished" and figures[-1][1] >= 1
    assert [steps for _, steps in figures] == sorted(steps for _, steps in figures) and len(figures) >= 2
    wait_until(nobody_trains, 2)


def test_one_trains_the_others_are_told_at_once_and_only_the_owner_stops_it(server):
    one, two = new_client(server), new_client(server)
    job = one.submit(0, 1.0, api_name="/train")
    wait_until(lambda: len(job.outputs()) >= 2)
    begun = time.monotonic()
    with pytest.raises(Exception, match=r"Somebody else is training on this computer: theirs ends in \d+ s") as caught:
        two.predict(0, 1.0, api_name="/train")
    assert time.monotonic() - begun < 5 and "Traceback" not in str(caught.value)
    with pytest.raises(Exception, match="You have no training that runs"):
        two.predict(api_name="/stop_training")
    assert not nobody_trains()
    one.predict(api_name="/stop_training")
    last = job.result(timeout=20)
    assert state_of(last)[0] == "stopped" and f"Stopped after {state_of(last)[1]} steps" in words(last)
    assert wait_until(nobody_trains) < 2


def test_cancelling_ends_it(server):
    job = new_client(server).submit(0, 1.0, api_name="/train")
    wait_until(lambda: len(job.outputs()) >= 2)
    job.cancel()
    assert wait_until(nobody_trains) < 4  # 1 s on an idle machine


@pytest.mark.parametrize(
    ("arguments", "says"),
    [((None, 1.0), "The seed must be a whole number"), ((-1, 1.0), "less than minimum value 0"),
     ((2**40, 1.0), "must be a whole number from 0 to 4294967295"), ((0, 7.0), "7.0 is not in the list")],
)  # fmt: skip
def test_bad_input_gets_one_sentence(server, arguments, says):
    with pytest.raises(Exception, match=says) as caught:
        new_client(server).predict(*arguments, api_name="/train")
    assert "Traceback" not in str(caught.value) and nobody_trains()


def test_without_recorded_evidence_the_tab_still_works(monkeypatch):
    def missing():
        raise FileNotFoundError("assets/evidence.json")

    monkeypatch.setattr(training_tab, "load_summary", missing)
    training_tab.noise.cache_clear()
    try:
        assert training_tab.noise() is None
    finally:
        training_tab.noise.cache_clear()


@pytest.mark.browser
def test_in_the_browser_by_keyboard_and_gone_with_the_page(server, browser):
    page = browser.new_page(viewport={"width": 1366, "height": 768})
    errors = []
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.goto(server)
    page.wait_for_selector('#sg-live [data-state="recorded"]')
    page.get_by_label("Seed").focus()
    for _ in range(2):  # past the choice of minutes
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "Start training"
    page.keyboard.press("Enter")
    page.wait_for_selector('#sg-live [data-state="training"]')
    told = "+document.querySelector('#sg-live [data-steps]').dataset.steps"
    points = "document.querySelector('#sg-live .sg-chart g path').getAttribute('d').split('L').length"
    page.wait_for_function(f"{told} >= 1")
    first = page.evaluate(f"[{told}, {points}]")
    page.wait_for_function(f"{told} > {first[0]}")
    second = page.evaluate(f"[{told}, {points}]")
    assert first[0] == first[1] and second[0] == second[1] > first[1]  # one point a step
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "Stop"
    page.keyboard.press("Enter")
    page.wait_for_selector('#sg-live [data-state="stopped"]')
    assert re.match(r"Stopped after \d+ steps", page.inner_text("#sg-live .sg-message"))
    wait_until(nobody_trains, 4)
    assert errors == []
    page.get_by_role("button", name="Start training").click()
    page.wait_for_function("document.querySelector('#sg-live [data-state]').dataset.state == 'training'")
    page.close()
    left = wait_until(nobody_trains)
    print(f"from closing the page to the end of its training: {left:.1f} s")
    assert left < 4  # 1 s on two busy cores
