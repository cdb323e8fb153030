"""Terms of a VQGAN's loss."""

import torch
from torch import Tensor


def code_length(vectors: Tensor, codebook: Tensor, usage: Tensor) -> Tensor:
    """Nats a position that an entropy code would spend on the tokens of vectors ``[B, d, h, w]``, differentiable.

    The choice of a code is softened over the squared distances to all codes, at the temperature of the mean
    squared distance to the nearest.

    Args:
        vectors: encoder outputs.
        codebook: ``[K, d]``.
        usage: how often each code is chosen, ``[K]``, summing to 1.
    """
    distances = torch.cdist(vectors.permute(0, 2, 3, 1).flatten(0, 2), codebook).square()
    temperature = distances.detach().amin(1).mean().clamp_min(1e-4)
    return ((-distances / temperature).softmax(1) @ -(usage + 1e-4).log()).mean()


def balanced_gradient(reconstruction: Tensor, loss: Tensor, adversarial: Tensor, weight: float) -> Tensor:
    """The gradient of ``loss + λ · adversarial`` with regard to the reconstruction, of its shape.

    λ makes the adversarial gradient ``weight`` times as long as that of the loss: the balance of Esser et al. (CVPR
    2021, equation 7), at the picture in place of the decoder's last layer.
    """
    (ours,) = torch.autograd.grad(loss, reconstruction)
    (theirs,) = torch.autograd.grad(adversarial, reconstruction)
    scale = weight * ours.norm() / theirs.norm().clamp_min(1e-8)
    return ours + scale.clamp_max(1e4) * theirs
