"""Lists in a command, expanded by bash itself."""

import subprocess

import pytest

from cortex.app.command_words import ranges, repeated


def expanded(words):
    """What a program is given of these words of a command."""
    done = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {' '.join(words)}"], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def shards(folder, numbers, ending="parquet"):
    return [f"results/a/{folder}/{number:06d}.{ending}" for number in numbers]


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (shards("train", range(1000), "tar"), 1),
        (shards("train", range(99, 1001)) + shards("test", range(3)), 2),
        (shards("train", [0]) + shards("train", [0]), 2),
        (shards("train", [3, 4, 6, 5]), 3),
        (["results/a/codebook/cnn/0.parquet", "results/a/codebook/cnn/1.parquet"], 2),
        ([], 0),
    ],
    ids=["a thousand", "two folders", "twice the same", "gaps", "no shards", "none"],
)
def test_bash_gives_a_command_the_paths_in_their_order(paths, words):
    found = ranges(paths)
    assert len(found) == words
    assert expanded(found) == (paths or [""])


@pytest.mark.parametrize("names", [["tis"], ["tis"] * 4, ["cnn/0", "cnn/0", "cnn/1", None, None, "cnn/0"]])
def test_bash_gives_a_command_every_name_as_often_as_it_stands(names):
    assert expanded(repeated(names)) == [str(name) for name in names]


def test_a_command_is_not_longer_with_more_shards():
    few, many = (ranges(shards("train", range(count))) for count in (10, 100_000))
    assert sum(map(len, few)) == sum(map(len, many))
    assert len(" ".join(repeated(["tis"] * 5000))) < 5010
