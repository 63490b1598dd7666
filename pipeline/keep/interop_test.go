//go:build interop

package keep

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"facescan/pipeline/decode"
	"facescan/store"
)

// TestWebdataset has webdataset read what is kept, and Pillow find each face where the result beside its
// image says. FACESCAN_PYTHON is an interpreter that has them; make test-interop makes one.
func TestWebdataset(t *testing.T) {
	python := os.Getenv("FACESCAN_PYTHON")
	if python == "" {
		t.Fatal("FACESCAN_PYTHON names no interpreter: run make test-interop")
	}
	run := func(script string, args ...string) []byte {
		t.Helper()
		c := exec.Command(python, append([]string{filepath.Join("testdata", script)}, args...)...)
		c.Stderr = os.Stderr
		out, err := c.Output()
		ok(t, err)
		return out
	}
	drawn := t.TempDir()
	text := run("pictures.py", drawn)
	var about map[string]struct {
		Width, Height int
		Face          [4]int
	}
	ok(t, json.Unmarshal(text, &about))
	for _, size := range []int{0, 320, 512, 5000} {
		dir := t.TempDir()
		o := inForm(newJob(t), dir, Form{Size: size, Quality: 90, JSON: true})
		o.TarSize = 100_000
		k := start(t, o)
		for i, name := range slices.Sorted(maps.Keys(about)) {
			body, err := os.ReadFile(filepath.Join(drawn, name))
			ok(t, err)
			file, err := decode.Probe(body, decode.Options{})
			ok(t, err)
			a := about[name]
			if file.Width != a.Width || file.Height != a.Height {
				t.Fatalf("%s: %dx%d", name, file.Width, file.Height)
			}
			ids := []int64{int64(i + 1)}
			if i == 3 {
				ids = append(ids, 5_000_000_000)
			}
			img := processed(body, file.Format, []store.Face{{X: a.Face[0], Y: a.Face[1], Width: a.Face[2],
				Height: a.Face[3], Score: 0.9}}, ids...)
			img.Result.Width, img.Result.Height = a.Width, a.Height
			for n := range img.Rows {
				img.Rows[n].URL = "http://host/" + name + "?" + strconv.Itoa(n)
			}
			k.keep(t, img)
		}
		ok(t, k.Close())
		t.Logf("%s", run("read_webdataset.py", dir, strconv.Itoa(size), string(text)))
	}
}
