package segment

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"facescan/store"
	"facescan/store/sqlite"
)

// rowsSetting is how many rows the part has of each source, as a JSON array; -1 where its list is not read
// to the end.
const rowsSetting = store.PublishSetting + "rows"

// jsonOf is a list of names or of numbers as a setting.
func jsonOf[T string | int64](list []T) string {
	text, err := json.Marshal(list)
	if err != nil {
		panic(err) // these always marshal
	}
	return string(text)
}

// batchRows is how many rows one transaction takes in.
const batchRows = 5000

// opened is a local copy of a segment.
type opened struct {
	file     File
	from     string // its path where it was published
	path     string // of the copy
	job      store.Job
	settings map[string]string
	sources  []store.Source
	rows     []int64 // by source, from rowsSetting
}

// openAll copies segments to a local folder and opens them.
func openAll(ctx context.Context, dir string, files []File, to string) (all []*opened, err error) {
	defer func() {
		if err != nil {
			closeAll(all)
			all = nil
		}
	}()
	for _, f := range files {
		o := &opened{file: f, from: filepath.Join(dir, f.Name)}
		if o.path, err = fetch(ctx, dir, f, to); err != nil {
			return all, err
		}
		if o.job, err = sqlite.OpenForReading(ctx, o.path); err == nil {
			all = append(all, o)
			err = o.read(ctx)
		}
		if err != nil {
			return all, o.damaged(err)
		}
	}
	return all, nil
}

// damaged says which segment cannot be read, and how to go on without it.
func (o *opened) damaged(err error) error {
	return fmt.Errorf("segment %s: %w; without it (remove it) its rows are fetched again", o.from, err)
}

// read reads what a segment tells of itself.
func (o *opened) read(ctx context.Context) (err error) {
	if err := sqlite.CheckSealed(ctx, o.job); err != nil {
		return err
	}
	if o.settings, err = o.job.Settings(ctx); err != nil {
		return err
	}
	_ = json.Unmarshal([]byte(o.settings[rowsSetting]), &o.rows) // without it nothing is known
	o.sources, err = o.job.Sources(ctx)
	return err
}

func (o *opened) published() store.Publishable { return o.job.(store.Publishable) }

func closeAll(all []*opened) {
	for _, o := range all {
		_ = o.job.Close()
		_ = os.Remove(o.path)
	}
}

// list is what segments of a part tell of one of its lists.
type list struct {
	store.Source       // at the furthest position that any of them knows
	whole        int64 // rows of the part up to there; -1 when it is not known, or not the end
}

// further returns the one of two that has read more.
func (l list) further(other list) list {
	if other.Position.Line > l.Position.Line || other.Position.Line == l.Position.Line && l.whole < 0 {
		return other
	}
	return l
}

// add notes what somebody knows of a part's lists.
func add(lists []list, sources []store.Source, rows []int64) []list {
	for k, s := range sources {
		l := list{s, -1}
		if k < len(rows) {
			l.whole = rows[k]
		}
		if k == len(lists) {
			lists = append(lists, l)
		} else {
			lists[k] = lists[k].further(l)
		}
	}
	return lists
}

// listsOf are the lists of a part, as its segments know them together.
func listsOf(segments []*opened) (lists []list) {
	for _, o := range segments {
		lists = add(lists, o.sources, o.rows)
	}
	return lists
}

// isRead reports whether lists were read to their ends.
func isRead(lists []list) bool {
	return !slices.ContainsFunc(lists, func(l list) bool { return l.whole < 0 })
}

// newest is the one of several segments that was published last.
func newest(segments []*opened) *opened {
	return slices.MaxFunc(segments, func(a, b *opened) int {
		return cmp.Compare(a.file.Publication, b.file.Publication)
	})
}

// settingsOf are the settings of the part that a segment is of, without those of the segment itself.
func settingsOf(settings map[string]string) map[string]string {
	out := maps.Clone(settings)
	maps.DeleteFunc(out, func(key, _ string) bool {
		return strings.HasPrefix(key, store.PublishSetting) || strings.HasPrefix(key, store.OutputSetting) ||
			key == store.MergeSetting || key == store.MergePartsSetting || key == store.MergeInputsSetting ||
			key == store.ForgetSetting
	})
	return out
}

