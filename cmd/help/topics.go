// Package help has the topics of `facescan help`, which are the Markdown files beside this one, and turns
// pages into text for a terminal and into manual pages. A page is a list of blocks: Parse makes those of a
// topic, and the command line puts together those of a command.
package help

import (
	"embed"
	"slices"
	"strings"
	"sync"
)

//go:embed *.md
var files embed.FS

// names are the topics, in the order in which they are listed.
var names = []string{
	"lists", "formats", "columns", "where", "outcomes", "exit-codes", "detectors", "kept", "hashes",
	"groups",
	"streams", "many-machines", "sidecar", "politeness", "monitoring", "schema", "privacy",
}

// Topic is a page of `facescan help`.
type Topic struct {
	Name   string
	Title  string // one line
	Blocks []Block
}

// topics are all of them, in the order of names.
var topics = sync.OnceValue(func() []Topic {
	var out []Topic
	for _, name := range names {
		text, err := files.ReadFile(name + ".md")
		if err != nil {
			panic(err)
		}
		blocks := Parse(string(text))
		out = append(out, Topic{Name: name, Title: blocks[0].(Heading).Text, Blocks: blocks})
	}
	return out
})

// Topics are the topics in their order.
func Topics() []Topic { return slices.Clone(topics()) }

// Find returns the topic with a name; ok is false if there is none.
func Find(name string) (t Topic, ok bool) {
	i := slices.IndexFunc(topics(), func(t Topic) bool { return t.Name == strings.ToLower(name) })
	if i < 0 {
		return Topic{}, false
	}
	return topics()[i], true
}
