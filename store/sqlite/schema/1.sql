-- Version 1. Tokens in braces are names: those of a job's own tables, or of a user's table and ours beside it.

-- The rows. done is 0 or 1: both are stored in the record's header and take no byte of their own, so that marking
-- a row done never moves it. In a user's file the table is there already.
CREATE TABLE IF NOT EXISTS {urls} (
	{id} INTEGER PRIMARY KEY,
	{url} TEXT NOT NULL,
	{done} INTEGER NOT NULL DEFAULT 0,
	"group" TEXT, -- value of --group-column
	kept TEXT     -- values of --keep-columns, a JSON array
) STRICT;

-- How done rows ended. No reason means ok. Zero means unknown, and takes no byte.
CREATE TABLE {results} (
	id INTEGER PRIMARY KEY,
	reason TEXT,
	http_status INTEGER NOT NULL,
	format TEXT,
	width INTEGER NOT NULL,
	height INTEGER NOT NULL,
	bytes INTEGER NOT NULL,
	faces INTEGER NOT NULL,   -- how many rows of faces it has
	attempts INTEGER NOT NULL,
	partial INTEGER NOT NULL,
	detector INTEGER,         -- number in detectors
	took INTEGER NOT NULL,    -- milliseconds
	time INTEGER NOT NULL,    -- Unix milliseconds
	final_url TEXT,
	candidates BLOB           -- faces below the threshold, packed
) STRICT;

CREATE TABLE {faces} (
	id INTEGER NOT NULL,
	face INTEGER NOT NULL, -- from 0, best first
	x INTEGER NOT NULL,
	y INTEGER NOT NULL,
	width INTEGER NOT NULL,
	height INTEGER NOT NULL,
	score REAL NOT NULL,
	confidence REAL NOT NULL,
	PRIMARY KEY (id, face)
) STRICT, WITHOUT ROWID;

-- Fingerprints, interned: a result names its detector by a small number.
CREATE TABLE {detectors} (
	number INTEGER PRIMARY KEY,
	fingerprint TEXT NOT NULL UNIQUE
) STRICT;

-- Lists, and how far their import came. start is the source's place in the round of claims (see claim.go).
CREATE TABLE {sources} (
	number INTEGER PRIMARY KEY,
	name TEXT NOT NULL UNIQUE,
	format TEXT NOT NULL,
	options TEXT NOT NULL,
	offset INTEGER NOT NULL DEFAULT 0,
	line INTEGER NOT NULL DEFAULT 0,
	mark BLOB,
	rows INTEGER NOT NULL DEFAULT 0,
	already_done INTEGER NOT NULL DEFAULT 0,
	last_id INTEGER NOT NULL,
	complete INTEGER NOT NULL DEFAULT 0,
	paused INTEGER NOT NULL DEFAULT 0,
	priority INTEGER NOT NULL DEFAULT 0,
	start REAL NOT NULL DEFAULT 0,
	importer INTEGER,      -- number in owners
	generation INTEGER NOT NULL DEFAULT 0,
	expires INTEGER        -- lease clock, nanoseconds
) STRICT;

-- Contiguous ranges of ids; a shard is named by its lowest one. Free shards may be cut and joined at will.
CREATE TABLE {shards} (
	lo INTEGER PRIMARY KEY,
	hi INTEGER NOT NULL,
	source INTEGER NOT NULL,
	rows INTEGER NOT NULL,
	pending INTEGER NOT NULL,
	owner INTEGER,         -- number in owners; none: free
	generation INTEGER NOT NULL DEFAULT 0,
	expires INTEGER        -- lease clock, nanoseconds
) STRICT;
CREATE INDEX {shards_open} ON {shards} (source, lo) WHERE owner IS NULL AND pending > 0;
CREATE INDEX {shards_leased} ON {shards} (owner) WHERE owner IS NOT NULL;

-- Done rows by source and reason; '' is ok. What status sums up, so that it never counts rows.
CREATE TABLE {tallies} (
	source INTEGER NOT NULL,
	reason TEXT NOT NULL,
	rows INTEGER NOT NULL,
	faces INTEGER NOT NULL,
	images_with_faces INTEGER NOT NULL,
	PRIMARY KEY (source, reason)
) STRICT, WITHOUT ROWID;

-- Processes that joined.
CREATE TABLE {owners} (
	number INTEGER PRIMARY KEY,
	id TEXT NOT NULL UNIQUE,
	host TEXT NOT NULL,
	pid INTEGER NOT NULL
) STRICT;

-- Rows that were in a decoder when their owner died, and how often.
CREATE TABLE {suspects} (
	id INTEGER PRIMARY KEY,
	ends INTEGER NOT NULL
) STRICT;

CREATE TABLE {settings} (
	key TEXT PRIMARY KEY,
	value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- One row: the schema's version, the last generation given to a lease, and the round of claims.
CREATE TABLE {job} (
	one INTEGER PRIMARY KEY CHECK (one = 1),
	version INTEGER NOT NULL,
	generation INTEGER NOT NULL,
	round REAL NOT NULL
) STRICT;
INSERT INTO {job} VALUES (1, 0, 0, 0);
