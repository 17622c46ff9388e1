"""Contrastive losses on plain arrays: value and gradient in one call.

Every loss returns ``loss, gradients``: by default the mean over anchors in nats, as a float, and arrays shaped like
the inputs. The margin losses are means over pairs or triplets of distances instead. Beyond 144 MB no matrix of all
scores or distances is stored: memory grows with the input, not with its square. Results have the same bits for any
number of threads.

Most losses are made of values L_i, one for each anchor, pair or triplet: ``reduction="none"`` returns these. `weights`,
in the same shape, are factors w_i of them: loss and gradients are then those of w_i L_i in place of L_i. Their mean is
divided by the same number as without weights, as ``(weights * values).mean()`` is; for a weighted average, which is
divided by the sum of the weights, divide these by their mean first. A weight of 0 leaves an anchor's value out, but its
row stays among the negatives of the others. Weights may be of either sign, so that they give the gradient of any
function f of the values, in two calls:

    values, _ = nf.nt_xent(z, reduction="none")
    _, d_z = nf.nt_xent(z, reduction="sum", weights=v)  # v: the derivatives of f at these values

Other packages scale the same loss differently. The following gives their values; their gradients are those of the call
with the same factor. ``z`` (V, N, D) holds V views of N samples, ``query`` and ``key`` (N, D) two views, ``queue``
(K, D) negatives, ``labels`` (N,) classes; margin losses take ``z`` (N, D). ``T`` is the temperature, for which the
packages' own default is given, as for margins.

google-research/simclr, ``add_contrastive_loss``, T = 1: the means of both views are added up
    ``2 * nt_xent(z, T)``
lightly, ``NTXentLoss``, T = 0.5
    ``nt_xent(z, T)``
lightly, ``NTXentLoss`` with a memory bank: each view in turn is the key
    ``info_nce(query, key, T, negatives=queue)``
lightly, ``DCLLoss``, T = 0.1
    ``dcl(z, T)``
lightly, ``DCLWLoss``, T = 0.1
    ``dclw(z, T, sigma=0.5)``
lightly, ``SupConLoss``, T = 0.5: times the temperature, unless rescale=False
    ``T * sup_con(z, labels, T)``
pytorch-metric-learning, ``NTXentLoss``, T = 0.07, two rows of each class, as of ``SelfSupervisedLoss``
    ``nt_xent(z, T)``
pytorch-metric-learning, ``NTXentLoss``, larger classes: a pair's denominator has no other positives; ``key`` and
``negatives`` (pairs, K, D) are those of each ordered pair of a class
    ``info_nce(query, key, T, negatives=negatives)``
pytorch-metric-learning, ``SupConLoss``, T = 0.1
    ``sup_con(z, labels, T)``
SupContrast, ``SupConLoss``, T = 0.07: times T / base_temperature; rows are taken as they are; anchors without a
positive stay in the mean
    ``T / base_temperature * sup_con(z, labels, T, normalize=False, reduction="sum") / (V * N)``
SupContrast, ``SupConLoss`` without labels
    ``T / base_temperature * nt_xent(z, T, normalize=False)``
MoCo, T = 0.07 (v2: 0.2)
    ``info_nce(query, key, T, negatives=queue)``
MoCo v3, T = 0.2: times 2 T, and both directions are added up; q1 and q2 are the queries of two views, k1 and k2 their
keys
    ``2 * T * (info_nce(q1, k2, T) + info_nce(q2, k1, T))``
CLIP's pseudocode, t = log(1 / 0.07)
    ``clip(image, text, t)``
open_clip, ``ClipLoss``: logit_scale is the factor itself; rows are normalised before
    ``clip(image, text, log(logit_scale), normalize=False)``
SigLIP's pseudocode, t = log(10), b = -10
    ``sigmoid_loss(image, text, t, b)``
open_clip, ``SigLipLoss``: logit_scale is the factor itself; rows are normalised before
    ``sigmoid_loss(image, text, log(logit_scale), logit_bias, normalize=False)``
solo-learn, ``simclr_loss_func``, T = 0.1: the sum over an anchor's V - 1 positives is inside the logarithm
    ``sup_con(z, arange(N), T, positives="in") - log(V - 1)``
info-nce-pytorch, ``InfoNCE``, T = 0.1
    ``info_nce(query, key, T)``
info-nce-pytorch, ``InfoNCE`` with negatives, shared ("unpaired") or of each query ("paired")
    ``info_nce(query, key, T, negatives=negatives)``
torch, ``triplet_margin_loss``, margin = 1, with eps=0
    ``triplet_margin(anchor, positive, negative, margin, squared=False, normalize=False)``
pytorch-metric-learning, ``TripletMarginLoss``, margin = 0.05: the mean of what is above 0
    ``triplet(z, labels, margin, squared=False, nonzero=True)``
pytorch-metric-learning, ``TripletMarginLoss`` with ``BatchHardMiner``
    ``triplet(z, labels, margin, mining="hard", squared=False, nonzero=True)``
pytorch-metric-learning, ``ContrastiveLoss``, pos_margin = 0, neg_margin = 1
    ``contrastive(z, labels, pos_margin=pos_margin, neg_margin=neg_margin)``
pytorch-metric-learning, ``LiftedStructureLoss``, neg_margin = 1, pos_margin = 0
    ``lifted_structure(z, labels, neg_margin, nonzero=True)``
TensorFlow Addons, ``triplet_semihard_loss``, margin = 1, with distance_metric="squared-L2"; each row has a positive and
a negative
    ``triplet(z, labels, margin, mining="semi_hard", normalize=False)``
TensorFlow Addons, ``triplet_hard_loss``, margin = 1, with distance_metric="squared-L2"
    ``triplet(z, labels, margin, mining="hard", normalize=False)``
TensorFlow Addons, ``contrastive_loss`` of the distances of pairs, margin = 1: without the 1/2
    ``2 * pair(a, b, same, margin=margin, normalize=False)``
"""

from nearfar.losses import scores
from nearfar.losses.hypersphere import align_uniform
from nearfar.losses.image_text import clip, sigmoid_loss
from nearfar.losses.in_batch import info_nce, n_pair
from nearfar.losses.margin import contrastive, lifted_structure, pair, triplet, triplet_margin
from nearfar.losses.memory_bank import MemoryBank, npid
from nearfar.losses.mutual_information import donsker_varadhan, info_nce_bound, jsd, nwj
from nearfar.losses.noise_contrastive import nce
from nearfar.losses.supervised import sup_con
from nearfar.losses.views import dcl, dclw, debiased_nt_xent, nt_xent

__all__ = [
    "MemoryBank",
    "align_uniform",
    "clip",
    "contrastive",
    "dcl",
    "dclw",
    "debiased_nt_xent",
    "donsker_varadhan",
    "info_nce",
    "info_nce_bound",
    "jsd",
    "lifted_structure",
    "n_pair",
    "nce",
    "npid",
    "nt_xent",
    "nwj",
    "pair",
    "scores",
    "sigmoid_loss",
    "sup_con",
    "triplet",
    "triplet_margin",
]
