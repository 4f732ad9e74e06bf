// What the probe says as a language model: chat, completions and embeddings in OpenAI's form, by
// rote. What the last "content" (or "prompt", "input") of a request says is what to do:
//
//   words N             N words, each a chunk with its count of tokens, then the end
//   stall N             N words, and then nothing
//   break N             N words, half of the next one's event, and then nothing
//   slowly N MS         N words, one each MS ms
//   torn                one event in pieces, cut within characters
//   die N               N words, and then the worker is gone
//   remember WORD       all words of its conversation, and this one; then keeps them
//   temperature, context, broken      the failures of these names
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dormouse::probe {

struct Said {
  std::string verb, word;
  std::int64_t count = 0, pause_ms = 0;
  bool streams = false;
  bool with_usage = false;
};
Said read_request(std::string_view body);

// "data: {…}\n\n" of the n-th word, from 1.
std::string word_event(std::string_view operation, std::int64_t n);
std::string usage_event(std::int64_t words);
inline constexpr std::string_view done_event = "data: [DONE]\n\n";
std::vector<std::string> torn_event();  // Of "größe 😀".

// The whole answer.
std::string whole_answer(std::string_view operation, std::int64_t words);
std::string whole_answer(std::string_view operation, std::string_view text, std::int64_t words);

}  // namespace dormouse::probe
