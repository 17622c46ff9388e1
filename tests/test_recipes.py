"""Recipes against the NumPy twin, and what is promised of their draws."""

import hashlib
from dataclasses import MISSING, fields

import nearfar as nf
import numpy as np
import pytest
from nearfar import _core
from nearfar import transforms as T
from nearfar.recipe_operations import ROW, Operation, rows_of
from reference import transforms as twin

NAN = float("nan")


def random_image(rng, height, width, channels=3):
    """Noise, or something smooth, so that both rough and even areas occur."""
    image = rng.integers(0, 256, (height, width, channels), np.uint8)
    if rng.random() < 0.5:
        y, x = np.mgrid[0:height, 0:width]
        waves = np.sin(x[..., None] * rng.uniform(0, 0.3, channels) + y[..., None] * rng.uniform(0, 0.3, channels))
        image = np.clip(127 + 127 * waves + image // 32, 0, 255).astype(np.uint8)
    return image


RNG = np.random.default_rng(9)
IMAGES = np.stack([random_image(RNG, 40, 50) for _ in range(24)])
GRAY = np.stack([random_image(RNG, 28, 28, 1) for _ in range(12)])


@pytest.mark.parametrize(("images", "size"), [(IMAGES, (32, 32)), (IMAGES, (17, 45)), (GRAY, (28, 28))])
def test_views_are_what_the_parameters_say(images, size):
    augment = T.SimCLR(size)
    channels = images.shape[3]
    params = augment.sample(len(images), seed=3, epoch=1, image_size=images.shape[1:3], channels=channels)
    views = augment(images, seed=3, epoch=1)
    assert views.shape == (2, len(images), *size, channels)
    assert views.dtype == np.float32 and views.ctypes.data % 64 == 0
    np.testing.assert_array_equal(augment.apply(images, params), views)
    mean, std = (T.IMAGENET_MEAN, T.IMAGENET_STD) if channels == 3 else ((0.5,), (0.5,))
    kernel = twin.smallest_kernel(min(size))
    level = 1 / (255 * np.min(std))
    for view in range(2):
        for n, image in enumerate(images):
            expected = twin.simclr_view(image, params[view, n], size, kernel, mean, std)
            blurred = params[view, n]["blur"]["applied"]
            np.testing.assert_allclose(views[view, n], expected, rtol=0, atol=1.01 * level if blurred else 2e-6)


def test_views_do_not_depend_on_batches_order_or_threads():
    augment = T.SimCLR(32)
    views = augment(IMAGES, seed=5, epoch=2)
    order = np.random.default_rng(0).permutation(len(IMAGES))
    np.testing.assert_array_equal(augment(IMAGES[order], seed=5, epoch=2, indices=order), views[:, order])
    some = order[:5]
    images = [np.asfortranarray(IMAGES[n]) for n in some]
    np.testing.assert_array_equal(augment(images, seed=5, epoch=2, indices=some), views[:, some])
    before = nf.get_num_threads()
    for threads in (1, 2, 3):
        nf.set_num_threads(threads)
        np.testing.assert_array_equal(augment(IMAGES, seed=5, epoch=2), views)
    nf.set_num_threads(before)


@pytest.mark.parametrize(("interpolation", "channels"), [("bilinear", 3), ("bicubic", 1), ("nearest", 4)])
def test_views_of_many_small_images_are_those_of_each(interpolation, channels):
    """Weights of resampling are kept from view to view; boxes of all sizes and several crops share their places."""
    rng = np.random.default_rng(1)
    images = [random_image(rng, *rng.integers(9, 80, 2), channels) for _ in range(90)]
    crops = [T.RandomResizedCrop(size, scale=(0.05, 1), interpolation=interpolation) for size in ((20, 33), (32, 28))]
    augment = T.Recipe([crops[0], T.HorizontalFlip(), crops[1], T.HorizontalFlip(), T.Resize(24)])
    views = augment(images, seed=4)
    for n in range(0, 90, 3):
        np.testing.assert_array_equal(augment(images[n : n + 1], seed=4, indices=[n]), views[:, n : n + 1])


def test_draws_differ_by_seed_epoch_index_and_view():
    augment = T.SimCLR(32)
    first = augment.sample(1, seed=1, epoch=1, image_size=1000)
    others = [
        augment.sample(1, seed=2, epoch=1, image_size=1000),
        augment.sample(1, seed=1 + 2**32, epoch=1, image_size=1000),
        augment.sample(1, seed=1, epoch=2, image_size=1000),
        augment.sample([1], seed=1, epoch=1, image_size=1000),
        augment.sample([2**32], seed=1, epoch=1, image_size=1000),
        first[::-1],
    ]
    for other in others:
        assert (first["crop"] != other["crop"]).all()


def test_golden_views():
    """The same bits on every instruction set, and from version to version."""
    rng = np.random.default_rng(10)
    images, gray = rng.integers(0, 256, (12, 40, 50, 3), np.uint8), rng.integers(0, 256, (12, 28, 28, 1), np.uint8)
    views = [
        T.SimCLR(32)(images, seed=11),
        T.SimCLR((21, 47))(images, seed=11),
        T.SimCLR(28)(gray, seed=11),
        T.SimCLR(32).plain(images),
        T.gaussian_blur(images, 11, 1.7),
    ]
    assert [hashlib.sha256(view.tobytes()).hexdigest()[:16] for view in views] == [
        "c34c4b7607cfa557",
        "2cc89a8e97b94211",
        "f44185866b3484f2",
        "ce36861630b4126b",
        "b263872876e96b48",
    ]


def test_images_of_many_sizes():
    rng = np.random.default_rng(12)
    images = [random_image(rng, *rng.integers(1, 90, 2)) for _ in range(40)]
    augment = T.SimCLR(16)
    views = augment(images, seed=1)
    for n in (0, 7, 39):
        np.testing.assert_array_equal(augment([images[n]], seed=1, indices=[n])[:, 0], views[:, n])
    sizes = np.array([image.shape[:2] for image in images])
    params = augment.sample(len(images), seed=1, image_size=sizes)
    np.testing.assert_array_equal(augment.apply(images, params), views)
    gray = [image[..., 0] for image in images]
    assert augment(gray).shape == (2, 40, 16, 16, 1)
    assert augment(tuple(gray)).shape == (2, 40, 16, 16, 1)


def test_plain():
    augment = T.SimCLR(16, mean=0.5, std=0.25)
    same = IMAGES[:, :16, :16]
    np.testing.assert_allclose(augment.plain(same), (same / 255 - 0.5) / 0.25, atol=1e-6)
    # images of 40 x 50: the middle 40 x 40
    expected = np.stack([T.resized_crop(image, 0, 5, 40, 40, 16) for image in IMAGES])
    np.testing.assert_allclose(augment.plain(IMAGES), (expected / 255 - 0.5) / 0.25, atol=1e-6)
    out = np.empty((len(IMAGES), 16, 16, 3), np.float32)
    assert augment.plain(IMAGES, out=out).base is not None
    np.testing.assert_array_equal(out, augment.plain(IMAGES))
    for shape in [(1, 1), (1, 50), (50, 1), (3, 400)]:
        assert T.SimCLR((8, 24)).plain([np.zeros((*shape, 3), np.uint8)]).shape == (1, 8, 24, 3)


def test_denormalize():
    for augment in (T.SimCLR(16), T.SimCLR(16, mean=0.2, std=(0.1, 0.2, 0.3)), T.Recipe([T.RandomResizedCrop(16)])):
        pictures = augment.denormalize(augment.plain(IMAGES[:, :16, :16]))
        assert pictures.dtype == np.float32
        np.testing.assert_allclose(pictures, IMAGES[:, :16, :16] / 255, atol=1e-6)


def test_out():
    augment = T.SimCLR(16)
    out = np.full((2, len(IMAGES), 16, 16, 3), np.nan, np.float32)
    assert augment(IMAGES, seed=4, out=out) is out
    np.testing.assert_array_equal(out, augment(IMAGES, seed=4))
    for bad, error in [
        (out[:1], ValueError),
        (out.astype(np.float64), TypeError),
        (out[..., ::-1], ValueError),
        (out.tolist(), TypeError),
        (out[0], ValueError),
    ]:
        with pytest.raises(error, match="out"):
            augment(IMAGES, out=bad)
    shared = np.zeros(2 * 4 * 16 * 16 * 3, np.float32)
    images = shared.view(np.uint8)[: 4 * 16 * 16 * 3].reshape(4, 16, 16, 3)
    with pytest.raises(ValueError, match="overlap"):
        augment(images, out=shared.reshape(2, 4, 16, 16, 3))


def test_other_orders_and_operations():
    """Operations before the crop, several crops, a recipe without any: each is its one-image function."""
    recipe = T.Recipe(
        [
            T.HorizontalFlip(1.0),
            T.ColorJitter(brightness=(1.5, 1.5)),
            T.RandomResizedCrop(30, interpolation="bicubic"),
            T.GaussianBlur((1.2, 1.2), (5, 3), 1.0),
            T.RandomResizedCrop((12, 13), scale=(0.5, 0.5)),
            T.HorizontalFlip(1.0),
            T.Grayscale(1.0),
            T.Normalize(0.0, 1 / 255),
        ],
        views=3,
    )
    params = recipe.sample(len(IMAGES), seed=8, image_size=(40, 50))
    assert params.dtype.names == ("flip", "jitter", "crop", "blur", "crop_2", "flip_2", "grayscale")
    views = recipe.apply(IMAGES, params)
    np.testing.assert_array_equal(views, recipe(IMAGES, seed=8))
    for view in range(3):
        for n, image in enumerate(IMAGES):
            first, second = params[view, n]["crop"], params[view, n]["crop_2"]
            image = T.adjust_brightness(T.hflip(image), 1.5)
            image = T.gaussian_blur(T.resized_crop(image, *first, 30, "bicubic"), (5, 3), 1.2)
            image = T.rgb_to_grayscale(T.resized_crop(image, *second, (12, 13))[:, ::-1], 3)
            # a mirrored crop rounds its weights at mirrored places: a level apart at most
            assert np.abs(views[view, n] - image).max() <= 1.001
    plain = T.Recipe([T.HorizontalFlip(0.0)], views=1)
    assert plain(IMAGES).shape == (1, *IMAGES.shape)
    assert T.Recipe([], views=1)(IMAGES).shape == (1, *IMAGES.shape)
    with pytest.raises(ValueError, match="RandomResizedCrop"):
        plain([IMAGES[0], IMAGES[0][:5]])


def test_channels_of_recipes():
    images = np.zeros((2, 20, 20, 5), np.uint8)
    for kwargs in ({"jitter": 0.0}, {"grayscale": 0.0}):
        with pytest.raises(ValueError, match="3 channels"):
            T.SimCLR(8, **kwargs)(images)
    assert T.SimCLR(8, jitter=0.0, grayscale=0.0)(images).shape == (2, 2, 8, 8, 5)
    assert T.SimCLR(8, saturation=0, hue=0, grayscale=0.0)(images).shape == (2, 2, 8, 8, 5)
    with pytest.raises(ValueError, match="same number of channels"):
        T.SimCLR(8)([images[0, ..., :3], images[1]])
    with pytest.raises(ValueError, match="mean"):
        T.SimCLR(8, mean=(0.1, 0.2))(IMAGES)


def test_leaving_out_a_step_is_not_a_neutral_step():
    """Going through HSV and back changes pixels even at no shift, so hue 0 must not go there."""
    recipe = T.Recipe([T.ColorJitter(p=1.0), T.Normalize(0.0, 1 / 255)], views=1)
    np.testing.assert_allclose(recipe(IMAGES)[0], IMAGES, atol=1e-4)


# ---- distributions ----


def test_distribution_of_crops():
    count, height, width = 4000, 300, 400
    crop = T.SimCLR(32).sample(count, seed=1, image_size=(height, width))["crop"]
    assert (crop["top"] >= 0).all() and (crop["top"] + crop["height"] <= height).all()
    assert (crop["left"] >= 0).all() and (crop["left"] + crop["width"] <= width).all()
    area = crop["height"] * crop["width"] / (height * width)
    ratio = np.log(crop["width"] / crop["height"])
    assert 0.078 < area.min() < 0.09 and area.max() > 0.95
    # small boxes always fit: there area and log ratio are uniform
    small = area < 0.5
    assert abs(area[small].mean() - (0.08 + 0.5) / 2) < 0.01
    assert abs(ratio[small].mean()) < 0.015 and abs(ratio[small].std() - np.log(16 / 9) / 12**0.5) < 0.01
    free = height - crop["height"]
    place = crop["top"][free > 20] / free[free > 20]
    assert abs(place.mean() - 0.5) < 0.02 and abs(place.std() - 12**-0.5) < 0.02


def test_crop_falls_back_to_the_centre():
    for height, width in [(10, 400), (400, 10), (1, 1), (1, 300)]:
        recipe = T.Recipe([T.RandomResizedCrop(8, scale=(1.0, 1.0))])
        crop = recipe.sample(5, image_size=(height, width))["crop"]
        expected = twin.central_box(height, width, (3 / 4, 4 / 3))
        assert all(tuple(box) == expected for box in crop.ravel())


def test_distribution_of_colours_flips_and_blur():
    augment = T.SimCLR(32, flip=0.3, jitter=0.7, grayscale=0.25, blur=0.6, strength=0.5)
    params = augment.sample(6000, seed=2, image_size=32)
    for name, p in [("flip", 0.3), ("jitter", 0.7), ("grayscale", 0.25), ("blur", 0.6)]:
        assert abs(params[name]["applied"].mean() - p) < 0.02
    jitter = params["jitter"][params["jitter"]["applied"]]
    for name, low, high in [("brightness", 0.6, 1.4), ("saturation", 0.6, 1.4), ("hue", -0.1, 0.1)]:
        values = (jitter[name] - low) / (high - low)
        assert values.min() >= 0 and values.max() <= 1
        assert abs(values.mean() - 0.5) < 0.015 and abs(values.std() - 12**-0.5) < 0.01
    orders, counts = np.unique(jitter["order"], axis=0, return_counts=True)
    assert len(orders) == 24 and counts.min() > 0.7 * counts.mean() and counts.max() < 1.3 * counts.mean()
    sigma = params["blur"]["sigma"][params["blur"]["applied"]]
    assert 0.1 <= sigma.min() < 0.11 and 1.98 < sigma.max() <= 2.0 and abs(sigma.mean() - 1.05) < 0.03
    # views, operations and samples are independent of each other
    for a, b in [
        (params["flip"]["applied"][0], params["flip"]["applied"][1]),
        (params["flip"]["applied"], params["grayscale"]["applied"]),
        (params["jitter"]["brightness"][:, :-1], params["jitter"]["brightness"][:, 1:]),
    ]:
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.05


def test_probabilities_zero_and_one():
    params = T.SimCLR(32, flip=0, jitter=1, grayscale=0.0, blur=1).sample(500, image_size=32)
    assert not params["flip"]["applied"].any() and not params["grayscale"]["applied"].any()
    assert params["jitter"]["applied"].all() and params["blur"]["applied"].all()


# ---- errors of recipes ----


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: T.SimCLR(0), ValueError, "size must be in 1..16384"),
        (lambda: T.SimCLR(32.0), TypeError, "size"),
        (lambda: T.SimCLR(10**9), ValueError, "size"),
        (lambda: T.SimCLR(32, scale=(0.0, 1.0)), ValueError, "scale"),
        (lambda: T.SimCLR(32, scale=(0.5, 0.4)), ValueError, "scale"),
        (lambda: T.SimCLR(32, scale=(NAN, 1.0)), ValueError, "scale"),
        (lambda: T.SimCLR(32, scale=0.5), ValueError, "scale"),
        (lambda: T.SimCLR(32, ratio=(-1.0, 1.0)), ValueError, "ratio"),
        (lambda: T.SimCLR(32, flip=1.1), ValueError, "p must be a probability in 0..1, got 1.1"),
        (lambda: T.SimCLR(32, blur=NAN), ValueError, "p must be"),
        (lambda: T.SimCLR(32, jitter="often"), TypeError, "p must be"),
        (lambda: T.SimCLR(32, strength=-1), ValueError, "strength"),
        (lambda: T.SimCLR(32, strength=NAN), ValueError, "strength"),
        (lambda: T.SimCLR(32, brightness=-0.1), ValueError, "brightness"),
        (lambda: T.SimCLR(32, brightness=(-1.0, 1.0)), ValueError, "brightness"),
        (lambda: T.SimCLR(32, hue=0.6), ValueError, "hue"),
        (lambda: T.SimCLR(32, hue=-0.1), ValueError, "hue"),
        (lambda: T.SimCLR(32, std=0.0), ValueError, "std"),
        (lambda: T.SimCLR(32, mean=(NAN, 0, 0)), ValueError, "mean"),
        (lambda: T.GaussianBlur(kernel_size=4), ValueError, "kernel_size"),
        (lambda: T.GaussianBlur(sigma=(0.0, 1.0)), ValueError, "sigma"),
        (lambda: T.RandomResizedCrop(8, interpolation="lanczos"), ValueError, "interpolation"),
        (lambda: T.Recipe([T.Normalize(), T.HorizontalFlip()]), TypeError, "Normalize must come last"),
        (lambda: T.Recipe(["flip"]), TypeError, "operations"),
        (lambda: T.Recipe([], views=0), ValueError, "views"),
        (lambda: T.Recipe([T.HorizontalFlip()] * 65)(IMAGES), ValueError, "up to 64 operations"),
        (
            lambda: T.SimCLR(32)(IMAGES.astype(np.float64)),
            TypeError,
            "uint8, uint16 or float32, got float64",
        ),
        (lambda: T.SimCLR(32)([IMAGES[0].astype(int)]), TypeError, "uint8"),
        (lambda: T.SimCLR(32)(IMAGES[0, 0]), ValueError, "images must be"),
        (lambda: T.SimCLR(32)([IMAGES]), ValueError, "each image"),
        (lambda: T.SimCLR(32)([]), ValueError, "at least one image"),
        (lambda: T.SimCLR(32)(IMAGES[:0]), ValueError, "at least one image"),
        (lambda: T.SimCLR(32)(np.zeros((2, 0, 4, 3), np.uint8)), ValueError, "rows and columns"),
        (lambda: T.SimCLR(32)(np.zeros((2, 4, 4, 0), np.uint8)), ValueError, "channel"),
        (lambda: T.SimCLR(32)([np.zeros((4, 0), np.uint8)]), ValueError, "rows and columns"),
        (lambda: T.SimCLR(32)(IMAGES, seed=-1), ValueError, "seed"),
        (lambda: T.SimCLR(32)(IMAGES, seed=2**64), ValueError, "seed"),
        (lambda: T.SimCLR(32)(IMAGES, seed=0.5), TypeError, "seed"),
        (lambda: T.SimCLR(32)(IMAGES, epoch=2**32), ValueError, "epoch"),
        (lambda: T.SimCLR(32)(IMAGES, indices=[0, 1]), ValueError, "indices"),
        (lambda: T.SimCLR(32)(IMAGES, indices=np.full(len(IMAGES), -1)), ValueError, "indices must be >= 0"),
        (lambda: T.SimCLR(32)(IMAGES, indices=np.zeros(len(IMAGES))), TypeError, "indices"),
        (lambda: T.Recipe([T.GaussianBlur(kernel_size=99)])(IMAGES), ValueError, "kernel_size"),
        (lambda: T.SimCLR(32).sample(4, image_size=0), ValueError, "rows and columns"),
        (lambda: T.SimCLR(32).sample(4, image_size=np.ones((3, 2), int)), ValueError, "image_size"),
        (lambda: T.Recipe([]).view_size(), ValueError, "size of the views"),
    ],
)
def test_bad_recipes(call, error, message):
    with pytest.raises(error, match=message):
        call()


