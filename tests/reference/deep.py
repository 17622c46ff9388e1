"""Operations on images of uint16 and float32, in NumPy: the specification of csrc/transforms/deep*.c.

All in float64, nothing rounded. Images are (H, W, C) of values where `white` is 65535 or 1. Fills and thresholds are in
0..255, as recipes have them for all types. Formulas are those of torchvision's transforms of float tensors.
"""

import numpy as np
from reference import geometry
from reference.photometry import cutout, jigsaw, normals
from reference.transforms import deep_resize_axis, gaussian_kernel

# ---- colour ----


def luma(image):
    return image @ [0.299, 0.587, 0.114]


def blend(base, image, factor, white):
    return np.clip(base + factor * (image - base), 0, white)


def adjust_brightness(image, factor, white):
    return blend(0, image, factor, white)


def adjust_contrast(image, factor, white):
    return blend((luma(image) if image.shape[2] == 3 else image).mean(), image, factor, white)


def adjust_saturation(image, factor, white):
    return blend(luma(image)[..., None], image, factor, white) if image.shape[2] == 3 else image


def adjust_hue(image, factor, white):
    """By way of HSV; what is beyond black and white is clamped in the end."""
    if image.shape[2] != 3:
        return image
    r, g, b = np.moveaxis(image, 2, 0)
    v, low = image.max(2), image.min(2)
    spread = v - low
    safe = np.where(spread == 0, 1, spread)
    h = np.where(v == r, (g - b) / safe, np.where(v == g, 2 + (b - r) / safe, 4 + (r - g) / safe))
    h = (h / 6 + factor) % 1 * 6
    sector = np.floor(h).astype(int) % 6
    part = h - np.floor(h)
    p, q, t = low, v - spread * part, low + spread * part  # v (1 - s), v (1 - s f), v (1 - s (1 - f))
    choices = [np.choose(sector, c) for c in ((v, q, p, p, t, v), (t, v, v, q, p, p), (p, p, t, v, v, q))]
    return np.clip(np.stack(choices, 2), 0, white)


def color_jitter(image, operation, drawn, white):
    """In the drawn order; ranges that change nothing leave their step out."""
    names = ("brightness", "contrast", "saturation", "hue")
    steps = [adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue]
    for i in drawn["order"]:
        neutral = 0 if names[i] == "hue" else 1
        if getattr(operation, names[i]) != (neutral, neutral):
            image = steps[i](image, float(drawn[names[i]]), white)
    return image


def grayscale(image):
    return np.repeat(luma(image)[..., None], 3, 2) if image.shape[2] == 3 else image


def solarize(image, threshold, white):
    return np.where(image >= np.float32(threshold / 255 * white), white - image, image)


def autocontrast(image, white):
    low, high = image.min((0, 1)), image.max((0, 1))
    spread = high - low
    stretched = np.where(spread > 0, (image - low) / np.where(spread > 0, spread, 1) * white, image)
    return np.clip(stretched, 0, white)


def adjust_gamma(image, gamma, gain, white):
    return np.clip(white * gain * (image.clip(0) / white) ** gamma, 0, white)


def gaussian_noise(image, mean, sigma, seed, white, index=0):
    height, width, channels = image.shape
    z = np.stack([normals(height * width, c, seed, index).reshape(height, width) for c in range(channels)], 2)
    return np.clip(image + white * (mean + sigma * z), 0, white)


# ---- neighbours ----


