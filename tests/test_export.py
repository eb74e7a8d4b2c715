"""The demo as one file: what it holds, and what people in a browser see and do, held to the library's own numbers."""

from __future__ import annotations

import json
import re
import time
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import run
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as made_arrays

from sgdc_viz.export import PICTURES, Shown, build_page, export_page, load_pictures
from sgdc_viz.export.outline import normals_everywhere
from sgdc_viz.export.stored import STEP, TOLERANCE, Array, check, pack, stored_network
from sgdc_viz.learn import checkpoints
from sgdc_viz.views import signed_distance
from sgdc_viz.views.geometry import normal_at

TINY = Shown("microaneurysms")  # 102 x 102 pixels, so the network pads it; nothing in it is taken for a nucleus


@pytest.fixture(scope="module")
def pictures():
    return {picture.shown.key: picture for picture in load_pictures()}


@pytest.fixture(scope="module")
def page_file(tmp_path_factory, pictures) -> Path:
    """The page with all its pictures, written once."""
    folder = tmp_path_factory.mktemp("export")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sgdc_viz.export.page.load_pictures", lambda chosen: list(pictures.values()))
        return export_page(folder)


@pytest.fixture(scope="module")
def tiny():
    return load_pictures([TINY])


# --- what is stored --------------------------------------------------------------------------------------------------

label_maps = made_arrays(np.int32, st.tuples(st.integers(1, 14), st.integers(1, 14)), elements=st.integers(0, 3))


@settings(max_examples=60, deadline=None)
@given(label_maps)
@example(np.zeros((5, 6), np.int32))
@example(np.ones((5, 6), np.int32))
@example(np.repeat([[0, 1, 1, 2, 2, 0]], 6, 0))  # where objects touch, a pixel takes its own one's outline
def test_the_table_of_normals_says_what_normal_at_says(labels):
    found = normals_everywhere(labels)
    for pixel in list(np.ndindex(labels.shape))[:: max(1, labels.size // 12)]:
        if found is None:
            with pytest.raises(ValueError, match="no outline"):
                normal_at(labels, pixel)
            continue
        table, index = found
        y, x, dy, dx, label = table[index[pixel]]
        expected = normal_at(labels, pixel)
        assert ((y, x), label) == (expected.point, expected.label)
        np.testing.assert_allclose((dy, dx), expected.direction, atol=1e-6)


def test_normals_on_a_real_truth_agree_too(pictures):
    truth = pictures["synthetic-nuclei"].pair.truth
    table, index = normals_everywhere(truth)
    assert index.shape == truth.shape and len(table) > 100
    rng = np.random.default_rng(0)
    for pixel in zip(*rng.integers(0, truth.shape, (40, 2)).T, strict=True):
        expected = normal_at(truth, tuple(int(n) for n in pixel))
        np.testing.assert_allclose(table[index[pixel]], [*expected.point, *expected.direction, expected.label],
                                   atol=1e-9)  # fmt: skip
    assert np.isfinite(signed_distance(truth)).all()


@settings(max_examples=30, deadline=None)
@given(made_arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 5)), elements=st.floats(-9, 9)),
       st.sampled_from([STEP, 1e-7, 1.0]))  # fmt: skip
def test_packed_numbers_come_back_within_half_a_step(values, step):
    data = zlib.decompress(pack({"word": "“é”"}, {"one": Array(np.zeros(3), 1.0), "two": Array(values, step)}))
    length = int.from_bytes(data[:4], "little")
    told = json.loads(data[4 : 4 + length])
    place = told["arrays"]["two"]
    assert told["word"] == "“é”" and place["shape"] == list(values.shape) and place["at"] == 12
    planes = np.frombuffer(data, np.uint8, offset=4 + length + place["at"]).reshape(4, -1)
    read = np.ascontiguousarray(planes.T).view("<i4").ravel() * step
    assert np.abs(read - values.ravel()).max() <= 0.5001 * step


