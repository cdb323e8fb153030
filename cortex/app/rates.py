"""Rates of this machine: arithmetic and memory, each timed on one large operation."""

import time
from collections.abc import Callable

import torch
from torch import Tensor


def product_rate(device: torch.device, least: float = 1.0) -> float:
    """FLOP a second of a large matrix product, for ``least`` seconds: bfloat16 on a GPU, float32 on a CPU."""
    gpu = device.type == "cuda"
    side = 8192 if gpu else 1024
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16 if gpu else torch.float32)
    return 2 * side**3 * _rate(lambda: a @ a, device, least)


def copy_rate(device: torch.device, least: float = 1.0) -> float:
    """Bytes a second, read and written, of copies within the device's memory, for ``least`` seconds."""
    source = torch.zeros((1 << 30 if device.type == "cuda" else 1 << 26) // 4, device=device)
    target = torch.zeros_like(source)
    return 2 * 4 * source.numel() * _rate(lambda: target.copy_(source), device, least)


def _rate(work: Callable[[], Tensor], device: torch.device, least: float) -> float:
    """Times a second that ``work`` is done."""
    wait = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    work()
    wait()
    times, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < least or not times:
        for _ in range(4):
            work()
        wait()
        times += 4
    return times / passed
