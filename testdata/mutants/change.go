package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
)

// change replaces the bytes [from,to) of a file.
type change struct {
	path     string
	from, to int
	with     string
	at       token.Position
	was      string
}

func (c change) String() string {
	return fmt.Sprintf("%s:%d:%d: %s → %s", c.path, c.at.Line, c.at.Column, short(c.was), short(c.with))
}

func short(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:57]) + "…"
	}
	return s
}

// apply returns the file with the change.
func (c change) apply() ([]byte, error) {
	text, err := os.ReadFile(c.path)
	if err != nil {
		return nil, err
	}
	return append(append(append([]byte{}, text[:c.from]...), c.with...), text[c.to:]...), nil
}

// swapped are the operators, each with the one that takes its place.
var swapped = map[token.Token]token.Token{
	token.EQL: token.NEQ, token.NEQ: token.EQL,
	token.LSS: token.LEQ, token.LEQ: token.LSS, token.GTR: token.GEQ, token.GEQ: token.GTR,
	token.LAND: token.LOR, token.LOR: token.LAND,
	token.ADD: token.SUB, token.SUB: token.ADD, token.MUL: token.QUO, token.QUO: token.MUL,
	token.SHL: token.SHR, token.SHR: token.SHL, token.AND: token.OR, token.OR: token.AND,
	token.INC: token.DEC, token.DEC: token.INC,
	token.ADD_ASSIGN: token.SUB_ASSIGN, token.SUB_ASSIGN: token.ADD_ASSIGN,
}

// changes are all that can be made to the files of a package that are written by hand.
func (p pkg) changes() (all []change, err error) {
	for _, name := range append(append([]string{}, p.GoFiles...), p.CgoFiles...) {
		path := filepath.Join(p.Dir, name)
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		found, err := changes(path, text)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

func changes(path string, text []byte) (all []change, err error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	if ast.IsGenerated(file) {
		return nil, nil
	}
	add := func(from, to token.Pos, with func(was string) string) {
		at := set.Position(from)
		was := string(text[at.Offset:set.Position(to).Offset])
		all = append(all, change{path: path, from: at.Offset, to: at.Offset + len(was), with: with(was),
			at: at, was: was})
	}
	swap := func(at token.Pos, op token.Token) {
		if other, ok := swapped[op]; ok {
			add(at, at+token.Pos(len(op.String())), func(string) string { return other.String() })
		}
	}
	turn := func(cond ast.Expr) {
		add(cond.Pos(), cond.End(), func(was string) string { return "!(" + was + ")" })
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field:
			return n.Tag == nil
		case *ast.BinaryExpr:
			swap(n.OpPos, n.Op)
		case *ast.IncDecStmt:
			swap(n.TokPos, n.Tok)
		case *ast.AssignStmt:
			swap(n.TokPos, n.Tok)
		case *ast.UnaryExpr:
			if n.Op == token.NOT {
				add(n.OpPos, n.OpPos+1, func(string) string { return "" })
			}
		case *ast.IfStmt: // not *ast.ForStmt: most loops would never end, which is noticed for nothing
			turn(n.Cond)
		case *ast.BasicLit:
			if n.Kind == token.INT {
				add(n.Pos(), n.End(), func(was string) string {
					if len(was)%2 == 0 {
						return "(" + was + " - 1)"
					}
					return "(" + was + " + 1)"
				})
			}
		case *ast.ReturnStmt:
			for _, r := range n.Results {
				if id, ok := r.(*ast.Ident); ok && id.Name == "err" {
					add(id.Pos(), id.End(), func(string) string { return "nil" })
				}
			}
		case *ast.Ident:
			switch n.Name {
			case "true":
				add(n.Pos(), n.End(), func(string) string { return "false" })
			case "false":
				add(n.Pos(), n.End(), func(string) string { return "true" })
			}
		}
		return true
	})
	return all, nil
}
