"""The margin losses against their float64 twins, by central differences, at their kinks, and with hostile input."""

import os
import signal
import subprocess
import sys
import threading
import time

import nearfar as nf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nearfar import _core, losses
from reference import margin_losses as twin
from reference.loss_check import check_allocation_failures, check_any_number_of_threads

SIZES = [(1, 3), (2, 1), (3, 2), (7, 15), (15, 7), (16, 16), (17, 33), (31, 3), (33, 17), (49, 5)]
MINING = ["all", "hard", "semi_hard"]
BATCH_LOSSES = ["triplet", "contrastive", "lifted_structure"]
REDUCTIONS = ["mean", "sum", "none"]


def batch(n, width, classes, dtype=np.float64, seed=0, noise=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(-(classes // 2), classes - classes // 2, n)
    return (rng.normal(size=(classes, width))[labels] + noise * rng.normal(size=(n, width))).astype(dtype), labels


def several(count, n, width, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).normal(size=(count, n, width)).astype(dtype)


def total(loss):
    return float(np.sum(loss))


def check_values(name, arguments, tolerance=1e-11, **options):
    """Value and gradients of all reductions; what the reductions have to do with each other."""
    results = {form: getattr(losses, name)(*arguments, reduction=form, **options) for form in REDUCTIONS}
    for form, (loss, _) in results.items():
        wanted = getattr(twin, name)(*arguments, reduction=form, **options)
        scale = max(np.abs(wanted).max(), 1e-3)
        assert np.shape(loss) == np.shape(wanted)
        assert np.abs(loss - wanted).max() <= tolerance * scale, (form, options)
        assert type(loss) is float or form == "none"
    mean, each, whole = (as_list(results[form][1]) for form in ("mean", "none", "sum"))
    assert all(np.array_equal(a, b) for a, b in zip(each, whole, strict=True))
    if name != "contrastive":  # whose mean is not over all pairs alike
        for a, b in zip(mean, whole, strict=True):
            terms = results["sum"][0] / results["mean"][0] if results["mean"][0] else 1
            assert np.abs(a * terms - b).max() <= 10 * tolerance * max(np.abs(b).max(), 1e-3)
    return results["mean"]


def as_list(gradients):
    return list(gradients) if isinstance(gradients, tuple) else [gradients]


# ---- Against the twins ----


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("classes", [1, 2, 5, 40])
def test_batches_equal_their_twins(normalize, classes):
    for n, width in SIZES:
        arguments = batch(n, width, classes)
        check_values("contrastive", arguments, normalize=normalize)
        check_values("contrastive", arguments, pos_margin=0.4, neg_margin=0.7, normalize=normalize)
        for nonzero in False, True:
            check_values("lifted_structure", arguments, normalize=normalize, nonzero=nonzero, margin=0.3)


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("soft", [True, False])
def test_triplets_equal_their_twin(mining, squared, soft):
    for n, width in SIZES:
        for classes in 1, 2, 5, 40:
            for normalize, nonzero, margin in [(True, False, 0.2), (False, True, 1.0), (True, True, 0.0)]:
                options = {"mining": mining, "squared": squared, "soft": soft, "nonzero": nonzero}
                check_values("triplet", (*batch(n, width, classes), margin), normalize=normalize, **options)


@pytest.mark.parametrize("normalize", [True, False])
def test_given_pairs_and_triplets_equal_their_twins(normalize):
    for n, width in SIZES:
        a, p, m = several(3, n, width)
        same = np.arange(n) % 3 == 0
        check_values("pair", (a, p, same), normalize=normalize, margin=1.5)
        check_values("pair", (a, p, same), normalize=normalize, form="chopra", bound=3.0)
        for squared in True, False:
            for soft in True, False:
                for swap in True, False:
                    options = {"squared": squared, "soft": soft, "swap": swap, "normalize": normalize}
                    check_values("triplet_margin", (a, p, m, 0.5), **options)


def test_the_bound_of_chopra_is_that_of_unit_rows():
    a, b = several(2, 9, 5)
    same = np.arange(9) % 2
    loss = losses.pair(a, b, same, form="chopra")[0]
    assert loss == losses.pair(a, b, same, form="chopra", bound=2 * np.sqrt(5))[0]
    assert loss == pytest.approx(twin.pair(a, b, same, form="chopra"), rel=1e-12)


@pytest.mark.parametrize("n", [100, 251, 500])
@pytest.mark.parametrize("name, options", [(name, {}) for name in BATCH_LOSSES] + [("triplet", {"squared": False})])
def test_float32_is_near_float64(n, name, options):
    for classes in 3, n // 5:
        z, labels = batch(n, 24, classes, np.float32)
        function = getattr(losses, name)
        for mining in MINING if name == "triplet" else [None]:
            extra = {**options, "mining": mining} if mining else options
            loss, d_z = function(z, labels, **extra)
            wanted, d_wanted = function(z.astype(np.float64), labels, **extra)
            assert d_z.dtype == np.float32 and d_wanted.dtype == np.float64
            assert loss == pytest.approx(wanted, rel=1e-5)
            # Of some million triplets, one or two are so near to the hinge that rounding decides.
            assert np.abs(d_z - d_wanted).max() <= 1e-3 * np.abs(d_wanted).max()
        assert wanted == pytest.approx(getattr(twin, name)(z, labels, **extra), rel=1e-10)


def test_given_pairs_and_triplets_in_float32():
    a, p, m = several(3, 200, 33, np.float32)
    same = np.arange(200) % 2
    for function, arguments in [
        (losses.pair, (a, p, same)),
        (lambda *x: losses.pair(*x, form="chopra"), (a, p, same)),
        (losses.triplet_margin, (a, p, m)),
    ]:
        loss, gradients = function(*arguments)
        wanted, expected = function(*(x.astype(np.float64) if x is not same else x for x in arguments))
        assert loss == pytest.approx(wanted, rel=1e-6)
        for d_x, e_x in zip(gradients, expected, strict=True):
            assert d_x.dtype == np.float32 and np.abs(d_x - e_x).max() <= 1e-5 * np.abs(e_x).max()


# ---- Identities ----


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("normalize", [True, False])
def test_collapsed_embeddings(dtype, normalize):
    tolerance = {"rel": 1e-6 if dtype == np.float32 else 1e-12}
    z, labels = np.tile(np.linspace(-1, 2, 7).astype(dtype), (60, 1)), np.arange(60) % 4
    same = np.arange(60) % 3 == 0
    for mining in MINING:
        for squared in True, False:
            for soft, wanted in (False, 0.7), (True, np.log1p(np.exp(0.7))):
                options = {"mining": mining, "squared": squared, "soft": soft, "normalize": normalize}
                loss, d_z = nf.triplet(z, labels, 0.7, **options)
                assert loss == pytest.approx(wanted, **tolerance) and not d_z.any()
    loss, d_z = losses.contrastive(z, labels, neg_margin=0.7, normalize=normalize)
    assert loss == pytest.approx(0.7, **tolerance) and not d_z.any()
    assert losses.contrastive(z, labels * 0, normalize=normalize)[0] == 0
    loss, d_z = losses.lifted_structure(z, labels, 0.7, normalize=normalize)
    assert loss == pytest.approx((np.log(2 * 45) + 0.7) ** 2 / 2, **tolerance) and not d_z.any()
    values, gradients = losses.pair(z, z, same, margin=0.7, normalize=normalize, reduction="none")
    assert values == pytest.approx(np.where(same, 0, 0.49 / 2), **tolerance) and not np.any(gradients)
    values, gradients = losses.pair(z, z, same, form="chopra", bound=3, normalize=normalize, reduction="none")
    assert values == pytest.approx(np.where(same, 0, 6), **tolerance) and not np.any(gradients)
    for squared in True, False:
        for soft, wanted in (False, 0.7), (True, np.log1p(np.exp(0.7))):
            options = {"squared": squared, "soft": soft, "normalize": normalize}
            loss, gradients = losses.triplet_margin(z, z, z, 0.7, **options)
            assert loss == pytest.approx(wanted, **tolerance) and not np.any(gradients)


@pytest.mark.parametrize("name", BATCH_LOSSES)
def test_no_positive_or_no_negative(name):
    z = several(1, 9, 4)[0]
    for labels in np.arange(9), np.zeros(9, int), None:
        x, y = (z, labels) if labels is not None else (z[:1], [5])
        for form in REDUCTIONS:
            loss, d_z = getattr(losses, name)(x, y, reduction=form)
            if name == "contrastive" and len(x) > 1:
                assert np.isfinite(loss).all() and np.isfinite(d_z).all() and total(loss) > 0
            else:
                assert not np.any(loss) and not d_z.any() and d_z.shape == x.shape


def test_rows_without_a_positive_are_negatives_only():
    z, labels = several(1, 8, 5)[0], np.array([0, 0, 1, 2, 3, 4, 5, 6])
    values, _ = nf.triplet(z, labels, 9.0, reduction="none")
    assert (values[:2] > 0).all() and not values[2:].any()
    d = twin.distances(twin.normalized(z), True)
    wanted = [d[i, 1 - i] - d[i, 2:] + 9 for i in (0, 1)]
    assert nf.triplet(z, labels, 9.0)[0] == pytest.approx(np.mean(wanted), rel=1e-12)
    values, d_z = nf.triplet(z, [*labels[:-1], 0], 9.0, mining="hard", reduction="none")
    assert np.count_nonzero(values) == 3 and np.isfinite(d_z).all()


@pytest.mark.parametrize("function", [nf.triplet, losses.lifted_structure])
def test_anchors_are_counted(function):
    z, labels = several(1, 8, 5)[0], np.array([0, 0, 1, 2, 2, 2, 5, 6])
    loss, d_z, anchors = function(z, labels, 9.0, reduction="none", count_anchors=True)
    assert anchors == 5 == np.count_nonzero(loss) and type(anchors) is int and d_z.shape == z.shape
    assert function(z, np.arange(8), count_anchors=True)[2] == function(z, [3] * 8, count_anchors=True)[2] == 0


def test_semi_hard_rule_by_hand():
    """On a line: anchor 0, positives at 1 and 3; negatives at 2, 2.5 for the first, none beyond 3 for the second."""
    z = np.array([[0.0], [1], [3], [2], [2.5]])
    labels = [0, 0, 0, 1, 1]
    values, _ = nf.triplet(z, labels, 1.0, mining="semi_hard", squared=False, normalize=False, reduction="none")
    # Anchor 0: 1 - 2 + 1 and, falling back on the farthest, 3 - 2.5 + 1. Anchor 1: positives at 1, 2; negatives 1, 1.5.
    assert values[0] == 0 + 1.5
    assert values[1] == (1 - 1.5 + 1) + (2 - 1.5 + 1)


def test_tied_negatives_are_not_semi_hard():
    """D_an must be above D_ap: an equal one, an exact copy even, is not taken."""
    z = np.array([[0.0, 0], [1, 0], [0, 1], [3, 0]])
    labels = [0, 0, 1, 1]
    values, _ = nf.triplet(z, labels, 0.5, mining="semi_hard", normalize=False, reduction="none")
    assert values[0] == 0  # not 1 - 1 + 0.5, but 1 - 9 + 0.5
    copies = np.random.default_rng(0).normal(size=(1, 40)).repeat(4, axis=0)
    copies[0] = 0
    for dtype in np.float32, np.float64:
        z = copies.astype(dtype)
        values, _ = nf.triplet(z, labels, 0.5, mining="semi_hard", reduction="none")
        assert values[0] == pytest.approx(0.5, rel=1e-6)  # nothing is farther: falls back on the farthest


def test_pairs_are_triplets_taken_apart():
    """Hard triplets with a huge margin: the mean of D_ap - D_an + margin."""
    z, labels = batch(50, 6, 4)
    d = twin.distances(twin.normalized(z))
    same = labels[:, None] == labels
    hardest = np.where(same, d, -1).max(axis=1) - np.where(same, 9, d).min(axis=1)
    assert nf.triplet(z, labels, 100.0, mining="hard", squared=False)[0] == pytest.approx(100 + hardest.mean())


def test_tensorflow_conventions():
    """The semi-hard and the hard loss as masked minima and maxima over the cube of all triplets."""
    z, labels = batch(40, 5, 4)
    d, positive = twin.distances(z, True), (labels[:, None] == labels) & ~np.eye(40, dtype=bool)
    negative = labels[:, None] != labels
    farther = negative[:, None] & (d[:, None] > d[:, :, None])  # (a, p, n)
    outside = np.where(farther, d[:, None], np.inf).min(axis=2)
    inside = np.where(negative, d, -np.inf).max(axis=1, keepdims=True)
    excess = 1.0 + d - np.where(farther.any(axis=2), outside, inside)
    wanted = np.maximum(excess, 0)[positive].sum() / positive.sum()
    got = nf.triplet(z, labels, mining="semi_hard", margin=1.0, normalize=False)[0]
    assert got == pytest.approx(wanted, rel=1e-12)
    gap = np.where(positive, d, -np.inf).max(axis=1) - np.where(negative, d, np.inf).min(axis=1)
    got = nf.triplet(z, labels, mining="hard", margin=1.0, normalize=False)[0]
    assert got == pytest.approx(np.maximum(gap + 1.0, 0).mean(), rel=1e-12)
    got = nf.triplet(z, labels, mining="hard", margin=0, soft=True, normalize=False)[0]
    assert got == pytest.approx(np.log1p(np.exp(gap)).mean(), rel=1e-12)


def test_hadsell_is_half_of_what_leaves_the_half_out():
    a, b = several(2, 30, 5)
    same = np.arange(30) % 2 == 0
    d = np.linalg.norm(twin.normalized(a) - twin.normalized(b), axis=1)
    wanted = np.mean(np.where(same, d**2, np.maximum(1 - d, 0) ** 2))
    assert 2 * losses.pair(a, b, same)[0] == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("name", BATCH_LOSSES)
def test_permuting_rows_and_naming_classes(name):
    for classes in 2, 9, 60:
        z, labels = batch(150, 7, classes)
        order = np.random.default_rng(1).permutation(150)
        for mining in MINING if name == "triplet" else [None]:
            options = {"mining": mining} if mining else {}
            loss, d_z = getattr(losses, name)(z, labels, reduction="none", **options)
            again, d_permuted = getattr(losses, name)(
                z[order], 5 - 1_000_003 * labels[order], reduction="none", **options
            )
            assert np.allclose(again, loss[order], rtol=1e-11, atol=1e-12)
            assert np.abs(d_permuted - d_z[order]).max() <= 1e-11 * np.abs(d_z).max()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 6), st.integers(0, 2**31), st.sampled_from(MINING))
def test_moving_and_rotating_all_rows(n, width, classes, seed, mining):
    z, labels = batch(n, width, classes, seed=seed)
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))[0]
    moved = z @ rotation + 2.0
    for function, options in [
        (nf.triplet, {"mining": mining}),
        (nf.triplet, {"mining": mining, "squared": False}),
        (losses.contrastive, {}),
        (losses.lifted_structure, {}),
    ]:
        loss, d_z = function(z, labels, normalize=False, **options)
        again, d_moved = function(moved, labels, normalize=False, **options)
        assert again == pytest.approx(loss, rel=1e-9, abs=1e-9)
        assert np.allclose(d_moved, d_z @ rotation, rtol=0, atol=1e-7 * max(np.abs(d_z).max(), 1))
        assert np.abs(d_z.sum(axis=0)).max() < 1e-9 * max(np.abs(d_z).max(), 1) * n  # nothing pulls the whole


