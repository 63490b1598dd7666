package cmd

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func newMan(g *globals) *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "man [COMMAND]",
		Short: "Print a manual page, or write all of them to a folder",
		Args:  args(cobra.MaximumNArgs(1), "at most one command"),
		RunE: func(c *cobra.Command, args []string) error {
			root := c.Root()
			root.DisableAutoGenTag = true
			header := &doc.GenManHeader{Title: "FACESCAN", Section: "1", Source: "facescan " + release}
			if dir != "" {
				if err := os.MkdirAll(dir, 0o755); err != nil {
					return err
				}
				return doc.GenManTree(root, header, dir)
			}
			page := root
			if len(args) == 1 {
				found, _, err := root.Find(args)
				if err != nil || found == root {
					return usagef("there is no command %q", args[0])
				}
				page = found
				header.Title = strings.ToUpper("facescan-" + args[0])
			}
			if err := doc.GenMan(page, header, g.out); err != nil {
				return fmt.Errorf("write the manual page: %w", err)
			}
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "write all pages into this folder")
	return c
}
