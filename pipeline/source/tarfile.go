package source

import (
	"archive/tar"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"facescan/pipeline/fileurl"
)

// tarFile finds the images in a tar. Its headers are read once and sorted by the members' names; a member is
// later read by its place alone. Of members with the same name the last one counts, as for tar itself.
type tarFile struct {
	numbered
	ctx     context.Context
	path    string
	file    *os.File
	sorted  *Sorter // nil before the first Next
	damaged error   // why the headers could not be read to their end
	ahead   member
	more    bool // ahead is one
	err     error
}

// member is an image in a tar.
type member struct {
	name string
	File
}

func openTar(ctx context.Context, path string) (*tarFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = usagef("%s is not a tar file any more: give the tar, or import what is there now into another "+
			"job with --db JOB.db", path)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &tarFile{ctx: ctx, path: path, file: f, numbered: numbered{info: statOf(fi)}}, nil
}

// scan calls found for each image, in the order of the tar, until it returns false.
func (t *tarFile) scan(found func(member) (more bool, err error)) error {
	if _, err := t.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read %s: %w", t.path, err)
	}
	r := tar.NewReader(t.file)
	begin, blocks := int64(0), 0
	for ; t.ctx.Err() == nil; blocks++ {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil && !(errors.Is(err, tar.ErrInsecurePath) && h != nil) { // a name is never a path here
			return fmt.Errorf("the tar %s cannot be read beyond byte %d: %w; the images before it are kept, "+
				"replace the file by a whole one and run again", t.path, begin, err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue // it belongs to what follows
		}
		if t.isImage(h) {
			at := File{Size: h.Size, Mtime: h.ModTime.UnixNano(), Offset: begin}
			if more, err := found(member{h.Name, at}); err != nil || !more {
				return err
			}
		}
		// Where the next headers begin. After a sparse member, whose size in the tar is another one, its own
		// headers are the place: what looks for a member goes on to the one that has its name.
		if !isSparse(h) {
			data, err := t.file.Seek(0, io.SeekCurrent)
			if err != nil {
				return fmt.Errorf("read %s: %w", t.path, err)
			}
			begin = data + (dataSize(h)+tarBlock-1)/tarBlock*tarBlock
		}
	}
	return t.ctx.Err()
}

const tarBlock = 512

// dataSize is how many bytes follow a member's headers.
func dataSize(h *tar.Header) int64 {
	switch h.Typeflag {
	case tar.TypeLink, tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeDir, tar.TypeFifo:
		return 0
	}
	return h.Size
}

func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

func (t *tarFile) isImage(h *tar.Header) bool {
	for part := range strings.SplitSeq(h.Name, "/") {
		if strings.HasPrefix(part, ".") && part != "." && part != ".." {
			return false
		}
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		if IsImageName(h.Name) {
			return true
		}
	case tar.TypeLink, tar.TypeSymlink, tar.TypeDir:
		return false
	}
	t.passed.Other++
	return false
}

// sort reads all headers.
func (t *tarFile) sort() error {
	t.sorted = NewSorter(t.ctx)
	t.passed = Passed{}
	err := t.scan(func(m member) (bool, error) {
		data := binary.AppendVarint(binary.AppendVarint(binary.AppendVarint(nil, m.Offset), m.Size), m.Mtime)
		return true, t.sorted.Add(m.name, data)
	})
	if t.ctx.Err() != nil {
		return t.ctx.Err()
	}
	t.damaged, t.passed.Cut = err, err != nil
	if err := t.sorted.Sort(); err != nil {
		return err
	}
	t.ahead, t.more, err = t.pull()
	return err
}

// pull takes the next member out of the sorter, the last of those that have its name.
func (t *tarFile) pull() (m member, more bool, err error) {
	key, data, more, err := t.sorted.Next()
	if !more || err != nil {
		return m, false, err
	}
	m.name = key
	for _, v := range []*int64{&m.Offset, &m.Size, &m.Mtime} {
		x, n := binary.Varint(data)
		*v, data = x, data[max(n, 0):]
	}
	return m, true, nil
}

// Next implements Reader.
func (t *tarFile) Next(dst []Row) (int, error) {
	if t.sorted == nil {
		t.err = t.sort()
	}
	return fill(dst, t.next)
}

func (t *tarFile) next(row *Row, _ bool) error {
	for t.err == nil && t.more {
		m := t.ahead
		for same := true; same; {
			if t.ahead, t.more, t.err = t.pull(); t.err != nil {
				return t.err
			}
			if same = t.more && t.ahead.name == m.name; same && t.ahead.Offset > m.Offset {
				m = t.ahead
			}
		}
		if t.take(row, fileurl.OfMember(t.path, m.name), m.File) {
			return nil
		}
	}
	return cmp.Or(t.err, t.damaged, io.EOF)
}

// Close implements Reader.
func (t *tarFile) Close() error {
	err := t.file.Close()
	if t.sorted != nil {
		err = errors.Join(err, t.sorted.Close())
	}
	return err
}
