"""Winograd's convolutions against the float64 twin, and which convolutions are computed that way."""

import numpy as np
import pytest
from nearfar import Network, _core
from nearfar.layers import BatchNorm, Conv, ReLU, Residual
from reference.nn_check import RELU, SIZES, SUM, batch_norm, chain, check, conv, plain, relative


def check_winograd(layers, shape, **options):
    check(layers, shape, tolerance=2e-5, conv_algo="winograd4", **options)
    check(layers, shape, tolerance=5e-6, conv_algo="winograd2", **options)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", SIZES)
def test_channels(channels, stride):
    for out in (1, 3, 16, 17, 33):
        check_winograd([conv(out, 3, stride)], (2, 5, 8, channels))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("height", SIZES)
def test_maps(height, stride):
    for width in (1, 2, 7, 16, 33):
        check_winograd([conv(18, 3, stride)], (2, height, width, 20))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", [(0, 0), (1, 1), (2, 2), (0, 2), (2, 1)])
def test_padding(padding, stride):
    """With stride 2 and another padding than 1, or tiles of 2 x 2, the computation is direct."""
    check_winograd([conv(17, 3, stride, padding)], (3, 9, 6, 16))


@pytest.mark.parametrize(
    "out, shape",
    [
        (64, (4, 16, 16, 64)),
        (128, (16, 8, 8, 64)),
        (64, (70, 4, 4, 256)),
        (256, (9, 4, 4, 200)),  # several parts of the rows of the weights' gradient
        (32, (40, 28, 28, 16)),  # several passes over the tiles
        (320, (5, 4, 4, 352)),  # by panels of output channels, and parts of the weights' gradient
    ],
)
@pytest.mark.parametrize("stride", [1, 2])
def test_real_sizes(out, shape, stride):
    check_winograd([conv(out, 3, stride)], shape)


def test_in_networks():
    """Before a batch norm, which then takes its moments itself; where gradients of the input are added up."""
    block = [
        *chain(conv(16, 3), batch_norm(), plain(RELU), conv(16, 3), batch_norm()),
        plain(SUM, 4, 0),
        plain(RELU, 5),
    ]
    check_winograd(block, (6, 8, 8, 16), groups=2)
    for stride in (1, 2):
        check_winograd([conv(24, 3, stride), conv(24, 3, stride), plain(SUM, 0, 1)], (4, 9, 9, 24))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("channels", (1, 15, 16, 17, 33))
def test_the_norm_before(channels, relu, stride):
    """It is done to what the convolution loads, but not to the border of zeros; each group has its own."""
    middle = [plain(RELU)] if relu else []
    layers = chain(conv(channels, 1), batch_norm(), *middle, conv(18, 3, stride))
    for shape in ((6, 9, 7, 4), (8, 2, 3, 4)):
        check_winograd(layers, shape, groups=2)
    check(layers, (6, 9, 7, 4), groups=2, tolerance=2e-4, conv_algo="winograd4", activation_dtype="bfloat16")


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("out", (1, 15, 17, 40))
def test_the_norm_behind(out, relu, stride):
    """In evaluation the convolution does it, and the sum with what comes before or after it in the list."""
    last = [plain(RELU, 4)] if relu else []
    for first, second in ((3, 1), (1, 3)):
        two = [conv(out, 3, stride), batch_norm(), conv(out, 1, stride, source=-1), batch_norm(source=2)]
        check_winograd([*chain(*two[:2]), *two[2:], plain(SUM, first, second), *last], (3, 9, 7, 20))


def test_only_where_it_applies():
    """Asked for elsewhere, it is the direct computation, bit for bit."""
    random = np.random.default_rng(0)
    x = random.normal(size=(8, 16, 16, 16)).astype(np.float32)
    for layer in (
        conv(16, 5),
        conv(16, 3, 3),
        conv(16, 3, 2, 0),
        conv(16, 3, 2, (1, 2)),
        conv(16, (3, 1)),
        conv(16, 3, bias=1),
    ):
        results = []
        for algorithm in ("direct", "winograd2", "winograd4"):
            core = _core.Network([layer], (-1, -1, 16), algorithm)
            core.parameters[:] = np.linspace(-1, 1, core.parameters.size)
            results.append(core.forward(x, True, 1))
        np.testing.assert_array_equal(results[1], results[0])
        np.testing.assert_array_equal(results[2], results[0])


