// `image-classification` with its model; classification_options.h says what can be declared.
//
// How many classes there are, and whether the model gives probabilities, may be known only by
// running it. That is done at deploy, on a picture of noise, and kept: a template does not run its
// model.
#include <charconv>
#include <random>

#include "runtimes/onnx/classification_model.h"
#include "runtimes/onnx/task.h"
#include "runtimes/onnx/tensor_text.h"

namespace dormouse::onnx {
namespace {

Error refused(std::string why) {
  return {Code::invalid_argument, std::move(why)};
}

// All that is settled when the function is loaded.
struct Plan {
  Classification options;
  TensorForm form;
  std::size_t output = 0;
  std::size_t classes = 0;
  Activation activation = Activation::softmax;
  std::vector<std::string> labels;
};

class ClassificationTask final : public Task {
 public:
  ClassificationTask(Session& session, Plan plan) : session_(session), plan_(std::move(plan)) {}

  Result<std::string> answer(const Picture& picture) override {
    const Framing framing = frame({picture.width, picture.height}, plan_.form.size,
                                  plan_.options.resize, plan_.options.crop_pct);
    const auto values =
        picture_tensor(picture, framing, {.filter = plan_.options.interpolation}, plan_.form);
    auto answer = session_.run_on_floats(shape_of(plan_.form), values, plan_.output);
    if (!answer) return std::move(answer).error();
    if (answer->values.size() != plan_.classes) {
      return Error{Code::function_failed,
                   "the model gave " + std::to_string(answer->values.size()) + " numbers, and " +
                       std::to_string(plan_.classes) + " when it was loaded"};
    }
    if (auto done = activate(plan_.activation, answer->values); !done) return done.error();
    const auto top = top_labels(answer->values, plan_.options.top_k, plan_.labels);
    if (!top) return top.error();
    return to_json(*top);
  }

 private:
  Session& session_;
  Plan plan_;
};

// The model's answer to noise, always the same.
Result<Session::Floats> try_model(Session& session, const Plan& plan) {
  const Extent size = plan.form.size;
  std::vector<std::uint8_t> pixels(std::size_t{3} * size.width * size.height);
  std::minstd_rand random(1);
  for (auto& value : pixels) value = static_cast<std::uint8_t>(random() >> 8);
  const auto values = picture_tensor({size.width, size.height, pixels},
                                     frame(size, size, Resize::stretch, 1), {}, plan.form);
  const auto answer = session.run_on_floats(shape_of(plan.form), values, plan.output);
  if (answer) return answer;
  return refused("trying the model on a picture of noise: " + answer.error().message);
}

// What running the model tells of its answers.
struct Answers {
  std::size_t classes = 0;
  bool are_probabilities = false;
};

Result<Answers> find_out(Session& session, const Plan& plan) {
  const auto tried = try_model(session, plan);
  if (!tried) return tried.error();
  const wire::TensorSpec& output = session.signature().outputs[plan.output];
  if (const auto classes = classes_of(tried->shape)) {
    return Answers{*classes, are_probabilities(tried->values)};
  }
  return refused("the model's output \"" + output.name + "\" came as " +
                 describe({"", output.type, tried->shape}) + ", which is no list of classes");
}

// As Options, so that they can be kept.
wire::Options options_of(const Answers& answers) {
  return {{"classes", std::to_string(answers.classes)},
          {"probabilities", answers.are_probabilities ? "yes" : "no"}};
}
std::optional<Answers> answers_of(const wire::Options& found) {
  if (!found.contains("classes") || !found.contains("probabilities")) return std::nullopt;
  const std::string& text = found.at("classes");
  Answers answers{.are_probabilities = found.at("probabilities") == "yes"};
  std::from_chars(text.data(), text.data() + text.size(), answers.classes);
  return answers.classes == 0 ? std::nullopt : std::optional(answers);
}

Result<> settle_activation(const Answers& answers, Plan& plan) {
  plan.classes = answers.classes;
  const auto otherwise = answers.are_probabilities ? Activation::none : Activation::softmax;
  plan.activation = plan.options.activation.value_or(otherwise);
  if (plan.classes > 1) return ok;
  if (!plan.options.activation) {
    return refused(
        "activation is missing: the model gives one number; say sigmoid, or none if it "
        "is a score from 0 to 1 already");
  }
  if (plan.activation != Activation::softmax) return ok;
  return refused("activation: softmax of one number is always 1; say sigmoid or none");
}

Result<> settle_labels(const Folder& code, Plan& plan) {
  const std::string& path = plan.options.labels;
  if (path.empty()) return ok;
  const std::string attempt = "labels: \"" + path + "\"";
  const auto file = code.map(path);
  if (!file) return Error(file.error()).during(attempt);
  auto labels = read_labels(file->bytes());
  if (!labels) return std::move(labels).error().during(attempt);
  plan.labels = std::move(*labels);
  if (plan.labels.size() == plan.classes) return ok;
  return refused(attempt + " has " + std::to_string(plan.labels.size()) +
                 " lines, and the model tells " + std::to_string(plan.classes) +
                 " classes apart: it wants one line for each, in the model's order");
}

std::string note_of(const Plan& plan) {
  const char* const colours = plan.form.colours == Colours::grey  ? " grey"
                              : plan.form.colours == Colours::bgr ? " BGR"
                                                                  : " RGB";
  return std::to_string(plan.classes) + " classes of " + std::to_string(plan.form.size.width) +
         "x" + std::to_string(plan.form.size.height) + colours + " pictures, activation " +
         std::string(name(plan.activation));
}

}  // namespace

Result<OpenedTask> open_classification(const Declared& declared, const Folder& code,
                                       Session& session) {
  Plan plan;
  auto read = read_classification(declared.options);
  if (!read) return std::move(read).error();
  plan.options = std::move(*read);
  const auto form = picture_form(session.signature(), plan.options);
  if (!form) return form.error();
  plan.form = *form;
  const auto output = class_output(session.signature(), plan.options);
  if (!output) return output.error();
  plan.output = *output;
  const auto known = answers_of(declared.found);
  const auto answers = known ? Result<Answers>(*known) : find_out(session, plan);
  if (!answers) return answers.error();
  if (auto done = settle_activation(*answers, plan); !done) return done.error();
  if (auto done = settle_labels(code, plan); !done) return done.error();
  OpenedTask opened{nullptr, note_of(plan), options_of(*answers)};
  opened.task = std::make_unique<ClassificationTask>(session, std::move(plan));
  return opened;
}

}  // namespace dormouse::onnx
