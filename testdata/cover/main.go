// Command cover runs the tests of packages and prints, for each, its coverage by its own tests beside its
// floor. It fails if a test fails, if a package is below its floor, or if one has no floor.
//
//	go run ./testdata/cover [PACKAGE…]
//
// floors.txt has a package and its floor in percent per line. A floor lies two points below what was
// measured, since a few branches depend on timing. Raise it when coverage rises.
package main

import (
	"bufio"
	_ "embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

//go:embed floors.txt
var floorsText string

func main() {
	packages := os.Args[1:]
	if len(packages) == 0 {
		packages = []string{"./..."}
	}
	test := exec.Command("go", append([]string{"test", "-cover", "-timeout", "20m"}, packages...)...)
	test.Stderr = os.Stderr
	out, err := test.StdoutPipe()
	if err == nil {
		err = test.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cover:", err)
		os.Exit(1)
	}
	sound := report(os.Stdout, out, floors(floorsText))
	if err := test.Wait(); err != nil || !sound {
		os.Exit(1)
	}
}

// floors parses the table.
func floors(text string) map[string]float64 {
	all := map[string]float64{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) != 2 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if floor, err := strconv.ParseFloat(fields[1], 64); err == nil {
			all[fields[0]] = floor
		}
	}
	return all
}

// covered matches go test's line about a package that has statements.
var covered = regexp.MustCompile(`^(?:ok)?\s+(facescan\S*)\s.*coverage: ([0-9.]+)% of statements`)

// report turns go test's output into the table, and reports whether every package reaches its floor. Lines
// that say nothing about coverage, e.g. of a failure, are passed through.
func report(to io.Writer, from io.Reader, floors map[string]float64) (sound bool) {
	sound = true
	for lines := bufio.NewScanner(from); lines.Scan(); {
		m := covered.FindStringSubmatch(lines.Text())
		if m == nil {
			if text := lines.Text(); !strings.Contains(text, "[no test files]") &&
				!strings.Contains(text, "[no statements]") {
				fmt.Fprintln(to, text)
			}
			continue
		}
		percent, _ := strconv.ParseFloat(m[2], 64) // the pattern lets only numbers through
		floor, known := floors[m[1]]
		verdict := ""
		switch {
		case !known:
			verdict, sound = "no floor: add a line to testdata/cover/floors.txt", false
		case percent < floor:
			verdict, sound = "below its floor: test what is new", false
		}
		fmt.Fprintf(to, "%-36s %5.1f %%  floor %3.0f  %s\n", m[1], percent, floor, verdict)
	}
	return sound
}
