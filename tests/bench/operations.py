"""Single operations on one image and what the peers do in their place: Pillow as torchvision calls it, albumentations,
and OpenCV's function that comes closest (its box blur and its noise round differently)."""

from collections.abc import Callable

import nearfar as nf
import numpy as np

Call = Callable[[np.ndarray], object]

T = nf.transforms

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
}


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
    }
    return {
        name: lambda image, operation=operation: np.asarray(operation(Image.fromarray(image)))
        for name, operation in operations.items()
    }


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

    return {
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
    }


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
