"""Interventions: each change against the same done by hand, regions, threads, and every way to ask for nonsense."""

import gc
import threading
import weakref
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import features
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sgdc_viz.lens import (
    blocks,
    constant,
    delta,
    feature_mask,
    intervene,
    kernel_entropy,
    mean,
    permute,
    pooled,
    record,
    shuffle,
    sites,
    swap,
    uniform,
    zero,
)
from sgdc_viz.nn import SGDC, SGE, SGDCNet, SGDCNetConfig, pool_context

LAW = settings(deadline=None, max_examples=15)
FINEST = "decoder.s2.block"


def make_block(dim=8, heads=4, k=7, seed=0, **options) -> SGDC:
    """A block whose kernels are far from uniform."""
    torch.manual_seed(seed)
    block = SGDC(dim, guidance_channels=3, heads=heads, kernel_size=k, layer_scale_init=0.5, **options).eval()
    with torch.no_grad():
        block.attn.weight.mul_(4)
    return block


@pytest.fixture(scope="module")
def net() -> SGDCNet:
    torch.manual_seed(0)
    return SGDCNet(SGDCNetConfig.compact(layer_scale_init=1.0)).eval()


@pytest.fixture(autouse=True)
def nothing_left_behind(net):
    yield
    assert hooks_of(net) == 0


