// Package storetest is the conformance suite of package store: every implementation passes all of it.
//
// An implementation's test file hands over a Target and calls Run from a test, and Main from TestMain, since
// some tests need other processes: they run the test binary again, which Main turns into a worker on the job
// named in its environment.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"facescan/store"
	"facescan/store/storetest/must"
)

// Target is an implementation under test.
type Target struct {
	// Create makes an empty job, gone after the test, and returns its name.
	Create func(t testing.TB) string
	// Open opens a job by the name that Create gave, in any process.
	Open func(ctx context.Context, name string) (store.Job, error)
	// OwnerFiles lists the files by which processes of a job know each other's death.
	OwnerFiles func(t testing.TB, name string) []string
	// Tamper runs a statement on the tables of a job, which has to change a row.
	Tamper func(t testing.TB, j store.Job, text string)
	// AtOnce says that dead processes are noticed by the very next claim, not only when their leases run out.
	AtOnce bool
	// Publishes says that what changes in a job can be published.
	Publishes bool
}

// longTTL is never over within a test.
const longTTL = time.Hour

// deadline bounds what a test waits for.
const deadline = 60 * time.Second

// Run runs the suite, or only the tests of some names.
func Run(t *testing.T, target Target, only ...string) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Target)
	}{
		{"Settings", testSettings},
		{"Sources", testSources},
		{"SourceLease", testSourceLease},
		{"Append", testAppend},
		{"AppendRefuses", testAppendRefuses},
		{"Shards", testShards},
		{"ClaimCuts", testClaimCuts},
		{"ClaimJoins", testClaimJoins},
		{"ClaimSharesTheEnd", testClaimSharesTheEnd},
		{"ClaimGoesRound", testClaimGoesRound},
		{"ClaimNews", testClaimNews},
		{"ShortShard", testShortShard},
		{"Priority", testPriority},
		{"Pause", testPause},
		{"ManySources", testManySources},
		{"SmallLists", testSmallLists},
		{"PutBack", testPutBack},
		{"FinishedShards", testFinishedShards},
		{"Pending", testPending},
		{"Commit", testCommit},
		{"CommitRefuses", testCommitRefuses},
		{"CommitTwice", testCommitTwice},
		{"LostLease", testLostLease},
		{"Nothing", testNothing},
		{"Refusals", testRefusals},
		{"Renew", testRenew},
		{"ResultFields", testResultFields},
		{"ResultPages", testResultPages},
		{"Select", testSelect},
		{"Duplicates", testDuplicates},
		{"Rows", testRows},
		{"Counts", testCounts},
		{"Report", testReport},
		{"Retry", testRetry},
		{"RetryHost", testRetryHost},
		{"RetryOK", testRetryOK},
		{"Files", testFiles},
		{"Samples", testSamples},
		{"Forget", testForget},
		{"ForgetURL", testForgetURL},
		{"ForgetWorks", testForgetWorks},
		{"ForgetMerge", testForgetMerge},
		{"Publish", testPublish},
		{"PublishMany", testPublishMany},
		{"TakeIn", testTakeIn},
		{"Frontier", testFrontier},
		{"Groups", testGroups},
		{"ManyGroups", testManyGroups},
		{"GroupEnd", testGroupEnd},
		{"GroupEndMerge", testGroupEndMerge},
		{"GroupEndKilled", testGroupEndKilled},
		{"GroupsMerge", testGroupsMerge},
		{"GroupsKilled", testGroupsKilled},
		{"Tally", testTally},
		{"Size", testSize},
		{"Merge", testMerge},
		{"MergeChooses", testMergeChooses},
		{"MergeRefuses", testMergeRefuses},
		{"MergeCutOff", testMergeCutOff},
		{"MergeFill", testMergeFill},
		{"MergeOverlaps", testMergeOverlaps},
		{"Leave", testLeave},
		{"Reopen", testReopen},
		{"Cancelled", testCancelled},
		{"Share", testShare},
		{"Hung", testHung},
		{"Killed", testKilled},
		{"Suspects", testSuspects},
		{"DeathCountsOnce", testDeathCountsOnce},
		{"KillLoop", testKillLoop},
		{"Zombies", testZombies},
		{"Model", testModel},
	} {
		if len(only) == 0 || slices.Contains(only, c.name) {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				c.test(t, target)
			})
		}
	}
}

// bench is a job open for a test.
type bench struct {
	*testing.T
	target Target
	name   string
	store.Job
	joined []store.Session // a session that nobody holds any more is as good as dead
}

// start opens a new job, to be verified and closed after the test.
func start(t *testing.T, target Target) *bench {
	t.Helper()
	b := &bench{T: t, target: target, name: target.Create(t)}
	b.Job = b.open()
	t.Cleanup(func() { b.verify() })
	return b
}

