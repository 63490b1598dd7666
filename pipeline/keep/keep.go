// Package keep stores files of images besides their results: the bytes as downloaded, crops of the faces,
// pictures with the faces blurred, and thumbnails of a sample.
//
// # Order
//
// A row's files are durable before the row is done: Stage is called for a batch of rows before their
// transaction. They get their names only after it, since a lease may be lost by then, and the row belong to
// another process. If a process dies in between, the next one names its files or removes them, according to
// the results of the rows (stage.go). So a done row has the files that its result lists, made of the same
// image.
//
// # Bytes
//
// They go into tar files that any tar can read: the entry of row 1 is 000/000001.jpg. A process writes its
// own file, in a hidden folder. At a GiB it is sealed: ended, indexed, and given its name, without rows that
// another process completed. Rows that share a download share its bytes, by hard links in the tar. The file
// of a dead process is sealed by the next process, cut back to its last whole entry, and without rows that
// are not done. An index beside each file lists the positions of rows; it can be rebuilt from the file. An
// entry holds the row's id, its URL and a checksum, so that a damaged entry, or one of another list, is not
// used. Only images that a detector processed are kept: a failed row is downloaded again when it is retried.
//
// # Pictures
//
// Each is a file, whose path is a function of the row's id (export.FileOf), written under another name and
// renamed. They are upright, in colour, and without metadata. Crops are not rotated to level the eyes. The
// image is decoded again for them, in colour.
//
// # Folders
//
// A folder belongs to one job. Its hidden subfolder holds the job's token, the locks that show which
// processes are alive, and unfinished files.
package keep

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"io/fs"
	"log/slog"
	"math"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"facescan/pipeline"
	"facescan/pipeline/decode"
	"facescan/pipeline/decode/turbo"
	"facescan/store"
	"facescan/store/draft"
	"facescan/store/export"
	"facescan/store/hint"
)

// Options name what to keep; an empty field keeps nothing.
type Options struct {
	Job store.Job

	Bodies  string         // folder for bytes as downloaded
	Where   *export.Filter // of these, only the results that it lets through; optional
	TarSize int64          // bytes of a tar file, about; 0 is a GiB
	// Form returns in what form images are kept in Bodies, given the form of what is there; nil of a new
	// folder. Without it images are kept as the folder's are, or as downloaded.
	Form func(have *Form) (Form, error)
	// Results write what is kept beside images; they are needed for a Form with JSON.
	Results *export.Object

	Crops  string  // folder for pictures of the faces
	Margin float64 // margin around each crop, as a fraction of the face

	Blurred    string  // folder for pictures with blurred faces
	BlurMargin float64 // that is blurred around each face, as a fraction of it

	Thumbnails int  // how many small pictures, half of images with faces and half of others
	BlurFaces  bool // in them
	// Pictures get some of the latest images with faces; optional.
	Pictures *pipeline.Pictures

	Decode decode.Options
	Log    *slog.Logger
}

// CheckWhere returns an error for a filter on columns that are not known before a row is done.
func CheckWhere(f *export.Filter) error {
	_, _, err := f.SQL(store.SQLite, 1, func(name string) string {
		if export.Early(name) {
			return name
		}
		return ""
	})
	return err
}

// Keeper implements pipeline.Keeper.
type Keeper struct {
	o    Options
	bars [2]atomic.Int64 // of thumbnails of images without faces, with faces: ranks below them are wanted

	bodies, crops, blurred *folder // nil if not kept
	writer                 *writer // of bodies; nil likewise
	archive                archive
	left                   []jobFolder // folders of earlier runs that this one does not write into

	renews sync.Mutex
	noted  bool // this process keeps rows once more
}

var _ pipeline.Keeper = (*Keeper)(nil)

