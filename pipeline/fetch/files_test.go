package fetch_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"facescan/pipeline/fetch"
	"facescan/pipeline/fileurl"
)

// bytesOf attempts a file, and holds that no memory is kept back.
func bytesOf(t *testing.T, read func(mem fetch.Memory) (*fetch.Body, error)) (string, error) {
	t.Helper()
	mem := newBudget()
	defer func() {
		if mem.held != 0 {
			t.Errorf("%d bytes of the budget are not given back", mem.held)
		}
	}()
	b, err := read(mem)
	if err != nil {
		return "", err
	}
	defer b.Release()
	return string(b.Bytes), nil
}

func readFile(t *testing.T, f *fetch.Fetcher, file fetch.File) (string, error) {
	t.Helper()
	return bytesOf(t, func(mem fetch.Memory) (*fetch.Body, error) {
		return f.FetchFile(t.Context(), file, mem)
	})
}

func readListed(t *testing.T, f *fetch.Fetcher, url string) (string, error) {
	t.Helper()
	return bytesOf(t, func(mem fetch.Memory) (*fetch.Body, error) { return f.Fetch(t.Context(), url, mem) })
}

func reasonOf(err error) string {
	var e *fetch.Error
	var gone *fetch.GoneError
	switch {
	case errors.As(err, &e):
		return e.Reason
	case errors.As(err, &gone):
		return "gone"
	case err != nil:
		return err.Error()
	}
	return ""
}

// TestFiles reads files of all sizes around the limit, and what is not a file, in a folder and of a list.
func TestFiles(t *testing.T) {
	t.Parallel()
	const most = 300 << 10
	dir := t.TempDir()
	f := newFetcher(t, fetch.Options{MaxBytes: most, AllowFiles: []string{dir}})
	for name, size := range map[string]int{"empty": 0, "one": 1, "first": fetch.FirstMemory,
		"more": fetch.FirstMemory + 1, "most": most, "sub/a b#\xff\n.jpg": 1000, "above": most + 1} {
		text := strings.Repeat("x", size)
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
		want := ""
		if size > most {
			want, text = fetch.TooLarge, ""
		}
		got, err := readFile(t, f, fetch.File{Source: dir, Name: name})
		if got != text || reasonOf(err) != want {
			t.Errorf("%q: %d bytes, %v", name, len(got), err)
		}
		got, err = readListed(t, f, fileurl.Of(filepath.Join(dir, name)))
		if got != text || reasonOf(err) != want {
			t.Errorf("%q of a list: %d bytes, %v", name, len(got), err)
		}
	}
	must(t, syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	must(t, os.Symlink("one", filepath.Join(dir, "link")))
	must(t, os.Symlink(filepath.Join(dir, "absent"), filepath.Join(dir, "leads-nowhere")))
	must(t, os.Symlink("loop", filepath.Join(dir, "loop")))
	for name, want := range map[string][2]string{"absent": {fetch.FileMissing, fetch.FileMissing},
		"one/x": {fetch.FileMissing, fetch.FileMissing}, "sub": {fetch.FileMissing, fetch.NotImage},
		"fifo": {fetch.FileMissing, fetch.NotImage}, "link": {fetch.FileMissing, ""},
		"leads-nowhere": {fetch.FileMissing, fetch.FileMissing},
		"loop":          {fetch.FileMissing, fetch.FileMissing}} {
		_, err := readFile(t, f, fetch.File{Source: dir, Name: name})
		_, listed := readListed(t, f, fileurl.Of(filepath.Join(dir, name)))
		if reasonOf(err) != want[0] || reasonOf(listed) != want[1] {
			t.Errorf("%s: %v; of a list: %v", name, err, listed)
		}
	}

	// A folder that is away is not an outcome, and is found again when it is back.
	read := func() error {
		_, err := readFile(t, f, fetch.File{Source: dir, Name: "one"})
		_, listed := readListed(t, f, fileurl.Of(filepath.Join(dir, "one")))
		if reasonOf(err) != reasonOf(listed) {
			t.Errorf("%v and %v", err, listed)
		}
		return err
	}
	must(t, os.Rename(dir, dir+"-away"))
	if err := read(); reasonOf(err) != "gone" || !strings.Contains(err.Error(), "mount that") {
		t.Errorf("without the folder: %v", err)
	}
	must(t, os.Rename(dir+"-away", dir))
	must(t, read())
	if _, err := readFile(t, f, fetch.File{Source: dir + "/one", Name: "x"}); reasonOf(err) != "gone" ||
		err.Error() != dir+"/one cannot be opened: not a directory" {
		t.Errorf("of a file that is no folder: %v", err)
	}
	for url, want := range map[string]string{"file:one": "no absolute path on this machine",
		"file:///etc/passwd":                             "not below a folder that --allow-files names",
		fileurl.Of(dir + "/" + strings.Repeat("n", 300)): "file name too long"} {
		if _, err := readListed(t, f, url); reasonOf(err) != fetch.BadURL || err.Error() != "bad_url: "+want {
			t.Errorf("%.60s: %v", url, err)
		}
	}

	// The end of the context is its cause, not an outcome.
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("the lease is lost")
	cancel(cause)
	if _, err := bytesOf(t, func(mem fetch.Memory) (*fetch.Body, error) {
		return f.FetchFile(ctx, fetch.File{Source: dir, Name: "most"}, mem)
	}); !errors.Is(err, cause) {
		t.Errorf("with an ended context: %v", err)
	}
}

// TestBufferSizes: what a body holds of the budget is the next power of two, from 4 KiB to 1 MiB, or its own
// size above that. It is one byte more than a file has, which shows its end, unless that is the limit.
func TestBufferSizes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := newFetcher(t, fetch.Options{MaxBytes: 1<<20 + 100})
	for size, want := range map[int64]int64{0: 4 << 10, 4<<10 - 1: 4 << 10, 4 << 10: 8 << 10,
		8<<10 - 1: 8 << 10,
		64 << 10:  128 << 10, 512 << 10: 1 << 20, 1<<20 - 1: 1 << 20, 1 << 20: 1<<20 + 1, 1<<20 + 99: 1<<20 +
			100,
		1<<20 + 100: 1<<20 + 100} {
		must(t, os.WriteFile(filepath.Join(dir, "a.jpg"), make([]byte, size), 0o600))
		mem := newBudget()
		b, err := f.FetchFile(t.Context(), fetch.File{Source: dir, Name: "a.jpg"}, mem)
		must(t, err)
		if mem.held != want || int64(len(b.Bytes)) != size {
			t.Errorf("%d bytes of %d hold %d of the budget, want %d", len(b.Bytes), size, mem.held, want)
		}
		if b.First <= 0 || b.Took != b.First || b.Seen.Size != size || b.Seen.Mtime == 0 {
			t.Errorf("%d bytes: first after %v, last after %v, %+v", size, b.First, b.Took, b.Seen)
		}
		if b.Release(); mem.held != 0 {
			t.Errorf("%d bytes are not given back", mem.held)
		}
	}
	for _, least := range []int64{0, fetch.FirstMemory} { // too little for 64 KiB and one byte
		must(t, os.WriteFile(filepath.Join(dir, "a.jpg"), make([]byte, fetch.FirstMemory), 0o600))
		mem := &budget{size: least}
		_, err := f.FetchFile(t.Context(), fetch.File{Source: dir, Name: "a.jpg"}, mem)
		if !errors.Is(err, errSmall) || mem.held != 0 {
			t.Errorf("with %d bytes: %v, %d held", least, err, mem.held)
		}
	}
}

