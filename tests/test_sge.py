"""The boundary branch: Sobel forms agree, what the gate really does, gradients that stay finite."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdc_viz.nn import SGE, sobel_magnitude, sobel_magnitude_dense_reference
from sgdc_viz.nn.sge import SOBEL_GATES

EVERY_GATE = pytest.mark.parametrize("gate", SOBEL_GATES)


def small_sge(gate="channel_sum", seed=0):
    torch.manual_seed(seed)
    return SGE(deep_channels=6, shallow_channels=4, mid_channels=8, guidance_channels=3, reduction=2, sobel_gate=gate)


def features(batch=2, deep=(2, 3), shallow=(9, 7), seed=1):
    torch.manual_seed(seed)
    return torch.randn(batch, 6, *deep), torch.randn(batch, 4, *shallow)


def gates(sge, deep, shallow):
    """The two gate maps of one forward pass, read from the taps."""
    seen = []
    taps = (sge.gate_deep, sge.gate_shallow)
    handles = [tap.register_forward_hook(lambda module, inputs, output: seen.append(output)) for tap in taps]
    sge(deep, shallow)
    for handle in handles:
        handle.remove()
    return seen


# --- Sobel ----------------------------------------------------------------------------------------------------------


def test_sobel_of_a_ramp_and_a_step():
    """The filter's gain: 8 on a ramp of slope 1, 4 on either side of a unit step, 0 on a flat piece."""
    ramp = torch.arange(9.0).expand(1, 1, 7, 9)
    inner = (0, 0, slice(1, -1), slice(1, -1))
    assert torch.equal(sobel_magnitude(ramp)[inner], torch.full((5, 7), 8.0))
    assert torch.equal(sobel_magnitude(ramp.mT)[inner], torch.full((7, 5), 8.0))
    step = (torch.arange(9) >= 4).float().expand(1, 1, 7, 9)
    assert sobel_magnitude(step)[0, 0, 3].tolist() == [0, 0, 0, 4, 4, 0, 0, 0, 4]  # the last 4: zeros lie outside
    diagonal = torch.ones(1, 1, 7, 7).triu()
    assert sobel_magnitude(diagonal)[0, 0, 3, 3].item() == pytest.approx(18**0.5)  # Gx = 3 = Gy in size


@settings(deadline=None, max_examples=30)
@given(
    batch=st.integers(1, 2),
    channels=st.integers(1, 6),
    height=st.integers(1, 7),
    width=st.integers(1, 7),
    seed=st.integers(0, 10**6),
)
def test_sobel_of_the_sum_equals_the_dense_release(batch, channels, height, width, seed):
    """Sobel is linear: filtering the channel sum once gives what m equal dense filters give, gradient included."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, channels, height, width, generator=generator, dtype=torch.float64).requires_grad_()
    direction = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    dense = sobel_magnitude_dense_reference(x)
    once = sobel_magnitude(x.sum(1, keepdim=True)).expand_as(x)
    torch.testing.assert_close(once, dense)
    ours, theirs = (torch.autograd.grad(out, x, direction)[0] for out in (once, dense))
    torch.testing.assert_close(ours, theirs)


def test_sobel_channels_do_not_mix():
    x = torch.randn(2, 5, 6, 7)
    alone = torch.cat([sobel_magnitude(channel) for channel in x.split(1, dim=1)], dim=1)
    torch.testing.assert_close(sobel_magnitude(x), alone)


def test_sobel_gradcheck():
    x = torch.randn(1, 2, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(sobel_magnitude, x)


# --- the gate -------------------------------------------------------------------------------------------------------


def paper_width_gates(gate, train):
    """The gate maps of SGE at the paper's width m = 256 with random weights and random features."""
    torch.manual_seed(0)
    sge = SGE(deep_channels=64, shallow_channels=64, mid_channels=256, sobel_gate=gate).train(train)
    with torch.no_grad():
        return gates(sge, torch.randn(2, 64, 8, 8), torch.randn(2, 64, 64, 64))


