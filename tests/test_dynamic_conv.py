"""The operator: fast path == readable reference, and both == the formula."""

import math
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.profiler import ProfilerActivity, profile

from sgdc_viz.nn import dynamic_conv, dynamic_conv2d, dynamic_conv2d_reference
from sgdc_viz.nn.dynamic_conv import PADDINGS

BOTH = pytest.mark.parametrize("op", [dynamic_conv2d, dynamic_conv2d_reference])
EVERY_PADDING = pytest.mark.parametrize("padding", PADDINGS)


def random_inputs(batch=2, heads=2, per_head=3, height=7, width=6, k=3, seed=0, dtype=torch.float64):
    """x [B,C,H,W] and kernels [B,heads,k*k,H,W] that sum to one, as a softmax makes them."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, heads * per_head, height, width, generator=generator, dtype=dtype)
    logits = torch.randn(batch, heads, k * k, height, width, generator=generator, dtype=dtype)
    return x, logits.softmax(2)


def delta_kernels(k, dy=0, dx=0, height=8, width=9, batch=1, heads=2, dtype=torch.float64):
    """All weight on the tap (dy, dx) rows and columns from the centre."""
    kernels = torch.zeros(batch, heads, k, k, height, width, dtype=dtype)
    kernels[:, :, k // 2 + dy, k // 2 + dx] = 1
    return kernels.flatten(2, 3)


def outputs_and_gradients(op, x, kernels, padding, direction):
    x, kernels = x.detach().clone().requires_grad_(), kernels.detach().clone().requires_grad_()
    out = op(x, kernels, padding)
    return out.detach(), *torch.autograd.grad(out, (x, kernels), direction)


# --- the same numbers -----------------------------------------------------------------------------------------------


def test_reference_is_the_formula_written_as_loops():
    x, kernels = random_inputs(batch=2, heads=2, per_head=2, height=4, width=3, k=3)
    expected, values, weights = torch.zeros_like(x), x.tolist(), kernels.tolist()
    for b in range(2):
        for c in range(4):
            for i in range(4):
                for j in range(3):
                    for q in range(9):
                        y, z = i + q // 3 - 1, j + q % 3 - 1  # row-major taps, centred
                        if 0 <= y < 4 and 0 <= z < 3:
                            expected[b, c, i, j] += weights[b][c // 2][q][i][j] * values[b][c][y][z]
    torch.testing.assert_close(dynamic_conv2d_reference(x, kernels), expected)


@settings(deadline=None, max_examples=60)
@given(
    batch=st.integers(1, 3),
    heads=st.integers(1, 4),
    per_head=st.integers(1, 3),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    k=st.sampled_from((1, 3, 5, 7)),
    padding=st.sampled_from(PADDINGS),
    tile=st.sampled_from((1, 7, 40, 2**20)),
    seed=st.integers(0, 10**6),
)
def test_fast_equals_reference(batch, heads, per_head, height, width, k, padding, tile, seed):
    """Forward and both gradients, for any shape and however the work is cut into tiles."""
    x, kernels = random_inputs(batch, heads, per_head, height, width, k, seed)
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed + 1), dtype=x.dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dynamic_conv, "_CPU_TILE", tile)
        fast = outputs_and_gradients(dynamic_conv2d, x, kernels, padding, direction)
    slow = outputs_and_gradients(dynamic_conv2d_reference, x, kernels, padding, direction)
    for name, a, b in zip(("output", "gradient of x", "gradient of the kernels"), fast, slow, strict=True):
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10, msg=lambda m, name=name: f"{name}: {m}")


@settings(deadline=None, max_examples=30)
@given(
    batch=st.integers(1, 3),
    heads=st.integers(1, 4),
    channels=st.integers(1, 5),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    tile=st.integers(1, 2000),
)
def test_tiles_cover_every_value_once(batch, heads, channels, height, width, tile):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dynamic_conv, "_CPU_TILE", tile)
        visits = torch.zeros(batch, heads, height)
        for b, h, y in dynamic_conv._tiles(batch, heads, channels, height, width, torch.device("cpu")):
            visits[b, h, y] += 1
            size = visits[b, h, y].numel() * channels * width
            assert size <= tile or visits[b, h, y].numel() == 1  # one row of one head is the smallest tile there is
    assert (visits == 1).all()
    on_gpu = list(dynamic_conv._tiles(batch, heads, channels, height, width, torch.device("cuda")))
    assert on_gpu == [(slice(0, batch), slice(0, heads), slice(0, height))]


@EVERY_PADDING
@pytest.mark.parametrize("k", [1, 3, 5])
def test_gradcheck(padding, k):
    x, kernels = random_inputs(batch=1, heads=2, per_head=2, height=3, width=4, k=k)
    inputs = (x.requires_grad_(), kernels.requires_grad_())
    assert torch.autograd.gradcheck(lambda x, kernels: dynamic_conv2d(x, kernels, padding), inputs)


def test_one_gradient_at_a_time():
    x, kernels = random_inputs()
    for wanted in (0, 1):
        gradients = []
        for op in (dynamic_conv2d, dynamic_conv2d_reference):
            inputs = [x.clone(), kernels.clone()]
            inputs[wanted].requires_grad_()
            gradients.append(torch.autograd.grad(op(*inputs).square().sum(), inputs[wanted])[0])
        torch.testing.assert_close(*gradients)


def test_second_derivative_is_refused_not_wrong():
    x, kernels = (t.requires_grad_() for t in random_inputs())
    with pytest.raises(RuntimeError):
        (first,) = torch.autograd.grad(dynamic_conv2d(x, kernels).square().sum(), x, create_graph=True)
        torch.autograd.grad(first.sum(), x)


# --- what it means --------------------------------------------------------------------------------------------------


@BOTH
@EVERY_PADDING
@pytest.mark.parametrize("k", [1, 3, 7])
def test_delta_in_the_centre_is_the_identity(op, padding, k):
    x, _ = random_inputs(batch=1, per_head=2, height=8, width=9)
    torch.testing.assert_close(op(x, delta_kernels(k), padding), x, rtol=0, atol=0)


@BOTH
@pytest.mark.parametrize("k", [3, 5, 7])
def test_constant_kernel_is_depthwise_conv2d(op, k):
    """Pins the orientation: a cross-correlation with row-major taps, as conv2d does it."""
    x, _ = random_inputs(batch=2, heads=2, per_head=3, height=8, width=9)
    weight = torch.randn(2, k, k, dtype=x.dtype)  # one kernel a head, used at every pixel and in both images
    kernels = weight.reshape(1, 2, k * k, 1, 1).expand(2, -1, -1, 8, 9)
    depthwise = weight.repeat_interleave(3, dim=0)[:, None]  # [C, 1, k, k]: head h owns channels 3h, 3h+1, 3h+2
    torch.testing.assert_close(op(x, kernels), F.conv2d(x, depthwise, padding=k // 2, groups=6))


@BOTH
@pytest.mark.parametrize(("dy", "dx"), [(0, 1), (0, -1), (1, 0), (-1, 0), (2, -1)])
def test_delta_off_centre_reads_that_neighbour(op, dy, dx):
    x, _ = random_inputs(batch=1, per_head=2, height=8, width=9)
    out = op(x, delta_kernels(5, dy, dx))
    for i in range(8):
        for j in range(9):
            inside = 0 <= i + dy < 8 and 0 <= j + dx < 9
            expected = x[..., i + dy, j + dx] if inside else torch.zeros_like(x[..., 0, 0])
            assert torch.equal(out[..., i, j], expected)


@BOTH
def test_heads_own_contiguous_slices(op):
    """Head 1 reads its right neighbour, head 0 stays: channels 0-2 are kept and 3-5 moved, not every other one."""
    x, _ = random_inputs(batch=1, heads=2, per_head=3, height=8, width=9)
    kernels = torch.cat([delta_kernels(3, heads=1), delta_kernels(3, dx=1, heads=1)], dim=1)
    out = op(x, kernels)
    assert torch.equal(out[:, :3], x[:, :3])
    assert torch.equal(out[:, 3:, :, :-1], x[:, 3:, :, 1:])


@BOTH
def test_each_pixel_uses_its_own_kernel(op):
    x, kernels = random_inputs(batch=1, heads=1, per_head=2, height=6, width=6)
    changed = kernels.clone()
    changed[0, 0, :, 2, 4] = 0
    moved = (op(x, kernels) != op(x, changed)).any(1)[0]
    assert moved.nonzero().tolist() == [[2, 4]]


@BOTH
@EVERY_PADDING
def test_linear_in_the_image(op, padding):
    x, kernels = random_inputs()
    other = torch.randn_like(x)
    mixed = op(2 * x - 3 * other, kernels, padding)
    torch.testing.assert_close(mixed, 2 * op(x, kernels, padding) - 3 * op(other, kernels, padding))


@settings(deadline=None, max_examples=20)
@given(dy=st.integers(-2, 2), dx=st.integers(-2, 2), k=st.sampled_from((3, 5)), seed=st.integers(0, 10**6))
def test_shift_equivariance_away_from_borders(dy, dx, k, seed):
    """Move image and kernels together: the output moves with them."""
    x, kernels = random_inputs(batch=1, height=12, width=13, k=k, seed=seed)
    moved = dynamic_conv2d(x.roll((dy, dx), (-2, -1)), kernels.roll((dy, dx), (-2, -1)))
    rim = 2 + k // 2
    inner = (..., slice(rim, -rim), slice(rim, -rim))
    torch.testing.assert_close(moved[inner], dynamic_conv2d(x, kernels).roll((dy, dx), (-2, -1))[inner])


# --- what lies outside the image ------------------------------------------------------------------------------------


@BOTH
def test_zero_padding_darkens_borders(op):
    """Of a uniform 7 x 7 kernel, 4 x 4 taps are inside at a corner (33 %), 4 x 7 at an edge (57 %)."""
    ones = torch.ones(1, 1, 15, 15)
    out = op(ones, torch.full((1, 1, 49, 15, 15), 1 / 49))
    assert out[0, 0, 0, 0].item() == pytest.approx(16 / 49)
    assert out[0, 0, 0, 7].item() == pytest.approx(28 / 49)
    assert out[0, 0, 7, 7].item() == pytest.approx(1)
    assert [f"{out[0, 0, 0, j].item():.0%}" for j in (0, 7)] == ["33%", "57%"]


@BOTH
@pytest.mark.parametrize("padding", ["replicate", "renormalize"])
def test_a_constant_image_stays_constant(op, padding):
    _, kernels = random_inputs(height=5, width=4, k=7)
    x = torch.full((2, 6, 5, 4), 3.0, dtype=kernels.dtype)
    torch.testing.assert_close(op(x, kernels, padding), x)
    assert (op(x, kernels, "zeros") < 2.9).any()  # which is why these two exist


@EVERY_PADDING
def test_output_is_an_average_of_the_input(padding):
    """Kernels >= 0 that sum to one cannot overshoot. With zeros outside, 0 belongs to the neighbourhood."""
    x, kernels = random_inputs(height=6, width=6, k=5)
    x = x.abs() + 1
    out = dynamic_conv2d(x, kernels, padding)
    assert out.max() <= x.max() + 1e-9
    assert out.min() >= (0 if padding == "zeros" else x.min() - 1e-9)


@settings(deadline=None, max_examples=60)
@given(
    signal=st.lists(st.floats(-10, 10), min_size=1, max_size=20),
    kernel=st.lists(st.floats(0, 1), min_size=5, max_size=5).filter(lambda taps: sum(taps) > 0.1),
)
def test_one_kernel_for_all_pixels_never_adds_variation(signal, kernel):
    """Non-negative, sum one: the output is an average of shifted copies, none of which varies more than the input."""
    x = torch.tensor(signal, dtype=torch.float64)
    taps = torch.tensor(kernel, dtype=torch.float64)
    kernels = torch.zeros(1, 1, 5, 5, 1, len(x), dtype=torch.float64)
    kernels[0, 0, 2] = (taps / taps.sum())[:, None, None]  # the middle row of 5 x 5
    out = dynamic_conv2d(x.view(1, 1, 1, -1), kernels.flatten(2, 3), "replicate").flatten()
    assert out.diff().abs().sum() <= x.diff().abs().sum() + 1e-9


def test_kernels_that_average_on_one_side_steepen_a_blurred_step_and_do_not_overshoot():
    """Per-pixel averaging is no low-pass filter: left of the step look left, right of it look right (Kuwahara)."""
    x = torch.linspace(-5, 5, 60, dtype=torch.float64).sigmoid()[None, None, None]
    kernels = torch.zeros(1, 1, 7, 7, 1, 60, dtype=torch.float64)
    kernels[0, 0, 3, :4, :, :30] = 1 / 4  # this pixel and three to its left
    kernels[0, 0, 3, 3:, :, 30:] = 1 / 4  # this pixel and three to its right
    out = dynamic_conv2d(x, kernels.flatten(2, 3), "replicate")
    assert out.diff().max() > 2 * x.diff().max()
    assert x.min() <= out.min() and out.max() <= x.max()
    everywhere = dynamic_conv2d(x, kernels[..., :1].expand_as(kernels).flatten(2, 3), "replicate")
    assert everywhere.diff().max() <= x.diff().max()  # one of the two kernels for all pixels: no steeper


def test_renormalize_survives_a_kernel_that_looks_only_outside():
    """All mass on a tap outside the image: there is nothing to average. Give 0 and finite gradients, not NaN."""
    x, _ = random_inputs(batch=1, heads=1, per_head=2, height=4, width=4)
    x.requires_grad_()
    kernels = delta_kernels(3, dx=1, height=4, width=4, heads=1).requires_grad_()
    out = dynamic_conv2d(x, kernels, "renormalize")
    assert torch.equal(out[..., -1], torch.zeros_like(out[..., -1]))
    for gradient in torch.autograd.grad(out.square().sum(), (x, kernels)):
        assert gradient.isfinite().all()
    torch.testing.assert_close(out, dynamic_conv2d_reference(x, kernels, "renormalize"))


# --- PyTorch's other worlds -----------------------------------------------------------------------------------------


def test_meta_device_gives_the_shape_without_work():
    x, kernels = torch.empty(2, 8, 5, 4, device="meta"), torch.empty(2, 2, 9, 5, 4, device="meta")
    x.requires_grad_()
    out = dynamic_conv2d(x, kernels)
    assert (out.device.type, out.shape, out.dtype) == ("meta", x.shape, torch.float32)
    out.sum().backward()
    assert x.grad.shape == x.shape


@EVERY_PADDING
def test_memory_layout_does_not_matter(padding):
    x, kernels = random_inputs(batch=2, heads=2, per_head=4, height=6, width=5)
    expected = dynamic_conv2d(x, kernels, padding)
    channels_last = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(dynamic_conv2d(channels_last, kernels, padding), expected)
    transposed = x.mT.contiguous().mT, kernels.mT.contiguous().mT  # columns are contiguous, not rows
    torch.testing.assert_close(dynamic_conv2d(*transposed, padding), expected)
    apart = torch.stack([x, x], -1)[..., 0], torch.stack([kernels, kernels], -1)[..., 0]  # every other number
    direction = torch.ones(()).to(x).expand_as(x)  # stride 0, as .sum().backward() sends it
    for a, b in zip(
        outputs_and_gradients(dynamic_conv2d, *apart, padding, direction),
        outputs_and_gradients(dynamic_conv2d_reference, x, kernels, padding, direction),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_float32(dtype):
    """The only error left is that of rounding the result once (and the inputs, the same for both)."""
    x, kernels = (t.to(dtype) for t in random_inputs(height=9, width=9, k=7, dtype=torch.float32))
    direction = torch.randn(x.shape).to(dtype)
    fast = outputs_and_gradients(dynamic_conv2d, x, kernels, "zeros", direction)
    exact = outputs_and_gradients(dynamic_conv2d_reference, x.double(), kernels.double(), "zeros", direction.double())
    for a, b in zip(fast, exact, strict=True):
        assert a.dtype == dtype
        torch.testing.assert_close(a.double(), b, rtol=torch.finfo(dtype).eps, atol=1e-6)


def test_mixed_dtypes_give_the_wider_one():
    """As under autocast: features in bfloat16, kernels from a float32 softmax."""
    x, kernels = random_inputs(dtype=torch.float32)
    x = x.bfloat16().requires_grad_()
    out = dynamic_conv2d(x, kernels)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, dynamic_conv2d_reference(x.float(), kernels))
    out.sum().backward()
    assert x.grad.dtype == torch.bfloat16


def test_bfloat16_autocast():
    x, kernels = random_inputs(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = dynamic_conv2d(x, kernels)
    torch.testing.assert_close(out, dynamic_conv2d(x, kernels))  # nothing in it is worth rounding


@EVERY_PADDING
def test_opcheck(padding):
    """PyTorch's own examination of a custom operator: schema, autograd registration, fake tensors, AOT dispatch."""
    x, kernels = random_inputs(batch=1, height=4, width=3, dtype=torch.float32)
    padded = dynamic_conv._pad(x, 1, padding)
    op, backward = torch.ops.sgdc_viz.dynamic_conv2d_valid, torch.ops.sgdc_viz.dynamic_conv2d_valid_backward
    torch.library.opcheck(op, (padded.clone().requires_grad_(), kernels.clone().requires_grad_()))
    torch.library.opcheck(backward, (torch.randn_like(x), padded, kernels))


