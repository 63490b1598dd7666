package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"facescan/store"
	"facescan/store/storetest/must"
)

// model is what a job of one source should be: all of it in maps.
type model struct {
	*rapid.T
	job     store.Job
	agents  []*agent
	last    int64                  // id appended last
	rows    map[int64]bool         // all of them
	results map[int64]store.Result // of those that are done
	held    map[int64]*agent       // who leases a row

	groups    map[int64]string // of the rows that have one
	complete  bool             // the import is
	ended     map[string]bool  // groups whose end record was read
	touched   map[string]bool  // groups whose rows or results changed since the last check
	finished  map[string]bool
	revisions map[string]int64
	changes   int64 // of the frontier
}

// agent is a session and the leases it holds, or has lost.
type agent struct {
	store.Session
	importing *store.SourceLease
	leases    []store.Lease
	released  []store.Lease
}

// testModel does random things in random order, and holds the job to the model after each.
func testModel(outer *testing.T, target Target) {
	rapid.Check(outer, func(t *rapid.T) {
		job := must.Get(target.Open(context.Background(), target.Create(outer)))(t)
		m := &model{T: t, job: job, rows: map[int64]bool{}, results: map[int64]store.Result{},
			held: map[int64]*agent{}, groups: map[int64]string{}, touched: map[string]bool{},
			finished: map[string]bool{}, revisions: map[string]int64{}, ended: map[string]bool{}}
		defer func() { m.ok(job.Close()) }()
		must.Get(job.AddSource(context.Background(), store.Source{Name: "list"}))(m)
		for range 2 {
			s := must.Get(job.Join(context.Background(), store.Owner{}, longTTL))(m)
			m.agents = append(m.agents, &agent{Session: s})
		}
		t.Repeat(map[string]func(*rapid.T){
			"append": m.append, "claim": m.claim, "commit": m.commit, "commit released": m.commitReleased,
			"release": m.release, "retry": m.retry, "": m.check,
		})
	})
}

func (m *model) ok(err error) {
	m.Helper()
	must.OK(m, err)
}

func (m *model) agent(t *rapid.T) *agent { return rapid.SampledFrom(m.agents).Draw(t, "agent") }

func (m *model) append(t *rapid.T) {
	a := m.agent(t)
	for _, other := range m.agents {
		if other != a && other.importing != nil {
			m.ok(other.ReleaseSource(context.Background(), *other.importing))
			other.importing = nil
		}
	}
	if a.importing == nil {
		l := must.Get(a.LeaseSource(context.Background(), 0))(m)
		a.importing = &l
	}
	var batch []store.NewRow
	for range rapid.IntRange(0, 30).Draw(t, "rows") {
		m.last += rapid.Int64Range(1, 5).Draw(t, "gap")
		if n := rapid.IntRange(1, 40).Draw(t, "end"); n <= 3 {
			end := store.NewRow{ID: m.last, Group: fmt.Sprint("group ", n), End: true}
			batch, m.ended[end.Group] = append(batch, end), true
			m.touched[end.Group] = m.touched[end.Group] || !m.finished[end.Group]
			continue
		}
		r := store.NewRow{ID: m.last, URL: urlOf(m.last), Bad: rapid.IntRange(0, 9).Draw(t, "bad") == 0}
		if n := rapid.IntRange(0, 3).Draw(t, "group"); n > 0 {
			r.Group = fmt.Sprint("group ", n)
			m.groups[r.ID], m.touched[r.Group] = r.Group, true
		}
		batch = append(batch, r)
		m.rows[r.ID] = true
		if r.Bad {
			m.results[r.ID] = store.Result{ID: r.ID, Status: store.Failed, Reason: store.BadURL}
		}
	}
	size := rapid.IntRange(1, 20).Draw(t, "shard size")
	was := m.complete
	m.complete = rapid.Bool().Draw(t, "complete")
	m.ok(a.Append(context.Background(), *a.importing, batch, store.Position{Line: m.last}, m.complete, size))
	if m.complete && !was {
		for _, group := range m.groups {
			m.touched[group] = m.touched[group] || !m.finished[group]
		}
	}
}

