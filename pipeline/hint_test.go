package pipeline

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"facescan/pipeline/source"
	"facescan/store"
	"facescan/store/hint"
)

// TestRunCommand names the lists that are not read to their ends, and the flags that matter.
func TestRunCommand(t *testing.T) {
	i := newImports(t)
	command := func() string {
		t.Helper()
		text, err := RunCommand(t.Context(), i.job, "urls.txt")
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(text, i.dir, "DIR")
	}
	i.read(i.list("a.txt", lines(0, 1)))
	if got := command(); got != "facescan run urls.txt" {
		t.Error(got)
	}
	if err := i.job.Set(t.Context(), map[string]string{store.RunFlagsSetting: `["--retries","0"]`,
		store.NodeSetting: "1/2"}); err != nil {
		t.Fatal(err)
	}
	add := func(name, options string) {
		t.Helper()
		if _, err := i.job.AddSource(t.Context(), store.Source{Name: name, Format: "csv",
			Options: options}); err != nil {
			t.Fatal(err)
		}
	}
	for _, method := range []string{"Settings", "Sources"} {
		_, err := RunCommand(t.Context(), brokenJob{i.job, method, new(int)}, "urls.txt")
		if !errors.Is(err, errBroken) {
			t.Errorf("%s fails: %v", method, err)
		}
	}
	add("it's b.csv", `{"URLColumn":"image","KeepColumns":["a","b"]}`)
	want := `facescan run 'DIR/it'\''s b.csv' --url-column image --keep-columns a,b --node 1/2 ` +
		`--db DIR/job.db --retries 0`
	if got := command(); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	add("other.txt", `{"URLColumn":"link"}`) // for another command
	for _, as := range []string{"monday", "tuesday"} {
		add(as, `{"As":"`+as+`","URLColumn":"image","KeepColumns":["a","b"]}`)
	}
	if got := command(); !strings.Contains(got, "b.csv' - --url-column") ||
		!strings.Contains(got, "--as monday") {
		t.Error(got)
	}
}

// TestRunCommandOfOneList: where the list alone would not do, as its columns, or that it is a folder, have to
// be said, the job is named.
func TestRunCommandOfOneList(t *testing.T) {
	for _, job := range []bool{false, true} {
		i := newImports(t)
		csv := i.list("a.csv", "url,image\nhttp://a.invalid/1,http://a.invalid/2\n")
		if job {
			csv.URLColumn = "image"
		}
		i.read(csv)
		want := hint.On("run", map[bool]string{false: "a.csv", true: i.job.Path()}[job])
		if got, err := RunCommand(t.Context(), i.job, "a.csv"); got != want || err != nil {
			t.Errorf("%s, %v, want %s", got, err, want)
		}
		i.read(i.list("b.txt", lines(0, 1)))
		if got, err := RunCommand(t.Context(), i.job, "a.csv"); got != "facescan run a.csv" || err != nil {
			t.Errorf("of two lists: %s, %v", got, err)
		}
	}
	i := newImports(t)
	album := filepath.Join(i.dir, "album")
	if err := errors.Join(os.Mkdir(album, 0o755),
		os.WriteFile(filepath.Join(album, "a.png"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	i.read(source.Spec{Path: album, Format: source.Folder})
	if got, err := RunCommand(t.Context(), i.job, album); got != hint.On("run", i.job.Path()) || err != nil {
		t.Errorf("of a folder: %s, %v", got, err)
	}
}
