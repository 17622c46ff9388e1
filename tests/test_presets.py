"""Presets, views by several recipes, and the forms that views come in."""

import copy
import doctest
import hashlib
import pickle
import tracemalloc
from dataclasses import replace

import nearfar as nf
import numpy as np
import pytest
from nearfar import clips, presets, recipe_operations, recipe_parts, recipes
from nearfar import transforms as T
from reference import samplers

RNG = np.random.default_rng(20)
IMAGES = RNG.integers(0, 256, (7, 41, 50, 3), np.uint8)

PRESETS = {
    "SimCLR": T.SimCLR(32),
    "SimCLR.cifar": T.SimCLR.cifar(),
    "MoCoV1": T.MoCoV1(32),
    "MoCoV2": T.MoCoV2((31, 33)),
    "MoCoV3": T.MoCoV3(32, scale=(0.2, 1.0)),
    "BYOL": T.BYOL(32),
    "SwAV": T.SwAV(32, local_size=17),
    "DINO": T.DINO(33, local_size=16, local_views=3),
    "SimSiam": T.SimSiam(32, views=4),
    "SupCon": T.SupCon(32),
    "VICReg": T.VICReg(32),
    "PIRL": T.PIRL(33),
}


def arrays(views):
    return views if isinstance(views, list) else [views]


def each(views, function):
    return [function(v) for v in views] if isinstance(views, list) else function(views)


def digest(views):
    state = hashlib.sha256()
    for array in arrays(views):
        state.update(str(array.shape).encode() + array.tobytes())
    return state.hexdigest()[:16]


