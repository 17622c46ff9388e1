"""Activations stored as bfloat16 from forward to backward."""

import copy
import json
import os
import pickle
import subprocess
import sys

import nearfar as nf
import numpy as np
import pytest
from nearfar import _core
from nearfar.layers import Conv, Linear
from reference import nn
from reference.nn_check import (
    AVERAGE,
    GELU,
    RELU,
    SILU,
    SUM,
    batch_norm,
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

NORM_RELU = [batch_norm(), plain(RELU)]
RESIDUAL = [conv(6, 3), batch_norm(source=0), plain(RELU, 1), conv(6, 3, source=2), batch_norm(source=3)]


@pytest.mark.parametrize(
    "layers",
    [
        chain(conv(5, 3), plain(AVERAGE), linear(3)),
        chain(conv(5, 3, bias=1), plain(RELU), conv(4, 3)),
        chain(conv(5, 3), *NORM_RELU, conv(4, 3), *NORM_RELU, pool(3, 2, 1), conv(3, 1)),
        chain(conv(8, 1), *NORM_RELU, depthwise(3, 2), *NORM_RELU, conv(4, 1), batch_norm()),
        chain(depthwise(7, bias=1), layer_norm(), conv(8, 1, bias=1), plain(GELU), conv(4, 1, bias=1), plain(SILU)),
        [*RESIDUAL, conv(6, 1), batch_norm(source=5), plain(SUM, 4, 6), plain(RELU, 7), conv(4, 3, source=8)],
        [conv(4, 3), plain(SUM, 0, -1), batch_norm(source=1), plain(RELU, 2), conv(4, 3, source=3), plain(SUM, 4, 1)],
    ],
    ids=lambda layers: "-".join(kind for kind, _, _ in layers),
)
@pytest.mark.parametrize("groups", (1, 2))
def test_twin(layers, groups):
    core = check(layers, (4, 6, 5, 4), groups=groups, tolerance=2e-4, activation_dtype="bfloat16")
    exact = _core.Network(layers, (-1, -1, 4))
    exact.parameters[:] = core.parameters
    random = np.random.default_rng(1)
    x = random.normal(size=(4, 6, 5, 4)).astype(np.float32)
    y, of_exact = core.forward(x, True, groups), exact.forward(x, True, groups)
    np.testing.assert_array_equal(y, of_exact)  # forward is as ever
    d_y = random.normal(size=y.shape).astype(np.float32)
    core.backward(d_y, False, False)
    exact.backward(d_y, False, False)
    assert 5e-4 < relative(core.gradients, exact.gradients) < 2e-2


def rounded_by_core(x):
    """The gradient of a linear layer's weight is its input, as it was stored."""
    core = _core.Network([linear(1, bias=0)], (len(x),), activation_dtype="bfloat16")
    core.forward(x[None], True, 1)
    core.backward(np.ones((1, 1), np.float32), False, False)
    return core.gradients.copy()


def test_rounding():
    patterns = np.arange(0x3F7F8000, 0x3F818000, 0x333, np.uint32)
    ties = (
        np.arange(0x3F800000, 0x3F900000, 0x8000, np.uint32)[:, None] + np.array([0, 1, 0xFFFFFFFF], np.uint32)
    ).ravel()
    x = np.concatenate([patterns, ties]).view(np.float32)
    x = np.concatenate([x, -x, 1e30 * x, 1e-30 * x, [0, 1, -1]]).astype(np.float32)
    np.testing.assert_array_equal(rounded_by_core(x), nn.to_bfloat16(x))
    for size in (1, 2, 3, 7, 15, 16, 17, 31, 33):
        np.testing.assert_array_equal(rounded_by_core(x[:size]), nn.to_bfloat16(x[:size]))


@pytest.mark.parametrize("isa", ("scalar", "avx2", "avx512"))
def test_instruction_sets(isa):
    program = """
import json, sys
try:
    import test_activation_dtype as t
except ValueError as error:
    sys.exit(json.dumps({"cannot": str(error)}))
t.test_rounding()
t.test_twin(t.chain(t.conv(5, 3), *t.NORM_RELU, t.conv(17, 3)), 2)
"""
    environment = {**os.environ, "NEARFAR_ISA": isa, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    if run.returncode and '"cannot"' in run.stderr:
        assert "NEARFAR_ISA" in json.loads(run.stderr)["cannot"]
    else:
        assert run.returncode == 0, run.stderr


def make(dtype, seed=0):
    plain_network = nf.resnet(18, width=16, seed=seed)
    network = nf.Network(plain_network.layers, plain_network.in_shape, activation_dtype=dtype)
    network.load_state_dict(plain_network.state_dict())
    return network


def gradients(network, batch=16):
    random = np.random.default_rng(0)
    x = random.normal(size=(batch, 32, 32, 3)).astype(np.float32)
    y = network.forward(x, training=True, groups=2)
    network.backward(random.normal(size=y.shape).astype(np.float32))
    return network.gradients.copy()


def test_same_bits_for_any_number_of_threads():
    before = nf.get_num_threads()
    try:
        runs = []
        for threads in (1, 2, 3, 7):
            nf.set_num_threads(threads)
            runs.append(gradients(make("bfloat16"), batch=6))
        for run in runs[1:]:
            np.testing.assert_array_equal(run, runs[0])
    finally:
        nf.set_num_threads(before)


def test_gradients_of_a_resnet():
    assert relative(gradients(make("bfloat16")), gradients(make("float32"))) < 0.005


@pytest.mark.parametrize(
    "encoder",
    [
        lambda: nf.resnet(50, width=16, stem="imagenet"),
        lambda: nf.resnet9(),
        lambda: nf.wide_resnet(16, 1),
        lambda: nf.mobilenet(width=0.5),
        lambda: nf.convnext((2, 1), width=48, stem=2),
        lambda: nf.convnet((16, 32)),
    ],
    ids=["resnet50", "resnet9", "wide_resnet", "mobilenet", "convnext", "convnet"],
)
def test_gradients_of_encoders(encoder):
    """Whatever the architecture: rounding errors, not more."""
    network = encoder()
    rounding = nf.Network(network.layers, network.in_shape, activation_dtype="bfloat16")
    rounding.load_state_dict(network.state_dict())
    assert 1e-5 < relative(gradients(rounding), gradients(network)) < 0.02


def test_memory():
    full, half = (make(dtype).memory_bytes(128, shape=(32, 32)) for dtype in ("float32", "bfloat16"))
    assert half < 0.8 * full
    nets = [make(dtype) for dtype in ("float32", "bfloat16")]
    assert len({net.memory_bytes(128, shape=(32, 32), training=False) for net in nets}) == 1


def test_it_is_checked_and_kept():
    with pytest.raises(ValueError, match=r"activation_dtype must be .* got 'float16'"):
        nf.Network([Linear(2)], (3,), activation_dtype="float16")
    with pytest.raises(ValueError, match="activation_dtype"):
        nf.Network([Linear(2)], (3,), activation_dtype=None)
    network = nf.Network([Conv(4, 3)], (None, None, 3), activation_dtype="bfloat16")
    for twin in (network.copy(), copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert twin.activation_dtype == "bfloat16"
    assert nf.resnet9().activation_dtype == "float32"