// latest visits the rows of one source that some segments have, in id order, each in its latest version; one
// that is forgotten in any of them is forgotten.
func latest(ctx context.Context, segments []*opened, source int, visit func(store.PublishedRow) error) error {
	type cursor struct {
		of   *opened
		row  store.PublishedRow
		more bool
		next func() (store.PublishedRow, error, bool)
	}
	var cursors []*cursor
	step := func(c *cursor) (err error) {
		if c.row, err, c.more = c.next(); err != nil {
			err = c.of.damaged(err)
		}
		return err
	}
	for _, o := range segments {
		c := &cursor{of: o}
		var stop func()
		c.next, stop = iter.Pull2(o.published().Published(ctx, source))
		defer stop()
		if err := step(c); err != nil {
			return err
		}
		cursors = append(cursors, c)
	}
	for {
		var best *cursor
		for _, c := range cursors {
			if c.more && (best == nil || c.row.ID < best.row.ID ||
				c.row.ID == best.row.ID && c.row.Publication > best.row.Publication) {
				best = c
			}
		}
		if best == nil {
			return nil
		}
		row := best.row
		for _, c := range cursors {
			if c.more && c.row.ID == row.ID {
				if !store.SameURL(c.row.URL, row.URL) {
					return fmt.Errorf("row %d is %q in one segment, %q in another", row.ID, row.URL,
						c.row.URL)
				}
				if c.row.Outlasts(&row.MergedRow) {
					row = c.row
				}
				if err := step(c); err != nil {
					return err
				}
			}
		}
		if err := visit(row); err != nil {
			return err
		}
	}
}

// takeLatest takes the latest versions of a source's rows into a job, and returns how many rows that were,
// and how many of them are done.
func takeLatest(ctx context.Context, job store.Publishable, segments []*opened, source int, p store.Position,
	complete bool, shardSize int, keepPublications bool) (n, done int64, err error) {
	var batch []store.PublishedRow
	flush := func() error {
		err := job.TakeIn(ctx, source, batch, p, complete, shardSize)
		for i := range batch {
			if !batch[i].End {
				n++
			}
		}
		batch = batch[:0]
		return err
	}
	err = latest(ctx, segments, source, func(r store.PublishedRow) error {
		if !keepPublications {
			r.Publication = 0
		}
		if r.Result != nil {
			done++
		}
		if batch = append(batch, r); len(batch) < batchRows {
			return nil
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	return n, done, err
}

// build makes a job file of the latest versions of the rows of some segments. Like a merge, it does not
// claim to have all rows of its lists; it names the part it holds if it has all rows of that.
func build(ctx context.Context, path string, segments []*opened, lists []list) (err error) {
	job, err := sqlite.Create(ctx, path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, job.Close()) }()
	settings := settingsOf(newest(segments).settings)
	settings[store.MergeSetting] = "done"
	if err := job.Set(ctx, settings); err != nil {
		return err
	}
	whole := true
	rows := make([]int64, len(lists))
	for k, l := range lists {
		if _, err := job.AddSource(ctx, l.Source); err != nil {
			return err
		}
		n, _, err := takeLatest(ctx, job.(store.Publishable), segments, k, l.Position, false, shardSize, true)
		if err != nil {
			return err
		}
		rows[k] = l.whole
		whole = whole && n == l.whole
	}
	own := map[string]string{rowsSetting: jsonOf(rows)}
	if node, err := store.ParseNode(settings[store.NodeSetting]); err == nil && whole {
		own[store.MergePartsSetting] = store.Nodes{node}.String()
	}
	if err := job.Set(ctx, own); err != nil {
		return err
	}
	return sqlite.CloseWhole(ctx, job)
}

// shardSize of segments, in which nothing is ever claimed.
const shardSize = 1_000_000
