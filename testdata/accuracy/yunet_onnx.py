"""Writes YuNet-s as ONNX, with the outputs that OpenCV's FaceDetectorYN wants, from the float weights that
`go run detect/yunet/generate.go -floats WEIGHTS.json` writes:

    python yunet_onnx.py WEIGHTS.json MODEL.onnx
"""
import json
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

weights = {k: np.array(v, np.float32) for k, v in json.load(open(sys.argv[1])).items()}
nodes, constants, outputs = [], [], []


def constant(name, values):
    constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
    return name


def add(kind, inputs, **attributes):
    name = f"t{len(nodes)}"
    nodes.append(helper.make_node(kind, inputs, [name], **attributes))
    return name


def convolve(x, w, b, relu=False, **attributes):
    n = len(nodes)
    y = add("Conv", [x, constant(f"w{n}", w), constant(f"b{n}", b)], kernel_shape=w.shape[2:], **attributes)
    return add("Relu", [y]) if relu else y


def block(x, symbol, relu=True):
    bias = weights[symbol + "_pw_bias"]
    out = bias.size
    x = convolve(x, weights[symbol + "_pw_weight"].reshape(out, -1, 1, 1), bias)
    taps = weights[symbol + "_dw_weight"].reshape(3, 3, out).transpose(2, 0, 1).reshape(out, 1, 3, 3)
    return convolve(x, taps, weights[symbol + "_dw_bias"], relu, pads=[1] * 4, group=out)


def pool(x):
    return add("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])


def sum_doubled(coarse, fine):
    doubled = add("Resize", [coarse, "", "doubling"], mode="nearest", coordinate_transformation_mode="asymmetric",
                  nearest_mode="floor")
    return add("Add", [doubled, fine])


constant("doubling", np.array([1, 1, 2, 2], np.float32))
stem = weights["backbone__model0_pw_weight"].reshape(16, 32)[:, :27].reshape(16, 3, 3, 3).transpose(0, 3, 1, 2)
x = convolve("input", stem, weights["backbone__model0_pw_bias"], True, strides=[2, 2], pads=[1] * 4)
x = pool(block(x, "backbone__model0_dp"))
for layer in ("1_dp1", "1_dp2", "2_dp1", "2_dp2"):
    x = block(x, "backbone__model" + layer)
x = pool(x)
maps = []
for model in (3, 4, 5):
    x = block(block(x, f"backbone__model{model}_dp1"), f"backbone__model{model}_dp2")
    maps.append(x)
    x = pool(x) if model < 5 else x
maps[2] = block(maps[2], "neck__lateral_convs__2")
maps[1] = block(sum_doubled(maps[2], maps[1]), "neck__lateral_convs__1")
maps[0] = block(sum_doubled(maps[1], maps[0]), "neck__lateral_convs__0")
for kind, channels in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
    shape = constant("shape_" + kind, np.array([0, -1, channels], np.int64))
    for level, x in enumerate(maps):
        y = block(x, f"bbox_head__multi_level_{kind}__{level}", relu=False)
        y = add("Reshape", [add("Transpose", [y], perm=[0, 2, 3, 1]), shape])
        if kind in ("cls", "obj"):
            y = add("Sigmoid", [y])
        name = f"{kind}_{8 << level}"
        nodes.append(helper.make_node("Identity", [y], [name]))
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", "n", channels]))
picture = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["b", 3, "h", "w"])
graph = helper.make_graph(nodes, "yunet_s", [picture], outputs, constants)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
model.ir_version = 8
onnx.checker.check_model(model)
onnx.save(model, sys.argv[2])
