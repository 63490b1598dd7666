package storetest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"facescan/store"
	"facescan/store/storetest/must"
)

func (b *bench) frontier(source int, from int64) store.Frontier {
	b.Helper()
	return must.Get(b.Job.Frontier(ctx(b.T), source, from))(b)
}

func testFrontier(t *testing.T, target Target) {
	b, s := joined(t, target)
	const two = int64(1) << store.SourceShift
	l := b.source(s, "first")
	b.equal(b.frontier(0, 0), store.Frontier{}) // nothing is imported, so nothing is done
	batch := []store.NewRow{{ID: 3, Bad: true}, {ID: 4}, {ID: 9, Bad: true}, {ID: 10}, {ID: 15}, {ID: 70},
		{ID: 71, Bad: true}}
	b.ok(s.Append(ctx(t), l, batch, store.Position{}, false, 2))
	b.fill(s, "second", 30, 10)
	for _, c := range [][2]int64{{0, 4}, {4, 4}, {5, 10}, {11, 15}, {16, 70}, {70, 70}, {71, 72}, {72, 72},
		{100, 100}} {
		b.equal(b.frontier(0, c[0]).Next, c[1])
	}
	b.equal(b.frontier(1, two).Next, two+1)
	claimed := map[int]store.Lease{}
	for len(claimed) < 2 {
		l := b.claim(s, 5)
		if _, again := claimed[l.Source]; !again {
			claimed[l.Source] = l
		}
	}
	b.commit(s, claimed[0], ok(4), ok(70))
	b.equal([]int64{b.frontier(0, 0).Next, b.frontier(0, 15).Next, b.frontier(0, 16).Next,
		b.frontier(1, two).Next}, []int64{10, 15, 72, two + 1})
	b.commit(s, claimed[1], failed(store.TLS)(two+1), failed(store.TLS)(two+2),
		ok(two+4))
	b.equal([]int64{b.frontier(0, 0).Next, b.frontier(1, two).Next, b.frontier(1, two+4).Next},
		[]int64{10, two + 3, two + 5})
	for _, l := range claimed {
		b.release(s, l)
	}
	b.work(s, ok)
	b.equal([]store.Frontier{b.frontier(0, 0), b.frontier(1, two), b.frontier(1, two+40)},
		[]store.Frontier{{Next: 72}, {Next: two + 31}, {Next: two + 40}})

	b.equal(b.retry(because(store.TLS)), int64(2))
	back := b.frontier(1, two)
	if back.Next != two+1 || back.Changes == 0 {
		t.Errorf("after a retry, the frontier is %+v", back)
	}
	b.equal(b.frontier(0, 0), store.Frontier{Next: 72}) // of another source
	b.work(s, ok)
	if f := b.frontier(1, two+31); f.Next != two+31 || f.Changes != back.Changes {
		t.Errorf("what was done again moved the frontier to %+v", f)
	}
	// Rows from another job that come in between, or replace what was read.
	for at, r := range []store.MergedRow{{Row: store.Row{ID: 50}},
		{Row: store.Row{ID: 71}, Result: some(ok(71))}} {
		before := b.frontier(0, 0).Changes
		b.ok(b.Absorb(ctx(t), 0, []store.MergedRow{r}, store.Position{}, true, 10))
		if f := b.frontier(0, 0); f.Changes <= before || f.Next != 50 {
			t.Errorf("case %d: changes %d, after %d; next %d", at, f.Changes, before, f.Next)
		}
	}
	before := b.frontier(0, 0).Changes
	// behind all others
	b.ok(b.Absorb(ctx(t), 0, []store.MergedRow{{Row: store.Row{ID: 80}}}, store.Position{}, true, 10))
	b.equal(b.frontier(0, 51), store.Frontier{Next: 80, Changes: before})

	// What is pending lies below, and at the beginning of the next shard.
	b, s = filled(t, target, 4, 2)
	b.commit(s, b.claim(s, 2), ok(2))
	b.equal([]int64{b.frontier(0, 1).Next, b.frontier(0, 2).Next}, []int64{1, 3})
}

// groups reads the finished groups by name, and holds them to be in order.
func (b *bench) groups() map[string]store.Group {
	b.Helper()
	out := map[string]store.Group{}
	last := int64(0)
	for _, g := range must.All(b, b.Job.Groups(ctx(b.T), 0)) {
		if g.Sequence <= last {
			b.Fatalf("group %q has number %d, after %d", g.Name, g.Sequence, last)
		}
		last = g.Sequence
		key := fmt.Sprintf("%d/%s", g.Source, g.Name)
		if _, twice := out[key]; twice {
			b.Fatalf("group %s is there twice", key)
		}
		out[key] = g
	}
	return out
}

