"""The whole network: any image size, every kernel source, its config, and what it refuses."""

import json
import sys
from dataclasses import FrozenInstanceError, asdict

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdc_viz import assets_dir
from sgdc_viz.learn.checkpoints import load_pretrained, read_safetensors
from sgdc_viz.nn import ALL_KERNEL_SOURCES, SGDC, SGDCNet, SGDCNetConfig, SGDCOutput

TINY = dict(encoder_channels=(4, 4, 6, 8), decoder_channels=(4, 4, 4, 8), mid_channels=8, guidance_channels=3, heads=2,
            kernel_size=3)  # fmt: skip


def make(seed=0, **changes):
    torch.manual_seed(seed)
    return SGDCNet(SGDCNetConfig.compact(**changes)).eval()


@pytest.fixture(scope="module")
def compact():
    return make()


@pytest.mark.parametrize("source", ALL_KERNEL_SOURCES)
class TestEverySource:
    def test_output(self, source):
        net = make(kernel_source=source, **TINY)
        out = net(torch.rand(2, 3, 37, 50))
        assert isinstance(out, SGDCOutput)
        assert out.logits.shape == (2, 1, 37, 50)
        assert out.edge_logits.shape == (2, 1, 19, 25)
        assert out.guidance.shape == (2, 3, 19, 25)
        assert all(t.isfinite().all() for t in out)

    def test_one_training_step_lowers_the_loss(self, source):
        net = make(kernel_source=source, **TINY).train()
        image = torch.rand(2, 3, 32, 32)
        mask = (image.mean(1, keepdim=True) > 0.5).float()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05)

        def loss():
            out = net(image)
            edge = out.edge_logits.square().mean()  # stands in for the edge loss: every parameter gets a gradient
            return F.binary_cross_entropy_with_logits(out.logits, mask) + edge

        first = loss()
        first.backward()
        for name, p in net.named_parameters():
            guidance_path = "proj_guidance" in name or "out_guidance" in name
            assert (p.grad is not None) or (guidance_path and source != "structure"), name
            assert p.grad is None or p.grad.isfinite().all(), name
        optimizer.step()
        assert loss() < first

    @pytest.mark.parametrize("value", [0.0, 0.5])
    def test_finite_gradients_on_flat_images(self, source, value):
        """32 px: the stage-4 map is 2 x 2, and of two 16-px images 1 x 1, where a bare sqrt gives NaN."""
        for size in (16, 32):
            net = make(kernel_source=source, **TINY).train()
            out = net(torch.full((2, 3, size, size), value))
            (out.logits.sum() + out.edge_logits.sum() + out.guidance.sum()).backward()
            assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)

    def test_state_round_trip(self, source):
        net = make(kernel_source=source, **TINY)
        net.train()(torch.rand(2, 3, 32, 32))  # moves the running statistics
        twin = make(seed=9, kernel_source=source, **TINY)
        twin.load_state_dict(net.eval().state_dict())
        image = torch.rand(1, 3, 20, 30)
        assert torch.equal(net(image).logits, twin(image).logits)

    def test_same_size_in_every_arm(self, source):
        structure, other = (sum(p.numel() for p in make(kernel_source=s).parameters()) for s in ("structure", source))
        assert abs(other / structure - 1) < 0.02


def test_about_600_thousand_parameters_and_fine_kernels(compact):
    assert sum(p.numel() for p in compact.parameters()) == pytest.approx(600_000, rel=0.05)
    assert compact.config.strides[0] <= 4
    assert list(compact.decoder) == ["s16", "s8", "s4", "s2"]  # the order in which they run


