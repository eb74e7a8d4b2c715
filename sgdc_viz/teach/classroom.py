"""The course for a class: notebooks without answers for the students, everything else for the lecturer.

    DIR/student/      notebooks without solutions, hidden tests, model answers and outputs; start.py, README.md
    DIR/instructor/   the masters, INSTRUCTOR.md (what to expect, common errors, rubric, commands), scores.csv
    DIR/nbgrader/     a course folder in which nbgrader's own commands work: source/, nbgrader_config.py

The masters carry nbgrader's own markup, and what is taken out here is what `nbgrader generate_assignment` takes out, so
both ways of handing out fit the same grading. This module does not need nbgrader.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

STUB = "# YOUR CODE HERE\nraise NotImplementedError()"  # what nbgrader puts there by default
EXPLAIN = re.compile(r"<details><summary><b>Explain.*?</details>", re.S)
NO_ANSWER = "*The explanation is with your lecturer.*"
REGION = r"^(?P<indent>[ \t]*)### BEGIN {0}[^\n]*\n.*?^[ \t]*### END {0}[^\n]*$"
SOLUTION = re.compile(REGION.format("SOLUTION"), re.S | re.M)
HIDDEN = re.compile(REGION.format("HIDDEN TESTS") + r"\n?", re.S | re.M)


@dataclass(frozen=True)
class Exercise:
    """One exercise of a notebook.

    Attributes:
        name: "exercise_1", the cell's grade_id.
        title: "Which pixels share a kernel?".
        level: "easy", "medium" or "hard".
        points: full marks; a check gives all or none.
    """

    name: str
    title: str
    level: str
    points: int


@dataclass(frozen=True, eq=False)
class Master:
    """A notebook with solutions, as it stands in notebooks/.

    Attributes:
        path: the file.
        notebook: its content, in nbformat's form (a dict).
    """

    path: Path
    notebook: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def title(self) -> str:
        """The first heading, such as "00 · Start here"."""
        return _text(self.notebook["cells"][0]).splitlines()[0].removeprefix("# ")

    @property
    def minutes(self) -> str:
        """How long the notebook says it takes, such as "45"."""
        return re.search(r"\*\*Time:\*\*\D*([\d–-]+) minutes", _text(self.notebook["cells"][0]))[1]

    @property
    def exercises(self) -> tuple[Exercise, ...]:
        told = {}
        for cell in self.notebook["cells"]:
            about = cell["metadata"].get("nbgrader", {})
            head = re.search(r"^### Exercise \d+ \((\w+), (\d+) points?\) · (.+)$", _text(cell), re.M)
            if head and about.get("grade_id", "").endswith("_prompt"):
                name = about["grade_id"].removesuffix("_prompt")
                told[name] = Exercise(name, head[3], head[1], int(head[2]))
        return tuple(told.values())


def notebooks_dir() -> Path:
    """The folder of the masters: `sgdc_viz/notebooks` in a wheel, `notebooks/` in a clone.

    Raises:
        FileNotFoundError: neither is there.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "notebooks", package.parent / "notebooks"):
        if list(folder.glob("[0-9][0-9]_*.ipynb")):
            return folder
    raise FileNotFoundError(
        f"the notebooks are missing: none in {package / 'notebooks'} and none in {package.parent / 'notebooks'}; "
        "install sgdc_viz again, or restore notebooks/ in the clone."
    )


def masters(names: Iterable[str] = ()) -> tuple[Master, ...]:
    """The notebooks of the course, in order.

    Args:
        names: of some of them, as "01" or "01_dynamic_convolution"; none: all.

    Raises:
        ValueError: no notebook of such a name.
        FileNotFoundError: the notebooks are missing.
    """
    paths = sorted(notebooks_dir().glob("[0-9][0-9]_*.ipynb"))
    for name in (names := tuple(names)):
        if not any(name in (path.stem, path.stem[:2]) for path in paths):
            raise ValueError(f"there is no notebook {name!r}; choose from {', '.join(path.stem for path in paths)}.")
    chosen = [path for path in paths if not names or {path.stem, path.stem[:2]} & set(names)]
    return tuple(Master(path, json.loads(path.read_text(encoding="utf-8"))) for path in chosen)


