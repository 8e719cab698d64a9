-- What tells damage: sums over readings (the ledger), digests over the catalog's own rows (seals), and what was found.

-- All arrivals of the epoch, quarantined ones too, and their sum (32 hexadecimal digits). Null: from before the ledger.
ALTER TABLE epochs ADD COLUMN arrivals BIGINT;
ALTER TABLE epochs ADD COLUMN readings_sum VARCHAR(32);
ALTER TABLE files ADD COLUMN readings_sum VARCHAR(32);
ALTER TABLE quarantine_files ADD COLUMN readings_sum VARCHAR(32);

-- Running totals: `flushed` of all epochs, `history` of all files of readings and quarantine. They must be equal.
CREATE TABLE ledger (
    stage VARCHAR(16) NOT NULL PRIMARY KEY,
    readings BIGINT NOT NULL,
    readings_sum VARCHAR(32) NOT NULL
);
INSERT INTO ledger (stage, readings, readings_sum) VALUES ('flushed', 0, '00000000000000000000000000000000');
INSERT INTO ledger (stage, readings, readings_sum) VALUES ('history', 0, '00000000000000000000000000000000');

-- A digest over the rows that answers rest on, table by table, renewed by every transaction that changes them.
CREATE TABLE seals (
    name VARCHAR(64) NOT NULL PRIMARY KEY,
    digest VARCHAR(32) NOT NULL
);

-- Stored objects that were found damaged. repaired_at: they were found whole again, or nothing needs them any more.
CREATE TABLE damage (
    path VARCHAR(255) NOT NULL PRIMARY KEY,
    kind VARCHAR(16) NOT NULL,
    reason TEXT NOT NULL,
    found_at BIGINT NOT NULL,
    remedy TEXT NOT NULL,
    repaired_at BIGINT
);
