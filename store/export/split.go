package export

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cespare/xxhash/v2"

	"facescan/store/draft"
)

// maxFiles is how many files a split may make.
const maxFiles = 1024

// splitEncoder writes a file for every value of a column, in a folder that is renamed when all files are
// complete.
type splitEncoder struct {
	folder *draft.Draft
	ext    string
	by     column
	open   func(io.Writer) (encoder, error)
	parts  map[string]*part
}

type part struct {
	f *os.File
	encoder
}

// NewSplit is New, with a file for every value of a column, at most 1,024, in a folder. Its name is the
// value, with all but A-Z a-z 0-9 . _ - as %XX, or %empty; then .csv or what the format is called. The folder
// must be new or empty; it is written beside its path and renamed when the Writer is closed. Discard removes
// what was written.
func NewSplit(dir, by string, o Options) (w Writer, discard func(), err error) {
	switch entries, err := os.ReadDir(dir); {
	case err == nil && len(entries) > 0:
		return nil, nil, usagef("the folder %s is not empty; name a new one for the files of a split", dir)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, nil, err
	}
	s := &splitEncoder{parts: map[string]*part{}, ext: o.Format}
	switch o.Format {
	case "":
		s.ext = "csv"
	case "coco":
		return nil, nil, usagef("coco has no --split-by; export once for each value, with --where")
	}
	e, err := newExporter(o, func(t table, columns []column) (encoder, error) {
		at := t.find(by)
		if at < 0 {
			return nil, t.unknown(by)
		}
		if s.by = t.columns[at]; s.by.kind.isList() {
			return nil, usagef("rows cannot be split by %s", by)
		}
		s.open = func(w io.Writer) (encoder, error) { return newEncoder(w, o.Format, columns, rowGroup/10) }
		if _, err := s.open(io.Discard); err != nil { // an unknown format
			return nil, err
		}
		s.folder, err = draft.CreateFolder(dir)
		return s, err
	})
	if err != nil {
		return nil, nil, err
	}
	return e, s.discard, nil
}

func (s *splitEncoder) encode(r *record) error {
	v := s.by.get(r)
	value := v.s
	if !v.null && s.by.kind != text {
		value = string(appendPlain(nil, s.by.kind, v, r))
	}
	p, ok := s.parts[value]
	if !ok {
		if len(s.parts) == maxFiles {
			return usagef("%s has more than %d different values, and a split makes no more files", s.by.name,
				maxFiles)
		}
		name := filepath.Join(s.folder.Name(), fileName(value)+"."+s.ext)
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, draft.FileMode)
		if err != nil {
			return err
		}
		p = &part{f: f}
		s.parts[value] = p
		if p.encoder, err = s.open(f); err != nil {
			return err
		}
	}
	return p.encode(r)
}

func (s *splitEncoder) close() error {
	for _, p := range s.parts {
		err := p.close()
		if err == nil {
			err = p.f.Sync()
		}
		if err := errors.Join(err, p.f.Close()); err != nil {
			return err
		}
	}
	return s.folder.Place() // which takes an empty folder's place
}

func (s *splitEncoder) discard() {
	for _, p := range s.parts {
		_ = p.f.Close()
	}
	s.folder.Discard()
}

// fileName encodes a value so that different values have different names, none of them hidden, and none too
// long for a file system.
func fileName(value string) string {
	if value == "" {
		return "%empty"
	}
	const longest = 200
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		c := value[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '-',
			c == '.' && i > 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	name := b.String()
	if len(name) > longest {
		name = fmt.Sprintf("%s%%%016x", name[:longest], xxhash.Sum64String(value))
	}
	return name
}
