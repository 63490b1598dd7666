package cmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"facescan/pipeline/parts"
	"facescan/pipeline/source"
	"facescan/store"
	"facescan/store/hint"
	"facescan/store/open"
	"facescan/store/sqlite"
)

// target is what the arguments of run and import stand for.
type target struct {
	job      string                        // path, or URL of a database
	named    bool                          // the job itself was named, and must be there
	sources  []source.Spec                 // to import; none when the job itself was named
	node     store.Node                    // the part of the rows that this job takes
	priority *int                          // of the sources; nil when it was not given
	lists    func() ([]source.Spec, error) // those that there are by now, when they are watched; else nil
	// the job's rows lie in this table of the user's; nil for a job of our own
	table *sqlite.Table
}

// resolveTarget finds the job, and the lists to import into it, from the arguments SOURCE… or JOB.
func resolveTarget(ctx context.Context, args []string, o *sourceOptions) (target, error) {
	if err := o.checkNode(args); err != nil {
		return target{}, err
	}
	if err := o.checkAs(args); err != nil {
		return target{}, err
	}
	if o.images {
		return o.imagesTarget(ctx, args)
	}
	if len(args) == 1 {
		switch is, err := isJob(args[0]); {
		case err != nil:
			return target{}, err
		case is:
			return o.jobTarget(args[0])
		}
	}
	for _, a := range args {
		if open.IsURL(a) {
			return target{}, usagef("%s is a job, not a list; to import lists into it add --db with its URL",
				open.Redact(a))
		}
		if a == "-" || o.db != "" {
			continue
		}
		if is, err := sqlite.IsDatabase(a); err == nil && is {
			return o.tableTarget(ctx, a, len(args) > 1)
		}
	}
	return o.listsTarget(ctx, args)
}

// isJob reports whether an argument is the job itself: a database's URL, or a job file.
func isJob(arg string) (bool, error) {
	if open.IsURL(arg) || arg == "-" {
		return arg != "-", nil
	}
	is, err := sqlite.IsJob(arg)
	if err != nil {
		return false, fmt.Errorf("read %s: %w", arg, err)
	}
	return is, nil
}

// jobTarget is a job that was named itself.
func (o *sourceOptions) jobTarget(job string) (target, error) {
	const already = "%s is a job already; leave --db out, or name lists to import into "
	switch isURL := open.IsURL(job); {
	case o.db == "" || o.db == job:
		return target{job: job, named: isURL}, o.checkJob(nameOf(job))
	case isURL:
		return target{}, usagef(already+"it", open.Redact(job))
	default:
		return target{}, usagef(already+"%s", job, o.db)
	}
}

// tableTarget is a table of a SQLite file, to be worked on in place.
func (o *sourceOptions) tableTarget(ctx context.Context, file string, others bool) (target, error) {
	switch {
	case others:
		return target{}, usagef("a table is worked on in place by itself; to copy %s with other lists into "+
			"a job add --db JOB.db", file)
	case o.groupEnd != "":
		return target{}, usagef("--group-end ends groups of a list that is read in order, and a " +
			"table in place may change anywhere; copy the table with --db JOB.db")
	case o.node.value.Of > 0:
		return target{}, usagef("--node takes a part of a list into a job; copy the table with --db JOB.db")
	}
	table, err := sqlite.InspectTable(ctx, file, o.tableOptions())
	if err != nil {
		return target{}, &exit{exitUsage, err}
	}
	if err := table.Try(ctx); err != nil {
		if _, unfit := errors.AsType[*sqlite.UnfitError](err); unfit {
			err = &exit{exitUsage, err}
		}
		return target{}, err
	}
	return target{job: file, table: &table}, nil
}

// listsTarget are lists to import, into the job beside them or the one that --db names.
func (o *sourceOptions) listsTarget(ctx context.Context, args []string) (target, error) {
	specs, err := o.lists(ctx, args)
	if err != nil {
		return target{}, err
	}
	t := o.targetOf(args, specs)
	switch {
	case o.db != "":
	case len(specs) == 1 && specs[0].Path == "-":
		return target{}, usagef("a list on stdin has no name to call its job by; add --db JOB.db")
	case len(specs) != 1 || args[0] != specs[0].Path:
		return target{}, usagef("several lists need a job to go into; add --db JOB.db")
	default:
		t.job = parts.JobOf(specs[0].Path, o.node.value)
	}
	if o.doneColumn != "" && !fromVariable(o.flags.Lookup("done-column")) {
		return target{}, usagef("--done-column is a column of a table that is worked on in place, and a " +
			"job made from lists has its own Done flag: leave it out")
	}
	return t, nil
}

