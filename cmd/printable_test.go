package cmd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"facescan/pipeline/fetch/fetchtest"
)

// evil are characters that do something to a terminal.
const evil = "\x1b]0;taken\x07\x1b[2J\x08\x7f\u009b31m\u202e\u2066\u200b\u2028\U000e0041"

// unprintable is the first rune of a text that should not leave for a terminal; -1 for none.
func unprintable(s string) rune {
	for i, r := range s {
		if _, size := utf8.DecodeRuneInString(s[i:]); r == utf8.RuneError && size == 1 ||
			!unicode.IsPrint(r) && r != '\n' && r != '\t' {
			return r
		}
	}
	return -1
}

func TestPrintable(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"": "", "a b\u00e4\u4e16\U0001f600~": "a b\u00e4\u4e16\U0001f600~", "\x1b[31m": `\u001b[31m`,
		"a\r\n\tb": `a\r\n\tb`, "\x9b": `\x9b`, "\u009b": `\u009b`,
		"\x7f": `\u007f`, "\u202e": `\u202e`, "\U000e0041": `\udb40\udc41`, "\ufffd": "\ufffd",
		"\u00a0": `\u00a0`, "a\x00": `a\u0000`,
	} {
		if got := printable(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
	var b bytes.Buffer
	if n, err := (&printableWriter{w: &b}).Write([]byte("a\tb\n\x1b\u202e\r\n")); n != 10 || err != nil ||
		b.String() != "a\tb\n"+`\u001b\u202e\r`+"\n" {
		t.Errorf("%q, %d %v", &b, n, err)
	}
	b.Reset()
	parts := &printableWriter{w: &b}
	for _, c := range []byte("ä\u009b世\xe4\xf0\x9f😀\n") {
		if n, err := parts.Write([]byte{c}); n != 1 || err != nil {
			t.Errorf("%d %v", n, err)
		}
	}
	if want := `ä\u009b世\xe4\xf0\x9f😀` + "\n"; b.String() != want {
		t.Errorf("in parts: %q, want %q", &b, want)
	}
	args := []any{"a\n", errors.New("\x1b"), time.Second, 7, []byte("\r"), []string{"\x07"},
		nil, json.Number("\x08")}
	if got, want := fmt.Sprintf("%s %v %v %d %s %v %v %s", printableArgs(args)...),
		`a\n \u001b 1s 7 \r [\u0007] <nil> \u0008`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if args[0] != "a\n" {
		t.Error("the arguments were changed")
	}
}

// FuzzPrintable: nothing raw is left of any input, what was fine stays, and JSON strings mean what they
// meant.
func FuzzPrintable(f *testing.F) {
	f.Add(evil)
	f.Add("\xff\x9b\n")
	f.Fuzz(func(t *testing.T, s string) {
		got := printable(s)
		if r := unprintable(got); r >= 0 || strings.ContainsAny(got, "\n\t") {
			t.Fatalf("%q becomes %q", s, got)
		}
		if again := printable(got); again != got {
			t.Errorf("%q becomes %q, then %q", s, got, again)
		}
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var want, back string
		if err := errors.Join(json.Unmarshal(text, &want),
			json.Unmarshal([]byte(printable(string(text))), &back)); err != nil || want != back {
			t.Errorf("%s is %q, and quoted %q, %v", text, want, back, err)
		}
	})
}

// TestNothingRaw has texts of strangers everywhere: in the names of folder, list, column, group and table, in
// URLs and files. No command lets them out raw, to stdout for people or to stderr, and none lets them begin a
// line.
func TestNothingRaw(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(pictures(t), 0)
	defer s.Close()
	const forged = "\nfacescan: finished: all is well"
	name := strings.ReplaceAll(evil, "/", "") + forged
	dir := filepath.Join(t.TempDir(), name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, name+".csv")
	quoted := func(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
	text := quoted("url") + "," + quoted("al"+evil+"bum") + "\n"
	for i, path := range []string{"/f/a-faces.jpg?" + evil, "/status/404/" + evil, "/hang/1?" + evil} {
		text += quoted(s.URL+path) + "," + quoted(fmt.Sprint("group ", i, name)) + "\n"
	}
	// so that one row is the last hundredth, of which progress tells
	text += strings.Repeat(quoted("no url "+evil)+",\n", 200)
	picture := filepath.Join(dir, "a"+name+".jpg")
	if err := errors.Join(os.WriteFile(list, []byte(text), 0o600),
		os.WriteFile(picture, pictures(t)["b-none.jpg"], 0o600)); err != nil {
		t.Fatal(err)
	}
	look := func(what string, texts ...string) {
		t.Helper()
		for _, text := range texts {
			if r := unprintable(text); r >= 0 {
				t.Errorf("%s: %q leaves raw: %q", what, r, text)
			}
			if strings.Contains(text, forged) {
				t.Errorf("%s: a forged line: %s", what, text)
			}
		}
	}

	job := filepath.Join(dir, "j"+evil+".db")
	for _, format := range []string{"text", "json"} {
		s.Reset()
		var stderr transcript
		run := exec.Command(os.Args[0], "run", list, "--db", job, "--allow-private", "--progress", "plain",
			"--log-format", format, "--group-column", "al"+evil+"bum", "--keep", "kept"+evil, "-v",
			"--timeout", "1h", "--retries", "0")
		run.Dir, run.Env, run.Stderr = dir, append(os.Environ(), beMain+"=1"), &stderr
		if err := run.Start(); err != nil {
			t.Fatal(err)
		}
		defer run.Process.Kill()
		eventually(t, "one row that hangs", func() bool {
			_, out, _ := here(t, "status", job, "--json")
			return strings.Contains(out, `"pending":1,`) && s.Total() > 0
		})
		run.Process.Signal(syscall.SIGUSR1)
		eventually(t, "the list of what is in flight",
			func() bool { return stderr.count("attempt 1")+stderr.count(`"attempt":1`) > 0 })
		eventually(t, "progress, in one of them",
			func() bool { return format == "json" || stderr.count(" waiting ") > 0 })
		run.Process.Signal(os.Interrupt)
		if run.Wait(); run.ProcessState.ExitCode() != exitInterrupted {
			t.Fatalf("%v\n%s", run.ProcessState, &stderr)
		}
		look("run "+format, stderr.String())
		if format == "json" {
			for line := range strings.Lines(stderr.String()) {
				if strings.HasPrefix(line, "{") && !json.Valid([]byte(line)) {
					t.Errorf("the log has %s", line)
				}
			}
		}
	}
	for _, args := range [][]string{
		{"status", job}, {"status", job, "--by", "group"}, {"status", job, "--by", "host"}, {"verify", job},
		{"verify", job, "--require-source"}, {"pause", job, "--source", "no" + name},
		{"pause", job}, {"resume", job}, {"export", job, "-o", filepath.Join(dir, "absent"+name, "x.csv")},
		{"export", job, "--columns", "x" + name}, {"report", job, "-o", dir},
		{"report", "absent" + name}, {"run", "absent" + name}, {"run", list, "--url-column", "x" + name},
		{"run", list, "--dry-run"}, {"run", list, "--db", job, "--dry-run"},
		{"run", list, "--header", "x" + name}, {"run", list, "--sidecar", "http://x" + name},
		{"run", list, "--sidecar", "http://127.0.0.1:1/x" + evil}, {"import", "x" + name},
		{"retry", job, "--reason", name}, {"rescan", job, "--all"},
		{"merge", filepath.Join(dir, "m"+name+".db"), job},
		{"estimate", list, "--allow-private", "--timeout", "50ms", "--retries", "0"},
		{"detect", picture, "absent" + name, s.URL + "/f/a-faces.jpg?" + evil, "--allow-private"},
		{"doctor", "--dir", dir, "--list", list, "absent" + name},
		{"doctor", "--list", list, "--sidecar", "http://x" + name},
		{"no" + name}, {"run", "--no" + name}, {"man", name}, {"version", name},
		{"sidecar", "--listen", "x" + name}, {"run", list, "--where" + name},
		{"status", "postgres://x" + name},
		{"run", list, "--listen", "x" + name}, {"run", list, "--node", name},
		{"run", list, "--progress", name},
	} {
		_, out, errs := here(t, args...)
		look(fmt.Sprintf("%q", args), out, errs)
	}
	// A tampered job tells its names too.
	_, out, errs := here(t, "verify", job, "--json")
	look("verify --json", errs)
	for line := range strings.Lines(out) {
		if !json.Valid([]byte(line)) {
			t.Errorf("verify --json: %s", line)
		}
	}
	// Data are as they are.
	if out := mustHere(t, "export", job, "--columns", "id,group"); !strings.Contains(out, evil) {
		t.Errorf("CSV on stdout is not what was stored:\n%q", out)
	}
}
