package pipeline

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"facescan/store"
	"facescan/store/figures"
	"facescan/store/hint"
)

// Hashes are those that a job computes of its images.
type Hashes struct {
	SHA256 bool // of the bytes as downloaded
	PHash  bool // of the picture
}

// ParseHashes reads a list of names.
func ParseHashes(text string) (h Hashes, err error) {
	words := strings.Split(text, ",")
	for _, word := range words {
		switch word = strings.TrimSpace(word); {
		case word == "sha256":
			h.SHA256 = true
		case word == "phash":
			h.PHash = true
		case word == store.NoHashes && len(words) == 1:
		default:
			return h, fmt.Errorf("invalid hashes %q: use sha256, phash, sha256,phash or none", text)
		}
	}
	return h, nil
}

func (h Hashes) String() string {
	var words []string
	if h.SHA256 {
		words = append(words, "sha256")
	}
	if h.PHash {
		words = append(words, "phash")
	}
	if len(words) == 0 {
		return store.NoHashes
	}
	return strings.Join(words, ",")
}

// ChooseHashes are the hashes that a job computes from now on: those given, which the job then keeps, else
// its own. Missing says which of them the rows have not that are done.
func ChooseHashes(ctx context.Context, job store.Job, given *Hashes) (h Hashes, missing string, err error) {
	settings, err := job.Settings(ctx)
	if err != nil {
		return h, "", err
	}
	was := Hashes{}
	if text := settings[store.HashSetting]; text != "" {
		if was, err = ParseHashes(text); err != nil {
			return h, "", fmt.Errorf("the job's settings: %w", err)
		}
	}
	if given == nil || *given == was {
		return was, "", nil
	}
	added := Hashes{SHA256: given.SHA256 && !was.SHA256, PHash: given.PHash && !was.PHash}
	if added != (Hashes{}) {
		counts, err := job.Counts(ctx)
		if err != nil {
			return h, "", err
		}
		if counts.OK > 0 {
			missing = fmt.Sprintf("%s done without %s; for a second pass, first type: %s",
				figures.Are(counts.OK, "image"), strings.ReplaceAll(added.String(), ",", " and "),
				hint.On("rescan", job.Path(), "--all"))
		}
	}
	return *given, missing, job.Set(ctx, map[string]string{store.HashSetting: given.String()})
}

// split takes the rows out of a task that do not pass, and returns a task of them; nil when all pass, and the
// task itself when none does. Only that one has the body.
func (t *task) split(passes func(store.Row) bool) (rejected *task) {
	fails := func(r *task) bool { return !passes(r.row) }
	if !slices.ContainsFunc(append([]*task{t}, t.duplicates...), fails) {
		return nil
	}
	if fails(t) {
		i := slices.IndexFunc(t.duplicates, func(r *task) bool { return passes(r.row) })
		if i < 0 {
			return t
		}
		d := t.duplicates[i] // the body goes with a row that passes
		t.row, d.row = d.row, t.row
		t.lease, d.lease = d.lease, t.lease
		t.suspect, d.suspect = d.suspect, t.suspect
	}
	var failed, passed []*task
	for _, d := range t.duplicates {
		if fails(d) {
			failed = append(failed, d)
		} else {
			passed = append(passed, d)
		}
	}
	t.duplicates = passed
	rejected = join(failed)
	rejected.started, rejected.attempts = t.started, t.attempts
	return rejected
}
