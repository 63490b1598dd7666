package cmd

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"

	"facescan/store"
	"facescan/store/figures"
	"facescan/store/hint"
)

// remembered are the flags that a job keeps: those of its last run on which outcomes depend.
var remembered = []string{"allow-private", "insecure", "ignore-opt-out", "robots", "timeout", "retries",
	"max-bytes", "max-pixels", "max-redirects", "min-rate", "per-host", "rate", "bwlimit", "user-agent",
	"proxy", "header", "block-hosts", "allow-files",
	"sidecar", "sidecar-input", "sidecar-fallback"}

// inFiles are those whose value names a file.
var inFiles = []string{"--block-hosts", "--allow-files"}

// decides has the reasons of rows that may end otherwise when a flag changes. Such rows are done: another
// value does nothing for them until they are queued again.
var decides = []struct {
	flag    string
	reasons []store.Reason
}{
	{"allow-private", []store.Reason{store.PrivateAddress}},
	{"max-bytes", []store.Reason{store.TooLarge}},
	{"max-pixels", []store.Reason{store.TooManyPixels}},
	{"ignore-opt-out", []store.Reason{store.OptOut}},
	{"robots", []store.Reason{store.OptOut}},
	{"insecure", []store.Reason{store.TLS}},
	{"block-hosts", []store.Reason{store.Blocked}},
	{"allow-files", []store.Reason{store.BadURL}},
	{"timeout", []store.Reason{store.Timeout}},
	{"min-rate", []store.Reason{store.TooSlow}},
	{"max-redirects", []store.Reason{store.RedirectLoop}},
	{"allow-files", []store.Reason{store.BadURL}},
	{"user-agent", []store.Reason{store.HTTP4xx}},
	{"header", []store.Reason{store.HTTP4xx}},
	{"proxy", []store.Reason{store.DNSNotFound, store.DNSTimeout, store.Connect, store.Timeout}},
}

// failedBefore is the setting of a job with the flags that changed while rows had failed for the reasons that
// they decide: JSON, from a reason and a flag to the words that set the flag when the rows failed.
const failedBefore = "failed_before"

// remember keeps the flags of a run with its job, and says which rows failed before a flag was changed and
// how they are queued again. A run without a list, which finds nothing to do, leaves the flags of an earlier
// run.
func (o *runOptions) remember(ctx context.Context, job store.Job, name string, lists bool,
	log *slog.Logger) error {
	counts, err := job.Counts(ctx)
	if err != nil {
		return err
	}
	settings, err := job.Settings(ctx)
	if err != nil {
		return err
	}
	words := o.rememberedWords()
	var were []string
	_ = json.Unmarshal([]byte(settings[store.RunFlagsSetting]), &were) // else none
	changed := map[string]string{}
	_ = json.Unmarshal([]byte(settings[failedBefore]), &changed) // else none
	noteChanges(changed, counts, were, words)
	if !lists && counts.Pending == 0 && len(changed) == 0 {
		return nil
	}
	set := map[string]string{}
	for key, value := range map[string]any{store.RunFlagsSetting: words, failedBefore: changed} {
		text, err := json.Marshal(value)
		if err != nil {
			return err
		}
		empty := string(text) == "null" || string(text) == "{}"
		if settings[key] != string(text) && !(empty && settings[key] == "") {
			set[key] = string(text)
		}
	}
	if len(set) > 0 {
		if err := job.Set(ctx, set); err != nil {
			return err
		}
	}
	tellChanges(changed, counts, name, log)
	return nil
}

// rememberedWords are the words of this command line that a job keeps. Files are named so that they are found
// from anywhere.
func (o *runOptions) rememberedWords() []string {
	words, _ := flagWords(o.source.flags, func(name string) bool { return slices.Contains(remembered, name) })
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

// noteChanges adds what changed between two runs, and drops what changed back, or has no such rows any more.
func noteChanges(changed map[string]string, c store.Counts, were, are []string) {
	for _, d := range decides {
		was, is := wordsOf(were, d.flag), wordsOf(are, d.flag)
		for _, reason := range d.reasons {
			key := string(reason) + " " + d.flag
			before, noted := changed[key]
			switch {
			case c.Failures[reason] == 0 || noted && before == is:
				delete(changed, key)
			case !noted && was != is:
				changed[key] = was
			}
		}
	}
}

// wordsOf are those of some words that set a flag, for a shell; empty when none does.
func wordsOf(words []string, flag string) string {
	var found []string
	for i := 0; i < len(words); i++ {
		if words[i] != "--"+flag {
			continue
		}
		found = append(found, words[i])
		if i++; i < len(words) && !strings.HasPrefix(words[i], "--") {
			found = append(found, words[i])
		} else {
			i--
		}
	}
	return hint.Words(found...)
}

// tellChanges says of each flag that was changed which rows it does not apply to.
func tellChanges(changed map[string]string, c store.Counts, name string, log *slog.Logger) {
	for _, d := range decides {
		rows, before := int64(0), ""
		var reasons []string
		for _, reason := range d.reasons {
			if was, noted := changed[string(reason)+" "+d.flag]; noted {
				rows, before = rows+c.Failures[reason], was
				reasons = append(reasons, string(reason))
			}
		}
		if reasons == nil {
			continue
		}
		when := "with " + before
		if before == "" {
			when = "without --" + d.flag
		}
		log.Warn(fmt.Sprintf("%s failed %s (%s): they are done, and are not fetched again unless they "+
			"are queued: %s", figures.Of(rows, "row"), when, strings.Join(reasons, ", "),
			hint.On("retry", name, "--reason", strings.Join(reasons, ","))))
	}
}
