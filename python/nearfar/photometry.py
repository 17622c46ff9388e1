"""Photometric operations on one image or a batch of equal ones, beyond those of the colour jitter: values change, not
their places. Public as functions of nearfar.transforms."""

from __future__ import annotations

from nearfar import _core
from nearfar.arguments import number
from nearfar.image_operations import _images


def solarize(image, threshold):
    """Invert the bright values of an image: 255 - x where x >= threshold, else x.

    Parameters
    ----------
    image : uint8 array (H, W), (H, W, C) or (N, H, W, C)
    threshold : float
        0..256; 0 inverts all, 256 nothing.

    Returns
    -------
    uint8 array of the same shape.

    Raises
    ------
    TypeError, ValueError
        If the image is not uint8, or the threshold out of range.

    References
    ----------
    Pillow, `ImageOps.solarize`; torchvision, `solarize`.

    Examples
    --------
    >>> import numpy as np
    >>> solarize(np.array([[10, 127, 128, 250]], np.uint8), 128)
    array([[ 10, 127, 127,   5]], dtype=uint8)
    """
    return _core.solarize(_images(image), number(threshold, "threshold"))
