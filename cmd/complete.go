package cmd

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"facescan/detect"
	"facescan/store"
	"facescan/store/export"
	"facescan/store/nearest"
)

// flagValues are the values that a shell completes for flags, by the flag's name.
func flagValues(c *cobra.Command) map[string][]string {
	values := map[string][]string{
		"detector": detect.Names(),
		"class":    classWords,
		"reason":   words(store.Reasons("")),
		"rows":     export.RowKinds(),
		"format":   export.Formats(),
		"columns":  export.Columns("images"),
		"node":     {"auto", "auto/"},
		"device":   {"cpu", "cuda:0"},
		"hash":     {"sha256", "phash", "sha256,phash", "none"},
	}
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if choice, is := f.Value.(*choice); is {
			values[f.Name] = choice.words
		}
	})
	if c.Name() == "run" {
		values["format"] = export.FollowFormats()
	}
	return values
}

func words[T ~string](values []T) []string {
	var out []string
	for _, v := range values {
		out = append(out, string(v))
	}
	return out
}

// completeFlags registers the values of a command's flags.
func completeFlags(c *cobra.Command) {
	for name, values := range flagValues(c) {
		if f := c.Flags().Lookup(name); f == nil {
			continue
		}
		isList := c.Flags().Lookup(name).Value.Type() == "stringSlice"
		err := c.RegisterFlagCompletionFunc(name, func(c *cobra.Command, _ []string, typed string) (
			[]cobra.Completion, cobra.ShellCompDirective) {
			if name == "columns" {
				if rows := c.Flags().Lookup("rows"); rows != nil && rows.Value.String() != "images" {
					values = export.Columns(rows.Value.String())
				}
			}
			return completions(values, typed, isList), cobra.ShellCompDirectiveNoFileComp
		})
		if err != nil {
			panic(err) // registered twice
		}
	}
}

// completions are the values that begin with what was typed; of a list, with the part behind its last comma,
// and without the values that it has.
func completions(values []string, typed string, isList bool) []cobra.Completion {
	before, taken := "", []string(nil)
	if i := strings.LastIndexByte(typed, ','); isList && i >= 0 {
		before, taken = typed[:i+1], strings.Split(typed[:i], ",")
	}
	var out []cobra.Completion
	for _, v := range values {
		if strings.HasPrefix(before+v, typed) && !slices.Contains(taken, v) {
			out = append(out, before+v)
		}
	}
	return out
}

// completePages completes the names of commands and topics.
func completePages(c *cobra.Command, args []string, typed string) (
	[]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 && args[0] != topicSection && args[0] != commandSection {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return completions(pageNames(c.Root()), typed, false), cobra.ShellCompDirectiveNoFileComp
}

// describeCompletion gives cobra's completion command a help like that of the others.
func describeCompletion(root *cobra.Command) {
	root.SetCompletionCommandGroupID("about")
	root.InitDefaultCompletionCmd()
	c, _, err := root.Find([]string{"completion"})
	if err != nil {
		panic(err)
	}
	var shells []string
	for _, shell := range c.Commands() {
		shells = append(shells, shell.Name())
		shell.Short = "Print the script for " + shell.Name()
		shell.Args = args(cobra.NoArgs, "no arguments")
	}
	c.Args = func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usagef("facescan completion wants a shell: %s", strings.Join(shells, ", "))
		}
		return usagef("facescan completion knows no %q%s", args[0], nearest.Among(args[0], shells))
	}
	c.Run = func(*cobra.Command, []string) {} // else cobra shows its help
	c.Short = "Print a script that completes commands, flags and values in a shell"
	c.Long = "Prints a script for bash, zsh, fish or PowerShell. `facescan completion SHELL --help` says " +
		"where it belongs."
	c.Example = `source <(facescan completion bash)                                # this bash only
facescan completion bash > /etc/bash_completion.d/facescan        # every bash
facescan completion fish > ~/.config/fish/completions/facescan.fish  # every fish`
}
