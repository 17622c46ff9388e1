"""Mutual information: losses of a critic that tells joint pairs from others, and the bounds that they are.

A critic gives scores T_ij to all pairs of N samples of two variables: high for the joint pairs (i, i), low for the
N (N - 1) others, which stand for independent draws. Each function takes either the matrix of scores, or the variables'
embeddings x and y, which it scores tile by tile without storing the matrix.
"""

import math
import numbers

import numpy as np

from nearfar import _core
from nearfar.losses.in_batch import info_nce
from nearfar.losses.reductions import reduced, reduction_of
from nearfar.losses.scores import score_of

# The numbers that C knows objectives by; 0 is the sigmoid loss.
JENSEN_SHANNON, NWJ, DONSKER_VARADHAN = 1, 2, 3


def _check_of_matrix(score, w, temperature, temperature_gradient):
    if (score, w, temperature, temperature_gradient) != ("dot", None, 1.0, False):
        raise ValueError("score, w, temperature and temperature_gradient are for x and y: y must not be None")


def _check_temperature(temperature):
    if not isinstance(temperature, numbers.Real):
        raise TypeError(f"temperature must be a real number, got {temperature!r}")
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(f"temperature must be finite and > 0, got {temperature}")


def _critic(objective, x, y, score, w, temperature, reduction, weights, temperature_gradient):
    number = reduction_of(reduction)
    if y is None:
        _check_of_matrix(score, w, temperature, temperature_gradient)
        values, d_scores = _core.critic_matrix_loss(x, weights, objective, number)
        return reduced(values, reduction, d_scores), d_scores
    kind = score_of(score)
    _check_temperature(temperature)
    values, d_x, d_y, d_w, d_log_scale, _ = _core.critic_loss(
        x, y, w, weights, objective, kind, 1 / temperature, 0.0, number
    )
    gradients = (d_x, d_y) if w is None else (d_x, d_y, d_w)
    if temperature_gradient:
        gradients += (-d_log_scale / temperature,)
    return reduced(values, reduction, d_x), gradients


def jsd(x, y=None, *, score="dot", w=None, temperature=1.0, reduction="mean", weights=None, temperature_gradient=False):
    r"""The Jensen-Shannon objective of mutual information: logistic regression of joint pairs against all others.

    .. math:: L = \frac{1}{N} \sum_i \log(1 + e^{-T_{ii}})
              + \frac{1}{N (N - 1)} \sum_{i \ne j} \log(1 + e^{T_{ij}})

    2 log 2 - L is at most twice the Jensen-Shannon divergence between the joint distribution and the product of the
    marginals, which grows with the mutual information but is not an estimate of it. Of the objectives here it is the
    easiest to train with: gradients are bounded, and it does not need many samples.

    Parameters
    ----------
    x : array_like, (N, N) or (N, D)
        The matrix of scores; or, with `y`, the embeddings of one variable. N >= 2.
    y : array_like, (N, D), optional
        Embeddings of the other variable: row i belongs to row i of `x`. (N, E) for the bilinear score.
    score : "dot", "cosine", "bilinear" or "distance"
        How x_i and y_j are scored, before `temperature`: by :math:`x_i \cdot y_j`, the same of rows of length 1,
        :math:`x_i \cdot W y_j`, or :math:`-|x_i - y_j|^2`; see `nearfar.losses.scores`.
    w : array_like, (D, E)
        :math:`W` of the bilinear score.
    temperature : float
        > 0; scores are divided by it.
    reduction : "mean", "sum" or "none"
        Mean over the samples i; their sum, N times as much; or an array (N,) of
        :math:`\log(1 + e^{-T_{ii}}) + \frac{1}{N - 1} \sum_{j \ne i} \log(1 + e^{T_{ij}})`. Gradients are those of the
        mean, else those of the sum.
    weights : array_like, (N,), optional
        One factor for the value of each sample, of either sign, at most 1e30 in size; by default 1. It is that of row i
        of the scores. "mean" still divides by N, not by the sum of the weights.
    temperature_gradient : bool
        Append the derivative of the loss with respect to `temperature`, a float, to the gradients.

    Returns
    -------
    loss : float or ndarray, (N,)
        In nats; 2 log 2 = 1.386 if all scores are 0, which is chance; not below 0. Constant scores c give
        :math:`\log(1 + e^{-c}) + \log(1 + e^c)`, more than that.
    gradients : ndarray, or tuple
        ``d_scores`` for a matrix; ``(d_x, d_y)`` or ``(d_x, d_y, d_w)``, and `d_temperature` last if asked for.
        float32 if all inputs are float32 or float16, else float64.

    Raises
    ------
    ValueError
        If shapes do not fit, there are fewer than two samples, a number is NaN or infinite, `weights` exceed 1e30 in
        size, an option is not as said, or scores reach 1e300 (in a matrix 1e290).
    TypeError
        If an input is not an array of real numbers.

    Notes
    -----
    Deep InfoMax's code takes log 2 off each of the two parts: its value is L - 2 log 2, its gradients are the same.

    float32 inputs whose scores may exceed 128 in size are computed in float64 inside.

    References
    ----------
    Hjelm et al.: "Learning deep representations by mutual information estimation and maximization", ICLR 2019.

    Examples
    --------
    >>> import numpy as np, nearfar as nf
    >>> loss, d_scores = nf.losses.jsd(np.zeros((4, 4)))
    >>> bool(np.isclose(loss, 2 * np.log(2))), d_scores[0, :2].tolist()
    (True, [-0.125, 0.041666666666666664])
    >>> x = np.random.default_rng(0).normal(size=(50, 8))
    >>> loss, (d_x, d_y) = nf.losses.jsd(x, x, score="cosine", temperature=0.2)
    >>> d_y.shape
    (50, 8)
    """
    return _critic(JENSEN_SHANNON, x, y, score, w, temperature, reduction, weights, temperature_gradient)