@pytest.mark.parametrize(
    ("shape", "stride", "algorithm"),
    [
        ((64, 32, 32, 64), 1, "winograd4"),
        ((64, 32, 32, 64), 2, "winograd4"),
        ((64, 9, 9, 8), 1, "winograd4"),  # tiles cover 144 pixels for 81
        ((64, 9, 9, 8), 2, "direct"),  # 64 for 25
        ((64, 6, 6, 16), 1, "winograd2"),  # as many multiplications as in tiles of 4 x 4, and cheaper transforms
        ((64, 2, 2, 64), 1, "winograd2"),
        ((64, 1, 8, 64), 1, "direct"),
        ((1, 4, 4, 64), 1, "direct"),
        ((2, 16, 16, 64), 2, "direct"),
        ((64, 16, 16, 3), 1, "direct"),
    ],
)
def test_auto_chooses_by_shape(shape, stride, algorithm):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    layers, in_shape = [Conv(64, 3, stride)], (None, None, shape[-1])
    automatic, chosen = (Network(layers, in_shape, conv_algo=name).forward(x) for name in ("auto", algorithm))
    np.testing.assert_array_equal(automatic, chosen)


@pytest.mark.parametrize("algorithm", ["winograd2", "winograd4"])
def test_same_bits_for_any_number_of_threads(algorithm):
    x = np.random.default_rng(0).normal(size=(40, 16, 16, 32)).astype(np.float32)
    before = _core.get_num_threads()
    results = []
    for threads in (1, 2, 3, 7):
        _core.set_num_threads(threads)
        layers = [Conv(48, 3), BatchNorm(), ReLU(), Conv(32, 3, 2)]
        network = Network(layers, (None, None, 32), conv_algo=algorithm)
        y = network.forward(x, training=True)
        d_x = network.backward(y, input_gradient=True)
        results.append((y.tobytes(), d_x.tobytes(), network.gradients.tobytes()))
    _core.set_num_threads(before)
    assert len(set(results)) == 1


@pytest.mark.parametrize("stride", [1, 2])
def test_same_bits_however_the_work_is_split(stride):
    """Few images with many channels; three channels, which are computed directly."""
    before = _core.get_num_threads()
    for channels, out, size in ((352, 320, 8), (3, 32, 20)):
        x = np.random.default_rng(0).normal(size=(5, size, size, channels)).astype(np.float32)
        results = set()
        for threads in (1, 2, 3, 7):
            _core.set_num_threads(threads)
            network = Network([Conv(out, 3, stride), BatchNorm()], (None, None, channels))
            y = network.forward(x, training=True)
            d_x = network.backward(y, input_gradient=True)
            results.add((y.tobytes(), d_x.tobytes(), network.gradients.tobytes()))
        assert len(results) == 1
    _core.set_num_threads(before)


@pytest.mark.parametrize("stride", [1, 2])
def test_few_channels(stride):
    """Windows read where they lie: images wider and narrower than a block, windows of short and long runs."""
    for channels, kernel, size, out in ((1, 3, 28, 16), (3, 3, 9, 33), (3, 7, 21, 64), (2, 5, 100, 32), (4, 4, 17, 16)):
        check([conv(out, kernel, stride, kernel // 2)], (3, size, size + 1, channels), tolerance=2e-5)


@pytest.mark.parametrize("stride", [1, 2])
def test_accuracy(stride):
    """Errors of each algorithm relative to the output, on inputs and weights as networks have them."""
    random = np.random.default_rng(0)
    x = np.maximum(random.normal(size=(8, 16, 16, 128)), 0).astype(np.float32)
    exact = Network([Conv(64, 3, stride)], (None, None, 128), conv_algo="direct")
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), (3, 3), axis=(1, 2))
    windows = windows[:, ::stride, ::stride]
    weight = exact.parameters.reshape(3, 3, 128, 64).astype(float)
    wanted = np.einsum("nhwcij,ijck->nhwk", windows.astype(float), weight, optimize=True)
    assert relative(exact.forward(x), wanted) < 1e-6
    for algorithm, tolerance in (("winograd2", 1e-6), ("winograd4", 5e-6)):
        winograd = Network(exact.layers, exact.in_shape, conv_algo=algorithm)
        winograd.parameters[:] = exact.parameters
        assert relative(winograd.forward(x), wanted) < tolerance


def test_conv_algo_is_checked_and_kept():
    with pytest.raises(ValueError, match=r"conv_algo must be .* got 'fft'"):
        Network([Conv(4, 3)], (None, None, 3), conv_algo="fft")
    network = Network([Residual([Conv(16, 3)]), ReLU()], (None, None, 16), conv_algo="winograd4")
    assert network.copy().conv_algo == "winograd4"
