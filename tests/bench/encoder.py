"""The encoder alone: nearfar against torch, eager and compiled, in both memory layouts.

    python tests/bench/encoder.py [--quick] [--threads N] [--cases NAME ...] [--batch N ...] [--no-compile]
                                  [--layers | --growth]

For each case "evaluation" is the forward pass with running statistics, and "training" forward and backward with the
gradients of the parameters, without that of the images. All start from the same weights; the run stops if they do not
compute the same features. "bound" is the time of all convolutions as direct ones at the sgemm rate; Winograd's
algorithm does with less, so more than 100 % is possible; depthwise convolutions do not count. "peak MB" is of two
training steps in a process of its own, beyond images and parameters.

`--batch` takes the place of the cases' own batches: speed against batch. `--layers` prints where a training step's time
goes, on our side alone: for each convolution the rate of its three passes, counted as a direct one's, as a share of the
sgemm rate, and its share of the step; then what batch norm, ReLU and residual sums behind it take, pools, and the
optimiser. The parts are timed as networks of one layer or two, as differences between networks with and without them,
so they are accurate to some percents of the step. `--growth` prints the images per second of our training steps against
batch and threads, and their share of the rate at the largest batch with as many threads.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

import harness
import nearfar as nf
import numpy as np
from harness import Contender
from nearfar import layers as nl

LAYOUTS = ("contiguous", "channels_last")


class Case(NamedTuple):
    encoder: Callable[[], nf.Network]
    size: int
    batch: int


def _resnet(depth, size, batch, stem="small", width=64, channels=3):
    return Case(lambda: nf.resnet(depth, stem=stem, width=width, in_channels=channels), size, batch)


CASES = {
    "resnet18-32": _resnet(18, 32, 128),
    "resnet18-28": _resnet(18, 28, 128, channels=1),
    "resnet18-96": _resnet(18, 96, 32),
    "resnet18-224": _resnet(18, 224, 16, "imagenet"),
    "resnet50-32": _resnet(50, 32, 64),
    "resnet50-224": _resnet(50, 224, 8, "imagenet"),
    "resnet18-28-width16": _resnet(18, 28, 256, width=16, channels=1),
    "convnet-32": Case(lambda: nf.convnet((32, 64, 128)), 32, 256),
    "wide-resnet16-32": Case(lambda: nf.wide_resnet(16, 4), 32, 64),
    "mobilenet-32": Case(lambda: nf.mobilenet(), 32, 64),
    "convnext-32": Case(lambda: nf.convnext((2, 2, 2), width=64, stem=2), 32, 64),
}


def channels(case: Case) -> int:
    return case.encoder().in_shape[2]


def images(case: Case, batch: int) -> np.ndarray:
    shape = (batch, case.size, case.size, channels(case))
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


# ---- the contenders ----


class Ours:
    def __init__(self, case: Case, x: np.ndarray):
        self.network, self.x = case.encoder(), x
        self.d_v = np.ones((len(x), self.network.out_features), np.float32)

    def evaluate(self) -> np.ndarray:
        return self.network.forward(self.x)

    def train(self) -> None:
        self.network.forward(self.x, training=True)
        self.network.backward(self.d_v)


class Torch:
    def __init__(self, case: Case, x: np.ndarray, threads: int, layout: str, compiled: bool):
        harness.set_up_torch(threads)
        import torch
        import torch_models

        self.torch = torch
        format_ = torch.channels_last if layout == "channels_last" else torch.contiguous_format
        network = case.encoder()
        self.model = torch_models.encoder(network).to(memory_format=format_)
        self.call = torch.compile(self.model, dynamic=False) if compiled else self.model
        self.x = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=format_)
        self.d_v = torch.ones(len(x), network.out_features)

    def evaluate(self) -> np.ndarray:
        self.model.eval()
        with self.torch.no_grad():
            return self.call(self.x).numpy()

    def train(self) -> None:
        self.model.train()
        for parameter in self.model.parameters():
            parameter.grad = None
        self.call(self.x).backward(self.d_v)


def make(case: Case, x: np.ndarray, threads: int, contender: str) -> Ours | Torch:
    if contender == "nearfar":
        return Ours(case, x)
    return Torch(case, x, threads, contender.split()[-1], "compile" in contender)


def training(name: str, batch: int, threads: int, contender: str) -> Callable[[], None]:
    """What a process of its own runs when its peak memory is measured."""
    return make(CASES[name], images(CASES[name], batch), threads, contender).train


# ---- convolutions of a network ----


class Convolution(NamedTuple):
    layer: nl.Conv
    shape: tuple[int, int, int]  # of its input
    first: bool  # its input is the images, which get no gradient

    @property
    def flops(self) -> float:
        """Of one pass over one image, as a direct convolution."""
        height, width, channels = self.layer.output_shape(self.shape)
        return 2.0 * height * width * channels * self.shape[2] * float(np.prod(self.layer.kernel))


def convolutions(layers: Sequence[nl.Layer], shape: tuple, first: bool = True) -> tuple[list[Convolution], tuple]:
    """All of them in order, and the shape behind the layers."""
    found: list[Convolution] = []
    for layer in layers:
        behind = shape
        if isinstance(layer, nl.Residual):
            body, behind = convolutions(layer.body, shape, False)
            found += body + convolutions(layer.shortcut, shape, False)[0]
        else:
            behind = layer.output_shape(shape)
        if isinstance(layer, nl.Conv):
            found.append(Convolution(layer, shape, first and not found))
        shape = behind
    return found, shape


def all_convolutions(case: Case) -> list[Convolution]:
    return convolutions(case.encoder().layers, (case.size, case.size, channels(case)))[0]


# ---- the comparison ----


def run_case(name: str, batch: int, options, report) -> None:
    case = CASES[name]
    x = images(case, batch)
    found = all_convolutions(case)
    forward = batch * sum(conv.flops for conv in found)
    backward = batch * sum((1 if conv.first else 2) * conv.flops for conv in found)
    rounds = options.rounds or (1 if options.quick else 5)
    modes = ["eager"] if options.no_compile or options.quick else ["eager", "compile"]
    peers = [f"torch {mode} {layout}" for mode in modes for layout in LAYOUTS]
    missing = report.torch if isinstance(report.torch, str) else None
    everyone = {who: make(case, x, options.threads, who) for who in ["nearfar", *([] if missing else peers)]}
    absent = [Contender("torch", missing)] if missing else []
    features = {who: one.evaluate() for who, one in everyone.items()}
    for who, v in features.items():
        if not np.allclose(v, features["nearfar"], rtol=1e-3, atol=1e-3 * np.abs(v).max()):
            raise SystemExit(f"{who} computes other features of {name}")
    title = f"{name}, {batch}"
    contenders = [Contender(who, one.evaluate) for who, one in everyone.items()]
    bound = forward / report.sgemm
    report.compare(f"{title}: evaluation", contenders + absent, rounds, work=batch, bound_seconds=bound)
    contenders = [Contender(who, one.train) for who, one in everyone.items()]
    bound = (forward + backward) / report.sgemm
    megabytes = {}
    for who in everyone if not options.quick else ():
        if "compile" not in who:  # compiling takes memory of its own
            warm = (name, 2, options.threads, who)
            megabytes[who] = harness.peak_memory(training, name, batch, options.threads, who, warm=warm)
    report.compare(
        f"{title}: training", contenders + absent, rounds, work=batch, bound_seconds=bound, megabytes=megabytes
    )


# ---- the table of layers ----


class Times(NamedTuple):
    forward: float
    backward: float


def time_network(layers: list[nl.Layer], shape: tuple[int, ...], batch: int, options, clock) -> Times:
    """Seconds of forward in training and of backward without the gradient of the input: the least of a few."""
    network = nf.Network(layers, (None, None, shape[-1]))
    x = np.random.default_rng(0).standard_normal((batch, *shape), dtype=np.float32)
    d_y = np.ones(network.forward(x, training=True).shape, np.float32)
    network.backward(d_y)
    forward, backward = [], []
    begin = clock()
    while len(forward) < 3 or (clock() - begin < options.seconds and not options.quick):
        start = clock()
        network.forward(x, training=True)
        middle = clock()
        network.backward(d_y)
        forward.append(middle - start)
        backward.append(clock() - middle)
    return Times(min(forward), min(backward))


class LayerTimes(NamedTuple):
    """Seconds of a convolution's passes, and of batch norm and ReLU behind it; input None: nobody wants it."""

    forward: float
    input: float | None
    weight: float
    norm: float


