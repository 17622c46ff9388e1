"""Each query among the keys of its batch, or among given negatives."""

import math

import numpy as np

from nearfar import _core
from nearfar.arguments import number
from nearfar.losses.reductions import reduced, reduction_of


def info_nce(
    query,
    key,
    temperature=0.1,
    *,
    negatives=None,
    symmetric=False,
    normalize=True,
    reduction="mean",
    weights=None,
    temperature_gradient=False,
):
    r"""InfoNCE: tell the positive key of each query from negatives.

    .. math:: L = \frac{1}{N} \sum_i -\log \frac{\exp(q_i \cdot k_i / \tau)}
              {\exp(q_i \cdot k_i / \tau) + \sum_{n \in \mathrm{negatives}(i)} \exp(q_i \cdot n / \tau)}

    Without `negatives`, those of query i are the other samples' keys. With `negatives`, they are these and nothing
    else: the other samples' keys are then not in the denominator (as in MoCo).

    Parameters
    ----------
    query, key : array_like, (N, D)
        Embeddings; row i of `key` is the positive of row i of `query`.
    temperature : float
        :math:`\tau > 0`. Common values are 0.07 to 0.5.
    negatives : array_like, (K, D) or (N, K, D), optional
        Negatives that all queries share (a queue, a memory bank), or each query's own. With K = 0 the loss is 0.
    symmetric : bool
        The mean of both directions: each query among the keys, and each key among the queries (as in CLIP). Not with
        `negatives`.
    normalize : bool
        Scale rows to length 1 first, so that products are cosines. The gradient is for the rows that were passed in.
        A row of zeros stays one, and its gradient is zero.
    reduction : "mean", "sum" or "none"
        The mean or the sum over the queries, or the value of each (with `symmetric` the mean of a pair's two).
        Gradients are those of the mean; with "sum" and "none" they are those of the sum.
    weights : array_like, (N,), optional
        One factor for the value of each query, of either sign, at most 1e30 in size; by default 1. With `symmetric` it
        is that of a pair, in both directions. "mean" still divides by N, not by the sum of the weights.
    temperature_gradient : bool
        Append the derivative of the loss with respect to `temperature`, a float, to the gradients.

    Returns
    -------
    loss : float, or ndarray (N,) with "none"
        In nats; the mean is log(K + 1) if all scores are equal.
    gradients : tuple
        ``(d_query, d_key)`` or ``(d_query, d_key, d_negatives)``, and `d_temperature` last if asked for. float32 if all
        inputs are float32 or float16, else float64.

    Raises
    ------
    ValueError
        If shapes do not fit, there is no row or no column, a number is NaN or infinite, `weights` exceed 1e30 in size,
        `temperature` is not above 0, `reduction` is something else, products of rows over `temperature` reach 1e300, or
        `symmetric` is combined with `negatives`.
    TypeError
        If an input is not an array of real numbers.

    Notes
    -----
    Other packages scale the same loss differently: `nearfar.losses` has a table.

    CLIP is ``info_nce(image, text, temperature, symmetric=True, temperature_gradient=True)`` with
    ``temperature = exp(-logit_scale)``; the gradient of its parameter `logit_scale` is
    ``-temperature * d_temperature``.

    float32 inputs whose scores may exceed 128 in size (normalised: temperatures below 1/128) or spread too far for
    float32 are computed in float64 inside, at about a third of the speed.

    References
    ----------
    van den Oord, Li, Vinyals: "Representation learning with contrastive predictive coding", 2018.
    He et al.: "Momentum contrast for unsupervised visual representation learning", CVPR 2020.

    Examples
    --------
    >>> import numpy as np, nearfar as nf
    >>> query = np.eye(4, dtype=np.float32)
    >>> loss, (d_query, d_key) = nf.info_nce(query, query, temperature=0.5)
    >>> round(loss, 4), d_query.shape, d_key.dtype
    (0.3408, (4, 4), dtype('float32'))
    >>> loss, (d_query, d_key, d_negatives) = nf.info_nce(query, query, negatives=-query, temperature=0.5)
    >>> d_negatives.shape
    (4, 4)
    >>> values, _ = nf.info_nce(query, query, temperature=0.5, reduction="none")
    >>> values.round(4)
    array([0.3408, 0.3408, 0.3408, 0.3408], dtype=float32)
    """
    if symmetric and negatives is not None:
        raise ValueError("symmetric=True needs in-batch negatives: negatives must be None")
    values, d_query, d_key, d_negatives, d_temperature = _core.info_nce(
        query, key, negatives, weights, temperature, symmetric, normalize, reduction_of(reduction)
    )
    loss = reduced(values, reduction, d_query)
    gradients = (d_query, d_key) if negatives is None else (d_query, d_key, d_negatives)
    return loss, gradients + (d_temperature,) if temperature_gradient else gradients


