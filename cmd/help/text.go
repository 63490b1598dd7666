package help

import (
	"strings"
	"unicode/utf8"
)

// minWidth is the narrowest page: a smaller terminal breaks its lines.
const minWidth = 30

// Text is a page as a terminal of that many columns shows it, without colours or other markup.
func Text(blocks []Block, width int) string {
	w := max(width, minWidth)
	column := termColumn(blocks, w)
	var b strings.Builder
	for i, block := range blocks {
		if _, first := block.(Heading); i > 0 && !(isSmallHeading(blocks[i-1]) && !first) {
			b.WriteByte('\n')
		}
		switch block := block.(type) {
		case Heading:
			writeHeading(&b, block, w)
		case Paragraph:
			writeWrapped(&b, plain(string(block)), "", "", w)
		case Code:
			for _, line := range withComments(strings.Split(string(block), "\n"), w-codeIndent) {
				writeCode(&b, line, w)
			}
		case List:
			for _, item := range block {
				writeWrapped(&b, plain(item), "- ", "  ", w)
			}
		case Table:
			writeTable(&b, block, w)
		case Terms:
			for _, t := range block {
				writeTerm(&b, t, column, w)
			}
		}
	}
	return b.String()
}

// isSmallHeading reports whether what follows stands close below the block.
func isSmallHeading(b Block) bool {
	h, is := b.(Heading)
	return is && h.Level > 2
}

func writeHeading(b *strings.Builder, h Heading, w int) {
	text := plain(h.Text)
	switch h.Level {
	case 1, 2:
		rule := "="
		if h.Level == 2 {
			rule = "-"
		}
		writeWrapped(b, text, "", "", w)
		b.WriteString(strings.Repeat(rule, min(utf8.RuneCountInString(text), w)) + "\n")
	default:
		writeWrapped(b, strings.TrimSuffix(text, ":")+":", "", "", w)
	}
}

// plain is running text without its markup.
func plain(markdown string) string {
	var b strings.Builder
	for _, in := range inlines(markdown) {
		if topic := topicOf(in.target); topic != "" && topic == in.text {
			b.WriteString("facescan help ")
		}
		b.WriteString(in.text)
		if in.target != in.text && strings.Contains(in.target, "://") {
			b.WriteString(" (" + in.target + ")")
		}
	}
	return b.String()
}

// wrap breaks text between words into lines of a width. A longer word has a line of its own.
func wrap(text string, width int) []string {
	var lines []string
	line, n := "", 0
	for _, word := range strings.Fields(text) {
		size := utf8.RuneCountInString(word)
		if n > 0 && n+1+size > width {
			lines = append(lines, line)
			line, n = "", 0
		}
		if n > 0 {
			line, n = line+" ", n+1
		}
		line, n = line+word, n+size
	}
	return append(lines, line)
}

// writeWrapped writes text in lines, the first after one prefix and the others after another.
func writeWrapped(b *strings.Builder, text, first, rest string, w int) {
	prefix := first
	for _, line := range wrap(text, w-utf8.RuneCountInString(rest)) {
		b.WriteString(strings.TrimRight(prefix+line, " ") + "\n")
		prefix = rest
	}
}

// codeIndent is how far code stands from the margin.
const codeIndent = 2

// withComments aligns the comments behind lines of code if they fit into a width, else puts each above its
// line.
func withComments(lines []string, w int) []string {
	var commands, comments []string
	longest, fits := 0, true
	for _, line := range lines {
		command, comment, _ := strings.Cut(line, "  # ")
		if command = strings.TrimRight(command, " "); command == "" { // all of it is a comment
			command, comment = line, ""
		}
		commands, comments = append(commands, command), append(comments, strings.TrimSpace(comment))
		if comment != "" {
			longest = max(longest, utf8.RuneCountInString(command))
		}
	}
	for i, c := range comments {
		fits = fits && (c == "" || longest+len("  # ")+utf8.RuneCountInString(c) <= w)
		if c != "" {
			comments[i] = "# " + c
		}
	}
	var out []string
	for i, command := range commands {
		switch {
		case comments[i] == "":
			out = append(out, command)
		case fits:
			pad := strings.Repeat(" ", longest-utf8.RuneCountInString(command))
			out = append(out, command+pad+"  "+comments[i])
		default:
			if i > 0 && commands[i-1] != "" {
				out = append(out, "")
			}
			out = append(out, comments[i], command)
		}
	}
	return out
}