def hooks_of(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def image(height=16, width=16, batch=1, seed=2) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


@contextmanager
def hooked(module, hook):
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def run(model, inputs, changes=None, mask=None, **options):
    """The output and the recording of one run, changed or not."""
    with torch.no_grad(), ExitStack() as stack:
        if changes:
            stack.enter_context(intervene(model, changes, mask, **options))
        rec = stack.enter_context(record(model))
        return model(*inputs), rec


# --- the changes -----------------------------------------------------------------------------------------------------


def spread(means, value):
    return means.expand_as(value)


def order(count, seed):
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


BY_HAND = {
    "zero": ("guidance", zero(), torch.zeros_like),
    "constant": ("gate_dynamic", constant(0.25), lambda t: torch.full_like(t, 0.25)),
    "mean": ("guidance", mean(), lambda t: spread(t.mean((2, 3), keepdim=True), t)),
    "mean of kernels": ("kernels", mean(), lambda t: spread(t.mean((3, 4), keepdim=True), t)),
    "shuffle": ("guidance", shuffle(3), lambda t: t.flatten(2)[..., order(99, 3)].view_as(t)),
    "shuffled kernels": ("kernels", shuffle(), lambda t: t.flatten(3)[..., order(99, 0)].view_as(t)),
    "uniform": ("kernels", uniform(), lambda t: torch.full_like(t, 1 / 49)),
    "delta": ("kernels", delta(), lambda t: F.one_hot(torch.tensor(24), 49).view(49, 1, 1).expand_as(t).float()),
    "permute": ("kernels", permute(7), lambda t: t[:, :, order(49, 7)]),
    "permuted logits": ("kernel_logits", permute(7), lambda t: t[:, :, order(49, 7)]),
    "pooled": ("context", pooled(4), lambda t: pool_context(t, 4)),
    "global": ("context", pooled(None), lambda t: spread(t.mean((2, 3), keepdim=True), t)),
    "one's own": ("value", lambda value, site: -value, torch.neg),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_each_change_by_hand(name):
    """The recording shows the new value, and the output is that of a block cut open there by hand."""
    tap, change, by_hand = BY_HAND[name]
    block, inputs = make_block(), features(batch=2)
    _, clean = run(block, inputs)
    expected = by_hand(clean[tap])
    out, rec = run(block, inputs, {tap: change})
    assert torch.equal(rec[tap], expected) and rec.changed == (tap,)
    with hooked(getattr(block, tap), lambda m, args, value: by_hand(value)), torch.no_grad():
        by_hand_out = block(*inputs)
    assert torch.equal(out, by_hand_out) and not torch.equal(out, clean.output)


def test_uniform_can_be_for_one_head_alone():
    value = torch.rand(2, 3, 9, 4, 5)
    new = uniform(head=1)(value, "block.kernels")
    assert torch.equal(new[:, [0, 2]], value[:, [0, 2]]) and (new[:, 1] == 1 / 9).all()
    assert repr(uniform(head=1)) == "uniform(head=1)"
    for head in (3, -1):
        with pytest.raises(ValueError, match=f"head={head}: 'block.kernels' has the heads 0 to 2"):
            uniform(head)(value, "block.kernels")


def test_delta_passes_value_and_uniform_blurs_it():
    block, inputs = make_block(), features()
    _, sharp = run(block, inputs, {"kernels": delta(), "gate_dynamic": constant(1)})
    torch.testing.assert_close(sharp["dynamic_out"], sharp["value"])
    _, blurred = run(block, inputs, {"kernels": uniform(), "gate_dynamic": constant(1)})
    torch.testing.assert_close(blurred["dynamic_out"], F.avg_pool2d(blurred["value"], 7, 1, padding=3))


def test_a_shut_gate_silences_its_branch():
    block, inputs = make_block(), features()
    _, rec = run(block, inputs, {"gate_dynamic": zero()})
    assert rec["dynamic_out"].abs().max() == 0 and rec["static_out"].abs().max() > 0


def test_permuted_kernels_keep_their_entropy():
    block, inputs = make_block(), features()
    _, clean = run(block, inputs)
    _, rec = run(block, inputs, {"kernels": permute()})
    torch.testing.assert_close(kernel_entropy(rec["kernels"]), kernel_entropy(clean["kernels"]))
    assert not torch.equal(rec["kernels"], clean["kernels"])


@pytest.mark.parametrize("p", [1, 2, 8, None])
def test_pooling_the_context_is_the_pooled_block_with_these_weights(p):
    block, inputs = make_block(kernel_source="semantic"), features(batch=2)
    source = dict(kernel_source="global") if p is None else dict(kernel_source="pooled", pool_size=p)
    other = make_block(**source)
    other.load_state_dict(block.state_dict())
    out, rec = run(block, inputs, {"context": pooled(p)})
    torch.testing.assert_close(out, run(other, inputs)[0], rtol=0, atol=1e-6)
    assert rec.changed == (() if p == 1 else ("context",))  # pooling over one pixel changes nothing, and says so


def test_randomness_is_its_own():
    block, inputs = make_block(), features()
    torch.manual_seed(1)
    first, _ = run(block, inputs, {"guidance": shuffle(5)})
    state = torch.random.get_rng_state()
    torch.manual_seed(2)
    second, _ = run(block, inputs, {"guidance": shuffle(5)})
    other, _ = run(block, inputs, {"guidance": shuffle(6)})
    assert torch.equal(first, second) and not torch.equal(first, other)
    torch.manual_seed(1)
    assert torch.equal(torch.random.get_rng_state(), state)  # nothing was drawn from torch's global generator


@pytest.mark.parametrize("change", [zero(), mean(), shuffle(1), pooled(2)])
def test_a_batch_is_changed_as_its_images_are(net, change):
    both = image(batch=2)
    out, _ = run(net, (both,), {"*.context": change})
    for b in (0, 1):
        torch.testing.assert_close(out.logits[b : b + 1], run(net, (both[b : b + 1],), {"*.context": change})[0].logits)


def test_changes_have_names_to_show():
    with torch.no_grad(), record(make_block()) as rec:
        pass
    shown = [zero(), constant(1), mean(), shuffle(), swap(rec), swap(rec, call=0), uniform(), delta(), permute(3),
             pooled(4), pooled(None)]  # fmt: skip
    assert [repr(change) for change in shown] == [
        "zero()", "constant(1)", "mean()", "shuffle(seed=0)", "swap(recording)", "swap(recording, call=0)", "uniform()",
        "delta()", "permute(seed=3)", "pooled(4)", "pooled(None)",
    ]  # fmt: skip


# --- swap ------------------------------------------------------------------------------------------------------------


def test_swapping_everything_in_gives_the_other_image(net):
    clean, corrupt = image(seed=3), image(seed=4)
    expected, rec = run(net, (clean,))
    out, under = run(net, (corrupt,), {"*.s2.block.value": swap(rec), "*.s2.block.context": swap(rec)})
    assert torch.equal(under[f"{FINEST}.value"], rec[f"{FINEST}.value"])
    for tap in ("kernels", "dynamic_out"):  # what follows from context and value alone
        torch.testing.assert_close(under[f"{FINEST}.{tap}"], rec[f"{FINEST}.{tap}"])
    assert not torch.allclose(out.logits, expected.logits)


def test_one_recorded_image_serves_a_batch_and_any_dtype():
    block, one, batch = make_block(), features(), features(batch=3, seed=5)
    with torch.no_grad(), record(block, dtype=torch.float16) as rec:
        block(*one)
    _, under = run(block, batch, {"guidance": swap(rec)})
    assert under["guidance"].dtype == torch.float32
    assert all(torch.equal(g, rec["guidance"][0].float()) for g in under["guidance"])


def test_swap_asks_which_run():
    block, first, second = make_block(), features(), features(seed=5)
    with torch.no_grad(), record(block) as rec:
        block(*first)
        block(*second)
    for call in (0, 1, -1):
        _, under = run(block, first, {"guidance": swap(rec, call=call)})
        assert torch.equal(under["guidance"], (second if call else first)[1])
    with pytest.raises(ValueError, match=r"'guidance' was recorded 2 times: say which run, swap\(recording, call=0\)"):
        run(block, first, {"guidance": swap(rec)})
    with pytest.raises(ValueError, match=r"call=2: site 'guidance' was recorded 2 time\(s\)"):
        run(block, first, {"guidance": swap(rec, call=2)})


def test_swap_refuses_what_does_not_fit():
    block, inputs = make_block(), features()
    with torch.no_grad(), record(block, "value") as rec:
        block(*inputs)
    with pytest.raises(ValueError, match=r"has nothing at 'guidance': site 'guidance' was not recorded: ask for it"):
        run(block, inputs, {"guidance": swap(rec)})
    with pytest.raises(ValueError, match=r"at 'value' the recording has shape \(1, 8, 9, 11\) and the model \(1, 8, 5"):
        run(block, features(height=5), {"value": swap(rec)})
    with torch.no_grad(), record(block, "value") as two:
        block(*features(batch=2))
    with pytest.raises(ValueError, match=r"\(2, 8, 9, 11\) and the model \(3, 8, 9, 11\): .* as many images or one"):
        run(block, features(batch=3), {"value": swap(two)})
    with pytest.raises(TypeError, match="swap takes a recording .*, not a Tensor"):
        swap(inputs[0])


def test_a_model_that_writes_in_place_does_not_reach_the_recording():
    block, inputs = make_block(), features()
    _, rec = run(block, inputs)
    kept = rec["value"].clone()
    with hooked(block.value, lambda m, args, value: value.mul_(0)):
        run(block, inputs, {"value": swap(rec)})
    assert torch.equal(rec["value"], kept)


# --- order, nesting, recordings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("recorder", ["outside", "between", "inside"])
def test_a_recording_anywhere_sees_what_the_model_uses(recorder):
    block, inputs = make_block(), features()
    with torch.no_grad(), ExitStack() as stack:
        for step in ("outside", "double", "between", "add", "inside"):
            if step == recorder:
                rec = stack.enter_context(record(block, detach=False))
            if step == "double":
                stack.enter_context(intervene(block, {"guidance": lambda value, site: 2 * value}))
            if step == "add":
                stack.enter_context(intervene(block, {"guidance": lambda value, site: value + 1}))
        block(*inputs)
    assert torch.equal(rec["guidance"], 2 * inputs[1] + 1)  # in the order in which they were opened
    assert rec.changed == ("guidance",) and rec.verify()[""] > 0.05 and rec.verify(accept_changes=True)[""] < 1e-5
    assert hooks_of(block) == 0


def test_patterns_that_overlap_apply_in_their_order():
    block, inputs = make_block(), features()
    changes = {"guid*": lambda value, site: 2 * value, "guidance": lambda value, site: value + 1}
    with torch.no_grad(), intervene(block, changes) as fired, record(block) as rec:
        block(*inputs)
    assert torch.equal(rec["guidance"], 2 * inputs[1] + 1) and fired == {"guidance": 1}
    _, rec = run(block, inputs, dict(reversed(changes.items())))
    assert torch.equal(rec["guidance"], 2 * (inputs[1] + 1))


def test_an_inner_intervention_ends_alone():
    block, inputs = make_block(), features()
    plain, _ = run(block, inputs)
    with torch.no_grad(), intervene(block, {"guidance": zero()}) as fired:
        outer = block(*inputs)
        with intervene(block, {"kernels": uniform()}):
            assert not torch.equal(block(*inputs), outer)
        assert torch.equal(block(*inputs), outer)
        assert fired["guidance"] == 3
    with torch.no_grad():
        assert torch.equal(block(*inputs), plain) and not torch.equal(outer, plain)


def test_two_records_at_once_see_no_change_where_there_is_none():
    block, inputs = make_block(), features()
    with record(block, detach=False) as outer, record(block, detach=False) as inner:
        block(*inputs)  # each hands the model a copy of its own
    assert outer.changed == inner.changed == () and inner.verify()[""] < 1e-5


def test_a_change_where_nothing_is_recorded_is_known_too(net):
    with torch.no_grad(), record(net, f"{FINEST}.*") as rec, intervene(net, {"*.s16.block.guidance": zero()}):
        net(image())
    assert rec.changed == ("decoder.s16.block.guidance",) and "1 changed" in repr(rec)
    assert rec.verify()[FINEST] < 1e-5  # this block did compute what it shows


@pytest.mark.parametrize("tap", ["context", "kernel_logits", "kernels", "gate_static", "value", "dynamic_out"])
@pytest.mark.parametrize("masked", [False, True])
def test_verify_never_takes_a_changed_run_for_the_models_own(tap, masked):
    block, inputs = make_block(), features(batch=2)
    mask = torch.zeros(9, 11, dtype=torch.bool)
    mask[2:5, 3:8] = True
    _, rec = run(block, inputs, {tap: shuffle()}, mask if masked else None)
    assert rec.verify()[""] > 0.01 and rec.changed == (tap,)
    assert rec.verify(accept_changes=True)[""] < 1e-5
    rec["static_out"][0, 0, 0, 0] += 1  # accepting changes is not accepting everything
    assert rec.verify(accept_changes=True)[""] > 0.05


def test_the_pixel_view_shows_the_changed_kernels():
    block, inputs = make_block(), features()
    _, rec = run(block, inputs, {"kernels": delta()})
    view = rec.at("", 4, 5)
    assert view.error < 1e-5 and torch.equal(view.kernels, F.one_hot(torch.tensor(24), 49).view(7, 7).expand(4, 7, 7))


def test_values_made_before_the_change_count_as_bytes():
    block, inputs = make_block(), features()
    need = 8 * 9 * 11 * 4
    with torch.no_grad(), intervene(block, {"value": zero()}):
        with record(block, "value", max_bytes=2 * need):
            block(*inputs)
        with pytest.raises(ValueError, match="asks for"), record(block, "value", max_bytes=2 * need - 1):
            block(*inputs)


# --- regions ---------------------------------------------------------------------------------------------------------


@LAW
@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 8), st.integers(0, 2), st.integers(0, 10**6))
def test_feature_mask_by_brute_force(height, width, stride, extra, seed):
    mask = torch.rand(2, height, width, generator=torch.Generator().manual_seed(seed)) > 0.9
    h, w = -(-height // stride) + extra, -(-width // stride) + extra
    selected = feature_mask(mask, stride, (h, w))
    for i, j in ((0, 0), (h - 1, w - 1), (h // 2, w // 3)):
        rows = [min(y, height - 1) for y in range(i * stride, (i + 1) * stride)]
        columns = [min(x, width - 1) for x in range(j * stride, (j + 1) * stride)]
        for b in (0, 1):
            assert selected[b, i, j] == any(mask[b, y, x] for y in rows for x in columns)
    assert feature_mask(torch.ones_like(mask), stride, (h, w)).all()


def test_a_line_of_one_pixel_is_not_lost():
    mask = torch.zeros(32, 32, dtype=torch.bool)
    mask[13] = True
    for stride in (2, 4, 8, 16):
        selected = feature_mask(mask, stride, (32 // stride, 32 // stride))
        assert selected[13 // stride].all() and selected.sum() == 32 // stride


def test_the_image_of_a_bare_block_is_x_in_whatever_order_it_is_called():
    block, (x, _) = make_block(), features()
    mask = torch.zeros(9, 11, dtype=torch.bool)
    mask[8, 10] = True
    with torch.no_grad(), intervene(block, {"value": zero()}, mask), record(block) as rec:
        block(guidance=torch.rand(1, 3, 4, 4), x=x)
    assert torch.equal(rec.input, x) and rec.at("", 8, 10).patch[:, 3, 3].abs().max() == 0


@pytest.mark.parametrize("kind", ["torch", "numpy"])
def test_only_the_region_changes_at_every_scale(net, kind):
    size = (17, 23)  # no multiple of any stride: inside, the image is extended to 32 x 32
    mask = torch.zeros(size, dtype=torch.bool)
    mask[5:9, 10:15] = True
    given = mask
    if kind == "numpy":
        given = mask.numpy()
        given.flags.writeable = False
    _, clean = run(net, (image(*size),))
    changes = {"*.value": zero(), "sge.gate_*": constant(2)}
    _, rec = run(net, (image(*size),), changes, given)
    for name, stride in zip(blocks(net), (16, 8, 4, 2), strict=True):
        selected = feature_mask(mask, stride, (32 // stride, 32 // stride))
        value = rec[f"{name}.value"]
        assert (value[..., selected] == 0).all() and (value[..., ~selected].abs().sum(1) > 0).all()
        if stride == 16:  # the first block: nothing has changed before it but the guidance, which value does not read
            assert torch.equal(value[..., ~selected], clean[f"{name}.value"][..., ~selected])
    for gate, stride in (("deep", 16), ("shallow", 2)):
        selected = feature_mask(mask, stride, (32 // stride, 32 // stride))
        assert torch.equal(rec[f"sge.gate_{gate}"] == 2, selected[None, None])


@pytest.mark.parametrize("size", [(16, 16), (17, 23)])
def test_a_mask_of_everything_is_no_mask(net, size):
    everything, _ = run(net, (image(*size),), {"*.kernels": uniform()}, torch.ones(size, dtype=torch.bool))
    no_mask, _ = run(net, (image(*size),), {"*.kernels": uniform()})
    assert torch.equal(everything.logits, no_mask.logits)


def test_a_bare_block_counts_feature_pixels():
    block, inputs = make_block(), features()
    mask = torch.zeros(9, 11, dtype=torch.bool)
    mask[0, 10] = True
    _, clean = run(block, inputs)
    _, rec = run(block, inputs, {"kernels": uniform()}, mask)
    torch.testing.assert_close(rec["kernels"][..., 0, 10], torch.full((1, 4, 49), 1 / 49))
    assert torch.equal(rec["kernels"][..., ~mask], clean["kernels"][..., ~mask])


def test_one_mask_for_each_image(net):
    mask = torch.zeros(2, 16, 16, dtype=torch.bool)
    mask[1, :4, :4] = True
    _, clean = run(net, (image(batch=2),))
    _, rec = run(net, (image(batch=2),), {"*.s2.block.kernels": uniform()}, mask)
    changed = (rec[f"{FINEST}.kernels"] != clean[f"{FINEST}.kernels"]).any((1, 2))
    assert not changed[0].any() and torch.equal(changed[1], feature_mask(mask[1], 2, changed.shape[1:]))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(16, 16), r"mask is torch.float32 \(16, 16\): give bool .* \(mask > 0\)"),
        (torch.ones(1, 1, 16, 16, dtype=torch.bool), "give bool"),
        (torch.zeros(16, 16, dtype=torch.bool), "mask is empty"),
        (torch.ones(16, 17, dtype=torch.bool), r"mask \(16, 17\) does not fit 1 image\(s\) of 16 x 16 pixels"),
        (torch.ones(8, 8, dtype=torch.bool), "does not fit"),
        (torch.ones(2, 16, 16, dtype=torch.bool), "with one mask an image"),
    ],
)
def test_masks_that_do_not_fit(net, mask, message):
    with pytest.raises(ValueError, match=message):
        run(net, (image(),), {"*.kernels": uniform()}, mask)


def test_a_mask_needs_the_image(net):
    block = net.decoder["s2"].block
    x, guidance = torch.rand(1, 24, 8, 8), torch.rand(1, 16, 8, 8)
    mask = torch.ones(8, 8, dtype=torch.bool)
    with torch.no_grad(), pytest.raises(ValueError, match="only a part of the model was called"):
        with intervene(net, {f"{FINEST}.kernels": uniform()}, mask):
            block(x, guidance)
    with torch.no_grad(), intervene(block, {"kernels": uniform()}, mask):  # the part on its own is a model too
        block(x, guidance)

    def bang(*_):
        raise RuntimeError("bang")

    with torch.no_grad(), pytest.raises(ValueError, match="only a part of the model was called"):
        with intervene(net, {f"{FINEST}.kernels": uniform()}, torch.ones(16, 16, dtype=torch.bool)):
            with pytest.raises(RuntimeError), hooked(net.sge, bang):
                net(image())
            block(x, guidance)  # the image of the run that failed is not this one's


# --- gradients, dtypes -----------------------------------------------------------------------------------------------


def test_gradients_pass_where_the_change_lets_them():
    block, (x, guidance) = make_block(), features()
    guidance.requires_grad_()
    with intervene(block, {"guidance": mean()}):
        (ours,) = torch.autograd.grad(block(x, guidance).square().sum(), guidance)
    by_hand = block(x, guidance.mean((2, 3), keepdim=True).expand_as(guidance))
    torch.testing.assert_close(ours, torch.autograd.grad(by_hand.square().sum(), guidance)[0])
    assert ours.abs().max() > 0


def test_gradients_stop_inside_the_region_alone():
    block, (x, guidance) = make_block(), features()
    guidance.requires_grad_()
    mask = torch.zeros(9, 11, dtype=torch.bool)
    mask[3:6, 2:9] = True
    with intervene(block, {"guidance": zero()}, mask):
        (gradient,) = torch.autograd.grad(block(x, guidance).square().sum(), guidance)
    assert gradient[..., mask].abs().max() == 0 and (gradient[..., ~mask].abs().sum(1) > 0).all()


def test_gradients_start_from_constants():
    block, inputs = make_block(), features()
    with intervene(block, {"kernels": uniform()}), record(block, "kernels", detach=False) as rec:
        loss = block(*inputs).square().sum()
        (gradient,) = torch.autograd.grad(loss, rec["kernels"])
    assert gradient.shape == (1, 4, 49, 9, 11) and gradient.abs().max() > 0


def test_a_model_that_hangs_on_one_site_stays_differentiable():
    class Scale(nn.Module):
        tap_names = ("gain",)

        def __init__(self):
            super().__init__()
            self.weight, self.gain = nn.Parameter(torch.ones(1)), nn.Identity()

        def forward(self, x):
            return self.gain(self.weight * x)

    model = Scale().eval()
    with intervene(model, {"gain": zero()}):
        model(torch.ones(1, 1, 2, 2)).sum().backward()  # no "does not require grad"
    assert model.weight.grad is None


def test_dtypes_and_autocast():
    for dtype in (torch.float64, torch.bfloat16):
        block, inputs = make_block().to(dtype), [t.to(dtype) for t in features()]
        for tap, change, _ in BY_HAND.values():
            out, rec = run(block, inputs, {tap: change})
            assert out.dtype == rec[tap].dtype == dtype
    block, inputs = make_block(), features()
    with torch.autocast("cpu", torch.bfloat16):
        for tap, change, _ in BY_HAND.values():
            plain = run(block, inputs)[1]
            assert run(block, inputs, {tap: change})[1][tap].dtype == plain[tap].dtype
    _, rec = run(block, inputs, {"value": lambda value, site: value.double()})
    assert rec["value"].dtype == torch.float32
    with torch.inference_mode(), intervene(block, {"guidance": shuffle()}):
        block(*inputs)


# --- refusals --------------------------------------------------------------------------------------------------------


def refused(model, changes, **options) -> str:
    with pytest.raises((ValueError, TypeError)) as error, intervene(model, changes, **options):
        pytest.fail("the block was entered")
    assert "\n" not in str(error.value) and hooks_of(model) == 0
    return str(error.value)


def test_unknown_sites_suggest(net):
    assert refused(net, {"*.guidence": zero()}) == "'*.guidence' matches no site: did you mean '*.guidance'."
    assert "did you mean" in refused(net, {"*.kernels": uniform(), "decoder.s2.block.kernel": uniform()})
    assert refused(net, {}).startswith("changes is empty")
    assert "the change for '*.guidance' is 0: give something to call" in refused(net, {"*.guidance": 0})


@pytest.mark.parametrize("asked", ["sge.out_edge_map", "*.edge", "edge_logits", "sge.Edge*"])
def test_the_edge_map_is_no_site_and_the_message_says_why(net, asked):
    told = refused(net, {asked: zero()})
    assert told.startswith(
        f"{asked!r} matches no site: the edge map enters no block, so changing it would change nothing"
    )
    assert told.endswith("what the blocks read is the guidance, '*.guidance'.")


def test_it_is_true_that_the_edge_map_changes_nothing(net):
    with torch.no_grad(), hooked(net.sge.out_edge_map, lambda m, args, out: torch.zeros_like(out)):
        out = net(image())
    with torch.no_grad():
        assert torch.equal(out.logits, net(image()).logits) and out.edge_logits.abs().max() == 0


def test_models_on_which_hooks_would_lie_are_refused():
    assert "training mode" in refused(make_block().train(), {"kernels": uniform()})
    outer = nn.Sequential(make_block()).eval()
    outer[0].compile(backend="eager")
    assert "intervene cannot see into a torch.compile'd module" in refused(outer, {"*.kernels": uniform()})
    assert "no SGDC block in this ReLU" in refused(nn.ReLU().eval(), {"*.kernels": uniform()})
    with pytest.raises(TypeError, match="intervene needs a torch module, not a str"), intervene("net", {"*": zero()}):
        pass
    baseline = SGDCNet(SGDCNetConfig.compact(kernel_source="plain")).eval()
    assert "'plain', which make no kernel per pixel" in refused(baseline, {"*.kernels": uniform()})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripted_models_are_refused():
    traced = torch.jit.trace(nn.Conv2d(1, 1, 1).eval(), torch.rand(1, 1, 2, 2))
    with pytest.raises(ValueError, match="intervene cannot see into a scripted"), intervene(traced, {"*": zero()}):
        pass


def test_an_intervention_that_never_fired_raises(net):
    with pytest.raises(
        ValueError, match=r"nothing was changed at 'decoder.s16.block.guidance' \(and 3 more\).*call the"
    ):
        with intervene(net, {"*.guidance": zero()}):
            pass
    semantic = make_block(kernel_source="semantic")
    with pytest.raises(ValueError, match=r"at 'guidance', because it never fired: .*for 'structure' alone"):
        run(semantic, features(), {"guidance": zero()})
    with pytest.raises(ValueError, match="at 'guidance', because it never fired: this model does not use it"):
        run(semantic, features(), {"guidance": zero(), "kernels": uniform()})
    with torch.no_grad(), pytest.raises(ValueError, match=r"decoder.s16.block.kernels' \(and 2 more\).*only a part"):
        with intervene(net, {"*.kernels": uniform()}):
            net.decoder["s2"].block(torch.rand(1, 24, 8, 8), torch.rand(1, 16, 8, 8))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, GeneratorExit])
def test_another_exception_is_not_hidden(net, error):
    with pytest.raises(error, match="bang"), intervene(net, {"*.guidance": zero()}):
        raise error("bang")
    assert hooks_of(net) == 0


def test_hooks_are_gone_when_the_model_or_the_change_fails(net):
    def bang(*_):
        raise RuntimeError("bang")

    with pytest.raises(RuntimeError, match="bang"):
        run(net, (image(),), {"*.guidance": bang})
    assert hooks_of(net) == 0
    with pytest.raises(RuntimeError, match="bang"), hooked(net.decoder["s4"], bang):
        run(net, (image(),), {"*.guidance": zero()})
    assert hooks_of(net) == 0
    with pytest.raises(ValueError), intervene(net, {"*.guidance": zero(), "*.nonsense": zero()}):
        pass


def test_hooks_of_others_stay():
    block, inputs = make_block(), features()
    seen = []
    with hooked(block.kernels, lambda m, args, out: seen.append(out.mean())):
        run(block, inputs, {"kernels": uniform()})
        with torch.no_grad():
            block(*inputs)
    assert len(seen) == 2 and seen[0] == pytest.approx(1 / 49)


def test_kernels_by_hand_must_sum_to_one():
    block, inputs = make_block(), features()
    with pytest.raises(ValueError, match=r"zero\(\) at 'kernels' gave kernels that sum to 0 up to 0, .*divide them by"):
        run(block, inputs, {"kernels": zero()})
    with pytest.raises(ValueError, match="sum to 2 up to 2"):
        run(block, inputs, {"kernels": lambda value, site: 2 * value})
    with pytest.raises(ValueError, match="sum to nan"):
        run(block, inputs, {"kernels": constant(float("nan"))})
    mask = torch.zeros(9, 11, dtype=torch.bool)
    mask[4, 4] = True
    with pytest.raises(ValueError, match="sum to 0 up to 1"):
        run(block, inputs, {"kernels": zero()}, mask)
    _, rec = run(block, inputs, {"kernels": zero()}, allow_unnormalised=True)
    assert rec["dynamic_out"].abs().max() == 0
    assert rec.verify()[""] >= 1 and rec.verify(accept_changes=True)[""] < 1e-5
    run(block, inputs, {"kernels": constant(1 / 49)})  # these do
    run(block, inputs, {"kernel_logits": zero()})  # only `kernels` must


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value": uniform()}, r"uniform\(\) is for '\*.kernels', not for 'value'"),
        ({"kernel_logits": delta()}, r"delta\(\) is for '\*.kernels', not for 'kernel_logits'"),
        ({"guidance": permute()}, r"permute\(seed=0\) is for '\*.kernels' or '\*.kernel_logits', not for 'guidance'"),
        ({"kernels": pooled(2)}, r"pooled\(2\) is for features \[B, C, H, W\] such as '\*.context', not for 'kernels'"),
        ({"value": lambda value, site: value[:, :4]}, r"at 'value' gave \(1, 4, 9, 11\): .* tensor \(1, 8, 9, 11\)"),
        ({"value": lambda value, site: None}, "gave NoneType: it must give a tensor"),
    ],
)
def test_changes_where_they_make_no_sense(changes, message):
    with pytest.raises(ValueError, match=message):
        run(make_block(), features(), changes)


@pytest.mark.parametrize("p", [0, -1, 2.5, "8", float("nan")])
def test_a_pool_of_no_size(p):
    with pytest.raises(ValueError, match=f"p={p} must be a whole number of feature pixels from 1, or None"):
        pooled(p)
    assert repr(pooled(np.int64(4))) == "pooled(4)"


def test_a_stride_of_no_size(net):
    for stride in (0, -2, 1.5):
        with pytest.raises(ValueError, match=f"stride={stride} must be a whole number"):
            with intervene(net, {"*.kernels": uniform()}, stride=stride):
                pass


# --- threads ---------------------------------------------------------------------------------------------------------


def in_thread(work):
    """Start `work` in a thread; the function returned waits for it and gives its result, or raises what it raised."""
    result = {}

    def body():
        try:
            result["value"] = work()
        except BaseException as error:
            result["error"] = error

    thread = threading.Thread(target=body, daemon=True)
    thread.start()

    def join():
        thread.join(20)
        assert not thread.is_alive(), "a thread waits for ever"
        if "error" in result:
            raise result["error"]
        return result["value"]

    return join


def test_a_plain_call_in_another_thread_is_neither_changed_nor_recorded():
    block, inputs = make_block(), features()
    plain, _ = run(block, inputs)
    with torch.no_grad(), intervene(block, {"guidance": zero()}) as fired, record(block) as rec:
        ours = block(*inputs)

        def call():
            with torch.no_grad():
                return block(*inputs)

        theirs = in_thread(call)()
    assert torch.equal(theirs, plain) and not torch.equal(ours, plain)
    assert fired == {"guidance": 1} and isinstance(rec["kernels"], torch.Tensor) and torch.equal(rec.output, ours)


@pytest.mark.parametrize("second", ["record", "intervene"])
def test_a_second_thread_waits_for_the_model(second):
    block, inputs = make_block(), features()
    plain, _ = run(block, inputs)
    entered = threading.Event()

    def other():
        with torch.no_grad(), record(block) if second == "record" else intervene(block, {"value": zero()}):
            entered.set()
            return block(*inputs)

    with torch.no_grad(), intervene(block, {"guidance": zero()}):
        join = in_thread(other)
        with record(block):  # nested in one thread: no waiting
            ours = block(*inputs)
        assert not entered.wait(0.2)
    theirs = join()
    assert entered.is_set()
    expected = plain if second == "record" else run(block, inputs, {"value": zero()})[0]
    assert torch.equal(theirs, expected) and torch.equal(ours, run(block, inputs, {"guidance": zero()})[0])


def test_another_model_does_not_wait():
    block, other, inputs = make_block(), make_block(seed=1), features()
    with record(block):
        out, _ = in_thread(lambda: run(other, inputs, {"guidance": zero()}))()
    assert torch.equal(out, run(other, inputs, {"guidance": zero()})[0])


def test_a_part_of_the_model_in_another_thread_is_not_mixed(net):
    block = net.decoder["s2"].block
    inputs = torch.rand(1, 24, 8, 8), torch.rand(1, 16, 8, 8)
    plain, _ = run(block, inputs)
    with torch.no_grad(), record(net) as rec, intervene(net, {f"{FINEST}.guidance": zero()}):
        theirs, seen = in_thread(lambda: run(block, inputs))()
        net(image())
    assert torch.equal(theirs, plain) and seen.changed == () and isinstance(rec[f"{FINEST}.kernels"], torch.Tensor)


def test_the_model_is_free_after_an_error():
    block, inputs = make_block(), features()
    with pytest.raises(RuntimeError, match="bang"), record(block):
        raise RuntimeError("bang")
    with pytest.raises(ValueError, match="never fired"), intervene(block, {"guidance": zero()}):
        pass
    in_thread(lambda: run(block, inputs, {"guidance": zero()}))()


def test_two_threads_that_would_wait_for_each_other_are_told():
    one, two = make_block(), make_block(seed=1)
    barrier = threading.Barrier(2, timeout=10)

    def nested(first, second):
        def work():
            with record(first):
                barrier.wait()
                with record(second):
                    return "both"

        return work

    joins = [in_thread(nested(one, two)), in_thread(nested(two, one))]
    results = []
    for join in joins:
        try:
            results.append(join())
        except RuntimeError as error:
            assert "two threads wait for each other" in str(error)
            results.append("told")
    assert sorted(results) == ["both", "told"] and hooks_of(one) == hooks_of(two) == 0


def test_many_threads_and_one_model():
    block = make_block()
    changes = [{"guidance": zero()}, {"kernels": uniform()}, {"value": shuffle()}, {"gate_dynamic": constant(1)}]
    jobs = [(change, features(seed=seed)) for seed, change in enumerate(changes * 2)]
    expected = [run(block, inputs, change)[0] for change, inputs in jobs]
    joins = [in_thread(lambda job=job: [run(block, job[1], job[0])[0] for _ in range(5)]) for job in jobs]
    for join, wanted in zip(joins, expected, strict=True):
        assert all(torch.equal(out, wanted) for out in join())
    assert hooks_of(block) == 0


def test_the_lens_does_not_keep_models_alive():
    block = make_block()
    run(block, features(), {"guidance": zero()})
    gone = weakref.ref(block)
    del block
    gc.collect()
    assert gone() is None


# --- other people's models: what the docs show ------------------------------------------------------------------------


class ToyUNet(nn.Module):
    """Somebody else's network: two scales, a skip, and an SGDC block where its bottleneck used to be."""

    def __init__(self):
        super().__init__()
        self.down1 = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(inplace=True))
        self.down2 = nn.Sequential(nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU(inplace=True))
        self.to_guidance = nn.Conv2d(8, 3, 1)
        self.bottleneck = SGDC(16, guidance_channels=3, heads=4, layer_scale_init=1.0)
        self.head = nn.Conv2d(16 + 8, 1, 1)

    def forward(self, image):
        fine = self.down1(image)
        deep = self.bottleneck(self.down2(fine), self.to_guidance(fine))
        up = F.interpolate(deep, size=fine.shape[-2:], mode="nearest")
        return F.interpolate(self.head(torch.cat([up, fine], 1)), size=image.shape[-2:])


def toy_unet() -> ToyUNet:
    torch.manual_seed(0)
    return ToyUNet().eval()


def test_a_toy_unet():
    unet, picture = toy_unet(), image(32, 24)
    assert blocks(unet) == ("bottleneck",)
    out, rec = run(unet, (picture,))
    assert rec.verify()["bottleneck"] < 1e-5 and rec.at("bottleneck", 31, 23).feature == (7, 5)  # stride 4 is found out
    mask = torch.zeros(32, 24, dtype=torch.bool)
    mask[:8, :8] = True
    changed, under = run(unet, (picture,), {"bottleneck.guidance": zero()}, mask)
    assert torch.equal((under["bottleneck.guidance"] == 0).all(1)[0], feature_mask(mask, 4, (8, 6)))
    assert not torch.equal(changed[..., :8, :8], out[..., :8, :8])
    assert torch.equal(changed[..., 20:, :], out[..., 20:, :])  # a kernel of 7 reaches 3 features, 12 pixels, further


def test_a_toy_unet_whose_stride_must_be_told():
    unet, picture = toy_unet(), image(30, 22)  # 30 / 8 is no whole number
    mask = torch.zeros(30, 22, dtype=torch.bool)
    mask[29, 21] = True
    with pytest.raises(ValueError, match=r"stride of 'bottleneck.guidance' cannot be told .*give stride="):
        run(unet, (picture,), {"*.guidance": zero()}, mask)
    _, rec = run(unet, (picture,), {"*.guidance": zero()}, mask, stride=4)
    zeroed = (rec["bottleneck.guidance"] == 0).all(1)[0]
    assert zeroed[7, 5] and zeroed.sum() == 1
    on_features = torch.zeros(8, 6, dtype=torch.bool)
    on_features[2, 3] = True
    _, rec = run(unet, (picture,), {"*.guidance": zero()}, on_features, stride=1)
    assert torch.equal((rec["bottleneck.guidance"] == 0).all(1)[0], on_features)
    with pytest.raises(ValueError, match="does not fit 1 image.s. of 8 x 6"):
        run(unet, (picture,), {"*.guidance": zero()}, mask, stride=1)


class Involution(nn.Module):
    """Involution (Li et al., CVPR 2021): a kernel per pixel from the pixel's own features; no softmax, no guidance."""

    def __init__(self, dim=8, groups=2, k=3):
        super().__init__()
        self.groups, self.k = groups, k
        self.make = nn.Sequential(nn.Conv2d(dim, 4, 1), nn.ReLU(), nn.Conv2d(4, groups * k * k, 1))

    def forward(self, x):
        batch, channels, height, width = x.shape
        kernels = self.make(x).view(batch, self.groups, 1, self.k**2, height, width)
        patches = F.unfold(x, self.k, padding=self.k // 2).view(batch, self.groups, -1, self.k**2, height, width)
        return (kernels * patches).sum(3).view_as(x)


class TappedInvolution(Involution):
    """The same layer with a tap: a subclass that passes its kernels through an identity, and says so."""

    tap_names = ("kernels",)

    def __init__(self, dim=8, groups=2, k=3):
        super().__init__(dim, groups, k)
        self.kernels = nn.Identity()

    def forward(self, x):
        batch, channels, height, width = x.shape
        kernels = self.kernels(self.make(x).unflatten(1, (self.groups, self.k**2)))  # [B, groups, k*k, H, W]
        patches = F.unfold(x, self.k, padding=self.k // 2).view(batch, self.groups, -1, self.k**2, height, width)
        return (kernels[:, :, None] * patches).sum(3).view_as(x)


def tap_after(model: nn.Module, name: str, tap: str) -> None:
    """Surgery where no source can be edited: a tap behind the sub-module `name` of `model`."""
    tapped = nn.Sequential()
    tapped.add_module("layer", model.get_submodule(name))
    tapped.add_module(tap, nn.Identity())
    tapped.tap_names = (tap,)
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, tapped.eval())


def test_a_layer_of_somebody_else_with_a_tap():
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), Involution()).eval()
    ours = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), TappedInvolution()).eval()
    ours.load_state_dict(plain.state_dict())  # an identity has no weights
    picture = image()
    out, rec = run(ours, (picture,))
    with torch.no_grad():
        torch.testing.assert_close(out, plain(picture))
    assert sites(plain) == () and sites(ours) == ("1.kernels",) and rec["1.kernels"].shape == (1, 2, 9, 8, 8)
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[:, :8] = True
    for change in (zero(), uniform(), delta(), permute(), shuffle(), mean(), swap(rec)):  # no sum of one is asked for
        _, under = run(ours, (picture,), {"*.kernels": change}, mask)
        assert torch.equal(under["1.kernels"][..., 4:], rec["1.kernels"][..., 4:])
        assert under.changed == (() if "swap" in repr(change) else ("1.kernels",))
    with pytest.raises(ValueError, match="sum to one"):  # these kernels are no averages, and the statistics say so
        kernel_entropy(rec["1.kernels"])
    with pytest.raises(ValueError, match="'1' is no SGDC block of this model"):
        rec.at("1", 0, 0)
    with pytest.raises(ValueError, match=r"verify\(\) needs all taps of an SGDC block"):
        rec.verify()


