"""The set-up: pins, targets of make, what a wheel holds, what is in git, and which part may import which."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from functools import cache
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

yaml = pytest.importorskip("yaml")  # comes with jupyterlab

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
TARGETS = ("help", "demo", "lab", "notebooks", "bench", "test", "clean")

# Who may import whom inside sgdc_viz, besides itself.
LOWER = {"nn", "data", "learn", "lens", "views"}
BELOW = {
    "__init__": set(),
    "memory": set(),
    "nn": set(),
    "data": set(),
    "learn": {"nn", "data"},
    "lens": {"nn"},
    "views": set(),
    "explore": LOWER,
    "teach": LOWER | {"evidence", "explore"},
    "bench": LOWER | {"explore", "memory"},
    "scale": LOWER | {"memory"},
    "evidence": LOWER,
    "export": LOWER | {"explore"},
    "demo": LOWER | {"evidence", "explore", "memory"},
    "cli": LOWER | {"bench", "demo", "evidence", "explore", "export", "memory", "scale", "teach"},
    "__main__": {"cli"},
}
LINUX = {"sys_platform": "linux", "os_name": "posix", "platform_system": "Linux", "platform_machine": "x86_64"}
MAC = {"sys_platform": "darwin", "os_name": "posix", "platform_system": "Darwin", "platform_machine": "arm64"}
WINDOWS = {"sys_platform": "win32", "os_name": "nt", "platform_system": "Windows", "platform_machine": "AMD64"}


# --- helpers ----------------------------------------------------------------------------------------------------------


def run(*command: object, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess:
    """Run a command away from this test's own make and pytest, at most two minutes; output and errors as text."""
    ours = ("MAKE", "MFLAGS", "PYTEST", "PYTHON", "VENV")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    words = [str(word) for word in command]
    return subprocess.run(words, cwd=cwd, env=inherited | environment, text=True, capture_output=True, timeout=120)


