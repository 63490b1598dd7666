package export

import (
	"slices"
	"strconv"
	"strings"

	"facescan/store"
	"facescan/store/nearest"
)

// kind is a column's type.
type kind int

const (
	integer kind = iota
	real         // a number with two decimals, where it is written as text
	score        // a number with as many decimals as the detector's scores
	tenth        // a number with one decimal
	text
	boxes  // of the record's faces
	points // their landmarks
)

// value is the value of a column for a record, in the field that the column's kind names. Boxes and points
// are taken from the record.
type value struct {
	null bool
	i    int64
	f    float64
	s    string
}

// record becomes one row of the output: a result, one of its faces, or a group.
type record struct {
	store.Result
	face     int          // of Faces, where a row is a face
	crops    int          // how many of Faces the run knew: the best ones
	first    int64        // of a row of duplicates: the id of the group's first picture
	distance int          // of it from that one
	group    *store.Group // where a row is a group, of which the result has source and name
	detector *Detector    // of the result
	options  *Options     // of the export
	pending  bool         // there is no result yet: of the columns only those of the list are known
}

// column is a line of one of the tables below, from which every format, --where and the completion of a shell
// take what there is. The topic cmd/help/columns.md explains each: TestColumnsTopic compares them.
type column struct {
	name string
	kind kind
	mark mark
	get  func(*record) value
}

// mark says what else there is to know about a column.
type mark int

const (
	early   mark = iota // known before the row is done, so that --keep-where may ask for it
	late                // known afterwards
	address             // early, and a URL: its password is hidden
	listed              // a column of the list
)

// isListed reports whether a column says what the list has of a row, and so is known of pending rows too.
func (c *column) isListed() bool {
	switch c.name {
	case "id", "url", "source", "row", "group":
		return true
	}
	return c.mark == listed
}

// isList reports whether values are those of all the record's faces.
func (k kind) isList() bool { return k == boxes || k == points }

// fractional reports whether values are real numbers.
func (k kind) fractional() bool { return k == real || k == score || k == tenth }

// decimals is how many decimals such a number has as text.
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
func flag(b bool) (v value) {
	if b {
		v.i = 1
	}
	return v
}

// imageColumns are the columns of rows of images by default, in their order; the job's kept columns follow.
var imageColumns = []column{
	{"id", integer, early, func(r *record) value { return value{i: r.ID} }},
	{"url", text, address, func(r *record) value { return value{s: r.URL} }},
	{"status", text, early, func(r *record) value { return word(r.Status) }},
	{"reason", text, early, func(r *record) value { return word(r.Reason) }},
	{"http_status", integer, early, func(r *record) value { return known(r.HTTPStatus) }},
	{"format", text, early, func(r *record) value { return word(r.Format) }},
	{"width", integer, early, func(r *record) value { return known(r.Width) }},
	{"height", integer, early, func(r *record) value { return known(r.Height) }},
	{"bytes", integer, early, func(r *record) value { return value{i: r.Bytes} }},
	{"faces", integer, early, func(r *record) value {
		return value{i: int64(len(r.Faces)), null: !r.FacesKnown()}
	}},
	{"boxes", boxes, late, func(r *record) value { return value{null: !r.FacesKnown()} }},
}

var sourceColumn = column{"source", text, late, func(r *record) value {
	if r.Source < len(r.options.Sources) {
		return value{s: r.options.Sources[r.Source].Name}
	}
	return value{s: strconv.Itoa(r.Source)}
}}

// moreImageColumns are those that --columns adds.
var moreImageColumns = []column{
	sourceColumn,
	{"row", integer, late, func(r *record) value {
		return value{i: r.ID - int64(r.Source)<<store.SourceShift}
	}},
	{"group", text, late, func(r *record) value { return word(r.Group) }},
	{"class", text, early, func(r *record) value { return word(r.Reason.Class()) }},
	{"attempts", integer, early, func(r *record) value { return number(r.Attempts) }},
	{"final_url", text, address, func(r *record) value { return word(r.FinalURL) }},
	{"partial", integer, early, func(r *record) value { return flag(r.Partial) }},
	{"detector", text, early, func(r *record) value { return word(r.Detector) }},
	{"confidence", real, early, func(r *record) value { // of the best face
		if len(r.Faces) == 0 {
			return value{null: true}
		}
		return confidence(r.Faces[0])
	}},
	{"landmarks", points, late, func(r *record) value { return value{null: !hasPoints(r)} }},
	{"sha256", text, early, func(r *record) value { return word(r.SHA256.String()) }},
	{"phash", text, early, func(r *record) value { return word(r.PHash.String()) }},
	{"kept", text, late, keptFile},
	{"crops", text, late, cropFiles},
	{"blurred", text, late, blurredFile},
}

