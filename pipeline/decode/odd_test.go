package decode

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// TestOddFiles decodes a folder of awkward files, which is not part of the project: FACESCAN_ODD names it.
// Its manifest.csv has the columns file, bytes, kind, should_decode, exif_orientation, width, height
// (upright), note; should_decode is "yes", "no", or something that allows either.
func TestOddFiles(t *testing.T) {
	dir := os.Getenv("FACESCAN_ODD")
	if dir == "" {
		return
	}
	f, err := os.Open(filepath.Join(dir, "manifest.csv"))
	must(t, err)
	defer f.Close()
	r := csv.NewReader(f)
	r.FieldsPerRecord = -1
	rows, err := r.ReadAll()
	must(t, err)
	d := New(Options{})
	defer d.Close()
	for _, row := range rows[1:] {
		name, kind, should := row[0], row[2], row[3]
		body, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
			continue
		}
		_, _ = d.Decode(body)
		check(t, d, body, Options{}) // after the first: a format's module may have had to be compiled
		img, err := d.Decode(body)
		t.Logf("%s (%s): %s %dx%d partial %v fallback %v, %v", name, kind, img.Format, img.Width, img.Height,
			img.Partial, img.Fallback, err)
		switch {
		case should == "yes" && err != nil:
			t.Errorf("%s (%s): %v", name, kind, err)
		case should == "no" && err == nil:
			t.Errorf("%s (%s) was decoded", name, kind)
		case should == "yes":
			w, h := img.Width, img.Height
			if img.Orientation >= 5 && row[5] == strconv.Itoa(h) {
				w, h = h, w // some rows give the stored size
			}
			if row[4] != "" && row[4] != strconv.Itoa(img.Orientation) || row[5] != strconv.Itoa(w) ||
				row[6] != strconv.Itoa(h) {
				t.Errorf("%s (%s): %dx%d, orientation %d; the manifest says %v", name, kind, w, h,
					img.Orientation, row[4:7])
			}
		}
	}
}
