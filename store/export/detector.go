package export

import (
	"cmp"
	"slices"
	"strings"

	"facescan/store"
)

// Detector is what an export needs to know about a detector.
type Detector struct {
	Name      string
	Matches   func(fingerprint string) bool
	Decimals  int  // of its scores as text
	Rounded   bool // its scores have no more decimals than as text
	Landmarks bool // it finds landmarks
}

// foreign stands for models that are not built in, of which nothing is known.
var foreign = Detector{Decimals: 2}

// detectorOf is the detector of a fingerprint.
func (o *Options) detectorOf(fingerprint string) *Detector {
	i := slices.IndexFunc(o.Detectors, func(d Detector) bool { return d.Matches(fingerprint) })
	if i < 0 {
		return &foreign
	}
	return &o.Detectors[i]
}

// record is that of a result.
func (o *Options) record(r store.Result) record {
	return record{Result: r, face: -1, crops: len(r.Faces), detector: o.detectorOf(r.Detector), options: o}
}

// nameColumn takes the place of the column detector, which has fingerprints, in comparisons with names.
func (o *Options) nameColumn() *column {
	return &column{name: "detector", kind: text, get: func(r *record) value {
		return word(cmp.Or(o.detectorOf(r.Detector).Name, r.Detector))
	}}
}

// byName rewrites comparisons of the column detector with names of detectors, so that names are compared with
// names. Other texts in a list are still compared with fingerprints.
func (o *Options) byName(n *node) *node {
	isColumn := func(a *node) bool { return a.op == "column" && a.col.name == "detector" }
	isName := func(a *node) bool {
		return a.op == "literal" &&
			slices.ContainsFunc(o.Detectors, func(d Detector) bool { return d.Name == a.lit.s })
	}
	switch n.op {
	case "=", "!=":
		for i, a := range n.args {
			if isColumn(a) && isName(n.args[1-i]) {
				n.args[i] = &node{op: "column", kind: text, col: o.nameColumn()}
			}
		}
	case "in":
		if !isColumn(n.args[0]) || !slices.ContainsFunc(n.list, isName) {
			return n
		}
		named := &node{op: "in", kind: condition,
			args: []*node{{op: "column", kind: text, col: o.nameColumn()}}}
		printed := &node{op: "in", kind: condition, args: n.args}
		for _, item := range n.list {
			if isName(item) {
				named.list = append(named.list, item)
			} else {
				printed.list = append(printed.list, item)
			}
		}
		either := named
		if len(printed.list) > 0 {
			either = &node{op: "or", kind: condition, args: []*node{named, printed}}
		}
		if n.not {
			return &node{op: "not", kind: condition, args: []*node{either}}
		}
		return either
	}
	return n
}

// The five points of a face, in the order of store.Landmarks.
var pointNames = [...]string{"right_eye", "left_eye", "nose", "right_mouth", "left_mouth"}

// pointColumns are x and y of each point, of rows of faces.
func pointColumns() []column {
	var out []column
	for i := range len(store.Landmarks{}) {
		out = append(out, column{pointName(i), tenth, late, func(r *record) value {
			f := &r.Faces[r.face]
			return value{f: float64(f.Landmarks[i]) / 10, null: !f.HasLandmarks}
		}})
	}
	return out
}

func pointName(i int) string { return pointNames[i/2] + "_" + "xy"[i%2:i%2+1] }

// hasPoints reports whether the landmarks of a record's faces are known.
func hasPoints(r *record) bool {
	return r.FacesKnown() && (r.detector.Landmarks || len(r.Faces) > 0) &&
		!slices.ContainsFunc(r.Faces, func(f store.Face) bool { return !f.HasLandmarks })
}

// AppendLandmarks appends the landmarks of faces as JSON: [[x,y,…],…], each with one decimal.
func AppendLandmarks(dst []byte, faces []store.Face) []byte {
	dst = append(dst, '[')
	for i := range faces {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '[')
		for n, v := range faces[i].Landmarks {
			if n > 0 {
				dst = append(dst, ',')
			}
			dst = appendReal(dst, float64(v)/10, 1)
		}
		dst = append(dst, ']')
	}
	return append(dst, ']')
}

// noScore is the error for a record whose detector has no threshold in MinScore.
func (o *Options) noScore(r *record) error {
	var given []string
	for _, d := range append(slices.Clone(o.Detectors), foreign) {
		if _, ok := o.MinScore[d.Name]; ok && d.Name != "" {
			given = append(given, d.Name)
		}
	}
	name := cmp.Or(r.detector.Name, r.Detector)
	scale, choice := strings.Join(given, ", "), name
	if scale == "" {
		scale = "a model of others"
	} else {
		choice = given[0]
	}
	return usagef("--min-score is on the scale of %s, and row %d was processed by %s, whose scores are "+
		"on another scale: choose rows with "+
		"--where \"detector = '%s'\", or give a score for each detector, as --min-score yunet=0.6,pigo=8",
		scale, r.ID, name, choice)
}
