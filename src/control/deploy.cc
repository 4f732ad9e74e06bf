#include "control/deploy.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json.hpp>

#include "async/before.h"
#include "async/shielded.h"
#include "base/utf8.h"
#include "control/answers.h"
#include "control/manifest.h"
#include "control/paths.h"
#include "control/quantities.h"
#include "control/secret_changes.h"

namespace dormouse::control {
namespace {

Error no_cuda() {
  return {Code::unsupported,
          "runtime: this node has no llm-cuda: it needs a card of NVIDIA's (/dev/nvidia0 and "
          "/dev/nvidia-uvm), CUDA 13 or 12, and what scripts/setup then fetches for it"};
}

constexpr std::size_t files_max = 10'000;

Error refused(std::string why) {
  return {Code::invalid_argument, std::move(why)};
}

Result<> check_model(const catalog::Draft& draft) {
  constexpr std::size_t shown_max = 5;
  const std::string& model = draft.manifest.model;
  const auto& files = draft.files;
  const bool is_there = std::ranges::find(files, model, &catalog::File::path) != files.end();
  if (model.empty() || is_there) return ok;
  std::string there;
  for (std::size_t i = 0; i < std::min(files.size(), shown_max); ++i) {
    there += (i == 0 ? ": " : ", ") + files[i].path;
  }
  if (files.size() > shown_max) there += ", …";
  return refused("model: \"" + model + "\" is not among the files" + there);
}

Result<> check_fields(const json::object& object, std::span<const std::string_view> known) {
  for (const auto& entry : object) {
    const std::string_view name(entry.key());
    if (std::ranges::find(known, name) == known.end()) return unknown_name("field", name, known);
  }
  return ok;
}

Result<catalog::File> read_file(const json::value& value) {
  constexpr std::string_view known[] = {"path", "digest", "size"};
  if (!value.is_object()) return refused("a file is a map of path, digest and size");
  const json::object& object = value.get_object();
  if (auto good = check_fields(object, known); !good) return good.error();
  const json::value* path = object.if_contains("path");
  const json::value* digest = object.if_contains("digest");
  const json::value* size = object.if_contains("size");
  if (path == nullptr || !path->is_string()) return refused("a file without a path");
  if (digest == nullptr || !digest->is_string()) return refused("a file without a digest");
  if (size == nullptr || !size->is_int64() || size->get_int64() < 0) {
    return refused("a file without a size");
  }
  if (auto good = check_path(std::string_view(path->get_string())); !good) return good.error();
  auto parsed = Digest::parse(std::string_view(digest->get_string()));
  if (!parsed) return parsed.error();
  return catalog::File{std::string(path->get_string()), std::move(*parsed),
                       static_cast<std::uint64_t>(size->get_int64())};
}

Result<std::vector<catalog::File>> read_files(const json::value* value) {
  if (value == nullptr || !value->is_array()) return refused("files is not a list");
  if (value->get_array().size() > files_max) {
    return Error{Code::too_large, "more than " + std::to_string(files_max) + " files"};
  }
  std::vector<catalog::File> files;
  for (const json::value& entry : value->get_array()) {
    auto file = read_file(entry);
    if (!file) return std::move(file).error().during("files");
    files.push_back(std::move(*file));
  }
  if (auto good = check_tree(files); !good) return std::move(good).error().during("files");
  return files;
}

// A call's timeout has waking in it, unless it comes by AWS's API. What may become a template and
// does not was started twice.
void note_slow_start(catalog::Draft& draft, Duration took) {
  constexpr Duration shown(10'000);
  const auto forking = draft.notes.find("template");
  if (forking != draft.notes.end() && forking->second.starts_with("no")) took /= 2;
  const Duration timeout = draft.manifest.timeout;
  if (took <= timeout) return;
  draft.notes["timeout"] = "shorter than starting it took, " + duration_text(took / shown * shown) +
                           ": a call that has to start it may be refused (429) before it "
                           "begins, its " +
                           duration_text(timeout) +
                           " being over, unless it comes by AWS's API; give it more";
}

Error is_changed(const std::string& name) {
  return {Code::conflict, "\"" + name + "\" is being changed by somebody else; try again"};
}

Result<catalog::RevisionPtr> revision_of(const catalog::Catalog& catalog, const std::string& name,
                                         std::int32_t number) {
  const catalog::Function* const function = catalog.find(name);
  const auto label = [&] { return name + "@" + std::to_string(number); };
  if (function == nullptr || !function->revisions.contains(number)) {
    return Error{Code::not_found,
                 "there is no " + label() + "; `dormouse revisions " + name + "` lists them"};
  }
  return function->revisions.at(number);
}

}  // namespace

Result<> check_tree(const std::vector<catalog::File>& files) {
  std::set<std::string_view> paths;
  if (files.size() > files_max) {
    return Error{Code::too_large, "more than " + std::to_string(files_max) + " files"};
  }
  for (const catalog::File& file : files) {
    if (auto good = check_path(file.path); !good) return good;
    if (!paths.insert(file.path).second) return refused("the path \"" + file.path + "\" twice");
  }
  for (const catalog::File& file : files) {
    const std::string_view path = file.path;
    for (auto slash = path.find('/'); slash != path.npos; slash = path.find('/', slash + 1)) {
      if (paths.contains(path.substr(0, slash))) {
        return refused("\"" + std::string(path.substr(0, slash)) + "\" is a file and a folder");
      }
    }
  }
  return ok;
}

Result<catalog::Draft> read_deploy(const json::value& body, const std::string& name) {
  constexpr std::string_view known[] = {"manifest", "files"};
  if (!body.is_object()) return refused("a deploy is a map of manifest and files");
  if (auto good = check_fields(body.get_object(), known); !good) return good.error();
  const json::value* given = body.get_object().if_contains("manifest");
  if (given == nullptr || !given->is_object()) return refused("the manifest is missing");
  json::object fields = given->get_object();
  if (!fields.contains("name")) fields["name"] = name;
  auto manifest = read_manifest(fields);
  if (!manifest) return std::move(manifest).error().during("manifest");
  if (manifest->name != name) {
    return refused("the manifest says \"" + manifest->name + "\", the path \"" + name + "\"");
  }
  auto files = read_files(body.get_object().if_contains("files"));
  if (!files) return files.error();
  catalog::Draft draft;
  draft.manifest = std::move(*manifest);
  draft.files = std::move(*files);
  return draft;
}

// The lines that a deploy has said and nobody read yet. Whoever reads may leave at any time.
struct Deploys::Progress {
  static constexpr std::size_t lines_max = 1000;  // Further progress is dropped.
  static constexpr std::size_t printed_bytes_max = 64 << 10;

