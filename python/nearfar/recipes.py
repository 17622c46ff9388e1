"""Recipes: lists of random operations that make views of images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from nearfar import _core
from nearfar.arguments import integer, number, size_of
from nearfar.recipe_operations import (
    ColorJitter,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    Normalize,
    Operation,
    RandomResizedCrop,
    Range,
    rows_of,
    struct,
)


def _image_list(images):
    """Images as the core takes them, with their heights and widths (N, 2) and number of channels."""
    if isinstance(images, (list, tuple)):
        if not images:
            raise ValueError("images must hold at least one image")
        images = [np.asarray(image) for image in images]
        for image in images:
            if image.dtype != np.uint8:
                raise TypeError(f"images must be uint8, got {image.dtype}")
            if image.ndim not in (2, 3):
                raise ValueError(f"each image must be (H, W) or (H, W, C), got shape {image.shape}")
        sizes = np.array([image.shape[:2] for image in images], np.int64)
        return images, sizes, images[0].shape[2] if images[0].ndim == 3 else 1
    images = np.asarray(images)
    if images.dtype != np.uint8:
        raise TypeError(f"images must be uint8, got {images.dtype}")
    if images.ndim not in (3, 4):
        raise ValueError(f"images must be (N, H, W, C), (N, H, W) or a list of images, got shape {images.shape}")
    if len(images) == 0:
        raise ValueError("images must hold at least one image")
    if images.ndim == 3:
        images = images[..., None]
    return images, np.broadcast_to(np.array(images.shape[1:3], np.int64), (len(images), 2)), images.shape[3]


def _indices(indices, count) -> np.ndarray:
    if indices is None:
        return np.arange(count)
    values = np.asarray(indices)
    if values.dtype.kind not in "iu":
        raise TypeError(f"indices must be integers, got dtype {values.dtype}")
    if values.shape != (count,):
        raise ValueError(f"indices must have shape ({count},), one per image, got {values.shape}")
    if values.dtype.kind == "u" and (values > np.iinfo(np.int64).max).any():
        raise ValueError("indices must be below 2^63")
    return values.astype(np.int64)


def _text(value) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_text, value))})"
    return f"{value:g}" if isinstance(value, float) else repr(value)


class _Runs:
    """What recipes can do. They have `operations` (a Normalize may come last) and `views`."""

    operations: Sequence
    views: int

    def _steps(self) -> list[Operation]:
        return [operation for operation in self.operations if not isinstance(operation, Normalize)]

    def _normalize(self) -> Normalize:
        return self.operations[-1] if self.operations and isinstance(self.operations[-1], Normalize) else Normalize()

    def _rows(self, image_size) -> np.ndarray:
        return rows_of(self._steps(), self.view_size(image_size))

    def view_size(self, image_size=None) -> tuple[int, int]:
        """Height and width of the views; `image_size` matters only to recipes without a crop."""
        size = None if image_size is None else size_of(tuple(image_size))
        for operation in self._steps():
            size = operation.out_size(size)
        if size is None:
            raise ValueError(
                "the size of the views depends on the images': this recipe has no crop or resize to a size"
            )
        return size_of(size)

    @property
    def dtype(self) -> np.dtype:
        """The structured dtype of drawn parameters: a field for each operation (crop, flip, jitter, ..., crop_2)."""
        layout: dict[str, Any] = {}
        seen: dict[str, int] = {}
        offset = 0
        for operation in self._steps():
            if operation.draw is None:
                continue
            seen[operation.field] = seen.get(operation.field, 0) + 1
            name = operation.field if seen[operation.field] == 1 else f"{operation.field}_{seen[operation.field]}"
            layout[name] = (operation.draw, offset)
            offset += operation.draw.itemsize
        return struct(layout, offset) if layout else np.dtype([])

    def __call__(self, images, seed=0, epoch=0, indices=None, *, out=None):
        """Random views of images.

        Parameters
        ----------
        images : uint8 array (N, H, W, C) or (N, H, W), or a list of uint8 arrays (H, W, C) or (H, W) of any sizes
        seed : int
            0..2^64 - 1
        epoch : int
            0..2^32 - 1
        indices : integers (N,), optional
            The samples' indices in their dataset, so that a sample's views do not depend on the batch it is in.
            Default: 0..N - 1.
        out : float32 array (V, N, h, w, C), optional
            Where to put the result.

        Returns
        -------
        float32 array (V, N, h, w, C), aligned to 64 bytes

        Raises
        ------
        TypeError
            If the images are not uint8, or `out` not float32.
        ValueError
            If shapes or values do not fit.
        """
        images, sizes, channels = _image_list(images)
        records = self._draw(sizes, channels, _indices(indices, len(images)), seed, epoch)
        return self._apply(images, sizes, channels, records, out)

    def sample(self, indices, seed=0, epoch=0, *, image_size, channels=3):
        """The parameters that the recipe draws, without images.

        Parameters
        ----------
        indices : int N or integers (N,)
            The samples' indices in their dataset; a number N stands for 0..N - 1.
        seed, epoch : int
            As in a call.
        image_size : int, (int, int) or integers (N, 2)
            Height and width of the images.
        channels : int
            Of the images.

        Returns
        -------
        structured array (V, N) of `self.dtype`

        Examples
        --------
        >>> params = SimCLR(32).sample(4, seed=1, image_size=32)
        >>> params.shape, params["crop"]["top"].shape, params["jitter"]["order"].shape
        ((2, 4), (2, 4), (2, 4, 4))
        """
        if np.ndim(indices) == 0:
            indices = np.arange(integer(indices, "indices", 0))
        indices = _indices(indices, len(indices))
        if np.ndim(image_size) == 2:
            sizes = np.asarray(image_size)
            if sizes.dtype.kind not in "iu" or sizes.shape != (len(indices), 2):
                raise ValueError(f"image_size must be integers of shape ({len(indices)}, 2), got shape {sizes.shape}")
        else:
            sizes = np.broadcast_to(np.array(size_of(image_size, "image_size"), np.int64), (len(indices), 2))
        channels = integer(channels, "channels", 1)
        return self._view_as_params(self._draw(sizes.astype(np.int64), channels, indices, seed, epoch))

    def apply(self, images, params, *, out=None):
        """The views that given parameters describe.

        Parameters
        ----------
        images
            As in a call.
        params : structured array (V, N)
            As `sample` returns it, changed at will.
        out : float32 array (V, N, h, w, C), optional

        Returns
        -------
        float32 array (V, N, h, w, C)

        Raises
        ------
        TypeError
            If `params` is not a structured array of this recipe.
        ValueError
            If parameters can't be carried out, e.g. a crop box outside its image.

        Examples
        --------
        >>> import numpy as np
        >>> images, augment = np.zeros((4, 40, 50, 3), np.uint8), SimCLR(32)
        >>> params = augment.sample(4, seed=1, image_size=(40, 50))
        >>> bool((augment.apply(images, params) == augment(images, seed=1)).all())
        True
        """
        images, sizes, channels = _image_list(images)
        params = np.asarray(params)
        if params.dtype != self.dtype:
            raise TypeError(f"params must have this recipe's dtype {self.dtype}, got {params.dtype}")
        if params.shape != (self.views, len(images)):
            raise ValueError(f"params must have shape {(self.views, len(images))}, got {params.shape}")
        records = np.frombuffer(params.tobytes(), np.uint8).reshape(*params.shape, params.dtype.itemsize)
        return self._apply(images, sizes, channels, records, out)

    def plain(self, images, *, out=None):
        """The images without augmentation, as an encoder takes them in evaluation: resized and normalised.

        The largest box in the centre that has the views' ratio is resized to their size; images that have that size
        are only normalised.

        Parameters
        ----------
        images
            As in a call.
        out : float32 array (N, h, w, C), optional

        Returns
        -------
        float32 array (N, h, w, C)

        Examples
        --------
        >>> import numpy as np
        >>> SimCLR(32).plain(np.zeros((4, 40, 50, 3), np.uint8)).shape
        (4, 32, 32, 3)
        """
        images, sizes, _ = _image_list(images)
        height, width = self.view_size(sizes[0])
        crops = [operation for operation in self._steps() if isinstance(operation, RandomResizedCrop)]
        interpolation = crops[-1].interpolation if crops else "bilinear"
        recipe = Recipe([RandomResizedCrop((height, width), interpolation=interpolation), self._normalize()], views=1)
        params = np.zeros((1, len(images)), recipe.dtype)
        box = params["crop"][0]
        box["height"] = np.clip(np.rint(sizes[:, 1] * (height / width)), 1, sizes[:, 0])
        box["width"] = np.clip(np.rint(sizes[:, 0] * (width / height)), 1, sizes[:, 1])
        box["top"] = (sizes[:, 0] - box["height"]) // 2
        box["left"] = (sizes[:, 1] - box["width"]) // 2
        if out is not None:
            if not isinstance(out, np.ndarray):
                raise TypeError("out must be a NumPy array of float32")
            out = out[None]
        return recipe.apply(images, params, out=out)[0]

    def denormalize(self, views):
        """Views as pictures again: x std + mean, clipped to 0..1.

        Parameters
        ----------
        views : float array (..., C)

        Returns
        -------
        float32 array of the same shape

        Examples
        --------
        >>> import numpy as np
        >>> SimCLR(8, mean=0.5, std=0.25).denormalize(np.array([[0.0], [4.0]]))
        array([[0.5],
               [1. ]], dtype=float32)
        """
        views = np.asarray(views, np.float32)
        if views.ndim == 0:
            raise ValueError("views must have channels as their last dimension, got a number")
        mean, std = self._normalize().weights(views.shape[-1])
        return np.clip(views * std + mean, 0, 1).astype(np.float32)

    def _draw(self, sizes, channels, indices, seed, epoch) -> np.ndarray:
        seed, epoch = integer(seed, "seed", 0, 2**64), integer(epoch, "epoch", 0, 2**32)
        rows = self._rows(sizes[0] if len(sizes) else (1, 1))
        return _core.recipe_sample(rows, self.views, channels, sizes, indices, seed, epoch)

    def _view_as_params(self, records) -> np.ndarray:
        if records.shape[2] == 0:
            return np.zeros(records.shape[:2], self.dtype)
        return records.reshape(records.shape[0], -1).view(self.dtype)

    def _apply(self, images, sizes, channels, records, out) -> np.ndarray:
        mean, std = self._normalize().weights(channels)
        return _core.recipe_apply(self._rows(sizes[0]), self.views, images, records, mean, std, out)

    def __str__(self):
        lines = [f"{type(self).__name__}: {self.views} view{'s' * (self.views != 1)} by"]
        for operation in self.operations:
            values = ", ".join(f"{field.name}={_text(getattr(operation, field.name))}" for field in fields(operation))
            lines.append(f"{type(operation).__name__}({values})")
        return "\n  ".join(lines)


@dataclass(frozen=True)
class Recipe(_Runs):
    """A list of random operations that makes `views` views of each image.

    Parameters
    ----------
    operations : sequence
        Of RandomResizedCrop, HorizontalFlip, ColorJitter, RandomRotation, Resize, ... (all of nearfar.transforms that
        have such names), in the order in which they work; a Normalize may come last, and is there with its defaults
        otherwise.
    views : int

    Examples
    --------
    >>> import numpy as np
    >>> augment = Recipe([RandomResizedCrop(28, scale=(0.5, 1.0)), ColorJitter(brightness=0.4, contrast=0.4, p=0.8)])
    >>> augment(np.zeros((8, 28, 28), np.uint8), seed=0).shape
    (2, 8, 28, 28, 1)
    """

    operations: Sequence
    views: int = 2

    def __post_init__(self):
        operations = tuple(self.operations)
        for i, operation in enumerate(operations):
            if isinstance(operation, Normalize) and i == len(operations) - 1:
                continue
            if not isinstance(operation, Operation):
                hint = ": Normalize must come last" if isinstance(operation, Normalize) else ""
                raise TypeError(f"operations must be operations of nearfar.transforms, got {operation!r}{hint}")
        object.__setattr__(self, "operations", operations)
        object.__setattr__(self, "views", integer(self.views, "views", 1, 4097))


@dataclass(frozen=True)
class SimCLR(_Runs):
    """SimCLR's recipe: crop, flip, colour jitter, greyscale, blur, normalise; two views.

    Parameters
    ----------
    size : int or (int, int)
        Height and width of the views.
    scale, ratio : (float, float)
        Of the random crop: share of the image's area, and width / height.
    flip, jitter, grayscale, blur : float
        Probabilities. A blur of small images (CIFAR) is usually left out: blur=0.
    strength : float
        Scales the ranges of brightness, contrast, saturation and hue (0.8, 0.8, 0.8, 0.2).
    brightness, contrast, saturation, hue : float or (float, float), optional
        Ranges as in ColorJitter, in place of the scaled ones; e.g. brightness=0.4, contrast=0.4 for grey images.
    mean, std : float or tuple of float, optional
        As in Normalize.

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

    size: int | tuple[int, int]
    scale: tuple[float, float] = field(default=(0.08, 1.0), kw_only=True)
    ratio: tuple[float, float] = field(default=(3 / 4, 4 / 3), kw_only=True)
    flip: float = field(default=0.5, kw_only=True)
    jitter: float = field(default=0.8, kw_only=True)
    strength: float = field(default=1.0, kw_only=True)
    brightness: Range | None = field(default=None, kw_only=True)
    contrast: Range | None = field(default=None, kw_only=True)
    saturation: Range | None = field(default=None, kw_only=True)
    hue: Range | None = field(default=None, kw_only=True)
    grayscale: float = field(default=0.2, kw_only=True)
    blur: float = field(default=0.5, kw_only=True)
    mean: float | tuple[float, ...] | None = field(default=None, kw_only=True)
    std: float | tuple[float, ...] | None = field(default=None, kw_only=True)

    operations: Sequence = field(init=False, repr=False, compare=False)
    views: int = field(default=2, init=False, repr=False)

    def __post_init__(self):
        strength = number(self.strength, "strength")
        if not 0 <= strength < math.inf:
            raise ValueError(f"strength must be finite and >= 0, got {strength:g}")
        object.__setattr__(self, "strength", strength)
        for name in ("brightness", "contrast", "saturation", "hue"):
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        factors = [0.8 * strength if v is None else v for v in (self.brightness, self.contrast, self.saturation)]
        hue = min(0.2 * strength, 0.5) if self.hue is None else self.hue
        crop = RandomResizedCrop(self.size, self.scale, self.ratio)
        flip = HorizontalFlip(self.flip)
        jitter = ColorJitter(factors[0], factors[1], factors[2], hue, self.jitter)
        grayscale, blur, normal = Grayscale(self.grayscale), GaussianBlur(p=self.blur), Normalize(self.mean, self.std)
        checked = dict(size=crop.size, scale=crop.scale, ratio=crop.ratio, flip=flip.p, jitter=jitter.p)
        checked |= dict(grayscale=grayscale.p, blur=blur.p, mean=normal.mean, std=normal.std)
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "operations", (crop, flip, jitter, grayscale, blur, normal))
