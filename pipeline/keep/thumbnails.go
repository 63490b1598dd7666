package keep

import (
	"context"
	"errors"
	"image"

	"facescan/pipeline"
	"facescan/pipeline/decode/turbo"
	"facescan/store"
)

// rank is the row's rank in the sample of thumbnails: a hash of its id (the finalizer of SplitMix64), so that
// every process draws the same sample.
func rank(id int64) int64 {
	x := uint64(id) + 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return int64((x ^ x>>31) >> 1)
}

// sampled returns the rows that belong among the thumbnails, as far as this process knows.
func (k *Keeper) sampled(img pipeline.Processed) (rows []store.Row) {
	if k.o.Thumbnails <= 0 {
		return nil
	}
	for _, row := range img.Rows {
		if rank(row.ID) < k.bars[class(img)].Load() {
			rows = append(rows, row)
		}
	}
	return rows
}

// sampleSize is how many thumbnails there are of images without faces, or with faces, at most.
func (k *Keeper) sampleSize(class int) int {
	if class == 1 {
		return k.o.Thumbnails - k.o.Thumbnails/2
	}
	return k.o.Thumbnails / 2
}

func class(img pipeline.Processed) int { return min(len(img.Result.Faces), 1) }

// smallJPEG is a thumbnail of a picture; the faces are those in it.
func (k *Keeper) smallJPEG(m *image.RGBA, faces []store.Face) ([]byte, error) {
	small := thumbnail(m)
	if k.o.BlurFaces {
		if small == m { // the original may still be needed
			small = image.NewRGBA(m.Rect)
			copy(small.Pix, m.Pix)
		}
		blur(small, scaled(faces, m.Rect.Dx(), m.Rect.Dy(), small.Rect.Dx(), small.Rect.Dy()), k.o.BlurMargin)
	}
	return turbo.Encode(small, thumbQuality)
}

// keepThumbnails puts a thumbnail into the sample, of one class.
func (k *Keeper) keepThumbnails(ctx context.Context, jpeg []byte, class int, rows []store.Row) error {
	for _, row := range rows {
		bar, err := k.o.Job.Sample(ctx, store.Thumbnail{ID: row.ID, Faces: class == 1, Rank: rank(row.ID),
			JPEG: jpeg}, k.sampleSize(class))
		if err != nil {
			return err
		}
		k.bars[class].Store(bar)
	}
	return nil
}

// galleries calls do for each folder of pictures that this run writes into, also after an error of another.
func (k *Keeper) galleries(do func(p pictures, f *folder) error) error {
	var errs []error
	for _, f := range k.folders() {
		if f.kind != ofBodies {
			errs = append(errs, do(picturesOf(f.kind, f.dir), f))
		}
	}
	return full(errors.Join(errs...))
}
