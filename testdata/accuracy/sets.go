package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// set is a folder of pictures.
type set struct {
	name     string
	pictures []picture
}

// picture is a file with what people saw in it.
type picture struct {
	path   string
	body   []byte
	faces  []box // that count
	ignore []box // that do not
}

// box is in pixels of the stored image.
type box struct{ x, y, w, h float64 }

// small is the geometric mean of the sides below which a face does not count.
const small = 24

func readSets(dirs []string) ([]set, error) {
	if len(dirs) == 0 {
		return nil, errors.New("no folder given: name one that holds pictures and annotations.csv")
	}
	var sets []set
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() || d.Name() == "images" {
				return err
			}
			s, err := readSet(path)
			if err == nil && len(s.pictures) > 0 {
				sets = append(sets, s)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if len(sets) == 0 {
		return nil, fmt.Errorf("no picture in %s: a set is a folder of pictures, or one with a folder "+
			"images/ in it", strings.Join(dirs, ", "))
	}
	return sets, nil
}

func readSet(dir string) (set, error) {
	s := set{name: filepath.Base(dir)}
	pictures := filepath.Join(dir, "images")
	if _, err := os.Stat(pictures); err != nil {
		pictures = dir
	}
	faces, err := readBoxes(filepath.Join(dir, "annotations.csv"))
	if err != nil {
		return s, err
	}
	ignore, err := readBoxes(filepath.Join(dir, "ignore.csv"))
	if err != nil {
		return s, err
	}
	entries, err := os.ReadDir(pictures)
	if err != nil {
		return s, err
	}
	for _, e := range entries {
		kinds := []string{".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".heic"}
		if e.IsDir() || !slices.Contains(kinds, strings.ToLower(filepath.Ext(e.Name()))) {
			continue
		}
		p := picture{path: filepath.Join(pictures, e.Name()), ignore: ignore[e.Name()]}
		if p.body, err = os.ReadFile(p.path); err != nil {
			return s, err
		}
		for _, f := range faces[e.Name()] {
			if f.w*f.h < small*small {
				p.ignore = append(p.ignore, f)
			} else {
				p.faces = append(p.faces, f)
			}
		}
		delete(faces, e.Name())
		s.pictures = append(s.pictures, p)
	}
	for name := range faces {
		return s, fmt.Errorf("%s names %s, which is not there", filepath.Join(dir, "annotations.csv"), name)
	}
	return s, nil
}

// readBoxes reads file,x,y,w,h rows; an absent file has none.
func readBoxes(path string) (map[string][]box, error) {
	boxes := map[string][]box{}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return boxes, nil
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.FieldsPerRecord = 5
	rows, err := r.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for i, row := range rows[min(1, len(rows)):] {
		var v [4]float64
		for j := range v {
			if v[j], err = strconv.ParseFloat(row[j+1], 64); err != nil {
				return nil, fmt.Errorf("%s, row %d: %w", path, i+2, err)
			}
		}
		boxes[row[0]] = append(boxes[row[0]], box{v[0], v[1], v[2], v[3]})
	}
	return boxes, nil
}
