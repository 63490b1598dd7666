package heif_test

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"slices"
	"strings"
	"testing"

	"facescan/pipeline/decode/heif"
)

// wide is a box whose length takes 8 bytes.
func wide(kind string, parts ...[]byte) []byte {
	data := bytes.Join(parts, nil)
	return slices.Concat(u32(1), []byte(kind), u32(0, len(data)+16), data)
}

// layout is how the numbers of a file's items are written.
type layout struct {
	wide      bool // numbers of four bytes, where they may be
	wideIndex bool // of properties
	wideBox   bool // lengths of eight bytes
}

func (l layout) id(n int) []byte {
	if l.wide {
		return u32(n)
	}
	return u16(n)
}

func (l layout) version(narrow, wide byte, flags byte) []byte {
	if l.wide {
		return []byte{wide, 0, 0, flags}
	}
	return []byte{narrow, 0, 0, flags}
}

func (l layout) box(kind string, parts ...[]byte) []byte {
	if l.wideBox {
		return wide(kind, parts...)
	}
	return box(kind, parts...)
}

// items is a file of items: their kinds by number, the primary one, references, and properties with the items
// that have each.
func (l layout) items(brand string, primary int, kinds map[int]string, references [][]byte,
	properties [][]byte,
	links map[int][]int) []byte {
	var infos [][]byte
	for id, kind := range kinds {
		infos = append(infos, l.box("infe", l.version(2, 3, 0), l.id(id), u16(0), []byte(kind), []byte{0}))
	}
	count := u16(len(kinds))
	if l.wide {
		count = u32(len(kinds))
	}
	flags := byte(0)
	if l.wideIndex {
		flags = 1
	}
	ipma := slices.Concat(l.version(0, 1, flags), u32(len(links)))
	for id, of := range links {
		ipma = append(append(ipma, l.id(id)...), byte(len(of)))
		for _, index := range of {
			if l.wideIndex {
				ipma = append(ipma, u16(index|0x8000)...)
			} else {
				ipma = append(ipma, byte(index)|0x80)
			}
		}
	}
	return slices.Concat(box("ftyp", []byte(brand), u32(0), []byte(brand)),
		l.box("meta", u32(0),
			l.box("hdlr", u32(0, 0), []byte("pict")),
			l.box("pitm", l.version(0, 1, 0), l.id(primary)),
			l.box("iinf", l.version(0, 1, 0), count, bytes.Join(infos, nil)),
			l.box("iref", l.version(0, 1, 0), bytes.Join(references, nil)),
			l.box("iprp", l.box("ipco", properties...), l.box("ipma", ipma))))
}

// refer is a reference of one item to others.
func (l layout) refer(kind string, from int, to ...int) []byte {
	b := append(bytes.Clone(l.id(from)), u16(len(to))...)
	for _, id := range to {
		b = append(b, l.id(id)...)
	}
	return l.box(kind, b)
}

var layouts = []layout{{}, {wide: true}, {wideIndex: true}, {wide: true, wideIndex: true, wideBox: true}}

