"""Random geometry in recipes: each operation is its one-image function, and its draws are torchvision's."""

import hashlib

import nearfar as nf
import numpy as np
import pytest
from nearfar import transforms as T

RAW = T.Normalize(0.0, 1 / 255)  # views in grey levels
RNG = np.random.default_rng(20)
IMAGES = RNG.integers(0, 256, (12, 40, 50, 3), np.uint8)
CORNERS = [(0, 0), (49, 0), (49, 39), (0, 39)]
NAN = float("nan")


def replayed(operation, images, seed=1):
    """Views of a recipe of one operation, and its draws."""
    recipe = T.Recipe([operation, RAW], views=2)
    params = recipe.sample(len(images), seed=seed, image_size=images.shape[1:3], channels=images.shape[3])
    views = recipe(images, seed=seed)
    np.testing.assert_array_equal(recipe.apply(images, params), views)
    return np.rint(views).astype(np.uint8), params


ONE_BY_ONE = {
    "vertical_flip": (T.VerticalFlip(), lambda x, d: T.vflip(x) if d["applied"] else x),
    "rotation": (
        T.RandomRotation((-70, 20), "bicubic", fill=(1, 2, 3)),
        lambda x, d: T.rotate(x, d["angle"], "bicubic", fill=(1, 2, 3)),
    ),
    "rotation by right angles": (T.RandomRotation((180, 180)), lambda x, d: T.rotate(x, 180)),
    "affine": (
        T.RandomAffine(20, (0.1, 0.3), (0.7, 1.4), (-10, 10, -5, 5), "nearest", fill=9),
        lambda x, d: T.affine(x, d["angle"], d["translate"], d["scale"], tuple(d["shear"]), "nearest", 9),
    ),
    "scale": (
        T.RandomAffine((0, 0), (0.2, 0.2), (0.5, 2.0), interpolation="nearest"),
        lambda x, d: T.affine(x, 0, d["translate"], d["scale"], 0, "nearest"),
    ),
    "perspective": (
        T.RandomPerspective(0.6, 0.7, fill=4),
        lambda x, d: T.perspective(x, CORNERS, d["endpoints"], fill=4) if d["applied"] else x,
    ),
    "place": (
        T.RandomCrop((39, 52), 4, 5),
        lambda x, d: T.crop(T.pad(x, 4, 5), d["top"], d["left"], 39, 52),
    ),
    "place in a mirror": (
        T.RandomCrop(30, (60, 1, 0, 70), padding_mode="reflect"),
        lambda x, d: T.crop(T.pad(x, (60, 1, 0, 70), padding_mode="reflect"), d["top"], d["left"], 30, 30),
    ),
    "erasing": (
        T.RandomErasing(0.8, value=(7, 8, 9)),
        lambda x, d: T.erase(x, d["top"], d["left"], d["height"], d["width"], (7, 8, 9)) if d["applied"] else x,
    ),
    "resize": (T.Resize(24), lambda x, d: T.resize(x, 24)),
    "resize to a size": (T.Resize((61, 20), "bicubic"), lambda x, d: T.resize(x, (61, 20), "bicubic")),
    "nearest": (T.Resize((61, 20), "nearest"), lambda x, d: T.resize(x, (61, 20), "nearest")),
    "center_crop": (T.CenterCrop((17, 22)), lambda x, d: T.center_crop(x, (17, 22))),
    "crop": (
        T.RandomResizedCrop((16, 18), interpolation="nearest"),
        lambda x, d: T.resized_crop(x, d["top"], d["left"], d["height"], d["width"], (16, 18), "nearest"),
    ),
}


@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_views_are_what_the_parameters_say(name):
    operation, function = ONE_BY_ONE[name]
    views, params = replayed(operation, IMAGES)
    field = params[operation.field] if operation.draw is not None else params
    for view in range(2):
        for n, image in enumerate(IMAGES):
            np.testing.assert_array_equal(views[view, n], function(image, field[view, n]))


FULL = [
    T.Resize(48),
    T.RandomCrop(44, 3, fill=8),
    T.VerticalFlip(),
    T.RandomRotation(30),
    T.ColorJitter(0.3, 0.3),
    T.RandomAffine(10, (0.1, 0.1), (0.8, 1.2), 5.0, "nearest"),
    T.RandomPerspective(0.4, 0.8, "bicubic"),
    T.CenterCrop(40),
    T.RandomResizedCrop(32, interpolation="nearest"),
    T.HorizontalFlip(),
    T.RandomErasing(0.7),
]


