// The inner header of the files that speak ONNX Runtime's C++ API. Its exceptions become Errors
// here, by guarded(), and go no further.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <string>
#include <utility>

#include "runtimes/onnx/library.h"
#include "runtimes/onnx/stopwatch.h"

namespace dormouse::onnx {

class OrtLibrary : public Library {
 public:
  virtual const Ort::Env& environment() const = 0;
};

// ONNX Runtime's messages can be many lines long and quote a whole graph.
inline std::string one_line(std::string_view message) {
  constexpr std::size_t length_max = 600;
  std::string line;
  for (const char c : message.substr(0, length_max)) {
    const bool space = c == '\n' || c == '\r' || c == '\t' || c == ' ';
    if (!space)
      line += c;
    else if (!line.empty() && line.back() != ' ')
      line += ' ';
  }
  if (message.size() > length_max) line += "…";
  while (line.ends_with(' ')) line.pop_back();
  return line;
}

// What ONNX Runtime blames on what it was given, and what on everything else.
inline Code code_of(OrtErrorCode code) {
  const bool given = code == ORT_INVALID_ARGUMENT;
  return given ? Code::invalid_argument : Code::function_failed;
}

template <class Work>
Result<> guarded(std::string_view attempt, Work&& work) {
  try {
    std::forward<Work>(work)();
    return ok;
  } catch (const Ort::Exception& exception) {
    return Error{code_of(exception.GetOrtErrorCode()), one_line(exception.what())}.during(attempt);
  } catch (const std::exception& exception) {
    return Error{Code::function_failed, one_line(exception.what())}.during(attempt);
  }
}

}  // namespace dormouse::onnx
