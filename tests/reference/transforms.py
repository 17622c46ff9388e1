"""Image operations and recipes in NumPy: the specification of csrc/transforms.

Images are uint8 (H, W, C). Where Pillow rounds to bytes or drops fractions, so does this, in the precision that Pillow
uses; the Gaussian blur and the normalisation are in float64.
"""

import math

import numpy as np

# ---- resizing ----


def _bilinear(x):
    return max(0.0, 1 - abs(x))


def _bicubic(x, a=-0.5):
    x = abs(x)
    if x < 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < 2 else 0.0


FILTERS = {"bilinear": (_bilinear, 1), "bicubic": (_bicubic, 2)}


def resize_axis(image, size, axis, interpolation="bilinear"):
    """One pass: weights of 22 bits, result rounded to bytes."""
    weight, support = FILTERS[interpolation]
    image = np.moveaxis(image, axis, 0).astype(np.int64)
    count = len(image)
    out = np.empty((size,) + image.shape[1:], np.uint8)
    scale = count / size
    widening = max(scale, 1.0)
    for i in range(size):
        center = (i + 0.5) * scale
        first = max(int(center - support * widening + 0.5), 0)
        last = min(int(center + support * widening + 0.5), count)
        weights = np.array([weight((k - center + 0.5) * (1 / widening)) for k in range(first, last)])
        scaled = weights / sum(weights.tolist()) * (1 << 22)
        whole = np.trunc(scaled + np.where(scaled < 0, -0.5, 0.5)).astype(np.int64)
        total = np.tensordot(whole, image[first:last], 1) + (1 << 21)
        out[i] = np.clip(total >> 22, 0, 255)
    return np.moveaxis(out, 0, axis)


def resized_crop(image, top, left, height, width, size, interpolation="bilinear"):
    image = image[top : top + height, left : left + width]
    # Pillow 13's order of the passes; it matters because the result of the first is rounded
    passes = [(1, size[1]), (0, size[0])]
    if size[0] < height and height - size[0] > 2 * (width - size[1]):
        passes.reverse()
    for axis, length in passes:
        if image.shape[axis] != length:
            image = resize_axis(image, length, axis, interpolation)
    return image


def hflip(image):
    return image[:, ::-1]


# ---- colour ----


def luma(image):
    """(H, W, 3) -> (H, W)"""
    return ((image.astype(np.int64) @ [19595, 38470, 7471] + 32768) >> 16).astype(np.uint8)


def blend(base, image, factor):
    base, image, factor = np.float32(base), image.astype(np.float32), np.float32(factor)
    return np.clip(base + factor * (image - base), 0, 255).astype(np.uint8)


def adjust_brightness(image, factor):
    return blend(0, image, factor)


def adjust_contrast(image, factor):
    gray = luma(image) if image.shape[2] == 3 else image
    return blend(int(gray.mean(dtype=np.float64) + 0.5), image, factor)


def adjust_saturation(image, factor):
    return blend(luma(image)[..., None], image, factor) if image.shape[2] == 3 else image


def rgb_to_hsv(image):
    """Pillow's HSV in bytes, with its mixture of precisions."""
    r, g, b = np.moveaxis(image.astype(np.float32), 2, 0)
    high, low = np.maximum(np.maximum(r, g), b), np.minimum(np.minimum(r, g), b)
    spread = np.where(high == low, np.float32(1), high - low)
    rc, gc, bc = ((high - channel) / spread for channel in (r, g, b))
    hue = np.where(
        r == high,
        (bc - gc).astype(np.float64),
        np.where(g == high, 2.0 + rc.astype(np.float64) - bc, 4.0 + gc.astype(np.float64) - rc),
    ).astype(np.float32)
    hue = np.fmod(hue.astype(np.float64) / 6.0 + 1.0, 1.0).astype(np.float32)
    saturation = (high - low) / np.maximum(high, np.float32(1))
    gray = high == low
    h = np.where(gray, 0, (hue * np.float64(255)).astype(np.int64))
    s = np.where(gray, 0, (saturation * np.float64(255)).astype(np.int64))
    return np.stack([h, s, high], 2).astype(np.uint8)


