package keep

import (
	"bytes"
	"context"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"facescan/pipeline"
	"facescan/store"
	"facescan/store/export"
)

// work is a job with rows, and a lease of all of them.
type work struct {
	testing.TB
	job     store.Job
	session store.Session
	lease   store.Lease
}

func newWork(t testing.TB, rows int64) *work {
	t.Helper()
	ctx := context.Background()
	w := &work{TB: t, job: newJob(t)}
	var err error
	w.session, err = w.job.Join(ctx, pipeline.Self(), time.Minute)
	ok(t, err)
	t.Cleanup(func() { ok(t, w.session.Leave(ctx)) })
	source, err := w.job.AddSource(ctx, store.Source{Name: "list", Format: "txt", Options: "{}"})
	ok(t, err)
	l, err := w.session.LeaseSource(ctx, source.Number)
	ok(t, err)
	var list []store.NewRow
	for id := int64(1); id <= rows; id++ {
		list = append(list, store.NewRow{ID: id, URL: row(id).URL})
	}
	ok(t, w.session.Append(ctx, l, list, store.Position{}, true, int(rows)))
	w.lease, err = w.session.Claim(ctx, int(rows))
	ok(t, err)
	return w
}

func (w *work) commit(results []store.Result) {
	w.Helper()
	ok(w, w.session.Commit(context.Background(), w.lease, results))
}

// keep keeps an image up to the end.
func (w *work) keep(k *Keeper, img pipeline.Processed) {
	w.Helper()
	out, err := k.Keep(context.Background(), img)
	ok(w, err)
	ok(w, k.Stage(w.lease, resultsOf(img, out)))
	w.commit(resultsOf(img, out))
	ok(w, k.Done(context.Background(), w.lease, resultsOf(img, out)))
}

// all opens a keeper that keeps everything below a folder.
func (w *work) all(dir string) *Keeper {
	return start(w, Options{Job: w.job, Bodies: filepath.Join(dir, "kept"),
		Crops: filepath.Join(dir, "crops"), Blurred: filepath.Join(dir, "blurred")})
}

// check holds the folders below dir, which have no writer any more, to the job's results: of each row that is
// done the files of the picture of that width, each once; of others none.
func (w *work) check(dir string, want map[int64]int) {
	w.Helper()
	crops, blurred, kept := files(w, filepath.Join(dir, "crops")), files(w, filepath.Join(dir, "blurred")),
		members(w, filepath.Join(dir, "kept"))
	for r, err := range w.job.Results(context.Background(), 0, 1<<40) {
		ok(w, err)
		for face := range r.Faces {
			name := export.CropOf(r.ID, face+1)
			if b, there := crops[name]; !there || picture(w, b).Bounds().Dx() != want[r.ID]/10 {
				w.Errorf("row %d: crop %s is there: %v, or another picture's", r.ID, name, there)
			}
			delete(crops, name)
		}
		if b, there := blurred[export.BlurredOf(r.ID)]; r.Outputs&store.Blurred != 0 &&
			(!there || picture(w, b).Bounds().Dx() != want[r.ID]) {
			w.Errorf("row %d: the blurred picture is there: %v, or another's", r.ID, there)
		} else if there {
			delete(blurred, export.BlurredOf(r.ID))
		}
		if b, there := kept[export.KeptOf(r.ID, "png")]; r.Outputs&store.KeptBody != 0 &&
			(!there || picturePNG(w, b) != want[r.ID]) {
			w.Errorf("row %d: the body is there: %v, or another's", r.ID, there)
		}
		delete(want, r.ID)
	}
	if len(want)+len(crops)+len(blurred) > 0 {
		w.Errorf("rows %v are not done; there are also crops %v and pictures %v", want,
			slices.Collect(maps.Keys(crops)), slices.Collect(maps.Keys(blurred)))
	}
	for _, folder := range []string{"kept", "crops", "blurred"} {
		if left := leftOver(w, filepath.Join(dir, folder)); len(left) > 0 {
			w.Errorf("left over in %s: %v", folder, left)
		}
	}
}

func picturePNG(t testing.TB, body string) int {
	img := processed([]byte(body), "png", nil, 1)
	return img.Result.Width
}

// shot is a picture of that width with as many faces, each a tenth of it, of these rows.
func shot(t testing.TB, width, faces int, ids ...int64) pipeline.Processed {
	var boxes []store.Face
	for i := range faces {
		boxes = append(boxes, store.Face{X: i * width / 5, Y: 10, Width: width / 10, Height: width / 10,
			Score: 9})
	}
	img := processed(drawn(t, "png", width, 100, boxes...), "png", boxes, ids...)
	img.Result.HTTPStatus, img.Result.Attempts = 200, 1
	return img
}

