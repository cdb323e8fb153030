"""A generator of few lines, as another package would add one: ``generator: {family: "tests.toy_generator:FAMILY"}``.

Ten classes differ in how often they use each of 32 codes; a code paints a tile of 4×4 pixels in a colour of its own.
"""

import torch
from torch.nn import functional as F

from cortex.core.cost import GeneratorCost
from cortex.core.errors import InputError
from cortex.core.randomness import uniforms
from cortex.generators.choice import choose_tokens, classes_of_rows, guide
from cortex.generators.pixels import from_bytes, to_bytes
from cortex.generators.spec import GeneratorSpec

TILE = 4
SPEC = GeneratorSpec(
    class_names=tuple(f"toy {label}" for label in range(10)),
    grid=(8, 8),
    codes=32,
    channels=8,
    image=(8 * TILE, 8 * TILE),
    pixels=(0.0, 1.0),
    samples=True,
    decodes=True,
    encodes=True,
    prior=True,
    guidance=True,
)


class ToyGenerator:
    """Every token is drawn from the frequencies of its class, whatever stands beside it."""

    spec, null_class = SPEC, len(SPEC.class_names)

    def __init__(self, device):
        random = torch.Generator().manual_seed(0)
        self.device = device
        self.codebook = torch.randn(SPEC.codes, SPEC.channels, generator=random).to(device)
        logits = torch.randn(len(SPEC.class_names), SPEC.codes, generator=random).to(device)
        self.logits = torch.cat([logits, logits.mean(0, keepdim=True)])  # of every class, and of the null class
        self.colours = torch.rand(SPEC.codes, 3, generator=random).to(device)

    def compose(self, vectors):
        return vectors.transpose(1, 2).unflatten(2, SPEC.grid)

    def sample(self, classes, seeds, sampling):
        numbers = torch.as_tensor(uniforms(seeds, SPEC.grid[0] * SPEC.grid[1]), device=self.device)
        classes = torch.as_tensor(classes, device=self.device)
        logits = self.logits[classes_of_rows(classes, self.null_class, sampling)]
        tokens = []
        for column, strength in zip(numbers.unbind(1), sampling.strengths(numbers.shape[1]), strict=True):
            guided = logits if sampling.rows == 1 else guide(logits, strength)
            tokens.append(choose_tokens(guided, column, **sampling.choice))
        return torch.stack(tokens, 1).view(-1, *SPEC.grid)

    def decode(self, grids):
        colours = self.colours[grids.to(self.device, torch.int64)].permute(0, 3, 1, 2)
        return to_bytes(F.interpolate(colours, scale_factor=TILE), SPEC.pixels)

    def encode(self, images):
        colours = F.avg_pool2d(from_bytes(images.to(self.device), SPEC.pixels), TILE).permute(0, 2, 3, 1)
        return (colours[..., None, :] - self.colours).square().sum(-1).argmin(-1)

    def prior(self):
        return self

    def log_probabilities(self, classes, tokens, positions):
        return self.logits[classes].log_softmax(-1)[:, None].expand(-1, len(positions), -1)


class FAMILY:
    """The family: it has no weights file, and states what it is made of below."""

    spec = staticmethod(lambda origin: SPEC)
    files = staticmethod(lambda origin: [])
    load = staticmethod(lambda weights, device, **options: ToyGenerator(device))
    recognises = staticmethod(lambda names: False)
    codebook = staticmethod(lambda weights: ToyGenerator(torch.device("cpu")).codebook)
    cost = staticmethod(lambda origin, *, batch, half: GeneratorCost(0, 0, 0, (0,) * 65, 0))

    @staticmethod
    def convert(output, origin):
        raise InputError("the toy generator has no checkpoints to convert")
