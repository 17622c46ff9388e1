"""Scoring functions and their gradients against float64 twins, central differences and hostile input."""

import doctest

import numpy as np
import pytest
from nearfar import losses
from nearfar.losses import scores
from reference import pair_losses as twin
from reference.loss_check import (
    check_allocation_failures,
    check_any_number_of_threads,
    check_by_central_differences,
    in_some_layout,
    relative_error,
)

SCORES = ["dot", "cosine", "bilinear", "distance"]
SIZES = [(1, 1), (2, 3), (3, 2), (7, 15), (15, 16), (16, 17), (17, 7), (31, 33), (33, 31)]
FORWARD = {
    "dot": scores.dot,
    "cosine": scores.cosine,
    "bilinear": scores.bilinear,
    "distance": scores.negative_squared_distance,
}
BACKWARD = {
    "dot": scores.dot_backward,
    "cosine": scores.cosine_backward,
    "bilinear": scores.bilinear_backward,
    "distance": scores.negative_squared_distance_backward,
}


def inputs(score, n, m, width, seed=0, dtype=np.float64):
    """x, y and w if the score has one, whose y is wider than x."""
    rng = np.random.default_rng(seed)
    y_width = width + 2 if score == "bilinear" else width
    arrays = [rng.normal(size=(n, width)), rng.normal(size=(m, y_width))]
    if score == "bilinear":
        arrays.append(rng.normal(size=(width, y_width)))
    return [x.astype(dtype) for x in arrays]


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-12), (np.float32, 2e-6)])
def test_equal_their_twins(score, dtype, tolerance):
    for n, m in SIZES:
        arrays = inputs(score, n, m, 5, n, dtype)
        got = FORWARD[score](*arrays)
        wanted = twin.scores(*arrays[:2], score, *arrays[2:])
        assert got.shape == (n, m)
        assert got.dtype == dtype
        assert np.abs(got - wanted).max() <= tolerance * max(np.abs(wanted).max(), 1)
        d_scores = np.random.default_rng(1).normal(size=(n, m)).astype(dtype)
        gradients = BACKWARD[score](d_scores, *arrays)
        expected = twin.scores_backward(d_scores, *arrays[:2], score, *arrays[2:])
        for gradient, wanted_gradient, x in zip(gradients, expected, arrays, strict=True):
            assert gradient.shape == x.shape
            assert gradient.dtype == dtype
            assert np.abs(gradient - wanted_gradient).max() <= 10 * tolerance * max(np.abs(wanted_gradient).max(), 1)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("seed", range(6))
def test_gradients_by_central_differences(score, seed):
    rng = np.random.default_rng(seed)
    n, m, width = rng.integers(1, 6, 3)
    arrays = [in_some_layout(rng, x) for x in inputs(score, n, m, width, seed)]
    d_scores = in_some_layout(rng, rng.normal(size=(n, m)))

    def value(**arrays):
        x, y, *w = arrays.values()
        return (d_scores * twin.scores(x, y, score, *w)).sum()

    gradients = BACKWARD[score](d_scores, *arrays)
    check_by_central_differences(value, dict(zip("xyw", arrays, strict=False)), gradients)


def test_rows_of_zeros_have_no_direction():
    x = np.eye(3)
    x[1] = 0
    assert not scores.cosine(x, x)[1].any()
    d_x, d_y = scores.cosine_backward(np.ones((3, 3)), x, x)
    assert not d_x[1].any()
    assert not d_y[1].any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_distances_are_never_positive(dtype):
    x = (100 + np.random.default_rng(0).normal(size=(40, 7))).astype(dtype)
    distances = scores.negative_squared_distance(x, x)
    assert (distances <= 0).all()
    assert np.abs(np.diagonal(distances)).max() <= 2 * np.finfo(dtype).eps * np.square(x).sum(axis=1).max()