def time_convolution(conv: Convolution, batch: int, options, clock) -> LayerTimes:
    """A network copies its input, so each is compared with one that does the same: `pool` of the same images."""
    behind = conv.layer.output_shape(conv.shape)

    def time(layers, shape=conv.shape):
        return time_network([*layers, nl.GlobalAveragePool()], shape, batch, options, clock)

    before, after = time([]), time([nl.ReLU()], behind)  # copy and pool; copy, ReLU and pool, and the pool's way back
    alone, normed = time([conv.layer]), time([conv.layer, nl.BatchNorm(), nl.ReLU()])
    weight = alone.backward - after.backward
    wanted = None if conv.first else time([nl.ReLU(), conv.layer]).backward - alone.backward
    norm = normed.forward - alone.forward + normed.backward - alone.backward
    return LayerTimes(alone.forward - before.forward, wanted, weight, norm)


def time_step(case: Case, x: np.ndarray, options, clock) -> tuple[float, float]:
    """Seconds of forward and backward together, and of an SGD step: the least of a few."""
    ours = Ours(case, x)
    optimizer = nf.SGD([ours.network], lr=0.0, momentum=0.9)
    ours.train()
    steps, updates = [], []
    for _ in range(3 if options.quick else 7):
        start = clock()
        ours.train()
        middle = clock()
        optimizer.step()
        steps.append(middle - start)
        updates.append(clock() - middle)
    return min(steps), min(updates)


