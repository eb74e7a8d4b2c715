"""The generators' laws: exact truth, one dial changes one thing, the same seed gives the same bytes."""

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import perimeter, regionprops
from skimage.morphology import skeletonize

from sgdc_viz.data import open_dataset
from sgdc_viz.data.synthetic import synthetic_dermoscopy, synthetic_nuclei, synthetic_shapes

# No texture, noise or blur: what is left is the shape, in two flat colours.
PLAIN = dict(texture=0, noise=0, blur=0, illumination=0, contrast=1)
LESION = dict(PLAIN, hair=0)
NUCLEI = dict(PLAIN, defocus=0)
MAKERS = [synthetic_dermoscopy, synthetic_nuclei, synthetic_shapes]


def digest(sample):
    parts = [sample.image, sample.mask] + ([] if sample.instances is None else [sample.instances])
    return hashlib.sha256(b"".join(p.tobytes() for p in parts)).hexdigest()


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 2**40), st.sampled_from(MAKERS), st.sampled_from([32, (40, 57), (64, 33)]))
def test_types_shapes_and_determinism(seed, make, size):
    sample = make(seed, size)
    height, width = (size, size) if isinstance(size, int) else size
    assert sample.image.shape == (height, width, 3) and sample.image.dtype == np.uint8
    assert sample.mask.shape == (height, width) and sample.mask.dtype == np.uint8 and sample.mask.max() <= 1
    if make is synthetic_nuclei:
        assert sample.instances.dtype == np.int32
        np.testing.assert_array_equal(sample.mask, sample.instances > 0)
    else:
        assert sample.instances is None
    assert digest(sample) == digest(make(seed, size))
    assert digest(sample) != digest(make(seed + 1, size))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("softness", [0, 2])
def test_the_lesion_mask_is_the_shape_that_was_drawn(seed, softness):
    sample = synthetic_dermoscopy(seed, 128, softness=softness, **LESION)
    values = sample.image.astype(int).sum(2)
    middle = (values.max() + values.min()) / 2
    wrong = (values < middle) != sample.mask.astype(bool)
    assert 0.02 < sample.mask.mean() < 0.6
    # With a soft edge the threshold is half way, and rounding to 8 bits may flip a pixel right on the contour.
    assert wrong.sum() <= (0 if softness == 0 else 3)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("style", ["fluorescence", "histology"])
def test_the_nuclei_mask_is_the_shape_that_was_drawn(seed, style):
    sample = synthetic_nuclei(seed, 128, style=style, softness=0, **NUCLEI)
    ground = np.unique(sample.image[sample.mask == 0], axis=0)
    assert len(ground) == 1  # one flat background colour, which no nucleus has
    inside = (sample.image != ground[0]).any(2)
    np.testing.assert_array_equal(inside, sample.mask > 0)
    assert sample.instances.max() >= 3


def test_nuclei_numbers_are_dense_compact_objects():
    for seed in range(8):
        sample = synthetic_nuclei(seed, 160, crowding=0.8, count=40)
        regions = regionprops(sample.instances)
        numbers = [region.label for region in regions]
        assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) >= 10
        assert np.mean([region.solidity for region in regions if region.area > 30]) > 0.85
        for number in numbers:
            parts, count = ndimage.label(sample.instances == number)
            assert count == 1 or np.bincount(parts.ravel())[1:].max() > 0.9 * (parts > 0).sum()


def roundness(mask):
    """4 pi area / perimeter^2: 1 for a disc, less the more the contour winds."""
    return 4 * np.pi * mask.sum() / perimeter(mask, 8) ** 2


@pytest.mark.parametrize("seed", range(5))
def test_lobes_set_the_frequency_of_the_contour(seed):
    options = dict(LESION, radius=0.3, softness=0, lobe_depth=0.12)
    masks = {n: synthetic_dermoscopy(seed, 256, lobes=n, **options).mask for n in (0, 5, 12, 30)}
    winding = [roundness(masks[n]) for n in (0, 12, 30)]
    assert winding[0] > winding[1] > winding[2]  # more lobes: a longer contour around a similar area
    assert max(m.sum() for m in masks.values()) < 1.25 * min(m.sum() for m in masks.values())
    deeper = synthetic_dermoscopy(seed, 256, lobes=12, **{**options, "lobe_depth": 0.2}).mask
    assert roundness(deeper) < winding[1]


