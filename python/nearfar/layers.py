"""Layers: the words in which an architecture is written.

A network is a list of these. They are plain descriptions without parameters of their own: `nearfar.Network` turns a
list into parameters and a plan, so the same list can be built many times.

    layers = [Conv(32, 3), BatchNorm(), ReLU(), MaxPool(2), Residual([Conv(32, 3), BatchNorm()]), GlobalAveragePool()]

Images and maps are (N, H, W, C), feature vectors are (N, F). A layer takes its number of input channels from what comes
before it. Its parameters are named after `name`, or after its place in the list as in `torch.nn.Sequential`:
"0.weight", "1.weight", "4.0.weight" above.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from nearfar.arguments import Frozen

__all__ = [
    "GELU",
    "BatchNorm",
    "Conv",
    "DepthwiseConv",
    "GlobalAveragePool",
    "Layer",
    "LayerNorm",
    "Linear",
    "MaxPool",
    "ReLU",
    "Residual",
    "SiLU",
]

Shape = tuple[int | None, ...]  # (H, W, C) or (F,); None: any size


def _integer(value, name, least):
    try:
        integer = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if not least <= integer < 2**31:
        raise ValueError(f"{name} must be >= {least}, got {integer}" if integer < least else f"{name} is too large")
    return integer


def _pair(value, name, least):
    """Height and width from one number or two."""
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise ValueError(f"{name} must be one integer or a pair (height, width), got {value!r}")
        return _integer(value[0], name, least), _integer(value[1], name, least)
    return (_integer(value, name, least),) * 2


def _windows(size, kernel, stride, padding):
    """How many places a window has along an axis."""
    return None if size is None else (size + 2 * padding - kernel) // stride + 1


def _window(kernel, stride, padding):
    """The checked settings of a convolution's window."""
    kernel = _pair(kernel, "kernel", 1)
    padding = (kernel[0] // 2, kernel[1] // 2) if padding is None else _pair(padding, "padding", 0)
    if padding[0] >= kernel[0] or padding[1] >= kernel[1]:
        raise ValueError(f"padding must be < kernel = {kernel}, got {padding}")
    return {"kernel": kernel, "stride": _integer(stride, "stride", 1), "padding": padding}


class Layer(Frozen):
    """What all layers have: a `kind` that the C core knows, an optional `name`, and `options` as numbers."""

    kind: ClassVar[str]
    name: str | None

    def options(self) -> dict[str, float]:
        """The layer's settings by name, as the C core takes them."""
        return {}

    def output_shape(self, shape: Shape) -> Shape:
        """Shape of one sample behind the layer, from its shape before: (H, W, C) or (F,); None stands for any size."""
        return shape

    def _check_name(self):
        if self.name is not None and (not isinstance(self.name, str) or not self.name):
            raise TypeError(f"name must be a non-empty string or None, got {self.name!r}")


@dataclass(frozen=True)
class Conv(Layer):
    """Convolution of maps (a cross-correlation, as everywhere in deep learning), with zeros around the map.

    ``y[n, i, j, o] = bias[o] + sum_{k, l, c} x[n, i*stride + k - padding, j*stride + l - padding, c] w[k, l, c, o]``

    Parameters
    ----------
    out_channels : int
        Number of filters, >= 1.
    kernel : int or (int, int)
        Height and width of the filters, 1 to 31.
    stride : int
        Step between two places of a filter, >= 1.
    padding : int, (int, int) or None
        Zeros added on each side, 0 to kernel - 1. None: ``kernel // 2``, which keeps the size for odd kernels at
        stride 1.
    bias : bool
        Whether to add a number per filter; not needed in front of a batch normalisation.
    name : str or None
        Prefix of the parameters' names.

    Notes
    -----
    ``(N, H, W, C) -> (N, (H + 2 padding - kernel) // stride + 1, ..., out_channels)``. The weight is (out, in, kh, kw)
    in `Network.state_dict`, and (kh, kw, in, out) in `Network.parameters`. It starts from a normal distribution with
    variance 2 / (out kh kw), the bias from a uniform one in +-1 / sqrt(in kh kw).
    """

    kind: ClassVar[str] = "conv"
    out_channels: int
    kernel: int | tuple[int, int]
    stride: int = 1
    padding: int | tuple[int, int] | None = None
    bias: bool = False
    name: str | None = None

    def __post_init__(self):
        self._check_name()
        self._set(
            out_channels=_integer(self.out_channels, "out_channels", 1),
            **_window(self.kernel, self.stride, self.padding),
            bias=bool(self.bias),
        )

    def options(self):
        return {"out_channels": self.out_channels, **_window_options(self)}

    def output_shape(self, shape):
        return (*_window_shape(self, shape), self.out_channels)


@dataclass(frozen=True)
class DepthwiseConv(Layer):
    """Convolution of each channel by itself, with zeros around the map: spatial filtering at a fraction of the work.

    ``y[n, i, j, c] = bias[c] + sum_{k, l} x[n, i*stride + k - padding, j*stride + l - padding, c] w[k, l, c]``

    Parameters
    ----------
    kernel : int or (int, int)
        Height and width of the filters, 1 to 31.
    stride : int
        Step between two places of a filter, 1 to 8.
    padding : int, (int, int) or None
        Zeros added on each side, 0 to kernel - 1. None: ``kernel // 2``.
    bias : bool
        Whether to add a number per channel.
    name : str or None
        Prefix of the parameters' names.

    Notes
    -----
    The weight is (C, 1, kh, kw) in `Network.state_dict`, as that of a `torch.nn.Conv2d` with as many groups as
    channels, and (kh, kw, 1, C) in `Network.parameters`. Weight and bias start from a uniform distribution in
    +-1 / sqrt(kh kw).

    References
    ----------
    Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications", 2017.
    """

    kind: ClassVar[str] = "depthwise_conv"
    kernel: int | tuple[int, int]
    stride: int = 1
    padding: int | tuple[int, int] | None = None
    bias: bool = False
    name: str | None = None

    def __post_init__(self):
        self._check_name()
        self._set(**_window(self.kernel, self.stride, self.padding), bias=bool(self.bias))

    def options(self):
        return _window_options(self)

    def output_shape(self, shape):
        return (*_window_shape(self, shape), shape[2])


def _window_options(layer):
    return {
        "kernel_h": layer.kernel[0],
        "kernel_w": layer.kernel[1],
        "stride": layer.stride,
        "padding_h": layer.padding[0],
        "padding_w": layer.padding[1],
        "bias": int(layer.bias),
    }


def _window_shape(layer, shape):
    sizes = zip(shape[:2], layer.kernel, layer.padding, strict=True)
    return tuple(_windows(size, k, layer.stride, p) for size, k, p in sizes)


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Batch normalisation, over all but the last axis.

    ``y = weight * (x - mean) / sqrt(var + eps) + bias`` per channel. In training, mean and (biased) variance are those
    of the batch, or of each of its `groups`; the running ones move by ``running += momentum * (batch's - running)``,
    the variance as its unbiased estimate. In evaluation the running ones take their place.

    Parameters
    ----------
    eps : float
        Added to the variance, > 0.
    momentum : float
        Weight of the new batch in the running statistics, in [0, 1].
    name : str or None
        Prefix of the parameters' names.

    References
    ----------
    Ioffe and Szegedy, "Batch Normalization", ICML 2015.
    """

    kind: ClassVar[str] = "batch_norm"
    eps: float = 1e-5
    momentum: float = 0.1
    name: str | None = None

    def __post_init__(self):
        self._check_name()
        self._set(eps=float(self.eps), momentum=float(self.momentum))
        if not 0 < self.eps < float("inf"):
            raise ValueError(f"eps must be > 0, got {self.eps}")
        if not 0 <= self.momentum <= 1:
            raise ValueError(f"momentum must be in [0, 1], got {self.momentum}")

    def options(self):
        return {"eps": self.eps, "momentum": self.momentum}


@dataclass(frozen=True)
class LayerNorm(Layer):
    """Layer normalisation over the last axis: of each vector, or of the channels of each pixel, by itself.

    ``y = weight * (x - mean) / sqrt(var + eps) + bias`` with mean and (biased) variance over the last axis. Training
    and evaluation are the same, and samples do not meet.

    Parameters
    ----------
    eps : float
        Added to the variance, > 0.
    name : str or None
        Prefix of the parameters' names.

    References
    ----------
    Ba, Kiros and Hinton, "Layer Normalization", 2016.
    """

    kind: ClassVar[str] = "layer_norm"
    eps: float = 1e-5
    name: str | None = None

    def __post_init__(self):
        self._check_name()
        self._set(eps=float(self.eps))
        if not 0 < self.eps < float("inf"):
            raise ValueError(f"eps must be > 0, got {self.eps}")

    def options(self):
        return {"eps": self.eps}


@dataclass(frozen=True)
class ReLU(Layer):
    """``y = max(x, 0)``, with derivative 0 at 0."""

    kind: ClassVar[str] = "relu"
    name: str | None = None


@dataclass(frozen=True)
class GELU(Layer):
    """``y = x Phi(x)`` with Phi the integral of the normal distribution up to x (not the approximation by tanh).

    Errors are below 1e-7 of max(1, abs(x)). Source: Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016.
    """

    kind: ClassVar[str] = "gelu"
    name: str | None = None


@dataclass(frozen=True)
class SiLU(Layer):
    """``y = x / (1 + exp(-x))``, also known as swish.

    Source: Elfwing, Uchibe and Doya, "Sigmoid-Weighted Linear Units for Neural Network Function Approximation in
    Reinforcement Learning", 2017.
    """

    kind: ClassVar[str] = "silu"
    name: str | None = None


@dataclass(frozen=True)
class MaxPool(Layer):
    """Largest value of each window of each channel; its gradient goes to the first of equal values, in row order.

    Parameters
    ----------
    kernel : int
        Height and width of the window, 1 to 15.
    stride : int or None
        Step between windows, >= 1. None: `kernel`, windows side by side.
    padding : int
        Cells that count as minus infinity on each side, 0 to ``kernel // 2``.
    name : str or None
        Takes part in the names of the list only.
    """

    kind: ClassVar[str] = "max_pool"
    kernel: int
    stride: int | None = None
    padding: int = 0
    name: str | None = None

    def __post_init__(self):
        self._check_name()
        kernel = _integer(self.kernel, "kernel", 1)
        stride = kernel if self.stride is None else _integer(self.stride, "stride", 1)
        self._set(kernel=kernel, stride=stride, padding=_integer(self.padding, "padding", 0))
        if self.padding > kernel // 2:
            raise ValueError(f"padding must be <= kernel // 2 = {kernel // 2}, got {self.padding}")

    def options(self):
        return {"kernel": self.kernel, "stride": self.stride, "padding": self.padding}

    def output_shape(self, shape):
        height, width, channels = shape
        size = (self.kernel, self.stride, self.padding)
        return _windows(height, *size), _windows(width, *size), channels


@dataclass(frozen=True)
class GlobalAveragePool(Layer):
    """Mean over the map: (N, H, W, C) -> (N, C)."""

    kind: ClassVar[str] = "global_average_pool"
    name: str | None = None

    def output_shape(self, shape):
        return (shape[-1],)


@dataclass(frozen=True)
class Linear(Layer):
    """``y = x @ weight + bias``: (N, F) -> (N, out_features). Maps of a fixed size are taken as vectors.

    Parameters
    ----------
    out_features : int
        >= 1.
    bias : bool
        Whether to add a number per output.
    name : str or None
        Prefix of the parameters' names.

    Notes
    -----
    The weight is (out, in) in `Network.state_dict`, and (in, out) in `Network.parameters`. Both start from a uniform
    distribution in +-1 / sqrt(in). Behind maps, `in` runs over (C, H, W) in the former, as behind `torch.nn.Flatten`,
    and over (H, W, C) in the latter.
    """

    kind: ClassVar[str] = "linear"
    out_features: int
    bias: bool = True
    name: str | None = None

    def __post_init__(self):
        self._check_name()
        self._set(out_features=_integer(self.out_features, "out_features", 1), bias=bool(self.bias))

    def options(self):
        return {"out_features": self.out_features, "bias": int(self.bias)}

    def output_shape(self, shape):
        return (self.out_features,)


@dataclass(frozen=True)
class Residual(Layer):
    """Sum of two paths: ``body(x) + shortcut(x)``.

    Parameters
    ----------
    body : sequence of layers
    shortcut : sequence of layers
        Empty: the input itself. Both paths must end in the same shape.
    name : str or None
        Prefix of the names of the body's layers; those of the shortcut get `name` + ".downsample", as in torchvision.

    References
    ----------
    He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.
    """

    kind: ClassVar[str] = "sum"
    body: Sequence[Layer]
    shortcut: Sequence[Layer] = ()
    name: str | None = None

    def __post_init__(self):
        self._check_name()
        self._set(body=tuple(self.body), shortcut=tuple(self.shortcut))
        if not self.body:
            raise ValueError("body must have at least one layer, got none")

    def output_shape(self, shape):
        for layer in self.body:
            shape = layer.output_shape(shape)
        return shape
