"""Contrastive losses, value and gradient: nearfar against plain torch, lightly and pytorch-metric-learning.

    python tests/bench/loss.py [--quick] [--threads N] [--losses nt_xent ...] [--widths 64 128] [--large]

NT-Xent and symmetric InfoNCE over N pairs of D numbers, temperature 0.2, float32, rows normalised. "bound" is the time
of 4 n^2 D flops (n = 2N; symmetric InfoNCE: 8 N^2 D) at the sgemm rate: the similarity tiles twice and the gradient
once, each by symmetry for half of them. Where there is room to keep the tiles' exponentials, the second time is saved,
and more than 100 % is possible. Plain torch is what most training codes have: normalise, one product, cross-entropy,
autograd. The other losses are timed at D = 128: labelled ones of N rows in classes of 8, the rest of N pairs, those
with a queue or noise against 16,384 more rows. Their bound is that of their matrix of scores by the same rule. --large
has NT-Xent at sizes where one matrix of scores would take 17 and 69 GB, without peers.
"""

import harness
import nearfar as nf
import numpy as np
from harness import Contender

TEMPERATURE = 0.2
WIDTHS = (64, 100, 128, 512)  # 100: no multiple of a vector
SIZES = (256, 1024, 4096, 8192)
LARGE = (32768, 65536)
OTHER_SIZES = (256, 1024, 4096)
OTHER_WIDTH = 128
CLASS_SIZE = 8
MARGINS = {"triplet": 0.2, "lifted_structure": 1.0, "contrastive": 1.0}
SCALE, BIAS = 2.3, -4.0  # of CLIP and of the sigmoid loss
TAU_PLUS, BETA = 0.1, 1.0  # of the debiased losses
L2, SHORT = 0.002, 0.2  # of the N-pair loss: its penalty, and what makes its products moderate
QUEUE, NOISE, PARTITION = 16384, 64, 1e5  # rows of a queue or bank; NPID's negatives of each query, and its Z


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