// Open opens the folders of the options for writing, and those of earlier runs of the job for reading. It
// returns nil if there are none.
func Open(ctx context.Context, o Options) (_ *Keeper, err error) {
	k := &Keeper{o: o}
	defer func() {
		if err != nil {
			_ = k.Close() // the first error is returned
		}
	}()
	for _, f := range []struct {
		folder    **folder
		kind, dir string
	}{{&k.bodies, ofBodies, o.Bodies}, {&k.crops, ofCrops, o.Crops}, {&k.blurred, ofBlurred, o.Blurred}} {
		if f.dir == "" {
			continue
		}
		choose := unchanged
		if f.kind == ofBodies && o.Form != nil {
			choose = o.Form
		}
		if *f.folder, err = openFolder(ctx, o.Job, f.kind, f.dir, choose); err != nil {
			return nil, fmt.Errorf("--%s: %w", f.kind, full(err))
		}
	}
	if k.bodies != nil {
		k.writer = newWriter(k.bodies, o.TarSize, k.rescan, k.wanted)
		k.archive.add(k.bodies.dir)
	}
	if err := k.earlier(ctx); err != nil {
		return nil, err
	}
	if o.Thumbnails > 0 {
		for i := range k.bars {
			k.bars[i].Store(math.MaxInt64)
		}
	}
	k.rescan() // of what the dead left, rows that are kept already are left out
	if err := k.TakeOver(); err != nil {
		return nil, err
	}
	if len(k.folders()) == 0 && o.Thumbnails <= 0 && len(k.archive.dirs) == 0 {
		return nil, nil
	}
	return k, nil
}

// unchanged is the form of a folder for which the options request none.
func unchanged(have *Form) (Form, error) {
	if have == nil {
		return Form{}, nil
	}
	return *have, nil
}

// folders are those that this run writes into.
func (k *Keeper) folders() []*folder {
	all := []*folder{k.bodies, k.crops, k.blurred}
	return slices.DeleteFunc(all, func(f *folder) bool { return f == nil })
}

// earlier adds the folders of the job's earlier runs, as far as they exist.
func (k *Keeper) earlier(ctx context.Context) error {
	all, err := foldersOf(ctx, k.o.Job)
	if err != nil {
		return err
	}
	now := map[string]string{}
	for _, f := range k.folders() {
		now[f.kind] = f.dir
	}
	for _, f := range all {
		if f.dir == now[f.kind] {
			continue
		}
		if !f.here {
			if f.kind == ofBodies {
				k.o.Log.Info("the folder of the bytes that an earlier run kept is not here: "+
					"rows are downloaded", "folder", f.dir)
			}
			continue
		}
		k.left = append(k.left, f)
		if f.kind == ofBodies {
			k.archive.add(f.dir)
		}
		if now[f.kind] == "" {
			message := "an earlier run wrote into a folder that this one leaves as it is"
			if form, err := formOf(f.dir); err == nil && form.JSON {
				message += ", with the results beside its images"
			}
			k.o.Log.Info(message + ": to go on there, add " + hint.Words("--"+f.kind, f.dir))
		}
	}
	return nil
}

func (k *Keeper) rescan() {
	if err := k.archive.scan(); err != nil {
		k.o.Log.Warn("cannot see what is kept; rows may be downloaded again", "error", err)
	}
}

// Find implements pipeline.Keeper.
func (k *Keeper) Find(id int64) (size int64, ok bool) {
	if k.writer != nil {
		if e, ok := k.writer.find(id); ok {
			return e.size, true
		}
	}
	for _, p := range k.archive.find(id) {
		size, ok = max(size, p.size), true
	}
	return size, ok
}

