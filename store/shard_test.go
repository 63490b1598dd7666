package store

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestRoom(t *testing.T) {
	for _, c := range []struct {
		shard Shard
		last  int64
		size  int
		want  int64
	}{
		{Shard{Lo: 1, Hi: 10, Rows: 7}, 10, 20, 13},
		{Shard{Lo: 1, Hi: 10, Rows: 7}, 11, 20, 0}, // another one follows
		{Shard{Lo: 1, Hi: 10, Rows: 7}, 10, 7, 0},
		{Shard{Lo: 1, Hi: 10, Rows: 7}, 10, 5, 0}, // shards may become smaller from run to run
		{Shard{}, 10, 20, 0},
	} {
		if got := c.shard.Room(c.last, c.size); got != c.want {
			t.Errorf("%+v has room for %d rows after %d in shards of %d, want %d", c.shard, got, c.last,
				c.size, c.want)
		}
	}
}

// TestCutRows: shards tile what was appended, none is too large, and all rows and pending rows are counted
// once.
func TestCutRows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		last := rapid.Int64Range(0, 100).Draw(t, "last")
		size := rapid.IntRange(1, 6).Draw(t, "size")
		room := rapid.Int64Range(0, int64(size)).Draw(t, "room")
		var rows []NewRow
		pending, id := int64(0), last
		for range rapid.IntRange(0, 20).Draw(t, "rows") {
			id += rapid.Int64Range(1, 3).Draw(t, "gap")
			bad := rapid.Bool().Draw(t, "bad")
			rows = append(rows, NewRow{ID: id, Bad: bad})
			if !bad {
				pending++
			}
		}
		grown, fresh := CutRows(rows, last, room, size)
		if want := min(room, int64(len(rows))); grown.Rows != want {
			t.Fatalf("%d rows are put into the last shard, want %d", grown.Rows, want)
		}
		end, sum := last, Shard{}
		if grown.Rows > 0 {
			fresh = append([]Shard{grown}, fresh...)
		}
		for i, c := range fresh {
			if c.Lo != end+1 || c.Hi < c.Lo || c.Rows < 1 || c.Rows > int64(size) {
				t.Fatalf("shard %+v after id %d, with at most %d rows", c, end, size)
			}
			if full := i > 0 || grown.Rows == 0; full && i < len(fresh)-1 && c.Rows != int64(size) {
				t.Fatalf("shard %+v is not the last one, and not full", c)
			}
			end, sum.Rows, sum.Pending = c.Hi, sum.Rows+c.Rows, sum.Pending+c.Pending
		}
		if end != id || sum.Rows != int64(len(rows)) || sum.Pending != pending {
			t.Fatalf("shards end at %d, with %d rows, %d pending; want %d, %d, %d", end, sum.Rows,
				sum.Pending, id, len(rows), pending)
		}
	})
}

func TestJoin(t *testing.T) {
	c := Shard{Lo: 1, Hi: 10, Rows: 10, Pending: 2}
	for _, test := range []struct {
		what string
		want int64
		next []Shard
		got  Shard
		adds int // shards that are looked at and taken in
	}{
		{"enough rows", 2, []Shard{{Lo: 11, Hi: 20, Rows: 10, Pending: 10}}, c, 0},
		{"a neighbor", 3, []Shard{{Lo: 11, Hi: 20, Rows: 10, Pending: 1, Already: 4}},
			Shard{Lo: 1, Hi: 20, Rows: 20, Pending: 3, Already: 4}, 1},
		{"a gap", 3, []Shard{{Lo: 12, Hi: 20, Rows: 9, Pending: 1}}, c, 0},
		{"over one without pending rows", 3, []Shard{{Lo: 11, Hi: 20, Rows: 10},
			{Lo: 21, Hi: 21, Rows: 1, Pending: 1}}, Shard{Lo: 1, Hi: 21, Rows: 21, Pending: 3}, 2},
		{"none pending above", 3, []Shard{{Lo: 11, Hi: 20, Rows: 10}}, c, 1},
		{"too long", 3, []Shard{{Lo: 11, Hi: 20, Rows: MaxSpan - 9, Pending: 1}}, c, 0},
		{"as long as can be", 3, []Shard{{Lo: 11, Hi: 20, Rows: MaxSpan - 15, Pending: 1, Already: 5}},
			Shard{Lo: 1, Hi: 20, Rows: MaxSpan - 5, Pending: 3, Already: 5}, 1},
		{"too long with rows done on arrival", 3, []Shard{{Lo: 11, Hi: 20, Rows: 5, Pending: 1,
			Already: MaxSpan - 14}}, c, 0},
	} {
		j, adds := NewJoin(c, test.want), 0
		for _, n := range test.next {
			if !j.Add(n) {
				break
			}
			adds++
		}
		if j.Shard != test.got || adds != test.adds {
			t.Errorf("%s: joined %+v of %d shards, want %+v of %d", test.what, j.Shard, adds, test.got,
				test.adds)
		}
	}
}

