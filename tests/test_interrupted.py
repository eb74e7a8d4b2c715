"""Interrupted work: kills at any moment, a full disk, Ctrl-C. What was saved is whole, the end the same bit for bit.

Children are forked from a server that has imported torch already, so a kill costs a fraction of a second. The default
is a handful of kills; `SGDC_KILLS=50 pytest tests/test_interrupted.py` is the whole campaign, at every step of every
write and with the real command as well, and SGDC_SEED draws other moments.
"""

import errno
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import micro_experiment
import psutil
import pytest
import torch
from micro_experiment import MICRO
from PIL import Image
from test_cli import run as run_cli
from test_experiment import numbers, read
from test_train import QUICK, squares, tiny, weights_equal

from sgdc_viz import cli
from sgdc_viz.learn import TrainConfig, checkpoints, experiment, fit, history, load_checkpoint, train
from sgdc_viz.learn.checkpoints import read_safetensors
from sgdc_viz.learn.experiment import Cell
from sgdc_viz.learn.train import STATE_FILE, kept_path, stopping

POSIX = sys.platform != "win32"
pytestmark = pytest.mark.skipif(not POSIX, reason="POSIX signals and forked children")

KILLS, SEED = int(os.environ.get("SGDC_KILLS", 3)), int(os.environ.get("SGDC_SEED", 0))
CAMPAIGN = KILLS >= 50

CONFIG = TrainConfig(steps=8, **QUICK)  # the state is saved every second step
KEEP = (0, 3, 8)
PAIR = replace(MICRO, arms={"structure": (0,), "pooled-8": (0,)})

if POSIX:
    FORKED = multiprocessing.get_context("forkserver")
    # What a training imports only when it begins is imported in advance as well.
    late = ["accelerate", "kornia.augmentation", "torch._dynamo", "torch.onnx", "sympy"]
    FORKED.set_forkserver_preload(["sgdc_viz.cli", "sgdc_viz.learn.experiment", "pytest", "hypothesis", *late])


# --- what children do -------------------------------------------------------------------------------------------------


def training(out, resume=True, noted=True):
    """The training of all these tests, in whatever process."""
    model, on_step = tiny(drop_path=0.3), note_step(out.with_suffix(".steps")) if noted else None
    return model, fit(model, squares(6), config=CONFIG, out=out, keep=KEEP, resume=resume, progress=False, cpu=True,
                      on_step=on_step)  # fmt: skip


def note_step(file):
    """For `on_step`, which comes before the step is saved: each step is written down by one system call."""
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def noted(step, _):
        os.write(handle, b"%d\n" % step)

    return noted


def work(out):
    """A worker of the experiment."""
    with pytest.MonkeyPatch.context() as patch:
        micro_experiment.install(patch)
        failed = experiment.work_through(PAIR, PAIR.cells(), out / "out", out / "work", cpu=True)
    assert not failed


class Unbuffered:
    """For `os.fdopen`: a file whose every `write`, told by a subclass, reaches the system at once."""

    fdopen = staticmethod(os.fdopen)

    def __init__(self, handle, mode):
        self.file = self.fdopen(handle, mode, buffering=0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)


