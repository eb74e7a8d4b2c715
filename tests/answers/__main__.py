"""python tests/answers: writes sgdc_viz/teach/course.json anew: what each check says to each wrong answer.

With --seconds it also runs every notebook (on an idle machine, some minutes) and notes how long each took.
A test says when the file is out of date.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
FILE = ROOT / "sgdc_viz" / "teach" / "course.json"


def misconceptions() -> dict[str, dict[str, list[list[str]]]]:
    """Notebook number -> exercise -> [mistake, message] for each wrong answer."""
    from sgdc_viz.teach import CheckFailed

    told: dict = {}
    for path in sorted(Path(__file__).parent.glob("notebook_*.py")):
        exercises = importlib.import_module(f"answers.{path.stem}").EXERCISES
        checks = importlib.import_module(f"sgdc_viz.teach.checks.{path.stem}")
        for name, exercise in exercises.items():
            said = told.setdefault(path.stem[-2:], {})[name] = []
            for mistake, answer, _ in exercise.wrong:
                with contextlib.redirect_stdout(io.StringIO()):  # some mistakes print
                    try:
                        getattr(checks, name)(answer)
                    except CheckFailed as failed:
                        said.append([mistake, str(failed)])
    return told


def seconds() -> dict[str, float]:
    """Notebook -> seconds to run all its cells, starting of the kernel included."""
    import nbformat
    from nbclient import NotebookClient

    os.environ["OMP_NUM_THREADS"] = "1"
    took = {}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        start = time.perf_counter()
        NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(path.parent)}}).execute()
        took[path.stem] = round(time.perf_counter() - start, 1)
        print(f"{path.stem}: {took[path.stem]} s")
    return took


def main() -> None:
    facts = (
        json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {"seconds": {}, "machine": "not measured"}
    )
    facts["misconceptions"] = misconceptions()
    if "--seconds" in sys.argv:
        facts["seconds"] = seconds()
        python = ".".join(map(str, sys.version_info[:2]))
        facts["machine"] = (
            f"one run, {os.cpu_count()} CPU cores, one thread used, no GPU, {sys.platform}, Python {python}"
        )
    FILE.write_text(json.dumps(facts, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
