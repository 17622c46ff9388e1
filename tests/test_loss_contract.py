"""What all losses of pairs, views and classes promise, each for each of them."""

import doctest
import gc
import importlib
import math
import pkgutil
import sys
from concurrent.futures import ThreadPoolExecutor

import nearfar as nf
import nearfar.losses
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import losses as twin
from reference import margin_losses as margin_twin
from reference import pair_losses as pair_twin
from reference.loss_check import check_allocation_failures, in_some_layout

TEMPERATURES = [0.001, 0.01, 0.07, 0.5, 1.0, 100.0]
REDUCTIONS = ["mean", "sum", "none"]
FUNCTIONS = {
    "in_batch": nf.info_nce,
    "symmetric": nf.info_nce,
    "shared": nf.info_nce,
    "paired": nf.info_nce,
    "n_pair": nf.n_pair,
    "nt_xent": nf.nt_xent,
    "sup_con_out": nf.sup_con,
    "sup_con_in": nf.sup_con,
    "dcl": nf.dcl,
    "dclw": nf.dclw,
    "debiased": nf.debiased_nt_xent,
}
KINDS = list(FUNCTIONS)
OF_PAIRS = ["in_batch", "symmetric", "shared", "paired", "n_pair"]
ALWAYS_NORMALIZED = ["debiased"]
NEVER_NORMALIZED = ["n_pair"]

# The losses of scores of other kinds, and of distances.
CRITICS = ["jsd", "nwj", "donsker_varadhan"]
LEARNED_SCALES = ["clip", "sigmoid_loss"]
NCE = ["nce_shared", "nce_paired", "npid"]
GIVEN = ["pair", "triplet_margin"]
LABELLED = ["contrastive", "triplet", "lifted_structure"]
MORE = [*CRITICS, *LEARNED_SCALES, *NCE, "align_uniform", *GIVEN, *LABELLED]
ALL = KINDS + MORE
WITHOUT_TEMPERATURE = ["n_pair", "align_uniform", *GIVEN, *LABELLED]
WITHOUT_REDUCTION = ["donsker_varadhan", "align_uniform"]
MEANS_OF_ANCHORS = [kind for kind in ALL if kind not in [*WITHOUT_REDUCTION, *LABELLED]]
# Those of NWJ are exponentials of scores: it refuses too small ones.
WITH_REDUCTION = [kind for kind in ALL if kind not in WITHOUT_REDUCTION]
ANY_TEMPERATURE = [kind for kind in ALL if kind not in [*WITHOUT_TEMPERATURE, "nwj"]]


