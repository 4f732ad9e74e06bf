#!/usr/bin/python3
"""Makes what is beside it: model.onnx, its labels.txt, and pictures of digits to try it on.

The model learns from scikit-learn's digits: 1,797 pictures of handwritten digits, 8x8, from "Optical
Recognition of Handwritten Digits" (E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, 1998,
CC BY 4.0). Every fifth is held out: it is not learned from, and held_out.png has them all.

Needs Debian's python3-numpy, python3-onnx and python3-pil. The digits are taken out of Debian's
python3-sklearn, which is fetched for that and not installed. Takes half a minute.
"""
import gzip
import pathlib
import subprocess
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw

HERE = pathlib.Path(__file__).parent
NAMES = "zero one two three four five six seven eight nine".split()
DIGITS = "usr/lib/python3/dist-packages/sklearn/datasets/data/digits.csv.gz"
COLUMNS = 20  # Of held_out.png.


def digits():
    """Pictures of 0 to 255, white on black, and which digit each is."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", "python3-sklearn"],
                       cwd=folder, check=True)
        package = next(pathlib.Path(folder).glob("*.deb"))
        subprocess.run(["dpkg", "-x", package, folder], check=True)
        table = np.loadtxt(gzip.open(pathlib.Path(folder) / DIGITS), delimiter=",")
    pictures = np.round(table[:, :-1].reshape(-1, 8, 8) * 255 / 16).astype(np.uint8)
    return pictures, table[:, -1].astype(int)


def shifted(pictures):
    """Each as it is, and moved by a pixel to each side."""
    every = [pictures]
    for axis, step in ((1, 1), (1, -1), (2, 1), (2, -1)):
        moved = np.roll(pictures, step, axis)
        edge = 0 if step > 0 else 7
        moved[(slice(None), edge) if axis == 1 else (slice(None), slice(None), edge)] = 0
        every.append(moved)
    return np.concatenate(every)


def learn(pictures, answers, hidden=64, epochs=60, batch=64):
    """Two layers, by Adam: the weights and biases of each."""
    random = np.random.default_rng(1)
    x = shifted(pictures).reshape(-1, 64) / 255
    y = np.tile(np.eye(10)[answers], (5, 1))
    layers = [random.standard_normal((64, hidden)) * (2 / 64) ** 0.5, np.zeros(hidden),
              random.standard_normal((hidden, 10)) * (2 / hidden) ** 0.5, np.zeros(10)]
    moments = [(np.zeros_like(each), np.zeros_like(each)) for each in layers]
    step = 0
    for epoch in range(epochs):
        rate = 3e-3 * (1 - epoch / epochs)
        order = random.permutation(len(x))
        for begin in range(0, len(x), batch):
            chosen = order[begin:begin + batch]
            given, wanted = x[chosen], y[chosen]
            between = np.maximum(given @ layers[0] + layers[1], 0)
            scores = between @ layers[2] + layers[3]
            shares = np.exp(scores - scores.max(1, keepdims=True))
            shares /= shares.sum(1, keepdims=True)
            error = (shares - wanted) / len(chosen)
            back = error @ layers[2].T * (between > 0)
            slopes = [given.T @ back, back.sum(0), between.T @ error, error.sum(0)]
            step += 1
            for layer, (mean, square), slope in zip(layers, moments, slopes):
                slope = slope + 1e-4 * layer
                mean += 0.1 * (slope - mean)
                square += 0.001 * (slope * slope - square)
                layer -= rate * (mean / (1 - 0.9 ** step)) / (np.sqrt(square / (1 - 0.999 ** step)) + 1e-8)
    return [each.astype(np.float32) for each in layers]


def save_model(layers):
    """Takes [N, 1, 8, 8], grey from 0 to 1; gives logits, [N, 10]."""
    names = ["hidden_weights", "hidden_bias", "output_weights", "output_bias"]
    nodes = [helper.make_node("Flatten", ["image"], ["pixels"]),
             helper.make_node("Gemm", ["pixels", *names[:2]], ["sums"]),
             helper.make_node("Relu", ["sums"], ["hidden"]),
             helper.make_node("Gemm", ["hidden", *names[2:]], ["logits"])]
    graph = helper.make_graph(
        nodes, "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(each, name) for each, name in zip(layers, names)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    (HERE / "model.onnx").write_bytes(model.SerializeToString())


def accuracy(layers, pictures, answers):
    x = pictures.reshape(-1, 64).astype(np.float32) / 255
    scores = np.maximum(x @ layers[0] + layers[1], 0) @ layers[2] + layers[3]
    return (scores.argmax(1) == answers).mean()


def save_held_out(pictures, answers):
    sheet = np.zeros((-(-len(pictures) // COLUMNS) * 8, COLUMNS * 8), np.uint8)
    for i, picture in enumerate(pictures):
        top, left = i // COLUMNS * 8, i % COLUMNS * 8
        sheet[top:top + 8, left:left + 8] = picture
    Image.fromarray(sheet).save(HERE / "held_out.png", optimize=True)
    (HERE / "held_out.txt").write_text("".join(map(str, answers)) + "\n")


def save_picture(name, picture):
    picture.save(HERE / f"{name}.png", optimize=True)


def draw_three():
    """A large one, as a hand would draw it, with a round pen."""
    picture = Image.new("L", (256, 256), 0)
    pen = ImageDraw.Draw(picture)
    pen.arc((48, 4, 208, 140), 200, 90, 255, 30)
    pen.arc((40, 110, 216, 252), 270, 170, 255, 30)
    return picture


if __name__ == "__main__":
    pictures, answers = digits()
    held_out = np.arange(len(pictures)) % 5 == 4
    layers = learn(pictures[~held_out], answers[~held_out])
    save_model(layers)
    (HERE / "labels.txt").write_text("".join(name + "\n" for name in NAMES))
    save_held_out(pictures[held_out], answers[held_out])
    for digit in (4, 7):
        which = np.flatnonzero(held_out & (answers == digit))[0]
        save_picture(NAMES[digit], Image.fromarray(pictures[which]))
    save_picture("drawn", draw_three())
    for name, said in (("held out", held_out), ("learned from", ~held_out)):
        print(f"{name}: {said.sum()} digits, accuracy {accuracy(layers, pictures[said], answers[said]):.4f}")
