package sidecar

import (
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestElementsThatAreBroken: files lie in a tensor one behind another, each after its length, or as base64 in
// the JSON.
func TestElementsThatAreBroken(t *testing.T) {
	base64 := parameters{contentType: base64Content}
	for _, c := range []struct {
		n      int64
		binary string
		data   string
		params parameters
		want   string // the files, or the error
	}{
		{0, "", "", nil, `[]`},
		{2, "\x02\x00\x00\x00ab\x00\x00\x00\x00", "", nil, `["ab" ""]`},
		{1, "\x00\x01\x00\x00" + strings.Repeat("x", 256), "", nil, `["` + strings.Repeat("x", 256) + `"]`},
		{1, "\x03\x00\x00\x00ab", "", nil, `tensor "images": element 0 has 3 bytes, and 2 are left`},
		{2, "\x00\x00\x00\x00\xff\xff\xff\xff", "", nil,
			`tensor "images": element 1 has 4294967295 bytes, and 0 are left`},
		{2, "\x01\x00\x00\x00abcd", "", nil, `tensor "images" ends before element 1`},
		{2, "\x00\x00\x00\x00\x00\x00\x00", "", nil, `tensor "images": 2 elements do not fit into 7 bytes`},
		{1, "\x01\x00\x00\x00ab", "", nil, `tensor "images": 1 bytes after the last element`},
		{2, "", `["YWI=",""]`, base64, `["ab" ""]`},
		{1, "", `["YWI=",""]`, base64, `tensor "images": its data are no 1 strings of base64`},
		{1, "", `["?"]`, base64, `tensor "images": its data are no 1 strings of base64`},
		{1, "", `["YWI="]`, nil,
			`tensor "images" must be sent as binary data, or with content_type base64`},
		{1, "\x01\x00\x00\x00a", `["YWI="]`, base64, `["a"]`}, // binary comes first
	} {
		x := &tensor{Name: "images", Shape: []int64{c.n}, Parameters: c.params, Data: json.RawMessage(c.data)}
		if c.data == "" || c.binary != "" {
			x.binary = []byte(c.binary)
		}
		files, err := x.elements()
		got := fmt.Sprintf("%q", files)
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%d of %q and %s: %s, want %s", c.n, c.binary, c.data, got, c.want)
		}
	}
}

// TestParseMessage: the JSON is as long as the header says, and every byte behind it belongs to a tensor.
func TestParseMessage(t *testing.T) {
	const two = `{"inputs":[{"name":"a","parameters":{"binary_data_size":2}},{"name":"b"}],` +
		`"outputs":[{"name":"c","parameters":{"binary_data_size":3}}]}`
	length := fmt.Sprint(len(two))
	sized := func(size string) string {
		return `{"inputs":[{"name":"a","parameters":{"binary_data_size":` + size + `}}]}`
	}
	for _, c := range []struct{ length, body, want string }{
		{length, two + "ABxyz", `"AB" "" "xyz"`},
		{length, two + "ABxy", `tensor "c": binary_data_size is 3, and 2 bytes are left`},
		{length, two + "ABxyz!", "1 bytes belong to no tensor"},
		{"", `{}`, ""}, {"2", `{}`, ""},
		{"0", "", "the header is not the JSON it should be: unexpected end of JSON input"},
		{"-1", `{}`, `Inference-Header-Content-Length is "-1", of a body of 2 bytes`},
		{"3", `{}`, `Inference-Header-Content-Length is "3", of a body of 2 bytes`},
		{"x", `{}`, `Inference-Header-Content-Length is "x", of a body of 2 bytes`},
		{"", sized("0"), `""`},
		{"", sized("1"), `tensor "a": binary_data_size is 1, and 0 bytes are left`},
		{"", sized("-1"), `tensor "a": binary_data_size is -1, and 0 bytes are left`},
		{"", sized("0.5"), `tensor "a": binary_data_size is 0.5, and 0 bytes are left`},
		{"", sized(`"1"`), `tensor "a": binary_data_size is 1, and 0 bytes are left`},
	} {
		m, err := parseMessage(c.length, []byte(c.body), len(two))
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			var parts []string
			for _, x := range slices.Concat(m.Inputs, m.Outputs) {
				parts = append(parts, fmt.Sprintf("%q", x.binary))
			}
			got = strings.Join(parts, " ")
		}
		if got != c.want {
			t.Errorf("%q of %s: %s, want %s", c.length, c.body, got, c.want)
		}
	}
	const long = "121 bytes of JSON; send images as binary data behind it, with " + lengthHeader
	body := []byte(`{"id":"` + strings.Repeat("x", 112) + `"}`)
	if _, err := parseMessage("", body, 121); err != nil {
		t.Error(err)
	}
	if _, err := parseMessage("121", append(body, 1), 120); err == nil || err.Error() != long {
		t.Errorf("%v, want %s", err, long)
	}
}

