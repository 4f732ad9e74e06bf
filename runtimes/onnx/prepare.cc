#include "runtimes/onnx/prepare.h"

#include <fcntl.h>
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "runtimes/onnx/optimised_key.h"
#include "runtimes/onnx/stopwatch.h"
#include "runtimes/onnx/weights.h"

namespace dormouse::onnx {
namespace {

using std::chrono::nanoseconds;

constexpr int warm_ups = 3;
constexpr std::size_t pairs_min = 11, pairs_max = 301;
constexpr auto measuring_max = std::chrono::seconds(3);

Result<> write_at(int file, Bytes bytes, std::uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t wrote = pwrite(file, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return system_error(Code::function_failed, "writing the optimised weights");
    bytes = bytes.subspan(static_cast<std::size_t>(wrote));
    offset += static_cast<std::uint64_t>(wrote);
  }
  return ok;
}

// Brings the weights, as ONNX Runtime wrote them, into the layout that they are mapped in.
Result<> lay_out(const ModelFiles& files, const std::string& path) {
  const auto places = layout(files.external_tensors);
  if (!places) return places.error();
  const wire::Descriptor file(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!file) return system_error(Code::function_failed, "making the optimised weights");
  for (std::size_t i = 0; i < places->size(); ++i) {
    const ExternalTensor& tensor = files.external_tensors[i];
    const Bytes all = files.find(tensor.location)->file.bytes();
    if (tensor.offset > all.size() || tensor.length > all.size() - tensor.offset) {
      return Error{Code::function_failed, "the optimised weights end too early"};
    }
    const auto wrote =
        write_at(file.number(), all.subspan(tensor.offset, tensor.length), (*places)[i].offset);
    if (!wrote) return wrote;
  }
  return ok;
}

// Writes optimised.onnx and optimised.weights. Gives the size of the weights.
Result<std::uint64_t> optimise(Library& library, const Preparation& what) {
  auto files = open_model(*what.code, what.model);
  if (!files) return std::move(files).error();
  const auto saver =
      Session::open(library, std::move(*files), {.threads = what.threads, .save_to = what.out});
  if (!saver) return saver.error();
  const auto out = Folder::open(what.out);
  if (!out) return out.error();
  const auto written = open_model(*out, std::string(optimised_model));
  if (!written) return written.error();
  const std::string weights = what.out + "/" + std::string(optimised_weights);
  const std::string aligned = weights + ".aligned";
  const auto laid_out = lay_out(*written, aligned);
  if (!laid_out) return laid_out.error();
  std::error_code failed;
  std::filesystem::rename(aligned, weights, failed);
  if (failed) return Error{Code::function_failed, "renaming: " + failed.message()};
  return std::filesystem::file_size(weights, failed);
}

struct Opened {
  std::unique_ptr<Session> session;
  nanoseconds took{};  // From the path to the session.
};

Result<Opened> open_timed(Library& library, const Folder& folder, const std::string& path,
                          Form form, int threads) {
  const Stopwatch watch(measure_of(threads));
  auto files = open_model(folder, path);
  if (!files) return std::move(files).error();
  if (form == Form::mapped) files->populate();
  auto session = Session::open(library, std::move(*files), {.form = form, .threads = threads});
  if (!session) return std::move(session).error();
  return Opened{std::move(*session), watch.elapsed_ns()};
}

nanoseconds median(std::vector<nanoseconds> times) {
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::ranges::nth_element(times, middle);
  return *middle;
}

struct Compared {
  nanoseconds first{}, second{};
};

// What a fork may spend on a run of its own before its first call, which may have to wait for it.
constexpr auto rehearsal_max = std::chrono::milliseconds(250);

double ratio(const Compared& compared) {
  const auto first = std::max<std::int64_t>(1, compared.first.count());
  return static_cast<double>(compared.second.count()) / static_cast<double>(first);
}

// Runs both by turns, so that whatever else the machine does falls on both.
Result<Compared> compare(Session& first, Session& second) {
  std::vector<nanoseconds> times[2];
  Session* const sessions[] = {&first, &second};
  const Stopwatch watch;
  for (std::size_t pair = 0; pair < warm_ups + pairs_max; ++pair) {
    if (pair >= warm_ups + pairs_min && watch.elapsed() > measuring_max) break;
    for (std::size_t turn = 0; turn < 2; ++turn) {
      const std::size_t which = (pair + turn) % 2;
      const auto took = sessions[which]->run_on_made_up_inputs();
      if (!took) return took.error();
      if (pair >= warm_ups) times[which].push_back(*took);
    }
  }
  return Compared{median(times[0]), median(times[1])};
}

void add_form(wire::Prepared& prepared, Form form, const Preparation& what,
              const Library& library) {
  prepared.notes["form"] = name(form);
  if (form == Form::original) return;
  prepared.files = {std::string(optimised_model)};
  const std::string weights(optimised_weights);
  if (std::filesystem::exists(what.out + "/" + weights)) prepared.files.push_back(weights);
  prepared.options["optimised.form"] = name(form);
  prepared.options["optimised.key"] = optimised_key(what.model_digest, library.version());
  prepared.notes["optimised.key"] = prepared.options["optimised.key"];
}

// Chooses, and says by which figures. Errors of the optimised forms are no reason to refuse a model
// that runs as it is.
class Choice {
 public:
  Choice(Library& library, const Preparation& what, wire::Prepared& prepared)
      : library_(library),
        what_(what),
        prepared_(prepared),
        notes_(prepared.notes),
        options_(prepared.options) {}

