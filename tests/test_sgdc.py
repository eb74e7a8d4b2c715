"""The block and its kernel sources, and the published blocks that take its place."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdc_viz.nn import (
    ALL_KERNEL_SOURCES,
    KERNEL_SOURCES,
    SGDC,
    BaselineBlock,
    DyConv,
    IDConv,
    Plain,
    dynamic_conv2d_reference,
    pool_context,
)
from sgdc_viz.nn.sgdc import DropPath

TAPS = {"context", "guidance", "kernel_logits", "kernels", "gate_static", "gate_dynamic", "value", "static_out",
        "dynamic_out"}  # fmt: skip


def make(kernel_source, seed=0, **changes):
    """A small block of any source. Layer scale 1, so that what it does is seen at once."""
    torch.manual_seed(seed)
    settings = dict(dim=8, guidance_channels=3, heads=2, kernel_size=5, layer_scale_init=1.0) | changes
    if kernel_source in KERNEL_SOURCES:
        return SGDC(kernel_source=kernel_source, **settings)
    return BaselineBlock(kernel_source=kernel_source, **settings)


def inputs(batch=2, height=9, width=10, guidance_size=None, seed=1, dim=8):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, dim, height, width, generator=generator)
    return x, torch.randn(batch, 3, *(guidance_size or (height, width)), generator=generator)


def tapped(block, x, guidance=None, **replace):
    """Run the block; return its output and what passed each tap. `replace`: tap name -> function of its value."""
    seen, handles = {}, []
    for name in TAPS:

        def hook(module, args, output, name=name):
            seen[name] = replace[name](output) if name in replace else output
            return seen[name]

        handles.append(block.get_submodule(name).register_forward_hook(hook))
    out = block(x, guidance)
    for handle in handles:
        handle.remove()
    return out, seen


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("source", ALL_KERNEL_SOURCES)
class TestEveryBlock:
    """What SGDC of any source and the published blocks have in common."""

    @pytest.mark.parametrize(("batch", "height", "width"), [(1, 1, 1), (1, 7, 4), (2, 8, 8), (3, 1, 5)])
    def test_keeps_the_shape(self, source, batch, height, width):
        x, guidance = inputs(batch, height, width, guidance_size=(3, 4))
        out = make(source)(x, guidance)
        assert out.shape == x.shape
        assert out.isfinite().all()

    def test_images_do_not_see_each_other(self, source):
        block = make(source)
        x, guidance = inputs(batch=2)
        alone = torch.cat([block(x[:1], guidance[:1]), block(x[1:], guidance[1:])])
        torch.testing.assert_close(block(x, guidance), alone)

    @pytest.mark.parametrize("value", [0.0, 0.5])
    @pytest.mark.parametrize("size", [(1, 1), (6, 7)])
    def test_finite_gradients_on_flat_features(self, source, value, size):
        block = make(source)
        x = torch.full((2, 8, *size), value, requires_grad=True)
        guidance = torch.full((2, 3, 4, 4), value, requires_grad=True)
        block(x, guidance).square().sum().backward()
        for name, p in (("x", x), *block.named_parameters()):
            assert p.grad is None or p.grad.isfinite().all(), name

    def test_every_parameter_learns(self, source):
        """Except the guidance's projection, where nothing reads the guidance."""
        block = make(source, dim=32)
        block(*inputs(dim=32)).square().sum().backward()
        still = {name for name, p in block.named_parameters() if p.grad is None or not p.grad.any()}
        reads_guidance = source in ("structure", "dyconv", "idconv", "plain")  # the last three have no such projection
        assert still == (set() if reads_guidance else {"proj_guidance.weight", "proj_guidance.bias"})

    def test_layer_scale_of_the_release_makes_an_identity(self, source):
        block = make(source, layer_scale_init=1e-6)
        x, guidance = inputs()
        change = (block(x, guidance) - x).norm() / x.norm()
        assert 0 < change < 5e-6

    def test_other_layouts_devices_and_precisions(self, source):
        block = make(source)
        x, guidance = inputs()
        expected = block(x, guidance)
        torch.testing.assert_close(block(x.contiguous(memory_format=torch.channels_last), guidance), expected)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            torch.testing.assert_close(block(x, guidance).float(), expected, rtol=0.05, atol=0.05)
        assert block.to("meta")(x.to("meta"), guidance.to("meta")).shape == x.shape

    def test_state_round_trip(self, source):
        block, twin = make(source), make(source, seed=7)
        twin.load_state_dict(block.state_dict())
        assert torch.equal(block(*inputs()), twin(*inputs()))

    @pytest.mark.parametrize("size", [24, 32, 48, 64, 256])
    def test_same_number_of_parameters(self, source, size):
        """Within 2 %: what differs between the arms of a comparison is the source of the kernels, not the size."""
        with torch.device("meta"):
            block = make(source, dim=size, guidance_channels=16, heads=4, kernel_size=7)
            structure = make("structure", dim=size, guidance_channels=16, heads=4, kernel_size=7)
        assert abs(count(block) / count(structure) - 1) < 0.02

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"kernel_size": 4}, "kernel_size=4 must be odd"),
            ({"heads": 3}, "dim=8 is not divisible by heads=3"),
            ({"heads": 0}, "heads=0"),
            ({"drop_path": 1.0}, "drop_path=1.0"),
        ],
    )
    def test_bad_arguments_are_named(self, source, changes, told):
        with pytest.raises(ValueError, match=told):
            make(source, **changes)


