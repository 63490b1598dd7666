package help

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

const page = `# A title

Some text with ` + "`code`" + `, **weight**, [a topic](where.md)
and [a page](https://example.org/a-b), over two lines.
- first item,
  longer
- second

| name | what it is |
|---|---|
| ` + "`a`" + ` | short |
| b | ` + "`x\\|y`" + ` and a text that is long enough to be wrapped |

## Below
` + "```sh" + `
facescan run urls.txt --out 'a b.csv'   # note
  # no heading
` + "```" + `
Goodbye.
`

func TestParse(t *testing.T) {
	want := []Block{
		Heading{1, "A title"},
		Paragraph("Some text with `code`, **weight**, [a topic](where.md) and " +
			"[a page](https://example.org/a-b), over two lines."),
		List{"first item, longer", "second"},
		Table{[]string{"name", "what it is"}, [][]string{{"`a`", "short"},
			{"b", "`x|y` and a text that is long enough to be wrapped"}}},
		Heading{2, "Below"},
		Code("facescan run urls.txt --out 'a b.csv'   # note\n  # no heading"),
		Paragraph("Goodbye."),
	}
	if diff := cmp.Diff(want, Parse(page)); diff != "" {
		t.Error(diff)
	}
}

func TestText(t *testing.T) {
	want := `A title
=======

Some text with code, weight, a topic and
a page (https://example.org/a-b), over
two lines.

- first item, longer
- second

name  what it is
----  ----------------------------------
a     short
b     x|y and a text that is long enough
      to be wrapped

Below
-----

  # note
  facescan run urls.txt --out 'a b.csv'
    # no heading

Goodbye.
`
	if diff := cmp.Diff(want, Text(Parse(page), 40)); diff != "" {
		t.Error(diff)
	}
	narrow := Text([]Block{Table{[]string{"reason", "what to do"},
		[][]string{{"private_address", "see politeness-and-privacy"}}}}, 30)
	if want := "reason: private_address\nwhat to do: see\n  politeness-and-privacy\n"; narrow != want {
		t.Errorf("a table that does not fit is\n%s", narrow)
	}
	terms := Text([]Block{Terms{{"-o, --output FILE", "file to write"}, {"-q", "errors only"},
		{"--a-flag-that-is-very-long NAME", "what it does"}}}, 66)
	if want := `  -o, --output FILE  file to write
  -q                 errors only
  --a-flag-that-is-very-long NAME
                     what it does
`; terms != want {
		t.Errorf("terms are\n%s", terms)
	}
}

func TestRoff(t *testing.T) {
	got := Page{Name: "facescan-x", Section: "7", Summary: "A title", Release: "facescan 1", Blocks: append(
		Parse(page), Paragraph(".begins with a dot \\ it's"), Terms{{"-q", "quiet"}})}.Roff()
	for _, want := range []string{
		"'\\\" t\n.TH \"FACESCAN-X\" \"7\" \"\" \"facescan 1\" \"facescan manual\"\n",
		".SH NAME\nfacescan\\-x \\- A title\n",
		"Some text with \\fBcode\\fR, \\fBweight\\fR, \\fBfacescan\\-where\\fR(7) ",
		"(https://example.org/a\\-b)",
		".IP \\(bu 2\nfirst item, longer\n",
		".TS\nlBw(4n) lBw(48n)\nlw(4n) lw(48n).\nname\twhat it is\n\\fBa\\fR\tshort\n",
		".SH \"BELOW\"\n",
		".nf\n.RS 4\nfacescan run urls.txt \\-\\-out \\(aqa b.csv\\(aq  # note\n",
		"\n\\&.begins with a dot \\e it\\(aqs\n",
		".TP\n\\fB\\-q\\fR\nquiet\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q:\n%s", want, got)
		}
	}
}

// TestTopicsAreTheSubset: topics have only what the renderers know, and read well where they are not
// rendered.
func TestTopicsAreTheSubset(t *testing.T) {
	entries, err := files.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(Topics()) {
		t.Errorf("%d files, %d topics", len(entries), len(Topics()))
	}
	for _, topic := range Topics() {
		if n := utf8.RuneCountInString(topic.Title); n > 60 || strings.ContainsAny(topic.Title, "`*[") {
			t.Errorf("%s has the title %q", topic.Name, topic.Title)
		}
		if title := topic.Blocks[0]; title != (Heading{1, topic.Title}) {
			t.Errorf("%s begins with %v", topic.Name, title)
		}
		for _, b := range topic.Blocks[1:] {
			switch b := b.(type) {
			case Heading:
				if b.Level != 2 {
					t.Errorf("%s has a heading of level %d", topic.Name, b.Level)
				}
			case Paragraph:
				if strings.ContainsAny(string(b)[:1], "|>*+1234567890") || strings.Contains(string(b), "![") {
					t.Errorf("%s has Markdown that is not rendered: %s", topic.Name, b)
				}
			}
		}
		text, _ := files.ReadFile(topic.Name + ".md")
		for line := range strings.Lines(string(text)) {
			if !strings.HasPrefix(line, "|") && utf8.RuneCountInString(line) > 111 {
				t.Errorf("%s has a line of %d columns: %s", topic.Name, len(line), line)
			}
		}
	}
}

// FuzzPages: any page is rendered at any width, with all of its words.
func FuzzPages(f *testing.F) {
	f.Add(page, 40)
	f.Add("| a |\n|-|\n|", 1)
	f.Add("```\n", 0)
	f.Add("- `x", -1)
	f.Add("[a](b", 80)
	f.Fuzz(func(t *testing.T, markdown string, width int) {
		blocks := Parse(markdown)
		text := Text(blocks, width%300)
		for _, b := range blocks {
			if p, ok := b.(Paragraph); ok {
				for _, word := range strings.Fields(plain(string(p))) {
					if !strings.Contains(text, word) {
						t.Fatalf("lacks %q:\n%s", word, text)
					}
				}
			}
		}
		for line := range strings.Lines(Page{Name: "x", Blocks: blocks}.Roff()) {
			if strings.HasPrefix(line, "'") && !strings.HasPrefix(line, `'\" t`) {
				t.Fatalf("a line is a request: %s", line)
			}
		}
	})
}

// TestTableAtEnd: a table may consist of a head alone, with nothing behind it.
func TestTableAtEnd(t *testing.T) {
	t.Parallel()
	blocks := Parse("text\n\n| word | meaning |\n|---|---|")
	if len(blocks) != 2 {
		t.Fatalf("%d blocks: %v", len(blocks), blocks)
	}
	if _, is := blocks[1].(Table); !is {
		t.Errorf("%T", blocks[1])
	}
}

// TestLongCommand: an example that is too long goes on behind backslashes, to its last word, and flags stay
// with their values.
func TestLongCommand(t *testing.T) {
	t.Parallel()
	text := Text([]Block{Code("facescan run first.txt second.txt --out faces.csv --listen 127.0.0.1:9187 -q")}, 40)
	joined := strings.Join(strings.Fields(strings.ReplaceAll(text, "\\\n", " ")), " ")
	if joined != "facescan run first.txt second.txt --out faces.csv --listen 127.0.0.1:9187 -q" {
		t.Errorf("%q", joined)
	}
	for line := range strings.Lines(text) {
		words := strings.Fields(strings.TrimSuffix(strings.TrimSpace(line), "\\"))
		if last := words[len(words)-1]; last == "--out" || last == "--listen" || len(line) > 41 {
			t.Errorf("a line is %q", line)
		}
	}
	if n := strings.Count(text, "\n"); n < 2 {
		t.Errorf("%d lines:\n%s", n, text)
	}
}
