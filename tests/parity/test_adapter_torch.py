"""The losses as PyTorch modules: values of plain torch formulas, gradients, the rules of autograd."""

import copy
import doctest
import importlib
import io
import pickle
import sys

import nearfar as nf
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nearfar.torch import (
    ClipLoss,
    DCLLoss,
    DCLWLoss,
    InfoNCELoss,
    NTXentLoss,
    SigLipLoss,
    SupConLoss,
    TripletLoss,
)

pytestmark = pytest.mark.parity


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def random(*shape, seed=0, dtype=torch.float64, grad=False):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_(grad)


def plain_nt_xent(out0, out1, temperature=0.5, normalize=True, reduction="mean"):
    """As lightly computes it: each embedding against its other view and all others."""
    z, n = torch.cat([out0, out1]), len(out0)
    z = F.normalize(z, dim=1) if normalize else z
    logits = (z @ z.T / temperature).masked_fill(torch.eye(2 * n, dtype=torch.bool), -torch.inf)
    return F.cross_entropy(logits, torch.arange(2 * n).roll(n), reduction=reduction)


def plain_info_nce(query, key, negatives=None, temperature=0.1, reduction="mean"):
    """As info-nce-pytorch computes it."""
    query, key = F.normalize(query, dim=-1), F.normalize(key, dim=-1)
    if negatives is None:
        return F.cross_entropy(query @ key.T / temperature, torch.arange(len(query)), reduction=reduction)
    negatives = F.normalize(negatives, dim=-1)
    positive = (query * key).sum(dim=1, keepdim=True)
    others = query @ negatives.T if negatives.ndim == 2 else (negatives @ query[:, :, None]).squeeze(2)
    logits = torch.cat([positive, others], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long), reduction=reduction)


def plain_sup_con(out0, out1, labels, temperature=0.5, rescale=True, reduction="mean"):
    """As lightly computes it."""
    z, labels = F.normalize(torch.cat([out0, out1]), dim=1), labels.repeat(2)
    logits = (z @ z.T / temperature).masked_fill(torch.eye(len(z), dtype=torch.bool), -1e9)
    targets = (labels[:, None] == labels).to(z.dtype).fill_diagonal_(0)
    values = -(targets / targets.sum(dim=1, keepdim=True) * logits.log_softmax(dim=1)).sum(dim=1)
    loss = values if reduction == "none" else values.mean()
    return loss * temperature if rescale else loss


def plain_dcl(out0, out1, temperature, sigma=None, reduction="mean"):
    """As the paper has it: one logarithm for the negatives of both views."""
    a, b, n = F.normalize(out0, dim=1), F.normalize(out1, dim=1), len(out0)
    z, positive, own = torch.cat([a, b]), (a * b).sum(dim=1), torch.eye(n, dtype=torch.bool).repeat(2, 2)
    weights = 1 if sigma is None else 2 - n * (positive.detach() / sigma).softmax(dim=0)
    negatives = (z @ z.T / temperature).masked_fill(own, -torch.inf).logsumexp(dim=1)
    values = negatives - (weights * positive / temperature).repeat(2)
    return values if reduction == "none" else values.mean()


def plain_triplet(z, labels, margin=0.05, smooth=False, reduction="mean"):
    """As pytorch-metric-learning computes it: the mean over the triplets that are not 0; or each anchor's sum."""
    z = F.normalize(z, dim=1)
    d = (z[:, None] - z[None]).norm(dim=2)
    same, own = labels[:, None] == labels, torch.eye(len(z), dtype=torch.bool)
    a, p, n = torch.nonzero((same & ~own)[:, :, None] & ~same[:, None, :], as_tuple=True)
    excess = d[a, p] - d[a, n] + margin
    terms = F.softplus(excess) if smooth else F.relu(excess)
    if reduction == "none":
        return terms.new_zeros(len(z)).index_add(0, a, terms)
    return terms[terms > 0].mean() if (terms > 0).any() else 0 * terms.sum()


def plain_clip(image, text, logit_scale, reduction="mean"):
    """As open_clip computes it in one process."""
    logits, labels = logit_scale * image @ text.T, torch.arange(len(image))
    return sum(F.cross_entropy(x, labels, reduction=reduction) for x in (logits, logits.T)) / 2


def plain_siglip(image, text, logit_scale, logit_bias=0.0, reduction="mean"):
    """As open_clip computes it in one process."""
    logits = logit_scale * image @ text.T + logit_bias
    labels = 2 * torch.eye(len(image), dtype=image.dtype) - 1
    values = -F.logsigmoid(labels * logits).sum(dim=1)
    return values if reduction == "none" else values.mean()


def check_equal(criterion, plain, inputs, tolerance):
    """Same value, same gradients, whatever the loss is multiplied by."""
    results = []
    for function in (criterion, plain):
        leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
        loss = function(*leaves)
        assert loss.shape == () and loss.dtype == inputs[0].dtype
        (3 * loss).backward()
        results.append([loss.detach(), *(leaf.grad for leaf in leaves)])
    for got, wanted in zip(*results, strict=True):
        assert got.dtype == wanted.dtype
        assert (got - wanted).abs().max() <= tolerance * wanted.abs().max()


PRECISIONS = pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 2e-5), (torch.float64, 1e-12)])


