"""Which device a process computes on."""

import fcntl
import os

import pytest
import torch

from cortex.core.device import choose_device, own_gpu
from cortex.core.errors import InputError


def test_processes_that_run_at_once_get_gpus_of_their_own(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    another_process = own_gpu.__wrapped__  # without the cache, every call is as if from another process
    assert [another_process() for _ in range(3)] == [0, 1, 2]
    assert len(os.listdir(tmp_path)) == 3


def test_where_all_gpus_are_taken_a_process_waits_for_one(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    held = [os.open(tmp_path / f"cortex-{os.getuid()}-gpu-{gpu}", os.O_WRONLY | os.O_CREAT) for gpu in (0, 1)]
    for lock in held:
        fcntl.flock(lock, fcntl.LOCK_EX)
    waited = []

    def another_job_ends(seconds):
        waited.append(seconds)
        if len(waited) == 3:
            os.close(held[1])

    monkeypatch.setattr("time.sleep", another_job_ends)
    assert own_gpu.__wrapped__() == 1
    assert len(waited) == 3
    os.close(held[0])


def test_the_gpus_that_a_process_sees_are_told_apart_by_their_names(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    another_process = own_gpu.__wrapped__
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert another_process() == 0
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert another_process() == 0
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,3")
    assert another_process() == 1


def test_a_process_keeps_its_gpu(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    own_gpu.cache_clear()
    assert own_gpu() == own_gpu()
    own_gpu.cache_clear()


def test_auto_is_the_cpu_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")


def test_a_device_that_this_machine_has_not_is_named():
    with pytest.raises(InputError, match="device 'cuda:99' cannot be used"):
        choose_device("cuda:99")
