"""Photometric operations in NumPy: the specification of those files of csrc/transforms.

Images are uint8 (H, W, C). Where Pillow rounds to bytes or drops fractions, so does this.
"""

import math

import numpy as np
from reference.random import philox
from reference.transforms import blend

# ---- each value by itself ----


def adjust_gamma(image, gamma, gain=1.0):
    levels = 255.999 * gain * (np.arange(256) / 255) ** gamma
    return np.minimum(levels, 255).astype(np.uint8)[image]


def solarize(image, threshold):
    return np.where(image >= threshold, 255 - image, image)


def posterize(image, bits):
    return image >> (8 - bits) << (8 - bits) if bits else np.zeros_like(image)


def invert(image):
    return 255 - image


# ---- a table for each channel ----


def by_channel(function):
    def all_channels(image, *arguments):
        return np.stack([function(image[..., c], *arguments) for c in range(image.shape[2])], 2)

    return all_channels


@by_channel
def autocontrast(plane):
    low, high = int(plane.min()), int(plane.max())
    if low == high:
        return plane
    scale = 255.0 / (high - low)
    return np.clip(np.arange(256) * scale - low * scale, 0, 255).astype(np.uint8)[plane]


@by_channel
def equalize(plane):
    counts = np.bincount(plane.ravel(), minlength=256)
    step = (plane.size - counts[plane.max()]) // 255
    if step == 0:
        return plane
    below = np.cumsum(counts) - counts
    return np.minimum((step // 2 + below) // step, 255).astype(np.uint8)[plane]


# ---- neighbours ----


@by_channel
def adjust_sharpness(plane, factor):
    x = plane.astype(np.int64)
    if min(x.shape) < 3:
        return plane
    rows, columns = x.shape
    total = 4 * x[1:-1, 1:-1]
    for dy in range(3):
        for dx in range(3):
            total = total + x[dy : rows - 2 + dy, dx : columns - 2 + dx]
    smooth = x.copy()
    smooth[1:-1, 1:-1] = np.floor(total / 13 + 0.5)
    return blend(smooth, plane, factor)


def box_columns(plane, radius):
    """One pass down the columns: weights of 24 bits."""
    radius = np.float32(radius)
    whole = int(radius)
    weight = int(np.float32(2**24) / (radius * 2 + 1))
    edge_weight = (2**24 - (2 * whole + 1) * weight) // 2
    rows = np.arange(len(plane))
    x = plane.astype(np.int64)

    def row(distance):
        return x[np.clip(rows + distance, 0, len(x) - 1)]

    total = weight * sum(row(d) for d in range(-whole, whole + 1)) + edge_weight * (row(-whole - 1) + row(whole + 1))
    return (total + 2**23 >> 24).astype(np.uint8)


def box_blur(image, radius, passes=1):
    """radius: (horizontal, vertical)"""
    image = image.swapaxes(0, 1)
    for _ in range(passes):
        image = box_columns(image, radius[0]) if radius[0] > 0 else image
    image = image.swapaxes(0, 1)
    for _ in range(passes):
        image = box_columns(image, radius[1]) if radius[1] > 0 else image
    return image


def box_radius(radius, passes=3):
    variance = radius**2 / passes
    whole = math.floor((math.sqrt(12 * variance + 1) - 1) / 2)
    return whole + (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1) ** 2))


def pillow_gaussian_blur(image, radius):
    return box_blur(image, [box_radius(r) for r in radius], passes=3)


# ---- noise ----


def normals(count, channel, seed, index):
    """The standard normal numbers of one channel, float64."""
    i = np.arange(count)
    counter = (16 * (i // 64) + i % 16, channel, index & 0xFFFFFFFF, index >> 32)
    words = np.stack(philox(counter, (seed & 0xFFFFFFFF, seed >> 32))).astype(np.int64)
    word = i // 16 % 4
    a, b = words[word - word % 2, i], words[word - word % 2 + 1, i]
    radius = np.sqrt(-2 * np.log(((a >> 8) + 1) * 2.0**-24))
    angle = np.pi / 2 * ((b >> 8) * 2.0**-24 - 0.5 + b % 4)
    return radius * np.where(word % 2 == 0, np.cos(angle), np.sin(angle))


def gaussian_noise(image, mean, sigma, seed, index=0):
    height, width, channels = image.shape
    z = np.stack([normals(height * width, c, seed, index).reshape(height, width) for c in range(channels)], 2)
    return np.clip(np.floor(image + 255 * (mean + sigma * z) + 0.5), 0, 255).astype(np.uint8)


# ---- boxes and tiles ----


def cutout(image, y, x, size, fill=0):
    image = image.copy()
    top, left = y - size[0] // 2, x - size[1] // 2
    image[max(top, 0) : top + size[0], max(left, 0) : left + size[1]] = fill
    return image


def jigsaw(image, order, grid):
    tiles = [tile for row in np.split(image, grid) for tile in np.split(row, grid, 1)]
    moved = [tiles[k] for k in order]
    return np.concatenate([np.concatenate(moved[k : k + grid], 1) for k in range(0, grid * grid, grid)])
