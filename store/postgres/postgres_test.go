package postgres

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"facescan/store"
	"facescan/store/storetest"
	"facescan/store/storetest/pgtest"
)

// database is one for all tests; each has schemas of its own in it.
var database struct {
	once sync.Once
	url  string
	n    atomic.Int64
}

// newURL names a job that is not there.
func newURL(t testing.TB) string {
	t.Helper()
	database.once.Do(func() { database.url = pgtest.Start(keepDatabase{t}) })
	return fmt.Sprintf("%s?schema=test%d", database.url, database.n.Add(1))
}

// keepDatabase is a test whose end is not the database's.
type keepDatabase struct{ testing.TB }

func (keepDatabase) Cleanup(func()) {}

var target = storetest.Target{
	Create: func(t testing.TB) string {
		t.Helper()
		url := newURL(t)
		j, err := Create(context.Background(), url)
		if err != nil {
			t.Fatal(err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		return url
	},
	Open: Open,
	OwnerFiles: func(t testing.TB, url string) []string {
		t.Helper()
		j, err := Open(context.Background(), url)
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		files, err := filepath.Glob(j.(*job).lockFile("*"))
		if err != nil {
			t.Fatal(err)
		}
		return files
	},
	Tamper: func(t testing.TB, j store.Job, text string) { j.(*job).tamper(t, text) },
}

func TestMain(m *testing.M) {
	// every step is some round trips; SQLite's suite does the full number
	if os.Getenv("FACESCAN_SOAK") == "" {
		if err := flag.Set("rapid.checks", "25"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	if os.Getenv("XDG_STATE_HOME") != "" && os.Getenv(childState) != "" {
		os.Exit(storetest.Main(m, target)) // a child may be killed, and has no folder of its own
	}
	state, err := os.MkdirTemp("", "facescan-state-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Setenv("XDG_STATE_HOME", state)
	os.Setenv(childState, "1")
	code := storetest.Main(m, target)
	_ = os.RemoveAll(state)
	os.Exit(code)
}

// childState shows children of the tests that XDG_STATE_HOME is the tests' own.
const childState = "FACESCAN_TEST_STATE"

func TestConformance(t *testing.T) { storetest.Run(t, target) }
