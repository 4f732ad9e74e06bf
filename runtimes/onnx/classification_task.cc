#include "runtimes/onnx/classification_task.h"

#include <random>

#include "runtimes/onnx/classification.h"
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
    activate(plan_.activation, answer->values);
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
  auto answer = session.run_on_floats(shape_of(plan.form), values, plan.output);
  if (!answer) return std::move(answer).error().during("trying the model on a picture of noise");
  return answer;
}

Result<Activation> activation_for(std::span<const float> scores) {
  if (scores.size() == 1) {
    return refused(
        "activation is missing: the model gives one number; say sigmoid, or none if it "
        "is a score from 0 to 1 already");
  }
  return are_probabilities(scores) ? Activation::none : Activation::softmax;
}

Result<> settle_classes(Session& session, Plan& plan) {
  const wire::TensorSpec& output = session.signature().outputs[plan.output];
  auto shape = output.shape;
  if (shape.size() > 1 && shape[0] < 0) shape[0] = 1;  // As many as there are pictures.
  plan.classes = classes_of(shape).value_or(0);
  if (plan.classes == 0 || !plan.options.activation) {
    const auto tried = try_model(session, plan);
    if (!tried) return tried.error();
    const auto classes = classes_of(tried->shape);
    if (!classes) {
      return refused("the model's output \"" + output.name + "\" came as " +
                     describe({"", output.type, tried->shape}) + ", which is no list of classes");
    }
    plan.classes = *classes;
    const auto activation = activation_for(tried->values);
    if (!plan.options.activation && !activation) return activation.error();
    plan.activation = activation.value_or(Activation::none);
  }
  plan.activation = plan.options.activation.value_or(plan.activation);
  if (plan.classes > 1 || plan.activation != Activation::softmax) return ok;
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

Result<std::unique_ptr<Task>> open_classification(const wire::Options& options, const Folder& code,
                                                  Session& session, wire::Options& notes) {
  Plan plan;
  auto read = read_classification(options);
  if (!read) return std::move(read).error();
  plan.options = std::move(*read);
  const auto form = picture_form(session.signature(), plan.options);
  if (!form) return form.error();
  plan.form = *form;
  const auto output = class_output(session.signature(), plan.options);
  if (!output) return output.error();
  plan.output = *output;
  if (auto done = settle_classes(session, plan); !done) return done.error();
  if (auto done = settle_labels(code, plan); !done) return done.error();
  notes["classification"] = note_of(plan);
  return std::make_unique<ClassificationTask>(session, std::move(plan));
}

}  // namespace dormouse::onnx
