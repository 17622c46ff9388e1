"""The losses of distances."""

from __future__ import annotations

import torch
from torch import Tensor

from nearfar import losses
from nearfar.losses.reductions import reduction_of
from nearfar.torch.autograd import evaluate, prepare
from nearfar.torch.options import check_labels, check_same_shape, options_of


class TripletLoss(torch.nn.Module):
    """The triplet loss of a batch with labels: an anchor's positive is to be nearer than a negative, by a margin.

    Constructor and call are those of `TripletMarginLoss` in pytorch-metric-learning, and so is the value: distances are
    plain, and the mean is over the triplets whose loss is not 0. The formula and the options are in `nearfar.triplet`.
    For triplets of your own, torch has `torch.nn.TripletMarginLoss`.

    Parameters
    ----------
    margin : float
        >= 0.
    swap : bool
        Only False: `nearfar.losses.triplet_margin` has it, for triplets that are given.
    smooth_loss : bool
        log(1 + exp(x)) in place of max(0, x).
    triplets_per_anchor : "all"
        Only "all": triplets are not drawn at random.
    mining : {"all", "hard", "semi_hard"}
        Which triplets are taken. "hard" is the loss with pytorch-metric-learning's `BatchHardMiner`.
    squared : bool
        Squared distances.
    nonzero : bool
        Take the mean over the triplets whose loss is not 0, else over all.
    normalize : bool
        Scale embeddings to length 1 first.
    reduction : {"mean", "sum", "none"}
        Mean or sum over the triplets, or the sum of each anchor's.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as said; when called, if embeddings are not (N, D), not on the CPU or not of floats, or
        hold NaN or infinity, or `labels` are not N integers.

    See Also
    --------
    nearfar.torch : Types of tensors and other things that all modules share.

    Examples
    --------
    >>> import torch
    >>> from nearfar.torch import TripletLoss
    >>> embeddings = torch.eye(4, requires_grad=True)
    >>> loss = TripletLoss(margin=0.3)(embeddings, torch.tensor([0, 0, 1, 1]))
    >>> loss.backward()
    >>> round(loss.item(), 4), embeddings.grad.shape
    (0.3, torch.Size([4, 4]))
    """

    def __init__(
        self,
        margin: float = 0.05,
        swap: bool = False,
        smooth_loss: bool = False,
        triplets_per_anchor: str = "all",
        *,
        mining: str = "all",
        squared: bool = False,
        nonzero: bool = True,
        normalize: bool = True,
        reduction: str = "mean",
    ):
        super().__init__()
        self.margin = float(margin)
        if not 0 <= self.margin <= 1e30:
            raise ValueError(f"margin must be >= 0 and at most 1e30, got {self.margin:g}")
        if swap:
            raise ValueError("swap must be False: nearfar.losses.triplet_margin has it, for triplets that are given")
        if triplets_per_anchor != "all":
            raise ValueError(f"triplets_per_anchor must be 'all', got {triplets_per_anchor!r}")
        if mining not in ("all", "hard", "semi_hard"):
            raise ValueError(f"mining must be 'all', 'hard' or 'semi_hard', got {mining!r}")
        reduction_of(reduction)
        self.smooth_loss, self.mining, self.squared = bool(smooth_loss), mining, bool(squared)
        self.nonzero, self.normalize, self.reduction = bool(nonzero), bool(normalize), reduction

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The loss, by `reduction`.

        Parameters
        ----------
        embeddings : Tensor, (N, D)
        labels : Tensor of int, (N,)
            The class of each embedding.

        Returns
        -------
        Tensor, 0-D, or (N,) with reduction "none"
        """
        check_same_shape(prepare(embeddings, "embeddings"), "embeddings", embeddings, "embeddings")
        classes = check_labels(labels, len(embeddings)).numpy().copy()

        def function(z, weights=None):
            loss, d_z = losses.triplet(
                z,
                classes,
                self.margin,
                mining=self.mining,
                squared=self.squared,
                soft=self.smooth_loss,
                nonzero=self.nonzero,
                normalize=self.normalize,
                reduction=self.reduction,
                weights=weights,
            )
            return loss, (d_z,)

        return evaluate(function, embeddings=embeddings)

    def extra_repr(self) -> str:
        return ", ".join([f"margin={self.margin:g}", *options_of(self, "margin")])
