-- Version 5: what was read in order and changed since is counted; and groups.
ALTER TABLE {sources} ADD COLUMN changes INTEGER NOT NULL DEFAULT 0;

-- How many times groups were finished.
ALTER TABLE {job} ADD COLUMN finished INTEGER NOT NULL DEFAULT 0;

-- Which rows have a group. In a job made from lists these are its rows themselves, and the table is there already. Of
-- a user's table we note what we counted, since its rows and their values may change.
CREATE TABLE IF NOT EXISTS {members} (
	id INTEGER PRIMARY KEY,
	"group" TEXT NOT NULL
) STRICT;
CREATE INDEX {members_group} ON {members} ("group") WHERE "group" IS NOT NULL;

-- What the members of a group and their results add up to, always. With none of them pending and the import complete it
-- is finished, and has its place in the order of all that were.
CREATE TABLE {groups} (
	source INTEGER NOT NULL,
	name TEXT NOT NULL,
	images INTEGER NOT NULL,
	ok INTEGER NOT NULL,
	failed INTEGER NOT NULL,
	faces INTEGER NOT NULL,
	images_with_faces INTEGER NOT NULL,
	largest_face INTEGER NOT NULL, -- pixels, the longer side
	first INTEGER,                 -- Unix milliseconds
	last INTEGER,
	stale INTEGER NOT NULL,        -- 1 if the three above may be those of a result that is gone
	revision INTEGER NOT NULL DEFAULT 0,
	finished INTEGER,
	PRIMARY KEY (source, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX {groups_finished} ON {groups} (finished) WHERE finished IS NOT NULL;
CREATE INDEX {groups_ready} ON {groups} (source, name) WHERE finished IS NULL AND images = ok + failed;

INSERT INTO {groups} (source, name, images, ok, failed, faces, images_with_faces, largest_face, first, last, stale)
	SELECT m.id >> 40, m."group", count(*), count(r.id) - count(r.reason), count(r.reason), coalesce(sum(r.faces), 0),
		count(*) FILTER (WHERE r.faces > 0), coalesce(max((SELECT max(max(f.width, f.height)) FROM {faces} AS f WHERE f.id = r.id)), 0),
		min(r.time), max(r.time), 0
	FROM {members} AS m LEFT JOIN {results} AS r ON r.id = m.id WHERE m."group" IS NOT NULL GROUP BY m."group", m.id >> 40;
UPDATE {groups} AS g SET revision = 1, finished = n.place
	FROM (SELECT source, name, row_number() OVER (ORDER BY source, name) AS place FROM {groups} WHERE images = ok + failed
		AND source IN (SELECT number FROM {sources} WHERE complete <> 0)
		AND NOT EXISTS (SELECT 1 FROM {settings} WHERE key = 'node' AND value <> '')) AS n
	WHERE n.source = g.source AND n.name = g.name;
UPDATE {job} SET finished = (SELECT count(*) FROM {groups} WHERE finished IS NOT NULL);
