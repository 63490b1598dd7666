package export

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// TestFormatOf has the formats that names of files mean, and names that mean none.
func TestFormatOf(t *testing.T) {
	const json = `a.json: a name in .json does not say which; add --format coco, or write JSON Lines to a name ` +
		`in .jsonl`
	none := func(path, suffix string, formats []string) string {
		return path + ": " + suffix + " is not the suffix of a format; there are " +
			strings.Join(formats, ", ") +
			": give the file such a suffix, or choose one with --format"
	}
	for _, formats := range [][]string{Formats(), FollowFormats()} {
		for path, want := range map[string]string{
			"a": "csv", "a.csv": "csv", "x.d/a": "csv", "A.CSV.GZ": "csv", "a.gz": "csv", ".csv": "csv", "a.": "csv",
			"a.jsonl": "jsonl", "a.csv.ndjson.zst": "jsonl", "a.Parquet": "parquet",
		} {
			if got, err := FormatOf(path, formats); got != want || err != nil {
				t.Errorf("%s means %q, %v; want %q", path, got, err, want)
			}
		}
		for path, want := range map[string]string{"a.json": json, "a.xlsx": none("a.xlsx", ".xlsx", formats),
			"a.csv.bz2": none("a.csv.bz2", ".bz2", formats)} {
			if path == "a.json" && len(formats) == 2 { // without coco
				want = none(path, ".json", formats)
			}
			var usage *UsageError
			if got, err := FormatOf(path, formats); got != "" || !errors.As(err, &usage) ||
				err.Error() != want {
				t.Errorf("%s means %q, %v; want %s", path, got, err, want)
			}
		}
	}
}

// TestSuffix: a name that begins with its only dot has no suffix.
func TestSuffix(t *testing.T) {
	for path, want := range map[string]string{"a.CSV.gz": ".csv", ".csv": "", ".xlsx": "", "a.": "",
		"x.d/a":   "",
		"a.b.Zst": ".b", "a.zst": ""} {
		if got := Suffix(path); got != want {
			t.Errorf("%s has the suffix %q, want %q", path, got, want)
		}
	}
}

// TestColumns lists what exports can have.
func TestColumns(t *testing.T) {
	if got := Columns("images"); len(got) != len(imageColumns)+len(moreImageColumns) || got[0] != "id" ||
		!slices.Contains(got, "landmarks") {
		t.Errorf("images: %v", got)
	}
	if got := Columns("faces"); !slices.Contains(got, "nose_y") || slices.Contains(got, "boxes") ||
		!slices.Contains(got, "sha256") {
		t.Errorf("faces: %v", got)
	}
	if got := Columns("groups"); !slices.Equal(got, names(groupColumns)) {
		t.Errorf("groups: %v", got)
	}
	if got := Columns("cats"); got != nil {
		t.Errorf("cats: %v", got)
	}
}

// TestFileName names the files of a split: no value hides its file, leads elsewhere, or has another's name.
func TestFileName(t *testing.T) {
	long := strings.Repeat("a", 200)
	for value, want := range map[string]string{
		"": "%empty", "azAZ09_-.": "azAZ09_-.", "..": "%2E.", ".a": "%2Ea", "a.b": "a.b",
		"@[`{/:,^": "%40%5B%60%7B%2F%3A%2C%5E", "é\x00": "%C3%A9%00", long: long,
		long + "b": long + "%2b5bebf77f33a2d5",
	} {
		if got := fileName(value); got != want {
			t.Errorf("%q is %s, want %s", value, got, want)
		}
	}
}
