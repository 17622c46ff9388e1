"""Single operations on one image and what the peers do in their place: Pillow as torchvision calls it, albumentations,
and OpenCV's function that comes closest.

OpenCV's box blur and its noise round differently; its warps round places to 1/32 pixel in older versions; and it
shrinks with averages (INTER_AREA), the kind of its filters that comes nearest to Pillow's.
"""

from collections.abc import Callable

import nearfar as nf
import numpy as np

Call = Callable[[np.ndarray], object]

T = nf.transforms
SIDE, RESIZED = 225, 256  # of the image; of the one that is resized to 224
CORNERS = [(0, 0), (224, 0), (224, 224), (0, 224)]
MOVED = [(10, 20), (200, 5), (210, 220), (15, 200)]
FILTERS = ("nearest", "bilinear", "bicubic")


def side_of(name: str) -> int:
    """Of the image for an operation."""
    return RESIZED if name.startswith("resize") else SIDE


OURS: dict[str, Call] = {
    "adjust_gamma": lambda image: T.adjust_gamma(image, 1.5),
    "solarize": lambda image: T.solarize(image, 128),
    "posterize": lambda image: T.posterize(image, 4),
    "invert": T.invert,
    "autocontrast": T.autocontrast,
    "equalize": T.equalize,
    "adjust_sharpness": lambda image: T.adjust_sharpness(image, 1.5),
    "box_blur": lambda image: T.box_blur(image, 3),
    "pillow_gaussian_blur": lambda image: T.pillow_gaussian_blur(image, 2.0),
    "gaussian_noise": lambda image: T.gaussian_noise(image, sigma=0.1),
    "cutout": lambda image: T.cutout(image, 60, 80, 50),
    "jigsaw": lambda image: T.jigsaw(image, (5, 0, 3, 1, 8, 2, 4, 7, 6)),
    "crop": lambda image: T.crop(image, 17, 15, 192, 192),
    "pad, reflect": lambda image: T.pad(image, 8, padding_mode="reflect"),
    "hflip": T.hflip,
    "vflip": T.vflip,
    "erase": lambda image: T.erase(image, 50, 60, 70, 90),
    "rotate 90": lambda image: T.rotate(image, 90),
    "rotate 180": lambda image: T.rotate(image, 180),
    "affine, bilinear": lambda image: T.affine(image, 10, (5, 3), 1.1, 4),
}
for _name in FILTERS:
    OURS[f"resize 256 -> 224, {_name}"] = lambda image, name=_name: T.resize(image, 224, name)
    OURS[f"rotate 30, {_name}"] = lambda image, name=_name: T.rotate(image, 30, name)
    OURS[f"perspective, {_name}"] = lambda image, name=_name: T.perspective(image, CORNERS, MOVED, name)


def pillow() -> dict[str, Call]:
    """Calls that take and return arrays; the copies to and from Pillow's images are part of them."""
    from PIL import Image, ImageEnhance, ImageFilter, ImageOps

    gamma = [int(255.999 * (x / 255) ** 1.5) for x in range(256)] * 3
    operations = {
        "adjust_gamma": lambda image: image.point(gamma),
        "solarize": lambda image: ImageOps.solarize(image, 128),
        "posterize": lambda image: ImageOps.posterize(image, 4),
        "invert": ImageOps.invert,
        "autocontrast": ImageOps.autocontrast,
        "equalize": ImageOps.equalize,
        "adjust_sharpness": lambda image: ImageEnhance.Sharpness(image).enhance(1.5),
        "box_blur": lambda image: image.filter(ImageFilter.BoxBlur(3)),
        "pillow_gaussian_blur": lambda image: image.filter(ImageFilter.GaussianBlur(2.0)),
        "crop": lambda image: image.crop((15, 17, 207, 209)),
        "hflip": lambda image: image.transpose(Image.FLIP_LEFT_RIGHT),
        "vflip": lambda image: image.transpose(Image.FLIP_TOP_BOTTOM),
        "rotate 90": lambda image: image.rotate(90),
        "rotate 180": lambda image: image.rotate(180),
        "affine, bilinear": lambda image: image.transform(
            image.size, Image.AFFINE, (0.9, 0.1, 3, -0.1, 0.9, 20), Image.BILINEAR
        ),
    }
    for name, way in zip(FILTERS, (Image.NEAREST, Image.BILINEAR, Image.BICUBIC), strict=True):
        operations[f"resize 256 -> 224, {name}"] = lambda image, way=way: image.resize((224, 224), way)
        operations[f"rotate 30, {name}"] = lambda image, way=way: image.rotate(30, way)
        operations[f"perspective, {name}"] = lambda image, way=way: image.transform(
            image.size, Image.PERSPECTIVE, _coefficients(MOVED, CORNERS), way
        )
    return {
        name: lambda image, operation=operation: np.asarray(operation(Image.fromarray(image)))
        for name, operation in operations.items()
    }


