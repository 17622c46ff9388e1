"""Functions on single images of uint16 and float32, against the NumPy twin; and what uses such images."""

import nearfar as nf
import numpy as np
import pytest
from nearfar import transforms as T
from PIL import Image
from reference import deep, geometry
from reference import photometry as photometry_twin

RNG = np.random.default_rng(40)
TYPES = (np.uint16, np.float32)
SIDES = [1, 2, 3, 7, 15, 16, 17, 31, 33]
FILTERS = ("bilinear", "bicubic", "nearest")


def images_of(dtype, shape):
    if dtype == np.uint16:
        return RNG.integers(0, 65536, shape, np.uint16)
    return RNG.uniform(-0.25, 1.25, shape).astype(np.float32)


def white_of(image):
    return 65535.0 if image.dtype == np.uint16 else 1.0


def stored(expected, dtype):
    """Values as they are stored in an image: those of uint16 rounded and clipped."""
    return np.rint(expected).clip(0, 65535) if dtype == np.uint16 else expected


def close(got, expected, what):
    """In single precision, or as near as the whole number beside a half."""
    assert got.dtype in TYPES
    expected = stored(expected, got.dtype)
    assert got.shape == expected.shape, what
    least = 1.0 if got.dtype == np.uint16 else 1e-5
    error = np.abs(got.astype(np.float64) - expected)
    few = 1 + 0.03 * error.size
    assert (error > least).sum() <= 0.01 * few and (error > 0.5 * least).sum() <= few, f"{what}: {error.max()}"


def colour_of(image):
    """One for each channel, and in 0..255, as the twin takes it."""
    values = images_of(image.dtype, image.shape[2]).tolist()
    return values, np.array(values) / white_of(image) * 255


