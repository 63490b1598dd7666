package sqlite

import (
	"fmt"
	"slices"
	"strings"

	"facescan/store"
	"facescan/store/tables"
)

// names are what the tables are called, and how the values of a row are read. Every SQL text in this package
// writes them as {tokens}, so that a job of our own and a user's table worked on in place are the same code.
type names struct {
	urls, id, url, done string            // the table of rows and its columns
	prefix              string            // of our own tables
	members             string            // the table of rows that have a group
	columns             map[string]string // tokens of more columns that the expressions name
	// Expressions on a row that is aliased u, in tokens but for {pending} to {of_source} themselves:
	pending string // it is not done
	ours    string // it belongs to the job, pending or done
	address string // its URL, as text
	group   string // value of its group column, as text
	kept    string // values of its kept columns, as a JSON array or NULL
	hash    string // value of its column of checksums, as text
	// An expression on a member m and a group g:
	ofSource string // the row is of the group's source
}

// jobNames are those of a job made from lists. They are a contract.
var jobNames = names{urls: "urls", id: "id", url: "url", done: "done", pending: "u.done = 0", ours: "1",
	address: "u.url", group: `coalesce(u."group", '')`, kept: "u.kept",
	hash: "coalesce((SELECT hash FROM {checksums} WHERE id = u.id), '')", members: "urls",
	ofSource: fmt.Sprintf("m.id BETWEEN g.source << %[1]d AND ((g.source + 1) << %[1]d) - 1",
		store.SourceShift)}

var (
	ownTables = []string{"results", "faces", "detectors", "sources", "shards", "tallies", "owners",
		"suspects", "settings", "thumbnails", "groups", "job", "unpublished", "publications",
		"checksums", "files"}
	ownIndexes = []string{"sources_imported", "shards_open", "shards_leased", "groups_finished",
		"groups_ready", "groups_ended", "members_group"}
)

// replacer turns SQL with tokens into SQL with names. A name is put in once and never looked through for
// tokens itself: a user's column may be called {urls}.
func (n names) replacer() *strings.Replacer {
	pairs := []string{
		"{urls}", tables.Quote(n.urls), "{id}", tables.Quote(n.id), "{url}", tables.Quote(n.url),
		"{done}", tables.Quote(n.done), "{members}", tables.Quote(n.members),
		"{list}", "(SELECT value FROM json_each(?))", // of the values in an idList
	}
	for token, column := range n.columns {
		pairs = append(pairs, token, tables.Quote(column))
	}
	for _, t := range slices.Concat(ownTables, ownIndexes) {
		pairs = append(pairs, "{"+t+"}", tables.Quote(n.prefix+t))
	}
	own := strings.NewReplacer(pairs...)
	for token, expression := range map[string]string{
		"{pending}": n.pending, "{ours}": n.ours, "{address}": n.address, "{group}": n.group,
		"{kept}": n.kept, "{hash}": n.hash, "{of_source}": n.ofSource,
	} {
		pairs = append(pairs, token, "("+own.Replace(expression)+")")
	}
	return strings.NewReplacer(pairs...)
}