def compiled_agrees(op, **how):
    torch.compiler.reset()
    compiled = torch.compile(op, fullgraph=True, **how)
    x, kernels = random_inputs(dtype=torch.float32)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    out, expected = compiled(ours, kernels), op(theirs, kernels)
    torch.testing.assert_close(out, expected)
    out.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


@EVERY_PADDING
def test_torch_compile_without_a_graph_break(padding):
    compiled_agrees(lambda x, kernels: dynamic_conv2d(2 * x, kernels, padding) + 1, backend="aot_eager")


HAS_COMPILER = bool(shutil.which("g++") or shutil.which("clang++"))
HAS_HEADERS = Path(sysconfig.get_path("include"), "Python.h").exists()


@pytest.mark.skipif(not (HAS_COMPILER and HAS_HEADERS), reason="inductor needs a C++ compiler and Python's headers")
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # torch by itself
def test_torch_compile_with_inductor():
    # In this process: starting a pool of compiler processes takes longer than compiling this.
    compiled_agrees(dynamic_conv2d, backend="inductor", options={"compile_threads": 1})


# --- memory ---------------------------------------------------------------------------------------------------------


def saved_bytes(op, x, kernels):
    """What autograd keeps alive between forward and backward, each storage counted once."""
    storages = {}

    def pack(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = op(x, kernels)
        total = sum(storages.values())  # while `out` lives no address is used twice
    assert out.requires_grad
    return total


def test_saved_for_backward():
    """Ours keeps the padded image and the kernels; the unfold form keeps all k*k neighbours of each pixel."""
    x, kernels = (t.requires_grad_() for t in random_inputs(1, 4, 16, 40, 40, k=7, dtype=torch.float32))
    ours, unfold = saved_bytes(dynamic_conv2d, x, kernels), saved_bytes(dynamic_conv2d_reference, x, kernels)
    assert ours == 4 * (64 * 46 * 46 + 4 * 49 * 40 * 40)
    assert unfold >= 4 * 64 * 49 * 40 * 40
    assert ours <= unfold / 10


def largest_allocation(run):
    """Bytes of the largest single tensor that is made (views cost nothing and don't count)."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as prof:
        run()
    return max(event.self_cpu_memory_usage for event in prof.events())


def test_no_tensor_as_large_as_all_neighbours():
    """Forward and backward together never allocate C*k*k*H*W numbers, nor a fifth of it. The reference does."""
    x, kernels = (t.requires_grad_() for t in random_inputs(1, 4, 16, 24, 24, k=7, dtype=torch.float32))
    neighbours = 4 * 64 * 49 * 24 * 24
    assert largest_allocation(lambda: dynamic_conv2d_reference(x, kernels).sum().backward()) >= neighbours
    largest = largest_allocation(lambda: dynamic_conv2d(x, kernels).sum().backward())
    assert 4 * x.numel() <= largest <= neighbours / 5


# --- numbers that usually break things ------------------------------------------------------------------------------


@BOTH
@EVERY_PADDING
@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (6, 6)])
def test_finite_gradients_on_flat_images(op, padding, value, size):
    x = torch.full((1, 4, *size), value, requires_grad=True)
    kernels = torch.full((1, 2, 49, *size), 1 / 49, requires_grad=True)
    for gradient in torch.autograd.grad(op(x, kernels, padding).square().sum(), (x, kernels)):
        assert gradient.isfinite().all()


@BOTH
@pytest.mark.parametrize(
    ("x_shape", "kernels_shape", "padding", "told"),
    [
        ((4, 5, 5), (1, 2, 9, 5, 5), "zeros", r"x \(4, 5, 5\)"),
        ((1, 4, 5, 5), (1, 9, 5, 5), "zeros", r"kernels \(1, 9, 5, 5\)"),
        ((1, 4, 5, 5), (1, 2, 4, 5, 5), "zeros", "4 taps"),  # even k
        ((1, 4, 5, 5), (1, 2, 8, 5, 5), "zeros", "8 taps"),  # no square
        ((1, 4, 5, 5), (1, 2, 9, 5, 6), "zeros", "differ in batch or image size"),
        ((2, 4, 5, 5), (1, 2, 9, 5, 5), "zeros", "differ in batch or image size"),
        ((1, 5, 5, 5), (1, 2, 9, 5, 5), "zeros", "5 channels cannot be shared by 2 heads"),
        ((1, 5, 5, 5), (1, 0, 9, 5, 5), "zeros", "5 channels cannot be shared by 0 heads"),
        ((1, 4, 5, 5), (1, 2, 9, 5, 5), "reflect", "padding='reflect'"),
    ],
)
def test_bad_input_is_named(op, x_shape, kernels_shape, padding, told):
    with pytest.raises(ValueError, match=told):
        op(torch.zeros(x_shape), torch.zeros(kernels_shape), padding)


def test_taps_are_a_whole_odd_square():
    assert [math.isqrt(taps) for taps in (1, 9, 25, 49)] == [1, 3, 5, 7]
    for k in (1, 3, 5, 7):
        x, kernels = random_inputs(k=k)
        assert dynamic_conv2d(x, kernels).shape == x.shape


# --- without gradients ------------------------------------------------------------------------------------------------


@EVERY_PADDING
def test_without_gradients_the_numbers_are_the_same_bit_for_bit(padding):
    x, kernels = random_inputs(dtype=torch.float32)
    with torch.no_grad():
        plain = dynamic_conv2d(x, kernels, padding)
    assert torch.equal(plain, dynamic_conv2d(x, kernels, padding))


def test_looking_at_an_image_does_not_load_the_compiler():
    """It takes a second, which everybody would wait for who only opens the page."""
    code = (
        "import sys, torch\n"
        "from sgdc_viz.nn import SGDCNet, SGDCNetConfig\n"
        "with torch.no_grad():\n"
        "    SGDCNet(SGDCNetConfig.compact()).eval()(torch.zeros(1, 3, 32, 32))\n"
        "print('torch._dynamo' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"
