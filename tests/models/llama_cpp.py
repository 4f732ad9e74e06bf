"""As much of llama.cpp's C API as tests of model files need, on one thread.

The layouts are those of the release that scripts/setup.d/llm pins.
"""
import ctypes as c
import pathlib

import numpy as np


class ModelParams(c.Structure):
    _fields_ = [("devices", c.c_void_p), ("buffer_types", c.c_void_p), ("numbers", c.c_int32 * 5),
                ("pointers", c.c_void_p * 4), ("flags", c.c_bool * 6)]


class ContextParams(c.Structure):
    _fields_ = [("context", c.c_uint32), ("batch", c.c_uint32), ("microbatch", c.c_uint32),
                ("sequences", c.c_uint32 * 4), ("threads", c.c_int32 * 2), ("kinds", c.c_int * 5),
                ("floats", c.c_float * 6), ("yarn_context", c.c_uint32), ("defrag", c.c_float),
                ("callback", c.c_void_p * 2), ("cache", c.c_int * 2), ("abort", c.c_void_p * 2),
                ("embeddings", c.c_bool), ("flags", c.c_bool * 5), ("rest", c.c_void_p * 3)]


class Batch(c.Structure):
    _fields_ = [("tokens", c.c_int32), ("arrays", c.c_void_p * 6)]


SILENT = c.CFUNCTYPE(None, c.c_int, c.c_char_p, c.c_void_p)(lambda *_: None)
POINTERS = ("llama_model_load_from_file", "llama_init_from_model", "llama_model_get_vocab",
            "llama_get_memory")
FLOATS = ("llama_get_logits_ith", "llama_get_embeddings_seq")


def library(folder):
    folder = pathlib.Path(folder)
    ggml = c.CDLL(str(next(folder.glob("libggml.v*.so"))))
    llama = c.CDLL(str(next(folder.glob("libllama.v*.so"))))
    llama.llama_log_set(SILENT, None)
    ggml.ggml_backend_load_all_from_path(str(folder).encode())
    llama.llama_model_default_params.restype = ModelParams
    llama.llama_context_default_params.restype = ContextParams
    llama.llama_batch_get_one.restype = Batch
    for name in POINTERS:
        getattr(llama, name).restype = c.c_void_p
    for name in FLOATS:
        getattr(llama, name).restype = c.POINTER(c.c_float)
    llama.llama_model_load_from_file.argtypes = [c.c_char_p, ModelParams]
    llama.llama_init_from_model.argtypes = [c.c_void_p, ContextParams]
    return llama


class Model:
    """Loaded, with a context as long as it was trained for. Lives as long as the program."""

    def __init__(self, llama, path, embeds=False):
        self.llama = llama
        self.model = c.c_void_p(llama.llama_model_load_from_file(
            str(path).encode(), llama.llama_model_default_params()))
        if not self.model:
            raise RuntimeError(f"llama.cpp does not load {path}")
        params = llama.llama_context_default_params()
        params.context = 0
        params.threads[:] = 1, 1
        params.embeddings = embeds
        self.context = c.c_void_p(llama.llama_init_from_model(self.model, params))
        self.vocabulary = c.c_void_p(llama.llama_model_get_vocab(self.model))

    def tokens(self, text, special=False):
        said = text.encode()
        found = (c.c_int32 * (len(said) + 8))()
        count = self.llama.llama_tokenize(self.vocabulary, said, len(said), found, len(found), special, special)
        return list(found[:count])

    def piece(self, token):
        said = c.create_string_buffer(256)
        size = self.llama.llama_token_to_piece(self.vocabulary, token, said, len(said), 0, True)
        return said.raw[:size]

    def text(self, tokens):
        return b"".join(map(self.piece, tokens))

    def forget(self):
        self.llama.llama_memory_clear(c.c_void_p(self.llama.llama_get_memory(self.context)), True)

    def read(self, tokens):
        held = (c.c_int32 * len(tokens))(*tokens)
        batch = self.llama.llama_batch_get_one(held, len(tokens))
        if self.llama.llama_decode(self.context, batch) != 0:
            raise RuntimeError("llama.cpp does not decode")

    def logits(self, tokens):
        """Of what may follow the last of the tokens, after all that was read before."""
        self.read(tokens)
        count = self.llama.llama_vocab_n_tokens(self.vocabulary)
        return np.ctypeslib.as_array(self.llama.llama_get_logits_ith(self.context, -1), (count,)).copy()

    def embedding(self, text):
        self.read(self.tokens(text, special=True))
        width = self.llama.llama_model_n_embd(self.model)
        found = np.ctypeslib.as_array(self.llama.llama_get_embeddings_seq(self.context, 0), (width,))
        return found / np.linalg.norm(found)
