#!/usr/bin/python3
"""Writes the tests' models, next to this file. Needs Debian's python3-onnx."""
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).parent


def save(name, nodes, inputs, outputs, weights=(), opset=17):
    graph = helper.make_graph(nodes, name, inputs, outputs, list(weights))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 9
    (HERE / f"{name}.onnx").write_bytes(model.SerializeToString())


def tensor(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


F = TensorProto.FLOAT
FLOAT8E5M2 = 19  # Newer than the onnx package.

save("add", [helper.make_node("Add", ["a", "b"], ["sum"])],
     [tensor("a", F, ["n", 3]), tensor("b", F, ["n", 3])], [tensor("sum", F, ["n", 3])])

weights = numpy_helper.from_array(np.arange(8, dtype=np.float32).reshape(4, 2), "w")
save("matmul", [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Neg", ["y"], ["z"])],
     [tensor("x", F, [1, 4])], [tensor("y", F, [1, 2]), tensor("z", F, [1, 2])], [weights])

save("strings", [helper.make_node("Identity", ["in"], ["out"])],
     [tensor("in", TensorProto.STRING, ["n"])], [tensor("out", TensorProto.STRING, ["n"])])

kinds = ["BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64",
         "FLOAT16", "FLOAT", "DOUBLE", "BFLOAT16"]
save("types", [helper.make_node("Identity", [f"in_{k}"], [f"out_{k}"]) for k in kinds],
     [tensor(f"in_{k}", getattr(TensorProto, k), ["n"]) for k in kinds],
     [tensor(f"out_{k}", getattr(TensorProto, k), ["n"]) for k in kinds])

# Declares as many indices as elements, which holds only if none is zero.
save("liar", [helper.make_node("NonZero", ["x"], ["indices"])],
     [tensor("x", F, ["n"])], [tensor("indices", TensorProto.INT64, [1, "n"])])

sequence = helper.make_tensor_sequence_value_info("both", F, None)
save("sequence", [helper.make_node("SequenceConstruct", ["x", "x"], ["both"]),
                  helper.make_node("Identity", ["x"], ["same"])],
     [tensor("x", F, [2])], [sequence, tensor("same", F, [2])])

save("complex", [helper.make_node("Identity", ["x"], ["y"])],
     [tensor("x", TensorProto.COMPLEX64, [2])], [tensor("y", TensorProto.COMPLEX64, [2])])

save("float8", [helper.make_node("Identity", ["x"], ["y"])],
     [tensor("x", FLOAT8E5M2, [2])], [tensor("y", FLOAT8E5M2, [2])], opset=19)

# Large enough for its weights to be stored outside of an optimised model.
rng = np.random.default_rng(7)
layers = 3
weights, nodes, last = [], [], "x"
for i in range(layers):
    weights.append(numpy_helper.from_array(rng.standard_normal((24, 24)).astype(np.float32) / 5, f"w{i}"))
    nodes += [helper.make_node("MatMul", [last, f"w{i}"], [f"m{i}"]),
              helper.make_node("Tanh", [f"m{i}"], [f"t{i}"])]
    last = f"t{i}"
save("mlp", nodes, [tensor("x", F, ["n", 24])], [tensor(last, F, ["n", 24])], weights)

# Pictures: the classes are the channels, and the score of one is its mean.
picture = tensor("image", F, ["n", "c", "h", "w"])
save("channels",
     [helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
      helper.make_node("Flatten", ["pooled"], ["means"]),
      helper.make_node("Softmax", ["means"], ["shares"]),
      helper.make_node("ReduceMean", ["means"], ["one"], axes=[1]),
      helper.make_node("Neg", ["means"], ["negative"]),
      helper.make_node("Sqrt", ["negative"], ["roots"]),
      helper.make_node("Sigmoid", ["image"], ["all"])],
     [picture],
     [tensor("means", F, ["n", "c"]), tensor("shares", F, ["n", "c"]), tensor("one", F, ["n", 1]),
      tensor("roots", F, ["n", "c"]), tensor("all", F, ["n", "c", "h", "w"])])
save("channels_last", [helper.make_node("ReduceMean", ["image"], ["means"], axes=[1, 2], keepdims=0)],
     [tensor("image", F, [1, 4, 6, 3])], [tensor("means", F, [1, 3])])
HALF = TensorProto.FLOAT16
save("channels_uint8", [helper.make_node("Cast", ["image"], ["floats"], to=F),
                        helper.make_node("ReduceMean", ["floats"], ["exact"], axes=[1, 2], keepdims=0),
                        helper.make_node("Cast", ["exact"], ["means"], to=HALF)],
     [tensor("image", TensorProto.UINT8, [1, 4, 6, 3])], [tensor("means", HALF, [1, 3])])
save("channels_half", [helper.make_node("Cast", ["image"], ["floats"], to=F),
                       helper.make_node("ReduceMean", ["floats"], ["means"], axes=[2, 3], keepdims=0)],
     [tensor("image", HALF, ["n", 3, 4, 6])], [tensor("means", F, ["n", 3])])

# The classes are all numbers of the picture, so that an answer tells what the model was given.
save("flatten", [helper.make_node("Flatten", ["image"], ["numbers"])],
     [picture], [tensor("numbers", F, ["n", "all"])])

# Takes no bright picture: it looks up its answer by the brightness, in a table that ends too early.
table = numpy_helper.from_array(np.arange(6, dtype=np.float32).reshape(2, 3), "table")
three = numpy_helper.from_array(np.array([3], dtype=np.float32), "three")
save("picky", [helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2, 3], keepdims=0),
               helper.make_node("Mul", ["mean", "three"], ["place"]),
               helper.make_node("Cast", ["place"], ["index"], to=TensorProto.INT64),
               helper.make_node("Gather", ["table", "index"], ["scores"], axis=0)],
     [tensor("image", F, [1, 1, 8, 8])], [tensor("scores", F, [1, 3])], [table, three])