def student_notebook(notebook: Mapping[str, Any], explanations: bool = False) -> dict[str, Any]:
    """A notebook without solutions, hidden tests, model answers and outputs.

    Args:
        notebook: the master, in nbformat's form.
        explanations: keep the model answers behind "Explain", for a class that studies alone.
    """
    cells = []
    for cell in notebook["cells"]:
        cell = {**cell, "metadata": dict(cell["metadata"])}
        about = cell["metadata"].get("nbgrader", {})
        text = HIDDEN.sub("", SOLUTION.sub(_stub, _text(cell)))
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
        elif not explanations:
            text = EXPLAIN.sub(NO_ANSWER, text)
        if about:  # as nbgrader locks them
            cell["metadata"]["deletable"] = False
            if about.get("locked"):
                cell["metadata"]["editable"] = False
        cells.append({**cell, "source": text})
    metadata = {key: value for key, value in notebook["metadata"].items() if key != "widgets"}
    return {**notebook, "cells": cells, "metadata": metadata}


def write_classroom(
    out: Path, names: Iterable[str] = (), explanations: bool = False, wheelhouse: bool = False
) -> dict[str, Path]:
    """Write the three folders; what stood there before under these names is replaced.

    Args:
        out: folder to write into; made if it is not there.
        names: of the notebooks to hand out, as "01"; none: all.
        explanations: keep the model answers in the students' notebooks.
        wheelhouse: put all packages beside them, so that start.py needs no network. Needs the network itself.

    Returns:
        "student", "instructor" and "nbgrader" -> folder.

    Raises:
        ValueError: no such notebook, or a file of the lecturer's would be lost.
        OSError: pip could not fill the wheelhouse.
    """
    chosen = masters(names)
    folders = {name: out / name for name in ("student", "instructor", "nbgrader")}
    marks = folders["instructor"] / "scores.csv"
    blank = scores(chosen)
    if marks.exists() and marks.read_text(encoding="utf-8") != blank:
        raise ValueError(f"{marks} has been filled in: move it away, or choose another --out.")
    for kind in ("submitted", "autograded", "gradebook.db"):
        if (folders["nbgrader"] / kind).exists():
            raise ValueError(f"{folders['nbgrader'] / kind} holds students' work: choose another --out.")
    page = instructor_page(chosen, explanations)
    out.mkdir(parents=True, exist_ok=True)
    # everything is made beside its place first, so that a failure leaves what was there as it was
    with tempfile.TemporaryDirectory(dir=out, prefix=".making-") as made:
        new = {name: Path(made) / name for name in folders}
        for folder in new.values():
            folder.mkdir()
        for master in chosen:
            _write_notebook(new["student"] / master.path.name, student_notebook(master.notebook, explanations))
            shutil.copy(master.path, new["instructor"])
            (new["nbgrader"] / "source" / master.name).mkdir(parents=True)
            shutil.copy(master.path, new["nbgrader"] / "source" / master.name)
        _write(new["student"] / "start.py", _template("start.py"))
        _write(new["student"] / "README.md", _template("student.md"))
        _write(new["instructor"] / "INSTRUCTOR.md", page)
        _write(new["instructor"] / "scores.csv", blank)
        _write(new["nbgrader"] / "nbgrader_config.py", _template("nbgrader_config.py"))
        if wheelhouse:
            fill_wheelhouse(new["student"] / "wheelhouse")
        for name, folder in folders.items():
            if folder.exists():
                shutil.rmtree(folder)
            new[name].rename(folder)
    return folders


def scores(chosen: Iterable[Master]) -> str:
    """The score sheet as CSV: one column for each exercise, one line of full marks, lines for 40 students."""
    columns = [(f"{m.name[:2]} {e.name.replace('_', ' ')}", e.points) for m in chosen for e in m.exercises]
    file = io.StringIO()
    lines = csv.writer(file, lineterminator="\n")
    lines.writerow(["student", *(name for name, _ in columns), "total"])
    lines.writerow(["full marks", *(points for _, points in columns), sum(points for _, points in columns)])
    for number in range(1, 41):
        lines.writerow([f"student {number}", *("" for _ in columns), ""])
    return file.getvalue()


