"""Encoders: images (N, H, W, C) to features (N, d), as lists of layers."""

from __future__ import annotations

from collections.abc import Sequence

from nearfar.layers import (
    GELU,
    BatchNorm,
    Conv,
    DepthwiseConv,
    GlobalAveragePool,
    LayerNorm,
    Linear,
    MaxPool,
    ReLU,
    Residual,
)
from nearfar.network import Network

__all__ = ["convnet", "convnext", "mlp", "mobilenet", "resnet", "resnet9", "wide_resnet"]


def _basic(channels, stride):
    return [
        *[Conv(channels, 3, stride, name="conv1"), BatchNorm(name="bn1"), ReLU()],
        *[Conv(channels, 3, name="conv2"), BatchNorm(name="bn2")],
    ]


def _bottleneck(channels, stride):
    return [
        *[Conv(channels, 1, name="conv1"), BatchNorm(name="bn1"), ReLU()],
        *[Conv(channels, 3, stride, name="conv2"), BatchNorm(name="bn2"), ReLU()],
        *[Conv(4 * channels, 1, name="conv3"), BatchNorm(name="bn3")],
    ]


_STEMS = {
    "small": lambda width: [Conv(width, 3, name="conv1"), BatchNorm(name="bn1"), ReLU()],
    "imagenet": lambda width: [Conv(width, 7, 2, name="conv1"), BatchNorm(name="bn1"), ReLU(), MaxPool(3, 2, 1)],
}

_DEPTHS = {  # block, output channels of a block / its width, blocks in each of the four stages
    18: (_basic, 1, (2, 2, 2, 2)),
    34: (_basic, 1, (3, 4, 6, 3)),
    50: (_bottleneck, 4, (3, 4, 6, 3)),
    101: (_bottleneck, 4, (3, 4, 23, 3)),
    152: (_bottleneck, 4, (3, 8, 36, 3)),
}


def resnet(depth: int = 18, *, stem: str = "small", width: int = 64, in_channels: int = 3, seed: int = 0) -> Network:
    """Residual network in torchvision's form (v1.5: the 3x3 convolution of a bottleneck has the stride), without `fc`.

    Parameters
    ----------
    depth : {18, 34, 50, 101, 152}
        Number of layers with weights, the missing classifier included.
    stem : {"small", "imagenet"}
        "small": a 3x3 convolution, for images of some 32 pixels; their size is divided by 8 in all. "imagenet": a 7x7
        convolution with stride 2 and a 3x3 max pool with stride 2, for some 224 pixels; the size is divided by 32.
    width : int
        Channels of the first stage; the later ones have 2, 4 and 8 times as many.
    in_channels : int
        Channels of the images.
    seed : int
        Of the initial weights.

    Returns
    -------
    Network
        Takes images of any size, float32 (N, H, W, in_channels), and gives (N, d) with d = 8 width for depths 18 and
        34, else 32 width. Weights have torchvision's names, so its checkpoints load with
        ``load_state_dict(d, strict=False)`` into ``stem="imagenet"``.

    References
    ----------
    He et al., "Deep Residual Learning for Image Recognition", CVPR 2016. The small stem is that of SimCLR for CIFAR-10:
    Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020, appendix B.9.

    Examples
    --------
    >>> import numpy as np
    >>> import nearfar as nf
    >>> encoder = nf.resnet(18, width=8)
    >>> encoder.forward(np.zeros((2, 32, 32, 3), np.float32)).shape
    (2, 64)
    """
    if depth not in _DEPTHS:
        raise ValueError(f"depth must be one of {', '.join(map(str, _DEPTHS))}, got {depth!r}")
    if stem not in _STEMS:
        raise ValueError(f"stem must be 'small' or 'imagenet', got {stem!r}")
    block, expansion, counts = _DEPTHS[depth]
    layers = _STEMS[stem](width)
    features = width
    for stage, count in enumerate(counts):
        for i in range(count):
            channels, stride = width * 2**stage, 2 if stage > 0 and i == 0 else 1
            out = channels * expansion
            shortcut = [Conv(out, 1, stride), BatchNorm()] if stride > 1 or features != out else []
            layers += [Residual(block(channels, stride), shortcut, name=f"layer{stage + 1}.{i}"), ReLU()]
            features = out
    return Network([*layers, GlobalAveragePool()], (None, None, in_channels), seed)


