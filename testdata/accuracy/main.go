// Command accuracy measures a detector on annotated photos.
//
//	go run ./testdata/accuracy [flags] DIR…
//
// Every folder below a DIR with pictures in it, or in its images/, is a set. Beside them may lie
// annotations.csv (file,x,y,w,h, pixels of the stored image, one row per face), zero_faces.txt (files without
// a face, one per line) and ignore.csv (like annotations.csv: faces too doubtful to count). A picture that
// none of them names has no face.
//
// A found face is right when its box and an annotated one have an IoU of at least 0.4; the best score chooses
// first. Faces whose sides have a geometric mean below 24 pixels, and ignored ones, count neither as missed
// nor, when found, as wrong.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"facescan/detect"
	"facescan/pipeline/decode"
)

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "accuracy:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	p := detect.Defaults(detect.Default)
	flags := flag.NewFlagSet("accuracy", flag.ContinueOnError)
	flags.StringVar(&p.Detector, "detector", p.Detector, "the detector, by name")
	for _, f := range detect.Flags() {
		switch v := f.Field(&p).(type) {
		case *int:
			flags.IntVar(v, f.Name, *v, f.Help())
		case *float64: // -1 is the detector's own
			flags.Float64Var(v, f.Name, *v, f.Help())
		case *[]float64:
			flags.Func(f.Name, f.Help(), func(s string) (err error) {
				*v, err = detect.ParseAngles(s)
				return err
			})
		}
	}
	oracle := flags.Bool("oracle", false, "evaluate the cascade with pigo itself: the same faces, slowly")
	window := flags.Int("window", 0, "pixels that the smallest face keeps when decoding scales "+
		"down; 0 = as a run does")
	sweep := flags.Bool("sweep", false, "also F1 at every threshold")
	others := flags.Bool("peers", false, "a table of facescan and others on these pictures; run it "+
		"from the repository's root")
	programs := peers{script: filepath.Join("testdata", "accuracy", "peers.py"), haar: "/usr/bin/python3"}
	flags.StringVar(&programs.python, "python", "python3",
		"interpreter with opencv-python-headless and onnxruntime")
	flags.StringVar(&programs.model, "onnx", "", "YuNet as ONNX, for -peers")
	if err := flags.Parse(args); err != nil {
		return err
	}
	sets, err := readSets(flags.Args())
	if err != nil {
		return err
	}
	o := decode.Options{MinFace: p.MinFace, Window: *window}
	if *others {
		return comparePeers(ctx, sets, p, o, programs, out)
	}
	open := detect.New
	if *oracle {
		open = newOracle
	}
	r, err := measure(ctx, sets, p, open, o)
	if err != nil {
		return err
	}
	r.print(out)
	if *sweep {
		r.printSweep(out)
	}
	return nil
}