def print_layers(name: str, batch: int, options, report) -> None:
    case, clock = CASES[name], report.clock
    step, update = time_step(case, images(case, batch), options, clock)
    total = step + update
    kinds: dict[Convolution, int] = {}
    for conv in all_convolutions(case):
        plain = conv._replace(layer=nl.Conv(conv.layer.out_channels, conv.layer.kernel, conv.layer.stride))
        kinds[plain] = kinds.get(plain, 0) + 1
    print(f"\n{name}, batch {batch}: step {step * 1e3:.1f} ms ({batch / step:.0f} images/s)")
    rates = " ".join(f"{head:>9}" for head in ("forward", "d input", "d weight"))
    print(f"{'':3} {'input':<14} {'kernel':<7} {'out':>5} {rates} {'step':>6} {'norm':>6}")
    sums = np.zeros(2)
    for conv, count in kinds.items():
        times = time_convolution(conv, batch, options, clock)
        work = batch * conv.flops / report.sgemm
        passes = (times.forward, times.input, times.weight)
        cells = ["" if one is None else f"{work / one:.0%}" if one > 0 else "?" for one in passes]
        shares = count * np.array([sum(filter(None, passes)), times.norm]) / total
        sums += shares
        kernel = "x".join(map(str, conv.layer.kernel)) + (f"/{conv.layer.stride}" if conv.layer.stride > 1 else "")
        shape = "x".join(map(str, conv.shape))
        print(
            f"{count:>2}x {shape:<14} {kernel:<7} {conv.layer.out_channels:>5} "
            + " ".join(cell.rjust(9) for cell in cells)
            + f" {shares[0]:6.1%} {shares[1]:6.1%}",
            flush=True,
        )
        row = {"case": name, "batch": batch, "layer": f"{shape} {kernel} {conv.layer.out_channels}", "count": count}
        report.content["rows"].append(row | times._asdict() | {"sgemm_seconds": work, "share": float(shares.sum())})
    rest = 1 - sums.sum() - update / total
    print(
        f"convolutions {sums[0]:.1%}, batch norm and ReLU {sums[1]:.1%}, optimiser {update / total:.1%}, "
        f"the rest {rest:.1%}"
    )


# ---- the table of batches and threads ----

BATCHES, QUICK_BATCHES = (8, 16, 32, 64, 128, 256, 512), (2, 4)


def print_growth(name: str, options, report) -> None:
    """A row for each batch, a column for each number of threads: powers of two up to the run's."""
    case = CASES[name]
    batches = sorted(options.batch) or (QUICK_BATCHES if options.quick else BATCHES)
    threads = [2**i for i in range(options.threads.bit_length())]
    rounds = options.rounds or (1 if options.quick else 5)
    everyone = {batch: Ours(case, images(case, batch)) for batch in batches}
    rows = []
    for count in threads:
        nf.set_num_threads(count)
        contenders = [Contender(str(batch), one.train) for batch, one in everyone.items()]
        for batch, seconds in harness.take_turns(contenders, rounds, report.clock).items():
            time = statistics.median(seconds)
            rows.append(
                {"case": name, "batch": int(batch), "threads": count, "seconds": time, "rate": int(batch) / time}
            )
    nf.set_num_threads(options.threads)
    rates = {(row["batch"], row["threads"]): row["rate"] for row in rows}
    print(f"\n{name}: images per second, and share of the rate in batches of {batches[-1]}")
    print(f"{'batch':>5}  " + " ".join(f"{f'{count} thread' + 's' * (count > 1):>15}" for count in threads))
    for batch in batches:
        cells = (
            f"{rates[batch, count]:,.0f} {rates[batch, count] / rates[batches[-1], count]:5.0%}" for count in threads
        )
        print(f"{batch:>5}  " + " ".join(cell.rjust(15) for cell in cells), flush=True)
    report.content["rows"] += rows


def main():
    options = harness.arguments(
        __doc__,
        cases={"nargs": "+", "choices": list(CASES), "default": list(CASES), "help": "which networks"},
        batch={"nargs": "+", "type": int, "default": [], "help": "images in a batch, in place of each case's own"},
        no_compile={"action": "store_true", "help": "without torch.compile, which takes minutes to compile"},
        layers={"action": "store_true", "help": "where our time goes, by layer, instead of the comparison"},
        growth={"action": "store_true", "help": "our speed against batch and threads, instead of the comparison"},
        seconds={"type": float, "default": 0.3, "help": "for each part that --layers times"},
    )
    table = "layers" if options.layers else "growth" if options.growth else None
    report = harness.Report(f"encoder-{table}" if table else "encoder", options, header=not table)
    run = print_layers if options.layers else run_case
    for name in options.cases:
        if options.growth:
            print_growth(name, options, report)
            continue
        for batch in options.batch or [2 if options.quick else CASES[name].batch]:
            run(name, batch, options, report)
    report.write()


if __name__ == "__main__":
    main()