def draw_more(kind, n, width, seed, negatives):
    """As `draw`, for MORE."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, width))
    y, z = x + rng.normal(size=x.shape), rng.normal(size=(n, width))
    if kind in CRITICS:
        score = ["dot", "cosine", "distance", "bilinear"][seed % 4]
        arrays, root = {"x": x, "y": y}, np.sqrt(width)
        if score == "bilinear":
            arrays |= {"y": rng.normal(size=(n, width + 1)), "w": rng.normal(size=(width, width + 1)) / root}
        return {name: array / root for name, array in arrays.items()}, {"score": score}
    if kind in LEARNED_SCALES:
        return {"image": x, "text": y}, {"logit_bias": -2.0} if kind == "sigmoid_loss" else {}
    if kind == "npid":
        drawn, bank = rng.integers(20, size=(n, negatives + 1)), twin.normalized(rng.normal(size=(20, width)))
        return {"query": x}, {"bank": bank, "indices": drawn[:, 0], "negatives": drawn, "partition": 30.0}
    if kind in NCE:
        shape = (negatives, width) if kind == "nce_shared" else (n, negatives, width)
        log_noise = rng.uniform(-3, 0, n), rng.uniform(-3, 0, shape[:-1])
        arrays = {"query": x, "key": y, "negatives": rng.normal(size=shape)}
        return arrays, {"normalize": True, "log_noise": log_noise}
    if kind == "align_uniform":
        return {"x": x, "y": y}, {"alpha": rng.uniform(1, 3), "t": rng.uniform(0.5, 3), "weights": (0.7, 1.2)}
    if kind == "pair":
        form = {"form": "chopra", "bound": 4.0} if seed % 2 else {"margin": 1.3}
        return {"a": x, "b": y}, {"same": rng.integers(0, 2, n), **form}
    if kind == "triplet_margin":
        flags = {name: bool(rng.integers(2)) for name in ("squared", "soft", "swap")}
        return {"anchor": x, "positive": y, "negative": z}, {"margin": 0.4, **flags}
    options = {"labels": rng.integers(0, max(n // 3, 1), n)}
    if kind == "contrastive":
        options |= {"pos_margin": 0.2, "neg_margin": 1.1}
    else:
        options |= {"margin": 0.4, "nonzero": bool(rng.integers(2))}
    if kind == "triplet":
        options |= {"mining": ["all", "hard", "semi_hard"][seed % 3], "squared": bool(rng.integers(2))}
        options["soft"] = bool(rng.integers(2))
    return {"z": x}, options


def draw(kind, n, width, seed=0, dtype=np.float64, negatives=5):
    """The arrays of a batch by name, and the options that go with them."""
    rng = np.random.default_rng(seed)
    if kind in MORE:
        arrays, options = draw_more(kind, n, width, seed, negatives)
    elif kind in OF_PAIRS:
        query = rng.normal(size=(n, width))
        arrays = {"query": query, "key": query + rng.normal(size=(n, width))}
        if kind in ("shared", "paired"):
            arrays["negatives"] = rng.normal(size=(negatives, width) if kind == "shared" else (n, negatives, width))
        options = {"l2": 0.01} if kind == "n_pair" else {"symmetric": True} if kind == "symmetric" else {}
    else:
        views = 2 if kind in ("dclw", "debiased") else int(rng.integers(2, 4))
        arrays, options = {"z": rng.normal(size=(n, width)) + rng.normal(size=(views, n, width))}, {}
        if kind == "debiased":
            options = {"tau_plus": 0.05, "beta": float(rng.choice([0.0, 0.7]))}
        if kind.startswith("sup_con"):
            options = {"labels": rng.integers(0, max(n // 2, 1), n), "positives": kind[8:]}
            if rng.integers(2):
                arrays["z"] = arrays["z"][0]
    if "bank" in options:
        options["bank"] = options["bank"].astype(dtype)
    return {name: x.astype(dtype) for name, x in arrays.items()}, options


def draw_weights(arrays, seed=0):
    """Of either sign, of different size, and some of them 0; in the shape of the values."""
    rng = np.random.default_rng(seed)
    shape = next(iter(arrays.values())).shape[:-1]
    return rng.normal(size=shape) * 10.0 ** rng.integers(-2, 2, shape) * (rng.random(shape) < 0.8)


def call(kind, arrays, temperature=0.3, **options):
    """The loss and a tuple of its gradients, that for the temperature last where there is one."""
    function = FUNCTIONS.get(kind) or getattr(nf.losses, kind.split("_shared")[0].split("_paired")[0])
    if kind in LEARNED_SCALES:
        loss, (d_image, d_text, d_log, *_) = function(**arrays, logit_scale=-math.log(temperature), **options)
        return loss, (d_image, d_text, -d_log / temperature)
    if kind in WITHOUT_TEMPERATURE:
        loss, gradients = function(**arrays, **options)
        return loss, gradients if isinstance(gradients, tuple) else (gradients,)
    loss, gradients = function(**arrays, temperature=temperature, temperature_gradient=True, **options)
    return loss, gradients


def nce_values(query, key, negatives, temperature, log_noise, normalize):
    of_keys, of_negatives = (noise + np.log(max(negatives.shape[-2], 1)) for noise in log_noise)
    noise = {"key_noise": of_keys, "negative_noise": of_negatives}
    return pair_twin.nce_values(query, key, negatives, temperature, normalize=normalize, **noise)


def values_of_more(kind, temperature, arrays, score="dot", w=None, logit_bias=0.0, **options):
    """The values of the anchors, for those of MORE that are means of them."""
    if kind in CRITICS:
        return pair_twin.critic_values(pair_twin.scores(**arrays, score=score, w=w) / temperature, kind)
    if kind == "sigmoid_loss":
        cosines = pair_twin.scores(*arrays.values(), "cosine" if options["normalize"] else "dot")
        return pair_twin.critic_values(cosines / temperature + logit_bias, "sigmoid")
    if kind == "clip":
        return twin.info_nce(*arrays.values(), temperature, symmetric=True, reduction="none", **options)
    function = pair_twin.npid_values if kind == "npid" else nce_values
    return function(**arrays, temperature=temperature, **options)


def twin_of_more(kind, reduction="mean", weights=None, **options):
    """As `twin_of`, for MORE."""
    if kind == "donsker_varadhan":
        return lambda temperature, w=None, **x: pair_twin.critic(
            pair_twin.scores(**x, score=options["score"], w=w) / temperature, kind
        )
    if kind == "align_uniform":
        return lambda temperature, **x: pair_twin.align_uniform(**x, weights=weights, **options)
    if kind in GIVEN + LABELLED:
        options |= {"reduction": reduction, "weights": weights}
        return lambda temperature, **x: getattr(margin_twin, kind)(**x, **options)
    return lambda temperature, w=None, **x: twin.reduced(
        values_of_more(kind, temperature, x, w=w, **options), reduction, weights
    )


def twin_of(kind, arrays, normalize=True, sigma=0.5, **options):
    """The value as a function of arrays and temperature; DCLW's pulls are those of `arrays`."""
    if kind in MORE:
        return twin_of_more(kind, **options, **({} if kind in CRITICS else {"normalize": normalize}))
    if kind == "n_pair":
        return lambda temperature, **x: twin.n_pair(**x, **options)
    if kind == "debiased":
        return lambda temperature, **x: twin.debiased_nt_xent(**x, temperature=temperature, **options)
    function = getattr(twin, "dcl" if kind == "dclw" else FUNCTIONS[kind].__name__)
    if kind == "dclw":
        options["pulls"] = twin.dcl_pulls(arrays["z"], sigma, normalize=normalize)
    return lambda temperature, **x: function(**x, temperature=temperature, normalize=normalize, **options)


