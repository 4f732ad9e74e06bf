#include "runtimes/onnx/program.h"

#include <charconv>
#include <optional>

#include "base/ascii.h"
#include "runtimes/include/dormouse.h"
#include "runtimes/onnx/npy.h"
#include "runtimes/onnx/optimised_key.h"
#include "runtimes/onnx/prepare.h"
#include "runtimes/onnx/session.h"
#include "runtimes/onnx/tasks.h"
#include "runtimes/snapshot/template.h"

namespace dormouse::onnx {
namespace {

constexpr int threads_max = 64;
constexpr std::string_view prepared_folder =
    ".dormouse/";  // Where the daemon puts prepare()'s files.
constexpr std::string_view found_prefix = "found.";

std::string option(const wire::Load& load, const std::string& key, std::string otherwise) {
  const auto found = load.options.find(key);
  return found == load.options.end() || found->second.empty() ? otherwise : found->second;
}

// Those whose key begins with `prefix`, by what follows it.
wire::Options options_below(const wire::Load& load, std::string_view prefix) {
  wire::Options below;
  for (const auto& [key, value] : load.options) {
    if (key.starts_with(prefix)) below[key.substr(prefix.size())] = value;
  }
  return below;
}

Result<int> threads(const wire::Load& load) {
  const std::string text = option(load, "threads", "1");
  int threads = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), threads);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  if (whole && threads >= 1 && threads <= threads_max) return threads;
  return Error{Code::invalid_argument,
               "threads: expected 1 to " + std::to_string(threads_max) + ", got \"" + text + "\""};
}

// What was declared; 0 if that is not known.
std::uint64_t memory_bytes(const wire::Load& load) {
  const std::string text = option(load, "memory_mib", "0");
  std::uint64_t mebibytes = 0;
  std::from_chars(text.data(), text.data() + text.size(), mebibytes);
  return mebibytes << 20;
}

std::optional<Form> optimised_form(const std::string& text) {
  for (const Form form : optimised_forms) {
    if (text == name(form)) return form;
  }
  return std::nullopt;
}

// Of a worker that will not fork: it has no use for what a template needs.
Result<> give_up_capabilities() {
  if (dormouse_drop_capabilities() == 0) return ok;
  return system_error(Code::unavailable, "giving up capabilities");
}

// An invocation whose answer goes to memory first, since something is to be put before it.
class InMemory final : public wire::Invocation {
 public:
  explicit InMemory(wire::Invocation& outer) : outer_(outer) {}
  const wire::Item& item() const override { return outer_.item(); }
  Bytes body() const override { return outer_.body(); }
  Result<std::span<std::byte>> make_room(std::uint64_t size) override {
    if (size > item().result_bytes_max)
      return Error{Code::function_failed, "the answer is too large"};
    room_.resize(size);
    return std::span(room_);
  }
  Bytes room() const { return room_; }

 private:
  wire::Invocation& outer_;
  std::vector<std::byte> room_;
};

class OnnxProgram final : public wire::Program {
 public:
  OnnxProgram(std::unique_ptr<Library> library, Places places)
      : library_(std::move(library)), places_(std::move(places)) {}

  wire::Hello hello() override {
    return {.runtime = "onnx", .runtime_version = library_->version()};
  }

  Result<wire::Prepared> prepare(const wire::Load& load) override {
    const auto given_up = give_up_capabilities();
    if (!given_up) return given_up.error();
    const auto count = threads(load);
    if (!count) return count.error();
    const auto code = Folder::open(places_.code);
    if (!code) return code.error();
    return onnx::prepare(*library_, {.code = &*code,
                                     .model = option(load, "model", "model.onnx"),
                                     .model_digest = option(load, "model.digest", ""),
                                     .out = places_.out,
                                     .threads = *count,
                                     .examine = [&](Session& session, wire::Prepared& prepared) {
                                       return examine(load, session, prepared);
                                     }});
  }

