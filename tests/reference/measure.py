"""The measures in float64 NumPy, with whole matrices."""

import numpy as np


def normalized(v):
    length = np.linalg.norm(v, axis=1, keepdims=True)
    return v / np.where(length > 0, length, 1)


def nearest_neighbors(train_v, test_v, k):
    similarities = normalized(test_v) @ normalized(train_v).T
    indices = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
    return indices, np.take_along_axis(similarities, indices, axis=1)


def knn_votes(train_v, train_y, test_v, k, temperature):
    """Return the sorted classes and the votes (m, classes) for each."""
    classes = np.unique(train_y)
    indices, similarities = nearest_neighbors(train_v, test_v, k)
    weights = np.exp((similarities - similarities[:, :1]) / temperature)
    return classes, np.stack([np.where(train_y[indices] == c, weights, 0).sum(axis=1) for c in classes], axis=1)


def knn_predict(train_v, train_y, test_v, k, temperature):
    classes, votes = knn_votes(train_v, train_y, test_v, k, temperature)
    return classes[votes.argmax(axis=1)]


def effective_rank(v):
    sigma = np.linalg.svd(v, compute_uv=False)
    p = sigma / sigma.sum() + 1e-7
    return np.exp(-np.sum(p * np.log(p)))


def std_of_normalized(z):
    return normalized(z).std(axis=0, ddof=1).mean()


def alignment(x, y, alpha):
    return np.mean(np.sqrt(((x - y) ** 2).sum(axis=1)) ** alpha)


def uniformity(x, t):
    i, j = np.triu_indices(len(x), 1)
    exponents = -t * ((x[i] - x[j]) ** 2).sum(axis=1)
    return exponents.max() + np.log(np.mean(np.exp(exponents - exponents.max())))
