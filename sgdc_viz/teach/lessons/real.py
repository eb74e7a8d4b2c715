"""Notebook 08: tiny files in the layouts of five data sets, a leak made visible, scale, failures and the evidence."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from sgdc_viz.data import Dataset, Sample
from sgdc_viz.data.synthetic import synthetic_dermoscopy, synthetic_nuclei
from sgdc_viz.data.transforms import to_scale
from sgdc_viz.evidence import SHORT, TITLES, kind_table, sentence
from sgdc_viz.learn import predict_mask
from sgdc_viz.learn.experiment import short_name
from sgdc_viz.learn.metrics import iou
from sgdc_viz.learn.publish import NAMES, paired_difference
from sgdc_viz.nn import SGDCNet
from sgdc_viz.views import Effect, Effects, Figure, Outline, Picture, Scale, curves, outlines_of, panels
from sgdc_viz.views.figure import true_outline
from sgdc_viz.views.style import MINUS, fixed

SETS = ("isic2016", "isic2018", "ph2", "conic", "bbbc038")
ISIC_PARTS = {
    "isic2016": {
        "ISBI2016_ISIC_Part1_Training_Data": ("ISBI2016_ISIC_Part1_Training_GroundTruth", 4),
        "ISBI2016_ISIC_Part1_Test_Data": ("ISBI2016_ISIC_Part1_Test_GroundTruth", 2),
    },
    "isic2018": {
        f"ISIC2018_Task1-2_{part}_Input": (f"ISIC2018_Task1_{part}_GroundTruth", count)
        for part, count in (("Training", 3), ("Validation", 1), ("Test", 2))
    },
}
PROBABILITY = Scale("probability of object", 0, 1)


# --- data sets on disk ------------------------------------------------------------------------------------------------


def write_layout(name: str, folder: Path) -> Path:
    """Write a few drawn images in the official layout of a data set, as its unpacked download would lie on disk.

    The pictures are drawn by this project and much smaller than the real ones; names, formats and stored values follow
    the originals.

    Args:
        name: one of SETS.
        folder: where its folder is made.

    Returns:
        The data set's root, `folder/name`.

    Raises:
        ValueError: another name.
    """
    if name not in SETS:
        raise ValueError(f"{name!r} is none of {', '.join(SETS)}.")
    root = Path(folder) / name
    writers = {"ph2": _write_ph2, "conic": _write_conic, "bbbc038": _write_bbbc}
    writers.get(name, lambda root: _write_isic(name, root))(root)
    return root


def _lesion(number: int) -> Sample:
    return synthetic_dermoscopy(number, (96, 128), radius=(0.2, 0.36), softness=2)


def _save(pixels: np.ndarray | Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(path)


def _write_isic(name: str, root: Path) -> None:
    word = "Segmentation" if name == "isic2016" else "segmentation"
    number = 0 if name == "isic2016" else 10  # other lesions
    for images, (masks, count) in ISIC_PARTS[name].items():
        for _ in range(count):
            sample, key = _lesion(number), f"ISIC_{number:07d}"
            _save(sample.image, root / images / f"{key}.jpg")
            _save(sample.mask * np.uint8(255), root / masks / f"{key}_{word}.png")
            number += 1


def _write_ph2(root: Path) -> None:
    for number in (2, 3, 4):
        sample, key = _lesion(20 + number), f"IMD{number:03d}"
        base = root / "PH2Dataset" / "PH2 Dataset images" / key
        _save(sample.image, base / f"{key}_Dermoscopic_Image" / f"{key}.bmp")
        # One bit a pixel, as in the original.
        _save(Image.fromarray(sample.mask * np.uint8(255)).convert("1"), base / f"{key}_lesion" / f"{key}_lesion.bmp")
        _save(sample.mask * np.uint8(120), base / f"{key}_roi" / f"{key}_R1_Label4.bmp")


def _write_conic(root: Path) -> None:
    images, labels, names = [], [], []
    for number, source in enumerate(("consep_1", "crag_7", "dpath_3", "glas_5")):
        sample = synthetic_nuclei(number, 128, style="histology", count=24, radius=0.06)
        for patch, (y, x) in enumerate(((0, 0), (0, 64), (64, 0))):
            window = (slice(y, y + 64), slice(x, x + 64))
            instances = np.unique(sample.instances[window], return_inverse=True)[1].reshape(64, 64)  # 0, 1, 2, ...
            images.append(sample.image[window])
            labels.append(np.stack([instances, np.where(instances > 0, 1 + instances % 6, 0)], -1))  # classes 1 to 6
            names.append(f"{source}-{patch:04d}")
    root.mkdir(parents=True)
    np.save(root / "images.npy", np.stack(images))
    np.save(root / "labels.npy", np.stack(labels).astype(np.uint16))
    (root / "patch_info.csv").write_text("\n".join(["patch_info", *names]) + "\n", encoding="utf-8")


def _write_bbbc(root: Path) -> None:
    for number in range(3):
        field = synthetic_nuclei(40 + number, 192, style="fluorescence", count=40, radius=0.06)
        for tile, (y, x) in enumerate(((0, 0), (0, 96), (96, 0), (96, 96))):
            window = (slice(y, y + 96), slice(x, x + 96))
            key = hashlib.sha256(f"{number} {tile}".encode()).hexdigest()  # names of this set say nothing
            _save(Image.fromarray(field.image[window]).convert("RGBA"), root / key / "images" / f"{key}.png")
            instances = field.instances[window]
            for one in np.unique(instances[instances > 0]):
                mask = (instances == one) * np.uint8(255)
                _save(mask, root / key / "masks" / f"{hashlib.sha256(mask.tobytes()).hexdigest()}.png")


FIRST = {
    "isic2016": ("*_Training_Data/*.jpg", "*_Training_GroundTruth/*.png"),
    "isic2018": ("*_Training_Input/*.jpg", "*_Training_GroundTruth/*.png"),
    "ph2": ("**/*_Dermoscopic_Image/*.bmp", "**/*_lesion/*.bmp", "**/*_roi/*.bmp"),
    "conic": ("images.npy", "labels.npy", "patch_info.csv"),
    "bbbc038": ("*/images/*.png", "*/masks/*.png"),
}


def first_files(name: str, root: Path) -> list[str]:
    """The first file of each kind in a data set: names under its root, with forward slashes; 64 digits cut to 6."""
    files = [min(path.relative_to(root).as_posix() for path in root.glob(pattern)) for pattern in FIRST[name]]
    return [re.sub(r"([0-9a-f]{6})[0-9a-f]{58}", r"\1…", file) for file in files]


def first_mask(name: str, root: Path) -> np.ndarray:
    """The first file of masks as a learner would read it: Pillow or NumPy, no library of ours.

    Returns:
        [H, W]: the values as stored. Of CoNIC the first patch's channel of instances; of BBBC038 the first mask file of
        the first image.
    """
    if name == "conic":
        return np.load(root / "labels.npy")[0, :, :, 0]
    pattern = {"ph2": "**/*_lesion.bmp", "bbbc038": "*/masks/*.png"}.get(name, "**/*_?egmentation.png")
    return np.asarray(Image.open(sorted(root.glob(pattern))[0]))


def layouts_figure(datasets: Mapping[str, Dataset]) -> Figure:
    """The first image of each data set with its true outlines.

    Args:
        datasets: name -> opened data set.
    """
    cells = {}
    for name, dataset in datasets.items():
        sample = dataset[0]
        labels = sample.mask if sample.instances is None else sample.instances
        cells[name] = Picture(
            sample.image, f"{name}: drawn image with its true outlines.", outlines=true_outline(labels)
        )
    return panels(
        cells,
        title="Five layouts, one kind of answer",
        message="Each data set stores its masks in its own way; once opened, all give an image and a mask.",
        alt="Five drawn images with dashed true outlines, three lesions and two of nuclei: whatever the files look "
        "like, an opened data set gives an image and a mask of the same size.",
        legend=(("truth", "true outline"),),
        columns=3,
        name="layouts",
    )


# --- a leak -----------------------------------------------------------------------------------------------------------


def slide_patches(slides: int = 20, side: int = 128, patch: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Patches of drawn slides: each slide has a stain of its own.

    Returns:
        colours float [n, 3], the mean colour of each patch, 0..255; groups int [n], the slide it is from.
    """
    colours, groups = [], []
    for number in range(slides):
        image = synthetic_nuclei(number, side, style="histology").image.astype(float)
        for y in range(0, side, patch):
            for x in range(0, side, patch):
                colours.append(image[y : y + patch, x : x + patch].mean((0, 1)))
                groups.append(number)
    return np.array(colours), np.array(groups)