func TestJoinFinished(t *testing.T) {
	below, at, above := Shard{Lo: -9, Hi: 0, Rows: 10}, Shard{Lo: 1, Hi: 10, Rows: 6, Already: 4},
		Shard{Lo: 11, Hi: 20, Rows: 3}
	long := func(c Shard) Shard { c.Rows = DoneSpan - 9; return c }
	for _, test := range []struct {
		what string
		near []Shard
		want Shard
		last int64
	}{
		{"alone", []Shard{at}, Shard{}, 0},
		{"not there", []Shard{below, above}, Shard{}, 0},
		{"both", []Shard{below, at, above}, Shard{Lo: -9, Hi: 20, Rows: 19, Already: 4}, 11},
		{"below", []Shard{below, at}, Shard{Lo: -9, Hi: 10, Rows: 16, Already: 4}, 1},
		{"above", []Shard{at, above}, Shard{Lo: 1, Hi: 20, Rows: 9, Already: 4}, 11},
		{"gaps", []Shard{{Lo: -9, Hi: -1}, at, {Lo: 12, Hi: 20}}, Shard{}, 0},
		{"long below", []Shard{long(below), at, above}, Shard{Lo: 1, Hi: 20, Rows: 9, Already: 4}, 11},
		{"long above", []Shard{below, at, long(above)}, Shard{Lo: -9, Hi: 10, Rows: 16, Already: 4}, 1},
	} {
		joined, last, joins := JoinFinished(test.near, at.Lo)
		if joins != (test.last != 0) || joins && (joined != test.want || last != test.last) {
			t.Errorf("%s: %+v to %d, %t; want %+v to %d", test.what, joined, last, joins, test.want,
				test.last)
		}
	}
	for joined, want := range map[int64]bool{DoneSpan - 10: true, DoneSpan - 9: false} {
		_, _, joins := JoinFinished([]Shard{{Lo: 1, Hi: 9, Rows: 10}, {Lo: 10, Hi: 99, Rows: joined}}, 1)
		if joins != want {
			t.Errorf("%d rows are joined: %t", joined+10, joins)
		}
	}
}

func TestMoreTurns(t *testing.T) {
	for _, c := range []struct {
		want, pending int64
		most, turns   int
	}{{100, 10, 64, 10}, {100, 1, 64, 64}, {5, 10, 64, 1}, {0, 10, 64, 1}} {
		if got := MoreTurns(c.want, c.pending, c.most); got != c.turns {
			t.Errorf("%+v: %d turns", c, got)
		}
	}
}

// found collects the checks that fail.
type found []string

func (f *found) report(p Problem) {
	if !slices.Contains(*f, p.Check) {
		*f = append(*f, p.Check)
	}
}

