//go:build cgo && (amd64 || arm64)

package pigo

import "image"

var levels = []string{"native", "avx2", "avx512"}

func nativeScanners(c *Cascade) map[string]scanner {
	all := map[string]scanner{}
	for level := 0; level <= bestLevel && c.depth == nativeDepth; level++ {
		all[levels[level]] = newNative(c, level)
	}
	return all
}

func nativeSmoothers() map[string]func(to, from *image.Gray) {
	all := map[string]func(to, from *image.Gray){}
	for level := 0; level <= bestLevel; level++ {
		all[levels[level]] = func(to, from *image.Gray) { smoothNative(level, to, from) }
	}
	return all
}
