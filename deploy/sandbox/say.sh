# shellcheck shell=bash
# How the sandbox's scripts speak. Sourced.

if [[ -t 1 ]]; then bold=$'\e[1m' plain=$'\e[0m'; else bold='' plain=''; fi

say() { printf '%s==> %s%s\n' "$bold" "$*" "$plain"; }

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# Runs a long command that has nothing to say, with a dot every second; what it wrote is shown if it fails.
# usage: long "What happens" COMMAND...
long() {
  local what=$1 started=$SECONDS log ticker status=0
  shift
  log=$(mktemp)
  printf '%s==> %s%s ' "$bold" "$what" "$plain"
  while sleep 1; do printf .; done &
  ticker=$!
  "$@" >"$log" 2>&1 </dev/null || status=$?
  kill "$ticker"
  wait "$ticker" 2>/dev/null || true
  if ((status)); then
    printf ' failed (%s)\n' "$status"
    cat "$log" >&2
  else
    printf ' done (%s s)\n' "$((SECONDS - started))"
  fi
  rm -f "$log"
  return "$status"
}
