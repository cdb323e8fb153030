"""Information extractors: classifiers of concepts from token embeddings (METHOD.md, section 3).

An extractor's network is an ``nn.Module`` whose constructor takes ``channels``, ``classes``, ``grid`` and the fields
named in ``shape`` of its settings, the class attribute ``Settings``.
"""

from cortex.core.errors import InputError, shown
from cortex.core.registry import Registry
from cortex.extractors import settings as own

EXTRACTORS = Registry(
    "extractor",
    {
        "cnn": "cortex.extractors.cnn:CNN",
        "cnn_deep": "cortex.extractors.cnn:DeepCNN",
        "resnet": "cortex.extractors.resnet:ResNet",
        "transformer": "cortex.extractors.transformer:Transformer",
    },
)
# Settings of this package's networks, found without importing torch. The networks have them as ``Settings``, too.
_SETTINGS: dict[str, type[own.ExtractorSettings]] = {
    "cnn": own.CnnSettings,
    "cnn_deep": own.CnnSettings,
    "resnet": own.ResnetSettings,
    "transformer": own.TransformerSettings,
}


def extractor_settings(network: str) -> type[own.ExtractorSettings]:
    """The class of a network's settings.

    Raises:
        InputError: there is no such network, or it cannot be imported.
    """
    if network in _SETTINGS:
        return _SETTINGS[network]
    found = getattr(EXTRACTORS.load(network), "Settings", None)
    if not (isinstance(found, type) and issubclass(found, own.ExtractorSettings)):
        raise InputError(f"extractor {shown(network)}: no extractor: its Settings are no cortex.ExtractorSettings")
    return found
