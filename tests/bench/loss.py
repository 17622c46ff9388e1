"""Contrastive losses, value and gradient: nearfar against plain torch, lightly and pytorch-metric-learning.

    python tests/bench/loss.py [--quick] [--threads N] [--widths 64 128] [--large]

NT-Xent and symmetric InfoNCE over N pairs of D numbers, temperature 0.2, float32, rows normalised. "bound" is the time
of 4 n^2 D flops (n = 2N; symmetric InfoNCE: 8 N^2 D) at the sgemm rate: the similarity tiles twice and the gradient
once, each by symmetry for half of them. Where there is room to keep the tiles' exponentials, the second time is saved,
and more than 100 % is possible. Plain torch is what most training codes have: normalise, one product, cross-entropy,
autograd. --large has NT-Xent at sizes where one matrix of scores would take 17 and 69 GB, without peers.
"""

import harness
import nearfar as nf
import numpy as np
from harness import Contender

TEMPERATURE = 0.2
WIDTHS = (64, 100, 128, 512)  # 100: no multiple of a vector
SIZES = (256, 1024, 4096, 8192)
LARGE = (32768, 65536)


def embeddings(pairs: int, width: int) -> np.ndarray:
    """(2, N, D): views near each other, as in the middle of a training run."""
    random = np.random.default_rng(0)
    z = random.standard_normal((pairs, width), dtype=np.float32)
    return np.stack([z + 0.7 * random.standard_normal((pairs, width), dtype=np.float32) for _ in range(2)])


# ---- ours ----


def nearfar_nt_xent(pairs, width, threads):
    nf.set_num_threads(threads)
    z = embeddings(pairs, width)
    return lambda: nf.nt_xent(z, TEMPERATURE)


def nearfar_info_nce(pairs, width, threads):
    nf.set_num_threads(threads)
    query, key = embeddings(pairs, width)
    return lambda: nf.info_nce(query, key, TEMPERATURE, symmetric=True)


# ---- peers: each returns a call that computes the loss and leaves the gradient ----


def torch_nt_xent(pairs, width, threads, compiled=False):
    harness.set_up_torch(threads)
    from torch_models import nt_xent

    return _with_gradient(
        lambda z: nt_xent(z, TEMPERATURE), _leaves(embeddings(pairs, width).reshape(2 * pairs, width)), compiled
    )


def torch_info_nce(pairs, width, threads, compiled=False):
    harness.set_up_torch(threads)
    import torch

    def value(query, key):
        query, key = (torch.nn.functional.normalize(x, dim=1) for x in (query, key))
        scores = query @ key.T / TEMPERATURE
        cross_entropy = torch.nn.functional.cross_entropy
        return (cross_entropy(scores, positives) + cross_entropy(scores.T, positives)) / 2

    positives = torch.arange(pairs)
    return _with_gradient(value, _leaves(*embeddings(pairs, width)), compiled)


def lightly_nt_xent(pairs, width, threads):
    harness.set_up_torch(threads)
    from lightly.loss import NTXentLoss

    return _with_gradient(NTXentLoss(TEMPERATURE), _leaves(*embeddings(pairs, width)))


def metric_learning_nt_xent(pairs, width, threads):
    harness.set_up_torch(threads)
    import torch
    from pytorch_metric_learning.losses import NTXentLoss, SelfSupervisedLoss

    # It divides by the temperature the cosines of its own distance object, which normalises rows.
    loss = SelfSupervisedLoss(NTXentLoss(TEMPERATURE))
    a, b = (torch.from_numpy(x) for x in embeddings(pairs, width))
    return _with_gradient(loss, [a.requires_grad_(), b.requires_grad_()])


def _leaves(*arrays):
    import torch

    return [torch.from_numpy(array).requires_grad_() for array in arrays]


def _with_gradient(value, leaves, compiled=False):
    import torch

    if compiled:
        value = torch.compile(value, dynamic=False)

    def run():
        loss = value(*leaves)
        return loss.detach(), torch.autograd.grad(loss, leaves)

    return run


# Loss: contender, its package, the largest N it is asked for (it makes N^3 numbers), the call, more arguments.
LOSSES = {
    "nt_xent": (
        ("nearfar", None, None, nearfar_nt_xent, ()),
        ("torch eager", "torch", None, torch_nt_xent, ()),
        ("torch.compile", "torch", None, torch_nt_xent, (True,)),
        ("lightly", "lightly", None, lightly_nt_xent, ()),
        ("pytorch-metric-learning", "pytorch_metric_learning", 256, metric_learning_nt_xent, ()),
    ),
    "info_nce symmetric": (
        ("nearfar", None, None, nearfar_info_nce, ()),
        ("torch eager", "torch", None, torch_info_nce, ()),
        ("torch.compile", "torch", None, torch_info_nce, (True,)),
    ),
}


def flops(loss: str, pairs: int, width: int) -> float:
    return 4 * (2 * pairs) ** 2 * width if loss == "nt_xent" else 8 * pairs**2 * width


def check(contenders) -> None:
    """All contenders must agree on the loss, or they are not doing the same."""
    losses = {name: float(run()[0]) for name, run in contenders if not isinstance(run, str)}
    for name, loss in losses.items():
        if abs(loss - losses["nearfar"]) > 1e-4:
            raise SystemExit(f"{name} computes another loss: {loss}, nearfar {losses['nearfar']}")


def compare(report, options, loss, entries, pairs, width):
    contenders, megabytes = [], {}
    for name, package, largest, build, extra in entries:
        module = harness.load(package, options) if package else None
        if not isinstance(module, str) and largest and pairs > largest:
            module = "left out: memory"
        if isinstance(module, str):
            contenders.append(Contender(name, module))
            continue
        args = (width, options.threads, *extra)
        try:
            contenders.append(Contender(name, build(pairs, *args)))
        except ImportError as error:
            contenders.append(Contender(name, f"not usable: {error}"))
            continue
        if not options.quick:
            megabytes[name] = harness.peak_memory(build, pairs, *args, warm=(64, *args))
    check(contenders)
    report.compare(
        f"{loss}, {pairs:,} x {width}",
        contenders,
        options.rounds or (2 if options.quick else 7 if pairs <= 1024 else 5 if pairs < LARGE[0] else 1),
        work=pairs,
        bound_seconds=flops(loss, pairs, width) / report.sgemm,
        megabytes=megabytes,
    )


def main():
    options = harness.arguments(
        __doc__,
        widths={"type": int, "nargs": "+", "default": WIDTHS, "help": f"D of the cases (default: {WIDTHS})"},
        sizes={"type": int, "nargs": "+", "default": SIZES, "help": f"N of the cases (default: {SIZES})"},
        large={"action": "store_true", "help": f"NT-Xent with N of {LARGE}, D = 128, nearfar alone: minutes"},
    )
    report = harness.Report("loss", options)
    if options.large:
        for pairs in LARGE:
            compare(report, options, "nt_xent", LOSSES["nt_xent"][:1], pairs, 128)
    else:
        for loss, entries in LOSSES.items():
            for width in (128,) if options.quick else options.widths:
                for pairs in (256,) if options.quick else options.sizes:
                    compare(report, options, loss, entries, pairs, width)
    report.write()


if __name__ == "__main__":
    main()