def convnet(widths: Sequence[int] = (32, 64, 128), *, in_channels: int = 3, seed: int = 0) -> Network:
    """Plain small encoder: 3x3 convolution, batch normalisation, ReLU per width, then the global average.

    Parameters
    ----------
    widths : sequence of int
        Channels of each block, at least one block. Each but the first has stride 2, which halves the map, rounding up.
    in_channels : int
        Channels of the images.
    seed : int
        Of the initial weights.

    Returns
    -------
    Network
        Takes float32 (N, H, W, in_channels) of any size, and gives (N, widths[-1]).

    Examples
    --------
    >>> import numpy as np
    >>> import nearfar as nf
    >>> nf.convnet((8, 16), in_channels=1).forward(np.zeros((5, 28, 28, 1), np.float32)).shape
    (5, 16)
    """
    if not len(widths):
        raise ValueError("widths must name at least one block, got none")
    layers = []
    for width in widths:
        layers += [Conv(width, 3, stride=2 if layers else 1), BatchNorm(), ReLU()]
    return Network([*layers, GlobalAveragePool()], (None, None, in_channels), seed)


def _conv_block(channels, kernel=3, stride=1):
    return [Conv(channels, kernel, stride), BatchNorm(), ReLU()]


def resnet9(*, width: int = 64, in_channels: int = 3, seed: int = 0) -> Network:
    """Shallow residual network that trains fast on images of some 32 pixels.

    Four 3x3 convolutions with `width`, 2, 4 and 8 times as many channels, each but the first followed by a 2x2 max
    pool, and a residual block of two more convolutions behind the second and the fourth.

    Parameters
    ----------
    width : int
        Channels of the first convolution.
    in_channels : int
        Channels of the images.
    seed : int
        Of the initial weights.

    Returns
    -------
    Network
        Takes float32 (N, H, W, in_channels) with H and W of at least 8, and gives (N, 8 width).

    References
    ----------
    The network that Page's "How to train your ResNet" (2018) made known by its speed on CIFAR-10.

    Examples
    --------
    >>> import numpy as np
    >>> import nearfar as nf
    >>> nf.resnet9(width=8).forward(np.zeros((2, 32, 32, 3), np.float32)).shape
    (2, 64)
    """
    layers = _conv_block(width)
    for factor, residual in ((2, True), (4, False), (8, True)):
        layers += [*_conv_block(factor * width), MaxPool(2)]
        if residual:
            layers.append(Residual(_conv_block(factor * width) * 2))
    return Network([*layers, GlobalAveragePool()], (None, None, in_channels), seed)


