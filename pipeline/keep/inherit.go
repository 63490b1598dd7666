package keep

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"facescan/store"
	"facescan/store/draft"
)

// TakeOver implements pipeline.Keeper.
func (k *Keeper) TakeOver() error {
	later := func(dir string, err error) {
		k.o.Log.Warn("cannot take over what a process that died left: it waits there", "folder", dir,
			"error", err)
	}
	for _, f := range k.folders() {
		err := k.takeOver(f.kind, f.dir, f.name)
		if err != nil && f.kind == ofBodies {
			return full(err)
		}
		if err != nil {
			later(f.dir, err)
		}
	}
	for _, l := range k.left {
		if err := k.takeOver(l.kind, l.dir, ""); err != nil {
			later(l.dir, err)
		}
	}
	k.rescan()
	return nil
}

// TakeOver finishes what processes that died left in a job's folders, by the results that rows have: do it
// before these are reopened.
func TakeOver(ctx context.Context, job store.Job, log *slog.Logger) error {
	k := &Keeper{o: Options{Job: job, Log: log}}
	all, err := foldersOf(ctx, job)
	if err != nil {
		return err
	}
	for _, f := range all {
		if f.here && f.kind == ofBodies {
			k.archive.add(f.dir)
		}
	}
	k.rescan()
	for _, f := range all {
		err := f.err
		if f.here {
			err = k.takeOver(f.kind, f.dir, "")
		}
		if err != nil {
			return fmt.Errorf("--%s %s: %w", f.kind, f.dir, full(err))
		}
	}
	return nil
}

// takeOver finishes the files of dead processes in a folder.
func (k *Keeper) takeOver(kind, dir, own string) error {
	return dead(kind, dir, own, func(name string) error {
		if kind == ofBodies {
			defer k.rescan() // two that died may have kept the same row
			return k.inherit(dir, name)
		}
		stage := filepath.Join(dir, hidden, name+stageSuffix)
		return picturesOf(kind, dir).repair(context.Background(), k.o.Job, stage)
	})
}

func picturesOf(kind, dir string) pictures {
	if kind == ofCrops {
		return pictures{dir, store.Crops}
	}
	return pictures{dir, store.Blurred}
}

// wanted returns a function that reports whether to keep an entry of an unsealed tar file: if it was made for
// the row's present result, or is the one from which the row was rescanned. A pending row may belong to
// another process by now, which keeps its own entry.
func (k *Keeper) wanted(groups []group) (func(entry, note) bool, error) {
	results := map[int64]store.Result{}
	var ids []int64
	for _, e := range entriesOf(groups) {
		ids = append(ids, e.id)
	}
	slices.Sort(ids)
	for len(ids) > 0 { // rows with near ids are read together
		n := 1
		for n < len(ids) && ids[n]-ids[n-1] < 1000 {
			n++
		}
		for r, err := range k.o.Job.Results(context.Background(), ids[0], ids[n-1]+1) {
			if err != nil {
				return nil, err
			}
			results[r.ID] = r
		}
		ids = ids[n:]
	}
	return func(_ entry, n note) bool {
		r, done := results[n.ID]
		switch {
		case !done || r.Outputs&store.KeptBody == 0:
			return false
		case r.Time.UnixMilli() == n.Time:
			return true
		}
		// rescanned, or kept before entries had times
		return (r.Attempts == 0 || n.Time == 0) && len(k.archive.find(n.ID)) == 0
	}, nil
}

// inherit seals the files that a dead process was writing, with the rows in it that are wanted.
func (k *Keeper) inherit(dir, name string) error {
	if err := removeHidden(dir, name+"-*"+partSuffix+compactSuffix); err != nil {
		return err
	}
	parts, err := hiddenFiles(dir, name+"-*"+partSuffix)
	for _, path := range parts {
		if err == nil {
			err = k.inheritPart(dir, path)
		}
	}
	return err
}

