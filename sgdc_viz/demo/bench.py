"""How quick is the page, here and now? `make bench` or `python -m sgdc_viz bench --page`.

The page is started as visitors start it, in a process of its own, and used over the network as a program would: a click
is the time from asking for a pixel until its new figures have arrived (what a browser then needs to draw them is not in
it). Memory is that of the whole process.
"""

from __future__ import annotations

import os
import random
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

import httpx
import psutil
from gradio_client import Client

GOALS = {"usable after": 5.0, "click, 95 of 100 under": 0.3}  # seconds
PATIENCE = 120.0  # seconds until the page must be there


@dataclass(frozen=True)
class PageSpeed:
    """What was measured.

    Attributes:
        usable: seconds from the start of the process until the page with its first figures had arrived.
        clicks: seconds of each click, each on another pixel.
        again: seconds of each click on a pixel that was clicked before.
        memory: (bytes after the first clicks, bytes at the end) of the process.
    """

    usable: float
    clicks: list[float]
    again: list[float]
    memory: tuple[int, int]


def measure_page(clicks: int = 1000, seed: int = 0) -> PageSpeed:
    """Start the page, click, and end it.

    Args:
        clicks: how many different pixels of the first image (256 x 256).
        seed: of their order.

    Raises:
        RuntimeError: the page did not come, or ended.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address, start = f"http://127.0.0.1:{port}/", time.perf_counter()
    command = [sys.executable, "-m", "sgdc_viz.demo", "--no-browser", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "CI": "true"})
    try:
        _wait_for(address, server, start)
        usable = time.perf_counter() - start
        client = Client(address, verbose=False)
        pixels = random.Random(seed).sample([(y, x) for y in range(256) for x in range(256)], clicks + 1)

        def click(pixel: tuple[int, int]) -> float:
            began = time.perf_counter()
            client.predict(*pixel, api_name="/inspect_pixel")
            return time.perf_counter() - began

        click(pixels[0])
        process = psutil.Process(server.pid)
        first, times = 0, []
        for i, pixel in enumerate(pixels[1:]):
            times.append(click(pixel))
            if i == clicks // 10:  # what is loaded once is there by now
                first = process.memory_info().rss
        again = [click(pixel) for pixel in pixels[-min(20, clicks) :]]
        return PageSpeed(usable, times, again, (first, process.memory_info().rss))
    finally:
        server.terminate()
        server.wait(timeout=20)


def bench_page(clicks: int = 1000) -> PageSpeed:
    """Measure and print."""
    told = measure_page(clicks)
    slow = statistics.quantiles(told.clicks, n=20)[-1]
    print(f"The page, {clicks} clicks on a 256 x 256 image:")
    for name, value in (("usable after", told.usable), ("click, 95 of 100 under", slow)):
        goal = GOALS[name]
        print(f"  {name:<26}{value:>7.2f} s   goal {goal:g} s {'met' if value <= goal else 'MISSED'}")
    print(f"  {'click, median':<26}{statistics.median(told.clicks):>7.2f} s")
    print(f"  {'same pixel again, median':<26}{statistics.median(told.again):>7.2f} s")
    before, after = (n / 2**20 for n in told.memory)
    print(f"  memory {before:.0f} MB after a tenth of the clicks, {after:.0f} MB at the end")
    return told


def _wait_for(address: str, server: subprocess.Popen, start: float) -> None:
    """Until the page answers with its first figures."""
    while time.perf_counter() - start < PATIENCE:
        if server.poll() is not None:
            raise RuntimeError(f"the page ended with code {server.returncode} before it answered.")
        try:
            if "sg-overview" in httpx.get(f"{address}config", timeout=10).text:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise RuntimeError(f"the page did not answer within {PATIENCE:g} s.")
