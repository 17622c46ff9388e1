"""Contrastive losses on plain arrays: value and gradient in one call.

Every function returns ``loss, gradients``: the mean over anchors in nats, as a float, and arrays shaped like the
inputs. Beyond 16 MB no matrix of all scores is stored: memory grows with the input, not with its square. Results have
the same bits for any number of threads.
"""

import math

import numpy as np

from nearfar import _core

__all__ = ["dcl", "dclw", "debiased_nt_xent", "info_nce", "n_pair", "nt_xent", "sup_con"]


def info_nce(
    query,
    key,
    temperature=0.1,
    *,
    negatives=None,
    symmetric=False,
    normalize=True,
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
    temperature_gradient : bool
        Append the derivative of the loss with respect to `temperature`, a float, to the gradients.

    Returns
    -------
    loss : float
        Mean over the queries, in nats; log(K + 1) if all scores are equal.
    gradients : tuple
        ``(d_query, d_key)`` or ``(d_query, d_key, d_negatives)``, and `d_temperature` last if asked for. float32 if all
        inputs are float32 or float16, else float64.

    Raises
    ------
    ValueError
        If shapes do not fit, there is no row or no column, a number is NaN or infinite, `temperature` is not above 0,
        products of rows over `temperature` reach 1e300, or `symmetric` is combined with `negatives`.
    TypeError
        If an input is not an array of real numbers.

    Notes
    -----
    Other packages scale the same loss differently; multiply value and gradient accordingly: the *sum* of both
    directions is 2 times ``symmetric=True``; MoCo v3 multiplies each of its two one-way losses by ``2 * temperature``.

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
    """
    if symmetric and negatives is not None:
        raise ValueError("symmetric=True needs in-batch negatives: negatives must be None")
    loss, d_query, d_key, d_negatives, d_temperature = _core.info_nce(
        query, key, negatives, temperature, symmetric, normalize
    )
    gradients = (d_query, d_key) if negatives is None else (d_query, d_key, d_negatives)
    return loss, gradients + (d_temperature,) if temperature_gradient else gradients


def nt_xent(z, temperature=0.5, *, normalize=True, temperature_gradient=False):
    r"""NT-Xent, the loss of SimCLR: tell the other views of a sample from all views of all other samples.

    .. math:: L = \frac{1}{VN} \sum_i \frac{1}{V - 1} \sum_{p \in P(i)}
              -\log \frac{\exp(z_i \cdot z_p / \tau)}{\sum_{j \ne i} \exp(z_i \cdot z_j / \tau)}

    Each of the V N rows is an anchor i; its positives P(i) are the other V - 1 views of its sample, and the denominator
    has all V N - 1 other rows. With two views that is NT-Xent; with more, the mean over the positives is taken outside
    the logarithm (:math:`L_{out}` of SupCon with one class per sample).

    Parameters
    ----------
    z : array_like, (V, N, D)
        Embeddings of V >= 2 views of N samples: ``np.stack([view_a, view_b])``.
    temperature : float
        :math:`\tau > 0`. SimCLR uses 0.1 for ImageNet, 0.5 for CIFAR-10.
    normalize : bool
        Scale rows to length 1 first, so that products are cosines. The gradient is for the rows that were passed in.
        A row of zeros stays one, and its gradient is zero.
    temperature_gradient : bool
        Return ``(d_z, d_temperature)`` in place of `d_z`: the derivative of the loss with respect to `temperature`, a
        float, as well.

    Returns
    -------
    loss : float
        Mean over the anchors, in nats; log(V N - 1) if all embeddings are equal, 0 for one sample in two views.
    d_z : ndarray, (V, N, D)
        Gradient; float32 if `z` is float32 or float16, else float64.

    Raises
    ------
    ValueError
        If `z` is not (V, N, D) with V >= 2 and N, D >= 1, a number is NaN or infinite, `temperature` is not above 0, or
        products of rows over `temperature` reach 1e300.
    TypeError
        If `z` is not an array of real numbers.

    Notes
    -----
    Other packages scale the same loss differently; multiply value and gradient accordingly: Google's SimCLR code adds
    the means of both views (times 2); SupContrast multiplies by ``temperature / base_temperature`` with a base of 0.07.

    float32 inputs whose scores may exceed 128 in size (normalised: temperatures below 1/128) or spread too far for
    float32 are computed in float64 inside, at about a third of the speed.

    References
    ----------
    Chen et al.: "A simple framework for contrastive learning of visual representations", ICML 2020.
    Khosla et al.: "Supervised contrastive learning", NeurIPS 2020.

    Examples
    --------
    >>> import numpy as np, nearfar as nf
    >>> z = np.ones((2, 8, 4), dtype=np.float32)
    >>> loss, d_z = nf.nt_xent(z)
    >>> bool(np.isclose(loss, np.log(15))), d_z.shape
    (True, (2, 8, 4))
    """
    loss, d_z, d_temperature = _core.nt_xent(z, temperature, normalize)
    return loss, (d_z, d_temperature) if temperature_gradient else d_z


def sup_con(z, labels, temperature=0.1, *, positives="out", normalize=True, temperature_gradient=False):
    r"""SupCon, the supervised contrastive loss: tell all rows of one's own class from those of other classes.

    .. math:: L_{out} &= \frac{1}{|I|} \sum_{i \in I} \frac{1}{|P(i)|} \sum_{p \in P(i)}
              -\log \frac{\exp(z_i \cdot z_p / \tau)}{\sum_{j \ne i} \exp(z_i \cdot z_j / \tau)} \\
              L_{in} &= \frac{1}{|I|} \sum_{i \in I}
              -\log \frac{\frac{1}{|P(i)|} \sum_{p \in P(i)} \exp(z_i \cdot z_p / \tau)}
              {\sum_{j \ne i} \exp(z_i \cdot z_j / \tau)}

    The positives P(i) of anchor i are all other rows with its label, and its denominator has all rows but itself. I are
    the anchors that have a positive; the others are negatives only. If there is no positive at all, loss and gradients
    are 0. With labels 0..N-1 for two views, both forms are `nt_xent`.

    Parameters
    ----------
    z : array_like, (N, D) or (V, N, D)
        Embeddings of N samples, or of V views of them.
    labels : array_like of int, (N,)
        The class of each sample; any integers.
    temperature : float
        :math:`\tau > 0`. Common values are 0.07 to 0.5.
    positives : "out" or "in"
        Where the mean over the positives is taken: outside the logarithm, which the authors recommend, or inside.
    normalize : bool
        Scale rows to length 1 first, so that products are cosines. The gradient is for the rows that were passed in.
        A row of zeros stays one, and its gradient is zero.
    temperature_gradient : bool
        Return ``(d_z, d_temperature)`` in place of `d_z`: the derivative of the loss with respect to `temperature`, a
        float, as well.

    Returns
    -------
    loss : float
        Mean over the anchors that have a positive, in nats; log(V N - 1) if all embeddings are equal. Neither
        form gets below the mean of log |P(i)|.
    d_z : ndarray, shape of `z`
        Gradient; float32 if `z` is float32 or float16, else float64.

    Raises
    ------
    ValueError
        If shapes do not fit, there is no row or no column, a number is NaN or infinite, `temperature` is not above 0,
        `positives` is something else, or products of rows over `temperature` reach 1e300.
    TypeError
        If `z` is not an array of real numbers, or `labels` not one of integers.

    Notes
    -----
    Other packages scale the same loss differently; multiply value and gradient accordingly: SupContrast multiplies by
    ``temperature / base_temperature`` with a base of 0.07, and divides by the number of all anchors, those without a
    positive too.

    With "out" the time hardly depends on the labels. With "in" the pairs within a class are computed one by one: with
    ten classes that takes some five times as long, with a hundred it hardly matters.

    float32 inputs whose scores may exceed 128 in size (normalised: temperatures below 1/128) or spread too far for
    float32 are computed in float64 inside, at about a third of the speed.

    References
    ----------
    Khosla et al.: "Supervised contrastive learning", NeurIPS 2020.

    Examples
    --------
    >>> import numpy as np, nearfar as nf
    >>> z = np.ones((8, 4), dtype=np.float32)
    >>> loss, d_z = nf.sup_con(z, [0, 0, 0, 1, 1, 1, 2, 2])
    >>> bool(np.isclose(loss, np.log(7))), d_z.shape
    (True, (8, 4))
    """
    if positives not in ("out", "in"):
        raise ValueError(f"positives must be 'out' or 'in', got {positives!r}")
    loss, d_z, d_temperature = _core.sup_con(z, labels, positives == "in", temperature, normalize)
    return loss, (d_z, d_temperature) if temperature_gradient else d_z


def dcl(z, temperature=0.1, *, normalize=True, temperature_gradient=False):
    r"""DCL, the decoupled contrastive loss: NT-Xent without the positives in the denominator.

    .. math:: L = \frac{1}{VN} \sum_i \left( \log \sum_{n \notin P(i), n \ne i} \exp(z_i \cdot z_n / \tau)
              - \frac{1}{V - 1} \sum_{p \in P(i)} z_i \cdot z_p / \tau \right)

    Anchors and positives are those of `nt_xent`. The pull on positives does not weaken as they come close, which helps
    in small batches.

    Parameters
    ----------
    z : array_like, (V, N, D)
        Embeddings of V >= 2 views of N >= 2 samples: ``np.stack([view_a, view_b])``.
    temperature : float
        :math:`\tau > 0`. Common values are 0.07 to 0.5.
    normalize : bool
        Scale rows to length 1 first, so that products are cosines. The gradient is for the rows that were passed in.
        A row of zeros stays one, and its gradient is zero.
    temperature_gradient : bool
        Return ``(d_z, d_temperature)`` in place of `d_z`: the derivative of the loss with respect to `temperature`, a
        float, as well.

    Returns
    -------
    loss : float
        Mean over the anchors, in nats; log(V N - V) if all embeddings are equal. It may be negative.
    d_z : ndarray, (V, N, D)
        Gradient; float32 if `z` is float32 or float16, else float64.

    Raises
    ------
    ValueError
        If `z` is not (V, N, D) with V, N >= 2 and D >= 1, a number is NaN or infinite, `temperature` is not above 0, or
        products of rows over `temperature` reach 1e300.
    TypeError
        If `z` is not an array of real numbers.

    References
    ----------
    Yeh et al.: "Decoupled contrastive learning", ECCV 2022.

    Examples
    --------
    >>> import numpy as np, nearfar as nf
    >>> z = np.ones((2, 8, 4), dtype=np.float32)
    >>> loss, d_z = nf.dcl(z)
    >>> bool(np.isclose(loss, np.log(14))), d_z.shape
    (True, (2, 8, 4))
    """
    loss, d_z, d_temperature = _core.dcl(z, temperature, math.inf, normalize)
    return loss, (d_z, d_temperature) if temperature_gradient else d_z


def dclw(z, temperature=0.1, *, sigma=0.5, normalize=True, temperature_gradient=False):
    r"""DCLW: `dcl` with weighted positives, less for pairs that are close already.

    .. math:: L &= \frac{1}{2N} \sum_i \left( \log \sum_{n \notin P(i), n \ne i} \exp(z_i \cdot z_n / \tau)
              - w_i \, z_i \cdot z_{p(i)} / \tau \right) \\
              w_i &= 2 - N \frac{\exp(z_i \cdot z_{p(i)} / \sigma)}{\sum_k \exp(z_k \cdot z_{p(k)} / \sigma)}

    k runs over the N pairs, so that the mean weight is 1. Weights are constants for the gradients.

    Parameters
    ----------
    z : array_like, (2, N, D)
        Embeddings of two views of N >= 2 samples: ``np.stack([view_a, view_b])``.
    temperature : float
        :math:`\tau > 0`. Common values are 0.07 to 0.5.
    sigma : float
        :math:`\sigma > 0`: the smaller, the more weights differ. Infinity makes them all 1, which is `dcl`.
    normalize : bool
        Scale rows to length 1 first, so that products are cosines. The gradient is for the rows that were passed in.
        A row of zeros stays one, and its gradient is zero.
    temperature_gradient : bool
        Return ``(d_z, d_temperature)`` in place of `d_z`: the derivative of the loss with respect to `temperature`, a
        float, as well.

    Returns
    -------
    loss : float
        Mean over the anchors, in nats; log(2 N - 2) if all embeddings are equal. It may be negative.
    d_z : ndarray, (2, N, D)
        Gradient; float32 if `z` is float32 or float16, else float64.

    Raises
    ------
    ValueError
        If `z` is not (2, N, D) with N >= 2 and D >= 1, a number is NaN or infinite, `temperature` or `sigma` is not
        above 0, or products of rows over one of them reach 1e300.
    TypeError
        If `z` is not an array of real numbers.

    References
    ----------
    Yeh et al.: "Decoupled contrastive learning", ECCV 2022.

    Examples
    --------
    >>> import numpy as np, nearfar as nf
    >>> z = np.ones((2, 8, 4), dtype=np.float32)
    >>> loss, d_z = nf.dclw(z)
    >>> bool(np.isclose(loss, np.log(14))), d_z.shape
    (True, (2, 8, 4))
    """
    loss, d_z, d_temperature = _core.dcl(z, temperature, sigma, normalize)
    return loss, (d_z, d_temperature) if temperature_gradient else d_z


def debiased_nt_xent(z, temperature=0.5, *, tau_plus=0.1, beta=0.0, temperature_gradient=False):
    r"""NT-Xent that allows for negatives of the anchor's own class, and may weight hard negatives up.

    .. math:: L &= \frac{1}{2N} \sum_i -\log \frac{\exp(s_{ip})}{\exp(s_{ip}) + G_i}, \qquad
              s_{ij} = z_i \cdot z_j / \tau \\
              G_i &= \max\left( \frac{R_i - M \tau^+ \exp(s_{ip})}{1 - \tau^+}, \; M \exp(-1 / \tau) \right) \\
              R_i &= M \, \frac{\sum_n \exp((1 + \beta) s_{in})}{\sum_n \exp(\beta s_{in})}

    p is the other view of anchor i, and n runs over its M = 2 N - 2 negatives, the views of the other samples. With
    `beta` = 0, R is the sum of their exponentials, and the loss is the debiased one; with `tau_plus` = 0 as well it is
    `nt_xent`. Rows are always scaled to length 1: the smallest score, in the maximum, is that of unit vectors.

    Parameters
    ----------
    z : array_like, (2, N, D)
        Embeddings of two views of N >= 2 samples: ``np.stack([view_a, view_b])``.
    temperature : float
        :math:`\tau > 0`. The authors use 0.5.
    tau_plus : float
        :math:`\tau^+`, 0 to 0.999: the share of negatives that are of the anchor's class, 1 / C for C equal classes.
    beta : float
        :math:`\beta`, 0 or 1e-6 to 1e4: the larger, the more the negatives that are close to the anchor count. Common
        values are 0 to 2.
    temperature_gradient : bool
        Return ``(d_z, d_temperature)`` in place of `d_z`: the derivative of the loss with respect to `temperature`, a
        float, as well.

    Returns
    -------
    loss : float
        Mean over the anchors, in nats; log(2 N - 1) if all embeddings are equal.
    d_z : ndarray, (2, N, D)
        Gradient; float32 if `z` is float32 or float16, else float64. A row of zeros has a gradient of zero.

    Raises
    ------
    ValueError
        If `z` is not (2, N, D) with N >= 2 and D >= 1, a number is NaN or infinite, `temperature` is not above 0, a
        parameter is out of its range, or products of rows over ``temperature / (1 + beta)`` reach 1e300.
    TypeError
        If `z` is not an array of real numbers.

    Notes
    -----
    float32 inputs whose scores times 1 + beta may exceed 128 in size or spread too far for float32 are computed in
    float64 inside, at about a third of the speed. A `beta` above 0 takes twice the time of 0.

    References
    ----------
    Chuang et al.: "Debiased contrastive learning", NeurIPS 2020.
    Robinson et al.: "Contrastive learning with hard negative samples", ICLR 2021.

    Examples
    --------
    >>> import numpy as np, nearfar as nf
    >>> z = np.ones((2, 8, 4), dtype=np.float32)
    >>> loss, d_z = nf.debiased_nt_xent(z, tau_plus=0.1, beta=1.0)
    >>> bool(np.isclose(loss, np.log(15))), d_z.shape
    (True, (2, 8, 4))
    """
    loss, d_z, d_temperature = _core.debiased_nt_xent(z, temperature, tau_plus, beta)
    return loss, (d_z, d_temperature) if temperature_gradient else d_z


def n_pair(query, key, *, l2=0.002):
    r"""The N-pair loss: InfoNCE of plain products, with a penalty on long embeddings in place of normalisation.

    .. math:: L = \frac{1}{N} \sum_i -\log \frac{\exp(q_i \cdot k_i)}{\sum_j \exp(q_i \cdot k_j)}
              + \frac{\lambda}{4 N} \sum_i \left( |q_i|^2 + |k_i|^2 \right)

    Parameters
    ----------
    query, key : array_like, (N, D)
        Embeddings; row i of `key` is the positive of row i of `query`, the other keys its negatives.
    l2 : float
        :math:`\lambda \ge 0`. With 0 it is ``info_nce(query, key, 1.0, normalize=False)``.

    Returns
    -------
    loss : float
        Mean over the queries, in nats; log(N) if all scores are equal and `l2` is 0.
    gradients : tuple
        ``(d_query, d_key)``; float32 if both inputs are float32 or float16, else float64.

    Raises
    ------
    ValueError
        If shapes differ, there is no row or no column, a number is NaN or infinite, `l2` is negative or not finite, or
        products or squares of rows reach 1e300.
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
    if not (l2 >= 0 and math.isfinite(l2)):
        raise ValueError(f"l2 must be finite and >= 0, got {l2}")
    loss, gradients = info_nce(query, key, 1.0, normalize=False)
    for name, x, d_x in zip(("query", "key"), (query, key), gradients, strict=True):
        x = np.asarray(x, dtype=np.float64)
        with np.errstate(over="ignore"):
            squares = float(np.einsum("nd,nd->", x, x))
        if not squares < 1e300:
            raise ValueError(f"the sum of {name}'s squares must stay below 1e300, got {squares:g}")
        loss += l2 / (4 * len(x)) * squares
        d_x += (l2 / (2 * len(x)) * x).astype(d_x.dtype)
    return loss, gradients