func (m *model) claim(t *rapid.T) {
	a := m.agent(t)
	limit := rapid.IntRange(1, 60).Draw(t, "max rows")
	l, err := a.Claim(context.Background(), limit)
	if errors.Is(err, store.ErrNoShard) {
		for id := range m.rows {
			if _, done := m.results[id]; !done && m.held[id] == nil {
				m.Fatalf("no shard, but row %d is free", id)
			}
		}
		return
	}
	m.ok(err)
	rows := must.Get(a.Pending(context.Background(), l, 0, 1000))(m)
	if int64(len(rows)) != l.Pending || len(rows) == 0 || len(rows) > limit {
		m.Fatalf("claimed %d of at most %d rows, found %d", l.Pending, limit, len(rows))
	}
	for id := range m.rows {
		if id < l.Lo || id > l.Hi {
			continue
		}
		_, done := m.results[id]
		if open := slices.ContainsFunc(rows, func(r store.Row) bool { return r.ID == id }); open == done ||
			m.held[id] != nil {
			m.Fatalf("row %d: pending %v, done %v, held %v", id, open, done, m.held[id] != nil)
		}
		m.held[id] = a
	}
	a.leases = append(a.leases, l)
}

// batch makes results for some rows of a lease, some of them done before.
func (m *model) batch(t *rapid.T, l store.Lease) (out []store.Result) {
	for _, id := range slices.Sorted(maps.Keys(m.rows)) {
		if id >= l.Lo && id <= l.Hi && rapid.Bool().Draw(t, "do") {
			r := ok(id)
			if rapid.Bool().Draw(t, "fail") {
				r = failed(rapid.SampledFrom([]store.Reason{store.TLS, store.Timeout, store.Reset}).Draw(t,
					"reason"))(id)
			}
			out = append(out, r)
		}
	}
	return out
}

func (m *model) commit(t *rapid.T) {
	a := m.agent(t)
	if len(a.leases) == 0 {
		return
	}
	l := rapid.SampledFrom(a.leases).Draw(t, "lease")
	batch := m.batch(t, l)
	m.ok(a.Commit(context.Background(), l, batch))
	for _, r := range batch {
		if _, done := m.results[r.ID]; !done {
			m.results[r.ID] = r
			m.touched[m.groups[r.ID]] = true
		}
	}
}

func (m *model) commitReleased(t *rapid.T) {
	a := m.agent(t)
	if len(a.released) == 0 {
		return
	}
	l := rapid.SampledFrom(a.released).Draw(t, "lease")
	if err := a.Commit(context.Background(), l, m.batch(t, l)); !errors.Is(err, store.ErrLeaseLost) {
		m.Fatalf("commit under a lease given back: %v", err)
	}
}

func (m *model) release(t *rapid.T) {
	a := m.agent(t)
	if len(a.leases) == 0 {
		return
	}
	at := rapid.IntRange(0, len(a.leases)-1).Draw(t, "lease")
	l := a.leases[at]
	m.ok(a.Release(context.Background(), []store.Lease{l}))
	a.leases = slices.Delete(a.leases, at, at+1)
	a.released = append(a.released, l)
	for id := range m.held {
		if id >= l.Lo && id <= l.Hi {
			delete(m.held, id)
		}
	}
}

func (m *model) retry(t *rapid.T) {
	some := rapid.SliceOfDistinct(rapid.SampledFrom([]store.Reason{store.TLS, store.Timeout, store.Reset,
		store.BadURL, store.OptOut}),
		func(r store.Reason) store.Reason { return r }).Draw(t, "reasons")
	judged := rapid.IntRange(0, 9).Draw(t, "ok too") == 0
	n := must.Get(m.job.Retry(context.Background(), store.Selection{Reasons: some, OK: judged,
		Except: []string{"test/2"}}))(m)
	want := int64(0)
	for id, r := range m.results {
		if r.Status == store.OK && judged || r.Status == store.Failed && slices.Contains(some, r.Reason) {
			delete(m.results, id)
			m.touched[m.groups[id]] = true
			want++
		}
	}
	if n != want {
		m.Fatalf("retry of %v: %d rows, want %d", some, n, want)
	}
}

