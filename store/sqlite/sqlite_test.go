package sqlite

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
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
	Open:   func(ctx context.Context, path string) (store.Job, error) { return Open(ctx, path, Options{}) },
	AtOnce: true,
}

func TestMain(m *testing.M) {
	if path := os.Getenv(fullJob); path != "" {
		if err := fillUp(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(storetest.Main(m, target))
}

func TestConformance(t *testing.T) { storetest.Run(t, target) }
