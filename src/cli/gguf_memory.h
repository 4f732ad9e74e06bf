// How much memory the context of a language model takes when it is full: the keys and values of
// every token that its conversations may have, in every layer.
//
// Of a GGUF file the beginning is read, no more than 64 MiB of it, and nothing is believed: what
// does not fit together is 0. Whether the file is sound is for the model's worker to say.
//
// Source  https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; versions 2 and 3.
#pragma once

#include <cstdint>
#include <filesystem>

namespace dormouse::cli {

// Of so many conversations at a time, each as long as a manifest that says nothing has it. 0: the
// model has no such memory, or its header does not say.
std::uint64_t gguf_context_bytes(const std::filesystem::path&, std::uint64_t conversations);

}  // namespace dormouse::cli
