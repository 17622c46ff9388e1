"""Data files: what is read is what was written, and what is damaged or hostile is refused before it does harm."""

import gzip
import io
import pickle
import resource
import struct
import time
import zipfile

import nearfar as nf
import numpy as np
import pytest
from nearfar import formats
from nearfar.formats import read_cifar10, read_idx, read_npy, read_npz
from PIL import Image

IMAGES = np.arange(12 * 5 * 4, dtype=np.uint8).reshape(12, 5, 4)
LABELS = np.array([3, 1, 0, 2, 1, 1, 3, 0, 0, 0, 0, 2], np.uint8)


def idx_bytes(array, code=8, shape=None):
    shape = array.shape if shape is None else shape
    return bytes([0, 0, code, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + array.tobytes()


def npy_bytes(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npy_header(text, version=1):
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text.encode()


# ---- IDX ----


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("code", "dtype"), [(8, "u1"), (9, "i1"), (11, ">i2"), (12, ">i4"), (13, ">f4"), (14, ">f8")])
def test_idx_reads_every_type(tmp_path, code, dtype, packed):
    array = (np.arange(24).reshape(2, 3, 4) - 5).astype(dtype)
    content = idx_bytes(array, code)
    (tmp_path / "a").write_bytes(gzip.compress(content) if packed else content)
    read = read_idx(tmp_path / "a")
    assert read.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(read, array)
    assert read.flags.writeable


WHOLE = idx_bytes(IMAGES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "wrong magic number"),
        (b"\0\0\x08", "wrong magic number"),
        (b"PNG!" + WHOLE[4:], "wrong magic number 0x504e4721"),
        (b"\0\0\x07\x03" + WHOLE[4:], "wrong magic number"),
        (b"\0\0\x08\x00" + WHOLE[4:], "wrong magic number"),
        (WHOLE[:10], "truncated in the header"),
        (WHOLE[:-1], "truncated"),
        (WHOLE + b"x", "too long"),
        (idx_bytes(IMAGES, shape=(2**32 - 1,) * 3), "truncated"),
        (gzip.compress(WHOLE[:-1]), "truncated"),
        (gzip.compress(WHOLE + b"x"), "more than"),
        (gzip.compress(WHOLE)[:-12], "damaged gzip"),
        (gzip.compress(WHOLE)[:14] + b"\xff" * 20, "damaged gzip"),
        (gzip.compress(idx_bytes(IMAGES, shape=(2**32 - 1,) * 4)), "compressed bytes can hold"),
    ],
)
def test_idx_refuses(tmp_path, content, message):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_idx(tmp_path / "a")
    assert str(error.value).startswith(str(tmp_path / "a"))


def test_bombs_cost_neither_memory_nor_time(tmp_path):
    ten_gigabytes = (10, 1 << 15, 1 << 15)
    bomb = gzip.compress(bytes(20 << 20), 9)
    honest = idx_bytes(np.zeros(0, np.uint8), shape=(20 << 20,)) + bytes(20 << 20)
    files = {
        "declares.gz": gzip.compress(idx_bytes(IMAGES, shape=ten_gigabytes)),
        "declares": idx_bytes(IMAGES, shape=ten_gigabytes),
        # As much data as gzip can pack, behind a header that declares a little.
        "longer.gz": gzip.compress(idx_bytes(IMAGES)) + bomb,
        "shorter.gz": gzip.compress(honest[:-1]),
    }
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=r"declares|truncated|more than"):
            read_idx(tmp_path / name)
    for text in ("{'descr': '|u1', 'fortran_order': False, 'shape': (10737418240,)}\n", "{" * 5000 + "\n"):
        (tmp_path / "a.npy").write_bytes(npy_header(text))
        with pytest.raises(ValueError, match=r"truncated|damaged"):
            read_npy(tmp_path / "a.npy")
        with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("images.npy", npy_header(text))
        with pytest.raises(ValueError, match=r"declares|damaged"):
            read_npz(tmp_path / "a.npz")
    assert time.monotonic() - started < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10  # KiB


def test_more_than_the_machine_has_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "memory_limit", lambda: IMAGES.size - 1)
    (tmp_path / "a").write_bytes(WHOLE)
    with pytest.raises(ValueError, match="more than this machine's memory"):
        read_idx(tmp_path / "a")


