-- Version 6.

-- Landmarks of a row's faces, and then of its candidates, packed (store.PackLandmarks).
ALTER TABLE {results} ADD COLUMN landmarks BLOB;

-- Rows of the list up to the position, those of other nodes too; -1 when nobody counted them.
ALTER TABLE {sources} ADD COLUMN list_rows INTEGER NOT NULL DEFAULT 0;
UPDATE {sources} SET list_rows = iif(EXISTS (SELECT 1 FROM {settings} WHERE key = 'node' AND value <> '')
	OR EXISTS (SELECT 1 FROM {settings} WHERE key = 'merge') AND complete = 0, -1, rows);

-- Which sources are being imported: few, of however many there are.
CREATE INDEX {sources_imported} ON {sources} (importer) WHERE importer IS NOT NULL;

-- The id of a group's end record, once that was read.
ALTER TABLE {groups} ADD COLUMN ended INTEGER;
CREATE INDEX {groups_ended} ON {groups} (source, ended) WHERE ended IS NOT NULL;

-- Checksums of a result with its faces, of a source, and of all settings (store/checksum.go); none if an earlier
-- release wrote them.
ALTER TABLE {results} ADD COLUMN checksum INTEGER;
ALTER TABLE {sources} ADD COLUMN checksum INTEGER;
ALTER TABLE {job} ADD COLUMN settings_checksum INTEGER;

-- The round of claims is each process's own, in memory.
ALTER TABLE {sources} DROP COLUMN start;
ALTER TABLE {job} DROP COLUMN round;

-- What each process last said of its own work (store.Progress).
ALTER TABLE {owners} ADD COLUMN rate REAL NOT NULL DEFAULT 0;
ALTER TABLE {owners} ADD COLUMN held_back_by TEXT NOT NULL DEFAULT '';
ALTER TABLE {owners} ADD COLUMN why TEXT NOT NULL DEFAULT '';

-- Rows that became done or pending since a job was published last, in the order in which they did. The last entry
-- stays, without a row, so that no number comes twice. A job without entries is not published (store/segment).
CREATE TABLE {unpublished} (
	number INTEGER PRIMARY KEY,
	id INTEGER
) STRICT;

-- In a segment: the publication that each row is of.
CREATE TABLE {publications} (
	id INTEGER PRIMARY KEY,
	publication INTEGER NOT NULL
) STRICT;

-- Hashes of the body and of the picture, where the job asked for them (store.Hashes).
ALTER TABLE {results} ADD COLUMN sha256 BLOB;
ALTER TABLE {results} ADD COLUMN phash BLOB;

-- Checksums of images' bytes, as the list has them (store.Row). In a user's table they are a column.
CREATE TABLE {checksums} (
	id INTEGER PRIMARY KEY, -- of the row
	hash TEXT NOT NULL
) STRICT;

-- Of rows that are files here: what the file looked like (store.File).
CREATE TABLE {files} (
	id INTEGER PRIMARY KEY,
	size INTEGER NOT NULL,
	mtime INTEGER NOT NULL, -- Unix nanoseconds
	offset INTEGER NOT NULL
) STRICT;
