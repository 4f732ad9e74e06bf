# Runs a check in named phases, keeps their logs and times, and holds them to budgets. Sourced by
# scripts/test and scripts/nightly.

export LC_ALL=C
logs=build/log
mkdir -p "$logs"
declare -A budget_minutes=() group_seconds=()
table=()
failures=()

budget() { budget_minutes[$1]=$2; } # GROUP MINUTES

# GROUP NAME COMMAND…: runs the command, shows its output and keeps it in build/log/NAME.log.
phase() {
  local group=$1 name=$2 log=$logs/$2.log
  shift 2
  printf '\n==== %s\n' "$name"
  local began=$SECONDS status=0
  "$@" </dev/null 2>&1 | tee "$log"
  status=${PIPESTATUS[0]}
  local took=$((SECONDS - began))
  group_seconds[$group]=$((${group_seconds[$group]:-0} + took))
  table+=("$(printf '%-12s %-16s %5d s   %s' "$group" "$name" "$took" \
    "$([[ $status == 0 ]] && echo passed || echo FAILED)")")
  [[ $status == 0 ]] || failures+=("$name failed; see $log")
  return "$status"
}

# The targets NAME_test of those modules that exist.
existing_tests() {
  local name
  for name in "$@"; do
    if grep -q TESTS "src/$name/CMakeLists.txt" 2>/dev/null; then echo "${name}_test"; fi
  done
}

# The first lines of the logs of phases that failed which say what it was.
what_failed() {
  local failure
  for failure in "${failures[@]}"; do
    [[ $failure == *"; see "* ]] || continue
    grep -aE '^FAILED|^ *not ok |\*\*\*Failed|\*\*\*Timeout|\*\*\*Exception|error: |Failure$' \
      "${failure#*; see }" | head -20
  done
}

# Repeats what the test runners concluded, shows where the time went, and exits.
finish() {
  printf '\n==== what the runners said\n'
  local log
  for log in "$logs"/*.log; do
    [[ $log -nt $logs/.began ]] || continue
    sed -n -E "s|^|$(basename "$log" .log): |; /(tests passed|Total Test time|lint: (passed|FAILED)|fuzz: fuzz_|# (tests|pass|fail) )/p" "$log"
  done
  printf '\n==== time by phase\n'
  printf '%s\n' "${table[@]}"
  printf '\n==== time by budget\n'
  local group
  for group in "${!group_seconds[@]}"; do
    local seconds=${group_seconds[$group]} minutes=${budget_minutes[$group]:-0}
    local over=""
    ((minutes > 0 && seconds > minutes * 60)) && over="   OVER BUDGET"
    printf '%-12s %5d s of %d min%s\n' "$group" "$seconds" "$minutes" "$over"
    # The same work takes half as long again on a busy machine: beyond that it is the work.
    if ((minutes > 0 && seconds > minutes * 90)); then
      failures+=("$group took $seconds s, far over its budget of $minutes min")
    fi
  done
  printf '\n'
  if ((${#failures[@]})); then
    printf 'FAILED: %s\n' "${failures[@]}"
    what_failed
    exit 1
  fi
  echo "PASSED in $((SECONDS / 60)) min $((SECONDS % 60)) s"
  exit 0
}
touch "$logs/.began"
