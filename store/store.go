// Package store keeps a job: which rows there are, which are done, what came out, and who works on what.
//
// # Words
//
// A job has sources (lists), each cut into shards: contiguous ranges of row ids. The process that works on a
// shard holds its lease: an owner, a generation that grows with every claim, and an expiry. A write under a
// lease carries owner and generation as its fence; when the store finds another holder there, it refuses the
// write whole with ErrLeaseLost. So a process that was stopped, or cut off, past its lease can never
// overwrite its successor.
//
// # What is atomic
//
//   - Append: rows of a source, the shards they fall into, and the source's position.
//   - Commit: results, faces, Done flags and counters of a batch, the fence first.
//   - Claim, Renew, Release: one transaction each.
//
// # Two implementations
//
// store/sqlite keeps the job in one file, for the processes of one machine; store/postgres keeps it on a
// server, for many machines; store/open chooses by a job's name. Both pass the suite in store/storetest, and
// callers see only Job and Session.
//
// What does not depend on the database is here: what is refused (check.go), how shards are cut,
// joined and verified (shard.go), leases (lease.go), what becomes of rows from another job (absorb.go), and
// what is counted (counted.go). An implementation has the SQL.
package store

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"facescan/store/listed"
)

var (
	// ErrLeaseLost refuses a write under a lease that somebody else holds by now, or that was released.
	ErrLeaseLost = errors.New("lease lost")
	// ErrNoShard says that no shard can be claimed right now: all are done, leased or paused.
	ErrNoShard = errors.New("no free shard")
	// ErrHeld says that another living owner imports this source.
	ErrHeld = errors.New("held by another process")
	// ErrGone says that the job's file was removed, replaced or cut while the job was open.
	ErrGone = errors.New("the job is gone")
	// ErrDamaged says that what the job holds contradicts itself.
	ErrDamaged = errors.New("the job is damaged")
	// ErrFull says that the disk, or a quota, has no room for the write. What was acknowledged before is
	// kept.
	ErrFull = errors.New("no room left")
)

// SourceShift is how far the ids of one source lie from the next one's: the k-th source (from 0) adds
// k<<SourceShift.
const SourceShift = 40

// FolderSetting begins the keys of settings that say which folders belong to the job: this, what for, a
// token.
const FolderSetting = "folder:"

// Job is one job, open. Its methods may be called from many goroutines and many processes.
type Job interface {
	// Join registers a process and starts its session. The TTL is how long its leases last without renewal.
	Join(ctx context.Context, who Owner, ttl time.Duration) (Session, error)

	// Settings are the job's own key-value pairs, such as the detection flags it was started with.
	Settings(ctx context.Context) (map[string]string, error)
	// Set writes settings; an existing key is overwritten.
	Set(ctx context.Context, settings map[string]string) error

	// AddSource joins a source to the job and numbers it, or returns the one that has this Name already.
	AddSource(ctx context.Context, s Source) (Source, error)
	// AddSources does that for many sources, in turn, in one transaction.
	AddSources(ctx context.Context, all []Source) ([]Source, error)
	// Pause holds a source back, or lets it go on: its shards are not claimed while it is paused. Leases
	// stay.
	Pause(ctx context.Context, source int, paused bool) error
	// Prioritize changes a source's Priority.
	Prioritize(ctx context.Context, source, priority int) error
	// Sources lists the sources by number.
	Sources(ctx context.Context) ([]Source, error)

	// Detectors are the fingerprints that results of the job may have, in no order; some may be of none any
	// more.
	Detectors(ctx context.Context) ([]string, error)

	// Counts sums the job up from its counters, not from its rows: quick at any size.
	Counts(ctx context.Context) (Counts, error)
	// Results yields the results of done rows with from <= id < to, in id order, with their faces, without
	// holding a read transaction for longer than one internal page. Stops at the first error.
	Results(ctx context.Context, from, to int64) iter.Seq2[Result, error]
	// Select yields the results that a query asks for, paged as Results is.
	Select(ctx context.Context, q Query) iter.Seq2[Result, error]
	// Absorb takes rows of a source in from another job of the same list, in ascending ids, anywhere among
	// those there are; Merge drives it. A row that is new is added, with its result if it has one; new rows
	// above all others are cut into shards of shardSize. A result enters where there is none, or where it is
	// ok and the one there is failed; else it is dropped. The source's position and completeness become those
	// given. All in one transaction. A row that has another URL here is an error, and so is a job in a user's
	// table.
	Absorb(ctx context.Context, source int, rows []MergedRow, p Position, complete bool, shardSize int) error
	// Rows yields id, URL, group and kept columns of all rows, done or not, with from <= id < to, in id
	// order, paged as Results is.
	Rows(ctx context.Context, from, to int64) iter.Seq2[Row, error]
	// Retry puts the done rows that the selection names back to pending and returns how many. Rows without a
	// URL (Forget) stay as they are.
	Retry(ctx context.Context, s Selection) (int64, error)
	Ordered
	Sampler
	Forgetter
	Filed
	Hashed
	// Verify checks every invariant of the job and calls report once a violation; it reads one consistent
	// view, or ranges of one, and works beside running processes. The error is only for checks that could not
	// run.
	Verify(ctx context.Context, o VerifyOptions, report func(Problem)) error

	// Tally sums the done rows up by a key, one range of ids after the other, each in a short transaction: a
	// value comes once for every range it has rows in. It stops at the first error.
	Tally(ctx context.Context, by Key) iter.Seq2[Tally, error]
	// Size is how many bytes the job takes on disk: its data, and its write-ahead log where that is the job's
	// own.
	Size(ctx context.Context) (data, log int64, err error)
	// Path is what the user calls the job: a file name, or a database URL without its password.
	Path() string
	Close() error
}

