"""The losses as PyTorch modules; needs PyTorch (the extra ``torch``).

Each module can take the place of the one that other packages have under that name, on the CPU: loss and gradient come
from one call into C that reads the tensors where they are, and no matrix of all scores is stored. They are exact, not
approximated, and give the same bits for any number of threads.

What all modules share:

- Tensors are dense, on the CPU, float32 or float64. float16 and bfloat16 are converted to float32, for which the loss
  then is float32, too, and the gradients what the inputs are.
- `temperature` is a number, or a tensor with one element, which gets its gradient if it requires one. A
  `torch.nn.Parameter` becomes a parameter of the module: it can be trained, and is part of its `state_dict`.
- `reduction` is "mean", "sum" or "none". With "none" the loss is the values of the anchors, and any function of these
  has its gradient: where that is anything but a mean or a sum, at the price of one more call of the loss.
- Gradients cannot be differentiated again; trying to is a RuntimeError.
- In `torch.compile` the losses run between the compiled parts.
"""

try:
    import torch  # noqa: F401
except ImportError as error:
    raise ImportError(f"nearfar.torch needs PyTorch ({error}): pip install 'nearfar[torch]'") from error

from nearfar.torch.image_text import ClipLoss, SigLipLoss
from nearfar.torch.in_batch import DCLLoss, DCLWLoss, InfoNCELoss, NTXentLoss, SupConLoss
from nearfar.torch.margin import TripletLoss

__all__ = [
    "ClipLoss",
    "DCLLoss",
    "DCLWLoss",
    "InfoNCELoss",
    "NTXentLoss",
    "SigLipLoss",
    "SupConLoss",
    "TripletLoss",
]
