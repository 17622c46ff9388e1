"""Operations that move the pixels of one image or a batch of equal ones: functions of nearfar.transforms."""

from __future__ import annotations

import numpy as np

from nearfar import _core
from nearfar.arguments import (
    as_images,
    extent_of,
    fill_for,
    interpolation_of,
    number,
    padding_of,
    size_of,
)


def _pair(value, name) -> tuple[float, float]:
    if not isinstance(value, (tuple, list, np.ndarray)) or len(value) != 2:
        raise ValueError(f"{name} must be a pair (x, y), got {value!r}")
    return number(value[0], name), number(value[1], name)


def _center(center) -> np.ndarray:
    return np.array([] if center is None else _pair(center, "center"), np.float64)


def crop(image, top, left, height, width):
    """Cut a box out of an image.

    Parameters
    ----------
    image : array (H, W), (H, W, C) or (N, H, W, C) of uint8, uint16 or float32
    top, left, height, width : int
        The box, in pixels. It must lie within the image: `pad` first for one that does not.

    Returns
    -------
    array of the same kind and dtype, a copy.

    Raises
    ------
    TypeError, ValueError
        If the image is of another dtype, or the box does not lie within it.

    Examples
    --------
    >>> import numpy as np
    >>> crop(np.arange(12, dtype=np.uint8).reshape(3, 4), 1, 1, 2, 2)
    array([[ 5,  6],
           [ 9, 10]], dtype=uint8)
    """
    return _core.crop(as_images(image), top, left, height, width)


def center_crop(image, size):
    """Cut the middle out of an image; halves of pixels are rounded to even.

    Parameters
    ----------
    image : array (H, W), (H, W, C) or (N, H, W, C) of uint8, uint16 or float32
    size : int or (int, int)
        Height and width of the result, at most the image's.

    Returns
    -------
    array of the same kind and dtype.

    Raises
    ------
    TypeError, ValueError
        If the image is of another dtype, or smaller than `size`.

    References
    ----------
    torchvision, `center_crop`, which pads smaller images.

    Examples
    --------
    >>> import numpy as np
    >>> center_crop(np.arange(12, dtype=np.uint8).reshape(3, 4), (1, 2))
    array([[5, 6]], dtype=uint8)
    """
    height, width = size_of(size)
    image = as_images(image)
    rows, columns = extent_of(image)
    if height > rows or width > columns:
        raise ValueError(f"size must be within the image's {rows} x {columns}, got {(height, width)}")
    return crop(image, round((rows - height) / 2), round((columns - width) / 2), height, width)


def pad(image, padding, fill=0, padding_mode="constant"):
    """Add rows and columns around an image.

    Parameters
    ----------
    image : array (H, W), (H, W, C) or (N, H, W, C) of uint8, uint16 or float32
    padding : int, (int, int) or (int, int, int, int)
        On all sides; left and right, top and bottom; or left, top, right, bottom. >= 0.
    fill : number or sequence of numbers
        Of padding_mode "constant", for all channels or one for each, in units of the image: 0..255, 0..65535, or any
        finite number.
    padding_mode : {"constant", "edge", "reflect", "symmetric"}
        The fill, the outermost pixels, or the mirror image, with the outermost pixels once (reflect) or twice. Padding
        larger than the image goes to and fro.

    Returns
    -------
    array of the same kind and dtype, of at most 16384 rows and columns.

    Raises
    ------
    TypeError, ValueError
        If the image is of another dtype, or an argument out of range.

    References
    ----------
    torchvision, `pad`; NumPy, `pad`.

    Examples
    --------
    >>> import numpy as np
    >>> pad(np.array([[1, 2, 3]], np.uint8), (2, 0), padding_mode="reflect")
    array([[3, 2, 1, 2, 3, 2, 1]], dtype=uint8)
    """
    *sides, mode = padding_of(padding, padding_mode)
    image = as_images(image)
    return _core.pad(image, *sides, mode, fill_for(image, fill))


def vflip(image):
    """Mirror an image top to bottom.

    Parameters
    ----------
    image : array (H, W), (H, W, C) or (N, H, W, C) of uint8, uint16 or float32

    Returns
    -------
    array of the same shape and dtype.

    Examples
    --------
    >>> import numpy as np
    >>> vflip(np.array([[1], [2]], np.uint8))
    array([[2],
           [1]], dtype=uint8)
    """
    return _core.vflip(as_images(image))


def rotate(image, angle, interpolation="bilinear", expand=False, center=None, fill=0):
    """Rotate an image counter-clockwise.

    Right angles about the middle only move pixels. Otherwise each pixel of the result is sampled where it comes from,
    fractions are dropped, and places outside the image have the fill's value.

    Parameters
    ----------
    image : array (H, W), (H, W, C) or (N, H, W, C) of uint8, uint16 or float32
    angle : float
        Degrees.
    interpolation : {"bilinear", "bicubic", "nearest"}
        Without antialiasing.
    expand : bool
        Whether the result is large enough for all corners, rather than as large as the image.
    center : (float, float), optional
        (x, y) from the corner of the first pixel. Default: the middle.
    fill : number or sequence of numbers
        For all channels or one for each, in units of the image: 0..255, 0..65535, or any finite number.

    Returns
    -------
    array of the same kind and dtype.

    Raises
    ------
    TypeError, ValueError
        If the image is of another dtype, or an argument out of range.

    References
    ----------
    Pillow, `Image.rotate`; torchvision, `rotate`.

    Examples
    --------
    >>> import numpy as np
    >>> rotate(np.array([[1, 2, 3]], np.uint8), 90, expand=True)
    array([[3],
           [2],
           [1]], dtype=uint8)
    """
    image = as_images(image)
    return _core.rotate(
        image,
        number(angle, "angle"),
        bool(expand),
        _center(center),
        interpolation_of(interpolation),
        fill_for(image, fill),
    )