def assert_same(a, b):
    assert isinstance(a, list) == isinstance(b, list)
    for one, other in zip(arrays(a), arrays(b), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("module", (clips, presets, recipe_operations, recipe_parts, recipes))
def test_examples_in_docstrings(module):
    assert doctest.testmod(module).failed == 0


# ---- what the presets are ----


GOLDEN = {
    "SimCLR": "8e987c4715fdf5c3",
    "SimCLR.cifar": "dc66b7361074b8cd",
    "MoCoV1": "b0a4d7a1deac11c4",
    "MoCoV2": "cf1083cf7177b213",
    "MoCoV3": "225d6a716e3c7610",
    "BYOL": "efbd98562e5806ed",
    "SwAV": "a8c317d8b910470e",
    "DINO": "f772f7b784eed0d5",
    "SimSiam": "6e46a0a837777699",
    "SupCon": "6c33547f39ef14fa",
    "VICReg": "948dcf10eed891d9",
    "PIRL": "3a77f0148ae90e7c",
}


@pytest.mark.parametrize("name", PRESETS)
def test_golden_views(name):
    """The same bits on every instruction set, and from version to version."""
    assert digest(PRESETS[name](IMAGES, seed=21, epoch=2)) == GOLDEN[name]


@pytest.mark.parametrize("name", PRESETS)
def test_presets_print_and_can_be_edited(name):
    augment = PRESETS[name]
    assert eval(repr(augment), {name.split(".")[0]: type(augment)}) == augment
    assert hash(copy.deepcopy(augment)) == hash(augment) and pickle.loads(pickle.dumps(augment)) == augment
    assert str(augment).startswith(f"{type(augment).__name__}: {augment.views} views")
    weaker = replace(augment, strength=0.25, flip=0.0)
    assert weaker != augment and type(weaker) is type(augment)
    params = weaker.sample(200, image_size=50)
    assert not params["flip"]["applied"].any()
    assert params["jitter"]["brightness"].max() <= 1 + 0.25 * weaker._factors[0]
    assert_same(replace(weaker, strength=augment.strength, flip=0.5)(IMAGES), augment(IMAGES))
    with pytest.raises(AttributeError):
        augment.size = 3


@pytest.mark.parametrize("name", PRESETS)
def test_views_do_not_depend_on_batches_order_or_threads(name):
    augment = PRESETS[name]
    views = augment(IMAGES, seed=5, epoch=2)
    order = np.random.default_rng(0).permutation(len(IMAGES))
    assert_same(
        augment(IMAGES[order], 5, 2, order),
        [v[:, order] for v in arrays(views)] if isinstance(views, list) else views[:, order],
    )
    parts = [augment([image], seed=5, epoch=2, indices=[n]) for n, image in enumerate(IMAGES)]
    joined = [np.concatenate(group, axis=1) for group in zip(*map(arrays, parts), strict=True)]
    assert_same(joined, arrays(views))
    before = nf.get_num_threads()
    for threads in (1, 2, 3, 7):
        nf.set_num_threads(threads)
        assert_same(augment(IMAGES, seed=5, epoch=2), views)
    nf.set_num_threads(before)


@pytest.mark.parametrize("name", PRESETS)
def test_sample_and_apply(name, tmp_path):
    augment = PRESETS[name]
    params = augment.sample(IMAGES, seed=3, epoch=1)
    assert params.shape == (augment.views, len(IMAGES)) and params.dtype == augment.dtype
    np.testing.assert_array_equal(params, augment.sample(len(IMAGES), 3, 1, image_size=(41, 50)))
    np.testing.assert_array_equal(params[:, 2:4], augment.sample(list(IMAGES[2:4]), 3, 1, indices=[2, 3]))
    np.save(tmp_path / "params.npy", params)
    assert_same(augment.apply(IMAGES, np.load(tmp_path / "params.npy")), augment(IMAGES, seed=3, epoch=1))
    params["flip"]["applied"] ^= True
    changed = arrays(augment.apply(IMAGES, params))
    assert all((a != b).any() for a, b in zip(changed, arrays(augment(IMAGES, seed=3, epoch=1)), strict=True))


def test_pirl():
    """The first view is the plain one, the second a crop of it in tiles that have changed places."""
    augment = T.PIRL(48, grid=4, flip=0, jitter=0, grayscale=0, scale=(1.0, 1.0), ratio=(1.0, 1.0))
    images = RNG.integers(0, 256, (5, 48, 48, 3), np.uint8)
    params = augment.sample(images, seed=3)
    whole, tiles = augment.apply(images, params, dtype=np.uint8)
    np.testing.assert_array_equal(whole, images)
    for n in range(5):
        np.testing.assert_array_equal(tiles[n], T.jigsaw(images[n], params["jigsaw"]["order"][1, n, :16], 4))
    np.testing.assert_array_equal(T.PIRL(33)(IMAGES)[0], T.PIRL(33).plain(IMAGES))
    with pytest.raises(ValueError, match="size must be multiples of grid, 3"):
        T.PIRL(64)


def names(operations):
    return [type(operation).__name__ for operation in operations]


def test_orders_of_operations():
    assert names(T.MoCoV1(8).operations)[2:4] == ["Grayscale", "ColorJitter"]
    assert names(T.VICReg(8).operations)[-3:] == ["Solarize", "GaussianBlur", "Normalize"]
    assert names(T.BYOL(8)._parts[1].operations) == [
        "RandomResizedCrop",
        "HorizontalFlip",
        "ColorJitter",
        "Grayscale",
        "GaussianBlur",
        "Solarize",
        "Normalize",
    ]


@pytest.mark.parametrize(
    ("augment", "scale", "factors", "jitter", "blur", "solarize"),
    [
        (T.SimCLR(224), [(0.08, 1)] * 2, (0.8, 0.8, 0.8, 0.2), 0.8, [0.5] * 2, None),
        (T.SimCLR.cifar(), [(0.08, 1)] * 2, (0.4, 0.4, 0.4, 0.1), 0.8, [0] * 2, None),
        (T.MoCoV1(224), [(0.2, 1)] * 2, (0.4, 0.4, 0.4, 0.4), 1, [0] * 2, None),
        (T.MoCoV2(224), [(0.2, 1)] * 2, (0.4, 0.4, 0.4, 0.1), 0.8, [0.5] * 2, None),
        (T.SimSiam(224), [(0.2, 1)] * 2, (0.4, 0.4, 0.4, 0.1), 0.8, [0.5] * 2, None),
        (T.SupCon(32), [(0.2, 1)] * 2, (0.4, 0.4, 0.4, 0.1), 0.8, [0] * 2, None),
        (T.BYOL(224), [(0.08, 1)] * 2, (0.4, 0.4, 0.2, 0.1), 0.8, [1, 0.1], [0, 0.2]),
        (T.MoCoV3(224), [(0.08, 1)] * 2, (0.4, 0.4, 0.2, 0.1), 0.8, [1, 0.1], [0, 0.2]),
        (T.VICReg(224), [(0.08, 1)] * 2, (0.4, 0.4, 0.2, 0.1), 0.8, [0.5] * 2, [0.1] * 2),
        (T.SwAV(), [(0.14, 1)] * 2 + [(0.05, 0.14)] * 6, (0.8, 0.8, 0.8, 0.2), 0.8, [0.5] * 8, None),
        (
            T.DINO(),
            [(0.4, 1)] * 2 + [(0.05, 0.4)] * 6,
            (0.4, 0.4, 0.2, 0.1),
            0.8,
            [1, 0.1] + [0.5] * 6,
            [0, 0.2] + [0] * 6,
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, recipes.Runs) else "",
)
def test_parameters_that_the_presets_draw(augment, scale, factors, jitter, blur, solarize):
    count, size = 3000, 1000
    params = augment.sample(count, seed=1, image_size=size)
    assert len(params) == len(scale) == augment.views

    def near(values, p):
        assert abs(values.mean() - p) <= 4.5 * (p * (1 - p) / values.size) ** 0.5

    for view, (low, high) in enumerate(scale):
        area = params["crop"]["height"][view] * params["crop"]["width"][view] / size**2
        assert low - 1e-3 <= area.min() and area.max() <= high + 1e-3
        assert area.min() < low + 0.03 * (high - low) and area.max() > low + 0.9 * (high - low)
        near(params["blur"]["applied"][view], blur[view])
        if solarize is not None:
            near(params["solarize"]["applied"][view], solarize[view])
    near(params["flip"]["applied"], 0.5)
    near(params["grayscale"]["applied"], 0.2)
    near(params["jitter"]["applied"], jitter)
    drawn = params["jitter"][params["jitter"]["applied"]]
    for name, factor in zip(("brightness", "contrast", "saturation", "hue"), factors, strict=True):
        values = drawn[name] - (name != "hue")
        assert 0.99 * factor < -values.min() <= factor and 0.99 * factor < values.max() <= factor
    assert ("solarize" in params.dtype.names) == (solarize is not None)


# ---- against torchvision's samplers ----


def assert_same_distribution(a, b):
    """Kolmogorov and Smirnov's test for two samples, at a level of about 1e-4."""
    a, b = np.sort(a), np.sort(b)
    both = np.concatenate([a, b])
    distance = np.abs(np.searchsorted(a, both, "right") / len(a) - np.searchsorted(b, both, "right") / len(b)).max()
    assert distance < 2.2 * (1 / len(a) + 1 / len(b)) ** 0.5


@pytest.mark.parametrize("size", [(375, 500), (64, 40), (30, 200), (5, 4)])
@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.2, 1.0), (0.05, 0.14)])
def test_crops_are_distributed_as_torchvisions(size, scale):
    count, rng = 4000, np.random.default_rng(22)
    crop = T.Recipe([T.RandomResizedCrop(32, scale)], views=1).sample(count, seed=4, image_size=size)["crop"][0]
    theirs = np.array([samplers.random_resized_crop(rng, *size, scale, (3 / 4, 4 / 3)) for _ in range(count)])
    ours = np.stack([crop[name] for name in ("top", "left", "height", "width")], axis=1)
    for column in range(4):
        assert_same_distribution(ours[:, column], theirs[:, column])
    assert_same_distribution(ours[:, 2] * ours[:, 3], theirs[:, 2] * theirs[:, 3])
    assert_same_distribution(ours[:, 3] / ours[:, 2], theirs[:, 3] / theirs[:, 2])


