#include "runtimes/onnx/session.h"

#include <algorithm>
#include <cstring>

#include "runtimes/onnx/element_types.h"
#include "runtimes/onnx/made_up.h"
#include "runtimes/onnx/number_bytes.h"
#include "runtimes/onnx/ort.h"
#include "runtimes/onnx/ports.h"
#include "runtimes/onnx/strings.h"
#include "runtimes/onnx/weights.h"

namespace dormouse::onnx {
namespace {

Error invalid(std::string message) {
  return {Code::invalid_argument, std::move(message)};
}

Ort::MemoryInfo cpu_memory() {
  return Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeDefault);
}

// ONNX Runtime's signatures lack `const`; it only reads inputs and weights.
void* readable(Bytes bytes) {
  return const_cast<std::byte*>(bytes.data());
}

Ort::Value tensor_over(const Ort::MemoryInfo& memory, const wire::TensorSpec& spec, void* data,
                       std::size_t size) {
  return Ort::Value::CreateTensor(memory, data, size, spec.shape.data(), spec.shape.size(),
                                  ort_type(spec.type));
}

Ort::Value string_tensor(const wire::TensorSpec& spec,
                         const std::vector<std::string_view>& strings) {
  Ort::AllocatorWithDefaultOptions allocator;
  auto value = Ort::Value::CreateTensor(allocator, spec.shape.data(), spec.shape.size(),
                                        ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING);
  for (std::size_t i = 0; i < strings.size(); ++i) {
    if (strings[i].empty()) continue;
    char* const room = value.GetResizedStringTensorElementBuffer(i, strings[i].size());
    std::memcpy(room, strings[i].data(), strings[i].size());
  }
  return value;
}

// What became of one output.
struct Output {
  const Port* port = nullptr;
  Ort::Value value{nullptr};
  std::vector<std::int64_t> shape;
  std::string strings;  // Of a BYTES tensor, as the wire carries it.
  wire::Tensor place;
};

void read_back(Output& output) {
  output.shape = output.value.GetTensorTypeAndShapeInfo().GetShape();
  output.place.spec = {output.port->spec.name, output.port->spec.type, output.shape};
  const std::size_t count = output.value.GetTensorTypeAndShapeInfo().GetElementCount();
  if (output.port->spec.type != wire::DataType::bytes) {
    output.place.size = count * wire::element_size(output.port->spec.type);
    return;
  }
  for (std::size_t i = 0; i < count; ++i)
    put_sized(output.strings, output.value.GetStringTensorElement(i));
  output.place.size = output.strings.size();
}

Bytes bytes_of(const Output& output) {
  if (output.port->spec.type == wire::DataType::bytes) return as_bytes(output.strings);
  return {static_cast<const std::byte*>(output.value.GetTensorRawData()), output.place.size};
}

constexpr std::uint64_t beyond_all_memory = std::uint64_t{1} << 60;  // 256 of them do not overflow.

// One behind the other, each where its elements may lie. Gives the size of all.
Result<std::uint64_t> place_all(std::vector<Output>& outputs) {
  std::uint64_t end = 0;
  for (Output& output : outputs) {
    const std::size_t alignment =
        std::max<std::size_t>(1, wire::element_size(output.port->spec.type));
    output.place.offset = (end + alignment - 1) / alignment * alignment;
    end = output.place.offset + output.place.size;
    if (end >= beyond_all_memory) {
      return Error{Code::function_failed,
                   "output \"" + output.port->spec.name + "\" is larger than all memory"};
    }
  }
  return end;
}

wire::Reply reply_with(const std::vector<Output>& outputs) {
  wire::Reply reply;
  reply.content.is_tensors = true;
  for (const Output& output : outputs) reply.content.tensors.push_back(output.place);
  return reply;
}

class OrtSession final : public Session {
 public:
  OrtSession(OrtLibrary& library, ModelFiles files)
      : library_(library), files_(std::move(files)), memory_(cpu_memory()) {}

  Result<> create(const Settings& settings) {
    const Stopwatch watch;
    threads_ = settings.threads;
    Ort::SessionOptions options;
    const auto configured = configure(options, settings);
    if (!configured) return configured;
    const Bytes model = files_.model.bytes();
    session_ = Ort::Session(library_.environment(), model.data(), model.size(), options);
    took_ = watch.elapsed();
    return learn_ports();
  }

