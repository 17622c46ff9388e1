"""Does training learn what the same training in torch learns? SimCLR on Fashion-MNIST, judged by two probes.

    python tests/bench/fashion_mnist.py [--seeds 0 1 2] [--encoders convnet resnet18] [--data DIR]
        [--activation-dtype bfloat16]

The first 10,000 training images, without labels: batches of 256 pairs, 10 epochs, AdamW with learning rate 2e-3 and
weight decay 1e-4, 50 steps of warm-up, then cosine; temperature 0.2; head d-d-64; crops of 0.2 to 1 of the area, flips,
brightness and contrast jittered by 0.4 with probability 0.8. Both probes are fitted on the features of those 10,000
images and scored on all 10,000 test images.

The figures of `REFERENCE` are from the same protocol in torch, mean and range over three seeds. The criterion: the mean
over the seeds reaches at least the reference mean minus 0.7 points on each trained figure, with the final loss (mean of
the last epoch) within 0.05. The exit status is 1 if it fails; it is not judged with fewer epochs or images than that.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from typing import NamedTuple

import harness
import nearfar as nf
import numpy as np

IMAGES, BATCH, EPOCHS, WARMUP = 10_000, 256, 10, 50
MARGIN, LOSS_MARGIN = 0.007, 0.05

ENCODERS = {
    "convnet": lambda seed: nf.convnet((32, 64, 128), in_channels=1, seed=seed),
    "resnet18": lambda seed: nf.resnet(18, stem="small", width=16, in_channels=1, seed=seed),
}


class Figures(NamedTuple):
    knn: float
    linear: float
    loss: float | None = None  # mean of the last epoch, nats


RAW = Figures(0.801, 0.801)
UNTRAINED = {"convnet": Figures(0.719, 0.782), "resnet18": Figures(0.706, 0.783)}
REFERENCE = {"convnet": Figures(0.783, 0.829, 3.466), "resnet18": Figures(0.787, 0.836, 3.130)}
RANGES = {
    "convnet": "0.781-0.786, 0.826-0.832, 3.448-3.480",
    "resnet18": "0.781-0.792, 0.833-0.839, 3.121-3.140",
}


def probes(train_v, data, test_v) -> Figures:
    with harness.blas_threads(1):  # scikit-learn's products are too thin for more
        return Figures(
            nf.measure.knn_probe(train_v, data.labels, test_v, data.test_labels, k=20),
            nf.measure.linear_probe(train_v, data.labels, test_v, data.test_labels),
        )


def recipe() -> nf.transforms.SimCLR:
    # strength 0.5 of 0.8 is 0.4; saturation, hue and greyscale mean nothing for grey images
    return nf.transforms.SimCLR(28, scale=(0.2, 1), strength=0.5, grayscale=0, blur=0, mean=(0.286,), std=(0.353,))


def train(name, seed, data, epochs, activation_dtype) -> tuple[Figures, Figures, float]:
    """Probes before and after training, with the final loss, and the training's seconds."""
    encoder = ENCODERS[name](seed)
    encoder = nf.Network(encoder.layers, encoder.in_shape, seed, activation_dtype=activation_dtype)
    width = encoder.out_features
    method = nf.SimCLR(encoder, nf.projection_head(width, width, 64, seed=seed), temperature=0.2)
    augment = recipe()

    def judge():
        features = (method.transform(images, augment) for images in (data.images, data.test_images))
        train_v, test_v = features
        return probes(train_v, data, test_v)

    untrained = judge()
    start = time.perf_counter()
    optimizer = nf.AdamW(method.trained, lr=2e-3, weight_decay=1e-4)
    per_epoch = len(data.images) // BATCH
    steps = epochs * per_epoch
    history = nf.fit(
        method,
        data.images,
        augment,
        epochs=epochs,
        batch_size=BATCH,
        optimizer=optimizer,
        schedule=nf.cosine_schedule(optimizer.lr, steps, min(WARMUP, steps)),
        seed=seed,
        progress=False,
    )
    seconds = time.perf_counter() - start
    loss = float(np.mean(history["loss"][-per_epoch:]))
    return untrained, judge()._replace(loss=loss), seconds