def test_kernels_are_made_at_the_stride_that_the_name_says(compact):
    shapes = {}
    for name, stage in compact.decoder.items():
        assert isinstance(stage.block, SGDC)
        stage.block.kernels.register_forward_hook(
            lambda module, args, output, name=name: shapes.update({name: tuple(output.shape)})
        )
    compact(torch.rand(1, 3, 48, 64))
    assert shapes == {f"s{s}": (1, 4, 49, 48 // s, 64 // s) for s in (16, 8, 4, 2)}


@settings(deadline=None, max_examples=25)
@given(height=st.integers(1, 70), width=st.integers(1, 70), batch=st.integers(1, 2))
def test_any_size_from_one_pixel_up(height, width, batch):
    net = make(**TINY)
    out = net(torch.rand(batch, 3, height, width))
    assert out.logits.shape == (batch, 1, height, width)
    rows, columns = (height + 1) // 2, (width + 1) // 2
    assert out.edge_logits.shape == (batch, 1, rows, columns)
    assert out.guidance.shape == (batch, 3, rows, columns)
    assert all(t.isfinite().all() for t in out)


@pytest.mark.parametrize("size", [(1, 1), (17, 33), (48, 64)])
def test_the_compact_network_itself_at_odd_sizes(compact, size):
    assert compact(torch.rand(1, 3, *size)).logits.shape == (1, 1, *size)


@pytest.mark.parametrize("size", [(1, 1), (37, 50), (48, 64)])
def test_inside_the_image_grows_to_whole_strides_by_its_last_row_and_column(size):
    """The same as growing it by hand and cutting off what was added. Nothing is resized, so pixels stay in place."""
    net = make(**TINY)
    image = torch.rand(1, 3, *size)
    height, width = size
    grown = F.pad(image, (0, -width % 16, 0, -height % 16), mode="replicate")
    assert grown.shape[-2] % 16 == grown.shape[-1] % 16 == 0
    small, large = net(image), net(grown)
    torch.testing.assert_close(small.logits, large.logits[..., :height, :width])
    for ours, theirs in zip(small[1:], large[1:], strict=True):
        torch.testing.assert_close(ours, theirs[..., : ours.shape[-2], : ours.shape[-1]])


@pytest.mark.parametrize("source", ["structure", "semantic", "plain"])
def test_shifts_by_the_coarsest_stride_move_the_prediction(source):
    """By 16 px and far from borders. By less, the strided convolutions see another grid."""
    net = make(kernel_source=source, **TINY)
    image = torch.full((1, 3, 256, 256), 0.3)
    image[..., 112:144, 112:144] = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    inner = (..., slice(112, 144), slice(112, 144))
    by_16 = net(image.roll((16, -16), (-2, -1))).logits.roll((-16, 16), (-2, -1))
    by_5 = net(image.roll((5, -5), (-2, -1))).logits.roll((-5, 5), (-2, -1))
    logits = net(image).logits
    torch.testing.assert_close(by_16[inner], logits[inner], rtol=1e-3, atol=1e-5)
    assert (by_5 - logits)[inner].abs().max() > 1e-3


def test_images_do_not_see_each_other(compact):
    images = torch.rand(2, 3, 33, 40)
    both = compact(images).logits
    torch.testing.assert_close(torch.cat([compact(images[:1]).logits, compact(images[1:]).logits]), both)


def test_multi_class():
    assert make(num_classes=7, **TINY)(torch.rand(1, 3, 20, 21)).logits.shape == (1, 7, 20, 21)


def test_guidance_not_the_edge_map_steers_the_prediction(compact):
    image = torch.rand(1, 3, 32, 32)
    before = compact(image).logits
    with torch.no_grad():
        edge, guidance = compact.sge.out_edge_map.weight.clone(), compact.sge.out_guidance.weight.clone()
        compact.sge.out_edge_map.weight.zero_()
        assert torch.equal(compact(image).logits, before)
        compact.sge.out_guidance.weight.zero_()
        assert not torch.allclose(compact(image).logits, before)
        compact.sge.out_edge_map.weight.copy_(edge)
        compact.sge.out_guidance.weight.copy_(guidance)


@pytest.mark.parametrize("source", ["structure", "semantic"])
@pytest.mark.parametrize("skips", [True, False])
def test_without_skips_fine_features_come_in_through_the_guidance_alone(source, skips):
    net = make(kernel_source=source, skips=skips, layer_scale_init=1.0, **TINY)
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    before, changes = net(image).logits, []
    for level in range(4):  # fine to coarse

        def disturb(module, args, features, level=level):
            return [torch.rand_like(f) if i == level else f for i, f in enumerate(features)]

        with_change = net.encoder.register_forward_hook(disturb)
        changes.append(not torch.equal(net(image).logits, before))
        with_change.remove()
    assert changes == [skips or source == "structure", skips, skips, True]


def test_networks_saved_before_skips_could_be_left_out_have_them():
    values = SGDCNetConfig().to_dict()
    assert values.pop("skips") is True and SGDCNetConfig.from_dict(values).skips
    path = assets_dir() / "nuclei-structure.safetensors"
    assert "skips" not in json.loads(read_safetensors(path)[1]["config"]) and load_pretrained(path).config.skips


def test_options_reach_the_blocks():
    options = dict(kernel_source="pooled", pool_size=4, padding="replicate", antialias=True)
    net = make(**options, sobel_gate="per_channel", layer_scale_init=0.5, drop_path=0.25, **TINY)
    assert net.sge.sobel_gate == "per_channel"
    for stage in net.decoder.values():
        assert {name: getattr(stage.block, name) for name in options} == options
        assert stage.block.drop_path.p == 0.25
        assert (stage.block.ls1 == 0.5).all() and (stage.block.ls2 == 0.5).all()


# --- PyTorch's other worlds -----------------------------------------------------------------------------------------


def test_meta_device():
    with torch.device("meta"):
        net = SGDCNet(SGDCNetConfig.compact(num_classes=3))
        out = net(torch.empty(1, 3, 100, 60))
    assert (out.logits.device.type, out.logits.shape) == ("meta", (1, 3, 100, 60))


def test_channels_last():
    net, image = make(**TINY), torch.rand(2, 3, 33, 40)
    expected = net(image)
    for ours, theirs in zip(
        net.to(memory_format=torch.channels_last)(image.to(memory_format=torch.channels_last)), expected, strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_bfloat16_autocast_trains():
    net, image = make(**TINY), torch.rand(2, 3, 32, 32)
    expected = net(image).logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = net(image)
        loss = out.logits.float().square().mean() + out.edge_logits.float().square().mean()
    assert (out.logits.float() - expected).abs().max() < 0.05 * expected.abs().max() + 0.02
    loss.backward()
    assert all(p.grad.isfinite().all() and p.grad.dtype == torch.float32 for p in net.parameters())


@torch.no_grad()  # twice as fast; the operator's and the block's own tests compile the backward pass
def test_torch_compile_without_a_graph_break():
    torch.compiler.reset()
    net, image = make(**TINY), torch.rand(1, 3, 32, 32)
    out, expected = torch.compile(net, backend="aot_eager", fullgraph=True)(image), net(image)
    for ours, theirs in zip(out, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


# --- the config -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [SGDCNetConfig.compact(kernel_source="pooled", pool_size=4), SGDCNetConfig.paper()])
def test_config_survives_json(config):
    text = json.dumps(config.to_dict())
    assert SGDCNetConfig.from_dict(json.loads(text)) == config
    assert json.loads(text)["pool_size"] == config.pool_size


def test_config_is_frozen():
    with pytest.raises(FrozenInstanceError):
        SGDCNetConfig().heads = 8


def test_compact_is_the_default(compact):
    assert SGDCNetConfig() == SGDCNetConfig.compact() == SGDCNet().config == compact.config


def test_paper_has_the_papers_widths():
    config = SGDCNetConfig.paper(num_classes=7)
    assert (config.encoder, config.mid_channels, config.guidance_channels, config.reduction) == ("resnet50", 256, 16, 4)
    assert (config.heads, config.kernel_size, config.mlp_ratio, config.layer_scale_init) == (4, 7, 4.0, 1e-6)
    assert config.encoder_channels[-1] == 2048 and config.encoder_channels[0] == 256
    assert config.strides == (4, 8, 16, 32)
    assert config.num_classes == 7


def test_unknown_settings_are_named():
    values = asdict(SGDCNetConfig()) | {"warp_drive": 1, "colour": "red"}
    with pytest.raises(ValueError, match="colour, warp_drive"):
        SGDCNetConfig.from_dict(values)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"encoder": "vgg"}, "encoder='vgg'"),
        ({"num_classes": 0}, "num_classes=0"),
        ({"kernel_source": "magic"}, "kernel_source='magic'"),
        ({"encoder_channels": (8, 8, 8)}, r"encoder_channels=\(8, 8, 8\)"),
        ({"decoder_channels": [8] * 5}, r"decoder_channels=\(8, 8, 8, 8, 8\)"),
        ({"kernel_size": 6}, "kernel_size=6 must be odd"),
        ({"heads": 5}, "dim=64 is not divisible by heads=5"),
        ({"sobel_gate": "loud"}, "sobel_gate='loud'"),
        ({"padding": "reflect"}, "padding='reflect'"),
        ({"pool_size": 0}, "pool_size=0"),
        ({"mid_channels": 30}, "mid_channels=30"),
        ({"drop_path": -0.1}, "drop_path=-0.1"),
    ],
)
def test_bad_settings_are_named(changes, told):
    with pytest.raises(ValueError, match=told):
        SGDCNet(SGDCNetConfig.compact(**changes))


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (torch.zeros(3, 32, 32), r"\(3, 32, 32\)"),
        (torch.zeros(1, 1, 32, 32), r"\(1, 1, 32, 32\)"),
        (torch.zeros(1, 32, 32, 3), r"\(1, 32, 32, 3\)"),
        (torch.zeros(1, 3, 0, 32), r"\(1, 3, 0, 32\)"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "torch.uint8"),
    ],
)
def test_images_of_another_kind_are_refused(compact, image, told):
    with pytest.raises(ValueError, match=told):
        compact(image)


def test_without_timm_paper_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)  # makes `import timm` fail, installed or not
    with pytest.raises(ImportError, match=r'pip install -e "\.\[paper\]"') as caught:
        SGDCNet(SGDCNetConfig.paper())
    assert "compact()" in str(caught.value)
