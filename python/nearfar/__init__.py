"""nearfar: contrastive representation learning for NumPy, with the compute in C."""

from nearfar import data, layers, losses, measure, plot, transforms
from nearfar._core import get_num_threads, set_num_threads
from nearfar.checkpoint import load, save
from nearfar.config import __version__, show_config
from nearfar.encoders import convnet, convnext, mlp, mobilenet, resnet, resnet9, wide_resnet
from nearfar.evaluation import evaluate
from nearfar.gradient_caching import cached_gradients
from nearfar.heads import projection_head
from nearfar.losses import (
    align_uniform,
    clip,
    dcl,
    dclw,
    debiased_nt_xent,
    info_nce,
    n_pair,
    nt_xent,
    sigmoid_loss,
    sup_con,
    triplet,
)
from nearfar.methods import SimCLR
from nearfar.network import Network
from nearfar.optim import LARS, SGD, AdamW, cosine_schedule, momentum_update
from nearfar.train import fit

__all__ = [
    "LARS",
    "SGD",
    "AdamW",
    "Network",
    "SimCLR",
    "__version__",
    "align_uniform",
    "cached_gradients",
    "clip",
    "convnet",
    "convnext",
    "cosine_schedule",
    "data",
    "dcl",
    "dclw",
    "debiased_nt_xent",
    "evaluate",
    "fit",
    "get_num_threads",
    "info_nce",
    "layers",
    "load",
    "losses",
    "measure",
    "mlp",
    "mobilenet",
    "momentum_update",
    "n_pair",
    "nt_xent",
    "plot",
    "projection_head",
    "resnet",
    "resnet9",
    "save",
    "set_num_threads",
    "show_config",
    "sigmoid_loss",
    "sup_con",
    "transforms",
    "triplet",
    "wide_resnet",
]
