package export

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"facescan/store"
)

// Filter is a --where, read and checked.
type Filter struct {
	root    *node
	options *Options
}

// ParseFilter reads a filter over the columns that an export with these options can have. Its error is a
// *UsageError that says where it is wrong.
func ParseFilter(where string, o Options) (*Filter, error) {
	t, err := newTable(o)
	if err != nil {
		return nil, err
	}
	return t.filter(where)
}

func (t table) filter(where string) (*Filter, error) {
	root, err := parseWhere(where, t)
	if err != nil {
		return nil, err
	}
	return &Filter{root, t.options}, nil
}

// Match reports whether a filter over rows of images passes a result.
func (f *Filter) Match(r store.Result) bool {
	rec := f.options.record(r)
	return f.match(&rec)
}

// MatchPending reports whether such a filter passes a row that has no result yet. What a result would say of
// it is unknown, also to IS NULL.
func (f *Filter) MatchPending(row store.Row) bool {
	rec := f.options.record(store.Result{ID: row.ID, URL: store.KnownURL(row.URL),
		Source: store.SourceOf(row.ID), Group: row.Group, Kept: row.Kept})
	rec.pending = true
	return f.match(&rec)
}

// match reports whether the condition is true; unknown is not.
func (f *Filter) match(r *record) bool {
	v := f.root.eval(r)
	return !v.null && v.i == 1
}

var null = value{null: true}

func truth(b bool) value {
	if b {
		return value{i: 1}
	}
	return value{}
}

// number returns a number of either kind as a real one.
func (n *node) number(v value) float64 {
	if n.kind == integer {
		return float64(v.i)
	}
	return v.f
}

// eval returns the node's value for a record, of the node's kind. Conditions are 1 or 0.
func (n *node) eval(r *record) value {
	switch n.op {
	case "literal":
		return n.lit
	case "column":
		if r.pending && !n.col.isListed() {
			return null
		}
		return n.col.get(r)
	case "or", "and":
		decides := int64(0) // the value that decides it, even if the others are unknown
		if n.op == "or" {
			decides = 1
		}
		out := value{i: 1 - decides}
		for _, a := range n.args {
			v := a.eval(r)
			if !v.null && v.i == decides {
				return v
			}
			out.null = out.null || v.null
		}
		return out
	case "null":
		if r.pending && n.args[0].asksResult() {
			return null
		}
		return truth(n.args[0].eval(r).null != n.not)
	}
	left := n.args[0].eval(r)
	if left.null {
		return null
	}
	switch n.op {
	case "not":
		return value{i: 1 - left.i}
	case "lower", "upper":
		return value{s: changeCase(left.s, n.op == "lower")}
	case "length":
		return value{i: int64(utf8.RuneCountInString(left.s))}
	case "like":
		return truth(like(left.s, n.lit.s) != n.not)
	case "in":
		found := false
		for _, item := range n.list {
			found = found || compare(n.args[0], left, item, item.lit) == 0
		}
		return truth(found != n.not)
	case "between":
		low, high := n.args[1].eval(r), n.args[2].eval(r)
		above := low.null || compare(n.args[0], left, n.args[1], low) >= 0
		below := high.null || compare(n.args[0], left, n.args[2], high) <= 0
		if above && below && (low.null || high.null) {
			return null
		}
		return truth((above && below) != n.not)
	}
	right := n.args[1].eval(r)
	if right.null {
		return null
	}
	switch n.op {
	case "+", "-", "*", "/":
		return n.calculate(left, right)
	}
	c := compare(n.args[0], left, n.args[1], right)
	switch n.op {
	case "=":
		return truth(c == 0)
	case "!=":
		return truth(c != 0)
	case "<":
		return truth(c < 0)
	case "<=":
		return truth(c <= 0)
	case ">":
		return truth(c > 0)
	}
	return truth(c >= 0)
}

// asksResult reports whether the value depends on a row's result.
func (n *node) asksResult() bool {
	return n.op == "column" && !n.col.isListed() || slices.ContainsFunc(n.args, (*node).asksResult)
}

func compare(a *node, x value, b *node, y value) int {
	switch {
	case a.kind == text:
		return strings.Compare(x.s, y.s)
	case a.kind == integer && b.kind == integer:
		return cmp.Compare(x.i, y.i)
	}
	return cmp.Compare(a.number(x), b.number(y))
}

func (n *node) calculate(left, right value) value {
	a, b := n.args[0].number(left), n.args[1].number(right)
	var f float64
	switch n.op {
	case "+":
		f = a + b
	case "-":
		f = a - b
	case "*":
		f = a * b
	case "/":
		if b == 0 {
			return null
		}
		f = a / b
	}
	return value{f: f, null: math.IsNaN(f)}
}

// changeCase changes ASCII letters.
func changeCase(s string, lower bool) string {
	from, to := byte('A'), byte('a')
	if !lower {
		from, to = to, from
	}
	return strings.Map(func(r rune) rune {
		if r >= rune(from) && r < rune(from)+26 {
			return r - rune(from) + rune(to)
		}
		return r
	}, s)
}

// like matches a pattern in which % is any text and _ any character. Its time is at most proportional
// to the product of the lengths.
func like(s, pattern string) bool {
	star, resume := -1, 0 // the last % in pattern, and where in s what follows it was tried last
	i, k := 0, 0
	for i < len(s) {
		_, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case k < len(pattern) && pattern[k] == '%':
			star, resume = k, i
			k++
		case k < len(pattern) && pattern[k] == '_':
			i += size
			k++
		case k < len(pattern) && pattern[k] == s[i]:
			i++
			k++
		case star >= 0:
			_, size := utf8.DecodeRuneInString(s[resume:])
			resume += size
			i, k = resume, star+1
		default:
			return false
		}
	}
	for k < len(pattern) && pattern[k] == '%' {
		k++
	}
	return k == len(pattern)
}
