// Package keeptest reads for tests what is kept of images.
package keeptest

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// Entry is an entry of a tar file. A hard link has the content of the entry that it links to.
type Entry struct {
	Name    string
	Link    bool
	Content []byte
}

// Tars are the entries of each tar file in a folder, in the order of the files' names.
func Tars(t testing.TB, dir string) (tars [][]Entry) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.tar"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		entries, err := read(path)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		tars = append(tars, entries)
	}
	return tars
}

func read(path string) (entries []Entry, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	byName := map[string][]byte{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return entries, nil
		}
		if err != nil {
			return nil, err
		}
		e := Entry{Name: h.Name, Link: h.Typeflag == tar.TypeLink}
		if e.Link {
			e.Content = byName[h.Linkname]
		} else if e.Content, err = io.ReadAll(r); err != nil {
			return nil, err
		}
		byName[e.Name] = e.Content
		entries = append(entries, e)
	}
}

// Pair is an image with the result behind it.
type Pair struct {
	Name          string
	Image, Result []byte
}

// Pairs are the images in the tar files of a folder, each of which must have its result right behind it.
func Pairs(t testing.TB, dir string) (pairs []Pair) {
	t.Helper()
	for _, entries := range Tars(t, dir) {
		for len(entries) > 0 {
			image := entries[0]
			want := image.Name[:len(image.Name)-len(filepath.Ext(image.Name))] + ".json"
			if len(entries) == 1 || entries[1].Name != want || entries[1].Link {
				t.Fatalf("%s has no result behind it", image.Name)
			}
			pairs = append(pairs, Pair{image.Name, image.Content, entries[1].Content})
			entries = entries[2:]
		}
	}
	return pairs
}
