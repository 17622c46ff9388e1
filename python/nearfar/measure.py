"""Measures of representations: what is in the features, and whether they have collapsed.

Features v are arrays (N, d), one row a sample; labels y are integer arrays (N,) with any values.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nearfar import _core

__all__ = [
    "alignment",
    "effective_rank",
    "knn_predict",
    "knn_probe",
    "linear_probe",
    "nearest_neighbors",
    "std_of_normalized",
    "uniformity",
]


def nearest_neighbors(
    train_v: ArrayLike, test_v: ArrayLike, k: int = 20
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Find the training rows most similar to each test row, by cosine similarity.

    The similarities of all pairs are computed, exactly, but never stored.

    Parameters
    ----------
    train_v : array_like (n, d)
        Rows to search, of any lengths; used in float32. A row of zeros has similarity 0 to everything.
    test_v : array_like (m, d)
        Rows to look up.
    k : int
        How many neighbours, 1..n. Default 20.

    Returns
    -------
    indices : int64 array (m, k)
        Rows of `train_v`, most similar first; of equal ones the lower index first.
    similarities : float32 array (m, k)
        Cosines, in [-1, 1] up to rounding.

    Raises
    ------
    ValueError
        If an array is empty, has NaN or infinity, k is out of range, or the dimensions d differ.
    TypeError
        If an array is not of real numbers.

    Examples
    --------
    >>> import nearfar as nf
    >>> indices, similarities = nf.measure.nearest_neighbors([[1, 0], [0, 2], [-1, 0]], [[3, 4]], k=2)
    >>> indices, similarities.round(3)
    (array([[1, 0]]), array([[0.8, 0.6]], dtype=float32))
    """
    return _core.knn_search(train_v, test_v, k)


def knn_predict(
    train_v: ArrayLike, train_y: ArrayLike, test_v: ArrayLike, k: int = 20, temperature: float = 0.07
) -> NDArray[Any]:
    """Predict labels by a weighted vote of the k nearest neighbours.

    Each of the k training rows most similar to a test row, by cosine similarity s, gives its label a vote of
    ``exp(s / temperature)``. The label with most votes wins; of equal ones the smallest.

    Parameters
    ----------
    train_v : array_like (n, d)
        Training features, of any lengths; used in float32.
    train_y : array_like of int (n,)
        Their labels.
    test_v : array_like (m, d)
        Features to predict the labels of.
    k : int
        Number of neighbours, 1..n. Default 20.
    temperature : float
        > 0. Default 0.07. The larger, the more the votes weigh the same.

    Returns
    -------
    array (m,)
        Predicted labels, in the dtype of `train_y`.

    Raises
    ------
    ValueError
        If lengths or dimensions do not match, an array is empty, features have NaN or infinity, or k or temperature are
        out of range.
    TypeError
        If labels are not integers, or features are not real numbers.

    References
    ----------
    Wu et al., "Unsupervised feature learning via non-parametric instance discrimination", CVPR 2018.

    Examples
    --------
    >>> import nearfar as nf
    >>> nf.measure.knn_predict([[1, 0], [0, 1], [1, 0.2]], [7, 3, 7], [[2, 1], [0, 5]], k=2)
    array([7, 3])
    """
    train_v, train_y = _features(train_v, "train_v"), _labels(train_y, "train_y")
    _check_lengths(train_v, "train_v", train_y, "train_y")
    indices, similarities = nearest_neighbors(train_v, test_v, k)
    classes, numbers = np.unique(train_y, return_inverse=True)
    return classes[_core.knn_vote(indices, similarities, numbers, len(classes), temperature)]


def knn_probe(
    train_v: ArrayLike,
    train_y: ArrayLike,
    test_v: ArrayLike,
    test_y: ArrayLike,
    k: int = 20,
    temperature: float = 0.07,
) -> float:
    """Return the accuracy of `knn_predict` on test data: a probe of features that needs no training.

    Parameters
    ----------
    train_v, train_y, test_v, k, temperature
        See `knn_predict`.
    test_y : array_like of int (m,)
        True labels of `test_v`. One that is not in `train_y` counts as an error.

    Returns
    -------
    float
        Share of correct predictions, 0..1.

    Raises
    ------
    ValueError, TypeError
        See `knn_predict`.

    Examples
    --------
    >>> import nearfar as nf
    >>> nf.measure.knn_probe([[1, 0], [0, 1], [1, 0.2]], [7, 3, 7], [[2, 1], [0, 5]], [7, 7], k=2)
    0.5
    """
    test_v, test_y = _features(test_v, "test_v"), _labels(test_y, "test_y")
    _check_lengths(test_v, "test_v", test_y, "test_y")
    return float(np.mean(knn_predict(train_v, train_y, test_v, k, temperature) == test_y))


