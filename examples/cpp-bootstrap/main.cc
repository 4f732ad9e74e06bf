// Prime numbers: `count 1000` is answered with how many there are, `list 1000` with each, as a
// stream. What everything else is answered with shows how a program reports an error.
#include <charconv>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "runtime_api.h"

namespace {

constexpr unsigned most = 100'000'000;
constexpr std::size_t piece_bytes = 8 << 10;

std::vector<bool> sieve(unsigned up_to) {
  std::vector<bool> is_prime(up_to + 1UL, true);
  is_prime[0] = is_prime[1] = false;
  for (unsigned long n = 2; n * n <= up_to; ++n) {
    for (unsigned long k = n * n; is_prime[n] && k <= up_to; k += n) is_prime[k] = false;
  }
  return is_prime;
}

struct Order {
  bool lists;
  unsigned up_to;
};

std::optional<Order> order_of(std::string_view text) {
  while (text.ends_with('\n')) text.remove_suffix(1);
  const std::string_view verb = text.substr(0, text.find(' '));
  if (verb == text || (verb != "count" && verb != "list")) return std::nullopt;
  text.remove_prefix(verb.size() + 1);
  unsigned up_to = 0;
  const char* const end = text.data() + text.size();
  const auto [stopped, wrong] = std::from_chars(text.data(), end, up_to);
  if (wrong != std::errc() || stopped != end || up_to < 1 || up_to > most) return std::nullopt;
  return Order{verb == "list", up_to};
}

std::string count(unsigned up_to) {
  unsigned long primes = 0;
  for (const bool is_prime : sieve(up_to)) primes += is_prime ? 1 : 0;
  return "{\"up_to\": " + std::to_string(up_to) + ", \"primes\": " + std::to_string(primes) + "}\n";
}

void list(lambda::Runtime& runtime, const lambda::Invocation& call, unsigned up_to) {
  const std::vector<bool> is_prime = sieve(up_to);
  runtime.begin_stream(call, "text/plain");
  std::string piece;
  for (unsigned n = 2; n <= up_to; ++n) {
    if (!is_prime[n]) continue;
    piece += std::to_string(n) + "\n";
    if (piece.size() < piece_bytes) continue;
    if (std::chrono::system_clock::now() > call.deadline) {
      return runtime.break_stream("TooSlow", "the reader took longer than the function may");
    }
    runtime.write(piece);
    piece.clear();
  }
  runtime.write(piece);
  runtime.end_stream();
}

}  // namespace

int main() {
  lambda::Runtime runtime;
  for (;;) {
    const lambda::Invocation call = runtime.next();
    std::fprintf(stderr, "%s: %zu bytes\n", call.id.c_str(), call.body.size());
    if (const auto order = order_of(call.body); !order) {
      runtime.fail(call, "BadOrder",
                   "send `count N` or `list N`, with N from 1 to " + std::to_string(most));
    } else if (order->lists) {
      list(runtime, call, order->up_to);
    } else {
      runtime.answer(call, "application/json", count(order->up_to));
    }
  }
}
