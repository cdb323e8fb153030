"""The perceptual term of a VQGAN's loss, by a network that knows the classes of the pictures.

Features of ImageNet's classes pass over a detail that only the user's own classes differ in: a road of two pixels'
width across a field. The network therefore learns these classes first.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cortex.core.device import place
from cortex.data.augment import augment
from cortex.data.pictures import Pictures
from cortex.judges.imagenet import EfficientNetLite0
from cortex.recipes.loop import History, Loop
from cortex.recipes.pictures import pictures_at, place_images
from cortex.recipes.schedule import warm_up_then_cosine
from cortex.recipes.settings import GeneratorRecipe

# Blocks of EfficientNet-Lite0 whose outputs count: those before a halving of the resolution, and the last.
STAGES = (0, 2, 4, 10, 15)
SMALLEST = 32  # pixels: smaller pictures are enlarged, as the network halves the resolution five times
BATCH = 64  # pictures of a step
LEARNING_RATE = 1e-3  # peak, of AdamW
WEIGHT_DECAY = 0.01


class PerceptualDistance(nn.Module):
    """Distance of two pictures by features of EfficientNet-Lite0 (Johnson et al., ECCV 2016).

    The mean squared difference of the features after a stage, in units of their mean variance over the real pictures
    and their positions, averaged over :data:`STAGES`. In LPIPS (Zhang et al., CVPR 2018) the features of every
    position have length 1 instead: in pictures of even surfaces, the noise of these surfaces would count most.

    Args:
        classes: classes that the network can learn to tell apart; None: it stays ImageNet's.

    Raises:
        InputError: the packages of the extra ``imagenet`` are not installed.
    """

    def __init__(self, classes: int | None = None) -> None:
        super().__init__()
        judge = EfficientNetLite0.pretrained()
        self.mean, self.deviation = nn.Buffer(judge.mean), nn.Buffer(judge.deviation)
        network: Any = judge.backbone
        self.network = network
        if classes is not None:
            network._fc = nn.Linear(network._fc.in_features, classes)

    def logits(self, images: Tensor) -> Tensor:
        """Logits ``[B, classes]`` of pictures ``[B, 3, H, W]`` in -1..1."""
        return self.network(self._input(images))

    def features(self, images: Tensor) -> list[Tensor]:
        """Features float32 ``[B, C, h, w]`` of pictures ``[B, 3, H, W]`` in -1..1, one tensor a stage."""
        network: Any = self.network
        x = F.relu6(network._bn0(network._conv_stem(self._input(images))))
        found = []
        for number, block in enumerate(network._blocks[: STAGES[-1] + 1]):
            x = block(x)
            if number in STAGES:
                found.append(x.float())
        return found

    def _input(self, images: Tensor) -> Tensor:
        """What the network takes of pictures in -1..1: at their own size where it is not too small."""
        if min(images.shape[2:]) < SMALLEST:
            images = F.interpolate(images, (SMALLEST, SMALLEST), mode="bilinear")
        return (images - self.mean) / self.deviation

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        """The mean distance of pictures ``[B, 3, H, W]`` in -1..1 from others; gradients flow to the first ones."""
        with torch.no_grad():
            wanted = self.features(others)
        distances = [
            (ours - theirs).square().mean() / theirs.var((0, 2, 3)).mean().clamp_min(1e-6)
            for ours, theirs in zip(self.features(images), wanted, strict=True)
        ]
        return torch.stack(distances).mean()


def perceptual_distance(
    pictures: Pictures,
    held_out: Pictures,
    *,
    recipe: GeneratorRecipe,
    device: torch.device,
    state: Path,
    identity: dict[str, Any],
) -> tuple[PerceptualDistance, History]:
    """The distance by a network that was fine-tuned to tell the pictures' classes apart.

    Args:
        pictures: to learn from.
        held_out: to measure on.
        recipe: ``perceptual_epochs``, 0 for ImageNet's weights as they are; seed and augmentation.
        device: where to compute.
        state: file of the training's state.
        identity: what the result depends on.

    Returns:
        The distance, frozen and in eval mode, and a row an epoch: stage, epoch, train_loss, held_out_top1 (0..1),
        seconds.

    Raises:
        InputError: the packages of the extra ``imagenet`` are not installed.
    """
    torch.manual_seed(recipe.seed)
    random = torch.Generator().manual_seed(recipe.seed)
    history: History = []
    if not recipe.perceptual_epochs:
        distance = place(PerceptualDistance(), device)
    else:
        distance = place(PerceptualDistance(len(pictures.class_names)), device)
        optimizer = torch.optim.AdamW(distance.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        parts: dict[str, Any] = {"model": distance, "optimizer": optimizer}
        loop = Loop(
            "perceptual", len(pictures), BATCH, recipe.perceptual_epochs, random, parts, state, identity,
            recipe.save_every,
        )  # fmt: skip
        schedule = warm_up_then_cosine(optimizer, loop.epochs * loop.steps_per_epoch)
        parts["schedule"] = schedule
        loop.resume()
        labels = torch.from_numpy(pictures.labels)
        for rows, last in loop.steps():
            distance.train()
            images = augment(pictures_at(pictures.images, rows), recipe.augmentation, random)
            loss = F.cross_entropy(distance.logits(place_images(images, device)), labels[rows].to(device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            loop.total += loss.item()
            if last:
                loop.end_epoch(held_out_top1=_accuracy(distance, held_out, device))
        history = loop.history
    return distance.eval().requires_grad_(False), history


@torch.no_grad()
def _accuracy(distance: PerceptualDistance, pictures: Pictures, device: torch.device, batch: int = 250) -> float:
    """Share of pictures whose class the network finds."""
    distance.eval()
    labels, right = torch.from_numpy(pictures.labels), 0
    for rows in torch.arange(len(pictures)).split(batch):
        found = distance.logits(place_images(pictures_at(pictures.images, rows), device)).argmax(1)
        right += int((found.cpu() == labels[rows]).sum())
    return right / len(pictures)
