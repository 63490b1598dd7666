package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"facescan/store"
)

// Groups. What the members of a group and their results add up to is kept beside them, in every transaction
// that adds or takes away either (countResults, countMembers). A group that a transaction touched is not
// finished any more; before the transaction commits, completeGroups finishes those of them that are ready,
// and with the end of an import all that are ready in its source. Every number of the order in which groups
// are finished is given once.
//
// Sums can be taken back, the largest face and the times cannot: a group that lost a result is stale, and has
// them recomputed from its rows when it is finished.
//
// A source without groups costs a commit one look into an empty range of an index.

// touched are the groups that a transaction has to look at before it commits.
type touched struct {
	groups  map[int]map[string]bool // by source and name: whether none of its rows is pending
	sources map[int]bool            // whose import came to its end
}

func (c *touched) set(source int, group string, ready bool) {
	if c.groups[source] == nil {
		c.groups[source] = map[string]bool{}
	}
	c.groups[source][group] = ready
}

// aggregate is what some rows of a group add up to.
type aggregate struct {
	images, ok, failed, faces, imagesWithFaces, largest int64
	first, last                                         sql.NullInt64
}

// String has all of it, for a person.
func (a aggregate) String() string {
	text := fmt.Sprintf("images %d, ok %d, failed %d, faces %d, images with faces %d, largest face %d",
		a.images, a.ok, a.failed, a.faces, a.imagesWithFaces, a.largest)
	if a.first.Valid || a.last.Valid {
		text += fmt.Sprintf(", first %d, last %d", a.first.Int64, a.last.Int64)
	}
	return text
}

// aggregates are the columns of an aggregate, of members m and their results r.
const aggregates = `count(*), count(r.id) - count(r.reason), count(r.reason), coalesce(sum(r.faces), 0),
	count(*) FILTER (WHERE r.faces > 0),
	coalesce(max((SELECT max(max(f.width, f.height)) FROM {faces} AS f
	WHERE f.id = r.id)), 0), min(r.time), max(r.time)`

func (a *aggregate) dest() []any {
	return []any{&a.images, &a.ok, &a.failed, &a.faces, &a.imagesWithFaces, &a.largest, &a.first, &a.last}
}

// countResults adds the results of some rows to their groups, or takes them away. Their number does not
// change.
func (j *job) countResults(t tx, ids []int64, sign int64) error {
	bySource := map[int][]int64{}
	err := j.bySource(ids, func(source int, some []int64) error {
		if have := bySource[source]; have != nil {
			some = append(have, some...)
		}
		bySource[source] = slices.Clip(some)
		return nil
	})
	if err != nil {
		return err
	}
	some, err := withGroups(t, slices.Sorted(maps.Keys(bySource)))
	for _, source := range some {
		if err == nil {
			err = sumGroups(t, "JOIN", idList(bySource[source]), func(name string, a aggregate) error {
				a.images = 0
				return addToGroup(t, source, name, a, sign)
			})
		}
	}
	return err
}

// withGroups returns those of some sources that have groups.
func withGroups(t tx, sources []int) ([]int, error) {
	if len(sources) == 0 {
		return nil, nil
	}
	return column[int](t, "SELECT value FROM json_each(?) AS l WHERE EXISTS (SELECT 1 FROM {groups} "+
		"WHERE source = l.value)", idList(sources))
}

// countMembers adds members to their groups, with their results as far as they have any, or takes them away.
func countMembers(t tx, source int, ids []int64, sign int64) error {
	return sumGroups(t, "LEFT JOIN", idList(ids), func(name string, a aggregate) error {
		return addToGroup(t, source, name, a, sign)
	})
}

// sumGroups sums up members by group, and then calls add for each.
func sumGroups(t tx, join, ids string, add func(name string, a aggregate) error) error {
	sums := map[string]aggregate{}
	var name string
	var a aggregate
	err := t.scan(append([]any{&name}, a.dest()...), func() { sums[name] = a },
		`SELECT m."group", `+aggregates+` FROM json_each(?) AS i CROSS JOIN {members} AS m ON m.id = i.value
		`+join+` {results} AS r ON r.id = m.id WHERE m."group" IS NOT NULL GROUP BY m."group"`, ids)
	for name, a := range sums {
		if err == nil {
			err = add(name, a)
		}
	}
	return err
}

// countRows adds new rows, which have no results yet, to their groups.
func countRows(t tx, source int, rows []store.NewRow) error {
	sums := map[string]int64{}
	for i := range rows {
		if rows[i].Group != "" {
			sums[rows[i].Group]++
		}
	}
	for name, n := range sums {
		if err := addToGroup(t, source, name, aggregate{images: n}, 1); err != nil {
			return err
		}
	}
	return nil
}

