"""What notebook 01 uses beside the library: kernels by hand, shared kernels, memory counted."""

import math

import pytest
import torch

from sgdc_viz.nn import DyConv, dynamic_conv2d, dynamic_conv2d_reference
from sgdc_viz.teach.lessons.operator import (
    drawn_cells,
    first_picture,
    fourth_picture,
    saved_numbers,
    second_picture,
    share_kernels,
    sharing_figure,
    similarity_kernels,
    third_picture,
)


def random_kernels(batch=2, heads=2, k=3, height=6, width=5):
    logits = torch.randn(batch, heads, k * k, height, width, generator=torch.Generator().manual_seed(0))
    return logits.double().softmax(2)


def test_drawn_cells_are_two_levels_and_noise_of_the_stated_size():
    clean, noisy = drawn_cells(96, noise=0.1)
    assert clean.shape == noisy.shape == (1, 1, 96, 96)
    assert {round(v, 4) for v in clean.unique().tolist()} == {0.3, 0.7}
    assert 0.1 < (clean > 0.5).float().mean() < 0.4  # cells and ground, both
    assert (noisy - clean).std().item() == pytest.approx(0.1, rel=0.05)
    assert torch.equal(noisy, drawn_cells(96)[1])  # the same each time


def test_similarity_kernels_are_the_formula_at_one_pixel():
    x = torch.rand(1, 2, 5, 6, dtype=torch.float64)
    kernels = similarity_kernels(x, 3, width=0.2)
    assert kernels.shape == (1, 2, 9, 5, 6)
    centre = x[0, 1, 2, 3].item()
    window = x[0, 1, 1:4, 2:5].flatten().tolist()  # row-major
    weights = [math.exp(-((v - centre) ** 2) / (2 * 0.2**2)) for v in window]
    assert kernels[0, 1, :, 2, 3].tolist() == pytest.approx([w / sum(weights) for w in weights])


def test_similarity_kernels_keep_their_mass_inside_the_image():
    x = torch.rand(1, 1, 4, 4, dtype=torch.float64)
    kernels = similarity_kernels(x, 7, width=0.1)
    assert torch.isfinite(kernels).all()
    torch.testing.assert_close(dynamic_conv2d(torch.ones_like(x), kernels), torch.ones_like(x))


@pytest.mark.parametrize(("k", "width", "told"), [(4, 0.1, "kernel_size=4"), (3, 0.0, "width=0")])
def test_similarity_kernels_refuse(k, width, told):
    with pytest.raises(ValueError, match=told):
        similarity_kernels(torch.rand(1, 1, 5, 5), k, width)


def test_shared_kernels_are_the_mean_of_their_block():
    kernels = random_kernels()
    shared = share_kernels(kernels, 4)  # blocks of 4 x 4, 4 x 1, 2 x 4 and 2 x 1 pixels
    for rows in (slice(0, 4), slice(4, 6)):
        for columns in (slice(0, 4), slice(4, 5)):
            part = kernels[..., rows, columns].mean((-2, -1), keepdim=True)
            torch.testing.assert_close(shared[..., rows, columns], part.expand_as(shared[..., rows, columns]))
    torch.testing.assert_close(shared.sum(2), torch.ones_like(shared[:, :, 0]))


def test_one_block_for_all_and_one_for_each_pixel():
    kernels = random_kernels()
    torch.testing.assert_close(share_kernels(kernels, 1), kernels)
    for block in (6, 100):
        torch.testing.assert_close(
            share_kernels(kernels, block), kernels.mean((-2, -1), keepdim=True).expand_as(kernels)
        )
    with pytest.raises(ValueError, match="block=0"):
        share_kernels(kernels, 0)


@pytest.mark.parametrize(("block", "boxes"), [(96, 2), (8, 2), (1, 1)])
def test_sharing_figure_shows_what_it_says(block, boxes):
    clean, noisy = drawn_cells()
    kernels = similarity_kernels(noisy, 7, 0.2)
    figure = sharing_figure(clean, noisy, kernels, block, (20, 64))
    ((place, filtered, error, kernel),) = figure.cells
    shared = share_kernels(kernels, block)
    assert (place.pixels == clean[0, 0].numpy()).all()
    expected = dynamic_conv2d_reference(noisy, shared)[0, 0]
    torch.testing.assert_close(torch.from_numpy(filtered.pixels), expected)
    torch.testing.assert_close(torch.from_numpy(error.pixels), (expected - clean[0, 0]).abs())
    assert kernel.pixels == pytest.approx(shared[0, 0, :, 20, 64].view(7, 7).numpy())
    assert len(place.boxes) == boxes and len(figure.alt) > 60
    assert figure.to_html() and figure.to_png()[:4] == b"\x89PNG"


def test_error_falls_when_fewer_pixels_share_a_kernel():
    """What the notebook says of its Dial."""
    clean, noisy = drawn_cells()
    kernels = similarity_kernels(noisy, 7, 0.2)
    errors = [(dynamic_conv2d(noisy, share_kernels(kernels, b)) - clean).square().mean() for b in (96, 16, 8, 4, 2, 1)]
    assert all(a > b for a, b in zip(errors, errors[1:], strict=False))