@PRECISIONS
@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize("n, width", [(2, 3), (17, 8), (64, 33)])
def test_nt_xent_equals_lightly(n, width, temperature, dtype, tolerance):
    inputs = random(n, width, dtype=dtype), random(n, width, seed=1, dtype=dtype)
    check_equal(NTXentLoss(temperature), lambda a, b: plain_nt_xent(a, b, temperature), inputs, tolerance)


def test_nt_xent_without_normalisation():
    inputs = random(9, 4), random(9, 4, seed=1)
    check_equal(NTXentLoss(normalize=False), lambda a, b: plain_nt_xent(a, b, normalize=False), inputs, 1e-12)


def test_nt_xent_of_more_views():
    views = random(3, 5, 4, grad=True)
    loss = NTXentLoss(0.2)(*views)
    loss.backward()
    wanted, d_views = nf.nt_xent(views.detach().numpy(), 0.2)
    assert loss.item() == wanted
    assert np.array_equal(views.grad.numpy(), d_views)


@PRECISIONS
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("negatives, mode", [(None, "unpaired"), ((31, 8), "unpaired"), ((17, 5, 8), "paired")])
def test_info_nce_equals_info_nce_pytorch(negatives, mode, reduction, dtype, tolerance):
    inputs = [random(17, 8, dtype=dtype), random(17, 8, seed=1, dtype=dtype)]
    if negatives:
        inputs.append(random(*negatives, seed=2, dtype=dtype))
    criterion = InfoNCELoss(0.2, reduction, mode)
    check_equal(criterion, lambda *x: plain_info_nce(*x, temperature=0.2, reduction=reduction), inputs, tolerance)


@PRECISIONS
@pytest.mark.parametrize("negatives", [None, (31, 8)])
def test_info_nce_of_each_query(negatives, dtype, tolerance):
    inputs = [random(17, 8, dtype=dtype), random(17, 8, seed=1, dtype=dtype)]
    if negatives:
        inputs.append(random(*negatives, seed=2, dtype=dtype))
    criterion = InfoNCELoss(0.2, "none")
    values = criterion(*inputs)
    assert values.shape == (17,) and values.dtype == dtype
    assert torch.allclose(values, plain_info_nce(*inputs, temperature=0.2, reduction="none"), rtol=tolerance)
    for mean_or_sum in (torch.mean, torch.sum):
        check_equal(
            lambda *x, f=mean_or_sum: f(criterion(*x)),
            lambda *x, f=mean_or_sum: f(plain_info_nce(*x, temperature=0.2, reduction="none")),
            inputs,
            tolerance,
        )


def test_info_nce_in_both_directions():
    inputs = random(17, 8), random(17, 8, seed=1)

    def plain(query, key):
        return (plain_info_nce(query, key) + plain_info_nce(key, query)) / 2

    check_equal(InfoNCELoss(symmetric=True), plain, inputs, 1e-12)


@PRECISIONS
@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize("integer", [torch.int64, torch.int32, torch.uint8])
def test_sup_con_equals_lightly(integer, rescale, dtype, tolerance):
    inputs = random(17, 8, dtype=dtype), random(17, 8, seed=1, dtype=dtype)
    labels = (torch.arange(17) * 7 % 5).to(integer)

    def plain(out0, out1):
        return plain_sup_con(out0, out1, labels, 0.3, rescale)

    check_equal(lambda *x: SupConLoss(0.3, rescale=rescale)(*x, labels), plain, inputs, tolerance)


@PRECISIONS
@pytest.mark.parametrize("sigma", [None, 0.5])
def test_dcl_equals_the_paper(sigma, dtype, tolerance):
    inputs = random(17, 8, dtype=dtype), random(17, 8, seed=1, dtype=dtype)
    criterion = DCLLoss(0.3) if sigma is None else DCLWLoss(0.3, sigma)
    check_equal(criterion, lambda a, b: plain_dcl(a, b, 0.3, sigma), inputs, tolerance)


def image_and_text(n, width, dtype=torch.float64):
    """Features of length 1, as open_clip's models give them, and a scale that is a tensor."""
    image, text = (F.normalize(random(n, width, seed=seed, dtype=dtype), dim=1) for seed in (0, 1))
    return image, text, torch.tensor(2.3, dtype=dtype).exp()


@PRECISIONS
@pytest.mark.parametrize("n, width", [(1, 3), (2, 3), (17, 8), (64, 33)])
def test_clip_equals_open_clip(n, width, dtype, tolerance):
    inputs = image_and_text(n, width, dtype)
    check_equal(ClipLoss(), plain_clip, inputs, tolerance)


@PRECISIONS
@pytest.mark.parametrize("n, width", [(1, 3), (2, 3), (17, 8), (64, 33)])
def test_siglip_equals_open_clip(n, width, dtype, tolerance):
    inputs = *image_and_text(n, width, dtype), torch.tensor(-3.0, dtype=dtype)
    check_equal(SigLipLoss(), plain_siglip, inputs, tolerance)
    check_equal(SigLipLoss(), plain_siglip, inputs[:3], tolerance)
    assert SigLipLoss()(*inputs[:2], 9.97, -3).item() == pytest.approx(plain_siglip(*inputs[:2], 9.97, -3).item())


