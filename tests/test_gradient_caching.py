"""Gradient caching: the gradients of one large batch, from chunks of it."""

import os
import subprocess
import sys
from functools import partial

import nearfar as nf
import numpy as np
import pytest
from nearfar.layers import BatchNorm, Conv, GlobalAveragePool, Linear, MaxPool, ReLU, Residual


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def encoder(*, batch_norm=False, conv_algo="direct"):
    normalise = [BatchNorm()] if batch_norm else []
    body = [Conv(8, 3), *normalise, ReLU(), Conv(8, 3)]
    layers = [Conv(8, 3), *normalise, ReLU(), MaxPool(2), Residual(body), ReLU(), GlobalAveragePool()]
    return nf.Network(layers, (None, None, 3), seed=1, conv_algo=conv_algo)


def head(*, batch_norm=False):
    return nf.projection_head(8, 16, 6, batch_norm=batch_norm, seed=2)


def whole(networks, x, loss):
    """The same with all activations kept."""
    sample = len(networks[0].in_shape)
    z = x.reshape(-1, *x.shape[-sample:])
    for network in networks:
        z = network.forward(z, training=True)
    value, d_z = loss(z.reshape(*x.shape[:-sample], -1))
    d_z = np.asarray(d_z).reshape(z.shape)
    for network in reversed(networks):
        d_z = network.backward(d_z, input_gradient=network is not networks[0])
    return value


def gradients(networks):
    return np.concatenate([network.gradients for network in networks]).astype(float)