def line(what, figures: Figures, note="") -> str:
    loss = "" if figures.loss is None else f"{figures.loss:.3f}"
    return f"{what:<34} {figures.knn:>8.4f} {figures.linear:>8.4f} {loss:>8}  {note}".rstrip()


def mean(figures: list[Figures]) -> Figures:
    columns = zip(*figures, strict=True)
    return Figures(*(None if column[0] is None else statistics.mean(column) for column in columns))


def misses(reached: Figures, reference: Figures) -> list[str]:
    """What the criterion has against these figures."""
    found = [
        f"{what} probe {ours:.4f} < {theirs:.3f} - {MARGIN}"
        for what, ours, theirs in zip(("kNN", "linear"), reached, reference, strict=False)
        if not ours >= theirs - MARGIN
    ]
    if not abs(reached.loss - reference.loss) <= LOSS_MARGIN:
        found.append(f"loss {reached.loss:.3f} not within {LOSS_MARGIN} of {reference.loss:.3f}")
    return found


def main() -> int:
    options = harness.arguments(
        __doc__,
        seeds={"type": int, "nargs": "+", "default": [0, 1, 2]},
        encoders={"nargs": "+", "choices": list(ENCODERS), "default": list(ENCODERS)},
        epochs={"type": int, "default": EPOCHS},
        data={"help": "folder with the four IDX files (default: that of Debian's package dataset-fashion-mnist)"},
        activation_dtype={
            "choices": ["float32", "bfloat16"],
            "default": "float32",
            "help": "of the encoder (default: float32)",
        },
        no_pixels={"action": "store_true", "help": "without the probes of raw pixels, which take minutes"},
    )
    if options.quick:
        options.seeds, options.epochs, options.no_pixels = options.seeds[:1], 1, True
    options.no_peers = True  # the peers' figures are in the text above
    report = harness.Report("fashion_mnist", options, sgemm=False, header=False)
    with contextlib.suppress(AttributeError):
        sys.stdout.reconfigure(line_buffering=True)
    data = nf.data.fashion_mnist(options.data) if options.data else nf.data.fashion_mnist()
    data = data.subset(2 * BATCH if options.quick else IMAGES)
    judged = options.epochs == EPOCHS and len(data.images) == IMAGES

    print(f"{'':<34} {'kNN':>8} {'linear':>8} {'loss':>8}")
    if not options.no_pixels:
        pixels = (images.reshape(len(images), -1) / np.float32(255) for images in (data.images, data.test_images))
        print(line("raw pixels", probes(next(pixels), data, next(pixels))))
        print(line("  reference", RAW))
    failures = []
    for name in options.encoders:
        before, after = [], []
        for seed in options.seeds:
            untrained, trained, seconds = train(name, seed, data, options.epochs, options.activation_dtype)
            before.append(untrained)
            after.append(trained)
            print(line(f"{name}, seed {seed}, untrained", untrained))
            print(line(f"{name}, seed {seed}, trained", trained, f"{seconds:.0f} s"))
        print(line(f"{name}, untrained, mean", mean(before)))
        print(line("  reference", UNTRAINED[name]))
        print(line(f"{name}, trained, mean", mean(after)))
        print(line("  reference", REFERENCE[name], f"ranges {RANGES[name]}"))
        if judged:
            failures += [f"{name}: {miss}" for miss in misses(mean(after), REFERENCE[name])]
        report.content["rows"] += [
            {"case": name, "contender": "nearfar", "seed": seed, "untrained": b._asdict(), "trained": a._asdict()}
            for seed, b, a in zip(options.seeds, before, after, strict=True)
        ]
    report.content["failures"] = failures if judged else None
    report.write()
    if not judged:
        print("not judged: the criterion is for all images and epochs")
    else:
        print("\n".join(["criterion failed:", *failures]) if failures else "criterion met")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