@pytest.mark.parametrize("criterion, plain", [(ClipLoss, plain_clip), (SigLipLoss, plain_siglip)])
def test_image_text_losses_with_normalisation_and_as_a_dict(criterion, plain):
    image, text, logit_scale = random(9, 4), random(9, 4, seed=1), torch.tensor(5.0, dtype=torch.float64)

    def normalised(image, text, logit_scale):
        return plain(F.normalize(image, dim=1), F.normalize(text, dim=1), logit_scale)

    check_equal(criterion(normalize=True), normalised, (image, text, logit_scale), 1e-12)
    result = criterion()(image, text, logit_scale, output_dict=True)
    assert list(result) == ["contrastive_loss"]
    assert result["contrastive_loss"].item() == pytest.approx(plain(image, text, logit_scale).item())


def test_a_learned_scale_and_bias():
    """As open_clip's models hold them: the logarithm of the scale is the parameter."""
    results = []
    for criterion in SigLipLoss(), plain_siglip:
        scale, bias = (torch.nn.Parameter(torch.tensor(x)) for x in (2.3, -10.0))
        image, text, _ = image_and_text(17, 8, torch.float32)
        criterion(image, text, scale.exp(), bias).backward()
        results.append((scale.grad.item(), bias.grad.item()))
    assert results[0] == pytest.approx(results[1], rel=1e-5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ClipLoss(world_size=2), ValueError, "world_size must be 1, got 2"),
        (lambda: ClipLoss()(random(4, 3), random(3, 3), 1.0), ValueError, "text_features must have image_features's"),
        (lambda: ClipLoss()(random(4), random(4), 1.0), ValueError, r"image_features must be \(N, D\)"),
        (lambda: ClipLoss()(random(4, 3), random(4, 3), 0.0), ValueError, "logit_scale must be finite and > 0, got 0"),
        (lambda: SigLipLoss()(random(4, 3), random(4, 3), torch.ones(2)), ValueError, "logit_scale must be a number"),
        (lambda: SigLipLoss()(random(4, 3), random(4, 3), 1.0, torch.ones(2)), ValueError, "logit_bias must be a numb"),
        (lambda: SigLipLoss()(random(4, 3), random(4, 3), torch.tensor(1)), TypeError, "logit_scale must be float32"),
        (lambda: SigLipLoss()(random(4, 3), np.ones((4, 3)), 1.0), TypeError, "text_features must be a torch.Tensor"),
        (lambda: SigLipLoss()(random(4, 3), random(4, 3).float(), 1.0), TypeError, "dtype torch.float64, got"),
    ],
)
def test_image_text_losses_refuse(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("positives", ["out", "in"])
def test_sup_con_without_labels_is_nt_xent(positives):
    inputs = random(9, 4), random(9, 4, seed=1)
    check_equal(SupConLoss(0.3, rescale=False, positives=positives), NTXentLoss(0.3), inputs, 1e-12)


@PRECISIONS
@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("integer", [torch.int64, torch.uint8])
def test_triplet_equals_pytorch_metric_learning(integer, smooth, dtype, tolerance):
    labels = (torch.arange(30) * 7 % 5).to(integer)
    criterion = TripletLoss(0.3, smooth_loss=smooth)
    inputs = [random(30, 8, dtype=dtype)]
    check_equal(lambda z: criterion(z, labels), lambda z: plain_triplet(z, labels, 0.3, smooth), inputs, tolerance)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("mining", ["all", "hard", "semi_hard"])
@pytest.mark.parametrize("nonzero", [True, False])
@pytest.mark.parametrize("squared", [True, False])
def test_options_of_triplet_are_those_of_the_function(reduction, mining, nonzero, squared):
    options = {"reduction": reduction, "mining": mining, "nonzero": nonzero, "squared": squared}
    z, labels = random(20, 6, grad=True), torch.arange(20) % 4
    loss = TripletLoss(0.3, **options, normalize=False)(z, labels)
    loss.sum().backward()
    wanted, d_z = nf.triplet(z.detach().numpy(), labels.numpy(), 0.3, **options, normalize=False)
    assert np.array_equal(loss.detach().numpy(), wanted) and np.array_equal(z.grad.numpy(), d_z)


def test_triplet_without_a_triplet():
    z = random(5, 3, grad=True)
    for labels in torch.arange(5), torch.zeros(5, dtype=torch.int64):
        loss = TripletLoss()(z, labels)
        loss.backward()
        assert loss.item() == 0 and not z.grad.any()


def test_triplet_by_central_differences():
    z = random(9, 3, grad=True)
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 0, 1, 3])
    assert torch.autograd.gradcheck(lambda z: TripletLoss(smooth_loss=True)(z, labels), (z,))
    assert torch.autograd.gradcheck(lambda z: TripletLoss(5.0, squared=True, mining="hard")(z, labels), (z,))


def test_how_triplet_shows():
    assert repr(TripletLoss()) == "TripletLoss(margin=0.05)"
    text = "TripletLoss(margin=0.2, smooth_loss=True, mining='hard', squared=True, nonzero=False)"
    assert repr(TripletLoss(0.2, False, True, mining="hard", squared=True, nonzero=False)) == text


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
@pytest.mark.parametrize(
    "criterion, sizes",
    [
        (NTXentLoss, [(5, 3), (5, 3)]),
        (InfoNCELoss, [(5, 3), (5, 3)]),
        (DCLLoss, [(5, 3), (5, 3)]),
        (DCLLoss, [(5, 3), (5, 3), (5, 3)]),
        (InfoNCELoss, [(5, 3), (5, 3), (4, 3)]),
        (lambda t: lambda a, b: SupConLoss(t)(a, b, torch.tensor([0, 1, 0, 2, 1])), [(5, 3), (5, 3)]),
        (lambda t: InfoNCELoss(t, negative_mode="paired"), [(5, 3), (5, 3), (5, 2, 3)]),
        (lambda t: InfoNCELoss(t, "sum", symmetric=True, normalize=False), [(5, 3), (5, 3)]),
        (lambda t: lambda a, b: ClipLoss()(a, b, t), [(5, 3), (5, 3)]),
        (lambda t: lambda a, b: SigLipLoss()(a, b, t, -2 * t), [(5, 3), (5, 3)]),
    ],
)
def test_gradients_by_central_differences(criterion, sizes, shape):
    inputs = [random(*size, seed=seed, grad=True) for seed, size in enumerate(sizes)]
    temperature = torch.full(shape, 0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t, *x: criterion(t)(*x), (temperature, *inputs))


