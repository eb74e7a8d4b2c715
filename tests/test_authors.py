"""Weights saved with the authors' modules: they load into ours, and our outputs equal theirs.

Written from the paper's equations and the published parameter names, in the released form: dense Sobel filters,
unfold, parameters under their own names. Nothing here uses our modules but the loader's target.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sgdc_viz.nn import SGDC, SGE, SGDCNet, load_authors_state_dict


class ConvBN(nn.Module):
    def __init__(self, a, b, k=1):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(a, b, k, padding=k // 2, bias=False), nn.BatchNorm2d(b)

    def forward(self, x):
        return torch.relu(self.bn(self.conv(x)))


class TheirRefine(nn.Module):
    def __init__(self, m, r):
        super().__init__()
        n = m // r
        self.refine = nn.Sequential(
            nn.Conv2d(m, n, 1, bias=False), nn.BatchNorm2d(n), nn.ReLU(),
            nn.Conv2d(n, n, 3, padding=1, bias=False), nn.BatchNorm2d(n), nn.ReLU(),
            nn.Conv2d(n, m, 1, bias=False), nn.BatchNorm2d(m),
        )  # fmt: skip

    def forward(self, x):
        return torch.relu(x + self.refine(x))


class TheirSGE(nn.Module):
    def __init__(self, c4, c1, m, g, r):
        super().__init__()
        self.s4_proj, self.s1_proj = ConvBN(c4, m), ConvBN(c1, m)
        self.sobel_x = nn.Conv2d(m, m, 3, padding=1, bias=False)
        self.sobel_y = nn.Conv2d(m, m, 3, padding=1, bias=False)
        self.refine4, self.refine1 = TheirRefine(m, r), TheirRefine(m, r)
        self.fuse = ConvBN(2 * m, m, 3)
        self.out_edge_map, self.out_guidance = nn.Conv2d(m, 1, 1, bias=False), nn.Conv2d(m, g, 1, bias=False)
        with torch.no_grad():
            self.sobel_x.weight[:] = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
            self.sobel_y.weight[:] = torch.tensor([[1.0, 2, 1], [0, 0, 0], [-1, -2, -1]])

    def sharpen(self, p):
        return torch.sigmoid(torch.sqrt(self.sobel_x(p) ** 2 + self.sobel_y(p) ** 2)) * p

    def forward(self, x4, x1):
        r4 = self.refine4(self.sharpen(self.s4_proj(x4)))
        r1 = self.refine1(self.sharpen(self.s1_proj(x1)))
        r4 = F.interpolate(r4, size=r1.shape[2:], mode="bilinear", align_corners=False)
        f = self.fuse(torch.cat([r4, r1], 1))
        return self.out_edge_map(f), self.out_guidance(f)


class TheirNorm(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class TheirSGDC(nn.Module):
    def __init__(self, d, g, heads, k):
        super().__init__()
        self.d, self.heads, self.k = d, heads, k
        self.proj_guidance = nn.Conv2d(g, d, 1)
        self.attn = nn.Conv2d(d, 2 * d + heads * k * k, 1)
        self.norm1, self.norm2 = TheirNorm(d, eps=1e-6), TheirNorm(d, eps=1e-6)
        self.dwconv = nn.Conv2d(d, d, 3, padding=1, groups=d)
        self.mlp = nn.Sequential(nn.Conv2d(d, 4 * d, 1), nn.GELU(), nn.Conv2d(4 * d, d, 1))
        self.ls1, self.ls2 = nn.Parameter(1e-6 * torch.ones(d)), nn.Parameter(1e-6 * torch.ones(d))

    def forward(self, x, guidance):
        b, _, h, w = x.shape
        c = x + self.proj_guidance(F.interpolate(guidance, size=(h, w), mode="bilinear", align_corners=False))
        a1, a2, kernels = torch.split(self.attn(c), [self.d, self.d, self.heads * self.k**2], 1)
        kernels = torch.softmax(kernels.reshape(b, self.heads, 1, self.k**2, h * w), 3)
        patches = F.unfold(self.norm1(x), self.k, padding=self.k // 2)
        patches = patches.reshape(b, self.heads, self.d // self.heads, self.k**2, h * w)
        u = (patches * kernels).sum(3).reshape(b, self.d, h, w) * torch.sigmoid(a2)
        s = self.dwconv(x * torch.sigmoid(a1))
        y = x + self.ls1[:, None, None] * (s + u)
        return y + self.ls2[:, None, None] * self.mlp(self.norm2(y))


def randomise(module, seed=0):
    """Every weight and running statistic away from its start value, as after training. Sobel stays what it is."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, t in module.state_dict().items():
            if name.endswith("running_var"):
                t.copy_(torch.rand(t.shape, generator=generator) + 0.5)
            elif t.is_floating_point() and "sobel" not in name:
                t.copy_(0.3 * torch.randn(t.shape, generator=generator) + (0.2 if t.ndim == 1 else 0))
    return module.eval()


