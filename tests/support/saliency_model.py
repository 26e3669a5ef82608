"""ONNX files with the input and the outputs of U²-Net, of one layer."""

from pathlib import Path

import numpy as np

IMAGE = "input.1"
U2NET = (1, 3, 320, 320)


def saliency_model(
    path: Path, weights, *, bias=0.0, shape=U2NET, node="Conv", activation="Sigmoid"
) -> Path:
    """Write a 1x1 convolution of the RGB channels and a sigmoid, or the nodes named instead."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kernel = np.reshape(np.float32(weights), (1, 3, 1, 1))
    parameters = {"kernel": kernel, "bias": np.float32([bias])}
    used = [IMAGE, *parameters] if node == "Conv" else [IMAGE]
    nodes = [
        helper.make_node(node, used, ["score"]),
        helper.make_node(activation, ["score"], ["d0"]),
    ]
    graph = helper.make_graph(
        nodes,
        "saliency",
        [helper.make_tensor_value_info(IMAGE, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("d0", IMAGE)],
        [numpy_helper.from_array(value, name) for name, value in parameters.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path
