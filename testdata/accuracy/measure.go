package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"

	"facescan/detect"
	"facescan/pipeline/decode"
)

// enough is the IoU from which a found box is the annotated face.
const enough = 0.4

// verdict is a found face: right, wrong, or a doubtful one that does not count.
type verdict struct {
	score float64
	right bool
}

// tally is what was found in a set.
type tally struct {
	name     string
	pictures int
	faces    int
	found    []verdict
}

// result of a measurement.
type result struct {
	detector string
	minScore float64 // the least score of a face that was accepted
	sets     []tally
	decode   time.Duration // CPU of the process
	detect   time.Duration // likewise
}

func (t tally) at(score float64) (right, wrong int) {
	for _, v := range t.found {
		switch {
		case v.score < score:
		case v.right:
			right++
		default:
			wrong++
		}
	}
	return right, wrong
}

// measure decodes one picture after the other as a run does, and asks the detector for every face it has.
func measure(ctx context.Context, sets []set, p detect.Params,
	open func(detect.Params) (detect.Detector, error), o decode.Options) (*result, error) {
	d, err := open(p)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	decoder := decode.New(o)
	defer decoder.Close()
	r := &result{detector: d.Fingerprint(), minScore: p.Threshold()}
	for _, s := range sets {
		t := tally{name: s.name, pictures: len(s.pictures)}
		for _, pic := range s.pictures {
			before := cpuTime()
			img, err := decoder.Decode(pic.body)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", pic.path, err)
			}
			decoded := cpuTime()
			r.decode += decoded - before
			answers, err := d.Detect(ctx, []detect.Image{{Luma: img.Luma, Scale: img.Scale}})
			r.detect += cpuTime() - decoded
			if err == nil {
				err = answers[0].Err
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", pic.path, err)
			}
			var faces []detect.Face
			for _, f := range append(answers[0].Faces, answers[0].Candidates...) {
				faces = append(faces, stored(f, img))
			}
			t.faces += len(pic.faces)
			t.found = append(t.found, judge(faces, pic)...)
		}
		r.sets = append(r.sets, t)
	}
	return r, nil
}

// stored carries a face into pixels of the stored image, in which people drew theirs.
func stored(f detect.Face, img decode.Image) detect.Face {
	b := decode.Box{X: f.X * img.Scale, Y: f.Y * img.Scale, Width: f.Width * img.Scale,
		Height: f.Height * img.Scale}
	b = decode.ToStored(b, img.Orientation, float64(img.Width), float64(img.Height))
	f.X, f.Y, f.Width, f.Height = b.X, b.Y, b.Width, b.Height
	return f
}

// judge matches faces, best score first, with what was annotated. Each annotated face is found once.
func judge(faces []detect.Face, pic picture) []verdict {
	var verdicts []verdict
	taken := make([]bool, len(pic.faces))
	for _, f := range faces {
		b := box{f.X, f.Y, f.Width, f.Height}
		best, at := 0.0, -1
		for i, want := range pic.faces {
			if o := iou(b, want); !taken[i] && o > best {
				best, at = o, i
			}
		}
		switch {
		case best >= enough:
			taken[at] = true
			verdicts = append(verdicts, verdict{f.Score, true})
		case slices.ContainsFunc(pic.ignore, func(o box) bool { return iou(b, o) >= enough }):
		case f.Width*f.Height < small*small:
		default:
			verdicts = append(verdicts, verdict{f.Score, false})
		}
	}
	return verdicts
}

func iou(a, b box) float64 {
	w := min(a.x+a.w, b.x+b.w) - max(a.x, b.x)
	h := min(a.y+a.h, b.y+b.h) - max(a.y, b.y)
	o := max(w, 0) * max(h, 0)
	return o / (a.w*a.h + b.w*b.h - o)
}

// f1 is the harmonic mean of recall and precision.
func f1(right, wrong, faces int) float64 {
	return 2 * float64(right) / float64(max(right+wrong+faces, 1))
}

func (r *result) print(w io.Writer) {
	out := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(out, "set\tpictures\tfaces\tfound\twrong\trecall\tprecision\tF1\t")
	all := r.all()
	for _, t := range append(r.sets, all) {
		right, wrong := t.at(r.minScore)
		fmt.Fprintf(out, "%s\t%d\t%d\t%d\t%d\t%.3f\t%.3f\t%.3f\t\n", t.name, t.pictures, t.faces, right,
			wrong, share(right, t.faces), share(right, right+wrong), f1(right, wrong, t.faces))
	}
	out.Flush()
	fmt.Fprintf(w, "\n%s\nCPU a picture: %.2f ms to decode, %.2f ms to detect; %s %s/%s\n", r.detector,
		perPicture(r.decode, all.pictures), perPicture(r.detect, all.pictures), runtime.Version(),
		runtime.GOOS, runtime.GOARCH)
}

// all sets as one.
func (r *result) all() tally {
	all := tally{name: "all"}
	for _, t := range r.sets {
		all.pictures += t.pictures
		all.faces += t.faces
		all.found = append(all.found, t.found...)
	}
	return all
}

func share(part, whole int) float64 { return float64(part) / float64(max(whole, 1)) }

func perPicture(d time.Duration, pictures int) float64 {
	return float64(d.Microseconds()) / 1000 / float64(max(pictures, 1))
}

// byScore orders faces as judge wants them.
func byScore(a, b detect.Face) int { return cmp.Compare(b.Score, a.Score) }

// printSweep shows what other thresholds would do. Below the accepted score only the best 8 of a picture are
// known.
func (r *result) printSweep(w io.Writer) {
	out := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(out, "\nscore\tfound\twrong\trecall\tprecision\tF1\t")
	for _, score := range []float64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 20, 25, 30, 40, 60} {
		right, wrong, faces := 0, 0, 0
		for _, t := range r.sets {
			a, b := t.at(score)
			right, wrong, faces = right+a, wrong+b, faces+t.faces
		}
		fmt.Fprintf(out, "%v\t%d\t%d\t%.3f\t%.3f\t%.3f\t\n", score, right, wrong, share(right, faces),
			share(right, right+wrong), f1(right, wrong, faces))
	}
	out.Flush()
}

// cpuTime is what the process used so far, all threads.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // only for invalid arguments
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