def test_colours_and_blur_are_distributed_as_torchvisions():
    count, rng = 6000, np.random.default_rng(23)
    params = T.BYOL(32).sample(count, seed=5, image_size=32)[0]
    theirs = [samplers.color_jitter(rng, 0.4, 0.4, 0.2, 0.1, 0.8) for _ in range(count)]
    assert abs(params["jitter"]["applied"].mean() - np.mean([t is not None for t in theirs])) < 0.025
    jitter = params["jitter"][params["jitter"]["applied"]]
    applied = [t for t in theirs if t is not None]
    for i, name in enumerate(("brightness", "contrast", "saturation", "hue")):
        assert_same_distribution(jitter[name], np.array([factors[i] for _, factors in applied]))
    places = 4 ** np.arange(4)
    counts = [np.bincount(np.asarray(o) @ places, minlength=256) for o in (jitter["order"], [o for o, _ in applied])]
    used = counts[1] > 0
    assert (counts[0][~used] == 0).all() and used.sum() == 24
    # the statistic has 23 degrees of freedom: above 58 once in 10,000
    ours, other = (c[used] for c in counts)
    k = (other.sum() / ours.sum()) ** 0.5
    assert ((k * ours - other / k) ** 2 / (ours + other)).sum() < 58
    sigma = np.array([samplers.gaussian_blur(rng, (0.1, 2.0)) for _ in range(count)])
    assert_same_distribution(params["blur"]["sigma"], sigma)


