"""Contrastive losses, value and gradient: nearfar against plain torch, lightly and pytorch-metric-learning.

    python tests/bench/loss.py [--quick] [--threads N]

NT-Xent and symmetric InfoNCE over N pairs, D = 128, temperature 0.2, float32, rows normalised. "bound" is the time of
4 n^2 D flops (n = 2N; symmetric InfoNCE: 8 N^2 D) at the sgemm rate: the similarity tiles twice and the gradient once,
each by symmetry for half of them. Where there is room to keep the tiles' exponentials, the second time is saved, and
more than 100 % is possible. Plain torch is what most training codes have: normalise, one product, cross-entropy,
autograd.
"""

import harness
import nearfar as nf
import numpy as np
from harness import Contender

D = 128
TEMPERATURE = 0.2


def embeddings(pairs: int) -> np.ndarray:
    """(2, N, D): views near each other, as in the middle of a training run."""
    random = np.random.default_rng(0)
    z = random.standard_normal((pairs, D), dtype=np.float32)
    return np.stack([z + 0.7 * random.standard_normal((pairs, D), dtype=np.float32) for _ in range(2)])


# ---- ours ----


def nearfar_nt_xent(pairs, threads):
    nf.set_num_threads(threads)
    z = embeddings(pairs)
    return lambda: nf.nt_xent(z, TEMPERATURE)


def nearfar_info_nce(pairs, threads):
    nf.set_num_threads(threads)
    query, key = embeddings(pairs)
    return lambda: nf.info_nce(query, key, TEMPERATURE, symmetric=True)


# ---- peers: each returns a call that computes the loss and leaves the gradient ----


def torch_nt_xent(pairs, threads, compiled=False):
    harness.set_up_torch(threads)
    from torch_models import nt_xent

    return _with_gradient(lambda z: nt_xent(z, TEMPERATURE), _leaves(embeddings(pairs).reshape(2 * pairs, D)), compiled)


def torch_info_nce(pairs, threads, compiled=False):
    harness.set_up_torch(threads)
    import torch

    def value(query, key):
        query, key = (torch.nn.functional.normalize(x, dim=1) for x in (query, key))
        scores = query @ key.T / TEMPERATURE
        cross_entropy = torch.nn.functional.cross_entropy
        return (cross_entropy(scores, positives) + cross_entropy(scores.T, positives)) / 2

    positives = torch.arange(pairs)
    return _with_gradient(value, _leaves(*embeddings(pairs)), compiled)


def lightly_nt_xent(pairs, threads):
    harness.set_up_torch(threads)
    from lightly.loss import NTXentLoss

    return _with_gradient(NTXentLoss(TEMPERATURE), _leaves(*embeddings(pairs)))


def metric_learning_nt_xent(pairs, threads):
    harness.set_up_torch(threads)
    import torch
    from pytorch_metric_learning.losses import NTXentLoss, SelfSupervisedLoss

    # It divides by the temperature the cosines of its own distance object, which normalises rows.
    loss = SelfSupervisedLoss(NTXentLoss(TEMPERATURE))
    a, b = (torch.from_numpy(x) for x in embeddings(pairs))
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


LOSSES = {
    "nt_xent": (
        ("nearfar", None, nearfar_nt_xent, ()),
        ("torch eager", "torch", torch_nt_xent, ()),
        ("torch.compile", "torch", torch_nt_xent, (True,)),
        ("lightly", "lightly", lightly_nt_xent, ()),
        ("pytorch-metric-learning", "pytorch_metric_learning", metric_learning_nt_xent, ()),
    ),
    "info_nce symmetric": (
        ("nearfar", None, nearfar_info_nce, ()),
        ("torch eager", "torch", torch_info_nce, ()),
        ("torch.compile", "torch", torch_info_nce, (True,)),
    ),
}


def flops(loss: str, pairs: int) -> float:
    return 4 * (2 * pairs) ** 2 * D if loss == "nt_xent" else 8 * pairs**2 * D


def check(contenders) -> None:
    """All contenders must agree on the loss, or they are not doing the same."""
    losses = {name: float(run()[0]) for name, run in contenders if not isinstance(run, str)}
    for name, loss in losses.items():
        if abs(loss - losses["nearfar"]) > 1e-4:
            raise SystemExit(f"{name} computes another loss: {loss}, nearfar {losses['nearfar']}")


def main():
    options = harness.arguments(__doc__)
    report = harness.Report("loss", options)
    sizes = (256,) if options.quick else (256, 1024, 4096, 8192)
    for loss, entries in LOSSES.items():
        for pairs in sizes:
            contenders, megabytes = [], {}
            for name, package, build, extra in entries:
                module = harness.load(package, options) if package else None
                if isinstance(module, str):
                    contenders.append(Contender(name, module))
                    continue
                args = (options.threads, *extra)
                try:
                    contenders.append(Contender(name, build(pairs, *args)))
                except ImportError as error:
                    contenders.append(Contender(name, f"not usable: {error}"))
                    continue
                if not options.quick:
                    megabytes[name] = harness.peak_memory(build, pairs, *args, warm=(64, *args))
            check(contenders)
            rounds = options.rounds or (2 if options.quick else 7 if pairs <= 1024 else 5)
            report.compare(
                f"{loss}, {pairs:,} pairs",
                contenders,
                rounds,
                work=pairs,
                bound_seconds=flops(loss, pairs) / report.sgemm,
                megabytes=megabytes,
            )
    report.write()


if __name__ == "__main__":
    main()
