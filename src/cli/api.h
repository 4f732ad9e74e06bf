// The control API, as a command calls it.
#pragma once

#include <boost/json/value.hpp>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "cli/shell.h"
#include "gateway/json.h"
#include "http/client.h"

namespace dormouse::cli {

class Api {
 public:
  explicit Api(Shell* shell) : shell_(shell) {}

  Result<> check_url();  // Without asking anybody: invalid_argument if it is none.

  // An answer of 400 and above is an Error with the code and message that it carries.
  Result<json::value> get(const std::string& target);
  Result<json::value> post(const std::string& target, const json::value& body);
  Result<json::value> remove(const std::string& target);
  Result<json::value> put(const std::string& target, std::string_view bytes);
  // Each line of an ndjson stream, but for empty ones; false from it hangs up.
  Result<> stream(const std::string& method, const std::string& target, std::string_view body,
                  const std::function<bool(const json::value&)>& line);
  // Whatever it answers; with `piece`, all of its body goes there.
  Result<http::ClientResponse> send(http::ClientRequest, const http::Piece& piece = {});

 private:
  Result<http::Client*> client();
  Result<json::value> call(http::ClientRequest);
  void authorize(http::ClientRequest&) const;

  Shell* shell_;
  std::unique_ptr<http::Client> client_;
};

// Percent-encodes what is not safe in a path's segment or a query's value.
std::string escaped(std::string_view text);

// The Error that a response of 400 and above carries.
Error error_of(const http::ClientResponse&);
// The same, of a daemon that wants a key in the words of the command line.
Error refusal_of(const Shell&, const http::ClientResponse&);
// It is dormouse's own, and not what a function answered.
bool is_own_error(const http::ClientResponse&);

}  // namespace dormouse::cli
