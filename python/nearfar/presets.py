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
)
from nearfar.recipe_parts import MAX_VIEWS, Part
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

    def _set(self, **values) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

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
