"""Every reader of files returns something, or refuses in one line that names the file, whatever the file holds.

``FUZZ_INPUTS`` sets the number of inputs of a reader of weight 1; with ``-s``, the counts are printed.
"""

import os
import resource
import signal
import sys
import time
import warnings
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cortex.core.errors import InputError
from tests.unit.fuzz.mutators import CANARY
from tests.unit.fuzz.readers import READERS, write_samples

INPUTS = int(os.environ.get("FUZZ_INPUTS", "500"))
SECONDS, MEGABYTES, CHARACTERS = 20, 400, 400  # at most, an input; more memory, a reader; of an error beside the path
NAMES = [f"{place}-{reader.name}" for place, reader in enumerate(READERS)]


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    write_samples(folder)
    return folder


def stop(*_):
    raise TimeoutError(f"no answer in {SECONDS} s")


def check(reader, path, content):
    """Whether the content was refused; fails unless it is read or refused as it should be."""
    path.write_bytes(content)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            reader.read(path)
        return False
    except InputError as error:
        told = str(error)
        names = {path.name, *reader.beside} if reader.beside else {path.name}
        if path.suffix in (".json", ".yaml"):
            names |= {"config: "}
        assert told.isprintable(), "one line"
        assert any(name in told for name in names), told
        assert len(told.replace(str(path), "")) <= CHARACTERS, told
        return True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@pytest.mark.parametrize("reader", READERS, ids=NAMES)
def test_what_a_reader_cannot_use_is_refused_in_one_line(reader, samples, tmp_path):
    before = signal.signal(signal.SIGALRM, stop)
    for name in (reader.name, *reader.beside):
        (tmp_path / name).write_bytes((samples / name).read_bytes())
    path = tmp_path / reader.name
    whole, counts, memory, begun = path.read_bytes(), [0, 0], _peak(), time.process_time()

    @settings(max_examples=max(1, int(INPUTS * reader.weight)), database=None, suppress_health_check=list(HealthCheck))
    @given(seed=st.integers(0, 2**64 - 1))
    def run(seed):
        counts[check(reader, path, reader.change(Random(seed), whole))] += 1

    assert check(reader, path, whole) is False, "the file as it is"
    try:
        run()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert CANARY not in sys.modules
    assert _peak() - memory < MEGABYTES, "MB"
    print(f"\n{reader.name}: {sum(counts)} inputs, {counts[0]} read, {time.process_time() - begun:.1f} s")


def _peak():
    """The most memory that the process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