  explicit Progress(const asio::any_io_executor& executor)
      : changed(executor, asio::steady_timer::time_point::max()) {}

  void say(json::object line) {
    lines.push_back(json::serialize(line) + "\n");
    changed.cancel();
  }
  void say_progress(const std::string& line, TimePoint now) {
    step_began = now;
    if (lines.size() < lines_max) say({{"progress", valid_utf8(line)}});
  }
  void say_printed(const std::string& line) {
    if (printed_bytes > printed_bytes_max) return;
    printed_bytes += line.size() + 1;
    const bool more = printed_bytes > printed_bytes_max;
    say({{"printed", more ? "(what it prints from here on is left out)" : valid_utf8(line)}});
  }
  // Completes, with ok, when there may be something to read.
  static asio::awaitable<Result<>> wait(std::shared_ptr<Progress> progress) {
    if (progress->lines.empty() && !progress->ended) {
      co_await progress->changed.async_wait(asio::as_tuple(asio::use_awaitable));
    }
    co_return ok;
  }

  std::deque<std::string> lines;
  std::size_t printed_bytes = 0;
  void end() {
    ended = true;
    changed.cancel();
  }

  bool ended = false;
  TimePoint step_began;
  asio::steady_timer changed;  // An event: cancelled when there is a line, or the end.
};

// A deploy, until its end. While it lives, nobody else deploys the function, and its files stay.
class Deploys::Trial {
 public:
  Trial(Deploys* deploys, const catalog::Draft& draft)
      : deploys_(deploys),
        name_(draft.manifest.name),
        overtaken_(deploys->executor_, asio::steady_timer::time_point::max()) {
    for (const catalog::File& file : draft.files) claimed_.insert(file.digest);
    for (const Digest& each : claimed_) deploys->blobs_->claim(each);
    deploys->blobs_->settle(claimed_, 1);  // Whoever uploaded them need not hold them any more.
    deploys->trials_.emplace(name_, this);
  }
  ~Trial() {
    deploys_->blobs_->settle(claimed_, 0);
    deploys_->blobs_->settle(prepared_, 0);
    deploys_->trials_.erase(name_);
  }
  Trial(const Trial&) = delete;
  Trial& operator=(const Trial&) = delete;