def test_types():
    x, y = inputs("dot", 4, 5, 3)
    assert scores.dot(x.astype("f2"), y.astype("f4")).dtype == np.float32
    assert scores.dot(x.astype("f4"), y).dtype == np.float64
    assert scores.dot([[1, 2]], [[3, 4]]).tolist() == [[11.0]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("score", SCORES)
def test_any_number_of_threads_gives_the_same_bits(score, dtype):
    arrays = inputs(score, 300, 270, 19, dtype=dtype)
    d_scores = np.random.default_rng(1).normal(size=(300, 270)).astype(dtype)
    check_any_number_of_threads(lambda: (FORWARD[score](*arrays), BACKWARD[score](d_scores, *arrays)))


@pytest.mark.parametrize("score", SCORES)
def test_allocation_failures(score):
    arrays = inputs(score, 20, 30, 7)
    check_allocation_failures(lambda: FORWARD[score](*arrays), 3)
    check_allocation_failures(lambda: BACKWARD[score](np.ones((20, 30)), *arrays), 5)


GOOD = np.ones((4, 3))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: scores.dot(GOOD, GOOD[:, :2]), ValueError, "same number of columns, got 3 and 2"),
        (lambda: scores.cosine(GOOD[0], GOOD), ValueError, "x must have 2 dimensions, got 1"),
        (lambda: scores.cosine(GOOD[:0], GOOD), ValueError, r"x must have at least one row.*\(0, 3\)"),
        (lambda: scores.dot(GOOD, GOOD[:0]), ValueError, r"y must have at least one row.*\(0, 3\)"),
        (lambda: scores.dot(GOOD[:, :0], GOOD[:, :0]), ValueError, r"x must have at least one.*\(4, 0\)"),
        (lambda: scores.dot(GOOD, GOOD * np.nan), ValueError, "y must be finite.*row 0"),
        (lambda: scores.dot(GOOD * 1e200, GOOD * 1e200), ValueError, "below 1e300"),
        (lambda: scores.negative_squared_distance(GOOD * 1e200, GOOD), ValueError, "below 1e300"),
        (lambda: scores.dot(np.float32(GOOD * 1e20), np.float32(GOOD * 1e20)), ValueError, "below 1e38 in float32"),
        (lambda: scores.dot(GOOD.astype(complex), GOOD), TypeError, "x"),
        (lambda: scores.bilinear(GOOD, GOOD, GOOD), ValueError, r"w must have shape \(3, 3\).*got \(4, 3\)"),
        (lambda: scores.bilinear(GOOD, GOOD, np.full((3, 3), np.inf)), ValueError, "w must be finite"),
        (lambda: scores.bilinear(GOOD, GOOD, None), ValueError, "needs w"),
        (
            lambda: scores.bilinear(
                GOOD.astype("f4") * np.float32(1e20), GOOD.astype("f4"), np.eye(3, dtype="f4") * np.float32(1e20)
            ),
            ValueError,
            "below 1e38 in float32, and products of x and w below 1e30",
        ),
        (lambda: scores.dot_backward(GOOD, GOOD, GOOD), ValueError, r"d_scores must have shape \(4, 4\), got \(4, 3\)"),
        (lambda: scores.dot_backward(np.full((4, 4), np.inf), GOOD, GOOD), ValueError, "d_scores must be finite"),
        (lambda: losses.jsd(GOOD, GOOD, score="angle"), ValueError, "score must be one of 'dot'.*got 'angle'"),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_inputs_are_left_alone():
    for score in SCORES:
        arrays = inputs(score, 5, 6, 4)
        copies = [x.copy() for x in arrays]
        d_scores = np.ones((5, 6))
        FORWARD[score](*arrays)
        BACKWARD[score](d_scores, *arrays)
        assert all(np.array_equal(x, copy) for x, copy in zip(arrays, copies, strict=True))
        assert (d_scores == 1).all()


def test_examples_in_the_docstring():
    assert doctest.testmod(scores).failed == 0


def test_larger_matrices():
    x, y = inputs("dot", 500, 300, 64, dtype=np.float32)
    assert relative_error(scores.dot(x, y), twin.scores(x, y)) < 1e-6
