-- Version 6: landmarks of a row's faces, and then of its candidates, packed (store.PackLandmarks).
ALTER TABLE {results} ADD COLUMN landmarks BLOB;
