package postgres

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"facescan/store"
)

// Groups. What the rows of a group and their results add up to is kept in its own row, which every
// transaction that adds or takes away either changes, and so locks until it commits: the one that finds no
// row pending is the last one, and finishes the group. (A group that is as large as the source is a place
// where all commits meet.)
//
// That an import is complete is decided by another row. So a transaction that changes groups of a source
// shares a lock, and the transaction in which the import comes to its end holds it alone: each of the two
// sees what the other did.
//
// A transaction that finishes groups does it alone in the job, to its end: their order is that of the
// commits, and a reader that goes on from some place misses none.
//
// Sums can be taken back, the largest face and the times cannot: a group that lost a result is stale, and has
// them computed from its rows when it is finished.

// aggregate is what changes in a group.
type aggregate struct {
	images, ok, failed, faces, imagesWithFaces int64
	largest                                    int
	first, last                                *time.Time
	stale                                      bool
	ended                                      *int64 // the id of its end record
}

func (a *aggregate) add(r *store.Result) {
	if r.Status == store.OK {
		a.ok++
	} else {
		a.failed++
	}
	a.faces += int64(len(r.Faces))
	if len(r.Faces) > 0 {
		a.imagesWithFaces++
	}
	for _, f := range r.Faces {
		a.largest = max(a.largest, f.Width, f.Height)
	}
	if a.first == nil || r.Time.Before(*a.first) {
		a.first = &r.Time
	}
	if a.last == nil || r.Time.After(*a.last) {
		a.last = &r.Time
	}
}

func (a *aggregate) take(reason store.Reason, faces int64) {
	if reason == "" {
		a.ok--
	} else {
		a.failed--
	}
	a.faces -= faces
	if faces > 0 {
		a.imagesWithFaces--
	}
	a.stale = true
}

// groupKey stands for a name of any length in an index.
func groupKey(name string) []byte {
	sum := sha256.Sum256([]byte(name))
	return sum[:16]
}

// changeGroups adds to groups. Those whose rows changed are not finished any more. It returns which have no
// row pending, and which of them are ended.
const changeGroups = `INSERT INTO groups AS g (source, key, name, images, ok, failed, faces,
	images_with_faces, largest_face, first, last, stale, ended)
	SELECT $1, * FROM unnest($2::bytea[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
	$8::bigint[], $9::int[],
		$10::timestamptz[], $11::timestamptz[], $12::boolean[], $13::bigint[])
	ON CONFLICT (source, key) DO UPDATE SET images = g.images + excluded.images, ok = g.ok + excluded.ok,
	failed = g.failed + excluded.failed,
		faces = g.faces + excluded.faces, images_with_faces = g.images_with_faces +
		excluded.images_with_faces,
		largest_face = greatest(g.largest_face, excluded.largest_face), first = least(g.first,
		excluded.first),
		last = greatest(g.last, excluded.last), stale = g.stale OR excluded.stale,
		ended = least(g.ended, excluded.ended), finished = CASE WHEN excluded.images = 0 AND excluded.ok = 0
		AND excluded.failed = 0
			AND NOT excluded.stale THEN g.finished END
	RETURNING g.key, g.images = g.ok + g.failed, g.ended IS NOT NULL`

// completeGroups brings an effect into the groups, and finishes those that are ready: of the groups it
// changes, or with the end of an import of all.
func (j *job) completeGroups(ctx context.Context, t pgx.Tx, e effect) error {
	b := &pgx.Batch{}
	if e.imported {
		b.Queue(lockAlone, j.lock(fmt.Sprint("groups ", e.source)))
	} else {
		b.Queue(lockShared, j.lock(fmt.Sprint("groups ", e.source)))
	}
	var ready, readyAndEnded [][]byte
	if len(e.groups) > 0 {
		// locked in the same order by all
		names := slices.SortedFunc(maps.Keys(e.groups), func(a, b string) int {
			return bytes.Compare(groupKey(a), groupKey(b))
		})
		gs := values(names, func(name string) *aggregate { return e.groups[name] })
		var key []byte
		var is, isEnded bool
		b.Queue(changeGroups, e.source, values(names, groupKey), names,
			values(gs, func(g *aggregate) int64 { return g.images }),
			values(gs, func(g *aggregate) int64 { return g.ok }),
			values(gs, func(g *aggregate) int64 { return g.failed }),
			values(gs, func(g *aggregate) int64 { return g.faces }),
			values(gs, func(g *aggregate) int64 { return g.imagesWithFaces }),
			values(gs, func(g *aggregate) int { return g.largest }),
			values(gs, func(g *aggregate) *time.Time { return g.first }),
			values(gs, func(g *aggregate) *time.Time { return g.last }),
			values(gs, func(g *aggregate) bool { return g.stale }),
			values(gs, func(g *aggregate) *int64 { return g.ended })).
			Query(into([]any{&key, &is, &isEnded}, func() {
				if is {
					ready = append(ready, slices.Clone(key))
				}
				if is && isEnded {
					readyAndEnded = append(readyAndEnded, slices.Clone(key))
				}
			}))
	}
	var complete, isPart bool
	b.Queue("SELECT complete, EXISTS (SELECT FROM settings WHERE key = $2 AND value <> '') FROM sources "+
		"WHERE number = $1", e.source, store.NodeSetting).QueryRow(func(row pgx.Row) error {
		return row.Scan(&complete, &isPart)
	})
	if err := t.SendBatch(ctx, b).Close(); err != nil {
		return err
	}
	if !complete {
		ready = readyAndEnded
	}
	if e.imported || !isPart && len(ready) > 0 {
		return j.finishGroups(ctx, t, e, ready)
	}
	return nil
}