// grouped is what a job's results add up to, by group. Revisions and numbers are 0.
func grouped(results []store.Result) map[string]store.Group {
	out := map[string]store.Group{}
	for _, r := range results {
		if r.Group == "" {
			continue
		}
		key := fmt.Sprintf("%d/%s", r.Source, r.Group)
		g, known := out[key]
		if !known {
			g = store.Group{Source: r.Source, Name: r.Group, First: r.Time, Last: r.Time}
		}
		g.Images++
		if r.Status == store.OK {
			g.OK++
		} else {
			g.Failed++
		}
		g.Faces += int64(len(r.Faces))
		if len(r.Faces) > 0 {
			g.ImagesWithFaces++
		}
		for _, f := range r.Faces {
			g.LargestFace = max(g.LargestFace, f.Width, f.Height)
		}
		if r.Time.Before(g.First) {
			g.First = r.Time
		}
		if r.Time.After(g.Last) {
			g.Last = r.Time
		}
		out[key] = g
	}
	return out
}

// finishedAre holds the finished groups to be those named, with their revisions, and right.
func (b *bench) finishedAre(want map[string]int64) {
	b.Helper()
	all := grouped(b.results())
	got := b.groups()
	if !slices.Equal(slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want))) {
		b.Fatalf("finished are %v, want %v", slices.Sorted(maps.Keys(got)), want)
	}
	for key, g := range got {
		w := all[key]
		w.Revision, w.Sequence = want[key], g.Sequence
		b.equal(g, w)
	}
	b.verify()
}

func inGroup(name string, ids ...int64) (out []store.NewRow) {
	for _, id := range ids {
		out = append(out, store.NewRow{ID: id, URL: urlOf(id), Group: name})
	}
	return out
}

func byID(rows ...[]store.NewRow) []store.NewRow {
	return slices.SortedFunc(slices.Values(slices.Concat(rows...)),
		func(a, b store.NewRow) int { return cmp.Compare(a.ID, b.ID) })
}

func testGroups(t *testing.T, target Target) {
	b, s := joined(t, target)
	l := b.source(s, "list")
	bad := inGroup("bad", 6, 7)
	bad[0].Bad, bad[1].Bad = true, true
	b.ok(s.Append(ctx(t), l, byID(inGroup("a", 1, 4), inGroup("ü 'b'", 2, 9), inGroup("", 3, 5), bad),
		store.Position{Line: 1}, false, 4))
	b.finishedAre(nil)
	var held []store.Lease
	for l := range b.claims(s, 100) {
		for _, r := range b.pending(s, l) {
			result := ok(r.ID)
			if r.ID == 4 {
				result = failed(store.TLS)(4)
			}
			if r.ID != 9 { // "ü 'b'" stays open
				b.commit(s, l, result)
			}
		}
		held = append(held, l)
	}
	b.release(s, held...)
	b.finishedAre(nil) // the import goes on: any group may get further rows
	b.ok(s.Append(ctx(t), l, inGroup("a", 19), store.Position{Line: 2}, false, 4))
	b.ok(s.Append(ctx(t), l, nil, store.Position{Line: 3}, true, 4))
	b.finishedAre(map[string]int64{"0/bad": 1}) // at the import's end
	b.ok(s.Append(ctx(t), l, nil, store.Position{Line: 3}, true, 4))
	m := b.claim(s, 10)
	b.commit(s, m, ok(19))
	b.finishedAre(map[string]int64{"0/bad": 1, "0/a": 1}) // with the last row's commit
	b.commit(s, m, failed(store.TLS)(19))
	b.finishedAre(map[string]int64{"0/bad": 1, "0/a": 1})

	// A source has groups of its own. Faces of all sizes.
	other := b.source(s, "other")
	const two = int64(1) << store.SourceShift
	b.ok(s.Append(ctx(t), other, inGroup("a", two+1, two+2), store.Position{}, true, 4))
	big := ok(two + 1)
	big.Faces = []store.Face{{Width: 10, Height: 200, Score: 3}, {Width: 20, Height: 10, Score: 2}}
	held = []store.Lease{m, b.claim(s, 10)}
	b.commit(s, held[1], big, ok(two+2))
	all := map[string]int64{"0/bad": 1, "0/a": 1, "1/a": 1}
	b.finishedAre(all)
	b.equal(b.groups()["1/a"].LargestFace, 200)

	// Reopened by retry, also of what is ok: the aggregate is gone at once, and comes back with a revision.
	b.equal(b.retry(because(store.TLS)), int64(1))
	b.finishedAre(map[string]int64{"0/bad": 1, "1/a": 1})
	first := b.groups()["0/bad"].Sequence
	b.release(s, held...)
	b.equal(b.work(s, ok), []int64{4, 9})
	all["0/a"], all["0/ü 'b'"] = 2, 1
	b.finishedAre(all)
	if again := b.groups()["0/a"]; again.Sequence <= first {
		t.Errorf("a group that was finished again has number %d", again.Sequence)
	}
	b.retry(store.Selection{OK: true})
	b.finishedAre(map[string]int64{"0/bad": 1})
	b.equal(len(b.work(s, failed(store.Timeout))), 9) // no face is left, and other times
	b.equal(b.groups()["1/a"].LargestFace, 0)

	// A list that grew reopens the groups of the new rows alone.
	all["0/a"], all["1/a"], all["0/ü 'b'"] = 3, 2, 2
	b.finishedAre(all)
	b.ok(s.Append(ctx(t), l, inGroup("a", 30), store.Position{Line: 4}, false, 4))
	delete(all, "0/a")
	b.finishedAre(all)
	b.equal(len(b.work(s, ok)), 1)
	b.finishedAre(all)
	b.ok(s.Append(ctx(t), l, nil, store.Position{Line: 5}, true, 4))
	all["0/a"] = 4
	b.finishedAre(all)
	full := inGroup("bad", 31)
	full[0].Bad = true
	b.ok(s.Append(ctx(t), l, full, store.Position{Line: 6}, true, 4)) // done as it comes in
	all["0/bad"] = 2
	b.finishedAre(all)
}