def n_pair(query, key, *, l2=0.002, reduction="mean", weights=None):
    r"""The N-pair loss: InfoNCE of plain products, with a penalty on long embeddings in place of normalisation.

    .. math:: L = \frac{1}{N} \sum_i -\log \frac{\exp(q_i \cdot k_i)}{\sum_j \exp(q_i \cdot k_j)}
              + \frac{\lambda}{4 N} \sum_i \left( |q_i|^2 + |k_i|^2 \right)

    Parameters
    ----------
    query, key : array_like, (N, D)
        Embeddings; row i of `key` is the positive of row i of `query`, the other keys its negatives.
    l2 : float
        :math:`\lambda \ge 0`. With 0 it is ``info_nce(query, key, 1.0, normalize=False)``.
    reduction : "mean", "sum" or "none"
        The mean or the sum over the queries, or the value of each, with the penalty of its pair. Gradients are those of
        the mean; with "sum" and "none" they are those of the sum.
    weights : array_like, (N,), optional
        One factor for the value of each query, of either sign, at most 1e30 in size; by default 1. The penalty of a
        pair has it, too. "mean" still divides by N, not by the sum of the weights.

    Returns
    -------
    loss : float, or ndarray (N,) with "none"
        In nats; the mean is log(N) if all scores are equal and `l2` is 0.
    gradients : tuple
        ``(d_query, d_key)``; float32 if both inputs are float32 or float16, else float64.

    Raises
    ------
    ValueError
        If shapes differ, there is no row or no column, a number is NaN or infinite, `weights` exceed 1e30 in size, `l2`
        is negative or not finite, `reduction` is something else, or products or squares of rows reach 1e300.
    TypeError
        If an input is not an array of real numbers.

    References
    ----------
    Sohn: "Improved deep metric learning with multi-class N-pair loss objective", NIPS 2016.

    Examples
    --------
    >>> import numpy as np, nearfar as nf
    >>> loss, (d_query, d_key) = nf.n_pair(np.zeros((4, 3)), np.zeros((4, 3)))
    >>> bool(np.isclose(loss, np.log(4))), d_query.shape
    (True, (4, 3))
    """
    l2 = number(l2, "l2")
    if not (l2 >= 0 and math.isfinite(l2)):
        raise ValueError(f"l2 must be finite and >= 0, got {l2}")
    loss, gradients = info_nce(query, key, 1.0, normalize=False, reduction=reduction, weights=weights)
    factors = np.ones(len(gradients[0])) if weights is None else np.asarray(weights, dtype=np.float64)
    for name, x, d_x in zip(("query", "key"), (query, key), gradients, strict=True):
        x = np.asarray(x, dtype=np.float64)
        with np.errstate(over="ignore"):
            squares = np.einsum("nd,nd->n", x, x)
            total = float(squares.sum())
        if not total < 1e300:
            raise ValueError(f"the sum of {name}'s squares must stay below 1e300, got {total:g}")
        count = len(x) if reduction == "mean" else 1
        penalties = l2 / 4 * factors * squares
        loss += penalties.astype(loss.dtype) if reduction == "none" else float(penalties.sum()) / count
        d_x += (l2 / (2 * count) * factors[:, None] * x).astype(d_x.dtype)
    return loss, gradients
