ALTER TABLE users DROP CONSTRAINT users_created_at_check;
