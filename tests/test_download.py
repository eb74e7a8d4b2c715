"""Downloads, against a server in this process that drops, stalls, truncates, redirects and lies.

Long campaigns are the same tests with other numbers: SGDC_DOWNLOAD_EXAMPLES (chains of misbehaviour, default 25) and
SGDC_DOWNLOAD_KILLS (SIGKILLs in the middle of a transfer, default 3).
"""

import errno
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import zipfile
from collections import Counter
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from conftest import run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from sgdc_viz.data import open_dataset
from sgdc_viz.data.download import PIECE, RECORD, SOURCES, WORKSHOP, RemoteFile, Source, download

EXAMPLES = int(os.environ.get("SGDC_DOWNLOAD_EXAMPLES", 25))
KILLS = int(os.environ.get("SGDC_DOWNLOAD_KILLS", 3))
HERE = ("127.0.0.1", "localhost")
ZIP = "stage1_train.zip"


def picture(seed: int, side: int = 140, kind: str = "PNG") -> bytes:
    """Noise, which no packing makes smaller; PNGs are all of one size."""
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, kind, **({"compress_level": 0} if kind == "PNG" else {}))
    return file.getvalue()


def mask(side: int = 140) -> bytes:
    file = io.BytesIO()
    Image.fromarray((np.indices((side, side)).sum(0) < side).astype(np.uint8) * 255).save(file, "PNG")
    return file.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return file.getvalue()


def nuclei(seed: int = 0, count: int = 5, last_mask: bytes | None = None) -> bytes:
    members = {}
    for i in range(count):
        members[f"id{i}/images/id{i}.png"] = picture(seed + i)
        members[f"id{i}/masks/m.png"] = mask()
    return zipped(members if last_mask is None else members | {f"id{count - 1}/masks/m.png": last_mask})


BODY = nuclei()  # some 300 kB
OTHER = nuclei(seed=50)  # as long as BODY, so that no size tells them apart
KEPT = 12 * PIECE  # all of it is here after a drop at this place, whatever the version of urllib3


class Server:
    """Answers each request with the next of `acts`, and with `give` when none is left. Remembers what it was asked."""

    def __init__(self):
        self.asked: list[tuple[str, dict]] = []
        self.sent = 0
        self.acts: list = []
        self.body, self.etag = BODY, '"one"'
        self.quiet = threading.Event()  # set at the end, so that stalled answers end too
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                server.asked.append((self.path, dict(self.headers)))
                act = server.acts.pop(0) if server.acts else give
                try:
                    act(server, self)
                except OSError:
                    pass  # the client is gone, or was let down on purpose
                self.close_connection = True

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.port = self.http.server_address[1]
        self.thread = threading.Thread(target=partial(self.http.serve_forever, poll_interval=0.02), daemon=True)
        self.thread.start()

    def url(self, name: str = ZIP, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}/{name}"

    def source(self, checksum: str = "", images: int = 5) -> dict[str, Source]:
        files = (RemoteFile(self.url(), 0.06 * images, checksum),)
        return {"bbbc038": replace(SOURCES["bbbc038"], files=files, images=images)}

    def ranges(self) -> list[str]:
        return [headers.get("Range", "") for _, headers in self.asked]

    def stop(self):
        self.quiet.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


# What the server can do. Each takes the server and the handler of one request.


def head(handler, code: int, headers: dict) -> None:
    handler.send_response(code)
    for name, value in headers.items():
        if value is not None:
            handler.send_header(name, str(value))
    handler.end_headers()


def body(server, handler, data: bytes) -> None:
    server.sent += len(data)
    handler.wfile.write(data)
    handler.wfile.flush()


def give(server, handler, until=None, stall=False, ranges=True, validate=True, slow=0.0, **changes) -> None:
    """A good server; `until` bytes of the answer only. changes: headers that are wrong (None: left out)."""
    data, headers = server.body, {"ETag": server.etag, "Content-Type": "application/zip"}
    asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", "")) if ranges else None
    if asked and validate and handler.headers.get("If-Range") != server.etag:
        asked = None
    start = int(asked.group(1)) if asked else 0
    if start >= len(data):
        return head(handler, 416, {"Content-Range": f"bytes */{len(data)}", "Content-Length": 0})
    if asked:
        headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
    data = data[start:]
    headers["Content-Length"] = len(data)
    head(handler, 206 if asked else 200, {**headers, **{k.replace("_", "-"): v for k, v in changes.items()}})
    for at in range(0, len(data[:until]), 16384):
        body(server, handler, data[:until][at : at + 16384])
        time.sleep(slow)
    if stall:
        server.quiet.wait(120)


def drop(at: int):
    return partial(give, until=at)


def stall(at: int):
    return partial(give, until=at, stall=True)


def status(code: int, **headers):
    def act(server, handler):
        page = b"<html><body>PK: sorry</body></html>"
        head(handler, code, {"Content-Type": "text/html", "Content-Length": len(page), **headers})
        body(server, handler, page)

    return act


def login(server, handler):
    status(200)(server, handler)


def login_called_zip(server, handler):
    page = b"<!doctype html><form>password</form>" * 500
    head(handler, 200, {"Content-Type": "application/zip", "Content-Length": len(page), "ETag": server.etag})
    body(server, handler, page)


def packed(server, handler):
    data = gzip.compress(server.body)
    head(handler, 200, {"Content-Encoding": "gzip", "Content-Length": len(data), "ETag": server.etag})
    body(server, handler, data)


