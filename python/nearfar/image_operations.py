"""Operations on one image or a batch of equal ones, with torchvision's names: the functions of nearfar.transforms."""

from __future__ import annotations

from nearfar import _core
from nearfar.arguments import (
    as_images,
    extent_of,
    integer,
    interpolation_of,
    number,
    pair_of,
    per_channel,
    size_of,
)


def resized_crop(image, top, left, height, width, size, interpolation="bilinear"):
    """Cut a box out of an image and resize it.

    The filter is widened by the scale when the box shrinks (antialiasing), as in Pillow, unless it is "nearest".

    Parameters
    ----------
    image : array (H, W), (H, W, C) or (N, H, W, C) of uint8, uint16 or float32
    top, left, height, width : int
        The box, in pixels. It must lie within the image.
    size : int or (int, int)
        Height and width of the result, 1..16384.
    interpolation : {"bilinear", "bicubic", "nearest"}

    Returns
    -------
    array of the same kind and dtype.

    Raises
    ------
    TypeError
        If the image is of another dtype.
    ValueError
        If the box does not lie within the image, or the size is out of range.

    References
    ----------
    Pillow, `Image.resize`; torchvision, `resized_crop`.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    >>> resized_crop(image, 0, 0, 2, 4, size=(2, 2)).shape
    (2, 2, 3)
    """
    out_height, out_width = size_of(size)
    return _core.resized_crop(
        as_images(image), top, left, height, width, out_height, out_width, interpolation_of(interpolation)
    )


def resize(image, size, interpolation="bilinear", max_size=None):
    """Resize an image: `resized_crop` of all of it.

    Parameters
    ----------
    image : array (H, W), (H, W, C) or (N, H, W, C) of uint8, uint16 or float32
    size : int or (int, int)
        An integer is the length of the shorter side; the other one keeps the ratio, fractions dropped. A pair is
        (height, width). 1..16384.
    interpolation : {"bilinear", "bicubic", "nearest"}
    max_size : int, optional
        Of the longer side, if `size` is an integer.

    Returns
    -------
    array of the same kind and dtype.

    Raises
    ------
    TypeError, ValueError
        If the image is of another dtype, or a size out of range.

    References
    ----------
    torchvision, `resize`.

    Examples
    --------
    >>> import numpy as np
    >>> resize(np.zeros((5, 8, 12, 3), np.uint8), 4).shape
    (5, 4, 6, 3)
    """
    image = as_images(image)
    height, width = extent_of(image)
    if not isinstance(size, (tuple, list)) and height and width:
        shorter, longer = integer(size, "size"), integer(size, "size") * max(height, width) // min(height, width)
        if max_size is not None and longer > integer(max_size, "max_size", shorter):
            shorter, longer = max_size * shorter // longer, max_size
        size = (longer, shorter) if height >= width else (shorter, longer)
    elif max_size is not None:
        raise ValueError(f"max_size needs a size that is one integer, got {size!r}")
    return resized_crop(image, 0, 0, height, width, size, interpolation)


def hflip(image):
    """Mirror an image left to right.

    Parameters
    ----------
    image : array (H, W), (H, W, C) or (N, H, W, C) of uint8, uint16 or float32

    Returns
    -------
    array of the same shape and dtype.

    Examples
    --------
    >>> import numpy as np
    >>> hflip(np.array([[1, 2, 3]], np.uint8))
    array([[3, 2, 1]], dtype=uint8)
    """
    return _core.hflip(as_images(image))


def adjust_brightness(image, factor):
    """Multiply an image by `factor`: clip(factor x), fractions dropped.

    Parameters
    ----------
    image : array (H, W), (H, W, C) or (N, H, W, C) of uint8, uint16 or float32
    factor : float
        0..1e6; 0 gives black, 1 the image.

    Returns
    -------
    array of the same shape and dtype.

    Raises
    ------
    TypeError, ValueError
        If the image is of another dtype, or the factor out of range.

    References
    ----------
    Pillow, `ImageEnhance.Brightness`; torchvision, `adjust_brightness`.

    Examples
    --------
    >>> import numpy as np
    >>> adjust_brightness(np.array([[10, 200]], np.uint8), 1.5)
    array([[ 15, 255]], dtype=uint8)
    """
    return _core.adjust_brightness(as_images(image), number(factor, "factor"))


def adjust_contrast(image, factor):
    """Blend an image with its mean grey level m: clip(m + factor (x - m)), fractions dropped.

    m is the rounded mean of the luma, or of all values unless there are three channels. Each image of a batch has its
    own.

    Parameters
    ----------
    image : array (H, W), (H, W, C) or (N, H, W, C) of uint8, uint16 or float32
    factor : float
        0..1e6; 0 gives plain grey, 1 the image.

    Returns
    -------
    array of the same shape and dtype.

    Raises
    ------
    TypeError, ValueError
        If the image is of another dtype, or the factor out of range.

    References
    ----------
    Pillow, `ImageEnhance.Contrast`; torchvision, `adjust_contrast`.

    Examples
    --------
    >>> import numpy as np
    >>> adjust_contrast(np.array([[50, 150]], np.uint8), 0.5)
    array([[ 75, 125]], dtype=uint8)
    """
    return _core.adjust_contrast(as_images(image), number(factor, "factor"))


