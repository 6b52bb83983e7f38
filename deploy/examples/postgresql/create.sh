#!/bin/sh
# The role and the database of pbx-portal on this host, reached by the Unix socket: PostgreSQL lets the system user
# pbx-portal in as the role of the same name (peer authentication, Debian's default), so there is no password.
# Makes what is missing. Run as root.
set -e
cd /
ask() { runuser -u postgres -- psql --no-psqlrc --tuples-only --no-align --command "$1"; }
[ "$(ask "SELECT count(*) FROM pg_roles WHERE rolname = 'pbx-portal'")" = 1 ] ||
	runuser -u postgres -- createuser --no-superuser --no-createdb --no-createrole pbx-portal
[ "$(ask "SELECT count(*) FROM pg_database WHERE datname = 'pbx_portal'")" = 1 ] ||
	runuser -u postgres -- createdb --owner=pbx-portal --encoding=UTF8 --template=template0 pbx_portal
