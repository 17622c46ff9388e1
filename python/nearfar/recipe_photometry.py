"""The operations of recipes that change values, besides those of SimCLR and BYOL; and tiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from nearfar.arguments import integer, number, pair_of, size_of
from nearfar.recipe_operations import SWITCH, Operation, Range, struct


@dataclass(frozen=True)
class Posterize(Operation):
    """Only the upper `bits` bits (0..8) of values kept, with probability `p`. Draws `posterize`: applied.

    Of uint8 images only. Source: torchvision, `RandomPosterize`.
    """

    bits: int = 4
    p: float = 0.5

    kind: ClassVar[int] = 6
    field: ClassVar[str] = "posterize"
    draw: ClassVar[Any] = SWITCH

    def __post_init__(self):
        self._set(bits=integer(self.bits, "bits"), p=number(self.p, "p"))
        self._check()

    def row(self, size=None):
        return [self.kind, self.p, self.bits]


@dataclass(frozen=True)
class Invert(Operation):
    """The negative with probability `p`. Draws `invert`: applied. Source: torchvision, `RandomInvert`."""

    p: float = 0.5

    kind: ClassVar[int] = 7
    field: ClassVar[str] = "invert"
    draw: ClassVar[Any] = SWITCH

    def __post_init__(self):
        self._set(p=number(self.p, "p"))
        self._check()

    def row(self, size=None):
        return [self.kind, self.p]


@dataclass(frozen=True)
class Autocontrast(Operation):
    """Each channel stretched to 0..255, as by `autocontrast`, with probability `p`. Draws `autocontrast`: applied.

    Source: torchvision, `RandomAutocontrast`.
    """

    p: float = 0.5

    kind: ClassVar[int] = 8
    field: ClassVar[str] = "autocontrast"
    draw: ClassVar[Any] = SWITCH

    def __post_init__(self):
        self._set(p=number(self.p, "p"))
        self._check()

    def row(self, size=None):
        return [self.kind, self.p]


@dataclass(frozen=True)
class Equalize(Operation):
    """Each channel's histogram flattened, as by `equalize`, with probability `p`. Draws `equalize`: applied.

    Of uint8 images only. Source: torchvision, `RandomEqualize`.
    """

    p: float = 0.5

    kind: ClassVar[int] = 9
    field: ClassVar[str] = "equalize"
    draw: ClassVar[Any] = SWITCH

    def __post_init__(self):
        self._set(p=number(self.p, "p"))
        self._check()

    def row(self, size=None):
        return [self.kind, self.p]


@dataclass(frozen=True)
class Sharpness(Operation):
    """Sharpness changed by a random factor, as by `adjust_sharpness`, with probability `p`.

    `factor`: a range (uniform), or a number, which is always taken; 1 changes nothing. Source: torchvision,
    `RandomAdjustSharpness`.

    Draws `sharpness`: factor, applied.

    Examples
    --------
    >>> Sharpness(2.0)
    Sharpness(factor=(2.0, 2.0), p=0.5)
    """

    factor: Range = 2.0
    p: float = 0.5

    kind: ClassVar[int] = 10
    field: ClassVar[str] = "sharpness"
    draw: ClassVar[Any] = struct({"factor": ("f8", 0), "applied": ("?", 8)}, 16)

    def __post_init__(self):
        self._set(factor=pair_of(self.factor, "factor"), p=number(self.p, "p"))
        self._check()

    def row(self, size=None):
        return [self.kind, self.p, *self.factor]


@dataclass(frozen=True)
class PillowGaussianBlur(Operation):
    """Pillow's Gaussian blur of random `radius` (standard deviation in pixels, uniform), with probability `p`.

    What the recipes of MoCo v2, SwAV and DINO use in their authors' code, in place of torchvision's `GaussianBlur`. Of
    uint8 images only.

    Draws `pillow_blur`: radius, applied.
    """

    radius: Range = (0.1, 2.0)
    p: float = 0.5

    kind: ClassVar[int] = 11
    field: ClassVar[str] = "pillow_blur"
    draw: ClassVar[Any] = struct({"radius": ("f8", 0), "applied": ("?", 8)}, 16)

    def __post_init__(self):
        self._set(radius=pair_of(self.radius, "radius"), p=number(self.p, "p"))
        self._check()

    def row(self, size=None):
        return [self.kind, self.p, *self.radius]


@dataclass(frozen=True)
class GaussianNoise(Operation):
    """Normally distributed noise, as by `gaussian_noise` with index 0, with probability `p`.

    `sigma`: a range (uniform), or a number, which is always taken; `mean` and `sigma` are in units of the full range.
    Source: torchvision, `GaussianNoise`.

    Draws `noise`: sigma, seed, applied.

    Examples
    --------
    >>> GaussianNoise((0.0, 0.1))
    GaussianNoise(sigma=(0.0, 0.1), mean=0.0, p=0.5)
    """

    sigma: Range = 0.1
    mean: float = 0.0
    p: float = 0.5

    kind: ClassVar[int] = 12
    field: ClassVar[str] = "noise"
    draw: ClassVar[Any] = struct({"sigma": ("f8", 0), "seed": ("u8", 8), "applied": ("?", 16)}, 24)

    def __post_init__(self):
        self._set(sigma=pair_of(self.sigma, "sigma"), mean=number(self.mean, "mean"), p=number(self.p, "p"))
        self._check()

    def row(self, size=None):
        return [self.kind, self.p, self.mean, *self.sigma]


@dataclass(frozen=True)
class Cutout(Operation):
    """A box of `size` (int or (height, width), pixels) around a random pixel filled, with probability `p`.

    The box may reach beyond the image. `fill`: 0..255, for all channels.

    Draws `cutout`: y, x, applied.
    """

    size: int | tuple[int, int] = 16
    fill: int = 0
    p: float = 0.5

    kind: ClassVar[int] = 13
    field: ClassVar[str] = "cutout"
    draw: ClassVar[Any] = struct({"y": ("i4", 0), "x": ("i4", 4), "applied": ("?", 8)}, 16)

    def __post_init__(self):
        self._set(size=size_of(self.size), fill=integer(self.fill, "fill"), p=number(self.p, "p"))
        self._check()

    def row(self, size=None):
        return [self.kind, self.p, *self.size, self.fill]


@dataclass(frozen=True)
class Jigsaw(Operation):
    """The image cut into `grid` x `grid` tiles that change places at random, with probability `p`.

    `grid`: 1..8, a divisor of height and width.

    Draws `jigsaw`: order (as in `jigsaw`; the first grid^2 of 64), applied.
    """

    grid: int = 3
    p: float = 1.0

    kind: ClassVar[int] = 14
    field: ClassVar[str] = "jigsaw"
    draw: ClassVar[Any] = struct({"order": (("u1", 64), 0), "applied": ("?", 64)}, 72)

    def __post_init__(self):
        self._set(grid=integer(self.grid, "grid"), p=number(self.p, "p"))
        self._check()

    def row(self, size=None):
        return [self.kind, self.p, self.grid]
