"""Float64 twins of the losses: the formulas with all scores in one matrix."""

import numpy as np


def normalized(x):
    """Rows divided by their length; rows of zeros stay zeros."""
    x = np.asarray(x, dtype=np.float64)
    largest = np.abs(x).max(axis=-1, keepdims=True)
    scaled = x / np.where(largest > 0, largest, 1)
    norm = np.linalg.norm(scaled, axis=-1, keepdims=True)
    return scaled / np.where(norm > 0, norm, 1)


def log_sum_exp(scores, axis=-1):
    highest = scores.max(axis=axis, keepdims=True)
    highest = np.where(np.isfinite(highest), highest, 0)
    with np.errstate(divide="ignore"):
        return (highest + np.log(np.exp(scores - highest).sum(axis=axis, keepdims=True))).squeeze(axis)


def reduced(values, reduction, weights=None):
    """The mean or sum of the anchors' values times their weights, or these."""
    values = values if weights is None else np.multiply(values, weights)
    return {"mean": np.mean, "sum": np.sum, "none": np.asarray}[reduction](values)


def info_nce(
    query, key, temperature=0.1, *, negatives=None, symmetric=False, normalize=True, reduction="mean", weights=None
):
    """The value of InfoNCE."""
    prepare = normalized if normalize else lambda x: np.asarray(x, dtype=np.float64)
    query, key = prepare(query), prepare(key)
    positive = (query * key).sum(axis=1) / temperature
    if negatives is None:
        scores = query @ key.T / temperature
        values = log_sum_exp(scores, 1) - positive
        return reduced((values + log_sum_exp(scores, 0) - positive) / 2 if symmetric else values, reduction, weights)
    negatives = prepare(negatives)
    if negatives.ndim == 2:
        scores = query @ negatives.T / temperature
    else:
        scores = np.einsum("nd,nkd->nk", query, negatives) / temperature
    return reduced(log_sum_exp(np.concatenate([positive[:, None], scores], axis=1), 1) - positive, reduction, weights)


def nt_xent(z, temperature=0.5, *, normalize=True, reduction="mean", weights=None):
    """The value of NT-Xent."""
    views, samples, width = np.shape(z)
    z = (normalized(z) if normalize else np.asarray(z, dtype=np.float64)).reshape(-1, width)
    scores = z @ z.T / temperature
    sample = np.arange(views * samples) % samples
    positive = (sample[:, None] == sample) & ~np.eye(len(z), dtype=bool)
    np.fill_diagonal(scores, -np.inf)
    log_p = scores - log_sum_exp(scores, 1)[:, None]
    return reduced(-np.where(positive, log_p, 0).sum(axis=1).reshape(views, samples) / (views - 1), reduction, weights)


def slopes(scores, positive):
    """Derivatives of sum_i mean_{p positive} -log softmax(scores_i)_p. Column by column it is softmax - positive / P;
    at the positives this is written such that nothing cancels: minus what the negatives get, shared out."""
    scores = scores - scores.max(axis=1, keepdims=True)
    e = np.exp(scores)
    p = e / e.sum(axis=1, keepdims=True)
    count = positive.sum(axis=1, keepdims=True)
    positive_log = log_sum_exp(np.where(positive, scores, -np.inf), 1)[:, None]
    among_positives = np.where(positive, np.exp(np.where(positive, scores - positive_log, 0)), 0)
    won = np.where(positive, p, 0).sum(axis=1, keepdims=True)
    lost = np.where(positive, 0, p).sum(axis=1, keepdims=True)
    return np.where(positive, won * (among_positives - 1 / count) - lost / count, p)


def normalized_backward(x, d_z):
    """Gradient with respect to x of what has the gradient d_z with respect to normalized(x)."""
    x = np.asarray(x, dtype=np.float64)
    z = normalized(x)
    norm = np.linalg.norm(x, axis=-1, keepdims=True)
    d_x = (d_z - z * (z * d_z).sum(axis=-1, keepdims=True)) / np.where(norm > 0, norm, 1)
    return np.where(norm > 0, d_x, 0)


