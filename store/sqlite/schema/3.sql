-- Version 3: files that a run made of an image, and small pictures of a sample.
ALTER TABLE {results} ADD COLUMN outputs INTEGER; -- bits, none if NULL: 1 its bytes are kept, 2 crops, 4 blurred

CREATE TABLE {thumbnails} (
	id INTEGER PRIMARY KEY,
	faces INTEGER NOT NULL, -- 1 if the image has any
	rank INTEGER NOT NULL,  -- by chance; the lowest stay
	jpeg BLOB NOT NULL
) STRICT;