def donsker_varadhan(x, y=None, *, score="dot", w=None, temperature=1.0, temperature_gradient=False):
    r"""Minus Donsker and Varadhan's bound on mutual information, the loss of MINE.

    .. math:: L = -\frac{1}{N} \sum_i T_{ii} + \log \frac{1}{N (N - 1)} \sum_{i \ne j} e^{T_{ij}}

    -L estimates a lower bound of the mutual information, in nats; adding a constant to all scores changes nothing. With
    few samples it is biased upwards, since the logarithm is that of a sample's mean, and its variance grows
    exponentially with the mutual information.

    Parameters
    ----------
    x, y, score, w, temperature, temperature_gradient
        As for `jsd`.

    Returns
    -------
    loss : float
        In nats; 0 if all scores are equal, which is chance. Not bounded.
    gradients : ndarray, or tuple
        As for `jsd`. The sum of ``d_scores`` is 0.

    Raises
    ------
    ValueError, TypeError
        As `jsd`.

    Notes
    -----
    The gradient is that of the value. MINE's authors replace the mean in the denominator of its second part by a moving
    average over steps, to lessen the bias of small batches; that is not done here.

    References
    ----------
    Donsker, Varadhan: "Asymptotic evaluation of certain Markov process expectations for large time", 1983.
    Belghazi et al.: "Mutual information neural estimation", ICML 2018.

    Examples
    --------
    >>> import numpy as np, nearfar as nf
    >>> loss, d_scores = nf.losses.donsker_varadhan(5 * np.eye(4))
    >>> round(loss, 12), bool(abs(d_scores.sum()) < 1e-12)
    (-5.0, True)
    """
    return _critic(DONSKER_VARADHAN, x, y, score, w, temperature, "mean", None, temperature_gradient)


