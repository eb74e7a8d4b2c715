"""Statistics of kernels against kernels made by hand, and the laws they must obey."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdc_viz.lens import (
    kernel_covariance,
    kernel_cutoff,
    kernel_displacement,
    kernel_ellipse,
    kernel_entropy,
    kernel_in_bounds,
    kernel_response,
    kernel_width,
    record,
)
from sgdc_viz.nn import SGDC

LAW = settings(deadline=None, max_examples=20)
STATISTICS = (
    kernel_entropy, kernel_width, kernel_displacement, kernel_covariance, kernel_ellipse, kernel_in_bounds,
    kernel_response, kernel_cutoff,
)  # fmt: skip
CLOSE = dict(rtol=1e-5, atol=1e-5)


def kernel(weights: dict[tuple[int, int], float], k: int = 7) -> torch.Tensor:
    """[1 head, k*k, 1, 1] from {(dy, dx) from the centre: weight}."""
    out = torch.zeros(k, k)
    for (dy, dx), weight in weights.items():
        out[k // 2 + dy, k // 2 + dx] = weight
    return out.view(1, k * k, 1, 1)


def uniform(k: int = 7, height: int = 1, width: int = 1) -> torch.Tensor:
    return torch.full((1, k * k, height, width), 1 / k**2)


def some_kernels(seed: int, sharpness: float = 2, k: int = 7, dtype=torch.float32) -> torch.Tensor:
    """[2 images, 3 heads, k*k, 4, 5]."""
    generator = torch.Generator().manual_seed(seed)
    return (sharpness * torch.randn(2, 3, k * k, 4, 5, generator=generator, dtype=dtype)).softmax(2)


def grid(kernels: torch.Tensor) -> torch.Tensor:
    k = math.isqrt(kernels.shape[-3])
    return kernels.unflatten(-3, (k, k))


# --- displacement and covariance --------------------------------------------------------------------------------------


@LAW
@given(st.sampled_from([1, 3, 5, 7]), st.data())
def test_displacement_of_one_tap_is_where_it_lies(k, data):
    dy, dx = (data.draw(st.integers(-(k // 2), k // 2)) for _ in range(2))
    one = kernel({(dy, dx): 1.0}, k)
    assert kernel_displacement(one).flatten().tolist() == [dy, dx]
    assert torch.equal(kernel_covariance(one), torch.zeros(1, 2, 2, 1, 1))


def test_displacement_says_where_the_value_comes_from():
    """A block whose kernels look two rows down and one column left takes its values from there."""
    block = SGDC(1, heads=1, kernel_size=5, kernel_source="semantic").eval()
    with torch.no_grad():
        block.attn.weight.zero_()
        block.attn.bias.zero_()[2 + (2 + 2) * 5 + (2 - 1)] = 100  # a1, a2, then the taps row by row
        block.norm1.weight.zero_()
        block.norm1.bias.fill_(1)
        x = torch.rand(1, 1, 8, 8)
        with record(block) as rec:
            block(x)
    view = rec.at("", 3, 4)
    dy, dx = kernel_displacement(rec["kernels"])[0, 0, :, 3, 4].round().int().tolist()
    assert (dy, dx) == (2, -1)
    assert view.contribution[0].argmax() == (2 + dy) * 5 + 2 + dx
    assert kernel_in_bounds(rec["kernels"])[0, 0, 5, 4] > 0.99 and kernel_in_bounds(rec["kernels"])[0, 0, 6, 4] < 0.01


def test_covariance_by_hand():
    half = kernel({(0, -2): 0.5, (0, 2): 0.5})
    assert kernel_displacement(half).flatten().tolist() == [0, 0]
    assert kernel_covariance(half).flatten().tolist() == [0, 0, 0, 4]  # y y, y x, x y, x x
    diagonal = kernel({(-1, -1): 0.5, (1, 1): 0.5})
    assert kernel_covariance(diagonal).flatten().tolist() == [1, 1, 1, 1]
    skewed = kernel({(0, 0): 0.75, (2, 0): 0.25})
    assert kernel_displacement(skewed).flatten().tolist() == [0.5, 0]
    assert kernel_covariance(skewed).flatten().tolist() == [0.75, 0, 0, 0]


@pytest.mark.parametrize("k", [1, 3, 5, 7, 9])
def test_the_uniform_kernel(k):
    kernels, variance = uniform(k, 12, 11), (k * k - 1) / 12
    middle = (..., 6, 5)
    torch.testing.assert_close(kernel_displacement(kernels), torch.zeros(1, 2, 12, 11), **CLOSE)
    torch.testing.assert_close(kernel_covariance(kernels)[middle], variance * torch.eye(2)[None], **CLOSE)
    ellipse = kernel_ellipse(kernels)
    torch.testing.assert_close(ellipse.major[middle], torch.tensor([variance**0.5]), **CLOSE)
    torch.testing.assert_close(ellipse.minor[middle], torch.tensor([variance**0.5]), **CLOSE)
    assert ellipse.anisotropy.max() < 1e-5 and ellipse.unimodal.all()
    torch.testing.assert_close(kernel_width(kernels)[middle], torch.tensor([float(k)]), **CLOSE)
    torch.testing.assert_close(kernel_cutoff(kernels)[middle], torch.tensor([0.5 / k]), **CLOSE)
    assert kernel_in_bounds(kernels)[middle] == pytest.approx(1)


@LAW
@given(st.integers(0, 10**6), st.floats(0, 20))
def test_moments_are_those_of_the_definition(seed, sharpness):
    kernels = some_kernels(seed, sharpness)
    p = grid(kernels.double())
    y, x = torch.meshgrid(torch.arange(-3.0, 4), torch.arange(-3.0, 4), indexing="ij")
    y, x = y.view(7, 7, 1, 1).double(), x.view(7, 7, 1, 1).double()
    my, mx = (p * y).sum((2, 3)), (p * x).sum((2, 3))
    torch.testing.assert_close(kernel_displacement(kernels).double(), torch.stack([my, mx], 2), **CLOSE)
    dy, dx = y - my[:, :, None, None], x - mx[:, :, None, None]
    expected = torch.stack([(p * a * b).sum((2, 3)) for a, b in ((dy, dy), (dy, dx), (dx, dy), (dx, dx))], 2)
    covariance = kernel_covariance(kernels)
    assert covariance.shape == (2, 3, 2, 2, 4, 5)
    torch.testing.assert_close(covariance.flatten(2, 3).double(), expected, **CLOSE)


def test_kernels_rounded_to_eight_bits_have_no_variance_of_their_own():
    corner = kernel({(3, 3): 0.99, (3, 2): 0.005}).bfloat16()  # sums to 0.993
    assert kernel_displacement(corner).flatten().tolist() == pytest.approx([3, 2.995], abs=1e-3)
    torch.testing.assert_close(kernel_covariance(corner).flatten(), torch.tensor([0, 0, 0, 0.005]), rtol=0, atol=1e-3)


# --- ellipse ----------------------------------------------------------------------------------------------------------


def test_ellipse_of_lines():
    for (dy, dx), angle in (((0, 1), 0), ((1, 1), math.pi / 4), ((1, 0), math.pi / 2), ((-1, 1), -math.pi / 4)):
        line = kernel({(n * dy, n * dx): 0.2 for n in (-2, -1, 0, 1, 2)})
        ellipse = kernel_ellipse(line)
        assert ellipse.angle.item() == pytest.approx(angle, abs=1e-5)  # (1, 1) is down to the right
        assert ellipse.major.item() == pytest.approx(math.sqrt(2 * (dy * dy + dx * dx)), abs=1e-5)
        assert ellipse.minor.item() == pytest.approx(0, abs=1e-3)
        assert ellipse.anisotropy.item() == pytest.approx(1, abs=1e-5)
        assert ellipse.unimodal.item() is True  # taps that touch at corners hang together


def test_one_tap_has_no_direction():
    for where in ((0, 0), (3, -3)):
        ellipse = kernel_ellipse(kernel({where: 1.0}))
        assert [v.item() for v in ellipse] == [0, 0, 0, 0, True]
    nearly = torch.full((1, 49, 1, 1), 1e-7)
    nearly[0, 25] = 1 - 48e-7
    assert kernel_ellipse(nearly).anisotropy.item() == 0


@LAW
@given(st.integers(0, 10**6), st.floats(0, 10))
def test_turning_the_kernel_turns_the_ellipse(seed, sharpness):
    kernels = some_kernels(seed, sharpness, dtype=torch.float64)
    turned = torch.rot90(grid(kernels), 1, (2, 3)).flatten(2, 3)
    a, b = kernel_ellipse(kernels), kernel_ellipse(turned)
    for part in ("major", "minor", "anisotropy"):
        torch.testing.assert_close(getattr(a, part), getattr(b, part), rtol=1e-4, atol=1e-6)
    assert torch.equal(a.unimodal, b.unimodal)
    off = (a.angle - b.angle).remainder(math.pi) - math.pi / 2  # an axis has no head: angles count up to half a turn
    assert (off.abs() * (a.anisotropy > 0.01)).max() < 0.02
    assert (a.major >= a.minor).all() and (0 <= a.anisotropy).all() and (a.anisotropy <= 1).all()
    assert (-math.pi / 2 <= a.angle).all() and (a.angle <= math.pi / 2 + 1e-6).all()
    torch.testing.assert_close(
        a.major.square() + a.minor.square(), kernel_covariance(kernels).diagonal(0, 2, 3).sum(-1)
    )


@pytest.mark.parametrize(
    ("weights", "unimodal"),
    [
        ({(0, -2): 0.5, (0, 2): 0.5}, False),
        ({(0, -2): 0.6, (0, 2): 0.4}, False),  # 0.4 is more than half of 0.6
        ({(0, -2): 0.7, (0, 2): 0.3}, True),  # 0.3 is less than half of 0.7: it does not count
        ({(0, 0): 0.5, (1, 1): 0.5}, True),  # touching at a corner
        ({(0, 0): 0.25, (0, 1): 0.25, (1, 0): 0.25, (1, 1): 0.25}, True),  # one plateau is one hill
        ({(0, -1): 0.3, (0, 0): 0.3, (0, 1): 0.4}, True),  # a plateau beside a top is part of its hill
        ({(-3, -3): 0.25, (-3, 3): 0.25, (3, -3): 0.25, (3, 3): 0.25}, False),
        ({(0, -2): 0.3, (0, -1): 0.2, (0, 0): 0.16, (0, 1): 0.15, (0, 2): 0.19}, True),  # a dip above half the top
        ({(0, -2): 0.4, (0, -1): 0.1, (0, 0): 0.1, (0, 1): 0.1, (0, 2): 0.3}, False),  # a dip below it
    ],
)
def test_several_hills_are_marked(weights, unimodal):
    kernels = kernel(weights)
    for turned in (kernels, torch.rot90(grid(kernels), 1, (1, 2)).flatten(1, 2), kernels.flip(1)):
        assert kernel_ellipse(turned).unimodal.item() is unimodal
    assert kernel_ellipse(kernels.bfloat16()).unimodal.item() is unimodal


def test_a_long_winding_hill_is_one():
    snake = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 0, 0, 1], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1]]) / 17
    assert kernel_ellipse(snake.view(1, 25, 1, 1)).unimodal.item()
    snake[1, 4] = 0
    assert not kernel_ellipse((snake * 17 / 16).view(1, 25, 1, 1)).unimodal.item()


@LAW
@given(st.integers(0, 10**6), st.floats(0.5, 6), st.sampled_from([3, 7]))
def test_hills_are_counted_as_scipy_counts_them(seed, sharpness, k):
    ndimage = pytest.importorskip("scipy.ndimage")
    kernels = some_kernels(seed, sharpness, k)
    unimodal = kernel_ellipse(kernels).unimodal
    for b, head, i, j in ((0, 0, 0, 0), (1, 2, 3, 4), (0, 1, 2, 2), (1, 0, 1, 3), (0, 2, 0, 4)):
        weights = grid(kernels)[b, head, :, :, i, j].numpy()
        _, islands = ndimage.label(weights >= weights.max() / 2, structure=[[1] * 3] * 3)
        assert unimodal[b, head, i, j].item() == (islands == 1)


def test_not_a_number_is_not_called_unimodal():
    kernels = some_kernels(0)
    kernels[0, 0, :, 1, 2] = math.nan
    unimodal = kernel_ellipse(kernels).unimodal
    assert not unimodal[0, 0, 1, 2] and torch.equal(unimodal[1], kernel_ellipse(some_kernels(0)).unimodal[1])
    for statistic in (kernel_entropy, kernel_width, kernel_cutoff, kernel_in_bounds):
        assert statistic(kernels)[0, 0, 1, 2].isnan()


# --- mass inside the map ----------------------------------------------------------------------------------------------


def test_mass_in_bounds_by_hand():
    inside = kernel_in_bounds(uniform(7, 9, 10))
    assert inside.shape == (1, 9, 10)
    for (y, x), taps in {(0, 0): 16, (8, 9): 16, (0, 5): 28, (4, 0): 28, (1, 1): 25, (4, 5): 49}.items():
        assert inside[0, y, x].item() == pytest.approx(taps / 49, abs=1e-6)
    up = kernel({(-1, 0): 1.0}, 3).expand(1, 9, 4, 5)
    assert kernel_in_bounds(up)[0, :, 0].tolist() == [0, 1, 1, 1]
    right = kernel({(0, 1): 1.0}, 3).expand(1, 9, 4, 5)
    assert kernel_in_bounds(right)[0, 0].tolist() == [1, 1, 1, 1, 0]
    assert kernel_in_bounds(uniform(7, 1, 1)).item() == pytest.approx(1 / 49)  # a map smaller than the kernel


def test_mass_in_bounds_is_what_a_block_filters_ones_to():
    torch.manual_seed(0)
    block = SGDC(8, kernel_source="semantic").eval()
    with torch.no_grad():
        block.attn.weight.mul_(4)
        block.norm1.weight.zero_()
        block.norm1.bias.fill_(1)  # value is 1 everywhere
        with record(block) as rec:
            block(torch.randn(2, 8, 6, 9))
    inside = kernel_in_bounds(rec["kernels"])
    filtered = rec["dynamic_out"] / rec["gate_dynamic"]  # 2 channels for each of 4 heads
    torch.testing.assert_close(filtered, inside.repeat_interleave(2, 1), **CLOSE)
    torch.testing.assert_close(rec.at("", 0, 8, 1).in_bounds, inside[1, :, 0, 8], **CLOSE)


# --- frequencies ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [(0, 0), (-3, 2)])
def test_one_tap_passes_all_frequencies(where):
    response = kernel_response(kernel({where: 1.0}), 12)
    torch.testing.assert_close(response, torch.ones(1, 12, 12, 1, 1), **CLOSE)
    assert kernel_cutoff(kernel({where: 1.0})).item() == 0.5


def test_response_of_uniform_is_zero_at_multiples_of_one_seventh():
    response = kernel_response(uniform(7), 21)[0, :, :, 0, 0]  # steps of 1/21, frequency 0 at [10, 10]
    f = torch.arange(-10, 11) / 21
    dirichlet = torch.where(f == 0, 1.0, torch.sin(7 * math.pi * f) / (7 * torch.sin(math.pi * f))).abs()
    torch.testing.assert_close(response, dirichlet[:, None] * dirichlet, **CLOSE)
    zeros = [10 + 3 * n for n in (-3, -2, -1, 1, 2, 3)]
    assert response[zeros].max() < 1e-6 and response[:, zeros].max() < 1e-6
    assert response[10, 10] == pytest.approx(1)


def test_response_by_hand_has_y_first():
    response = kernel_response(kernel({(-1, 0): 0.5, (1, 0): 0.5}), 8)[0, :, :, 0, 0]  # |cos 2 pi f_y|
    expected = (2 * math.pi * torch.arange(-4, 4) / 8).cos().abs()
    torch.testing.assert_close(response, expected[:, None].expand(8, 8), **CLOSE)


@LAW
@given(st.integers(0, 10**6), st.floats(0, 8), st.integers(7, 12))
def test_response_is_that_of_fft_and_cutoff_its_mean_power(seed, sharpness, size):
    kernels = some_kernels(seed, sharpness)
    response = kernel_response(kernels, size)
    assert response.shape == (2, 3, size, size, 4, 5) and response.max() <= 1 + 1e-5
    by_fft = torch.fft.fftshift(torch.fft.fft2(grid(kernels), (size, size), (2, 3)).abs(), (2, 3))
    torch.testing.assert_close(response, by_fft, rtol=1e-4, atol=1e-5)
    power = response.square().mean((2, 3))  # Parseval
    torch.testing.assert_close((2 * kernel_cutoff(kernels)).square(), power, rtol=1e-4, atol=1e-6)
    assert kernel_cutoff(kernels).min() >= 0.5 / 7 - 1e-6 and kernel_cutoff(kernels).max() <= 0.5 + 1e-6


def test_response_needs_a_size():
    with pytest.raises(ValueError, match="size=0 must be 1 or more"):
        kernel_response(uniform(), 0)
    assert kernel_response(uniform(), 1).item() == pytest.approx(1)


# --- width ------------------------------------------------------------------------------------------------------------


def test_width_by_hand():
    assert kernel_width(kernel({(2, -1): 1.0})).item() == 1
    square = kernel({(dy, dx): 1 / 9 for dy in (-1, 0, 1) for dx in (1, 2, 3)})
    assert kernel_width(square).item() == pytest.approx(3, abs=1e-5)  # 3 x 3 wherever it lies in 7 x 7
    assert kernel_width(kernel({(-3, -3): 0.5, (3, 3): 0.5})).item() == pytest.approx(math.sqrt(2), abs=1e-5)


# --- all of them ------------------------------------------------------------------------------------------------------


def parts(result) -> tuple[torch.Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_every_pixel_head_and_image_on_its_own(statistic):
    """All pixels at once give what one pixel alone gives (mass in bounds: it depends on the place, see there)."""
    kernels = some_kernels(5)
    if statistic is kernel_in_bounds:
        torch.testing.assert_close(statistic(kernels)[1, 2], statistic(kernels[1, 2:])[0])
        return
    for whole, one in zip(parts(statistic(kernels)), parts(statistic(kernels[1, 2:, :, 3:, 4:])), strict=True):
        torch.testing.assert_close(whole[1, 2, ..., 3, 4], one[0, ..., 0, 0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_dtypes(statistic):
    kernels = some_kernels(6)
    for dtype, expected in ((torch.float64, torch.float64), (torch.float16, torch.float32)):
        for part, single in zip(parts(statistic(kernels.to(dtype))), parts(statistic(kernels)), strict=True):
            if part.dtype != torch.bool:
                assert part.dtype == expected
                if statistic is not kernel_ellipse:  # the angle of a round kernel is anything
                    torch.testing.assert_close(part.float(), single, rtol=0, atol=0.02)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_something_else_is_refused(statistic):
    before = torch.randn(1, 4, 49, 2, 2)
    with pytest.raises(ValueError, match=r"kernel_\w+ needs .*give it `kernels`, not `kernel_logits`"):
        statistic(before)
    with pytest.raises(ValueError, match="48 taps .* not the square of an odd number"):
        statistic(torch.full((1, 4, 48, 2, 2), 1 / 48))
    with pytest.raises(ValueError, match=r"\[..., heads, k\*k, H, W\], got \(49, 2, 2\)"):
        statistic(torch.full((49, 2, 2), 1 / 49))


@pytest.mark.parametrize("statistic", [kernel_displacement, kernel_covariance, kernel_cutoff, kernel_width])
def test_gradients(statistic):
    logits = torch.randn(1, 1, 9, 1, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: statistic(t.softmax(2)), logits)


def test_an_array_is_no_tensor_and_a_ring_is_in_one_piece():
    with pytest.raises(TypeError, match="kernel_entropy needs a torch tensor, got ndarray: torch.from_numpy"):
        kernel_entropy(torch.ones(1, 9, 2, 2).numpy() / 9)
    ring = torch.ones(3, 3)
    ring[1, 1] = 0
    ellipse = kernel_ellipse((ring / 8).reshape(1, 9, 1, 1))
    assert ellipse.unimodal.all() and ellipse.anisotropy.item() == pytest.approx(0, abs=1e-6)