def test_gradient_only_where_it_is_wanted():
    out0, out1 = random(4, 3, grad=True), random(4, 3, seed=1)
    NTXentLoss()(out0, out1).backward()
    both = random(4, 3, grad=True), random(4, 3, seed=1, grad=True)
    NTXentLoss()(*both).backward()
    assert torch.equal(out0.grad, both[0].grad) and out1.grad is None
    assert not NTXentLoss()(out1, out1.clone()).requires_grad
    with torch.no_grad():
        assert not NTXentLoss()(*both).requires_grad


def test_gradients_accumulate_and_a_kept_graph_can_be_used_again():
    query, key = random(4, 3, grad=True), random(4, 3, seed=1)
    loss = InfoNCELoss()(query, key)
    loss.backward(retain_graph=True)
    once = query.grad.clone()
    loss.backward()
    assert torch.equal(query.grad, 2 * once)


def test_same_tensor_twice():
    z = random(4, 3, grad=True)
    NTXentLoss()(z, z).backward()
    twin = random(4, 3, grad=True)
    plain_nt_xent(twin, twin).backward()
    assert torch.allclose(z.grad, twin.grad, rtol=0, atol=1e-12)


def test_tensors_are_read_where_they_are(monkeypatch):
    seen = []
    monkeypatch.setattr(nf.losses, "info_nce", lambda *x, f=nf.losses.info_nce, **k: seen.append(x) or f(*x, **k))
    query, key = random(4, 3, grad=True), random(4, 3, seed=1)
    InfoNCELoss()(query, key)
    assert [array.ctypes.data for array in seen[0][:2]] == [query.data_ptr(), key.data_ptr()]


@pytest.mark.parametrize(
    "view", [lambda x: x.T, lambda x: x[::2], lambda x: x[:, ::3], lambda x: x[:1].expand(6, -1), lambda x: x[3:]]
)
def test_tensors_that_are_not_contiguous(view):
    base = random(12, 12)
    inputs = view(base), view(random(12, 12, seed=1))
    check_equal(NTXentLoss(), plain_nt_xent, inputs, 1e-12)
    leaf = base.clone().requires_grad_()
    InfoNCELoss()(view(leaf), inputs[1]).backward()
    twin = base.clone().requires_grad_()
    plain_info_nce(view(twin), inputs[1]).backward()
    assert torch.allclose(leaf.grad, twin.grad, rtol=0, atol=1e-12)


