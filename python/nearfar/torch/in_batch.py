"""The losses with a temperature, of two or more views: NT-Xent and its relatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nearfar import losses
from nearfar.losses.reductions import reduction_of
from nearfar.torch.autograd import evaluate, prepare
from nearfar.torch.options import (
    check_labels,
    check_number,
    check_one_process,
    check_positive,
    check_same_shape,
    options_of,
)


class _LossModule(torch.nn.Module):
    """A loss with a temperature, and how it shows: options that have their default are left out."""

    def __init__(self, temperature: float | Tensor, normalize: bool, reduction: str):
        super().__init__()
        reduction_of(reduction)
        self.reduction = reduction
        self.temperature = check_number(temperature, "temperature")
        check_positive(temperature.item() if isinstance(temperature, Tensor) else self.temperature, "temperature")
        self.normalize = bool(normalize)

    def _of_views(self, loss_function: Callable, views: Sequence[Tensor], **options: Any) -> Tensor:
        """The loss of views out0, out1, ..."""
        named = {f"out{index}": view for index, view in enumerate(views)}
        for name, view in named.items():
            prepare(view, name)
            check_same_shape(view, name, views[0], "out0")

        def function(*arrays, weights=None):
            *stacked, temperature = arrays
            loss, (d_z, d_temperature) = loss_function(
                np.stack(stacked),
                temperature=temperature.item(),
                normalize=self.normalize,
                reduction=self.reduction,
                weights=weights,
                temperature_gradient=True,
                **options,
            )
            return loss, (*d_z, d_temperature)

        return evaluate(function, self.temperature, **named)

    def extra_repr(self) -> str:
        value = self.temperature
        shown = f"{type(value).__name__}({value.item():g})" if isinstance(value, Tensor) else f"{value:g}"
        return ", ".join([f"temperature={shown}", *options_of(self, "temperature")])


class NTXentLoss(_LossModule):
    """NT-Xent, the loss of SimCLR: tell the other views of a sample from all views of all other samples.

    Constructor and call are those of lightly's `NTXentLoss`, and so is the value. The formula is in `nearfar.nt_xent`.

    Parameters
    ----------
    temperature : float or tensor
        > 0. A tensor with one element gets its gradient if it requires one.
    memory_bank_size : int
        Only 0: there is no memory bank. Pass negatives of your own to `InfoNCELoss`.
    gather_distributed : bool
        Only False: negatives come from this process alone.
    normalize : bool
        Scale embeddings to length 1 first, so that products are cosines.
    reduction : {"mean", "sum", "none"}
        Mean or sum over the embeddings of all views, or the value of each.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as said; when called, if tensors differ in shape or type, are not (N, D), not on the CPU
        or not of floats, or hold NaN or infinity.

    See Also
    --------
    nearfar.torch : Types of tensors, trainable temperatures, and other things that all modules share.

    Examples
    --------
    >>> import torch
    >>> from nearfar.torch import NTXentLoss
    >>> out0, out1 = torch.eye(4, requires_grad=True), torch.eye(4)
    >>> criterion = NTXentLoss(temperature=0.5)
    >>> loss = criterion(out0, out1)
    >>> loss.backward()
    >>> round(loss.item(), 4), out0.grad.shape
    (0.5944, torch.Size([4, 4]))

    The hardest half of the samples alone:

    >>> values = NTXentLoss(temperature=0.5, reduction="none")(out0, out1).mean(dim=0)  # of both views
    >>> values.topk(2).values.mean().backward()
    """

    def __init__(
        self,
        temperature: float | Tensor = 0.5,
        memory_bank_size: int = 0,
        gather_distributed: bool = False,
        *,
        normalize: bool = True,
        reduction: str = "mean",
    ):
        super().__init__(temperature, normalize, reduction)
        if memory_bank_size != 0:
            raise ValueError(
                f"memory_bank_size must be 0, got {memory_bank_size}: pass negatives of your own to InfoNCELoss"
            )
        check_one_process(gather_distributed)

    def forward(self, out0: Tensor, out1: Tensor, *more: Tensor) -> Tensor:
        """The loss in nats, by `reduction`.

        Parameters
        ----------
        out0, out1, *more : Tensor, (N, D)
            Embeddings of two views of N samples, or of more: row i of each belongs to sample i.

        Returns
        -------
        Tensor, 0-D, or (V, N) with reduction "none", a row for each of the V views
        """
        return self._of_views(losses.nt_xent, (out0, out1, *more))


class InfoNCELoss(_LossModule):
    """InfoNCE: tell the positive key of each query from negatives.

    Constructor and call are those of `InfoNCE` in the package info-nce-pytorch, and so is the value. The formula is in
    `nearfar.info_nce`.

    Parameters
    ----------
    temperature : float or tensor
        > 0. A tensor with one element gets its gradient if it requires one.
    reduction : {"mean", "sum", "none"}
        Mean or sum over the queries, or the value of each.
    negative_mode : {"unpaired", "paired"}
        Whether all queries share the negatives, (K, D), or each has its own, (N, K, D).
    symmetric : bool
        The mean of both directions: each query among the keys, and each key among the queries. Not with negatives.
    normalize : bool
        Scale embeddings to length 1 first, so that products are cosines.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as said; when called, if shapes do not fit, types differ, or tensors are not on the CPU
        or not of floats, or hold NaN or infinity.

    See Also
    --------
    nearfar.torch : Types of tensors, trainable temperatures, and other things that all modules share.

    Examples
    --------
    >>> import torch
    >>> from nearfar.torch import InfoNCELoss
    >>> query, positive_key = torch.eye(4, requires_grad=True), torch.eye(4)
    >>> criterion = InfoNCELoss(temperature=torch.nn.Parameter(torch.tensor(0.5)))
    >>> loss = criterion(query, positive_key)
    >>> loss.backward()
    >>> round(loss.item(), 4), round(criterion.temperature.grad.item(), 4)
    (0.3408, 1.1551)
    >>> negative_keys = -torch.ones(10, 4)
    >>> round(criterion(query, positive_key, negative_keys).item(), 4)
    0.404
    """

    def __init__(
        self,
        temperature: float | Tensor = 0.1,
        reduction: str = "mean",
        negative_mode: str = "unpaired",
        *,
        symmetric: bool = False,
        normalize: bool = True,
    ):
        super().__init__(temperature, normalize, reduction)
        if negative_mode not in ("unpaired", "paired"):
            raise ValueError(f"negative_mode must be 'unpaired' or 'paired', got {negative_mode!r}")
        self.negative_mode, self.symmetric = negative_mode, bool(symmetric)

    def forward(self, query: Tensor, positive_key: Tensor, negative_keys: Tensor | None = None) -> Tensor:
        """The loss in nats, by `reduction`.

        Parameters
        ----------
        query, positive_key : Tensor, (N, D)
            Row i of `positive_key` is the positive of row i of `query`.
        negative_keys : Tensor, (K, D) or (N, K, D), optional
            By `negative_mode`. Without them, the negatives of a query are the other samples' keys.

        Returns
        -------
        Tensor, 0-D, or (N,) with reduction "none"
        """
        embeddings = {"query": query, "positive_key": positive_key}
        if negative_keys is not None:
            embeddings["negative_keys"] = negative_keys
        for name, tensor in embeddings.items():
            prepare(tensor, name)
        check_same_shape(positive_key, "positive_key", query, "query")
        if negative_keys is not None:
            if self.symmetric:
                raise ValueError("symmetric=True needs in-batch negatives: negative_keys must be None")
            self._check_negatives(negative_keys, query)

        def function(query, key, *rest, weights=None):
            *negatives, temperature = rest
            return losses.info_nce(
                query,
                key,
                temperature.item(),
                negatives=negatives[0] if negatives else None,
                symmetric=self.symmetric,
                normalize=self.normalize,
                reduction=self.reduction,
                weights=weights,
                temperature_gradient=True,
            )

        return evaluate(function, self.temperature, **embeddings)

    def _check_negatives(self, negative_keys: Tensor, query: Tensor) -> None:
        (samples, width), shape = query.shape, tuple(negative_keys.shape)
        if self.negative_mode == "unpaired":
            fits, wanted = len(shape) == 2 and shape[1] == width, f"(K, {width})"
        else:
            fits = len(shape) == 3 and (shape[0], shape[2]) == (samples, width)
            wanted = f"({samples}, K, {width})"
        if not fits:
            raise ValueError(f"negative_keys must be {wanted} for negative_mode {self.negative_mode!r}, got {shape}")


class SupConLoss(_LossModule):
    """SupCon, the supervised contrastive loss: tell all embeddings of one's own class from those of other classes.

    Constructor and call are those of lightly's `SupConLoss`, and so is the value. The formulas are in
    `nearfar.sup_con`.

    Parameters
    ----------
    temperature : float or tensor
        > 0. A tensor with one element gets its gradient if it requires one.
    gather_distributed : bool
        Only False: negatives come from this process alone.
    rescale : bool
        Multiply the loss by the temperature.
    positives : "out" or "in"
        Where the mean over the positives is taken: outside the logarithm, as lightly does, or inside.
    normalize : bool
        Scale embeddings to length 1 first, so that products are cosines.
    reduction : {"mean", "sum", "none"}
        Mean or sum over the embeddings of both views, or the value of each.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as said; when called, if tensors differ in shape or type, are not (N, D), not on the CPU
        or not of floats, or hold NaN or infinity, or `labels` are not N integers.

    See Also
    --------
    nearfar.torch : Types of tensors, trainable temperatures, and other things that all modules share.

    Examples
    --------
    >>> import torch
    >>> from nearfar.torch import SupConLoss
    >>> out0, out1 = torch.eye(4, requires_grad=True), torch.eye(4)
    >>> loss = SupConLoss(temperature=0.5)(out0, out1, torch.tensor([0, 0, 1, 1]))
    >>> loss.backward()
    >>> round(loss.item(), 4), out0.grad.shape
    (0.9639, torch.Size([4, 4]))
    """

    def __init__(
        self,
        temperature: float | Tensor = 0.5,
        gather_distributed: bool = False,
        rescale: bool = True,
        *,
        positives: str = "out",
        normalize: bool = True,
        reduction: str = "mean",
    ):
        super().__init__(temperature, normalize, reduction)
        check_one_process(gather_distributed)
        if positives not in ("out", "in"):
            raise ValueError(f"positives must be 'out' or 'in', got {positives!r}")
        self.rescale, self.positives = bool(rescale), positives

    def forward(self, out0: Tensor, out1: Tensor, labels: Tensor | None = None) -> Tensor:
        """The loss in nats, by `reduction`, times the temperature with `rescale`.

        Parameters
        ----------
        out0, out1 : Tensor, (N, D)
            Embeddings of two views of N samples.
        labels : Tensor of int, (N,), optional
            The class of each sample. Without, each is its own, which is `NTXentLoss`.

        Returns
        -------
        Tensor, 0-D, or (2, N) with reduction "none"
        """
        check_same_shape(prepare(out0, "out0"), "out0", out0, "out0")
        classes = check_labels(labels, len(out0)) if labels is not None else torch.arange(len(out0))
        options = {"labels": classes.numpy().copy(), "positives": self.positives}
        loss = self._of_views(losses.sup_con, (out0, out1), **options)
        if not self.rescale:
            return loss
        scale = self.temperature
        return loss * (scale.to(loss.dtype).reshape(()) if isinstance(scale, Tensor) else scale)


class DCLLoss(_LossModule):
    """DCL, the decoupled contrastive loss: NT-Xent without the positives in the denominator.

    Constructor and call are those of lightly's `DCLLoss`. The value is that of the paper, as in `nearfar.dcl`: one
    logarithm for the negatives of both views. Versions of lightly that add up two, one for each view, differ.

    Parameters
    ----------
    temperature, gather_distributed, normalize, reduction
        As in `NTXentLoss`.
    weight_fn : None
        Only None: `DCLWLoss` has the weights of the paper.

    Raises
    ------
    TypeError, ValueError
        As `NTXentLoss`, and for fewer than two samples.

    Examples
    --------
    >>> import torch
    >>> from nearfar.torch import DCLLoss
    >>> round(DCLLoss()(torch.ones(8, 4), torch.ones(8, 4)).item(), 4)  # log(14)
    2.6391
    """

    def __init__(
        self,
        temperature: float | Tensor = 0.1,
        weight_fn: None = None,
        gather_distributed: bool = False,
        *,
        normalize: bool = True,
        reduction: str = "mean",
    ):
        super().__init__(temperature, normalize, reduction)
        if weight_fn is not None:
            raise ValueError(f"weight_fn must be None, got {weight_fn!r}: DCLWLoss has the weights of the paper")
        check_one_process(gather_distributed)

    def forward(self, out0: Tensor, out1: Tensor, *more: Tensor) -> Tensor:
        """The loss in nats, by `reduction`; arguments as in `NTXentLoss.forward`."""
        return self._of_views(losses.dcl, (out0, out1, *more))


class DCLWLoss(_LossModule):
    """DCLW: `DCLLoss` with weighted positives, less for pairs that are close already; see `nearfar.dclw`.

    Parameters
    ----------
    temperature, gather_distributed, normalize, reduction
        As in `NTXentLoss`.
    sigma : float
        > 0: the smaller, the more weights differ.

    Raises
    ------
    TypeError, ValueError
        As `DCLLoss`, and if `sigma` is not above 0.

    Examples
    --------
    >>> import torch
    >>> from nearfar.torch import DCLWLoss
    >>> round(DCLWLoss()(torch.ones(8, 4), torch.ones(8, 4)).item(), 4)  # log(14)
    2.6391
    """

    def __init__(
        self,
        temperature: float | Tensor = 0.1,
        sigma: float = 0.5,
        gather_distributed: bool = False,
        *,
        normalize: bool = True,
        reduction: str = "mean",
    ):
        super().__init__(temperature, normalize, reduction)
        self.sigma = float(sigma)
        if not self.sigma > 0:
            raise ValueError(f"sigma must be > 0, got {self.sigma:g}")
        check_one_process(gather_distributed)

    def forward(self, out0: Tensor, out1: Tensor) -> Tensor:
        """The loss in nats, by `reduction`; arguments as in `NTXentLoss.forward`, of two views."""
        return self._of_views(losses.dclw, (out0, out1), sigma=self.sigma)
