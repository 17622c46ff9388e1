"""Binary NCE and instance discrimination against float64 twins, what NCE promises, and hostile input."""

import nearfar as nf
import numpy as np
import pytest
from reference import losses as loss_twins
from reference import pair_losses as twin
from reference.loss_check import (
    relative_error,
)

KINDS = ["shared", "paired"]
SIZES = [(1, 1, 1), (2, 3, 1), (3, 1, 2), (7, 16, 15), (15, 2, 7), (16, 7, 16), (17, 31, 33), (31, 48, 3), (33, 49, 17)]


def inputs(kind, n, k, width, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    shape = (k, width) if kind == "shared" else (n, k, width)
    query = rng.normal(size=(n, width))
    return [x.astype(dtype) for x in (query, query + rng.normal(size=query.shape), rng.normal(size=shape))]


def noise_of(negatives, n, seed=0):
    """log_noise, and the same for the twin."""
    rng = np.random.default_rng(seed)
    log_noise = np.log(rng.uniform(0.01, 1, n)), np.log(rng.uniform(0.01, 1, negatives.shape[:-1]))
    count = np.log(negatives.shape[-2])
    return log_noise, {"key_noise": log_noise[0] + count, "negative_noise": log_noise[1] + count}


# ---- NCE ----


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("noisy", [True, False])
def test_values(kind, normalize, noisy):
    for n, k, width in SIZES:
        for dtype, tolerance in (np.float64, 1e-11), (np.float32, 1e-5):
            arrays = inputs(kind, n, k, width, n, dtype)
            log_noise, twin_noise = noise_of(arrays[2], n) if noisy else (None, {})
            options = {"normalize": normalize, "log_noise": log_noise}
            wanted = twin.nce_values(*arrays, 0.7, normalize=normalize, **twin_noise)
            loss, gradients = nf.losses.nce(*arrays, 0.7, **options)
            assert type(loss) is float
            assert loss == pytest.approx(wanted.mean(), rel=tolerance)
            total, summed = nf.losses.nce(*arrays, 0.7, reduction="sum", **options)
            values, same = nf.losses.nce(*arrays, 0.7, reduction="none", **options)
            assert total == pytest.approx(wanted.sum(), rel=tolerance)
            assert values.dtype == dtype
            assert values == pytest.approx(wanted, rel=tolerance)
            for x, a, b, c in zip(arrays, gradients, summed, same, strict=True):
                assert a.shape == x.shape
                assert a.dtype == dtype
                assert np.abs(b - n * a).max() <= 10 * tolerance * np.abs(b).max() + 1e-30
                assert np.array_equal(b, c)


@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-11), (np.float32, 1e-5)])
@pytest.mark.parametrize("n, k", [(1100, 60), (60, 2100)])
def test_shared_negatives_are_paired_negatives_that_repeat(n, k, dtype, tolerance):
    query, key, negatives = inputs("shared", n, k, 9, dtype=dtype)
    a, gradients = nf.losses.nce(query, key, negatives)
    b, others = nf.losses.nce(query, key, np.broadcast_to(negatives, (n, k, 9)))
    assert a == pytest.approx(b, rel=tolerance)
    for gradient, other in zip(gradients, (*others[:2], others[2].sum(axis=0)), strict=True):
        assert relative_error(gradient, other) < 3 * tolerance


def test_equal_chances():
    for shape in (7, 5), (4, 7, 5):
        loss, gradients = nf.losses.nce(np.zeros((4, 5)), np.ones((4, 5)), np.ones(shape))
        assert loss == pytest.approx(8 * np.log(2), rel=1e-12)
        assert not gradients[1].any()


@pytest.mark.parametrize("kind", KINDS)
def test_no_negatives(kind):
    query, key, negatives = inputs(kind, 5, 0, 4)
    loss, gradients = nf.losses.nce(query, key, negatives, log_noise=noise_of_none(negatives, 5))
    assert loss == pytest.approx(twin.softplus(-(query * key).sum(axis=1)).mean(), rel=1e-12)
    assert gradients[2].shape == negatives.shape


def noise_of_none(negatives, n):
    return np.zeros(n), np.zeros(negatives.shape[:-1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-9), (np.float32, 1e-5)])
