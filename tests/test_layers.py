"""Every layer of the C core against its float64 twin, forwards and backwards."""

import numpy as np
import pytest
from nearfar import _core
from reference import nn
from reference.nn_check import (
    AVERAGE,
    GELU,
    RELU,
    SILU,
    SIZES,
    SUM,
    batch_norm,
    build,
    chain,
    check,
    conv,
    depthwise,
    layer_norm,
    linear,
    plain,
    pool,
    relative,
)

# ---- each layer over sizes ----


@pytest.mark.parametrize("channels", SIZES)
@pytest.mark.parametrize("kernel", (1, 3))
def test_conv_channels(channels, kernel):
    for out in (1, 3, 16, 17, 33):
        check([conv(out, kernel, bias=1)], (2, 5, 7, channels))


@pytest.mark.parametrize("height", SIZES)
def test_conv_maps(height):
    for width in (1, 2, 7, 16, 33):
        check([conv(5, 3)], (2, height, width, 4))


@pytest.mark.parametrize("kernel", (1, 2, 3, 5, 7))
@pytest.mark.parametrize("stride", (1, 2, 3))
def test_conv_geometry(kernel, stride):
    for padding in range(min(kernel, 4)):
        check([conv(6, kernel, stride, padding, bias=1)], (3, 9, 8, 3))
        check([conv(17, kernel, stride, padding)], (1, 7, 12, 16))


@pytest.mark.parametrize("kernel, padding", [((1, 7), (0, 3)), ((3, 1), (1, 0)), ((2, 3), (0, 2)), ((5, 2), (3, 1))])
def test_conv_oblong_kernels(kernel, padding):
    for stride in (1, 2):
        check([conv(4, kernel, stride, padding)], (2, 8, 11, 5))


@pytest.mark.parametrize("batch", SIZES)
def test_conv_batches(batch):
    check([conv(16, 3, bias=1)], (batch, 4, 4, 16))
    check([conv(8, 7, 2, 3)], (batch, 8, 8, 3))


@pytest.mark.parametrize(
    "layer, shape",
    [
        (conv(64, 3), (4, 16, 16, 64)),
        (conv(128, 3), (2, 8, 8, 128)),
        (conv(96, 3), (3, 13, 18, 48)),
        (conv(64, 3, 2), (3, 17, 16, 32)),
        (conv(128, 1), (4, 8, 8, 64)),
        (conv(128, 1, 2), (4, 9, 8, 64)),
        (conv(256, 3), (8, 2, 2, 128)),
        (conv(64, 7, 2, 3), (2, 40, 37, 3)),
    ],
)
def test_conv_of_real_sizes(layer, shape):
    check([layer], shape)


def test_conv_with_kernel_larger_than_the_map():
    check([conv(3, 7)], (2, 2, 1, 4))
    check([conv(3, 3)], (1, 1, 1, 1))


@pytest.mark.parametrize("channels", SIZES)
def test_depthwise_channels(channels):
    check([depthwise(3, bias=1)], (2, 5, 7, channels))
    check([depthwise(3, 2)], (2, 6, 9, channels))


@pytest.mark.parametrize("size", SIZES)
def test_depthwise_maps(size):
    for other in (1, 6, 13):
        check([depthwise(3, bias=1)], (2, size, other, 4))
        check([depthwise((2, 5), 2, (1, 2))], (1, other, size, 3))


@pytest.mark.parametrize("kernel", (1, 2, 3, 5, 7))
@pytest.mark.parametrize("stride", (1, 2, 3))
def test_depthwise_geometry(kernel, stride):
    for padding in range(min(kernel, 4)):
        check([depthwise(kernel, stride, padding, bias=1)], (3, 9, 8, 3))


def test_depthwise_of_many_segments():
    check([depthwise(7)], (8, 24, 24, 40), tolerance=2e-5)


@pytest.mark.parametrize("channels", SIZES)
def test_layer_norm(channels):
    scale = 3e-2 if channels == 1 else 1e-5  # of one number nothing is left but rounding
    check([layer_norm(eps=1e-1 if channels == 1 else 1e-5)], (3, 5, 4, channels), tolerance=scale)
    check([layer_norm(1e-2)], (7, channels), tolerance=scale)


