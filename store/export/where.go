package export

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"facescan/store/nearest"
)

// The grammar of --where, with the meaning it has in SQL, three-valued logic included: an unknown value
// passes neither a condition nor its opposite.
//
//	or      = and { OR and }
//	and     = not { AND not }
//	not     = NOT not | test
//	test    = sum [ ( = | != | < | <= | > | >= ) sum
//	              | [NOT] IN ( literal {, literal} ) | [NOT] BETWEEN sum AND sum | [NOT] LIKE text
//	              | IS [NOT] NULL ]
//	sum     = product { (+|-) product }
//	product = factor { (*|/) factor }
//	factor  = - factor | number | 'text' | column | "column" | (lower|upper|length) ( sum ) | ( or )
//
// Text is compared byte by byte, in LIKE too (% any text, _ any character); lower and upper change ASCII
// letters only. Arithmetic is that of real numbers; division by zero is unknown.
type node struct {
	op   string // the operator or function; "column", "literal"
	kind kind   // of its value
	args []*node
	col  *column // of a column
	lit  value   // of a literal; the pattern of LIKE
	list []*node // of IN: literals
	not  bool    // of IN, BETWEEN, LIKE, IS NULL
}

// condition is the kind of what is true, false or unknown.
const condition kind = -1

func (k kind) String() string {
	switch k {
	case condition:
		return "a condition"
	case text:
		return "text"
	case boxes:
		return "a list of boxes"
	}
	return "a number"
}

func (k kind) numeric() bool { return k == integer || k.fractional() }

// What databases take is bounded, and so are filters: how deep they are nested, how many operators they have,
// and how many literals.
const (
	maxDepth     = 100
	maxOperators = 200
	maxLiterals  = 30_000
)

type token struct {
	kind byte   // 'w' word, 'q' quoted word, 'n' number, 't' text, 'o' operator, 0 the end
	text string // what it stands for; words that are not quoted in lower case when key is asked
	at   int
}

// lex cuts a filter into tokens.
func lex(s string) ([]token, error) {
	if !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
		return nil, usagef("--where: %q is not text", s)
	}
	var ts []token
	for i := 0; i < len(s); {
		start := i
		c := s[i]
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
			continue
		case c == '\'' || c == '"':
			var b strings.Builder
			for i++; ; i++ {
				if i == len(s) {
					return nil, whereError(s, start, "the quote is not closed")
				}
				if s[i] == c {
					if i++; i == len(s) || s[i] != c {
						break
					}
				}
				b.WriteByte(s[i])
			}
			kind := byte('t')
			if c == '"' {
				kind = 'q'
			}
			ts = append(ts, token{kind, b.String(), start})
		case c >= '0' && c <= '9' || c == '.':
			for i < len(s) && (isWordByte(s[i]) || s[i] == '.' || (s[i] == '+' || s[i] == '-') &&
				(s[i-1] == 'e' || s[i-1] == 'E')) {
				i++
			}
			ts = append(ts, token{'n', s[start:i], start})
		case isWordByte(c):
			for i < len(s) && isWordByte(s[i]) {
				i++
			}
			ts = append(ts, token{'w', s[start:i], start})
		default:
			i++
			if i < len(s) && s[i] == '=' && strings.IndexByte("!<>", c) >= 0 {
				i++
			}
			if strings.Contains(" = != < <= > >= + - * / ( ) , ", " "+s[start:i]+" ") {
				ts = append(ts, token{'o', s[start:i], start})
				continue
			}
			r, _ := utf8.DecodeRuneInString(s[start:])
			return nil, whereError(s, start, fmt.Sprintf("%q has no meaning here", r))
		}
	}
	return append(ts, token{0, "", len(s)}), nil
}

func isWordByte(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		c >= utf8.RuneSelf
}

func whereError(s string, at int, what string) error {
	rest := s[at:]
	if len(rest) > 20 {
		rest = strings.ToValidUTF8(rest[:20], "") + "…"
	}
	if rest == "" {
		rest = "the end"
	} else {
		rest = strconv.Quote(rest)
	}
	return usagef("--where: %s, at %s (character %d)", what, rest, utf8.RuneCountInString(s[:at])+1)
}

