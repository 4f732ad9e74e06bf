// Pictures go in, labels come out: the example `digits`, deployed as it is, and models that want
// something else of a picture.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { Platform, eventually, repository } from "./platform.mjs";

const example = path.join(repository, "examples/digits");
const testdata = path.join(repository, "runtimes/onnx/testdata");
const read = (name) => readFileSync(path.join(example, name));

let platform;
let pictures; // By name, with the type in it: "jpeg.jpg".
before(async () => {
  platform = await Platform.start({ onnxBlanks: 1 });
  const { code, stderr } = await platform.cli("deploy", example);
  assert.equal(code, 0, stderr);
  pictures = draw();
});
after(() => platform.stop());

// The same digit in every way that a picture may be saved in, and what is no picture any more.
function draw() {
  const folder = path.join(platform.dir, "pictures");
  mkdirSync(folder);
  const program = `
import struct, sys, zlib
import numpy
from PIL import Image
three = Image.open(sys.argv[1])
out = sys.argv[2] + "/"
for mode in ("L", "LA", "RGB", "RGBA", "P", "1"):
    three.convert(mode).save(out + f"png-{mode}.png")
Image.fromarray(numpy.array(three).astype("uint16") * 257).save(out + "png-16.png")
three.save(out + "grey.jpg")
three.convert("RGB").save(out + "rgb.jpg")
three.convert("RGB").save(out + "progressive.jpg", progressive=True)
three.convert("RGB").save(out + "lossy.webp")
three.convert("RGB").save(out + "lossless.webp", lossless=True)
three.convert("RGBA").save(out + "opaque.webp")
three.resize((3000, 2000)).save(out + "large.png")
Image.eval(three, lambda value: 255 - value).save(out + "inverted.png")
three.convert("CMYK").save(out + "cmyk.jpg")
three.convert("RGB").save(out + "animated.webp", save_all=True, append_images=[Image.new("RGB", three.size)])
# What is transparent is black below, and shows as white.
ghost = Image.merge("LA", (Image.new("L", three.size, 0), three))
ghost.save(out + "ghost.png")
ghost.convert("RGBA").save(out + "ghost.webp", lossless=True, exact=True)
half = Image.merge("LA", (three, Image.eval(three, lambda value: 255 - value // 2)))
half.save(out + "half.png")
half.convert("RGBA").save(out + "half.webp", lossless=True, exact=True)
# As cameras save them: turned, and how in EXIF. PIL's own way back is what makes them upright.
for orientation in range(1, 9):
    back = {2: Image.FLIP_LEFT_RIGHT, 3: Image.ROTATE_180, 4: Image.FLIP_TOP_BOTTOM, 5: Image.TRANSPOSE,
            6: Image.ROTATE_90, 7: Image.TRANSVERSE, 8: Image.ROTATE_270}
    taken = three.convert("RGB").resize((200, 256))
    if orientation > 1:
        taken = taken.transpose(back[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    taken.save(out + f"turned-{orientation}.jpg", quality=95, exif=exif)
# Dark halves: linear or not makes a difference.
grey = numpy.linspace(0, 1, 64).reshape(8, 8)
Image.fromarray((grey * 255).round().astype("uint8")).save(out + "shades-8.png")
Image.fromarray((grey * 255).round().astype("uint16") * 257).save(out + "shades-16.png")
for name, color in (("red", (255, 0, 0)), ("green", (0, 255, 0)), ("blue", (0, 0, 255))):
    Image.new("RGB", (30, 10), color).save(out + name + ".png")
wide = Image.new("RGB", (40, 10), (0, 0, 255))
wide.paste((255, 0, 0), (15, 0, 25, 10))
wide.save(out + "wide.png")
# Smooth here, and busy there, as photographs are.
y, x = numpy.mgrid[0:301, 0:443]
photo = numpy.stack([x % 256, (x * y // 97) % 256, 127 + 127 * numpy.sin(x * x / 900 + y / 9)], 2)
Image.fromarray(photo.astype("uint8")).save(out + "photo.png")
# The largest, of many colours, in the ways that take most memory to decode.
y, x = numpy.mgrid[0:4000, 0:4000]
large = Image.fromarray((numpy.stack([x // 16, y // 16, (x + y) // 32], 2)).astype("uint8"))
large.save(out + "largest.png", compress_level=1)
large.save(out + "largest.webp", lossless=True, quality=0, method=0)
exif = Image.Exif()
exif[0x0112] = 6
large.save(out + "largest-progressive.jpg", quality=50, progressive=True, subsampling=0, exif=exif)
large.putalpha(Image.fromarray((x // 16).astype("uint8")))
large.save(out + "largest-alpha.png", compress_level=1)
large.save(out + "largest-alpha.webp", lossless=True, quality=0, method=0)
large.save(out + "largest-lossy.webp", quality=1, method=0)
def bomb(width, height):
    part = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return (b"\\x89PNG\\r\\n\\x1a\\n" + part(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) +
            part(b"IDAT", zlib.compress(b"\\0" * 100000)) + part(b"IEND", b""))
for name, width, height in (("bomb", 4001, 4000), ("side", 16385, 1), ("huge", 2**31 - 1, 2**31 - 1), ("short", 4000, 4000)):
    open(out + name + ".png", "wb").write(bomb(width, height))
`;
  execFileSync("/usr/bin/python3", ["-c", program, path.join(example, "drawn.png"), folder]);
  copyFileSync(path.join(repository, "runtimes/onnx/corpus/pictures/scans.jpg"), path.join(folder, "scans.jpg"));
  return Object.fromEntries(readdirSync(folder).map((name) => [name, readFileSync(path.join(folder, name))]));
}

