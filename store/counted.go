package store

import (
	"fmt"
	"strings"
	"time"
)

// Counted is what is counted of done rows that have a reason, or none, in common.
type Counted struct{ Rows, Faces, ImagesWithFaces int64 }

// Count counts n rows in, or out if n is negative, that have so many faces each.
func (c Counted) Count(n, faces int64) Counted {
	c.Rows += n
	c.Faces += n * faces
	if faces > 0 {
		c.ImagesWithFaces += n
	}
	return c
}

// Verify compares the counters of a source's rows that ended for a reason with what there is.
func (c Counted) Verify(there Counted, source int, reason Reason, report func(Problem)) {
	if c != there {
		report(Problem{Check: "tally", Text: fmt.Sprintf(
			"source %d, reason %q: counters say %d rows, %d faces in %d images; there are %d, %d, %d",
			source, reason, c.Rows, c.Faces, c.ImagesWithFaces, there.Rows, there.Faces,
			there.ImagesWithFaces)})
	}
}

// Add adds done rows that ended for a reason.
func (c *Counts) Add(reason Reason, n Counted) {
	c.Done += n.Rows
	c.Faces += n.Faces
	c.ImagesWithFaces += n.ImagesWithFaces
	if reason == "" {
		c.OK += n.Rows
	} else if n.Rows != 0 {
		c.Failures[reason] += n.Rows
	}
}

// Derive fills in what follows from the other sums.
func (c *Counts) Derive() {
	c.Failed = c.Done - c.OK
	c.Pending = c.Total - c.Done
}

// HostTallies sums rows up by the hosts of their URLs.
type HostTallies map[string]Tally

// Add adds a done row.
func (h HostTallies) Add(address string, ok bool, faces, bytes int64) {
	n := Tally{Value: strings.ToLower(HostOf(address)), Rows: 1, Faces: faces, ImagesWithFaces: min(faces, 1),
		Bytes: bytes}
	if ok {
		n.OK = 1
	}
	n.Add(h[n.Value])
	h[n.Value] = n
}

// StatusOf is the status of a done row by its reason.
func StatusOf(r Reason) Status {
	if r == "" {
		return OK
	}
	return Failed
}

// BadResult is how a broken record ends.
func BadResult(id int64, now time.Time) Result {
	return Result{ID: id, Status: Failed, Reason: BadURL, Time: now}
}

// BadResults are those of the rows that are Bad.
func BadResults(rows []NewRow) (out []Result) {
	now := time.Now()
	for i := range rows {
		if rows[i].Bad {
			out = append(out, BadResult(rows[i].ID, now))
		}
	}
	return out
}

// GroupAudit is a group as a verify finds it.
type GroupAudit struct {
	Source      int
	Name        string
	Said, There string // what its counters say, and what its rows add up to
	Pending     int64  // rows, by its counters
	Ready       bool   // it could be finished, and is not
	Stale       bool
	Finished    int64 // its place among all that were finished; 0 for none
}

// Verify reports what is wrong with the group, of a job that gave out so many places.
func (g *GroupAudit) Verify(given int64, report func(Problem)) {
	problem := func(format string, args ...any) {
		text := fmt.Sprintf("group %.100q of source %d: ", g.Name, g.Source) + fmt.Sprintf(format, args...)
		report(Problem{Check: "group", Text: text})
	}
	if g.Said != g.There {
		problem("its counters say %s, its rows %s", g.Said, g.There)
	}
	switch {
	case g.Ready && g.Finished == 0:
		problem("none of its rows is pending, and it is not finished")
	case g.Finished != 0 && g.Pending != 0:
		problem("it is finished, with %d rows pending", g.Pending)
	case g.Finished != 0 && (g.Stale || g.Finished > given):
		problem("it is finished with number %d of %d, stale: %t", g.Finished, given, g.Stale)
	}
}

// rowChecks are the invariants of single rows, by name, with what is wrong with a row where a number is
// found.
var rowChecks = map[string]string{
	"done-flag":           "the Done flag is %d, neither 0 nor 1",
	"done-without-result": "done, with %d results",
	"result-without-done": "pending, with %d result",
	"result-without-row":  "a result with %d rows",
	"file-without-row":    "what a file of %d bytes looked like, without a row",
	"suspect":             "it stopped a decoder %d times, and is done",
	"face-count":          "the number of faces stored is %d, its result says otherwise",
	"face-without-result": "%d faces without a result",
	"face-number":         "a face has number %d, and they count from 0",
	"face-box":            "face %d lies outside its image, or has no area",
	"reason":              "a reason that does not exist, or a failure with %d faces",
	"detector":            "ok, with a detector (%d) that is not known",
	"candidates":          "its %d numbers for candidates are not six each",
	"landmarks":           "%d bytes are not the landmarks of its faces and candidates",
}

// RowProblem is what a check finds at a row.
func RowProblem(check string, id, n int64) Problem {
	return Problem{Check: check, ID: id, Text: fmt.Sprintf("row %d: "+rowChecks[check], id, n)}
}
