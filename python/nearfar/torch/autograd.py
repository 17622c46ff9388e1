"""From tensors to the arrays that the losses take, and from their gradients to autograd's."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

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


def prepare(tensor: Any, name: str) -> Tensor:
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


def evaluate(function: Callable, *scalars: float | Tensor, **embeddings: Tensor) -> Tensor:
    """The loss by `function`, which gets the arrays of `embeddings` and then those of `scalars`, as a temperature."""
    tensors = {name: prepare(tensor, name) for name, tensor in embeddings.items()}
    (first, reference), *others = tensors.items()
    for name, tensor in others:
        if tensor.dtype != reference.dtype:
            raise TypeError(f"{name} must have {first}'s dtype {reference.dtype}, got {tensor.dtype}")
    numbers = [
        prepare(scalar, "temperature") if isinstance(scalar, Tensor) else torch.tensor(scalar, dtype=torch.float64)
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