const typeOf = (name) => ({ png: "image/png", jpg: "image/jpeg", webp: "image/webp" })[name.split(".")[1]];
const send = (body, type = "image/png", name = "digits") => platform.invoke(name, body, { "content-type": type });

// The labels of one of the drawn pictures.
async function labelsOf(picture, name = "digits") {
  const answer = await send(pictures[picture], typeOf(picture), name);
  assert.equal(answer.status, 200, `${picture}: ${answer.text}`);
  assert.equal(answer.headers["content-type"], "application/json");
  return JSON.parse(answer.text).labels;
}

test("the example tells its own pictures as its README says", async () => {
  for (const [name, label, index] of [["four", "four", 4], ["seven", "seven", 7], ["drawn", "three", 3]]) {
    const { status, text } = await send(read(`${name}.png`));
    assert.equal(status, 200, text);
    const { labels } = JSON.parse(text);
    assert.equal(labels.length, 3);
    assert.equal(labels[0].label, label);
    assert.equal(labels[0].index, index);
    assert.ok(labels[0].score > 0.99 && labels[0].score <= 1, text);
    assert.ok(labels[0].score >= labels[1].score && labels[1].score >= labels[2].score, text);
  }
  assert.match(read("README.md").toString(), /"label": "three", "index": 3, "score": 0\.99/);
});

test("what is held out is told as well as the README says", async () => {
  const cut = `
import sys
from PIL import Image
sheet = Image.open(sys.argv[1])
for i in range(int(sys.argv[2])):
    left, top = i % 20 * 8, i // 20 * 8
    sheet.crop((left, top, left + 8, top + 8)).save(f"{sys.argv[3]}/{i}.png")
`;
  const answers = read("held_out.txt").toString().trim();
  const folder = path.join(platform.dir, "held_out");
  mkdirSync(folder);
  execFileSync("/usr/bin/python3", ["-c", cut, path.join(example, "held_out.png"), `${answers.length}`, folder]);
  const told = await Promise.all(
    [...answers].map(async (_, i) => {
      const { status, text } = await send(readFileSync(path.join(folder, `${i}.png`)));
      assert.equal(status, 200, text);
      return JSON.parse(text).labels[0].index;
    }),
  );
  const right = told.filter((index, i) => `${index}` === answers[i]).length;
  assert.equal(`${right} of the ${answers.length}`, "350 of the 359");
  assert.match(read("README.md").toString(), /350 of the 359/);
});

test("a picture is the same however it was saved", async () => {
  const same = Object.keys(pictures).filter((name) => /^(png-|grey|rgb|progressive|lossy|lossless|opaque)/.test(name));
  assert.equal(same.length, 13);
  for (const name of same) {
    const [first] = await labelsOf(name);
    assert.equal(first.label, "three", name);
    assert.ok(Math.abs(first.score - 0.9956) < 0.003, `${name}: ${first.score}`);
  }
  assert.equal((await labelsOf("large.png"))[0].label, "three");
  assert.deepEqual(await labelsOf("shades-16.png"), await labelsOf("shades-8.png"));
});

test("what is transparent is white, in PNG and WebP alike", async () => {
  const inverted = await labelsOf("inverted.png");
  assert.deepEqual(await labelsOf("ghost.png"), inverted);
  assert.deepEqual(await labelsOf("ghost.webp"), inverted);
  assert.deepEqual(await labelsOf("half.png"), await labelsOf("half.webp"));
});

