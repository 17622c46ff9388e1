"""Recipes: lists of random operations that make views of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np

from nearfar.arguments import Frozen, integer, size_of
from nearfar.recipe_operations import RandomResizedCrop
from nearfar.recipe_parts import (
    MAX_VIEWS,
    Form,
    Images,
    Part,
    converted,
    joint_dtype,
    numbered,
    read_indices,
    read_operations,
    read_seed,
)


def _text(value) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_text, value))})"
    return f"{value:g}" if isinstance(value, float) else repr(value)


def _lines(part: Part) -> list[str]:
    """The operations of a part as text."""
    lines = []
    for operation in part.operations:
        values = ", ".join(f"{field.name}={_text(getattr(operation, field.name))}" for field in fields(operation))
        lines.append(f"{type(operation).__name__}({values})")
    return lines


class Runs(Frozen):
    """What recipes can do, as told by `_parts`: lists of operations, each for some of the views."""

    _parts: tuple[Part, ...]

    def _set_lists(self, lists) -> None:
        """Sets `_parts` to one view by each list of operations."""
        parts = numbered(lists)
        if any(part.normalize != parts[0].normalize for part in parts):
            raise ValueError("recipes must have the same Normalize, as their views go to one encoder")
        self._set(_parts=parts)

    @property
    def _count(self) -> int:
        return sum(part.views for part in self._parts)

    def _groups(self, image_size=None) -> list[list[Part]]:
        """The parts, those next to each other together if their views have the same size."""
        groups: list[list[Part]] = []
        for part in self._parts:
            if groups and groups[-1][0].view_size(image_size) == part.view_size(image_size):
                groups[-1].append(part)
            else:
                groups.append([part])
        return groups

    def view_size(self, image_size=None) -> tuple[int, int]:
        """Height and width of the first view; `image_size` matters only to recipes without a crop."""
        return self._parts[0].view_size(image_size)

    @property
    def dtype(self) -> np.dtype:
        """The structured dtype of drawn parameters: a field for each operation (crop, flip, jitter, ..., crop_2)."""
        return joint_dtype(self._parts)

    def __call__(self, images, seed=0, epoch=0, indices=None, *, out=None, layout="nhwc", dtype=np.float32):
        """Random views of images.

        Parameters
        ----------
        images : uint8 array (N, H, W, C) or (N, H, W), or a list of uint8 arrays (H, W, C) or (H, W) of any sizes
            A memory-mapped file is read where the views need it, and not copied. Arrays of uint16 (0..65535) or of
            float32 (finite; 0..1 is what mean and std are for) go the same ways, by torchvision's formulas for float
            tensors: all in float32, with nothing rounded on the way; numbers of operations in 0..255 (fill, value,
            threshold) are scaled to 65535 or 1. Posterize, Equalize and PillowGaussianBlur need uint8.
        seed : int
            0..2^64 - 1
        epoch : int
            0..2^32 - 1
        indices : integers (N,), optional
            The samples' indices in their dataset, so that a sample's views do not depend on the batch it is in.
            Default: 0..N - 1.
        out : array like the result, or a list of them, optional
            Where to put the result: C-contiguous, apart from the images.
        layout : {"nhwc", "nchw"}
            Channels last, or first as torch has them.
        dtype : {float32, uint8}
            float32: normalised. uint8: 0..255, not normalised; of uint8 images only.

        Returns
        -------
        array (V, N, h, w, C) or (V, N, C, h, w), aligned to 64 bytes
            If the views have several sizes: a list of such arrays, one for each run of views of the same size.

        Raises
        ------
        TypeError
            If the images are of another type, or `out` is not of `dtype`.
        ValueError
            If shapes or values do not fit.
        """
        images = Images.read(images)
        indices = read_indices(indices, images.count)
        seed, epoch = read_seed(seed, epoch)
        records = [part.draw(images, indices, seed, epoch) for part in self._parts]
        return self._make(images, records, out, Form.of(layout, dtype))

    def sample(self, samples, seed=0, epoch=0, *, indices=None, image_size=None, channels=3):
        """The parameters that the recipe draws.

        Parameters
        ----------
        samples : int N, integers (N,), or images as in a call
            Number of samples, for their indices 0..N - 1; or their indices in their dataset; or the images.
        seed, epoch : int
            As in a call.
        indices : integers (N,), optional
            Of the images' samples, as in a call.
        image_size : int, (int, int) or integers (N, 2)
            Height and width of the images, which must be given unless the images are.
        channels : int
            Of the images, unless they are given.

        Returns
        -------
        structured array (V, N) of `self.dtype`
            Fields of operations that a view does not have are zero.

        Examples
        --------
        >>> from nearfar.transforms import SimCLR
        >>> params = SimCLR(32).sample(4, seed=1, image_size=32)
        >>> params.shape, params["crop"]["top"].shape, params["jitter"]["order"].shape
        ((2, 4), (2, 4), (2, 4, 4))
        """
        images, indices = _described(samples, indices, image_size, channels)
        seed, epoch = read_seed(seed, epoch)
        return self._joined([part.draw(images, indices, seed, epoch) for part in self._parts])

    def apply(self, images, params, *, out=None, layout="nhwc", dtype=np.float32):
        """The views that given parameters describe.

        Parameters
        ----------
        images
            As in a call.
        params : structured array (V, N)
            As `sample` returns it, changed at will.
        out, layout, dtype
            As in a call.

        Returns
        -------
        array (V, N, h, w, C), or a list of arrays, as from a call

        Raises
        ------
        TypeError
            If `params` is not a structured array of this recipe.
        ValueError
            If parameters can't be carried out, e.g. a crop box outside its image.

        Examples
        --------
        >>> import numpy as np
        >>> from nearfar.transforms import SimCLR
        >>> images, augment = np.zeros((4, 40, 50, 3), np.uint8), SimCLR(32)
        >>> params = augment.sample(images, seed=1)
        >>> bool((augment.apply(images, params) == augment(images, seed=1)).all())
        True
        """
        images = Images.read(images)
        params = self._check_params(params, (self._count, images.count))
        return self._make(images, self._split(params), out, Form.of(layout, dtype))

    def plain(self, images, *, out=None, layout="nhwc", dtype=np.float32):
        """The images without augmentation, as an encoder takes them in evaluation: resized and normalised.

        The largest box in the centre that has the first view's ratio is resized to its size; images that have that size
        are only normalised.

        Parameters
        ----------
        images
            As in a call.
        out : array like the result, optional
        layout, dtype
            As in a call.

        Returns
        -------
        array (N, h, w, C) or (N, C, h, w)

        Examples
        --------
        >>> import numpy as np
        >>> from nearfar.transforms import SimCLR
        >>> SimCLR(32).plain(np.zeros((4, 40, 50, 3), np.uint8)).shape
        (4, 32, 32, 3)
        """
        images = Images.read(images)
        first, sizes = self._parts[0], images.sizes
        height, width = first.view_size(sizes[0])
        interpolation = first.last_crop.interpolation if first.last_crop else "bilinear"
        part = Part((RandomResizedCrop((height, width), interpolation=interpolation), first.normalize))
        params = np.zeros((1, images.count), part.dtype)
        box = params["crop"][0]
        box["height"] = np.clip(np.rint(sizes[:, 1] * (height / width)), 1, sizes[:, 0])
        box["width"] = np.clip(np.rint(sizes[:, 0] * (width / height)), 1, sizes[:, 1])
        box["top"] = (sizes[:, 0] - box["height"]) // 2
        box["left"] = (sizes[:, 1] - box["width"]) // 2
        form = Form.of(layout, dtype)
        if out is not None:
            if not isinstance(out, np.ndarray):
                raise TypeError(f"out must be a NumPy array of {form.dtype}")
            out = out[None]
        return part.apply(images, params, form, out)[0]

    def denormalize(self, views, *, layout="nhwc"):
        """Views as pictures again: x std + mean, clipped to 0..1.

        Parameters
        ----------
        views : float array (..., C) or, with layout "nchw", (..., C, h, w); or a list of such arrays
        layout : {"nhwc", "nchw"}
            Of the views.

        Returns
        -------
        float32 array of the same shape, or a list of them

        Examples
        --------
        >>> import numpy as np
        >>> from nearfar.transforms import SimCLR
        >>> SimCLR(8, mean=0.5, std=0.25).denormalize(np.array([[0.0], [4.0]]))
        array([[0.5],
               [1. ]], dtype=float32)
        """
        axis = -1 if Form.of(layout, np.float32).layout == "nhwc" else -3
        if isinstance(views, (list, tuple)) and len(self._groups((1, 1))) > 1:
            return [self.denormalize(group, layout=layout) for group in views]
        views = np.asarray(views, np.float32)
        if views.ndim < -axis:
            raise ValueError(f"views must have channels as dimension {axis}, got shape {views.shape}")
        mean, std = self._parts[0].normalize.weights(views.shape[axis])
        across = (-1,) + (1,) * (-1 - axis)
        return np.clip(views * std.reshape(across) + mean.reshape(across), 0, 1).astype(np.float32)

    def _joined(self, records: list[np.ndarray]) -> np.ndarray:
        """The parts' records in one array (V, ...)."""
        if len(records) == 1:
            return records[0]
        joined = np.zeros((self._count, *records[0].shape[1:]), self.dtype)  # np.concatenate would change the dtype
        for part, drawn in zip(self._parts, records, strict=True):
            joined[part.first_view : part.first_view + part.views] = converted(drawn, self.dtype)
        return joined

    def _split(self, params: np.ndarray) -> list[np.ndarray]:
        """Parameters (V, ...) as records of each part."""
        ends = np.cumsum([part.views for part in self._parts])[:-1]
        return [converted(*pair) for pair in zip(np.split(params, ends), self._dtypes(), strict=True)]

    def _dtypes(self) -> list[np.dtype]:
        return [part.dtype for part in self._parts]

    def _check_params(self, params, shape: tuple[int, ...]) -> np.ndarray:
        params = np.asarray(params)
        if params.dtype != self.dtype:
            raise TypeError(f"params must have this recipe's dtype {self.dtype}, got {params.dtype}")
        if params.shape != shape:
            raise ValueError(f"params must have shape {shape}, got {params.shape}")
        return params

    def _make(self, images: Images, records: list[np.ndarray], out, form: Form):
        """Views by each part's records: an array, or a list of arrays if they have several sizes."""
        if len(self._parts) == 1:
            return self._parts[0].apply(images, records[0], form, out)
        images = images.checked()
        groups = self._groups(images.sizes[0])
        made, outs = [], _outs(out, len(groups))
        remaining = iter(records)
        for group, group_out in zip(groups, outs, strict=True):
            views = sum(part.views for part in group)
            shape = form.shape(views, images.count, group[0].view_size(images.sizes[0]), images.channels)
            array = form.empty(shape) if group_out is None else _checked_out(group_out, shape, form)
            begin = 0
            for part in group:
                part.apply(images, next(remaining), form, array[begin : begin + part.views])
                begin += part.views
            made.append(array)
        if out is not None:
            return out
        return made if len(groups) > 1 else made[0]

    def __str__(self):
        head = f"{type(self).__name__}: {self._count} view{'s' * (self._count != 1)}"
        if len(self._parts) == 1:
            return "\n  ".join([f"{head} by", *_lines(self._parts[0])])
        lines = [head]
        for part in self._parts:
            first, last = part.first_view + 1, part.first_view + part.views
            which = f"view {first}" if first == last else f"views {first} to {last}"
            lines += [f"  {which} by", *(f"    {line}" for line in _lines(part))]
        return "\n".join(lines)