// addToGroup changes the sums of a group, which thereby is not finished.
func addToGroup(t tx, source int, name string, a aggregate, sign int64) error {
	if sign < 0 {
		a.largest, a.first, a.last = 0, sql.NullInt64{}, sql.NullInt64{}
	}
	ready := false
	err := t.one(`INSERT INTO {groups} (source, name, images, ok, failed, faces, images_with_faces,
		largest_face, first, last, stale)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (source, name) DO UPDATE
		SET images = images + excluded.images,
		ok = ok + excluded.ok, failed = failed + excluded.failed, faces = faces + excluded.faces,
		images_with_faces = images_with_faces + excluded.images_with_faces, largest_face = max(largest_face,
		excluded.largest_face),
		first = min(coalesce(first, excluded.first), coalesce(excluded.first, first)),
		last = max(coalesce(last, excluded.last), coalesce(excluded.last, last)), stale = max(stale,
		excluded.stale), finished = NULL
		RETURNING images = ok + failed`,
		[]any{source, name, sign * a.images, sign * a.ok, sign * a.failed, sign * a.faces,
			sign * a.imagesWithFaces,
			a.largest, a.first, a.last, sign < 0}, &ready)
	t.touched.set(source, name, ready)
	return err
}

// endGroups notes that groups are ended, by the ids of their end records. A group that is finished stays so.
func endGroups(t tx, source int, ends map[string]int64) error {
	if err := noteEnds(t, source, ends); err != nil {
		return err
	}
	for name, id := range ends {
		ready := false
		err := t.one(`INSERT INTO {groups} (source, name, images, ok, failed, faces, images_with_faces,
			largest_face, stale, ended)
			VALUES (?, ?, 0, 0, 0, 0, 0, 0, 0, ?) ON CONFLICT (source, name) DO UPDATE
			SET ended = min(coalesce(ended, excluded.ended), excluded.ended) RETURNING images = ok + failed`,
			[]any{source, name, id}, &ready)
		if err != nil {
			return err
		}
		t.touched.set(source, name, ready)
	}
	return nil
}

// imported says that the import of a source came to its end in this transaction, which was not there before.
func (t tx) imported(source int) { t.touched.sources[source] = true }

// isReady is a condition on a group g to be finished. The indexed columns come first.
const isReady = `g.finished IS NULL AND g.images = g.ok + g.failed AND g.images > 0
	AND (g.ended IS NOT NULL OR EXISTS (SELECT 1 FROM {sources} WHERE number = g.source AND complete <> 0))
	AND NOT EXISTS (SELECT 1 FROM {settings} WHERE key = '` + store.NodeSetting + `' AND value <> '')`

// completeGroups finishes what is ready, as the last thing in a transaction.
func completeGroups(t tx) error {
	imported, err := withGroups(t, slices.Sorted(maps.Keys(t.touched.sources)))
	if err != nil {
		return err
	}
	for _, source := range imported {
		if err := finishGroups(t, source, "1", nil); err != nil {
			return err
		}
		delete(t.touched.groups, source)
	}
	for _, source := range slices.Sorted(maps.Keys(t.touched.groups)) {
		var ready []string
		for name, is := range t.touched.groups[source] {
			if is {
				ready = append(ready, name)
			}
		}
		if len(ready) == 0 {
			continue
		}
		list, err := json.Marshal(ready)
		if err != nil {
			return err
		}
		if err := finishGroups(t, source, "g.name IN {list}", []any{string(list)}); err != nil {
			return err
		}
	}
	return nil
}

// finishGroups finishes the groups of a source, among some, that are ready.
func finishGroups(t tx, source int, some string, args []any) error {
	args = append([]any{source}, args...)
	_, err := t.exec(`UPDATE {groups} AS g SET (largest_face, first, last, stale) = (SELECT
		coalesce(max((SELECT max(max(f.width, f.height)) FROM {faces} AS f
		WHERE f.id = r.id)), 0), min(r.time), max(r.time), 0
		FROM {members} AS m JOIN {results} AS r ON r.id = m.id WHERE m."group" = g.name AND {of_source})
		WHERE g.source = ? AND `+some+` AND g.stale <> 0 AND `+isReady, args...)
	if err != nil {
		return err
	}
	n, err := t.exec(`UPDATE {groups} AS o SET revision = o.revision + 1, finished = n.place FROM (
		SELECT g.name, row_number() OVER (ORDER BY g.name) + (SELECT finished FROM {job}) AS place
		FROM {groups} AS g
		WHERE g.source = ? AND `+some+` AND `+isReady+`) AS n WHERE o.source = ? AND o.name = n.name`,
		append(args, source)...)
	if err != nil || n == 0 {
		return err
	}
	_, err = t.exec("UPDATE {job} SET finished = finished + ?", n)
	return err
}

