package store

import (
	"fmt"
	"math"
)

// How shards are cut, joined and measured, the same in every implementation.

const (
	// DefaultShardSize is how many rows a shard has.
	DefaultShardSize = 10_000
	// MinSlice is how many rows a claim takes at least, although living owners share what is left of a job.
	MinSlice = 32
	// MaxSpan is up to how many rows, done ones included, a claim joins shards.
	MaxSpan = 100_000
	// DoneSpan is up to how many rows finished shards are joined.
	DoneSpan = 50_000
	// NearEnd is how many free shards are counted to see how much work is left; beyond them it counts as Far.
	NearEnd = 256
	Far     = int64(1) << 40
)

// FirstOf is the id below all rows of a source: its rows have FirstOf(source) < id < FirstOf(source+1).
func FirstOf(source int) int64 { return int64(source) << SourceShift }

// SourceOf is the number of the source that a row belongs to.
func SourceOf(id int64) int { return int(id >> SourceShift) }

// Shard is a range of ids, both ends included, with its counters.
type Shard struct {
	Lo, Hi, Rows, Pending int64

	Already int64 // rows besides Rows: those done on arrival, in a user's table
}

// All is how many rows lie in the shard.
func (c Shard) All() int64 { return c.Rows + c.Already }

// Short is the error of a shard that has not as many pending rows as it counts.
func (c Shard) Short() error {
	return fmt.Errorf("%w: shard %d has fewer than the %d pending rows that it counts", ErrDamaged, c.Lo,
		c.Pending)
}

// with is the shard together with the one that follows it.
func (c Shard) with(next Shard) Shard {
	return Shard{c.Lo, next.Hi, c.Rows + next.Rows, c.Pending + next.Pending, c.Already + next.Already}
}

// Room is how many more rows the last shard of a source takes at an append: none unless it ends at the last
// row.
func (c Shard) Room(last int64, shardSize int) int64 {
	if c.Hi != last {
		return 0
	}
	return max(0, int64(shardSize)-c.Rows)
}

// CutRows puts rows above all others of their source, whose last id is given, into shards. The first ones go
// into the last shard, as far as it has room: grown is what it gets, with its new end. Shards tile: one
// begins where the one before it ended, even where ids are missing.
func CutRows(rows []NewRow, last, room int64, shardSize int) (grown Shard, fresh []Shard) {
	take := func(most int64) Shard {
		n := min(most, int64(len(rows)))
		c := Shard{Lo: last + 1, Hi: rows[n-1].ID, Rows: n, Pending: CountPending(rows[:n])}
		last, rows = c.Hi, rows[n:]
		return c
	}
	if room > 0 && len(rows) > 0 {
		grown = take(room)
	}
	for len(rows) > 0 {
		fresh = append(fresh, take(int64(shardSize)))
	}
	return grown, fresh
}

// CountPending counts the rows that are pending: all but those that are Bad.
func CountPending(rows []NewRow) (n int64) {
	for i := range rows {
		if !rows[i].Bad {
			n++
		}
	}
	return n
}

// Join gathers free shards that follow one another into one, so that a claim of sparse shards has enough
// rows.
type Join struct {
	Shard       // what is joined: it ends with a shard that has pending rows
	seen  Shard // with shards behind it that have none
	want  int64
}

// NewJoin begins with the shard that a claim found, and ends once that many rows are pending.
func NewJoin(c Shard, want int64) Join { return Join{c, c, want} }

// Add joins the next free shard, and reports whether another may follow.
func (j *Join) Add(next Shard) bool {
	if next.Lo != j.seen.Hi+1 || j.seen.All()+next.All() > MaxSpan || j.Pending >= j.want {
		return false
	}
	j.seen = j.seen.with(next)
	if next.Pending > 0 {
		j.Shard = j.seen
	}
	return true
}

// JoinFinished joins the finished shard at lo with those below and above it, as far as they follow one
// another and do not become too long together. Near are free and finished shards of one source, by id. Last
// is where the last of the joined parts begins; false says that there is nothing to join.
func JoinFinished(near []Shard, lo int64) (joined Shard, last int64, joins bool) {
	found := false
	for i, n := range near {
		follows := i > 0 && n.Lo == joined.Hi+1 && joined.All()+n.All() <= DoneSpan
		if found && !follows {
			break
		}
		if follows {
			joined = joined.with(n)
		} else {
			joined = n
		}
		last, found = n.Lo, found || n.Lo == lo
	}
	return joined, last, found && last != joined.Lo
}

// MoreTurns is how many sources a claim asks next, for one shard each, when the last shard had so many
// pending rows.
func MoreTurns(want, pending int64, most int) int { return int(min(max(want/pending, 1), int64(most))) }

// A ShardAudit finds what is wrong with the shards and leases of a job. It is given all sources, then all
// shards by id, and then Close is called.
type ShardAudit struct {
	given   int64 // the last generation
	gaps    bool  // a source's first shard may begin anywhere: its ids are a user's
	report  func(Problem)
	sources map[int]audited
	shards  map[int]audited
}

// audited are the last id and the number of rows of a source, as it counts itself, or as its shards do.
type audited struct{ last, rows int64 }