// parser reads tokens. The first error wins.
type parser struct {
	table
	text   string
	tokens []token
	depth  int
	err    error

	operators, literals int
}

// parseWhere reads a filter over the columns of a table.
func parseWhere(s string, t table) (*node, error) {
	tokens, err := lex(s)
	if err != nil {
		return nil, err
	}
	p := &parser{table: t, text: s, tokens: tokens}
	n := p.or()
	if p.operators > maxOperators || p.literals > maxLiterals {
		p.fail(0, "it has %d operators and %d literals, and may have %d and %d", p.operators, p.literals,
			maxOperators, maxLiterals)
	}
	if p.err == nil && p.tokens[0].kind != 0 {
		p.fail(p.tokens[0].at, "an operator is missing, or this is too much")
	}
	p.want(n, condition, 0)
	if p.err != nil {
		return nil, p.err
	}
	return n, nil
}

func (p *parser) fail(at int, format string, args ...any) {
	if p.err == nil {
		p.err = whereError(p.text, at, fmt.Sprintf(format, args...))
		p.tokens = p.tokens[len(p.tokens)-1:] // the end, where every loop stops
	}
}

// next takes the token if it is this operator or keyword.
func (p *parser) next(what string) bool {
	t := p.tokens[0]
	if t.kind == 'o' && t.text == what || t.kind == 'w' && strings.EqualFold(t.text, what) {
		p.tokens = p.tokens[1:]
		return true
	}
	return false
}

func (p *parser) must(what string) {
	if !p.next(what) {
		p.fail(p.tokens[0].at, "%s is missing", strings.ToUpper(what))
	}
}

// want checks the kind of an operand that began at a place.
func (p *parser) want(n *node, k kind, at int) {
	if p.err == nil && n.kind != k && !(k.numeric() && n.kind.numeric()) {
		p.fail(at, "this is %v, and %v is wanted", n.kind, k)
	}
}

func (p *parser) at() int { return p.tokens[0].at }

// enter counts nesting; leave undoes it.
func (p *parser) enter() {
	if p.depth++; p.depth > maxDepth {
		p.fail(p.at(), "it is nested too deeply")
	}
}
func (p *parser) leave() { p.depth-- }

func (p *parser) or() *node  { return p.join("or", p.and) }
func (p *parser) and() *node { return p.join("and", p.not) }

func (p *parser) join(op string, part func() *node) *node {
	at := p.at()
	n := part()
	for p.next(op) {
		p.operators++
		p.want(n, condition, at)
		at = p.at()
		right := part()
		p.want(right, condition, at)
		if n.op == op {
			n.args = append(n.args, right)
		} else {
			n = &node{op: op, kind: condition, args: []*node{n, right}}
		}
	}
	return n
}

func (p *parser) not() *node {
	p.enter()
	defer p.leave()
	if p.err != nil || !p.next("not") {
		return p.test()
	}
	at := p.at()
	n := p.not()
	p.want(n, condition, at)
	return &node{op: "not", kind: condition, args: []*node{n}}
}

func (p *parser) test() *node {
	at := p.at()
	left := p.sum()
	for _, op := range []string{"=", "!=", "<", "<=", ">", ">="} {
		if p.next(op) {
			p.value(left, at)
			at := p.at()
			right := p.sum()
			p.value(right, at)
			p.want(right, left.kind, at)
			return p.options.byName(&node{op: op, kind: condition, args: []*node{left, right}})
		}
	}
	if p.next("is") {
		p.value(left, at)
		n := &node{op: "null", kind: condition, args: []*node{left}, not: p.next("not")}
		p.must("null")
		return n
	}
	n := &node{kind: condition, args: []*node{left}, not: p.next("not")}
	switch {
	case p.next("in"):
		p.value(left, at)
		n.op = "in"
		p.must("(")
		for {
			at := p.at()
			item := p.literal()
			p.want(item, left.kind, at)
			n.list = append(n.list, item)
			if !p.next(",") {
				break
			}
		}
		p.must(")")
		return p.options.byName(n)
	case p.next("between"):
		p.value(left, at)
		n.op = "between"
		for i := range 2 {
			if i == 1 {
				p.must("and")
			}
			at := p.at()
			bound := p.sum()
			p.want(bound, left.kind, at)
			n.args = append(n.args, bound)
		}
	case p.next("like"):
		p.want(left, text, at)
		n.op = "like"
		at := p.at()
		pattern := p.literal()
		p.want(pattern, text, at)
		n.lit = pattern.lit
	case n.not:
		p.fail(p.at(), "IN, BETWEEN or LIKE is missing")
	default:
		return left
	}
	return n
}

