// Package duplicates finds the pictures of a job that are equal, or nearly so, by their hashes.
//
// # What belongs together
//
// Pictures whose bytes have the same SHA-256, or whose perceptual hashes are equal, are equal. A picture that
// differs from others in no more bits of its hash than the distance joins the one with the lowest id among
// them, if that is lower than its own. Groups are not chained: c may join b, which joins a, without being
// near a; then b is in two groups, as a picture of a's and as the first of its own.
//
// # How they are found
//
// The hashes are copied into a database of its own, in a temporary folder, so that the job is only read, in
// short transactions, and memory does not grow with it. Equal hashes are collapsed there to one with the
// lowest id. Two hashes that differ in d of 64 bits are equal in at least one of any d+1 bands of bits: for
// each band the hashes are sorted by it, and compared with those that have the same one. With many hashes the
// bands of a number k beyond that are taken together, of which d+k are equal in k: there are more of them,
// and fewer hashes have the same.
package duplicates

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"math"
	"math/bits"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	_ "github.com/mattn/go-sqlite3" // the driver

	"facescan/store"
	"facescan/store/draft"
)

// MaxDistance is the greatest distance: pictures that have nothing in common differ in 32 bits, most of them
// in more than 20.
const MaxDistance = 10

// pageRows is how many rows are written, or read, at a time.
const pageRows = 10_000

// Groups are the groups that were found. Close them.
type Groups struct {
	ctx    context.Context
	job    store.Hashed
	folder *draft.Draft
	db     *sql.DB
	// Pictures is how many have a hash.
	Pictures int64
}

// Find compares all pictures of a job. Those whose perceptual hashes differ in more bits than distance are
// not alike.
func Find(ctx context.Context, job store.Hashed, distance int) (g *Groups, err error) {
	folder, err := draft.CreateFolder(filepath.Join(os.TempDir(), "facescan-duplicates"))
	if err != nil {
		return nil, fmt.Errorf("make a folder for hashes: %w; name another one in TMPDIR", err)
	}
	g = &Groups{ctx: ctx, job: job, folder: folder}
	file := url.URL{Scheme: "file", OmitHost: true, Path: filepath.Join(folder.Name(), "hashes.db"),
		RawQuery: url.Values{"_journal_mode": {"OFF"}, "_synchronous": {"OFF"}, "_cache_size": {"-65536"},
			"_locking_mode": {"EXCLUSIVE"}}.Encode()}
	if g.db, err = sql.Open("sqlite3", file.String()); err == nil {
		g.db.SetMaxOpenConns(1)
		err = g.find(distance)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("find duplicates: %w", err), g.Close())
	}
	return g, nil
}

// Close removes what was copied.
func (g *Groups) Close() (err error) {
	if g.db != nil {
		err = g.db.Close()
	}
	g.folder.Discard()
	return err
}

func (g *Groups) find(distance int) error {
	err := g.exec("CREATE TABLE pictures (id INTEGER PRIMARY KEY, sha256 BLOB, phash INTEGER)")
	if err == nil {
		err = g.copy()
	}
	if err == nil {
		err = g.collapse()
	}
	if err == nil {
		err = g.compare(distance)
	}
	if err == nil {
		err = g.exec(`CREATE TABLE members AS
			SELECT n.first, p.id, n.distance FROM near AS n JOIN units AS u ON u.first = n.unit
				JOIN pictures AS p ON p.phash = u.phash
			UNION ALL SELECT u.first, p.id, 0 FROM units AS u JOIN pictures AS p ON p.phash = u.phash
				WHERE u.first IN (SELECT first FROM near)
				OR u.n > 1 AND u.first NOT IN (SELECT unit FROM near)
			UNION ALL SELECT e.first, p.id, 0 FROM equals AS e JOIN pictures AS p ON p.sha256 = e.sha256
				WHERE p.phash IS NULL
			ORDER BY 1, 2`)
	}
	return err
}

func (g *Groups) exec(text string, args ...any) error {
	_, err := g.db.ExecContext(g.ctx, text, args...)
	return err
}

// insert adds rows of so many values to a table.
func (g *Groups) insert(head string, width int, values []any, tail string) error {
	const most = 500
	for len(values) > 0 {
		n := min(most, len(values)/width)
		text := head + " VALUES " + strings.Repeat(",(?"+strings.Repeat(",?", width-1)+")", n)[1:] + tail
		if err := g.exec(text, values[:n*width]...); err != nil {
			return err
		}
		values = values[n*width:]
	}
	return nil
}

