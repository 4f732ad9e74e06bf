#include "catalog/encoding.h"

#include <algorithm>

#include "base/bytes.h"

namespace dormouse::catalog {
namespace {

// Versions 2 to 8 add fields at the manifest's end. A draft that has only defaults there is
// written as the version before, so that its bytes, and with them its digest, are those it had
// before there were any.
constexpr std::uint8_t version_plain = 1;
constexpr std::uint8_t version_of_code = 2;
constexpr std::uint8_t version_of_secrets = 3;
constexpr std::uint8_t version_of_command = 4;
constexpr std::uint8_t version_of_network = 5;
constexpr std::uint8_t version_of_labels = 6;
constexpr std::uint8_t version_of_llm = 7;
constexpr std::uint8_t version_of_reuse = 8;
constexpr std::uint8_t version_of_snapshot = 9;

using Texts = std::map<std::string, std::string>;

void put_texts(std::string& out, const Texts& texts) {
  put(out, static_cast<std::uint32_t>(texts.size()));
  for (const auto& [key, value] : texts) {
    put_sized(out, key);
    put_sized(out, value);
  }
}

Texts get_texts(Reader& in) {
  Texts texts;
  for (auto left = in.get<std::uint32_t>(); left > 0 && in.ok(); --left) {
    std::string key(in.get_sized());
    texts[std::move(key)] = in.get_sized();
  }
  return texts;
}

void put_files(std::string& out, const std::vector<File>& files) {
  put(out, static_cast<std::uint32_t>(files.size()));
  for (const File& file : files) {
    put_sized(out, file.path);
    put_sized(out, file.digest.text());
    put(out, file.size);
  }
}

Result<std::vector<File>> get_files(Reader& in) {
  std::vector<File> files;
  for (auto left = in.get<std::uint32_t>(); left > 0 && in.ok(); --left) {
    std::string path(in.get_sized());
    auto digest = Digest::parse(in.get_sized());
    if (!digest) return digest.error();
    files.push_back({std::move(path), *std::move(digest), in.get<std::uint64_t>()});
  }
  return files;
}

void put_list(std::string& out, const std::vector<std::string>& list) {
  put(out, static_cast<std::uint32_t>(list.size()));
  for (const std::string& each : list) put_sized(out, each);
}

std::vector<std::string> get_list(Reader& in) {
  std::vector<std::string> list;
  for (auto left = in.get<std::uint32_t>(); left > 0 && in.ok(); --left) {
    list.emplace_back(in.get_sized());
  }
  return list;
}

using Secrets = std::map<std::string, SecretUse>;

void put_secrets(std::string& out, const Secrets& secrets) {
  put(out, static_cast<std::uint32_t>(secrets.size()));
  for (const auto& [variable, use] : secrets) {
    put_sized(out, variable);
    put_sized(out, use.secret);
    put(out, static_cast<std::uint8_t>(use.when));
  }
}

Secrets get_secrets(Reader& in) {
  Secrets secrets;
  for (auto left = in.get<std::uint32_t>(); left > 0 && in.ok(); --left) {
    std::string variable(in.get_sized());
    std::string secret(in.get_sized());
    const When when = in.get<std::uint8_t>() == 0 ? When::late : When::init;
    secrets[std::move(variable)] = {std::move(secret), when};
  }
  return secrets;
}

void put_network(std::string& out, const Network& network) {
  put(out, static_cast<std::uint8_t>(network.reach));
  put(out, static_cast<std::uint32_t>(network.allow.size()));
  for (const std::string& destination : network.allow) put_sized(out, destination);
}

Network get_network(Reader& in) {
  Network network;
  const auto reach = in.get<std::uint8_t>();
  if (reach == 1) network.reach = Network::Reach::outbound;
  if (reach == 2) network.reach = Network::Reach::allowed;
  for (auto left = in.get<std::uint32_t>(); left > 0 && in.ok(); --left) {
    network.allow.emplace_back(in.get_sized());
  }
  return network;
}

void put_llm(std::string& out, const Llm& llm) {
  put(out, llm.context);
  put_sized(out, llm.weights);
  put_sized(out, llm.pooling);
  put_sized(out, llm.chat_template);
}

Llm get_llm(Reader& in) {
  Llm llm{.context = in.get<std::int32_t>()};
  llm.weights = in.get_sized();
  llm.pooling = in.get_sized();
  llm.chat_template = in.get_sized();
  return llm;
}

std::uint8_t version_of(const Manifest& m) {
  const Manifest defaults;
  if (m.snapshot != defaults.snapshot) return version_of_snapshot;
  if (m.reuse != defaults.reuse) return version_of_reuse;
  if (m.llm != defaults.llm) return version_of_llm;
  if (!m.labels.empty()) return version_of_labels;
  if (m.network != defaults.network) return version_of_network;
  if (!m.command.empty()) return version_of_command;
  if (!m.secrets.empty()) return version_of_secrets;
  const bool plain = m.handler == defaults.handler &&
                     m.python_packages == defaults.python_packages &&
                     m.template_keep_alive == defaults.template_keep_alive;
  return plain ? version_plain : version_of_code;
}

void put_manifest(std::string& out, const Manifest& m) {
  for (const auto* text : {&m.name, &m.runtime, &m.model, &m.task}) put_sized(out, *text);
  put_texts(out, m.task_options);
  put(out, m.resources.cpu_millicores);
  put(out, m.resources.memory_bytes);
  put(out, m.resources.accelerator_bytes);
  for (const Duration d : {m.timeout, m.start_timeout, m.keep_alive}) {
    put(out, std::int64_t{d.count()});
  }
  for (const std::int32_t n :
       {m.concurrency, m.threads, m.instances_min, m.instances_max, m.queue_max}) {
    put(out, n);
  }
  put(out, m.body_bytes_max);
  put_texts(out, m.env);
  if (version_of(m) == version_plain) return;
  put_sized(out, m.handler);
  put_sized(out, m.python_packages);
  put(out, std::int64_t{m.template_keep_alive.count()});
  if (version_of(m) >= version_of_secrets) put_secrets(out, m.secrets);
  if (version_of(m) >= version_of_command) put_list(out, m.command);
  if (version_of(m) >= version_of_network) put_network(out, m.network);
  if (version_of(m) >= version_of_labels) put_texts(out, m.labels);
  if (version_of(m) >= version_of_llm) put_llm(out, m.llm);
  if (version_of(m) >= version_of_reuse) put_sized(out, m.reuse);
  if (version_of(m) >= version_of_snapshot) put_sized(out, m.snapshot);
}

Manifest get_manifest(Reader& in, std::uint8_t version) {
  Manifest m;
  for (auto* text : {&m.name, &m.runtime, &m.model, &m.task}) *text = in.get_sized();
  m.task_options = get_texts(in);
  m.resources.cpu_millicores = in.get<std::int64_t>();
  m.resources.memory_bytes = in.get<std::int64_t>();
  m.resources.accelerator_bytes = in.get<std::int64_t>();
  for (auto* d : {&m.timeout, &m.start_timeout, &m.keep_alive}) {
    *d = Duration(in.get<std::int64_t>());
  }
  for (auto* n : {&m.concurrency, &m.threads, &m.instances_min, &m.instances_max, &m.queue_max}) {
    *n = in.get<std::int32_t>();
  }
  m.body_bytes_max = in.get<std::int64_t>();
  m.env = get_texts(in);
  if (version == version_plain) return m;
  m.handler = in.get_sized();
  m.python_packages = in.get_sized();
  m.template_keep_alive = Duration(in.get<std::int64_t>());
  if (version >= version_of_secrets) m.secrets = get_secrets(in);
  if (version >= version_of_command) m.command = get_list(in);
  if (version >= version_of_network) m.network = get_network(in);
  if (version >= version_of_labels) m.labels = get_texts(in);
  if (version >= version_of_llm) m.llm = get_llm(in);
  if (version >= version_of_reuse) m.reuse = in.get_sized();
  if (version >= version_of_snapshot) m.snapshot = in.get_sized();
  return m;
}

}  // namespace

std::string encode(const Draft& draft) {
  std::string out;
  put(out, version_of(draft.manifest));
  put_manifest(out, draft.manifest);
  put_files(out, draft.files);
  put_files(out, draft.prepared);
  put_texts(out, draft.load_options);
  put_texts(out, draft.notes);
  put_sized(out, wire::encode(draft.ready));
  return out;
}

Result<Draft> decode_draft(std::string_view bytes) {
  const Error damaged{Code::unavailable, "a revision in the catalog is damaged"};
  Reader in(bytes);
  const auto version = in.get<std::uint8_t>();
  if (version < version_plain || version > version_of_snapshot) return damaged;
  Draft draft;
  draft.manifest = get_manifest(in, version);
  if (version_of(draft.manifest) != version) return damaged;  // Each draft has one form.
  auto files = get_files(in);
  if (!files) return damaged;
  draft.files = *std::move(files);
  auto prepared = get_files(in);
  if (!prepared) return damaged;
  draft.prepared = *std::move(prepared);
  draft.load_options = get_texts(in);
  draft.notes = get_texts(in);
  auto ready = wire::decode_ready(in.get_sized());
  if (!ready || !in.complete()) return damaged;
  draft.ready = *std::move(ready);
  return draft;
}

std::string identity(const Draft& draft) {
  std::vector<File> files = draft.files;
  std::ranges::sort(files, {}, &File::path);
  std::string out;
  put(out, version_of(draft.manifest));
  put_manifest(out, draft.manifest);
  put_files(out, files);
  return out;
}

}  // namespace dormouse::catalog
