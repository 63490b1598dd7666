-- Version 2.

-- Landmarks of a row's faces, and then of its candidates, packed (store.PackLandmarks).
ALTER TABLE results ADD COLUMN landmarks bytea;

-- Owners whose unclean end is counted in suspects. Their file may still be there, should the process that found it have
-- died before removing it.
CREATE TABLE deaths (owner text PRIMARY KEY);

-- Rows of the list up to the position, those of other nodes too; -1 when nobody counted them.
ALTER TABLE sources ADD COLUMN list_rows bigint NOT NULL DEFAULT 0;
UPDATE sources SET list_rows = CASE WHEN EXISTS (SELECT FROM settings WHERE key = 'node' AND value <> '')
	OR EXISTS (SELECT FROM settings WHERE key = 'merge') AND NOT complete THEN -1 ELSE rows END;

-- Which sources are being imported: few, of however many there are.
CREATE INDEX sources_imported ON sources (importer) WHERE importer IS NOT NULL;

-- The id of a group's end record, once that was read.
ALTER TABLE groups ADD COLUMN ended bigint;
CREATE INDEX groups_ended ON groups (source, ended) WHERE ended IS NOT NULL;

-- What each process last said of its own work (store.Progress).
ALTER TABLE owners ADD COLUMN rate double precision NOT NULL DEFAULT 0,
	ADD COLUMN held_back_by text NOT NULL DEFAULT '',
	ADD COLUMN why text NOT NULL DEFAULT '';

-- Checksums of a result with its faces, of a source, and of all settings (store/checksum.go); none if an
-- earlier release wrote them.
ALTER TABLE results ADD COLUMN checksum int;
ALTER TABLE sources ADD COLUMN checksum int;
ALTER TABLE job ADD COLUMN settings_checksum int;

-- Hashes of the body and of the picture, where the job asked for them (store.Hashes).
ALTER TABLE results ADD COLUMN sha256 bytea;
ALTER TABLE results ADD COLUMN phash bytea;

-- Checksum of the image's bytes, as the list has it (store.Row).
ALTER TABLE rows ADD COLUMN hash text;

-- Of rows that are files here: what the file looked like (store.File).
CREATE TABLE files (
	id bigint PRIMARY KEY,
	size bigint NOT NULL,
	mtime bigint NOT NULL, -- Unix nanoseconds
	byte_offset bigint NOT NULL
);
