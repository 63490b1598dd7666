package cmd

import "github.com/spf13/pflag"

// addUnbuilt adds the flags of run whose work is not built yet. Each goes from here to the options it belongs to
// when it is.
func addUnbuilt(fs *pflag.FlagSet) {
	text := func(name string, off ...string) {
		fs.String(name, "", "not built yet")
		unbuiltRun[name] = append(off, "")
	}
	text("out")
}