// finishGroups finishes the groups of some keys, or with the end of an import all of its source that have no
// row pending.
func (j *job) finishGroups(ctx context.Context, t pgx.Tx, e effect, keys [][]byte) error {
	which, args := "g.key = ANY($2)", []any{e.source, keys}
	if e.imported {
		which, args = "NOT EXISTS (SELECT FROM settings WHERE key = $2 AND value <> '')",
			[]any{e.source, store.NodeSetting}
	}
	which = "WHERE g.source = $1 AND " + which + " AND g.finished IS NULL AND g.images = g.ok + g.failed " +
		"AND g.images > 0"
	b := &pgx.Batch{}
	b.Queue(lockAlone, j.lock("finish"))
	b.Queue(fmt.Sprintf(`UPDATE groups AS g SET (largest_face, first, last) = (
		SELECT coalesce(max(greatest(f.width, f.height)), 0), min(r.time), max(r.time)
		FROM rows AS u JOIN results AS r ON r.id = u.id LEFT JOIN faces AS f ON f.id = r.id
		WHERE hashtextextended(u."group", 0) = hashtextextended(g.name, 0) AND u."group" = g.name
			AND u.id BETWEEN $1::bigint << %[1]d AND ($1::bigint + 1 << %[1]d) - 1), stale = false `,
		store.SourceShift)+which+" AND g.stale", args...)
	b.Queue("UPDATE groups AS g SET revision = g.revision + 1, finished = nextval('finishes') "+which,
		args...)
	return t.SendBatch(ctx, b).Close()
}

// verifyGroups compares all groups with their rows.
func verifyGroups(ctx context.Context, t pgx.Tx, report func(store.Problem)) error {
	var given int64
	if err := t.QueryRow(ctx, "SELECT last_value FROM finishes").Scan(&given); err != nil {
		return err
	}
	var g store.GroupAudit
	return each(ctx, t, []any{&g.Source, &g.Name, &g.Said, &g.There, &g.Pending, &g.Stale, &g.Ready,
		&g.Finished}, func() {
		g.Verify(given, report)
	}, fmt.Sprintf(`WITH there AS (
			SELECT (u.id >> %d)::int AS source, u."group" AS name, count(*) AS images,
			count(r.id) - count(r.reason) AS ok, count(r.reason) AS failed,
				coalesce(sum(r.faces), 0) AS faces, count(*) FILTER (WHERE r.faces > 0) AS images_with_faces,
				coalesce(max((SELECT max(greatest(f.width, f.height)) FROM faces AS f
				WHERE f.id = r.id)), 0) AS largest, min(r.time) AS first, max(r.time) AS last
			FROM rows AS u LEFT JOIN results AS r ON r.id = u.id WHERE u."group" IS NOT NULL GROUP BY 1, 2)
		SELECT source, name,
			CASE WHEN g.images > 0 THEN row(g.images, g.ok, g.failed, g.faces, g.images_with_faces)::text
				|| CASE WHEN g.stale THEN '' ELSE row(g.largest_face, g.first, g.last)::text END
				ELSE 'nothing' END,
			CASE WHEN t.images > 0 THEN row(t.images, t.ok, t.failed, t.faces, t.images_with_faces)::text
				|| CASE WHEN g.stale THEN '' ELSE row(t.largest, t.first, t.last)::text END
				ELSE 'nothing' END,
			coalesce(g.images - g.ok - g.failed, 0), coalesce(g.stale, false),
			coalesce(g.images = g.ok + g.failed AND g.images > 0
				AND (g.ended IS NOT NULL OR (SELECT complete FROM sources WHERE number = g.source))
				AND NOT EXISTS (SELECT FROM settings WHERE key = '%s'
				AND value <> ''), false), coalesce(g.finished, 0)
		FROM groups AS g FULL JOIN there AS t USING (source, name)`, store.SourceShift, store.NodeSetting))
}