def test_inputs_are_not_changed():
    out0, out1 = random(4, 3, grad=True), random(4, 3, seed=1)
    before = out0.detach().clone(), out1.clone()
    NTXentLoss()(out0, out1).backward()
    assert torch.equal(out0.detach(), before[0]) and torch.equal(out1, before[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    halves = [random(7, 4, seed=seed, dtype=dtype, grad=True) for seed in (0, 1)]
    floats = [half.detach().float().requires_grad_() for half in halves]
    losses = NTXentLoss()(*halves), NTXentLoss()(*floats)
    assert losses[0].dtype == torch.float32 and torch.equal(*losses)
    for loss in losses:
        loss.backward()
    assert all(torch.equal(half.grad, full.grad.to(dtype)) for half, full in zip(halves, floats, strict=True))


def test_autocast():
    layer, x = torch.nn.Linear(5, 4), random(2, 8, 5, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = NTXentLoss()(layer(x[0]), layer(x[1]))
    loss.backward()
    assert loss.dtype == torch.float32 and layer.weight.grad.abs().max() > 0


# ---- the values of the anchors ----

TEMPERATURE = torch.tensor(0.3, dtype=torch.float64)
LABELS = torch.arange(17) % 5
SHARED, OWN = random(31, 8, seed=2), random(17, 5, 8, seed=2)
# Each of (inputs, temperature or scale) -> values, by nearfar and by plain torch.
VALUES = {
    "nt_xent": (
        lambda a, b, t: NTXentLoss(t, reduction="none")(a, b),
        lambda a, b, t: plain_nt_xent(a, b, t, reduction="none").reshape(2, -1),
    ),
    "info_nce": (
        lambda a, b, t: InfoNCELoss(t, "none")(a, b),
        lambda a, b, t: plain_info_nce(a, b, None, t, "none"),
    ),
    "symmetric": (
        lambda a, b, t: InfoNCELoss(t, "none", symmetric=True)(a, b),
        lambda a, b, t: (plain_info_nce(a, b, None, t, "none") + plain_info_nce(b, a, None, t, "none")) / 2,
    ),
    "shared": (
        lambda a, b, t: InfoNCELoss(t, "none")(a, b, SHARED.to(a.dtype)),
        lambda a, b, t: plain_info_nce(a, b, SHARED.to(a.dtype), t, "none"),
    ),
    "paired": (
        lambda a, b, t: InfoNCELoss(t, "none", "paired")(a, b, OWN.to(a.dtype)),
        lambda a, b, t: plain_info_nce(a, b, OWN.to(a.dtype), t, "none"),
    ),
    "sup_con": (
        lambda a, b, t: SupConLoss(t, reduction="none")(a, b, LABELS),
        lambda a, b, t: plain_sup_con(a, b, LABELS, t, reduction="none").reshape(2, -1),
    ),
    "dcl": (
        lambda a, b, t: DCLLoss(t, reduction="none")(a, b),
        lambda a, b, t: plain_dcl(a, b, t, reduction="none").reshape(2, -1),
    ),
    "dclw": (
        lambda a, b, t: DCLWLoss(t, reduction="none")(a, b),
        lambda a, b, t: plain_dcl(a, b, t, 0.5, reduction="none").reshape(2, -1),
    ),
    "clip": (
        lambda a, b, t: ClipLoss(reduction="none")(a, b, 1 / t),
        lambda a, b, t: plain_clip(a, b, 1 / t, "none"),
    ),
    "siglip": (
        lambda a, b, t: SigLipLoss(reduction="none")(a, b, 1 / t, -t),
        lambda a, b, t: plain_siglip(a, b, 1 / t, -t, "none"),
    ),
    "triplet": (
        lambda a, b, t: TripletLoss(0.3, smooth_loss=True, reduction="none")(a + b, LABELS) * t,
        lambda a, b, t: plain_triplet(a + b, LABELS, 0.3, True, "none") * t,
    ),
}
FUNCTIONS_OF_VALUES = {
    "weighted": lambda values: (values * random(*values.shape, seed=9, dtype=values.dtype)).sum(),
    "hardest": lambda values: values.flatten().topk(5).values.mean(),
    "one": lambda values: values.flatten()[3],
    "squares": lambda values: values.square().mean(),
    "log-mean-exp": lambda values: values.flatten().logsumexp(dim=0),
    "mean": torch.mean,
    "nothing": lambda values: 0 * values.sum(),
}


@PRECISIONS
@pytest.mark.parametrize("of_values", FUNCTIONS_OF_VALUES)
@pytest.mark.parametrize("loss", VALUES)
def test_any_function_of_the_values_has_its_gradient(loss, of_values, dtype, tolerance):
    results = []
    for function in VALUES[loss]:
        leaves = random(17, 8, dtype=dtype), random(17, 8, seed=1, dtype=dtype), TEMPERATURE.to(dtype)
        leaves = [leaf.clone().requires_grad_() for leaf in leaves]
        values = function(*leaves)
        FUNCTIONS_OF_VALUES[of_values](values).backward()
        results.append([values.detach(), *(leaf.grad for leaf in leaves)])
    for got, wanted in zip(*results, strict=True):
        assert got.dtype == dtype and got.shape == wanted.shape
        assert (got - wanted).abs().max() <= 3 * tolerance * wanted.abs().max()


@pytest.mark.parametrize("loss", VALUES)
def test_values_by_central_differences(loss):
    leaves = random(17, 3, grad=True), random(17, 3, seed=1, grad=True), TEMPERATURE.clone().requires_grad_()
    if loss in ("shared", "paired"):
        leaves = random(17, 8, grad=True), random(17, 8, seed=1, grad=True), leaves[2]
    if loss == "dclw":  # whose constants change with the inputs
        leaves = leaves[0].detach(), leaves[1].detach(), leaves[2]
    assert torch.autograd.gradcheck(VALUES[loss][0], leaves, fast_mode=loss != "dclw")


def test_anchors_that_are_skipped_have_no_part_in_the_gradient():
    """Neither those with weight 0, nor those without a positive, whatever their weight."""
    z, labels = random(2, 6, 4, grad=True), torch.tensor([0, 0, 1, 1, 2, 2])
    values = TripletLoss(0.3, reduction="none")(z[0], torch.tensor([0, 0, 1, 1, 2, 3]))
    (some,) = torch.autograd.grad(values, z, torch.tensor([1.0, 2, 3, 4, 1e9, -1e9]).double(), retain_graph=True)
    (same,) = torch.autograd.grad(values, z, torch.tensor([1.0, 2, 3, 4, 0, 0]).double())
    assert torch.allclose(some, same, rtol=0, atol=1e-12)
    values = NTXentLoss(reduction="none")(*z)
    (d_z,) = torch.autograd.grad(values[0, 0], z)
    _, wanted = nf.nt_xent(z.detach().numpy(), reduction="sum", weights=np.eye(1, 12).reshape(2, 6))
    assert np.array_equal(d_z.numpy(), wanted)
    values = SupConLoss(reduction="none", rescale=False)(*z, labels)
    assert values.shape == (2, 6)


def test_weights_that_are_not_finite_are_no_error():
    """A scaler of gradients looks for them, and skips the step."""
    for bad in torch.nan, torch.inf, -torch.inf:
        query = random(5, 3, grad=True)
        values = InfoNCELoss(reduction="none")(query, random(5, 3, seed=1))
        v = torch.ones(5, dtype=torch.float64)
        v[2] = bad
        values.backward(v)
        assert query.grad.isnan().all()
    for size in 1e-320, 1e-200, 1e200, 1e300:
        query = random(5, 3, grad=True)
        v = size * torch.tensor([1.0, 0.5, 0, -1, 1]).double()
        InfoNCELoss(reduction="none")(query, random(5, 3, seed=1)).backward(v)
        assert query.grad.isfinite().all() and (size < 1e-300 or query.grad.any())


def test_labels_may_change_before_the_way_back():
    z, labels = random(9, 4, grad=True), torch.arange(9) % 3
    values, v = TripletLoss(0.3, reduction="none")(z, labels), random(9, seed=5)
    labels += torch.arange(9)
    values.backward(v)
    wanted = random(9, 4, grad=True)
    plain_triplet(wanted, torch.arange(9) % 3, 0.3, reduction="none").backward(v)
    assert torch.allclose(z.grad, wanted.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("loss", VALUES)
def test_second_derivatives_of_functions_of_the_values_are_refused(loss):
    a, b, v = random(17, 8, grad=True), random(17, 8, seed=1), random(34, seed=2, grad=True)
    for d_values in v, v.detach(), torch.ones_like(v):
        values = VALUES[loss][0](a, b, TEMPERATURE).flatten()
        (d_a,) = torch.autograd.grad(values, a, d_values[: len(values)], create_graph=True)
        with pytest.raises(RuntimeError, match="differentiated once"):
            d_a.norm().backward()


# ---- temperature ----


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_temperature_as_a_parameter(dtype):
    criterion = InfoNCELoss(torch.nn.Parameter(torch.tensor(0.5, dtype=dtype)))
    twin = torch.tensor(0.5, dtype=dtype, requires_grad=True)
    query, key = random(9, 4), random(9, 4, seed=1)
    criterion(query, key).backward()
    plain_info_nce(query, key, temperature=twin).backward()
    assert [name for name, _ in criterion.named_parameters()] == ["temperature"]
    assert criterion.temperature.grad.dtype == dtype
    assert criterion.temperature.grad.item() == pytest.approx(twin.grad.item(), rel=1e-6)


def test_temperature_computed_from_a_parameter():
    log_scale = torch.tensor(1.5, requires_grad=True)
    criterion = InfoNCELoss()
    criterion.temperature = (-log_scale).exp()
    query, key = random(9, 4), random(9, 4, seed=1)
    criterion(query, key).backward()
    twin = torch.tensor(1.5, requires_grad=True)
    plain_info_nce(query, key, temperature=(-twin).exp()).backward()
    assert log_scale.grad.item() == pytest.approx(twin.grad.item(), rel=1e-5)


def test_state_dict():
    assert not NTXentLoss(0.3).state_dict()
    criterion = NTXentLoss(torch.nn.Parameter(torch.tensor(0.3)))
    other = NTXentLoss(torch.nn.Parameter(torch.tensor(0.7)))
    other.load_state_dict(criterion.state_dict())
    assert other.temperature.item() == criterion.temperature.item()


@pytest.mark.parametrize(
    "criterion, text",
    [
        (NTXentLoss(), "NTXentLoss(temperature=0.5)"),
        (NTXentLoss(torch.nn.Parameter(torch.tensor(0.25))), "NTXentLoss(temperature=Parameter(0.25))"),
        (InfoNCELoss(1, "sum", "paired"), "InfoNCELoss(temperature=1, reduction='sum', negative_mode='paired')"),
        (DCLWLoss(sigma=0.7), "DCLWLoss(temperature=0.1, sigma=0.7)"),
        (NTXentLoss(reduction="none"), "NTXentLoss(temperature=0.5, reduction='none')"),
        (SupConLoss(0.2, positives="in"), "SupConLoss(temperature=0.2, positives='in')"),
        (
            InfoNCELoss(symmetric=True, normalize=False),
            "InfoNCELoss(temperature=0.1, symmetric=True, normalize=False)",
        ),
    ],
)
def test_repr_and_copies(criterion, text):
    assert repr(criterion) == text
    query, key = random(6, 3), random(6, 3, seed=1)
    stream = io.BytesIO()
    torch.save(criterion, stream)
    stream.seek(0)
    copies = pickle.loads(pickle.dumps(criterion)), copy.deepcopy(criterion), torch.load(stream, weights_only=False)
    for twin in copies:
        assert repr(twin) == text and torch.equal(twin(query, key), criterion(query, key))


# ---- where it is used ----


def test_training_with_either_loss_goes_the_same_way():
    histories = []
    for make in (NTXentLoss, lambda temperature: lambda a, b: plain_nt_xent(a, b, temperature)):
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Linear(10, 16), torch.nn.ReLU(), torch.nn.Linear(16, 8)).double()
        temperature = torch.nn.Parameter(torch.tensor(0.5, dtype=torch.float64))
        criterion, history = make(temperature), []
        groups = {"params": network.parameters(), "lr": 0.1}, {"params": [temperature], "lr": 1e-3}
        optimizer = torch.optim.SGD(groups, momentum=0.9)
        x = random(40, 10)
        for step in range(15):
            views = [x + 0.3 * random(40, 10, seed=2 * step + view + 1) for view in (0, 1)]
            loss = criterion(*map(network, views))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            history.append(loss.item())
        histories.append([*history, temperature.item()])
    assert histories[0][14] < histories[0][0] - 0.1
    assert histories[0] == pytest.approx(histories[1], rel=1e-9)


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # the compiler's own look at tensors
@pytest.mark.filterwarnings("error:Dynamo")
def test_compilation_goes_around_the_losses():
    layer, criterion = torch.nn.Linear(5, 4), NTXentLoss()

    def step(a, b):
        return 2 * criterion(layer(a), layer(b))

    inputs = random(8, 5, dtype=torch.float32), random(8, 5, seed=1, dtype=torch.float32)
    wanted = step(*inputs)
    wanted.backward()
    d_weight, layer.weight.grad = layer.weight.grad, None
    compiled = torch.compile(step, backend="aot_eager")
    for _ in range(3):
        loss = compiled(*inputs)
    loss.backward()
    torch._dynamo.utils.counters.clear()
    assert torch.equal(compiled(*inputs), loss)
    assert not torch._dynamo.utils.counters  # settled: nothing is compiled again
    assert torch.allclose(loss, wanted) and torch.allclose(layer.weight.grad, d_weight)


def test_compilation_with_a_learned_scale():
    layer, scale = torch.nn.Linear(5, 4), torch.nn.Parameter(torch.tensor(1.0))
    clip, siglip = ClipLoss(), SigLipLoss()

    def step(a, b):
        return clip(layer(a), layer(b), scale.exp()) + siglip(layer(a), layer(b), scale.exp(), -scale)

    inputs = random(8, 5, dtype=torch.float32), random(8, 5, seed=1, dtype=torch.float32)
    wanted = step(*inputs)
    wanted.backward()
    d_scale, scale.grad = scale.grad, None
    loss = torch.compile(step, backend="aot_eager")(*inputs)
    loss.backward()
    assert torch.allclose(loss, wanted)
    assert torch.allclose(scale.grad, d_scale)


def test_second_derivatives_are_refused():
    z, other = random(4, 3, grad=True), random(4, 3, seed=1)
    loss = NTXentLoss()(z, other)
    (d_z,) = torch.autograd.grad(loss, z, create_graph=True)
    penalised = (z**2).sum() + d_z.norm()
    with pytest.raises(RuntimeError, match="differentiated once"):
        penalised.backward()


# ---- refusals ----


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: NTXentLoss(memory_bank_size=4096), ValueError, "memory_bank_size must be 0, got 4096"),
        (lambda: NTXentLoss(memory_bank_size=(4096, 128)), ValueError, "memory_bank_size must be 0"),
        (lambda: NTXentLoss(gather_distributed=True), ValueError, "gather_distributed must be False"),
        (lambda: DCLLoss(weight_fn=max), ValueError, "weight_fn must be None, got .*: DCLWLoss"),
        (lambda: DCLLoss(gather_distributed=True), ValueError, "gather_distributed must be False"),
        (lambda: DCLWLoss(sigma=-1), ValueError, "sigma must be > 0, got -1"),
        (lambda: SupConLoss(gather_distributed=True), ValueError, "gather_distributed must be False"),
        (lambda: SupConLoss(positives="all"), ValueError, "positives must be 'out' or 'in', got 'all'"),
        (lambda: TripletLoss(-1), ValueError, "margin must be >= 0 and at most 1e30, got -1"),
        (lambda: TripletLoss(float("nan")), ValueError, "margin must be >= 0 and at most 1e30, got nan"),
        (lambda: TripletLoss(swap=True), ValueError, "swap must be False: nearfar.losses.triplet_margin has it"),
        (lambda: TripletLoss(triplets_per_anchor=5), ValueError, "triplets_per_anchor must be 'all', got 5"),
        (lambda: TripletLoss(mining="easy"), ValueError, "mining must be 'all', 'hard' or 'semi_hard', got 'easy'"),
        (lambda: TripletLoss(reduction="max"), ValueError, "reduction must be one of 'mean', 'sum', 'none', got 'max'"),
        (lambda: NTXentLoss(0), ValueError, "temperature must be finite and > 0, got 0"),
        (lambda: InfoNCELoss(-1), ValueError, "temperature must be finite and > 0, got -1"),
        (lambda: InfoNCELoss(float("nan")), ValueError, "temperature must be finite and > 0, got nan"),
        (lambda: InfoNCELoss(torch.tensor(0.0)), ValueError, "temperature must be finite and > 0, got 0"),
        (lambda: InfoNCELoss(torch.ones(2)), ValueError, r"one element, got shape \(2,\)"),
        (lambda: InfoNCELoss(torch.tensor(1)), TypeError, "temperature must be .* got dtype torch.int64"),
        (lambda: InfoNCELoss(torch.ones((), device="meta")), ValueError, "temperature must be on the CPU"),
        (lambda: InfoNCELoss("warm"), (TypeError, ValueError), "warm"),
        (lambda: NTXentLoss(reduction="max"), ValueError, "reduction must be one of 'mean', 'sum', 'none', got 'max'"),
        (lambda: ClipLoss(reduction=None), ValueError, "reduction must be one of 'mean', 'sum', 'none', got None"),
        (lambda: InfoNCELoss(reduction="max"), ValueError, "reduction must be one of 'mean', 'sum', 'none', got 'max'"),
        (lambda: InfoNCELoss(negative_mode="x"), ValueError, "negative_mode must be 'unpaired' or 'paired', got 'x'"),
    ],
)
def test_constructors_refuse(make, error, message):
    with pytest.raises(error, match=message):
        make()