// testGroupEnd has groups finished by their end records, while the list goes on.
func testGroupEnd(t *testing.T, target Target) {
	b, s := joined(t, target)
	l := b.source(s, "list")
	line := int64(0)
	add := func(rows ...[]store.NewRow) {
		t.Helper()
		line++
		b.ok(s.Append(ctx(t), l, byID(rows...), store.Position{Line: line}, false, 4))
	}
	end := func(name string, id int64) []store.NewRow {
		return []store.NewRow{{ID: id, URL: "$", Group: name, End: true}}
	}
	add(inGroup("a", 1, 3), inGroup("b", 2), end("a", 4), end("later", 5), inGroup("", 6))
	b.equal(b.counts().Total, int64(4))
	b.finishedAre(nil)
	b.equal(len(b.work(s, ok)), 4)
	b.finishedAre(map[string]int64{"0/a": 1}) // b has not ended, and later has no rows yet
	sequence := b.groups()["0/a"].Sequence
	add(end("a", 7), end("b", 8)) // once more; and after the last row was done
	b.finishedAre(map[string]int64{"0/a": 1, "0/b": 1})
	b.equal(b.groups()["0/a"].Sequence, sequence)
	bad := inGroup("broken", 9)
	bad[0].Bad = true
	add(bad, end("broken", 10), inGroup("later", 11))
	b.finishedAre(map[string]int64{"0/a": 1, "0/b": 1, "0/broken": 1})
	b.equal(len(b.work(s, failed(store.Timeout))), 1)
	all := map[string]int64{"0/a": 1, "0/b": 1, "0/broken": 1, "0/later": 1}
	b.finishedAre(all)

	// A row of a group that was ended opens it until that is done, and so does one that is put back.
	add(inGroup("b", 12))
	delete(all, "0/b")
	b.finishedAre(all)
	b.retry(because(store.Timeout))
	delete(all, "0/later")
	b.finishedAre(all)
	b.equal(len(b.work(s, ok)), 2)
	all["0/b"], all["0/later"] = 2, 2
	b.finishedAre(all)

	// The end of the import changes nothing about them, and another source has ends of its own.
	b.ok(s.Append(ctx(t), l, inGroup("open", 20), store.Position{Line: 9}, false, 4))
	b.equal(len(b.work(s, ok)), 1)
	b.ok(s.Append(ctx(t), l, nil, store.Position{Line: 9}, true, 4))
	all["0/open"] = 1
	b.finishedAre(all)
	const two = int64(1) << store.SourceShift
	other := b.source(s, "other")
	b.ok(s.Append(ctx(t), other, byID(inGroup("a", two+1), end("b", two+2)), store.Position{}, false, 4))
	b.equal(len(b.work(s, ok)), 1)
	b.finishedAre(all)

	b.equal(must.All(b, b.Ends(ctx(t), 0)), []store.GroupEnd{{ID: 4, Group: "a"}, {ID: 5, Group: "later"},
		{ID: 8, Group: "b"}, {ID: 10, Group: "broken"}})
	for name, want := range map[string]int64{"a": 4, "b": 8, "none": 0} {
		b.equal(must.Get(b.EndOf(ctx(t), 0, name))(b), want)
	}
}

