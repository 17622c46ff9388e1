"""Each view of a sample among the views of all samples."""

import math

from nearfar import _core
from nearfar.losses.reductions import reduced, reduction_of


def nt_xent(z, temperature=0.5, *, normalize=True, reduction="mean", weights=None, temperature_gradient=False):
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
    reduction : "mean", "sum" or "none"
        The mean or the sum over the anchors, or the value of each. Gradients are those of the mean; with "sum" and
        "none" they are those of the sum.
    weights : array_like, (V, N), optional
        One factor for the value of each anchor, of either sign, at most 1e30 in size; by default 1. "mean" still
        divides by V N, not by the sum of the weights.
    temperature_gradient : bool
        Return ``(d_z, d_temperature)`` in place of `d_z`: the derivative of the loss with respect to `temperature`, a
        float, as well.

    Returns
    -------
    loss : float, or ndarray (V, N) with "none"
        In nats; the mean is log(V N - 1) if all embeddings are equal, 0 for one sample in two views.
    d_z : ndarray, (V, N, D)
        Gradient; float32 if `z` is float32 or float16, else float64.

    Raises
    ------
    ValueError
        If `z` is not (V, N, D) with V >= 2 and N, D >= 1, a number is NaN or infinite, `weights` exceed 1e30 in size,
        `temperature` is not above 0, `reduction` is something else, or products of rows over `temperature` reach 1e300.
    TypeError
        If `z` is not an array of real numbers.

    Notes
    -----
    Other packages scale the same loss differently: `nearfar.losses` has a table.

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
    >>> weights = [[1, 1, 1, 1, 0, 0, 0, 0]] * 2  # the values of the first four samples alone
    >>> loss, d_z = nf.nt_xent(z, weights=weights)
    >>> bool(np.isclose(loss, np.log(15) / 2))
    True
    """
    values, d_z, d_temperature = _core.nt_xent(z, weights, temperature, normalize, reduction_of(reduction))
    loss = reduced(values, reduction, d_z, d_z.shape[:2])
    return loss, (d_z, d_temperature) if temperature_gradient else d_z


def dcl(z, temperature=0.1, *, normalize=True, reduction="mean", weights=None, temperature_gradient=False):
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
    reduction : "mean", "sum" or "none"
        The mean or the sum over the anchors, or the value of each. Gradients are those of the mean; with "sum" and
        "none" they are those of the sum.
    weights : array_like, (V, N), optional
        One factor for the value of each anchor, of either sign, at most 1e30 in size; by default 1. "mean" still
        divides by V N, not by the sum of the weights.
    temperature_gradient : bool
        Return ``(d_z, d_temperature)`` in place of `d_z`: the derivative of the loss with respect to `temperature`, a
        float, as well.

    Returns
    -------
    loss : float, or ndarray (V, N) with "none"
        In nats; the mean is log(V N - V) if all embeddings are equal. It may be negative.
    d_z : ndarray, (V, N, D)
        Gradient; float32 if `z` is float32 or float16, else float64.

    Raises
    ------
    ValueError
        If `z` is not (V, N, D) with V, N >= 2 and D >= 1, a number is NaN or infinite, `weights` exceed 1e30 in size,
        `temperature` is not above 0, `reduction` is something else, or products of rows over `temperature` reach 1e300.
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
    values, d_z, d_temperature = _core.dcl(z, weights, temperature, math.inf, normalize, reduction_of(reduction))
    loss = reduced(values, reduction, d_z, d_z.shape[:2])
    return loss, (d_z, d_temperature) if temperature_gradient else d_z


def dclw(z, temperature=0.1, *, sigma=0.5, normalize=True, reduction="mean", weights=None, temperature_gradient=False):
    r"""DCLW: `dcl` with weighted positives, less for pairs that are close already.

    .. math:: L &= \frac{1}{2N} \sum_i \left( \log \sum_{n \notin P(i), n \ne i} \exp(z_i \cdot z_n / \tau)
              - c_i \, z_i \cdot z_{p(i)} / \tau \right) \\
              c_i &= 2 - N \frac{\exp(z_i \cdot z_{p(i)} / \sigma)}{\sum_k \exp(z_k \cdot z_{p(k)} / \sigma)}

    k runs over the N pairs, so that the mean of the c is 1. They are constants for the gradients.

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
    reduction : "mean", "sum" or "none"
        The mean or the sum over the anchors, or the value of each. Gradients are those of the mean; with "sum" and
        "none" they are those of the sum.
    weights : array_like, (2, N), optional
        One factor for the value of each anchor, of either sign, at most 1e30 in size; by default 1. "mean" still
        divides by 2 N, not by the sum of the weights.
    temperature_gradient : bool
        Return ``(d_z, d_temperature)`` in place of `d_z`: the derivative of the loss with respect to `temperature`, a
        float, as well.

    Returns
    -------
    loss : float, or ndarray (2, N) with "none"
        In nats; the mean is log(2 N - 2) if all embeddings are equal. It may be negative.
    d_z : ndarray, (2, N, D)
        Gradient; float32 if `z` is float32 or float16, else float64.

    Raises
    ------
    ValueError
        If `z` is not (2, N, D) with N >= 2 and D >= 1, a number is NaN or infinite, `weights` exceed 1e30 in size,
        `temperature` or `sigma` is not above 0, or products of rows over one of them reach 1e300.
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
    values, d_z, d_temperature = _core.dcl(z, weights, temperature, sigma, normalize, reduction_of(reduction))
    loss = reduced(values, reduction, d_z, d_z.shape[:2])
    return loss, (d_z, d_temperature) if temperature_gradient else d_z


def debiased_nt_xent(
    z, temperature=0.5, *, tau_plus=0.1, beta=0.0, reduction="mean", weights=None, temperature_gradient=False
):
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
    reduction : "mean", "sum" or "none"
        The mean or the sum over the anchors, or the value of each. Gradients are those of the mean; with "sum" and
        "none" they are those of the sum.
    weights : array_like, (2, N), optional
        One factor for the value of each anchor, of either sign, at most 1e30 in size; by default 1. "mean" still
        divides by 2 N, not by the sum of the weights.
    temperature_gradient : bool
        Return ``(d_z, d_temperature)`` in place of `d_z`: the derivative of the loss with respect to `temperature`, a
        float, as well.

    Returns
    -------
    loss : float, or ndarray (2, N) with "none"
        In nats; the mean is log(2 N - 1) if all embeddings are equal.
    d_z : ndarray, (2, N, D)
        Gradient; float32 if `z` is float32 or float16, else float64. A row of zeros has a gradient of zero.

    Raises
    ------
    ValueError
        If `z` is not (2, N, D) with N >= 2 and D >= 1, a number is NaN or infinite, `weights` exceed 1e30 in size,
        `temperature` is not above 0, a parameter is out of its range, or products of rows over
        ``temperature / (1 + beta)`` reach 1e300.
    TypeError
        If `z` is not an array of real numbers.

    Notes
    -----
    float32 inputs whose scores times 1 + beta may exceed 128 in size, 64 if `tau_plus` is not 0, or spread too far for
    float32, are computed in float64 inside, at about a third of the speed. A `beta` above 0 takes twice the time of 0.

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
    values, d_z, d_temperature = _core.debiased_nt_xent(
        z, weights, temperature, tau_plus, beta, reduction_of(reduction)
    )
    loss = reduced(values, reduction, d_z, d_z.shape[:2])
    return loss, (d_z, d_temperature) if temperature_gradient else d_z
