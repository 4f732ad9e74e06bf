// Which functions there are, their immutable revisions, and which revision serves.
//
// All of it is in memory, read at once and without waiting; a change is durable in the store before
// it is seen. Revision numbers of a function count from 1 and are never used twice.
//
// Threads    One executor, but for the shared_ptr<const Revision>s, which anyone may hold.
// Errors     not_found; conflict; unavailable from the store (the change is then unknown: the same
//            call again is safe).
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "async/clock.h"
#include "base/digest.h"
#include "base/resources.h"
#include "base/result.h"
#include "blobs/blobs.h"
#include "store/store.h"
#include "wire/messages.h"

namespace dormouse::catalog {

inline constexpr std::string_view default_tenant = "default";

// When a process of the function gets a secret.
enum class When : std::uint8_t {
  late,  // In each instance, before its first call: its template never has it.
  init,  // Before the code is loaded: its template has it, and is as secret.
};
struct SecretUse {
  std::string secret;  // Its name; the value is not the catalog's.
  When when = When::late;
  friend bool operator==(const SecretUse&, const SecretUse&) = default;
};

// What the function may reach of the network. Nothing reaches it but calls.
struct Network {
  enum class Reach : std::uint8_t { none, outbound, allowed };
  Reach reach = Reach::none;
  std::vector<std::string> allow;  // "host:port", if it is `allowed`: these, and no other.
  friend bool operator==(const Network&, const Network&) = default;
};

// How a language model is run.
struct Llm {
  std::int32_t context = 0;        // Tokens of a conversation; 0: as it was trained, at most 4096.
  std::string weights = "memory";  // "mapped": they stay in the file, which the node may let go of.
  std::string pooling;        // "", "none", "mean", "cls", "last": how tokens become one vector.
  std::string chat_template;  // A file of the revision, in Jinja; "": what the model brings.
  friend bool operator==(const Llm&, const Llm&) = default;
};

// Of Manifest::reuse.
inline constexpr std::string_view reuse_warm = "warm";
inline constexpr std::string_view reuse_clean = "clean";

// Of Manifest::snapshot: of models, of whatever can be saved, of nothing.
inline constexpr std::string_view snapshot_auto = "auto";
inline constexpr std::string_view snapshot_on = "on";
inline constexpr std::string_view snapshot_off = "off";

// What a user declares in dormouse.yaml. Defaults are here, and in SPECIFICATION.md.
struct Manifest {
  std::string name;     // [A-Za-z0-9_]([-A-Za-z0-9_]{0,62}[A-Za-z0-9_])?
  std::string runtime;  // A row of the daemon's table: "onnx".
  std::string model;    // A file of the revision: "model.onnx". For runtimes that want one.
  std::string handler;  // "app.handler": a module and a function of it. For runtimes that want one.
  std::vector<std::string> command;  // The program and its arguments. For runtimes that want one.
  std::string task;  // "": raw tensors. "text-line": a picture in, a line of text out.
  std::map<std::string, std::string> task_options;  // "keys" → "keys.txt".
  std::string python_packages = "none";             // "host": it sees those of the host, read-only.
  Resources resources{.cpu_millicores = 1000, .memory_bytes = std::int64_t{512} << 20};
  Duration timeout = std::chrono::seconds(30);
  Duration start_timeout = std::chrono::seconds(60);
  Duration keep_alive = std::chrono::seconds(60);
  Duration template_keep_alive = std::chrono::minutes(10);
  std::int32_t concurrency = 1;
  std::string snapshot{snapshot_auto};
  std::string reuse{reuse_warm};  // "clean": no instance takes a second call; of concurrency 1.
  std::int32_t threads = 1;
  std::int32_t instances_min = 0;
  std::int32_t instances_max = 16;
  std::int32_t queue_max = 1000;
  std::int64_t body_bytes_max = std::int64_t{16} << 20;
  std::map<std::string, std::string> env;
  std::map<std::string, SecretUse> secrets;  // By environment variable.
  Network network;
  std::map<std::string, std::string> labels;  // What tools want to remember; nothing depends on it.
  Llm llm;
  friend bool operator==(const Manifest&, const Manifest&) = default;
};

struct File {
  std::string path;  // Relative, "/"-separated, without "." or "..": "weights/a.bin".
  Digest digest;
  std::uint64_t size = 0;
  friend bool operator==(const File&, const File&) = default;
};

// What a deploy brings, and what was learnt when it was first started.
struct Draft {
  Manifest manifest;
  std::vector<File> files;  // What the user uploaded.
  std::vector<File>
      prepared;  // What the runtime made of it at deploy. Paths begin with ".dormouse/".
  std::map<std::string, std::string> load_options;  // What the worker is told at load.
  std::map<std::string, std::string> notes;         // What to show a person.
  wire::Ready ready;                                // What the worker said.
};

struct Revision : Draft {
  std::string tenant;
  std::int32_t number = 0;
  Digest digest;  // Of manifest and files: the same deploy gives the same digest.
  WallTime created;
  std::string label() const;  // "read-text-line@3"
};
using RevisionPtr = std::shared_ptr<const Revision>;

struct Function {
  std::string name;
  std::int32_t active = 0;  // A revision's number.
  std::map<std::int32_t, RevisionPtr> revisions;
  std::map<std::int32_t, std::int32_t> before;  // What served when a revision took its place; or 0.

  std::int32_t previous() const;  // What to roll back to; 0: there is none.
  // Going back and forth leads nowhere: to what a revision came after it goes back as often as one
  // likes, and only what is new there comes after what serves.
  bool goes_back(std::int32_t to) const;
  void make_active(std::int32_t number);
  void take_out(std::int32_t number);
};

class Catalog {
 public:
  virtual ~Catalog() = default;
  virtual RevisionPtr active(std::string_view name) const = 0;  // nullptr if there is none.
  virtual const Function* find(std::string_view name) const = 0;
  virtual const std::map<std::string, Function, std::less<>>& all() const = 0;
  virtual std::set<Digest> live_blobs() const = 0;

  // Adds a revision and makes it the active one. Deploying what is the active revision already
  // (same digest, and the same was prepared for it) gives that one and adds nothing.
  virtual asio::awaitable<Result<RevisionPtr>> publish(Draft, WallTime now) = 0;
  virtual asio::awaitable<Result<RevisionPtr>> activate(std::string name, std::int32_t number) = 0;
  virtual asio::awaitable<Result<>> remove(std::string name) = 0;
  // conflict if it is the active one.
  virtual asio::awaitable<Result<>> remove_revision(std::string name, std::int32_t number) = 0;
};

// Of that number as people write it: "3"; nullptr if there is none.
RevisionPtr find_revision(const Catalog&, std::string_view name, std::string_view number);

std::span<const store::Migration> migrations();
Result<std::unique_ptr<Catalog>> open(store::Store*,
                                      std::string tenant = std::string(default_tenant));

// The digest that publish() will give, to find out beforehand that nothing would change.
Digest digest_of(const Draft&);

}  // namespace dormouse::catalog
