package source

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"

	"github.com/cespare/xxhash/v2"
)

const (
	blockSize = 64 << 10
	maxBlocks = 64
	firstHead = 16
	maxHeads  = 12 // 16 bytes to 32 KiB
)

// fingerprint summarizes the consumed part of a stream in constant space: a hash of every step-th whole
// block, with the step doubled whenever there are 64 (so the first one always stays), of the last whole
// block, and of the bytes after it. It depends only on the bytes, so equal prefixes have equal fingerprints
// however they were read. A copy is independent of its original.
//
// Besides, it has hashes of the first 16, 32, 64, … bytes, so that short lists of different length can be
// told apart, too.
type fingerprint struct {
	n     int64 // bytes so far
	heads []uint64
	step  int64
	kept  [maxBlocks]uint64 // of the blocks 0, step, 2*step, …
	count int
	last  uint64
	block xxhash.Digest // of the block that has byte n
}

func newFingerprint() fingerprint {
	f := fingerprint{step: 1}
	f.block.Reset()
	return f
}

func (f *fingerprint) add(p []byte) {
	for len(p) > 0 {
		k := min(len(p), blockSize-int(f.n%blockSize))
		head := int64(firstHead) << len(f.heads)
		if len(f.heads) < maxHeads && f.n < head {
			k = min(k, int(head-f.n))
		}
		f.block.Write(p[:k])
		f.n += int64(k)
		if f.n == head && len(f.heads) < maxHeads {
			f.heads = append(f.heads[:len(f.heads):len(f.heads)], f.block.Sum64())
		}
		p = p[k:]
		if f.n%blockSize == 0 {
			f.seal(f.n/blockSize - 1)
		}
	}
}

// seal adds the whole block with this number.
func (f *fingerprint) seal(number int64) {
	f.last = f.block.Sum64()
	f.block.Reset()
	if number%f.step != 0 {
		return
	}
	if f.count == maxBlocks {
		for i := range maxBlocks / 2 {
			f.kept[i] = f.kept[2*i]
		}
		f.count /= 2
		f.step *= 2
	}
	f.kept[f.count] = f.last
	f.count++
}

// mark is the content of Position.Mark, as JSON.
type mark struct {
	File stat `json:"file"`

	Heads  []uint64 `json:"heads,omitempty"`
	Step   int64    `json:"step,omitempty"`
	Blocks []uint64 `json:"blocks,omitempty"`
	Last   uint64   `json:"last,omitempty"`
	Tail   uint64   `json:"tail,omitempty"`

	// Open: the last row was the list's last line and had no newline; it may get one, but not grow.
	Open bool `json:"open,omitempty"`
	// Return: that line ended in \r.
	Return bool `json:"return,omitempty"`
	// CR: lines end in \r alone.
	CR bool `json:"cr,omitempty"`
	// Comments: there was text, and no row.
	Comments bool `json:"comments,omitempty"`
	// End: there was nothing after it.
	End bool `json:"end,omitempty"`

	Columns []string `json:"columns,omitempty"`
	// Trust, First: of csv, now and at the start.
	Trust trust  `json:"trust,omitempty"`
	First *trust `json:"first,omitempty"`
	ID    int64  `json:"id,omitempty"` // of the last row, where ids are a column
	// Sorted: the rows are returned in another order than the list's; Blocks are of the file on the disk.
	Sorted bool `json:"sorted,omitempty"`
	// IDs are those of the rows, of a database, that Blocks are hashes of.
	IDs []int64 `json:"ids,omitempty"`
}

func (f *fingerprint) mark() mark {
	return mark{Heads: f.heads, Step: f.step, Blocks: slices.Clone(f.kept[:f.count]), Last: f.last,
		Tail: f.block.Sum64()}
}

func (m mark) encode() []byte {
	b, err := json.Marshal(m)
	if err != nil {
		panic(err) // numbers and strings always marshal
	}
	return b
}

// decodeMark reads the stored mark of a list.
func decodeMark(path string, b []byte) (mark, error) {
	m, err := parseMark(b)
	if err != nil {
		err = fmt.Errorf("%s: %w", nameOf(path), err)
	}
	return m, err
}

func parseMark(b []byte) (mark, error) {
	var m mark
	if len(b) == 0 {
		return mark{Step: 1}, nil
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("the stored position is damaged: %w", err)
	}
	if m.Step < 1 || len(m.Blocks) > maxBlocks || len(m.IDs) > len(m.Blocks) {
		return m, errors.New("the stored position is damaged")
	}
	return m, nil
}

