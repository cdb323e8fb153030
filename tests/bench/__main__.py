"""Print the tables of the bench, or with ``--help`` how each baseline differs from the code that it stands for."""

import argparse
import inspect
import re
import textwrap
from collections.abc import Iterator

import torch

import tests.bench
from cortex.core.device import choose_device
from tests.bench import baselines
from tests.bench.explanations import explanations
from tests.bench.gpu import PAPER, on_gpu
from tests.bench.rows import LINE, Row
from tests.bench.stages import counting, job_start, masking, sampling, stored, training


def rows() -> Iterator[Row]:
    """All rows, each as soon as it is measured."""
    yield job_start()
    yield from explanations()
    yield masking()
    yield counting()
    yield from sampling()
    yield training()
    yield from stored()


def read_options() -> None:
    """The command line: it has no option but ``--help``."""
    parts = [str(inspect.getdoc(each)) for each in (tests.bench, baselines)]
    for each in baselines.ALL:
        text = re.split(r"\n\n(?:Args|Returns|Yields):", str(inspect.getdoc(each)))[0]
        parts.append(f"{each.__name__}\n{textwrap.indent(text, '  ')}")
    form = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser("python -m tests.bench", description="\n\n".join(parts), formatter_class=form).parse_args()


def main() -> None:
    """Print the tables."""
    read_options()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    headings = LINE.format("path", "a second", "against", "ratio", "goal", "bound").rstrip()
    print(headings)
    for row in rows():
        print(row.line(), flush=True)
    if torch.cuda.is_available():
        device = choose_device("cuda")
        print(f"\n{torch.cuda.get_device_name(device)}\n\n{headings}")
        for row in on_gpu(device, PAPER):
            print(row.line(), flush=True)


if __name__ == "__main__":
    main()
