"""Encoders: images (N, H, W, C) to features (N, d), as lists of layers."""

from __future__ import annotations

from collections.abc import Sequence

from nearfar.layers import BatchNorm, Conv, GlobalAveragePool, MaxPool, ReLU, Residual
from nearfar.network import Network

__all__ = ["convnet", "resnet"]


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