// differs describes where two marks of the same offset differ; empty if they do not.
func (m mark) differs(now mark) string {
	for i := range m.Blocks {
		if i >= len(now.Blocks) || m.Blocks[i] != now.Blocks[i] {
			at := int64(i) * m.Step * blockSize
			return fmt.Sprintf("bytes %d to %d differ", at, at+blockSize)
		}
	}
	if m.Step != now.Step || m.Last != now.Last || m.Tail != now.Tail {
		return "the part that was imported last differs"
	}
	return ""
}

// reread takes the fingerprint of the first offset bytes of a file, and reads only the blocks that m has.
func (m mark) reread(r io.ReaderAt, offset int64) (fingerprint, error) {
	f := newFingerprint()
	buf := make([]byte, blockSize)
	start := buf[:min(offset, firstHead<<(maxHeads-1))]
	if _, err := io.ReadFull(io.NewSectionReader(r, 0, int64(len(start))), start); err != nil {
		return f, err
	}
	f.add(start)
	f.step = m.Step
	hash := func(number, n int64) error {
		f.block.Reset()
		if _, err := io.ReadFull(io.NewSectionReader(r, number*blockSize, n), buf[:n]); err != nil {
			return err
		}
		f.block.Write(buf[:n])
		return nil
	}
	whole := offset / blockSize
	for i := range m.Blocks {
		if err := hash(int64(i)*m.Step, blockSize); err != nil {
			return f, err
		}
		f.kept[i] = f.block.Sum64()
		f.count++
	}
	if whole > 0 {
		if err := hash(whole-1, blockSize); err != nil {
			return f, err
		}
		f.last = f.block.Sum64()
	}
	f.n = offset
	return f, hash(whole, offset%blockSize)
}

// markOf is the mark of a whole file, for lists that are not read from front to back: its first, its last and
// up to 64 blocks of the file on the disk.
func markOf(path string) (mark, error) {
	f, err := os.Open(path)
	if err != nil {
		return mark{}, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return mark{}, err
	}
	m := mark{Step: 1}
	whole := fi.Size() / blockSize
	for m.Step*maxBlocks < whole {
		m.Step *= 2
	}
	m.Blocks = make([]uint64, (whole+m.Step-1)/m.Step)
	print, err := m.reread(f, fi.Size())
	if err != nil {
		return m, fmt.Errorf("%s: %w", path, err)
	}
	m = print.mark()
	m.File = statOf(fi)
	return m, nil
}

// changedSince describes how a whole file has changed.
func (m mark) changedSince(old mark) string {
	if m.File.Size != old.File.Size {
		return fmt.Sprintf("it has %d bytes and had %d", m.File.Size, old.File.Size)
	}
	return old.differs(m)
}

// stat shows without reading that a file has not changed.
type stat struct {
	Inode uint64 `json:"inode,omitempty"`
	Size  int64  `json:"size,omitempty"`
	Mtime int64  `json:"mtime,omitempty"` // nanoseconds
}

func statOf(fi os.FileInfo) stat {
	s := stat{Size: fi.Size(), Mtime: fi.ModTime().UnixNano()}
	if sys, ok := fi.Sys().(*syscall.Stat_t); ok {
		s.Inode = uint64(sys.Ino)
	}
	return s
}

// Start returns the start of the list that p is a position in, to be read in the same way: text that was
// added since may suggest another way.
func Start(p Position) (Position, error) {
	m, err := parseMark(p.Mark)
	if err != nil {
		return Position{}, err
	}
	return Position{Mark: mark{Step: 1, CR: m.CR, First: m.First}.encode()}, nil
}

// Same reports whether two positions are the same place in lists of the same bytes, under any name.
func Same(a, b Position) bool {
	m, n, err := marksOf(a, b)
	return err == nil && a.Offset == b.Offset && a.Line == b.Line && len(m.Blocks) == len(n.Blocks) &&
		m.differs(n) == ""
}

// MayBeSame reports whether nothing shows that two positions are in different lists, as far as both have been
// read.
func MayBeSame(a, b Position) bool {
	if a.Offset == b.Offset && a.Line == b.Line {
		return Same(a, b)
	}
	m, n, err := marksOf(a, b)
	return err == nil && !m.conflicts(n)
}

func marksOf(a, b Position) (m, n mark, err error) {
	if m, err = parseMark(a.Mark); err == nil {
		n, err = parseMark(b.Mark)
	}
	return m, n, err
}

// conflicts reports whether two marks differ in a part that both have.
func (m mark) conflicts(n mark) bool {
	for i := range min(len(m.Heads), len(n.Heads)) {
		if m.Heads[i] != n.Heads[i] {
			return true
		}
	}
	for i, block := range m.Blocks {
		if at := int64(i) * m.Step; at%n.Step == 0 && at/n.Step < int64(len(n.Blocks)) &&
			n.Blocks[at/n.Step] != block {
			return true
		}
	}
	return false
}
