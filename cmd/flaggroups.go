package cmd

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"facescan/cmd/help"
)

// flagGroups are the headings that help lists flags under, each flag of any command under one of them, in
// this order. TestFlagGroups fails for a flag that is missing.
var flagGroups = []struct{ title, flags string }{
	{"Input", `
		db table id-column url-column done-column group-column group-end keep-columns as images
		allow-files watch verify-hash priority list source stale all class reason host require-source
		url yes
	`},
	{"Output", `
		output out format rows columns where distance split-by follow credentials keep keep-where
		keep-json keep-size keep-quality crops blurred blur-margin thumbnails blur-faces hash json draw
		by top every deep dir
	`},
	{"Detection", `
		detector min-face max-face min-score iou shift scale angles max-pixels
	`},
	{"Detection in another process", `
		sidecar sidecar-input sidecar-batch sidecar-delay sidecar-deadline sidecar-fallback device token
		queue max-connections max-body
	`},
	{"Network", `
		user-agent header proxy insecure allow-private block-hosts robots ignore-opt-out max-redirects
		dns
	`},
	{"Limits", `
		timeout retries max-bytes min-rate rate bwlimit per-host fetchers workers memory sample
		outage-wait tail-grace max-duration max-rows max-fail abort-if
	`},
	{"Many processes and machines", `
		node publish publish-every lease-ttl shard-size
	`},
	{"Progress and messages", `
		listen pprof progress dry-run verbose quiet log-format help version
	`},
}

// groupedFrom is how many flags a command has to have to list them in groups.
const groupedFrom = 16

// oneGroup is the title of the only group where there are few flags.
const oneGroup = "Flags"

type flagGroup struct {
	title string
	terms help.Terms
}

// groupsOf are the flags of a command in their groups; of few flags it makes one group.
func groupsOf(c *cobra.Command) []flagGroup {
	flags := flagsOf(c)
	if len(flags) < groupedFrom {
		return []flagGroup{{oneGroup, flagTerms(flags)}}
	}
	var groups []flagGroup
	for _, g := range flagGroups {
		var of []*pflag.Flag
		for name := range strings.FieldsSeq(g.flags) {
			if i := slices.IndexFunc(flags, func(f *pflag.Flag) bool { return f.Name == name }); i >= 0 {
				of = append(of, flags[i])
				flags = slices.Delete(flags, i, i+1)
			}
		}
		if len(of) > 0 {
			groups = append(groups, flagGroup{g.title, flagTerms(of)})
		}
	}
	if len(flags) > 0 {
		groups = append(groups, flagGroup{"Other flags", flagTerms(flags)})
	}
	return groups
}

// flagsOf are the flags of a command in the order in which it defines them, then those of all commands.
func flagsOf(c *cobra.Command) []*pflag.Flag {
	c.InitDefaultHelpFlag()
	c.Flags().Lookup("help").Usage = "show this help"
	var flags []*pflag.Flag
	inherited := c.InheritedFlags()
	add := func(f *pflag.Flag) {
		if !f.Hidden && !slices.Contains(flags, f) {
			flags = append(flags, f)
		}
	}
	own := c.Flags()
	defer func(sorted bool) { own.SortFlags = sorted }(own.SortFlags)
	own.SortFlags = false
	own.VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" && inherited.Lookup(f.Name) == nil {
			add(f)
		}
	})
	inherited.VisitAll(add)
	c.LocalFlags().VisitAll(add)
	return flags
}

func flagTerms(flags []*pflag.Flag) help.Terms {
	var terms help.Terms
	for _, f := range flags {
		terms = append(terms, flagTerm(f))
	}
	return terms
}

// flagTerm is a flag with the name of its value, what it does and its default.
func flagTerm(f *pflag.Flag) help.Term {
	value, usage := pflag.UnquoteUsage(f)
	word := "--" + f.Name
	if f.Shorthand != "" {
		word = "-" + f.Shorthand + ", " + word
	}
	if name := valueName(f, value); name != "" {
		word += " " + name
	}
	if !strings.Contains(usage, "default") && value != "" && f.Value.Type() != "count" {
		usage += fmt.Sprintf(" (default: %s)", cmp.Or(defaultOf(f), "none"))
	}
	return help.Term{Word: word, Text: usage}
}

// valueName is the name of a flag's value: the one in its usage, else that of its type.
func valueName(f *pflag.Flag, name string) string {
	if strings.Contains(f.Usage, "`") {
		return strings.ToUpper(name)
	}
	switch f.Value.Type() {
	case "int", "int64", "float64", "number":
		return "N"
	case "stringSlice":
		return "LIST"
	case "string", "stringArray":
		return "TEXT"
	case "count":
		return ""
	case "degrees", "duration", "pixels", "size", "rule", "score":
		return strings.ToUpper(name)
	}
	return name
}

// defaultOf is a flag's default as help shows it; empty for none.
func defaultOf(f *pflag.Flag) string {
	switch f.DefValue {
	case "", "false", "0", "0s", "[]":
		return ""
	}
	if d, err := time.ParseDuration(f.DefValue); err == nil && f.Value.Type() == "duration" {
		return shortDuration(d)
	}
	return f.DefValue
}

// shortDuration leaves out what is zero: 1h, not 1h0m0s.
func shortDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
