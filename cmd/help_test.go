package cmd

import (
	"bytes"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"facescan/cmd/help"
)

// commandTree is the command line, and all commands in it that are shown.
func commandTree() (root *cobra.Command, all []*cobra.Command) {
	root = newRoot(&globals{streams: newStreams(nil, io.Discard, io.Discard)})
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		if !c.Hidden {
			all = append(all, c)
		}
	}
	return root, all
}

// allFlags are those of a command, its own and the ones of every command.
func allFlags(c *cobra.Command) map[string]*pflag.Flag {
	c.InitDefaultHelpFlag()
	flags := map[string]*pflag.Flag{}
	for _, set := range []*pflag.FlagSet{c.LocalFlags(), c.InheritedFlags()} {
		set.VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				flags[f.Name] = f
			}
		})
	}
	return flags
}

// TestFlagGroups: help lists every flag under exactly one heading, and no heading lists a flag that is gone.
func TestFlagGroups(t *testing.T) {
	grouped := map[string]int{}
	for _, g := range flagGroups {
		for name := range strings.FieldsSeq(g.flags) {
			grouped[name]++
		}
	}
	root, commands := commandTree()
	used := map[string]bool{}
	for _, c := range append(commands, root) {
		for name := range allFlags(c) {
			used[name] = true
			if n := grouped[name]; n != 1 {
				t.Errorf("--%s of %s is in %d groups of flaggroups.go, want 1", name, c.Name(), n)
			}
		}
	}
	for name := range grouped {
		if !used[name] {
			t.Errorf("--%s is in flaggroups.go, and no command has it", name)
		}
	}
	if titles := len(groupsOf(commands[slices.IndexFunc(commands,
		func(c *cobra.Command) bool { return c.Name() == "run" })])); titles != len(flagGroups) {
		t.Errorf("run has %d groups of flags, want %d", titles, len(flagGroups))
	}
}

// TestFlagTexts: every flag that takes a value says its default, or that it has none by being unset, and reads
// like its neighbours.
func TestFlagTexts(t *testing.T) {
	root, commands := commandTree()
	for _, c := range append(commands, root) {
		for name, f := range allFlags(c) {
			term := flagTerm(f)
			switch f.Value.Type() {
			case "int", "int64", "float64", "duration", "size", "number", "degrees", "N|P%":
				if !strings.Contains(term.Text, "default") {
					t.Errorf("%s --%s says no default: %s", c.Name(), name, term.Text)
				}
			}
			usage := f.Usage
			if usage == "" || strings.HasSuffix(usage, ".") || strings.Contains(usage, "  ") {
				t.Errorf("%s --%s: %q", c.Name(), name, usage)
			}
			if first := []rune(usage); unicode.IsUpper(first[0]) && unicode.IsLower(first[1]) &&
				!strings.HasPrefix(usage, "User-Agent") && !strings.HasPrefix(usage, "IoU") {
				t.Errorf("%s --%s begins with a capital: %q", c.Name(), name, usage)
			}
			if strings.Contains(usage, "default: ") && defaultOf(f) != "" && !strings.Contains(usage, f.DefValue) {
				t.Errorf("%s --%s has the default %s, and says %q", c.Name(), name, f.DefValue, usage)
			}
		}
	}
}

// TestExamples: every command has three examples that its flags and arguments allow.
func TestExamples(t *testing.T) {
	root, commands := commandTree()
	for _, c := range append(commands, root) {
		examples := examplesOf(c)
		if len(examples) < 3 {
			t.Errorf("%s has %d examples", c.Name(), len(examples))
		}
		for _, e := range examples {
			if e.note == "" {
				t.Errorf("an example of %s has no note: %s", c.Name(), e.command)
			}
			checkCommand(t, e.command)
		}
	}
}