# ---- several recipes ----


def test_multi_view_is_each_recipe_by_itself():
    """View v of a MultiView is view v of its v-th recipe."""
    many = [
        T.SimCLR(24, views=5),
        T.BYOL(24)._parts[1].operations,
        T.SimCLR(16, blur=0, views=5),
        T.Recipe([T.RandomResizedCrop(16)], views=5),
        T.SimCLR(24, views=5),
    ]
    augment = T.MultiView(many)
    made = augment(IMAGES, seed=3)
    assert [array.shape for array in made] == [(2, 7, 24, 24, 3), (2, 7, 16, 16, 3), (1, 7, 24, 24, 3)]
    views = [view for array in made for view in array]
    for v in (0, 2, 3, 4):
        np.testing.assert_array_equal(views[v], many[v](IMAGES, seed=3)[v])
    np.testing.assert_array_equal(views[1], T.BYOL(24)(IMAGES, seed=3)[1])
    assert augment.dtype.names == ("crop", "flip", "jitter", "grayscale", "blur", "solarize")
    params = augment.sample(IMAGES, seed=3)
    assert not params["jitter"][3]["brightness"].any() and params["crop"]["width"].all()
    assert_same(augment.apply(IMAGES, params), made)
    assert augment.view_size() == (24, 24)
    assert_same(augment.denormalize(made), [augment.denormalize(a) for a in made])


def test_equal_recipes_are_one_batch_of_views():
    assert_same(T.MultiView([T.SimCLR(16)] * 3)(IMAGES, seed=1), T.SimCLR(16, views=3)(IMAGES, seed=1))


