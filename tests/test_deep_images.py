"""Recipes on images of uint16 and float32, against the NumPy twin."""

import hashlib

import nearfar as nf
import numpy as np
import pytest
from nearfar import transforms as T
from reference import deep
from reference import transforms as twin

RNG = np.random.default_rng(30)


def images_of(dtype, shape=(6, 33, 40, 3)):
    if dtype == np.uint16:
        return RNG.integers(0, 65536, shape, np.uint16)
    return RNG.uniform(-0.5, 1.5, shape).astype(np.float32)


def recipe(size, interpolation="bilinear", channels=3, views=2):
    normal = T.Normalize(np.linspace(0.2, 0.5, channels), np.linspace(0.2, 0.4, channels))
    return T.Recipe(
        [T.RandomResizedCrop(size, (0.1, 1.0), interpolation=interpolation), T.HorizontalFlip(), normal], views
    )


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [(1, 2), (7, 3), (15, 17), (31, 16), (50, 64)])
def test_against_the_twin(dtype, interpolation, channels, size):
    images, augment = images_of(dtype, (3, 33, 29, channels)), recipe(size, interpolation, channels)
    params, views = augment.sample(images, seed=1), augment(images, seed=1)
    assert views.dtype == np.float32 and views.shape == (2, 3, *size, channels)
    normal = augment.operations[-1]
    for view in range(2):
        for n, image in enumerate(images):
            drawn = params[view, n]
            flipped = drawn["flip"]["applied"]
            expected = twin.deep_view(image, drawn["crop"], flipped, size, interpolation, normal.mean, normal.std)
            np.testing.assert_allclose(views[view, n], expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(augment(images, seed=1, layout="nchw"), np.moveaxis(views, -1, 2))
    np.testing.assert_array_equal(augment.apply(images, params), views)


def operations(channels):
    """Operations of a recipe whose every draw changes something, and such as images of these channels allow."""
    colors = tuple(RNG.integers(0, 256, channels).tolist())
    fills = {"fill": colors} if channels > 1 else {"fill": 77}
    colorful = channels != 4
    return [
        T.Resize((19, 44)),
        T.Resize((50, 13), "bicubic"),
        T.Resize(17, "nearest"),
        T.RandomResizedCrop((16, 27), interpolation="nearest"),
        T.RandomCrop((20, 23), 5, **fills),
        T.RandomCrop((30, 31), (9, 0, 40, 70), padding_mode="reflect"),
        T.RandomCrop((30, 31), (9, 30, 4, 7), padding_mode="symmetric"),
        T.RandomCrop((30, 31), (9, 30, 4, 7), padding_mode="edge"),
        T.CenterCrop((8, 13)),
        T.HorizontalFlip(),
        T.VerticalFlip(),
        *(
            T.RandomRotation((-170, 100), interpolation, **fills)
            for interpolation in ("bilinear", "bicubic", "nearest")
        ),
        *(T.RandomRotation((angle, angle)) for angle in (0, 90, 180, 270)),
        *(
            T.RandomAffine(40, (0.2, 0.3), (0.6, 1.7), (-9, 9, -5, 5), interpolation, **fills)
            for interpolation in ("bilinear", "bicubic", "nearest")
        ),
        T.RandomAffine((0, 0), (0.2, 0.2), (0.5, 2.0), interpolation="nearest", fill=9),
        *(
            T.RandomPerspective(0.6, 0.9, interpolation, **fills)
            for interpolation in ("bilinear", "bicubic", "nearest")
        ),
        T.RandomErasing(0.9, value=fills["fill"]),
        T.Cutout((9, 6), 200),
        T.Jigsaw(2),
        T.ColorJitter(0.8, 0.8),
        *([T.ColorJitter(0.8, 0.8, 0.8, 0.5), T.ColorJitter(hue=0.5), T.ColorJitter(saturation=3.0)] * colorful),
        *([T.Grayscale(0.7)] * colorful),
        T.Solarize(100.0),
        T.Invert(),
        T.Autocontrast(0.9),
        T.GaussianNoise((0.0, 0.3), 0.05, 0.9),
        T.GaussianBlur((0.1, 3.0), (7, 11), 0.9),
        T.Sharpness((0.0, 3.0), 0.9),
    ]


RAW = T.Normalize(0.0, 1.0)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_each_operation_against_the_twin(dtype, channels):
    for operation in operations(channels):
        height, width = (20, 20) if isinstance(operation, T.Jigsaw) else RNG.integers(16, 45, 2)
        images = images_of(dtype, (5, height, width, channels))
        augment = T.Recipe([operation, RAW])
        params, views = augment.sample(images, seed=6), augment(images, seed=6)
        np.testing.assert_array_equal(augment.apply(images, params), views)
        as_bytes = np.zeros(images.shape, np.uint8)
        np.testing.assert_array_equal(augment.sample(as_bytes, seed=6), params)
        for view in range(2):
            for n, image in enumerate(images):
                drawn = params[operation.field][view, n] if operation.draw is not None else None
                expected = deep.changed(image, operation, drawn)
                np.testing.assert_allclose(views[view, n], expected, rtol=0, atol=1e-5, err_msg=repr(operation))


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_tiny_images(dtype):
    for shape in [(1, 1), (1, 5), (2, 2), (3, 1), (3, 3)]:
        images = images_of(dtype, (3, *shape, 3))
        for operation in operations(3):
            if isinstance(operation, T.GaussianBlur):
                operation = T.GaussianBlur(kernel_size=(min(shape[1] | 1, 2 * shape[1] - 1), 2 * shape[0] - 1))
            augment = T.Recipe([operation, RAW], views=1)
            try:
                params = augment.sample(images, seed=7)
            except ValueError as error:
                assert "at least 2 x 2" in str(error) or "padded image" in str(error) or "divide" in str(error)
                continue
            views = augment(images, seed=7)
            for n, image in enumerate(images):
                drawn = params[operation.field][0, n] if operation.draw is not None else None
                expected = deep.changed(image, operation, drawn)
                np.testing.assert_allclose(views[0, n], expected, rtol=0, atol=2e-5, err_msg=repr(operation))


def test_special_colors():
    """Greys, primary and secondary colours, black and white, and what is beyond."""
    corners = np.stack(np.meshgrid(*[[-0.25, 0.0, 0.5, 1.0, 1.5]] * 3, indexing="ij"), -1).reshape(1, 25, 5, 3)
    images = corners.astype(np.float32)
    for operation in (T.ColorJitter(hue=0.5), T.ColorJitter(0.5, 0.5, 0.5, 0.5), T.Autocontrast(1.0), T.Grayscale(1.0)):
        augment = T.Recipe([operation, RAW], views=20)
        params, views = augment.sample(images, seed=8), augment(images, seed=8)
        for view in range(20):
            expected = deep.changed(images[0], operation, params[operation.field][view, 0])
            np.testing.assert_allclose(views[view, 0], expected, rtol=0, atol=1e-5)
    flat = np.full((1, 4, 4, 3), 0.25, np.float32)
    for operation in (T.Autocontrast(1.0), T.Grayscale(1.0), T.ColorJitter(0, 0.5, 0.5, 0.5), T.Sharpness(3.0, 1.0)):
        np.testing.assert_allclose(T.Recipe([operation, RAW], views=1)(flat)[0], flat, atol=1e-6)


def test_a_recipe_of_all():
    """What one operation gives is what the next one takes, nothing rounded; the same bits for any threads."""
    resizing = (T.Resize, T.RandomResizedCrop, T.RandomCrop, T.CenterCrop, T.Jigsaw)
    same_size = [operation for operation in operations(3) if not isinstance(operation, resizing)]
    chosen = [T.Resize((40, 44)), *same_size[:5], *same_size[-14:], T.RandomCrop(30, 3), T.Jigsaw(3)]
    augment = T.Recipe([*chosen, RAW], views=3)
    for dtype in (np.uint16, np.float32):
        images = images_of(dtype, (5, 31, 37, 3))
        params, views = augment.sample(images, seed=9), augment(images, seed=9)
        before = nf.get_num_threads()
        for threads in (1, 2, 7):
            nf.set_num_threads(threads)
            np.testing.assert_array_equal(augment(images, seed=9), views)
        nf.set_num_threads(before)
        white = 65535.0 if dtype == np.uint16 else 1.0
        counts = dict.fromkeys(params.dtype.names, 0)
        names = iter(params.dtype.names)
        fields = [None if operation.draw is None else next(names) for operation in chosen]
        assert len(counts) == sum(name is not None for name in fields)
        for view in range(3):
            for n, image in enumerate(images):
                expected = image.astype(np.float64)
                for operation, name in zip(chosen, fields, strict=True):
                    drawn = params[name][view, n] if name else None
                    expected = deep.CHANGES[type(operation).__name__](expected, operation, drawn, white)
                # a value beside a threshold, or a hue beside a grey, may fall on either side
                wrong = np.abs(views[view, n] - expected / white) > 2e-4
                assert wrong.mean() < 0.01


@pytest.mark.parametrize("preset", [T.SimCLR, T.BYOL, T.MoCoV2, T.MoCoV3, T.SupCon])
def test_presets(preset):
    """Views of deep images are those of their bytes but for the rounding of each of its operations."""
    images = np.repeat(np.repeat(RNG.integers(0, 256, (6, 12, 12, 3), np.uint8), 4, 1), 4, 2)
    augment = preset(24)
    views = augment.denormalize(augment(images, seed=10))
    for other in (images.astype(np.uint16) * np.uint16(257), (images / 255).astype(np.float32)):
        error = np.abs(augment.denormalize(augment(other, seed=10)) - views)
        assert np.quantile(error, 0.95) < 6 / 255 and np.median(error) < 2 / 255


def test_bytes_and_deep_images_agree():
    """The same image in all three types: within the rounding of bytes to whole numbers, twice."""
    images = RNG.integers(0, 256, (5, 40, 41, 3), np.uint8)
    augment = recipe(24)
    views = augment(images, seed=2)
    for other in (images.astype(np.uint16) * np.uint16(257), (images / 255).astype(np.float32)):
        assert np.abs(augment(other, seed=2) - views).max() < 1.5 / 255 / 0.2
        np.testing.assert_allclose(augment.plain(other[:, :24, :24]), augment.plain(images[:, :24, :24]), atol=1e-5)
        np.testing.assert_array_equal(augment.sample(other, seed=2), augment.sample(images, seed=2))


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_same_bits_and_any_layout(dtype):
    images = images_of(dtype)
    augment = T.MultiView([recipe(20).operations] * 2 + [recipe((9, 11), "bicubic").operations])
    views = augment(images, seed=3)
    before, copy = nf.get_num_threads(), images.copy()
    for threads in (1, 2, 3, 7):
        nf.set_num_threads(threads)
        for one, other in zip(augment(images, seed=3), views, strict=True):
            np.testing.assert_array_equal(one, other)
    nf.set_num_threads(before)
    wide = np.repeat(images, 2, axis=0)
    for given in (list(images), wide[::2], np.asfortranarray(images), [np.asfortranarray(image) for image in images]):
        for one, other in zip(augment(given, seed=3), views, strict=True):
            np.testing.assert_array_equal(one, other)
    for n in (0, 5):
        alone = augment([images[n]], seed=3, indices=[n])
        for one, other in zip(alone, views, strict=True):
            np.testing.assert_array_equal(one[:, 0], other[:, n])
    np.testing.assert_array_equal(images, copy)


def test_golden_views():
    """The same bits on every instruction set, and from version to version."""
    rng = np.random.default_rng(31)
    deep = rng.integers(0, 65536, (4, 33, 40, 3), np.uint16)
    real = (deep[..., :2] / 65536).astype(np.float32)
    views = [recipe(17)(deep, seed=4), recipe((40, 9), "bicubic", 2)(real, seed=4)]
    assert [hashlib.sha256(view.tobytes()).hexdigest()[:16] for view in views] == [
        "c5ed1f9c46e6d8ce",
        "4e22f462b3dd4899",
    ]


def test_golden_views_of_other_operations():
    moves = [T.RandomPerspective(0.5, 1.0), T.RandomPerspective(0.5, 1.0, "nearest"), T.RandomCrop(28, 2, fill=9)]
    colors = [T.ColorJitter(0.4, 0.4, 0.4, 0.1), T.Sharpness(2.0, 1.0), T.Solarize(150.0, 1.0), T.Autocontrast(1.0)]
    deep_images = np.random.default_rng(32).integers(0, 65536, (4, 33, 40, 3), np.uint16)
    views = T.Recipe([*moves, *colors])(deep_images, seed=5)
    assert hashlib.sha256(views.tobytes()).hexdigest()[:16] == "7d92be8b0f486e69"


def test_other_lists_of_operations():
    images = images_of(np.float32)
    same = T.Normalize(0.0, 1.0)
    np.testing.assert_array_equal(T.Recipe([same], views=1)(images)[0], images)
    np.testing.assert_array_equal(T.Recipe([T.HorizontalFlip(1.0), same], views=1)(images)[0], images[:, :, ::-1])
    twice = [T.HorizontalFlip(1.0), T.RandomResizedCrop(12), T.RandomResizedCrop(30), T.HorizontalFlip(1.0), same]
    assert T.Recipe(twice)(images).shape == (2, 6, 30, 30, 3)
    clips = images.reshape(2, 3, *images.shape[1:])
    assert T.Clips(recipe(8))(clips).shape == (2, 2, 3, 8, 8, 3)
    out = np.empty((2, 6, 8, 8, 3), np.float32)
    assert recipe(8)(images, out=out) is out


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 3e38, -2e30])
def test_numbers_that_are_not_finite(number):
    images = images_of(np.float32)
    images[4, 2, 3, 1] = images[3, 32, 39, 2] = number
    with pytest.raises(ValueError, match=r"images must be finite and at most 1e[+]30 in size: image 3 is not"):
        recipe(8)(images)


