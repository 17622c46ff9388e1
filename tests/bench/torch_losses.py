"""The losses as a training code on plain torch would have them, with names and conventions of `nearfar`'s."""

import math

import torch
from torch import nn

INFINITY = torch.inf


def _unit(x):
    return nn.functional.normalize(x, dim=1)


def _same(labels):
    """Whether rows have the same label, and whether they are different rows of that."""
    same = labels[:, None] == labels
    return same, same & ~torch.eye(len(labels), dtype=torch.bool)


def _squared_distances(z):
    """Of unit rows."""
    return (2 - 2 * z @ z.T).clamp_min(0)


def sup_con(z, labels, temperature):
    z = _unit(z)
    scores = (z @ z.T / temperature).fill_diagonal_(-INFINITY)
    _, positive = _same(labels)
    log_p = torch.log_softmax(scores, 1).masked_fill(~positive, 0)
    return -(log_p.sum(1) / positive.sum(1)).mean()


def _negatives(count):
    """Of each of 2N views: those of other samples."""
    sample = torch.arange(2 * count) % count
    return sample[:, None] != sample


def _dcl_of_unit(z, temperature, weights=1.0):
    scores = z @ z.T / temperature
    count = len(z) // 2
    negatives = scores.masked_fill(~_negatives(count), -INFINITY)
    own = torch.cat([scores.diagonal(count), scores.diagonal(-count)])
    return (torch.logsumexp(negatives, 1) - weights * own).mean()


def dcl(z, temperature):
    """Of 2N embeddings, first views first."""
    return _dcl_of_unit(_unit(z), temperature)


def dcl_weighted(x, y, temperature, sigma=0.5):
    x, y = _unit(x), _unit(y)
    weights = 2 - len(x) * torch.softmax((x * y).sum(1) / sigma, 0)
    return _dcl_of_unit(torch.cat([x, y]), temperature, weights.detach().repeat(2))


def debiased(z, temperature, tau_plus, beta):
    """As its authors publish it; with beta, hard negatives count more."""
    z = _unit(z)
    scores = z @ z.T / temperature
    count = len(z) // 2
    negative = _negatives(count)
    e = scores.exp() * negative
    number = 2 * count - 2
    if beta > 0:
        weights = (beta * scores).exp() * negative
        sums = number * (weights * e).sum(1) / weights.sum(1)
    else:
        sums = e.sum(1)
    own = torch.cat([scores.diagonal(count), scores.diagonal(-count)])
    least = number * torch.exp(torch.tensor(-1 / temperature))
    corrected = ((sums - number * tau_plus * own.exp()) / (1 - tau_plus)).clamp_min(least)
    return (torch.log(own.exp() + corrected) - own).mean()


def n_pair(x, y, l2):
    squares = (x**2).sum() + (y**2).sum()
    return nn.functional.cross_entropy(x @ y.T, torch.arange(len(x))) + l2 / 4 * squares / len(x)


def info_nce(query, key, negatives, temperature):
    """Against a queue."""
    query, key, negatives = _unit(query), _unit(key), _unit(negatives)
    scores = torch.cat([(query * key).sum(1, keepdim=True), query @ negatives.T], 1) / temperature
    return nn.functional.cross_entropy(scores, torch.zeros(len(query), dtype=torch.long))


def _critic(x, y, temperature):
    """The scores of pairs that belong together, and of all others (-infinity: of the former)."""
    scores = _unit(x) @ _unit(y).T / temperature
    return scores.diagonal(), scores.masked_fill(torch.eye(len(x), dtype=torch.bool), -INFINITY)


def jsd(x, y, temperature):
    own, others = _critic(x, y, temperature)
    return nn.functional.softplus(-own).mean() + nn.functional.softplus(others).sum() / (len(x) * (len(x) - 1))


def donsker_varadhan(x, y, temperature):
    own, others = _critic(x, y, temperature)
    return -own.mean() + torch.logsumexp(others.flatten(), 0) - math.log(len(x) * (len(x) - 1))


def nwj(x, y, temperature):
    own, others = _critic(x, y, temperature)
    return -own.mean() + (others - 1).exp().sum() / (len(x) * (len(x) - 1))


def nce(query, key, negatives, temperature):
    query, key, negatives = _unit(query), _unit(key), _unit(negatives)
    own, others = (query * key).sum(1) / temperature, query @ negatives.T / temperature
    return (nn.functional.softplus(-own) + nn.functional.softplus(others).sum(1)).mean()


def npid(query, bank, indices, negatives, partition, temperature):
    query = _unit(query)
    offset = math.log(partition) + math.log(negatives.shape[1]) - math.log(len(bank))
    own = (query * bank[indices]).sum(1) / temperature - offset
    others = torch.einsum("nd,nmd->nm", query, bank[negatives]) / temperature - offset
    return (nn.functional.softplus(-own) + nn.functional.softplus(others).sum(1)).mean()


def pair(a, b, same, margin=1.0):
    distances = (_unit(a) - _unit(b)).norm(dim=1)
    return (torch.where(same, distances, (margin - distances).relu()) ** 2 / 2).mean()


def contrastive(z, labels, margin):
    """The means are over terms that are not 0."""
    distances = (_squared_distances(_unit(z)) + 1e-12).sqrt()
    same, positive = _same(labels)
    terms = [distances * positive, (margin - distances).relu() * ~same]
    return sum(term.sum() / (term > 0).sum().clamp_min(1) for term in terms)


def triplet(z, labels, margin, mining):
    """Of squared distances."""
    distances = _squared_distances(_unit(z))
    same, positive = _same(labels)
    if mining == "hard":
        farthest = distances.masked_fill(~positive, -INFINITY).amax(1)
        nearest = distances.masked_fill(same, INFINITY).amin(1)
        return (farthest - nearest + margin).relu().mean()
    anchors, positives = positive.nonzero(as_tuple=True)
    near, far, other = distances[anchors, positives], distances[anchors], ~same[anchors]
    if mining == "all":
        return ((near[:, None] - far + margin).relu() * other).sum() / other.sum()
    beyond = far.masked_fill(~(other & (far > near[:, None])), INFINITY).amin(1)
    farthest = far.masked_fill(~other, -INFINITY).amax(1)
    return (near - torch.where(beyond.isinf(), farthest, beyond) + margin).relu().mean()


def lifted_structure(z, labels, margin):
    distances = (_squared_distances(_unit(z)) + 1e-12).sqrt()
    same, positive = _same(labels)
    sums = torch.logsumexp((margin - distances).masked_fill(same, -INFINITY), 1)
    i, j = positive.triu().nonzero(as_tuple=True)
    return ((torch.logaddexp(sums[i], sums[j]) + distances[i, j]).relu() ** 2 / 2).mean()


def sigmoid(image, text, scale, bias):
    scores = scale.exp() * _unit(image) @ _unit(text).T + bias
    signs = 2 * torch.eye(len(image)) - 1
    return -nn.functional.logsigmoid(signs * scores).sum() / len(image)


def clip(image, text, scale):
    scores = scale.exp() * _unit(image) @ _unit(text).T
    targets = torch.arange(len(image))
    return (nn.functional.cross_entropy(scores, targets) + nn.functional.cross_entropy(scores.T, targets)) / 2


def align_uniform(x, y):
    """As its authors publish it, with alpha = t = 2 and weights 1."""
    x, y = _unit(x), _unit(y)
    uniform = [torch.pdist(z).pow(2).mul(-2).exp().mean().log() for z in (x, y)]
    return (x - y).norm(dim=1).pow(2).mean() + sum(uniform) / 2
