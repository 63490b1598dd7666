// Package hint makes the commands that messages name, so that each can be copied into a shell as it stands.
package hint

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Record is a file that gets each command that is made, and the calls that made it, for tests which run them.
var Record string

// Command is a command line of facescan: the arguments of a command, then its flags with their values. Each
// word is quoted where a shell needs that.
func Command(verb string, args []string, flags ...string) string {
	words := append(foreign(verb, args, flags), "facescan", verb)
	for _, arg := range args {
		words = append(words, Name(arg))
	}
	line := Words(append(words, flags...)...)
	record(line)
	return line
}

// On is a command on one job.
func On(verb, job string, flags ...string) string { return Command(verb, []string{job}, flags...) }

// Name is a file's name as an argument: one that begins like a flag is not taken for one.
func Name(file string) string {
	if strings.HasPrefix(file, "-") && file != "-" {
		return "./" + file
	}
	return file
}

// Words joins words for a shell, as of flags to add.
func Words(words ...string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = Quote(w)
	}
	return strings.Join(quoted, " ")
}

// foreign unsets the variables of the environment that mean another job than the command does.
func foreign(verb string, args, flags []string) (words []string) {
	if verb != "run" && verb != "import" {
		return nil
	}
	for _, v := range []struct{ name, flag string }{{"FACESCAN_NODE", "--node"}, {"FACESCAN_DB", "--db"}} {
		set := os.Getenv(v.name)
		if set != "" && !slices.Contains(flags, v.flag) && !slices.Contains(args, set) {
			words = append(words, "-u", v.name)
		}
	}
	if words != nil {
		words = append([]string{"env"}, words...)
	}
	return words
}

// Quote makes one word of a shell's of any text. What is not printable is written as printf knows it, since
// shells differ in what they take in quotes.
func Quote(s string) string {
	plain := func(r rune) bool {
		return r < 128 && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("_-./:@%+=,", r))
	}
	switch {
	case s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0:
		return s
	case utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0:
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	case strings.HasSuffix(s, "\n"): // printf in $( ) would lose it
		return "$'" + escape(s, "") + "'"
	}
	return `"$(printf '` + escape(s, "%") + `')"`
}

// escape writes a text for printf, or for $' ', within single quotes; a percent sign in the first alone has
// to be written twice.
func escape(s, percent string) string {
	var b strings.Builder
	for first := true; len(s) > 0; first = false {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case first && r == '-', r == utf8.RuneError && size == 1, !unicode.IsPrint(r),
			strings.ContainsRune(`'\!`, r):
			for _, c := range []byte(s[:size]) {
				fmt.Fprintf(&b, `\%03o`, c)
			}
		case r == '%':
			b.WriteString("%" + percent)
		default:
			b.WriteString(s[:size])
		}
		s = s[size:]
	}
	return b.String()
}

// A Made command is one that was recorded.
type Made struct {
	Line  string
	Calls []Call // the innermost first
}

// Call is where a function was called.
type Call struct {
	File string
	Line int
}

// record notes a command.
func record(line string) {
	if Record == "" {
		return
	}
	made := Made{Line: line}
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	for more := true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		made.Calls = append(made.Calls, Call{f.File, f.Line})
	}
	b, err := json.Marshal(made)
	if err == nil {
		var f *os.File
		if f, err = os.OpenFile(Record, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600); err == nil {
			_, err = f.Write(append(b, '\n'))
			err = errors.Join(err, f.Close())
		}
	}
	if err != nil {
		panic(err) // a test that asked for it would not see a command
	}
}
