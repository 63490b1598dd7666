package source

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"facescan/store/hint"
	"facescan/store/listed"
)

// Formats of sources that are images in files of this machine, not URLs.
const (
	Folder = "folder" // searched through
	Tar    = "tar"
)

// HasImages reports whether a source of a format has images instead of URLs.
func HasImages(format string) bool { return format == Folder || format == Tar }

// File is what a row's file looks like.
type File = listed.File

// Passed counts the files that are not rows of a source with images, apart from hidden ones and links.
type Passed struct {
	Other   int64 // without the name of an image, or no regular file
	Folders int64 // that must not be read
	Folder  string
	Cut     bool // of a tar, known from the first row on: it cannot be read to its end
}

// Images reads a folder or tar of images. Rows come in byte order of their paths, or of the members' names,
// and are numbered in this order from 1.
type Images interface {
	Reader
	// Passed is final at the end.
	Passed() Passed
	// At is the position after an import: the last id of the source, up to which id rows ascend by their
	// paths, and whether the source was read to its end.
	At(last, ascending int64, end bool) Position
	// Unchanged reports whether a source is as it was when it was read to its end, without reading it: of a
	// tar its size and time of change show that.
	Unchanged(since Position) bool
}

// Ascending is up to which id the rows of a source with images ascend by their paths, by At.
func Ascending(p Position) (int64, error) {
	m, err := parseMark(p.Mark)
	return m.ID, err
}

var imageSuffixes = map[string]bool{"jpg": true, "jpeg": true, "jpe": true, "jfif": true, "png": true,
	"gif": true, "webp": true, "bmp": true, "tif": true, "tiff": true, "avif": true, "heic": true,
	"heif": true}

// IsImageName reports whether a file's name ends like an image's.
func IsImageName(name string) bool {
	dot := strings.LastIndexByte(name, '.')
	return dot >= 0 && imageSuffixes[strings.ToLower(name[dot+1:])]
}

// OpenImages opens a folder or tar.
func OpenImages(ctx context.Context, s Spec) (Images, error) {
	path, err := filepath.Abs(s.Path)
	if err != nil {
		return nil, err
	}
	if s.Format == Tar {
		return openTar(ctx, path)
	}
	return openFolder(ctx, path, s.Growing)
}

// ExpandImages returns the sources that arguments name with --images: folders and tar files, and those that a
// pattern (* ? [ ]) matches. One that is named twice comes once. One that is in another is refused, since
// its images would be rows twice.
func ExpandImages(args []string, growing bool) ([]Spec, error) {
	var specs []Spec
	for _, arg := range args {
		if arg == "-" {
			return nil, usagef("--images reads folders and tar files, not standard input: name them, or " +
				"leave --images out to read a list of URLs")
		}
		paths := []string{arg}
		_, err := os.Stat(arg)
		if errors.Is(err, fs.ErrNotExist) && strings.ContainsAny(arg, "*?[") {
			if paths, err = filepath.Glob(arg); err != nil || len(paths) == 0 {
				return nil, usagef("no folder or tar file matches %s", arg)
			}
			slices.Sort(paths)
		} else if err != nil {
			return nil, err
		}
		for _, path := range paths {
			spec, err := imagesAt(path, growing)
			if err != nil {
				return nil, err
			}
			if !slices.ContainsFunc(specs, func(s Spec) bool { return SameFile(s.Path, spec.Path) }) {
				specs = append(specs, spec)
			}
		}
	}
	for _, inner := range specs {
		for _, outer := range specs {
			if err := CheckNested(inner.Path, outer.Path); err != nil {
				return nil, err
			}
		}
	}
	return specs, nil
}

// CheckNested refuses a folder that is in another one.
func CheckNested(inner, outer string) error {
	fi, err := os.Stat(inner)
	if err != nil || !fi.IsDir() {
		return nil // a tar is never searched for
	}
	if a, err := filepath.EvalSymlinks(inner); err == nil {
		inner = a
	}
	if b, err := filepath.EvalSymlinks(outer); err == nil {
		outer = b
	}
	rel, err := filepath.Rel(outer, inner)
	if err != nil || rel == "." || !filepath.IsLocal(rel) {
		return nil
	}
	return usagef("the folder %s is in %s, and folders of images are searched through, so its images "+
		"would be read twice: leave one of the two out, or give the inner one a job of its own with "+
		"--db", inner, outer)
}

// SameFile reports whether two paths are one file or folder.
func SameFile(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	two, err := os.Stat(b)
	return err == nil && os.SameFile(one, two)
}

// imagesAt finds out whether a path is a folder or a tar.
func imagesAt(path string, growing bool) (Spec, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return Spec{}, err
	}
	fi, err := os.Stat(path)
	switch {
	case err != nil:
		return Spec{}, err
	case fi.IsDir():
		return Spec{Path: abs, Format: Folder, Growing: growing}, nil
	case !fi.Mode().IsRegular():
		return Spec{}, usagef("%s is neither a folder nor a regular file: --images takes folders and tar "+
			"files", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return Spec{}, err
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, headSize))
	if err != nil {
		return Spec{}, fmt.Errorf("read %s: %w", path, err)
	}
	if why := noTar(path, head); why != "" {
		return Spec{}, usagef("%s", why)
	}
	return Spec{Path: abs, Format: Tar, Growing: growing}, nil
}

