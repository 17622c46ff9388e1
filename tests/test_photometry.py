"""Photometric operations against Pillow and the NumPy twin, alone and in recipes."""

import doctest
import hashlib

import nearfar as nf
import numpy as np
import pytest
from nearfar import photometry
from nearfar import transforms as T
from PIL import Image, ImageOps
from reference import photometry as twin

NAN, INF = float("nan"), float("inf")


def random_image(rng, height, width, channels=3):
    """Noise, or something smooth, or few levels, so that rough and even areas and narrow histograms occur."""
    image = rng.integers(0, 256, (height, width, channels), np.uint8)
    kind = rng.random()
    if kind < 0.4:
        y, x = np.mgrid[0:height, 0:width]
        waves = np.sin(x[..., None] * rng.uniform(0, 0.3, channels) + y[..., None] * rng.uniform(0, 0.3, channels))
        image = np.clip(127 + 127 * waves + image // 32, 0, 255).astype(np.uint8)
    elif kind < 0.6:
        image = (image % rng.integers(1, 30, channels) + rng.integers(0, 200, channels)).astype(np.uint8)
    return image


def cases(seed, count=240, largest=80):
    """Images of 1, 3 and 4 channels, from 1 x 1 to 375 x 500."""
    rng = np.random.default_rng(seed)
    special = [(1, 1), (1, 5), (5, 1), (375, 500), (2, 333), (17, 16), (64, 64), (3, 3), (500, 375)]
    for i in range(count):
        height, width = special[i] if i < len(special) else rng.integers(1, largest, 2)
        yield rng, random_image(rng, int(height), int(width), (3, 1, 4)[i % 3])


def by_pillow(operation, image):
    """Pillow's operation on an image; with four channels (for which Pillow has other ideas) on each by itself."""
    height, width, channels = image.shape
    if channels == 4:
        return np.concatenate([by_pillow(operation, image[..., c : c + 1]) for c in range(4)], 2)
    result = operation(Image.fromarray(image if channels == 3 else image[..., 0]))
    return np.asarray(result).reshape(height, width, channels)


def test_docstrings():
    assert doctest.testmod(photometry).failed == 0


# ---- one operation, against Pillow and the twin ----


def test_solarize_equals_pillow():
    for i, (rng, image) in enumerate(cases(0)):
        threshold = [0.0, 256.0, 255.0, 1.0, 127.5][i] if i < 5 else rng.uniform(0, 256)
        got = T.solarize(image, threshold)
        np.testing.assert_array_equal(got, by_pillow(lambda x, t=threshold: ImageOps.solarize(x, t), image))
        np.testing.assert_array_equal(got, twin.solarize(image, threshold))


FUNCTIONS = {
    "solarize": lambda x: T.solarize(x, 100),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_batches_layouts_and_inputs(name):
    """A batch is its images one by one; strides don't matter; the input is left alone; any number of threads."""
    function = FUNCTIONS[name]
    for channels in (3, 1, 5):
        batch = np.random.default_rng(7).integers(0, 256, (5, 12, 15, channels), np.uint8)
        kept = batch.copy()
        expected = np.stack([function(image) for image in batch])
        np.testing.assert_array_equal(function(batch), expected)
        np.testing.assert_array_equal(function(np.asfortranarray(batch)), expected)
        np.testing.assert_array_equal(function(np.repeat(batch, 2, 0)[::2]), expected)
        np.testing.assert_array_equal(function(batch[:, ::-1, ::-1][:, ::-1, ::-1]), expected)
        batch.flags.writeable = False
        before = nf.get_num_threads()
        for threads in (1, 2, 3, 7):
            nf.set_num_threads(threads)
            np.testing.assert_array_equal(function(batch), expected)
        nf.set_num_threads(before)
        np.testing.assert_array_equal(batch, kept)
        if channels == 1:
            np.testing.assert_array_equal(function(batch[0, ..., 0]), expected[0, ..., 0])
    assert function(np.zeros((0, 12, 15, 3), np.uint8)).shape == (0, 12, 15, 3)


IMAGE = np.zeros((8, 9, 3), np.uint8)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_bad_images(name):
    function = FUNCTIONS[name]
    for bad in (IMAGE.astype(np.float32), IMAGE.astype(np.int8), None, "text"):
        with pytest.raises(TypeError, match="image must be uint8"):
            function(bad)
    for shape in [(3,), (1, 1, 1, 1, 1)]:
        with pytest.raises(ValueError, match="dimensions"):
            function(np.zeros(shape, np.uint8))
    for shape in [(0, 4, 3), (4, 0, 3), (4, 4, 0), (2, 0, 4, 3), (0, 4)]:
        with pytest.raises(ValueError, match="at least one pixel"):
            function(np.zeros(shape, np.uint8))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: T.solarize(IMAGE, -1), ValueError, "threshold must be in 0..256, got -1"),
        (lambda: T.solarize(IMAGE, 256.5), ValueError, "threshold"),
        (lambda: T.solarize(IMAGE, NAN), ValueError, "threshold"),
        (lambda: T.solarize(IMAGE, None), TypeError, "threshold"),
        (lambda: T.Solarize(300), ValueError, "threshold must be in 0..256, got 300"),
        (lambda: T.Solarize(NAN), ValueError, "threshold"),
        (lambda: T.Solarize(p=1.5), ValueError, "p must be a probability in 0..1, got 1.5"),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()


# ---- in recipes ----

OPERATIONS = {  # an operation that is always applied, and the function that it applies with the drawn parameters
    "Solarize": (T.Solarize(100, p=1.0), lambda x, draw: T.solarize(x, 100)),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_recipes_apply_the_functions(name, channels):
    """First and second in a recipe, with each view's own draw; replayed, the same."""
    operation, function = OPERATIONS[name]
    rng = np.random.default_rng(11)
    images = np.stack([random_image(rng, 24, 30, channels) for _ in range(5)])
    for before in ([], [T.HorizontalFlip(1.0)]):
        recipe = T.Recipe([*before, operation, T.Normalize(0.0, 1 / 255)])
        params = recipe.sample(len(images), seed=2, image_size=(24, 30), channels=channels)
        views = recipe(images, seed=2)
        np.testing.assert_array_equal(recipe.apply(images, params), views)
        for view in range(2):
            for n, image in enumerate(images):
                expected = function(T.hflip(image) if before else image, params[operation.field][view, n])
                np.testing.assert_array_equal(np.rint(views[view, n]), expected)


@pytest.mark.parametrize("name", OPERATIONS)
def test_probabilities(name):
    operation = type(OPERATIONS[name][0])
    for p in (0.0, 0.3, 1.0):
        applied = T.Recipe([operation(p=p)]).sample(4000, seed=3, image_size=24)[operation.field]["applied"]
        assert abs(applied.mean() - p) < 0.02 * (0 < p < 1) + 1e-9
    assert repr(operation(p=0.3)).startswith(f"{name}(") and "p=0.3" in repr(operation(p=0.3))
    images = np.random.default_rng(4).integers(0, 256, (3, 24, 24, 3), np.uint8)
    np.testing.assert_array_equal(T.Recipe([operation(p=0.0)])(images), T.Recipe([])(images))


def test_golden_bits():
    """The same bits on every instruction set, and from version to version."""
    images = np.random.default_rng(10).integers(0, 256, (3, 37, 45, 3), np.uint8)
    digests = {name: hashlib.sha256(f(images).tobytes()).hexdigest()[:16] for name, f in FUNCTIONS.items()}
    assert digests == {
        "solarize": "ac5592d53b36d0de",
    }
