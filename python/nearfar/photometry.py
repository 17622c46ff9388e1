"""Operations that change the values of images, beyond those of the colour jitter; public in nearfar.transforms."""

from __future__ import annotations

from nearfar import _core
from nearfar.arguments import as_images, fill_for, integer, number, pair_of, size_of


def adjust_gamma(image, gamma, gain=1.0):
    """Gamma correction: clip(255.999 gain (x / 255)^gamma), fractions dropped.

    Of uint16 and float32: clip(white gain (x / white)^gamma), what is below 0 counting as 0.

    Parameters
    ----------
    image : array (H, W), (H, W, C) or (N, H, W, C) of uint8, uint16 or float32
    gamma : float
        >= 0; above 1 makes dark values darker, below 1 lighter.
    gain : float
        0..1e6.

    Returns
    -------
    array of the same shape and dtype.

    Raises
    ------
    TypeError, ValueError
        If the image is of another dtype, or an argument out of range.

    References
    ----------
    torchvision, `adjust_gamma`.

    Examples
    --------
    >>> import numpy as np
    >>> adjust_gamma(np.array([[0, 64, 128, 255]], np.uint8), 2.0)
    array([[  0,  16,  64, 255]], dtype=uint8)
    """
    return _core.adjust_gamma(as_images(image), number(gamma, "gamma"), number(gain, "gain"))


def solarize(image, threshold):
    """Invert the bright values of an image: 255 - x where x >= threshold, else x.

    Parameters
    ----------
    image : array (H, W), (H, W, C) or (N, H, W, C) of uint8, uint16 or float32
    threshold : float
        In units of the image: 0..256 or 0..65536, where 0 inverts all and the largest nothing; or any finite number.

    Returns
    -------
    array of the same shape and dtype.

    Raises
    ------
    TypeError, ValueError
        If the image is of another dtype, or the threshold out of range.

    References
    ----------
    Pillow, `ImageOps.solarize`; torchvision, `solarize`.

    Examples
    --------
    >>> import numpy as np
    >>> solarize(np.array([[10, 127, 128, 250]], np.uint8), 128)
    array([[ 10, 127, 127,   5]], dtype=uint8)
    """
    return _core.solarize(as_images(image), number(threshold, "threshold"))


def posterize(image, bits):
    """Keep the upper `bits` bits of each value.

    Parameters
    ----------
    image : uint8 array (H, W), (H, W, C) or (N, H, W, C)
    bits : int
        0..8; 0 gives black, 8 the image.

    Returns
    -------
    uint8 array of the same shape.

    Raises
    ------
    TypeError, ValueError
        If the image is not uint8, or `bits` out of range.

    References
    ----------
    Pillow, `ImageOps.posterize`; torchvision, `posterize`.

    Examples
    --------
    >>> import numpy as np
    >>> posterize(np.array([[10, 127, 128, 250]], np.uint8), 2)
    array([[  0,  64, 128, 192]], dtype=uint8)
    """
    return _core.posterize(as_images(image), integer(bits, "bits"))


def invert(image):
    """The negative of an image: 255 - x.

    Parameters
    ----------
    image : array (H, W), (H, W, C) or (N, H, W, C) of uint8, uint16 or float32

    Returns
    -------
    array of the same shape and dtype.

    References
    ----------
    Pillow, `ImageOps.invert`; torchvision, `invert`.

    Examples
    --------
    >>> import numpy as np
    >>> invert(np.array([[0, 100, 255]], np.uint8))
    array([[255, 155,   0]], dtype=uint8)
    """
    return _core.invert(as_images(image))


def autocontrast(image):
    """Stretch the values of each channel to 0..255: 255 (x - low) / (high - low), fractions dropped.

    low and high are the least and the largest value of the channel in this image; a channel of one value stays as it
    is.

    Parameters
    ----------
    image : array (H, W), (H, W, C) or (N, H, W, C) of uint8, uint16 or float32

    Returns
    -------
    array of the same shape and dtype.

    References
    ----------
    Pillow, `ImageOps.autocontrast`; torchvision, `autocontrast`.

    Examples
    --------
    >>> import numpy as np
    >>> autocontrast(np.array([[50, 100, 150]], np.uint8))
    array([[  0, 127, 255]], dtype=uint8)
    """
    return _core.autocontrast(as_images(image))


