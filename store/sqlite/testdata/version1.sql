-- A job as version 1 of the schema left it, killed in mid-run. Made by sqlite3's .dump.
PRAGMA application_id = 1718838126;
BEGIN TRANSACTION;
CREATE TABLE "detectors" (
	number INTEGER PRIMARY KEY,
	fingerprint TEXT NOT NULL UNIQUE
) STRICT;
INSERT INTO "detectors" VALUES(1,'cascade/facefinder,20,0.1,1.1');
CREATE TABLE "faces" (
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
INSERT INTO "faces" VALUES(1,0,10,20,50,50,17.25,0.5);
INSERT INTO "faces" VALUES(1,1,11,20,50,50,17.25,0.5);
INSERT INTO "faces" VALUES(5,0,10,20,50,50,17.25,0.5);
INSERT INTO "faces" VALUES(5,1,11,20,50,50,17.25,0.5);
INSERT INTO "faces" VALUES(1099511627777,0,10,20,50,50,17.25,0.5);
INSERT INTO "faces" VALUES(1099511627777,1,11,20,50,50,17.25,0.5);
CREATE TABLE "job" (
	one INTEGER PRIMARY KEY CHECK (one = 1),
	version INTEGER NOT NULL,
	generation INTEGER NOT NULL,
	round REAL NOT NULL
) STRICT;
INSERT INTO "job" VALUES(1,1,5,4.0);
CREATE TABLE "owners" (
	number INTEGER PRIMARY KEY,
	id TEXT NOT NULL UNIQUE,
	host TEXT NOT NULL,
	pid INTEGER NOT NULL
) STRICT;
INSERT INTO "owners" VALUES(1,'gone','old',7);
CREATE TABLE "results" (
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
INSERT INTO "results" VALUES(1,NULL,200,'jpeg',500,375,61234,2,1,0,1,231,1760000000001,'http://b.example/',X'020406080000C03F00000000');
INSERT INTO "results" VALUES(2,'timeout',0,NULL,0,0,0,0,3,0,NULL,0,1760000000000,NULL,NULL);
INSERT INTO "results" VALUES(5,NULL,200,'jpeg',500,375,61234,2,1,0,1,231,1760000000005,'http://b.example/',X'020406080000C03F00000000');
INSERT INTO "results" VALUES(6,'timeout',0,NULL,0,0,0,0,3,0,NULL,0,1760000000000,NULL,NULL);
INSERT INTO "results" VALUES(12,'bad_url',0,NULL,0,0,0,0,0,0,NULL,0,1795342809967,NULL,NULL);
INSERT INTO "results" VALUES(1099511627777,NULL,200,'jpeg',500,375,61234,2,1,0,1,231,2859511627777,'http://b.example/',X'020406080000C03F00000000');
INSERT INTO "results" VALUES(1099511627778,'timeout',0,NULL,0,0,0,0,3,0,NULL,0,1760000000000,NULL,NULL);
INSERT INTO "results" VALUES(1099511627788,'bad_url',0,NULL,0,0,0,0,0,0,NULL,0,1795342809991,NULL,NULL);
CREATE TABLE "settings" (
	key TEXT PRIMARY KEY,
	value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "settings" VALUES('min-face','20');
CREATE TABLE "shards" (
	lo INTEGER PRIMARY KEY,
	hi INTEGER NOT NULL,
	source INTEGER NOT NULL,
	rows INTEGER NOT NULL,
	pending INTEGER NOT NULL,
	owner INTEGER,         -- number in owners; none: free
	generation INTEGER NOT NULL DEFAULT 0,
	expires INTEGER        -- lease clock, nanoseconds
) STRICT;
INSERT INTO "shards" VALUES(1,4,0,4,2,1,3,7272706032566);
INSERT INTO "shards" VALUES(5,8,0,4,2,1,5,7272718741659);
INSERT INTO "shards" VALUES(9,10,0,2,2,NULL,0,NULL);
INSERT INTO "shards" VALUES(11,12,0,2,1,NULL,0,NULL);
INSERT INTO "shards" VALUES(1099511627777,1099511627780,1,4,2,1,4,7272717051893);
INSERT INTO "shards" VALUES(1099511627781,1099511627781,1,1,1,NULL,0,NULL);
INSERT INTO "shards" VALUES(1099511627782,1099511627786,1,5,5,NULL,0,NULL);
INSERT INTO "shards" VALUES(1099511627787,1099511627788,1,2,1,NULL,0,NULL);
CREATE TABLE "sources" (
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
INSERT INTO "sources" VALUES(0,'a.txt','txt','{}',99,12,X'010203',12,0,12,1,0,0,8.0,NULL,1,NULL);
INSERT INTO "sources" VALUES(1,'b.csv','csv','{}',99,12,X'010203',12,0,1099511627788,1,0,0,4.0,NULL,2,NULL);
CREATE TABLE "suspects" (
	id INTEGER PRIMARY KEY,
	ends INTEGER NOT NULL
) STRICT;
INSERT INTO "suspects" VALUES(4,1);
CREATE TABLE "tallies" (
	source INTEGER NOT NULL,
	reason TEXT NOT NULL,
	rows INTEGER NOT NULL,
	faces INTEGER NOT NULL,
	images_with_faces INTEGER NOT NULL,
	PRIMARY KEY (source, reason)
) STRICT, WITHOUT ROWID;
INSERT INTO "tallies" VALUES(0,'',2,4,2);
INSERT INTO "tallies" VALUES(0,'bad_url',1,0,0);
INSERT INTO "tallies" VALUES(0,'timeout',2,0,0);
INSERT INTO "tallies" VALUES(1,'',1,2,1);
INSERT INTO "tallies" VALUES(1,'bad_url',1,0,0);
INSERT INTO "tallies" VALUES(1,'timeout',1,0,0);
CREATE TABLE "urls" (
	"id" INTEGER PRIMARY KEY,
	"url" TEXT NOT NULL,
	"done" INTEGER NOT NULL DEFAULT 0,
	"group" TEXT, -- value of --group-column
	"kept" TEXT   -- values of --keep-columns, a JSON array
) STRICT;
INSERT INTO "urls" VALUES(1,'http://a.example/a',1,NULL,NULL);
INSERT INTO "urls" VALUES(2,'http://a.example/b',1,NULL,NULL);
INSERT INTO "urls" VALUES(3,'http://a.example/c',0,NULL,NULL);
INSERT INTO "urls" VALUES(4,'http://a.example/d',0,NULL,NULL);
INSERT INTO "urls" VALUES(5,'http://a.example/e',1,NULL,NULL);
INSERT INTO "urls" VALUES(6,'http://a.example/f',1,NULL,NULL);
INSERT INTO "urls" VALUES(7,'http://a.example/g',0,NULL,NULL);
INSERT INTO "urls" VALUES(8,'http://a.example/h',0,NULL,NULL);
INSERT INTO "urls" VALUES(9,'http://a.example/i',0,NULL,NULL);
INSERT INTO "urls" VALUES(10,'http://a.example/j',0,NULL,NULL);
INSERT INTO "urls" VALUES(11,'http://a.example/k',0,NULL,NULL);
INSERT INTO "urls" VALUES(12,'http://a.example/l',1,NULL,NULL);
INSERT INTO "urls" VALUES(1099511627777,'http://a.example/a',1,'g','["x","y"]');
INSERT INTO "urls" VALUES(1099511627778,'http://a.example/b',1,'g','["x","y"]');
INSERT INTO "urls" VALUES(1099511627779,'http://a.example/c',0,'g','["x","y"]');
INSERT INTO "urls" VALUES(1099511627780,'http://a.example/d',0,'g','["x","y"]');
INSERT INTO "urls" VALUES(1099511627781,'http://a.example/e',0,'g','["x","y"]');
INSERT INTO "urls" VALUES(1099511627782,'http://a.example/f',0,'g','["x","y"]');
INSERT INTO "urls" VALUES(1099511627783,'http://a.example/g',0,'g','["x","y"]');
INSERT INTO "urls" VALUES(1099511627784,'http://a.example/h',0,'g','["x","y"]');
INSERT INTO "urls" VALUES(1099511627785,'http://a.example/i',0,'g','["x","y"]');
INSERT INTO "urls" VALUES(1099511627786,'http://a.example/j',0,'g','["x","y"]');
INSERT INTO "urls" VALUES(1099511627787,'http://a.example/k',0,'g','["x","y"]');
INSERT INTO "urls" VALUES(1099511627788,'http://a.example/l',1,'g','["x","y"]');
CREATE INDEX "shards_open" ON "shards" (source, lo) WHERE owner IS NULL AND pending > 0;
CREATE INDEX "shards_leased" ON "shards" (owner) WHERE owner IS NOT NULL;
COMMIT;
