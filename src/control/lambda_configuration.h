// How a function is shown to AWS's deploy tools: manifests → AWS Lambda's JSON. Pure.
//
// What is only AWS's was kept as labels ("aws.role") when lambda_requests.h read it.
#pragma once

#include <string>
#include <string_view>

#include "catalog/catalog.h"
#include "gateway/json.h"

namespace dormouse::control {

inline constexpr std::string_view secret_reference = "dormouse:secret:";

// How a revision is shown. `version`: "$LATEST" or its number; `region`: what its ARN says.
struct LambdaView {
  std::string_view version;
  std::string_view region;
  bool changing = false;
};
json::object lambda_configuration(const catalog::Revision&, const LambdaView&);
json::object lambda_tags(const catalog::Manifest&);
std::string lambda_revision_id(const catalog::Revision&);

// What all functions have, and may say that they have.
#if defined(__aarch64__)
inline constexpr const char* lambda_architecture = "arm64";
#else
inline constexpr const char* lambda_architecture = "x86_64";
#endif
json::object lambda_storage();  // /tmp
// As the variable AWS_LAMBDA_LOG_GROUP_NAME says it.
std::string lambda_log_group(std::string_view function);

// Labels: of each tag, with its name after it; and where a program's handler was kept before it had
// a field.
inline constexpr std::string_view lambda_tag_label = "aws.tag.";
inline constexpr std::string_view lambda_network_tag = "dormouse:network";
inline constexpr const char* lambda_handler_label = "aws.handler";

}  // namespace dormouse::control
