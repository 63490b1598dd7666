package host

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"facescan/pipeline/fetch"
)

// TestAssess: whether a failure counts for its row, by what is known of other hosts and of outages.
func TestAssess(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	cut := func(errno syscall.Errno) Verdict {
		return VerdictOf(&fetch.Error{Reason: fetch.Connect, Outage: true, Err: errno})
	}
	dns := VerdictOf(&fetch.Error{Reason: fetch.DNSTimeout, Outage: true})
	hostDown, noNet := cut(syscall.EHOSTUNREACH), cut(syscall.ENETUNREACH)
	still := VerdictOf(silent)
	type out = outage[int]
	for _, c := range []struct {
		what  string
		v     Verdict
		item  item[int]
		hosts int
		set   func(o *out)
		want  assessment
	}{
		{"no resolver", dns, item[int]{voids: 19}, 9, nil, unsure},
		{"no resolver, too often", dns, item[int]{voids: 20}, 9, nil, sure},
		{"no network", noNet, item[int]{}, 1, nil, unsure},
		{"no network, again after an outage that was none", noNet, item[int]{excused: true}, 1, nil, sure},
		{"a cause that was none lately, and others answer", noNet, item[int]{}, 1, func(o *out) {
			o.excused[noNet.class()], o.heard = ago(time.Minute-1), ago(time.Second-1)
		}, sure},
		{"a cause that was none long ago", noNet, item[int]{}, 1, func(o *out) {
			o.excused[noNet.class()], o.heard = ago(time.Minute), now
		}, unsure},
		{"a cause that was none, and nobody answers", noNet, item[int]{}, 1, func(o *out) {
			o.excused[noNet.class()], o.heard = now, ago(time.Second)
		}, unsure},
		{"another cause was none", noNet, item[int]{}, 1, func(o *out) {
			o.excused[hostDown.class()], o.heard = now, now
		}, unsure},
		{"no route to one host while all are silent", hostDown, item[int]{}, 1, func(o *out) {
			o.alone = ago(10*time.Minute - 1)
		}, sure},
		{"the same later", hostDown, item[int]{}, 1, func(o *out) { o.alone = ago(10 * time.Minute) },
			unsure},
		{"no network while all are silent", noNet, item[int]{}, 1, func(o *out) { o.alone = now }, unsure},

		{"silence", still, item[int]{}, 8, nil, unsure},
		{"silence of few", still, item[int]{}, 7, nil, sure},
		{"silence in an outage", still, item[int]{excused: true}, 8, func(o *out) { o.certain = true }, void},
		{"silence again", still, item[int]{excused: true}, 8, nil, sure},
		{"silence that began in an outage", still, item[int]{}, 7,
			func(o *out) { o.back = ago(4*time.Second - 1) },
			void},
		{"silence that began after it", still, item[int]{}, 8, func(o *out) { o.back = ago(4 * time.Second) },
			unsure},
		{"others answered in the second half", still, item[int]{}, 8, func(o *out) {
			o.heard = ago(2*time.Second - 1)
		}, sure},
		{"others answered before that", still, item[int]{}, 8,
			func(o *out) { o.heard = ago(2 * time.Second) },
			unsure},
		{"all hosts are silent", still, item[int]{}, 8, func(o *out) { o.alone = ago(10*time.Minute - 1) },
			sure},
		{"all were silent", still, item[int]{}, 8, func(o *out) { o.alone = ago(10 * time.Minute) }, unsure},

		{"a refusal", VerdictOf(refused), item[int]{}, 8, nil, sure},
		{"a refusal in an outage", VerdictOf(refused), item[int]{}, 8, func(o *out) { o.certain = true },
			void},
		{"trouble", VerdictOf(broken), item[int]{}, 8, nil, sure},
		{"trouble in an outage", VerdictOf(broken), item[int]{}, 8, func(o *out) { o.certain = true }, void},
		{"an answer in an outage", answered, item[int]{}, 8, func(o *out) { o.certain = true }, sure},
	} {
		for _, probes := range []bool{true, false} {
			o := Options{}
			if probes {
				o.Probe = func(context.Context, string) error { return nil }
			}
			q := New[int](o)
			for i := range c.hosts {
				q.host(fmt.Sprint("h", i))
			}
			if c.set != nil {
				c.set(&q.outage)
			}
			it := c.item
			want := c.want
			if !probes {
				want = sure
			}
			got := q.outage.assess(q, &Ticket[int]{item: &it, start: ago(4 * time.Second)}, c.v, now)
			excused := c.item.excused || c.v.Kind == Silent && got == void && !q.outage.certain
			if got != want || it.excused != excused {
				t.Errorf("%s, probes %t: %d, want %d; excused %t", c.what, probes, got, want, it.excused)
			}
			q.Stop()
		}
	}
}