def linear_probe(
    train_v: ArrayLike,
    train_y: ArrayLike,
    test_v: ArrayLike,
    test_y: ArrayLike,
    C: float = 1.0,
    max_iter: int = 1000,
) -> float:
    """Return the test accuracy of logistic regression on frozen features.

    Each feature is standardised by its mean and standard deviation over the training rows (constant ones become 0);
    then scikit-learn's ``LogisticRegression(C=C, max_iter=max_iter)`` is fitted with L-BFGS.

    Parameters
    ----------
    train_v : array_like (n, d)
        Training features.
    train_y : array_like of int (n,)
        Their labels, of at least two classes.
    test_v : array_like (m, d)
        Test features.
    test_y : array_like of int (m,)
        Their labels. One that is not in `train_y` counts as an error.
    C : float
        Inverse strength of the L2 penalty, > 0. Default 1.
    max_iter : int
        Most iterations, >= 1. Default 1000. scikit-learn warns if they do not suffice.

    Returns
    -------
    float
        Share of correct predictions, 0..1.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    ValueError
        If lengths or dimensions do not match, an array is empty, features have NaN or infinity, there is only one
        class, or C or max_iter are out of range.
    TypeError
        If labels are not integers, or features are not real numbers.

    References
    ----------
    Alain and Bengio, "Understanding intermediate layers using linear classifier probes", 2016 (arXiv:1610.01644).

    Examples
    --------
    >>> import nearfar as nf
    >>> nf.measure.linear_probe([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1], [[-1.0], [4.0]], [0, 1])
    1.0
    """
    train_v, train_y = _features(train_v, "train_v"), _labels(train_y, "train_y")
    test_v, test_y = _features(test_v, "test_v"), _labels(test_y, "test_y")
    _check_lengths(train_v, "train_v", train_y, "train_y")
    _check_lengths(test_v, "test_v", test_y, "test_y")
    if test_v.shape[1] != train_v.shape[1]:
        raise ValueError(f"test_v must have as many columns as train_v, {train_v.shape[1]}, got {test_v.shape[1]}")
    if not 0 < C < math.inf:
        raise ValueError(f"C must be finite and > 0, got {C}")
    if max_iter < 1:
        raise ValueError(f"max_iter must be >= 1, got {max_iter}")
    if len(np.unique(train_y)) < 2:
        raise ValueError(f"train_y must have at least two classes, got only {train_y[0]}")
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise ImportError("linear_probe needs scikit-learn: pip install 'nearfar[train]'") from error
    mean, scale = train_v.mean(axis=0, dtype=np.float64), train_v.std(axis=0, dtype=np.float64)
    scale[train_v.max(axis=0) == train_v.min(axis=0)] = np.inf  # not scale == 0: the mean of equal numbers is rounded
    model = LogisticRegression(C=C, max_iter=max_iter)
    model.fit((train_v - mean) / scale, train_y)
    return float(np.mean(model.predict((test_v - mean) / scale) == test_y))


def effective_rank(v: ArrayLike) -> float:
    """Return the effective rank of features (RankMe): how many directions they use.

    With the singular values sigma of v, as it is, not centred::

        p = sigma / sum(sigma) + 1e-7
        rank = exp(-sum(p log p))

    Parameters
    ----------
    v : array_like (N, d)
        Features or embeddings.

    Returns
    -------
    float
        1 if all rows lie on one line, min(N, d) if all directions weigh the same. 0 if v is all zeros.

    Raises
    ------
    ValueError
        If v is empty or has NaN or infinity.
    TypeError
        If v is not of real numbers.

    References
    ----------
    Garrido et al., "RankMe: Assessing the downstream performance of pretrained self-supervised representations by their
    rank", ICML 2023.

    Examples
    --------
    >>> import numpy as np, nearfar as nf
    >>> round(nf.measure.effective_rank(np.diag([1, 0.5, 0.25, 0.25])), 4)
    3.3636
    """
    v = _features(v, "v").astype(np.float64)
    largest = np.abs(v).max()
    if largest == 0:
        return 0.0
    sigma = np.linalg.svd(v / largest, compute_uv=False)
    p = sigma / sigma.sum() + 1e-7
    return float(np.exp(-np.sum(p * np.log(p))))


def std_of_normalized(z: ArrayLike) -> float:
    """Return the mean over dimensions of the standard deviation of the L2-normalised rows: a sign of collapse.

    About ``1 / sqrt(d)`` for rows that point in all directions; 0 for rows that are all the same.

    Parameters
    ----------
    z : array_like (N, d)
        Features or embeddings, N >= 2. Rows of zeros stay zeros.

    Returns
    -------
    float
        The mean of d standard deviations, each with N - 1 in the denominator.

    Raises
    ------
    ValueError
        If z has fewer than two rows, or NaN or infinity.
    TypeError
        If z is not of real numbers.

    References
    ----------
    Chen and He, "Exploring simple Siamese representation learning", CVPR 2021.

    Examples
    --------
    >>> import numpy as np, nearfar as nf
    >>> nf.measure.std_of_normalized(np.ones((10, 4)))
    0.0
    """
    z = _features(z, "z")
    _check_two_rows(z, "z")
    return float(np.std(_normalized(z), axis=0, ddof=1).mean())


