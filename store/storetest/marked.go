package storetest

import (
	"context"
	"strings"
	"testing"
	"time"

	"facescan/store"
)

// Mark stands in everything that Marked knows of a row, and MarkedID is the row.
const (
	Mark     = "zaphodbeeblebrox"
	MarkedID = int64(765_432_109_876)
)

// Marked fills a job with a row of which everything is known that can be, and another one.
func Marked(t testing.TB, ctx context.Context, j store.Job) {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s, err := j.Join(ctx, store.Owner{Host: "here", PID: 1}, longTTL)
	check(err)
	src, err := j.AddSource(ctx, store.Source{Name: "list", Format: "txt"})
	check(err)
	l, err := s.LeaseSource(ctx, src.Number)
	check(err)
	check(s.Append(ctx, l, []store.NewRow{{ID: 1, URL: "http://other.example/"}, {ID: MarkedID,
		URL: "http://" + Mark + ".example/" + strings.Repeat("x", 9000), Group: Mark + "'s album",
		Kept: []string{Mark, ""}, Hash: Mark}}, store.Position{Line: 2}, true, 10))
	check(s.ReleaseSource(ctx, l))
	held, err := s.Claim(ctx, 10)
	check(err)
	r := wholeResult(9)
	r.ID, r.FinalURL, r.Time = MarkedID, "http://final.example/"+Mark, time.Now()
	check(s.Commit(ctx, held, []store.Result{r, ok(1)}))
	_, err = j.Sample(ctx, store.Thumbnail{ID: MarkedID, Faces: true, JPEG: []byte(Mark + strings.Repeat("y", 9000))}, 9)
	check(err)
	check(s.Leave(ctx))
}
