// Package segment publishes a job's results to a folder that many machines share, such as one on NFS or
// Lustre, and takes them in again where the job itself is lost.
//
// # Files
//
// A segment is a job file like any other, with those rows of a part that became done, or pending again, since
// the segment before, and the end records of groups that were read since. It is called
// LIST[.node-I-of-N].NUMBER-RANDOM.segment.db. It is made on a local disk, copied beside its place, synced,
// and given its name. SQLite never opens a file in the folder: readers copy it first.
//
// # What counts
//
// Each row of a segment carries its publication: NUMBER and RANDOM of the segment it was first written to. Of
// several versions of a row the one with the highest publication counts, whether it is done or pending.
// NUMBER is one above the highest that its writer has seen, as in a Lamport clock, whether or not that
// segment is still in the folder.
//
// Two processes may publish the same part at the same time, such as one on a node that was given up and its
// successor. Their names differ by RANDOM, neither replaces a file of the other, and each row has one order
// of versions for all readers. A row that both have done is done, whichever version counts. A pending row can
// hide a done one only if it was reopened (retry, rescan) by somebody who published later.
//
// # What is never lost
//
// The job notes each row that changes in the transaction that changes it. A publication reads the notes, then
// the rows, and drops these notes only when the segment has its name. A process that dies in between
// publishes the same rows twice, under two numbers.
//
// # Folding
//
// Eight segments of about one size are replaced by one: it is written first, then those that it contains are
// removed. Since rows keep their publications, it does not matter which segments are folded, or by whom. A
// row is copied once for each eightfold growth of the part. A reader lists a part until two lists agree, and
// again when a listed file is missing.
package segment

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"facescan/store"
	"facescan/store/draft"
)

// suffix ends the names of segments.
const suffix = ".segment.db"

// stale is the age at which what a dead writer left in the folder is removed.
const stale = time.Hour

// File is a segment as its name tells of it.
type File struct {
	Name        string
	List        string     // base name of the part's first list, without its suffixes
	Node        store.Node // the part of the rows
	Publication int64      // the number above, a random part below
	Size        int64
}

// randomBits are those of a publication that are not its number.
const randomBits = 32

func (f File) number() int64 { return f.Publication >> randomBits }

func (f File) part() string { return part(f.List, f.Node) }

// part is what the names of a part's segments begin with.
func part(list string, node store.Node) string {
	if node.Of > 0 {
		list += fmt.Sprintf(".node-%d-of-%d", node.I, node.Of)
	}
	return list
}

var named = regexp.MustCompile(`^(.+?)(\.node-(\d+)-of-(\d+))?\.(\d{8,10})-([0-9a-f]{8})` +
	regexp.QuoteMeta(suffix) + `$`)

// parse reads a segment's name.
func parse(name string) (f File, ok bool) {
	m := named.FindStringSubmatch(name)
	if m == nil {
		return f, false
	}
	f.Name, f.List = name, m[1]
	if m[2] != "" {
		node, err := store.ParseNode(m[3] + "/" + m[4])
		if err != nil {
			return f, false
		}
		f.Node = node
	}
	number, err := strconv.ParseInt(m[5], 10, 64)
	if err != nil || number >= 1<<(63-randomBits) {
		return f, false
	}
	random, err := strconv.ParseUint(m[6], 16, 32)
	f.Publication = number<<randomBits | int64(random)
	return f, err == nil
}

// newFile names a segment of a part.
func newFile(list string, node store.Node, number int64) File {
	random := make([]byte, 4)
	rand.Read(random)
	f := File{List: list, Node: node,
		Publication: number<<randomBits | int64(binary.BigEndian.Uint32(random))}
	f.Name = fmt.Sprintf("%s.%08d-%x%s", part(list, node), number, random, suffix)
	return f
}

// longestName is how many bytes a file's name may have on common file systems.
const longestName = 255

// CheckList refuses a list whose segments would not be found again by their names.
func CheckList(list string, node store.Node) error {
	f := newFile(list, node, 1<<31-1) // whose name is as long as any
	if got, ok := parse(f.Name); !ok || got != f {
		return fmt.Errorf("segments cannot be called after the list %q: its name has a line end, or ends "+
			"like that of a part (.node-I-of-N)", list)
	}
	if n := len(f.Name) - longestName; n > 0 {
		return fmt.Errorf("segments cannot be called after the list %q: its name is %d bytes too long", list,
			n)
	}
	return nil
}

// List returns the segments in a folder, of all parts; some that are replaced meanwhile may be missing, with
// those in their place. It removes what writers left there that died long ago.
func List(dir string) (files []File, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if f, ok := parse(e.Name()); ok && e.Type().IsRegular() {
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) { // folded meanwhile
				continue
			}
			if err != nil {
				return nil, err
			}
			f.Size = info.Size()
			files = append(files, f)
			continue
		}
		removeStale(dir, e)
	}
	return files, nil
}