  const ModelFiles& files() const override { return files_; }
  const wire::Signature& signature() const override { return signature_; }
  const wire::Options& notes() const override { return notes_; }
  Duration creation_took() const override { return took_; }

  Result<wire::Reply> run(std::span<const TensorView> inputs, std::span<const std::string> wanted,
                          wire::Invocation& answer_to) override {
    auto outputs = chosen(wanted);
    if (!outputs) return std::move(outputs).error();
    std::optional<Result<wire::Reply>> reply;
    const auto ran = guarded("running the model", [&] {
      Bound bound;
      const auto binding = bind(inputs, bound);
      if (binding)
        reply = run_bound(bound, *outputs, answer_to);
      else
        reply = binding.error();
    });
    if (!ran) return ran.error();
    return std::move(*reply);
  }

  Result<Floats> run_on_floats(std::span<const std::int64_t> shape, std::span<const float> values,
                               std::size_t output) override {
    Floats floats;
    const wire::TensorSpec& input = inputs_.front().spec;
    const wire::TensorSpec spec{input.name, input.type, {shape.begin(), shape.end()}};
    const bool as_they_are = input.type == wire::DataType::fp32;
    const auto converted = as_they_are ? std::vector<std::byte>() : elements_of(values, input.type);
    const Bytes bytes = as_they_are ? std::as_bytes(values) : Bytes(converted);
    const auto ran = guarded("running the model", [&] {
      Bound bound;
      bound.names.push_back(input.name.c_str());
      bound.values.push_back(tensor_over(memory_, spec, readable(bytes), bytes.size()));
      std::vector<Output> outputs(1);
      outputs[0].port = &outputs_[output];
      execute(bound, outputs);
      read_back(outputs[0]);
      floats.shape = outputs[0].shape;
      floats.values = floats_of(bytes_of(outputs[0]), outputs[0].port->spec.type);
    });
    if (!ran) return Error{Code::function_failed, ran.error().message};
    return floats;
  }

  Result<std::chrono::nanoseconds> run_on_made_up_inputs() override {
    if (!made_up_) return make_up();
    return timed_run(*made_up_);
  }

 private:
  struct Bound {
    std::vector<const char*> names;
    std::vector<Ort::Value> values;
    std::vector<std::vector<std::byte>> realigned;
    Dimensions dimensions;
  };

  Result<> configure(Ort::SessionOptions& options, const Settings& settings) {
    options.SetIntraOpNumThreads(settings.threads);
    options.SetInterOpNumThreads(1);
    options.SetExecutionMode(ORT_SEQUENTIAL);
    options.AddConfigEntry("session.load_model_format", "ONNX");
    // Between two runs nobody pays for a thread that spins.
    options.AddConfigEntry("session.force_spinning_stop", "1");
    if (settings.form == Form::mapped) options.AddConfigEntry("session.disable_prepacking", "1");
    if (!settings.save_to.empty()) save_optimised(options, settings);
    if (settings.form == Form::original || !settings.save_to.empty()) {
      return give_external_files(options);
    }
    options.SetGraphOptimizationLevel(ORT_DISABLE_ALL);
    // Of a mapped form, where it looks whether the files exist that it is not going to read.
    options.AddConfigEntry("session.model_external_initializers_file_folder_path",
                           files_.folder.c_str());
    return settings.form == Form::mapped ? give_weights(options) : check_packed();
  }

  static void save_optimised(Ort::SessionOptions& options, const Settings& settings) {
    options.SetOptimizedModelFilePath(
        (settings.save_to + "/" + std::string(optimised_model)).c_str());
    options.AddConfigEntry("session.optimized_model_external_initializers_file_name",
                           std::string(optimised_weights).c_str());
    // Of what it packed, ONNX Runtime aligns only what is larger than a mebibyte; kernels read
    // all of it with instructions that fault where it is not.
    options.AddConfigEntry("session.optimized_model_external_initializers_min_size_in_bytes",
                           settings.form == Form::packed ? "1048577" : "1024");
    if (settings.form != Form::packed) return;
    options.AddConfigEntry("session.save_external_prepacked_constant_initializers", "1");
  }