@pytest.mark.parametrize("seed", range(4))
def test_no_lobes_is_an_ellipse(seed):
    for dials in (dict(lobes=0), dict(lobes=9, lobe_depth=0)):
        mask = synthetic_dermoscopy(seed, 256, **dials).mask
        region = regionprops(mask)[0]
        y, x = np.mgrid[:256, :256] - np.array(region.centroid)[:, None, None]
        along = y * np.cos(region.orientation) + x * np.sin(region.orientation)
        across = -y * np.sin(region.orientation) + x * np.cos(region.orientation)
        ellipse = (along / region.axis_major_length) ** 2 + (across / region.axis_minor_length) ** 2 <= 0.25
        if not (mask[[0, -1]].any() or mask[:, [0, -1]].any()):  # not cut by the border
            assert (ellipse != mask).sum() < 0.02 * mask.sum()


@pytest.mark.parametrize(
    "make, dial",
    [(synthetic_dermoscopy, d) for d in ("contrast", "softness", "texture", "hair", "illumination", "noise", "blur")]
    + [(synthetic_nuclei, d) for d in ("contrast", "softness", "texture", "defocus", "illumination", "noise", "blur")]
    + [(synthetic_shapes, d) for d in ("contrast", "noise")],
)
def test_dials_of_looks_change_looks_and_never_the_truth(make, dial):
    low, high = (
        make(3, 96, **{dial: value}) for value in {"contrast": (0.3, 0.9), "noise": (0, 0.1)}.get(dial, (0, 0.8))
    )
    np.testing.assert_array_equal(low.mask, high.mask)
    assert make is not synthetic_nuclei or (low.instances == high.instances).all()
    assert (low.image != high.image).mean() > 0.01


def test_each_dial_does_what_it_says():
    def pictures(dial, values, make=synthetic_dermoscopy, **options):
        return [make(5, 128, **{**options, dial: value}) for value in values]

    def gap(sample):  # difference between object and ground
        grey = sample.image.mean(2)
        return abs(grey[sample.mask > 0].mean() - grey[sample.mask == 0].mean())

    for make, plain in ((synthetic_dermoscopy, LESION), (synthetic_nuclei, NUCLEI)):
        gaps = [gap(s) for s in pictures("contrast", (0.1, 0.5, 1), make, **{**plain, "contrast": 0.5})]
        assert gaps[0] < gaps[1] < gaps[2]
        roughness = [
            ndimage.laplace(s.image[:, :, 0].astype(float)).std() for s in pictures("noise", (0, 0.02, 0.1), make)
        ]
        assert roughness[0] < roughness[1] < roughness[2]
        sharpness = [
            ndimage.sobel(s.image[:, :, 0].astype(float)).std() for s in pictures("blur", (0, 1.5, 4), make, noise=0)
        ]
        assert sharpness[0] > sharpness[1] > sharpness[2]
    bald, hairy, furry = pictures("hair", (0, 0.3, 1), noise=0, blur=0)
    changed = [(s.image != bald.image).any(2) for s in (hairy, furry)]
    assert 0 < changed[0].mean() < changed[1].mean() < 0.5  # hairs only: the rest of the picture is untouched
    assert furry.image[changed[1]].mean() < bald.image[changed[1]].mean()


def test_crowding_makes_nuclei_touch():
    def touching(crowding):
        pairs = 0
        for seed in range(6):
            ids = synthetic_nuclei(seed, 192, count=25, crowding=crowding, radius=0.04).instances
            for a, b in ((ids[1:], ids[:-1]), (ids[:, 1:], ids[:, :-1])):
                meet = (a != b) & (a > 0) & (b > 0)
                pairs += len({tuple(sorted(p)) for p in zip(a[meet].tolist(), b[meet].tolist(), strict=True)})
        return pairs

    assert touching(0) == 0
    assert touching(0) < touching(0.4) < touching(1)


