"""One training by several processes, each on a GPU of its own: torchrun --nproc-per-node 4 -m cortex train-extractor.

Every process takes its part of every batch; gradients and the statistics of batch norm are those of the whole batch.
So the result is that of one process, up to rounding and to which units dropout drops.
"""

import atexit
import gc
import logging
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cortex.core.randomness import key_seeds


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of a training, and which of them this one is; by itself, a process is a team of one."""

    rank: int = 0
    size: int = 1

    def part(self, batch: Tensor) -> Tensor:
        """This process's part of a batch ``[B, ...]``; it may be empty."""
        return batch.tensor_split(self.size)[self.rank]

    def total(self, values: Tensor) -> Tensor:
        """The sum of a tensor over the processes."""
        if self.size == 1:
            return values
        values = values.clone()
        dist.all_reduce(values)
        return values

    def any(self, here: bool) -> bool:
        """Whether it is so in any process; they wait for each other."""
        return bool(self.total(torch.tensor(int(here))))

    def gather(self, values: Tensor) -> list[Tensor]:
        """The tensor, on a CPU, of every process."""
        if self.size == 1:
            return [values]
        gathered = [torch.empty_like(values) for _ in range(self.size)]
        dist.all_gather(gathered, values)
        return gathered

    def share(self, model: nn.Module, seed: int) -> nn.Module:
        """The network for training steps: the same weights, batch norm over all processes, gradients averaged.

        From here on every process drops out units of its own.
        """
        if self.size == 1:
            return model
        device = next(model.parameters()).device
        if device.type == "cuda":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        else:
            for module in model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.forward = partial(_norm_over_all, module)  # type: ignore[method-assign]
        if self.rank:
            torch.manual_seed(int(key_seeds(seed, "dropout", [str(self.rank)])[0]))
        return DistributedDataParallel(model)


ALONE = ProcessGroup()


def join_process_group(device: torch.device) -> ProcessGroup:
    """The team of the processes that torchrun started; of one, if it started none."""
    if not dist.is_torchelastic_launched():
        return ALONE
    if not dist.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
        atexit.register(_leave)
    team = ProcessGroup(dist.get_rank(), dist.get_world_size())
    if team.rank:
        logging.disable(logging.INFO)  # one of them tells how it goes
    return team


def _leave() -> None:
    # What DistributedDataParallel holds of the group has to go first: as the last to let go of it, it waits forever
    # for the group's threads, which wait for the interpreter's lock that it holds.
    gc.collect()
    dist.destroy_process_group()


class _Sum(torch.autograd.Function):
    """A sum over the processes, whose gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


def _norm_over_all(norm: Any, x: Tensor) -> Tensor:
    """What a BatchNorm1d or BatchNorm2d does, with the statistics of all processes, for CPUs, where torch has none."""
    if not norm.training:
        return type(norm).forward(norm, x)
    x = x.float()
    positions = [dimension for dimension in range(x.ndim) if dimension != 1]
    ones = [1, -1] + [1] * (x.ndim - 2)
    count = _Sum.apply(x.new_tensor(x.numel() // x.shape[1]))
    mean = _Sum.apply(x.sum(positions)) / count
    centred = x - mean.view(ones)
    variance = _Sum.apply(centred.square().sum(positions)) / count
    with torch.no_grad():
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * count / (count - 1), norm.momentum)
        norm.num_batches_tracked += 1
    scale = norm.weight / (variance + norm.eps).sqrt()
    return centred * scale.view(ones) + norm.bias.view(ones)
