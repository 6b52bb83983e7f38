#!/bin/sh
# A plugin for Nagios, Icinga and whatever takes its exit statuses: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
#
# usage: check_pbx_portal.sh [URL]        by default http://127.0.0.1:8000
#
# Needs curl and jq, and a read-only token in a file that only its user may read, /etc/pbx-portal/monitoring.header by
# default (PBX_PORTAL_HEADER names another):
#
#   Authorization: Bearer TOKEN
#
# The token: PBX_PORTAL__AUTH__READ_ONLY_TOKENS='monitoring:TOKEN' in /etc/pbx-portal/env. It can read and plan, and
# change nothing. Where applies are made by hand, and may wait for hours: PBX_PORTAL_WAIT=ok.
set -u
url=${1:-http://127.0.0.1:8000}
header=${PBX_PORTAL_HEADER:-/etc/pbx-portal/monitoring.header}
[ -r "$header" ] || {
	echo "PBX UNKNOWN - $header cannot be read"
	exit 3
}
get() { curl --silent --show-error --max-time 20 --header "@$header" --write-out '\n%{http_code}' "$@" 2>&1; }
body() { printf '%s\n' "$1" | sed '$d'; }
status() { printf '%s\n' "$1" | tail -n 1; }
explain() { body "$1" | jq --raw-output '.detail' 2>/dev/null || body "$1"; }

list=$(get "$url/users")
[ "$(status "$list")" = 200 ] || {
	echo "PBX CRITICAL - $url/users: $(explain "$list")"
	exit 2
}
plan=$(get --request POST "$url/apply?dry_run=true")
[ "$(status "$plan")" = 200 ] || {
	echo "PBX CRITICAL - $url/apply?dry_run=true: $(explain "$plan")"
	exit 2
}
users=$(body "$list" | jq '.users | length')
metrics="users=$users applied=$(body "$list" | jq '[.users[] | select(.applied)] | length')"
if [ "$(body "$plan" | jq '.live.matches')" != true ]; then
	echo "PBX CRITICAL - $(body "$plan" | jq --raw-output '.live.problems | join("; ")') | $metrics"
	exit 2
fi
last=$(body "$list" | jq --raw-output '.last_apply | if . then "\(.outcome) at \(.finished_at)" else "never" end')
case $last in
applied* | unchanged* | never) ;;
*)
	echo "PBX WARNING - the last apply was $last | $metrics"
	exit 1
	;;
esac
if [ "$(body "$list" | jq .apply_required)" = true ] && [ "${PBX_PORTAL_WAIT-}" != ok ]; then
	echo "PBX WARNING - changes wait for an apply (last: $last) | $metrics"
	exit 1
fi
echo "PBX OK - $users users, last apply: $last | $metrics"
