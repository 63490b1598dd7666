package segment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"facescan/store"
	"facescan/store/draft"
	"facescan/store/hint"
	"facescan/store/sqlite"
)

// knownSetting names the segments whose rows are in the job, as a JSON array.
const knownSetting = store.PublishSetting + "known"

// takingSetting is set while what was published is taken in.
const takingSetting = store.PublishSetting + "taking"

// folderSetting is where the job is published.
const folderSetting = store.PublishSetting + "folder"

// Folder is where a job with these settings was published last; empty if it is not published.
func Folder(settings map[string]string) string {
	if settings[knownSetting] == "" {
		return ""
	}
	return settings[folderSetting]
}

// segmentRows is about how many rows one segment takes; of more changes several are made, one after the
// other.
const segmentRows = 500_000

// startPoll is how often a process looks whether another one has taken the segments in.
const startPoll = 50 * time.Millisecond

// Publisher publishes a job's rows. All fields but Log are required.
type Publisher struct {
	Dir       string
	Job       store.Job // on SQLite, made from lists
	List      string    // base name of the job's first list, without suffixes
	Node      store.Node
	ShardSize int
	Log       *slog.Logger
	// Place returns the absolute path of a source of the job.
	Place func(name string) string
	// Match returns the name that a segment's source has in the job, by the source's absolute path and
	// position; ok is false if it is another list.
	Match func(ctx context.Context, s store.Source) (name string, ok bool, err error)

	mu     sync.Mutex
	lock   *os.File        // held while this process publishes for the job
	known  map[string]bool // segments whose rows are in the job
	others map[string]bool // segments of another list of this name
	number int64           // the highest of segments that were seen
	rows   string          // rowsSetting as it was published last
}

// wrap says what an error is about, and where to make room if there is none.
func (p *Publisher) wrap(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	if full := errors.Is(err, store.ErrFull); full || draft.Full(err) {
		place := p.Dir
		if full { // the disk of the job, on which segments are made
			place = filepath.Dir(p.Job.Path())
		}
		err = fmt.Errorf("%w: make room in %s, then run the same command again; the job itself has all rows",
			err, place)
	}
	return fmt.Errorf("publish to %s: %w", p.Dir, err)
}

// Start takes in what others have published of the part, and begins to note changes. When another process
// publishes for the same job, it waits until that one has done so.
func (p *Publisher) Start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		held, err := p.attach(ctx)
		if err != nil || held {
			return p.wrap(err)
		}
		settings, err := p.Job.Settings(ctx)
		if err != nil || settings[knownSetting] != "" && settings[takingSetting] == "" {
			return err
		}
		select {
		case <-time.After(startPoll):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Publish writes what changed since the last publication, if anything did. It does nothing while another
// process publishes for the same job.
func (p *Publisher) Publish(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	held, err := p.attach(ctx)
	if held && err == nil {
		err = p.publishAll(ctx)
	}
	if held && err == nil {
		err = p.fold(ctx, toFold)
	}
	return p.wrap(err)
}

// Close lets another process publish.
func (p *Publisher) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unlock()
}

func (p *Publisher) unlock() {
	if p.lock != nil {
		_ = os.Remove(p.lock.Name())
		_ = p.lock.Close()
		p.lock = nil
	}
}

// attach makes this the process that publishes for the job; held is false while another one is.
func (p *Publisher) attach(ctx context.Context) (held bool, err error) {
	if p.lock != nil {
		return true, p.checkFolder(ctx)
	}
	lock, err := lockFile(p.Job.Path() + ".publishing")
	if err != nil || lock == nil {
		return false, err
	}
	p.lock = lock
	err = p.begin(ctx)
	return err == nil, err
}

// checkFolder begins again when segments are missing: another process has folded them, or the folder was
// emptied.
func (p *Publisher) checkFolder(ctx context.Context) error {
	files, err := p.list()
	if err != nil || !p.dropMissing(files) {
		return err
	}
	return p.begin(ctx)
}

// dropMissing leaves out known segments that are not among the present ones, and reports whether there were
// any.
func (p *Publisher) dropMissing(present []File) bool {
	before := len(p.known)
	there := map[string]bool{}
	for _, f := range present {
		there[f.Name] = true
	}
	maps.DeleteFunc(p.known, func(name string, _ bool) bool { return !there[name] })
	return len(p.known) < before
}

// lockFile makes a file and locks it; nil while another process has it locked.
func lockFile(name string) (*os.File, error) {
	for {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, draft.FileMode)
		if err != nil {
			return nil, err
		}
		err = draft.Lock(f, unix.LOCK_EX|unix.LOCK_NB)
		if err == unix.EWOULDBLOCK {
			return nil, f.Close()
		}
		have, e := f.Stat()
		if err = errors.Join(err, e); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if now, err := os.Lstat(name); err == nil && os.SameFile(have, now) {
			return f, nil
		}
		_ = f.Close() // removed by its last holder
	}
}