// open opens the same job once more, to be closed after the test.
func (b *bench) open() store.Job {
	b.Helper()
	j := must.Get(b.target.Open(context.Background(), b.name))(b)
	b.Cleanup(func() { b.ok(j.Close()) })
	return j
}

func (b *bench) ok(err error) {
	b.Helper()
	must.OK(b, err)
}

func (b *bench) is(err, want error) {
	b.Helper()
	if !errors.Is(err, want) {
		b.Fatalf("error %v, want %v", err, want)
	}
}

// errOf is the error of a call.
func errOf[T any](_ T, err error) error { return err }

// isErr reports whether an error is the expected one. It ends the test at another.
func (b *bench) isErr(err, expected error) bool {
	b.Helper()
	if errors.Is(err, expected) {
		return true
	}
	b.ok(err)
	return false
}

// fails holds an error to be there, and to be none of the store's that ask for something other than repair.
func (b *bench) fails(err error) {
	b.Helper()
	if err == nil || errors.Is(err, store.ErrLeaseLost) || errors.Is(err, store.ErrNoShard) ||
		errors.Is(err, store.ErrFull) {
		b.Fatalf("error %v, want a refusal", err)
	}
}

func (b *bench) equal(got, want any) {
	b.Helper()
	if d := cmp.Diff(want, got); d != "" {
		b.Fatalf("-want +got:\n%s", d)
	}
}

// verify holds the job to every invariant.
func (b *bench) verify() {
	b.Helper()
	b.ok(b.Verify(ctx(b.T), store.VerifyOptions{Deep: true},
		func(p store.Problem) { b.Errorf("verify: %s: %s", p.Check, p.Text) }))
}

// join starts a session on a job.
func (b *bench) join(j store.Job, ttl time.Duration) store.Session {
	b.Helper()
	s := must.Get(j.Join(ctx(b.T), store.Owner{Host: "here", PID: 1}, ttl))(b)
	b.joined = append(b.joined, s)
	b.Cleanup(func() { runtime.KeepAlive(b.joined) })
	return s
}

// joined opens a new job and starts a session on it.
func joined(t *testing.T, target Target) (*bench, store.Session) {
	t.Helper()
	b := start(t, target)
	return b, b.join(b.Job, longTTL)
}

// shared opens a new job and starts two sessions on it, each with a connection of its own.
func shared(t *testing.T, target Target) (b *bench, one, two store.Session) {
	t.Helper()
	b, one = joined(t, target)
	return b, one, b.join(b.open(), longTTL)
}

// filled is a job, and a session on it, with a source of n rows in shards of the given size.
func filled(t *testing.T, target Target, n, shardSize int) (*bench, store.Session) {
	t.Helper()
	b, s := joined(t, target)
	b.fill(s, "list", n, shardSize)
	return b, s
}

// source adds a source and leases its import.
func (b *bench) source(s store.Session, name string) store.SourceLease {
	b.Helper()
	src := must.Get(b.AddSource(ctx(b.T), store.Source{Name: name, Format: "txt"}))(b)
	return b.leaseSource(s, src.Number)
}

// fill adds a complete source of n rows, ids from 1, in shards of the given size.
func (b *bench) fill(s store.Session, name string, n, shardSize int) {
	b.Helper()
	l := b.source(s, name)
	b.ok(s.Append(ctx(b.T), l, rows(l.Source, 1, n), store.Position{Line: int64(n)}, true, shardSize))
	b.ok(s.ReleaseSource(ctx(b.T), l))
}

func (b *bench) leaseSource(s store.Session, number int) store.SourceLease {
	b.Helper()
	return must.Get(s.LeaseSource(ctx(b.T), number))(b)
}

func (b *bench) claim(s store.Session, maxRows int) store.Lease {
	b.Helper()
	return must.Get(s.Claim(ctx(b.T), maxRows))(b)
}

// claims claims shard after shard until none is free.
func (b *bench) claims(s store.Session, maxRows int) iter.Seq[store.Lease] {
	return func(yield func(store.Lease) bool) {
		for {
			l, err := s.Claim(ctx(b.T), maxRows)
			if b.isErr(err, store.ErrNoShard) || !yield(l) {
				return
			}
		}
	}
}

func (b *bench) pending(s store.Session, l store.Lease) []store.Row {
	b.Helper()
	return must.Get(s.Pending(ctx(b.T), l, l.Lo-1, 1<<30))(b)
}

func (b *bench) commit(s store.Session, l store.Lease, results ...store.Result) {
	b.Helper()
	b.ok(s.Commit(ctx(b.T), l, results))
}

