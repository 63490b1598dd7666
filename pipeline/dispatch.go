package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"facescan/pipeline/fetch"
	"facescan/pipeline/fetch/host"
	"facescan/store"
	"facescan/store/figures"
	"facescan/store/hint"
)

const (
	pageRows   = 512                    // pending rows read from a shard at a time
	minRows    = 16                     // claimed at once, however few fetchers there are
	claimSpan  = 500 * time.Millisecond // a claim takes this much work: a list that joins is soon begun
	aheadSpan  = 250 * time.Millisecond // of work is queued before more is claimed
	busySpan   = time.Second            // of work waits for the processors likewise; towards the end less
	stuckAfter = 20 * time.Second       // of rows that nobody holds or can claim: no process is just late
	idlePoll   = 200 * time.Millisecond // how often a process without work looks for some
	roomPoll   = 10 * time.Millisecond  // how often one with enough looks whether it still has
	shareEvery = time.Second            // how often one counts what is left for the others
)

// dispatcher is the stage that claims shards and puts their rows into the queue.
type dispatcher struct {
	store interface {
		ClaimAll(ctx context.Context, maxRows int) ([]store.Lease, error)
		Pending(ctx context.Context, l store.Lease, after int64, limit int) ([]store.Row, error)
		PendingAll(ctx context.Context, ls []store.Lease) ([][]store.Row, error)
		Suspects(ctx context.Context) (map[int64]int, error)
		Takeovers() int64
	}
	job interface {
		Counts(ctx context.Context) (store.Counts, error)
		Sources(ctx context.Context) ([]store.Source, error)
		Path() string
	}
	queue interface {
		AddAll(ctx context.Context, rows []host.Row[*task]) (int, error)
		Waiting() int
		Starved() bool
		Close()
	}
	kept      chan<- *task // rows to read instead of fetching them
	complete  completed
	leases    *leases
	bodies    *bodyPool
	keeper    Keeper    // optional
	files     *fileRows // optional
	repeats   *repeats
	life      *lifecycle
	limits    *limits
	importing *importStage
	stats     *Stats
	activity  *activity
	log       *slog.Logger

	hold      func() bool                           // true while no row is to be begun; optional
	resume    func(context.Context) (string, error) // the command that goes on with the import
	inFlight  func() int                            // rows from the start of their fetch to their commit
	fetched   func() int                            // of them, those that are fetched
	fetchers  int
	workers   int
	shardSize int
	maxRows   int64         // 0 = no limit
	tailGrace time.Duration // 0 = no limit

	handed    int64
	began     time.Time
	tail      time.Time // since when only rows in flight are left
	takeovers int64
	suspects  map[int64]int
	left      int       // rows for each process
	shared    time.Time // when that was found out
	counted   time.Time // when noShard counted the job's rows
	paused    int64     // rows in paused lists, as was last logged
	stuck     time.Time // since when, without a claim between, rows are pending that nobody holds
}

// run claims and hands out until the job is finished, a limit is reached or the run drains. It returns when
// its rows are completed, or may be given up by others.
func (d *dispatcher) run() error {
	defer d.queue.Close()
	defer close(d.kept)
	draining := d.life.draining
	d.began = time.Now()
	d.takeovers, d.shared = -1, d.began // processes that begin together shall have joined
	for {
		d.waitForRoom()
		if draining.Err() != nil {
			return nil
		}
		d.activity.claiming.Store(true)
		ls, err := d.store.ClaimAll(draining, d.claimRows())
		d.activity.claiming.Store(false)
		switch {
		case err == nil:
			d.tail, d.stuck = time.Time{}, time.Time{}
			d.activity.idle.Store(false)
			d.log.Debug("claimed", "shards", len(ls), "rows", pendingIn(ls))
		case draining.Err() != nil:
			return nil
		case errors.Is(err, store.ErrNoShard):
			d.activity.idle.Store(true)
			finished, err := d.noShard()
			if err != nil || finished {
				return err
			}
			continue
		default:
			return fmt.Errorf("claim a shard: %w", err)
		}
		var all []*leaseHandle
		for _, l := range ls {
			all = append(all, d.leases.hold(d.life.fetching, l))
		}
		err = d.hand(all)
		if e := d.leases.finish(context.WithoutCancel(draining), all); e != nil && err == nil {
			err = fmt.Errorf("release a shard: %w", e)
		}
		if err != nil {
			return err
		}
		if d.maxRows > 0 && d.handed >= d.maxRows {
			d.await()
			return nil
		}
	}
}

