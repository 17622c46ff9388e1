"""The peers' recipes for the views of SimCLR, one image a call, and workers that run one in several processes.

`Pillow` does what torchvision's transforms do to a Pillow image, in the same order and with the same distributions,
without its dispatch; the blur is Pillow's own (as in lightly), which is faster than torchvision's. `Albumentations` is
the recipe as its documentation gives it; its resize (OpenCV's) does not average when it shrinks.
"""

from __future__ import annotations

import math
import multiprocessing
import random
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory

import numpy as np


@dataclass(frozen=True)
class Recipe:
    """Settings of a SimCLR recipe, as in `nearfar.transforms.SimCLR`."""

    size: int
    scale: tuple[float, float] = (0.08, 1.0)
    flip: float = 0.5
    jitter: float = 0.8
    strength: float = 1.0
    grayscale: float = 0.2
    blur: float = 0.5
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    @property
    def ranges(self) -> tuple[float, float, float, float]:
        """Of brightness, contrast, saturation, hue."""
        return 0.8 * self.strength, 0.8 * self.strength, 0.8 * self.strength, 0.2 * self.strength

    @property
    def kernel_size(self) -> int:
        return max(self.size // 10, 1) | 1


def pillow(recipe: Recipe) -> Callable[[np.ndarray], np.ndarray]:
    """Call that takes uint8 (H, W, C) to float32 (size, size, C)."""
    from PIL import Image, ImageEnhance, ImageFilter

    uniform, size = random.uniform, recipe.size
    mean, std = (np.asarray(values, np.float32) for values in (recipe.mean, recipe.std))
    gain, shift = 1 / (255 * std), -mean / std

    def crop(width, height):
        for _ in range(10):
            area = width * height * uniform(*recipe.scale)
            ratio = math.exp(uniform(math.log(3 / 4), math.log(4 / 3)))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                return random.randint(0, width - w), random.randint(0, height - h), w, h
        side = min(width, height)
        return (width - side) // 2, (height - side) // 2, side, side

    def shift_hue(image, factor):
        hue, saturation, value = image.convert("HSV").split()
        hue = Image.fromarray(np.asarray(hue) + np.uint8(int(factor * 255) % 256))
        return Image.merge("HSV", (hue, saturation, value)).convert("RGB")

    def jitter(image):
        brightness, contrast, saturation, hue = recipe.ranges
        operations = [(ImageEnhance.Brightness, brightness), (ImageEnhance.Contrast, contrast)]
        if image.mode == "RGB":
            operations += [(ImageEnhance.Color, saturation), (None, hue)]
        random.shuffle(operations)
        for enhance, spread in operations:
            if enhance is None:
                image = shift_hue(image, uniform(-spread, spread))
            else:
                image = enhance(image).enhance(uniform(max(0, 1 - spread), 1 + spread))
        return image

    def view(pixels):
        image = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0])
        left, top, width, height = crop(*image.size)
        image = image.crop((left, top, left + width, top + height)).resize((size, size), Image.Resampling.BILINEAR)
        if random.random() < recipe.flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if random.random() < recipe.jitter:
            image = jitter(image)
        if random.random() < recipe.grayscale:
            image = image.convert("L").convert(image.mode)
        if random.random() < recipe.blur:
            image = image.filter(ImageFilter.GaussianBlur(uniform(0.1, 2)))
        return np.asarray(image).reshape(size, size, -1) * gain + shift

    return view


def albumentations(recipe: Recipe) -> Callable[[np.ndarray], np.ndarray]:
    """Call that takes uint8 (H, W, C) to float32 (size, size, C)."""
    import albumentations as A
    import cv2

    cv2.setNumThreads(1)  # its own threads only slow images of this size
    *spreads, hue = recipe.ranges
    brightness, contrast, saturation = ((max(0, 1 - spread), 1 + spread) for spread in spreads)
    if len(recipe.mean) == 1:  # a grey image has neither saturation nor hue
        around_zero = [(low - 1, high - 1) for low, high in (brightness, contrast)]
        color = A.RandomBrightnessContrast(*around_zero, p=recipe.jitter)
    else:
        color = A.ColorJitter(brightness, contrast, saturation, (-hue, hue), p=recipe.jitter)
    steps = [
        A.RandomResizedCrop((recipe.size, recipe.size), recipe.scale, (3 / 4, 4 / 3)),
        A.HorizontalFlip(p=recipe.flip),
        color,
    ]
    if recipe.grayscale:
        steps.append(A.ToGray(p=recipe.grayscale))
    if recipe.blur:
        steps.append(A.GaussianBlur((recipe.kernel_size, recipe.kernel_size), (0.1, 2.0), p=recipe.blur))
    compose = A.Compose([*steps, A.Normalize(recipe.mean, recipe.std)])
    return lambda pixels: compose(image=pixels)["image"]


PEERS = {"Pillow": ("PIL", pillow), "albumentations": ("albumentations", albumentations)}


def all_views(make: Callable, recipe: Recipe, images: np.ndarray, views: int = 2) -> Callable[[], np.ndarray]:
    """Call that makes (V, N, size, size, C) of all images, in this process and thread."""
    view, out = make(recipe), _empty(recipe, images, views)

    def run():
        for one in out:
            for i, image in enumerate(images):
                one[i] = view(image)
        return out

    return run


def _empty(recipe, images, views, buffer=None):
    shape = (views, len(images), recipe.size, recipe.size, images.shape[3])
    return np.empty(shape, np.float32) if buffer is None else np.ndarray(shape, np.float32, buffer)


class Workers:
    """`all_views` by several processes, which share the memory of the views: nothing is copied or pickled."""

    def __init__(self, count: int, make: Callable, recipe: Recipe, images: np.ndarray, views: int = 2):
        shape = (views, len(images), recipe.size, recipe.size, images.shape[3])
        self._memory = SharedMemory(create=True, size=4 * math.prod(shape))
        chunks = [(v, i, min(i + 8, len(images))) for v in range(views) for i in range(0, len(images), 8)]
        context = multiprocessing.get_context("spawn")
        self._pool = context.Pool(count, _start_worker, (make, recipe, images, views, self._memory.name))
        self._chunks = chunks

    def run(self) -> None:
        for _ in self._pool.imap_unordered(_work, self._chunks):
            pass

    def close(self) -> None:
        self._pool.terminate()
        self._pool.join()
        self._memory.close()
        self._memory.unlink()


_worker: dict = {}


def _start_worker(make, recipe, images, views, name):
    memory = SharedMemory(name=name)
    _worker.update(memory=memory, view=make(recipe), images=images, out=_empty(recipe, images, views, memory.buf))


def _work(chunk):
    v, start, stop = chunk
    for i in range(start, stop):
        _worker["out"][v, i] = _worker["view"](_worker["images"][i])
