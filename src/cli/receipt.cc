#include "cli/receipt.h"

#include <boost/json.hpp>
#include <iostream>
#include <memory>

#include "cli/answers.h"
#include "cli/api.h"
#include "cli/commands.h"
#include "cli/print.h"

namespace dormouse::cli {
namespace {

std::string size_at(const json::value& value, std::string_view path) {
  return readable_size(static_cast<std::uint64_t>(count_at(value, path)));
}

std::string attempt_text(const json::value& receipt) {
  return std::to_string(count_at(receipt, "attempt")) + " of " + text_at(receipt, "function") +
         "@" + std::to_string(count_at(receipt, "revision"));
}

std::string tokens_text(const json::value& receipt) {
  return readable_count(count_at(receipt, "tokens.generated")) + " generated; of the prompt " +
         readable_count(count_at(receipt, "tokens.prompt_read")) + " read, " +
         readable_count(count_at(receipt, "tokens.prompt_reused")) + " reused";
}

// Of a call in which the platform died it is only known that it had begun.
std::string interrupted_text(const json::value& receipt) {
  return table({"receipt", text_at(receipt, "invocation")},
               {{"attempt", attempt_text(receipt)},
                {"at", readable_time(text_at(receipt, "at"))},
                {"outcome", "interrupted: the platform died meanwhile; what it used is not known"},
                {"cost", text_at(receipt, "price") + " " + text_at(receipt, "currency")}});
}

std::string receipt_text(const json::value& receipt) {
  const double wake = number_at(receipt, "wake.sandbox_ms") + number_at(receipt, "wake.code_ms") +
                      number_at(receipt, "wake.load_ms");
  const std::string phases = " (sandbox " + readable_ms(number_at(receipt, "wake.sandbox_ms")) +
                             ", code " + readable_ms(number_at(receipt, "wake.code_ms")) +
                             ", load " + readable_ms(number_at(receipt, "wake.load_ms")) + ")";
  std::vector<std::vector<std::string>> rows = {
      {"attempt", attempt_text(receipt)},
      {"at", readable_time(text_at(receipt, "at"))},
      {"outcome", text_at(receipt, "outcome")},
      {"found it", text_at(receipt, "rung")},
      {"queue", readable_ms(number_at(receipt, "queue_ms"))},
      {"wake", readable_ms(wake) + (wake > 0 ? phases : "")},
      {"run", readable_ms(number_at(receipt, "run_ms"))},
      {"billed", readable_count(count_at(receipt, "billed_ms")) + " ms of " +
                     size_at(receipt, "declared_memory_bytes")},
      {"cpu", readable_ms(number_at(receipt, "cpu_ms")) +
                  (flag_at(receipt, "shared") ? ", shared with other calls" : "")},
      {"peak memory", size_at(receipt, "peak_memory_bytes")},
      {"request", size_at(receipt, "request_bytes")},
      {"response", size_at(receipt, "response_bytes")},
      {"cost", text_at(receipt, "price") + " " + text_at(receipt, "currency")}};
  if (at(receipt, "tokens") != nullptr) {
    rows.insert(rows.end() - 1, {"tokens", tokens_text(receipt)});
  }
  return table({"receipt", text_at(receipt, "invocation")}, rows);
}

Exit receipt(Shell* shell, const std::string& id) {
  const auto answer = Api(shell).get("/api/v1/invocations/" + escaped(id));
  if (!answer) return shell->fail(answer.error());
  *shell->out << (shell->json ? json::serialize(*answer) + "\n" : receipts_text(*answer));
  return Exit::ok;
}

}  // namespace

std::string receipts_text(const json::value& answer) {
  std::string text;
  for (const json::value& receipt : list_at(answer, "receipts")) {
    text += flag_at(receipt, "interrupted") ? interrupted_text(receipt) : receipt_text(receipt);
  }
  return text;
}

void add_receipt(CLI::App& app, Shell* shell) {
  auto id = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("receipt", "What a call used and cost, phase by phase");
  command->add_option("ID", *id, "The invocation, as in the answer's Dormouse-Invocation")
      ->required();
  command->footer("Example:\n  dormouse receipt 018f3b2e-7c1a-7abc-8def-0123456789ab");
  command->callback([=] { shell->exit = receipt(shell, *id); });
}

}  // namespace dormouse::cli
