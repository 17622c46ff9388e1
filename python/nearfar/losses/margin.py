"""Pairs and triplets whose distances are held against a margin: the energy-based losses.

Distances are Euclidean, D(x, y) = |x - y|. Their gradient at D = 0, which has no direction, is taken as zero.
"""

import numpy as np

from nearfar import _core
from nearfar.losses.reductions import reduced, reduction_of

_FORMS = {"hadsell": 0, "chopra": 1}
_MINING = {"all": 0, "hard": 1, "semi_hard": 2}


def _choice(name, value, choices):
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return choices[value]


def _anchors(labels):
    """How many rows have both a positive and a negative."""
    _, counts = np.unique(labels, return_counts=True)
    return int(counts[counts > 1].sum()) if len(counts) > 1 else 0


def pair(a, b, same, *, form="hadsell", margin=1.0, bound=None, normalize=True, reduction="mean", weights=None):
    r"""The pair losses: draw pairs of the same kind together, push others apart.

    .. math:: L_{Hadsell} &= \frac{1}{N} \sum_i \frac{1}{2}
              \begin{cases} D_i^2 & \text{same} \\ \max(0, m - D_i)^2 & \text{different} \end{cases} \\
              L_{Chopra} &= \frac{1}{N} \sum_i
              \begin{cases} \frac{2}{Q} E_i^2 & \text{same} \\ 2 Q e^{-2.77 E_i / Q} & \text{different} \end{cases}

    with the distances :math:`D_i = |a_i - b_i|_2` and :math:`E_i = |a_i - b_i|_1`.

    Parameters
    ----------
    a, b : array_like, (N, D)
        Embeddings; row i of `a` and row i of `b` are a pair.
    same : array_like of bool or int, (N,)
        True or 1 for pairs of the same kind, False or 0 for others. In the papers it is the other way round: Y = 1
        stands for a pair that differs.
    form : "hadsell" or "chopra"
        Which of the two. With "chopra" different pairs are pushed apart at any distance.
    margin : float
        m > 0, for "hadsell": different pairs beyond it are left alone.
    bound : float, optional
        Q > 0, for "chopra": what E cannot exceed. By default :math:`2 \sqrt{D}`, which holds for rows of length 1; with
        ``normalize=False`` it has to be given.
    normalize : bool
        Scale rows to length 1 first, so that distances are in 0..2. The gradient is for the rows that were passed in.
        A row of zeros stays one, and its gradient is zero.
    reduction : "mean", "sum" or "none"
        Of the N pairs; with "none" the loss is an array of their values, and gradients are those of the sum.
    weights : array_like, (N,), optional
        One factor for the value of each pair, of either sign, at most 1e30 in size; by default 1. "mean" still divides
        by N, not by the sum of the weights.

    Returns
    -------
    loss : float, or ndarray (N,)
        If all embeddings are equal, 0 for the same kind, and m² / 2 or 2 Q for others.
    gradients : tuple
        ``(d_a, d_b)``; float32 if both inputs are float32 or float16, else float64.

    Raises
    ------
    ValueError
        If shapes do not fit, there is no row or no column, a number is NaN or infinite, `weights` exceed 1e30 in size,
        `same` is anything but 0 and 1, `margin` or `bound` is not above 0 or exceeds 1e30, `form` or `reduction` is
        something else, `bound` is missing, or a row is longer than 1e37 (float32) or 1e150.
    TypeError
        If `a` or `b` is not an array of real numbers, or `same` not one of integers.

    Notes
    -----
    TensorFlow Addons' `contrastive_loss` and Keras examples leave the 1/2 out: twice "hadsell". For
    pytorch-metric-learning's `ContrastiveLoss` see `contrastive`.

    References
    ----------
    Hadsell, Chopra, LeCun: "Dimensionality reduction by learning an invariant mapping", CVPR 2006.
    Chopra, Hadsell, LeCun: "Learning a similarity metric discriminatively, with application to face verification",
    CVPR 2005.

    Examples
    --------
    >>> import numpy as np, nearfar as nf
    >>> a, b = np.eye(4), np.eye(4)[[0, 1, 3, 2]]
    >>> loss, (d_a, d_b) = nf.losses.pair(a, b, [True, True, True, False], margin=2.0)
    >>> round(loss, 4), d_a.shape
    (0.2929, (4, 4))
    """
    code = _choice("form", form, _FORMS)
    if form == "chopra":
        if bound is None and not normalize:
            raise ValueError("bound must be given for form='chopra' with normalize=False")
        margin = 2 * np.sqrt(max(np.shape(a)[-1:] or (1,))) if bound is None else bound
    elif bound is not None:
        raise ValueError("bound must be None unless form='chopra'")
    values, d_a, d_b = _core.pair(a, b, same, weights, code, margin, normalize, reduction_of(reduction))
    return reduced(values, reduction, d_a), (d_a, d_b)


