"""Are the features any good? The same probes on learned features and on what is there without learning."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nearfar import measure
from nearfar._extras import one_thread, require
from nearfar.data import Dataset, spread
from nearfar.network import Network
from nearfar.pixels import shares_of_white

__all__ = ["Evaluation", "Row", "evaluate"]

FEW = 10  # labels per class, for the probe that shows what features save
LEARNED, UNTRAINED = "features v", "same encoder, untrained"


class Row(NamedTuple):
    """Probes on one representation; accuracies are 0..1, NaN without labels."""

    name: str
    dimensions: int
    knn: float
    linear: float
    few: float  # linear, from FEW labels per class


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found; printed as a table.

    Attributes
    ----------
    rows : tuple of Row
        The learned features first, then the baselines.
    std_of_z : float
        `nearfar.measure.std_of_normalized` of the test images' embeddings; 0 is collapse.
    embedding_size : int
        Length of an embedding; ``1 / sqrt(embedding_size)`` is the largest value that `std_of_z` can have.
    effective_rank : float
        `nearfar.measure.effective_rank` of the test images' features; near 1 is collapse.
    k : int
        Neighbours of the kNN probe.
    counts : tuple of two ints
        Images that the probes were fitted on, and images that they were scored on.
    """

    rows: tuple[Row, ...]
    std_of_z: float
    embedding_size: int
    effective_rank: float
    k: int
    counts: tuple[int, int]

    def __str__(self) -> str:
        lines = []
        if not math.isnan(self.rows[0].knn):
            width = max(len(row.name) for row in self.rows)
            kinds = f"{f'kNN, k={self.k}':>10}  {'linear':>7}  {f'{FEW} labels/class':>15}"
            lines.append(f"{'test accuracy':<{width}}  {'dims':>6}  {kinds}")
            for name, dimensions, knn, linear, few in self.rows:
                shares = f"{_percent(knn):>10}  {_percent(linear):>7}  {_percent(few):>15}"
                lines.append(f"{name:<{width}}  {dimensions:>6,}  {shares}")
            lines.append(
                f"(fitted on {self.counts[0]:,} training images, scored on {self.counts[1]:,} others; the last column:"
            )
            lines.append(f"linear, fitted on the first {FEW} training images of each class)")
            lines += ["", self.verdict]
        else:
            lines.append("No labels, or a single class: no probes.")
        largest, dimensions = 1 / math.sqrt(self.embedding_size), self.rows[0].dimensions
        lines.append(
            f"Collapse signs: std of normalised z {self.std_of_z:.3f} (0: collapsed, {largest:.3f}: evenly spread); "
            f"effective rank of v {self.effective_rank:.1f} of {dimensions} (1: collapsed)."
        )
        return "\n".join(lines)

    @property
    def verdict(self) -> str:
        """One sentence on the learned features against the untrained encoder's; empty without labels."""
        learned, untrained = self.rows[0], next((row for row in self.rows if row.name == UNTRAINED), None)
        if untrained is None or math.isnan(learned.knn):
            return ""
        probes = {"kNN": "knn", "linear": "linear", "few-label": "few"}
        gains = {name: 100 * (getattr(learned, key) - getattr(untrained, key)) for name, key in probes.items()}
        points = ", ".join(f"{name} {gain:+.1f}" for name, gain in gains.items())
        worse = [name for name, gain in gains.items() if gain < 0]
        if worse:
            by = "all probes" if len(worse) == len(gains) else f"the {' and the '.join(worse)} probe"
            return f"WARNING: training made the features WORSE than the untrained encoder's by {by} ({points} points)."
        return f"Training changed the untrained encoder's features by {points} points."


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def evaluate(method: Any, data: Dataset, *, k: int = 20, limit: int = 10_000, seed: int = 0) -> Evaluation:
    """Judge a method's features by probes on labelled images, beside baselines.

    kNN and linear probes are fitted on the training images, another linear probe on ten of each class, and scored on
    the test images. They are given: the features v; raw pixels; a PCA of the pixels with as many dimensions as v, or as
    pixels and images allow; and the features of the same encoder with random weights, whose batch normalisations have
    seen the training images' plain views.

    Parameters
    ----------
    method : SimCLR
        Trained by `nearfar.fit` or loaded by `nearfar.load`.
    data : Dataset
        Without labels of two classes or more, only the signs of collapse are measured.
    k : int
        Neighbours of the kNN probe, >= 1; the number of training images if that is less.
    limit : int
        Most training images, and most test images, that are used, evenly spread over all; >= 2.
    seed : int
        Of the untrained encoder's weights.

    Returns
    -------
    Evaluation

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    TypeError, ValueError
        If the images do not fit the encoder, or `k` or `limit` are out of range.
    """
    if k < 1:
        raise ValueError(f"k must be >= 1, got {k}")
    if limit < 2:
        raise ValueError(f"limit must be >= 2, got {limit}")
    if len(data.test_images) < 2:
        raise ValueError(f"data must have at least 2 test images, got {len(data.test_images)}")
    data = data.subset(limit)
    test_rows = spread(len(data.test_images), limit)
    images, labels, test_images = data.images, data.labels, data.test_images[test_rows]
    v, test_v = method.transform(images), method.transform(test_images)
    std_of_z = measure.std_of_normalized(method.embed(test_images))
    with one_thread():
        rank = measure.effective_rank(test_v)
    counts, k = (len(images), len(test_images)), min(k, len(images))
    if labels is None or data.test_labels is None or len(np.unique(labels)) < 2:
        rows = [Row(LEARNED, v.shape[1], math.nan, math.nan, math.nan)]
    else:
        test_labels = data.test_labels[test_rows]
        first = np.concatenate([np.flatnonzero(labels == label)[:FEW] for label in np.unique(labels)])

        def probe(name: str, train: NDArray, test: NDArray) -> Row:
            knn = measure.knn_probe(train, labels, test, test_labels, k=k)
            linear = measure.linear_probe(train, labels, test, test_labels)
            few = measure.linear_probe(train[first], labels[first], test, test_labels)
            return Row(name, train.shape[1], knn, linear, few)

        pixels, test_pixels = (shares_of_white(part).reshape(len(part), -1) for part in (images, test_images))
        untrained = _untrained(method, images, test_images, seed)
        with one_thread():
            rows = [
                probe(LEARNED, v, test_v),
                probe("raw pixels", pixels, test_pixels),
                probe("PCA of pixels", *_pca(pixels, test_pixels, v.shape[1])),
                probe(UNTRAINED, *untrained),
            ]
    return Evaluation(tuple(rows), std_of_z, method.head.out_features, rank, k, counts)


def _pca(train: NDArray, test: NDArray, dimensions: int) -> tuple[NDArray, NDArray]:
    """Projections onto the principal axes of the training rows; axes without variance are left out."""
    decomposition = require("sklearn.decomposition", "scikit-learn")
    pca = decomposition.PCA(min(dimensions, *train.shape), random_state=0).fit(train)
    used = pca.explained_variance_ > 1e-7 * pca.explained_variance_[0]
    used[0] = True
    return pca.transform(train)[:, used], pca.transform(test)[:, used]


def _untrained(method: Any, images: NDArray, test_images: NDArray, seed: int) -> tuple[NDArray, NDArray]:
    """Features of an encoder of the same layers with random weights.

    Its running statistics are taken from the images: with the initial ones it would be weaker than it needs to be.
    """
    encoder = Network(method.encoder.layers, method.encoder.in_shape, seed)
    batch = 256
    for start in list(range(0, len(images), batch))[:100]:
        if len(part := images[start : start + batch]) > 1:
            encoder.forward(method.augment.plain(part), training=True)
    twin = type(method)(encoder, method.head, **method.settings)
    return twin.transform(images, method.augment), twin.transform(test_images, method.augment)