// waitForRoom waits until the rows that are queued will not last for long, so that this process does not
// hoard what another could do. Rows that are fetched and wait for a processor count as queued: however many
// more are fetched, they are not done sooner. Rows that wait for slow hosts are not work: when no other may
// be fetched more is wanted, up to this process's share of what is left, since the others have no row of a
// host that all wait for otherwise.
func (d *dispatcher) waitForRoom() {
	for d.hold != nil && d.hold() || d.busy() || d.enough() {
		if sleep(d.life.draining, roomPoll) != nil {
			return
		}
	}
}

// enough reports whether enough rows wait for a fetch.
func (d *dispatcher) enough() bool {
	ahead := max(d.fetchers/2, minRows/2, int(d.stats.Rate()*aheadSpan.Seconds()))
	waiting := d.queue.Waiting()
	return waiting > ahead && !(d.queue.Starved() && waiting+d.inFlight() < d.share())
}

// busy reports whether the processors have enough to do until rows that are claimed now are fetched. Towards
// the end of a job that is half of what this process still has to do: the other processes may be faster.
func (d *dispatcher) busy() bool {
	held := d.queue.Waiting() + d.inFlight()
	if d.stats.Rate() == 0 && time.Since(d.began) < shareEvery { // how fast they are is not known
		return held >= max(minRows, d.fetchers/4)
	}
	if d.fetched() <= 2*d.workers {
		return false
	}
	span := busySpan + d.stats.Fetching.mean()
	return held > int(d.stats.Rate()*span.Seconds()) || held > d.share()/2
}

// share is how many of the rows that are left each process has to do, as of a moment ago.
func (d *dispatcher) share() int {
	if time.Since(d.shared) > shareEvery {
		d.shared = time.Now()
		if c, err := d.job.Counts(d.life.draining); err == nil { // else a claim tells what is wrong
			d.left = int(c.Pending) / max(1, len(c.Owners))
		}
	}
	return d.left
}

// claimRows is how many rows to claim: about claimSpan of work at the present rate, so that a process which
// joins late finds something to do, and a fast one does not claim all the time. Where the processors have
// nothing to do each fetcher wants a row.
func (d *dispatcher) claimRows() int {
	rate, least := d.stats.Rate(), minRows
	switch {
	case rate == 0:
		least = max(least, d.fetchers/4)
	case d.fetched() < d.workers:
		least = max(least, d.fetchers)
	}
	return min(max(int(rate*claimSpan.Seconds()), least), d.shardSize)
}

// hand hands out the pending rows of some shards. It stops early when the run drains, or maxRows is reached;
// what it did not hand out stays pending.
func (d *dispatcher) hand(all []*leaseHandle) error {
	if err := d.lookForSuspects(); err != nil {
		return err
	}
	if d.keeper != nil {
		if err := d.keeper.TakeOver(); err != nil {
			return fmt.Errorf("take over what dead processes kept: %w", err)
		}
	}
	for len(all) > 0 {
		n, rows := 0, int64(0)
		for n < len(all) && rows+all[n].now().Pending <= pageRows {
			rows += all[n].now().Pending
			n++
		}
		n = max(1, n)
		hand := d.handAtOnce
		if n == 1 {
			hand = d.handByPage
		}
		if on, err := hand(all[:n]); !on || err != nil {
			return err
		}
		all = all[n:]
	}
	return nil
}

// handAtOnce hands out the rows of small shards, and reports whether there may be more.
func (d *dispatcher) handAtOnce(all []*leaseHandle) (more bool, err error) {
	ls := make([]store.Lease, len(all))
	for i, h := range all {
		ls[i] = h.now()
	}
	d.activity.claiming.Store(true)
	pages, err := d.store.PendingAll(d.life.fetching, ls)
	d.activity.claiming.Store(false)
	if d.life.fetching.Err() != nil {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the rows of %d shards: %w", len(ls), err)
	}
	for i, h := range all {
		if more, err := d.handRows(h, pages[i]); !more || err != nil {
			return false, err
		}
	}
	return true, nil
}

