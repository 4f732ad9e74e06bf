#!/usr/bin/python3
"""llm.py FOLDER [NAME ...]: writes the language models that the benchmarks run, the same bytes each time.

Their weights are random; their vocabulary of 32,000 tokens is a real one. llama.cpp quantises them, as
its own tool does. Each is 250 to 300 MB, so those of four bits have twice the layers:

  q8_0      8 layers of width 1536
  q4_0     16 layers, the same
  q4_k_m   16 layers, the same

Needs Debian's python3-numpy and python3-yaml, and $DORMOUSE_DEPS/llama (default: .deps in the repository),
which scripts/setup lays. A model that this version of the script has written already is kept.
"""
import ctypes
import hashlib
import os
import pathlib
import sys
import tempfile

import numpy as np

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
LLAMA = pathlib.Path(os.environ.get("DORMOUSE_DEPS") or REPOSITORY / ".deps") / "llama"
VOCABULARY = LLAMA / "vocabularies/ggml-vocab-llama-spm.gguf"
sys.path.insert(0, str(LLAMA / "gguf-py"))
import gguf  # noqa: E402

WIDTH, HEADS, KV_HEADS, HEAD, HIDDEN, CONTEXT = 1536, 24, 8, 64, 4096, 4096
TEMPLATE = ("{% for message in messages %}{{ '### ' + message.role + '\\n' + message.content + '\\n' }}"
            "{% endfor %}{% if add_generation_prompt %}{{ '### assistant\\n' }}{% endif %}")
# Layers, and llama.h's number of the kind of file.
MODELS = {"q8_0": (8, 7), "q4_0": (16, 2), "q4_k_m": (16, 15)}


class QuantizeParams(ctypes.Structure):
    """llama_model_quantize_params, as the release that scripts/setup.d/llm pins has it."""
    _fields_ = [("threads", ctypes.c_int32), ("kind", ctypes.c_int), ("output", ctypes.c_int),
                ("embedding", ctypes.c_int), ("flags", ctypes.c_bool * 6), ("rest", ctypes.c_void_p * 4),
                ("buffer_bytes_max", ctypes.c_size_t)]


def add_vocabulary(file):
    """Gives the number of its tokens."""
    fields = gguf.GGUFReader(VOCABULARY).fields
    for name, field in fields.items():
        if name.startswith("tokenizer."):
            of = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            file.add_key_value(name, field.contents(), field.types[0], of)
    return len(fields["tokenizer.ggml.tokens"].data)


def describe(file, layers):
    file.add_name(f"dormouse's benchmarks: {layers} layers")
    file.add_context_length(CONTEXT)
    file.add_embedding_length(WIDTH)
    file.add_block_count(layers)
    file.add_feed_forward_length(HIDDEN)
    file.add_head_count(HEADS)
    file.add_head_count_kv(KV_HEADS)
    file.add_rope_dimension_count(HEAD)
    file.add_layer_norm_rms_eps(1e-5)
    file.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    file.add_chat_template(TEMPLATE)


def write_halves(path, layers):
    """The model in FP16."""
    random = np.random.default_rng(layers)
    file = gguf.GGUFWriter(path, "llama", use_temp_file=True)
    describe(file, layers)
    tokens = add_vocabulary(file)

    def matrix(name, rows, columns, silent=0):
        values = random.standard_normal((rows, columns), dtype=np.float32) * np.float32(columns ** -0.5)
        values[:silent] = 0
        file.add_tensor(name + ".weight", values.astype(np.float16))

    def norm(name):
        file.add_tensor(name + ".weight", np.ones(WIDTH, np.float32))

    # It is the output's matrix, too: the first three, <unk>, <s> and </s>, are never the likeliest.
    matrix("token_embd", tokens, WIDTH, silent=3)
    for layer in range(layers):
        block = f"blk.{layer}."
        norm(block + "attn_norm")
        matrix(block + "attn_q", HEADS * HEAD, WIDTH)
        matrix(block + "attn_k", KV_HEADS * HEAD, WIDTH)
        matrix(block + "attn_v", KV_HEADS * HEAD, WIDTH)
        matrix(block + "attn_output", WIDTH, HEADS * HEAD)
        norm(block + "ffn_norm")
        matrix(block + "ffn_gate", HIDDEN, WIDTH)
        matrix(block + "ffn_up", HIDDEN, WIDTH)
        matrix(block + "ffn_down", WIDTH, HIDDEN)
    norm("output_norm")
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


def quantise(source, target, kind):
    llama = ctypes.CDLL(str(next((LLAMA / "lib").glob("libllama.v*.so"))))
    llama.llama_model_quantize_default_params.restype = QuantizeParams
    llama.llama_model_quantize.restype = ctypes.c_uint32
    llama.llama_model_quantize.argtypes = [ctypes.c_char_p, ctypes.c_char_p,
                                           ctypes.POINTER(QuantizeParams)]
    silent = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
    llama.llama_log_set(silent, None)
    params = llama.llama_model_quantize_default_params()
    params.kind = kind
    if llama.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params)) != 0:
        sys.exit(f"llm.py: llama.cpp could not quantise {target}")


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
        layers, kind = MODELS[name]
        with tempfile.TemporaryDirectory(dir=folder) as work:
            halves, made = pathlib.Path(work) / "f16.gguf", pathlib.Path(work) / "made.gguf"
            write_halves(halves, layers)
            quantise(halves, made, kind)
            made.rename(folder / f"{name}.gguf")
        stamp.write_text(version)


if __name__ == "__main__":
    main()
