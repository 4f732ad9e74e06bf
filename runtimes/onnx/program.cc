#include "runtimes/onnx/program.h"

#include <charconv>
#include <cstdio>
#include <optional>

#include "runtimes/onnx/session.h"

namespace dormouse::onnx {
namespace {

constexpr int threads_max = 64;

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

std::string milliseconds(Duration duration) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f ms", static_cast<double>(duration.count()) / 1000);
  return text;
}

class OnnxProgram final : public wire::Program {
 public:
  OnnxProgram(std::unique_ptr<Library> library, Places places)
      : library_(std::move(library)), places_(std::move(places)) {}

  wire::Hello hello() override {
    return {.runtime = "onnx", .runtime_version = library_->version()};
  }

  Result<wire::Prepared> prepare(const wire::Load&) override { return wire::Prepared{}; }

  Result<wire::Ready> load(const wire::Load& load) override {
    const auto count = threads(load);
    if (!count) return count.error();
    const auto folder = Folder::open(places_.code);
    if (!folder) return folder.error();
    auto files = open_model(*folder, option(load, "model", "model.onnx"));
    if (!files) return std::move(files).error();
    auto session = Session::open(*library_, std::move(*files), {.threads = *count});
    if (!session) return std::move(session).error();
    session_ = std::move(*session);
    wire::Ready ready{session_->signature(), "onnxruntime_onnx", session_->notes()};
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
  std::unique_ptr<Library> library_;
  Places places_;
  std::unique_ptr<Session> session_;
};

}  // namespace

std::unique_ptr<wire::Program> program(std::unique_ptr<Library> library, Places places) {
  return std::make_unique<OnnxProgram>(std::move(library), std::move(places));
}

}  // namespace dormouse::onnx
