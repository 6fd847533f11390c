-- Views through which a reader sees a file of layout 2 as a file of layout 3. If the checksum of a row is wrong in the
-- file, the row has no checksum in the view, so the row counts as damaged there too.
CREATE TEMP VIEW segments AS SELECT run, segment, status, start_key, pages, scanned, applied, already_applied,
    nothing_to_do, skipped, gone, diverged, conflict, rejected, 0 AS not_computable, write_units, read_units,
    assumed_write_units, estimated_write_units, updated_at,
    iif(sum IS checksum(run, segment, status, start_key, pages, scanned, applied, already_applied, nothing_to_do,
        skipped, gone, diverged, conflict, rejected, write_units, read_units, assumed_write_units,
        estimated_write_units, updated_at),
    checksum(run, segment, status, start_key, pages, scanned, applied, already_applied, nothing_to_do, skipped, gone,
        diverged, conflict, rejected, 0, write_units, read_units, assumed_write_units, estimated_write_units,
        updated_at), NULL) AS sum FROM main.segments;
