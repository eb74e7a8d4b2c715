"""Serves the page: `python app.py` in a checkout, `python -m sgdc_viz.demo` where the package is installed."""

from __future__ import annotations

import argparse
import os
import signal
import sys

from sgdc_viz.memory import keep_freed

from .page import Page, launch


def main(arguments: list[str] | None = None) -> None:
    """Serve until Ctrl+C.

    Args:
        arguments: of the command line; None: those that this program was started with.
    """
    parser = argparse.ArgumentParser(description="Open the SGDC demo in a browser; nothing leaves this computer.")
    parser.add_argument("--port", type=int, help="default: 7860, or the next free one")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    given = parser.parse_args(arguments)
    if given.port is not None and not 1 <= given.port <= 65535:
        parser.error(f"--port {given.port} must be from 1 to 65535.")
    keep_freed()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # an orderly end, so that the folder for uploads goes
    try:
        page = Page()
        _, address, _ = launch(page, port=given.port, browser=not (given.no_browser or os.environ.get("CI")))
        print(f"The demo runs at {address} (Ctrl+C ends it).", flush=True)
        page.blocks.block_thread()
    except OSError as error:  # Gradio found no free port
        parser.exit(1, f"app.py: cannot serve on port {given.port or 7860}: {error} Give another one with --port.\n")


if __name__ == "__main__":
    main()
