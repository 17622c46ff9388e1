"""The measures against their float64 twins, scikit-learn and known values."""

import subprocess
import sys

import nearfar as nf
import numpy as np
import pytest
from nearfar import measure
from reference import measure as twin
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

SHAPES = [(1, 1, 1), (2, 3, 2), (16, 7, 3), (33, 31, 17), (513, 129, 15), (1500, 300, 64)]  # n, m, d


def blobs(n, d, classes=4, seed=0, spread=0.7):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    centers = np.random.default_rng(99).standard_normal((classes, d))
    return (centers[y] + spread * rng.standard_normal((n, d))).astype(np.float32), y


@pytest.mark.parametrize(("n", "m", "d", "k"), [(*s, k) for s in SHAPES for k in (1, 2, 20, 700) if k <= s[0]])
def test_nearest_neighbors(n, m, d, k):
    rng = np.random.default_rng(n)
    train, test = rng.standard_normal((n, d)).astype(np.float32), rng.standard_normal((m, d)).astype(np.float32)
    indices, similarities = measure.nearest_neighbors(train, test, k)
    assert indices.dtype == np.int64
    assert similarities.dtype == np.float32
    assert indices.shape == similarities.shape == (m, k)
    all_similarities = twin.normalized(test.astype(float)) @ twin.normalized(train.astype(float)).T
    _, expected = twin.nearest_neighbors(train.astype(float), test.astype(float), k)
    np.testing.assert_allclose(similarities, expected, atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(all_similarities, indices, axis=1), similarities, atol=1e-6)
    assert (np.diff(similarities, axis=1) <= 0).all()
    assert all(len(set(row)) == k for row in indices.tolist())


def test_many_training_rows_are_met_in_chunks():
    """More rows than one chunk has (2^22 elements), the best of them in different chunks."""
    n, d = 9000, 1024
    rng = np.random.default_rng(0)
    train = rng.standard_normal((n, d)).astype(np.float32)
    test = rng.standard_normal((3, d)).astype(np.float32)
    places = [8999, 0, 4096, 4095, 5000]
    for rank, place in enumerate(places):
        train[place] = test[1] + 0.1 * (rank + 1) * train[place]
    indices, similarities = measure.nearest_neighbors(train, test, 5)
    assert indices[1].tolist() == places
    np.testing.assert_allclose(similarities, twin.nearest_neighbors(train, test, 5)[1], atol=1e-6)


def test_equal_similarities_go_by_index():
    train = np.zeros((1000, 8), np.float32)
    train[:, 0] = 1
    indices, _ = measure.nearest_neighbors(train, train[:2], 7)
    np.testing.assert_array_equal(indices, [range(7)] * 2)
    train[300:] *= 4  # as near, but longer
    train[:100] = 0
    indices, similarities = measure.nearest_neighbors(train, train[-1:], 950)
    np.testing.assert_array_equal(indices[0], [*range(100, 1000), *range(50)])
    np.testing.assert_array_equal(similarities[0], [1] * 900 + [0] * 50)


@pytest.mark.parametrize("k", [1, 5, 20, 200])
@pytest.mark.parametrize("temperature", [0.01, 0.07, 0.5, 100.0])
def test_knn_predict(k, temperature):
    train, train_y = blobs(400, 16, classes=7)
    test, _ = blobs(150, 16, classes=7, seed=1)
    labels = np.array([-5, 0, 3, 100, 2**40, -(2**50), 8])[train_y]
    predicted = measure.knn_predict(train, labels, test, k, temperature)
    assert predicted.dtype == labels.dtype
    classes, votes = twin.knn_votes(train.astype(float), labels, test.astype(float), k, temperature)
    won = votes[np.arange(150), np.searchsorted(classes, predicted)]
    np.testing.assert_allclose(won, votes.max(axis=1), rtol=1e-3)
    assert np.mean(predicted == classes[votes.argmax(axis=1)]) > 0.99


@pytest.mark.parametrize("k", [1, 9, 50])
def test_knn_probe_agrees_with_scikit_learn(k):
    train, train_y = blobs(600, 24, spread=1.5)
    test, test_y = blobs(300, 24, seed=1, spread=1.5)
    model = KNeighborsClassifier(k, metric="cosine", weights=lambda d: np.exp((1 - d) / 0.07))
    expected = model.fit(train.astype(float), train_y).score(test.astype(float), test_y)
    assert 0.5 < expected < 1
    assert measure.knn_probe(train, train_y, test, test_y, k=k) == pytest.approx(expected, abs=1 / 300)


