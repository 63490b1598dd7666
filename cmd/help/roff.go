package help

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Page is a manual page.
type Page struct {
	Name    string // facescan-run
	Section string // 1 for commands, 7 for topics
	Summary string
	Date    string // of the release, as 2026-11-28; may be empty
	Release string // facescan 1.2.3
	Blocks  []Block
	Text    []Block // the same for a terminal, as help shows it
}

// manWidth is what a manual page has room for beside its margin, on a terminal of 80 columns. Between the
// columns of a table tbl(1) leaves one blank more than we do.
const manWidth = 71

// Roff is the page in the language of man(1), with tables for tbl(1).
func (p Page) Roff() string {
	var b strings.Builder
	b.WriteString("'\\\" t\n")
	fmt.Fprintf(&b, ".TH %q %q %q %q %q\n", strings.ToUpper(p.Name), p.Section, p.Date, p.Release,
		"facescan manual")
	b.WriteString(".nh\n.ad l\n") // no hyphens within words, no gaps between them
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roffText(p.Name), roffText(plain(p.Summary)))
	after := false // a paragraph that follows a heading needs no macro
	for _, block := range p.Blocks {
		switch block := block.(type) {
		case Heading:
			macro, text := ".SS", plain(block.Text)
			if block.Level <= 2 {
				macro, text = ".SH", strings.ToUpper(text)
			}
			b.WriteString(macro + ` "` + strings.ReplaceAll(roffEscape(text), `"`, `\(dq`) + "\"\n")
		case Paragraph:
			if !after {
				b.WriteString(".PP\n")
			}
			writeRoff(&b, string(block))
		case Code:
			if !after {
				b.WriteString(".PP\n")
			}
			b.WriteString(".nf\n.RS 4\n")
			for _, line := range withComments(strings.Split(string(block), "\n"), manWidth) {
				b.WriteString(roffText(line) + "\n")
			}
			b.WriteString(".RE\n.fi\n")
		case List:
			for _, item := range block {
				b.WriteString(".IP \\(bu 2\n")
				writeRoff(&b, item)
			}
		case Table:
			writeRoffTable(&b, block)
		case Terms:
			for _, t := range block {
				b.WriteString(".TP\n\\fB" + roffText(t.Word) + "\\fR\n")
				writeRoff(&b, t.Text)
			}
		}
		_, after = block.(Heading)
	}
	return b.String()
}

// writeRoff writes running text in lines of its own.
func writeRoff(b *strings.Builder, markdown string) {
	for _, line := range wrap(roffInline(markdown), manWidth) {
		b.WriteString(guard(line) + "\n")
	}
}

func roffInline(markdown string) string {
	var b strings.Builder
	for _, in := range inlines(markdown) {
		text := roffEscape(in.text)
		switch topic := topicOf(in.target); {
		case topic != "":
			text = `\fB` + roffEscape(ManName(topic)) + `\fR(7)`
		case strings.Contains(in.target, "://") && in.target != in.text:
			text += " (" + roffEscape(in.target) + ")"
		case in.code, in.strong:
			text = `\fB` + text + `\fR`
		}
		b.WriteString(text)
	}
	return b.String()
}

// ManName is the name of the manual page of a command or topic.
func ManName(name string) string { return "facescan-" + strings.ReplaceAll(name, " ", "-") }

// roffText is text as it stands, on a line of its own.
func roffText(text string) string { return guard(roffEscape(text)) }

// guard keeps a line from being read as a request; one that begins with a quote has that escaped.
func guard(line string) string {
	if strings.HasPrefix(line, ".") {
		return `\&` + line
	}
	return line
}

var roffEscapes = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`,
	"^", `\(ha`, "~", `\(ti`)

func roffEscape(text string) string {
	var b strings.Builder
	for _, r := range roffEscapes.Replace(text) {
		if r > utf8.RuneSelf {
			fmt.Fprintf(&b, `\[u%04X]`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func writeRoffTable(b *strings.Builder, t Table) {
	rows := [][]string{}
	for _, row := range append([][]string{t.Header}, t.Rows...) {
		var texts []string
		for _, c := range row {
			texts = append(texts, plain(c))
		}
		rows = append(rows, texts)
	}
	widths, _ := columnWidths(rows, manWidth-(len(t.Header)-1))
	b.WriteString(".TS\n")
	for i, font := range []string{"lB", "l"} {
		for c, n := range widths {
			if c > 0 {
				b.WriteByte(' ')
			}
			fmt.Fprintf(b, "%sw(%dn)", font, n)
		}
		b.WriteString([]string{"\n", ".\n"}[i])
	}
	for y, row := range append([][]string{t.Header}, t.Rows...) {
		for c, cell := range row {
			if c > 0 {
				b.WriteByte('\t')
			}
			if utf8.RuneCountInString(rows[y][c]) > widths[c] {
				b.WriteString("T{\n")
				writeRoff(b, cell)
				b.WriteString("T}")
			} else {
				b.WriteString(guard(roffInline(cell)))
			}
		}
		b.WriteByte('\n')
	}
	b.WriteString(".TE\n")
}