// begin compares the folder with what the job has of it. If it fails, this is not the process that publishes
// any more: the next call begins again, with what the job has.
func (p *Publisher) begin(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			p.unlock()
		}
	}()
	settings, err := p.Job.Settings(ctx)
	if err != nil {
		return err
	}
	var known []string
	begun := settings[knownSetting] != ""
	// damaged: all is taken in, and published, again
	_ = json.Unmarshal([]byte(settings[knownSetting]), &known)
	p.known, p.others = map[string]bool{}, map[string]bool{}
	p.rows = settings[rowsSetting]
	for _, name := range known {
		p.known[name] = true
		f, _ := parse(name)
		p.number = max(p.number, f.number())
	}
	files, err := p.list()
	if err != nil {
		return err
	}
	missing := p.dropMissing(files)
	unseen := slices.ContainsFunc(files, func(f File) bool { return !p.known[f.Name] })
	job := p.job()
	// What the job did on its own so far is new to the folder; what it takes in is not.
	if err := job.NoteChanges(ctx, !begun); err != nil {
		return err
	}
	if !begun || unseen {
		taking := map[string]string{takingSetting: "1", knownSetting: settings[knownSetting]}
		if !begun {
			taking[knownSetting] = "[]"
		}
		if err := p.Job.Set(ctx, taking); err != nil {
			return err
		}
	}
	all := missing && !unseen
	if unseen {
		done, err := p.takeIn(ctx)
		if err != nil {
			return err
		}
		if missing { // folded by another process, or gone
			c, err := p.Job.Counts(ctx)
			if err != nil {
				return err
			}
			all = all || done < c.Done
		}
	}
	if all {
		p.rows = ""
		if err := job.NoteChanges(ctx, true); err != nil {
			return err
		}
	}
	return job.DropChanges(ctx, 0, p.settings(p.known))
}

// job is the job as one that is published.
func (p *Publisher) job() store.Publishable { return p.Job.(store.Publishable) }

// list returns the segments of the part; other lists of its name may be among them.
func (p *Publisher) list() ([]File, error) {
	files, err := listPart(p.Dir, p.List, p.Node)
	p.number = max(p.number, highest(files))
	return files, err
}

// ship puts a finished file into the folder as a segment.
func (p *Publisher) ship(ctx context.Context, from string, f File) error {
	err := ship(ctx, from, p.Dir, f.Name)
	if err == nil {
		p.known[f.Name], p.number = true, f.number()
	}
	return err
}

// settings are those of the job that tell what is published, in these segments.
func (p *Publisher) settings(known map[string]bool) map[string]string {
	names := slices.AppendSeq([]string{}, maps.Keys(known))
	slices.Sort(names)
	dir, err := filepath.Abs(p.Dir)
	if err != nil {
		dir = p.Dir
	}
	return map[string]string{knownSetting: jsonOf(names), rowsSetting: p.rows, takingSetting: "",
		folderSetting: dir}
}

// folder makes a temporary one beside the job.
func (p *Publisher) folder() (*draft.Draft, error) {
	folder, err := draft.CreateFolder(p.Job.Path() + ".segments")
	return folder, local(err)
}

// takeIn takes the rows of all segments into the job, and returns how many of these are done.
func (p *Publisher) takeIn(ctx context.Context) (done int64, err error) {
	folder, err := p.folder()
	if err != nil {
		return 0, err
	}
	defer folder.Discard()
	segments, err := openPart(ctx, p.Dir, p.List, p.Node, folder.Name())
	if err != nil {
		return done, err
	}
	defer closeAll(segments)
	var mine []*opened
	for _, o := range segments {
		is, err := p.isMine(ctx, o)
		if err != nil {
			return done, err
		}
		if is {
			mine = append(mine, o)
		} else {
			p.others[o.file.Name] = true
		}
	}
	if len(mine) == 0 {
		return done, nil
	}
	have, err := p.Job.Sources(ctx)
	if err != nil {
		return done, err
	}
	if len(have) == 0 {
		if err := p.Job.Set(ctx, settingsOf(newest(mine).settings)); err != nil {
			return done, err
		}
	}
	for k, l := range listsOf(mine) {
		name, ok, err := p.Match(ctx, l.Source)
		if err != nil {
			return done, err
		}
		if !ok {
			return done, fmt.Errorf("its segments are of another list that is called %s too (%s): "+
				"publish this one to a folder of its own, with %s", p.List, l.Name,
				hint.Words("--publish", p.Dir+"-2"))
		}
		position, complete := l.Position, false
		if k < len(have) && have[k].Position.Line >= position.Line {
			position, complete = have[k].Position, have[k].Complete
		} else {
			// Written before the position, so that a position without all rows before it never stands alone.
			if err := p.Job.Set(ctx, store.FillLater(k)); err != nil {
				return done, err
			}
		}
		l.Name = name
		if _, err := p.Job.AddSource(ctx, l.Source); err != nil {
			return done, err
		}
		_, n, err := takeLatest(ctx, p.job(), mine, k, position, complete, p.ShardSize, false)
		if err != nil {
			return done, err
		}
		done += n
	}
	for _, o := range mine {
		p.known[o.file.Name] = true
	}
	p.Log.Info("took in what was published of this part", "folder", p.Dir, "segments", len(mine), "rows",
		done)
	return done, nil
}

