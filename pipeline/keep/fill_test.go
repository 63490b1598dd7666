package keep

import (
	"bytes"
	"cmp"
	"image/color"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"facescan/pipeline"
	"facescan/store"
)

// TestFillFromSmaller makes thumbnails of rows that are done from what is kept of them, bytes and smaller
// pictures: the face that is blurred there is where it is.
func TestFillFromSmaller(t *testing.T) {
	face := store.Face{X: 600, Y: 300, Width: 300, Height: 300, Score: 9}
	for _, form := range []Form{{}, {Size: 400, Quality: 90}} {
		w, dir := newWork(t, 3), t.TempDir()
		k := start(t, inForm(w.job, dir, form))
		body := drawn(t, "jpeg", 1200, 900, face)
		w.keep(k, processed(body, "jpeg", []store.Face{face}, 1))
		w.keep(k, processed(body, "jpeg", nil, 2))
		ok(t, k.Close())
		k = start(t, Options{Job: w.job, Thumbnails: 6, BlurFaces: true})
		made, lacking, err := k.FillThumbnails(t.Context())
		if err != nil || made != 2 || lacking != 0 {
			t.Errorf("%+v: %d made, %d lacking, %v", form, made, lacking, err)
		}
		if made, _, err := k.FillThumbnails(t.Context()); err != nil || made != 0 {
			t.Errorf("%+v: %d made again, %v", form, made, err)
		}
		ok(t, k.Close())
		samples, err := w.job.Samples(t.Context())
		ok(t, err)
		if len(samples) != 2 {
			t.Fatalf("%+v: %d thumbnails", form, len(samples))
		}
		m := picture(t, samples[0].JPEG)
		if x, y := m.Bounds().Dx()*5/8, m.Bounds().Dy()/2; !samples[0].Faces ||
			!near(m, x, y, color.RGBA{255, 0, 0, 255}) {
			t.Errorf("%+v: at %d,%d %v", form, x, y, m.At(x, y))
		}
	}
}

// TestFillSample: of more rows than the sample takes it gets those of lowest rank, of each class half; rows
// of which nothing is kept are lacking, and so are those whose bytes are damaged.
func TestFillSample(t *testing.T) {
	w, dir := newWork(t, 12), t.TempDir()
	k := start(t, Options{Job: w.job, Bodies: dir, TarSize: 1})
	body := drawn(t, "jpeg", 60, 40)
	var without, with []int64 // faces
	for id := int64(1); id <= 8; id++ {
		w.keep(k, processed(body, "jpeg", nil, id))
		without = append(without, id)
	}
	one := []store.Face{{X: 10, Y: 10, Width: 9, Height: 9, Score: 9}}
	w.keep(k, processed(body, "jpeg", one, 9))
	with = append(with, 9)
	ok(t, k.Close())
	k = start(t, Options{Job: w.job, Crops: t.TempDir()}) // of row 10 nothing is kept
	w.keep(k, processed(body, "jpeg", one, 10))
	none := processed(body, "jpeg", nil, 11) // at which no detector looked
	none.Result.Detector = store.NoDetector
	w.keep(k, none)
	ok(t, k.Close())
	byRank := func(a, b int64) int { return cmp.Compare(rank(a), rank(b)) }
	slices.SortFunc(without, byRank)
	sample := func() (ids []int64) {
		samples, err := w.job.Samples(t.Context())
		ok(t, err)
		for _, s := range samples {
			if s.Faces != slices.Contains(with, s.ID) || s.Rank != rank(s.ID) {
				t.Errorf("row %d: faces %v, rank %d", s.ID, s.Faces, s.Rank)
			}
			ids = append(ids, s.ID)
		}
		slices.Sort(ids)
		return ids
	}
	for _, c := range []struct {
		thumbnails    int
		made, lacking int
		without       int
		with          int
	}{{0, 0, 0, 0, 0}, {1, 1, 0, 0, 1}, {2, 1, 0, 1, 1}, {3, 0, 1, 1, 1}, {7, 2, 1, 3, 1}, {7, 0, 1, 3, 1},
		{16, 5, 1, 8, 1}, {16, 0, 1, 8, 1}} {
		k := start(t, Options{Job: w.job, Thumbnails: c.thumbnails})
		made, lacking, err := k.FillThumbnails(t.Context())
		if err != nil || made != c.made || lacking != c.lacking {
			t.Errorf("%d thumbnails: %d made, %d lacking, %v; want %d and %d", c.thumbnails, made, lacking,
				err, c.made, c.lacking)
		}
		want := slices.Sorted(slices.Values(append(slices.Clone(without[:c.without]), with[:c.with]...)))
		if got := sample(); !slices.Equal(got, want) {
			t.Errorf("%d thumbnails are of rows %v, want %v", c.thumbnails, got, want)
		}
		ok(t, k.Close())
	}
}