def contrastive(z, labels, *, pos_margin=0.0, neg_margin=1.0, normalize=True, reduction="mean", weights=None):
    r"""The contrastive loss of all pairs of a batch, by label, with plain distances.

    .. math:: L = \frac{1}{n_+} \sum_{y_i = y_j, i \ne j} \max(0, D_{ij} - m_+)
              + \frac{1}{n_-} \sum_{y_i \ne y_j} \max(0, m_- - D_{ij})

    where n₊ and n₋ count the terms of each sum that are not 0. A sum without any is 0.

    Parameters
    ----------
    z : array_like, (N, D)
        Embeddings.
    labels : array_like of int, (N,)
        The class of each row; any integers.
    pos_margin, neg_margin : float
        :math:`m_+, m_- \ge 0`: positives nearer than `pos_margin` and negatives farther than `neg_margin` are left
        alone.
    normalize : bool
        Scale rows to length 1 first, so that distances are in 0..2. The gradient is for the rows that were passed in.
        A row of zeros stays one, and its gradient is zero.
    reduction : "mean", "sum" or "none"
        "mean" as above; "sum" without the two denominators, each pair counted as i, j and as j, i; "none": an array of
        what each row i has in that sum, with the gradients of "sum".
    weights : array_like, (N,), optional
        One factor for what each row has in the sum, of either sign, at most 1e30 in size; by default 1. "mean" still
        divides by n₊ and n₋.

    Returns
    -------
    loss : float, or ndarray (N,)
        m₋ if all embeddings are equal and labels differ, 0 if labels are equal too.
    d_z : ndarray, (N, D)
        Gradient; float32 if `z` is float32 or float16, else float64.

    Raises
    ------
    ValueError
        If shapes do not fit, there is no row or no column, a number is NaN or infinite, `weights` exceed 1e30 in size,
        a margin is not in 0..1e30, `reduction` is something else, or squares of rows reach 1e300.
    TypeError
        If `z` is not an array of real numbers, or `labels` not one of integers.

    Notes
    -----
    This is pytorch-metric-learning's `ContrastiveLoss`, with its defaults. For squared distances and pairs of your own
    see `pair`.

    float32 inputs with rows that have come very close (D below 0.4 % of their length) are computed in float64 inside.

    References
    ----------
    Hadsell, Chopra, LeCun: "Dimensionality reduction by learning an invariant mapping", CVPR 2006.

    Examples
    --------
    >>> import numpy as np, nearfar as nf
    >>> loss, d_z = nf.losses.contrastive(np.eye(4), [0, 0, 1, 1], neg_margin=2.0)
    >>> round(loss, 4), d_z.shape
    (2.0, (4, 4))
    """
    values, d_z = _core.contrastive(z, labels, weights, pos_margin, neg_margin, normalize, reduction_of(reduction))
    return reduced(values, reduction, d_z), d_z


