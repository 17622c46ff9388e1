"""Instance discrimination: each sample is a class of its own, with an embedding that a memory bank remembers."""

import math

import numpy as np

from nearfar import _core
from nearfar.losses.reductions import reduced, reduction_of


class MemoryBank:
    """One embedding of length 1 for each sample of a data set.

    Parameters
    ----------
    samples, features : int
        The shape of the bank.
    momentum : float
        0 to 1: how much of a row an update keeps.
    seed : int
        Of the rows that it starts with, which have random directions.

    Attributes
    ----------
    rows : ndarray of float32, (samples, features)

    Examples
    --------
    >>> import numpy as np, nearfar as nf
    >>> bank = nf.losses.MemoryBank(1000, 16)
    >>> random = np.random.default_rng(0)
    >>> v, indices = random.normal(size=(32, 16)).astype(np.float32), np.arange(32)
    >>> negatives = random.integers(1000, size=(32, 100))
    >>> partition = bank.partition(v, negatives)  # of the first batch; a constant from then on
    >>> loss, d_v = nf.losses.npid(v, bank.rows, indices, negatives, partition=partition)
    >>> bank.update(indices, v)
    """

    def __init__(self, samples, features, *, momentum=0.5, seed=0):
        if samples < 1 or features < 1:
            raise ValueError(f"the bank must have at least one row and one column, got ({samples}, {features})")
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum must be from 0 to 1, got {momentum}")
        self.momentum = momentum
        self.rows = _of_length_one(np.random.default_rng(seed).standard_normal((samples, features), np.float32))

    def update(self, indices, v):
        """Moves rows towards new embeddings, `v` (N, features) scaled to length 1, and scales them to length 1 again.

        If an index comes twice, its last embedding counts. An index out of range is an IndexError.
        """
        v = np.asarray(v, np.float32)
        if v.shape != (len(indices), self.rows.shape[1]):
            raise ValueError(f"v must have shape {(len(indices), self.rows.shape[1])}, got {v.shape}")
        if not np.isfinite(v).all():
            raise ValueError("v must be finite")
        mixed = self.momentum * self.rows[indices] + (1 - self.momentum) * _of_length_one(v)
        self.rows[indices] = _of_length_one(mixed)

    def partition(self, v, negatives, temperature=0.07):
        """An estimate of Z, the sum over all rows f of exp(v . f / temperature), as a mean over some: `negatives`
        (N, m) are indices of rows for each embedding in `v` (N, features)."""
        if not temperature > 0:
            raise ValueError(f"temperature must be > 0, got {temperature}")
        v = _of_length_one(np.asarray(v, np.float64))
        products = np.stack([self.rows[drawn] @ row for row, drawn in zip(v, np.asarray(negatives), strict=True)])
        return len(self.rows) * float(np.exp(products / temperature).mean())


def _of_length_one(v):
    """Rows scaled to length 1; rows of zeros stay zeros."""
    length = np.linalg.norm(v, axis=1, keepdims=True)
    return v / np.where(length > 0, length, 1)


def npid(
    query,
    bank,
    indices,
    negatives,
    *,
    partition,
    temperature=0.07,
    normalize=True,
    reduction="mean",
    weights=None,
    temperature_gradient=False,
):
    r"""NPID, non-parametric instance discrimination: NCE of each sample against rows of a memory bank.

    .. math:: L = \frac{1}{N} \sum_i \left( -\log h(f_{\mathrm{index}(i)}, v_i) - \sum_{j \in \mathrm{negatives}(i)}
              \log(1 - h(f_j, v_i)) \right)

    .. math:: h(f, v) = \frac{P}{P + m / n},\quad P = \frac{\exp(v \cdot f / \tau)}{Z}

    where n is the number of rows of the bank and m the number of negatives of a query, which are drawn with equal
    probabilities 1 / n. That is `nce` with the noise 1 / n and log Z taken off the scores.

    Parameters
    ----------
    query : array_like, (N, D)
        Embeddings v.
    bank : array_like, (n, D)
        Embeddings f, taken as they are: ``MemoryBank.rows``. They are constants, without a gradient.
    indices : array_like of int, (N,)
        Which row of the bank is each query's own.
    negatives : array_like of int, (N, m)
        Which rows are its negatives, m >= 1. A query's own may be among them, as in the paper.
    partition : float
        :math:`Z > 0`, a constant: the authors' is the first batch's ``MemoryBank.partition``.
    temperature : float
        :math:`\tau`, 1e-30 to 1e30.
    normalize : bool
        Scale `query`'s rows to length 1 first. The gradient is for the rows that were passed in. A row of zeros stays
        one, and its gradient is zero.
    reduction : "mean", "sum" or "none"
        Mean over the queries, their sum, or an array (N,) of their values. Gradients are those of the mean, else those
        of the sum.
    weights : array_like, (N,), optional
        One factor for the value of each query, of either sign, at most 1e30 in size; by default 1. "mean" still divides
        by N, not by the sum of the weights.
    temperature_gradient : bool
        Return ``(d_query, d_temperature)`` in place of `d_query`; `partition` counts as a constant.

    Returns
    -------
    loss : float or ndarray, (N,)
        In nats. If all embeddings are equal and `partition` is right, P is 1 / n, and the loss
        log(1 + m) + m log(1 + 1 / m).
    d_query : ndarray, (N, D)
        Gradient; float32 if `query` and `bank` are float32 or float16, else float64.

    Raises
    ------
    ValueError
        If shapes do not fit, an index is out of range, a number is NaN or infinite, `weights` exceed 1e30 in size, or
        an option is not as said.
    TypeError
        If an input is not an array of real numbers, or of integers.

    Notes
    -----
    The authors' code adds 1e-7 to both denominators; here probabilities are never formed, and nothing needs it. They
    have an optional penalty on the change of a sample's embedding, which is not part of this loss.

    References
    ----------
    Wu et al.: "Unsupervised feature learning via non-parametric instance discrimination", CVPR 2018.

    Examples
    --------
    >>> import numpy as np, nearfar as nf
    >>> ones = np.ones((4, 4)) / 2
    >>> loss, d_query = nf.losses.npid(ones, ones, range(4), [[0, 1]] * 4, partition=4 * np.exp(1 / 0.07))
    >>> bool(np.isclose(loss, np.log(3) + 2 * np.log(1.5))), d_query.shape
    (True, (4, 4))
    """
    negatives = np.asarray(negatives)
    if negatives.ndim != 2 or negatives.shape[1] < 1:
        raise ValueError(f"negatives must be (N, m) with m >= 1, got shape {negatives.shape}")
    if not (partition > 0 and math.isfinite(partition)):
        raise ValueError(f"partition must be finite and > 0, got {partition}")
    log_offset = math.log(partition) + math.log(negatives.shape[1]) - math.log(max(len(bank), 1))
    values, d_query, d_temperature = _core.npid(
        query, bank, indices, negatives, weights, log_offset, temperature, normalize, reduction_of(reduction)
    )
    loss = reduced(values, reduction, d_query)
    return loss, (d_query, d_temperature) if temperature_gradient else d_query
