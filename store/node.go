package store

import (
	"fmt"
	"slices"
	"strings"
)

// NodeSetting names the setting that says which part of its lists' rows a job takes, as i/N; empty for all of
// them. The groups of such a job are not finished: they are when the parts are merged.
const NodeSetting = "node"

// Node is a part of a list's rows: those whose id modulo Of is I. The zero value is all of them.
type Node struct{ I, Of int }

// Takes reports whether a row belongs to the part.
func (n Node) Takes(id int64) bool { return n.Of == 0 || id%int64(n.Of) == int64(n.I) }

// String is i/N, or empty for all rows.
func (n Node) String() string {
	if n.Of == 0 {
		return ""
	}
	return fmt.Sprintf("%d/%d", n.I, n.Of)
}

// ParseNode reads what String wrote.
func ParseNode(s string) (n Node, err error) {
	if s == "" {
		return n, nil
	}
	if _, err = fmt.Sscanf(s, "%d/%d", &n.I, &n.Of); err != nil || n.String() != s || n.I < 0 || n.I >= n.Of {
		return Node{}, fmt.Errorf("the part %q is not i/N with 0 <= i < N", s)
	}
	return n, nil
}

// Nodes are parts of a list, which may overlap.
type Nodes []Node

// Takes reports whether a row belongs to any of the parts.
func (ns Nodes) Takes(id int64) bool {
	return slices.ContainsFunc(ns, func(n Node) bool { return n.Takes(id) })
}

// String lists the parts, with a comma between two; all rows are 0/1.
func (ns Nodes) String() string {
	var words []string
	for _, n := range ns {
		if n.Of == 0 {
			n.Of = 1
		}
		words = append(words, n.String())
	}
	return strings.Join(words, ",")
}

func parseNodes(s string) (ns Nodes, err error) {
	if s == "" {
		return nil, nil
	}
	for word := range strings.SplitSeq(s, ",") {
		n, err := ParseNode(word)
		if err != nil || n.Of == 0 {
			return nil, fmt.Errorf("the parts %q are not i/N,…", s)
		}
		ns = append(ns, n)
	}
	return ns, nil
}

// add returns the parts with others among them, each once.
func (ns Nodes) add(others Nodes) Nodes {
	for _, n := range others {
		if !slices.Contains(ns, n) {
			ns = append(ns, n)
		}
	}
	return ns
}

// maxPeriod bounds the residues that whole looks at.
const maxPeriod = 1 << 22

// whole reports whether the parts are together all rows, however long the list grows. Of parts whose residues
// repeat only after maxPeriod ids it says that they are not, without looking.
func (ns Nodes) whole() bool {
	period := 1
	for _, n := range ns {
		if n.Of == 0 {
			return true
		}
		if period = period / gcd(period, n.Of) * n.Of; period > maxPeriod {
			return false
		}
	}
	for id := range period {
		if !ns.Takes(int64(id)) {
			return false
		}
	}
	return true
}

// Disjoint reports whether no row belongs to parts of both.
func (ns Nodes) Disjoint(others Nodes) bool {
	for _, a := range ns {
		for _, b := range others {
			if a.Of == 0 || b.Of == 0 || (a.I-b.I)%gcd(a.Of, b.Of) == 0 {
				return false
			}
		}
	}
	return true
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// MergePartsSetting names the setting that says which parts a merge has taken in, so far as it does not have
// all rows.
const MergePartsSetting = "merge_parts"

// IsMerge reports whether a job with these settings is a merge of others.
func IsMerge(settings map[string]string) bool { return settings[MergeSetting] != "" }

// Parts are the parts of a source's rows that a job holds; rows of other parts may be in a merge besides. A
// merge by the first release, of parts that were not all, does not say which they were.
func Parts(settings map[string]string, s Source) (Nodes, error) {
	switch {
	case !IsMerge(settings):
		n, err := ParseNode(settings[NodeSetting])
		return Nodes{n}, err
	case s.Complete:
		return Nodes{{}}, nil
	}
	return parseNodes(settings[MergePartsSetting])
}

// Missing is how many rows of a source no job had that was merged into this one; known is false when nobody
// counted the list's rows, as the first release did not.
func Missing(settings map[string]string, s Source) (rows int64, known bool) {
	if !IsMerge(settings) || s.Complete {
		return 0, true
	}
	return max(s.Position.Rows-s.Rows, 0), s.Position.Rows >= 0
}
