#!/usr/bin/python3
"""make.py [FOLDER]: writes the tests' models, llama.gguf and bert.gguf, into FOLDER or next to this file.

Their weights are random, and the same each time. Needs Debian's python3-numpy and python3-yaml, and
gguf-py out of $DORMOUSE_DEPS/llama (default: .deps/llama in the repository), which scripts/setup lays.

  llama.gguf  generates text. 2 layers of width 64, 2,048 tokens of context. Any text has tokens: what
              its vocabulary lacks becomes a token for each byte. Its template is ChatML's, which knows
              the roles system, user and assistant, and ends each turn with <|im_end|>
  bert.gguf   embeds: 64 numbers, the mean over 256 tokens at most. Lower case letters, digits, and some
              whole words; other words become [UNK]. Texts with words in common are nearer
"""
import os
import pathlib
import string
import sys

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
DEPS = pathlib.Path(os.environ.get("DORMOUSE_DEPS") or HERE.parents[2] / ".deps")
sys.path.insert(0, str(DEPS / "llama/gguf-py"))
import gguf  # noqa: E402

WIDTH, HEADS, KV_HEADS, HIDDEN, LAYERS = 64, 4, 2, 128, 2
WORDS = """the and of to a in that he was it his with is for as had you not be her on at by which have
are this from but all they were there we one my so said out who what them into if will would time then
man day night house sea moon sun tree river dormouse sleeps wakes hello world model token""".split()
TEMPLATE = """{%- for message in messages -%}
{%- if message.role not in ['system', 'user', 'assistant'] -%}
{{- raise_exception('the roles are system, user and assistant') -}}
{%- endif -%}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""


class Model:
    """A GGUF file being written, and the random numbers that go into it."""

    def __init__(self, architecture, seed):
        self.gguf = gguf.GGUFWriter(None, architecture)
        self.random = np.random.default_rng(seed)
        self.gguf.add_name(f"dormouse's tests: {architecture}")
        self.gguf.add_block_count(LAYERS)
        self.gguf.add_embedding_length(WIDTH)
        self.gguf.add_feed_forward_length(HIDDEN)
        self.gguf.add_head_count(HEADS)
        self.gguf.add_file_type(gguf.LlamaFileType.MOSTLY_F16)

    def matrix(self, name, rows, columns, scale=1.0, kind=np.float16):
        values = self.random.standard_normal((rows, columns), dtype=np.float32)
        self.put(name, values * np.float32(scale / columns ** 0.5), kind)

    def vector(self, name, length, around):
        values = self.random.standard_normal(length, dtype=np.float32) * np.float32(0.1)
        self.put(name, values + np.float32(around), np.float32)

    def put(self, name, values, kind):
        self.gguf.add_tensor(name, values.astype(kind))

    def tokens(self, tokens, kinds):
        self.gguf.add_token_list(tokens)
        self.gguf.add_token_types(kinds)

    def save(self, path):
        self.gguf.write_header_to_file(path)
        self.gguf.write_kv_data_to_file()
        self.gguf.write_tensors_to_file()
        self.gguf.close()


def once(texts):
    return list(dict.fromkeys(texts))


def llama_tokens():
    """Texts and types, by id. Each token of several characters is reached by merging shorter ones."""
    control, byte = gguf.TokenType.CONTROL, gguf.TokenType.BYTE
    tokens = [("<unk>", gguf.TokenType.UNKNOWN), ("<s>", control), ("</s>", control)]
    tokens += [(f"<0x{value:02X}>", byte) for value in range(256)]
    spaced = ["▁" + word for word in WORDS]
    merged = once(word[:length] for word in spaced for length in range(2, len(word) + 1))
    single = ["▁", *string.printable.strip()]
    tokens += [(text, gguf.TokenType.NORMAL) for text in [*merged, *single]]
    return tokens + [("<|im_start|>", control), ("<|im_end|>", control)]


def make_llama(path):
    model = Model("llama", 1)
    model.gguf.add_context_length(2048)
    model.gguf.add_head_count_kv(KV_HEADS)
    model.gguf.add_rope_dimension_count(WIDTH // HEADS)
    model.gguf.add_layer_norm_rms_eps(1e-5)

    tokens = llama_tokens()
    texts = [text for text, _ in tokens]
    model.gguf.add_tokenizer_model("llama")
    model.gguf.add_tokenizer_pre("default")
    model.tokens(texts, [kind for _, kind in tokens])
    model.gguf.add_token_scores([-float(place) for place in range(len(tokens))])
    model.gguf.add_bos_token_id(1)
    model.gguf.add_eos_token_id(2)
    model.gguf.add_unk_token_id(0)
    model.gguf.add_eot_token_id(texts.index("<|im_end|>"))
    model.gguf.add_add_bos_token(True)
    model.gguf.add_add_space_prefix(False)
    model.gguf.add_chat_template(TEMPLATE)

    head = WIDTH // HEADS
    model.matrix("token_embd.weight", len(tokens), WIDTH, scale=8)
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        model.vector(block + "attn_norm.weight", WIDTH, around=1)
        model.matrix(block + "attn_q.weight", HEADS * head, WIDTH, scale=2)
        model.matrix(block + "attn_k.weight", KV_HEADS * head, WIDTH, scale=2)
        model.matrix(block + "attn_v.weight", KV_HEADS * head, WIDTH, scale=2)
        model.matrix(block + "attn_output.weight", WIDTH, HEADS * head, scale=2)
        model.vector(block + "ffn_norm.weight", WIDTH, around=1)
        model.matrix(block + "ffn_gate.weight", HIDDEN, WIDTH, scale=2)
        model.matrix(block + "ffn_up.weight", HIDDEN, WIDTH, scale=2)
        model.matrix(block + "ffn_down.weight", WIDTH, HIDDEN, scale=2)
    model.vector("output_norm.weight", WIDTH, around=1)

    # Bytes and what ends a turn are seldom chosen, so that what is generated is mostly readable.
    output = model.random.standard_normal((len(tokens), WIDTH), dtype=np.float32) * np.float32(0.5)
    output[[kind != gguf.TokenType.NORMAL for _, kind in tokens]] *= np.float32(0.25)
    model.put("output.weight", output, np.float16)
    model.save(path)


def make_bert(path):
    context, kinds = 256, 2
    model = Model("bert", 2)
    model.gguf.add_context_length(context)
    model.gguf.add_layer_norm_eps(1e-12)
    model.gguf.add_causal_attention(False)
    model.gguf.add_pooling_type(gguf.PoolingType.MEAN)

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    # A word's beginning is marked; what follows in it is not.
    pieces = [*string.ascii_lowercase, *string.digits]
    plain = once(["▁" + each for each in [*pieces, *string.punctuation, *WORDS]] + pieces)
    tokens = special + plain
    model.gguf.add_tokenizer_model("bert")
    model.gguf.add_tokenizer_pre("default")
    model.tokens(tokens, [gguf.TokenType.CONTROL] * len(special) +
                 [gguf.TokenType.NORMAL] * len(plain))
    model.gguf.add_token_type_count(kinds)
    model.gguf.add_pad_token_id(0)
    model.gguf.add_unk_token_id(1)
    model.gguf.add_bos_token_id(2)
    model.gguf.add_eos_token_id(3)
    model.gguf.add_sep_token_id(3)
    model.gguf.add_mask_token_id(4)

    def linear(name, rows, columns):
        model.matrix(name + ".weight", rows, columns)
        model.vector(name + ".bias", rows, around=0)

    def norm(name):
        model.vector(name + ".weight", WIDTH, around=1)
        model.vector(name + ".bias", WIDTH, around=0)

    model.matrix("token_embd.weight", len(tokens), WIDTH, scale=8)
    model.matrix("token_types.weight", kinds, WIDTH, kind=np.float32)
    model.matrix("position_embd.weight", context, WIDTH, kind=np.float32)
    norm("token_embd_norm")
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        for each in ("attn_q", "attn_k", "attn_v", "attn_output"):
            linear(block + each, WIDTH, WIDTH)
        norm(block + "attn_output_norm")
        linear(block + "ffn_up", HIDDEN, WIDTH)
        linear(block + "ffn_down", WIDTH, HIDDEN)
        norm(block + "layer_output_norm")
    model.save(path)


def main():
    if len(sys.argv) > 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) == 2 else HERE
    folder.mkdir(parents=True, exist_ok=True)
    make_llama(folder / "llama.gguf")
    make_bert(folder / "bert.gguf")


if __name__ == "__main__":
    main()
