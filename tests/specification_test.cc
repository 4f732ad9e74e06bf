// Holds SPECIFICATION.md to the code: every row of its table of defaults and limits says what the
// constant says, every constant here has a row, and every test it names exists.

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "blobs/blobs.h"
#include "catalog/catalog.h"
#include "cli/config.h"
#include "control/archive.h"
#include "control/deploy.h"
#include "control/garbage.h"
#include "control/lambda_control.h"
#include "conversations/conversations.h"
#include "fleet/fleet.h"
#include "fleet/network.h"
#include "gateway/gateway.h"
#include "gateway/http_prelude.h"
#include "gateway/json.h"
#include "gateway/key_file.h"
#include "gateway/lambda.h"
#include "gateway/lambda_client.h"
#include "gateway/sigv4.h"
#include "gateway/tensor_json.h"
#include "http/server.h"
#include "ledger/ledger.h"
#include "ledger/tail.h"
#include "logs/logs.h"
#include "metering/metering.h"
#include "runtimes/llm/request.h"
#include "runtimes/onnx/classification_options.h"
#include "runtimes/onnx/decoder.h"
#include "runtimes/onnx/pictures/pictures.h"
#include "sandbox/fork_storm.h"
#include "sandbox/router.h"
#include "sandbox/sandbox.h"
#include "scheduling/backoff.h"
#include "scheduling/scheduler.h"
#include "secrets/secrets.h"
#include "wire/frame.h"
#include "wire/messages.h"
#include "wire/tensors.h"

