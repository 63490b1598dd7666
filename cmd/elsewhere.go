package cmd

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"facescan/pipeline/parts"
	"facescan/pipeline/source"
	"facescan/store"
	"facescan/store/hint"
	"facescan/store/open"
)

// Lists, jobs and outputs are files, standard streams and PostgreSQL. Names with another scheme are refused
// here, for every command and flag, with the command line that does what was meant.

// client is a program that copies to and from object stores. %[1]s is from, %[2]s is to.
type client struct {
	read          string // an object to stdout
	copy, copyDir string // either way
	mount         string // how a store becomes a folder; may be empty
}

var (
	awsClient = client{read: "aws s3 cp %[1]s -", copy: "aws s3 cp %[1]s %[2]s",
		copyDir: "aws s3 cp --recursive %[1]s %[2]s", mount: "mount-s3"}
	gcloudClient = client{read: "gcloud storage cat %[1]s", copy: "gcloud storage cp %[1]s %[2]s",
		copyDir: "gcloud storage cp --recursive %[1]s %[2]s", mount: "gcsfuse"}
	hadoopClient = client{read: "hadoop fs -cat %[1]s", copy: "hadoop fs -cp %[1]s %[2]s",
		copyDir: "hadoop fs -cp %[1]s %[2]s"}
	rcloneClient = client{read: "rclone cat %[1]s", copy: "rclone copyto %[1]s %[2]s",
		copyDir: "rclone copy %[1]s %[2]s", mount: "rclone mount"}
)

// clients are those of each scheme of an object store.
var clients = map[string]client{
	"s3": awsClient, "s3a": awsClient, "s3n": awsClient,
	"gs": gcloudClient, "gcs": gcloudClient,
	"hdfs": hadoopClient, "viewfs": hadoopClient, "webhdfs": hadoopClient, "abfs": hadoopClient,
	"abfss": hadoopClient, "wasb": hadoopClient, "wasbs": hadoopClient, "adl": hadoopClient,
	"az": rcloneClient, "azure": rcloneClient, "b2": rcloneClient, "r2": rcloneClient, "oss": rcloneClient,
	"cos": rcloneClient, "obs": rcloneClient, "swift": rcloneClient, "minio": rcloneClient,
}

// databases are schemes of those that hold no jobs.
var databases = []string{"mysql", "mysqlx", "mariadb", "mongodb", "mongodb+srv", "sqlserver", "mssql",
	"oracle", "redis", "rediss", "cockroach", "cockroachdb", "cassandra", "clickhouse", "duckdb", "nats",
	"kafka", "amqp", "postgre", "pg", "pgsql", "jdbc", "odbc", "snowflake", "bigquery"}

// pathFlags are the flags whose values are files, folders or jobs. Inputs are read, the others written.
var pathFlags = map[string]struct{ input, folder bool }{
	"db": {}, "out": {}, "output": {}, "block-hosts": {input: true}, "header": {input: true},
	"allow-files": {input: true, folder: true},
	"keep":        {folder: true}, "crops": {folder: true}, "blurred": {folder: true},
	"publish": {folder: true}, "draw": {folder: true},
}

var schemeForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:/`)

// schemeOf is the scheme of a name, in lower case; empty for a file's.
func schemeOf(name string) string {
	if m := schemeForm.FindString(name); len(m) > len("C:/") { // which is a drive
		return strings.ToLower(strings.TrimSuffix(m, ":/"))
	}
	return ""
}

// refuseElsewhere refuses names that are neither files nor databases that can hold a job.
func refuseElsewhere(c *cobra.Command, args []string) error {
	l := &localLine{c: c, args: slices.Clone(args)}
	for i := range args {
		if err := l.argument(i); err != nil {
			return err
		}
	}
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if _, isPath := pathFlags[f.Name]; isPath && f.Changed && l.err == nil {
			l.err = l.flag(f)
		}
	})
	if l.err != nil || l.what == "" {
		return l.err
	}
	line := l.pipe + strings.Join(slices.Concat(l.before, []string{l.command()}, l.after), " && ")
	if l.mount != "" {
		line += "; or mount the store (" + l.mount + ") and give the path there"
	}
	return usagef("%s: type: %s%s", l.what, line, l.note)
}

// localLine is the command line that does with local files what the present one would do with object stores.
type localLine struct {
	c    *cobra.Command
	args []string
	more []string
	err  error

	what          string // is wrong with the first name
	pipe          string // what comes before the command, into its stdin
	before, after []string
	mount, note   string
}

// refuse notes the first name that is in an object store.
func (l *localLine) refuse(what, mount string) {
	if l.what == "" {
		l.what, l.mount = what, mount
	}
}

// command is the command itself. Passwords in it are left out.
func (l *localLine) command() string {
	words, _ := flagWords(l.c.Flags(), func(name string) bool { return name != "db" || l.given("db") })
	shown := func(words []string) []string {
		words = slices.Clone(words)
		for i, w := range words {
			words[i] = open.WithoutPassword(w)
		}
		return words
	}
	return hint.Command(l.c.Name(), shown(l.args), shown(append(words, l.more...))...)
}

// given reports whether the command has a flag and its line a value for it, which is not false.
func (l *localLine) given(flag string) bool {
	f := l.c.Flags().Lookup(flag)
	return f != nil && f.Value.String() != "" && f.Value.String() != "false"
}

// argument looks at one. The error is of a name for which there is no such line.
func (l *localLine) argument(i int) error {
	arg, command := l.args[i], l.c.Name()
	scheme := schemeOf(arg)
	to, known := clients[scheme]
	switch {
	case scheme == "", open.IsURL(arg), command == "detect" && (scheme == "http" || scheme == "https"):
		return nil
	case known:
	default:
		return l.noStore(i, scheme)
	}
	levels := strings.Count(strings.Trim(arg[len(scheme)+1:], "/"), "/") // without any it is a whole bucket
	images := l.given("images")
	folder := levels == 0 || strings.HasSuffix(arg, "/") ||
		command == "merge" && !strings.HasSuffix(arg, ".db") || images && !strings.HasSuffix(arg, ".tar")
	lists := command == "run" || command == "import"
	mount := to.mount
	if !lists && command != "estimate" && command != "detect" && command != "merge" { // it is a job
		mount = ""
	}
	l.refuse(store.Redact(arg)+" is in an object store, and facescan takes files", mount)
	format, _ := source.FormatOf(arg)
	isText := (format == "" || format == "txt") && !strings.HasSuffix(arg, ".db") && !images &&
		!l.given("table") && !l.given("node") // those want a file
	name := localName(arg, "data")
	l.args[i] = name
	switch {
	case command == "merge" && i == 0:
		l.after = append(l.after, to.run(to.copy, name, arg))
	case folder:
		l.before = append(l.before, to.run(to.copyDir, arg, name))
	case command == "detect" && len(l.args) == 1:
		l.args[i], l.pipe = "-", to.run(to.read, arg, "")+" | "
	case lists && len(l.args) == 1 && isText:
		l.args[i], l.pipe = "-", to.run(to.read, arg, "")+" | "
	default:
		l.before = append(l.before, to.run(to.copy, arg, name))
	}
	if lists && (folder || len(l.args) > 1 || l.args[i] == "-") && !l.given("db") {
		l.more = []string{"--db", parts.JobOf(name, store.Node{})}
	}
	return nil
}

// noStore is the error of an argument that is in no object store.
func (l *localLine) noStore(i int, scheme string) error {
	arg := l.args[i]
	switch {
	case slices.Contains(databases, scheme):
		return unsupportedDatabase(scheme)
	case scheme == "sqlite", scheme == "sqlite3", scheme == "file":
		return usagef("%s is a URL: give the path of the file: %s", store.Redact(arg),
			hint.Quote(strings.TrimPrefix(arg[len(scheme)+1:], "//")))
	case scheme == "http" || scheme == "https":
		l.args[i] = localName(arg, "urls.txt")
		switch format, _ := source.FormatOf(l.args[i]); {
		case l.c.Name() != "run" && l.c.Name() != "import" && l.c.Name() != "estimate": // it is a job
		case source.IsImageName(l.args[i]):
			return usagef("%s is an image on a web server, and facescan %s takes lists of URLs: find its "+
				"faces with %s, or write the URL into a list", store.Redact(arg), l.c.Name(),
				hint.Words("facescan", "detect", store.Redact(arg)))
		case format == "" && !strings.HasSuffix(l.args[i], ".db"): // of a name that no run knows
			l.args[i] += ".txt"
		}
		return usagef("%s is on a web server, and facescan %s takes files: type: %s && %s", store.Redact(arg),
			l.c.Name(), hint.Words("curl", "-sSfo", l.args[i], store.Redact(arg)), l.command())
	}
	return usagef("%s: facescan does not know %s://; give a file, or for a job postgres://…",
		store.Redact(arg), scheme)
}

// flag looks at the values of one, and replaces those in an object store.
func (l *localLine) flag(f *pflag.Flag) error {
	values := []string{f.Value.String()}
	several, isSlice := f.Value.(pflag.SliceValue)
	if isSlice {
		values = several.GetSlice()
	}
	kind := pathFlags[f.Name]
	for i, v := range values {
		prefix := ""
		if f.Name == "header" {
			if !strings.HasPrefix(v, "@") {
				continue
			}
			prefix, v = "@", v[1:]
		}
		scheme := schemeOf(v)
		to, known := clients[scheme]
		what := "--" + f.Name + " " + store.Redact(v) + ": "
		switch {
		case scheme == "" || f.Name == "db" && open.IsURL(v):
			continue
		case f.Name == "db" && slices.Contains(databases, scheme):
			return unsupportedDatabase(scheme)
		case !known && f.Name == "db":
			return usagef("%sa job is a file on a local disk, or postgres://…", what)
		case !known:
			return usagef("%sgive a path on this machine; facescan does not know %s:// here", what, scheme)
		case f.Name == "db":
			l.refuse(what+"a job is a file on a local disk, or postgres://…", "")
			if l.c.Flags().Lookup("publish") != nil {
				l.note = "; --publish DIR also copies what is done to a mounted folder, while it runs"
			}
		default:
			l.refuse(what+"give a path on this machine", to.mount)
		}
		name, form := localName(v, f.Name), to.copy
		if kind.folder || f.Name == "output" && l.given("split-by") {
			form = to.copyDir
		}
		if kind.input {
			l.before = append(l.before, to.run(form, v, name))
		} else {
			l.after = append(l.after, to.run(form, name, v))
		}
		values[i] = prefix + name
	}
	if isSlice {
		return several.Replace(values)
	}
	return f.Value.Set(values[0])
}

func unsupportedDatabase(scheme string) error {
	return usagef("unsupported database %s://: use postgres://… or a file", scheme)
}

// run is a command line of the client.
func (c client) run(form, from, to string) string {
	quote := func(s string) string {
		scheme := schemeOf(s)
		rest := s[min(len(scheme)+1, len(s)):]
		switch {
		case scheme == "" && c.copy == hadoopClient.copy && s != "":
			return `"file://$PWD/"` + hint.Quote(s) // else it would mean a path in the store
		case scheme == "":
			rest = s
		case c.copy == rcloneClient.copy:
			rest = scheme + ":" + strings.TrimLeft(rest, "/") // a remote of this name
		case scheme == "s3a" || scheme == "s3n":
			rest = "s3:" + rest
		case scheme == "gcs":
			rest = "gs:" + rest
		default:
			rest = scheme + ":" + rest
		}
		return hint.Quote(rest)
	}
	if to == "" {
		return fmt.Sprintf(form, quote(from))
	}
	return fmt.Sprintf(form, quote(from), quote(to))
}

// localName is the name that a copy gets, in the present folder.
func localName(name, otherwise string) string {
	_, rest, _ := strings.Cut(name, ":")
	rest, _, _ = strings.Cut(rest, "?")
	base := path.Base(strings.Trim(rest, "/"))
	if base == "." || base == "/" || strings.HasPrefix(base, "-") || base == "" || base == ".." {
		return otherwise
	}
	return base
}
