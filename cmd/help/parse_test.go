package help

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestParseForms has the forms that are near to one another: what is one, and what is a paragraph.
func TestParseForms(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff(Parse(page), Parse(strings.ReplaceAll(page, "\n", "\r\n"))); diff != "" {
		t.Errorf("with line ends of Windows:\n%s", diff)
	}
	for _, c := range []struct {
		markdown string
		want     []Block
	}{
		{"", nil},
		{"    a\n\tb\n      c\n     \n    d\ntext",
			[]Block{Code("a\nb\n  c"), Code("d"), Paragraph("text")}},
		{"```\na\nb", []Block{Code("a\nb")}},
		{"```\n```\ntext\n```\na\n```", []Block{Code(""), Paragraph("text"), Code("a")}},
		{"###### six", []Block{Heading{6, "six"}}},
		{"####### seven", []Block{Paragraph("####### seven")}},
		{"#hashtag", []Block{Paragraph("#hashtag")}},
		{"text\n# title\n- a\n# title\n- b\n- c\n```\nd\n```", []Block{Paragraph("text"), Heading{1, "title"},
			List{"a"}, Heading{1, "title"}, List{"b", "c"}, Code("d")}},
		{"text\n    more\n- a\n\ntext", []Block{Paragraph("text more"), List{"a"}, Paragraph("text")}},
		{"-a", []Block{Paragraph("-a")}},
		{"| a | b |\n|---|:-:|\n| 1 |\n| 1 | 2 | 3 |\n| 1 | 2\\|\n|| 2 |\ntext", []Block{
			Table{[]string{"a", "b"}, [][]string{{"1", ""}, {"1", "2"}, {"1", "2|"}, {"", "2"}}},
			Paragraph("text")}},
		{"| a |", []Block{Paragraph("| a |")}},
		{"| a |\n| -b |", []Block{Paragraph("| a | | -b |")}},
		{"| a |\n|  |", []Block{Paragraph("| a | | |")}},
		{"| a |\n---", []Block{Paragraph("| a | ---")}},
		{"a | b\n|---|", []Block{Paragraph("a | b |---|")}},
	} {
		if diff := cmp.Diff(c.want, Parse(c.markdown)); diff != "" {
			t.Errorf("%q:\n%s", c.markdown, diff)
		}
	}
}

// TestInline has the markup within text, as a terminal and as a manual page show it.
func TestInline(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ markdown, text, roff string }{
		{"a `b` c", "a b c", `a \fBb\fR c`},
		{"`` `b` `` c", "`b` c", `\fB\(gab\(ga\fR c`},
		{"``a ` `` c", "a ` c", `\fBa \(ga\fR c`},
		{"a `b", "a `b", `a \(gab`},
		{"a ``b`", "a ``b`", `a \(ga\(gab\(ga`},
		{"**a `b` c** d", "a b c d", `\fBa b c\fR d`},
		{"a **** b", "a **** b", "a **** b"},
		{"a ** b", "a ** b", "a ** b"},
		{"see [lists](lists.md), or", "see facescan help lists, or", `see \fBfacescan\-lists\fR(7), or`},
		{"see [the `x`](lists.md#below).", "see the x.", `see \fBfacescan\-lists\fR(7).`},
		{"[a](https://h/b.md) c", "a (https://h/b.md) c", `a (https://h/b.md) c`},
		{"[https://h/b](https://h/b)", "https://h/b", "https://h/b"},
		{"[a](a/lists.md)", "a", "a"},
		{"[a](#below) b", "a b", "a b"},
		{"[a](b", "[a](b", "[a](b"},
		{"[a] (b)", "[a] (b)", "[a] (b)"},
		{"[a [b](https://h/)", "[a b (https://h/)", "[a b (https://h/)"},
		{"~ ^ ' \\ …", "~ ^ ' \\ …", `\(ti \(ha \(aq \e \[u2026]`},
	} {
		if got := Text([]Block{Paragraph(c.markdown)}, 80); got != c.text+"\n" {
			t.Errorf("%s is %q, want %q", c.markdown, got, c.text)
		}
		got := Page{Blocks: []Block{Paragraph(c.markdown)}}.Roff()
		if _, got, _ = strings.Cut(got, ".PP\n"); got != c.roff+"\n" {
			t.Errorf("%s is %q in a manual, want %q", c.markdown, got, c.roff)
		}
	}
}

// TestFind: a topic is found by its name, in capitals or not.
func TestFind(t *testing.T) {
	t.Parallel()
	for i, want := range Topics() {
		got, ok := Find(strings.ToUpper(want.Name))
		if !ok || got.Name != want.Name || got.Name != names[i] || got.Title == "" || len(got.Blocks) < 2 {
			t.Errorf("%s is %v, %v", want.Name, got.Name, ok)
		}
	}
	if got, ok := Find("nothing"); ok || got.Name != "" {
		t.Errorf("nothing is %v", got)
	}
}

// TestShellWords: quotes keep words together, and a comment is the last word.
func TestShellWords(t *testing.T) {
	t.Parallel()
	for line, want := range map[string][]string{
		"":                       nil,
		"a":                      {"a"},
		" a  bc d ":              {"a", "bc", "d"},
		`a 'b c' "d e'f" g`:      {"a", "'b c'", `"d e'f"`, "g"},
		`x='a # b' c#d`:          {"x='a # b'", "c#d"},
		"a  # a comment, whole":  {"a", "# a comment, whole"},
		"# 'a comment at once b": {"# 'a comment at once b"},
		"a 'open # b":            {"a", "'open # b"},
	} {
		if diff := cmp.Diff(want, ShellWords(line)); diff != "" {
			t.Errorf("%q:\n%s", line, diff)
		}
	}
}
