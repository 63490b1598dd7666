// Package cmd is facescan's command line: one file a command, each with an options struct, its flags, and a
// plain function that runs it. Here are flags, wiring and the terminal; what the commands do is in the
// packages below.
//
// Output rules: data goes to stdout, everything else to stderr. Nothing moves on a stderr that is no
// terminal. An error says what happened, why, and what to do next.
package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"facescan/pipeline"
	"facescan/pipeline/crash"
	"facescan/pipeline/source"
	"facescan/store/export"
	"facescan/store/hint"
	"facescan/store/nearest"
	"facescan/store/open"
)

// The exit codes, the same for every command.
const (
	exitOK          = 0
	exitError       = 1
	exitUsage       = 2
	exitFailures    = 3   // finished or aborted with more failures than allowed
	exitLimited     = 10  // stopped by a limit: run again
	exitInterrupted = 130 // stopped by a person: run again
)

// exitCodes says what they mean; the topic exit-codes has the same table.
var exitCodes = []struct {
	code    int
	meaning string
}{
	{exitOK, "done; for `run`: the job is finished, even if rows failed"},
	{exitError, "an error; the message says what to do"},
	{exitUsage, "the command line is wrong"},
	{exitFailures, "finished or aborted with more failures than `--max-fail` or `--abort-if` allow"},
	{exitLimited, "stopped by `--max-duration`, `--max-rows` or `--tail-grace`, or only paused rows are " +
		"left: run again"},
	{exitInterrupted, "interrupted: run again"},
}

// exit is an error with a code of its own. Its message, if any, has not been printed yet.
type exit struct {
	code int
	err  error
}

func (e *exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exit) Unwrap() error { return e.err }

// usagef is an error in the command line.
func usagef(format string, args ...any) error {
	return &exit{exitUsage, fmt.Errorf(format, args...)}
}

// streams are the three streams of the process.
type streams struct {
	in     io.Reader
	out    io.Writer // data, as they are unless a terminal shows them
	text   io.Writer // stdout for people: what is not printable is quoted
	err    io.Writer // stderr, likewise
	rawErr io.Writer // stderr as it is, for the progress bar alone
}

func newStreams(in io.Reader, out, err io.Writer) streams {
	text := &printableWriter{w: out}
	if isTerminal(out) {
		out = text
	}
	return streams{in, out, text, &printableWriter{w: err}, err}
}

// globals are the flags of every command.
type globals struct {
	streams
	signals   *signals
	verbose   int
	quiet     bool
	logFormat string
}

func (g *globals) addFlags(fs *pflag.FlagSet) {
	fs.CountVarP(&g.verbose, "verbose", "v", "debug messages too: leases, claims, retries, the pace of "+
		"hosts, imports; -vv adds one per row")
	fs.BoolVarP(&g.quiet, "quiet", "q", false, "print errors only")
	fs.Var(newChoice(&g.logFormat, "text", "json"), "log-format", "`format` of all messages on stderr, "+
		"errors and the summary too: text, or json with one object per line")
}

// logger writes to w, which is stderr, or a wrapper that keeps out of the progress bar's way.
func (g *globals) logger(w io.Writer) *slog.Logger {
	level := slog.LevelInfo
	switch {
	case g.quiet:
		level = slog.LevelError
	case g.verbose > 1:
		level = pipeline.LevelRow
	case g.verbose > 0:
		level = slog.LevelDebug
	}
	if g.json() {
		return slog.New(newJSONHandler(w, level))
	}
	return slog.New(&textHandler{w: w, level: level})
}

// json reports whether messages are JSON.
func (g *globals) json() bool { return g.logFormat == "json" }

// log is the logger of a command that shows no progress.
func (g *globals) log() *slog.Logger { return g.logger(g.err) }

// report prints a line for a person on stderr, unless -q; a record with --log-format json.
func (g *globals) report(format string, args ...any) {
	switch {
	case g.quiet:
	case g.json():
		text := strings.TrimPrefix(fmt.Sprintf(format, args...), "facescan: ")
		g.log().Info(strings.TrimSpace(text))
	default:
		fmt.Fprintf(g.err, format+"\n", printableArgs(args)...)
	}
}

// fail prints an error, such as the one that ends a command with an exit code.
func (g *globals) fail(err error, code int, help string) {
	text := oneLine(errors.New(open.Redact(plainText(err))))
	if g.json() {
		var attrs []any
		if code != exitOK {
			attrs = append(attrs, "exit_code", code)
		}
		if help != "" {
			attrs = append(attrs, "help", help)
		}
		g.log().Error(text, attrs...)
		return
	}
	fmt.Fprintf(g.err, "facescan: %s\n", text)
	if help != "" {
		fmt.Fprintf(g.err, "facescan: see `%s`\n", help)
	}
}

// print writes a line for a person to stdout.
func (g *globals) print(format string, args ...any) {
	fmt.Fprintf(g.text, format+"\n", printableArgs(args)...)
}

// Main runs the command line of this process and returns its exit code.
func Main() int {
	crash.Setup()
	defer crash.Exit()
	log.SetOutput(io.Discard) // where net/http writes what odd servers send; their rows have outcomes
	return Run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
}

