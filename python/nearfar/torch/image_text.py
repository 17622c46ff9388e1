"""The losses of images and texts, whose scale comes with each call."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from nearfar import losses
from nearfar.losses.reductions import reduction_of
from nearfar.torch.autograd import evaluate, prepare
from nearfar.torch.options import check_number, check_positive, check_same_shape, options_of


class _ImageTextLoss(torch.nn.Module):
    """A loss of images and texts whose scale comes with each call."""

    def __init__(self, world_size: int, normalize: bool, reduction: str):
        super().__init__()
        reduction_of(reduction)
        if world_size != 1:
            raise ValueError(f"world_size must be 1, got {world_size}: negatives come from this process alone")
        self.normalize, self.reduction = bool(normalize), reduction

    def _of_pairs(self, function: Callable, image: Tensor, text: Tensor, *scalars: float | Tensor) -> Tensor:
        for name, tensor in ("image_features", image), ("text_features", text):
            prepare(tensor, name)
        check_same_shape(text, "text_features", image, "image_features")
        return evaluate(function, *scalars, image_features=image, text_features=text)

    def extra_repr(self) -> str:
        return ", ".join(options_of(self, ""))


class ClipLoss(_ImageTextLoss):
    """The loss of CLIP: InfoNCE of images and texts in both directions, with a scale that is learned.

    Constructor and call are those of open_clip's `ClipLoss`, and so is the value. The formula is in `nearfar.clip`.

    Parameters
    ----------
    local_loss, gather_with_grad, cache_labels, rank, use_horovod
        Taken and not used: they are about several processes, and labels that are not made here.
    world_size : int
        Only 1: negatives come from this process alone.
    normalize : bool
        Scale features to length 1 first. open_clip's models have done that already.
    reduction : {"mean", "sum", "none"}
        Mean or sum over the pairs, or the value of each, the mean of both directions.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as said; when called, if tensors differ in shape or type, are not (N, D), not on the CPU
        or not of floats, or hold NaN or infinity, or `logit_scale` is not above 0.

    See Also
    --------
    nearfar.torch : Types of tensors and other things that all modules share.

    Examples
    --------
    >>> import torch
    >>> from nearfar.torch import ClipLoss
    >>> image, text = torch.eye(4, requires_grad=True), torch.eye(4)
    >>> logit_scale = torch.tensor(2.0).log().requires_grad_()
    >>> loss = ClipLoss()(image, text, logit_scale.exp())
    >>> loss.backward()
    >>> round(loss.item(), 4), round(logit_scale.grad.item(), 4)
    (0.3408, -0.5775)
    """

    def __init__(
        self,
        local_loss: bool = False,
        gather_with_grad: bool = False,
        cache_labels: bool = False,
        rank: int = 0,
        world_size: int = 1,
        use_horovod: bool = False,
        *,
        normalize: bool = False,
        reduction: str = "mean",
    ):
        super().__init__(world_size, normalize, reduction)

    def forward(
        self, image_features: Tensor, text_features: Tensor, logit_scale: float | Tensor, output_dict: bool = False
    ) -> Tensor | dict[str, Tensor]:
        """The loss in nats, by `reduction`.

        Parameters
        ----------
        image_features, text_features : Tensor, (N, D)
            Row i of `text_features` belongs to row i of `image_features`.
        logit_scale : float or tensor with one element
            > 0: the factor of the products itself, not its logarithm. A tensor gets its gradient if it requires one.
        output_dict : bool
            Return the loss as ``{"contrastive_loss": loss}``.

        Returns
        -------
        Tensor, 0-D, or (N,) with reduction "none"; or dict
        """
        logit_scale = check_number(logit_scale, "logit_scale")

        def function(image, text, scale, weights=None):
            temperature = 1 / check_positive(scale.item(), "logit_scale")
            loss, (d_image, d_text, d_temperature) = losses.info_nce(
                image,
                text,
                temperature,
                symmetric=True,
                normalize=self.normalize,
                reduction=self.reduction,
                weights=weights,
                temperature_gradient=True,
            )
            return loss, (d_image, d_text, -d_temperature * temperature**2)

        loss = self._of_pairs(function, image_features, text_features, logit_scale)
        return {"contrastive_loss": loss} if output_dict else loss


class SigLipLoss(_ImageTextLoss):
    """The loss of SigLIP: each pair of an image and a text is a logistic regression of its own.

    Constructor and call are those of open_clip's `SigLipLoss`, and so is the value: the sum over all N x N pairs,
    divided by N. The formula is in `nearfar.sigmoid_loss`.

    Parameters
    ----------
    cache_labels, rank, dist_impl
        Taken and not used: they are about several processes, and labels that are not made here.
    world_size : int
        Only 1: negatives come from this process alone.
    normalize : bool
        Scale features to length 1 first. open_clip's models have done that already.
    reduction : {"mean", "sum", "none"}
        Mean or sum over the images of the sum over the texts, or that of each image.

    Raises
    ------
    TypeError, ValueError
        As `ClipLoss`.

    Examples
    --------
    >>> import torch
    >>> from nearfar.torch import SigLipLoss
    >>> image, text = torch.eye(4, requires_grad=True), torch.eye(4)
    >>> logit_bias = torch.tensor(-10.0, requires_grad=True)
    >>> loss = SigLipLoss()(image, text, 10.0, logit_bias)
    >>> loss.backward()
    >>> round(loss.item(), 4), round(logit_bias.grad.item(), 4)
    (0.6933, -0.4999)
    """

    def __init__(
        self,
        cache_labels: bool = False,
        rank: int = 0,
        world_size: int = 1,
        dist_impl: str | None = None,
        *,
        normalize: bool = False,
        reduction: str = "mean",
    ):
        super().__init__(world_size, normalize, reduction)

    def forward(
        self,
        image_features: Tensor,
        text_features: Tensor,
        logit_scale: float | Tensor,
        logit_bias: float | Tensor | None = None,
        output_dict: bool = False,
    ) -> Tensor | dict[str, Tensor]:
        """The loss in nats, by `reduction`.

        Parameters
        ----------
        image_features, text_features, logit_scale, output_dict
            As for `ClipLoss`.
        logit_bias : float or tensor with one element, optional
            What is added to the scaled products. A tensor gets its gradient if it requires one.

        Returns
        -------
        Tensor, 0-D, or (N,) with reduction "none"; or dict
        """
        logit_scale = check_number(logit_scale, "logit_scale")
        logit_bias = check_number(0.0 if logit_bias is None else logit_bias, "logit_bias")

        def function(image, text, scale, bias, weights=None):
            factor = check_positive(scale.item(), "logit_scale")
            loss, (d_image, d_text, d_logit_scale, d_logit_bias) = losses.sigmoid_loss(
                image,
                text,
                math.log(factor),
                bias.item(),
                normalize=self.normalize,
                reduction=self.reduction,
                weights=weights,
            )
            return loss, (d_image, d_text, d_logit_scale / factor, d_logit_bias)

        loss = self._of_pairs(function, image_features, text_features, logit_scale, logit_bias)
        return {"contrastive_loss": loss} if output_dict else loss
