"""Vector-quantized image generators: a class as a token grid and as an image (METHOD.md, section 1)."""

from cortex.core.registry import Registry

GENERATORS = Registry("generator", {"taming": "cortex.generators.taming:FAMILY"})