@cache
def tracked() -> list[Path]:
    """The files in git's index, relative to the project."""
    listing = subprocess.run(["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"], cwd=ROOT, capture_output=True)
    return [Path(name) for name in listing.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture
def files() -> list[Path]:
    if not (ROOT / ".git").exists() or not tracked():
        pytest.skip("not a git clone")
    return tracked()


def pins(python: str, platform: dict[str, str]) -> dict[str, list[Version]]:
    """The pins of constraints.txt that hold for one Python and platform: name -> versions."""
    environment = default_environment() | platform | {"python_version": python, "python_full_version": f"{python}.9"}
    found: dict[str, list[Version]] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        requirement = Requirement(line)
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", f"{line}: a constraint is a pin"
        if requirement.marker is None or requirement.marker.evaluate(environment):
            found.setdefault(canonicalize_name(requirement.name), []).append(Version(specifier.version))
    return found


def imports(path: Path) -> list[str]:
    """Full dotted names of the modules that a file of ours imports anywhere (not those for type checkers only)."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            node.body = []
    package = path.relative_to(ROOT).parent.parts
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            base += node.module.split(".") if node.module else []
            # `from sgdc_viz import lens` imports sgdc_viz.lens, so the names count too.
            names += [".".join([*base, alias.name]) for alias in node.names]
    return names


def sources() -> list[Path]:
    return sorted((ROOT / "sgdc_viz").rglob("*.py"))


@pytest.fixture(scope="module")
def make() -> str:
    path = shutil.which("make")
    if path is None or os.name == "nt":
        pytest.skip("needs make, which Windows does without (README.md)")
    return path


# --- pins -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("platform", [LINUX, MAC, WINDOWS], ids=["linux", "mac", "windows"])
@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_every_direct_dependency_has_one_pin_that_fits(python, platform):
    known = pins(python, platform)
    # "paper" needs a torchvision that belongs to the user's build of torch, so it is left to pip.
    wanted = PROJECT["dependencies"] + [line for extra in EXTRAS if extra != "paper" for line in EXTRAS[extra]]
    for requirement in map(Requirement, wanted):
        versions = known.get(canonicalize_name(requirement.name), [])
        assert len(versions) == 1, f"{requirement.name} on Python {python}: pins {versions} in constraints.txt"
        assert versions[0] in requirement.specifier, f"{requirement} against the pin {versions[0]}"
    assert all(len(versions) == 1 for versions in known.values()), "a package with two pins at a time"


def test_torch_is_the_one_that_the_project_was_made_with():
    assert pins("3.12", LINUX)["torch"] == [Version("2.13.0")]


def test_what_is_installed_is_what_is_pinned():
    if ROOT not in Path(sys.prefix).parents:
        pytest.skip("not the environment that make builds")
    known = pins(f"{sys.version_info[0]}.{sys.version_info[1]}", {})
    # With CUDA, torch itself pins these, and only on Linux.
    free = re.compile(r"sgdc-viz|pip|nvidia-.*|cuda-.*|triton")
    places = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]  # not what setuptools carries inside itself
    for distribution in importlib.metadata.distributions(path=places):
        name = canonicalize_name(distribution.metadata["Name"])
        if not free.fullmatch(name):
            installed = Version(Version(distribution.version).public)
            assert known.get(name) == [installed], f"{name} {installed} is installed, the pin is {known.get(name)}"


def test_one_range_of_pythons_everywhere():
    assert SpecifierSet(PROJECT["requires-python"]) == SpecifierSet(">=3.10,<3.14")
    assert "(3, 10) <= sys.version_info < (3, 14)" in (ROOT / ".ci/make-venv").read_text(encoding="utf-8")
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]
    assert ruff["target-version"] == "py310"


def test_conda_environment_has_the_same_pins():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    plain = [line for line in conda if isinstance(line, str)]
    (by_pip,) = [line["pip"] for line in conda if isinstance(line, dict)]

    (python,) = [re.split("=+", line)[1] for line in plain if line.startswith("python=")]
    assert Version(f"{python}.9") in SpecifierSet(PROJECT["requires-python"])
    for line in plain:  # a pin that conda makes must be the pin that pip makes
        name, *version = re.split("=+", line)
        if version and name != "python":
            assert [Version(version[0])] == pins(python, LINUX)[canonicalize_name(name)], line

    assert "-c constraints.txt" in by_pip, "without this line pip would take the newest of everything"
    (project,) = [line for line in by_pip if line.startswith("-e ")]
    assert set(re.fullmatch(r"-e \.\[(.*)\]", project)[1].split(",")) == {"app", "notebooks", "test"} <= set(EXTRAS)
    for line in by_pip:
        if not line.startswith("-"):
            requirement = Requirement(line)
            (version,) = pins(python, LINUX)[canonicalize_name(requirement.name)]
            assert version in requirement.specifier, line


# --- make -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS)
def test_make_knows_its_targets(make, target):
    dry = run(make, "-n", target)
    assert dry.returncode == 0, dry.stderr
    if target not in ("help", "clean"):
        assert ".ci/make-venv" in dry.stdout, "a target makes .venv first"
        extras = re.search(r"make-venv (\S+)", dry.stdout)[1].split(",")
        assert set(extras) <= set(EXTRAS)


def test_make_alone_lists_the_targets(make):
    out = run(make).stdout
    assert all(re.search(rf"^make {target} +\w+", out, re.MULTILINE) for target in TARGETS), out


def test_make_test_lints_and_runs_tests_and_notebooks(make):
    dry = run(make, "-n", "test").stdout
    assert "ruff check" in dry and "pytest -n 2 --dist loadfile" in dry
    options = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    assert options["testpaths"] == ["tests", "notebooks"]
    assert "--nbval" in options["addopts"] and "--nbval-lax" not in options["addopts"]


@pytest.fixture
def copy(make, tmp_path) -> Path:
    """What make-venv reads, in a folder of its own whose name has a space."""
    folder = tmp_path / "a clone"
    (folder / ".ci").mkdir(parents=True)
    for name in ("Makefile", ".ci/make-venv", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def tools(folder: Path) -> str:
    """A PATH with what make-venv calls and no Python."""
    folder.mkdir()
    for name in ("sh", "cat", "cksum", "cp", "dirname", "grep", "mkdir", "mv", "paste", "rm", "sed", "sort", "tr"):
        (folder / name).symlink_to(shutil.which(name))
    return str(folder)


def test_no_python_is_one_sentence(make, copy, tmp_path):
    path = tools(tmp_path / "bin")
    old = tmp_path / "bin/python3"
    old.write_text("#!/bin/sh\nexit 1\n")  # as a Python 3.9 answers the question whether it is 3.10 to 3.13
    old.chmod(0o755)
    result = run(make, "demo", cwd=copy, PATH=path)
    assert result.returncode != 0
    assert result.stderr.splitlines()[0].startswith("No Python 3.10 to 3.13 found on the PATH: install one, or name")
    assert not (copy / ".venv").exists()


def test_a_python_that_does_not_fit_is_one_sentence(make, copy):
    result = run(make, "demo", "PYTHON=no-such-python", cwd=copy)
    assert result.returncode != 0
    assert result.stderr.splitlines()[0].startswith("PYTHON=no-such-python does not run or is not Python 3.10 to 3.13")


def test_a_python_without_venv_is_one_sentence(make, copy, tmp_path):
    path = tools(tmp_path / "bin")
    bare = tmp_path / "bin/python3"  # as on a fresh Debian: a good Python, but `import ensurepip` fails
    bare.write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1 ;; esac\nexit 0\n')
    bare.chmod(0o755)
    result = run(make, "demo", cwd=copy, PATH=path)
    assert result.returncode != 0
    assert "python3-venv" in result.stderr.splitlines()[0]
    assert not (copy / ".venv").exists()


def test_a_folder_that_is_no_environment_is_left_alone(make, copy):
    (copy / "thesis").mkdir()
    (copy / "thesis/chapter.txt").write_text("years of work")
    result = run(make, "demo", "VENV=thesis", cwd=copy)
    assert result.returncode != 0 and "is no virtual environment" in result.stderr
    assert (copy / "thesis/chapter.txt").read_text() == "years of work"


@pytest.fixture
def fake_pip(copy) -> Path:
    """A `.venv` whose pip only notes what it was asked; `fail` beside the note makes it fail. Returns the note."""
    note = copy / "asked.txt"
    (copy / ".venv/bin").mkdir(parents=True)
    (copy / ".venv/pyvenv.cfg").write_text("home = elsewhere\n")
    python = copy / ".venv/bin/python"
    python.write_text(
        "#!/bin/sh\n"
        f'if [ "$1 $2" = "-m pip" ]; then echo "$@" >>"{note}"; [ ! -e "{copy}/fail" ]; exit; fi\n'
        f'exec "{sys.executable}" "$@"\n'
    )
    python.chmod(0o755)
    return note


def test_install_happens_once_and_again_when_something_changed(copy, fake_pip):
    def install(extras: str) -> list[str]:
        fake_pip.write_text("")
        result = run("sh", ".ci/make-venv", extras, cwd=copy)
        assert result.returncode == 0, result.stderr
        return fake_pip.read_text().splitlines()

    first = install("app")
    assert first[0].endswith("-c constraints.txt setuptools")
    assert first[-1].endswith("-c constraints.txt --no-build-isolation -e .[app]")
    assert install("app") == []
    assert install("app,notebooks,test")[-1].endswith("-e .[app,notebooks,test]")
    assert install("app") == [] and install("notebooks") == []  # already in
    with (copy / "constraints.txt").open("a") as file:
        file.write("# changed\n")
    assert install("app")[-1].endswith("-e .[app,notebooks,test]")  # all that was in, so that nothing stays behind
    assert install("test") == []


def test_a_failed_install_is_tried_again(copy, fake_pip):
    (copy / "fail").touch()
    result = run("sh", ".ci/make-venv", "app", cwd=copy)
    assert result.returncode != 0 and "pip could not install" in result.stderr
    assert not (copy / ".venv/.installed").exists()
    (copy / "fail").unlink()
    fake_pip.write_text("")
    assert run("sh", ".ci/make-venv", "app", cwd=copy).returncode == 0
    assert fake_pip.read_text()


def test_two_installs_at_a_time_are_refused(copy, fake_pip):
    (copy / ".venv/.installing").write_text(str(os.getpid()))
    result = run("sh", ".ci/make-venv", "app", cwd=copy)
    assert result.returncode != 0 and f"Another make (process {os.getpid()})" in result.stderr
    assert not fake_pip.exists()


@pytest.mark.parametrize("why", ["cut off", "moved", "no python"])
def test_a_broken_environment_is_made_anew(copy, fake_pip, tmp_path, why):
    assert run("sh", ".ci/make-venv", "app", cwd=copy).returncode == 0
    if why == "cut off":
        (copy / ".venv/.installing").write_text("999999999")
    elif why == "moved":
        copy = copy.rename(tmp_path / "moved")
    else:
        (copy / ".venv/bin/python").unlink()
    (copy / ".venv/left over").touch()
    # This Python is chosen and then makes no environment: a real one takes seconds, and pip then asks the network.
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\ncase "$2" in venv) exit 1 ;; *realpath*) echo "$0"; exit ;; esac\nexec "{sys.executable}" "$@"\n'
    )
    python.chmod(0o755)
    result = run("sh", ".ci/make-venv", "app", cwd=copy, PYTHON=str(python))
    assert result.returncode != 0 and "could not make .venv" in result.stderr
    assert re.match(r"Making .venv with Python 3\.\d+\.\d+: (an|it|its) \w+", result.stdout), result.stdout
    assert not (copy / ".venv/left over").exists()


def test_ci_runs_the_command_of_the_readme():
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert script.startswith("#!/usr/bin/env bash\n") and "set -euo pipefail" in script
    assert script.rstrip().splitlines()[-1].startswith("make test ")
    assert os.name == "nt" or os.access(ROOT / ".ci/run", os.X_OK)


# --- the wheel --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of the files in git, built offline by the build backend itself, in a copy (a build leaves folders)."""
    if not tracked():
        pytest.skip("not a git clone")
    tree = tmp_path_factory.mktemp("tree")
    for name in tracked():
        if name.parts[0] in ("sgdc_viz", "assets", "notebooks") or len(name.parts) == 1:
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
    build = "from setuptools import build_meta as b; b.build_sdist('out'); b.build_wheel('out')"
    result = run(sys.executable, "-c", build, cwd=tree)
    assert result.returncode == 0, result.stdout + result.stderr
    (path,) = (tree / "out").glob("sgdc_viz-*.whl")
    return path


def test_wheel_holds_every_file_of_the_package_and_the_models(wheel, files):
    held = set(zipfile.ZipFile(wheel).namelist())
    pictures = (".png", ".gif", ".webp")  # those in assets/ are the README's
    ours = [n for n in files if n.parts[0] in ("sgdc_viz", "notebooks")]
    ours += [n for n in files if n.parts[0] == "assets" and n.suffix not in pictures]
    ours = [n for n in ours if n.parts[:2] != ("assets", "evidence")]  # a file a training; evidence.json tells them all
    wanted = {(name if name.parts[0] == "sgdc_viz" else Path("sgdc_viz") / name).as_posix() for name in ours}
    assert wanted - held == set(), "not in the wheel: add the package or package-data to pyproject.toml"
    assert any(name.startswith("sgdc_viz/assets/") and name.endswith(".safetensors") for name in held)
    assert {name.split("/")[0] for name in held} == {"sgdc_viz", f"sgdc_viz-{PROJECT['version']}.dist-info"}
    assert any(name.endswith("licenses/LICENSE") for name in held)


def test_every_package_is_listed():
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    there = {".".join(path.relative_to(ROOT).parent.parts) for path in sources() if path.name == "__init__.py"}
    assert set(setuptools["packages"]) == there | {"sgdc_viz.assets", "sgdc_viz.notebooks"}


def test_source_archive_can_be_built_from(wheel, files):
    (path,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert {name.as_posix() for name in files if name.parts[0] == "sgdc_viz" or name.suffix == ".safetensors"} <= held


def test_installed_wheel_finds_its_models(wheel, tmp_path):
    installed = run(
        sys.executable, "-m", "pip", "install", "-qq", "--no-deps", "--no-index", "--target", tmp_path / "site", wheel
    )  # fmt: skip
    assert installed.returncode == 0, installed.stderr
    code = "import sgdc_viz, sys; print(sgdc_viz.__file__, sgdc_viz.assets_dir(), sgdc_viz.__version__, sep='\\n')"
    result = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(tmp_path / "site"))
    file, assets, version = result.stdout.splitlines()
    assert Path(file).resolve() == (tmp_path / "site/sgdc_viz/__init__.py").resolve()
    assert Path(assets).resolve() == (tmp_path / "site/sgdc_viz/assets").resolve()
    assert list(Path(assets).glob("*.safetensors"))
    assert version == PROJECT["version"]


def test_clone_finds_its_models():
    import sgdc_viz

    assert sgdc_viz.assets_dir() == ROOT / "assets"
    assert sgdc_viz.__version__ == PROJECT["version"]


def test_missing_models_are_one_sentence(monkeypatch, tmp_path):
    import sgdc_viz

    monkeypatch.setattr(sgdc_viz, "__file__", str(tmp_path / "sgdc_viz/__init__.py"))
    with pytest.raises(FileNotFoundError, match="the trained models are missing: no folder .*assets"):
        sgdc_viz.assets_dir()


# --- what is in git ---------------------------------------------------------------------------------------------------


def test_files_are_small_and_no_weights_are_pickles(files):
    for name in files:
        assert (ROOT / name).stat().st_size < 4_000_000, f"{name} is too large for git"
        assert name.suffix not in (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".joblib"), f"{name} is a pickle"


def test_files_name_no_place_on_one_machine(files):
    # Each expression is written so that it does not find itself.
    forbidden = {
        "a path of one machine": r"(?<![\w.:/*-])(/(work|home|root|Users|opt|tmp|mnt|srv)/|[A-Z]:[\\]+Users)",
        "a folder outside the project": r"\.\./shared",
        "a package registry's address": r"\b(pypi\.(org|python)|pythonhosted\.|registry\.npm|download\.pytorch|"
        r"deb\.debian|conda\.(anaconda|org)|repo\.anaconda|anaconda\.org)",
    }
    for name in files:
        if name.suffix in (".safetensors", ".png", ".gif", ".jpg", ".webp", ".npz"):
            continue
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8").splitlines(), 1):
            if '"image/png":' in line:  # base64 in a notebook: any letters may appear in it
                continue
            for what, expression in forbidden.items():
                assert not re.search(expression, line), f"{name}:{number} holds {what}"


def test_readme_says_how_to_start():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    conda, windows = "conda env create -f environment.yml", r".venv\Scripts\python"
    for words in ("make demo", "make test", conda, windows, "2602.23496"):
        assert words in text, words


# --- imports ----------------------------------------------------------------------------------------------------------


def test_imports_point_downward():
    seen = set()
    for path in sources():
        part = path.relative_to(ROOT / "sgdc_viz").parts[0].removesuffix(".py")
        assert part in BELOW, f"sgdc_viz/{part}: say in BELOW what it may import"
        seen.add(part)
        for name in imports(path):
            if name.startswith("sgdc_viz."):
                other = name.split(".")[1]
                if other in ("__version__", "assets_dir"):
                    continue
                may = BELOW[part] | {part}
                assert other in may, f"{path.relative_to(ROOT)} imports {name}: {part} may import {sorted(may)}"
            elif part == "views":
                assert name.split(".")[0] != "torch", f"{path.relative_to(ROOT)}: views take arrays, not tensors"
    assert seen == set(BELOW)


def test_each_part_imports_only_what_its_users_install():
    """nn: torch alone. The rest: the plain dependencies. teach: "notebooks" too; app.py, demo, scale: "app"."""
    owners: dict[str, list[str]] = {}  # Python 3.10's packages_distributions knows some packages only
    for distribution in importlib.metadata.distributions():
        record = (distribution.read_text("RECORD") or "").splitlines()
        for top in {re.split("[/,]", line)[0].removesuffix(".py") for line in record}:
            owners.setdefault(top, []).append(distribution.metadata["Name"])

    def names(*lists: list[str]) -> set[str]:
        return {canonicalize_name(Requirement(line).name) for lines in lists for line in lines}

    plain = names(PROJECT["dependencies"])
    for path in [*sources(), ROOT / "app.py"]:
        part = path.relative_to(ROOT).parts[1].removesuffix(".py") if path.name != "app.py" else "app"
        allowed = plain | {"sgdc-viz"}
        if part == "nn":
            allowed = {"torch", "sgdc-viz"} | names(EXTRAS["paper"])
        elif part == "teach":
            allowed |= names(EXTRAS["notebooks"], EXTRAS["test"]) | {"ipython", "nbformat"}
        elif part in ("app", "demo", "scale"):
            allowed |= names(EXTRAS["app"])
        for name in imports(path):
            top = name.split(".")[0]
            if top not in sys.stdlib_module_names and top != "sgdc_viz":
                owned_by = set(map(canonicalize_name, owners.get(top, [top])))
                assert owned_by & allowed, f"{path.relative_to(ROOT)} imports {top}: pyproject.toml does not ask for it"


def test_the_network_needs_torch_alone():
    heavy = "PIL accelerate gradio IPython kornia matplotlib monai pandas plotly pooch scipy skimage timm typer"
    code = f"import sys, sgdc_viz.nn; print(*[name for name in '{heavy}'.split() if name in sys.modules])"
    result = run(sys.executable, "-c", code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []


def test_command_line_answers():
    result = run(sys.executable, "-m", "sgdc_viz", "--help")
    assert result.returncode == 0, result.stderr
    assert all(command in result.stdout for command in ("train", "evaluate", "predict"))


# --- the tests themselves ---------------------------------------------------------------------------------------------


def test_tests_use_one_thread():
    import torch

    assert torch.get_num_threads() == 1


def test_tests_are_offline():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        socket.create_connection(server.getsockname()).close()  # this machine is allowed
    for address in (("192.0.2.1", 80), ("no-such-host.invalid", 80)):  # they belong to nobody
        for connect in ("connect", "connect_ex"):
            with socket.socket() as client, pytest.raises(RuntimeError, match="tests work offline"):
                getattr(client, connect)(address)


def test_nbval_rules_do_something():
    from nbval.plugin import get_sanitize_patterns

    text = (ROOT / "tests/nbval_sanitize.cfg").read_text(encoding="ascii")
    rules = dict(get_sanitize_patterns(text))
    assert len(rules) == text.count("\nregex:") and all(rules.values())
    line = "<Model at 0x7f2e1c0d5b90>"
    for expression, replacement in rules.items():
        line = re.sub(expression, replacement, line)
    assert line == "<Model at 0xADDRESS>"
    assert all(re.sub(*rule, "0x10 0.123456") == "0x10 0.123456" for rule in rules.items())  # what counts stays