namespace dormouse {
namespace {

namespace fs = std::filesystem;

const fs::path root = SOURCE_DIR;

// As the table writes them: in the largest unit that leaves a whole number.
std::string count(std::int64_t value) {
  std::string text = std::to_string(value);
  for (int i = static_cast<int>(text.size()) - 3; i > 0; i -= 3) {
    text.insert(static_cast<std::size_t>(i), ",");
  }
  return text;
}

template <std::size_t N>
std::string in_units(std::int64_t value, const std::pair<std::int64_t, const char*> (&units)[N]) {
  for (const auto& [size, name] : units) {
    if (value >= size && value % size == 0) return count(value / size) + " " + name;
  }
  return count(value);
}

std::string bytes(std::uint64_t value) {
  return in_units(static_cast<std::int64_t>(value), {{std::int64_t{1} << 30, "GiB"},
                                                     {std::int64_t{1} << 20, "MiB"},
                                                     {std::int64_t{1} << 10, "KiB"},
                                                     {1, "B"}});
}

std::string time(Duration value) {
  return in_units(value.count(),
                  {{3'600'000'000, "h"}, {1'000'000, "s"}, {1'000, "ms"}, {1, "µs"}});
}

std::map<std::string, std::string> of_manifests() {
  const catalog::Manifest manifest;
  return {{"manifest: cpu", count(manifest.resources.cpu_millicores) + " millicores"},
          {"manifest: memory", bytes(static_cast<std::uint64_t>(manifest.resources.memory_bytes))},
          {"manifest: timeout", time(manifest.timeout)},
          {"manifest: start_timeout", time(manifest.start_timeout)},
          {"manifest: keep_alive", time(manifest.keep_alive)},
          {"manifest: template_keep_alive", time(manifest.template_keep_alive)},
          {"manifest: concurrency", count(manifest.concurrency)},
          {"manifest: snapshot", manifest.snapshot},
          {"manifest: reuse", manifest.reuse},
          {"manifest: threads", count(manifest.threads)},
          {"manifest: min instances", count(manifest.instances_min)},
          {"manifest: max instances", count(manifest.instances_max)},
          {"manifest: network", manifest.network == catalog::Network{} ? "none" : ""},
          {"manifest: destinations in `allow`", count(fleet::destinations_max)},
          {"manifest: queue", count(manifest.queue_max)},
          {"manifest: max_body", bytes(static_cast<std::uint64_t>(manifest.body_bytes_max))}};
}

std::map<std::string, std::string> of_http() {
  const http::Limits limits;
  const http::ServerOptions options;
  return {{"http: address", options.host + ":" + std::to_string(options.port)},
          {"http: connections", count(limits.connections_max)},
          {"http: header", bytes(limits.header_bytes_max)},
          {"http: target", bytes(limits.target_bytes_max)},
          {"http: body in memory", bytes(limits.inline_body_bytes_max)},
          {"http: larger bodies together", bytes(limits.bodies_bytes_max)},
          {"http: time for a header", time(limits.header_timeout)},
          {"http: idle connection", time(limits.idle_timeout)},
          {"http: slowest body", bytes(limits.body_bytes_per_second_min) + "/s"},
          {"http: stalled write", time(limits.write_timeout)},
          {"json: depth", count(static_cast<std::int64_t>(gateway::JsonLimits{}.depth_max))},
          {"json: values", count(static_cast<std::int64_t>(gateway::JsonLimits{}.values_max))},
          {"json: values of tensors",
           count(static_cast<std::int64_t>(gateway::tensor_json_limits.values_max))},
          {"json: values of a language model", count(static_cast<std::int64_t>(llm::values_max))}};
}

std::string name_of(const catalog::Network& network) {
  using enum catalog::Network::Reach;
  return network.reach == none ? "none" : network.reach == outbound ? "outbound" : "allowed";
}

std::map<std::string, std::string> of_lambda() {
  return {
      {"lambda: payload", bytes(gateway::lambda_payload_bytes_max)},
      {"lambda: request with a zip", bytes(control::zip_request_bytes_max)},
      {"lambda: zip, unpacked", bytes(control::apart_limits.bytes_max)},
      {"lambda: zips at once", count(control::LambdaControl::unpacking_max)},
      {"lambda: end of the log", bytes(gateway::lambda_log_tail_bytes)},
      {"lambda: what an answer says of HTTP", bytes(gateway::prelude_bytes_max)},
      {"lambda: signature's time", time(gateway::signature_skew_max)},
      {"lambda: presigned", time(gateway::presigned_age_max)},
      {"lambda: client context", bytes(gateway::client_context_base64_bytes_max)},
      {"lambda: network of what AWS's tools create", name_of(cli::DaemonConfig{}.lambda_network)}};
}

std::map<std::string, std::string> of_the_wire() {
  return {{"wire: frame payload", bytes(wire::payload_bytes_max)},
          {"wire: descriptors of a frame", count(wire::descriptors_max)},
          {"wire: credit window", bytes(wire::credit_window_bytes)},
          {"wire: body in a frame", bytes(wire::inline_body_bytes_max)},
          {"wire: document of an error", bytes(wire::document_bytes_max)},
          {"wire: client context", bytes(wire::client_context_bytes_max)},
          {"wire: tensors", count(wire::tensors_max)},
          {"wire: dimensions", count(wire::dimensions_max)},
          {"wire: tensor name", bytes(wire::name_bytes_max)}};
}

std::map<std::string, std::string> of_sandboxes() {
  const sandbox::Limits limits{};
  const sandbox::LauncherOptions options;
  return {{"sandbox: OCI runtime", options.oci_runtime},
          {"sandbox: processes", count(limits.processes_max)},
          {"sandbox: processes refused to a fork bomb", count(sandbox::ForkStorm::refused_max)},
          {"sandbox: /tmp", bytes(limits.tmp_bytes_max)},
          {"sandbox: open files", count(static_cast<std::int64_t>(limits.open_files_max))},
          {"sandbox: pending signals and timers",
           count(static_cast<std::int64_t>(sandbox::pending_signals_max))},
          {"sandbox: different networks", count(sandbox::Router::policies_max)},
          {"sandbox: first host uid", count(options.host_uid_first)},
          {"sandbox: ranges of 65,536 uids", count(options.host_uid_count)}};
}

std::map<std::string, std::string> of_pictures() {
  return {{"picture: pixels", count(std::int64_t{onnx::picture_pixels_max})},
          {"picture: side", count(onnx::picture_side_max) + " pixels"},
          {"picture: scans of a JPEG", count(std::int64_t{jpeg_scans_max})},
          {"picture: side of a tensor", count(onnx::tensor_side_max) + " pixels"},
          {"picture: classes", count(std::int64_t{onnx::classes_max})}};
}

std::map<std::string, std::string> of_the_state() {
  const ledger::Options ledger;
  const logs::Options logs;
  const metering::RateCard rates;
  const control::ArchiveLimits zip;
  const fleet::RenewalTerms renewal;
  const conversations::Options kept;
  return {
      {"zip: files and folders", count(static_cast<std::int64_t>(zip.entries_max))},
      {"zip: unpacked", bytes(zip.bytes_max)},
      {"ledger: segment", bytes(ledger.segment_bytes_max)},
      {"ledger: tail", bytes(ledger::tail_bytes_max)},
      {"ledger: sync", time(ledger.sync_every)},
      {"ledger: kept", count(ledger.keep_ms / (24 * 3600 * 1000)) + " days"},
      {"logs: of a function", bytes(logs.bytes_max)},
      {"logs: line", bytes(logs.line_bytes_max)},
      {"logs: waiting to be written", bytes(logs.pending_bytes_max)},
      {"deploys: at the same time", count(static_cast<std::int64_t>(control::Deploys::trials_max))},
      {"deploys: a trial", time(control::Deploys::patience)},
      {"disk: unfinished uploads", time(control::Garbage::stale)},
      {"keys: read again", time(gateway::KeyFile::period)},
      {"blobs: largest", bytes(blobs::Options{}.blob_bytes_max)},
      {"conversations: on disk", bytes(kept.bytes_max)},
      {"conversations: each", bytes(kept.size_max)},
      {"conversations: how many", count(static_cast<std::int64_t>(kept.count_max))},
      {"conversations: name", bytes(conversations::name_bytes_max)},
      {"secrets: name", bytes(secrets::name_bytes_max)},
      {"secrets: value", bytes(secrets::value_bytes_max)},
      {"rates: a call", count(rates.per_call.value) + " pico-units"},
      {"rates: a GiB for a second", count(rates.per_gib_second.value) + " pico-units"},
      {"rates: waking", rates.bills_waking ? "billed" : "not billed"},
      {"fleet: answer", bytes(fleet::Options{}.answer_bytes_max)},
      {"fleet: output of an instance", bytes(fleet::Options{}.output_bytes_per_second) + "/s"},
      {"fleet: grace to leave", time(fleet::Options{}.drain_grace)},
      {"fleet: grace to keep", time(fleet::Options{}.keep_grace)},
      {"fleet: forks that wait", count(static_cast<std::int64_t>(fleet::Options{}.spare_forks))},
      {"fleet: slots that wait", count(static_cast<std::int64_t>(fleet::Options{}.spare_slots))},
      {"fleet: a fork becomes ready", time(fleet::Options{}.settling_max)},
      {"fleet: age of a template", time(renewal.age)},
      {"fleet: forks of a template", count(static_cast<std::int64_t>(renewal.forks))},
      {"fleet: crashes of forks", count(static_cast<std::int64_t>(renewal.crashes))},
      {"fleet: renewals' share of a core",
       count(static_cast<std::int64_t>(renewal.cpu_share * 100)) + " %"},
      {"fleet: what did harm is held back", time(scheduling::backoff(2))},
      {"fleet: harm is forgotten", time(scheduling::harm_is_forgotten)},
      {"fleet: idle beside a template", time(fleet::Options{}.keep_alive_forked)},
      {"fleet: blank sandboxes of a runtime", count(fleet::Runtime{}.blanks)}};
}

std::map<std::string, std::string> constants() {
  std::map<std::string, std::string> all = of_manifests();
  for (auto part :
       {of_http(), of_the_wire(), of_lambda(), of_sandboxes(), of_pictures(), of_the_state()})
    all.merge(part);
  return all;
}

std::string read(const fs::path& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

std::string specification() {
  return read(root / "SPECIFICATION.md");
}

std::string trimmed(const std::string& text) {
  const auto begin = text.find_first_not_of(' ');
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(' ') - begin + 1);
}

// The rows "| name | value | …" under the heading of defaults and limits.
std::map<std::string, std::string> table() {
  std::map<std::string, std::string> rows;
  const std::string text = specification();
  std::istringstream in(text.substr(std::min(text.size(), text.find("## Defaults and limits"))));
  std::string line;
  std::getline(in, line);
  while (std::getline(in, line) && !line.starts_with("## ")) {
    std::istringstream cells(line);
    std::string name, value, nothing;
    if (!std::getline(cells, nothing, '|') || !std::getline(cells, name, '|')) continue;
    std::getline(cells, value, '|');
    if (trimmed(name) != "what" && !name.starts_with(" ---")) rows[trimmed(name)] = trimmed(value);
  }
  return rows;
}

TEST(Specification, SaysWhatTheConstantsSay) {
  const auto said = table();
  for (const auto& [name, value] : constants()) {
    const auto row = said.find(name);
    if (row == said.end()) {
      ADD_FAILURE() << "add to SPECIFICATION.md: | " << name << " | " << value << " |";
    } else {
      EXPECT_EQ(row->second, value) << "SPECIFICATION.md says otherwise of " << name;
    }
  }
}

TEST(Specification, SaysNothingThatNobodyHolds) {
  const auto known = constants();
  const auto said = table();
  EXPECT_FALSE(said.empty());
  for (const auto& [name, value] : said) {
    EXPECT_TRUE(known.contains(name)) << "hold \"" << name << "\" in tests/specification_test.cc";
  }
}

std::vector<std::string> all_of(const std::string& text, const std::regex& pattern) {
  std::vector<std::string> found;
  for (std::sregex_iterator match(text.begin(), text.end(), pattern), end; match != end; ++match) {
    found.push_back((*match)[1]);
  }
  return found;
}

// A line that names a file and a test, as in `src/x/x_test.cc` `Suite.Name`.
TEST(Specification, NamesTestsThatExist) {
  const std::regex file("`((?:src|tests|e2e|bench|sim|runtimes|scripts)/[\\w./-]+)`");
  const std::regex test("`([A-Z]\\w+\\.[A-Z]\\w+)`");
  std::istringstream in(specification());
  int named = 0;
  for (std::string line; std::getline(in, line);) {
    std::string tests;
    for (const std::string& path : all_of(line, file)) {
      EXPECT_TRUE(fs::exists(root / path)) << path << " is promised, but is not there";
      tests += read(root / path);
    }
    for (const std::string& name : all_of(line, test)) {
      const auto dot = name.find('.');
      const std::string claim = "(" + name.substr(0, dot) + ", " + name.substr(dot + 1) + ")";
      EXPECT_TRUE(tests.contains(claim)) << name << " is promised, but is not there: " << line;
      ++named;
    }
  }
  EXPECT_GT(named, 5);
}

// What a function that says nothing of itself gets must be the same wherever it is decided.
TEST(Specification, AgreesWithTheScheduler) {
  const catalog::Manifest manifest;
  const scheduling::Terms terms;
  EXPECT_EQ(terms.concurrency, manifest.concurrency);
  EXPECT_EQ(terms.instances_min, manifest.instances_min);
  EXPECT_EQ(terms.instances_max, manifest.instances_max);
  EXPECT_EQ(terms.queue_max, manifest.queue_max);
  EXPECT_EQ(terms.keep_alive, manifest.keep_alive);
  EXPECT_EQ(terms.start_timeout, manifest.start_timeout);
  EXPECT_EQ(http::Limits{}.inline_body_bytes_max, wire::inline_body_bytes_max);
}

TEST(Units, AreTheLargestThatFit) {
  EXPECT_EQ(bytes(512 << 20), "512 MiB");
  EXPECT_EQ(bytes(1536), "1,536 B");
  EXPECT_EQ(time(std::chrono::seconds(90)), "90 s");
  EXPECT_EQ(count(1'234'567), "1,234,567");
}

}  // namespace
}  // namespace dormouse
