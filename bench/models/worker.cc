// The ONNX worker without daemon and sandbox: what its start is made of, and how the form of a
// model that was chosen at deploy compares with ONNX Runtime's default session.
//
//   bench_models load CODE DIGEST FORM          one start: spawn to hello, and what `load` took
//   bench_models run CODE DIGEST FORM PAIRS RUNS    PAIRS times: medians of RUNS invocations of two
//                                               new workers, one of either form, which take turns
//
// CODE is a revision's folder as it is laid out for a sandbox, DIGEST its model's, FORM the chosen
// one; "original" is the default session. Prints one line of JSON, times in microseconds.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "runtimes/onnx/optimised_key.h"
#include "runtimes/onnx/worker_driver.h"

namespace dormouse::bench {
namespace {

using Clock = std::chrono::steady_clock;

double since(Clock::time_point began) {
  return std::chrono::duration<double, std::micro>(Clock::now() - began).count();
}

wire::Options options_for(const onnx::WorkerDriver& worker, const std::string& digest,
                          const std::string& form) {
  wire::Options options{{"model", "model.onnx"}, {"model.digest", digest}, {"threads", "1"}};
  if (form == "original") return options;
  options["optimised.form"] = form;
  options["optimised.key"] = onnx::optimised_key(digest, worker.hello().runtime_version);
  return options;
}

wire::Ready load(onnx::WorkerDriver& worker, const std::string& digest, const std::string& form) {
  const auto ready = worker.load(options_for(worker, digest, form));
  if (!ready || ready->notes.at("form") != form) {
    std::fprintf(stderr, "%s: %s\n", form.c_str(),
                 ready ? ready->notes.at("not optimised").c_str() : ready.error().message.c_str());
    std::exit(1);
  }
  return *ready;
}

void time_load(const std::string& code, const std::string& digest, const std::string& form) {
  const auto began = Clock::now();
  onnx::WorkerDriver worker(code);
  const double hello = since(began);
  const auto there = Clock::now();
  const wire::Ready ready = load(worker, digest, form);
  const double loaded = since(there);
  std::printf(
      "{\"hello\": %.1f, \"load\": %.1f, \"library\": \"%s\", \"environment\": \"%s\", "
      "\"session\": \"%s\"}\n",
      hello, loaded, ready.notes.at("load library").c_str(),
      ready.notes.at("load environment").c_str(), ready.notes.at("load session").c_str());
}

std::vector<onnx::Given> inputs_of(const wire::Signature& signature) {
  std::vector<onnx::Given> inputs;
  for (wire::TensorSpec spec : signature.inputs) {
    std::ranges::replace(spec.shape, -1, 1);
    const auto count = wire::element_count(spec.shape).value();
    std::string bytes(count * wire::element_size(spec.type), '\0');
    if (spec.type == wire::DataType::fp32) {
      const float value = 0.5;
      for (std::size_t i = 0; i < bytes.size(); i += sizeof(value)) {
        bytes.replace(i, sizeof(value), reinterpret_cast<const char*>(&value), sizeof(value));
      }
    }
    inputs.push_back({std::move(spec), std::move(bytes)});
  }
  return inputs;
}

double time_run(onnx::WorkerDriver& worker, const std::vector<onnx::Given>& inputs) {
  const auto began = Clock::now();
  const auto answered = worker.invoke(inputs);
  const double took = since(began);
  CHECK(answered);
  return took;
}

double median(std::vector<double> of) {
  std::ranges::sort(of);
  return of[of.size() / 2];
}

// The medians of RUNS invocations of two workers, which take turns: the chosen form's, the
// default's. Each time two new ones: what memory a worker got decides over a tenth of what a run
// takes.
std::pair<double, double> compare_once(const std::string& code, const std::string& digest,
                                       const std::string& form, bool chosen_first, int runs) {
  const std::string forms[] = {chosen_first ? form : "original", chosen_first ? "original" : form};
  onnx::WorkerDriver workers[] = {onnx::WorkerDriver(code), onnx::WorkerDriver(code)};
  std::vector<onnx::Given> inputs;
  for (int which : {0, 1}) inputs = inputs_of(load(workers[which], digest, forms[which]).signature);
  std::vector<double> times[2];
  for (int run = -3; run < runs; ++run) {
    for (int turn : {0, 1}) {
      const int which = (run + turn) & 1;
      const double took = time_run(workers[which], inputs);
      if (run >= 0) times[which].push_back(took);
    }
  }
  const double first = median(times[0]), second = median(times[1]);
  return chosen_first ? std::pair(first, second) : std::pair(second, first);
}

void compare(const std::string& code, const std::string& digest, const std::string& form, int pairs,
             int runs) {
  std::printf("[");
  for (int pair = 0; pair < pairs; ++pair) {
    const auto [with, without] = compare_once(code, digest, form, pair % 2 == 0, runs);
    std::printf("%s[%.1f, %.1f]", pair == 0 ? "" : ", ", with, without);
  }
  std::printf("]\n");
}

}  // namespace
}  // namespace dormouse::bench

int main(int count, char** arguments) {
  const std::vector<std::string> words(arguments + 1, arguments + count);
  if (words.size() == 4 && words[0] == "load") {
    dormouse::bench::time_load(words[1], words[2], words[3]);
  } else if (words.size() == 6 && words[0] == "run") {
    dormouse::bench::compare(words[1], words[2], words[3], std::atoi(words[4].c_str()),
                             std::atoi(words[5].c_str()));
  } else {
    std::fprintf(stderr,
                 "usage: bench_models load CODE DIGEST FORM | run CODE DIGEST FORM PAIRS RUNS\n");
    return 2;
  }
  return 0;
}
