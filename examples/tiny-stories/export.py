"""Writes a learned model as a GGUF file that llama.cpp runs as it is: matrices in FP16, norms in FP32."""
import numpy as np

import gguf
import tokenizer as t
import transformer

TEMPLATE = "".join([
    "{%- for message in messages -%}",
    "{%- if message.role not in ['system', 'user', 'assistant'] -%}",
    "{{- raise_exception('this model knows the roles system, user and assistant') -}}",
    "{%- endif -%}",
    "{{- '<|' + message.role + '|>' + (message.content | trim) + '<|end|>' -}}",
    "{%- endfor -%}",
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}",
])


def describe(file, shape):
    file.add_name("tiny-stories")
    file.add_description("A few million weights that have learned from the King James Bible.")
    file.add_context_length(shape.context)
    file.add_embedding_length(shape.width)
    file.add_block_count(shape.layers)
    file.add_feed_forward_length(shape.hidden)
    file.add_head_count(shape.heads)
    file.add_head_count_kv(shape.heads)
    file.add_rope_dimension_count(shape.head)
    file.add_rope_freq_base(transformer.ROTATION_BASE)
    file.add_layer_norm_rms_eps(transformer.EPSILON)
    file.add_file_type(gguf.LlamaFileType.MOSTLY_F16)


def add_tokens(file, tokens):
    kinds = {t.UNKNOWN: gguf.TokenType.UNKNOWN, **dict.fromkeys(t.CONTROL, gguf.TokenType.CONTROL),
             **dict.fromkeys(t.BYTES, gguf.TokenType.BYTE)}
    file.add_tokenizer_model("llama")
    file.add_tokenizer_pre("default")
    file.add_token_list(tokens.texts)
    file.add_token_scores(tokens.scores)
    file.add_token_types([kinds.get(text, gguf.TokenType.NORMAL) for text in tokens.texts])
    file.add_unk_token_id(tokens.ids[t.UNKNOWN])
    file.add_bos_token_id(tokens.ids[t.BEGIN])
    file.add_eos_token_id(tokens.ids[t.END])
    file.add_eot_token_id(tokens.ids[t.END_OF_TURN])
    file.add_add_bos_token(True)
    file.add_add_space_prefix(False)
    file.add_chat_template(TEMPLATE)


def save(path, model, tokens):
    file = gguf.GGUFWriter(path, "llama")
    describe(file, model.shape)
    add_tokens(file, tokens)
    for name, values in model.named_parameters():
        kind = np.float16 if values.ndim == 2 else np.float32
        file.add_tensor(name + ".weight", values.detach().numpy().astype(kind))
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