def test_layer_norm_of_many_blocks():
    check([layer_norm()], (6, 40, 40, 17), tolerance=2e-5)


@pytest.mark.parametrize("kind", (GELU, SILU))
@pytest.mark.parametrize("n", SIZES)
def test_smooth_activations(kind, n):
    check([plain(kind)], (3, n))


@pytest.mark.parametrize("kind", (GELU, SILU))
def test_smooth_activations_over_their_range(kind):
    x = np.concatenate([np.linspace(-20, 20, 4001), [-1e30, -1e4, -0.0, 1e-30, 1e4, 1e30]]).astype(np.float32)
    core = _core.Network([plain(kind)], (len(x),), "auto")
    function, gradient = nn.ACTIVATIONS[kind]
    exact = x.astype(float)
    y = core.forward(x[None], True, 1)[0]
    d_x = core.backward(np.ones((1, len(x)), np.float32), True, False)[0]
    assert (np.abs(y - function(exact)) <= 2.5e-7 * np.maximum(np.abs(exact), 1)).all()
    with np.errstate(over="ignore"):
        wanted = np.where(np.abs(exact) < 1e4, gradient(1.0, exact), exact > 0)
    np.testing.assert_allclose(d_x, wanted, atol=5e-7)


@pytest.mark.parametrize("channels", SIZES)
def test_batch_norm(channels):
    for shape in ((1, 3, 2, channels), (7, 5, 4, channels), (8, channels), (33, channels)):
        check([batch_norm()], shape)
    check([batch_norm(1e-2, 0.7)], (6, 3, channels, channels), groups=3)
    check([batch_norm(1e-3, 0.0)], (8, channels), groups=2)


def test_batch_norm_of_two_values_per_channel():
    """Their normalised values are +-1, and the gradient of the input all but vanishes."""
    random = np.random.default_rng(0)
    x, d_y = random.normal(size=(2, 2, 5)).astype(np.float32)
    core = build([batch_norm()], (5,), random)
    twin = nn.Twin(core, [batch_norm()])
    assert relative(core.forward(x, True, 1), twin.forward(x, True)) < 1e-5
    d_x, wanted = core.backward(d_y, True, False), twin.backward(d_y)
    assert relative(nn.split(core.gradients, core.slots())[0, "weight"], wanted[0, "weight"]) < 1e-5
    np.testing.assert_allclose(d_x, wanted["x"], atol=1e-4 * np.abs(d_y).max() / np.abs(x[0] - x[1]).min())


def test_batch_norm_of_values_far_from_zero():
    """The variance does not drown in the square of the mean."""
    random = np.random.default_rng(0)
    core = build([batch_norm()], (-1, -1, 3), random)
    twin = nn.Twin(core, [batch_norm()])
    x = (1000 + random.normal(size=(8, 16, 16, 3))).astype(np.float32)
    assert relative(core.forward(x, True, 1), twin.forward(x, True)) < 1e-3
    assert relative(core.statistics, np.concatenate(list(twin.statistics.values()))) < 1e-5


def test_batch_norm_of_constant_channels():
    core = build([batch_norm()], (-1, -1, 4), np.random.default_rng(0))
    x = np.full((4, 3, 3, 4), 2.5, np.float32)
    bias = nn.split(core.parameters, core.slots())[0, "bias"]
    np.testing.assert_allclose(core.forward(x, True, 1), np.broadcast_to(bias, x.shape), atol=1e-5)
    assert np.isfinite(core.backward(x, True, False)).all()


def test_batch_norm_needs_two_values_per_channel():
    core = build([batch_norm()], (4,), np.random.default_rng(0))
    x = np.ones((2, 4), np.float32)
    for batch, groups in ((x[:1], 1), (x, 2)):
        before = core.statistics.copy()
        with pytest.raises(ValueError, match="needs at least 2 values of each channel, got 1"):
            core.forward(batch, True, groups)
        np.testing.assert_array_equal(core.statistics, before)
    core.forward(x[:1], False, 1)


