"""The losses against plain torch, and the scales that other packages give to the same losses."""

import nearfar as nf
import numpy as np
import pytest
import torch

F = torch.nn.functional
pytestmark = pytest.mark.parity

TEMPERATURES = [0.05, 0.1, 0.5, 2.0]


def random(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def gradients_by_torch(function, *arrays):
    tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
    loss = function(*tensors)
    loss.backward()
    return loss.item(), [tensor.grad.numpy() for tensor in tensors]


def check(got, wanted, tolerance=1e-6, factor=1.0):
    loss, gradients = got
    assert factor * loss == pytest.approx(wanted[0], rel=tolerance)
    for gradient, expected in zip(gradients, wanted[1], strict=True):
        assert np.abs(factor * np.asarray(gradient) - expected).max() <= tolerance * np.abs(expected).max()


def torch_info_nce(query, key, temperature, negatives=None, symmetric=False, normalize=True):
    if normalize:
        query, key = F.normalize(query, dim=-1), F.normalize(key, dim=-1)
        negatives = None if negatives is None else F.normalize(negatives, dim=-1)
    if negatives is None:
        logits, labels = query @ key.T / temperature, torch.arange(len(query))
        loss = F.cross_entropy(logits, labels)
        return (loss + F.cross_entropy(logits.T, labels)) / 2 if symmetric else loss
    positive = (query * key).sum(dim=1, keepdim=True)
    others = query @ negatives.T if negatives.ndim == 2 else torch.einsum("nd,nkd->nk", query, negatives)
    logits = torch.cat([positive, others], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long))


def torch_nt_xent(z, temperature):
    n = z.shape[1]
    z = F.normalize(z.reshape(2 * n, -1), dim=-1)
    scores = (z @ z.T / temperature).masked_fill(torch.eye(2 * n, dtype=torch.bool), -torch.inf)
    return F.cross_entropy(scores, (torch.arange(2 * n) + n) % (2 * n))


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("n", [2, 33, 150])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
def test_info_nce_in_batch(temperature, n, symmetric, normalize):
    query, key, t = random(n, 20), random(n, 20, seed=1), np.float64(temperature)
    options = {"symmetric": symmetric, "normalize": normalize}
    wanted = gradients_by_torch(lambda q, k, t: torch_info_nce(q, k, t, **options), query, key, t)
    check(nf.info_nce(query, key, temperature, temperature_gradient=True, **options), wanted)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("shape", [(70, 20), (33, 70, 20)])
def test_info_nce_with_negatives(temperature, shape):
    query, key, negatives, t = random(33, 20), random(33, 20, seed=1), random(*shape, seed=2), np.float64(temperature)
    wanted = gradients_by_torch(lambda q, k, m, t: torch_info_nce(q, k, t, negatives=m), query, key, negatives, t)
    check(nf.info_nce(query, key, temperature, negatives=negatives, temperature_gradient=True), wanted)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("n", [2, 33, 150])
@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-6), (np.float32, 1e-4)])
def test_nt_xent(temperature, n, dtype, tolerance):
    z = random(2, n, 24, dtype=dtype)
    wanted = gradients_by_torch(lambda z, t: torch_nt_xent(z, t), z, np.asarray(temperature, dtype))
    check(nf.nt_xent(z, temperature, temperature_gradient=True), wanted, tolerance)


def test_both_directions_as_a_sum_are_twice_symmetric():
    query, key = random(40, 10), random(40, 10, seed=1)

    def clip(q, k):
        return torch_info_nce(q, k, 0.1) + torch_info_nce(k, q, 0.1)

    check(nf.info_nce(query, key, 0.1, symmetric=True), gradients_by_torch(clip, query, key), factor=2)


def test_simclr_adds_the_means_of_both_views():
    """Logits against the other view and, without the diagonal, one's own, as two halves that are added up."""
    temperature, n = 0.2, 30

    def simclr(z):
        a, b = F.normalize(z, dim=-1)
        mask = 1e9 * torch.eye(n, dtype=z.dtype)
        labels = torch.arange(n)
        aa, bb, ab = a @ a.T / temperature - mask, b @ b.T / temperature - mask, a @ b.T / temperature
        return F.cross_entropy(torch.cat([ab, aa], 1), labels) + F.cross_entropy(torch.cat([ab.T, bb], 1), labels)

    z = random(2, n, 10)
    loss, gradients = gradients_by_torch(simclr, z)
    value, d_z = nf.nt_xent(z, temperature)
    check((value, (d_z,)), (loss, gradients), factor=2)


