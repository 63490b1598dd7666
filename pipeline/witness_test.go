package pipeline

import (
	"fmt"
	"testing"

	"facescan/store"
)

// TestWitnesses draws hosts from a job: all of a small one, rows by chance of any, those that answered before
// first.
func TestWitnesses(t *testing.T) {
	b := newBench(t, two, "/i/0/a.png", "/status/404/b")
	b.want(Finished, "ok", "failed http_4xx")
	w := &witnesses{job: b.job}
	any := func(string) bool { return true }
	if urls := w.pick(t.Context(), 10, any); len(urls) != 1 {
		t.Errorf("%v of one host", urls)
	}
	s, err := b.job.Join(t.Context(), Self(), b.opts.LeaseTTL)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Leave(t.Context())
	source, err := b.job.AddSource(t.Context(), store.Source{Name: "more", Format: "txt", Options: "{}"})
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.LeaseSource(t.Context(), source.Number)
	if err != nil {
		t.Fatal(err)
	}
	var more []store.NewRow
	for i := range int64(500) { // with a gap that is wider than what is looked at first
		more = append(more, store.NewRow{ID: int64(source.Number)<<store.SourceShift + 1 + i + 200*(i/250),
			URL: fmt.Sprintf("http://h%d.test/", i%50)})
	}
	if err := s.Append(t.Context(), l, more, store.Position{}, true, 100); err != nil {
		t.Fatal(err)
	}
	if urls := w.pick(t.Context(), 10, any); len(urls) != 1 {
		t.Errorf("%v, drawn again so soon", urls)
	}
	w = &witnesses{job: b.job}
	if urls := w.pick(t.Context(), 10, any); len(urls) != 10 || urls[0] != b.server.URL+"/i/0/a.png" &&
		urls[0] != b.server.URL+"/status/404/b" {
		t.Errorf("%v does not begin with what was answered", urls)
	}
	if urls := w.pick(t.Context(), 100, any); len(urls) != 51 {
		t.Errorf("%d hosts of 51", len(urls))
	}
	if urls := w.pick(t.Context(), 100, func(h string) bool { return h == "h7.test" }); len(urls) != 1 ||
		urls[0] != "http://h7.test/" {
		t.Errorf("%v", urls)
	}
	spans := w.spans(t.Context())
	last := more[len(more)-1].ID
	if len(spans) != 2 || spans[0] != (span{1, 3}) || spans[1] != (span{more[0].ID, last + 1}) {
		t.Fatalf("spans %+v", spans)
	}
	drawn := map[string]bool{}
	for range 500 {
		drawn[w.sample(t.Context(), spans)] = true
	}
	if len(drawn) < 40 || drawn[""] {
		t.Errorf("%d URLs were drawn", len(drawn))
	}
}