# --- SGDC -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", KERNEL_SOURCES)
class TestEverySource:
    """What the four sources of SGDC have in common."""

    def test_same_parameters(self, source):
        ours, structure = make(source).state_dict(), make("structure").state_dict()
        assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in structure.items()}
        assert all(torch.equal(ours[name], structure[name]) for name in ours)  # same seed, same start

    def test_is_the_formula(self, source):
        """Equations 1 to 5, written out once more, flat."""
        block = make(source, kernel_size=3, pool_size=4)
        x, g = inputs(height=8, width=8)
        w = block.state_dict()
        context = {
            "structure": x + F.conv2d(g, w["proj_guidance.weight"], w["proj_guidance.bias"]),
            "semantic": x,
            "pooled": F.avg_pool2d(x, 4).repeat_interleave(4, -1).repeat_interleave(4, -2),
            "global": x.mean((-2, -1), keepdim=True) + torch.zeros_like(x),
        }[source]
        mixed = F.conv2d(context, w["attn.weight"], w["attn.bias"])
        a1, a2, logits = mixed[:, :8], mixed[:, 8:16], mixed[:, 16:].reshape(2, 2, 9, 8, 8)

        def norm(t, name):
            centred = t - t.mean(1, keepdim=True)
            unit = centred / (centred.square().mean(1, keepdim=True) + 1e-6).sqrt()
            return unit * w[name + ".weight"][:, None, None] + w[name + ".bias"][:, None, None]

        s = F.conv2d(x * torch.sigmoid(a1), w["dwconv.weight"], w["dwconv.bias"], padding=1, groups=8)
        weights = logits.exp() / logits.exp().sum(2, keepdim=True)
        u = dynamic_conv2d_reference(norm(x, "norm1"), weights) * torch.sigmoid(a2)
        y = x + w["ls1"][:, None, None] * (s + u)
        hidden = F.gelu(F.conv2d(norm(y, "norm2"), w["mlp.0.weight"], w["mlp.0.bias"]))
        out = y + w["ls2"][:, None, None] * F.conv2d(hidden, w["mlp.2.weight"], w["mlp.2.bias"])
        torch.testing.assert_close(block(x, g), out, rtol=1e-4, atol=1e-5)

    def test_taps_see_everything(self, source):
        x, guidance = inputs()
        _, seen = tapped(make(source), x, guidance)
        assert set(seen) == TAPS - (set() if source == "structure" else {"guidance"})
        shapes = {name: tuple(value.shape[1:]) for name, value in seen.items()}
        assert shapes["kernels"] == shapes["kernel_logits"] == (2, 25, 9, 10)
        for name in ("context", "gate_static", "gate_dynamic", "value", "static_out", "dynamic_out"):
            assert shapes[name] == (8, 9, 10)

    def test_kernels_are_averages_and_gates_are_open_between_0_and_1(self, source):
        _, seen = tapped(make(source), *inputs())
        assert (seen["kernels"] >= 0).all()
        torch.testing.assert_close(seen["kernels"].sum(2), torch.ones(2, 2, 9, 10))
        for gate in ("gate_static", "gate_dynamic"):
            assert ((seen[gate] > 0) & (seen[gate] < 1)).all()
            assert seen[gate].std(dim=1).min() > 0  # per channel, not one number a pixel

    def test_a_hook_replaces_what_it_sees(self, source):
        """Kernels replaced by "read the right neighbour" in head 0 only: its contiguous half of the channels moves."""
        block = make(source)
        x, guidance = inputs()

        def delta(kernels):
            kernels = torch.zeros_like(kernels)
            kernels[:, 0, 2 * 5 + 3] = 1  # centre row, one to the right
            kernels[:, 1, 2 * 5 + 2] = 1  # the centre
            return kernels

        out, seen = tapped(block, x, guidance, kernels=delta, gate_dynamic=torch.ones_like)
        assert torch.equal(seen["dynamic_out"][:, :4, :, :-1], seen["value"][:, :4, :, 1:])
        assert torch.equal(seen["dynamic_out"][:, 4:], seen["value"][:, 4:])
        assert not torch.allclose(out, block(x, guidance))

    @pytest.mark.parametrize("shift", [(1, 0), (0, 3), (2, 1), (4, 0), (0, 4), (4, 4)])
    def test_shift_equivariance(self, source, shift):
        """Per-pixel kernels move with the image by any shift, and so does one kernel for all. Pooled ones only by whole
        blocks of p = 4: by 1, 2 or 3 pixels the grid stays where it was and averages other pixels together."""
        block = make(source, pool_size=4)
        x, guidance = inputs(height=24, width=24)
        moved = block(x.roll(shift, (-2, -1)), guidance.roll(shift, (-2, -1)))
        expected = block(x, guidance).roll(shift, (-2, -1))
        rim = 4 + 5 // 2 + 1
        inner = (..., slice(rim, -rim), slice(rim, -rim))
        error = (moved - expected)[inner].abs().max()
        by_whole_blocks = all(s % 4 == 0 for s in shift)
        if source == "pooled" and not by_whole_blocks:
            assert error > 0.05
        else:
            assert error < 1e-4

    def test_drop_path_drops_whole_samples_in_training_only(self, source):
        block = make(source, drop_path=0.5)
        x, guidance = inputs(batch=16)
        torch.testing.assert_close(block.eval()(x, guidance), make(source)(x, guidance))
        kept = block.train()(x, guidance).ne(x).flatten(1).any(1)
        assert 0 < kept.sum() < 16


