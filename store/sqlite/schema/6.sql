-- Version 6: landmarks of faces, and, in results, those of its candidates; packed (store.PackLandmarks).
ALTER TABLE {faces} ADD COLUMN landmarks BLOB;
ALTER TABLE {results} ADD COLUMN landmarks BLOB;
