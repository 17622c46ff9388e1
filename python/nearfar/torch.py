"""The losses as PyTorch modules; needs PyTorch (the extra ``torch``).

Each module can take the place of the one that other packages have under that name, on the CPU: loss and gradient come
from one call into C that reads the tensors where they are, and no matrix of all scores is stored. They are exact, not
approximated, and give the same bits for any number of threads.

What all modules share:

- Tensors are dense, on the CPU, float32 or float64. float16 and bfloat16 are converted to float32, for which the loss
  then is float32, too, and the gradients what the inputs are.
- `temperature` is a number, or a tensor with one element, which gets its gradient if it requires one. A
  `torch.nn.Parameter` becomes a parameter of the module: it can be trained, and is part of its `state_dict`.
- `reduction` is "mean", "sum" or "none". With "none" the loss is the values of the anchors, and any function of these
  has its gradient: where that is anything but a mean or a sum, at the price of one more call of the loss.
- Gradients cannot be differentiated again; trying to is a RuntimeError.
- In `torch.compile` the losses run between the compiled parts.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

try:
    import torch
    from torch import Tensor
except ImportError as error:
    raise ImportError(f"nearfar.torch needs PyTorch ({error}): pip install 'nearfar[torch]'") from error

from nearfar import losses
from nearfar.losses.reductions import reduction_of

__all__ = [
    "ClipLoss",
    "DCLLoss",
    "DCLWLoss",
    "InfoNCELoss",
    "NTXentLoss",
    "SigLipLoss",
    "SupConLoss",
    "TripletLoss",
]

_HALF = (torch.float16, torch.bfloat16)
_TYPES = (torch.float32, torch.float64, *_HALF)


class _Gradient(torch.autograd.Function):
    """``factor * gradient``, a function of `tensors` whose derivative nobody knows.

    `torch.autograd.function.once_differentiable` would take the gradient for a constant if that of the loss is one: a
    penalty on it would silently have no effect.
    """

    @staticmethod
    def forward(ctx, factor, gradient, *tensors):
        return factor * gradient

    @staticmethod
    def backward(ctx, d_gradient):
        raise RuntimeError("losses of nearfar.torch can be differentiated once: there is no gradient of their gradient")


class _Loss(torch.autograd.Function):
    """The loss of `tensors`; `function` takes their arrays, and weights of the loss's values as `weights`, and gives
    the loss and its gradient for each of them: of many values that of their sum."""

    @staticmethod
    def forward(ctx, function, *tensors):
        loss, gradients = _run(function, tensors)
        ctx.function = function
        ctx.save_for_backward(*gradients, *tensors)
        return torch.as_tensor(loss, dtype=tensors[0].dtype)

    @staticmethod
    def backward(ctx, d_loss):
        count = len(ctx.saved_tensors) // 2
        gradients, tensors = ctx.saved_tensors[:count], ctx.saved_tensors[count:]
        d_values = d_loss.detach()
        factor = d_values.flatten()[0]
        if (d_values != factor).any():
            factor, gradients = _weighted_gradients(ctx.function, d_values, tensors)
        needed = ctx.needs_input_grad[1:]
        return None, *(
            _Gradient.apply(factor, gradient, d_loss, *tensors) if need else None
            for gradient, need in zip(gradients, needed, strict=True)
        )


def _run(function: Callable, tensors: Sequence[Tensor], **weights: np.ndarray) -> tuple[Any, list[Tensor]]:
    """The loss, and its gradients as tensors like `tensors`."""
    loss, gradients = function(*(tensor.numpy(force=True) for tensor in tensors), **weights)
    return loss, [
        torch.as_tensor(gradient, dtype=tensor.dtype).reshape(tensor.shape)
        for gradient, tensor in zip(gradients, tensors, strict=True)
    ]


def _weighted_gradients(function: Callable, d_values: Tensor, tensors: Sequence[Tensor]) -> tuple[float, list[Tensor]]:
    """The gradients of what has the gradient `d_values` with respect to the values of the loss, but for a factor."""
    largest = d_values.abs().max().item()
    if not math.isfinite(largest):
        return math.nan, [torch.ones_like(tensor) for tensor in tensors]
    factor = 2.0 ** (math.frexp(largest)[1] - 1)  # divides without an error, and gives weights of any range
    _, gradients = _run(function, tensors, weights=d_values.double().numpy(force=True) / factor)
    return factor, gradients


def _prepare(tensor: Any, name: str) -> Tensor:
    """`tensor`, if the losses can read it, in a type that NumPy has."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(tensor).__name__}")
    if tensor.device.type != "cpu":
        raise ValueError(f"{name} must be on the CPU, got device {tensor.device}")
    if tensor.layout != torch.strided:
        raise ValueError(f"{name} must be dense, got layout {tensor.layout}")
    if tensor.dtype not in _TYPES:
        raise TypeError(f"{name} must be float32, float64, float16 or bfloat16, got dtype {tensor.dtype}")
    return tensor.float() if tensor.dtype in _HALF else tensor


def _evaluate(function: Callable, *scalars: float | Tensor, **embeddings: Tensor) -> Tensor:
    """The loss by `function`, which gets the arrays of `embeddings` and then those of `scalars`, as a temperature."""
    tensors = {name: _prepare(tensor, name) for name, tensor in embeddings.items()}
    (first, reference), *others = tensors.items()
    for name, tensor in others:
        if tensor.dtype != reference.dtype:
            raise TypeError(f"{name} must have {first}'s dtype {reference.dtype}, got {tensor.dtype}")
    numbers = [
        _prepare(scalar, "temperature") if isinstance(scalar, Tensor) else torch.tensor(scalar, dtype=torch.float64)
        for scalar in scalars
    ]
    apply = _uncompiled_apply() if torch.compiler.is_compiling() else _Loss.apply
    return apply(function, *tensors.values(), *numbers)


