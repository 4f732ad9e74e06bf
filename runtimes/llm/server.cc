#include "runtimes/llm/server.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <fstream>
#include <map>
#include <optional>
#include <thread>

#include "runtimes/include/dormouse.h"
#include "runtimes/llm/keeper.h"
#include "runtimes/llm/library.h"
#include "runtimes/llm/outgoing.h"
#include "runtimes/llm/placement.h"
#include "runtimes/llm/scratch.h"
#include "runtimes/snapshot/template.h"
#include "wire/mapping.h"
#include "wire/worker.h"

namespace dormouse::llm {
namespace {

std::string option(const wire::Options& options, const std::string& key, std::string otherwise) {
  const auto found = options.find(key);
  return found == options.end() || found->second.empty() ? otherwise : found->second;
}

Result<std::int32_t> count(const wire::Options& options, const std::string& key,
                           std::int32_t otherwise, std::int32_t least, std::int32_t most) {
  const std::string text = option(options, key, std::to_string(otherwise));
  std::int32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  if (whole && value >= least && value <= most) return value;
  return Error{Code::invalid_argument, key + ": expected " + std::to_string(least) + " to " +
                                           std::to_string(most) + ", got \"" + text + "\""};
}

Result<Settings> settings_of(const wire::Options& options, const std::string& folder) {
  constexpr std::int32_t context_max = 1 << 22, threads_max = 512;
  const auto context = count(options, "llm.context", 0, 0, context_max);
  if (!context) return context.error();
  const auto sequences = count(options, "concurrency", 1, 1, sequences_max);
  if (!sequences) return sequences.error();
  const auto threads = count(options, "threads", 1, 1, threads_max);
  if (!threads) return threads.error();
  const std::string weights = option(options, "llm.weights", "memory");
  if (weights != "memory" && weights != "mapped") {
    return Error{Code::invalid_argument, "llm.weights: expected memory or mapped"};
  }
  std::string device = accelerators();
  if (weights == "mapped" && !device.empty()) {
    return Error{Code::invalid_argument,
                 "llm.weights: they are copied to " + device + "; leave this field out"};
  }
  return Settings{.path = folder + "/" + option(options, "model", "model.gguf"),
                  .context = *context,
                  .sequences = *sequences,
                  // More wait for each other in every step, hundreds of times as long.
                  .threads = std::clamp<std::int32_t>(
                      static_cast<std::int32_t>(std::thread::hardware_concurrency()), 1, *threads),
                  .mapped = weights == "mapped",
                  .pooling = option(options, "llm.pooling", ""),
                  .device = std::move(device)};
}

constexpr std::int32_t memory_mib_max = 1 << 30;

Result<std::string> text_of(const std::string& path) {
  constexpr std::size_t bytes_max = 1 << 20;
  std::ifstream file(path, std::ios::binary);
  std::string text(bytes_max + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (!text.empty() && text.size() <= bytes_max) return text;
  return Error{Code::invalid_argument, "expected a file of 1 byte to 1 MiB"};
}

class Server {
 public:
  Server(int socket, std::string folder, std::chrono::nanoseconds announces_after)
      : receiver_(socket),
        wire_(socket),
        folder_(std::move(folder)),
        announces_after_(announces_after) {}

  int run() {
    wire_.post(wire::Type::hello, 0,
               wire::encode(wire::Hello{.runtime = "llm", .runtime_version = library_version()}));
    if (!wire_.flush()) return 1;
    const auto loaded = wire::await_load(receiver_);
    if (!loaded) {
      return loaded.error().code == Code::unavailable ? 0 : wire::protocol_broken;
    }
    if (!*loaded) return 0;
    const bool is_template = option(**loaded, "template", "no") == "yes";
    if (!is_template && dormouse_drop_capabilities() != 0) return 1;
    const std::string key = snapshot::key_of({**loaded});
    Error not_woken{Code::not_found, ""};
    if (is_template) {
      not_woken = snapshot::wake_if_saved({**loaded}, key, wire_.socket(), folder_);
    }
    auto ready = load(**loaded);
    if (!ready) return wire_.tell_init_failed(ready.error());
    if (!not_woken.message.empty()) ready->notes["snapshot"] = "not used: " + not_woken.message;
    wire_.post(wire::Type::ready, 0, wire::encode(*ready));
    if (!wire_.flush()) return 1;
    if (is_template && !become_instance({.socket = wire_.socket(),
                                         .ready = std::move(*ready),
                                         .key = key,
                                         .code = folder_,
                                         .settles_large = true})) {
      return 1;
    }
    return serve();
  }

 private:
  struct Running {
    std::shared_ptr<void> mapping;  // Of the body.
    std::unique_ptr<Outgoing> outgoing;
    std::unique_ptr<Call> call;
  };

  Result<wire::Ready> load(const wire::Options& options) {
    const auto settings = settings_of(options, folder_);
    if (!settings) return settings.error();
    auto model = Model::open(*settings);
    if (!model) return std::move(model).error();
    model_ = std::move(*model);
    name_ = option(options, "name", "");
    memory_mib_ = count(options, "memory_mib", 0, 0, memory_mib_max).value_or(0);
    wire::Ready ready{.platform = "llamacpp_gguf", .notes = model_->notes()};
    const std::uint64_t declared = static_cast<std::uint64_t>(memory_mib_) << 20;
    const std::string shortage = declared == 0 ? "" : model_->shortage(declared);
    if (!shortage.empty()) ready.notes["memory"] = shortage;
    const std::string asked = option(options, "threads", "1");
    if (asked != std::to_string(settings->threads)) {
      ready.notes["threads"] = std::to_string(settings->threads) + " of the " + asked +
                               " asked for: the node has no more processors";
    }
    if (!model_->embeds()) {
      auto rendered = try_templates(option(options, "llm.chat_template", ""));
      if (!rendered) return std::move(rendered).error();
      ready.notes["chat template"] = *rendered;
    }
    return ready;
  }

  // Once with a limit, before this process reads them itself.
  Result<std::string> try_templates(const std::string& file) {
    auto source = file.empty() ? Result<std::string>("") : text_of(folder_ + "/" + file);
    if (!source) return std::move(source).error().during("llm.chat_template");
    const bool brings = llama_model_chat_template(model_->model(), nullptr) != nullptr;
    if (brings || !source->empty()) {
      Renderer trial(model_.get(), nullptr, wire_.socket(), *source);
      auto rendered = trial.render(R"({"messages":[{"role":"user","content":"Hello"}]})");
      if (!rendered) return std::move(rendered).error();
    }
    auto templates = ChatTemplates::read(*model_, *source);
    if (!templates) return std::move(templates).error();
    templates_ = std::move(*templates);
    if (!source->empty()) return file;
    return std::string(brings ? "the model's own" : "none in the model: ChatML is used");
  }

  // Returns in instances only. False: this one cannot be.
  bool become_instance(const snapshot::Template& mold) {
    if (!snapshot::live(mold)) return false;
    receiver_ = wire::FrameReceiver(wire_.socket());
    wire_.post(wire::Type::ready, wire::monotonic_us(), wire::encode(wire::Ready{}));
    return wire_.flush().has_value();
  }

  int serve() {
    fcntl(wire_.socket(), F_SETFL, fcntl(wire_.socket(), F_GETFL) | O_NONBLOCK);
    model_->start_threads();
    if (model_->embeds()) {
      embedder_ = std::make_unique<Embedder>(model_.get());
    } else {
      engine_ = std::make_unique<Engine>(model_.get(), aside_bytes());
      engine_->on_computed([this](std::chrono::nanoseconds took) { announce(took); });
      keeper_ = std::make_unique<Keeper>(&wire_, engine_.get());
      renderer_ = std::make_unique<Renderer>(model_.get(), templates_.get(), wire_.socket());
      constexpr int quiet_ms = 3;
      // One that is made for a call gets it at once.
      if (await(quiet_ms) == 0) (void)renderer_->start();
    }
    for (;;) {
      const auto status = turn();
      if (status) return *status;
    }
  }

  // Half of the memory that was declared and that nothing else has a claim to: what computing takes
  // beside weights and context is not known exactly.
  std::uint64_t aside_bytes() const {
    constexpr std::uint64_t mib = 1 << 20, computing_mib = 256;
    const std::uint64_t taken = model_->full_bytes() + computing_mib * mib;
    const auto declared = static_cast<std::uint64_t>(memory_mib_) * mib;
    return declared > taken ? (declared - taken) / 2 : 0;
  }

  // Frames, one step of the model, and what came of it. A status: it is over.
  std::optional<int> turn() {
    if (!has_work()) {
      if (await_work() < 0) return 1;
      has_rested_ = true;
    }
    for (;;) {
      auto frame = receiver_.receive();
      if (!frame) return frame.error().code == Code::unavailable ? 0 : wire::protocol_broken;
      if (!*frame) break;
      const auto obeyed = obey(**frame);
      if (!obeyed) {
        std::fprintf(stderr, "llm: %s\n", obeyed.error().message.c_str());
        return wire::protocol_broken;
      }
    }
    if (has_work()) step();
    sweep();
    if (!wire_.flush()) return 0;
    if (draining_ && running_.empty() && !waits_for_room() && !wire_.has_more()) return 0;
    return std::nullopt;
  }

  // Until a frame may be there, or the socket takes more of what there is to send.
  int await(int patience_ms) const {
    const short events = wire_.has_more() ? POLLIN | POLLOUT : POLLIN;
    pollfd ready{wire_.socket(), events, 0};
    return poll(&ready, 1, patience_ms);
  }

  // Who waits for long holds no more than it has to.
  int await_work() {
    constexpr int soon_ms = 200;
    if (std::exchange(has_computed_, false)) {
      const int ready = await(soon_ms);
      if (ready != 0) {
        has_computed_ = true;
        return ready;
      }
      (void)give_back_scratch();
    }
    return await(-1);
  }

  bool waits_for_room() const { return keeper_ && keeper_->waits(); }

  bool has_work() const {
    if (engine_) return engine_->has_work();
    for (const auto& [handle, running] : running_) {
      if (!running.call->over()) return true;
    }
    return false;
  }

  void step() {
    has_computed_ = true;
    if (std::exchange(has_rested_, false)) placement().part();
    if (engine_) {
      const auto computed = engine_->step();  // Its runs know of a failure.
      if (!computed) std::fprintf(stderr, "llm: %s\n", computed.error().message.c_str());
      return;
    }
    embed();
  }

  // To be woken takes the daemon longer than all else that it does with a token of a stream: so it
  // is, while the token is chosen. What takes little time to compute is not worth as much.
  void announce(std::chrono::nanoseconds took) {
    if (took < announces_after_) return;
    for (const auto& [handle, running] : running_) {
      if (!running.outgoing->announce()) continue;
      (void)wire_.flush();  // A failure is found by the next one.
      return;
    }
  }

  // In turns: a call of thousands of texts holds up none of one.
  void embed() {
    auto next = running_.upper_bound(embedded_);
    for (std::size_t tried = 0; tried < running_.size(); ++tried, ++next) {
      if (next == running_.end()) next = running_.begin();
      if (next->second.call->over()) continue;
      embedded_ = next->first;
      return static_cast<EmbeddingCall&>(*next->second.call).step(embedder_.get());
    }
  }

  void sweep() {
    std::erase_if(running_, [this](const auto& entry) {
      const auto& [handle, running] = entry;
      if (!running.outgoing->over() || (running.call && !running.call->over())) return false;
      const auto slot = running.call ? running.call->take_slot() : std::nullopt;
      if (keeper_ && slot) keeper_->keep(handle, *slot, running.call->tail());
      if (keeper_) keeper_->forget(handle);
      return true;
    });
  }

  Result<> obey(wire::Frame& frame) {
    const auto found = running_.find(frame.header.handle);
    switch (frame.header.type) {
      case wire::Type::invoke: return invoke(frame);
      case wire::Type::cancel:
        if (found != running_.end()) cancel(found->first);
        return ok;
      case wire::Type::credit: {
        const auto bytes = wire::decode_credit(frame.payload);
        if (!bytes) return bytes.error();
        if (found != running_.end()) found->second.outgoing->add_credit(*bytes);
        return ok;
      }
      case wire::Type::room:
        if (keeper_ && keeper_->take_room(frame)) return ok;
        if (found != running_.end()) found->second.outgoing->take_room(frame);
        return ok;
      case wire::Type::state: return keeper_ ? keeper_->take_state(frame) : ok;
      case wire::Type::drain: draining_ = true; return ok;
      case wire::Type::hello:
      case wire::Type::load:
      case wire::Type::prepare:
      case wire::Type::prepared:
      case wire::Type::ready:
      case wire::Type::init_failed:
      case wire::Type::body:
      case wire::Type::chunk:
      case wire::Type::result:
      case wire::Type::failed:
      case wire::Type::log:
      case wire::Type::call:
      case wire::Type::answer:
      case wire::Type::fork:
      case wire::Type::forked:
      case wire::Type::go:
      case wire::Type::context:
      case wire::Type::stats:
      case wire::Type::ask_room:
      case wire::Type::keep: break;
    }
    return Error{Code::invalid_argument, "a frame that this worker does not take"};
  }

  void cancel(std::uint64_t handle) {
    Running& running = running_.at(handle);
    if (running.outgoing->over()) return;  // Its answer has left.
    running.call.reset();
    running.outgoing->fail({Code::cancelled, "nobody waits for it"});
    running_.erase(handle);
    if (keeper_) keeper_->forget(handle);
  }

  Result<> invoke(wire::Frame& frame) {
    const auto items = wire::decode_items(frame.payload);
    if (!items) return items.error();
    std::size_t taken = 0;
    for (const wire::Item& item : *items) {
      wire::Descriptor body;
      if (item.has_body_memfd) {
        if (taken == frame.descriptors.size()) {
          return Error{Code::invalid_argument, "an invocation without the memfd of its body"};
        }
        body = std::move(frame.descriptors[taken++]);
      }
      Running running;
      running.outgoing = std::make_unique<Outgoing>(&wire_, item.handle, item.result_bytes_max);
      auto begun = begin_safely(running, item, body);
      if (!begun) running.outgoing->fail(begun.error());
      if (!begun && keeper_) keeper_->forget(item.handle);
      if (begun || !running.outgoing->over()) running_.emplace(item.handle, std::move(running));
    }
    return ok;
  }

  // What Boost and llama.cpp throw costs the one call.
  Result<> begin_safely(Running& running, const wire::Item& item, const wire::Descriptor& body) {
    try {
      return begin(running, item, body);
    } catch (const std::exception& failure) {
      return Error{Code::function_failed, failure.what()};
    }
  }

  Result<> begin(Running& running, const wire::Item& item, const wire::Descriptor& body) {
    std::string_view text = item.inline_body;
    if (item.has_body_memfd && item.body_size > 0) {
      auto mapping = wire::map(body.number(), item.body_offset + item.body_size, PROT_READ);
      if (!mapping) return std::move(mapping).error();
      running.mapping = std::move(*mapping);
      text = {static_cast<const char*>(running.mapping.get()) + item.body_offset, item.body_size};
    }
    if (item.content.is_tensors) {
      return Error{Code::unsupported, "a language model takes JSON, not tensors"};
    }
    Invocation invocation{.id = item.id.text(),
                          .model = name_,
                          .wanted = item.outputs.empty() ? std::string_view()
                                                         : std::string_view(item.outputs.front()),
                          .body = text,
                          .now = std::time(nullptr)};
    auto request = read_request(invocation.wanted, text);
    if (!request) return std::move(request).error();
    if (embedder_) {
      auto call = EmbeddingCall::make(model_.get(), running.outgoing.get(), invocation,
                                      std::move(*request));
      if (!call) return std::move(call).error();
      running.call = std::move(*call);
      return ok;
    }
    invocation.kept = keeper_->take_kept(item.handle);
    invocation.is_kept = keeper_->knows(item.handle);
    auto call = generate(model_.get(), engine_.get(), renderer_.get(), running.outgoing.get(),
                         invocation, std::move(*request));
    if (!call) return std::move(call).error();
    running.call = std::move(*call);
    return ok;
  }

  wire::FrameReceiver receiver_;
  wire::WorkerEnd wire_;
  const std::string folder_;
  const std::chrono::nanoseconds announces_after_;
  std::string name_;             // Of the function.
  std::int32_t memory_mib_ = 0;  // Declared; 0: not known.
  std::unique_ptr<Model> model_;
  std::unique_ptr<ChatTemplates> templates_;
  std::unique_ptr<Renderer> renderer_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Keeper> keeper_;
  std::unique_ptr<Embedder> embedder_;
  std::map<std::uint64_t, Running> running_;
  std::uint64_t embedded_ = 0;  // Whose texts were last.
  bool has_computed_ = false;   // Since what it computed in was given back.
  bool has_rested_ = false;     // Since its last step.
  bool draining_ = false;
};

}  // namespace

int serve(int socket, std::string code_folder, std::chrono::nanoseconds announces_after) {
  return Server(socket, std::move(code_folder), announces_after).run();
}

}  // namespace dormouse::llm
