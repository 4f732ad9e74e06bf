// ONNX Runtime itself. It is loaded by hand rather than linked, so that its telemetry is switched
// off before a line of it runs: it otherwise starts a thread, makes a device id and asks DNS.
//
// Ownership  A Library stays loaded for the life of the process.
// Errors     unavailable if the shared object is not there or too old.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "base/time.h"

namespace dormouse::onnx {

class Library {
 public:
  // Loads the shared object and makes its one environment.
  static Result<std::unique_ptr<Library>> open();
  virtual ~Library() = default;

  virtual const std::string& version() const = 0;
  virtual Duration loading_took() const = 0;
  virtual Duration environment_took() const = 0;
};

}  // namespace dormouse::onnx