def hsv_to_rgb(image):
    """Whole-numbered: each channel is v (255^2 - s w) / 255^2, rounded, with w the channel's distance from its peak."""
    h, s, v = np.moveaxis(image.astype(np.int64), 2, 0)
    angle = 6 * h
    lacks = [510 - abs(angle - 765), abs(angle - 510) - 255, abs(angle - 1020) - 255]
    rgb = [(2 * v * (65025 - s * np.clip(lack, 0, 255)) + 65025) // 130050 for lack in lacks]
    return np.stack(rgb, 2).astype(np.uint8)


def adjust_hue(image, factor):
    if image.shape[2] == 1:
        return image
    hsv = rgb_to_hsv(image)
    hsv[..., 0] += np.uint8(int(factor * 255) & 255)
    return hsv_to_rgb(hsv)


def grayscale(image):
    return np.repeat(luma(image)[..., None], 3, 2) if image.shape[2] == 3 else image


# ---- blur and normalisation ----


def gaussian_kernel(size, sigma):
    x = np.arange(size) - size // 2
    kernel = np.exp(-0.5 * (x / sigma) ** 2)
    return kernel / kernel.sum()


def gaussian_blur(image, kernel_size, sigma):
    """kernel_size and sigma: pairs (horizontal, vertical)."""
    result = image.astype(np.float64)
    for axis, size, width in ((1, kernel_size[0], sigma[0]), (0, kernel_size[1], sigma[1])):
        pad = [(0, 0)] * 3
        pad[axis] = (size // 2, size // 2)
        padded = np.pad(result, pad, mode="reflect")
        length = image.shape[axis]
        result = sum(
            weight * np.take(padded, range(k, k + length), axis)
            for k, weight in enumerate(gaussian_kernel(size, width))
        )
    return np.rint(result).astype(np.uint8)


def normalize(image, mean, std):
    return (image / 255 - np.asarray(mean)) / np.asarray(std)


# ---- recipes ----


def central_box(height, width, ratio):
    """(top, left, height, width) of the largest box in the centre whose width / height is in `ratio`."""
    h, w = height, width
    if width / height < ratio[0]:
        h = max(round(width / ratio[0]), 1)
    elif width / height > ratio[1]:
        w = max(round(height * ratio[1]), 1)
    return (height - h) // 2, (width - w) // 2, h, w


def simclr_view(image, params, size, kernel_size, mean, std):
    """One view as one record of SimCLR's parameters describes it, float64 (h, w, C)."""
    crop, jitter, blur = params["crop"], params["jitter"], params["blur"]
    view = resized_crop(image, crop["top"], crop["left"], crop["height"], crop["width"], size)
    if params["flip"]["applied"]:
        view = hflip(view)
    if jitter["applied"]:
        steps = [adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue]
        factors = [jitter[name] for name in ("brightness", "contrast", "saturation", "hue")]
        for i in jitter["order"]:
            view = steps[i](view, float(factors[i]))
    if params["grayscale"]["applied"]:
        view = grayscale(view)
    if blur["applied"]:
        view = gaussian_blur(view, (kernel_size,) * 2, (float(blur["sigma"]),) * 2)
    return normalize(view, mean, std)


def smallest_kernel(side):
    """The default kernel size for views whose shorter side is `side`."""
    return min(max(math.floor(0.1 * side) | 1, 3), 2 * side - 1)


# ---- images of more than 8 bits ----


def deep_resize_axis(image, size, axis, interpolation="bilinear"):
    """One pass in float64: nothing is rounded."""
    weight, support = FILTERS[interpolation]
    image = np.moveaxis(image, axis, 0).astype(np.float64)
    scale = len(image) / size
    widening = max(scale, 1.0)
    out = np.empty((size,) + image.shape[1:])
    for i in range(size):
        center = (i + 0.5) * scale
        first = max(int(center - support * widening + 0.5), 0)
        last = min(int(center + support * widening + 0.5), len(image))
        weights = np.array([weight((k - center + 0.5) / widening) for k in range(first, last)])
        out[i] = np.tensordot(weights / weights.sum(), image[first:last], 1)
    return np.moveaxis(out, 0, axis)


def deep_view(image, box, flipped, size, interpolation, mean, std):
    """A crop, a flip and the normalisation of uint16 (0..65535) or float images."""
    top, left, height, width = (int(number) for number in box)
    view = image[top : top + height, left : left + width]
    for axis in (1, 0):
        view = deep_resize_axis(view, size[axis], axis, interpolation)
    view = view[:, ::-1] if flipped else view
    full = 65535 if image.dtype == np.uint16 else 1
    return (view / full - np.asarray(mean)) / np.asarray(std)
