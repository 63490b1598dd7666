package sqlite

import "strings"

// names are what the tables are called, and how the values of a row are read. Every SQL text in this package writes
// them as {tokens}, so that a job of our own and a user's table worked on in place are the same code.
type names struct {
	urls, id, url, done string // the table of rows and its columns
	prefix              string // of our own tables
	// Expressions on a row that is aliased u:
	pending string // it is not done
	ours    string // it belongs to the job, pending or done
	address string // its URL, as text
	group   string // value of its group column, as text
	kept    string // values of its kept columns, as a JSON array or NULL
}

// jobNames are those of a job made from lists. They are a contract.
var jobNames = names{urls: "urls", id: "id", url: "url", done: "done", pending: "u.done = 0", ours: "1", address: "u.url",
	group: `coalesce(u."group", '')`, kept: "u.kept"}

var ownTables = []string{"results", "faces", "detectors", "sources", "shards", "shards_open", "shards_leased",
	"tallies", "owners", "suspects", "settings", "thumbnails", "job"}

// replacer turns SQL with tokens into SQL with names.
func (n names) replacer() *strings.Replacer {
	pairs := []string{"{urls}", quote(n.urls), "{id}", quote(n.id), "{url}", quote(n.url), "{done}", quote(n.done)}
	for _, t := range ownTables {
		pairs = append(pairs, "{"+t+"}", quote(n.prefix+t))
	}
	own := strings.NewReplacer(pairs...)
	for token, expression := range map[string]string{"{pending}": n.pending, "{ours}": n.ours, "{address}": n.address, "{group}": n.group, "{kept}": n.kept} {
		pairs = append(pairs, token, "("+own.Replace(expression)+")")
	}
	return strings.NewReplacer(pairs...)
}

// quote makes any name an SQL identifier.
func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
