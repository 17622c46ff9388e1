"""The C core's networks: how layers meet, what a call may ask for, same bits everywhere, bad input, failing memory."""

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from nearfar import _core
from reference import nn
from reference.nn_check import (
    AVERAGE,
    GELU,
    RELU,
    SILU,
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

# ---- how layers meet: a plan may fuse neighbours, but not when a third reads between them ----


@pytest.mark.parametrize(
    "layers",
    [
        chain(conv(5, 3), batch_norm(), plain(RELU)),
        chain(conv(5, 3, bias=1), batch_norm()),
        chain(conv(5, 3, bias=1), plain(RELU)),
        chain(batch_norm(), conv(5, 3), plain(RELU), batch_norm()),
        chain(plain(RELU), plain(RELU), conv(2, 1)),
        chain(batch_norm(), batch_norm(), plain(RELU), pool(2, 1, 0)),
        chain(pool(2, 1, 1), conv(4, 3), pool(3, 2, 1)),
        chain(conv(5, 3), plain(AVERAGE), batch_norm(), plain(RELU), linear(2)),
        [conv(4, 3), plain(RELU, 0), plain(SUM, 0, 1)],
        [plain(RELU), plain(SUM, 0, -1)],
        [conv(4, 3), batch_norm(source=0), plain(RELU, 1), plain(SUM, 1, 2), plain(SUM, 0, 3)],
        [conv(4, 3), batch_norm(source=0), plain(SUM, 1, -1), plain(RELU, 2), conv(4, 3, source=3), plain(SUM, 4, 3)],
        [conv(4, 3), batch_norm(source=0), plain(SUM, 1, 0), plain(RELU, 2), plain(SUM, 3, 2)],
        [conv(6, 3, 2), batch_norm(source=0), conv(6, 1, 2), batch_norm(source=2), plain(SUM, 1, 3), plain(RELU, 4)],
        [conv(6, 3, 2), batch_norm(source=0), conv(6, 1, 2), batch_norm(source=2), plain(SUM, 3, 1), plain(AVERAGE, 4)],
        [plain(SUM, -1, -1), plain(SUM, 0, 0), plain(SUM, 1, -1)],
        [plain(RELU), conv(4, 3, source=0), conv(4, 5, source=0), plain(SUM, 1, 2), plain(SUM, 3, 0)],
        chain(conv(6, 1), batch_norm(), plain(RELU), depthwise(3, 2), batch_norm(), plain(RELU), conv(5, 1)),
        chain(depthwise(3), plain(RELU), plain(GELU), plain(SILU), layer_norm(), plain(RELU)),
        chain(layer_norm(), conv(4, 1, bias=1), plain(GELU), plain(AVERAGE), layer_norm(), linear(3)),
        [depthwise(7, bias=1), layer_norm(source=0), conv(8, 1, source=1), plain(GELU, 2), conv(4, 1, source=3)]
        + [plain(SUM, 4, -1), layer_norm(source=5), plain(SUM, 5, 6)],
        [plain(SILU), depthwise(3, source=0), plain(GELU, 0), layer_norm(source=0), plain(SUM, 1, 2), plain(SUM, 3, 4)],
    ],
    ids=lambda layers: "-".join(kind for kind, _, _ in layers),
)
@pytest.mark.parametrize("groups", (1, 2))
def test_combinations(layers, groups):
    check(layers, (4, 6, 5, 4), groups=groups, tolerance=2e-5)


@pytest.mark.parametrize("seed", range(24))
def test_random_graphs(seed):
    """Random graphs that keep their shape; the last layers sum up all results that nobody read."""
    random = np.random.default_rng(seed)
    layers, unread = [], set()
    for index in range(random.integers(4, 12)):
        a, b = random.integers(-1, index, 2).tolist()
        layers.append(
            [
                conv(3, 3, source=a),
                batch_norm(source=a),
                plain(RELU, a),
                plain(SUM, a, b),
                depthwise(3, source=a),
                layer_norm(0.5, source=a),
                plain(GELU, a),
                plain(SILU, a),
            ][random.integers(8)]
        )
        unread = (unread - set(layers[-1][1])) | {index}
    last, *others = unread
    for other in others:
        layers.append(plain(SUM, last, other))
        last = len(layers) - 1
    if last != len(layers) - 1:
        layers.append(plain(RELU, last))
    check(layers, (4, 4, 5, 3), seed=seed, tolerance=1e-4)


# ---- what a call may ask for ----


SMALL = chain(conv(20, 3), batch_norm(), plain(RELU), pool(2, 2, 0), conv(24, 3), plain(AVERAGE), linear(7))


def small_run(groups=1, batch=12):
    """Bytes of everything that one step of a small network yields."""
    random = np.random.default_rng(0)
    core = build(SMALL, (-1, -1, 3), random)
    x = random.normal(size=(batch, 12, 13, 3)).astype(np.float32)
    y = core.forward(x, True, groups)
    d_x = core.backward(y, True, False)
    return [a.tobytes() for a in (y, d_x, core.gradients, core.statistics, core.forward(x, False, 1))]


def test_groups_are_separate_batches():
    random = np.random.default_rng(0)
    layers = chain(conv(4, 3), batch_norm(), plain(RELU), plain(AVERAGE), linear(3), batch_norm())
    x = random.normal(size=(6, 5, 5, 2)).astype(np.float32)
    together, apart = (build(layers, (-1, -1, 2), np.random.default_rng(1)) for _ in range(2))
    y = together.forward(x, True, 3)
    d_x = together.backward(y, True, False)
    for part in range(3):
        rows = slice(2 * part, 2 * part + 2)
        np.testing.assert_allclose(apart.forward(x[rows], True, 1), y[rows], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(apart.backward(y[rows], True, part > 0), d_x[rows], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(apart.statistics, together.statistics, rtol=1e-5)
    assert relative(apart.gradients, together.gradients) < 1e-4


def test_accumulate_adds():
    random = np.random.default_rng(0)
    core = build(SMALL, (-1, -1, 3), random)
    x = random.normal(size=(4, 8, 8, 3)).astype(np.float32)

    def step(scale, input_gradient, accumulate):
        y = core.forward(x, True, 1)
        d_x = core.backward(scale * y, input_gradient, accumulate)
        assert (d_x is not None) == input_gradient
        return core.gradients.copy()

    once = step(1, False, False)
    assert np.linalg.norm(once) > 0
    assert relative(step(1, False, True), 2 * once) < 1e-6
    assert relative(step(2, True, True), 4 * once) < 1e-6
    np.testing.assert_array_equal(step(1, False, False), once)
    np.testing.assert_array_equal(step(1, True, False), once)


def test_evaluation_changes_nothing():
    random = np.random.default_rng(0)
    core = build(SMALL, (-1, -1, 3), random)
    x = random.normal(size=(5, 8, 8, 3)).astype(np.float32)
    before = core.parameters.copy(), core.statistics.copy(), core.gradients.copy()
    y = core.forward(x, False, 1)
    for now, then in zip((core.parameters, core.statistics, core.gradients), before, strict=True):
        np.testing.assert_array_equal(now, then)
    for i in range(5):  # samples do not depend on each other
        assert relative(core.forward(x[i : i + 1], False, 1), y[i : i + 1]) < 1e-6


def test_batches_of_changing_size_and_shape():
    random = np.random.default_rng(0)
    core = build(SMALL, (-1, -1, 3), random)
    twin = nn.Twin(core, SMALL)
    for shape in ((4, 8, 8, 3), (9, 8, 8, 3), (2, 17, 5, 3), (3, 2, 2, 3), (4, 8, 8, 3)):
        x = random.normal(size=shape).astype(np.float32)
        y = core.forward(x, True, 1)
        assert relative(y, twin.forward(x, True)) < 1e-5
        d_x = core.backward(y, True, False)
        assert relative(d_x, twin.backward(y)["x"]) < 1e-4
        assert core.memory_bytes(*shape[:3], True, 1) > core.memory_bytes(*shape[:3], False, 1) > 0


def test_inputs_that_are_not_contiguous_float32():
    random = np.random.default_rng(0)
    core = build(SMALL, (-1, -1, 3), random)
    x = random.normal(size=(4, 8, 10, 3)).astype(np.float32)
    y = core.forward(x, True, 1)
    core.backward(y, False, False)
    gradients = core.gradients.copy()
    wide = np.zeros((4, 8, 20, 6), np.float32)
    wide[:, :, ::2, ::2] = x
    views = (wide[:, :, ::2, ::2], np.asfortranarray(x), x[::-1][::-1], x.astype(float), x.astype(">f4"), x.tolist())
    for view in views:
        np.testing.assert_array_equal(core.forward(view, True, 1), y)
    unaligned = np.frombuffer(b"-" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape)
    np.testing.assert_array_equal(core.forward(unaligned, True, 1), y)
    core.forward(x, True, 1)
    core.backward(np.asfortranarray(y).astype(float), False, False)
    np.testing.assert_array_equal(core.gradients, gradients)


def test_vectors_are_views():
    core = _core.Network(SMALL, (-1, -1, 3))
    for name in ("parameters", "gradients", "statistics"):
        vector = getattr(core, name)
        assert getattr(core, name) is vector
        assert vector.dtype == np.float32 and vector.ndim == 1 and vector.flags.writeable
        assert vector.ctypes.data % 64 == 0
    parameters, statistics = nn.shapes(SMALL, 3)
    assert {(i, name): shape for i, name, _, shape in core.slots()} == parameters
    assert {(i, name): shape for i, name, _, shape in core.statistic_slots()} == statistics
    assert core.out_features == 7
    core.parameters[:] = 0
    assert not core.forward(np.ones((1, 4, 4, 3)), False, 1).any()
    core.parameters[-7:] = range(7)  # the bias of the last layer
    assert core.forward(np.ones((1, 4, 4, 3)), False, 1).tolist() == [list(range(7))]
    vector, before = core.parameters, core.parameters.copy()
    del core
    np.testing.assert_array_equal(vector, before)


# ---- same results everywhere ----


def test_same_bits_for_any_number_of_threads():
    before = _core.get_num_threads()
    try:
        runs = []
        for threads in (1, 2, 3):
            _core.set_num_threads(threads)
            runs.append((small_run(), small_run(3), small_run(batch=37)))
        assert runs[0] == runs[1] == runs[2]
    finally:
        _core.set_num_threads(before)


@pytest.mark.parametrize("isa", ("scalar", "avx2", "avx512"))
def test_instruction_sets(isa):
    """Each that the machine has agrees with the twin."""
    program = """
import json, os, sys
try:
    from nearfar import _core
except ValueError as error:
    sys.exit(json.dumps({"cannot": str(error)}))
import test_network_core as t
for channels in (1, 7, 16, 33):
    t.check([t.conv(channels, 3, bias=1)], (2, 6, 5, channels))
    t.check([t.conv(17, 1, 2)], (2, 6, 5, channels))
    t.check([t.batch_norm()], (4, 3, 5, channels))
    t.check([t.plain("relu")], (4, 3, 5, channels))
    t.check([t.pool(3, 2, 1)], (2, 5, 6, channels))
    t.check([t.plain("global_average_pool")], (2, 5, 6, channels))
    t.check([t.linear(9)], (5, channels))
t.check([t.conv(64, 3)], (2, 16, 16, 64))
t.check(t.SMALL, (4, 12, 13, 3), groups=2)
print(json.dumps({"instruction_set": _core.config()["instruction_set"]}))
"""
    environment = {**os.environ, "NEARFAR_ISA": isa, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    if run.returncode and '"cannot"' in run.stderr:
        assert "NEARFAR_ISA" in run.stderr  # this machine can't run it, and says so
    else:
        assert run.returncode == 0, run.stderr
        assert json.loads(run.stdout)["instruction_set"] == isa


def test_one_network_in_several_python_threads():
    """Steps that mix up raise a ValueError at most; evaluation gives what it gives alone."""
    core = build(SMALL, (-1, -1, 3), np.random.default_rng(0))
    x = np.random.default_rng(0).normal(size=(8, 12, 12, 3)).astype(np.float32)
    failures = []

    def work(seed):
        random = np.random.default_rng(seed)
        for _ in range(60):
            batch, size = random.integers(1, 9), random.integers(4, 13)
            try:
                y = core.forward(x[:batch, :size], bool(random.integers(2)), 1)
                core.backward(y, bool(random.integers(2)), False)
            except ValueError as error:
                assert str(error).startswith(
                    ("d_y must have the shape", "backward needs a forward", "d_y must be finite", "another thread")
                )
            except BaseException as failure:
                failures.append(failure)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    calm = build(SMALL, (-1, -1, 3), np.random.default_rng(0))
    core.statistics[:] = calm.statistics
    np.testing.assert_array_equal(core.forward(x, False, 1), calm.forward(x, False, 1))


# ---- bad input ----


@pytest.mark.parametrize(
    "layers, in_shape, error",
    [
        ([], (3,), ValueError),
        ([("dense", (-1,), {})], (3,), ValueError),
        ([(3, (-1,), {})], (3,), (TypeError, ValueError)),
        ([("relu",)], (3,), (TypeError, ValueError)),
        ([("relu", (-1,), None)], (3,), TypeError),
        ("relu", (3,), (TypeError, ValueError)),
        (None, (3,), TypeError),
        ([plain(RELU, 0)], (3,), ValueError),
        ([plain(RELU, 1), plain(RELU, 0)], (3,), ValueError),
        ([plain(RELU, -2)], (3,), ValueError),
        ([plain(RELU, 2**70)], (3,), (ValueError, OverflowError)),
        ([plain(RELU, "x")], (3,), TypeError),
        ([("relu", (), {})], (3,), ValueError),
        ([plain(RELU, -1, -1)], (3,), ValueError),
        ([plain(SUM, -1)], (3,), ValueError),
        ([conv(3, 3)], (3,), ValueError),
        ([plain(AVERAGE)], (3,), ValueError),
        ([pool(2, 2, 0)], (3,), ValueError),
        ([linear(3)], (-1, -1, 3), ValueError),
        ([conv(4, 1), plain(RELU)], (4, 4, 3), ValueError),  # nobody reads the first
        ([conv(4, 1), plain(SUM, 0, -1)], (4, 4, 3), ValueError),
        ([conv(3, 1, 2), plain(SUM, 0, -1)], (4, 4, 3), ValueError),
        ([plain(AVERAGE), plain(SUM, 0, -1)], (4, 4, 3), ValueError),
        ([conv(3, 7, 1, 0)], (4, 9, 3), ValueError),
        ([conv(3, 3, 1, 3)], (9, 9, 3), ValueError),
        ([conv(3, 32, 1, 1)], (50, 50, 3), ValueError),
        ([pool(16, 1, 0)], (50, 50, 3), ValueError),
        ([pool(5, 1, 0)], (9, 4, 3), ValueError),
        ([pool(2, 1, 2)], (9, 4, 3), ValueError),
        ([plain(RELU)], (), (TypeError, ValueError)),
        ([plain(RELU)], (0,), ValueError),
        ([plain(RELU)], (-1,), ValueError),
        ([plain(RELU)], (4, 4), (TypeError, ValueError)),
        ([plain(RELU)], (4, 4, 0), ValueError),
        ([plain(RELU)], (4, 4, -1), ValueError),
        ([plain(RELU)], (0, 4, 3), ValueError),
        ([plain(RELU)], (4, -1, 3), ValueError),
        ([plain(RELU)], (-2, 4, 3), ValueError),
        ([plain(RELU)], (2**62, 4, 3), ValueError),
        ([plain(RELU)], "abc", (TypeError, ValueError)),
        ([conv(2**31, 3)], (4, 4, 3), (ValueError, MemoryError, OverflowError)),
        ([linear(2**62)], (2**30,), (ValueError, MemoryError, OverflowError)),
        ([linear(float("nan"))], (3,), (TypeError, ValueError)),
        ([linear(2.5)], (3,), (TypeError, ValueError)),
        ([linear("8")], (3,), TypeError),
        ([batch_norm(eps=0)], (3,), ValueError),
        ([batch_norm(eps=float("nan"))], (3,), ValueError),
        ([batch_norm(momentum=1.5)], (3,), ValueError),
        ([batch_norm(momentum=float("nan"))], (3,), ValueError),
        ([("linear", (-1,), {"bias": 1})], (3,), ValueError),
    ],
    ids=str,
)
def test_bad_lists_of_layers(layers, in_shape, error):
    with pytest.raises(error):
        _core.Network(layers, in_shape)


@pytest.mark.parametrize("option", ("out_channels", "kernel_h", "kernel_w", "stride", "padding_h", "padding_w"))
def test_bad_conv_options(option):
    for value in (-1, 2**40, 1.5, float("nan"), None, "3"):
        kind, inputs, options = conv(4, 3)
        with pytest.raises((ValueError, TypeError, OverflowError, MemoryError)):
            _core.Network([(kind, inputs, {**options, option: value})], (4, 4, 3))
    if not option.startswith("padding"):
        with pytest.raises(ValueError):
            _core.Network([(kind, inputs, {**options, option: 0})], (4, 4, 3))


@pytest.mark.parametrize(
    "x, training, groups, error",
    [
        (np.ones((2, 8, 8, 4)), True, 1, ValueError),
        (np.ones((2, 8, 8)), True, 1, ValueError),
        (np.ones((2, 3)), True, 1, ValueError),
        (np.ones((0, 8, 8, 3)), True, 1, ValueError),
        (np.ones((0, 8, 8, 3)), False, 1, ValueError),
        (np.ones((2, 0, 8, 3)), True, 1, ValueError),
        (np.ones((2, 1, 8, 3)), True, 1, ValueError),  # nothing is left behind the pool
        (np.ones((2, 8, 8, 3)), True, 0, ValueError),
        (np.ones((2, 8, 8, 3)), True, -1, ValueError),
        (np.ones((3, 8, 8, 3)), True, 2, ValueError),
        (np.ones((2, 8, 8, 3)), True, 4, ValueError),
        (np.ones((2, 8, 8, 3)), True, "1", TypeError),
        (np.ones((2, 8, 8, 3)), True, 1.5, TypeError),
        (np.ones((2, 8, 8, 3)), True, 2**70, (ValueError, OverflowError)),
        (np.full((2, 8, 8, 3), np.nan), True, 1, ValueError),
        (np.full((2, 8, 8, 3), np.inf), False, 1, ValueError),
        (np.ones((2, 8, 8, 3), complex), True, 1, TypeError),
        (np.full((2, 8, 8, 3), "a"), True, 1, TypeError),
        (np.full((2, 8, 8, 3), None), True, 1, TypeError),
        (None, True, 1, TypeError),
    ],
    ids=lambda value: f"{value.shape}{value.dtype}" if isinstance(value, np.ndarray) else None,
)
def test_bad_forward(x, training, groups, error):
    core = build(SMALL, (-1, -1, 3), np.random.default_rng(0))
    with pytest.raises(error):
        core.forward(x, training, groups)


def test_bad_backward():
    core = build(SMALL, (-1, -1, 3), np.random.default_rng(0))
    with pytest.raises((ValueError, RuntimeError)):
        core.backward(np.ones((2, 7)), False, False)
    core.forward(np.ones((2, 8, 8, 3)), False, 1)
    with pytest.raises((ValueError, RuntimeError)):
        core.backward(np.ones((2, 7)), False, False)
    core.forward(np.ones((2, 8, 8, 3)), True, 1)
    for d_y in (np.ones((2, 8)), np.ones((3, 7)), np.ones(7), np.ones((2, 7, 1)), np.ones((0, 7))):
        with pytest.raises(ValueError):
            core.backward(d_y, False, False)
    for d_y in (None, "a", np.ones((2, 7), complex)):
        with pytest.raises(TypeError):
            core.backward(d_y, False, False)
    for bad in (np.nan, np.inf):
        core.forward(np.ones((2, 8, 8, 3)), True, 1)
        with pytest.raises(ValueError, match="d_y must be finite"):
            core.backward(np.full((2, 7), bad), False, False)
    core.forward(np.ones((2, 8, 8, 3)), True, 1)
    core.backward(np.ones((2, 7)), False, False)
    with pytest.raises((ValueError, RuntimeError)):
        core.backward(np.ones((2, 7)), False, False)  # its memory has been reused


def test_fixed_size():
    core = build(SMALL, (8, 9, 3), np.random.default_rng(0))
    assert core.forward(np.ones((2, 8, 9, 3)), False, 1).shape == (2, 7)
    with pytest.raises(ValueError):
        core.forward(np.ones((2, 9, 8, 3)), False, 1)


@pytest.mark.parametrize(
    "block, kept",
    [
        ([conv(16, 3), batch_norm(), plain(RELU)], 1),
        ([conv(16, 3), layer_norm(), plain(GELU)], 2),
        ([conv(16, 3), plain(SILU)], 1),
        ([conv(16, 3), plain(RELU)], 1),
    ],
    ids=lambda value: "-".join(layer[0] for layer in value) if isinstance(value, list) else None,
)
def test_what_one_pass_computes_again_is_not_kept(block, kept):
    """Of a block of layers only `kept` maps stay in memory until backward."""
    few, many = (_core.Network(chain(*block * count), (32, 32, 16)) for count in (4, 12))
    map_bytes = 64 * 32 * 32 * 16 * 4
    grown = many.memory_bytes(64, 32, 32, True, 1) - few.memory_bytes(64, 32, 32, True, 1)
    assert grown < (kept + 0.1) * 8 * map_bytes


# ---- maps of many images that a convolution alone reads are made block by block ----


def large_run(layers, x, d_y, groups, **options):
    core = build(layers, (*x.shape[1:3], x.shape[3]), np.random.default_rng(0), **options)
    y = core.forward(x, True, groups)
    d_x = core.backward(d_y, True, False)
    return y, d_x, core.gradients.copy(), core.statistics.copy()


NORM_RELU = [batch_norm(), plain(RELU)]


@pytest.mark.parametrize(
    "maker, reader, groups, images",
    [
        (NORM_RELU, conv(8, 3), 1, 230),
        (NORM_RELU, conv(8, 3, 2), 2, 230),
        (NORM_RELU, conv(8, 1), 1, 230),
        (NORM_RELU, depthwise(3, 2, bias=1), 1, 230),
        ([batch_norm()], conv(8, 3, 2), 1, 230),
        ([batch_norm()], conv(8, 1, bias=1), 2, 230),
        ([batch_norm()], conv(8, 5, 2), 1, 230),
        ([layer_norm()], conv(8, 3), 1, 230),
        ([layer_norm()], conv(8, 3), 2, 211),  # a last block of one image
        ([layer_norm()], depthwise(3, 2, bias=1), 1, 230),
        ([plain(GELU)], conv(8, 1, bias=1), 1, 230),
        (NORM_RELU, depthwise(3, 1), 2, 211),
    ],
)
def test_maps_made_in_blocks(maker, reader, groups, images):
    """As if a second network read what a first has made: that map exists. Two blocks are 16 MB, a group has more."""
    parts = [chain(conv(32, 3), *maker), chain(reader, batch_norm())]
    random = np.random.default_rng(1)
    x = random.normal(size=(images * groups, 24, 26, 3)).astype(np.float32)
    first, second = build(parts[0], (24, 26, 3), random), build(parts[1], (24, 26, 32), random)
    whole = build(chain(*parts[0], *parts[1]), (24, 26, 3), random)
    whole.parameters[:] = np.concatenate([first.parameters, second.parameters])
    wanted = second.forward(first.forward(x, True, groups), True, groups)
    assert relative(whole.forward(x, True, groups), wanted) < 1e-6
    d_y = random.normal(size=wanted.shape).astype(np.float32)
    wanted = first.backward(second.backward(d_y, True, False), True, False)
    assert relative(whole.backward(d_y, True, False), wanted) < 1e-5
    assert relative(whole.gradients, np.concatenate([first.gradients, second.gradients])) < 1e-5


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_blocks_do_not_depend_on_threads(dtype):
    layers = chain(conv(32, 3), *NORM_RELU, conv(32, 1), *NORM_RELU, conv(32, 3, 2), *NORM_RELU, conv(8, 1))
    random = np.random.default_rng(2)
    x = random.normal(size=(140, 32, 32, 3)).astype(np.float32)
    d_y = random.normal(size=(140, 16, 16, 8)).astype(np.float32)
    before = _core.get_num_threads()
    try:
        runs = []
        for threads in (1, 2, 3, 7):
            _core.set_num_threads(threads)
            runs.append(large_run(layers, x, d_y, 1, activation_dtype=dtype))
    finally:
        _core.set_num_threads(before)
    for run in runs[1:]:
        for found, wanted in zip(run, runs[0], strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_memory_of_maps_made_in_blocks():
    """Of two maps, one before and one behind a norm, only the first exists, and later the second's gradient."""
    core = _core.Network(chain(conv(32, 3), batch_norm(), plain(RELU), conv(64, 3, 2)), (32, 32, 3))
    first = 512 * 32 * 32 * 32 * 4
    assert core.memory_bytes(512, 32, 32, True, 1) < 2.8 * first  # twice the first, the result's gradient, images


def test_out_of_memory():
    """With the n-th allocation failing, for all n: a MemoryError, and the same network works right afterwards."""
    wanted = small_run()
    failures = 0
    while True:
        _core._alloc_fail_at(failures + 1)
        try:
            found = small_run()
            break
        except MemoryError:
            failures += 1
        finally:
            _core._alloc_fail_at(0)
        assert small_run() == wanted
    assert found == wanted
    assert failures >= 5

    random = np.random.default_rng(0)
    x = random.normal(size=(4, 8, 8, 3)).astype(np.float32)
    for n in range(1, failures + 2):
        core, calm = (build(SMALL, (-1, -1, 3), np.random.default_rng(1)) for _ in range(2))
        _core._alloc_fail_at(n)
        try:
            core.forward(x, True, 1)
            core.backward(np.ones((4, 7), np.float32), True, False)
        except MemoryError:
            pass
        finally:
            _core._alloc_fail_at(0)
        core.statistics[:] = calm.statistics
        for network in (core, calm):
            network.backward(network.forward(x, True, 1), False, False)
        np.testing.assert_array_equal(core.gradients, calm.gradients)
