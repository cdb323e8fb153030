"""A codebook alone, in every file that people have, becomes the weights of a run on imported grids."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cortex.core.errors import InputError
from cortex.generators.convert import convert_generator
from cortex.generators.load import generator_spec, load_family, read_codebook
from cortex.generators.spec import Origin

CODEBOOK = torch.randn(24, 6, generator=torch.Generator().manual_seed(0))
WRITERS = {
    "a.safetensors": lambda path: save_file({"codebook": CODEBOOK}, path),
    "a.npy": lambda path: np.save(path, CODEBOOK.numpy()),
    "double.npy": lambda path: np.save(path, CODEBOOK.double().numpy().T.copy().T),
    "bare.pt": lambda path: torch.save(CODEBOOK, path),
    "named.pt": lambda path: torch.save({"codebook": CODEBOOK, "other": torch.zeros(3, 3)}, path),
    "embedding.pth": lambda path: torch.save({"weight": CODEBOOK, "usage": torch.zeros(24)}, path),
    "lightning.ckpt": lambda path: torch.save({"state_dict": {"quantize.weight": CODEBOOK}, "epoch": 3}, path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_it_is_converted_with_the_grid_and_classes_of_the_config(tmp_path, name):
    WRITERS[name](tmp_path / name)
    (tmp_path / "names.txt").write_text("ant\nbee")
    origin = Origin(tmp_path / name, class_names=tmp_path / "names.txt", grid=(4, 3))
    spec = load_family("codebook").spec(origin)
    assert (spec.codes, spec.channels, spec.grid, spec.class_names) == (24, 6, (4, 3), ("ant", "bee"))
    output = tmp_path / "out.safetensors"
    convert_generator(output, weights=tmp_path / name, class_names=tmp_path / "names.txt", grid=(4, 3))
    assert generator_spec(output, "codebook") == spec
    assert torch.equal(read_codebook(output, "codebook"), CODEBOOK)


class Code:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize(
    ("name", "write", "told"),
    [
        ("a.npy", lambda path: np.save(path, np.zeros((2, 3), int)), "int64; a codebook is of floating-point numbers"),
        ("a.npy", lambda path: np.save(path, np.zeros((2, 3, 1))), "expected a tensor 'codebook' [K, d]"),
        ("a.npy", lambda path: np.save(path, np.array([Code()])), "not a whole npy file"),
        ("a.npy", lambda path: path.write_bytes(b"npy"), "not a whole npy file"),
        ("a.npy", lambda path: None, "no such weights file"),
        ("a.pt", lambda path: torch.save({"a": CODEBOOK, "b": CODEBOOK}, path), "one tensor alone, is needed; it has"),
        ("a.pt", lambda path: torch.save({"a": Code()}, path), "no state dict with tensors, but"),
        ("a.pt", lambda path: None, "No such file"),
    ],
)  # fmt: skip
def test_other_files_are_refused_and_nothing_in_them_is_executed(tmp_path, capsys, name, write, told):
    write(tmp_path / name)
    with pytest.raises(InputError) as caught:
        load_family("codebook").spec(Origin(tmp_path / name, grid=(4, 4)))
    assert told in str(caught.value) and "executed" not in capsys.readouterr().out


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.full((2, 3), np.nan))
    with pytest.raises(InputError, match="weight codebook: not all of its numbers are finite"):
        read_codebook(tmp_path / "a.npy", "codebook")