def wide_resnet(depth: int = 16, widen: int = 4, *, in_channels: int = 3, seed: int = 0) -> Network:
    """Wide residual network, with normalisation and ReLU in front of each convolution, for images of some 32 pixels.

    Parameters
    ----------
    depth : int
        Number of convolutions on the longest path, 6 n + 4 for three stages of n blocks: 10, 16, 22, 28, 40.
    widen : int
        The stages have 16, 32 and 64 times `widen` channels, >= 1.
    in_channels : int
        Channels of the images.
    seed : int
        Of the initial weights.

    Returns
    -------
    Network
        Takes float32 (N, H, W, in_channels) of any size, and gives (N, 64 widen).

    References
    ----------
    Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016.

    Examples
    --------
    >>> import numpy as np
    >>> import nearfar as nf
    >>> nf.wide_resnet(10, 1).forward(np.zeros((2, 32, 32, 3), np.float32)).shape
    (2, 64)
    """
    if depth < 10 or (depth - 4) % 6:
        raise ValueError(f"depth must be 6 n + 4 with n >= 1, got {depth}")
    if widen < 1:
        raise ValueError(f"widen must be >= 1, got {widen}")
    layers, features = [Conv(16, 3)], 16
    for stage in range(3):
        for i in range((depth - 4) // 6):
            channels, stride = 16 * widen * 2**stage, 2 if stage > 0 and i == 0 else 1
            before = [BatchNorm(), ReLU()]
            body = [Conv(channels, 3, stride), BatchNorm(), ReLU(), Conv(channels, 3)]
            if stride > 1 or features != channels:  # the shortcut, too, starts behind normalisation and ReLU
                layers += [*before, Residual(body, [Conv(channels, 1, stride)])]
            else:
                layers.append(Residual([*before, *body]))
            features = channels
    return Network([*layers, BatchNorm(), ReLU(), GlobalAveragePool()], (None, None, in_channels), seed)


_MOBILENET_STAGES = (  # expansion, channels, blocks, stride of the first
    *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
)


def mobilenet(*, width: float = 1.0, stem: str = "small", in_channels: int = 3, seed: int = 0) -> Network:
    """Network of inverted residual blocks in the manner of MobileNetV2: little work and few parameters.

    A block widens the channels by a 1x1 convolution, filters each by a 3x3 depthwise one, and narrows them by a 1x1
    convolution without activation. The activation is ReLU, where MobileNetV2 caps it at 6.

    Parameters
    ----------
    width : float
        Scales the channels of all stages (rounded to multiples of 8, at least 8), > 0.
    stem : {"small", "imagenet"}
        For images of some 32 pixels, divided by 8 in all, or of some 224, divided by 32.
    in_channels : int
        Channels of the images.
    seed : int
        Of the initial weights.

    Returns
    -------
    Network
        Takes float32 (N, H, W, in_channels) of any size, and gives (N, 1280 max(width, 1)), rounded.

    References
    ----------
    Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018.

    Examples
    --------
    >>> import numpy as np
    >>> import nearfar as nf
    >>> nf.mobilenet(width=0.25).forward(np.zeros((2, 32, 32, 3), np.float32)).shape
    (2, 1280)
    """
    if not width > 0:
        raise ValueError(f"width must be > 0, got {width}")
    if stem not in _STEMS:
        raise ValueError(f"stem must be 'small' or 'imagenet', got {stem!r}")
    features = _rounded(32 * width)
    small = stem == "small"
    layers = _conv_block(features, 3, 1 if small else 2)
    for stage, (expansion, channels, count, stage_stride) in enumerate(_MOBILENET_STAGES):
        channels = _rounded(channels * width)
        for i in range(count):
            stride = stage_stride if i == 0 and not (small and stage == 1) else 1
            inner = expansion * features
            body = _conv_block(inner, 1) if expansion > 1 else []
            body += [DepthwiseConv(3, stride), BatchNorm(), ReLU(), Conv(channels, 1), BatchNorm()]
            layers += [Residual(body)] if stride == 1 and features == channels else body
            features = channels
    return Network(
        [*layers, *_conv_block(_rounded(1280 * max(width, 1)), 1), GlobalAveragePool()],
        (None, None, in_channels),
        seed,
    )


def _rounded(channels):
    return max(8, int(channels / 8 + 0.5) * 8)


def convnext(
    counts: Sequence[int] = (3, 3, 9, 3), *, width: int = 96, stem: int = 4, in_channels: int = 3, seed: int = 0
) -> Network:
    """ConvNeXt's blocks: a 7x7 depthwise convolution, layer normalisation, and two 1x1 convolutions with GELU between.

    Samples do not meet in any layer, so that large batches can be split (`nearfar.cached_gradients`) exactly. The
    learned scale of each block's result that the paper adds is left out.

    Parameters
    ----------
    counts : sequence of int
        Blocks of each stage; between stages the map is halved and the channels doubled.
    width : int
        Channels of the first stage.
    stem : int
        Kernel and stride of the first convolution: 4 for images of some 224 pixels, 1 or 2 for some 32.
    in_channels : int
        Channels of the images.
    seed : int
        Of the initial weights.

    Returns
    -------
    Network
        Takes float32 (N, H, W, in_channels) with H and W of at least stem 2^(stages - 1), and gives
        (N, width 2^(stages - 1)). The default is the size of ConvNeXt-T.

    References
    ----------
    Liu et al., "A ConvNet for the 2020s", CVPR 2022.

    Examples
    --------
    >>> import numpy as np
    >>> import nearfar as nf
    >>> nf.convnext((1, 1), width=8, stem=2).forward(np.zeros((2, 32, 32, 3), np.float32)).shape
    (2, 16)
    """
    if not len(counts):
        raise ValueError("counts must name at least one stage, got none")
    layers = [Conv(width, stem, stem, 0, bias=True), LayerNorm(1e-6)]
    for stage, count in enumerate(counts):
        channels = width * 2**stage
        if stage:
            layers += [LayerNorm(1e-6), Conv(channels, 2, 2, 0, bias=True)]
        for _ in range(count):
            body = [DepthwiseConv(7, bias=True), LayerNorm(1e-6)]
            body += [Conv(4 * channels, 1, bias=True), GELU(), Conv(channels, 1, bias=True)]
            layers.append(Residual(body))
    return Network([*layers, GlobalAveragePool(), LayerNorm(1e-6)], (None, None, in_channels), seed)


def mlp(
    in_shape: Sequence[int], widths: Sequence[int] = (512, 512), *, batch_norm: bool = True, seed: int = 0
) -> Network:
    """Multilayer perceptron: linear, batch normalisation, ReLU per width. For vectors, or small images as vectors.

    Parameters
    ----------
    in_shape : (F,) or (H, W, C)
        Shape of one sample.
    widths : sequence of int
        Outputs of each linear layer, at least one.
    batch_norm : bool
        Whether there is batch normalisation; if not, the linear layers have biases.
    seed : int
        Of the initial weights.

    Returns
    -------
    Network
        Takes float32 (N, *in_shape) and gives (N, widths[-1]), behind the last ReLU.

    Examples
    --------
    >>> import numpy as np
    >>> import nearfar as nf
    >>> nf.mlp((8, 8, 1), (32, 16)).forward(np.zeros((5, 8, 8, 1), np.float32)).shape
    (5, 16)
    """
    if not len(widths):
        raise ValueError("widths must name at least one layer, got none")
    layers = []
    for width in widths:
        layers += [Linear(width, bias=not batch_norm), *([BatchNorm()] if batch_norm else []), ReLU()]
    return Network(layers, tuple(in_shape), seed)
