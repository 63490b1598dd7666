package export

import (
	"bufio"
	"io"
	"os"
	"strconv"
	"strings"
)

// cocoEncoder writes the JSON of the COCO data set, which annotation tools read: the images that a detector
// examined, and one annotation per box. Images are written at once; annotations, which have an array of their
// own, go through a temporary file.
type cocoEncoder struct {
	lineWriter
	images, faces int64
	spool         *os.File
	annotations   lineWriter
	url           column
	keypoints     bool // some annotation has them
}

func newCOCO(w io.Writer, url column) (*cocoEncoder, error) {
	spool, err := os.CreateTemp("", "facescan-coco-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(spool.Name()); err != nil { // it lives as long as it is open
		_ = spool.Close()
		return nil, err
	}
	e := &cocoEncoder{lineWriter: lineWriter{w: w}, spool: spool, annotations: lineWriter{w: spool}, url: url}
	e.buf = append(e.buf, `{"info":{"description":"facescan"},"images":[`+"\n"...)
	return e, nil
}

func (e *cocoEncoder) encode(r *record) error {
	if !r.FacesKnown() {
		return nil
	}
	if e.images++; e.images > 1 {
		e.buf = append(e.buf, ",\n"...)
	}
	url := e.url.get(r).s
	e.buf = appendNumber(e.buf, `{"id":`, r.ID)
	e.buf = appendString(append(e.buf, `,"file_name":`...), url)
	e.buf = appendString(append(e.buf, `,"coco_url":`...), url)
	e.buf = appendNumber(e.buf, `,"width":`, int64(r.Width))
	e.buf = appendNumber(e.buf, `,"height":`, int64(r.Height))
	e.buf = append(e.buf, '}')
	for _, f := range r.Faces {
		b := e.annotations.buf
		if e.faces++; e.faces > 1 {
			b = append(b, ",\n"...)
		}
		b = appendNumber(b, `{"id":`, e.faces)
		b = appendNumber(b, `,"image_id":`, r.ID)
		b = appendNumber(b, `,"category_id":1,"iscrowd":0,"bbox":[`, int64(f.X))
		for _, n := range [...]int{f.Y, f.Width, f.Height} {
			b = appendNumber(b, ",", int64(n))
		}
		b = appendNumber(b, `],"area":`, int64(f.Width)*int64(f.Height))
		b = appendReal(append(b, `,"score":`...), f.Score, r.detector.Decimals)
		if f.HasLandmarks {
			e.keypoints = true
			b = append(b, `,"num_keypoints":5,"keypoints":[`...)
			for i := 0; i < len(f.Landmarks); i += 2 {
				if i > 0 {
					b = append(b, ',')
				}
				b = append(appendReal(b, float64(f.Landmarks[i])/10, 1), ',')
				// 2 means labelled and visible
				b = append(appendReal(b, float64(f.Landmarks[i+1])/10, 1), ",2"...)
			}
			b = append(b, ']')
		}
		b = append(b, '}')
		e.annotations.buf = b
	}
	if len(e.annotations.buf) >= flushSize {
		if err := e.annotations.flush(); err != nil {
			return err
		}
	}
	if len(e.buf) >= flushSize {
		return e.flush()
	}
	return nil
}

// appendNumber appends a whole number behind what introduces it.
func appendNumber(dst []byte, introduction string, n int64) []byte {
	return strconv.AppendInt(append(dst, introduction...), n, 10)
}

func (e *cocoEncoder) close() error {
	defer e.spool.Close()
	e.buf = append(e.buf, "\n],\"annotations\":[\n"...)
	if err := e.flush(); err != nil {
		return err
	}
	if err := e.annotations.flush(); err != nil {
		return err
	}
	if _, err := e.spool.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.Copy(e.w, bufio.NewReaderSize(e.spool, flushSize)); err != nil {
		return err
	}
	e.buf = append(e.buf, "\n],\"categories\":[{\"id\":1,\"name\":\"face\",\"supercategory\":\"person\""...)
	if e.keypoints {
		e.buf = append(e.buf, `,"keypoints":["`+strings.Join(pointNames[:], `","`)+`"],"skeleton":[]`...)
	}
	e.buf = append(e.buf, "}]}\n"...)
	return e.flush()
}
