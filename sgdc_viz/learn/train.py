"""The training loop, short enough to read in one sitting.

Everything random in step t follows from (seed, t) alone: which images, which windows, how they are augmented. So a
run that was killed goes on exactly where it stopped, and two runs with the same seed see the same data in the same
order whatever their network is. That is what makes "structure minus pooled" a paired comparison.

The same seed gives the same weights bit for bit, on one machine with one number of CPU threads. Another number adds in
another order: weights differ by 3e-7 after one step, and by 0.01 after twenty (measured, the small network).
"""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sgdc_viz.data import Dataset, Sample
from sgdc_viz.data.transforms import Augmentation, random_window, to_scale, to_tensor
from sgdc_viz.nn import SGDCNet

from .checkpoints import (
    MOST_SIDE,
    CheckpointInfo,
    check_writable,
    load_pretrained,
    read_safetensors,
    remove_drafts,
    save_checkpoint,
    write_safetensors,
    write_whole,
)
from .losses import total_loss
from .predict import NaNError, evaluate

MODEL_FILE, STATE_FILE, HISTORY_FILE = "model.safetensors", "state.safetensors", "history.json"
KEPT_FOLDER = "history"  # checkpoints at chosen steps, see `fit(..., keep=...)`
LOCK_FILE = ".lock"  # in the run's folder while it is written to
KEPT_BYTES = 2 * 2**30  # of images at training scale, beyond which they are read again


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Attributes:
        steps: optimizer steps.
        batch_size: windows per step, over all processes together; each gets the same number of them.
        crop: side of the square training window in pixels, a multiple of 32.
        longest_side: scale images to this longest side first (None: keep their pixels). Goes into the checkpoint.
        learning_rate: peak rate of AdamW: linear warm-up, then half a cosine down to zero.
        warmup: steps of warm-up.
        weight_decay: of AdamW, on weights of two or more dimensions only.
        grad_clip: largest norm of the gradient.
        edge_weight, edge_width: of the boundary loss, see `losses.total_loss`.
        seed: of the data order, windows, augmentation and stochastic depth. (Seed the *weights* before making the net.)
        mixed_precision: "no", "bf16" or "fp16" (fp16 on a GPU only).
        validate_every: steps between validations; 0 never. At most `validate_images` images are used.
        save_every: steps between savings of the complete state.
        augment: switch augmentation off for a test or a lesson.
    """

    steps: int = 1500
    batch_size: int = 8
    crop: int = 128
    longest_side: int | None = None
    learning_rate: float = 2e-3
    warmup: int = 50
    weight_decay: float = 0.02
    grad_clip: float = 1.0
    edge_weight: float = 1.0
    edge_width: int = 3
    seed: int = 0
    mixed_precision: str = "no"
    validate_every: int = 250
    validate_images: int = 24
    save_every: int = 100
    augment: bool = True

    def __post_init__(self):
        if self.crop < 32 or self.crop % 32:
            raise ValueError(f"crop={self.crop} must be a multiple of 32 pixels, 32 or more.")
        for name in ("steps", "batch_size", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be 1 or more.")
        if self.longest_side is not None and not 1 <= self.longest_side <= MOST_SIDE:
            raise ValueError(
                f"longest_side={self.longest_side} must be from 1 to {MOST_SIDE} pixels (None or --longest-side 0: "
                "keep the size)."
            )
        for name in ("learning_rate", "grad_clip", "weight_decay", "edge_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)} must be a number of 0 or more.")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed={self.seed} must be 0 or larger and below 2**63.")
        if self.mixed_precision not in ("no", "bf16", "fp16"):
            raise ValueError(f"mixed_precision={self.mixed_precision!r} must be 'no', 'bf16' or 'fp16'.")

    def rate(self, step: int) -> float:
        """Learning rate of a step, 0 <= step < steps."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def fit(
    model: SGDCNet,
    train: Dataset | Sequence[Sample],
    validation: Dataset | Sequence[Sample] | None = None,
    config: TrainConfig | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    keep: Sequence[int] = (),
    progress: bool = True,
    on_step=None,
    cpu: bool = False,
) -> list[dict]:
    """Train `model` in place, on a GPU when there is one.

    Under a launcher of several processes (accelerate launch, torchrun) all of them call this alike, each trains on its
    share of every batch, and all end with the same weights. These are not quite those of one process:

    - On GPUs BatchNorm sees the whole batch (SyncBatchNorm). On CPUs, where torch has no such thing, each process
      normalises its share alone, and the running statistics are those of the first one.
    - Soft Dice and the class balance of the edge loss are averages over the shares.

    Measured with two CPU processes: without these two differences (BatchNorm held fixed, no edge loss) all weights
    agree to 2e-7 after 16 steps. With them the first losses agree to 0.2 %, and a training on drawn shapes (200 steps
    of 8 windows, two seeds) ended 0.015 higher and 0.014 lower in surface Dice, about as far apart as two seeds are.

    Args:
        model: an SGDCNet.
        train: a data set (see `sgdc_viz.data.open_dataset`) or a list of samples.
        validation: images for the live validation score; never trained on.
        config: a TrainConfig.
        out: folder for `model.safetensors` (the result), `state.safetensors` (to go on from) and `history.json`.
        resume: go on from `out`, where a run with the same settings and images was interrupted; losses and weights then
            are those of an unbroken run. Starts at step 0 if there is nothing yet.
        keep: steps after which a checkpoint is also written to `out`/history/step-000050.safetensors, and kept; 0 is
            before training. `sgdc_viz.learn.history` makes one small file of them.
        progress: show a bar with the running loss and the last validation score.
        on_step: called as on_step(step, losses) after each step; return True to stop early.
        cpu: stay on the CPU even if there is a GPU.

    Returns:
        The history: one dict per step ("step", "total", "segmentation", "edge", "rate"), with "val_iou" and
        "val_nsd1" where a validation was made.

    Raises:
        ValueError: settings that do not fit, fp16 on a CPU, a batch that the processes cannot share evenly, steps to
            keep that the run does not have or that a resumed run has passed without keeping them, a resumed run of
            other settings or images, or a loss that is not finite (the last saved state is kept).
        FileExistsError: `out` holds another run's state and resume is False, or another training is writing to it.
        OSError: the disk is full, or `out` cannot be written; the last saved state is kept.
        KeyboardInterrupt: Ctrl-C or a plain `kill`, after the step in hand and after saving the state to `out`; a
            second Ctrl-C does not wait for that.
    """
    config = config or TrainConfig()
    if len(train) == 0:
        raise ValueError("the training set holds no image.")
    accelerator = _accelerator(config.mixed_precision, cpu, guided=model.config.kernel_source == "structure")
    if config.batch_size % accelerator.num_processes:
        raise ValueError(
            f"batch_size={config.batch_size} cannot be shared evenly by {accelerator.num_processes} processes: take a "
            "multiple of their number."
        )
    folder = Path(out) if out is not None else None
    if folder is not None:
        check_writable(folder)
    keep = _check_keep(keep, config.steps, folder)
    with _alone(folder, accelerator) if folder is not None else nullcontext():
        return _fit(model, train, validation, config, accelerator, folder, resume, keep, progress, on_step)


