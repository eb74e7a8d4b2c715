"""The command line: `python -m sgdc_viz ...` or `sgdc ...`."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from sgdc_viz.memory import keep_freed


class _Commands(TyperGroup):
    def invoke(self, ctx):
        """Ctrl-C ends with one sentence; typer alone would end without a word."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            told = f"stopped: {stop}" if str(stop) else "stopped"
            print(f"{told}; to go on give the same command again, `train` with --resume", file=sys.stderr)
            sys.exit(130)


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Train, evaluate and use SGDC segmentation networks (Shi et al., MIDL 2026).",
)

Root = Annotated[
    Path | None, typer.Option(help="Folder or zip with the data, in its official layout; synthetic sets need none.")
]
Data = Annotated[
    str,
    typer.Option(
        help="Data set: isic2016, isic2017, isic2018, ph2, conic, bbbc038, folder (your own images), "
        "synthetic-dermoscopy, synthetic-nuclei or synthetic-shapes."
    ),
]
# metavar="": these take no value, and their help must not show one.
Instances = Annotated[
    bool, typer.Option("--instances", metavar="", help="The values of your masks number the objects (folder only).")
]
NumClasses = Annotated[
    int | None,
    typer.Option(help="The values of your masks are this many classes, 0 the background among them (folder only)."),
]
SkipUnpaired = Annotated[
    bool, typer.Option("--skip-unpaired", metavar="", help="Leave out images without mask, masks without image.")
]
# Written into pictures, those of `predict` and all figures: they may be overwritten by later ones.
PREDICTED, DRAWN = "sgdc_viz predict", "sgdc_viz"
MOST_THREADS = 256
LOOKS = ("overview", "kernels", "microscope", "predictions")
Threads = Annotated[int | None, typer.Option(help="CPU threads (default: what torch chooses).")]