def _outs(out, count: int) -> list:
    if out is None:
        return [None] * count
    if count == 1:
        return [out]
    if not isinstance(out, (list, tuple)) or len(out) != count:
        raise ValueError(f"out must be a list of {count} arrays, one for each size of views")
    arrays = [array for array in out if isinstance(array, np.ndarray)]
    if any(np.may_share_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i]):
        raise ValueError("the arrays of out must not overlap")
    return list(out)


def _checked_out(out, shape: tuple[int, ...], form: Form) -> np.ndarray:
    if not isinstance(out, np.ndarray) or out.dtype != form.dtype:
        raise TypeError(f"out must be a NumPy array of {form.dtype}")
    if out.shape != shape:
        raise ValueError(f"out must have shape {shape}, got {out.shape}")
    if not out.flags.c_contiguous:
        raise ValueError("out must be C-contiguous")
    return out


def _described(samples, indices, image_size, channels) -> tuple[Images, np.ndarray]:
    """Images, or their sizes alone, and their indices, from the arguments of `sample`."""
    if np.ndim(samples) > 1 if isinstance(samples, np.ndarray) else _is_list_of_arrays(samples):
        images = Images.read(samples)
        return images, read_indices(indices, images.count)
    if indices is not None:
        raise ValueError("indices are those of images: give images, or the indices alone")
    if image_size is None:
        raise ValueError("image_size must be given where there are no images")
    if np.ndim(samples) == 0:
        samples = np.arange(integer(samples, "samples", 0))
    indices = read_indices(samples, len(samples))
    if np.ndim(image_size) == 2:
        sizes = np.asarray(image_size)
        if sizes.dtype.kind not in "iu" or sizes.shape != (len(indices), 2):
            raise ValueError(f"image_size must be integers of shape ({len(indices)}, 2), got shape {sizes.shape}")
    else:
        sizes = np.broadcast_to(np.array(size_of(image_size, "image_size"), np.int64), (len(indices), 2))
    return Images(None, sizes.astype(np.int64), integer(channels, "channels", 1)), indices