// Query asks for results.
type Query struct {
	From, To int64 // From <= id < To
	// Brief results have ID, URL, Source, Status, Reason, HTTPStatus, Format, Width, Height, Bytes, Detector
	// and the boxes of Faces, and nothing else. They come in half the time.
	Brief bool
	// Where excludes results, as far as the database can: the caller has to check again. Nil, or a
	// condition that cannot be translated, excludes none.
	Where Condition
}

// Condition is a filter of results that a database can apply.
type Condition interface {
	// SQL translates it for a WHERE clause. What a user wrote is in the arguments alone, which are numbered
	// from first in Postgres. Column gives the expression that has a column's value as an export has it;
	// empty if none has.
	SQL(d Dialect, first int, column func(name string) string) (condition string, args []any, err error)
}

// Dialect is a database's SQL.
type Dialect int

const (
	SQLite Dialect = iota
	Postgres
)

// Session is a process that has joined a job: it holds leases and writes under them.
type Session interface {
	// LeaseSource takes the import of a source; ErrHeld while another living owner has it.
	LeaseSource(ctx context.Context, source int) (SourceLease, error)
	// Append writes rows, in ascending ids above all earlier ones of the source, cuts them into shards of
	// shardSize rows, and moves the position, in one transaction. A row marked Bad is done at once, failed
	// with BadURL; an End is noted with its group. Complete marks the end of the list, until the list grows
	// and a later Append opens it again.
	Append(ctx context.Context, l SourceLease, rows []NewRow, p Position, complete bool, shardSize int) error
	// LeaseSources, AppendAll and ReleaseSources do for many sources, in one transaction, what LeaseSource,
	// Append and ReleaseSource do for one. Sources that others import are left out of what LeaseSources
	// returns. AppendAll writes everything or nothing.
	LeaseSources(ctx context.Context, sources []int) ([]SourceLease, error)
	AppendAll(ctx context.Context, all []Addition, shardSize int) error
	ReleaseSources(ctx context.Context, ls []SourceLease) error
	// Fill adds rows that the source lacks, in ascending ids up to its last position, to a merge that some
	// parts were missing of. Rows that are there already stay as they are. Otherwise it is as Append.
	Fill(ctx context.Context, l SourceLease, rows []NewRow, p Position, complete bool, shardSize int) error
	// RenewSource prolongs an import lease.
	RenewSource(ctx context.Context, l SourceLease) (SourceLease, error)
	// ReleaseSource gives the import of a source back; no error if it was lost.
	ReleaseSource(ctx context.Context, l SourceLease) error

	// Claim leases a free shard that has pending rows, cutting it so that at most maxRows pending rows are in
	// it (the rest stays free) and so that living owners share what is left at the end of a job. It first
	// frees the shards of dead owners and expired leases. ErrNoShard if there is none.
	Claim(ctx context.Context, maxRows int) (Lease, error)
	// ClaimAll leases shards, in turn, until they have maxRows pending rows together: where shards are small,
	// a claim does not cost a transaction per shard. It is otherwise as Claim.
	ClaimAll(ctx context.Context, maxRows int) ([]Lease, error)
	// Pending reads the pending rows of a leased shard with id > after, in id order, at most limit.
	Pending(ctx context.Context, l Lease, after int64, limit int) ([]Row, error)
	// PendingAll reads all pending rows of some leased shards, which are small: by shard, in id order.
	PendingAll(ctx context.Context, ls []Lease) ([][]Row, error)
	// Renew prolongs leases to now + TTL. It returns those still held, in any order; the others are lost.
	Renew(ctx context.Context, ls []Lease) ([]Lease, error)
	// Release gives shards back; leases that were lost are passed over. What is pending in them is free at
	// once.
	Release(ctx context.Context, ls []Lease) error

	// Commit stores results of rows of one leased shard and marks them done, all or nothing. ErrLeaseLost if
	// the lease is not ours any more: then nothing was written. A row that is done already is left as it is.
	Commit(ctx context.Context, l Lease, results []Result) error
	// CommitAll does that for several shards in one transaction. Batches whose leases are lost are left out,
	// and their indexes returned; everything else is written.
	CommitAll(ctx context.Context, batches []Batch) (lost []int, err error)

	// Decoding notes which row a decoder works on, in a slot of its own (0 <= slot < 4096), so that it is
	// known after the process died there; id 0 clears the slot. It costs no transaction.
	Decoding(slot int, id int64)
	// Suspects are rows that were in a decoder when their owner died, and how often. Commit of the row clears
	// it.
	Suspects(ctx context.Context) (map[int64]int, error)

	// Report shows other processes how this one gets on; Counts has it, until this one leaves.
	Report(ctx context.Context, p Progress) error

	// Takeovers counts the shards this session took from dead owners and expired leases.
	Takeovers() int64
	// Leave releases everything this session holds and ends it.
	Leave(ctx context.Context) error
}

