package store

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// mergeBatch is how many rows one transaction of a merge takes in.
const mergeBatch = 5000

// MergeOptions of Merge.
type MergeOptions struct {
	// Same reports whether two sources, of two jobs but with one number, are the same list.
	Same func(a, b Source) bool
	// MayBeSame reports whether nothing shows that two sources are different lists, as far as both were read.
	// It is called for a job that has only some of its rows, and need not be at the end of its lists.
	MayBeSame func(a, b Source) bool
	// SourceName is what a source of a job is called in the merged one.
	SourceName func(of Job, s Source) string
	// ShardSize in rows.
	ShardSize int
	// Merged is called with the number of rows taken in; optional.
	Merged func(rows int64)
}

// MergeSetting is "unfinished" in the settings of a job from the begin of a merge into it to its end; then it
// is "done". MergeInputsSetting names the jobs of the latest merge, as a JSON array.
const (
	MergeSetting       = "merge"
	MergeInputsSetting = "merge_inputs"
)

// RunFlagsSetting holds the flags of the job's last run on which the outcomes of rows depend: words, as a
// JSON array.
const RunFlagsSetting = "run_flags"

// FailedBeforeSetting holds the flags of the job that changed while rows had failed for what they decide.
const FailedBeforeSetting = "failed_before"

// HashSetting names the hashes that the job computes of its images, separated by commas; NoHashes says that
// there are none.
const (
	HashSetting = "hashes"
	NoHashes    = "none"
)

// UnfinishedMerge reports whether a job with these settings is a merge that was interrupted, and of which
// jobs.
func UnfinishedMerge(settings map[string]string) (inputs []string, is bool) {
	// a merge of an older release does not name them
	_ = json.Unmarshal([]byte(settings[MergeInputsSetting]), &inputs)
	return inputs, settings[MergeSetting] == "unfinished"
}

// Merge unites jobs that were made from the same lists, row by row, such as those of array jobs where each
// took its share of the ids. Of what several jobs say of a row, done beats pending and ok beats failed; among
// equals the first job counts, out's own being before all. A row that any of them has forgotten is forgotten.
// So it can be repeated, and interrupted: the same call again goes on.
//
// Jobs are refused, before anything is written, when their sources are not the same lists, read to the same
// end, or their settings differ; out may be empty or an earlier merge.
func Merge(ctx context.Context, out Job, in []Job, o MergeOptions) error {
	sources, parts, err := agree(ctx, out, in, o)
	if err != nil {
		return fmt.Errorf("merge: %w", err)
	}
	settings, err := mergedSettings(ctx, in)
	if err != nil {
		return err
	}
	inputs, _ := json.Marshal(inputNames(in)) // strings always marshal
	settings[MergeSetting], settings[MergeInputsSetting] = "unfinished", string(inputs)
	if err := out.Set(ctx, settings); err != nil {
		return err
	}
	for _, s := range sources {
		if _, err := out.AddSource(ctx, s); err != nil {
			return err
		}
		// The position says which list it is. It comes before the rows, so that the merge can be repeated
		// whenever it ends.
		if err := out.Absorb(ctx, s.Number, nil, s.Position, false, o.ShardSize); err != nil {
			return err
		}
		if err := mergeSource(ctx, out, in, s, o); err != nil {
			return err
		}
	}
	have, err := out.Sources(ctx)
	if err != nil {
		return err
	}
	for _, s := range have {
		all := s.Position.Rows >= 0 && s.Rows >= s.Position.Rows || s.Position.Rows < 0 && parts.whole()
		if all {
			if err := mergeEnds(ctx, out, in, s, o); err != nil {
				return err
			}
			if err := out.Absorb(ctx, s.Number, nil, s.Position, true, o.ShardSize); err != nil {
				return err
			}
		}
	}
	return out.Set(ctx, map[string]string{MergeSetting: "done", MergePartsSetting: parts.String()})
}

