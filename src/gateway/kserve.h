// KServe v2, also called the Open Inference Protocol, over REST, with its binary tensor extension.
// Source: github.com/kserve/open-inference-protocol and Triton's protocol documents. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "gateway/native.h"
#include "http/message.h"
#include "wire/messages.h"

namespace dormouse::gateway {

// One `infer` request. Its tensors lie either in the request's own body behind the JSON header
// (`in_place`: offsets count from the end of the header), or in `bytes`.
struct InferRequest {
  std::optional<std::string> id;
  std::vector<wire::Tensor> tensors;
  bool in_place = false;
  std::string bytes;
  bool is_unfinished = false;                  // See parse_infer().
  std::vector<std::string> outputs;            // Wanted; empty: all.
  bool all_binary = false;                     // As bytes behind the header,
  std::map<std::string, bool> binary_outputs;  // unless something else is said of an output.
  bool wants_binary(const std::string& output) const {
    const auto said = binary_outputs.find(output);
    return said == binary_outputs.end() ? all_binary : said->second;
  }
};

// The field Inference-Header-Content-Length; nullopt if there is none.
Result<std::optional<std::uint64_t>> header_length(const http::Fields&);

// `header_length`: that field; 0 means that the body is the raw bytes of the model's only input.
// Bytes behind the header are copied only if there are values in JSON as well. If those bytes are
// more than `copy_bytes_max`, the request is unfinished, has no tensors, and is to be parsed where
// that may take its time.
Result<InferRequest> parse_infer(std::string_view body, std::optional<std::uint64_t> header_length,
                                 const wire::Signature&,
                                 std::uint64_t copy_bytes_max = std::uint64_t{1} << 62);

struct InferResponse {
  std::string header;                // JSON.
  std::vector<wire::Tensor> binary;  // Whose bytes follow it, in this order.
};
// Of the answer's bytes those that infer_response() writes as JSON.
std::uint64_t bytes_as_json(const InferRequest&, const std::vector<wire::Tensor>&);
Result<InferResponse> infer_response(const InferRequest&, std::string_view model, int version,
                                     const std::vector<wire::Tensor>&, std::string_view bytes);

// An empty reason: it is ready, also asleep.
std::string model_readiness(std::string_view model, std::string_view why_not);
// `versions`: all that can be called.
std::string model_metadata(std::string_view model, std::span<const std::string> versions,
                           const wire::Ready&);
std::string server_metadata(std::string_view version);
std::string kserve_error(std::string_view message);

}  // namespace dormouse::gateway