// TableFormat is the Format of the one source of a job whose rows lie in a user's table. It is imported by
// Adopt.
const TableFormat = "table"

// Adopter is what a Session also is when the job's rows lie in a user's table.
type Adopter interface {
	// Adopt is to the user's table what Append is to a list. It looks at some rows from an id on, takes those
	// that are new into the job, cutting them into shards, and notices what the user changed since: rows
	// deleted, added, or with another Done flag. A pass begins at math.MinInt64 and goes on at next while
	// there is more; after its end the import is complete, until the next pass begins.
	Adopt(ctx context.Context, l SourceLease, from int64, shardSize int) (next int64, more bool, err error)
	// Grown reports whether the table has rows behind all those that were adopted. A pass that begins at
	// math.MaxInt64 takes just these.
	Grown(ctx context.Context) (bool, error)
}

// Sampler is the part of a Job that holds small pictures of some of its images, a random sample of those with
// faces and one of those without. A picture has a random rank, and the lowest ranks stay; so it does not
// matter which process puts in what, when, or how often.
type Sampler interface {
	// Sample puts a picture in, in place of the row's earlier one, and then keeps the n of lowest rank among
	// those that have faces, or have none, as it does. It returns the bar: a rank that is not below it would
	// not stay.
	Sample(ctx context.Context, t Thumbnail, n int) (bar int64, err error)
	// Samples are the pictures, by id.
	Samples(ctx context.Context) ([]Thumbnail, error)
}

// Thumbnail is a small picture of a row's image.
type Thumbnail struct {
	ID    int64
	Faces bool  // the image has faces
	Rank  int64 // not negative
	JPEG  []byte
}

// Owner is a process that works on a job.
type Owner struct {
	ID   string // unique among all processes that ever joined; made by Join if empty
	Host string
	PID  int
}

// Source is a list that rows come from.
type Source struct {
	Number   int    // from 0, as sources join
	Name     string // absolute path, or "-" for stdin
	Format   string // txt csv tsv jsonl parquet sqlite, folder tar, or TableFormat
	Options  string // JSON of what the reader needs to read it again: columns, …
	Position Position
	Rows     int64 // appended so far
	Pending  int64 // of these
	Complete bool  // the import reached the end of the list
	Paused   bool
	Changes  int64  // see Frontier.Changes
	Priority int    // of sources with work, each gets rows in proportion to 2^Priority; from -20 to 20
	Importer string // owner that imports it now, empty for none
}

// Position is how far an import came; its Rows are those of other nodes too.
type Position = listed.Position

// NewRow is a row to append, its ID with the source's offset added. A Bad one is done at once, failed with
// BadURL.
type NewRow = listed.Row

// SourceLease is the right to import a source.
type SourceLease struct {
	Source     int
	Generation int64
	Expires    time.Time // by the local clock, from before the request to the store: trust it no longer
	Position   Position  // where to go on
}

