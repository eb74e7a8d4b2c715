"""The lens against hand-computed values, the formula of the block, and deliberate tampering."""

import math
import subprocess
import sys
from contextlib import ExitStack, contextmanager

import pytest
import torch
import torch.nn.functional as F
from conftest import features
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sgdc_viz.lens import PixelView, Recording, blocks, kernel_entropy, record, sites
from sgdc_viz.nn import SGDC, SGE, SGDCNet, SGDCNetConfig
from sgdc_viz.nn.dynamic_conv import PADDINGS

LAW = settings(deadline=None, max_examples=20)
FINEST = "decoder.s2.block"
TAPS = {"context", "guidance", "kernel_logits", "kernels", "gate_static", "gate_dynamic", "value", "static_out",
        "dynamic_out"}  # fmt: skip


def make_block(dim=8, heads=4, k=7, seed=0, **options) -> SGDC:
    """A block whose kernels are far from uniform, so that a mix-up of taps, heads or pixels shows."""
    torch.manual_seed(seed)
    block = SGDC(dim, guidance_channels=3, heads=heads, kernel_size=k, layer_scale_init=0.5, **options).eval()
    with torch.no_grad():
        block.attn.weight.mul_(4)
        block.norm1.weight.uniform_(0.5, 2)
    return block


@pytest.fixture(scope="module")
def net() -> SGDCNet:
    torch.manual_seed(0)
    return SGDCNet(SGDCNetConfig.compact()).eval()


@pytest.fixture(scope="module")
def odd_recording(net) -> tuple[torch.Tensor, Recording]:
    """Two images of 17 x 23 pixels: no multiple of any stride."""
    image = torch.rand(2, 3, 17, 23, generator=torch.Generator().manual_seed(3))
    with torch.no_grad(), record(net) as rec:
        net(image)
    return image, rec