// targetOf is the target with sources of arguments to import into the job that --db names.
func (o *sourceOptions) targetOf(args []string, specs []source.Spec) target {
	t := target{job: o.db, sources: specs, node: o.node.value, priority: o.chosenPriority()}
	if o.watch {
		t.lists = func() ([]source.Spec, error) { return o.found(args) }
	}
	return t
}

// ofLists are flags that say how a list is read.
var ofLists = []string{"table", "id-column", "url-column", "done-column", "group-column", "group-end",
	"keep-columns", "verify-hash", "priority"}

// checkJob refuses flags that say how a list is read, where a job is named and no list is. Variables of the
// environment may be there for other commands.
func (o *sourceOptions) checkJob(job string) (err error) {
	o.flags.VisitAll(func(f *pflag.Flag) {
		if err == nil && f.Changed && !fromVariable(f) && slices.Contains(ofLists, f.Name) {
			err = usagef("--%s is for the import of a list, and %s is a job, of which nothing is imported: "+
				"leave it out, or name the list too, with %s", f.Name, job, hint.Words("--db", job))
		}
	})
	return err
}

// imagesTarget is what the arguments of run and import stand for with --images.
func (o *sourceOptions) imagesTarget(ctx context.Context, args []string) (target, error) {
	for _, a := range args {
		is, err := sqlite.IsJob(a)
		if is = is && err == nil; is || open.IsURL(a) {
			name := open.Redact(a)
			return target{}, usagef("%s is a job, and --images names folders and tar files: leave --images "+
				"out to go on with the job, or name the images and add %s",
				name, hint.Words("--db", open.WithoutPassword(a)))
		}
	}
	specs, err := o.lists(ctx, args)
	if err != nil {
		return target{}, err
	}
	t := o.targetOf(args, specs)
	switch {
	case o.db != "":
	case len(specs) > 1:
		return target{}, usagef("several sources need a job to go into; add --db JOB.db")
	case specs[0].Format == source.Folder:
		return target{}, usagef("a folder of images needs a job to go into; add --db JOB.db")
	default:
		t.job = parts.JobOf(specs[0].Path, store.Node{})
	}
	return t, nil
}

// found are the lists that arguments stand for, with the columns that flags name.
func (o *sourceOptions) found(args []string) ([]source.Spec, error) {
	if o.images {
		return source.ExpandImages(args, o.watch)
	}
	specs, err := source.Expand(args, o.watch)
	for i := range specs {
		specs[i].URLColumn, specs[i].IDColumn, specs[i].Table = o.urlColumn, o.idColumn, o.table
		specs[i].GroupColumn, specs[i].KeepColumns, specs[i].GroupEnd = o.groupColumn,
			o.keepColumns, o.groupEnd
		specs[i].HashColumn = o.verifyHash
		if specs[i].Path == "-" {
			specs[i].As = o.as
		}
	}
	return specs, err
}

// lists are those that arguments stand for, with the columns that flags name. A file that cannot be
// a list, or lacks these columns, is refused before there is a job.
func (o *sourceOptions) lists(ctx context.Context, args []string) ([]source.Spec, error) {
	specs, err := o.found(args)
	switch {
	case errors.Is(err, fs.ErrNotExist) && o.images:
		return nil, fmt.Errorf("%w; give folders or tar files of images: if they are on a disk or share, "+
			"mount that",
			err)
	case errors.Is(err, fs.ErrNotExist) && o.watch:
		return nil, fmt.Errorf("%w; --watch waits for a list to grow that is there: make it "+
			"first, empty if need be", err)
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w; give a list of URLs, one per line, or `-` to read one from stdin", err)
	case err != nil:
		return nil, err
	}
	for i := range specs {
		// A pipe may have nothing to look at for long, and a job that is there has rows to process meanwhile.
		if specs[i].IsPipe() && (specs[i].As != "" || o.db != "" && !isNew(o.db)) {
			continue
		}
		if err := source.Check(ctx, &specs[i]); err != nil && !errors.Is(err, source.ErrNotBegun) {
			return nil, err
		}
	}
	return specs, nil
}

