// `text-line` with its model.
//
// Option  "keys"  the file of the characters that the model tells apart ("keys.txt")
//
// How many those are may be known only by running the model. That is done at deploy, on a grey
// line, and kept: a template does not run its model.
#include <charconv>

#include "runtimes/onnx/task.h"
#include "runtimes/onnx/tensor_text.h"
#include "runtimes/onnx/text_line.h"

namespace dormouse::onnx {
namespace {

Error refused(std::string why) {
  return {Code::invalid_argument, std::move(why)};
}

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

// How many characters an answer tells apart.
Result<std::size_t> try_model(Session& session) {
  const TensorForm form = line_input({line_width_min, line_height}).form;
  const std::vector<float> grey(std::size_t{3} * line_height * line_width_min);
  const auto answer = session.run_on_floats(shape_of(form), grey);
  if (!answer) return refused("trying the model on a grey line: " + answer.error().message);
  const auto& shape = answer->shape;
  if (shape.size() == 3 && shape[0] == 1 && shape[2] > 0) return static_cast<std::size_t>(shape[2]);
  const wire::TensorSpec& output = session.signature().outputs.front();
  return refused("the model's output \"" + output.name + "\" came as " +
                 describe({"", output.type, shape}) +
                 ": text-line wants FP32 [1,steps,characters]");
}

// As it was kept; 0 if it was not.
std::size_t kept_characters(const wire::Options& found) {
  std::size_t characters = 0;
  const auto kept = found.find("characters");
  if (kept == found.end()) return 0;
  const std::string& text = kept->second;
  std::from_chars(text.data(), text.data() + text.size(), characters);
  return characters;
}

// By its signature, by what was kept, or by running it: whichever tells first.
Result<std::size_t> count_characters(const Declared& declared, Session& session) {
  const auto declared_by_model = characters_of(session.signature());
  if (!declared_by_model || *declared_by_model != 0) return declared_by_model;
  const std::size_t kept = kept_characters(declared.found);
  return kept != 0 ? Result<std::size_t>(kept) : try_model(session);
}

Result<std::string> keys_path(const wire::Options& options) {
  std::string path = "keys.txt";
  for (const auto& [name, given] : options) {
    if (name != "keys") return refused("there is no option \"" + name + "\"; text-line has keys");
    if (!given.empty()) path = given;
  }
  return path;
}

Result<std::vector<std::string>> open_keys(const Folder& code, const std::string& path,
                                           std::size_t characters) {
  const std::string attempt = "keys: \"" + path + "\"";
  const auto file = code.map(path);
  if (!file) return Error(file.error()).during(attempt);
  auto keys = read_keys(file->bytes());
  if (!keys) return std::move(keys).error().during(attempt);
  if (keys->size() == characters) return keys;
  return refused(attempt + " has " + std::to_string(keys->size() - 2) + " lines, which make " +
                 std::to_string(keys->size()) + " characters with blank and space, and the model " +
                 "tells " + std::to_string(characters) + " apart");
}

}  // namespace

Result<OpenedTask> open_text_line(const Declared& declared, const Folder& code, Session& session) {
  const auto path = keys_path(declared.options);
  if (!path) return path.error();
  const auto characters = count_characters(declared, session);
  if (!characters) return characters.error();
  auto keys = open_keys(code, *path, *characters);
  if (!keys) return std::move(keys).error();
  return OpenedTask{std::make_unique<TextLineTask>(session, std::move(*keys)),
                    "",
                    {{"characters", std::to_string(*characters)}}};
}

}  // namespace dormouse::onnx