def gaussian_blur(image, kernel_size, sigma):
    """kernel_size and sigma: (horizontal, vertical); one sigma holds for both."""
    sigmas = np.broadcast_to(sigma, 2)
    for axis, size, width in ((1, kernel_size[0], sigmas[0]), (0, kernel_size[1], sigmas[1])):
        pad = [(0, 0)] * 3
        pad[axis] = (size // 2, size // 2)
        padded, length = np.pad(image, pad, mode="reflect"), image.shape[axis]
        kernel = gaussian_kernel(size, width)
        image = sum(weight * np.take(padded, range(k, k + length), axis) for k, weight in enumerate(kernel))
    return image


def adjust_sharpness(image, factor, white):
    rows, columns = image.shape[:2]
    if min(rows, columns) < 3:
        return image
    total = 4 * image[1:-1, 1:-1]
    for dy in range(3):
        for dx in range(3):
            total = total + image[dy : rows - 2 + dy, dx : columns - 2 + dx]
    smooth = image.copy()
    smooth[1:-1, 1:-1] = total / 13
    return blend(smooth, image, factor, white)


# ---- geometry ----


def color(fill, channels, white):
    return np.broadcast_to(np.asarray(fill) / 255 * white, channels)


def resize(image, size, interpolation):
    if interpolation == "nearest":
        return geometry.nearest_resize(image, *size)
    for axis in (1, 0):
        image = deep_resize_axis(image, size[axis], axis, interpolation)
    return image


def resize_to(image, size, interpolation):
    """size: (height, width), or the shorter side."""
    height, width = image.shape[:2]
    if isinstance(size, int):
        size = (size * height // width, size) if width <= height else (size, size * width // height)
    return resize(image, size, interpolation)


def resized_crop(image, box, size, interpolation):
    top, left, height, width = (int(number) for number in box)
    return resize(image[top : top + height, left : left + width], size, interpolation)


def window(image, top, left, size, mode, fill, white):
    rows = geometry.places(top, size[0], image.shape[0], mode)
    columns = geometry.places(left, size[1], image.shape[1], mode)
    outside = (rows < 0)[:, None] | (columns < 0)
    return np.where(outside[..., None], color(fill, image.shape[2], white), image[rows][:, columns])


def warp(image, m, interpolation, fill, white, size=None):
    """As geometry.warp, whose samples are bytes: of an image of places, then of this one."""
    height, width, channels = image.shape
    size = size or (height, width)
    if interpolation == "nearest":
        numbers = np.arange(1, height * width + 1).reshape(height, width)
        place = np.zeros(size, int)
        for shift in (0, 8, 16):
            byte = (numbers >> shift & 255).astype(np.uint8)[..., None]
            place += geometry.warp(byte, m, size, "nearest").astype(int)[..., 0] << shift
        value = image.reshape(-1, channels)[place - 1]
        return np.where((place > 0)[..., None], value, color(fill, channels, white))
    inside, total = geometry.interpolate(image, *geometry.positions(m, *size), interpolation)
    return np.where(inside[..., None], total, color(fill, channels, white))


def rotate(image, angle, interpolation, fill, white, expand=False, center=None):
    height, width = image.shape[:2]
    quarters = angle % 360 / 90
    if center is None and quarters == int(quarters) and (quarters % 2 == 0 or expand or height == width):
        return np.rot90(image, int(quarters))
    m, size = geometry.rotation(angle, width, height, expand, center)
    return warp(image, m, interpolation, fill, white, size)


# ---- one operation of a recipe ----


def _switched(change):
    return lambda image, op, d, white: change(image, op, d, white) if d["applied"] else image


def _affine(image, op, d, white):
    center = image.shape[1] / 2, image.shape[0] / 2
    m = geometry.affine_map(float(d["angle"]), d["translate"], float(d["scale"]), d["shear"], center)
    return warp(image, m, op.interpolation, op.fill, white)


def _perspective(image, op, d, white):
    x, y = image.shape[1] - 1, image.shape[0] - 1
    m = geometry.perspective_map([(0, 0), (x, 0), (x, y), (0, y)], d["endpoints"].tolist())
    return warp(image, m, op.interpolation, op.fill, white)


def _random_crop(image, op, d, white):
    left, top = op.padding[:2]
    return window(image, d["top"] - top, d["left"] - left, op.size, op.padding_mode, op.fill, white)


def _erase(image, op, d, white):
    return geometry.erase(image, d["top"], d["left"], d["height"], d["width"], color(op.value, image.shape[2], white))


CHANGES = {  # (image, operation, its draw, white) -> image, by the operations' names
    "RandomResizedCrop": lambda x, op, d, white: resized_crop(x, d, op.size, op.interpolation),
    "Resize": lambda x, op, d, white: resize_to(x, op.size, op.interpolation),
    "RandomCrop": _random_crop,
    "CenterCrop": lambda x, op, d, white: geometry.center_crop(x, *op.size),
    "HorizontalFlip": _switched(lambda x, op, d, white: x[:, ::-1]),
    "VerticalFlip": _switched(lambda x, op, d, white: x[::-1]),
    "RandomRotation": lambda x, op, d, white: rotate(x, float(d["angle"]), op.interpolation, op.fill, white),
    "RandomAffine": _affine,
    "RandomPerspective": _switched(_perspective),
    "RandomErasing": _switched(_erase),
    "Cutout": _switched(lambda x, op, d, white: cutout(x, d["y"], d["x"], op.size, op.fill / 255 * white)),
    "Jigsaw": _switched(lambda x, op, d, white: jigsaw(x, d["order"][: op.grid**2], op.grid)),
    "ColorJitter": _switched(lambda x, op, d, white: color_jitter(x, op, d, white)),
    "Grayscale": _switched(lambda x, op, d, white: grayscale(x)),
    "Solarize": _switched(lambda x, op, d, white: solarize(x, op.threshold, white)),
    "Invert": _switched(lambda x, op, d, white: white - x),
    "Autocontrast": _switched(lambda x, op, d, white: autocontrast(x, white)),
    "GaussianNoise": _switched(
        lambda x, op, d, white: gaussian_noise(x, op.mean, float(d["sigma"]), int(d["seed"]), white)
    ),
    "GaussianBlur": _switched(lambda x, op, d, white: gaussian_blur(x, op.kernel_size, float(d["sigma"]))),
    "Sharpness": _switched(lambda x, op, d, white: adjust_sharpness(x, float(d["factor"]), white)),
}


def changed(image, operation, drawn):
    """An image by one operation of a recipe and its draw, in float64 and units of `white`."""
    white = 65535.0 if image.dtype == np.uint16 else 1.0
    return CHANGES[type(operation).__name__](image.astype(np.float64), operation, drawn, white) / white