// mergedSettings are those of the first job, with the folders and the hashes of all.
func mergedSettings(ctx context.Context, in []Job) (map[string]string, error) {
	var merged map[string]string
	var hashes []string
	for i, j := range in {
		settings, err := j.Settings(ctx)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			merged = maps.Clone(settings)
			strip(merged)
			if flags, known := settings[RunFlagsSetting]; known {
				merged[RunFlagsSetting] = flags
			}
		}
		for key, value := range settings {
			if strings.HasPrefix(key, FolderSetting) {
				merged[key] = value
			}
		}
		for word := range strings.SplitSeq(settings[HashSetting], ",") {
			if word != "" && word != NoHashes {
				hashes = append(hashes, word)
			}
		}
	}
	if slices.Sort(hashes); len(hashes) > 0 {
		merged[HashSetting] = strings.Join(slices.Compact(hashes), ",")
	}
	return merged, nil
}

// Merged are rows of a list as a merge takes them in: those that are Bad are done.
func Merged(rows []NewRow) []MergedRow {
	out := make([]MergedRow, len(rows))
	now := time.Now()
	for i, r := range rows {
		out[i] = MergedRow{End: r.End,
			Row: Row{ID: r.ID, URL: r.URL, Group: r.Group, Kept: r.Kept, Hash: r.Hash}}
		if r.Bad {
			bad := BadResult(r.ID, now)
			out[i].Result = &bad
		}
	}
	return out
}

