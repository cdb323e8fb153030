"""Terms of a VQGAN's loss."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cortex.judges.imagenet import EfficientNetLite0

STAGES = (0, 2, 4, 10)  # blocks of EfficientNet-Lite0 whose outputs count: those before a halving of the resolution


class PerceptualDistance(nn.Module):
    """Distance of two pictures by features of EfficientNet-Lite0 with ImageNet weights (Johnson et al., ECCV 2016).

    The mean squared difference of each feature, in units of its variance over the real pictures and their positions,
    averaged over features, positions and :data:`STAGES`. In LPIPS (Zhang et al., CVPR 2018) the features of every
    position have length 1 instead: in pictures of even surfaces, the noise of these surfaces would count most.

    Raises:
        InputError: the packages of the extra ``imagenet`` are not installed.
    """

    def __init__(self) -> None:
        super().__init__()
        judge = EfficientNetLite0.pretrained()
        self.mean, self.deviation = nn.Buffer(judge.mean), nn.Buffer(judge.deviation)
        self.network = judge.backbone
        self.eval().requires_grad_(False)

    def features(self, images: Tensor) -> list[Tensor]:
        """Features float32 ``[B, C, h, w]`` of pictures ``[B, 3, H, W]`` in -1..1, one tensor a stage."""
        network: Any = self.network
        x = F.relu6(network._bn0(network._conv_stem((images - self.mean) / self.deviation)))
        found = []
        for number, block in enumerate(network._blocks[: STAGES[-1] + 1]):
            x = block(x)
            if number in STAGES:
                found.append(x.float())
        return found

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        """The mean distance of pictures ``[B, 3, H, W]`` in -1..1 from others; gradients flow to the first ones."""
        with torch.no_grad():
            wanted = self.features(others)
        distances = [
            ((ours - theirs).square() / theirs.var((0, 2, 3), keepdim=True).clamp_min(1e-6)).mean()
            for ours, theirs in zip(self.features(images), wanted, strict=True)
        ]
        return torch.stack(distances).mean()


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
