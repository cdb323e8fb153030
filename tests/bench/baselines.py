"""Plain formulations, the baselines of the bench.

``released_…`` does what the authors' released scripts do, operation by operation: their networks lie in torch's default
memory layout, and all weights are parameters that require gradients. Readings and files are left out. Each docstring
says what else differs.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from taming.modules.transformer.mingpt import GPT
from torch import Tensor, nn
from torch.nn import functional as F

from cortex.explain.settings import Region
from cortex.generators.choice import choose_tokens


def released_importance(network: nn.Module, embeddings: Tensor, noise: Tensor, labels: Tensor) -> Tensor:
    """Importance: for every noisy copy of a batch, one backward pass an image, each through the whole batch.

    Differences from the released code: the noise is given, since ours draws other numbers, and its range is of the
    image. The gradient is not kept differentiable. The released code keeps the graphs of all gradients, which takes
    memory and no arithmetic.

    Args:
        network: in eval mode.
        embeddings: float ``[B, d, h, w]``.
        noise: of every copy, ``[copies, B, d, h, w]``.
        labels: int64 ``[B]``.

    Returns:
        Scores ``[B, h, w]``.
    """
    total = torch.zeros_like(embeddings, dtype=torch.float64)
    for each in noise:
        noisy = (embeddings + each).requires_grad_()
        logits = network(noisy)
        gradients = []
        for image, label in enumerate(labels):
            wanted = torch.zeros_like(logits)
            wanted[image, label] = 1
            (gradient,) = torch.autograd.grad(logits, noisy, wanted, retain_graph=True)
            gradients.append(gradient[image])
        total += torch.stack(gradients)
    return (total / len(noise)).amax(1)


def released_search(
    network: nn.Module,
    codebook: nn.Parameter,
    grid: Tensor,
    target: int,
    region: Region,
    start: Tensor,
    *,
    learning_rate: float = 0.01,
    draw: Callable[[torch.Size], Tensor] = torch.rand,
) -> Iterator[Tensor]:
    """Codebook search: logits of all positions of one image; those outside of the region are held by gradients of 0.

    A step draws Gumbel noise for all positions and multiplies a one-hot matrix by the codebook. Its backward pass
    computes and adds up the gradients of the network's weights and of the codebook, which nothing reads.

    Differences from the released code: the region's first logits are given. The term of weight 0 of the objective is
    left out.

    Args:
        network: in eval mode.
        codebook: ``[K, d]``.
        grid: int64 ``[h, w]``.
        target: the class to read as.
        region: within the grid.
        start: first logits of the region's positions, ``[p, K]``.
        learning_rate: of Adam.
        draw: uniform numbers of a shape.

    Yields:
        After every step, the logits ``[h · w, K]``.
    """
    places, temperature = region.positions(grid.shape[1]), 1.0
    logits = torch.full((grid.numel(), len(codebook)), -300.0)
    logits[torch.arange(grid.numel()), grid.flatten()] = 300.0
    logits[places] = start
    logits.requires_grad_()
    searched = torch.zeros_like(logits)
    searched[places] = 1
    adam = torch.optim.Adam([logits], lr=learning_rate)
    while True:
        adam.zero_grad()
        gumbel = -torch.log(-torch.log(draw(logits.shape) + 1e-20) + 1e-20)
        soft = ((logits + gumbel) / temperature).softmax(-1)
        hard = torch.zeros_like(soft).scatter_(-1, soft.max(-1, keepdim=True).indices, 1.0)
        one_hot = (hard - soft).detach() + soft
        embedding = (one_hot @ codebook).unflatten(0, grid.shape).permute(2, 0, 1)[None]
        loss = -network(embedding)[0, target]
        loss.backward()
        logits.grad *= searched
        adam.step()
        yield logits.detach()


def released_embedding_search(
    network: nn.Module, embedding: Tensor, target: int, region: Region, *, learning_rate: float = 0.01
) -> Iterator[Tensor]:
    """The embedding baseline of the codebook search: the whole embedding of one image, its gradient 0 outside.

    The gradients of the network's weights are computed and added up, though nothing reads them. Difference from the
    released code: the term of weight 0 of the objective is left out.

    Args:
        network: in eval mode.
        embedding: ``[1, d, h, w]``.
        target: the class to read as.
        region: within the grid.
        learning_rate: of Adam.

    Yields:
        After every step, the embedding.
    """
    rows, columns = (slice(*span) for span in region.window)
    whole = embedding.clone().requires_grad_()
    searched = torch.zeros_like(whole)
    searched[:, :, rows, columns] = 1
    adam = torch.optim.Adam([whole], lr=learning_rate)
    while True:
        adam.zero_grad()
        loss = -network(whole)[0, target]
        loss.backward()
        whole.grad *= searched
        adam.step()
        yield whole.detach()


def released_masks(grid: Sequence[int], order: Sequence[int], n: int) -> list[bool]:
    """Image level: of every position of an image, whether its code stands at one of the first n positions of an order.

    It is part of the check alone. The released masks are those of importance and of random positions.
    """
    chosen = [grid[position] for position in order[:n]]
    return [code in chosen for code in grid]


def judge_passes(network: nn.Module, pictures: Iterable[Tensor]) -> list[Tensor]:
    """Image level: the judge's forward passes on pictures that are masked already, a batch at a time.

    It stands for no released code: it is the least that an evaluation can take. The released script judges one
    picture at a time, and masks it pixel by pixel.
    """
    with torch.inference_mode():
        return [network(each) for each in pictures]


def count_by_dictionaries(labels: Sequence[int], tokens: Sequence[Sequence[int]]) -> dict[int, dict[int, int]]:
    """Concept counting: a dictionary of counts a label, an image and a token at a time.

    Differences from the released code: that sorts each image's scores first, counts for four numbers of positions, and
    keeps the names of all files that a token was found in.
    """
    counts: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for label, row in zip(labels, tokens, strict=True):
        of_label = counts[label]
        for token in row:
            of_label[token] += 1
    return counts


def uncached(gpt: GPT, classes: Tensor, uniforms: Tensor) -> Tensor:
    """Sampling: taming's forward pass on the whole sequence so far, at every step.

    The network is taming's own. Difference from taming's loop: a given uniform number chooses the token.
    """
    sequence = classes[:, None]
    for step in range(uniforms.shape[1]):
        logits, _ = gpt(sequence)
        sequence = torch.cat([sequence, choose_tokens(logits[:, -1], uniforms[:, step])[:, None]], 1)
    return sequence[:, 1:]


def cached(gpt: GPT, classes: Tensor, uniforms: Tensor) -> Tensor:
    """Sampling with a cache of keys and values that grows by concatenation, as taming's ``sample_with_past``.

    That keeps the results of every step, ``[layers, 2, B, heads, 1, C / heads]``, in a list, which is concatenated at
    every step. Then every layer appends its new key and value once more. Difference from taming's loop: a given uniform
    number chooses the token.
    """
    heads, steps, current, drawn = gpt.config.n_head, [], classes[:, None], []
    for step in range(uniforms.shape[1]):
        x = gpt.tok_emb(current) + gpt.pos_emb[:, step : step + 1]
        past, new = torch.cat(steps, dim=-2) if steps else None, []
        for layer, block in enumerate(gpt.blocks):
            normed, attention = block.ln1(x), block.attn
            query, key, value = (
                projection(normed).view(len(x), 1, heads, -1).transpose(1, 2)
                for projection in (attention.query, attention.key, attention.value)
            )
            new.append(torch.stack((key, value)))
            if past is not None:
                key = torch.cat([past[layer, 0], key], dim=2)
                value = torch.cat([past[layer, 1], value], dim=2)
            weights = (query @ key.transpose(-2, -1) * key.shape[-1] ** -0.5).softmax(-1)
            x = x + attention.proj((weights @ value).transpose(1, 2).reshape(len(x), 1, -1))
            x = x + block.mlp(block.ln2(x))
        steps.append(torch.stack(new))
        current = choose_tokens(gpt.head(gpt.ln_f(x))[:, 0], uniforms[:, step])[:, None]
        drawn.append(current)
    return torch.cat(drawn, 1)


def released_training(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[float]:
    """Training of an extractor: steps of Adam on embeddings float32 that are in memory.

    Differences from the released code: that reads every embedding from a file of its own, and takes batches of 512.

    Args:
        network: is trained.
        batches: embeddings ``[B, d, h, w]`` and labels ``[B]``.

    Yields:
        The loss of every step.
    """
    network.train()
    adam = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=1e-4)
    for embeddings, labels in batches:
        adam.zero_grad()
        loss = F.cross_entropy(network(embeddings), labels)
        loss.backward()
        adam.step()
        yield loss.item()


ALL = (
    released_importance,
    released_search,
    released_embedding_search,
    released_masks,
    judge_passes,
    count_by_dictionaries,
    uncached,
    cached,
    released_training,
)