def _is_list_of_arrays(samples) -> bool:
    return isinstance(samples, (list, tuple)) and len(samples) > 0 and np.ndim(samples[0]) > 0


@dataclass(frozen=True)
class Recipe(Runs):
    """A list of random operations that makes `views` views of each image.

    Parameters
    ----------
    operations : sequence
        Of the operations in nearfar.transforms (RandomResizedCrop, HorizontalFlip, ColorJitter, Solarize, ...), in the
        order in which they work; a Normalize may come last, and is there with its defaults otherwise.
    views : int
        1..4096

    Examples
    --------
    >>> import numpy as np
    >>> from nearfar.transforms import ColorJitter, RandomResizedCrop
    >>> augment = Recipe([RandomResizedCrop(28, scale=(0.5, 1.0)), ColorJitter(brightness=0.4, contrast=0.4, p=0.8)])
    >>> augment(np.zeros((8, 28, 28), np.uint8), seed=0).shape
    (2, 8, 28, 28, 1)
    """

    operations: Sequence
    views: int = 2

    def __post_init__(self):
        self._set(operations=read_operations(self.operations), views=integer(self.views, "views", 1, MAX_VIEWS + 1))
        self._set(_parts=(Part(self.operations, self.views),))


@dataclass(frozen=True)
class MultiView(Runs):
    """One view by each of several recipes.

    Parameters
    ----------
    recipes : sequence
        Recipes of one list of operations each, such as Recipe and SimCLR; how many views they would make by themselves
        does not matter. Lists of operations will do, too. They must normalise alike.

    Examples
    --------
    >>> import numpy as np
    >>> from nearfar.transforms import SimCLR
    >>> large, small = SimCLR(32, scale=(0.4, 1.0)), SimCLR(16, scale=(0.05, 0.4))
    >>> augment = MultiView([large] * 2 + [small] * 6)
    >>> [views.shape for views in augment(np.zeros((8, 40, 40, 3), np.uint8))]
    [(2, 8, 32, 32, 3), (6, 8, 16, 16, 3)]
    >>> MultiView([large, SimCLR(32, blur=0.1)])(np.zeros((8, 40, 40, 3), np.uint8)).shape
    (2, 8, 32, 32, 3)
    """

    recipes: Sequence
    views: int = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        recipes = tuple(r if isinstance(r, Runs) else Recipe(r, views=1) for r in self.recipes)
        if not recipes:
            raise ValueError("recipes must hold at least one recipe")
        for recipe in recipes:
            if len(recipe._parts) > 1:
                raise TypeError(f"recipes must be of one list of operations each, got {recipe!r}")
        self._set(recipes=recipes, views=len(recipes))
        self._set_lists(recipe._parts[0].operations for recipe in recipes)
