#include "runtimes/llm/model.h"

#include <fcntl.h>
#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <exception>
#include <optional>

#include "runtimes/llm/gguf_header.h"
#include "runtimes/llm/library.h"
#include "runtimes/llm/memory.h"
#include "runtimes/llm/placement.h"
#include "runtimes/llm/weights.h"
#include "wire/socket.h"

namespace dormouse::llm {
namespace {

constexpr std::int32_t batch_tokens_max = 512;  // Of one step, and so until a cancel is heard.

std::string mib(std::uint64_t bytes) {
  return std::to_string((bytes + (1 << 19)) >> 20) + " MiB";
}

Result<GgufHeader> header_of(const std::string& path) {
  const wire::Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status{};
  if (!file || fstat(file.number(), &status) != 0) {
    return system_error(Code::invalid_argument, "opening the model");
  }
  const auto size = static_cast<std::size_t>(status.st_size);
  if (!S_ISREG(status.st_mode) || size == 0) {
    return Error{Code::invalid_argument, "model: it is empty, or no file"};
  }
  void* mapped = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.number(), 0);
  if (mapped == MAP_FAILED) return system_error(Code::function_failed, "mapping the model");
  auto header = check_gguf(Bytes(static_cast<const std::byte*>(mapped), size));
  munmap(mapped, size);
  if (!header) return std::move(header).error().during("model");
  return header;
}

std::optional<enum llama_pooling_type> pooling(std::string_view name) {
  if (name.empty()) return LLAMA_POOLING_TYPE_UNSPECIFIED;
  if (name == "none") return LLAMA_POOLING_TYPE_NONE;
  if (name == "mean") return LLAMA_POOLING_TYPE_MEAN;
  if (name == "cls") return LLAMA_POOLING_TYPE_CLS;
  if (name == "last") return LLAMA_POOLING_TYPE_LAST;
  return std::nullopt;
}

std::string said(std::string what) {
  const std::string complaint = last_complaint();
  return complaint.empty() ? what : what + ": " + complaint;
}

std::string metadata(const llama_model& model, const std::string& key) {
  char text[64] = {};
  return llama_model_meta_val_str(&model, key.c_str(), text, sizeof text) < 0 ? "" : text;
}

// A number of its architecture: "attention.key_length".
std::optional<std::uint64_t> said_in_file(const llama_model& model, const std::string& name) {
  const std::string text = metadata(model, metadata(model, "general.architecture") + "." + name);
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(number)
                                                                  : std::nullopt;
}

}  // namespace

// They wait for work beside the thread that computes, which is one of their number.
struct Model::Threads {
  explicit Threads(std::int32_t count) {
    ggml_threadpool_params params = ggml_threadpool_params_default(count);
    // They look for work for some milliseconds after each step, and then sleep. As llama.cpp has it
    // they look for a fifth of a second, which whoever computes beside them then waits for.
    params.poll = 1;
    params.paused = true;
    pool = of_backend<decltype(&ggml_threadpool_new)>("ggml_threadpool_new")(&params);
  }
  ~Threads() {
    if (pool != nullptr) of_backend<decltype(&ggml_threadpool_free)>("ggml_threadpool_free")(pool);
  }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

  ggml_threadpool_t pool = nullptr;
};

Model::Model(const Settings& settings) : settings_(settings) {
}

Model::~Model() {
  if (threads_) llama_detach_threadpool(context_.get());
}

Result<std::unique_ptr<Model>> Model::open(const Settings& settings) {
  const auto header = header_of(settings.path);
  if (!header) return header.error();
  std::unique_ptr<Model> model(new Model(settings));
  try {
    if (auto loaded = model->load(*header); !loaded) return std::move(loaded).error();
    if (auto made = model->make_context(); !made) return std::move(made).error();
  } catch (const std::exception& failure) {
    return Error{Code::invalid_argument, said("model: " + std::string(failure.what()))};
  }
  return model;
}

