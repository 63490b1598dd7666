-- Version 4: when an owner joined, by the lease clock, in nanoseconds.
ALTER TABLE {owners} ADD COLUMN joined INTEGER NOT NULL DEFAULT 0;
