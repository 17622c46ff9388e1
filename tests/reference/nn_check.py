"""Lists of layers in short, and the comparison of the C core with its float64 twin."""

import numpy as np
from nearfar import _core
from reference import nn

SIZES = (1, 2, 3, 7, 15, 16, 17, 31, 33)
RELU, GELU, SILU, AVERAGE, SUM = "relu", "gelu", "silu", "global_average_pool", "sum"


def conv(out, kernel, stride=1, padding=None, bias=0, source=-1):
    kh, kw = np.broadcast_to(kernel, 2).tolist()
    ph, pw = (kh // 2, kw // 2) if padding is None else np.broadcast_to(padding, 2).tolist()
    size = {"kernel_h": kh, "kernel_w": kw, "stride": stride, "padding_h": ph, "padding_w": pw}
    return ("conv", (source,), {"out_channels": out, **size, "bias": bias})


def depthwise(kernel, stride=1, padding=None, bias=0, source=-1):
    _, _, options = conv(1, kernel, stride, padding, bias)
    return ("depthwise_conv", (source,), {key: value for key, value in options.items() if key != "out_channels"})


def layer_norm(eps=1e-5, source=-1):
    return ("layer_norm", (source,), {"eps": eps})


def pool(kernel, stride, padding, source=-1):
    return ("max_pool", (source,), {"kernel": kernel, "stride": stride, "padding": padding})


def linear(out, bias=1, source=-1):
    return ("linear", (source,), {"out_features": out, "bias": bias})


def batch_norm(eps=1e-5, momentum=0.1, source=-1):
    return ("batch_norm", (source,), {"eps": eps, "momentum": momentum})


def plain(kind, *inputs):
    return (kind, inputs or (-1,), {})


def chain(*layers):
    """Layers that each read the one before."""
    return [(kind, (index - 1,), options) for index, (kind, _, options) in enumerate(layers)]


def relative(a, b):
    """||a - b|| / ||b||"""
    a, b = np.asarray(a, float), np.asarray(b, float)
    assert a.shape == b.shape
    return np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-30)


def close(a, b, tolerance, scale=0.0):
    """||a - b|| is within the tolerance, of ||b||, or of `scale` where b is next to nothing by cancellation."""
    return relative(a, b) * np.linalg.norm(b) <= tolerance * max(np.linalg.norm(b), scale)


def build(layers, in_shape, random, **options):
    """A core network with random parameters and statistics."""
    core = _core.Network(layers, tuple(in_shape), **options)
    core.parameters[:] = random.normal(0, 0.5, core.parameters.shape)
    core.statistics[:] = random.uniform(0.5, 2, core.statistics.shape)
    return core


def check(layers, shape, *, groups=1, seed=0, tolerance=1e-5, differences=False, **options):
    """The C core and the twin agree on everything for a batch of this shape; with central differences, too.

    Options: those of `_core.Network`.
    """
    random = np.random.default_rng(seed)
    any_size = len(shape) == 4 and layers[0][0] != "linear"
    core = build(layers, (-1, -1, shape[-1]) if any_size else shape[1:], random, **options)
    twin = nn.Twin(core, layers, options.get("activation_dtype", "float32"))
    x = random.normal(0.3, 1, shape).astype(np.float32)
    kept = x.copy()

    assert relative(core.forward(x, False, 1), twin.forward(x)) < tolerance
    y = core.forward(x, True, groups)
    assert y.dtype == np.float32
    assert relative(y, twin.forward(x, True, groups)) < tolerance
    for key, tensor in nn.split(core.statistics, core.statistic_slots()).items():
        assert relative(tensor, twin.statistics[key]) < tolerance, key

    d_y = random.normal(size=y.shape).astype(np.float32)
    d_x = core.backward(d_y, True, False)
    found = nn.split(core.gradients, core.slots()) | {"x": d_x}
    wanted = twin.backward(d_y)
    assert found.keys() == wanted.keys()
    scale = np.linalg.norm(d_y)  # a bias, or a factor, in front of a batch norm has no gradient
    for key, gradient in found.items():
        assert close(gradient, wanted[key], tolerance, scale), key
    if differences:
        for key, gradient in twin.numerical_gradients(x, d_y, groups).items():
            assert relative(wanted[key], gradient) < 1e-6, key
            assert relative(found[key], gradient) < 1e-3, key
    np.testing.assert_array_equal(x, kept)
    return core
