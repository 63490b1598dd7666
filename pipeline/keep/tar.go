package keep

import (
	"archive/tar"
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"facescan/pipeline"
	"facescan/pipeline/fetch"
	"facescan/store"
	"facescan/store/draft"
	"facescan/store/export"
)

const (
	block      = 512         // tar's unit
	trailer    = 2 * block   // zeros at the end of a tar file
	syncEvery  = 32 << 20    // bytes that are written without a sync at most
	tarEntries = 100_000     // rows in a tar file at most
	tarSize    = 1 << 30     // bytes of one, about
	partSuffix = ".tar.part" // of one that is being written
	comment    = "comment"   // the record of an entry's extended header that other programs pass over: a note, as JSON
)

// note is what an entry says besides its name.
type note struct {
	ID       int64  `json:"id"`
	URL      string `json:"url"` // of the row, without a password
	Status   int    `json:"http_status,omitempty"`
	FinalURL string `json:"final_url,omitempty"`
	CRC32C   uint32 `json:"crc32c,omitempty"` // of the body
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errDamaged: what an entry holds is not what was written.
var errDamaged = errors.New("damaged")

// entry is where in a tar file a row's body is: from its first header to the padding behind it.
type entry struct{ id, at, size int64 }

// writer appends to a tar file of this process until that is large enough, then begins another.
type writer struct {
	folder *folder
	limit  int64
	sealed func(base string) // a tar file has its name

	mu      sync.Mutex
	serial  int
	file    *os.File // nil between files
	w       *bufio.Writer
	size    int64
	unsaved int64
	entries []entry
	byID    map[int64]entry
	failed  error // a write that failed has left something behind: the file can only be sealed
}

func newWriter(f *folder, limit int64, sealed func(string)) *writer {
	if limit <= 0 {
		limit = tarSize
	}
	return &writer{folder: f, limit: limit, sealed: sealed, byID: map[int64]entry{}}
}

// base is the path of the tar file that is being written, without a suffix.
func (w *writer) base() string { return fmt.Sprintf("%s-%04d", w.folder.name, w.serial) }

// add appends a body for rows that share it: an entry with the bytes for the first, hard links to it for the others.
func (w *writer) add(rows []store.Row, format string, o pipeline.Original) (err error) {
	name := export.KeptOf(rows[0].ID, format)
	head, err := header(tar.Header{Name: name, Size: int64(len(o.Body))}, note{ID: rows[0].ID, URL: shown(rows[0].URL),
		Status: o.Status, FinalURL: shown(o.FinalURL), CRC32C: crc32.Checksum(o.Body, castagnoli)})
	if err != nil {
		return err
	}
	pad := padding(int64(len(o.Body)))
	parts := [][]byte{head, o.Body, make([]byte, pad)}
	for _, row := range rows[1:] {
		link, err := header(tar.Header{Typeflag: tar.TypeLink, Name: export.KeptOf(row.ID, format), Linkname: name},
			note{ID: row.ID, URL: shown(row.URL)})
		if err != nil {
			return err
		}
		parts = append(parts, link)
	}

	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failed != nil {
		return w.failed
	}
	defer func() { w.failed = err }()
	if w.file == nil {
		if err := w.begin(); err != nil {
			return err
		}
	}
	at := w.size
	for _, p := range parts {
		if _, err := w.w.Write(p); err != nil {
			return err
		}
		w.size += int64(len(p))
		w.unsaved += int64(len(p))
	}
	for _, row := range rows {
		e := entry{row.ID, at, int64(len(head)) + int64(len(o.Body)) + pad}
		w.entries = append(w.entries, e)
		w.byID[row.ID] = e
	}
	if w.size >= w.limit || len(w.entries) >= tarEntries {
		return w.seal()
	}
	if w.unsaved >= syncEvery {
		return w.save()
	}
	return nil
}

// header is an entry's, with its extended one before it.
func header(h tar.Header, n note) ([]byte, error) {
	text, err := json.Marshal(n)
	if err != nil {
		return nil, err
	}
	h.Format, h.Mode, h.ModTime, h.PAXRecords = tar.FormatPAX, int64(draft.FileMode), time.Now().Truncate(time.Second), map[string]string{comment: string(text)}
	var b bytes.Buffer
	err = tar.NewWriter(&b).WriteHeader(&h)
	return b.Bytes(), err
}

// shown is a URL as a note has it.
func shown(url string) string { return strings.ToValidUTF8(fetch.Redact(url), "\ufffd") }

// noteOf reads an entry's note.
func noteOf(h *tar.Header) (n note, err error) {
	return n, json.Unmarshal([]byte(h.PAXRecords[comment]), &n)
}

func padding(size int64) int64 { return -size & (block - 1) }

func (w *writer) begin() error {
	w.serial++
	f, err := os.OpenFile(w.folder.private(w.base()+partSuffix), os.O_RDWR|os.O_CREATE|os.O_EXCL, draft.FileMode)
	if err != nil {
		return err
	}
	w.file, w.w, w.size, w.unsaved = f, bufio.NewWriterSize(f, 64<<10), 0, 0
	return syncFile(w.folder.private(""))
}

func (w *writer) save() error {
	if w.file == nil || w.unsaved == 0 {
		return nil
	}
	w.unsaved = 0
	return errors.Join(w.w.Flush(), w.file.Sync())
}

// sync makes durable what was added.
func (w *writer) sync() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failed == nil {
		w.failed = w.save()
	}
	return w.failed
}

