package store

import (
	"iter"
	"math"
	"strings"
)

// Pages yields what read returns, page after page. Read is given where a page begins and returns where the
// next one does, as long as there are more.
func Pages[T any](first int64, read func(from int64) (page []T, next int64, more bool,
	err error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for from, more := first, true; more; {
			var page []T
			var err error
			if page, from, more, err = read(from); err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, v := range page {
				if !yield(v, nil) {
					return
				}
			}
		}
	}
}

// Next is where the page of rows after the one with this last id begins; false when the page was empty, or
// ended with the last id of all.
func Next(last *int64) (from int64, more bool) {
	if last == nil || *last == math.MaxInt64 {
		return 0, false
	}
	return *last + 1, true
}

// Reopen is Job.Retry, in transactions of which each is complete in itself: a retry that is cut short has put
// some of the rows back, and the same call again does the others. Find returns the selected rows of a page of
// results, and the last id of the page; nil if it was empty. Reopen puts some of the first rows back, returns
// the others, and how many it put back.
func (s Selection) Reopen(find func(from int64) (ids []int64, last *int64, err error),
	reopen func(ids []int64) (rest []int64, n int, err error)) (reopened int64, err error) {
	if len(s.Reasons) == 0 && !s.OK {
		return 0, nil
	}
	for from, more := int64(math.MinInt64), true; more; {
		ids, last := s.IDs, (*int64)(nil)
		if ids == nil {
			if ids, last, err = find(from); err != nil {
				return reopened, err
			}
		}
		for len(ids) > 0 {
			rest, n, err := reopen(ids)
			if err != nil {
				return reopened, err
			}
			ids, reopened = rest, reopened+int64(n)
		}
		from, more = Next(last)
	}
	return reopened, nil
}

// Takes reports whether a row with this URL can be among those selected.
func (s Selection) Takes(address string) bool {
	return !IsErased(address) && (s.Host == "" || strings.EqualFold(HostOf(address), s.Host))
}
