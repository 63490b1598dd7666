package sqlite

import "strings"

// names are what the tables are called. Every SQL text in this package writes them as {tokens}, so that a job of
// our own and a user's table worked on in place are the same code.
type names struct {
	urls, id, url, done string // the table of rows and its columns
	group, kept         string // its optional columns
	prefix              string // of our own tables
	pending             string // condition on a row, aliased u, that it is not done
}

// jobNames are those of a job made from lists. They are a contract.
var jobNames = names{urls: "urls", id: "id", url: "url", done: "done", group: "group", kept: "kept", pending: "u.done = 0"}

var ownTables = []string{"results", "faces", "detectors", "sources", "shards", "shards_open", "shards_leased",
	"tallies", "owners", "suspects", "settings", "job"}

// replacer turns SQL with tokens into SQL with names.
func (n names) replacer() *strings.Replacer {
	pairs := []string{"{urls}", quote(n.urls), "{id}", quote(n.id), "{url}", quote(n.url), "{done}", quote(n.done),
		"{group}", quote(n.group), "{kept}", quote(n.kept), "{pending}", "(" + n.pending + ")"}
	for _, t := range ownTables {
		pairs = append(pairs, "{"+t+"}", quote(n.prefix+t))
	}
	return strings.NewReplacer(pairs...)
}

// quote makes any name an SQL identifier.
func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