// TestAnswerMakesSure: failures whose meaning is open count as soon as another host answers. One that is
// silent in the middle of its answer does not show that the link is up.
func TestAnswerMakesSure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := New[int](Options{Probe: func(context.Context, string) error { return silent }})
		defer q.Stop()
		for i := range 12 {
			fill(t, q, fmt.Sprint("h", i), 1)
		}
		ks := take(t, q, 12)
		time.Sleep(timeout)
		called := 0
		note := func(sure bool, _ []int) {
			if called++; !sure {
				t.Error("not sure")
			}
		}
		ks[0].Fail(VerdictOf(silent), note)
		ks[1].Fail(VerdictOf(&fetch.Error{Reason: fetch.Timeout, Status: 200}), note)
		if called != 0 {
			t.Errorf("%d failures count", called)
		}
		ks[2].Done(VerdictOf(&fetch.Error{Reason: fetch.HTTP4xx, Status: 404}))
		if called != 2 {
			t.Errorf("%d failures count after an answer, want 2", called)
		}
	})
}

func TestSilence(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{1: "one host did not answer", 2: "2 hosts in a row did not answer"} {
		if got := silence(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}

// TestCandidates: the first probes go to the two hosts that answered last, to another one that did, and to
// hosts of waiting rows; four in all.
func TestCandidates(t *testing.T) {
	t.Parallel()
	for answers := range 12 {
		for _, rows := range []int{0, 1, 9} {
			q := New[int](Options{})
			for i := range rows {
				must(t, q.Add(t.Context(), "w", fmt.Sprint("w", i), i))
			}
			for i := range answers {
				q.outage.addResponsive(responsive{fmt.Sprint("h", i), fmt.Sprint("r", i)})
			}
			if n := len(q.outage.responsive); n != min(8, answers) {
				t.Errorf("%d of %d answers are remembered", n, answers)
			}
			for i := range answers { // again, in the same order: each host counts once
				q.outage.addResponsive(responsive{fmt.Sprint("h", i), fmt.Sprint("r", i)})
			}
			var want []string
			for i := answers - 1; i >= max(0, answers-2); i-- {
				want = append(want, fmt.Sprint("r", i))
			}
			got := q.outage.candidates(q)
			if len(got) < len(want) || fmt.Sprint(got[:len(want)]) != fmt.Sprint(want) {
				t.Fatalf("%d answers, %d rows: %v, want %v first", answers, rows, got, want)
			}
			rest := got[len(want):]
			if answers > 2 {
				var i int
				if n, _ := fmt.Sscanf(rest[0], "r%d", &i); n == 0 || i < answers-8 || i >= answers-2 {
					t.Errorf("%d answers, %d rows: %v, want another that answered lately", answers, rows, got)
				}
				rest = rest[1:]
			}
			seen := map[string]bool{}
			for _, u := range rest {
				if u[0] != 'w' || seen[u] {
					t.Errorf("%d answers, %d rows: %v", answers, rows, got)
				}
				seen[u] = true
			}
			if all := min(4, min(3, answers)+rows); len(got) != all ||
				len(q.outage.responsive) != min(8, answers) {
				t.Errorf("%d answers, %d rows: %v, want %d; %d are remembered", answers, rows, got, all,
					len(q.outage.responsive))
			}
			q.Stop()
		}
	}
}

// TestNamed: up to eight hosts of waiting rows that have to be looked up, each once.
func TestNamed(t *testing.T) {
	t.Parallel()
	for hosts, want := range map[int]int{0: 0, 3: 3, 8: 8, 20: 8} {
		q := New[int](Options{Named: func(host string) bool { return host[0] == 'n' }})
		for i := range hosts {
			for row := range 3 {
				must(t, q.Add(t.Context(), fmt.Sprint("n", i), fmt.Sprint("n", i, row), i))
				must(t, q.Add(t.Context(), fmt.Sprint("a", i), fmt.Sprint("a", i, row), i))
			}
		}
		seen := map[string]bool{}
		got := q.named()
		for _, h := range got {
			if h[0] != 'n' || seen[h] {
				t.Errorf("%v", got)
			}
			seen[h] = true
		}
		if len(got) != want {
			t.Errorf("%d of %d hosts: %v, want %d", len(got), hosts, got, want)
		}
		q.o.Named = nil
		if got := q.named(); got != nil {
			t.Errorf("nothing has to be looked up: %v", got)
		}
		q.Stop()
	}
}

// TestDraw: how many witnesses are drawn, and whether these are all.
func TestDraw(t *testing.T) {
	t.Parallel()
	for slots, want := range map[int]int{0: 256, 1: 8, 8: 8, 9: 9, 256: 256, 1000: 256} {
		for _, missing := range []int{0, 1} {
			asked := 0
			q := New[int](Options{Slots: slots, Witnesses: func(_ context.Context, n int,
				wanted func(string) bool) []string {
				asked = n
				if wanted("silent") || !wanted("other") {
					t.Error("a silent host is wanted again")
				}
				return make([]string, n-missing)
			}})
			q.outage.silent = map[string]bool{"silent": true}
			if urls, all := q.draw(); asked != want || len(urls) != want-missing || all != (missing > 0) {
				t.Errorf("%d slots: %d were asked for, want %d; %d came, all %t", slots, asked, want,
					len(urls), all)
			}
			q.Stop()
		}
	}
}
