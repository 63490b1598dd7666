package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"facescan/store"
	"facescan/store/draft"
	"facescan/store/storetest/must"
)

// TestParse reads the names of segments, and what is none.
func TestParse(t *testing.T) {
	for name, want := range map[string]string{
		"urls.00000012-1a2b3c4d.segment.db":             "urls {0 0} 12 1a2b3c4d",
		"urls.node-3-of-8.00000012-00000001.segment.db": "urls {3 8} 12 1",
		".node-3-of-8.node-1-of-2.2147483647-ffffffff.segment.db": ".node-3-of-8 {1 2} 2147483647 " +
			"ffffffff",
		"urls.2147483648-00000000.segment.db":                              "",
		"urls.node-3-of-3.00000012-00000001.segment.db":                    "",
		"urls.node-03-of-8.00000012-00000001.segment.db":                   "",
		"urls.0000012-1a2b3c4d.segment.db":                                 "",
		"urls.00000012-1A2B3C4D.segment.db":                                "",
		".00000012-1a2b3c4d.segment.db":                                    "",
		"urls.00000012-1a2b3c4d.segment.db-wal":                            "",
		"urls.node-99999999999999999999-of-2.00000012-1a2b3c4d.segment.db": "",
	} {
		got := ""
		if f, ok := parse(name); ok {
			got = fmt.Sprintf("%s {%d %d} %d %x", f.List, f.Node.I, f.Node.Of, f.number(),
				f.Publication&(1<<randomBits-1))
		}
		if got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for _, node := range []store.Node{{}, {I: 2, Of: 7}} {
		made := newFile("urls.txt", node, 1<<31-1)
		if read, ok := parse(made.Name); !ok || read != made {
			t.Errorf("%+v is read as %+v", made, read)
		}
	}
}

// TestList: what is called like a segment, and is not a file, is not one.
func TestList(t *testing.T) {
	dir := t.TempDir()
	path := func(number int) string {
		return filepath.Join(dir, fmt.Sprintf("urls.%08d-00000000.segment.db", number))
	}
	must.OK(t, os.WriteFile(path(1), make([]byte, 70), 0o600))
	must.OK(t, os.Mkdir(path(2), 0o700))
	must.OK(t, os.Symlink(path(1), path(3)))
	files := must.Get(List(dir))(t)
	if len(files) != 1 || files[0].number() != 1 || files[0].Size != 70 {
		t.Errorf("%+v", files)
	}
	if _, err := List(filepath.Join(dir, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestFoldAllCleans removes what dead writers of the part left unfinished, however young, and nothing of
// other parts.
func TestFoldAllCleans(t *testing.T) {
	dir := t.TempDir()
	w := newWriter(t, dir)
	w.do(1, 1)
	must.OK(t, w.Publish(t.Context()))
	draft := func(of string) string {
		return "." + of +
			".00000007-00000000.segment.db.0123456789abcdef.part"
	}
	others := []string{draft("list.node-0-of-2"), draft("another")}
	for _, name := range append(others, draft("list")) {
		must.OK(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	must.OK(t, w.FoldAll(t.Context()))
	var left []string
	for _, e := range must.Get(os.ReadDir(dir))(t) {
		if _, isSegment := parse(e.Name()); !isSegment {
			left = append(left, e.Name())
		}
	}
	slices.Sort(others)
	if !slices.Equal(left, others) {
		t.Errorf("left %q, want %q", left, others)
	}
}

// TestSettingsOf leaves out the settings that are of a segment, or of a job's own doings.
func TestSettingsOf(t *testing.T) {
	settings := map[string]string{"detector": "d", store.NodeSetting: "0/2"}
	for _, key := range []string{knownSetting, rowsSetting, store.OutputSetting + "out", store.MergeSetting,
		store.MergePartsSetting, store.MergeInputsSetting, store.ForgetSetting} {
		settings[key] = "1"
	}
	if got := settingsOf(settings); len(got) != 2 || got["detector"] != "d" ||
		got[store.NodeSetting] != "0/2" {
		t.Errorf("%v", got)
	}
}

// TestWholeRows: a part's rows are known of lists that were read to the end, and are all there.
func TestWholeRows(t *testing.T) {
	sources := []store.Source{{Complete: true, Rows: 5}, {Number: 1, Rows: 7},
		{Number: 2, Complete: true, Rows: 9}}
	if got := wholeRows(sources, store.FillLater(2)); got != "[5,-1,-1]" {
		t.Error(got)
	}
	if got := Folder(map[string]string{folderSetting: "/f"}); got != "" {
		t.Errorf("a job that was not published is in %s", got)
	}
}

// TestListPart: segments of a part are those of its list and of its node alike.
func TestListPart(t *testing.T) {
	dir := t.TempDir()
	var want []string
	for _, list := range []string{"list", "other"} {
		for _, node := range []store.Node{{}, {I: 0, Of: 2}, {I: 1, Of: 2}} {
			f := newFile(list, node, 1)
			must.OK(t, os.WriteFile(filepath.Join(dir, f.Name), nil, 0o600))
			want = append(want, f.Name)
			got := must.Get(listPart(dir, list, node))(t)
			if len(got) != 1 || got[0].Name != f.Name {
				t.Errorf("of %s, %v, there are %v; want %s", list, node, got, f.Name)
			}
		}
	}
	if all := names(t, dir); len(all) != len(want) {
		t.Errorf("there are %v, want %v", all, want)
	}
}

// TestCutNames has what dead writers left of lists with long names: FoldAll removes what is of the part, and
// listing what is old.
func TestCutNames(t *testing.T) {
	for _, n := range []int{165, 172, 180, 190, 199, 200, 220} {
		for _, old := range []bool{false, true} {
			dir := t.TempDir()
			w := newWriter(t, dir)
			w.List = strings.Repeat("x", n)
			w.do(1, 1)
			must.OK(t, w.Publish(t.Context()))
			put := func(name string) string {
				path := filepath.Join(dir, "."+name[:min(len(name), draft.Longest)]+".0123456789abcdef.part")
				must.OK(t, os.WriteFile(path, nil, 0o600))
				if old {
					must.OK(t, os.Chtimes(path, time.Time{}, time.Now().Add(-2*stale)))
				}
				return path
			}
			mine := put(newFile(w.List, store.Node{}, 9).Name)
			other := put(newFile("y"+w.List[1:], store.Node{}, 9).Name)
			export := put(strings.Repeat("x", 150) + strings.Repeat("-", 50))
			if old && n < draft.Longest-10 {
				must.Get(List(dir))(t)
			} else {
				must.OK(t, w.FoldAll(t.Context()))
			}
			if _, err := os.Lstat(mine); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%d, old %v: %s is left", n, old, mine)
			}
			_, err := os.Lstat(other)
			if gone := errors.Is(err, fs.ErrNotExist); gone != (old && n < draft.Longest) {
				t.Errorf("%d, old %v: that of the other list: %v", n, old, err)
			}
			_, err = os.Lstat(export)
			must.OK(t, err)
		}
	}
}

// TestCheckList refuses each list whose segments are not listed as its own, and no other.
func TestCheckList(t *testing.T) {
	for _, node := range []store.Node{{}, {I: 1, Of: 3}} {
		for _, name := range []string{"urls", ".node-1-of-2", "urls.node-1-of-2", "urls.node-5-of-3", "a\nb",
			"\n", "urls.node-01-of-2", "urls.00000001-00000002", "urls.node-1-of-2.csv", "ü ",
			"urls.node-1-of-2\n", "urls.node--1-of-2", strings.Repeat("x", 200), strings.Repeat("x", 250)} {
			dir := t.TempDir()
			f := newFile(name, node, 1<<31-1)
			err := os.WriteFile(filepath.Join(dir, f.Name), nil, 0o600)
			files := must.Get(listPart(dir, name, node))(t)
			found := err == nil && len(files) == 1 && files[0] == f
			if err := CheckList(name, node); (err == nil) != found {
				t.Errorf("%q of %v: %v; listed: %v", name, node, err, found)
			}
		}
	}
}
