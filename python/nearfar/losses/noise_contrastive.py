"""Binary noise-contrastive estimation: data from noise, one decision for each pair."""

import math

import numpy as np

from nearfar import _core
from nearfar.losses.reductions import reduced, reduction_of


def nce(
    query,
    key,
    negatives,
    temperature=1.0,
    *,
    log_noise=None,
    normalize=False,
    reduction="mean",
    weights=None,
    temperature_gradient=False,
):
    r"""Binary NCE, or negative sampling: is this pair from the data or from the noise?

    .. math:: L = \frac{1}{N} \sum_i \left( \log(1 + e^{-s_i}) + \sum_{n \in \mathrm{negatives}(i)}
              \log(1 + e^{s_{in}}) \right)

    with scores :math:`s = q \cdot k / \tau`, and with `log_noise` :math:`s = q \cdot k / \tau - \log(m\,p(k))`. The
    first is negative sampling, as in word2vec; the second is NCE, whose best scores :math:`q \cdot k / \tau` are the
    logarithms of the data's probabilities, normalised by themselves.

    Parameters
    ----------
    query, key : array_like, (N, D)
        Embeddings; row i of `key` is the positive of row i of `query`.
    negatives : array_like, (K, D) or (N, K, D)
        Negatives that all queries share, or each query's own; m = K.
    temperature : float
        :math:`\tau > 0`.
    log_noise : tuple of two array_like, optional
        ``(log p(key), log p(negatives))``, shaped (N,) and (K,) or (N, K): the logarithms of the probabilities with
        which the noise draws these.
    normalize : bool
        Scale rows to length 1 first, so that products are cosines. The gradient is for the rows that were passed in.
        A row of zeros stays one, and its gradient is zero.
    reduction : "mean", "sum" or "none"
        Mean over the queries, their sum, or an array (N,) of their values. Gradients are those of the mean, else those
        of the sum.
    weights : array_like, (N,), optional
        One factor for the value of each query, of either sign, at most 1e30 in size; by default 1. "mean" still divides
        by N, not by the sum of the weights.
    temperature_gradient : bool
        Append the derivative of the loss with respect to `temperature`, a float, to the gradients.

    Returns
    -------
    loss : float or ndarray, (N,)
        In nats; (K + 1) log 2 if all scores are 0, as those of embeddings of zeros. Not below 0.
    gradients : tuple
        ``(d_query, d_key, d_negatives)``, and `d_temperature` last if asked for. float32 if all embeddings are float32
        or float16, else float64.

    Raises
    ------
    ValueError
        If shapes do not fit, there is no row or no column, a number is NaN or infinite, `weights` exceed 1e30 in size,
        an option is not as said, or products of rows over `temperature` reach 1e300.
    TypeError
        If an input is not an array of real numbers.

    Notes
    -----
    NT-Logistic, which SimCLR's authors compare with, is this with ``normalize=True`` and a temperature of 0.5 or so.
    word2vec adds up over its pairs, ``reduction="sum"``.

    float32 inputs whose scores or `log_noise` may exceed 128 in size are computed in float64 inside.

    References
    ----------
    Gutmann, Hyvarinen: "Noise-contrastive estimation: a new estimation principle for unnormalized statistical models",
    AISTATS 2010.
    Mikolov et al.: "Distributed representations of words and phrases and their compositionality", NIPS 2013.

    Examples
    --------
    >>> import numpy as np, nearfar as nf
    >>> query, negatives = np.eye(4), np.zeros((10, 4))
    >>> loss, (d_query, d_key, d_negatives) = nf.losses.nce(query, query, negatives)
    >>> bool(np.isclose(loss, np.log(1 + np.exp(-1)) + 10 * np.log(2))), d_negatives.shape
    (True, (10, 4))
    """
    key_offsets, negative_offsets = (None, None) if log_noise is None else _offsets(log_noise, negatives)
    values, *gradients, d_temperature = _core.nce(
        query, key, negatives, key_offsets, negative_offsets, weights, temperature, normalize, reduction_of(reduction)
    )
    loss = reduced(values, reduction, gradients[0])
    return loss, (*gradients, d_temperature) if temperature_gradient else tuple(gradients)


def _offsets(log_noise, negatives):
    """log(m p) of the keys and of the negatives."""
    if not isinstance(log_noise, (tuple, list)) or len(log_noise) != 2:
        raise ValueError("log_noise must be a pair: of the keys and of the negatives")
    try:
        shape = np.shape(negatives)
    except ValueError:
        raise ValueError("negatives must be an array: its parts have different shapes") from None
    count = math.log(max(shape[-2], 1)) if len(shape) > 1 else 0.0
    return [np.asarray(of_rows) + count for of_rows in log_noise]