class TestGuidance:
    def test_semantic_ignores_guidance(self):
        for source in ("semantic", "pooled", "global", "dyconv", "idconv", "plain"):
            block = make(source)
            x, guidance = inputs()
            assert torch.equal(block(x, guidance), block(x, 100 * guidance))
            assert torch.equal(block(x, guidance), block(x, None))

    def test_structure_needs_guidance(self):
        x, guidance = inputs()
        assert not torch.allclose(make("structure")(x, guidance), make("structure")(x, -guidance))
        with pytest.raises(ValueError, match="needs the guidance"):
            make("structure")(x)

    def test_zero_guidance_leaves_only_the_bias_of_the_projection(self):
        structure, semantic = make("structure"), make("semantic")
        x, guidance = inputs()
        bias = structure.proj_guidance.bias[:, None, None]
        with_bias, _ = tapped(semantic, x, context=lambda c: c + bias)
        torch.testing.assert_close(structure(x, 0 * guidance), with_bias)
        torch.nn.init.zeros_(structure.proj_guidance.bias)
        torch.testing.assert_close(structure(x, 0 * guidance), semantic(x))

    @pytest.mark.parametrize("size", [(1, 1), (3, 7), (9, 10), (30, 25)])
    def test_guidance_of_any_size_is_resized_bilinearly(self, size):
        x, guidance = inputs(guidance_size=size)
        _, seen = tapped(make("structure"), x, guidance)
        expected = F.interpolate(guidance, (9, 10), mode="bilinear", align_corners=False)
        torch.testing.assert_close(seen["guidance"], expected)

    def test_layer_scale_starves_or_feeds_the_guidance(self):
        """The gradient that reaches the guidance is proportional to ls1: 1e-6 leaves next to nothing to learn from."""

        def gradient(layer_scale):
            x, guidance = inputs()
            guidance.requires_grad_()
            make("structure", layer_scale_init=layer_scale)(x, guidance).square().mean().backward()
            return guidance.grad.abs().max().item()

        starved, fed = gradient(1e-6), gradient(0.1)
        assert 0 < starved < 1e-8
        assert fed > 1e-5
        assert fed / starved == pytest.approx(1e5, rel=0.5)

    def test_antialias_saves_a_thin_line(self):
        """A line one pixel wide, made 8 times smaller: bilinear reads only pixels 8j+3 and 8j+4, the line is at 16."""
        x, _ = inputs(batch=1, height=8, width=8)
        line = torch.zeros(1, 3, 64, 64)
        line[..., 16] = 1
        for antialias in (False, True):
            block = make("structure", antialias=antialias)
            out, seen = tapped(block, x, line)
            survives = seen["guidance"].abs().max().item()
            assert torch.equal(out, block(x, 0 * line)) == (survives == 0)
            assert survives == (0 if not antialias else pytest.approx(0.125, abs=0.07))
        total = seen["guidance"].sum(-1)  # antialiased: 1/8 of the line a row, spread over two columns
        torch.testing.assert_close(total, torch.full_like(total, 1 / 8), rtol=0.05, atol=0)

    def test_antialias_changes_nothing_when_guidance_grows(self):
        x, guidance = inputs(guidance_size=(4, 5))
        plain, smooth = (make("structure", antialias=a)(x, guidance) for a in (False, True))
        torch.testing.assert_close(plain, smooth, rtol=1e-4, atol=1e-5)


