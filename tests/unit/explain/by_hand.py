"""What several test files share: small extractors, and the definitions of all scores, one image at a time."""

import numpy as np
import torch

from cortex.extractors.network import build_extractor

SETTINGS = {
    "cnn": {"channels": 5, "classes": 3, "grid": (8, 8), "width": 8, "hidden": 16},
    "resnet": {"channels": 5, "classes": 3, "grid": (8, 8), "width": 16, "hidden": 16},
    "transformer": {"channels": 5, "classes": 3, "grid": (8, 8), "width": 8, "layers": 2, "heads": 2, "mlp": 16},
}


def extractor(name):
    torch.manual_seed(1)
    network = build_extractor(name, **SETTINGS[name])
    with torch.no_grad():  # batch norms that have seen data
        network.train()
        for _ in range(40):
            network(torch.randn(16, 5, 8, 8))
    return network.eval().requires_grad_(False)


def importance_of_one_image(network, embedding, label, seed, samples, noise, reduction):
    """METHOD.md, section 4, one image and one noisy copy at a time: scores [h, w]."""
    spread = noise * (embedding.max() - embedding.min())
    epsilon = torch.randn((samples, *embedding.shape), generator=torch.Generator().manual_seed(seed))
    total = torch.zeros_like(embedding)
    for sample in range(samples):
        noisy = (embedding + spread * epsilon[sample]).requires_grad_()
        network(noisy[None])[0, label].backward()
        total += noisy.grad
    mean = total / samples
    return mean.max(dim=0).values if reduction == "max" else mean.mean(dim=0)


def logit_and_gradient(network, embedding, label):
    embedding = embedding.clone().requires_grad_()
    logit = network(embedding[None])[0, label]
    (gradient,) = torch.autograd.grad(logit, embedding)
    return logit.item(), gradient


def scores_of_one_image(method, network, embedding, label, nothing, steps=20):
    """The definitions, one image, one step and one position at a time: scores [h, w]."""
    logit, gradient = logit_and_gradient(network, embedding, label)
    if method == "gradient":
        return gradient.max(0).values
    if method == "gradient_input":
        return sum(gradient[channel] * embedding[channel] for channel in range(len(embedding)))
    empty = nothing[:, None, None].expand_as(embedding)
    if method == "integrated_gradients":
        total = torch.zeros_like(embedding)
        for node, weight in zip(*np.polynomial.legendre.leggauss(steps), strict=True):  # of an integral from -1 to 1
            between = empty + (node + 1) / 2 * (embedding - empty)
            total += logit_and_gradient(network, between, label)[1] * weight / 2
        return (total * (embedding - empty)).sum(0)
    assert method == "occlusion"
    scores = torch.zeros_like(embedding[0])
    for row in range(scores.shape[0]):
        for column in range(scores.shape[1]):
            occluded = embedding.clone()
            occluded[:, row, column] = nothing
            scores[row, column] = logit - network(occluded[None])[0, label]
    return scores