GOOD = random(4, 3)


@pytest.mark.parametrize(
    "criterion, second", [(NTXentLoss(), "out1"), (SupConLoss(), "out1"), (InfoNCELoss(), "positive_key")]
)
@pytest.mark.parametrize(
    "bad, error, message",
    [
        (GOOD.numpy(), TypeError, "{} must be a torch.Tensor, got ndarray"),
        (None, TypeError, "{} must be a torch.Tensor, got NoneType"),
        (GOOD.to("meta"), ValueError, "{} must be on the CPU, got device meta"),
        (GOOD.to_sparse(), ValueError, "{} must be dense, got layout torch.sparse_coo"),
        (GOOD.int(), TypeError, "{} must be .* got dtype torch.int32"),
        (GOOD.cfloat(), TypeError, "{} must be .* got dtype torch.complex64"),
        (GOOD.float(), TypeError, "{} must have .* dtype torch.float64, got torch.float32"),
        (GOOD[:3], ValueError, r"{} must have .* shape \(4, 3\), got \(3, 3\)"),
        (GOOD[0], ValueError, r"{} must have .* shape \(4, 3\), got \(3,\)"),
        (GOOD * torch.inf, ValueError, "NaN|infinit|finite"),
        (GOOD * torch.nan, ValueError, "NaN|infinit|finite"),
    ],
)
def test_calls_refuse(criterion, second, bad, error, message):
    with pytest.raises(error, match=message.format(second)):
        criterion(GOOD, bad)


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (0, 3), (3, 0)])
def test_first_tensors_are_checked_too(shape):
    for criterion in (NTXentLoss(), DCLLoss(), DCLWLoss(), SupConLoss(), InfoNCELoss()):
        with pytest.raises(ValueError, match="must"):
            criterion(torch.ones(shape), GOOD)
        with pytest.raises(TypeError, match=r"must be a torch\.Tensor"):
            criterion(np.ones(shape), GOOD)


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (0, 3), (3, 0)])
def test_other_shapes_are_refused(shape):
    for criterion in (NTXentLoss(), DCLLoss(), DCLWLoss(), SupConLoss(), InfoNCELoss()):
        with pytest.raises(ValueError, match="must"):
            criterion(torch.ones(shape), torch.ones(shape))


