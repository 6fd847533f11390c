-- Version 1 of a state file. A released version never changes. Later versions come after it in MIGRATIONS (layout.rs).
-- Keys, start keys and values are DynamoDB JSON. Times are RFC 3339 in UTC.

-- The plan and the table to which this file belongs. The table has one row, which is written when the file is created.
-- The row never changes after a run has begun.
CREATE TABLE identity (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    migration   TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    meaning     TEXT NOT NULL,
    table_arn   TEXT NOT NULL,
    table_id    TEXT,
    created_at  TEXT NOT NULL
) STRICT;

CREATE TABLE runs (
    id                   INTEGER PRIMARY KEY AUTOINCREMENT,
    phase                TEXT NOT NULL,
    pass                 INTEGER NOT NULL CHECK (pass > 0),
    total_segments       INTEGER NOT NULL CHECK (total_segments BETWEEN 1 AND 1000000),
    status               TEXT NOT NULL CHECK (status IN ('running', 'stopped', 'complete', 'superseded')),
    started_at           TEXT NOT NULL,
    ended_at             TEXT,
    sessions             INTEGER NOT NULL,
    -- 1 while a session is open. If the column is still 1 when the file is opened, the session was killed.
    open_session         INTEGER NOT NULL CHECK (open_session IN (0, 1)),
    lower_bound          INTEGER NOT NULL DEFAULT 0 CHECK (lower_bound IN (0, 1)),
    abandoned_pages      INTEGER NOT NULL DEFAULT 0,
    stop_reason          TEXT,
    table_items_estimate INTEGER,
    tool_version         TEXT NOT NULL,
    -- 1 if a read-only pass has read pages of the stopped run. Such a run is never resumed.
    looked_through       INTEGER NOT NULL DEFAULT 0 CHECK (looked_through IN (0, 1)),
    -- The spend of the run when the first read-only pass began.
    look_write_units     REAL NOT NULL DEFAULT 0,
    look_read_units      REAL NOT NULL DEFAULT 0,
    CHECK (open_session = (status = 'running'))
) STRICT;

-- A segment without a row is pending.
CREATE TABLE segments (
    run                   INTEGER NOT NULL REFERENCES runs (id),
    segment               INTEGER NOT NULL CHECK (segment >= 0),
    status                TEXT NOT NULL CHECK (status IN ('scanning', 'done')),
    start_key             TEXT,
    pages                 INTEGER NOT NULL CHECK (pages > 0),
    scanned               INTEGER NOT NULL,
    applied               INTEGER NOT NULL,
    already_applied       INTEGER NOT NULL,
    nothing_to_do         INTEGER NOT NULL,
    gone                  INTEGER NOT NULL,
    diverged              INTEGER NOT NULL,
    conflict              INTEGER NOT NULL,
    rejected              INTEGER NOT NULL,
    write_units           REAL NOT NULL,
    read_units            REAL NOT NULL,
    assumed_write_units   REAL NOT NULL,
    estimated_write_units REAL NOT NULL,
    updated_at            TEXT NOT NULL,
    PRIMARY KEY (run, segment),
    CHECK ((status = 'scanning') = (start_key IS NOT NULL))
) STRICT, WITHOUT ROWID;

-- The spend of each run in capacity units. If a run has no row, its spend is the sum of the counts of its segments.
CREATE TABLE spend (
    run               INTEGER PRIMARY KEY REFERENCES runs (id),
    -- The amount that was spent when the row was stored.
    write_units       REAL NOT NULL,
    read_units        REAL NOT NULL,
    -- The additional amount that a process has reserved. If this amount is not 0 when the file is opened, the process
    -- has died, so the amount counts as spent.
    write_slice       REAL NOT NULL,
    read_slice        REAL NOT NULL,
    -- The part of the spend that no segment counts, and how much of this part comes from slices of dead processes.
    write_uncounted   REAL NOT NULL,
    read_uncounted    REAL NOT NULL,
    write_lost        REAL NOT NULL,
    read_lost         REAL NOT NULL,
    -- The prices that the last session used, in US dollars per million units. These prices are used to show the spend
    -- in money.
    write_per_million REAL NOT NULL,
    read_per_million  REAL NOT NULL,
    price_basis       TEXT NOT NULL CHECK (price_basis IN ('plan', 'on_demand', 'on_demand_ia', 'provisioned', 'provisioned_ia'))
) STRICT;

-- Failures (dead letters). A resolved row stays, to keep the history.
CREATE TABLE failures (
    id          INTEGER PRIMARY KEY,
    run         INTEGER NOT NULL REFERENCES runs (id),
    key         TEXT NOT NULL,
    segment     INTEGER NOT NULL,
    outcome     TEXT NOT NULL,
    reason      TEXT NOT NULL,
    attempts    INTEGER NOT NULL,
    first_at    TEXT NOT NULL,
    last_at     TEXT NOT NULL,
    status      TEXT NOT NULL CHECK (status IN ('open', 'resolved')),
    resolved_as TEXT,
    UNIQUE (run, key),
    CHECK ((status = 'resolved') = (resolved_as IS NOT NULL))
) STRICT;
CREATE INDEX failures_open ON failures (key) WHERE status = 'open';

-- Items with a target whose value differs from the value that the plan implies. `paths` is a JSON list of paths.
CREATE TABLE diverged (
    id          INTEGER PRIMARY KEY,
    run         INTEGER NOT NULL REFERENCES runs (id),
    key         TEXT NOT NULL,
    segment     INTEGER NOT NULL,
    paths       TEXT NOT NULL,
    first_at    TEXT NOT NULL,
    last_at     TEXT NOT NULL,
    status      TEXT NOT NULL CHECK (status IN ('open', 'resolved')),
    resolved_as TEXT,
    UNIQUE (run, key),
    CHECK ((status = 'resolved') = (resolved_as IS NOT NULL))
) STRICT;
CREATE INDEX diverged_open ON diverged (key) WHERE status = 'open';