def equalize(image):
    """Flatten the histogram of each channel: (step // 2 + count of values below x) // step.

    step is the count of all values but the largest that occurs, // 255; where it is 0 (one value only, or less than 256
    pixels), the channel stays as it is.

    Parameters
    ----------
    image : uint8 array (H, W), (H, W, C) or (N, H, W, C)

    Returns
    -------
    uint8 array of the same shape.

    References
    ----------
    Pillow, `ImageOps.equalize`; torchvision, `equalize`.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.repeat(np.array([10, 11, 12], np.uint8), 255).reshape(3, 255)
    >>> np.unique(equalize(image))
    array([  0, 128, 255], dtype=uint8)
    """
    return _core.equalize(as_images(image))


def adjust_sharpness(image, factor):
    """Blend an image with itself smoothed, s: clip(s + factor (x - s)), fractions dropped.

    s is the mean of 3 x 3 pixels, x counted five times, rounded. Pixels at the border stay as they are.

    Parameters
    ----------
    image : array (H, W), (H, W, C) or (N, H, W, C) of uint8, uint16 or float32
    factor : float
        0..1e6; 0 gives the smoothed image, 1 the image, 2 a sharper one.

    Returns
    -------
    array of the same shape and dtype.

    Raises
    ------
    TypeError, ValueError
        If the image is of another dtype, or the factor out of range.

    References
    ----------
    Pillow, `ImageEnhance.Sharpness`; torchvision, `adjust_sharpness`.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.full((3, 3), 100, np.uint8)
    >>> image[1, 1] = 113
    >>> adjust_sharpness(image, 0.0)[1]
    array([100, 105, 100], dtype=uint8)
    """
    return _core.adjust_sharpness(as_images(image), number(factor, "factor"))


def box_blur(image, radius):
    """The mean over a box of 2 radius + 1 pixels, along rows and then along columns, rounded each time.

    A fraction of the radius counts the pixels just beyond its whole part by that share. Beyond the borders the last
    pixel goes on.

    Parameters
    ----------
    image : uint8 array (H, W), (H, W, C) or (N, H, W, C)
    radius : float or (float, float)
        0..16384; a pair is (horizontal, vertical).

    Returns
    -------
    uint8 array of the same shape.

    Raises
    ------
    TypeError, ValueError
        If the image is not uint8, or the radius out of range.

    References
    ----------
    Pillow, `ImageFilter.BoxBlur`.

    Examples
    --------
    >>> import numpy as np
    >>> box_blur(np.array([[0, 0, 90, 0, 0]], np.uint8), 1)
    array([[ 0, 30, 30, 30,  0]], dtype=uint8)
    """
    radius_x, radius_y = pair_of(radius, "radius")
    return _core.box_blur(as_images(image), radius_y, radius_x)


def pillow_gaussian_blur(image, radius):
    """Pillow's Gaussian blur: three box blurs along rows, then three along columns, with the Gaussian's variance.

    It differs from `gaussian_blur` (torchvision's) in its borders, where the last pixel goes on, and by a few levels.
    It costs the same for any radius.

    Parameters
    ----------
    image : uint8 array (H, W), (H, W, C) or (N, H, W, C)
    radius : float or (float, float)
        Standard deviation, 0..16384; a pair is (horizontal, vertical).

    Returns
    -------
    uint8 array of the same shape.

    Raises
    ------
    TypeError, ValueError
        If the image is not uint8, or the radius out of range.

    References
    ----------
    Pillow, `ImageFilter.GaussianBlur`; Gwosdek et al., "Theoretical foundations of Gaussian convolution by extended box
    filtering", SSVM 2011.

    Examples
    --------
    >>> import numpy as np
    >>> pillow_gaussian_blur(np.array([[0, 0, 0, 90, 0, 0, 0]], np.uint8), 1.0)
    array([[ 0,  5, 21, 37, 21,  5,  0]], dtype=uint8)
    """
    radius_x, radius_y = pair_of(radius, "radius")
    return _core.pillow_gaussian_blur(as_images(image), radius_y, radius_x)


