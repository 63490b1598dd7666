package store

import (
	"errors"
	"slices"
	"testing"
	"time"
)

// TestChecksumsStay: jobs of other releases have them, too.
func TestChecksumsStay(t *testing.T) {
	r := Result{ID: 1_000_000, Status: Failed, Reason: Timeout, HTTPStatus: 503, Format: "jpeg", Width: 500,
		Height: 375, Bytes: 61234, Attempts: 2, FinalURL: "http://b/\x00\xff", Partial: true,
		Detector: "yunet/1,20,0.3", Took: 231 * time.Millisecond, Time: time.UnixMilli(1_760_000_000_000),
		Outputs: KeptBody | Blurred}
	face := Face{X: 10, Y: 20, Width: 30, Height: 40, Score: 0.9312, Confidence: 0.97, HasLandmarks: true,
		Landmarks: Landmarks{193, 356, 307, 356, 250, 432, 205, 512, 295, 512}}
	full, candidate := r, face
	candidate.X = 11
	full.Faces, full.Candidates = []Face{face}, []Face{candidate}
	full.SHA256, full.PHash = "0123456789abcdef0123456789abcdef", "01234567"
	hashed := r
	hashed.PHash = full.PHash
	s := Source{Number: 3, Priority: -2, Name: "list", Format: "csv", Options: "{}", Complete: true,
		Position: Position{Offset: 77, Line: 5, Rows: 4, Mark: []byte{1, 2}}}
	paused := s
	paused.Complete, paused.Paused = false, true
	got := []int32{r.Checksum(), full.Checksum(), hashed.Checksum(), s.Checksum(), paused.Checksum(),
		SettingsChecksum(map[string]string{"b": "2", "a": "1"})}
	want := []int32{1069082063, 744473099, -894105294, 309759455, 1724509134, 1421235354}
	if !slices.Equal(got, want) {
		t.Errorf("they are %d, and were %d", got, want)
	}
}

func TestStorable(t *testing.T) {
	for text, want := range map[string]string{"": "", "h\u00e9": "h\u00e9", "a\x00b\x00": "a%00b%00",
		"a\xff\xfeb": "a\ufffdb", "\x00\xff": "%00\ufffd"} {
		if got := Storable(text); got != want {
			t.Errorf("%q is stored as %q, want %q", text, got, want)
		}
	}
}

// TestVerifySource, and the settings: what has no checksum is of an earlier release.
func TestVerifySource(t *testing.T) {
	s, settings := Source{Number: 2, Name: "list"}, map[string]string{"a": "1"}
	sum, settingsSum := s.Checksum(), SettingsChecksum(settings)
	var got []string
	report := func(p Problem) { got = append(got, p.Check+": "+p.Text) }
	for _, sum := range []*int32{nil, &sum} {
		VerifySource(s, sum, report)
	}
	for _, sum := range []*int32{nil, &settingsSum} {
		VerifySettings(settings, sum, report)
	}
	if got != nil {
		t.Errorf("a sound job: %q", got)
	}
	sum, settingsSum = sum+1, settingsSum+1
	VerifySource(s, &sum, report)
	VerifySettings(settings, &settingsSum, report)
	if want := []string{"source-checksum: the name, options, position or state of source 2 (list) is not " +
		"what was stored", "settings-checksum: the settings are not what was stored"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestVerifyHalves: a failure of the disk is one, also while a damaged result is searched for by halving.
func TestVerifyHalves(t *testing.T) {
	failure := errors.New("no disk")
	for _, at := range []int64{1, 3} { // in the first half, and in the second
		read := func(from, to int64) ([]Result, error) {
			if from == 1 && to == 4 {
				return nil, errHash
			}
			if from == at {
				return nil, failure
			}
			return resultsOf(from), nil
		}
		sums := func(int64, int64) ([]ResultSum, error) {
			return []ResultSum{{ID: 1}, {ID: 2}, {ID: 3}, {ID: 4}}, nil
		}
		_, err := VerifyResults(1, 4, 5, sums, read, func(p Problem) { t.Errorf("%+v", p) })
		if err != failure {
			t.Errorf("reading from row %d fails: %v", at, err)
		}
	}
}

func BenchmarkChecksum(b *testing.B) {
	r := Result{ID: 1_000_000, Status: OK, HTTPStatus: 200, Format: "jpeg", Width: 500, Height: 375,
		Bytes: 61234, Attempts: 1, Detector: "yunet/1,20,0.3", Took: 231 * time.Millisecond,
		Time: time.UnixMilli(1_760_000_000_000)}
	for n := range 2 {
		r.Faces = append(r.Faces, Face{X: 10 + n, Y: 20, Width: 50, Height: 50, Score: 0.9312,
			Confidence: 0.97, HasLandmarks: true})
	}
	for b.Loop() {
		r.Checksum()
	}
}
