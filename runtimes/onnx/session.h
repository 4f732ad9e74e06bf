// One model, ready to run: an ONNX Runtime session and what it takes and gives.
//
// Inputs are read where they lie and outputs are written where the answer goes, whenever the types
// and shapes allow it; nothing of at least a page is copied then.
//
// Ownership  A Session owns its files: ONNX Runtime reads weights out of their mappings.
// Threads    One run at a time.
// Errors     open(): what the model is to blame for. run(): invalid_argument names the input, what
//            the model expects and what was given; function_failed is the model's own failure.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "base/time.h"
#include "runtimes/onnx/files.h"
#include "runtimes/onnx/library.h"
#include "wire/messages.h"
#include "wire/worker.h"

namespace dormouse::onnx {

enum class Form : std::uint8_t {
  original,  // The user's model: ONNX Runtime optimises it, and packs weights into memory of its
             // own.
  packed,    // Optimised at deploy, and packed: what was packed is mapped, and shared.
  mapped,    // Optimised at deploy: weights are not packed, but used where they are mapped.
};
std::string_view name(Form);
inline constexpr Form optimised_forms[] = {Form::mapped, Form::packed};  // The better one first.

struct Settings {
  Form form = Form::original;
  int threads = 1;
  // Where to write the user's model as `form` is loaded from: a folder, "" for nowhere. The names
  // are fixed below.
  std::string save_to;
};
inline constexpr std::string_view optimised_model = "optimised.onnx";
inline constexpr std::string_view optimised_weights = "optimised.weights";

// An input, or an output, where it lies.
struct TensorView {
  const wire::TensorSpec* spec = nullptr;
  Bytes bytes;
};

class Session {
 public:
  static Result<std::unique_ptr<Session>> open(Library&, ModelFiles, const Settings&);
  virtual ~Session() = default;

  virtual const ModelFiles& files() const = 0;
  virtual const wire::Signature& signature() const = 0;
  virtual const wire::Options& notes() const = 0;  // What a person should know of this model.
  virtual Duration creation_took() const = 0;

  // Runs it. `outputs` are the wanted ones by name; empty: all.
  virtual Result<wire::Reply> run(std::span<const TensorView> inputs,
                                  std::span<const std::string> outputs,
                                  wire::Invocation& answer_to) = 0;

  // Runs it on its first input and gives one output's floats, for a task that goes on with them;
  // `output` is an index in the signature. By that, the input takes floats and the output gives
  // them: see number_bytes.h. Whatever goes wrong is function_failed: no caller made this tensor.
  struct Floats {
    std::vector<std::int64_t> shape;
    std::vector<float> values;
  };
  virtual Result<Floats> run_on_floats(std::span<const std::int64_t> shape,
                                       std::span<const float> values, std::size_t output = 0) = 0;

  // Runs it on made-up inputs, for measuring. Gives how long that took: with one thread the
  // processor's time, which other programs' work disturbs less, otherwise the clock's.
  virtual Result<std::chrono::nanoseconds> run_on_made_up_inputs() = 0;
};

}  // namespace dormouse::onnx
