"""Networks from Python: architectures, weights by name, copies, and whole networks against their float64 twins."""

import doctest
import os
import subprocess
import sys
import threading

import nearfar as nf
import numpy as np
import pytest
from nearfar import encoders, heads, layers, network
from nearfar.layers import BatchNorm, Conv, GlobalAveragePool, Linear, MaxPool, ReLU, Residual
from reference import nn

RNG = np.random.default_rng


def images(*shape, seed=0):
    return RNG(seed).normal(size=shape).astype(np.float32)


def twin_of(net):
    """The network in float64, and {(layer index, part): name}."""
    plan = [(step.layer.kind, step.inputs, step.layer.options()) for step in net._steps]
    names = {(index, part): f"{net._steps[index].name}.{part}" for index, part, _, _ in net._core.slots()}
    return nn.Twin(net._core, plan), names


def small_resnet(**options):
    return nf.resnet(18, width=4, **options)


# ---- architectures ----


@pytest.mark.parametrize(
    "depth, stem, parameters, features",
    [  # torchvision's counts without `fc`; the small stem has 64 * 3 * (49 - 9) fewer
        (18, "imagenet", 11_176_512, 512),
        (18, "small", 11_168_832, 512),
        (34, "imagenet", 21_284_672, 512),
        (50, "imagenet", 23_508_032, 2048),
        (101, "imagenet", 42_500_160, 2048),
        (152, "imagenet", 58_143_808, 2048),
    ],
)
def test_resnet_sizes(depth, stem, parameters, features):
    net = nf.resnet(depth, stem=stem)
    assert sum(int(np.prod(slot.shape)) for slot in net.parameter_slots) == parameters
    assert net.out_features == features
    assert net.in_shape == (None, None, 3)