// noTar says why the first bytes of a file are not those of a tar, and what to do; empty if they are.
func noTar(path string, head []byte) string {
	for _, c := range []struct{ magic, name, suffix, unpack string }{
		{"\x1f\x8b", "gzip", ".gz", "gunzip -k"}, {"\x28\xb5\x2f\xfd", "zstd", ".zst", "zstd -d"},
		{"BZh", "bzip2", ".bz2", "bunzip2 -k"}, {"\xfd7zXZ\x00", "xz", ".xz", "xz -dk"},
	} {
		if !strings.HasPrefix(string(head), c.magic) {
			continue
		}
		to := strings.TrimSuffix(path, c.suffix)
		if to == path || !strings.HasSuffix(to, ".tar") {
			to = "that"
		}
		return fmt.Sprintf("%s is compressed with %s, and members of a compressed tar cannot be read on "+
			"their own: unpack it first (%s %s), then give %s", path, c.name, c.unpack,
			hint.Words(hint.Name(path)), to)
	}
	if strings.HasPrefix(string(head), "PK\x03\x04") {
		return fmt.Sprintf("%s is a zip archive, and --images takes folders and tar files: unpack it first "+
			"(unzip %s -d FOLDER), then give the folder", path, hint.Words(hint.Name(path)))
	}
	_, err := tar.NewReader(strings.NewReader(string(head))).Next()
	if err == nil || errors.Is(err, io.ErrUnexpectedEOF) && len(head) == headSize || isEmptyTar(head) {
		return ""
	}
	what := "is neither a folder nor a tar file"
	if strings.HasPrefix(string(head), sqliteMagic) {
		what = "is a database or a job, not a folder or tar file"
	} else if kind, _ := binaryKind(path, head); strings.HasPrefix(kind, "an image") {
		return fmt.Sprintf("%s is an image: give --images the folder it is in, or find the faces in it: %s",
			path, hint.On("detect", path))
	}
	return fmt.Sprintf("%s %s: give --images a folder or an uncompressed tar, or leave --images out to "+
		"read a list of URLs or go on with a job", path, what)
}

// isEmptyTar reports whether a file has only the zeros at the end of a tar.
func isEmptyTar(head []byte) bool {
	return len(head) >= 1024 && strings.Trim(string(head), "\x00") == ""
}

// checkImages returns a *UsageError if a source has no image.
func checkImages(ctx context.Context, s Spec) error {
	if s.Growing {
		return nil
	}
	r, err := OpenImages(ctx, s)
	if err != nil {
		return err
	}
	defer r.Close()
	found := false
	if t, is := r.(*tarFile); is { // Next would read all of it
		err = t.scan(func(member) (bool, error) {
			found = true
			return false, nil
		})
	} else {
		var n int
		n, err = r.Next(make([]Row, 1))
		found = n > 0
	}
	if found || err != nil && err != io.EOF {
		return err
	}
	return NoImage(s)
}

// NoImage is the error of a source that has no image.
func NoImage(s Spec) error {
	if s.Format == Tar {
		return usagef("no image is in the tar %s: names of images end in .jpg, .png, .webp and the like",
			s.Path)
	}
	return usagef("no image is in the folder %s: names of images end in .jpg, .png, .webp and the like; "+
		"if it should have some, check that its disk is mounted", s.Path)
}

// numbered is what both readers share.
type numbered struct {
	n      int64 // rows that were returned
	passed Passed
	info   stat // of a tar
}

func (c *numbered) Progress() float64  { return 0 }
func (c *numbered) Passed() Passed     { return c.passed }
func (c *numbered) Position() Position { return c.At(c.n, c.n, false) }

func (c *numbered) At(last, ascending int64, end bool) Position {
	m := mark{Step: 1, ID: ascending, End: end}
	if end {
		m.File = c.info
	}
	return Position{Line: last, Mark: m.encode()}
}

// Unchanged reports that nothing changed only where a file shows that: a folder has to be read.
func (c *numbered) Unchanged(since Position) bool {
	m, err := parseMark(since.Mark)
	return err == nil && m.End && m.File == c.info && c.info != stat{}
}

// take makes the next row; false for one whose URL would be too long.
func (c *numbered) take(row *Row, url string, f File) bool {
	if len(url) > MaxURL {
		c.passed.Other++
		return false
	}
	c.n++
	*row = Row{ID: c.n, URL: url, File: &f}
	return true
}

// Searches reports whether files in a folder, which need not be there yet, would be found in another one.
func Searches(outer, folder string) bool {
	if real, err := filepath.EvalSymlinks(outer); err == nil {
		outer = real
	}
	rel, err := filepath.Rel(outer, folder)
	return err == nil && filepath.IsLocal(rel) && !slices.ContainsFunc(strings.Split(rel, "/"),
		func(part string) bool { return part != "." && strings.HasPrefix(part, ".") })
}