// Addition is what a list adds to its source: see Session.Append.
type Addition struct {
	Lease    SourceLease
	Rows     []NewRow
	Position Position
	Complete bool
}

// Lease is the right to work on a shard.
type Lease struct {
	Shard      int64
	Source     int
	Lo, Hi     int64 // ids, both included
	Pending    int64 // rows, when it was claimed
	Generation int64
	Expires    time.Time // by the local clock, from before the request to the store: trust it no longer
}

// Batch is results of rows of one leased shard.
type Batch struct {
	Lease   Lease
	Results []Result
	Release bool // the shard goes back with them, in the same transaction
}

// Row is a row to process.
type Row struct {
	ID   int64
	URL  string
	Hash string // checksum of the image's bytes, as the list has it; empty for none

	// What Rows adds.
	Group string
	Kept  []string
}

// MergedRow is a row from another job.
type MergedRow struct {
	Row
	Result *Result // nil while it is pending
	End    bool    // as of a NewRow
}

// Counts sums a job up.
type Counts struct {
	Total            int64            `json:"total"` // rows of the job; AlreadyDone not among them
	Done             int64            `json:"done"`
	Pending          int64            `json:"pending"`
	PausedPending    int64            `json:"-"`            // pending rows of paused sources
	AlreadyDone      int64            `json:"already_done"` // done on arrival, in a user's table
	OK               int64            `json:"ok"`
	Failed           int64            `json:"failed"`
	ImagesWithFaces  int64            `json:"images_with_faces"`
	Faces            int64            `json:"faces"`
	Failures         map[Reason]int64 `json:"failures"`
	Shards           ShardCounts      `json:"shards"`
	Owners           []OwnerCounts    `json:"-"`
	ImportIncomplete []string         `json:"importing"` // names of sources whose list is not read to its end
}

// Working reports whether a process is at work on the job.
func (c Counts) Working() bool {
	return slices.ContainsFunc(c.Owners, func(o OwnerCounts) bool { return o.Alive && o.Shards > 0 })
}

// ShardCounts counts shards by state.
type ShardCounts struct {
	Total  int64 `json:"total"`
	Done   int64 `json:"done"`
	Free   int64 `json:"free"`
	Leased int64 `json:"leased"`
}

// OwnerCounts is what one owner holds.
type OwnerCounts struct {
	Owner
	Shards  int64
	Pending int64         // rows in them
	Expires time.Duration // until the last of its leases ends
	Age     time.Duration // since it joined
	Alive   bool
	Progress
}

// Progress is what a process last said of its own work.
type Progress struct {
	Rate       float64 // rows per second
	HeldBackBy string  // the kind of what holds it back, empty for nothing
	Why        string  // the same, for people
}

// Key is what a Tally is made by.
type Key string

const (
	ByHost   Key = "host" // of the URL, in lower case, without port
	ByReason Key = "reason"
	ByFormat Key = "format"
	ByGroup  Key = "group" // of each source for itself
	BySHA256 Key = "sha256"
)

// Keys are all of them.
var Keys = []Key{ByHost, ByReason, ByFormat, ByGroup, BySHA256}

// Tally sums up done rows that have a value in common.
type Tally struct {
	Source int    // of the group; 0 for other keys
	Value  string // empty for rows that have none: no host, no failure, no format known, no group

	Rows, OK, Faces, ImagesWithFaces, Bytes int64
}

// Add adds another tally's sums.
func (t *Tally) Add(o Tally) {
	t.Rows += o.Rows
	t.OK += o.OK
	t.Faces += o.Faces
	t.ImagesWithFaces += o.ImagesWithFaces
	t.Bytes += o.Bytes
}

// Selection names done rows.
type Selection struct {
	Reasons []Reason // failed for any of these; empty means none
	OK      bool     // those that are ok, too
	Except  []string // of these, not the ones that detectors of these fingerprints examined
	Host    string   // the URL's host, in any case; empty means any
	IDs     []int64  // only these rows, ascending; nil means all
}

// VerifyOptions says how far verify goes.
type VerifyOptions struct {
	Deep bool // also the database's own check of its file
	// Unchecked is called with how many results have no checksum, as an earlier release wrote them; optional.
	Unchecked func(results int64)
}

// Problem is a violated invariant.
type Problem struct {
	Check string // which one, a word such as "done-without-result"
	ID    int64  // a row it shows at, 0 when none
	Text  string // what is wrong, for a person
}
