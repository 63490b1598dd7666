package postgres

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"facescan/store"
)

// effect is what a transaction does to all that is counted of a source.
type effect struct {
	source   int
	tallies  map[store.Reason]store.Counted
	groups   map[string]*aggregate
	changes  int64 // rows that may have been read in order and are not what they were
	imported bool  // the import came to its end
}

// add counts a result in.
func (e *effect) add(r *store.Result, group string) {
	e.tally(r.Reason, 1, int64(len(r.Faces)))
	if group != "" {
		e.group(group).add(r)
	}
}

// take counts a result out.
func (e *effect) take(reason store.Reason, faces int64, group string) {
	e.changes++
	e.tally(reason, -1, faces)
	if group != "" {
		e.group(group).take(reason, faces)
	}
}

func (e *effect) tally(reason store.Reason, n, faces int64) {
	if e.tallies == nil {
		e.tallies = map[store.Reason]store.Counted{}
	}
	e.tallies[reason] = e.tallies[reason].Count(n, faces)
}

// members counts rows in that were added, without their results.
func (e *effect) members(rows []store.NewRow) {
	for i := range rows {
		if g := rows[i].Group; g != "" {
			e.group(g).images++
		}
	}
}

// end notes that groups are ended, by the ids of their end records.
func (e *effect) end(ends map[string]int64) {
	for name, id := range ends {
		e.group(name).ended = &id
	}
}

func (e *effect) group(name string) *aggregate {
	if e.groups == nil {
		e.groups = map[string]*aggregate{}
	}
	g := e.groups[name]
	if g == nil {
		g = &aggregate{}
		e.groups[name] = g
	}
	return g
}

// apply runs a batch, and then brings effects, of different sources, into the tables, as the last thing in a
// transaction. All transactions lock in this order: source, shards, groups, what makes their order, parts.
func (j *job) apply(ctx context.Context, t pgx.Tx, b *pgx.Batch, part int64, effects ...effect) error {
	slices.SortFunc(effects, func(a, b effect) int { return cmp.Compare(a.source, b.source) })
	grouped, err := j.withGroups(ctx, t, effects)
	if err != nil {
		return err
	}
	if len(grouped) > 0 {
		if err := t.SendBatch(ctx, b).Close(); err != nil {
			return err
		}
		b = &pgx.Batch{}
	}
	for _, e := range grouped {
		if err := j.completeGroups(ctx, t, e); err != nil {
			return err
		}
	}
	var sources, changed []int
	var reasons []string
	var rows, faces, images, changes []int64
	for _, e := range effects {
		for _, r := range slices.Sorted(maps.Keys(e.tallies)) {
			n := e.tallies[r]
			sources, reasons = append(sources, e.source), append(reasons, string(r))
			rows, faces, images = append(rows, n.Rows), append(faces, n.Faces),
				append(images, n.ImagesWithFaces)
		}
		if e.changes > 0 {
			changed, changes = append(changed, e.source), append(changes, e.changes)
		}
	}
	if len(sources) > 0 {
		b.Queue(`INSERT INTO tallies SELECT $1, * FROM unnest($2::int[], $3::text[], $4::bigint[],
			$5::bigint[], $6::bigint[])
			ON CONFLICT (part, source, reason) DO UPDATE
			SET rows = tallies.rows + excluded.rows, faces = tallies.faces + excluded.faces,
			images_with_faces = tallies.images_with_faces + excluded.images_with_faces`, part, sources,
			reasons, rows, faces, images)
	}
	if len(changed) > 0 {
		b.Queue(`INSERT INTO changes SELECT $1, * FROM unnest($2::int[], $3::bigint[])
			ON CONFLICT (part, source) DO UPDATE SET n = changes.n + excluded.n`, part, changed, changes)
	}
	if b.Len() == 0 {
		return nil
	}
	return t.SendBatch(ctx, b).Close()
}

// withGroups returns the effects that change groups, or may finish some. An import that ends without groups
// has none to finish: nobody else adds groups of its source.
func (j *job) withGroups(ctx context.Context, t pgx.Tx, effects []effect) (out []effect, err error) {
	var imported, some []int
	for _, e := range effects {
		if len(e.groups) == 0 && e.imported {
			imported = append(imported, e.source)
		}
	}
	if len(imported) > 0 {
		some, err = column[int](ctx, t, "SELECT s.number FROM unnest($1::int[]) AS s (number) "+
			"WHERE EXISTS (SELECT FROM groups WHERE source = s.number) ORDER BY 1", imported)
	}
	for _, e := range effects {
		_, has := slices.BinarySearch(some, e.source)
		if len(e.groups) > 0 || has {
			out = append(out, e)
		}
	}
	return out, err
}

// partUses is how many transactions add to one part: so many old versions of its rows there are at most,
// however long some transaction elsewhere keeps the server from removing them.
const partUses = 1000

// nextPart is the part of the tallies that this process adds to, alone: so nobody waits for another's commit.
func (j *job) nextPart(ctx context.Context) (int64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.uses%partUses == 0 {
		err := j.retry(ctx, func() error {
			return j.pool.QueryRow(ctx, "SELECT nextval('parts')").Scan(&j.part)
		})
		if err != nil {
			return 0, err
		}
	}
	j.uses++
	return j.part, nil
}