  // The user's own external data: ONNX Runtime copies it out of our mappings.
  Result<> give_external_files(Ort::SessionOptions& options) {
    std::vector<std::string> names;
    std::vector<char*> buffers;
    std::vector<std::size_t> sizes;
    for (const ExternalFile& external : files_.external_files) {
      names.push_back(external.location);
      buffers.push_back(static_cast<char*>(readable(external.file.bytes())));
      sizes.push_back(external.file.bytes().size());
    }
    if (!names.empty()) options.AddExternalInitializersFromFilesInMemory(names, buffers, sizes);
    return ok;
  }

  // Our own file of weights: used where it is mapped.
  Result<> give_weights(Ort::SessionOptions& options) {
    const auto places = layout(files_.external_tensors);
    if (!places) return places.error();
    for (std::size_t i = 0; i < places->size(); ++i) {
      const auto given = give_weight(options, files_.external_tensors[i], (*places)[i]);
      if (!given) return given;
    }
    return ok;
  }

  // What was packed can only be mapped by ONNX Runtime itself, which reads it without looking
  // whether the file goes that far, nor whether it lies where kernels can read it.
  Result<> check_packed() const {
    for (const ExternalTensor& tensor : files_.external_tensors) {
      const std::uint64_t end = files_.find(tensor.location)->file.bytes().size();
      const auto lies_beyond = [end](const Range& range) {
        return range.offset > end || range.size > end - range.offset;
      };
      if (lies_beyond({tensor.offset, tensor.length}) ||
          std::ranges::any_of(tensor.packed, lies_beyond)) {
        return invalid("the packed weight \"" + tensor.name + "\" lies beyond the end of its file");
      }
      constexpr std::uint64_t vector = 64;  // Bytes of a processor's largest.
      const auto is_crooked = [](const Range& range) { return range.offset % vector != 0; };
      if (std::ranges::any_of(tensor.packed, is_crooked)) {
        return invalid("the packed weight \"" + tensor.name + "\" is not aligned");
      }
    }
    return ok;
  }

  Result<> give_weight(Ort::SessionOptions& options, const ExternalTensor& tensor, Place place) {
    const auto wrong = [&](const char* why) {
      return invalid("the optimised weight \"" + tensor.name + "\" " + why);
    };
    const auto type = wire_type(static_cast<ONNXTensorElementDataType>(tensor.element_type));
    if (!type || *type == wire::DataType::bytes) return wrong("has a type that cannot be mapped");
    if (!tensor.is_main_initializer) return wrong("lies in a subgraph");
    const Bytes file = files_.find(tensor.location)->file.bytes();
    const auto count = wire::element_count(tensor.shape);
    if (!count || *count * wire::element_size(*type) != place.size)
      return wrong("has a wrong size");
    if (place.offset > file.size() || place.size > file.size() - place.offset) {
      return wrong("lies beyond the end of its file");
    }
    weights_.push_back(tensor_over(memory_, {tensor.name, *type, tensor.shape},
                                   readable(file.subspan(place.offset)), place.size));
    options.AddInitializer(tensor.name.c_str(), weights_.back());
    return ok;
  }

  Result<> learn_ports() {
    auto inputs = ports(session_, Direction::input, notes_);
    if (!inputs) return inputs.error();
    auto outputs = ports(session_, Direction::output, notes_);
    if (!outputs) return outputs.error();
    inputs_ = std::move(*inputs);
    outputs_ = std::move(*outputs);
    for (const Port& port : inputs_) signature_.inputs.push_back(port.spec);
    for (const Port& port : outputs_) signature_.outputs.push_back(port.spec);
    return ok;
  }

  Result<std::vector<Output>> chosen(std::span<const std::string> wanted) {
    std::vector<Output> outputs;
    for (Port& port : outputs_) {
      if (!wanted.empty()) break;
      outputs.emplace_back().port = &port;
    }
    for (const std::string& name : wanted) {
      const Port* const port = find(outputs_, name);
      if (port == nullptr) return invalid(no_such("output", name, outputs_));
      const auto before = std::ranges::find(outputs, port, &Output::port);
      if (before != outputs.end()) return invalid("output \"" + name + "\" is asked for twice");
      outputs.emplace_back().port = port;
    }
    return outputs;
  }