def test_bad_multi_views():
    with pytest.raises(ValueError, match="at least one recipe"):
        T.MultiView([])
    with pytest.raises(TypeError, match="one list of operations"):
        T.MultiView([T.BYOL(8)])
    with pytest.raises(ValueError, match="same Normalize"):
        T.MultiView([T.SimCLR(8), T.SimCLR(8, mean=0.5)])
    with pytest.raises(ValueError, match=r"views must be in 1\.\.4096"):
        T.MultiView([T.SimCLR(8)] * 4097)
    with pytest.raises(TypeError, match="operations"):
        T.MultiView(["flip"])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: T.BYOL(8, blur=0.5), ValueError, "blur must be 2 probabilities"),
        (lambda: T.BYOL(8, solarize=(0.5, 1.5)), ValueError, "p must be a probability"),
        (lambda: T.DINO(8, blur=(1, 1)), ValueError, "blur must be 3 probabilities"),
        (lambda: T.DINO(local_views=-1), ValueError, "local_views"),
        (lambda: T.DINO(local_views=10**9), ValueError, "local_views"),
        (lambda: T.DINO(local_views="6"), TypeError, "local_views"),
        (lambda: T.SwAV(local_size=0), ValueError, "size must be in"),
        (lambda: T.SimCLR(8, views=0), ValueError, "views"),
        (lambda: T.SimCLR(8, views=10**6), ValueError, "views"),
        (lambda: T.VICReg(8, solarize=-1), ValueError, "probability"),
        (lambda: T.SimCLR(8, interpolation="box"), ValueError, "interpolation"),
        (lambda: T.SimCLR(8).sample(3), ValueError, "image_size must be given"),
        (lambda: T.SimCLR(8).sample(3, indices=[1, 2, 3], image_size=9), ValueError, "indices"),
        (lambda: T.SimCLR(8)(IMAGES, layout="chw"), ValueError, "layout must be 'nhwc' or 'nchw'"),
        (lambda: T.SimCLR(8)(IMAGES, dtype=np.float64), ValueError, "dtype must be float32 or uint8, got float64"),
        (lambda: T.SimCLR(8)(IMAGES, dtype="pixels"), TypeError, "dtype must be"),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()


# ---- forms of views ----


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 15, 16, 17, 31, 33])
def test_layouts_and_types(channels, size):
    images = RNG.integers(0, 256, (3, 20, 19, channels), np.uint8)
    normal = T.Normalize(np.linspace(0.1, 0.5, channels), np.linspace(0.2, 0.4, channels))
    augment = T.Recipe([T.RandomResizedCrop((size, size + 2)), T.HorizontalFlip(), normal])
    views = augment(images, seed=1)
    first = augment(images, seed=1, layout="nchw")
    assert first.shape == (2, 3, channels, size, size + 2) and first.flags.c_contiguous
    np.testing.assert_array_equal(first, np.moveaxis(views, -1, 2))
    pixels = augment(images, seed=1, dtype=np.uint8)
    assert pixels.dtype == np.uint8 and pixels.shape == views.shape
    np.testing.assert_allclose((pixels / 255 - normal.mean) / normal.std, views, rtol=0, atol=3e-6)
    np.testing.assert_array_equal(augment(images, seed=1, dtype="uint8", layout="nchw"), np.moveaxis(pixels, -1, 2))
    np.testing.assert_array_equal(augment.plain(images, layout="nchw"), np.moveaxis(augment.plain(images), -1, 1))
    np.testing.assert_array_equal(
        augment.denormalize(first, layout="nchw"), np.moveaxis(augment.denormalize(views), -1, 2)
    )


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize("name", ["SimCLR", "BYOL", "DINO"])
def test_out(name, layout, dtype):
    augment = PRESETS[name]
    expected = augment(IMAGES, seed=4, layout=layout, dtype=dtype)
    assert all(array.ctypes.data % 64 == 0 and array.dtype == dtype for array in arrays(expected))
    out = [np.full_like(array, 7) for array in arrays(expected)]
    given = out if isinstance(expected, list) else out[0]
    assert augment(IMAGES, seed=4, layout=layout, dtype=dtype, out=given) is given
    assert_same(given, expected)
    bad = [
        (lambda a: a[:-1], ValueError),
        (lambda a: a.astype(np.float64), TypeError),
        (lambda a: a[..., ::-1], ValueError),
        (lambda a: a.tolist(), TypeError),
        (lambda a: np.swapaxes(a, 2, 4), ValueError),
    ]
    for change, error in bad:
        wrong = change(out[0])
        with pytest.raises(error, match="out"):
            augment(IMAGES, layout=layout, dtype=dtype, out=[wrong, *out[1:]] if isinstance(given, list) else wrong)
    out[0].flags.writeable = False
    with pytest.raises(ValueError, match="writeable"):
        augment(IMAGES, layout=layout, dtype=dtype, out=given)


