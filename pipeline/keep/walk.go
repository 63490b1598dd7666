package keep

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
)

// unsure is how much at the end of a tar file a power cut can have damaged: what was written since the last
// sync, and a body that went beyond it.
const unsure = 2 * syncEvery

// group is a body in a tar file, with the rows that share it: from its first header to the padding behind it.
// Where the result of its row is behind it, it belongs to one row.
type group struct {
	at, size int64
	json     int64 // of the size
	items    []item
	hole     bool // damaged bytes are before it, or before one of its links
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
// verified only where a power cut can have damaged them.
func walk(f *os.File) (groups []group, end int64, err error) {
	w, err := newWalker(f, unsure)
	if err == nil {
		_, _, err = w.run(0)
	}
	return w.groups, w.end, err
}

// salvage is walk, and goes on behind damage. It also returns how many bytes are lost to it, without those
// of an entry that is cut short by the end of the file, as a kill leaves it. Bodies are verified in so many
// bytes at the end of the file, and where an entry follows damage.
func salvage(f *os.File, verify int64) (groups []group, end, lost int64, err error) {
	w, err := newWalker(f, verify)
	for at := int64(0); err == nil && at >= 0; {
		var bad, next int64
		if bad, next, err = w.run(at); err != nil || next < 0 {
			break
		}
		// A body can have anything in it: it is searched only if no entry follows where its header ends it.
		if at, err = w.search(next); err == nil && at != next {
			at, err = w.search(bad + block)
		}
	}
	return w.groups, w.end, w.lost + max(w.reach-w.end, 0), err
}

// walker reads the entries of a tar file.
type walker struct {
	f      *os.File
	size   int64
	sure   int64 // entries up to here have bodies that need not be verified
	groups []group
	end    int64 // of the last whole entry
	lost   int64 // bytes between whole entries
	reach  int64 // where the last entry ends that is not cut short, whole or not
	vain   int64 // bytes of entries that a search found and that are not whole
}

func newWalker(f *os.File, verify int64) (*walker, error) {
	info, err := f.Stat()
	if err != nil {
		return &walker{}, err
	}
	return &walker{f: f, size: info.Size(), sure: info.Size() - verify}, nil
}

// run reads entries from a position on, up to the first one that is not whole. It returns where that begins,
// and where to look for the next one, -1 if there is none.
func (w *walker) run(from int64) (bad, next int64, err error) {
	section := io.NewSectionReader(w.f, from, w.size-from)
	r := tar.NewReader(section)
	for at := from; ; at = next {
		h, err := r.Next()
		var failed *fs.PathError
		switch {
		case errors.As(err, &failed):
			return 0, 0, err
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			return at, at + block, nil
		case err != nil:
			w.reach = w.size
			return at, at + block, nil
		}
		data, err := section.Seek(0, io.SeekCurrent)
		if err != nil {
			return 0, 0, err
		}
		data += from
		next = data
		if h.Typeflag != tar.TypeLink {
			next += h.Size + padding(h.Size)
		}
		found := at == from && at > 0 // by a search: it may be anything
		if h.Size < 0 || h.Size > w.size || next > w.size {
			if found {
				return at, at + block, nil
			}
			return at, -1, nil // the rest is its body, cut short
		}
		w.reach = max(w.reach, next)
		whole, err := w.add(h, at, data, next, found || next > w.sure)
		if found && !whole {
			w.vain += next - at
		}
		switch {
		case err != nil || !whole && w.vain < 2*w.size:
			return at, next, err
		case !whole:
			return at, -1, nil
		}
		if at > w.end {
			w.groups[len(w.groups)-1].hole = true
			w.lost += at - w.end
		}
		w.end = next
	}
}

// add adds an entry to the groups, and reports whether it is whole and belongs there.
func (w *walker) add(h *tar.Header, at, data, next int64, verify bool) (bool, error) {
	var last *group
	if n := len(w.groups); n > 0 {
		last = &w.groups[n-1]
	}
	n, noteErr := noteOf(h)
	switch {
	case strings.HasSuffix(h.Name, jsonSuffix):
		if last == nil || last.json > 0 || at != last.at+last.size {
			return false, nil
		}
		if verify {
			text := make([]byte, h.Size)
			if _, err := w.f.ReadAt(text, data); err != nil || !json.Valid(text) {
				return false, err
			}
		}
		last.json = next - at
		last.size += last.json
		return true, nil
	case noteErr != nil:
		return false, nil
	case h.Typeflag == tar.TypeLink:
		if last == nil || h.Linkname != last.items[0].name {
			return false, nil
		}
		last.items = append(last.items, item{name: h.Name, note: n})
		return true, nil
	}
	if verify {
		b := make([]byte, next-at)
		if _, err := w.f.ReadAt(b, at); err != nil {
			return false, err
		}
		if _, _, err := parse(b); err != nil {
			return false, nil
		}
	}
	w.groups = append(w.groups, group{at: at, size: next - at, items: []item{{name: h.Name, note: n}}})
	return true, nil
}

// search returns the position of the next block that could be a header, from one on; -1 if there is none.
func (w *walker) search(at int64) (int64, error) {
	b := make([]byte, 64<<10)
	for most := block; at < w.size; most = len(b) { // mostly it is the first one
		n, err := w.f.ReadAt(b[:most], at)
		if err != nil && err != io.EOF {
			return 0, err
		}
		for i := 0; i+block <= n; i += block {
			if string(b[i+257:i+262]) == "ustar" {
				return at + int64(i), nil
			}
		}
		at += int64(most)
	}
	return -1, nil
}
