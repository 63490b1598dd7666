package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"

	"facescan/store"
	"facescan/store/figures"
	"facescan/store/hint"
)

// RunFlags are the flags that a job keeps of its last run, as words; none if the setting is damaged, which
// verify reports.
func RunFlags(settings map[string]string) (words []string) {
	_ = json.Unmarshal([]byte(settings[store.RunFlagsSetting]), &words)
	return words
}

// Decides has the reasons of rows that may end otherwise when a flag changes. Such rows are done: another
// value does nothing for them until they are queued again.
var Decides = []struct {
	Flag    string
	Reasons []store.Reason
}{
	{"allow-private", []store.Reason{store.PrivateAddress}},
	{"max-bytes", []store.Reason{store.TooLarge}},
	{"max-pixels", []store.Reason{store.TooManyPixels}},
	{"ignore-opt-out", []store.Reason{store.OptOut}},
	{"robots", []store.Reason{store.OptOut}},
	{"insecure", []store.Reason{store.TLS}},
	{"block-hosts", []store.Reason{store.Blocked}},
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

// Remember keeps the flags of a run with its job, as words, and says which rows failed before a flag was
// changed and how they are queued again; name stands for the job. A run without a list, which finds nothing
// to do, leaves the flags of an earlier run.
func Remember(ctx context.Context, job store.Job, words []string, name string, lists bool,
	log *slog.Logger) error {
	counts, err := job.Counts(ctx)
	if err != nil {
		return err
	}
	settings, err := job.Settings(ctx)
	if err != nil {
		return err
	}
	changed := map[string]string{}
	_ = json.Unmarshal([]byte(settings[failedBefore]), &changed) // else none
	noteChanges(changed, counts, RunFlags(settings), words)
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
	reportChanges(changed, counts, name, log)
	return nil
}

// noteChanges adds what changed between two runs, and drops what changed back, or has no such rows any more.
func noteChanges(changed map[string]string, c store.Counts, were, are []string) {
	for _, d := range Decides {
		was, is := wordsOf(were, d.Flag), wordsOf(are, d.Flag)
		for _, reason := range d.Reasons {
			key := string(reason) + " " + d.Flag
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

// reportChanges says of each flag that was changed which rows it does not apply to.
func reportChanges(changed map[string]string, c store.Counts, name string, log *slog.Logger) {
	for _, d := range Decides {
		rows, before := int64(0), ""
		var reasons []string
		for _, reason := range d.Reasons {
			if was, noted := changed[string(reason)+" "+d.Flag]; noted {
				rows, before = rows+c.Failures[reason], was
				reasons = append(reasons, string(reason))
			}
		}
		if reasons == nil {
			continue
		}
		when := "with " + before
		if before == "" {
			when = "without --" + d.Flag
		}
		log.Warn(fmt.Sprintf("%s failed %s (%s): they are done, and are not fetched again unless they "+
			"are queued: %s", figures.Of(rows, "row"), when, strings.Join(reasons, ", "),
			hint.On("retry", name, "--reason", strings.Join(reasons, ","))))
	}
}
