"""The operations of recipes that move pixels, besides the random resized crop and the horizontal flip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from nearfar.arguments import fill_of, integer, interpolation_of, number, padding_of, range_of, size_of, spread_range
from nearfar.recipe_operations import SWITCH, Operation, Range, struct

Fill = int | tuple[int, ...]


def _fill(value, name="fill") -> Fill:
    """A number, or a tuple of two to four."""
    values = fill_of(value, name).tolist()
    if not 1 <= len(values) <= 4:
        raise ValueError(f"{name} must be one number, or one for each of up to four channels, got {value!r}")
    return tuple(values) if isinstance(value, (Sequence, np.ndarray)) else values[0]


def _colors(fill) -> list[float]:
    """How many numbers, and four of them."""
    values = fill if isinstance(fill, tuple) else (fill,)
    return [len(values), *values, *(0,) * (4 - len(values))]


@dataclass(frozen=True)
class VerticalFlip(Operation):
    """A mirror image, top to bottom, with probability `p`. Draws `vertical_flip`: applied."""

    p: float = 0.5

    kind: ClassVar[int] = 15
    field: ClassVar[str] = "vertical_flip"
    draw: ClassVar[Any] = SWITCH

    def __post_init__(self):
        self._set(p=number(self.p, "p"))
        self._check()

    def row(self, size=None):
        return [self.kind, self.p]


@dataclass(frozen=True)
class RandomRotation(Operation):
    """A rotation counter-clockwise about the middle by a random angle, uniform in `degrees`; the size stays.

    A number x stands for degrees in (-x, x). `fill` (0..255, or one number per channel) is the value of places outside
    the image.

    Draws `rotation`: angle.

    References
    ----------
    torchvision, `RandomRotation`.

    Examples
    --------
    >>> RandomRotation(30)
    RandomRotation(degrees=(-30.0, 30.0), interpolation='bilinear', fill=0)
    """

    degrees: Range
    interpolation: str = "bilinear"
    fill: Fill = 0

    kind: ClassVar[int] = 16
    field: ClassVar[str] = "rotation"
    draw: ClassVar[Any] = struct({"angle": ("f8", 0)}, 8)

    def __post_init__(self):
        self._set(degrees=spread_range(self.degrees, "degrees"), fill=_fill(self.fill))
        self._check()

    def row(self, size=None):
        return [self.kind, 1.0, *self.degrees, interpolation_of(self.interpolation), *_colors(self.fill)]


@dataclass(frozen=True)
class RandomAffine(Operation):
    """A random rotation (clockwise), shift, scaling and shear about the middle, as `affine` does it.

    `degrees` and `shear` (degrees): a number x stands for (-x, x); a number or a pair of shear is along x, four numbers
    are two ranges, along x and y. `translate`: the largest shifts as shares of width and height; whole pixels are
    drawn. `scale`: a range.

    Draws `affine`: angle, scale, shear (x, y), translate (x, y).

    References
    ----------
    torchvision, `RandomAffine`.

    Examples
    --------
    >>> RandomAffine(10, translate=(0.1, 0.1)).degrees
    (-10.0, 10.0)
    """

    degrees: Range
    translate: tuple[float, float] = (0.0, 0.0)
    scale: tuple[float, float] = (1.0, 1.0)
    shear: float | tuple[float, ...] = 0.0
    interpolation: str = "bilinear"
    fill: Fill = 0

    kind: ClassVar[int] = 17
    field: ClassVar[str] = "affine"
    draw: ClassVar[Any] = struct(
        {"angle": ("f8", 0), "scale": ("f8", 8), "shear": (("f8", 2), 16), "translate": (("f8", 2), 32)}, 48
    )

    def __post_init__(self):
        if isinstance(self.shear, (tuple, list)) and len(self.shear) == 4:
            shear = range_of(tuple(self.shear[:2]), "shear") + range_of(tuple(self.shear[2:]), "shear")
        else:
            shear = (*spread_range(self.shear, "shear"), 0.0, 0.0)
        self._set(
            degrees=spread_range(self.degrees, "degrees"),
            translate=range_of(self.translate, "translate"),
            scale=range_of(self.scale, "scale"),
            shear=shear,
            fill=_fill(self.fill),
        )
        self._check()

    def row(self, size=None):
        numbers = [*self.degrees, *self.translate, *self.scale, *self.shear]
        return [self.kind, 1.0, *numbers, interpolation_of(self.interpolation), *_colors(self.fill)]


@dataclass(frozen=True)
class RandomPerspective(Operation):
    """A perspective that moves each corner inwards by random numbers of pixels, with probability `p`.

    Up to distortion_scale (0..1) times half the width and height. Images must have at least 2 x 2 pixels.

    Draws `perspective`: endpoints (of top left, top right, bottom right, bottom left; x, y), applied.

    References
    ----------
    torchvision, `RandomPerspective`.
    """

    distortion_scale: float = 0.5
    p: float = 0.5
    interpolation: str = "bilinear"
    fill: Fill = 0

    kind: ClassVar[int] = 18
    field: ClassVar[str] = "perspective"
    draw: ClassVar[Any] = struct({"endpoints": (("i4", (4, 2)), 0), "applied": ("?", 32)}, 40)

    def __post_init__(self):
        scale = number(self.distortion_scale, "distortion_scale")
        self._set(distortion_scale=scale, p=number(self.p, "p"), fill=_fill(self.fill))
        self._check()

    def row(self, size=None):
        numbers = [self.distortion_scale, interpolation_of(self.interpolation)]
        return [self.kind, self.p, *numbers, *_colors(self.fill)]


@dataclass(frozen=True)
class RandomCrop(Operation):
    """A box of `size` (height, width) at a random place of the image, after padding; as in recipes for CIFAR.

    `padding`, `fill` and `padding_mode` as in `pad`. The padded image must be at least as large as `size`.

    Draws `place`: top, left (in the padded image).

    References
    ----------
    torchvision, `RandomCrop`.

    Examples
    --------
    >>> RandomCrop(32, padding=4, padding_mode="reflect").padding
    (4, 4, 4, 4)
    """

    size: int | tuple[int, int]
    padding: int | tuple[int, ...] = 0
    fill: Fill = 0
    padding_mode: str = "constant"

    kind: ClassVar[int] = 19
    field: ClassVar[str] = "place"
    draw: ClassVar[Any] = struct({"top": ("i4", 0), "left": ("i4", 4)}, 8)

    def __post_init__(self):
        padding = padding_of(self.padding, self.padding_mode)[:4]
        self._set(size=size_of(self.size), padding=padding, fill=_fill(self.fill))
        self._check()

    def out_size(self, size):
        return self.size

    def row(self, size=None):
        return [self.kind, 1.0, *self.size, *padding_of(self.padding, self.padding_mode), *_colors(self.fill)]


@dataclass(frozen=True)
class RandomErasing(Operation):
    """A random box of one colour, with probability `p`.

    Its share of the image's area is uniform in `scale`, its height / width log-uniform in `ratio`; ten times a box is
    drawn, and if none is smaller than the image, none is erased. `value`: 0..255, or one number per channel; it is
    normalised as pixels are.

    Draws `erasing`: top, left, height, width, applied.

    References
    ----------
    Zhong et al., "Random erasing data augmentation", AAAI 2020; torchvision, `RandomErasing`.
    """

    p: float = 0.5
    scale: tuple[float, float] = (0.02, 0.33)
    ratio: tuple[float, float] = (0.3, 3.3)
    value: Fill = 0

    kind: ClassVar[int] = 20
    field: ClassVar[str] = "erasing"
    draw: ClassVar[Any] = struct(
        {"top": ("i4", 0), "left": ("i4", 4), "height": ("i4", 8), "width": ("i4", 12), "applied": ("?", 16)}, 24
    )

    def __post_init__(self):
        self._set(
            p=number(self.p, "p"),
            scale=range_of(self.scale, "scale"),
            ratio=range_of(self.ratio, "ratio"),
            value=_fill(self.value, "value"),
        )
        self._check()

    def row(self, size=None):
        return [self.kind, self.p, *self.scale, *self.ratio, *_colors(self.value)]


@dataclass(frozen=True)
class Resize(Operation):
    """All of the image, resized: to `size` (height, width), or an integer, which is the length of the shorter side.

    Draws nothing.

    References
    ----------
    torchvision, `Resize`.
    """

    size: int | tuple[int, int]
    interpolation: str = "bilinear"

    kind: ClassVar[int] = 21
    field: ClassVar[str] = "resize"
    draw: ClassVar[Any] = None

    def __post_init__(self):
        size = self.size
        self._set(size=size_of(size) if isinstance(size, (tuple, list)) else integer(size, "size"))
        self._check()

    def out_size(self, size):
        if isinstance(self.size, tuple):
            return self.size
        if size is None:
            return None
        height, width = size
        if width <= height:
            return self.size * height // width, self.size
        return self.size, self.size * width // height

    def row(self, size=None):
        # a pair with a side of 0 must not pass for an integer
        height, width = (self.size, 0) if isinstance(self.size, int) else (self.size[0], self.size[1] or -1)
        return [self.kind, 1.0, height, width, interpolation_of(self.interpolation)]


@dataclass(frozen=True)
class CenterCrop(Operation):
    """The middle of the image, which must be at least as large as `size` (height, width). Draws nothing.

    References
    ----------
    torchvision, `CenterCrop`, which pads smaller images.
    """

    size: int | tuple[int, int]

    kind: ClassVar[int] = 22
    field: ClassVar[str] = "center_crop"
    draw: ClassVar[Any] = None

    def __post_init__(self):
        self._set(size=size_of(self.size))
        self._check()

    def out_size(self, size):
        return self.size

    def row(self, size=None):
        return [self.kind, 1.0, *self.size, *(0,) * 5, *_colors(0)]
