"""Image operations against Pillow and the NumPy twin."""

import nearfar as nf
import numpy as np
import pytest
from nearfar import transforms as T
from PIL import Image, ImageEnhance
from PIL import __version__ as pillow_version
from reference import transforms as twin

SIZES = [1, 2, 3, 7, 15, 16, 17, 31, 33, 64, 65]
PILLOW_13 = int(pillow_version.split(".")[0]) >= 13


def random_image(rng, height, width, channels=3):
    """Noise, or something smooth, so that both rough and even areas occur."""
    image = rng.integers(0, 256, (height, width, channels), np.uint8)
    if rng.random() < 0.5:
        y, x = np.mgrid[0:height, 0:width]
        waves = np.sin(x[..., None] * rng.uniform(0, 0.3, channels) + y[..., None] * rng.uniform(0, 0.3, channels))
        image = np.clip(127 + 127 * waves + image // 32, 0, 255).astype(np.uint8)
    return image


def pil(image):
    return Image.fromarray(image if image.shape[2] == 3 else image[..., 0])


def unpil(image, channels):
    return np.asarray(image).reshape(image.height, image.width, channels)


def cases(seed, count, largest=80):
    rng = np.random.default_rng(seed)
    special = [(1, 1), (1, 5), (5, 1), (375, 500), (2, 333), (17, 16)]
    for i in range(count):
        height, width = special[i] if i < len(special) else rng.integers(1, largest, 2)
        yield rng, random_image(rng, height, width, (3, 1)[i % 2])


# ---- one operation, against Pillow ----


@pytest.mark.parametrize(("interpolation", "filter"), [("bilinear", Image.BILINEAR), ("bicubic", Image.BICUBIC)])
def test_resized_crop_equals_pillow(interpolation, filter):
    for rng, image in cases(0, 250, 200):
        height, width, channels = image.shape
        h, w = rng.integers(1, height + 1), rng.integers(1, width + 1)
        top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
        size = tuple(int(s) for s in rng.choice([*SIZES, h, w, 224], 2))
        expected = unpil(pil(image).crop((left, top, left + w, top + h)).resize(size[::-1], filter), channels)
        got = T.resized_crop(image, top, left, h, w, size, interpolation)
        if PILLOW_13:
            np.testing.assert_array_equal(got, expected)
        else:  # older versions always make the horizontal pass first
            assert np.abs(got.astype(int) - expected).max() <= 1


def test_resized_crop_equals_twin():
    for rng, image in cases(1, 40, 40):
        height, width, _ = image.shape
        size = tuple(int(s) for s in rng.integers(1, 40, 2))
        for interpolation in ("bilinear", "bicubic"):
            expected = twin.resized_crop(image, 0, 0, height, width, size, interpolation)
            np.testing.assert_array_equal(T.resize(image, size, interpolation), expected)


@pytest.mark.parametrize(
    ("function", "enhancer", "reference"),
    [
        (T.adjust_brightness, ImageEnhance.Brightness, twin.adjust_brightness),
        (T.adjust_contrast, ImageEnhance.Contrast, twin.adjust_contrast),
        (T.adjust_saturation, ImageEnhance.Color, twin.adjust_saturation),
    ],
)
def test_blends_equal_pillow(function, enhancer, reference):
    for i, (rng, image) in enumerate(cases(2, 250)):
        factor = [0.0, 1.0, 1e6, 0.5][i] if i < 4 else rng.uniform(0, 3)
        got = function(image, factor)
        np.testing.assert_array_equal(got, unpil(enhancer(pil(image)).enhance(factor), image.shape[2]))
        np.testing.assert_array_equal(got, reference(image, factor))


def test_saturation_beside_whole_numbers():
    """Factors whose products with differences from the luma are whole numbers, or as near as numbers can be."""
    rng = np.random.default_rng(9)
    image = rng.integers(0, 256, (64, 65, 3), np.uint8)
    for _ in range(60):
        factor = np.float32(rng.integers(1, 512) / rng.integers(1, 256))
        for near in (factor, np.nextafter(factor, np.float32(0)), np.nextafter(factor, np.float32(1e6))):
            got = T.adjust_saturation(image, float(near))
            np.testing.assert_array_equal(got, twin.adjust_saturation(image, near))


def pillow_hue(image, factor):
    hsv = np.array(Image.fromarray(image).convert("HSV"))
    hsv[..., 0] += np.uint8(int(factor * 255) & 255)
    return np.asarray(Image.fromarray(hsv, "HSV").convert("RGB"))


@pytest.mark.filterwarnings("ignore:'mode' parameter")
def test_hue_equals_pillow():
    for i, (rng, image) in enumerate(cases(3, 250)):
        factor = [0.0, 0.5, -0.5][i] if i < 3 else rng.uniform(-0.5, 0.5)
        got = T.adjust_hue(image, factor)
        np.testing.assert_array_equal(got, pillow_hue(image, factor) if image.shape[2] == 3 else image)
        np.testing.assert_array_equal(got, twin.adjust_hue(image, factor))


@pytest.mark.filterwarnings("ignore:'mode' parameter")
def test_hue_of_every_colour_equals_pillow():
    green, blue = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    for red in range(0, 256, 1 if nf._core.config()["instruction_set"] != "scalar" else 3):
        image = np.stack([np.full_like(green, red), green, blue], 2)
        np.testing.assert_array_equal(T.adjust_hue(image, 0.1), pillow_hue(image, 0.1))


def test_grayscale_equals_pillow():
    for _, image in cases(4, 200):
        expected = unpil(pil(image).convert("L"), 1)
        np.testing.assert_array_equal(T.rgb_to_grayscale(image), expected)
        np.testing.assert_array_equal(T.rgb_to_grayscale(image, 3), np.repeat(expected, 3, 2))


def test_blur_is_within_one_level_of_float64():
    same = total = 0
    for rng, image in cases(5, 200):
        height, width, _ = image.shape
        kernel = tuple(int(1 + 2 * rng.integers(0, min(12, side))) for side in (width, height))
        sigma = tuple(rng.uniform(0.1, 3.0, 2))
        got, expected = T.gaussian_blur(image, kernel, sigma), twin.gaussian_blur(image, kernel, sigma)
        assert np.abs(got.astype(int) - expected).max() <= 1
        same, total = same + (got == expected).sum(), total + got.size
    assert same / total > 0.998


@pytest.mark.parametrize("sigma", [1e-3, 0.12, 0.3, 0.8, 1.7, 6.0, 40.0, 1e5])
def test_blur_of_extremes(sigma):
    """Flat images stay as they are; no sum is too large, whatever the weights, nor any kernel that fits too wide."""
    rng = np.random.default_rng(50)
    for value in (0, 255):
        flat = np.full((31, 40, 3), value, np.uint8)
        np.testing.assert_array_equal(T.gaussian_blur(flat, (79, 61), sigma), flat)
    for image in (rng.integers(0, 2, (31, 40, 1)), np.add.outer(np.arange(30), np.arange(41))[..., None] % 2):
        image = (255 * image).astype(np.uint8)
        height, width, _ = image.shape
        for kernel in ((3, 3), (1, 2 * height - 1), (2 * width - 1, 2 * height - 1)):
            got, expected = T.gaussian_blur(image, kernel, sigma), twin.gaussian_blur(image, kernel, (sigma, sigma))
            assert np.abs(got.astype(int) - expected).max() <= 1


def test_hflip_and_normalize():
    for rng, image in cases(6, 60):
        np.testing.assert_array_equal(T.hflip(image), image[:, ::-1])
        mean, std = rng.uniform(0, 1, image.shape[2]), rng.uniform(0.1, 1, image.shape[2])
        got = T.normalize(image, mean, std)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, twin.normalize(image, mean, std), rtol=1e-5, atol=1e-5)