def spoil(**changes):
    """Parameters of SimCLR(16) with one thing wrong in one record."""
    params = T.SimCLR(16, blur=1.0, jitter=1.0).sample(len(IMAGES), image_size=(40, 50)).copy()
    for path, value in changes.items():
        operation, name = path.split("__")
        params[operation][name][1, 3] = value
    return params


@pytest.mark.parametrize(
    "changes",
    [
        {"crop__top": -1},
        {"crop__left": 50},
        {"crop__height": 0},
        {"crop__height": 2**31 - 1},
        {"crop__width": -(2**31)},
        {"crop__top": 2**31 - 1},
        {"jitter__order": [0, 1, 2, 2]},
        {"jitter__order": [0, 1, 2, 200]},
        {"jitter__brightness": NAN},
        {"jitter__contrast": -1.0},
        {"jitter__saturation": float("inf")},
        {"jitter__hue": 0.7},
        {"blur__sigma": 0.0},
        {"blur__sigma": NAN},
    ],
)
def test_replayed_parameters_are_checked(changes):
    with pytest.raises(ValueError):
        T.SimCLR(16, blur=1.0, jitter=1.0).apply(IMAGES, spoil(**changes))


def test_replay_of_wrong_arrays():
    augment = T.SimCLR(16)
    params = augment.sample(len(IMAGES), image_size=(40, 50))
    np.testing.assert_array_equal(augment.apply(IMAGES, params[:, ::-1][:, ::-1]), augment(IMAGES))
    with pytest.raises(ValueError, match="params"):
        augment.apply(IMAGES, params[:, :-1])
    with pytest.raises(ValueError, match="params"):
        augment.apply(IMAGES, params[0])
    with pytest.raises(TypeError, match="params"):
        augment.apply(IMAGES, np.zeros((2, len(IMAGES)), np.float32))
    with pytest.raises(TypeError, match="params"):
        augment.apply(IMAGES, T.Recipe([T.HorizontalFlip()]).sample(len(IMAGES), image_size=8))
    with pytest.raises(ValueError, match="crop box"):
        augment.apply(IMAGES[:, :20], params)


