package sidecar

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"image"
	"reflect"
	"strings"
	"testing"

	"facescan/detect"
	"facescan/detect/detecttest/sample"
)

// TestParametersAreComplete: every detection flag there is can travel, and comes out as it went in.
func TestParametersAreComplete(t *testing.T) {
	pigo, _ := detect.KindNamed(detect.Pigo)
	listed := list(pigo)
	typ := reflect.TypeFor[detect.Params]()
	for i := range typ.NumField() {
		if typ.Field(i).Name == "Detector" {
			continue // the model's metadata name it
		}
		p := detect.Defaults(detect.Pigo)
		switch f := reflect.ValueOf(&p).Elem().Field(i); f.Kind() {
		case reflect.Int:
			f.SetInt(90)
		case reflect.Float64:
			f.SetFloat(0.625)
			if typ.Field(i).Name == "Scale" {
				f.SetFloat(1.625)
			}
		case reflect.Bool:
			f.SetBool(!f.Bool())
		case reflect.Slice:
			f.Set(reflect.ValueOf([]float64{22.5, -33.75}))
		default:
			t.Fatalf("%s is a %v", typ.Field(i).Name, f.Kind())
		}
		m, err := toParameters(p, 1.6, listed)
		must(t, err)
		text, err := json.Marshal(m)
		must(t, err)
		var back parameters
		must(t, json.Unmarshal(text, &back))
		got, err := fromParameters(pigo, back)
		if p.IoU = p.Overlap(); err != nil || !reflect.DeepEqual(got, requested{p, candidates, 1.6}) {
			t.Errorf("%s: %+v %v, want %+v", typ.Field(i).Name, got, err, p)
		}
		if _, err := toParameters(p, 1, nil); err == nil {
			t.Errorf("%s: a server that does not list it is asked", typ.Field(i).Name)
		}
	}
	p := detect.Defaults(detect.Pigo)
	p.MinFace, p.MaxFace = 40, 100
	if m, err := toParameters(p, 1.6, parameters{"min_face": 20, "max_face": 0}); err != nil ||
		m["min_face"] != 25 || m["max_face"] != 63 || len(m) != 2 {
		t.Errorf("sizes in pixels of what is sent: %v, %v", m, err)
	}
	p.MinFace, p.MaxFace = 40, 0
	if m, err := toParameters(p, 64, parameters{"min_face": 20, "max_face": 0}); err != nil ||
		m["min_face"] != 1 || m["max_face"] != 0 {
		t.Errorf("a face of less than a pixel: %v, %v", m, err)
	}
	if m, err := toParameters(detect.Defaults(detect.Pigo), 1.6, nil); err != nil || len(m) > 0 {
		t.Errorf("the defaults need %v, %v", m, err)
	}
	p = detect.Defaults(detect.Pigo)
	if m, err := toParameters(p, 1, listed); err != nil || m[minScoreKey] != nil || m[scaleKey] != 1. ||
		m[candidatesKey] != 8 {
		t.Errorf("the detector's own threshold: %v, %v", m, err)
	}
	p.MinScore = 3
	if m, err := toParameters(p, 1, listed); err != nil || m[minScoreKey] != 3. {
		t.Errorf("another threshold: %v, %v", m, err)
	}
}