def test_out_must_not_overlap():
    augment = T.DINO(16, local_size=8)
    memory = np.zeros(10**6, np.float32)
    large, small = (memory[: v * 7 * s * s * 3].reshape(v, 7, s, s, 3) for v, s in ((2, 16), (6, 8)))
    with pytest.raises(ValueError, match="overlap"):
        augment(IMAGES, out=[large, small])
    with pytest.raises(ValueError, match="list of 2 arrays"):
        augment(IMAGES, out=large)
    images = memory.view(np.uint8)[-IMAGES.size :].reshape(IMAGES.shape)
    last = memory[-small.size :].reshape(small.shape)
    with pytest.raises(ValueError, match="out must not overlap the images"):
        augment(images, out=[large, last])


def test_bytes_need_no_normalisation():
    """Mean and standard deviation of the wrong length matter to floats alone."""
    augment = T.Recipe([T.RandomResizedCrop(8)])
    np.testing.assert_array_equal(
        augment.apply(IMAGES, augment.sample(IMAGES), dtype=np.uint8), augment(IMAGES, dtype=np.uint8)
    )


# ---- images that are not in one piece ----


def test_any_layout_of_images():
    augment = T.MultiView([T.SimCLR(16), T.SimCLR(8)])
    expected = augment(IMAGES, seed=1)
    wide = np.zeros((14, 41, 50, 3), np.uint8)
    wide[::2] = IMAGES
    before = wide.copy()
    for images in (
        wide[::2],
        np.asfortranarray(IMAGES),
        IMAGES[::-1].copy()[::-1],
        list(IMAGES),
        [np.asfortranarray(image) for image in IMAGES],
        np.moveaxis(np.moveaxis(IMAGES, 3, 1).copy(), 1, 3),
    ):
        assert_same(augment(images, seed=1), expected)
    np.testing.assert_array_equal(wide, before)


@pytest.mark.parametrize("step", [1, 3, -1])
def test_a_memory_mapped_file_is_not_copied(tmp_path, step):
    count, side = 2000, 60  # 22 MB
    written = np.lib.format.open_memmap(tmp_path / "images.npy", "w+", np.uint8, (count, side, side, 3))
    written[::7] = RNG.integers(0, 256, (side, side, 3), np.uint8)
    written.flush()
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    recipe = T.MultiView([T.SimCLR(2)] * 2 + [T.SimCLR(1)])
    clips = T.Clips(T.SimCLR(2, views=1))
    tracemalloc.start()
    try:
        views = recipe(images[::step], seed=1, dtype=np.uint8)
        plain = T.SimCLR(2).plain(images[::step])
        clips(images.reshape(200, 10, side, side, 3)[::step], dtype=np.uint8)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3e6
    assert_same(views, recipe(np.array(images[::step]), seed=1, dtype=np.uint8))
    np.testing.assert_array_equal(plain, T.SimCLR(2).plain(np.array(images[::step])))


def test_absurd_sizes_are_refused_at_once():
    images = np.broadcast_to(IMAGES[0, :1, :1], (2**17, 1, 1, 3))
    for augment in (T.SimCLR(16384, views=4), T.BYOL(16384), T.SimCLR((16384, 8000), views=64)):
        with pytest.raises((MemoryError, ValueError)):
            augment(images)
    for shape in ((2**29, 1, 1), (1, 2**29, 1)):
        with pytest.raises(ValueError, match="rows and columns"):
            T.SimCLR(8)([np.broadcast_to(np.uint8(0), shape)])


# ---- clips ----


CLIPS = RNG.integers(0, 256, (5, 4, 30, 31, 3), np.uint8)


@pytest.mark.parametrize("recipe", [T.SimCLR(16), T.BYOL(16), T.DINO(16, local_size=8, local_views=2)])
def test_frames_of_a_clip_are_changed_alike(recipe):
    augment = T.Clips(recipe)
    views = augment(CLIPS, seed=2, epoch=1)
    for frame in range(4):
        for ours, theirs in zip(arrays(views), arrays(recipe(CLIPS[:, frame], seed=2, epoch=1)), strict=True):
            np.testing.assert_array_equal(ours[:, :, frame], theirs)
    params = augment.sample(CLIPS, seed=2, epoch=1)
    np.testing.assert_array_equal(params, recipe.sample(5, 2, 1, image_size=(30, 31)))
    np.testing.assert_array_equal(params, augment.sample(5, 2, 1, image_size=(30, 31)))
    assert_same(augment.apply(CLIPS, params), views)