class TestPooling:
    @settings(deadline=None, max_examples=40)
    @given(height=st.integers(1, 13), width=st.integers(1, 13), p=st.integers(1, 15))
    def test_every_pixel_gets_the_mean_of_its_block(self, height, width, p):
        x = torch.randn(1, 2, height, width, dtype=torch.float64)
        pooled = pool_context(x, p)
        expected = torch.empty_like(x)
        for i in range(0, height, p):
            for j in range(0, width, p):
                block = x[..., i : i + p, j : j + p]  # at the right and bottom: what is left of it
                expected[..., i : i + p, j : j + p] = block.mean((-2, -1), keepdim=True)
        torch.testing.assert_close(pooled, expected)
        torch.testing.assert_close(pool_context(pooled, p), pooled)

    def test_pooling_by_1_is_semantic(self):
        assert torch.equal(make("pooled", pool_size=1)(*inputs()), make("semantic")(*inputs()))

    @pytest.mark.parametrize("p", [10, 11, 100])
    def test_pooling_by_the_whole_image_is_global(self, p):
        torch.testing.assert_close(make("pooled", pool_size=p)(*inputs()), make("global")(*inputs()))
        assert not torch.allclose(make("pooled", pool_size=9)(*inputs()), make("global")(*inputs()))

    def test_one_kernel_a_block_one_kernel_an_image(self):
        x, _ = inputs(height=8, width=12)
        _, pooled = tapped(make("pooled", pool_size=4), x)
        _, one = tapped(make("global"), x)
        for name in ("kernels", "gate_static", "gate_dynamic"):
            tiles = pooled[name].unflatten(-1, (3, 4)).unflatten(-3, (2, 4))  # [..., 2 rows, 4, 3 columns, 4]
            assert torch.equal(tiles, tiles[..., :1, :, :1].expand_as(tiles))
            assert not torch.allclose(pooled[name][..., 0], pooled[name][..., 4])
            torch.testing.assert_close(one[name], one[name][..., :1, :1].expand_as(one[name]))

    def test_pool_size_is_checked(self):
        with pytest.raises(ValueError, match="pool_size=0"):
            make("pooled", pool_size=0)


