-- Version 1 of a state file. A released version never changes: later ones follow it in MIGRATIONS (open.rs).
-- Keys, start keys and values are DynamoDB JSON; times are RFC 3339 in UTC.

-- Whose file this is: one row, written with the file and, once a run has begun, never changed.
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
    -- 1 from the begin of a session to its end; still 1 when the file is opened: that session was killed.
    open_session         INTEGER NOT NULL CHECK (open_session IN (0, 1)),
    lower_bound          INTEGER NOT NULL DEFAULT 0 CHECK (lower_bound IN (0, 1)),
    abandoned_pages      INTEGER NOT NULL DEFAULT 0,
    stop_reason          TEXT,
    table_items_estimate INTEGER,
    tool_version         TEXT NOT NULL,
    -- Pages are only looked at from here on, and not written: it is never resumed.
    looked_through       INTEGER NOT NULL DEFAULT 0 CHECK (looked_through IN (0, 1)),
    -- What was spent when that began.
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

-- What a run has spent, in capacity units. A run without a row has spent what its segments count.
CREATE TABLE spend (
    run               INTEGER PRIMARY KEY REFERENCES runs (id),
    -- Spent when the row was stored.
    write_units       REAL NOT NULL,
    read_units        REAL NOT NULL,
    -- Reserved beyond it. Not 0 when the file is opened: the process that reserved it died, and it counts as spent.
    write_slice       REAL NOT NULL,
    read_slice        REAL NOT NULL,
    -- Of what is spent: in no segment's counts; and of that, the slices of processes that died.
    write_uncounted   REAL NOT NULL,
    read_uncounted    REAL NOT NULL,
    write_lost        REAL NOT NULL,
    read_lost         REAL NOT NULL,
    -- US dollars for a million units, as the last session counted: what is spent is shown in money too.
    write_per_million REAL NOT NULL,
    read_per_million  REAL NOT NULL,
    price_basis       TEXT NOT NULL CHECK (price_basis IN ('plan', 'on_demand', 'on_demand_ia', 'provisioned', 'provisioned_ia'))
) STRICT;

-- Dead letters. A row stays when its item is settled, so that the history can be told.
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

-- Items whose target holds something else than the plan implies. `paths` is a JSON list of paths.
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

-- What writes found at the paths that they change: appended before the write is sent, never changed but for `refused`,
-- which says that DynamoDB certainly did not apply that write. A value is DynamoDB JSON behind a byte 0, or compressed by
-- zstd behind a byte 1. `wrote` is a digest of what a write that moves or copies puts there.
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
-- Rows of one key are in the order of their ids.
CREATE INDEX pre_images_by_item ON pre_images (key);

-- Targets of moves and copies that were there when the first pass met their item; `value` is a digest of what was there.
CREATE TABLE there_before (
    key   TEXT NOT NULL,
    path  TEXT NOT NULL,
    run   INTEGER NOT NULL REFERENCES runs (id),
    value BLOB NOT NULL CHECK (length(value) = 8),
    PRIMARY KEY (key, path)
) STRICT, WITHOUT ROWID;

-- Items of pages that are not committed and that the first pass may have written: eight bytes of a digest of each key.
CREATE TABLE pages_under_way (
    id      INTEGER PRIMARY KEY,
    run     INTEGER NOT NULL REFERENCES runs (id),
    segment INTEGER NOT NULL,
    -- Which of the run's sessions: another one may cut its pages differently.
    session INTEGER NOT NULL,
    page    INTEGER NOT NULL,
    items   BLOB NOT NULL CHECK (length(items) % 8 = 0)
) STRICT;
CREATE INDEX pages_under_way_by_segment ON pages_under_way (run, segment);

-- Findings of the preflight that the operator accepted for a run: durable before the run's first write.
CREATE TABLE accepted (
    run     INTEGER NOT NULL REFERENCES runs (id),
    finding TEXT NOT NULL,
    at      TEXT NOT NULL,
    PRIMARY KEY (run, finding)
) STRICT, WITHOUT ROWID;

-- Verifications: each is a run of the phase `verify`, and this is what it was asked and what it came to.
CREATE TABLE verifications (
    run           INTEGER PRIMARY KEY REFERENCES runs (id),
    stage         TEXT NOT NULL CHECK (stage IN ('expanded', 'contracted')),
    truth         TEXT NOT NULL
                  CHECK (truth IN ('old', 'new_then_old', 'new', 'new_on_the_way_back') OR truth GLOB 'percent_[1-9]*'),
    repair        INTEGER NOT NULL CHECK (repair IN (0, 1)),
    flag_version  INTEGER,
    -- Segments that are read: all of the run's, or those of the sample.
    due           INTEGER NOT NULL CHECK (due >= 0),
    -- Of a sample: how many clusters were asked for, from which seed, and the large segments (a JSON list) of a run that
    -- had so many segments.
    wanted        INTEGER,
    seed          INTEGER,
    run_segments  INTEGER,
    large         TEXT,
    -- Once it is complete: the canonical JSON, and its SHA-256.
    report        TEXT,
    report_hash   TEXT,
    CHECK ((wanted IS NULL) = (seed IS NULL) AND (seed IS NULL) = (run_segments IS NULL)
           AND (run_segments IS NULL) = (large IS NULL)),
    CHECK ((report IS NULL) = (report_hash IS NULL))
) STRICT;

-- What the committed pages of a segment counted. A segment without a row is pending.
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

-- Mismatching items, the first ones of each verdict; all of them are counted above. `paths` is a JSON list of paths, `why`
-- says what stood against a repair.
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

-- The history of the migration: events of the playbook (playbook/event.rs), append only.
CREATE TABLE events (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    event  TEXT NOT NULL,
    -- The newest run then: what a phase that begins here does are runs behind it.
    behind INTEGER NOT NULL
) STRICT;

-- Facts beside it, each kept once.
CREATE TABLE kept (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
