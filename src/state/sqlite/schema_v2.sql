-- Version 2 of a state file adds checksums, counters, skipped items, and a record of whether the file was closed. A
-- released version never changes.
--
-- `checksum` and `item_checksum` are functions of this program (checksum.rs). Triggers update the column `sum` and the
-- tallies, so that every statement that changes a row updates them too. `pre_images` is the exception. Its rows are
-- large, so the statements of journal.rs write `sum` together with the row.

-- The number of scanned items with a target whose different value counts as done (`on_existing = "skip"`).
ALTER TABLE segments ADD COLUMN skipped INTEGER NOT NULL DEFAULT 0;

ALTER TABLE identity ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE segments ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pre_images ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE there_before ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pages_under_way ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE events ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE kept ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE failures ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE diverged ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accepted ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE verifications ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE segment_verdicts ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;

UPDATE identity SET sum = checksum(id, migration, fingerprint, meaning, table_arn, table_id, created_at);
UPDATE runs SET sum = checksum(id, phase, pass, total_segments, status, started_at, ended_at, sessions, open_session,
    lower_bound, abandoned_pages, stop_reason, table_items_estimate, tool_version, looked_through, look_write_units,
    look_read_units);
UPDATE segments SET sum = checksum(run, segment, status, start_key, pages, scanned, applied, already_applied,
    nothing_to_do, skipped, gone, diverged, conflict, rejected, write_units, read_units, assumed_write_units,
    estimated_write_units, updated_at);
UPDATE pre_images SET sum = item_checksum(key, run, path, kind, value, wrote, at, refused);
UPDATE there_before SET sum = item_checksum(key, path, run, value);
UPDATE pages_under_way SET sum = checksum(id, run, segment, session, page, items);
UPDATE events SET sum = checksum(id, event, behind);
UPDATE kept SET sum = checksum(name, value);
UPDATE failures SET sum = checksum(id, run, key, segment, outcome, reason, attempts, first_at, last_at, status,
    resolved_as);
UPDATE diverged SET sum = checksum(id, run, key, segment, paths, first_at, last_at, status, resolved_as);
UPDATE accepted SET sum = checksum(run, finding, at);
UPDATE verifications SET sum = checksum(run, stage, truth, repair, flag_version, due, wanted, seed, run_segments,
    large, report, report_hash);
UPDATE segment_verdicts SET sum = checksum(run, segment, matching, missing, stale, unexpected, raced, repaired);

-- For each run, the number of rows of other tables. `what` is 1 for journal values whose write was not refused, 2 for
-- preexisting targets, 3 for open failures, and 4 for open diverged items. `proof` repeats the row, so that flipped
-- bits are detected.
CREATE TABLE tallies (
    run   INTEGER NOT NULL REFERENCES runs (id),
    what  INTEGER NOT NULL CHECK (what BETWEEN 1 AND 4),
    n     INTEGER NOT NULL CHECK (n BETWEEN 0 AND 4294967295),
    proof INTEGER NOT NULL CHECK (proof = (run * 8 + what) * 4294967296 + n),
    PRIMARY KEY (run, what)
) STRICT, WITHOUT ROWID;

INSERT INTO tallies (run, what, n, proof)
SELECT run, what, n, (run * 8 + what) * 4294967296 + n FROM (
    SELECT run, 1 AS what, count(*) AS n FROM pre_images WHERE kind = 'value' AND refused = 0 GROUP BY run
    UNION ALL SELECT run, 2, count(*) FROM there_before GROUP BY run
    UNION ALL SELECT run, 3, count(*) FROM failures WHERE status = 'open' GROUP BY run
    UNION ALL SELECT run, 4, count(*) FROM diverged WHERE status = 'open' GROUP BY run);

-- This table has one row. From the start of a session to its orderly end, `in_use` is 1 in the file itself, not only in
-- the log of the file. If `in_use` is 1 and the log is lost, the file may lack acknowledged commits. `commits` is the
-- number of commits. The lock file repeats this number together with `mark`, a random number that identifies this file.
CREATE TABLE file (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    in_use  INTEGER NOT NULL CHECK (in_use IN (0, 1)),
    mark    INTEGER NOT NULL,
    commits INTEGER NOT NULL CHECK (commits >= 0)
) STRICT;
INSERT INTO file (id, in_use, mark, commits) VALUES (1, 0, random(), 0);