# ---- Hard cases ----


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_zeros_and_copies(dtype):
    z, labels = batch(40, 6, 4, dtype)
    z[[3, 8, 9]] = 0
    z[20:24] = z[19]
    for name in BATCH_LOSSES:
        for normalize in True, False:
            function = getattr(losses, name)
            if name == "contrastive":  # zeros and rows of length 1 have the distance 1, which is to be off the hinge
                choices = [{"neg_margin": 0.9}]
            else:
                choices = [{"squared": False}, {"squared": True}] if name == "triplet" else [{}]
            for options in choices:
                loss, d_z = function(z, labels, normalize=normalize, **options)
                wanted = getattr(twin, name)(z, labels, normalize=normalize, **options)
                assert loss == pytest.approx(wanted, rel=1e-5) and np.isfinite(d_z).all()
                assert not (normalize and d_z[[3, 8, 9]].any())
    for normalize in True, False:
        _, gradients = losses.pair(z, z[::-1], labels > 0, normalize=normalize)
        _, more = losses.triplet_margin(z, z, z[::-1], squared=False, normalize=normalize)
        assert all(np.isfinite(d_x).all() for d_x in (*gradients, *more))


def test_close_rows_in_float32_have_their_digits():
    """Distances of 1e-1 to 1e-7 of the rows' length, far below what float products can tell."""
    rng = np.random.default_rng(0)
    for closeness in 1e-1, 1e-2, 1e-3, 1e-5, 1e-6:
        centre = rng.normal(size=(3, 20))
        z = (centre.repeat(30, axis=0) + closeness * rng.normal(size=(90, 20))).astype(np.float32)
        labels = np.arange(90) // 30
        for function, options in [
            (nf.triplet, {"squared": False, "margin": 2.0}),
            (nf.triplet, {"squared": False, "margin": 2.0, "mining": "semi_hard"}),
            (losses.contrastive, {}),
            (losses.lifted_structure, {}),
            (losses.lifted_structure, {"weights": rng.uniform(0, 2, 90)}),
            (losses.contrastive, {"weights": rng.uniform(0, 2, 90)}),
            (nf.triplet, {"squared": False, "margin": 2.0, "weights": rng.uniform(0, 2, 90)}),
        ]:
            loss, d_z = function(z, labels, normalize=False, **options)
            wanted, d_wanted = function(z.astype(np.float64), labels, normalize=False, **options)
            assert loss == pytest.approx(wanted, rel=1e-5)
            assert np.abs(d_z - d_wanted).max() <= 1e-4 * np.abs(d_wanted).max()


