package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// beMain makes the test binary the command itself.
const beMain = "MUTANTS_TEST_BE_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(beMain) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// module makes a module of files, whose tests look at one function and not at the other.
func module(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module example\n\ngo 1.26\n",
		"half/a.go": `package half

func Seen(a int) bool { return a < 3 }

func Unseen(a string) bool { return a == "x" }
`,
		"half/a_test.go": `package half

import "testing"

func TestSeen(t *testing.T) {
	if !Seen(2) || Seen(3) {
		t.Fatal()
	}
}
`,
		"many/a.go": `package many

func Sum(a, b, c int) (int, bool) { return 1 + a - 2*b - 4/c, true }
`,
		"many/a_test.go": "package many\n\nfunc init() { Sum(1, 2, 3) }\n",
		"text/a.go":      "package text\n\nfunc Text(a string) string { return a + `b` }\n",
		"text/a_test.go": "package text_test\n",
		"none/a.go":      "package none\n\nfunc Two() int { return 2 }\n",
		"fails/a.go":     "package fails\n\nfunc Two() int { return 2 }\n",
		"fails/a_test.go": `package fails

import "testing"

func TestFails(t *testing.T) { t.Fatal() }
`,
		"hangs/a.go": "package hangs\n\nfunc Hangs() bool { return false }\n",
		"hangs/a_test.go": `package hangs

import (
	"os"
	"testing"
)

func TestHangs(t *testing.T) {
	if Hangs() {
		_ = os.WriteFile("started", nil, 0o600)
		select {}
	}
}
`,
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestRun: what lived and what was noticed, and packages that have nothing to try.
func TestRun(t *testing.T) {
	t.Chdir(module(t))
	var out strings.Builder
	noticed, lived, err := run(t.Context(), &out, []string{"./half", "./none", "./text", "./fails"}, 99, 1)
	if err != nil {
		t.Fatal(err)
	}
	if noticed != 2 || len(lived) != 1 || !strings.HasSuffix(lived[0], "a.go:5:39: == → !=") {
		t.Errorf("%d noticed, lived %q:\n%s", noticed, lived, out.String())
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	slices.Sort(lines)
	for i, want := range []string{"LIVED    ", "example/fails: its tests fail without a change: left out",
		"noticed  ", "noticed  "} {
		if len(lines) != 4 || !strings.HasPrefix(lines[i], want) {
			t.Errorf("line %d is not %q:\n%s", i, want, out.String())
		}
	}
}

// TestInterrupted: a run that is interrupted says so, and counts no change for it.
func TestInterrupted(t *testing.T) {
	t.Chdir(module(t))
	for name, wait := range map[string]func(context.CancelFunc, *strings.Builder) (out writer){
		"half": func(cancel context.CancelFunc, out *strings.Builder) writer {
			return func(b []byte) (int, error) { cancel(); return out.Write(b) } // in the next build
		},
		"hangs": func(cancel context.CancelFunc, out *strings.Builder) writer {
			go func() {
				defer cancel()
				end := time.Now().Add(time.Minute)
				for ; time.Now().Before(end); time.Sleep(time.Millisecond) {
					if _, err := os.Stat(filepath.Join("hangs", "started")); err == nil {
						return
					}
				}
			}()
			return out.Write
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		var out strings.Builder
		_, _, err := run(ctx, wait(cancel, &out), []string{"./" + name}, 99, 1)
		if !errors.Is(err, context.Canceled) || strings.Count(out.String(), "\n") > 1 {
			t.Errorf("%s: %v:\n%s", name, err, out.String())
		}
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

// TestMainEnds: what the command prints, and its exit codes.
func TestMainEnds(t *testing.T) {
	t.Parallel()
	dir := module(t)
	command := func(args ...string) (out string, code int) {
		t.Helper()
		c := exec.Command(os.Args[0], args...)
		c.Dir, c.Env = dir, append(os.Environ(), beMain+"=1")
		text, err := c.CombinedOutput()
		var ended *exec.ExitError
		if errors.As(err, &ended) {
			return string(text), ended.ExitCode()
		}
		if err != nil {
			t.Fatal(err)
		}
		return string(text), 0
	}
	out, code := command("-least", "67", "./half")
	if code != 1 || !strings.Contains(out, "\n2 of 3 changes were noticed (67 %). These lived:\n") {
		t.Errorf("with less than is wanted: exit code %d:\n%s", code, out)
	}
	if out, code = command("-n", "1", "-seed", "3", "-least", "100", "./half"); code != 0 ||
		!strings.HasPrefix(out, "noticed") ||
		!strings.HasSuffix(out, "\n\n1 of 1 changes were noticed (100 %). These lived:\n") {
		t.Errorf("one change: exit code %d:\n%s", code, out)
	}
	if out, code = command("./none", "./text"); code != 2 ||
		out != "mutants: nothing to change in these packages\n" {
		t.Errorf("with nothing to change: exit code %d:\n%s", code, out)
	}
	if out, code = command("./nowhere"); code != 1 || !strings.HasPrefix(out,
		"mutants: go list ./nowhere: ") {
		t.Errorf("without the package: exit code %d:\n%s", code, out)
	}
	out, code = command("./many")
	if strings.Count(out, "LIVED") != 5 || code != 0 ||
		!strings.Contains(out, "\n0 of 5 changes were noticed (0 %).") {
		t.Errorf("5 of many: exit code %d:\n%s", code, out)
	}
	first, _, _ := strings.Cut(out, "\n")
	for seed, same := range map[string]bool{"1": true, "2": false} {
		if out, _ = command("-n", "1", "-seed", seed, "./many"); strings.HasPrefix(out, first) != same {
			t.Errorf("seed %s begins with\n%s, the default with\n%s", seed, out, first)
		}
	}
}
