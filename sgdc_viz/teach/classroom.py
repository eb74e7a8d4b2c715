"""The course for a class: notebooks without answers for the students, everything else for the lecturer.

    DIR/student/      notebooks without solutions, hidden tests, model answers and outputs; start.py, README.md
    DIR/instructor/   the masters, INSTRUCTOR.md (plan, commands, rubric), COMMON_ERRORS.md, scores.csv
    DIR/nbgrader/     a course folder in which nbgrader's own commands work: source/, nbgrader_config.py

The masters carry nbgrader's own markup, and what is taken out here is what `nbgrader generate_assignment` takes out, so
both ways of handing out fit the same grading. This module does not need nbgrader.
"""

from __future__ import annotations

import csv
import hashlib
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
WHEELHOUSE = "student/wheelhouse/"
MADE = ".made-by-sgdc_viz.json"  # path -> digest of every file as it was written, so that no other file is touched
# What only the master needs to say, and what stands in the students' copies instead. Words may be parted by a new line.
REWORDED = (
    (
        r"what stands in an exercise cell \(here: the reference solution, in a student's copy: "
        r"`raise NotImplementedError\(\)`\)",
        "`raise NotImplementedError()` in an exercise cell",
    ),
)
WITHOUT_EXPLANATIONS = (
    (r", then open \*\*Explain\*\*", ", and compare"),
    (r"that section's \*Explain\*", "that section"),
)
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
            head = re.search(r"^### Exercise \d+ \((\w+), (\d+) points?\) · (.+)$", _text(cell).replace("**", ""), re.M)
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
        "restore notebooks/ in the clone, or install sgdc_viz again (what students get for a class leaves them out)."
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
    names = tuple(name.removesuffix(".ipynb").zfill(2) for name in names)  # "6" and a file's name will do too
    for name in names:
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
        else:
            text = _reword(text, REWORDED if explanations else REWORDED + WITHOUT_EXPLANATIONS)
            text = text if explanations else EXPLAIN.sub(NO_ANSWER, text)
        if about:  # as nbgrader locks them
            cell["metadata"]["deletable"] = False
            if about.get("locked"):
                cell["metadata"]["editable"] = False
            if about.get("grade"):  # so that "Run All" in JupyterLab goes on after an exercise that is not solved yet
                cell["metadata"]["tags"] = [*cell["metadata"].get("tags", []), "raises-exception"]
        cells.append({**cell, "source": text})
    metadata = {key: value for key, value in notebook["metadata"].items() if key != "widgets"}
    return {**notebook, "cells": cells, "metadata": metadata}