// TestFind: a tensor is the only one of its name, and has the type and the shape that are wanted.
func TestFind(t *testing.T) {
	ts := []tensor{{Name: "a", Datatype: typeFP32, Shape: []int64{3, 6}}, {Name: "b"}, {Name: "b"},
		{Name: "n", Datatype: typeFP32, Shape: []int64{-1, 6}}, {Name: "z", Datatype: typeFP32,
			Shape: []int64{0, 6}}}
	for _, c := range []struct {
		name, datatype string
		shape          []int64
		want           string
	}{
		{"a", typeFP32, []int64{-1, 6}, ""}, {"a", typeFP32, []int64{3, 6}, ""}, {"z", typeFP32, []int64{0,
			-1}, ""},
		{"a", typeFP32, []int64{3, 5}, `tensor "a" is FP32 [3 6], want FP32 [3 5]`},
		{"a", typeFP32, []int64{0, 6}, `tensor "a" is FP32 [3 6], want FP32 [0 6]`},
		{"a", typeFP32, []int64{-1}, `tensor "a" is FP32 [3 6], want FP32 [-1]`},
		{"a", typeINT32, []int64{-1, 6}, `tensor "a" is FP32 [3 6], want INT32 [-1 6]`},
		{"n", typeFP32, []int64{-1, 6}, `tensor "n" is FP32 [-1 6], want FP32 [-1 6]`},
		{"b", typeFP32, nil, `two tensors are called "b"`}, {"c", typeFP32, nil, `no tensor is called "c"`},
	} {
		_, err := find(ts, c.name, c.datatype, c.shape...)
		if got := errText(err); got != c.want {
			t.Errorf("%s %s %v: %q, want %q", c.name, c.datatype, c.shape, got, c.want)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestNumbersInBinary: four bytes each, the lowest first.
func TestNumbersInBinary(t *testing.T) {
	for _, c := range []struct {
		datatype string
		shape    []int64
		binary   string
		want     []float64
		says     string
	}{
		{typeINT32, []int64{2}, "\x01\x00\x00\x00\xff\xff\xff\xff", []float64{1, -1}, ""},
		{typeFP32, []int64{1, 2}, "\x00\x00\x80\x3f\x00\x00\x00\xbf", []float64{1, -0.5}, ""},
		{typeFP32, []int64{0, 6}, "", []float64{}, ""},
		{typeFP32, []int64{2}, "\x00\x00\x80\x3f", nil, `tensor "x" has 4 bytes for 2 elements`},
		{typeFP32, []int64{1}, "\x00\x00\x80\x3f\x00", nil, `tensor "x" has 5 bytes for 1 elements`},
		{typeFP32, []int64{1 << 62}, "", nil, `tensor "x" has 0 bytes for 4611686018427387904 elements`},
	} {
		x := &tensor{Name: "x", Datatype: c.datatype, Shape: c.shape, binary: []byte(c.binary)}
		if got, err := x.numbers(); !reflect.DeepEqual(got, c.want) || errText(err) != c.says {
			t.Errorf("%s %v of %q: %v, %v, want %v %s", c.datatype, c.shape, c.binary, got, err, c.want,
				c.says)
		}
	}
	for datatype, want := range map[string]string{typeINT32: "[1065353216,-1090519040]",
		typeFP32: "[1,-0.5]"} {
		x := &tensor{Name: "x", Datatype: datatype, Shape: []int64{2}}
		err := x.put([]byte("\x00\x00\x80\x3f\x00\x00\x00\xbf"), false)
		if err != nil || string(x.Data) != want || x.binary != nil || x.Parameters != nil {
			t.Errorf("%s as JSON: %s, %v, want %s", datatype, x.Data, err, want)
		}
	}
}

// TestResponses: a response has each tensor, complete, in the type and shape of the metadata.
func TestResponses(t *testing.T) {
	const faces = `{"name":"faces","datatype":"FP32","shape":[1,6],"data":[0,1,2,3,4,5]}`
	const counts = `{"name":"counts","datatype":"INT32","shape":[2],"data":[1,-1]}`
	const points = `{"name":"landmarks","datatype":"FP32","shape":[1,10],"data":[1,2,3,4,5,6,7,8,9,9]}`
	items := []*item{{width: 96, height: 96, luma: image.Pt(96, 96)},
		{width: 50, height: 40, luma: image.Pt(50, 40)}}
	for _, c := range []struct {
		name, parameters, outputs string
		landmarks, candidates     bool
		want                      string
	}{
		{"faces", `{}`, faces + "," + counts, false, false, ""},
		{"landmarks", `{}`, counts + "," + points + "," + faces, true, false, ""},
		{"no landmarks", `{}`, faces + "," + counts, true, false, `no tensor is called "landmarks"`},
		{"landmarks of two", `{}`,
			faces + "," + counts + "," + strings.Replace(points, "[1,10]", "[2,10]", 1), true, false,
			`tensor "landmarks" is FP32 [2 10], want FP32 [1 10]`},
		{"half a face", `{}`, counts + "," + strings.Replace(faces, "3,4,5", "3", 1), false, false,
			`tensor "faces" has 4 elements for 6`},
		{"one count", `{}`, faces + "," + strings.Replace(counts, "[2]", "[1]", 1), false, false,
			`tensor "counts" is INT32 [1], want INT32 [2]`},
		{"the threshold", `{"min_score":4}`, faces + "," + counts, false, true, ""},
		{"no threshold", `{}`, faces + "," + counts, false, true,
			"candidates were requested, and the threshold is <nil>"},
		{"the detector", `{"detector":"x/1"}`, faces + "," + counts, false, false, ""},
		{"another detector", `{"detector":"y/1"}`, faces + "," + counts, false, false,
			"it comes from the detector y/1, not x/1"},
		{"more than there may be", `{}`,
			strings.Replace(faces, "[1,6]", "[8193,6]", 1) + "," + counts, false, false,
			"8193 faces in 2 images"},
		{"as many as there may be", `{}`,
			strings.Replace(faces, "[1,6]", "[8192,6]", 1) + "," + counts, false, false,
			`tensor "faces" has 6 elements for 49152`},
	} {
		x := &Client{model: &model{detector: "x/1", landmarks: c.landmarks, candidates: c.candidates}}
		a, err := x.validate([]byte(`{"parameters":`+c.parameters+`,"outputs":[`+c.outputs+`]}`), "", items)
		if got := errText(err); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if err != nil {
			continue
		}
		if len(a[0].Faces) != 1 || a[0].Err != nil || a[0].Faces[0].HasLandmarks != c.landmarks ||
			!errors.Is(a[1].Err, errUnreadable) {
			t.Errorf("%s: %+v", c.name, a)
		}
	}
}