def test_extreme_scores_stay_finite(kind, dtype, tolerance):
    query, key, negatives = inputs(kind, 20, 11, 6, dtype=dtype)
    for size in 1e2, 1e4, 1e15:
        loss, gradients = nf.losses.nce(query * dtype(size), -key, negatives)
        assert loss == pytest.approx(twin.nce_values(query * dtype(size), -key, negatives).mean(), rel=tolerance)
        assert all(np.isfinite(g).all() for g in gradients)
    for shift in -1000, 1000:
        log_noise = np.full(20, float(shift)), np.full(negatives.shape[:-1], float(shift))
        loss, _ = nf.losses.nce(query, key, negatives, log_noise=log_noise)
        noise = shift + np.log(11)
        wanted = twin.nce_values(query, key, negatives, key_noise=noise, negative_noise=noise).mean()
        assert loss == pytest.approx(wanted, rel=tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_zeros(kind):
    query, key, negatives = inputs(kind, 8, 5, 4)
    query[2] = key[3] = 0
    negatives[..., 1, :] = 0
    _, (d_query, d_key, d_negatives) = nf.losses.nce(query, key, negatives, normalize=True)
    assert not d_query[2].any()
    assert not d_key[3].any()
    assert not d_negatives[..., 1, :].any()
    assert all(np.isfinite(g).all() for g in (d_query, d_key, d_negatives))


def test_best_scores_are_normalised_logarithms_of_probabilities():
    """NCE's promise: with the expectation over data and noise in place of samples, its minimum is log p, unscaled."""
    p = np.array([0.5, 0.2, 0.15, 0.1, 0.05])
    noise = np.full(5, 0.2)
    scores, m = np.zeros(5), 4
    # Data in exact proportion: 20 words, and all words as the negatives of each, that is 4 of each 20 drawn.
    words = np.repeat(np.arange(5), np.round(20 * p).astype(int))
    negatives = np.tile(np.eye(5), (20, 1, 1))[:, np.tile(np.arange(5), m)]
    log_noise = np.log(noise)[words], np.log(noise)[np.tile(np.arange(5), (20, m))]
    for _ in range(400):
        query = np.tile(scores, (20, 1))
        _, (d_query, _, _) = nf.losses.nce(query, np.eye(5)[words], negatives, log_noise=log_noise)
        scores -= d_query.sum(axis=0)
    assert np.exp(scores) == pytest.approx(p, abs=1e-3)


def test_nt_logistic():
    """SimCLR's table of losses: -log sigmoid(u.v+ / t) - sum log sigmoid(-u.v- / t), of cosines."""
    query, key, negatives = inputs("shared", 9, 6, 5)
    a, b, c = (loss_twins.normalized(x) for x in (query, key, negatives))
    positive, others = (a * b).sum(axis=1) / 0.5, a @ c.T / 0.5
    wanted = -np.log(twin.sigmoid(positive)) - np.log(twin.sigmoid(-others)).sum(axis=1)
    assert nf.losses.nce(query, key, negatives, 0.5, normalize=True)[0] == pytest.approx(wanted.mean(), rel=1e-12)


# ---- The memory bank ----


def bank_inputs(n, m, rows, width, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    query = rng.normal(size=(n, width)).astype(dtype)
    bank = loss_twins.normalized(rng.normal(size=(rows, width))).astype(dtype)
    return query, bank, rng.integers(rows, size=n), rng.integers(rows, size=(n, m))


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-9), (np.float32, 2e-5)])
def test_npid_values(normalize, dtype, tolerance):
    for n, m, width in SIZES:
        arrays = bank_inputs(n, m, 50, width, n, dtype)
        options = {"partition": 300.0, "temperature": 0.5, "normalize": normalize}
        wanted = twin.npid_values(*arrays, **options)
        loss, d_query = nf.losses.npid(*arrays, **options)
        assert type(loss) is float
        assert loss == pytest.approx(wanted.mean(), rel=tolerance)
        assert d_query.dtype == dtype
        total, summed = nf.losses.npid(*arrays, **options, reduction="sum")
        values, same = nf.losses.npid(*arrays, **options, reduction="none")
        assert total == pytest.approx(wanted.sum(), rel=tolerance)
        assert values == pytest.approx(wanted, rel=tolerance)
        assert np.abs(summed - n * d_query).max() <= tolerance * np.abs(summed).max() + 1e-30
        assert np.array_equal(summed, same)


def test_npid_is_nce_with_rows_of_the_bank():
    query, bank, indices, negatives = bank_inputs(30, 12, 100, 8)
    loss, d_query = nf.losses.npid(query, bank, indices, negatives, partition=200.0, temperature=0.3)
    noise = np.full(30, np.log(200 / 100)), np.full((30, 12), np.log(200 / 100))
    u = loss_twins.normalized(query)
    same, (d_u, _, _) = nf.losses.nce(u, bank[indices], bank[negatives], 0.3, log_noise=noise)
    assert loss == pytest.approx(same, rel=1e-12)
    assert relative_error(d_query, loss_twins.normalized_backward(query, d_u)) < 1e-11