func (m *model) check(*rapid.T) {
	want := store.Counts{Total: int64(len(m.rows)), Done: int64(len(m.results)),
		Failures: map[store.Reason]int64{}}
	for _, r := range m.results {
		if r.Status == store.OK {
			want.OK++
		} else {
			want.Failed++
			want.Failures[r.Reason]++
		}
		want.Faces += int64(len(r.Faces))
		if len(r.Faces) > 0 {
			want.ImagesWithFaces++
		}
	}
	want.Pending = want.Total - want.Done
	got := must.Get(m.job.Counts(context.Background()))(m)
	got.Shards, got.Owners, got.ImportIncomplete = store.ShardCounts{}, nil, nil
	if d := cmp.Diff(want, got); d != "" {
		m.Fatalf("counts: -want +got:\n%s", d)
	}
	ids := slices.Sorted(maps.Keys(m.results))
	for _, r := range must.All(m, m.job.Results(context.Background(), 0, 1<<62)) {
		if len(ids) == 0 || r.ID != ids[0] {
			m.Fatalf("result of row %d, want %v", r.ID, ids)
		}
		w := m.results[r.ID]
		if r.Status != w.Status || r.Reason != w.Reason || !slices.Equal(r.Faces, w.Faces) {
			m.Fatalf("row %d ended %s %s, want %s %s", r.ID, r.Status, r.Reason, w.Status, w.Reason)
		}
		ids = ids[1:]
	}
	if len(ids) > 0 {
		m.Fatalf("no results of rows %v", ids)
	}
	m.checkOrder()
	m.ok(m.job.Verify(context.Background(), store.VerifyOptions{},
		func(p store.Problem) { m.Errorf("verify: %s: %s", p.Check, p.Text) }))
}

// checkOrder compares the frontier, and the groups that are finished.
func (m *model) checkOrder() {
	next, last := int64(0), int64(0)
	for id := range m.rows {
		if _, done := m.results[id]; !done && (next == 0 || id < next) {
			next = id
		}
		last = max(last, id)
	}
	if next == 0 && last > 0 {
		next = last + 1
	}
	f := must.Get(m.job.Frontier(context.Background(), 0, 0))(m)
	if f.Next != next || f.Changes < m.changes {
		m.Fatalf("the frontier is %+v, want %d, and changes from %d on", f, next, m.changes)
	}
	m.changes = f.Changes

	delete(m.touched, "")
	pending, rows := map[string]bool{}, map[string]bool{}
	for id, group := range m.groups {
		rows[group] = true
		if _, done := m.results[id]; !done {
			pending[group] = true
		}
	}
	for group, touched := range m.touched {
		if !touched {
			continue
		}
		if m.finished[group] = (m.complete || m.ended[group]) && rows[group] &&
			!pending[group]; m.finished[group] {
			m.revisions[group]++
		}
	}
	clear(m.touched)
	var results []store.Result
	for id, r := range m.results {
		r.ID, r.Group = id, m.groups[id]
		results = append(results, r)
	}
	want := grouped(results)
	last = 0
	for _, g := range must.All(m, m.job.Groups(context.Background(), 0)) {
		w := want["0/"+g.Name]
		w.Revision, w.Sequence = m.revisions[g.Name], g.Sequence
		if !m.finished[g.Name] || g.Sequence <= last {
			m.Fatalf("group %q is finished, with number %d after %d", g.Name, g.Sequence, last)
		}
		if g.Failed > 0 { // broken records have the time of their import
			w.First, w.Last = g.First, g.Last
		}
		if d := cmp.Diff(w, g); d != "" {
			m.Fatalf("-want +got:\n%s", d)
		}
		last = g.Sequence
		delete(want, "0/"+g.Name)
	}
	for _, g := range want {
		if m.finished[g.Name] {
			m.Fatalf("group %q is not finished", g.Name)
		}
	}
}