def laid_out(x, rng):
    """The same numbers, somehow laid out in memory."""
    layout = rng.integers(5)
    if layout == 0:
        return np.asfortranarray(x)
    if layout == 1:
        wide = np.full((*x.shape[:-1], 2 * x.shape[-1]), np.nan)
        wide[..., ::2] = x
        return wide[..., ::2]
    if layout == 2:
        return np.ascontiguousarray(x[::-1, ..., ::-1])[::-1, ..., ::-1]
    if layout == 3:
        return np.broadcast_to(x, (3, *x.shape))[1]
    return x.tolist() if x.size else x


def relative_error(got, wanted, least=1e-30):
    got, wanted = np.asarray(got, dtype=np.float64), np.asarray(wanted, dtype=np.float64)
    assert got.shape == wanted.shape
    return np.abs(got - wanted).max(initial=0) / max(np.abs(wanted).max(initial=0), least)


def same_bits(a, b):
    return np.array_equal(a[0], b[0]) and all(np.array_equal(x, y) for x, y in zip(a[1], b[1], strict=True))


@pytest.fixture
def threads():
    before = nf.get_num_threads()
    yield nf.set_num_threads
    nf.set_num_threads(before)


# ---- Reductions ----


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-5), (np.float64, 1e-11)])
@pytest.mark.parametrize("n", [2, 3, 17, 33, 150])
@pytest.mark.parametrize("kind", MEANS_OF_ANCHORS)
def test_mean_sum_and_each_value(kind, n, dtype, tolerance):
    arrays, options = draw(kind, n, 12, seed=n, dtype=dtype)
    value = twin_of(kind, arrays, **options, reduction="none")(0.3, **arrays)
    mean, mean_gradients = call(kind, arrays, **options)
    total, sum_gradients = call(kind, arrays, **options, reduction="sum")
    values, gradients = call(kind, arrays, **options, reduction="none")
    assert type(mean) is float and type(total) is float
    assert values.shape == next(iter(arrays.values())).shape[:-1]
    assert values.dtype == dtype and values.flags.writeable
    assert relative_error(values, value) < tolerance
    assert total == pytest.approx(value.sum(), rel=tolerance, abs=tolerance)
    count = np.count_nonzero(value) if kind.startswith("sup_con") else value.size
    assert mean == pytest.approx(value.sum() / count if count else 0, rel=tolerance, abs=tolerance)
    for got, other, of_mean in zip(gradients, sum_gradients, mean_gradients, strict=True):
        assert np.array_equal(got, other)
        assert relative_error(got, np.multiply(of_mean, count)) < tolerance


@pytest.mark.parametrize("temperature", [0.001, 0.3])  # the first is computed in double
@pytest.mark.parametrize("kind", [*KINDS, "nce_shared", "nce_paired", *LEARNED_SCALES, "jsd", *GIVEN])
def test_values_are_in_the_order_of_the_anchors(kind, temperature):
    arrays, options = draw(kind, 21, 6, dtype=np.float32)
    values, _ = call(kind, arrays, temperature, **options, reduction="none")
    wanted = twin_of(kind, arrays, **options, reduction="none")(temperature, **arrays)
    assert relative_error(values, wanted) < 2e-5


@pytest.mark.parametrize("positives", ["out", "in"])
def test_anchors_without_a_positive_are_counted(positives):
    rng = np.random.default_rng(0)
    z, labels = rng.normal(size=(90, 5)), np.concatenate([np.zeros(50, int), np.ones(30, int), np.arange(2, 12)])
    order = rng.permutation(90)
    for alone, x, y in [(10, z, labels), (10, z[order], labels[order]), (5, z[:5], labels[-5:]), (1, z[:1], [0])]:
        for reduction in REDUCTIONS:
            loss, (d_z, d_t), anchors = nf.sup_con(
                x, y, positives=positives, reduction=reduction, temperature_gradient=True, count_anchors=True
            )
            assert type(anchors) is int and anchors == len(x) - alone
            assert d_z.shape == x.shape and np.isfinite(d_z).all() and np.isfinite(d_t)
            if reduction == "none":
                assert np.count_nonzero(loss) == anchors
    assert len(nf.sup_con(z, labels, positives=positives, count_anchors=True)) == 3
    _, _, anchors = nf.sup_con(z.astype(np.float32), labels, 0.001, positives=positives, count_anchors=True)
    assert anchors == 80