def test_pictures_show_what_they_are_given():
    """The four whose messages answer a question: what they say is true of what the notebook gives them."""
    letter = torch.zeros(7, 7)
    letter[1:6, 1] = 1
    kernel = torch.zeros(3, 3)
    kernel[1, 2] = 1
    moved = torch.nn.functional.conv2d(letter[None, None], kernel[None, None], padding=1)[0, 0]
    assert torch.equal(moved[:, :-1], letter[:, 1:])  # to the left
    figure = first_picture(letter, kernel, moved)
    ((before, _, after),) = figure.cells
    assert (before.pixels == letter.numpy()).all() and (after.pixels == moved.numpy()).all()
    assert "to the left" in figure.message and "one column further left" in figure.alt

    images = {name: torch.full((1, 1, 4, 4), value) for name, value in (("dark", 0.3), ("bright", 0.7))}
    made = {name: torch.full((7, 7), 1 / 49) for name in images}
    figure = second_picture(images, made)
    shown = {cell.title: cell for row in figure.cells for cell in row if getattr(cell, "title", "")}
    assert set(shown) == {*images, *(f"kernel made from: {name}" for name in made)}
    assert shown["bright"].pixels == pytest.approx(0.7) and shown["kernel made from: dark"].pixels.shape == (7, 7)

    columns = torch.arange(40).numpy()
    figure = third_picture(columns, {"before": columns / 40.0})
    (line,) = figure.strip[0].series
    assert (line.x == columns[8:32]).all() and (line.y == columns[8:32] / 40).all()
    assert len(figure.alt) > 60 and "steeper" in figure.message

    after = {"zeros": torch.linspace(0.2, 1, 225).view(15, 15).numpy(), "replicate": torch.ones(15, 15).numpy()}
    figure = fourth_picture(after)
    assert figure.summary.startswith("Mass inside with zeros: 20% in a corner, ") and len(figure.cells[0]) == 2


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_saved_numbers_of_both_forms_are_the_formula(device):
    c, heads, k, side = 8, 2, 5, 12
    x = torch.empty(1, c, side, side, device=device).requires_grad_()
    kernels = torch.empty(1, heads, k * k, side, side, device=device).requires_grad_()
    pixels, padded = side * side, (side + k - 1) ** 2
    unfolded = saved_numbers(lambda: dynamic_conv2d_reference(x, kernels))
    assert unfolded.sizes == [c * k * k * pixels, heads * k * k * pixels]
    fast = saved_numbers(lambda: dynamic_conv2d(x, kernels))
    assert sorted(fast.sizes) == sorted([heads * k * k * pixels, c * padded])
    assert fast.total == sum(fast.sizes)


def test_views_are_counted_once():
    x = torch.rand(100, requires_grad=True)
    weights = torch.rand(2, 50, requires_grad=True)
    saved = saved_numbers(lambda: x[:50] * weights[0] + x[50:] * weights[1])
    assert saved.sizes == [100, 100]


# --- what exercise 5 of the notebook calls true or false -------------------------------------------------------------


def error_left(filtered):
    """Share of the noisy picture's error, without a rim of 3 pixels, as in the notebook."""
    clean, noisy = drawn_cells()
    rms = [(values - clean)[..., 3:-3, 3:-3].square().mean().sqrt().item() for values in (filtered, noisy)]
    return rms[0] / rms[1]


def gaussian(sigma):
    across = torch.exp(-((torch.arange(7) - 3) ** 2) / (2 * sigma**2))
    return (torch.outer(across, across) / across.sum() ** 2)[None, None]


def test_statement_about_one_kernel_for_all_pixels():
    """C: the same kernel at all pixels is a depthwise convolution whose channels of a head share a kernel."""
    x, per_head = torch.randn(2, 6, 8, 9, dtype=torch.float64), torch.randn(2, 5, 5, dtype=torch.float64)
    everywhere = per_head.view(1, 2, 25, 1, 1).expand(2, 2, 25, 8, 9)
    depthwise = torch.nn.functional.conv2d(x, per_head.repeat_interleave(3, 0)[:, None], padding=2, groups=6)
    torch.testing.assert_close(dynamic_conv2d(x, everywhere), depthwise)


def test_statement_about_many_kernels_and_the_best_single_one():
    """E: blocks of 8 x 8 (and of 4 x 4) are worse than one Gaussian, near the best that one kernel can do."""
    clean, noisy = drawn_cells()
    kernels = similarity_kernels(noisy, 7, 0.2)
    shared = {block: error_left(dynamic_conv2d(noisy, share_kernels(kernels, block))) for block in (8, 4, 2, 1)}
    single = {sigma: error_left(torch.nn.functional.conv2d(noisy, gaussian(sigma), padding=3)) for sigma in (0.5, 1, 2)}
    assert single[1] == pytest.approx(0.48, abs=0.005) and single[1] < min(single[0.5], single[2])
    assert shared[8] == pytest.approx(0.60, abs=0.005) and shared[4] > single[1] > shared[2] > shared[1]

    windows = torch.nn.functional.unfold(noisy, 7)[0].T.double()  # all pixels that are 3 or more from the border
    truth = clean[0, 0, 3:-3, 3:-3].reshape(-1, 1).double()
    left = (windows @ torch.linalg.lstsq(windows, truth).solution - truth).square().mean().sqrt()
    best = left / (noisy - clean)[..., 3:-3, 3:-3].square().mean().sqrt()
    assert best.item() == pytest.approx(0.47, abs=0.005)


def test_statement_about_shuffled_pixels():
    """A: attention of DyConv, and with it its kernel, does not see where pixels are."""
    torch.manual_seed(0)
    mixer = DyConv(3).double()
    x = torch.rand(1, 3, 16, 16, dtype=torch.float64)
    shuffled = x.flatten(2)[:, :, torch.randperm(256)].view_as(x)
    torch.testing.assert_close(mixer.attention(x.mean((-2, -1))), mixer.attention(shuffled.mean((-2, -1))))
