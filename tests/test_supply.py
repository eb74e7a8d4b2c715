"""What comes from elsewhere: a line for every dependency, imports that are quiet and stay offline, no warnings."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]

# Asked for and imported nowhere in our code: who uses them.
USED_OTHERWISE = {
    "jupyterlab": "make lab",
    "ipykernel": "every notebook",
    "pytest-xdist": "pytest -n 2",
    "pytest-timeout": "pytest's option timeout",
    "ruff": "make test",
}


def run(*arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    """This Python with arguments; every warning is an error."""
    command = [sys.executable, "-W", "error", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, encoding="utf-8", timeout=240)


def names(*lists: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for lines in lists for line in lines}


@cache
def table() -> dict[str, list[str]]:
    """The table of CONTRIBUTING.md: package -> its other cells."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+) \|$", text.partition("## Dependencies")[2], re.MULTILINE)
    cells = [row.split(" | ") for row in rows]
    assert cells[0] == ["package", "what for", "what instead, and why not", "licence"]
    assert len({row[0] for row in cells}) == len(cells), "a package with two lines"
    return {row[0]: row[1:] for row in cells[1:]}


# --- every dependency earns its place ---------------------------------------------------------------------------------


def test_every_dependency_has_its_line_and_there_are_no_others():
    assert set(table()) == names(PROJECT["dependencies"], *EXTRAS.values())
    for package, row in table().items():
        assert len(row) == 3 and all(len(cell) > 2 for cell in row), package


@pytest.mark.parametrize("package", sorted(names(PROJECT["dependencies"], *EXTRAS.values())))
def test_licences_are_those_that_the_packages_state(package):
    if package == "timm":  # left to its users, see pyproject.toml
        assert table()[package][2] == "Apache-2.0"
        return
    told, stated = table()[package][2], licence_of(package)
    assert families(told) and families(told) <= families(stated), f"{package} states {stated!r}"
    assert families(told) == families(stated) or told.endswith(" and others"), f"{package} states {stated!r}"


def families(text: str) -> set[str]:
    """Kinds of licences that a text names, as whole words: "permit" does not name MIT."""
    known = "Apache|BSD|MIT|MPL|Python Software Foundation|[AL]?GPL|GNU|Zlib|ISC|BSL|CC0|EPL|Unlicense|Proprietary"
    return set(re.findall(rf"(?<![A-Za-z])({known})(?![A-Za-z])", text))


def licence_of(package: str) -> str:
    """What a package says of itself, in the shortest form that it gives."""
    metadata = importlib.metadata.metadata(package)
    short = [text for key in ("License-Expression", "License") if "\n" not in (text := metadata.get(key) or "")]
    classifiers = [line for line in metadata.get_all("Classifier") or () if line.startswith("License ::")]
    texts = [file.read_text(encoding="utf-8") for file in importlib.metadata.files(package) if is_licence(file)]
    headings = [text.strip().splitlines()[0] for text in texts]
    return next(said for said in ("; ".join(filter(None, kind)) for kind in (short, classifiers, headings)) if said)


def is_licence(file: importlib.metadata.PackagePath) -> bool:
    return ".dist-info" in file.parts[0] and re.fullmatch(r"LICEN[SC]E(\.(txt|md))?", file.name) is not None


def test_every_dependency_is_used():
    ours = [*ROOT.glob("sgdc_viz/**/*.py"), ROOT / "app.py", *ROOT.glob("tests/**/*.py")]
    tops = set().union(*map(imported, ours))
    for package in names(PROJECT["dependencies"], *EXTRAS.values()) - {"timm"}:
        record = importlib.metadata.distribution(package).read_text("RECORD")
        provided = {re.split("[/,]", line)[0].removesuffix(".py") for line in record.splitlines()}
        if package in USED_OTHERWISE:
            assert not provided & tops, f"{package} is imported: take it out of USED_OTHERWISE"
        else:
            assert provided & tops, f"{package} is imported nowhere: take it out of pyproject.toml"
    assert "timm" in tops


def imported(path: Path) -> set[str]:
    """First parts of all that a file imports, also through importlib.import_module and pytest.importorskip."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "importorskip")):
            if node.args and isinstance(node.args[0], ast.Constant):
                found.add(node.args[0].value.split(".")[0])
    return found


# --- imports ----------------------------------------------------------------------------------------------------------


def test_the_package_alone_imports_nothing_of_others():
    result = run("-c", "import sys, sgdc_viz; print({n.split('.')[0] for n in sys.modules} - sys.stdlib_module_names)")
    assert (result.returncode, result.stderr) == (0, "")
    others = ast.literal_eval(result.stdout) - {"__mp_main__", "sitecustomize", "usercustomize"}
    assert "torch" not in others and "numpy" not in others and "sgdc_viz" in others


def test_the_network_adds_torch_and_nothing_else():
    code = (
        "import sys, torch; before = set(sys.modules); import sgdc_viz.nn; "
        "print({name.split('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names)"
    )
    result = run("-c", code)
    assert (result.returncode, result.stderr) == (0, "")
    assert ast.literal_eval(result.stdout) == {"sgdc_viz"}


EVERYTHING = """
import importlib, pkgutil, sys
import torch  # built for CUDA, it asks ldconfig for libraries
ASKED = ("socket.", "urllib.", "subprocess.", "os.system", "os.exec", "os.spawn", "os.posix_spawn", "os.fork")
asked = []
sys.addaudithook(lambda event, _: asked.append(event) if event.startswith(ASKED) else None)
import sgdc_viz
for found in pkgutil.walk_packages(sgdc_viz.__path__, "sgdc_viz."):
    if not found.name.endswith(("__main__", "nbgrader_config", "handouts.start")):
        asked.clear()
        importlib.import_module(found.name)
        print(found.name, *asked)
"""


def test_no_import_warns_or_opens_a_socket_or_starts_a_program():
    result = run("-c", EVERYTHING)
    assert result.returncode == 0, result.stderr[-3000:]
    lines = result.stdout.splitlines()
    assert {"sgdc_viz.demo.page", "sgdc_viz.learn.experiment", "sgdc_viz.teach.widgets", "sgdc_viz.nn"} <= set(lines)
    assert [line for line in lines if " " in line] == []


# --- no warning in a normal run ---------------------------------------------------------------------------------------

COMMANDS = """
import sys
from sgdc_viz.cli import main
for words in (line.split() for line in sys.argv[1:]):
    sys.argv[1:] = words
    try:
        main()
    except SystemExit as end:
        assert not end.code, (words, end.code)
"""


def test_help_does_not_warn():
    result = run("-m", "sgdc_viz", "--help")
    assert (result.returncode, result.stderr) == (0, "") and "predict" in result.stdout


def test_commands_do_not_warn(tmp_path):
    """Every warning is an error in here, those of the packages that we call included."""
    from PIL import Image

    Image.new("RGB", (48, 40), "white").save(tmp_path / "a.png")
    result = run(
        "-c", COMMANDS,
        "train --data synthetic-nuclei --small --steps 2 --crop 32 --batch-size 2 --out run",
        "predict a.png --checkpoint run/model.safetensors --out predicted",
        "look a.png --networks untrained --out looked",
        cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    assert "Warning" not in result.stderr
    made = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert {"run/model.safetensors", "predicted/a_mask.png", "looked/microscope.png"} <= made
