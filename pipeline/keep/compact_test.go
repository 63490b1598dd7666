package keep

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCompactFails: a tar file that cannot be rewritten without some of its rows stays as it was.
func TestCompactFails(t *testing.T) {
	whole := sample(t)
	for name, breakIt := range map[string]func(path string, f *os.File, groups []group) error{
		"no room beside it": func(path string, _ *os.File, _ []group) error {
			return os.Mkdir(path+compactSuffix, 0o755)
		},
		"a damaged body": func(_ string, f *os.File, groups []group) error {
			_, err := f.WriteAt([]byte("x"), groups[0].at+groups[0].size-block)
			return err
		},
		"a cut file": func(_ string, f *os.File, groups []group) error {
			return f.Truncate(groups[0].size / 2)
		},
	} {
		path := filepath.Join(t.TempDir(), "x"+partSuffix)
		ok(t, os.WriteFile(path, whole, 0o600))
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		ok(t, err)
		groups, size, err := walk(f)
		ok(t, err)
		ok(t, breakIt(path, f, groups))
		before, err := os.ReadFile(path)
		ok(t, err)
		same, _, _, err := compact(f, groups, size, func(e entry, _ note) bool { return e.id < 3 })
		if err == nil || same != f {
			t.Errorf("%s: compacted, %v", name, err)
		}
		if errors.Is(err, os.ErrInvalid) {
			t.Errorf("%s: the new file was not closed: %v", name, err)
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
			t.Errorf("%s: %d bytes, %d before, %v", name, len(after), len(before), err)
		}
		if info, err := os.Stat(path + compactSuffix); err == nil && !info.IsDir() {
			t.Errorf("%s: the new file was left behind", name)
		}
		ok(t, f.Close())
	}
}

// TestSealFails: an error while a tar file is ended is returned, and the next process takes the file over.
func TestSealFails(t *testing.T) {
	for name, breakIt := range map[string]func(p *part) error{
		"closed":            func(p *part) error { return p.file.Close() },
		"no room beside it": func(p *part) error { return os.Mkdir(p.file.Name()+compactSuffix, 0o755) },
	} {
		dir, w := t.TempDir(), newWork(t, 2)
		k := start(t, Options{Job: w.job, Bodies: dir})
		w.keep(k, processed([]byte("first"), "jpeg", nil, 1))
		_, err := k.Keep(context.Background(), processed([]byte("second"), "jpeg", nil, 2))
		ok(t, err)
		ok(t, k.writer.sync())
		ok(t, k.Drop([]int64{2}))
		ok(t, breakIt(k.writer.parts[0]))
		if err := k.Close(); err == nil || errors.Is(err, errDamaged) {
			t.Errorf("%s: closed with %v", name, err)
		}
		k = start(t, Options{Job: w.job, Bodies: dir})
		if o, err := k.Read(row(1)); err != nil || string(o.Body) != "first" {
			t.Errorf("%s: the row that is done reads as %q, %v", name, o.Body, err)
		}
		if _, found := k.Find(2); found {
			t.Errorf("%s: the row that is not done was kept", name)
		}
		ok(t, k.Close())
	}
}

// TestDamagedWhileWritten: a file in which rows are missing that are done is not sealed without them.
func TestDamagedWhileWritten(t *testing.T) {
	dir, w := t.TempDir(), newWork(t, 3)
	k := start(t, Options{Job: w.job, Bodies: dir})
	body := drawn(t, "jpeg", 200, 150)
	for id := int64(1); id <= 2; id++ {
		w.keep(k, processed(body, "jpeg", nil, id))
	}
	_, err := k.Keep(t.Context(), processed(body, "jpeg", nil, 3))
	ok(t, err)
	ok(t, k.Drop([]int64{3}))
	p := k.writer.parts[0]
	ok(t, p.save())
	_, err = p.file.WriteAt([]byte{0}, p.byID[2].at+10)
	ok(t, err)
	if err := k.Close(); !errors.Is(err, errDamaged) || !strings.Contains(err.Error(), p.file.Name()) {
		t.Errorf("closed: %v", err)
	}
	if _, err := os.Stat(p.file.Name()); err != nil || len(files(t, dir)) > 0 {
		t.Errorf("%v, %d files", err, len(files(t, dir)))
	}
}