  Result<> bind(std::span<const TensorView> inputs, Bound& bound) {
    for (const TensorView& input : inputs) {
      const Port* const port = find(inputs_, input.spec->name);
      if (port == nullptr) return invalid(no_such("input", input.spec->name, inputs_));
      const auto fits = port->accepts(*input.spec, bound.dimensions);
      if (!fits) return fits;
      const auto value = bind_one(*port, input, bound);
      if (!value) return value;
    }
    for (const Port& port : inputs_) {
      const auto times = std::ranges::count(inputs, port.spec.name,
                                            [](const TensorView& view) { return view.spec->name; });
      if (times == 0) return invalid("input \"" + port.spec.name + "\" is missing");
      if (times > 1) return invalid("input \"" + port.spec.name + "\" is given twice");
    }
    return ok;
  }

  Result<> bind_one(const Port& port, const TensorView& input, Bound& bound) {
    bound.names.push_back(port.spec.name.c_str());
    if (input.spec->type == wire::DataType::bytes) {
      const auto count = wire::element_count(input.spec->shape);
      const auto strings = read_strings(input.bytes, count.value_or(0));
      if (!strings) {
        return invalid("input \"" + port.spec.name + "\": its bytes are not " +
                       std::to_string(count.value_or(0)) + " strings with their lengths");
      }
      bound.values.push_back(string_tensor(*input.spec, *strings));
      return ok;
    }
    Bytes bytes = input.bytes;
    const auto address = reinterpret_cast<std::uintptr_t>(bytes.data());
    if (address % wire::element_size(input.spec->type) != 0) {
      bytes = bound.realigned.emplace_back(bytes.begin(), bytes.end());
    }
    bound.values.push_back(tensor_over(memory_, *input.spec, readable(bytes), bytes.size()));
    return ok;
  }

  void execute(const Bound& bound, std::vector<Output>& outputs) {
    std::vector<const char*> names;
    std::vector<Ort::Value> values;
    for (Output& output : outputs) {
      names.push_back(output.port->spec.name.c_str());
      values.push_back(std::move(output.value));
    }
    session_.Run(Ort::RunOptions{nullptr}, bound.names.data(), bound.values.data(),
                 bound.values.size(), names.data(), values.data(), values.size());
    for (std::size_t i = 0; i < outputs.size(); ++i) outputs[i].value = std::move(values[i]);
  }

  Result<wire::Reply> run_bound(const Bound& bound, std::vector<Output>& outputs,
                                wire::Invocation& answer_to) {
    if (foretell(bound.dimensions, outputs)) return run_in_place(bound, outputs, answer_to);
    execute(bound, outputs);
    for (Output& output : outputs) read_back(output);
    learn_from(bound.dimensions, outputs);
    const auto room = room_for(outputs, answer_to);
    if (!room) return room.error();
    copy_out(outputs, *room);
    return reply_with(outputs);
  }

  static Result<std::span<std::byte>> room_for(std::vector<Output>& outputs,
                                               wire::Invocation& answer_to) {
    const auto size = place_all(outputs);
    if (!size) return size.error();
    return answer_to.make_room(*size);
  }

  // Whether the shape of each output is known before the run: it follows from the inputs' shapes,
  // and the model has kept to that before.
  bool foretell(const Dimensions& dimensions, std::vector<Output>& outputs) const {
    for (Output& output : outputs) {
      if (!output.port->keeps_its_shape) return false;
      auto shape = output.port->foretold(dimensions);
      const auto count = shape ? wire::element_count(*shape) : std::nullopt;
      if (!count) return false;
      output.place.spec = {output.port->spec.name, output.port->spec.type, *shape};
      const std::uint64_t elements = std::min(*count, beyond_all_memory);
      output.place.size = elements * wire::element_size(output.port->spec.type);
    }
    return true;
  }

  void learn_from(const Dimensions& dimensions, const std::vector<Output>& outputs) {
    for (const Output& output : outputs) {
      Port& port = outputs_[static_cast<std::size_t>(output.port - outputs_.data())];
      const bool as_foretold = port.foretold(dimensions) == output.shape;
      if (!as_foretold) port.breaks_its_shape = true;
      port.keeps_its_shape = as_foretold && !port.breaks_its_shape;
    }
  }

