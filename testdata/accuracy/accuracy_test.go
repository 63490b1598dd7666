package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"facescan/detect"
	"facescan/pipeline/decode"
)

func TestJudge(t *testing.T) {
	face := func(x, y, side, score float64) detect.Face {
		return detect.Face{X: x, Y: y, Width: side, Height: side, Score: score}
	}
	pic := picture{faces: []box{{0, 0, 100, 100}, {200, 0, 50, 50}}, ignore: []box{{0, 200, 60, 60}}}
	got := judge([]detect.Face{
		face(5, 5, 100, 9),    // the first
		face(0, 0, 90, 8),     // the first again
		face(205, 0, 50, 7),   // the second
		face(0, 205, 60, 6),   // doubtful
		face(300, 300, 23, 5), // too small to count
		face(400, 0, 50, 4),   // nothing
	}, pic)
	want := []verdict{{9, true}, {8, false}, {7, true}, {4, false}}
	if len(got) != len(want) {
		t.Fatalf("verdicts %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("verdict %d is %v, want %v", i, got[i], want[i])
		}
	}
	if right, wrong := (tally{found: got}).at(7); right != 2 || wrong != 1 || f1(right, wrong, 2) != 0.8 {
		t.Errorf("from 7 on %d right, %d wrong, F1 %v", right, wrong, f1(right, wrong, 2))
	}
}

func TestIoU(t *testing.T) {
	a, b := box{0, 0, 40, 10}, box{20, 5, 30, 10}
	if got, want := iou(a, b), 100.0/(400+300-100); got != want || iou(b, a) != want {
		t.Errorf("%v and %v, want %v", got, iou(b, a), want)
	}
	if got := iou(a, box{40, 0, 10, 10}); got != 0 {
		t.Errorf("boxes that touch: %v", got)
	}
}

// A set of one photo, whose annotation is what the detector says, and of files that say nothing about it.
func TestRun(t *testing.T) {
	photo, err := os.ReadFile("../../detect/testdata/faces.jpg")
	if err != nil {
		t.Fatal(err)
	}
	img, err := decode.New(decode.Options{}).Decode(photo)
	if err != nil {
		t.Fatal(err)
	}
	d, err := detect.New(detect.Defaults(detect.Pigo))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	answers, err := d.Detect(t.Context(), []detect.Image{{Luma: img.Luma, Scale: 1}})
	if err != nil || len(answers[0].Faces) == 0 {
		t.Fatal(answers, err)
	}
	x, y, w, h, _ := detect.Place(answers[0].Faces[0], 1, img.Width, img.Height)
	dir := t.TempDir()
	write := func(name string, data []byte) {
		t.Helper()
		path := filepath.Join(dir, "set", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("images/a.jpg", photo)
	write("images/notes.txt", []byte("no picture"))
	write("zero_faces.txt", nil)
	write("annotations.csv", []byte("file,x,y,w,h\n"+
		strings.Join([]string{"a.jpg", strconv.Itoa(x), strconv.Itoa(y), strconv.Itoa(w), strconv.Itoa(h)},
			",")+"\n"))
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-detector", "pigo", "-sweep", dir}, &out); err != nil {
		t.Fatal(err)
	}
	line := strings.Fields(strings.SplitN(out.String(), "\n", 3)[1])
	if want := "set 1 1 1 0 1.000 1.000 1.000"; strings.Join(line, " ") != want {
		t.Errorf("got %q, want %q of\n%s", line, want, out.String())
	}
	write("annotations.csv", []byte("file,x,y,w,h\nb.jpg,1,2,30,40\n"))
	if err := run(t.Context(), []string{dir}, io.Discard); err == nil ||
		!strings.Contains(err.Error(), "b.jpg") {
		t.Error("an annotation without its picture:", err)
	}
	write("annotations.csv", []byte("file,x,y,w,h\na.jpg,1,2,3,wide\n"))
	if err := run(t.Context(), []string{dir}, io.Discard); err == nil ||
		!strings.Contains(err.Error(), "row 2") {
		t.Error("a width that is not a number:", err)
	}
	if err := run(t.Context(), nil, io.Discard); err == nil {
		t.Error("no folder, and no complaint")
	}
	if err := run(t.Context(), []string{t.TempDir()}, io.Discard); err == nil {
		t.Error("an empty folder, and no complaint")
	}
}

// A program of somebody else's is judged as we are, and is believed only while it answers.
func TestMeasureProgram(t *testing.T) {
	sets := []set{{name: "two", pictures: []picture{
		{path: "a.jpg", faces: []box{{10, 10, 50, 50}}},
		{path: "b with spaces.jpg"},
	}}}
	program := func(answer string) (*result, error) {
		return measureProgram(t.Context(), sets, "sh", "-c", "while read -r path; do "+answer+"; done")
	}
	r, err := program(`case $path in
		a.jpg) echo '{"ms": 2, "boxes": [[200, 0, 40, 40, 3], [12, 9, 50, 50, 7]]}';;
		"b with spaces.jpg") echo '{"ms": 4.5, "boxes": []}';; esac`)
	if err != nil {
		t.Fatal(err)
	}
	all := r.all()
	if right, wrong := all.at(0); right != 1 || wrong != 1 || all.faces != 1 || all.pictures != 2 ||
		perPicture(r.detect, 2) != 3.25 {
		t.Errorf("%d right, %d wrong of %d in %d pictures, %v", right, wrong, all.faces, all.pictures,
			r.detect)
	}
	if all.found[0] != (verdict{7, true}) {
		t.Errorf("the best one is not judged first: %v", all.found)
	}
	for _, answer := range []string{"exit 3", "echo faces", "break"} {
		if _, err := program(answer); err == nil {
			t.Errorf("%q is an answer", answer)
		}
	}
}

// pigo as its command uses it finds the face of the sample photo.
func TestPlain(t *testing.T) {
	photo, err := os.ReadFile("../../detect/testdata/faces.jpg")
	if err != nil {
		t.Fatal(err)
	}
	sets := []set{{name: "one",
		pictures: []picture{{path: "faces.jpg", body: photo, faces: []box{{58, 80, 196, 265}}}}}}
	r, err := measure(t.Context(), sets, detect.Defaults(detect.Pigo), newPlain, decode.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if right, _ := r.all().at(0); right != 1 {
		t.Errorf("%+v", r.sets)
	}
}