def info_nce_gradients(query, key, temperature=0.1, *, negatives=None, symmetric=False, normalize=True, weights=None):
    """(d_query, d_key[, d_negatives], d_temperature) by the formulas."""
    prepare = normalized if normalize else lambda x: np.asarray(x, dtype=np.float64)
    q, k, n = prepare(query), prepare(key), len(query)
    shares = (np.ones(n) if weights is None else weights)[:, None] / n
    if negatives is None:
        scores = q @ k.T / temperature
        positive = np.eye(n, dtype=bool)
        g = slopes(scores, positive) * shares
        if symmetric:
            g = (g + (slopes(scores.T, positive) * shares).T) / 2
        gradients, d_temperature = (g @ k, g.T @ q), -(g * scores).sum() / temperature
        inputs = (query, key)
    else:
        m = prepare(negatives)
        positive = (q * k).sum(axis=1, keepdims=True)
        others = q @ m.T if m.ndim == 2 else np.einsum("nd,nkd->nk", q, m)
        scores = np.concatenate([positive, others], axis=1) / temperature
        g = slopes(scores, np.broadcast_to(np.arange(scores.shape[1]) == 0, scores.shape)) * shares
        d_temperature = -(g * scores).sum() / temperature
        p, w = g[:, :1], g[:, 1:]
        d_q = p * k + (w @ m if m.ndim == 2 else np.einsum("nk,nkd->nd", w, m))
        d_m = w.T @ q if m.ndim == 2 else w[:, :, None] * q[:, None, :]
        gradients, inputs = (d_q, p * q, d_m), (query, key, negatives)
    gradients = [g / temperature for g in gradients]
    if normalize:
        gradients = [normalized_backward(x, g) for x, g in zip(inputs, gradients, strict=True)]
    return (*gradients, d_temperature)


def nt_xent_gradients(z, temperature=0.5, *, normalize=True, weights=None):
    """(d_z, d_temperature) by the formulas."""
    _, samples, width = np.shape(z)
    x = np.asarray(z, dtype=np.float64).reshape(-1, width)
    u = normalized(x) if normalize else x
    scores = u @ u.T / temperature
    sample = np.arange(len(u)) % samples
    positive = (sample[:, None] == sample) & ~np.eye(len(u), dtype=bool)
    masked = np.where(np.eye(len(u), dtype=bool), -np.inf, scores)
    g = slopes(masked, positive) / len(u)
    g *= 1 if weights is None else np.reshape(weights, (-1, 1))
    d_u = (g + g.T) @ u / temperature
    d_x = normalized_backward(x, d_u) if normalize else d_u
    return d_x.reshape(np.shape(z)), -(g * scores).sum() / temperature