def test_knn_tied_votes_go_to_the_smallest_label():
    v = [[1.0, 0.0]] * 4
    assert measure.knn_predict(v, [9, 4, 9, 4], v[:1], k=4).tolist() == [4]
    assert measure.knn_predict(v, [9, 4, 9, 4], v[:1], k=3).tolist() == [9]
    assert measure.knn_predict(v, [2, 1, 0, 2], v[:1], k=1).tolist() == [2]


def test_knn_vote_weighs_by_similarity():
    """One near neighbour outvotes two far ones at a low temperature only."""
    train, y = [[1, 0], [0.5, 1], [0.5, 1.1]], [1, 2, 2]
    assert measure.knn_predict(train, y, [[1, 0]], k=3, temperature=0.1).tolist() == [1]
    assert measure.knn_predict(train, y, [[1, 0]], k=3, temperature=10).tolist() == [2]
    assert measure.knn_predict(train, y, [[1, 0]], k=3, temperature=1e-300).tolist() == [1]


def test_inputs_of_other_kinds():
    train, train_y = blobs(50, 8)
    test, test_y = blobs(20, 8, seed=1)
    expected = measure.knn_probe(train, train_y, test, test_y, k=5)
    assert (
        measure.knn_probe(train.astype(float), train_y.astype(np.uint8), test.tolist(), list(test_y), k=5) == expected
    )
    wide, wide_y = np.repeat(train, 2, axis=1)[:, ::2], np.repeat(train_y, 2)[::2]
    assert measure.knn_probe(wide, wide_y, np.asfortranarray(test), test_y, k=5) == expected
    assert measure.knn_probe(train * 1e30, train_y, test * 1e-30, test_y, k=5) == expected
    assert measure.knn_probe(train, train_y, test, test_y + 1000, k=5) == 0  # labels never seen


def test_linear_probe_agrees_with_scikit_learn():
    train, train_y = blobs(500, 20, spread=2)
    test, test_y = blobs(300, 20, seed=1, spread=2)
    train, test = train * 100 + 7, test * 100 + 7
    scaler = StandardScaler().fit(train.astype(float))
    for C in (0.01, 1.0):
        model = LogisticRegression(C=C, max_iter=1000).fit(scaler.transform(train), train_y)
        expected = model.score(scaler.transform(test), test_y)
        assert 0.5 < expected < 1
        assert measure.linear_probe(train, train_y, test, test_y, C=C) == pytest.approx(expected, abs=1 / 300)


def test_linear_probe_ignores_constant_columns():
    train, train_y = blobs(300, 6)
    test, test_y = blobs(200, 6, seed=1)
    expected = measure.linear_probe(train, train_y, test, test_y)
    constant = np.float32(0.1)
    wide = np.column_stack([train, np.full(300, constant), np.zeros(300)])
    far = np.column_stack([test, np.full(200, constant + 50), np.full(200, 1e6)])  # would decide, were they used
    assert measure.linear_probe(wide, train_y, far, test_y) == expected > 0.8


def test_linear_probe_without_scikit_learn():
    code = """
import sys
sys.modules["sklearn"] = None
sys.modules["sklearn.linear_model"] = None
import nearfar as nf
try:
    nf.measure.linear_probe([[0.0], [1.0]], [0, 1], [[0.0]], [0])
except ImportError as error:
    print(error)
"""
    text = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert text.strip() == "linear_probe needs scikit-learn: pip install 'nearfar[train]'"


def test_effective_rank():
    assert measure.effective_rank(np.diag([1, 0.5, 0.25, 0.25])) == pytest.approx(3.3636, abs=1e-4)
    rng = np.random.default_rng(0)
    v = rng.standard_normal((200, 30))
    assert measure.effective_rank(v) == pytest.approx(twin.effective_rank(v), rel=1e-12)
    assert measure.effective_rank(v * 1e300) == pytest.approx(twin.effective_rank(v), rel=1e-9)
    assert measure.effective_rank(np.linalg.qr(v)[0]) == pytest.approx(30, rel=1e-4)
    assert measure.effective_rank(np.outer(v[:, 0], v[0])) == pytest.approx(1, abs=1e-4)
    assert measure.effective_rank(np.zeros((5, 3))) == 0
    assert measure.effective_rank([[3.0]]) == pytest.approx(1, abs=1e-6)


