"""Recipes of published methods: frozen dataclasses, changed by their arguments or by `dataclasses.replace`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from nearfar.arguments import integer, number
from nearfar.recipe_operations import (
    ColorJitter,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    Normalize,
    Operation,
    RandomResizedCrop,
    Range,
    Solarize,
)
from nearfar.recipe_parts import MAX_VIEWS, Part
from nearfar.recipe_photometry import Jigsaw
from nearfar.recipes import Runs


@dataclass(frozen=True)
class _Preset(Runs):
    """The arguments that all presets have, as `SimCLR` describes them."""

    size: int | tuple[int, int]
    scale: tuple[float, float] = field(default=(0.08, 1.0), kw_only=True)
    ratio: tuple[float, float] = field(default=(3 / 4, 4 / 3), kw_only=True)
    interpolation: str = field(default="bilinear", kw_only=True)
    flip: float = field(default=0.5, kw_only=True)
    jitter: float = field(default=0.8, kw_only=True)
    strength: float = field(default=1.0, kw_only=True)
    brightness: Range | None = field(default=None, kw_only=True)
    contrast: Range | None = field(default=None, kw_only=True)
    saturation: Range | None = field(default=None, kw_only=True)
    hue: Range | None = field(default=None, kw_only=True)
    grayscale: float = field(default=0.2, kw_only=True)
    mean: float | tuple[float, ...] | None = field(default=None, kw_only=True)
    std: float | tuple[float, ...] | None = field(default=None, kw_only=True)

    _factors: ClassVar[tuple[float, float, float, float]] = (0.8, 0.8, 0.8, 0.2)  # at strength 1

    def _jitter(self) -> ColorJitter:
        strength = number(self.strength, "strength")
        if not 0 <= strength < math.inf:
            raise ValueError(f"strength must be finite and >= 0, got {strength:g}")
        self._set(strength=strength)
        names = ("brightness", "contrast", "saturation", "hue")
        for name in names:
            if isinstance(getattr(self, name), list):
                self._set(**{name: tuple(getattr(self, name))})
        given = [getattr(self, name) for name in names]
        scaled = [factor * strength for factor in self._factors]
        scaled[3] = min(scaled[3], 0.5)
        return ColorJitter(*(s if g is None else g for s, g in zip(scaled, given, strict=True)), self.jitter)

    def _start(self) -> tuple[RandomResizedCrop, HorizontalFlip, ColorJitter, Grayscale, Normalize]:
        """What all views have, after the arguments have been checked and brought into one form."""
        crop = RandomResizedCrop(self.size, self.scale, self.ratio, self.interpolation)
        flip, jitter, grayscale = HorizontalFlip(self.flip), self._jitter(), Grayscale(self.grayscale)
        normal = Normalize(self.mean, self.std)
        self._set(size=crop.size, scale=crop.scale, ratio=crop.ratio, flip=flip.p, jitter=jitter.p)
        self._set(grayscale=grayscale.p, mean=normal.mean, std=normal.std)
        return crop, flip, jitter, grayscale, normal


@dataclass(frozen=True)
class _Symmetric(_Preset):
    """A preset all of whose views are made alike."""

    blur: float = field(default=0.5, kw_only=True)
    views: int = field(default=2, kw_only=True)

    operations: Sequence = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        crop, flip, jitter, grayscale, normal = self._start()
        blur = GaussianBlur(p=self.blur)
        self._set(blur=blur.p, views=integer(self.views, "views", 1, MAX_VIEWS + 1))
        self._set(operations=(crop, flip, *self._colors(jitter, grayscale, blur), normal))
        self._set(_parts=(Part(self.operations, self.views),))

    def _colors(self, jitter, grayscale, blur) -> tuple[Operation, ...]:
        return jitter, grayscale, blur


@dataclass(frozen=True)
class SimCLR(_Symmetric):
    """SimCLR's recipe: crop, flip, colour jitter, greyscale, blur, normalise.

    Parameters
    ----------
    size : int or (int, int)
        Height and width of the views.
    scale, ratio : (float, float)
        Of the random crop: share of the image's area, and width / height.
    interpolation : {"bilinear", "bicubic"}
        Of the crop.
    flip, jitter, grayscale, blur : float
        Probabilities. A blur of small images (CIFAR) is usually left out: blur=0.
    strength : float
        Scales the ranges of brightness, contrast, saturation and hue (0.8, 0.8, 0.8, 0.2).
    brightness, contrast, saturation, hue : float or (float, float), optional
        Ranges as in ColorJitter, in place of the scaled ones; e.g. brightness=0.4, contrast=0.4 for grey images.
    mean, std : float or tuple of float, optional
        As in Normalize.
    views : int
        Number of views, 1..4096.

    References
    ----------
    Chen et al., "A simple framework for contrastive learning of visual representations", 2020, appendix A.

    Examples
    --------
    >>> import numpy as np
    >>> augment = SimCLR(size=32, blur=0.0)
    >>> augment(np.zeros((8, 32, 32, 3), np.uint8), seed=0, epoch=3).shape
    (2, 8, 32, 32, 3)
    """

    @classmethod
    def cifar(cls, size: int | tuple[int, int] = 32) -> SimCLR:
        """The paper's variant for CIFAR-10: half the strength of colours, no blur (appendix B.9).

        Examples
        --------
        >>> augment = SimCLR.cifar()
        >>> augment.size, augment.strength, augment.blur
        ((32, 32), 0.5, 0.0)
        """
        return cls(size, strength=0.5, blur=0.0)


@dataclass(frozen=True)
class MoCoV1(_Symmetric):
    """MoCo's first recipe: crop, flip, greyscale, then colour jitter, always; no blur. Arguments as in SimCLR.

    References
    ----------
    He et al., "Momentum contrast for unsupervised visual representation learning", 2020.

    Examples
    --------
    >>> print(MoCoV1(224))
    MoCoV1: 2 views by
      RandomResizedCrop(size=(224, 224), scale=(0.2, 1), ratio=(0.75, 1.33333), interpolation='bilinear')
      HorizontalFlip(p=0.5)
      Grayscale(p=0.2)
      ColorJitter(brightness=(0.6, 1.4), contrast=(0.6, 1.4), saturation=(0.6, 1.4), hue=(-0.4, 0.4), p=1)
      GaussianBlur(sigma=(0.1, 2), kernel_size=None, p=0)
      Normalize(mean=None, std=None)
    """

    scale: tuple[float, float] = field(default=(0.2, 1.0), kw_only=True)
    jitter: float = field(default=1.0, kw_only=True)
    blur: float = field(default=0.0, kw_only=True)

    _factors: ClassVar[tuple[float, float, float, float]] = (0.4, 0.4, 0.4, 0.4)

    def _colors(self, jitter, grayscale, blur):
        return grayscale, jitter, blur


@dataclass(frozen=True)
class MoCoV2(_Symmetric):
    """MoCo v2's recipe: SimCLR's with larger crops and weaker colours. Arguments as in SimCLR.

    References
    ----------
    Chen et al., "Improved baselines with momentum contrastive learning", 2020.

    Examples
    --------
    >>> augment = MoCoV2(224)
    >>> augment.scale, augment.operations[2].hue
    ((0.2, 1.0), (-0.1, 0.1))
    """

    scale: tuple[float, float] = field(default=(0.2, 1.0), kw_only=True)

    _factors: ClassVar[tuple[float, float, float, float]] = (0.4, 0.4, 0.4, 0.1)


@dataclass(frozen=True)
class SimSiam(MoCoV2):
    """SimSiam's recipe: MoCo v2's; with views=4, FastSiam's. Arguments as in SimCLR.

    References
    ----------
    Chen and He, "Exploring simple Siamese representation learning", 2021. Pototzky et al., "FastSiam:
    Resource-efficient self-supervised learning on a single GPU", 2022.

    Examples
    --------
    >>> import numpy as np
    >>> SimSiam(32, views=4)(np.zeros((8, 32, 32, 3), np.uint8)).shape
    (4, 8, 32, 32, 3)
    """


@dataclass(frozen=True)
class SupCon(MoCoV2):
    """Supervised contrastive learning's recipe: MoCo v2's without blur. Arguments as in SimCLR.

    References
    ----------
    Khosla et al., "Supervised contrastive learning", 2020; the authors' code for CIFAR.

    Examples
    --------
    >>> SupCon(32).blur
    0.0
    """

    blur: float = field(default=0.0, kw_only=True)


@dataclass(frozen=True)
class VICReg(_Symmetric):
    """VICReg's recipe: SimCLR's with weaker colours, and solarisation before the blur. Arguments as in SimCLR.

    Parameters
    ----------
    solarize : float
        Probability.

    References
    ----------
    Bardes et al., "VICReg: variance-invariance-covariance regularization", 2022; as in lightly.

    Examples
    --------
    >>> print(VICReg(224))
    VICReg: 2 views by
      RandomResizedCrop(size=(224, 224), scale=(0.08, 1), ratio=(0.75, 1.33333), interpolation='bilinear')
      HorizontalFlip(p=0.5)
      ColorJitter(brightness=(0.6, 1.4), contrast=(0.6, 1.4), saturation=(0.8, 1.2), hue=(-0.1, 0.1), p=0.8)
      Grayscale(p=0.2)
      Solarize(threshold=128, p=0.1)
      GaussianBlur(sigma=(0.1, 2), kernel_size=None, p=0.5)
      Normalize(mean=None, std=None)
    """

    strength: float = field(default=0.5, kw_only=True)
    solarize: float = field(default=0.1, kw_only=True)

    _factors: ClassVar[tuple[float, float, float, float]] = (0.8, 0.8, 0.4, 0.2)

    def _colors(self, jitter, grayscale, blur):
        solarize = Solarize(p=self.solarize)
        self._set(solarize=solarize.p)
        return jitter, grayscale, solarize, blur


def _per_view(values, name: str, count: int) -> tuple[float, ...]:
    if not isinstance(values, (tuple, list)) or len(values) != count:
        raise ValueError(f"{name} must be {count} probabilities, got {values!r}")
    return tuple(number(value, name) for value in values)


@dataclass(frozen=True)
class BYOL(_Preset):
    """BYOL's recipe: two views that differ in blur and solarisation. Arguments as in SimCLR, but:

    Parameters
    ----------
    blur, solarize : (float, float)
        Probabilities for the first and the second view.

    Notes
    -----
    Crops are bilinear, as in lightly; the paper resizes with interpolation="bicubic".

    References
    ----------
    Grill et al., "Bootstrap your own latent", 2020, appendix B.

    Examples
    --------
    >>> from dataclasses import replace
    >>> augment = replace(BYOL(96), blur=(1.0, 0.0))
    >>> augment.sample(1000, image_size=96)["blur"]["applied"].mean(axis=1).tolist()
    [1.0, 0.0]
    """

    blur: tuple[float, float] = field(default=(1.0, 0.1), kw_only=True)
    solarize: tuple[float, float] = field(default=(0.0, 0.2), kw_only=True)
    views: int = field(default=2, init=False, repr=False, compare=False)

    _factors: ClassVar[tuple[float, float, float, float]] = (0.4, 0.4, 0.2, 0.1)

    def __post_init__(self):
        *start, normal = self._start()
        self._set(blur=_per_view(self.blur, "blur", 2), solarize=_per_view(self.solarize, "solarize", 2))
        pairs = zip(self.blur, self.solarize, strict=True)
        self._set_lists((*start, GaussianBlur(p=blur), Solarize(p=solarize), normal) for blur, solarize in pairs)


@dataclass(frozen=True)
class MoCoV3(BYOL):
    """MoCo v3's recipe: BYOL's, arguments too.

    References
    ----------
    Chen et al., "An empirical study of training self-supervised vision transformers", 2021.

    Examples
    --------
    >>> augment = MoCoV3(224, scale=(0.2, 1.0))
    >>> augment.blur, augment.solarize
    ((1.0, 0.1), (0.0, 0.2))
    """


@dataclass(frozen=True)
class _MultiCrop(_Preset):
    """Two large views and several small ones of small parts: a call gives a list of two arrays."""

    size: int | tuple[int, int] = 224
    local_size: int | tuple[int, int] = field(default=96, kw_only=True)
    local_scale: tuple[float, float] = field(default=(0.05, 0.14), kw_only=True)
    local_views: int = field(default=6, kw_only=True)
    views: int = field(init=False, repr=False, compare=False)

    def _set_crops(self, large: list[tuple[Operation, ...]], local: tuple[Operation, ...]) -> None:
        """Sets the lists of operations: two large views whose lists end with `large`, local ones' with `local`."""
        crop, *start, normal = self._start()
        local_crop = RandomResizedCrop(self.local_size, self.local_scale, self.ratio, self.interpolation)
        local_views = integer(self.local_views, "local_views", 0, MAX_VIEWS - 1)
        self._set(local_size=local_crop.size, local_scale=local_crop.scale)
        self._set(local_views=local_views, views=2 + local_views)
        lists = [(crop, *start, *end, normal) for end in large]
        self._set_lists(lists + [(local_crop, *start, *local, normal)] * local_views)


