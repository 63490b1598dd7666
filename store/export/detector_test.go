package export

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"facescan/store"
	"facescan/store/storetest/must"
)

func twoDetectors() []Detector {
	begins := func(prefix string) func(string) bool {
		return func(s string) bool { return strings.HasPrefix(s, prefix) }
	}
	return []Detector{
		{Name: "net", Matches: begins("network-"), Decimals: 4, Rounded: true, Landmarks: true},
		{Name: "tree", Matches: begins("cascade-"), Decimals: 2},
	}
}

func mixed() []store.Result {
	face := func(x int, score float64) store.Face {
		return store.Face{X: x, Y: 2, Width: 30, Height: 40, Score: score, Confidence: 0.5}
	}
	marked := func(f store.Face) store.Face {
		f.HasLandmarks, f.Landmarks = true, store.Landmarks{10, 25, 200, 24, 101, 150, -3, 300, 199, 301}
		return f
	}
	row := func(id int64, detector string, faces ...store.Face) store.Result {
		return store.Result{ID: id, URL: "http://a/", Status: store.OK, HTTPStatus: 200, Format: "png",
			Width: 99, Height: 98, Bytes: 7, Detector: detector, Faces: faces}
	}
	first := row(1, "network-1 min=20", marked(face(1, 0.9731)))
	first.Candidates = []store.Face{marked(face(5, float64(float32(0.4124)))),
		marked(face(6, float64(float32(0.31))))}
	return []store.Result{first, row(2, "network-2"), row(3, "cascade-1", face(9, 12.345)),
		row(4, store.NoDetector), row(5, "face/7", face(3, 1.5)),
		{ID: 6, URL: "http://b/", Status: store.Failed, Reason: store.Timeout}}
}

func TestDetectors(t *testing.T) {
	for _, c := range []struct {
		name string
		o    Options
		want string
	}{
		{"scores and landmarks", Options{Columns: []string{"id", "faces", "boxes", "landmarks"}}, `id,faces,boxes,landmarks
1,1,"[[1,2,30,40,0.9731]]","[[1.0,2.5,20.0,2.4,10.1,15.0,-0.3,30.0,19.9,30.1]]"
2,0,[],[]
3,1,"[[9,2,30,40,12.35]]",
4,,,
5,1,"[[3,2,30,40,1.50]]",
6,,,
`},
		{"JSON Lines", Options{Format: "jsonl", Where: "id < 5", Columns: []string{"id", "faces", "landmarks"}}, `{"id":1,"faces":1,"landmarks":[[1.0,2.5,20.0,2.4,10.1,15.0,-0.3,30.0,19.9,30.1]]}
{"id":2,"faces":0,"landmarks":[]}
{"id":3,"faces":1,"landmarks":null}
{"id":4,"faces":null,"landmarks":null}
`},
		{"faces", Options{Rows: "faces", Columns: []string{"id", "score", "right_eye_x", "right_eye_y",
			"left_mouth_y"}},
			"id,score,right_eye_x,right_eye_y,left_mouth_y\n1,0.9731,1.0,2.5,30.1\n3,12.35,,,\n5,1.50,,,\n"},
		{"by name", Options{Where: "detector = 'net'", Columns: []string{"id", "detector"}},
			"id,detector\n1,network-1 min=20\n2,network-2\n"},
		{"by the other name", Options{Where: "'tree' = detector", Columns: []string{"id"}}, "id\n3\n"},
		{"not by name", Options{Where: "detector != 'net' AND status = 'ok'", Columns: []string{"id"}},
			"id\n3\n4\n5\n"},
		{"by fingerprint", Options{Where: "detector = 'network-2'", Columns: []string{"id"}}, "id\n2\n"},
		{"none", Options{Where: "detector = 'none'", Columns: []string{"id"}}, "id\n4\n"},
		{"in both", Options{Where: "detector IN ('tree', 'network-2', 'none')", Columns: []string{"id"}},
			"id\n2\n3\n4\n"},
		{"not in both", Options{Where: "detector NOT IN ('tree', 'network-2') AND status = 'ok'",
			Columns: []string{"id"}}, "id\n1\n4\n5\n"},
		{"like", Options{Where: "detector LIKE 'network%'", Columns: []string{"id"}}, "id\n1\n2\n"},
		{"landmarks as numbers", Options{Rows: "faces", Where: "nose_y - right_eye_y > 12",
			Columns: []string{"id"}}, "id\n1\n"},
		{"candidates at their printed score",
			Options{Where: "detector = 'net'", MinScore: map[string]float64{"net": 0.4124},
				Columns: []string{"id", "boxes"}},
			"id,boxes\n1,\"[[1,2,30,40,0.9731],[5,2,30,40,0.4124]]\"\n2,[]\n"},
		{"a score for each", Options{Where: "id < 5", MinScore: map[string]float64{"net": 0.99, "tree": 12},
			Columns: []string{"id", "faces"}}, "id,faces\n1,0\n2,0\n3,1\n4,\n"},
		{"landmarks of candidates", Options{Where: "id = 1", MinScore: map[string]float64{"net": 0.3},
			Format: "jsonl", Columns: []string{"landmarks"}},
			`{"landmarks":[` + strings.Repeat("[1.0,2.5,20.0,2.4,10.1,15.0,-0.3,30.0,19.9,30.1],", 2) +
				"[1.0,2.5,20.0,2.4,10.1,15.0,-0.3,30.0,19.9,30.1]]}\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.o.Detectors = twoDetectors()
			if got := exported(t, c.o, mixed()...); got != c.want {
				t.Error(cmp.Diff(c.want, got))
			}
		})
	}
}