def labelled(count: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, D) and (N,): rows of a class near each other."""
    random = np.random.default_rng(0)
    labels = np.arange(count) % max(count // CLASS_SIZE, 1)
    z = random.standard_normal((count, width), dtype=np.float32)
    return z[labels] + 0.7 * random.standard_normal((count, width), dtype=np.float32), labels


def queue(width: int) -> np.ndarray:
    rows = np.random.default_rng(1).standard_normal((QUEUE, width), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def drawn(count: int) -> tuple[np.ndarray, np.ndarray]:
    """(N,) and (N, NOISE): which rows of the queue belong to each query, and which are its negatives."""
    return np.arange(count) % QUEUE, np.random.default_rng(2).integers(QUEUE, size=(count, NOISE))


def kinds(count: int) -> np.ndarray:
    """(N,): whether a pair is of one kind."""
    return np.arange(count) % 2 == 0


def nearfar_of_pairs(count, width, threads, loss):
    nf.set_num_threads(threads)
    x, y = z = embeddings(count, width)
    short, rows = [SHORT * x, SHORT * y], queue(width)
    cosines = {"score": "cosine", "temperature": TEMPERATURE}
    return {
        "dcl": lambda: nf.dcl(z, TEMPERATURE),
        "dclw": lambda: nf.losses.dclw(z, TEMPERATURE),
        "debiased": lambda: nf.debiased_nt_xent(z, tau_plus=TAU_PLUS),
        "hard negatives": lambda: nf.debiased_nt_xent(z, tau_plus=TAU_PLUS, beta=BETA),
        "n_pair": lambda: nf.n_pair(*short, l2=L2),
        "jsd": lambda: nf.losses.jsd(x, y, **cosines),
        "donsker_varadhan": lambda: nf.losses.donsker_varadhan(x, y, **cosines),
        "nwj": lambda: nf.losses.nwj(x, y, **cosines),
        "info_nce queue": lambda: nf.info_nce(x, y, TEMPERATURE, negatives=rows),
        "nce": lambda: nf.losses.nce(x, y, rows, TEMPERATURE, normalize=True),
        "npid": lambda: nf.losses.npid(x, rows, *drawn(count), partition=PARTITION, temperature=TEMPERATURE),
        "pair": lambda: nf.losses.pair(x, y, kinds(count)),
        "clip": lambda: nf.clip(x, y, SCALE),
        "sigmoid": lambda: nf.sigmoid_loss(x, y, SCALE, BIAS),
        "align_uniform": lambda: nf.align_uniform(x, y),
    }[loss]


def nearfar_of_labels(count, width, threads, loss, mining=None):
    nf.set_num_threads(threads)
    z, labels = labelled(count, width)
    return {
        "sup_con": lambda: nf.sup_con(z, labels, TEMPERATURE),
        "triplet": lambda: nf.triplet(z, labels, MARGINS["triplet"], mining=mining),
        "lifted_structure": lambda: nf.losses.lifted_structure(z, labels, MARGINS["lifted_structure"]),
        "contrastive": lambda: nf.losses.contrastive(z, labels, neg_margin=MARGINS["contrastive"]),
    }[loss]


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


def torch_of_pairs(count, width, threads, loss):
    harness.set_up_torch(threads)
    import torch
    import torch_losses

    z = embeddings(count, width)
    arrays = [z.reshape(2 * count, width)] if loss in ("dcl", "debiased", "hard negatives") else [*z]
    numbers = {"clip": [SCALE], "sigmoid": [SCALE, BIAS]}.get(loss, [])
    rows, tensor = queue(width), torch.from_numpy
    name, arrays, constants = {
        "dclw": ("dcl_weighted", arrays, [TEMPERATURE]),
        "dcl": (loss, arrays, [TEMPERATURE]),
        "debiased": (loss, arrays, [0.5, TAU_PLUS, 0.0]),
        "hard negatives": ("debiased", arrays, [0.5, TAU_PLUS, BETA]),
        "n_pair": (loss, [SHORT * x for x in arrays], [L2]),
        "jsd": (loss, arrays, [TEMPERATURE]),
        "donsker_varadhan": (loss, arrays, [TEMPERATURE]),
        "nwj": (loss, arrays, [TEMPERATURE]),
        "info_nce queue": ("info_nce", [*arrays, rows], [TEMPERATURE]),
        "nce": (loss, [*arrays, rows], [TEMPERATURE]),
        "npid": (loss, arrays[:1], [tensor(rows), *map(tensor, drawn(count)), PARTITION, TEMPERATURE]),
        "pair": (loss, arrays, [tensor(kinds(count))]),
    }.get(loss, (loss, arrays, []))
    leaves = _leaves(*arrays, *(np.asarray(number, np.float32) for number in numbers))
    return _with_gradient(lambda *x: getattr(torch_losses, name)(*x, *constants), leaves)


def lightly_of_pairs(count, width, threads, loss):
    harness.set_up_torch(threads)
    from lightly.loss import DCLLoss, DCLWLoss

    value = DCLLoss(TEMPERATURE) if loss == "dcl" else DCLWLoss(TEMPERATURE)
    return _with_gradient(value, _leaves(*embeddings(count, width)))


def torch_of_labels(count, width, threads, loss, *mining):
    harness.set_up_torch(threads)
    import torch
    import torch_losses

    z, labels = labelled(count, width)
    labels = torch.from_numpy(labels)
    constant = MARGINS.get(loss, TEMPERATURE)
    return _with_gradient(lambda x: getattr(torch_losses, loss)(x, labels, constant, *mining), _leaves(z))


def metric_learning_of_labels(count, width, threads, loss, mining=None):
    harness.set_up_torch(threads)
    import torch
    from pytorch_metric_learning import distances, losses, miners, reducers

    distance = distances.LpDistance(power=2)
    mean = reducers.MeanReducer()
    value = {
        "sup_con": lambda: losses.SupConLoss(TEMPERATURE),
        "contrastive": losses.ContrastiveLoss,
        "triplet": lambda: losses.TripletMarginLoss(MARGINS["triplet"], distance=distance, reducer=mean),
    }[loss]()
    miner = miners.BatchHardMiner(distance=distance) if mining == "hard" else lambda z, labels: None
    z, labels = labelled(count, width)
    labels = torch.from_numpy(labels)
    return _with_gradient(lambda x: value(x, labels, miner(x, labels)), _leaves(z))


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


def _of_pairs(loss, lightly=False):
    entries = (
        ("nearfar", None, None, nearfar_of_pairs, (loss,)),
        ("torch eager", "torch", None, torch_of_pairs, (loss,)),
        ("lightly", "lightly", None, lightly_of_pairs, (loss,)),
    )
    return entries if lightly else entries[:2]


def _of_labels(*loss, largest=None):
    """`largest`: the largest N for pytorch-metric-learning; 0 if it has no such loss."""
    entries = (
        ("nearfar", None, None, nearfar_of_labels, loss),
        ("torch eager", "torch", None, torch_of_labels, loss),
        ("pytorch-metric-learning", "pytorch_metric_learning", largest, metric_learning_of_labels, loss),
    )
    return entries[:2] if largest == 0 else entries


OTHER_LOSSES = {
    "sup_con": _of_labels("sup_con"),
    "dcl": _of_pairs("dcl", lightly=True),
    "dclw": _of_pairs("dclw", lightly=True),
    "debiased": _of_pairs("debiased"),
    "hard negatives": _of_pairs("hard negatives"),
    "n_pair": _of_pairs("n_pair"),
    "info_nce queue": _of_pairs("info_nce queue"),
    "triplet hard": _of_labels("triplet", "hard"),
    "triplet semi-hard": _of_labels("triplet", "semi_hard", largest=0),
    "triplet all": _of_labels("triplet", "all", largest=256),
    "lifted_structure": _of_labels("lifted_structure", largest=0),
    "contrastive": _of_labels("contrastive"),
    "pair": _of_pairs("pair"),
    "sigmoid": _of_pairs("sigmoid"),
    "align_uniform": _of_pairs("align_uniform"),
    "clip": _of_pairs("clip"),
    "jsd": _of_pairs("jsd"),
    "donsker_varadhan": _of_pairs("donsker_varadhan"),
    "nwj": _of_pairs("nwj"),
    "nce": _of_pairs("nce"),
    "npid": _of_pairs("npid"),
}
ALL_VIEWS = ("nt_xent", "dcl", "dclw", "debiased", "hard negatives")  # each view against all
AGAINST_QUEUE = ("info_nce queue", "nce")
WITHOUT_MATRIX = ("pair", "npid")


def flops(loss: str, pairs: int, width: int) -> float | None:
    """Of the similarity tiles twice and the gradient once; symmetric matrices by halves."""
    if loss in WITHOUT_MATRIX:
        return None
    if loss in ALL_VIEWS:
        return 4 * (2 * pairs) ** 2 * width
    if loss in AGAINST_QUEUE:
        return 8 * pairs * QUEUE * width
    labelled_rows = any(build is nearfar_of_labels for _, _, _, build, _ in OTHER_LOSSES.get(loss, ()))
    return (4 if labelled_rows else 8) * pairs**2 * width


def check(contenders) -> None:
    """All contenders must agree on the loss, or they are not doing the same."""
    losses = {name: float(run()[0]) for name, run in contenders if not isinstance(run, str)}
    for name, loss in losses.items():
        if abs(loss - losses["nearfar"]) > 1e-4 * max(1, abs(loss)):
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
    work = flops(loss, pairs, width)
    report.compare(
        f"{loss}, {pairs:,} x {width}",
        contenders,
        options.rounds or (2 if options.quick else 7 if pairs <= 1024 else 5 if pairs < LARGE[0] else 1),
        work=pairs,
        bound_seconds=work and work / report.sgemm,
        megabytes=megabytes,
    )


def main():
    options = harness.arguments(
        __doc__,
        widths={"type": int, "nargs": "+", "help": f"D of the first two (default: {WIDTHS})"},
        sizes={"type": int, "nargs": "+", "help": f"N (default: {SIZES}, others {OTHER_SIZES})"},
        losses={
            "nargs": "+",
            "default": [*LOSSES, *OTHER_LOSSES],
            "choices": [*LOSSES, *OTHER_LOSSES],
            "metavar": "NAME",
            "help": f"which (default: all): {', '.join([*LOSSES, *OTHER_LOSSES])}",
        },
        large={"action": "store_true", "help": f"NT-Xent with N of {LARGE}, D = 128, nearfar alone: minutes"},
    )
    report = harness.Report("loss", options)
    if options.large:
        for pairs in LARGE:
            compare(report, options, "nt_xent", LOSSES["nt_xent"][:1], pairs, 128)
    else:
        for loss in options.losses:
            other = loss in OTHER_LOSSES
            widths = (OTHER_WIDTH,) if other else options.widths or WIDTHS
            sizes = options.sizes or (OTHER_SIZES if other else SIZES)
            for width in (128,) if options.quick else widths:
                for pairs in (options.sizes or (256,)) if options.quick else sizes:
                    compare(report, options, loss, (LOSSES | OTHER_LOSSES)[loss], pairs, width)
    report.write()


if __name__ == "__main__":
    main()
