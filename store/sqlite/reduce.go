package sqlite

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"maps"
	"math"
	"os"
	"slices"

	"facescan/store"
)

// Tally implements store.Job.
func (j *job) Tally(ctx context.Context, by store.Key) iter.Seq2[store.Tally, error] {
	load := j.tally(by)
	if by == store.ByHost {
		load = tallyHosts
	}
	return wrapped("sum the rows up", pages(ctx, j, math.MinInt64, math.MaxInt64, boundResults, load))
}

// tally sums a range up by what SQL can read.
func (j *job) tally(by store.Key) func(t tx, from, to int64) ([]store.Tally, error) {
	key, source, rows := "coalesce(r."+string(by)+", '')", "0", "{results} AS r"
	switch by {
	case store.BySHA256:
		key = "lower(hex(r.sha256))" // empty for none
	case store.ByGroup:
		key, rows = "{group}", rows+" JOIN {urls} AS u ON u.{id} = r.id"
		source = j.sourceSQL("r.id")
	}
	return func(t tx, from, to int64) (page []store.Tally, err error) {
		var n store.Tally
		err = t.scan([]any{&n.Source, &n.Value, &n.Rows, &n.OK, &n.Faces, &n.ImagesWithFaces, &n.Bytes},
			func() { page = append(page, n) },
			"SELECT "+source+", "+key+`, count(*), count(*) FILTER (WHERE r.reason IS NULL),
			sum(r.faces), count(*) FILTER (WHERE r.faces > 0), sum(r.bytes)
			FROM `+rows+" WHERE r.id >= ? AND r.id < ? GROUP BY 1, 2", from, to)
		return page, err
	}
}

// tallyHosts sums a range up by hosts, which are read out of the URLs here.
func tallyHosts(t tx, from, to int64) ([]store.Tally, error) {
	byHost := store.HostTallies{}
	var address string
	var fine bool
	var faces, bytes int64
	err := t.scan([]any{&address, &fine, &faces, &bytes}, func() { byHost.Add(address, fine, faces, bytes) },
		`SELECT {address}, r.reason IS NULL, r.faces, r.bytes FROM {results} AS r JOIN {urls} AS u
		ON u.{id} = r.id WHERE r.id >= ? AND r.id < ?`, from, to)
	return slices.Collect(maps.Values(byHost)), err
}

// Size implements store.Job.
func (j *job) Size(context.Context) (data, log int64, err error) {
	st, err := os.Stat(j.file)
	if err != nil {
		return 0, 0, err
	}
	wal, err := os.Stat(j.file + "-wal")
	if errors.Is(err, fs.ErrNotExist) {
		return st.Size(), 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	return st.Size(), wal.Size(), nil
}
