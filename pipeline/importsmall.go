package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"facescan/pipeline/source"
	"facescan/store"
	"facescan/store/figures"
)

// Many small lists: a transaction for each step of each of them would cost far more than their rows. So they
// are leased, appended and released many at a time, one such group after the other.

const (
	smallSize  = 64 << 10 // bytes of a file up to which a list is small
	smallRows  = 8 << 10  // likewise, since a small file may unpack to a long list
	firstGroup = 16       // small lists of the first group, so that work starts at once
	mostGroup  = 512      // of the later ones
)

// joinedList is a list and its source.
type joinedList struct {
	spec   source.Spec
	source store.Source
}

// isSmall reports whether a list is a small file that is not being written.
func (l *joinedList) isSmall() bool {
	if l.spec.Growing || source.HasImages(l.spec.Format) {
		return false
	}
	fi, err := os.Stat(l.spec.Path)
	return err == nil && fi.Mode().IsRegular() && fi.Size() <= smallSize
}

// readSmall imports small lists. Those that turn out to be long go to one, which reads one list.
func (im *Importer) readSmall(ctx context.Context, all []joinedList, one func(joinedList) error) error {
	for size := firstGroup; len(all) > 0 && ctx.Err() == nil; size = min(4*size, mostGroup) {
		n := min(size, len(all))
		later, long, err := im.readGroup(ctx, all[:n])
		all = all[n:]
		for _, l := range long {
			if err == nil {
				err = one(l)
			}
		}
		if err == nil && len(all) == 0 && len(later) > 0 { // nothing else is left to do
			later, err = im.awaitOthers(ctx, later)
		}
		if err != nil {
			return err
		}
		all = append(all, later...)
	}
	return nil
}

// awaitOthers waits a little, and returns those lists that are not read to their ends then.
func (im *Importer) awaitOthers(ctx context.Context, all []joinedList) (rest []joinedList, err error) {
	if sleep(ctx, idlePoll) != nil {
		return nil, nil
	}
	sources, err := im.Job.Sources(ctx)
	if err != nil {
		return nil, err
	}
	for _, l := range all {
		if n := l.source.Number; n >= len(sources) || !sources[n].Complete {
			rest = append(rest, l)
		}
	}
	return rest, nil
}

// readGroup imports small lists in few transactions. It returns those that are to be tried later, since
// others import them or there was no time, and those that are long.
func (im *Importer) readGroup(ctx context.Context, group []joinedList) (later, long []joinedList, err error) {
	numbers := make([]int, len(group))
	for i := range group {
		numbers[i] = group[i].source.Number
	}
	begin := time.Now()
	leases, err := im.Session.LeaseSources(ctx, numbers)
	if err != nil {
		err = fmt.Errorf("lease the import of %s: %w", figures.Of(len(group), "list"), err)
		return nil, nil, unless(ctx, err)
	}
	defer func() {
		if e := im.Session.ReleaseSources(context.WithoutCancel(ctx), leases); e != nil && err == nil {
			err = fmt.Errorf("release the import of %s: %w", figures.Of(len(leases), "list"), e)
		}
	}()
	leased := make(map[int]store.SourceLease, len(leases))
	for _, l := range leases {
		leased[l.Source] = l
	}
	w := additions{im: im}
	chunk := make([]source.Row, readRows)
	for i, l := range group {
		lease, is := leased[l.source.Number]
		if !is {
			later = append(later, l)
			continue
		}
		if i > 0 && time.Since(begin) > im.LeaseTTL/3 { // the leases are to hold until all is written
			later = append(later, group[i:]...)
			break
		}
		a, whole, failed := im.readWhole(ctx, l, lease, chunk)
		switch {
		case ctx.Err() != nil:
			return nil, nil, unless(ctx, w.write(ctx)) // what was not read is read later
		case whole && (len(a.Rows) > 0 || !l.source.Complete || a.Position.Offset != lease.Position.Offset):
			w.add(l, a)
		case !whole && failed == nil:
			long = append(long, l)
		}
		if failed != nil { // what was read of those before it is kept
			return nil, nil, errors.Join(failed, unless(ctx, w.write(ctx)))
		}
		if w.bytes >= importBytes {
			if err := w.write(ctx); err != nil {
				return nil, nil, unless(ctx, err)
			}
		}
	}
	err = w.write(ctx)
	if errors.Is(err, store.ErrLeaseLost) {
		im.Log.Warn("the import of some lists went to another process", "lists", len(group))
		return group, nil, nil // those that are complete by then cost little
	}
	return later, long, unless(ctx, err)
}

// additions are what small lists add, to be written in one transaction.
type additions struct {
	im    *Importer
	all   []store.Addition
	names []string
	bytes int64
}

func (w *additions) add(l joinedList, a store.Addition) {
	w.all, w.names = append(w.all, a), append(w.names, l.source.Name)
	for i := range a.Rows {
		w.bytes += int64(len(a.Rows[i].URL))
	}
}

func (w *additions) write(ctx context.Context) error {
	if err := w.im.Session.AppendAll(ctx, w.all, w.im.ShardSize); err != nil {
		return fmt.Errorf("import %s: %w", figures.Of(len(w.all), "list"), err)
	}
	for i, a := range w.all {
		w.im.imported(w.names[i], len(a.Rows), 1)
	}
	w.all, w.names, w.bytes = nil, nil, 0
	return nil
}

// readWhole reads what a list has after the position of its lease; whole is false if that is too much.
func (im *Importer) readWhole(ctx context.Context, l joinedList, lease store.SourceLease,
	chunk []source.Row) (a store.Addition, whole bool, err error) {
	list, err := openList(ctx, l.spec, lease.Position)
	if err != nil {
		return a, false, err
	}
	defer list.Close()
	var batch rowBatch
	for {
		n, err := list.Next(chunk)
		switch {
		case errors.Is(err, io.EOF):
			list.warnOfDamage(l.source.Name, im.Log)
			a = store.Addition{Lease: lease, Rows: batch.rows, Position: list.Position(), Complete: true}
			return a, true, list.noRow()
		case err != nil:
			return a, false, fmt.Errorf("read %s: %w", l.spec.Path, err)
		case len(batch.rows)+n > smallRows:
			return a, false, nil
		}
		im.take(&batch, store.FirstOf(l.source.Number), chunk[:n])
	}
}