@pytest.mark.parametrize("train", [False, True])
def test_the_released_gate_is_stuck_open(train):
    """256 channels sum to |G| of 40 and more, where the sigmoid is 1: the Sobel step is nearly a no-op."""
    for gate in paper_width_gates("channel_sum", train):
        assert gate.shape[1] == 1  # one map for all channels
        assert (gate > 0.999).float().mean() > 0.95
        assert gate.mean() > 0.998


@pytest.mark.parametrize(("train", "mean"), [(False, 0.54), (True, 0.57)])
def test_the_per_channel_gate_works_where_the_sigmoid_has_a_slope(train, mean):
    for gate in paper_width_gates("per_channel", train):
        assert gate.shape[1] == 256
        assert gate.mean().item() == pytest.approx(mean, abs=0.01)
        assert gate.std().item() == pytest.approx(0.035, abs=0.015)
        assert gate.max() < 0.9


@settings(deadline=None, max_examples=15)
@given(gate=st.sampled_from(("channel_sum", "per_channel")), scale=st.floats(0, 100), seed=st.integers(0, 10**6))
def test_the_gate_never_closes(gate, scale, seed):
    """A magnitude is >= 0, so sigmoid(M) >= 0.5: it can halve a feature and never shut one."""
    sge = small_sge(gate, seed)
    deep, shallow = features(seed=seed)
    for seen in gates(sge, scale * deep, scale * shallow):
        assert ((seen >= 0.5) & (seen <= 1)).all()


def test_off_means_no_gate():
    sge = small_sge("off")
    p = torch.randn(1, 8, 5, 5)
    assert sge.modulate(p, sge.gate_deep) is p
    assert gates(sge, *features()) == []


def test_the_gate_is_an_option_not_a_parameter():
    states = [small_sge(gate).state_dict() for gate in SOBEL_GATES]
    assert [list(state) for state in states] == [list(states[0])] * 3
    outputs = [small_sge(gate).eval()(*features())[1] for gate in SOBEL_GATES]
    assert not torch.allclose(outputs[0], outputs[1])
    assert not torch.allclose(outputs[1], outputs[2])


# --- the module -----------------------------------------------------------------------------------------------------


class DenseSGE(SGE):
    """SGE with the released form of the Sobel step."""

    def magnitude(self, p):
        return sobel_magnitude_dense_reference(p)


class NaiveSGE(SGE):
    """SGE with the released root: no guard at 0."""

    def magnitude(self, p):
        p = p.sum(1, keepdim=True)
        gx = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])[None, None]
        gy = gx.mT.contiguous()
        return torch.sqrt(sum(torch.conv2d(p, g, padding=1) ** 2 for g in (gx, gy)))


@pytest.mark.parametrize("train", [False, True])
def test_equals_its_dense_form(train):
    sge, dense = small_sge().train(train), DenseSGE(6, 4, 8, 3, 2).train(train)
    dense.load_state_dict(sge.state_dict())
    for ours, theirs in zip(sge(*features()), dense(*features()), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_dense_form_would_be_38_percent_constants():
    with torch.device("meta"):
        own = sum(p.numel() for p in SGE(2048, 256).parameters())
    dense = 2 * 256 * 256 * 3 * 3
    assert dense == 1_179_648
    assert dense / (own + dense) == pytest.approx(0.38, abs=0.005)


def test_constants_are_not_parameters():
    names = set(small_sge().state_dict())
    assert not any("sobel" in name for name in names)


def train_step_gradients(sge, deep, shallow):
    edge, guidance = sge.train()(deep, shallow)
    (edge.square().mean() + guidance.square().mean()).backward()
    return {name: p.grad for name, p in sge.named_parameters()}


@pytest.mark.parametrize("deep", [torch.randn(2, 6, 1, 1), torch.zeros(2, 6, 2, 2), torch.ones(2, 6, 3, 3)])
@pytest.mark.parametrize("gate", ["channel_sum", "per_channel"])
def test_finite_gradients_where_the_release_gives_nan(deep, gate):
    """A 1 x 1 stage-4 map (a 32-px image): both derivatives are exactly 0 there, and sqrt has infinite slope."""
    shallow = torch.randn(2, 4, 8, 8)
    ours = train_step_gradients(small_sge(gate), deep, shallow)
    assert all(gradient.isfinite().all() for gradient in ours.values())
    if deep.shape[-1] == 1:
        naive = NaiveSGE(6, 4, 8, 3, 2)
        naive.load_state_dict(small_sge().state_dict())
        assert train_step_gradients(naive, deep, shallow)["s4_proj.conv.weight"].isnan().any()


@EVERY_GATE
@pytest.mark.parametrize("value", [0.0, 0.7])
def test_finite_gradients_on_flat_features(gate, value):
    flat = train_step_gradients(small_sge(gate), torch.full((2, 6, 2, 2), value), torch.full((2, 4, 9, 7), value))
    assert all(gradient.isfinite().all() for gradient in flat.values())


def test_where_the_root_is_smooth_the_guard_changes_nothing():
    naive = NaiveSGE(6, 4, 8, 3, 2)
    naive.load_state_dict(small_sge().state_dict())
    ours, theirs = (train_step_gradients(sge, *features(deep=(4, 5))) for sge in (small_sge(), naive))
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], msg=lambda m, name=name: f"{name}: {m}")