def sge_pair():
    inputs = torch.randn(2, 12, 3, 4), torch.randn(2, 6, 11, 13)
    return randomise(TheirSGE(12, 6, 16, 5, 4)), SGE(12, 6, 16, 5, 4).eval(), inputs


def sgdc_pair():
    inputs = torch.randn(2, 24, 9, 10), torch.randn(2, 5, 17, 21)
    return randomise(TheirSGDC(24, 5, 4, 7)), SGDC(24, 5, heads=4, kernel_size=7).eval(), inputs


@pytest.mark.parametrize("pair", [sge_pair, sgdc_pair])
class TestAuthorsWeights:
    @pytest.mark.parametrize("prefix", ["", "module.", "module.net.block3."])
    def test_equal_outputs(self, pair, prefix):
        theirs, ours, inputs = pair()
        load_authors_state_dict(ours, {prefix + name: value for name, value in theirs.state_dict().items()})
        with torch.no_grad():
            for a, b in zip(ours(*inputs), theirs(*inputs), strict=True):
                torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
                assert b.std() > 0.1  # there was something to compare

    def test_the_other_way_round_nothing_is_left_over(self, pair):
        """Our own state has exactly their names, but for the Sobel constants."""
        theirs, ours, _ = pair()
        assert set(theirs.state_dict()) - set(ours.state_dict()) <= {"sobel_x.weight", "sobel_y.weight"}
        assert set(ours.state_dict()) <= set(theirs.state_dict())

    def test_trained_values_are_copies(self, pair):
        theirs, ours, inputs = pair()
        load_authors_state_dict(ours, theirs.state_dict())
        before = [t.clone() for t in ours(*inputs)]
        randomise(theirs, seed=1)
        for a, b in zip(before, ours(*inputs), strict=True):
            assert torch.equal(a, b)

    def test_checkpoints_without_the_constants_load_too(self, pair):
        theirs, ours, _ = pair()
        load_authors_state_dict(ours, {k: v for k, v in theirs.state_dict().items() if "sobel" not in k})

    @pytest.mark.parametrize("prefix", ["", "module."])
    @pytest.mark.parametrize("fault", ["missing", "extra", "shape", "empty"])
    def test_what_does_not_fit_is_named_and_nothing_changes(self, pair, prefix, fault):
        theirs, ours, _ = pair()
        state = {prefix + name: value for name, value in theirs.state_dict().items()}
        victim = "fuse.bn.running_mean" if isinstance(ours, SGE) else "attn.bias"
        if fault == "missing":
            del state[prefix + victim]
            told = rf"missing: {victim}\)"
        elif fault == "extra":
            state[prefix + "head.weight"] = torch.zeros(1)
            told = r"unknown: head\.weight\)"
        elif fault == "shape":
            state[prefix + victim] = torch.zeros(3)
            told = rf"of another shape: {victim} \(3,\), here"
        else:
            state, told = {}, "missing"
        before = {name: value.clone() for name, value in ours.state_dict().items()}
        with pytest.raises(ValueError, match=told):
            load_authors_state_dict(ours, state)
        assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())

    def test_weights_of_the_wrong_width_say_which(self, pair):
        theirs, ours, _ = pair()
        wide = SGE(12, 6, 32, 5, 4) if isinstance(ours, SGE) else SGDC(24, 5, heads=4, kernel_size=5)
        with pytest.raises(ValueError, match="Check its widths, heads and kernel size"):
            load_authors_state_dict(wide, theirs.state_dict())


def test_a_network_is_not_what_it_fills():
    with pytest.raises(TypeError, match="not a SGDCNet"):
        load_authors_state_dict(SGDCNet(), {})


def test_sge_and_sgdc_are_not_mixed_up():
    with pytest.raises(ValueError, match="do not fit this SGDC"):
        load_authors_state_dict(sgdc_pair()[1], sge_pair()[0].state_dict())


@pytest.mark.parametrize("given", [None, [], {"norm1.weight": [1.0]}])
def test_what_is_no_state_dict_is_said(given):
    with pytest.raises(TypeError, match="state_dict must map names to tensors"):
        load_authors_state_dict(SGDC(8), given)