def test_idx_folder(tmp_path):
    for stem, part in (("train", slice(0, 8)), ("t10k", slice(8, 12))):
        (tmp_path / f"{stem}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(IMAGES[part])))
        (tmp_path / f"{stem}-labels.idx1-ubyte").write_bytes(idx_bytes(LABELS[part]))
    data = nf.data.load(f"idx:{tmp_path}")
    np.testing.assert_array_equal(data.images, IMAGES[:8, ..., None])
    np.testing.assert_array_equal(data.labels, LABELS[:8])
    np.testing.assert_array_equal(data.test_images, IMAGES[8:, ..., None])
    np.testing.assert_array_equal(data.test_labels, LABELS[8:])
    assert nf.data.fashion_mnist(tmp_path).classes[9] == "Ankle boot"
    (tmp_path / "t10k-labels.idx1-ubyte").write_bytes(idx_bytes(LABELS[:3]))
    with pytest.raises(ValueError, match=rf"{tmp_path}: test_labels must have shape \(4,\)"):
        nf.data.idx(tmp_path)


def test_idx_file_without_labels(tmp_path):
    (tmp_path / "images").write_bytes(WHOLE)
    data = nf.data.load(f"idx:{tmp_path / 'images'}")
    assert data.labels is None and data.test_labels is None
    np.testing.assert_array_equal(data.test_images[..., 0], IMAGES[4::5])


def test_missing_fashion_mnist_says_how_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="apt install dataset-fashion-mnist"):
        nf.data.load(f"fashion-mnist:{tmp_path}")


# ---- CIFAR-10 ----

PIXELS = np.arange(4 * 3072, dtype=np.uint32).astype(np.uint8).reshape(4, 3072)
EXPECTED = PIXELS.reshape(4, 3, 32, 32).transpose(0, 2, 3, 1)


def python2_pickle(pixels, labels):
    """What CIFAR-10's own files look like: protocol 2 of Python 2, with str for bytes."""
    short = lambda text: b"U" + bytes([len(text)]) + text  # noqa: E731
    array = b"cnumpy.core.multiarray\n_reconstruct\nq\x01(cnumpy\nndarray\nq\x02K\x00\x85U\x01btRq\x03(K\x01"
    array += b"M" + struct.pack("<H", len(pixels)) + b"M" + struct.pack("<H", 3072) + b"\x86"
    array += b"cnumpy\ndtype\nq\x04U\x02u1K\x00K\x01\x87Rq\x05(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    array += b"\x89T" + struct.pack("<I", pixels.size) + pixels.tobytes() + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}q\x00(" + short(b"data") + array + short(b"labels") + numbers + b"u."


@pytest.mark.parametrize(
    "content",
    [
        python2_pickle(PIXELS, [0, 9, 4, 4]),
        *(pickle.dumps({b"data": PIXELS, b"labels": [0, 9, 4, 4]}, protocol=p) for p in (2, 3, 4)),
        pickle.dumps({"data": np.asfortranarray(PIXELS), "labels": [0, 9, 4, 4]}, protocol=2),
    ],
    ids=["python2", "2", "3", "4", "fortran"],
)
def test_cifar_python_version(tmp_path, content):
    (tmp_path / "data_batch_1").write_bytes(content)
    images, labels = read_cifar10(tmp_path / "data_batch_1")
    np.testing.assert_array_equal(images, EXPECTED)
    assert images.flags.c_contiguous and labels.tolist() == [0, 9, 4, 4]


def test_cifar_folders(tmp_path):
    rows = np.column_stack([np.array([0, 9, 4, 4], np.uint8), PIXELS])
    (tmp_path / "python").mkdir()
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        (tmp_path / f"{name}.bin").write_bytes(rows.tobytes())
        (tmp_path / "python" / name).write_bytes(python2_pickle(PIXELS, [0, 9, 4, 4]))
    a, b = nf.data.load(f"cifar10:{tmp_path}"), nf.data.load(f"cifar10:{tmp_path / 'python'}")
    assert a.images.shape == (20, 32, 32, 3) and len(a.classes) == 10
    np.testing.assert_array_equal(a.images, b.images)
    np.testing.assert_array_equal(a.test_images, EXPECTED)
    np.testing.assert_array_equal(a.labels, b.labels)
    (tmp_path / "data_batch_3.bin").unlink()
    with pytest.raises(FileNotFoundError, match="data_batch_3"):
        nf.data.cifar10(tmp_path)
    with pytest.raises(FileNotFoundError, match="cifar-10-binary"):
        nf.data.cifar10(tmp_path / "nowhere")


