"""The losses of critics, for mutual information and of SigLIP, against float64 twins, goldens and hostile input."""

import nearfar as nf
import numpy as np
import pytest
from reference import losses as loss_twins
from reference import pair_losses as twin
from reference.loss_check import (
    check_allocation_failures,
    check_any_number_of_threads,
    check_by_central_differences,
    in_some_layout,
    relative_error,
)

OBJECTIVES = {"jsd": nf.losses.jsd, "nwj": nf.losses.nwj, "donsker_varadhan": nf.losses.donsker_varadhan}
SCORES = ["dot", "cosine", "bilinear", "distance"]
SIZES = [(2, 1), (3, 2), (7, 15), (15, 7), (16, 16), (17, 33), (31, 3), (33, 17), (48, 5), (49, 20), (150, 40)]


def inputs(score, n, width, seed=0, dtype=np.float64):
    """x, y that has to do with it, and w if the score has one."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, width))
    if score != "bilinear":
        return [x.astype(dtype), (x + rng.normal(size=x.shape)).astype(dtype)]
    w = rng.normal(size=(width, width + 2)) / width
    return [x.astype(dtype), (x @ w + rng.normal(size=(n, width + 2))).astype(dtype), w.astype(dtype)]


def run(name, arrays, score, temperature, **keywords):
    x, y, *w = arrays
    w = w[0] if w else None
    return OBJECTIVES[name](x, y, score=score, w=w, temperature=temperature, temperature_gradient=True, **keywords)


def check(name, arrays, score, temperature, tolerance):
    loss, (*gradients, d_t) = run(name, arrays, score, temperature)
    x, y, *w = arrays
    t = twin.scores(x, y, score, *w) / temperature
    d = twin.critic_gradient(t, name)
    wanted = twin.critic(t, name)
    assert type(loss) is float
    assert loss == pytest.approx(wanted, rel=tolerance, abs=tolerance * max(np.abs(t).max(), 1))
    expected = twin.scores_backward(d / temperature, x, y, score, *w)
    for gradient, wanted_gradient, array in zip(gradients, expected, arrays, strict=True):
        assert gradient.dtype == array.dtype
        assert np.abs(gradient - wanted_gradient).max() <= 20 * tolerance * np.abs(wanted_gradient).max() + 1e-14
    terms = np.abs(d * t).sum() / temperature
    assert d_t == pytest.approx(-(d * t).sum() / temperature, rel=10 * tolerance, abs=20 * tolerance * terms)
    return loss, gradients


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("score", SCORES)
def test_equal_their_twins(name, score):
    for n, width in SIZES:
        check(name, inputs(score, n, width, n), score, 3.0 + width, 1e-11)


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("n", [64, 150, 1100])
def test_float32_is_near_float64(name, score, n):
    check(name, inputs(score, n, 12, dtype=np.float32), score, 8.0, 1e-5)


@pytest.mark.parametrize("name", ["jsd", "donsker_varadhan"])
@pytest.mark.parametrize("temperature", [0.001, 0.01, 0.07, 0.5, 1.0, 100.0])
@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-5), (np.float64, 1e-9)])
def test_any_temperature(name, temperature, dtype, tolerance):
    check(name, inputs("cosine", 150, 32, dtype=dtype), "cosine", temperature, tolerance)
    check(name, inputs("distance", 150, 5, dtype=dtype), "distance", temperature, tolerance)


# ---- A matrix of scores ----


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-12), (np.float32, 2e-6)])
def test_matrices(name, dtype, tolerance):
    for n in 2, 3, 7, 15, 16, 17, 31, 33, 600, 1025:
        scores = (2 * np.random.default_rng(n).normal(size=(n, n))).astype(dtype)
        loss, d_scores = OBJECTIVES[name](scores)
        assert type(loss) is float
        assert loss == pytest.approx(twin.critic(scores, name), rel=tolerance, abs=tolerance)
        assert d_scores.dtype == dtype
        assert relative_error(d_scores, twin.critic_gradient(scores, name)) < 5 * tolerance


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("seed", range(8))
def test_gradients_of_matrices_by_central_differences(name, seed):
    rng = np.random.default_rng(seed)
    n = rng.integers(2, 8)
    scores = in_some_layout(rng, 3 * rng.normal(size=(n, n)))
    _, d_scores = OBJECTIVES[name](scores)
    check_by_central_differences(lambda scores: twin.critic(scores, name), {"scores": scores}, [d_scores])


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("score", SCORES)
def test_x_and_y_give_what_their_matrix_gives(name, score):
    x, y, *w = inputs(score, 70, 6)
    functions = {"distance": nf.losses.scores.negative_squared_distance}
    scores = functions.get(score, getattr(nf.losses.scores, score, None))(x, y, *w) / 4
    loss, _ = run(name, (x, y, *w), score, 4.0)
    assert OBJECTIVES[name](scores)[0] == pytest.approx(loss, rel=1e-12)


def test_one_positive_score_at_chance():
    """The values that the docstrings give for equal scores."""
    for n in 2, 5, 33:
        zeros, ones = np.zeros((n, n)), np.ones((n, n))
        assert nf.losses.jsd(zeros)[0] == pytest.approx(2 * np.log(2), rel=1e-12)
        assert nf.losses.jsd(3 * ones)[0] == pytest.approx(twin.softplus(3) + twin.softplus(-3), rel=1e-12)
        assert nf.losses.nwj(ones)[0] == pytest.approx(0, abs=1e-12)
        assert nf.losses.nwj(3 * ones)[0] == pytest.approx(np.exp(2) - 3, rel=1e-12)
        assert nf.losses.donsker_varadhan(7 * ones)[0] == pytest.approx(0, abs=1e-12)
        assert nf.losses.info_nce_bound(7 * ones) == pytest.approx(0, abs=1e-12)
        collapsed = np.full((n, 4), 0.3)
        assert nf.losses.donsker_varadhan(collapsed, collapsed)[0] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", ["jsd", "nwj"])
def test_reductions(name):
    function = OBJECTIVES[name]
    x, y = inputs("dot", 60, 5)
    scores = x @ y.T / 4
    for arguments, options in [((scores,), {}), ((x, y), {"temperature": 4.0})]:
        mean, gradients = function(*arguments, **options)
        total, summed = function(*arguments, reduction="sum", **options)
        values, same = function(*arguments, reduction="none", **options)
        assert values == pytest.approx(twin.critic_values(scores, name), rel=1e-11)
        assert values.shape == (60,)
        assert total == pytest.approx(60 * mean, rel=1e-12)
        for a, b, c in zip(np.atleast_3d(gradients), np.atleast_3d(summed), np.atleast_3d(same), strict=True):
            assert relative_error(b, 60 * a) < 1e-11
            assert np.array_equal(b, c)
        assert function(np.float32(scores), reduction="none")[0].dtype == np.float32


# ---- Goldens ----


def gaussians(n, rho, copies=1):
    """`copies` pairs of Gaussians with correlation rho, and the best critic's scores, log p(x, y) / (p(x) p(y))."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, copies))
    y = rho * x + np.sqrt(1 - rho**2) * rng.normal(size=(n, copies))
    a, b = x[:, None], y[None]
    log_ratio = -0.5 * np.log(1 - rho**2) - (rho**2 * (a**2 + b**2) - 2 * rho * a * b) / (2 * (1 - rho**2))
    return log_ratio.sum(axis=2)


