package export

import (
	"time"

	"facescan/store"
)

// groupColumns are the columns of rows of groups, all of them default.
var groupColumns = []column{
	{"group", text, late, func(r *record) value { return value{s: r.Group} }},
	{"images", integer, late, func(r *record) value { return value{i: r.group.Images} }},
	{"ok", integer, late, func(r *record) value { return value{i: r.group.OK} }},
	{"failed", integer, late, func(r *record) value { return value{i: r.group.Failed} }},
	{"faces", integer, late, func(r *record) value {
		return value{i: r.group.Faces, null: r.options.NoFaces}
	}},
	{"images_with_faces", integer, late, func(r *record) value {
		return value{i: r.group.ImagesWithFaces, null: r.options.NoFaces}
	}},
	sourceColumn,
	{"largest_face", integer, late, func(r *record) value { return known(r.group.LargestFace) }},
	{"first", text, late, func(r *record) value { return moment(r.group.First) }},
	{"last", text, late, func(r *record) value { return moment(r.group.Last) }},
	{"revision", integer, late, func(r *record) value { return value{i: r.group.Revision} }},
}

// moment is a time in RFC 3339, UTC, with milliseconds.
func moment(t time.Time) value { return value{s: t.UTC().Format("2006-01-02T15:04:05.000Z07:00")} }

// WriteGroup implements Writer.
func (e *exporter) WriteGroup(g store.Group) error {
	e.rec = record{Result: store.Result{Source: g.Source, Group: g.Name}, face: -1, group: &g,
		detector: &foreign, options: e.options}
	return e.put()
}