class Evil:
    def __reduce__(self):
        return (exec, ("import pathlib; pathlib.Path('executed').touch()",))


GOOD = {"data": PIXELS, "labels": [0, 9, 4, 4]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80",
        b"junk that is no pickle",
        pickle.dumps(Evil(), protocol=2),
        pickle.dumps(GOOD | {"more": Evil()}, protocol=2),
        pickle.dumps(GOOD, protocol=2)[:-100],
        pickle.dumps(GOOD, protocol=5),  # arrays of this protocol are made by other functions
        pickle.dumps([1, 2], protocol=2),
        pickle.dumps({"data": PIXELS}, protocol=2),
        pickle.dumps(GOOD | {"data": PIXELS[:, :-1]}, protocol=2),
        pickle.dumps(GOOD | {"data": PIXELS.astype(np.float32)}, protocol=2),
        pickle.dumps(GOOD | {"data": [1]}, protocol=2),
        pickle.dumps(GOOD | {"labels": [0, 9, 4]}, protocol=2),
        pickle.dumps(GOOD | {"labels": [0, 9, 4, 10]}, protocol=2),
        pickle.dumps(GOOD | {"labels": [0, 9, 4, "x"]}, protocol=2),
        pickle.dumps(GOOD | {"labels": [0, 9, 4, -1]}, protocol=2),
        b"\x80\x02]r\xff\xff\xff\x7f.",  # a memo place far out: the unpickler would reserve 16 GB
        b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"].",
        b"\x80\x04B\xff\xff\xff\x7f.",
        b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b".",
    ],
)
def test_cifar_refuses_pickles(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data_batch_1").write_bytes(content)
    with pytest.raises(ValueError, match="data_batch_1: "):
        read_cifar10("data_batch_1")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [b"", bytes(3072), bytes(3073 * 2 - 1), b"\x0a" + bytes(3072)])
def test_cifar_refuses_binaries(tmp_path, content):
    (tmp_path / "a.bin").write_bytes(content)
    with pytest.raises(ValueError, match=r"multiple of 3073|labels must be 0\.\.9, got 10"):
        read_cifar10(tmp_path / "a.bin")


def test_damaged_pickles_only_raise_value_errors(tmp_path):
    """Bytes changed anywhere: a ValueError or a batch, never another exception."""
    content, random = python2_pickle(PIXELS[:1], [3]), np.random.default_rng(0)
    skeleton = [i for i in range(len(content)) if not 150 < i < len(content) - 60]  # not the pixels
    for _ in range(400):
        damaged = bytearray(content)
        for place in random.choice(skeleton, 2):
            damaged[place] = random.integers(256)
        (tmp_path / "b").write_bytes(damaged)
        try:
            images, labels = read_cifar10(tmp_path / "b")
            assert images.shape[1:] == (32, 32, 3) and len(images) == len(labels)
        except ValueError as error:
            assert str(error).startswith(str(tmp_path / "b"))


# ---- npy and npz ----


@pytest.mark.parametrize("array", [IMAGES, np.asfortranarray(IMAGES), IMAGES[::2, ::-1], IMAGES[:0], IMAGES * 1.5])
def test_npy_is_mapped(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    read = read_npy(tmp_path / "a.npy")
    np.testing.assert_array_equal(read, array)
    assert read.dtype == array.dtype and (isinstance(read, np.memmap) or not array.size)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_npy_versions(tmp_path, version):
    with open(tmp_path / "a.npy", "wb") as stream:
        np.lib.format.write_array(stream, IMAGES, version)
    np.testing.assert_array_equal(read_npy(tmp_path / "a.npy"), IMAGES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "wrong magic number"),
        (b"\x93NUMPY\x09\x00" + npy_bytes(IMAGES)[8:], "wrong magic number"),
        (npy_bytes(IMAGES)[:9], "header"),
        (npy_bytes(IMAGES)[:40], "header"),
        (npy_bytes(IMAGES)[:-1], "truncated: the header declares 240 bytes of data, the file has 239"),
        (npy_bytes(np.array([{}, []], object)), "Python objects"),
        (npy_bytes(np.array(["a", "b"])), "must hold numbers"),
        (npy_header("{'descr': '|u1', 'fortran_order': False}\n"), "damaged npy header"),
        (npy_header("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 5)}\n"), "damaged npy header"),
        (npy_header("{'descr': '|u1', 'fortran_order': False, 'shape': [5]}\n"), "damaged npy header"),
        (npy_header("{'descr': '|u1', 'fortran_order': 1, 'shape': (5,)}\n"), "damaged npy header"),
        (npy_header("__import__('os').system('touch executed')\n"), "damaged npy header"),
        (npy_header(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({2**70},)}}\n"), "damaged npy header"),
        (npy_header(" " * 20_000, version=2), "damaged npy header"),
    ],
)
def test_npy_refuses(tmp_path, content, message):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        nf.data.load(f"npy:{tmp_path / 'a.npy'}")


