package main

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// beMain makes the test binary the command itself.
const beMain = "COVER_TEST_BE_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(beMain) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestReport(t *testing.T) {
	t.Parallel()
	known := floors("# package floor\n\nfacescan/a 80\nfacescan/b 90\n# 70\nfacescan/c x\n")
	if want := map[string]float64{"facescan/a": 80, "facescan/b": 90}; !maps.Equal(known, want) {
		t.Errorf("floors %v, want %v", known, want)
	}
	const a, b = "facescan/a                           ", "facescan/b                           "
	for _, c := range []struct {
		name, output string
		sound        bool
		says         string
	}{
		{"at its floor", "ok  \tfacescan/a\t1.2s\tcoverage: 80.0% of statements\n",
			true, a + " 80.0 %  floor  80  \n"},
		{"below", "ok  \tfacescan/b\t(cached)\tcoverage: 89.9% of statements\n",
			false, b + " 89.9 %  floor  90  below its floor: test what is new\n"},
		{"without tests", "\tfacescan/a\t\tcoverage: 0.0% of statements\n",
			false, a + "  0.0 %  floor  80  below its floor: test what is new\n"},
		{"unknown", "ok  \tfacescan/c\t1.2s\tcoverage: 99.0% of statements\n", false,
			"facescan/c                            99.0 %  floor   0  no floor: add a line to " +
				"testdata/cover/floors.txt\n"},
		{"nothing to cover", "ok  \tfacescan/c\t1.2s\tcoverage: [no statements]\n", true, ""},
		{"no tests and nothing to cover", "?   \tfacescan/c\t[no test files]\n", true, ""},
		// go test's exit code says it
		{"a failure", "--- FAIL: TestX (0.00s)\n", true, "--- FAIL: TestX (0.00s)\n"},
		{"one below, then one at its floor", "ok  \tfacescan/b\t1s\tcoverage: 1.0% of statements\n" +
			"ok  \tfacescan/a\t1s\tcoverage: 100.0% of statements\n", false,
			b + "  1.0 %  floor  90  below its floor: test what is new\n" + a + "100.0 %  floor  80  \n"},
	} {
		var out strings.Builder
		if sound := report(&out, strings.NewReader(c.output), known); sound != c.sound ||
			out.String() != c.says {
			t.Errorf("%s: sound %v, %q, want %q", c.name, sound, out.String(), c.says)
		}
	}
}

// TestMainEnds runs the command in a module that has packages by the names of the table.
func TestMainEnds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const source = "package p\n\nfunc Two() int { return 2 }\n"
	const test = "package p\n\nimport \"testing\"\n\nfunc Test(t *testing.T) { "
	for name, text := range map[string]string{
		"go.mod":                "module facescan\n\ngo 1.26\n",
		"detect/a.go":           source,
		"detect/a_test.go":      test + "Two() }\n",
		"store/a.go":            source,
		"store/a_test.go":       test + "}\n",
		"store/draft/a.go":      source,
		"store/draft/a_test.go": test + "Two(); t.Fatal() }\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := os.Getenv("PATH")
	for _, c := range []struct {
		args []string
		path string
		code int
		says []string
	}{
		{[]string{"./detect"}, path, 0, []string{"facescan/detect                      100.0 %  floor"}},
		{[]string{"./detect", "./store"}, path, 1,
			[]string{"facescan/detect ", "facescan/store ", " 0.0 %", "below its floor"}},
		{[]string{"./store/draft"}, path, 1, []string{"--- FAIL: Test", "FAIL\n"}},
		{nil, path, 1, []string{"facescan/detect ", "facescan/store ", "FAIL\tfacescan/store/draft"}},
		{nil, dir, 1, []string{`cover: exec: "go": executable file not found in $PATH`}},
	} {
		command := exec.Command(os.Args[0], c.args...)
		command.Dir, command.Env = dir, append(os.Environ(), beMain+"=1", "PATH="+c.path)
		out, err := command.CombinedOutput()
		code := 0
		var ended *exec.ExitError
		if errors.As(err, &ended) {
			code = ended.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if code != c.code {
			t.Errorf("%q: exit code %d, want %d:\n%s", c.args, code, c.code, out)
		}
		for _, want := range c.says {
			if !strings.Contains(string(out), want) {
				t.Errorf("%q does not say %q:\n%s", c.args, want, out)
			}
		}
	}
}
