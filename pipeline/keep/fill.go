package keep

import (
	"container/heap"
	"context"
	"fmt"
	"math"

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
	var wanted [2]*lowest // of images without faces, with faces
	var there [2]int
	for _, s := range samples {
		have[s.ID] = true
		if s.Faces {
			there[1]++
		} else {
			there[0]++
		}
	}
	with := int(min(counts.ImagesWithFaces, math.MaxInt32))
	without := int(min(counts.OK-counts.ImagesWithFaces, math.MaxInt32))
	for class, all := range []int{without, with} {
		wanted[class] = &lowest{n: min(k.sampleSize(class), all)}
	}
	if there[0] >= wanted[0].n && there[1] >= wanted[1].n {
		return 0, 0, nil
	}
	for r, err := range k.o.Job.Select(ctx, store.Query{From: math.MinInt64, To: math.MaxInt64, Brief: true}) {
		if err != nil {
			return 0, 0, err
		}
		if w := wanted[min(len(r.Faces), 1)]; r.Judged() && w.takes(rank(r.ID)) {
			if _, kept := k.Find(r.ID); kept || have[r.ID] {
				w.add(ranked{rank(r.ID), r.ID})
			}
		}
	}
	for _, w := range wanted {
		for _, c := range w.rows {
			is := have[c.id]
			if !is {
				if is, err = k.fillThumbnail(ctx, c.id); err != nil {
					return made, 0, err
				}
				if is {
					made++
				}
			}
			if is {
				w.n--
			}
		}
		lacking += w.n
	}
	return made, lacking, nil
}

// fillThumbnail makes the thumbnail of a row from its kept bytes, if they can be used.
func (k *Keeper) fillThumbnail(ctx context.Context, id int64) (is bool, err error) {
	r, done, err := resultOf(ctx, k.o.Job, id)
	if err != nil || !done || !r.Judged() {
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

// ranked is a row with its rank in the sample.
type ranked struct{ rank, id int64 }

// lowest holds the n rows of lowest rank, the highest of them first, as a heap.
type lowest struct {
	n    int
	rows []ranked
}

// takes reports whether a row of this rank would be among them.
func (l *lowest) takes(rank int64) bool {
	return l.n > 0 && (len(l.rows) < l.n || rank < l.rows[0].rank)
}

func (l *lowest) add(r ranked) {
	if len(l.rows) == l.n {
		l.rows[0] = r
		heap.Fix(l, 0)
		return
	}
	heap.Push(l, r)
}

func (l *lowest) Len() int           { return len(l.rows) }
func (l *lowest) Less(i, j int) bool { return l.rows[i].rank > l.rows[j].rank }
func (l *lowest) Swap(i, j int)      { l.rows[i], l.rows[j] = l.rows[j], l.rows[i] }
func (l *lowest) Push(r any)         { l.rows = append(l.rows, r.(ranked)) }
func (l *lowest) Pop() any {
	last := l.rows[len(l.rows)-1]
	l.rows = l.rows[:len(l.rows)-1]
	return last
}
