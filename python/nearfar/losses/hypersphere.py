"""What contrastive losses do in the limit of many negatives: pull pairs together, spread all over the sphere."""

from nearfar import _core
from nearfar.losses.reductions import reduced


def align_uniform(x, y, *, alpha=2.0, t=2.0, weights=(1.0, 1.0), normalize=True):
    r"""Alignment and uniformity: positive pairs near each other, all embeddings spread over the sphere.

    .. math:: L &= a \frac{1}{N} \sum_i |x_i - y_i|^\alpha + b\, \frac{U(x) + U(y)}{2} \\
              U(x) &= \log \frac{2}{N (N - 1)} \sum_{i < j} \exp(-t |x_i - x_j|^2)

    Parameters
    ----------
    x, y : array_like, (N, D)
        Embeddings of two views of N >= 2 samples.
    alpha : float
        1 to 100.
    t : float
        > 0.
    weights : pair of floats
        :math:`(a, b)`, >= 0: of alignment and of uniformity.
    normalize : bool
        Scale rows to length 1 first. The gradient is for the rows that were passed in. A row of zeros stays one, and
        its gradient is zero.

    Returns
    -------
    loss : float
        0 if all embeddings are equal: the first part is then at its best, the second at its worst. Pairs that agree,
        spread evenly over a sphere of many dimensions, give -2 b t, by default -4; a few can be further apart.
    gradients : tuple
        ``(d_x, d_y)``; float32 if both inputs are float32 or float16, else float64. Where x_i = y_i alignment has the
        gradient 0, for alpha = 1 too, where it has none.

    Raises
    ------
    ValueError
        If shapes differ, there are fewer than two rows or no column, a number is NaN or infinite, or an option is not
        as said.
    TypeError
        If an input is not an array of real numbers.

    Notes
    -----
    `nearfar.measure.alignment` and `nearfar.measure.uniformity` are the parts, without gradients. The authors' own
    experiments have other weights, 0.98 and 0.96 among them; lightly's `HypersphereLoss` has t = 1. Both are options
    here.

    References
    ----------
    Wang, Isola: "Understanding contrastive representation learning through alignment and uniformity on the
    hypersphere", ICML 2020.

    Examples
    --------
    >>> import numpy as np, nearfar as nf
    >>> z = np.eye(8)
    >>> loss, (d_x, d_y) = nf.align_uniform(z, z)  # all distances are the square root of 2
    >>> round(loss, 12), d_x.shape
    (-4.0, (8, 8))
    """
    if not isinstance(weights, (tuple, list)) or len(weights) != 2:
        raise ValueError(f"weights must be a pair of numbers, got {weights!r}")
    values, d_x, d_y = _core.align_uniform(x, y, alpha, t, *weights, normalize)
    return reduced(values, "mean", d_x), (d_x, d_y)