def test_estimates_of_the_mutual_information_of_gaussians():
    best, true = gaussians(400, 0.8), -0.5 * np.log(1 - 0.8**2)
    assert true == pytest.approx(0.511, abs=1e-3)
    assert nf.losses.info_nce_bound(best) == pytest.approx(true, abs=0.05)
    assert -nf.losses.donsker_varadhan(best)[0] == pytest.approx(true, abs=0.05)
    assert -nf.losses.nwj(best + 1)[0] == pytest.approx(true, abs=0.05)
    assert nf.losses.donsker_varadhan(best + 5)[0] == pytest.approx(nf.losses.donsker_varadhan(best)[0], rel=1e-12)


def test_info_nce_is_capped_by_the_number_of_samples():
    best = gaussians(400, 0.8, copies=20)
    assert 20 * -0.5 * np.log(1 - 0.8**2) > np.log(400)
    assert 0.9 * np.log(400) < nf.losses.info_nce_bound(best) <= np.log(400)


def test_the_bound_is_log_n_minus_info_nce():
    for score in SCORES:
        arrays = inputs(score, 40, 6)
        x, y, *w = arrays
        t = twin.scores(x, y, score, *w) / 2
        got = nf.losses.info_nce_bound(x, y, score=score, w=w[0] if w else None, temperature=2.0)
        assert type(got) is float
        assert got == pytest.approx(twin.info_nce_bound(t), rel=1e-10)
        assert nf.losses.info_nce_bound(t) == pytest.approx(got, rel=1e-10)
    x, y = inputs("cosine", 40, 6)
    loss, _ = nf.info_nce(x, y, 0.3)
    assert nf.losses.info_nce_bound(x, y, score="cosine", temperature=0.3) == pytest.approx(np.log(40) - loss)