def _fit(
    model: SGDCNet,
    train: Dataset | Sequence[Sample],
    validation: Dataset | Sequence[Sample] | None,
    config: TrainConfig,
    accelerator,
    folder: Path | None,
    resume: bool,
    keep: frozenset[int],
    progress: bool,
    on_step,
) -> list[dict]:
    """`fit` once its arguments are checked and its folder is its own."""
    from accelerate.utils import broadcast, set_seed
    from tqdm.auto import tqdm

    samples = _Scaled(train, config.longest_side)
    data = trained_on(train, samples[0]) if folder is not None else {}
    optimizer = make_optimizer(model, config)
    step, history = 0, []
    if folder is not None and (folder / STATE_FILE).exists():
        if not resume:
            raise FileExistsError(f"{str(folder)!r} holds another run: resume it (--resume) or choose a new folder.")
        step, history = _load_state(folder / STATE_FILE, model, optimizer, config, data, accelerator.scaler)
        gone = [s for s in sorted(keep) if s <= step and not kept_path(folder, s).exists()]
        if gone:
            raise ValueError(
                f"keep asks for step {gone[0]}, and the run in {str(folder)!r} is at step {step} and did not keep it: "
                "leave it out, or train anew in another folder."
            )

    elif folder is not None and (folder / MODEL_FILE).exists():
        raise FileExistsError(
            f"{str(folder / MODEL_FILE)!r} is there, and no {STATE_FILE} to go on from: it would be lost; choose a new "
            "folder."
        )
    described = _describe(train, config, model)
    augment = Augmentation(config.crop, described["kind"]) if config.augment else None
    together = accelerator.num_processes > 1
    replaced = _share_batch_norm(model.to(accelerator.device)) if together and accelerator.device.type != "cpu" else {}
    net, optimizer = accelerator.prepare(model, optimizer)
    main = accelerator.is_main_process
    score = _last_score(history)

    for path in _written(folder, keep) if folder is not None and main else ():
        remove_drafts(path)
    if main and 0 in keep and step == 0:
        _keep_checkpoint(folder, model, described, config, step, history)
    bar = tqdm(total=config.steps, initial=step, desc="train", disable=not (progress and main), unit="step")
    try:
        with bar, torch.random.fork_rng(devices=_rng_devices(accelerator.device)), stopping() as asked:
            net.train()
            while step < config.steps:
                set_seed(_mix(config.seed, step))
                images, masks, instances = make_batch(samples, config, step)
                if augment is not None:
                    images, masks, instances = augment(images, masks, instances)
                share = slice(accelerator.process_index, None, accelerator.num_processes)
                images, masks = images[share].to(accelerator.device), masks[share].to(accelerator.device)
                instances = None if instances is None else instances[share].to(accelerator.device)

                losses = train_step(net, optimizer, (images, masks, instances), config, step, accelerator)
                step += 1

                record = {"step": step, "rate": config.rate(step - 1)}
                record |= {name: float(accelerator.reduce(loss.detach(), "mean")) for name, loss in losses.items()}
                if validation is not None and _due(config.validate_every, step, config.steps):
                    record |= _validate(accelerator.unwrap_model(net), validation, config, described)
                    net.train()
                history.append(record)
                score = _last_score(history)
                bar.update()
                shown = f"loss {_recent(history):.3f}" + (f", val IoU {score:.3f}" if score is not None else "")
                bar.set_postfix_str(shown, refresh=False)
                stop = on_step is not None and on_step(step, record)
                interrupted = _any(asked, accelerator)
                if main and step in keep:  # before the state: what a resumed run has passed is there
                    _keep_checkpoint(folder, accelerator.unwrap_model(net), described, config, step, history)
                if folder is not None and main and (stop or interrupted or _due(config.save_every, step, config.steps)):
                    state = (accelerator.unwrap_model(net), optimizer, config, data, step, history, accelerator.scaler)
                    _save_state(folder / STATE_FILE, *state)
                if interrupted:
                    accelerator.wait_for_everyone()  # a launcher ends all when the first one goes
                    where = f"is saved in {str(folder)!r}" if folder is not None else "was the last, nothing is saved"
                    raise KeyboardInterrupt(f"step {step} of {config.steps} {where}")
                if stop:
                    break
    finally:
        accelerator.unwrap_model(net, keep_fp32_wrapper=False)  # accelerate had wrapped model.forward
        _put_back(model, replaced)
        model.eval()

    for buffer in model.buffers() if together else ():
        broadcast(buffer)  # on CPUs each process kept running statistics of its own share: the first one's count
    training = {"config": asdict(config), "step": step, "loss": _recent(history)}
    model.info = CheckpointInfo("trained", model.config, described, {}, training)
    if folder is not None and main:
        save_checkpoint(folder / MODEL_FILE, model, data=described, training=training)
        write_whole(folder / HISTORY_FILE, json.dumps(history).encode())
    return history


