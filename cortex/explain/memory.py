"""How many inputs of a network one backward pass can take, by the memory that it keeps for them."""

import torch
from torch import Tensor, nn

ON_CPU = 1024**3  # bytes that a backward pass keeps at most
GPU_SHARE = 4  # a part of a GPU's memory: one of so many


def inputs_at_once(network: nn.Module, inputs: Tensor) -> int:
    """How many inputs a backward pass of the network can take; at least one.

    One input is sent through the network, and the memory of the tensors that autograd keeps is added up. The bound
    is 1 GiB on a CPU and a quarter of a GPU's memory; it depends on nothing else, so results repeat.

    Args:
        network: in eval mode.
        inputs: float ``[B, ...]``; the first one is tried.
    """
    kept: dict[int, int] = {}
    own = {weight.untyped_storage().data_ptr() for weight in (*network.parameters(), *network.buffers())}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = network(inputs[:1].detach().clone().requires_grad_())
    del result
    return max(1, _bound(inputs.device) // max(1, sum(kept.values())))


def _bound(device: torch.device) -> int:
    if device.type == "cuda":
        total: int = torch.cuda.get_device_properties(device).total_memory
        return total // GPU_SHARE
    return ON_CPU