def test_styles():
    for seed in range(5):
        dark = synthetic_nuclei(seed, 96, style="fluorescence", contrast=1)
        assert np.ptp(dark.image, axis=2).max() == 0  # grey
        assert dark.image[dark.mask > 0].mean() > dark.image[dark.mask == 0].mean() + 20
        pink = synthetic_nuclei(seed, 96, style="histology", contrast=1)
        assert pink.image[pink.mask > 0].mean() < pink.image[pink.mask == 0].mean() - 20
        np.testing.assert_array_equal(dark.instances, pink.instances)
    drawn = {np.ptp(synthetic_nuclei(seed, 32).image, axis=2).max() == 0 for seed in range(12)}
    assert drawn == {True, False}


def test_size_scales_the_picture():
    small, large = (synthetic_dermoscopy(2, size, softness=0).mask for size in (64, 256))
    assert abs(small.mean() - large.mean()) < 0.01
    np.testing.assert_allclose(ndimage.center_of_mass(large), np.array(ndimage.center_of_mass(small)) * 4, atol=2.5)


# --- shapes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_the_shapes_mask_is_the_shape_that_was_drawn(seed):
    """What contrast adds to the picture changes its sign on the outline. No other dial of looks is in the way."""
    clear, hidden = (synthetic_shapes(seed, (96, 128), contrast=c, noise=0) for c in (1, 0))
    added = clear.image[:, :, 0].astype(int) - hidden.image[:, :, 0]
    added = added if added[clear.mask > 0].mean() > 0 else -added
    assert (clear.mask[added > 0] == 1).all() and (clear.mask[added < 0] == 0).all()
    assert (added == 0).sum() <= 12  # rounding to 8 bits, right on the outline
    assert np.ptp(clear.image, axis=2).max() == 0  # grey


def test_shapes_are_bright_or_dark():
    signs = [np.sign(s.image[s.mask > 0].mean() - s.image[s.mask == 0].mean())
             for s in (synthetic_shapes(seed, 64, contrast=1) for seed in range(10))]  # fmt: skip
    assert set(signs) == {-1, 1}


@pytest.mark.parametrize("seed", range(4))
def test_without_contrast_nothing_of_a_shape_can_be_seen(seed):
    one, other = (synthetic_shapes(seed, 64, contrast=0, noise=0, lobes=n, width=w) for n, w in ((0, 1), (24, 8)))
    np.testing.assert_array_equal(one.image, other.image)
    assert (one.mask != other.mask).any() and one.mask.any()


@pytest.mark.parametrize("seed", range(4))
def test_each_dial_of_a_shape_changes_that_alone(seed):
    still = dict(noise=0, contrast=1, lobes=8, width=3)

    def draw(**dials):
        sample = synthetic_shapes(seed, 128, **{**still, **dials})
        return sample.mask.astype(bool), sample.image

    (mask, image), (body, _) = draw(), draw(branches=0)
    assert (body <= mask).all() and (mask & ~body).any()
    # Lobes: pixels change where the body changes. The ground far from outlines stays.
    (lobed, picture), (lobed_body, _) = draw(lobes=24), draw(lobes=24, branches=0)
    assert (lobed != mask).any() and ((lobed != mask) <= (lobed_body != body)).all()
    far = ~ndimage.binary_dilation(mask | lobed, iterations=2)
    np.testing.assert_array_equal(picture[far], image[far])
    # Width: branches grow, the body does not.
    widths = [draw(width=w)[0] for w in (1, 2, 4, 8)]
    for thin, thick in zip(widths[:-1], widths[1:], strict=True):
        assert (thin <= thick).all() and thin.sum() < thick.sum() and (thick & ~thin & body).sum() == 0
    np.testing.assert_array_equal(draw(width=1, branches=0)[0], draw(width=8, branches=0)[0])
    # Noise: on top of the same picture.
    noisy, grainy = draw(noise=0.05)
    grain = (grainy.astype(int) - image)[:, :, 0] / 255
    assert (noisy == mask).all() and abs(grain.mean()) < 0.002 and grain.std() == pytest.approx(0.05, rel=0.1)