// TestUnreadableFile takes the right to read from a file; root has it all the same.
func TestUnreadableFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "a.jpg"), []byte("x"), 0))
	want := fetch.FileUnreadable
	if os.Geteuid() == 0 {
		want = ""
	}
	f := newFetcher(t, fetch.Options{})
	_, err := readFile(t, f, fetch.File{Source: dir, Name: "a.jpg"})
	if reasonOf(err) != want {
		t.Errorf("got %v, want %q", err, want)
	}
}

// TestNoLinkLeadsOut swaps a folder and a link that leads out while files below it are read: what lies
// outside never comes, neither of a list nor of a folder of images.
func TestNoLinkLeadsOut(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	in := filepath.Join(base, "in")
	for _, folder := range []string{"in/sub", "out"} {
		must(t, os.MkdirAll(filepath.Join(base, folder), 0o700))
		must(t, os.WriteFile(filepath.Join(base, folder, "a.jpg"), []byte(folder), 0o600))
	}
	f := newFetcher(t, fetch.Options{AllowFiles: []string{in}})
	sub, aside, link := filepath.Join(in, "sub"), filepath.Join(in, "aside"), filepath.Join(in, "link")
	must(t, os.Symlink("../out", link))
	for _, path := range []string{in + "/link/a.jpg", in + "/../out/a.jpg", in + "/sub/../../out/a.jpg",
		base + "/out/a.jpg"} {
		if _, err := readListed(t, f, "file://"+path); reasonOf(err) != fetch.BadURL {
			t.Errorf("%s: %v", path, err)
		}
	}
	const rounds = 2000
	stop := make(chan struct{})
	var swapping sync.WaitGroup
	swapping.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			_ = os.Rename(sub, aside)
			_ = os.Rename(link, sub)
			_ = os.Rename(sub, link)
			_ = os.Rename(aside, sub)
		}
	})
	read := 0
	check := func(text string, err error) {
		if err == nil {
			read++
		}
		if err == nil && text != "in/sub" {
			t.Errorf("read %q", text)
		}
	}
	for range rounds {
		check(readFile(t, f, fetch.File{Source: in, Name: "sub/a.jpg"}))
		check(readListed(t, f, "file://"+in+"/sub/a.jpg"))
	}
	close(stop)
	swapping.Wait()
	t.Logf("%d of %d attempts read the file", read, 2*rounds)
}

