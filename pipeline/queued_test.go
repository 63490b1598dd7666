package pipeline

import (
	"fmt"
	"testing"
	"time"

	"facescan/pipeline/fetch/host"
	"facescan/pipeline/live"
	"facescan/store"
)

// TestQueuedHosts: the hosts with failures come first, with what the queue knows of them, then those that
// most rows wait for, while there is room.
func TestQueuedHosts(t *testing.T) {
	r := &run{queue: host.New[*task](host.Options{})}
	defer r.queue.Stop()
	for name, rows := range map[string]int{"failing": 2, "busy": 3, "one": 1, "": 1} {
		for i := range rows {
			row := &task{row: store.Row{URL: fmt.Sprint("http://", name, "/", i)}}
			if err := r.queue.Add(t.Context(), name, row.row.URL, row); err != nil {
				t.Fatal(err)
			}
		}
	}
	var got []string
	for _, h := range r.queued([]live.Host{{Name: "gone", Failed: 5}, {Name: "failing", Failed: 4}},
		time.Now()) {
		got = append(got, fmt.Sprint(h.Name, " ", h.Failed, " ", h.Waiting))
	}
	if text := fmt.Sprint(got); text != "[gone 5 0 failing 4 2 busy 0 3 one 0 1]" {
		t.Errorf("%s", text)
	}
	many := make([]live.Host, hostsShown)
	if n := len(r.queued(many, time.Now())); n != hostsShown {
		t.Errorf("%d hosts are shown", n)
	}
	if len((&Stats{}).Flights()) != 0 {
		t.Error("requests before the run")
	}
}