def hooks_of(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


class Foreign(nn.Module):
    """Somebody else's model with one block at stride 4, which it calls by keyword."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, stride=4)
        self.mixer = make_block()

    def forward(self, image):
        x = self.stem(image)
        return {"features": [self.mixer(x=x, guidance=x[:, :3])], "stride": 4}


# --- names -----------------------------------------------------------------------------------------------------------


def test_sites_of_a_network_are_its_taps_coarse_to_fine(net):
    assert blocks(net) == tuple(f"decoder.s{s}.block" for s in (16, 8, 4, 2))
    expected = {f"{block}.{tap}" for block in blocks(net) for tap in TAPS} | {"sge.gate_deep", "sge.gate_shallow"}
    assert set(sites(net)) == expected and len(sites(net)) == len(expected)
    assert all(isinstance(net.get_submodule(site), nn.Identity) for site in sites(net))


def test_a_bare_block_has_bare_names():
    block = make_block()
    assert blocks(block) == ("",)
    assert set(sites(block)) == TAPS


def test_a_model_without_blocks_has_no_names():
    assert sites(nn.ReLU()) == blocks(nn.ReLU()) == ()


# --- what is recorded ------------------------------------------------------------------------------------------------


def test_recorded_shapes(odd_recording):
    image, rec = odd_recording
    assert torch.equal(rec.input, image)
    for stride, dim in ((16, 64), (8, 48), (4, 32), (2, 24)):
        block, size = f"decoder.s{stride}.block", (32 // stride, 32 // stride)  # 17 x 23 is extended to 32 x 32
        assert rec[f"{block}.kernels"].shape == rec[f"{block}.kernel_logits"].shape == (2, 4, 49, *size)
        assert rec[f"{block}.guidance"].shape == (2, 16, *size)
        for tap in TAPS - {"kernels", "kernel_logits", "guidance"}:
            assert rec[f"{block}.{tap}"].shape == (2, dim, *size)


def test_recording_changes_nothing_and_keeps_the_output(net, odd_recording):
    image, rec = odd_recording
    with torch.no_grad():
        plain = net(image)
    assert type(rec.output) is type(plain)
    for recorded, expected in zip(rec.output, plain, strict=True):
        assert torch.equal(recorded, expected)


def test_recorded_values_are_those_of_the_formula():
    block, (x, guidance) = make_block(), features()
    with torch.no_grad(), record(block) as rec:
        block(x, guidance)
        context = x + block.proj_guidance(guidance)
        a1, a2, logits = block.attn(context).split((8, 8, 4 * 49), 1)
    kernels = logits.view(1, 4, 49, 9, 11).softmax(2)
    close = dict(rtol=0, atol=1e-6)
    torch.testing.assert_close(rec["context"], context, **close)
    torch.testing.assert_close(rec["kernels"], kernels, **close)
    torch.testing.assert_close(rec["gate_static"], a1.sigmoid(), **close)
    torch.testing.assert_close(rec["gate_dynamic"], a2.sigmoid(), **close)
    value = F.layer_norm(x.movedim(1, -1), (8,), block.norm1.weight, block.norm1.bias, 1e-6).movedim(-1, 1)
    torch.testing.assert_close(rec["value"], value, **close)


def test_a_recording_is_a_mapping_of_the_sites_that_fired():
    block, (x, guidance) = make_block(kernel_source="semantic"), features()
    with record(block, ["gate_*", "kernels", "guidance"]) as rec:
        assert len(rec) == 0 and rec.output is None
        block(x, guidance)
    assert rec.sites == tuple(rec) == ("kernels", "gate_static", "gate_dynamic")
    assert "kernels" in rec and "guidance" not in rec and "value" not in rec and len(rec) == 3
    assert rec.get("value") is None and dict(rec.items())["kernels"] is rec["kernels"]
    assert "3 sites of SGDC" in repr(rec)
    assert rec == rec and rec != object() and hash(rec)


def test_globs_choose_sites(net):
    image = torch.rand(1, 3, 16, 16)
    with torch.no_grad(), record(net, ["*.s2.block.gate_?????c", "sge.*", "*.s16.block.kernels"]) as rec:
        net(image=image)  # by keyword, too
    assert rec.sites == ("sge.gate_deep", "sge.gate_shallow", "decoder.s16.block.kernels", f"{FINEST}.gate_static")
    assert torch.equal(rec.input, image)


def test_a_bare_boundary_branch_can_be_recorded():
    sge = SGE(4, 4, mid_channels=8).eval()
    with torch.no_grad(), record(sge) as rec:
        sge(torch.rand(1, 4, 2, 2), torch.rand(1, 4, 8, 8))
    assert rec.sites == ("gate_deep", "gate_shallow")
    assert rec["gate_shallow"].shape == (1, 1, 8, 8)


def test_a_site_that_fires_twice_gives_a_list_and_call_chooses():
    block, first, second = make_block(), features(height=9), features(height=5, seed=2)
    with torch.no_grad(), record(block) as rec:
        block(*first)
        block(*second)
    assert [t.shape[-2] for t in rec["kernels"]] == [9, 5]
    assert torch.equal(rec.input, second[0])
    assert rec.at("", 8, 0, call=0).error < 1e-5
    assert torch.equal(rec.at("", 2, 3).kernels, rec["kernels"][1][0, :, :, 2, 3].view(4, 7, 7))
    assert torch.equal(rec.at("", 2, 3, call=0).kernels, rec["kernels"][0][0, :, :, 2, 3].view(4, 7, 7))
    with pytest.raises(ValueError, match="y goes from 0 to 4"):  # the size of that run, not of another
        rec.at("", 8, 0)
    with pytest.raises(ValueError, match=r"call=2: block '' ran 2 time\(s\)"):
        rec.at("", 0, 0, call=2)
    assert rec.verify()[""] < 1e-5


def test_copies_survive_writing_in_place_after_the_tap():
    """An in-place operation later in the model must not reach back into the recording."""
    block, (x, guidance) = make_block(), features()
    with torch.no_grad():
        expected = block.norm1(x)
        with record(block) as rec:
            # Registered after the recorder's own hook: it overwrites the tensor the recorder has just seen.
            handle = block.value.register_forward_hook(lambda m, args, out: out.zero_())
            out = block(x, guidance)
            handle.remove()
            x.fill_(7)
            out.fill_(7)
    torch.testing.assert_close(rec["value"], expected)
    assert not (rec.input == 7).any() and not (rec.output == 7).any()
    assert rec["dynamic_out"].abs().max() == 0  # the model did go on with zeros ...
    assert rec.verify()[""] > 0.1  # ... and verify says that value and dynamic_out do not belong together


def test_recordings_are_detached_by_default():
    block, (x, guidance) = make_block(), features()
    with record(block) as rec:
        out = block(x.requires_grad_(), guidance)
    assert out.requires_grad
    assert not any(rec[site].requires_grad for site in rec.sites)
    assert not rec.output.requires_grad and not rec.input.requires_grad


def test_dtype_of_the_copies():
    block, inputs = make_block(), features()
    with torch.no_grad(), record(block, dtype=torch.float16, device="cpu") as rec:
        out = block(*inputs)
    assert {rec[site].dtype for site in rec.sites} == {torch.float16}
    assert out.dtype == torch.float32
    view = rec.at("", 4, 5)
    assert view.kernels.dtype == torch.float32 and 0 < view.error < 1e-2
    assert 0 < rec.verify()[""] < 2e-2


# --- gradients -------------------------------------------------------------------------------------------------------


def test_gradients_reach_recorded_values_and_start_from_them():
    """detach=False: d(output)/d(recorded) equals the gradient found by cutting the model open there by hand."""
    block, (x, guidance) = make_block(), features()
    x.requires_grad_()
    with record(block, detach=False) as rec:
        out = block(x, guidance)
    plain = block(x, guidance)
    assert torch.equal(out, plain)
    ours, whole = torch.autograd.grad(out.square().sum(), (rec["gate_static"], x), retain_graph=True)

    gate = rec["gate_static"].detach().requires_grad_()
    with hooked(block.gate_static, lambda m, args, out: gate):
        (by_hand,) = torch.autograd.grad(block(x, guidance).square().sum(), gate)
    torch.testing.assert_close(ours, by_hand)
    (expected,) = torch.autograd.grad(plain.square().sum(), x)
    torch.testing.assert_close(whole, expected)

    (upstream,) = torch.autograd.grad(kernel_entropy(rec["kernels"]).mean(), block.proj_guidance.weight)
    assert torch.isfinite(upstream).all() and upstream.abs().max() > 0


@contextmanager
def hooked(module, hook):
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def test_gradients_through_a_pixel_view():
    block, (x, guidance) = make_block(), features()
    x.requires_grad_()
    with record(block, detach=False) as rec:
        block(x, guidance)
    view = rec.at("", 4, 5)
    rebuilt, own = view.dynamic, rec["dynamic_out"][0, :, 4, 5]
    for channel in (0, 7):
        a, b = (torch.autograd.grad(v[channel], x, retain_graph=True)[0] for v in (rebuilt, own))
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_in_place_is_harmless_with_gradients_too():
    block, (x, guidance) = make_block(), features()
    with record(block, "gate_dynamic", detach=False) as rec:
        with hooked(block.gate_dynamic, lambda m, args, out: out.mul_(0)):
            out = block(x, guidance)
    assert rec["gate_dynamic"].min() > 0
    (gradient,) = torch.autograd.grad(out.sum(), rec["gate_dynamic"])
    assert gradient.abs().max() == 0  # the gate was multiplied by 0 after the tap


# --- hooks: only our own, and always removed -------------------------------------------------------------------------


def test_hooks_are_removed(net):
    before = hooks_of(net)
    with record(net) as rec, torch.no_grad():
        assert hooks_of(net) > before
        net(torch.rand(1, 3, 16, 16))
    kernels = rec[f"{FINEST}.kernels"].clone()
    assert hooks_of(net) == before == 0
    with torch.no_grad():
        net(torch.rand(1, 3, 16, 16))
    assert torch.equal(rec[f"{FINEST}.kernels"], kernels)  # nothing is recorded after the block


@pytest.mark.parametrize("fail", ["body", "model", "interrupt"])
def test_hooks_are_removed_when_something_raises(net, fail):
    error = KeyboardInterrupt if fail == "interrupt" else RuntimeError

    def bang(*_):
        raise error("bang")

    with pytest.raises(error, match="bang"), record(net), torch.no_grad():
        if fail == "model":
            with hooked(net.decoder["s4"], bang):
                net(torch.rand(1, 3, 16, 16))
        bang()
    assert hooks_of(net) == 0


def test_hooks_are_removed_when_an_argument_is_wrong(net):
    with pytest.raises(ValueError), record(net, ["*.kernels", "*.nonsense"]):
        pass
    assert hooks_of(net) == 0


def test_hooks_of_others_stay():
    block, inputs = make_block(), features()
    seen = []
    handle = block.kernels.register_forward_hook(lambda m, args, out: seen.append(1))
    with torch.no_grad(), record(block):
        block(*inputs)
    with torch.no_grad():
        block(*inputs)
    assert seen == [1, 1] and hooks_of(block) == 1
    handle.remove()


def test_nested_records_do_not_disturb_each_other():
    block, inputs = make_block(), features()
    with torch.no_grad(), record(block) as outer:
        with pytest.raises(RuntimeError, match="bang"), record(block, "kernels") as inner:
            block(*inputs)
            raise RuntimeError("bang")
        assert hooks_of(block) > 0
        block(*inputs)
        outer.verify()  # must not fire the taps it checks
    assert hooks_of(block) == 0
    assert isinstance(inner["kernels"], torch.Tensor)
    assert len(outer["kernels"]) == len(outer["guidance"]) == 2
    assert torch.equal(outer["kernels"][0], inner["kernels"])


def test_a_run_that_failed_half_way_is_not_mixed_with_the_next():
    block, first, second = make_block(), features(), features(seed=2)

    def bang(*_):
        raise RuntimeError("bang")

    with torch.no_grad(), record(block) as rec:
        with pytest.raises(RuntimeError, match="bang"), hooked(block.norm1, bang):
            block(*first)  # kernels are made, value and dynamic_out are not
        block(*second)
    assert rec.at("", 3, 3).error < 1e-5
    assert rec.verify()[""] < 1e-5
    with pytest.raises(ValueError, match="site 'value' was not recorded in this run"):
        _ = rec.at("", 3, 3, call=0).patch


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "suggested"),
    [
        ("decoder.s2.block.kernel", "decoder.s2.block.kernels"),
        ("decoder.s2.blok.value", "decoder.s2.block.value"),
        ("*.gate_statik", "*.gate_static"),
        ("kernels", "*.kernels"),
        ("decoder.s3.*", "decoder.s8.*"),
    ],
)
def test_a_pattern_without_a_match_gets_a_suggestion(net, asked, suggested):
    with pytest.raises(ValueError) as error, record(net, ["*.value", asked]):
        pass
    assert str(error.value) == f"{asked!r} matches no site: did you mean {suggested!r}."


@pytest.mark.parametrize("source", ["dyconv", "idconv", "plain"])
def test_baseline_networks_say_that_they_have_no_taps(source):
    net = SGDCNet(SGDCNetConfig.compact(kernel_source=source)).eval()
    assert blocks(net) == ()
    for pattern in ("*", "*.kernels", "decoder.s2.block.kernels"):
        with pytest.raises(ValueError, match=f"blocks of this network are '{source}', .* no SGDC taps"):
            with record(net, pattern):
                pass
    with torch.no_grad(), record(net, "sge.*") as rec:  # their boundary branch is the same as in every arm
        net(torch.rand(1, 3, 16, 16))
    assert rec.sites == ("sge.gate_deep", "sge.gate_shallow")
    with pytest.raises(ValueError, match=f"no SGDC block .*'{source}'"):
        rec.at(FINEST, 0, 0)


def test_a_model_without_blocks_is_refused():
    with pytest.raises(ValueError, match="no SGDC block in this ReLU"), record(nn.ReLU().eval()):
        pass
    with pytest.raises(TypeError, match="torch module, not a str"), record("net"):
        pass


def test_training_mode_is_refused(net):
    block = make_block().train()
    with pytest.raises(ValueError, match=r"SGDC is in training mode.*call model.eval\(\)"), record(block):
        pass
    part = SGDCNet(SGDCNetConfig.compact()).eval()
    part.decoder["s4"].join.bn.train()  # one forgotten part is enough
    with pytest.raises(ValueError, match="BatchNorm2d is in training mode"), record(part):
        pass


def test_compiled_modules_are_refused():
    with pytest.raises(ValueError, match="torch.compile'd module: record needs the model without"):
        with record(torch.compile(make_block(), backend="eager")):
            pass
    outer = nn.Sequential(make_block()).eval()
    outer[0].compile(backend="eager")
    with pytest.raises(ValueError, match="torch.compile'd module"), record(outer):
        pass


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_traced_modules_are_refused():
    traced = torch.jit.trace(nn.Conv2d(1, 1, 1).eval(), torch.rand(1, 1, 2, 2))
    with pytest.raises(ValueError, match="scripted or traced module: record needs the module it was made from"):
        with record(traced):
            pass


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(detach=False, dtype=torch.float16), "detach=False keeps copies in the model's graph"),
        (dict(detach=False, device="cpu"), "leave out device= and dtype="),
        (dict(dtype=torch.int8), "dtype=torch.int8 cannot hold features"),
        (dict(patterns=[]), "patterns is empty"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message), record(make_block(), **options):
        pass


def test_max_bytes_is_exact_and_says_how_to_ask_for_less():
    block, inputs = make_block(kernel_source="semantic"), features()
    need = 4 * 49 * 9 * 11 * 4  # kernels in float32
    with torch.no_grad():
        with record(block, "kernels", max_bytes=need) as rec:
            block(*inputs)
        with record(block, "kernels", max_bytes=need // 2, dtype=torch.float16):
            block(*inputs)
        with pytest.raises(ValueError) as error, record(block, "kernels", max_bytes=need - 1):
            block(*inputs)
    assert rec["kernels"].nbytes == need
    told = str(error.value)
    assert "'kernels' asks for 0.1 MiB" in told and f"max_bytes={need - 1}" in told and "dtype=torch.float16" in told
    assert "\n" not in told and hooks_of(block) == 0


def test_max_bytes_counts_everything_and_is_checked_before_copying(monkeypatch):
    """The first site fits, the second does not: it is never copied, and what was kept is let go."""
    block, inputs = make_block(), features()
    copied = []
    to = torch.Tensor.to

    def spy(self, *args, **kwargs):
        if kwargs.get("copy"):
            copied.append(self.nbytes)
        return to(self, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "to", spy)
    context = 8 * 9 * 11 * 4
    with torch.no_grad(), pytest.raises(ValueError, match="'kernels' asks for"):
        with record(block, ["context", "kernels"], max_bytes=context + 1) as rec:
            block(*inputs)
    assert copied == [context] and rec.sites == ()


def test_missing_sites_say_why(net):
    with record(net, ["*.s2.block.kernels", "*.s4.*"]) as rec:
        with pytest.raises(KeyError, match="call the model inside"):
            rec[f"{FINEST}.kernels"]
        with torch.no_grad():
            net(torch.rand(1, 3, 16, 16))
    with pytest.raises(KeyError, match="did you mean 'decoder.s2.block.kernels'"):
        rec["decoder.s2.block.kernel"]
    with pytest.raises(KeyError, match=r"was not recorded: ask for it, record\(model, 'decoder.s2.block.value'\)"):
        rec[f"{FINEST}.value"]
    with pytest.raises(ValueError, match="'decoder.s2' is no SGDC block .* did you mean 'decoder.s2.block'"):
        rec.at("decoder.s2", 0, 0)
    with pytest.raises(ValueError, match=r"'decoder.s8.block' was not recorded: .*'decoder.s8.block.\*'"):
        rec.at("decoder.s8.block", 0, 0)
    view = rec.at(FINEST, 3, 3)
    assert view.kernels.shape == (4, 7, 7)  # what was recorded can be read ...
    with pytest.raises(ValueError, match=r"'decoder.s2.block.value' was not recorded.*'decoder.s2.block.\*'"):
        _ = view.patch  # ... and what was not says so
    pooled = SGDCNet(SGDCNetConfig.compact(kernel_source="pooled")).eval()
    with torch.no_grad(), record(pooled, "*.guidance") as rec:
        pooled(torch.rand(1, 3, 16, 16))
    assert rec.sites == ()


# --- one pixel -------------------------------------------------------------------------------------------------------


def test_view_by_hand():
    """One channel, one head, k = 3, a corner: every number written out."""
    block = SGDC(1, guidance_channels=1, heads=1, kernel_size=3, kernel_source="semantic").eval()
    with torch.no_grad():
        block.attn.weight.zero_()
        block.attn.bias.copy_(torch.tensor([0.0, math.log(3), *(math.log(n) for n in range(1, 10))]))
        block.norm1.weight.zero_()
        block.norm1.bias.fill_(2)  # value is 2 everywhere
        with record(block) as rec:
            block(torch.rand(1, 1, 4, 5))
    view = rec.at("", 0, 4)  # top right
    close = dict(rtol=0, atol=1e-6)
    torch.testing.assert_close(view.kernels, torch.arange(1.0, 10).view(1, 3, 3) / 45, **close)
    assert torch.equal(view.patch, torch.tensor([[[0.0, 0, 0], [2, 2, 0], [2, 2, 0]]]))
    torch.testing.assert_close(view.contribution * 45, torch.tensor([[[0.0, 0, 0], [8, 10, 0], [14, 16, 0]]]))
    torch.testing.assert_close(view.in_bounds, torch.tensor([24 / 45]), **close)
    torch.testing.assert_close(view.filtered, torch.tensor([48 / 45]), **close)
    torch.testing.assert_close(view.gate_static, torch.tensor([0.5]), **close)
    torch.testing.assert_close(view.gate_dynamic, torch.tensor([0.75]), **close)
    torch.testing.assert_close(view.dynamic, torch.tensor([36 / 45]), **close)
    assert (view.feature, view.box, view.stride, view.error < 1e-6) == ((0, 4), (-1, 3, 2, 6), 1, True)


@LAW
@given(
    st.sampled_from(PADDINGS), st.sampled_from([(4, 2, 3), (8, 4, 7), (6, 1, 5), (3, 3, 1)]),
    st.integers(1, 9), st.integers(1, 9), st.integers(1, 2), st.data(),
)  # fmt: skip
def test_contributions_sum_to_the_models_own_value(padding, shape, height, width, batch, data):
    dim, heads, k = shape
    block, inputs = make_block(dim, heads, k, padding=padding), features(batch, dim, height, width)
    with torch.no_grad(), record(block) as rec:
        block(*inputs)
    i, j = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    b = data.draw(st.integers(0, batch - 1))
    view = rec.at("", i, j, b)
    own = rec["dynamic_out"][b, :, i, j]
    torch.testing.assert_close(view.contribution.sum((1, 2)) * view.gate_dynamic, own, rtol=0, atol=1e-5)
    assert torch.equal(view.model_dynamic, own)
    assert torch.equal(view.static, rec["static_out"][b, :, i, j])
    assert view.error <= 1e-5
    assert rec.verify()[""] <= 1e-5
    # The patch is what the padded value map holds under the footprint.
    r = k // 2
    mode = "replicate" if padding == "replicate" else "constant"
    padded = F.pad(rec["value"][b][None], (r, r, r, r), mode=mode)[0]
    assert torch.equal(view.patch, padded[:, i : i + k, j : j + k])
    assert torch.equal(view.kernels, rec["kernels"][b, :, :, i, j].view(heads, k, k))
    # Kernel mass: complete where the footprint lies inside, less than complete where it does not.
    torch.testing.assert_close(view.kernels.sum((1, 2)), torch.ones(heads))
    inside = r <= i < height - r and r <= j < width - r
    assert ((view.in_bounds - 1).abs() < 1e-5).all() if inside else (view.in_bounds < 1).all()
    held = F.pad(torch.ones(height, width), (r, r, r, r))[i : i + k, j : j + k]  # 1 inside, 0 outside
    torch.testing.assert_close(view.in_bounds, (view.kernels * held).sum((1, 2)))
    if padding == "renormalize":
        torch.testing.assert_close((view.weights * held).sum((1, 2)), torch.ones(heads))
    else:
        assert torch.equal(view.weights, view.kernels)


@pytest.mark.parametrize("padding", PADDINGS)
def test_constant_features_at_the_border(padding):
    """Zeros darken a constant image by the kernel mass that is lost; the other two paddings keep it."""
    block = make_block(padding=padding, kernel_source="semantic")
    with torch.no_grad():
        block.norm1.weight.zero_()
        block.norm1.bias.fill_(3)
        with record(block) as rec:
            block(features()[0])
    view = rec.at("", 0, 0)
    expected = 3 * view.in_bounds if padding == "zeros" else torch.full((4,), 3.0)
    torch.testing.assert_close(view.filtered, expected.repeat_interleave(2))
    assert (view.in_bounds < 0.95).all() and view.error < 1e-5


def test_every_pixel_of_an_odd_sized_batch(net, odd_recording):
    _, rec = odd_recording
    for block, stride in zip(blocks(net), (16, 8, 4, 2), strict=True):
        for b in (0, 1):
            for y, x in ((0, 0), (16, 22), (16, 0), (0, 22), (7, 11)):
                view = rec.at(block, y, x, b)
                assert (view.stride, view.feature) == (stride, (y // stride, x // stride))
                assert torch.equal(view.gate_dynamic, rec[f"{block}.gate_dynamic"][b, :, y // stride, x // stride])
                assert view.error < 1e-5
                y0, x0, y1, x1 = view.box
                assert (y1 - y0, x1 - x0) == (7 * stride, 7 * stride)
                assert y0 + 3 * stride <= y < y0 + 4 * stride and x0 + 3 * stride <= x < x0 + 4 * stride
    assert not torch.equal(rec.at(FINEST, 7, 11, 0).patch, rec.at(FINEST, 7, 11, 1).patch)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ((17, 0), "pixel y=17, x=0 is outside the image: y goes from 0 to 16, x from 0 to 22"),  # in the padding
        ((0, 23), "x from 0 to 22"),
        ((-1, 0), "pixel y=-1"),
        ((0, 0, 2), "batch=2 is outside the recorded batch: it goes from 0 to 1"),
        ((0, 0, -1), "batch=-1"),
        ((0.5, 0), "y=0.5.*must be whole numbers"),
        (("3", 0), "must be whole numbers"),
    ],
)
def test_a_place_that_does_not_exist(odd_recording, where, message):
    with pytest.raises(ValueError, match=message):
        odd_recording[1].at(FINEST, *where)


def test_numpy_integers_are_whole_numbers(odd_recording):
    np = pytest.importorskip("numpy")
    assert odd_recording[1].at(FINEST, np.int64(16), np.uint8(22)).feature == (8, 11)


def test_views_are_lazy_and_their_own():
    block, inputs = make_block(), features()
    with torch.no_grad(), record(block) as rec:
        block(*inputs)
    view = rec.at("", 4, 5)
    assert isinstance(view, PixelView) and not {"kernels", "patch", "contribution"} & vars(view).keys()
    kernels = rec["kernels"].clone()
    view.kernels.zero_()  # writing into a view must not spoil the recording
    view.patch.zero_()
    assert "contribution" not in vars(view)
    assert torch.equal(rec["kernels"], kernels) and rec.at("", 4, 5).error < 1e-5
    assert "tensor" not in repr(view) and len(repr(view)) < 100


def test_shift_invariance():
    """A block sees the same things around a pixel wherever the scene stands (away from the borders)."""
    block, (x, guidance) = make_block(), features(height=16, width=16)
    shifted = [torch.roll(t, (2, 3), (-2, -1)) for t in (x, guidance)]
    with torch.no_grad(), record(block) as rec:
        block(x, guidance)
        block(*shifted)
    a, b = rec.at("", 6, 6, call=0), rec.at("", 8, 9, call=1)
    for part in ("kernels", "patch", "contribution", "gate_static", "gate_dynamic", "dynamic", "static"):
        torch.testing.assert_close(getattr(a, part), getattr(b, part), rtol=0, atol=1e-6)


# --- other people's models -------------------------------------------------------------------------------------------


def test_a_block_in_a_foreign_model():
    model, image = Foreign().eval(), torch.rand(2, 3, 24, 32)
    with torch.no_grad(), record(model) as rec:
        out = model(image)
    assert blocks(model) == ("mixer",) and rec.verify()["mixer"] < 1e-5
    assert torch.equal(rec.output["features"][0], out["features"][0]) and rec.output["stride"] == 4
    view = rec.at("mixer", 23, 31, 1)  # 24 / 6 = 32 / 8 = 4
    assert (view.stride, view.feature, view.box) == (4, (5, 7), (8, 16, 36, 44)) and view.error < 1e-5


def test_an_unclear_stride_must_be_said():
    model = Foreign().eval()
    with torch.no_grad(), record(model) as rec:
        model(torch.rand(1, 3, 27, 32))  # 27 rows give 6 feature rows: three image rows are never looked at
    with pytest.raises(
        ValueError, match=r"'mixer' cannot be told \(image \(27, 32\), features \(6, 8\)\): give stride="
    ):
        rec.at("mixer", 0, 0)
    assert rec.at("mixer", 23, 31, stride=4).feature == (5, 7)
    assert rec.at("mixer", 5, 7, stride=1).feature == (5, 7)
    with pytest.raises(ValueError, match="y goes from 0 to 23"):  # pixels that no feature stands for
        rec.at("mixer", 24, 0, stride=4)
    for wrong in (0, -2):
        with pytest.raises(ValueError, match=f"stride={wrong} must be 1 or more"):
            rec.at("mixer", 0, 0, stride=wrong)


def test_a_part_of_the_model_may_be_called_alone(net):
    x, guidance = torch.rand(1, 24, 8, 8), torch.rand(1, 16, 8, 8)
    with torch.no_grad(), record(net) as rec:
        net.decoder["s2"].block(x, guidance)
    assert rec.input is None
    assert rec.at(FINEST, 15, 15).feature == (7, 7)  # the stride is known, the image is not
    assert rec.verify() == {FINEST: pytest.approx(0, abs=1e-5)}
    with torch.no_grad(), record(net) as rec:
        net(torch.rand(1, 3, 5, 5))
        net.decoder["s2"].block(x, guidance)  # has nothing to do with the image of 5 x 5
    assert rec.at(FINEST, 15, 15).feature == (7, 7) and rec.at(FINEST, 4, 4, call=0).feature == (2, 2)
    foreign = Foreign().eval()
    with torch.no_grad(), record(foreign) as rec:
        foreign.mixer(*features())
    with pytest.raises(ValueError, match=r"\(image None, features \(9, 11\)\)"):
        rec.at("mixer", 0, 0)


def test_a_shared_block_fires_once_per_use():
    block = make_block(kernel_source="semantic")
    model = nn.Sequential(block, nn.ReLU(inplace=True), block).eval()
    with torch.no_grad(), record(model) as rec:
        model(features()[0])
    assert blocks(model) == ("0",) and len(rec["0.kernels"]) == 2
    assert rec.verify()["0"] < 1e-5 and rec.at("0", 1, 1, call=0).error < 1e-5


# --- verify ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["structure", "semantic", "pooled", "global"])
@pytest.mark.parametrize("padding", PADDINGS)
def test_an_honest_network_verifies(source, padding):
    torch.manual_seed(0)
    net = SGDCNet(SGDCNetConfig.compact(kernel_source=source, padding=padding, pool_size=2)).eval()
    with torch.no_grad(), record(net) as rec:
        net(torch.rand(2, 3, 17, 23))
    errors = rec.verify()
    assert tuple(errors) == blocks(net) and 0 < max(errors.values()) < 1e-5


def delta(like: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(like).index_fill(2, torch.tensor(24), 1.0)


TAMPER = {
    "context": lambda t: t + 1,
    "kernel_logits": lambda t: t.flip(2),
    "kernels": delta,
    "gate_static": lambda t: t.flip(1),
    "gate_dynamic": lambda t: 1 - t,
    "value": lambda t: t.roll(1, -1),
    "static_out": lambda t: -t,
    "dynamic_out": lambda t: t.roll(1, -2),
    "guidance": lambda t: t.flip(1),
}


@pytest.mark.parametrize("tap", sorted(TAPS))
@pytest.mark.parametrize("where", ["in the recording", "after the recorder", "before the recorder"])
def test_verify_finds_every_tampered_tap(tap, where):
    """Whether the recording lies, or the model uses something other than it shows, or (the hardest: everything that
    follows is consistent) model and recording share a value that the block's own layers would not have made."""
    block, inputs = make_block(), features()

    def tamper(m, args, out):
        return TAMPER[tap](out)

    with torch.no_grad(), ExitStack() as stack:
        if where == "before the recorder":
            stack.enter_context(hooked(getattr(block, tap), tamper))
        rec = stack.enter_context(record(block))
        if where == "after the recorder":
            stack.enter_context(hooked(getattr(block, tap), tamper))
        block(*inputs)
    if where == "in the recording":
        assert rec.verify()[""] < 1e-5
        rec[tap].copy_(TAMPER[tap](rec[tap]))
    assert rec.verify()[""] > 0.05
    if where == "before the recorder":  # the change is known, and apart from it everything is the block's own
        assert rec.changed == (tap,) and "1 changed" in repr(rec)
        assert rec.verify(accept_changes=True)[""] < 1e-5
    else:
        assert rec.changed == () and rec.verify(accept_changes=True)[""] > 0.05


def test_verify_checks_what_the_block_returns():
    block, inputs = make_block(), features()
    with torch.no_grad(), hooked(block, lambda m, args, out: out + 1), record(block) as rec:
        block(*inputs)
    assert rec.verify()[""] == pytest.approx(1, abs=1e-4)


def test_a_wrong_kernel_shows_in_the_view_too():
    block, inputs = make_block(), features()
    with torch.no_grad(), record(block) as rec:
        with hooked(block.kernels, lambda m, args, out: out.flip(2)):  # the model uses another kernel than it shows
            block(*inputs)
    assert rec.at("", 4, 5).error > 0.05


def test_kernels_that_do_not_sum_to_one_are_found():
    """A kernel twice as large with a gate half as open gives the same output: only the sum betrays it."""
    block, inputs = make_block(), features()
    with torch.no_grad(), record(block) as rec:
        block(*inputs)
        rec["kernels"].mul_(2)
        rec["gate_dynamic"].mul_(0.5)
    assert rec.at("", 4, 5).error < 1e-5
    assert rec.verify()[""] == pytest.approx(1, abs=0.5)


def test_not_a_number_is_never_reported_as_faithful():
    block, inputs = make_block(), features(batch=2)
    with torch.no_grad(), record(block) as rec:
        block(*inputs)
    rec["dynamic_out"][1, 0, 0, 0] = math.nan
    assert math.isnan(rec.verify()[""]) and math.isnan(rec.at("", 0, 0, 1).error)
    assert rec.at("", 0, 0, 0).error < 1e-5


def test_verify_sees_weights_that_changed():
    block, inputs = make_block(), features()
    with torch.no_grad(), record(block) as rec:
        block(*inputs)
        block.attn.bias.add_(torch.randn(block.attn.bias.shape))
    assert rec.verify()[""] > 0.1


def test_verify_names_only_complete_blocks(net):
    with torch.no_grad(), record(net, ["*.s8.block.*", "*.kernels"]) as rec:
        net(torch.rand(1, 3, 16, 16))
    assert tuple(rec.verify()) == ("decoder.s8.block",)
    with torch.no_grad(), record(net, "*.kernels") as rec:
        net(torch.rand(1, 3, 16, 16))
    with pytest.raises(ValueError, match=r"needs all taps.*record\(model, '\*'\)"):
        rec.verify()
    with record(net) as rec:
        pass
    with pytest.raises(ValueError, match="call the model inside"):
        rec.verify()


def test_double_precision_verifies_to_double_precision():
    block, inputs = make_block().double(), [t.double() for t in features()]
    with torch.no_grad(), record(block) as rec:
        block(*inputs)
    view = rec.at("", 1, 2)
    assert view.dynamic.dtype == torch.float64 and view.error < 1e-13 and rec.verify()[""] < 1e-13


def test_bfloat16_model():
    block, inputs = make_block().bfloat16(), [t.bfloat16() for t in features()]
    with torch.no_grad(), record(block) as rec:
        block(*inputs)
    assert rec["kernels"].dtype == torch.bfloat16
    view = rec.at("", 4, 5)
    scale = rec["dynamic_out"].float().abs().max().item()
    assert view.dynamic.dtype == torch.float32 and view.error < scale / 64  # two roundings to 8 bits
    assert rec.verify()[""] < 0.05 * max(1, scale)
    entropy = kernel_entropy(rec["kernels"])
    assert entropy.dtype == torch.float32 and 0 < entropy.min() and entropy.max() < 1
    rec["dynamic_out"].neg_()
    assert rec.verify()[""] > 0.5 * scale


def test_autocast():
    block, inputs = make_block(), features()
    with torch.no_grad(), record(block) as rec, torch.autocast("cpu", torch.bfloat16):
        block(*inputs)
    assert rec.verify()[""] < 0.1 and rec.at("", 4, 5).error < 0.05


# --- kernel statistics -----------------------------------------------------------------------------------------------


def test_entropy_of_uniform_delta_and_half():
    uniform = torch.full((2, 4, 49, 3, 5), 1 / 49)
    assert kernel_entropy(uniform).shape == (2, 4, 3, 5)
    torch.testing.assert_close(kernel_entropy(uniform), torch.ones(2, 4, 3, 5))
    assert torch.equal(kernel_entropy(delta(uniform)), torch.zeros(2, 4, 3, 5))
    two = torch.zeros(1, 9, 1, 1)  # no batch, two taps of nine
    two[0, [2, 7]] = 0.5
    torch.testing.assert_close(kernel_entropy(two), torch.full((1, 1, 1), math.log(2) / math.log(9)))
    assert torch.equal(kernel_entropy(torch.ones(1, 1, 2, 2)), torch.zeros(1, 2, 2))  # k = 1


@LAW
@given(st.sampled_from([1, 9, 49]), st.floats(0, 30), st.integers(0, 10**6))
def test_entropy_is_a_share_and_does_not_mind_the_order_of_taps(taps, sharpness, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = sharpness * torch.randn(2, 3, taps, 4, 5, generator=generator)
    entropy = kernel_entropy(logits.softmax(2))
    assert entropy.shape == (2, 3, 4, 5) and 0 <= entropy.min() and entropy.max() <= 1
    order = torch.randperm(taps, generator=generator)
    torch.testing.assert_close(kernel_entropy(logits.softmax(2)[:, :, order]), entropy, rtol=1e-4, atol=1e-6)
    softer = kernel_entropy((logits / 2).softmax(2))
    assert (softer >= entropy - 1e-5).all()  # a softer softmax spreads more


@pytest.mark.parametrize(
    ("kernels", "message"),
    [
        (torch.full((1, 4, 4, 2, 2), 0.25), "4 taps .* not the square of an odd number"),
        (torch.full((1, 4, 8, 2, 2), 0.125), "8 taps"),
        (torch.randn(1, 4, 9, 2, 2), "give it `kernels`, not `kernel_logits`"),
        (torch.full((1, 4, 9, 2, 2), 0.2), "sum to one"),
        (torch.tensor([-0.5, 1.5, *[0.0] * 7]).view(1, 1, 9, 1, 1), "kernels >= 0"),
        (torch.zeros(9, 2, 2), r"\[..., heads, k\*k, H, W\], got \(9, 2, 2\)"),
    ],
)
def test_entropy_of_something_else(kernels, message):
    with pytest.raises(ValueError, match=message):
        kernel_entropy(kernels)


def test_entropy_moves_with_the_scene():
    block, (x, guidance) = make_block(), features(height=12, width=12)
    with torch.no_grad(), record(block, "kernels") as rec:
        block(x, guidance)
        block(x.roll((2, 3), (-2, -1)), guidance.roll((2, 3), (-2, -1)))
    a, b = (kernel_entropy(kernels) for kernels in rec["kernels"])
    torch.testing.assert_close(a.roll((2, 3), (-2, -1)), b)


def test_the_lens_needs_torch_alone():
    code = "import sys, sgdc_viz.lens; print({'matplotlib', 'kornia', 'skimage', 'plotly', 'scipy'} & {*sys.modules})"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "set()"
