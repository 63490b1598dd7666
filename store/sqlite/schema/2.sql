-- Version 2: rows that were done on arrival, in a user's table, are counted where they lie.
ALTER TABLE {shards} ADD COLUMN already INTEGER NOT NULL DEFAULT 0;
ALTER TABLE {sources} DROP COLUMN already_done;
