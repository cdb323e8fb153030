"""Draw token grids from taming-transformers' GPT with a key/value cache, by inverse-CDF sampling.

One uniform number a sample and step decides the token, so a grid is a function of its class and its numbers.
"""

import torch
from taming.modules.transformer.mingpt import GPT
from torch import Tensor
from torch.nn import functional as F


@torch.inference_mode()
def sample_tokens(
    gpt: GPT,
    classes: Tensor,
    uniforms: Tensor,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Tensor:
    """Token sequences int64 ``[B, T]``, one for every class of ``[B]``.

    Args:
        gpt: in eval mode; the class index is the first token of its context, the T tokens follow.
        classes: int64 ``[B]``.
        uniforms: float64 ``[B, T]`` in [0, 1), the only randomness.
        temperature, top_k, top_p: see :func:`choose_tokens`.
    """
    batch, steps = uniforms.shape
    heads, width, layers = gpt.config.n_head, gpt.config.n_embd, len(gpt.blocks)
    # The three projections of a layer as one product: fewer, larger multiplications.
    attention = [block.attn for block in gpt.blocks]
    weights = [torch.cat([a.query.weight, a.key.weight, a.value.weight]) for a in attention]
    biases = [torch.cat([a.query.bias, a.key.bias, a.value.bias]) for a in attention]
    cache = gpt.pos_emb.new_empty(layers, 2, batch, heads, steps, width // heads)
    tokens = torch.empty(batch, steps, dtype=torch.int64, device=classes.device)
    current = classes
    for step in range(steps):
        x = gpt.tok_emb(current) + gpt.pos_emb[:, step]
        for layer, block in enumerate(gpt.blocks):
            projected = F.linear(block.ln1(x), weights[layer], biases[layer])
            query, key, value = projected.view(batch, 3, heads, 1, width // heads).unbind(1)
            cache[layer, 0, :, :, step], cache[layer, 1, :, :, step] = key[:, :, 0], value[:, :, 0]
            keys, values = cache[layer, :, :, :, : step + 1]
            mixed = F.scaled_dot_product_attention(query, keys, values)
            x = x + block.attn.proj(mixed.reshape(batch, width))
            x = x + block.mlp(block.ln2(x))
        current = choose_tokens(
            gpt.head(gpt.ln_f(x)), uniforms[:, step], temperature=temperature, top_k=top_k, top_p=top_p
        )
        tokens[:, step] = current
    return tokens


def choose_tokens(
    logits: Tensor,
    uniforms: Tensor,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Tensor:
    """The token int64 ``[B]`` at which the cumulative distribution of logits ``[B, K]`` passes ``uniforms [B]``.

    Args:
        temperature: divides the logits; below 1 sharpens.
        top_k: keep the k most probable tokens; None keeps all.
        top_p: of those, keep the smallest set of most probable tokens whose probability exceeds p; None keeps all.
            Tokens exactly as probable as the last one kept are kept with it, here and for ``top_k``.
    """
    logits = logits.double()
    logits = (logits - logits.amax(dim=1, keepdim=True)) / temperature  # at most 0: no temperature overflows
    if top_k is not None or top_p is not None:
        best = logits.topk(min(top_k or logits.shape[1], logits.shape[1]), dim=1).values
        kept = torch.ones_like(best, dtype=torch.bool)
        if top_p is not None:
            probabilities = best.softmax(dim=1)
            kept = probabilities.cumsum(dim=1) - probabilities <= top_p
        threshold = best.masked_fill(~kept, float("inf")).amin(dim=1, keepdim=True)
        logits = logits.masked_fill(logits < threshold, float("-inf"))
    # Tokens in codebook order: a last-bit difference in a logit then moves a boundary by its last bits only.
    cumulative = logits.softmax(dim=1).cumsum(dim=1)
    passed = cumulative <= (uniforms * cumulative[:, -1])[:, None]
    return passed.sum(dim=1).clamp_(max=logits.shape[1] - 1)