// TestKilledAtEachPoint has a process die between any two steps: then there is of a row that is done what its
// result says, and nothing of one that is not.
func TestKilledAtEachPoint(t *testing.T) {
	const before, staged, committed, renamed, through = 0, 1, 2, 3, 4
	for point := before; point <= through; point++ {
		for _, again := range []bool{false, true} { // with files of an earlier verdict in the way
			w, dir := newWork(t, 3), t.TempDir()
			k := w.all(dir)
			keep := func(img pipeline.Processed, point int) {
				out, err := k.Keep(t.Context(), img)
				ok(t, err)
				results := resultsOf(img, out)
				if point >= staged {
					ok(t, k.Stage(w.lease, results))
				}
				if point >= committed {
					w.commit(results)
				}
				if point == renamed { // but not all
					p, waiting := picturesOf(ofCrops, k.crops.dir), k.crops.staged[results[0].ID]
					if len(waiting) < 2 {
						t.Fatalf("%d files wait", len(waiting))
					}
					ok(t, p.place(k.crops.stage(), &results[0], waiting[:1]))
				}
				if point == through {
					ok(t, k.Done(t.Context(), w.lease, results))
				}
			}
			done := point >= committed
			if again {
				keep(shot(t, 300, 4, 1, 2), through)
				_, err := w.job.Retry(t.Context(), store.Selection{OK: true})
				ok(t, err)
			}
			keep(shot(t, 500, 2, 1, 2), point)

			to := t.TempDir()
			for _, folder := range []string{"kept", "crops", "blurred"} {
				ok(t, os.CopyFS(filepath.Join(to, folder), os.DirFS(filepath.Join(dir, folder))))
			}
			successor := w.all(to)
			if _, found := successor.Find(1); found != done {
				t.Errorf("point %d: what was kept of a row is found: %v", point, found)
			}
			ok(t, successor.Close())
			want := map[int64]int{}
			if done {
				want[1], want[2] = 500, 500
			}
			if !again || done {
				w.check(to, want)
			}
			ok(t, k.Close())
			if t.Failed() {
				t.Fatalf("killed at point %d, with files in the way: %v", point, again)
			}
		}
	}
}

// TestStoppedPastItsLease has a process stopped while another does its row: in any case the files are the
// other's, each once.
func TestStoppedPastItsLease(t *testing.T) {
	for _, how := range []string{"goes on", "is killed", "ends with an error"} {
		t.Run(how, func(t *testing.T) {
			w, dir := newWork(t, 4), t.TempDir()
			a := w.all(dir)
			images := []pipeline.Processed{shot(t, 300, 3, 1, 2), shot(t, 300, 0, 3)}
			var results []store.Result
			for _, img := range images {
				out, err := a.Keep(t.Context(), img)
				ok(t, err)
				results = append(results, resultsOf(img, out)...)
			}
			ok(t, a.Stage(w.lease, results))

			b := w.all(dir)
			img := shot(t, 500, 2, 1)
			w.keep(b, img)

			want := map[int64]int{1: 500}
			switch how {
			case "goes on": // and its commit is refused; the other process fetches the rest as well
				ok(t, a.Drop(idsOf(results)))
				ok(t, a.Close())
				for _, img := range []pipeline.Processed{shot(t, 500, 1, 2), shot(t, 500, 1, 3)} {
					w.keep(b, img)
					want[img.Rows[0].ID] = 500
				}
			case "is killed":
				ok(t, a.bodies.lock.Close())
				ok(t, a.crops.lock.Close())
				ok(t, a.blurred.lock.Close())
			default:
				ok(t, a.Close())
			}
			ok(t, b.Close())
			ok(t, w.all(dir).Close())
			w.check(dir, want)
		})
	}
}

// TestLateDone: a process that was stopped between a commit and its files' names looks before it gives them.
func TestLateDone(t *testing.T) {
	w, dir := newWork(t, 2), t.TempDir()
	k := w.all(dir)
	late := w.lease
	late.Expires = time.Now().Add(-time.Second)
	var all []store.Result
	for id := int64(1); id <= 2; id++ {
		img := shot(t, 300, 2, id)
		out, err := k.Keep(t.Context(), img)
		ok(t, err)
		all = append(all, resultsOf(img, out)...)
	}
	ok(t, k.Stage(w.lease, all))
	w.commit(all[:1])
	other := all[1]
	other.Time, other.Outputs, other.Faces = now(), 0, nil
	w.commit([]store.Result{other})
	ok(t, k.Done(t.Context(), late, all))
	ok(t, k.Close())
	w.check(dir, map[int64]int{1: 300, 2: 0})
}