def chunked(server, handler):
    head(handler, 200, {"Transfer-Encoding": "chunked"})
    for piece in (server.body[:1], server.body[1:90_000], server.body[90_000:]):
        body(server, handler, b"%x\r\n" % len(piece) + piece + b"\r\n")
    body(server, handler, b"0\r\n\r\n")


def says_more(server, handler):
    give(server, handler, ranges=False, Content_Length=len(server.body) + 5000)


def says_less(server, handler):
    give(server, handler, ranges=False, Content_Length=len(server.body) - 5000)


def swapped(server, handler):
    """From now on another file lies at this address."""
    server.body, server.etag = (OTHER, '"two"') if server.etag == '"one"' else (BODY, '"one"')
    give(server, handler)


def wrong_part(server, handler):
    """Another file's bytes, sent as if they were the rest of the one that was begun."""
    data = OTHER[1000:]
    span = f"bytes 1000-{len(OTHER) - 1}/{len(OTHER)}"
    head(handler, 206, {"Content-Range": span, "Content-Length": len(data), "ETag": server.etag})
    body(server, handler, data)


def unasked_tag(server, handler):
    """206 whatever If-Range says, but of another file, of the same size, with another ETag."""
    server.body, server.etag = OTHER, '"three"'
    give(server, handler, validate=False)


def other_images(server, handler):
    """A whole zip of the right kind, but with 2 images."""
    data = nuclei(count=2)
    head(handler, 200, {"Content-Length": len(data), "ETag": '"two images"'})
    body(server, handler, data)


def endless(server, handler):
    """Never says how much will come, and never ends."""
    head(handler, 200, {"Connection": "close"})
    body(server, handler, BODY)
    while not server.quiet.is_set():
        body(server, handler, bytes(16384))


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")  # of the person who runs the tests
    running = Server()
    yield running
    running.stop()


def fetch(server, root, told=None, **how):
    how = {"sources": server.source(), "plain_http": HERE, "pause": 0.0, **how}
    return download("bbbc038", root, ([] if told is None else told).append, **how)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def left(root: Path) -> list[str]:
    """All files in a folder, but the lock."""
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    return [name for name in files if name != f"{WORKSHOP}/lock"]


WHOLE = [RECORD, ZIP]


def test_a_good_server(server, tmp_path):
    told, root = [], tmp_path / "new" / "my data"
    dataset = fetch(server, root, told)
    assert (root / ZIP).read_bytes() == BODY and left(root) == WHOLE
    assert (root / RECORD).read_text() == f"{sha256(BODY)}  {ZIP}\n"  # `sha256sum -c` reads this
    assert dataset.names == [f"id{i}" for i in range(5)]
    text = "\n".join(told)
    for needed in ("CC0", "Caicedo", "https://bbbc.broadinstitute.org/BBBC038", "1 file", "no checksum is known"):
        assert needed in text
    assert told[-2] == f"{root} holds bbbc038: 5 images"
    assert "--data bbbc038 --root" in told[-1] and "my data" in told[-1]

    told.clear()
    fetch(server, root, told)
    assert len(server.asked) == 1 and any("already there" in line for line in told)


def test_what_is_there_is_checked_and_left_alone(server, tmp_path):
    (tmp_path / ZIP).write_bytes(BODY[:-100])
    with pytest.raises(ValueError, match="not a whole zip .*: move it away"):
        fetch(server, tmp_path)
    assert left(tmp_path) == [ZIP]
    damaged = BODY[:1000] + bytes(50) + BODY[1050:]  # the table of contents is good, one member is not
    (tmp_path / ZIP).write_bytes(damaged)
    with pytest.raises(ValueError, match="'id0/images/id0.png' is damaged"):
        fetch(server, tmp_path)
    (tmp_path / ZIP).write_bytes(BODY)  # put there by hand: recorded
    fetch(server, tmp_path)
    (tmp_path / ZIP).write_bytes(OTHER)
    with pytest.raises(ValueError, match="not the file that was here before"):
        fetch(server, tmp_path)
    assert (tmp_path / ZIP).read_bytes() == OTHER and not server.asked
    (tmp_path / RECORD).write_bytes(b"\xff\xfenonsense")
    with pytest.raises(ValueError, match="cannot be read as a list of checksums"):
        fetch(server, tmp_path)


def test_an_unpacked_folder_counts_as_there(server, tmp_path):
    zipfile.ZipFile(io.BytesIO(BODY)).extractall(tmp_path / "stage1_train")
    assert len(fetch(server, tmp_path)) == 5 and not server.asked and WORKSHOP not in os.listdir(tmp_path)


def test_an_empty_folder_does_not_count_as_there(server, tmp_path):
    (tmp_path / "stage1_train" / "id0").mkdir(parents=True)
    (tmp_path / "stage1_train" / ".DS_Store").write_bytes(b"x")
    assert len(fetch(server, tmp_path)) == 5 and (tmp_path / ZIP).read_bytes() == BODY


@pytest.mark.parametrize("cut", [70_000, len(BODY) - 1])
def test_a_dropped_transfer_goes_on(server, tmp_path, cut):
    server.acts = [drop(cut)]
    fetch(server, tmp_path)
    assert (tmp_path / ZIP).read_bytes() == BODY and left(tmp_path) == WHOLE
    again = server.sent - len(BODY)
    assert 0 <= again < PIECE and server.ranges() == ["", f"bytes={cut - again}-"]
    assert server.asked[1][1]["If-Range"] == '"one"' and server.asked[1][1]["Accept-Encoding"] == "identity"


