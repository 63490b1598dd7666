package sidecar

import (
	"errors"
	"fmt"
	"math"

	"facescan/detect"
)

// errUnreadable is the answer to an image that the server cannot read.
var errUnreadable = errors.New("the sidecar cannot read the image")

// validate turns a response into the answers to these images, or returns why it is invalid.
func (c *Client) validate(body []byte, length string, items []*item) ([]detect.Answer, error) {
	m, err := parseMessage(length, body, len(body))
	if err != nil {
		return nil, err
	}
	if d, ok := m.Parameters[detectorKey].(string); ok && d != c.model.detector {
		return nil, fmt.Errorf("it comes from the detector %s, not %s", d, c.model.detector)
	}
	images := int64(len(items))
	faces, err := find(m.Outputs, facesName, typeFP32, -1, faceFields)
	if err != nil {
		return nil, err
	}
	n := faces.Shape[0]
	if n > images*maxFaces {
		return nil, fmt.Errorf("%d faces in %d images", n, images)
	}
	rows, err := faces.numbers()
	if err != nil {
		return nil, err
	}
	counts, err := numbersOf(m.Outputs, countsName, typeINT32, images)
	if err != nil {
		return nil, err
	}
	var points []float64
	if c.model.landmarks {
		if points, err = numbersOf(m.Outputs, pointsName, typeFP32, n, int64(pointFields)); err != nil {
			return nil, err
		}
	}
	threshold := math.Inf(-1)
	if c.model.candidates {
		var ok bool
		if threshold, ok = m.Parameters[minScoreKey].(float64); !ok {
			return nil, fmt.Errorf("candidates were requested, and the threshold is %v",
				m.Parameters[minScoreKey])
		}
	}
	return answersOf(c.model.kind, items, rows, points, counts, threshold)
}

// answersOf checks faces, with their landmarks if there are any, and sorts them into the answers of their
// images.
func answersOf(kind detect.Kind, items []*item, rows, points, counts []float64,
	threshold float64) ([]detect.Answer, error) {
	found := make([][]detect.Face, len(items))
	for ; len(rows) > 0; rows = rows[faceFields:] {
		r := rows[:faceFields]
		i := int(r[0])
		if !(r[0] >= 0 && r[0] < float64(len(items)) && float64(i) == r[0]) {
			return nil, fmt.Errorf("a face in image %v of %d", r[0], len(items))
		}
		f := detect.Face{X: r[1], Y: r[2], Width: r[3], Height: r[4], Score: r[5],
			HasLandmarks: len(points) > 0}
		for n := range f.Landmarks {
			if f.HasLandmarks {
				f.Landmarks[n] = detect.Point{X: points[2*n], Y: points[2*n+1]}
			}
		}
		if f.HasLandmarks {
			points = points[pointFields:]
		}
		it := items[i]
		f, err := it.clip(f)
		if err != nil {
			return nil, fmt.Errorf("image %d of %d: %w", i, len(items), err)
		}
		if it.fromStored != nil {
			f = it.fromStored(f)
		}
		found[i] = append(found[i], f)
	}
	answers := make([]detect.Answer, len(items))
	for i, faces := range found {
		a := &answers[i]
		*a = kind.Answer(faces, items[i].luma, threshold)
		below := 0
		for _, f := range faces {
			if !(f.Score >= threshold) {
				below++
			}
		}
		switch {
		case counts[i] == -1 && len(faces) == 0:
			a.Err = errUnreadable
		case counts[i] != float64(len(faces)):
			return nil, fmt.Errorf("image %d of %d: %v faces are counted, %d given", i, len(items), counts[i],
				len(faces))
		case below > candidates:
			return nil, fmt.Errorf("image %d of %d: %d candidates", i, len(items), below)
		}
	}
	return answers, nil
}

// clip cuts a box to the sent image. A box wholly outside, or an invalid one, is an error.
func (it *item) clip(f detect.Face) (detect.Face, error) {
	for _, v := range []float64{f.X, f.Y, f.Width, f.Height, f.Score} {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return f, fmt.Errorf("a face with %v in it", v)
		}
	}
	if !(f.Width > 0 && f.Height > 0 && f.X < it.width && f.Y < it.height && f.X+f.Width > 0 &&
		f.Y+f.Height > 0) {
		return f, fmt.Errorf("a face of %vx%v at %v,%v in %vx%v pixels", f.Width, f.Height, f.X, f.Y,
			it.width, it.height)
	}
	for _, p := range f.Landmarks {
		if !(p.X >= -it.width && p.X <= 2*it.width && p.Y >= -it.height && p.Y <= 2*it.height) {
			return f, fmt.Errorf("a landmark at %v,%v of a picture of %vx%v pixels", p.X, p.Y, it.width,
				it.height)
		}
	}
	f.X, f.Width = detect.Clip(f.X, f.Width, it.width)
	f.Y, f.Height = detect.Clip(f.Y, f.Height, it.height)
	return f, nil
}
