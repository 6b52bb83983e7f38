DROP TABLE apply_audit_log;
ALTER TABLE users DROP CONSTRAINT users_extension_fkey;
DROP TABLE extensions;
DROP TABLE users;
DROP TABLE tenants;
DROP FUNCTION pbx_move_revision();
DROP FUNCTION pbx_move_all_revisions();
DROP FUNCTION pbx_take_extension();