def test_deep_info_max_shifts_the_value_by_two_log_two():
    """Its softplus of both signs with log 2 taken off each: E_negative - E_positive."""
    scores = gaussians(50, 0.5)
    positive = np.log(2) - twin.softplus(-np.diagonal(scores))
    negative = twin.softplus(-twin.others(scores)) + twin.others(scores) - np.log(2)
    assert nf.losses.jsd(scores)[0] - 2 * np.log(2) == pytest.approx(negative.mean() - positive.mean(), rel=1e-12)


# ---- The sigmoid loss and CLIP ----


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("logit_scale, logit_bias", [(np.log(10), -10.0), (0.0, 0.0), (2.5, -3.0), (-1.0, 4.0)])
def test_sigmoid_loss_equals_its_twin(normalize, logit_scale, logit_bias):
    for n, width in [(1, 3), *SIZES]:
        image, text = inputs("dot", n, width, n)
        loss, gradients = nf.sigmoid_loss(image, text, logit_scale, logit_bias, normalize=normalize)
        arguments = image, text, logit_scale, logit_bias
        assert loss == pytest.approx(twin.sigmoid_loss(*arguments, normalize=normalize), rel=1e-11)
        expected = twin.sigmoid_loss_gradients(*arguments, normalize=normalize)
        for gradient, wanted in zip(gradients, expected, strict=True):
            assert np.abs(gradient - wanted).max() <= 1e-10 * max(np.abs(wanted).max(), 1e-2)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("seed", range(8))
def test_sigmoid_loss_by_central_differences(normalize, seed):
    rng = np.random.default_rng(seed)
    n, width = rng.integers(1, 7), rng.integers(1, 5)
    image, text = (in_some_layout(rng, x) for x in inputs("dot", n, width, seed))
    named = {"image": image, "text": text, "logit_scale": rng.normal(), "logit_bias": rng.normal()}
    _, gradients = nf.sigmoid_loss(**named, normalize=normalize)
    check_by_central_differences(lambda **x: twin.sigmoid_loss(**x, normalize=normalize), named, gradients)


@pytest.mark.parametrize("n", [150, 1100, 2300])
def test_sigmoid_loss_in_float32(n):
    image, text = inputs("cosine", n, 24, dtype=np.float32)
    loss, gradients = nf.sigmoid_loss(image, text)
    arguments = image, text, np.log(10), -10.0
    assert loss == pytest.approx(twin.sigmoid_loss(*arguments), rel=1e-5)
    for gradient, wanted in zip(gradients, twin.sigmoid_loss_gradients(*arguments), strict=True):
        assert relative_error(gradient, wanted) < 1e-5


def test_sigmoid_loss_at_chance():
    for n in 2, 33, 500:
        collapsed = np.ones((n, 5))
        loss, (*_, d_bias) = nf.sigmoid_loss(collapsed, collapsed, 0.0, -np.log(n - 1) - 1)
        assert loss == pytest.approx(np.log(n) + (n - 1) * np.log(n / (n - 1)), rel=1e-12)
        assert np.log(n) < loss < np.log(n) + 1
        assert d_bias == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("normalize", [True, False])
