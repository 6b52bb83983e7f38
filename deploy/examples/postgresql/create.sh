#!/bin/sh
# The role and the database of pbx-portal on this host, reached by the Unix socket: PostgreSQL lets the system user
# pbx-portal in as the role of the same name (peer authentication, Debian's default), so there is no password.
# Run as root.
set -e
cd /
runuser -u postgres -- createuser --no-superuser --no-createdb --no-createrole pbx-portal
runuser -u postgres -- createdb --owner=pbx-portal --encoding=UTF8 --template=template0 pbx_portal