def test_a_recipe_of_all():
    recipe = T.Recipe(FULL)
    assert recipe.view_size() == (32, 32)
    views = recipe(IMAGES, seed=5, epoch=2)
    assert views.shape == (2, 12, 32, 32, 3)
    order = np.random.default_rng(0).permutation(len(IMAGES))
    np.testing.assert_array_equal(recipe(IMAGES[order], seed=5, epoch=2, indices=order), views[:, order])
    before = nf.get_num_threads()
    for threads in (1, 2, 3, 7):
        nf.set_num_threads(threads)
        np.testing.assert_array_equal(recipe(IMAGES, seed=5, epoch=2), views)
    nf.set_num_threads(before)
    params = recipe.sample(12, seed=5, epoch=2, image_size=(40, 50))
    names = ("place", "vertical_flip", "rotation", "jitter", "affine", "perspective", "crop", "flip", "erasing")
    assert params.dtype.names == names
    np.testing.assert_array_equal(recipe.apply(IMAGES, params), views)
    # the same, by functions: what is mirrored after the crop is the crop's own business
    last = {"flip": T.hflip, "vertical_flip": T.vflip}
    p = params[1, 3]
    image = T.crop(T.pad(T.resize(IMAGES[3], 48), 3, 8), *p["place"], 44, 44)
    image = last["vertical_flip"](image) if p["vertical_flip"]["applied"] else image
    image = T.rotate(image, p["rotation"]["angle"])
    steps = [T.adjust_brightness, T.adjust_contrast]
    for step in p["jitter"]["order"]:
        if step < 2:
            image = steps[step](image, (p["jitter"]["brightness"], p["jitter"]["contrast"])[step])
    a = p["affine"]
    image = T.affine(image, a["angle"], a["translate"], a["scale"], tuple(a["shear"]), "nearest")
    if p["perspective"]["applied"]:
        corners = [(0, 0), (43, 0), (43, 43), (0, 43)]
        image = T.perspective(image, corners, p["perspective"]["endpoints"], "bicubic")
    image = T.resized_crop(T.center_crop(image, 40), *p["crop"], 32, "nearest")
    image = last["flip"](image) if p["flip"]["applied"] else image
    e = p["erasing"]
    if e["applied"]:
        image = T.erase(image, e["top"], e["left"], e["height"], e["width"])
    expected = (image / 255 - T.IMAGENET_MEAN) / T.IMAGENET_STD
    np.testing.assert_allclose(views[1, 3], expected, atol=1e-5)


def test_golden_views():
    """The same bits on every instruction set, and from version to version."""
    images = np.random.default_rng(21).integers(0, 256, (8, 57, 45, 3), np.uint8)
    grey = np.random.default_rng(22).integers(0, 256, (8, 45, 57, 1), np.uint8)
    views = [T.Recipe(FULL)(images, seed=11), T.Recipe(FULL)(grey, seed=11)]
    assert [hashlib.sha256(view.tobytes()).hexdigest()[:16] for view in views] == GOLDEN


GOLDEN = ["5bfd36af093d133e", "f3f2bd138cd2648c"]


def test_sizes_of_views():
    assert T.Recipe([T.Resize(20)]).view_size((40, 50)) == (20, 25)
    assert T.Recipe([T.Resize(20)]).view_size((50, 40)) == (25, 20)
    assert T.Recipe([T.Resize(30), T.CenterCrop(24)]).view_size() == (24, 24)
    assert T.Recipe([T.CenterCrop(24), T.Resize(30)]).view_size() == (30, 30)
    assert T.Recipe([T.RandomCrop((3, 4))]).view_size() == (3, 4)
    with pytest.raises(ValueError, match="size of the views"):
        T.Recipe([T.Resize(30)]).view_size()
    images = [np.zeros((h, w, 3), np.uint8) for h, w in [(30, 40), (60, 31), (33, 33)]]
    assert T.Recipe([T.Resize(32), T.RandomCrop(32)])(images).shape == (2, 3, 32, 32, 3)
    with pytest.raises(ValueError, match="different sizes"):
        T.Recipe([T.Resize(32)])(images)
    assert T.Recipe([T.Resize(32), T.CenterCrop(32)], views=1)(images).shape == (1, 3, 32, 32, 3)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_other_numbers_of_channels(channels):
    images = RNG.integers(0, 256, (3, 30, 31, channels), np.uint8)
    recipe = T.Recipe([operation for operation in FULL if not isinstance(operation, T.ColorJitter)] + [RAW])
    params = recipe.sample(3, image_size=(30, 31), channels=channels)
    by_channel = np.concatenate([recipe.apply(images[..., c : c + 1], params) for c in range(channels)], -1)
    np.testing.assert_array_equal(recipe.apply(images, params), by_channel)


