"""python start.py: sets the course up in this folder and opens it. Needs Python 3.10 to 3.13 and nothing else.

Everything is installed from the folder wheelhouse/ beside this file; no network is used. `python start.py --check` sets
up and tests the laptop without opening anything.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
WHEELS = HERE / "wheelhouse"
VENV = HERE / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
DONE = VENV / ".course-installed"  # written last: an install that was cut off starts over

TEST = """
import torch, jupyterlab, ipywidgets, anywidget
from sgdc_viz.learn import load_pretrained
with torch.no_grad():
    load_pretrained("nuclei-structure")(torch.zeros(1, 3, 64, 64))
print("This laptop is ready.")
"""


def main(arguments: list[str]) -> int:
    """Set up if needed, then open the course, or with --check only test."""
    if {"-h", "--help"} & set(arguments):
        print(__doc__.strip())
        return 0
    if unknown := [a for a in arguments if a != "--check"]:
        print(f"start.py does not know {unknown[0]!r}: use it alone, or with --check.", file=sys.stderr)
        return 2
    if not (3, 10) <= sys.version_info[:2] <= (3, 13):
        found = ".".join(map(str, sys.version_info[:2]))
        print(f"This is Python {found}; the course needs 3.10 to 3.13: start it with one of those.", file=sys.stderr)
        return 2
    if not (DONE.is_file() and DONE.read_text(encoding="utf-8") == str(HERE)):
        wheels = sorted(WHEELS.glob("sgdc_viz-*.whl"))
        if not wheels:
            print(f"There is no folder {WHEELS.name}/ beside start.py: ask your lecturer for it.", file=sys.stderr)
            return 2
        print("Setting up, some minutes the first time ...", flush=True)
        venv.create(VENV, with_pip=True, clear=True)
        what = ["--no-index", "--find-links", str(WHEELS), f"sgdc_viz[notebooks] @ {wheels[-1].as_uri()}"]
        pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "install", "-q", *what]
        if subprocess.run(pip).returncode:
            print("The packages do not fit this laptop, the lines above say why: wheelhouse/ serves only the kind of "
                  "machine and the Python that it was made with.", file=sys.stderr)  # fmt: skip
            return 1
        DONE.write_text(str(HERE), encoding="utf-8")
    # so that `python` means this one in JupyterLab's terminal and after `!` in a cell
    environment = {**os.environ, "PATH": os.pathsep.join([str(PYTHON.parent), os.environ.get("PATH", "")])}
    first = [str(path) for path in sorted(HERE.glob("[0-9][0-9]_*.ipynb"))[:1]]
    command = ["-c", TEST] if "--check" in arguments else ["-m", "jupyterlab", *first]
    return subprocess.run([str(PYTHON), *command], cwd=HERE, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