func (k *Keeper) inheritPart(dir, path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { f.Close() }()
	groups, size, lost, err := salvage(f, unsure)
	if err != nil {
		return err
	}
	keep, err := k.wanted(groups)
	if err != nil {
		return err
	}
	var entries []entry
	f, entries, size, err = compact(f, groups, size, keep)
	if errors.Is(err, errDamaged) { // a body that was not verified
		if groups, size, lost, err = salvage(f, math.MaxInt64); err == nil {
			f, entries, size, err = compact(f, groups, size, keep)
		}
	}
	if err != nil {
		return err
	}
	base := strings.TrimSuffix(filepath.Base(path), partSuffix)
	if lost > 0 {
		k.o.Log.Warn("a tar file that a process left is damaged: its damaged images are removed, and are "+
			"downloaded again when they are rescanned", "file", filepath.Join(dir, base+".tar"),
			"bytes", lost)
	}
	return seal(f, dir, base, size, entries)
}

// compact removes unwanted rows and holes from a tar file, of that size. It returns the file, which is a new
// one of the same name if it removed any, its entries and its size.
func compact(f *os.File, groups []group, size int64, keep func(entry, note) bool) (
	*os.File, []entry, int64, error) {
	all, wanted := entriesOf(groups), only(groups, keep)
	holes := slices.ContainsFunc(groups, func(g group) bool { return g.hole })
	if len(entriesOf(wanted)) == len(all) && !holes {
		return f, all, size, nil
	}
	name := f.Name()
	out, entries, size, err := copyGroups(name+compactSuffix, f, wanted)
	if errors.Is(err, errDamaged) {
		err = fmt.Errorf("%s: %w", name, err)
	}
	if err != nil {
		return f, nil, 0, err
	}
	err = out.Sync()
	if err == nil {
		err = os.Rename(out.Name(), name)
	}
	if err != nil {
		return f, nil, 0, errors.Join(err, out.Close(), os.Remove(out.Name()))
	}
	_ = f.Close() // its name counts
	_ = out.Close()
	f, err = os.OpenFile(name, os.O_RDWR, 0)
	return f, entries, size, err
}

// only returns the groups with the rows that keep lets through.
func only(groups []group, keep func(entry, note) bool) (out []group) {
	for _, g := range groups {
		facts := g.items[0].note
		g.items = slices.DeleteFunc(slices.Clone(g.items), func(i item) bool {
			return !keep(g.entry(i), i.note)
		})
		if len(g.items) > 0 {
			g.items[0].note = g.items[0].note.facts(facts)
			out = append(out, g)
		}
	}
	return out
}

// copyGroups makes a tar file, without its end, of groups of another.
func copyGroups(path string, from io.ReaderAt, groups []group) (*os.File, []entry, int64, error) {
	out, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, draft.FileMode)
	if err != nil {
		return nil, nil, 0, err
	}
	entries, size, err := writeGroups(out, from, groups)
	if err != nil {
		return nil, nil, 0, errors.Join(err, out.Close(), os.Remove(path))
	}
	return out, entries, size, nil
}

func writeGroups(to io.Writer, from io.ReaderAt, groups []group) (entries []entry, size int64, err error) {
	for _, g := range groups {
		b := make([]byte, g.size)
		if _, err := from.ReadAt(b, g.at); err != nil {
			return nil, 0, err
		}
		o, _, err := parse(b[:g.size-g.json])
		if err != nil {
			return nil, 0, fmt.Errorf("the image at byte %d: %w", g.at, err)
		}
		parts, own := [][]byte{b}, []entry{{g.items[0].note.ID, 0, g.size - g.json}}
		if g.json == 0 { // the body may get another name
			if parts, own, err = pack(g.items, o.Body); err != nil {
				return nil, 0, err
			}
		}
		for _, e := range own {
			entries = append(entries, entry{e.id, size + e.at, e.size})
		}
		for _, p := range parts {
			if _, err := to.Write(p); err != nil {
				return nil, 0, err
			}
			size += int64(len(p))
		}
	}
	return entries, size, nil
}
