// `text-line` with its model.
//
// Option  "keys"  the file of the characters that the model tells apart ("keys.txt")
#include "runtimes/onnx/task.h"
#include "runtimes/onnx/text_line.h"

namespace dormouse::onnx {
namespace {

class TextLineTask final : public Task {
 public:
  TextLineTask(Session& session, std::vector<std::string> keys)
      : session_(session), keys_(std::move(keys)) {}

  Result<std::string> answer(const Picture& picture) override {
    const auto [framing, form] = line_input({picture.width, picture.height});
    const auto values = picture_tensor(picture, framing, line_sampling, form);
    const auto answer = session_.run_on_floats(shape_of(form), values);
    if (!answer) return answer.error();
    const auto line = read_line(answer->shape, answer->values, keys_);
    if (!line) return line.error();
    return to_json(*line);
  }

 private:
  Session& session_;
  std::vector<std::string> keys_;
};

}  // namespace

Result<OpenedTask> open_text_line(const Declared& declared, const Folder& code, Session& session) {
  const auto refused = [](std::string why) {
    return Error{Code::invalid_argument, std::move(why)};
  };
  std::string path = "keys.txt";
  for (const auto& [name, given] : declared.options) {
    if (name != "keys") return refused("there is no option \"" + name + "\"; text-line has keys");
    if (!given.empty()) path = given;
  }
  const wire::Signature& signature = session.signature();
  const bool fits = signature.inputs.size() == 1 && signature.outputs.size() == 1 &&
                    signature.inputs.front().type == wire::DataType::fp32 &&
                    signature.outputs.front().type == wire::DataType::fp32;
  if (!fits)
    return refused("text-line wants a model that makes one FP32 tensor of one FP32 tensor");
  const auto file = code.map(path);
  if (!file) return Error(file.error()).during("opening the keys \"" + path + "\"");
  auto keys = read_keys(file->bytes());
  if (!keys) return std::move(keys).error();
  return OpenedTask{std::make_unique<TextLineTask>(session, std::move(*keys)), "", {}};
}

}  // namespace dormouse::onnx