// TestMark: what an earlier verdict left is removed even if the process dies as soon as the new one is
// committed.
func TestMark(t *testing.T) {
	w, dir := newWork(t, 1), t.TempDir()
	k := w.all(dir)
	w.keep(k, shot(t, 300, 3, 1))
	_, err := w.job.Retry(t.Context(), store.Selection{OK: true})
	ok(t, err)
	failed := []store.Result{{ID: 1, URL: row(1).URL, Status: store.Failed, Reason: store.HTTP4xx,
		HTTPStatus: 404, Attempts: 1, Time: now()}}
	ok(t, k.Stage(w.lease, failed))
	if n := len(files(t, filepath.Join(dir, "crops"))); n != 3 {
		t.Errorf("%d crops before the commit", n)
	}
	w.commit(failed)
	for _, f := range []*folder{k.bodies, k.crops, k.blurred} { // as when it is killed
		ok(t, f.lock.Close())
	}
	ok(t, w.all(dir).Close())
	if crops, blurred := files(t, filepath.Join(dir, "crops")),
		files(t, filepath.Join(dir, "blurred")); len(crops)+len(blurred) > 0 {
		t.Errorf("%d crops and %d pictures of a row that failed", len(crops), len(blurred))
	}
	k.writer.drop(k.writer.parts[0])
}

// TestWithoutFlags: a run that keeps nothing finishes what one that died had begun.
func TestWithoutFlags(t *testing.T) {
	w, dir := newWork(t, 1), t.TempDir()
	k := w.all(dir)
	img := shot(t, 300, 2, 1)
	out, err := k.Keep(t.Context(), img)
	ok(t, err)
	ok(t, k.Stage(w.lease, resultsOf(img, out)))
	w.commit(resultsOf(img, out))
	for _, f := range []*folder{k.bodies, k.crops, k.blurred} {
		ok(t, f.lock.Close())
	}
	ok(t, start(t, Options{Job: w.job}).Close())
	w.check(dir, map[int64]int{1: 300})
	k.writer.drop(k.writer.parts[0])
}

// TestSealedWhenDecided: a tar file has its name once each of its rows is done, or left out.
func TestSealedWhenDecided(t *testing.T) {
	dir, job := t.TempDir(), newJob(t)
	k := start(t, Options{Job: job, Bodies: dir, TarSize: 4_000})
	var all []store.Result
	want := map[string]string{}
	for id := int64(1); id <= 30; id += 3 {
		body := bytes.Repeat([]byte{byte(id)}, 1000)
		img := processed(body, "jpeg", nil, id, id+1, id+2)
		for i := range img.Rows {
			img.Rows[i].URL = row(id).URL
		}
		out, err := k.Keep(t.Context(), img)
		ok(t, err)
		all = append(all, resultsOf(img, out)...)
		for i := id; i < id+3; i++ {
			if i%5 != 1 && i != 7 && i != 8 && i != 9 {
				want[export.KeptOf(i, "jpeg")] = string(body)
			}
		}
	}
	if n := len(members(t, dir)); n != 0 {
		t.Errorf("%d rows are in tar files before they are done", n)
	}
	if n := len(k.writer.parts); n < 3 {
		t.Errorf("%d parts", n)
	}
	for i, r := range all {
		if want[export.KeptOf(r.ID, "jpeg")] == "" {
			ok(t, k.Drop([]int64{r.ID}))
			if _, found := k.Find(r.ID); found {
				t.Errorf("row %d is found after it was dropped", r.ID)
			}
		} else {
			ok(t, k.Done(t.Context(), lease(), all[i:i+1]))
		}
	}
	ok(t, k.Close())
	if got := members(t, dir); !maps.Equal(got, want) {
		t.Errorf("%d members, want %d", len(got), len(want))
	}
	again := start(t, Options{Job: job, Bodies: dir})
	defer again.Close()
	for id := int64(1); id <= 30; id++ {
		o, err := again.Read(store.Row{ID: id, URL: row(id - (id-1)%3).URL})
		if wanted := want[export.KeptOf(id, "jpeg")]; (err == nil) != (wanted != "") || err == nil &&
			string(o.Body) != wanted {
			t.Errorf("row %d: %d bytes, %v", id, len(o.Body), err)
		} else if err == nil && (o.Status != 200 || o.FinalURL != "http://elsewhere/x") {
			t.Errorf("row %d: %d %s", id, o.Status, o.FinalURL)
		}
	}
	// Kept, dropped, and kept again by the same process.
	img := processed([]byte("once more"), "jpeg", nil, 100)
	_, err := again.Keep(t.Context(), img)
	ok(t, err)
	ok(t, again.Drop([]int64{100}))
	again.keep(t, img)
	ok(t, again.Close())
	if got := members(t, dir)[export.KeptOf(100, "jpeg")]; got != "once more" {
		t.Errorf("a row that was kept once more: %q", got)
	}
}