def course_facts() -> dict[str, Any]:
    """What was measured of the course, written by `python tests/answers`, see there.

    Returns:
        "misconceptions": notebook number -> exercise -> list of [mistake, what the check says to it];
        "seconds": notebook name -> seconds to run it all; "machine": where.
    """
    return json.loads(files(__package__).joinpath("course.json").read_text(encoding="utf-8"))


def instructor_page(chosen: Iterable[Master], explanations: bool = False) -> str:
    """INSTRUCTOR.md: plan, timings, grading, common errors, rubric, forty laptops."""
    chosen, facts = tuple(chosen), course_facts()
    plan = ["| notebook | minutes (our estimate) | Run All, seconds | exercises | points |", "|---|---|---|---|---|"]
    for master in chosen:
        seconds = facts["seconds"].get(master.name)
        points = sum(e.points for e in master.exercises)
        told = "not measured" if seconds is None else f"{seconds:.0f}"
        plan.append(f"| {master.title} | {master.minutes} | {told} | {len(master.exercises)} | {points} |")
    errors = []
    for master in chosen:
        errors.append(f"### {master.title}\n")
        known = facts["misconceptions"].get(master.name[:2], {})
        for exercise in master.exercises:
            number = exercise.name.removeprefix("exercise_")
            errors.append(f"**Exercise {number} · {exercise.title}** ({exercise.level}, {exercise.points} points)\n")
            errors.append("| mistake | what the student reads |\n|---|---|")
            for mistake, message in known.get(exercise.name, []):
                errors.append(f"| {_cell(mistake)} | {_cell(message)} |")
            errors.append("")
    kept = (
        "The students' notebooks keep the model answers behind *Explain* (you asked for them)."
        if explanations
        else "The model answers behind *Explain* are only in your notebooks."
    )
    page = _template("instructor.md")
    for name, text in {
        "plan": "\n".join(plan),
        "errors": "\n".join(errors).rstrip(),
        "machine": facts["machine"],
        "explanations": kept,
        "first": chosen[0].name,
    }.items():
        page = page.replace(f"{{{{{name}}}}}", text)
    return page


def fill_wheelhouse(folder: Path) -> None:
    """Download every package that the students need, for this kind of machine and this Python, and build our own.

    Raises:
        OSError: pip failed; the message is its last line.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / "pyproject.toml").is_file():
        raise OSError("a wheelhouse is made from a clone of the project: run this command there.")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    with tempfile.TemporaryDirectory() as copied:  # a build leaves folders behind: not in the clone
        tree = Path(copied) / "tree"
        skip = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__", "tests")
        shutil.copytree(root, tree, ignore=skip)
        _run([*pip, "wheel", "-q", "--no-deps", "-w", str(folder), str(tree)])
    (wheel,) = folder.glob("sgdc_viz-*.whl")
    constraints = str(root / "constraints.txt")
    _run([*pip, "download", "-q", "-d", str(folder), "-c", constraints, f"{wheel}[notebooks]", "pip"])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        raise OSError(f"pip could not fill the wheelhouse; it said: {said[-1]}")


def _text(cell: Mapping[str, Any]) -> str:
    """A cell's source; files hold it as lines."""
    return cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])


def _stub(region: re.Match) -> str:
    return "\n".join(region["indent"] + line for line in STUB.splitlines())


def _cell(text: str) -> str:
    """Text for a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")


def _template(name: str) -> str:
    return files(__package__).joinpath("handouts", name).read_text(encoding="utf-8")


def _write_notebook(path: Path, notebook: Mapping[str, Any]) -> None:
    cells = [{**cell, "source": cell["source"].splitlines(keepends=True)} for cell in notebook["cells"]]
    _write(path, json.dumps({**notebook, "cells": cells}, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
