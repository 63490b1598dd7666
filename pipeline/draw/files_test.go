package draw

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFiles: drawings are named after their images, replace earlier drawings, and leave other files alone.
func TestFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := image.NewRGBA(image.Rect(0, 0, 3, 2))
	mine := filepath.Join(dir, "mine.faces.png")
	if err := os.WriteFile(mine, []byte("not a drawing, but longer than the head of one is: "+
		strings.Repeat("x", 200)), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second command replaces what the first one drew
		f := Files{Dir: dir}
		for _, of := range []struct {
			name  string
			isURL bool
		}{{"a/photo.jpg", false}, {"b/photo.png", false}, {"mine.jpg", false}, {"-", false},
			{"http://h.invalid/x/y%20z.jpg?q=1", true}, {"http://h.invalid/", true},
			{"http://h.invalid/%zz/cut.jpg", true},
			{strings.Repeat("l", 300) + ".jpg", false}} {
			if err := f.Add(of.name, of.isURL, m); err != nil {
				t.Fatalf("%s: %v", of.name, err)
			}
		}
	}
	want := []string{"cut.faces.png", "image.faces.png", strings.Repeat("l", 200) + ".faces.png",
		"mine.faces-2.png", "mine.faces.png", "photo.faces-2.png", "photo.faces.png",
		"stdin.faces.png", "y_z.faces.png"}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	b, err := os.ReadFile(filepath.Join(dir, "photo.faces.png"))
	if err != nil {
		t.Fatal(err)
	}
	if back, err := png.Decode(bytes.NewReader(b)); err != nil || back.Bounds() != m.Bounds() {
		t.Errorf("%v", err)
	}
	if !bytes.Contains(b, []byte("facescan detect --draw")) ||
		!signed(filepath.Join(dir, "photo.faces.png")) ||
		signed(mine) || signed(filepath.Join(dir, "nothing")) {
		t.Error("drawings are not told from other files")
	}
	if err := (&Files{Dir: dir}).Add("empty.jpg", false, image.NewRGBA(image.Rectangle{})); err == nil {
		t.Error("drew an image without pixels")
	}
	// Neither a link to a drawing nor a pipe is a drawing.
	link, pipe := filepath.Join(dir, "link.faces.png"), filepath.Join(dir, "pipe.faces.png")
	f := &Files{Dir: dir}
	if err := errors.Join(os.Symlink(filepath.Join(dir, "photo.faces.png"), link), unix.Mkfifo(pipe, 0o600),
		f.Add("link.jpg", false, m), f.Add("pipe.jpg", false, m)); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]os.FileMode{"link.faces.png": os.ModeSymlink, "link.faces-2.png": 0,
		"pipe.faces.png": os.ModeNamedPipe, "pipe.faces-2.png": 0} {
		if st, err := os.Lstat(filepath.Join(dir, name)); err != nil || st.Mode().Type() != want {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
	if parts, err := filepath.Glob(filepath.Join(dir, "*empty*")); err != nil || parts != nil {
		t.Errorf("left behind: %q, %v", parts, err)
	}
	if err := (&Files{Dir: filepath.Join(dir, "nowhere")}).Add("a.jpg", false, m); err == nil {
		t.Error("drew into a folder that is not there")
	}
}

// intruder is a picture that does something when its pixels are read for the first time.
type intruder struct {
	image.Image
	first func()
}

func (m *intruder) At(x, y int) color.Color {
	if m.first != nil {
		m.first()
		m.first = nil
	}
	return m.Image.At(x, y)
}

// TestNameTakenMeanwhile: a name that another takes while a picture is drawn stays with that, and a folder
// that goes is an error.
func TestNameTakenMeanwhile(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "drawings")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	m := &intruder{Image: image.NewNRGBA(image.Rect(0, 0, 3, 2)), first: func() {
		if err := os.WriteFile(filepath.Join(dir, "a.faces.png"), []byte("another's"), 0o600); err != nil {
			t.Error(err)
		}
	}}
	f := &Files{Dir: dir}
	if err := f.Add("a.jpg", false, m); err != nil {
		t.Fatal(err)
	}
	theirs, err := os.ReadFile(filepath.Join(dir, "a.faces.png"))
	if err != nil || string(theirs) != "another's" || !signed(filepath.Join(dir, "a.faces-2.png")) {
		t.Errorf("%q, %v", theirs, err)
	}
	m.first = func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	}
	if err := f.Add("b.jpg", false, m); err == nil || f.taken["b.faces.png"] {
		t.Errorf("drew into a folder that went: %v", err)
	}
}

// TestSigner: the signature comes behind the head, however the file is cut into writes.
func TestSigner(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("h", pngHead) + "rest"
	for _, step := range []int{1, 7, pngHead, pngHead + 1, len(text)} {
		var b bytes.Buffer
		s := &signer{w: &b}
		for i := 0; i < len(text); i += step {
			part := text[i:min(i+step, len(text))]
			if n, err := s.Write([]byte(part)); n != len(part) || err != nil {
				t.Errorf("step %d: %d, %v", step, n, err)
			}
		}
		if want := text[:pngHead] + string(signature) + "rest"; b.String() != want {
			t.Errorf("step %d: %q", step, b.String())
		}
	}
}

// short is a writer with room for so many bytes.
type short struct{ room int }

func (s *short) Write(p []byte) (int, error) {
	n := min(s.room, len(p))
	if s.room -= n; n < len(p) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

// TestSignerFails: whichever write fails, the error arrives, with how much of the text was written.
func TestSignerFails(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("h", pngHead) + "rest"
	for room, want := range map[int]int{0: 0, 20: 20, pngHead: pngHead, pngHead + len(signature) - 1: pngHead,
		pngHead + len(signature): pngHead, pngHead + len(signature) + 2: pngHead + 2} {
		if n, err := (&signer{w: &short{room}}).Write([]byte(text)); n != want || err == nil {
			t.Errorf("room for %d bytes: %d were written, %v", room, n, err)
		}
	}
}

// TestSafeName keeps letters and digits of ASCII, and the signs that no shell or file system minds.
func TestSafeName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"azAZ09-_.": "azAZ09-_.", "`a{@A[/0:é": "_a__A__0__", "": "image", "..": "image", "_.": "image",
		"a..": "a..",
	} {
		if got := safeName(name); got != want {
			t.Errorf("%q becomes %q, want %q", name, got, want)
		}
	}
}
