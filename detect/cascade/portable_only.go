//go:build !cgo || !(amd64 || arm64)

package cascade

import "image"

func newScanner(c *Cascade) scanner { return &portable{cascade: c} }

func smooth(to, from *image.Gray) { smoothPortable(to, from) }