def relative(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


NT_XENT = partial(nf.nt_xent, temperature=0.2)


@pytest.mark.parametrize("samples", [1, 2, 17])
@pytest.mark.parametrize("chunk_size", [1, 2, 3, 7, 16, 33, 34, 1000])
def test_chunked_equals_unchunked(samples, chunk_size):
    views, networks = random(2, samples, 8, 8, 3), (encoder(), head())
    wanted_loss = whole(networks, views, NT_XENT)
    wanted = gradients(networks)
    for network in networks:
        network.gradients[:] = 7  # overwritten, not added to
    loss = nf.cached_gradients(networks, views, NT_XENT, chunk_size=chunk_size)
    assert loss == pytest.approx(wanted_loss, rel=1e-6, abs=1e-6)
    assert relative(gradients(networks), wanted) < 1e-6 if samples > 1 else not gradients(networks).any()


def test_chunks_whose_convolutions_take_another_algorithm():
    """Winograd's rounds a little more; of one 8 x 8 image only "auto" computes directly."""
    views, networks = random(2, 17, 8, 8, 3), (encoder(conv_algo="auto"), head())
    whole(networks, views, NT_XENT)
    wanted = gradients(networks)
    nf.cached_gradients(networks, views, NT_XENT, chunk_size=1)
    assert 0 < relative(gradients(networks), wanted) < 1e-5


def test_the_loss_sees_the_whole_batch():
    views, networks = random(2, 10, 8, 8, 3), (encoder(), head())
    parts = [nf.cached_gradients(networks, views[:, part], NT_XENT) for part in (slice(0, 5), slice(5, 10))]
    assert nf.cached_gradients(networks, views, NT_XENT, chunk_size=5) > max(parts) + 0.3


def test_one_network_and_vectors():
    network, x = nf.Network([Linear(6), ReLU(), Linear(4)], (5,)), random(30, 5)

    def loss(z):  # the two halves of the batch are queries and keys
        value, d_halves = nf.info_nce(*z.reshape(2, 15, 4))
        return value, np.concatenate(d_halves)

    wanted = whole([network], x, loss), gradients([network])
    got = nf.cached_gradients(network, x, loss, chunk_size=7)
    assert got == pytest.approx(wanted[0], rel=1e-6)
    assert relative(gradients([network]), wanted[1]) < 1e-6


def test_by_central_differences():
    network, x = nf.Network([Linear(3)], (4,), seed=3), random(2, 9, 4)
    nf.cached_gradients(network, x, NT_XENT, chunk_size=4)
    weight, bias = network.parameters[:12].reshape(4, 3).astype(float), network.parameters[12:].astype(float)

    def value(weight):
        return nf.nt_xent(x.astype(float) @ weight + bias, 0.2)[0]

    steps = 1e-5 * np.eye(12).reshape(12, 4, 3)
    wanted = [(value(weight + step) - value(weight - step)) / 2e-5 for step in steps]
    assert relative(network.gradients[:12], np.array(wanted)) < 1e-5


def test_one_chunk_is_the_plain_step():
    views, networks = random(2, 12, 8, 8, 3), (encoder(batch_norm=True), head(batch_norm=True))
    twins = [network.copy() for network in networks]
    assert nf.cached_gradients(networks, views, NT_XENT, chunk_size=24) == whole(twins, views, NT_XENT)
    for network, twin in zip(networks, twins, strict=True):
        assert np.array_equal(network.gradients, twin.gradients)
        assert all(
            np.array_equal(a, b) for a, b in zip(*(n.state_dict().values() for n in (network, twin)), strict=True)
        )


def test_batch_normalisation_is_that_of_chunks_and_statistics_move_once():
    """Equal to the batch in as many groups; the loss's own statistics are the batch's."""
    views, networks = random(2, 12, 8, 8, 3), (encoder(batch_norm=True), head(batch_norm=True))
    twins = [network.copy() for network in networks]
    nf.cached_gradients(networks, views, NT_XENT, chunk_size=6)

    v = twins[0].forward(views.reshape(24, 8, 8, 3), training=True, groups=4)
    z = twins[1].forward(v, training=True, groups=4)
    d_v = twins[1].backward(NT_XENT(z.reshape(2, 12, 6))[1].reshape(24, 6), input_gradient=True)
    twins[0].backward(d_v)
    assert relative(gradients(networks), gradients(twins)) < 2e-6
    for network, twin in zip(networks, twins, strict=True):
        state, wanted = network.state_dict(), twin.state_dict()
        for name, value in wanted.items():
            assert np.allclose(state[name], value, rtol=1e-6, atol=1e-7), name
        assert all(state[name] == 4 for name in state if name.endswith("num_batches_tracked"))


def test_statistics_are_right_after_an_error_half_way():
    views, networks = random(2, 12, 8, 8, 3), (encoder(batch_norm=True), head())
    twin = networks[0].copy()
    nf.cached_gradients((twin, head()), views, NT_XENT, chunk_size=6)

    def broken(z):
        loss, d_z = NT_XENT(z)
        d_z[0, 7] = np.nan  # in the second chunk of four
        return loss, d_z

    with pytest.raises(ValueError, match=r"finite|NaN"):
        nf.cached_gradients(networks, views, broken, chunk_size=6)
    assert np.array_equal(networks[0].statistics, twin.statistics)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_same_bits_for_any_number_of_threads(threads):
    views, networks, before = random(2, 17, 8, 8, 3), (encoder(), head()), nf.get_num_threads()
    nf.cached_gradients(networks, views, NT_XENT, chunk_size=9)
    wanted = gradients(networks)
    try:
        nf.set_num_threads(threads)
        nf.cached_gradients(networks, views, NT_XENT, chunk_size=9)
    finally:
        nf.set_num_threads(before)
    assert np.array_equal(gradients(networks), wanted)


def test_inputs_are_not_changed():
    views = random(2, 5, 8, 8, 3)
    before = views.copy()
    nf.cached_gradients((encoder(), head()), views, NT_XENT, chunk_size=3)
    assert np.array_equal(views, before)


def test_other_layouts_and_types_of_input():
    views, networks = random(2, 10, 8, 8, 3), (encoder(), head())
    nf.cached_gradients(networks, views, NT_XENT, chunk_size=6)
    wanted = gradients(networks)
    for same in (np.asfortranarray(views), views.astype(np.float64), np.repeat(views, 2, axis=1)[:, ::2]):
        nf.cached_gradients(networks, same, NT_XENT, chunk_size=6)
        assert np.array_equal(gradients(networks), wanted)


PEAK = """
import sys
from functools import partial
import nearfar as nf, numpy as np

def peak():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))

samples, chunk_size = map(int, sys.argv[1:])
encoder, head = nf.convnet((32, 32)), nf.projection_head(32, 32, 8)
views = np.random.default_rng(0).standard_normal((2, samples, 32, 32, 3), dtype=np.float32)
nf.cached_gradients((encoder, head), views[:, :8], nf.nt_xent, chunk_size=16)
before = peak()
nf.cached_gradients((encoder, head), views, nf.nt_xent, chunk_size=chunk_size)
planned = [encoder.memory_bytes(batch, shape=(32, 32)) for batch in (chunk_size, 2 * samples)]
print(peak() - before, *planned)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads the peak of memory where Linux tells it")
def test_memory_is_that_of_a_chunk():
    def run(samples, chunk_size):
        command = [sys.executable, "-c", PEAK, str(samples), str(chunk_size)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "NEARFAR_NUM_THREADS": "1"}
        output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        return map(int, output.split())

    grown, chunk, batch = run(256, 16)
    assert batch > 8 * chunk
    assert grown < batch / 8
    grown, _, batch = run(256, 512)  # the measure notices
    assert grown > batch / 2


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"networks": ()}, ValueError, "networks must hold at least one"),
        ({"networks": (None,)}, TypeError, "networks must hold Networks, got NoneType"),
        ({"networks": [encoder(), nf.projection_head(9, 9, 9)]}, ValueError, "gives 8 features, the next takes 9"),
        ({"networks": [(n := nf.Network([Linear(3)], (3,))), n]}, ValueError, "networks must differ"),
        ({"chunk_size": 0}, ValueError, "chunk_size must be >= 1, got 0"),
        ({"chunk_size": 2.5}, TypeError, "float"),
        ({"x": random(8, 8, 3)}, ValueError, r"x must be \(N, H, W, C\) or \(V, N, H, W, C\), got shape \(8, 8, 3\)"),
        ({"x": random(2, 2, 2, 8, 8, 3)}, ValueError, "x must be"),
        ({"x": random(2, 0, 8, 8, 3)}, ValueError, r"at least one sample, got shape \(2, 0, 8, 8, 3\)"),
        ({"x": random(2, 4, 8, 8, 1)}, ValueError, "must"),
        ({"x": np.zeros((2, 4, 8, 8, 3), np.uint8)}, TypeError, "uint8"),
        ({"x": np.full((2, 4, 8, 8, 3), np.nan, np.float32)}, ValueError, "finite|NaN"),
        ({"loss": lambda z: (0.0, z[0])}, ValueError, r"gradient of shape \(2, 4, 6\), got \(4, 6\)"),
        ({"loss": lambda z: (0.0, np.full_like(z, np.inf))}, ValueError, "finite|NaN"),
        ({"loss": nf.info_nce}, TypeError, "key"),
    ],
)
def test_refusals(change, error, message):
    arguments = {"networks": (encoder(), head()), "x": random(2, 4, 8, 8, 3), "loss": NT_XENT} | change
    with pytest.raises(error, match=message):
        nf.cached_gradients(**arguments)
