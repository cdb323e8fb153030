"""Arithmetic, counted."""

from collections.abc import Callable

from torch.utils.flop_counter import FlopCounterMode


def count_flops(work: Callable[[], object]) -> float:
    """FLOP of the matrix products and convolutions of ``work``, whose tensors may be on the meta device."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()
