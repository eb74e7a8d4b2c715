"""Windows, scaling, tensors, and the laws of augmentation: image, mask and ids stay one thing."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdc_viz.data import Sample
from sgdc_viz.data.synthetic import synthetic_dermoscopy, synthetic_nuclei
from sgdc_viz.data.transforms import Augmentation, random_window, to_scale, to_tensor


def numbered(height, width, instances=True):
    """A sample in which every pixel knows its place: image, mask and ids can be checked against each other."""
    place = np.arange(1, height * width + 1, dtype=np.int32).reshape(height, width)
    image = np.stack([place & 255, place >> 8 & 255, place >> 16], axis=2).astype(np.uint8)
    return Sample(image, (place % 5).astype(np.uint8), place if instances else None, "n", "g")


def place_of(image):
    return image.astype(np.int32) @ np.array([1, 256, 65536], np.int32)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 50), st.integers(0, 99))
def test_random_window_cuts_all_maps_alike(height, width, size, seed):
    sample = numbered(height, width)
    window = random_window(sample, size, np.random.default_rng(seed))
    assert window.image.shape == (size, size, 3) and window.mask.shape == window.instances.shape == (size, size)
    np.testing.assert_array_equal(place_of(window.image), window.instances)
    np.testing.assert_array_equal(window.instances % 5, window.mask)
    if size <= min(height, width):  # a plain cut: neighbours stay neighbours
        assert (np.diff(window.instances, axis=1) == 1).all() and (np.diff(window.instances, axis=0) == width).all()
    again = random_window(sample, size, np.random.default_rng(seed))
    np.testing.assert_array_equal(again.image, window.image)


def test_random_window_reaches_every_corner():
    sample, rng = numbered(6, 7, instances=False), np.random.default_rng(0)
    corners = {int(place_of(random_window(sample, 5, rng).image)[0, 0]) for _ in range(200)}
    assert corners == {1, 2, 3, 8, 9, 10}
    assert random_window(sample, 5, rng).instances is None
    with pytest.raises(ValueError, match="size=0"):
        random_window(sample, 0, rng)


def test_to_scale():
    sample = synthetic_nuclei(1, (60, 90))
    small = to_scale(sample, 45)
    assert small.image.shape == (30, 45, 3) and small.mask.shape == small.instances.shape == (30, 45)
    assert small.instances.dtype == np.int32 and small.mask.dtype == np.uint8
    assert set(np.unique(small.instances)) <= set(np.unique(sample.instances))
    np.testing.assert_array_equal(small.mask, small.instances > 0)
    np.testing.assert_array_equal(to_scale(sample.image, 45), small.image)
    assert to_scale(sample, None) is sample and to_scale(sample, 90) is sample
    assert to_scale(sample.image, 180).shape == (120, 180, 3)
    assert to_scale(np.zeros((1, 300, 3), np.uint8), 20).shape == (1, 20, 3)
    flat = np.full((50, 70, 3), 93, np.uint8)
    assert (to_scale(flat, 33) == 93).all()
    with pytest.raises(ValueError, match="longest_side=0"):
        to_scale(flat, 0)


def test_to_tensor():
    images, masks, instances = to_tensor([numbered(4, 6), numbered(4, 6)])
    assert images.shape == (2, 3, 4, 6) and images.dtype == torch.float32 and images.is_contiguous()
    assert masks.dtype == instances.dtype == torch.int64 and masks.shape == instances.shape == (2, 4, 6)
    np.testing.assert_array_equal(images[1].permute(1, 2, 0).numpy() * 255, numbered(4, 6).image)
    white = Sample(np.full((2, 2, 3), 255, np.uint8), np.ones((2, 2), np.uint8), None, "w", "w")
    images, masks, instances = to_tensor([white])
    assert images.min() == 1 and instances is None
    with pytest.raises(ValueError, match=r"one or more samples of one size, got sizes \[\(2, 2\), \(4, 6\)\]"):
        to_tensor([white, numbered(4, 6)])
    with pytest.raises(ValueError, match=r"got sizes \[\]"):
        to_tensor([])


# ---------------------------------------------------------------------------------------------- augmentation


@pytest.fixture(scope="module")
def batch():
    return to_tensor([synthetic_nuclei(i, 64, crowding=0.8) for i in range(4)])


@pytest.fixture(scope="module")
def augment():
    return Augmentation(64, "nuclei")


@pytest.mark.parametrize("seed", range(12))
def test_ids_survive_and_agree_with_the_mask(augment, batch, seed):
    torch.manual_seed(seed)
    images, masks, instances = augment(*batch)
    assert images.shape == batch[0].shape and images.dtype == torch.float32
    assert images.min() >= 0 and images.max() <= 1 and torch.isfinite(images).all()
    assert masks.dtype == instances.dtype == torch.int64
    assert torch.equal(masks > 0, instances > 0)
    for before, after in zip(batch[2], instances, strict=True):
        assert set(after.unique().tolist()) <= set(before.unique().tolist())  # no new ids: nothing was blended


def test_large_ids_stay_exact(augment):
    ids = torch.randint(2**24 - 5000, 2**24, (2, 64, 64))
    _, _, after = augment(torch.rand(2, 3, 64, 64), torch.ones(2, 64, 64, dtype=torch.long), ids)
    for a, b in zip(ids, after, strict=True):
        assert torch.isin(b, a).all()


def test_determined_by_torch_seed_alone(augment, batch):
    def run(seed):
        torch.manual_seed(seed)
        np.random.seed(seed * 7)  # noqa: NPY002 - proves that numpy's global state plays no part
        return augment(*batch)

    first, second, third = run(1), run(1), run(2)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], third[0]) and not torch.equal(first[1], third[1])
    fresh = Augmentation(64, "nuclei")
    torch.manual_seed(1)
    assert torch.equal(fresh(*batch)[0], first[0])  # no state is kept from call to call
    before = [t.clone() for t in batch]
    augment(*batch)
    assert all(torch.equal(a, b) for a, b in zip(before, batch, strict=True))  # inputs are left alone


def test_image_and_mask_move_together(augment):
    """Feed the mask as the picture: after the geometry both must still be one shape in one place."""
    masks = torch.stack([torch.from_numpy(synthetic_dermoscopy(i, 64, lobes=3).mask).long() for i in range(8)])
    grid = torch.arange(64.0)
    for seed in range(6):
        torch.manual_seed(seed)
        picture, moved = augment.geometry(masks[:, None].float().repeat(1, 3, 1, 1), masks[:, None].float())
        picture, moved = picture[:, 0] > 0.5, moved[:, 0] > 0.5
        assert (picture != moved).float().mean() < 0.01
        for a, b in zip(picture.float(), moved.float(), strict=True):
            centres = [torch.stack([(m.sum(1) * grid).sum(), (m.sum(0) * grid).sum()]) / m.sum() for m in (a, b)]
            assert (centres[0] - centres[1]).abs().max() < 0.4


def test_all_eight_orientations_occur(augment):
    brick = torch.zeros(64, 64)
    brick[:32, :16] = 1  # looks different in all eight
    torch.manual_seed(0)
    moved = torch.cat([augment.geometry(brick.expand(64, 3, 64, 64), brick.expand(64, 1, 64, 64))[1] for _ in range(2)])
    for turned in (torch.rot90(b, k) for b in (brick, brick.flip(0)) for k in range(4)):
        exact = (moved[:, 0] == turned).all(dim=(1, 2)).sum()
        assert exact >= 2  # about 128 / 8 / 2 are expected: half of the pictures get the affine change as well


def test_masks_without_instances_and_classes(augment, batch):
    torch.manual_seed(4)
    images, masks, instances = augment(batch[0], batch[1] * 6)
    assert instances is None and set(masks.unique().tolist()) == {0, 6}
    torch.manual_seed(4)
    assert torch.equal(augment(*batch)[1] * 6, masks)  # the ids' presence does not change the draw


def test_dim_fluorescence_stays_visible():
    """Adding brightness would turn a picture with a mean of 5 in 255 black; the looks must not erase the nuclei."""
    dim = to_tensor([synthetic_nuclei(i, 64, style="fluorescence", noise=0) for i in range(8)])
    dark = dim[0] * 0.1
    augment = Augmentation(64, "dermoscopy")  # without inversion
    for seed in range(6):
        torch.manual_seed(seed)
        images, masks, _ = augment(dark, dim[1])
        for image, mask in zip(images.mean(1), masks, strict=True):
            if 0.02 < mask.float().mean() < 0.9:
                assert image[mask > 0].mean() > image[mask == 0].mean() + 0.002


def test_only_nuclei_are_inverted():
    dark = torch.zeros(64, 3, 16, 16)
    masks = torch.zeros(64, 16, 16, dtype=torch.long)
    torch.manual_seed(0)
    bright = {
        kind: (Augmentation(16, kind)(dark, masks)[0].mean((1, 2, 3)) > 0.5).float().mean().item()
        for kind in ("nuclei", "dermoscopy", "unknown")
    }
    assert bright["dermoscopy"] == bright["unknown"] == 0 and 0.03 < bright["nuclei"] < 0.35


def test_bad_arguments():
    with pytest.raises(ValueError, match="kind='cats' is not one of"):
        Augmentation(64, "cats")
    with pytest.raises(ValueError, match="size=0"):
        Augmentation(0)


def test_kornia_and_torch_are_imported_late():
    code = (
        "import sys, sgdc_viz.data; assert 'torch' not in sys.modules and 'kornia' not in sys.modules; "
        "import sgdc_viz.data.transforms; assert 'kornia' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
