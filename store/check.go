package store

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// What every implementation refuses, in the same words.

// CheckResults refuses results that would break an invariant of the job, before any of them is written.
func CheckResults(l Lease, results []Result) error {
	for i := range results {
		if err := checkResult(l, &results[i]); err != nil {
			return err
		}
	}
	return nil
}

func checkResult(l Lease, r *Result) error {
	switch {
	case r.ID < l.Lo || r.ID > l.Hi:
		return fmt.Errorf("row %d is outside the shard, %d to %d", r.ID, l.Lo, l.Hi)
	case r.Status == OK && (r.Reason != "" || r.Detector == ""):
		return fmt.Errorf("row %d is ok with reason %q and detector %q", r.ID, r.Reason, r.Detector)
	case r.Status == Failed && (!r.Reason.Known() || len(r.Faces) > 0):
		return fmt.Errorf("row %d failed with reason %q and %d faces", r.ID, r.Reason, len(r.Faces))
	case r.Status != OK && r.Status != Failed:
		return fmt.Errorf("row %d has status %q", r.ID, r.Status)
	}
	for _, f := range r.Faces {
		if f.X < 0 || f.Y < 0 || f.Width < 1 || f.Height < 1 || f.X+f.Width > r.Width ||
			f.Y+f.Height > r.Height {
			return fmt.Errorf("row %d has a face at %d,%d of %dx%d in an image of %dx%d", r.ID, f.X, f.Y,
				f.Width, f.Height, r.Width, r.Height)
		}
	}
	return nil
}

// CheckRows holds rows to append to ascending ids above last, inside the source's range.
func CheckRows(rows []NewRow, last int64, source int) error {
	for _, r := range rows {
		if r.ID <= last {
			return fmt.Errorf("row %d comes after row %d: ids must ascend", r.ID, last)
		}
		last = r.ID
	}
	if last>>SourceShift != int64(source) {
		return fmt.Errorf("id %d is outside source %d", last, source)
	}
	return nil
}

// CheckMerged refuses such results of rows from another job.
func CheckMerged(rows []MergedRow) error {
	for i := range rows {
		if err := rows[i].check(); err != nil {
			return err
		}
	}
	return nil
}

// CheckPublished refuses such results of published rows.
func CheckPublished(rows []PublishedRow) error {
	for i := range rows {
		if err := rows[i].check(); err != nil {
			return err
		}
	}
	return nil
}

func (r *MergedRow) check() error {
	if r.Result == nil {
		return nil
	}
	return checkResult(Lease{Lo: r.ID, Hi: r.ID}, r.Result)
}

// CheckShardSize refuses shards without rows.
func CheckShardSize(rows int) error {
	if rows < 1 {
		return fmt.Errorf("a shard of %d rows", rows)
	}
	return nil
}

// CheckClaim refuses a claim of nothing.
func CheckClaim(maxRows int) error {
	if maxRows < 1 {
		return fmt.Errorf("claim: at most %d rows", maxRows)
	}
	return nil
}

// CheckPriority keeps weights, powers of two, in a range where sums of them are exact.
func CheckPriority(priority int) error {
	if priority < -20 || priority > 20 {
		return fmt.Errorf("priority %d is not between -20 and 20", priority)
	}
	return nil
}

// SourceNames are the names of sources to add; it refuses their priorities.
func SourceNames(all []Source) ([]string, error) {
	names := make([]string, len(all))
	for i, s := range all {
		if err := CheckPriority(s.Priority); err != nil {
			return nil, err
		}
		names[i] = s.Name
	}
	return names, nil
}

// NumberSources joins sources to those of a job, found by the same names: fresh are the ones to add, numbered
// from next on, and out are all of them in turn.
func NumberSources(all, found []Source, next int) (out, fresh []Source) {
	known := make(map[string]Source, len(all))
	for _, s := range found {
		known[s.Name] = s
	}
	for _, s := range all {
		one, is := known[s.Name]
		if !is {
			one = Source{Number: next + len(fresh), Name: s.Name, Format: s.Format, Options: s.Options,
				Priority: s.Priority}
			fresh, known[s.Name] = append(fresh, one), one
		}
		out = append(out, one)
	}
	return out, fresh
}

var ownerID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// IsOwnerID reports whether an owner's ID can be part of a file's name.
func IsOwnerID(id string) bool { return ownerID.MatchString(id) }

// CheckOwner holds an owner's ID to what can be part of a file's name, and its TTL to be one.
func CheckOwner(id string, ttl time.Duration) error {
	if !IsOwnerID(id) {
		return fmt.Errorf("%q is not an owner's name: letters, digits, dot, underscore and hyphen, at most "+
			"64", id)
	}
	if ttl <= 0 {
		return fmt.Errorf("a lease's time to live must be above zero, not %s", ttl)
	}
	return nil
}

// HostOf is the host of a URL without its port, empty when there is none.
func HostOf(address string) string {
	u, err := url.Parse(strings.TrimSpace(address))
	if err != nil {
		return ""
	}
	return u.Hostname()
}