@app.command()
def train(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for model.safetensors, state.safetensors and history.json.")],
    root: Root = None,
    instances: Instances = False,
    num_classes: NumClasses = None,
    skip_unpaired: SkipUnpaired = False,
    kernel_source: Annotated[
        str, typer.Option(help="structure, semantic, pooled, global, dyconv, idconv or plain.")
    ] = "structure",
    pool_size: Annotated[int, typer.Option(help="Side of the pooled blocks in feature pixels (pooled only).")] = 8,
    steps: Annotated[int, typer.Option(help="Optimizer steps.")] = 1500,
    seed: Annotated[int, typer.Option(help="Seed of weights, data order and augmentation.")] = 0,
    crop: Annotated[int, typer.Option(help="Side of the training windows in pixels, a multiple of 32.")] = 128,
    longest_side: Annotated[
        int | None, typer.Option(help="Scale images to this longest side (0: keep; default: 160 for dermoscopy).")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Windows per step.")] = 8,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 2e-3,
    mixed_precision: Annotated[str, typer.Option(help="no, bf16 or fp16 (fp16 on a GPU only).")] = "no",
    init: Annotated[
        str | None,
        typer.Option(help="Start from a shipped model (by name) or a .safetensors file, of the same architecture."),
    ] = None,
    save_every: Annotated[int, typer.Option(help="Steps between savings of the state to resume from.")] = 10,
    resume: Annotated[
        bool, typer.Option("--resume", metavar="", help="Go on with the interrupted run in --out.")
    ] = False,
    keep: Annotated[str, typer.Option(help="Keep the weights after these steps, such as 0,25,50.")] = "",
    small: Annotated[
        bool, typer.Option("--small", metavar="", help="Narrower layers, 77 k parameters, for histories.")
    ] = False,
    threads: Threads = None,
) -> None:
    """Train the compact network. Killed? Run the same command again with --resume."""
    import torch

    from sgdc_viz.learn import TrainConfig, fit, start_from
    from sgdc_viz.learn.history import SMALL
    from sgdc_viz.learn.train import STATE_FILE
    from sgdc_viz.nn import SGDCNet, SGDCNetConfig

    _set_up(threads)
    _check_folder(out)
    kept = _steps(keep)
    told = {"instances": instances, "num_classes": num_classes, "skip_unpaired": skip_unpaired}
    training, validation = (_open(data, root, split, told, seed) for split in ("train", "val"))
    if longest_side is None:
        longest_side = 160 if training.kind == "dermoscopy" else 0
    settings = TrainConfig(
        steps=steps, batch_size=batch_size, crop=crop, longest_side=longest_side or None, seed=seed,
        learning_rate=learning_rate, mixed_precision=mixed_precision, save_every=save_every,
    )  # fmt: skip
    network = SGDCNetConfig.compact(
        kernel_source=kernel_source, pool_size=pool_size, num_classes=training.num_classes, **(SMALL if small else {})
    )
    torch.manual_seed(seed)
    model = SGDCNet(network)
    if init is not None:
        if resume and (out / STATE_FILE).exists():
            print("--init is not used: the interrupted run goes on with its own weights")
        else:
            start_from(model, init)
    images = f"{len(training)} training and {len(validation)} validation images"
    if data == "folder":
        images += f", cut by {'folders named train, val, test' if training.parts_named else 'a hash of their names'}"
    print(f"{images}; {kernel_source} kernels; seed {seed}")
    fit(model, training, validation if len(validation) else None, settings, out=out, resume=resume, keep=kept)
    print(f"wrote {out / 'model.safetensors'}")


@app.command()
def evaluate(
    checkpoint: Annotated[str, typer.Option(help="Name of a shipped model, or a .safetensors file.")],
    data: Data,
    root: Root = None,
    split: Annotated[str, typer.Option(help="train, val, test or all.")] = "test",
    instances: Instances = False,
    num_classes: NumClasses = None,
    skip_unpaired: SkipUnpaired = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all per-image numbers here.")] = None,
    threads: Threads = None,
) -> None:
    """Measure a model on images with truth: IoU, Dice, HD95, surface Dice, boundary IoU, with 95 % intervals."""
    from sgdc_viz.learn import evaluate as measure
    from sgdc_viz.learn import load_pretrained
    from sgdc_viz.learn.metrics import LEAST_IMAGES

    _set_up(threads)
    if json_file is not None:
        _check_file(json_file, "--json", "report.json")
    model = load_pretrained(checkpoint)
    told = {"instances": instances, "num_classes": num_classes, "skip_unpaired": skip_unpaired}
    samples = _open(data, root, None if split == "all" else split, told)
    _match_classes(model, samples)
    if split in ("val", "test") and root is not None:
        _tell_other_training(model, data, root, told)
    result = measure(model, samples, progress=sys.stderr.isatty())
    summary = result["summary"]
    if json_file is not None:  # first: whoever reads what is printed may stop
        report = {"checkpoint": Path(checkpoint).stem, "data": samples.describe(), **result}
        _write_json(json_file, report)
    print(f"{checkpoint} on {data} ({split}): {summary['images']} images, {summary['failures']} failures")
    for name in ("iou", "dice", "hd95", "nsd1", "nsd2", "boundary_iou"):
        s = summary[name]
        enough = s["count"] >= LEAST_IMAGES
        interval = f"[{s['low']:.3f}, {s['high']:.3f}]" if enough else "(too few images for an interval)"
        print(f"  {name:13} mean {s['mean']:7.3f}  {interval}  median {s['median']:7.3f}")
    if json_file is not None:
        print(f"wrote {json_file}")


@app.command()
def publish(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished training run: the --out of train.")],
    name: Annotated[str, typer.Option(help="What the model will be called, such as nuclei-structure.")],
    data: Data,
    root: Root = None,
    instances: Instances = False,
    num_classes: NumClasses = None,
    skip_unpaired: SkipUnpaired = False,
    command: Annotated[str, typer.Option(help="The command that trained it, for the card.")] = "",
    note: Annotated[str, typer.Option(help="A sentence about the data, for the card.")] = "",
    out: Annotated[
        Path | None, typer.Option(help="Folder to put it in (default: the assets folder of this project).")
    ] = None,
    threads: Threads = None,
) -> None:
    """For maintainers: measure a trained model on the test split and add it to the models that ship with sgdc_viz.

    Writes NAME.safetensors (weights and scores), NAME.md (its card) and
    its part of results.json. A model that reads the guidance is measured
    twice more: with the guidance zeroed, and with its pixels shuffled.
    """
    from sgdc_viz import assets_dir
    from sgdc_viz.learn import load_checkpoint
    from sgdc_viz.learn.publish import publish as run_publish
    from sgdc_viz.learn.train import MODEL_FILE

    _set_up(threads)
    told = {"instances": instances, "num_classes": num_classes, "skip_unpaired": skip_unpaired}
    test = _open(data, root, "test", told)
    _match_classes(load_checkpoint(run / MODEL_FILE), test)
    results = run_publish(run, name, command, test, out or assets_dir(), note)
    print(f"{name}: IoU {results[name]['summary']['iou']['mean']:.3f}")


@app.command()
def live(
    out: Annotated[Path, typer.Option(help="The file to write: assets/training.json ships with the package.")],
    steps: Annotated[int, typer.Option(help="Optimizer steps of each network.")] = 400,
    seed: Annotated[int, typer.Option(help="Seed of weights, order and windows.")] = 0,
) -> None:
    """For maintainers: a paired training on drawn pictures, for the page's tab Train to open with."""
    from sgdc_viz.learn.live import keep, train_live

    _check_file(out, "--out", "assets/training.json")
    for snapshot in train_live(seed, None, steps, every=10):
        print(f"step {snapshot.steps} of {steps}", file=sys.stderr)
    keep(snapshot, out)
    print(f"wrote {out}: surface Dice at 1 px, guided minus pooled {snapshot.ahead:+.3f}")


@app.command()
def history(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a finished training run: the --out of train --keep ...")
    ],
    out: Annotated[Path, typer.Option(help="The file to write, such as history-mine.safetensors.")],
    data: Data,
    root: Root = None,
    instances: Instances = False,
    num_classes: NumClasses = None,
    skip_unpaired: SkipUnpaired = False,
    images: Annotated[int, typer.Option(help="How many test images score every kept step.")] = 24,
    command: Annotated[str, typer.Option(help="The command that trained it, for the card.")] = "",
    threads: Threads = None,
) -> None:
    """For maintainers: pack the kept steps of a training, with the test score of each, into one small file.

    The demo plays such a file as a film of how the kernels come to be.
    Its card (.md) is written beside it.
    """
    from sgdc_viz.learn.history import card, pack_history

    _set_up(threads)
    if images < 1:
        raise ValueError(f"--images {images} must be 1 or more.")
    told = {"instances": instances, "num_classes": num_classes, "skip_unpaired": skip_unpaired}
    test = _open(data, root, "test", told)
    packed = pack_history(run, out, [test[i] for i in range(min(images, len(test)))])
    out.with_suffix(".md").write_text(card(packed, command, test.describe()), encoding="utf-8")
    for step, iou, nsd1 in zip(packed.steps, packed.scores["iou"], packed.scores["nsd1"], strict=True):
        print(f"step {step:5}: IoU {iou:.3f}, surface Dice at 1 px {nsd1:.3f}")
    changed = packed.rounding
    print(f"wrote {out} and its card; half precision changes a probability by at most {changed['probability']:.3f} and "
          f"flips {changed['mask']:.4%} of the mask pixels")  # fmt: skip


