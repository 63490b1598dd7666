package help

import (
	"strings"
	"unicode"
)

// Block is a part of a page: a Heading, Paragraph, Code, List, Table or Terms.
type Block any

// Heading is a title; level 1 is the page's own.
type Heading struct {
	Level int
	Text  string
}

// Paragraph is running text, as Markdown.
type Paragraph string

// Code is lines that stay as they are.
type Code string

// List has bullets, each one paragraph.
type List []string

// Table has the same number of cells in each row as in its header.
type Table struct {
	Header []string
	Rows   [][]string
}

// Terms explains words one by one: flags, commands, topics. Markdown has none; pages of commands do.
type Terms []Term

// Term is a word with its explanation, as Markdown.
type Term struct{ Word, Text string }

// Parse reads the Markdown that topics are written in: headings with #, paragraphs, bullets with -, tables,
// and code that is fenced or indented. What else Markdown knows becomes paragraphs.
func Parse(markdown string) []Block {
	var blocks []Block
	lines := strings.Split(strings.ReplaceAll(markdown, "\r\n", "\n"), "\n")
	for len(lines) > 0 {
		line := lines[0]
		switch {
		case strings.TrimSpace(line) == "":
			lines = lines[1:]
		case strings.HasPrefix(line, "```"):
			n := span(lines[1:], func(l string) bool { return !strings.HasPrefix(l, "```") })
			blocks = append(blocks, Code(strings.Join(lines[1:1+n], "\n")))
			lines = lines[min(n+2, len(lines)):]
		case isIndented(line):
			n := span(lines, isIndented)
			var code []string
			for _, l := range lines[:n] {
				code = append(code, strings.TrimPrefix(strings.TrimPrefix(l, "\t"), "    "))
			}
			blocks, lines = append(blocks, Code(strings.Join(code, "\n"))), lines[n:]
		case headingLevel(line) > 0:
			level := headingLevel(line)
			blocks = append(blocks, Heading{level, strings.TrimSpace(line[level:])})
			lines = lines[1:]
		case isBullet(line):
			var list List
			list, lines = parseList(lines)
			blocks = append(blocks, list)
		case isTable(lines):
			n := span(lines, func(l string) bool { return strings.HasPrefix(l, "|") })
			blocks, lines = append(blocks, parseTable(lines[:n])), lines[n:]
		default:
			n := 1 + span(lines[1:], isText)
			blocks, lines = append(blocks, Paragraph(flow(lines[:n]))), lines[n:]
		}
	}
	return blocks
}

// span is how many lines from the first on are of a kind.
func span(lines []string, is func(string) bool) int {
	for i, l := range lines {
		if !is(l) {
			return i
		}
	}
	return len(lines)
}

func isIndented(line string) bool {
	return strings.TrimSpace(line) != "" && (strings.HasPrefix(line, "\t") || strings.HasPrefix(line, "    "))
}

func isBullet(line string) bool { return strings.HasPrefix(line, "- ") }

// isText reports whether a line goes on with the paragraph before it.
func isText(line string) bool {
	return strings.TrimSpace(line) != "" && headingLevel(line) == 0 && !isBullet(line) &&
		!strings.HasPrefix(line, "```")
}

func headingLevel(line string) int {
	n := len(line) - len(strings.TrimLeft(line, "#"))
	if n > 6 || !strings.HasPrefix(line[n:], " ") {
		return 0
	}
	return n
}

func flow(lines []string) string { return strings.Join(strings.Fields(strings.Join(lines, " ")), " ") }

func parseList(lines []string) (List, []string) {
	var list List
	for len(lines) > 0 && isBullet(lines[0]) {
		n := 1 + span(lines[1:], isText)
		list = append(list, strings.TrimPrefix(flow(lines[:n]), "- "))
		lines = lines[n:]
	}
	return list, lines
}

// isTable reports whether a table begins: a row, and below it one of dashes.
func isTable(lines []string) bool {
	return len(lines) > 1 && strings.HasPrefix(lines[0], "|") && strings.HasPrefix(lines[1], "|") &&
		strings.Contains(lines[1], "-") && strings.Trim(lines[1], "|-: ") == ""
}

func parseTable(lines []string) Table {
	t := Table{Header: cells(lines[0])}
	for _, l := range lines[2:] {
		row := append(cells(l), make([]string, len(t.Header))...)
		t.Rows = append(t.Rows, row[:len(t.Header)])
	}
	return t
}

// cells are those of a row; a bar within one is written \|.
func cells(line string) []string {
	line = strings.TrimSpace(line)
	if !strings.HasSuffix(line, `\|`) {
		line = strings.TrimSuffix(line, "|")
	}
	line = strings.ReplaceAll(strings.TrimPrefix(line, "|"), `\|`, "\x00")
	var out []string
	for c := range strings.SplitSeq(line, "|") {
		out = append(out, strings.ReplaceAll(strings.TrimSpace(c), "\x00", "|"))
	}
	return out
}

// inline is a piece of running text.
type inline struct {
	text   string
	code   bool   // `text`
	strong bool   // **text**
	target string // [text](target)
}

// inlines reads the markup within a paragraph.
func inlines(text string) []inline {
	var out []inline
	plain := func(s string) {
		if s != "" {
			out = append(out, inline{text: s})
		}
	}
	begin := 0
	for i := 0; i < len(text); {
		rest := text[i:]
		piece, size := inline{}, 0
		switch {
		case rest[0] == '`':
			ticks := rest[:len(rest)-len(strings.TrimLeft(rest, "`"))]
			if body, _, ok := strings.Cut(rest[len(ticks):], ticks); ok {
				piece, size = inline{text: trimCode(body), code: true}, len(body)+2*len(ticks)
			} else {
				i += len(ticks)
				continue
			}
		case strings.HasPrefix(rest, "**"):
			if body, _, ok := strings.Cut(rest[2:], "**"); ok && body != "" {
				piece, size = inline{text: strings.ReplaceAll(body, "`", ""), strong: true}, len(body)+4
			}
		case rest[0] == '[':
			body, after, ok := strings.Cut(rest[1:], "](")
			if target, _, closed := strings.Cut(after, ")"); ok && closed && !strings.Contains(body, "[") {
				piece = inline{text: strings.ReplaceAll(body, "`", ""), target: target}
				size = len(body) + len(target) + 4
			}
		}
		if size == 0 {
			i++
			continue
		}
		plain(text[begin:i])
		out = append(out, piece)
		i += size
		begin = i
	}
	plain(text[begin:])
	return out
}

// trimCode takes the spaces off that separate code from its ticks where it has ticks itself.
func trimCode(s string) string {
	if strings.HasPrefix(s, " `") || strings.HasSuffix(s, "` ") {
		return strings.TrimSpace(s)
	}
	return s
}

// topicOf is the topic that a link leads to; empty for other links.
func topicOf(target string) string {
	file, _, _ := strings.Cut(target, "#")
	name, isTopic := strings.CutSuffix(file, ".md")
	if !isTopic || strings.ContainsFunc(name, func(r rune) bool { return r == '/' || unicode.IsSpace(r) }) {
		return ""
	}
	return name
}