// handByPage hands out the rows of one shard of any size, likewise.
func (d *dispatcher) handByPage(one []*leaseHandle) (more bool, err error) {
	h := one[0]
	l := h.now()
	for after := l.Lo - 1; ; {
		d.activity.claiming.Store(true)
		rows, err := d.store.Pending(h.ctx, l, after, pageRows)
		d.activity.claiming.Store(false)
		if h.ctx.Err() != nil || errors.Is(err, store.ErrLeaseLost) {
			return true, nil
		}
		if err != nil {
			return false, fmt.Errorf("read the rows of a shard: %w", err)
		}
		if more, err := d.handRows(h, rows); !more || err != nil {
			return false, err
		}
		if len(rows) < pageRows {
			return true, nil
		}
		after = rows[len(rows)-1].ID
	}
}

// handRows hands out rows of a shard, as long as its lease holds, and reports whether more are wanted. Those
// to be downloaded go into the queue together, so that equal URLs among them share a request.
func (d *dispatcher) handRows(h *leaseHandle, rows []store.Row) (more bool, err error) {
	files, err := d.files.of(h.ctx, h.now().Source, rows)
	switch {
	case h.ctx.Err() != nil:
		return true, nil
	case err != nil:
		return false, fmt.Errorf("read the files of rows: %w", err)
	}
	more = true
	var wanted []host.Row[*task] // to be downloaded
	var kept []*task
	for _, row := range rows {
		if more = d.maxRows == 0 || d.handed < d.maxRows; !more || h.ctx.Err() != nil {
			break
		}
		t := &task{row: row, lease: h, suspect: d.suspects[row.ID], memory: reservation{b: d.bodies},
			file: files[row.ID]}
		if t.file == nil { // a file may change again and again
			if err = d.repeats.check(row); err != nil {
				break
			}
		}
		h.handOut()
		d.handed++
		switch {
		case t.suspect >= 2:
			// Two processes ended uncleanly with it in their decoder: a third will not.
			d.complete.complete(t, &store.Result{Status: store.Failed, Reason: store.BadImage}, false)
			d.stats.Dispatched.Add(1)
		case t.file == nil && finds(d.keeper, row.ID):
			kept = append(kept, t)
		default:
			wanted = append(wanted, host.Row[*task]{Host: fetch.Host(row.URL), URL: t.queueKey(), Value: t})
		}
	}
	ok := d.download(h, wanted)
	return d.read(kept) && ok && more && err == nil, err
}

// download puts rows into the queue, and gives up those that the queue no longer takes, or all of a lease
// that is lost. It is false when the run drains.
func (d *dispatcher) download(h *leaseHandle, rows []host.Row[*task]) bool {
	n, err := 0, error(nil)
	if h.ctx.Err() == nil {
		n, err = d.queue.AddAll(d.life.draining, rows)
		d.stats.Dispatched.Add(int64(n))
	}
	for _, row := range rows[n:] {
		d.complete.giveUp(row.Value, false)
		d.handed--
	}
	return err == nil
}

// read hands on rows whose images are kept, and gives them up when the run drains, which makes it false.
func (d *dispatcher) read(rows []*task) bool {
	for i, t := range rows {
		select {
		case d.kept <- t:
			d.stats.Dispatched.Add(1)
		case <-d.life.draining.Done():
			for _, t := range rows[i:] {
				d.complete.giveUp(t, false)
			}
			return false
		}
	}
	return true
}

// pendingIn counts the pending rows of leases.
func pendingIn(ls []store.Lease) (n int64) {
	for _, l := range ls {
		n += l.Pending
	}
	return n
}

