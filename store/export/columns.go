package export

import (
	"slices"
	"strconv"
	"strings"

	"facescan/store"
)

// kind is a column's type.
type kind int

const (
	integer kind = iota
	real         // a number with two decimals, where it is written as text
	score        // one with as many as the detector's scores have
	tenth        // one with one
	text
	boxes  // of the record's faces
	points // their landmarks
)

// value is a record's in one column; which field counts is the column's kind. Boxes and points are taken from the record.
type value struct {
	null bool
	i    int64
	f    float64
	s    string
}

// record is what becomes one row of the output: a result, or one of its faces; or a group.
type record struct {
	store.Result
	face     int          // of Faces, where a row is a face
	crops    int          // how many of Faces the run knew: the best ones
	group    *store.Group // where a row is a group, of which the result has source and name
	detector *Detector    // of the result
}

type column struct {
	name string
	kind kind
	get  func(*record) value
}

// fractional reports whether values are numbers that need not be whole.
func (k kind) fractional() bool { return k == real || k == score || k == tenth }

// decimals is how many such a number has as text.
func (k kind) decimals(r *record) int {
	switch k {
	case score:
		return r.detector.Decimals
	case tenth:
		return 1
	}
	return 2
}

func number(i int) value        { return value{i: int64(i)} }
func known(i int) value         { return value{i: int64(i), null: i == 0} }
func word[T ~string](s T) value { return value{s: string(s), null: s == ""} }
func judged(r *record) bool     { return r.Judged() }
func flag(b bool) (v value) {
	if b {
		v.i = 1
	}
	return v
}

// imageColumns are all that rows of images can have, before kept ones; the default ones come first, in their order.
var imageColumns = []column{
	{"id", integer, func(r *record) value { return value{i: r.ID} }},
	{"url", text, func(r *record) value { return value{s: r.URL} }},
	{"status", text, func(r *record) value { return word(r.Status) }},
	{"reason", text, func(r *record) value { return word(r.Reason) }},
	{"http_status", integer, func(r *record) value { return known(r.HTTPStatus) }},
	{"format", text, func(r *record) value { return word(r.Format) }},
	{"width", integer, func(r *record) value { return known(r.Width) }},
	{"height", integer, func(r *record) value { return known(r.Height) }},
	{"bytes", integer, func(r *record) value { return value{i: r.Bytes} }},
	{"faces", integer, func(r *record) value { return value{i: int64(len(r.Faces)), null: !judged(r)} }},
	{"boxes", boxes, func(r *record) value { return value{null: !judged(r)} }},

	{"source", text, nil}, // set by newTable, which knows the names
	{"row", integer, func(r *record) value { return value{i: r.ID - int64(r.Source)<<store.SourceShift} }},
	{"group", text, func(r *record) value { return word(r.Group) }},
	{"class", text, func(r *record) value { return word(r.Reason.Class()) }},
	{"attempts", integer, func(r *record) value { return number(r.Attempts) }},
	{"final_url", text, func(r *record) value { return word(r.FinalURL) }},
	{"partial", integer, func(r *record) value { return flag(r.Partial) }},
	{"detector", text, func(r *record) value { return word(r.Detector) }},
	{"confidence", real, func(r *record) value { // of the best face
		if len(r.Faces) == 0 {
			return value{null: true}
		}
		return confidence(r.Faces[0])
	}},
	{"landmarks", points, func(r *record) value { return value{null: !hasPoints(r)} }},
	{"kept", text, keptFile},
	{"crops", text, cropFiles},
	{"blurred", text, blurredFile},
}

const imageDefaults = 11

// faceColumns are those of rows of faces, all of them default; they hide columns of images of the same name.
var faceColumns = []column{
	imageColumns[0],
	imageColumns[1],
	{"face", integer, func(r *record) value { return number(r.face + 1) }}, // its rank by score in the image, from 1
	{"x", integer, func(r *record) value { return number(r.Faces[r.face].X) }},
	{"y", integer, func(r *record) value { return number(r.Faces[r.face].Y) }},
	{"width", integer, func(r *record) value { return number(r.Faces[r.face].Width) }},
	{"height", integer, func(r *record) value { return number(r.Faces[r.face].Height) }},
	{"score", score, func(r *record) value { return value{f: r.Faces[r.face].Score} }},
	{"confidence", real, func(r *record) value { return confidence(r.Faces[r.face]) }},
	{"crop", text, cropFile},
}

const faceDefaults = 8

func confidence(f store.Face) value { return value{f: f.Confidence, null: f.Confidence == 0} }

// table is what columns an export can have.
type table struct {
	options  *Options
	perFace  bool
	columns  []column
	defaults []string
}