def test_parameters_can_be_saved(tmp_path):
    augment = T.SimCLR(16)
    params = augment.sample(len(IMAGES), seed=2, image_size=(40, 50))
    np.save(tmp_path / "params.npy", params)
    np.testing.assert_array_equal(augment.apply(IMAGES, np.load(tmp_path / "params.npy")), augment(IMAGES, seed=2))


def test_replay_of_noise_never_crashes():
    augment = T.SimCLR(16)
    rng = np.random.default_rng(13)
    shape = (2, 4)
    for _ in range(300):
        raw = rng.integers(0, 256, (*shape, augment.dtype.itemsize), np.uint8)
        params = raw.reshape(2, -1).view(augment.dtype)
        with pytest.raises(ValueError):
            augment.apply(IMAGES[:4], params)


def test_core_refuses_nonsense():
    """The core's own checks, without those of transforms.py."""
    row = np.zeros((1, ROW))
    for kind in (-1, 99, 2.5, NAN, 1e300):
        row[0, 0] = kind
        with pytest.raises(ValueError, match="unknown kind"):
            _core.check_transforms(row)
    with pytest.raises(ValueError):
        _core.check_transforms(np.zeros((1, ROW - 1)))
    row[0, 0] = 0
    for bad in (0, -1, 1e18, NAN, 7.5):
        row[0, 2:10] = [bad, 8, 0.5, 1, 1, 1, 0, 0]
        with pytest.raises(ValueError, match="size"):
            _core.check_transforms(row)
    flip = np.array([[1, 0.5] + [0] * (ROW - 2)])
    records = np.zeros((1, 2, 7), np.uint8)
    with pytest.raises(ValueError, match="params"):
        _core.recipe_apply(flip, 1, IMAGES[:2], records, np.zeros(3), np.ones(3), False, False, None)
    for views in (0, -1, 2**31 - 1):
        with pytest.raises((ValueError, MemoryError)):
            _core.recipe_sample(flip, views, 0, 3, np.ones((1, 2), int), np.zeros(1, int), 0, 0)


