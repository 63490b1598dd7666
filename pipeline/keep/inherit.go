package keep

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"facescan/store"
	"facescan/store/draft"
)

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
	groups, size, err := walk(f)
	if err != nil {
		return err
	}
	keep, err := k.wanted(groups)
	if err != nil {
		return err
	}
	var entries []entry
	if f, entries, size, err = compact(f, groups, size, keep); err != nil {
		return err
	}
	return seal(f, dir, strings.TrimSuffix(filepath.Base(path), partSuffix), size, entries)
}

// compact removes unwanted rows from a tar file, of that size. It returns the file, which is a new one of the
// same name if it removed any, its entries and its size.
func compact(f *os.File, groups []group, size int64, keep func(entry, note) bool) (
	*os.File, []entry, int64, error) {
	all, wanted := entriesOf(groups), only(groups, keep)
	if len(entriesOf(wanted)) == len(all) {
		return f, all, size, nil
	}
	name := f.Name()
	out, entries, size, err := copyGroups(name+compactSuffix, f, wanted)
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
			return nil, 0, err
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

// group is a body in a tar file, with the rows that share it: from its first header to the padding behind it.
// Where the result of its row is behind it, it belongs to one row.
type group struct {
	at, size int64
	json     int64 // of the size
	items    []item
}

// entry is the position of one of the group's rows.
func (g group) entry(i item) entry { return entry{i.note.ID, g.at, g.size - g.json} }

func entriesOf(groups []group) (entries []entry) {
	for _, g := range groups {
		for _, i := range g.items {
			entries = append(entries, g.entry(i))
		}
	}
	return entries
}

// walk returns the entries of a tar file up to the first cut or damaged one, and where they end. Bodies are
// verified only where a power cut can have damaged them: after the last sync.
func walk(f *os.File) (groups []group, end int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, 0, err
	}
	r := tar.NewReader(f)
	for {
		h, err := r.Next()
		if err != nil { // the end, whole or not
			return groups, end, nil
		}
		data, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, 0, err
		}
		next := data
		if h.Typeflag != tar.TypeLink {
			next += h.Size + padding(h.Size)
		}
		if h.Size > info.Size() || next > info.Size() {
			return groups, end, nil
		}
		unsure := next > info.Size()-2*syncEvery
		last := len(groups) - 1
		n, noteErr := noteOf(h)
		switch {
		case strings.HasSuffix(h.Name, jsonSuffix):
			if last < 0 || len(groups[last].items) > 1 || groups[last].json > 0 {
				return groups, end, nil
			}
			if unsure {
				text := make([]byte, h.Size)
				if _, err := f.ReadAt(text, data); err != nil {
					return nil, 0, err
				}
				if !json.Valid(text) {
					return groups, end, nil
				}
			}
			groups[last].json = next - end
			groups[last].size += next - end
			end = next
			continue
		case noteErr != nil || h.Typeflag == tar.TypeLink && last < 0:
			return groups, end, nil
		case h.Typeflag != tar.TypeLink:
			g := group{at: end, size: next - end}
			if unsure {
				b := make([]byte, g.size)
				if _, err := f.ReadAt(b, g.at); err != nil {
					return nil, 0, err
				}
				if _, _, err := parse(b); err != nil {
					return groups, end, nil
				}
			}
			groups = append(groups, g)
			last++
		}
		groups[last].items = append(groups[last].items, item{name: h.Name, note: n})
		end = next
	}
}