@pytest.mark.parametrize("views", [2, 3, 4])
def test_supcontrast_multiplies_by_a_ratio_of_temperatures(views):
    """The loss of SupContrast without labels, for (N, V, D): L_out times temperature / base_temperature."""
    temperature, base, n = 0.5, 0.07, 12

    def sup_con(z):
        features = torch.cat(torch.unbind(F.normalize(z.transpose(0, 1), dim=-1), dim=1), dim=0)
        logits = features @ features.T / temperature
        logits = logits - logits.max(dim=1, keepdim=True).values.detach()
        others = 1 - torch.eye(views * n, dtype=z.dtype)
        mask = torch.eye(n, dtype=z.dtype).repeat(views, views) * others
        log_prob = logits - torch.log((torch.exp(logits) * others).sum(1, keepdim=True))
        return -(temperature / base) * ((mask * log_prob).sum(1) / mask.sum(1)).mean()

    z = random(views, n, 10)
    value, d_z = nf.nt_xent(z, temperature)
    check((value, (d_z,)), gradients_by_torch(sup_con, z), factor=temperature / base)


@pytest.mark.parametrize("positives", ["out", "in"])
@pytest.mark.parametrize("classes", [2, 40])
@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-9), (np.float32, 1e-4)])
def test_sup_con(positives, classes, dtype, tolerance):
    z, labels = random(100, 12, dtype=dtype), np.random.default_rng(0).integers(0, classes, 100)

    def sup_con(z, temperature):
        u = F.normalize(z, dim=-1)
        own = torch.eye(100, dtype=torch.bool)
        log_p = torch.log_softmax((u @ u.T / temperature).masked_fill(own, -torch.inf), dim=1)
        y = torch.tensor(labels)
        mask = (y[:, None] == y) & ~own
        log_p, mask = log_p[mask.any(1)], mask[mask.any(1)]
        if positives == "out":
            return -(log_p.masked_fill(~mask, 0).sum(1) / mask.sum(1)).mean()
        return (mask.sum(1).to(z.dtype).log() - torch.logsumexp(log_p.masked_fill(~mask, -torch.inf), 1)).mean()

    wanted = gradients_by_torch(sup_con, z, np.asarray(0.2, dtype))
    check(nf.sup_con(z, labels, 0.2, positives=positives, temperature_gradient=True), wanted, tolerance)


@pytest.mark.parametrize("n", [2, 25, 150])
def test_clip_with_a_logit_scale(n):
    image, text, logit_scale = random(n, 10), random(n, 10, seed=1), np.float64(1.5)

    def clip(image, text, logit_scale):
        logits = logit_scale.exp() * F.normalize(image, dim=1) @ F.normalize(text, dim=1).T
        return (F.cross_entropy(logits, torch.arange(n)) + F.cross_entropy(logits.T, torch.arange(n))) / 2

    wanted = gradients_by_torch(clip, image, text, logit_scale)
    check(nf.clip(image, text, 1.5), wanted, 1e-9)
    temperature = np.exp(-logit_scale)
    loss, (d_image, d_text, d_temperature) = nf.info_nce(
        image, text, temperature, symmetric=True, temperature_gradient=True
    )
    check((loss, (d_image, d_text, -temperature * d_temperature)), wanted)


@pytest.mark.parametrize("n", [2, 25, 150])
@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-9), (np.float32, 1e-4)])
def test_sigmoid_loss(n, dtype, tolerance):
    """The authors' pseudocode: -sum(log_sigmoid(labels * logits)) / n."""

    def siglip(image, text, logit_scale, logit_bias):
        logits = F.normalize(image, dim=1) @ F.normalize(text, dim=1).T * logit_scale.exp() + logit_bias
        labels = 2 * torch.eye(n, dtype=image.dtype) - 1
        return -F.logsigmoid(labels * logits).sum() / n

    numbers = np.asarray(2.3, dtype), np.asarray(-4.0, dtype)
    arrays = random(n, 10, dtype=dtype), random(n, 10, seed=1, dtype=dtype)
    check(nf.sigmoid_loss(*arrays, 2.3, -4.0), gradients_by_torch(siglip, *arrays, *numbers), tolerance)


