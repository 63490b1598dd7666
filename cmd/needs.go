package cmd

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// needs are flags that do nothing without one of some others, which are named as they are given. The message
// has them for %s.
var needs = []struct {
	flag    string
	others  []string
	message string
}{
	{"keep-json", []string{"keep FOLDER"}, "says how images are kept: add %s"},
	{"keep-size", []string{"keep FOLDER"}, "says how images are kept: add %s"},
	{"keep-quality", []string{"keep FOLDER"}, "says how images are kept: add %s"},
	{"keep-quality", []string{"keep-size N"}, "is that of the JPEGs that --keep-size makes: add %s"},
	{"keep-where", []string{"keep FOLDER"}, "says what to keep: add %s"},
	{"blur-margin", []string{"blurred FOLDER", "blur-faces"}, "says how much is blurred: add %s"},
	{"blur-faces", []string{"thumbnails N"}, "blurs faces in the run's small pictures: add %s"},
	{"pprof", []string{"listen ADDRESS"}, "is served at --listen: give both, with %s"},
	{"format", []string{"out FILE"}, "is that of --out: name a file, or - for stdout, with %s"},
	{"publish-every", []string{"publish FOLDER"}, "is the interval of --publish: add %s"},
	{"every", []string{"watch"}, "is the interval of --watch: add %s"},
	{"top", []string{"by host, reason, format, group or sha256"}, "ranks values of a key: give %s too"},
	{"sidecar-input", []string{"sidecar URL"}, "is what a sidecar is sent: add %s"},
	{"sidecar-batch", []string{"sidecar URL"}, "is for requests to a sidecar: add %s"},
	{"sidecar-delay", []string{"sidecar URL"}, "is for requests to a sidecar: add %s"},
	{"sidecar-deadline", []string{"sidecar URL"}, "is for requests to a sidecar: add %s"},
	{"sidecar-fallback", []string{"sidecar URL"}, "is for when no sidecar answers: add %s"},
}

// refuseUseless refuses flags that would be ignored, as one that they need is missing. Variables of the
// environment may be there for other commands.
func refuseUseless(flags *pflag.FlagSet) error {
	for _, n := range needs {
		f := flags.Lookup(n.flag)
		if f == nil || !f.Changed || fromVariable(f) || isOff(f) {
			continue
		}
		var missing []string
		met := false
		for _, form := range n.others {
			name, _, _ := strings.Cut(form, " ")
			if other := flags.Lookup(name); other != nil { // else the flag stands by itself in this command
				missing = append(missing, "--"+form)
				met = met || other.Changed && !isOff(other) && other.Value.String() != "0"
			}
		}
		if missing != nil && !met {
			return usagef("--%s "+n.message, n.flag, strings.Join(missing, " or "))
		}
	}
	return nil
}

// isOff reports whether a flag is set to nothing.
func isOff(f *pflag.Flag) bool { return slices.Contains([]string{"", "false", "[]"}, f.Value.String()) }

// refuseEmpty refuses a flag that names rows to change but has no value, as of a variable that is not set: it
// would mean more rows than were meant. What is an example of a value.
func refuseEmpty(flags *pflag.FlagSet, name, example string) error {
	f := flags.Lookup(name)
	if f.Changed && !fromVariable(f) && (f.Value.String() == "" || f.Value.String() == "[]") {
		return usagef("--%s '': there is nothing in it: write e.g. --%s %s, or leave it out",
			name, name, example)
	}
	return nil
}
