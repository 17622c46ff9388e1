"""The losses as JAX functions: values and gradients of plain JAX formulas, and JAX's transformations."""

import doctest
import importlib
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import nearfar.jax
import numpy as np
import pytest
from jax.test_util import check_grads
from nearfar.jax import clip, dcl, dclw, info_nce, nt_xent, sigmoid_loss, sup_con

pytestmark = pytest.mark.parity


@pytest.fixture
def x64():
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def random(*shape, seed=0, dtype=np.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape).astype(dtype))


def normalized(x):
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def plain_nt_xent(z, temperature=0.5, normalize=True):
    (views, samples, width), rows = z.shape, z.shape[0] * z.shape[1]
    z = (normalized(z) if normalize else z).reshape(-1, width)
    scores = jnp.where(jnp.eye(rows, dtype=bool), -jnp.inf, z @ z.T / temperature)
    sample = np.arange(rows) % samples
    positive = (sample[:, None] == sample) & ~np.eye(rows, dtype=bool)
    return -jnp.where(positive, jax.nn.log_softmax(scores), 0).sum() / rows / (views - 1)


def plain_info_nce(query, key, temperature=0.1, negatives=None, symmetric=False, normalize=True):
    prepare = normalized if normalize else lambda x: x
    query, key = prepare(query), prepare(key)
    if negatives is None:
        scores = query @ key.T / temperature
        loss = -jnp.diag(jax.nn.log_softmax(scores)).mean()
        return (loss - jnp.diag(jax.nn.log_softmax(scores.T)).mean()) / 2 if symmetric else loss
    rule = "nd,kd->nk" if negatives.ndim == 2 else "nd,nkd->nk"
    others = jnp.einsum(rule, query, prepare(negatives))
    scores = jnp.concatenate([(query * key).sum(1, keepdims=True), others], 1) / temperature
    return -jax.nn.log_softmax(scores)[:, 0].mean()


def check_equal(function, plain, *inputs, tolerance):
    """Value and all gradients, compiled and not; the loss is one part of a larger function."""
    places = tuple(range(len(inputs)))

    def larger(loss):
        return lambda *x: 3 * loss(*x) + 1

    wanted = jax.jit(jax.value_and_grad(larger(plain), places))(*inputs)
    for transform in (lambda f: f, jax.jit):
        loss, gradients = transform(jax.value_and_grad(larger(function), places))(*inputs)
        assert loss.dtype == wanted[0].dtype and loss.shape == ()
        assert abs(loss - wanted[0]) <= tolerance * abs(wanted[0])
        for got, expected in zip(gradients, wanted[1], strict=True):
            assert got.dtype == expected.dtype and got.shape == expected.shape
            assert np.abs(got - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 33, 8), (4, 7, 3)])
@pytest.mark.parametrize("normalize", [True, False])
def test_nt_xent(shape, normalize):
    def ours(z, temperature):
        return nt_xent(z, temperature, normalize=normalize)

    check_equal(
        ours, lambda z, t: plain_nt_xent(z, t, normalize), random(*shape), 0.5 if normalize else 2.0, tolerance=2e-5
    )


def plain_siglip(image, text, logit_scale, logit_bias):
    logits = jnp.exp(logit_scale) * normalized(image) @ normalized(text).T + logit_bias
    return -jax.nn.log_sigmoid((2 * jnp.eye(len(image)) - 1) * logits).sum() / len(image)


@pytest.mark.parametrize("n, width", [(2, 3), (33, 8)])
def test_clip_and_sigmoid_loss(n, width):
    def plain_clip(image, text, logit_scale):
        return plain_info_nce(image, text, jnp.exp(-logit_scale), symmetric=True)

    inputs = random(n, width), random(n, width, seed=1), 1.7
    check_equal(clip, plain_clip, *inputs, tolerance=2e-5)
    check_equal(sigmoid_loss, plain_siglip, *inputs, -3.0, tolerance=2e-5)
    assert clip(*inputs[:2]).dtype == sigmoid_loss(*inputs[:2]).dtype == jnp.float32


def test_image_text_losses_in_float64(x64):
    inputs = random(7, 4, dtype=np.float64), random(7, 4, seed=1, dtype=np.float64)
    check_grads(clip, (*inputs, 1.5), 1, ["rev"])
    check_grads(sigmoid_loss, (*inputs, 1.5, -2.0), 1, ["rev"])
    assert sigmoid_loss(*inputs, 1, -2).dtype == jnp.float64
    assert sigmoid_loss(random(7, 4), random(7, 4)).dtype == jnp.float32