// faceColumns are the columns of rows of faces by default. They hide columns of images with the same name.
var faceColumns = []column{
	imageColumns[0],
	imageColumns[1],
	{"face", integer, late, func(r *record) value { return number(r.face + 1) }}, // its rank by score, from 1
	{"x", integer, late, func(r *record) value { return number(r.Faces[r.face].X) }},
	{"y", integer, late, func(r *record) value { return number(r.Faces[r.face].Y) }},
	{"width", integer, late, func(r *record) value { return number(r.Faces[r.face].Width) }},
	{"height", integer, late, func(r *record) value { return number(r.Faces[r.face].Height) }},
	{"score", score, late, func(r *record) value { return value{f: r.Faces[r.face].Score} }},
}

// moreFaceColumns are those that --columns adds, before those of points and of images.
var moreFaceColumns = []column{
	{"confidence", real, late, func(r *record) value { return confidence(r.Faces[r.face]) }},
	{"crop", text, late, cropFile},
}

// Columns are the columns that exports of such rows can have, without kept ones.
func Columns(rows string) []string {
	t, err := newTable(Options{Rows: rows})
	if err != nil {
		return nil
	}
	return names(t.columns)
}

// Early reports whether rows of images have a column with this name that is known before the row is done.
func Early(name string) bool {
	return slices.ContainsFunc(slices.Concat(imageColumns, moreImageColumns), func(c column) bool {
		return c.name == name && c.mark != late
	})
}

func confidence(f store.Face) value { return value{f: f.Confidence, null: f.Confidence == 0} }

// table is the columns that an export can have.
type table struct {
	options  *Options
	perFace  bool
	columns  []column
	defaults []string
}

func newTable(o Options) (table, error) {
	t := table{options: &o, perFace: o.Rows == "faces"}
	var more []column // besides the default ones
	switch o.Rows {
	case "images", "":
		t.columns = slices.Clone(imageColumns)
	case "faces":
		t.columns, more = slices.Clone(faceColumns), slices.Concat(moreFaceColumns, pointColumns())
	case "duplicates":
		t.columns = slices.Clone(duplicateColumns)
	case "groups":
		if len(o.MinScore) > 0 {
			return t, usagef("groups are counted by the run: --min-score cannot be applied to them")
		}
		t.columns, t.defaults = groupColumns, names(groupColumns)
		return t, nil
	default:
		return t, usagef("unknown --rows %q%s", o.Rows, nearest.Among(o.Rows, RowKinds()))
	}
	t.defaults = names(t.columns)
	t.columns = append(t.columns, more...)
	for _, c := range slices.Concat(imageColumns, moreImageColumns) {
		if t.find(c.name) < 0 && !(t.perFace && c.kind.isList()) {
			t.columns = append(t.columns, c)
		}
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

// kept is the column that sources keep under this name. Where an export has a column with that name, it
// becomes kept_NAME.
func kept(name string, sources []Source) column {
	places := make([]int, len(sources))
	for i, s := range sources {
		places[i] = slices.Index(s.Kept, name)
	}
	return column{name: name, kind: text, mark: listed, get: func(r *record) value {
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

// choose picks columns by name, the default ones if there are no names. Without credentials it hides
// passwords: here and not in the table, because a filter sees the real URLs.
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
		get := c.get
		if !credentials && c.mark == address {
			c.get = func(r *record) value {
				v := get(r)
				v.s = store.Redact(v.s)
				return v
			}
		}
		out[i] = c
	}
	return out, nil
}

func (t table) unknown(name string) error {
	return usagef("no column %q%s", name, nearest.Among(name, names(t.columns)))
}

// AppendBoxes appends faces as the JSON that boxes are in every text format: [[x,y,width,height,score],…],
// with this number of decimals in scores.
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

// appendPlain appends a value of any kind but text. It looks the same in every text format.
func appendPlain(dst []byte, k kind, v value, r *record) []byte {
	switch k {
	case integer:
		return strconv.AppendInt(dst, v.i, 10)
	case boxes:
		return AppendBoxes(dst, r.Faces, r.detector.Decimals)
	case points:
		return AppendLandmarks(dst, r.Faces)
	}
	return appendReal(dst, v.f, k.decimals(r))
}

func appendReal(dst []byte, f float64, decimals int) []byte {
	return strconv.AppendFloat(dst, f, 'f', decimals, 64)
}
