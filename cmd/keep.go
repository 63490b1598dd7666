package cmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/pflag"

	"facescan/pipeline"
	"facescan/pipeline/decode"
	"facescan/pipeline/keep"
	"facescan/pipeline/source"
	"facescan/store"
	"facescan/store/export"
	"facescan/store/figures"
	"facescan/store/hint"
)

// keepQuality is the quality of JPEGs that --keep-size makes.
const keepQuality = 90

// keepOptions say what a run makes of images besides their results.
type keepOptions struct {
	flags                       *pflag.FlagSet
	keep, where, crops, blurred string
	form                        keep.Form
	thumbnails                  int
	blurFaces                   bool
	blurMargin                  float64
}

func (o *keepOptions) addFlags(fs *pflag.FlagSet) {
	o.flags, o.form.Quality = fs, keepQuality
	fs.StringVar(&o.keep, "keep", "",
		"keep images as downloaded, in tar files in `FOLDER`; their rows are not downloaded "+
			"again")
	fs.StringVar(&o.where, "keep-where", "", "`condition` for images to keep, e.g. 'faces > 0'; default: all")
	fs.BoolVar(&o.form.JSON, "keep-json", false,
		"with --keep: put each result beside its image in the tar file, as NAME.json; a folder stays with "+
			"or without")
	fs.IntVar(&o.form.Size, "keep-size", 0,
		"with --keep: keep upright JPEGs of at most `N` pixels a side instead; a folder stays with its "+
			"size; default: as downloaded")
	fs.IntVar(&o.form.Quality, "keep-quality", o.form.Quality,
		"`quality` of these JPEGs, from 1 to 100; a JPEG that is upright and small enough stays as it is")
	fs.StringVar(&o.crops, "crops", "", "write each face, with a margin of a quarter of it, into `FOLDER`")
	fs.StringVar(&o.blurred, "blurred", "",
		"write pictures with their faces blurred into `FOLDER`; not a guarantee: a face that the detector "+
			"misses stays visible")
	fs.IntVar(&o.thumbnails, "thumbnails", 0,
		"keep a random sample of `N` small pictures for the report, and show the latest faces on the live "+
			"page; of rows that are done they are made from kept bytes; default: none")
	addBlurFaces(fs, &o.blurFaces, &o.blurMargin)
}

// addBlurFaces adds the flags for blurring faces in thumbnails.
func addBlurFaces(fs *pflag.FlagSet, blur *bool, margin *float64) {
	fs.BoolVar(blur, "blur-faces", false, "blur faces in thumbnails; a face that the detector misses stays "+
		"visible")
	fs.Float64Var(margin, "blur-margin", keep.DefaultBlurMargin,
		"blur this `fraction` of a face's sides around it, too, from 0 to 3")
}

// blurWarning is what a command that blurs faces says.
const blurWarning = "blurring is not a guarantee: a face that the detector misses stays visible; look at " +
	"the pictures before you hand them on"

// checkBlurMargin rejects invalid margins.
func checkBlurMargin(margin float64) error {
	if !(margin >= 0 && margin <= 3) {
		return usagef("--blur-margin %v: give a fraction of the face's sides from 0 to 3, e.g. 0.2", margin)
	}
	return nil
}

func (o *keepOptions) check() error {
	switch {
	case o.form.Size < 0 || o.form.Size > 65_500:
		return usagef("--keep-size %d: give the pixels of the longer side, 1 to 65500, or 0 for the bytes "+
			"as downloaded", o.form.Size)
	case o.form.Quality < 1 || o.form.Quality > 100:
		return usagef("--keep-quality %d: give 1 to 100", o.form.Quality)
	case o.thumbnails < 0 || o.thumbnails > 10_000:
		return usagef("--thumbnails %d: give 0 to 10000", o.thumbnails)
	}
	if err := checkBlurMargin(o.blurMargin); err != nil {
		return err
	}
	_, err := o.filter()
	return err
}