def make_optimizer(model: SGDCNet, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over all parameters; the rate is set anew in each step."""
    return torch.optim.AdamW(_parameter_groups(model, config.weight_decay), lr=config.learning_rate)


def train_step(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: tuple[Tensor, Tensor, Tensor | None],
    config: TrainConfig,
    step: int,
    accelerator=None,
) -> dict[str, Tensor]:
    """One optimizer step on one batch.

    Args:
        net: in training mode.
        optimizer: of `make_optimizer`.
        batch: images [B, 3, S, S], masks [B, S, S], instances or None, as `make_batch` gives them.
        config: gives rate, weights of the losses and the largest norm of the gradient.
        step: 0 <= step < config.steps.
        accelerator: accelerate's, for other precisions and several processes; None: plain torch in float32.

    Returns:
        The losses before the step, see `losses.total_loss`.

    Raises:
        ValueError: the loss is not finite; nothing was changed.
    """
    for group in optimizer.param_groups:
        group["lr"] = config.rate(step)
    images, masks, instances = batch
    with accelerator.autocast() if accelerator else nullcontext():
        losses = total_loss(net(images), masks, instances, config.edge_weight, config.edge_width)
    if not torch.isfinite(losses["total"]):
        raise ValueError(f"the loss is {losses['total'].item()} at step {step}: lower the learning rate.")
    optimizer.zero_grad()
    if accelerator:
        accelerator.backward(losses["total"])
        accelerator.clip_grad_norm_(net.parameters(), config.grad_clip)
    else:
        losses["total"].backward()
        nn.utils.clip_grad_norm_(net.parameters(), config.grad_clip)
    optimizer.step()
    return losses


@contextmanager
def stopping() -> Iterator[dict[int, float]]:
    """Note Ctrl-C and a plain `kill`, each with its time, so that what is in hand can be finished first.

    On leaving, what was noted raises KeyboardInterrupt; another signal of the kind, a second or more after the first,
    raises it at once (launchers hand on within milliseconds what all processes got from the terminal). Signals that
    somebody else handles or ignores stay as they are, and so do all outside the main thread: Python forbids it there.
    """
    asked: dict[int, float] = {}

    def note(number: int, _) -> None:
        now = time.monotonic()
        if now - asked.setdefault(number, now) > 1:
            raise KeyboardInterrupt

    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    main = threading.current_thread() is threading.main_thread()
    ours = [number for number, handler in usual.items() if main and signal.getsignal(number) == handler]
    for number in ours:
        signal.signal(number, note)
    try:
        yield asked
    finally:
        for number in ours:
            signal.signal(number, usual[number])
    if asked:
        raise KeyboardInterrupt


def _any(asked: dict[int, float], accelerator) -> bool:
    """Whether one of the processes that work together was asked to stop: then all do, after the same step."""
    if accelerator.num_processes == 1:
        return bool(asked)
    return bool(accelerator.reduce(torch.tensor(float(len(asked)), device=accelerator.device), "sum"))


@contextmanager
def _alone(folder: Path, accelerator) -> Iterator[None]:
    """Keep other trainings out of the folder by a lock that goes with its process. The main one takes it for all."""
    from accelerate.utils import broadcast_object_list
    from filelock import FileLock, Timeout

    lock, ours = FileLock(folder / LOCK_FILE), [True]
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    if accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            ours = [False]
    if not broadcast_object_list(ours)[0]:
        raise FileExistsError(
            f"another training is writing to {str(folder)!r}: wait for it or choose another folder (--out)."
        )
    try:
        yield
    finally:
        if accelerator.is_main_process:
            with suppress(OSError):  # while it is held: later it may be another's. On Windows filelock removes it
                (folder / LOCK_FILE).unlink()
            lock.release()
            with suppress(OSError):
                for path in made:
                    path.rmdir()  # if nothing was written


def _written(folder: Path, keep: Sequence[int]) -> list[Path]:
    """All files that a run writes."""
    return [folder / name for name in (STATE_FILE, MODEL_FILE, HISTORY_FILE)] + [kept_path(folder, s) for s in keep]


def kept_path(folder: Path, step: int) -> Path:
    """Where a run keeps the weights of a step."""
    return folder / KEPT_FOLDER / f"step-{step:06d}.safetensors"


def _check_keep(keep: Sequence[int], steps: int, folder: Path | None) -> frozenset[int]:
    wrong = [s for s in keep if isinstance(s, bool) or not isinstance(s, int) or not 0 <= s <= steps]
    if wrong:
        raise ValueError(f"keep={wrong[0]!r} is no step of this run: give whole numbers from 0 to {steps}.")
    if keep and folder is None:
        raise ValueError("keep= writes checkpoints to the run's folder: give out= as well.")
    return frozenset(keep)


def _keep_checkpoint(
    folder: Path, model: SGDCNet, described: dict, config: TrainConfig, step: int, history: list[dict]
) -> None:
    training = {"config": asdict(config), "step": step, "loss": _recent(history) if history else None}
    save_checkpoint(kept_path(folder, step), model, data=described, metrics={}, training=training)


def several_processes() -> bool:
    """Whether a launcher (accelerate launch, torchrun, mpirun) started this process together with others."""
    sizes = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
    return any(int(os.environ.get(name) or 1) > 1 for name in sizes)


def processes(cpu: bool = False):
    """Accelerate's view of the processes that work together: itself only, or all that a launcher started."""
    from accelerate import PartialState

    # Without a GPU accelerate takes each process for the only one, unless it is told to stay on the CPU.
    return PartialState(cpu=cpu or (several_processes() and not torch.cuda.is_available()))


def _accelerator(mixed_precision: str, cpu: bool, guided: bool):
    from accelerate import Accelerator, DistributedDataParallelKwargs
    from accelerate.state import AcceleratorState

    # They are one per process: let a second fit choose another precision, and another device if no others wait.
    AcceleratorState._reset_state(reset_partial_state=not several_processes())
    processes(cpu)
    # Arms other than "structure" leave the guidance path without a gradient.
    unused = DistributedDataParallelKwargs(find_unused_parameters=not guided)
    accelerator = Accelerator(mixed_precision=mixed_precision, cpu=cpu, kwargs_handlers=[unused])
    if mixed_precision == "fp16" and accelerator.device.type == "cpu":
        raise ValueError(
            "mixed_precision='fp16' (--mixed-precision fp16) needs a GPU, and this training runs on the CPU: "
            "use 'bf16' or 'no'."
        )
    return accelerator


def _share_batch_norm(model: nn.Module) -> dict[str, nn.Module]:
    """Let BatchNorm see the batches of all processes. Returns the layers that were replaced, by name."""
    own = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.BatchNorm2d)}
    nn.SyncBatchNorm.convert_sync_batchnorm(model)  # keeps the parameters, which the optimizer already knows
    return own