// Run runs one command line on the given streams and returns the exit code.
func Run(ctx context.Context, args []string, in io.Reader, out, errw io.Writer) int {
	g := &globals{streams: newStreams(in, out, errw)}
	root := newRoot(g)
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(g.err)
	ctx, g.signals = listen(ctx)
	command, err := root.ExecuteContextC(ctx)
	g.signals.stop()
	if err == nil {
		return exitOK
	}
	code := exitError
	var e *exit
	var list *source.UsageError
	var result *export.UsageError
	var rule *pipeline.UsageError
	switch {
	case errors.As(err, &e):
		code = e.code
		if e.err == nil {
			return code
		}
	case g.signals.interrupted():
		code = exitInterrupted
		if errors.Is(err, context.Canceled) {
			err = errors.New("interrupted")
		}
	case errors.As(err, &list), errors.As(err, &result), errors.As(err, &rule):
		code = exitUsage
	}
	help := ""
	if code == exitUsage {
		help = hint.Command("help", helpWords(command))
		g.wantJSON(args) // the flags may not have been read
	}
	g.fail(err, code, help)
	return code
}

// helpWords are those that help wants for a command; none for help itself and for man, which list what there
// is.
func helpWords(c *cobra.Command) []string {
	if c.Name() == "help" || c.Name() == "man" {
		return nil
	}
	return strings.Fields(c.CommandPath())[1:]
}

// wantJSON reads --log-format of a command line that is wrong.
func (g *globals) wantJSON(args []string) {
	format := os.Getenv("FACESCAN_LOG_FORMAT")
	for i, arg := range args {
		if value, is := strings.CutPrefix(arg, "--log-format="); is {
			format = value
		} else if arg == "--log-format" && i+1 < len(args) {
			format = args[i+1]
		}
	}
	if format == "json" {
		g.logFormat = format
	}
}

func newRoot(g *globals) *cobra.Command {
	var version bool
	var root *cobra.Command
	root = &cobra.Command{
		Use:   "facescan",
		Short: "Find the faces in the images of a list of URLs",
		Long: "facescan downloads every image of a list, finds the faces and keeps one result per row. It " +
			"can be killed at any moment and run again: no row is lost, and none is counted twice.",
		Example: `facescan run urls.txt                     # process the list, or resume it
facescan status urls.txt                  # how far it is
facescan export urls.txt -o results.csv   # the results`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q%s", args[0], nearest.Hint(args[0], commandNames(root)))
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error {
			if version {
				return printVersion(g, false)
			}
			return c.Help()
		},
		PersistentPreRunE: func(c *cobra.Command, args []string) error {
			if err := fromEnvironment(c); err != nil {
				return err
			}
			if err := refuseUseless(c.Flags()); err != nil {
				return err
			}
			return refuseElsewhere(c, args)
		},
	}
	g.addFlags(root.PersistentFlags())
	root.Flags().BoolVarP(&version, "version", "V", false, "print what facescan version prints")
	root.SetFlagErrorFunc(flagError)
	root.SetHelpFunc(showHelp)
	root.SetHelpCommand(newHelp(g))
	root.AddGroup(commandGroups...)
	for id, commands := range map[string][]func(*globals) *cobra.Command{
		"work":    {newRun, newImport},
		"results": {newStatus, newExport, newReport, newVerify},
		"change":  {newRetry, newRescan, newPause, newResume, newMerge, newForget},
		"try":     {newEstimate, newDetect, newDoctor, newSidecar},
		"about":   {newVersion, newMan},
		"":        {newTryDecode},
	} {
		for _, add := range commands {
			c := add(g)
			c.DisableFlagsInUseLine = true
			c.GroupID = id
			completeFlags(c)
			root.AddCommand(c)
		}
	}
	describeCompletion(root)
	return root
}

// commandNames are the commands that help lists.
func commandNames(root *cobra.Command) (names []string) {
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() || c.Name() == "help" {
			names = append(names, c.Name())
		}
	}
	return names
}

// args turns cobra's complaint about the number of arguments into a usage error.
func args(check cobra.PositionalArgs, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if check(c, args) != nil {
			return usagef("%s wants %s", c.CommandPath(), what)
		}
		return nil
	}
}

// variable is the annotation of a flag that a variable of the environment set.
const variable = "facescan-variable"

// fromVariable reports whether a variable of the environment set a flag.
func fromVariable(f *pflag.Flag) bool { return f.Annotations[variable] != nil }

// fromEnvironment sets every flag that was not given from FACESCAN_NAME.
func fromEnvironment(c *cobra.Command) error {
	var bad error
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Changed || f.Name == "help" || bad != nil {
			return
		}
		name := "FACESCAN_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if v, ok := os.LookupEnv(name); ok {
			if err := c.Flags().Set(f.Name, v); err != nil {
				bad = &exit{exitUsage, err}
				var value *pflag.InvalidValueError
				if errors.As(err, &value) {
					bad = flagValueError(name+"=", value)
				}
			}
			if f.Annotations == nil {
				f.Annotations = map[string][]string{}
			}
			f.Annotations[variable] = []string{name}
		}
	})
	return bad
}