@pytest.mark.parametrize(
    "criterion, negatives, message",
    [
        (
            InfoNCELoss(),
            random(4, 2, 3),
            r"negative_keys must be \(K, 3\) for negative_mode 'unpaired', got \(4, 2, 3\)",
        ),
        (InfoNCELoss(), random(4, 2), r"negative_keys must be \(K, 3\)"),
        (
            InfoNCELoss(negative_mode="paired"),
            random(4, 3),
            r"must be \(4, K, 3\) for negative_mode 'paired', got \(4, 3\)",
        ),
        (InfoNCELoss(symmetric=True), random(4, 3), "symmetric=True needs in-batch negatives"),
    ],
)
def test_negatives_that_do_not_fit(criterion, negatives, message):
    with pytest.raises(ValueError, match=message):
        criterion(GOOD, GOOD, negatives)


@pytest.mark.parametrize(
    "labels, error, message",
    [
        ([0, 1, 0, 1], TypeError, "labels must be a torch.Tensor, got list"),
        (torch.ones(4), TypeError, "labels must be integers, got dtype torch.float32"),
        (torch.ones(4, dtype=torch.int64, device="meta"), ValueError, "labels must be on the CPU, got device meta"),
        (torch.ones(3, dtype=torch.int64), ValueError, r"labels must have shape \(4,\).*, got \(3,\)"),
        (torch.ones(4, 4, dtype=torch.int64), ValueError, r"labels must have shape \(4,\).*, got \(4, 4\)"),
    ],
)
def test_labels_that_do_not_fit(labels, error, message):
    with pytest.raises(error, match=message):
        SupConLoss()(GOOD, GOOD, labels)
    with pytest.raises(error, match=message):
        TripletLoss()(GOOD, labels)


