// Signatures that AWS's own Python client (botocore 1.29) made, and what becomes of them when a
// single thing is another.
#include "gateway/sigv4.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>

namespace dormouse::gateway {
namespace {

constexpr WallTime signed_at{1795718734000};  // 2026-11-26T18:45:34Z

// The line of the key "dm_test".
constexpr std::string_view key_line =
    "sha256:d56ee204085874fae45c2f855a3f189ba617110ca258afda486a8fcd8743e48a "
    "aws:c68dfccd4677202a7b64cacdf11b8e93cb18fddda0a07c0dd6f04b2ff9953c6d\n";

struct Signed {
  http::Head head;
  std::string body;
  WallTime now = signed_at;
  Keys keys = Keys::parse(key_line).value();
};

// Both halves of the check, as a server makes them: with the key of whatever was checked before.
std::string verdict(const Signed& request) {
  static SigningKey last;
  auto fault = check_head(request.head, request.keys, request.now, last);
  if (!fault) fault = check_body(request.head, request.keys, request.body);
  return fault ? std::string(fault->type) : "";
}

http::Fields with(const http::Fields& fields, std::string_view name, std::string value) {
  http::Fields changed;
  for (const auto& [one, old] : fields.all()) changed.add(one, one == name ? value : old);
  return changed;
}

http::Fields without(const http::Fields& fields, std::string_view name) {
  http::Fields changed;
  for (const auto& [one, value] : fields.all()) {
    if (one != name) changed.add(one, value);
  }
  return changed;
}

std::string replaced(std::string_view text, std::string_view what, std::string_view by) {
  const auto at = text.find(what);
  EXPECT_NE(at, text.npos) << what;
  return std::string(text.substr(0, at)) + std::string(by) +
         std::string(text.substr(at + what.size()));
}

constexpr std::string_view in_header =
    "AWS4-HMAC-SHA256 Credential=DMD56EE204085874FAE4/20261126/eu-west-1/lambda/aws4_request, "
    "SignedHeaders=host;x-amz-date;x-amz-invocation-type;x-amz-log-type, "
    "Signature=3b1ab45dac0ba829c5b5f2d588552024bf24364c9228c71c536064ddeb40efa5";
constexpr std::string_view with_hash =
    "AWS4-HMAC-SHA256 Credential=DMD56EE204085874FAE4/20261126/eu-west-1/lambda/aws4_request, "
    "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-invocation-type;x-amz-log-type, "
    "Signature=705a06a19220f6420c4f279a2c0a007efe9a82eb5a1276e54647a5a98b0eee34";

Signed invoke() {
  Signed request{
      .head = {.method = "POST",
               .path = "/2015-03-31/functions/"
                       "arn:aws:lambda:eu-west-1:123456789012:function:greet/invocations",
               .query = "Qualifier=%24LATEST",
               .fields = {},
               .content_length = 8},
      .body = R"({"n": 1})"};
  http::Fields& fields = request.head.fields;
  fields.add("Host", "127.0.0.1:8080");
  fields.add("X-Amz-Date", "20261126T184534Z");
  fields.add("X-Amz-Invocation-Type", "RequestResponse");
  fields.add("X-Amz-Log-Type", "Tail");
  fields.add("User-Agent", "anything");
  fields.add("Authorization", in_header);
  return request;
}

Signed invoke_with_hash() {
  Signed request = invoke();
  request.head.fields = with(request.head.fields, "Authorization", std::string(with_hash));
  request.head.fields.add("X-Amz-Content-SHA256",
                          "e5d5f7c1d225fd6b13623ebb1b5b9d075c705659f81868b1e37005a0923b0346");
  return request;
}

Signed presigned() {
  return {.head = {.method = "POST",
                   .path = "/2015-03-31/functions/greet/invocations",
                   .query = "b=2&a=%2B%20x&n=1&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential="
                            "DMD56EE204085874FAE4%2F20261126%2Feu-west-1%2Flambda%2Faws4_request&"
                            "X-Amz-Date=20261126T184534Z&X-Amz-Expires=3600&X-Amz-SignedHeaders="
                            "host&X-Amz-Signature=9fcdcc455819722741e102a686be96a09cd5cf489cc460db3"
                            "a53cb26d6b5e40a",
                   .fields =
                       [] {
                         http::Fields fields;
                         fields.add("Host", "127.0.0.1:8080");
                         return fields;
                       }(),
                   .content_length = {}},
          .body = ""};
}

TEST(Signature, OfAnotherClientIsAcceptedInAllItsForms) {
  EXPECT_EQ(verdict(invoke()), "");
  EXPECT_EQ(verdict(invoke_with_hash()), "");
  EXPECT_EQ(verdict(presigned()), "");
}

// What two clients may write differently is the same to both.
TEST(Signature, DoesNotDependOnHowTheSameIsWritten) {
  Signed request = invoke();
  request.head.fields = with(request.head.fields, "Host", "  127.0.0.1:8080 ");
  request.head.fields = with(request.head.fields, "User-Agent", "another");
  EXPECT_EQ(verdict(request), "");
  request = presigned();
  request.head.query = "n=1&" + replaced(request.head.query, "&n=1", "");
  EXPECT_EQ(verdict(request), "") << "parameters in another order";
  request.head.query = replaced(request.head.query, "a=%2B%20x", "a=%2b%20%78");
  EXPECT_EQ(verdict(request), "") << "parameters in another spelling";
}

using Alter = std::function<void(Signed&)>;

Alter field(std::string_view name, std::string value) {
  return [=](Signed& request) { request.head.fields = with(request.head.fields, name, value); };
}
Alter added(std::string name, std::string value) {
  return [=](Signed& request) { request.head.fields.add(name, value); };
}
Alter dropped(std::string_view name) {
  return [=](Signed& request) { request.head.fields = without(request.head.fields, name); };
}
Alter authorization(std::string_view what, std::string_view by) {
  return [=](Signed& request) {
    const std::string now(request.head.fields.find("Authorization").value());
    request.head.fields = with(request.head.fields, "Authorization", replaced(now, what, by));
  };
}
Alter query(std::string_view what, std::string_view by) {
  return [=](Signed& request) { request.head.query = replaced(request.head.query, what, by); };
}
Alter at(std::int64_t seconds) {
  return [=](Signed& request) { request.now.unix_ms += seconds * 1000; };
}

struct Row {
  const char* what;
  Signed from;
  Alter alter;
  const char* type;
};

constexpr const char* wrong = "InvalidSignatureException";
constexpr const char* incomplete = "IncompleteSignatureException";
constexpr const char* unknown = "UnrecognizedClientException";
constexpr const char* missing = "MissingAuthenticationTokenException";

std::vector<Row> alterations_in_the_header() {
  return {
      {"method", invoke(), [](Signed& r) { r.head.method = "PUT"; }, wrong},
      {"path", invoke(), [](Signed& r) { r.head.path.back() = 't'; }, wrong},
      {"function", invoke(),
       [](Signed& r) { r.head.path = replaced(r.head.path, "greet", "great"); }, wrong},
      {"version of the API", invoke(),
       [](Signed& r) { r.head.path = replaced(r.head.path, "2015", "2021"); }, wrong},
      {"qualifier", invoke(), query("LATEST", "OLDEST"), wrong},
      {"a parameter more", invoke(), query("Q", "a=b&Q"), wrong},
      {"a parameter less", invoke(), query("Qualifier=%24LATEST", ""), wrong},
      {"host", invoke(), field("Host", "127.0.0.2:8080"), wrong},
      {"kind of call", invoke(), field("X-Amz-Invocation-Type", "Event"), wrong},
      {"log", invoke(), field("X-Amz-Log-Type", "None"), wrong},
      {"a signed header less", invoke(), dropped("X-Amz-Log-Type"), incomplete},
      {"a signed header twice", invoke(), added("X-Amz-Log-Type", "None"), wrong},
      {"no host", invoke(), dropped("Host"), incomplete},
      {"an X-Amz header that is not signed", invoke(), added("X-Amz-Client-Context", "e30="),
       incomplete},
      {"body", invoke(), [](Signed& r) { r.body = R"({"n": 2})"; }, wrong},
      {"a longer body", invoke(), [](Signed& r) { r.body += " "; }, wrong},
      {"no body", invoke(), [](Signed& r) { r.body.clear(); }, wrong},
      {"time", invoke(), field("X-Amz-Date", "20261126T184535Z"), wrong},
      {"no time", invoke(), dropped("X-Amz-Date"), incomplete},
      {"a time that is none", invoke(), field("X-Amz-Date", "20261126T246060Z"), incomplete},
      {"two times", invoke(), added("X-Amz-Date", "20261126T184534Z"), incomplete},
      {"another day's scope", invoke(), authorization("20261126", "20261127"), incomplete},
      {"region", invoke(), authorization("eu-west-1", "eu-west-2"), wrong},
      {"service", invoke(), authorization("lambda", "s3"), wrong},
      {"end of the scope", invoke(), authorization("aws4_request", "aws5_request"), wrong},
      {"scope without a region", invoke(), authorization("/eu-west-1", ""), incomplete},
      {"key", invoke(), authorization("DMD5", "DMD6"), unknown},
      {"key of a node that has none", invoke(),
       [](Signed& r) { r.keys = Keys::parse(key_line.substr(0, 71)).value(); }, unknown},
      {"secret", invoke(),
       [](Signed& r) { r.keys = Keys::parse(replaced(key_line, "aws:c68d", "aws:c68e")).value(); },
       wrong},
      {"signature", invoke(), authorization("3b1ab45d", "3b1ab45e"), wrong},
      {"end of the signature", invoke(), authorization("40efa5", "40efa6"), wrong},
      {"a shorter signature", invoke(), authorization("40efa5", "40efa"), wrong},
      {"no signature", invoke(), authorization("3b1ab45dac0ba829c5b5f2d588552024", ""), wrong},
      {"a signature in capitals", invoke(), authorization("3b1ab45d", "3B1AB45D"), wrong},
      {"signed headers without one", invoke(), authorization(";x-amz-log-type", ""), incomplete},
      {"signed headers without host", invoke(), authorization("host;", ""), incomplete},
      {"signed headers in another order", invoke(),
       authorization("host;x-amz-date", "x-amz-date;host"), incomplete},
      {"signed headers with one that is not there", invoke(), authorization("host;", "a;host;"),
       incomplete},
      {"algorithm", invoke(), authorization("HMAC-SHA256", "HMAC-SHA1"), missing},
      {"a part of it missing", invoke(),
       authorization("SignedHeaders=host;x-amz-date;x-amz-invocation-type;x-amz-log-type, ", ""),
       incomplete},
      {"no signature at all", invoke(), dropped("Authorization"), missing},
      {"two of them", invoke(), added("Authorization", std::string(in_header)), incomplete},
      {"five minutes late", invoke(), at(301), wrong},
      {"five minutes early", invoke(), at(-301), wrong},
  };
}

std::vector<Row> alterations_elsewhere() {
  return {
      {"another body than the hash", invoke_with_hash(), [](Signed& r) { r.body += " "; }, wrong},
      {"body and hash", invoke_with_hash(),
       [](Signed& r) {
         r.body += " ";
         field("X-Amz-Content-SHA256", hash::hex(hash::sha256(r.body)))(r);
       },
       wrong},
      {"the hash is not said", invoke_with_hash(), dropped("X-Amz-Content-SHA256"), incomplete},
      {"the body is not signed", invoke_with_hash(),
       field("X-Amz-Content-SHA256", "UNSIGNED-PAYLOAD"), wrong},
      {"the body is signed in pieces", invoke_with_hash(),
       field("X-Amz-Content-SHA256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"), wrong},
      {"in the header and in the query", presigned(),
       added("Authorization", std::string(in_header)), incomplete},
      {"presigned: method", presigned(), [](Signed& r) { r.head.method = "GET"; }, wrong},
      {"presigned: path", presigned(), [](Signed& r) { r.head.path.back() = 't'; }, wrong},
      {"presigned: body", presigned(), [](Signed& r) { r.body = "{}"; }, wrong},
      {"presigned: a parameter", presigned(), query("b=2", "b=3"), wrong},
      {"presigned: a longer life", presigned(), query("Expires=3600", "Expires=7200"), wrong},
      {"presigned: a life beyond a week", presigned(), query("Expires=3600", "Expires=604801"),
       incomplete},
      {"presigned: no life", presigned(), query("Expires=3600", "Expires=0"), incomplete},
      {"presigned: time", presigned(), query("T184534Z", "T184535Z"), wrong},
      {"presigned: algorithm", presigned(), query("HMAC-SHA256", "HMAC-SHA1"), incomplete},
      {"presigned: a signature twice", presigned(), query("b=2", "X-Amz-Signature=0"), incomplete},
      {"presigned: headers", presigned(), query("SignedHeaders=host", "SignedHeaders=Host"),
       incomplete},
      {"presigned: an hour late", presigned(), at(3601), wrong},
      {"presigned: five minutes early", presigned(), at(-301), wrong},
  };
}

TEST(Signature, IsRefusedIfAnySingleThingIsAnother) {
  auto rows = alterations_in_the_header();
  for (Row& row : alterations_elsewhere()) rows.push_back(std::move(row));
  EXPECT_GE(rows.size(), 40u);
  for (Row& row : rows) {
    EXPECT_EQ(verdict(row.from), "") << row.what;
    row.alter(row.from);
    EXPECT_EQ(verdict(row.from), row.type) << row.what;
  }
}

TEST(Signature, IsGoodFiveMinutesEitherWayAndAPresignedOneForItsLife) {
  for (const std::int64_t seconds : {-300, 0, 300}) {
    Signed request = invoke();
    request.now.unix_ms += seconds * 1000;
    EXPECT_EQ(verdict(request), "") << seconds;
  }
  Signed link = presigned();
  link.now.unix_ms += 3'600'000;
  EXPECT_EQ(verdict(link), "");
}

// With the hash in a field, a stranger's body is not even read.
TEST(Signature, IsRefusedBeforeTheBodyIsThereIfTheHashIsSaid) {
  Signed request = invoke_with_hash();
  request.head.query = "Qualifier=7";
  SigningKey last;
  EXPECT_TRUE(check_head(request.head, request.keys, request.now, last));
}

TEST(Signature, IsNotTakenByTheSigningKeyOfAnotherSecretOrDay) {
  const Signed request = invoke_with_hash();
  SigningKey last;
  EXPECT_FALSE(check_head(request.head, request.keys, request.now, last));
  const hash::Sha256 right = last.key;
  EXPECT_FALSE(check_head(request.head, request.keys, request.now, last));
  for (std::string SigningKey::* of :
       {&SigningKey::secret, &SigningKey::date, &SigningKey::region}) {
    last.*of = "another";
    last.key = hash::sha256("wrong");
    EXPECT_FALSE(check_head(request.head, request.keys, request.now, last));
    EXPECT_EQ(last.key, right);
  }
}

TEST(KeyFile, KeepsASecretOnlyOfKeysThatSign) {
  const FreshKey plain = make_key({1, 2, 3}), signing = make_key({1, 2, 3}, Signs::yes);
  EXPECT_EQ(signing.line.substr(0, plain.line.size()), plain.line);
  EXPECT_FALSE(Keys::parse(plain.line)->signs());
  const auto keys = Keys::parse(signing.line);
  const auto credentials = aws_credentials_of(signing.key);
  EXPECT_EQ(keys->signing_secret(credentials.access_key_id), credentials.secret_access_key);
  EXPECT_EQ(signing.line.find(signing.key), std::string::npos);
  EXPECT_FALSE(Keys::parse(plain.line + " aws:"));
  EXPECT_FALSE(Keys::parse(plain.line + " aws:" + std::string(64, 'x')));
}

}  // namespace
}  // namespace dormouse::gateway