def test_large_numbers_stay_finite():
    images = np.where(images_of(np.float32) > 0.5, np.float32(1e30), np.float32(-1e30))
    normal = T.Normalize(0.0, 1e-6)
    augment = T.Recipe([T.RandomResizedCrop(50, interpolation="bicubic"), normal])
    assert np.isfinite(augment(images)).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda i: T.Recipe([T.Posterize()])(i), ValueError, "Posterize needs uint8 images, got float32"),
        (lambda i: T.Recipe([T.Invert(), T.Equalize()])(i), ValueError, "Equalize needs uint8 images, got float32"),
        (lambda i: T.Recipe([T.Posterize()])(i.astype(np.uint16)), ValueError, "uint8 images, got uint16"),
        (
            lambda i: T.Recipe([T.PillowGaussianBlur()])(i),
            ValueError,
            "PillowGaussianBlur needs uint8 images, got float32",
        ),
        (lambda i: T.Recipe([T.Grayscale()])(i[..., :2]), ValueError, "3 channels"),
        (lambda i: T.Recipe([T.CenterCrop(50)])(i), ValueError, "50"),
        (lambda i: recipe(8)(i, dtype=np.uint8), ValueError, "must be float32, got uint8"),
        (lambda i: recipe(8)([i[0], i[1].astype(np.uint16)]), TypeError, "same dtype"),
        (lambda i: recipe(8)(i.astype(np.float16)), TypeError, "float16"),
        (lambda i: recipe(8)(i.astype(">f4")), TypeError, "uint8, uint16 or float32"),
        (lambda i: recipe(8)(i[:, :0]), ValueError, "rows and columns"),
        (lambda i: recipe(8)(i, out=i.reshape(-1)[: 2 * 6 * 192].reshape(2, 6, 8, 8, 3)), ValueError, "overlap"),
    ],
)
def test_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(images_of(np.float32))


def test_failed_allocations():
    images, augment = images_of(np.float32), recipe(8)
    expected = augment(images)
    for n in range(1, 30):
        nf._core._alloc_fail_at(n)
        try:
            views = augment(images)
        except MemoryError:
            continue
        finally:
            nf._core._alloc_fail_at(0)
        np.testing.assert_array_equal(views, expected)
        break
    else:
        pytest.fail("never succeeded")
    assert n > 4
