package cmd

import (
	"database/sql"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"facescan/cmd/help"
	"facescan/detect"
	"facescan/pipeline/parts"
	"facescan/pipeline/source"
	"facescan/store"
	"facescan/store/export"
)

// TestTopics: what topics say of commands, flags, variables and other topics exists.
func TestTopics(t *testing.T) {
	t.Parallel()
	root, commands := commandTree()
	flags := map[string]bool{}
	for _, c := range append(commands, root) {
		maps.Copy(flags, keysOf(allFlags(c)))
	}
	inCode, aFlag := regexp.MustCompile("`[^`]+`"), regexp.MustCompile(`(?:^|[\s(])--([a-z][a-z-]+)`)
	variable := regexp.MustCompile(`FACESCAN_([A-Z_]+)`)
	link := regexp.MustCompile(`\]\(([^)]+)\)`)
	for _, topic := range help.Topics() {
		b, err := os.ReadFile(filepath.Join("help", topic.Name+".md"))
		if err != nil {
			t.Fatal(err)
		}
		text := string(b)
		var prose []string
		for _, block := range topic.Blocks {
			switch block := block.(type) {
			case help.Code:
				for line := range strings.Lines(strings.ReplaceAll(string(block), "\\\n", " ")) {
					checkCommand(t, strings.TrimSpace(line))
				}
			case help.Paragraph:
				prose = append(prose, string(block))
			case help.List:
				prose = append(prose, block...)
			case help.Table:
				for _, row := range block.Rows {
					prose = append(prose, row...)
				}
			}
		}
		for _, code := range inCode.FindAllString(strings.Join(prose, "\n"), -1) {
			code = strings.Trim(code, "`")
			if strings.HasPrefix(code, "sbatch ") {
				continue
			}
			if strings.HasPrefix(code, "facescan ") {
				if c, _, err := root.Find(strings.Fields(code)[1:2]); err != nil || c == root {
					t.Errorf("%s names `%s`", topic.Name, code)
				}
			}
			for _, m := range aFlag.FindAllStringSubmatch(code, -1) {
				if !flags[m[1]] {
					t.Errorf("%s names the flag --%s", topic.Name, m[1])
				}
			}
		}
		for _, m := range variable.FindAllStringSubmatch(text, -1) {
			if name := strings.ToLower(strings.ReplaceAll(m[1], "_", "-")); !flags[name] && m[1] != "NAME" {
				t.Errorf("%s names the variable %s", topic.Name, m[0])
			}
		}
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if name, isFile := strings.CutSuffix(m[1], ".md"); isFile {
				if _, ok := help.Find(name); !ok {
					t.Errorf("%s links to %s", topic.Name, m[1])
				}
			} else if !strings.HasPrefix(m[1], "https://") {
				t.Errorf("%s links to %s", topic.Name, m[1])
			}
		}
	}
	for name, topics := range seeAlso {
		if c, _, err := root.Find([]string{name}); (err != nil || c == root) && name != "forget" {
			t.Errorf("seeAlso has %s", name)
		}
		for topic := range strings.FieldsSeq(topics) {
			if _, ok := help.Find(topic); !ok {
				t.Errorf("the help of %s names the topic %s", name, topic)
			}
		}
	}
}

func keysOf[T any](m map[string]T) map[string]bool {
	out := map[string]bool{}
	for k := range m {
		out[k] = true
	}
	return out
}

// tableOf is the first table of a topic whose header begins with a word.
func tableOf(t *testing.T, topic, header string) help.Table {
	t.Helper()
	page, ok := help.Find(topic)
	if !ok {
		t.Fatalf("no topic %s", topic)
	}
	for _, b := range page.Blocks {
		if table, is := b.(help.Table); is && table.Header[0] == header {
			return table
		}
	}
	t.Fatalf("topic %s has no table of %s", topic, header)
	return help.Table{}
}

// TestExitCodesTopic: the topic has the codes of the code, with their meanings.
func TestExitCodesTopic(t *testing.T) {
	t.Parallel()
	table := tableOf(t, "exit-codes", "code")
	if len(table.Rows) != len(exitCodes) {
		t.Fatalf("%d codes, want %d", len(table.Rows), len(exitCodes))
	}
	for i, e := range exitCodes {
		if row := table.Rows[i]; row[0] != strconv.Itoa(e.code) || row[1] != e.meaning {
			t.Errorf("%q, want %d %s", row, e.code, e.meaning)
		}
	}
}