# ---- distributions, against torchvision's samplers ----


def uniform(values, low, high):
    values = (np.asarray(values, float) - low) / (high - low)
    assert values.min() >= 0 and values.max() <= 1
    assert abs(values.mean() - 0.5) < 0.015 and abs(values.std() - 12**-0.5) < 0.01


def draws(operation, size, count=4000, seed=2):
    return T.Recipe([operation], views=2).sample(count, seed=seed, image_size=size)[operation.field].ravel()


def test_distribution_of_rotations_and_affine_maps():
    uniform(draws(T.RandomRotation(30), 32)["angle"], -30, 30)
    affine = draws(T.RandomAffine((10, 50), (0.1, 0.3), (0.5, 1.5), (-20, 10, 0, 40)), (200, 300))
    uniform(affine["angle"], 10, 50)
    uniform(affine["scale"], 0.5, 1.5)
    uniform(affine["shear"][:, 0], -20, 10)
    uniform(affine["shear"][:, 1], 0, 40)
    for shift, most in ((affine["translate"][:, 0], 30), (affine["translate"][:, 1], 60)):
        assert (shift == np.rint(shift)).all() and np.abs(shift).max() == most
        uniform(shift, -most, most)  # halves at both ends: round of a uniform number
    plain = draws(T.RandomAffine(5), 32)
    assert (plain["scale"] == 1).all() and (plain["shear"] == 0).all() and (plain["translate"] == 0).all()


def test_distribution_of_perspectives():
    """torchvision: whole numbers, 0 .. int(scale half) inwards from each corner, all alike."""
    drawn = draws(T.RandomPerspective(0.5, 0.3), (100, 161))
    assert abs(drawn["applied"].mean() - 0.3) < 0.02
    ends = drawn["endpoints"][drawn["applied"]]
    inwards = np.abs(ends - [(0, 0), (160, 0), (160, 99), (0, 99)])
    assert inwards.min() == 0 and inwards[..., 0].max() == 40 and inwards[..., 1].max() == 25
    counts = np.bincount(inwards[..., 0].ravel(), minlength=41)
    assert counts.min() > 0.6 * counts.mean() and counts.max() < 1.4 * counts.mean()
    assert abs(np.corrcoef(inwards.reshape(-1, 8).T) - np.eye(8)).max() < 0.08


@pytest.mark.parametrize("size", [(2, 2), (2, 3), (3, 3), (2, 50)])
def test_perspective_of_tiny_images(size):
    recipe = T.Recipe([T.RandomPerspective(1.0, 1.0)])
    images = RNG.integers(0, 256, (200, *size, 1), np.uint8)
    assert recipe(images, seed=3).shape == (2, 200, *size, 1)


def test_distribution_of_crops():
    place = draws(T.RandomCrop((30, 20), 4), (32, 32))
    assert set(place["top"]) == set(range(11)) and set(place["left"]) == set(range(21))
    counts = np.bincount(place["left"])
    assert counts.min() > 0.8 * counts.mean() and counts.max() < 1.2 * counts.mean()
    assert (draws(T.RandomCrop(32), 32, 10).tolist()) == [(0, 0)] * 20


def test_distribution_of_erased_boxes():
    erasing = draws(T.RandomErasing(0.6, (0.1, 0.2), (0.5, 2.0)), (300, 400), 6000)
    assert abs(erasing["applied"].mean() - 0.6) < 0.02
    erasing = erasing[erasing["applied"]]
    area, ratio = erasing["height"] * erasing["width"] / 120000, np.log(erasing["height"] / erasing["width"])
    assert 0.099 < area.min() and area.max() < 0.201 and abs(area.mean() - 0.15) < 0.002
    assert abs(ratio.mean()) < 0.02 and abs(ratio.std() - np.log(4) / 12**0.5) < 0.02
    free = 300 - erasing["height"]
    assert (erasing["top"] <= free).all() and abs((erasing["top"] / free).mean() - 0.5) < 0.02
    none = draws(T.RandomErasing(1.0, (1.0, 1.0)), 50, 20)  # no box is smaller than the image
    assert none["applied"].all() and (none["height"] == 0).all()


