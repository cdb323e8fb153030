"""Vector-quantized image generators: a class as a token grid and as an image (METHOD.md, section 1).

A *family* (:mod:`cortex.generators.base`) is one kind of generator, in a folder or module of its own. The rest of the
package asks :mod:`cortex.generators.load` for generators and names no family's networks.
"""

from cortex.core.registry import Registry

DEFAULT_FAMILY = "taming"
GENERATORS = Registry(
    "generator",
    {
        "taming": "cortex.generators.taming:FAMILY",
        "llamagen": "cortex.generators.llamagen:FAMILY",
        "rar": "cortex.generators.rar:FAMILY",
        "ibq": "cortex.generators.ibq:FAMILY",
        "maskgit_pytorch": "cortex.generators.maskgit:FAMILY",
        "halton": "cortex.generators.halton:FAMILY",
        "var": "cortex.generators.var:FAMILY",
        "dalle_mini": "cortex.generators.dalle_mini:FAMILY",
        "janus": "cortex.generators.janus:FAMILY",
        "codebook": "cortex.generators.codebook_only:FAMILY",
        "tokenizer": "cortex.generators.tokenizer:FAMILY",
    },
)