@app.command()
def results() -> None:
    """Print the table of the shipped models' results, as the README has it."""
    from sgdc_viz import assets_dir
    from sgdc_viz.learn.publish import RESULTS_FILE, results_table

    print(results_table(json.loads((assets_dir() / RESULTS_FILE).read_text(encoding="utf-8"))))


@app.command()
def predict(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES", help="Image files.")],
    checkpoint: Annotated[str, typer.Option(help="Name of a shipped model, or a .safetensors file.")],
    out: Annotated[Path, typer.Option(help="Folder for the masks and overlays.")],
    threads: Threads = None,
) -> None:
    """Segment images: NAME_mask.png (0 or 255; class numbers if multi-class) and NAME_overlay.png for each."""
    import numpy as np
    from skimage.segmentation import find_boundaries

    from sgdc_viz.data import load_image
    from sgdc_viz.data.folders import MAX_SIDE
    from sgdc_viz.data.images import has_more_pages
    from sgdc_viz.explore.results import png
    from sgdc_viz.learn import load_pretrained, predict_mask
    from sgdc_viz.learn.checkpoints import write_whole

    _set_up(threads)
    _check_folder(out)
    stems = [path.stem for path in images]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise ValueError(f"several images are called {twice[0]!r}: their masks would overwrite each other.")
    for path in images:
        for target in (out / f"{path.stem}_mask.png", out / f"{path.stem}_overlay.png"):
            _refuse_to_overwrite(target, images, PREDICTED, path)
    model = load_pretrained(checkpoint)
    with _libraries_silent():  # read all first: a broken one stops before anything is written
        for path in images:
            load_image(path, max_side=MAX_SIDE)  # and again below: a thousand photos do not fit in memory
    for path in images:
        image = load_image(path, max_side=MAX_SIDE)
        mask = predict_mask(model, image)
        overlay = image.copy()
        overlay[find_boundaries(mask.astype(np.uint8), mode="thick")] = (255, 216, 0)
        saved = mask.astype(np.uint8) * 255 if mask.dtype == bool else mask
        write_whole(out / f"{path.stem}_mask.png", png(saved, PREDICTED))
        write_whole(out / f"{path.stem}_overlay.png", png(overlay, PREDICTED))
        pages = "; the file has several pages, this is the first" if has_more_pages(path.read_bytes()) else ""
        print(f"{path.name}: {(mask > 0).mean():.1%} of the pixels are foreground{pages}")
    print(f"wrote {2 * len(images)} files to {out}")