def deadly(task, out, point, count=None):
    """Do `task(out)`, and be killed at one of the points that a write of a file passes; `count` learns how many."""
    passed = 0

    def at_point():
        nonlocal passed
        if passed == point:
            os.kill(os.getpid(), signal.SIGKILL)
        passed += 1

    def around(call):
        def called(*args, **kwargs):
            at_point()
            result = call(*args, **kwargs)
            at_point()
            return result

        return called

    class InThreeParts(Unbuffered):
        def write(self, data):
            for part in (data[:1], data[1 : len(data) // 2], data[len(data) // 2 :]):
                assert self.file.write(part) == len(part)
                at_point()

    os.fdopen = InThreeParts
    checkpoints.tempfile.mkstemp = around(checkpoints.tempfile.mkstemp)
    os.fsync, os.chmod, os.replace = around(os.fsync), around(os.chmod), around(os.replace)
    task(out)
    if count:
        count.write_text(str(passed))


POINTS = 11  # of one write: before and after making the draft, syncing, chmod and renaming; three within


def command(told, words, pause=0.0):
    """`python -m sgdc_viz ...` in a forked child; what it prints goes to the file `told`.

    pause: seconds to rest in each step of a training, at each image of a history. A file *.slow slows down saving.
    """
    sys.stdout = sys.stderr = told.open("w", buffering=1)
    sys.argv = ["sgdc", *map(str, words)]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs tests in the background ignores it
    make_batch, sync, predict = train.make_batch, os.fsync, history.predict_probability
    train.make_batch = lambda *args: (time.sleep(pause), make_batch(*args))[1]
    history.predict_probability = lambda *args: (time.sleep(pause), predict(*args))[1]

    def slowly(handle):
        if told.with_suffix(".slow").exists():
            told.with_suffix(".saving").touch()
            time.sleep(60)
        sync(handle)

    os.fsync = slowly
    cli.main()


def experiment_command(folder):
    """The whole command in a process group of its own, as a terminal gives it one; its workers are new processes."""
    os.setsid()
    os.environ.update(micro_experiment.environment(folder, pause=0.5))
    micro_experiment.install(pytest.MonkeyPatch())
    words = ["experiment", "micro", "--out", folder / "out", "--work", folder / "work", "--jobs", 2]
    command(folder / "told", words)


def start(target, *args):
    child = FORKED.Process(target=target, args=args, daemon=True)
    child.start()
    return child


def wait_for(there, child=None, seconds=100):
    deadline = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < deadline and (child is None or child.is_alive()), "it did not come"
        time.sleep(0.002)


def ended(child):
    child.join(100)
    assert child.exitcode is not None, "it hangs"
    return child.exitcode


@pytest.fixture(scope="module")
def train_words(tmp_path_factory):
    """The words of a `train` command of twelve steps on small images of one's own."""
    root = tmp_path_factory.mktemp("own")
    for sample in squares(12):
        for kind, pixels in (("images", sample.image), ("masks", sample.mask * 255)):
            (root / kind).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(root / kind / f"{sample.name}.png")

    def words(out, *more):
        settings = "--small --steps 12 --crop 32 --batch-size 2 --threads 1".split()
        return ["train", "--data", "folder", "--root", root, "--out", out, *settings, *more]

    return words


@pytest.fixture(scope="module")
def whole(tmp_path_factory, train_words):
    """Folder of the run of that command that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["sgdc", *map(str, train_words(folder))])
        with pytest.raises(SystemExit, match="0"):
            cli.main()
    return folder


# --- what must hold ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """(folder, model, history) of the training that nothing interrupts."""
    out = tmp_path_factory.mktemp("unbroken") / "run"
    return out, *training(out, resume=False)


def saved_step(out):
    return int(read_safetensors(out / STATE_FILE)[1]["step"]) if (out / STATE_FILE).exists() else 0


def check_what_a_kill_left(out, unbroken):
    """The state is whole, the last one before the kill, and its history is the unbroken one's beginning."""
    step, noted = saved_step(out), out.with_suffix(".steps")
    seen = [int(line) for line in noted.read_text().split()] if noted.exists() else []
    if seen:
        assert step >= (seen[-1] - 1) // CONFIG.save_every * CONFIG.save_every, "more lost than since the last state"
    if step:
        assert json.loads(read_safetensors(out / STATE_FILE)[1]["history"]) == unbroken[2][:step]
    for kept in out.glob("history/*.safetensors"):
        load_checkpoint(kept)  # whole
    return step


def check_the_end(out, unbroken):
    """Weights, kept steps and history bit for bit; nothing left half-written."""
    assert weights_equal(load_checkpoint(out / "model.safetensors"), unbroken[1])
    assert json.loads((out / "history.json").read_text()) == unbroken[2]
    assert [record["step"] for record in unbroken[2]] == list(range(1, CONFIG.steps + 1))
    for step in KEEP:
        one, other = (load_checkpoint(kept_path(folder, step)) for folder in (out, unbroken[0]))
        assert weights_equal(one, other) and one.info == other.info
    tensors, whole = (read_safetensors(folder / STATE_FILE)[0] for folder in (out, unbroken[0]))
    assert tensors.keys() == whole.keys() and all(torch.equal(tensors[name], whole[name]) for name in whole)
    assert sorted(p.name for p in out.rglob("*")) == sorted(p.name for p in unbroken[0].rglob("*"))


@pytest.fixture(autouse=True)
def usual_signals():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def check_the_same(run, whole):
    """Of two runs of the command: weights and history bit for bit."""
    assert weights_equal(*(load_checkpoint(folder / "model.safetensors") for folder in (run, whole)))
    assert (run / "history.json").read_bytes() == (whole / "history.json").read_bytes()
    assert not list(run.rglob("*.part"))


# --- kills ------------------------------------------------------------------------------------------------------------


def test_a_training_killed_at_random_moments(unbroken, tmp_path):
    draw, killed, runs, caught = random.Random(SEED), 0, 0, set()
    first = tmp_path / "first"
    child = start(training, first)  # in a child alone: also how long it takes
    wait_for(first.with_suffix(".steps").exists, child)
    begun = time.monotonic()
    assert ended(child) == 0
    seconds = time.monotonic() - begun
    check_the_end(first, unbroken)
    while killed < KILLS:
        runs += 1
        out = tmp_path / f"run {runs}"
        while not (out / "history.json").exists():
            child, before = start(training, out), saved_step(out)
            if killed < KILLS:
                wait_for(lambda out=out: out.with_suffix(".steps").exists() or not child.is_alive())  # noqa: B023
                child.join(draw.uniform(0, seconds))
                child.kill()
            code = ended(child)
            assert code in (0, -signal.SIGKILL)
            killed += code != 0
            assert check_what_a_kill_left(out, unbroken) >= before
            caught.add(saved_step(out))
        check_the_end(out, unbroken)
    assert len(caught) > 1
    print(f"{killed} kills in {runs} trainings, seed {SEED}; saved steps at the kills: {sorted(caught)}")


def check_points(task, folder, total):
    """That `total` is how many points the writes of a task pass."""
    assert ended(start(deadly, task, folder / "all", None, folder / "count")) == 0
    assert int((folder / "count").read_text()) == total


def test_a_training_killed_within_a_write(unbroken, tmp_path):
    """By default in four files: half written, not synced, not readable for others, not renamed; else everywhere."""
    total = POINTS * (len(KEEP) + CONFIG.steps // CONFIG.save_every + 2)  # kept, states, model and history
    if CAMPAIGN:
        check_points(training, tmp_path, total)
    for point in range(total) if CAMPAIGN else range(3, total, 2 * POINTS + 2):
        out = tmp_path / f"at {point}"
        assert ended(start(deadly, training, out, point)) == -signal.SIGKILL
        check_what_a_kill_left(out, unbroken)
        assert weights_equal(training(out)[0], unbroken[1])
        check_the_end(out, unbroken)


def test_a_second_training_keeps_out_of_the_folder_until_the_first_is_killed(capsys, tmp_path, train_words, whole):
    out, told = tmp_path / "run", tmp_path / "told"
    words = train_words(out, "--save-every", 1)
    told.with_suffix(".slow").touch()
    child = start(command, told, words)
    wait_for(told.with_suffix(".saving").exists, child)
    (draft,) = out.glob("*.part")
    for more in (["--resume"], ["--kernel-source", "pooled"]):
        code, _, error = run_cli(capsys, *words, *more)
        says = f"another training is writing to {str(out)!r}: wait for it or choose another folder (--out)."
        assert (code, error) == (2, f"error: {says}\n")
    assert draft.exists() and child.is_alive()
    child.kill()
    assert ended(child) == -signal.SIGKILL
    assert run_cli(capsys, *words, "--resume")[0] == 0
    check_the_same(out, whole)
    assert set(os.listdir(out)) == {STATE_FILE, "model.safetensors", "history.json"}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Results of the experiment that nothing interrupts."""
    folder = tmp_path_factory.mktemp("results")
    work(folder)
    return {name: numbers(result) for name, result in read(folder / "out").items()}


def check_results(folder, results):
    """Those that are there are whole and right."""
    found = {name: numbers(result) for name, result in read(folder / "out").items()}
    assert found == {name: results[name] for name in found}
    return found


def check_all_results(folder, results):
    assert check_results(folder, results) == results
    assert not [*folder.rglob("*.part"), *folder.rglob(STATE_FILE)]


def test_workers_killed_at_random_moments(results, tmp_path):
    """Two at a time; whoever is killed is replaced at once, and no dead worker's lock holds up the others."""
    draw, killed, runs = random.Random(SEED), 0, 0
    while killed < KILLS:
        runs += 1
        folder = tmp_path / str(runs)
        workers = [start(work, folder) for _ in range(2)]
        wait_for(lambda folder=folder: [*folder.glob("work/*/lock")])
        while any(worker.is_alive() for worker in workers):
            time.sleep(draw.uniform(0, 1.0))
            chosen = draw.randrange(2)
            if killed < KILLS:
                workers[chosen].kill()
            for i, worker in enumerate(workers):
                if killed == KILLS or i == chosen:
                    code = ended(worker)
                    assert code in (0, -signal.SIGKILL)
                    killed += code != 0
                    if code:
                        workers[i] = start(work, folder)
            check_results(folder, results)
        if [worker.exitcode for worker in workers] != [0, 0]:  # the last one was killed after the last result
            work(folder)
        check_all_results(folder, results)
    print(f"{killed} kills in {runs} experiments, seed {SEED}")


def test_a_worker_killed_while_it_writes(results, tmp_path):
    """By default while it writes the last result and right after that; in the campaign at every call of every file."""
    total = 2 * POINTS * (MICRO.training.steps // MICRO.training.save_every + 3)  # states, model, history, result
    if CAMPAIGN:
        check_points(work, tmp_path, total)
    for point in range(total) if CAMPAIGN else (total - 8, total - 1):
        folder = tmp_path / str(point)
        assert ended(start(deadly, work, folder, point)) == -signal.SIGKILL
        check_results(folder, results)
        work(folder)
        check_all_results(folder, results)


# --- a full disk ------------------------------------------------------------------------------------------------------


class SimulatedDisk:
    """Files written by `checkpoints` in `folder` may take `size` bytes together; what no longer fits is cut off."""

    def __init__(self, folder, patch):
        self.folder, self.size = folder, None
        disk = self

        class CutOff(Unbuffered):
            def write(self, data):
                room = len(data) if disk.size is None else max(0, disk.size - disk.used())
                self.file.write(data[:room])
                if room < len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        patch.setattr(os, "fdopen", CutOff)

    def used(self):
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    def resize(self, size):
        self.size = size


class MountedDisk:
    """A real file system in memory of `size` bytes."""

    def __init__(self, folder):
        self.folder = folder
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(folder)], check=True, capture_output=True)

    def used(self):
        told = os.statvfs(self.folder)
        return (told.f_blocks - told.f_bfree) * told.f_frsize

    def resize(self, size):
        subprocess.run(["mount", "-o", f"remount,size={size or 2**28}", str(self.folder)], check=True)


def mountable():
    """Whether this process may mount a file system."""
    if sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("unshare"):
        return False
    words = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(words, capture_output=True).returncode == 0


@pytest.fixture(params=["simulated", "mounted"] if mountable() else ["simulated"])
def disk(request, tmp_path, monkeypatch):
    folder = tmp_path / "disk"
    folder.mkdir()
    if request.param == "simulated":
        yield SimulatedDisk(folder, monkeypatch)
        return
    yield MountedDisk(folder)
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up_during_a_training(unbroken, disk):
    """However many bytes still fit: what was saved stays as it was, and the training goes on when there is room."""
    out = disk.folder / "run"
    state = (unbroken[0] / STATE_FILE).stat().st_size
    draw, full = random.Random(SEED), 0
    rooms = [0, 4096, state // 2, state - 1, state + 5000, 2 * state]
    rooms += [draw.randrange(12 * state) for _ in range(KILLS if CAMPAIGN else 0)]
    for room in rooms:
        before = (out / STATE_FILE).read_bytes() if (out / STATE_FILE).exists() else None
        disk.resize(disk.used() + max(room, 1))
        try:
            training(out, noted=False)
        except OSError as error:
            assert re.fullmatch(r"the disk is full: '.*' was not written, .* run it again\.", str(error))
            full += 1
        assert not list(out.rglob("*.part"))
        if before is not None and room + 4096 <= state:  # a real disk gives whole pages
            assert (out / STATE_FILE).read_bytes() == before
        check_what_a_kill_left(out, unbroken)
        disk.resize(None)
        if (out / "history.json").exists():
            check_the_end(out, unbroken)
            for file in [path for path in out.rglob("*") if path.is_file()]:
                file.unlink()
    assert full >= 4
    training(out, noted=False)
    check_the_end(out, unbroken)


def test_a_full_disk_is_one_sentence_and_resume_goes_on(capsys, disk, train_words, whole):
    words = train_words(disk.folder / "run", "--save-every", 1)
    disk.resize(disk.used() + 1_500_000)  # one state of 1 MB, not two
    code, _, error = run_cli(capsys, *words)
    last = error.splitlines()[-1]
    assert code == 2 and "Traceback" not in error
    assert re.fullmatch(r"error: the disk is full: '.*state\.safetensors' was not written, [^.]* run it again\.", last)
    assert saved_step(disk.folder / "run") == 1
    disk.resize(None)
    assert run_cli(capsys, *words, "--resume")[0] == 0
    check_the_same(disk.folder / "run", whole)


# --- Ctrl-C -----------------------------------------------------------------------------------------------------------


def last_line(told):
    """What a command said last, which must be its only sentence beside the bar."""
    text = told.read_text()
    assert "Traceback" not in text and text.count("stopped") == 1, text
    return text.splitlines()[-1].split("\r")[-1]


@pytest.mark.parametrize(
    "signals",
    [(signal.SIGINT,), (signal.SIGTERM, signal.SIGINT)],
    ids=["Ctrl-C", "kill and Ctrl-C at once"],
)
def test_ctrl_c_saves_the_step_in_hand(capsys, tmp_path, train_words, whole, signals):
    out, told = tmp_path / "run", tmp_path / "told"
    words = train_words(out, "--keep", "2")
    child = start(command, told, words, 0.2)
    wait_for(kept_path(out, 2).exists, child)
    assert not (out / STATE_FILE).exists()  # it would be saved after 100 steps
    time.sleep(random.Random(SEED).uniform(0, 0.3))
    for number in signals:
        os.kill(child.pid, number)
    assert ended(child) == 130
    step = saved_step(out)
    assert 2 <= step < 12
    assert last_line(told) == (
        f"stopped: step {step} of 12 is saved in {str(out)!r}; to go on give the same command again, "
        "`train` with --resume"
    )
    assert run_cli(capsys, *words, "--resume")[0] == 0
    check_the_same(out, whole)


def test_a_second_ctrl_c_does_not_wait_and_breaks_nothing(capsys, tmp_path, train_words, whole):
    """It comes while the state is written: the state saved before stays."""
    out, told = tmp_path / "run", tmp_path / "told"
    words = train_words(out, "--save-every", 4)
    child = start(command, told, words, 0.2)
    wait_for((out / STATE_FILE).exists, child)
    before = (out / STATE_FILE).read_bytes()
    told.with_suffix(".slow").touch()
    os.kill(child.pid, signal.SIGINT)
    os.kill(child.pid, signal.SIGINT)  # twice in a moment is once: launchers do that
    wait_for(told.with_suffix(".saving").exists, child)
    while child.is_alive():
        os.kill(child.pid, signal.SIGINT)
        child.join(1.1)
    assert ended(child) == 130
    assert last_line(told) == "stopped; to go on give the same command again, `train` with --resume"
    assert (out / STATE_FILE).read_bytes() == before and saved_step(out) == 4
    assert os.listdir(out) == [STATE_FILE]
    assert run_cli(capsys, *words, "--resume")[0] == 0
    check_the_same(out, whole)


def test_ctrl_c_while_a_history_is_packed(tmp_path, unbroken, train_words):
    root = train_words(tmp_path)[4]
    told, file = tmp_path / "told", tmp_path / "history-mine.safetensors"
    child = start(command, told, ["history", unbroken[0], "--out", file, "--data", "folder", "--root", root], 0.2)
    wait_for(told.exists, child)
    time.sleep(0.5)
    os.kill(child.pid, signal.SIGINT)
    assert ended(child) == 130
    assert last_line(told).startswith("stopped; to go on give the same command again")
    assert not list(tmp_path.glob("history-mine*"))


def test_ctrl_c_ends_all_workers_of_an_experiment(tmp_path):
    """Parent and workers get the signal together, as from a terminal; then the parent ends the workers."""
    parent = start(experiment_command, tmp_path)
    wait_for(lambda: len([*tmp_path.glob("work/*/state.safetensors")]) == 2, parent)
    workers = psutil.Process(parent.pid).children(recursive=True)
    states = {path: path.read_bytes() for path in tmp_path.glob("work/*/state.safetensors")}
    assert len(workers) == 2
    os.killpg(parent.pid, signal.SIGINT)
    assert ended(parent) == 130
    assert not any(worker.is_running() for worker in workers)
    assert last_line(tmp_path / "told") == (
        "stopped: 0 of 6 cells done; to go on give the same command again, `train` with --resume"
    )
    for path, before in states.items():
        assert path.read_bytes() != before and int(read_safetensors(path)[1]["step"]) >= 3
    for log in tmp_path.glob("work/worker-*.log"):
        assert re.match(r"stopped: step \d+ of 10 is saved in ", last_line(log))


def test_whoever_does_not_listen_is_killed_at_the_second_ctrl_c(tmp_path):
    deaf = (
        "import os, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "open(sys.argv[1] + f'/{os.getpid()}.pid', 'w'); time.sleep(60)"
    )

    def pids():
        return [int(path.stem) for path in tmp_path.glob("*.pid")]

    def impatient():
        wait_for(lambda: len(pids()) == 2)
        while any(map(psutil.pid_exists, pids())):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1.1)

    hands = threading.Thread(target=impatient)
    hands.start()
    with pytest.raises(KeyboardInterrupt):
        experiment.run_workers(
            [sys.executable, "-c", deaf, str(tmp_path)], 2, MICRO, [Cell("structure", 0)], tmp_path, tmp_path / "work",
            progress=False,
        )  # fmt: skip
    assert len(pids()) == 2 and not any(psutil.pid_exists(pid) for pid in pids())
    hands.join()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_signals_that_others_handle_stay_theirs(monkeypatch):
    """`nohup sgdc train ... &` ignores Ctrl-C, a server has its own way to end; a thread may handle none."""
    got = []
    before = signal.signal(signal.SIGINT, signal.SIG_IGN), signal.signal(signal.SIGTERM, lambda *_: got.append(1))
    try:
        with stopping() as asked:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
        assert not asked and got == [1]
    finally:
        signal.signal(signal.SIGINT, before[0]), signal.signal(signal.SIGTERM, before[1])
    told = []

    def elsewhere():
        with stopping() as asked:
            told.append(signal.getsignal(signal.SIGINT))
        told.append(len(asked))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert told == [signal.default_int_handler, 0]


def test_ctrl_c_without_a_folder_stops_after_the_step():
    def press(step, _):
        if step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    model, other = tiny(), tiny()
    with pytest.raises(KeyboardInterrupt, match="step 2 of 8 was the last, nothing is saved"):
        fit(model, squares(6), config=CONFIG, progress=False, on_step=press)
    fit(other, squares(6), config=CONFIG, progress=False, on_step=lambda step, _: step == 2)
    assert weights_equal(model, other) and not model.training


# --- the campaign only ------------------------------------------------------------------------------------------------

if CAMPAIGN:

    def test_the_real_command_killed_and_resumed(tmp_path, train_words):
        draw, killed = random.Random(SEED), 0
        out, words = tmp_path / "run", [sys.executable, "-m", "sgdc_viz"]
        settings = ["--save-every", 1, "--steps", 200]
        assert subprocess.run([*words, *map(str, train_words(tmp_path / "whole", *settings))]).returncode == 0
        while not (out / "history.json").exists():
            child = subprocess.Popen([*words, *map(str, train_words(out, *settings, "--resume"))])
            before = saved_step(out)
            if killed < 5:
                wait_for(lambda: saved_step(out) > before)  # noqa: B023
                time.sleep(draw.uniform(0, 0.5))
                child.kill()
            code = child.wait()
            assert code in (0, -signal.SIGKILL) and saved_step(out) > before
            killed += code != 0
        check_the_same(out, tmp_path / "whole")
        print(f"{killed} kills of the real command, seed {SEED}")