def test_equal_embeddings_and_the_right_partition():
    ones = np.full((40, 4), 0.5)
    loss, d_query = nf.losses.npid(
        ones[:6], ones, np.arange(6), np.tile(np.arange(10), (6, 1)), partition=40 * np.exp(1 / 0.07)
    )
    assert loss == pytest.approx(np.log(11) + 10 * np.log(1.1), rel=1e-12)
    assert np.abs(d_query).max() < 1e-13


def test_the_bank_remembers():
    bank = nf.losses.MemoryBank(100, 8, momentum=0.75, seed=3)
    assert np.array_equal(bank.rows, nf.losses.MemoryBank(100, 8, momentum=0.75, seed=3).rows)
    assert bank.rows.dtype == np.float32
    assert np.abs(np.linalg.norm(bank.rows, axis=1) - 1).max() < 1e-6
    before, v = bank.rows.copy(), np.random.default_rng(0).normal(size=(3, 8))
    bank.update([4, 9, 5], v)
    wanted = loss_twins.normalized(0.75 * before[[4, 9, 5]] + 0.25 * loss_twins.normalized(v))
    assert np.abs(bank.rows[[4, 9, 5]] - wanted).max() < 1e-6
    others = np.delete(np.arange(100), [4, 9, 5])
    assert np.array_equal(bank.rows[others], before[others])
    everything = np.tile(np.arange(100), (3, 1))
    exact = np.exp(loss_twins.normalized(v) @ bank.rows.T / 0.5).sum(axis=1).mean()
    assert bank.partition(v, everything, 0.5) == pytest.approx(exact, rel=1e-6)


def test_npid_learns_to_tell_samples_apart():
    rng = np.random.default_rng(0)
    bank = nf.losses.MemoryBank(50, 16)
    v = rng.normal(size=(50, 16)) + 3  # all alike
    before = np.sort(loss_twins.normalized(v) @ loss_twins.normalized(v).T, axis=1)[:, -2].mean()
    partition = None
    for _ in range(60):
        negatives = rng.integers(50, size=(50, 20))
        partition = partition or bank.partition(v, negatives, 0.2)
        _, d_v = nf.losses.npid(v, bank.rows, np.arange(50), negatives, partition=partition, temperature=0.2)
        v -= 20 * d_v
        bank.update(np.arange(50), v)
    after = np.sort(loss_twins.normalized(v) @ loss_twins.normalized(v).T, axis=1)[:, -2].mean()
    assert after < before - 0.1


# ---- Input ----


def test_inputs_are_left_alone():
    arrays = [*inputs("shared", 5, 6, 4), *bank_inputs(5, 6, 20, 4)]
    copies = [x.copy() for x in arrays]
    nf.losses.nce(*arrays[:3])
    nf.losses.npid(*arrays[3:], partition=9.0)
    assert all(np.array_equal(x, copy) for x, copy in zip(arrays, copies, strict=True))


GOOD = np.ones((4, 3))


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "message"),
    [
        ((GOOD, GOOD[:3], GOOD), {}, ValueError, r"same shape, got \(4, 3\) and \(3, 3\)"),
        ((GOOD[0], GOOD, GOOD), {}, ValueError, "query must have 2 dimensions, got 1"),
        ((GOOD[:0], GOOD[:0], GOOD), {}, ValueError, r"at least one row and one column, got shape \(0, 3\)"),
        ((GOOD, GOOD, GOOD[:, :2]), {}, ValueError, r"negatives must be \(K, D\).*\(4, 2\)"),
        ((GOOD, GOOD, GOOD[None]), {}, ValueError, r"negatives must be \(N, K, D\).*\(1, 4, 3\)"),
        ((GOOD, GOOD, GOOD[0]), {}, ValueError, "negatives must have 2 to 3 dimensions, got 1"),
        ((GOOD, GOOD, GOOD * np.nan), {}, ValueError, "negatives must be finite"),
        ((GOOD, GOOD, GOOD, 0.0), {}, ValueError, "temperature must be finite and > 0, got 0"),
        ((GOOD, GOOD, GOOD, np.inf), {}, ValueError, "temperature must be finite and > 0, got inf"),
        ((GOOD, GOOD, GOOD), {"reduction": "max"}, ValueError, "reduction must be one of"),
        ((GOOD, GOOD, GOOD), {"log_noise": 0.1}, ValueError, "log_noise must be a pair"),
        ((GOOD, GOOD, GOOD), {"log_noise": (np.ones(4), np.ones(3))}, ValueError, "of the negatives must have one"),
        ((GOOD, GOOD, GOOD), {"log_noise": (np.ones(3), np.ones(4))}, ValueError, "of the keys must have one"),
        ((GOOD, GOOD, GOOD), {"log_noise": (np.ones(4), -np.inf * np.ones(4))}, ValueError, "negatives must be finite"),
        ((GOOD, GOOD, GOOD), {"log_noise": (np.ones(4) * 1j, np.ones(4))}, TypeError, "of the keys"),
        ((GOOD.astype(complex), GOOD, GOOD), {}, TypeError, "query"),
        ((GOOD * 1e200, GOOD * 1e200, GOOD), {}, ValueError, "below 1e300"),
    ],
)
def test_bad_arguments_of_nce(arguments, keywords, error, message):
    with pytest.raises(error, match=message):
        nf.losses.nce(*arguments, **keywords)


