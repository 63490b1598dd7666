package pipeline

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
	"time"

	"facescan/store"
)

func TestMeter(t *testing.T) {
	var m meter
	start := time.Unix(1000, 0)
	m.begin(start)
	if r := m.rate(start); r != 0 {
		t.Fatalf("rate before anything %v", r)
	}
	for s := range 30 {
		m.add(start.Add(time.Duration(s)*time.Second+time.Millisecond), 7)
	}
	if r := m.rate(start.Add(30 * time.Second)); r < 6.5 || r > 7.5 {
		t.Errorf("a steady 7/s is shown as %v", r)
	}
	if r := m.rate(start.Add(time.Hour)); r != 0 {
		t.Errorf("an hour of nothing is shown as %v", r)
	}
}

func TestLimit(t *testing.T) {
	for _, c := range []struct {
		l            Limit
		failed, done int64
		now, finally bool
	}{
		{Limit{}, 100, 100, false, false},
		{Limit{Set: true}, 0, 100, false, false},
		{Limit{Set: true}, 1, 1, true, true},
		{Limit{Set: true, Count: 5}, 5, 10, false, false},
		{Limit{Set: true, Count: 5}, 6, 10, true, true},
		{Limit{Set: true, Percent: 10}, 2, 10, false, true}, // too early to tell, but not at the end
		{Limit{Set: true, Percent: 10}, 20, 200, false, false},
		{Limit{Set: true, Percent: 10}, 21, 200, true, true},
		{Limit{Set: true, Percent: 10}, 11, 99, false, true},
		{Limit{Set: true, Percent: 10}, 11, 100, true, true},
		{Limit{Set: true, Percent: 0.5}, 1, 200, false, false},
		{Limit{Set: true, Percent: 0.5}, 2, 200, true, true},
	} {
		if now, fin := c.l.exceeded(c.failed, c.done), c.l.Finally(c.failed, c.done); now != c.now ||
			fin != c.finally {
			t.Errorf("%+v with %d of %d: now %v, finally %v, want %v, %v", c.l, c.failed, c.done, now, fin,
				c.now, c.finally)
		}
	}
}

// TestReasons: every reason that package fetch declares is one of the store's, and every reason has a hint
// with a command that works as it stands.
func TestReasons(t *testing.T) {
	for _, r := range store.Reasons("") {
		if hint := Hint(r, "job.db"); hint == "" || strings.Contains(hint, "RETRY") {
			t.Errorf("the hint of %s: %q", r, hint)
		}
	}
	file, err := parser.ParseFile(token.NewFileSet(), "fetch/errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	words := 0
	for _, d := range file.Decls {
		if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.CONST {
			ast.Inspect(g, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					words++
					if word, err := strconv.Unquote(lit.Value); err != nil || !store.Reason(word).Known() {
						t.Errorf("the fetcher's %s is not a reason of the store", lit.Value)
					}
				}
				return true
			})
		}
	}
	if words == 0 {
		t.Fatal("package fetch declares no reasons")
	}
}
