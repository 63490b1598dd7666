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
	return dead(dir, own, func(name string) error {
		if kind == "keep" {
			defer k.rescan() // two that died may have kept the same row
			return inherit(dir, name, k.wanted)
		}
		stage := filepath.Join(dir, hidden, name+stageSuffix)
		return picturesOf(kind, dir).repair(context.Background(), k.o.Job, stage)
	})
}

func picturesOf(kind, dir string) pictures {
	if kind == "crops" {
		return pictures{dir, store.Crops}
	}
	return pictures{dir, store.Blurred}
}

// wanted reports which entries of an unsealed tar file to keep: those made for the row's present result, and
// those from which the row was rescanned. A pending row may belong to another process by now, which keeps its
// own entry.
func (k *Keeper) wanted(notes []note) ([]bool, error) {
	results := map[int64]store.Result{}
	ids := make([]int64, len(notes))
	for i, n := range notes {
		ids[i] = n.ID
	}
	slices.Sort(ids)
	for len(ids) > 0 { // rows that stand close are read together
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
	keep := make([]bool, len(notes))
	for i, n := range notes {
		r, done := results[n.ID]
		switch {
		case !done || r.Outputs&store.KeptBody == 0:
		case r.Time.UnixMilli() == n.Time:
			keep[i] = true
		case r.Attempts == 0 || n.Time == 0: // rescanned, or kept before entries had times
			keep[i] = len(k.archive.find(n.ID)) == 0
		}
	}
	return keep, nil
}

// inherit seals the files that a dead process was writing, with the rows in it that are wanted.
func inherit(dir, name string, wanted func([]note) ([]bool, error)) error {
	halves, err := filepath.Glob(filepath.Join(escape(dir), hidden, name+"-*"+partSuffix+compactSuffix))
	if err != nil {
		return err
	}
	for _, half := range halves {
		if err := os.Remove(half); err != nil {
			return err
		}
	}
	parts, err := filepath.Glob(filepath.Join(escape(dir), hidden, name+"-*"+partSuffix))
	if err != nil {
		return err
	}
	for _, path := range parts {
		err := func() error {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			defer func() { f.Close() }()
			_, size, err := walk(f)
			if err != nil {
				return err
			}
			var entries []entry
			if f, entries, size, err = compact(f, size, wanted); err != nil {
				return err
			}
			if len(entries) == 0 {
				return os.Remove(path)
			}
			return seal(f, dir, strings.TrimSuffix(filepath.Base(path), partSuffix), size, entries)
		}()
		if err != nil {
			return err
		}
	}
	return nil
}

// compact removes unwanted rows from a tar file. It returns the file, which is a new one of the same name if
// it removed any, its entries and their size.
func compact(f *os.File, size int64, wanted func([]note) ([]bool, error)) (*os.File, []entry, int64, error) {
	groups, _, err := walk(f)
	if err != nil {
		return f, nil, 0, err
	}
	var notes []note
	for _, g := range groups {
		for _, i := range g.items {
			notes = append(notes, i.note)
		}
	}
	keep, err := wanted(notes)
	if err != nil {
		return f, nil, 0, err
	}
	if !slices.Contains(keep, false) {
		return f, entriesOf(groups), size, nil
	}
	out, err := os.OpenFile(f.Name()+compactSuffix, os.O_RDWR|os.O_CREATE|os.O_TRUNC, draft.FileMode)
	if err != nil {
		return f, nil, 0, err
	}
	entries, size, err := copyWanted(out, f, groups, keep)
	if err == nil {
		err = out.Sync()
	}
	if err == nil {
		err = os.Rename(out.Name(), f.Name())
	}
	if err != nil {
		return f, nil, 0, errors.Join(err, out.Close(), os.Remove(out.Name()))
	}
	name := f.Name()
	_ = f.Close() // its name counts: it is opened again without O_APPEND
	_ = out.Close()
	f, err = os.OpenFile(name, os.O_RDWR, 0)
	return f, entries, size, err
}

// copyWanted copies the rows of the groups for which keep is true.
func copyWanted(to io.Writer, from io.ReaderAt, groups []group, keep []bool) (
	entries []entry, size int64, err error) {
	for _, g := range groups {
		var items []item
		for i := range g.items {
			if keep[i] {
				items = append(items, g.items[i])
			}
		}
		keep = keep[len(g.items):]
		if len(items) == 0 {
			continue
		}
		b := make([]byte, g.size)
		if _, err := from.ReadAt(b, g.at); err != nil {
			return nil, 0, err
		}
		o, _, err := parse(b[:g.size-g.json])
		if err != nil {
			return nil, 0, err
		}
		parts, own := [][]byte{b}, []entry{{items[0].note.ID, 0, g.size - g.json}}
		if g.json == 0 { // the body may get another name
			items[0].note = items[0].note.facts(g.items[0].note)
			if parts, own, err = pack(items, o.Body); err != nil {
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

func entriesOf(groups []group) (entries []entry) {
	for _, g := range groups {
		for _, i := range g.items {
			entries = append(entries, entry{i.note.ID, g.at, g.size - g.json})
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
