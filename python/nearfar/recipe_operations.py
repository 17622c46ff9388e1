"""The operations that recipes are made of: frozen descriptions of random transforms, without behaviour of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from nearfar import _core
from nearfar.arguments import (
    Frozen,
    factor_range,
    interpolation_of,
    number,
    per_channel,
    range_of,
    size_of,
    spread_range,
)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Range = float | tuple[float, float]

ROW = 20  # numbers that describe an operation to the core: kind, probability, then its own


class Operation(Frozen):
    """An operation of a recipe: its number in the core, its field in the drawn parameters, and how it is described."""

    kind: ClassVar[int]
    field: ClassVar[str]
    draw: ClassVar[Any]  # dtype of the draw, laid out as the core's struct; None: it draws nothing

    def row(self, size=None) -> list[float]:
        """The numbers that describe it; `size`: what the recipe makes."""
        raise NotImplementedError

    def out_size(self, size):
        """(height, width) of what it makes of an image of `size`, which is None if not known; None if that matters."""
        return size

    def _check(self):
        _core.check_transforms(rows_of([self], (16384, 16384)))


def rows_of(operations, size) -> np.ndarray:
    rows = np.zeros((len(operations), ROW))
    for row, operation in zip(rows, operations, strict=True):
        numbers = operation.row(size)
        row[: len(numbers)] = numbers
    return rows


def struct(layout, itemsize):
    """A structured dtype from {name: (format, offset)}, in the order of offsets so that NumPy can save it."""
    names = list(layout)
    formats, offsets = zip(*layout.values(), strict=True)
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": itemsize})


SWITCH = struct({"applied": ("?", 0)}, 8)


@dataclass(frozen=True)
class RandomResizedCrop(Operation):
    """A random box of the image, resized to `size`.

    Up to ten times, an area is drawn uniformly from `scale` (shares of the image's area) and a ratio width / height
    log-uniformly from `ratio`; the first box that fits is placed uniformly. If none fits: the largest box of an allowed
    ratio in the centre.

    Draws `crop`: top, left, height, width.

    Examples
    --------
    >>> RandomResizedCrop(32)
    RandomResizedCrop(size=(32, 32), scale=(0.08, 1.0), ratio=(0.75, 1.3333333333333333), interpolation='bilinear')
    """

    size: int | tuple[int, int]
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: str = "bilinear"

    kind: ClassVar[int] = 0
    field: ClassVar[str] = "crop"
    draw: ClassVar[Any] = struct({"top": ("i4", 0), "left": ("i4", 4), "height": ("i4", 8), "width": ("i4", 12)}, 16)

    def __post_init__(self):
        scale, ratio = range_of(self.scale, "scale"), range_of(self.ratio, "ratio")
        self._set(size=size_of(self.size), scale=scale, ratio=ratio)
        self._check()

    def out_size(self, size):
        return self.size

    def row(self, size=None):
        return [self.kind, 1.0, *self.size, *self.scale, *self.ratio, interpolation_of(self.interpolation)]


@dataclass(frozen=True)
class HorizontalFlip(Operation):
    """A mirror image with probability `p`. Draws `flip`: applied."""

    p: float = 0.5

    kind: ClassVar[int] = 1
    field: ClassVar[str] = "flip"
    draw: ClassVar[Any] = SWITCH

    def __post_init__(self):
        self._set(p=number(self.p, "p"))
        self._check()

    def row(self, size=None):
        return [self.kind, self.p]


@dataclass(frozen=True)
class ColorJitter(Operation):
    """Brightness, contrast, saturation and hue changed by random factors in random order, with probability `p`.

    A number x stands for factors in (max(0, 1 - x), 1 + x), for `hue` for shifts in (-x, x) turns, 0 <= x <= 0.5; a
    pair is the range itself. Saturation and hue leave images of one channel as they are, and need three otherwise.

    Draws `jitter`: brightness, contrast, saturation, hue, applied, order (of 0 brightness, 1 contrast, 2 saturation,
    3 hue).

    Examples
    --------
    >>> ColorJitter(brightness=0.4, contrast=0.4, p=0.8)
    ColorJitter(brightness=(0.6, 1.4), contrast=(0.6, 1.4), saturation=(1.0, 1.0), hue=(0.0, 0.0), p=0.8)
    """

    brightness: Range = 0.0
    contrast: Range = 0.0
    saturation: Range = 0.0
    hue: Range = 0.0
    p: float = 1.0

    kind: ClassVar[int] = 2
    field: ClassVar[str] = "jitter"
    draw: ClassVar[Any] = struct(
        {
            "brightness": ("f8", 0),
            "contrast": ("f8", 8),
            "saturation": ("f8", 16),
            "hue": ("f8", 24),
            "applied": ("?", 32),
            "order": (("u1", 4), 33),
        },
        40,
    )

    def __post_init__(self):
        factors = {name: factor_range(getattr(self, name), name) for name in ("brightness", "contrast", "saturation")}
        self._set(**factors, hue=spread_range(self.hue, "hue"), p=number(self.p, "p"))
        self._check()

    def row(self, size=None):
        return [self.kind, self.p, *self.brightness, *self.contrast, *self.saturation, *self.hue]


@dataclass(frozen=True)
class Grayscale(Operation):
    """Greyscale (all channels become the luma) with probability `p`. Draws `grayscale`: applied.

    Leaves images of one channel as they are, and needs three otherwise.
    """

    p: float = 0.2

    kind: ClassVar[int] = 3
    field: ClassVar[str] = "grayscale"
    draw: ClassVar[Any] = SWITCH

    def __post_init__(self):
        self._set(p=number(self.p, "p"))
        self._check()

    def row(self, size=None):
        return [self.kind, self.p]


@dataclass(frozen=True)
class GaussianBlur(Operation):
    """Gaussian blur of random `sigma` (pixels, uniform) with probability `p`. Draws `blur`: sigma, applied.

    `kernel_size`: odd, or a pair (horizontal, vertical). By default about a tenth of the shorter side of the views,
    made odd and at least 3: 23 for views of 224 pixels.
    """

    sigma: tuple[float, float] = (0.1, 2.0)
    kernel_size: int | tuple[int, int] | None = None
    p: float = 0.5

    kind: ClassVar[int] = 4
    field: ClassVar[str] = "blur"
    draw: ClassVar[Any] = struct({"sigma": ("f8", 0), "applied": ("?", 8)}, 16)

    def __post_init__(self):
        self._set(sigma=range_of(self.sigma, "sigma"), p=number(self.p, "p"))
        if self.kernel_size is not None:
            self._set(kernel_size=size_of(self.kernel_size, "kernel_size"))
        self._check()

    def row(self, size=None):
        if self.kernel_size is None:
            side = min(size)
            kernel_x = kernel_y = min(max(int(0.1 * side) | 1, 3), 2 * side - 1)
        else:
            kernel_x, kernel_y = self.kernel_size
        return [self.kind, self.p, kernel_y, kernel_x, *self.sigma]


@dataclass(frozen=True)
class Solarize(Operation):
    """Values from `threshold` (0..256) on inverted, with probability `p`. Draws `solarize`: applied.

    The second view of BYOL and MoCo v3 has it with p=0.2. Source: torchvision, `RandomSolarize`.

    Examples
    --------
    >>> Solarize(p=0.2)
    Solarize(threshold=128.0, p=0.2)
    """

    threshold: float = 128.0
    p: float = 0.5

    kind: ClassVar[int] = 5
    field: ClassVar[str] = "solarize"
    draw: ClassVar[Any] = SWITCH

    def __post_init__(self):
        self._set(threshold=number(self.threshold, "threshold"), p=number(self.p, "p"))
        self._check()

    def row(self, size=None):
        return [self.kind, self.p, self.threshold]


@dataclass(frozen=True)
class Normalize(Frozen):
    """(x / 255 - mean) / std: the last step of a recipe. 65535 takes 255's place for uint16 images, 1 for float32.

    Numbers, or one number per channel. By default the means and standard deviations of ImageNet for three channels, and
    0.5 and 0.5 (values in -1..1) for other numbers of channels.
    """

    mean: float | tuple[float, ...] | None = None
    std: float | tuple[float, ...] | None = None

    def __post_init__(self):
        for name in ("mean", "std"):
            value = getattr(self, name)
            if value is None:
                continue
            values = np.asarray(value, np.float64)
            if values.ndim > 1 or values.size == 0 or not np.isfinite(values).all():
                raise ValueError(f"{name} must be a finite number or one per channel, got {value!r}")
            if name == "std" and not (values >= 1e-6).all():
                raise ValueError(f"std must be >= 1e-6, got {value!r}")
            self._set(**{name: tuple(values.tolist()) if values.ndim else float(values)})

    def weights(self, channels: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each channel."""
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if channels == 3 else (0.5, 0.5)
        return per_channel(self.mean, "mean", channels, mean), per_channel(self.std, "std", channels, std)
