// What AWS's deploy tools ask for, of AWS Lambda's API: functions made of zips, changed, shown and
// removed. The same catalog and the same deploy as the control API's: a request is answered when
// its function was really started once, and serves; what fails before that changes nothing.
//
//   POST   /2015-03-31/functions                          CreateFunction
//   GET    /2015-03-31/functions                          ListFunctions
//   GET    /2015-03-31/functions/{f}                      GetFunction
//   DELETE /2015-03-31/functions/{f}                      DeleteFunction
//   GET    /2015-03-31/functions/{f}/configuration        GetFunctionConfiguration
//   PUT    /2015-03-31/functions/{f}/configuration        UpdateFunctionConfiguration
//   PUT    /2015-03-31/functions/{f}/code                 UpdateFunctionCode
//   POST   /2015-03-31/functions/{f}/versions             PublishVersion
//   GET    /2015-03-31/functions/{f}/versions             ListVersionsByFunction
//   GET    /2017-03-31/tags/{arn}                         ListTags
//   POST   /2017-03-31/tags/{arn}                         TagResource
//   DELETE /2017-03-31/tags/{arn}?tagKeys=                UntagResource
//
// Security   The gateway has checked the signature, or the key. As the control API, it needs a
//            known Host and no foreign Origin; and, where there are no keys, a signature of any
//            kind, which no web page can send.
// Threads    One executor; JSON, base64 and zips have a thread of their own. A zip is read in a
//            process apart.
// Ownership  What it is given outlives it. The Deploys are the control API's, which owns this, too.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "async/thread.h"
#include "blobs/blobs.h"
#include "catalog/catalog.h"
#include "control/deploy.h"
#include "control/lambda_configuration.h"
#include "control/lambda_requests.h"
#include "control/lambda_routes.h"
#include "control/unpacking.h"
#include "gateway/keys.h"
#include "gateway/origin.h"
#include "http/server.h"
#include "logs/logs.h"

namespace dormouse::control {

struct LambdaDeps {
  catalog::Catalog* catalog = nullptr;
  blobs::Blobs* blobs = nullptr;
  logs::Logs* logs = nullptr;
  Deploys* deploys = nullptr;
  const gateway::Keys* keys = nullptr;
  gateway::Hosts hosts;
  std::function<Result<Unpacked>(int zip)> unpack;  // Blocks.
  catalog::Network network;                         // Of functions whose tags say nothing of it.
};

class LambdaControl final : public http::Handler {
 public:
  static constexpr int unpacking_max = 2;  // At once. More: 429.

  explicit LambdaControl(LambdaDeps);

  http::Admission admit(const http::Head&, bool loopback) override;
  asio::awaitable<http::Response> handle(http::Request) override;

 private:
  struct Asked;
  struct Contents;
  using Answer = Result<json::object>;

  asio::awaitable<Answer> dispatch(Asked);
  asio::awaitable<Answer> create(Asked);
  asio::awaitable<Answer> update_code(Asked);
  asio::awaitable<Answer> update_configuration(Asked);
  asio::awaitable<Answer> remove(Asked);
  asio::awaitable<Answer> remove_version(Asked);
  asio::awaitable<Answer> publish(Asked);
  asio::awaitable<Answer> change_tags(Asked);
  Answer list(const Asked&) const;
  Answer versions(const Asked&) const;
  Answer get(const Asked&) const;
  Answer configuration(const Asked&) const;
  Answer tags(const Asked&) const;

  Result<catalog::RevisionPtr> tagged(const Asked&) const;
  Result<catalog::RevisionPtr> qualified(const Asked&, std::string* version) const;
  asio::awaitable<Result<json::value>> body_of(std::shared_ptr<const http::Body>);
  asio::awaitable<Result<Contents>> unpack(std::string base64);
  asio::awaitable<Result<std::vector<catalog::File>>> store(std::shared_ptr<const Contents>);
  asio::awaitable<Answer> deploy(Asked, LambdaChange, std::vector<catalog::File>);

  const LambdaDeps deps_;
  int unpacking_ = 0;
  async::Thread aside_{"lambda-control"};
};

}  // namespace dormouse::control
