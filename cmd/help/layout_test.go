package help

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestLayout has blocks at the widths where their lines just fit, and where they just do not.
func TestLayout(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		width  int
		blocks []Block
		want   string
	}{
		{"the least width", 1, []Block{Paragraph("Twelve words, of which the first six fill a line.")}, `
Twelve words, of which the
first six fill a line.
`},
		{"a line that is full", 30, []Block{Paragraph("Words that fill thirty columns of it.")}, `
Words that fill thirty columns
of it.
`},
		{"a word that is too long", 30, []Block{Paragraph("A https://host.example.org/too/long one.")}, `
A
https://host.example.org/too/long
one.
`},
		{"items", 30, []Block{List{"an item of twenty-eight cols", "an item of twenty-eight and more"}}, `
- an item of twenty-eight cols
- an item of twenty-eight and
  more
`},
		{"headings", 30, []Block{Heading{1, "A title that is longer than a line"}, Heading{2, "Below"},
			Heading{3, "Usage"}, Code("a"), Heading{3, "Done:"}, Heading{4, "More"}, Paragraph("b"),
			Heading{2, "Over"}, Heading{1, "and"}}, `
A title that is longer than a
line
==============================

Below
-----

Usage:
  a

Done:

More:
b

Over
----

and
===
`},
		{"code without comments", 30, []Block{Code("a line of code that is long 30\n" +
			"\ttabbed  \n\nb  #c")}, `
  a line of code that is long 30
  	tabbed

  b  #c
`},
		{"comments that fit", 30, []Block{Code("a    # as\nlonger line  # a comment cd\n" +
			"this one has none at all")}, `
  a            # as
  longer line  # a comment cd
  this one has none at all
`},
		{"comments that just fit", 30, []Block{Code("a  # as\nlonger  # a comment of 28 co\n\nb")}, `
  a       # as
  longer  # a comment of 28 co

  b
`},
		{"comments that just do not fit", 30, []Block{Code("a  # as\n" +
			"longer  # a comment of 29 col\n\nb  # c\nd")}, `
  # as
  a

  # a comment of 29 col
  longer

  # c
  b
  d
`},
		{"a comment that is too long", 30, []Block{Code("# this is all of it a comment, of two lines\n" +
			"# 28 columns, of code 30 its")}, `
  # this is all of it a
  # comment, of two lines
  # 28 columns, of code 30 its
`},
		{"commands", 30, []Block{Code("facescan run urls.txt --abcdef\n" + // 30 columns and the indent
			"facescan run urls.txt --abcd\n" +
			"facescan run a.txt b.txt --abcdefg\n" +
			"facescan export a.txt --abc b.csv\n" +
			"facescan --a-flag-of-its-own-that-is-longer-than-a-line -q\n" +
			"elsewhere run urls.txt --abcdef")}, `
  facescan run urls.txt \
    --abcdef
  facescan run urls.txt --abcd
  facescan run a.txt b.txt \
    --abcdefg
  facescan export a.txt \
    --abc b.csv
  facescan \
    --a-flag-of-its-own-that-is-longer-than-a-line \
    -q
  elsewhere run urls.txt --abcdef
`},
		{"commands that fill lines", 30, []Block{Code("facescan run urls.txt -abc -defghi -abcdefgh\n" +
			"facescan run urls.txt abcd -e -f 'g h' -- -i\n" +
			"facescan run  urls.txt --abc\n" + // it just fits, and stays as it is
			"facescan run urls.txt -abcdefghijkl -mnopqrstuvw\n" +
			"facescan run urls.txt -abcd -e\n" + // with its backslash the first line is one too long
			"facescan run urls.txt -abcdefgh # what it does")}, `
  facescan run urls.txt -abc \
    -defghi -abcdefgh
  facescan run urls.txt abcd \
    -e -f 'g h' -- -i
  facescan run  urls.txt --abc
  facescan run urls.txt \
    -abcdefghijkl -mnopqrstuvw
  facescan run urls.txt \
    -abcd -e
  facescan run urls.txt \
    -abcdefgh # what it does
`},
		{"terms of a few letters", 30, []Block{Terms{{"a", "what it does"}, {"bcd", "more"}}}, `
  a     what it does
  bcd   more
`},
		{"terms up to a third of the line", 66, []Block{Terms{{"a-flag-of-18-signs", "one"},
			{"a-flag-of-19-signs-", "two"}, {"a-flag-of-17-sign", "a text that fills its column, and is " +
				"wrapped"}}}, `
  a-flag-of-18-signs  one
  a-flag-of-19-signs-
                      two
  a-flag-of-17-sign   a text that fills its column, and is wrapped
`},
		{"columns that fill the line", 30, []Block{Table{[]string{"a", "b", "c"}, [][]string{
			{"one two 345", "six seven e", "wxyz"}, {"", "y", "z"}}}}, `
a            b            c
-----------  -----------  ----
one two 345  six seven e  wxyz
             y            z
`},
		{"of equal columns the first is narrowed", 31, []Block{Table{[]string{"a", "b"}, [][]string{
			{"one two three 4", "six seven eight"}}}}, `
a               b
--------------  ---------------
one two three   six seven eight
4
`},
		{"the widest column is narrowed", 30, []Block{Table{[]string{"a", "b", "c"}, [][]string{
			{"one two", "six seven eight", "ten"}}}}, `
a        b                c
-------  ---------------  ---
one two  six seven eight  ten
`},
		{"columns of words that just fit", 30, []Block{Table{[]string{"ab", "cd"}, [][]string{
			{"twentyletterlongword and more", "eightlet ters"}}}}, `
ab                    cd
--------------------  --------
twentyletterlongword  eightlet
and more              ters
`},
		{"columns of words that do not fit", 30, []Block{Table{[]string{"ab", "cd"}, [][]string{
			{"twentyletterlongwords and more", "eightlet ters"}, {"", "x"}, {"y", ""}}}}, `
ab: twentyletterlongwords
  and more
cd: eightlet ters

cd: x

ab: y
`},
	} {
		if got := "\n" + Text(c.blocks, c.width); got != c.want {
			t.Errorf("%s:%s\nwant:%s", c.name, got, c.want)
		}
	}
}