@pytest.mark.parametrize("function", [clip, sigmoid_loss])
def test_image_text_losses_refuse(function):
    z = random(4, 3)
    for arguments, error, message in [
        ((z[0], z), ValueError, r"image must be \(N, D\), got shape \(3,\)"),
        ((z, z[:3]), ValueError, r"text must have image's shape \(4, 3\), got \(3, 3\)"),
        ((z, z, jnp.ones(2)), ValueError, r"logit_scale must be a number, got shape \(2,\)"),
        ((z, z, 1j), TypeError, "logit_scale must be real"),
        ((z > 0, z > 0), TypeError, "image must be floats"),
    ]:
        with pytest.raises(error, match=message):
            function(*arguments)


def plain_sup_con(z, labels, temperature=0.1, positives="out"):
    z, labels = normalized(z.reshape(-1, z.shape[-1])), jnp.tile(labels, z.size // z.shape[-1] // len(labels))
    diagonal = jnp.eye(len(z), dtype=bool)
    positive = (labels[:, None] == labels) & ~diagonal
    count = positive.sum(1)
    log_p = jax.nn.log_softmax(jnp.where(diagonal, -1e9, z @ z.T / temperature))
    if positives == "out":
        each = -jnp.where(positive, log_p, 0).sum(1) / jnp.maximum(count, 1)
    else:
        each = -jax.nn.logsumexp(jnp.where(positive, log_p, -1e9), 1) + jnp.log(jnp.maximum(count, 1))
    return jnp.where(count > 0, each, 0).sum() / (count > 0).sum()


@pytest.mark.parametrize("positives", ["out", "in"])
@pytest.mark.parametrize("shape", [(17, 6), (2, 17, 6), (3, 5, 4)])
def test_sup_con(shape, positives):
    labels = jnp.asarray(np.random.default_rng(3).integers(0, 5, shape[-2]))
    inputs = random(*shape), 0.3

    def ours(z, temperature):
        return sup_con(z, labels, temperature, positives=positives)

    check_equal(ours, lambda z, t: plain_sup_con(z, labels, t, positives), *inputs, tolerance=2e-5)


def plain_dcl(z, temperature, sigma=None):
    """As the paper has it: one logarithm for the negatives of both views."""
    a, b = normalized(z)
    z, n, own = jnp.concatenate([a, b]), len(a), jnp.tile(jnp.eye(len(a), dtype=bool), (2, 2))
    positive = jnp.tile((a * b).sum(1), 2)
    weights = 1 if sigma is None else 2 - n * jax.nn.softmax(jax.lax.stop_gradient(positive[:n]) / sigma)
    scores = jnp.where(own, -jnp.inf, z @ z.T / temperature)
    return (jax.nn.logsumexp(scores, 1) - jnp.tile(jnp.broadcast_to(weights, n), 2) * positive / temperature).mean()


@pytest.mark.parametrize("sigma", [None, 0.5])
def test_dcl(sigma):
    def ours(z, temperature):
        return dcl(z, temperature) if sigma is None else dclw(z, temperature, sigma=sigma)

    check_equal(ours, lambda z, t: plain_dcl(z, t, sigma), random(2, 17, 6), 0.3, tolerance=2e-5)


def test_labels_may_be_traced():
    z, labels = random(2, 8, 4), jnp.array([[0, 0, 1, 1, 2, 2, 3, 3], [0, 1, 0, 1, 0, 1, 0, 1]])
    value_and_grad = jax.value_and_grad(sup_con)
    wanted = [value_and_grad(z, row) for row in labels]
    compiled = map(jax.jit(value_and_grad), [z, z], labels)
    mapped = zip(*jax.vmap(value_and_grad, (None, 0))(z, labels), strict=True)
    for got in (compiled, mapped):
        for (loss, d_z), (wanted_loss, wanted_d_z) in zip(got, wanted, strict=True):
            assert loss == wanted_loss and np.array_equal(d_z, wanted_d_z)


CASES = [
    ([], {}),
    ([], {"symmetric": True}),
    ([], {"normalize": False}),
    ([(9, 8)], {}),
    ([(17, 4, 8)], {"normalize": False}),
]


def with_negatives(function, options):
    return lambda q, k, t, *negatives: function(q, k, t, **options, negatives=negatives[0] if negatives else None)


@pytest.mark.parametrize("negatives, options", CASES)
def test_info_nce(negatives, options):
    inputs = random(17, 8), random(17, 8, seed=1), 0.7, *(random(*shape, seed=2) for shape in negatives)
    check_equal(with_negatives(info_nce, options), with_negatives(plain_info_nce, options), *inputs, tolerance=2e-5)


@pytest.mark.parametrize("negatives, options", CASES)
def test_float64(x64, negatives, options):
    double = {"dtype": np.float64}
    inputs = random(17, 8, **double), random(17, 8, seed=1, **double), 0.7
    inputs = *inputs, *(random(*shape, seed=2, **double) for shape in negatives)
    check_equal(with_negatives(info_nce, options), with_negatives(plain_info_nce, options), *inputs, tolerance=1e-11)
    z = random(3, 7, 5, **double)
    check_equal(nt_xent, plain_nt_xent, z, 0.5, tolerance=1e-11)


def test_gradients_by_central_differences(x64):
    z, query, key = random(2, 4, 3, dtype=np.float64), *random(2, 5, 3, seed=1, dtype=np.float64)
    check_grads(nt_xent, (z, 0.5), order=1, modes=["rev"], eps=1e-6)
    check_grads(lambda *x: info_nce(*x, negatives=z[0]), (query, key, 0.5), order=1, modes=["rev"], eps=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    half = random(2, 7, 4).astype(dtype)
    loss, d_half = jax.value_and_grad(nt_xent)(half)
    wanted, d_full = jax.value_and_grad(nt_xent)(half.astype(jnp.float32))
    assert loss.dtype == jnp.float32 and loss == wanted
    assert d_half.dtype == dtype and (d_half == d_full.astype(dtype)).all()


def test_types_are_promoted(x64):
    query, key = random(5, 3), random(5, 3, seed=1, dtype=np.float64)
    loss, (d_query, d_key) = jax.value_and_grad(info_nce, (0, 1))(query, key)
    assert (loss.dtype, d_query.dtype, d_key.dtype) == (jnp.float64, jnp.float32, jnp.float64)


@pytest.mark.parametrize("temperature", [1, np.float32(0.3), np.float64(0.3), jnp.float32(0.3), np.array(0.3)])
def test_temperature_of_any_kind(temperature):
    z = random(2, 5, 3)
    assert float(nt_xent(z, temperature)) == pytest.approx(float(plain_nt_xent(z, float(temperature))), rel=1e-6)


def test_vmap():
    stacks, temperatures = random(3, 2, 6, 4), jnp.array([0.2, 0.5, 1.0])
    for function in (nt_xent, jax.grad(nt_xent), jax.jit(jax.grad(nt_xent, 1))):
        got = jax.vmap(function)(stacks, temperatures)
        wanted = [function(z, t) for z, t in zip(stacks, temperatures, strict=True)]
        assert np.array_equal(got, np.stack(wanted))
    shared = jax.vmap(nt_xent, (None, 0))(stacks[0], temperatures)
    assert np.array_equal(shared, [nt_xent(stacks[0], t) for t in temperatures])


def test_inside_loops_and_checkpoints():
    z = random(2, 6, 4)

    def descend(z, _):
        loss, d_z = jax.value_and_grad(jax.checkpoint(nt_xent))(z)
        return z - 2 * d_z, loss

    last, history = jax.jit(lambda z: jax.lax.scan(descend, z, length=20))(z)
    assert history[-1] < history[0] - 0.1
    for _ in range(20):
        z, _ = descend(z, None)
    assert np.allclose(last, z, atol=1e-5)


def test_compiled_once_for_equal_options():
    traces = []

    @jax.jit
    def step(query, key):
        traces.append(1)
        return info_nce(query, key, symmetric=True)

    first = [step(random(5, 3), random(5, 3, seed=seed)) for seed in (1, 1, 2)]
    assert len(traces) == 1 and first[0] == first[1] != first[2]
    a, b = (jax.make_jaxpr(lambda q: info_nce(q, q, symmetric=True))(jnp.ones((5, 3))) for _ in range(2))
    assert str(a) == str(b)


def test_inputs_are_not_changed():
    z = random(2, 5, 3)
    before = np.array(z)
    jax.grad(nt_xent)(z)
    assert np.array_equal(z, before)


def test_the_way_of_other_devices():
    """What `platform_dependent` picks where there is no CPU, on the CPU."""
    function, z, t = nearfar.jax._OfViews(nearfar.losses.nt_xent, ()), random(2, 5, 3), jnp.float32(0.5)
    shapes = tuple(jax.ShapeDtypeStruct(shape, np.float32) for shape in ((), z.shape, ()))
    loss, d_z, d_t = jax.jit(lambda *x: jax.pure_callback(nearfar.jax._ByCopy(function), shapes, {}, *x))(t, z)
    wanted, (wanted_z, wanted_t) = jax.value_and_grad(nt_xent, (0, 1))(z, t)
    assert loss == wanted and d_t == wanted_t and np.array_equal(d_z, wanted_z)


ONE_PROCESSOR = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import jax, jax.numpy as jnp
from nearfar.jax import nt_xent
step = jax.jit(lambda w, x: w - jax.grad(lambda w: nt_xent((x @ w).reshape(2, -1, 256)))(w))
x, w = jax.random.normal(jax.random.key(0), (400, 256)), jnp.eye(256)
for _ in range(400):
    w = step(w, x)
print(bool(jnp.isfinite(w).all()))
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cannot choose processors")
def test_arrays_that_jax_copies_in_a_thread_on_one_processor():
    """JAX then has one thread, which must not wait for itself (as in most such runs of `pure_callback`)."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", ONE_PROCESSOR]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    assert run.stdout.strip() == "True"


# ---- refusals ----


Z, Q = jnp.ones((2, 4, 3)), jnp.ones((4, 3))


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: nt_xent(Q), ValueError, r"z must be \(V, N, D\) with V >= 2, got shape \(4, 3\)"),
        (lambda: nt_xent(Z[:1]), ValueError, r"V >= 2, got shape \(1, 4, 3\)"),
        (lambda: nt_xent(Z[:, :0]), ValueError, r"z must have at least one row and one column, got shape \(2, 0, 3\)"),
        (lambda: nt_xent(Z.astype(int)), TypeError, "z must be floats, got dtype int32"),
        (lambda: nt_xent(Z.astype(complex)), TypeError, "z must be floats, got dtype complex64"),
        (lambda: nt_xent(Z, jnp.ones(2)), ValueError, r"temperature must be a number, got shape \(2,\)"),
        (lambda: nt_xent(Z, 1j), TypeError, "temperature must be real, got dtype complex64"),
        (lambda: dcl(Z[:, :1]), ValueError, r"z must be \(V, N, D\) with V, N >= 2, got shape \(2, 1, 3\)"),
        (lambda: dclw(jnp.ones((3, 4, 3))), ValueError, r"z must be \(2, N, D\) with N >= 2, got shape \(3, 4, 3\)"),
        (lambda: dclw(Z, sigma=0), ValueError, "sigma must be > 0, got 0"),
        (lambda: sup_con(Q, jnp.zeros(4)), TypeError, "labels must be integers, got dtype float32"),
        (lambda: sup_con(Z, jnp.zeros(8, int)), ValueError, r"labels must have shape \(4,\).*, got \(8,\)"),
        (lambda: sup_con(Q, [0, 0, 1, 1], positives="x"), ValueError, "positives must be 'out' or 'in', got 'x'"),
        (lambda: sup_con(Q[0], [0, 0, 1]), ValueError, r"z must be \(N, D\) or \(V, N, D\), got shape \(3,\)"),
        (lambda: info_nce(Z, Z), ValueError, r"query must be \(N, D\), got shape \(2, 4, 3\)"),
        (lambda: info_nce(Q, Q[:3]), ValueError, r"key must have query's shape \(4, 3\), got \(3, 3\)"),
        (lambda: info_nce(Q, Q, negatives=Q[:, :2]), ValueError, r"negatives must be \(K, 3\) or \(4, K, 3\), got"),
        (lambda: info_nce(Q, Q, negatives=Z), ValueError, r"got shape \(2, 4, 3\)"),
        (lambda: info_nce(Q, Q, negatives=Q, symmetric=True), ValueError, "symmetric=True needs in-batch negatives"),
    ],
)
def test_wrong_shapes_and_types(call, error, message):
    for form in (call, jax.jit(call)):
        with pytest.raises(error, match=message):
            form()


@pytest.mark.parametrize(
    "z, temperature, message",
    [
        (Z * jnp.nan, 0.5, "z must be finite"),
        (Z * jnp.inf, 0.5, "z must be finite"),
        (Z, 0.0, "temperature must be finite and > 0"),
        (Z, -1.0, "temperature must be finite and > 0"),
        (Z, jnp.nan, "temperature must be finite and > 0"),
    ],
)
def test_wrong_values(z, temperature, message):
    for function in (nt_xent, jax.jit(nt_xent), jax.grad(nt_xent)):
        with pytest.raises(jax.errors.JaxRuntimeError, match=message):
            jax.block_until_ready(function(z, temperature))
    assert jnp.isfinite(nt_xent(Z))  # nothing is broken


def test_no_negatives():
    assert info_nce(Q, Q, negatives=jnp.ones((0, 3))) == 0


def test_other_derivatives_are_refused():
    with pytest.raises(ValueError, match="do not support JVP"):
        jax.hessian(nt_xent)(Z)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(nt_xent, (Z,), (Z,))


def test_examples():
    assert doctest.testmod(nearfar.jax).failed == 0 < doctest.testmod(nearfar.jax).attempted


def test_without_jax(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)
    monkeypatch.delitem(sys.modules, "nearfar.jax")
    with pytest.raises(ImportError, match=r"nearfar.jax needs JAX.*pip install 'nearfar\[jax\]'"):
        importlib.import_module("nearfar.jax")