// TestCodings: a picture's format is the coding of its primary item, or of the tiles that this is made of.
func TestCodings(t *testing.T) {
	for _, l := range layouts {
		for _, c := range []struct {
			brand         string
			primary       int
			kinds         map[int]string
			references    [][]byte
			format, other string
		}{
			{"mif1", 1, map[int]string{1: "av01"}, nil, heif.AVIF, ""},
			{"mif1", 1, map[int]string{1: "hvc1"}, nil, heif.HEIC, ""},
			{"mif1", 2, map[int]string{1: "av01", 2: "hvc1", 3: "av01"}, nil, heif.HEIC, ""},
			{"mif1", 1, map[int]string{1: "jpeg"}, nil, "", "HEIF coded as jpeg"},
			{"avif", 1, map[int]string{1: "hvc1"}, nil, heif.HEIC, ""},
			{"mif1", 9, map[int]string{1: "av01"}, nil, "", "HEIF"},
			{"heic", 9, map[int]string{1: "av01"}, nil, heif.HEIC, ""},
			{"avis", 9, map[int]string{1: "hvc1"}, nil, heif.AVIF, ""},
			{"mif1", 1, map[int]string{1: "grid", 2: "av01"}, [][]byte{l.refer("dimg", 1, 2, 3)}, heif.AVIF,
				""},
			{"mif1", 1, map[int]string{1: "iovl", 2: "hvc1"}, [][]byte{l.refer("thmb", 1, 3), l.refer("dimg",
				4, 3),
				l.refer("dimg", 1, 2)}, heif.HEIC, ""},
			{"mif1", 1, map[int]string{1: "tmap", 2: "grid", 3: "iden", 4: "av01"}, [][]byte{l.refer("dimg",
				1, 2),
				l.refer("dimg", 2, 3), l.refer("dimg", 3, 4)}, heif.AVIF, ""},
			{"mif1", 1, map[int]string{1: "grid", 2: "grid", 3: "grid", 4: "grid", 5: "av01"},
				[][]byte{l.refer("dimg", 1, 2), l.refer("dimg", 2, 3), l.refer("dimg", 3, 4), l.refer("dimg",
					4, 5)},
				"", "HEIF"},
			{"mif1", 1, map[int]string{1: "grid"}, [][]byte{l.refer("dimg", 1, 1)}, "", "HEIF"},
			{"mif1", 1, map[int]string{1: "grid", 2: "av01"}, nil, "", "HEIF"},
		} {
			body := l.items(c.brand, c.primary, c.kinds, c.references, nil, nil)
			if format, other := heif.Sniff(body); format != c.format || other != c.other {
				t.Errorf("%+v, %s, %v from %d: %q, %q, want %q, %q", l, c.brand, c.kinds, c.primary, format,
					other,
					c.format, c.other)
			}
		}
	}
	entry := func(version byte, id int, kind string) []byte {
		number := u16(id)
		if version > 2 {
			number = u32(id)
		}
		return full("infe", version, 0, number, u16(0), []byte(kind))
	}
	head := box("ftyp", []byte("mif1"), u32(0))
	meta := func(boxes ...[]byte) []byte { return full("meta", 0, 0, boxes...) }
	pitm := full("pitm", 0, 0, u16(1))
	items := func(entries ...[]byte) []byte {
		return full("iinf", 0, 0, u16(len(entries)), slices.Concat(entries...))
	}
	other := meta(pitm, items(entry(2, 1, "jpeg")))
	for name, c := range map[string]struct {
		body          []byte
		format, other string
	}{
		"entries without a name": {slices.Concat(head, meta(pitm, items(entry(2, 1, "av01")))), heif.AVIF,
			""},
		"entries of two lengths": {slices.Concat(head, meta(pitm, items(entry(3, 9, "jpeg"),
			entry(3, 1, "hvc1")))), heif.HEIC, ""},
		"entries without a coding": {slices.Concat(head, meta(pitm, items(entry(1, 1, "jpeg"),
			entry(0, 1, "jpeg"), entry(2, 1, "av01")))), heif.AVIF, ""},
		"a cut entry": {slices.Concat(head, meta(pitm, items(entry(2, 1, "av0"), entry(2, 1, "hvc1")))),
			heif.HEIC, ""},
		"a cut entry of long numbers": {slices.Concat(head, meta(pitm, items(entry(3, 1, "av0"),
			entry(3, 1, "hvc1")))), heif.HEIC, ""},
		"an entry of nothing": {slices.Concat(head, meta(pitm, items(box("infe", []byte{2, 0, 0}),
			entry(2, 1, "hvc1")))), heif.HEIC, ""},
		"a second list": {slices.Concat(head, meta(pitm, items(entry(2, 1, "av01"))), other), heif.AVIF, ""},
		"an empty list before": {slices.Concat(head, box("meta", u32(0)), other), "",
			"HEIF coded as jpeg"},
		"no version":    {slices.Concat(head, box("meta", []byte{0, 0})), "", "HEIF"},
		"a second head": {slices.Concat(box("ftyp", []byte("isom"), u32(0)), head, other), "", ""},
		"empty boxes between": {slices.Concat(head, box("free"), wide("free"), meta(box("free"), pitm,
			items(entry(2, 1, "av01")))), heif.AVIF, ""},
		"a box up to the end":         {slices.Concat(head, u32(0), other[4:]), "", "HEIF coded as jpeg"},
		"a box shorter than its head": {slices.Concat(head, u32(7), []byte("free"), other), "", "HEIF"},
		"a long box that is shorter": {slices.Concat(head, u32(1), []byte("free"), u32(0, 15), other), "",
			"HEIF"},
	} {
		if format, other := heif.Sniff(c.body); format != c.format || other != c.other {
			t.Errorf("%s: %q, %q, want %q, %q", name, format, other, c.format, c.other)
		}
	}
	if format, other := heif.Sniff(layouts[0].items("isom", 1, map[int]string{1: "av01"}, nil, nil,
		nil)); format != "" ||
		other != "" {
		t.Errorf("a film: %q, %q", format, other)
	}
}