def triplet(
    z,
    labels,
    margin=0.2,
    *,
    mining="all",
    squared=True,
    soft=False,
    nonzero=False,
    normalize=True,
    reduction="mean",
    weights=None,
    count_anchors=False,
):
    r"""The triplet loss of a batch: an anchor's positive is to be nearer than a negative, by a margin.

    .. math:: L = \frac{1}{T} \sum_{(a, p, n)} \max(0, D_{ap}^2 - D_{an}^2 + m)

    The positives of row a are all other rows with its label, its negatives those with another one. Which triplets are
    taken is said by `mining`. Anchors without a positive or without a negative have none; if there is no triplet, loss
    and gradient are 0.

    Parameters
    ----------
    z : array_like, (N, D)
        Embeddings.
    labels : array_like of int, (N,)
        The class of each row; any integers.
    margin : float
        :math:`m \ge 0`. 0.2 is that of FaceNet, for squared distances of rows of length 1.
    mining : "all", "hard" or "semi_hard"
        All triplets; or for each anchor the farthest positive and the nearest negative (batch-hard); or for each anchor
        and positive the nearest negative with :math:`D_{an} > D_{ap}`, or if there is none the farthest negative. Of
        several at the same distance one is taken, the same each time.
    squared : bool
        Squared distances, or plain ones: :math:`D_{ap} - D_{an} + m`.
    soft : bool
        The soft margin :math:`\log(1 + e^x)` in place of :math:`\max(0, x)`. Its authors have no other margin:
        ``margin=0``.
    nonzero : bool
        Take the mean over the triplets whose loss is not 0, in place of all T.
    normalize : bool
        Scale rows to length 1 first, so that distances are in 0..2. The gradient is for the rows that were passed in.
        A row of zeros stays one, and its gradient is zero.
    reduction : "mean", "sum" or "none"
        Of the triplets; "none" gives an array of the sums over each anchor's triplets, 0 if it has none, with the
        gradients of "sum". With "hard" these are the single triplets.
    weights : array_like, (N,), optional
        One factor for all triplets of an anchor, of either sign, at most 1e30 in size; by default 1. The mean still
        divides by the number of triplets.
    count_anchors : bool
        Append the number of anchors that have a triplet to what is returned.

    Returns
    -------
    loss : float, or ndarray (N,)
        m if all embeddings are equal, log(1 + exp(m)) with `soft`.
    d_z : ndarray, (N, D)
        Gradient; float32 if `z` is float32 or float16, else float64.
    anchors : int
        With `count_anchors` only.

    Raises
    ------
    ValueError
        If shapes do not fit, there is no row or no column, a number is NaN or infinite, `weights` exceed 1e30 in size,
        `margin` is not in 0..1e30, `mining` or `reduction` is something else, or squares of rows reach 1e300.
    TypeError
        If `z` is not an array of real numbers, or `labels` not one of integers.

    See Also
    --------
    triplet_margin : For triplets of your own.

    Notes
    -----
    To get the number of other packages:

    - TensorFlow's `triplet_semihard_loss`: ``mining="semi_hard", margin=1.0, normalize=False``, and its
      `triplet_hard_loss`: ``mining="hard", margin=1.0, normalize=False``, with ``soft=True`` ``margin=0``; as long as
      each row has a positive and a negative: TensorFlow's means have others in them, too.
    - pytorch-metric-learning's `TripletMarginLoss`: ``squared=False, nonzero=True, margin=0.05``, with `BatchHardMiner`
      ``mining="hard"`` as well, with ``smooth_loss=True`` ``soft=True``.
    - Hermans et al.: ``mining="hard", squared=False``, and for the soft margin ``soft=True, margin=0``;
      "batch all, mean of non-zeros" is ``nonzero=True``.

    For "all" and "semi_hard" the time grows with the number of triplets, N³ for few classes; memory does not.

    float32 inputs with rows that have come very close (D below 0.4 % of their length) are, for plain distances,
    computed in float64 inside.

    References
    ----------
    Schroff, Kalenichenko, Philbin: "FaceNet: A unified embedding for face recognition and clustering", CVPR 2015.
    Hermans, Beyer, Leibe: "In defense of the triplet loss for person re-identification", 2017.

    Examples
    --------
    >>> import numpy as np, nearfar as nf
    >>> z = np.ones((8, 4), dtype=np.float32)
    >>> loss, d_z = nf.triplet(z, [0, 0, 0, 1, 1, 1, 2, 2], mining="semi_hard")
    >>> round(loss, 4), d_z.shape
    (0.2, (8, 4))
    """
    mode = _choice("mining", mining, _MINING)
    values, d_z = _core.triplet(
        z, labels, weights, margin, mode, squared, soft, nonzero, normalize, reduction_of(reduction)
    )
    loss = reduced(values, reduction, d_z)
    return (loss, d_z, _anchors(labels)) if count_anchors else (loss, d_z)


