//go:build linux

package heif_test

import (
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// libraries are the shared objects that this process has mapped.
func libraries(t *testing.T) (out []string) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	must(t, err)
	for line := range strings.Lines(string(maps)) {
		fields := strings.Fields(line)
		if name := path.Base(fields[len(fields)-1]); strings.Contains(name, ".so") &&
			!slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// No decoder loads a library of the system: decoding maps none, none of theirs was there before, and the
// packages could not do it.
func TestNothingIsLoaded(t *testing.T) {
	m := photo(64, 32)
	bodies := [][]byte{avif(t, m), heic(m)}
	before := libraries(t)
	for _, body := range bodies {
		mustDecode(t, body)
	}
	if after := libraries(t); !slices.Equal(before, after) {
		t.Errorf("decoding loaded libraries: %v, %v before", after, before)
	}
	for _, name := range before {
		for _, codec := range []string{"avif", "heif", "de265", "aom", "dav1d", "webp", "jpeg"} {
			if strings.Contains(name, codec) {
				t.Errorf("%s is linked dynamically", name)
			}
		}
	}
	out, err := exec.Command("go", "list", "-deps", "facescan/pipeline/decode/...").Output()
	must(t, err)
	for pkg := range strings.Lines(string(out)) {
		if pkg = strings.TrimSpace(pkg); pkg == "plugin" || strings.Contains(pkg, "purego") ||
			strings.Contains(pkg, "gen2brain") {
			t.Errorf("%s is imported", pkg)
		}
	}
}