// TestProperties: the size, the turn and the visible part are those that the primary item is linked with.
func TestProperties(t *testing.T) {
	size := func(w, h int) []byte { return box("ispe", u32(0, w, h)) }
	visible := func(v ...int) []byte { return box("clap", u32(v...)) }
	for _, l := range layouts {
		for _, c := range []struct {
			name       string
			properties [][]byte
			links      []int
			want       string // width, height and turn, or the error
		}{
			{"a size", [][]byte{size(60, 40)}, []int{1}, "60 40 1"},
			{"another's size before", [][]byte{size(9, 9), size(60, 40)}, []int{2}, "60 40 1"},
			{"an index too high", [][]byte{size(60, 40)}, []int{1, 9}, "60 40 1"},
			{"an index of 0", [][]byte{size(60, 40)}, []int{0, 1}, "60 40 1"},
			{"no links", [][]byte{size(60, 40)}, nil, "no size"},
			{"no width", [][]byte{size(0, 40)}, []int{1}, "no size"},
			{"no height", [][]byte{size(60, 0)}, []int{1}, "no size"},
			{"one pixel", [][]byte{size(1, 1)}, []int{1}, "1 1 1"},
			{"as wide as can be", [][]byte{size(1<<20, 1)}, []int{1}, "1048576 1 1"},
			{"as high as can be", [][]byte{size(1, 1<<20)}, []int{1}, "1 1048576 1"},
			{"too wide", [][]byte{size(1<<20+1, 1)}, []int{1}, "size out of range"},
			{"too high", [][]byte{size(1, 1<<20+1)}, []int{1}, "size out of range"},
			{"a cut size", [][]byte{box("ispe", u32(0, 60), []byte{0, 0, 0})}, []int{1}, "no size"},
			{"a quarter", [][]byte{size(60, 40), box("irot", []byte{0xfd})}, []int{1, 2}, "60 40 8"},
			{"a half, mirrored", [][]byte{size(60, 40), box("irot", []byte{2}), box("imir", []byte{0xff})},
				[]int{1, 2, 3}, "60 40 4"},
			{"a turn of nothing", [][]byte{size(60, 40), box("irot"), box("imir")}, []int{1, 2, 3},
				"60 40 1"},
			{"the middle", [][]byte{size(60, 40), visible(20, 1, 10, 1, 0, 1, 0, 1)}, []int{1, 2}, "20 10 1"},
			{"a fraction", [][]byte{size(60, 40), visible(41, 2, 10, 1, 0, 1, 0, 1)}, []int{1, 2}, "21 10 1"},
			{"the right edge", [][]byte{size(60, 40), visible(20, 1, 10, 1, 20, 1, 15, 1)}, []int{1, 2},
				"20 10 1"},
			{"beyond the right", [][]byte{size(60, 40), visible(20, 1, 10, 1, 21, 1, 0, 1)}, []int{1, 2},
				"60 40 1"},
			{"beyond the left", [][]byte{size(60, 40), visible(20, 1, 10, 1, -21, 1, 0, 1)}, []int{1, 2},
				"60 40 1"},
			{"the left edge", [][]byte{size(60, 40), visible(20, 1, 10, 1, -20, 1, -15, 1)}, []int{1, 2},
				"20 10 1"},
			{"beyond the top", [][]byte{size(60, 40), visible(20, 1, 10, 1, 0, 1, -16, 1)}, []int{1, 2},
				"60 40 1"},
			{"beyond the bottom", [][]byte{size(60, 40), visible(20, 1, 10, 1, 0, 1, 16, 1)}, []int{1, 2},
				"60 40 1"},
			{"one pixel of it", [][]byte{size(60, 40), visible(1, 1, 1, 1, 0, 1, 0, 1)}, []int{1, 2},
				"1 1 1"},
			{"less than a pixel", [][]byte{size(60, 40), visible(1, 2, 10, 1, 0, 1, 0, 1)}, []int{1, 2},
				"60 40 1"},
			{"less than a row", [][]byte{size(60, 40), visible(20, 1, 1, 2, 0, 1, 0, 1)}, []int{1, 2},
				"60 40 1"},
			{"divided by 0", [][]byte{size(60, 40), visible(20, 1, 10, 1, 0, 0, 0, 1)}, []int{1, 2},
				"60 40 1"},
			{"cut", [][]byte{size(60, 40), box("clap", u32(20, 1, 10, 1, 0, 1, 0), []byte{0, 0, 0})}, []int{1,
				2},
				"60 40 1"},
		} {
			links := map[int][]int{7: {len(c.properties)}, 2: c.links}
			body := l.items("avif", 2, map[int]string{2: "av01"}, nil, c.properties, links)
			f, err := heif.Parse(body, heif.AVIF)
			got := fmt.Sprint(f.Width, f.Height, f.Turn)
			if err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("%+v, %s: %s, want %s", l, c.name, got, c.want)
			}
			if c.name == "a quarter" {
				if f, err := heif.Parse(body, heif.HEIC); err != nil || f.Width != 40 || f.Height != 60 ||
					f.Turn != 1 {
					t.Errorf("as HEIC: %+v, %v", f, err)
				}
			}
		}
	}
}