def test_std_of_normalized():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((5000, 64)).astype(np.float32)
    assert measure.std_of_normalized(z) == pytest.approx(1 / 8, rel=0.01)
    assert measure.std_of_normalized(z) == pytest.approx(twin.std_of_normalized(z.astype(float)), rel=1e-9)
    assert measure.std_of_normalized(np.ones((100, 64))) == 0
    assert measure.std_of_normalized(np.zeros((100, 64))) == 0
    assert measure.std_of_normalized(z * np.float32(1e30)) == pytest.approx(measure.std_of_normalized(z), rel=1e-6)


@pytest.mark.parametrize("alpha", [0.5, 1, 2, 3])
def test_alignment(alpha):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 37, 9))
    assert measure.alignment(x, y, alpha, normalize=False) == pytest.approx(twin.alignment(x, y, alpha), rel=1e-12)
    expected = twin.alignment(twin.normalized(x), twin.normalized(y), alpha)
    assert measure.alignment(x, y, alpha) == pytest.approx(expected, rel=1e-12)
    assert measure.alignment(x, 5 * x, alpha) == pytest.approx(0, abs=1e-6)
    assert measure.alignment(x, -x, alpha) == pytest.approx(2**alpha, rel=1e-12)


@pytest.mark.parametrize("n", [2, 3, 127, 128, 129, 300])
@pytest.mark.parametrize("t", [0.5, 2, 50])
def test_uniformity(n, t):
    x = np.random.default_rng(n).standard_normal((n, 5))
    assert measure.uniformity(x, t) == pytest.approx(twin.uniformity(twin.normalized(x), t), rel=1e-9)
    assert measure.uniformity(x, t, normalize=False) == pytest.approx(twin.uniformity(x, t), rel=1e-9)
    assert measure.uniformity(100 * x, t, normalize=False) == pytest.approx(twin.uniformity(100 * x, t), rel=1e-9)


def test_uniformity_of_circle_and_of_collapse():
    n = 5000
    angle = 2 * np.pi * np.arange(n) / n
    circle = np.column_stack([np.cos(angle), np.sin(angle)]).astype(np.float32)
    mean = np.exp(-4) * np.i0(4)  # of exp(-2 |x - y|^2) over the circle
    assert np.log(mean) == pytest.approx(-1.5750, abs=1e-4)
    assert measure.uniformity(circle) == pytest.approx(np.log((n * mean - 1) / (n - 1)), abs=1e-6)
    assert measure.uniformity(np.ones((300, 7))) == pytest.approx(0, abs=1e-12)


