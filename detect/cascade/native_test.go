//go:build cgo && (amd64 || arm64)

package cascade

func nativeScanners(c *Cascade) map[string]scanner {
	if c.depth != nativeDepth {
		return nil
	}
	all := map[string]scanner{}
	for level, name := range []string{"native", "avx2", "avx512"}[:nativeLevels()] {
		all[name] = newNative(c, level)
	}
	return all
}
