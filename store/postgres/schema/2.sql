-- Version 2.

-- Landmarks of faces, and, in results, those of its candidates; packed (store.PackLandmarks).
ALTER TABLE faces ADD COLUMN landmarks bytea;
ALTER TABLE results ADD COLUMN landmarks bytea;