def cases(name, image):
    """Calls of a function, and what they should give."""
    x, white = image.astype(np.float64), white_of(image)
    height, width, channels = image.shape
    fill, in_bytes = colour_of(image)
    if name == "adjust_brightness":
        for factor in (0.0, 0.7, 1.0, 2.5):
            yield T.adjust_brightness(image, factor), deep.adjust_brightness(x, factor, white)
    elif name == "adjust_contrast":
        for factor in (0.0, 0.7, 1.0, 2.5):
            yield T.adjust_contrast(image, factor), deep.adjust_contrast(x, factor, white)
    elif name == "adjust_saturation" and channels in (1, 3):
        for factor in (0.0, 0.7, 1.0, 2.5):
            yield T.adjust_saturation(image, factor), deep.adjust_saturation(x, factor, white)
    elif name == "adjust_hue" and channels in (1, 3):
        for factor in (-0.5, -0.21, 0.0, 0.3, 0.5):
            yield T.adjust_hue(image, factor), deep.adjust_hue(x, factor, white)
    elif name == "adjust_gamma":
        for gamma, gain in ((0.0, 0.5), (0.45, 1.0), (1.0, 1.0), (2.2, 1.3), (2.2, 0.0)):
            yield T.adjust_gamma(image, gamma, gain), deep.adjust_gamma(x, gamma, gain, white)
    elif name == "adjust_sharpness":
        for factor in (0.0, 0.5, 1.0, 3.0):
            expected = deep.adjust_sharpness(x, factor, white)
            yield T.adjust_sharpness(image, factor), expected
    elif name == "rgb_to_grayscale" and channels in (1, 3):
        gray = deep.luma(x)[..., None] if channels == 3 else x
        yield T.rgb_to_grayscale(image), gray
        yield T.rgb_to_grayscale(image, 3), np.repeat(gray, 3, 2)
    elif name == "gaussian_blur":
        kernel = min(2 * width - 1, 7), min(2 * height - 1, 5)
        yield T.gaussian_blur(image, kernel, (0.8, 2.0)), deep.gaussian_blur(x, kernel, (0.8, 2.0))
    elif name == "solarize":
        for threshold in (0.0, 0.3 * white, white + 1 if white > 1 else 1.5):
            yield T.solarize(image, threshold), deep.solarize(x, threshold / white * 255, white)
    elif name == "invert":
        yield T.invert(image), white - x
    elif name == "autocontrast":
        yield T.autocontrast(image), deep.autocontrast(x, white)
        yield T.autocontrast(np.full_like(image, image[0, 0])), np.clip(np.full_like(x, x[0, 0]), 0, white)
    elif name == "gaussian_noise":
        yield T.gaussian_noise(image, 0.05, 0.1, 7, 3), deep.gaussian_noise(x, 0.05, 0.1, 7, white, 3)
    elif name == "resized_crop":
        box = [height // 4, width // 3, height - height // 4, width - width // 3]
        for filter in FILTERS:
            for size in ((5, 9), (40, 3), (1, 1)):
                yield T.resized_crop(image, *box, size, filter), deep.resized_crop(x, box, size, filter)
    elif name == "resize":
        yield T.resize(image, (height, width)), x
        yield T.resize(image, (2 * height, 19), "bicubic"), deep.resize(x, (2 * height, 19), "bicubic")
    elif name == "rotate":
        for filter in FILTERS:
            for angle, expand, center in (
                (30, False, None),
                (-100, True, None),
                (45, False, (3.5, 1.0)),
                (90, True, None),
            ):
                got = T.rotate(image, angle, filter, expand, center, fill)
                yield got, deep.rotate(x, angle, filter, in_bytes, white, expand, center)
    elif name == "affine":
        for filter in FILTERS:
            m = geometry.affine_map(20, (3, -2), 1.2, (5, 8), (width / 2, height / 2))
            yield T.affine(image, 20, (3, -2), 1.2, (5, 8), filter, fill), deep.warp(x, m, filter, in_bytes, white)
    elif name == "perspective" and min(height, width) > 1:
        corners = [(0, 0), (width - 1, 0), (width - 1, height - 1), (0, height - 1)]
        moved = [(0.2, 0.1), (width - 1.3, 0.2), (width - 1.1, height - 1.4), (0.3, height - 1.2)]
        m = geometry.perspective_map(corners, moved)
        for filter in FILTERS:
            yield T.perspective(image, corners, moved, filter, fill), deep.warp(x, m, filter, in_bytes, white)


CHANGES = """adjust_brightness adjust_contrast adjust_saturation adjust_hue adjust_gamma adjust_sharpness
rgb_to_grayscale gaussian_blur solarize invert autocontrast gaussian_noise resized_crop resize rotate affine
perspective""".split()


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", CHANGES)
def test_against_the_twin(name, dtype):
    sizes = list(zip(SIDES, RNG.permutation(SIDES).tolist(), strict=True)) + [(40, 53)]
    for i, (height, width) in enumerate(sizes):
        image = images_of(dtype, (height, width, (3, 1, 3, 4, 2)[i % 5]))
        for number, (got, expected) in enumerate(cases(name, image)):
            close(got, expected, f"{name}, call {number}, {image.shape}")


MOVES = {
    "crop": (lambda x: T.crop(x, 2, 3, 4, 5), lambda x: x[2:6, 3:8]),
    "center_crop": (lambda x: T.center_crop(x, (6, 8)), lambda x: geometry.center_crop(x, 6, 8)),
    "hflip": (T.hflip, lambda x: x[:, ::-1]),
    "vflip": (T.vflip, lambda x: x[::-1]),
    "rotate 90": (lambda x: T.rotate(x, 90, expand=True), np.rot90),
    "rotate 180": (lambda x: T.rotate(x, 180), lambda x: np.rot90(x, 2)),
    "rotate 270": (lambda x: T.rotate(x, 270, expand=True), lambda x: np.rot90(x, 3)),
    "jigsaw": (lambda x: T.jigsaw(x, (3, 0, 1, 2), 2), lambda x: photometry_twin.jigsaw(x, (3, 0, 1, 2), 2)),
    **{
        f"pad {mode}": (
            lambda x, mode=mode: T.pad(x, (3, 20, 1, 5), padding_mode=mode),
            lambda x, mode=mode: np.pad(x, [(20, 5), (3, 1), (0, 0)], mode),
        )
        for mode in ("constant", "edge", "reflect", "symmetric")
    },
}


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", MOVES)
def test_moves_are_exact(name, dtype):
    function, twin = MOVES[name]
    for shape in [(12, 14, 3), (12, 14, 1), (8, 34, 2), (70, 18, 4), (16, 16, 6)]:
        image = images_of(dtype, shape)
        np.testing.assert_array_equal(function(image), twin(image))


@pytest.mark.parametrize("dtype", TYPES)
def test_fills(dtype):
    """In units of the image: one for all channels, or one for each."""
    image = images_of(dtype, (9, 11, 3))
    one, several = (40000, [1, 300, 65535]) if dtype == np.uint16 else (0.25, [-1.5, 0.5, 1e30])
    for value in (one, several, np.array(several), tuple(several), 7):
        filled = np.broadcast_to(np.asarray(value, dtype), 3)
        padded = T.pad(image, 2, value)
        np.testing.assert_array_equal(padded[2:-2, 2:-2], image)
        np.testing.assert_array_equal(padded[:, :2], np.broadcast_to(filled, (13, 2, 3)))
        expected = image.copy()
        expected[2:5, 3:10] = filled
        np.testing.assert_array_equal(T.erase(image, 2, 3, 3, 7, value), expected)
        expected = photometry_twin.cutout(image, 1, 10, (3, 4), filled)
        np.testing.assert_array_equal(T.cutout(image, 1, 10, (3, 4), value), expected)
        for filter in FILTERS:
            np.testing.assert_array_equal(
                T.affine(image, 0, (20, 0), 1.0, 0, filter, value), np.full_like(image, filled)
            )


@pytest.mark.parametrize("dtype", TYPES)
def test_normalize(dtype):
    image = images_of(dtype, (17, 33, 3))
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]
    expected = (image.astype(np.float64) / white_of(image) - mean) / std
    np.testing.assert_allclose(T.normalize(image, mean, std), expected, atol=1e-5)
    np.testing.assert_array_equal(
        T.normalize(image, mean, std), T.Recipe([T.Normalize(mean, std)], 1)(image[None])[0, 0]
    )


