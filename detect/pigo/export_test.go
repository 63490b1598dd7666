package pigo

// Searchers are all ways to search that this machine has.
func Searchers(c *Cascade) map[string]*Searcher {
	all := map[string]*Searcher{"portable": {cascade: c, scan: &portable{cascade: c}}}
	for name, s := range nativeScanners(c) {
		all[name] = &Searcher{cascade: c, scan: s}
	}
	return all
}

// Stages is how many thresholds of a cascade can reject.
func Stages(c *Cascade) int { return len(c.stages) }
