// What an HTTP server's program calls other functions by, on its sandbox's loopback, as
// docs/calling.md says: POST /dormouse/v1/functions/NAME, and nothing else.
//
// The server's own calls go past its worker, which knows none of them: that of the header
// Dormouse-Invocation is named to the daemon by the lower half of its id.
//
// Ownership  Outlives every Connection. Borrows the wire::WorkerEnd.
// Bounds     Bodies of 64 MiB, as the daemon's; 64 calls at a time.
#pragma once

#include "runtimes/executable/connection.h"
#include "runtimes/executable/inner_calls.h"
#include "wire/worker_end.h"

namespace dormouse::executable {

class FunctionsApi final : public Service {
 public:
  explicit FunctionsApi(wire::WorkerEnd* wire) : calls_(wire) {}

  void serve() { serves_ = true; }  // Until then nothing calls the program, and it calls nobody.
  // A frame from the daemon. invalid_argument if it is none that may come.
  Result<> obey(const wire::Frame&);

  Plan begin(Connection&) override;
  std::size_t take(Connection&, std::string_view bytes) override;
  void complete(Connection&) override;
  void lost(Connection&) override;

 private:
  InnerCalls calls_;
  bool serves_ = false;
};

}  // namespace dormouse::executable
