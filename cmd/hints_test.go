package cmd

import (
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"facescan/store/hint"
)

// makers are the functions that make commands for messages.
var makers = map[string]bool{"hint.Command": true, "hint.On": true, "pipeline.RunCommand": true,
	"RunCommand": true, "reportNext": true, "mergeCommand": true, "mergeHint": true}

// ran are the calls that made a command which a script ran.
var ran struct {
	sync.Mutex
	calls map[hint.Call]bool
}

// noteHint notes which calls made a command that a script is about to run, as a whole or as its part.
func noteHint(ts *testscript.TestScript, line string) {
	ran.Lock()
	defer ran.Unlock()
	if ran.calls == nil {
		ran.calls = map[hint.Call]bool{}
	}
	found := false
	for text := range strings.Lines(ts.ReadFile(ts.Getenv(recordHints))) {
		var made hint.Made
		ts.Check(json.Unmarshal([]byte(text), &made))
		if !strings.Contains(line, made.Line) {
			continue
		}
		found = true
		for _, c := range made.Calls {
			ran.calls[c] = true
		}
	}
	if !found {
		ts.Fatalf("%s was not made by package hint", line)
	}
}

// checkHints fails for each call that makes a command, in the whole program, of which no script ran one.
func checkHints(t *testing.T) {
	if strings.Contains(flag.Lookup("test.run").Value.String(), "/") || t.Failed() {
		return // not all scripts ran
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	all := 0
	for _, dir := range []string{"cmd", "pipeline", "store", "detect"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") ||
				strings.HasSuffix(path, "_test.go") ||
				strings.HasPrefix(path, filepath.Join(root, "store", "hint")) {
				return err
			}
			all += checkFile(t, path)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if all < 20 {
		t.Errorf("only %d calls that make commands were found", all)
	}
}

// checkFile is checkHints for a file. It returns how many calls there are.
func checkFile(t *testing.T, path string) (calls int) {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, text, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		call, is := n.(*ast.CallExpr)
		if !is ||
			!makers[string(text[set.Position(call.Fun.Pos()).Offset:set.Position(call.Fun.End()).Offset])] {
			return true
		}
		calls++
		for line := set.Position(call.Pos()).Line; line <= set.Position(call.End()).Line; line++ {
			if ran.calls[hint.Call{File: path, Line: line}] {
				return true
			}
		}
		t.Errorf("%s makes a command that no script runs: add a hint to testdata/script/hints.txtar",
			set.Position(call.Pos()))
		return true
	})
	return calls
}

// records: every line on stderr is a record of --log-format json.
func scriptRecords(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: records")
	}
	n := 0
	for line := range strings.Lines(ts.ReadFile("stderr")) {
		var record struct{ Time, Level, Msg string }
		if err := json.Unmarshal([]byte(line), &record); err != nil || record.Time == "" ||
			record.Level == "" ||
			record.Msg == "" {
			ts.Fatalf("%q is no record: %v", line, err)
		}
		n++
	}
	if n == 0 {
		ts.Fatalf("nothing was logged")
	}
}