def functions():
    """Every function on deep images, with arguments that suit an image of 12 x 18 pixels."""
    corners = [(0, 0), (17, 0), (17, 11), (0, 11)]
    return {
        "adjust_brightness": lambda x: T.adjust_brightness(x, 1.3),
        "adjust_contrast": lambda x: T.adjust_contrast(x, 1.3),
        "adjust_saturation": lambda x: T.adjust_saturation(x, 1.3),
        "adjust_hue": lambda x: T.adjust_hue(x, 0.2),
        "adjust_gamma": lambda x: T.adjust_gamma(x, 1.3),
        "adjust_sharpness": lambda x: T.adjust_sharpness(x, 1.3),
        "rgb_to_grayscale": lambda x: T.rgb_to_grayscale(x, 3),
        "gaussian_blur": lambda x: T.gaussian_blur(x, 5),
        "solarize": lambda x: T.solarize(x, 0.5),
        "invert": T.invert,
        "autocontrast": T.autocontrast,
        "resized_crop": lambda x: T.resized_crop(x, 1, 2, 9, 11, 7),
        "resize, nearest": lambda x: T.resize(x, 7, "nearest"),
        "rotate": lambda x: T.rotate(x, 33),
        "rotate, nearest": lambda x: T.rotate(x, 33, "nearest"),
        "rotate 180": lambda x: T.rotate(x, 180),
        "affine": lambda x: T.affine(x, 10, (1, 2), 1.1, 3),
        "perspective": lambda x: T.perspective(x, corners, [(1, 1), (16, 0), (17, 10), (0, 11)], "bicubic"),
        "crop": lambda x: T.crop(x, 1, 2, 3, 4),
        "center_crop": lambda x: T.center_crop(x, 5),
        "pad": lambda x: T.pad(x, 3, padding_mode="reflect"),
        "hflip": T.hflip,
        "vflip": T.vflip,
        "erase": lambda x: T.erase(x, 1, 2, 3, 4),
        "cutout": lambda x: T.cutout(x, 1, 2, 3),
        "jigsaw": lambda x: T.jigsaw(x, range(9), 3),
        "gaussian_noise": lambda x: T.gaussian_noise(x, seed=3),
        "normalize": lambda x: T.normalize(x, 0.5, 0.5),
    }


@pytest.mark.parametrize("name", functions())
def test_batches_layouts_threads_and_bad_numbers(name):
    function = functions()[name]
    for dtype in TYPES:
        batch = images_of(dtype, (5, 12, 18, 3))
        kept, expected = batch.copy(), function(batch)
        assert expected.dtype == (np.float32 if name == "normalize" else dtype)
        for n in range(1 if name == "gaussian_noise" else 5):
            np.testing.assert_array_equal(function(batch[n]), expected[n])
        for given in (np.asfortranarray(batch), np.repeat(batch, 2, 0)[::2], batch.astype(batch.dtype.newbyteorder())):
            np.testing.assert_array_equal(function(given), expected)
        batch.flags.writeable = False
        before = nf.get_num_threads()
        for threads in (1, 2, 3, 7):
            nf.set_num_threads(threads)
            np.testing.assert_array_equal(function(batch), expected)
        nf.set_num_threads(before)
        np.testing.assert_array_equal(batch, kept)
        if name != "rgb_to_grayscale":
            grey = batch[0, ..., :1]
            np.testing.assert_array_equal(function(grey[..., 0]), function(grey)[..., 0])
        assert len(function(batch[:0])) == 0
    for bad in (np.nan, np.inf, -np.inf, 3e30):
        wrong = batch.copy()
        wrong[3, 11, 17, 2] = bad
        with pytest.raises(ValueError, match=r"must be finite and at most 1e\+30 in size: image 3 is not"):
            function(wrong)
    with pytest.raises(TypeError, match="image must be uint8, uint16 or float32, got dtype float64"):
        function(batch.astype(np.float64))
    with pytest.raises(ValueError, match=r"at least one|1\.\.|within|below twice|divide|two|a pixel of the image"):
        function(batch[:, :0])


