package cmd

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"facescan/cmd/help"
	"facescan/store/nearest"
)

// The sections that manual pages are in.
const (
	commandSection = "1"
	topicSection   = "7"
)

func newMan(g *globals) *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "man [1|7] [COMMAND|TOPIC]",
		Short: "Show a manual page, or write all of them to a folder",
		Long: "Shows the manual page of a command or topic with man(1). Where stdout is not a terminal it " +
			"prints the page's source. Commands are in section 1, topics in section 7; of a name that is " +
			"both, such as sidecar, the command is shown unless the section is given.",
		Example: `facescan man run                              # a command
facescan man 7 sidecar                        # a topic
facescan man --dir pages  # write all pages`,
		Args:              args(cobra.MaximumNArgs(3), "at most a section and a command or topic"),
		ValidArgsFunction: completePages,
		RunE: func(c *cobra.Command, args []string) error {
			return runMan(g, c, dir, args)
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "write all pages into `FOLDER`, as NAME.1 and NAME.7")
	return c
}

func runMan(g *globals, c *cobra.Command, dir string, args []string) error {
	if dir != "" {
		return writePages(c.Root(), dir)
	}
	page, err := pageNamed(c.Root(), args)
	if err != nil {
		return err
	}
	if isTerminal(c.OutOrStdout()) {
		path, err := exec.LookPath("man")
		if err != nil { // what a person can read
			fmt.Fprint(c.OutOrStdout(), help.Text(page.Text, helpWidth(c)))
			return nil
		}
		man := exec.Command(path, "-l", "-")
		man.Stdin, man.Stdout, man.Stderr = strings.NewReader(page.Roff()), c.OutOrStdout(), g.rawErr
		return man.Run()
	}
	if _, err := fmt.Fprint(g.out, page.Roff()); err != nil {
		return fmt.Errorf("write the manual page: %w", err)
	}
	return nil
}

// pageNamed is the manual page of a command or topic; of the program itself without a name.
func pageNamed(root *cobra.Command, words []string) (help.Page, error) {
	section := ""
	if len(words) > 0 && (words[0] == commandSection || words[0] == topicSection) {
		section, words = words[0], words[1:]
	}
	if c, ok := commandNamed(root, words); ok && section != topicSection {
		return commandManual(c), nil
	}
	name := strings.Join(words, " ")
	if t, ok := help.Find(name); ok && section != commandSection {
		return topicManual(t), nil
	}
	return help.Page{}, usagef("there is no command or topic %q%s",
		name, nearest.Among(name, pageNames(root)))
}

// writePages writes the manual pages of all commands and topics into a folder.
func writePages(root *cobra.Command, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	pages := []help.Page{commandManual(root)}
	for _, c := range root.Commands() {
		if !c.Hidden {
			pages = append(pages, commandManual(c))
		}
	}
	for _, t := range help.Topics() {
		pages = append(pages, topicManual(t))
	}
	for _, p := range pages {
		name := filepath.Join(dir, p.Name+"."+p.Section)
		//nolint:gosec // G306: manual pages are for everybody
		if err := os.WriteFile(name, []byte(p.Roff()), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func newPage(name, section, summary string) help.Page {
	return help.Page{Name: name, Section: section, Summary: summary, Date: commitDate(),
		Release: "facescan " + release}
}

// commitDate is the day that this program's source was committed; empty where the build does not say it.
func commitDate() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			day, _, _ := strings.Cut(s.Value, "T")
			return day
		}
	}
	return ""
}

func topicManual(t help.Topic) help.Page {
	p := newPage(help.ManName(t.Name), topicSection, t.Title)
	p.Text = t.Blocks
	p.Blocks = []help.Block{help.Heading{Level: 2, Text: "Description"}}
	for _, b := range t.Blocks[1:] { // its title is in NAME
		if h, is := b.(help.Heading); is {
			h.Level = max(h.Level, 3)
			b = h
		}
		p.Blocks = append(p.Blocks, b)
	}
	p.Blocks = append(p.Blocks, help.Heading{Level: 2, Text: "See also"}, help.Paragraph("**facescan**(1)"))
	return p
}

// commandManual has the sections that a manual page is expected to have, from what help says of a command.
func commandManual(c *cobra.Command) help.Page {
	name := "facescan"
	if c.HasParent() {
		name = help.ManName(c.Name())
	}
	p := newPage(name, commandSection, c.Short)
	p.Text = commandPage(c)
	add := func(title string, blocks ...help.Block) {
		p.Blocks = append(append(p.Blocks, help.Heading{Level: 2, Text: title}), blocks...)
	}
	add("Synopsis", help.Code(usageLine(c)))
	add("Description", help.Parse(longText(c))...)
	if !c.HasParent() {
		add("Commands", commandLists(c)...)
		add("Topics", topicTerms())
	}
	add("Options")
	for _, g := range groupsOf(c) {
		if g.title != oneGroup {
			p.Blocks = append(p.Blocks, help.Heading{Level: 3, Text: g.title})
		}
		p.Blocks = append(p.Blocks, g.terms)
	}
	add("Examples", help.Code(c.Example))
	add("Files", files)
	add("Environment", environment)
	add("Exit status", exitTerms(), help.Paragraph("See [facescan help exit-codes](exit-codes.md)."))
	var pages []string
	for _, name := range topicsOf(c) {
		pages = append(pages, "["+name+"]("+name+".md)")
	}
	if c.HasParent() {
		pages = slices.Insert(pages, 0, "**facescan**(1)")
	}
	add("See also", help.Paragraph(strings.Join(pages, ", ")))
	return p
}

// files are what the manual pages say about files, with the same words on each.
var files = help.Terms{
	{Word: "LIST.facescan.db",
		Text: "The job of a list, beside it: a SQLite file with rows, results and faces."},
	{Word: "LIST.facescan.db-wal, LIST.facescan.db-shm",
		Text: "SQLite's write-ahead log. They belong to the job: copy or move them with it, and only while " +
			"no process works on it."},
	{Word: "LIST.node-i-of-N.facescan.db",
		Text: "The job of one part of a list (--node i/N)."},
}

var environment = help.Terms{
	{Word: "FACESCAN_NAME",
		Text: "Sets the flag --NAME: FACESCAN_MIN_FACE=40 is --min-face 40. The command line wins."},
	{Word: "HTTP_PROXY, HTTPS_PROXY, NO_PROXY",
		Text: "The proxy for downloads, unless --proxy says otherwise."},
	{Word: "PGPASSWORD, PGPASSFILE and others of libpq", Text: "The connection to a PostgreSQL job."},
	{Word: "SLURM_ARRAY_TASK_ID, JOB_COMPLETION_INDEX", Text: "The part that --node auto takes."},
	{Word: "TMPDIR", Text: "The folder for temporary copies. Default: /tmp."},
	{Word: "NO_COLOR", Text: "If set, progress has no colours."},
	{Word: "COLUMNS", Text: "The width of help, in columns. Default: that of the terminal, else 80."},
}

func exitTerms() help.Terms {
	var terms help.Terms
	for _, e := range exitCodes {
		terms = append(terms, help.Term{Word: fmt.Sprint(e.code), Text: e.meaning})
	}
	return terms
}