# ---- errors ----


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: T.VerticalFlip(1.5), ValueError, "p must be a probability"),
        (lambda: T.RandomRotation(-1), ValueError, "degrees must be >= 0"),
        (lambda: T.RandomRotation((5, 1)), ValueError, "degrees must be a range"),
        (lambda: T.RandomRotation((0, NAN)), ValueError, "degrees"),
        (lambda: T.RandomRotation(NAN), ValueError, "degrees"),
        (lambda: T.RandomRotation(5, "lanczos"), ValueError, "interpolation"),
        (lambda: T.RandomRotation(5, fill=300), ValueError, "fill must be in 0..255"),
        (lambda: T.RandomRotation(5, fill=()), ValueError, "fill"),
        (lambda: T.Recipe([T.RandomRotation(5, fill=(1, 2))])(IMAGES), ValueError, "fill must be one number"),
        (lambda: T.RandomAffine(5, translate=(0, 1.1)), ValueError, "translate must be two shares"),
        (lambda: T.RandomAffine(5, translate=0.1), ValueError, "translate"),
        (lambda: T.RandomAffine(5, scale=(0, 1)), ValueError, "scale"),
        (lambda: T.RandomAffine(5, shear=(0, 90)), ValueError, "shear"),
        (lambda: T.RandomAffine(5, shear=(0, 1, 2)), ValueError, "shear"),
        (lambda: T.RandomPerspective(1.1), ValueError, "distortion_scale must be in 0..1, got 1.1"),
        (lambda: T.RandomPerspective(NAN), ValueError, "distortion_scale"),
        (lambda: T.Recipe([T.RandomPerspective()])(IMAGES[:, :1]), ValueError, "at least 2 x 2 pixels"),
        (lambda: T.RandomCrop(0), ValueError, "size must be in 1..16384"),
        (lambda: T.RandomCrop(8, -1), ValueError, "padding"),
        (lambda: T.RandomCrop(8, 2, padding_mode="wrap"), ValueError, "padding_mode"),
        (lambda: T.Recipe([T.RandomCrop(41)])(IMAGES), ValueError, "size must be within the padded image's 40 x 50"),
        (lambda: T.RandomErasing(scale=(0, 1.5)), ValueError, "scale"),
        (lambda: T.RandomErasing(ratio=(0, 1)), ValueError, "ratio"),
        (lambda: T.RandomErasing(value=-1), ValueError, "value"),
        (lambda: T.Resize(0), ValueError, "size must be in 1..16384"),
        (lambda: T.Resize((0, 5)), ValueError, "size must be in 1..16384"),
        (lambda: T.Resize((5, 0)), ValueError, "size must be in 1..16384"),
        (lambda: T.Resize(2.0), TypeError, "size"),
        (lambda: T.Recipe([T.Resize(16384)])(IMAGES), ValueError, "resized image must be in 1..16384"),
        (lambda: T.CenterCrop(0), ValueError, "size"),
        (lambda: T.Recipe([T.CenterCrop(41)])(IMAGES), ValueError, "size must be within"),
    ],
)
def test_bad_operations(call, error, message):
    with pytest.raises(error, match=message):
        call()


RECIPE = T.Recipe(
    [T.RandomRotation(5), T.RandomAffine(5), T.RandomPerspective(0.5, 1.0), T.RandomCrop(32, 4), T.RandomErasing(1.0)]
)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("rotation.angle", NAN),
        ("affine.angle", NAN),
        ("affine.scale", 0.0),
        ("affine.shear", (0, 90)),
        ("affine.translate", (NAN, 0)),
        ("perspective.endpoints", np.zeros((4, 2))),
        ("perspective.endpoints", [(0, 0), (9, 9), (18, 18), (0, 9)]),
        ("place.top", -1),
        ("place.left", 27),
        ("erasing.height", 41),
        ("erasing.top", 2**31 - 1),
        ("erasing.width", -1),
    ],
)
def test_replayed_parameters_are_checked(path, value):
    params = RECIPE.sample(len(IMAGES), seed=1, image_size=(40, 50)).copy()
    operation, name = path.split(".")
    params[operation][name][1, 3] = value
    with pytest.raises(ValueError):
        RECIPE.apply(IMAGES, params)


def test_replay_of_noise_never_crashes():
    rng = np.random.default_rng(23)
    for _ in range(300):
        params = RECIPE.sample(4, image_size=(40, 50)).copy()
        raw = params.view(np.uint8).reshape(2, 4, -1)
        spoiled = rng.integers(0, raw.shape[-1], 3)
        raw[1, 2, spoiled] = rng.integers(0, 256, 3)
        try:
            views = RECIPE.apply(IMAGES[:4], params)
        except ValueError:
            continue
        assert np.isfinite(views).all()
