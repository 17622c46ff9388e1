"""Operations that move pixels, for transforms.py: what nearfar, Pillow and OpenCV are asked to do.

Each on the same images of 224 x 224 pixels (of 256 x 256 where they are resized), one after the other; Pillow has them
as its own images beforehand. OpenCV's warps round places to 1/32 pixel (older versions), and it shrinks with averages
(INTER_AREA), the kind of its filters that comes nearest to Pillow's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import nearfar as nf
import numpy as np
from nearfar import transforms as T

CORNERS = [(0, 0), (223, 0), (223, 223), (0, 223)]
MOVED = [(10, 20), (200, 5), (210, 220), (15, 200)]
RESIZED = 256  # size of the images that are


class Operation(NamedTuple):
    """Calls on a batch, a Pillow image, an array; the latter two are made of the module, as it may be missing."""

    ours: Callable[[np.ndarray], np.ndarray]
    pillow: Callable[[Any], Callable]
    opencv: Callable[[Any], Callable]
    size: int = 224


def _pillow_map(startpoints, endpoints):
    rows, values = [], []
    for (u, v), (x, y) in zip(startpoints, endpoints, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return np.linalg.solve(np.array(rows, float), np.array(values, float)).tolist()


def _opencv_rotation(cv2, flag):
    matrix = cv2.getRotationMatrix2D((111.5, 111.5), 30, 1)
    return lambda image: cv2.warpAffine(image, matrix, (224, 224), flags=flag)


def _opencv_perspective(cv2, flag):
    matrix = cv2.getPerspectiveTransform(np.float32(CORNERS), np.float32(MOVED))
    return lambda image: cv2.warpPerspective(image, matrix, (224, 224), flags=flag)


def _erase(image):
    image = image.copy()
    image[50:120, 60:150] = 0
    return image


OPERATIONS = {
    "crop": Operation(
        lambda x: T.crop(x, 17, 15, 192, 192),
        lambda Image: lambda i: i.crop((15, 17, 207, 209)),
        lambda cv2: lambda a: a[17:209, 15:207].copy(),
    ),
    "pad, reflect": Operation(
        lambda x: T.pad(x, 8, padding_mode="reflect"),
        lambda Image: lambda i: Image.fromarray(np.pad(np.asarray(i), ((8, 8), (8, 8), (0, 0)), "reflect")),
        lambda cv2: lambda a: cv2.copyMakeBorder(a, 8, 8, 8, 8, cv2.BORDER_REFLECT_101),
    ),
    "hflip": Operation(
        T.hflip, lambda Image: lambda i: i.transpose(Image.FLIP_LEFT_RIGHT), lambda cv2: lambda a: cv2.flip(a, 1)
    ),
    "vflip": Operation(
        T.vflip, lambda Image: lambda i: i.transpose(Image.FLIP_TOP_BOTTOM), lambda cv2: lambda a: cv2.flip(a, 0)
    ),
    "erase": Operation(
        lambda x: T.erase(x, 50, 60, 70, 90),
        lambda Image: lambda i: _pasted(i, (60, 50, 150, 120)),
        lambda cv2: _erase,
    ),
    "rotate 90": Operation(
        lambda x: T.rotate(x, 90),
        lambda Image: lambda i: i.rotate(90),
        lambda cv2: lambda a: cv2.rotate(a, cv2.ROTATE_90_COUNTERCLOCKWISE),
    ),
    "rotate 180": Operation(
        lambda x: T.rotate(x, 180), lambda Image: lambda i: i.rotate(180), lambda cv2: lambda a: cv2.rotate(a, 1)
    ),
    "resize 256 -> 224, nearest": Operation(
        lambda x: T.resize(x, 224, "nearest"),
        lambda Image: lambda i: i.resize((224, 224), Image.NEAREST),
        lambda cv2: lambda a: cv2.resize(a, (224, 224), interpolation=cv2.INTER_NEAREST),
        RESIZED,
    ),
    "resize 256 -> 224, bilinear": Operation(
        lambda x: T.resize(x, 224),
        lambda Image: lambda i: i.resize((224, 224), Image.BILINEAR),
        lambda cv2: lambda a: cv2.resize(a, (224, 224), interpolation=cv2.INTER_AREA),
        RESIZED,
    ),
    "resize 256 -> 224, bicubic": Operation(
        lambda x: T.resize(x, 224, "bicubic"),
        lambda Image: lambda i: i.resize((224, 224), Image.BICUBIC),
        lambda cv2: lambda a: cv2.resize(a, (224, 224), interpolation=cv2.INTER_AREA),
        RESIZED,
    ),
    "affine, bilinear": Operation(
        lambda x: T.affine(x, 10, (5, 3), 1.1, 4),
        lambda Image: lambda i: i.transform((224, 224), Image.AFFINE, (0.9, 0.1, 3, -0.1, 0.9, 20), Image.BILINEAR),
        lambda cv2: _opencv_rotation(cv2, cv2.INTER_LINEAR),
    ),
}


def _pasted(image, box):
    image = image.copy()
    image.paste(0, box)
    return image


for _name, _flag in (("nearest", 0), ("bilinear", 1), ("bicubic", 2)):
    _filter = {"nearest": 0, "bilinear": 2, "bicubic": 3}[_name]
    OPERATIONS[f"rotate 30, {_name}"] = Operation(
        lambda x, name=_name: T.rotate(x, 30, name),
        lambda Image, filter=_filter: lambda i: i.rotate(30, filter),
        lambda cv2, flag=_flag: _opencv_rotation(cv2, flag),
    )
    OPERATIONS[f"perspective, {_name}"] = Operation(
        lambda x, name=_name: T.perspective(x, CORNERS, MOVED, name),
        lambda Image, filter=_filter: (
            lambda i: i.transform((224, 224), Image.PERSPECTIVE, _pillow_map(CORNERS, MOVED), filter)
        ),
        lambda cv2, flag=_flag: _opencv_perspective(cv2, flag),
    )


def compare(report, options, smooth_images, harness):
    """A row for each operation and contender, one thread."""
    nf.set_num_threads(1)
    cv2, image_module = harness.load("cv2", options), harness.load("PIL.Image", options)
    if not isinstance(cv2, str):
        cv2.setNumThreads(1)
    count, rounds = (2, 1) if options.quick else (16, options.rounds or 7)
    for name, operation in OPERATIONS.items():
        images = smooth_images(count, operation.size, 3)
        contenders = [harness.Contender("nearfar", lambda run=operation.ours, images=images: run(images))]
        for peer, module, make in (("Pillow", image_module, operation.pillow), ("OpenCV", cv2, operation.opencv)):
            if isinstance(module, str):
                contenders.append(harness.Contender(peer, module))
                continue
            own = [module.fromarray(image) for image in images] if peer == "Pillow" else list(images)
            one = make(module)
            contenders.append(harness.Contender(peer, lambda one=one, own=own: [one(image) for image in own]))
        report.compare(name, contenders, rounds, work=count)