// testGroupEndMerge has the end records of a list count in its parts' merge, once no part is missing.
func testGroupEndMerge(t *testing.T, target Target) {
	var parts []store.Job
	for i := range int64(2) {
		var rows []store.NewRow
		for _, id := range span(1, 90) {
			group := fmt.Sprint("album", (id-1)/10)
			switch {
			case id%10 == 0:
				rows = append(rows, store.NewRow{ID: id, Group: group, End: true})
			case id%2 == i:
				rows = append(rows, store.NewRow{ID: id, URL: urlOf(id), Group: group})
			}
		}
		parts = append(parts, groupedPart(t, target, i, rows, store.Position{Line: 90, Rows: 81}, always(ok)))
	}
	out := start(t, target)
	out.merge(parts[0])
	out.finishedAre(nil)
	want := map[string]int64{}
	for i := range 9 {
		want[fmt.Sprint("0/album", i)] = 1
	}
	for range 2 {
		out.merge(parts...)
		out.finishedAre(want)
	}
	// The list grew: what was ended is finished again before the list ends.
	s := out.join(out.Job, longTTL)
	l := out.leaseSource(s, 0)
	out.ok(s.Append(ctx(t), l, inGroup("album3", 91), store.Position{Line: 91, Rows: 82}, false, 50))
	delete(want, "0/album3")
	out.finishedAre(want)
	out.work(s, ok)
	want["0/album3"] = 2
	out.finishedAre(want)

	// A merge that lacks a part notes the ends when the missing rows come from the list.
	half := start(t, target)
	half.merge(parts[0])
	s = half.join(half.Job, longTTL)
	l = half.leaseSource(s, 0)
	fill := append(inGroup("album0", 1, 3, 5, 7, 9), store.NewRow{ID: 10, Group: "album0", End: true})
	half.ok(s.Fill(ctx(t), l, fill, store.Position{Line: 90, Rows: 81}, false, 50))
	half.finishedAre(nil)
	half.work(s, ok)
	half.finishedAre(map[string]int64{"0/album0": 1})
}

// groupedPart makes the job of part i of two of a list, in which no group is finished.
func groupedPart(t *testing.T, target Target, i int64, rows []store.NewRow, end store.Position,
	result func(id int64) *store.Result) store.Job {
	t.Helper()
	b, s := joined(t, target)
	b.ok(b.Set(ctx(t), map[string]string{store.NodeSetting: fmt.Sprint(i, "/2")}))
	b.ok(s.Append(ctx(t), b.source(s, "list"), rows, end, true, 50))
	b.workSome(s, result)
	b.finishedAre(nil)
	return b.Job
}

// testGroupsMerge has groups appear when the parts of a list are merged, and not before.
func testGroupsMerge(t *testing.T, target Target) {
	part := func(i int64, result func(id int64) *store.Result) store.Job {
		var rows []store.NewRow
		for _, id := range span(1, 300) {
			if id%2 == i {
				rows = append(rows, store.NewRow{ID: id, URL: urlOf(id), Group: fmt.Sprint("album", id%10/2)})
			}
		}
		return groupedPart(t, target, i, rows, store.Position{Line: 300, Rows: 300}, result)
	}
	even := part(0, always(ok))
	odd := part(1, func(id int64) *store.Result {
		switch {
		case id%10 == 3 && id > 200: // of album1
			return nil
		case id%10 == 5: // of album2
			return some(failed(store.Timeout)(id))
		}
		return some(ok(id))
	})
	out := start(t, target)
	out.merge(even)
	out.finishedAre(nil) // half of them is missing
	for range 2 {
		out.merge(even, odd)
		out.finishedAre(map[string]int64{"0/album0": 1, "0/album2": 1, "0/album3": 1, "0/album4": 1})
	}
	out.merge(part(1, always(ok)))
	out.finishedAre(map[string]int64{"0/album0": 1, "0/album1": 1, "0/album2": 2, "0/album3": 1,
		"0/album4": 1})
}