// NewShardAudit begins an audit of a job by the last generation that was given.
func NewShardAudit(given int64, inPlace bool, report func(Problem)) *ShardAudit {
	return &ShardAudit{given, inPlace, report, map[int]audited{}, map[int]audited{}}
}

func (a *ShardAudit) problem(check string, id int64, format string, args ...any) {
	a.report(Problem{Check: check, ID: id, Text: fmt.Sprintf(format, args...)})
}

// Source adds a source. An orphan is leased to an owner that is not known, or without an expiry.
func (a *ShardAudit) Source(number int, last, rows, generation int64, orphan bool) {
	a.sources[number] = audited{last, rows}
	a.lease(fmt.Sprintf("the import of source %d", number), 0, generation, orphan)
}

// Shard adds a shard of a source.
func (a *ShardAudit) Shard(source int, c Shard, generation int64, orphan bool) {
	before, later := a.shards[source]
	if !later {
		before.last = FirstOf(source)
	}
	if (later || !a.gaps) && c.Lo != before.last+1 {
		a.problem("shard-tiling", c.Lo, "shard %d of source %d begins after id %d", c.Lo, source, before.last)
	}
	if c.Hi < c.Lo || c.Pending < 0 || c.Pending > c.Rows {
		a.problem("shard", c.Lo, "shard %d to %d has %d rows, %d pending", c.Lo, c.Hi, c.Rows, c.Pending)
	}
	a.lease(fmt.Sprintf("shard %d", c.Lo), c.Lo, generation, orphan)
	a.shards[source] = audited{c.Hi, before.rows + c.Rows}
}

func (a *ShardAudit) lease(what string, id, generation int64, orphan bool) {
	if orphan {
		a.problem("lease-owner", id, "%s is leased to nobody known, or without an end", what)
	}
	if generation > a.given {
		a.problem("lease-generation", id, "%s has generation %d, the last one given is %d", what, generation,
			a.given)
	}
}

// Close compares what shards and sources say of each other.
func (a *ShardAudit) Close() {
	for number, c := range a.shards {
		if s, known := a.sources[number]; !known {
			a.problem("source", 0, "shards of source %d, which is not there", number)
		} else if s.last != c.last {
			a.problem("shard-tiling", c.last, "shards of source %d end at id %d, its import at %d", number,
				c.last, s.last)
		}
	}
	for number, s := range a.sources {
		if c := a.shards[number]; s.rows != c.rows {
			a.problem("source-rows", 0, "source %d counts %d rows, its shards %d", number, s.rows, c.rows)
		}
	}
}

// A ShardCount compares the counters of some shards that follow one another with their rows.
type ShardCount struct {
	inside int64 // rows in these shards
	report func(Problem)
}

// NewShardCount begins a comparison.
func NewShardCount(report func(Problem)) *ShardCount { return &ShardCount{report: report} }

// Shard compares a shard with what there is.
func (n *ShardCount) Shard(said, there Shard) {
	n.inside += there.All()
	if said == there {
		return
	}
	text := fmt.Sprintf("shard %d to %d counts %d rows, %d pending", said.Lo, said.Hi, said.Rows,
		said.Pending)
	if said.Already != 0 || there.Already != 0 {
		text += fmt.Sprintf(", %d done on arrival; there are %d, %d, %d", said.Already, there.Rows,
			there.Pending, there.Already)
	} else {
		text += fmt.Sprintf("; there are %d, %d", there.Rows, there.Pending)
	}
	n.report(Problem{Check: "shard-counts", ID: said.Lo, Text: text})
}

// Close compares with all rows between two ids.
func (n *ShardCount) Close(lo, hi, rows int64) {
	if outside := rows - n.inside; outside > 0 {
		n.report(Problem{Check: "row-outside-shards",
			Text: fmt.Sprintf("%d rows between id %d and %d are in no shard", outside, lo, hi)})
	}
}

// VerifyWhole runs what an implementation checks of a whole job, and then what it checks of its rows: from an
// id on, range after range. Span returns where the next range begins, if there is more, and how many results
// of the range have no checksum.
func VerifyWhole(o VerifyOptions, whole []func() error,
	span func(from int64) (next int64, more bool, unchecked int64, err error)) error {
	for _, check := range whole {
		if err := check(); err != nil {
			return err
		}
	}
	unchecked := int64(0)
	for from, more := int64(math.MinInt64), true; more; {
		var n int64
		var err error
		if from, more, n, err = span(from); err != nil {
			return err
		}
		unchecked += n
	}
	if o.Unchecked != nil {
		o.Unchecked(unchecked)
	}
	return nil
}

// VerifySpan is how many rows one transaction of a verify covers, about; VerifyShown is how many rows one
// check names in it: a broken job has the same problem everywhere.
const (
	VerifySpan  = 50_000
	VerifyShown = 10
)

// A Span is some shards that follow one another, for one transaction of a verify.
type Span struct {
	Shards []Shard
	rows   int64
}

// Add adds the next shard, unless the span is large enough.
func (s *Span) Add(c Shard) {
	if s.rows < VerifySpan {
		s.Shards, s.rows = append(s.Shards, c), s.rows+c.All()
	}
}

// End is the last id to check: that of the last shard, or of all when there is none.
func (s *Span) End() int64 {
	if len(s.Shards) == 0 {
		return math.MaxInt64
	}
	return s.Shards[len(s.Shards)-1].Hi
}
