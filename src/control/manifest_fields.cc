#include "control/manifest_fields.h"

#include <algorithm>
#include <array>

#include "catalog/validate.h"
#include "control/paths.h"

namespace dormouse::control {
namespace {

using catalog::Manifest;

Error refused(std::string why) {
  return {Code::invalid_argument, std::move(why)};
}

bool is_lower(char c) {
  return c >= 'a' && c <= 'z';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

Result<> check_name(std::string_view name) {
  if (!catalog::is_function_name(name)) return refused("not a name");
  return ok;
}

Result<> check_word(std::string_view word) {
  const auto good = [](char c) { return is_lower(c) || is_digit(c) || c == '-' || c == '_'; };
  if (word.size() > 63 || !std::ranges::all_of(word, good)) return refused("not a word");
  return ok;
}

Result<> check_runtime(std::string_view word) {
  if (word.empty()) return refused("empty");
  return check_word(word);
}

Result<> check_model(std::string_view path) {
  if (path.empty()) return ok;
  return check_path(path);
}

bool is_option_name(std::string_view name) {
  return !name.empty() && check_word(name);
}

Result<> check_handler(std::string_view handler) {
  constexpr std::size_t bytes_max = 255;
  const auto is_space = [](char c) { return static_cast<unsigned char>(c) <= 0x20 || c == 0x7F; };
  if (handler.size() > bytes_max) return refused("over 255 bytes");
  if (std::ranges::any_of(handler, is_space)) return refused("spaces or control characters in it");
  return ok;
}

bool is_label(std::string_view name) {
  constexpr std::size_t bytes_max = 200;
  const auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; };
  return !name.empty() && name.size() <= bytes_max && std::ranges::none_of(name, is_control);
}

Result<> check_packages(std::string_view whose) {
  if (whose != "none" && whose != "host") return refused("neither");
  return ok;
}

Result<> check_reuse(std::string_view how) {
  if (how != catalog::reuse_warm && how != catalog::reuse_clean) return refused("neither");
  return ok;
}

Result<> check_snapshot(std::string_view when) {
  if (when == catalog::snapshot_auto || when == catalog::snapshot_on ||
      when == catalog::snapshot_off) {
    return ok;
  }
  return refused("none of them");
}

Result<> check_weights(std::string_view where) {
  if (where != "memory" && where != "mapped") return refused("neither");
  return ok;
}

Result<> check_pooling(std::string_view how) {
  constexpr std::string_view ways[] = {"", "none", "mean", "cls", "last"};
  if (std::ranges::find(ways, how) == std::end(ways)) return refused("none of them");
  return ok;
}

using namespace std::chrono_literals;
constexpr std::int64_t kib = 1 << 10, mib = 1 << 20;
constexpr std::int64_t gib = std::int64_t{1} << 30, tib = std::int64_t{1} << 40;

const std::array<Field, 30> fields{{
    {"name",
     Text{[](Manifest& m) -> std::string& { return m.name; }, check_name,
          "1 to 64 letters, digits, \"_\" and \"-\", not beginning or ending with \"-\""},
     "What the function is called, in its URL and everywhere.", true},
    {"runtime",
     Text{[](Manifest& m) -> std::string& { return m.runtime; }, check_runtime,
          "a runtime that the node has"},
     "How the files are brought to life: `onnx`, `llm`, `llm-cuda`, `python`, `node`, "
     "`executable`, `web`.",
     true},
    {"model",
     Text{[](Manifest& m) -> std::string& { return m.model; }, check_model,
          "the path of a file of the deploy"},
     "The model's file, for `onnx`, `llm` and `llm-cuda`. Without it: `model.onnx` or "
     "`model.gguf`."},
    {"handler",
     Text{[](Manifest& m) -> std::string& { return m.handler; }, check_handler,
          "at most 255 bytes without spaces; for `python` and `node` MODULE.FUNCTION"},
     "The function that is called, for `python` and `node`: `app.handler` is `handler` in "
     "`app.py`, `app.mjs` or `app.js`; also `folder/app.handler`. A program finds it in "
     "`_HANDLER`."},
    {"command", List{[](Manifest& m) -> std::vector<std::string>& { return m.command; }, 64},
     "The program that is started, and its arguments, for `web`: `[node, server.mjs]`. Without it: "
     "`bootstrap`."},
    {"task",
     Text{[](Manifest& m) -> std::string& { return m.task; }, check_word,
          "a task that the runtime knows"},
     "What the model is for, so that people's files go in and answers come out: of a picture, "
     "`text-line` makes a line of text, and `image-classification` labels with scores. Without it: "
     "raw tensors."},
    {"task_options",
     Map{[](Manifest& m) -> Texts& { return m.task_options; }, is_option_name,
         "lower-case letters, digits, \"-\" and \"_\"", true},
     "What the task wants to know: `keys: keys.txt`, `mean: [0.485, 0.456, 0.406]`. "
     "[All of them](../models.md#tasks)."},
    {"python.packages",
     Text{[](Manifest& m) -> std::string& { return m.python_packages; }, check_packages,
          "`none` or `host`"},
     "Whether the function sees the Python packages that the host has installed, read-only."},
    {"llm.context", Count{[](Manifest& m) -> std::int32_t& { return m.llm.context; }, 0, 1 << 22},
     "How many tokens a conversation may have, prompt and answer together. 0: as many "
     "as the model was trained with, at most 4096."},
    {"llm.weights",
     Text{[](Manifest& m) -> std::string& { return m.llm.weights; }, check_weights,
          "`memory` or `mapped`"},
     "Where the weights of a language model are: in memory, in the order that the processor likes "
     "best; or in the file, of which the node keeps in memory what it has room for. Not for "
     "`llm-cuda`, where they are on the card."},
    {"llm.pooling",
     Text{[](Manifest& m) -> std::string& { return m.llm.pooling; }, check_pooling,
          "nothing, `none`, `mean`, `cls` or `last`"},
     "How a model's vectors of tokens become one of the text, if it is to make embeddings. Without "
     "it: as the model says."},
    {"llm.chat_template",
     Text{[](Manifest& m) -> std::string& { return m.llm.chat_template; }, check_model,
          "the path of a file of the deploy"},
     "How a chat becomes a text for the model, as a Jinja template. Without it: as the model "
     "says."},
    {"memory",
     Size{[](Manifest& m) -> std::int64_t& { return m.resources.memory_bytes; }, 16 * mib, 4 * tib},
     "What an instance may hold, and what is billed. One that takes more is killed."},
    {"cpu",
     Cpus{[](Manifest& m) -> std::int64_t& { return m.resources.cpu_millicores; }, 10, 1'024'000},
     "How much of the node's CPUs an instance may use: `0.5`, `500m`, `2`."},
    {"timeout", Time{[](Manifest& m) -> Duration& { return m.timeout; }, 1ms, 24h},
     "How long a call may take, waiting and waking included; by AWS's API, how long it may run."},
    {"start_timeout", Time{[](Manifest& m) -> Duration& { return m.start_timeout; }, 1ms, 1h},
     "How long an instance may take to become ready."},
    {"keep_alive", Time{[](Manifest& m) -> Duration& { return m.keep_alive; }, 0ms, 720h},
     "How long an idle instance dozes before it goes to sleep."},
    {"template_keep_alive",
     Time{[](Manifest& m) -> Duration& { return m.template_keep_alive; }, 0ms, 720h},
     "How long the template that instances are forked from stays after the last instance is gone."},
    {"snapshot",
     Text{[](Manifest& m) -> std::string& { return m.snapshot; }, check_snapshot,
          "`auto`, `on` or `off`"},
     "Whether the template is saved at the deploy, to be woken from disk once it is gone from "
     "memory. `auto`: of models. `on`: of Python too, whose code then finds what it had at the "
     "deploy, however long ago."},
    {"concurrency", Count{[](Manifest& m) -> std::int32_t& { return m.concurrency; }, 1, 1000},
     "How many calls one instance serves at a time. In Python each has a thread, and async "
     "handlers share an event loop."},
    {"reuse",
     Text{[](Manifest& m) -> std::string& { return m.reuse; }, check_reuse, "`warm` or `clean`"},
     "Whether an instance takes another call after the first. `clean`: each call has one of its "
     "own, which nothing was called in before; of `concurrency: 1`."},
    {"threads", Count{[](Manifest& m) -> std::int32_t& { return m.threads; }, 1, 1024},
     "How many threads the runtime computes a call with."},
    {"min_instances",
     Count{[](Manifest& m) -> std::int32_t& { return m.instances_min; }, 0, 10'000},
     "How many instances stay awake without calls. 0: the function sleeps."},
    {"max_instances",
     Count{[](Manifest& m) -> std::int32_t& { return m.instances_max; }, 1, 10'000},
     "How many instances a revision may have at most."},
    {"queue", Count{[](Manifest& m) -> std::int32_t& { return m.queue_max; }, 0, 100'000},
     "How many calls may wait for a slot, besides as many as instances that are being woken, or "
     "one more, have slots for; further ones get 429."},
    {"max_body",
     Size{[](Manifest& m) -> std::int64_t& { return m.body_bytes_max; }, 1 * kib, 4 * gib},
     "How large a request's body may be; larger ones get 413."},
    {"env",
     Map{[](Manifest& m) -> Texts& { return m.env; }, is_variable,
         "letters, digits and \"_\", not beginning with a digit"},
     "Environment variables of the function. Not for secrets: they are shown."},
    {"secrets", SecretMap{[](Manifest& m) -> SecretUses& { return m.secrets; }},
     "Environment variables whose values are secrets, set with `dormouse secret set`. `late`: "
     "there before the first call; `init`: there when the code is loaded."},
    {"network", NetworkReach{[](Manifest& m) -> catalog::Network& { return m.network; }},
     "What the function may reach: nothing; the world, which is neither this node nor any private "
     "network; or these hosts alone, whose names are resolved as it is deployed."},
    {"labels",
     Map{[](Manifest& m) -> Texts& { return m.labels; }, is_label,
         "1 to 200 bytes of UTF-8 without control characters"},
     "What tools and people want to remember of it; shown, and nothing depends on it."},
}};

}  // namespace

std::span<const Field> manifest_fields() {
  return fields;
}

std::string_view section_of(const Field& field) {
  return field.name.substr(0, field.name.contains('.') ? field.name.find('.') : 0);
}

std::string_view name_within(const Field& field) {
  return field.name.substr(field.name.find('.') + 1);  // npos + 1 is 0: all of it.
}

}  // namespace dormouse::control