def write_classroom(
    out: Path, names: Iterable[str] = (), explanations: bool = False, wheelhouse: bool = False
) -> dict[str, Path]:
    """Write the three folders. Files that were made before and are not wanted any more go; no other file is touched.

    Args:
        out: folder to write into; made if it is not there.
        names: of the notebooks to hand out, as "01"; none: all.
        explanations: keep the model answers in the students' notebooks.
        wheelhouse: put all packages beside them, so that start.py needs no network. Needs the network itself.

    Returns:
        "student", "instructor" and "nbgrader" -> folder.

    Raises:
        ValueError: no such notebook, or a file would be lost that is not as it was made.
        OSError: pip could not fill the wheelhouse.
    """
    chosen = masters(names)
    _refuse_below_a_file(out)
    wanted: dict[str, str] = {}  # path in `out` -> content
    for master in chosen:
        given = _as_file(student_notebook(master.notebook, explanations))
        own = master.path.read_text(encoding="utf-8")
        wanted[f"student/{master.path.name}"] = given
        wanted[f"instructor/{master.path.name}"] = own
        wanted[f"nbgrader/source/{master.name}/{master.path.name}"] = own
    wanted["student/start.py"], wanted["student/README.md"] = _template("start.py"), _template("student.md")
    wanted["instructor/INSTRUCTOR.md"] = instructor_page(chosen, explanations)
    wanted["instructor/COMMON_ERRORS.md"] = common_errors(chosen)
    wanted["instructor/scores.csv"] = scores(chosen)
    wanted["nbgrader/nbgrader_config.py"] = _template("nbgrader_config.py")

    record = out / MADE
    made = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    wheels = {name for name in made if name.startswith(WHEELHOUSE)}  # of an earlier set
    for name in {*wanted, *made} - wheels:
        if (out / name).exists() and _digest(out / name) != made.get(name):
            raise ValueError(f"{out / name} is not as it was made: move it away, or choose another --out.")
    with tempfile.TemporaryDirectory() as filled:  # what can fail comes first: nothing half-written
        if wheelhouse:
            fill_wheelhouse(Path(filled) / "wheelhouse")
        for name, text in wanted.items():
            _write(out / name, text)
        if wheelhouse:
            wheels = set()
            (out / WHEELHOUSE).mkdir(parents=True, exist_ok=True)
            for wheel in (Path(filled) / "wheelhouse").iterdir():
                shutil.move(wheel, out / WHEELHOUSE / wheel.name)  # over one of the same name
                wheels.add(WHEELHOUSE + wheel.name)
    for name in made.keys() - wanted.keys() - wheels:
        (out / name).unlink(missing_ok=True)
        if name.startswith("nbgrader/source/") and not any((out / name).parent.iterdir()):
            (out / name).parent.rmdir()
    digests = {name: _digest(out / name) for name in sorted(wanted)} | dict.fromkeys(sorted(wheels), "")
    _write(record, json.dumps(digests, indent=1))
    return {name: out / name for name in ("student", "instructor", "nbgrader")}


def write_own_copy(out: Path) -> tuple[list[str], list[str]]:
    """The course for one person: every notebook without solutions, with explanations. Never overwrites a file.

    Returns:
        (names of the files written, names of those that were there already).
    """
    _refuse_below_a_file(out)
    new, kept = [], []
    for master in masters():
        path = out / master.path.name
        (kept if path.exists() else new).append(path.name)
        if not path.exists():
            _write(path, _as_file(student_notebook(master.notebook, explanations=True)))
    return new, kept


def scores(chosen: Iterable[Master]) -> str:
    """The score sheet as CSV: one column for each exercise, a line of full marks, and lines that add themselves up."""
    columns = [(f"{m.name[:2]} {e.name.replace('_', ' ')}", e.points) for m in chosen for e in m.exercises]
    last = _column_name(len(columns))
    file = io.StringIO()
    lines = csv.writer(file, lineterminator="\n")
    lines.writerow(["student", *(name for name, _ in columns), "total"])
    lines.writerow(["full marks", *(points for _, points in columns), sum(points for _, points in columns)])
    for number in range(1, 41):
        line = number + 2
        lines.writerow([f"student {number}", *("" for _ in columns), f"=SUM(B{line}:{last}{line})"])
    return file.getvalue()