// TestManyProperties: an index has seven bits, or fifteen.
func TestManyProperties(t *testing.T) {
	for _, c := range []struct {
		at        int
		wideIndex bool
	}{{1, false}, {64, false}, {127, false}, {127, true}, {128, true}, {256, true}, {301, true}} {
		properties := make([][]byte, 310)
		for i := range properties {
			properties[i] = box("ispe", u32(0, 1000+i, 9))
		}
		body := layout{wideIndex: c.wideIndex}.items("avif", 2, map[int]string{2: "av01"}, nil, properties,
			map[int][]int{2: {c.at}})
		if f, err := heif.Parse(body, heif.AVIF); err != nil || f.Width != 999+c.at {
			t.Errorf("property %d: %d pixels wide, %v", c.at, f.Width, err)
		}
	}
}

// TestOpacity: opacity, which takes memory, is an item that refers to the primary one and calls itself that.
func TestOpacity(t *testing.T) {
	const name, mpeg = "urn:mpeg:hevc:2015:auxid:1", "urn:mpeg:mpegB:cicp:systems:auxiliary:alpha"
	auxC := func(name string) []byte { return box("auxC", u32(0), []byte(name)) }
	for _, l := range layouts {
		for _, c := range []struct {
			what       string
			format     string
			references [][]byte
			aux        []byte
			alpha      bool
		}{
			{"alpha", heif.HEIC, [][]byte{l.refer("auxl", 3, 2)}, auxC(name + "\x00more"), true},
			{"alpha by its other name", heif.HEIC, [][]byte{l.refer("auxl", 3, 2)}, auxC(mpeg), true},
			{"of several", heif.HEIC, [][]byte{l.refer("dimg", 2, 9), l.refer("auxl", 9, 2), l.refer("auxl",
				3, 2)}, auxC(name), true},
			{"in AVIF", heif.AVIF, [][]byte{l.refer("auxl", 3, 2)}, auxC(name), false},
			{"depth", heif.HEIC, [][]byte{l.refer("auxl", 3, 2)}, auxC("urn:mpeg:hevc:2015:auxid:2"), false},
			{"of another picture", heif.HEIC, [][]byte{l.refer("auxl", 3, 4)}, auxC(name), false},
			{"a thumbnail", heif.HEIC, [][]byte{l.refer("thmb", 3, 2)}, auxC(name), false},
			{"of a thumbnail", heif.HEIC, [][]byte{l.refer("thmb", 3, 4)}, auxC(name), false},
			{"no reference", heif.HEIC, nil, auxC(name), false},
			{"a cut reference", heif.HEIC, [][]byte{l.box("auxl", l.id(3), u16(1), l.id(2)[1:])}, auxC(name),
				false},
			{"another property", heif.HEIC, [][]byte{l.refer("auxl", 3, 2)}, box("auxX", u32(0),
				[]byte(name)), false},
			{"no name", heif.HEIC, [][]byte{l.refer("auxl", 3, 2)}, box("auxC", []byte{0, 0, 0}), false},
			{"an empty name", heif.HEIC, [][]byte{l.refer("auxl", 3, 2)}, box("auxC", u32(0)), false},
		} {
			body := l.items("heic", 2, map[int]string{2: "hvc1", 3: "hvc1"}, c.references,
				[][]byte{box("ispe", u32(0, 1000, 100)), box("free"), c.aux}, map[int][]int{2: {1}, 3: {2, 3}})
			f, err := heif.Parse(body, c.format)
			must(t, err)
			plain, _ := heif.Limits(1000, 100, len(body), false, false)
			if more := f.Memory() - plain; more != 0 && more != 6*1000*100 || more > 0 != c.alpha {
				t.Errorf("%+v, %s: %d bytes more", l, c.what, more)
			}
		}
	}
}

