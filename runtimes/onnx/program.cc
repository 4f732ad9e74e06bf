#include "runtimes/onnx/program.h"

#include <charconv>
#include <optional>

#include "runtimes/onnx/optimised_key.h"
#include "runtimes/onnx/prepare.h"
#include "runtimes/onnx/session.h"

namespace dormouse::onnx {
namespace {

constexpr int threads_max = 64;
constexpr std::string_view prepared_folder =
    ".dormouse/";  // Where the daemon puts prepare()'s files.

std::string option(const wire::Load& load, const std::string& key, std::string otherwise) {
  const auto found = load.options.find(key);
  return found == load.options.end() || found->second.empty() ? otherwise : found->second;
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

std::optional<Form> optimised_form(const std::string& text) {
  for (const Form form : {Form::mapped, Form::optimised}) {
    if (text == name(form)) return form;
  }
  return std::nullopt;
}

class OnnxProgram final : public wire::Program {
 public:
  OnnxProgram(std::unique_ptr<Library> library, Places places)
      : library_(std::move(library)), places_(std::move(places)) {}

  wire::Hello hello() override {
    return {.runtime = "onnx", .runtime_version = library_->version()};
  }

  Result<wire::Prepared> prepare(const wire::Load& load) override {
    const auto count = threads(load);
    if (!count) return count.error();
    const auto code = Folder::open(places_.code);
    if (!code) return code.error();
    return onnx::prepare(*library_, {.code = &*code,
                                     .model = option(load, "model", "model.onnx"),
                                     .model_digest = option(load, "model.digest", ""),
                                     .out = places_.out,
                                     .threads = *count});
  }

  Result<wire::Ready> load(const wire::Load& load) override {
    wire::Ready ready{.platform = "onnxruntime_onnx"};
    const auto opened = open(load, ready.notes);
    if (!opened) return opened.error();
    ready.signature = session_->signature();
    ready.notes.insert(session_->notes().begin(), session_->notes().end());
    ready.notes["load library"] = milliseconds(library_->loading_took());
    ready.notes["load environment"] = milliseconds(library_->environment_took());
    ready.notes["load session"] = milliseconds(session_->creation_took());
    return ready;
  }

  Result<wire::Reply> invoke(wire::Invocation& invocation) override {
    const wire::Item& item = invocation.item();
    if (!session_) return Error{Code::function_failed, "no model is loaded"};
    if (!item.content.is_tensors) {
      return Error{Code::unsupported,
                   "this function takes tensors, not " + item.content.content_type};
    }
    const auto valid = wire::validate(item.content.tensors, invocation.body().size());
    if (!valid) return valid.error();
    std::vector<TensorView> inputs;
    for (const wire::Tensor& tensor : item.content.tensors) {
      inputs.push_back({&tensor.spec, invocation.body().subspan(tensor.offset, tensor.size)});
    }
    return session_->run(inputs, item.outputs, invocation);
  }

 private:
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
    if (form == Form::mapped) files->populate();
    auto session = Session::open(*library_, std::move(*files), {.form = form, .threads = count});
    if (!session) return std::move(session).error();
    session_ = std::move(*session);
    return ok;
  }

  std::unique_ptr<Library> library_;
  Places places_;
  std::unique_ptr<Session> session_;
};

}  // namespace

std::unique_ptr<wire::Program> program(std::unique_ptr<Library> library, Places places) {
  return std::make_unique<OnnxProgram>(std::move(library), std::move(places));
}

}  // namespace dormouse::onnx