def test_npy_dataset(tmp_path):
    np.save(tmp_path / "pictures.npy", IMAGES)
    np.save(tmp_path / "pictures.labels.npy", LABELS)
    data = nf.data.load(f"npy:{tmp_path / 'pictures.npy'}")
    assert data.name == "pictures" and data.classes == ("0", "1", "2", "3")
    assert len(data.images) == 11 and data.test_labels.tolist() == [0]  # the fifth zero
    np.testing.assert_array_equal(data.test_images[0, ..., 0], IMAGES[10])
    everything = nf.data.load(f"npy:{tmp_path / 'pictures.npy'}", split=False)
    np.testing.assert_array_equal(everything.images[..., 0], IMAGES)
    assert not len(everything.test_images)
    np.save(tmp_path / "pictures.labels.npy", LABELS[:-1])
    with pytest.raises(ValueError, match=r"pictures.npy: labels must have shape \(12,\)"):
        nf.data.load(f"npy:{tmp_path / 'pictures.npy'}")
    np.save(tmp_path / "floats.npy", IMAGES / 255)
    with pytest.raises(ValueError, match=r"floats.npy: images must be uint8, uint16 or float32, got float64"):
        nf.data.load(f"npy:{tmp_path / 'floats.npy'}")


def test_npz_dataset(tmp_path):
    parts = {"images": IMAGES[:8], "labels": LABELS[:8], "test_images": IMAGES[8:], "test_labels": LABELS[8:]}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **parts)
        data = nf.data.load(f"npy:{tmp_path / 'a.npz'}")
        np.testing.assert_array_equal(data.test_images[..., 0], IMAGES[8:])
        np.testing.assert_array_equal(data.labels, LABELS[:8])
    content = (tmp_path / "a.npz").read_bytes()
    np.savez(tmp_path / "b.npz", pictures=IMAGES)
    with pytest.raises(ValueError, match="must have an entry 'images', got pictures"):
        nf.data.npy(tmp_path / "b.npz")
    for cut in (60, len(content) // 2, len(content) - 5):
        (tmp_path / "c.npz").write_bytes(content[:cut])
        with pytest.raises(ValueError, match="damaged npz"):
            nf.data.npy(tmp_path / "c.npz")
    flipped = bytearray(content)
    flipped[120] ^= 0xFF
    (tmp_path / "c.npz").write_bytes(flipped)
    with pytest.raises(ValueError, match=r"c\.npz"):
        nf.data.npy(tmp_path / "c.npz")
    np.savez(tmp_path / "d.npz", images=np.array([{}], object))
    with pytest.raises(ValueError, match="Python objects"):
        nf.data.npy(tmp_path / "d.npz")


# ---- folders of images ----


def picture(path, size, colour, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


def test_folder(tmp_path):
    for i in range(6):
        picture(tmp_path / "red" / f"{i}.png", (10 + i, 20), (255, 0, 0))
        picture(tmp_path / "blue" / f"{i}.bmp", (40, 7), (0, 0, 255))
    picture(tmp_path / "blue" / "grey.png", (9, 9), 7, "L")
    (tmp_path / "blue" / "notes.txt").write_text("not an image")
    data = nf.data.folder(tmp_path, 8)
    assert data.classes == ("blue", "red") and data.images.shape == (11, 8, 8, 3)
    assert np.bincount(data.test_labels).tolist() == [1, 1]
    np.testing.assert_array_equal(data.images[data.labels == 1][:, 3, 3], [[255, 0, 0]] * 5)
    np.testing.assert_array_equal(data.images[data.labels == 0][-1], 7)


def test_folder_with_parts_and_without_classes(tmp_path):
    picture(tmp_path / "a" / "train" / "x" / "1.png", (5, 5), (1, 2, 3))
    picture(tmp_path / "a" / "val" / "x" / "1.png", (5, 5), (4, 5, 6))
    data = nf.data.load(f"folder:{tmp_path / 'a'}", size=4)
    assert data.images[0, 0, 0].tolist() == [1, 2, 3] and data.test_images[0, 0, 0].tolist() == [4, 5, 6]
    picture(tmp_path / "a" / "val" / "y" / "1.png", (5, 5), (4, 5, 6))
    with pytest.raises(ValueError, match="must have the classes of"):
        nf.data.folder(tmp_path / "a")
    for i in range(5):
        picture(tmp_path / "b" / f"{i}.png", (5, 5), (i, 0, 0))
    data = nf.data.folder(tmp_path / "b", 3)
    assert data.labels is None and data.test_images[0, 0, 0].tolist() == [4, 0, 0]


def test_folder_refuses(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        nf.data.folder(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="no images"):
        nf.data.folder(tmp_path)
    picture(tmp_path / "x" / "1.png", (30, 30), (1, 2, 3))
    with pytest.raises(ValueError, match=r"size must be in 1..4096, got 0"):
        nf.data.folder(tmp_path, 0)
    whole = (tmp_path / "x" / "1.png").read_bytes()
    for content in (b"", whole[:40], b"\x89PNG\r\n\x1a\n" + bytes(50)):
        (tmp_path / "x" / "1.png").write_bytes(content)
        with pytest.raises(ValueError, match=r"1\.png: not a readable image"):
            nf.data.folder(tmp_path)
    (tmp_path / "x" / "1.png").write_bytes(whole)
    for limit in (899, 449):  # above Pillow's limit, and above twice of it
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(ValueError, match=r"1\.png: not a readable image: .*exceeds limit"):
            nf.data.folder(tmp_path)


# ---- arrays, digits, names ----


def test_digits():
    data = nf.data.digits()
    assert data.images.shape == (1442, 8, 8, 1) and data.test_images.shape == (355, 8, 8, 1)
    assert data.images.max() == 255 and data.images.dtype == np.uint8
    share = np.bincount(data.test_labels) / (np.bincount(data.labels) + np.bincount(data.test_labels))
    assert (abs(share - 0.2) < 0.005).all()
    assert len(nf.data.digits(split=False).images) == 1797


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((IMAGES / 255,), TypeError, "images must be uint8, uint16 or float32, got float64"),
        ((IMAGES[0],), ValueError, r"images must be \(N, H, W, C\)"),
        ((IMAGES[:0],), ValueError, "images must be"),
        ((IMAGES[:4],), ValueError, "images must be at least 5"),
        ((IMAGES, LABELS / 2), TypeError, "labels must be integers"),
        ((IMAGES, LABELS[:-1]), ValueError, r"labels must have shape \(12,\)"),
        ((IMAGES, LABELS.astype(int) - 1), ValueError, r"labels must be in 0\.\."),
        ((IMAGES, None, None, LABELS), ValueError, "test_labels must come with test_images"),
        ((IMAGES, None, IMAGES[:, 1:]), ValueError, "test_images must be of the shape of images"),
        ((IMAGES, LABELS, IMAGES), ValueError, "labels and test_labels must come together"),
    ],
)
def test_arrays_refuse(arguments, error, message):
    with pytest.raises(error, match=message):
        nf.data.arrays(*arguments)


@pytest.mark.parametrize("source", ["", "mnist", "idx", "idx:", "npy", "folder:", "cifar10", "digits:x", ":x"])
def test_unknown_sources(source):
    with pytest.raises(ValueError, match=f"source .*got '{source}'"):
        nf.data.load(source)


def test_subsets_are_spread_over_all_classes():
    data = nf.data.arrays(np.repeat(IMAGES, 10, axis=0), np.repeat(np.arange(4), 30))
    assert data.subset(None) is data and data.subset(10**9) is data
    some = data.subset(7)
    assert len(some.images) == len(some.labels) == 7 and set(some.labels) == {0, 1, 2, 3}
    assert len(some.test_images) == len(data.test_images)
    with pytest.raises(ValueError, match="count must be >= 1, got 0"):
        data.subset(0)
