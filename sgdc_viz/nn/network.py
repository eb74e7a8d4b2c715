"""SGDCNet: an encoder, the boundary branch (SGE) and a decoder with one SGDC block at each scale.

The paper publishes two modules and no network; this one is ours. Everything is in this file:

    image -> encoder -> features at strides 2, 4, 8, 16 (compact) or 4, 8, 16, 32 (paper)
    deepest and finest features -> SGE -> edge logits (supervised), guidance
    decoder, coarse to fine: upsample, join the skip, convolve, SGDC block (reads the guidance)
    finest decoder features -> logits at the size of the image
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .baselines import MIXERS, BaselineBlock
from .sgdc import KERNEL_SOURCES, SGDC
from .sge import SGE, ConvBNReLU

ALL_KERNEL_SOURCES = (*KERNEL_SOURCES, *MIXERS)


@dataclass(frozen=True)
class SGDCNetConfig:
    """Everything that shapes an SGDCNet. Plain values, so that a checkpoint can carry it as JSON.

    Attributes:
        encoder: "compact" (small residual network) or "resnet50" (needs timm: `pip install -e ".[paper]"`).
        num_classes: 1 for a binary mask (sigmoid), otherwise the number of classes with background (softmax).
        encoder_channels: channels of the four encoder stages, fine to coarse.
        decoder_channels: channels of the four decoder stages, fine to coarse; each divisible by `heads`.
        mid_channels, guidance_channels, reduction, sobel_gate: of the boundary branch, see `SGE`.
        heads, kernel_size, mlp_ratio, drop_path, layer_scale_init, pool_size, padding, antialias: see `SGDC`.
        kernel_source: "structure", "semantic", "pooled", "global", or a published block: "dyconv", "idconv", "plain".
        skips: whether the decoder sees the encoder's finer features. Without, the coarsest features and what SGE hands
            to guided blocks are all it has: a network to learn from, not one to use.
    """

    encoder: str = "compact"
    num_classes: int = 1
    encoder_channels: tuple[int, ...] = (16, 32, 64, 96)
    decoder_channels: tuple[int, ...] = (24, 32, 48, 64)
    mid_channels: int = 32
    guidance_channels: int = 16
    reduction: int = 4
    sobel_gate: str = "channel_sum"
    heads: int = 4
    kernel_size: int = 7
    mlp_ratio: float = 4.0
    drop_path: float = 0.0
    layer_scale_init: float = 0.1
    kernel_source: str = "structure"
    pool_size: int = 8
    padding: str = "zeros"
    antialias: bool = False
    skips: bool = True

    def __post_init__(self):
        for name in ("encoder_channels", "decoder_channels"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # JSON knows only lists
            if len(getattr(self, name)) != 4:
                raise ValueError(f"{name}={getattr(self, name)} must hold four numbers, fine to coarse.")
        if self.encoder not in ("compact", "resnet50"):
            raise ValueError(f"encoder={self.encoder!r} is unknown: use 'compact' or 'resnet50'.")
        if self.num_classes < 1:
            raise ValueError(f"num_classes={self.num_classes} must be 1 (binary) or the number of classes.")
        if self.kernel_source not in ALL_KERNEL_SOURCES:
            known = ", ".join(ALL_KERNEL_SOURCES)
            raise ValueError(f"kernel_source={self.kernel_source!r} is unknown: use one of {known}.")

    @classmethod
    def compact(cls, **changes) -> SGDCNetConfig:
        """About 0.6 M parameters, kernels down to stride 2: trains on a laptop without a GPU."""
        return cls(**changes)

    @classmethod
    def paper(cls, **changes) -> SGDCNetConfig:
        """ResNet-50 encoder and the paper's widths (m = 256, g = 16, d = 256, k = 7, 4 heads), kernels at stride 4."""
        return replace(
            cls(
                encoder="resnet50",
                encoder_channels=(256, 512, 1024, 2048),
                decoder_channels=(256, 256, 256, 256),
                mid_channels=256,
                layer_scale_init=1e-6,
            ),
            **changes,
        )

    @property
    def strides(self) -> tuple[int, ...]:
        """Image pixels per feature pixel of the four stages, fine to coarse."""
        return (2, 4, 8, 16) if self.encoder == "compact" else (4, 8, 16, 32)

    def to_dict(self) -> dict:
        """JSON-able; `SGDCNetConfig.from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> SGDCNetConfig:
        """Raises ValueError if a key is unknown (a checkpoint of a newer version, say)."""
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(f"unknown network setting(s) {', '.join(sorted(unknown))}: update sgdc_viz to read this.")
        return cls(**values)


class SGDCOutput(NamedTuple):
    """What SGDCNet returns; s is the finest stride (2 for compact).

    logits [B, num_classes, H, W], edge_logits [B, 1, ceil(H/s), ceil(W/s)], guidance [B, g, ceil(H/s), ceil(W/s)].
    """

    logits: Tensor
    edge_logits: Tensor
    guidance: Tensor


class ResidualStage(nn.Module):
    """Halve the resolution, then one residual pair of 3 x 3 convolutions."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.down = ConvBNReLU(in_channels, out_channels, 3, stride=2)
        self.conv1 = ConvBNReLU(out_channels, out_channels, 3)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        return F.relu(x + self.bn2(self.conv2(self.conv1(x))))