// members that a user's table does not bear out any more, and rows of it that are members and not noted: of
// the rows from one id to another.
const (
	lostMembers = `FROM {members} AS m LEFT JOIN {urls} AS u ON u.{id} = m.id
		WHERE m.id BETWEEN ?1 AND ?2 AND (u.{id} IS NULL OR NOT {ours} OR {group} <> m."group")`
	newMembers = `FROM {urls} AS u WHERE u.{id} BETWEEN ?1 AND ?2 AND {group} <> '' AND {ours}
		AND u.{id} NOT IN (SELECT id FROM {members} WHERE id BETWEEN ?1 AND ?2)`
)

// membersAgree reports whether the members from lo to hi are what a user's table says.
func membersAgree(t tx, lo, hi int64) (right bool, err error) {
	err = t.one("SELECT NOT EXISTS (SELECT 1 "+lostMembers+") AND NOT EXISTS (SELECT 1 "+newMembers+")",
		[]any{lo, hi}, &right)
	return right, err
}

// regroup makes the members from lo to hi what a user's table says.
func regroup(t tx, lo, hi int64) error {
	lost, err := column[int64](t, "SELECT m.id "+lostMembers, lo, hi)
	if err != nil {
		return err
	}
	if len(lost) > 0 {
		if err := countMembers(t, 0, lost, -1); err != nil {
			return err
		}
		if _, err := t.exec("DELETE FROM {members} WHERE id IN {list}", idList(lost)); err != nil {
			return err
		}
	}
	fresh, err := column[int64](t, `INSERT INTO {members} (id, "group") SELECT u.{id}, {group} `+newMembers+
		" RETURNING id", lo, hi)
	if err != nil || len(fresh) == 0 {
		return err
	}
	return countMembers(t, 0, fresh, 1)
}

// verifyGroups compares all groups with their rows.
func (j *job) verifyGroups(ctx context.Context, report func(store.Problem)) error {
	type group struct {
		store.GroupAudit
		aggregate
	}
	after := group{GroupAudit: store.GroupAudit{Source: -1}}
	for more := true; more; {
		last := after
		err := j.check(ctx, report, func(t tx, report func(store.Problem)) error {
			given := int64(0)
			if err := t.one("SELECT finished FROM {job}", nil, &given); err != nil {
				return err
			}
			var page []group
			var g group
			err := t.scan(slices.Concat([]any{&g.Source, &g.Name}, g.dest(),
				[]any{&g.Stale, &g.Finished, &g.Ready}), func() { page = append(page, g) },
				`SELECT g.source, g.name, g.images, g.ok, g.failed, g.faces, g.images_with_faces,
					g.largest_face, g.first, g.last, g.stale, coalesce(g.finished, 0), `+isReady+`
				FROM {groups} AS g WHERE (g.source, g.name) > (?, ?) ORDER BY g.source, g.name LIMIT ?`,
				after.Source, after.Name, groupPage)
			more = len(page) == groupPage
			if err != nil || len(page) == 0 {
				return err
			}
			last = page[len(page)-1]
			for _, g := range page {
				var there aggregate
				err := t.one("SELECT "+aggregates+` FROM (SELECT ? AS source) AS g, {members} AS m
					LEFT JOIN {results} AS r ON r.id = m.id WHERE m."group" = ? AND {of_source}`,
					[]any{g.Source, g.Name}, there.dest()...)
				if err != nil {
					return err
				}
				if g.Stale { // until it is finished
					there.largest, there.first, there.last = g.largest, g.first, g.last
				}
				g.Said, g.There = g.aggregate.String(), there.String()
				g.Pending = g.images - g.ok - g.failed
				g.Verify(given, report)
			}
			return nil
		})
		if err != nil {
			return err
		}
		after = last
	}
	return j.check(ctx, report, func(t tx, report func(store.Problem)) error {
		ids, err := column[int64](t, `SELECT m.id FROM {members} AS m LEFT JOIN {groups} AS g
			ON g.name = m."group" AND g.source = `+j.sourceSQL("m.id")+`
			WHERE m."group" IS NOT NULL AND g.name IS NULL LIMIT ?`, store.VerifyShown)
		for _, id := range ids {
			report(store.Problem{Check: "group", ID: id,
				Text: fmt.Sprintf("row %d has a group that is not there", id)})
		}
		return err
	})
}