// TestAllowFilesThroughLinks names the folder, and files in it, by links that lead in.
func TestAllowFilesThroughLinks(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	real := filepath.Join(base, "real")
	must(t, os.MkdirAll(filepath.Join(real, "sub"), 0o700))
	must(t, os.WriteFile(filepath.Join(real, "sub/a.jpg"), []byte("x"), 0o600))
	must(t, os.Symlink(real, filepath.Join(base, "named")))
	must(t, os.Symlink(filepath.Join(real, "sub"), filepath.Join(real, "absolute")))
	must(t, os.Symlink("sub", filepath.Join(real, "relative")))
	f := newFetcher(t, fetch.Options{AllowFiles: []string{filepath.Join(base, "named")}})
	for _, path := range []string{"named/sub/a.jpg", "real/sub/a.jpg", "named/relative/a.jpg",
		"named/absolute/a.jpg", "real/absolute/a.jpg"} {
		if text, err := readListed(t, f, "file://"+filepath.Join(base, path)); text != "x" {
			t.Errorf("%s: %v", path, err)
		}
	}
	for path, want := range map[string]string{
		base + "/absent":         ": no such file or directory; name a folder that exists",
		real + "/sub/a.jpg":      ": that is not a folder; name the folder with the files",
		base + "/named/relative": "",
	} {
		_, err := fetch.New(fetch.Options{AllowFiles: []string{path}})
		if want == "" != (err == nil) || err != nil && err.Error() != "--allow-files "+path+want {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// TestMembers reads members of a tar by their places, a sparse one and damaged places among them.
func TestMembers(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	places := map[string]int64{}
	for _, name := range []string{"a.jpg", strings.Repeat("long/", 60) + "b.jpg", "c.jpg"} {
		must(t, w.Flush())
		places[name] = int64(b.Len())
		must(t, w.WriteHeader(&tar.Header{Name: name, Size: int64(len(name)), Mode: 0o600}))
		_, err := io.WriteString(w, name)
		must(t, err)
	}
	must(t, w.Close())
	path := filepath.Join(t.TempDir(), "x.tar")
	must(t, os.WriteFile(path, b.Bytes(), 0o600))
	f := newFetcher(t, fetch.Options{})
	read := func(name string, at int64) (string, error) {
		return readFile(t, f, fetch.File{Source: path, Tar: true, Name: name, Offset: at})
	}
	for name, at := range places {
		if text, err := read(name, at); text != name {
			t.Errorf("%s at %d: %q, %v", name, at, text, err)
		}
	}
	if _, err := read("a.jpg", -1); reasonOf(err) != fetch.FileMissing {
		t.Errorf("a member that an import did not find any more: %v", err)
	}
	for _, at := range []int64{7, places["c.jpg"], int64(b.Len()), 1 << 40} {
		if _, err := read("a.jpg", at); reasonOf(err) != fetch.FileUnreadable ||
			!strings.Contains(err.Error(), "changed since it was imported") {
			t.Errorf("at %d: %v", at, err)
		}
	}
	must(t, os.Truncate(path, places["c.jpg"]+513))
	if _, err := read("c.jpg", places["c.jpg"]); reasonOf(err) != fetch.FileUnreadable {
		t.Errorf("a member that is cut: %v", err)
	}
	must(t, os.Remove(path))
	if _, err := read("a.jpg", 0); reasonOf(err) != "gone" {
		t.Errorf("without the tar: %v", err)
	}
}

// TestMemberBehindHeaders: so many headers of the whole archive may come before a member's own, and no more.
func TestMemberBehindHeaders(t *testing.T) {
	t.Parallel()
	f := newFetcher(t, fetch.Options{})
	for headers, want := range map[int]string{999: "", 1000: fetch.FileUnreadable} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for range headers {
			must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "a.jpg",
				PAXRecords: map[string]string{"comment": "x"}}))
		}
		must(t, w.WriteHeader(&tar.Header{Name: "a.jpg", Mode: 0o600}))
		must(t, w.Close())
		path := filepath.Join(t.TempDir(), "x.tar")
		must(t, os.WriteFile(path, b.Bytes(), 0o600))
		_, err := readFile(t, f, fetch.File{Source: path, Tar: true, Name: "a.jpg"})
		if reasonOf(err) != want || err != nil && !strings.HasSuffix(err.Error(),
			"give it to facescan run --images again (the member is not in its place)") {
			t.Errorf("behind %d headers: %v", headers, err)
		}
	}
}