// TestStagedNames are read as what they were made of.
func TestStagedNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]staged{
		"198-29-399-1700000000999": {id: 198, face: 29, generation: 399, time: 1_700_000_000_999},
		"-5-0-2-3":                 {id: -5, generation: 2, time: 3},
		"5-mark-2-3":               {id: 5, mark: true, generation: 2, time: 3},
		"-5-mark-0-0":              {id: -5, mark: true},
	} {
		if got, ok := parseStaged(name); !ok || got != want || got.name() != name {
			t.Errorf("%s: %+v, %v, in turn %s", name, got, ok, got.name())
		}
	}
	for _, name := range []string{"", "1-2-3", "1-2-3-4-5", "x-2-3-4", "1-x-3-4", "1-2-x-4", "1-2-3-x",
		"--1-2-3-4"} {
		if got, ok := parseStaged(name); ok {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestRescannedBeforeItDied: the bytes of a row that was rescanned stay, although its result is another one
// than they were kept for; so do those without a time. Those that another process has kept too, go.
func TestRescannedBeforeItDied(t *testing.T) {
	for name, c := range map[string]struct {
		time     int64 // of the entry; 0 for none, 1 for that of the result, 2 for another
		attempts int   // of the result
		kept     bool  // by the result
		sealed   bool  // there is another entry
		want     bool
	}{
		"its own":                    {1, 1, true, false, true},
		"its own, kept twice":        {1, 1, true, true, true},
		"another process's":          {2, 1, true, false, false},
		"rescanned":                  {2, 0, true, false, true},
		"rescanned, kept elsewhere":  {2, 0, true, true, false},
		"without a time":             {0, 1, true, false, true},
		"without a time, kept twice": {0, 1, true, true, false},
		"of a result without bytes":  {1, 1, false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			w, dir := newWork(t, 1), t.TempDir()
			o := Options{Job: w.job, Bodies: dir}
			img := processed([]byte("bytes"), "jpeg", nil, 1)
			if c.sealed {
				k := start(t, o)
				w.keep(k, img)
				ok(t, k.Close())
				_, err := w.job.Retry(t.Context(), store.Selection{OK: true})
				ok(t, err)
			}
			k := start(t, o)
			entry := item{name: export.KeptOf(1, "jpeg"), note: note{ID: 1, URL: shown(row(1).URL),
				CRC32C: crc32.Checksum(img.Body, castagnoli)}}
			img.Result.Time, img.Result.Attempts = now(), c.attempts
			switch c.time {
			case 1:
				entry.note.Time = img.Result.Time.UnixMilli()
			case 2:
				entry.note.Time = img.Result.Time.UnixMilli() - 1000
			}
			ok(t, k.writer.add([]item{entry}, img.Body))
			ok(t, k.writer.sync())
			out := store.Outputs(0)
			if c.kept {
				out = store.KeptBody
			}
			w.commit(resultsOf(img, []store.Outputs{out}))
			ok(t, k.bodies.lock.Close()) // as when it is killed
			k.writer.drop(k.writer.parts[0])
			ok(t, start(t, o).Close())
			tars, err := filepath.Glob(filepath.Join(dir, "*.tar"))
			ok(t, err)
			if got := len(tars) > map[bool]int{true: 1, false: 0}[c.sealed]; got != c.want {
				t.Errorf("kept %v, want %v: %v", got, c.want, tars)
			}
		})
	}
}

func FuzzStaged(f *testing.F) {
	for _, s := range []string{"1-1-2-3", "-5-mark-2-3", "1-0-0-0", "1-x-2-3", "1",
		"99999999999999999999-1-1-1", "--1-1-1-1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if s, ok := parseStaged(name); ok {
			if again, ok := parseStaged(s.name()); !ok || again != s {
				t.Errorf("%q reads as %+v, and that as %+v", name, s, again)
			}
		}
	})
}