// checkCommand parses the facescan commands in a line of a shell, as far as flags and numbers of arguments go.
func checkCommand(t *testing.T, line string) {
	t.Helper()
	words := help.ShellWords(line)
	for len(words) > 0 {
		begin := slices.IndexFunc(words, func(w string) bool {
			return strings.TrimPrefix(w, "<(") == "facescan"
		})
		if begin < 0 {
			return
		}
		words = words[begin+1:]
		end := slices.IndexFunc(words, func(w string) bool {
			return strings.HasPrefix(w, "#") || slices.Contains([]string{"|", ">", ">>", "&", "&&", ";", "…"}, w)
		})
		if end < 0 {
			end = len(words)
		}
		var command []string
		for _, w := range words[:end] {
			command = append(command, strings.Trim(w, `'")`))
		}
		if err := parseCommand(command); err != nil {
			t.Errorf("facescan %s: %v", strings.Join(command, " "), err)
		}
		words = words[end:]
	}
}

func parseCommand(words []string) error {
	root, _ := commandTree()
	c, rest, err := root.Find(words)
	if err != nil || c == root {
		return err
	}
	c.InitDefaultHelpFlag()
	err = c.ParseFlags(rest)
	switch {
	case err != nil && (strings.Contains(err.Error(), "SLURM") ||
		strings.Contains(err.Error(), "JOB_COMPLETION_INDEX")): // --node auto, outside of an array
		return nil
	case err != nil || c.Args == nil:
		return err
	}
	return c.Args(c, c.Flags().Args())
}

// TestHelpFits: at every width no line of any page is longer, unless it is a single word or code.
func TestHelpFits(t *testing.T) {
	root, commands := commandTree()
	for _, width := range []int{30, 45, 60, 80, 120} {
		pages := map[string]string{}
		for _, c := range append(commands, root) {
			pages[c.Name()] = help.Text(commandPage(c, width), width)
		}
		for _, topic := range help.Topics() {
			pages["topic "+topic.Name] = help.Text(topic.Blocks, width)
		}
		for name, page := range pages {
			for line := range strings.Lines(page) {
				line = strings.TrimRight(line, "\n")
				long := utf8.RuneCountInString(line) > width
				if code := strings.HasPrefix(line, "  "); long && !code && strings.Contains(line, " ") ||
					long && width >= 80 && !strings.HasPrefix(name, "topic") {
					t.Errorf("%s at %d columns: %s", name, width, line)
				}
				if strings.TrimRight(line, " ") != line {
					t.Errorf("%s: blanks at the end of %q", name, line)
				}
			}
		}
	}
}

// TestHelpWidth takes COLUMNS, and 80 where stdout is not a terminal.
func TestHelpWidth(t *testing.T) {
	longest := func(columns string) int {
		t.Setenv("COLUMNS", columns)
		var out bytes.Buffer
		if code := Run(t.Context(), []string{"run", "--help"}, nil, &out, io.Discard); code != 0 {
			t.Fatalf("exit code %d", code)
		}
		n := 0
		for line := range strings.Lines(out.String()) {
			n = max(n, utf8.RuneCountInString(strings.TrimRight(line, "\n")))
		}
		return n
	}
	for columns, want := range map[string]int{"60": 60, "80": 80, "120": 120, "": 80, "-5": 80, "wide": 80} {
		if n := longest(columns); n > want || n < want-8 {
			t.Errorf("COLUMNS=%s: lines of up to %d columns, want %d", columns, n, want)
		}
	}
}

