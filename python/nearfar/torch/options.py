"""What the modules have in common: checks of tensors and options, and how options show."""

from __future__ import annotations

import inspect
import math
from typing import Any

import torch
from torch import Tensor

from nearfar.torch.autograd import prepare


def check_number(scalar: float | Tensor, name: str) -> float | Tensor:
    """A number, or a tensor with one element."""
    if not isinstance(scalar, Tensor):
        return float(scalar)
    if scalar.numel() != 1:
        raise ValueError(f"{name} must be a number or a tensor with one element, got shape {tuple(scalar.shape)}")
    prepare(scalar, name)
    return scalar


def check_positive(value: float, name: str) -> float:
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be finite and > 0, got {value:g}")
    return value


def check_same_shape(tensor: Tensor, name: str, reference: Tensor, first: str) -> None:
    if reference.ndim != 2:
        raise ValueError(f"{first} must be (N, D), got shape {tuple(reference.shape)}")
    if tensor.shape != reference.shape:
        raise ValueError(f"{name} must have {first}'s shape {tuple(reference.shape)}, got {tuple(tensor.shape)}")


def check_one_process(gather_distributed: bool) -> None:
    if gather_distributed:
        raise ValueError("gather_distributed must be False: negatives come from this process alone")


def options_of(module: torch.nn.Module, main: str) -> list[str]:
    """How the options of a loss show that have not their default, the main one not counted."""
    shown = []
    for name, parameter in inspect.signature(type(module).__init__).parameters.items():
        option = getattr(module, name, parameter.default)
        if name != main and option != parameter.default:
            shown.append(f"{name}={option!r}")
    return shown


def check_labels(labels: Any, samples: int) -> Tensor:
    if not isinstance(labels, Tensor):
        raise TypeError(f"labels must be a torch.Tensor, got {type(labels).__name__}")
    if labels.device.type != "cpu":
        raise ValueError(f"labels must be on the CPU, got device {labels.device}")
    if labels.dtype not in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8):
        raise TypeError(f"labels must be integers, got dtype {labels.dtype}")
    if labels.shape != (samples,):
        raise ValueError(f"labels must have shape {(samples,)}, one for each sample, got {tuple(labels.shape)}")
    return labels