def test_clip_is_symmetric_info_nce(normalize):
    for n, width in SIZES:
        image, text = inputs("dot", n, width)
        loss, gradients = nf.clip(image, text, 1.2, normalize=normalize)
        temperature = np.exp(-1.2)
        keywords = {"symmetric": True, "normalize": normalize}
        assert loss == pytest.approx(loss_twins.info_nce(image, text, temperature, **keywords), rel=1e-10, abs=1e-13)
        *expected, d_t = loss_twins.info_nce_gradients(image, text, temperature, **keywords)
        for gradient, wanted in zip(gradients, (*expected, -temperature * d_t), strict=True):
            assert np.abs(gradient - wanted).max() <= 1e-10 * max(np.abs(wanted).max(), 1e-2)
    assert nf.clip(image, text)[0] == pytest.approx(nf.info_nce(image, text, 0.07, symmetric=True)[0], rel=1e-12)


# ---- Hard cases ----


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_scores_stay_finite(dtype):
    tolerance = 1e-6 if dtype == np.float32 else 1e-12
    rng = np.random.default_rng(0)
    for size in 1e3, 1e4, 1e30:
        scores = (size * rng.normal(size=(20, 20))).astype(dtype)
        for name in "jsd", "donsker_varadhan":
            loss, d_scores = OBJECTIVES[name](scores)
            assert loss == pytest.approx(twin.critic(scores, name), rel=tolerance)
            assert relative_error(d_scores, twin.critic_gradient(scores, name)) < tolerance
        low = -np.abs(scores)
        loss, d_scores = nf.losses.nwj(low)
        assert loss == pytest.approx(twin.critic(low, "nwj"), rel=tolerance)
        assert np.isfinite(d_scores).all()
    x = (100 * rng.normal(size=(40, 6))).astype(dtype)
    for name in OBJECTIVES:
        check(name, [x, x[::-1].copy()], "distance", 1.0, 1e-5 if dtype == np.float32 else 1e-9)
    check("donsker_varadhan", [x, x[::-1].copy()], "dot", 1.0, 1e-5 if dtype == np.float32 else 1e-9)
    for logit_scale, bias in [(9.0, 0.0), (0.0, -1e4), (0.0, 1e4), (80.0, 0.0), (-600.0, 0.0)]:
        loss, gradients = nf.sigmoid_loss(x, x, logit_scale, bias)
        assert loss == pytest.approx(twin.sigmoid_loss(x, x, logit_scale, bias), rel=1e-5)
        assert not any(np.isnan(g).any() for g in gradients)
    with pytest.raises(ValueError, match="gradients exceed the range of float32"):
        nf.sigmoid_loss(np.float32(x), np.float32(x[::-1]), 300.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_far_below_their_bound(dtype):
    """One long row and its opposite set a bound that no pair of different samples comes near to."""
    x, y = inputs("dot", 30, 6, dtype=dtype)
    x[3] *= 30
    y[3] = x[3]
    y[np.arange(30) != 3] *= 0.01
    check("donsker_varadhan", [x, y], "dot", 100.0, 1e-5 if dtype == np.float32 else 1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_zeros(dtype):
    x, y = inputs("cosine", 20, 6, dtype=dtype)
    x[3] = y[5] = 0
    for name in OBJECTIVES:
        _, (d_x, d_y) = check(name, [x, y], "cosine", 0.5, 1e-5)
        assert not d_x[3].any()
        assert not d_y[5].any()
    _, (d_image, d_text, _, _) = nf.sigmoid_loss(x, y)
    assert not d_image[3].any()
    assert not d_text[5].any()
    loss, gradients = nf.sigmoid_loss(np.zeros((4, 3), dtype), np.zeros((4, 3), dtype))
    assert loss == pytest.approx(twin.softplus(10) + 3 * twin.softplus(-10), rel=1e-6)
    assert not gradients[0].any()


def test_permutation_and_rotation():
    x, y = inputs("dot", 60, 7)
    order = np.random.default_rng(1).permutation(60)
    rotation = np.linalg.qr(np.random.default_rng(2).normal(size=(7, 7)))[0]
    for name in OBJECTIVES:
        for score in "dot", "cosine", "distance":
            loss, (d_x, d_y, _) = run(name, [x, y], score, 4.0)
            for (a, b), (wanted_a, wanted_b) in [
                ((x[order], y[order]), (d_x[order], d_y[order])),
                ((x @ rotation, y @ rotation), (d_x @ rotation, d_y @ rotation)),
                ((y, x), (d_y, d_x)),
            ]:
                again, (d_a, d_b, _) = run(name, [a, b], score, 4.0)
                assert again == pytest.approx(loss, rel=1e-10)
                assert relative_error(d_a, wanted_a) < 1e-10
                assert relative_error(d_b, wanted_b) < 1e-10


# ---- Input, threads and memory ----


def test_types_and_layouts():
    x, y = inputs("dot", 20, 6)
    copies = x.copy(), y.copy()
    wanted = nf.losses.jsd(x, y)
    for a, b in [(np.asfortranarray(x), y.tolist()), (np.repeat(x, 2, axis=1)[:, ::2], y.astype(">f8"))]:
        loss, gradients = nf.losses.jsd(a, b)
        assert loss == wanted[0]
        assert all(np.array_equal(g, w) for g, w in zip(gradients, wanted[1], strict=True))
    assert np.array_equal(x, copies[0])
    assert np.array_equal(y, copies[1])
    assert nf.losses.jsd(x.astype("f4"), y.astype("f2"))[1][0].dtype == np.float32
    assert nf.losses.jsd(x.astype("f4"), y)[1][0].dtype == np.float64
    assert nf.losses.jsd(np.arange(9).reshape(3, 3))[1].dtype == np.float64


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_number_of_threads_gives_the_same_bits(dtype):
    x, y = inputs("dot", 600, 20, dtype=dtype)
    w = np.eye(20, dtype=dtype)

    def everything():
        results = [nf.sigmoid_loss(x, y), nf.clip(x, y)]
        for name in OBJECTIVES:
            results += [run(name, [x, y], score, 12.0) for score in ("dot", "cosine", "distance")]
            results += [run(name, [x, y, w], "bilinear", 12.0), OBJECTIVES[name](x[:, :1] * y[:, :1].T)]
        return results

    check_any_number_of_threads(everything)


def test_allocation_failures():
    x, y = inputs("dot", 70, 6, dtype=np.float32)
    w = np.eye(6, dtype=np.float32)
    check_allocation_failures(lambda: nf.losses.jsd(x, y, score="bilinear", w=w), 8)
    check_allocation_failures(lambda: nf.losses.donsker_varadhan(x, y, temperature=0.01), 6)
    check_allocation_failures(lambda: nf.losses.nwj(x[:6]), 3)
    check_allocation_failures(lambda: nf.sigmoid_loss(x, y, 9.0), 6)


GOOD = np.ones((4, 3))


@pytest.mark.parametrize("function", OBJECTIVES.values())
@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "message"),
    [
        ((GOOD,), {}, ValueError, r"scores must be square, got shape \(4, 3\)"),
        ((GOOD[:1, :1],), {}, ValueError, "at least 2 samples, got 1"),
        ((GOOD[:0, :0],), {}, ValueError, "at least one row"),
        ((np.full((3, 3), np.nan),), {}, ValueError, "scores must be finite.*row 0"),
        ((np.full((3, 3), 1e295),), {}, ValueError, "below 1e290"),
        ((np.eye(3), None), {"temperature": 0.5}, ValueError, "y must not be None"),
        ((np.eye(3), None), {"w": np.eye(3)}, ValueError, "y must not be None|truth value"),
        ((GOOD, GOOD[:3]), {}, ValueError, "as many rows, got 4 and 3"),
        ((GOOD, GOOD[:, :2]), {}, ValueError, "same number of columns, got 3 and 2"),
        ((GOOD[:1], GOOD[:1]), {}, ValueError, "at least 2 samples, got 1"),
        ((GOOD[:, :0], GOOD[:, :0]), {}, ValueError, "at least one column"),
        ((GOOD, GOOD * np.inf), {}, ValueError, "y must be finite"),
        ((GOOD, GOOD), {"score": "euclid"}, ValueError, "score must be one of"),
        ((GOOD, GOOD), {"score": "bilinear"}, ValueError, "needs w"),
        ((GOOD, GOOD), {"w": np.eye(3)}, ValueError, "bilinear score only"),
        ((GOOD, GOOD), {"score": "bilinear", "w": np.eye(2)}, ValueError, r"w must have shape \(3, 3\).*\(2, 2\)"),
        ((GOOD, GOOD), {"temperature": 0.0}, ValueError, "temperature must be finite and > 0, got 0"),
        ((GOOD, GOOD), {"temperature": np.nan}, ValueError, "temperature must be finite and > 0, got nan"),
        ((GOOD, GOOD), {"temperature": "warm"}, TypeError, "temperature must be a real number, got 'warm'"),
        ((GOOD.astype(complex), GOOD), {}, TypeError, "x"),
        ((GOOD * 1e200, GOOD * 1e200), {}, ValueError, "below 1e300"),
    ],
)
def test_bad_arguments(function, arguments, keywords, error, message):
    with pytest.raises(error, match=message):
        function(*arguments, **keywords)