def test_bad_arguments():
    v, y = blobs(10, 3)
    nan = v.copy()
    nan[4, 1] = np.nan
    cases = [
        (lambda: measure.knn_probe(v, y[:9], v, y), "train_y must have one label for each row of train_v, 10, got 9"),
        (lambda: measure.knn_probe(v, y, v, y[:1]), "test_y must have one label for each row of test_v, 10, got 1"),
        (lambda: measure.knn_probe(v, y, v, y, k=11), r"k must be in 1\.\.10 \(rows of train_v\), got 11"),
        (lambda: measure.knn_probe(v, y, v, y, k=0), r"k must be in 1\.\.10 \(rows of train_v\), got 0"),
        (lambda: measure.knn_probe(v, y, v, y, k=2, temperature=0), "temperature must be finite and > 0, got 0"),
        (lambda: measure.knn_probe(v, y, v, y, k=2, temperature=np.nan), "temperature must be finite and > 0"),
        (lambda: measure.knn_probe(nan, y, v, y, k=2), "train_v must be finite"),
        (lambda: measure.knn_probe(v, y, nan, y, k=2), "test_v must be finite"),
        (lambda: measure.knn_probe(v[:0], y[:0], v, y, k=1), r"train_v must not be empty, got shape \(0, 3\)"),
        (lambda: measure.knn_probe(v, y, v[:0], y[:0], k=1), "test_v must not be empty"),
        (lambda: measure.knn_probe(v, y, v[:, :2], y, k=2), "test_v must have size 3 in dimension 1, got 2"),
        (lambda: measure.knn_probe(v[0], y, v, y, k=2), "train_v must have 2 dimensions, got 1"),
        (lambda: measure.knn_probe(v, y[:, None], v, y, k=2), "train_y must have 1 dimension, got 2"),
        (lambda: measure.nearest_neighbors(nan, v, 2), "train_v must be finite, got NaN or infinity in row 4"),
        (lambda: measure.nearest_neighbors(v, nan, 2), "test_v must be finite, got NaN or infinity in row 4"),
        (lambda: measure.nearest_neighbors(v * np.float32(np.inf), v, 2), "train_v must be finite"),
        (lambda: measure.nearest_neighbors(v[:, :0], v[:, :0], 2), "train_v must not be empty"),
        (lambda: measure.nearest_neighbors(v, v[:0], 2), "test_v must have at least 1 row, got 0"),
        (lambda: measure.linear_probe(v, np.zeros(10, int), v, y), "at least two classes, got only 0"),
        (lambda: measure.linear_probe(nan, y, v, y), "train_v must be finite"),
        (lambda: measure.linear_probe(v, y, v[:, :2], y), "test_v must have as many columns as train_v, 3, got 2"),
        (lambda: measure.linear_probe(v, y, v, y, C=0), "C must be finite and > 0, got 0"),
        (lambda: measure.linear_probe(v, y, v, y, max_iter=0), "max_iter must be >= 1, got 0"),
        (lambda: measure.effective_rank(nan), "v must be finite"),
        (lambda: measure.effective_rank(v[:0]), "v must not be empty"),
        (lambda: measure.std_of_normalized(v[:1]), "z must have at least 2 rows, got 1"),
        (lambda: measure.alignment(v, v[:9]), r"y must have the shape of x, \(10, 3\), got \(9, 3\)"),
        (lambda: measure.alignment(v, v, alpha=0), "alpha must be finite and > 0, got 0"),
        (lambda: measure.uniformity(v[:1]), "x must have at least 2 rows, got 1"),
        (lambda: measure.uniformity(v, t=-1), "t must be finite and > 0, got -1"),
        (lambda: measure.uniformity(nan), "x must be finite"),
        (lambda: measure.uniformity(v.astype(float) * 1e200, normalize=False), "x must be finite and its squares too"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
    for call in [
        lambda: measure.knn_probe(v, y.astype(float), v, y, k=2),
        lambda: measure.knn_probe(v, y, v, y, k=2.5),
        lambda: measure.knn_probe(v.astype(complex), y, v, y, k=2),
        lambda: measure.effective_rank(np.array([["a"]])),
    ]:
        with pytest.raises(TypeError):
            call()


def test_bad_votes():
    indices, similarities = np.zeros((1, 1), np.int64), np.ones((1, 1), np.float32)
    for bad in [
        (indices + 1, similarities, [0], 1, 0.1),
        (indices - 1, similarities, [0], 1, 0.1),
        (indices, similarities, [1], 1, 0.1),
        (indices, similarities, [-1], 1, 0.1),
        (indices, similarities, [0], 0, 0.1),
        (indices, similarities, [0], 2**61, 0.1),
        (indices[:, :0], similarities[:, :0], [0], 1, 0.1),
        (indices, similarities[:, :0], [0], 1, 0.1),
        (indices, similarities[:0], [0], 1, 0.1),
        (indices[:, :0], similarities[:, :0], np.zeros(0, int), 1, 0.1),
    ]:
        with pytest.raises(ValueError, match="must"):
            nf._core.knn_vote(*bad)


def test_out_of_memory():
    v, y = blobs(10, 3)
    for call in (lambda: measure.knn_probe(v, y, v, y, k=2), lambda: measure.uniformity(v)):
        failures = 0
        while True:
            nf._core._alloc_fail_at(failures + 1)
            try:
                call()
                break
            except MemoryError:
                failures += 1
        assert failures >= 3
    nf._core._alloc_fail_at(0)


def test_same_bits_for_any_number_of_threads():
    train, _ = blobs(3000, 33)
    test, _ = blobs(700, 33, seed=1)
    before, results = nf.get_num_threads(), []
    try:
        for threads in (1, 2, 7):
            nf.set_num_threads(threads)
            indices, similarities = measure.nearest_neighbors(train, test, 13)
            results.append((indices.tobytes(), similarities.tobytes(), measure.uniformity(train)))
    finally:
        nf.set_num_threads(before)
    assert results[0] == results[1] == results[2]
