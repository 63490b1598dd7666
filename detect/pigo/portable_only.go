//go:build !cgo || !(amd64 || arm64)

package pigo

import "image"

// Path names the code path that runs on this processor.
func Path() string { return "plain Go" }

func newScanner(c *Cascade) scanner { return &portable{cascade: c} }

func smooth(to, from *image.Gray) { smoothPortable(to, from) }
