// Package open opens jobs by their names, whichever database they are in: postgres://… is a server's,
// anything else a file's. It is the one place that knows all implementations of a job.
package open

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"facescan/store"
	"facescan/store/postgres"
	"facescan/store/sqlite"
)

// ErrNoJob says that a file is not a job, and has none on one of its tables, or is not there.
var ErrNoJob = fmt.Errorf("there is no job: %w", fs.ErrNotExist)

// IsURL reports whether a name is a database's URL, and not a file's.
func IsURL(name string) bool { return postgres.IsURL(name) }

// Redact replaces the passwords of all database URLs in a text.
func Redact(text string) string { return postgres.Redact(text) }

// WithoutPassword is a name as it may be shown.
func WithoutPassword(name string) string { return postgres.WithoutPassword(name) }

// Existing opens a job that is there. The error is fs.ErrNotExist if there is none: ErrNoJob for a file.
func Existing(ctx context.Context, name string) (store.Job, error) {
	return find(ctx, name, sqlite.Open, func(ctx context.Context, path string) (store.Job, error) {
		table, err := sqlite.InspectTable(ctx, path, sqlite.TableOptions{})
		if table.New {
			return nil, fs.ErrNotExist
		}
		if err != nil {
			return nil, err
		}
		return sqlite.OpenTable(ctx, path, sqlite.TableOptions{})
	})
}

// ForReading opens it for reading only: a job file, its folder and what lies beside it stay as they are.
func ForReading(ctx context.Context, name string) (store.Job, error) {
	return find(ctx, name, sqlite.OpenForReading, sqlite.OpenTableForReading)
}

// find opens a job file by the one, a job on a table of a file by the other.
func find(ctx context.Context, name string, job, table func(context.Context, string) (store.Job,
	error)) (store.Job, error) {
	if IsURL(name) {
		return postgres.Open(ctx, name)
	}
	is, err := sqlite.IsJob(name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if is {
		return job(ctx, name)
	}
	if is, err := sqlite.IsDatabase(name); err != nil || !is {
		return nil, ErrNoJob
	}
	j, err := table(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoJob
	}
	return j, err
}

// OrCreate opens a job, making it when it is new. A file that is something else is refused.
func OrCreate(ctx context.Context, name string) (store.Job, error) {
	if IsURL(name) {
		return postgres.Create(ctx, name)
	}
	job, err := sqlite.Create(ctx, name)
	if !errors.Is(err, fs.ErrExist) {
		return job, err
	}
	is, err := sqlite.IsJob(name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if !is {
		return nil, fmt.Errorf("%s exists and is not a facescan job; it is left alone: name another file "+
			"with --db", name)
	}
	return sqlite.Open(ctx, name)
}
