"""InfoNCE and NT-Xent against their float64 twins, exact identities, hostile input and threads."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import nearfar as nf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nearfar import _core
from reference import losses as twin

TEMPERATURES = [0.001, 0.01, 0.07, 0.5, 1.0, 100.0]
KINDS = ["in_batch", "symmetric", "shared", "paired"]


def relative_error(got, wanted):
    wanted = np.asarray(wanted, dtype=np.float64)
    if wanted.size == 0:
        return 0.0 if np.size(got) == 0 else np.inf
    return np.abs(np.asarray(got, dtype=np.float64) - wanted).max() / max(np.abs(wanted).max(), 1e-30)


def float32_tolerance(least, temperature):
    """What rounding a cosine to float32 does to a score, cosine / temperature."""
    return max(least, 2.0**-23 / temperature)


def pairs(n, width, dtype=np.float64, seed=0, noise=1.0):
    rng = np.random.default_rng(seed)
    query = rng.normal(size=(n, width))
    return query.astype(dtype), (query + noise * rng.normal(size=(n, width))).astype(dtype)


def views_of(views, n, width, dtype=np.float64, seed=0, noise=1.0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, width)) + noise * rng.normal(size=(views, n, width))).astype(dtype)


def options(kind, n, width, k=9, dtype=np.float64, seed=1):
    rng = np.random.default_rng(seed)
    if kind == "shared":
        return {"negatives": rng.normal(size=(k, width)).astype(dtype)}
    if kind == "paired":
        return {"negatives": rng.normal(size=(n, k, width)).astype(dtype)}
    return {"symmetric": kind == "symmetric"}


def check(loss, gradients, wanted_loss, wanted_gradients, tolerance):
    assert type(loss) is float and loss == pytest.approx(wanted_loss, rel=tolerance, abs=tolerance)
    for got, wanted in zip(gradients[:-1], wanted_gradients[:-1], strict=True):
        assert relative_error(got, wanted) < tolerance
    # The derivative with respect to the temperature is a sum whose terms may cancel.
    assert gradients[-1] == pytest.approx(wanted_gradients[-1], rel=10 * tolerance, abs=1e-30)
    return loss, gradients


def check_info_nce(query, key, temperature, tolerance, **keywords):
    loss, gradients = nf.info_nce(query, key, temperature, temperature_gradient=True, **keywords)
    wanted = twin.info_nce(query, key, temperature, **keywords)
    wanted_gradients = twin.info_nce_gradients(query, key, temperature, **keywords)
    return check(loss, gradients, wanted, wanted_gradients, tolerance)


def check_nt_xent(z, temperature, tolerance, **keywords):
    loss, gradients = nf.nt_xent(z, temperature, temperature_gradient=True, **keywords)
    wanted = twin.nt_xent(z, temperature, **keywords)
    return check(loss, gradients, wanted, twin.nt_xent_gradients(z, temperature, **keywords), tolerance)


# ---- Against the twins ----


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(
    "n, width", [(2, 1), (3, 2), (7, 15), (15, 7), (16, 16), (17, 33), (31, 3), (33, 17), (65, 40)]
)
def test_info_nce_equals_its_twin(kind, normalize, n, width):
    query, key = pairs(n, width)
    if normalize and width == 1:  # rows are +-1: nothing to change
        assert all(np.abs(g).max() < 1e-14 for g in nf.info_nce(query, key, **options(kind, n, width))[1])
    else:
        check_info_nce(query, key, 0.3, 1e-11, normalize=normalize, **options(kind, n, width))


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("views", [2, 3, 5])
@pytest.mark.parametrize(
    "n, width", [(2, 1), (3, 2), (7, 15), (15, 7), (16, 16), (17, 33), (31, 3), (33, 17), (65, 40)]
)
def test_nt_xent_equals_its_twin(views, normalize, n, width):
    if normalize and width == 1:
        assert np.abs(nf.nt_xent(views_of(views, n, width))[1]).max() < 1e-14
    else:
        check_nt_xent(views_of(views, n, width), 0.3, 1e-10, normalize=normalize)


@pytest.mark.parametrize("n, k", [(1, 1), (1, 700), (700, 1), (129, 65), (520, 2100), (2100, 40), (600, 0)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_blocks_of_any_shape(n, k, dtype):
    query, key = pairs(n, 20, dtype)
    tolerance = 1e-5 if dtype == np.float32 else 1e-11
    check_info_nce(query, key, 0.1, tolerance, **options("shared", n, 20, k, dtype))


@pytest.mark.parametrize("n", [64, 127, 257, 384, 513, 1100])
def test_several_blocks_of_a_batch(n):
    query, key = pairs(n, 24, np.float32)
    check_info_nce(query, key, 0.2, 1e-5)
    check_info_nce(query, key, 0.2, 1e-5, symmetric=True)
    check_nt_xent(np.stack([query, key]), 0.2, 1e-5)


def test_wide_rows():
    check_nt_xent(views_of(2, 40, 3001), 0.5, 1e-11)
    query, key = pairs(20, 40_001)
    check_info_nce(query, key, 0.5, 1e-11, symmetric=True)
    check_info_nce(query, key, 0.5, 1e-11, **options("paired", 20, 40_001, 3))


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("kind", KINDS)
def test_info_nce_in_float32_is_near_float64(kind, temperature):
    query, key = pairs(300, 64, np.float32)
    tolerance = float32_tolerance(1e-5, temperature)
    _, gradients = check_info_nce(query, key, temperature, tolerance, **options(kind, 300, 64, 50, np.float32))
    assert all(g.dtype == np.float32 for g in gradients[:-1])
    check_info_nce(*pairs(300, 64), temperature, 1e-9, **options(kind, 300, 64, 50))


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_nt_xent_in_float32_is_near_float64(temperature):
    for views in 2, 4:
        tolerance = float32_tolerance(1e-5, temperature)
        _, (d_z, _) = check_nt_xent(views_of(views, 150, 64, np.float32), temperature, tolerance)
        assert d_z.dtype == np.float32
        check_nt_xent(views_of(views, 150, 64), temperature, 1e-9)


@pytest.mark.parametrize("dtype, least", [(np.float32, 1e-5), (np.float64, 1e-10)])
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_weights(temperature, dtype, least):
    """At all temperatures: by float, by double, and where scores spread too far for one bound."""
    tolerance = float32_tolerance(least, temperature) if dtype == np.float32 else least
    for n in 17, 130, 520:
        weights = np.random.default_rng(n).normal(size=(3, n))
        check_nt_xent(views_of(3, n, 20, dtype), temperature, tolerance, weights=weights)
        for kind in KINDS:
            more = options(kind, n, 20, dtype=dtype)
            check_info_nce(*pairs(n, 20, dtype), temperature, tolerance, weights=weights[0], **more)
    query, key = pairs(40, 6, dtype)
    spread = query * 10.0 ** np.linspace(-3, 3, 40)[:, None].astype(dtype)
    for symmetric in True, False:
        check_info_nce(
            spread, key, temperature, 10 * least, symmetric=symmetric, normalize=False, weights=weights[0, :40]
        )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("temperature", [0.07, 0.5, 2.0])
def test_info_nce_gradients_by_central_differences(kind, normalize, temperature):
    n, width = 6, 5
    query, key = pairs(n, width)
    extra = options(kind, n, width, 4)
    _, gradients = nf.info_nce(query, key, temperature, normalize=normalize, temperature_gradient=True, **extra)

    def value(query=query, key=key, temperature=temperature, **changed):
        return twin.info_nce(query, key, temperature, normalize=normalize, **{**extra, **changed})

    steps = {"query": query, "key": key, "negatives": extra.get("negatives"), "temperature": temperature}
    names = [name for name in steps if steps[name] is not None]
    for name, gradient in zip(names, gradients, strict=True):
        differences = twin.central_differences(lambda x, name=name: value(**{name: x}), steps[name])
        assert relative_error(gradient, differences) < 1e-6


@pytest.mark.parametrize("views", [2, 3])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("temperature", [0.07, 0.5, 2.0])
def test_nt_xent_gradients_by_central_differences(views, normalize, temperature):
    z = views_of(views, 5, 4)
    _, (d_z, d_temperature) = nf.nt_xent(z, temperature, normalize=normalize, temperature_gradient=True)
    differences = twin.central_differences(lambda z: twin.nt_xent(z, temperature, normalize=normalize), z)
    assert relative_error(d_z, differences) < 1e-6
    differences = twin.central_differences(lambda t: twin.nt_xent(z, t, normalize=normalize), temperature)
    assert relative_error(d_temperature, differences) < 1e-6


# ---- Identities ----


@pytest.mark.parametrize("kind", ["shared", "paired"])
def test_equal_scores_give_log_of_all_terms(kind):
    ones = np.ones((5, 3))
    negatives = np.ones((7, 3)) if kind == "shared" else np.ones((5, 7, 3))
    for temperature in TEMPERATURES:
        loss, gradients = nf.info_nce(ones, ones, temperature, negatives=negatives)
        assert loss == pytest.approx(np.log(8), rel=1e-12)
        assert all(np.abs(g).max() < 1e-10 / temperature for g in gradients)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 100, 700])
def test_collapsed_embeddings(n, dtype):
    z = np.full((2, n, 8), 0.3, dtype)
    for temperature in TEMPERATURES:
        tolerance = float32_tolerance(2e-6, temperature) if dtype == np.float32 else 1e-12
        assert nf.nt_xent(z, temperature)[0] == pytest.approx(np.log(2 * n - 1), rel=tolerance)
        assert nf.info_nce(z[0], z[1], temperature)[0] == pytest.approx(np.log(n), rel=tolerance)
        assert nf.info_nce(z[0], z[1], temperature, symmetric=True)[0] == pytest.approx(np.log(n), rel=tolerance)


def test_one_negative_is_the_logistic_loss():
    query, key = twin.normalized(np.random.default_rng(0).normal(size=(2, 6, 4)))
    negative = twin.normalized(np.random.default_rng(1).normal(size=(1, 4)))
    difference = (query @ negative[0] - (query * key).sum(axis=1)) / 0.2
    loss, _ = nf.info_nce(query, key, 0.2, negatives=negative)
    assert loss == pytest.approx(np.logaddexp(0, difference).mean(), rel=1e-12)


def test_simplex_minimum():
    n, temperature = 5, 0.5
    z = np.eye(n) - 1 / n
    loss, (d_query, d_key) = nf.info_nce(z, z, temperature)
    assert loss == pytest.approx(np.log(1 + (n - 1) * np.exp(-n / ((n - 1) * temperature))), rel=1e-12)
    assert loss == pytest.approx(0.28393, abs=5e-6)
    assert np.abs(d_query).max() < 1e-14 and np.abs(d_key).max() < 1e-14


def test_scale_of_rows_against_temperature():
    query, key = pairs(30, 8)
    loss, (d_query, _) = nf.info_nce(query, key, 0.7, normalize=False)
    scaled, (d_scaled, _) = nf.info_nce(4 * query, key, 2.8, normalize=False)
    assert scaled == pytest.approx(loss, rel=1e-12) and np.allclose(4 * d_scaled, d_query, rtol=1e-11, atol=1e-15)
    for kind in KINDS:  # the length of normalised rows does not matter
        extra = options(kind, 30, 8)
        a, _ = nf.info_nce(query, key, 0.7, **extra)
        assert nf.info_nce(4 * query, key / 8, 0.7, **extra)[0] == a


def test_gradients_are_orthogonal_to_normalised_rows():
    z = views_of(3, 20, 12)
    _, d_z = nf.nt_xent(z, 0.1)
    assert np.abs((z * d_z).sum(axis=-1)).max() < 1e-14
    query, key = pairs(20, 12)
    negatives = options("paired", 20, 12)["negatives"]
    _, gradients = nf.info_nce(query, key, 0.1, negatives=negatives)
    for x, d_x in zip((query, key, negatives), gradients, strict=True):
        assert np.abs((x * d_x).sum(axis=-1)).max() < 1e-14


def test_shared_negatives_are_paired_negatives_that_repeat():
    query, key = pairs(40, 9)
    shared = options("shared", 40, 9)["negatives"]
    a, (d_query, d_key, d_shared) = nf.info_nce(query, key, 0.2, negatives=shared)
    b, (e_query, e_key, e_paired) = nf.info_nce(query, key, 0.2, negatives=np.broadcast_to(shared, (40, *shared.shape)))
    assert a == pytest.approx(b, rel=1e-12)
    assert relative_error(d_query, e_query) < 1e-11 and relative_error(d_key, e_key) < 1e-11
    assert relative_error(d_shared, e_paired.sum(axis=0)) < 1e-11


def test_symmetric_is_the_mean_of_both_directions():
    query, key = pairs(70, 9)
    loss, (d_query, d_key) = nf.info_nce(query, key, symmetric=True)
    forth, (a, b) = nf.info_nce(query, key)
    back, (c, d) = nf.info_nce(key, query)
    assert loss == pytest.approx((forth + back) / 2, rel=1e-12)
    assert relative_error(d_query, (a + d) / 2) < 1e-11 and relative_error(d_key, (b + c) / 2) < 1e-11


def test_more_views_are_the_mean_over_positives():
    z = views_of(3, 4, 6)
    u = twin.normalized(z).reshape(12, 6)
    terms = []
    for i in range(12):
        scores = np.delete(u @ u[i] / 0.4, i)
        for p in range(12):
            if p != i and p % 4 == i % 4:
                terms.append(np.log(np.exp(scores).sum()) - u[p] @ u[i] / 0.4)
    assert nf.nt_xent(z, 0.4)[0] == pytest.approx(np.mean(terms), rel=1e-12)


# ---- Hard cases ----


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_antipodal_and_identical_rows(temperature, dtype):
    tolerance = 1e-5 if dtype == np.float32 else 1e-9
    rng = np.random.default_rng(0)
    a = rng.normal(size=(40, 16)).astype(dtype)
    b = (a + rng.normal(size=(40, 16))).astype(dtype)
    # Opposite positives: nearly all of the gradient lies along the row and is projected away.
    check_nt_xent(np.stack([a, -a]), temperature, 100 * tolerance)
    check_info_nce(a, -a, temperature, 100 * tolerance, symmetric=True)
    check_info_nce(a, b, temperature, tolerance, negatives=np.concatenate([-a, -b, b]))
    one = np.repeat(a[:1], 40, axis=0)
    loss, d_z = nf.nt_xent(np.stack([one, -one]), temperature)  # anchors meet 39 equal rows, the positive is opposite
    assert loss == pytest.approx(twin.nt_xent(np.stack([one, -one]), temperature), rel=tolerance)
    assert np.isfinite(d_z).all()


@pytest.mark.parametrize("scale, tolerance", [(1.0, 1e-10), (30.0, 1e-10), (1e4, 1e-9), (1e8, 1e-5), (1e100, 1e-5)])
def test_large_scores(scale, tolerance):
    query, key = pairs(70, 6)
    query *= scale
    for kind in KINDS:
        check_info_nce(query, key, 0.5, tolerance, normalize=False, **options(kind, 70, 6))
    z = views_of(2, 30, 6) * np.sqrt(scale)
    check_nt_xent(z, 0.5, tolerance, normalize=False)


def test_scores_that_spread_too_far_for_one_bound():
    rng = np.random.default_rng(3)
    z = rng.normal(size=(2, 30, 8))
    z[:, :3] *= 1e3  # one group of rows sets the bound, all others are far below it
    check_nt_xent(z, 1.0, 1e-8, normalize=False)
    check_info_nce(z[0], z[1], 1.0, 1e-8, normalize=False, symmetric=True)
    check_info_nce(z[0], z[1], 1.0, 1e-8, normalize=False, negatives=z[0, ::-1])
    # A bound that float may take, on rows of which one is opposite to all others
    ones = np.ones((2, 30, 4), np.float32) + 0.01 * rng.normal(size=(2, 30, 4)).astype(np.float32)
    ones[0, 7] *= -1
    check_nt_xent(ones, 0.0079, 1e-5)
    check_info_nce(ones[0], ones[1], 0.0079, 1e-5, symmetric=True)


@pytest.mark.parametrize(
    "views, dtype, tolerance", [(2, np.float32, 1e-5), (2, np.float64, 1e-11), (3, np.float64, 1e-9)]
)
def test_gradients_near_convergence(views, dtype, tolerance):
    rng = np.random.default_rng(0)
    z = np.eye(24, 24) + 1e-3 * rng.normal(size=(views, 24, 24))
    for temperature in (0.3, 0.1, 0.05):
        _, d_z = nf.nt_xent(z.astype(dtype), temperature)
        wanted, _ = twin.nt_xent_gradients(z.astype(dtype), temperature)
        assert relative_error(d_z, wanted) < tolerance
        _, gradients = nf.info_nce(z[0].astype(dtype), z[1].astype(dtype), temperature, symmetric=True)
        wanted = twin.info_nce_gradients(z[0].astype(dtype), z[1].astype(dtype), temperature, symmetric=True)
        assert relative_error(gradients[0], wanted[0]) < tolerance


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_zeros(dtype):
    query, key = pairs(20, 6, dtype)
    query[3] = key[3] = key[5] = 0
    for kind in KINDS:
        extra = options(kind, 20, 6, dtype=dtype)
        if "negatives" in extra:
            extra["negatives"][..., 1, :] = 0
        _, gradients = check_info_nce(query, key, 0.2, 1e-5, **extra)
        assert not gradients[0][3].any() and not gradients[1][[3, 5]].any()
        if "negatives" in extra:
            assert not gradients[2][..., 1, :].any()
    loss, d_z = nf.nt_xent(np.zeros((2, 5, 4), dtype))
    assert loss == pytest.approx(np.log(9)) and not d_z.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_any_length(dtype):
    z = views_of(2, 12, 5, dtype)
    plain, d_plain = nf.nt_xent(z, 0.2)
    sizes = [1e-20, 1e20, 1e-30, 1e30] if dtype == np.float32 else [1e-20, 1e20, 1e-300, 1e300]
    for size in sizes:
        scaled = z.copy()
        scaled[0, 4] *= dtype(size)
        loss, d_scaled = nf.nt_xent(scaled, 0.2)
        assert loss == pytest.approx(plain, rel=1e-6)
        others = np.ones((2, 12), bool)
        others[0, 4] = False
        assert np.allclose(d_scaled[others], d_plain[others], rtol=1e-4, atol=1e-7)
        with np.errstate(over="ignore", under="ignore"):
            assert np.allclose(d_scaled[0, 4] * dtype(size), d_plain[0, 4], rtol=1e-4, atol=1e-6)
    tiny = np.full((2, 4, 3), 1e-310)  # no normal number: as good as zero
    assert np.isfinite(nf.nt_xent(tiny)[1]).all()


def test_no_negatives():
    loss, (d_z, d_temperature) = nf.nt_xent(views_of(2, 1, 7), temperature_gradient=True)
    assert loss == 0 and not d_z.any() and d_temperature == 0
    check_nt_xent(views_of(3, 1, 7), 0.2, 1e-11)
    for extra in ({}, {"symmetric": True}, {"negatives": np.ones((0, 7))}, {"negatives": np.ones((1, 0, 7))}):
        for temperature in TEMPERATURES:
            query, key = pairs(1, 7, np.float32)
            loss, gradients = nf.info_nce(query, -key, temperature, **extra)
            assert loss == 0 and all(not g.any() for g in gradients)


def test_huge_temperatures_and_tiny_ones():
    query, key = pairs(9, 4)
    for dtype in np.float32, np.float64:
        for temperature in (1e-290, 1e-200, 1e-31, 1e-12, 1e31, 1e200):
            loss, gradients = nf.info_nce(query.astype(dtype), key.astype(dtype), temperature, symmetric=True)
            assert np.isfinite(loss) and not any(np.isnan(g).any() for g in gradients)
            if temperature > 1:
                assert loss == pytest.approx(np.log(9))


# ---- Properties ----

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 20), st.integers(0, 2**31))


@settings(max_examples=40, deadline=None)
@given(SIZES, st.sampled_from(KINDS), st.sampled_from(TEMPERATURES))
def test_permuting_samples_permutes_gradients(sizes, kind, temperature):
    n, width, seed = sizes
    query, key = pairs(n, width, seed=seed)
    order = np.random.default_rng(seed).permutation(n)
    extra = options(kind, n, width, seed=seed)
    permuted = dict(extra)
    if kind == "paired":
        permuted["negatives"] = extra["negatives"][order]
    loss, gradients = nf.info_nce(query, key, temperature, **extra)
    again, others = nf.info_nce(query[order], key[order], temperature, **permuted)
    assert again == pytest.approx(loss, rel=1e-9, abs=1e-9)
    scale = max(np.abs(g).max() for g in gradients) + 1e-4 / temperature
    assert np.allclose(others[0], gradients[0][order], rtol=0, atol=1e-9 * scale)
    assert np.allclose(others[1], gradients[1][order], rtol=0, atol=1e-9 * scale)


@settings(max_examples=40, deadline=None)
@given(SIZES, st.integers(2, 4), st.sampled_from([0.07, 0.5, 1.0, 100.0]))
def test_rotating_embeddings_rotates_gradients(sizes, views, temperature):
    n, width, seed = sizes
    z = views_of(views, n, width, seed=seed)
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))[0]
    loss, d_z = nf.nt_xent(z, temperature)
    again, d_rotated = nf.nt_xent(z @ rotation, temperature)
    assert again == pytest.approx(loss, rel=1e-9, abs=1e-12)
    assert np.allclose(d_rotated, d_z @ rotation, rtol=0, atol=1e-9 * max(np.abs(d_z).max(), 1e-3))


@settings(max_examples=40, deadline=None)
@given(SIZES, st.sampled_from(TEMPERATURES))
def test_a_duplicated_negative_counts_twice(sizes, temperature):
    n, width, seed = sizes
    query, key = pairs(n, width, seed=seed)
    negatives = options("shared", n, width, 3, seed=seed)["negatives"]
    doubled = np.concatenate([negatives, negatives[:1]])
    loss, (_, _, d_negatives) = nf.info_nce(query, key, temperature, negatives=doubled)
    assert loss == pytest.approx(twin.info_nce(query, key, temperature, negatives=doubled), rel=1e-9, abs=1e-9)
    assert loss >= nf.info_nce(query, key, temperature, negatives=negatives)[0] - 1e-12
    assert np.array_equal(d_negatives[0], d_negatives[3])


@settings(max_examples=40, deadline=None)
@given(SIZES, st.sampled_from(TEMPERATURES), st.booleans())
def test_bounds_of_the_loss(sizes, temperature, symmetric):
    n, width, seed = sizes
    query, key = pairs(n, width, np.float32, seed=seed)
    loss, gradients = nf.info_nce(query, key, temperature, symmetric=symmetric)
    assert -1e-12 <= loss <= np.log(n) + 2.001 / temperature
    assert all(np.isfinite(g).all() for g in gradients)


# ---- Input ----


def test_inputs_are_left_alone_and_may_have_any_layout():
    query, key = pairs(34, 10)
    big = np.empty((68, 20))
    big[::2, ::2] = query
    fortran = np.asfortranarray(key)
    swapped = key.astype(">f8")
    wanted = nf.info_nce(query, key)
    copies = query.copy(), key.copy()
    for a, b in [(big[::2, ::2], fortran), (query[::-1][::-1], swapped), (query.tolist(), key.tolist())]:
        loss, gradients = nf.info_nce(a, b)
        assert loss == wanted[0]
        assert all(np.array_equal(g, w) for g, w in zip(gradients, wanted[1], strict=True))
    assert np.array_equal(query, copies[0]) and np.array_equal(key, copies[1])
    query.flags.writeable = False
    assert nf.info_nce(query, key)[0] == wanted[0]
    z = np.stack([query, key], axis=-1).transpose(2, 0, 1)
    assert nf.nt_xent(z)[0] == nf.nt_xent(np.ascontiguousarray(z))[0]


def test_types():
    query, key = pairs(8, 4, np.float32)
    negatives = options("shared", 8, 4)["negatives"]

    def types(*arrays, **keywords):
        return {g.dtype for g in nf.info_nce(*arrays, **keywords)[1]}

    assert types(query, key) == {np.dtype("f4")}
    assert types(query.astype("f2"), key) == {np.dtype("f4")}
    assert types(query.astype("f8"), key) == {np.dtype("f8")}
    assert types(query, key, negatives=negatives) == {np.dtype("f8")}
    assert types(query, key, negatives=negatives.astype("f2")) == {np.dtype("f4")}
    integers = np.arange(32).reshape(8, 4)
    assert types(integers, integers) == {np.dtype("f8")}
    assert nf.info_nce(integers, integers)[0] == nf.info_nce(integers.astype("f8"), integers.astype("f8"))[0]
    assert nf.nt_xent(np.stack([integers] * 2))[1].dtype == np.float64
    half = query.astype("f2")
    assert nf.info_nce(half, half)[0] == nf.info_nce(half.astype("f4"), half.astype("f4"))[0]
    gradient = nf.info_nce(query, key)[1][0]
    assert gradient.flags.writeable and gradient.flags.c_contiguous and gradient.flags.aligned


GOOD = np.random.default_rng(0).normal(size=(4, 3))


@pytest.mark.parametrize(
    "arguments, keywords, error, message",
    [
        ((GOOD, GOOD[:3]), {}, ValueError, r"same shape, got \(4, 3\) and \(3, 3\)"),
        ((GOOD, GOOD[:, :2]), {}, ValueError, r"same shape, got \(4, 3\) and \(4, 2\)"),
        ((GOOD[0], GOOD), {}, ValueError, "query must have 2 dimensions, got 1"),
        ((GOOD, GOOD[None]), {}, ValueError, "key must have 2 dimensions, got 3"),
        ((GOOD[:0], GOOD[:0]), {}, ValueError, r"at least one row and one column, got shape \(0, 3\)"),
        ((GOOD[:, :0], GOOD[:, :0]), {}, ValueError, r"at least one row and one column, got shape \(4, 0\)"),
        ((GOOD, GOOD), {"negatives": GOOD[:, :2]}, ValueError, r"negatives must be \(K, D\).*\(4, 2\).*\(4, 3\)"),
        ((GOOD, GOOD), {"negatives": GOOD[None]}, ValueError, r"negatives must be \(N, K, D\).*\(1, 4, 3\).*\(4, 3\)"),
        ((GOOD, GOOD), {"negatives": GOOD[0]}, ValueError, "negatives must have 2 to 3 dimensions, got 1"),
        ((GOOD, GOOD), {"negatives": GOOD, "symmetric": True}, ValueError, "symmetric.*negatives"),
        ((GOOD, GOOD, 0.0), {}, ValueError, "temperature must be finite and > 0, got 0"),
        ((GOOD, GOOD, -1.0), {}, ValueError, "temperature must be finite and > 0, got -1"),
        ((GOOD, GOOD, np.nan), {}, ValueError, "temperature must be finite and > 0, got nan"),
        ((GOOD, GOOD, np.inf), {}, ValueError, "temperature must be finite and > 0, got inf"),
        ((GOOD, GOOD, 1e-310), {}, ValueError, "1e300"),
        ((GOOD, GOOD, "warm"), {}, TypeError, "real number"),
        ((GOOD, GOOD, None), {}, TypeError, "real number"),
        ((None, GOOD), {}, (TypeError, ValueError), "query"),
        ((GOOD.astype(complex), GOOD), {}, TypeError, "query"),
        ((GOOD, GOOD.astype(str)), {}, TypeError, "key"),
        ((GOOD, GOOD), {"negatives": GOOD.astype(object)}, TypeError, "negatives"),
    ],
)
def test_bad_arguments_of_info_nce(arguments, keywords, error, message):
    with pytest.raises(error, match=message):
        nf.info_nce(*arguments, **keywords)


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ((GOOD,), ValueError, "z must have 3 dimensions, got 2"),
        ((GOOD[None],), ValueError, "z must have at least 2 views, got 1"),
        ((GOOD[None][:0],), ValueError, "z must have at least 2 views, got 0"),
        ((np.ones((2, 0, 3)),), ValueError, "at least one sample and one dimension, got 0 of 3"),
        ((np.ones((2, 3, 0)),), ValueError, "at least one sample and one dimension, got 3 of 0"),
        ((np.ones((2, 3, 4)), 0), ValueError, "temperature must be finite and > 0, got 0"),
        ((np.ones((2, 3, 4)), -np.inf), ValueError, "temperature must be finite and > 0, got -inf"),
        ((np.ones((2, 3, 4), complex),), TypeError, "z"),
        ((np.full((2, 3, 4), "a"),), TypeError, "z"),
    ],
)
def test_bad_arguments_of_nt_xent(arguments, error, message):
    with pytest.raises(error, match=message):
        nf.nt_xent(*arguments)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("normalize", [True, False])
def test_numbers_that_are_not_finite(bad, dtype, normalize):
    for name in "query", "key", "negatives":
        for kind in KINDS:
            query, key = pairs(5, 19, dtype)
            extra = options(kind, 5, 19, dtype=dtype)
            arrays = {"query": query, "key": key, **extra}
            if name not in arrays:
                continue
            arrays[name].reshape(-1, 19)[3, 18] = bad
            with pytest.raises(ValueError, match=f"{name} must be finite, got NaN or infinity in row 3"):
                nf.info_nce(normalize=normalize, **arrays)
    z = views_of(2, 4, 9, dtype)
    z[1, 2, 0] = bad
    with pytest.raises(ValueError, match="z must be finite, got NaN or infinity in row 6"):
        nf.nt_xent(z, normalize=normalize)


def test_scores_that_overflow():
    huge = np.full((3, 4), 1e200)
    for extra in ({}, {"negatives": huge}, {"negatives": np.stack([huge] * 3)}):
        with pytest.raises(ValueError, match="must stay below 1e300"):
            nf.info_nce(huge, huge, normalize=False, **extra)
    with pytest.raises(ValueError, match="must stay below 1e300"):
        nf.nt_xent(np.stack([huge, huge]), normalize=False)
    loss, d_z = nf.nt_xent(np.full((2, 3, 4), 3e38, np.float32), normalize=False)  # float32's own range is enough
    assert 0 <= loss <= np.log(5) and not np.isnan(d_z).any()


# ---- Threads, memory, instruction sets ----


def all_losses(n=300, width=20, dtype=np.float32):
    query, key = pairs(n, width, dtype)
    results = [nf.nt_xent(np.stack([query, key]), 0.1, temperature_gradient=True)]
    for kind in KINDS:
        extra = options(kind, n, width, 77, dtype)
        results.append(nf.info_nce(query, key, 0.1, temperature_gradient=True, **extra))
    return [part for loss, gradients in results for part in (loss, *gradients)]


def same_bits(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.fixture
def threads():
    before = nf.get_num_threads()
    yield nf.set_num_threads
    nf.set_num_threads(before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_number_of_threads_gives_the_same_bits(threads, dtype):
    threads(1)
    wanted = all_losses(1100, 20, dtype)
    for count in 2, 3, 7:
        threads(count)
        assert same_bits(all_losses(1100, 20, dtype), wanted)


def test_calls_from_several_python_threads():
    wanted = all_losses()
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(lambda _: all_losses(), range(16)):
            assert same_bits(result, wanted)


def calls():
    query, key = pairs(70, 6, np.float32)
    yield lambda: nf.nt_xent(np.stack([query, key]), 0.1)
    yield lambda: nf.nt_xent(np.stack([query, key]), 0.001)
    far = query.astype(np.float64)
    far[0] *= 1e5
    yield lambda: nf.info_nce(far, far[::-1], symmetric=True, normalize=False)
    for kind in KINDS:
        yield lambda kind=kind: nf.info_nce(query, key, 0.1, **options(kind, 70, 6, dtype=np.float32))
        yield lambda kind=kind: nf.info_nce(query, key, 0.001, **options(kind, 70, 6, dtype=np.float32))


def test_allocation_failures():
    for call in calls():
        wanted = call()
        failures = 0
        while True:
            _core._alloc_fail_at(failures + 1)
            try:
                call()
            except MemoryError:
                failures += 1
                _core._alloc_fail_at(0)
                again = call()
                assert again[0] == wanted[0]
            else:
                break
            finally:
                _core._alloc_fail_at(0)
        assert failures >= 5


def test_no_leak():
    import resource

    query, key = pairs(200, 64, np.float32)
    bad = key.copy()
    bad[0, 0] = np.nan

    def run(times):
        for _ in range(times):
            nf.info_nce(query, key, negatives=key)
            nf.nt_xent(np.stack([query, key]), 0.001)
            with pytest.raises(ValueError):
                nf.info_nce(query, bad)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    counts = sys.getrefcount(query), sys.getrefcount(key)
    before = run(100)
    assert run(300) - before < 8 * 1024
    assert (sys.getrefcount(query), sys.getrefcount(key)) == counts


@pytest.mark.parametrize("samples", [4096, 7700])  # tasks of 2 x 2 and of 4 x 4 tiles
def test_more_exponentials_than_are_kept(samples):
    """Against NumPy, at some of the anchors."""
    width = 8
    z = np.stack(pairs(samples, width, np.float32))
    loss, d_z = nf.nt_xent(z, 0.5)
    unit = z.reshape(-1, width).astype(np.float64)
    norms = np.linalg.norm(unit, axis=1, keepdims=True)
    unit /= norms
    n = len(unit)
    logs, positives = np.empty(n), np.roll(unit, samples, axis=0)
    for i in range(0, n, 1024):
        e = np.exp(unit[i : i + 1024] @ unit.T / 0.5)
        logs[i : i + 1024] = np.log(e.sum(1) - np.exp(2))
    assert loss == pytest.approx((logs - (unit * positives).sum(1) / 0.5).mean(), rel=1e-6)
    for i in (0, 1000, n // 2 + 1, n - 1):
        s = unit @ unit[i] / 0.5
        weights = np.exp(s - logs[i]) + np.exp(s - logs)
        weights[i] = 0
        d_unit = (weights @ unit - 2 * positives[i]) / (n * 0.5)
        wanted = (d_unit - unit[i] * (unit[i] @ d_unit)) / norms[i]
        assert relative_error(d_z.reshape(-1, width)[i], wanted) < 2e-5


def test_tasks_of_several_tiles(threads):
    """Against NumPy, at some of the rows, where rows and columns differ."""
    n, temperature = 7700, 0.5
    query, key = pairs(n, 4)
    threads(1)
    losses, (d_query, d_key) = nf.info_nce(query, key, temperature, normalize=False, reduction="none")
    for count in 2, 3:
        threads(count)
        again, gradients = nf.info_nce(query, key, temperature, normalize=False, reduction="none")
        assert same_bits([again, *gradients], [losses, d_query, d_key])
    logs = losses + (query * key).sum(1) / temperature
    for i in 0, 1000, 4321, n - 1:
        scores = key @ query[i] / temperature
        assert logs[i] == pytest.approx(scores.max() + np.log(np.exp(scores - scores.max()).sum()), rel=1e-12)
        wanted = (np.exp(scores - logs[i]) @ key - key[i]) / temperature
        assert relative_error(d_query[i], wanted) < 1e-9
        wanted = (np.exp(query @ key[i] / temperature - logs) @ query - query[i]) / temperature
        assert relative_error(d_key[i], wanted) < 1e-9


def test_memory_stays_far_below_a_matrix_of_scores():
    code = """if True:
        import resource, numpy as np, nearfar as nf
        z = np.random.default_rng(0).normal(size=(2, 6000, 8)).astype(np.float32)
        nf.nt_xent(z[:, :500])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        nf.nt_xent(z)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    grown = int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
    assert grown < 120 * 1024  # KiB, of which 96 * 1024 for exponentials; 12000 x 12000 floats would be 562,500


