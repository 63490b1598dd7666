package export

import (
	"math"
	"testing"

	"facescan/store"
	"facescan/store/storetest/must"
)

func TestFileOf(t *testing.T) {
	for id, want := range map[int64]string{
		0: "000/000000", 1: "000/000001", 999: "000/000999", 1000: "001/001000", 999_999: "999/999999",
		1_000_000: "001/000/001000000", 1<<store.SourceShift + 7: "001/099/511/627/001099511627783",
		-5: "minus/000/000005", math.MinInt64: "minus/009/223/372/036/854/775/009223372036854775808",
	} {
		if got := FileOf(id); got != want {
			t.Errorf("row %d: %s, want %s", id, got, want)
		}
	}
}

// TestFileColumns lists what was made, and only that.
func TestFileColumns(t *testing.T) {
	faces := []store.Face{{Width: 5, Height: 5, Score: 9}, {X: 7, Width: 5, Height: 5, Score: 8}}
	results := []store.Result{
		{ID: 1, Status: store.OK, Format: "jpeg", Faces: faces,
			Candidates: []store.Face{{Width: 2, Height: 2, Score: 3}},
			Outputs:    store.KeptBody | store.Crops | store.Blurred},
		{ID: 2, Status: store.OK, Format: "png", Outputs: store.Crops},
		{ID: 3, Status: store.OK, Format: "webp", Faces: faces[:1], Outputs: store.KeptBody},
		{ID: 4, Status: store.Failed, Reason: store.Timeout},
		{ID: 5, Status: store.OK, Format: "webp", Outputs: store.KeptBody | store.KeptJPEG},
	}
	low, high := 1.0, 8.5
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Columns: []string{"id", "kept", "crops", "blurred"}},
			"id,kept,crops,blurred\n1,000/000001.jpg,000/000001-1.jpg " +
				"000/000001-2.jpg,000/000001.jpg\n2,,,\n3,000/000003.webp,,\n4,,,\n" +
				"5,000/000005.jpg,,\n"},
		{Options{Rows: "faces", Columns: []string{"id", "face", "crop"}},
			"id,face,crop\n1,1,000/000001-1.jpg\n1,2,000/000001-2.jpg\n3,1,\n"},
		// Decided anew, faces that the run did not take for such have no crop.
		{Options{Columns: []string{"faces", "crops"}, MinScore: map[string]float64{"": high}},
			"faces,crops\n1,000/000001-1.jpg\n0,\n1,\n,\n0,\n"},
		{Options{Columns: []string{"faces", "crops"}, MinScore: map[string]float64{"": low}},
			"faces,crops\n3,000/000001-1.jpg 000/000001-2.jpg\n0,\n1,\n,\n0,\n"},
		{Options{Rows: "faces", Columns: []string{"face", "crop"}, MinScore: map[string]float64{"": low},
			Where: "id = 1"}, "face,crop\n1,000/000001-1.jpg\n2,000/000001-2.jpg\n3,\n"},
		{Options{Columns: []string{"id"}, Where: "kept IS NOT NULL AND format = 'webp'"}, "id\n3\n5\n"},
	} {
		if got := exported(t, c.o, results...); got != c.want {
			t.Errorf("%+v:\n%swant\n%s", c.o, got, c.want)
		}
	}
}

// TestFilterMatch holds the filter of results to the one of exports.
func TestFilterMatch(t *testing.T) {
	f := must.Get(ParseFilter("faces > 1 AND url LIKE '%.jpg'", Options{}))(t)
	two := make([]store.Face, 2)
	for _, c := range []struct {
		r    store.Result
		want bool
	}{
		{store.Result{Status: store.OK, URL: "http://h/a.jpg", Faces: two}, true},
		{store.Result{Status: store.OK, URL: "http://h/a.jpg", Faces: two[:1]}, false},
		{store.Result{Status: store.OK, URL: "http://h/a.png", Faces: two}, false},
		{store.Result{Status: store.Failed, URL: "http://h/a.jpg", Faces: two}, false},
	} {
		if got := f.Match(c.r); got != c.want {
			t.Errorf("%+v: %v", c.r, got)
		}
	}
}
