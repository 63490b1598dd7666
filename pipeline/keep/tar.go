package keep

import (
	"archive/tar"
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"facescan/pipeline"
	"facescan/store"
	"facescan/store/draft"
)

const (
	block      = 512         // tar's unit
	trailer    = 2 * block   // zeros at the end of a tar file
	syncEvery  = 32 << 20    // bytes that are written without a sync at most
	tarEntries = 100_000     // rows in a tar file at most
	tarSize    = 1 << 30     // bytes of one, about
	partSuffix = ".tar.part" // of one that is being written
	// of one that takes its place without some rows
	compactSuffix = ".less"
	// comment is a record of an entry's extended header that other programs ignore: a note, as JSON
	comment    = "comment"
	jsonSuffix = ".json" // of the file with a row's result, behind its image
)

// note is the metadata of an entry.
type note struct {
	ID       int64  `json:"id"`
	URL      string `json:"url"` // of the row, without a password
	Status   int    `json:"http_status,omitempty"`
	FinalURL string `json:"final_url,omitempty"`
	CRC32C   uint32 `json:"crc32c,omitempty"` // of the body
	Time     int64  `json:"time,omitempty"`   // of the result that it was kept for, in Unix milliseconds

	MadeOf *pipeline.Downloaded `json:"made_of,omitempty"` // where the body is not what was downloaded
}