// find tells where in the file that is being written a row is.
func (w *writer) find(id int64) (entry, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e, ok := w.byID[id]
	return e, ok
}

// read reads an entry of that file; not ok when it is not in it any more.
func (w *writer) read(e entry) (b []byte, ok bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byID[e.id] != e {
		return nil, false, nil
	}
	if err := w.w.Flush(); err != nil {
		return nil, true, err
	}
	b = make([]byte, e.size)
	_, err = w.file.ReadAt(b, e.at)
	return b, true, err
}

// seal ends the file and gives it its name.
func (w *writer) seal() error {
	if err := w.w.Flush(); err != nil {
		return err
	}
	if err := seal(w.file, w.folder.dir, w.base(), w.size, w.entries); err != nil {
		return err
	}
	base := w.base()
	w.reset()
	w.sealed(base)
	return nil
}

func (w *writer) reset() {
	w.file.Close() // after it was synced, nothing can go wrong that matters
	w.file, w.entries = nil, nil
	clear(w.byID)
}

// close seals the file. After a failure it is left to whoever inherits it.
func (w *writer) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file == nil {
		return nil
	}
	defer func() {
		if w.file != nil {
			w.reset()
		}
	}()
	switch {
	case w.failed != nil: // which was told
		return nil
	case len(w.entries) == 0:
		return os.Remove(w.file.Name())
	}
	return w.seal()
}

// seal ends a tar file of so many bytes and gives it its name, after its index has one.
func seal(f *os.File, dir, base string, size int64, entries []entry) error {
	if err := f.Truncate(size); err != nil {
		return err
	}
	if _, err := f.WriteAt(make([]byte, trailer), size); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	path := filepath.Join(dir, base)
	if err := writeIndex(path, filepath.Join(dir, hidden, base+".idx.part"), entries); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path+".tar"); err != nil {
		return err
	}
	return errors.Join(syncFile(dir), syncFile(filepath.Join(dir, hidden)))
}

// inherit seals the files that a dead process was writing.
func inherit(dir, name string) error {
	parts, err := filepath.Glob(filepath.Join(escape(dir), hidden, name+"-*"+partSuffix))
	if err != nil {
		return err
	}
	for _, part := range parts {
		err := func() error {
			f, err := os.OpenFile(part, os.O_RDWR, 0)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			defer f.Close()
			entries, size, err := walk(f)
			if err != nil {
				return err
			}
			if len(entries) == 0 {
				return os.Remove(part)
			}
			return seal(f, dir, strings.TrimSuffix(filepath.Base(part), partSuffix), size, entries)
		}()
		if err != nil {
			return err
		}
	}
	return nil
}

// walk lists the whole entries of a tar file, up to one that is cut or damaged, and tells where they end. Bodies are looked
// at only where a power cut can have damaged them: behind the last sync.
func walk(f *os.File) (entries []entry, end int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	r := tar.NewReader(f)
	var body entry
	for {
		h, err := r.Next()
		if err != nil { // the end, whole or not
			return entries, end, nil
		}
		n, err := noteOf(h)
		if err != nil {
			return entries, end, nil
		}
		data, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, 0, err
		}
		next := data
		if h.Typeflag != tar.TypeLink {
			next += h.Size + padding(h.Size)
			if next > info.Size() {
				return entries, end, nil
			}
			body = entry{n.ID, end, next - end}
			if next > info.Size()-2*syncEvery {
				b := make([]byte, body.size)
				if _, err := f.ReadAt(b, body.at); err != nil {
					return nil, 0, err
				}
				if _, _, err := parse(b); err != nil {
					return entries, end, nil
				}
			}
		}
		entries = append(entries, entry{n.ID, body.at, body.size})
		end = next
	}
}

// parse reads an entry: the body, which is a part of b, and what the download told of it.
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
	o.Status, o.FinalURL = n.Status, n.FinalURL
	return o, n.URL, nil
}
