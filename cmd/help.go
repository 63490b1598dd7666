package cmd

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"facescan/cmd/help"
	"facescan/store/nearest"
)

// The groups that help lists the commands in.
var commandGroups = []*cobra.Group{
	{ID: "work", Title: "Process a list"},
	{ID: "results", Title: "Look at a job and its results"},
	{ID: "change", Title: "Change a job"},
	{ID: "try", Title: "Before a run, and beside it"},
	{ID: "about", Title: "About facescan"},
}

// seeAlso are the topics that the help of a command names.
var seeAlso = map[string]string{
	"run":    "lists outcomes detectors kept hashes politeness many-machines",
	"import": "lists many-machines",
	"export": "formats columns where groups hashes", "status": "outcomes monitoring",
	"report": "outcomes privacy", "verify": "schema lists", "retry": "outcomes", "rescan": "detectors kept",
	"forget": "privacy where", "merge": "many-machines", "pause": "lists", "resume": "lists",
	"detect": "formats detectors", "estimate": "lists outcomes", "doctor": "many-machines sidecar",
	"sidecar": "sidecar detectors",
}

// newHelp replaces cobra's help command: beside commands it knows topics, and refuses what is neither.
func newHelp(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND|TOPIC]",
		Short: "Show the help of a command, or a topic",
		Example: `facescan help              # all commands and topics
facescan help run          # what a command does, with its flags
facescan help exit-codes   # a topic`,
		GroupID:           "about",
		ValidArgsFunction: completePages,
		// Help is shown even where a variable is wrong.
		PersistentPreRunE: func(*cobra.Command, []string) error { return nil },
		RunE: func(c *cobra.Command, args []string) error {
			return runHelp(c, args)
		},
	}
}

func runHelp(c *cobra.Command, args []string) error {
	root, name := c.Root(), strings.Join(args, " ")
	found, isCommand := commandNamed(root, args)
	topic, isTopic := help.Find(name)
	if !isCommand && !isTopic {
		return usagef("there is no command or topic %q%s", name, nearest.Among(name, pageNames(root)))
	}
	var blocks []help.Block
	if isCommand {
		blocks = commandPage(found)
	}
	if isTopic {
		blocks = append(blocks, topic.Blocks...)
	}
	fmt.Fprint(c.OutOrStdout(), help.Text(blocks, helpWidth(c)))
	return nil
}

// showHelp is --help of every command.
func showHelp(c *cobra.Command, _ []string) {
	fmt.Fprint(c.OutOrStdout(), help.Text(commandPage(c), helpWidth(c)))
}

// commandNamed finds a command by its words; none are the program itself.
func commandNamed(root *cobra.Command, words []string) (c *cobra.Command, ok bool) {
	c, rest, err := root.Find(words)
	return c, err == nil && len(rest) == 0 && (c != root || len(words) == 0)
}

// helpWidth is the width of a page: COLUMNS, else that of the terminal, else 80.
func helpWidth(c *cobra.Command) int {
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	if f, ok := c.OutOrStdout().(interface{ Fd() uintptr }); ok {
		if n, _, err := term.GetSize(int(f.Fd())); err == nil && n > 0 {
			return n
		}
	}
	return 80
}

// commandPage is the help of a command.
func commandPage(c *cobra.Command) []help.Block {
	blocks := help.Parse(longText(c))
	blocks = append(blocks, help.Heading{Level: 3, Text: "Usage"}, help.Code(usageLine(c)))
	if !c.HasParent() {
		blocks = append(blocks, commandLists(c)...)
		blocks = append(blocks, help.Heading{Level: 3, Text: "Topics, by facescan help TOPIC"}, topicTerms())
	} else if c.HasAvailableSubCommands() {
		blocks = append(blocks, help.Heading{Level: 3, Text: "Commands"}, commandTerms(c, ""))
	}
	if c.Example != "" {
		blocks = append(blocks, help.Heading{Level: 3, Text: "Examples"}, help.Code(c.Example))
	}
	for _, group := range groupsOf(c) {
		blocks = append(blocks, help.Heading{Level: 3, Text: group.title}, group.terms)
	}
	blocks = append(blocks, help.Paragraph("A flag without a value is off unless it is given. Durations are "+
		"written as 30s or 1h30m, sizes as 64MiB or 2GB. Every flag is also a variable: `--min-face 40` is "+
		"`FACESCAN_MIN_FACE=40`."))
	if !c.HasParent() { // which has listed them
		return blocks
	}
	return append(blocks, help.Paragraph(furtherReading(c)))
}

// longText describes a command, as Markdown.
func longText(c *cobra.Command) string { return cmp.Or(c.Long, c.Short) }

// furtherReading names the topics that belong to a command.
func furtherReading(c *cobra.Command) string {
	return "Topics, by `facescan help TOPIC`: " + strings.Join(topicsOf(c), ", ")
}

func topicsOf(c *cobra.Command) []string {
	return append(strings.Fields(seeAlso[c.Name()]), "exit-codes")
}

func usageLine(c *cobra.Command) string {
	if !c.HasParent() {
		return "facescan COMMAND …"
	}
	return strings.TrimSuffix(c.UseLine(), " [flags]") + " [FLAGS]"
}

// commandLists are the commands of a page by their groups.
func commandLists(root *cobra.Command) []help.Block {
	var blocks []help.Block
	for _, g := range root.Groups() {
		blocks = append(blocks, help.Heading{Level: 3, Text: g.Title}, commandTerms(root, g.ID))
	}
	return blocks
}

func commandTerms(c *cobra.Command, group string) help.Terms {
	var terms help.Terms
	for _, sub := range c.Commands() {
		if !sub.Hidden && sub.GroupID == group {
			terms = append(terms, help.Term{Word: sub.Name(), Text: sub.Short})
		}
	}
	return terms
}

func topicTerms() help.Terms {
	var terms help.Terms
	for _, t := range help.Topics() {
		terms = append(terms, help.Term{Word: t.Name, Text: t.Title})
	}
	return terms
}

// pageNames are all commands and topics that help knows.
func pageNames(root *cobra.Command) []string {
	var names []string
	for _, sub := range root.Commands() {
		if !sub.Hidden {
			names = append(names, sub.Name())
		}
	}
	for _, t := range help.Topics() {
		if !slices.Contains(names, t.Name) {
			names = append(names, t.Name)
		}
	}
	return names
}
