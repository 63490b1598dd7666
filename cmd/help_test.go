package cmd

import (
	"bytes"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"facescan/cmd/help"
	"facescan/pipeline"
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

// allFlags are those of a command by their names, its own and the ones of every command.
func allFlags(c *cobra.Command) map[string]*pflag.Flag {
	flags := map[string]*pflag.Flag{}
	for _, f := range flagsOf(c) {
		flags[f.Name] = f
	}
	return flags
}

// TestFlagGroups: help lists every flag under exactly one heading, and no heading lists a flag that is gone.
func TestFlagGroups(t *testing.T) {
	t.Parallel()
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

// TestFlagTexts: every flag that takes a value names it and says its default, and all flags
// reads like its neighbours.
func TestFlagTexts(t *testing.T) {
	t.Parallel()
	root, commands := commandTree()
	for _, c := range append(commands, root) {
		for name, f := range allFlags(c) {
			term := flagTerm(f)
			takesValue := f.Value.Type() != "bool" && f.Value.Type() != "count"
			if takesValue && !strings.Contains(term.Text, "default") {
				t.Errorf("%s --%s says no default: %s", c.Name(), name, term.Text)
			}
			if takesValue && !strings.Contains(term.Word, " ") && f.Shorthand == "" {
				t.Errorf("%s --%s has no name for its value", c.Name(), name)
			}
			if value := valueName(f, f.Value.Type()); takesValue && value == strings.ToLower(value) {
				t.Errorf("%s --%s: the name of its value, %q, has no capitals", c.Name(), name, value)
			}
			usage := f.Usage
			if usage == "" || strings.HasSuffix(usage, ".") || strings.Contains(usage, "  ") {
				t.Errorf("%s --%s: %q", c.Name(), name, usage)
			}
			if first := []rune(usage); unicode.IsUpper(first[0]) && unicode.IsLower(first[1]) &&
				!strings.HasPrefix(usage, "User-Agent") && !strings.HasPrefix(usage, "IoU") {
				t.Errorf("%s --%s begins with a capital: %q", c.Name(), name, usage)
			}
			if d := defaultOf(f); strings.Contains(usage, "default: ") && !strings.Contains(usage, d) {
				t.Errorf("%s --%s has the default %s, and says %q", c.Name(), name, d, usage)
			}
		}
	}
}

// TestExamples: every command has three examples that its flags and arguments allow.
func TestExamples(t *testing.T) {
	t.Parallel()
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

// checkCommand parses the facescan commands in a line of a shell, as far as flags and numbers of arguments
// go.
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
			return strings.HasPrefix(w, "#") || slices.Contains(strings.Fields("| > >> & && ; …"), w)
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
	t.Parallel()
	root, commands := commandTree()
	for _, width := range []int{30, 45, 60, 80, 120} {
		pages := map[string]string{}
		for _, c := range append(commands, root) {
			pages[c.Name()] = help.Text(commandPage(c), width)
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

// TestManPages: each page has the sections that are expected of it, and all flags.
func TestManPages(t *testing.T) {
	t.Parallel()
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

// example is one command with what it does.
type example struct{ command, note string }

func examplesOf(c *cobra.Command) []example {
	var out []example
	for line := range strings.Lines(c.Example) {
		command, note, _ := strings.Cut(strings.TrimSpace(line), "  # ")
		out = append(out, example{strings.TrimSpace(command), note})
	}
	return out
}

// TestFlagTerms: how flags of each kind are listed, with their values and defaults.
func TestFlagTerms(t *testing.T) {
	t.Parallel()
	_, commands := commandTree()
	flags := map[string]map[string]*pflag.Flag{}
	for _, c := range commands {
		flags[c.Name()] = allFlags(c)
	}
	for name, want := range map[string]struct{ word, end string }{
		"timeout":          {"--timeout DURATION", "(default: 30s)"},
		"outage-wait":      {"--outage-wait DURATION", "(default: 1h)"},
		"sidecar-delay":    {"--sidecar-delay DURATION", "(default: 5ms)"},
		"retries":          {"--retries N", "(default: 2)"},
		"max-rows":         {"--max-rows N", "default: no limit"},
		"shift":            {"--shift N", "(default: 0.1)"},
		"max-bytes":        {"--max-bytes SIZE", "(default: 32MiB)"},
		"max-pixels":       {"--max-pixels PIXELS", "(default: 100M)"},
		"user-agent":       {"--user-agent TEXT", "(default: facescan/" + release + ")"},
		"keep-columns":     {"--keep-columns COLUMNS", "(default: none)"},
		"max-fail":         {"--max-fail N|P%", "default: no limit"},
		"node":             {"--node i/N", "(default: none)"},
		"abort-if":         {"--abort-if RULE", "(default: none)"},
		"insecure":         {"--insecure", "any TLS certificate"},
		"verbose":          {"-v, --verbose", "one per row"},
		"export output":    {"-o, --output FILE", "(default: -)"},
		"export min-score": {"--min-score SCORE", "default: that of the run"},
		"progress":         {"--progress KIND", "(default: auto)"},
		"blur-margin":      {"--blur-margin FRACTION", "(default: 0.2)"},
		"tail-grace":       {"--tail-grace DURATION", "default: no limit"},
		"sidecar-batch":    {"--sidecar-batch N", "(default: 64)"},
		"export split-by":  {"--split-by COLUMN", "(default: none)"},
	} {
		command, flag, ofOther := strings.Cut(name, " ")
		if !ofOther {
			command, flag = "run", name
		}
		term := flagTerm(flags[command][flag])
		if term.Word != want.word || !strings.HasSuffix(term.Text, want.end) {
			t.Errorf("--%s is listed as %q, %q, want %q … %q", name, term.Word, term.Text, want.word,
				want.end)
		}
	}
	for d, want := range map[time.Duration]string{time.Hour: "1h", 90 * time.Second: "1m30s",
		time.Minute:      "1m",
		61 * time.Minute: "1h1m", time.Hour + 5*time.Second: "1h0m5s", 10 * time.Second: "10s",
		20 * time.Minute: "20m", 20 * time.Hour: "20h"} {
		if got := shortDuration(d); got != want {
			t.Errorf("%v is %s, want %s", d, got, want)
		}
	}
}

// TestUserAgent names the program's page where the build has one.
func TestUserAgent(t *testing.T) {
	if got := defaultUserAgent(); got != "facescan/"+release {
		t.Errorf("without a page it is %q", got)
	}
	homepage = "https://example.com/bot"
	defer func() { homepage = "" }()
	if got := defaultUserAgent(); got != "facescan/"+release+" (+https://example.com/bot)" {
		t.Errorf("with a page it is %q", got)
	}
}

// TestDefaults: the defaults of all flags that have one, and the flags that help does not show.
func TestDefaults(t *testing.T) {
	t.Parallel()
	root, _ := commandTree()
	got := map[string]string{}
	for _, c := range root.Commands() {
		var defaults, hidden []string
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if !slices.Contains([]string{"", "false", "0", "0s", "[]"}, f.DefValue) &&
				f.Name != "user-agent" {
				defaults = append(defaults, f.Name+"="+f.DefValue)
			}
			if f.Hidden {
				hidden = append(hidden, f.Name)
			}
		})
		if text := strings.Join(defaults, " "); text != "" {
			got[c.Name()] = text
		}
		if text := strings.Join(hidden, " "); text != "" {
			got[c.Name()+" hides"] = text
		}
	}
	const (
		detection = "max-pixels=100M min-face=20 "
		cascade   = "scale=1.1 shift=0.1 "
		remote    = "sidecar-batch=64 sidecar-deadline=30s sidecar-delay=5ms sidecar-input=luma"
		work      = "lease-ttl=30s max-bytes=32MiB max-pixels=100M max-redirects=10 memory=256MiB " +
			"min-face=20 " +
			"outage-wait=1h0m0s per-host=32 "
	)
	want := map[string]string{
		"run": "blur-margin=0.2 fetchers=256 keep-quality=90 " + work +
			"progress=auto publish-every=30s retries=2 " +
			"scale=1.1 shard-size=10000 shift=0.1 " + remote + " timeout=30s",
		"import": "lease-ttl=30s shard-size=10000",
		"estimate": "fetchers=256 " + work + "retries=2 sample=2000 scale=1.1 shard-size=10000 " +
			"shift=0.1 " + remote +
			" timeout=30s",
		"detect": "max-bytes=32MiB max-pixels=100M max-redirects=10 min-face=20 retries=2 " + cascade +
			remote +
			" timeout=30s",
		"doctor": "dir=. " + remote, "rescan": detection + cascade + remote,
		"export": "distance=4 rows=images", "merge": "shard-size=10000", "report": "blur-margin=0.2 output=-",
		"sidecar": "device=cpu listen=127.0.0.1:8000 max-body=128MiB max-connections=256 " +
			"max-pixels=100M queue=1024",
		"status":    "every=2s top=20",
		"run hides": "verify-faces", "estimate hides": "as verify-faces", "detect hides": "verify-faces",
		"rescan hides": "verify-faces",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestHelpPages has the parts of pages in their order.
func TestHelpPages(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"help", "retry"},
			[]string{"\n\nUsage:\n  facescan retry JOB [FLAGS]\n\nExamples:\n  # rows that failed " +
				"temporarily\n  facescan retry urls.txt\n",
				"\n\nFlags:\n  --class", "  -q, --quiet ", "  -h, --help ",
				"FACESCAN_MIN_FACE=40.\n\nTopics, by facescan help TOPIC: " +
					"outcomes, exit-codes\n"}},
		{[]string{"help", "completion"},
			[]string{"\nUsage:\n  facescan completion [FLAGS]\n\nCommands:\n  bash"}},
		{[]string{"help"}, []string{"\nUsage:\n  facescan COMMAND …\n\nProcess a list:\n  import ",
			"\n\nLook at a job and its " +
				"results:\n  export ", "\n\nAbout facescan:\n", "\n\nTopics, by facescan help TOPIC:\n  " +
				"lists ",
			"FACESCAN_MIN_FACE=40.\n"}},
		{[]string{"man", "retry"}, []string{".SH \"SYNOPSIS\"\n.nf\n.RS 4\nfacescan retry JOB [FLAGS]\n",
			".SH \"OPTIONS\"\n.TP\n", ".SH \"SEE ALSO\"\n\\fBfacescan\\fR(1), \\fBfacescan\\-outcomes\\fR(7)"}},
		{[]string{"man", "run"}, []string{".SH \"OPTIONS\"\n.SS \"Input\"\n.TP\n", "\n.SS \"Output\"\n"}},
		{[]string{"man"}, []string{".SH \"COMMANDS\"\n.SS \"Process a list\"\n", ".SH \"TOPICS\"\n",
			".SH \"SEE ALSO\"\n\\fBfacescan\\-exit"}},
		{[]string{"man", "7", "outcomes"}, []string{".SH \"DESCRIPTION\"\n",
			".SH \"SEE ALSO\"\n\\fBfacescan\\fR(1)\n"}},
	} {
		code, page, said := here(t, c.args...)
		if code != 0 || said != "" {
			t.Errorf("facescan %q: exit %d, %s", c.args, code, said)
		}
		for _, want := range c.want {
			_, rest, is := strings.Cut(page, want)
			if !is {
				t.Errorf("facescan %q lacks %q:\n%s", c.args, want, page)
				break
			}
			page = rest
		}
	}
}

// TestWorkers: as many as there are processors, unless a number is given.
func TestWorkers(t *testing.T) {
	t.Parallel()
	for given, want := range map[int]int{0: cores, 3: 3} {
		o := poolOptions{fetchers: 1, workers: given, perHost: 5, memory: 7, outageWait: 9}
		var p pipeline.Options
		if o.set(&p); p.Workers != want || p.Fetchers != 1 || p.PerHost != 5 || p.Memory != 7 ||
			p.OutageWait != 9 {
			t.Errorf("--workers %d gives %+v", given, p)
		}
	}
}