func newTable(o Options) (table, error) {
	t := table{options: &o}
	switch o.Rows {
	case "images", "":
		t.columns = slices.Clone(imageColumns)
		t.defaults = names(imageColumns[:imageDefaults])
	case "faces":
		t.perFace = true
		t.columns = append(slices.Clone(faceColumns), pointColumns()...)
		t.defaults = names(faceColumns[:faceDefaults])
		for _, c := range imageColumns {
			if t.find(c.name) < 0 && c.kind != boxes && c.kind != points {
				t.columns = append(t.columns, c)
			}
		}
	case "groups":
		if len(o.MinScore) > 0 {
			return t, usagef("groups are counted as the run decides: they have no --min-score")
		}
		t.columns = slices.Clone(groupColumns)
		t.defaults = names(groupColumns)
	default:
		return t, usagef("unknown --rows %q: there are images, faces and groups", o.Rows)
	}
	t.columns[t.find("source")].get = func(r *record) value {
		if r.Source < len(o.Sources) {
			return value{s: o.Sources[r.Source].Name}
		}
		return value{s: strconv.Itoa(r.Source)}
	}
	if o.Rows == "groups" {
		count := func(name string, of func(*store.Group) int64) {
			t.columns[t.find(name)].get = func(r *record) value { return value{i: of(r.group), null: o.NoFaces} }
		}
		count("faces", func(g *store.Group) int64 { return g.Faces })
		count("images_with_faces", func(g *store.Group) int64 { return g.ImagesWithFaces })
		return t, nil
	}
	seen := map[string]bool{}
	for _, s := range o.Sources {
		for _, name := range s.Kept {
			if !seen[name] {
				seen[name] = true
				c := kept(name, o.Sources)
				for t.find(c.name) >= 0 {
					c.name = "kept_" + c.name
				}
				t.columns = append(t.columns, c)
				t.defaults = append(t.defaults, c.name)
			}
		}
	}
	return t, nil
}

// kept is the column that the sources kept under this name. Where that is one of ours it becomes kept_NAME.
func kept(name string, sources []Source) column {
	places := make([]int, len(sources))
	for i, s := range sources {
		places[i] = slices.Index(s.Kept, name)
	}
	return column{name, text, func(r *record) value {
		if r.Source < len(places) {
			if i := places[r.Source]; i >= 0 && i < len(r.Kept) {
				return value{s: r.Kept[i]}
			}
		}
		return value{null: true}
	}}
}

func names(cs []column) []string {
	out := make([]string, len(cs))
	for i, c := range cs {
		out[i] = c.name
	}
	return out
}

// find returns the place of a column, -1 when there is none. Names are matched exactly, then in any case.
func (t table) find(name string) int {
	if i := slices.IndexFunc(t.columns, func(c column) bool { return c.name == name }); i >= 0 {
		return i
	}
	return slices.IndexFunc(t.columns, func(c column) bool { return strings.EqualFold(c.name, name) })
}

// choose picks columns by name, the default ones for none. Unless credentials are wanted it hides passwords: here and
// not in the table, because a filter sees URLs as they are.
func (t table) choose(names []string, credentials bool) ([]column, error) {
	if len(names) == 0 {
		names = t.defaults
	}
	out := make([]column, len(names))
	for i, name := range names {
		at := t.find(name)
		if at < 0 {
			at = t.find(strings.TrimSpace(name))
		}
		if at < 0 {
			return nil, t.unknown(name)
		}
		c := t.columns[at]
		if slices.ContainsFunc(out[:i], func(o column) bool { return o.name == c.name }) {
			return nil, usagef("column %s is named twice", c.name)
		}
		if get := c.get; !credentials && (c.name == "url" || c.name == "final_url") {
			c.get = func(r *record) value {
				v := get(r)
				v.s = redact(v.s)
				return v
			}
		}
		out[i] = c
	}
	return out, nil
}

func (t table) unknown(name string) error {
	return usagef("no column %q: there are %s", name, strings.Join(names(t.columns), ", "))
}

// AppendBoxes appends faces as the JSON that boxes are in every text format: [[x,y,width,height,score],…]. Scores have so
// many decimals.
func AppendBoxes(dst []byte, faces []store.Face, decimals int) []byte {
	dst = append(dst, '[')
	for i, f := range faces {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '[')
		for _, n := range [...]int{f.X, f.Y, f.Width, f.Height} {
			dst = append(strconv.AppendInt(dst, int64(n), 10), ',')
		}
		dst = append(appendReal(dst, f.Score, decimals), ']')
	}
	return append(dst, ']')
}

func appendReal(dst []byte, f float64, decimals int) []byte {
	return strconv.AppendFloat(dst, f, 'f', decimals, 64)
}