FUNCTIONS = {
    "resized_crop": lambda x: T.resized_crop(x, 2, 1, 9, 12, (7, 5)),
    "hflip": T.hflip,
    "brightness": lambda x: T.adjust_brightness(x, 1.3),
    "contrast": lambda x: T.adjust_contrast(x, 0.7),
    "saturation": lambda x: T.adjust_saturation(x, 1.7),
    "hue": lambda x: T.adjust_hue(x, -0.2),
    "gray": lambda x: T.rgb_to_grayscale(x, 3),
    "blur": lambda x: T.gaussian_blur(x, 5, 1.1),
    "normalize": lambda x: T.normalize(x, 0.4, 0.3),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_batches_layouts_and_inputs(name):
    """A batch is its images one by one; strides don't matter; the input is left alone; any number of threads."""
    function = FUNCTIONS[name]
    for channels in (3, 1):
        batch = np.random.default_rng(7).integers(0, 256, (5, 13, 14, channels), np.uint8)
        kept = batch.copy()
        expected = np.stack([function(image) for image in batch])
        np.testing.assert_array_equal(function(batch), expected)
        np.testing.assert_array_equal(function(np.asfortranarray(batch)), expected)
        np.testing.assert_array_equal(function(np.repeat(batch, 2, 0)[::2]), expected)
        batch.flags.writeable = False
        before = nf.get_num_threads()
        for threads in (1, 2, 3):
            nf.set_num_threads(threads)
            np.testing.assert_array_equal(function(batch), expected)
        nf.set_num_threads(before)
        np.testing.assert_array_equal(batch, kept)
        if channels == 1 and name != "gray":
            np.testing.assert_array_equal(function(batch[0, ..., 0]), expected[0, ..., 0])


@pytest.mark.parametrize("channels", [2, 4, 7])
def test_other_numbers_of_channels(channels):
    """What has a meaning works channel by channel, the contrast about the mean of all."""
    image = random_image(np.random.default_rng(8), 20, 33, channels)
    for name in ("resized_crop", "hflip", "brightness", "blur", "normalize"):
        expected = np.concatenate([FUNCTIONS[name](image[..., c : c + 1]) for c in range(channels)], -1)
        np.testing.assert_array_equal(FUNCTIONS[name](image), expected)
    np.testing.assert_array_equal(T.adjust_contrast(image, 1.5), twin.adjust_contrast(image, 1.5))
    for name in ("saturation", "hue", "gray"):
        with pytest.raises(ValueError, match="3 channels"):
            FUNCTIONS[name](image)


def test_empty_batch():
    assert T.hflip(np.zeros((0, 4, 5, 3), np.uint8)).shape == (0, 4, 5, 3)


IMAGE = np.zeros((8, 9, 3), np.uint8)
NAN = float("nan")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: T.hflip(IMAGE.astype(np.float64)),
            TypeError,
            "image must be uint8, uint16 or float32, got dtype float64",
        ),
        (lambda: T.hflip(IMAGE.astype(np.int16)), TypeError, "uint8"),
        (lambda: T.hflip(IMAGE.astype(np.int8)), TypeError, "uint8"),
        (lambda: T.hflip(None), TypeError, "uint8"),
        (lambda: T.hflip("text"), TypeError, "uint8"),
        (lambda: T.hflip(np.zeros(3, np.uint8)), ValueError, "dimensions"),
        (lambda: T.hflip(np.zeros((1, 1, 1, 1, 1), np.uint8)), ValueError, "dimensions"),
        (lambda: T.hflip(np.zeros((0, 4, 3), np.uint8)), ValueError, "at least one pixel"),
        (lambda: T.hflip(np.zeros((4, 4, 0), np.uint8)), ValueError, "at least one pixel"),
        (lambda: T.resize(np.zeros((4, 0, 3), np.uint8), 4), ValueError, "crop box"),
        (lambda: T.resize(np.zeros(4, np.uint8), 4), ValueError, "dimensions"),
        (lambda: T.resize(IMAGE, 0), ValueError, "size must be in 1..16384"),
        (lambda: T.resize(IMAGE, -3), ValueError, "size"),
        (lambda: T.resize(IMAGE, 16385), ValueError, "size"),
        (lambda: T.resize(IMAGE, 10**12), ValueError, "size"),
        (lambda: T.resize(IMAGE, 4.0), TypeError, "size"),
        (lambda: T.resize(IMAGE, True), TypeError, "size"),
        (lambda: T.resize(IMAGE, (4, 4, 4)), ValueError, "size"),
        (lambda: T.resize(IMAGE, 4, "lanczos"), ValueError, "interpolation"),
        (lambda: T.resized_crop(IMAGE, -1, 0, 2, 2, 4), ValueError, "crop box"),
        (lambda: T.resized_crop(IMAGE, 0, 0, 9, 9, 4), ValueError, "8 x 9"),
        (lambda: T.resized_crop(IMAGE, 0, 0, 0, 2, 4), ValueError, "crop box"),
        (lambda: T.resized_crop(IMAGE, 2**31 - 1, 2**31 - 1, 2**31 - 1, 1, 4), ValueError, "crop box"),
        (lambda: T.resized_crop(IMAGE, 2**31, 0, 2, 2, 4), ValueError, "top"),
        (lambda: T.adjust_brightness(IMAGE, -0.1), ValueError, "factor must be in 0..1e6, got -0.1"),
        (lambda: T.adjust_brightness(IMAGE, NAN), ValueError, "factor"),
        (lambda: T.adjust_contrast(IMAGE, float("inf")), ValueError, "factor"),
        (lambda: T.adjust_saturation(IMAGE, 1e7), ValueError, "factor"),
        (lambda: T.adjust_saturation(IMAGE, None), TypeError, "factor"),
        (lambda: T.adjust_hue(IMAGE, 0.51), ValueError, "hue factor must be in -0.5..0.5, got 0.51"),
        (lambda: T.adjust_hue(IMAGE, NAN), ValueError, "hue factor"),
        (lambda: T.rgb_to_grayscale(IMAGE, 2), ValueError, "channels must be 1 or 3, got 2"),
        (lambda: T.gaussian_blur(IMAGE, 4, 1.0), ValueError, "kernel_size must be odd"),
        (lambda: T.gaussian_blur(IMAGE, -3, 1.0), ValueError, "kernel_size"),
        (lambda: T.gaussian_blur(IMAGE, 17, 1.0), ValueError, "kernel_size must be below twice"),
        (lambda: T.gaussian_blur(IMAGE, 3, 0.0), ValueError, "sigma must be finite and > 0, got 0"),
        (lambda: T.gaussian_blur(IMAGE, 3, NAN), ValueError, "sigma"),
        (lambda: T.gaussian_blur(IMAGE, 3, (1.0, -1.0)), ValueError, "sigma"),
        (lambda: T.normalize(IMAGE, (0.5, 0.5), 1.0), ValueError, "mean"),
        (lambda: T.normalize(IMAGE, NAN, 1.0), ValueError, "mean"),
        (lambda: T.normalize(IMAGE, 0.5, 0.0), ValueError, "std"),
        (lambda: T.normalize(IMAGE.astype(float), 0.5, 0.5), TypeError, "uint8"),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