def gaussian_noise(image, mean=0.0, sigma=0.1, seed=0, index=0):
    """Add normally distributed noise: clip(x + 255 (mean + sigma z)), rounded to nearest, halves up.

    z is a function of (seed, index, channel, place in the image) alone, so the same call gives the same noise.

    Parameters
    ----------
    image : array (H, W), (H, W, C) or (N, H, W, C) of uint8, uint16 or float32
    mean, sigma : float
        Of the noise, in units of the full range; sigma in 0..1e6.
    seed : int
        0..2^64 - 1
    index : int
        Number of the first image, 0..2^63 - 1; in a batch they count up, and each has noise of its own.

    Returns
    -------
    array of the same shape and dtype.

    Raises
    ------
    TypeError, ValueError
        If the image is of another dtype, or an argument out of range.

    References
    ----------
    torchvision, `gaussian_noise`.

    Examples
    --------
    >>> import numpy as np
    >>> noisy = gaussian_noise(np.full((100, 100), 128, np.uint8), sigma=0.1, seed=1)
    >>> bool(abs(noisy.std() / 255 - 0.1) < 0.005)
    True
    """
    seed, index = integer(seed, "seed", 0, 2**64), integer(index, "index", 0, 2**63)
    return _core.gaussian_noise(as_images(image), number(mean, "mean"), number(sigma, "sigma"), seed, index)


def cutout(image, y, x, size, fill=0):
    """Fill the box around pixel (y, x) with one value, as far as it lies in the image.

    The box has the rows y - height // 2 to y - height // 2 + height - 1, and columns likewise.

    Parameters
    ----------
    image : array (H, W), (H, W, C) or (N, H, W, C) of uint8, uint16 or float32
    y, x : int
        A pixel of the image.
    size : int or (int, int)
        Height and width of the box, 1..16384.
    fill : number or sequence of numbers
        For all channels or one for each, in units of the image: 0..255, 0..65535, or any finite number.

    Returns
    -------
    array of the same shape and dtype.

    Raises
    ------
    TypeError, ValueError
        If the image is of another dtype, or an argument out of range.

    References
    ----------
    DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout", 2017.

    Examples
    --------
    >>> import numpy as np
    >>> cutout(np.full((2, 4), 9, np.uint8), y=0, x=3, size=3)
    array([[9, 9, 0, 0],
           [9, 9, 0, 0]], dtype=uint8)
    """
    height, width = size_of(size)
    place = integer(y, "y"), integer(x, "x")
    image = as_images(image)
    return _core.cutout(image, *place, height, width, fill_for(image, fill))


def jigsaw(image, order, grid=3):
    """Cut an image into a grid of equal tiles, and permute them: tile k of the result is tile `order[k]` of the image.

    Tiles are numbered row by row.

    Parameters
    ----------
    image : array (H, W), (H, W, C) or (N, H, W, C) of uint8, uint16 or float32
    order : integers (grid * grid,)
        A permutation of 0 .. grid^2 - 1.
    grid : int
        Tiles along each side, 1..8; it must divide height and width.

    Returns
    -------
    array of the same shape and dtype.

    Raises
    ------
    TypeError, ValueError
        If the image is of another dtype, or the arguments do not fit.

    References
    ----------
    Misra and van der Maaten, "Self-supervised learning of pretext-invariant representations" (PIRL), CVPR 2020.

    Examples
    --------
    >>> import numpy as np
    >>> jigsaw(np.array([[1, 2], [3, 4]], np.uint8), (3, 0, 1, 2), grid=2)
    array([[4, 1],
           [2, 3]], dtype=uint8)
    """
    return _core.jigsaw(as_images(image), order, integer(grid, "grid"))