@app.command()
def bench(
    quick: Annotated[bool, typer.Option("--quick", metavar="", help="Small sizes, a few seconds.")] = False,
    page: Annotated[
        bool, typer.Option("--page", metavar="", help="The demo's page too: start, clicks, memory.")
    ] = False,
    plots: Annotated[
        Path | None, typer.Option(help="Cost against image side and data-set size too, drawn in this folder (minutes).")
    ] = None,
) -> None:
    """Measure speed and memory on this machine, as ratios against the unfold and dense-Sobel forms."""
    from sgdc_viz.bench import bench as run

    if plots is not None:
        _check_folder(plots, "--plots")
    run(quick=quick)
    if page:
        from sgdc_viz.demo.bench import bench_page

        bench_page(20 if quick else 1000)
    if plots is not None:
        from sgdc_viz.scale import COUNTS, SIDES, bench_scale

        bench_scale(plots, *((SIDES[:3], COUNTS[:2]) if quick else (SIDES, COUNTS)))


@app.command()
def look(
    image: Annotated[
        str,
        typer.Argument(metavar="IMAGE", help="An image file, or the name of a sample such as immunohistochemistry."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")],
    networks: Annotated[str, typer.Option(help="nuclei, dermoscopy, synthetic or untrained.")] = "nuclei",
    at: Annotated[
        tuple[int, int] | None,
        typer.Option(
            metavar="ROW COLUMN", help="The pixel, in the image as the networks see it (default: the middle)."
        ),
    ] = None,
    zoom: Annotated[int, typer.Option(help="Show 1/zoom of the longer side, around the pixel; 1 or more.")] = 1,
    threads: Threads = None,
) -> None:
    """Draw what the demo shows, guided beside pooled, as PNG: overview, kernels, microscope, predictions."""
    from sgdc_viz.data import load_image
    from sgdc_viz.data.samples import example, examples
    from sgdc_viz.explore import Explorer
    from sgdc_viz.learn.checkpoints import write_whole

    _set_up(threads)
    _check_folder(out)
    if zoom < 1:
        raise ValueError(f"--zoom {zoom} must be 1 (the whole image) or more.")
    for name in LOOKS:
        _refuse_to_overwrite(out / f"{name}.png", [Path(image)], DRAWN)
    if image in [e.key for e in examples()]:
        pixels, truth = example(image).load()
    elif not Path(image).exists():
        known = ", ".join(e.key for e in examples())
        raise FileNotFoundError(
            f"there is no image file {image!r} and no sample of that name; the samples are {known}."
        )
    else:
        with _libraries_silent():
            pixels, truth = load_image(Path(image)), None
    pair = Explorer().look(networks, pixels, truth)
    for line in pair.notes:  # first: they say which rows and columns there are
        print(line)
    pixel = at or (pair.image.shape[0] // 2, pair.image.shape[1] // 2)
    drawn = pair.overview(pixel, zoom), pair.kernels(pixel), pair.microscope(pixel), pair.predictions(pixel, zoom)
    figures = dict(zip(LOOKS, drawn, strict=True))
    pictures = {name: figure.to_png() for name, figure in figures.items()}  # all first: nothing half-written
    for name, picture in pictures.items():
        write_whole(out / f"{name}.png", picture)
    print(figures["overview"].message)
    print(figures["overview"].badge)
    print(f"wrote {', '.join(f'{name}.png' for name in pictures)} to {out}")


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for the page, index.html.")],
    threads: Threads = None,
) -> None:
    """Write the demo as one file for a course's web page: it needs no Python, no server and no network.

    A handful of pictures with the kernels of every pixel, the pool size
    slider and the profile across outlines. An index.html in DIR is
    overwritten, other files there stay.
    """
    from sgdc_viz.export import export_page

    _set_up(threads)
    _check_folder(folder, "DIR")
    print("running the networks on the page's pictures takes about half a minute ...", flush=True)
    page = export_page(folder)
    print(f"wrote {page}, {page.stat().st_size / 1e6:.1f} MB, all in this one file")
    print(f"open it with a browser ({page.resolve().as_uri()}), or put it on any web server")


@app.command()
def experiment(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="shapes, nuclei, dermoscopy, folder (your own images), paper-isic2016, paper-isic2018, paper-ph2 or "
            "paper-conic.",
        ),
    ],
    root: Root = None,
    test_root: Annotated[Path | None, typer.Option(help="Folder or zip of PH2 (paper-ph2 only).")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results, one JSON a cell (default: runs/NAME/results).")
    ] = None,
    work: Annotated[
        Path | None, typer.Option(help="Folder for weights, states to go on from and logs (default: runs/NAME).")
    ] = None,
    arms: Annotated[str, typer.Option(help="Only these, such as structure,pooled-8.")] = "",
    seeds: Annotated[str, typer.Option(help="Only these, such as 0,1.")] = "",
    cell: Annotated[str, typer.Option(help="Only this one, such as structure-seed0.")] = "",
    jobs: Annotated[
        int | None, typer.Option(help="Cells at a time (default: one a GPU; without a GPU one a CPU core, at most 4).")
    ] = None,
    threads: Threads = None,
    again: Annotated[
        bool,
        typer.Option(
            "--again", metavar="", help="Train --cell anew and compare with its result in --out, which stays as it is."
        ),
    ] = False,
    rehearse: Annotated[
        bool,
        typer.Option("--rehearse", metavar="", help="Two steps of a small network a cell: is everything in place?"),
    ] = False,
    list_cells: Annotated[bool, typer.Option("--list", metavar="", help="Print the grid and what is done.")] = False,
) -> None:
    """Run a declared grid of trainings and measure each; go on with it by the same command after any stop.

    Results that are there already stay. With several GPUs for one cell:
    accelerate launch --multi_gpu --num_processes 2 -m sgdc_viz experiment NAME ...
    """
    import tempfile

    from sgdc_viz.learn import experiment as grid
    from sgdc_viz.learn.train import several_processes

    if name not in grid.EXPERIMENTS:
        raise ValueError(f"there is no experiment {name!r}: choose one of {', '.join(grid.EXPERIMENTS)}.")
    chosen = grid.tiny(grid.EXPERIMENTS[name]) if rehearse else grid.EXPERIMENTS[name]
    folder = Path("runs") / (f"{name}-rehearsal" if rehearse else name)
    out, work = out or folder / "results", work or folder
    _check_folder(out)
    _check_folder(work, "--work")
    for option, number in (("--jobs", jobs), ("--threads", threads)):
        if number is not None and number < 1:
            raise ValueError(f"{option} {number} must be 1 or more.")
    cells = chosen.cells(_words(arms), [_whole("--seeds", word) for word in _words(seeds)])
    cells = [c for c in cells if not cell or c.name == cell]
    if not cells:
        raise ValueError(f"experiment {name} has no such cell: `experiment {name} --list` prints its grid.")
    todo = [c for c in cells if not (out / f"{c.name}.json").exists()]
    if list_cells:
        for arm in dict.fromkeys(c.arm for c in cells):
            own = [c for c in cells if c.arm == arm]
            done = sum(c not in todo for c in own)
            named = ", ".join(str(c.seed) for c in own)
            print(f"{arm:18} {grid.ARMS[arm].what:46} seeds {named}; {done} of {len(own)} done")
        print(f"(results in {out}; --out names another folder, such as assets/evidence/{name})")
        return
    if again and (not cell or todo):
        raise ValueError(f"--again needs --cell with the name of a finished cell, whose result is in {str(out)!r}.")
    grid.check_ready(chosen, cells, out, root, test_root)
    bars = sys.stderr.isatty()
    if again:
        _set_up(threads)
        with tempfile.TemporaryDirectory() as fresh:
            failed = grid.work_through(chosen, cells, Path(fresh), Path(fresh), root, test_root, progress=bars)
            if failed:
                raise ValueError(failed[0][1])
            if _speaks():
                _print_differences(out / f"{cell}.json", Path(fresh) / f"{cell}.json")
        return
    if several_processes():
        if jobs is not None and jobs > 1:
            raise ValueError(f"--jobs {jobs}: the processes of a launcher train one cell together; leave --jobs out.")
        jobs = 1
    jobs = min(jobs or grid.usual_jobs(), max(1, len(todo)))
    if jobs == 1:
        _set_up(threads)
        failed = grid.work_through(
            chosen, cells, out, work, root, test_root, progress=bars, tell=partial(print, flush=True)
        )
        if failed:
            raise ValueError(f"{len(failed)} of {len(cells)} cells failed, {failed[0][0].name} first: {failed[0][1]}")
    else:
        given = {"--root": root, "--test-root": test_root, "--out": out, "--work": work}
        given |= {"--arms": arms, "--seeds": seeds}
        words = [str(word) for pair in given.items() if pair[1] for word in pair]
        words += ["--jobs", "1", "--threads", str(threads or max(1, (os.cpu_count() or 1) // jobs))]
        words += ["--rehearse"] if rehearse else []
        command = [sys.executable, "-m", "sgdc_viz", "experiment", name, *words]
        grid.run_workers(command, jobs, chosen, cells, out, work, bars)
    if _speaks():
        print(f"all {len(cells)} cells are done, their results are in {out}")
        from sgdc_viz.evidence import report

        for line in report(grid.read_results(out)):
            print(line)


def _speaks() -> bool:
    """Whether this process prints the end: of those that work together the first. They part here."""
    from sgdc_viz.learn.train import processes, several_processes

    if not several_processes():
        return True
    together = processes()
    first = together.is_main_process
    together.wait_for_everyone()
    together.destroy_process_group()  # otherwise gloo may abort at exit
    return first


def _print_differences(old: Path, new: Path) -> None:
    from sgdc_viz.learn.experiment import largest_difference, read_result

    pair = [read_result(path) for path in (old, new)]
    for metric, worst in largest_difference(*pair).items():
        means = [result["summary"][metric]["mean"] for result in pair]
        print(f"{metric:13} largest difference of an image {worst:.5f}, means {means[0]:.5f} and {means[1]:.5f}")


@app.command()
def evidence() -> None:
    """For maintainers: make the tables, figures and sentences about the experiments anew from their results."""
    from sgdc_viz import assets_dir
    from sgdc_viz.evidence import write

    project = assets_dir().parent
    for path in write(project):
        print(f"wrote {path.relative_to(project)}")


@app.command()
def download(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="isic2016, isic2017, isic2018, bbbc038; ph2, conic (by sign-up).")
    ],
    root: Annotated[Path, typer.Option(help="Folder for the official files; give each data set one of its own.")],
) -> None:
    """Fetch a public data set, say its licence and citation, check every file. Stopped? Run the same command again."""
    from sgdc_viz.data.download import download as fetch

    fetch(name, root, tell=partial(print, flush=True), progress=sys.stderr.isatty())


@app.command()
def classroom(
    out: Annotated[Path, typer.Option(help="Folder for student/, instructor/ and nbgrader/.")],
    notebooks: Annotated[str, typer.Option(help="Only these, such as 01,02 (default: all).")] = "",
    explanations: Annotated[
        bool, typer.Option("--explanations", metavar="", help="Leave the model answers in the students' notebooks.")
    ] = False,
    wheelhouse: Annotated[
        bool,
        typer.Option(
            "--wheelhouse", metavar="", help="Add all packages, so that the students' laptops need no network."
        ),
    ] = False,
) -> None:
    """Write the course for a class: notebooks without answers, the instructor's page, a course folder for nbgrader."""
    from sgdc_viz.teach.classroom import masters, write_classroom

    names = tuple(_words(notebooks))
    folders = write_classroom(out, names, explanations, wheelhouse)
    count = len(masters(names))
    what = "without solutions" if explanations else "without solutions and explanations"
    print(f"{folders['student']}: {count} notebook{'s' * (count != 1)} {what}, to hand out")
    print(f"{folders['instructor']}: the masters, INSTRUCTOR.md (read this first), COMMON_ERRORS.md and scores.csv")
    print(f"{folders['nbgrader']}: a course folder for nbgrader")
    if not (folders["student"] / "wheelhouse").exists():
        print("start.py in student/ needs a wheelhouse: add --wheelhouse, unless sgdc_viz is installed in the room")


@app.command()
def course(
    out: Annotated[Path, typer.Option(help="Folder for your copy of the notebooks.")] = Path("my-course"),
) -> None:
    """Your own copy of the course: notebooks without solutions, with explanations. What is there already stays."""
    from sgdc_viz.teach.classroom import write_own_copy

    new, kept = write_own_copy(out)
    print(f"{out}: {len(new)} notebooks written, {len(kept)} were there already and stay as they are")


def _open(data: str, root: Path | None, split: str | None, told: dict, seed: int = 0):
    """The data set, with those of the options `told` that were given."""
    from sgdc_viz.data import DATASETS, open_dataset
    from sgdc_viz.data.folders import dataset_options

    options = {name: value for name, value in told.items() if value is not None and value is not False}
    for name in options if data in DATASETS else ():
        if name not in dataset_options(data):
            takers = ", ".join(other for other in DATASETS if name in dataset_options(other))
            raise ValueError(f"--{name.replace('_', '-')} is no option of {data}: it is for {takers}.")
    return open_dataset(data, root, split, seed, **options)


def _check_folder(folder: Path, option: str = "--out") -> None:
    """Before hours of work, not after."""
    from sgdc_viz.learn.checkpoints import check_writable

    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{option} {str(folder)!r} is a file: give the name of a folder.")
    check_writable(folder)


def _check_file(file: Path, option: str, such_as: str) -> None:
    from sgdc_viz.learn.checkpoints import check_writable

    if file.is_dir():
        raise ValueError(f"{option} {str(file)!r} is a folder: give the name of a file, such as {such_as}.")
    if file.is_file() or not file.exists():  # else a pipe or a device
        check_writable((file.resolve() if file.is_symlink() else file).parent)
    if file.is_file() and file.stat().st_size:
        with file.open("rb") as there:
            if there.read(1) != b"{":
                raise ValueError(f"{option} {str(file)!r} is there already and no earlier result: give another name.")


def _refuse_to_overwrite(target: Path, images: list[Path], software: str, image: Path | None = None) -> None:
    """Results go over earlier results, but over nothing else: a mask drawn by hand may have such a name.

    images: what is read; software: what earlier results say that made them; image: whose name is in the target's."""
    from PIL import Image

    if len(os.fsencode(target.name)) > 255 - len(".12345678.part"):  # what file systems take, less a draft's ending
        raise ValueError(f"the name of {str(image)!r} is too long for {target.name[-11:]} after it: shorten it.")
    if not target.exists():
        return
    if target.is_dir():
        raise ValueError(f"{str(target)!r} is a folder: give another --out.")
    if any(other.exists() and target.samefile(other) for other in images):
        raise ValueError(f"{str(target)!r} is one of the images: give another --out.")
    try:
        with Image.open(target) as there:
            ours = there.info.get("Software") == software
    except OSError:
        ours = False
    if not ours:
        raise ValueError(f"{str(target)!r} is there already and not by an earlier run: give another --out.")


@contextmanager
def _libraries_silent() -> Iterator[None]:
    """libtiff writes what is wrong with a file straight to the terminal; our one sentence says it.

    Only where one thread reads and nothing is printed: it is the whole process that has no stderr meanwhile.
    """
    try:
        terminal = os.dup(2)
    except OSError:  # started without one
        yield
        return
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)


