package source

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"facescan/store/hint"
)

// Expand returns the lists that arguments name: a file names itself, "-" standard input, a folder the lists
// in it and below it, and a pattern (* ? [ ]), unless a file has that name, the files that match. The lists
// of a folder or a pattern are sorted by name, so that sources get the same numbers every time; a list named
// twice comes once. Hidden files are skipped unless they are named. Formats are filled in; a file that begins
// like a SQLite database is one under any name. For lists that are growing, a folder or a pattern may have no
// list yet.
func Expand(args []string, growing bool) ([]Spec, error) {
	paths, err := expand(args, growing)
	if err != nil {
		return nil, err
	}
	specs := make([]Spec, 0, len(paths))
	seen := map[string]bool{}
	for _, path := range paths {
		if clean := filepath.Clean(path); !seen[clean] {
			seen[clean] = true
			format, err := formatOfFile(path)
			if err != nil {
				return nil, err
			}
			specs = append(specs, Spec{Path: path, Format: format, Growing: growing})
		}
	}
	return specs, nil
}

func expand(args []string, growing bool) (paths []string, err error) {
	for _, arg := range args {
		found := []string{arg}
		fi, err := os.Stat(arg)
		switch {
		case arg == "-":
			err = nil
		case err == nil && fi.IsDir():
			if found, err = listsIn(arg); err == nil && len(found) == 0 && !growing {
				err = usagef("no list is in the folder %s: names should end in .%s; if it holds images "+
					"instead of lists, add --images", arg, strings.Join(Formats, ", ."))
			}
		case errors.Is(err, fs.ErrNotExist) && strings.ContainsAny(arg, "*?["):
			if found, err = filepath.Glob(arg); err != nil {
				return nil, usagef("%s is not a pattern for file names: a [ has no ]", arg)
			}
			if !hidden(arg) {
				found = slices.DeleteFunc(found, hidden)
			}
			if len(found) == 0 && !growing {
				return nil, usagef("no file matches %s", arg)
			}
			slices.Sort(found)
			found, err = expand(found, growing)
		}
		if err != nil {
			return nil, err
		}
		paths = append(paths, found...)
	}
	return paths, nil
}

func hidden(path string) bool { return strings.HasPrefix(filepath.Base(path), ".") }

func formatOfFile(path string) (string, error) {
	if format, _ := FormatOf(path); format != "" {
		return format, nil
	}
	if is, err := isSQLite(path); err != nil {
		return "", err
	} else if is {
		return "sqlite", nil
	}
	if fi, err := os.Stat(path); err == nil && fi.Mode()&(fs.ModeNamedPipe|fs.ModeCharDevice) != 0 {
		return "txt", nil // e.g. of <(command)
	}
	return "", unknownFormat(path)
}

// listsIn finds the files in a folder, and below it, whose names end like those of lists.
func listsIn(folder string) (paths []string, err error) {
	err = filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if hidden(path) && path != folder {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if format, _ := FormatOf(path); format != "" && !d.IsDir() {
			paths = append(paths, path)
		}
		return nil
	})
	slices.Sort(paths)
	return paths, err
}

// sqliteMagic begins every SQLite database.
const sqliteMagic = "SQLite format 3\x00"

func isSQLite(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return false, err
	}
	head, err := io.ReadAll(io.LimitReader(f, int64(len(sqliteMagic))))
	return string(head) == sqliteMagic, err
}

func unknownFormat(path string) error {
	instead := ""
	switch {
	case IsImageName(path):
		instead = "; to find the faces in an image type: " + hint.On("detect", path)
	case strings.EqualFold(filepath.Ext(path), ".tar"):
		instead = "; if it holds images, add --images"
	}
	return usagef("%s is not a list that facescan knows: its name should end in .%s, each but the last also "+
		"with .gz or .zst%s", path, strings.Join(Formats, ", ."), instead)
}
