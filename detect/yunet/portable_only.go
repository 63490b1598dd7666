//go:build !cgo || !(amd64 || arm64)

package yunet

func newNetwork() network { return newPlain() }

// Path names the code path that runs on this processor.
func Path() string { return "plain Go" }

func allPaths() map[string]network { return map[string]network{} }