class CompactEncoder(nn.Module):
    """Four residual stages at strides 2, 4, 8, 16: [B, 3, H, W] -> four feature maps, fine to coarse."""

    def __init__(self, channels: tuple[int, ...]):
        super().__init__()
        self.stages = nn.ModuleList(ResidualStage(a, b) for a, b in zip((3, *channels), channels, strict=False))

    def forward(self, image: Tensor) -> list[Tensor]:
        features = []
        for stage in self.stages:
            image = stage(image)
            features.append(image)
        return features


def resnet50_encoder() -> nn.Module:
    """ResNet-50 from timm, random weights: features at strides 4, 8, 16, 32. Raises ImportError without timm."""
    try:
        import timm
    except Exception as error:  # not only ImportError: a torchvision built for another torch fails in other ways
        raise ImportError(
            f"SGDCNetConfig.paper() needs timm for its ResNet-50 encoder ({type(error).__name__}: {error}). "
            'In the project\'s folder: pip install -e ".[paper]" (torch and torchvision must be of matching versions). '
            "Or use SGDCNetConfig.compact()."
        ) from error
    return timm.create_model("resnet50", features_only=True, pretrained=False, out_indices=(1, 2, 3, 4))


class DecoderStage(nn.Module):
    """Upsample the coarser features, join the skip, convolve, then the dynamic block."""

    def __init__(self, coarse_channels: int, skip_channels: int, config: SGDCNetConfig, dim: int):
        super().__init__()
        self.join = ConvBNReLU(coarse_channels + skip_channels, dim, 3 if coarse_channels else 1)
        self.block = make_block(config, dim)

    def forward(self, coarse: Tensor | None, skip: Tensor, guidance: Tensor) -> Tensor:
        if coarse is not None:
            coarse = F.interpolate(coarse, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            skip = torch.cat([coarse, skip], dim=1)
        return self.block(self.join(skip), guidance)


def make_block(config: SGDCNetConfig, dim: int) -> nn.Module:
    """The dynamic block that `config.kernel_source` asks for, `dim` channels wide."""
    shared = dict(
        guidance_channels=config.guidance_channels,
        heads=config.heads,
        kernel_size=config.kernel_size,
        mlp_ratio=config.mlp_ratio,
        drop_path=config.drop_path,
        layer_scale_init=config.layer_scale_init,
        kernel_source=config.kernel_source,
    )
    if config.kernel_source in MIXERS:
        return BaselineBlock(dim, **shared)
    return SGDC(dim, pool_size=config.pool_size, padding=config.padding, antialias=config.antialias, **shared)


class SGDCNet(nn.Module):
    """Segmentation network with SGDC blocks.

    Args:
        config: `SGDCNetConfig.compact()` (default) or `.paper()`, or your own.

    Shape:
        image [B, 3, H, W], values 0..1, any H, W >= 1 -> SGDCOutput; logits have the size of the image.
        Inside, the image is extended to a multiple of the coarsest stride by repeating its last row and column, so
        that one feature pixel is exactly `stride` image pixels.

    Blocks are named by their stride: `net.decoder["s2"].block` makes the finest kernels of the compact network.
    """

    def __init__(self, config: SGDCNetConfig | None = None):
        super().__init__()
        config = SGDCNetConfig.compact() if config is None else config
        self.config = config
        self.encoder = CompactEncoder(config.encoder_channels) if config.encoder == "compact" else resnet50_encoder()
        self.sge = SGE(
            config.encoder_channels[-1],
            config.encoder_channels[0],
            config.mid_channels,
            config.guidance_channels,
            config.reduction,
            config.sobel_gate,
        )
        self.decoder = nn.ModuleDict()  # coarse to fine, the order in which they run
        coarse = 0
        for stride, skip, dim in zip(
            config.strides[::-1], config.encoder_channels[::-1], config.decoder_channels[::-1], strict=True
        ):
            self.decoder[f"s{stride}"] = DecoderStage(coarse, skip, config, dim)
            coarse = dim
        self.head = nn.Conv2d(coarse, config.num_classes, 1)

    def forward(self, image: Tensor) -> SGDCOutput:
        if image.ndim != 4 or image.shape[1] != 3 or 0 in image.shape or not image.is_floating_point():
            raise ValueError(
                f"SGDCNet needs a float image [B, 3, H, W] with values 0..1, got {image.dtype} {tuple(image.shape)}."
            )
        height, width = image.shape[-2:]
        finest, coarsest = self.config.strides[0], self.config.strides[-1]
        image = (image - 0.5) / 0.25  # roughly zero mean, unit variance
        image = F.pad(image, (0, -width % coarsest, 0, -height % coarsest), mode="replicate")

        features = self.encoder(image)  # fine to coarse
        edge_logits, guidance = self.sge(features[-1], features[0])
        x = None
        for stage, skip in zip(self.decoder.values(), reversed(features), strict=True):
            if x is not None and not self.config.skips:
                skip = torch.zeros_like(skip)
            x = stage(x, skip, guidance)
        logits = F.interpolate(self.head(x), scale_factor=finest, mode="bilinear", align_corners=False)
        rows, columns = -(-height // finest), -(-width // finest)
        return SGDCOutput(
            logits[..., :height, :width], edge_logits[..., :rows, :columns], guidance[..., :rows, :columns]
        )
