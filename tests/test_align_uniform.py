"""Alignment and uniformity as a loss, against its float64 twin, the measures, and hostile input."""

import nearfar as nf
import numpy as np
import pytest
from reference import losses as loss_twins
from reference import pair_losses as twin
from reference.loss_check import (
    check_allocation_failures,
    relative_error,
)

SIZES = [(2, 1), (3, 2), (7, 15), (15, 7), (16, 16), (17, 33), (31, 3), (33, 17), (49, 20), (150, 40), (1100, 4)]
OPTIONS = [
    {},
    {"alpha": 1.0, "t": 0.5},
    {"alpha": 3.0, "t": 4.0, "weights": (0.3, 2.0)},
    {"weights": (0.0, 1.0)},
    {"weights": (1.0, 0.0)},
]


def inputs(n, width, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, width))
    return x.astype(dtype), (x + rng.normal(size=x.shape)).astype(dtype)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-11), (np.float32, 1e-5)])
def test_value(normalize, options, dtype, tolerance):
    for n, width in SIZES:
        x, y = inputs(n, width, n, dtype)
        loss, gradients = nf.align_uniform(x, y, normalize=normalize, **options)
        wanted = twin.align_uniform(x, y, normalize=normalize, **options)
        assert type(loss) is float
        assert loss == pytest.approx(wanted, rel=tolerance, abs=10 * tolerance)
        assert all(g.dtype == dtype and g.shape == x.shape for g in gradients)


@pytest.mark.parametrize("n", [150, 1100, 2300])
def test_gradients_in_float32_are_near_float64(n):
    x, y = inputs(n, 24, dtype=np.float32)
    _, gradients = nf.align_uniform(x, y)
    _, wanted = nf.align_uniform(x.astype(np.float64), y.astype(np.float64))
    assert all(relative_error(a, b) < 1e-5 for a, b in zip(gradients, wanted, strict=True))


@pytest.mark.parametrize("normalize", [True, False])
def test_the_parts_are_the_measures(normalize):
    x, y = inputs(80, 6)
    align = nf.align_uniform(x, y, alpha=3, weights=(2, 0), normalize=normalize)[0]
    assert align == pytest.approx(2 * nf.measure.alignment(x, y, 3, normalize=normalize), rel=1e-11)
    uniform = nf.align_uniform(x, y, t=1.5, weights=(0, 1), normalize=normalize)[0]
    both = [nf.measure.uniformity(z, 1.5, normalize=normalize) for z in (x, y)]
    assert uniform == pytest.approx(np.mean(both), rel=1e-11)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_collapsed_and_spread_embeddings(dtype):
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    for n in 2, 33, 700:
        collapsed = np.full((n, 8), 0.3, dtype)
        loss, gradients = nf.align_uniform(collapsed, collapsed)
        assert loss == pytest.approx(0, abs=tolerance)
        assert all(np.abs(g).max() < tolerance for g in gradients)
    simplex = (np.eye(9) - 1 / 9).astype(dtype)  # as far apart as nine can be
    loss, gradients = nf.align_uniform(simplex, simplex)
    assert loss == pytest.approx(-2 * 2 * 9 / 8, abs=10 * tolerance)
    assert all(np.abs(g).max() < 10 * tolerance for g in gradients)
    random = np.random.default_rng(0).normal(size=(600, 400)).astype(dtype)
    assert nf.align_uniform(random, random)[0] == pytest.approx(-4, abs=0.05)