def torch_critic(t, objective):
    own, others = torch.diagonal(t), t[~torch.eye(len(t), dtype=torch.bool)]
    if objective == "jsd":
        return F.softplus(-own).mean() + F.softplus(others).mean()
    if objective == "nwj":
        return -own.mean() + (others - 1).exp().mean()
    return -own.mean() + torch.logsumexp(others, 0) - np.log(len(others))


def torch_scores(x, y, score, w=None):
    if score == "cosine":
        return F.normalize(x, dim=1) @ F.normalize(y, dim=1).T
    if score == "distance":
        return -torch.cdist(x, y).square()
    return x @ (y if w is None else y @ w.T).T


@pytest.mark.parametrize("objective", ["jsd", "nwj", "donsker_varadhan"])
@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-9), (np.float32, 1e-4)])
def test_critics(objective, dtype, tolerance):
    function = getattr(nf.losses, objective)
    scores = random(40, 40, dtype=dtype)
    loss, d_scores = function(scores)
    check((loss, (d_scores,)), gradients_by_torch(lambda t: torch_critic(t, objective), scores), tolerance)
    x, y, w, t = random(40, 6, dtype=dtype), random(40, 6, seed=1, dtype=dtype), random(6, 6, seed=2, dtype=dtype), 8.0
    for score, arrays in [("dot", (x, y)), ("cosine", (x, y)), ("distance", (x, y)), ("bilinear", (x, y, w))]:

        def by_torch(x, y, *rest, score=score):
            *w, t = rest
            return torch_critic(torch_scores(x, y, score, *w) / t, objective)

        wanted = gradients_by_torch(by_torch, *arrays, np.asarray(t, dtype))
        options = {"score": score, "temperature": t, "temperature_gradient": True}
        got = function(x, y, w=w if score == "bilinear" else None, **options)
        check(got, wanted, 10 * tolerance)


@pytest.mark.parametrize("shape", [(30, 6), (20, 30, 6)])
@pytest.mark.parametrize("normalize", [False, True])
def test_nce(shape, normalize):
    """word2vec's negative sampling, and NCE with the noise's probabilities."""
    arrays = random(20, 6), random(20, 6, seed=1), random(*shape, seed=2)
    rng = np.random.default_rng(3)
    log_noise = np.log(rng.uniform(0.01, 1, 20)), np.log(rng.uniform(0.01, 1, shape[:-1]))

    def nce(query, key, negatives, temperature, noise=(0.0, 0.0)):
        if normalize:
            query, key, negatives = (F.normalize(x, dim=-1) for x in (query, key, negatives))
        rule = "nd,kd->nk" if negatives.ndim == 2 else "nd,nkd->nk"
        positive = (query * key).sum(1) / temperature - noise[0]
        others = torch.einsum(rule, query, negatives) / temperature - noise[1]
        return (-F.logsigmoid(positive) - F.logsigmoid(-others).sum(1)).mean()

    options = {"normalize": normalize, "temperature_gradient": True}
    wanted = gradients_by_torch(nce, *arrays, np.float64(0.7))
    check(nf.losses.nce(*arrays, 0.7, **options), wanted, 1e-9)
    noise = [torch.tensor(x + np.log(30)) for x in log_noise]
    wanted = gradients_by_torch(lambda *x: nce(*x, noise=noise), *arrays, np.float64(0.7))
    check(nf.losses.nce(*arrays, 0.7, log_noise=log_noise, **options), wanted, 1e-9)


def test_npid():
    """As the authors' code computes it: NCE by probabilities, with 1e-7 added to the denominators."""
    rng = np.random.default_rng(0)
    n, m, rows, partition, eps = 12, 40, 200, 900.0, 1e-7
    bank = F.normalize(torch.tensor(random(rows, 8, seed=1)), dim=1)
    indices, negatives = rng.integers(rows, size=n), rng.integers(rows, size=(n, m))

    def npid(query, temperature):
        query = F.normalize(query, dim=1)
        chosen = bank[np.concatenate([indices[:, None], negatives], axis=1)]
        p = torch.exp(torch.einsum("nd,nkd->nk", query, chosen) / temperature) / partition
        noise = 1 / rows
        positive = torch.log(p[:, 0] / (p[:, 0] + m * noise + eps))
        others = torch.log(m * noise / (p[:, 1:] + m * noise + eps)).sum(1)
        return -(positive + others).sum() / n

    query = random(n, 8)
    wanted = gradients_by_torch(npid, query, np.float64(0.3))
    arguments = query, bank.numpy(), indices, negatives
    got = nf.losses.npid(*arguments, partition=partition, temperature=0.3, temperature_gradient=True)
    check(got, wanted, 1e-4)