def nearest(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The row of `known` [n, d] nearest to each row of `asked` [m, d]: int [m]. It learns nothing; it remembers."""
    return ((asked[:, None] - known[None]) ** 2).sum(2).argmin(1)


# --- own images -------------------------------------------------------------------------------------------------------


def look_at(
    image: np.ndarray, probability: np.ndarray, name: str, message: str, truth: np.ndarray | None = None
) -> Figure:
    """An image with the outline of the predicted mask, beside the probability.

    Args:
        image: uint8 [H, W, 3]. probability: float [H, W]. name, message: what is seen. truth: [H, W] or None.
    """
    mask = probability > 0.5
    lines = (Outline("predicted mask", outlines_of(mask), "prediction"),)
    lines += true_outline(truth)
    sure = float((probability[mask] > 0.9).mean()) if mask.any() else 0.0
    told = f"The mask covers {mask.mean():.0%} of the image; {sure:.0%} of its pixels have a probability over 0.9."
    return panels(
        {
            "image and predicted mask": Picture(image, told, outlines=lines),
            "probability": Picture(probability, told, PROBABILITY),
        },
        title=name,
        message=message,
        alt=f"{name}: outline of the predicted mask, and the map of probabilities. {message} {told}",
        scale=PROBABILITY,
        columns=2,
        summary=told,
        legend=(
            ("prediction", "outline of the predicted mask"),
            *((("truth", "true outline"),) if len(lines) > 1 else ()),
        ),
        name="look-at",
    )


# What is seen in the pictures of section 3. It stands here and not in a cell, because the cells ask first.
SEEN = {
    "drawn nuclei": "Most outlines follow the true ones.",
    "tissue": "It marks what looks like nuclei, and less surely much of the brown gland.",
    "a whole cell": "A whole cell, not a nucleus: parts of it are marked.",
    "retina": "No nucleus to be seen, yet large parts are marked, many with high probability.",
}
GALLERY_TOLD = (
    "The guided nuclei network on three images. Drawn nuclei: most outlines follow the true ones. Tissue: it marks"
    " nuclei and more, hesitantly. Retina: it marks large parts with high probability, although no nucleus can be"
    " seen in it."
)


def gallery(
    images: Mapping[str, tuple[np.ndarray, np.ndarray | None]], probability: Mapping[str, np.ndarray]
) -> dict[str, Callable[[], Figure]]:
    """A function for each image that draws it with the predicted mask, as a `Dial` takes them.

    Args:
        images: label -> (image uint8 [H, W, 3], truth [H, W] or None); the labels of SEEN.
        probability: label -> float [H, W].
    """
    return {
        label: lambda label=label: look_at(images[label][0], probability[label], label, SEEN[label], images[label][1])
        for label in images
    }


DRAWN = 33  # mean diameter of a nucleus in `scale_curve` as drawn, in pixels


def scale_curve(network: SGDCNet, diameters: Sequence[int], images: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Mean IoU on drawn nuclei when the same pictures are made smaller or larger.

    Args:
        network: in eval mode, without a longest side of its own.
        diameters: of a nucleus, in pixels.

    Returns:
        IoU of the network, and IoU of the true mask moved by one pixel to the right: float [n] each.
    """
    drawn = [synthetic_nuclei(k, 128, style="fluorescence", count=5, radius=0.12, crowding=0) for k in range(images)]
    network_iou, moved_iou = [], []
    for diameter in diameters:
        samples = [to_scale(sample, round(128 * diameter / DRAWN)) for sample in drawn]
        true = [sample.mask > 0 for sample in samples]
        network_iou.append(
            np.mean([iou(predict_mask(network, s.image), t) for s, t in zip(samples, true, strict=True)])
        )
        moved_iou.append(np.mean([iou(np.roll(t, 1, axis=1), t) for t in true]))
    return np.array(network_iou), np.array(moved_iou)


def scale_figure(diameters: Sequence[int], network: np.ndarray, moved: np.ndarray) -> Figure:
    """IoU over the size of nuclei, for the network and for a mask that is one pixel off."""
    place = np.arange(len(diameters))
    low, best, high = network[0], network.max(), network[-1]
    told = (f"Guided network: {low:.2f} at {diameters[0]} px, {best:.2f} at best, {high:.2f} at {diameters[-1]} px. "
            f"One pixel off: {moved[0]:.2f} at {diameters[0]} px, {moved[-1]:.2f} at {diameters[-1]} px.")  # fmt: skip
    return curves(
        {"drawn nuclei, bright on dark": {"guided network": (place, network), "true mask, 1 px off": (place, moved)}},
        x_label="diameter of a nucleus (pixels)",
        y_label="mean IoU",
        y_range=(0, 1),
        ticks=tuple((float(i), str(d)) for i, d in enumerate(diameters)),
        title="The same nuclei at other sizes",
        message="Of a small object one pixel is much; on large ones the network itself gets worse.",
        alt="IoU of the guided network over the diameter of a nucleus: low for the smallest, high in the middle, "
        f"lower again for the largest, while a mask that is one pixel off only gets better with size. {told}",
        summary=told,
        name="scale",
    )  # fmt: skip


# --- failures ---------------------------------------------------------------------------------------------------------


def sorted_scores_figure(scores: Mapping[str, Sequence[float]]) -> Figure:
    """IoU of every test image, worst first, with the mean of each set as a line.

    Args:
        scores: name of a set of test images -> IoU of each image.
    """
    plots, told = {}, []
    for name, values in scores.items():
        ordered = np.sort(np.asarray(values, float))
        share = (np.arange(len(ordered)) + 1) / len(ordered) * 100
        plots[f"{name}: {len(ordered)} images"] = {
            "one test image": (share, ordered),
            "mean": (share, np.full(len(ordered), ordered.mean())),
        }
        told.append(f"{name}: mean {ordered.mean():.2f}, median {np.median(ordered):.2f}, "
                    f"{int((ordered < 0.1).sum())} under 0.1")  # fmt: skip
    return curves(
        plots,
        x_label="share of the images (%), worst first",
        y_label="IoU",
        y_range=(0, 1),
        title="Every test image, worst first",
        message="A few images score far below the rest and pull the mean below what most images get.",
        alt=f"IoU of single test images of the guided networks, sorted: most lie above the mean, a few far below. "
        f"{'; '.join(told)}.",
        summary="; ".join(told) + ".",
        name="sorted-scores",
    )


# --- scale of the network, scale of the measure -----------------------------------------------------------------------


def through_the_grid(mask: np.ndarray, longest_side: int) -> np.ndarray:
    """A true mask made smaller and large again, nearest neighbour: what a network that is right at every pixel of its
    own grid would give at the photograph's size. bool [H, W] -> bool [H, W]."""
    height, width = mask.shape
    sample = to_scale(Sample(np.zeros((height, width, 3), np.uint8), mask.astype(np.uint8), None, "", ""), longest_side)
    return np.asarray(Image.fromarray(sample.mask).resize((width, height), Image.Resampling.NEAREST)) > 0


def ceiling_figure(sample: Sample, masks: Mapping[str, np.ndarray], window: tuple[int, int, int, int]) -> Figure:
    """A photograph's detail with its true outline and that of masks which went through a coarser grid.

    Args:
        masks: name -> bool [H, W]. window: (y0, x0, y1, x1).
    """
    true = true_outline(sample.mask)
    cells = {}
    for name, mask in masks.items():
        line = Outline(name, outlines_of(mask), "prediction")
        cells[name] = Picture(sample.image, f"{name}: stairs along the true outline.", outlines=(line, *true),
                              window=window)  # fmt: skip
    return panels(
        cells,
        title="Right at every pixel of its own grid",
        message="On a coarse grid a faultless mask still runs in stairs along the border of the photograph.",
        alt="Detail of a drawn lesion's border, three times: the mask that is faultless on a grid of 160 pixels runs "
        "in stairs several pixels off the dashed true outline; on finer grids the stairs get smaller and hug it.",
        legend=(("prediction", "faultless mask, enlarged"), ("truth", "true outline")),
        columns=len(cells),
        name="ceiling",
    )


# --- the evidence -----------------------------------------------------------------------------------------------------


def difference_text(value: float, metric: str) -> str:
    """A difference as the tables write it: HD95 to 0.01 px, shares to 0.001; what rounds to 0 has no sign."""
    return fixed(value, 2 if metric == "hd95" else 3).replace(MINUS, "-")


def evidence(results: Mapping[str, dict], families: Sequence[str], metric: str) -> list[Effect]:
    """Guided minus pooled, and what the trained guided network loses without its guidance, with 95 % intervals.

    Args:
        results: as in results.json. families: such as ("nuclei",). metric: such as "iou".

    Returns:
        three rows a family; the last two are controls.
    """
    rows = []
    for family in families:
        guided, pooled = (results[f"{family}-{source}"] for source in ("structure", "pooled"))
        gap = paired_difference(guided["images"], pooled["images"], metric)
        rows.append(Effect(f"{family}: guided − pooled", gap["mean"], gap["low"], gap["high"]))
        for name, word in (("guidance zeroed", "zeroed"), ("guidance shuffled", "shuffled")):
            gap = guided["controls"][name]["difference"][metric]
            rows.append(Effect(f"{family}: {word} − as trained", gap["mean"], gap["low"], gap["high"], control=True))
    return rows


class Differences(Effects):
    """Effects whose values are written as in the tables."""

    def written(self, entry: Effect) -> str:
        return fixed(entry.value, 3)


def kind_of_image(summary: Mapping, name: str = "nuclei") -> dict[str, str]:
    """Name of a test image as evidence.json writes it (the first 12 characters, of BBBC038) -> its kind."""
    kinds = summary["experiments"][name]["images_by_kind"]
    return {image: kind for kind, told in kinds.items() for image in told["names"]}


def kind_rows(results: Mapping[str, dict], summary: Mapping) -> tuple[list[str], list[list[str]]]:
    """Mean IoU on each kind of nuclei image, of the shipped networks and of those of several seeds: head and rows.

    Args:
        results: as in results.json. summary: from `sgdc_viz.evidence.load_summary()`.
    """
    shipped = {arm: {short_name(image["name"]): image["iou"] for image in results[f"nuclei-{source}"]["images"]}
               for arm, source in (("guided", "structure"), ("pooled", "pooled"))}  # fmt: skip
    rows, seeds = [], summary["experiments"]["nuclei"]["arms"]
    for kind, told in summary["experiments"]["nuclei"]["images_by_kind"].items():
        means = [float(np.mean([iou_of[name] for name in told["names"]])) for iou_of in shipped.values()]
        means += [told["iou"].get(arm, float("nan")) for arm in SHORT]
        rows.append([kind, str(len(told["names"])), *(f"{mean:.2f}" for mean in means)])
    several = [f"IoU: {word}, {seeds[arm]['seeds'] if arm in seeds else 0} seeds" for arm, word in SHORT.items()]
    return ["kind", "images", *(f"IoU: shipped {arm}" for arm in shipped), *several], rows


REAL = ("nuclei", "dermoscopy")  # experiments on real images


def claims(summary: Mapping, names: Sequence[str] = REAL) -> str:
    """The claim, guided against pooled, and beside it its control, for each kind of real images, in Markdown."""
    parts = []
    for name in names:
        told = summary["experiments"].get(name)
        if told is None:
            continue
        size = f", {told['longest_side']} pixels at the longest side" if told["longest_side"] else ""
        parts.append(
            f"**{TITLES[name].capitalize()}**: {told['train_images']} training and {told['images']} test images{size}\n"
            f"\n- *The claim.* {sentence(summary, name)}"
            f"\n- *Its control.* {sentence(summary, name, 'guided - per pixel')}"
            f"\n- *Without guidance.* {sentence(summary, name, 'per pixel - pooled')}"
        )
    return "\n\n".join(parts)


def kinds_told(summary: Mapping, names: Sequence[str] = REAL) -> str:
    """The declared comparisons for each kind of image, in Markdown, or that a set of images has one kind only."""
    parts = []
    for name in names:
        if name not in summary["experiments"]:
            continue
        if summary["experiments"][name]["kinds"]:
            told = "\n\n" + kind_table(summary, name)
        else:
            told = ": the files name one kind only, so there is nothing to compare."
        parts.append(f"**{TITLES[name].capitalize()}**{told}")
    return "\n\n".join(parts)


def evidence_figure(results: Mapping[str, dict], families: Sequence[str] = ("nuclei", "dermoscopy")) -> Figure:
    """The pairs and the controls on common axes, for IoU and surface Dice at 1 px."""
    charts, told = [], []
    for metric in ("iou", "nsd1"):
        rows = evidence(results, families, metric)
        told.append(
            f"{NAMES[metric]}: " + ", ".join(f"{row.label} {difference_text(row.value, metric)}" for row in rows)
        )
        charts.append(Differences(NAMES[metric], tuple(rows), "difference, mean and 95 % interval",
                              f"Differences in {NAMES[metric]} with intervals.", "no difference"))  # fmt: skip
    return Figure(
        name="evidence",
        title="The switch, and the controls",
        message="Filled: guided against pooled, near zero. Hollow: the trained guided network loses more when its "
        "guidance is taken away.",
        summary="One training run each; intervals over images.",
        alt="Differences with 95 % intervals on real test images: guided minus pooled lies near zero, while zeroing or "
        f"shuffling the guidance of the trained network lowers both measures. {'; '.join(told)}.",
        rows=(), columns=(), cells=(), strip=tuple(charts),
    )  # fmt: skip
