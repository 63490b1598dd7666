//go:build !cgo || !(amd64 || arm64)

package pigo

import "image"

func nativeScanners(*Cascade) map[string]scanner { return nil }

func nativeSmoothers() map[string]func(to, from *image.Gray) { return nil }