def test_a_tap_without_editing_the_layer():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), Involution()).eval()
    with torch.no_grad():
        expected = model(image())
    tap_after(model, "1.make", "kernels")
    out, rec = run(model, (image(),))
    assert torch.equal(out, expected) and sites(model) == ("1.make.kernels",)
    assert rec["1.make.kernels"].shape == (1, 18, 16, 16)  # groups and taps in one dimension, as the layer makes them
    out, _ = run(model, (image(),), {"*.kernels": zero()})
    assert out.abs().max() == 0
    with pytest.raises(ValueError, match=r"uniform\(\) needs '1.make.kernels' to be \[..., k\*k, H, W\]"):
        run(model, (image(),), {"*.kernels": uniform()})


def test_a_layer_that_names_a_tap_it_has_not():
    class Wrong(nn.Module):
        tap_names = ("kernels",)

    with pytest.raises(ValueError, match=r"tap_names of this Wrong names 'kernels', .*self.kernels = nn.Identity\(\)"):
        sites(Wrong())


def test_a_tap_that_is_given_no_tensor():
    class Tuple(nn.Module):
        tap_names = ("pair",)

        def __init__(self):
            super().__init__()
            self.pair = nn.Identity()

        def forward(self, x):
            return self.pair((x, x))

    with pytest.raises(ValueError, match="site 'pair' was given no tensor"), record(Tuple().eval()) as rec:
        rec._model(torch.rand(1, 1, 2, 2))