# ---- Weights ----


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-5), (np.float64, 1e-11)])
@pytest.mark.parametrize("n", [2, 17, 150])
@pytest.mark.parametrize("kind", WITH_REDUCTION)
def test_weights_are_factors_of_the_values(kind, n, dtype, tolerance):
    arrays, options = draw(kind, n, 12, seed=n, dtype=dtype)
    weights, before = draw_weights(arrays, n), draw_weights(arrays, n)
    values, _ = call(kind, arrays, **options, reduction="none")
    weighted, gradients = call(kind, arrays, **options, reduction="none", weights=weights)
    total, sum_gradients = call(kind, arrays, **options, reduction="sum", weights=weights)
    assert np.array_equal(weights, before)
    assert weighted.shape == values.shape and weighted.dtype == dtype
    size = np.abs(values * weights).max() + 1e-30
    assert np.abs(weighted - values * weights).max() <= tolerance * size
    assert total == pytest.approx((values.astype(np.float64) * weights).sum(), rel=tolerance, abs=n * tolerance * size)
    assert all(np.array_equal(a, b) for a, b in zip(gradients, sum_gradients, strict=True))
    if kind == "contrastive":
        return  # its mean is that of two kinds of pairs
    mean, mean_gradients = call(kind, arrays, **options, weights=weights)
    plain_mean, _ = call(kind, arrays, **options)
    if total and plain_mean:
        count = np.rint(values.astype(np.float64).sum() / plain_mean)  # of anchors, pairs or triplets that count
        assert mean == pytest.approx(total / count, rel=tolerance)
        for of_mean, of_sum in zip(mean_gradients, sum_gradients, strict=True):
            assert relative_error(of_mean, of_sum / count) < tolerance


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", WITH_REDUCTION)
def test_weights_of_ones_are_none_bit_for_bit_and_equal_ones_a_factor(kind, dtype):
    for n, temperature in (9, 0.3), (150, 0.3), (20, 0.3 if kind == "nwj" else 0.001):
        arrays, options = draw(kind, n, 12, seed=n, dtype=dtype)
        shape = next(iter(arrays.values())).shape[:-1]
        for reduction in REDUCTIONS:
            wanted = call(kind, arrays, temperature, **options, reduction=reduction)
            for ones in np.ones(shape), np.ones(shape, bool), np.ones(shape, np.float32).tolist():
                got = call(kind, arrays, temperature, **options, reduction=reduction, weights=ones)
                assert same_bits(got, wanted)
            loss, gradients = call(
                kind, arrays, temperature, **options, reduction=reduction, weights=np.full(shape, -4)
            )
            for got, one in zip((loss, *gradients), (wanted[0], *wanted[1]), strict=True):
                assert relative_error(got, -4 * one) < 1e-15  # the same but for numbers below the normal ones


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 2e-5), (np.float64, 1e-10)])
@pytest.mark.parametrize("kind", WITH_REDUCTION)
def test_gradients_are_linear_in_the_weights(kind, dtype, tolerance):
    """What some weights leave out, by zeros, and what the others do add up to the whole."""
    for n, temperature in (9, 0.3), (200, 0.3), (20, 0.3 if kind == "nwj" else 0.001):
        arrays, options = draw(kind, n, 12, seed=n, dtype=dtype)
        weights, rng = draw_weights(arrays, n), np.random.default_rng(n)
        chosen = rng.random(weights.shape) < 0.5
        (a, d_a), (b, d_b), (whole, d_whole) = (
            call(kind, arrays, temperature, **options, weights=part)
            for part in (weights * chosen, weights * ~chosen, weights)
        )
        size = max(abs(a), abs(b))
        assert whole == pytest.approx(a + b, rel=0, abs=tolerance * size)
        for x, y, both in zip(d_a, d_b, d_whole, strict=True):
            assert np.abs(x + y - both).max() <= tolerance * max(np.abs(x).max(), np.abs(y).max(), 1e-30)
        nothing, gradients = call(kind, arrays, temperature, **options, weights=np.zeros_like(weights))
        assert nothing == 0 and not any(np.any(gradient) for gradient in gradients)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", WITH_REDUCTION)
def test_weights_of_any_size_leave_gradients_finite(kind, dtype):
    """Large ones are those of the same batch with small ones, times their ratio."""
    for n, temperature in (40, 0.3), (20, 0.3 if kind == "nwj" else 0.01):
        arrays, options = draw(kind, n, 12, seed=n, dtype=dtype)
        weights = draw_weights(arrays, n)
        wanted, wanted_gradients = call(kind, arrays, temperature, **options, weights=weights)
        for size in 1e-25, 1e20:
            loss, gradients = call(kind, arrays, temperature, **options, weights=size * weights)
            assert loss == pytest.approx(size * wanted, rel=1e-6)
            for got, one in zip(gradients, wanted_gradients, strict=True):
                assert relative_error(got, np.multiply(one, size, dtype=np.float64)) < 2e-5
        mixed = weights * 10.0 ** np.random.default_rng(n).integers(-300, 28, weights.shape)
        loss, gradients = call(kind, arrays, temperature, **options, weights=mixed)
        assert np.isfinite(loss) and all(np.isfinite(gradient).all() for gradient in gradients)


