package store

import (
	"fmt"
	"time"
)

// Existing is what a job has of a row that comes from another job.
type Existing struct {
	URL, Group string
	Status     Status // empty while the row is pending
	Time       int64  // of its result, in milliseconds
	Noted      bool   // its change is still to be published
	Forgotten  bool
}

// Partition is what becomes of rows from another job.
type Partition struct {
	Fresh     []NewRow         // rows that are new here; Bad are those that come with a result
	Results   []Result         // that enter
	Completed []int64          // rows that were pending here and get a result
	Replaced  []int64          // rows whose result gives way to another
	Erased    []Erased         // rows whose URL is to be removed
	Groups    map[int64]string // of all rows
}

// PartitionMerged compares rows from another job with those that there are, by id. A result enters where
// there is none, or where it is ok and the one there is failed. A row that was forgotten, in either job,
// stays so or becomes so.
func PartitionMerged(rows []MergedRow, have map[int64]Existing) (p Partition, err error) {
	p.Groups = make(map[int64]string, len(rows))
	for i := range rows {
		r := &rows[i]
		here, known := have[r.ID]
		p.Groups[r.ID] = here.Group
		switch {
		case !known:
			p.Groups[r.ID] = r.Group
			p.Fresh = append(p.Fresh, r.fresh())
		case !SameURL(here.URL, r.URL):
			return p, fmt.Errorf("row %d is %q here, %q there", r.ID, here.URL, r.URL)
		case IsErased(r.URL) && !IsErased(here.URL):
			p.Erased = append(p.Erased, Erased{r.ID, r.URL})
			p.Groups[r.ID] = ""
		}
		switch {
		case r.Result == nil || here.Forgotten:
			continue
		case r.isForgotten() && here.Status != "":
			p.Replaced = append(p.Replaced, r.ID)
		case here.Status == OK || here.Status == Failed && r.Result.Status == Failed:
			continue
		case here.Status == Failed:
			p.Replaced = append(p.Replaced, r.ID)
		case known:
			p.Completed = append(p.Completed, r.ID)
		}
		p.Results = append(p.Results, r.result())
	}
	return p, nil
}

// PublishedPartition is what becomes of rows that were published.
type PublishedPartition struct {
	Fresh        []NewRow
	Results      []Result         // of rows that are new, pending, or have another result here
	Reopened     []int64          // rows that are done here, and were pending when they were published
	Erased       []Erased         // rows whose URL is to be removed
	Stale        []int64          // rows that are forgotten here, and not where they were published
	Publications []int64          // id and publication of each row that has one, one after another
	Ends         map[string]int64 // ids of the first end records of groups
}

// PartitionPublished compares published rows with those that there are, by id. What was published replaces
// what the job has, unless the job has something to publish of the row itself. A row that was forgotten, here
// or there, is forgotten.
func PartitionPublished(rows []PublishedRow, have map[int64]Existing) (p PublishedPartition, err error) {
	for i := range rows {
		r := &rows[i]
		here, known := have[r.ID]
		switch {
		case r.End:
			p.Ends = addEnd(p.Ends, GroupEnd{r.ID, r.Group})
		case !known:
			p.Fresh = append(p.Fresh, r.fresh())
		case !SameURL(here.URL, r.URL):
			return p, fmt.Errorf("row %d is %q here, %q where it was published", r.ID, here.URL, r.URL)
		case IsErased(r.URL) && !IsErased(here.URL):
			p.Erased = append(p.Erased, Erased{r.ID, r.URL})
		}
		done := here.Status != ""
		switch {
		case here.Forgotten:
			if !r.isForgotten() || IsErased(here.URL) && !IsErased(r.URL) {
				p.Stale = append(p.Stale, r.ID)
			}
			continue
		case here.Noted && !r.isForgotten():
			continue
		case r.Result == nil && done:
			p.Reopened = append(p.Reopened, r.ID)
		case r.Result != nil && !(done && here.Time == r.Result.Time.UnixMilli()):
			p.Results = append(p.Results, r.result())
		}
		if r.Publication != 0 {
			p.Publications = append(p.Publications, r.ID, r.Publication)
		}
	}
	return p, nil
}

// PartitionForgotten is what becomes of rows that are to be forgotten, with url their URLs as well. Rows that
// the job does not have, and those that are forgotten, are passed over.
func PartitionForgotten(ids []int64, have map[int64]Existing, url bool) (p Partition) {
	p.Groups = make(map[int64]string, len(ids))
	now, eraser := time.Now(), NewEraser()
	for _, id := range ids {
		here, known := have[id]
		erase := url && !IsErased(here.URL)
		if !known || here.Forgotten && !erase {
			continue
		}
		p.Results = append(p.Results, forgottenResult(id, now))
		if here.Status == "" {
			p.Completed = append(p.Completed, id)
		} else {
			p.Replaced = append(p.Replaced, id)
		}
		p.Groups[id] = here.Group
		if erase {
			p.Erased = append(p.Erased, Erased{ID: id, URL: eraser.Erase(here.URL)})
			p.Groups[id] = ""
		}
	}
	return p
}

// ForgottenIDs are the rows of results that say that they were forgotten.
func ForgottenIDs(results []Result) (ids []int64) {
	for i := range results {
		if results[i].Reason == Forgotten {
			ids = append(ids, results[i].ID)
		}
	}
	return ids
}

// fresh is the row as a new one; with a result it is done at once.
func (r *MergedRow) fresh() NewRow {
	return NewRow{ID: r.ID, URL: r.URL, Group: r.Group, Kept: r.Kept, Hash: r.Hash, Bad: r.Result != nil}
}

func (r *MergedRow) result() Result {
	result := *r.Result
	result.ID = r.ID
	return result
}
