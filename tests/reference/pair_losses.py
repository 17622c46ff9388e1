"""Float64 twins of the losses that are sums over pairs: the formulas with all scores in one matrix."""

import numpy as np
from reference.losses import normalized, normalized_backward


def softplus(x):
    return np.logaddexp(0, x)


def sigmoid(x):
    return 0.5 * (1 + np.tanh(np.asarray(x) / 2))


def log_mean_exp(x):
    return x.max() + np.log(np.exp(x - x.max()).mean())


# ---- Scores ----


def scores(x, y, score="dot", w=None):
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if score == "cosine":
        return normalized(x) @ normalized(y).T
    if score == "bilinear":
        return x @ np.asarray(w, np.float64) @ y.T
    if score == "distance":
        return -np.square(x[:, None] - y).sum(axis=2)
    return x @ y.T


def scores_backward(d_scores, x, y, score="dot", w=None):
    """(d_x, d_y) or (d_x, d_y, d_w)."""
    x, y, d = np.asarray(x, np.float64), np.asarray(y, np.float64), np.asarray(d_scores, np.float64)
    if score == "cosine":
        return normalized_backward(x, d @ normalized(y)), normalized_backward(y, d.T @ normalized(x))
    if score == "bilinear":
        return d @ y @ w.T, d.T @ x @ w, x.T @ d @ y
    if score == "distance":
        difference = -2 * (x[:, None] - y)
        return (d[..., None] * difference).sum(axis=1), -(d[..., None] * difference).sum(axis=0)
    return d @ y, d.T @ x


# ---- Critics ----


def others(matrix):
    return matrix[~np.eye(len(matrix), dtype=bool)]


def critic_values(t, objective):
    """The values of the samples, (N)."""
    n, own = len(t), np.diagonal(t)
    off = ~np.eye(n, dtype=bool)
    if objective == "nwj":
        return -own + np.where(off, np.exp(np.where(off, t, 0) - 1), 0).sum(axis=1) / (n - 1)
    losses = np.where(off, softplus(t), 0).sum(axis=1)
    return softplus(-own) + (losses if objective == "sigmoid" else losses / (n - 1))


def critic(t, objective):
    """The value for a matrix of scores."""
    t = np.asarray(t, np.float64)
    if objective == "donsker_varadhan":
        return -np.diagonal(t).mean() + log_mean_exp(others(t))
    return critic_values(t, objective).mean()


def critic_gradient(t, objective):
    """The gradient of `critic`, by the formulas."""
    t = np.asarray(t, np.float64)
    n, off = len(t), ~np.eye(len(t), dtype=bool)
    if objective == "donsker_varadhan":
        e = np.where(off, np.exp(np.where(off, t, -np.inf) - others(t).max()), 0)
        return e / e.sum() - np.eye(n) / n
    if objective == "nwj":
        return np.where(off, np.exp(np.where(off, t, 0) - 1) / (n * (n - 1)), -1 / n)
    share = 1 / n if objective == "sigmoid" else 1 / (n * max(n - 1, 1))
    return np.where(off, sigmoid(t) * share, -sigmoid(-t) / n)


def info_nce_bound(t):
    highest = t.max(axis=1)
    lost = highest + np.log(np.exp(t - highest[:, None]).sum(axis=1)) - np.diagonal(t)
    return np.log(len(t)) - lost.mean()


def sigmoid_loss(image, text, logit_scale, logit_bias, *, normalize=True):
    s = scores(image, text, "cosine" if normalize else "dot")
    return critic(np.exp(logit_scale) * s + logit_bias, "sigmoid")


def sigmoid_loss_gradients(image, text, logit_scale, logit_bias, *, normalize=True):
    """(d_image, d_text, d_logit_scale, d_logit_bias)."""
    score = "cosine" if normalize else "dot"
    s = np.exp(logit_scale) * scores(image, text, score)
    d = critic_gradient(s + logit_bias, "sigmoid")
    d_image, d_text = scores_backward(d * np.exp(logit_scale), image, text, score)
    return d_image, d_text, (d * s).sum(), d.sum()


# ---- Alignment and uniformity ----


def align_uniform(x, y, *, alpha=2.0, t=2.0, weights=(1.0, 1.0), normalize=True):
    x, y = (normalized(x), normalized(y)) if normalize else (np.asarray(x, np.float64), np.asarray(y, np.float64))
    align = (np.linalg.norm(x - y, axis=1) ** alpha).mean()
    uniform = sum(log_mean_exp(others(t * scores(z, z, "distance"))) for z in (x, y)) / 2
    return weights[0] * align + weights[1] * uniform


# ---- NCE ----


def nce_values(query, key, negatives, temperature=1.0, *, key_noise=0.0, negative_noise=0.0, normalize=False):
    """The values of the queries, (N); the noise is log(m p)."""
    query, key, negatives = (normalized(x) if normalize else np.asarray(x, np.float64) for x in (query, key, negatives))
    positive = (query * key).sum(axis=1) / temperature - key_noise
    s = query @ negatives.T if negatives.ndim == 2 else np.einsum("nd,nkd->nk", query, negatives)
    return softplus(-positive) + softplus(s / temperature - negative_noise).sum(axis=1)


def npid_values(query, bank, indices, negatives, *, partition, temperature=0.07, normalize=True):
    """The values of the queries, (N), by probabilities as in the paper."""
    query = normalized(query) if normalize else np.asarray(query, np.float64)
    n, m = len(bank), np.shape(negatives)[1]

    def p(rows):
        return np.exp((query[:, None] * bank[rows]).sum(axis=2) / temperature) / partition

    own, others, noise = p(np.asarray(indices)[:, None])[:, 0], p(np.asarray(negatives)), m / n
    return -np.log(own / (own + noise)) - np.log(noise / (others + noise)).sum(axis=1)