# Lines of text: the characters are the channels of a column, and neither shape says how many.
save("columns", [helper.make_node("ReduceMean", ["image"], ["means"], axes=[2], keepdims=0),
                 helper.make_node("Transpose", ["means"], ["steps"], perm=[0, 2, 1])],
     [picture], [tensor("steps", F, ["n", "t", "k"])])

# Draws in a branch, where it is found, too: a number for each of x, if they are positive together.
def drawn(name, node):
    return helper.make_graph([node], name, [], [tensor("drawn", F, ["n"])])


save("random", [helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
                helper.make_node("Cast", ["sum"], ["is_positive"], to=TensorProto.BOOL),
                helper.make_node("If", ["is_positive"], ["y"],
                                 then_branch=drawn("draws", helper.make_node("RandomUniformLike", ["x"], ["drawn"])),
                                 else_branch=drawn("keeps", helper.make_node("Identity", ["x"], ["drawn"])))],
     [tensor("x", F, ["n"])], [tensor("y", F, ["n"])])

# Declares as many rows as it is given counts, and gives as many as these say together: detections.
I = TensorProto.INT64
zero, one = (numpy_helper.from_array(np.array(k, dtype=np.int64), name) for k, name in [(0, "zero"), (1, "one")])
save("grows", [helper.make_node("ReduceSum", ["counts"], ["total"], keepdims=0),
               helper.make_node("Range", ["zero", "total", "one"], ["rows"])],
     [tensor("counts", I, ["batch"])], [tensor("rows", I, ["batch"])], [zero, one])

# Says nothing of its shape, not even how many dimensions there are.
save("unranked", [helper.make_node("Neg", ["x"], ["y"])], [tensor("x", F, None)], [tensor("y", F, None)])

# Takes nothing.
save("constant", [helper.make_node("Constant", [], ["y"], value_floats=[1.5, -2.0])], [], [tensor("y", F, [2])])

# Of more dimensions than are carried.
save("deep", [helper.make_node("Identity", ["x"], ["y"])],
     [tensor("x", F, [1] * 17)], [tensor("y", F, [1] * 17)])

# An output as long as the first dimension, however short the second is, and one behind it.
four = numpy_helper.from_array(np.array([4], dtype=np.int64), "four")
axis = numpy_helper.from_array(np.array([1], dtype=np.int64), "axis")
save("sums", [helper.make_node("ReduceSum", ["x", "axis"], ["each"], keepdims=0),
              helper.make_node("Cast", ["each"], ["sums"], to=I),
              helper.make_node("ReduceSum", ["x"], ["all"], keepdims=0),
              helper.make_node("Expand", ["all", "four"], ["total"])],
     [tensor("x", F, ["n", "m"])], [tensor("sums", I, ["n"]), tensor("total", F, [4])], [four, axis])