// removeStale removes an unfinished segment whose writer is dead.
func removeStale(dir string, e fs.DirEntry) {
	name, ok := unfinished(e)
	if _, whole := parse(name); whole || ok && len(name) == draft.Longest && cutName.MatchString(name) {
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > stale {
			draft.Clean(filepath.Join(dir, name))
		}
	}
}

// unfinished is the name that the draft in a folder's entry is to get, cut to draft.Longest.
func unfinished(e fs.DirEntry) (name string, ok bool) {
	name, isPart := strings.CutSuffix(strings.TrimPrefix(e.Name(), "."), ".part")
	i := strings.LastIndexByte(name, '.')
	if !isPart || i < 0 {
		return "", false
	}
	return name[:i], true
}

// behindPart is what follows the part in the name of a segment, cut at any place.
const behindPart = `\d{0,10}(-[0-9a-f]{0,8}(\.[.a-z]*)?)?$`

var (
	cutName = regexp.MustCompile(`^.+\.` + behindPart)
	cutEnd  = regexp.MustCompile(`^` + behindPart)
)

// isOf reports whether a name, which may be cut, is that of a segment of a part.
func isOf(name, list string, node store.Node) bool {
	if f, ok := parse(name); ok || len(name) != draft.Longest {
		return ok && f.List == list && f.Node == node
	}
	start := part(list, node) + "."
	end, ok := strings.CutPrefix(name, start[:min(len(start), draft.Longest)])
	return ok && cutEnd.MatchString(end)
}

// cleanPart removes the unfinished segments of a part whose writers are dead, however young. On a file system
// where another machine's locks are not seen, a living writer may lose its draft, too: it writes it again.
func cleanPart(dir, list string, node store.Node) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if name, ok := unfinished(e); ok && isOf(name, list, node) {
			draft.Clean(filepath.Join(dir, name))
		}
	}
	return err
}

// listPart returns the segments in a folder that are called after one part.
func listPart(dir, list string, node store.Node) ([]File, error) {
	return settled(dir, func(files []File) []File {
		return slices.DeleteFunc(files, func(f File) bool { return f.List != list || f.Node != node })
	})
}

// listParts returns the parts that a folder has segments of, as files without names.
func listParts(dir string) ([]File, error) {
	return settled(dir, func(files []File) []File {
		for i, f := range files {
			files[i] = File{List: f.List, Node: f.Node}
		}
		slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.part(), b.part()) })
		return slices.Compact(files)
	})
}

// settled lists a folder until two lists in a row have the same of what is chosen. A list alone may have
// neither a segment nor the one that takes its place while the folder is read.
func settled(dir string, choose func([]File) []File) ([]File, error) {
	var before []File
	for try := range tries {
		files, err := List(dir)
		if err != nil {
			return nil, err
		}
		if files = choose(files); try > 0 && slices.Equal(files, before) {
			return files, nil
		}
		before = files
	}
	return nil, fmt.Errorf("the segments in %s changed each time that they were listed: run the same "+
		"command again", dir)
}

// IsFolder reports whether a path is a folder, which may have segments.
func IsFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// errMissing says that a listed segment is not there any more: it was folded, and the folder has to be
// listed again.
var errMissing = errors.New("it was removed meanwhile")

// fetch copies a segment to a local folder.
func fetch(ctx context.Context, dir string, f File, to string) (path string, err error) {
	in, err := os.Open(filepath.Join(dir, f.Name))
	if err == nil {
		defer in.Close()
		path = filepath.Join(to, f.Name)
		err = local(copyTo(ctx, in, path))
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESTALE) {
		if _, e := os.Stat(dir); e == nil {
			err = fmt.Errorf("%s: %w", f.Name, errMissing)
		}
	}
	return path, err
}

// local marks an error for a full disk as one of the disk that segments are made on, not of the folder.
func local(err error) error {
	if draft.Full(err) {
		return fmt.Errorf("%w (%w)", store.ErrFull, err)
	}
	return err
}

func copyTo(ctx context.Context, in io.Reader, path string) error {
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, draft.FileMode)
	if err != nil {
		return err
	}
	return errors.Join(copyAll(ctx, out, in), out.Close())
}

func copyAll(ctx context.Context, out io.Writer, in io.Reader) (err error) {
	const step = 8 << 20 // between looks at the context
	for err == nil {
		if err = ctx.Err(); err == nil {
			_, err = io.CopyN(out, in, step)
		}
	}
	if err == io.EOF {
		err = nil
	}
	return err
}

// ship copies a finished file to a folder: beside its place, synced, then under its name.
func ship(ctx context.Context, from, dir, name string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := draft.Create(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	defer out.Discard() // does nothing to one that has its name
	if err := copyAll(ctx, out.File, in); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return out.PlaceNew()
}

// highest is the highest number among the segments of a part.
func highest(files []File) (n int64) {
	for _, f := range files {
		n = max(n, f.number())
	}
	return n
}