// Read implements pipeline.Keeper.
func (k *Keeper) Read(row store.Row) (o pipeline.Original, err error) {
	err = errors.New("nothing is kept of it")
	try := func(b []byte, e error) bool {
		var url string
		if e == nil {
			o, url, e = parse(b)
		}
		if e == nil && url != shown(row.URL) {
			e = errors.New("what is kept is another URL's")
		}
		err = e
		return e == nil
	}
	if k.writer != nil {
		if b, ok, err := k.writer.read(row.ID); ok && try(b, err) {
			return o, nil
		}
	}
	for range 2 { // another process may replace a file after it was found
		for _, p := range k.archive.find(row.ID) {
			if b, err := p.read(); try(b, err) {
				return o, nil
			}
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return pipeline.Original{}, err
}

// Keep implements pipeline.Keeper.
func (k *Keeper) Keep(ctx context.Context, img pipeline.Processed) ([]store.Outputs, error) {
	out := make([]store.Outputs, len(img.Rows))
	bodies, err := k.bodiesOf(img, out)
	if err != nil {
		return nil, full(err)
	}
	if len(bodies) > 0 {
		if s, ok := asItIs(img, k.bodies.form, k.o.Decode); ok {
			if err := k.keepBodies(img, s, bodies, out); err != nil {
				return nil, err
			}
			bodies = nil
		}
	}
	if k.crops != nil && len(img.Result.Faces) == 0 {
		add(out, store.Crops)
	}
	w := k.wantedPictures(img, bodies)
	if w.side == 0 {
		return out, nil
	}
	picture, free, err := k.colour(img, w.side)
	if err != nil || picture == nil {
		return out, err
	}
	defer free()
	if err := k.keepPictures(ctx, img, picture, w, out); err != nil {
		return nil, err
	}
	return out, nil
}

// wantedPictures are the pictures to make of an image.
type wantedPictures struct {
	side   int   // of the decoded picture, at least; 0 if none is needed
	bodies []int // rows of which a smaller JPEG is kept, by their places among the image's
	crops  bool
	sample []store.Row // rows that get a thumbnail
	show   bool        // a thumbnail is shown on the page
}

func (k *Keeper) wantedPictures(img pipeline.Processed, bodies []int) wantedPictures {
	faces := len(img.Result.Faces) > 0
	w := wantedPictures{bodies: bodies, sample: k.sampled(img), crops: k.crops != nil && faces,
		show: k.o.Pictures != nil && faces && k.o.Pictures.Due()}
	if len(bodies) > 0 {
		w.side = k.bodies.form.Size
	}
	if w.show {
		w.side = max(w.side, thumbSide)
	}
	if w.crops || k.blurred != nil || len(w.sample) > 0 {
		w.side = math.MaxInt
	}
	return w
}

// keepPictures makes the pictures that are wanted from the decoded one, which it changes.
func (k *Keeper) keepPictures(ctx context.Context, img pipeline.Processed, picture *image.RGBA,
	w wantedPictures, out []store.Outputs) error {
	if len(w.bodies) > 0 {
		s, err := small(img, picture, k.bodies.form)
		if err == nil {
			err = k.keepBodies(img, s, w.bodies, out)
		}
		if err != nil {
			return err
		}
	}
	size := picture.Rect.Size()
	faces := inSize(img.Result.Faces, img.Result.Width, img.Result.Height, size.X, size.Y)
	if w.crops {
		if err := k.keepCrops(picture, img, faces); err != nil {
			return full(err)
		}
		add(out, store.Crops)
	}
	if len(w.sample) > 0 || w.show {
		b, err := k.smallJPEG(picture, faces)
		if err == nil && w.show {
			k.o.Pictures.Show(img.Rows[0].ID, b)
		}
		if err == nil {
			err = k.keepThumbnails(ctx, b, class(img), w.sample)
		}
		if err != nil {
			return err
		}
	}
	if k.blurred != nil { // last, since it draws
		blur(picture, faces, k.o.BlurMargin)
		b, err := turbo.Encode(picture, blurQuality)
		for i := 0; i < len(img.Rows) && err == nil; i++ {
			err = k.blurred.put(stagedOf(img, i, 0), b)
		}
		if err != nil {
			return full(err)
		}
		add(out, store.Blurred)
	}
	return nil
}

// stagedOf is a file of an image's n-th row.
func stagedOf(img pipeline.Processed, n, face int) staged {
	return staged{id: img.Rows[n].ID, face: face, generation: img.Generations[n],
		time: img.Result.Time.UnixMilli()}
}

func add(out []store.Outputs, o store.Outputs) {
	for i := range out {
		out[i] |= o
	}
}

// bodiesOf returns which of an image's rows are to have its body kept, by their places among them. Those of
// which it is kept already are marked as such.
func (k *Keeper) bodiesOf(img pipeline.Processed, out []store.Outputs) (rows []int, err error) {
	renews := false // the row is in the folder, and its result beside it
	if img.Kept {
		add(out, keptAs(img.MadeOf != nil))
	}
	if k.writer == nil {
		return nil, nil
	}
	if img.Kept {
		here := k.isHere(img.Rows[0].ID)
		renews = here && k.bodies.form.JSON
		if here && !renews || !here && !k.bodies.form.takes(img) {
			return nil, nil
		}
	}
	for i, row := range img.Rows {
		if k.o.Where != nil && !renews {
			res := *img.Result
			res.ID, res.URL = row.ID, row.URL
			if !k.o.Where.Match(res) {
				continue
			}
		}
		rows = append(rows, i)
	}
	if renews {
		err = k.renewing()
	}
	return rows, err
}

// isHere reports whether a row's body is in the folder that this run writes into.
func (k *Keeper) isHere(id int64) bool {
	if _, ok := k.writer.find(id); ok {
		return true
	}
	return slices.ContainsFunc(k.archive.find(id), func(p place) bool {
		return filepath.Dir(p.file.path) == k.bodies.dir
	})
}

// keepBodies keeps a body for some of an image's rows.
func (k *Keeper) keepBodies(img pipeline.Processed, s stored, rows []int, out []store.Outputs) error {
	items := make([]item, len(rows))
	for n, i := range rows {
		out[i] |= keptAs(s.MadeOf != nil)
		row := img.Rows[i]
		items[n] = item{name: export.KeptOf(row.ID, s.Format),
			note: note{ID: row.ID, URL: shown(row.URL), Time: img.Result.Time.UnixMilli()}}
		if k.bodies.form.JSON {
			res := *img.Result
			res.ID, res.URL, s.File = row.ID, row.URL, items[n].name
			items[n].json = k.o.Results.Append(nil, res, s.Picture)
		}
	}
	n := &items[0].note
	n.Status, n.FinalURL, n.MadeOf = s.Status, shown(s.FinalURL), s.MadeOf
	n.CRC32C = crc32.Checksum(s.Body, castagnoli)
	return full(k.writer.add(items, s.Body))
}

// keptAs are the outputs of a row whose body is kept, as downloaded or as a JPEG that was made of it.
func keptAs(made bool) store.Outputs {
	if made {
		return store.KeptBody | store.KeptJPEG
	}
	return store.KeptBody
}

// colour decodes the picture in colour, its longer side at least so long, if it is; nil if that fails
// although the image was processed. It holds memory until free is called.
func (k *Keeper) colour(img pipeline.Processed, side int) (m *image.RGBA, free func(), err error) {
	file, err := decode.Probe(img.Body, k.o.Decode)
	if err == nil {
		if free, err = img.Room(file.ColorMemoryFrom(side)); err != nil {
			return nil, nil, err
		}
		if m, err = file.ColorFrom(side); err == nil {
			return m, free, nil
		}
		free()
	}
	k.o.Log.Warn("an image that was processed cannot be shown: no pictures are made of it",
		"id", img.Rows[0].ID, "error", err)
	return nil, nil, nil
}

func (k *Keeper) keepCrops(m *image.RGBA, img pipeline.Processed, faces []store.Face) error {
	for i, f := range faces {
		face := m.SubImage(around(f, k.o.Margin, m.Rect)).(*image.RGBA)
		b, err := turbo.Encode(face, cropQuality)
		if err != nil {
			return err
		}
		for n := range img.Rows {
			if err := k.crops.put(stagedOf(img, n, i+1), b); err != nil {
				return err
			}
		}
	}
	return nil
}

// Stage implements pipeline.Keeper.
func (k *Keeper) Stage(l store.Lease, results []store.Result) error {
	if k.writer != nil {
		if err := k.writer.sync(); err != nil {
			return full(err)
		}
	}
	return k.galleries(func(p pictures, f *folder) error {
		for i := range results {
			r := &results[i]
			if len(p.surplus(r)) == 0 {
				continue
			}
			mark := staged{id: r.ID, mark: true, generation: l.Generation, time: r.Time.UnixMilli()}
			if err := f.put(mark, nil); err != nil {
				return err
			}
		}
		return f.sync(results)
	})
}

// Done implements pipeline.Keeper.
func (k *Keeper) Done(ctx context.Context, l store.Lease, results []store.Result) error {
	if k.writer != nil {
		if err := k.writer.complete(idsOf(results), true); err != nil {
			return full(err)
		}
	}
	return k.galleries(func(p pictures, f *folder) error {
		for i := range results {
			if err := k.complete(ctx, p, f, &results[i], l.Expires); err != nil {
				return err
			}
		}
		return nil
	})
}

// Drop implements pipeline.Keeper.
func (k *Keeper) Drop(ids []int64) error {
	if k.writer != nil {
		if err := k.writer.complete(ids, false); err != nil {
			return full(err)
		}
	}
	return k.galleries(func(_ pictures, f *folder) error { return f.drop(ids) })
}

func idsOf(results []store.Result) []int64 {
	ids := make([]int64, len(results))
	for i := range results {
		ids[i] = results[i].ID
	}
	return ids
}

// Close seals the open tar files and leaves the folders. Files that wait for a commit of unknown result are
// treated like those of a dead process.
func (k *Keeper) Close() error {
	var errs []error
	if k.writer != nil {
		err := k.writer.close()
		if err == nil {
			err = k.removeOld()
		}
		errs = append(errs, err)
	}
	errs = append(errs, k.galleries(func(p pictures, f *folder) error {
		return p.repair(context.Background(), k.o.Job, f.stage())
	}))
	for _, f := range k.folders() {
		errs = append(errs, f.close())
	}
	return full(errors.Join(errs...))
}

// full turns an error for a full disk into the store's ErrFull.
func full(err error) error {
	if draft.Full(err) {
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	return err
}
