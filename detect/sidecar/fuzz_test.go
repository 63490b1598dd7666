package sidecar

import (
	"bytes"
	"context"
	"encoding/json"
	"image"
	"net/http/httptest"
	"strconv"
	"testing"

	"facescan/detect"
)

// seeds are a request and a response, as they are.
func seeds(f *testing.F) (head string, request []byte, reply *httptest.ResponseRecorder) {
	a := ask{images: [][]byte{appendPGM(nil, knownImages()[0]), []byte("x")},
		parameters: parameters{"binary_data_output": true, "min_face": 30, candidatesKey: 8}}
	r := a.request(f)
	var b bytes.Buffer
	if _, err := b.ReadFrom(r.Body); err != nil {
		f.Fatal(err)
	}
	return r.Header.Get(lengthHeader), b.Bytes(), send(newServer(f, ServerOptions{}), a.request(f))
}

// FuzzRequest: the server answers any request with a status that says whose fault it is, and works
// afterwards.
func FuzzRequest(f *testing.F) {
	head, body, _ := seeds(f)
	f.Add(head, body)
	f.Add("", []byte(`{"inputs":[{"name":"images","shape":[1],"datatype":"BYTES","data":["x"]}]}`))
	f.Add("-1", []byte(`{}`))
	s := newServer(f, ServerOptions{MaxBody: 1 << 20, MaxPixels: 1 << 16,
		Open: opens(blind{})})
	f.Fuzz(func(t *testing.T, head string, body []byte) {
		r := httptest.NewRequest("POST", "/v2/models/face/infer", bytes.NewReader(body))
		if head != "" {
			r.Header.Set(lengthHeader, head)
		}
		w := send(s, r)
		switch w.Code {
		case 200:
			m := answerOf(t, w)
			if _, err := m.Outputs[0].numbers(); err != nil {
				t.Error(err)
			}
		case 400, 413, 503:
		default:
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if !s.bodies.TryAcquire(s.o.MaxBodies) {
			t.Fatal("bodies are still accounted for")
		}
		s.bodies.Release(s.o.MaxBodies)
	})
}

// oneFace are the outputs of a response with one face, in the first of two images, in JSON.
const oneFace = `{"name":"faces","datatype":"FP32","shape":[1,6],"data":[[0,1,2,3,4,5]]},` +
	`{"name":"counts","datatype":"INT32","shape":[2],"data":[1,-1]}`

// blind finds nothing, at once.
type blind struct{}

func (blind) Detect(_ context.Context, batch []detect.Image) ([]detect.Answer, error) {
	return make([]detect.Answer, len(batch)), nil
}
func (blind) Fingerprint() string { return "blind/1 x" }
func (blind) Close() error        { return nil }

// opens opens one detector for all flags.
func opens(d detect.Detector) func(detect.Params) (detect.Detector, error) {
	return func(detect.Params) (detect.Detector, error) { return d, nil }
}

// FuzzResponse: the client accepts a response only if every box lies in its image, and the counts match.
func FuzzResponse(f *testing.F) {
	_, _, reply := seeds(f)
	f.Add(reply.Header().Get(lengthHeader), reply.Body.Bytes())
	f.Add("", []byte(`{"parameters":{"min_score":3},"outputs":[`+oneFace+`]}`))
	f.Fuzz(func(t *testing.T, head string, body []byte) {
		c := &Client{model: &model{detector: "x/1", candidates: true}}
		items := []*item{{width: 96, height: 96, luma: image.Pt(96, 96)},
			{width: 50, height: 40, luma: image.Pt(50, 40)}}
		answers, err := c.validate(body, head, items)
		if err != nil {
			return
		}
		if len(answers) != 2 {
			t.Fatalf("%d answers", len(answers))
		}
		for i, a := range answers {
			for _, face := range append(append([]detect.Face(nil), a.Faces...), a.Candidates...) {
				if a.Err != nil || !(face.X >= 0 && face.Y >= 0 && face.Width > 0 && face.Height > 0 &&
					face.X+face.Width <= items[i].width && face.Y+face.Height <= items[i].height) {
					t.Errorf("%+v in image %d", face, i)
				}
			}
		}
	})
}

// FuzzMessage: what is read and written again is read as the same.
func FuzzMessage(f *testing.F) {
	head, body, reply := seeds(f)
	f.Add(head, body)
	f.Add(reply.Header().Get(lengthHeader), reply.Body.Bytes())
	f.Fuzz(func(t *testing.T, head string, body []byte) {
		m, err := parseMessage(head, body, len(body))
		if err != nil {
			return
		}
		text, err := json.Marshal(m)
		must(t, err)
		again := text
		for _, ts := range [][]tensor{m.Inputs, m.Outputs} {
			for _, x := range ts {
				again = append(again, x.binary...)
				if x.is(typeBytes, -1) == nil {
					x.elements()
				}
			}
		}
		m2, err := parseMessage(strconv.Itoa(len(text)), again, len(text))
		must(t, err)
		text2, err := json.Marshal(m2)
		if err != nil || !bytes.Equal(text, text2) {
			t.Errorf("%s then %s, %v", text, text2, err)
		}
	})
}

// FuzzPGM: what is read has as many pixels as it says, and is written as what is read again.
func FuzzPGM(f *testing.F) {
	f.Add(appendPGM(nil, knownImages()[4]))
	f.Add([]byte("P5\n# x\n2 1\n255\nab"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parsePGM(b)
		if err != nil {
			return
		}
		if len(m.Pix) != m.Rect.Dx()*m.Rect.Dy() {
			t.Fatalf("%v has %d pixels", m.Rect, len(m.Pix))
		}
		again, err := parsePGM(appendPGM(nil, m))
		if err != nil || again.Rect != m.Rect || !bytes.Equal(again.Pix, m.Pix) {
			t.Errorf("%v %v", again, err)
		}
	})
}