def nwj(x, y=None, *, score="dot", w=None, temperature=1.0, reduction="mean", weights=None, temperature_gradient=False):
    r"""Minus the bound on mutual information of Nguyen, Wainwright and Jordan, also called f-GAN's or MINE-f.

    .. math:: L = -\frac{1}{N} \sum_i T_{ii} + \frac{1}{N (N - 1)} \sum_{i \ne j} e^{T_{ij} - 1}

    -L is an unbiased estimate of a lower bound of the mutual information, in nats, which is tight for
    :math:`T = 1 + \log \frac{p(x, y)}{p(x) p(y)}`; its variance grows exponentially with the mutual information.

    Parameters
    ----------
    x, y, score, w, temperature, weights, temperature_gradient
        As for `jsd`.
    reduction : "mean", "sum" or "none"
        Mean over the samples i; their sum; or an array (N,) of
        :math:`-T_{ii} + \frac{1}{N - 1} \sum_{j \ne i} e^{T_{ij} - 1}`. Gradients are those of the mean, else those of
        the sum.

    Returns
    -------
    loss : float or ndarray, (N,)
        In nats; 0 if all scores are 1, which is chance at its best; constant scores c give
        :math:`e^{c - 1} - c \ge 0`. Not bounded.
    gradients : ndarray, or tuple
        As for `jsd`.

    Raises
    ------
    ValueError
        As `jsd`, and if the score of two different samples is above 680, or in float32 above 80 (it may be more where
        float64 is used inside): there the exponential leaves the numbers' range.
    TypeError
        As `jsd`.

    References
    ----------
    Nguyen, Wainwright, Jordan: "Estimating divergence functionals and the likelihood ratio by convex risk
    minimization", IEEE Transactions on Information Theory 2010.
    Nowozin, Cseke, Tomioka: "f-GAN: training generative neural samplers using variational divergence minimization",
    NIPS 2016.

    Examples
    --------
    >>> import numpy as np, nearfar as nf
    >>> loss, d_scores = nf.losses.nwj(np.ones((4, 4)))
    >>> round(loss, 12), d_scores[0, 0]
    (0.0, np.float64(-0.25))
    """
    return _critic(NWJ, x, y, score, w, temperature, reduction, weights, temperature_gradient)


def info_nce_bound(x, y=None, *, score="dot", w=None, temperature=1.0):
    r"""The lower bound on mutual information that InfoNCE is: log(N) minus the loss.

    .. math:: \hat I = \log N - L,\quad L = \frac{1}{N} \sum_i -\log \frac{e^{T_{ii}}}{\sum_j e^{T_{ij}}}

    Of the bounds here it has the lowest variance, but it cannot exceed log N: to see 5 nats takes 149 samples and more.
    It is an estimate to report; to train, use `info_nce`, whose gradients are minus those of the bound.

    Parameters
    ----------
    x, y, score, w, temperature
        As for `jsd`. N >= 1.

    Returns
    -------
    float
        In nats, at most log(N); 0 if all scores are equal, and below for a critic worse than chance.

    Raises
    ------
    ValueError, TypeError
        As `jsd`.

    References
    ----------
    van den Oord, Li, Vinyals: "Representation learning with contrastive predictive coding", 2018.
    Poole et al.: "On variational bounds of mutual information", ICML 2019.

    Examples
    --------
    >>> import numpy as np, nearfar as nf
    >>> round(nf.losses.info_nce_bound(100 * np.eye(8)), 6), round(float(np.log(8)), 6)
    (2.079442, 2.079442)
    """
    if y is None:
        _check_of_matrix(score, w, temperature, False)
        return _bound_of_matrix(x)
    _check_temperature(temperature)
    kind = score_of(score)
    if (w is not None) != (score == "bilinear"):
        raise ValueError("w is for the bilinear score, which needs it")
    if score == "bilinear":
        x = np.asarray(x) @ np.asarray(w)
    elif score == "distance":  # -|x - y|^2 = 2 x.y - |y|^2 but for what is the same for a whole row
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        x, y = np.column_stack([2 * x, np.ones(len(x))]), np.column_stack([y, -np.square(y).sum(axis=1)])
    loss, _ = info_nce(x, y, temperature, normalize=kind == score_of("cosine"))
    return math.log(len(x)) - loss


def _bound_of_matrix(scores):
    scores = np.asarray(scores)
    if scores.ndim != 2 or scores.shape[0] != scores.shape[1] or not scores.size:
        raise ValueError(f"scores must be square and not empty, got shape {scores.shape}")
    if np.iscomplexobj(scores) or not np.issubdtype(scores.dtype, np.number):
        raise TypeError(f"scores must be an array of real numbers, got dtype {scores.dtype}")
    scores = scores.astype(np.float64)
    if not (np.abs(scores) < 1e290).all():
        raise ValueError("scores must be finite and below 1e290 in size")
    highest = scores.max(axis=1)
    lost = highest + np.log(np.exp(scores - highest[:, None]).sum(axis=1)) - np.diagonal(scores)
    return math.log(len(scores)) - float(lost.mean())