@EVERY_GATE
@pytest.mark.parametrize(("batch", "deep", "shallow"), [(1, (1, 1), (1, 1)), (2, (2, 3), (9, 7)), (1, (5, 4), (5, 4))])
def test_shapes(gate, batch, deep, shallow):
    edge, guidance = small_sge(gate).eval()(*features(batch, deep, shallow))
    assert edge.shape == (batch, 1, *shallow)
    assert guidance.shape == (batch, 3, *shallow)


def test_the_edge_map_does_not_feed_the_guidance():
    sge = small_sge().eval()
    _, before = sge(*features())
    torch.nn.init.zeros_(sge.out_edge_map.weight)
    edge, after = sge(*features())
    assert (edge == 0).all()
    assert torch.equal(before, after)


@EVERY_GATE
def test_other_layouts_devices_and_precisions(gate):
    sge = small_sge(gate).eval()
    deep, shallow = features()
    expected = sge(deep, shallow)
    layout = torch.channels_last
    for ours, theirs in zip(
        sge(deep.contiguous(memory_format=layout), shallow.contiguous(memory_format=layout)), expected, strict=True
    ):
        torch.testing.assert_close(ours, theirs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for ours, theirs in zip(sge(deep, shallow), expected, strict=True):
            torch.testing.assert_close(ours.float(), theirs, rtol=0.05, atol=0.02)
    on_meta = sge.to("meta")(deep.to("meta"), shallow.to("meta"))
    assert [tuple(t.shape) for t in on_meta] == [tuple(t.shape) for t in expected]


def test_state_round_trip():
    sge = small_sge()
    train_step_gradients(sge, *features())  # also moves the running statistics
    twin = small_sge(seed=5)
    twin.load_state_dict(sge.state_dict())
    for ours, theirs in zip(sge.eval()(*features()), twin.eval()(*features()), strict=True):
        assert torch.equal(ours, theirs)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="sobel_gate='median'"):
        SGE(6, 4, sobel_gate="median")
    with pytest.raises(ValueError, match="mid_channels=10 is not divisible by reduction=4"):
        SGE(6, 4, mid_channels=10)
    with pytest.raises(ValueError, match="reduction=0"):
        SGE(6, 4, reduction=0)
    for name in ("deep_channels", "shallow_channels", "mid_channels", "guidance_channels"):
        with pytest.raises(ValueError, match=f"{name}=0 must be 1 or more"):
            SGE(**{"deep_channels": 6, "shallow_channels": 4, name: 0})


def test_bad_inputs_are_named():
    sge, (deep, shallow) = small_sge(), features()
    with pytest.raises(ValueError, match=rf"deep must have shape \[B, {deep.shape[1]}, H, W\], got"):
        sge(deep[:, 1:], shallow)
    with pytest.raises(ValueError, match=rf"shallow must have shape \[B, {shallow.shape[1]}, H, W\], got"):
        sge(deep, shallow[0])
    with pytest.raises(ValueError, match=f"deep is of {len(deep)} image.s., shallow of 1"):
        sge(deep, shallow[:1])