  // Its runtime made these.
  void add_prepared(const std::vector<catalog::File>& files) {
    for (const catalog::File& file : files) prepared_.insert(file.digest);
  }
  void overtake(Error why) {
    why_ = std::move(why);
    overtaken_.cancel();
  }
  const std::optional<Error>& why_overtaken() const { return why_; }
  void publish() { publishing_ = true; }
  bool is_publishing() const { return publishing_; }

  // Completes when somebody has overtaken it.
  static asio::awaitable<Result<catalog::Draft>> wait(std::shared_ptr<Trial> trial) {
    if (!trial->why_) co_await trial->overtaken_.async_wait(asio::as_tuple(asio::use_awaitable));
    co_return trial->why_.value_or(Error{Code::cancelled, "it was given up"});
  }

 private:
  Deploys* deploys_;
  const std::string name_;
  std::set<Digest> claimed_, prepared_;
  std::optional<Error> why_;
  bool publishing_ = false;  // From here on nobody overtakes it.
  asio::steady_timer overtaken_;
};

// While it lives, nobody else changes the function.
class Deploys::Change {
 public:
  Change(std::set<std::string>* changing, std::string name)
      : changing_(changing), name_(std::move(name)) {
    changing_->insert(name_);
  }
  ~Change() { changing_->erase(name_); }
  Change(const Change&) = delete;
  Change& operator=(const Change&) = delete;