// facts returns the note with another one's facts about the body.
func (n note) facts(of note) note {
	n.Status, n.FinalURL, n.CRC32C, n.MadeOf = of.Status, of.FinalURL, of.CRC32C, of.MadeOf
	return n
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errDamaged means that an entry differs from what was written.
var errDamaged = errors.New("damaged")

// entry is the position of a row's body in a tar file: from its first header to the padding behind it.
type entry struct{ id, at, size int64 }

// writer appends to a tar file of this process, and starts another when it is full. A full file is sealed
// once each of its rows is known to be done or not; rows that are not done are left out.
type writer struct {
	folder *folder
	limit  int64
	sealed func() // a tar file has its name
	// wanted reports whether to keep rows of which nothing is known at the end
	wanted func([]group) (func(entry, note) bool, error)

	mu     sync.Mutex
	serial int
	parts  []*part // the last one is appended to, unless it is full
	failed error   // a write that failed has left something behind: the files can only be sealed
}

// part is a tar file that is being written.
type part struct {
	base    string // its path without a suffix
	file    *os.File
	w       *bufio.Writer
	size    int64
	unsaved int64
	full    bool
	entries []entry
	byID    map[int64]entry
	open    map[int64]bool // rows of which it is not known whether they become done
	refused map[entry]bool // those of rows that did not
}

func newWriter(f *folder, limit int64, sealed func(),
	wanted func([]group) (func(entry, note) bool, error)) *writer {
	if limit <= 0 {
		limit = tarSize
	}
	return &writer{folder: f, limit: limit, sealed: sealed, wanted: wanted}
}

// item is a row of an entry.
type item struct {
	name string
	note note
	json []byte // the row's result; nil where it is not kept
}

// pack makes the entries of rows that share a body: the first has the bytes, the others are hard links to it.
// Behind an entry is the row's result. Rows with a result have the bytes each, since programs that read image
// and result together leave out links. It returns the parts to write, and the entries' positions in them.
func pack(items []item, body []byte) (parts [][]byte, entries []entry, err error) {
	first := items[0]
	at := int64(0)
	put := func(h tar.Header, content []byte) {
		if err != nil {
			return
		}
		var head []byte
		if head, err = header(h, content); err != nil {
			return
		}
		for _, b := range [][]byte{head, content, make([]byte, padding(int64(len(content))))} {
			parts, at = append(parts, b), at+int64(len(b))
		}
	}
	for i, it := range items {
		start := at
		switch {
		case i == 0 || it.json != nil:
			put(noted(tar.Header{Name: it.name}, it.note.facts(first.note)), body)
			entries = append(entries, entry{it.note.ID, start, at - start})
		default:
			put(noted(tar.Header{Typeflag: tar.TypeLink, Name: it.name, Linkname: first.name}, it.note), nil)
			entries = append(entries, entry{it.note.ID, entries[0].at, entries[0].size})
		}
		if it.json != nil {
			put(tar.Header{Name: strings.TrimSuffix(it.name, path.Ext(it.name)) + jsonSuffix}, it.json)
		}
	}
	return parts, entries, err
}

// add appends a body for rows that share it. The first one's note has its facts.
func (w *writer) add(items []item, body []byte) (err error) {
	parts, entries, err := pack(items, body)
	if err != nil {
		return err
	}

	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failed != nil {
		return w.failed
	}
	defer func() { w.failed = err }()
	p := w.current()
	if p == nil {
		if p, err = w.begin(); err != nil {
			return err
		}
	}
	at := p.size
	for _, b := range parts {
		if _, err := p.w.Write(b); err != nil {
			return err
		}
		p.size += int64(len(b))
		p.unsaved += int64(len(b))
	}
	for _, e := range entries {
		e.at += at
		for _, o := range w.parts {
			if old, ok := o.byID[e.id]; ok { // the row is kept once more
				o.refused[old] = true
				delete(o.byID, e.id)
			}
		}
		p.entries = append(p.entries, e)
		p.byID[e.id] = e
		p.open[e.id] = true
	}
	p.full = p.size >= w.limit || len(p.entries) >= tarEntries
	if p.unsaved >= syncEvery {
		return p.save()
	}
	return nil
}

// current returns the part to append to, nil if a new one is needed.
func (w *writer) current() *part {
	if n := len(w.parts); n > 0 && !w.parts[n-1].full {
		return w.parts[n-1]
	}
	return nil
}

// complete records whether rows became done, and seals full files without undecided rows.
func (w *writer) complete(ids []int64, done bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.parts {
		for _, id := range ids {
			if p.open[id] {
				delete(p.open, id)
				if !done {
					p.refused[p.byID[id]] = true
					delete(p.byID, id)
				}
			}
		}
	}
	if w.failed != nil {
		return nil // that error was returned before
	}
	for _, p := range slices.Clone(w.parts) {
		if p.full && len(p.open) == 0 {
			if w.failed = w.seal(p); w.failed != nil {
				return w.failed
			}
		}
	}
	return nil
}

// noted is a header with a note.
func noted(h tar.Header, n note) tar.Header {
	text, _ := json.Marshal(n) // it has only numbers and texts
	h.Format, h.PAXRecords = tar.FormatPAX, map[string]string{comment: string(text)}
	return h
}

// header is the header of a file with this content, with its extended one before it.
func header(h tar.Header, content []byte) ([]byte, error) {
	h.Size, h.Mode, h.ModTime = int64(len(content)), int64(draft.FileMode), time.Now().Truncate(time.Second)
	var b bytes.Buffer
	err := tar.NewWriter(&b).WriteHeader(&h)
	return b.Bytes(), err
}

// shown is a URL in the form of a note.
func shown(url string) string { return strings.ToValidUTF8(store.Redact(url), "\ufffd") }

// noteOf reads an entry's note.
func noteOf(h *tar.Header) (n note, err error) {
	return n, json.Unmarshal([]byte(h.PAXRecords[comment]), &n)
}

func padding(size int64) int64 { return -size & (block - 1) }

func (w *writer) begin() (*part, error) {
	w.serial++
	p := &part{base: fmt.Sprintf("%s-%04d", w.folder.name, w.serial),
		byID: map[int64]entry{}, open: map[int64]bool{}, refused: map[entry]bool{}}
	f, err := os.OpenFile(w.folder.private(p.base+partSuffix), os.O_RDWR|os.O_CREATE|os.O_EXCL,
		draft.FileMode)
	if err != nil {
		return nil, err
	}
	p.file, p.w = f, bufio.NewWriterSize(f, 64<<10)
	w.parts = append(w.parts, p)
	return p, syncFile(w.folder.private(""))
}

func (p *part) save() error {
	if p.unsaved == 0 {
		return nil
	}
	p.unsaved = 0
	return errors.Join(p.w.Flush(), p.file.Sync())
}

// sync makes durable what was added.
func (w *writer) sync() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.parts {
		if w.failed == nil {
			w.failed = p.save()
		}
	}
	return w.failed
}

// find returns the position of a row in the unsealed files.
func (w *writer) find(id int64) (entry, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.parts {
		if e, ok := p.byID[id]; ok {
			return e, true
		}
	}
	return entry{}, false
}