class TestPaddingOption:
    @pytest.mark.parametrize("padding", ["zeros", "replicate", "renormalize"])
    def test_border_mass(self, padding):
        """Uniform 7 x 7 kernels on a constant: 33 % of it left in a corner, 57 % at an edge; all with the remedies."""
        block = make("semantic", kernel_size=7, padding=padding)
        x, _ = inputs(batch=1, height=15, width=15)
        fixed = dict(value=torch.ones_like, gate_dynamic=torch.ones_like, kernels=lambda k: torch.full_like(k, 1 / 49))
        _, seen = tapped(block, x, **fixed)
        u = seen["dynamic_out"][0, 0]
        corner, edge = (16 / 49, 28 / 49) if padding == "zeros" else (1, 1)
        assert [u[0, 0].item(), u[0, 7].item(), u[7, 7].item()] == pytest.approx([corner, edge, 1], abs=1e-5)

    def test_only_the_border_differs(self):
        x, guidance = inputs(height=12, width=12)
        zeros = make("structure")(x, guidance)
        for padding in ("replicate", "renormalize"):
            out = make("structure", padding=padding)(x, guidance)
            torch.testing.assert_close(out[..., 2:-2, 2:-2], zeros[..., 2:-2, 2:-2])
            assert (out - zeros)[..., 0, :].abs().max() > 0.01

    def test_padding_and_source_are_checked(self):
        with pytest.raises(ValueError, match="padding='mirror'"):
            make("structure", padding="mirror")
        with pytest.raises(ValueError, match="kernel_source='oracle'"):
            SGDC(8, heads=2, kernel_source="oracle")


@pytest.mark.parametrize(
    "changes, told",
    [
        (dict(dim=0), "dim=0 must be 1 or more"),
        (dict(guidance_channels=0), "guidance_channels=0 must be 1 or more"),
        (dict(mlp_ratio=0.1), "mlp_ratio=0.1 leaves the MLP no channel at dim=8"),
        (dict(mlp_ratio=-1), "mlp_ratio=-1"),
    ],
)
def test_widths_are_checked(changes, told):
    with pytest.raises(ValueError, match=told):
        make("structure", **changes)


@pytest.mark.parametrize(
    "x, guidance, told",
    [
        ((2, 6, 9, 10), (2, 3, 9, 10), r"x must have shape \[B, 8, H, W\], got \[2, 6, 9, 10\]"),
        ((8, 9, 10), (2, 3, 9, 10), r"x must have shape \[B, 8, H, W\], got \[8, 9, 10\]"),
        ((2, 8, 9, 10), (2, 4, 9, 10), r"guidance must have shape \[B, 3, H, W\], got \[2, 4, 9, 10\]"),
        ((2, 8, 9, 10), (3, 9, 10), r"guidance must have shape \[B, 3, H, W\], got \[3, 9, 10\]"),
        ((2, 8, 9, 10), (1, 3, 9, 10), r"guidance is of 1 image\(s\) and x of 2"),
    ],
)
def test_inputs_are_checked(x, guidance, told):
    with pytest.raises(ValueError, match=told):
        make("structure")(torch.zeros(x), torch.zeros(guidance))
    if "guidance" in told:  # which the other sources do not read
        make("semantic")(torch.zeros(x), torch.zeros(guidance))


def test_drop_path_keeps_the_mean():
    torch.manual_seed(0)
    out = DropPath(0.25).train()(torch.ones(4000, 1, 1, 1))
    assert sorted(set(out.flatten().tolist())) == pytest.approx([0, 4 / 3])
    assert out.mean().item() == pytest.approx(1, abs=0.05)


