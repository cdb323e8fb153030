"""ONNX models that tests judge by."""

import onnx
from onnx import TensorProto, helper


def write_linear(path, weights, size, *, batch="n", softmax=False, outputs=1, kind=TensorProto.FLOAT, last=False):
    """Write a linear layer ``[classes, 3]`` of the mean of every channel.

    Channels are the ``last`` axis of the input, or the second.
    """
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["means"], axes=[1, 2] if last else [2, 3], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["sums"]),
        helper.make_node("Softmax", ["sums"], ["shares"], axis=1),
    ]
    shape = [batch, size, size, 3] if last else [batch, 3, size, size]
    found = [helper.make_tensor_value_info(name, kind, [batch, len(weights)]) for name in ("sums", "shares")]
    graph = helper.make_graph(
        nodes,
        "judge",
        [helper.make_tensor_value_info("images", kind, shape)],
        found[1:] if softmax else found[:outputs],
        [onnx.numpy_helper.from_array(weights.T.astype(helper.tensor_dtype_to_np_dtype(kind)), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path
