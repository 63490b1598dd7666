package keep

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"math"
	"os"
	"path/filepath"

	"facescan/pipeline"
	"facescan/pipeline/decode"
	"facescan/pipeline/decode/turbo"
	"facescan/store"
	"facescan/store/export"
)

// Form is how images are kept. All of a folder are kept in one form, which is written beside the job's token.
type Form struct {
	Size    int  `json:"size,omitempty"`    // longer side of JPEGs that are kept; 0 keeps what was downloaded
	Quality int  `json:"quality,omitempty"` // of these
	JSON    bool `json:"json,omitempty"`    // the row's result is beside its image
}

// takes reports whether what is kept of an image in another form can be kept in this one.
func (f Form) takes(img pipeline.Processed) bool {
	if img.MadeOf == nil {
		return true
	}
	file, err := decode.Probe(img.Body, decode.Options{})
	whole := max(img.MadeOf.Width, img.MadeOf.Height)
	return err == nil && f.Size > 0 && max(file.Width, file.Height) >= min(f.Size, whole)
}

// tokenText is what the file with a folder's token holds: the token, and behind it the form, if it is not the
// zero one.
func tokenText(token string, f Form) []byte {
	b := []byte(token + "\n")
	if f != (Form{}) {
		text, _ := json.Marshal(f) // it has only numbers
		b = append(append(b, text...), '\n')
	}
	return b
}

// formOf reads the form of a folder.
func formOf(dir string) (f Form, err error) {
	b, err := os.ReadFile(filepath.Join(dir, hidden, jobFile))
	if err != nil {
		return f, err
	}
	_, text, _ := bytes.Cut(bytes.TrimSpace(b), []byte("\n"))
	if len(text) == 0 {
		return f, nil
	}
	if err := json.Unmarshal(text, &f); err != nil {
		return f, fmt.Errorf("%s says how images are kept in it, and is damaged: name another folder: %w",
			filepath.Join(dir, hidden, jobFile), err)
	}
	return f, nil
}

// stored is a picture as it is kept.
type stored struct {
	pipeline.Original
	export.Picture // but for File; in a form without JSON only the format counts
}

// asItIs returns what is kept of an image whose bytes can stay as they are: in a form without a size, and
// of a JPEG that is as the form wants it. Its faces are placed in the pixels of the file, to which no
// orientation is applied yet.
func asItIs(img pipeline.Processed, form Form, o decode.Options) (s stored, ok bool) {
	r := img.Result
	s = stored{img.Original, export.Picture{Format: r.Format}}
	if img.MadeOf != nil {
		s.Format = decode.JPEG
	}
	if form.Size == 0 && !form.JSON {
		return s, true
	}
	file, err := decode.Probe(img.Body, o)
	if form.Size > 0 && (err != nil || !file.Plain() || max(file.Width, file.Height) > form.Size ||
		r.Partial && img.MadeOf == nil) {
		return s, false
	}
	faces := inSize(r.Faces, r.Width, r.Height, file.Width, file.Height)
	s.Faces = inStored(faces, file.Orientation, file.Width, file.Height)
	s.Width, s.Height = file.Width, file.Height
	if file.Orientation >= 5 {
		s.Width, s.Height = s.Height, s.Width
	}
	return s, true
}

// small makes the JPEG that is kept of an image, of a picture of it: upright, no longer than size.
func small(img pipeline.Processed, m *image.RGBA, f Form) (s stored, err error) {
	r := img.Result
	w, h := fit(r.Width, r.Height, f.Size)
	w, h = min(w, m.Rect.Dx()), min(h, m.Rect.Dy())
	if m.Rect.Dx() != w || m.Rect.Dy() != h {
		m = shrink(m, w, h)
	}
	s = stored{img.Original, export.Picture{Format: decode.JPEG, Width: w, Height: h,
		Faces: inSize(r.Faces, r.Width, r.Height, w, h)}}
	if s.MadeOf == nil {
		s.MadeOf = &pipeline.Downloaded{Format: r.Format, Width: r.Width, Height: r.Height, Bytes: r.Bytes,
			Partial: r.Partial, SHA256: r.SHA256, PHash: r.PHash}
	}
	s.Body, err = turbo.Encode(m, f.Quality)
	return s, err
}

// fit is the size of a picture that is no longer than side, and no larger than it was.
func fit(width, height, side int) (w, h int) {
	long := max(width, height)
	if long <= side {
		return width, height
	}
	return max(1, (width*side+long/2)/long), max(1, (height*side+long/2)/long)
}

// inSize returns the faces of an image in the pixels of a picture of another size.
func inSize(faces []store.Face, fromWidth, fromHeight, width, height int) []store.Face {
	x, y := float64(width)/float64(fromWidth), float64(height)/float64(fromHeight)
	if x == 1 && y == 1 {
		return faces
	}
	out := make([]store.Face, len(faces))
	for i, f := range faces {
		f.X, f.Width = stretch(f.X, f.Width, x, width)
		f.Y, f.Height = stretch(f.Y, f.Height, y, height)
		for n := range f.Landmarks {
			by := x
			if n%2 == 1 {
				by = y
			}
			f.Landmarks[n] = int32(math.Floor(float64(f.Landmarks[n])*by + 0.5))
		}
		out[i] = f
	}
	return out
}

// stretch multiplies an interval of n pixels. Its ends are rounded half up; it keeps at least one pixel.
func stretch(from, length int, by float64, n int) (int, int) {
	lo := min(int(float64(from)*by+0.5), n-1)
	hi := min(int(float64(from+length)*by+0.5), n)
	return lo, max(hi-lo, 1)
}

// inStored returns the faces of an upright image in the pixels of its file.
func inStored(faces []store.Face, orientation, width, height int) []store.Face {
	if orientation <= 1 {
		return faces
	}
	carry := func(b decode.Box) decode.Box {
		return decode.ToStored(b, orientation, float64(width), float64(height))
	}
	out := make([]store.Face, len(faces))
	for i, f := range faces {
		b := carry(decode.Box{X: float64(f.X), Y: float64(f.Y), Width: float64(f.Width),
			Height: float64(f.Height)})
		f.X, f.Y, f.Width, f.Height = int(b.X), int(b.Y), int(b.Width), int(b.Height)
		l := &f.Landmarks
		for n := 0; f.HasLandmarks && n < len(l); n += 2 {
			b := carry(decode.Box{X: float64(l[n]) / 10, Y: float64(l[n+1]) / 10})
			l[n], l[n+1] = int32(math.Round(b.X*10)), int32(math.Round(b.Y*10))
		}
		if decode.Mirrors(orientation) {
			*l = store.Landmarks{l[2], l[3], l[0], l[1], l[4], l[5], l[8], l[9], l[6], l[7]}
		}
		out[i] = f
	}
	return out
}
