-- Version 1. The job's schema is the search path.

-- The job: one row. id names it wherever it lies; files of processes that work on it have it in their names.
CREATE TABLE job (
	one int PRIMARY KEY CHECK (one = 1),
	version int NOT NULL,
	id uuid NOT NULL
);
INSERT INTO job VALUES (1, 0, gen_random_uuid());

CREATE TABLE settings (
	key text PRIMARY KEY,
	value text NOT NULL
);

-- The rows. That a row is done is that it has a result: a flag beside its URL would have to be set by writing the
-- whole row again. The view urls shows it as a job file does.
CREATE TABLE rows (
	id bigint PRIMARY KEY,
	url text NOT NULL,
	"group" text, -- value of --group-column
	kept text[]   -- values of --keep-columns
);
CREATE INDEX rows_group ON rows (hashtextextended("group", 0)) WHERE "group" IS NOT NULL; -- a value may be of any length

-- How done rows ended. No reason means ok. Zero means unknown.
CREATE TABLE results (
	id bigint PRIMARY KEY,
	bytes bigint NOT NULL,
	took bigint NOT NULL, -- milliseconds
	time timestamptz NOT NULL,
	width int NOT NULL,
	height int NOT NULL,
	faces int NOT NULL, -- how many rows of faces it has
	attempts int NOT NULL,
	detector int,       -- number in detectors
	http_status smallint NOT NULL,
	partial boolean NOT NULL,
	outputs smallint NOT NULL, -- files made of the image: 1 its bytes are kept, 2 crops, 4 blurred
	reason text,
	format text,
	final_url text,
	candidates real[]   -- faces below the threshold: x, y, width, height, score, confidence of each
);

CREATE VIEW urls AS
	SELECT u.id, u.url, CASE WHEN r.id IS NULL THEN 0 ELSE 1 END AS done, u."group", u.kept
	FROM rows AS u LEFT JOIN results AS r ON r.id = u.id;

CREATE TABLE faces (
	id bigint NOT NULL,
	face int NOT NULL, -- from 0, best first
	x int NOT NULL,
	y int NOT NULL,
	width int NOT NULL,
	height int NOT NULL,
	score double precision NOT NULL,
	confidence double precision NOT NULL,
	PRIMARY KEY (id, face)
);

-- Fingerprints, interned: a result names its detector by a small number.
CREATE TABLE detectors (
	number int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	fingerprint text NOT NULL UNIQUE
);

-- Lists, and how far their import came. A name may be longer than an index entry of the usual kind.
CREATE TABLE sources (
	number int PRIMARY KEY,
	name text NOT NULL,
	format text NOT NULL,
	options text NOT NULL,
	byte_offset bigint NOT NULL DEFAULT 0,
	line bigint NOT NULL DEFAULT 0,
	mark bytea,
	rows bigint NOT NULL DEFAULT 0,
	last_id bigint NOT NULL,
	complete boolean NOT NULL DEFAULT false,
	paused boolean NOT NULL DEFAULT false,
	priority int NOT NULL,
	importer bigint, -- number in owners
	generation bigint NOT NULL DEFAULT 0,
	expires timestamptz,
	EXCLUDE USING hash (name WITH =)
);

-- Contiguous ranges of ids; a shard is named by its lowest one. Free shards may be cut and joined at will. The
-- indexes do not depend on what a commit or a renewal changes, so that these write no index.
CREATE TABLE shards (
	lo bigint PRIMARY KEY,
	hi bigint NOT NULL,
	source int NOT NULL,
	rows bigint NOT NULL,
	pending bigint NOT NULL,
	finished boolean GENERATED ALWAYS AS (pending = 0) STORED,
	owner bigint, -- number in owners; none: free
	generation bigint NOT NULL DEFAULT 0,
	expires timestamptz
) WITH (fillfactor = 70);
CREATE INDEX shards_open ON shards (source, lo) WHERE owner IS NULL AND NOT finished;
CREATE INDEX shards_leased ON shards (owner) WHERE owner IS NOT NULL;

-- Counts leases, so that no two have the same generation.
CREATE SEQUENCE generations;

-- Done rows by source and reason; '' is ok. What status sums up, so that it never counts rows. A process adds to
-- parts of its own: see commit.go.
CREATE TABLE tallies (
	part bigint NOT NULL,
	source int NOT NULL,
	reason text NOT NULL,
	rows bigint NOT NULL,
	faces bigint NOT NULL,
	images_with_faces bigint NOT NULL,
	PRIMARY KEY (part, source, reason)
) WITH (fillfactor = 70);
CREATE SEQUENCE parts;

-- How many rows of a source became other than they may have been read: see store.Frontier. In parts, likewise.
CREATE TABLE changes (
	part bigint NOT NULL,
	source int NOT NULL,
	n bigint NOT NULL,
	PRIMARY KEY (part, source)
) WITH (fillfactor = 70);

-- Groups, and what their rows add up to: see groups.go.
CREATE TABLE groups (
	source int NOT NULL,
	key bytea NOT NULL, -- of the name, which may be of any length
	name text NOT NULL,
	images bigint NOT NULL,
	ok bigint NOT NULL,
	failed bigint NOT NULL,
	faces bigint NOT NULL,
	images_with_faces bigint NOT NULL,
	largest_face int NOT NULL,
	first timestamptz,
	last timestamptz,
	stale boolean NOT NULL, -- the three before may be too much, as results were taken away
	revision bigint NOT NULL DEFAULT 0,
	finished bigint,        -- its place in the order; none while it is not finished
	PRIMARY KEY (source, key)
) WITH (fillfactor = 70);
CREATE INDEX groups_finished ON groups (finished) WHERE finished IS NOT NULL;
CREATE SEQUENCE finishes;

-- Processes that joined, and until when they count as alive.
CREATE TABLE owners (
	number bigint PRIMARY KEY,
	id text NOT NULL UNIQUE,
	host text NOT NULL,
	pid int NOT NULL,
	joined timestamptz NOT NULL,
	expires timestamptz NOT NULL
);
CREATE SEQUENCE owner_numbers;

-- Rows that were in a decoder when their owner died, and how often.
CREATE TABLE suspects (
	id bigint PRIMARY KEY,
	ends int NOT NULL
);

-- Small pictures of a sample of images.
CREATE TABLE thumbnails (
	id bigint PRIMARY KEY,
	faces boolean NOT NULL, -- the image has any
	rank bigint NOT NULL,   -- by chance; the lowest stay
	jpeg bytea NOT NULL
);
