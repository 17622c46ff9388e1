"""Operations that move pixels, against Pillow, the NumPy twin and smooth functions."""

import doctest
import hashlib
import math

import nearfar as nf
import numpy as np
import pytest
from nearfar import geometry, image_operations, recipe_geometry, recipe_operations
from nearfar import transforms as T
from PIL import Image
from reference import geometry as twin

FILTERS = {"nearest": Image.NEAREST, "bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}
MODES = {1: "L", 3: "RGB", 4: "CMYK"}  # of plain channels: Pillow multiplies those of RGBA by the last one


def random_image(rng, height, width, channels=3):
    """Noise, or something smooth, so that both rough and even areas occur."""
    image = rng.integers(0, 256, (height, width, channels), np.uint8)
    if rng.random() < 0.5:
        y, x = np.mgrid[0:height, 0:width]
        waves = np.sin(x[..., None] * rng.uniform(0, 0.3, channels) + y[..., None] * rng.uniform(0, 0.3, channels))
        image = np.clip(127 + 127 * waves + image // 32, 0, 255).astype(np.uint8)
    return image


def pil(image):
    height, width, channels = image.shape
    return Image.frombytes(MODES[channels], (width, height), image.tobytes())


def unpil(image):
    return np.asarray(image).reshape(image.height, image.width, -1)


def cases(seed, count, largest=100):
    """Generators and images of 1, 3 and 4 channels, from 1 x 1 to 500 x 375 pixels."""
    rng = np.random.default_rng(seed)
    special = [(1, 1), (1, 5), (5, 1), (375, 500), (2, 333), (17, 16), (2, 2), (3, 3), (65, 64), (500, 375)]
    for i in range(count):
        height, width = special[i] if i < len(special) else (int(n) for n in rng.integers(1, largest, 2))
        yield rng, random_image(rng, height, width, (3, 1, 4)[i % 3])


def random_fill(rng, channels):
    return int(rng.integers(256)) if rng.random() < 0.5 else tuple(int(x) for x in rng.integers(0, 256, channels))


def pil_fill(fill, channels):
    """A colour as Pillow takes it."""
    values = (fill,) * channels if isinstance(fill, int) else fill
    return values if channels > 1 else values[0]


class Agreement:
    """Collects results that should be equal but for one level in one value of a hundred."""

    def __init__(self):
        self.same = self.total = 0

    def add(self, got, expected):
        assert got.shape == expected.shape and got.dtype == np.uint8
        assert np.abs(got.astype(int) - expected).max(initial=0) <= 1
        self.same += int((got == expected).sum())
        self.total += got.size

    def check(self, share=0.99):
        assert self.same >= share * self.total


# ---- pixels that are moved whole, against Pillow and NumPy ----


def test_crops_and_flips_equal_pillow():
    for rng, image in cases(0, 210):
        height, width = image.shape[:2]
        h, w = (int(rng.integers(1, n + 1)) for n in (height, width))
        top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
        expected = unpil(pil(image).crop((left, top, left + w, top + h)))
        np.testing.assert_array_equal(T.crop(image, top, left, h, w), expected)
        np.testing.assert_array_equal(T.vflip(image), unpil(pil(image).transpose(Image.FLIP_TOP_BOTTOM)))
        np.testing.assert_array_equal(T.hflip(image), unpil(pil(image).transpose(Image.FLIP_LEFT_RIGHT)))
        np.testing.assert_array_equal(T.center_crop(image, (h, w)), twin.center_crop(image, h, w))


def test_center_crop_rounds_halves_to_even():
    """As torchvision does: int(round((height - crop_height) / 2))."""
    row = np.arange(9, dtype=np.uint8)[None]
    assert [T.center_crop(row[:, :n], (1, 2))[0, 0] for n in (3, 5, 7, 9)] == [0, 2, 2, 4]
    assert T.center_crop(row, (1, 9)).shape == (1, 9)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
def test_pad_equals_numpy(mode):
    for rng, image in cases(1, 210, 40):
        sides = [int(n) for n in rng.integers(0, rng.choice([2, 9, 90]), 4)]
        fill = random_fill(rng, image.shape[2])
        left, top, right, bottom = sides
        if mode == "constant":
            values = np.broadcast_to(np.uint8(fill), image.shape[2])
            expected = np.empty(
                (image.shape[0] + top + bottom, image.shape[1] + left + right, image.shape[2]), np.uint8
            )
            expected[:] = values
            expected[top : top + image.shape[0], left : left + image.shape[1]] = image
        else:
            expected = np.pad(image, ((top, bottom), (left, right), (0, 0)), mode)
        np.testing.assert_array_equal(T.pad(image, sides, fill, mode), expected)
        np.testing.assert_array_equal(twin.pad(image, *sides, mode, fill), expected)


def test_forms_of_padding():
    image = random_image(np.random.default_rng(2), 5, 6)
    for short, long in [(3, (3, 3, 3, 3)), ((3,), (3, 3, 3, 3)), ((2, 1), (2, 1, 2, 1)), (0, (0, 0, 0, 0))]:
        np.testing.assert_array_equal(T.pad(image, short), T.pad(image, long))


def test_erase():
    for rng, image in cases(3, 210):
        height, width, channels = image.shape
        h, w = (int(rng.integers(0, n + 1)) for n in (height, width))
        top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
        value = random_fill(rng, channels)
        np.testing.assert_array_equal(T.erase(image, top, left, h, w, value), twin.erase(image, top, left, h, w, value))


def test_nearest_resize_equals_pillow():
    for rng, image in cases(4, 250, 200):
        height, width = image.shape[:2]
        h, w = (int(rng.integers(1, n + 1)) for n in (height, width))
        top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
        size = tuple(int(s) for s in rng.choice([1, 2, 3, 7, 15, 16, 17, 31, 33, 64, h, w, 2 * h, 3 * w, 224], 2))
        expected = unpil(pil(image).crop((left, top, left + w, top + h)).resize(size[::-1], Image.NEAREST))
        np.testing.assert_array_equal(T.resized_crop(image, top, left, h, w, size, "nearest"), expected)
        expected = twin.nearest_resize(image[top : top + h, left : left + w], *size)
        np.testing.assert_array_equal(T.resized_crop(image, top, left, h, w, size, "nearest"), expected)


def test_resize_to_a_shorter_side():
    """torchvision's rule: the longer side is int(size * longer / shorter)."""
    for rng, image in cases(5, 60):
        height, width = image.shape[:2]
        size = int(rng.integers(1, 40))
        if size * max(height, width) // min(height, width) > 16384:
            continue
        short, long = size, int(size * max(height, width) / min(height, width))
        expected = (long, short) if height >= width else (short, long)
        got = T.resize(image, size)
        assert got.shape[:2] == expected
        np.testing.assert_array_equal(got, T.resize(image, expected))
    image = np.zeros((30, 90, 3), np.uint8)
    assert T.resize(image, 20, max_size=50).shape == (16, 50, 3)
    assert T.resize(image, 20, max_size=60).shape == T.resize(image, 20).shape == (20, 60, 3)


@pytest.mark.parametrize("angle", [0, 90, 180, 270, 360, -90, 450.0, -720])
def test_right_angles_are_exact(angle):
    for rng, image in cases(6, 40):
        fill = random_fill(rng, image.shape[2])
        for expand in (True, False):
            if not expand and angle % 180 and image.shape[0] != image.shape[1]:
                image = image[: min(image.shape[:2]), : min(image.shape[:2])]
            expected = unpil(pil(image).rotate(angle, Image.BILINEAR, expand))
            for interpolation in FILTERS:
                np.testing.assert_array_equal(T.rotate(image, angle, interpolation, expand, fill=fill), expected)
            np.testing.assert_array_equal(expected, np.rot90(image, int(angle // 90)))


# ---- warps, against Pillow ----


@pytest.mark.parametrize("interpolation", FILTERS)
def test_rotate_agrees_with_pillow(interpolation):
    agreement, with_twin = Agreement(), Agreement()
    for rng, image in cases(7, 240):
        height, width, channels = image.shape
        angle = float(rng.choice([rng.uniform(-400, 400), 45.0, 90.0, 30.0, 1e-3], p=[0.8, 0.05, 0.05, 0.05, 0.05]))
        center = None if rng.random() < 0.6 else (float(rng.uniform(-5, width + 5)), float(rng.integers(0, height + 1)))
        expand, fill = bool(rng.random() < 0.4), random_fill(rng, channels)
        got = T.rotate(image, angle, interpolation, expand, center, fill)
        colour = pil_fill(fill, channels)
        agreement.add(got, unpil(pil(image).rotate(angle, FILTERS[interpolation], expand, center, fillcolor=colour)))
        if image.size < 30000:
            with_twin.add(got, twin.rotate(image, angle, interpolation, expand, center, fill))
    agreement.check(1 if interpolation == "nearest" else 0.99)
    with_twin.check(0.99)


@pytest.mark.parametrize("interpolation", FILTERS)
def test_affine_agrees_with_pillow(interpolation):
    agreement = Agreement()
    for i, (rng, image) in enumerate(cases(8, 240)):
        height, width, channels = image.shape
        angle, scale = float(rng.uniform(-180, 180)), float(np.exp(rng.uniform(-1.5, 1.5)))
        shear = tuple(rng.uniform(-60, 60, 2))
        if i % 5 == 0:  # no rotation
            angle, shear, scale = 0.0, (0.0, 0.0), float(rng.choice([1, 2, 3, 1.5, 0.75, 0.5, 7 / 3, scale]))
        translate = tuple(int(n) for n in rng.integers(-20, 20, 2))
        center = (width * 0.5, height * 0.5) if i % 2 else tuple(rng.uniform(0, 20, 2))
        fill = random_fill(rng, channels)
        m = twin.affine_map(angle, translate, scale, shear, center)
        got = T.affine(image, angle, translate, scale, shear, interpolation, fill, None if i % 2 else center)
        colour = pil_fill(fill, channels)
        expected = unpil(
            pil(image).transform((width, height), Image.AFFINE, m, FILTERS[interpolation], fillcolor=colour)
        )
        if interpolation == "nearest":  # the twin's inverse is rounded elsewhere, so that a pixel may differ
            agreement.same += int((got == expected).all(-1).sum())
            agreement.total += height * width
        else:
            agreement.add(got, expected)
    agreement.check(0.999 if interpolation == "nearest" else 0.99)


def random_points(rng, height, width):
    """Corners, and where they go: torchvision's ranges for a distortion of up to 0.8."""
    starts = [(0, 0), (width - 1, 0), (width - 1, height - 1), (0, height - 1)]
    reach_x, reach_y = rng.uniform(0, 0.4, 2) * (width, height)
    ends = [(abs(x - rng.integers(0, reach_x + 1)), abs(y - rng.integers(0, reach_y + 1))) for x, y in starts]
    return starts, [tuple(int(n) for n in point) for point in ends]


@pytest.mark.parametrize("interpolation", FILTERS)
def test_perspective_agrees_with_pillow(interpolation):
    agreement = Agreement()
    count = 0
    for rng, image in cases(9, 260):
        height, width, channels = image.shape
        if min(height, width) < 2:
            continue
        count += 1
        starts, ends = random_points(rng, height, width)
        fill = random_fill(rng, channels)
        m = twin.perspective_map(starts, ends)
        got = T.perspective(image, starts, ends, interpolation, fill)
        colour = pil_fill(fill, channels)
        expected = unpil(
            pil(image).transform((width, height), Image.PERSPECTIVE, m, FILTERS[interpolation], fillcolor=colour)
        )
        if interpolation == "nearest":
            agreement.same += int((got == expected).all(-1).sum())
            agreement.total += height * width
        else:
            agreement.add(got, expected)
    assert count >= 200
    agreement.check(0.999 if interpolation == "nearest" else 0.99)


def test_warps_equal_twin_with_any_number_of_channels():
    agreement = Agreement()
    rng = np.random.default_rng(10)
    for channels in (1, 2, 3, 4, 5, 7):
        for size in (1, 2, 3, 7, 15, 16, 17, 31, 33):
            image = random_image(rng, size, int(rng.choice([1, 3, 17, 33, 70])), channels)
            height, width = image.shape[:2]
            for interpolation in FILTERS:
                m = twin.affine_map(20.0, (1, 0), 0.9, (5.0, 2.0), (width / 2, height / 2))
                got = T.affine(image, 20.0, (1, 0), 0.9, (5.0, 2.0), interpolation, 7)
                agreement.add(got, twin.warp(image, m, None, interpolation, 7))
    agreement.check()


def test_warps_equal_smooth_functions():
    """A smooth function, warped as an image, is the function at the places that the formulas name."""
    height, width = 120, 150
    y, x = np.mgrid[:height, :width] + 0.5

    def f(x, y):
        return 127 + 60 * np.sin(x / 17) * np.cos(y / 23) + 40 * np.sin((x + y) / 29)

    image = np.rint(f(x, y)).astype(np.uint8)[..., None]
    angle, (cx, cy) = 0.35, (width / 2, height / 2)
    c, s = math.cos(angle), math.sin(angle)
    u, v = c * (x - cx) - s * (y - cy) + cx, s * (x - cx) + c * (y - cy) + cy  # where a turned pixel comes from
    starts, ends = [(0, 0), (149, 0), (149, 119), (0, 119)], [(20, 10), (140, 3), (130, 110), (5, 100)]
    m = twin.perspective_map(starts, ends)
    over = m[6] * x + m[7] * y + 1
    far = ((m[0] * x + m[1] * y + m[2]) / over, (m[3] * x + m[4] * y + m[5]) / over)
    for (px, py), (qx, qy) in zip(ends, starts, strict=True):  # and the map does what it should
        at = [(m[k] * px + m[k + 1] * py + m[k + 2]) / (m[6] * px + m[7] * py + 1) for k in (0, 3)]
        np.testing.assert_allclose(at, (qx, qy), atol=1e-3)
    for interpolation, dropped, tolerance in (("bilinear", 0.5, 1.1), ("bicubic", 0.5, 1.6), ("nearest", 0, 5)):
        for got, (at_x, at_y) in [
            (T.rotate(image, math.degrees(angle), interpolation), (u, v)),
            (T.affine(image, -math.degrees(angle), (0, 0), 1.0, 0.0, interpolation), (u, v)),
            (T.perspective(image, starts, ends, interpolation), far),
        ]:
            inside = (at_x > 1) & (at_x < width - 1) & (at_y > 1) & (at_y < height - 1)
            assert inside.mean() > 0.5
            assert np.abs(got[..., 0] - f(at_x, at_y) + dropped)[inside].max() < tolerance
            outside = (at_x < 0) | (at_x >= width) | (at_y < 0) | (at_y >= height)
            assert (got[outside] == 0).all() and outside.any()


def test_identities():
    image = random_image(np.random.default_rng(11), 40, 51)
    corners = [(0, 0), (50, 0), (50, 39), (0, 39)]
    for interpolation in FILTERS:
        np.testing.assert_array_equal(T.affine(image, 0, (0, 0), 1.0, 0, interpolation), image)
        np.testing.assert_array_equal(T.perspective(image, corners, corners, interpolation), image)
        moved = [(x + 3, y - 2) for x, y in corners]
        expected = twin.window(image, 2, -3, 40, 51, fill=9)
        np.testing.assert_array_equal(T.perspective(image, corners, moved, interpolation, 9), expected)
        np.testing.assert_array_equal(T.affine(image, 0, (3, -2), 1.0, (0, 0), interpolation, 9), expected)
        np.testing.assert_array_equal(T.rotate(image, 360 * 5, interpolation, center=(3, 4)), image)


def test_perspective_across_the_horizon():
    """Beyond the horizon, as on it, nothing breaks; before it all is as Pillow has it."""
    image = random_image(np.random.default_rng(12), 60, 80)
    starts, ends = [(0, 0), (79, 0), (79, 59), (0, 59)], [(30, 20), (45, 20), (79, 40), (0, 40)]
    m = twin.perspective_map(starts, ends)
    for interpolation in FILTERS:
        got = T.perspective(image, starts, ends, interpolation, 5)
        expected = unpil(
            pil(image).transform((80, 60), Image.PERSPECTIVE, m, FILTERS[interpolation], fillcolor=(5,) * 3)
        )
        assert (got == expected).mean() > 0.98


# ---- what all operations promise ----

FUNCTIONS = {
    "crop": lambda x: T.crop(x, 2, 1, 9, 12),
    "center_crop": lambda x: T.center_crop(x, (6, 7)),
    "pad": lambda x: T.pad(x, (3, 2, 20, 1), 7, "reflect"),
    "pad constant": lambda x: T.pad(x, (3, 2, 20, 1), 7),
    "vflip": T.vflip,
    "hflip": T.hflip,
    "resize": lambda x: T.resize(x, 20),
    "nearest": lambda x: T.resized_crop(x, 2, 1, 9, 12, (17, 5), "nearest"),
    "quarter": lambda x: T.rotate(x, 90, expand=True),
    "half": lambda x: T.rotate(x, 180),
    "three quarters": lambda x: T.rotate(x, 270, expand=True),
    "rotate": lambda x: T.rotate(x, 33, expand=True, fill=3),
    "rotate bicubic": lambda x: T.rotate(x, 33, "bicubic"),
    "rotate nearest": lambda x: T.rotate(x, 33, "nearest"),
    "affine": lambda x: T.affine(x, 10, (1, 2), 1.2, 3),
    "scale nearest": lambda x: T.affine(x, 0, (1, 2), 1.5, 0, "nearest"),
    "perspective": lambda x: T.perspective(
        x, [(0, 0), (13, 0), (13, 12), (0, 12)], [(1, 2), (12, 1), (11, 11), (2, 10)]
    ),
    "erase": lambda x: T.erase(x, 2, 3, 5, 4, 200),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("channels", [1, 3, 4, 5])
def test_batches_layouts_and_inputs(name, channels):
    """A batch is its images one by one; strides don't matter; the input is left alone; any number of threads."""
    function = FUNCTIONS[name]
    batch = np.random.default_rng(13).integers(0, 256, (5, 13, 14, channels), np.uint8)
    kept = batch.copy()
    expected = np.stack([function(image) for image in batch])
    np.testing.assert_array_equal(function(batch), expected)
    np.testing.assert_array_equal(function(np.asfortranarray(batch)), expected)
    np.testing.assert_array_equal(function(np.repeat(batch, 2, 0)[::2]), expected)
    batch.flags.writeable = False
    np.testing.assert_array_equal(function(batch), expected)
    np.testing.assert_array_equal(batch, kept)
    by_channel = np.concatenate([function(batch[..., c : c + 1]) for c in range(channels)], -1)
    np.testing.assert_array_equal(by_channel, expected)
    if channels == 1:
        np.testing.assert_array_equal(function(batch[0, ..., 0]), expected[0, ..., 0])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_threads_do_not_matter(name):
    batch = np.random.default_rng(14).integers(0, 256, (3, 13, 14, 3), np.uint8)
    large = np.random.default_rng(15).integers(0, 256, (300, 400, 3), np.uint8)  # several tasks an image
    before, results = nf.get_num_threads(), []
    for threads in (1, 2, 3, 7):
        nf.set_num_threads(threads)
        results.append((FUNCTIONS[name](batch).tobytes(), FUNCTIONS[name](large).tobytes()))
    nf.set_num_threads(before)
    assert len(set(results)) == 1


def test_golden_images():
    """The same bits on every instruction set, and from version to version."""
    rng = np.random.default_rng(16)
    digests = {}
    for name, function in FUNCTIONS.items():
        digest = hashlib.sha256()
        for channels in (1, 2, 3, 4):
            digest.update(function(rng.integers(0, 256, (2, 61, 77, channels), np.uint8)).tobytes())
        digests[name] = digest.hexdigest()[:16]
    assert digests == GOLDEN


GOLDEN = {
    "crop": "abef25a002a7ca7d",
    "center_crop": "143aa9dea373bd52",
    "pad": "08176be842a48c7b",
    "pad constant": "963edd1eeef4ed85",
    "vflip": "b3e44ffe7362c9b4",
    "hflip": "d4ac9b31554dc9aa",
    "resize": "cc56f8c17a14c068",
    "nearest": "212b48cd62b02a11",
    "quarter": "094901d5b27e2302",
    "half": "cc8491fbe35cda27",
    "three quarters": "284dd955c2ccb84c",
    "rotate": "61219d32b658da66",
    "rotate bicubic": "177f085f2de32c15",
    "rotate nearest": "14e74e8dc4019dd6",
    "affine": "1dac3e0030b7dce0",
    "scale nearest": "a4a10c0fbf39db0b",
    "perspective": "a52f2f8b7020812e",
    "erase": "de1a32eed1e1a50f",
}


def test_empty_batch():
    assert T.vflip(np.zeros((0, 4, 5, 3), np.uint8)).shape == (0, 4, 5, 3)
    assert T.rotate(np.zeros((0, 4, 5, 3), np.uint8), 90, expand=True).shape == (0, 5, 4, 3)


# ---- errors ----

IMAGE = np.zeros((8, 9, 3), np.uint8)
NAN, INF = float("nan"), float("inf")
CORNERS = [(0, 0), (8, 0), (8, 7), (0, 7)]


def points(**changes):
    """The corners with some replaced: p1=(3, 4)."""
    return [changes.get(f"p{i}", corner) for i, corner in enumerate(CORNERS)]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: T.crop(IMAGE, 0, 0, 9, 9), ValueError, "crop box must lie within the image of 8 x 9"),
        (lambda: T.crop(IMAGE, -1, 0, 2, 2), ValueError, "crop box"),
        (lambda: T.crop(IMAGE, 0, 0, 0, 2), ValueError, "crop box"),
        (lambda: T.crop(IMAGE, 2**31 - 1, 2**31 - 1, 2**31 - 1, 1), ValueError, "crop box"),
        (lambda: T.crop(IMAGE, 0, 0, 2.0, 2), TypeError, "height must be an integer"),
        (lambda: T.crop(IMAGE, True, 0, 2, 2), TypeError, "top must be an integer, got True"),
        (lambda: T.crop(IMAGE, 0, np.True_, 2, 2), TypeError, "left must be an integer"),
        (lambda: T.crop(IMAGE, 0, 0, 2, 2**31), ValueError, "width must be in -2147483648..2147483647, got 2147483648"),
        (lambda: T.crop(IMAGE, 0, -(10**30), 2, 2), ValueError, "left must be in"),
        (lambda: T.erase(IMAGE, 0, 0, None, 2), TypeError, "height must be an integer, got None"),
        (lambda: T.erase(IMAGE, 0, 0, 2, 2, 10**30), ValueError, "value must be in 0..255, got 1000"),
        (lambda: T.erase(IMAGE, 0, 0, 2, 2, -1), ValueError, "value must be in 0..255, got -1"),
        (lambda: T.resized_crop(IMAGE, 0, "0", 2, 2, 4), TypeError, "left must be an integer, got '0'"),
        (lambda: T.crop(IMAGE.astype(float), 0, 0, 2, 2), TypeError, "image must be uint8, uint16 or float32"),
        (lambda: T.center_crop(IMAGE, 9), ValueError, "size must be within the image's 8 x 9"),
        (lambda: T.center_crop(IMAGE, (0, 3)), ValueError, "crop box"),
        (lambda: T.pad(IMAGE, -1), ValueError, "padding must be in 0..16384"),
        (lambda: T.pad(IMAGE, 16384), ValueError, "padded size must be in 1..16384"),
        (lambda: T.pad(IMAGE, 2**31 - 1), ValueError, "padding"),
        (lambda: T.pad(IMAGE, (1, 2, 3)), ValueError, "padding must be one, two or four"),
        (lambda: T.pad(IMAGE, 1.5), TypeError, "padding must be an integer"),
        (lambda: T.pad(IMAGE, 1, 256), ValueError, "fill must be in 0..255, got 256"),
        (lambda: T.pad(IMAGE, 1, (1, 2)), ValueError, "fill must be one number, or one per channel"),
        (lambda: T.pad(IMAGE, 1, ()), ValueError, "fill must be one number, or one per channel"),
        (lambda: T.pad(IMAGE, 1, 0.5), TypeError, "fill"),
        (lambda: T.pad(IMAGE, 1, 0, "wrap"), ValueError, "padding_mode must be one of"),
        (lambda: T.pad(np.zeros((0, 4, 3), np.uint8), 1), ValueError, "at least one pixel"),
        (lambda: T.vflip(np.zeros((4, 0, 3), np.uint8)), ValueError, "at least one pixel"),
        (lambda: T.vflip(np.zeros((4, 4, 0), np.uint8)), ValueError, "at least one pixel"),
        (lambda: T.vflip(None), TypeError, "uint8"),
        (lambda: T.vflip(np.zeros(3, np.uint8)), ValueError, "dimensions"),
        (lambda: T.resize(IMAGE, 16384), ValueError, "size must be in 1..16384"),
        (lambda: T.resize(IMAGE, 4, max_size=3), ValueError, "max_size"),
        (lambda: T.resize(IMAGE, (4, 4), max_size=3), ValueError, "max_size"),
        (lambda: T.resize(np.zeros((1, 10**5, 1), np.uint8), 4), ValueError, "size must be in 1..16384"),
        (lambda: T.rotate(IMAGE, NAN), ValueError, "angle must be finite, got nan"),
        (lambda: T.rotate(IMAGE, INF), ValueError, "angle"),
        (lambda: T.rotate(IMAGE, "far"), TypeError, "angle must be a number"),
        (lambda: T.rotate(IMAGE, 5, "lanczos"), ValueError, "interpolation must be one of"),
        (lambda: T.rotate(IMAGE, 5, center=(NAN, 1)), ValueError, "center"),
        (lambda: T.rotate(IMAGE, 5, center=3), ValueError, "center must be a pair"),
        (lambda: T.rotate(IMAGE, 90, expand=True, fill=(1, 2)), ValueError, "fill"),
        (lambda: T.rotate(np.zeros((0, 4, 3), np.uint8), 30), ValueError, "at least one pixel"),
        (lambda: T.rotate(np.zeros((0, 4, 3), np.uint8), 30, expand=True), ValueError, "at least one pixel"),
        (lambda: T.rotate(np.zeros((1, 70000, 1), np.uint8), 30), ValueError, "at most 65536 rows and columns"),
        (lambda: T.affine(IMAGE, NAN, (0, 0), 1, 0), ValueError, "angle"),
        (lambda: T.affine(IMAGE, 0, (NAN, 0), 1, 0), ValueError, "translate"),
        (lambda: T.affine(IMAGE, 0, 3, 1, 0), ValueError, "translate must be a pair"),
        (lambda: T.affine(IMAGE, 0, (0, 0), 0.0, 0), ValueError, "scale must be in 1e-6..1e6, got 0"),
        (lambda: T.affine(IMAGE, 0, (0, 0), -1, 0), ValueError, "scale"),
        (lambda: T.affine(IMAGE, 0, (0, 0), NAN, 0), ValueError, "scale"),
        (lambda: T.affine(IMAGE, 0, (0, 0), 1, 90), ValueError, "shear"),
        (lambda: T.affine(IMAGE, 0, (0, 0), 1, (0, NAN)), ValueError, "shear"),
        (lambda: T.affine(IMAGE, 0, (0, 0), 1, 0, center=(INF, 0)), ValueError, "center"),
        (lambda: T.perspective(IMAGE, CORNERS, points(p1=(0, 0))), ValueError, "no three of the four endpoints"),
        (lambda: T.perspective(IMAGE, CORNERS, points(p1=(4, 3.5))), ValueError, "endpoints may lie on a line"),
        (lambda: T.perspective(IMAGE, points(p2=(16, 0)), CORNERS), ValueError, "no three of the four startpoints"),
        (lambda: T.perspective(IMAGE, [(1, 1)] * 4, CORNERS), ValueError, "startpoints"),
        (lambda: T.perspective(IMAGE, CORNERS, points(p1=(NAN, 0))), ValueError, "points must be within"),
        (lambda: T.perspective(IMAGE, CORNERS, points(p1=(1e9, 0))), ValueError, "points must be within"),
        (lambda: T.perspective(IMAGE, CORNERS, [(-2, 1), (2, 1), (4, 2), (-4, 2)]), ValueError, "horizon"),
        (lambda: T.perspective(IMAGE, CORNERS[:3], CORNERS), ValueError, "startpoints must be four points"),
        (lambda: T.perspective(IMAGE, CORNERS, "abcd"), TypeError, "endpoints must be numbers"),
        (lambda: T.erase(IMAGE, 0, 0, 9, 1), ValueError, "box to erase must lie within the image of 8 x 9"),
        (lambda: T.erase(IMAGE, 0, -1, 1, 1), ValueError, "box to erase"),
        (lambda: T.erase(IMAGE, 0, 0, -1, 1), ValueError, "box to erase"),
        (lambda: T.erase(IMAGE, 0, 0, 1, 1, -1), ValueError, "value must be in 0..255"),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()


MODULES = (geometry, image_operations, recipe_geometry, recipe_operations)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_examples_in_docstrings(module):
    result = doctest.testmod(module)
    assert result.failed == 0 < result.attempted
