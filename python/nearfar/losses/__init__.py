"""Contrastive losses on plain arrays: value and gradient in one call.

Every function returns ``loss, gradients``: the mean over anchors in nats, as a float, and arrays shaped like the
inputs. Beyond 16 MB no matrix of all scores is stored: memory grows with the input, not with its square. Results have
the same bits for any number of threads.
"""

from nearfar.losses.in_batch import info_nce, n_pair
from nearfar.losses.supervised import sup_con
from nearfar.losses.views import dcl, dclw, debiased_nt_xent, nt_xent

__all__ = ["dcl", "dclw", "debiased_nt_xent", "info_nce", "n_pair", "nt_xent", "sup_con"]