@dataclass(frozen=True)
class SwAV(_MultiCrop):
    """SwAV's recipe: two large views, and small ones of small parts. Arguments as in SimCLR, and:

    Parameters
    ----------
    size, local_size : int or (int, int)
        Of the two large views and of the small ones.
    scale, local_scale : (float, float)
        Of their crops.
    local_views : int
        Number of small views.

    References
    ----------
    Caron et al., "Unsupervised learning of visual features by contrasting cluster assignments", 2020.

    Examples
    --------
    >>> import numpy as np
    >>> [views.shape for views in SwAV(64, local_size=32)(np.zeros((4, 80, 90, 3), np.uint8))]
    [(2, 4, 64, 64, 3), (6, 4, 32, 32, 3)]
    """

    scale: tuple[float, float] = field(default=(0.14, 1.0), kw_only=True)
    blur: float = field(default=0.5, kw_only=True)

    def __post_init__(self):
        blur = GaussianBlur(p=self.blur)
        self._set(blur=blur.p)
        self._set_crops([(blur,)] * 2, (blur,))


@dataclass(frozen=True)
class DINO(_MultiCrop):
    """DINO's recipe: two large views that differ in blur and solarisation, and small ones. Arguments as in SwAV, but:

    Parameters
    ----------
    blur, solarize : (float, float, float)
        Probabilities for the first large view, the second, and the small ones.

    References
    ----------
    Caron et al., "Emerging properties in self-supervised vision transformers", 2021; the authors' code, as in lightly.

    Examples
    --------
    >>> print(DINO(local_views=8))
    DINO: 10 views
      view 1 by
        RandomResizedCrop(size=(224, 224), scale=(0.4, 1), ratio=(0.75, 1.33333), interpolation='bicubic')
        HorizontalFlip(p=0.5)
        ColorJitter(brightness=(0.6, 1.4), contrast=(0.6, 1.4), saturation=(0.8, 1.2), hue=(-0.1, 0.1), p=0.8)
        Grayscale(p=0.2)
        GaussianBlur(sigma=(0.1, 2), kernel_size=None, p=1)
        Solarize(threshold=128, p=0)
        Normalize(mean=None, std=None)
      view 2 by
        RandomResizedCrop(size=(224, 224), scale=(0.4, 1), ratio=(0.75, 1.33333), interpolation='bicubic')
        HorizontalFlip(p=0.5)
        ColorJitter(brightness=(0.6, 1.4), contrast=(0.6, 1.4), saturation=(0.8, 1.2), hue=(-0.1, 0.1), p=0.8)
        Grayscale(p=0.2)
        GaussianBlur(sigma=(0.1, 2), kernel_size=None, p=0.1)
        Solarize(threshold=128, p=0.2)
        Normalize(mean=None, std=None)
      views 3 to 10 by
        RandomResizedCrop(size=(96, 96), scale=(0.05, 0.4), ratio=(0.75, 1.33333), interpolation='bicubic')
        HorizontalFlip(p=0.5)
        ColorJitter(brightness=(0.6, 1.4), contrast=(0.6, 1.4), saturation=(0.8, 1.2), hue=(-0.1, 0.1), p=0.8)
        Grayscale(p=0.2)
        GaussianBlur(sigma=(0.1, 2), kernel_size=None, p=0.5)
        Solarize(threshold=128, p=0)
        Normalize(mean=None, std=None)
    """

    scale: tuple[float, float] = field(default=(0.4, 1.0), kw_only=True)
    local_scale: tuple[float, float] = field(default=(0.05, 0.4), kw_only=True)
    interpolation: str = field(default="bicubic", kw_only=True)
    strength: float = field(default=0.5, kw_only=True)
    blur: tuple[float, float, float] = field(default=(1.0, 0.1, 0.5), kw_only=True)
    solarize: tuple[float, float, float] = field(default=(0.0, 0.2, 0.0), kw_only=True)

    _factors: ClassVar[tuple[float, float, float, float]] = (0.8, 0.8, 0.4, 0.2)

    def __post_init__(self):
        self._set(blur=_per_view(self.blur, "blur", 3), solarize=_per_view(self.solarize, "solarize", 3))
        ends = [(GaussianBlur(p=b), Solarize(p=s)) for b, s in zip(self.blur, self.solarize, strict=True)]
        self._set_crops(ends[:2], ends[2])