// A threshold is on the scale of one detector: rows of another are refused, unless the filter leaves them
// out.
func TestMinScoreOfOtherDetectors(t *testing.T) {
	for _, c := range []struct {
		o                        Options
		scale, row, name, choice string
	}{
		{Options{MinScore: map[string]float64{"net": 0.6}}, "net", "row 3", "tree", "net"},
		{Options{MinScore: map[string]float64{"tree": 8, "net": 0.6}}, "net, tree", "row 5", "face/7", "net"},
		{Options{MinScore: map[string]float64{"": 0.6}, Rows: "faces"}, "a model of others", "row 1", "net",
			"net"},
	} {
		c.o.Detectors = twoDetectors()
		w := must.Get(New(&strings.Builder{}, c.o))(t)
		err := writeAll(w, mixed())
		usage, ok := err.(*UsageError)
		if !ok {
			t.Errorf("%+v: %v", c.o.MinScore, err)
			continue
		}
		want := fmt.Sprintf("--min-score is on the scale of %s, and %s was processed by %s, whose scores "+
			"are on "+
			"another scale: choose rows with --where \"detector = '%s'\", or give a score for each "+
			"detector, as "+
			"--min-score yunet=0.6,pigo=8", c.scale, c.row, c.name, c.choice)
		if usage.Text != want {
			t.Errorf("%+v: %s, want\n%s", c.o.MinScore, usage.Text, want)
		}
	}
}

// TestWhoseLandmarks: landmarks are a list where each face has them, and where a detector that has them found
// no face.
func TestWhoseLandmarks(t *testing.T) {
	face := store.Face{Width: 9, Height: 9, Score: 1}
	marked := face
	marked.HasLandmarks = true
	const points = "[0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0]"
	for _, c := range []struct {
		detector string
		faces    []store.Face
		want     string
	}{
		{"network-1", nil, "[]"}, {"network-1", []store.Face{marked}, "[" + points + "]"},
		{"network-1", []store.Face{marked, face}, "null"}, {"cascade-1", nil, "null"},
		{"cascade-1", []store.Face{face}, "null"}, {"face/7", nil, "null"},
		{"face/7", []store.Face{marked, marked}, "[" + points + "," + points + "]"}, {store.NoDetector, nil,
			"null"},
	} {
		got := exported(t, Options{Format: "jsonl", Columns: []string{"landmarks"},
			Detectors: twoDetectors()},
			store.Result{ID: 1, Status: store.OK, Detector: c.detector, Faces: c.faces})
		if want := `{"landmarks":` + c.want + "}\n"; got != want {
			t.Errorf("%s with %d faces: %s, want %s", c.detector, len(c.faces), got, want)
		}
	}
}