INDICES, NEGATIVES = np.arange(4), np.zeros((4, 2), int)


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "message"),
    [
        ((GOOD, GOOD[:, :2], INDICES, NEGATIVES), {}, ValueError, "bank must have query's 3 columns, got 2"),
        (
            (GOOD, GOOD, INDICES[:3], NEGATIVES),
            {},
            ValueError,
            "indices must have one element for each of 4 queries, got 3",
        ),
        ((GOOD, GOOD, INDICES, NEGATIVES[:3]), {}, ValueError, "one row for each of 4 queries, got 3"),
        ((GOOD, GOOD, INDICES, NEGATIVES[:, :0]), {}, ValueError, "m >= 1"),
        ((GOOD, GOOD, INDICES, INDICES), {}, ValueError, r"negatives must be \(N, m\)"),
        ((GOOD, GOOD, INDICES + 1, NEGATIVES), {}, ValueError, "indices must be from 0 to 3, got 4"),
        ((GOOD, GOOD, INDICES, NEGATIVES - 1), {}, ValueError, "negatives must be from 0 to 3, got -1"),
        ((GOOD, GOOD, INDICES + 0.5, NEGATIVES), {}, TypeError, "indices"),
        ((GOOD, GOOD[:0], INDICES, NEGATIVES), {}, ValueError, "indices must be from 0 to -1, got 0"),
        ((GOOD, GOOD * np.nan, INDICES, NEGATIVES), {}, ValueError, "bank must be finite"),
        ((GOOD * np.nan, GOOD, INDICES, NEGATIVES), {}, ValueError, "query must be finite"),
        ((GOOD, GOOD, INDICES, NEGATIVES), {"partition": 0.0}, ValueError, "partition must be finite and > 0, got 0"),
        ((GOOD, GOOD, INDICES, NEGATIVES), {"temperature": 0.0}, ValueError, "temperature must be from 1e-30"),
        ((GOOD, GOOD, INDICES, NEGATIVES), {"reduction": None}, ValueError, "reduction must be one of"),
        ((GOOD[:0], GOOD, INDICES[:0], NEGATIVES[:0]), {}, ValueError, "at least one row"),
    ],
)
def test_bad_arguments_of_npid(arguments, keywords, error, message):
    with pytest.raises(error, match=message):
        nf.losses.npid(*arguments, **{"partition": 9.0, **keywords})


def test_bad_arguments_of_the_bank():
    for sizes in (0, 3), (3, 0):
        with pytest.raises(ValueError, match="at least one row and one column"):
            nf.losses.MemoryBank(*sizes)
    with pytest.raises(ValueError, match="momentum must be from 0 to 1, got 2"):
        nf.losses.MemoryBank(3, 3, momentum=2)
    bank = nf.losses.MemoryBank(3, 3)
    with pytest.raises(ValueError, match=r"v must have shape \(2, 3\), got \(4, 3\)"):
        bank.update([0, 1], GOOD)
    with pytest.raises(ValueError, match="v must be finite"):
        bank.update([0], [[np.nan] * 3])
    with pytest.raises(IndexError):
        bank.update([3], GOOD[:1])
    with pytest.raises(ValueError, match="temperature must be > 0, got 0"):
        bank.partition(GOOD, NEGATIVES, 0)
