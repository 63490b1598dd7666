package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"facescan/detect"
	"facescan/pipeline/decode"
)

// beMain makes the test binary the command itself.
const beMain = "ACCURACY_TEST_BE_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(beMain) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

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

// TestLimits has boxes that overlap just enough, and faces that are just large enough to count.
func TestLimits(t *testing.T) {
	want, half := box{100, 100, 100, 100}, detect.Face{X: 100, Y: 100, Width: 100, Height: 40, Score: 3}
	less := half
	less.Height = 39
	for _, c := range []struct {
		name  string
		pic   picture
		faces []detect.Face
		want  []verdict
	}{
		{"enough", picture{faces: []box{want}}, []detect.Face{half}, []verdict{{3, true}}},
		{"too little", picture{faces: []box{want}}, []detect.Face{less}, []verdict{{3, false}}},
		{"enough of an ignored one", picture{ignore: []box{want}}, []detect.Face{half}, nil},
		{"too little of one", picture{ignore: []box{want}}, []detect.Face{less}, []verdict{{3, false}}},
		{"large enough", picture{}, []detect.Face{{Width: 12, Height: 48}}, []verdict{{0, false}}},
		{"too small", picture{}, []detect.Face{{Width: 12, Height: 47}}, nil},
		{"the nearer one", picture{faces: []box{{100, 100, 100, 90}, want, {100, 100, 100, 80}}},
			[]detect.Face{{X: 100, Y: 100, Width: 100, Height: 100, Score: 2},
				{X: 100, Y: 100, Width: 100, Height: 37, Score: 1}}, []verdict{{2, true}, {1, true}}},
	} {
		if got := judge(c.faces, c.pic); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestStored: faces are found in the upright image that was scaled down, and drawn in the stored one.
func TestStored(t *testing.T) {
	img := decode.Image{Scale: 2, Orientation: 6, Width: 300, Height: 400} // a quarter turn
	got := stored(detect.Face{X: 10, Y: 20, Width: 30, Height: 50, Score: 7}, img)
	if want := (detect.Face{X: 40, Y: 220, Width: 100, Height: 60, Score: 7}); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestIoU(t *testing.T) {
	a, b := box{0, 0, 40, 10}, box{20, 5, 30, 10}
	if got, want := iou(a, b), 100.0/(400+300-100); got != want || iou(b, a) != want {
		t.Errorf("%v and %v, want %v", got, iou(b, a), want)
	}
	a, b = box{100, 50, 40, 10}, box{120, 55, 30, 10}
	if got, want := iou(a, b), 100.0/(400+300-100); got != want || iou(b, a) != want {
		t.Errorf("elsewhere %v and %v, want %v", got, iou(b, a), want)
	}
	for _, beside := range []box{{140, 50, 10, 10}, {100, 60, 10, 10}, {150, 50, 10, 10}, {100, 70, 10, 10},
		{150, 70, 10, 10}} {
		if got := iou(a, beside); got != 0 {
			t.Errorf("%v and %v: %v", a, beside, got)
		}
	}
}

// TestPrint has the figures of two sets, and of other thresholds.
func TestPrint(t *testing.T) {
	r := &result{detector: "facefinder", minScore: 5, decode: 6 * time.Millisecond,
		detect: 9 * time.Millisecond,
		sets: []tally{{name: "first", pictures: 2, faces: 3,
			found: []verdict{{9, true}, {6.5, true}, {5, false}, {4, true}}},
			{name: "second", pictures: 1, faces: 1, found: []verdict{{70, true}, {0, false}}}}}
	var out strings.Builder
	r.print(&out)
	want := `     set  pictures  faces  found  wrong  recall  precision     F1
   first         2      3      2      1   0.667      0.667  0.667
  second         1      1      1      0   1.000      1.000  1.000
     all         3      4      3      1   0.750      0.750  0.750

facefinder
CPU a picture: 2.00 ms to decode, 3.00 ms to detect; ` + runtime.Version() + " " + runtime.GOOS + "/" +
		runtime.GOARCH + "\n"
	if out.String() != want {
		t.Errorf("%s\nwant\n%s", out.String(), want)
	}
	out.Reset()
	r.printSweep(&out)
	want = "score found wrong recall precision F1\n0 4 2 1.000 0.667 0.800\n1 4 1 1.000 0.800 0.889\n" +
		"2 4 1 1.000 0.800 0.889\n3 4 1 1.000 0.800 0.889\n4 4 1 1.000 0.800 0.889\n5 3 1 0.750 0.750 0.750\n" +
		"6 3 0 0.750 1.000 0.857\n7 2 0 0.500 1.000 0.667\n8 2 0 0.500 1.000 0.667\n9 2 0 0.500 1.000 0.667\n"
	for _, score := range []int{10, 12, 14, 16, 20, 25, 30, 40, 60} {
		want += strconv.Itoa(score) + " 1 0 0.250 1.000 0.400\n"
	}
	got := ""
	for line := range strings.Lines(strings.TrimSpace(out.String())) {
		got += strings.Join(strings.Fields(line), " ") + "\n"
	}
	if got != want {
		t.Errorf("%s\nwant\n%s", got, want)
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
	write("images/b.JPG", photo)
	if err := os.Mkdir(filepath.Join(dir, "set", "images", "folder.jpg"), 0o755); err != nil {
		t.Fatal(err)
	}
	box := func(name string, x, y, w, h int) string {
		return fmt.Sprintf("%s,%d,%d,%d,%d\n", name, x, y, w, h)
	}
	write("annotations.csv", []byte("file,x,y,w,h\n"+box("a.jpg", x, y, w, h)+box("a.jpg", 0, 0, 24, 24)+
		box("a.jpg", 0, 0, 24, 23)))
	write("ignore.csv", []byte("file,x,y,w,h\n"+box("b.JPG", x, y, w, h)))
	figures := func(args ...string) string {
		t.Helper()
		var out bytes.Buffer
		if err := run(t.Context(), append(args, dir), &out); err != nil {
			t.Fatal(err)
		}
		text, cpu, cut := strings.Cut(out.String(), "CPU a picture: ")
		_, sweep, _ := strings.Cut(cpu, "\n")
		if !cut {
			t.Errorf("says nothing of the CPU:\n%s", out.String())
		}
		return strings.Join(strings.Fields(text+sweep), " ")
	}
	const header = "set pictures faces found wrong recall precision F1"
	const found = header + " set 2 2 1 0 0.500 1.000 0.667 all 2 2 1 0 0.500 1.000 0.667 facefinder"
	plain := figures("-detector", "pigo")
	if !strings.HasPrefix(plain, found) || strings.Contains(plain, "score found") {
		t.Errorf("got %q, want %q", plain, found)
	}
	if got := figures("-detector", "pigo", "-sweep"); !strings.HasPrefix(got, plain+" score found wrong") {
		t.Errorf("with -sweep %q", got)
	}
	if got := figures("-detector", "pigo", "-oracle"); got != plain {
		t.Errorf("with -oracle %q, without %q", got, plain)
	}
	none := header + " set 2 2 0 0 0.000 0.000 0.000"
	if got := figures("-detector", "pigo", "-min-face", "350"); !strings.HasPrefix(got, none) {
		t.Errorf("with -min-face %q", got)
	}
	if got := figures("-detector", "pigo", "-angles", "90"); !strings.Contains(got, "angles=90") {
		t.Errorf("with -angles %q", got)
	}
	if got := figures(); !strings.Contains(got, "yunet") {
		t.Errorf("by default %q", got)
	}
	for _, c := range []struct {
		file, text string
		says       string
	}{
		{"annotations.csv", "file,x,y,w,h\nb.jpg,1,2,30,40\n", "b.jpg, which is not there"},
		{"annotations.csv", "file,x,y,w,h\na.jpg,1,2,3,wide\n", "row 2: "},
		{"annotations.csv", "file,x,y,w,h\na.jpg,1,2,3,4\na.jpg,left,2,3,4\n", "row 3: "},
		{"annotations.csv", "file,x,y,w\na.jpg,1,2,3\n", "annotations.csv: record on line 1"},
		{"ignore.csv", "file,x,y,w,h\na.jpg,1,2,high,4\n", "ignore.csv, row 2: "},
		{"images/c.jpg", "no picture", "c.jpg: "},
	} {
		write("annotations.csv", nil)
		write(c.file, []byte(c.text))
		if err := run(t.Context(), []string{dir}, io.Discard); err == nil ||
			!strings.Contains(err.Error(), c.says) {
			t.Errorf("%s with %q: %v, want %q", c.file, c.text, err, c.says)
		}
		write("ignore.csv", nil)
	}
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"no folder":        {nil, "no folder given: "},
		"an empty folder":  {[]string{t.TempDir()}, "no picture in "},
		"no such folder":   {[]string{filepath.Join(dir, "absent")}, "no such file"},
		"no such flag":     {[]string{"-colour"}, "flag provided but not defined: -colour"},
		"no such detector": {[]string{"-detector", "haar", dir}, "haar"},
		"not an angle":     {[]string{"-detector", "pigo", "-angles", "left", dir}, "left"},
	} {
		if err := run(t.Context(), c.args, io.Discard); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
	for _, name := range []string{"annotations.csv", "ignore.csv", "images/c.jpg"} { // that cannot be opened
		path := filepath.Join(dir, "set", name)
		if err := errors.Join(os.Remove(path), os.Symlink(filepath.Base(name), path)); err != nil {
			t.Fatal(err)
		}
		if err := run(t.Context(), []string{dir}, io.Discard); !errors.Is(err, syscall.ELOOP) {
			t.Errorf("%s is a link to itself: %v", name, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// TestMainEnds: what the command says, and its exit codes.
func TestMainEnds(t *testing.T) {
	for _, c := range []struct {
		arg, says string
		code      int
	}{
		{"-h", "Usage of accuracy:", 0},
		{"absent", "accuracy: lstat absent: no such file or directory", 1},
	} {
		command := exec.Command(os.Args[0], c.arg)
		command.Env = append(os.Environ(), beMain+"=1")
		out, err := command.CombinedOutput()
		if code := command.ProcessState.ExitCode(); code != c.code || !strings.Contains(string(out), c.says) {
			t.Errorf("%s: exit code %d, %v:\n%s", c.arg, code, err, out)
		}
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
	for answer, says := range map[string]string{
		"exit 3":     "exit status 3",
		"echo faces": "the answer about a.jpg: invalid character",
		"break":      "no answer about a.jpg: EOF",
	} {
		if _, err := program(answer); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", answer, err, says)
		}
	}
	if _, err := measureProgram(t.Context(), sets, "/nowhere/python"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without the program: %v", err)
	}
}

// TestPeers is the table of all detectors. The programs of others are a script, which answers with what it
// was called with.
func TestPeers(t *testing.T) {
	photo, err := os.ReadFile("../../detect/testdata/faces.jpg")
	if err != nil {
		t.Fatal(err)
	}
	sets := []set{{name: "one",
		pictures: []picture{{path: "faces.jpg", body: photo, faces: []box{{58, 80, 196, 265}}}}}}
	dir := t.TempDir()
	script := filepath.Join(dir, "peers.sh")
	if err := os.WriteFile(script, []byte(`while read -r path; do
		echo "$1 $2 $3 $path" >>"`+dir+`/calls"
		case $1 in
		haar) echo '{"ms": 2, "boxes": [[0, 0, 40, 40, 3], [58, 80, 196, 265, 7]]}' ;;
		*) echo '{"ms": 4.25, "boxes": [[58, 80, 196, 265, 0.9]]}' ;;
		esac
	done
`), 0o600); err != nil {
		t.Fatal(err)
	}
	table := func(programs peers) (rows []string) {
		t.Helper()
		var out strings.Builder
		p := detect.Defaults(detect.Default)
		p.MinFace = 30
		if err := comparePeers(t.Context(), sets, p, decode.Options{MinFace: 30}, programs,
			&out); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			rows = append(rows, strings.Join(strings.Fields(line), " "))
		}
		return rows
	}
	own := []string{"| detector | recall | precision | F1 | CPU ms a picture |", "|--- |--- |--- |--- |--- |",
		"| facescan --detector yunet | 1.000 | 1.000 | 1.000 | ",
		"| facescan --detector pigo | 1.000 | 1.000 | 1.000 | ",
		"| pigo, as its command does | 1.000 | 1.000 | 1.000 | ",
		"| OpenCV Haar frontalface_default | 1.000 | 0.500 | 0.667 | 2.0 |",
		"| OpenCV Haar frontalface_alt2 | 1.000 | 0.500 | 0.667 | 2.0 |"}
	var all []string
	for _, kind := range []string{"opencv", "onnxruntime"} {
		for _, side := range []string{"320", "640"} {
			all = append(all, "| YuNet in Python, "+kind+", "+side+" px | 1.000 | 1.000 | 1.000 | 4.2 |")
		}
	}
	check := func(got, want []string) {
		t.Helper()
		if !slices.EqualFunc(got, want, strings.HasPrefix) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	check(table(peers{script: script, haar: "sh"}), own)
	check(table(peers{script: script, haar: "sh", python: "sh", model: "yunet.onnx"}),
		slices.Concat(own, all))
	calls, err := os.ReadFile(filepath.Join(dir, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	haar := "haar " + haarFolder + "/haarcascade_frontalface_default.xml 30 faces.jpg\n" +
		"haar " + haarFolder + "/haarcascade_frontalface_alt2.xml 30 faces.jpg\n"
	if want := haar + haar + "opencv yunet.onnx 320 faces.jpg\nopencv yunet.onnx 640 faces.jpg\n" +
		"onnxruntime yunet.onnx 320 faces.jpg\nonnxruntime yunet.onnx 640 faces.jpg\n"; string(calls) != want {
		t.Errorf("the programs were called with\n%s\nwant\n%s", calls, want)
	}
	err = comparePeers(t.Context(), sets, detect.Defaults(detect.Default), decode.Options{},
		peers{script: script, haar: "/nowhere/python"}, io.Discard)
	if err == nil || !strings.HasPrefix(err.Error(), "OpenCV Haar frontalface_default: ") {
		t.Errorf("without its interpreter: %v", err)
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
	before := cpuTime()
	r, err := measure(t.Context(), sets, detect.Defaults(detect.Pigo), newPlain, decode.Options{})
	used := cpuTime() - before
	if err != nil {
		t.Fatal(err)
	}
	if right, wrong := r.all().at(0); right != 1 || wrong != 0 {
		t.Errorf("%+v", r.sets)
	}
	if r.decode <= 0 || r.detect <= 0 || r.decode+r.detect > used {
		t.Errorf("%v to decode and %v to detect, of %v", r.decode, r.detect, used)
	}
	img, err := decode.New(decode.Options{}).Decode(photo)
	if err != nil {
		t.Fatal(err)
	}
	d, err := newPlain(detect.Defaults(detect.Pigo))
	if err != nil {
		t.Fatal(err)
	}
	answers, err := d.Detect(t.Context(), []detect.Image{{Luma: img.Luma, Scale: 1}})
	face := detect.Face{X: 32.5, Y: 80.5, Width: 243, Height: 243, Score: 337.6142578125}
	if err != nil || len(answers) != 1 || !reflect.DeepEqual(answers[0].Faces, []detect.Face{face}) {
		t.Errorf("%+v, %v, want %+v", answers, err, face)
	}
	if answers, err = d.Detect(t.Context(), []detect.Image{{Luma: img.Luma, Scale: 0.05}}); err != nil ||
		len(answers[0].Faces) != 0 { // of at least 400 pixels here
		t.Errorf("%+v, %v, and there is none of this size", answers, err)
	}
}