// value refuses what has no value to compare.
func (p *parser) value(n *node, at int) {
	if p.err == nil && (n.kind == condition || n.kind == boxes || n.kind == points) {
		p.fail(at, "this is %v, and a number or text is wanted", n.kind)
	}
}

func (p *parser) sum() *node     { return p.arithmetic([]string{"+", "-"}, p.product) }
func (p *parser) product() *node { return p.arithmetic([]string{"*", "/"}, p.factor) }

func (p *parser) arithmetic(ops []string, part func() *node) *node {
	at := p.at()
	n := part()
	for {
		op := ""
		for _, o := range ops {
			if op == "" && p.next(o) {
				op = o
			}
		}
		if op == "" {
			return n
		}
		p.operators++
		p.want(n, integer, at)
		at = p.at()
		right := part()
		p.want(right, integer, at)
		n = &node{op: op, kind: real, args: []*node{n, right}}
	}
}

func (p *parser) factor() *node {
	p.enter()
	defer p.leave()
	t := p.tokens[0]
	switch {
	case p.err != nil:
	case p.next("("):
		n := p.or()
		p.must(")")
		return n
	case t.kind == 'o' && t.text == "-":
		if next := p.tokens[1]; next.kind == 'n' {
			return p.literal()
		}
		p.tokens = p.tokens[1:]
		at := p.at()
		n := p.factor()
		p.want(n, integer, at)
		return &node{op: "-", kind: real, args: []*node{{op: "literal", kind: integer}, n}}
	case t.kind == 'n' || t.kind == 't':
		return p.literal()
	case t.kind == 'w' && p.tokens[1].kind == 'o' && p.tokens[1].text == "(":
		f := strings.ToLower(t.text)
		if f != "lower" && f != "upper" && f != "length" {
			p.fail(t.at, "there is no function %s: there are lower, upper, length", t.text)
			break
		}
		p.tokens = p.tokens[2:]
		at := p.at()
		n := &node{op: f, kind: text, args: []*node{p.sum()}}
		p.want(n.args[0], text, at)
		if f == "length" {
			n.kind = integer
		}
		p.must(")")
		return n
	case t.kind == 'w' || t.kind == 'q':
		i := p.find(t.text)
		if i < 0 || t.kind == 'w' && isKeyword(t.text) {
			p.fail(t.at, "%q is not a column%s", t.text, nearest.Among(t.text, names(p.columns)))
			break
		}
		p.tokens = p.tokens[1:]
		return &node{op: "column", kind: p.columns[i].kind, col: &p.columns[i]}
	default:
		p.fail(t.at, "a column, a number or 'text' is missing")
	}
	return &node{op: "literal"}
}

func isKeyword(word string) bool {
	switch strings.ToLower(word) {
	case "and", "or", "not", "in", "between", "like", "is", "null":
		return true
	}
	return false
}

// literal reads a number, which may have a sign, or text.
func (p *parser) literal() *node {
	p.literals++
	n := &node{op: "literal"}
	start := p.tokens[0]
	sign := ""
	if p.err == nil && p.next("-") {
		sign = "-"
	}
	t := p.tokens[0]
	switch {
	case p.err != nil:
	case t.kind == 't' && sign == "":
		n.kind, n.lit.s = text, t.text
		p.tokens = p.tokens[1:]
	case t.kind == 'n':
		var err error
		if n.lit.i, err = strconv.ParseInt(sign+t.text, 10, 64); err != nil {
			n.kind = real
			if n.lit.f, err = parseReal(sign + t.text); err != nil {
				p.fail(start.at, "this is not a number")
				return n
			}
		}
		p.tokens = p.tokens[1:]
	default:
		p.fail(start.at, "a number or 'text' is missing")
	}
	return n
}

// parseReal reads a real number in decimal notation.
func parseReal(s string) (float64, error) {
	if strings.ContainsAny(s, "xXpP_iInN") {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseFloat(s, 64)
}
