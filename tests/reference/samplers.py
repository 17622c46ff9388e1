"""How torchvision draws the parameters of its random transforms, with NumPy's generator in place of torch's."""

import math

import numpy as np


def random_resized_crop(rng, height, width, scale, ratio):
    """RandomResizedCrop.get_params: (top, left, height, width)."""
    area = height * width
    log_ratio = np.log(ratio)
    for _ in range(10):
        target_area = area * rng.uniform(*scale)
        aspect_ratio = math.exp(rng.uniform(*log_ratio))
        w = round(math.sqrt(target_area * aspect_ratio))
        h = round(math.sqrt(target_area / aspect_ratio))
        if 0 < w <= width and 0 < h <= height:
            return rng.integers(0, height - h + 1), rng.integers(0, width - w + 1), h, w
    in_ratio = width / height
    if in_ratio < min(ratio):
        w, h = width, round(width / min(ratio))
    elif in_ratio > max(ratio):
        h, w = height, round(height * max(ratio))
    else:
        w, h = width, height
    return (height - h) // 2, (width - w) // 2, h, w


def color_jitter(rng, brightness, contrast, saturation, hue, p):
    """RandomApply([ColorJitter(...)], p): (order, factors), or None if it is not applied."""
    if rng.random() >= p:
        return None
    factors = [rng.uniform(max(0, 1 - x), 1 + x) for x in (brightness, contrast, saturation)]
    return rng.permutation(4), [*factors, rng.uniform(-hue, hue)]


def gaussian_blur(rng, sigma):
    """GaussianBlur.get_params."""
    return rng.uniform(*sigma)