// TestDeepPictures: more than 8 bits per sample take more memory, in an item of any kind.
func TestDeepPictures(t *testing.T) {
	size := box("ispe", u32(0, 600, 400))
	memory := func(format string, config []byte) int64 {
		body := layout{}.items("avif", 2, map[int]string{2: "av01"}, nil, [][]byte{size, config},
			map[int][]int{2: {1}})
		f, err := heif.Parse(body, format)
		must(t, err)
		return f.Memory()
	}
	hvcC := func(depth byte, n int) []byte { return box("hvcC", append(make([]byte, 17), depth)[:n]) }
	for _, c := range []struct {
		format string
		config []byte
		deep   bool
	}{
		{heif.AVIF, box("av1C", []byte{0x81, 0, 0x40}), true}, {heif.AVIF, box("av1C", []byte{0x81, 0, 0xff}),
			true},
		{heif.AVIF, box("av1C", []byte{0x81, 0, 0xbf}), false}, {heif.AVIF, box("av1C", []byte{0x81, 0}),
			false},
		{heif.HEIC, hvcC(2, 18), true}, {heif.HEIC, hvcC(0xf8, 18), false}, {heif.HEIC, hvcC(0xff, 18), true},
		{heif.HEIC, hvcC(0xff, 17), false},
	} {
		if deep := memory(c.format, c.config) > memory(c.format, box("free", c.config[8:])); deep != c.deep {
			t.Errorf("%s, %x: more memory: %t", c.format, c.config, deep)
		}
	}
}