@pytest.mark.parametrize("length", [1e-25, 1e-12, 1e17, 1e30])
def test_lengths_beyond_squares_of_float32(length):
    z, labels = batch(30, 5, 3)
    z = (z * length).astype(np.float32)
    for name in BATCH_LOSSES:
        normal, d_normal = getattr(losses, name)(z / np.float32(length), labels)
        loss, d_z = getattr(losses, name)(z, labels)
        assert loss == pytest.approx(normal, rel=1e-5)
        assert np.allclose(d_z.astype(np.float64) * length, d_normal, rtol=1e-3, atol=1e-4 * np.abs(d_normal).max())
        loss, d_z = getattr(losses, name)(z, labels, normalize=False)
        wanted, d_wanted = getattr(losses, name)(z.astype(np.float64), labels, normalize=False)
        assert loss == pytest.approx(wanted, rel=1e-6) and np.allclose(d_z, d_wanted, rtol=1e-5)
    a, b = several(2, 20, 4)
    loss, gradients = losses.pair(a * length, b * length, np.arange(20) % 2)
    assert loss == pytest.approx(losses.pair(a, b, np.arange(20) % 2)[0]) and np.isfinite(gradients).all()


def test_large_soft_margins():
    z, labels = batch(20, 4, 3)
    for scale in 1.0, 30.0, 1e3:
        for mining in MINING:
            options = {"normalize": False, "soft": True, "mining": mining}
            loss, d_z = nf.triplet(scale * z, labels, 5.0, **options)
            assert loss == pytest.approx(twin.triplet(scale * z, labels, 5.0, **options), rel=1e-11)
            assert np.isfinite(d_z).all()