@pytest.mark.parametrize("name", functions())
def test_failed_allocations(name):
    function = functions()[name]
    image = images_of(np.float32, (12, 18, 3))
    expected = function(image)
    for n in range(1, 20):
        nf._core._alloc_fail_at(n)
        try:
            made = function(image)
        except MemoryError:
            continue
        finally:
            nf._core._alloc_fail_at(0)
        np.testing.assert_array_equal(made, expected)
        return
    pytest.fail("never succeeded")


def test_every_function_is_here():
    bytes_only = {"posterize", "equalize", "box_blur", "pillow_gaussian_blur", "resize"}
    public = {name for name in T.__all__ if name.islower() and callable(getattr(T, name))}
    assert public - bytes_only == {name.split(",")[0].split(" ")[0] for name in functions()} - {"resize"}


@pytest.mark.parametrize("dtype", TYPES)
def test_functions_of_bytes_say_so(dtype):
    image = images_of(dtype, (8, 8, 3))
    for function in (
        lambda x: T.posterize(x, 4),
        T.equalize,
        lambda x: T.box_blur(x, 1),
        lambda x: T.pillow_gaussian_blur(x, 1),
    ):
        with pytest.raises(TypeError, match=f"image must be uint8, got dtype {np.dtype(dtype)}"):
            function(image)


def test_values_out_of_range():
    deep_image, real_image = np.zeros((4, 4, 3), np.uint16), np.zeros((4, 4, 3), np.float32)
    with pytest.raises(ValueError, match=r"fill must be in 0..65535, got 65536"):
        T.pad(deep_image, 1, 65536)
    with pytest.raises(TypeError, match="fill must be an integer"):
        T.pad(deep_image, 1, 0.5)
    with pytest.raises(ValueError, match=r"threshold must be in 0..65536, got 65537"):
        T.solarize(deep_image, 65537)
    for bad in (np.nan, np.inf, 1e39, 10**39):
        with pytest.raises(ValueError, match="value must be finite"):
            T.erase(real_image, 0, 0, 1, 1, bad)
        with pytest.raises(ValueError, match="fill must be finite"):
            T.rotate(real_image, 30, fill=[0, bad, 0])
    with pytest.raises(ValueError, match="threshold must be finite, got nan"):
        T.solarize(real_image, np.nan)
    with pytest.raises(ValueError, match="fill must be one number, or one per channel"):
        T.cutout(real_image, 0, 0, 2, (1, 2))
    with pytest.raises(ValueError, match="value must be finite"):
        T.erase(real_image, 0, 0, 1, 1, 10**400)


def test_bytes_and_deep_images_agree():
    """The same image in all three types gives the same result, but for the rounding of bytes."""
    image = np.repeat(np.repeat(RNG.integers(0, 256, (2, 3, 3), np.uint8), 6, 0), 6, 1)
    for name, function in functions().items():
        if name in ("solarize", "normalize"):  # whose arguments and results differ
            continue
        expected = function(image) / 255
        for other in (image.astype(np.uint16) * np.uint16(257), (image / 255).astype(np.float32)):
            error = np.abs(function(other) / white_of(other) - expected)
            # hues of bytes have 255 levels, each of some six of a channel's
            assert np.quantile(error, 0.9) < (8 if name == "adjust_hue" else 3) / 255, name


# ---- what uses such images ----


AUGMENT = T.SimCLR(8, scale=(0.5, 1), strength=0.5, grayscale=0, blur=0.5, mean=0.5, std=0.25)


def trained(images):
    encoder = nf.convnet((4, 8), in_channels=1)
    method = nf.SimCLR(encoder, nf.projection_head(8, 8, 6, batch_norm=True, seed=1), 0.2)
    history = nf.fit(method, images, AUGMENT, epochs=3, batch_size=16, progress=False)
    return method, history