// copy reads the job's hashes.
func (g *Groups) copy() error {
	var values []any
	for r, err := range g.job.Hashes(g.ctx, math.MinInt64, math.MaxInt64) {
		if err != nil {
			return err
		}
		var sha256, phash any
		if r.SHA256 != "" {
			sha256 = []byte(r.SHA256)
		}
		if r.PHash != "" {
			phash = int64(r.PHash.Bits())
		}
		g.Pictures++
		if values = append(values, r.ID, sha256, phash); len(values) >= 3*pageRows {
			if err := g.insert("INSERT INTO pictures", 3, values, ""); err != nil {
				return err
			}
			values = values[:0]
		}
	}
	return g.insert("INSERT INTO pictures", 3, values, "")
}

// collapse makes units of pictures with equal hashes. A picture without a perceptual hash takes that of one
// with the same bytes, else it has only equals.
func (g *Groups) collapse() error {
	var bare, hashed bool
	if err := g.db.QueryRowContext(g.ctx, `SELECT EXISTS (SELECT 1 FROM pictures WHERE phash IS NULL),
		EXISTS (SELECT 1 FROM pictures WHERE phash IS NOT NULL)`).Scan(&bare, &hashed); err != nil {
		return err
	}
	var steps []string
	if bare {
		steps = append(steps, "CREATE INDEX by_bytes ON pictures (sha256)")
		if hashed {
			steps = append(steps, `UPDATE pictures AS p SET phash = (SELECT q.phash FROM pictures AS q
				WHERE q.sha256 = p.sha256 AND q.phash IS NOT NULL ORDER BY q.id LIMIT 1) WHERE phash IS NULL`)
		}
	}
	for _, step := range append(steps,
		"CREATE INDEX by_hash ON pictures (phash)",
		"CREATE TABLE units (first INTEGER PRIMARY KEY, phash INTEGER, n INTEGER)",
		`INSERT INTO units SELECT min(id), phash, count(*) FROM pictures WHERE phash IS NOT NULL
			GROUP BY phash ORDER BY 1`,
		"CREATE TABLE near (unit INTEGER PRIMARY KEY, first INTEGER, distance INTEGER)",
		`CREATE TABLE equals AS SELECT min(id) AS first, sha256 FROM pictures WHERE phash IS NULL
			GROUP BY sha256 HAVING count(*) > 1`) {
		if err := g.exec(step); err != nil {
			return err
		}
	}
	return nil
}

// unit is a perceptual hash and the lowest id that has it.
type unit struct {
	first int64
	hash  uint64
}

// best is the unit that another one joins.
type best struct {
	first    int64
	distance int
}

// compare finds for each unit the one that it joins.
func (g *Groups) compare(distance int) error {
	var n int64
	err := g.db.QueryRowContext(g.ctx, "SELECT count(*) FROM units").Scan(&n)
	if err != nil || distance == 0 {
		return err
	}
	for _, mask := range masksFor(n, distance) {
		if err := g.compareBand(mask, distance); err != nil {
			return err
		}
	}
	return nil
}

// compareBand compares units that have the same bits under a mask.
func (g *Groups) compareBand(mask uint64, distance int) error {
	err := g.exec("CREATE TABLE band AS SELECT first, phash FROM units ORDER BY phash & ?, first",
		int64(mask))
	if err != nil {
		return err
	}
	found := map[int64]best{}
	var bucket []unit
	for u, err := range g.units() {
		if err != nil {
			return err
		}
		if len(bucket) > 0 && (bucket[0].hash^u.hash)&mask != 0 {
			join(bucket, distance, found)
			bucket = bucket[:0]
			if len(found) >= pageRows {
				if err := g.keep(found); err != nil {
					return err
				}
			}
		}
		bucket = append(bucket, u)
	}
	join(bucket, distance, found)
	if err := g.keep(found); err != nil {
		return err
	}
	return g.exec("DROP TABLE band")
}

// units are those of the band, in its order.
func (g *Groups) units() iter.Seq2[unit, error] {
	return paged(g, "SELECT first, phash FROM band WHERE rowid > ? ORDER BY rowid LIMIT ?",
		func(rows *sql.Rows) (u unit, err error) {
			var hash int64
			err = rows.Scan(&u.first, &hash)
			u.hash = uint64(hash)
			return u, err
		})
}

