package pipeline

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"facescan/pipeline/source"
	"facescan/store"
)

// verifySources returns what cannot be compared, and in what rows and lists differ.
func (i *imports) verifySources() (absent, problems []string) {
	i.Helper()
	err := VerifySources(i.Context(), i.job,
		func(name, why string) { absent = append(absent, filepath.Base(name)+" "+why) },
		func(p store.Problem) { problems = append(problems, fmt.Sprint(p.ID&0xff, " ", p.Text)) })
	if err != nil {
		i.Fatal(err)
	}
	return absent, problems
}

// TestVerifySources compares a job with all that it is of, and names what is not there any more.
func TestVerifySources(t *testing.T) {
	i := newImports(t)
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	same := func(when string, got, want []string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", when, got, want)
		}
	}
	album := filepath.Join(i.dir, "album")
	ok(os.Mkdir(album, 0o755))
	ok(os.WriteFile(filepath.Join(album, "a.png"), []byte("a"), 0o644))
	i.read(i.list("a.txt", lines(0, 3)), i.list("b.txt", lines(3, 2)), i.list("c.txt", lines(5, 1)),
		source.Spec{Path: "-", Format: "txt", In: strings.NewReader(lines(6, 1))},
		source.Spec{Path: album, Format: source.Folder})
	absent, problems := i.verifySources()
	same("absent at first", absent, []string{"- came from stdin"})
	same("differs at first", problems, nil)
	i.add("a.txt", lines(7, 2)) // not imported yet
	i.list("b.txt", "http://other.invalid/\n"+strings.SplitAfter(lines(3, 2), "\n")[1])
	ok(os.Remove(filepath.Join(i.dir, "c.txt")))
	ok(os.RemoveAll(album))
	absent, problems = i.verifySources()
	same("absent", absent, []string{"c.txt is not there", "- came from stdin", "album is not there"})
	if len(problems) != 1 || !strings.HasPrefix(problems[0], "1 the job has ") ||
		!strings.HasSuffix(problems[0], `b.txt has "http://other.invalid/"`) {
		t.Errorf("%q", problems)
	}
	ok(os.Mkdir(filepath.Join(i.dir, "c.txt"), 0o755))
	absent, _ = i.verifySources()
	same("a folder for a list", absent, []string{"c.txt is not a regular file", "- came from stdin",
		"album is not there"})

	_, err := i.job.AddSource(t.Context(), store.Source{Name: "d.txt", Format: "txt", Options: "["})
	ok(err)
	nothing := func(store.Problem) {}
	if err := VerifySources(t.Context(), i.job, func(string, string) {}, nothing); err == nil ||
		!strings.Contains(err.Error(), "the options of source d.txt: ") {
		t.Errorf("options that cannot be read: %v", err)
	}
	for _, method := range []string{"Sources", "Settings", "Rows"} {
		if err := VerifySources(t.Context(), brokenJob{i.job, method, new(int)}, func(string, string) {},
			nothing); !errors.Is(err, errBroken) {
			t.Errorf("%s fails: %v", method, err)
		}
	}
}

// TestVerifyMerge: rows of parts that were not merged are not missed, and those of the others are.
func TestVerifyMerge(t *testing.T) {
	i := newImports(t)
	spec := i.halfMerged(lines(0, 10))
	if absent, problems := i.verifySources(); len(absent)+len(problems) > 0 {
		t.Errorf("%q, %q", absent, problems)
	}
	i.list("urls.txt", strings.Replace(lines(0, 10), "\n", "x\n", 1)) // a row of the part that was merged
	_, problems := i.verifySources()
	if len(problems) != 1 || !strings.HasPrefix(problems[0], "1 the job has") {
		t.Errorf("%q", problems)
	}
	i.list("urls.txt", lines(0, 10))
	i.read(spec)
	if absent, problems := i.verifySources(); len(absent)+len(problems) > 0 {
		t.Errorf("completed: %q, %q", absent, problems)
	}
}

// TestVerifyEnds: an end record that the job has not noted is named, whether the group ended later or never;
// another record of a group that has ended is passed over.
func TestVerifyEnds(t *testing.T) {
	i := newImports(t)
	const text = "url,album\nhttp://a.invalid/1,x\n$END,x\n$END,x\nhttp://a.invalid/2,y\n$END,z\n"
	spec := i.list("a.csv", text)
	spec.GroupColumn, spec.GroupEnd = "album", "$END"
	i.read(spec)
	all, err := i.job.Sources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all[0].Position.Mark = nil
	for text, want := range map[string][]string{
		text: nil,
		strings.Replace(text, "$END,z", "$END,w", 1): {
			`a.csv ends the group "w" here, and the job has not noted it`,
			`the job has the group "z" ended here, and a.csv does not end it`},
		strings.Replace(text, "$END,x\n$END,x", "$END,z\n$END,x", 1): {
			`the job has the group "x" ended here, and a.csv does not end it`,
			`a.csv ends the group "z" here, and the job has not noted it`},
	} {
		other := i.list("b.csv", text)
		other.GroupColumn, other.GroupEnd = "album", "$END"
		problems := verified(t, i.job, all[0], other, nil)
		slices.Sort(problems)
		slices.Sort(want)
		if !slices.Equal(problems, want) {
			t.Errorf("%q:\n%q, want\n%q", text, problems, want)
		}
	}
}
