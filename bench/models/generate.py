#!/usr/bin/python3
"""generate.py FOLDER [NAME ...]: writes the models that the benchmarks run, the same bytes each time.

Needs Debian's python3-onnx. A model that this version of the script has written already is kept.

  tiny          1 KB: what a worker costs without a model
  mlp100        100 MB of fp32 matrices, for many instances of one model
  mlp           403 MB of fp32 matrices, batch 1: bound by memory
  conv          302 MB of 3x3 convolutions over 7x7 pictures
  int8          285 MB of int8 matrices, quantised as they go
  transformer   340 MB: 12 layers of width 768 over 64 tokens
"""
import hashlib
import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

F = TensorProto.FLOAT


class Builder:
    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.nodes, self.weights, self.count = [], [], 0

    def weight(self, shape, scale, kind=np.float32):
        name = f"w{len(self.weights)}"
        if kind == np.int8:
            values = self.random.integers(-127, 128, shape, dtype=np.int8)
        else:
            values = self.random.standard_normal(shape, dtype=np.float32) * np.float32(scale)
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def constant(self, values):
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, kind, inputs, outputs=1, **attributes):
        self.count += 1
        names = [f"t{self.count}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def model(self, inputs, output, shape):
        self.nodes.append(helper.make_node("Identity", [output], ["y"]))
        graph = helper.make_graph(self.nodes, "bench", inputs,
                                  [helper.make_tensor_value_info("y", F, shape)], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 8
        return model


def mlp(width, layers):
    b = Builder(1)
    last = "x"
    for _ in range(layers):
        matrix = b.weight((width, width), (2 / width) ** 0.5)
        last = b.node("Relu", [b.node("Gemm", [last, matrix, b.weight((width,), 0.01)])])
    return b.model([helper.make_tensor_value_info("x", F, ["batch", width])], last,
                   ["batch", width])


def conv(channels, layers, side):
    b = Builder(2)
    last = b.node("Relu", [b.node("Conv", ["x", b.weight((channels, 3, 3, 3), 0.2)],
                                  pads=[1, 1, 1, 1])])
    for _ in range(layers):
        kernel = b.weight((channels, channels, 3, 3), (2 / (9 * channels)) ** 0.5)
        last = b.node("Relu", [b.node("Conv", [last, kernel, b.weight((channels,), 0.01)],
                                      pads=[1, 1, 1, 1])])
    pooled = b.node("Flatten", [b.node("GlobalAveragePool", [last])])
    return b.model([helper.make_tensor_value_info("x", F, ["batch", 3, side, side])], pooled,
                   ["batch", channels])


def int8(width, layers):
    b = Builder(3)
    last = "x"
    for _ in range(layers):
        quantised, scale, zero = b.node("DynamicQuantizeLinear", [last], outputs=3)
        product = b.node("MatMulInteger", [quantised, b.weight((width, width), 0, np.int8), zero])
        scaled = b.node("Mul", [b.node("Cast", [product], to=F), scale])
        last = b.node("Relu", [b.node("Mul", [scaled, b.constant(np.float32(1 / 4096))])])
    return b.model([helper.make_tensor_value_info("x", F, ["batch", width])], last,
                   ["batch", width])


def transformer(width, layers, heads, tokens, vocabulary):
    b = Builder(4)

    def linear(x, rows, columns):
        product = b.node("MatMul", [x, b.weight((rows, columns), (1 / rows) ** 0.5)])
        return b.node("Add", [product, b.weight((columns,), 0.01)])

    def norm(x):
        ones, zeros = np.ones(width, np.float32), np.zeros(width, np.float32)
        return b.node("LayerNormalization", [x, b.constant(ones), b.constant(zeros)], axis=-1)

    split = b.constant(np.array([0, 0, heads, width // heads], np.int64))
    joined = b.constant(np.array([0, 0, width], np.int64))

    def head(x, order):
        return b.node("Transpose", [b.node("Reshape", [x, split])], perm=order)

    last = b.node("Gather", [b.weight((vocabulary, width), 1), "tokens"])
    for _ in range(layers):
        x = norm(last)
        query = head(linear(x, width, width), [0, 2, 1, 3])
        key = head(linear(x, width, width), [0, 2, 3, 1])
        value = head(linear(x, width, width), [0, 2, 1, 3])
        scores = b.node("Mul", [b.node("MatMul", [query, key]),
                                b.constant(np.float32((width // heads) ** -0.5))])
        mixed = b.node("MatMul", [b.node("Softmax", [scores], axis=-1), value])
        mixed = b.node("Reshape", [b.node("Transpose", [mixed], perm=[0, 2, 1, 3]), joined])
        last = b.node("Add", [last, linear(mixed, width, width)])
        wide = b.node("Relu", [linear(norm(last), width, 4 * width)])
        last = b.node("Add", [last, linear(wide, 4 * width, width)])
    ids = helper.make_tensor_value_info("tokens", TensorProto.INT64, ["batch", tokens])
    return b.model([ids], norm(last), ["batch", tokens, width])


MODELS = {
    "tiny": lambda: mlp(12, 1),
    "mlp100": lambda: mlp(2048, 6),
    "mlp": lambda: mlp(2048, 24),
    "conv": lambda: conv(1024, 8, 7),
    "int8": lambda: int8(4096, 17),
    "transformer": lambda: transformer(768, 12, 12, 64, 1000),
}


def main():
    if len(sys.argv) < 2 or any(name not in MODELS for name in sys.argv[2:]):
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    version = hashlib.sha256(pathlib.Path(__file__).read_bytes()).hexdigest()
    for name in sys.argv[2:] or MODELS:
        stamp = folder / f"{name}.version"
        if stamp.exists() and stamp.read_text() == version:
            continue
        print(f"generating {name}", flush=True)
        (folder / f"{name}.onnx").write_bytes(MODELS[name]().SerializeToString())
        stamp.write_text(version)


if __name__ == "__main__":
    main()
