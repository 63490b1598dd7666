package cmd

import (
	"bytes"
	"database/sql"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3"
	"github.com/rogpeppe/go-internal/testscript"

	"facescan/pipeline/fetch/fetchtest"
	"facescan/store/hint"
	"facescan/store/sqlite"
	"facescan/store/storetest/pgtest"
)

// beMain makes the test binary the program itself: tests that kill processes start it with this variable set.
const beMain = "FACESCAN_TEST_BE_MAIN"

func TestMain(m *testing.M) {
	if kind := os.Getenv(beFaulty); kind != "" {
		fault(kind)
	}
	if path := os.Getenv(beReader); path != "" {
		readUntilEOF(path)
	}
	sqlite.Watch = os.Getenv(watchSQL)
	hint.Record = os.Getenv(recordHints)
	if os.Getenv(beMain) != "" && !slices.Contains(os.Args, "-test.fuzzworker") {
		os.Exit(Main())
	}
	os.Setenv(beMain, "1") // also for the children that a command of this process starts
	state, err := os.MkdirTemp("", "facescan-state")
	if err != nil {
		panic(err)
	}
	os.Setenv("XDG_STATE_HOME", state) // where processes on a database note how they ended
	testscript.Main(tests{m, state}, map[string]func(){"facescan": func() { os.Exit(Main()) }})
}

// tests are this package's, which remove a folder when they are through.
type tests struct {
	*testing.M
	folder string
}

func (m tests) Run() int {
	defer os.RemoveAll(m.folder)
	return m.M.Run()
}

// watchSQL is SQL that a child runs on each connection to a job file.
const watchSQL = "FACESCAN_TEST_WATCH_SQL"

// recordHints is a file that gets the commands which a child names.
const recordHints = "FACESCAN_TEST_RECORD_HINTS"

// TestScripts runs the command line as a person would; each script has a server of its own at $URL.
func TestScripts(t *testing.T) {
	t.Parallel()
	t.Cleanup(func() { checkHints(t) }) // when all scripts are through
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("..", "testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			s := fetchtest.New(pictures(t), 0)
			e.Defer(s.Close)
			e.Setenv("URL", s.URL)
			e.Setenv("GORACE", os.Getenv("GORACE"))
			e.Setenv("END", "$") // what a script cannot write in words that are expanded
			e.Setenv(recordHints, filepath.Join(e.WorkDir, ".hints"))
			e.Setenv("ODD", "-odd\nname%.txt")
			e.Setenv("ADDR", strings.TrimPrefix(s.URL, "http://"))
			e.Values["server"], e.Values["said"] = s, &strings.Builder{}
			e.Setenv("I_BYTES", strconv.Itoa(len(pictures(t)["b-none.jpg"])+1)) // as /i/1/… serves it
			for name, b := range pictures(t) {
				if err := os.WriteFile(e.Getenv("WORK")+"/"+name, b, 0o644); err != nil {
					return err
				}
				e.Setenv(strings.ToUpper(name[:1])+"_BYTES", strconv.Itoa(len(b)))
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": scriptExits, "sql": scriptSQL, "hits": scriptHits, "expand": scriptExpand,
			"bytes": scriptBytes, "waitfor": scriptWaitFor, "hint": scriptHint, "robots": scriptRobots,
			"records":  scriptRecords,
			"database": func(ts *testscript.TestScript, _ bool, _ []string) { scriptDatabase(t, ts) },
		},
	})
}

// exits CODE COMMAND…: the command ends with just that code.
func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND…")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if err != nil {
		var e interface{ ExitCode() int }
		if e, _ = err.(interface{ ExitCode() int }); e == nil {
			ts.Fatalf("%v", err)
		}
		code = e.ExitCode()
	}
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// hint CODE REGEXP: the command that the first group finds in what was said last before this hint, or an
// earlier one, on stderr or stdout, is run by a shell, and ends with that code.
func scriptHint(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: hint CODE REGEXP")
	}
	said := ts.Value("said").(*strings.Builder)
	said.WriteString("\n" + ts.ReadFile("stderr") + ts.ReadFile("stdout"))
	m := regexp.MustCompile(args[1]).FindAllStringSubmatch(said.String(), -1)
	if m == nil {
		ts.Fatalf("no hint %q in:\n%s", args[1], said)
	}
	noteHint(ts, m[len(m)-1][1])
	scriptExits(ts, false, []string{args[0], "sh", "-c", m[len(m)-1][1]})
}

