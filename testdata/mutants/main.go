// Command mutants changes one token at a time and lists the changes that a package's own tests do not notice.
//
//	go run ./testdata/mutants [-n 5] [-seed 1] [-least 95] PACKAGE…
//
// The tree stays as it is: a changed file reaches the compiler by an overlay. Which changes are tried depends
// on the seed and the package alone. A change that does not compile is replaced by another. Tests that fail,
// crash or take much longer than without the change have noticed it. What lives is either not tested, or
// changes nothing: judge it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	n := flag.Int("n", 5, "changes per package")
	seed := flag.Uint64("seed", 1, "which changes")
	least := flag.Float64("least", 0, "percent of the changes that must be noticed")
	flag.Parse()
	noticed, lived, err := run(ctx, os.Stdout, flag.Args(), *n, *seed)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	case noticed+len(lived) == 0:
		fmt.Fprintln(os.Stderr, "mutants: nothing to change in these packages")
		os.Exit(2)
	}
	percent := 100 * float64(noticed) / float64(noticed+len(lived))
	fmt.Printf("\n%d of %d changes were noticed (%.0f %%). These lived:\n", noticed, noticed+len(lived),
		percent)
	for _, change := range lived {
		fmt.Println(change)
	}
	if percent < *least {
		os.Exit(1)
	}
}

// pkg is what go list says of a package.
type pkg struct {
	ImportPath, Dir                              string
	GoFiles, CgoFiles, TestGoFiles, XTestGoFiles []string
}

// run tries n changes in each of the packages.
func run(ctx context.Context, out io.Writer, patterns []string, n int, seed uint64) (noticed int,
	lived []string, err error) {
	packages, err := list(ctx, patterns)
	if err != nil {
		return 0, nil, err
	}
	dir, err := os.MkdirTemp("", "mutants-*")
	if err != nil {
		return 0, nil, err
	}
	defer os.RemoveAll(dir)
	for _, p := range packages {
		if len(p.TestGoFiles)+len(p.XTestGoFiles) == 0 {
			continue
		}
		t := trial{dir: dir, pkg: p, limit: 20 * time.Minute}
		began := time.Now()
		switch fine, err := t.try(ctx, nil); {
		case err != nil:
			return noticed, lived, err
		case !fine:
			fmt.Fprintf(out, "%s: its tests fail without a change: left out\n", p.ImportPath)
			continue
		}
		t.limit = 4*time.Since(began) + 30*time.Second
		changes, err := p.changes()
		if err != nil {
			return noticed, lived, err
		}
		name := fnv.New64a()
		_, _ = io.WriteString(name, p.ImportPath) // a hash takes everything
		rng := rand.New(rand.NewPCG(seed, name.Sum64()))
		rng.Shuffle(len(changes), func(i, j int) { changes[i], changes[j] = changes[j], changes[i] })
		for tried := 0; tried < n && len(changes) > 0; changes = changes[1:] {
			fine, err := t.try(ctx, &changes[0])
			if errors.Is(err, errCompile) {
				continue
			}
			if err != nil {
				return noticed, lived, err
			}
			tried++
			verdict := "noticed"
			if fine {
				verdict = "LIVED"
				lived = append(lived, changes[0].String())
			} else {
				noticed++
			}
			fmt.Fprintf(out, "%-8s %s\n", verdict, changes[0])
		}
	}
	return noticed, lived, nil
}

func list(ctx context.Context, patterns []string) (all []pkg, err error) {
	args := append([]string{"list", "-json=ImportPath,Dir,GoFiles,CgoFiles,TestGoFiles,XTestGoFiles"},
		patterns...)
	text, err := exec.CommandContext(ctx, "go", args...).Output()
	if err != nil {
		return nil, fmt.Errorf("go list %s: %w", strings.Join(patterns, " "), err)
	}
	for dec := json.NewDecoder(strings.NewReader(string(text))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
}

// errCompile marks a change that is not Go, e.g. a minus between strings.
var errCompile = errors.New("does not compile")

// trial runs the tests of a package.
type trial struct {
	dir   string // for the changed file, the overlay and the test's binary
	pkg   pkg
	limit time.Duration
}

// try reports whether the tests pass with a change, or with none.
func (t *trial) try(ctx context.Context, c *change) (fine bool, err error) {
	binary := filepath.Join(t.dir, "test")
	args := []string{"test", "-c", "-vet=off", "-o", binary}
	if c != nil {
		overlay, err := t.overlay(c)
		if err != nil {
			return false, err
		}
		args = append(args, "-overlay", overlay)
	}
	build := exec.CommandContext(ctx, "go", append(args, t.pkg.ImportPath)...)
	if text, err := build.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		return false, fmt.Errorf("%w: %s", errCompile, text)
	}
	within, cancel := context.WithTimeout(ctx, t.limit)
	defer cancel()
	test := exec.CommandContext(within, binary, "-test.failfast", "-test.timeout",
		(t.limit + time.Minute).String())
	test.Dir = t.pkg.Dir
	// Tests that start processes leave some behind when they are killed: all are of one group.
	test.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	test.Cancel = func() error { return syscall.Kill(-test.Process.Pid, syscall.SIGKILL) }
	test.WaitDelay = 5 * time.Second
	err = test.Run()
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	return err == nil, nil
}

// overlay writes the changed file, and the file that has the compiler read it in the place of the original.
func (t *trial) overlay(c *change) (path string, err error) {
	changed, err := c.apply()
	if err != nil {
		return "", err
	}
	file := filepath.Join(t.dir, "changed.go")
	text, err := json.Marshal(map[string]any{"Replace": map[string]string{c.path: file}})
	if err != nil {
		return "", err
	}
	path = filepath.Join(t.dir, "overlay.json")
	return path, errors.Join(os.WriteFile(file, changed, 0o600), os.WriteFile(path, text, 0o600))
}