// read reads a row's entry in the unsealed files; ok is false if there is none.
func (w *writer) read(id int64) (b []byte, ok bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.parts {
		e, ok := p.byID[id]
		if !ok {
			continue
		}
		if err := p.w.Flush(); err != nil {
			return nil, true, err
		}
		b = make([]byte, e.size)
		_, err = p.file.ReadAt(b, e.at)
		return b, true, err
	}
	return nil, false, nil
}

// groups are all that was written.
func (p *part) groups() ([]group, error) {
	if err := p.w.Flush(); err != nil {
		return nil, err
	}
	groups, end, err := walk(p.file)
	if err == nil && end < p.size {
		err = fmt.Errorf("%s, at or before byte %d: %w", p.file.Name(), end, errDamaged)
	}
	return groups, err
}

// seal ends a file, without the rows that were refused, and gives it its name.
func (w *writer) seal(p *part) (err error) {
	if err := p.w.Flush(); err != nil {
		return err
	}
	size, entries := p.size, p.entries
	if len(p.refused) > 0 {
		groups, err := p.groups()
		if err != nil {
			return err
		}
		if p.file, entries, size, err = compact(p.file, groups, size, func(e entry, _ note) bool {
			return !p.refused[e]
		}); err != nil {
			return err
		}
	}
	if err := seal(p.file, w.folder.dir, p.base, size, entries); err != nil {
		return err
	}
	w.drop(p)
	w.sealed()
	return nil
}

func (w *writer) drop(p *part) {
	_ = p.file.Close() // after it was synced, nothing can go wrong that matters
	w.parts = slices.DeleteFunc(w.parts, func(o *part) bool { return o == p })
}

// close seals the files. After a failure they are left for takeOver.
func (w *writer) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer func() {
		for len(w.parts) > 0 {
			w.drop(w.parts[0])
		}
	}()
	for len(w.parts) > 0 && w.failed == nil {
		p := w.parts[0]
		if w.failed = w.decide(p); w.failed == nil {
			w.failed = w.seal(p)
		}
		if w.failed != nil {
			return w.failed
		}
	}
	return nil // that error was returned before
}

// decide looks up whether undecided rows are done.
func (w *writer) decide(p *part) error {
	if len(p.open) == 0 {
		return nil
	}
	groups, err := p.groups()
	if err != nil {
		return err
	}
	undecided := only(groups, func(_ entry, n note) bool { return p.open[n.ID] })
	keep, err := w.wanted(undecided)
	if err != nil {
		return err
	}
	for _, g := range undecided {
		for _, i := range g.items {
			if e := g.entry(i); !keep(e, i.note) {
				p.refused[e] = true
			}
		}
	}
	return nil
}

// seal ends a tar file of so many bytes and gives it its name, after its index has one. One without entries
// is removed.
func seal(f *os.File, dir, base string, size int64, entries []entry) error {
	path := filepath.Join(dir, base)
	if len(entries) == 0 {
		err := os.Remove(path + ".idx") // of one who died before the file had its name
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return errors.Join(err, os.Remove(f.Name()))
	}
	if err := f.Truncate(size); err != nil {
		return err
	}
	if _, err := f.WriteAt(make([]byte, trailer), size); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := writeIndex(path, filepath.Join(dir, hidden, base+".idx.part"), entries); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path+".tar"); err != nil {
		return err
	}
	return errors.Join(syncFile(dir), syncFile(filepath.Join(dir, hidden)))
}

// parse reads an entry: the body, which is a part of b, and the facts of the download.
func parse(b []byte) (o pipeline.Original, url string, err error) {
	h, err := tar.NewReader(bytes.NewReader(b)).Next()
	if err != nil {
		return o, "", fmt.Errorf("%w: %w", errDamaged, err)
	}
	pad := padding(h.Size)
	if h.Size+pad > int64(len(b)) {
		return o, "", errDamaged
	}
	end := int64(len(b)) - pad
	o.Body = slices.Clip(b[end-h.Size : end])
	n, err := noteOf(h)
	if err != nil || crc32.Checksum(o.Body, castagnoli) != n.CRC32C {
		return o, "", errDamaged
	}
	o.Status, o.FinalURL, o.MadeOf = n.Status, n.FinalURL, n.MadeOf
	return o, n.URL, nil
}