// column is a column of a topic's table, without its marks of code.
func column(table help.Table, i int) []string {
	var out []string
	for _, row := range table.Rows {
		out = append(out, strings.Trim(row[i], "`"))
	}
	return out
}

// TestFormatsTopic: the topic has the formats of lists and exports. Those of images are checked where they
// are decoded; a folder's files of each are taken.
func TestFormatsTopic(t *testing.T) {
	t.Parallel()
	var tables []help.Table
	topic, _ := help.Find("formats")
	for _, b := range topic.Blocks {
		if table, is := b.(help.Table); is {
			tables = append(tables, table)
		}
	}
	if len(tables) != 3 {
		t.Fatalf("%d tables, want those of lists, images and exports", len(tables))
	}
	var lists []string
	for _, name := range column(tables[0], 1) {
		if format, isName := strings.CutPrefix(name, "."); isName {
			lists = append(lists, format)
		}
	}
	if !slices.Equal(lists, source.Formats) {
		t.Errorf("the topic has the lists %q, want %q", lists, source.Formats)
	}
	if got := column(tables[2], 0); !slices.Equal(got, export.Formats()) {
		t.Errorf("the topic has the exports %q, want %q", got, export.Formats())
	}
	for _, format := range column(tables[1], 0) {
		if !source.IsImageName("a." + format) {
			t.Errorf("a folder's .%s files are passed over", format)
		}
	}
}

// TestWhereTopic: every condition of the topic is one.
func TestWhereTopic(t *testing.T) {
	t.Parallel()
	for _, condition := range column(tableOf(t, "where", "condition"), 0) {
		_, err := export.ParseFilter(condition, export.Options{Detectors: exportDetectors()})
		if err != nil {
			t.Errorf("%s: %v", condition, err)
		}
	}
}

// TestDetectorsTopic: the topic has the detectors with their defaults.
func TestDetectorsTopic(t *testing.T) {
	t.Parallel()
	table := tableOf(t, "detectors", "detector")
	if got := column(table, 0); !slices.Equal(got, detect.Names()) {
		t.Fatalf("the topic has %q, want %q", got, detect.Names())
	}
	for i, k := range detect.Kinds() {
		row, landmarks := table.Rows[i], "no"
		if k.Landmarks {
			landmarks = "yes"
		}
		number := func(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }
		if row[2] != landmarks || row[4] != number(k.MinScore) || row[5] != number(k.IoU) {
			t.Errorf("%s: %q, want landmarks %s, score %v, IoU %v", k.Name, row, landmarks, k.MinScore, k.IoU)
		}
	}
}

// TestSchemaTopic: the topic has the columns of a job's tables, and names tables that there are.
func TestSchemaTopic(t *testing.T) {
	t.Parallel()
	list := filepath.Join(t.TempDir(), "urls.txt")
	if err := os.WriteFile(list, []byte("http://127.0.0.1:1/x.jpg\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code := Run(t.Context(), []string{"import", list, "-q"}, nil, io.Discard, io.Discard); code != 0 {
		t.Fatalf("import: exit code %d", code)
	}
	db, err := sql.Open("sqlite3", parts.JobOf(list, store.Node{}))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, table := range []string{"urls", "results", "faces"} {
		var columns string
		if err := db.QueryRow("SELECT group_concat(name ORDER BY name) FROM pragma_table_info(?)", table).
			Scan(&columns); err != nil {
			t.Fatal(err)
		}
		said := column(tableOf(t, "schema", "column of "+table), 0)
		slices.Sort(said)
		if want := strings.Split(columns, ","); !slices.Equal(said, want) {
			t.Errorf("%s: the topic has %q, want %q", table, said, want)
		}
	}
	for _, table := range column(tableOf(t, "schema", "table"), 0) {
		var n int
		if err := db.QueryRow("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?",
			table).Scan(&n); err != nil || n != 1 {
			t.Errorf("the topic names the table %s, which there is not: %v", table, err)
		}
	}
}