// testGroupsKilled has three processes at work, which are killed now and then, while somebody reads the
// groups as they are finished: each must come once, and be right.
func testGroupsKilled(t *testing.T, target Target) { groupsKilled(t, target, false) }

// testGroupEndKilled is the same for groups that say their end, in a list that does not end.
func testGroupEndKilled(t *testing.T, target Target) { groupsKilled(t, target, true) }

func groupsKilled(t *testing.T, target Target, ends bool) {
	b := start(t, target)
	random := rand.New(rand.NewPCG(7, 8))
	w := work{Name: b.name, Do: "finish", TTL: 300 * time.Millisecond, Rows: 6000, Groups: 600, Ends: ends}
	if os.Getenv("FACESCAN_SOAK") != "" {
		w.Rows, w.Groups = 100_000, 10_000
	}
	workers := make(chan bool, 3) // whether they finished
	begin := func(kill time.Duration) {
		c := spawn(t, w)
		go func() { workers <- c.killAfter(kill) }()
	}
	patience, cancel := context.WithTimeout(context.Background(), 20*deadline)
	defer cancel()
	for range 3 {
		begin(time.Duration(random.IntN(int(300 * time.Millisecond))))
	}
	read := map[string]store.Group{}
	last, kills := int64(0), 0
	poll := func() {
		for _, g := range must.All(b, b.Job.Groups(patience, last)) {
			if _, twice := read[g.Name]; twice || g.Sequence <= last {
				t.Fatalf("group %s came twice, or number %d after %d", g.Name, g.Sequence, last)
			}
			read[g.Name], last = g, g.Sequence
		}
	}
	for finished := 0; finished < 3; poll() {
		select {
		case done := <-workers:
			switch {
			case done:
				finished++
			case kills < 12:
				kills++
				begin(time.Duration(random.IntN(int(300 * time.Millisecond))))
			default:
				begin(20 * deadline)
			}
		case <-time.After(5 * time.Millisecond): // groups come by another process's clock
		case <-patience.Done():
			t.Fatal(patience.Err())
		}
	}
	want := grouped(b.results())
	b.equal(len(want), w.Groups)
	for key, g := range want {
		g.Revision, g.Sequence = 1, read[g.Name].Sequence
		b.equal(read[g.Name], g)
		delete(want, key)
	}
	b.equal(len(b.groups()), w.Groups)
	t.Logf("%d groups after %d kills", len(read), kills)
}

// testManyGroups reads groups, their ends, and hashes, in more pages than one.
func testManyGroups(t *testing.T, target Target) {
	const n = 2500
	b, s := joined(t, target)
	var list []store.NewRow
	var ends []store.GroupEnd
	var hashes []store.HashedRow
	for i := range int64(n) {
		id, name := 2*i+1, fmt.Sprint("g", i)
		list = append(list, store.NewRow{ID: id, URL: urlOf(id), Group: name},
			store.NewRow{ID: id + 1, End: true, Group: name})
		ends = append(ends, store.GroupEnd{ID: id + 1, Group: name})
		hash := store.Hashes{PHash: store.NewPHash(uint64(id))}
		hashes = append(hashes, store.HashedRow{ID: id, Hashes: hash})
	}
	b.ok(s.Append(ctx(t), b.source(s, "list"), list, store.Position{}, false, 1000))
	b.work(s, func(id int64) store.Result {
		r := faceless(id)
		r.PHash = store.NewPHash(uint64(id))
		return r
	})
	b.equal(must.All(t, b.Ends(ctx(t), 0)), ends)
	b.equal(must.All(t, b.Hashes(ctx(t), 0, 1<<62)), hashes)
	b.equal(must.All(t, b.Hashes(ctx(t), 2, 4)), hashes[1:2])
	b.equal(len(b.groups()), n)
	all := must.All(t, b.Job.Groups(ctx(t), 0))
	b.equal(must.All(t, b.Job.Groups(ctx(t), all[n-6].Sequence)), all[n-5:])
}
