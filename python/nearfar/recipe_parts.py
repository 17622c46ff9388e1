"""What recipes are made of: images as the core reads them, and lists of operations that make views of one size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from nearfar import _core
from nearfar.arguments import integer, size_of
from nearfar.pixels import check_type
from nearfar.recipe_operations import Normalize, Operation, RandomResizedCrop, rows_of, struct

MAX_VIEWS = 4096
LAYOUTS = ("nhwc", "nchw")


class Images(NamedTuple):
    """Images as the core takes them, with their heights and widths (N, 2) and number of channels."""

    pixels: Any  # array (N, H, W, C), or a list of arrays
    sizes: np.ndarray
    channels: int

    @property
    def count(self) -> int:
        return len(self.sizes)

    @classmethod
    def read(cls, images) -> Images:
        if isinstance(images, (list, tuple)):
            return cls._of_list([np.asarray(image) for image in images])
        images = np.asarray(images)
        check_type(images, "images")
        if images.ndim not in (3, 4):
            raise ValueError(f"images must be (N, H, W, C), (N, H, W) or a list of images, got shape {images.shape}")
        if len(images) == 0:
            raise ValueError("images must hold at least one image")
        if images.ndim == 3:
            images = images[..., None]
        sizes = np.broadcast_to(np.array(images.shape[1:3], np.int64), (len(images), 2))
        return cls(images, sizes, images.shape[3])

    @classmethod
    def _of_list(cls, images) -> Images:
        if not images:
            raise ValueError("images must hold at least one image")
        for image in images:
            check_type(image, "images")
            if image.ndim not in (2, 3):
                raise ValueError(f"each image must be (H, W) or (H, W, C), got shape {image.shape}")
        sizes = np.array([image.shape[:2] for image in images], np.int64)
        return cls(images, sizes, images[0].shape[2] if images[0].ndim == 3 else 1)

    def checked(self) -> Images:
        """With contiguous images, so that making views several times copies them once at most."""
        if isinstance(self.pixels, list):
            return self._replace(pixels=[np.ascontiguousarray(image) for image in self.pixels])
        contiguous = self.pixels[:1].flags.c_contiguous
        return self if contiguous else self._replace(pixels=np.ascontiguousarray(self.pixels))


class Form(NamedTuple):
    """How views are written."""

    layout: str = "nhwc"
    dtype: np.dtype = np.dtype(np.float32)

    @classmethod
    def of(cls, layout, dtype) -> Form:
        if layout not in LAYOUTS:
            raise ValueError(f"layout must be 'nhwc' or 'nchw', got {layout!r}")
        try:
            read = np.dtype(dtype)
        except TypeError:
            raise TypeError(f"dtype must be float32 or uint8, got {dtype!r}") from None
        if read not in (np.dtype(np.float32), np.dtype(np.uint8)):
            raise ValueError(f"dtype must be float32 or uint8, got {read}")
        return cls(layout, read)

    def shape(self, views: int, count: int, size: tuple[int, int], channels: int) -> tuple[int, ...]:
        return (views, count, *size, channels) if self.layout == "nhwc" else (views, count, channels, *size)

    def empty(self, shape: tuple[int, ...]) -> np.ndarray:
        """An array aligned to 64 bytes."""
        size = self.dtype.itemsize
        for length in shape:
            size *= length
        if size > np.iinfo(np.intp).max - 64:
            raise MemoryError(f"out of memory: views of shape {shape} are larger than the address space")
        memory = np.empty(size + 64, np.uint8)
        start = -memory.ctypes.data % 64
        return memory[start : start + size].view(self.dtype).reshape(shape)


def read_indices(indices, count) -> np.ndarray:
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


def read_operations(operations) -> tuple:
    """Operations in a tuple, the last of which may be a Normalize."""
    operations = tuple(operations)
    for i, operation in enumerate(operations):
        if isinstance(operation, Normalize) and i == len(operations) - 1:
            continue
        if not isinstance(operation, Operation):
            hint = ": Normalize must come last" if isinstance(operation, Normalize) else ""
            raise TypeError(f"operations must be operations of nearfar.transforms, got {operation!r}{hint}")
    return operations


@dataclass(frozen=True)
class Part:
    """A list of operations that makes some of a recipe's views, numbered from `first_view`."""

    operations: tuple
    views: int = 1
    first_view: int = 0

    @property
    def steps(self) -> list[Operation]:
        return [operation for operation in self.operations if not isinstance(operation, Normalize)]

    @property
    def normalize(self) -> Normalize:
        return self.operations[-1] if self.operations and isinstance(self.operations[-1], Normalize) else Normalize()

    @property
    def last_crop(self) -> RandomResizedCrop | None:
        crops = [operation for operation in self.steps if isinstance(operation, RandomResizedCrop)]
        return crops[-1] if crops else None

    def view_size(self, image_size=None) -> tuple[int, int]:
        size = None if image_size is None else size_of(tuple(image_size))
        for operation in self.steps:
            size = operation.out_size(size)
        if size is None:
            raise ValueError(
                "the size of the views depends on the images': this recipe has no crop or resize to a size"
            )
        return size

    def rows(self, image_size) -> np.ndarray:
        return rows_of(self.steps, self.view_size(image_size))

    @property
    def dtype(self) -> np.dtype:
        return _packed(self.fields)

    @property
    def fields(self) -> dict[str, Any]:
        """The draw of each operation by name: crop, flip, jitter, ..., crop_2."""
        fields: dict[str, Any] = {}
        seen: dict[str, int] = {}
        for operation in self.steps:
            if operation.draw is None:
                continue
            seen[operation.field] = seen.get(operation.field, 0) + 1
            name = operation.field if seen[operation.field] == 1 else f"{operation.field}_{seen[operation.field]}"
            fields[name] = operation.draw
        return fields

    def draw(self, images: Images, indices, seed: int, epoch: int, view_shift: int = 0) -> np.ndarray:
        """Drawn parameters, (views, N) of `dtype`."""
        rows = self.rows(images.sizes[0] if images.count else (1, 1))
        first = self.first_view + view_shift
        drawn = _core.recipe_sample(rows, self.views, first, images.channels, images.sizes, indices, seed, epoch)
        if drawn.shape[2] == 0:
            return np.zeros(drawn.shape[:2], self.dtype)
        return drawn.reshape(self.views, -1).view(self.dtype)

    def apply(self, images: Images, params: np.ndarray, form: Form, out) -> np.ndarray:
        records = np.frombuffer(params.tobytes(), np.uint8).reshape(*params.shape, params.dtype.itemsize)
        mean, std = self.normalize.weights(images.channels)
        return _core.recipe_apply(
            self.rows(images.sizes[0]),
            self.views,
            images.pixels,
            records,
            mean,
            std,
            form.dtype == np.uint8,
            form.layout == "nchw",
            out,
        )