def test_what_is_stored_makes_the_networks_own_numbers_at_every_pixel(pictures):
    pair = pictures["synthetic-nuclei"].pair
    for name, recorded in pair.runs.items():
        arrays, error = stored_network(pair, name)
        assert 0 < error < TOLERANCE / 4
        share = recorded.pool_size or 1
        assert arrays["context"].values.shape == (24, 64 // share, 64 // share)  # pooled: once for each block
        kernels = recorded.recording[f"{recorded.block}.kernels"][0].numpy()
        seen = {tap: recorded.recording[f"{recorded.block}.{tap}"][0].numpy()
                for tap in ("gate_static", "gate_dynamic", "dynamic_out")} | {"kernels": kernels}  # fmt: skip
        assert check(arrays, seen, share) == pytest.approx(error)
        for part in ("context", "weights", "bias", "value"):
            wrong = arrays[part].values.copy()
            wrong.flat[wrong.size // 2] += 0.5
            with pytest.raises(ValueError, match="what the page would show is off by"):
                check({**arrays, part: Array(wrong, arrays[part].step)}, seen, share)


# --- the file --------------------------------------------------------------------------------------------------------


def test_it_is_one_small_file(page_file):
    assert [path.name for path in page_file.parent.iterdir()] == ["index.html"]
    assert page_file.stat().st_size < 15e6
    text = page_file.read_text(encoding="utf-8")
    assert text.count('<script type="text/plain" id="data-') == len(PICTURES) >= 4
    assert "<!--" not in re.sub(r"<!-- .*? -->", "", text)  # every place was filled
    assert not re.search(r"(src|href|url\()=?[\"'(]?(https?:)?//(?!arxiv\.org/abs)", text)


def test_two_exports_are_equal_and_leave_other_files_alone(tmp_path):
    other = tmp_path / "one" / "notes.txt"
    other.parent.mkdir()
    other.write_text("mine")
    (other.parent / "index.html").write_text("an older page")
    pages = [export_page(folder, [TINY]) for folder in (tmp_path / "one", tmp_path / "new" / "two")]
    first, second = (page.read_bytes() for page in pages)
    assert first == second and first.startswith(b"<!doctype html>")
    assert other.read_text() == "mine" and sorted(p.name for p in other.parent.iterdir()) == ["index.html", "notes.txt"]


def test_the_command(capsys, tmp_path, monkeypatch, tiny):
    monkeypatch.setattr("sgdc_viz.export.page.load_pictures", lambda chosen: tiny)
    code, told, _ = run(capsys, "export", tmp_path / "page")
    assert code == 0 and f"wrote {tmp_path / 'page' / 'index.html'}, " in told and " MB" in told
    assert (tmp_path / "page" / "index.html").resolve().as_uri() in told


def test_a_file_in_place_of_a_folder_and_missing_weights_are_one_sentence(capsys, tmp_path, monkeypatch):
    file = tmp_path / "page"
    file.write_text("mine")
    code, _, error = run(capsys, "export", file)
    assert code == 2 and "is a file: give the name of a folder." in error and file.read_text() == "mine"
    with pytest.raises(ValueError, match="is a file"):
        export_page(file)

    (tmp_path / "assets").mkdir()
    monkeypatch.setattr(checkpoints, "assets_dir", lambda: tmp_path / "assets")
    code, _, error = run(capsys, "export", tmp_path / "new")
    assert code == 2 and error.count("\n") == 1 and "nuclei-structure.safetensors are missing" in error
    assert not (tmp_path / "new").exists()


def test_a_failed_export_leaves_the_old_page_whole(tmp_path, monkeypatch, tiny):
    (tmp_path / "index.html").write_text("the old page")
    monkeypatch.setattr("sgdc_viz.export.page.load_pictures", lambda chosen: tiny)
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        export_page(tmp_path)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("index.html", "the old page")]


def test_pictures_whose_file_is_missing_are_left_out():
    with pytest.raises(ValueError, match="none of the pictures nothing is there"):
        load_pictures([Shown("nothing")])
    assert [p.shown for p in load_pictures([Shown("nothing"), TINY])] == [TINY]


# --- in a browser ----------------------------------------------------------------------------------------------------


class Page:
    """One open page; its console must stay empty and it must ask for nothing but its own file."""

    def __init__(self, browser, file: Path, address="", width=1366, height=768, scheme="light", script="", js=True):
        self.context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme,
                                           java_script_enabled=js)  # fmt: skip
        self.page = self.context.new_page()
        self.noise, self.requests, self.file = [], [], file
        self.page.on("console", lambda message: self.noise.append(message.text))
        self.page.on("pageerror", lambda error: self.noise.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        if script:
            self.page.add_init_script(script)
        self.page.goto(file.as_uri() + address)

    def ready(self) -> Page:
        self.page.wait_for_selector("#page:not([hidden]) #profile .sg-figure")
        return self

    def text(self, selector: str) -> str:
        return self.page.locator(selector).first.text_content().strip()

    def texts(self, selector: str) -> list[str]:
        return self.page.locator(selector).all_text_contents()

    def count(self, script: str):
        return self.page.evaluate(script)

    def until(self, script: str) -> None:
        """Wait for it; playwright's own way evaluates text inside the page, which the page forbids."""
        end = time.monotonic() + 20
        while not self.page.evaluate(script):
            assert time.monotonic() < end, script
            self.page.wait_for_timeout(20)

    def click(self, selector: str, pixel: tuple[int, int]) -> None:
        """A real mouse click on the middle of an image pixel of a linked picture."""
        self.page.locator(selector).first.scroll_into_view_if_needed()
        x, y = self.page.evaluate(
            """([selector, y, x]) => { const svg = document.querySelector(selector);
            const p = new DOMPoint(x + 0.5, y + 0.5).matrixTransform(svg.getScreenCTM()); return [p.x, p.y]; }""",
            [selector, *pixel],
        )
        self.page.mouse.click(x, y)

    @property
    def pixel(self) -> tuple[int, int]:
        return tuple(int(self.page.input_value(f"#{name}")) for name in ("row", "column"))

    @property
    def hash(self) -> dict[str, str]:
        return dict(part.split("=") for part in self.page.evaluate("location.hash").removeprefix("#").split("&"))


@pytest.fixture
def opened(browser, page_file):
    pages = []

    def open_page(address="", **how) -> Page:
        file = how.pop("file", page_file)
        pages.append(Page(browser, file, address, **how))
        return pages[-1]

    yield open_page
    for page in pages:
        assert page.noise == []
        assert set(page.requests) - {"data:,"} == {url for url in page.requests if url.startswith(page.file.as_uri())}
        page.context.close()


NUMBER = re.compile(r"[+−-]?\d+(?:\.\d+)?(?:e[−-]?\d+)?")


def value_of(text: str) -> float:
    return float(text.replace("−", "-"))


def alike(shown: str, told: str, tolerance: float = TOLERANCE) -> None:
    """The same words, and numbers that differ by no more than the tolerance and one of the last digit."""
    assert NUMBER.sub("#", shown) == NUMBER.sub("#", told)
    for a, b in zip(NUMBER.findall(shown), NUMBER.findall(told), strict=True):
        digits, _, power = b.replace("−", "-").partition("e")
        last = 10.0 ** (int(power or 0) - len(digits.partition(".")[2])) if "." in b else 0  # whole numbers are exact
        assert abs(value_of(a) - value_of(b)) <= tolerance + 1.001 * last, (shown, told)


def same_sums(page: Page, pair, pixel, channel=None) -> None:
    """Everything that the page says of one pixel is what the library says."""
    kernels, sums = pair.kernels(pixel), pair.microscope(pixel, channel)
    assert page.text("#kernels .sg-message") == kernels.message
    alike(page.text("#kernels .sg-summary"), kernels.summary)
    alike(page.page.evaluate("document.querySelector('#microscope .sg-summary').firstChild.data.trim()"),
          sums.summary.replace("Checked on all 24 channels. ", ""))  # fmt: skip
    words = [line for row in sums.cells for line in row[4].lines]
    for shown, told in zip(page.texts("#microscope .sg-words p"), words, strict=True):
        alike(shown, told)
    # every weight of every kernel, every product, every gate, from the tool tips of their cells
    heats = [heat for row in kernels.cells for heat in row[0]] + [row[c] for row in sums.cells for c in (1, 2, 3)]
    shown = page.texts("#kernels .sg-heat title") + page.texts("#microscope .sg-heat title")
    values = np.concatenate([heat.values.ravel() for heat in heats])
    assert len(shown) == len(values)
    read = np.array([value_of(text.split(": ")[1]) for text in shown])
    np.testing.assert_allclose(read, values, atol=TOLERANCE, rtol=0.0051)  # three digits
    bars = page.texts("#microscope .sg-bars title")
    gates = np.concatenate([row[c].values for row in sums.cells for c in (5, 6)])
    read = np.array([value_of(text.split(": ")[1]) for text in bars])
    np.testing.assert_allclose(read, gates, atol=TOLERANCE, rtol=0.0051)
    ticks = [tick for column in sums.columns if column.scale for tick in column.scale.ticks]
    for shown, told in zip(page.texts("#microscope .sg-ticks span"), ticks, strict=True):
        alike(shown, told)


def same_profile(page: Page, pair, pixel) -> None:
    told = pair.boundary_profile(pixel)
    alike(page.text("#profile .sg-message"), told.message)
    rows = page.page.locator("#profile tbody tr").all()
    for shown, row in zip(rows, told.table[1:], strict=True):
        alike(" | ".join(shown.locator("td").all_text_contents()), " | ".join(row))
    plots = [cell for row in told.cells for cell in row if hasattr(cell, "series")]
    charts = page.page.locator("#profile .sg-chart")
    for n, plot in enumerate(plots):
        alike(charts.nth(n).get_attribute("aria-label"), plot.alt)
    line = page.text("#profile .ex-line").split("passes ")[1].split(";")[0]
    alike(line, told.summary.split("passes ")[1].split(";")[0])
    ends = [float(n) for n in re.findall(r"[\d.-]+", page.page.locator(".ex-normal").first.get_attribute("d"))[:4]]
    (start, end), *_ = told.lead.strokes[0].lines
    np.testing.assert_allclose(ends, [start[1], start[0], end[1], end[0]], atol=0.011)
    # the curves themselves: the first point of each line, back from the chart to the value
    for n, plot in enumerate(plots):
        (low, high), at = plot.y_range, {}
        for series in plot.series:
            at[series.label] = float(series.y[np.isfinite(series.y)][0])
        for group in charts.nth(n).locator("g").all():
            v = float(re.match(r"M[\d.]+ ([\d.]+)", group.locator("path").first.get_attribute("d"))[1])
            value = low + (163 - v) / (163 - 26) * (high - low)
            assert value == pytest.approx(at[group.locator("title").text_content()], abs=0.001 * (high - low) + 1e-4)


@pytest.mark.browser
@pytest.mark.parametrize("key", [shown.key for shown in PICTURES])
def test_clicked_and_keyed_pixels_say_what_the_library_says(opened, pictures, key):
    picture = pictures[key]
    pair = picture.pair
    page = opened(f"#image={key}").ready()
    assert page.pixel == tuple(picture.pixel)
    same_sums(page, pair, page.pixel)
    same_profile(page, pair, page.pixel)
    height, width = pair.image.shape[:2]
    for pixel in [(0, 0), (height - 1, width - 1), (height // 3, width // 2)]:
        page.click("#overview .sg-lead svg", pixel)
        assert page.pixel == pixel
        same_sums(page, pair, pixel)
        same_profile(page, pair, pixel)
    page.page.keyboard.press("ArrowDown")  # the picture has the focus since the click
    page.page.keyboard.press("Shift+ArrowLeft")
    pixel = (pixel[0] + 1, pixel[1] - 10)
    assert page.pixel == pixel
    same_sums(page, pair, pixel)


@pytest.mark.browser
def test_any_picture_moves_the_mark_in_all(opened):
    page = opened().ready()
    for selector in ("#overview .sg-cell svg", "#pooling .sg-lead svg", "#profile .sg-lead svg"):
        pixel = (31, 90) if "overview" in selector else (80, 41) if "pooling" in selector else (12, 77)
        page.click(selector, pixel)
        assert page.pixel == pixel
        corners = page.count(
            "[...document.querySelectorAll('.sg-linked')].filter((s) => s.dataset.side).map((s) => "
            "{ const r = s.querySelector('.sg-mark rect'); return [+r.getAttribute('y') + s.dataset.side / 2, "
            "+r.getAttribute('x') + s.dataset.side / 2]; })"
        )
        assert len(corners) > 30 and {tuple(c) for c in corners} == {(pixel[0] // 2 * 2 + 1, pixel[1] // 2 * 2 + 1)}


@pytest.mark.browser
def test_a_channel_can_be_followed(opened, pictures):
    page = opened().ready()
    page.page.select_option("#channel", "17")
    same_sums(page, pictures[PICTURES[0].key].pair, page.pixel, 17)
    assert page.hash["channel"] == "17"
    page.page.select_option("#channel", "")
    same_sums(page, pictures[PICTURES[0].key].pair, page.pixel)


@pytest.mark.browser
@pytest.mark.parametrize("key", ["synthetic-nuclei", "retina"])  # with and without truth
def test_the_slider_shows_what_each_pool_size_does(opened, pictures, key):
    pair = pictures[key].pair
    steps = pair.pooling_steps()
    first, *_, trained = steps
    page = opened(f"#image={key}&p=1").ready()
    page.page.focus("#size")
    outlines = []
    bars = page.texts("#pooling .sg-foot .sg-ticks")
    for n, label in enumerate(steps):
        if not steps[label].retrained:
            assert page.text("#pooling .sg-message") == pair.pooling(steps[label].pool_size).message
        visible = page.page.locator("#pooling .sg-row:visible").all_text_contents()
        assert [v.split(" · ")[0] for v in visible] == list(dict.fromkeys([first, label, trained]))
        assert ("not retrained" in page.text("#size-told")) == (n not in (0, len(steps) - 1))
        assert page.page.get_attribute("#size", "aria-valuetext") == page.text("#size-told")
        assert page.texts("#pooling .sg-foot .sg-ticks") == bars  # one scale for all of them
        outlines.append(page.page.get_attribute("#pooling .ex-mask", "d"))
        if pair.truth is not None:
            row = page.page.locator("#pooling tr.ex-now td").all_text_contents()
            assert float(row[1]) == pytest.approx(steps[label].metrics["iou"], abs=0.0006)
            assert float(row[2]) == pytest.approx(steps[label].metrics["nsd1"], abs=0.0006)
        assert page.hash["p"] == ["1", "2", "4", "8", "16", "32", "all", "trained"][n]
        page.page.keyboard.press("ArrowRight")
    assert len(set(outlines)) == len(steps)
    assert page.page.locator("#pooling table").count() == (pair.truth is not None)


@pytest.mark.browser
def test_the_address_restores_and_follows_the_state(opened, pictures):
    page = opened("#image=synthetic-lesion&y=30&x=140&p=32&channel=4").ready()
    assert page.page.input_value("#image") == "synthetic-lesion" and page.pixel == (30, 140)
    assert page.text("#size-told") == "pool size 32: not retrained"
    same_sums(page, pictures["synthetic-lesion"].pair, (30, 140), 4)
    page.page.select_option("#image", "cell")
    page.until("document.querySelector('#note').textContent.includes('A whole cell')")
    assert page.hash == {"image": "cell", "y": "65", "x": "37", "p": "32", "channel": "4"}
    page.page.fill("#row", "90")
    page.page.press("#row", "Enter")
    assert page.hash["y"] == "90" and page.pixel == (90, 37)
    page.page.evaluate("location.hash = '#image=synthetic-nuclei&y=7&x=8&p=all'")
    page.until("document.querySelector('#row').value === '7'")
    assert page.text("#size-told") == "whole image: not retrained"
    same_sums(page, pictures["synthetic-nuclei"].pair, (7, 8))


@pytest.mark.browser
def test_a_garbled_address_opens_the_page_as_usual(opened, pictures):
    page = opened("#image=<b>&y=-3&x=999999999&p=7&channel=99&more").ready()
    first = pictures[PICTURES[0].key]
    assert page.pixel == tuple(first.pixel) and page.hash["p"] == "8" and "channel" not in page.hash
    page = opened(f"#image={PICTURES[0].key}&y=4000&x=5").ready()
    assert page.pixel == (first.pair.image.shape[0] - 1, 5)


@pytest.mark.browser
def test_only_what_was_learnt_goes_without_a_warning(opened, pictures):
    page = opened().ready()
    for key, picture in pictures.items():
        page.page.select_option("#image", key)
        page.until(f"location.hash.includes('image={key}&')")
        assert page.text("#note").startswith("Outside what any") == (picture.example.family is None)
        assert f"Networks: {picture.pair.family}-structure and {picture.pair.family}-pooled" in page.text("#note")


@pytest.mark.browser
def test_everything_can_be_reached_and_told_without_a_mouse(opened):
    page = opened().ready()
    reached = []
    for _ in range(40):
        page.page.keyboard.press("Tab")
        where = page.count(
            "(() => { const e = document.activeElement, s = getComputedStyle(e);"
            "return [e.id || e.closest('section')?.id + ' ' + e.tagName, s.outlineStyle, parseFloat(s.outlineWidth),"
            "e.getAttribute('aria-label') || e.labels?.[0]?.textContent || e.textContent]; })()"
        )
        if where[0].endswith("BODY"):
            break
        assert where[1] != "none" and where[2] >= 2, where  # the focus is seen
        assert where[3].strip(), where  # and has a name
        reached.append(where[0])
    assert {"image", "row", "column", "channel", "size", "overview svg", "pooling svg", "profile svg",
            "overview BUTTON"} <= set(reached)  # fmt: skip
    page.page.focus("#profile .sg-lead svg")
    before = page.pixel
    page.page.keyboard.press("Shift+ArrowDown")
    assert page.pixel == (before[0] + 10, before[1])
    page.until(f"document.querySelector('#told').textContent.startsWith('Row {before[0] + 10},')")
    told = page.text("#told")
    assert "Kernels: guided" in told and "Sum: guided, channel" in told and "crosses 0.5" in told
    unnamed = page.count(
        "[...document.querySelectorAll('svg[role], input, select, figure')].filter((e) => "
        "!e.getAttribute('aria-label') && !e.labels?.length).map((e) => e.outerHTML.slice(0, 80))"
    )
    assert unnamed == []


LOOKS = """() => {
  const linear = (n) => (n <= 10 ? n / 255 / 12.92 : ((n / 255 + 0.055) / 1.055) ** 2.4);
  const bright = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const colour = (text) => text.match(/[\\d.]+/g).map(Number);
  const page = colour(getComputedStyle(document.body).backgroundColor);
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !e.checkVisibility()) continue;
    if (e.closest('script, style, title, .ex-unseen, option')) continue;
    const s = getComputedStyle(e), svg = e.closest('svg');
    const grown = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
    let own = colour(svg ? s.fill : s.color), opacity = own[3] ?? 1;
    for (let p = e; p; p = p.parentElement) opacity *= Number(getComputedStyle(p).opacity);
    own = own.slice(0, 3).map((n, i) => n * opacity + page[i] * (1 - opacity));
    let under = page;
    for (let p = e; p; p = p.parentElement) {
      const b = colour(getComputedStyle(p).backgroundColor);
      if ((b[3] ?? 1) > 0.99) { under = b; break; }
    }
    const [a, b] = [bright(own), bright(under)].sort((m, n) => n - m);
    found.push([walk.currentNode.data.trim().slice(0, 30), parseFloat(s.fontSize) * grown, (a + 0.05) / (b + 0.05)]);
  }
  return found;
}"""


@pytest.mark.browser
@pytest.mark.parametrize(("width", "height"), [(360, 780), (1366, 768), (1920, 1080)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_every_screen_and_can_be_read(opened, width, height, scheme):
    page = opened("#image=synthetic-nuclei", width=width, height=height, scheme=scheme).ready()
    assert page.count("document.documentElement.scrollWidth") <= width
    looks = page.count(LOOKS)
    assert len(looks) > 150
    assert [(text, size) for text, size, _ in looks if size < 10.5] == []
    assert [(text, contrast) for text, _, contrast in looks if contrast < 4.5] == []
    dark = page.count("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")


@pytest.mark.browser
def test_without_scripts_or_with_an_old_browser_one_sentence_says_so(opened):
    page = opened(js=False)
    assert page.page.locator("noscript p").is_visible() and "JavaScript" in page.text("noscript p")
    page = opened(script="delete globalThis.DecompressionStream")
    page.page.wait_for_selector("#trouble:not([hidden])")
    assert "too old to unpack the pictures" in page.text("#trouble") and not page.page.locator("#page").is_visible()


@pytest.mark.browser
def test_a_damaged_file_says_so(opened, tmp_path, tiny):
    text = build_page(tiny)
    start = text.index('id="data-microaneurysms">') + 2000
    (tmp_path / "damaged.html").write_text(text[:start] + "A" * 400 + text[start + 400 :], encoding="utf-8")
    page = opened(file=tmp_path / "damaged.html")
    page.page.wait_for_selector("#trouble:not([hidden])")
    assert "cannot be unpacked" in page.text("#trouble") and "get it again" in page.text("#trouble")


@pytest.mark.browser
def test_a_picture_without_outline_and_names_that_look_like_html(opened, tmp_path, tiny):
    """The last rows and columns of this picture are beside what the network pads: their neighbours must be right."""
    (picture,) = tiny
    evil = '</script><img src="x.png" onerror="document.title=1">&amp;'
    named = replace(picture, example=replace(picture.example, title=evil, note=evil))
    (tmp_path / "index.html").write_text(build_page([named]), encoding="utf-8")
    page = opened(file=tmp_path / "index.html").ready()
    assert page.texts("#image option") == [evil] and evil in page.text("#note")
    assert page.count("document.title") == "SGDC: kernels per pixel or per block"
    assert "There is no outline in this picture" in page.text("#profile .sg-message")
    for pixel in [(101, 101), (0, 60), (99, 3)]:
        page.click("#overview .sg-lead svg", pixel)
        assert page.pixel == pixel
        same_sums(page, picture.pair, pixel)