def _coefficients(start, end) -> list[float]:
    """Of the perspective from points `start` to points `end`, as torchvision finds them."""
    rows, values = [], []
    for (x, y), (u, v) in zip(start, end, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return np.linalg.solve(np.array(rows, float), np.array(values, float)).tolist()


def opencv() -> dict[str, Call]:
    import cv2

    cv2.setNumThreads(1)
    gamma = (255.999 * (np.arange(256) / 255) ** 1.5).astype(np.uint8)
    solarized = np.where(np.arange(256) >= 128, 255 - np.arange(256), np.arange(256)).astype(np.uint8)
    smooth = np.ones((3, 3), np.float32) / 13
    smooth[1, 1] = 5 / 13

    def equalize(image):
        return cv2.merge([cv2.equalizeHist(plane) for plane in cv2.split(image)])

    def sharpen(image):
        return cv2.addWeighted(image, 1.5, cv2.filter2D(image, -1, smooth), -0.5, 0)

    def add_noise(image):
        noise = cv2.randn(np.empty(image.shape, np.int16), 0, 25.5)
        return cv2.add(image, noise, dtype=cv2.CV_8U)

    def erase(image):
        image = image.copy()
        image[50:120, 60:150] = 0
        return image

    turned = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), 30, 1)
    projected = cv2.getPerspectiveTransform(np.float32(CORNERS), np.float32(MOVED))
    operations = {
        "adjust_gamma": lambda image: cv2.LUT(image, gamma),
        "solarize": lambda image: cv2.LUT(image, solarized),
        "posterize": lambda image: cv2.bitwise_and(image, (240,) * 4),
        "invert": cv2.bitwise_not,
        "autocontrast": lambda image: cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX),
        "equalize": equalize,
        "adjust_sharpness": sharpen,
        "box_blur": lambda image: cv2.blur(image, (7, 7), borderType=cv2.BORDER_REPLICATE),
        "pillow_gaussian_blur": lambda image: cv2.GaussianBlur(image, (13, 13), 2.0),
        "gaussian_noise": add_noise,
        "crop": lambda image: image[17:209, 15:207].copy(),
        "pad, reflect": lambda image: cv2.copyMakeBorder(image, 8, 8, 8, 8, cv2.BORDER_REFLECT_101),
        "hflip": lambda image: cv2.flip(image, 1),
        "vflip": lambda image: cv2.flip(image, 0),
        "erase": erase,
        "rotate 90": lambda image: cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE),
        "rotate 180": lambda image: cv2.rotate(image, cv2.ROTATE_180),
        "affine, bilinear": lambda image: cv2.warpAffine(image, turned, (SIDE, SIDE), flags=cv2.INTER_LINEAR),
    }
    sizers, warpers = (
        (cv2.INTER_NEAREST, cv2.INTER_AREA, cv2.INTER_AREA),
        (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC),
    )
    for name, sizer, warper in zip(FILTERS, sizers, warpers, strict=True):
        operations |= {
            f"resize 256 -> 224, {name}": lambda image, way=sizer: cv2.resize(image, (224, 224), interpolation=way),
            f"rotate 30, {name}": lambda image, way=warper: cv2.warpAffine(image, turned, (SIDE, SIDE), flags=way),
            f"perspective, {name}": lambda image, way=warper: cv2.warpPerspective(
                image, projected, (SIDE, SIDE), flags=way
            ),
        }
    return operations


def albumentations() -> dict[str, Call]:
    """Transforms that are always applied. Their parameters are drawn anew at each call."""
    import albumentations as A

    operations = {
        "adjust_gamma": A.RandomGamma((150, 150), p=1),
        "solarize": A.Solarize((0.5, 0.5), p=1),
        "posterize": A.Posterize((4, 4), p=1),
        "invert": A.InvertImg(p=1),
        "autocontrast": A.AutoContrast(p=1),
        "equalize": A.Equalize(p=1),
        "adjust_sharpness": A.Sharpen(p=1),
        "box_blur": A.Blur((7, 7), p=1),
        "pillow_gaussian_blur": A.GaussianBlur((13, 13), (2.0, 2.0), p=1),
        "gaussian_noise": A.GaussNoise((0.1, 0.1), p=1),
        "cutout": A.CoarseDropout((1, 1), (50, 50), (50, 50), p=1),
        "jigsaw": A.RandomGridShuffle((3, 3), p=1),
    }
    return {name: lambda image, run=run: run(image=image)["image"] for name, run in operations.items()}


PEERS = {"Pillow": ("PIL", pillow), "OpenCV": ("cv2", opencv), "albumentations": ("albumentations", albumentations)}