def triplet_margin(
    anchor,
    positive,
    negative,
    margin=0.2,
    *,
    squared=True,
    soft=False,
    swap=False,
    normalize=True,
    reduction="mean",
    weights=None,
):
    r"""The triplet loss of triplets of your own.

    .. math:: L = \frac{1}{N} \sum_i \max(0, |a_i - p_i|^2 - |a_i - n_i|^2 + m)

    Parameters
    ----------
    anchor, positive, negative : array_like, (N, D)
        Embeddings; rows i of the three are a triplet.
    margin, squared, soft, normalize
        As in `triplet`.
    swap : bool
        Take the distance of the negative from the anchor or from the positive, whichever is smaller.
    reduction : "mean", "sum" or "none"
        Of the N triplets; with "none" the loss is an array of their values, and gradients are those of the sum.
    weights : array_like, (N,), optional
        One factor for the value of each triplet, of either sign, at most 1e30 in size; by default 1. "mean" still
        divides by N, not by the sum of the weights.

    Returns
    -------
    loss : float, or ndarray (N,)
        m if all embeddings are equal, log(1 + exp(m)) with `soft`.
    gradients : tuple
        ``(d_anchor, d_positive, d_negative)``; float32 if all inputs are float32 or float16, else float64.

    Raises
    ------
    ValueError
        If shapes differ, there is no row or no column, a number is NaN or infinite, `weights` exceed 1e30 in size,
        `margin` is not in 0..1e30, `reduction` is something else, or a row is longer than 1e37 (float32) or 1e150.
    TypeError
        If an input is not an array of real numbers.

    Notes
    -----
    torch's `triplet_margin_loss` is ``triplet_margin(..., margin=1.0, squared=False, normalize=False)``, but for its
    `eps`, which torch adds to each difference: 1e-6, unless set to 0.

    References
    ----------
    Schroff, Kalenichenko, Philbin: "FaceNet: A unified embedding for face recognition and clustering", CVPR 2015.
    Balntas et al.: "Learning local feature descriptors with triplets and shallow convolutional neural networks",
    BMVC 2016, for `swap`.

    Examples
    --------
    >>> import numpy as np, nearfar as nf
    >>> anchor = np.eye(4)
    >>> loss, (d_anchor, d_positive, d_negative) = nf.losses.triplet_margin(anchor, -anchor, anchor[::-1])
    >>> round(loss, 4), d_negative.shape
    (2.2, (4, 4))
    """
    values, *gradients = _core.triplet_margin(
        anchor, positive, negative, weights, margin, squared, soft, swap, normalize, reduction_of(reduction)
    )
    return reduced(values, reduction, gradients[0]), tuple(gradients)


def lifted_structure(
    z, labels, margin=1.0, *, nonzero=False, normalize=True, reduction="mean", weights=None, count_anchors=False
):
    r"""The lifted structured loss: each positive pair against all negatives of both its rows.

    .. math:: L &= \frac{1}{|P|} \sum_{(i, j) \in P} \frac{1}{2} \max(0, J_{ij})^2 \\
              J_{ij} &= D_{ij} + \log \left( \sum_{y_k \ne y_i} e^{m - D_{ik}}
              + \sum_{y_k \ne y_j} e^{m - D_{jk}} \right)

    P are the pairs i < j with the same label. If there is none, or no negative, loss and gradient are 0.

    Parameters
    ----------
    z : array_like, (N, D)
        Embeddings.
    labels : array_like of int, (N,)
        The class of each row; any integers.
    margin : float
        m.
    nonzero : bool
        Take the mean over the pairs whose loss is not 0, in place of all.
    normalize : bool
        Scale rows to length 1 first, so that distances are in 0..2; the authors do not. The gradient is for the rows
        that were passed in. A row of zeros stays one, and its gradient is zero.
    reduction : "mean", "sum" or "none"
        Of the pairs P; "none" gives an array with half of each pair's value at either of its rows, and the gradients of
        "sum".
    weights : array_like, (N,), optional
        One factor for the value of each row, of either sign, at most 1e30 in size; by default 1: a pair has the mean of
        its two. "mean" still divides by the number of pairs.
    count_anchors : bool
        Append the number of rows that have a pair and a negative to what is returned.

    Returns
    -------
    loss : float, or ndarray (N,)
        If all embeddings are equal, the mean of (log K + m)² / 2, where K counts the negatives of both rows of a pair.
    d_z : ndarray, (N, D)
        Gradient; float32 if `z` is float32 or float16, else float64.
    anchors : int
        With `count_anchors` only.

    Raises
    ------
    ValueError
        If shapes do not fit, there is no row or no column, a number is NaN or infinite, `weights` exceed 1e30 in size,
        `margin` is not in -1e30..1e30, `reduction` is something else, or squares of rows reach 1e300.
    TypeError
        If `z` is not an array of real numbers, or `labels` not one of integers.

    Notes
    -----
    pytorch-metric-learning's `LiftedStructureLoss` is ``nonzero=True``.

    float32 inputs with rows that have come very close (D below 0.4 % of their length) are computed in float64 inside.

    References
    ----------
    Oh Song, Xiang, Jegelka, Savarese: "Deep metric learning via lifted structured feature embedding", CVPR 2016.

    Examples
    --------
    >>> import numpy as np, nearfar as nf
    >>> loss, d_z = nf.losses.lifted_structure(np.ones((4, 3)), [0, 0, 1, 1])
    >>> bool(np.isclose(loss, (np.log(4) + 1) ** 2 / 2)), d_z.shape
    (True, (4, 3))
    """
    values, d_z = _core.lifted_structure(z, labels, weights, margin, nonzero, normalize, reduction_of(reduction))
    loss = reduced(values, reduction, d_z)
    return (loss, d_z, _anchors(labels)) if count_anchors else (loss, d_z)