// lookForSuspects reads which rows were in a decoder when their process died, after each takeover.
func (d *dispatcher) lookForSuspects() error {
	n := d.store.Takeovers()
	if n == d.takeovers {
		return nil
	}
	s, err := d.store.Suspects(d.life.draining)
	if err != nil {
		return unless(d.life.draining, fmt.Errorf("read the suspect rows: %w", err))
	}
	if n > 0 {
		d.log.Info("took over shards of a process that died, or was silent for too long", "shards",
			n-max(d.takeovers, 0))
	}
	d.suspects, d.takeovers = s, n
	d.stats.Takeovers.Store(n)
	return nil
}

// await waits until all rows that were handed out are completed, and ends the run as limited.
func (d *dispatcher) await() {
	d.importing.stop()
	for {
		if n, _ := d.leases.count(); n == 0 {
			d.life.drain(Limited)
			return
		}
		select {
		case <-d.leases.freed:
		case <-d.life.draining.Done():
			return
		}
	}
}

// damaged is an error once rows have been pending for long that nobody holds and no claim gives. A claim, a
// lease or an import in between begins the time again.
func (d *dispatcher) damaged(c store.Counts, importing bool) error {
	switch {
	case importing || c.Pending == 0 || c.Pending == c.PausedPending || c.Shards.Leased > 0:
		d.stuck = time.Time{}
	case d.stuck.IsZero():
		d.stuck = time.Now()
	case time.Since(d.stuck) > stuckAfter:
		return fmt.Errorf("%s pending, but in no shard that could be claimed: the job is damaged; "+
			"see `%s`", figures.Are(c.Pending, "row"), hint.On("verify", d.job.Path()))
	}
	return nil
}

// noShard is called when there is no shard to claim. It reports whether the job is finished; if it is not, it
// waits a little: for our own rows, for other owners', for an import to cut the next shard.
func (d *dispatcher) noShard() (finished bool, err error) {
	importing := d.importing.active() // before counting: what it appends meanwhile must not be overlooked
	if importing && time.Since(d.counted) < idlePoll {
		// More rows may come, of many small lists very often.
		d.idle()
		return false, nil
	}
	d.counted = time.Now()
	c, err := d.job.Counts(d.life.draining)
	if err != nil {
		return true, unless(d.life.draining, fmt.Errorf("count the job's rows: %w", err))
	}
	d.stats.See(c)
	if c.PausedPending != d.paused {
		d.paused = c.PausedPending
		d.log.Debug("rows wait in paused lists", "rows", c.PausedPending)
	}
	d.limits.checkRules()
	if err := d.damaged(c, importing); err != nil {
		return false, err
	}
	shards, _ := d.leases.count()
	switch {
	case importing: // more rows may come
	case c.Pending == 0 && len(c.ImportIncomplete) == 0:
		return true, nil
	case c.Pending == 0:
		if err := d.orphaned(c.ImportIncomplete); err != nil {
			return false, err
		}
	case shards == 0 && c.Pending == c.PausedPending:
		d.life.drain(Paused)
		return true, nil
	case d.tailGrace > 0 && shards > 0 && d.tail.IsZero():
		d.tail = time.Now()
	case d.tailGrace > 0 && shards > 0 && time.Since(d.tail) > d.tailGrace:
		d.log.Info("leaving the slow rest pending", "rows", c.Pending, "after", d.tailGrace)
		d.life.drain(Limited)
		return true, nil
	}
	d.idle()
	return false, nil
}

// idle waits for what may bring work.
func (d *dispatcher) idle() {
	select {
	case <-d.leases.freed:
	case <-d.importing.changed:
	case <-time.After(idlePoll):
	case <-d.life.draining.Done():
	}
}

// orphaned is the error of a job whose list was not read to its end while nobody is reading it: neither this
// process nor another. Without it such a job would look finished, or wait for ever.
func (d *dispatcher) orphaned(incomplete []string) error {
	sources, err := d.job.Sources(d.life.draining)
	if err != nil {
		return unless(d.life.draining, err)
	}
	if slices.ContainsFunc(sources, func(s store.Source) bool { return !s.Complete && s.Importer != "" }) {
		return nil
	}
	command, err := d.resume(d.life.draining)
	if err != nil {
		return err
	}
	return fmt.Errorf("all imported rows are done, but the import of %s is not complete and no process "+
		"reads it; go on with: %s", strings.Join(incomplete, ", "), command)
}