// TestTopics: what topics say of commands, flags, variables and other topics exists.
func TestTopics(t *testing.T) {
	root, commands := commandTree()
	flags := map[string]bool{}
	for _, c := range append(commands, root) {
		maps.Copy(flags, keysOf(allFlags(c)))
	}
	inCode, aFlag := regexp.MustCompile("`[^`]+`"), regexp.MustCompile(`(?:^|[\s(])--([a-z][a-z-]+)`)
	variable := regexp.MustCompile(`FACESCAN_([A-Z_]+)`)
	link := regexp.MustCompile(`\]\(([^)]+)\)`)
	for _, topic := range help.Topics() {
		b, err := os.ReadFile(filepath.Join("help", topic.Name+".md"))
		if err != nil {
			t.Fatal(err)
		}
		text := string(b)
		for _, block := range topic.Blocks {
			code, isCode := block.(help.Code)
			for line := range strings.Lines(strings.ReplaceAll(string(code), "\\\n", " ")) {
				if isCode && strings.Contains(line, "facescan ") && !strings.Contains(line, "\"facescan") {
					checkCommand(t, strings.TrimSpace(line))
				}
			}
		}
		for _, code := range inCode.FindAllString(text, -1) {
			code = strings.Trim(code, "`")
			if strings.HasPrefix(code, "facescan ") {
				words := strings.Fields(code)
				if c, _, err := root.Find(words[1:2]); err != nil || c == root {
					t.Errorf("%s names `%s`", topic.Name, code)
				}
			}
			if strings.HasPrefix(code, "sbatch ") || strings.HasPrefix(code, "make ") {
				continue
			}
			for _, m := range aFlag.FindAllStringSubmatch(code, -1) {
				if !flags[m[1]] {
					t.Errorf("%s names the flag --%s", topic.Name, m[1])
				}
			}
		}
		for _, m := range variable.FindAllStringSubmatch(text, -1) {
			if name := strings.ToLower(strings.ReplaceAll(m[1], "_", "-")); !flags[name] && m[1] != "NAME" {
				t.Errorf("%s names the variable %s", topic.Name, m[0])
			}
		}
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if name, isFile := strings.CutSuffix(m[1], ".md"); isFile {
				if _, ok := help.Find(name); !ok {
					t.Errorf("%s links to %s", topic.Name, m[1])
				}
			} else if !strings.HasPrefix(m[1], "https://") {
				t.Errorf("%s links to %s", topic.Name, m[1])
			}
		}
	}
	for name, topics := range seeAlso {
		if c, _, err := root.Find([]string{name}); (err != nil || c == root) && name != "forget" {
			t.Errorf("seeAlso has %s", name)
		}
		for topic := range strings.FieldsSeq(topics) {
			if _, ok := help.Find(topic); !ok {
				t.Errorf("the help of %s names the topic %s", name, topic)
			}
		}
	}
}

func keysOf[T any](m map[string]T) map[string]bool {
	out := map[string]bool{}
	for k := range m {
		out[k] = true
	}
	return out
}

// tableOf is the first table of a topic whose header begins with a word.
func tableOf(t *testing.T, topic, header string) help.Table {
	t.Helper()
	page, ok := help.Find(topic)
	if !ok {
		t.Fatalf("no topic %s", topic)
	}
	for _, b := range page.Blocks {
		if table, is := b.(help.Table); is && table.Header[0] == header {
			return table
		}
	}
	t.Fatalf("topic %s has no table of %s", topic, header)
	return help.Table{}
}

// TestExitCodesTopic: the topic has the codes of the code, with their meanings.
func TestExitCodesTopic(t *testing.T) {
	table := tableOf(t, "exit-codes", "code")
	if len(table.Rows) != len(exitCodes) {
		t.Fatalf("%d codes, want %d", len(table.Rows), len(exitCodes))
	}
	for i, e := range exitCodes {
		if row := table.Rows[i]; row[0] != strconv.Itoa(e.code) || row[1] != e.meaning {
			t.Errorf("%q, want %d %s", row, e.code, e.meaning)
		}
	}
}

// TestManPages: each page has the sections that are expected of it, and all flags.
func TestManPages(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pages")
	if code := Run(t.Context(), []string{"man", "--dir", dir}, nil, io.Discard, io.Discard); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	root, commands := commandTree()
	for _, c := range append(commands, root) {
		name := "facescan"
		if c != root {
			name = "facescan-" + c.Name()
		}
		page := readFile(t, filepath.Join(dir, name+".1"))
		at := -1
		for _, section := range []string{"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES", "FILES",
			"ENVIRONMENT", "EXIT STATUS", "SEE ALSO"} {
			i := strings.Index(page, "\n.SH \""+section+"\"\n")
			if section == "NAME" {
				i = strings.Index(page, "\n.SH NAME\n")
			}
			if i <= at {
				t.Errorf("%s: section %s is missing or misplaced", name, section)
			}
			at = i
		}
		for flag := range allFlags(c) {
			if !strings.Contains(page, `\-\-`+strings.ReplaceAll(flag, "-", `\-`)) {
				t.Errorf("%s lacks --%s", name, flag)
			}
		}
	}
	for _, topic := range help.Topics() {
		page := readFile(t, filepath.Join(dir, "facescan-"+topic.Name+".7"))
		if !strings.Contains(page, "\n.SH \"DESCRIPTION\"\n") {
			t.Errorf("topic %s has no description", topic.Name)
		}
	}
}