test("a photograph is upright, as its camera says", async () => {
  const [upright] = await labelsOf("turned-1.jpg");
  assert.equal(upright.label, "three");
  for (let orientation = 2; orientation <= 8; ++orientation) {
    const [first] = await labelsOf(`turned-${orientation}.jpg`);
    assert.equal(first.label, "three", `${orientation}`);
    assert.ok(Math.abs(first.score - upright.score) < 0.01, `${orientation}: ${first.score}, not ${upright.score}`);
  }
});

test("a body that is no picture is refused, and the next picture is not", async () => {
  const drawn = read("drawn.png");
  const rows = [
    ["", "image/png", 415],
    ["not a picture", "image/png", 415],
    ["not a picture", "text/plain", 415],
    ['{"image": [[[[0]]]]}', "application/json", 415],
    [drawn, "application/x-www-form-urlencoded", 415], // curl without -H.
    ["GIF89a", "image/gif", 415],
    [drawn.subarray(0, drawn.length - 200), "image/png", 400],
    [drawn.subarray(0, 8), "image/png", 400],
    [pictures["rgb.jpg"].subarray(0, 1000), "image/jpeg", 400],
    [pictures["lossy.webp"].subarray(0, 500), "image/webp", 400],
    [pictures["short.png"], "image/png", 400],
    [pictures["scans.jpg"], "image/jpeg", 400],
    [pictures["cmyk.jpg"], "image/jpeg", 415, /is a JPEG in CMYK/],
    [pictures["animated.webp"], "image/webp", 415, /is an animated WebP/],
    [pictures["bomb.png"], "image/png", 413, /more than 16 million pixels/],
    [pictures["side.png"], "image/png", 413, /a side of more than 16,384 pixels/],
    [pictures["huge.png"], "image/png", 400], // libpng's own limit.
  ];
  for (const [body, type, wanted, why] of rows) {
    const { status, text } = await send(body, type);
    assert.equal(status, wanted, `${type}, ${body.length} bytes: ${text}`);
    assert.ok(JSON.parse(text).error.message.length > 10, text);
    if (why) assert.match(text, why);
    assert.equal((await send(drawn)).status, 200);
  }
});

test("the largest picture fits into the example's memory", async () => {
  const largest = Object.keys(pictures).filter((name) => name.startsWith("largest"));
  assert.equal(largest.length, 6);
  for (const name of largest) assert.equal((await labelsOf(name)).length, 3, name);
});

test("a sleeping one wakes as a fork, and says the same", async () => {
  const manifest = { name: "sleepy", runtime: "onnx", model: "model.onnx", task: "image-classification",
                     memory: "128MiB", keep_alive: "0ms" };
  const done = await platform.deploy(manifest, { "model.onnx": read("model.onnx") });
  assert.equal(done.code, 0, done.stderr);
  const first = await labelsOf("png-L.png", "sleepy");
  assert.equal(first.length, 5);
  assert.deepEqual(first[0].label, "3"); // Without a file of labels.
  for (let round = 0; round < 3; ++round) {
    await eventually("only the template is left", async () => (await platform.status("sleepy")).state === "template");
    assert.deepEqual(await labelsOf("png-L.png", "sleepy"), first);
  }
});

test("deploy says how to try it, and show what the task found", async () => {
  const { stdout } = await platform.cli("deploy", example);
  assert.match(stdout, /^  curl -H 'Content-Type: image\/png' --data-binary @picture\.png http:\S+\/f\/digits$/m);
  const shown = await platform.json("show", "digits");
  assert.equal(shown.function.revision.notes.task, "10 classes of 8x8 grey pictures, activation softmax");
});

// One of the tests' models, with the task and these options.
const classifier = (name, model, options) =>
  platform.deploy(
    { name, runtime: "onnx", model, task: "image-classification", task_options: options, memory: "128MiB" },
    {
      [model]: readFileSync(model === "model.onnx" ? path.join(example, model) : path.join(testdata, model)),
      "labels.txt": read("labels.txt"),
      "colours.txt": "\ufeffred\r\ngreen\r\nblue\r\n",
    },
  );

