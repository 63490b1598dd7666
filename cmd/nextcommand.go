package cmd

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"facescan/pipeline"
	"facescan/pipeline/source"
	"facescan/store"
	"facescan/store/hint"
	"facescan/store/open"
)

// Hints name commands that work as they stand. A run is resumed by its own command line, without what was
// meant for that one time. Other commands name the job, and of a run the flags that it was last run with, as
// far as the outcomes of rows depend on them: a job keeps these (pipeline.RunCommand adds them).

// once are the flags that are meant for one run only.
var once = []string{"max-rows", "max-duration", "dry-run", "progress", "quiet", "verbose", "log-format",
	"pprof", "priority", "help"}

// ofSources are flags that say what is imported.
var ofSources = []string{"table", "id-column", "url-column", "done-column", "group-column",
	"group-end", "keep-columns", "verify-hash", "node", "as", "images", "watch", "shard-size", "db"}

// remembered are the flags that a job keeps: those of its last run on which outcomes depend.
var remembered = []string{"allow-private", "insecure", "ignore-opt-out", "robots", "timeout", "retries",
	"max-bytes", "max-pixels", "max-redirects", "min-rate", "per-host", "rate", "bwlimit", "user-agent",
	"proxy", "header", "block-hosts", "allow-files",
	"sidecar", "sidecar-input", "sidecar-fallback"}

// inFiles are those whose value names a file.
var inFiles = []string{"--block-hosts", "--allow-files"}

// flagWords are the words of a command line that set flags as they are set, of those that it is to have.
// Secret says that the value of one must not be shown; it is left out.
func flagWords(flags *pflag.FlagSet, has func(name string) bool) (words []string, secret bool) {
	flags.VisitAll(func(f *pflag.Flag) {
		if !f.Changed || !has(f.Name) {
			return
		}
		values := []string{f.Value.String()}
		switch v := f.Value.(type) {
		case *abortRules:
			values = nil
			for _, r := range *v {
				values = append(values, r.String())
			}
		case pflag.SliceValue:
			values = v.GetSlice()
			if f.Value.Type() == "stringSlice" { // one value, in CSV
				values = []string{strings.TrimSuffix(strings.TrimPrefix(f.Value.String(), "["), "]")}
			}
		}
		for _, value := range values {
			switch {
			case fromVariable(f) && (value == "" || isSecret(f.Name, value)):
				// the variable is still set
			case isSecret(f.Name, value):
				secret = true
			case f.Value.Type() == "bool" && value == "true":
				words = append(words, "--"+f.Name)
			case f.Value.Type() == "bool":
				words = append(words, "--"+f.Name+"="+value)
			default:
				words = append(words, "--"+f.Name, value)
			}
		}
	})
	return words, secret
}

// rememberedWords are the words of this command line that a job keeps. Files are named so that they are found
// from anywhere.
func (o *runOptions) rememberedWords() []string {
	hidden := isSecret("sidecar", strings.Join(o.remote.urls, ",")) // its other flags need it
	words, _ := flagWords(o.source.flags, func(name string) bool {
		return slices.Contains(remembered, name) && !(hidden && strings.HasPrefix(name, "sidecar-"))
	})
	for i := 1; i < len(words); i++ {
		file, isFile := words[i], slices.Contains(inFiles, words[i-1])
		if words[i-1] == "--header" {
			file, isFile = strings.CutPrefix(file, "@")
		}
		if abs, err := filepath.Abs(file); isFile && err == nil {
			words[i] = strings.TrimSuffix(words[i], file) + abs
		}
	}
	return words
}

// isSecret reports whether a flag's value may hold a password: a header that is not in a file, a proxy or a
// sidecar with a user.
func isSecret(name, value string) bool {
	return name == "header" && !strings.HasPrefix(value, "@") ||
		(name == "proxy" || name == "sidecar") && strings.Contains(value, "@")
}

// resume is the command that goes on with a run of some arguments. Once its lists are imported it names the
// job, unless the list stands for that. Where a value may be a password, it says so instead.
func (o *runOptions) resume(args []string, job store.Job, imported bool) string {
	names, skip := slices.Clone(args), once
	isJob := len(args) == 1 && (open.IsURL(args[0]) || source.SameFile(args[0], job.Path()))
	if isJob && !o.source.flags.Changed("table") ||
		imported && !o.source.watch && hintName(args, job) == job.Path() {
		names, skip = []string{job.Path()}, slices.Concat(once, ofSources)
	}
	words, secret := flagWords(o.source.flags, func(name string) bool { return !slices.Contains(skip, name) })
	if secret {
		return "the same command again"
	}
	for i, w := range words {
		if open.IsURL(w) {
			words[i] = job.Path() // without its password
		}
	}
	return hint.Command("run", names, words...)
}

// reportNext names the command that processes what is pending in a job, which the user calls name. More flags
// come last.
func reportNext(ctx context.Context, g *globals, job store.Job, name string, more ...string) error {
	command, err := pipeline.RunCommand(ctx, job, name, more...)
	if err == nil {
		g.report("  next: %s", command)
	}
	return err
}

// hidesPassword reports whether a job is named with a password, which commands do not repeat.
func hidesPassword(args []string, db string) bool {
	return slices.ContainsFunc(append([]string{db}, args...), func(name string) bool {
		return open.IsURL(name) && open.WithoutPassword(name) != name
	})
}
