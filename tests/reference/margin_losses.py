"""Float64 twins of the margin losses: loops and matrices of all distances, by differences."""

import numpy as np
from reference.losses import log_sum_exp, normalized


def prepared(x, normalize):
    return normalized(x) if normalize else np.asarray(x, dtype=np.float64)


def distances(z, squared=False):
    squares = np.square(z[:, None] - z[None]).sum(axis=2)
    return squares if squared else np.sqrt(squares)


def h(excess, soft=False):
    return np.logaddexp(0, excess) if soft else np.maximum(0, excess)


def reduced(values, reduction, count, weights=None):
    values = values if weights is None else np.multiply(values, weights)
    if reduction == "none":
        return values
    return values.sum() / (1 if reduction == "sum" else max(count, 1))


def pair(a, b, same, *, form="hadsell", margin=1.0, bound=None, normalize=True, reduction="mean", weights=None):
    """The value of the pair losses."""
    a, b, same = prepared(a, normalize), prepared(b, normalize), np.asarray(same, dtype=bool)
    if form == "hadsell":
        d = np.linalg.norm(a - b, axis=1)
        values = np.where(same, d**2, np.maximum(0, margin - d) ** 2) / 2
    else:
        e, q = np.abs(a - b).sum(axis=1), bound or 2 * np.sqrt(a.shape[1])
        values = np.where(same, 2 / q * e**2, 2 * q * np.exp(-2.77 * e / q))
    return reduced(values, reduction, len(values), weights)


def contrastive(z, labels, *, pos_margin=0.0, neg_margin=1.0, normalize=True, reduction="mean", weights=None):
    """The value of the contrastive loss."""
    z, labels = prepared(z, normalize), np.asarray(labels)
    d, same = distances(z), labels[:, None] == labels
    positives = np.where(same & ~np.eye(len(z), dtype=bool), np.maximum(0, d - pos_margin), 0)
    negatives = np.where(same, 0, np.maximum(0, neg_margin - d))
    if reduction == "mean":
        positives, negatives = (x / max(np.count_nonzero(x), 1) for x in (positives, negatives))
    return reduced((positives + negatives).sum(axis=1), reduction, 1, weights)


def mined(labels, d, mining):
    """All triplets (anchor, positive, negative) of a batch with distances d that are taken."""
    labels = np.asarray(labels)
    for a in range(len(labels)):
        positives = np.flatnonzero((labels == labels[a]) & (np.arange(len(labels)) != a))
        negatives = np.flatnonzero(labels != labels[a])
        if len(positives) == 0 or len(negatives) == 0:
            continue
        if mining == "all":
            yield from ((a, p, n) for p in positives for n in negatives)
        elif mining == "hard":
            yield a, positives[d[a, positives].argmax()], negatives[d[a, negatives].argmin()]
        else:
            for p in positives:
                farther = negatives[d[a, negatives] > d[a, p]]
                if len(farther):
                    yield a, p, farther[d[a, farther].argmin()]
                else:
                    yield a, p, negatives[d[a, negatives].argmax()]


def triplets(z, labels, margin, mining, squared, normalize):
    """The anchors of all triplets, and D_ap - D_an + margin."""
    d = distances(prepared(z, normalize), squared)
    found = np.array(list(mined(labels, d, mining)), dtype=int).reshape(-1, 3)
    a, p, n = found.T
    return a, d[a, p] - d[a, n] + margin


def triplet(
    z,
    labels,
    margin=0.2,
    *,
    mining="all",
    squared=True,
    soft=False,
    nonzero=False,
    normalize=True,
    reduction="mean",
    weights=None,
):
    """The value of the triplet loss of a batch."""
    anchors, excess = triplets(z, labels, margin, mining, squared, normalize)
    terms = h(excess, soft)
    values = np.bincount(anchors, weights=terms, minlength=len(z))
    return reduced(values, reduction, np.count_nonzero(terms) if nonzero else len(terms), weights)


def triplet_margin(
    anchor,
    positive,
    negative,
    margin=0.2,
    *,
    squared=True,
    soft=False,
    swap=False,
    normalize=True,
    reduction="mean",
    weights=None,
):
    """The value of the triplet loss of triplets that are given."""
    a, p, n = (prepared(x, normalize) for x in (anchor, positive, negative))

    def distance(x, y):
        return np.square(x - y).sum(axis=1) if squared else np.linalg.norm(x - y, axis=1)

    far = np.minimum(distance(a, n), distance(p, n)) if swap else distance(a, n)
    values = h(distance(a, p) - far + margin, soft)
    return reduced(values, reduction, len(values), weights)


def lifted_structure(z, labels, margin=1.0, *, nonzero=False, normalize=True, reduction="mean", weights=None):
    """The value of the lifted structured loss."""
    z, labels = prepared(z, normalize), np.asarray(labels)
    d, values, terms = distances(z), np.zeros(len(z)), []
    for i in range(len(z)):
        for j in range(i):
            others = labels != labels[i]
            if labels[i] == labels[j] and others.any():
                both = np.concatenate([margin - d[i, others], margin - d[j, others]])
                terms.append(np.maximum(0, log_sum_exp(both) + d[i, j]) ** 2 / 2)
                values[[i, j]] += terms[-1] / 2
    return reduced(values, reduction, np.count_nonzero(terms) if nonzero else len(terms), weights)
