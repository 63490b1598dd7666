package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"facescan/pipeline/source"
	"facescan/store"
)

// brittle is a session of which a write fails, after some that did not: before it was done, or after.
type brittle struct {
	store.Session
	good  int // writes that are left before
	after bool
	done  bool
}

func (b *brittle) write(do func() error) error {
	if b.done || b.good > 0 {
		b.good--
		return do()
	}
	b.done = true
	if b.after {
		if err := do(); err != nil {
			return err
		}
	}
	return fmt.Errorf("write: %w", store.ErrFull)
}

func (b *brittle) Append(ctx context.Context, l store.SourceLease, rows []store.NewRow, p store.Position,
	complete bool, shardSize int) error {
	return b.write(func() error { return b.Session.Append(ctx, l, rows, p, complete, shardSize) })
}

func (b *brittle) AppendAll(ctx context.Context, all []store.Addition, shardSize int) error {
	return b.write(func() error { return b.Session.AppendAll(ctx, all, shardSize) })
}

func (b *brittle) Fill(ctx context.Context, l store.SourceLease, rows []store.NewRow, p store.Position,
	complete bool, shardSize int) error {
	return b.write(func() error { return b.Session.Fill(ctx, l, rows, p, complete, shardSize) })
}

// TestImportGoesOn: whichever write of an import fails, before it was done or after, the import is an error,
// and the next one goes on where the job is: every row is there once.
func TestImportGoesOn(t *testing.T) {
	long := lines(0, 6_000)
	for _, c := range []struct {
		what   string
		writes int // at least
		begin  func(i *imports) (specs []source.Spec, rows int)
	}{
		{"a list", 3, func(i *imports) ([]source.Spec, int) {
			return []source.Spec{i.list("a.txt", long)}, 6_000
		}},
		{"many small lists", 2, func(i *imports) (specs []source.Spec, rows int) {
			for n := range 30 {
				specs = append(specs, i.list(fmt.Sprint(n, ".txt"), lines(0, n+1)))
				rows += n + 1
			}
			return specs, rows
		}},
		{"a pipe", 1, func(i *imports) ([]source.Spec, int) {
			return []source.Spec{{Path: "-", Format: "txt", In: strings.NewReader(long)}}, 6_000
		}},
		{"a folder", 2, func(i *imports) ([]source.Spec, int) {
			dir := filepath.Join(i.dir, "album")
			if err := os.Mkdir(dir, 0o755); err != nil {
				i.Fatal(err)
			}
			for n := range firstBatch + 5 {
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(n, ".png")), nil, 0o644); err != nil {
					i.Fatal(err)
				}
			}
			return []source.Spec{{Path: dir, Format: source.Folder}}, firstBatch + 5
		}},
		{"what a merge lacks", 1, func(i *imports) ([]source.Spec, int) {
			return []source.Spec{i.halfMerged(long)}, 6_000
		}},
	} {
		for _, after := range []bool{false, true} {
			failures := 0
			for good, failed := 0, true; failed; good++ {
				i := newImports(t)
				specs, rows := c.begin(i)
				b := &brittle{Session: i.im.Session, good: good, after: after}
				i.im.Session = b
				err := i.im.Import(t.Context(), specs)
				if failed = b.done; failed {
					failures++
				}
				if errors.Is(err, store.ErrFull) != failed || err != nil && !failed {
					t.Fatalf("%s: write %d failed %v: %v", c.what, good, failed, err)
				}
				now, err := i.job.Counts(t.Context())
				if err != nil || int(now.Total) < rows && len(now.ImportIncomplete) == 0 {
					t.Errorf("%s: write %d failed: %d of %d rows, and no source is incomplete; %v", c.what,
						good,
						now.Total, rows, err)
				}
				i.im.Session = b.Session
				for n := range specs {
					if specs[n].In != nil { // the same stream from its start
						specs[n].In = strings.NewReader(long)
					}
				}
				i.read(specs...)
				i.complete(fmt.Sprintf("%s, write %d, after %v", c.what, good, after), rows)
			}
			if failures < c.writes {
				t.Errorf("%s: %d writes failed, want %d at least", c.what, failures, c.writes)
			}
		}
	}
}

// halfMerged makes the job a merge of one of two parts of a list.
func (i *imports) halfMerged(text string) source.Spec {
	i.Helper()
	part := newImportsIn(i.T, i.dir, "part.db")
	spec := part.list("urls.txt", text)
	part.im.Node = store.Node{I: 1, Of: 2}
	if err := part.job.Set(i.Context(), map[string]string{store.NodeSetting: "1/2"}); err != nil {
		i.Fatal(err)
	}
	part.read(spec)
	err := store.Merge(i.Context(), i.job, []store.Job{part.job}, store.MergeOptions{Same: SameList,
		MayBeSame: MayBeSameList, ShardSize: 100,
		SourceName: func(_ store.Job, s store.Source) string { return s.Name }})
	if err != nil {
		i.Fatal(err)
	}
	return spec
}