def test_more_rows_than_a_group_has():
    """Groups of rows that do not fit their 16 MB at once."""
    z, labels = batch(2100, 3, 60, np.float64)
    d = twin.distances(twin.normalized(z))
    same = labels[:, None] == labels
    values, d_z = nf.triplet(z, labels, 0.1, mining="hard", squared=False, reduction="none")
    gap = np.where(same, d, -1).max(axis=1) - np.where(same, 9, d).min(axis=1)
    assert np.allclose(values, np.maximum(gap + 0.1, 0), rtol=1e-9, atol=1e-12)
    p, n = np.where(same, d, -1).argmax(axis=1), np.where(same, 9, d).argmin(axis=1)
    u, wanted, a = twin.normalized(z), np.zeros_like(z), np.flatnonzero(gap > -0.1)
    for other, sign in (p[a], 1), (n[a], -1):
        unit = sign * (u[a] - u[other]) / d[a, other][:, None]
        np.add.at(wanted, a, unit)
        np.add.at(wanted, other, -unit)
    wanted = (wanted - u * (u * wanted).sum(axis=1, keepdims=True)) / np.linalg.norm(z, axis=1, keepdims=True)
    assert np.abs(d_z - wanted).max() <= 1e-9 * np.abs(wanted).max()


# ---- Input ----


