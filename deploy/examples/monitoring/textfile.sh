#!/bin/sh
# Writes what check_pbx_portal.sh finds for node-exporter's textfile collector. For pbx-portal-metrics.service.
set -eu
directory=${1:-/var/lib/prometheus/node-exporter}
status=0
found=$(sh /usr/share/doc/pbx-portal/examples/monitoring/check_pbx_portal.sh) || status=$?
echo "$found"
new=$(mktemp "$directory/.pbx_portal.XXXXXX")
{
	echo '# HELP pbx_portal_status 0 well, 1 something waits, 2 broken, 3 not known.'
	echo '# TYPE pbx_portal_status gauge'
	echo "pbx_portal_status $status"
	for metric in ${found##*|}; do
		case $metric in
		users=[0-9]* | applied=[0-9]*) echo "pbx_portal_${metric%=*} ${metric#*=}" ;;
		esac
	done
	echo "pbx_portal_checked_seconds $(date +%s)"
} > "$new"
chmod 644 "$new"
mv "$new" "$directory/pbx_portal.prom"
