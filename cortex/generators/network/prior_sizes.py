"""What decides the cost of a prior: numbers of its network. No torch is needed to count with them."""

from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True)
class PriorSize:
    """What decides the cost of a transformer that draws a token a step with a key/value cache.

    Args:
        layers: how many.
        width: channels of an activation, and of a key or value of all heads.
        products: numbers in the matrices of a layer.
        outputs: logits of a token.
        lead: places of a sequence before the class's, at which no token is drawn.
    """

    layers: int
    width: int
    products: int
    outputs: int
    lead: int = 0

    def token_flops(self, steps: int) -> float:
        """FLOP for a sequence of so many tokens."""
        places, outputs = self.lead + steps, self.width * self.outputs
        attention = self.layers * 2 * self.width * places * (places + 1) / 2  # query · key, weight · value, all so far
        return 2 * (places * self.layers * self.products + steps * outputs + attention)

    def cache_bytes(self, steps: int, size: int) -> float:
        """Bytes of keys and values, of ``size`` bytes a number, that drawing a sequence reads."""
        places = self.lead + steps
        return self._place_bytes(size) * places * (places + 1) / 2

    def kept_bytes(self, steps: int, size: int) -> float:
        """Bytes of a sequence's keys and values."""
        return self._place_bytes(size) * (self.lead + steps)

    def sampling_bytes(self, steps: int, batch: int, size: int) -> float:
        """Bytes that drawing a sequence reads: its cache, and its share of the weights, read once a batch and step."""
        weights = 4 * self.width * self.outputs + size * self.layers * self.products  # the head stays float32
        return self.cache_bytes(steps, size) + (self.lead + steps) * weights / batch

    def more_bytes(self, size: int) -> float:
        """Bytes that the weights take more than in the file: large products are converted in place."""
        return -(4 - size) * self.layers * self.products

    def _place_bytes(self, size: int) -> float:
        return self.layers * 2 * self.width * size


@dataclass(frozen=True)
class MaskedSize:
    """What decides the cost of a transformer that reads the whole grid at every step.

    Args:
        layers: how many.
        width: channels of the queries, keys and values of all heads.
        products: numbers in the matrices of a layer.
        outputs: numbers in the matrices after the layers, which the tokens alone pass.
        logits: of a token.
        more: words that it reads beside the tokens.
        entry: numbers in the matrices before the layers.
        once: numbers in matrices that the class alone passes.
    """

    layers: int
    width: int
    products: int
    outputs: int
    logits: int
    more: int
    entry: int = 0
    once: int = 0

    def token_flops(self, positions: int) -> float:
        """FLOP for a step, by so many positions of a grid."""
        places = positions + self.more
        weights = places * (self.entry + self.layers * self.products) + positions * self.outputs + self.once
        return 2 * (weights + self.layers * 2 * self.width * places**2)

    def kept_bytes(self, positions: int, size: int) -> float:
        """Bytes of a row's logits, in float64."""
        return 8 * self.logits * positions

    def sampling_bytes(self, positions: int, batch: int, size: int) -> float:
        """Bytes that a step reads: a row's logits, and its share of the weights, read once a batch."""
        weights = 4 * (self.entry + self.outputs + self.once) + size * self.layers * self.products
        return self.kept_bytes(positions, size) + weights / batch

    def more_bytes(self, size: int) -> float:
        """Bytes that the weights take more than in the file: in 16 bits, large products are copies."""
        return size * self.layers * self.products if size < 4 else 0


@dataclass(frozen=True)
class ScaleSize:
    """What decides the cost of a transformer that draws all tokens of a scale at once, with a key/value cache.

    Args:
        layers: how many.
        width: channels of an activation, and of a key or value of all heads.
        products: numbers in the matrices of a layer.
        logits: of a token.
        channels: of a code.
        once: numbers in matrices that the class alone passes, at every scale.
        sides: rows and columns of every scale, from coarse to fine.
    """

    layers: int
    width: int
    products: int
    logits: int
    channels: int
    once: int
    sides: tuple[int, ...]

    def token_flops(self, positions: int) -> float:
        """FLOP for all positions, the sequence's; tokens see their own scale and all coarser ones."""
        entry = (positions - self.sides[0] ** 2) * self.channels * self.width
        weights = positions * (self.layers * self.products + self.width * self.logits) + len(self.sides) * self.once
        seen = sum(side**2 * end for side, end in zip(self.sides, self._ends(), strict=True))
        return 2 * (entry + weights + self.layers * 2 * self.width * seen)

    def kept_bytes(self, positions: int, size: int) -> float:
        """Bytes of a sequence's keys and values, of ``size`` bytes a number, and of the last scale's float64 logits."""
        return self._place_bytes(size) * positions + 8 * self.logits * self.sides[-1] ** 2

    def sampling_bytes(self, positions: int, batch: int, size: int) -> float:
        """Bytes that drawing a sequence reads: cache, logits, and its share of the weights, once a batch and scale."""
        weights = 4 * (self.width * self.logits + self.once) + size * self.layers * self.products
        read = self._place_bytes(size) * sum(self._ends()) + 8 * self.logits * positions
        return read + len(self.sides) * weights / batch

    def more_bytes(self, size: int) -> float:
        """Bytes that the weights take more than in the file: in 16 bits, large products are copies."""
        return size * self.layers * self.products if size < 4 else 0

    def _ends(self) -> list[int]:
        return list(accumulate(side**2 for side in self.sides))

    def _place_bytes(self, size: int) -> float:
        return self.layers * 2 * self.width * size