-- Pairs that the first pass found. A rollback changes such a pair, or readers see its new value for the first time.
-- Only reports use these pairs. No write of a rollback depends on these rows, so the rows have no checksum.
CREATE TABLE met_pairs (
    key  TEXT NOT NULL,
    path TEXT NOT NULL,
    run  INTEGER NOT NULL REFERENCES runs (id),
    kind TEXT NOT NULL CHECK (kind IN ('equal', 'new_alone')),
    PRIMARY KEY (key, path)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER identity_added AFTER INSERT ON identity BEGIN
    UPDATE identity SET sum = checksum(id, migration, fingerprint, meaning, table_arn, table_id, created_at);
END;

CREATE TRIGGER runs_added AFTER INSERT ON runs BEGIN
    UPDATE runs SET sum = checksum(id, phase, pass, total_segments, status, started_at, ended_at, sessions, open_session,
        lower_bound, abandoned_pages, stop_reason, table_items_estimate, tool_version, looked_through, look_write_units,
        look_read_units) WHERE id = new.id;
END;
CREATE TRIGGER runs_changed AFTER UPDATE OF phase, pass, total_segments, status, started_at, ended_at, sessions,
    open_session, lower_bound, abandoned_pages, stop_reason, table_items_estimate, tool_version, looked_through,
    look_write_units, look_read_units ON runs BEGIN
    UPDATE runs SET sum = checksum(id, phase, pass, total_segments, status, started_at, ended_at, sessions, open_session,
        lower_bound, abandoned_pages, stop_reason, table_items_estimate, tool_version, looked_through, look_write_units,
        look_read_units) WHERE id = new.id;
END;

CREATE TRIGGER segments_added AFTER INSERT ON segments BEGIN
    UPDATE segments SET sum = checksum(run, segment, status, start_key, pages, scanned, applied, already_applied,
        nothing_to_do, skipped, gone, diverged, conflict, rejected, write_units, read_units, assumed_write_units,
        estimated_write_units, updated_at) WHERE run = new.run AND segment = new.segment;
END;
CREATE TRIGGER segments_changed AFTER UPDATE OF status, start_key, pages, scanned, applied, already_applied,
    nothing_to_do, skipped, gone, diverged, conflict, rejected, write_units, read_units, assumed_write_units,
    estimated_write_units, updated_at ON segments BEGIN
    UPDATE segments SET sum = checksum(run, segment, status, start_key, pages, scanned, applied, already_applied,
        nothing_to_do, skipped, gone, diverged, conflict, rejected, write_units, read_units, assumed_write_units,
        estimated_write_units, updated_at) WHERE run = new.run AND segment = new.segment;
END;

CREATE TRIGGER pages_under_way_added AFTER INSERT ON pages_under_way BEGIN
    UPDATE pages_under_way SET sum = checksum(id, run, segment, session, page, items) WHERE id = new.id;
END;

CREATE TRIGGER events_added AFTER INSERT ON events BEGIN
    UPDATE events SET sum = checksum(id, event, behind) WHERE id = new.id;
END;

CREATE TRIGGER kept_added AFTER INSERT ON kept BEGIN
    UPDATE kept SET sum = checksum(name, value) WHERE name = new.name;
END;
CREATE TRIGGER kept_changed AFTER UPDATE OF value ON kept BEGIN
    UPDATE kept SET sum = checksum(name, value) WHERE name = new.name;
END;

CREATE TRIGGER there_before_added AFTER INSERT ON there_before BEGIN
    UPDATE there_before SET sum = item_checksum(key, path, run, value) WHERE key = new.key AND path = new.path;
    INSERT INTO tallies (run, what, n, proof) VALUES (new.run, 2, 1, (new.run * 8 + 2) * 4294967296 + 1)
        ON CONFLICT (run, what) DO UPDATE SET n = n + 1, proof = proof + 1;
END;
CREATE TRIGGER there_before_changed AFTER UPDATE OF run, value ON there_before BEGIN
    UPDATE there_before SET sum = item_checksum(key, path, run, value) WHERE key = new.key AND path = new.path;
END;
CREATE TRIGGER there_before_moved AFTER UPDATE OF run ON there_before WHEN old.run <> new.run BEGIN
    UPDATE tallies SET n = n - 1, proof = proof - 1 WHERE run = old.run AND what = 2;
    INSERT INTO tallies (run, what, n, proof) VALUES (new.run, 2, 1, (new.run * 8 + 2) * 4294967296 + 1)
        ON CONFLICT (run, what) DO UPDATE SET n = n + 1, proof = proof + 1;
END;

CREATE TRIGGER pre_images_added AFTER INSERT ON pre_images WHEN new.kind = 'value' AND new.refused = 0 BEGIN
    INSERT INTO tallies (run, what, n, proof) VALUES (new.run, 1, 1, (new.run * 8 + 1) * 4294967296 + 1)
        ON CONFLICT (run, what) DO UPDATE SET n = n + 1, proof = proof + 1;
END;
CREATE TRIGGER pre_images_refused AFTER UPDATE OF refused ON pre_images
    WHEN new.kind = 'value' AND old.refused = 0 AND new.refused = 1 BEGIN
    UPDATE tallies SET n = n - 1, proof = proof - 1 WHERE run = new.run AND what = 1;
END;

CREATE TRIGGER failures_added AFTER INSERT ON failures WHEN new.status = 'open' BEGIN
    INSERT INTO tallies (run, what, n, proof) VALUES (new.run, 3, 1, (new.run * 8 + 3) * 4294967296 + 1)
        ON CONFLICT (run, what) DO UPDATE SET n = n + 1, proof = proof + 1;
END;
CREATE TRIGGER failures_changed AFTER UPDATE OF status ON failures WHEN old.status <> new.status BEGIN
    INSERT INTO tallies (run, what, n, proof) VALUES (new.run, 3, 1, (new.run * 8 + 3) * 4294967296 + 1)
        ON CONFLICT (run, what) DO UPDATE SET n = n + iif(new.status = 'open', 1, -1),
            proof = proof + iif(new.status = 'open', 1, -1);
END;

CREATE TRIGGER diverged_added AFTER INSERT ON diverged WHEN new.status = 'open' BEGIN
    INSERT INTO tallies (run, what, n, proof) VALUES (new.run, 4, 1, (new.run * 8 + 4) * 4294967296 + 1)
        ON CONFLICT (run, what) DO UPDATE SET n = n + 1, proof = proof + 1;
END;
CREATE TRIGGER diverged_changed AFTER UPDATE OF status ON diverged WHEN old.status <> new.status BEGIN
    INSERT INTO tallies (run, what, n, proof) VALUES (new.run, 4, 1, (new.run * 8 + 4) * 4294967296 + 1)
        ON CONFLICT (run, what) DO UPDATE SET n = n + iif(new.status = 'open', 1, -1),
            proof = proof + iif(new.status = 'open', 1, -1);
END;

CREATE TRIGGER failures_summed AFTER INSERT ON failures BEGIN
    UPDATE failures SET sum = checksum(id, run, key, segment, outcome, reason, attempts, first_at, last_at, status,
        resolved_as) WHERE id = new.id;
END;
CREATE TRIGGER failures_summed_again AFTER UPDATE OF run, key, segment, outcome, reason, attempts, first_at, last_at,
    status, resolved_as ON failures BEGIN
    UPDATE failures SET sum = checksum(id, run, key, segment, outcome, reason, attempts, first_at, last_at, status,
        resolved_as) WHERE id = new.id;
END;

CREATE TRIGGER diverged_summed AFTER INSERT ON diverged BEGIN
    UPDATE diverged SET sum = checksum(id, run, key, segment, paths, first_at, last_at, status, resolved_as) WHERE
        id = new.id;
END;
CREATE TRIGGER diverged_summed_again AFTER UPDATE OF run, key, segment, paths, first_at, last_at, status, resolved_as
    ON diverged BEGIN
    UPDATE diverged SET sum = checksum(id, run, key, segment, paths, first_at, last_at, status, resolved_as) WHERE
        id = new.id;
END;

CREATE TRIGGER accepted_summed AFTER INSERT ON accepted BEGIN
    UPDATE accepted SET sum = checksum(run, finding, at) WHERE run = new.run AND finding = new.finding;
END;

CREATE TRIGGER verifications_summed AFTER INSERT ON verifications BEGIN
    UPDATE verifications SET sum = checksum(run, stage, truth, repair, flag_version, due, wanted, seed,
        run_segments, large, report, report_hash) WHERE run = new.run;
END;
CREATE TRIGGER verifications_summed_again AFTER UPDATE OF stage, truth, repair, flag_version, due, wanted, seed,
    run_segments, large, report, report_hash ON verifications BEGIN
    UPDATE verifications SET sum = checksum(run, stage, truth, repair, flag_version, due, wanted, seed,
        run_segments, large, report, report_hash) WHERE run = new.run;
END;

CREATE TRIGGER segment_verdicts_summed AFTER INSERT ON segment_verdicts BEGIN
    UPDATE segment_verdicts SET sum = checksum(run, segment, matching, missing, stale, unexpected, raced, repaired)
        WHERE run = new.run AND segment = new.segment;
END;
CREATE TRIGGER segment_verdicts_summed_again AFTER UPDATE OF matching, missing, stale, unexpected, raced, repaired ON
    segment_verdicts BEGIN
    UPDATE segment_verdicts SET sum = checksum(run, segment, matching, missing, stale, unexpected, raced, repaired)
        WHERE run = new.run AND segment = new.segment;
END;

-- If the first pass ran with a version before this one, its pairs were not recorded.
INSERT INTO kept (name, value) SELECT 'pairs_unknown', 'yes' WHERE EXISTS (SELECT 1 FROM runs WHERE phase = 'expand');
