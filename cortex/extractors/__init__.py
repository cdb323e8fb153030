"""Information extractors: classifiers of concepts from token embeddings (METHOD.md, section 3)."""

# Name → (module, class). Imported on demand: a change in one network leaves the others' results valid.
NETWORKS: dict[str, tuple[str, str]] = {
    "cnn": ("cortex.extractors.cnn", "CNN"),
    "cnn_deep": ("cortex.extractors.cnn", "DeepCNN"),
    "resnet": ("cortex.extractors.resnet", "ResNet"),
    "transformer": ("cortex.extractors.transformer", "Transformer"),
}
