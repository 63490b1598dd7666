package cmd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"facescan/detect"
	"facescan/pipeline"
	"facescan/pipeline/decode"
	"facescan/pipeline/draw"
	"facescan/store"
	"facescan/store/draft"
	"facescan/store/export"
	"facescan/store/figures"
	"facescan/store/hint"
)

type detectCommandOptions struct {
	detect detectOptions
	fetch  fetchOptions
	remote sidecarOptions
	json   bool
	draw   string
}

func (o *detectCommandOptions) addFlags(fs *pflag.FlagSet) {
	o.detect.addFlags(fs)
	withoutJob(fs)
	o.fetch.addFlags(fs)
	o.remote.addFlags(fs)
	fs.BoolVar(&o.json, "json", false, "print one JSON object per file")
	fs.StringVar(&o.draw, "draw", "", "draw boxes, landmarks, ranks and scores into NAME.faces.png "+
		"in `FOLDER`; other files in it are left alone")
}

func newDetect(g *globals) *cobra.Command {
	var o detectCommandOptions
	return command(&cobra.Command{
		Use:   "detect FILE|URL…",
		Short: "Find the faces of single images",
		Long: "Prints the faces of image files or URLs, the same boxes that a run finds. - reads an image " +
			"from stdin. A file that fails is listed with its reason, and the exit code is then 1.",
		Example: `facescan detect photo.jpg             # boxes and scores
facescan detect photo.jpg --draw out  # draw them into out/photo.faces.png
facescan detect *.jpg --json          # one JSON object per file`,
		Args: args(cobra.MinimumNArgs(1), "image files or URLs"),
	}, &o, func(ctx context.Context, args []string) error { return runDetect(ctx, g, &o, args) })
}

func runDetect(ctx context.Context, g *globals, o *detectCommandOptions, files []string) error {
	if err := o.remote.check(); err != nil {
		return err
	}
	if err := o.detect.choose(ctx, &o.remote); err != nil {
		return err
	}
	detector, err := o.detect.open(ctx, &o.remote, g.logger(g.err))
	if err != nil {
		return err
	}
	defer closeDetector(detector)
	fetcher, err := o.fetch.fetcher()
	if err != nil {
		return err
	}
	defer fetcher.Close()
	if o.draw != "" {
		if err := os.MkdirAll(o.draw, draft.FolderMode); err != nil {
			return err
		}
	}

	single := pipeline.Single{Fetcher: fetcher, Detector: detector, Encoded: o.remote.encoded(),
		Decode: o.detect.decode(), Retries: o.fetch.retries, MaxBytes: int64(o.fetch.maxBytes),
		Log: g.logger(g.err)}
	failed, private := 0, false
	drawn := draw.Files{Dir: o.draw}
	for _, name := range files {
		if st, err := os.Stat(name); err == nil && st.IsDir() {
			return usagef("%s is a folder: name the images in it, or search it with %s", name,
				hint.Words("facescan", "run", "--images", name, "--db", "faces.db"))
		}
		res, body, err := single.Look(ctx, name, isURL(name))
		if errors.Is(err, pipeline.ErrUnreadable) {
			g.fail(err, exitOK, "")
			res.Status = store.Failed
		} else if err != nil {
			return err
		}
		if res.Status == store.Failed {
			failed++
			private = private || res.Reason == store.PrivateAddress
		}
		if err := printDetected(g, o.json, name, res); err != nil {
			return err
		}
		if o.draw != "" && res.Status == store.OK {
			if err := drawFaces(&drawn, name, body, o.detect.decode(), res); err != nil {
				return err
			}
		}
	}
	switch all := figures.Of(len(files), "image"); {
	case failed == 0:
		return nil
	case private:
		return fmt.Errorf("%d of %s failed; --allow-private fetches from loopback and private addresses",
			failed, all)
	default:
		return fmt.Errorf("%d of %s failed; what each reason means: %s", failed, all,
			hint.Words("facescan", "help", "outcomes"))
	}
}

func isURL(s string) bool {
	l := strings.ToLower(s)
	return strings.HasPrefix(l, "http://") || strings.HasPrefix(l, "https://")
}

func printDetected(g *globals, asJSON bool, name string, r store.Result) error {
	if isURL(name) {
		name = store.Redact(name)
	}
	kind := detect.KindOf(r.Detector)
	decimals := cmp.Or(kind.Decimals, 2)
	if asJSON {
		line := struct {
			File   string          `json:"file"`
			Status store.Status    `json:"status"`
			Reason store.Reason    `json:"reason"`
			Width  *int            `json:"width"`
			Height *int            `json:"height"`
			Format *string         `json:"format"`
			Faces  *int            `json:"faces"`
			Boxes  json.RawMessage `json:"boxes"`
			Points json.RawMessage `json:"landmarks,omitempty"` // of detectors that find them
		}{File: name, Status: r.Status, Reason: r.Reason}
		if r.Width > 0 {
			line.Width, line.Height = &r.Width, &r.Height
		}
		if r.Format != "" {
			line.Format = &r.Format
		}
		if r.FacesKnown() {
			n := len(r.Faces)
			line.Faces, line.Boxes = &n, export.AppendBoxes(nil, r.Faces, decimals)
			if kind.Landmarks {
				line.Points = export.AppendLandmarks(nil, r.Faces)
			}
		}
		return printJSON(g.out, line)
	}
	if r.Status == store.Failed {
		g.print("%s: failed: %s", name, cmp.Or(string(r.Reason), "cannot be read"))
		return nil
	}
	if !r.FacesKnown() {
		g.print("%s: %s %dx%d", name, r.Format, r.Width, r.Height)
		return nil
	}
	g.print("%s: %s %dx%d, %s", name, r.Format, r.Width, r.Height, figures.Of(len(r.Faces), "face"))
	for _, f := range r.Faces {
		g.print("  x %d y %d width %d height %d score %.*f", f.X, f.Y, f.Width, f.Height, decimals, f.Score)
	}
	return nil
}

// drawFaces writes the upright image with its faces.
func drawFaces(to *draw.Files, name string, body []byte, o decode.Options, r store.Result) error {
	var canvas *image.RGBA
	file, err := decode.Probe(body, o)
	if err == nil {
		canvas, err = file.Color()
	}
	if err != nil {
		return fmt.Errorf("draw %s: %w", name, err)
	}
	draw.Faces(canvas, r.Faces, cmp.Or(detect.KindOf(r.Detector).Decimals, 2))
	return to.Add(name, isURL(name), canvas)
}