// writeCode writes a line of code. A command of facescan that is too long goes on below, behind a backslash,
// and a comment behind a #, so that both can still be copied.
func writeCode(b *strings.Builder, line string, w int) {
	indent := strings.Repeat(" ", codeIndent)
	tooLong := utf8.RuneCountInString(indent+line) > w
	if tooLong && strings.HasPrefix(line, "# ") {
		writeWrapped(b, line[2:], indent+"# ", indent+"# ", w)
		return
	}
	if !tooLong || !strings.HasPrefix(line, "facescan ") {
		b.WriteString(strings.TrimRight(indent+line, " ") + "\n")
		return
	}
	words, more := withValues(ShellWords(line)), ""
	for len(words) > 0 {
		n, size := 0, len(indent+more)
		for n < len(words) {
			end := 2 // room for the backslash
			if n == len(words)-1 {
				end = 0
			}
			size += utf8.RuneCountInString(words[n])
			if n > 0 {
				size++
			}
			if n > 0 && size+end > w {
				break
			}
			n++
		}
		b.WriteString(indent + more + strings.Join(words[:n], " "))
		if words = words[n:]; len(words) > 0 {
			b.WriteString(` \`)
		}
		b.WriteByte('\n')
		more = "  "
	}
}

// withValues joins flags with the words behind them, which are mostly their values, so that these stay
// together.
func withValues(words []string) []string {
	var out []string
	for i, w := range words {
		isValue := i > 0 && strings.HasPrefix(words[i-1], "-") && !strings.HasPrefix(w, "-") &&
			!strings.HasPrefix(w, "#")
		if isValue {
			out[len(out)-1] += " " + w
		} else {
			out = append(out, w)
		}
	}
	return out
}

// ShellWords splits a command at spaces outside quotes, and before a comment, which stays whole.
func ShellWords(line string) []string {
	var words []string
	begin, quote := 0, rune(0)
	for i, r := range line {
		switch {
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '\'' || r == '"':
			quote = r
		case r == '#' && i == begin:
			return append(words, line[i:])
		case r == ' ':
			if i > begin {
				words = append(words, line[begin:i])
			}
			begin = i + 1
		}
	}
	if begin < len(line) {
		words = append(words, line[begin:])
	}
	return words
}

// termColumn is where the explanations of a page's terms begin: behind the longest term that leaves enough
// room.
func termColumn(blocks []Block, w int) int {
	const indent, gap = 2, 2
	longest := 0
	for _, b := range blocks {
		terms, _ := b.(Terms)
		for _, t := range terms {
			if n := utf8.RuneCountInString(t.Word); n+indent+gap <= w/3 {
				longest = max(longest, n)
			}
		}
	}
	return indent + max(longest, 4) + gap
}

func writeTerm(b *strings.Builder, t Term, column, w int) {
	first := "  " + t.Word
	pad := column - utf8.RuneCountInString(first)
	indent := strings.Repeat(" ", column)
	if pad < 2 { // the term has a line of its own
		b.WriteString(first + "\n")
		first = indent
	} else {
		first += strings.Repeat(" ", pad)
	}
	writeWrapped(b, plain(t.Text), first, indent, w)
}

// tableGap stands between the columns of a table.
const tableGap = 2

// writeTable aligns a table's columns, and wraps within them. Where not even the words fit, each row becomes
// a list of its cells.
func writeTable(b *strings.Builder, t Table, w int) {
	rows := [][]string{}
	for _, row := range append([][]string{t.Header}, t.Rows...) {
		var texts []string
		for _, c := range row {
			texts = append(texts, plain(c))
		}
		rows = append(rows, texts)
	}
	widths, fits := columnWidths(rows, w)
	if !fits {
		for i, row := range rows[1:] {
			if i > 0 {
				b.WriteByte('\n')
			}
			for c, cell := range row {
				if cell != "" {
					writeWrapped(b, rows[0][c]+": "+cell, "", "  ", w)
				}
			}
		}
		return
	}
	for i, row := range rows {
		writeRow(b, row, widths)
		if i == 0 {
			var rule []string
			for _, n := range widths {
				rule = append(rule, strings.Repeat("-", n))
			}
			writeRow(b, rule, widths)
		}
	}
}

func writeRow(b *strings.Builder, row []string, widths []int) {
	var columns [][]string
	height := 1
	for i, cell := range row {
		columns = append(columns, wrap(cell, widths[i]))
		height = max(height, len(columns[i]))
	}
	for y := range height {
		line := ""
		for i, c := range columns {
			text := ""
			if y < len(c) {
				text = c[y]
			}
			line += text + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text)+tableGap)
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}

// columnWidths shares the width of a page among the columns of a table: each gets what it needs, and where
// that is too much the widest are narrowed, down to their longest word.
func columnWidths(rows [][]string, w int) (widths []int, fits bool) {
	least := make([]int, len(rows[0]))
	widths = make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
			for _, word := range strings.Fields(cell) {
				least[i] = max(least[i], utf8.RuneCountInString(word))
			}
		}
	}
	sum := tableGap * (len(widths) - 1)
	for _, n := range widths {
		sum += n
	}
	for ; sum > w; sum-- {
		widest := -1
		for i := range widths {
			if widths[i] > least[i] && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return widths, false
		}
		widths[widest]--
	}
	return widths, true
}
