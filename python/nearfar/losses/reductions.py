"""What all losses make of the values of their anchors."""

import numpy as np

REDUCTIONS = {"mean": 0, "sum": 1, "none": 2}


def reduction_of(name: str) -> int:
    """The number that C knows a reduction by."""
    if not isinstance(name, str) or name not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {', '.join(map(repr, REDUCTIONS))}, got {name!r}")
    return REDUCTIONS[name]


def reduced(values: np.ndarray, reduction: str, like: np.ndarray, shape: tuple[int, ...] = (-1,)) -> float | np.ndarray:
    """What a loss returns of the values that C gave: a float, or the values in `shape` and the gradient's dtype."""
    return values.astype(like.dtype).reshape(shape) if reduction == "none" else float(values[0])