  Result<Form> make() {
    auto original = open_timed(library_, *what_.code, what_.model, Form::original, what_.threads);
    if (!original) return std::move(original).error();
    original_ = std::move(*original);
    if (what_.examine) {
      const auto examined = what_.examine(*original_.session, prepared_);
      if (!examined) return examined.error();
    }
    notes_["load default"] = milliseconds(original_.took);
    const auto tried = original_.session->run_on_made_up_inputs();
    if (!tried) {
      notes_["not measured"] = tried.error().message;
      return Form::original;
    }
    for (const Form form : {Form::mapped, Form::optimised}) {
      const auto better = is_better(form);
      if (!better) return better.error();
      if (*better) return form;
    }
    return Form::original;
  }

 private:
  Result<bool> is_better(Form form) {
    const auto out = Folder::open(what_.out);
    if (!out) return out.error();
    const std::string called(name(form));
    auto opened = open_timed(library_, *out, std::string(optimised_model), form, what_.threads);
    if (!opened) {
      notes_["not " + called] = opened.error().message;
      return false;
    }
    notes_["load " + called] = milliseconds(opened->took);
    if (form == Form::optimised && opened->took >= original_.took) return false;
    auto compared = compare(*original_.session, *opened->session);
    // Close to the limit, a busy machine may have tipped it: the second opinion counts.
    const bool is_close = compared && ratio(*compared) > slowdown_max && ratio(*compared) < 1.15;
    if (is_close) compared = compare(*original_.session, *opened->session);
    if (!compared) return compared.error();
    notes_["p50 default"] = milliseconds(compared->first);
    notes_["p50 " + called] = milliseconds(compared->second);
    if (compared->first <= rehearsal_max) options_["rehearse"] = "yes";
    return ratio(*compared) <= slowdown_max;
  }

  Library& library_;
  const Preparation& what_;
  wire::Prepared& prepared_;
  wire::Options& notes_;
  wire::Options& options_;
  Opened original_;
};

}  // namespace

std::string milliseconds(nanoseconds duration) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3f ms", static_cast<double>(duration.count()) / 1e6);
  return text;
}

Result<wire::Prepared> prepare(Library& library, const Preparation& what) {
  wire::Prepared prepared;
  const auto weights = optimise(library, what);
  if (!weights) return weights.error();
  prepared.notes["bytes"] = std::to_string(*weights);
  malloc_trim(0);  // What optimising took is not what measuring should find.
  const auto form = Choice(library, what, prepared).make();
  if (!form) return form.error();
  add_form(prepared, *form, what, library);
  return prepared;
}

}  // namespace dormouse::onnx
