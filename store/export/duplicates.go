package export

import (
	"slices"

	"facescan/store"
)

// duplicateColumns are the columns of rows of duplicates by default. They hide columns of images with the
// same name, which is the group of the list.
var duplicateColumns = append([]column{
	{"group", integer, late, func(r *record) value { return value{i: r.first} }},
	{"distance", integer, late, func(r *record) value { return number(r.distance) }},
}, imageColumnsNamed("id", "url", "format", "width", "height", "bytes")...)

// imageColumnsNamed are default columns of rows of images.
func imageColumnsNamed(names ...string) (out []column) {
	for _, c := range imageColumns {
		if slices.Contains(names, c.name) {
			out = append(out, c)
		}
	}
	return out
}

// WriteDuplicate implements Writer.
func (e *exporter) WriteDuplicate(d store.Duplicate) error {
	e.first, e.distance = d.First, d.Distance
	return e.Write(d.Result)
}