// inputNames are the names that jobs can be opened by again, from wherever.
func inputNames(in []Job) (names []string) {
	for _, j := range in {
		name := j.Path()
		if from, ok := j.(interface{ Input() string }); ok { // it is put together of files in a folder
			name = from.Input()
		}
		if abs, err := filepath.Abs(name); err == nil && !strings.Contains(name, "://") {
			name = abs
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// strip takes out the settings in which jobs may differ. Folders are each job's own; the merged one
// has them all, and none of the files that results were written to.
func strip(settings map[string]string) {
	maps.DeleteFunc(settings, func(key, _ string) bool {
		switch key {
		case NodeSetting, MergeSetting, MergeInputsSetting, MergePartsSetting, RunFlagsSetting, ForgetSetting,
			HashSetting, FailedBeforeSetting:
			return true
		}
		return strings.HasPrefix(key, FolderSetting) || strings.HasPrefix(key, OutputSetting) ||
			strings.HasPrefix(key, PublishSetting)
	})
}

// otherSettings lists the settings that differ, each with both values. JSON is for programs: it is left out
// where another setting differs, as the detector's name does with its flags.
func otherSettings(these, those map[string]string) string {
	all := maps.Clone(those)
	maps.Copy(all, these)
	var plain, packed []string
	for _, key := range slices.Sorted(maps.Keys(all)) {
		is, was := cmp.Or(these[key], "unset"), cmp.Or(those[key], "unset")
		text := fmt.Sprintf("%s is %s, not %s", key, is, was)
		switch {
		case is == was:
		case strings.HasPrefix(all[key], "{"):
			packed = append(packed, text)
		default:
			plain = append(plain, text)
		}
	}
	if len(plain) == 0 {
		plain = packed
	}
	return strings.Join(plain, "; ")
}

// agree returns the sources of jobs that can be merged, and which parts of their rows the jobs hold together.
func agree(ctx context.Context, out Job, in []Job, o MergeOptions) ([]Source, Nodes, error) {
	if len(in) == 0 {
		return nil, nil, fmt.Errorf("no jobs to merge into %s", out.Path())
	}
	a := agreement{MergeOptions: o, soft: map[int]bool{}}
	if err := a.begin(ctx, out); err != nil {
		return nil, nil, err
	}
	for _, j := range in {
		if err := a.add(ctx, j); err != nil {
			return nil, nil, err
		}
	}
	return a.sources, a.parts, nil
}

// agreement is what some jobs that are to be merged have in common.
type agreement struct {
	MergeOptions
	settings map[string]string // nil while there is no job
	sources  []Source
	parts    Nodes // that the jobs hold together
	growing  bool  // the jobs are a merge that was interrupted, before all sources were in it
	// By source: whether only jobs that have some of its rows know its position so far.
	soft map[int]bool
}

// begin takes what is there of the merge.
func (a *agreement) begin(ctx context.Context, out Job) error {
	settings, sources, err := settingsAndSources(ctx, out)
	if err != nil {
		return err
	}
	a.sources = sources
	if !IsMerge(settings) {
		if len(sources) > 0 {
			return fmt.Errorf("%s is a job of its own, not an earlier merge; name a new file", out.Path())
		}
		return nil
	}
	some, err := a.addParts(out, settings, sources)
	for k := range sources {
		a.soft[k] = some
	}
	_, a.growing = UnfinishedMerge(settings)
	strip(settings)
	a.settings = settings
	return err
}

func settingsAndSources(ctx context.Context, j Job) (settings map[string]string, sources []Source,
	err error) {
	if settings, err = j.Settings(ctx); err == nil {
		sources, err = j.Sources(ctx)
	}
	return settings, sources, err
}

// addParts adds the parts of its lists that a job holds. It reports whether nobody knows which they are: a
// merge of some parts.
func (a *agreement) addParts(j Job, settings map[string]string, sources []Source) (some bool, err error) {
	holds, err := partsOfAll(settings, sources)
	if err != nil {
		return false, fmt.Errorf("%s: %w", j.Path(), err)
	}
	a.parts = a.parts.add(holds)
	return len(holds) == 0, nil
}

// add adds a job to merge, or refuses it.
func (a *agreement) add(ctx context.Context, j Job) error {
	settings, sources, err := settingsAndSources(ctx, j)
	if err != nil {
		return err
	}
	merged := IsMerge(settings)
	some, err := a.addParts(j, settings, sources)
	if err != nil {
		return err
	}
	if _, unfinished := UnfinishedMerge(settings); unfinished {
		return fmt.Errorf("%s is a merge that was interrupted: repeat that first", j.Path())
	}
	strip(settings)
	if a.settings == nil {
		a.settings = settings
	}
	if !maps.Equal(a.settings, settings) {
		return fmt.Errorf("%s was made with other settings than the job before it: %s; rescan one of them "+
			"with the flags of the other, or merge them into two files", j.Path(),
			otherSettings(settings, a.settings))
	}
	if n := len(a.sources); n == 0 || a.growing && len(sources) > n {
		a.sources = append(a.sources, a.named(j, sources[n:])...)
	}
	a.growing = false
	if len(sources) != len(a.sources) {
		return fmt.Errorf("%s has %d sources, not %d", j.Path(), len(sources), len(a.sources))
	}
	for k, s := range sources {
		if !s.Complete && !merged {
			return fmt.Errorf("%s has not read %s to its end: run it until it has", j.Path(), s.Name)
		}
		if err := a.addSource(j, k, s, some); err != nil {
			return err
		}
	}
	return nil
}

// addSource compares a job's source with that of the jobs before it, and adds what the job knows of it.
func (a *agreement) addSource(j Job, k int, s Source, some bool) error {
	first := &a.sources[k]
	soft, known := a.soft[k]
	switch {
	case isUnread(*first): // the merge was interrupted before it was said which list it is
		first.Position = s.Position
	case s.Position.Line != first.Position.Line && (soft || some) && a.MayBeSame != nil &&
		a.MayBeSame(*first, s):
		if s.Position.Line > first.Position.Line {
			first.Position = s.Position
		}
	case !a.Same(*first, s):
		return fmt.Errorf("%s was made from another list than the others: %s", j.Path(), s.Name)
	case first.Position.Line != s.Position.Line:
		return fmt.Errorf("%s has read %d lines of %s, another job %d: the list grew; run them all again, "+
			"then merge", j.Path(), s.Position.Line, s.Name, first.Position.Line)
	}
	first.Position.Rows = max(first.Position.Rows, s.Position.Rows)
	a.soft[k] = some && (soft || !known)
	return nil
}

// named are sources of a job under the names that they have in the merged one.
func (o MergeOptions) named(j Job, sources []Source) []Source {
	sources = slices.Clone(sources)
	for i, s := range sources {
		sources[i].Name = o.SourceName(j, s)
	}
	return sources
}

// partsOfAll are the parts that a job holds of all its sources.
func partsOfAll(settings map[string]string, sources []Source) (parts Nodes, err error) {
	all := len(sources) > 0 && !slices.ContainsFunc(sources, func(s Source) bool { return !s.Complete })
	return Parts(settings, Source{Complete: all})
}

// isUnread reports whether nothing of a source was read yet.
func isUnread(s Source) bool {
	return s.Position.Line == 0 && s.Position.Offset == 0 && len(s.Position.Mark) == 0
}

func mergeSource(ctx context.Context, out Job, in []Job, s Source, o MergeOptions) error {
	from := int64(s.Number) << SourceShift
	var cursors []*cursor
	for _, j := range in {
		c := newCursor(ctx, j, from, from+1<<SourceShift)
		defer c.stop()
		cursors = append(cursors, c)
	}
	var batch []MergedRow
	for {
		row, more, err := nextRow(cursors)
		if err != nil {
			return err
		}
		if more {
			if batch = append(batch, row); len(batch) < mergeBatch {
				continue
			}
		}
		if err := out.Absorb(ctx, s.Number, batch, s.Position, false, o.ShardSize); err != nil {
			return err
		}
		if o.Merged != nil {
			o.Merged(int64(len(batch)))
		}
		if !more {
			return nil
		}
		batch = batch[:0]
	}
}

// mergeEnds takes in which groups of a source are ended. Before all rows are there, none may be: it would be
// finished without the rows that are missing.
func mergeEnds(ctx context.Context, out Job, in []Job, s Source, o MergeOptions) error {
	var batch []MergedRow
	absorb := func() error {
		err := out.Absorb(ctx, s.Number, batch, s.Position, false, o.ShardSize)
		batch = batch[:0]
		return err
	}
	for _, j := range in {
		for end, err := range j.Ends(ctx, s.Number) {
			if err != nil {
				return err
			}
			batch = append(batch, MergedRow{Row: Row{ID: end.ID, Group: end.Group}, End: true})
			if len(batch) == mergeBatch {
				if err := absorb(); err != nil {
					return err
				}
			}
		}
	}
	return absorb()
}

// cursor reads a job's rows and their results in step.
type cursor struct {
	row        Row
	result     Result
	more, done bool // whether there is a row, and any more results
	err        error
	nextRow    func() (Row, error, bool)
	nextResult func() (Result, error, bool)
	stop       func()
}

func newCursor(ctx context.Context, j Job, from, to int64) *cursor {
	c := &cursor{}
	var stopRows, stopResults func()
	c.nextRow, stopRows = iter.Pull2(j.Rows(ctx, from, to))
	c.nextResult, stopResults = iter.Pull2(j.Results(ctx, from, to))
	c.stop = func() { stopRows(); stopResults() }
	c.result, c.err, c.done = c.nextResult()
	if c.err == nil {
		c.row, c.err, c.more = c.nextRow()
	}
	return c
}

// take returns the row, with its result, and moves on to the next.
func (c *cursor) take() MergedRow {
	m := MergedRow{Row: c.row}
	for c.done && c.result.ID < c.row.ID && c.err == nil {
		c.result, c.err, c.done = c.nextResult()
	}
	if c.done && c.result.ID == c.row.ID {
		result := c.result
		m.Result = &result
	}
	if c.err == nil {
		c.row, c.err, c.more = c.nextRow()
	}
	return m
}

// nextRow takes the lowest row that any cursor has, in the best version.
func nextRow(cursors []*cursor) (best MergedRow, more bool, err error) {
	lowest := int64(0)
	for _, c := range cursors {
		if c.err != nil {
			return best, false, c.err
		}
		if c.more && (!more || c.row.ID < lowest) {
			lowest, more = c.row.ID, true
		}
	}
	first := true
	for _, c := range cursors {
		if !c.more || c.row.ID != lowest {
			continue
		}
		m := c.take()
		if c.err != nil {
			return best, false, c.err
		}
		switch {
		case first:
			best, first = m, false
		case !SameURL(m.URL, best.URL):
			return best, false, fmt.Errorf("row %d is %q in one job, %q in another", m.ID, best.URL, m.URL)
		case m.beats(&best):
			best = m
		}
	}
	return best, more, nil
}

// beats reports whether a row counts instead of another job's.
func (r *MergedRow) beats(other *MergedRow) bool {
	if r.isForgotten() || other.isForgotten() {
		return r.Outlasts(other)
	}
	return r.Result != nil && (other.Result == nil || other.Result.Status == Failed && r.Result.Status == OK)
}
