"""Each row among all rows, with labels that say which belong together."""

from nearfar import _core
from nearfar.losses.reductions import reduced, reduction_of


def sup_con(
    z,
    labels,
    temperature=0.1,
    *,
    positives="out",
    normalize=True,
    reduction="mean",
    weights=None,
    temperature_gradient=False,
    count_anchors=False,
):
    r"""SupCon, the supervised contrastive loss: tell all rows of one's own class from those of other classes.

    .. math:: L_{out} &= \frac{1}{|I|} \sum_{i \in I} \frac{1}{|P(i)|} \sum_{p \in P(i)}
              -\log \frac{\exp(z_i \cdot z_p / \tau)}{\sum_{j \ne i} \exp(z_i \cdot z_j / \tau)} \\
              L_{in} &= \frac{1}{|I|} \sum_{i \in I}
              -\log \frac{\frac{1}{|P(i)|} \sum_{p \in P(i)} \exp(z_i \cdot z_p / \tau)}
              {\sum_{j \ne i} \exp(z_i \cdot z_j / \tau)}

    The positives P(i) of anchor i are all other rows with its label, and its denominator has all rows but itself. I are
    the anchors that have a positive; the others are negatives only: their value is 0, and the mean leaves them out. If
    there is no positive at all, loss and gradients are 0. With labels 0..N-1 for two views, both forms are `nt_xent`.

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
    reduction : "mean", "sum" or "none"
        The mean or the sum over the anchors that have a positive, or the value of each anchor. Gradients are those of
        the mean; with "sum" and "none" they are those of the sum.
    weights : array_like, (N,) or (V, N), optional
        One factor for the value of each anchor, of either sign, at most 1e30 in size; by default 1. Those of anchors
        without a positive do not matter. "mean" still divides by |I|, not by the sum of the weights.
    temperature_gradient : bool
        Return ``(d_z, d_temperature)`` in place of `d_z`: the derivative of the loss with respect to `temperature`, a
        float, as well.
    count_anchors : bool
        Append |I|, the number of anchors that have a positive, to what is returned.

    Returns
    -------
    loss : float, or ndarray (N,) or (V, N) with "none"
        In nats; the mean is log(V N - 1) if all embeddings are equal. Neither form gets below the mean of log |P(i)|.
    d_z : ndarray, shape of `z`
        Gradient; float32 if `z` is float32 or float16, else float64.
    anchors : int
        With `count_anchors` only.

    Raises
    ------
    ValueError
        If shapes do not fit, there is no row or no column, a number is NaN or infinite, `weights` exceed 1e30 in size,
        `temperature` is not above 0, `positives` or `reduction` is something else, or products of rows over
        `temperature` reach 1e300.
    TypeError
        If `z` is not an array of real numbers, or `labels` not one of integers.

    Notes
    -----
    Other packages scale the same loss differently: `nearfar.losses` has a table.

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
    >>> values, d_z, anchors = nf.sup_con(z[:4], [0, 0, 1, 2], reduction="none", count_anchors=True)
    >>> values.round(4), anchors
    (array([1.0986, 1.0986, 0.    , 0.    ], dtype=float32), 2)
    """
    if positives not in ("out", "in"):
        raise ValueError(f"positives must be 'out' or 'in', got {positives!r}")
    (values, d_z, d_temperature), anchors = _core.sup_con(
        z, labels, weights, positives == "in", temperature, normalize, reduction_of(reduction)
    )
    loss = reduced(values, reduction, d_z, d_z.shape[:-1])
    gradients = (d_z, d_temperature) if temperature_gradient else d_z
    return (loss, gradients, anchors) if count_anchors else (loss, gradients)