  Result<wire::Ready> load(const wire::Load& load) override {
    wire::Ready ready{.platform = "onnxruntime_onnx"};
    const auto alone = keep_to_itself(load, ready.notes);
    if (!alone) return alone.error();
    const std::string key = snapshot::key_of(load);
    if (will_fork_) {
      const Error why = snapshot::wake_if_saved(load, key, wire::given_socket(), places_.code);
      if (!why.message.empty()) ready.notes["snapshot"] = "not used: " + why.message;
    }
    const auto opened = open(load, ready.notes);
    if (!opened) return opened.error();
    const auto shared = refuse_to_share_chance(ready.notes);
    if (!shared) return shared.error();
    if (form_ != Form::original) ready.notes["weights"] = locked_ ? "locked in memory" : "mapped";
    task_.reset();
    auto task = open_task(load, *session_);
    if (!task) return std::move(task).error();
    if (!task->note.empty()) ready.notes["task"] = task->note;
    task_ = std::move(task->task);
    ready.signature = session_->signature();
    ready.notes.insert(session_->notes().begin(), session_->notes().end());
    ready.notes["load library"] = milliseconds(library_->loading_took());
    ready.notes["load environment"] = milliseconds(library_->environment_took());
    ready.notes["load session"] = milliseconds(session_->creation_took());
    mold_ = {.ready = ready, .key = key, .code = places_.code};
    mold_.settled = [this] { (void)(locked_ && session_->files().lock()); };
    return ready;
  }

  Result<wire::Reply> invoke(wire::Invocation& invocation) override {
    const wire::Content& content = invocation.item().content;
    if (!session_) return Error{Code::function_failed, "no model is loaded"};
    if (task_) return task_->answer(content, invocation.body());
    if (content.is_tensors) return run_tensors(invocation);
    if (is_media_type(content.content_type, npy_type)) return run_npy(invocation);
    return Error{Code::unsupported, "this function takes application/json or " +
                                        std::string(npy_type) + ", not \"" + content.content_type +
                                        "\"; curl: -H 'Content-Type: application/json'"};
  }

  Result<> fork_instances(int socket) override {
    mold_.socket = socket;
    return snapshot::live(mold_);
  }

  // The first run of a session finds its memory, and a mapped model's pages, one fault at a time.
  void rehearse() override {
    if (rehearses_) (void)session_->run_on_made_up_inputs();
  }

 private:
  // What a worker that will not fork gives up. A fork has no thread but the one that forked, so a
  // session with more is not forked. A template waits for long, so it locks its weights, but not
  // so much that what an instance computes with has no room.
  Result<> keep_to_itself(const wire::Load& load, wire::Options& notes) {
    rehearses_ = option(load, "rehearse", "no") == "yes";
    const bool is_template = option(load, "template", "no") == "yes";
    const std::string count = option(load, "threads", "1");
    will_fork_ = is_template && count == "1";
    if (will_fork_) {
      lockable_bytes_ = memory_bytes(load) / 2;
      return ok;
    }
    if (is_template) {
      notes["template"] = "no: its session has " + count + " threads, and a fork has one";
    }
    return give_up_capabilities();
  }

  // A session's generators are made with it, and a fork would have copies of them.
  Result<> refuse_to_share_chance(wire::Options& notes) {
    if (!will_fork_ || random_operator_.empty()) return ok;
    notes["template"] = "no: its " + random_operator_ +
                        " draws random numbers, and all its forks would draw the same";
    return give_up_capabilities();
  }

  Result<wire::Reply> run_tensors(wire::Invocation& invocation) {
    const wire::Item& item = invocation.item();
    const Bytes body = invocation.body();
    const auto valid = wire::validate(item.content.tensors, body.size());
    if (!valid) return valid.error();
    std::vector<TensorView> inputs;
    for (const wire::Tensor& tensor : item.content.tensors) {
      inputs.push_back({&tensor.spec, body.subspan(tensor.offset, tensor.size)});
    }
    return session_->run(inputs, item.outputs, invocation);
  }

