package live

import (
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"facescan/store"
)

// TestFeed: what the page is told besides a Snapshot.
func TestFeed(t *testing.T) {
	start := time.Unix(1000, 0)
	s := &Server{o: Options{Job: "job", Self: store.Owner{Host: "here", PID: 7}}}
	s.latest = Snapshot{Start: start, Now: start.Add(90 * time.Second), OutageFor: time.Minute,
		Bodies: Memory{Used: 5, Limit: 50}, Pixels: Memory{Used: 3, Limit: 30}, Data: 100, Log: 10,
		Holdup: Holdup{Kind: ByWorkers},
		Counts: store.Counts{Failures: map[store.Reason]int64{store.TLS: 2, store.Timeout: 3, store.Reset: 2},
			Owners: []store.OwnerCounts{{Owner: store.Owner{Host: "here", PID: 7}, Alive: true},
				{Owner: store.Owner{Host: "here", PID: 8}, Alive: true},
				{Owner: store.Owner{Host: "there", PID: 7}, Alive: true},
				{Owner: store.Owner{Host: "here", PID: 7}}}}}
	s.history.moments = []moment{{start, 0, 0}, {start.Add(12_340 * time.Millisecond), 5, 1}}
	f := s.feed()
	if f.Job != "job" || f.Self != "7 on here" || f.Error != "" || f.HeldIn != "decode" || f.OutageFor != 0 ||
		f.Memory != 8 || f.MaxMemory != 80 || f.StoreBytes != 110 {
		t.Errorf("%+v", f)
	}
	var self []bool
	for _, o := range f.Owners {
		self = append(self, o.Self)
	}
	if !slices.Equal(self, []bool{true, false, false, false}) {
		t.Errorf("which of the processes is this one: %v", self)
	}
	want := []feedFailure{{Reason: store.Timeout, Class: store.Transient, Rows: 3},
		{Reason: store.Reset, Class: store.Transient, Rows: 2},
		{Reason: store.TLS, Class: store.Permanent, Rows: 2}}
	if !slices.Equal(f.Failures, want) {
		t.Errorf("%+v, want %+v", f.Failures, want)
	}
	if h := f.History; !slices.Equal(h.Seconds, []float64{0, 12.3}) || !slices.Equal(h.Done, []int64{0, 5}) ||
		!slices.Equal(h.Failed, []int64{0, 1}) {
		t.Errorf("%+v", h)
	}
	s.latest.End, s.latest.Outage, s.failed = "finished", true, errors.New("disk away")
	if f = s.feed(); f.HeldIn != "" || f.OutageFor != 60 || f.Error != "disk away" {
		t.Errorf("at the end: %+v", f)
	}
}

// TestAddress: what may be given for an address, and what it means.
func TestAddress(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"9000": "127.0.0.1:9000", ":9000": "127.0.0.1:9000",
		"0.0.0.0": "0.0.0.0:9187", "box": "box:9187", "box:80": "box:80", "[::1]:80": "[::1]:80",
		"": "", ":": "", "box:": "", "::1": "", "[::1]": "", "a:b:c": ""} {
		got, err := address(text)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q is %q, %v; want %q", text, got, err, want)
		}
		var bad *net.AddrError
		if err != nil && (!errors.As(err, &bad) || bad.Addr != text ||
			bad.Err != "it is not an address to listen on; write it as 127.0.0.1:9187") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