def test_input_of_any_kind():
    z, labels = batch(20, 6, 4)
    wanted = nf.triplet(z, labels)
    copy, same_labels = z.copy(), labels.copy()
    for x, y in [
        (np.asfortranarray(z), labels.astype(np.int8)),
        (z.tolist(), labels.tolist()),
        (np.repeat(z, 2, axis=0)[::2], np.repeat(labels, 2)[::2]),
        (z.astype(">f8"), labels.astype(">i4")),
    ]:
        loss, d_z = nf.triplet(x, y)
        assert loss == wanted[0] and np.array_equal(d_z, wanted[1])
    assert np.array_equal(z, copy) and np.array_equal(labels, same_labels)
    assert nf.triplet(z.astype(np.float16), labels)[1].dtype == np.float32
    assert nf.triplet(np.arange(12).reshape(4, 3), [0, 0, 1, 1])[1].dtype == np.float64
    a, b = z[:10], z[10:]
    same = labels[:10] == labels[10:]
    loss, gradients = losses.pair(a, b, same)
    again, others = losses.pair(np.asfortranarray(a), b.tolist(), same.astype(int))
    assert loss == again and all(map(np.array_equal, gradients, others))
    assert {d.dtype for d in losses.triplet_margin(a.astype("f4"), b.astype("f4"), b)[1]} == {np.dtype("f8")}
    assert {d.dtype for d in losses.triplet_margin(a.astype("f4"), b.astype("f2"), b.astype("f4"))[1]} == {
        np.dtype("f4")
    }
    values, _ = nf.triplet(z.astype("f4"), labels, reduction="none")
    assert values.dtype == np.float32 and values.shape == (20,)
    assert np.array_equal(z, copy)