def affine(image, angle, translate, scale, shear, interpolation="bilinear", fill=0, center=None):
    """Rotate an image clockwise, scale it and shear it about a centre, then shift it.

    Parameters
    ----------
    image : array (H, W), (H, W, C) or (N, H, W, C) of uint8, uint16 or float32
    angle : float
        Degrees, within -1e6..1e6.
    translate : (float, float)
        Shift to the right and downwards, in pixels.
    scale : float
        1e-6..1e6.
    shear : float or (float, float)
        Degrees within -89.9..89.9, along x, or along x and y.
    interpolation : {"bilinear", "bicubic", "nearest"}
        Without antialiasing.
    fill : number or sequence of numbers
        The value of places outside the image, for all channels or one for each, in units of the image: 0..255,
        0..65535, or any finite number.
    center : (float, float), optional
        (x, y) from the corner of the first pixel. Default: the middle.

    Returns
    -------
    array of the same shape and dtype.

    Raises
    ------
    TypeError, ValueError
        If the image is of another dtype, or an argument out of range.

    References
    ----------
    torchvision, `affine`.

    Examples
    --------
    >>> import numpy as np
    >>> affine(np.array([[1, 2, 3, 4]], np.uint8), 0, (1, 0), 1.0, 0)
    array([[0, 1, 2, 3]], dtype=uint8)
    """
    shears = _pair(shear, "shear") if isinstance(shear, (tuple, list)) else (number(shear, "shear"), 0.0)
    image = as_images(image)
    return _core.affine(
        image,
        number(angle, "angle"),
        *_pair(translate, "translate"),
        number(scale, "scale"),
        *shears,
        _center(center),
        interpolation_of(interpolation),
        fill_for(image, fill),
    )


def perspective(image, startpoints, endpoints, interpolation="bilinear", fill=0):
    """Move four points of an image to four others, by the perspective that does so.

    Parameters
    ----------
    image : array (H, W), (H, W, C) or (N, H, W, C) of uint8, uint16 or float32
    startpoints, endpoints : float (4, 2)
        (x, y) of points of the image, and where they go; no three on a line. torchvision's convention: the corners of
        an image are (0, 0), (W - 1, 0), (W - 1, H - 1), (0, H - 1).
    interpolation : {"bilinear", "bicubic", "nearest"}
        Without antialiasing.
    fill : number or sequence of numbers
        The value of places outside the image, for all channels or one for each, in units of the image: 0..255,
        0..65535, or any finite number.

    Returns
    -------
    array of the same shape and dtype.

    Raises
    ------
    TypeError, ValueError
        If the image is of another dtype, or an argument out of range.

    References
    ----------
    torchvision, `perspective`.

    Examples
    --------
    >>> import numpy as np
    >>> corners = [(0, 0), (3, 0), (3, 3), (0, 3)]
    >>> image = np.arange(16, dtype=np.uint8).reshape(4, 4)
    >>> bool((perspective(image, corners, corners) == image).all())
    True
    """
    points = np.empty(16)
    for place, value, name in ((points[:8], startpoints, "startpoints"), (points[8:], endpoints, "endpoints")):
        array = np.asarray(value)
        if array.dtype.kind not in "iuf":
            raise TypeError(f"{name} must be numbers, got {value!r}")
        if array.shape != (4, 2):
            raise ValueError(f"{name} must be four points (x, y), got shape {array.shape}")
        place[:] = array.ravel()
    image = as_images(image)
    return _core.perspective(image, points, interpolation_of(interpolation), fill_for(image, fill))


def erase(image, top, left, height, width, value=0):
    """Give all pixels of a box one value.

    Parameters
    ----------
    image : array (H, W), (H, W, C) or (N, H, W, C) of uint8, uint16 or float32
    top, left, height, width : int
        The box, within the image; it may be empty.
    value : number or sequence of numbers
        For all channels or one for each, in units of the image: 0..255, 0..65535, or any finite number.

    Returns
    -------
    array of the same shape and dtype.

    Raises
    ------
    TypeError, ValueError
        If the image is of another dtype, or the box does not lie within it.

    References
    ----------
    torchvision, `erase`.

    Examples
    --------
    >>> import numpy as np
    >>> erase(np.array([[1, 2, 3, 4]], np.uint8), 0, 1, 1, 2, value=9)
    array([[1, 9, 9, 4]], dtype=uint8)
    """
    return _core.erase(image, top, left, height, width, fill_for(image, value, "value"))
