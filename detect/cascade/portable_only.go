//go:build !cgo || !(amd64 || arm64)

package cascade

func newScanner(c *Cascade) scanner { return &portable{cascade: c} }
