-- Who may do what. Of a token only its hash is known here.
CREATE TABLE tokens (
    id VARCHAR(16) NOT NULL PRIMARY KEY,
    name VARCHAR(128) NOT NULL,
    hash VARCHAR(64) NOT NULL UNIQUE,
    scopes VARCHAR(64) NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
);

-- Who changed what, in order; each entry's hash covers the hash of the one before.
CREATE TABLE audit (
    seq BIGINT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    actor VARCHAR(512) NOT NULL,
    action VARCHAR(32) NOT NULL,
    subject TEXT NOT NULL,
    hash VARCHAR(64) NOT NULL
);
