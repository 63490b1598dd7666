package cmd

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"facescan/pipeline/crash"
)

// beFaulty makes the test binary a process that ends by a fault of its own, which the variable names.
const beFaulty = "FACESCAN_TEST_BE_FAULTY"

// fault is what such a process does.
func fault(kind string) {
	crash.Setup()
	switch kind {
	case "panic":
		go func() {
			defer crash.Exit()
			panic("boom" + evil)
		}()
	case "other panic": // in a goroutine that a library began
		go panic("boom")
	case "stack":
		var deeper func(n int) int
		deeper = func(n int) int { return 1 + deeper(n+1) }
		deeper(0)
	case "memory":
		for keep := [][]byte{}; ; {
			keep = append(keep, make([]byte, 256<<20))
		}
	}
	select {}
}

// TestFaults: a panic ends the process with the code of errors, and says that facescan is to blame; the
// runtime's fatal errors end it by a signal. Neither looks like a wrong command line.
func TestFaults(t *testing.T) {
	t.Parallel()
	kinds := map[string]bool{"panic": false, "other panic": true, "stack": true}
	if !raceDetector { // which cannot live in so little memory
		kinds["memory"] = true
	}
	for kind, signal := range kinds {
		c := exec.Command("sh", "-c", `ulimit -c 0; ulimit -v 8000000; exec "$0"`, os.Args[0])
		c.Env = append(os.Environ(), beFaulty+"="+kind)
		out, err := c.CombinedOutput()
		status, ok := c.ProcessState.Sys().(syscall.WaitStatus)
		switch {
		case !ok:
			t.Fatal(err)
		case signal && (!status.Signaled() || status.Signal() != syscall.SIGABRT):
			t.Errorf("%s: %v\n%.2000s", kind, c.ProcessState, out)
		case !signal && (status.ExitStatus() != exitError ||
			!strings.Contains(string(out), "facescan: error: this is a fault of facescan itself") ||
			!strings.Contains(string(out), "crash_test.go") || unprintable(string(out)) >= 0):
			t.Errorf("%s: %v\n%.2000s", kind, c.ProcessState, out)
		}
	}
}

// TestGoroutinesExit holds that every goroutine of the program begins with `defer crash.Exit()`, so that its
// panic does not end the process with the exit code of a wrong command line. Functions for AfterFunc that are
// one call need not.
func TestGoroutinesExit(t *testing.T) {
	t.Parallel()
	seen := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasSuffix(name, "test") || name == "testdata" || name == "browser" ||
			strings.HasPrefix(name, ".") && name != ".."):
			return fs.SkipDir // what tests use
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		files := token.NewFileSet()
		f, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		check := func(e ast.Expr, oneCallWillDo bool) {
			seen++
			lit, ok := e.(*ast.FuncLit)
			if oneCallWillDo && (!ok || len(lit.Body.List) == 1) {
				return
			}
			if ok && len(lit.Body.List) > 0 {
				if d, ok := lit.Body.List[0].(*ast.DeferStmt); ok {
					if s, ok := d.Call.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Exit" {
						return
					}
				}
			}
			t.Errorf("%s: a goroutine has to begin with `defer crash.Exit()` (facescan/pipeline/crash)",
				files.Position(e.Pos()))
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				check(n.Call.Fun, false)
			case *ast.CallExpr:
				if s, ok := n.Fun.(*ast.SelectorExpr); ok && len(n.Args) > 0 {
					switch last := n.Args[len(n.Args)-1]; s.Sel.Name {
					case "Go", "TryGo":
						check(last, false)
					case "AfterFunc":
						check(last, true)
					}
				}
			}
			return true
		})
		return nil
	})
	if err != nil || seen < 20 {
		t.Fatalf("%d goroutines were looked at, %v", seen, err)
	}
}