  Result<wire::Reply> run_in_place(const Bound& bound, std::vector<Output>& outputs,
                                   wire::Invocation& answer_to) {
    const auto room = room_for(outputs, answer_to);
    if (!room) return room.error();
    for (Output& output : outputs) {
      output.value = tensor_over(memory_, output.place.spec, room->data() + output.place.offset,
                                 output.place.size);
    }
    if (guarded("running the model", [&] { execute(bound, outputs); })) return reply_with(outputs);
    return run_again(bound, outputs, *room, answer_to);
  }

  // A model may break the shape it declares, on this input only: then the answer is brought to the
  // room that was made for it, or to a larger one.
  Result<wire::Reply> run_again(const Bound& bound, std::vector<Output>& outputs,
                                std::span<std::byte> room, wire::Invocation& answer_to) {
    for (Output& output : outputs) output.value = Ort::Value(nullptr);
    execute(bound, outputs);
    for (Output& output : outputs) read_back(output);
    learn_from(bound.dimensions, outputs);
    const auto size = place_all(outputs);
    if (!size) return size.error();
    if (*size > room.size()) {
      const auto larger = answer_to.make_room(*size);
      if (!larger) return larger.error();
      room = *larger;
    }
    copy_out(outputs, room);
    return reply_with(outputs);
  }

  static void copy_out(const std::vector<Output>& outputs, std::span<std::byte> room) {
    for (const Output& output : outputs) {
      std::ranges::copy(bytes_of(output),
                        room.begin() + static_cast<std::ptrdiff_t>(output.place.offset));
    }
  }

  // Tries sizes for the dimensions that vary until the model takes them.
  Result<std::chrono::nanoseconds> make_up() {
    std::vector<wire::TensorSpec> specs = signature_.inputs;
    Result<std::chrono::nanoseconds> last = invalid("nothing was tried");
    for (const Guess& guess : guesses) {
      std::vector<MadeUp> inputs;
      for (const wire::TensorSpec& spec : specs) inputs.push_back(made_up(spec, guess));
      last = timed_run(inputs);
      if (!last) continue;
      made_up_ = std::move(inputs);
      return last;
    }
    return std::move(last).error().during("trying the model on made-up inputs");
  }

  Result<std::chrono::nanoseconds> timed_run(const std::vector<MadeUp>& inputs) {
    std::chrono::nanoseconds took{};
    const auto ran = guarded("running the model", [&] {
      Bound bound;
      std::vector<Output> outputs(outputs_.size());
      for (std::size_t i = 0; i < outputs.size(); ++i) outputs[i].port = &outputs_[i];
      for (std::size_t i = 0; i < inputs.size(); ++i) {
        const auto bytes = std::as_bytes(std::span(inputs[i].bytes));
        const TensorView view{&inputs[i].spec, bytes};
        const auto bound_one = bind_one(inputs_[i], view, bound);
        CHECK(bound_one);
      }
      const Stopwatch watch(measure_of(threads_));
      execute(bound, outputs);
      took = watch.elapsed_ns();
    });
    if (!ran) return ran.error();
    return took;
  }

  OrtLibrary& library_;
  ModelFiles files_;
  Ort::MemoryInfo memory_;
  std::vector<Ort::Value> weights_;
  Ort::Session session_{nullptr};
  Duration took_{};
  int threads_ = 1;
  wire::Signature signature_;
  wire::Options notes_;
  std::vector<Port> inputs_, outputs_;
  std::optional<std::vector<MadeUp>> made_up_;
};

}  // namespace

std::string_view name(Form form) {
  switch (form) {
    case Form::original: return "original";
    case Form::packed: return "packed";
    case Form::mapped: return "mapped";
  }
  CHECK_UNREACHABLE("every Form has a name");
}

Result<std::unique_ptr<Session>> Session::open(Library& library, ModelFiles files,
                                               const Settings& settings) {
  std::unique_ptr<OrtSession> session;
  Result<> created;
  const auto made = guarded("loading the model", [&] {
    session = std::make_unique<OrtSession>(static_cast<OrtLibrary&>(library), std::move(files));
    created = session->create(settings);
  });
  if (!made) return Error{Code::function_failed, made.error().message};
  if (!created) return created.error();
  return session;
}

}  // namespace dormouse::onnx