func (b *bench) release(s store.Session, leases ...store.Lease) {
	b.Helper()
	b.ok(s.Release(ctx(b.T), leases))
}

// complete commits results and gives the lease back.
func (b *bench) complete(s store.Session, l store.Lease, results ...store.Result) {
	b.Helper()
	b.commit(s, l, results...)
	b.release(s, l)
}

// isFree reports whether a session finds a shard to claim. It gives it back.
func (b *bench) isFree(s store.Session) bool {
	b.Helper()
	l, err := s.Claim(ctx(b.T), 10)
	if err != nil {
		b.is(err, store.ErrNoShard)
		return false
	}
	b.release(s, l)
	return true
}

// retry puts rows back, and returns how many.
func (b *bench) retry(which store.Selection) int64 {
	b.Helper()
	return must.Get(b.Retry(ctx(b.T), which))(b)
}

// because selects the rows that failed for some reasons.
func because(reasons ...store.Reason) store.Selection { return store.Selection{Reasons: reasons} }

func (b *bench) sources() []store.Source {
	b.Helper()
	return must.Get(b.Sources(ctx(b.T)))(b)
}

func (b *bench) suspects(s store.Session) map[int64]int {
	b.Helper()
	return must.Get(s.Suspects(ctx(b.T)))(b)
}

func (b *bench) settings() map[string]string {
	b.Helper()
	return must.Get(b.Settings(ctx(b.T)))(b)
}

func (b *bench) counts() store.Counts {
	b.Helper()
	return must.Get(b.Counts(ctx(b.T)))(b)
}

// rows reads all rows of the job.
func (b *bench) rows() []store.Row {
	b.Helper()
	return must.All(b, b.Rows(ctx(b.T), 0, 1<<62))
}

// results reads all results of the job.
func (b *bench) results() []store.Result {
	b.Helper()
	return must.All(b, b.Results(ctx(b.T), 0, 1<<62))
}

// work claims and commits everything that is free, and returns the ids it did.
func (b *bench) work(s store.Session, result func(id int64) store.Result) (done []int64) {
	b.Helper()
	for l := range b.claims(s, 100) {
		rows := ids(b.pending(s, l))
		b.complete(s, l, each(rows, result)...)
		done = append(done, rows...)
	}
	return done
}

// ctx is the test's context, bounded.
func ctx(t *testing.T) context.Context {
	c, cancel := context.WithTimeout(context.Background(), deadline)
	t.Cleanup(cancel)
	return c
}

// rows makes n rows of a source, from the k-th id on.
func rows(source, k, n int) (out []store.NewRow) {
	for i := range n {
		id := int64(source)<<store.SourceShift + int64(k+i)
		out = append(out, store.NewRow{ID: id, URL: urlOf(id)})
	}
	return out
}

func urlOf(id int64) string { return fmt.Sprintf("http://host%d.example/%d.jpg", id%3, id) }

// ok is a plain result with as many faces as the id's last digit above 6 says.
func ok(id int64) store.Result {
	r := store.Result{ID: id, Status: store.OK, Format: "jpeg", Width: 500, Height: 375, Bytes: 60000 + id,
		Attempts: 1, Detector: "test/1", Took: 12 * time.Millisecond,
		Time: time.UnixMilli(1_700_000_000_000 + id).UTC()}
	for n := range id%10 - 6 {
		r.Faces = append(r.Faces, store.Face{X: int(n), Y: 2, Width: 20, Height: 20, Score: 9.5 - float64(n),
			Confidence: 0.5})
	}
	return r
}

// failed is a plain failure.
func failed(reason store.Reason) func(int64) store.Result {
	return func(id int64) store.Result {
		return store.Result{ID: id, Status: store.Failed, Reason: reason, Attempts: 3,
			Time: time.UnixMilli(1_700_000_000_000).UTC()}
	}
}

// each makes the results of some rows.
func each(ids []int64, result func(id int64) store.Result) (out []store.Result) {
	for _, id := range ids {
		out = append(out, result(id))
	}
	return out
}

// ids of rows.
func ids(rs []store.Row) (out []int64) {
	for _, r := range rs {
		out = append(out, r.ID)
	}
	return out
}

// span is the ids from lo to hi.
func span(lo, hi int64) (out []int64) {
	for id := lo; id <= hi; id++ {
		out = append(out, id)
	}
	return out
}

func sorted(in []int64) []int64 {
	out := slices.Clone(in)
	slices.Sort(out)
	return out
}

// wait polls until done says so: for what a real clock decides.
func (b *bench) wait(what string, done func() bool) {
	b.Helper()
	for end := time.Now().Add(deadline); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("waited in vain for %s", what)
		}
	}
}