def test_torch_compile_without_a_graph_break():
    torch.compiler.reset()
    block, twin = make("structure"), make("structure")
    compiled = torch.compile(block, backend="aot_eager", fullgraph=True)
    out, expected = compiled(*inputs()), twin(*inputs())
    torch.testing.assert_close(out, expected)
    out.square().sum().backward()
    expected.square().sum().backward()
    for (name, ours), theirs in zip(block.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, msg=lambda m, name=name: f"{name}: {m}")


# --- the published blocks -------------------------------------------------------------------------------------------


class TestBaselines:
    @pytest.mark.parametrize("k", [3, 5])
    def test_with_one_kernel_to_choose_from_they_are_a_plain_depthwise_convolution(self, k):
        x, _ = inputs()
        dyconv, idconv = DyConv(8, k, experts=1), IDConv(8, k, groups=1)
        for mixer, bias in ((dyconv, dyconv.bias[0]), (idconv, idconv.bias)):
            torch.nn.init.normal_(bias)
            plain = Plain(8, k)
            plain.load_state_dict({"weight": mixer.weight[0][:, None], "bias": bias})
            torch.testing.assert_close(mixer(x), plain(x))

    @pytest.mark.parametrize("mixer", [DyConv, IDConv])
    def test_the_kernel_is_made_from_the_image(self, mixer):
        """A static filter is linear, f(2x) = 2 f(x); theirs changes with the image."""
        torch.manual_seed(0)
        x, _ = inputs()
        mixer = mixer(8, 5)
        assert not torch.allclose(mixer(2 * x), 2 * mixer(x), atol=1e-4)
        static = Plain(8, 5)
        torch.nn.init.zeros_(static.bias)
        torch.testing.assert_close(static(2 * x), 2 * static(x))

    @pytest.mark.parametrize("mixer", [DyConv, IDConv, Plain])
    def test_one_kernel_for_all_pixels_of_an_image(self, mixer):
        """The same 9 x 9 patch at two places gives the same answer, whatever lies between (unlike SGDC pooled)."""
        torch.manual_seed(0)
        x = torch.randn(1, 8, 30, 31)
        x[..., 18:27, 19:28] = x[..., 2:11, 1:10]
        out = mixer(8, 5)(x)
        torch.testing.assert_close(out[..., 22, 23], out[..., 6, 5])
        pooled, _ = tapped(make("pooled", pool_size=8), x)
        assert not torch.allclose(pooled[..., 22, 23], pooled[..., 6, 5], atol=1e-2)

    def test_dyconv_mixes_experts_by_a_softmax_of_the_pooled_image(self):
        torch.manual_seed(0)
        x, _ = inputs()
        dyconv = DyConv(8, 3, experts=3)
        pi = dyconv.attention(x.mean((2, 3))).softmax(1)
        torch.testing.assert_close(pi.sum(1), torch.ones(2))
        weights, biases = dyconv.weight[:, :, None], dyconv.bias
        each = torch.stack([F.conv2d(x, weights[e], biases[e], padding=1, groups=8) for e in range(3)])
        torch.testing.assert_close(dyconv(x), torch.einsum("be,ebchw->bchw", pi, each))
        flat = DyConv(8, 3, experts=3, temperature=1e9)
        flat.load_state_dict(dyconv.state_dict())
        torch.testing.assert_close(flat(x), each.mean(0))

    def test_idconv_mixes_groups_per_channel_and_tap(self):
        torch.manual_seed(0)
        x, _ = inputs(batch=1)
        idconv = IDConv(8, 3, groups=2)
        scores = idconv.attention(F.adaptive_avg_pool2d(x, 3))[0]  # [2 * 8, 3, 3]
        first = torch.sigmoid(scores[:8] - scores[8:])  # a softmax over two
        weight = first * idconv.weight[0] + (1 - first) * idconv.weight[1]
        torch.testing.assert_close(idconv(x), F.conv2d(x, weight[:, None], idconv.bias, padding=1, groups=8))

    def test_unknown_block_is_named(self):
        with pytest.raises(ValueError, match="kernel_source='odconv'"):
            BaselineBlock(8, "odconv")
