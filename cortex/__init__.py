"""CORTEX: which codebook tokens of a vector-quantized image generator carry a concept.

The subpackages follow the order of the work: :mod:`cortex.generate`, :mod:`cortex.extractors`,
:mod:`cortex.explain`, :mod:`cortex.judges`, :mod:`cortex.evaluate`, :mod:`cortex.report`.
"""

__version__ = "0.1.0"