def sup_con_masks(z, labels):
    """Rows of z and their positives."""
    rows = np.asarray(z, dtype=np.float64).reshape(-1, np.shape(z)[-1])
    labels = np.tile(labels, len(rows) // len(labels))
    return rows, (labels[:, None] == labels) & ~np.eye(len(rows), dtype=bool)


def sup_con(z, labels, temperature=0.1, *, positives="out", normalize=True, reduction="mean", weights=None):
    """The value of SupCon."""
    rows, positive = sup_con_masks(z, labels)
    active = positive.any(axis=1)
    values = np.zeros(len(rows))
    if not active.any():
        return reduced(values.reshape(np.shape(z)[:-1]), reduction)
    u = normalized(rows) if normalize else rows
    scores = u @ u.T / temperature
    np.fill_diagonal(scores, -np.inf)
    scores, positive = scores[active], positive[active]
    log_p = scores - log_sum_exp(scores, 1)[:, None]
    count = positive.sum(axis=1)
    if positives == "out":
        values[active] = -np.where(positive, log_p, 0).sum(axis=1) / count
    else:
        values[active] = np.log(count) - log_sum_exp(np.where(positive, log_p, -np.inf), 1)
    values = values.reshape(np.shape(z)[:-1])
    if reduction == "none":
        return reduced(values, reduction, weights)
    return reduced(values, "sum", weights) / (active.sum() if reduction == "mean" else 1)


def sup_con_gradients(z, labels, temperature=0.1, *, positives="out", normalize=True, weights=None):
    """(d_z, d_temperature) by the formulas."""
    rows, positive = sup_con_masks(z, labels)
    active = positive.any(axis=1)
    if not active.any():
        return np.zeros(np.shape(z)), 0.0
    u = normalized(rows) if normalize else rows
    scores = u @ u.T / temperature
    masked = np.where(np.eye(len(u), dtype=bool), -np.inf, scores)[active]
    g = np.zeros_like(scores)
    if positives == "out":
        g[active] = slopes(masked, positive[active])
    else:
        log_p = masked - log_sum_exp(masked, 1)[:, None]
        among = np.where(positive[active], masked, -np.inf)
        lost = np.where(positive[active], 0, np.exp(log_p)).sum(axis=1, keepdims=True)
        share = np.exp(among - log_sum_exp(among, 1)[:, None])
        g[active] = np.where(positive[active], -lost * share, np.exp(log_p))
    g *= (1 if weights is None else np.reshape(weights, (-1, 1))) / active.sum()
    d_u = (g + g.T) @ u / temperature
    d_x = normalized_backward(rows, d_u) if normalize else d_u
    return d_x.reshape(np.shape(z)), -(g * scores).sum() / temperature


def dcl_pulls(z, sigma, *, normalize=True):
    """The constant pulls of the positives of DCLW."""
    a, b = normalized(z) if normalize else np.asarray(z, dtype=np.float64)
    scores = (a * b).sum(axis=1) / sigma
    return 2 - len(a) * np.exp(scores - log_sum_exp(scores))


def dcl(z, temperature=0.1, *, pulls=None, normalize=True, reduction="mean", weights=None):
    """The value of DCL, and of DCLW with its pulls (N)."""
    views, samples, width = np.shape(z)
    u = (normalized(z) if normalize else np.asarray(z, dtype=np.float64)).reshape(-1, width)
    scores = u @ u.T / temperature
    sample = np.arange(len(u)) % samples
    same = sample[:, None] == sample
    positives = np.where(same, scores, 0).sum(axis=1) - np.diagonal(scores)
    pulls = 1 if pulls is None else np.tile(pulls, views)
    values = log_sum_exp(np.where(same, -np.inf, scores), 1) - pulls * positives / (views - 1)
    return reduced(values.reshape(views, samples), reduction, weights)


def dcl_gradients(z, temperature=0.1, *, pulls=None, normalize=True):
    """(d_z, d_temperature) by the formulas."""
    views, samples, width = np.shape(z)
    x = np.asarray(z, dtype=np.float64).reshape(-1, width)
    u = normalized(x) if normalize else x
    scores = u @ u.T / temperature
    sample = np.arange(len(u)) % samples
    same = sample[:, None] == sample
    pulls = np.tile(np.ones(samples) if pulls is None else pulls, views)[:, None]
    masked = np.where(same, -np.inf, scores)
    g = np.where(same, -pulls / (views - 1), np.exp(masked - log_sum_exp(masked, 1)[:, None])) / len(u)
    np.fill_diagonal(g, 0)
    d_u = (g + g.T) @ u / temperature
    d_x = normalized_backward(x, d_u) if normalize else d_u
    return d_x.reshape(np.shape(z)), -(g * scores).sum() / temperature


def debiased_nt_xent(z, temperature=0.5, *, tau_plus=0.1, beta=0.0, reduction="mean", weights=None):
    """The value of debiased NT-Xent with hard negatives."""
    _, samples, width = np.shape(z)
    u = normalized(z).reshape(-1, width)
    scores = u @ u.T / temperature
    sample = np.arange(len(u)) % samples
    same = sample[:, None] == sample
    positive = np.where(same, scores, 0).sum(axis=1) - np.diagonal(scores)
    count = len(u) - 2
    hard = log_sum_exp(np.where(same, -np.inf, (1 + beta) * scores), 1)
    log_ratio = hard - log_sum_exp(np.where(same, -np.inf, beta * scores), 1) - positive
    ratio = count * np.exp(log_ratio.astype(np.longdouble))  # which float64 may not hold
    floor = count * np.exp((-1 / np.float64(temperature) - positive).astype(np.longdouble))
    ratio = np.maximum((ratio - count * tau_plus) / (1 - tau_plus), floor)
    return reduced(np.log1p(ratio).astype(np.float64).reshape(2, samples), reduction, weights)


def n_pair(query, key, *, l2=0.002, reduction="mean", weights=None):
    """The value of the N-pair loss."""
    penalty = l2 / 4 * (np.square(query).sum(axis=1) + np.square(key).sum(axis=1))
    return reduced(info_nce(query, key, 1.0, normalize=False, reduction="none") + penalty, reduction, weights)


def central_differences(function, x, step=1e-5):
    """Gradient of function(x), a scalar, at x."""
    x = np.array(x, dtype=np.float64)
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        middle = x[index]
        x[index] = middle + step
        above = function(x)
        x[index] = middle - step
        gradient[index] = (above - function(x)) / (2 * step)
        x[index] = middle
    return gradient