  // One array in, one out.
  Result<wire::Reply> run_npy(wire::Invocation& invocation) {
    const wire::Signature& signature = session_->signature();
    if (signature.inputs.size() != 1) {
      return Error{Code::unsupported, "an npy body is one array, the model takes " +
                                          std::to_string(signature.inputs.size()) + " inputs"};
    }
    auto npy = parse_npy(invocation.body());
    if (!npy) return std::move(npy).error();
    npy->spec.name = signature.inputs.front().name;
    const TensorView input{&npy->spec, invocation.body().subspan(npy->offset)};
    std::vector<std::string> wanted = invocation.item().outputs;
    if (wanted.empty()) {
      for (const wire::TensorSpec& each : signature.outputs) wanted.push_back(each.name);
    }
    if (wanted.size() != 1) {
      return Error{Code::unsupported, "an npy answer is one array, the model gives " +
                                          std::to_string(wanted.size()) +
                                          " outputs: ask with JSON, or by KServe's v2"};
    }
    InMemory memory(invocation);
    const auto reply = session_->run(std::span(&input, 1), wanted, memory);
    if (!reply) return reply.error();
    const wire::Tensor& output = reply->content.tensors.front();
    auto file = npy_header(output.spec);
    if (!file) return std::move(file).error();
    *file += as_text(memory.room()).substr(output.offset, output.size);
    return wire::Reply{{.content_type = std::string(npy_type)}, std::move(*file)};
  }

  // Opens what is declared, if anything is.
  Result<OpenedPictureTask> open_task(const wire::Load& load, Session& session) {
    const Declared declared{.name = option(load, "task", ""),
                            .options = options_below(load, "task."),
                            .found = options_below(load, found_prefix)};
    if (declared.name.empty()) return OpenedPictureTask{};
    const auto code = Folder::open(places_.code);
    if (!code) return code.error();
    return onnx::open_task(declared, *code, session);
  }

  // At deploy: that the task can be opened, and what that finds.
  Result<> examine(const wire::Load& load, Session& session, wire::Prepared& prepared) {
    const auto opened = open_task(load, session);
    if (!opened) return opened.error();
    for (const auto& [key, value] : opened->found) {
      prepared.options[std::string(found_prefix) + key] = value;
    }
    return ok;
  }

  Result<> open(const wire::Load& load, wire::Options& notes) {
    const auto count = threads(load);
    if (!count) return count.error();
    const auto code = Folder::open(places_.code);
    if (!code) return code.error();
    const auto optimised = open_optimised(load, *code, *count);
    notes["form"] = name(optimised.value_or(Form::original));
    if (optimised) return ok;
    if (!optimised.error().message.empty()) notes["not optimised"] = optimised.error().message;
    return open_as(*code, option(load, "model", "model.onnx"), Form::original, *count);
  }

  // The form that was chosen at deploy, if it was made for a machine like this one. The message
  // says why not; it is empty if none was made.
  Result<Form> open_optimised(const wire::Load& load, const Folder& code, int count) {
    const auto form = optimised_form(option(load, "optimised.form", ""));
    if (!form) return Error{Code::not_found, ""};
    const std::string made_for = option(load, "optimised.key", "");
    const std::string here = optimised_key(option(load, "model.digest", ""), library_->version());
    if (made_for != here) {
      return Error{Code::conflict, "it was made for " + made_for + ", this is " + here};
    }
    const std::string path = std::string(prepared_folder) + std::string(optimised_model);
    const auto opened = open_as(code, path, *form, count);
    if (!opened) return opened.error();
    return *form;
  }

  Result<> open_as(const Folder& code, const std::string& path, Form form, int count) {
    auto files = open_model(code, path);
    if (!files) return std::move(files).error();
    auto random = random_operator(files->model.bytes());
    if (!random) return std::move(random).error();
    random_operator_ = *std::move(random);
    if (form != Form::original) {
      locked_ = files->weights_bytes() <= lockable_bytes_ && files->lock();
    }
    if (form == Form::mapped) files->populate();
    auto session = Session::open(*library_, std::move(*files), {.form = form, .threads = count});
    if (!session) return std::move(session).error();
    session_ = std::move(*session);
    form_ = form;
    return ok;
  }

  std::unique_ptr<Library> library_;
  Places places_;
  std::unique_ptr<Session> session_;
  std::unique_ptr<PictureTask> task_;  // Uses session_.
  bool rehearses_ = false;
  bool will_fork_ = false;
  std::string random_operator_;  // Of the model; "" if it draws no random numbers.
  std::uint64_t lockable_bytes_ = 0;
  bool locked_ = false;
  snapshot::Template mold_;
  Form form_ = Form::original;
};

}  // namespace

std::unique_ptr<wire::Program> program(std::unique_ptr<Library> library, Places places) {
  return std::make_unique<OnnxProgram>(std::move(library), std::move(places));
}

}  // namespace dormouse::onnx