def _packed(fields: dict[str, Any]) -> np.dtype:
    layout, offset = {}, 0
    for name, draw in fields.items():
        layout[name] = (draw, offset)
        offset += draw.itemsize
    return struct(layout, offset) if layout else np.dtype([])


def joint_dtype(parts: Sequence[Part]) -> np.dtype:
    """The structured dtype of the parts' parameters: the fields of all of them, each once."""
    fields: dict[str, Any] = {}
    for part in parts:
        fields |= part.fields
    return _packed(fields)


def converted(params: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Parameters with the fields of `dtype`: those that `params` lacks are zero, those that it has beyond are left."""
    if params.dtype == dtype:
        return params
    result = np.zeros(params.shape, dtype)
    for name in dtype.names or ():
        if name in (params.dtype.names or ()):
            result[name] = params[name]
    return result


def numbered(lists: Iterable[tuple]) -> tuple[Part, ...]:
    """One view by each list of operations; equal lists next to each other become one part."""
    parts: list[Part] = []
    for number, operations in enumerate(lists):
        if parts and parts[-1].operations == operations:
            parts[-1] = replace(parts[-1], views=parts[-1].views + 1)
        else:
            parts.append(Part(operations, first_view=number))
    if number >= MAX_VIEWS:
        raise ValueError(f"views must be in 1..{MAX_VIEWS}, got {number + 1}")
    return tuple(parts)


def read_seed(seed, epoch) -> tuple[int, int]:
    return integer(seed, "seed", 0, 2**64), integer(epoch, "epoch", 0, 2**32)