// complete checks that the job has so many rows, each once, and that its sources were read to their ends.
func (i *imports) complete(when string, rows int) {
	i.Helper()
	n := 0
	for _, err := range i.job.Rows(i.Context(), 0, math.MaxInt64) {
		if err != nil {
			i.Fatal(err)
		}
		n++
	}
	sources, err := i.job.Sources(i.Context())
	if err != nil {
		i.Fatal(err)
	}
	open := slices.ContainsFunc(sources, func(s store.Source) bool { return !s.Complete })
	if n != rows || open {
		i.Errorf("%s: %d rows, want %d; a source is incomplete: %v", when, n, rows, open)
	}
	for _, s := range sources {
		if s.Rows != s.Position.Rows {
			i.Errorf("%s: source %s has %d rows, its position says %d", when, s.Name, s.Rows, s.Position.Rows)
		}
	}
	err = i.job.Verify(i.Context(), store.VerifyOptions{}, func(p store.Problem) {
		i.Errorf("%s: %+v", when,
			p)
	})
	if err != nil {
		i.Fatal(err)
	}
}

// TestColumnsAs: a list goes on with the columns that it was begun with, given again or not, and no others.
func TestColumnsAs(t *testing.T) {
	columns := func(set func(*source.Spec)) source.Spec {
		spec := source.Spec{Path: "a.csv", Format: "csv", IDColumn: "id", GroupColumn: "album",
			GroupEnd:    "$End",
			KeepColumns: []string{"a,b", "c"}}
		set(&spec)
		return spec
	}
	begun := columns(func(*source.Spec) {})
	options, err := json.Marshal(begun)
	if err != nil {
		t.Fatal(err)
	}
	s := store.Source{Name: "a.csv", Options: string(options)}
	for _, c := range []struct {
		set  func(*source.Spec)
		says string // of the refusal
	}{
		{func(*source.Spec) {}, ""},
		{func(spec *source.Spec) { *spec = source.Spec{Path: "a.csv", Format: "csv"} }, ""},
		{func(spec *source.Spec) { spec.URLColumn, spec.IDColumn, spec.GroupColumn = "URL", "ID", "Album" },
			""},
		{func(spec *source.Spec) { spec.KeepColumns = nil }, ""},
		{func(spec *source.Spec) { spec.URLColumn = "image" }, "without --url-column"},
		{func(spec *source.Spec) { spec.IDColumn = "nr" }, "with --id-column id"},
		{func(spec *source.Spec) { spec.GroupColumn = "user" }, "with --group-column album"},
		{func(spec *source.Spec) { spec.GroupEnd = "$END" }, "with --group-end '$End'"},
		{func(spec *source.Spec) { spec.Table = "t" }, "without --table"},
		{func(spec *source.Spec) { spec.HashColumn = "sum" }, "without --verify-hash"},
		{func(spec *source.Spec) { spec.KeepColumns = []string{"c"} }, `with --keep-columns '"a,b",c'`},
		{func(spec *source.Spec) { spec.KeepColumns = []string{"A,B", "c"} },
			`with --keep-columns '"a,b",c'`},
	} {
		given := columns(c.set)
		got, err := asBegun(given, "others", s)
		if c.says == "" && (err != nil || !reflect.DeepEqual(got, begun)) {
			t.Errorf("%+v: %+v, %v", given, got, err)
		}
		var usage *source.UsageError
		if c.says != "" && (!errors.As(err, &usage) || !strings.Contains(err.Error(),
			"was imported "+c.says+":")) {
			t.Errorf("%+v: %v, want %s", given, err, c.says)
		}
	}
}

// TestPrefixThatIsGone: a list that cannot be opened again is an error, and the reader can still be closed.
func TestPrefixThatIsGone(t *testing.T) {
	t.Parallel()
	spec := newImports(t).list("a.txt", lines(0, 5))
	list, err := openList(t.Context(), spec, store.Position{})
	if err != nil {
		t.Fatal(err)
	}
	p := prefix{spec: spec, end: 2, list: list, chunk: make([]source.Row, 3)}
	if err := os.Remove(spec.Path); err != nil {
		t.Fatal(err)
	}
	if rows, err := p.next(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%d rows, %v", len(rows), err)
	}
	if err := p.list.Close(); err != nil {
		t.Error(err)
	}
}
