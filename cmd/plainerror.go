package cmd

import (
	"cmp"
	"crypto/x509"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"facescan/store/nearest"
)

// plainText is an error's text for people: what Go's libraries say of their operations and types is put in
// plain words, wherever it stands in the text.
func plainText(err error) string {
	text := err.Error()
	eachError(err, func(e error) {
		if words := plainWords(e); words != "" {
			text = strings.Replace(text, e.Error(), words, 1)
		}
		if p, ok := e.(*fs.PathError); ok { // often named before
			text = strings.Replace(text, p.Path+": "+p.Path+": ", p.Path+": ", 1)
		}
	})
	return text
}

// eachError calls f for an error and those that it wraps, the outer ones first.
func eachError(err error, f func(error)) {
	for err != nil {
		f(err)
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			err = e.Unwrap()
		case interface{ Unwrap() []error }:
			for _, one := range e.Unwrap() {
				eachError(one, f)
			}
			return
		default:
			return
		}
	}
}

// plainWords are those for an error of Go's libraries; empty for another.
func plainWords(err error) string {
	switch e := err.(type) {
	case *fs.PathError:
		if e.Path == "" {
			return "the name is empty"
		}
		return e.Path + ": " + innermost(e.Err)
	case *os.LinkError:
		return e.New + ": " + innermost(e.Err)
	case *os.SyscallError:
		return innermost(e.Err)
	case *net.DNSError:
		if network, port, is := strings.Cut(e.Name, "/"); is && (network == "tcp" || network == "udp") {
			return fmt.Sprintf("%q is not a port: use 0 to 65535", port)
		}
		if e.IsNotFound {
			return "there is no host " + e.Name
		}
		return "the address of " + e.Name + " could not be looked up"
	case *net.OpError:
		return innermost(e.Err)
	case *net.AddrError:
		if e.Err == "invalid port" {
			return fmt.Sprintf("%q is not a port: use 0 to 65535", e.Addr)
		}
		return fmt.Sprintf("%q: %s", e.Addr, e.Err)
	case *net.ParseError:
		return fmt.Sprintf("%q is not an address", e.Text)
	case *url.Error:
		return e.URL + ": " + plainText(e.Err)
	case *strconv.NumError:
		return notNumber(e)
	case *json.SyntaxError, *json.UnmarshalTypeError:
		return "not the JSON that is expected"
	case *csv.ParseError:
		return "quotes that are not closed"
	case x509.UnknownAuthorityError, x509.HostnameError, x509.CertificateInvalidError:
		return strings.TrimPrefix(err.Error(), "x509: ")
	}
	return ""
}

// innermost is the text of the cause of an error.
func innermost(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			break
		}
		err = inner
	}
	if words := plainWords(err); words != "" {
		return words
	}
	switch {
	case errors.Is(err, syscall.ENOTDIR):
		return "it is not a folder, or is in something that is not a folder"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "this machine does not have that address"
	case errors.Is(err, syscall.EADDRINUSE):
		return "another process listens there: choose another port"
	case errors.Is(err, syscall.ELOOP):
		return "too many symbolic links"
	}
	return err.Error()
}

func notNumber(e *strconv.NumError) string {
	if errors.Is(e, strconv.ErrRange) {
		return fmt.Sprintf("%s is too large", e.Num)
	}
	return fmt.Sprintf("%q is not a number", e.Num)
}

// flagError says what is wrong with a flag on the command line of a command.
func flagError(c *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var noValue *pflag.ValueRequiredError
	var badValue *pflag.InvalidValueError
	var badForm *pflag.InvalidSyntaxError
	switch {
	case errors.As(err, &unknown):
		name := unknown.GetSpecifiedName()
		if unknown.GetSpecifiedShortnames() != "" {
			return usagef("unknown flag: -%s", name[:1])
		}
		var names []string
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				names = append(names, "--"+f.Name)
			}
		})
		return usagef("unknown flag: --%s%s", name, nearest.Hint("--"+name, names))
	case errors.As(err, &noValue):
		f := noValue.GetFlag()
		return usagef("--%s needs a value: %s", f.Name, cmp.Or(wantedValue(f), withValue(f)))
	case errors.As(err, &badValue):
		return flagValueError("--"+badValue.GetFlag().Name+" ", badValue)
	case errors.As(err, &badForm):
		return usagef("%s is not a flag: write --NAME VALUE or --NAME=VALUE", badForm.GetSpecifiedFlag())
	}
	return &exit{exitUsage, err}
}

// flagValueError says what is wrong with the value that a flag, or its variable, was given. The name ends
// with what stands between it and the value.
func flagValueError(name string, err *pflag.InvalidValueError) error {
	f, value, cause := err.GetFlag(), err.GetValue(), err.Unwrap()
	var number *strconv.NumError
	switch kind := f.Value.Type(); {
	case kind == "duration":
		if _, err := strconv.ParseFloat(value, 64); err == nil {
			return usagef("%s%s: add a unit, e.g. %ss", name, value, value)
		}
	case kind == "choice":
		return usagef("%s%q: %w", name, value, cause)
	case errors.As(cause, &number) && errors.Is(number, strconv.ErrRange):
		return usagef("%s%s: the number is too large", name, value)
	case wantedValue(f) == "": // it has its own words
		text := plainText(cause)
		if !strings.Contains(text, strconv.Quote(value)) {
			text = strconv.Quote(value) + ": " + text
		}
		return usagef("%s: %s", strings.TrimRight(name, " ="), text)
	}
	return usagef("%s%q: %s", name, value, wantedValue(f))
}

// wantedValue says what a flag takes; empty for those that say it themselves.
func wantedValue(f *pflag.Flag) string {
	switch f.Value.Type() {
	case "duration":
		return "give a duration, e.g. 30s, 5m or 1h30m"
	case "int", "int64", "count":
		return "give a whole number"
	case "float64":
		return "give a number"
	case "bool":
		return "give true or false, or the flag alone"
	case "stringSlice":
		return "give names with commas between them"
	case "size":
		return "give a size, e.g. 64MiB"
	case "pixels":
		return "give a number of pixels, e.g. 100M"
	case "string", "stringArray":
		return withValue(f)
	}
	return ""
}

// withValue says how a flag is written.
func withValue(f *pflag.Flag) string {
	name, _ := pflag.UnquoteUsage(f)
	return "write --" + f.Name + " " + valueName(f, name)
}
