package pipeline

import (
	"cmp"
	"slices"

	"facescan/detect"
	"facescan/pipeline/decode"
	"facescan/store"
)

// Downloaded tells of an image that was downloaded, and of which a smaller picture was kept.
type Downloaded struct {
	Format        string `json:"format"`
	Width, Height int    // upright
	Bytes         int64  `json:"bytes"`
	Partial       bool   `json:"partial,omitempty"`

	SHA256 store.SHA256 `json:"sha256,omitempty"`
	PHash  store.PHash  `json:"phash,omitempty"`
}

// describe makes a result that of the image as it was downloaded.
func (d *Downloaded) describe(r *store.Result) {
	r.Format, r.Width, r.Height, r.Bytes, r.Partial = d.Format, d.Width, d.Height, d.Bytes, d.Partial
}

// probe reads the header of a body. In a smaller picture of what was downloaded faces are smaller, too. So
// --min-face, which is in pixels of the image as downloaded, means fewer pixels there, but no fewer than a
// detector needs. The factor is how much larger than it is a detector is to take the picture for.
func (p *processor) probe(body []byte, madeOf *Downloaded) (file *decode.File, larger float64, err error) {
	if file, err = decode.Probe(body, p.decode); err != nil || madeOf == nil || p.decode.MinFace == 0 {
		return file, 1, err
	}
	o, least := p.decode, min(p.decode.MinFace, decode.DefaultWindow)
	o.MinFace = max(least, o.MinFace*max(file.Width, file.Height)/max(madeOf.Width, madeOf.Height, 1))
	file, err = decode.Probe(body, o)
	return file, float64(p.decode.MinFace) / float64(o.MinFace), err
}

// frame is the image that boxes are placed in.
type frame struct {
	x, y          float64 // its pixels per pixel of luma
	width, height int
}

// frameOf is the frame of the image that a result is of. The luma may be that of a smaller picture of it.
func frameOf(img decode.Image, r *store.Result) frame {
	return frame{img.Scale * (float64(r.Width) / float64(img.Width)),
		img.Scale * (float64(r.Height) / float64(img.Height)), r.Width, r.Height}
}

// place turns a detector's boxes into stored ones: pixels of the upright image. They are sorted again, since
// what differed in luma may be equal now.
func (at frame) place(faces []detect.Face, kind detect.Kind) []store.Face {
	out := make([]store.Face, 0, len(faces))
	for _, f := range faces {
		if at.x != at.y { // by what the smaller picture's sides were rounded
			f = stretched(f, at.y/at.x)
		}
		if x, y, w, h, ok := detect.Place(f, at.x, at.width, at.height); ok {
			face := store.Face{X: x, Y: y, Width: w, Height: h, Score: f.Score, Confidence: f.Confidence,
				HasLandmarks: f.HasLandmarks}
			if f.HasLandmarks {
				face.Landmarks = detect.PlaceLandmarks(f.Landmarks, at.x)
			}
			out = append(out, face)
		}
	}
	slices.SortStableFunc(out, func(a, b store.Face) int {
		return cmp.Or(cmp.Compare(kind.Printed(b.Score), kind.Printed(a.Score)), cmp.Compare(a.Y, b.Y),
			cmp.Compare(a.X, b.X), cmp.Compare(a.Width, b.Width))
	})
	return out
}

// stretched is a face with its height, and all that is measured along it, multiplied.
func stretched(f detect.Face, by float64) detect.Face {
	f.Y, f.Height = f.Y*by, f.Height*by
	for i := range f.Landmarks {
		f.Landmarks[i].Y *= by
	}
	return f
}
