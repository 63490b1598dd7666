package keep

import (
	"bytes"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"facescan/store"
	"facescan/store/export"
)

// TestForgetSome deletes rows of several tar files and folders: files that have none of them stay as they
// are.
func TestForgetSome(t *testing.T) {
	w, dir := newWork(t, 3000), t.TempDir()
	k := start(t, Options{Job: w.job, Bodies: filepath.Join(dir, "kept"), TarSize: 3000,
		Crops: filepath.Join(dir, "crops")})
	ids := []int64{10, 20, 30, 1010, 1020, 1030}
	for _, id := range ids {
		w.keep(k, shot(t, 300, 1, id))
	}
	ok(t, k.Close())
	others := []string{"crops/000/000020", "crops/000/0000200-1.jpg", "crops/000/-000020.jpg"}
	for _, name := range others {
		ok(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	left := func() (kept, crops []int64) {
		names := members(t, filepath.Join(dir, "kept"))
		have := files(t, filepath.Join(dir, "crops"))
		for _, id := range ids {
			if _, is := names[export.KeptOf(id, "png")]; is {
				kept = append(kept, id)
			}
			if _, is := have[export.CropOf(id, 1)]; is {
				crops = append(crops, id)
			}
		}
		return kept, crops
	}
	temp := filepath.Join(dir, "kept", hidden, "x"+forgetSuffix)
	for _, c := range []struct{ forget, want []int64 }{
		{nil, ids}, {[]int64{1, 9, 11, 1031, 2000}, ids}, {[]int64{20}, []int64{10, 30, 1010, 1020, 1030}},
		{[]int64{10, 20, 1030}, []int64{30, 1010, 1020}}, {[]int64{999, 1000, 1010}, []int64{30, 1020}},
		{[]int64{30, 500, 1020, 2500}, nil},
	} {
		ok(t, os.WriteFile(temp, nil, 0o600)) // of a call that was cut short
		before := files(t, dir)
		f, err := OpenFiles(t.Context(), w.job, log())
		ok(t, err)
		ok(t, f.Forget(c.forget))
		if kept, crops := left(); !slices.Equal(kept, c.want) || !slices.Equal(crops, c.want) {
			t.Errorf("without %d: kept %d, crops of %d; want %d", c.forget, kept, crops, c.want)
		}
		if slices.Equal(c.want, ids) && !reflect.DeepEqual(files(t, dir), before) {
			t.Errorf("without %d: files are not the same", c.forget)
		}
		if names := leftOver(t, filepath.Join(dir, "kept")); len(names) > 0 {
			t.Errorf("without %d: left over: %v", c.forget, names)
		}
	}
	slices.Sort(others)
	if got := slices.Sorted(maps.Keys(files(t, dir))); !slices.Equal(got, others) {
		t.Errorf("at last %v, want %v", got, others)
	}
}

// TestForgetFails: what cannot be looked at or rewritten is named, with what to do, and stays as it is.
func TestForgetFails(t *testing.T) {
	const damaged = ".tar: it cannot be rewritten, as it is damaged at or before byte "
	for name, c := range map[string]struct {
		breakIt func(t *testing.T, dir, tar string)
		want    string // after the flag and the folder
		opens   bool
	}{
		"more behind its end": {func(t *testing.T, _, tar string) {
			f, err := os.OpenFile(tar, os.O_APPEND|os.O_WRONLY, 0)
			ok(t, err)
			_, err = f.Write(append(make([]byte, 100_000), 1))
			ok(t, errors.Join(err, f.Close()))
		}, damaged + "5120: remove it, with the file .idx beside it, then run the same command again", true},
		"another body": {func(t *testing.T, _, tar string) {
			b, err := os.ReadFile(tar)
			ok(t, err)
			i := bytes.LastIndex(b, []byte("IEND"))
			b[i]++
			ok(t, os.WriteFile(tar, b, 0o600))
		}, damaged, true},
		"no tar": {func(t *testing.T, _, tar string) { ok(t, os.Remove(tar)); ok(t, os.Mkdir(tar, 0o700)) },
			"is a directory", true},
		"no folder for the new tar": {func(t *testing.T, dir, tar string) {
			temp := strings.TrimSuffix(filepath.Base(tar), ".tar") + forgetSuffix
			ok(t, os.MkdirAll(filepath.Join(dir, "kept", hidden, temp, "x"), 0o700))
		}, "directory not empty", true},
		"no index": {func(t *testing.T, _, tar string) {
			index := strings.TrimSuffix(tar, ".tar") + ".idx"
			ok(t, os.Remove(index))
			ok(t, os.Mkdir(index, 0o700))
		}, "is a directory", false},
		"an index that goes bad": {func(t *testing.T, _, tar string) {
			index := strings.TrimSuffix(tar, ".tar") + ".idx"
			ok(t, os.Remove(index))
			ok(t, os.Mkdir(index, 0o700))
		}, "is a directory", true},
		"no crops": {func(t *testing.T, dir, _ string) {
			blocked(t, filepath.Join(dir, "crops", "000"))
		}, "not a directory", true},
		"a crop that stays": {func(t *testing.T, dir, _ string) {
			ok(t, os.MkdirAll(filepath.Join(dir, "crops", "000", "000001-9.jpg", "x"), 0o700))
		}, "directory not empty", true},
		"no token": {func(t *testing.T, dir, _ string) {
			path := filepath.Join(dir, "crops", hidden, jobFile)
			ok(t, os.Remove(path))
			ok(t, os.Mkdir(path, 0o700))
		}, "is a directory", false},
	} {
		t.Run(name, func(t *testing.T) {
			w, dir := newWork(t, 2), t.TempDir()
			k := start(t, Options{Job: w.job, Bodies: filepath.Join(dir, "kept"),
				Crops: filepath.Join(dir, "crops")})
			w.keep(k, shot(t, 300, 1, 1))
			w.keep(k, shot(t, 300, 1, 2))
			ok(t, k.Close())
			tars, err := filepath.Glob(filepath.Join(dir, "kept", "*.tar"))
			ok(t, err)
			f, err := OpenFiles(t.Context(), w.job, log())
			ok(t, err)
			c.breakIt(t, dir, tars[0])
			before := files(t, filepath.Join(dir, "kept"))
			if !c.opens {
				f, err = OpenFiles(t.Context(), w.job, log())
			}
			if (err == nil) != c.opens {
				t.Errorf("opened: %v", err)
			}
			if err == nil {
				err = f.Forget([]int64{1})
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
			if strings.Contains(c.want, damaged) && (!errors.Is(err, errDamaged) ||
				!reflect.DeepEqual(files(t, filepath.Join(dir, "kept")), before)) {
				t.Errorf("%v, or the file is another one", err)
			}
		})
	}
}

// TestForgetFiles deletes what is kept of some rows, in every form: the bytes or smaller picture, the result
// beside it, crops, the blurred picture. Other rows keep theirs. It is refused while a process lives.
func TestForgetFiles(t *testing.T) {
	for _, form := range []Form{{}, {JSON: true}, {Size: 90, Quality: 80, JSON: true},
		{Size: 90, Quality: 80}} {
		dir, w := t.TempDir(), newWork(t, 4)
		o := inForm(w.job, filepath.Join(dir, "kept"), form)
		o.Crops, o.Blurred = filepath.Join(dir, "crops"), filepath.Join(dir, "blurred")
		k := start(t, o)
		for id := int64(1); id <= 2; id++ {
			w.keep(k, processed(drawn(t, "png", 200, 150, twoFaces...), "png", twoFaces, id))
		}
		shared := processed(drawn(t, "png", 210, 150, twoFaces...), "png", twoFaces, 3, 4)
		shared.Rows[1].URL = row(3).URL
		w.keep(k, shared)
		log := slog.New(slog.DiscardHandler)
		if _, err := OpenFiles(t.Context(), w.job, log); err == nil ||
			!strings.Contains(err.Error(), "stop it first") {
			t.Errorf("%+v: beside a process: %v", form, err)
		}
		ok(t, k.Close())
		for _, ids := range [][]int64{{2, 3}, {2, 3}, {5}} { // again does no harm
			f, err := OpenFiles(t.Context(), w.job, log)
			ok(t, err)
			if len(f.Missing) > 0 {
				t.Errorf("%+v: missing %v", form, f.Missing)
			}
			ok(t, f.Forget(ids))
		}
		left := members(t, o.Bodies)
		for _, folder := range []string{o.Crops, o.Blurred} {
			for name, b := range files(t, folder) {
				left[filepath.Base(folder)+"/"+name] = string(b)
			}
		}
		perRow := 1 + 2 + 1
		if form.JSON {
			perRow++
		}
		if len(left) != 2*perRow {
			t.Errorf("%+v: %d files of two rows", form, len(left))
		}
		for name := range left {
			if strings.Contains(name, "000002") || strings.Contains(name, "000003") {
				t.Errorf("%+v: %s is still there", form, name)
			}
		}
		for name, b := range files(t, dir) {
			for _, url := range []string{"host/2.jpg", `"id":2,`, `"id":3,`} {
				if bytes.Contains(b, []byte(url)) {
					t.Errorf("%+v: %q is in %s", form, url, name)
				}
			}
		}
		k = start(t, Options{Job: w.job})
		if o, err := k.Read(row(1)); err != nil || len(o.Body) == 0 {
			t.Errorf("%+v: row 1 is not read: %v", form, err)
		}
		if o, err := k.Read(store.Row{ID: 4, URL: row(3).URL}); err != nil || len(o.Body) == 0 {
			t.Errorf("%+v: row 4 is not read: %v", form, err)
		}
		ok(t, k.Close())
		ok(t, os.RemoveAll(o.Crops))
		f, err := OpenFiles(t.Context(), w.job, log)
		if err != nil || len(f.Missing) != 1 || f.Missing[0] != o.Crops {
			t.Errorf("%+v: missing %v, %v", form, f, err)
		}
	}
}