func TestShardAudit(t *testing.T) {
	type source struct {
		number                 int
		last, rows, generation int64
		orphan                 bool
	}
	type shard struct {
		source int
		Shard
		generation int64
		orphan     bool
	}
	base := FirstOf(1)
	sources := []source{{0, 20, 18, 5, false}, {1, base + 10, 10, 0, false}}
	shards := []shard{
		{0, Shard{Lo: 1, Hi: 12, Rows: 10, Pending: 3}, 5, false},
		{0, Shard{Lo: 13, Hi: 20, Rows: 8, Pending: 8}, 4, false},
		{1, Shard{Lo: base + 1, Hi: base + 10, Rows: 10}, 3, false},
	}
	for what, test := range map[string]struct {
		damage  func([]source, []shard)
		inPlace bool
		want    []string
	}{
		"sound": {func([]source, []shard) {}, false, nil},
		"a gap": {func(_ []source, h []shard) { h[1].Lo++ }, false, []string{
			"shard-tiling 14: shard 14 of source 0 begins after id 12"}},
		"an overlap": {func(_ []source, h []shard) { h[1].Lo-- }, true, []string{
			"shard-tiling 12: shard 12 of source 0 begins after id 12"}},
		"a late start": {func(_ []source, h []shard) { h[0].Lo++ }, false, []string{
			"shard-tiling 2: shard 2 of source 0 begins after id 0"}},
		"a table's start": {func(_ []source, h []shard) { h[0].Lo = -7 }, true, nil},
		"an early end": {func(s []source, _ []shard) { s[0].last++ }, false, []string{
			"shard-tiling 20: shards of source 0 end at id 20, its import at 21"}},
		"a wrong end": {func(_ []source, h []shard) { h[2].Hi = base }, false, []string{
			"shard 1099511627777: shard 1099511627777 to 1099511627776 has 10 rows, 0 pending",
			"shard-tiling 1099511627776: shards of source 1 end at id 1099511627776, its import at " +
				"1099511627786"}},
		"one row": {func(_ []source, h []shard) { h[1].Hi, h[1].Lo = 13, 13 }, false, []string{
			"shard-tiling 13: shards of source 0 end at id 13, its import at 20"}},
		"all pending": {func(_ []source, h []shard) { h[0].Pending = 10 }, false, nil},
		"too many pending": {func(_ []source, h []shard) { h[1].Pending = 9 }, false, []string{
			"shard 13: shard 13 to 20 has 8 rows, 9 pending"}},
		"pending below 0": {func(_ []source, h []shard) { h[1].Pending = -1 }, false, []string{
			"shard 13: shard 13 to 20 has 8 rows, -1 pending"}},
		"an orphan": {func(_ []source, h []shard) { h[1].orphan = true }, false, []string{
			"lease-owner 13: shard 13 is leased to nobody known, or without an end"}},
		"an importer gone": {func(s []source, _ []shard) { s[1].orphan = true }, false, []string{
			"lease-owner 0: the import of source 1 is leased to nobody known, or without an end"}},
		"a generation": {func(_ []source, h []shard) { h[1].generation = 6 }, false, []string{
			"lease-generation 13: shard 13 has generation 6, the last one given is 5"}},
		"an import's": {func(s []source, _ []shard) { s[1].generation = 6 }, false, []string{
			"lease-generation 0: the import of source 1 has generation 6, the last one given is 5"}},
		"no such source": {func(_ []source, h []shard) { h[2].source = 2 }, true, []string{
			"source 0: shards of source 2, which is not there",
			"source-rows 0: source 1 counts 10 rows, its shards 0"}},
		"rows": {func(s []source, _ []shard) { s[1].rows-- }, false, []string{
			"source-rows 0: source 1 counts 9 rows, its shards 10"}},
	} {
		var got []string
		s, h := slices.Clone(sources), slices.Clone(shards)
		test.damage(s, h)
		a := NewShardAudit(5, test.inPlace, func(p Problem) {
			got = append(got, fmt.Sprintf("%s %d: %s", p.Check, p.ID, p.Text))
		})
		for _, s := range s {
			a.Source(s.number, s.last, s.rows, s.generation, s.orphan)
		}
		for _, h := range h {
			a.Shard(h.source, h.Shard, h.generation, h.orphan)
		}
		a.Close()
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
}

func TestShardCount(t *testing.T) {
	a, b := Shard{Lo: 1, Hi: 10, Rows: 10, Pending: 4}, Shard{Lo: 11, Hi: 20, Rows: 5, Pending: 5, Already: 2}
	less := b
	less.Already--
	for _, test := range []struct {
		there Shard
		rows  int64
		want  []string
	}{
		{b, 17, nil},
		{b, 18, []string{"row-outside-shards"}},
		{less, 16, []string{"shard-counts"}},
		{less, 17, []string{"shard-counts", "row-outside-shards"}},
	} {
		var got found
		n := NewShardCount(got.report)
		n.Shard(a, a)
		n.Shard(b, test.there)
		n.Close(1, 20, test.rows)
		if diff := cmp.Diff(test.want, []string(got)); diff != "" {
			t.Errorf("%+v of %d: %s", test.there, test.rows, diff)
		}
	}
}

// TestShardCountSays which numbers differ, those of rows done on arrival only where there are any.
func TestShardCountSays(t *testing.T) {
	said := Shard{Lo: 1, Hi: 10, Rows: 10, Pending: 4}
	arrived := said
	arrived.Already = 2
	for _, c := range []struct {
		said, there Shard
		want        string
	}{
		{said, Shard{Lo: 1, Hi: 10, Rows: 9, Pending: 3},
			"shard 1 to 10 counts 10 rows, 4 pending; there are 9, 3"},
		{said, arrived, "shard 1 to 10 counts 10 rows, 4 pending, 0 done on arrival; there are 10, 4, 2"},
		{arrived, said, "shard 1 to 10 counts 10 rows, 4 pending, 2 done on arrival; there are 10, 4, 0"},
	} {
		var got []string
		n := NewShardCount(func(p Problem) { got = append(got, p.Text) })
		n.Shard(c.said, c.there)
		if !slices.Equal(got, []string{c.want}) {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	var got []string
	n := NewShardCount(func(p Problem) { got = append(got, p.Text) })
	n.Shard(said, said)
	n.Close(1, 10, 12)
	if want := "2 rows between id 1 and 10 are in no shard"; !slices.Equal(got, []string{want}) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestSpan(t *testing.T) {
	var s Span
	if s.End() != 1<<63-1 {
		t.Errorf("without shards it ends at %d", s.End())
	}
	for i := range int64(4) {
		s.Add(Shard{Lo: i, Hi: i, Rows: VerifySpan / 4, Already: VerifySpan / 4})
	}
	if len(s.Shards) != 2 || s.End() != 1 {
		t.Errorf("%d shards, to %d", len(s.Shards), s.End())
	}
}