def test_a_bare_boundary_branch():
    sge = SGE(4, 4, mid_channels=8).eval()
    with torch.no_grad(), intervene(sge, {"gate_*": constant(1)}) as fired, record(sge) as rec:
        sge(torch.rand(1, 4, 2, 2), torch.rand(1, 4, 8, 8))
    assert fired == {"gate_deep": 1, "gate_shallow": 1} and (rec["gate_shallow"] == 1).all()


def test_bad_changes_and_kernels_are_refused_in_a_sentence(net):
    with pytest.raises(TypeError, match=r"changes is '\*.kernels': say what to do where"), intervene(net, "*.kernels"):
        pass
    block, inputs = make_block(), features()

    def by_hand(value: float):
        def change(kernels, site):
            new = torch.zeros_like(kernels)
            new[..., 0, :, :], new[..., 1, :, :] = value, 1 - value
            return new

        return change

    with pytest.raises(ValueError, match="weights down to -0.5, and those of this block are 0 or more"):
        run(block, inputs, {"kernels": by_hand(-0.5)})
    with pytest.raises(ValueError, match="kernels that sum to nan"):
        run(block, inputs, {"kernels": by_hand(float("nan"))})
    with intervene(block, {"kernels": by_hand(-0.5)}, allow_unnormalised=True):
        block(*inputs)
    run(block, inputs, {"kernels": by_hand(0.5)})


def test_what_never_fired_is_not_explained_by_what_does_not_apply(net):
    with (
        pytest.raises(ValueError, match="never fired: call the model") as error,
        intervene(net, {"*.guidance": zero()}),
    ):
        pass
    assert "alone" not in str(error.value)


def test_constant_needs_a_number():
    with pytest.raises(TypeError, match="constant needs a number, got str"):
        constant("a")