@pytest.mark.parametrize("size", SIZES)
def test_relu_and_average_pool(size):
    check([plain(RELU)], (2, 3, 5, size))
    check([plain(RELU)], (size, 7))
    check([plain(AVERAGE)], (2, size, 5, 3))
    check([plain(AVERAGE)], (3, 2, size, size))


def test_relu_at_zero_has_derivative_zero():
    core = _core.Network([plain(RELU)], (3,))
    x = np.array([[-0.0, 0.0, 1e-40]], np.float32)
    assert not np.signbit(core.forward(x, True, 1)[0, :2]).any()
    assert core.backward(np.ones((1, 3), np.float32), True, False)[0, :2].tolist() == [0, 0]


@pytest.mark.parametrize("kernel", (1, 2, 3, 5, 7))
@pytest.mark.parametrize("stride", (1, 2, 3))
def test_max_pool_geometry(kernel, stride):
    for padding in range(kernel // 2 + 1):
        check([pool(kernel, stride, padding)], (2, 9, 8, 5))
        check([pool(kernel, stride, padding)], (1, 7, 12, 17))


@pytest.mark.parametrize("size", SIZES)
def test_max_pool_sizes(size):
    check([pool(3, 2, 1)], (2, size, 6, 3))
    check([pool(3, 2, 1)], (2, 5, size, size))
    check([pool(2, 2, 0)], (size, 5, 4, 3))


def test_max_pool_gives_the_gradient_of_equal_values_to_the_first():
    layers = [pool(3, 2, 1)]
    core = _core.Network(layers, (-1, -1, 2))
    x = np.random.default_rng(0).integers(-1, 1, (3, 8, 9, 2)).astype(np.float32)
    y = core.forward(x, True, 1)
    twin = nn.Twin(core, layers)
    np.testing.assert_array_equal(y, twin.forward(x, True))
    d_y = np.arange(y.size, dtype=np.float32).reshape(y.shape)
    np.testing.assert_array_equal(core.backward(d_y, True, False), twin.backward(d_y)["x"])


@pytest.mark.parametrize("inputs", SIZES)
def test_linear(inputs):
    for outputs in SIZES:
        check([linear(outputs, bias=outputs % 2)], (5, inputs))
    check([linear(8)], (inputs, 6))
    check([linear(4)], (3, 2, 5, inputs))
    check([linear(128)], (64, 100 + inputs))


@pytest.mark.parametrize("size", SIZES)
def test_sum(size):
    check([plain(SUM, -1, -1)], (2, 3, 2, size))
    check([linear(size), linear(size, source=-1), plain(SUM, 0, 1)], (3, 4))


# ---- central differences ----


@pytest.mark.parametrize(
    "layers, shape, groups",
    [
        ([conv(3, 3, bias=1)], (2, 4, 3, 2), 1),
        ([conv(2, 2, 2, 1)], (2, 4, 3, 3), 1),
        ([conv(2, (3, 1), 3, (1, 0), bias=1)], (2, 5, 4, 2), 1),
        ([batch_norm()], (2, 3, 2, 3), 1),
        ([batch_norm(0.1)], (6, 4), 2),
        ([plain(RELU)], (2, 3, 2, 3), 1),
        ([pool(3, 2, 1)], (2, 5, 4, 3), 1),
        ([plain(AVERAGE)], (2, 3, 2, 3), 1),
        ([linear(4)], (3, 5), 1),
        ([conv(2, 1), conv(2, 3), plain(SUM, 0, 1)], (2, 3, 4, 2), 1),
        (chain(conv(4, 3), batch_norm(), plain(RELU), pool(2, 2, 0), plain(AVERAGE), linear(3)), (4, 5, 4, 2), 2),
    ],
    ids=lambda value: "-".join(kind for kind, _, _ in value) if isinstance(value, list) else None,
)
def test_gradients_by_central_differences(layers, shape, groups):
    check(layers, shape, groups=groups, differences=True)
