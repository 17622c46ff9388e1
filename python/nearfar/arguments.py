"""Reading arguments: numbers, sizes and ranges, with errors that name the argument."""

from __future__ import annotations

import operator

import numpy as np

from nearfar.pixels import WHITE

INTERPOLATIONS = {"bilinear": 0, "bicubic": 1, "nearest": 2}
PADDING_MODES = {"constant": 0, "edge": 1, "reflect": 2, "symmetric": 3}
BYTE = np.dtype(np.uint8)


class Frozen:
    """Base of frozen dataclasses that read their arguments while they are made."""

    def _set(self, **values) -> None:
        """Sets fields, in `__post_init__` alone."""
        for name, value in values.items():
            object.__setattr__(self, name, value)


def integer(value, name, least=-(2**31), below=2**31) -> int:
    if type(value) is int and least <= value < below:
        return value
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    try:
        integer = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if not least <= integer < below:
        raise ValueError(f"{name} must be in {least}..{below - 1}, got {integer}")
    return integer


def number(value, name) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, got {value!r}") from None


def size_of(size, name="size") -> tuple[int, int]:
    """(height, width) from an integer or a pair."""
    if isinstance(size, (tuple, list)):
        if len(size) != 2:
            raise ValueError(f"{name} must be an integer or a pair (height, width), got {size!r}")
        return integer(size[0], name), integer(size[1], name)
    return (integer(size, name),) * 2


def range_of(value, name) -> tuple[float, float]:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise ValueError(f"{name} must be a pair (low, high), got {value!r}")
    return number(value[0], name), number(value[1], name)


def as_images(image) -> np.ndarray:
    """An image or a batch as an array, so that errors in the core are about what was passed in."""
    return image if isinstance(image, np.ndarray) else np.asarray(image)


def extent_of(image: np.ndarray) -> tuple[int, int]:
    """Height and width of an image or of those of a batch."""
    if not 2 <= image.ndim <= 4:
        raise ValueError(f"image must have 2 to 4 dimensions, got {image.ndim}")
    return image.shape[-3:-1] if image.ndim > 2 else image.shape


def pair_of(value, name) -> tuple[float, float]:
    """A number for both directions, or a pair."""
    return range_of(value, name) if isinstance(value, (tuple, list)) else (number(value, name),) * 2


def spread_range(value, name) -> tuple[float, float]:
    """The range (-x, x) for a number x >= 0, or a range."""
    if isinstance(value, (tuple, list)):
        return range_of(value, name)
    spread = number(value, name)
    if not spread >= 0:
        raise ValueError(f"{name} must be >= 0, or a pair (low, high), got {spread:g}")
    return 0.0 - spread, spread


def factor_range(value, name) -> tuple[float, float]:
    """The range of a factor: (max(0, 1 - x), 1 + x) for a number x, as torchvision has it."""
    if isinstance(value, (tuple, list)):
        return range_of(value, name)
    spread = number(value, name)
    if not spread >= 0:
        raise ValueError(f"{name} must be >= 0, or a pair (low, high), got {spread:g}")
    return max(0.0, 1.0 - spread), 1.0 + spread


def interpolation_of(name) -> int:
    if name not in INTERPOLATIONS:
        raise ValueError(f"interpolation must be one of {', '.join(map(repr, INTERPOLATIONS))}, got {name!r}")
    return INTERPOLATIONS[name]


def padding_of(padding, mode) -> tuple[int, int, int, int, int]:
    """Left, top, right, bottom and the number of the mode."""
    if mode not in PADDING_MODES:
        raise ValueError(f"padding_mode must be one of {', '.join(map(repr, PADDING_MODES))}, got {mode!r}")
    if not isinstance(padding, (tuple, list)):
        side = integer(padding, "padding")
        return side, side, side, side, PADDING_MODES[mode]
    if len(padding) not in (1, 2, 4):
        raise ValueError(f"padding must be one, two or four integers, got {padding!r}")
    left, top, right, bottom = (tuple(integer(side, "padding") for side in padding) * 4)[:4]
    return left, top, right, bottom, PADDING_MODES[mode]


def fill_for(image, value, name="fill") -> int | np.ndarray:
    """The colour of an image's pixels that have none, as the core takes it: an integer as it is."""
    return value if type(value) is int else fill_of(value, name, as_images(image).dtype)


def fill_of(value, name="fill", dtype=BYTE) -> np.ndarray:
    """The colour of pixels that have none, in the dtype of an image: one number, or one per channel."""
    values = value if isinstance(value, (tuple, list, np.ndarray)) else (value,)
    if dtype == np.float32:
        with np.errstate(over="ignore"):  # the core refuses what is not finite
            return np.array([number(one, name) for one in values]).astype(np.float32)
    white = WHITE.get(dtype, 255)
    return np.array([integer(one, name, 0, white + 1) for one in values], np.uint8 if white == 255 else np.uint16)


def per_channel(value, name, channels, default) -> np.ndarray:
    if value is None:
        value = default
    values = np.asarray(value, dtype=np.float64)
    if values.ndim > 1 or values.size not in (1, channels):
        raise ValueError(f"{name} must be a number or one number per channel ({channels}), got {value!r}")
    return np.broadcast_to(values, channels).copy()