-- The values that writes found at the paths that they change. A row is appended before the write is sent. A row never
-- changes, except for `refused`, which records that DynamoDB certainly did not apply the write. The first byte of a
-- stored value is 0 if DynamoDB JSON follows, and 1 if DynamoDB JSON compressed by zstd follows. `wrote` is a digest of
-- the value that the move or copy writes.
CREATE TABLE pre_images (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    run     INTEGER NOT NULL REFERENCES runs (id),
    key     TEXT NOT NULL,
    path    TEXT NOT NULL,
    kind    TEXT NOT NULL CHECK (kind IN ('value', 'nothing', 'same')),
    value   BLOB,
    wrote   BLOB CHECK (length(wrote) = 8),
    at      TEXT NOT NULL,
    refused INTEGER NOT NULL DEFAULT 0 CHECK (refused IN (0, 1)),
    CHECK ((kind = 'value') = (value IS NOT NULL))
) STRICT;
-- In the index, rows with the same key are in the order of their ids.
CREATE INDEX pre_images_by_item ON pre_images (key);

-- Preexisting targets of moves and copies that the first pass found. `value` is a digest of the target's value.
CREATE TABLE there_before (
    key   TEXT NOT NULL,
    path  TEXT NOT NULL,
    run   INTEGER NOT NULL REFERENCES runs (id),
    value BLOB NOT NULL CHECK (length(value) = 8),
    PRIMARY KEY (key, path)
) STRICT, WITHOUT ROWID;

-- Items in uncommitted pages that the first pass may have written. Each item is stored as an eight-byte digest of its
-- key.
CREATE TABLE pages_under_way (
    id      INTEGER PRIMARY KEY,
    run     INTEGER NOT NULL REFERENCES runs (id),
    segment INTEGER NOT NULL,
    -- The number of the session within the run. Pages of another session may have different bounds.
    session INTEGER NOT NULL,
    page    INTEGER NOT NULL,
    items   BLOB NOT NULL CHECK (length(items) % 8 = 0)
) STRICT;
CREATE INDEX pages_under_way_by_segment ON pages_under_way (run, segment);

-- Preflight findings that the operator accepted for a run. These rows are durable before the run's first write.
CREATE TABLE accepted (
    run     INTEGER NOT NULL REFERENCES runs (id),
    finding TEXT NOT NULL,
    at      TEXT NOT NULL,
    PRIMARY KEY (run, finding)
) STRICT, WITHOUT ROWID;

-- The parameters and reports of verifications. Each verification is a run of the phase `verify`.
CREATE TABLE verifications (
    run           INTEGER PRIMARY KEY REFERENCES runs (id),
    stage         TEXT NOT NULL CHECK (stage IN ('expanded', 'contracted')),
    truth         TEXT NOT NULL
                  CHECK (truth IN ('old', 'new_then_old', 'new', 'new_on_the_way_back') OR truth GLOB 'percent_[1-9]*'),
    repair        INTEGER NOT NULL CHECK (repair IN (0, 1)),
    flag_version  INTEGER,
    -- The number of segments to read: all segments of the run, or the segments of the sample.
    due           INTEGER NOT NULL CHECK (due >= 0),
    -- For a sample: the requested number of clusters, the seed, the number of segments of an earlier run, and the large
    -- segments of that run (a JSON list).
    wanted        INTEGER,
    seed          INTEGER,
    run_segments  INTEGER,
    large         TEXT,
    -- The report as canonical JSON, and its SHA-256. The report and the hash are set when the verification is complete.
    report        TEXT,
    report_hash   TEXT,
    CHECK ((wanted IS NULL) = (seed IS NULL) AND (seed IS NULL) = (run_segments IS NULL)
           AND (run_segments IS NULL) = (large IS NULL)),
    CHECK ((report IS NULL) = (report_hash IS NULL))
) STRICT;

-- The counts of the committed pages of a segment. A segment without a row is pending.
CREATE TABLE segment_verdicts (
    run        INTEGER NOT NULL REFERENCES runs (id),
    segment    INTEGER NOT NULL,
    matching   INTEGER NOT NULL,
    missing    INTEGER NOT NULL,
    stale      INTEGER NOT NULL,
    unexpected INTEGER NOT NULL,
    raced      INTEGER NOT NULL,
    repaired   INTEGER NOT NULL,
    PRIMARY KEY (run, segment)
) STRICT, WITHOUT ROWID;

-- The first mismatching items of each verdict, up to a limit. The counts in `segment_verdicts` include all mismatching
-- items. `paths` is a JSON list of paths. `why` is the reason why the item was not repaired.
CREATE TABLE mismatches (
    run      INTEGER NOT NULL REFERENCES runs (id),
    verdict  TEXT NOT NULL CHECK (verdict IN ('missing', 'stale', 'unexpected')),
    n        INTEGER NOT NULL,
    segment  INTEGER NOT NULL,
    key      TEXT NOT NULL,
    paths    TEXT NOT NULL,
    repaired INTEGER NOT NULL CHECK (repaired IN (0, 1)),
    why      TEXT,
    at       TEXT NOT NULL,
    PRIMARY KEY (run, verdict, n)
) STRICT, WITHOUT ROWID;

-- The history of the migration: the append-only events of the playbook (playbook/event.rs).
CREATE TABLE events (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    event  TEXT NOT NULL,
    -- The newest run at the time when the event was appended. If a phase begins with this event, the phase's runs are
    -- newer.
    behind INTEGER NOT NULL
) STRICT;

-- Facts that are stored by name. Each fact has one row.
CREATE TABLE kept (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