INSTRUCTION_SETS = ["scalar", "avx2", "avx512"]


def run_with_instruction_set(name, code):
    environment = {**os.environ, "NEARFAR_ISA": name}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


def test_every_instruction_set_gives_the_same_results():
    code = "import sys; sys.path.insert(0, {!r}); import test_losses; test_losses.check_this_instruction_set()"
    ran = []
    for name in INSTRUCTION_SETS:
        result = run_with_instruction_set(name, code.format(os.path.dirname(__file__)))
        if "instruction set that this machine has" in result.stderr:
            continue
        assert result.returncode == 0, result.stderr
        ran.append(result.stdout.strip())
    assert ran == INSTRUCTION_SETS[: len(ran)] and "scalar" in ran


def check_this_instruction_set():
    for n, width in [(1, 2), (3, 5), (17, 16), (33, 31), (150, 40)]:
        query, key = pairs(n, width, np.float32)
        for kind in KINDS:
            check_info_nce(query, key, 0.1, 1e-5, **options(kind, n, width, 19, np.float32))
            check_info_nce(*pairs(n, width), 0.001, 1e-9, **options(kind, n, width, 19))
        for views in 2, 3:
            check_nt_xent(views_of(views, n, width, np.float32), 0.1, 1e-5)
            check_nt_xent(views_of(views, n, width), 0.001, 1e-9)
    print(_core.config()["instruction_set"])


def test_interrupt():
    z = np.random.default_rng(0).normal(size=(2, 12_000, 64))
    times = []

    def interrupt():
        times.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(0.1, interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        while True:
            nf.nt_xent(z)
    assert time.monotonic() - times[0] < 0.5  # 0.1 on a machine of one's own
    assert nf.nt_xent(z[:, :2])[0] > 0