def _column_name(index: int) -> str:
    """0 -> "A", 25 -> "Z", 26 -> "AA", as spreadsheets name columns."""
    return (_column_name(index // 26 - 1) if index >= 26 else "") + chr(ord("A") + index % 26)


def course_facts() -> dict[str, Any]:
    """What was measured of the course, written by `python tests/answers`, see there.

    Returns:
        "misconceptions": notebook number -> exercise -> list of [mistake, what the check says to it];
        "seconds": notebook name -> seconds to run it all; "machine": where.
    """
    return json.loads(files(__package__).joinpath("course.json").read_text(encoding="utf-8"))


def instructor_page(chosen: Iterable[Master], explanations: bool = False) -> str:
    """INSTRUCTOR.md: plan, timings, grading, what the checks catch, rubric, forty laptops."""
    chosen, facts = tuple(chosen), course_facts()
    plan = ["| notebook | minutes (our estimate) | Run All, seconds | exercises | points |", "|---|---|---|---|---|"]
    caught = ["| notebook | exercise | mistakes that its check knows, for example | in all |", "|---|---|---|---|"]
    for master in chosen:
        seconds = facts["seconds"].get(master.name)
        points = sum(e.points for e in master.exercises)
        told = "not measured" if seconds is None else f"{seconds:.0f}"
        plan.append(f"| {master.title} | {master.minutes} | {told} | {len(master.exercises)} | {points} |")
        for exercise in master.exercises:
            known = [mistake for mistake, _ in _mistakes(facts, master, exercise)]
            number = exercise.name.removeprefix("exercise_")
            examples = _cell("; ".join(known[:3]))
            caught.append(f"| {master.name[:2]} | {number} · {_cell(exercise.title)} | {examples} | {len(known)} |")
    kept = (
        "The students' notebooks keep the model answers behind *Explain* (you asked for them)."
        if explanations
        else "The model answers behind *Explain* are only in your notebooks."
    )
    page = _template("instructor.md")
    for name, text in {
        "plan": "\n".join(plan),
        "caught": "\n".join(caught),
        "machine": facts["machine"],
        "explanations": kept,
        "first": chosen[0].name,
    }.items():
        page = page.replace(f"{{{{{name}}}}}", text)
    return page


def common_errors(chosen: Iterable[Master]) -> str:
    """COMMON_ERRORS.md: every mistake that a check is tested against, and what the student reads."""
    page = ["# Common errors, and what students read when they make them", "",
            "Each line is tested: this mistake is rejected, with this message.", ""]  # fmt: skip
    facts = course_facts()
    for master in chosen:
        page += [f"## {master.title}", ""]
        for exercise in master.exercises:
            number = exercise.name.removeprefix("exercise_")
            page += [f"**Exercise {number} · {exercise.title}** ({exercise.level}, {exercise.points} points)", ""]
            page += ["| mistake | what the student reads |", "|---|---|"]
            known = _mistakes(facts, master, exercise)
            page += [f"| {_cell(mistake)} | {_cell(message)} |" for mistake, message in known]
            page.append("")
    return "\n".join(page)


def _mistakes(facts: Mapping[str, Any], master: Master, exercise: Exercise) -> list[list[str]]:
    return facts["misconceptions"].get(master.name[:2], {}).get(exercise.name, [])


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
        # no masters, no page of mistakes: what is on the students' laptops must not hold the solutions
        left_out = (
            "tests",
            "notebooks",
            "handouts",
            "course.json",
            "build",
            "*.egg-info",
            "__pycache__",
            ".*",
            "my-course",
        )
        shutil.copytree(root, tree, ignore=shutil.ignore_patterns(*left_out))
        project = (tree / "pyproject.toml").read_text(encoding="utf-8")
        for part in ('"sgdc_viz.notebooks", ', ', "sgdc_viz.notebooks" = "notebooks"'):
            if part not in project:
                raise OSError(f"pyproject.toml has no {part!r} to leave out: mend fill_wheelhouse.")
            project = project.replace(part, "")
        _write(tree / "pyproject.toml", project)
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


def _reword(text: str, pairs: Iterable[tuple[str, str]]) -> str:
    for words, instead in pairs:
        text = re.sub(words.replace(" ", r"\s+"), instead, text)
    return text


def _stub(region: re.Match) -> str:
    return "\n".join(region["indent"] + line for line in STUB.splitlines())


def _cell(text: str) -> str:
    """Text for a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")


def _template(name: str) -> str:
    return files(__package__).joinpath("handouts", name).read_text(encoding="utf-8")


def _as_file(notebook: Mapping[str, Any]) -> str:
    """A notebook as the text of its file."""
    cells = [{**cell, "source": cell["source"].splitlines(keepends=True)} for cell in notebook["cells"]]
    return json.dumps({**notebook, "cells": cells}, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _write(path: Path, text: str) -> None:
    from sgdc_viz.learn.checkpoints import write_whole

    # a spreadsheet takes a CSV for UTF-8 only if it begins with a mark
    write_whole(path, text.encode("utf-8-sig" if path.suffix == ".csv" else "utf-8"))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _refuse_below_a_file(out: Path) -> None:
    for folder in (out, *out.parents):
        if folder.is_file():
            raise ValueError(f"{folder} is a file: give the name of a folder that is or can be made.")