test("options reach the picture: colours, sizes, crops, means", async () => {
  const deploy = async (name, model, options) => {
    const { code, stderr } = await classifier(name, model, options);
    assert.equal(code, 0, stderr);
  };
  const channels = { labels: "colours.txt", size: 8, output: "means" };
  await deploy("rgb", "channels.onnx", channels);
  await deploy("bgr", "channels.onnx", { ...channels, channel_order: "bgr" });
  for (const [i, colour] of ["red", "green", "blue"].entries()) {
    assert.equal((await labelsOf(`${colour}.png`, "rgb"))[0].label, colour);
    assert.equal((await labelsOf(`${colour}.png`, "bgr"))[0].index, 2 - i);
  }
  await deploy("last", "channels_last.onnx", { mean: [0.5, 0.5, 0.5], std: [0.1, 0.1, 0.1], activation: "sigmoid" });
  const [red, green, blue] = await labelsOf("red.png", "last");
  assert.deepEqual([red.index, green.index, blue.index], [0, 1, 2]);
  assert.ok(Math.abs(red.score - 1 / (1 + Math.exp(-5))) < 1e-5, `${red.score}`);
  assert.ok(Math.abs(green.score - 1 / (1 + Math.exp(5))) < 1e-5, `${green.score}`);
  // A picture of 40x10 whose middle 10x10 are red, and all else is blue.
  const raw = { ...channels, activation: "none" };
  const redShare = async (name) => (await labelsOf("wide.png", name)).find(({ label }) => label === "red").score;
  await deploy("stretched", "channels.onnx", raw);
  assert.ok(Math.abs((await redShare("stretched")) - 0.25) < 0.01);
  await deploy("cropped", "channels.onnx", { ...raw, resize: "crop", crop_pct: 1, interpolation: "bicubic" });
  assert.ok((await redShare("cropped")) > 0.95);
  await deploy("padded", "channels.onnx", { ...raw, resize: "pad" });
  assert.ok(Math.abs((await redShare("padded")) - 0.25 * 0.25) < 0.01);
  // Black on white for a model of white on black.
  await deploy("inverted", "model.onnx", { mean: 1, std: -1, labels: "labels.txt" });
  assert.equal((await labelsOf("inverted.png", "inverted"))[0].label, "three");
  await deploy("shares", "channels.onnx", { ...channels, output: "shares", top_k: 1 });
  // A model of whole numbers that answers in halves.
  await deploy("wholes", "channels_uint8.onnx", { activation: "none" });
  assert.deepEqual((await labelsOf("green.png", "wholes")).map(({ index, score }) => [index, score]), [[1, 255], [0, 0], [2, 0]]);
  const { revision } = (await platform.json("show", "shares")).function;
  assert.equal(revision.notes.task, "3 classes of 8x8 RGB pictures, activation none");
});

// The same by Pillow and numpy, as people write it: what torchvision, timm and Keras do.
const transforms = `
import json, sys
import numpy
from PIL import Image, ImageOps
picture = Image.open(sys.argv[1]).convert("RGB")
def crop(side, pct, filter):
    short = int(side / pct)
    width, height = picture.size
    scaled = (short, short * height // width) if width <= height else (short * width // height, short)
    left, top = (round((each - side) / 2) for each in scaled)
    return picture.resize(scaled, filter).crop((left, top, left + side, top + side))
def pad(side, filter):
    return ImageOps.pad(picture, (side, side), filter, color=(0, 0, 0))
def normal(picture, mean, std, scale=1 / 255):
    return (numpy.asarray(picture, "float32") * scale - mean) / std
imagenet = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
first = lambda values: values.transpose(2, 0, 1).ravel().tolist()
print(json.dumps({
    "torchvision": first(normal(crop(16, 0.875, Image.BILINEAR), *imagenet)),
    "timm": first(normal(crop(16, 0.95, Image.BICUBIC), *imagenet)),
    "tf": first(normal(picture.resize((16, 16), Image.BILINEAR), 1, 1, 1 / 127.5)),
    "caffe": first(numpy.asarray(picture.resize((18, 14), Image.BILINEAR), "float32")[:, :, ::-1]
                   - (103.939, 116.779, 123.68)),
    "letterbox": first(normal(pad(16, Image.BILINEAR), 0, 1)),
}))
`;

