//go:build interop

package export

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestInterop has pyarrow, pandas, duckdb and pycocotools read every format. PYTHON names an interpreter that has them,
// python3 when unset.
func TestInterop(t *testing.T) {
	dir := t.TempDir()
	rows := results(2000)
	for _, r := range some {
		r.ID += 5000
		rows = append(rows, r)
	}
	for name, o := range map[string]Options{
		"images.csv":     {},
		"images.jsonl":   {Format: "jsonl"},
		"images.parquet": {Format: "parquet"},
		"images.json":    {Format: "coco"},
		"faces.csv":      {Rows: "faces"},
		"faces.jsonl":    {Rows: "faces", Format: "jsonl"},
		"faces.parquet":  {Rows: "faces", Format: "parquet"},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(exported(t, o, rows...)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	python := os.Getenv("PYTHON")
	if python == "" {
		python = "python3"
	}
	out, err := exec.Command(python, "testdata/interop.py", dir).CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}
