"""A judge of the user's own: an ONNX model, which onnxruntime computes on the processor."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cortex.core.errors import InputError, reason_of
from cortex.judges.judge import not_importable
from cortex.judges.settings import OnnxJudge

EXTRA = OnnxJudge.package[1] if OnnxJudge.package else ""
LEAST = 1e-30  # probabilities below it count as so much


class OnnxModel(nn.Module):
    """An ONNX model, which is its only weight: the file's bytes.

    Args:
        classes: numbers that the model gives for an image.
        length: bytes of the file.
        size: height and width of the model's input.
        mean, std: of red, green and blue in 0..1, by which the input is normalised.
        outputs: logits or probabilities.
    """

    Settings = OnnxJudge
    model: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, classes: int, length: int, size: int, mean: Sequence[float], std: Sequence[float], outputs: str):
        super().__init__()
        self.classes, self.size, self.outputs = classes, size, outputs
        self.register_buffer("model", torch.zeros(length, dtype=torch.uint8))
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        self._session: Any = None

    @classmethod
    def pretrained(cls, weights: Path, **arguments: Any) -> Self:
        """The model of a file; ``arguments`` are the constructor's.

        Raises:
            InputError: onnxruntime cannot be imported, the file is no whole model, or its input or output do not fit.
        """
        judge = cls(**arguments)
        content = bytearray(weights.read_bytes())
        if not content:
            raise InputError(f"{weights}: not a whole ONNX model: it is empty")
        judge.model = torch.frombuffer(content, dtype=torch.uint8)
        try:
            judge.check()
        except InputError as error:
            raise InputError(f"{weights}: {error}") from None
        return judge

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, classes]`` of images ``[B, 3, size, size]`` in -1..1."""
        pixels = ((images + 1) / 2 - self.mean) / self.std
        found = torch.from_numpy(self._computed(pixels.cpu().numpy())).to(images.device)
        return found if self.outputs == "logits" else found.clamp_min(LEAST).log()

    def check(self) -> None:
        """Raise an InputError unless input and output are those of a judge."""
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        expected = ("any number or 1", 3, self.size, self.size)
        fits = len(inputs) == len(outputs) == 1 and inputs[0].type == "tensor(float)" and len(inputs[0].shape) == 4
        if not fits or any(_differs(*pair) for pair in zip(inputs[0].shape, (1, *expected[1:]), strict=True)):
            raise InputError(
                f"inputs {_described(inputs)}, outputs {_described(outputs)}; expected one input, float "
                f"[{', '.join(map(str, expected))}], and one output"
            )
        noise = np.random.default_rng(0).random((2, 3, self.size, self.size), np.float32)
        found = self._computed(noise)
        if found.shape != (2, self.classes) or found.dtype != np.float32:
            raise InputError(
                f"output {found.dtype} of {found.shape} for two images; expected float32 of (2, {self.classes}): a "
                "number for every class of class_names"
            )
        are_probabilities = bool((found >= 0).all() and np.allclose(found.sum(1), 1, atol=1e-3))
        if are_probabilities != (self.outputs == "probabilities"):
            kind = "are probabilities" if are_probabilities else "do not sum to 1 for each image"
            raise InputError(f"outputs = {self.outputs!r}: the model's numbers {kind}")

    @property
    def session(self) -> Any:
        """onnxruntime's session.

        Raises:
            InputError: onnxruntime cannot be imported, or the bytes are no whole model.
        """
        if self._session is None:
            try:
                import onnxruntime
            except ImportError as error:
                raise not_importable("onnx", EXTRA, error) from None
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = torch.get_num_threads()
            options.log_severity_level = 4  # an error is raised, too
            try:
                content = self.model.cpu().numpy().tobytes()
                # Without its fallback, which prints what is raised, too.
                on = {"providers": ["CPUExecutionProvider"], "enable_fallback": 0}
                self._session = onnxruntime.InferenceSession(content, options, **on)
            except Exception as error:  # its errors have no class in common
                raise InputError(
                    f"not a whole ONNX model: {reason_of(error)}; external weights are not supported; "
                    "export with external_data=False"
                ) from None
        return self._session

    def _computed(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """The model's output; a model of one image at a time is given one at a time."""
        (stated,) = self.session.get_inputs()
        parts = [pixels] if stated.shape[0] != 1 else list(pixels[:, None])
        try:
            found = [self.session.run(None, {stated.name: part})[0] for part in parts]
        except Exception as error:
            raise InputError(f"the model cannot be computed: {reason_of(error)}") from None
        return np.concatenate(found)


def _differs(stated: int | str | None, expected: int) -> bool:
    """Whether a side is stated as another number; it may be a name, or not stated."""
    return isinstance(stated, int) and stated != expected


def _described(tensors: Sequence[Any]) -> str:
    kinds = (f"{each.type.removeprefix('tensor(').removesuffix(')')} {each.shape}" for each in tensors)
    return ", ".join(kinds) or "none"