func TestPGM(t *testing.T) {
	m := sample.Photo(t, 61)
	got, err := parsePGM(appendPGM(nil, m))
	if err != nil || got.Rect != m.Rect || !bytes.Equal(got.Pix, m.Pix) {
		t.Error("there and back:", err)
	}
	part := m.SubImage(image.Rect(7, 5, 30, 29)).(*image.Gray)
	got, err = parsePGM(appendPGM(nil, part))
	if err != nil || got.Rect.Size() != image.Pt(23, 24) || got.GrayAt(3, 4) != part.GrayAt(10, 9) {
		t.Error("a part:", err)
	}
	part = m.SubImage(image.Rect(0, 5, 61, 29)).(*image.Gray)
	got, err = parsePGM(appendPGM(nil, part))
	if err != nil || got.Rect.Size() != image.Pt(61, 24) || got.GrayAt(3, 4) != part.GrayAt(3, 9) {
		t.Error("some rows:", err)
	}
	for _, ok := range []string{"P5 2 1 255 ab", "P5\n# made by hand\n2 # width\n1\n255\nab",
		"P5\r2\t1\v255\nab", "P5 #a\r2 1 255\fab", "P5 #a\n#b\n2 1 255 ab", "P5 000000002 1 255 ab"} {
		if m, err := parsePGM([]byte(ok)); err != nil || string(m.Pix) != "ab" {
			t.Errorf("%q: %v", ok, err)
		}
	}
	for _, bad := range []string{"", "P5", "P5 ", "P2 2 1 255 ab", "P5 2 1 255 a", "P5 2 1 255 abc",
		"P5 0 1 255 ", "P5 2 1 65535 abcd", "P5 2 1 255", "P5 -2 1 255 ab",
		"P5 2 1 255#\nab", "P5 2000000000 2000000000 255 ab", "P5 4294967296 4294967296 255 ab",
		"P5 2 1 # never ends", "P5 1 0 255 ", "P5 2 1 254 ab", "P5 2 1  ab", "P5 2 1 255", "P52 1 255 ab",
		"P5 0000000002 1 255 ab"} {
		if _, err := parsePGM([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

// TestElements: what is appended comes out.
func TestElements(t *testing.T) {
	var b []byte
	want := [][]byte{[]byte("one"), {}, []byte("three")}
	for _, w := range want {
		b = appendElement(b, func(b []byte) []byte { return append(b, w...) })
	}
	if n := binary.LittleEndian.Uint32(b); n != 3 {
		t.Errorf("a length of %d", n)
	}
	got, err := (&tensor{Shape: []int64{3}, binary: b}).elements()
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q %v", got, err)
	}
}

// TestLimitsOfParameters: the first and the last value of each parameter of a request, and those beyond.
func TestLimitsOfParameters(t *testing.T) {
	pigo, _ := detect.KindNamed(detect.Pigo)
	for _, c := range []struct {
		name      string
		good, bad []any
	}{
		{candidatesKey, []any{0.0, 8.0}, []any{-1.0, 9.0, 0.5, "1", true, nil}},
		{scaleKey, []any{1.0, 1024.0}, []any{0.99, 1024.1, "1", nil}},
		{"min_face", []any{8.0, 32768.0}, []any{7.0, 32769.0, 20.5, "20", float64(1 << 31),
			-float64(1<<31) - 1}},
		{"max_face", []any{0.0, 20.0, float64(1<<31 - 1)}, []any{19.0, float64(1 << 31), -float64(1 << 31)}},
		{"shift", []any{0.01, 1.0}, []any{0.009, 1.1, "0.1"}},
		{"angles", []any{"", "1,2", strings.Repeat("1,", 31) + "1"}, []any{strings.Repeat("1,", 32) + "1",
			"x", 1.0}},
		// those of the protocol, which change nothing
		{"binary_data_output", []any{true}, nil}, {"priority", []any{1.0}, nil},
		{"timeout", []any{1.0, "what"}, nil}, {"content_type", []any{"pgm"}, nil},
		{"headers", []any{"x"}, nil}, {"sequence_id", []any{7.0}, nil}, {"sequence_start", []any{true}, nil},
		{"sequence_end", []any{false}, nil}, {"nothing", nil, []any{1.0}},
	} {
		for _, v := range c.good {
			if got, err := fromParameters(pigo, parameters{c.name: v}); err != nil {
				t.Errorf("%s %v: %+v, %v", c.name, v, got, err)
			}
		}
		for _, v := range c.bad {
			if got, err := fromParameters(pigo, parameters{c.name: v}); err == nil {
				t.Errorf("%s %v is accepted: %+v", c.name, v, got)
			}
		}
	}
}