@pytest.mark.parametrize("width", [2, 3, 5, 8])
def test_branches_are_as_wide_as_asked(width):
    """Twice the distance from the middle line to the nearest pixel outside, less one for the pixel's own side."""
    measured = []
    for seed in range(6):
        options = dict(branches=1, radius=0.05, lobes=0, noise=0)
        mask = synthetic_shapes(seed, 256, width=width, **options).mask.astype(bool)
        near = ndimage.binary_dilation(synthetic_shapes(seed, 256, width=0.5, **options | {"branches": 0}).mask,
                                       iterations=12)  # fmt: skip
        middle = skeletonize(mask) & ~near
        if middle.sum() > 20:
            measured.append(2 * np.median(ndimage.distance_transform_edt(mask)[middle]) - 1)
    assert len(measured) >= 4 and np.median(measured) == pytest.approx(width, abs=1)
    areas = [synthetic_shapes(1, 256, width=w, branches=1, radius=0.05, lobes=0).mask.sum() for w in (width, 2 * width)]
    body = synthetic_shapes(1, 256, branches=0, radius=0.05, lobes=0).mask.sum()
    assert (areas[1] - body) / (areas[0] - body) == pytest.approx(2, rel=0.3)


def test_ranges_of_the_experiment_are_drawn():
    drawn = [synthetic_shapes(seed, 96, noise=0, contrast=1).mask for seed in range(12)]
    assert all(0.05 < mask.mean() < 0.5 for mask in drawn)
    fixed = synthetic_shapes(7, 96, lobes=(12, 12), width=(2, 2.0))
    np.testing.assert_array_equal(fixed.image, synthetic_shapes(7, 96, lobes=12, width=2).image)


@pytest.mark.parametrize(
    "dial, value", [("width", 0.2), ("noise", 0.9), ("branches", 99), ("radius", 0), ("lobes", -1)]
)
def test_bad_dials_of_shapes(dial, value):
    with pytest.raises(ValueError, match=rf"{dial}={value} must be a number, or a \(low, high\) range, within"):
        synthetic_shapes(0, **{dial: value})
    with pytest.raises(ValueError, match=f"{dial}={value} must be"):
        open_dataset("synthetic-shapes", **{dial: value})


# --- all of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(seed=-1), "seed=-1 must be 0 or larger"),
        (dict(seed=0, size=4), "size=4 must be 8 to 8192"),
        (dict(seed=0, contrast=1.5), r"contrast=1.5 must be a number, or a \(low, high\) range, within 0..1"),
        (dict(seed=0, lobes=(9, 3)), r"lobes=\(9, 3\) must be"),
    ],
)
@pytest.mark.parametrize("make", MAKERS)
def test_bad_arguments(make, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)


def test_unknown_style():
    with pytest.raises(ValueError, match="style='electron' is not 'fluorescence', 'histology' or None"):
        synthetic_nuclei(0, style="electron")


@pytest.mark.parametrize("name", ["synthetic-dermoscopy", "synthetic-nuclei", "synthetic-shapes"])
def test_as_data_sets(name):
    parts = [open_dataset(name, split=split, count=3, size=32) for split in ("train", "val", "test")]
    samples = [sample for part in parts for sample in part]
    assert len({digest(s) for s in samples}) == len({s.name for s in samples}) == 9  # no picture in two splits
    assert parts[0].kind == name.split("-")[1].replace("shapes", "unknown")
    assert parts[0].num_classes == 1 and len(parts[0]) == 3
    assert json.loads(json.dumps(parts[1].describe()))["images"] == 3
    assert len(open_dataset(name, count=3, size=32)) == 9
    again, other = (open_dataset(name, split="train", count=3, size=32, seed=seed) for seed in (0, 1))
    assert digest(again[1]) == digest(parts[0][1]) != digest(other[1])


def test_data_set_options():
    many = open_dataset("synthetic-nuclei", split="val", count=2, size=96, nuclei=60, radius=0.03, crowding=0.3)
    few = open_dataset("synthetic-nuclei", split="val", count=2, size=96, nuclei=4, radius=0.03, crowding=0.3)
    assert many[0].instances.max() > 3 * few[0].instances.max() > 0
    assert "nuclei" in many.describe()["rule"]
    with pytest.raises(ValueError, match="synthetic-dermoscopy has no option 'hairs'; it knows .*hair"):
        open_dataset("synthetic-dermoscopy", hairs=1)
    with pytest.raises(ValueError, match="hair=7 must be"):
        open_dataset("synthetic-dermoscopy", hair=7)
    with pytest.raises(ValueError, match="count=0 must be a whole number"):
        open_dataset("synthetic-nuclei", count=0)