// TestTracks: of a file without a primary item the first track of AV1 pictures counts.
func TestTracks(t *testing.T) {
	head := func(w, h int) []byte {
		return box("tkhd", make([]byte, 76), u16(w, 0, h, 0))
	}
	entry := func(kind string, fields int) []byte {
		return box("stsd", u32(0, 1), box(kind, make([]byte, fields)))
	}
	track := func(tkhd []byte, handler string, stsd []byte) []byte {
		return box("trak", tkhd, box("mdia", box("hdlr", u32(0, 0), []byte(handler)),
			box("minf", box("stbl", stsd))))
	}
	within := func(boxes ...[]byte) []byte {
		return box("trak", head(60, 40), box("mdia", box("hdlr", u32(0, 0), []byte("pict")), box("minf",
			boxes...)))
	}
	stsd, wrong := entry("av01", 78), box("stsd", u32(0, 1), box("av01", make([]byte, 77)))
	film := func(tracks ...[]byte) []byte {
		return slices.Concat(box("ftyp", []byte("avis"), u32(0)), box("moov", tracks...))
	}
	for _, c := range []struct {
		name string
		body []byte
		want string // the size, or the error
	}{
		{"pictures", film(track(head(60, 40), "pict", entry("av01", 78))), "60 40"},
		{"a film", film(track(head(60, 40), "vide", entry("av01", 78))), "60 40"},
		{"sound first", film(track(head(1, 1), "soun", entry("mp4a", 78)), track(head(60, 40), "pict",
			entry("av01", 99))), "60 40"},
		{"another coding", film(track(head(60, 40), "pict", entry("hvc1", 78))), "no primary picture"},
		{"a cut entry", film(track(head(60, 40), "pict", entry("av01", 77))), "no primary picture"},
		{"another handler", film(track(head(60, 40), "auxv", entry("av01", 78))), "no primary picture"},
		{"a cut handler", film(track(head(60, 40), "pic", entry("av01", 78))), "no primary picture"},
		{"a cut head", film(track(head(60, 40)[:8+83], "pict", entry("av01", 78))), "no size"},
		{"no size", film(track(head(0, 40), "pict", entry("av01", 78))), "no size"},
		{"a table elsewhere", film(within(box("dinf", stsd))), "no primary picture"},
		{"another table", film(within(box("stbl", box("stsx", stsd[8:])))), "no primary picture"},
		{"another table before", film(within(box("stbl", box("stts", u32(0, 0)), wrong, stsd))), "60 40"},
		{"a cut table", film(within(box("stbl", box("stsd", u32(0), []byte{0, 0, 0})))),
			"no primary picture"},
		{"another box", film(box("mvhd", stsd), within(box("stbl", stsd))), "60 40"},
		{"two tracks", film(within(box("stbl", stsd)), track(head(9, 9), "pict", stsd)), "60 40"},
		{"properties", film(within(box("stbl", box("stsd", u32(0, 1), box("av01", make([]byte, 78),
			box("clap", u32(20, 1, 10, 1, 0, 1, 0, 1))))))), "20 10"},
		{"a size among the properties", film(within(box("stbl", box("stsd", u32(0, 1), box("av01",
			make([]byte, 78), box("ispe", u32(0, 9, 9))))))), "60 40"},
		{"a primary picture without properties", slices.Concat(film(within(box("stbl", stsd))),
			full("meta", 0, 0, full("pitm", 0, 0, u16(1)))), "no primary picture"},
		{"no track", film(), "no primary picture"},
		{"no track, wide", slices.Concat(box("ftyp", []byte("avis"), u32(0)), wide("moov")),
			"no primary picture"},
	} {
		if c.name == "a cut head" {
			tkhd := box("tkhd", make([]byte, 75), u16(60, 0, 40, 0))
			c.body = film(track(tkhd, "pict", entry("av01", 78)))
		}
		f, err := heif.Parse(c.body, heif.AVIF)
		got := fmt.Sprint(f.Width, f.Height)
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if _, err := heif.Parse(c.body, heif.HEIC); !errors.Is(err, heif.ErrSequence) &&
			c.name != "a primary picture without properties" {
			t.Errorf("%s, as HEIC: %v", c.name, err)
		}
	}
}

// TestCutContainers: the boxes of any part of a file are read without harm.
func TestCutContainers(t *testing.T) {
	for _, l := range layouts {
		body := l.items("mif1", 1, map[int]string{1: "grid", 2: "av01"}, [][]byte{l.refer("dimg", 1, 2)},
			[][]byte{box("ispe", u32(0, 60, 40))}, map[int][]int{1: {1}})
		want := image.Pt(60, 40)
		for n := range body {
			cut := bytes.Clone(body[:n])
			format, other := heif.Sniff(cut)
			if format != "" && format != heif.AVIF || other != "" && !strings.HasPrefix(other, "HEIF") {
				t.Fatalf("%+v, %d bytes: %q, %q", l, n, format, other)
			}
			if f, err := heif.Parse(cut, heif.AVIF); err == nil && image.Pt(f.Width, f.Height) != want {
				t.Fatalf("%+v, %d bytes: %+v", l, n, f)
			}
		}
	}
}