// isMine reports whether a segment is of the job's first list.
func (p *Publisher) isMine(ctx context.Context, o *opened) (bool, error) {
	if len(o.sources) == 0 {
		return true, nil
	}
	_, ok, err := p.Match(ctx, o.sources[0])
	return ok, err
}

// publishAll writes what changed.
func (p *Publisher) publishAll(ctx context.Context) error {
	for {
		if more, err := p.publish(ctx); !more || err != nil {
			return err
		}
	}
}

// publish writes one segment of what changed, and reports whether there may be more.
func (p *Publisher) publish(ctx context.Context) (more bool, err error) {
	first, last, err := p.job().Changes(ctx, 0, batchRows)
	if err != nil {
		return false, err
	}
	if len(first) == 0 { // but a list may have been read to its end
		rows, err := p.wholeRows(ctx)
		if err != nil || rows == p.rows {
			return false, err
		}
	}
	if _, err := p.list(); err != nil { // for the highest number
		return false, err
	}
	folder, err := p.folder()
	if err != nil {
		return false, err
	}
	defer folder.Discard()
	f := newFile(p.List, p.Node, p.number+1)
	path := filepath.Join(folder.Name(), "segment.db")
	last, rows, more, err := p.write(ctx, path, f, first, last)
	if err != nil {
		return false, err
	}
	if err := p.ship(ctx, path, f); err != nil {
		return false, err
	}
	p.rows = rows
	return more, p.job().DropChanges(ctx, last, p.settings(p.known))
}

// wholeRows is the rowsSetting of the job now.
func (p *Publisher) wholeRows(ctx context.Context) (string, error) {
	sources, err := p.Job.Sources(ctx)
	if err != nil {
		return "", err
	}
	settings, err := p.Job.Settings(ctx)
	if err != nil {
		return "", err
	}
	return wholeRows(sources, settings), nil
}

// wholeRows is the rowsSetting of a job with these sources and settings.
func wholeRows(sources []store.Source, settings map[string]string) string {
	rows := make([]int64, len(sources))
	for k, s := range sources {
		rows[k] = -1
		if s.Complete && !store.MustFill(settings, s) {
			rows[k] = s.Rows
		}
	}
	return jsonOf(rows)
}

// write makes a segment on the local disk, of a first page of changes and the pages after it. It returns the
// last note of these changes, and the rowsSetting that the segment has.
func (p *Publisher) write(ctx context.Context, path string, f File, page []store.MergedRow,
	last int64) (upTo int64, rows string, more bool, err error) {
	out, err := sqlite.Create(ctx, path)
	if err != nil {
		return 0, "", false, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	to := out.(store.Publishable)
	var sources []store.Source
	addSources := func() error {
		if sources, err = p.Job.Sources(ctx); err != nil {
			return err
		}
		for i := range sources {
			sources[i].Name = p.Place(sources[i].Name)
			if _, err := out.AddSource(ctx, sources[i]); err != nil {
				return err
			}
		}
		return nil
	}
	n := 0
	for len(page) > 0 {
		for len(page) > 0 {
			source := store.SourceOf(page[0].ID)
			if source >= len(sources) {
				if err := addSources(); err != nil {
					return 0, "", false, err
				}
			}
			var batch []store.PublishedRow
			for len(page) > 0 && store.SourceOf(page[0].ID) == source {
				batch = append(batch, store.PublishedRow{MergedRow: page[0], Publication: f.Publication})
				page = page[1:]
			}
			if err := to.TakeIn(ctx, source, batch, store.Position{}, false, shardSize); err != nil {
				return 0, "", false, err
			}
			n += len(batch)
		}
		if more = n >= segmentRows; more {
			break
		}
		if page, last, err = p.job().Changes(ctx, last, batchRows); err != nil {
			return 0, "", false, err
		}
	}
	// The lists as they are now: no row above lies behind these positions.
	if err := addSources(); err != nil {
		return 0, "", false, err
	}
	for _, s := range sources {
		if err := to.TakeIn(ctx, s.Number, nil, s.Position, false, shardSize); err != nil {
			return 0, "", false, err
		}
	}
	settings, err := p.Job.Settings(ctx)
	if err != nil {
		return 0, "", false, err
	}
	rows = wholeRows(sources, settings)
	settings = settingsOf(settings)
	settings[store.MergeSetting], settings[rowsSetting] = "done", rows
	if err := out.Set(ctx, settings); err != nil {
		return 0, "", false, err
	}
	return last, rows, more, sqlite.CloseWhole(ctx, out)
}