GOOD = np.random.default_rng(0).normal(size=(4, 3))
LABELS = [0, 0, 1, 1]


@pytest.mark.parametrize("name", BATCH_LOSSES)
@pytest.mark.parametrize(
    "arguments, keywords, error, message",
    [
        ((GOOD, LABELS[:3]), {}, ValueError, "labels must have one element for each of 4 rows of z, got 3"),
        ((GOOD, [LABELS]), {}, ValueError, "labels must have 1 dimension"),
        ((GOOD[0], LABELS), {}, ValueError, "z must have 2 dimensions, got 1"),
        ((GOOD[None], LABELS), {}, ValueError, "z must have 2 dimensions, got 3"),
        ((GOOD[:0], np.zeros(0, int)), {}, ValueError, r"at least one row and one column, got shape \(0, 3\)"),
        ((GOOD[:, :0], LABELS), {}, ValueError, r"at least one row and one column, got shape \(4, 0\)"),
        ((GOOD, [0.0, 0.0, 1.0, 1.0]), {}, TypeError, "labels"),
        ((GOOD, list("aabb")), {}, TypeError, "labels"),
        ((GOOD, None), {}, (TypeError, ValueError), "labels"),
        ((GOOD.astype(complex), LABELS), {}, TypeError, "z"),
        ((GOOD, LABELS), {"reduction": "max"}, ValueError, "reduction must be one of 'mean', 'sum', 'none', got 'max'"),
        ((GOOD * 1e200, LABELS), {"normalize": False}, ValueError, "squares of rows must stay below 1e300"),
    ],
)
def test_bad_batches(name, arguments, keywords, error, message):
    with pytest.raises(error, match=message):
        getattr(losses, name)(*arguments, **keywords)


