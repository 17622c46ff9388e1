"""The command `nearfar`: train, embed and evaluate from a shell."""

from __future__ import annotations

import argparse
import io
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import nearfar
from nearfar import checkpoint, evaluation, plot, runs
from nearfar import data as datasets
from nearfar._extras import require
from nearfar.train import fit

__all__ = ["main"]

SOURCES = """\
SOURCE is one of
  digits                handwritten digits inside scikit-learn: 1,797 grey images of 8x8
  fashion-mnist[:DIR]   60,000 grey images of 28x28 (Debian's dataset-fashion-mnist, or a folder with the files)
  idx:DIR               MNIST and its kin: train-images-idx3-ubyte[.gz], train-labels-..., t10k-...
  cifar10:DIR           the binary or the Python version, unpacked
  folder:DIR            image files, DIR/<class>/<file>, or the same below DIR/train and DIR/test
  npy:FILE              uint8 images (N, H, W[, C]) in an npy file, labels beside it in <name>.labels.npy;
                        or an npz file with images, labels, test_images, test_labels
Nothing is downloaded. Without a test part, every fifth image of each class is kept for the test.
"""

EXAMPLES = """\
examples
  nearfar train
  nearfar train --data fashion-mnist --encoder resnet18 --width 16 --epochs 5
  nearfar train --resume runs/simclr-digits-1
  nearfar embed runs/simclr-digits-1 --data digits --out v.npy
  nearfar evaluate runs/simclr-digits-1
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def _number(kind: type, rule: str, holds: Any) -> Any:
    """A type for argparse: a number that keeps a rule."""

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not holds(value):
            raise argparse.ArgumentTypeError(f"must be {rule}, got {text!r}")
        return value

    return parse


_count = _number(int, "an integer >= 1", lambda n: 1 <= n < 2**31)
_from_zero = _number(int, "an integer >= 0", lambda n: 0 <= n < 2**31)
_share = _number(float, "a number in 0..1", lambda x: 0 <= x <= 1)
_positive = _number(float, "a number > 0", lambda x: 0 < x < float("inf"))
_not_negative = _number(float, "a number >= 0", lambda x: 0 <= x < float("inf"))
_threads = _number(int, "an integer in 1..64", lambda n: 1 <= n <= 64)


def _parser() -> argparse.ArgumentParser:
    form: Any = argparse.RawDescriptionHelpFormatter
    parser = _Parser(prog="nearfar", description="Contrastive representation learning on the CPU.", epilog=EXAMPLES)
    parser.formatter_class = form
    parser.add_argument("--version", action="version", version=f"nearfar {nearfar.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    about = (
        "Train SimCLR on images, then judge the features by kNN and linear probes beside raw pixels, PCA and the same\n"
        "encoder untrained. Writes a run folder with config.json, log.csv, checkpoint.safetensors, evaluation.txt and\n"
        "report.png.\n"
        "Ctrl-C leaves a whole checkpoint; --resume goes on bit for bit."
    )
    train = commands.add_parser(
        "train", help="train on images", description=about, epilog=SOURCES, formatter_class=form
    )
    # Only options that are given are in the namespace: the others' defaults depend on the data.
    train.argument_default = argparse.SUPPRESS
    train.usage = "nearfar train [--data SOURCE] [--resume RUN] [options]"
    _add_training_options(train)

    about = "Write the features of images to an npy file: float32 (N, d), a row per image."
    embed = commands.add_parser("embed", help="write features", description=about, epilog=SOURCES, formatter_class=form)
    _add_run(embed)
    embed.add_argument("--out", required=True, metavar="FILE", help="npy file to write; must not be there yet")
    embed.add_argument(
        "--part",
        choices=("train", "test"),
        default="train",
        help="train: all images of a source without a test part, in its order; test: the source's own test part "
        "(default: train)",
    )

    about = "Print the table of probes for a trained run."
    judge = commands.add_parser(
        "evaluate", help="judge features", description=about, epilog=SOURCES, formatter_class=form
    )
    _add_run(judge)
    _add_evaluation_options(judge, {"k": 20, "probe_limit": 10_000})
    return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="run folder of 'nearfar train', or a checkpoint.safetensors")
    parser.add_argument("--data", metavar="SOURCE", help="images, see below (default: those of the run)")
    parser.add_argument("--image-size", type=_count, metavar="PIXELS", help="for folder:DIR, see 'nearfar train'")
    parser.add_argument("--threads", type=_threads, metavar="N", help="threads to use")


def _add_evaluation_options(parser: Any, defaults: dict[str, Any]) -> None:
    more: Any = {key: {"default": value} for key, value in defaults.items()}
    parser.add_argument("--k", type=_count, help="neighbours of the kNN probe (default: 20)", **more.get("k", {}))
    parser.add_argument(
        "--probe-limit",
        type=_number(int, "an integer >= 2", lambda n: n >= 2),
        metavar="N",
        help="most training and most test images for the probes (default: 10000)",
        **more.get("probe_limit", {}),
    )


def _add_training_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("data")
    group.add_argument("--data", metavar="SOURCE", help="images to train on, see below (default: digits)")
    group.add_argument(
        "--image-size", type=_count, metavar="PIXELS", help="folder: resize images to this (default: 64)"
    )
    group.add_argument("--limit", type=_count, metavar="N", help="use only N training images, evenly spread over all")

    group = parser.add_argument_group("views")
    group.add_argument(
        "--size", type=_count, metavar="PIXELS", help="height and width of a view (default: the image's)"
    )
    group.add_argument(
        "--scale", nargs=2, type=_share, metavar=("MIN", "MAX"), help="crop's share of the area (0.2 1; digits 0.5 1)"
    )
    group.add_argument("--flip", type=_share, metavar="P", help="probability of a mirrored view (0.5; digits 0)")
    group.add_argument(
        "--jitter", type=_share, metavar="P", help="probability of changed brightness, contrast ... (0.8)"
    )
    group.add_argument(
        "--strength",
        type=_not_negative,
        metavar="S",
        help="of the jitter: 0.8 S for brightness, contrast and saturation, 0.2 S for hue (0.5)",
    )
    group.add_argument(
        "--grayscale", type=_share, metavar="P", help="probability of a grey view (0.2 for colour images)"
    )
    group.add_argument("--blur", type=_share, metavar="P", help="probability of a blurred view (0)")
    group.add_argument("--mean", nargs="+", type=float, metavar="M", help="subtracted from values in 0..1 (the data's)")
    group.add_argument("--std", nargs="+", type=_positive, metavar="S", help="divided by, after --mean (the data's)")

    group = parser.add_argument_group("networks")
    group.add_argument("--encoder", metavar="NAME", choices=runs.ENCODERS, help=f"{', '.join(runs.ENCODERS)} (convnet)")
    group.add_argument(
        "--width", type=_count, metavar="C", help="channels of the first stage (convnet 32, resnet 64, ...)"
    )
    group.add_argument(
        "--stem", choices=("small", "imagenet"), help="first layers for images of some 32 or some 224 pixels (small)"
    )
    group.add_argument("--head-hidden", type=_count, metavar="D", help="width of the head's hidden layers (that of v)")
    group.add_argument("--head-out", type=_count, metavar="D", help="length of the embeddings z (64)")
    group.add_argument("--head-layers", type=_count, metavar="L", help="linear layers in the head (2)")
    group.add_argument("--head-batch-norm", action="store_true", help="batch normalisation in the head's hidden layers")

    group = parser.add_argument_group("training")
    group.add_argument("--epochs", type=_count, metavar="N", help="(10; digits 100)")
    group.add_argument("--batch-size", type=_count, metavar="N", help="images per step (256)")
    group.add_argument("--optimizer", choices=runs.OPTIMIZERS, help="(adamw)")
    group.add_argument(
        "--lr", type=_not_negative, metavar="LR", help="highest learning rate, then a cosine to 0 (0.002)"
    )
    group.add_argument("--weight-decay", type=_not_negative, metavar="W", help="(0.0001)")
    group.add_argument(
        "--warmup-steps", type=_from_zero, metavar="N", help="steps in which the rate rises (50, at most a tenth)"
    )
    group.add_argument("--temperature", type=_positive, metavar="T", help="of the loss (0.2; digits 0.5)")
    group.add_argument(
        "--groups", type=int, choices=(1, 2), help="batch statistics over both views together, 1, or per view, 2 (1)"
    )
    group.add_argument("--seed", type=_from_zero, metavar="N", help="of weights, order and views (0)")
    group.add_argument("--threads", type=_threads, metavar="N", help="threads to use; results do not depend on it")
    group.add_argument("--prefetch", action="store_true", help="make the next step's views while a step computes")

    group = parser.add_argument_group("run")
    group.add_argument("--run-dir", metavar="DIR", help="run folder to make (default: runs/simclr-<data>-<number>)")
    group.add_argument("--resume", metavar="RUN", help="go on with an interrupted run, with its options")
    group.add_argument(
        "--checkpoint-seconds", type=_not_negative, metavar="S", help="time between two checkpoints (default: 30)"
    )
    group.add_argument("--no-report", action="store_true", help="train only: no table, no report.png")
    group.add_argument("--quiet", action="store_true", help="no progress bar")
    _add_evaluation_options(group, {})


# ---- commands ----

# Options that a resumed run may set anew: nothing in its result depends on them.
_FREE = ("resume", "threads", "prefetch", "checkpoint_seconds", "quiet", "no_report", "k", "probe_limit", "command")


def _train(given: dict[str, Any]) -> None:
    for module, package in (
        ("safetensors.numpy", "safetensors"),
        ("tqdm", "tqdm"),
        ("sklearn", "scikit-learn"),
        ("matplotlib.figure", "matplotlib"),
    ):
        require(module, package)
    started = time.monotonic()
    resume = given.get("resume")
    if resume is None:
        options = runs.with_defaults({k: v for k, v in given.items() if k not in (*_FREE, "run_dir")})
    else:
        other = [key for key in given if key not in _FREE]
        if other:
            raise ValueError(
                f"--resume takes the options of the run {resume}: leave out --{other[0].replace('_', '-')}"
            )
        options = runs.read_options(resume)
    data = runs.load_data(options)
    method = runs.build_method(options, data.images.shape[3])
    augment = runs.build_augment(options, data)
    optimizer = runs.build_optimizer(options, method)
    folder = Path(resume or given.get("run_dir") or runs.new_folder(f"simclr-{data.name}"))
    count, height, width, channels = data.images.shape
    parameters = method.encoder.parameters.size
    shape = f"{height}x{width}x{channels}"
    print(f"data     {options['data']}: {count:,} training and {len(data.test_images):,} test images, {shape}")
    print(f"encoder  {options['encoder']}: {parameters:,} parameters, {method.encoder.out_features} features")
    print(f"run      {folder}", flush=True)
    _RUNNING.append(folder)
    history = fit(
        method,
        data.images,
        augment,
        epochs=options["epochs"],
        batch_size=options["batch_size"],
        optimizer=optimizer,
        warmup_steps=options["warmup_steps"],
        seed=options["seed"],
        run_dir=folder,
        resume=resume is not None,
        checkpoint_seconds=given.get("checkpoint_seconds", 30.0),
        config=options,
        progress=not given.get("quiet", False),
        prefetch=given.get("prefetch", False),
    )
    loss, chance = history["loss"][-1], history["chance_level"][-1]
    print(f"\n{history['step'][-1]:,} steps, loss {loss:.3f} nats (chance level {chance:.3f})\n", flush=True)
    if not given.get("no_report", False):
        _report(folder, method, data, history, given, options)
    print(f"{folder} written; {time.monotonic() - started:.0f} s in all")


def _report(folder: Path, method: Any, data: Any, history: Any, given: dict[str, Any], options: dict[str, Any]) -> None:
    """Prints the table, and writes it and the plots into the run folder."""
    found = _evaluate_method(method, data, given, options["seed"])
    print(f"{found}\n", flush=True)
    checkpoint.write_atomically(folder / "evaluation.txt", f"{found}\n".encode())
    title = f"{folder.name}: {options['encoder']}, {options['epochs']} epochs"
    image = io.BytesIO()
    plot.report(method, data, history, title=title, seed=options["seed"]).savefig(image, format="png")
    checkpoint.write_atomically(folder / "report.png", image.getvalue())


def _evaluate_method(method: Any, data: Any, given: dict[str, Any], seed: int) -> evaluation.Evaluation:
    with warnings.catch_warnings():
        # A probe that is not converged to the last digit is still a probe.
        warnings.filterwarnings("ignore", message="lbfgs failed to converge")
        return evaluation.evaluate(
            method, data, k=given.get("k", 20), limit=given.get("probe_limit", 10_000), seed=seed
        )


def _evaluate(given: dict[str, Any]) -> None:
    method, options = _load(given)
    data = runs.load_data(options)
    print(_evaluate_method(method, data, given, options["seed"]))


def _embed(given: dict[str, Any]) -> None:
    out = Path(given["out"])
    if out.exists():
        raise FileExistsError(f"--out {out}: is there already; remove it or name another file")
    method, options = _load(given)
    data = datasets.load(options["data"], size=options["image_size"], split=False)
    images = data.images if given["part"] == "train" else data.test_images
    if not len(images):
        raise ValueError(f"--part test: {options['data']} has no test part of its own")
    v = method.transform(images)
    content = io.BytesIO()
    np.save(content, v)
    checkpoint.write_atomically(out, content.getvalue())
    print(f"{out}: {v.dtype} {v.shape}")


def _load(given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The method of a run, and the options of the run with those given on top."""
    run = Path(given["run"])
    if not run.exists():
        raise FileNotFoundError(f"RUN {run}: no such folder or file")
    folder = run if run.is_dir() else run.parent
    if (folder / runs.CONFIG_FILE).exists() or given["data"] is None:
        options = runs.read_options(folder)
    else:
        options = runs.with_defaults({})
    method = nearfar.load(run)
    if method.augment is None:
        raise ValueError(f"RUN {run}: was trained with a recipe that is not in nearfar.transforms: use Python")
    named = {key: given[key] for key in ("data", "image_size") if given[key] is not None}
    if "data" in named:
        named["limit"] = None
    return method, options | named


# ---- start and end ----

_COMMANDS = {"train": _train, "embed": _embed, "evaluate": _evaluate}
_RUNNING: list[Path] = []  # the run folder, once there is one, for the message at Ctrl-C


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, 2 after an error, 130 after Ctrl-C."""
    _RUNNING.clear()
    command = "nearfar"
    try:
        given = vars(_parser().parse_args(arguments))
        command = f"nearfar {given['command']}"
        if given.get("threads"):
            nearfar.set_num_threads(given["threads"])
        _COMMANDS[given["command"]](given)
        sys.stdout.flush()  # here, where a closed pipe is no traceback
    except KeyboardInterrupt:
        message = f"{command}: interrupted"
        if _RUNNING and (_RUNNING[0] / checkpoint.FILE_NAME).exists():
            message += f"; the checkpoint is whole, go on with: nearfar train --resume {_RUNNING[0]}"
        print(f"\n{message}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ArithmeticError, ImportError, MemoryError, OSError, TypeError, ValueError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        print(f"{command}: error: {text}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