def test_bad_reductions():
    for function in nf.losses.jsd, nf.losses.nwj:
        with pytest.raises(ValueError, match="reduction must be one of 'mean', 'sum', 'none', got 'median'"):
            function(np.eye(3), reduction="median")
    with pytest.raises(TypeError, match="reduction"):
        nf.losses.donsker_varadhan(np.eye(3), reduction="sum")


@pytest.mark.parametrize(
    ("scores", "limit"), [(np.full((3, 3), 700.0), "680"), (np.full((3, 3), 90.0, np.float32), "80")]
)
def test_exponentials_that_overflow(scores, limit):
    with pytest.raises(ValueError, match=f"scores of different samples must stay below {limit}, got up to"):
        nf.losses.nwj(scores)
    x = np.full((3, 1), 30, scores.dtype)
    with pytest.raises(ValueError, match=r"scores of different samples must stay|gradients exceed"):
        nf.losses.nwj(x, x)
    assert np.isfinite(nf.losses.nwj(x, -x)[0])


def test_weights_of_exponentials_stay_in_range():
    scores = np.full((3, 3), 60, np.float32)
    loss, d_scores = nf.losses.nwj(scores, weights=[1e5, 1, 2])
    assert np.isfinite(loss) and np.isfinite(d_scores).all()
    with pytest.raises(ValueError, match=r"weights up to .* are too large for scores of different samples up to 60"):
        nf.losses.nwj(scores, weights=[1e12, 1, 2])
    with pytest.raises(TypeError, match="weights"):
        nf.losses.donsker_varadhan(scores, weights=[1, 1, 1])


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "message"),
    [
        ((GOOD, GOOD[:3]), {}, ValueError, "(as many rows|same shape)"),
        ((GOOD, GOOD[:, :2]), {}, ValueError, "(same number of columns|same shape)"),
        ((GOOD[0], GOOD), {}, ValueError, "must have 2 dimensions, got 1"),
        ((GOOD[:0], GOOD[:0]), {}, ValueError, "at least one row"),
        ((GOOD, GOOD, np.nan), {}, ValueError, "logit_scale must be from -600 to 600.*got nan"),
        ((GOOD, GOOD, 1000.0), {}, ValueError, "logit_scale must be from -600 to 600.*got 1000"),
        ((GOOD, GOOD, "large"), {}, ValueError, "could not convert"),
        ((GOOD, GOOD, None), {}, TypeError, "float"),
        ((GOOD * np.nan, GOOD), {}, ValueError, "must be finite"),
        ((GOOD, GOOD.astype(str)), {}, TypeError, "array of numbers"),
    ],
)
@pytest.mark.parametrize("function", [nf.clip, nf.sigmoid_loss])
def test_bad_arguments_of_clip_and_sigmoid_loss(function, arguments, keywords, error, message):
    with pytest.raises(error, match=message):
        function(*arguments, **keywords)


def test_bad_biases():
    for bias in np.nan, np.inf, -1e301:
        with pytest.raises(ValueError, match="the bias must be finite"):
            nf.sigmoid_loss(GOOD, GOOD, 0.0, bias)


@pytest.mark.parametrize("scores", [GOOD, GOOD[:0, :0], np.full((3, 3), np.nan), np.full((2, 2), 1e295)])
def test_bad_matrices_for_the_bound(scores):
    with pytest.raises(ValueError, match="scores must be"):
        nf.losses.info_nce_bound(scores)
    with pytest.raises(TypeError, match="real numbers"):
        nf.losses.info_nce_bound(np.eye(2, dtype=complex))
    with pytest.raises(ValueError, match="bilinear"):
        nf.losses.info_nce_bound(GOOD, GOOD, w=np.eye(3))
