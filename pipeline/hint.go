package pipeline

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"unicode"

	"facescan/pipeline/source"
	"facescan/store"
)

// RunCommand is the command that imports what a job lacks of its lists, and processes it, with the flags that
// the job was last run with. Without an incomplete list it is the one that processes the job, which a user
// calls name.
func RunCommand(ctx context.Context, job store.Job, name string) (string, error) {
	settings, err := job.Settings(ctx)
	if err != nil {
		return "", err
	}
	sources, err := job.Sources(ctx)
	if err != nil {
		return "", err
	}
	words := []string{"facescan", "run"}
	var spec source.Spec
	var as string
	lists := 0
	for _, s := range sources {
		if s.Complete || s.Format == store.TableFormat {
			continue
		}
		path := SourcePath(job.Path(), s.Name)
		if IsStdin(s) {
			if path = "-"; slices.Contains(words, path) {
				continue // one stream at a time
			}
			as = AsName(s)
		}
		words = append(words, path)
		if lists++; lists == 1 {
			_ = json.Unmarshal([]byte(s.Options), &spec) // else without columns
		}
	}
	var flags []string
	_ = json.Unmarshal([]byte(settings[store.RunFlagsSetting]), &flags) // else none
	if lists == 0 {
		return ShellCommand(slices.Concat(words, []string{name}, flags)...), nil
	}
	for _, flag := range []struct{ name, value string }{
		{"--url-column", spec.URLColumn}, {"--id-column", spec.IDColumn}, {"--group-column", spec.GroupColumn},
		{"--keep-columns", strings.Join(spec.KeepColumns, ",")}, {"--table", spec.Table},
		{"--group-end", spec.GroupEnd},
		{"--as", as}, {"--node", settings[store.NodeSetting]}, {"--db", job.Path()},
	} {
		if flag.value != "" {
			words = append(words, flag.name, flag.value)
		}
	}
	return ShellCommand(slices.Concat(words, flags)...), nil
}

// ShellCommand is a command line for a shell, each word quoted where it has to be.
func ShellCommand(words ...string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = ShellQuote(w)
	}
	return strings.Join(quoted, " ")
}

// ShellQuote makes one word of a shell's of any text.
func ShellQuote(s string) string {
	plain := func(r rune) bool {
		return r < 128 && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("_-./:@%+=,", r))
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