def test_training_on_deep_images():
    images = RNG.integers(0, 256, (64, 10, 10, 1), np.uint8)
    method, history = trained(images)
    v = method.transform(images)
    for other in (images.astype(np.uint16) * np.uint16(257), (images / 255).astype(np.float32)):
        same, deep_history = trained(other)
        np.testing.assert_allclose(deep_history["loss"], history["loss"], rtol=0.05)
        features = same.transform(other)
        cosines = (features * v).sum(1) / np.linalg.norm(features, axis=1) / np.linalg.norm(v, axis=1)
        assert cosines.min() > 0.98
        np.testing.assert_allclose(method.transform(other), v, atol=1e-3 * np.abs(v).max() + 0.02)
        assert method.embed(other).shape == (64, 6)
    wrong = (images / 255).astype(np.float32)
    wrong[5] = np.nan
    with pytest.raises(ValueError, match="finite"):
        trained(wrong)
    with pytest.raises(ValueError, match="finite"):
        method.transform(wrong)


@pytest.mark.parametrize("dtype", TYPES)
def test_data_from_arrays_and_files(dtype, tmp_path):
    images = images_of(dtype, (12, 6, 7, 3))
    data = nf.data.arrays(images, np.arange(12) % 2)
    assert data.images.dtype == dtype and len(data.test_images) == 2
    np.save(tmp_path / "deep.npy", images)
    np.testing.assert_array_equal(nf.data.load(f"npy:{tmp_path / 'deep.npy'}", split=False).images, images)
    np.savez(tmp_path / "deep.npz", images=images, test_images=images[:3])
    np.testing.assert_array_equal(nf.data.npy(tmp_path / "deep.npz").test_images, images[:3])
    with pytest.raises(TypeError, match=f"test_images must be of the dtype of images, {np.dtype(dtype)}, got uint8"):
        nf.data.arrays(images, test_images=np.zeros((2, 6, 7, 3), np.uint8))


@pytest.mark.parametrize(("dtype", "ending"), [(np.uint16, "png"), (np.uint16, "tiff"), (np.float32, "tiff")])
def test_folders_of_deep_images(dtype, ending, tmp_path):
    pictures = [images_of(dtype, shape) for shape in [(16, 16), (20, 31), (9, 8), (8, 8), (40, 12)]]
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / f"{number}.{ending}")
    data = nf.data.folder(tmp_path, 8, split=False)
    assert data.images.dtype == dtype and data.images.shape == (5, 8, 8, 1)
    np.testing.assert_array_equal(data.images[3, ..., 0], pictures[3])
    np.testing.assert_array_equal(data.images[0, ..., 0], T.resize(pictures[0], 8, "bicubic"))
    middle = T.crop(pictures[1], 0, 5, 20, 20)
    np.testing.assert_array_equal(data.images[1, ..., 0], T.resize(middle, 8, "bicubic"))
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "9.png")
    with pytest.raises(
        ValueError, match=rf"9.png: images must be of one kind, got uint8 with 3 channels after {np.dtype(dtype)}"
    ):
        nf.data.folder(tmp_path, 8)


def test_integers_of_32_bits_in_a_folder(tmp_path):
    picture = RNG.integers(0, 65536, (8, 8)).astype(np.int32)
    Image.fromarray(picture).save(tmp_path / "1.tiff")
    np.testing.assert_array_equal(nf.data.folder(tmp_path, 8, split=False).images[0, ..., 0], picture)
    picture[3, 4] = 65536
    Image.fromarray(picture).save(tmp_path / "1.tiff")
    with pytest.raises(ValueError, match=r"1.tiff: not a readable image: values must be in 0..65535"):
        nf.data.folder(tmp_path, 8)


def test_command_line(tmp_path, capsys):
    from nearfar.cli import main

    digits = nf.data.digits(split=False)
    images, labels = digits.images[:300], digits.labels[:300]
    printed = []
    for name, these in (
        ("short", images.astype(np.uint16) * np.uint16(257)),
        ("real", (images / 255).astype(np.float32)),
    ):
        np.save(tmp_path / f"{name}.npy", these)
        np.save(tmp_path / f"{name}.labels.npy", labels)
        run, out = tmp_path / name, tmp_path / f"{name}-v.npy"
        small = ["--epochs", "2", "--batch-size", "64", "--width", "4", "--quiet", "--run-dir", str(run)]
        assert main(["train", "--data", f"npy:{tmp_path / name}.npy", *small]) == 0
        assert (run / "report.png").stat().st_size > 10_000
        assert main(["embed", str(run), "--out", str(out)]) == 0
        assert np.load(out).shape[0] == 300
        capsys.readouterr()
        assert main(["evaluate", str(run)]) == 0
        printed.append([line for line in capsys.readouterr().out.splitlines() if line.startswith("raw pixels")])
    assert printed[0] == printed[1] and printed[0]
