//go:build !cgo || !(amd64 || arm64)

package cascade

func nativeScanners(*Cascade) map[string]scanner { return nil }
