package cmd

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/mattn/go-sqlite3"
	"github.com/spf13/cobra"

	"facescan/detect/pigo"
	"facescan/detect/yunet"
)

// release is the version; homepage is a page that tells owners of servers what this program does there. A
// package sets both: go build -ldflags "-X facescan/cmd.release=1.2.3 -X facescan/cmd.homepage=https://…".
var (
	release  = "0.1.0"
	homepage = ""
)

// defaultUserAgent is the program's name and version, and its homepage where the build has one: an address
// that leads nowhere would be worse than none.
func defaultUserAgent() string {
	if homepage == "" {
		return "facescan/" + release
	}
	return "facescan/" + release + " (+" + homepage + ")"
}

// commit is the commit that was built, with a mark when the tree differed from it.
func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	rev, dirty := "unknown", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			rev = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+changes"
		}
	}
	return rev + dirty
}

func newVersion(g *globals) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "version",
		Short: "Version, commit, Go, SQLite and detectors of this binary",
		Example: `facescan version               # for people
facescan version --json        # for a script
facescan version | grep yunet  # the version of the detector`,
		Args: args(cobra.NoArgs, "no arguments"),
		RunE: func(*cobra.Command, []string) error { return printVersion(g, asJSON) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return c
}

// printVersion prints what this binary is made of.
func printVersion(g *globals, asJSON bool) error {
	lib, _, _ := sqlite3.Version()
	if asJSON {
		return printJSON(g.out, map[string]string{"version": release, "commit": commit(),
			"go": runtime.Version(), "sqlite": lib, "yunet": yunet.Sum(), "yunet_path": yunet.Path(),
			"cascade": pigo.Sum(), "cascade_path": pigo.Path(),
			"platform": runtime.GOOS + "/" + runtime.GOARCH})
	}
	_, err := fmt.Fprintf(g.out, "facescan %s\ncommit   %s\ngo       %s %s/%s\nsqlite   %s\n"+
		"yunet    %s (%s)\ncascade  %s (%s)\n",
		release, commit(), runtime.Version(), runtime.GOOS, runtime.GOARCH, lib, yunet.Sum(),
		yunet.Path(), pigo.Sum(), pigo.Path())
	return err
}
