// Tells from the outside whether the platform kept its word. One line per invariant, then what
// violates it; exits with 1 if anything does, with 2 if it could not find out.
//
//   oracle --data DIR [--attempts FILE] [--answered FILE]   I1 to I4; the daemon must not run
//   oracle baseline [--mark TEXT] [--pid PID] > FILE        what is there before
//   oracle leftovers --baseline FILE [--mark TEXT] …        I5: nothing more is there after
#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>

#include "leftovers.h"
#include "records.h"

namespace dormouse::oracle {
namespace {

constexpr int violated = 1;
constexpr int unknown = 2;

struct Arguments {
  std::string data, ledger, database, attempts, answered, baseline;
  std::string mark = "dormouse";
  pid_t pid = 0;
  bool running = false;
  Evidence evidence;
};

Result<> gather(Arguments& a) {
  const std::filesystem::path data = a.data;
  if (a.ledger.empty()) a.ledger = data / "ledger";
  if (a.database.empty()) a.database = data / "dormouse.db";
  a.evidence.at_rest = !a.running;
  auto read = read_ledger(a.ledger, &a.evidence);
  if (read && !a.running) read = read_sums(a.database, &a.evidence);
  if (read && !a.attempts.empty()) read = read_seen(a.attempts, &a.evidence);
  if (read && !a.answered.empty()) read = read_answered(a.answered, &a.evidence);
  return read;
}

int check(Arguments& a) {
  if (auto gathered = gather(a); !gathered) {
    std::cerr << "oracle: " << gathered.error().message << "\n";
    return unknown;
  }
  int exit = 0;
  for (const Verdict& verdict : judge(a.evidence)) {
    std::cout << verdict.invariant << (verdict.count == 0 ? " holds: " : " IS VIOLATED: ")
              << verdict.figures << "\n";
    for (const std::string& violation : verdict.violations) std::cout << "   " << violation << "\n";
    if (verdict.count > verdict.violations.size()) {
      std::cout << "   and " << verdict.count - verdict.violations.size() << " more\n";
    }
    if (verdict.count > 0) exit = violated;
  }
  return exit;
}

int print_baseline(const Arguments& a) {
  for (const std::string& thing : things_there(a.mark, a.pid)) std::cout << thing << "\n";
  return 0;
}

int check_leftovers(const Arguments& a) {
  std::ifstream in(a.baseline);
  if (!in) {
    std::cerr << "oracle: there is no " << a.baseline << "\n";
    return unknown;
  }
  std::set<std::string> before;
  for (std::string line; std::getline(in, line);) before.insert(line);
  std::vector<std::string> more;
  for (const std::string& thing : things_there(a.mark, a.pid)) {
    if (!before.contains(thing)) more.push_back(thing);
  }
  std::cout << (more.empty() ? "I5 holds: nothing is left\n" : "I5 IS VIOLATED: left over\n");
  for (const std::string& thing : more) std::cout << "   " << thing << "\n";
  return more.empty() ? 0 : violated;
}

int run(int argc, char** argv) {
  CLI::App app("Tells whether the platform kept its word");
  Arguments a;
  app.add_option("--data", a.data, "The daemon's data directory");
  app.add_option("--ledger", a.ledger, "The ledger's folder [DATA/ledger]");
  app.add_option("--database", a.database, "The database with the sums [DATA/dormouse.db]");
  app.add_option("--attempts", a.attempts, "Lines \"id attempt pid t0_us t1_us\" of the function");
  app.add_option("--answered", a.answered, "Lines \"id [status]\" of the clients");
  app.add_option("--function", a.evidence.function, "The only function that writes such lines");
  app.add_option("--per-call", a.evidence.card.per_call.value, "Pico-units");
  app.add_option("--per-gib-second", a.evidence.card.per_gib_second.value, "Pico-units");
  app.add_flag("--bills-waking", a.evidence.card.bills_waking);
  app.add_flag("--running", a.running,
               "The daemon runs: attempts may be pending, sums are not read");
  auto* baseline = app.add_subcommand("baseline", "Print what is there");
  auto* leftovers = app.add_subcommand("leftovers", "Check that nothing more is there");
  leftovers->add_option("--baseline", a.baseline)->required();
  for (auto* one : {baseline, leftovers}) {
    one->add_option("--mark", a.mark, "Only what names it counts [dormouse]");
    one->add_option("--pid", a.pid, "Also the descriptors of this process");
  }
  app.require_subcommand(0, 1);
  CLI11_PARSE(app, argc, argv);
  if (*baseline) return print_baseline(a);
  if (*leftovers) return check_leftovers(a);
  if (!a.data.empty() || !a.ledger.empty()) return check(a);
  std::cerr << app.help();
  return unknown;
}

}  // namespace
}  // namespace dormouse::oracle

int main(int argc, char** argv) {
  return dormouse::oracle::run(argc, argv);
}