def alignment(x: ArrayLike, y: ArrayLike, alpha: float = 2, *, normalize: bool = True) -> float:
    """Return the mean distance of positive pairs: ``mean_i |x_i - y_i|^alpha``; lower is better.

    Parameters
    ----------
    x, y : array_like (N, d)
        Embeddings; row i of `x` and row i of `y` are views of one sample.
    alpha : float
        > 0. Default 2.
    normalize : bool
        Whether to L2-normalise the rows first. Default True; False takes them as they are.

    Returns
    -------
    float
        >= 0; at most ``2 ** alpha`` for normalised rows.

    Raises
    ------
    ValueError
        If shapes differ, an array is empty or has NaN or infinity, or alpha is out of range.
    TypeError
        If an array is not of real numbers.

    References
    ----------
    Wang and Isola, "Understanding contrastive representation learning through alignment and uniformity on the
    hypersphere", ICML 2020.

    Examples
    --------
    >>> import nearfar as nf
    >>> round(nf.measure.alignment([[1, 0], [0, 1]], [[0, 2], [0, 3]]), 6)
    1.0
    """
    x, y = _features(x, "x"), _features(y, "y")
    if x.shape != y.shape:
        raise ValueError(f"y must have the shape of x, {x.shape}, got {y.shape}")
    if not 0 < alpha < math.inf:
        raise ValueError(f"alpha must be finite and > 0, got {alpha}")
    x, y = (_normalized(x), _normalized(y)) if normalize else (x.astype(np.float64), y.astype(np.float64))
    return float(np.mean(np.linalg.norm(x - y, axis=1) ** alpha))


def uniformity(x: ArrayLike, t: float = 2, *, normalize: bool = True) -> float:
    """Return how evenly rows cover the sphere: ``log mean_{i<j} exp(-t |x_i - x_j|^2)``; lower is better.

    All N (N - 1) / 2 pairs are met, in double precision, and none is stored.

    Parameters
    ----------
    x : array_like (N, d)
        Embeddings, N >= 2.
    t : float
        > 0. Default 2.
    normalize : bool
        Whether to L2-normalise the rows first. Default True; False takes them as they are.

    Returns
    -------
    float
        At most 0, which is collapse. For t = 2 and rows spread evenly, -1.575 for d = 2, and towards -4 for large d.

    Raises
    ------
    ValueError
        If x has fewer than two rows, or NaN or infinity, or t is out of range.
    TypeError
        If x is not of real numbers.

    References
    ----------
    Wang and Isola, "Understanding contrastive representation learning through alignment and uniformity on the
    hypersphere", ICML 2020.

    Examples
    --------
    >>> import numpy as np, nearfar as nf
    >>> angle = np.linspace(0, 2 * np.pi, 1000, endpoint=False)
    >>> round(nf.measure.uniformity(np.column_stack([np.cos(angle), np.sin(angle)])), 2)
    -1.58
    """
    x = _features(x, "x")
    _check_two_rows(x, "x")
    return _core.uniformity(_normalized(x) if normalize else x, t)


def _features(value: ArrayLike, name: str) -> NDArray[Any]:
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be an array of real numbers, got dtype {array.dtype}")
    if array.ndim != 2:
        raise ValueError(f"{name} must have 2 dimensions, got {array.ndim}")
    if array.size == 0:
        raise ValueError(f"{name} must not be empty, got shape {array.shape}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    return array


def _labels(value: ArrayLike, name: str) -> NDArray[Any]:
    array = np.asarray(value)
    if array.dtype.kind not in "iub":
        raise TypeError(f"{name} must be an array of integers, got dtype {array.dtype}")
    if array.ndim != 1:
        raise ValueError(f"{name} must have 1 dimension, got {array.ndim}")
    return array


def _check_lengths(v: NDArray[Any], v_name: str, y: NDArray[Any], y_name: str) -> None:
    if len(v) != len(y):
        raise ValueError(f"{y_name} must have one label for each row of {v_name}, {len(v)}, got {len(y)}")


def _check_two_rows(v: NDArray[Any], name: str) -> None:
    if len(v) < 2:
        raise ValueError(f"{name} must have at least 2 rows, got {len(v)}")


def _normalized(v: NDArray[Any]) -> NDArray[np.float64]:
    """The rows divided by their lengths, in float64; first by their largest element, so that no square overflows."""
    v = v.astype(np.float64)
    largest = np.abs(v).max(axis=1, keepdims=True)
    v /= np.where(largest > 0, largest, 1)
    length = np.linalg.norm(v, axis=1, keepdims=True)
    return v / np.where(length > 0, length, 1)
