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

std::string weights_path(const Preparation& what) {
  return what.out + "/" + std::string(optimised_weights);
}

// Writes optimised.onnx, and optimised.weights if there are any, in place of another form's.
Result<> write_as(Form form, Library& library, const Preparation& what) {
  std::error_code failed;
  std::filesystem::remove(weights_path(what), failed);
  auto files = open_model(*what.code, what.model);
  if (!files) return std::move(files).error();
  const auto saver = Session::open(library, std::move(*files),
                                   {.form = form, .threads = what.threads, .save_to = what.out});
  if (!saver) return saver.error();
  return ok;
}

Result<> align(const Preparation& what) {
  const auto out = Folder::open(what.out);
  if (!out) return out.error();
  const auto written = open_model(*out, std::string(optimised_model));
  if (!written) return written.error();
  const std::string aligned = weights_path(what) + ".aligned";
  const auto laid_out = lay_out(*written, aligned);
  if (!laid_out) return laid_out;
  std::error_code failed;
  std::filesystem::rename(aligned, weights_path(what), failed);
  if (failed) return Error{Code::function_failed, "renaming: " + failed.message()};
  return ok;
}

Result<> write(Form form, Library& library, const Preparation& what) {
  const auto written = write_as(form, library, what);
  malloc_trim(0);  // What this took is not what measuring should find.
  return written && form == Form::mapped ? align(what) : written;
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
  std::error_code none;
  const auto bytes = std::filesystem::file_size(weights_path(what), none);
  if (!none) {
    prepared.files.push_back(std::string(optimised_weights));
    prepared.notes["bytes"] = std::to_string(bytes);
  }
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
    const auto opened = open_original();
    if (!opened) return opened.error();
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
    for (const Form form : what_.forms) {
      const auto better = is_better(form);
      if (!better) return better.error();
      if (*better) return form;
    }
    return Form::original;
  }

 private:
  Result<> open_original() {
    auto original = open_timed(library_, *what_.code, what_.model, Form::original, what_.threads);
    if (!original) return std::move(original).error();
    original_ = std::move(*original);
    return ok;
  }

  // Beside what the session of the user's file holds, there is not always memory for what writing
  // takes.
  Result<> write_alone(Form form) {
    original_.session.reset();
    const auto written = write(form, library_, what_);
    const auto again = open_original();
    return again ? written : again;
  }

  Result<Opened> open_written(Form form) {
    const auto written = write_alone(form);
    if (!written) return written.error();
    const auto out = Folder::open(what_.out);
    if (!out) return out.error();
    return open_timed(library_, *out, std::string(optimised_model), form, what_.threads);
  }

  Result<bool> is_better(Form form) {
    const std::string called(name(form));
    auto opened = open_written(form);
    if (!original_.session) return std::move(opened).error();
    if (!opened) {
      notes_["not " + called] = opened.error().message;
      return false;
    }
    notes_["load " + called] = milliseconds(opened->took);
    if (form == Form::packed && opened->took >= original_.took) return false;
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
  const auto form = Choice(library, what, prepared).make();
  if (!form) return form.error();
  add_form(prepared, *form, what, library);
  return prepared;
}

}  // namespace dormouse::onnx