 private:
  std::set<std::string>* changing_;
  std::string name_;
};

Deploys::Deploys(asio::any_io_executor executor, async::Clock* clock, catalog::Catalog* catalog,
                 secrets::Secrets* secrets, blobs::Blobs* blobs, fleet::Fleet* fleet,
                 Garbage* garbage)
    : clock_(clock),
      catalog_(catalog),
      secrets_(secrets),
      blobs_(blobs),
      fleet_(fleet),
      executor_(executor),
      garbage_(garbage),
      tasks_(std::move(executor)) {
}

Result<> Deploys::check(const catalog::Draft& draft) const {
  std::vector<std::string_view> known;
  for (const auto& [name, runtime] : fleet_->runtimes()) known.push_back(name);
  if (!fleet_->runtimes().contains(draft.manifest.runtime)) {
    if (draft.manifest.runtime == "llm-cuda") return no_cuda();
    return unknown_name("runtime", draft.manifest.runtime, known);
  }
  for (const catalog::File& file : draft.files) {
    const auto size = blobs_->size(file.digest);
    if (!size) {
      return Error{Code::conflict, "the content of \"" + file.path + "\" (" + file.digest.text() +
                                       ") was not uploaded"};
    }
    if (*size != file.size) {
      return refused("\"" + file.path + "\" has " + std::to_string(*size) + " bytes, not " +
                     std::to_string(file.size));
    }
  }
  if (auto good = check_model(draft); !good) return good;
  const std::string& chat_template = draft.manifest.llm.chat_template;
  const bool has_template =
      chat_template.empty() ||
      std::ranges::find(draft.files, chat_template, &catalog::File::path) != draft.files.end();
  if (!has_template) {
    return refused("llm.chat_template: \"" + chat_template + "\" is not among the files");
  }
  return check_secrets(draft.manifest, *secrets_);
}

Result<std::shared_ptr<Deploys::Trial>> Deploys::begin_trial(const catalog::Draft& draft) {
  const std::string& name = draft.manifest.name;
  if (trials_.contains(name)) {
    return Error{Code::conflict, "\"" + name +
                                     "\" is being deployed by somebody else; wait for its end, or "
                                     "end it by a rollback or a removal"};
  }
  if (changing_.contains(name)) return is_changed(name);
  if (trials_.size() >= trials_max) {
    return Error{Code::overloaded, "too many deploys at the same time"};
  }
  return std::make_shared<Trial>(this, draft);
}

Result<std::shared_ptr<Deploys::Change>> Deploys::begin_change(const std::string& name) {
  const auto trial = trials_.find(name);
  const bool publishing = trial != trials_.end() && trial->second->is_publishing();
  if (publishing || changing_.contains(name)) return is_changed(name);
  return std::make_shared<Change>(&changing_, name);
}

// What is being tried out has changed nothing, and never will.
Result<std::shared_ptr<Deploys::Change>> Deploys::overtake(const std::string& name,
                                                           std::string_view by) {
  auto change = begin_change(name);
  const auto trial = trials_.find(name);
  if (change && trial != trials_.end()) {
    trial->second->overtake(
        {Code::conflict, "it was ended by " + std::string(by) + " of \"" + name + "\" meanwhile"});
  }
  return change;
}

Result<http::Pieces> Deploys::begin(catalog::Draft draft) {
  auto trial = begin_trial(draft);
  if (!trial) return trial.error();
  if (auto good = check(draft); !good) return good.error();
  auto progress = std::make_shared<Progress>(executor_);
  tasks_.spawn(run(progress, *std::move(trial), std::move(draft)));
  return [this, progress] { return next(progress); };
}

asio::awaitable<void> Deploys::run(std::shared_ptr<Progress> progress, std::shared_ptr<Trial> trial,
                                   catalog::Draft draft) {
  // Also when the node stops and this coroutine is unwound: whoever reads must not wait on.
  const std::shared_ptr<Progress> ending(progress.get(), [progress](Progress* it) { it->end(); });
  const auto before_it = catalog_->active(draft.manifest.name);
  auto deploying = deploy(progress, trial, std::move(draft));
  auto revision = co_await std::move(deploying);
  trial.reset();
  if (revision) {
    progress->say({{"revision", revision_json(**revision)}, {"unchanged", *revision == before_it}});
  } else {
    progress->say({{"error", fault_json(revision.error())}});
  }
}

asio::awaitable<Result<catalog::RevisionPtr>> Deploys::deploy(std::shared_ptr<Progress> progress,
                                                              std::shared_ptr<Trial> trial,
                                                              catalog::Draft draft) {
  const std::string name = draft.manifest.name;
  const catalog::RevisionPtr active = catalog_->active(name);
  const bool is_same = active && active->digest == catalog::digest_of(draft);
  // A snapshot is of the kernel, the libraries and the processor that were here.
  if (is_same && !fleet_->status(name).snapshot_is_stale) co_return active;

  auto trying = try_out(progress, trial, std::move(draft));
  auto tried = co_await std::move(trying);
  if (trial->why_overtaken()) co_return *trial->why_overtaken();
  if (!tried) co_return std::move(tried).error().during("starting " + name);
  trial->add_prepared(tried->prepared);
  // Starting it is the last step.
  note_slow_start(*tried, clock_->now() - progress->step_began);

  // One may have been removed meanwhile.
  if (auto good = check_secrets(tried->manifest, *secrets_); !good) co_return good.error();

  // From here on it is done as a whole: what is in the store serves.
  trial->publish();
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  auto published = co_await catalog_->publish(std::move(*tried), clock_->wall());
  if (!published) co_return std::move(published).error().during("publishing " + name);
  fleet_->serve(name, *published);
  co_return published;
}

asio::awaitable<Result<catalog::Draft>> Deploys::try_out(std::shared_ptr<Progress> progress,
                                                         std::shared_ptr<Trial> trial,
                                                         catalog::Draft draft) {
  progress->say_progress("trying it out", clock_->now());
  const auto tell = [this, progress](const std::string& line) {
    progress->say_progress(line, clock_->now());
  };
  fleet::Witness witness{tell,
                         [progress](const std::string& line) { progress->say_printed(line); }};
  auto trying = fleet_->try_out(std::move(draft), std::move(witness));
  auto in_time =
      async::before(clock_, clock_->now() + patience, std::move(trying), Code::deadline_exceeded);
  auto racing = async::first_of(std::move(in_time), Trial::wait(std::move(trial)));
  auto first = co_await std::move(racing);
  if (first.index() == 0) co_return std::get<0>(std::move(first));
  co_return std::get<1>(std::move(first));
}

asio::awaitable<Result<catalog::RevisionPtr>> Deploys::finish(catalog::Draft draft) {
  auto trial = begin_trial(draft);
  if (!trial) co_return trial.error();
  if (auto good = check(draft); !good) co_return good.error();
  auto end = std::make_shared<End>();
  tasks_.spawn(deploy_to(end, *std::move(trial), std::move(draft)));
  // Whoever waits may leave; the deploy goes on. Not at once: a slot does not bear it.
  auto leave = [executor = executor_, end] {
    asio::post(executor, [end] { end->set(Error{Code::cancelled, "the caller went away"}); });
  };
  auto waiting = end->wait(std::move(leave));
  co_return co_await std::move(waiting);
}

asio::awaitable<void> Deploys::deploy_to(std::shared_ptr<End> end, std::shared_ptr<Trial> trial,
                                         catalog::Draft draft) {
  auto deploying = deploy(std::make_shared<Progress>(executor_), trial, std::move(draft));
  auto revision = co_await std::move(deploying);
  trial.reset();
  end->set(std::move(revision));
}

asio::awaitable<Result<std::optional<std::string>>> Deploys::next(
    std::shared_ptr<Progress> progress) {
  auto waiting = Progress::wait(progress);
  auto changed = co_await async::before(clock_, clock_->now() + heartbeat, std::move(waiting),
                                        Code::deadline_exceeded);
  if (progress->lines.empty()) {
    if (progress->ended) co_return std::optional<std::string>();
    co_return std::optional<std::string>("\n");  // Still at it: `changed` is only late.
  }
  std::string lines;
  for (const std::string& line : progress->lines) lines += line;
  progress->lines.clear();
  co_return std::optional<std::string>(std::move(lines));
}

asio::awaitable<Result<catalog::RevisionPtr>> Deploys::activate(std::string name,
                                                                std::int32_t number) {
  const auto wanted = revision_of(*catalog_, name, number);
  if (!wanted) co_return wanted.error();
  if (auto good = check_secrets((*wanted)->manifest, *secrets_); !good) co_return good.error();
  const auto change = overtake(name, "a rollback");
  if (!change) co_return change.error();
  auto changing = activate_and_serve(name, number);
  co_return co_await async::shielded(&tasks_, std::move(changing));
}

asio::awaitable<Result<catalog::RevisionPtr>> Deploys::activate_and_serve(std::string name,
                                                                          std::int32_t number) {
  auto revision = co_await catalog_->activate(name, number);
  if (revision) fleet_->serve(name, *revision);
  co_return revision;
}

asio::awaitable<Result<>> Deploys::remove(std::string name) {
  const auto change = overtake(name, "a removal");
  if (!change) co_return change.error();
  if (catalog_->find(name) == nullptr && trials_.contains(name)) co_return ok;
  auto changing = remove_and_stop(name);
  co_return co_await async::shielded(&tasks_, std::move(changing));
}

asio::awaitable<Result<>> Deploys::remove_and_stop(std::string name) {
  std::vector<catalog::RevisionPtr> gone;
  if (const auto* function = catalog_->find(name)) {
    for (const auto& [number, revision] : function->revisions) gone.push_back(revision);
  }
  auto removed = co_await catalog_->remove(name);
  if (!removed) co_return removed;
  fleet_->serve(name, nullptr);
  garbage_->take(gone);
  co_return removed;
}

asio::awaitable<Result<>> Deploys::remove_revision(std::string name, std::int32_t number) {
  const auto wanted = revision_of(*catalog_, name, number);
  if (!wanted) co_return wanted.error();
  if (catalog_->find(name)->active == number) {
    co_return Error{Code::conflict, (*wanted)->label() +
                                        " serves: roll back to another one first, or remove the "
                                        "whole function"};
  }
  const auto change = begin_change(name);
  if (!change) co_return change.error();
  auto changing = remove_and_discard(name, number);
  co_return co_await async::shielded(&tasks_, std::move(changing));
}

asio::awaitable<Result<>> Deploys::remove_and_discard(std::string name, std::int32_t number) {
  const std::vector<catalog::RevisionPtr> gone{catalog_->find(name)->revisions.at(number)};
  auto removed = co_await catalog_->remove_revision(name, number);
  if (!removed) co_return removed;
  fleet_->retire(name, number);
  garbage_->take(gone);
  co_return removed;
}

asio::awaitable<void> Deploys::stop() {
  tasks_.cancel();
  co_await tasks_.join();
}

}  // namespace dormouse::control