_uncompiled = None


def _uncompiled_apply() -> Callable:
    """`_Loss.apply`, around which `torch.compile` goes; as a decorator it would load the compiler for everyone, which
    takes as long as torch itself."""
    global _uncompiled
    if _uncompiled is None:
        _uncompiled = torch.compiler.disable(_Loss.apply)
    return _uncompiled


def _check_number(scalar: float | Tensor, name: str) -> float | Tensor:
    """A number, or a tensor with one element."""
    if not isinstance(scalar, Tensor):
        return float(scalar)
    if scalar.numel() != 1:
        raise ValueError(f"{name} must be a number or a tensor with one element, got shape {tuple(scalar.shape)}")
    _prepare(scalar, name)
    return scalar


def _check_positive(value: float, name: str) -> float:
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be finite and > 0, got {value:g}")
    return value


def _check_same_shape(tensor: Tensor, name: str, reference: Tensor, first: str) -> None:
    if reference.ndim != 2:
        raise ValueError(f"{first} must be (N, D), got shape {tuple(reference.shape)}")
    if tensor.shape != reference.shape:
        raise ValueError(f"{name} must have {first}'s shape {tuple(reference.shape)}, got {tuple(tensor.shape)}")


def _check_one_process(gather_distributed: bool) -> None:
    if gather_distributed:
        raise ValueError("gather_distributed must be False: negatives come from this process alone")


def _options(module: torch.nn.Module, main: str) -> list[str]:
    """How the options of a loss show that have not their default, the main one not counted."""
    shown = []
    for name, parameter in inspect.signature(type(module).__init__).parameters.items():
        option = getattr(module, name, parameter.default)
        if name != main and option != parameter.default:
            shown.append(f"{name}={option!r}")
    return shown


class _LossModule(torch.nn.Module):
    """A loss with a temperature, and how it shows: options that have their default are left out."""

    def __init__(self, temperature: float | Tensor, normalize: bool, reduction: str):
        super().__init__()
        reduction_of(reduction)
        self.reduction = reduction
        self.temperature = _check_number(temperature, "temperature")
        _check_positive(temperature.item() if isinstance(temperature, Tensor) else self.temperature, "temperature")
        self.normalize = bool(normalize)

    def _of_views(self, loss_function: Callable, views: Sequence[Tensor], **options: Any) -> Tensor:
        """The loss of views out0, out1, ..."""
        named = {f"out{index}": view for index, view in enumerate(views)}
        for name, view in named.items():
            _prepare(view, name)
            _check_same_shape(view, name, views[0], "out0")

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

        return _evaluate(function, self.temperature, **named)

    def extra_repr(self) -> str:
        value = self.temperature
        shown = f"{type(value).__name__}({value.item():g})" if isinstance(value, Tensor) else f"{value:g}"
        return ", ".join([f"temperature={shown}", *_options(self, "temperature")])


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
        _check_one_process(gather_distributed)

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
            _prepare(tensor, name)
        _check_same_shape(positive_key, "positive_key", query, "query")
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

        return _evaluate(function, self.temperature, **embeddings)

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
        _check_one_process(gather_distributed)
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
        _check_same_shape(_prepare(out0, "out0"), "out0", out0, "out0")
        classes = _check_labels(labels, len(out0)) if labels is not None else torch.arange(len(out0))
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
        _check_one_process(gather_distributed)

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
        _check_one_process(gather_distributed)

    def forward(self, out0: Tensor, out1: Tensor) -> Tensor:
        """The loss in nats, by `reduction`; arguments as in `NTXentLoss.forward`, of two views."""
        return self._of_views(losses.dclw, (out0, out1), sigma=self.sigma)


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
        _check_same_shape(_prepare(embeddings, "embeddings"), "embeddings", embeddings, "embeddings")
        classes = _check_labels(labels, len(embeddings)).numpy().copy()

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

        return _evaluate(function, embeddings=embeddings)

    def extra_repr(self) -> str:
        return ", ".join([f"margin={self.margin:g}", *_options(self, "margin")])


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
            _prepare(tensor, name)
        _check_same_shape(text, "text_features", image, "image_features")
        return _evaluate(function, *scalars, image_features=image, text_features=text)

    def extra_repr(self) -> str:
        return ", ".join(_options(self, ""))


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
        logit_scale = _check_number(logit_scale, "logit_scale")

        def function(image, text, scale, weights=None):
            temperature = 1 / _check_positive(scale.item(), "logit_scale")
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
        logit_scale = _check_number(logit_scale, "logit_scale")
        logit_bias = _check_number(0.0 if logit_bias is None else logit_bias, "logit_bias")

        def function(image, text, scale, bias, weights=None):
            factor = _check_positive(scale.item(), "logit_scale")
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


def _check_labels(labels: Any, samples: int) -> Tensor:
    if not isinstance(labels, Tensor):
        raise TypeError(f"labels must be a torch.Tensor, got {type(labels).__name__}")
    if labels.device.type != "cpu":
        raise ValueError(f"labels must be on the CPU, got device {labels.device}")
    if labels.dtype not in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8):
        raise TypeError(f"labels must be integers, got dtype {labels.dtype}")
    if labels.shape != (samples,):
        raise ValueError(f"labels must have shape {(samples,)}, one for each sample, got {tuple(labels.shape)}")
    return labels