def adjust_saturation(image, factor):
    """Blend each pixel with its luma g: clip(g + factor (x - g)), fractions dropped.

    Parameters
    ----------
    image : array (H, W), (H, W, C) or (N, H, W, C) of uint8, uint16 or float32
        Three channels; one channel is returned as it is.
    factor : float
        0..1e6; 0 gives greyscale, 1 the image.

    Returns
    -------
    array of the same shape and dtype.

    Raises
    ------
    TypeError, ValueError
        If the image is of another dtype or has another number of channels, or the factor is out of range.

    References
    ----------
    Pillow, `ImageEnhance.Color`; torchvision, `adjust_saturation`.

    Examples
    --------
    >>> import numpy as np
    >>> adjust_saturation(np.array([[[200, 100, 100]]], np.uint8), 0.0)
    array([[[130, 130, 130]]], dtype=uint8)
    """
    return _core.adjust_saturation(as_images(image), number(factor, "factor"))


def adjust_hue(image, factor):
    """Turn the hue of an image by `factor` turns, through HSV (of 8 bits for uint8).

    Parameters
    ----------
    image : array (H, W), (H, W, C) or (N, H, W, C) of uint8, uint16 or float32
        Three channels; one channel is returned as it is.
    factor : float
        -0.5..0.5.

    Returns
    -------
    array of the same shape and dtype.

    Raises
    ------
    TypeError, ValueError
        If the image is of another dtype or has another number of channels, or the factor is out of range.

    References
    ----------
    Pillow, `Image.convert("HSV")`; torchvision, `adjust_hue`.

    Examples
    --------
    >>> import numpy as np
    >>> adjust_hue(np.array([[[255, 0, 0]]], np.uint8), 0.5)
    array([[[  0, 255, 252]]], dtype=uint8)
    """
    return _core.adjust_hue(as_images(image), number(factor, "factor"))


def rgb_to_grayscale(image, channels=1):
    """The luma of an image: (19595 r + 38470 g + 7471 b + 32768) / 65536, fraction dropped (ITU-R 601-2).

    Of uint16 and float32: 0.299 r + 0.587 g + 0.114 b.

    Parameters
    ----------
    image : array (H, W, C) or (N, H, W, C) of uint8, uint16 or float32
        Three channels; one channel is taken as it is.
    channels : {1, 3}
        Of the result; three are equal.

    Returns
    -------
    array (..., H, W, channels) of the same dtype

    Raises
    ------
    TypeError, ValueError
        If the image is of another dtype or has another number of channels.

    References
    ----------
    Pillow, `Image.convert("L")`; torchvision, `rgb_to_grayscale`.

    Examples
    --------
    >>> import numpy as np
    >>> rgb_to_grayscale(np.array([[[200, 100, 50]]], np.uint8))
    array([[[124]]], dtype=uint8)
    """
    return _core.rgb_to_grayscale(as_images(image), integer(channels, "channels"))


def gaussian_blur(image, kernel_size, sigma=None):
    """Blur with a Gaussian kernel, w(d) ~ exp(-d^2 / (2 sigma^2)), normalised; borders are reflected.

    Images of uint8 are filtered in whole numbers, with weights of 14 to 18 bits: of a thousand values, one or two come
    out rounded the other way.

    Parameters
    ----------
    image : array (H, W), (H, W, C) or (N, H, W, C) of uint8, uint16 or float32
    kernel_size : int or (int, int)
        Odd; a pair is (horizontal, vertical). Half of it must be smaller than the image.
    sigma : float or (float, float), optional
        > 0, in pixels; a pair is (horizontal, vertical). Default: 0.15 kernel_size + 0.35.

    Returns
    -------
    array of the same shape and dtype.

    Raises
    ------
    TypeError, ValueError
        If the image is of another dtype, or an argument out of range.

    References
    ----------
    torchvision, `gaussian_blur`.

    Examples
    --------
    >>> import numpy as np
    >>> gaussian_blur(np.array([[0, 0, 90, 0, 0]], np.uint8), (3, 1), 1.0)
    array([[ 0, 25, 41, 25,  0]], dtype=uint8)
    """
    kernel_x, kernel_y = size_of(kernel_size, "kernel_size")
    if sigma is None:
        sigma = (0.15 * kernel_x + 0.35, 0.15 * kernel_y + 0.35)
    sigma_x, sigma_y = pair_of(sigma, "sigma")
    return _core.gaussian_blur(as_images(image), kernel_y, kernel_x, sigma_y, sigma_x)


def normalize(image, mean, std):
    """Scale an image to float32: (x / 255 - mean) / std, with 65535 or 1 in 255's place for uint16 or float32.

    Parameters
    ----------
    image : array (H, W), (H, W, C) or (N, H, W, C) of uint8, uint16 or float32
    mean, std : float or sequence of one float per channel
        In units of the full range, as torchvision's `Normalize` takes them; std > 0.

    Returns
    -------
    float32 array of the same shape.

    Raises
    ------
    TypeError, ValueError
        If the image is of another dtype, or mean or std do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> normalize(np.array([[0, 255]], np.uint8), 0.5, 0.5)
    array([[-1.,  1.]], dtype=float32)
    """
    image = as_images(image)
    channels = image.shape[-1] if image.ndim > 2 else 1
    values = (per_channel(v, n, channels, None) for v, n in ((mean, "mean"), (std, "std")))
    return _core.normalize(image, *values)