// TestManual is a whole manual page, with a table that is narrowed to its width.
func TestManual(t *testing.T) {
	t.Parallel()
	got := Page{Name: "x-y", Section: "1", Summary: "`A` title", Date: "2026-11-28", Release: "facescan 1",
		Blocks: []Block{
			Heading{2, `"Quoted" it's`}, Paragraph(strings.Repeat("ten chars ", 7) + "x and the rest."),
			Paragraph("Another."), Heading{3, "Below"}, Code("a\n.b"), Code("c  # d"),
			Heading{1, "Above"}, List{"e", "f"}, Table{[]string{"-a", "b"}, [][]string{
				{".c", strings.Repeat("ten chars ", 7)}, {"d", "`e`"}, {"", strings.Repeat("ten chars ", 6) +
					"sixsix"}}},
			Paragraph("."), Terms{{"-q", ".g"}, {"-v", "h"}}, Code("i"),
		}}.Roff()
	const want = "'\\\" t\n" + `.TH "X-Y" "1" "2026-11-28" "facescan 1" "facescan manual"
.nh
.ad l
.SH NAME
x\-y \- A title
.SH "\(dqQUOTED\(dq IT\(aqS"
ten chars ten chars ten chars ten chars ten chars ten chars ten chars x
and the rest.
.PP
Another.
.SS "Below"
.nf
.RS 4
a
\&.b
.RE
.fi
.PP
.nf
.RS 4
c  # d
.RE
.fi
.SH "ABOVE"
.IP \(bu 2
e
.IP \(bu 2
f
.TS
lBw(2n) lBw(66n)
lw(2n) lw(66n).
\-a	b
\&.c	T{
ten chars ten chars ten chars ten chars ten chars ten chars ten chars
T}
d	\fBe\fR
	ten chars ten chars ten chars ten chars ten chars ten chars sixsix
.TE
.PP
\&.
.TP
\fB\-q\fR
\&.g
.TP
\fB\-v\fR
h
.PP
.nf
.RS 4
i
.RE
.fi
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
