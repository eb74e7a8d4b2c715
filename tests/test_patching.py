"""Activation patching: networks of which one knows the answer, and the ways to ask for nonsense."""

import pytest
import torch
from torch import nn

from sgdc_viz.lens import PatchEffect, intervene, patch_effect, record, swap, zero
from sgdc_viz.nn import SGDC, SGDCNet, SGDCNetConfig


@pytest.fixture(scope="module")
def net() -> SGDCNet:
    torch.manual_seed(0)
    return SGDCNet(SGDCNetConfig.compact(layer_scale_init=1.0)).eval()


def images(seed=1, size=(24, 24)) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, 3, *size, generator=generator), torch.rand(1, 3, *size, generator=generator)


def mean_logit(out) -> torch.Tensor:
    return out.logits.mean()


class Parts(nn.Module):
    """Two taps whose sum is the output: the share of each in a difference is known."""

    tap_names = ("left", "right")

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Identity(), nn.Identity()

    def forward(self, x):
        return self.left(3 * x) + self.right(x)


def test_the_effect_is_the_share_that_passes_through_the_site():
    model = Parts().eval()
    clean, corrupt = torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    told = patch_effect(model, clean, corrupt, "left", torch.mean)
    assert told == PatchEffect(clean=4, corrupt=0, patched=3, effect=0.75)
    assert patch_effect(model, clean, corrupt, "right", torch.mean).effect == 0.25
    assert patch_effect(model, clean, corrupt, "*", torch.mean).effect == 1
    assert patch_effect(model, corrupt, clean, "left", torch.mean).effect == 0.75  # and the other way round
    top = torch.zeros(4, 4, dtype=torch.bool)
    top[0] = True
    assert patch_effect(model, clean, corrupt, "left", torch.mean, top).effect == pytest.approx(0.75 / 4)
    assert patch_effect(model, clean, corrupt, "left", lambda out: -out.mean().item(), mask=top).clean == -4


def test_a_site_through_which_everything_passes_restores_everything():
    """With the static branch and the input shut off, a block hangs on value, kernels and gate alone."""
    torch.manual_seed(0)
    block = SGDC(8, guidance_channels=3, kernel_source="semantic", layer_scale_init=1.0).eval()
    generator = torch.Generator().manual_seed(1)
    clean, corrupt = torch.randn(2, 1, 8, 6, 7, generator=generator)
    told = patch_effect(block, clean, corrupt, "*_out", lambda out: (out - corrupt).square().mean())
    with torch.no_grad(), record(block) as rec:
        block(clean)
    with torch.no_grad(), intervene(block, {"*_out": swap(rec)}):
        by_hand = (block(corrupt) - corrupt).square().mean().item()
    assert told.patched == pytest.approx(by_hand) and 0 < told.effect < 1


def test_it_is_record_then_intervene_by_hand(net):
    clean, corrupt = images()
    mask = torch.zeros(24, 24, dtype=torch.bool)
    mask[4:12, 6:20] = True
    told = patch_effect(net, clean, corrupt, "*.guidance", mean_logit, mask)
    with torch.no_grad():
        with record(net) as rec:
            assert mean_logit(net(clean)).item() == told.clean
        assert mean_logit(net(corrupt)).item() == told.corrupt
        with intervene(net, {"*.guidance": swap(rec)}, mask):
            assert mean_logit(net(corrupt)).item() == told.patched
    assert told.effect == pytest.approx((told.patched - told.corrupt) / (told.clean - told.corrupt))
    assert all(isinstance(value, float) for value in vars(told).values())
    whole = patch_effect(net, clean, corrupt, "*.guidance", mean_logit)
    everything = patch_effect(net, clean, corrupt, "*.guidance", mean_logit, torch.ones(24, 24, dtype=torch.bool))
    assert whole == everything != told


def test_several_inputs_and_a_batch():
    torch.manual_seed(0)
    block = SGDC(8, guidance_channels=3, layer_scale_init=1.0).eval()
    x = torch.randn(2, 8, 6, 7)
    clean, corrupt = (x, torch.randn(2, 3, 6, 7)), (x, torch.zeros(2, 3, 6, 7))  # only the guidance differs
    told = patch_effect(block, clean, corrupt, "guidance", lambda out: out.square().mean())
    assert told.effect == pytest.approx(1, abs=1e-4)
    assert patch_effect(block, clean, corrupt, "value", lambda out: out.square().mean()).effect == 0


def test_a_layer_that_runs_twice_gets_its_values_in_order():
    torch.manual_seed(0)
    block = SGDC(8, kernel_source="semantic", layer_scale_init=1.0).eval()
    model = nn.Sequential(block, nn.ReLU(), block).eval()
    clean, corrupt = torch.randn(2, 1, 8, 6, 7)
    seen = []

    def metric(out):
        return out.mean()

    with torch.no_grad(), record(model) as rec:
        model(clean)
    told = patch_effect(model, clean, corrupt, "0.dynamic_out", metric)
    kept = list(rec["0.dynamic_out"])

    def in_order(value, site):
        seen.append(site)
        return kept[len(seen) - 1]

    with torch.no_grad(), intervene(model, {"0.dynamic_out": in_order}):
        assert metric(model(corrupt)).item() == pytest.approx(told.patched)
    assert seen == ["0.dynamic_out"] * 2


def test_under_an_intervention_all_three_runs_are_changed(net):
    clean, corrupt = images()
    with intervene(net, {"*.guidance": zero()}) as fired:
        told = patch_effect(net, clean, corrupt, "*.kernels", mean_logit)
    assert set(fired.values()) == {3}
    with torch.no_grad(), intervene(net, {"*.guidance": zero()}):
        assert mean_logit(net(clean)).item() == told.clean


def test_nothing_to_restore(net):
    clean, corrupt = images()
    with pytest.raises(ValueError, match=r"is 0.5 on the clean and on the corrupt image.*no difference to restore"):
        patch_effect(net, clean, corrupt, "*.kernels", lambda out: 0.5)
    with pytest.raises(ValueError, match="no difference to restore"):
        patch_effect(net, clean, clean, "*.kernels", mean_logit)


@pytest.mark.parametrize(
    ("value", "run"), [(float("nan"), "clean"), (float("inf"), "corrupt"), (-float("inf"), "patched")]
)
def test_a_metric_that_is_no_number(net, value, run):
    told = iter({"clean": [value], "corrupt": [1, value], "patched": [1, 2, value]}[run])
    with pytest.raises(ValueError, match=f"the metric is {value} on the {run} run, and must be finite"):
        patch_effect(net, *images(), "*.kernels", lambda out: next(told))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_what_does_not_fit(net):
    clean, _ = images()
    _, larger = images(size=(24, 32))
    with pytest.raises(
        ValueError, match=r"clean \[\(1, 3, 24, 24\)\] and corrupt \[\(1, 3, 24, 32\)\] must have the same"
    ):
        patch_effect(net, clean, larger, "*.kernels", mean_logit)
    with pytest.raises(ValueError, match="did you mean '\\*.kernels'"):
        patch_effect(net, *images(), "*.kernel", mean_logit)
    with pytest.raises(ValueError, match="mask is empty"):
        patch_effect(net, *images(), "*.kernels", mean_logit, torch.zeros(24, 24, dtype=torch.bool))
    semantic = SGDCNet(SGDCNetConfig.compact(kernel_source="semantic")).eval()
    with pytest.raises(ValueError, match="nothing was changed at 'decoder.s16.block.guidance'"):
        patch_effect(semantic, *images(), "*.guidance", mean_logit)
