-- Version 2.

-- Landmarks of a row's faces, and then of its candidates, packed (store.PackLandmarks).
ALTER TABLE results ADD COLUMN landmarks bytea;

-- Owners whose unclean end is counted in suspects. Their file may still be there, should the process that found it have
-- died before removing it.
CREATE TABLE deaths (owner text PRIMARY KEY);
