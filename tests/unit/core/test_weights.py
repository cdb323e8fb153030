"""Weights files that torch cannot compute with."""

import json

import pytest

from cortex.core.errors import InputError
from cortex.core.weights import read_weights


def test_a_tensor_of_more_dimensions_than_torch_computes_with_is_refused(tmp_path):
    header = json.dumps({"w": {"dtype": "F32", "shape": [1] * 65, "data_offsets": [0, 4]}}).encode()
    path = tmp_path / "many.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(InputError, match=r"many\.safetensors: weight w: 65 dimensions; at most 64"):
        read_weights(path)
