package fetch

import (
	"testing"
	"time"

	"facescan/pipeline/fetch/resolve"
)

func TestDefaults(t *testing.T) {
	f, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.o.Timeout != 30*time.Second || f.o.MaxBytes != 32<<20 || f.o.MaxRedirects != 0 ||
		f.o.Conns != 2048 ||
		f.o.UserAgent != "facescan" || f.header.Get("User-Agent") != "facescan" || f.requests != nil ||
		f.bandwidth != nil || f.CrawlDelay("a.example") != 0 || f.RobotsRequests() != 0 {
		t.Errorf("%+v", f.o)
	}
}

// TestMostMemory: a body at its most, with the buffer before it; a robots.txt if that is more.
func TestMostMemory(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want int64
	}{
		{Options{}, 64 << 20}, {Options{MaxBytes: 1000}, 2000},
		{Options{MaxBytes: 1000, Robots: true}, 64<<10 + 1000<<10}, {Options{Robots: true}, 64 << 20},
	} {
		f, err := New(c.o)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.MostMemory(); got != c.want {
			t.Errorf("%+v: %d, want %d", c.o, got, c.want)
		}
		f.Close()
	}
}

// TestBurst: bandwidth is spent in steps of a tenth of a second, of 1 KiB at least and 1 MiB at most.
// Requests have no burst.
func TestBurst(t *testing.T) {
	for bandwidth, want := range map[int64]int{1: 1 << 10, 10 << 10: 1 << 10, 20 << 10: 2 << 10,
		10 << 20: 1 << 20, 1 << 40: 1 << 20} {
		f, err := New(Options{Bandwidth: bandwidth, Rate: 1000})
		if err != nil {
			t.Fatal(err)
		}
		if got := f.bandwidth.Burst(); got != want || f.requests.Burst() != 1 {
			t.Errorf("%d bytes per second: %d at once, want %d; %d requests", bandwidth, got, want,
				f.requests.Burst())
		}
		f.Close()
	}
}

func TestBadServer(t *testing.T) {
	if f, err := New(Options{DNS: resolve.Options{Servers: []string{"127.0.0.1"}}}); err == nil {
		f.Close()
		t.Error("a name server without a port was accepted")
	}
}