func TestKeypoints(t *testing.T) {
	var got struct {
		Categories []struct {
			Keypoints []string
			Skeleton  [][]int
		}
		Annotations []struct {
			ImageID   int64 `json:"image_id"`
			N         int   `json:"num_keypoints"`
			Keypoints []float64
		}
	}
	if err := json.Unmarshal([]byte(exported(t, Options{Format: "coco", Detectors: twoDetectors()},
		mixed()...)), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Categories) != 1 || strings.Join(got.Categories[0].Keypoints,
		" ") != "right_eye left_eye nose right_mouth left_mouth" || got.Categories[0].Skeleton == nil {
		t.Errorf("categories %+v", got.Categories)
	}
	for _, a := range got.Annotations {
		if has := a.ImageID == 1; (a.N == 5) != has || (len(a.Keypoints) == 15) != has {
			t.Errorf("annotation %+v", a)
		}
	}
	if k := got.Annotations[0].Keypoints; k[0] != 1 || k[1] != 2.5 || k[2] != 2 || k[12] != 19.9 {
		t.Errorf("keypoints %v", k)
	}
}

func TestGroupsWithoutFaces(t *testing.T) {
	var b strings.Builder
	w := must.Get(New(&b, Options{Rows: "groups", NoFaces: true,
		Columns: []string{"group", "faces", "images_with_faces", "ok"}}))(t)
	must.OK(t, w.WriteGroup(store.Group{Name: "a", OK: 3}))
	if err := w.Close(); err != nil || b.String() != "group,faces,images_with_faces,ok\na,,,3\n" {
		t.Errorf("%q %v", b.String(), err)
	}
}

func TestLandmarksInParquet(t *testing.T) {
	type points struct {
		RightEyeX  float64 `parquet:"right_eye_x"`
		RightEyeY  float64 `parquet:"right_eye_y"`
		LeftMouthY float64 `parquet:"left_mouth_y"`
	}
	type row struct {
		ID        *int64   `parquet:"id,optional"`
		Faces     *int64   `parquet:"faces,optional"`
		Landmarks []points `parquet:"landmarks,list,optional"`
		Detector  *string  `parquet:"detector,optional"`
	}
	data := exported(t, Options{Format: "parquet", Columns: []string{"id", "faces", "landmarks", "detector"},
		Where:    "id < 5",
		MinScore: map[string]float64{"net": 0.4, "tree": 8}, Detectors: twoDetectors()}, mixed()...)
	got := must.Get(parquet.Read[row](strings.NewReader(data), int64(len(data))))(t)
	number := func(n int64) *int64 { return &n }
	one := points{1, 2.5, 30.1}
	text := func(s string) *string { return &s }
	want := []row{{number(1), number(2), []points{one, one}, text("network-1 min=20")},
		{number(2), number(0), nil, text("network-2")},
		{number(3), number(1), nil, text("cascade-1")}, {number(4), nil, nil, text("none")}}
	for i := range got {
		if len(got[i].Landmarks) == 0 {
			got[i].Landmarks = nil
		}
	}
	if !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	faces := exported(t, Options{Format: "parquet", Rows: "faces", Columns: []string{"score", "nose_x"},
		Detectors: twoDetectors()}, mixed()...)
	f, err := parquet.OpenFile(strings.NewReader(faces), int64(len(faces)))
	if err != nil || f.NumRows() != 3 {
		t.Errorf("%v", err)
	}
}
