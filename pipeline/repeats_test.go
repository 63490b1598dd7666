package pipeline

import (
	"strings"
	"testing"

	"facescan/store"
)

func TestRepeats(t *testing.T) {
	var r repeats
	one := store.Row{ID: 7, URL: "http://a.example/7.jpg"}
	for n := range maxDispatches {
		if err := r.check(one); err != nil {
			t.Fatalf("after %d times: %v", n, err)
		}
		r.note([]store.Result{{ID: 7}, {ID: int64(100 + n)}})
	}
	if err := r.check(one); err == nil || !strings.Contains(err.Error(), "row 7 (http://a.example/7.jpg)") {
		t.Errorf("after %d times: %v", maxDispatches, err)
	}
	if err := r.check(store.Row{ID: 101}); err != nil {
		t.Errorf("a row that was done once: %v", err)
	}
}

// TestRepeatsAreBounded has many more rows than are remembered: memory is bounded, a row that comes again at
// once is noticed among them, and so are some of very many that all come again.
func TestRepeatsAreBounded(t *testing.T) {
	var r repeats
	batch := make([]store.Result, 1000)
	pass := func(from int64) {
		for at := range int64(3 * repeatsKept / len(batch)) {
			for i := range batch {
				batch[i].ID = from + at*int64(len(batch)) + int64(i)
			}
			r.note(batch)
			if len(r.times) > repeatsKept {
				t.Fatalf("%d rows are remembered", len(r.times))
			}
		}
	}
	pass(1000)
	for range maxDispatches {
		r.note([]store.Result{{ID: 7}})
	}
	if r.check(store.Row{ID: 7}) == nil {
		t.Error("a row that was done again and again is not noticed")
	}
	noticed := func() (n int) {
		for _, times := range r.times {
			if times >= maxDispatches {
				n++
			}
		}
		return n
	}
	before := noticed()
	for range 12 {
		pass(1000)
	}
	if noticed() <= before {
		t.Error("of many rows that are done again and again none is noticed")
	}
}
