"""A generator and two judges of the paper's shapes, 1000 classes and 16,384 codes, whose arithmetic is little."""

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from cortex.core.cost import GeneratorCost
from cortex.core.errors import InputError
from cortex.core.randomness import uniforms
from cortex.core.weights import read_weights
from cortex.generators.pixels import to_bytes
from cortex.generators.spec import GeneratorSpec
from cortex.judges.settings import PretrainedJudge

CLASSES, CODES, TILE, OWN, SHARE = 1000, 16_384, 2, 64, 0.3
SPEC = GeneratorSpec(
    class_names=tuple(f"class {label}" for label in range(CLASSES)),
    grid=(16, 16),
    codes=CODES,
    channels=4,
    image=(16 * TILE, 16 * TILE),
    pixels=(0.0, 1.0),
    samples=True,
    decodes=True,
)


class SmallGenerator:
    """A share of the tokens of an image are among the 64 codes of its class; the others are common codes mostly."""

    spec = SPEC

    def __init__(self, device):
        random = torch.Generator().manual_seed(0)
        self.device = device
        self.codebook = torch.randn(CODES, SPEC.channels, generator=random).to(device)
        self.own = torch.randint(CODES, (CLASSES, OWN), generator=random).to(device)
        self.colours = torch.rand(CODES, 3, generator=random).to(device)

    def compose(self, vectors):
        return vectors.transpose(1, 2).unflatten(2, SPEC.grid)

    def sample(self, classes, seeds, sampling):
        numbers = torch.as_tensor(uniforms(seeds, SPEC.grid[0] * SPEC.grid[1]), device=self.device)
        own = (numbers / SHARE * OWN).long().clamp_(max=OWN - 1)
        common = (((numbers - SHARE) / (1 - SHARE)).clamp_(min=0) ** 3 * CODES).long().clamp_(max=CODES - 1)
        of_class = self.own[torch.as_tensor(classes, device=self.device)].gather(1, own)
        return torch.where(numbers < SHARE, of_class, common).view(-1, *SPEC.grid)

    def decode(self, grids):
        colours = self.colours[grids.to(self.device, torch.int64)].permute(0, 3, 1, 2)
        return to_bytes(F.interpolate(colours, scale_factor=TILE), SPEC.pixels)

    def encode(self, images):
        raise InputError("this generator has no encoder")

    def prior(self):
        return None


class FAMILY:
    """The family: it has no weights file."""

    spec = staticmethod(lambda origin: SPEC)
    files = staticmethod(lambda origin: [])
    load = staticmethod(lambda weights, device, **options: SmallGenerator(device))
    recognises = staticmethod(lambda names: False)
    codebook = staticmethod(lambda weights: SmallGenerator(torch.device("cpu")).codebook)
    cost = staticmethod(lambda origin, *, batch, half: GeneratorCost(0, 0, 0, (), 0))

    @staticmethod
    def convert(output, origin):
        raise InputError("the generator of the rehearsal has no checkpoints to convert")


class LinearSettings(PretrainedJudge):
    """A judge of the 1000 classes."""

    classes: ClassVar[int | None] = CLASSES


class Coarse(nn.Module):
    """A linear classifier of the mean colours of an image's cells; its weights are random."""

    Settings: ClassVar = LinearSettings
    cells: ClassVar[int] = 4

    def __init__(self, classes: int):
        super().__init__()
        self.fc = nn.Linear(3 * self.cells**2, classes)

    @classmethod
    def pretrained(cls, weights=None):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            judge = cls(CLASSES)
        if weights is not None:
            judge.load_state_dict(read_weights(weights)[0])
        return judge

    def forward(self, images):
        """Logits ``[B, classes]`` of images ``[B, 3, H, W]``."""
        return self.fc(F.adaptive_avg_pool2d(images, self.cells).flatten(1))


class Fine(Coarse):
    """The same of more cells."""

    cells: ClassVar[int] = 8
