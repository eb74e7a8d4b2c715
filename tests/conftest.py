"""What all tests share: one thread each, no network, and what to do when a program that a test needs is missing."""

from __future__ import annotations

import importlib
import ipaddress
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

# Before anything imports numpy or torch, and handed on to notebook kernels and other child processes: with one thread,
# sums always run in the same order (equal numbers everywhere), and two test workers do not fight over two cores.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"

IN_CI = os.environ.get("CI", "").lower() in ("1", "true")

# Debian's Chromium as root, quiet: without the last flags it tries to reach its maker's servers.
CHROMIUM_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
]  # fmt: skip


def absent(what: str) -> None:
    """Skip the test on a person's machine, fail it in CI: CI must have every program that a test needs."""
    if IN_CI:
        pytest.fail(f"CI must have {what}: install it in .ci/run or pyproject.toml", pytrace=False)
    pytest.skip(f"needs {what}")


def gpu():
    """The torch.device of this machine's GPU (CUDA, or Apple's MPS); None without one."""
    import torch

    kinds = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    return next((torch.device(kind) for kind, there in kinds.items() if there()), None)


def run(capsys, *arguments) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a command, in this process."""
    from sgdc_viz import cli

    code = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["sgdc", *map(str, arguments)])
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
    told = capsys.readouterr()
    return code, told.out, told.err


def features(batch=1, dim=8, height=9, width=11, seed=1) -> tuple:
    """x [batch, dim, H, W] and guidance [batch, 3, H, W] for an SGDC block."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(batch, dim, height, width, generator=generator),
        torch.randn(batch, 3, height, width, generator=generator),
    )


@pytest.fixture(scope="session")
def chromium() -> dict:
    """Keywords for playwright's `p.chromium.launch(**chromium)`; CHROMIUM names the browser where it is not found."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if path is None:
        absent("Chromium (set CHROMIUM to its path if it has another name)")
    return {"executable_path": path, "args": CHROMIUM_FLAGS}


@pytest.fixture(scope="session")
def nbgrader() -> ModuleType:
    """The module nbgrader."""
    try:
        return importlib.import_module("nbgrader")
    except ImportError:
        absent("nbgrader")


@pytest.fixture(scope="session")
def browser(chromium):
    """A running Chromium; one for all tests of a process, because playwright allows only one at a time."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        absent("playwright")
    with sync_playwright() as p:
        running = p.chromium.launch(**chromium)
        yield running
        running.close()


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """A test that connects to anything but this machine fails: everything must work offline."""

    def is_here(host: str) -> bool:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return host in ("", "localhost")
        return address.is_loopback or address.is_unspecified

    def guard(connect):
        def guarded(self: socket.socket, address):
            if self.family in (socket.AF_INET, socket.AF_INET6) and not is_here(address[0]):
                raise RuntimeError(f"a test tried to reach {address[0]}: tests work offline")
            return connect(self, address)

        return guarded

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, guard(getattr(socket.socket, name)))
        yield


class CompareNoPlotly:
    """nbval: a plotly figure's JSON holds random ids; the figures' data are tested in ordinary tests instead."""

    @staticmethod
    def pytest_collectstart(collector: pytest.Collector) -> None:
        if hasattr(collector, "skip_compare"):
            collector.skip_compare += ("application/vnd.plotly.v1+json",)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without a GPU its tests are left out, not skipped: `pytest -m gpu` then ends as if there were none (code 5)."""
    ours = [item for item in items if item.get_closest_marker("gpu")]
    if ours and gpu() is None:
        config.hook.pytest_deselected(items=ours)
        items[:] = [item for item in items if item not in ours]


def pytest_configure(config: pytest.Config) -> None:
    # As a plugin of its own: a hook written in this file would be called for tests/ only, not for notebooks/.
    config.pluginmanager.register(CompareNoPlotly())
