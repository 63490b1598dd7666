package storetest

import (
	"context"
	"strings"
	"testing"
	"time"

	"facescan/store"
	"facescan/store/storetest/must"
)

// Mark stands in everything that Marked knows of a row, and MarkedID is the row.
const (
	Mark     = "zaphodbeeblebrox"
	MarkedID = int64(765_432_109_876)
)

// Marked fills a job with a row of which everything is known that can be, and another one.
func Marked(t testing.TB, ctx context.Context, j store.Job) {
	t.Helper()
	s := must.Get(j.Join(ctx, store.Owner{Host: "here", PID: 1}, longTTL))(t)
	src := must.Get(j.AddSource(ctx, store.Source{Name: "list", Format: "txt"}))(t)
	l := must.Get(s.LeaseSource(ctx, src.Number))(t)
	must.OK(t, s.Append(ctx, l, []store.NewRow{{ID: 1, URL: "http://other.example/"}, {ID: MarkedID,
		URL: "http://" + Mark + ".example/" + strings.Repeat("x", 9000), Group: Mark + "'s album",
		Kept: []string{Mark, ""}, Hash: Mark}}, store.Position{Line: 2}, true, 10))
	must.OK(t, s.ReleaseSource(ctx, l))
	held := must.Get(s.Claim(ctx, 10))(t)
	r := wholeResult(9)
	r.ID, r.FinalURL, r.Time = MarkedID, "http://final.example/"+Mark, time.Now()
	must.OK(t, s.Commit(ctx, held, []store.Result{r, ok(1)}))
	must.Get(j.Sample(ctx, store.Thumbnail{ID: MarkedID, Faces: true,
		JPEG: []byte(Mark + strings.Repeat("y", 9000))}, 9))(t)
	must.OK(t, s.Leave(ctx))
}
