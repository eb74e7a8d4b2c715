"""The demo, as an API client and as people in a browser meet it. Random networks stand in for the shipped weights."""

from __future__ import annotations

import html
import os
import re
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlparse

import numpy as np
import pytest
import torch
from PIL import Image

import app
from sgdc_viz.data.samples import example
from sgdc_viz.explore import COMPARISONS, FAMILIES, UNTRAINED, Explorer
from sgdc_viz.learn import checkpoints, save_checkpoint
from sgdc_viz.nn import SGDCNet, SGDCNetConfig

START = example(app.FIRST)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The real page, served, with an assets folder of our own: six networks that exist whatever is in assets/."""
    assets = tmp_path_factory.mktemp("assets")
    for family in FAMILIES:
        for source in ("structure", "pooled"):
            torch.manual_seed(7)
            network = SGDCNet(SGDCNetConfig.compact(kernel_source=source))
            side = 192 if family == "dermoscopy" else None
            save_checkpoint(assets / f"{family}-{source}.safetensors", network, data={"longest_side": side})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "assets_dir", lambda: assets)
        patch.setattr(app, "explorer", Explorer())
        app.look.cache_clear()
        page = app.build()
        _, address, _ = app.launch(page)
        yield address
        page.close()


@pytest.fixture
def client(server):
    from gradio_client import Client

    return Client(server, verbose=False)


def words(text: str) -> str:
    """The text that people read, without tags and without the tool tips of single cells."""
    text = re.sub(r"<title>.*?</title>", "", text)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", text))).strip()


def refusal(client, *arguments, api_name: str) -> str:
    """The one sentence that a client gets."""
    with pytest.raises(Exception) as caught:
        client.predict(*arguments, api_name=api_name)
    message = str(caught.value)
    assert "Traceback" not in message and "\n" not in message.strip() and len(message) < 300
    return message


# --- as an API client ------------------------------------------------------------------------------------------------


def test_the_api_is_the_four_things_that_the_page_does(client):
    assert set(client.view_api(print_info=False, return_format="dict")["named_endpoints"]) == {
        "/choose_sample", "/choose_networks", "/upload_image", "/inspect_pixel",
    }  # fmt: skip


def test_a_click_needs_no_forward_pass_and_is_faithful(client):
    before = app.explorer.forward_passes
    for y, x in [(0, 0), (255, 255), (100, 60)]:
        kernels, sums = client.predict(y, x, -1, "nuclei", "pooled", api_name="/inspect_pixel")
        assert f"row {y}, column {x}" in words(kernels)
        assert "guided" in words(sums) and "pooled" in words(sums)
        assert float(re.search(r'data-faithfulness="([^"]+)"', sums)[1]) < 1e-5
    assert app.explorer.forward_passes == before


def test_a_channel_can_be_followed(client):
    sums = client.predict(100, 60, 5, "nuclei", "pooled", api_name="/inspect_pixel")[1]
    assert words(sums).count("channel 5, head 1") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((256, 60, -1, "nuclei", "pooled"), "y=256, x=60 is outside the image: y goes from 0 to 255"),
        ((10, -1, -1, "nuclei", "pooled"), "x=-1 is outside the image"),
        ((None, 60, -1, "nuclei", "pooled"), "Give a row y and a column x"),
        ((10, 60, -1, "cats", "pooled"), "cats is not in the list"),
        ((10, 60, -1, "nuclei", "cats"), "cats is not in the list"),
        ((10, 60, 24, "nuclei", "pooled"), "24 is not in the list"),
        ((10, 60, 1.5, "nuclei", "pooled"), "1.5 is not in the list"),
    ],
)
def test_bad_pixels_get_one_sentence(client, arguments, message):
    assert message in refusal(client, *arguments, api_name="/inspect_pixel")


@pytest.mark.parametrize("key", [e.key for e in app.examples() if "whole" not in e.key])
def test_every_sample_opens_and_says_whether_it_is_in_the_domain(client, key):
    networks, _, note, overview, y, x, kernels, sums, prediction = client.predict(
        key, "dermoscopy", "pooled", -1, api_name="/choose_sample"
    )
    e, offered = example(key), networks["choices"]
    if e.family is None:
        assert "Outside what any of these networks learnt" in words(note)
        assert not any("meant for this image" in text for text, _ in offered)
    else:  # the family meant for it is chosen and offered first
        assert networks["value"] == e.family == offered[0][1]
        assert "meant for this image" in offered[0][0] and "Outside" not in words(note)
    assert offered[-1][1] == UNTRAINED
    assert ("true outline" in words(overview)) == e.has_truth == ("IoU" in words(prediction))
    if networks["value"] != "dermoscopy":
        assert (y["value"], x["value"]) == e.pixel
    assert f"row {y['value']}, column {x['value']}" in words(kernels)
    assert "network's own value" in words(sums)


def test_an_unknown_sample_is_refused(client):
    message = refusal(client, "nothing", "nuclei", "pooled", -1, api_name="/choose_sample")
    assert "nothing is not in the list" in message.lower()


def test_other_networks_on_the_same_image(client):
    networks, versus, note, overview, y, x, *_ = client.predict(
        UNTRAINED, "random weights", -1, 30, 40, api_name="/choose_networks"
    )
    assert networks["value"] == UNTRAINED and (y["value"], x["value"]) == (30, 40)
    assert versus["value"] == "pooled"  # random weights are not compared with themselves
    assert "random weights" not in [name for _, name in versus["choices"]]
    assert "random weights" in words(note) and "Random weights, as a control" in words(overview)


def test_other_networks_keep_the_place_where_they_see_another_size(client):
    note, _, y, x = client.predict("dermoscopy", "pooled", -1, 250, 20, api_name="/choose_networks")[2:6]
    assert "Outside what these networks learnt" in words(note) and "192 × 192" in words(note)
    assert (y["value"], x["value"]) == (187, 15)  # 250.5 / 256 of 192, 20.5 / 256 of 192
    y, x = client.predict("nuclei", "pooled", -1, None, None, api_name="/choose_networks")[4:6]
    assert (y["value"], x["value"]) == (250, 20)  # what was selected, as none is given


@pytest.mark.parametrize("versus", [name for name in COMPARISONS if name != "pooled"])
def test_every_comparison_is_in_every_part_of_the_page(client, versus):
    _, chosen, _, overview, y, x, kernels, sums, prediction = client.predict(
        "nuclei", versus, -1, 100, 60, api_name="/choose_networks"
    )
    assert chosen["value"] == versus and (y["value"], x["value"]) == (100, 60)
    for part in (overview, kernels, sums, prediction):
        assert "guided" in words(part) and versus in words(part)
    assert "Two things differ" not in words(overview)
    again = client.predict(100, 60, -1, "nuclei", versus, api_name="/inspect_pixel")
    assert again == (kernels, sums)


def test_each_visitor_has_an_image_of_their_own(server):
    from gradio_client import Client

    one, two = Client(server, verbose=False), Client(server, verbose=False)
    one.predict("microaneurysms", "nuclei", "pooled", -1, api_name="/choose_sample")
    assert "outside" in refusal(one, 200, 200, -1, "nuclei", "pooled", api_name="/inspect_pixel")
    assert "row 200" in words(two.predict(200, 200, -1, "nuclei", "pooled", api_name="/inspect_pixel")[0])


def upload(client, path: Path):
    from gradio_client import handle_file

    return client.predict(handle_file(str(path)), "nuclei", "pooled", api_name="/upload_image")


def scratch_files() -> list[Path]:
    return [p for p in Path(app.scratch.name).rglob("*") if p.is_file() and p.stat().st_size]


@pytest.mark.parametrize("kind", ["RGB.png", "L.jpg", "RGBA.png", "I;16.tif", "1.bmp"])
def test_uploads_of_many_kinds_are_read_and_not_kept_on_disk(client, tmp_path, kind):
    mode, _, suffix = kind.partition(".")
    values = np.random.default_rng(0).integers(0, 2**12 if mode == "I;16" else 255, (30, 44))
    image = Image.fromarray(values.astype(np.uint16 if mode == "I;16" else np.uint8))
    path = tmp_path / f"patient.{suffix}"
    (image if mode == "I;16" else image.convert(mode)).save(path)
    sample, _, _, note, overview, y, x, kernels, *_ = upload(client, path)
    assert ["Your image: patient." + suffix, sample["value"]] in [list(choice) for choice in sample["choices"]]
    assert "if yours shows anything else, do not trust the masks" in words(note)
    assert (y["value"], x["value"]) == (15, 22) and "row 15, column 22" in words(kernels)
    assert 'data-height="30" data-width="44"' in overview
    assert "row 29" in words(client.predict(29, 43, -1, "nuclei", "pooled", api_name="/inspect_pixel")[0])
    assert scratch_files() == []
    assert "patient" not in overview + note  # not even the name


def test_large_uploads_are_cut_and_tiny_ones_work(client, tmp_path):
    Image.new("RGB", (700, 20), "white").save(tmp_path / "wide.png")
    assert "700 × 20 pixels; to stay quick, its middle 512 × 20" in words(upload(client, tmp_path / "wide.png")[3])
    Image.new("RGB", (1, 1)).save(tmp_path / "one.png")
    one = upload(client, tmp_path / "one.png")
    assert "row 0, column 0" in words(one[7]) and "too small: the networks were trained on" in words(one[3])


def test_uploads_stay_in_the_list_of_those_who_brought_them(client, tmp_path, server):
    from gradio_client import Client

    keys = []
    for i in range(2):
        Image.new("RGB", (40, 40 + i), (9, 9, i)).save(tmp_path / f"{'long' * 30}{i}.png")
        sample = upload(client, tmp_path / f"{'long' * 30}{i}.png")[0]
        keys.append(sample["value"])
    mine = [text for text, key in sample["choices"] if key in keys]
    assert len(mine) == 2 and all(text.startswith("Your image: long") and len(text) < 60 for text in mine)
    overview = client.predict(keys[0], "nuclei", "pooled", -1, api_name="/choose_sample")[3]
    assert 'data-height="40" data-width="40"' in overview
    assert "not in the list" in refusal(Client(server, verbose=False), keys[0], "nuclei", "pooled", -1,
                                        api_name="/choose_sample")  # fmt: skip


def test_an_image_chosen_again_keeps_what_is_shown(client):
    client.predict(UNTRAINED, "guidance zeroed", -1, 30, 40, api_name="/choose_networks")
    networks, versus, *_, y, x = client.predict(app.FIRST, UNTRAINED, "guidance zeroed", -1,
                                                api_name="/choose_sample")[:6]  # fmt: skip
    assert (networks["value"], versus["value"]) == (UNTRAINED, "guidance zeroed")
    assert (y["value"], x["value"]) == (30, 40)


def test_number_fields_that_hold_no_pixel_go_back(monkeypatch):
    import gradio as gr

    told, before = [], app.View(app.FIRST, UNTRAINED, "pooled", 30, 40)
    monkeypatch.setattr(gr, "Warning", lambda text, **_: told.append(text))
    skipped = app.type_pixel(30, 40, -1, UNTRAINED, "pooled", before)
    assert all(value == gr.skip() for value in skipped)
    assert app.type_pixel(None, 40, -1, UNTRAINED, "pooled", before)[3:] == (30, 40) and told == []
    assert app.type_pixel(999, 40, -1, UNTRAINED, "pooled", before)[3:] == (30, 40)
    assert "outside the image" in told[0]
    shown, kernels, *_ = app.type_pixel(31, 41, -1, UNTRAINED, "pooled", before)
    assert (shown.y, shown.x) == (31, 41) and "row 31, column 41" in words(kernels)
    with pytest.raises(ValueError, match="channel=1.5 must be a whole number.$"):
        app.as_channel(1.5)


def test_bad_uploads_get_one_sentence(client, tmp_path, monkeypatch):
    good = tmp_path / "good.png"
    Image.effect_noise((64, 64), 50).save(good)
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_bytes(b"hello, I am a text")
    (tmp_path / "<b>bold.png").write_bytes(b"hello")
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:1500])
    Image.new("L", (5000, 2)).save(tmp_path / "long.png")
    for name, message in {"empty.png": "is empty", "text.png": "is not a PNG", "cut.png": "cut.png",
                          "long.png": "5000x2 pixels; at most 4096"}.items():  # fmt: skip
        assert message in refusal(client, handle(tmp_path / name), "nuclei", "pooled", api_name="/upload_image")
    assert "<b>" not in refusal(client, handle(tmp_path / "<b>bold.png"), "nuclei", "pooled", api_name="/upload_image")
    monkeypatch.setattr(app, "MAX_UPLOAD", 100)
    assert "at most 0 MB" in refusal(client, handle(good), "nuclei", "pooled", api_name="/upload_image")
    assert scratch_files() == []


def handle(path: Path):
    from gradio_client import handle_file

    return handle_file(str(path))


def test_a_file_over_the_limit_is_refused_by_the_server(client, tmp_path):
    (tmp_path / "huge.png").write_bytes(bytes(app.MAX_UPLOAD + 2**20))
    with pytest.raises(Exception, match="(?i)size|413|large"):
        client.predict(handle(tmp_path / "huge.png"), "nuclei", "pooled", api_name="/upload_image")
    assert scratch_files() == []


def test_files_of_this_computer_cannot_be_asked_for(client, server):
    import httpx

    mine = str(Path(__file__).resolve())
    assert httpx.get(f"{server}gradio_api/file={mine}").status_code == 403
    data = {"data": [{"path": mine, "meta": {"_type": "gradio.FileData"}}, "nuclei", "pooled"]}
    event = httpx.post(f"{server}gradio_api/call/upload_image", json=data).json()["event_id"]
    answer = httpx.get(f"{server}gradio_api/call/upload_image/{event}").text
    assert "event: error" in answer and Path(mine).exists()


def test_an_upload_that_is_no_longer_kept_says_so(client, tmp_path):
    for i in range(app.KEEP_UPLOADS + 1):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / f"{i}.png")
    upload(client, tmp_path / "0.png")
    from gradio_client import Client

    other = Client(client.src, verbose=False)
    for i in range(1, app.KEEP_UPLOADS + 1):
        upload(other, tmp_path / f"{i}.png")
    assert len(app.uploads) == app.KEEP_UPLOADS
    assert "upload it again" in refusal(client, 1, 1, -1, "nuclei", "pooled", api_name="/inspect_pixel")


def test_without_weights_the_page_says_so_and_offers_the_control_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "assets_dir", lambda: tmp_path)
    monkeypatch.setattr(app, "explorer", Explorer())
    app.look.cache_clear()
    assert [family for _, family in app.offers(app.FIRST)] == [UNTRAINED]
    _, _, _, note, overview, *_ = app.show(app.FIRST, "nuclei", "pooled")
    assert "Weights are missing in assets/: nuclei-structure.safetensors" in words(note)
    assert "random weights" in words(note) and "Random weights, as a control" in words(overview)


def test_what_is_served_stays_here(server):
    assert urlparse(server).hostname == "127.0.0.1"
    import httpx

    config = httpx.get(f"{server}config").json()
    assert config["analytics_enabled"] is False and config["show_error"] is False
    assert not config.get("stylesheets")  # no web fonts
    assert (
        httpx.get(f"{server}gradio_api/monitoring").status_code in (403, 404)
        or "disabled" in httpx.get(f"{server}gradio_api/monitoring").text.lower()
    )


def test_the_next_free_port_is_taken(server, monkeypatch):
    """Somebody else may sit on the first port: the second page goes to another one."""
    import gradio as gr

    with gr.Blocks() as other:
        pass
    try:
        _, address, _ = app.launch(other)
        assert urlparse(address).port != urlparse(server).port
    finally:
        other.close()


def test_the_command_line(monkeypatch, capsys):
    seen, page = {}, SimpleNamespace(block_thread=lambda: seen.update(waits=True))
    monkeypatch.setattr(app, "build", lambda: page)
    monkeypatch.setattr(app, "launch", lambda page, **given: seen.update(given) or ("app", "http://here/", None))
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(signal, "signal", lambda number, handler: seen.update({number: handler}))
    app.main([])
    with pytest.raises(SystemExit):  # an orderly end: the folder for uploads goes with it
        seen.pop(signal.SIGTERM)(signal.SIGTERM, None)
    assert seen == {"port": None, "browser": True, "waits": True}
    assert capsys.readouterr().out == "The demo runs at http://here/ (Ctrl+C ends it).\n"
    app.main(["--port", "8123", "--no-browser"])
    seen.pop(signal.SIGTERM)
    assert seen == {"port": 8123, "browser": False, "waits": True}
    monkeypatch.setenv("CI", "true")
    app.main([])
    assert seen["browser"] is False
    with pytest.raises(SystemExit):
        app.main(["--port", "many"])
    assert "invalid int value" in capsys.readouterr().err


def test_a_port_that_is_taken_is_said_in_one_sentence(server, monkeypatch, capsys):
    import gradio as gr

    with gr.Blocks() as page:
        pass
    monkeypatch.setattr(app, "build", lambda: page)
    with pytest.raises(SystemExit) as caught:
        app.main(["--port", str(urlparse(server).port), "--no-browser"])
    assert caught.value.code == 1
    message = capsys.readouterr().err
    assert "cannot serve on port" in message and "--port" in message and "Traceback" not in message


# --- in a browser ----------------------------------------------------------------------------------------------------


class Page:
    """An open page that remembers what it asked for and what it complained about."""

    def __init__(self, browser, address, width=1366, height=768, scheme="light"):
        self.context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        self.page, self.hosts, self.complaints = self.context.new_page(), set(), []
        self.page.on("request", lambda r: self.hosts.add(urlparse(r.url).hostname))
        self.page.on("console", lambda m: self.complaints.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.set_default_timeout(15_000)
        self.page.goto(address)
        self.page.wait_for_selector("#sg-predictions svg.sg-linked", timeout=60_000)
        self.page.wait_for_timeout(300)

    def plane(self, where: str = "#sg-overview .sg-lead"):
        return self.page.locator(f"{where} svg.sg-linked").first

    def wait_for_pixel(self, y: int, x: int) -> None:
        text = f"row {y}, column {x}"
        self.page.wait_for_function("t => document.querySelector('#sg-kernels').innerText.includes(t)", arg=text)
        self.page.wait_for_function(
            "t => document.querySelector('#sg-microscope .sg-summary').innerText.includes(t)", arg=f"Image {text}"
        )

    def fields(self) -> tuple[str, str]:
        return tuple(self.page.get_by_label(re.compile(name)).input_value() for name in ("Row y", "Column x"))

    def mark(self) -> tuple[float, float]:
        rect = self.plane().locator(".sg-mark rect").first
        return float(rect.get_attribute("y")), float(rect.get_attribute("x"))


@pytest.fixture
def opened(browser, server):
    pages = []

    def open_page(**how) -> Page:
        pages.append(Page(browser, server, **how))
        return pages[-1]

    yield open_page
    for page in pages:
        page.context.close()
        assert page.complaints == []
        assert {h for h in page.hosts if h} == {"127.0.0.1"}  # nothing is asked of any other host


def click(page: Page, plane, fraction: tuple[float, float]) -> tuple[int, int]:
    """Click somewhere in a picture; returns the image pixel (y, x) there, from its view box alone.

    At a whole screen pixel, because browsers report clicks in whole pixels.
    """
    plane.scroll_into_view_if_needed()
    x0, y0, w, h = (float(v) for v in plane.get_attribute("viewBox").split())
    box = plane.bounding_box()
    x, y = round(box["x"] + fraction[1] * box["width"]), round(box["y"] + fraction[0] * box["height"])
    page.page.mouse.click(x, y)
    return int(y0 + (y - box["y"]) / box["height"] * h), int(x0 + (x - box["x"]) / box["width"] * w)


@pytest.mark.browser
def test_the_page_opens_with_its_point_made(opened):
    page = opened()
    assert page.fields() == tuple(str(n) for n in START.pixel)
    lead, last = page.plane().bounding_box(), page.page.locator("#sg-overview .sg-cell svg").last.bounding_box()
    assert max(lead["y"] + lead["height"], last["y"] + last["height"]) <= 768  # image and all six maps, no scrolling
    kernels = page.page.locator("#sg-kernels .sg-many svg")
    assert kernels.count() == 8 and kernels.last.bounding_box()["y"] < 768
    message = page.page.locator("#sg-overview .sg-message").inner_text()
    assert "only from block to block" in message and "compare with “guidance zeroed”" in message
    widths = {round(page.page.locator("#sg-overview .sg-cell svg").nth(i).bounding_box()["width"]) for i in range(6)}
    assert len(widths) == 1


@pytest.mark.browser
def test_a_click_on_any_picture_selects_the_pixel_under_it(opened):
    page = opened()
    for where in (
        "#sg-overview .sg-lead",
        "#sg-overview .sg-grid",
        "#sg-predictions .sg-lead",
        "#sg-predictions .sg-grid",
    ):
        for fraction in ((0.3, 0.7), (0.91, 0.08)):
            y, x = click(page, page.plane(where), fraction)
            page.wait_for_pixel(y, x)
            assert page.fields() == (str(y), str(x))
            assert page.mark() == (y // 2 * 2 - 6, x // 2 * 2 - 6)  # 7 taps of stride 2 around its feature pixel


@pytest.mark.browser
def test_the_keyboard_alone_is_enough(opened):
    page, (y, x) = opened(), START.pixel
    page.plane().focus()
    assert page.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"  # focus is visible
    page.page.keyboard.press("ArrowDown")
    page.wait_for_pixel(y + 1, x)
    page.page.keyboard.press("Shift+ArrowRight")
    page.wait_for_pixel(y + 1, x + 10)
    row = page.page.get_by_label(re.compile("Row y"))
    row.fill("20")
    row.press("Enter")
    page.wait_for_pixel(20, x + 10)
    row.fill("")
    row.press("Tab")  # an empty field says nothing: it shows again what is selected
    page.page.wait_for_function(
        "y => [...document.querySelectorAll('#sg-fine input')].some(i => i.value === y)", arg="20"
    )
    assert page.mark()[0] == 14
    x0, y0, w, h = (float(v) for v in page.plane().get_attribute("viewBox").split())
    assert y0 <= 20 < y0 + h  # what is selected comes into view


@pytest.mark.browser
def test_zoom_is_shared_by_all_linked_pictures(opened):
    page = opened()
    boxes = lambda: {s.get_attribute("viewBox") for s in page.page.locator("svg.sg-linked").all()}  # noqa: E731
    assert len(boxes()) == 1
    page.page.get_by_role("button", name="whole image").first.click()
    assert boxes() == {"0 0 256 256"}
    page.page.get_by_role("button", name="4×").first.click()
    (box,) = boxes()
    assert box.endswith("64 64")
    assert page.page.locator("button.sg-zoom[aria-pressed=true]").all_inner_texts() == ["4×", "4×"]
    y, x = click(page, page.plane(), (0.5, 0.25))
    page.wait_for_pixel(y, x)


@pytest.mark.browser
def test_a_cross_hair_follows_the_mouse_in_all_pictures(opened):
    page = opened()
    page.plane("#sg-overview .sg-grid").hover()
    paths = [p.get_attribute("d") for p in page.page.locator("#sg-overview .sg-cross").all()]
    assert len(paths) == 7 and len(set(paths)) == 1 and paths[0]


@pytest.mark.browser
def test_another_image_other_networks_and_a_channel(opened):
    page = opened()
    page.page.get_by_label("Image", exact=True).click()
    page.page.get_by_role("option", name=re.compile("Skin lesion, drawn")).click()
    y, x = example("synthetic-lesion").pixel
    page.wait_for_pixel(y, x)
    assert page.page.locator("#sg-overview .sg-lead path.sg-truth").count() == 1  # the true outline
    assert page.plane().get_attribute("viewBox") == "0 0 256 192"
    page.page.get_by_label("Networks", exact=True).click()
    page.page.get_by_role("option", name=re.compile("random weights")).click()
    page.page.wait_for_selector("#sg-overview .sg-message:has-text('Random weights')")
    assert "nothing they show was learnt" in page.page.locator("#sg-note").inner_text()
    assert page.fields() == (str(y), str(x))
    page.page.get_by_label("Channel to follow").click()
    page.page.get_by_role("option", name="3", exact=True).click()
    page.page.wait_for_selector("#sg-microscope :text('channel 3, head 1')")


@pytest.mark.browser
def test_uploads_in_the_browser_good_and_bad(opened, tmp_path):
    page = opened()
    Image.effect_noise((50, 30), 60).convert("RGB").save(tmp_path / "mine.png")
    (tmp_path / "bad.png").write_bytes(b"not an image")
    chooser = page.page.locator("input[type=file]").first
    chooser.set_input_files(str(tmp_path / "mine.png"))
    page.wait_for_pixel(15, 25)
    image = page.page.get_by_label("Image", exact=True)
    y, x = click(page, page.plane(), (0.5, 0.3))
    page.wait_for_pixel(y, x)
    for key in ("Escape", "Tab"):  # a list that is opened and left without a choice changes nothing
        image.click()
        page.page.keyboard.press(key)
        page.page.wait_for_timeout(500)
        assert image.input_value() == "Your image: mine.png" and page.fields() == (str(y), str(x))
    chooser.set_input_files(str(tmp_path / "bad.png"))
    toast = page.page.locator(".toast-body").first
    toast.wait_for()
    text = toast.inner_text()
    assert "is not a PNG, JPEG, TIFF or BMP image" in text and "Traceback" not in text
    page.wait_for_pixel(y, x)  # the page stays as it was
    page.page.wait_for_timeout(300)
    pills = page.page.locator(".block > .wrap span.error").all()
    assert not any(pill.is_visible() for pill in pills)  # nothing is painted over what is still right
    assert scratch_files() == []


@pytest.mark.browser
@pytest.mark.parametrize(
    ("width", "height", "scheme"),
    [(360, 780, "light"), (360, 780, "dark"), (1366, 768, "dark"), (1920, 1080, "light")],
)
def test_it_fits_every_screen_in_light_and_dark(opened, width, height, scheme):
    page = opened(width=width, height=height, scheme=scheme)
    overflow = page.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0
    colours = page.page.evaluate("""() => {
        const box = document.querySelector('.sg-message'), css = getComputedStyle(box).color;
        const all = [css, getComputedStyle(document.body).backgroundColor];
        return all.map(c => c.match(/[\\d.]+/g).slice(0, 3).map(Number));
    }""")
    text, background = (relative_luminance(c) for c in colours)
    assert (max(text, background) + 0.05) / (min(text, background) + 0.05) > 7  # WCAG AAA contrast
    assert (text < background) == (scheme == "light")
    small = page.page.evaluate("""() => [...document.querySelectorAll('.sg-figure *')].filter(
        e => e.children.length === 0 && e.textContent.trim() && e.tagName !== 'title'
             && parseFloat(getComputedStyle(e).fontSize) < 10.5).map(e => e.textContent.slice(0, 30))""")
    assert small == []  # no letter too small to read
    for svg in page.page.locator(".sg-figure svg[role]").all():
        assert svg.bounding_box()["width"] >= 60


def relative_luminance(rgb) -> float:
    linear = [c / 255 / 12.92 if c / 255 <= 0.03928 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


@pytest.mark.browser
def test_another_comparison_in_the_browser(opened):
    page, (y, x) = opened(), START.pixel
    page.page.get_by_label("Compare with").click()
    page.page.get_by_role("option", name=re.compile("guidance zeroed")).click()
    page.page.wait_for_selector("#sg-overview .sg-row:has-text('guidance zeroed')")
    for part in ("#sg-kernels", "#sg-microscope", "#sg-predictions"):
        assert "guidance zeroed" in page.page.locator(part).inner_text()
    assert page.fields() == (str(y), str(x))
    versus = page.page.get_by_label("Compare with")  # and by keyboard
    versus.click()
    page.page.keyboard.press("ControlOrMeta+a")
    page.page.keyboard.type("random")
    page.page.keyboard.press("Enter")
    page.page.wait_for_selector("#sg-overview .sg-row:has-text('random weights')")


@pytest.mark.browser
def test_the_first_screen_of_a_phone_makes_the_point(opened):
    page = opened(width=360, height=780)
    lead = page.plane().bounding_box()
    kernels = [k.bounding_box() for k in page.page.locator("#sg-kernels .sg-many svg").all()]
    first_map = page.plane("#sg-overview .sg-grid").bounding_box()
    assert lead["height"] < 200 and lead["y"] + lead["height"] <= min(k["y"] for k in kernels)
    bottom = max(k["y"] + k["height"] for k in kernels)
    assert bottom < 780 and bottom < first_map["y"]
    y, x = click(page, page.plane(), (0.3, 0.6))
    page.wait_for_pixel(y, x)
    small = page.page.evaluate("""() => [...document.querySelectorAll('#sg-controls input, #sg-controls button, '
        + '#sg-channel input, button.sg-zoom')].filter(e => e.getClientRects().length
        && e.getBoundingClientRect().height < 40).map(e => e.outerHTML.slice(0, 80))""")
    assert small == []  # a finger needs 40 px


@pytest.mark.browser
def test_a_click_is_answered_within_a_second(opened):
    page, times = opened(), []
    for i in range(5):
        start = time.perf_counter()
        y, x = click(page, page.plane(), (0.2 + 0.12 * i, 0.3))
        page.wait_for_pixel(y, x)
        times.append(time.perf_counter() - start)
    print(f"click to kernels: median {1000 * np.median(times):.0f} ms")
    assert np.median(times) < (5 if os.environ.get("CI") else 2)  # 0.2 s on an idle machine; tests share theirs