def test_resnet_names_are_torchvisions():
    state = nf.resnet(50, stem="imagenet", width=4).state_dict()
    assert list(state)[:7] == [
        "conv1.weight",
        "bn1.weight",
        "bn1.bias",
        "bn1.running_mean",
        "bn1.running_var",
        "bn1.num_batches_tracked",
        "layer1.0.conv1.weight",
    ]
    assert len(state) == 318  # torchvision's 320 without fc.weight and fc.bias
    assert state["layer1.0.downsample.0.weight"].shape == (16, 4, 1, 1)
    assert state["layer4.2.conv2.weight"].shape == (32, 32, 3, 3)
    assert state["layer3.5.bn3.running_var"].shape == (64,)
    assert "layer1.1.downsample.0.weight" not in state
    assert list(nf.resnet(18, width=4).state_dict())[-6:] == [
        "layer4.1.conv2.weight",
        *(f"layer4.1.bn2.{part}" for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")),
    ]


@pytest.mark.parametrize(
    "encoder, parameters, features",
    [  # without classifiers; those of MobileNetV2 and ConvNeXt-T are torchvision's, the latter's block scales taken off
        (lambda: nf.mobilenet(stem="imagenet"), 2_223_872, 1280),
        (lambda: nf.convnext(), 27_820_128 - (96 * 3 + 192 * 3 + 384 * 9 + 768 * 3), 768),
        (lambda: nf.wide_resnet(28, 10), 36_479_194 - 6_410, 640),
        (lambda: nf.resnet9(), 6_568_000, 512),
        (lambda: nf.mlp((28, 28, 1), (64, 32)), 784 * 64 + 128 + 64 * 32 + 64, 32),
    ],
    ids=["mobilenet", "convnext", "wide_resnet", "resnet9", "mlp"],
)
def test_encoder_sizes(encoder, parameters, features):
    net = encoder()
    assert net.parameters.size == parameters
    assert net.out_features == features


@pytest.mark.parametrize(
    "encoder",
    [
        lambda: nf.resnet9(width=4, in_channels=2),
        lambda: nf.wide_resnet(10, 1, in_channels=2),
        lambda: nf.mobilenet(width=0.1, in_channels=2),
        lambda: nf.convnext((1, 2), width=6, stem=2, in_channels=2),
        lambda: nf.mlp((8, 9, 2), (7, 5)),
        lambda: nf.mlp((8, 9, 2), (7, 5), batch_norm=False),
    ],
    ids=["resnet9", "wide_resnet", "mobilenet", "convnext", "mlp", "mlp_plain"],
)
def test_encoders_equal_their_twins(encoder):
    # A ReLU whose input is next to zero may go the other way in float32, which changes gradients: then other images do.
    errors = [errors_beside_twin(encoder(), seed) for seed in range(3)]
    assert all(output < 1e-4 for output, _ in errors), errors
    assert min(gradient for _, gradient in errors) < 2e-4, errors


def errors_beside_twin(net, seed):
    """The relative errors of outputs and of gradients, the largest of each."""
    twin, names = twin_of(net)
    x = images(6, 8, 9, 2, seed=seed)
    outputs = [(net.forward(x), twin.forward(x)), (net.forward(x, training=True), twin.forward(x, True))]
    d_y = images(*outputs[1][0].shape, seed=seed + 100)
    found = {"x": net.backward(d_y, input_gradient=True)} | net.gradient_dict()
    gradients = []
    for key, wanted in twin.backward(d_y).items():
        if wanted.ndim == 4 and key != "x":
            wanted = wanted.transpose(3, 2, 0, 1)
        elif wanted.ndim == 2 and key[0] == 0:  # behind images: (H, W, C) to (C, H, W)
            wanted = wanted.reshape(8, 9, 2, -1).transpose(3, 2, 0, 1).reshape(wanted.shape[1], -1)
        elif wanted.ndim == 2:
            wanted = wanted.T
        gradients.append((found[names.get(key, "x")], wanted))
    scale = max(np.linalg.norm(wanted) for _, wanted in gradients)  # some gradients are next to nothing
    return (
        max(np.linalg.norm(y - wanted) / np.linalg.norm(wanted) for y, wanted in outputs),
        max(np.linalg.norm(d - wanted) / max(np.linalg.norm(wanted), 1e-3 * scale) for d, wanted in gradients),
    )


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: nf.wide_resnet(17), "depth must be 6 n"),
        (lambda: nf.wide_resnet(16, 0), "widen must be >= 1, got 0"),
        (lambda: nf.mobilenet(width=0), "width must be > 0, got 0"),
        (lambda: nf.mobilenet(stem="large"), "stem must be"),
        (lambda: nf.convnext(()), "counts must name"),
        (lambda: nf.mlp((3,), ()), "widths must name"),
    ],
)
def test_wrong_encoders(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_shapes_of_outputs():
    assert small_resnet().forward(images(2, 32, 32, 3)).shape == (2, 32)
    assert small_resnet(stem="imagenet", in_channels=1).forward(images(1, 33, 47, 1)).shape == (1, 32)
    assert nf.resnet(50, width=2).forward(images(2, 16, 8, 3)).shape == (2, 64)
    assert nf.convnet((4, 8)).forward(images(3, 7, 9, 3)).shape == (3, 8)
    assert nf.Network([Conv(5, 3, 2)], (8, 8, 2)).forward(images(1, 8, 8, 2)).shape == (1, 4, 4, 5)


def test_the_bottleneck_has_its_stride_on_the_3x3():
    stage = next(layer for layer in nf.resnet(50, width=4).layers if layer.name == "layer2.0")
    strides = [layer.stride for layer in stage.body if isinstance(layer, Conv)]
    assert strides == [1, 2, 1]


def test_heads():
    def kinds(**options):
        return [type(layer).__name__ for layer in nf.projection_head(6, 5, 4, **options).layers]

    assert kinds() == ["Linear", "ReLU", "Linear"]
    assert kinds(layers=1) == ["Linear"]
    assert kinds(layers=3) == ["Linear", "ReLU"] * 2 + ["Linear"]
    assert kinds(batch_norm=True) == ["Linear", "BatchNorm", "ReLU", "Linear"]
    assert kinds(batch_norm="all") == ["Linear", "BatchNorm", "ReLU", "Linear", "BatchNorm"]
    state = nf.projection_head(6, 5, 4, batch_norm=True).state_dict()
    assert [key for key in state if key.startswith(("0", "3"))] == ["0.weight", "3.weight", "3.bias"]
    assert state["0.weight"].shape == (5, 6)
    for bad in ({"layers": 0}, {"layers": 1.0}, {"batch_norm": "some"}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            nf.projection_head(6, 5, 4, **bad)


def test_bad_architectures():
    with pytest.raises(ValueError, match="depth must be one of 18, 34, 50, 101, 152, got 20"):
        nf.resnet(20)
    with pytest.raises(ValueError, match="stem must be 'small' or 'imagenet', got 'big'"):
        nf.resnet(stem="big")
    for bad in (0, -1):
        with pytest.raises(ValueError, match="out_channels must be >= 1"):
            nf.resnet(width=bad)
    with pytest.raises(TypeError, match=r"out_channels must be an integer, got 2\.5"):
        nf.convnet((2.5,))
    with pytest.raises(ValueError, match="widths"):
        nf.convnet(())
    with pytest.raises(ValueError):
        nf.resnet(in_channels=0)
    with pytest.raises(TypeError, match="layers must hold layers"):
        nf.Network([Conv(3, 3), "relu"], (8, 8, 3))
    with pytest.raises(ValueError, match=r"different names, got 'a\.weight' twice"):
        nf.Network([Linear(3, name="a"), Linear(3, name="a")], (3,))
    for in_shape in ((3,), (8, 8), (), (8, 8, None), (8, None, 3), (0, 8, 3), (8.5, 8, 3)):
        with pytest.raises((ValueError, TypeError)):
            nf.Network([Conv(3, 3)], in_shape)
    with pytest.raises(ValueError):
        nf.Network([], (3,))


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: Conv(0, 3), ValueError, "out_channels must be >= 1, got 0"),
        (lambda: Conv(4, 0), ValueError, "kernel must be >= 1, got 0"),
        (lambda: Conv(4, (3, 3, 3)), ValueError, "kernel must be one integer or a pair"),
        (lambda: Conv(4, 3, 0), ValueError, "stride must be >= 1, got 0"),
        (lambda: Conv(4, 3, padding=-1), ValueError, "padding must be >= 0, got -1"),
        (lambda: Conv(4, (3, 2), padding=2), ValueError, r"padding must be < kernel = \(3, 2\), got \(2, 2\)"),
        (lambda: Conv(4, 3, True), TypeError, "stride must be an integer, got True"),
        (lambda: Conv(4, "3"), TypeError, "kernel must be an integer, got '3'"),
        (lambda: Conv(4, 3, name=3), TypeError, "name must be"),
        (lambda: BatchNorm(eps=0), ValueError, "eps must be > 0, got 0.0"),
        (lambda: BatchNorm(eps=float("nan")), ValueError, "eps must be > 0, got nan"),
        (lambda: BatchNorm(momentum=1.5), ValueError, r"momentum must be in \[0, 1\], got 1.5"),
        (lambda: MaxPool(2, padding=2), ValueError, r"padding must be <= kernel // 2 = 1, got 2"),
        (lambda: MaxPool(0), ValueError, "kernel must be >= 1, got 0"),
        (lambda: Linear(0), ValueError, "out_features must be >= 1, got 0"),
        (lambda: Residual([]), ValueError, "body must have at least one layer"),
    ],
)
def test_bad_layers(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_layers_are_values():
    assert Conv(8, 3) == Conv(8, (3, 3), padding=1) != Conv(8, 3, 2)
    assert len({MaxPool(2), MaxPool(2, 2, 0), ReLU(), Residual([ReLU()]), Residual((ReLU(),))}) == 3
    with pytest.raises(AttributeError):
        Conv(8, 3).stride = 2


def test_nested_residuals():
    inner = Residual([Linear(3, name="a")], [Linear(3)])
    net = nf.Network([Residual([inner, ReLU()], name="outer"), Residual([ReLU()])], (3,))
    assert [slot.name for slot in net.parameter_slots] == [
        *("outer.0.a.weight", "outer.0.a.bias"),
        *("outer.0.downsample.0.weight", "outer.0.downsample.0.bias"),
    ]
    x, state = images(4, 3), net.state_dict()
    a, b = (x @ state[f"outer.0.{n}.weight"].T + state[f"outer.0.{n}.bias"] for n in ("a", "downsample.0"))
    y = np.maximum(a + b, 0) + x
    np.testing.assert_allclose(net.forward(x), y + np.maximum(y, 0), rtol=1e-4, atol=1e-5)


# ---- initial parameters ----


def test_initial_parameters():
    net = nf.Network([Conv(64, 3, bias=True), BatchNorm(), GlobalAveragePool(), Linear(300)], (8, 8, 32))
    state = net.state_dict()
    for layer, fan_in in (("0", 32 * 9), ("3", 64)):
        bound = 1 / np.sqrt(fan_in)
        for tensor in (state[f"{layer}.weight"], state[f"{layer}.bias"]):
            assert 0.8 * bound < abs(tensor).max() <= bound
        weight = state[f"{layer}.weight"]
        assert abs(weight.std() / bound * np.sqrt(3) - 1) < 0.1 and abs(weight.mean()) < 0.1 * bound  # uniform
    for part, value in {"weight": 1, "bias": 0, "running_mean": 0, "running_var": 1, "num_batches_tracked": 0}.items():
        assert (state[f"1.{part}"] == value).all()
    assert not net.gradients.any()


def test_seeds():
    a, b, c = (small_resnet(seed=seed).parameters for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert (a != c).mean() > 0.9


# ---- whole networks against their twins ----

NETWORKS = {
    "resnet18": lambda: (nf.resnet(18, width=3), (4, 16, 12, 3)),
    "resnet18 imagenet": lambda: (nf.resnet(18, stem="imagenet", width=2), (4, 64, 64, 3)),
    "resnet50": lambda: (nf.resnet(50, width=2), (4, 16, 16, 3)),
    "convnet": lambda: (nf.convnet((3, 4, 5), in_channels=1), (6, 9, 8, 1)),
    "head": lambda: (nf.projection_head(7, 6, 5, layers=3), (4, 7)),
    "head with batch_norm": lambda: (nf.projection_head(7, 6, 5, batch_norm="all"), (6, 7)),
}


def relative(a, b):
    return np.linalg.norm(np.asarray(a, float) - b) / np.linalg.norm(b)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("groups", (1, 2))
def test_networks_by_central_differences(name, groups):
    """One parameter of each tensor, one input, and the whole gradient in a random direction."""
    net, shape = NETWORKS[name]()
    random = RNG(3)
    for slot, view in net._torch_views(net.parameters).items():
        if slot.endswith("bias"):
            view[:] = random.normal(0, 0.3, view.shape)
    twin, names = twin_of(net)
    x = random.normal(size=shape).astype(np.float32)
    y = net.forward(x, True, groups)
    assert relative(y, twin.forward(x, True, groups)) < 1e-4
    d_y = random.normal(size=y.shape).astype(np.float32)
    d_x = net.backward(d_y, input_gradient=True)
    found = nn.split(net.gradients, net._core.slots())
    found["x"] = d_x
    wanted = twin.backward(d_y)
    tensors = twin.parameters | {"x": np.array(x, float)}
    for key, gradient in found.items():
        assert relative(gradient, wanted[key]) < 1e-3, names.get(key)

    def difference(moves, step=1e-8):  # so small that hardly a ReLU changes sides
        values = []
        for sign in (1, -1):
            moved = {key: tensor + sign * step * moves.get(key, 0) for key, tensor in tensors.items()}
            values.append((nn.forward(twin.layers, moved, twin.statistics, moved["x"], True, groups)[0] * d_y).sum())
        return (values[0] - values[1]) / (2 * step)

    for key, tensor in tensors.items():
        place = np.unravel_index(abs(wanted[key]).argmax(), tensor.shape)
        move = np.zeros(tensor.shape)
        move[place] = 1
        slope = difference({key: move})
        assert abs(wanted[key][place] - slope) <= 1e-4 * abs(slope) + 1e-6, names.get(key)
        assert abs(found[key][place] - slope) <= 1e-3 * abs(slope) + 1e-6, names.get(key)
    typical = np.sqrt(sum(np.square(gradient).sum() for gradient in wanted.values()))  # of slopes along such moves
    for _ in range(3):
        moves = {key: random.normal(size=tensor.shape) for key, tensor in tensors.items()}
        slope = difference(moves)
        assert abs(sum((found[key] * moves[key]).sum() for key in found) - slope) <= 1e-3 * typical


def test_vectors_are_written_to_but_not_replaced():
    net = nf.projection_head(3, 2, 2)
    for name in ("parameters", "gradients", "statistics"):
        vector = getattr(net, name)
        with pytest.raises(AttributeError, match=rf"{name} can't be replaced"):
            setattr(net, name, vector.copy())
        assert getattr(net, name) is vector
    net.parameters *= 0
    assert not net.forward(images(4, 3)).any()


def test_a_network_learns():
    """Plain gradient descent tells stripes of two directions apart."""
    random = RNG(0)
    labels = random.integers(0, 2, 64)
    waves = np.sin(np.arange(12) * 1.6 + random.uniform(0, 6, (64, 1)))
    x = np.where(labels[:, None, None], waves[:, :, None], waves[:, None, :])
    x = np.repeat(x[..., None], 3, -1) + random.normal(0, 0.3, (64, 12, 12, 3))
    net = nf.Network([*nf.convnet((8, 16)).layers, Linear(2)], (12, 12, 3))
    losses = []
    for _ in range(30):
        y = net.forward(x, training=True)
        p = np.exp(y - y.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        losses.append(-np.log(p[np.arange(64), labels]).mean())
        net.backward((p - np.eye(2)[labels]) / 64)
        net.parameters -= 0.3 * net.gradients
    assert losses[0] > 0.4 and losses[-1] < 0.05
    assert (net.forward(x).argmax(1) == labels).mean() > 0.95


# ---- printing, memory ----


def test_repr():
    assert repr(nf.Network([Residual([Conv(4, 3, name="a"), BatchNorm()]), ReLU()], (None, None, 4))).splitlines() == [
        "Network: 152 parameters, (?, ?, 4) -> (?, ?, 4)",
        "  0.a  Conv       (?, ?, 4)  144",
        "  0.1  BatchNorm  (?, ?, 4)  8",
        "  0    Residual   (?, ?, 4)",
        "  1    ReLU       (?, ?, 4)",
    ]
    lines = nf.resnet(18).summary((32, 32)).splitlines()
    assert lines[0] == "Network: 11,168,832 parameters, (32, 32, 3) -> (512,)"
    assert lines[-2].split() == ["18", "ReLU", "(4,", "4,", "512)"]
    fixed = nf.Network([Linear(3)], (5,))
    assert fixed.summary() == fixed.summary((9, 9)) == repr(fixed)


def test_summary_tells_the_real_shapes():
    stack = [Conv(3, (2, 5), 2, padding=(0, 1)), MaxPool(3, 2, 1), Residual([Conv(7, 3, 2)], [Conv(7, 1, 2)])]
    for count in range(1, 4):
        net = nf.Network(stack[:count], (None, None, 3))
        shape = net.forward(images(1, 23, 18, 3)).shape[1:]
        assert f"-> {shape}" in net.summary((23, 18)).splitlines()[0]


STEP = """
import os, sys
import numpy as np, nearfar as nf
from nearfar.encoders import *

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

network, size, batch = eval(sys.argv[1]), 24, 96
x = np.random.default_rng(0).standard_normal((batch, size, size, 3), dtype=np.float32)
d_y = np.ones((batch, network.out_features), np.float32)
network.forward(x[:1], training=True)
network.backward(d_y[:1])
before = resident()
network.forward(x, training=True)
network.backward(d_y)
print((resident() - before) / network.memory_bytes(batch, shape=(size, size)))
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux")
@pytest.mark.parametrize(
    "encoder", ["resnet(18, width=16)", "mobilenet(width=0.5)", "convnext((1, 1), width=48, stem=2)"]
)
def test_memory_bytes_is_what_a_step_takes(encoder):
    done = subprocess.run([sys.executable, "-c", STEP, encoder], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert 0.9 < float(done.stdout) < 1.1


def test_memory_bytes():
    net = nf.resnet(18, width=16)
    assert net.memory_bytes(8, shape=(32, 32)) > 8 * 32 * 32 * 16 * 4  # one map of the stem at least
    assert net.memory_bytes(16, shape=(32, 32)) > 1.5 * net.memory_bytes(8, shape=(32, 32))
    assert net.memory_bytes(8, training=False, shape=(32, 32)) < net.memory_bytes(8, shape=(32, 32))
    with pytest.raises(ValueError, match="shape must be given"):
        net.memory_bytes(8)
    with pytest.raises(ValueError, match="shape must be"):
        net.memory_bytes(8, shape=(32, 32, 3))
    for batch in (0, -1):
        with pytest.raises(ValueError):
            net.memory_bytes(batch, shape=(32, 32))
    fixed = nf.Network([Conv(3, 3)], (8, 9, 3))
    assert fixed.memory_bytes(2, shape=(8, 9)) == fixed.memory_bytes(2) > 0
    with pytest.raises(ValueError, match="shape must be"):
        fixed.memory_bytes(2, shape=(9, 9))
    assert nf.projection_head(4, 3, 2).memory_bytes(5) > 0


# ---- inputs ----


def test_what_forward_takes():
    net = nf.convnet((4,))
    x = images(2, 8, 8, 3)
    y = net.forward(x)
    for same in (x.astype(float), x.tolist(), np.asfortranarray(x), np.float16(x).astype(np.float32)):
        np.testing.assert_allclose(net.forward(same), y, rtol=0.02, atol=0.02)
    x.flags.writeable = False
    np.testing.assert_array_equal(net.forward(x, training=False), y)
    large = np.full((1, 8, 8, 3), 1e37, np.float32)  # finite, though their sum is not
    assert nf.Network([GlobalAveragePool()], (8, 8, 3)).forward(large * 0.01).shape == (1, 3)


@pytest.mark.parametrize(
    "x, error, message",
    [
        (np.zeros((2, 8, 8, 3), np.uint8), TypeError, "x must be float32, got uint8: scale to"),
        (np.zeros((2, 8, 8, 3), complex), TypeError, "x must be float32, got dtype complex128"),
        (np.zeros((2, 8, 8, 3), object), TypeError, "x must be float32, got dtype object"),
        ("image", TypeError, "x must be float32"),
        (None, TypeError, "x must be float32"),
        (np.full((2, 8, 8, 3), np.nan), ValueError, "x must be finite"),
        (np.full((2, 8, 8, 3), 1e300), ValueError, "x must be finite"),
        (np.full((2, 8, 8, 3), np.float32(-np.inf)), ValueError, "x must be finite"),
        (np.zeros((2, 8, 8, 4)), ValueError, "x must"),
        (np.zeros((2, 3, 8, 8)), ValueError, "x must"),
        (np.zeros((8, 8, 3)), ValueError, "x must"),
        (np.zeros((2, 8)), ValueError, "x must"),
        (np.zeros(()), ValueError, "x must"),
        (np.zeros((0, 8, 8, 3)), ValueError, "x must"),
        (np.zeros((2, 0, 8, 3)), ValueError, "x must"),
    ],
    ids=lambda value: f"{value.shape}{value.dtype}" if isinstance(value, np.ndarray) else None,
)
def test_what_forward_refuses(x, error, message):
    net = nf.convnet((4,))
    for training in (False, True):
        with pytest.raises(error, match=message):
            net.forward(x, training)


def test_what_backward_refuses():
    net = nf.convnet((4,))
    with pytest.raises((ValueError, RuntimeError)):
        net.backward(np.ones((2, 4)))
    net.forward(images(2, 8, 8, 3), training=True)
    for d_y, error in ((np.ones((2, 3)), ValueError), (np.full((2, 4), np.inf), ValueError), (None, TypeError)):
        with pytest.raises(error, match="d_y must"):
            net.backward(d_y)
    y = net.forward(images(2, 8, 8, 3), training=True)
    net.backward(y)
    with pytest.raises((ValueError, RuntimeError)):
        net.backward(y)


def test_networks_in_several_python_threads():
    """Each its own: the same bits as alone. All one: no crash, and evaluation gives the same bits."""
    x = images(4, 16, 16, 3)

    def step(net):
        y = net.forward(x, training=True)
        net.backward(y)
        return y.tobytes() + net.gradients.tobytes()

    wanted = [step(small_resnet(seed=seed)) for seed in range(4)]
    shared = small_resnet()
    features = shared.forward(x).tobytes()
    found, failures = {}, []

    def work(seed):
        try:
            found[seed] = {step(small_resnet(seed=seed)) for _ in range(5)}
            assert all(shared.forward(x).tobytes() == features for _ in range(10))
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert [found[seed] for seed in range(4)] == [{run} for run in wanted]


@pytest.mark.parametrize("module", (encoders, heads, layers, network), ids=lambda module: module.__name__)
def test_examples_in_docstrings(module):
    assert doctest.testmod(module).failed == 0