# ---- Gradients and precision ----


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("kind", ALL)
def test_gradients_of_random_cases_by_central_differences(kind, seed):
    rng = np.random.default_rng([ALL.index(kind), seed])
    n, width = int(rng.integers(2, 7)), int(rng.integers(1, 6))
    arrays, options = draw(kind, n, width, seed, negatives=int(rng.integers(0, 5)))
    if kind not in WITHOUT_REDUCTION:
        options["reduction"] = str(rng.choice(REDUCTIONS))
        if rng.integers(2):
            options["weights"] = in_some_layout(rng, draw_weights(arrays, seed))
    if kind not in ALWAYS_NORMALIZED + NEVER_NORMALIZED + CRITICS:
        options["normalize"] = bool(rng.integers(2))
    if kind == "dclw":
        options["sigma"] = float(rng.uniform(0.2, 2))
    if kind == "debiased":
        options["tau_plus"] = float(rng.choice([0.0, 0.05, 0.6]))  # with the last, the floor takes over now and then
    temperature = float(10 ** rng.uniform(-0.8, 0.5))
    value = twin_of(kind, arrays, **options)
    loss, gradients = call(kind, {name: laid_out(x, rng) for name, x in arrays.items()}, temperature, **options)
    assert relative_error(loss, value(temperature, **arrays), 1e-3) < 1e-10

    def differences(name):
        at = {"temperature": temperature, **arrays}
        return twin.central_differences(lambda x: np.sum(value(**{**at, name: x})), at[name])

    names = [*arrays] if kind in WITHOUT_TEMPERATURE else [*arrays, "temperature"]
    for name, gradient in zip(names, gradients, strict=True):
        assert relative_error(gradient, differences(name), 1e-2) < 1e-6, name


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("kind", ANY_TEMPERATURE)
def test_float32_is_near_float64(kind, temperature):
    for n, width in (17, 8), (120, 33):
        arrays, options = draw(kind, n, width, dtype=np.float32)
        loss, (*gradients, d_t) = call(kind, arrays, temperature, **options)
        wide = {name: x.astype(np.float64) for name, x in arrays.items()}
        wanted, (*wanted_gradients, wanted_d_t) = call(kind, wide, temperature, **options)
        assert relative_error(loss, wanted) < 1e-5
        assert relative_error(d_t, wanted_d_t) < 1e-5
        for got, expected in zip(gradients, wanted_gradients, strict=True):
            assert got.dtype == np.float32 and relative_error(got, expected) < 1e-5


# ---- What other packages got wrong ----


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_exponential_of_one_over_the_temperature_does_not_overflow(kind, temperature, dtype):
    arrays, options = draw(kind, 20, 8, dtype=dtype)
    for x in arrays.values():
        x[..., 3, :] = x[..., 2, :]  # the largest score there can be
        x[..., 1, :] = -x[..., 2, :]
    loss, gradients = call(kind, arrays, temperature, **options)
    assert np.isfinite(loss) and all(np.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in NEVER_NORMALIZED])
def test_rows_of_zeros_and_of_any_length_are_no_nan(kind, dtype):
    arrays, options = draw(kind, 12, 6, dtype=dtype)
    for x in arrays.values():
        rows = x.reshape(-1, 6)
        rows[0], rows[1], rows[2] = 0, rows[1] * dtype(1e-20), rows[2] * dtype(1e20)
    loss, (*gradients, d_t) = call(kind, arrays, **options)
    assert np.isfinite(loss) and np.isfinite(d_t)
    for gradient in gradients:
        assert np.isfinite(gradient).all() and not gradient.reshape(-1, 6)[0].any()


@pytest.mark.parametrize("positives", ["out", "in"])
def test_a_batch_without_positives_is_no_nan(positives):
    z = np.random.default_rng(0).normal(size=(6, 4))
    for labels in range(6), [0, 0, 1, 2, 3, 4]:  # none at all, and one pair
        for normalize in True, False:
            options = {"positives": positives, "normalize": normalize, "temperature_gradient": True}
            loss, (d_z, d_t) = nf.sup_con(z, labels, **options)
            assert np.isfinite(loss) and np.isfinite(d_z).all() and np.isfinite(d_t)


@pytest.mark.parametrize("k", [1, 3, 40])
@pytest.mark.parametrize("kind", ["shared", "paired"])
def test_each_query_has_its_own_largest_score(kind, k):
    """In extended precision, with as many negatives as there are no queries, and rows of very different size."""
    arrays, _ = draw(kind, 9, 4, negatives=k)
    arrays["query"] *= 10.0 ** np.arange(-4, 5)[:, None]
    values, _ = call(kind, arrays, 1.0, normalize=False, reduction="none")
    wide_query, wide_key, wide_negatives = (x.astype(np.longdouble) for x in arrays.values())
    for i in range(9):
        mine = wide_negatives if kind == "shared" else wide_negatives[i]
        scores = np.concatenate([wide_key[i : i + 1], mine]) @ wide_query[i]
        wanted = scores.max() - scores[0] + np.log(np.exp(scores - scores.max()).sum())
        assert values[i] == pytest.approx(float(wanted), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_padded_negatives_leave_the_gradient_of_the_temperature_finite(temperature, dtype):
    for kind in "shared", "paired":
        arrays, _ = draw(kind, 7, 5, dtype=dtype)
        arrays["negatives"][..., 2:, :] = 0
        loss, (*gradients, d_t) = call(kind, arrays, temperature)
        assert np.isfinite(loss) and np.isfinite(d_t) and all(np.isfinite(g).all() for g in gradients)
        assert not gradients[2][..., 2:, :].any()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ALWAYS_NORMALIZED + NEVER_NORMALIZED])
