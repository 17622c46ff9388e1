"""Recipes on images of uint16 and float32, against the NumPy twin."""

import hashlib

import nearfar as nf
import numpy as np
import pytest
from nearfar import transforms as T
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
        (lambda i: T.SimCLR(8)(i), ValueError, "all else needs uint8"),
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
