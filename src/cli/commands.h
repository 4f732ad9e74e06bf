// Each command adds itself, in the file of its name.
#pragma once

#include <CLI/App.hpp>
#include <functional>

#include "cli/shell.h"

namespace dormouse::cli {

void add_serve(CLI::App&, Shell*);
void add_init(CLI::App&, Shell*);
void add_deploy(CLI::App&, Shell*);
void add_dev(CLI::App&, Shell*);
void add_list(CLI::App&, Shell*);
void add_show(CLI::App&, Shell*);
void add_revisions(CLI::App&, Shell*);
void add_rollback(CLI::App&, Shell*);
void add_delete(CLI::App&, Shell*);
void add_invoke(CLI::App&, Shell*);
void add_logs(CLI::App&, Shell*);
void add_conversations(CLI::App&, Shell*);
void add_usage(CLI::App&, Shell*);
void add_receipt(CLI::App&, Shell*);
void add_doctor(CLI::App&, Shell*);
void add_config(CLI::App&, Shell*);
void add_key(CLI::App&, Shell*);
void add_secret(CLI::App&, Shell*);
void add_version(CLI::App&, Shell*);

}  // namespace dormouse::cli