@pytest.mark.parametrize("recipe", [T.SimCLR(16), T.BYOL(16), T.DINO(16, local_size=8, local_views=2)])
def test_frames_by_themselves(recipe):
    augment = T.Clips(recipe, per_frame=True)
    views = augment(CLIPS, seed=2)
    params = augment.sample(CLIPS, seed=2)
    assert params.shape == (recipe.views, 5, 4) and len(np.unique(params["jitter"]["hue"])) > 20
    np.testing.assert_array_equal(params, augment.sample(5, seed=2, frames=4, image_size=(30, 31)))
    assert_same(augment.apply(CLIPS, params), views)
    for frame in range(4):
        own = recipe.apply(CLIPS[:, frame], params[:, :, frame])
        for ours, theirs in zip(arrays(views), arrays(own), strict=True):
            np.testing.assert_array_equal(ours[:, :, frame], theirs)
    np.testing.assert_array_equal(params[:, :, 0], recipe.sample(5, seed=2, image_size=(30, 31)))
    short = augment(CLIPS[3:, :2], seed=2, indices=[3, 4])
    assert_same(short, each(views, lambda v: v[:, 3:, :2]))


def test_forms_of_clips():
    augment = T.Clips(T.SimCLR(16))
    views = augment(CLIPS, layout="nchw", dtype=np.uint8)
    assert views.shape == (2, 5, 4, 3, 16, 16)
    out = np.zeros_like(views)
    assert augment(CLIPS, layout="nchw", dtype=np.uint8, out=out) is out
    np.testing.assert_array_equal(out, views)
    assert augment.plain(CLIPS).shape == (5, 4, 16, 16, 3)
    np.testing.assert_array_equal(augment(CLIPS[::2], indices=[0, 2, 4]), augment(CLIPS)[:, ::2])
    assert str(augment).startswith("Clips, all frames of a clip alike, of\nSimCLR: 2 views by")
    many = T.Clips(T.DINO(16, local_size=8))
    out = [np.zeros_like(v) for v in many(CLIPS)]
    assert many(CLIPS, out=out) is out
    assert_same(out, many(CLIPS))
    assert many.dtype == many.recipe.dtype
    assert_same(many.denormalize(out), many.recipe.denormalize(out))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: T.Clips("SimCLR"), TypeError, "recipe"),
        (lambda: T.Clips(T.SimCLR(8), per_frame=2), TypeError, "per_frame"),
        (lambda: T.Clips(T.SimCLR(8))(CLIPS[0]), ValueError, "clips must be"),
        (lambda: T.Clips(T.SimCLR(8))(CLIPS[:, :0]), ValueError, "clips must be"),
        (lambda: T.Clips(T.SimCLR(8))(CLIPS / 255), TypeError, "uint8"),
        (lambda: T.Clips(T.SimCLR(8)).sample(5), ValueError, "image_size"),
        (lambda: T.Clips(T.SimCLR(8))(CLIPS, out=np.zeros((2, 20, 8, 8, 3), np.float32)), ValueError, "out"),
        (lambda: T.Clips(T.SimCLR(8))(CLIPS, out=[0]), TypeError, "out"),
        (lambda: T.Clips(T.SimCLR(8)).apply(CLIPS, np.zeros((2, 5, 4), T.SimCLR(8).dtype)), ValueError, "shape"),
        (
            lambda: T.Clips(T.SimCLR(8), True).sample(1, frames=2049, image_size=8),
            ValueError,
            "views x frames must be <= 4096",
        ),
    ],
)
def test_bad_clips(call, error, message):
    with pytest.raises(error, match=message):
        call()