def test_the_temperature_divides_every_score(kind):
    arrays, options = draw(kind, 15, 6)
    options["normalize"] = False
    if kind == "dclw":
        options["sigma"] = np.inf
    loss, (*gradients, d_t) = call(kind, arrays, 0.4, **options)
    scaled = {name: 4 * x if name in ("query", "z") else x for name, x in arrays.items()}
    factor = 16 if "z" in arrays else 4
    again, (*others, e_t) = call(kind, scaled, factor * 0.4, **options)
    assert again == pytest.approx(loss, rel=1e-12) and e_t == pytest.approx(d_t / factor, rel=1e-9)
    for name, d_x, e_x in zip(arrays, gradients, others, strict=True):
        assert relative_error(e_x * (4 if name in ("query", "z") else 1), d_x) < 1e-11


def test_queries_are_not_keys_and_labels_belong_to_samples():
    arrays, _ = draw("in_batch", 12, 5)
    query, key = arrays.values()
    assert abs(nf.info_nce(query, key)[0] - nf.info_nce(key, query)[0]) > 1e-3
    z, labels = draw("nt_xent", 6, 5)[0]["z"], [0, 1, 1, 2, 0, 2]
    rows = z.reshape(-1, 5)
    assert nf.sup_con(z, labels)[0] == nf.sup_con(rows, np.tile(labels, len(z)))[0]
    assert abs(nf.sup_con(z, labels)[0] - nf.sup_con(rows, np.repeat(labels, len(z)))[0]) > 1e-3


# ---- Properties ----

BATCHES = st.tuples(st.integers(2, 40), st.integers(1, 20), st.integers(0, 2**31))


@settings(max_examples=25, deadline=None)
@given(BATCHES, st.sampled_from([0.07, 0.5, 1.0, 100.0]))
@pytest.mark.parametrize("kind", KINDS)
def test_order_and_axes_do_not_matter(kind, batch, temperature):
    """The samples in another order, in rotated axes: the same loss, and gradients that went along."""
    n, width, seed = batch
    arrays, options = draw(kind, n, width, seed)
    rng = np.random.default_rng(seed)
    order, rotation = rng.permutation(n), np.linalg.qr(rng.normal(size=(width, width)))[0]

    def moved(name, x):
        x = x @ rotation
        if name == "negatives" and kind == "shared":
            return x
        return x[order] if name != "z" or x.ndim == 2 else x[:, order]

    moved_options = dict(options)
    if "labels" in options:
        moved_options["labels"] = options["labels"][order]
    loss, gradients = call(kind, arrays, temperature, **options)
    again, others = call(kind, {name: moved(name, x) for name, x in arrays.items()}, temperature, **moved_options)
    assert again == pytest.approx(loss, rel=1e-9, abs=1e-9)
    for name, d_x, e_x in zip(arrays, gradients, others, strict=kind == "n_pair" and len(arrays) == 2):
        assert np.allclose(e_x, moved(name, d_x), rtol=0, atol=1e-9 * max(np.abs(d_x).max(), 1e-3 / temperature))