def test_goes_on_at_the_next_call(server, tmp_path):
    server.acts = [drop(KEPT), *[status(503)] * 3]
    with pytest.raises(ConnectionError, match=r"127.0.0.1 answers 503.*98.3 kB are kept, the same command"):
        fetch(server, tmp_path, tries=3)
    assert not (tmp_path / ZIP).exists()
    told = []
    server.acts = []
    fetch(server, tmp_path, told)
    assert server.ranges()[-1] == f"bytes={KEPT}-" and (tmp_path / ZIP).read_bytes() == BODY
    assert f"{ZIP}: going on after 98.3 kB" in told


def test_a_stalled_server_is_given_up_and_asked_again(server, tmp_path):
    told = []
    server.acts = [stall(131_072)]
    fetch(server, tmp_path, told, timeout=0.3)
    assert (tmp_path / ZIP).read_bytes() == BODY and any("fell silent" in line for line in told)
    shutil.rmtree(tmp_path)
    server.acts = [lambda server, handler: server.quiet.wait(30)] * 2
    with pytest.raises(ConnectionError, match="127.0.0.1 does not answer"):
        fetch(server, tmp_path, tries=2, timeout=0.3)


def test_many_drops_are_no_reason_to_stop_while_the_file_grows(server, tmp_path):
    server.acts = [drop(30_000)] * 9
    fetch(server, tmp_path, tries=2)
    assert (tmp_path / ZIP).read_bytes() == BODY and len(server.asked) == 10  # 9 times 24 kB and the rest


@pytest.mark.parametrize(
    "then", [swapped, wrong_part, unasked_tag, partial(give, ETag=None), partial(give, ranges=False)]
)
def test_the_rest_of_another_file_is_not_put_behind_a_part(server, tmp_path, then):
    server.acts = [drop(KEPT), then]
    fetch(server, tmp_path)
    assert (tmp_path / ZIP).read_bytes() == server.body and left(tmp_path) == WHOLE


def test_without_etag_or_date_there_is_no_going_on(server, tmp_path):
    server.acts = [partial(give, until=100_000, ETag=None)]
    fetch(server, tmp_path)
    assert server.ranges() == ["", ""] and (tmp_path / ZIP).read_bytes() == BODY
    shutil.rmtree(tmp_path)
    server.asked.clear()
    server.acts = [partial(give, until=100_000, ETag='W/"one"')]  # weak: equal in meaning, not in bytes
    fetch(server, tmp_path)
    assert server.ranges() == ["", ""] and (tmp_path / ZIP).read_bytes() == BODY


def test_a_date_will_do_for_going_on(server, tmp_path):
    date = "Tue, 03 Apr 2018 00:00:00 GMT"
    dated = partial(give, validate=False, ETag=None, Last_Modified=date)
    server.acts = [partial(dated, until=KEPT), dated]
    fetch(server, tmp_path)
    assert server.ranges() == ["", f"bytes={KEPT}-"] and server.asked[1][1]["If-Range"] == date
    assert (tmp_path / ZIP).read_bytes() == BODY

    def another_day(server, handler):
        server.body = OTHER
        give(server, handler, validate=False, ETag=None, Last_Modified="Wed, 04 Apr 2018 00:00:00 GMT")

    shutil.rmtree(tmp_path)
    server.acts = [partial(dated, until=KEPT), another_day, another_day]
    fetch(server, tmp_path)
    assert (tmp_path / ZIP).read_bytes() == OTHER


@pytest.mark.parametrize("nonsense", ["", "[]", "null", '{"etag": "x"}', '{"etag": 1, "size": "2", "url": 3}', "{"])
def test_a_part_of_nobody_knows_what_is_begun_anew(server, tmp_path, nonsense):
    workshop = tmp_path / WORKSHOP
    workshop.mkdir()
    (workshop / f"{ZIP}.part").write_bytes(OTHER[:5000])
    (workshop / f"{ZIP}.part.json").write_text(nonsense)
    (workshop / "tmp123").write_bytes(b"of a killed process")
    fetch(server, tmp_path)
    assert server.ranges() == [""] and (tmp_path / ZIP).read_bytes() == BODY and left(tmp_path) == WHOLE


def test_stopped_just_before_the_end(server, tmp_path):
    """All bytes are here, or even a checked file without its name: nothing is asked again."""
    workshop = tmp_path / WORKSHOP
    workshop.mkdir()
    known = {"url": server.url(), "etag": '"one"', "date": "", "size": len(BODY)}
    (workshop / f"{ZIP}.part").write_bytes(BODY)
    (workshop / f"{ZIP}.part.json").write_text(json.dumps(known))
    fetch(server, tmp_path)
    assert not server.asked and (tmp_path / ZIP).read_bytes() == BODY
    os.replace(tmp_path / ZIP, workshop / ZIP)
    fetch(server, tmp_path)
    assert not server.asked and left(tmp_path) == WHOLE
    (tmp_path / ZIP).unlink()
    (workshop / f"{ZIP}.part").write_bytes(BODY + b"more")  # longer than the file
    (workshop / f"{ZIP}.part.json").write_text(json.dumps(known))
    fetch(server, tmp_path)
    assert server.ranges() == [""] and (tmp_path / ZIP).read_bytes() == BODY