def _steps(text: str) -> tuple[int, ...]:
    """ "0,25,50" -> (0, 25, 50)."""
    try:
        return tuple(int(word) for word in _words(text))
    except ValueError:
        raise ValueError(f"--keep {text!r}: give steps separated by commas, such as 0,25,50.") from None


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _whole(option: str, word: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise ValueError(f"{option} {word!r} is no whole number.") from None


def _set_up(threads: int | None) -> None:
    """For commands that compute. `bench` is not one of them: it measures what any Python program would."""
    keep_freed()
    if threads is not None:
        import torch

        if not 1 <= threads <= MOST_THREADS:
            raise ValueError(f"--threads {threads} must be from 1 to {MOST_THREADS} (cores here: {os.cpu_count()}).")
        torch.set_num_threads(threads)


def _tell_other_training(model, data: str, root: Path, told: dict) -> None:
    """Say so if the training part is another than the model's: images that came since moved others to new parts."""
    before = model.info.data
    if before.get("name") != data or before.get("split") != "train" or "names_sha256" not in before:
        return
    try:
        now = _open(data, root, "train", told).describe()
    except (ValueError, OSError):  # there is none
        return
    if now["names_sha256"] != before["names_sha256"]:
        print(
            f"note: the training part of these images ({now['images']}) is not the one that this model learnt from "
            f"({before.get('images')}); if images were added or removed since, some that are measured here were among "
            "those.",
            file=sys.stderr,
        )


def _match_classes(model, samples) -> None:
    if model.config.num_classes != samples.num_classes:
        raise ValueError(
            f"the model predicts {model.config.num_classes} class(es) and the data set has {samples.num_classes}: "
            "they do not belong together."
        )


def _write_json(path: Path, value: dict) -> None:
    """JSON knows no NaN: undefined numbers become null."""
    from sgdc_viz.learn.checkpoints import write_whole
    from sgdc_viz.learn.publish import for_json

    write_whole(path, json.dumps(for_json(value, None), indent=1, allow_nan=False).encode())


def main() -> None:
    """Run a command; a mistake of the caller is one sentence on stderr and exit code 2, without a traceback."""
    if hasattr(sys.stdout, "reconfigure"):  # a name that the console cannot show is no reason to stop
        sys.stdout.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # see __main__.py
    try:
        app()
    except (MemoryError, RuntimeError) as error:  # torch has no MemoryError
        told = str(error).partition("\n")[0][:200]
        if isinstance(error, RuntimeError) and not re.search("allocate memory|out of memory|enough memory", told):
            raise
        print(f"error: not enough memory ({told or 'of this machine'}): take smaller numbers.", file=sys.stderr)
        sys.exit(2)
    except (ValueError, OSError, ImportError) as error:
        told = str(error)
        if isinstance(error, OSError) and error.filename is not None:  # the system's own, "[Errno 13] ..."
            told = f"{str(error.filename)!r}: {error.strerror}; check its name and its permissions."
        print(f"error: {told}", file=sys.stderr)
        sys.exit(2)