@pytest.mark.parametrize(
    "bad, error, message",
    [
        (GOOD.numpy(), TypeError, "embeddings must be a torch.Tensor, got ndarray"),
        (GOOD.to("meta"), ValueError, "embeddings must be on the CPU, got device meta"),
        (GOOD.int(), TypeError, "embeddings must be .* got dtype torch.int32"),
        (GOOD[0], ValueError, r"embeddings must be \(N, D\), got shape \(3,\)"),
        (GOOD[:, :0], ValueError, "at least one row and one column"),
        (GOOD * torch.nan, ValueError, "must be finite"),
    ],
)
def test_embeddings_that_triplet_refuses(bad, error, message):
    with pytest.raises(error, match=message):
        TripletLoss()(bad, torch.tensor([0, 0, 1, 1]))


def test_temperature_that_a_step_took_below_zero():
    criterion = NTXentLoss(torch.nn.Parameter(torch.tensor(0.1)))
    criterion.temperature.data -= 0.2
    with pytest.raises(ValueError, match="temperature must be finite and > 0"):
        criterion(GOOD, GOOD)


@pytest.mark.parametrize("module", ["in_batch", "image_text", "margin"])
def test_examples(module):
    result = doctest.testmod(importlib.import_module(f"nearfar.torch.{module}"))
    assert result.failed == 0 < result.attempted


def test_without_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "nearfar.torch")
    with pytest.raises(ImportError, match=r"nearfar.torch needs PyTorch.*pip install 'nearfar\[torch\]'"):
        importlib.import_module("nearfar.torch")
