package export

import (
	"facescan/store"
)

// Object writes results that are about to become done, one JSON object each: the columns of rows of images
// that are known by then, as JSON Lines have them, and the file that holds the picture.
type Object struct {
	options *Options
	columns []column
}

// NewObject returns an Object for these detectors. Passwords in URLs are hidden.
func NewObject(detectors []Detector) *Object {
	o := Options{Detectors: detectors}
	t, err := newTable(o)
	if err != nil {
		panic(err) // the options have no choice in them
	}
	var names []string
	for _, c := range t.columns {
		if c.mark != late || c.kind.isList() {
			names = append(names, c.name)
		}
	}
	columns, err := t.choose(names, false)
	if err != nil {
		panic(err) // the names are the table's own
	}
	return &Object{t.options, columns}
}

// Picture is a file that shows a result's image: its size, and the faces in its own pixels, as they are
// before an orientation in its metadata is applied.
type Picture struct {
	File          string
	Format        string
	Width, Height int
	Faces         []store.Face
}

// Append appends the object of a result, with the picture under "stored". It ends in a newline.
func (o *Object) Append(dst []byte, r store.Result, p Picture) []byte {
	rec := o.options.record(r)
	dst = append(dst, '{')
	for i := range o.columns {
		dst = append(appendString(dst, o.columns[i].name), ':')
		dst = append(appendJSON(dst, &o.columns[i], &rec), ',')
	}
	dst = appendString(append(dst, `"stored":{"file":`...), p.File)
	dst = appendString(append(dst, `,"format":`...), p.Format)
	dst = appendNumber(dst, `,"width":`, int64(p.Width))
	dst = appendNumber(dst, `,"height":`, int64(p.Height))
	rec.Faces = p.Faces
	for i := range o.columns {
		if c := &o.columns[i]; c.kind.isList() {
			dst = append(appendString(append(dst, ','), c.name), ':')
			dst = appendJSON(dst, c, &rec)
		}
	}
	return append(dst, "}}\n"...)
}