Result<> Model::load(const GgufHeader& header) {
  llama_model_params params = llama_model_default_params();
  // Of all else a device has a copy.
  const bool stay_in_file = settings_.mapped || !settings_.device.empty();
  params.use_extra_bufts = !stay_in_file;
  params.load_mode = LLAMA_LOAD_MODE_MMAP;
  if (!stay_in_file) params.lazy_mode = LLAMA_LAZY_MODE_OFF;  // All of it is in memory.
  params.n_gpu_layers = settings_.device.empty() ? 0 : -1;    // -1: all.
  last_complaint();
  const bool has_helper = settings_.threads > 1;
  std::optional<Weights> weights;
  if (!stay_in_file) weights.emplace(settings_.path, header, has_helper);
  {
    const Loading loading(has_helper);
    model_.reset(llama_model_load_from_file(settings_.path.c_str(), params));
  }
  if (!model_) {
    return Error{Code::invalid_argument, said("model: llama.cpp does not load it")};
  }
  if (weights) {
    if (auto brought = weights->bring(model_.get()); !brought) return brought;
  }
  vocabulary_ = llama_model_get_vocab(model_.get());
  if (llama_vocab_n_tokens(vocabulary_) == 0) {
    return Error{Code::invalid_argument, "model: it has no vocabulary"};
  }
  for (Token token = 0; token < llama_vocab_n_tokens(vocabulary_); ++token) {
    if (ends(token)) end_tokens_.push_back(token);
    std::string said = piece(token, true);
    token_bytes_max_ = std::max(token_bytes_max_, said.size());
    const bool is_mark = ends(token) || llama_vocab_is_control(vocabulary_, token);
    if (is_mark && said.size() > 1) marks_.push_back(std::move(said));
  }
  return ok;
}

Result<> Model::make_context() {
  const std::int32_t trained = llama_model_n_ctx_train(model_.get());
  const auto asked = pooling(settings_.pooling);
  if (!asked) {
    return Error{Code::invalid_argument, "llm.pooling: expected none, mean, cls or last"};
  }
  if (settings_.context > trained && trained > 0) {
    return Error{Code::invalid_argument, "llm.context: the model was trained with " +
                                             std::to_string(trained) + " tokens, not " +
                                             std::to_string(settings_.context)};
  }
  context_tokens_ = settings_.context > 0 ? settings_.context
                    : trained > 0         ? std::min(trained, context_default)
                                          : context_default;
  llama_context_params params = llama_context_default_params();
  params.n_seq_max = static_cast<std::uint32_t>(settings_.sequences);
  params.n_ctx = static_cast<std::uint32_t>(context_tokens_ * settings_.sequences);
  params.kv_unified = true;  // So that sequences share what they begin with.
  params.swa_full = true;    // So that the end of a sequence can be taken off.
  params.n_threads = params.n_threads_batch = settings_.threads;
  params.pooling_type = *asked;
  params.no_perf = true;
  batch_tokens_ = std::min(context_tokens_, batch_tokens_max);
  last_complaint();
  params.n_batch = params.n_ubatch = static_cast<std::uint32_t>(batch_tokens_);
  context_.reset(llama_init_from_model(model_.get(), params));
  if (context_ && llama_pooling_type(context_.get()) > LLAMA_POOLING_TYPE_NONE) {
    // What makes a vector sees all of a text at once.
    embeds_ = true;
    batch_tokens_ = context_tokens_;
    params.embeddings = true;
    params.n_batch = params.n_ubatch = static_cast<std::uint32_t>(batch_tokens_);
    context_.reset();
    context_.reset(llama_init_from_model(model_.get(), params));
  }
  if (!context_) {
    return Error{Code::invalid_argument, said("model: llama.cpp makes no context of it")};
  }
  const bool ranks = llama_pooling_type(context_.get()) == LLAMA_POOLING_TYPE_RANK;
  const bool continues = llama_model_has_decoder(model_.get()) &&
                         !llama_model_has_encoder(model_.get()) && memory() != nullptr &&
                         !llama_model_is_diffusion(model_.get());
  if (ranks || (!embeds_ && !continues)) {
    return Error{Code::unsupported,
                 "model: it neither continues a text nor makes one vector of it"};
  }
  forgets_partly_ = !llama_model_is_recurrent(model_.get()) && !llama_model_is_hybrid(model_.get());
  return ok;
}

void Model::start_threads() {
  if (settings_.threads <= 1) return;
  const std::vector<pid_t> before = other_threads();  // Of a card, say.
  threads_ = std::make_unique<Threads>(settings_.threads);
  if (threads_->pool == nullptr) return threads_.reset();
  std::vector<pid_t> made = other_threads();
  std::erase_if(made,
                [&](pid_t thread) { return std::ranges::find(before, thread) != before.end(); });
  placement().take(std::move(made));
  llama_attach_threadpool(context_.get(), threads_->pool, threads_->pool);
}