@settings(max_examples=25, deadline=None)
@given(BATCHES, st.sampled_from([0.01, 0.5, 100.0]), st.sampled_from([1.0, 1e4]))
@pytest.mark.parametrize("kind", ["in_batch", "symmetric", "shared", "paired", "nt_xent", "sup_con_out", "sup_con_in"])
def test_adding_a_constant_to_the_scores_of_a_query_changes_nothing(kind, batch, temperature, size):
    """By one more axis, in which all keys and negatives are 1; for losses that go both ways, one constant for all."""
    n, width, seed = batch
    arrays, options = draw(kind, n, width, seed)
    constants = size * np.random.default_rng(seed).uniform(-1, 1, size=(n, 1)) * temperature
    if kind == "symmetric":
        constants[:] = constants[0]

    def extended(name, x):
        more = {"query": constants, "z": np.sqrt(abs(constants[0]))}.get(name, 1.0)
        return np.concatenate([x, np.broadcast_to(more, (*x.shape[:-1], 1))], axis=-1)

    loss, gradients = call(kind, arrays, temperature, normalize=False, **options)
    shifted = {name: extended(name, x) for name, x in arrays.items()}
    again, others = call(kind, shifted, temperature, normalize=False, **options)
    scale = 1e-12 * (size + max(np.abs(x).max() for x in arrays.values()) ** 2 * width / temperature)
    assert again == pytest.approx(loss, rel=1e-9, abs=scale)
    for name, d_x, e_x in zip(arrays, gradients, others, strict=False):
        bound = max(np.abs(arrays["z" if name == "z" else "query"]).max(), 1) / temperature
        assert np.allclose(e_x[..., :-1], d_x, rtol=0, atol=10 * scale * bound + 1e-9 * np.abs(d_x).max())


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 20), st.integers(0, 2**31), st.sampled_from(TEMPERATURES))
def test_one_sample_or_no_negative_is_no_loss(n, width, seed, temperature):
    for kind in "in_batch", "symmetric", "nt_xent":
        arrays, options = draw(kind, 1, width, seed)
        arrays = {name: x[:2] for name, x in arrays.items()}
        loss, gradients = call(kind, arrays, temperature, **options)
        assert loss == 0 and all(not np.any(g) for g in gradients)
    for kind in "shared", "paired":
        arrays, options = draw(kind, n, width, seed, negatives=0)
        loss, gradients = call(kind, arrays, temperature, **options)
        assert loss == 0 and all(not np.any(g) for g in gradients)


@settings(max_examples=25, deadline=None)
@given(BATCHES, st.sampled_from(TEMPERATURES))
@pytest.mark.parametrize("kind", ["in_batch", "symmetric", "nt_xent", "sup_con_out", "sup_con_in", "debiased"])
def test_a_batch_with_every_sample_twice_counts_each_twice(kind, batch, temperature):
    n, width, seed = batch
    arrays, options = draw(kind, n, width, seed)
    doubled = {name: np.concatenate([x, x], axis=-2) for name, x in arrays.items()}
    if "labels" in options:
        options["labels"] = np.tile(options["labels"], 2)
    loss, gradients = call(kind, doubled, temperature, **options)
    assert loss == pytest.approx(twin_of(kind, doubled, **options)(temperature, **doubled), rel=1e-9, abs=1e-9)
    for gradient in gradients[:-1]:
        first, second = np.split(gradient, 2, axis=-2)
        assert np.allclose(first, second, rtol=0, atol=1e-9 * max(np.abs(gradient).max(), 1e-3 / temperature))


# ---- Threads ----


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ALL)
def test_any_number_of_threads_gives_the_same_bits(threads, kind, dtype):
    arrays, options = draw(kind, 400, 20, dtype=dtype)

    def results():
        calls = [{"reduction": "mean"}, {"reduction": "none"}, {"reduction": "sum", "weights": draw_weights(arrays)}]
        return [call(kind, arrays, **options, **more) for more in ([{}] if kind in WITHOUT_REDUCTION else calls)]

    threads(1)
    wanted = results()
    for count in 2, 3, 7:
        threads(count)
        assert all(same_bits(*pair) for pair in zip(results(), wanted, strict=True))


def test_mixed_calls_from_eight_python_threads_are_those_of_one():
    calls = []
    for index, kind in enumerate(ALL):
        for dtype, n, temperature in (np.float32, 30, 0.2), (np.float64, 17, 0.5), (np.float32, 9, 0.001):
            arrays, options = draw(kind, n, 10, dtype=dtype)
            if kind not in WITHOUT_REDUCTION:
                options["reduction"] = REDUCTIONS[index % 3]
            calls.append((kind, arrays, max(temperature, 0.2) if kind == "nwj" else temperature, options))
    wanted = [call(kind, arrays, temperature, **options) for kind, arrays, temperature, options in calls]

    def run(seed):
        for index in np.random.default_rng(seed).integers(len(calls), size=200):
            kind, arrays, temperature, options = calls[index]
            if not same_bits(call(kind, arrays, temperature, **options), wanted[index]):
                return kind
        return None

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(run, range(8))) == [None] * 8


# ---- Memory ----


@pytest.mark.parametrize(
    "kind, temperature",
    [(kind, 0.2) for kind in ALL] + [(kind, 0.001) for kind in ANY_TEMPERATURE],  # the latter are computed in double
)
def test_any_allocation_may_fail(kind, temperature):
    arrays, options = draw(kind, 40, 6, dtype=np.float32)
    if kind not in WITHOUT_REDUCTION:
        options |= {"reduction": "none", "weights": draw_weights(arrays)}
    check_allocation_failures(lambda: call(kind, arrays, temperature, **options), 4)


