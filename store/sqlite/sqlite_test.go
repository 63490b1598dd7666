package sqlite

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"facescan/store"
	"facescan/store/storetest"
)

// target makes jobs in folders of their own.
var target = storetest.Target{
	Create: func(t testing.TB) string {
		path := filepath.Join(t.TempDir(), "list.facescan.db")
		j, err := Create(context.Background(), path)
		if err != nil {
			t.Fatal(err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		return path
	},
	Open: func(ctx context.Context, path string) (store.Job, error) { return Open(ctx, path) },
	OwnerFiles: func(t testing.TB, path string) []string {
		files, err := filepath.Glob(path + "-owner-*")
		if err != nil {
			t.Fatal(err)
		}
		return files
	},
	Tamper:    func(t testing.TB, j store.Job, text string) { j.(*job).tamper(t, text) },
	AtOnce:    true,
	Publishes: true,
}

// childTask says to a process of this test binary which of childTasks to do, and on which job: task:path.
const childTask = "FACESCAN_SQLITE_TASK"

var childTasks = map[string]func(path string) error{"full": fillUp, "read": readChild}

func TestMain(m *testing.M) {
	if task, path, ok := strings.Cut(os.Getenv(childTask), ":"); ok {
		if err := childTasks[task](path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(storetest.Main(m, target))
}

func TestConformance(t *testing.T) { storetest.Run(t, target) }