@pytest.mark.parametrize("act", [packed, chunked, partial(give, Content_Length="-5")])
def test_odd_but_right_answers(server, tmp_path, act):
    server.acts = [act]
    fetch(server, tmp_path)
    assert (tmp_path / ZIP).read_bytes() == BODY and left(tmp_path) == WHOLE


@pytest.mark.parametrize(
    "act, sentence",
    [
        (login, "sent a web page .* instead of the file"),
        (login_called_zip, "sent something else than a zip instead of the file"),
        (says_less, "is not a whole zip .* it was not kept"),
        (says_more, "could not be downloaded: the"),
        (drop(0), "could not be downloaded: the connection was lost"),
        (partial(give, ranges=False, until=99_999, Content_Length=None, Connection="close"), "not a whole zip"),
        (other_images, "is not the official file .it holds 2 images, not 5.: it was not kept"),
        (endless, "127.0.0.1 sends more than 600.0 kB, twice what is expected, so it was not kept"),
        (partial(give, Content_Length=10**9), "127.0.0.1 sends more than 600.0 kB"),
    ],
)
def test_lies_are_refused(server, tmp_path, act, sentence):
    server.acts = [act] * 9
    with pytest.raises((ValueError, ConnectionError), match=sentence) as caught:
        fetch(server, tmp_path, tries=2)
    assert "\n" not in str(caught.value) and str(caught.value).endswith((".", ")"))
    assert not (tmp_path / ZIP).exists() and not (tmp_path / WORKSHOP / ZIP).exists()
    assert not (tmp_path / RECORD).exists()


def test_what_never_ends_is_stopped(server, tmp_path):
    """Also behind a part: what the server said before, or the page, tells how much the file may have."""
    server.acts = [endless]
    with pytest.raises(ValueError, match="sends more than"):
        fetch(server, tmp_path)
    assert left(tmp_path) == [] and server.sent < 20e6  # some of it lies between server and client

    def endless_rest(server, handler):
        start = int(re.fullmatch(r"bytes=(\d+)-", handler.headers["Range"]).group(1))
        head(handler, 206, {"Content-Range": f"bytes {start}-{len(BODY) - 1}/{len(BODY)}", "ETag": server.etag})
        while not server.quiet.is_set():
            body(server, handler, bytes(16384))

    server.acts, server.sent, told = [drop(KEPT), endless_rest], 0, []
    fetch(server, tmp_path, told)
    assert server.sent < 20e6
    assert any("sent more than it said" in line for line in told) and (tmp_path / ZIP).read_bytes() == BODY