@pytest.mark.parametrize("kind", ALL)
def test_nothing_is_kept_after_a_call(kind):
    arrays, options = draw(kind, 12, 8, dtype=np.float32)
    name = [*arrays][-1]
    unfit = {**arrays, name: np.full_like(arrays[name], np.nan)}
    with_weights = {} if kind in WITHOUT_REDUCTION else {"reduction": "none", "weights": draw_weights(arrays)}

    def run(times):
        for _ in range(times):
            call(kind, arrays, **options, **with_weights)
            if with_weights:
                with pytest.raises(ValueError):
                    call(kind, arrays, **options, weights=with_weights["weights"][..., :-1])
            for bad, more in (arrays, {"temperature": -1.0}), (unfit, {}), ({**arrays, name: arrays[name].ravel()}, {}):
                if not more or kind not in WITHOUT_TEMPERATURE + LEARNED_SCALES:
                    with pytest.raises(ValueError):
                        call(kind, bad, **options, **more)
        gc.collect()
        return sys.getallocatedblocks()

    counts = [sys.getrefcount(x) for x in arrays.values()]
    before = run(20)
    assert run(200) - before < 100  # Python's blocks of memory, of which an array has at least one
    assert [sys.getrefcount(x) for x in arrays.values()] == counts


# ---- Bad input ----

BAD_ARRAYS = {
    "one dimension": lambda x: x.reshape(-1),
    "too many dimensions": lambda x: x[None, None],
    "no columns": lambda x: x[..., :0],
    "other columns": lambda x: x[..., :-1],
    "NaN": lambda x: np.where(x == x.max(), np.nan, x),
    "infinity": lambda x: np.where(x == x.max(), np.inf, x),
    "complex": lambda x: x.astype(complex),
    "text": lambda x: x.astype(str),
    "objects": lambda x: x.astype(object),
    "ragged": lambda x: [[1.0, 2.0], [1.0]],
    "nothing": lambda x: None,
    "a set": lambda x: {1.0, 2.0},
}
BAD_NUMBERS = [0.0, -1.0, np.nan, np.inf, -np.inf, "warm", None, [0.1, 0.2], 1j]


def refuses(name, kind, arrays, **options):
    with pytest.raises((ValueError, TypeError), match=rf"\b({name})\b"):
        call(kind, arrays, **options)


# What messages call arrays that are handed on under another name.
ALSO_NAMED = {"key": "query|key", "image": "image|query|x", "text": "text|key|y"}


@pytest.mark.parametrize("bad", BAD_ARRAYS)
@pytest.mark.parametrize("kind", ALL)
def test_bad_arrays_are_named(kind, bad):
    arrays, options = draw(kind, 6, 4)
    for name in arrays:
        if (name, bad) == ("negatives", "nothing") or (name, bad) == ("z", "other columns"):
            continue  # these are right
        refuses(ALSO_NAMED.get(name, name), kind, {**arrays, name: BAD_ARRAYS[bad](arrays[name])}, **options)


@pytest.mark.parametrize("kind", ALL)
def test_bad_options_are_named(kind):
    arrays, options = draw(kind, 6, 4)
    for reduction in "average", "", None, 0, ["mean"], True:
        refuses("reduction", kind, arrays, **{**options, "reduction": reduction})
    if kind not in WITHOUT_TEMPERATURE + LEARNED_SCALES:
        for temperature in BAD_NUMBERS:
            refuses("temperature", kind, arrays, **{**options, "temperature": temperature})
    numbers = {
        "n_pair": {"l2": 0.0},
        "dclw": {"sigma": np.inf},
        "debiased": {"tau_plus": 0.0, "beta": 0.0},
        "align_uniform": {"alpha": None, "t": None},
        "pair": {"margin": None},
        "triplet_margin": {"margin": 0.0},
        "triplet": {"margin": 0.0},
        "contrastive": {"pos_margin": 0.0, "neg_margin": 0.0},
    }
    for name, allowed in numbers.get(kind, {}).items():
        for bad in BAD_NUMBERS:
            if bad != allowed:
                refuses(name, kind, arrays, **{**options, name: bad})
    if "labels" in options:
        right = options["labels"]
        for bad in right[:-1], right[None], right + 0.5, right.astype(str), None, 3, right.astype(complex):
            refuses("labels", kind, arrays, **{**options, "labels": bad})
    if kind in WITH_REDUCTION:
        right = np.abs(draw_weights(arrays)) + 0.1
        first = (0,) * right.ndim
        for number in np.nan, np.inf, -np.inf, 2e30, -2e30:
            bad = right.copy()
            bad[first] = number
            refuses("weights", kind, arrays, **{**options, "weights": bad})
        other_shapes = right[..., :-1], right[None], right.ravel()[0], np.concatenate([right, right]), []
        for bad in *other_shapes, right.astype(complex), right.astype(str), right.astype(object), "heavy":
            refuses("weights", kind, arrays, **{**options, "weights": bad})
    if kind.startswith("sup_con"):
        for bad in "both", None, 0:
            refuses("positives", kind, arrays, **{**options, "positives": bad})


# ---- Documentation ----


@pytest.mark.parametrize(
    "name", ["__init__", *(module.name for module in pkgutil.iter_modules(nearfar.losses.__path__))]
)
def test_examples(name):
    module = importlib.import_module("nearfar.losses" if name == "__init__" else f"nearfar.losses.{name}")
    assert doctest.testmod(module).failed == 0
