package export

import (
	"fmt"
	"strings"

	"facescan/store"
)

// SQL translates the filter into a condition for a WHERE clause that passes the same rows. The user's text is
// in it only as arguments, numbered from first for Postgres. Column returns the expression for a column of an
// export, with the same type and NULL where the export has it; empty if there is none. Filters over faces
// cannot be translated.
func (f *Filter) SQL(d store.Dialect, first int, column func(name string) string) (condition string,
	args []any, err error) {
	c := &compiler{dialect: d, first: first, column: column}
	c.write(f.root)
	return c.out.String(), c.args, c.err
}

type compiler struct {
	dialect store.Dialect
	first   int
	column  func(string) string
	out     strings.Builder
	args    []any
	err     error
}

// write writes a node. Every operand is in parentheses, so that a database's precedences do not matter.
func (c *compiler) write(n *node) {
	switch n.op {
	case "literal":
		c.literal(n)
	case "column":
		expr := ""
		if n.col.mark != listed { // a list may call a column as a job calls one of its own
			expr = c.column(n.col.name)
		}
		if expr == "" && c.err == nil {
			c.err = usagef("--where: the column %s cannot be asked for here", n.col.name)
		}
		c.print("(", expr, ")")
	case "or", "and":
		for i, a := range n.args {
			if i > 0 {
				c.print(" ", strings.ToUpper(n.op), " ")
			}
			c.group(a)
		}
	case "not":
		c.print("NOT ")
		c.group(n.args[0])
	case "null":
		c.group(n.args[0])
		c.print(" IS ", negation(n), "NULL")
	case "in":
		c.operand(n.args[0])
		c.print(" ", negation(n), "IN (")
		for i, item := range n.list {
			if i > 0 {
				c.print(", ")
			}
			c.literal(item)
		}
		c.print(")")
	case "between":
		c.operand(n.args[0])
		c.print(" ", negation(n), "BETWEEN ")
		c.operand(n.args[1])
		c.print(" AND ")
		c.operand(n.args[2])
	case "like":
		c.operand(n.args[0])
		if c.dialect == store.SQLite { // whose LIKE ignores case
			c.print(" ", negation(n), "GLOB ")
			c.bind(globOf(n.lit.s))
		} else {
			c.print(" ", negation(n), "LIKE ")
			c.bind(n.lit.s)
			c.print(" ESCAPE ''")
		}
	case "lower", "upper":
		c.print(n.op)
		c.print("(")
		c.operand(n.args[0])
		c.print(")")
	case "length":
		c.print("length")
		c.group(n.args[0])
	case "+", "-", "*", "/":
		c.real(n.args[0])
		c.print(" ", n.op, " ")
		if n.op == "/" {
			c.print("NULLIF(")
		}
		c.real(n.args[1])
		if n.op == "/" {
			c.print(", 0)")
		}
	default: // comparisons
		c.operand(n.args[0])
		c.print(" ", n.op, " ")
		c.operand(n.args[1])
	}
}

func negation(n *node) string {
	if n.not {
		return "NOT "
	}
	return ""
}

func (c *compiler) print(parts ...string) {
	for _, p := range parts {
		c.out.WriteString(p)
	}
}

func (c *compiler) group(n *node) {
	c.print("(")
	c.write(n)
	c.print(")")
}

// operand writes what is compared; text byte by byte, whichever collation a column has.
func (c *compiler) operand(n *node) {
	if n.kind != text {
		c.group(n)
		return
	}
	c.print("(")
	c.group(n)
	if c.dialect == store.SQLite {
		c.print(" COLLATE BINARY)")
	} else {
		c.print(` COLLATE "C")`)
	}
}

func (c *compiler) real(n *node) {
	c.print("CAST(")
	c.group(n)
	if c.dialect == store.SQLite {
		c.print(" AS REAL)")
	} else {
		c.print(" AS double precision)")
	}
}

// literal binds a literal; Postgres has to be told its type.
func (c *compiler) literal(n *node) {
	switch n.kind {
	case integer:
		c.cast(n.lit.i, "bigint")
	case real:
		c.cast(n.lit.f, "double precision")
	case text:
		c.cast(n.lit.s, "text")
	}
}

func (c *compiler) cast(v any, as string) {
	if c.dialect == store.SQLite {
		c.bind(v)
		return
	}
	c.print("CAST(")
	c.bind(v)
	c.print(" AS ", as, ")")
}

func (c *compiler) bind(v any) {
	if c.dialect == store.SQLite {
		c.print("?")
	} else {
		fmt.Fprintf(&c.out, "$%d", c.first+len(c.args))
	}
	c.args = append(c.args, v)
}

// globOf is SQLite's GLOB pattern for one of LIKE.
func globOf(like string) string {
	return strings.NewReplacer("%", "*", "_", "?", "*", "[*]", "?", "[?]", "[", "[[]").Replace(like)
}
