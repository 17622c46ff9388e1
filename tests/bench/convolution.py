"""Which algorithm for which convolution: each candidate on a grid of shapes, beside the one that "auto" takes.

    python tests/bench/convolution.py [--quick] [--threads N] [--sizes N ...] [--channels N ...] [--batch N ...]

"auto" goes by a rule on the shape (`nf_conv_choose` in csrc/nn/conv.c), never by a measurement at run time; this is the
measurement behind the rule. A row is a 3 x 3 convolution with as many channels out as in, forward and backward with
the gradients of weights and input, in a network with an average pool behind it. "gain" is the time of "direct" over
that of the faster of the others; a mark stands where the rule takes the slower one and loses more than 5 % by it.
"""

from __future__ import annotations

import itertools
import statistics
from typing import NamedTuple

import harness
import nearfar as nf
import numpy as np
from harness import Contender
from nearfar.layers import Conv, GlobalAveragePool

ALGORITHMS = ("direct", "winograd2", "winograd4")
TOLERANCE = 1.05
MOST_FLOPS = 3e10  # of one pass: shapes beyond take seconds, and tell nothing that smaller batches don't


class Shape(NamedTuple):
    batch: int
    size: int
    channels: int
    stride: int

    @property
    def flops(self) -> float:
        """Of one pass, as a direct convolution."""
        return 2.0 * 9 * self.batch * (self.size // self.stride) ** 2 * self.channels**2

    def __str__(self) -> str:
        return f"{self.batch} x {self.size}x{self.size}x{self.channels} /{self.stride}"


def network(shape: Shape, algorithm: str) -> nf.Network:
    layers = [Conv(shape.channels, 3, stride=shape.stride), GlobalAveragePool()]
    return nf.Network(layers, (shape.size, shape.size, shape.channels), conv_algo=algorithm)


def images(shape: Shape) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((shape.batch, shape.size, shape.size, shape.channels), np.float32)


def taken(shape: Shape) -> str:
    """The algorithm whose bits "auto" gives."""
    x = images(shape)
    outputs = {name: network(shape, name).forward(x) for name in ("auto", *ALGORITHMS)}
    same = [name for name in ALGORITHMS if np.array_equal(outputs[name], outputs["auto"])]
    if shape.stride == 2 and same[:2] == ["direct", "winograd2"]:
        return "direct"  # asked for "winograd2", strided convolutions are direct
    if len(same) != 1:
        raise SystemExit(f"{shape}: the bits do not tell which algorithm auto takes: {same}")
    return same[0]


def step(shape: Shape, algorithm: str):
    net, x, d_y = network(shape, algorithm), images(shape), np.ones((shape.batch, shape.channels), np.float32)

    def run():
        net.forward(x, training=True)
        net.backward(d_y, input_gradient=True)

    return run


def main():
    options = harness.arguments(
        __doc__,
        sizes={"nargs": "+", "type": int, "default": [3, 4, 7, 8, 13, 14, 16, 28, 32, 56], "help": "height and width"},
        channels={"nargs": "+", "type": int, "default": [8, 16, 32, 64, 128, 256], "help": "in and out"},
        batch={"nargs": "+", "type": int, "default": [1, 4, 64], "help": "images"},
    )
    options.no_peers = True
    report = harness.Report("convolution", options, header=False)
    print(f"{'shape':<24} " + " ".join(f"{name:>10}" for name in (*ALGORITHMS, "gain")) + "  auto takes")
    grid = (Shape(*one) for one in itertools.product(options.batch, options.sizes, options.channels, (1, 2)))
    losses = []
    for shape in (one for one in grid if one.flops <= MOST_FLOPS):
        contenders = [Contender(name, step(shape, name)) for name in ALGORITHMS]
        times = harness.take_turns(contenders, options.rounds or (1 if options.quick else 3), report.clock)
        seconds = {name: statistics.median(times[name]) for name in ALGORITHMS}
        choice = taken(shape)
        losses.append(seconds[choice] / min(seconds.values()))
        cells = " ".join(f"{seconds[name] * 1e3:7.2f} ms" for name in ALGORITHMS)
        gain = seconds["direct"] / min(seconds[name] for name in ALGORITHMS[1:])
        mark = f"  <- {losses[-1] - 1:.0%} slower" if losses[-1] > TOLERANCE else ""
        print(f"{shape!s:<24} {cells} {gain:10.2f}  {choice}{mark}", flush=True)
        row = {
            "shape": str(shape),
            "taken": choice,
            "loss": losses[-1],
            "sgemm_seconds": 3 * shape.flops / report.sgemm,
        }
        report.content["rows"].append(row | seconds)
    good = sum(loss <= TOLERANCE for loss in losses)
    print(f"auto takes the faster, or loses at most 5 % by it, for {good} of {len(losses)} shapes")
    report.write()


if __name__ == "__main__":
    main()
