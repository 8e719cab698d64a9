-- The catalog: what history consists of, which views count which of it, and the work that is to be done on it.
--
-- Written in the common subset of SQLite, PostgreSQL and MySQL. Instants and positions are BIGINT (nanoseconds, log
-- positions), truth values are BIGINT 0 or 1, keys are VARCHAR because MySQL can't index TEXT. PostgreSQL needs
-- `CREATE DOMAIN blob AS bytea` first. Numbers are handed out by `counters`, inside the transaction that uses them.

CREATE TABLE counters (
    name VARCHAR(64) NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('views', 0);
INSERT INTO counters (name, value) VALUES ('jobs', 0);
INSERT INTO counters (name, value) VALUES ('series_files', 0);
INSERT INTO counters (name, value) VALUES ('reconciliation', 0);

CREATE TABLE meta (
    name VARCHAR(64) NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

-- Every stored object, with what its bytes must be. condemned_at: it is being deleted and must not be used again.
CREATE TABLE objects (
    path VARCHAR(255) NOT NULL PRIMARY KEY,
    kind VARCHAR(16) NOT NULL,
    bytes BIGINT NOT NULL,
    block_sums BLOB NOT NULL,
    created_at BIGINT NOT NULL,
    superseded_at BIGINT,
    condemned_at BIGINT
);

-- Flushed epochs, contiguous in position. dropped_at: views of every reachable generation count all of it.
CREATE TABLE epochs (
    last_position BIGINT NOT NULL PRIMARY KEY,
    first_position BIGINT NOT NULL,
    readings BIGINT NOT NULL,
    event_min BIGINT,
    event_max BIGINT,
    partials_path VARCHAR(255) REFERENCES objects (path),
    flushed_at BIGINT NOT NULL,
    dropped_at BIGINT
);
CREATE INDEX epochs_partials ON epochs (partials_path);
CREATE INDEX epochs_dropped ON epochs (dropped_at);

-- Stretches of event time, without overlap. touched: the newest flushed position with a reading in it.
CREATE TABLE partitions (
    span_start BIGINT NOT NULL PRIMARY KEY,
    span_end BIGINT NOT NULL,
    touched BIGINT NOT NULL
);

-- Which partitions an epoch touches; forgotten once the epoch is dropped.
CREATE TABLE epoch_partitions (
    partition_start BIGINT NOT NULL REFERENCES partitions (span_start),
    last_position BIGINT NOT NULL REFERENCES epochs (last_position),
    readings BIGINT NOT NULL,
    PRIMARY KEY (partition_start, last_position)
);
CREATE INDEX epoch_partitions_epoch ON epoch_partitions (last_position);

-- Files of readings that are part of history now. partition_start is null where a file has readings of several.
CREATE TABLE files (
    path VARCHAR(255) NOT NULL PRIMARY KEY REFERENCES objects (path),
    partition_start BIGINT REFERENCES partitions (span_start),
    first_position BIGINT NOT NULL,
    last_position BIGINT NOT NULL,
    event_min BIGINT NOT NULL,
    event_max BIGINT NOT NULL,
    series_min BIGINT NOT NULL,
    series_max BIGINT NOT NULL,
    rows_count BIGINT NOT NULL
);

CREATE TABLE quarantine_files (
    path VARCHAR(255) NOT NULL PRIMARY KEY REFERENCES objects (path),
    rows_count BIGINT NOT NULL
);

CREATE TABLE series_files (
    path VARCHAR(255) NOT NULL PRIMARY KEY REFERENCES objects (path),
    seq BIGINT NOT NULL
);

CREATE TABLE lateness (
    metric VARCHAR(1024) NOT NULL PRIMARY KEY,
    weights BLOB NOT NULL
);

-- Generations by number, without gaps. partitions_changed: how many partitions got or lost a view with it.
CREATE TABLE generations (
    number BIGINT NOT NULL PRIMARY KEY,
    published_at BIGINT NOT NULL,
    reason TEXT NOT NULL,
    job_id BIGINT,
    reverted_to BIGINT,
    partitions_changed BIGINT NOT NULL,
    pruned_at BIGINT
);
CREATE INDEX generations_pruned ON generations (pruned_at);

-- A view is current in the generations g with from_generation <= g and g < until_generation; null: still current.
CREATE TABLE views (
    id BIGINT NOT NULL PRIMARY KEY,
    partition_start BIGINT NOT NULL REFERENCES partitions (span_start),
    cut_position BIGINT NOT NULL,
    path VARCHAR(255) REFERENCES objects (path),
    cells BIGINT NOT NULL,
    readings BIGINT NOT NULL,
    kind VARCHAR(16) NOT NULL,
    from_generation BIGINT NOT NULL REFERENCES generations (number),
    until_generation BIGINT REFERENCES generations (number)
);
CREATE INDEX views_partition ON views (partition_start, until_generation);
CREATE INDEX views_until ON views (until_generation);
CREATE INDEX views_path ON views (path);

CREATE TABLE jobs (
    id BIGINT NOT NULL PRIMARY KEY,
    kind VARCHAR(16) NOT NULL,
    range_start BIGINT NOT NULL,
    range_end BIGINT NOT NULL,
    selector TEXT,
    reason TEXT NOT NULL,
    priority BIGINT NOT NULL,
    state VARCHAR(16) NOT NULL,
    progress DOUBLE PRECISION NOT NULL,
    rows_read BIGINT NOT NULL,
    cells_written BIGINT NOT NULL,
    error TEXT,
    attempts BIGINT NOT NULL,
    not_before BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    finished_at BIGINT,
    cancel_requested BIGINT NOT NULL
);
CREATE INDEX jobs_state ON jobs (state, priority);

CREATE TABLE schedules (
    name VARCHAR(128) NOT NULL PRIMARY KEY,
    cron VARCHAR(255) NOT NULL,
    kind VARCHAR(16) NOT NULL,
    lookback BIGINT,
    enabled BIGINT NOT NULL,
    next_at BIGINT,
    last_at BIGINT
);

-- What an audit or a recompute found to differ from what had been answered.
CREATE TABLE reconciliation (
    id BIGINT NOT NULL PRIMARY KEY,
    found_at BIGINT NOT NULL,
    job_id BIGINT,
    partition_start BIGINT NOT NULL,
    series_id BIGINT NOT NULL,
    metric_key TEXT,
    bucket BIGINT NOT NULL,
    field VARCHAR(16) NOT NULL,
    speed_value DOUBLE PRECISION,
    batch_value DOUBLE PRECISION,
    difference DOUBLE PRECISION,
    cause VARCHAR(16) NOT NULL
);