@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-9), (np.float32, 1e-5)])
def test_far_apart_and_near(dtype, tolerance):
    x, y = inputs(40, 5, dtype=dtype)
    for size in 1e-3, 30, 1e3:
        a, b = x * dtype(size), y * dtype(size)
        loss, gradients = nf.align_uniform(a, b, normalize=False)
        assert loss == pytest.approx(twin.align_uniform(a, b, normalize=False), rel=tolerance, abs=tolerance)
        assert all(np.isfinite(g).all() for g in gradients)
    for t in 1e-3, 100.0, 1e5:
        loss, gradients = nf.align_uniform(x, y, t=t)
        assert loss == pytest.approx(twin.align_uniform(x, y, t=t), rel=tolerance, abs=tolerance)
        assert all(np.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("normalize", [True, False])
def test_rows_of_zeros_and_equal_pairs(normalize):
    for alpha in 1.0, 2.0:
        x, y = inputs(20, 6)
        y[:10] = x[:10]
        x[3] = y[5] = 0
        loss, (d_x, d_y) = nf.align_uniform(x, y, alpha=alpha, normalize=normalize)
        assert loss == pytest.approx(twin.align_uniform(x, y, alpha=alpha, normalize=normalize), rel=1e-11)
        assert np.isfinite(d_x).all()
        assert np.isfinite(d_y).all()
        if normalize:
            assert not d_x[3].any()
            assert not d_y[5].any()
            assert np.abs((x * d_x).sum(axis=1)).max() < 1e-14


def test_permutation_rotation_and_swapped_views():
    x, y = inputs(60, 7)
    loss, (d_x, d_y) = nf.align_uniform(x, y)
    order = np.random.default_rng(1).permutation(60)
    rotation = np.linalg.qr(np.random.default_rng(2).normal(size=(7, 7)))[0]
    for (a, b), wanted in [
        ((x[order], y[order]), (d_x[order], d_y[order])),
        ((x @ rotation, y @ rotation), (d_x @ rotation, d_y @ rotation)),
        ((y, x), (d_y, d_x)),
    ]:
        again, gradients = nf.align_uniform(a, b)
        assert again == pytest.approx(loss, rel=1e-11)
        assert all(relative_error(got, expected) < 1e-10 for got, expected in zip(gradients, wanted, strict=True))


def test_other_packages():
    """The authors' README: align + lam * (uniform + uniform) / 2; lightly's HypersphereLoss has t = 1."""
    x, y = inputs(30, 5)
    a, b = loss_twins.normalized(x), loss_twins.normalized(y)
    upper = np.triu_indices(30, 1)

    def uniform(z, t):
        return np.log(np.exp(-t * np.square(z[:, None] - z).sum(axis=2)[upper]).mean())

    align = np.square(a - b).sum(axis=1).mean()
    assert nf.align_uniform(x, y, weights=(1, 0.7))[0] == pytest.approx(
        align + 0.7 * (uniform(a, 2) + uniform(b, 2)) / 2, rel=1e-12
    )
    assert nf.align_uniform(x, y, t=1, weights=(1, 1))[0] == pytest.approx(
        align + (uniform(a, 1) + uniform(b, 1)) / 2, rel=1e-12
    )


def test_allocation_failures():
    x, y = inputs(30, 6, dtype=np.float32)
    check_allocation_failures(lambda: nf.align_uniform(x, y), 7)
    check_allocation_failures(lambda: nf.align_uniform(x, y, t=500), 9)


def test_input_of_any_kind():
    x, y = inputs(20, 6)
    copies = x.copy(), y.copy()
    wanted, d_wanted = nf.align_uniform(x, y)
    for a, b in [(np.asfortranarray(x), y.tolist()), (np.repeat(x, 2, axis=1)[:, ::2], y)]:
        loss, gradients = nf.align_uniform(a, b)
        assert loss == wanted
        assert all(np.array_equal(g, w) for g, w in zip(gradients, d_wanted, strict=True))
    assert np.array_equal(x, copies[0])
    assert np.array_equal(y, copies[1])
    assert nf.align_uniform(x.astype("f2"), y.astype("f4"))[1][0].dtype == np.float32
    assert nf.align_uniform(x, y.astype("f4"))[1][0].dtype == np.float64


GOOD = np.ones((4, 3))


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "message"),
    [
        ((GOOD, GOOD[:3]), {}, ValueError, r"x and y must have the same shape, got \(4, 3\) and \(3, 3\)"),
        ((GOOD[0], GOOD), {}, ValueError, "x must have 2 dimensions, got 1"),
        ((GOOD[:1], GOOD[:1]), {}, ValueError, r"at least 2 rows and one column, got shape \(1, 3\)"),
        ((GOOD[:, :0], GOOD[:, :0]), {}, ValueError, r"at least 2 rows and one column, got shape \(4, 0\)"),
        ((GOOD, GOOD * np.nan), {}, ValueError, "y must be finite"),
        ((GOOD, GOOD), {"alpha": 0.5}, ValueError, "alpha must be from 1 to 100, got 0.5"),
        ((GOOD, GOOD), {"t": 0}, ValueError, "t must be finite and > 0, got 0"),
        ((GOOD, GOOD), {"t": np.inf}, ValueError, "t must be finite and > 0, got inf"),
        ((GOOD, GOOD), {"weights": (1, -1)}, ValueError, "weights must be finite and >= 0, got 1 and -1"),
        ((GOOD, GOOD), {"weights": 1}, ValueError, "weights must be a pair"),
        ((GOOD.astype(complex), GOOD), {}, TypeError, "x"),
        ((GOOD * 1e200, GOOD), {"normalize": False}, ValueError, "below 1e300"),
        ((GOOD * 1e9, GOOD), {"normalize": False, "alpha": 100}, ValueError, "below 1e300"),
    ],
)
def test_bad_arguments(arguments, keywords, error, message):
    with pytest.raises(error, match=message):
        nf.align_uniform(*arguments, **keywords)
