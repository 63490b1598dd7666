package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	esimov "github.com/esimov/pigo/core"

	"facescan/detect"
	"facescan/detect/pigo"
	"facescan/pipeline/decode"
)

// haarFolder is where Debian's opencv-data puts its cascades.
const haarFolder = "/usr/share/opencv4/haarcascades"

// peers are what runs other detectors.
type peers struct {
	script string // peers.py
	haar   string // an interpreter that sees Debian's modules
	python string // one with OpenCV and onnxruntime
	model  string // YuNet as ONNX; empty to leave it out
}

// comparePeers measures facescan, pigo as its own command uses it, OpenCV's Haar cascades and the same
// network in Python on the same pictures, by the same rules.
func comparePeers(ctx context.Context, sets []set, p detect.Params, o decode.Options,
	programs peers, w io.Writer) error {
	type contender struct {
		name    string
		measure func() (*result, error)
	}
	ours := func(p detect.Params, open func(detect.Params) (detect.Detector, error)) func() (*result, error) {
		return func() (*result, error) { return measure(ctx, sets, p, open, o) }
	}
	var all []contender
	for _, k := range detect.Kinds() {
		own := p
		own.Detector = k.Name
		all = append(all, contender{"facescan --detector " + k.Name, ours(own, detect.New)})
	}
	p.Detector = detect.Pigo
	all = append(all, contender{"pigo, as its command does", ours(p, newPlain)})
	for _, name := range []string{"frontalface_default", "frontalface_alt2"} {
		all = append(all, contender{"OpenCV Haar " + name, func() (*result, error) {
			cascade := filepath.Join(haarFolder, "haarcascade_"+name+".xml")
			return measureProgram(ctx, sets, programs.haar, programs.script, "haar", cascade,
				strconv.Itoa(p.MinFace))
		}})
	}
	for _, kind := range []string{"opencv", "onnxruntime"} {
		for _, side := range []string{"320", "640"} {
			if programs.model != "" {
				all = append(all, contender{"YuNet in Python, " + kind + ", " + side + " px",
					func() (*result, error) {
						return measureProgram(ctx, sets, programs.python, programs.script, kind,
							programs.model,
							side)
					}})
			}
		}
	}
	out := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	fmt.Fprintln(out, "| detector\t| recall\t| precision\t| F1\t| CPU ms a "+
		"picture\t|\n|---\t|---\t|---\t|---\t|---\t|")
	for _, c := range all {
		r, err := c.measure()
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		t := r.all()
		right, wrong := t.at(r.minScore)
		fmt.Fprintf(out, "| %s\t| %.3f\t| %.3f\t| %.3f\t| %.1f\t|\n", c.name, share(right, t.faces),
			share(right, right+wrong), f1(right, wrong, t.faces), perPicture(r.decode+r.detect, t.pictures))
	}
	return out.Flush()
}

// plain is pigo with its own clusters and the threshold of its command.
type plain struct {
	p          detect.Params
	classifier *esimov.Pigo
}

// newOracle is facescan's detector, with pigo itself evaluating the cascade.
func newOracle(p detect.Params) (detect.Detector, error) {
	e, err := pigo.NewOracle(pigo.Facefinder)
	if err != nil {
		return nil, err
	}
	return detect.NewWith(p, e)
}

func newPlain(p detect.Params) (detect.Detector, error) {
	c, err := esimov.NewPigo().Unpack(pigo.Facefinder)
	return plain{p, c}, err
}

func (d plain) Detect(_ context.Context, batch []detect.Image) ([]detect.Answer, error) {
	const enough = 5
	answers := make([]detect.Answer, len(batch))
	for i, img := range batch {
		size := img.Luma.Rect.Size()
		found := d.classifier.RunCascade(esimov.CascadeParams{
			MinSize: int(float64(d.p.MinFace) / img.Scale), MaxSize: min(size.X, size.Y),
			ShiftFactor: d.p.Shift, ScaleFactor: d.p.Scale,
			ImageParams: esimov.ImageParams{Pixels: img.Luma.Pix, Rows: size.Y,
				Cols: size.X, Dim: img.Luma.Stride},
		}, 0)
		for _, f := range d.classifier.ClusterDetections(found, d.p.Overlap()) {
			if side := float64(f.Scale); f.Q > enough {
				answers[i].Faces = append(answers[i].Faces, detect.Face{X: float64(f.Col) - side/2,
					Y: float64(f.Row) - side/2, Width: side, Height: side, Score: float64(f.Q)})
			}
		}
		slices.SortFunc(answers[i].Faces, byScore)
	}
	return answers, nil
}

func (d plain) Fingerprint() string { return "pigo" }
func (d plain) Close() error        { return nil }

// measureProgram has a program of somebody else's find the faces: it is told a path a line, and answers with
// a line of JSON, see peers.py.
func measureProgram(ctx context.Context, sets []set, name string, args ...string) (*result, error) {
	c := exec.CommandContext(ctx, name, args...)
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	r, err := converse(sets, in, bufio.NewReader(out))
	in.Close()
	if e := c.Wait(); e != nil {
		return nil, fmt.Errorf("%s: %w", c, e)
	}
	return r, err
}

func converse(sets []set, in io.Writer, out *bufio.Reader) (*result, error) {
	r := new(result)
	for _, s := range sets {
		t := tally{name: s.name, pictures: len(s.pictures)}
		for _, pic := range s.pictures {
			if _, err := fmt.Fprintln(in, pic.path); err != nil {
				return nil, err
			}
			line, err := out.ReadBytes('\n')
			if err != nil {
				return nil, fmt.Errorf("no answer about %s: %w", pic.path, err)
			}
			var answer struct {
				Milliseconds float64 `json:"ms"`
				Boxes        [][5]float64
			}
			if err := json.Unmarshal(line, &answer); err != nil {
				return nil, fmt.Errorf("the answer about %s: %w", pic.path, err)
			}
			var faces []detect.Face
			for _, b := range answer.Boxes {
				faces = append(faces, detect.Face{X: b[0], Y: b[1], Width: b[2], Height: b[3], Score: b[4]})
			}
			slices.SortFunc(faces, byScore)
			r.detect += time.Duration(answer.Milliseconds * float64(time.Millisecond))
			t.faces += len(pic.faces)
			t.found = append(t.found, judge(faces, pic)...)
		}
		r.sets = append(r.sets, t)
	}
	return r, nil
}
