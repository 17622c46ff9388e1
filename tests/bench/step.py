"""A training step of SimCLR: nearfar against torch, eager and compiled, in both memory layouts.

    python tests/bench/step.py [--quick] [--threads N] [--cases NAME ...] [--no-compile]

Parts, each for a small convolutional network and a ResNet-18 on 32 x 32 RGB images:

- encoder: forward and backward of the encoder alone, on 2 N views.
- step: views -> encoder -> head -> NT-Xent -> backward -> optimiser; the views are ready.
- step + views: the same from uint8 images. torch's views come from albumentations or Pillow in the same process, and
  its step is the variant that was fastest before.

Both start from the same weights; the run stops if they do not compute the same loss. "bound" is the time of all
convolutions as direct ones (forward, gradient of the maps, gradient of the filters) at the sgemm rate; Winograd's
algorithm does with less, so more than 100 % is possible. "peak MB" is of two steps in a process of its own, beyond
views and parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import augmentations
import harness
import nearfar as nf
import numpy as np
from harness import Contender
from transforms import ours as recipe_of_ours
from transforms import smooth_images

SIZE, CHANNELS, HIDDEN, EMBEDDING, TEMPERATURE = 32, 3, 128, 128, 0.5
RECIPE = augmentations.Recipe(SIZE, blur=0)
LAYOUTS = ("contiguous", "channels_last")


class Case(NamedTuple):
    encoder: Callable[[], nf.Network]
    optimizer: str
    pairs: int
    quick_pairs: int
    rounds: int


WIDTHS = (32, 64, 128)
CASES = {
    "convnet": Case(lambda: nf.convnet(WIDTHS), "AdamW", 256, 16, 7),
    "resnet18": Case(lambda: nf.resnet(18), "SGD", 64, 2, 5),
}


def views(pairs: int) -> np.ndarray:
    """(2, N, H, W, C) of numbers like those that a recipe gives."""
    return np.random.default_rng(0).standard_normal((2, pairs, SIZE, SIZE, CHANNELS), dtype=np.float32)


def networks(case: str) -> tuple[nf.Network, nf.Network]:
    encoder = CASES[case].encoder()
    return encoder, nf.projection_head(encoder.out_features, HIDDEN, EMBEDDING)


# ---- ours ----


class Ours:
    def __init__(self, case: str, threads: int):
        nf.set_num_threads(threads)
        self.method = nf.SimCLR(*networks(case), temperature=TEMPERATURE)
        if CASES[case].optimizer == "AdamW":
            self.optimizer = nf.AdamW(self.method.trained, lr=1e-3, weight_decay=1e-4)
        else:
            self.optimizer = nf.SGD(self.method.trained, lr=0.03, momentum=0.9, weight_decay=1e-4)

    def step(self, x: np.ndarray) -> float:
        loss = self.method.step(x).loss
        self.optimizer.step()
        return loss

    def encoder_call(self, x: np.ndarray) -> Callable[[], None]:
        x, encoder = x.reshape(-1, *x.shape[2:]), self.method.encoder
        d_v = np.ones((len(x), encoder.out_features), np.float32)

        def run():
            encoder.forward(x, training=True)
            encoder.backward(d_v)

        return run

    prepare = staticmethod(lambda x: x)  # views as arrays -> what `step` takes


# ---- torch ----


class Torch:
    def __init__(self, case: str, threads: int, layout: str, compiled: bool):
        harness.set_up_torch(threads)
        import torch
        import torch_models

        self.torch, self.layout, self.compiled = torch, layout, compiled
        encoder, head = networks(case)
        torch_encoder = torch_models.encoder(encoder)
        torch_head = torch_models.projection_head(head, encoder.out_features, HIDDEN, EMBEDDING)
        format_ = torch.channels_last if layout == "channels_last" else torch.contiguous_format
        self.model = torch.nn.Sequential(torch_encoder, torch_head).to(memory_format=format_).train()
        if CASES[case].optimizer == "AdamW":
            self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, weight_decay=1e-4, fused=True)
        else:
            self.optimizer = torch.optim.SGD(
                self.model.parameters(), lr=0.03, momentum=0.9, weight_decay=1e-4, fused=True
            )

        def loss(x):
            return torch_models.nt_xent(self.model(x), TEMPERATURE)

        self.loss = self._compile(loss)
        self.encoder = self._compile(self.model[0])

    def _compile(self, function):
        return self.torch.compile(function, dynamic=False) if self.compiled else function

    def prepare(self, x: np.ndarray):
        x = self.torch.from_numpy(x.reshape(-1, *x.shape[2:])).permute(0, 3, 1, 2)
        return x if self.layout == "channels_last" else x.contiguous()

    def step(self, x) -> float:
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(x)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def encoder_call(self, x: np.ndarray) -> Callable[[], None]:
        x = self.prepare(x)
        d_v = self.torch.ones(len(x), self.model[1][0].in_features)

        def run():
            self.optimizer.zero_grad(set_to_none=True)
            self.encoder(x).backward(d_v)

        return run


# ---- the run ----


def make(case: str, threads: int, contender: str) -> Ours | Torch:
    if contender == "nearfar":
        return Ours(case, threads)
    return Torch(case, threads, contender.split()[-1], "compile" in contender)


def step_call(case: str, threads: int, contender: str, pairs: int) -> Callable[[], float]:
    """For `harness.peak_memory`: a step on ready views."""
    one = make(case, threads, contender)
    x = one.prepare(views(pairs))
    return lambda: one.step(x)


def flops(layers, shape, first=True) -> tuple[float, tuple]:
    """Of all convolutions in a step, for one image, and the shape behind the layers; the images get no gradient."""
    total = 0.0
    for layer in layers:
        if isinstance(layer, nf.layers.Residual):
            body, behind = flops(layer.body, shape, False)
            total += body + flops(layer.shortcut, shape, False)[0]
        else:
            behind = layer.output_shape(shape)
        if isinstance(layer, nf.layers.Conv):
            total += (4 if first else 6) * behind[0] * behind[1] * behind[2] * shape[2] * np.prod(layer.kernel)
            first = False
        shape = behind
    return total, shape


def run_case(name: str, options, report) -> None:
    case = CASES[name]
    pairs = case.quick_pairs if options.quick else case.pairs
    rounds = options.rounds or (1 if options.quick else case.rounds)
    title = f"{name}, {pairs} pairs"
    x = views(pairs)
    modes = ["eager"] if options.no_compile or options.quick else ["eager", "compile"]
    peers = [f"torch {mode} {layout}" for mode in modes for layout in LAYOUTS]
    missing = report.torch if isinstance(report.torch, str) else None
    names = ["nearfar"] if missing else ["nearfar", *peers]
    absent = [Contender("torch", missing)] if missing else []
    bound = 2 * pairs * flops(case.encoder().layers, (SIZE, SIZE, CHANNELS))[0] / report.sgemm

    contenders = [Contender(who, make(name, options.threads, who).encoder_call(x)) for who in names]
    report.compare(f"{title}: encoder", contenders + absent, rounds, work=pairs, bound_seconds=bound)

    everyone = {who: make(name, options.threads, who) for who in names}
    inputs = {who: one.prepare(x) for who, one in everyone.items()}
    losses = {who: one.step(inputs[who]) for who, one in everyone.items()}
    for who, loss in losses.items():
        if abs(loss - losses["nearfar"]) > 1e-3:
            raise SystemExit(f"{who} computes another loss: {loss}, nearfar {losses['nearfar']}")
    megabytes = {}
    if not options.quick:
        for who in names:
            args = (name, options.threads, who)
            megabytes[who] = harness.peak_memory(step_call, *args, pairs, warm=(*args, 2))
    contenders = [Contender(who, lambda who=who: everyone[who].step(inputs[who])) for who in names]
    rows = report.compare(
        f"{title}: step", contenders + absent, rounds, work=pairs, bound_seconds=bound, megabytes=megabytes
    )

    fastest = min((row for row in rows[1:] if not row.note), key=lambda row: row.seconds, default=None)
    images = smooth_images(pairs, SIZE, CHANNELS)
    augment = recipe_of_ours(RECIPE)
    contenders = [Contender("nearfar", lambda: everyone["nearfar"].step(augment(images, seed=0, epoch=0)))]
    for peer, (package, recipe) in augmentations.PEERS.items():
        module = missing or harness.load(package, options)
        if isinstance(module, str):
            contenders.append(Contender(f"torch + {peer}", module))
            continue
        one, make_views = everyone[fastest.contender], augmentations.all_views(recipe, RECIPE, images)
        call = lambda one=one, make_views=make_views: one.step(one.prepare(make_views()))  # noqa: E731
        contenders.append(Contender(f"{fastest.contender} + {peer}", call))
    report.compare(f"{title}: step + views", contenders, rounds, work=pairs, bound_seconds=bound)


def main():
    options = harness.arguments(
        __doc__,
        cases={"nargs": "+", "choices": list(CASES), "default": list(CASES), "help": "which networks"},
        no_compile={"action": "store_true", "help": "without torch.compile, which takes minutes to compile"},
    )
    report = harness.Report("step", options)
    for name in options.cases:
        run_case(name, options, report)
    report.write()


if __name__ == "__main__":
    main()
