"""A fuzzer of recipes and of the functions on single images: random images, operations and parameters, in range and out
of it, each case made from one seed.

    python tests/fuzz/recipes.py [--seconds 60] [--seed 0]

It is meant for the build with sanitizers (see the README). A case must end in views that hold what is promised, or in
ValueError, TypeError or MemoryError. After a crash, the file named at the start holds the seed; `--seed N --count 1`
runs it again. tests/test_fuzz.py replays the seeds in seeds.txt.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import os
import tempfile
import time
import zlib
from dataclasses import MISSING, fields
from pathlib import Path

import nearfar as nf
import numpy as np
from nearfar import _core
from nearfar import transforms as T
from nearfar.recipe_operations import ROW, Operation, rows_of

SEEDS = Path(__file__).parent / "seeds.txt"
REFUSED = (ValueError, TypeError, MemoryError)
ODD = [-1, 0, 1, 2, 3, 0.5, 1e-9, 1e9, 1e300, -1e300, float("nan"), float("inf"), 2**31, 2**53, 255, 256, 16384, 16385]
PRESETS = [T.SimCLR, T.MoCoV1, T.MoCoV2, T.MoCoV3, T.BYOL, T.SimSiam, T.SupCon, T.VICReg, T.SwAV, T.DINO, T.PIRL]
FUNCTIONS = sorted(name for name in T.__all__ if inspect.isfunction(getattr(T, name)))
CORNERS = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])


def operations() -> list[type]:
    return sorted(Operation.__subclasses__(), key=lambda kind: kind.kind)


# ---- values ----


def a_length(rng) -> int:
    """Of a side: small ones more often."""
    return int(rng.choice([1, 2, 3, 5, 8, 16, 17, 33, rng.integers(1, 100)]))


def near(value, rng):
    """A value like `value`: mostly of the same kind and size."""
    if rng.random() < 0.02:
        return ODD[rng.integers(len(ODD))]
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return int(rng.integers(-1, 2 * abs(value) + 3)) if rng.random() < 0.1 else int(rng.integers(1, value + 2))
    if isinstance(value, float):
        return float(rng.choice([0, 1, value, value * rng.random(), rng.random()]))
    if isinstance(value, tuple):
        items = [item * (0.2 + 1.2 * rng.random()) if isinstance(item, float) else near(item, rng) for item in value]
        return tuple(sorted(items)) if all(isinstance(item, float) for item in items) else tuple(items)
    return value


def an_operation(kind: type, rng) -> Operation:
    """One with arguments near its defaults; those without a default are sizes. After a refusal, another."""
    with contextlib.suppress(REFUSED):
        return kind(**some_arguments(kind, rng))
    return kind(**some_arguments(kind, rng))


def some_arguments(kind: type, rng) -> dict:
    arguments = {}
    for field in fields(kind):
        if field.name in ARGUMENTS:
            arguments[field.name] = ARGUMENTS[field.name](rng)
        elif field.default is MISSING:
            arguments[field.name] = a_size(rng)
        elif rng.random() < 0.5:
            arguments[field.name] = near(field.default, rng)
    return arguments


def a_size(rng):
    return a_length(rng) if rng.random() < 0.5 else (a_length(rng), a_length(rng))


def a_color(rng):
    """One value, most often, or one for each of one to four channels."""
    count = int(rng.integers(1, 5)) if rng.random() < 0.2 else 0
    if rng.random() < 0.1:  # of floats
        return tuple(rng.normal(size=count).tolist()) if count else float(rng.normal())
    return tuple(rng.integers(0, 256, count).tolist()) if count else near(int(rng.integers(256)), rng)


def a_padding(rng):
    count = int(rng.choice([1, 2, 4]))
    sides = tuple(near(int(rng.integers(40)), rng) for _ in range(count))
    return sides[0] if count == 1 else sides


ARGUMENTS = {  # of operations and functions, by their names
    "interpolation": lambda rng: str(rng.choice(["bilinear", "bicubic", "nearest"])),
    "padding_mode": lambda rng: str(rng.choice(["constant", "edge", "reflect", "symmetric"])),
    "padding": a_padding,
    "fill": a_color,
    "value": a_color,
}


def of_function(name: str, image: np.ndarray, rng) -> dict:
    """Arguments of one of FUNCTIONS besides the image, most of which fit it."""
    height, width = image.shape[-3:-1] if image.ndim > 2 else image.shape
    grid, kernel = int(rng.integers(1, 5)), (2 * rng.integers(0, 6, 2) + 1).tolist()
    top, left = int(rng.integers(height)), int(rng.integers(width))
    corners = CORNERS * [width - 1, height - 1]
    fitting = {
        "top": top,
        "left": left,
        "height": int(rng.integers(0, height - top + 1)),
        "width": int(rng.integers(0, width - left + 1)),
        "y": top,
        "x": left,
        "angle": float(rng.choice([0, 90, -180, 270, 360 * rng.random()])),
        "expand": bool(rng.random() < 0.5),
        "center": tuple(rng.normal(20, 20, 2).tolist()) if rng.random() < 0.5 else None,
        "translate": tuple(rng.normal(0, 10, 2).tolist()),
        "scale": float(np.exp(rng.normal())),
        "shear": tuple(rng.normal(0, 20, 2).tolist()),
        "startpoints": corners,
        "endpoints": corners + rng.normal(0, 1 + 0.2 * min(height, width), (4, 2)),
        "factor": rng.random() - 0.5 if name == "adjust_hue" else 3 * rng.random(),
        "threshold": 256 * rng.random(),
        "kernel_size": tuple(kernel) if rng.random() < 0.5 else kernel[0],
        "radius": tuple((8 * rng.random(2)).tolist()) if rng.random() < 0.5 else 40 * rng.random(),
        "order": rng.permutation(grid * grid),
        "grid": grid,
        "bits": int(rng.integers(9)),
        "channels": int(rng.choice([1, 3])),
        "gamma": 3 * rng.random(),
        "mean": rng.random(),
        "std": 0.1 + rng.random(),
        "max_size": a_length(rng) if rng.random() < 0.2 else None,
    }
    arguments = {}
    for key, parameter in list(inspect.signature(getattr(T, name)).parameters.items())[1:]:
        if key in fitting:
            odd = rng.random() < 0.02 and key not in ("startpoints", "order")
            arguments[key] = ODD[rng.integers(len(ODD))] if odd else fitting[key]
        elif key in ARGUMENTS:
            arguments[key] = ARGUMENTS[key](rng)
        elif parameter.default is inspect.Parameter.empty or key == "size":
            arguments[key] = a_size(rng)
        elif rng.random() < 0.5:
            arguments[key] = near(parameter.default, rng)
    return arguments


def a_list(rng) -> list:
    """Operations, most often with a crop first, as images of several sizes need it."""
    kinds = operations()
    chosen = [kinds[i] for i in rng.integers(len(kinds), size=rng.integers(0, 6))]
    if rng.random() < 0.7:
        chosen.insert(0, T.RandomResizedCrop)
    return [an_operation(kind, rng) for kind in chosen]


def a_recipe(rng):
    which = rng.random()
    if which < 0.6:
        return T.Recipe(a_list(rng), views=int(rng.integers(1, 4)))
    if which < 0.8:
        return T.MultiView([a_list(rng) for _ in range(rng.integers(1, 4))])
    preset = PRESETS[rng.integers(len(PRESETS))]
    if preset in (T.SwAV, T.DINO):
        return preset(a_length(rng), local_size=a_length(rng), local_views=int(rng.integers(0, 4)))
    if preset is T.PIRL:
        grid = int(rng.integers(1, 9))
        return preset(grid * a_length(rng), grid=grid)
    return preset((a_length(rng), a_length(rng)), flip=near(0.5, rng), strength=near(1.0, rng))


def a_deep_recipe(rng):
    """One of what works on images of more than 8 bits, most often."""
    needs_bytes = (T.Posterize, T.Equalize, T.PillowGaussianBlur)
    chosen = [operation for operation in a_list(rng) if rng.random() < 0.1 or not isinstance(operation, needs_bytes)]
    return T.Recipe(chosen, views=int(rng.integers(1, 4)))


def deepened(images, rng):
    """Images of bytes as ones of uint16 or float32."""
    if isinstance(images, list):
        of_floats = rng.random() < 0.5
        return [np.float32(image) if of_floats else np.uint16(image) * np.uint16(257) for image in images]
    if rng.random() < 0.4:
        return np.uint16(images) * np.uint16(257)
    deep = images.astype(np.float32) / np.float32(rng.choice([1, 255]))
    if rng.random() < 0.05:
        with np.errstate(over="ignore"):
            deep.flat[rng.integers(deep.size)] = ODD[rng.integers(len(ODD))]
    return deep[:, ::-1] if rng.random() < 0.5 else deep


def some_images(rng):
    channels = int(rng.choice([1, 2, 3, 4], p=[0.25, 0.1, 0.55, 0.1]))
    count = int(rng.integers(1, 5))
    if rng.random() < 0.5:
        return rng.integers(0, 256, (count, a_length(rng), a_length(rng), channels), np.uint8)[:, ::-1]
    return [rng.integers(0, 256, (a_length(rng), a_length(rng), channels), np.uint8) for _ in range(count)]


# ---- cases ----


def arrays(views) -> list[np.ndarray]:
    return views if isinstance(views, list) else [views]


def same(a, b) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(arrays(a), arrays(b), strict=True))


def views_of_a_recipe(rng) -> None:
    """A recipe on images: what it promises, or a refusal."""
    recipe, images = a_recipe(rng), some_images(rng)
    if rng.random() < 0.15:
        recipe, images = a_deep_recipe(rng), deepened(images, rng)
    where = {"seed": int(rng.integers(2**63)), "epoch": int(rng.integers(2**32))}
    form = {"layout": str(rng.choice(["nhwc", "nchw"])), "dtype": (np.float32, np.uint8)[rng.integers(2)]}
    before = zlib.crc32(b"".join(image.tobytes() for image in images))
    views = recipe(images, **where, **form)
    params = recipe.sample(images, **where)
    assert same(views, recipe.apply(images, params, **form)), "replayed parameters give other views"
    out = [np.empty_like(array) for array in arrays(views)]
    recipe(images, **where, **form, out=out if isinstance(views, list) else out[0])
    assert same(out, arrays(views)), "out holds other views"
    n = int(rng.integers(len(images)))
    alone = recipe([images[n]], **where, **form, indices=[n])
    assert same(alone, [array[:, n : n + 1] for array in arrays(views)]), "views depend on the batch"
    assert all(np.isfinite(array).all() for array in arrays(views)), "views are not finite"
    recipe.plain(images, **form)
    with contextlib.suppress(REFUSED):
        recipe.apply(images, change(params, rng), **form)
    assert zlib.crc32(b"".join(image.tobytes() for image in images)) == before, "images were changed"


def views_of_clips(rng) -> None:
    """Frames that are changed alike, or each by itself."""
    recipe, per_frame = T.Clips(a_recipe(rng), per_frame=bool(rng.random() < 0.5)), rng.random() < 0.5
    shape = rng.integers(1, 4), rng.integers(1, 4), a_length(rng), a_length(rng), rng.choice([1, 3])
    clips = rng.integers(0, 256, shape, np.uint8)[:, :: -1 if per_frame else 1]
    params = recipe.sample(clips, seed=int(rng.integers(2**63)))
    views = recipe.apply(clips, params)
    out = [np.empty_like(array) for array in arrays(views)]
    recipe.apply(clips, params, out=out if isinstance(views, list) else out[0])
    assert same(out, arrays(views)), "out holds other views"


def one_function(rng) -> None:
    """A function on single images: a batch gives what its images give, wherever they lie in memory."""
    name, channels = FUNCTIONS[rng.integers(len(FUNCTIONS))], int(rng.choice([1, 2, 3, 4], p=[0.2, 0.1, 0.6, 0.1]))
    batch = rng.integers(0, 256, (rng.integers(1, 4), a_length(rng), a_length(rng), channels), np.uint8)[:, ::-1]
    if rng.random() < 0.4:
        batch = deepened(batch, rng)
    before, function, arguments = batch.copy(), getattr(T, name), of_function(name, batch, rng)
    made = function(batch, **arguments)
    assert made.dtype == (np.float32 if name == "normalize" else batch.dtype) and len(made) == len(batch)
    assert np.array_equal(batch, before), "images were changed"
    assert np.isfinite(made).all(), "results are not finite"
    n = int(rng.integers(len(batch)))
    if name == "gaussian_noise":
        arguments["index"] = arguments.get("index", 0) + n
    assert np.array_equal(function(batch[n].copy(), **arguments), made[n]), "an image depends on its batch"
    if channels == 1 and name != "rgb_to_grayscale":
        assert np.array_equal(function(batch[n, ..., 0], **arguments), made[n, ..., 0]), "(H, W) is unlike (H, W, 1)"


def change(params: np.ndarray, rng) -> np.ndarray:
    """Parameters with some bytes of one record changed."""
    raw = bytearray(params.tobytes())
    for _ in range(rng.integers(1, 4)):
        if raw:
            raw[rng.integers(len(raw))] = int(rng.choice([0, 1, 127, 128, 255, rng.integers(256)]))
    return np.frombuffer(raw, params.dtype, params.size).reshape(params.shape) if raw else params


def rows_of_numbers(rng) -> None:
    """The core by itself, without the checks in Python."""
    rows = rows_of([an_operation(kind, rng) for kind in rng.choice(operations(), rng.integers(0, 4))], (9, 9))
    for _ in range(rng.integers(0, 3) if len(rows) else 0):
        odd = rng.choice([*ODD, *range(8)])
        rows[rng.integers(len(rows)), rng.integers(ROW)] = odd if odd < 16000 else -odd  # the largest only take long
    views, count, size = int(rng.integers(0, 4)), int(rng.integers(0, 4)), _core.check_transforms(rows)
    images = rng.integers(0, 256, (count, a_length(rng), a_length(rng), 3), np.uint8)
    sizes = np.tile(np.array(images.shape[1:3]), (count, 1))
    first = int(rng.choice([0, 1, 4093, 4095, -1, 2**31 - 1], p=[0.4, 0.3, 0.15, 0.05, 0.05, 0.05]))
    records = _core.recipe_sample(rows, views, first, 3, sizes, np.arange(count), 1, 2)
    if rng.random() < 0.5:
        records = rng.integers(0, 256, (max(views, 0), count, size), np.uint8)
    numbers = rng.choice(np.array([0.5, 1, 0, float("nan"), 1e-30]), (2, 3), p=[0.45, 0.45, 0.04, 0.03, 0.03])
    _core.recipe_apply(rows, views, images, records, *numbers, rng.random() < 0.5, rng.random() < 0.5, None)


CASES = [views_of_a_recipe] * 4 + [rows_of_numbers] * 2 + [one_function] * 4 + [views_of_clips]


def run(seed: int) -> str:
    """One case; "views", or the name of the error by which it was refused."""
    rng = np.random.default_rng(seed)
    try:
        CASES[rng.integers(len(CASES))](rng)
    except REFUSED as error:
        return type(error).__name__
    return "views"


def seeds() -> list[int]:
    """Those of the corpus."""
    found: list[int] = []
    for line in SEEDS.read_text().splitlines():
        ends = [int(number) for number in line.split("#")[0].split("-") if number.strip()]
        found += range(ends[0], ends[-1] + 1) if ends else ()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="how long")
    parser.add_argument("--seed", type=int, default=0, help="of the first case")
    parser.add_argument("--count", type=int, help="number of cases, whatever the time")
    options = parser.parse_args()
    nf.set_num_threads(2)
    file, path = tempfile.mkstemp(prefix="nearfar-fuzz-", suffix=".seed")
    print(f"the seed of the case at hand is in {path}", flush=True)
    ends: dict[str, int] = {}
    seed, started = options.seed, time.monotonic()
    while seed - options.seed < options.count if options.count else time.monotonic() - started < options.seconds:
        os.pwrite(file, f"{seed}\n".encode(), 0)
        try:
            end = run(seed)
        except BaseException:
            print(f"seed {seed}:", flush=True)
            raise
        ends[end] = ends.get(end, 0) + 1
        seed += 1
    os.unlink(path)
    print(f"seeds {options.seed} to {seed - 1}: {ends}")


if __name__ == "__main__":
    main()
