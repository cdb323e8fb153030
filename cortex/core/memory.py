"""The memory that a backward pass keeps, counted, and how many inputs of a network one can take by it."""

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

ON_CPU = 1024**3  # bytes that a backward pass keeps at most
GPU_SHARE = 4  # a part of a GPU's memory: one of so many


def kept_bytes(network: nn.Module, inputs: Tensor) -> int:
    """Bytes of the tensors that autograd keeps for a backward pass, beside the network's own weights.

    Args:
        network: in the mode that it computes in; it may be on the meta device.
        inputs: float ``[B, ...]``, on the network's device.
    """
    own = {StorageWeakRef(each.untyped_storage()) for each in (*network.parameters(), *network.buffers())}
    kept: dict[StorageWeakRef, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[StorageWeakRef(storage)] = storage.nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = network(inputs.detach().clone().requires_grad_())
    del result
    return sum(size for storage, size in kept.items() if storage not in own)


def inputs_at_once(network: nn.Module, inputs: Tensor) -> int:
    """How many inputs a backward pass of the network can take; at least one.

    The bound is 1 GiB on a CPU and a quarter of a GPU's memory; it depends on nothing else, so results repeat.

    Args:
        network: in eval mode.
        inputs: float ``[B, ...]``; the first one is tried.
    """
    return max(1, _bound(inputs.device) // max(1, kept_bytes(network, inputs[:1])))


def _bound(device: torch.device) -> int:
    if device.type == "cuda":
        total: int = torch.cuda.get_device_properties(device).total_memory
        return total // GPU_SHARE
    return ON_CPU