@pytest.mark.parametrize(
    "name, keywords, error, message",
    [
        ("triplet", {"margin": -0.1}, ValueError, "margin must be >= 0 and at most 1e30, got -0.1"),
        ("triplet", {"margin": np.nan}, ValueError, "margin must be >= 0 and at most 1e30, got nan"),
        ("triplet", {"margin": np.inf}, ValueError, "margin must be >= 0 and at most 1e30, got inf"),
        ("triplet", {"margin": "wide"}, TypeError, "real number"),
        ("triplet", {"mining": "easy"}, ValueError, "mining must be one of 'all', 'hard', 'semi_hard', got 'easy'"),
        ("contrastive", {"pos_margin": -1}, ValueError, "pos_margin must be >= 0 and at most 1e30, got -1"),
        ("contrastive", {"neg_margin": np.nan}, ValueError, "neg_margin must be >= 0 and at most 1e30, got nan"),
        ("lifted_structure", {"margin": np.inf}, ValueError, "margin must be in -1e30..1e30, got inf"),
    ],
)
def test_bad_margins(name, keywords, error, message):
    with pytest.raises(error, match=message):
        getattr(losses, name)(GOOD, LABELS, **keywords)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (
            lambda: losses.pair(GOOD, GOOD[:3], LABELS),
            ValueError,
            r"a and b must have the same shape, got \(4, 3\) and \(3, 3\)",
        ),
        (lambda: losses.pair(GOOD[0], GOOD, LABELS), ValueError, "a must have 2 dimensions, got 1"),
        (lambda: losses.pair(GOOD[:0], GOOD[:0], np.zeros(0, int)), ValueError, "a and b must have at least one row"),
        (lambda: losses.pair(GOOD, GOOD, LABELS[:3]), ValueError, "same must have one element for each of 4 rows of a"),
        (lambda: losses.pair(GOOD, GOOD, [0, 1, 2, 1]), ValueError, "same must be 0 or 1, got 2 at position 2"),
        (lambda: losses.pair(GOOD, GOOD, [0.0, 1, 1, 1]), TypeError, "same"),
        (
            lambda: losses.pair(GOOD, GOOD * np.nan, LABELS),
            ValueError,
            "b must be finite, got NaN or infinity in row 0",
        ),
        (lambda: losses.pair(GOOD, GOOD, LABELS, margin=0), ValueError, "margin must be > 0 and at most 1e30, got 0"),
        (lambda: losses.pair(GOOD, GOOD, LABELS, form="x"), ValueError, "form must be one of 'hadsell', 'chopra', got"),
        (lambda: losses.pair(GOOD, GOOD, LABELS, bound=2.0), ValueError, "bound must be None unless form='chopra'"),
        (
            lambda: losses.pair(GOOD, GOOD, LABELS, form="chopra", normalize=False),
            ValueError,
            "bound must be given for form='chopra' with normalize=False",
        ),
        (
            lambda: losses.pair(GOOD, GOOD, LABELS, form="chopra", bound=-1.0),
            ValueError,
            "bound must be > 0 and at most 1e30, got -1",
        ),
        (lambda: losses.pair(5, GOOD, LABELS, form="chopra"), ValueError, "a must have 2 dimensions, got 0"),
        (lambda: losses.pair(GOOD * 1e155, GOOD, LABELS, normalize=False), ValueError, "a must have rows shorter than"),
        (lambda: losses.triplet_margin(GOOD, GOOD, GOOD[:, :2]), ValueError, "anchor and negative must have the same"),
        (lambda: losses.triplet_margin(GOOD, GOOD, None), (TypeError, ValueError), "negative"),
        (lambda: losses.triplet_margin(GOOD, GOOD, GOOD, -1.0), ValueError, "margin must be >= 0 and at most 1e30"),
        (lambda: losses.triplet_margin(GOOD[:, :0], *[GOOD[:, :0]] * 2), ValueError, "at least one row and one column"),
        (lambda: losses.triplet_margin(GOOD, GOOD * np.inf, GOOD), ValueError, "positive must be finite"),
        (
            lambda: losses.triplet_margin(*[GOOD.astype("f4") * np.float32(1e37)] * 3, normalize=False),
            ValueError,
            "anchor must have rows shorter than 1e[+]37",
        ),
        (lambda: losses.triplet_margin(GOOD, GOOD, GOOD, reduction="x"), ValueError, "reduction must be one of"),
    ],
)
def test_bad_pairs_and_triplets(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", BATCH_LOSSES)
def test_numbers_that_are_not_finite_are_found_in_their_row(name, bad):
    for dtype in np.float32, np.float64:
        z = np.ones((6, 19), dtype)
        z[4, 18] = z[5, 0] = bad
        with pytest.raises(ValueError, match="z must be finite, got NaN or infinity in row 4"):
            getattr(losses, name)(z, [9, 8, 9, 8, 7, 1])


# ---- Threads, memory, instruction sets ----


def all_losses(n, dtype=np.float32):
    z, labels = batch(n, 20, 7, dtype)
    a, b, c = several(3, n, 20, dtype)
    results = [getattr(losses, name)(z, labels, reduction="none") for name in BATCH_LOSSES]
    results += [getattr(losses, name)(z, labels) for name in BATCH_LOSSES]
    for mining in MINING:
        results += [nf.triplet(z, labels, mining=mining, squared=squared, soft=squared) for squared in (True, False)]
    results += [losses.pair(a, b, labels > 0), losses.pair(a, b, labels > 0, form="chopra")]
    results += [losses.triplet_margin(a, b, c, swap=True)]
    return [x for loss, gradients in results for x in (np.asarray(loss), *as_list(gradients))]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_number_of_threads_gives_the_same_bits(dtype):
    check_any_number_of_threads(lambda: all_losses(600, dtype))


def test_allocation_failures():
    z, labels = batch(80, 6, 2, np.float32)
    close = z.copy()
    close[1] = close[0] + np.float32(1e-6)  # to be computed in float64
    check_allocation_failures(lambda: nf.triplet(close, labels, squared=False), 5)
    check_allocation_failures(lambda: losses.contrastive(close, labels), 5)
    check_allocation_failures(lambda: losses.lifted_structure(close, labels), 5)


def test_memory_stays_far_below_a_matrix_of_distances():
    code = """if True:
        import resource, numpy as np, nearfar as nf
        z = np.random.default_rng(0).normal(size=(12000, 8)).astype(np.float32)
        labels = np.arange(12000) // 4
        nf.triplet(z[:500], labels[:500], mining="semi_hard")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        nf.triplet(z, labels, mining="semi_hard")
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    grown = int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
    assert grown < 28 * 1024  # KiB; 12000 x 12000 floats would be 562,500


def test_every_instruction_set_gives_the_same_results():
    code = "import sys; sys.path.insert(0, {!r}); import test_margin_losses; test_margin_losses.check_instruction_set()"
    ran = []
    for name in "scalar", "avx2", "avx512":
        environment = {**os.environ, "NEARFAR_ISA": name}
        command = [sys.executable, "-c", code.format(os.path.dirname(__file__))]
        result = subprocess.run(command, env=environment, capture_output=True, text=True)
        if "instruction set that this machine has" in result.stderr:
            continue
        assert result.returncode == 0, result.stderr
        ran.append(result.stdout.strip())
    assert "scalar" in ran


def check_instruction_set():
    for n, width in [(2, 2), (17, 5), (70, 33)]:
        for dtype, tolerance in (np.float32, 1e-5), (np.float64, 1e-11):
            arguments = batch(n, width, 3, dtype)
            check_values("contrastive", arguments, tolerance)
            check_values("lifted_structure", arguments, tolerance)
            for mining in MINING:
                for soft in True, False:
                    check_values("triplet", arguments, tolerance, mining=mining, soft=soft, squared=soft)
    test_collapsed_embeddings(np.float32, True)
    print(_core.config()["instruction_set"])


def test_interrupt():
    z, labels = batch(2500, 64, 5)
    times = []

    def interrupt():
        times.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(0.1, interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        while True:
            nf.triplet(z, labels, soft=True)
    assert time.monotonic() - times[0] < 0.5  # 0.1 on a machine of one's own
    assert nf.triplet(z[:4], [0, 0, 1, 1])[0] >= 0