def _put_back(model: nn.Module, layers: dict[str, nn.Module]) -> None:
    for name, layer in layers.items():
        layer.load_state_dict(model.get_submodule(name).state_dict())
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, layer)


def _due(every: int, step: int, last: int) -> bool:
    return every > 0 and (step % every == 0 or step == last)


def make_batch(samples: Sequence[Sample], config: TrainConfig, step: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """The windows of one step, before augmentation: images [B, 3, S, S], masks [B, S, S], instances or None.

    Every epoch visits all images once, in an order that follows from (seed, epoch).
    """
    size, chosen = len(samples), []
    for position in range(step * config.batch_size, (step + 1) * config.batch_size):
        epoch, index = divmod(position, size)
        window = np.random.default_rng((config.seed, 1, position))
        chosen.append(random_window(samples[int(_order(config.seed, epoch, size)[index])], config.crop, window))
    return to_tensor(chosen)


@lru_cache(maxsize=2)  # a batch may lie in two epochs
def _order(seed: int, epoch: int, size: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(size)


class Kept:
    """Samples kept in memory after their first use, up to `limit` bytes; beyond it they are read again."""

    def __init__(self, limit: int = KEPT_BYTES):
        self.limit, self.bytes = limit, 0
        self._samples: dict[Hashable, Sample] = {}

    def get(self, key: Hashable, read: Callable[[], Sample]) -> Sample:
        """The sample of this key, from `read` if it is not kept."""
        if key in self._samples:
            return self._samples[key]
        sample = read()
        size = sum(part.nbytes for part in (sample.image, sample.mask, sample.instances) if part is not None)
        if self.bytes + size <= self.limit:
            self._samples[key], self.bytes = sample, self.bytes + size
        return sample


class _Scaled(Sequence):
    """Samples at the training scale, kept as far as there is room."""

    def __init__(self, samples: Sequence[Sample], longest_side: int | None):
        self.samples, self.longest_side, self._kept = samples, longest_side, Kept()

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self._kept.get(index, lambda: to_scale(self.samples[index], self.longest_side))


def _describe(train, config: TrainConfig, model: SGDCNet) -> dict:
    described = train.describe() if hasattr(train, "describe") else {"name": "samples", "images": len(train)}
    kind = described.get("kind", "unknown")
    return {**described, "kind": kind, "longest_side": config.longest_side, "num_classes": model.config.num_classes}


def _validate(model: SGDCNet, validation, config: TrainConfig, described: dict) -> dict:
    model.eval()
    model.info = CheckpointInfo("training", model.config, described)
    some = [validation[i] for i in range(min(len(validation), config.validate_images))]
    try:
        summary = evaluate(model, some)["summary"]
    except NaNError:
        raise ValueError("the network gives NaN for the validation images: lower the learning rate.") from None
    return {"val_iou": summary["iou"]["mean"], "val_nsd1": summary["nsd1"]["mean"]}


def _parameter_groups(model: SGDCNet, weight_decay: float) -> list[dict]:
    """Norms, biases and layer scales are not decayed: pulling them to zero is no prior anyone wants."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def _mix(seed: int, step: int) -> int:
    return int(np.random.SeedSequence((seed, step)).generate_state(1)[0])


def _rng_devices(device: torch.device) -> list[int]:
    return [device.index or 0] if device.type == "cuda" else []


def _recent(history: list[dict], count: int = 50) -> float:
    return float(np.mean([record["total"] for record in history[-count:]]))


def _last_score(history: list[dict]) -> float | None:
    return next((record["val_iou"] for record in reversed(history) if "val_iou" in record), None)


# --- the complete state, for an exact resume ------------------------------------------------------------------------


def trained_on(train: Dataset | Sequence[Sample], first: Sample) -> dict:
    """What a state remembers of its images and of how their truth is read; `first` is one of them."""
    told = train.describe() if hasattr(train, "describe") else {}
    known = {key: told[key] for key in ("name", "kind", "num_classes", "rule", "names_sha256") if key in told}
    sizes = train.sizes_sha256() if hasattr(train, "sizes_sha256") else None
    known |= {"sizes_sha256": sizes} if sizes else {}
    return {**known, "images": len(train), "instances": first.instances is not None}


def check_data(path: Path, metadata: dict[str, str], data: dict) -> None:
    """Refuse a state of other data than `data`, which is from `trained_on`; states of old do not say theirs.

    Raises:
        ValueError: one sentence that names the file and what differs.
    """
    before = json.loads(metadata.get("data", "{}"))
    other = [key for key in before if before[key] != data.get(key)]
    if other:
        said = {
            "names_sha256": "other images",
            "rule": "drawn or chosen in another way",
            "sizes_sha256": "an image or a mask was changed since",
        }
        told = ", ".join(f"{key} {before[key]} -> {data.get(key)}" for key in other if key not in said)
        told = told or next(words for key, words in said.items() if key in other)
        raise ValueError(
            f"{str(path)!r} was trained on other data ({told}): resume with the same, or train anew in another folder."
        )


def _save_state(
    path: Path, model: SGDCNet, optimizer, config: TrainConfig, data: dict, step: int, history: list[dict], scaler
) -> None:
    """Weights, AdamW's two moments, step, history, fp16's loss scale and what it is of in one safetensors file."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in moments.items()}
    metadata = {
        "train_config": json.dumps(asdict(config)),
        "model_config": json.dumps(model.config.to_dict()),
        "step": str(step),
        "history": json.dumps(history),
        "data": json.dumps(data),
        "scaler": json.dumps(scaler.state_dict() if scaler is not None else None),
    }
    write_safetensors(path, tensors, metadata)


def _load_state(
    path: Path, model: SGDCNet, optimizer, config: TrainConfig, data: dict, scaler
) -> tuple[int, list[dict]]:
    tensors, metadata = read_safetensors(path)
    same = json.loads(json.dumps(asdict(config))) | {"save_every": 0, "validate_every": 0}
    before = json.loads(metadata["train_config"]) | {"save_every": 0, "validate_every": 0}
    network = json.loads(metadata["model_config"])
    if before != same or network != json.loads(json.dumps(model.config.to_dict())):
        pairs = [(k, before.get(k), v) for k, v in same.items() if before.get(k) != v]
        told = ", ".join(f"{k} {a} -> {b}" for k, a, b in pairs) or "the network's settings"
        raise ValueError(f"{str(path)!r} was made with other settings ({told}): resume with the same ones.")
    check_data(path, metadata, data)
    model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    if scaler is not None:
        scaler.load_state_dict(json.loads(metadata["scaler"]))
    return int(metadata["step"]), json.loads(metadata["history"])


def start_from(model: SGDCNet, checkpoint: str | Path) -> None:
    """Copy the weights of a checkpoint of the same architecture into `model` (fine-tuning).

    Args:
        checkpoint: name of a shipped model, such as "nuclei-structure", or a .safetensors file.

    Raises:
        FileNotFoundError, ValueError: there is no such checkpoint, or it has another architecture than `model`.
    """
    source = load_pretrained(checkpoint)
    mine = {**model.config.to_dict(), "kernel_source": None, "pool_size": None}
    theirs = {**source.config.to_dict(), "kernel_source": None, "pool_size": None}
    if mine != theirs:
        other = "; ".join(f"{key} {theirs[key]} there, {mine[key]} here" for key in mine if mine[key] != theirs[key])
        raise ValueError(f"{str(checkpoint)!r} has another architecture than the model to be trained ({other}).")
    if model.state_dict().keys() != source.state_dict().keys():  # a published block in place of SGDC
        raise ValueError(
            f"{str(checkpoint)!r} has {source.config.kernel_source!r} blocks, whose weights do not fit the "
            f"{model.config.kernel_source!r} blocks of the model to be trained."
        )
    model.load_state_dict(source.state_dict())
