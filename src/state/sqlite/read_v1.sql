-- Views through which a reader sees a file of layout 1 as a file of layout 3. A file of layout 1 has no checksums to
-- check.
CREATE TEMP VIEW identity AS SELECT *, checksum(id, migration, fingerprint, meaning, table_arn, table_id, created_at) AS sum
    FROM main.identity;
CREATE TEMP VIEW runs AS SELECT *, checksum(id, phase, pass, total_segments, status, started_at, ended_at, sessions,
    open_session, lower_bound, abandoned_pages, stop_reason, table_items_estimate, tool_version, looked_through,
    look_write_units, look_read_units) AS sum FROM main.runs;
CREATE TEMP VIEW segments AS SELECT *, 0 AS skipped, 0 AS not_computable, checksum(run, segment, status, start_key,
    pages, scanned, applied, already_applied, nothing_to_do, 0, gone, diverged, conflict, rejected, 0, write_units,
    read_units, assumed_write_units, estimated_write_units, updated_at) AS sum FROM main.segments;
CREATE TEMP VIEW pre_images AS SELECT *, item_checksum(key, run, path, kind, value, wrote, at, refused) AS sum
    FROM main.pre_images;
CREATE TEMP VIEW there_before AS SELECT *, item_checksum(key, path, run, value) AS sum FROM main.there_before;
CREATE TEMP VIEW pages_under_way AS SELECT *, checksum(id, run, segment, session, page, items) AS sum
    FROM main.pages_under_way;
CREATE TEMP VIEW events AS SELECT *, checksum(id, event, behind) AS sum FROM main.events;
CREATE TEMP VIEW kept AS SELECT *, checksum(name, value) AS sum FROM main.kept;
CREATE TEMP VIEW failures AS SELECT *, checksum(id, run, key, segment, outcome, reason, attempts, first_at, last_at,
    status, resolved_as) AS sum FROM main.failures;
CREATE TEMP VIEW diverged AS SELECT *, checksum(id, run, key, segment, paths, first_at, last_at, status, resolved_as)
    AS sum FROM main.diverged;
CREATE TEMP VIEW accepted AS SELECT *, checksum(run, finding, at) AS sum FROM main.accepted;
CREATE TEMP VIEW verifications AS SELECT *, checksum(run, stage, truth, repair, flag_version, due, wanted, seed,
    run_segments, large, report, report_hash) AS sum FROM main.verifications;
CREATE TEMP VIEW segment_verdicts AS SELECT *, checksum(run, segment, matching, missing, stale, unexpected, raced,
    repaired) AS sum FROM main.segment_verdicts;
CREATE TEMP VIEW tallies AS SELECT run, what, n, (run * 8 + what) * 4294967296 + n AS proof FROM (
    SELECT run, 1 AS what, count(*) AS n FROM main.pre_images WHERE kind = 'value' AND refused = 0 GROUP BY run
    UNION ALL SELECT run, 2, count(*) FROM main.there_before GROUP BY run
    UNION ALL SELECT run, 3, count(*) FROM main.failures WHERE status = 'open' GROUP BY run
    UNION ALL SELECT run, 4, count(*) FROM main.diverged WHERE status = 'open' GROUP BY run);
CREATE TEMP VIEW file AS SELECT 1 AS id, 0 AS in_use, 0 AS mark, 0 AS commits;
CREATE TEMP VIEW met_pairs AS SELECT '' AS key, '' AS path, 0 AS run, '' AS kind WHERE 0;
