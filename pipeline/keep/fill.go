package keep

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"facescan/pipeline"
	"facescan/store"
)

// FillThumbnails makes thumbnails of rows that are done already, from their kept bytes, as far as the sample
// has room: of a job that was run without, or with fewer. It returns how many it made, and how many the
// sample still lacks, because nothing is kept of the images. It asks for nothing while the sample is full.
func (k *Keeper) FillThumbnails(ctx context.Context) (made, lacking int, err error) {
	counts, err := k.o.Job.Counts(ctx)
	if err != nil || k.o.Thumbnails <= 0 {
		return 0, 0, err
	}
	samples, err := k.o.Job.Samples(ctx)
	if err != nil {
		return 0, 0, err
	}
	have := map[int64]bool{}
	var wanted [2]lowest // of images without faces, with faces
	var there [2]int
	for _, s := range samples {
		have[s.ID] = true
		if s.Faces {
			there[1]++
		} else {
			there[0]++
		}
	}
	for class, all := range []int64{counts.OK - counts.ImagesWithFaces, counts.ImagesWithFaces} {
		wanted[class].n = int(min(int64(k.sampleSize(class)), all))
	}
	if there[0] >= wanted[0].n && there[1] >= wanted[1].n {
		return 0, 0, nil
	}
	all := store.Query{From: math.MinInt64, To: math.MaxInt64, Brief: true}
	for r, err := range k.o.Job.Select(ctx, all) {
		if err != nil {
			return 0, 0, err
		}
		w := &wanted[min(len(r.Faces), 1)]
		at := w.place(r.ID)
		if at >= w.n || !r.FacesKnown() {
			continue
		}
		if _, kept := k.Find(r.ID); kept || have[r.ID] {
			w.insert(at, r.ID)
		}
	}
	for _, w := range wanted {
		lacking += w.n
		for _, id := range w.ids {
			is := have[id]
			if !is {
				if is, err = k.fillThumbnail(ctx, id); err != nil {
					return made, 0, err
				}
				if is {
					made++
				}
			}
			if is {
				lacking--
			}
		}
	}
	return made, lacking, nil
}

// fillThumbnail makes the thumbnail of a row from its kept bytes, if they can be used.
func (k *Keeper) fillThumbnail(ctx context.Context, id int64) (is bool, err error) {
	r, done, err := resultOf(ctx, k.o.Job, id)
	if err != nil || !done || !r.FacesKnown() {
		return false, err
	}
	row := store.Row{ID: id, URL: r.URL}
	o, err := k.Read(row)
	if err != nil {
		k.o.Log.Warn("the bytes that were kept of a row cannot be used: it gets no thumbnail", "id", id,
			"error", err)
		return false, nil
	}
	img := pipeline.Processed{Original: o, Rows: []store.Row{row}, Result: &r, Kept: true,
		Room: func(int64) (func(), error) { return func() {}, nil }}
	m, free, err := k.colour(img, thumbSide)
	if err != nil || m == nil {
		return false, err
	}
	defer free()
	size := m.Rect.Size()
	faces := inSize(r.Faces, r.Width, r.Height, size.X, size.Y)
	b, err := k.smallJPEG(m, faces)
	if err == nil {
		err = k.keepThumbnails(ctx, b, class(img), img.Rows)
	}
	if err != nil {
		return false, fmt.Errorf("thumbnail of row %d: %w", id, err)
	}
	return true, nil
}

// lowest holds the ids of the n rows of lowest rank, in the order of their ranks.
type lowest struct {
	n   int
	ids []int64
}

// place is where a row belongs; at n or beyond it is not among them.
func (l *lowest) place(id int64) int {
	at, _ := slices.BinarySearchFunc(l.ids, id, func(a, b int64) int { return cmp.Compare(rank(a), rank(b)) })
	return at
}

func (l *lowest) insert(at int, id int64) {
	l.ids = slices.Insert(l.ids[:min(len(l.ids), l.n-1)], at, id)
}