// checkAs validates --as: it needs a stream on stdin, and a name that a list cannot have.
func (o *sourceOptions) checkAs(args []string) error {
	format, _ := source.FormatOf(o.as)
	switch {
	case o.as == "":
		return nil
	case !slices.Contains(args, "-"):
		return usagef("--as %s names what comes on stdin: give - as the list", o.as)
	case o.db == "":
		return usagef("--as %s appends to a job: name it with --db JOB.db", o.as)
	case o.node.value.Of > 0:
		return usagef("--as and --node do not go together: a line of a stream without beginning has " +
			"another number in each part; several processes share a stream through one job")
	case len(o.as) > 64 || strings.Trim(o.as, asLetters) != "" || strings.ContainsRune(".-", rune(o.as[0])) ||
		format != "":
		return usagef("--as %q: give a name of up to 64 letters, digits and . _ - + = : @, that "+
			"begins with none of . and -, and does not end as a list's does, such as monday", o.as)
	}
	return nil
}

// asLetters are what a name for a stream is made of.
const asLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+=:@"

// isNew reports whether a job is still to be made, as far as that shows without opening it.
func isNew(job string) bool {
	_, err := os.Stat(job)
	return errors.Is(err, fs.ErrNotExist) && !open.IsURL(job)
}

// existingJob opens the job that an argument stands for: a job file, or the list it was made from.
func existingJob(ctx context.Context, arg string) (store.Job, error) {
	return findJob(ctx, arg, open.Existing)
}

// readJob opens it for reading only: a job file, its folder and what lies beside it stay as they are.
func readJob(ctx context.Context, arg string) (store.Job, error) {
	return findJob(ctx, arg, open.ForReading)
}

// findJob finds out what an argument stands for, and opens it.
func findJob(ctx context.Context, arg string,
	openJob func(context.Context, string) (store.Job, error)) (store.Job, error) {
	for _, name := range []string{arg, parts.JobOf(arg, store.Node{})} {
		job, err := openJob(ctx, name)
		switch {
		case open.IsURL(name) && errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("%w; begin with: %s", err,
				hint.On("import", "urls.txt", "--db", open.WithoutPassword(name)))
		case !errors.Is(err, open.ErrNoJob):
			return job, err
		}
	}
	if _, err := os.Stat(parts.JobOf(arg, store.Node{})); err == nil {
		return nil, fmt.Errorf("%s exists but is not a facescan job; name the job file itself",
			parts.JobOf(arg, store.Node{}))
	}
	if beside := parts.Beside(arg); len(beside) > 0 {
		return nil, fmt.Errorf("%s has no job of its own, only parts by --node: name one, such "+
			"as %s, or unite them: %s",
			arg, beside[0].Path, parts.MergeCommand(arg, beside))
	}
	switch st, err := os.Stat(arg); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s is not a job: neither it nor %s exists; name a job, or the list that it "+
			"was made from",
			arg, parts.JobOf(arg, store.Node{}))
	case err == nil && st.IsDir():
		return nil, fmt.Errorf("%s is not a job: it is a folder; name a job file, or the list that it was "+
			"made from", arg)
	}
	if format, _ := source.FormatOf(arg); !slices.Contains(source.Formats, format) { // a run refuses it
		return nil, fmt.Errorf("%s is not a job, and %s does not exist; name a job, or the list that it "+
			"was made from", arg, parts.JobOf(arg, store.Node{}))
	}
	return nil, fmt.Errorf("%s is not a job, and %s does not exist; begin with: %s", arg,
		parts.JobOf(arg, store.Node{}), hint.On("run", arg))
}

// openOrCreate opens the job of a target, making it when it is new.
func openOrCreate(ctx context.Context, t target) (store.Job, error) {
	switch {
	case t.table != nil:
		return sqlite.OpenTable(ctx, t.job, t.tableOptions())
	case t.named && open.IsURL(t.job):
		return existingJob(ctx, t.job)
	}
	return open.OrCreate(ctx, t.job)
}

// hintName is what hints of a run call its job: the argument where that alone stands for it, as a list does
// for the job beside it.
func hintName(args []string, job store.Job) string {
	if len(args) != 1 || open.IsURL(args[0]) || args[0] == "-" {
		return job.Path()
	}
	for _, path := range []string{args[0], parts.JobOf(args[0], store.Node{})} {
		if source.SameFile(path, job.Path()) {
			return args[0]
		}
	}
	return job.Path()
}

// nameOf is how an argument that stands for a job may be shown: without a password in it.
func nameOf(arg string) string {
	if open.IsURL(arg) {
		return open.WithoutPassword(arg)
	}
	return arg
}

// tableOptions name the table and the columns that were found.
func (t target) tableOptions() sqlite.TableOptions {
	d := t.table
	return sqlite.TableOptions{Table: d.Name, ID: d.ID, URL: d.URL, Done: d.Done,
		Group: d.Group, Hash: d.Hash, Keep: d.Keep}
}
