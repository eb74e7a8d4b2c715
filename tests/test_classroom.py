"""The classroom set: nothing leaks, nothing is lost, and nbgrader's own commands grade it."""

from __future__ import annotations

import ast
import csv
import errno
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
from answers.__main__ import misconceptions
from typer.testing import CliRunner

from sgdc_viz.cli import app
from sgdc_viz.teach import classroom
from sgdc_viz.teach.classroom import (
    course_facts,
    masters,
    scores,
    student_notebook,
    write_classroom,
    write_own_copy,
)

ROOT = Path(__file__).resolve().parent.parent
NAMES = [path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
every_notebook = pytest.mark.parametrize("name", NAMES)

# Runs at the start of every Python below it: a notebook that asks another host for anything fails.
NO_NETWORK = """
import ipaddress, socket
def guard(connect):
    def guarded(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and not ipaddress.ip_address(address[0]).is_loopback:
            raise RuntimeError(f"tried to reach {address[0]}: notebooks work offline")
        return connect(self, address)
    return guarded
socket.socket.connect, socket.socket.connect_ex = guard(socket.socket.connect), guard(socket.socket.connect_ex)
"""


# The same as the commands `generate_assignment` and `autograde`, for many assignments in one process: each command of
# its own takes seconds to start.
GRADE_ALL = """
import sys
from nbgrader.apps import NbGraderAPI
from nbgrader.coursedir import CourseDirectory
from traitlets.config import PyFileConfigLoader
config = PyFileConfigLoader("nbgrader_config.py", ".").load_config()
api = NbGraderAPI(CourseDirectory(config=config), config=config)
for name in sys.argv[1:]:
    for done in (api.generate_assignment(name), *(api.autograde(name, student) for student in ("blank", "solved"))):
        print(done.get("log"), done.get("error"), file=sys.stderr)
        assert done["success"], name
"""


def read(path: Path):
    return nbformat.read(path, as_version=4)


def told(cell) -> dict:
    return cell.metadata.get("nbgrader", {})


def sources(path: Path) -> dict[str, str]:
    """grade_id -> source."""
    return {told(c)["grade_id"]: c.source for c in read(path).cells if told(c)}


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> dict[str, Path]:
    return write_classroom(tmp_path_factory.mktemp("class"))


# --- the students' notebooks -----------------------------------------------------------------------------------------


def solution_lines(source: str) -> list[str]:
    region = re.search(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", source, re.S)[1]
    return [line.strip() for line in region.splitlines() if line.strip()]


@every_notebook
def test_no_answer_leaks(course, name):
    master, student = read(ROOT / f"notebooks/{name}.ipynb"), read(course["student"] / f"{name}.ipynb")
    nbformat.validate(student)
    text = "\n".join(cell.source for cell in student.cells)
    for cell in master.cells:
        if told(cell).get("solution"):
            telling = [line for line in solution_lines(cell.source) if len(line) >= 25 and not line.startswith("#")]
            there = [line for line in telling if line in text]
            # one line of several, such as `x = np.asarray(x, float)`, may stand in a lesson's own code or in a hint
            assert not there or (len(there) <= len(telling) / 3 and telling[-1] not in there), there
    assert "SOLUTION" not in text and "HIDDEN TESTS" not in text and "<b>Explain" not in text
    for cell in student.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
        if told(cell).get("solution"):
            assert cell.source.count("raise NotImplementedError()") == 1
            compile(cell.source, name, "exec")


@every_notebook
def test_what_is_left_is_what_nbgrader_leaves(course, name, nbgrader):
    """Cell by cell the same code as nbgrader's own assignment, locked in the same way."""
    from nbgrader.preprocessors import CheckCellMetadata, ClearHiddenTests, ClearSolutions, LockCells

    notebook = read(ROOT / f"notebooks/{name}.ipynb")
    for step in (LockCells, ClearSolutions, ClearHiddenTests, CheckCellMetadata):
        notebook, _ = step().preprocess(notebook, {})
    ours = read(course["student"] / f"{name}.ipynb")
    assert len(ours.cells) == len(notebook.cells)
    for mine, its in zip(ours.cells, notebook.cells, strict=True):
        # so JupyterLab goes on after an unsolved exercise; not in masters, where nbval would pass what raises nothing
        assert mine.metadata.pop("tags", []) == ["raises-exception"] * bool(told(mine).get("grade"))
        assert mine.metadata == its.metadata
        if mine.cell_type == "code" or told(mine):
            assert mine.source == its.source


def test_explanations_can_be_kept():
    (master,) = masters(["00"])
    kept = student_notebook(master.notebook, explanations=True)
    text = json.dumps(kept, ensure_ascii=False)
    assert text.count("<b>Explain") == json.dumps(master.notebook, ensure_ascii=False).count("<b>Explain") > 3
    assert "BEGIN SOLUTION" not in text


def test_hidden_tests_and_indented_solutions_go():
    cell = "class A:\n    def f(self):\n        ### BEGIN SOLUTION\n        return 1\n        ### END SOLUTION\n"
    tests = "check(1)\n### BEGIN HIDDEN TESTS\ncheck(2)\n### END HIDDEN TESTS\n"
    base = {"cell_type": "code", "metadata": {}, "outputs": ["something"], "execution_count": 3}
    notebook = {"metadata": {"widgets": {}}, "cells": [{**base, "source": [cell]}, {**base, "source": tests}]}
    done = student_notebook(notebook)
    assert done["cells"][0]["source"] == (
        "class A:\n    def f(self):\n        # YOUR CODE HERE\n        raise NotImplementedError()\n"
    )
    assert done["cells"][1]["source"] == "check(1)\n"
    assert done["metadata"] == {} and notebook["cells"][0]["outputs"] == ["something"]  # the master is not touched


# --- nbgrader, with its own commands ---------------------------------------------------------------------------------


def with_solutions(student: Path):
    """A student's notebook with the reference solutions put in."""
    notebook, solutions = read(student), sources(ROOT / "notebooks" / student.name)
    for cell in notebook.cells:
        if told(cell).get("solution"):
            cell.source = solutions[told(cell)["grade_id"]]
    return notebook


def answers_only(notebook):
    """Of a notebook only what nbgrader grades, and the imports."""
    kept = []
    for cell in notebook.cells:
        if not told(cell) and cell.cell_type == "code":
            imports = [n for n in ast.parse(cell.source).body if isinstance(n, ast.Import | ast.ImportFrom)]
            cell.source = "\n".join(map(ast.unparse, imports))
        if told(cell) or (cell.cell_type == "code" and cell.source):
            kept.append(cell)
    notebook.cells = kept
    return notebook


@pytest.fixture(scope="module")
def graded(course, nbgrader, tmp_path_factory) -> Path:
    """The course folder after `generate_assignment` and `autograde` of two students, without a network.

    "blank" handed in what she was given. "solved" handed in nothing but the answers: imports, solutions and checks
    (nbval has already run everything else beside the solutions, see `test_students_with_the_solutions...`).
    """
    folder = course["nbgrader"]
    for name in NAMES:
        given = course["student"] / f"{name}.ipynb"
        for student, notebook in (("blank", read(given)), ("solved", answers_only(with_solutions(given)))):
            place = folder / "submitted" / student / name
            place.mkdir(parents=True)
            nbformat.write(notebook, place / f"{name}.ipynb")
    site = tmp_path_factory.mktemp("site")
    (site / "sitecustomize.py").write_text(NO_NETWORK)
    own = {v: str(site / v.lower()) for v in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR")}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # nbgrader calls `alembic`
    environment = {**os.environ, **own, "PYTHONPATH": str(site), "PATH": path}
    first, *others = NAMES
    nbgrader = ["-m", "nbgrader"]
    for arguments in ([*nbgrader, "generate_assignment", first], [*nbgrader, "autograde", first],
                      ["-c", GRADE_ALL, *others], [*nbgrader, "export"]):  # fmt: skip
        done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        assert "has changed!" not in done.stderr, done.stderr  # no cell of ours differs from nbgrader's
    return folder


@pytest.mark.timeout(900)
def test_nbgrader_gives_blank_nothing_and_solved_everything(graded):
    rows = list(csv.DictReader((graded / "grades.csv").read_text().splitlines()))
    full = {master.name: sum(e.points for e in master.exercises) for master in masters()}
    scored = {(row["student_id"], row["assignment"]): (float(row["score"]), float(row["max_score"])) for row in rows}
    assert scored == {
        **{("blank", name): (0, full[name]) for name in NAMES},
        **{("solved", name): (full[name], full[name]) for name in NAMES},
    }


@every_notebook
@pytest.mark.timeout(900)
def test_run_all_of_a_student_fails_in_check_cells_only(graded, name):
    for cell in read(graded / f"autograded/blank/{name}/{name}.ipynb").cells:
        errors = [o for o in cell.get("outputs", []) if o.output_type == "error"]
        assert bool(errors) == bool(told(cell).get("grade")), cell.source
        for error in errors:
            assert error.ename == "CheckFailed"
            assert len(error.traceback) == 1 and "still empty" in error.traceback[0]


@every_notebook
def test_students_with_the_solutions_run_what_the_master_runs(course, name):
    """And the master passes everything: nbval runs it, cell by cell."""
    code = [[c.source for c in notebook.cells if c.cell_type == "code"] for notebook in (
        with_solutions(course["student"] / f"{name}.ipynb"), read(ROOT / f"notebooks/{name}.ipynb")
    )]  # fmt: skip
    assert code[0] == code[1]


@every_notebook
@pytest.mark.timeout(900)
def test_right_answers_pass_the_checks_under_nbgrader(graded, name):
    for cell in read(graded / f"autograded/solved/{name}/{name}.ipynb").cells:
        assert not [o for o in cell.get("outputs", []) if o.output_type == "error"], cell.source
        if told(cell).get("grade"):
            assert cell.outputs[0].text.startswith("Right. ")


# --- the instructor's part -------------------------------------------------------------------------------------------


def test_course_facts_are_up_to_date():
    """The page's messages are what the checks say today: `python tests/answers` writes them anew."""
    facts = course_facts()
    assert facts["misconceptions"] == misconceptions()
    assert set(facts["seconds"]) == set(NAMES), "run `python tests/answers --seconds` on an idle machine"


def test_the_pages_tell_every_exercise_and_every_mistake(course):
    page = (course["instructor"] / "INSTRUCTOR.md").read_text(encoding="utf-8")
    errors = (course["instructor"] / "COMMON_ERRORS.md").read_text(encoding="utf-8")
    assert not re.search(r"\{\{\w+\}\}", page) and "not measured" not in page
    for master in masters():
        assert page.count(f"| {master.title} |") == 1 and errors.count(f"## {master.title}\n") == 1
        assert master.exercises and all(f" · {exercise.title}**" in errors for exercise in master.exercises)
        for exercise in master.exercises:
            told = course_facts()["misconceptions"][master.name[:2]][exercise.name]
            number = exercise.name.removeprefix("exercise_")
            row = (
                f"| {master.name[:2]} | {number} · {classroom._cell(exercise.title)} | {classroom._cell(told[0][0])}; "
            )
            assert row in page
            for mistake, message in told:
                assert f"| {classroom._cell(mistake)} | {classroom._cell(message)} |" in errors


def test_scores_have_a_column_for_each_exercise_and_add_themselves_up(course):
    assert (course["instructor"] / "scores.csv").read_bytes().startswith(b"\xef\xbb\xbf")  # or Excel breaks "Zoë"
    rows = list(csv.reader(io.StringIO(scores(masters()))))
    count = sum(len(master.exercises) for master in masters())
    assert {len(row) for row in rows} == {count + 2} and len(rows) == 42
    assert int(rows[1][-1]) == sum(map(int, rows[1][1:-1]))
    assert rows[2][-1] == f"=SUM(B3:{classroom._column_name(count)}3)"
    assert [classroom._column_name(i) for i in (0, 25, 26, 51, 52)] == ["A", "Z", "AA", "AZ", "BA"]


def test_what_a_lecturer_or_a_student_wrote_is_never_touched(tmp_path):
    out = tmp_path / "class"
    folders = write_classroom(out, ["00"])
    notes, work = folders["instructor"] / "notes.txt", folders["nbgrader"] / "submitted" / "ada" / "a.ipynb"
    work.parent.mkdir(parents=True)
    for path in (notes, work):
        path.write_text("mine")
    write_classroom(out, ["1"])  # next week: what was handed out before and is unchanged makes room
    assert [p.name for p in folders["student"].glob("*.ipynb")] == ["01_dynamic_convolution.ipynb"]
    assert [p.name for p in (folders["nbgrader"] / "source").iterdir()] == ["01_dynamic_convolution"]
    assert notes.read_text() == work.read_text() == "mine"

    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for name in ("instructor/scores.csv", "instructor/INSTRUCTOR.md", "student/01_dynamic_convolution.ipynb"):
        (out / name).write_text("changed by hand")
        with pytest.raises(ValueError, match=f"{Path(name).name} is not as it was made: move it away"):
            write_classroom(out, ["00"])
        (out / name).write_bytes(before[out / name])
        assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    (tmp_path / "other/student").mkdir(parents=True)
    (tmp_path / "other/student/README.md").write_text("thesis")  # a folder of somebody else's
    with pytest.raises(ValueError, match="README.md is not as it was made"):
        write_classroom(tmp_path / "other", ["00"])


def test_your_own_copy_keeps_what_you_wrote(tmp_path):
    done = CliRunner().invoke(app, ["course", "--out", str(tmp_path / "mine")])
    assert done.exit_code == 0 and f"{len(NAMES)} notebooks written" in done.output, done.output
    notebook = tmp_path / "mine" / "00_start_here.ipynb"
    text = notebook.read_text(encoding="utf-8")
    assert "BEGIN SOLUTION" not in text and "<b>Explain" in text
    notebook.write_text("my answers")
    (tmp_path / "mine" / "01_dynamic_convolution.ipynb").unlink()
    done = CliRunner().invoke(app, ["course", "--out", str(tmp_path / "mine")])
    assert "1 notebooks written" in done.output and notebook.read_text() == "my answers"


@pytest.mark.parametrize("explanations", [True, False])
def test_a_students_copy_speaks_of_no_other_copy(explanations):
    for master in masters():
        cells = student_notebook(master.notebook, explanations)["cells"]
        text = "\n".join(cell["source"] for cell in cells if not cell["metadata"].get("nbgrader", {}).get("solution"))
        assert not re.search(r"master|student's\s+copy|reference\s+solution", text), master.name
        # without explanations they are spoken of only as what some copies have
        spoken = re.search(r"\*Explain\*+(?!\*|,?\s+(?:if|where)\s+your\s+copy)", text)
        assert explanations or not spoken, (master.name, spoken)


def test_the_command(tmp_path):
    done = CliRunner().invoke(app, ["classroom", "--out", str(tmp_path / "a b"), "--notebooks", "00"])
    assert done.exit_code == 0, done.output
    assert [p.name for p in sorted((tmp_path / "a b/student").glob("*"))] == [
        "00_start_here.ipynb", "README.md", "start.py"
    ]  # fmt: skip
    done = CliRunner().invoke(app, ["classroom", "--out", str(tmp_path / "b"), "--notebooks", "00,77"])
    assert isinstance(done.exception, ValueError) and "there is no notebook '77'" in str(done.exception)
    assert not (tmp_path / "b").exists()
    (tmp_path / "file").write_text("x")
    done = CliRunner().invoke(app, ["classroom", "--out", str(tmp_path / "file" / "sub")])
    assert isinstance(done.exception, ValueError) and "file is a file" in str(done.exception)


def test_a_wheelhouse_that_cannot_be_filled_leaves_what_was_there(tmp_path, monkeypatch):
    write_classroom(tmp_path, ["00"])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    def fail(folder):
        raise OSError("pip could not fill the wheelhouse; it said: no network")

    monkeypatch.setattr(classroom, "fill_wheelhouse", fail)
    with pytest.raises(OSError, match="no network"):
        write_classroom(tmp_path, ["01"], wheelhouse=True)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_what_a_lecturer_adds_to_the_wheelhouse_stays(tmp_path, monkeypatch):
    def fill(folder):
        folder.mkdir()
        (folder / f"made-{version}.whl").write_text("made")

    monkeypatch.setattr(classroom, "fill_wheelhouse", fill)
    wheels = tmp_path / "student/wheelhouse"
    version = 1
    write_classroom(tmp_path, ["00"], wheelhouse=True)
    (wheels / "hers.whl").write_text("hers")
    write_classroom(tmp_path, ["00"])
    assert sorted(os.listdir(wheels)) == ["hers.whl", "made-1.whl"]
    version = 2
    write_classroom(tmp_path, ["00"], wheelhouse=True)
    assert sorted(os.listdir(wheels)) == ["hers.whl", "made-2.whl"]


def test_a_full_disk_leaves_no_half_notebook(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="the disk is full"):
            write_own_copy(tmp_path / "mine")
        assert not list((tmp_path / "mine").iterdir())
    new, kept = write_own_copy(tmp_path / "mine")
    assert len(new) == 10 and not kept


def test_the_students_wheel_holds_no_solution(tmp_path, monkeypatch):
    """Everything but the download of other people's packages is done for real."""
    ran = classroom._run

    def offline(command):
        if "wheel" in command:
            ran([*command, "--no-build-isolation", "--no-index"])

    monkeypatch.setattr(classroom, "_run", offline)
    folders = write_classroom(tmp_path, ["00"], wheelhouse=True)
    (wheel,) = (folders["student"] / "wheelhouse").glob("sgdc_viz-*.whl")
    with zipfile.ZipFile(wheel) as held:
        names = held.namelist()
        for name in names:
            assert b"BEGIN SOLUTION" not in held.read(name) or name.endswith("classroom.py"), name
    assert any(name.endswith("nuclei-structure.safetensors") for name in names)
    assert not [n for n in names if n.endswith(("course.json", ".ipynb", "instructor.md"))]
    write_classroom(tmp_path, ["01"])  # without --wheelhouse: the one that is there stays
    assert wheel.exists()


def start(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "start.py", *arguments], cwd=folder, capture_output=True, text=True)


def test_start_says_what_is_missing(course):
    done = start(course["student"], "--check")
    assert done.returncode == 2 and "wheelhouse/ beside start.py: ask your lecturer" in done.stderr
    assert not (course["student"] / ".venv").exists()
    assert start(course["student"], "--help").stdout.startswith("python start.py: sets the course up")
    done = start(course["student"], "--chekc")
    assert done.returncode == 2 and "does not know '--chekc'" in done.stderr
    (course["student"] / "wheelhouse").mkdir()
    assert start(course["student"]).returncode == 2


def test_start_needs_only_the_standard_library():
    spec = importlib.util.spec_from_file_location("start", ROOT / "sgdc_viz/teach/handouts/start.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    used = {value.__name__.split(".")[0] for value in vars(module).values() if type(value) is type(sys)}
    assert used <= sys.stdlib_module_names
