//go:build !race

// The race detector takes several times the memory that is measured here.

package cmd

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/image/tiff"

	"facescan/pipeline/decode"
	"facescan/pipeline/fetch/fetchtest"
)

// Images that each take more than --memory get their results, one at a time: the process never takes much
// more than the largest of them does, although many workers wait for them and each leaves garbage.
func TestPeakOfLargeImages(t *testing.T) {
	t.Parallel()
	size := image.Rect(0, 0, 3000, 2000)
	var deep, grey, wide, strips, still bytes.Buffer
	for _, err := range []error{
		png.Encode(&deep, image.NewNRGBA64(size)),
		png.Encode(&grey, image.NewGray16(size)),
		png.Encode(&wide, image.NewNRGBA(size)),
		tiff.Encode(&strips, image.NewRGBA(size), &tiff.Options{Compression: tiff.Deflate}),
		gif.Encode(&still, image.NewPaletted(size, color.Palette{color.Black}), nil),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	images := map[string][]byte{"deep.png": deep.Bytes(), "grey.png": grey.Bytes(), "wide.png": wide.Bytes(),
		"strips.tif": strips.Bytes(), "still.gif": still.Bytes()}
	largest := int64(0)
	for name, body := range images {
		f, err := decode.Probe(body, decode.Options{})
		if err != nil {
			t.Fatal(name, err)
		}
		largest = max(largest, f.Memory)
	}
	images["tiny.png"] = pictures(t)["c-none.png"]
	peak := func(names ...string) int64 {
		s := fetchtest.New(images, 0)
		defer s.Close()
		dir := t.TempDir()
		var list strings.Builder
		for i := range 30 {
			fmt.Fprintf(&list, "%s/f/%s?%d\n", s.URL, names[i%len(names)], i)
		}
		if err := os.WriteFile(filepath.Join(dir, "urls.txt"), []byte(list.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		c, stderr := child(t, dir, "run", "urls.txt", "--allow-private", "--memory", "16MiB", "--workers",
			"8", "--detector", "pigo", "--min-face", "200", "--progress", "none")
		most := peakUntilExit(t, c.Process.Pid)
		if err := c.Wait(); err != nil {
			t.Fatalf("%v\n%s", err, stderr)
		}
		if out := mustHere(t, "status", filepath.Join(dir, "urls.txt"), "--json"); !strings.Contains(out,
			`"ok":30,`) {
			t.Fatalf("not all images are ok: %s", out)
		}
		return most
	}
	base := peak("tiny.png")
	took := peak("deep.png", "grey.png", "wide.png", "strips.tif", "still.gif") - base
	t.Logf("%d MB, where the largest image takes %d MB, beside %d MB", took>>20, largest>>20, base>>20)
	if took > largest+24<<20 {
		t.Errorf("%d bytes, where the largest image takes %d", took, largest)
	}
}

// peakUntilExit is the most memory that a process has in use, in bytes, as last seen before it ends. What
// wait tells would include its parent's, from before it became a program of its own.
func peakUntilExit(t *testing.T, pid int) (most int64) {
	t.Helper()
	for {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		_, after, ok := strings.Cut(string(status), "VmHWM:")
		if !ok { // it has ended, and waits to be waited for
			return most
		}
		if _, err := fmt.Sscan(after, &most); err != nil {
			t.Fatal(err)
		}
		most <<= 10
		time.Sleep(time.Millisecond)
	}
}
