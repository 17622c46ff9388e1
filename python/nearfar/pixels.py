"""The types of pixels that images may have, and the number that is white in each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["WHITE", "Pixels", "check_type", "shares_of_white"]

Pixels = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]

WHITE = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535, np.dtype(np.float32): 1}


def check_type(array: NDArray[Any], name: str) -> None:
    """TypeError, unless it holds pixels, in native byte order."""
    if array.dtype not in WHITE:
        raise TypeError(f"{name} must be uint8, uint16 or float32, got {array.dtype}")


def shares_of_white(images: Pixels) -> NDArray[np.float32]:
    """Values in units of white: 0..1, if they are between black and white."""
    return images.astype(np.float32) / np.float32(WHITE[images.dtype])
