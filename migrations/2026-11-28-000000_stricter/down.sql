ALTER TABLE extensions ENABLE TRIGGER extensions_token;
ALTER TABLE extensions ENABLE TRIGGER extensions_truncated;
ALTER TABLE extensions ENABLE TRIGGER extensions_revision;
ALTER TABLE extensions ENABLE TRIGGER extensions_lock;
ALTER TABLE users ENABLE TRIGGER users_token;
ALTER TABLE users ENABLE TRIGGER users_truncated;
ALTER TABLE users ENABLE TRIGGER users_revision;
ALTER TABLE users ENABLE TRIGGER users_lock;

ALTER TABLE users DROP CONSTRAINT users_email_address_check;
ALTER TABLE users ADD CONSTRAINT users_email_address_check CHECK (
    lower(email COLLATE "C") ~ (
        '^([a-z0-9!#$%&''*+/=?^_`{|}~-]+(\.[a-z0-9!#$%&''*+/=?^_`{|}~-]+)*|"([ !#-[\]-~]|\\[!-~])+")'
        '@([a-z0-9]([a-z0-9!#$%&''*+/=?^_`{|}~-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9!#$%&''*+/=?^_`{|}~-]*[a-z0-9])?)*|\[[!-Z^-~]*\])$'
    )
);