@pytest.mark.parametrize("alpha, t", [(2, 2), (1, 3)])
@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-9), (np.float32, 1e-4)])
def test_align_uniform(alpha, t, dtype, tolerance):
    """As the authors' README has it."""

    def loss(x, y):
        x, y = F.normalize(x, dim=1), F.normalize(y, dim=1)
        uniform = [torch.pdist(z, p=2).pow(2).mul(-t).exp().mean().log() for z in (x, y)]
        return (x - y).norm(p=2, dim=1).pow(alpha).mean() + 0.7 * sum(uniform) / 2

    arrays = random(60, 9, dtype=dtype), random(60, 9, seed=1, dtype=dtype)
    got = nf.align_uniform(*arrays, alpha=alpha, t=t, weights=(1, 0.7))
    check(got, gradients_by_torch(loss, *arrays), tolerance)


@pytest.mark.parametrize("sigma", [None, 0.5, 0.1])
@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-9), (np.float32, 1e-4)])
def test_dcl(sigma, dtype, tolerance):
    """As lightly computes it: both views in turn, and half of the sum."""
    n = 40

    def one_way(a, b, temperature):
        weights = 1 if sigma is None else 2 - n * torch.softmax((a * b).sum(1).detach() / sigma, dim=0)
        own = torch.eye(n, dtype=torch.bool)
        scores = torch.cat([a @ a.T, a @ b.T], dim=1) / temperature
        negatives = torch.logsumexp(scores.masked_fill(torch.cat([own, own], dim=1), -torch.inf), 1)
        return (negatives - weights * (a * b).sum(1) / temperature).mean()

    def dcl(z, temperature):
        a, b = F.normalize(z, dim=-1)
        return (one_way(a, b, temperature) + one_way(b, a, temperature)) / 2

    z = random(2, n, 10, dtype=dtype)
    wanted = gradients_by_torch(dcl, z, np.asarray(0.2, dtype))
    options = {} if sigma is None else {"sigma": sigma}
    loss = nf.dcl if sigma is None else nf.dclw
    check(loss(z, 0.2, temperature_gradient=True, **options), wanted, tolerance)


@pytest.mark.parametrize("tau_plus, beta", [(0.1, 0.0), (0.0, 1.0), (0.02, 1.0), (0.3, 0.5)])
def test_debiased_and_hard_negatives(tau_plus, beta):
    """As the authors' code computes it, with gradients through the weights of the negatives."""
    n = 30

    def hard(z, temperature):
        out = F.normalize(z, dim=-1).reshape(2 * n, -1)
        positive = torch.exp((out[:n] * out[n:]).sum(1) / temperature).repeat(2)
        mask = ~torch.eye(n, dtype=torch.bool).repeat(2, 2)
        negative = torch.exp(out @ out.T / temperature)[mask].view(2 * n, -1)
        weights = negative**beta
        weighted = (weights * negative).sum(1) / weights.mean(1)
        m = 2 * n - 2
        total = torch.maximum((weighted - tau_plus * m * positive) / (1 - tau_plus), m * torch.exp(-1 / temperature))
        return -torch.log(positive / (positive + total)).mean()

    z = random(2, n, 10)
    wanted = gradients_by_torch(hard, z, np.float64(0.5))
    check(nf.debiased_nt_xent(z, 0.5, tau_plus=tau_plus, beta=beta, temperature_gradient=True), wanted)


def test_n_pair():
    query, key = random(30, 8), random(30, 8, seed=1)

    def n_pair(q, k):
        penalty = (q.square().sum(1).mean() + k.square().sum(1).mean()) / 4
        return F.cross_entropy(q @ k.T, torch.arange(30)) + 0.002 * penalty

    check(nf.n_pair(query, key), gradients_by_torch(n_pair, query, key))


def test_moco_v3_multiplies_by_twice_the_temperature():
    temperature = 0.2
    query, key = random(25, 10), random(25, 10, seed=1)
    wanted = gradients_by_torch(lambda q, k: 2 * temperature * torch_info_nce(q, k, temperature), query, key)
    check(nf.info_nce(query, key, temperature), wanted, factor=2 * temperature)
