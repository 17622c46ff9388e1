"""Image operations, and recipes that make random augmented views of images.

A recipe is a frozen list of operations with their ranges. Called with images, uint8 (or uint16, float32), it gives
normalised float32 views:

    augment = SimCLR(size=32)
    views = augment(images, seed=0, epoch=3)          # (N, H, W, C) uint8 -> (2, N, 32, 32, C) float32

What is drawn is a function of (seed, epoch, sample index, view, operation) alone: not of the batch a sample is in, the
order, or the number of threads. `augment.sample(...)` shows the draws, and `augment.apply(...)` carries them out.

The one-image functions have torchvision's names. They take arrays (H, W), (H, W, C) or (N, H, W, C), and return the
same kind. Results of uint8 equal those of Pillow 13 bit by bit; the Gaussian blur equals torchvision's, and rotation,
affine maps and perspective equal Pillow's, to one grey level.

uint16 and float32 images, whose white is 65535 and 1 where uint8 has 255, go by torchvision's formulas for float
tensors, as in recipes: in float32, with nothing rounded on the way. Results of uint16 are rounded and clipped to
0..65535 in the end; results of float32 keep what lies beyond black and white, unless a function says that it clips.
What only moves pixels is exact. Values must be finite, and at most 1e30 in size. `posterize`, `equalize`, `box_blur`
and `pillow_gaussian_blur` are functions of bytes, and take uint8 only.
"""

from nearfar.clips import Clips
from nearfar.geometry import affine, center_crop, crop, erase, pad, perspective, rotate, vflip
from nearfar.image_operations import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    gaussian_blur,
    hflip,
    normalize,
    resize,
    resized_crop,
    rgb_to_grayscale,
)
from nearfar.photometry import (
    adjust_gamma,
    adjust_sharpness,
    autocontrast,
    box_blur,
    cutout,
    equalize,
    gaussian_noise,
    invert,
    jigsaw,
    pillow_gaussian_blur,
    posterize,
    solarize,
)
from nearfar.presets import BYOL, DINO, PIRL, MoCoV1, MoCoV2, MoCoV3, SimCLR, SimSiam, SupCon, SwAV, VICReg
from nearfar.recipe_geometry import (
    CenterCrop,
    RandomAffine,
    RandomCrop,
    RandomErasing,
    RandomPerspective,
    RandomRotation,
    Resize,
    VerticalFlip,
)
from nearfar.recipe_operations import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ColorJitter,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    Normalize,
    RandomResizedCrop,
    Solarize,
)
from nearfar.recipe_photometry import (
    Autocontrast,
    Cutout,
    Equalize,
    GaussianNoise,
    Invert,
    Jigsaw,
    PillowGaussianBlur,
    Posterize,
    Sharpness,
)
from nearfar.recipes import MultiView, Recipe

__all__ = [
    "BYOL",
    "DINO",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "PIRL",
    "Autocontrast",
    "CenterCrop",
    "Clips",
    "ColorJitter",
    "Cutout",
    "Equalize",
    "GaussianBlur",
    "GaussianNoise",
    "Grayscale",
    "HorizontalFlip",
    "Invert",
    "Jigsaw",
    "MoCoV1",
    "MoCoV2",
    "MoCoV3",
    "MultiView",
    "Normalize",
    "PillowGaussianBlur",
    "Posterize",
    "RandomAffine",
    "RandomCrop",
    "RandomErasing",
    "RandomPerspective",
    "RandomResizedCrop",
    "RandomRotation",
    "Recipe",
    "Resize",
    "Sharpness",
    "SimCLR",
    "SimSiam",
    "Solarize",
    "SupCon",
    "SwAV",
    "VICReg",
    "VerticalFlip",
    "adjust_brightness",
    "adjust_contrast",
    "adjust_gamma",
    "adjust_hue",
    "adjust_saturation",
    "adjust_sharpness",
    "affine",
    "autocontrast",
    "box_blur",
    "center_crop",
    "crop",
    "cutout",
    "equalize",
    "erase",
    "gaussian_blur",
    "gaussian_noise",
    "hflip",
    "invert",
    "jigsaw",
    "normalize",
    "pad",
    "perspective",
    "pillow_gaussian_blur",
    "posterize",
    "resize",
    "resized_crop",
    "rgb_to_grayscale",
    "rotate",
    "solarize",
    "vflip",
]
