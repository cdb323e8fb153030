"""How many images an encoder or a decoder takes at once: memory is bounded by pixels, whatever the batch."""

from cortex.generators.spec import GeneratorSpec

PIXELS = 1 << 20  # the networks hold some hundred numbers for each


def images_at_once(spec: GeneratorSpec) -> int:
    """Images of a generator to encode or decode at once; at least one."""
    height, width = spec.image
    return max(1, PIXELS // max(1, height * width))