// TestFillDamaged: a row whose kept bytes are damaged gets no thumbnail, and the log says so.
func TestFillDamaged(t *testing.T) {
	w, dir := newWork(t, 2), t.TempDir()
	k := start(t, Options{Job: w.job, Bodies: dir})
	w.keep(k, processed(drawn(t, "jpeg", 60, 40), "jpeg", nil, 1))
	w.keep(k, processed([]byte("no picture at all"), "jpeg", nil, 2))
	ok(t, k.Close())
	tars, err := filepath.Glob(filepath.Join(dir, "*.tar"))
	ok(t, err)
	b, err := os.ReadFile(tars[0])
	ok(t, err)
	b[bytes.Index(b, []byte("\xff\xd8\xff"))]++
	ok(t, os.WriteFile(tars[0], b, 0o600))
	var text bytes.Buffer
	k = start(t, Options{Job: w.job, Thumbnails: 4, Log: slog.New(slog.NewTextHandler(&text, nil))})
	made, lacking, err := k.FillThumbnails(t.Context())
	if err != nil || made != 0 || lacking != 2 || !strings.Contains(text.String(),
		"the bytes that were kept of a row cannot be used") || !strings.Contains(text.String(),
		"cannot be shown") {
		t.Errorf("%d made, %d lacking, %v; log %s", made, lacking, err, text.String())
	}
	ok(t, k.Close())
}

// TestPictures: some of the latest images with faces are shown on the live page.
func TestPictures(t *testing.T) {
	for _, faces := range []int{1, 0} {
		shows := &pipeline.Pictures{}
		k := start(t, Options{Job: newJob(t), Bodies: t.TempDir(), Pictures: shows})
		img := shot(t, 1000, faces, 7)
		_, err := k.Keep(t.Context(), img)
		ok(t, err)
		b := shows.JPEG(7)
		if (b != nil) != (faces > 0) {
			t.Errorf("%d faces: %d bytes are shown", faces, len(b))
		}
		if b != nil && picture(t, b).Bounds().Dx() != thumbSide {
			t.Errorf("a picture of %v", picture(t, b).Bounds())
		}
		// The next one is not due.
		_, err = k.Keep(t.Context(), shot(t, 400, 1, 8))
		ok(t, err)
		if b := shows.JPEG(8); (b != nil) != (faces == 0) {
			t.Errorf("%d faces before: %d bytes of the next one are shown", faces, len(b))
		}
		samples, err := k.o.Job.Samples(t.Context())
		if err != nil || len(samples) > 0 {
			t.Errorf("%d thumbnails, %v", len(samples), err)
		}
		ok(t, k.Close())
	}
}

// TestEarlierFolders: a run that leaves out a folder of an earlier one says how to go on there; of bytes that
// are gone it says that their rows are downloaded.
func TestEarlierFolders(t *testing.T) {
	const goOn = "an earlier run wrote into a folder that this one leaves as it is"
	w, dir := newWork(t, 1), t.TempDir()
	at := func(kind string) string { return filepath.Join(dir, kind) }
	o := inForm(w.job, at("keep"), Form{JSON: true})
	o.Crops, o.Blurred = at("crops"), at("blurred")
	ok(t, start(t, o).Close())
	ok(t, start(t, Options{Job: w.job, Bodies: at("plain")}).Close())
	said := func(o Options) map[string]bool {
		var text strings.Builder
		o.Job, o.Log = w.job, slog.New(slog.NewTextHandler(&text, nil))
		k, err := Open(t.Context(), o)
		ok(t, err)
		if k != nil {
			ok(t, k.Close())
		}
		lines := map[string]bool{}
		for line := range strings.Lines(text.String()) {
			_, said, _ := strings.Cut(strings.TrimSpace(line), "msg=")
			lines[said] = true
		}
		return lines
	}
	line := func(kind, of, more string) string {
		return `"` + goOn + more + ": to go on there, add --" + kind + " " + at(of) + `"`
	}
	const results = ", with the results beside its images"
	for _, c := range []struct {
		o    Options
		want []string
	}{
		{Options{}, []string{line("keep", "keep", results), line("keep", "plain", ""),
			line("crops", "crops", ""), line("blurred", "blurred", "")}},
		{Options{Crops: at("crops"), Bodies: at("plain")}, []string{line("blurred", "blurred", "")}},
		{Options{Bodies: at("keep"), Crops: at("crops"), Blurred: at("blurred")}, nil},
	} {
		got := slices.Sorted(maps.Keys(said(c.o)))
		slices.Sort(c.want)
		if !slices.Equal(got, c.want) {
			t.Errorf("%+v: said\n%s\nwant\n%s", c.o, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
	ok(t, os.RemoveAll(at("keep")))
	ok(t, os.RemoveAll(at("crops")))
	got := said(Options{Bodies: at("plain"), Blurred: at("blurred")})
	if want := `"the folder of the bytes that an earlier run kept is not here: rows are downloaded" folder=` +
		at("keep"); len(got) != 1 || !got[want] {
		t.Errorf("folders that are gone: %v", slices.Collect(maps.Keys(got)))
	}
}
