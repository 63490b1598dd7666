package cmd

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestNotice has NOTICE name every module that is linked into the program on Linux or macOS, by its path
// without the major version; and a version that it gives must be the one that go.mod requires.
func TestNotice(t *testing.T) {
	t.Parallel()
	notice, err := os.ReadFile("../NOTICE")
	if err != nil {
		t.Fatal(err)
	}
	major := regexp.MustCompile(`/v[0-9]+$`)
	var modules []string
	for _, system := range []string{"linux/amd64", "darwin/arm64"} {
		list := exec.Command("go", "list", "-deps", "-f",
			"{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}{{end}}{{end}}", "facescan")
		goos, goarch, _ := strings.Cut(system, "/")
		list.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=1")
		out, err := list.Output()
		if err != nil {
			t.Fatalf("go list for %s: %v", system, err)
		}
		modules = append(modules, strings.Split(strings.TrimSpace(string(out)), "\n")...)
	}
	slices.Sort(modules)
	modules = slices.DeleteFunc(slices.Compact(modules), func(m string) bool { return m == "" })
	if len(modules) < 20 {
		t.Fatalf("only %d modules were found: %q", len(modules), modules)
	}
	for _, m := range modules {
		path, version, _ := strings.Cut(m, " ")
		path = major.ReplaceAllString(path, "")
		if !regexp.MustCompile(regexp.QuoteMeta(path) + `[\s,;.]`).Match(notice) {
			t.Errorf("%s %s is linked into the program, but NOTICE lacks it: add it with its licence", path,
				version)
		}
		name := path[strings.LastIndexByte(path, '/')+1:]
		given := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (v[0-9][^\s,]*), ` +
			regexp.QuoteMeta(path) + `$`).FindSubmatch(notice)
		if given != nil && string(given[1]) != version {
			t.Errorf("NOTICE says %s %s, but %s is linked: compare the licences, then change the version",
				path, given[1], version)
		}
	}
}
