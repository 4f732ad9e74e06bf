#include "fleet/report.h"

#include <cstdio>

namespace dormouse::fleet {
namespace {

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.2f", value);
  return text;
}

std::string milliseconds(Duration duration) {
  return number(static_cast<double>(duration.count()) / 1000) + " ms";
}

std::string megabytes(std::uint64_t bytes) {
  return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MB";
}

std::string request(const ledger::Begun& begun) {
  return "RequestId: " + begun.key.id.text();
}

}  // namespace

std::string start_line(const ledger::Begun& begun) {
  return "START " + request(begun) + " Version: " + std::to_string(begun.revision);
}

std::vector<std::string> report_lines(const ledger::Receipt& receipt,
                                      const catalog::Manifest& manifest) {
  std::vector<std::string> lines;
  if (receipt.failure == Code::deadline_exceeded) {
    lines.push_back(receipt.begun.key.id.text() + " Task timed out after " +
                    number(static_cast<double>(manifest.timeout.count()) / 1e6) + " seconds");
  }
  lines.push_back("END " + request(receipt.begun));
  const Duration waking = receipt.wake.sandbox + receipt.wake.code + receipt.wake.load;
  std::string report = "REPORT " + request(receipt.begun) +
                       "\tDuration: " + milliseconds(receipt.run) +
                       "\tBilled Duration: " + std::to_string(receipt.billed_ms) +
                       " ms\tMemory Size: " + megabytes(receipt.declared_memory_bytes) +
                       "\tMax Memory Used: " + megabytes(receipt.peak_memory_bytes);
  if (waking > Duration(0)) report += "\tInit Duration: " + milliseconds(waking);
  lines.push_back(std::move(report));
  return lines;
}

}  // namespace dormouse::fleet
