package pipeline

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"slices"
	"strings"

	"facescan/pipeline/source"
	"facescan/store"
	"facescan/store/hint"
)

// RunCommand is the command that imports what a job lacks of its lists, and processes it, with the flags that
// the job was last run with. Without an incomplete list it is the one that processes the job, which a user
// calls name. More flags come last.
func RunCommand(ctx context.Context, job store.Job, name string, more ...string) (string, error) {
	settings, err := job.Settings(ctx)
	if err != nil {
		return "", err
	}
	sources, err := job.Sources(ctx)
	if err != nil {
		return "", err
	}
	var names []string
	var words []string
	var as string
	for _, s := range sources {
		if s.Complete || s.Format == store.TableFormat {
			continue
		}
		// Lists with other columns are for another command, and one stream is enough.
		columns := columnWords(s.Options)
		if names != nil && (!slices.Equal(columns, words) || IsStdin(s) && slices.Contains(names, "-")) {
			continue
		}
		path := SourcePath(job.Path(), s.Name)
		if IsStdin(s) {
			path, as = "-", AsName(s)
		}
		names, words = append(names, path), columns
	}
	flags := append(RunFlags(settings), more...)
	if names == nil {
		if len(sources) == 1 && len(columnWords(sources[0].Options)) > 0 { // the list alone would not do
			name = job.Path()
		}
		return hint.On("run", name, flags...), nil
	}
	for _, flag := range []struct{ name, value string }{
		{"--as", as}, {"--node", settings[store.NodeSetting]}, {"--db", job.Path()},
	} {
		if flag.value != "" {
			words = append(words, flag.name, flag.value)
		}
	}
	return hint.Command("run", names, append(words, flags...)...), nil
}

// columnWords are the flags that say what a source is and which columns of a list are read, of its options.
func columnWords(options string) (words []string) {
	var spec source.Spec
	_ = json.Unmarshal([]byte(options), &spec) // else without columns
	if source.HasImages(spec.Format) {
		return []string{"--images"}
	}
	for _, flag := range columnFlags(&spec) {
		if *flag.value != "" {
			words = append(words, flag.name, *flag.value)
		}
	}
	return words
}

// columnFlag is a flag that says which columns of a list are read, or how.
type columnFlag struct {
	name  string
	value *string // of a Spec; that of --keep-columns is a copy
	same  string  // what no value means
	exact bool    // upper case is not lower case
}

// columnFlags are those of a list. Rows before and after a position are read with the same ones.
func columnFlags(s *source.Spec) []columnFlag {
	keep := csvOf(s.KeepColumns)
	return []columnFlag{
		{name: "--url-column", value: &s.URLColumn, same: "url"},
		{name: "--id-column", value: &s.IDColumn},
		{name: "--group-column", value: &s.GroupColumn},
		{name: "--keep-columns", value: &keep, exact: true},
		{name: "--table", value: &s.Table},
		{name: "--group-end", value: &s.GroupEnd, exact: true},
		{name: "--verify-hash", value: &s.HashColumn},
	}
}

// csvOf is the value of a flag that takes several names.
func csvOf(names []string) string {
	if len(names) == 0 {
		return ""
	}
	var b strings.Builder
	w := csv.NewWriter(&b)
	_ = w.Write(names) // a builder takes everything
	w.Flush()
	return strings.TrimSuffix(b.String(), "\n")
}