// database: makes one on a PostgreSQL server, at $DATABASE; $PGPASSWORD is its password.
func scriptDatabase(t *testing.T, ts *testscript.TestScript) {
	ts.Setenv("DATABASE", pgtest.Start(t))
	ts.Setenv("PGPASSWORD", pgtest.Password)
	ts.Setenv("XDG_STATE_HOME", ts.MkAbs("state"))
}

// sql FILE STATEMENT: runs it on a SQLite file, to tamper with it, and prints the rows.
func scriptSQL(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: sql FILE STATEMENT")
	}
	db, err := sql.Open("sqlite3", ts.MkAbs(args[0]))
	ts.Check(err)
	defer db.Close()
	rows, err := db.Query(os.Expand(args[1], ts.Getenv))
	ts.Check(err)
	defer rows.Close()
	cols, err := rows.Columns()
	ts.Check(err)
	for rows.Next() {
		vals := make([]sql.NullString, len(cols))
		ptrs := make([]any, len(cols))
		for i := range vals {
			ptrs[i] = &vals[i]
		}
		ts.Check(rows.Scan(ptrs...))
		text := make([]string, len(vals))
		for i, v := range vals {
			text[i] = v.String
		}
		fmt.Fprintln(ts.Stdout(), strings.Join(text, "|"))
	}
	ts.Check(rows.Err())
}

// hits PATH N: the server was asked for the path N times; PATH total means all paths.
func scriptHits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: hits PATH N")
	}
	s := ts.Value("server").(*fetchtest.Server)
	n := s.Total()
	if args[0] != "total" {
		n = s.Hits(args[0])
	}
	if fmt.Sprint(n) != args[1] {
		ts.Fatalf("%s: %d requests, want %s", args[0], n, args[1])
	}
}

// robots FILE [CODE…]: the server answers for its robots.txt first with these codes, then with the file.
func scriptRobots(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: robots FILE [CODE…]")
	}
	text, codes := ts.ReadFile(args[0]), args[1:]
	s := ts.Value("server").(*fetchtest.Server)
	before := s.Hits("/robots.txt")
	s.SetRobots(func(w http.ResponseWriter, _ *http.Request, hit int) {
		if hit -= before; hit > len(codes) {
			fmt.Fprint(w, text)
			return
		}
		code, _ := strconv.Atoi(codes[hit-1])
		w.WriteHeader(code)
	})
}

// expand FILE…: replaces $URL in the files by the server's address, ${X_BYTES} by the size of the picture
// x-….
func scriptExpand(ts *testscript.TestScript, neg bool, args []string) {
	for _, f := range args {
		b := os.Expand(ts.ReadFile(f), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(f), []byte(b), 0o644))
	}
}

// bytes FILE TEXT: writes the text with its Go escapes resolved.
func scriptBytes(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: bytes FILE TEXT")
	}
	text, err := strconv.Unquote(`"` + strings.ReplaceAll(args[1], "$URL", ts.Getenv("URL")) + `"`)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o644))
}

// waitfor FILE: until it is there.
func scriptWaitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: waitfor FILE")
	}
	for end := time.Now().Add(5 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%s is not there", args[0])
		}
	}
}

// pictures are what the servers serve: a photo with faces, and drawn ones without. Sorted by name, the photo
// is the first.
func pictures(t testing.TB) map[string][]byte {
	photo, err := os.ReadFile(filepath.Join("..", "detect", "testdata", "faces.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	m := image.NewRGBA(image.Rect(0, 0, 160, 120))
	for y := range 120 {
		for x := range 160 {
			m.Set(x, y, color.RGBA{uint8(x), uint8(y), uint8(x ^ y), 255})
		}
	}
	var j, p bytes.Buffer
	if err := jpeg.Encode(&j, m, nil); err != nil {
		t.Fatal(err)
	}
	if err := png.Encode(&p, m); err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"a-faces.jpg": photo, "b-none.jpg": j.Bytes(), "c-none.png": p.Bytes()}
}

// eventually waits until the condition holds. How long it may take says nothing about facescan: a machine may
// be busy.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	const patience = 5 * time.Minute
	for end := time.Now().Add(patience); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}