def test_failed_allocations():
    """Each allocation of a call fails once: MemoryError, and all is well afterwards."""
    augment = T.SimCLR(16)
    expected = augment(IMAGES[:2])
    for n in range(1, 30):
        _core._alloc_fail_at(n)
        try:
            views = augment(IMAGES[:2])
        except MemoryError:
            continue
        finally:
            _core._alloc_fail_at(0)
        np.testing.assert_array_equal(views, expected)
        break
    else:
        pytest.fail("never succeeded")
    assert n > 4
    _core._alloc_fail_at(2)
    with pytest.raises(MemoryError):
        T.adjust_saturation(IMAGES, 2.0)
    _core._alloc_fail_at(0)


# ---- presets ----


def test_simclr_is_a_list_of_operations():
    augment = T.SimCLR(224, strength=0.5, mean=0.5, std=0.5)
    crop, flip, jitter, gray, blur, norm = augment.operations
    assert crop == T.RandomResizedCrop((224, 224)) and flip == T.HorizontalFlip(0.5)
    assert jitter == T.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8) and gray == T.Grayscale(0.2)
    assert blur == T.GaussianBlur(p=0.5) and norm == T.Normalize(0.5, 0.5)
    assert T.SimCLR(32, brightness=0.4, contrast=(0.5, 2), saturation=0, hue=0).operations[2] == T.ColorJitter(
        0.4, (0.5, 2), p=0.8
    )
    assert augment == T.SimCLR((224, 224), strength=0.5, mean=0.5, std=0.5) and hash(augment) is not None
    assert "strength=0.5" in repr(augment) and "brightness=(0.6, 1.4)" in str(augment)
    listed = T.SimCLR(32, scale=[0.5, 1.0], hue=[0, 0.1], mean=[0.5] * 3, std=np.ones(3))
    assert hash(listed) == hash(T.SimCLR(32, scale=(0.5, 1.0), hue=(0, 0.1), mean=(0.5,) * 3, std=(1.0,) * 3))
    with pytest.raises(AttributeError):
        augment.size = 3
    recipe = T.Recipe(augment.operations)
    np.testing.assert_array_equal(recipe(IMAGES, seed=3), augment(IMAGES, seed=3))
    assert augment.view_size() == (224, 224)


def test_default_kernel_is_a_tenth_of_the_view():
    for size, kernel in [(224, 23), (32, 3), (96, 9), (28, 3), (2, 3), (1, 1), (1000, 101)]:
        assert T.GaussianBlur().row((size, size))[2:4] == [kernel, kernel] == [twin.smallest_kernel(size)] * 2


@pytest.mark.parametrize("kind", sorted(Operation.__subclasses__(), key=lambda kind: kind.kind))
def test_draws_are_as_large_as_the_core_has_them(kind):
    """`draw` is None where the core draws nothing."""
    operation = kind(*(16 for field in fields(kind) if field.default is MISSING))
    size = _core.check_transforms(rows_of([operation], (32, 32)))
    assert size == (0 if operation.draw is None else operation.draw.itemsize)
    recipe = T.Recipe([operation])
    assert list(recipe.dtype.names or ()) == [operation.field] * (operation.draw is not None)
