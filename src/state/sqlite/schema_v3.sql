-- Version 3 of a state file counts the items that are not computable. A released version never changes.

-- The number of scanned items for which an expression or conversion of the plan has no result.
ALTER TABLE segments ADD COLUMN not_computable INTEGER NOT NULL DEFAULT 0;

DROP TRIGGER segments_added;
DROP TRIGGER segments_changed;

-- The checksum of a segment now covers the new column. Update only rows whose checksum of layout 2 is right, so that a
-- damaged row does not get a right checksum.
UPDATE segments SET sum = checksum(run, segment, status, start_key, pages, scanned, applied, already_applied,
    nothing_to_do, skipped, gone, diverged, conflict, rejected, not_computable, write_units, read_units,
    assumed_write_units, estimated_write_units, updated_at)
    WHERE sum = checksum(run, segment, status, start_key, pages, scanned, applied, already_applied, nothing_to_do,
        skipped, gone, diverged, conflict, rejected, write_units, read_units, assumed_write_units,
        estimated_write_units, updated_at);

CREATE TRIGGER segments_added AFTER INSERT ON segments BEGIN
    UPDATE segments SET sum = checksum(run, segment, status, start_key, pages, scanned, applied, already_applied,
        nothing_to_do, skipped, gone, diverged, conflict, rejected, not_computable, write_units, read_units,
        assumed_write_units, estimated_write_units, updated_at) WHERE run = new.run AND segment = new.segment;
END;
CREATE TRIGGER segments_changed AFTER UPDATE OF status, start_key, pages, scanned, applied, already_applied,
    nothing_to_do, skipped, gone, diverged, conflict, rejected, not_computable, write_units, read_units,
    assumed_write_units, estimated_write_units, updated_at ON segments BEGIN
    UPDATE segments SET sum = checksum(run, segment, status, start_key, pages, scanned, applied, already_applied,
        nothing_to_do, skipped, gone, diverged, conflict, rejected, not_computable, write_units, read_units,
        assumed_write_units, estimated_write_units, updated_at) WHERE run = new.run AND segment = new.segment;
END;