std::vector<Token> Model::tokens(std::string_view text, bool marked, bool whole) const {
  const auto size = static_cast<std::int32_t>(text.size());
  std::vector<Token> tokens(text.size() + 8);
  const auto tokenize = [&] {
    return llama_tokenize(vocabulary_, text.data(), size, tokens.data(),
                          static_cast<std::int32_t>(tokens.size()), whole, marked);
  };
  std::int32_t count = tokenize();
  if (count < 0) {
    tokens.resize(static_cast<std::size_t>(-count));
    count = tokenize();
  }
  tokens.resize(static_cast<std::size_t>(std::max(count, 0)));
  return tokens;
}

std::string Model::piece(Token token, bool marks) const {
  std::string piece(32, '\0');
  const auto write = [&] {
    return llama_token_to_piece(vocabulary_, token, piece.data(),
                                static_cast<std::int32_t>(piece.size()), 0, marks);
  };
  std::int32_t size = write();
  if (size < 0) {
    piece.resize(static_cast<std::size_t>(-size));
    size = write();
  }
  piece.resize(static_cast<std::size_t>(std::max(size, 0)));
  return piece;
}

bool Model::has(Token token) const {
  return token >= 0 && token < llama_vocab_n_tokens(vocabulary_);
}

bool Model::overflows(std::size_t bytes) const {
  return bytes / token_bytes_max_ > static_cast<std::size_t>(context_tokens_);
}

std::string Model::description() const {
  char buffer[128] = {};
  llama_model_desc(model_.get(), buffer, sizeof buffer);
  std::string description = buffer;
  // It knows the names of some sizes only.
  const std::uint64_t millions = (llama_model_n_params(model_.get()) + 500'000) / 1'000'000;
  const auto at = description.find("?B");
  if (at != description.npos) description.replace(at, 2, std::to_string(millions) + "M");
  return description;
}

// Keys and values, in two bytes each, of every layer.
std::uint64_t Model::context_bytes() const {
  const std::int32_t heads = std::max(llama_model_n_head(model_.get()), 1);
  const std::uint64_t length = static_cast<std::uint64_t>(llama_model_n_embd(model_.get()) / heads);
  const std::uint64_t of_both = said_in_file(*model_, "attention.key_length").value_or(length) +
                                said_in_file(*model_, "attention.value_length").value_or(length);
  const auto heads_of_layers = static_cast<std::uint64_t>(llama_model_n_layer(model_.get())) *
                               static_cast<std::uint64_t>(llama_model_n_head_kv(model_.get()));
  const auto tokens =
      static_cast<std::uint64_t>(context_tokens_) * static_cast<std::uint64_t>(settings_.sequences);
  return tokens * heads_of_layers * of_both * 2;
}

std::uint64_t Model::full_bytes() const {
  return settings_.device.empty() ? llama_model_size(model_.get()) + context_bytes() : 0;
}

// Vectors are made without keeping anything. Weights that stay in their file the node may let go
// of.
std::string Model::shortage(std::uint64_t memory_bytes) const {
  const std::uint64_t needed = settings_.mapped ? context_bytes() : full_bytes();
  if (embeds_ || needed <= memory_bytes) return {};
  const std::string what = settings_.mapped ? "the context takes" : "weights and context take";
  return "too little for long conversations: " + what + " some " + mib(needed) +
         " when all of it is full, and " + mib(memory_bytes) +
         " are declared: a call may end its instance; give it more, or less llm.context";
}

wire::Options Model::notes() const {
  std::string context = std::to_string(context_tokens_) + " tokens, " +
                        std::to_string(settings_.sequences) + " at a time";
  if (!embeds_) context += "; some " + mib(context_bytes()) + " when all of it is full";
  return {{"model", description()}, {"context", std::move(context)}, {"weights", weights()}};
}

std::string Model::weights() const {
  const std::string size = mib(llama_model_size(model_.get()));
  const std::string memory = size + " of memory", cache = size + " of page cache";
  if (!settings_.device.empty()) return "on " + settings_.device + ", " + size;
  return settings_.mapped ? "mapped, " + cache + "; in memory they would take " + memory
                          : "in memory, " + memory + "; mapped they would take " + cache;
}

}  // namespace dormouse::llm