// paged yields the rows of a table that was filled in order, page after page, so that others can be written
// between them.
func paged[T any](g *Groups, query string, scan func(*sql.Rows) (T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for after := 0; ; after += pageRows {
			page, err := readPage(g, query, after, scan)
			for _, v := range page {
				if !yield(v, nil) {
					return
				}
			}
			if err != nil {
				var none T
				yield(none, err)
			}
			if err != nil || len(page) < pageRows {
				return
			}
		}
	}
}

func readPage[T any](g *Groups, query string, after int,
	scan func(*sql.Rows) (T, error)) (page []T, err error) {
	rows, err := g.db.QueryContext(g.ctx, query, after, pageRows)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return page, err
		}
		page = append(page, v)
	}
	return page, rows.Err()
}

// join notes for each unit of a bucket, in which they ascend, the lowest other one within the distance.
func join(bucket []unit, distance int, found map[int64]best) {
	for i, u := range bucket {
		for _, other := range bucket[:i] {
			if d := bits.OnesCount64(u.hash ^ other.hash); d <= distance {
				if b, ok := found[u.first]; !ok || other.first < b.first {
					found[u.first] = best{other.first, d}
				}
				break
			}
		}
	}
}

// keep writes what was found, and forgets it.
func (g *Groups) keep(found map[int64]best) error {
	values := make([]any, 0, 3*len(found))
	for u, b := range found {
		values = append(values, u, b.first, b.distance)
	}
	clear(found)
	return g.insert("INSERT INTO near", 3, values, ` ON CONFLICT (unit) DO UPDATE SET first = excluded.first,
		distance = excluded.distance WHERE excluded.first < first`)
}

// masksFor are the bands by which n hashes are sorted, so that it costs least to sort them and to compare
// what has the same bits.
func masksFor(n int64, distance int) (masks []uint64) {
	const sorting = 1500 // comparisons that take as long as sorting a hash
	least := math.Inf(1)
	for k := 1; k <= 4; k++ {
		some := combinations(bands(distance+k), k)
		cost := 0.0
		for _, mask := range some {
			same := float64(n) / math.Exp2(float64(bits.OnesCount64(mask)))
			cost += float64(n) * (sorting + same/2)
		}
		if cost < least {
			least, masks = cost, some
		}
	}
	return masks
}

// bands are n masks that share the 64 bits.
func bands(n int) []uint64 {
	out := make([]uint64, n)
	for i := range 64 {
		out[i%n] |= 1 << i
	}
	return out
}

// combinations are the unions of k of the masks.
func combinations(masks []uint64, k int) (out []uint64) {
	if k == 0 {
		return []uint64{0}
	}
	for i, m := range masks {
		for _, rest := range combinations(masks[i+1:], k-1) {
			out = append(out, m|rest)
		}
	}
	return out
}

// member is a picture of a group.
type member struct {
	first, id int64
	distance  int
}

// All yields the pictures of the groups, by the id of the group's first one and then by their own.
func (g *Groups) All() iter.Seq2[store.Duplicate, error] {
	members := paged(g, "SELECT first, id, distance FROM members WHERE rowid > ? ORDER BY rowid LIMIT ?",
		func(rows *sql.Rows) (m member, err error) {
			err = rows.Scan(&m.first, &m.id, &m.distance)
			return m, err
		})
	return func(yield func(store.Duplicate, error) bool) {
		var page []member
		for m, err := range members {
			if err == nil {
				if page = append(page, m); len(page) < resultRows {
					continue
				}
				err = g.read(page, yield)
				page = page[:0]
			}
			if err != nil {
				if !errors.Is(err, errStop) {
					yield(store.Duplicate{}, err)
				}
				return
			}
		}
		if err := g.read(page, yield); err != nil && !errors.Is(err, errStop) {
			yield(store.Duplicate{}, err)
		}
	}
}

// resultRows is how many results are read at a time.
const resultRows = 2000

var errStop = errors.New("no more is wanted")

// read yields the pictures of a page of members. One whose result went meanwhile is left out.
func (g *Groups) read(page []member, yield func(store.Duplicate, error) bool) error {
	ids := make([]int64, len(page))
	for i, m := range page {
		ids[i] = m.id
	}
	slices.Sort(ids)
	results, err := g.job.ResultsOf(g.ctx, slices.Compact(ids))
	if err != nil {
		return err
	}
	for _, m := range page {
		i, ok := slices.BinarySearchFunc(results, m.id, func(r store.Result, id int64) int {
			return cmp.Compare(r.ID, id)
		})
		if ok && !yield(store.Duplicate{Result: results[i], First: m.first, Distance: m.distance}, nil) {
			return errStop
		}
	}
	return nil
}