@dataclass(frozen=True)
class PIRL(_Preset):
    """PIRL's recipe: the image itself, and a crop of it in shuffled tiles. Arguments as in SimCLR, but:

    Parameters
    ----------
    size : int or (int, int)
        Multiples of `grid`. The default is three tiles of 21 pixels.
    grid : int
        Tiles across and down, 1..8.

    Notes
    -----
    The first view is the largest box of the views' ratio in the centre, resized; where the image has that ratio but for
    a pixel, its place may differ by one.

    References
    ----------
    Misra and van der Maaten, "Self-supervised learning of pretext-invariant representations", 2020; as in lightly.

    Examples
    --------
    >>> print(PIRL())
    PIRL: 2 views
      view 1 by
        RandomResizedCrop(size=(63, 63), scale=(1, 1), ratio=(1, 1), interpolation='bilinear')
        Normalize(mean=None, std=None)
      view 2 by
        RandomResizedCrop(size=(63, 63), scale=(0.08, 1), ratio=(0.75, 1.33333), interpolation='bilinear')
        HorizontalFlip(p=0.5)
        ColorJitter(brightness=(0.6, 1.4), contrast=(0.6, 1.4), saturation=(0.6, 1.4), hue=(-0.4, 0.4), p=0.8)
        Grayscale(p=0.2)
        Jigsaw(grid=3, p=1)
        Normalize(mean=None, std=None)
    """

    size: int | tuple[int, int] = 63
    grid: int = field(default=3, kw_only=True)
    views: int = field(default=2, init=False, repr=False, compare=False)

    _factors: ClassVar[tuple[float, float, float, float]] = (0.4, 0.4, 0.4, 0.4)

    def __post_init__(self):
        crop, *start, normal = self._start()
        height, width = crop.size
        jigsaw = Jigsaw(self.grid)
        if height % jigsaw.grid or width % jigsaw.grid:
            raise ValueError(f"size must be multiples of grid, {jigsaw.grid}, got {crop.size}")
        whole = RandomResizedCrop(crop.size, (1.0, 1.0), (width / height,) * 2, self.interpolation)
        self._set(grid=jigsaw.grid)
        self._set_lists([(whole, normal), (crop, *start, jigsaw, normal)])
