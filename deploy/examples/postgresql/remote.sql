-- The role and the database of pbx-portal on another host, for psql as a superuser there:
--   cd / && runuser -u postgres -- psql < /root/remote.sql
-- It asks for the password, which reaches the server as a digest.
CREATE ROLE "pbx-portal" LOGIN;
-- Not so by itself with PostgreSQL 13, nor where postgresql.conf says md5.
SET password_encryption = 'scram-sha-256';
\password "pbx-portal"
CREATE DATABASE pbx_portal OWNER "pbx-portal" ENCODING 'UTF8' TEMPLATE template0;

-- pg_hba.conf there, for the portal's host alone and over TLS alone:
--   hostssl  pbx_portal  pbx-portal  192.0.2.10/32  scram-sha-256
--
-- /etc/pbx-portal/env here; verify-full compares the server's name with its certificate:
--   DATABASE_URL='postgresql://pbx-portal:PASSWORD@db.example.com/pbx_portal?sslmode=verify-full&sslrootcert=/etc/pbx-portal/database-ca.crt'