@pytest.mark.parametrize(
    "wrong, sentence",
    [
        (zipped({"hello.txt": b"another file"}), "expected <id>/images/<id>.png"),
        (nuclei(count=2), "it holds 2 images, not 5"),
        (nuclei(count=6), "it holds 6 images, not 5"),
        (nuclei(last_mask=b"hello"), "'stage1_train/id4/masks/m.png' is not a PNG"),
        (nuclei(last_mask=b""), "'stage1_train/id4/masks/m.png' is empty"),
        (nuclei(last_mask=mask(139)), "mask 'stage1_train/id4/masks/m.png' is 139x139 pixels"),
    ],
)
def test_without_a_checksum_the_content_is_checked(server, tmp_path, wrong, sentence):
    """Before the file gets its name and before its checksum is recorded, so that the same command recovers."""
    server.body, server.etag = wrong, '"wrong"'
    with pytest.raises(ValueError, match=f"is not the official file .*{sentence}.*: it was not kept") as caught:
        fetch(server, tmp_path)
    assert left(tmp_path) == [] and "\n" not in str(caught.value)
    (tmp_path / ZIP).write_bytes(server.body)  # put there by hand
    with pytest.raises(ValueError, match=f"is not the official file .*{sentence}.*: move it away"):
        fetch(server, tmp_path)
    assert left(tmp_path) == [ZIP]
    if sys.platform == "linux":  # Windows would not let go of a file that is still open
        still_open = {os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")}
        assert str(tmp_path / ZIP) not in still_open
    (tmp_path / ZIP).unlink()
    server.body, server.etag, told = BODY, '"one"', []
    fetch(server, tmp_path, told)
    assert left(tmp_path) == WHOLE and "bbbc038: opening all 5 images and their masks" in told


def test_a_login_page_does_not_cost_the_part(server, tmp_path):
    server.acts = [drop(KEPT), login, login_called_zip]
    for _ in range(2):
        with pytest.raises(ValueError, match="instead of the file"):
            fetch(server, tmp_path)
    fetch(server, tmp_path)
    assert server.ranges()[-1] == f"bytes={KEPT}-" and (tmp_path / ZIP).read_bytes() == BODY


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_checksums(server, tmp_path, kind):
    wrong, right = (f"{kind}:{hashlib.new(kind, data).hexdigest()}" for data in (OTHER, BODY))
    with pytest.raises(ValueError, match=f"is not the official file .its {kind} is not .*it was not kept"):
        fetch(server, tmp_path, sources=server.source(wrong))
    assert left(tmp_path) == []
    told = []
    fetch(server, tmp_path, told, sources=server.source(right))
    assert f"{ZIP}: whole; its checksum is right" in told and left(tmp_path) == WHOLE
    with pytest.raises(ValueError, match="is not the official file .*: move it away"):
        fetch(server, tmp_path, sources=server.source(wrong))
    assert (tmp_path / ZIP).read_bytes() == BODY


def test_another_file_than_the_first_time(server, tmp_path):
    fetch(server, tmp_path)
    (tmp_path / ZIP).unlink()
    server.body = OTHER
    with pytest.raises(ValueError, match="not the file that was here before.*delete its line in SHA256SUMS"):
        fetch(server, tmp_path)
    assert left(tmp_path) == [RECORD]
    (tmp_path / RECORD).unlink()
    fetch(server, tmp_path)
    assert (tmp_path / ZIP).read_bytes() == OTHER


@pytest.mark.parametrize("code, asked", [(401, 1), (403, 1), (404, 1), (304, 1), (429, 3), (500, 3)])
def test_refusals_of_the_server(server, tmp_path, code, asked):
    server.acts = [status(code)] * 9
    with pytest.raises(ConnectionError, match=f"127.0.0.1 .*{code}") as caught:
        fetch(server, tmp_path, tries=3)
    assert len(server.asked) == asked and "\n" not in str(caught.value)
    assert left(tmp_path) == []


def test_a_busy_server_is_asked_again_when_it_says(server, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr("sgdc_viz.data.download.time.sleep", waits.append)
    server.acts = [status(503, **{"Retry-After": 7}), status(429, **{"Retry-After": "soon"}), status(500)]
    fetch(server, tmp_path, pause=0.5)
    assert [wait for wait in waits if wait] == [7, 1, 2] and (tmp_path / ZIP).read_bytes() == BODY


def test_redirections(server, tmp_path):
    told = []
    server.acts = [status(302, Location=f"/elsewhere/{ZIP}"), status(308, Location=server.url("x", "localhost"))]
    fetch(server, tmp_path, told)
    assert [path for path, _ in server.asked] == [f"/{ZIP}", f"/elsewhere/{ZIP}", "/x"]
    assert (tmp_path / ZIP).read_bytes() == BODY and f"127.0.0.1 sends us on to {server.url('x', 'localhost')}" in str(
        told
    )


@pytest.mark.parametrize(
    "where", ["http://example.org/a.zip", "ftp://127.0.0.1/a.zip", "file:///etc/passwd", "http://[broken", "//evil/x",
              "data:application/zip;base64,UEs="]
)  # fmt: skip
def test_no_redirection_to_an_address_that_is_not_secure(server, tmp_path, where):
    server.acts = [status(301, Location=where)]
    with pytest.raises(ConnectionError, match="is no secure address .https., so it was not asked"):
        fetch(server, tmp_path)
    assert len(server.asked) == 1 and left(tmp_path) == []


def test_going_in_circles(server, tmp_path):
    server.acts = [status(301, Location=f"/{ZIP}")] * 50
    with pytest.raises(ConnectionError, match="from one address to the next without end"):
        fetch(server, tmp_path)
    assert len(server.asked) == 6


def test_plain_http_only_for_those_who_ask(server, tmp_path):
    with pytest.raises(ConnectionError, match="no secure address"):
        fetch(server, tmp_path, plain_http=())
    assert not server.asked


def test_https_with_a_server_that_does_not_speak_it(server, tmp_path):
    files = (RemoteFile(f"https://127.0.0.1:{server.port}/{ZIP}", 1.0),)
    with pytest.raises(ConnectionError, match="no secure connection to 127.0.0.1") as caught:
        fetch(server, tmp_path, sources={"bbbc038": replace(SOURCES["bbbc038"], files=files)})
    assert "\n" not in str(caught.value)


def test_no_network(server, tmp_path):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        files = (RemoteFile(f"http://127.0.0.1:{nobody.getsockname()[1]}/{ZIP}", 1.0),)
        with pytest.raises(ConnectionError, match="no connection to 127.0.0.1; look at the network"):
            fetch(server, tmp_path, sources={"bbbc038": replace(SOURCES["bbbc038"], files=files)}, tries=2)


class FullDisk(io.FileIO):
    """Takes what fits and then no more."""

    room = 150_000

    def write(self, data):
        if self.tell() + len(data) > self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


def test_no_room(server, tmp_path, monkeypatch):
    def small(path, mode="r", **how):
        return FullDisk(path, mode) if str(path).endswith(".part") else open(path, mode, **how)

    with monkeypatch.context() as patch:
        patch.setattr("sgdc_viz.data.download.open", small, raising=False)
        with pytest.raises(OSError, match=r"the disk of .* is full: make room and run the same command"):
            fetch(server, tmp_path)
    kept = (tmp_path / WORKSHOP / f"{ZIP}.part").stat().st_size
    assert 65_536 <= kept <= FullDisk.room and not (tmp_path / ZIP).exists()
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    with monkeypatch.context() as patch:
        patch.setattr("sgdc_viz.data.download.shutil.disk_usage", lambda path: usage)
        with pytest.raises(OSError, match=r"needs .* kB in .*, where 1.0 kB are free"):
            fetch(server, tmp_path)
    fetch(server, tmp_path)
    assert server.ranges()[-1] == f"bytes={kept}-" and (tmp_path / ZIP).read_bytes() == BODY


def test_no_right_to_write(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file: give the name of a folder"):
        fetch(server, tmp_path / "file")
    with pytest.raises(OSError, match="cannot write in .*give another folder with --root"):
        fetch(server, tmp_path / "file" / "below")

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with monkeypatch.context() as patch:  # chmod does not hold root back
        patch.setattr("sgdc_viz.data.download.Path.mkdir", refuse)
        with pytest.raises(OSError, match="cannot write in .*Permission denied.*--root"):
            fetch(server, tmp_path / "locked")
    fetch(server, tmp_path / "whole")
    monkeypatch.setattr("sgdc_viz.data.download.Path.mkdir", refuse)
    fetch(server, tmp_path / "whole")  # a folder that may only be read is no trouble when all is there


ACTS = {
    "good": give,
    "drop early": drop(20_000),
    "drop late": drop(250_000),
    "drop at once": drop(0),
    "no ranges": partial(give, ranges=False, until=200_000),
    "swapped": swapped,
    "wrong part": wrong_part,
    "other tag": unasked_tag,
    "no tag": partial(give, ETag=None, until=150_000),
    "says less": says_less,
    "says more": says_more,
    "packed": packed,
    "chunked": chunked,
    "other images": other_images,
    "endless": endless,
    "login": login,
    "login as zip": login_called_zip,
    "busy": status(503),
    "gone": status(404),
    "moved": status(302, Location=f"/{ZIP}"),
    "moved away": status(302, Location="http://example.org/"),
}


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(sorted(ACTS)), max_size=8))
def test_whatever_the_server_does_no_wrong_file_gets_the_name(server, tmp_path_factory, names):
    """The law: at any time the name is free or its file is one that the server gave whole; in the end it is there."""
    root = tmp_path_factory.mktemp("chain")
    server.body, server.etag = BODY, '"one"'
    server.acts = [ACTS[name] for name in names]
    for _ in range(len(names) + 2):
        try:
            fetch(server, root, tries=2)
            break
        except (ValueError, ConnectionError) as error:
            assert "\n" not in str(error)
            assert not (root / ZIP).exists() and not (root / RECORD).exists()
    assert (root / ZIP).read_bytes() in (BODY, OTHER) and left(root) == WHOLE
    shutil.rmtree(root)


# ------------------------------------------------------------------------------------------------ processes

CHILD = textwrap.dedent("""
    import signal, sys
    from dataclasses import replace
    from sgdc_viz import cli
    from sgdc_viz.data.download import SOURCES, RemoteFile, download

    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests that run in the background hand on "ignore"
    port, root, images = sys.argv[1:]
    file = RemoteFile(f"http://127.0.0.1:{port}/stage1_train.zip", 0.06 * int(images))
    SOURCES["bbbc038"] = replace(SOURCES["bbbc038"], files=(file,), images=int(images))
    download.__kwdefaults__ |= {"plain_http": ("127.0.0.1",), "pause": 0.05}
    sys.argv = ["sgdc", "download", "bbbc038", "--root", root]
    cli.main()
""")


def start(server, root, images: int = 5) -> subprocess.Popen:
    """The command in a process of its own, with this server for the official one."""
    return subprocess.Popen([sys.executable, "-c", CHILD, str(server.port), str(root), str(images)],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env={**os.environ, "NO_PROXY": "*"})  # fmt: skip


def wait_until(what, seconds=120):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


def test_killed_in_the_middle(server, tmp_path):
    """SIGKILL again and again: a name only for the whole file, and each process goes on where the last one died."""
    images = 2 * KILLS if KILLS > 5 else 5
    server.body = nuclei(count=images)
    step = len(server.body) // (KILLS + 2)
    for _ in range(KILLS):
        server.acts = [partial(give, slow=0.02, until=-1, stall=True)]  # never ends before the kill
        sent = server.sent
        child = start(server, tmp_path, images)
        wait_until(lambda sent=sent + step: server.sent >= sent)
        child.kill()
        child.communicate()
        assert not (tmp_path / ZIP).exists()
    server.acts = []
    fetch(server, tmp_path, sources=server.source(images=images))
    assert (tmp_path / ZIP).read_bytes() == server.body and left(tmp_path) == WHOLE
    starts = [int(asked.partition("=")[2].rstrip("-") or 0) for asked in server.ranges()]
    assert len(starts) == KILLS + 1 and starts == sorted(starts) and starts[-1] > 0


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT to another process is not to be had on Windows")
def test_ctrl_c_keeps_the_part_and_says_so(server, tmp_path):
    server.acts = [stall(KEPT)]  # so the signal finds the child waiting for more, however late it comes
    child = start(server, tmp_path)
    part = tmp_path / WORKSHOP / f"{ZIP}.part"
    wait_until(lambda: part.exists() and part.stat().st_size == KEPT)
    child.send_signal(signal.SIGINT)
    told, error = child.communicate(timeout=120)
    assert child.returncode == 130 and "the same command goes on from there" in told
    assert "Traceback" not in told + error and not (tmp_path / ZIP).exists()
    kept = part.stat().st_size
    assert kept == KEPT
    fetch(server, tmp_path)
    assert server.ranges() == ["", f"bytes={kept}-"] and (tmp_path / ZIP).read_bytes() == BODY


def test_two_processes_at_once(server, tmp_path):
    both = threading.Event()

    def when_both_are_here(server, handler):
        both.wait(60)
        give(server, handler)

    server.acts = [when_both_are_here]
    first = start(server, tmp_path)
    wait_until(lambda: server.asked)
    second = start(server, tmp_path)
    wait_until(lambda: "another process is downloading" in second.stdout.readline())
    both.set()
    ends = [child.communicate(timeout=60) for child in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], ends
    assert len(server.asked) == 1 and (tmp_path / ZIP).read_bytes() == BODY and left(tmp_path) == WHOLE
    assert "no checksum is known" in ends[0][0] and "already there and whole" in ends[1][0]


# ------------------------------------------------------------------------------------------------ command line


@pytest.fixture
def command(server, monkeypatch, capsys):
    """`sgdc download ...` in this process, from this server: (exit code, stdout, stderr)."""
    monkeypatch.setitem(SOURCES, "bbbc038", server.source()["bbbc038"])
    monkeypatch.setattr(download, "__kwdefaults__", {**download.__kwdefaults__, "plain_http": HERE, "pause": 0.0})

    return partial(run, capsys, "download")


def test_command(server, command, tmp_path):
    code, told, error = command("bbbc038", "--root", tmp_path)
    assert (code, error) == (0, "") and "please cite: Caicedo" in told and "holds bbbc038: 5 images" in told
    shown = re.search(r"next: python -m sgdc_viz (\w+) --data bbbc038 --root (\S+) --out", told)
    assert shown.group(1) == "train" and len(open_dataset("bbbc038", shown.group(2).strip('"'))) == 5


@pytest.mark.parametrize(
    "act, sentence",
    [
        (status(404), "does not give it (404"),
        (status(500), "127.0.0.1 answers 500"),
        (login, "a web page"),
        (says_less, "not a whole zip"),
        (status(302, Location="http://example.org/"), "no secure address"),
    ],
)
def test_command_in_trouble(server, command, tmp_path, act, sentence):
    server.acts = [act] * 9
    code, told, error = command("bbbc038", "--root", tmp_path)
    assert code == 2 and error.startswith("error: ") and sentence in error and error.count("\n") == 1
    assert "Traceback" not in told + error and not (tmp_path / ZIP).exists()


@pytest.mark.parametrize("name", ["nope", "", "folder", "synthetic-shapes", "../bbbc038"])
def test_a_name_that_is_none(command, tmp_path, name):
    code, told, error = command(name, "--root", tmp_path / "new")
    assert code == 2 and error.count("\n") == 1 and "isic2016, isic2017, isic2018, bbbc038, ph2, conic" in error
    assert not (tmp_path / "new").exists()


# ------------------------------------------------------------------------------------------------ by sign-up


def write(root: Path, members: dict[str, bytes]) -> None:
    for name, data in members.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def ph2(number: int) -> dict[str, bytes]:
    folder = f"PH2Dataset/PH2 Dataset images/IMD{number:03}/IMD{number:03}"
    return {
        f"{folder}_Dermoscopic_Image/IMD{number:03}.bmp": picture(number, 20, "BMP"),
        f"{folder}_lesion/IMD{number:03}_lesion.bmp": mask(20),
    }


def test_ph2(command, tmp_path, monkeypatch):
    monkeypatch.setitem(SOURCES, "ph2", replace(SOURCES["ph2"], images=3))
    root = tmp_path / "ph2 here"
    steps = ("1. open https://www.fc.up.pt/addi/ph2%20database.html", "please cite: Mendonca", "licence: ", str(root))

    code, told, error = command("ph2", "--root", root)
    assert code == 2 and all(step in told for step in steps) and "does not exist" in error and not root.exists()
    write(root, {"PH2Dataset.rar": b"Rar!"})
    code, told, error = command("ph2", "--root", root)
    assert code == 2 and "PH2Dataset.rar" in error and "must be unpacked" in error
    (root / "PH2Dataset.rar").unlink()
    write(root, ph2(2) | ph2(3))
    code, told, error = command("ph2", "--root", root)
    assert code == 2 and "found 2 of 3 images" in error and all(step in told for step in steps)
    image, lesion = ph2(4).items()
    write(root, dict([image]))
    code, told, error = command("ph2", "--root", root)
    assert code == 2 and "IMD004" in error and "has no mask" in error
    write(root, dict([lesion]))
    code, told, error = command("ph2", "--root", root)
    assert (code, error) == (0, "") and "holds ph2: 3 images" in told and "evaluate" in told and "1. open" not in told
    write(root, ph2(5))
    code, told, error = command("ph2", "--root", root)
    assert code == 0 and "the official set has 3 images, some here are not of it" in told


@pytest.mark.parametrize(
    "lesion, sentence",
    [
        (b"", "IMD006_lesion.bmp' is empty"),
        (b"<html>login</html>", "IMD006_lesion.bmp' is not a PNG"),
        (mask(20)[:-30], "IMD006_lesion.bmp'"),
        (mask(19), "the mask of 'IMD006' is 19x19 pixels"),
    ],
)
def test_ph2_is_really_opened(command, tmp_path, monkeypatch, lesion, sentence):
    """The last of the files is enough to be refused."""
    monkeypatch.setitem(SOURCES, "ph2", replace(SOURCES["ph2"], images=6))
    members = {name: data for number in range(1, 7) for name, data in ph2(number).items()}
    write(tmp_path, members)
    code, told, error = command("ph2", "--root", tmp_path)
    assert code == 0 and "ph2: opening all 6 images and their masks" in told
    write(tmp_path, {list(members)[-1]: lesion})
    code, told, error = command("ph2", "--root", tmp_path)
    assert code == 2 and sentence in error and error.count("\n") == 1 and "holds ph2" not in told


def array(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def test_conic(command, tmp_path, monkeypatch):
    monkeypatch.setitem(SOURCES, "conic", replace(SOURCES["conic"], images=4))
    write(tmp_path, {"images.npy": array(np.zeros((4, 8, 8, 3), np.uint8))})
    code, told, error = command("conic", "--root", tmp_path)
    assert code == 2 and "labels.npy, patch_info.csv missing" in error and "press Join" in told
    patches = b"patch_info\n" + b"".join(b"dpath_%d-0000\n" % i for i in range(4))
    write(tmp_path, {"labels.npy": array(np.zeros((4, 8, 8, 2), np.uint16))[:-7], "patch_info.csv": patches})
    code, told, error = command("conic", "--root", tmp_path)
    assert code == 2 and "cut short" in error
    write(tmp_path, {"labels.npy": array(np.zeros((4, 8, 8, 2), np.uint16))})
    code, told, error = command("conic", "--root", tmp_path)
    assert (code, error) == (0, "") and "holds conic: 4 images" in told


@pytest.mark.parametrize(
    "file, wrong, sentence",
    [
        ("images.npy", array(np.full((4, 8, 8, 3), np.nan, np.float32)), "'dpath_0-0000' holds the brightness nan"),
        ("labels.npy", array(np.full((4, 8, 8, 2), 9, np.uint16)), "'dpath_0-0000' holds the class 9"),
        ("labels.npy", array(np.zeros((4, 9, 8, 2), np.uint16)), "the mask of 'dpath_0-0000' is 9x8 pixels"),
        ("patch_info.csv", b"patch_info\n" + b"dpath_0-0000\n" * 4, "4 images have the same name 'dpath_0-0000'"),
    ],
)
def test_conic_is_really_opened(command, tmp_path, monkeypatch, file, wrong, sentence):
    monkeypatch.setitem(SOURCES, "conic", replace(SOURCES["conic"], images=4))
    patches = b"patch_info\n" + b"".join(b"dpath_%d-0000\n" % i for i in range(4))
    write(tmp_path, {"images.npy": array(np.zeros((4, 8, 8, 3), np.uint8)), "patch_info.csv": patches})
    write(tmp_path, {"labels.npy": array(np.zeros((4, 8, 8, 2), np.uint16)), file: wrong})
    code, told, error = command("conic", "--root", tmp_path)
    assert code == 2 and sentence in error and error.count("\n") == 1 and "holds conic" not in told


# ------------------------------------------------------------------------------------------------ the table


def test_the_table_of_data_sets():
    files = [file for source in SOURCES.values() for file in source.files]
    hosts = {urlsplit(file.url).hostname for file in files}
    assert {urlsplit(file.url).scheme for file in files} == {"https"}
    assert hosts == {"isic-archive.s3.amazonaws.com", "data.broadinstitute.org"}
    assert max(Counter(file.name for file in files).values()) == 1  # so that a mixture is seen
    for file in files:
        assert re.fullmatch(r"|md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", file.checksum) and file.name.endswith(".zip")
    for source in SOURCES.values():
        assert len(source.files) == 1 or all(file.checksum for file in source.files)  # else none is checked
        assert bool(source.files) != bool(source.steps) and source.page.startswith("https://")
        assert source.licence and re.search(r"\b20\d\d\b", source.citation)


@pytest.mark.parametrize("year, parts", [(2016, 2), (2017, 3), (2018, 3)])
def test_the_isic_sets_open_from_their_official_zips(server, tmp_path, year, parts):
    """From the table's names alone: images and masks pair, and the official parts are told from the names."""
    name = f"isic{year}"
    bodies = {}
    for i, file in enumerate(SOURCES[name].files):
        number = i // 2
        truth = "GroundTruth" in file.name
        image = f"{Path(file.name).stem}/ISIC_{number:07}"
        if truth:
            members = {image + ("_Segmentation.png" if year == 2016 else "_segmentation.png"): mask(20)}
        else:  # with what else is in these zips
            members = {image + ".jpg": picture(number, 20, "JPEG"), f"{Path(file.name).stem}/LICENSE.txt": b"terms"}
            members |= {image + "_superpixels.png": mask(20)} if year == 2017 else {}
        bodies[f"/{file.name}"] = zipped(members)

    def by_path(server, handler):
        server.body = bodies[handler.path]
        give(server, handler)

    server.acts = [by_path] * 99
    files = tuple(
        replace(file, url=server.url(file.name), checksum=f"sha256:{sha256(bodies['/' + file.name])}")
        for file in SOURCES[name].files
    )
    sources = {name: replace(SOURCES[name], files=files, images=parts), "bbbc038": server.source()["bbbc038"]}
    told = []
    dataset = download(name, tmp_path, told.append, sources=sources, plain_http=HERE)
    assert len(dataset) == parts and len(open_dataset(name, tmp_path, "test")) == 1
    assert f"{tmp_path} holds {name}: {parts} images" in told and not any("note:" in line for line in told)
    assert sorted(os.listdir(tmp_path)) == sorted([WORKSHOP, RECORD, *(file.name for file in files)])
    with pytest.raises(ValueError, match=f"of {name}: give bbbc038 a folder of its own"):
        download("bbbc038", tmp_path, told.append, sources=sources, plain_http=HERE)


def test_nothing_is_loaded_before_it_is_needed():
    code = "import sys, sgdc_viz.data.download; print({'pooch', 'requests', 'filelock'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
