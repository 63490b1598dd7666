package hint

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// words are arguments that shells change when they are not quoted.
var words = []string{"", "a", "it's", `a "b" $c`, "a\nb", "a\n", "\t", "%d%%", `\n`, "!x!", "ä漢", "\xff\x01",
	"-x", "--db", "*", "~", "a b", "a;b", "$(date)", "`date`", "\u202e", "%\n'\\!", "#", "a#b", "\r\n"}

// TestQuote has shells read what was quoted.
func TestQuote(t *testing.T) {
	for _, word := range words {
		quoted := Quote(word)
		if strings.ContainsFunc(quoted, func(r rune) bool { return !unicode.IsPrint(r) }) ||
			!utf8.ValidString(quoted) {
			t.Errorf("%q is quoted as %q", word, quoted)
		}
		for _, shell := range []string{"sh", "bash"} {
			if shell == "sh" && strings.HasSuffix(word, "\n") && len(word) > 0 {
				continue // the quoting that keeps a line end at the end is bash's
			}
			out, err := exec.Command(shell, "-c", "printf '%s|' "+quoted).CombinedOutput()
			if err != nil || string(out) != word+"|" {
				t.Errorf("%s reads %s of %q as %q, %v", shell, quoted, word, out, err)
			}
		}
	}
}

// TestEscapes: only what has to be is escaped.
func TestEscapes(t *testing.T) {
	for word, want := range map[string]string{"a-b\x01": `"$(printf 'a-b\001')"`,
		"-a\x01": `"$(printf '\055a\001')"`, "\ufffd\x01": `"$(printf '�\001')"`,
		"\xff": `"$(printf '\377')"`, "5%\x01": `"$(printf '5%%\001')"`, "-a\n": `$'\055a\012'`} {
		if got := Quote(word); got != want {
			t.Errorf("%q is %s, want %s", word, got, want)
		}
	}
}

// FuzzQuote has a shell read any text without NUL.
func FuzzQuote(f *testing.F) {
	for _, word := range words {
		f.Add(word)
	}
	f.Fuzz(func(t *testing.T, word string) {
		if strings.Contains(word, "\x00") {
			return
		}
		out, err := exec.Command("bash", "-c", "printf '%s|' "+Quote(word)).CombinedOutput()
		if err != nil || string(out) != word+"|" {
			t.Errorf("%s of %q is %q, %v", Quote(word), word, out, err)
		}
	})
}

// TestCommand makes commands of names that look like flags, and beside variables that mean another job.
func TestCommand(t *testing.T) {
	for _, c := range []struct {
		env, want, verb string
		args            []string
		flags           []string
	}{
		{"", "facescan run ./-x.txt - --db 'a b'", "run", []string{"-x.txt", "-"}, []string{"--db", "a b"}},
		{"FACESCAN_NODE=0/2", "env -u FACESCAN_NODE facescan run j.db", "run", []string{"j.db"}, nil},
		{"FACESCAN_NODE=0/2", "facescan run a.txt --node 0/2", "run", []string{"a.txt"},
			[]string{"--node", "0/2"}},
		{"FACESCAN_DB=j.db", "facescan run j.db", "run", []string{"j.db"}, nil},
		{"FACESCAN_DB=j.db", "env -u FACESCAN_DB facescan run k.db", "run", []string{"k.db"}, nil},
		{"FACESCAN_DB=j.db", "env -u FACESCAN_DB facescan import k.txt", "import", []string{"k.txt"}, nil},
		{"FACESCAN_DB=j.db", "facescan import k.txt --db k.db", "import", []string{"k.txt"},
			[]string{"--db", "k.db"}},
		{"FACESCAN_DB=j.db", "facescan status k.db", "status", []string{"k.db"}, nil},
	} {
		t.Run(c.want, func(t *testing.T) {
			if name, value, set := strings.Cut(c.env, "="); set {
				t.Setenv(name, value)
			}
			if got := Command(c.verb, c.args, c.flags...); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// TestRecord: commands that are made are written to a file, with the function that made them first.
func TestRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "made")
	Record = path
	defer func() { Record = "" }()
	On("status", "a b.db", "--json")
	Command("merge", []string{"x.db", "y.db"})
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"facescan status 'a b.db' --json", "facescan merge x.db y.db"}
	for line := range strings.Lines(string(b)) {
		var m Made
		if err := json.Unmarshal([]byte(line), &m); err != nil || len(want) == 0 || m.Line != want[0] {
			t.Fatalf("%q, %v, want %q", line, err, want)
		}
		want = want[1:]
		if !slices.ContainsFunc(m.Calls, func(c Call) bool {
			return strings.HasSuffix(c.File,
				"hint_test.go")
		}) {
			t.Errorf("%+v", m.Calls)
		}
	}
	if len(want) > 0 {
		t.Errorf("not recorded: %q", want)
	}
}
