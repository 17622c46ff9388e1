"""Pairs of two modalities, as images and their captions, with a learned scale of the scores."""

import math

from nearfar import _core
from nearfar.losses.in_batch import info_nce
from nearfar.losses.reductions import reduced, reduction_of
from nearfar.losses.scores import score_of

SIGMOID = 0  # the number that C knows the objective by

# Where the authors let their parameters start.
CLIP_LOGIT_SCALE = math.log(1 / 0.07)
SIGLIP_LOGIT_SCALE, SIGLIP_LOGIT_BIAS = math.log(10), -10.0


def _scale_of(logit_scale):
    """exp(logit_scale), if that is a number that scores can be multiplied by."""
    logit_scale = float(logit_scale)
    if not -600 <= logit_scale <= 600:
        raise ValueError(f"logit_scale must be from -600 to 600: it is the logarithm of a factor; got {logit_scale:g}")
    return math.exp(logit_scale)


def clip(image, text, logit_scale=CLIP_LOGIT_SCALE, *, normalize=True, reduction="mean", weights=None):
    r"""The loss of CLIP: symmetric InfoNCE with a scale that is learned.

    .. math:: L = \frac{1}{2N} \sum_i \left( -\log \frac{\exp(S_{ii})}{\sum_j \exp(S_{ij})}
              -\log \frac{\exp(S_{ii})}{\sum_j \exp(S_{ji})} \right),\quad S_{ij} = e^a\, x_i \cdot y_j

    Each image is told from the other images by its text, and each text from the other texts by its image.

    Parameters
    ----------
    image, text : array_like, (N, D)
        Embeddings; row i of `text` belongs to row i of `image`.
    logit_scale : float
        :math:`a`, the *logarithm* of what cosines are multiplied by, -600 to 600: the parameter that CLIP learns. It
        starts at log(1 / 0.07) = 2.659, and is usually clipped to at most log(100).
    normalize : bool
        Scale rows to length 1 first, so that products are cosines. The gradient is for the rows that were passed in.
    reduction : "mean", "sum" or "none"
        Mean over the pairs, their sum, or an array (N,) of their values, each the mean of both directions. Gradients
        are those of the mean, else those of the sum.
    weights : array_like, (N,), optional
        One factor for the value of each pair, of either sign, at most 1e30 in size; by default 1. It holds for both
        directions. "mean" still divides by N, not by the sum of the weights.

    Returns
    -------
    loss : float or ndarray, (N,)
        In nats; log(N) if all embeddings are equal.
    gradients : tuple
        ``(d_image, d_text, d_logit_scale)``, the last a float.

    Raises
    ------
    ValueError, TypeError
        As `info_nce`, and if `logit_scale` is not as said.

    Notes
    -----
    It is ``info_nce(image, text, exp(-logit_scale), symmetric=True)``. open_clip's `ClipLoss` is called with the factor
    itself, ``logit_scale.exp()``, and with embeddings that are normalised already: `nearfar.torch.ClipLoss` has that
    call.

    References
    ----------
    Radford et al.: "Learning transferable visual models from natural language supervision", ICML 2021.

    Examples
    --------
    >>> import numpy as np, nearfar as nf
    >>> loss, (d_image, d_text, d_logit_scale) = nf.clip(np.eye(4), np.eye(4), logit_scale=np.log(2))
    >>> round(loss, 4), round(d_logit_scale, 4)
    (0.3408, -0.5775)
    """
    temperature = 1 / _scale_of(logit_scale)
    loss, (d_image, d_text, d_temperature) = info_nce(
        image,
        text,
        temperature,
        symmetric=True,
        normalize=normalize,
        reduction=reduction,
        weights=weights,
        temperature_gradient=True,
    )
    return loss, (d_image, d_text, -temperature * d_temperature)


def sigmoid_loss(
    image,
    text,
    logit_scale=SIGLIP_LOGIT_SCALE,
    logit_bias=SIGLIP_LOGIT_BIAS,
    *,
    normalize=True,
    reduction="mean",
    weights=None,
):
    r"""The loss of SigLIP: each of the N x N pairs is a logistic regression of its own, with the label 1 or -1.

    .. math:: L = \frac{1}{N} \sum_{i, j} \log\left(1 + \exp(-l_{ij} S_{ij})\right),\quad
              S_{ij} = e^a\, x_i \cdot y_j + b,\quad l_{ij} = 1 \text{ if } i = j \text{ else } -1

    Parameters
    ----------
    image, text : array_like, (N, D)
        Embeddings; row i of `text` belongs to row i of `image`.
    logit_scale : float
        :math:`a`, the *logarithm* of what cosines are multiplied by, -600 to 600: the parameter that SigLIP learns. It
        starts at log(10).
    logit_bias : float
        :math:`b`, finite. It starts at -10, which makes up for the N - 1 negatives of each positive.
    normalize : bool
        Scale rows to length 1 first, so that products are cosines. The gradient is for the rows that were passed in.
        A row of zeros stays one, and its gradient is zero.
    reduction : "mean", "sum" or "none"
        Mean over the images; the sum, N times as much; or an array (N,) of each image's sum over the texts. Gradients
        are those of the mean, else those of the sum.
    weights : array_like, (N,), optional
        One factor for the value of each image, of either sign, at most 1e30 in size; by default 1. It is that of the
        image with all texts. "mean" still divides by N, not by the sum of the weights.

    Returns
    -------
    loss : float or ndarray, (N,)
        In nats. If all embeddings are equal, the lowest value that `logit_bias` can reach, with all scores at
        -log(N - 1), is log(N) + (N - 1) log(N / (N - 1)), between log(N) and log(N) + 1. Not below 0.
    gradients : tuple
        ``(d_image, d_text, d_logit_scale, d_logit_bias)``, the last two floats. float32 if both inputs are float32 or
        float16, else float64.

    Raises
    ------
    ValueError
        If shapes differ, there is no row or no column, a number is NaN or infinite, `weights` exceed 1e30 in size, an
        option is not as said, or products of rows times the factor reach 1e300.
    TypeError
        If an input is not an array of real numbers.

    Notes
    -----
    Like the authors and open_clip it divides the sum over N x N pairs by N. open_clip's `SigLipLoss` is called with the
    factor itself, ``logit_scale.exp()``, and with embeddings that are normalised already: `nearfar.torch.SigLipLoss`
    has that call. A mean over all N x N pairs is this value over N.

    float32 inputs whose scores may exceed 128 in size are computed in float64 inside, at about a third of the speed.

    References
    ----------
    Zhai et al.: "Sigmoid loss for language image pre-training", ICCV 2023.

    Examples
    --------
    >>> import numpy as np, nearfar as nf
    >>> loss, (d_image, d_text, d_logit_scale, d_logit_bias) = nf.sigmoid_loss(np.eye(4), np.eye(4))
    >>> round(loss, 4), round(d_logit_bias, 4)  # scores are 0 on the diagonal and -10 off it
    (0.6933, -0.4999)
    """
    scale = _scale_of(logit_scale)
    values, d_image, d_text, _, d_logit_scale, d_logit_bias = _core.critic_loss(
        image,
        text,
        None,
        weights,
        SIGMOID,
        score_of("cosine" if normalize else "dot"),
        scale,
        logit_bias,
        reduction_of(reduction),
    )
    return reduced(values, reduction, d_image), (d_image, d_text, d_logit_scale, d_logit_bias)