test("a model is given what Pillow and numpy would give it", async () => {
  const imagenet = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
  const recipes = {
    torchvision: { size: 16, resize: "crop", ...imagenet },
    timm: { size: 16, resize: "crop", crop_pct: 0.95, interpolation: "bicubic", ...imagenet },
    tf: { size: 16, scale: "1/127.5", mean: 1 },
    caffe: { size: "18x14", scale: 1, mean: [103.939, 116.779, 123.68], channel_order: "bgr" },
    letterbox: { size: 16, resize: "pad" },
  };
  const file = path.join(platform.dir, "pictures/photo.png");
  const wanted = JSON.parse(execFileSync("/usr/bin/python3", ["-c", transforms, file]));
  for (const [name, options] of Object.entries(recipes)) {
    const { code, stderr } = await classifier(name, "flatten.onnx", { ...options, activation: "none", top_k: 1000 });
    assert.equal(code, 0, stderr);
    const labels = await labelsOf("photo.png", name);
    assert.equal(labels.length, wanted[name].length);
    // Pillow rounds to whole pixel values after each direction.
    const step = name === "caffe" ? 1 : name === "tf" ? 1 / 127.5 : 1 / 255 / (options.std ? 0.224 : 1);
    for (const { index, score } of labels) {
      const off = Math.abs(score - wanted[name][index]);
      assert.ok(off < 1.05 * step, `${name} ${index}: ${score}, not ${wanted[name][index]}`);
    }
  }
});

test("a wrong option is refused as it is deployed, and named", async () => {
  const rows = [
    ["model.onnx", { lables: "labels.txt" }, /task_options: there is no option "lables"; image-classification has labels size/],
    ["model.onnx", { labels: "names.txt" }, /task_options: labels: "names\.txt"/],
    ["model.onnx", { labels: "colours.txt" }, /labels: "colours\.txt" has 3 lines, and the model tells 10 classes apart/],
    ["model.onnx", { mean: [0.485, 0.456, 0.406] }, /mean: 3 numbers, and the model takes 1 channel/],
    ["model.onnx", { std: 0 }, /std: "0" is not allowed; allowed is a number but 0/],
    ["model.onnx", { size: 224 }, /size: the model takes pictures of one size, FP32 \[-1,1,8,8\]/],
    ["model.onnx", { resize: "fit" }, /resize: "fit" is not allowed; allowed is stretch, crop, pad/],
    ["model.onnx", { crop_pct: 0.9 }, /crop_pct is only for resize: crop/],
    ["model.onnx", { activation: "relu" }, /activation: "relu" is not allowed; allowed is softmax, sigmoid, none/],
    ["model.onnx", { top_k: 0 }, /top_k: "0" is not allowed; allowed is from 1 to 1000/],
    ["channels.onnx", { output: "means" }, /size is missing: the model takes pictures of any size/],
    ["channels.onnx", { size: 8 }, /output is missing: say which .*: means, shares, one, roots, all/],
    ["channels.onnx", { size: 8, output: "all" }, /"all" came as FP32 \[1,3,8,8\], which is no list of classes/],
    ["channels.onnx", { size: 8, output: "one" }, /activation is missing: the model gives one number/],
    ["matmul.onnx", {}, /input "x" is FP32 \[1,4\], which is no picture/],
    ["add.onnx", {}, /the model takes 2 inputs \(a, b\)/],
  ];
  const before = await platform.status("digits");
  for (const [model, options, says] of rows) {
    const { code, stderr } = await classifier("digits", model, options);
    assert.notEqual(code, 0);
    assert.match(stderr, says);
  }
  assert.equal((await platform.status("digits")).revision, before.revision);
  assert.equal((await send(read("four.png"))).status, 200);
});

test("a model whose answer is no number is to blame for it", async () => {
  assert.equal((await classifier("roots", "channels.onnx", { size: 8, output: "roots" })).code, 0);
  const { status, text } = await send(pictures["red.png"], "image/png", "roots");
  assert.equal(status, 502, text);
  assert.match(JSON.parse(text).error.message, /the model's answer for class 0 is not a number/);
});

test("other dialects are answered as for any task: it takes pictures, not tensors", async () => {
  const about = JSON.parse((await platform.request("GET", "/v2/models/digits")).text);
  assert.deepEqual(about.inputs, [{ name: "image", datatype: "FP32", shape: [-1, 1, 8, 8] }]);
  const data = Array(64).fill(0);
  const infer = JSON.stringify({ inputs: [{ name: "image", datatype: "FP32", shape: [1, 1, 8, 8], data }] });
  const headers = { "content-type": "application/json" };
  const kserve = await platform.request("POST", "/v2/models/digits/infer", { body: infer, headers });
  assert.equal(kserve.status, 415, kserve.text);
  assert.match(JSON.parse(kserve.text).error, /takes no tensors: its task, image-classification, makes them of pictures; POST one to \/f\/digits/);
  const npy = await send(Buffer.from("\x93NUMPY"), "application/x-npy");
  assert.equal(npy.status, 415, npy.text);
});
