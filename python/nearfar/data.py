"""Data sets: labelled images from files on this machine. Nothing is ever downloaded.

Labels are for judging features, and for colouring plots; training looks at images only.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfar._extras import require
from nearfar.formats import memory_limit, read_cifar10, read_idx, read_npy, read_npz
from nearfar.image_operations import resized_crop
from nearfar.pixels import Pixels, check_type

__all__ = ["Dataset", "arrays", "cifar10", "digits", "fashion_mnist", "folder", "idx", "load", "npy"]

# Where there is no test part, each TEST_EVERY-th sample of a class is one.
TEST_EVERY = 5

BICUBIC = 3  # Pillow's number

FASHION_CLASSES = "T-shirt,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot".split(",")
CIFAR_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()
FASHION_PACKAGE = "/usr/share/datasets/fashion-mnist"


@dataclass(frozen=True)
class Dataset:
    """Images to train on and images to test on.

    Attributes
    ----------
    name : str
        Short name, for folders and titles.
    images, test_images : ndarray of uint8, uint16 or float32, (N, H, W, C)
        White is 255, 65535 or 1.
    labels, test_labels : ndarray of int64, (N,), or None
        Class numbers from 0; None if the classes are not known.
    classes : tuple of str
        Names of the classes; empty if the classes are not known.
    """

    name: str
    images: Pixels = field(repr=False)
    labels: NDArray[np.int64] | None = field(repr=False)
    test_images: Pixels = field(repr=False)
    test_labels: NDArray[np.int64] | None = field(repr=False)
    classes: tuple[str, ...] = ()

    def subset(self, count: int | None) -> Dataset:
        """The same with at most `count` training images, evenly spread over all."""
        if count is None or count >= len(self.images):
            return self
        rows = spread(len(self.images), count)
        labels = None if self.labels is None else self.labels[rows]
        return replace(self, images=self.images[rows], labels=labels)


def spread(length: int, count: int) -> NDArray[np.int64]:
    """At most `count` places, evenly spread over 0..length - 1: images are often sorted by class."""
    if count < 1:
        raise ValueError(f"count must be >= 1, got {count}")
    count = min(count, length)
    return np.arange(count) * length // max(count, 1)


def arrays(
    images, labels=None, test_images=None, test_labels=None, *, name="arrays", classes=(), split=True
) -> Dataset:
    """Data set from arrays.

    Parameters
    ----------
    images : array of uint8, uint16 or float32
        (N, H, W, C), or (N, H, W) for one channel; N, H, W, C >= 1.
    labels : array of int, (N,), optional
        Class numbers >= 0.
    test_images, test_labels : arrays, optional
        The test part.
    name : str
        See `Dataset`.
    classes : sequence of str
        Names of the classes; their numbers if not given.
    split : bool
        If there are no test images: whether to keep every fifth sample of each class for the test (every fifth of all,
        without labels), or have none.

    Returns
    -------
    Dataset

    Raises
    ------
    TypeError, ValueError
        If a type, shape or value is not as said.

    Examples
    --------
    >>> import numpy as np
    >>> import nearfar as nf
    >>> data = nf.data.arrays(np.zeros((10, 8, 8), np.uint8), np.arange(10) % 2)
    >>> data.images.shape, data.test_images.shape
    ((8, 8, 8, 1), (2, 8, 8, 1))
    """
    images = _images(images, "images")
    labels = None if labels is None else _labels(labels, "labels", len(images))
    if test_images is None:
        if test_labels is not None:
            raise ValueError("test_labels must come with test_images")
        test = _every_fifth(labels, len(images)) if split else np.zeros(len(images), bool)
        if split and (test.all() or not test.any()):
            raise ValueError(f"images must be at least {TEST_EVERY} to keep some for the test, got {len(images)}")
        test_images, images = images[test], images[~test] if split else images
        if labels is not None:
            test_labels, labels = labels[test], labels[~test]
    else:
        test_images = _images(test_images, "test_images")
        if test_images.shape[1:] != images.shape[1:]:
            raise ValueError(
                f"test_images must be of the shape of images, {images.shape[1:]}, got {test_images.shape[1:]}"
            )
        if test_images.dtype != images.dtype:
            raise TypeError(f"test_images must be of the dtype of images, {images.dtype}, got {test_images.dtype}")
        if (test_labels is None) != (labels is None):
            raise ValueError("labels and test_labels must come together")
        if test_labels is not None:
            test_labels = _labels(test_labels, "test_labels", len(test_images))
    if labels is not None:
        count = int(max(labels.max(initial=0), test_labels.max(initial=0))) + 1
        if classes and len(classes) < count:
            raise ValueError(f"classes must name all {count} classes, got {len(classes)} names")
        classes = classes or (tuple(map(str, range(count))) if count <= 1000 else ())
    return Dataset(name, images, labels, test_images, test_labels, tuple(classes))


def _images(images, name):
    images = np.asarray(images)
    check_type(images, name)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or not images.size:
        raise ValueError(f"{name} must be (N, H, W, C) or (N, H, W), all >= 1, got shape {images.shape}")
    return images


def _labels(labels, name, count):
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, got {labels.dtype}")
    if labels.shape != (count,):
        raise ValueError(f"{name} must have shape ({count},), one per image, got {labels.shape}")
    if labels.min() < 0 or labels.max() >= 2**31:
        raise ValueError(f"{name} must be in 0..2**31 - 1, got {labels.min()}..{labels.max()}")
    return labels.astype(np.int64)


def _every_fifth(labels, count):
    """Mask of the samples to test on: by place in their class, so that it depends on nothing else."""
    if labels is None:
        return np.arange(count) % TEST_EVERY == TEST_EVERY - 1
    place = np.empty(count, np.int64)
    order = np.argsort(labels, kind="stable")
    first = np.searchsorted(labels[order], labels[order])
    place[order] = np.arange(count) - first
    return place % TEST_EVERY == TEST_EVERY - 1


def digits(*, split: bool = True) -> Dataset:
    """The handwritten digits inside scikit-learn: 1,797 grey images of 8x8, ten classes.

    Grey levels 0..16 are scaled to 0..255.

    Parameters
    ----------
    split : bool
        Whether every fifth image of each class is kept for the test; see `arrays`.

    Returns
    -------
    Dataset

    Raises
    ------
    ImportError
        If scikit-learn is not installed.

    References
    ----------
    E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998.
    """
    bunch = require("sklearn.datasets", "scikit-learn").load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    return arrays(images, bunch.target, name="digits", split=split)


def idx(path: str | os.PathLike, *, name="idx", classes=(), split: bool = True) -> Dataset:
    """Images in IDX files: MNIST, Fashion-MNIST, Kuzushiji-MNIST, EMNIST, ...

    Parameters
    ----------
    path : path
        A folder with "train-images-idx3-ubyte" and, if there are any, "train-labels-idx1-ubyte" and the same two with
        "t10k" (".gz" or not, "." for "-" before "idx" or not); or one file with images.
    name, classes, split
        See `arrays`.

    Returns
    -------
    Dataset

    Raises
    ------
    FileNotFoundError
        If the images are not there.
    ValueError
        If a file is damaged or the files do not fit together.
    """
    path = Path(path)
    if path.is_file():
        return _named(path, lambda: arrays(read_idx(path), name=name, classes=classes, split=split))
    parts = [
        None if (file := _idx_file(path, stem, kind)) is None else read_idx(file)
        for stem in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    ]
    if parts[0] is None:
        raise FileNotFoundError(f"{path}: no train-images-idx3-ubyte or train-images-idx3-ubyte.gz there")
    return _named(path, lambda: arrays(*parts, name=name, classes=classes, split=split))


def _idx_file(folder, stem, kind):
    for form in (kind, kind.replace("-", ".")):
        for ending in ("", ".gz"):
            file = folder / f"{stem}-{form}-ubyte{ending}"
            if file.is_file():
                return file
    return None


def _named(path, make: Callable[[], Dataset]) -> Dataset:
    """The data set, or an error that begins with the path."""
    try:
        return make()
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None


def fashion_mnist(path: str | os.PathLike = FASHION_PACKAGE, *, split: bool = True) -> Dataset:
    """Fashion-MNIST: 60,000 and 10,000 grey images of 28x28, ten classes.

    Parameters
    ----------
    path : path
        Folder with the four IDX files. Default: where Debian's package `dataset-fashion-mnist` puts them.
    split : bool
        See `arrays`.

    Returns
    -------
    Dataset

    Raises
    ------
    FileNotFoundError
        If the files are not there; the message says how to get them.
    ValueError
        If a file is damaged.

    References
    ----------
    H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms",
    arXiv:1708.07747.
    """
    try:
        return idx(path, name="fashion-mnist", classes=tuple(FASHION_CLASSES), split=split)
    except FileNotFoundError as error:
        how = "'apt install dataset-fashion-mnist' puts the files into " + FASHION_PACKAGE
        raise FileNotFoundError(f"{error}; {how}, or take them from github.com/zalandoresearch/fashion-mnist") from None


def cifar10(path: str | os.PathLike, *, split: bool = True) -> Dataset:
    """CIFAR-10: 50,000 and 10,000 colour images of 32x32, ten classes.

    Parameters
    ----------
    path : path
        Folder with the files of the binary version ("data_batch_1.bin", ...) or of the Python version ("data_batch_1",
        ...). Pickles are read without executing anything of them.
    split : bool
        No matter here: there is a test part.

    Returns
    -------
    Dataset

    Raises
    ------
    FileNotFoundError
        If the files are not there; the message says how to get them.
    ValueError
        If a file is damaged.
    """
    path = Path(path)
    for ending in (".bin", ""):
        batches = [path / f"data_batch_{number}{ending}" for number in range(1, 6)]
        if batches[0].is_file():
            images, labels = (np.concatenate(part) for part in zip(*map(read_cifar10, batches), strict=True))
            test_images, test_labels = read_cifar10(path / f"test_batch{ending}")
            return arrays(images, labels, test_images, test_labels, name="cifar10", classes=tuple(CIFAR_CLASSES))
    raise FileNotFoundError(
        f"{path}: no data_batch_1.bin or data_batch_1 there; unpack cifar-10-binary.tar.gz or cifar-10-python.tar.gz "
        "from www.cs.toronto.edu/~kriz/cifar.html and name the folder with the batches"
    )


def npy(path: str | os.PathLike, *, split: bool = True) -> Dataset:
    """Images in an npy file (mapped into memory, not read at once) or in an npz file.

    Parameters
    ----------
    path : path
        npy: images (N, H, W, C) or (N, H, W); labels are taken from "<name>.labels.npy" beside it, if that is
        there. npz: entries "images" and, if there are any, "labels", "test_images" and "test_labels".
    split : bool
        See `arrays`.

    Returns
    -------
    Dataset

    Raises
    ------
    OSError
        If the file can't be read.
    ValueError
        If it is damaged or holds something else.
    """
    path = Path(path)
    with open(path, "rb") as stream:
        zipped = stream.read(4) == b"PK\x03\x04"
    if zipped:
        entries = read_npz(path)
        known = ("images", "labels", "test_images", "test_labels")
        if "images" not in entries:
            raise ValueError(f"{path}: must have an entry 'images', got {', '.join(sorted(entries)) or 'none'}")
        parts = [entries.get(key) for key in known]
    else:
        beside = path.with_name(path.name.removesuffix(".npy") + ".labels.npy")
        parts = [read_npy(path), read_npy(beside) if beside.is_file() else None]
    return _named(path, lambda: arrays(*parts, name=path.stem, split=split))


def folder(path: str | os.PathLike, size: int = 64, *, split: bool = True) -> Dataset:
    """Image files in a folder, a subfolder per class; read with Pillow, as RGB.

    Grey images of 16 bits (PNG, TIFF) become uint16 (N, size, size, 1), and those of floats (TIFF, white being 1)
    float32, if all images of the folder are such.

    Parameters
    ----------
    path : path
        "<path>/<class>/<image>", or the same below "<path>/train" and "<path>/test" (or "val"). Images that lie in
        `path` itself have no class.
    size : int
        Height and width in pixels, 1..4096, to which images are resized (the shorter side, bicubic) and cropped (the
        centre): all are in memory at once, 3 size^2 bytes each (2 size^2 or 4 size^2 for uint16 or float32).
    split : bool
        See `arrays`.

    Returns
    -------
    Dataset

    Raises
    ------
    FileNotFoundError
        If there are no images.
    ValueError
        If one can't be read or is of another kind than the others, or is larger than Pillow's limit against
        decompression bombs.
    ImportError
        If Pillow is not installed.
    """
    path = Path(path)
    if not 1 <= size <= 4096:
        raise ValueError(f"size must be in 1..4096, got {size}")
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such folder")
    train = path / "train" if (path / "train").is_dir() else path
    test = next((path / part for part in ("test", "val") if train != path and (path / part).is_dir()), None)
    files, labels, classes = _list_folder(train)
    parts: list[Any] = [_read_images(files, size), labels]
    if test is not None:
        files, test_labels, test_classes = _list_folder(test)
        if test_classes != classes:
            raise ValueError(f"{test}: must have the classes of {train}, {list(classes)}, got {list(test_classes)}")
        parts += [_read_images(files, size), test_labels]
    return _named(path, lambda: arrays(*parts, name=path.resolve().name or "folder", classes=classes, split=split))


def _list_folder(path):
    """Files in the order of their names, their class numbers or None, the classes."""
    endings = set(require("PIL.Image", "Pillow").registered_extensions())
    images = lambda place: sorted(f for f in place.iterdir() if f.suffix.lower() in endings and f.is_file())  # noqa: E731
    classes = [place for place in sorted(path.iterdir()) if place.is_dir() and not place.name.startswith(".")]
    found = [(file, number) for number, place in enumerate(classes) for file in images(place)]
    if found:
        files, labels = zip(*found, strict=True)
        return files, np.array(labels), tuple(place.name for place in classes)
    files = images(path)
    if not files:
        raise FileNotFoundError(f"{path}: no images there, neither in subfolders (one per class) nor in itself")
    return files, None, ()


# What Pillow calls grey images of more than 8 bits. "I" has 32 bits; older versions of Pillow read 16 into it.
_DEEP_MODES = {mode: np.uint16 for mode in ("I", "I;16", "I;16B", "I;16L", "I;16N")} | {"F": np.float32}


def _read_images(files, size):
    image_module = require("PIL.Image", "Pillow")
    bombs = image_module.DecompressionBombWarning, image_module.DecompressionBombError
    images = None
    for number, file in enumerate(files):
        try:
            with warnings.catch_warnings(action="error", category=bombs[0]):
                image = _read_image(file, size)
        except (OSError, ValueError, SyntaxError, *bombs) as error:
            raise ValueError(f"{file}: not a readable image: {error}") from None
        if images is None:
            images = _room(len(files), image)
        if (image.dtype, image.shape) != (images.dtype, images.shape[1:]):
            kinds = [f"{one.dtype} with {one.shape[-1]} channels" for one in (image, images)]
            raise ValueError(f"{file}: images must be of one kind, got {kinds[0]} after {kinds[1]}")
        images[number] = image
    return images


def _room(count, image):
    needed = count * image.nbytes
    if needed > memory_limit():
        size = len(image)
        raise ValueError(f"size {size} needs {needed:,} bytes for {count:,} images, more than this machine's memory")
    return np.empty((count, *image.shape), image.dtype)


def _read_image(file, size):
    ops = require("PIL.ImageOps", "Pillow")
    with require("PIL.Image", "Pillow").open(file) as image:
        if image.mode in _DEEP_MODES:
            return _resized(ops.exif_transpose(image), size)
        image.draft("RGB", (size, size))  # lets JPEG decode at a smaller scale
        return np.asarray(ops.fit(ops.exif_transpose(image).convert("RGB"), (size, size), method=BICUBIC))


def _resized(image, size):
    """The centre square of a deep image, (size, size, 1): Pillow does not resize all of them."""
    pixels, dtype = np.asarray(image), np.dtype(_DEEP_MODES[image.mode])
    if image.mode == "I" and not 0 <= pixels.min() <= pixels.max() <= 65535:
        raise ValueError(f"values must be in 0..65535, got {pixels.min()}..{pixels.max()}")
    height, width = pixels.shape
    side = min(height, width)
    box = (height - side) // 2, (width - side) // 2, side, side
    return resized_crop(pixels.astype(dtype), *box, size, "bicubic")[..., None]


_READERS: dict[str, Callable[..., Dataset]] = {
    "digits": digits,
    "fashion-mnist": fashion_mnist,
    "idx": idx,
    "cifar10": cifar10,
    "folder": folder,
    "npy": npy,
}
_WITHOUT_PATH = ("digits", "fashion-mnist")


def load(source: str, *, size: int | None = None, split: bool = True) -> Dataset:
    """Data set named as on the command line.

    Parameters
    ----------
    source : str
        "digits", "fashion-mnist" (Debian's package), "fashion-mnist:DIR", "idx:DIR", "cifar10:DIR", "folder:DIR" or
        "npy:FILE" (npy or npz).
    size : int, optional
        Pixels to which images of a folder are resized; the other sources have a size of their own.
    split : bool
        Whether to keep some images for the test, if the source has no test part. If not, all are in `images`, in the
        source's order, and `test_images` is empty.

    Returns
    -------
    Dataset

    Raises
    ------
    ValueError
        If the source is not one of these, or the data are damaged.
    FileNotFoundError
        If the data are not there.

    Examples
    --------
    >>> import nearfar as nf
    >>> data = nf.data.load("digits")
    >>> data.images.shape, data.test_images.shape
    ((1442, 8, 8, 1), (355, 8, 8, 1))
    """
    kind, colon, path = source.partition(":")
    if kind not in _READERS or (colon and not path) or (not colon and kind not in _WITHOUT_PATH):
        forms = [*_WITHOUT_PATH, *(f"{k}:{'FILE' if k == 'npy' else 'DIR'}" for k in _READERS if k != "digits")]
        raise ValueError(f"source must be one of {', '.join(forms)}, got {source!r}")
    if kind == "digits" and colon:
        raise ValueError(f"source 'digits' takes no path, got {source!r}")
    arguments: list[Any] = [path] if colon else []
    if kind == "folder" and size is not None:
        arguments.append(size)
    return _READERS[kind](*arguments, split=split)