// formIn returns in what form images are kept in the folder, where they are kept in one already unless have
// is nil.
func (o *keepOptions) formIn(have *keep.Form) (keep.Form, error) {
	given := func(name string) bool { return o.flags.Changed(name) }
	if have == nil {
		want := o.form
		if want.Size == 0 {
			want.Quality = 0
		}
		return want, nil
	}
	if given("keep-json") && o.form.JSON != have.JSON || given("keep-size") && o.form.Size != have.Size ||
		given("keep-quality") && o.form.Quality != have.Quality {
		return *have, usagef("images were kept in this folder %s, and stay of one kind there: leave out "+
			"what differs, or name another folder with --keep", formWords(*have))
	}
	return *have, nil
}

// formWords are the flags that gave a folder its form.
func formWords(f keep.Form) string {
	var words []string
	if f.JSON {
		words = append(words, "--keep-json")
	}
	if f.Size > 0 {
		words = append(words, fmt.Sprintf("--keep-size %d --keep-quality %d", f.Size, f.Quality))
	}
	if len(words) == 0 {
		return "without --keep-json and --keep-size"
	}
	return "with " + strings.Join(words, " ")
}

// withoutFaces refuses what cannot be made of images in which no faces are looked for, nor decoded.
func (o *keepOptions) withoutFaces() error {
	for _, f := range []struct {
		name string
		set  bool
	}{{"crops", o.crops != ""}, {"blurred", o.blurred != ""}, {"thumbnails", o.thumbnails > 0}} {
		if f.set {
			return usagef("--%s needs a detector, and --detector none looks for no faces: leave "+
				"one of them out", f.name)
		}
	}
	return nil
}

// checkImages refuses pictures in a folder that is searched for images: they would be rows next time.
func (o *keepOptions) checkImages(t target) error {
	for _, f := range []struct{ name, folder string }{{"crops", o.crops}, {"blurred", o.blurred}} {
		for _, s := range t.sources {
			if f.folder != "" && s.Format == source.Folder && source.Searches(s.Path, realPath(f.folder)) {
				return usagef("--%s %s is in %s, where the next run would take the pictures for images: "+
					"give a folder elsewhere, or one whose name begins with a dot", f.name, f.folder, s.Path)
			}
		}
	}
	return nil
}

// filter reads --keep-where; nil for none.
func (o *keepOptions) filter() (*export.Filter, error) {
	if o.where == "" {
		return nil, nil
	}
	f, err := export.ParseFilter(o.where, export.Options{Detectors: exportDetectors()})
	if err == nil {
		err = keep.CheckWhere(f)
	}
	var bad *export.UsageError
	if errors.As(err, &bad) {
		return nil, usagef("%s", strings.Replace(bad.Text, "--where", "--keep-where", 1))
	}
	return f, err
}

// open is nil when there is nothing to keep, and nothing was kept before. Pictures are for the live page; nil
// without one.
func (o *keepOptions) open(ctx context.Context, job store.Job, d decode.Options, pictures *pipeline.Pictures,
	log *slog.Logger) (*keep.Keeper, error) {
	where, err := o.filter()
	if err != nil {
		return nil, err
	}
	if o.blurred != "" || o.blurFaces && o.thumbnails > 0 {
		log.Warn(blurWarning)
	}
	return keep.Open(ctx, keep.Options{Job: job, Bodies: o.keep, Where: where, Form: o.formIn,
		Results: export.NewObject(exportDetectors()), Crops: o.crops, Margin: keep.CropMargin,
		Blurred: o.blurred, Thumbnails: o.thumbnails, BlurFaces: o.blurFaces, BlurMargin: o.blurMargin,
		Pictures: pictures, Decode: d, Log: log})
}

// fillThumbnails makes the thumbnails that a finished job lacks from kept bytes.
func fillThumbnails(ctx context.Context, job store.Job, keeper *keep.Keeper, log *slog.Logger) error {
	made, lacking, err := keeper.FillThumbnails(ctx)
	if made > 0 {
		log.Info("made thumbnails of rows that were done before, from their kept bytes", "thumbnails", made)
	}
	if err == nil && lacking > 0 {
		log.Info(fmt.Sprintf("%s missing, as the bytes of the images were not kept (--keep): "+
			"to download these again, queue them first, then repeat this run: %s",
			figures.Are(lacking, "thumbnail"), hint.On("rescan", job.Path(), "--all")))
	}
	return err
}
