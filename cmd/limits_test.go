package cmd

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestLimits: the outermost values that each flag takes, and those beyond.
func TestLimits(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{"urls.txt": "http://127.0.0.1:1/x.jpg\n", "empty.txt": ""} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mustHere(t, quietRun("urls.txt", "--retries", "0")...)
	for _, c := range []struct {
		command    string
		flag       string
		taken, not string
		fine       int // exit code of what is taken
	}{
		{"run urls.txt --dry-run", "--timeout", "1ns", "0s -1s", 0},
		{"run urls.txt --dry-run", "--retries", "0 100", "-1 101", 0},
		{"run urls.txt --dry-run", "--max-bytes", "1", "0", 0},
		{"run urls.txt --dry-run", "--rate", "0 0.1", "-0.1 NaN", 0},
		{"run urls.txt --dry-run", "--max-redirects", "0", "-1", 0},
		{"run urls.txt --dry-run", "--fetchers", "1 100000", "0 100001", 0},
		{"run urls.txt --dry-run", "--workers", "0 4096", "-1 4097", 0},
		{"run urls.txt --dry-run", "--memory", "1MiB", "1048575", 0},
		{"run urls.txt --dry-run", "--per-host", "0", "-1", 0},
		{"run urls.txt --dry-run", "--outage-wait", "0s", "-1ns", 0},
		{"run urls.txt --dry-run", "--shard-size", "1 10000000", "0 10000001", 0},
		{"run urls.txt --dry-run", "--priority", "-20 20", "-21 21", 0},
		{"run urls.txt --dry-run", "--lease-ttl", "1s", "999ms", 0},
		{"run urls.txt --dry-run --sidecar unix:///s", "--sidecar-batch", "1 4096", "0 4097", 0},
		{"run urls.txt --dry-run --sidecar unix:///s", "--sidecar-delay", "0s 1m", "-1ns 61s", 0},
		{"run urls.txt --dry-run --sidecar unix:///s", "--sidecar-deadline", "1ns", "0s", 0},
		{"run urls.txt --dry-run", "--tail-grace", "0s", "-1ns", 0},
		{"run urls.txt --dry-run", "--max-rows", "0", "-1", 0},
		{"run urls.txt --dry-run", "--max-duration", "0s", "-1ns", 0},
		{"run urls.txt --dry-run --publish p", "--publish-every", "100ms", "99ms", 0},
		{"run urls.txt --dry-run --keep k", "--keep-size", "0 1 65500", "-1 65501", 0},
		{"run urls.txt --dry-run --keep k --keep-size 9", "--keep-quality", "1 100", "0 101", 0},
		{"run urls.txt --dry-run", "--thumbnails", "0 10000", "-1 10001", 0},
		{"run urls.txt --dry-run --blurred b", "--blur-margin", "0 3", "-0.1 3.1 NaN", 0},
		{"run - --db j.db --dry-run", "--as", strings.Repeat("a", 64) + " a.b a-b A_0+=:@",
			strings.Repeat("a",
				65) +
				" .a -a a.csv a/b ä", 0},
		{"status urls.txt", "--every", "", "99ms", 0},
		{"status urls.txt --watch", "--every", "100ms", "99ms", 0},
		{"status urls.txt --by host", "--top", "0 1", "-1", 0},
		{"estimate empty.txt --json", "--sample", "1 1000000", "0 1000001", 0},
		{"merge out.db nofile", "--shard-size", "1", "0", 1},
		{"export urls.txt --rows duplicates", "--distance", "", "-1 11", 0},
		{"sidecar --listen unix:nowhere/x.sock", "--workers", "0 4096", "-1 4097", 1},
		{"sidecar --listen unix:nowhere/x.sock", "--queue", "1", "0", 1},
		{"sidecar --listen unix:nowhere/x.sock", "--max-connections", "1", "0", 1},
		{"sidecar --listen unix:nowhere/x.sock", "--max-body", "1", "0", 1},
		{"sidecar --listen unix:nowhere/x.sock", "--max-pixels", "1", "0", 1},
	} {
		for value := range strings.FieldsSeq(c.taken) {
			line := fmt.Sprintf("%s %s=%s", c.command, c.flag, value)
			if code, _, said := here(t, strings.Fields(line)...); code != c.fine {
				t.Errorf("facescan %s: exit %d, want %d:\n%s", line, code, c.fine, said)
			}
		}
		for value := range strings.FieldsSeq(c.not) {
			line := fmt.Sprintf("%s %s=%s", c.command, c.flag, value)
			if code, _, said := here(t, strings.Fields(line)...); code != exitUsage || !strings.Contains(said,
				c.flag+" ") {
				t.Errorf("facescan %s: exit %d, want %d and what is wrong with it:\n%s", line, code,
					exitUsage, said)
			}
		}
	}
	mistake := func(want, line string) {
		t.Helper()
		if code, _, said := here(t, shellWords(line)...); code != exitUsage || !strings.Contains(said, want) {
			t.Errorf("facescan %s: exit %d, want %d and %q:\n%s", line, code, exitUsage, want, said)
		}
	}
	mistake("give -20 to 20", "import urls.txt --priority 21")
	mistake("give requests per second", "detect x.jpg --rate -1")
	mistake("give 1 to 4096", "doctor --sidecar unix:///s --sidecar-batch 0")
	mistake("give 1 to 4096", "detect x.jpg --sidecar unix:///s --sidecar-batch 0")
	mistake("give 1 to 4096", "rescan urls.txt --all --sidecar unix:///s --sidecar-batch 0")
	mistake("is not a flag: write --NAME VALUE or --NAME=VALUE", "run urls.txt --=3")
	mistake("write --db JOB", "run urls.txt --db")
	mistake("write --group-column COLUMN", "run urls.txt --group-column")
	mistake("invalid number of failures \"x\": use e.g. 100 or 5%", "run urls.txt --max-fail x")
}
