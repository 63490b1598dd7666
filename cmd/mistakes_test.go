package cmd

import (
	"database/sql"
	"os"
	"regexp"
	"strings"
	"testing"
)

// mistakes are what people type wrong, or have not there: the exit code, and what is said to it.
var mistakes = []struct {
	line string
	code int
	want string
}{
	{"ruun urls.txt", 2, `unknown command "ruun"; did you mean run?`},
	{"stats urls.txt", 2, `unknown command "stats"; did you mean status?`},
	{"fetch urls.txt", 2, `unknown command "fetch"`},
	{"run urls.txt --fecthers 3", 2, `unknown flag: --fecthers; did you mean --fetchers?`},
	{"run urls.txt --min_face 3", 2, `unknown flag: --min_face; did you mean --min-face?`},
	{"run urls.txt --colour", 2, `unknown flag: --colour`},
	{"run urls.txt -x", 2, `unknown flag: -x`},
	{"import urls.txt --watch", 2, `unknown flag: --watch`},
	{"run urls.txt --timeout 30", 2, `--timeout 30: add a unit, e.g. 30s`},
	{"run urls.txt --timeout abc", 2, `--timeout "abc": give a duration, e.g. 30s, 5m or 1h30m`},
	{"run urls.txt --timeout", 2, `--timeout needs a value: give a duration`},
	{"run urls.txt --abort-if", 2, `--abort-if needs a value: write --abort-if RULE`},
	{"run urls.txt --progress", 2, `--progress needs a value: write --progress KIND`},
	{"run urls.txt --sidecar-fallback gpu", 2, `--sidecar-fallback "gpu": it is cpu`},
	{"run urls.txt --log-format ''", 2, `--log-format "": it is text or json`},
	{"run urls.txt --retries x", 2, `--retries "x": give a whole number`},
	{"run urls.txt --retries 1.5", 2, `--retries "1.5": give a whole number`},
	{"run urls.txt --retries 99999999999999999999", 2,
		`--retries 99999999999999999999: the number is too large`},
	{"run urls.txt --rate fast", 2, `--rate "fast": give a number`},
	{"run urls.txt --robots=maybe", 2, `--robots "maybe": give true or false, or the flag alone`},
	{"run urls.txt --memory lots", 2, `--memory "lots": give a size, e.g. 64MiB`},
	{"run urls.txt --angles x", 2, `--angles: invalid angle "x": use degrees, e.g. 22.5,-22.5`},
	{"run urls.txt --detector yunett", 2, `it is one of yunet, pigo, none; did you mean yunet?`},
	{"run urls.txt --node 3", 2, `--node: "3": the number of parts is missing`},
	{"run urls.txt --node 3/2", 2, `--node: "3/2" means node 3 of 2; i goes from 0 to N-1`},
	{"run urls.txt --abort-if often", 2,
		`--abort-if: "often": no rule; write it as 'failed > 60% after 10000'`},
	{"run urls.txt --max-fail x%", 2, `--max-fail: "x%" is not a share; write it as 5%`},
	{"run urls.txt --priority 99", 2, `--priority 99: give -20 to 20`},
	{"run urls.txt --header nothing", 2, `--header: not a header: write 'Name: value'`},
	{"run urls.txt --header @nofile", 2, `--header @nofile: no such file or directory`},
	{"run urls.txt --block-hosts nofile", 2, `--block-hosts: nofile: no such file or directory`},
	{"run urls.txt --block-hosts folder", 2, `--block-hosts folder: is a directory`},
	{"run urls.txt --listen 127.0.0.1:99999999", 2, `"99999999" is not a port: use 0 to 65535`},
	{"run urls.txt --listen 192.0.2.1:80", 1,
		`listen on 192.0.2.1:80: this machine does not have that address`},
	{"run urls.txt --hash md5", 2, `--hash: invalid hashes "md5": use sha256, phash`},
	{"run urls.txt --progress loud", 2, `--progress "loud": it is auto, bar, plain, json or none`},
	{"run urls.txt --log-format xml", 2, `--log-format "xml": it is text or json`},
	{"run urls.txt --out nowhere/x.csv", 2,
		`nowhere/x.csv: the folder nowhere does not exist: make it first`},
	{"run urls.txt --out folder", 2, `folder is not a regular file`},
	{"run urls.txt --keep urls.txt", 1, `it is not a folder, or is in something that is not a folder`},
	{"run urls.txt --db nowhere/x.db", 1, `create job nowhere/x.db: nowhere: no such file or directory`},
	{"run urls.txt --db text", 1,
		`text exists and is not a facescan job; it is left alone: name another file with --db`},
	{"run urls.txt --db mysql://h/x", 2, `unsupported database mysql://: use postgres://… or a file`},
	{"run urls.txt --db postgres://", 1, `write it as postgres://USER@HOST:PORT/DATABASE`},
	{"run nowhere.txt", 1, `nowhere.txt: no such file or directory; give a list of URLs, one per line, or `},
	{"run ''", 1, `the name is empty; give a list of URLs`},
	{"run folder", 2, `no list is in the folder folder: names should end in .txt`},
	{"run urls[.txt", 2, `urls[.txt is not a pattern for file names: a [ has no ]`},
	{"run text", 2, `text is not a list that facescan knows: its name should end in .txt`},
	{"run scans.TAR", 2, `if it holds images, add --images`},
	{"run one.jpg", 2, `to find the faces in an image type: facescan detect one.jpg`},
	{"run a.csv --url-column urll", 2,
		`a.csv has no column "urll"; its columns are id, url: choose with --url-column`},
	{"run two.db", 2, `name the table of URLs with --table: it has t, u`},
	{"estimate two.db", 2, `its table of URLs is not named: it has t, u: choose with --table`},
	{"estimate empty.db", 2, `empty.db is a SQLite database without tables`},
	{"run -", 2, `a list on stdin has no name to call its job by; add --db JOB.db`},
	{"run urls.txt a.csv", 2, `several lists need a job to go into; add --db JOB.db`},
	{"run urls.facescan.db --db other.db", 2,
		`urls.facescan.db is a job already; leave --db out, or name lists to import into other.db`},
	{"run postgres://h/x --db other.db", 2,
		`is a job already; leave --db out, or name lists to import into it`},
	{"run urls.facescan.db --url-column link", 2,
		`--url-column is for the import of a list, and urls.facescan.db ` +
			`is a job, of which nothing is imported: leave it out, or name the list too, with --db urls.facescan.db`},
	{"run two.db urls.txt --table t", 2,
		`a table is worked on in place by itself; to copy two.db with other lists`},
	{"run two.db --table t --node 0/2", 2,
		`--node takes a part of a list into a job; copy the table with --db`},
	{"run urls.txt --done-column seen", 2, `--done-column is a column of a table that is worked on in place`},
	{"run nowhere.txt --watch", 1, `--watch waits for a list to grow that is there: make it first`},
	{"status spoilt.txt", 1, `spoilt.facescan.db exists but is not a facescan job; name the job file itself`},
	{"estimate - --as monday --db j.db", 2, `--as monday names a stream that is appended to a job`},
	{"estimate postgres://h/x", 2, `is a job; estimate looks at lists`},
	{"import urls.txt postgres://h/x --db j.db", 2, `is a job, not a list; to import lists into it add --db`},
	{"export urls.txt -o - -o -", 2, `-o - is given twice`},
	{"export nofile", 1, `nofile is not a job: neither it nor nofile.facescan.db exists`},
	{"verify folder", 1, `folder is not a job: it is a folder; name a job file`},
	{"export urls.txt --columns id,urll", 2, `no column "urll"; did you mean url? there are id, url, status`},
	{"export urls.txt --format cvs", 2,
		`unknown format "cvs"; did you mean csv? there are csv, jsonl, parquet`},
	{"export urls.txt --rows face", 2,
		`unknown --rows "face"; did you mean faces? there are images, faces, groups`},
	{"export urls.txt --where 'reason ='", 2, `a column, a number or 'text' is missing, at the end`},
	{"export urls.txt --where 'facess > 1'", 2, `"facess" is not a column; did you mean faces?`},
	{"export urls.txt --split-by nothing -o out", 2, `no column "nothing": there are id, url`},
	{"export urls.txt --split-by reason -o out.csv", 2,
		`--split-by makes a folder of files: name one, e.g. -o by-reason`},
	{"export urls.txt --split-by reason", 2, `--split-by needs one folder: -o FOLDER`},
	{"export urls.txt -o folder", 1, `folder is a folder; name a file`},
	{"export urls.txt -o nowhere/x.csv", 1,
		`nowhere/x.csv: the folder nowhere does not exist: make it first`},
	{"export urls.txt -o urls.txt", 2, `urls.txt belongs to the job`},
	{"export urls.txt --min-score yunett=3", 2,
		`"yunett" is not a detector with scores; write it as yunet=0.6,pigo=8`},
	{"status urls.txt --by hostt", 2, `it is host, reason, format, group or sha256; did you mean host?`},
	{"status urls.txt --watch --every 3", 2, `--every 3: add a unit, e.g. 3s`},
	{"retry urls.txt --reason http_4x", 2,
		`no such reason; those of the job: facescan status urls.txt; did you mean http_4xx?`},
	{"retry urls.txt --class transientt", 2, `it is transient, permanent or policy; did you mean transient?`},
	{"rescan urls.txt", 2, `say which rows: --stale for those of another detector, or --all`},
	{"pause urls.txt --source urls.tx", 2,
		`the job has no source "urls.tx"; it has urls.txt; did you mean urls.txt?`},
	{"merge out.db nofile", 1, `nofile is not a job`},
	{"merge out.db folder", 1, `folder: there are no segments in this folder`},
	{"report urls.txt -o nowhere/x.html", 1,
		`nowhere/x.html: the folder nowhere does not exist: make it first`},
	{"detect nofile.jpg", 1, `cannot be read: nofile.jpg: no such file or directory`},
	{"detect text --draw urls.txt", 1,
		`urls.txt: it is not a folder, or is in something that is not a folder`},
	{"sidecar --device tpu", 2, `--device "tpu": it is cpu, or cuda:N with N from 0`},
	{"sidecar --device cuda:256", 2, `--device "cuda:256": it is cpu, or cuda:N with N from 0`},
	{"help nothing", 2, `there is no command or topic "nothing": there are `},
	{"help exit-code", 2, `did you mean exit-codes?`},
	{"man nothing", 2, `there is no command or topic "nothing"`},
	{"completion tcsh", 2, `facescan completion knows no "tcsh": there are bash, fish, powershell, zsh`},
	{"completion zhs", 2, `did you mean zsh? there are bash`},
	{"completion", 2, `facescan completion wants a shell: bash, fish, powershell, zsh`},
	{"version now", 2, `facescan version wants no arguments`},
	{"run urls.txt --min-face -3", 2, `--min-face -3: a face needs at least 8 pixels`},
	{"run urls.txt --iou 2", 2, `--iou 2`},
	{"run urls.txt --min-score 3", 2, `--min-score 3: scores of yunet lie between 0 and 1`},
	{"run urls.txt --listen 127.0.0.1:web-page", 1, `"web-page" is not a port: use 0 to 65535`},
	{"export two.db", 1, `two.db.facescan.db does not exist; name a job, or the list that it was made from`},
	{"run urls.txt --db side.db --sidecar http://127.0.0.1:1", 1,
		`see that it runs, or add --sidecar-fallback cpu`},
	{"sidecar --listen unix:nowhere/x.sock", 1, `the folder nowhere does not exist: make it first`},
	{"doctor --dns nowhere", 2, `--dns "nowhere": write it as HOST:PORT`},
	{"completion bash zsh", 2, `facescan completion bash wants no arguments`},
	{"detect folder", 2,
		`folder is a folder: name the images in it, or search it with facescan run --images`},
	{"detect http://127.0.0.1:1/x.jpg", 1, `--allow-private fetches from loopback and private addresses`},
	{"run urls.txt --publish-every 3s", 2,
		`--publish-every is the interval of --publish: add --publish FOLDER`},
	{"run urls.txt --blur-faces", 2,
		`--blur-faces blurs faces in the run's small pictures: add --thumbnails N`},
	{"run urls.txt --thumbnails 0 --blur-faces", 2, `add --thumbnails N`},
	{"run urls.txt --sidecar-fallback cpu", 2, `is for when no sidecar answers: add --sidecar URL`},
	{"report urls.txt -o x.html --blur-margin 1", 2,
		`--blur-margin says how much is blurred: add --blur-faces`},
	{"report urls.txt -o x.html --blur-margin 1 --blur-faces=false", 2,
		`how much is blurred: add --blur-faces`},
	{"status urls.txt --every 3s", 2, `--every is the interval of --watch: add --watch`},
	{"status urls.txt --top 3", 2, `--top ranks values of a key: give --by host, reason`},
	{"retry urls.txt --reason ''", 2,
		`--reason '': there is nothing in it: write e.g. --reason timeout,http_5xx`},
	{"retry urls.txt --class ''", 2, `--class '': there is nothing in it`},
	{"retry urls.txt --host ''", 2, `--host '': there is nothing in it`},
	{"pause urls.txt --source ''", 2, `--source '': there is nothing in it`},
	{"resume urls.txt --source ''", 2, `--source '': there is nothing in it`},
	{"export urls.txt -o x.xlsx", 2,
		`-o x.xlsx: .xlsx is not the suffix of a format; there are csv, jsonl, parquet, coco`},
	{"export urls.txt -o - -o X.TSV.gz", 2, `.tsv is not the suffix of a format`},
	{"export urls.txt --follow -o x.txt", 2, `.txt is not the suffix of a format; there are csv, jsonl: `},
	{"run urls.txt --out x.json", 2,
		`--out x.json: .json is not the suffix of a format; there are csv, jsonl: `},
	{"run urls.txt --per-host -1", 2, `--per-host -1 cannot be negative`},
	{"run urls.txt --pprof=false --blur-faces=false --per-host -1", 2, `--per-host -1 cannot be negative`},
	{"run urls.txt --outage-wait -1s", 2, `--outage-wait -1s cannot be negative`},
	{"run urls.txt --max-rows -1", 2, `--max-rows -1 cannot be negative`},
	{"run urls.txt --max-duration -1s", 2, `--max-duration -1s cannot be negative`},
	{"run urls.txt --max-pixels -1", 2, `--max-pixels "-1": give a number of pixels, e.g. 100M`},
	{"sidecar --queue 0", 2, `--queue 0: give 1 or more images`},
	{"sidecar --max-connections 0", 2, `--max-connections 0: give 1 or more`},
	{"sidecar --max-body 0", 2, `--max-body 0: give a size such as 128MiB`},
	{"sidecar --max-pixels 0", 2, `--max-pixels 0: give a number of pixels, e.g. 100M`},
	{"run", 2, `facescan run wants a list of URLs, or a job`},
	{"import", 2, `facescan import wants a list of URLs`},
	{"estimate", 2, `facescan estimate wants a list of URLs`},
	{"detect", 2, `facescan detect wants image files or URLs`},
	{"doctor a b", 2, `facescan doctor wants at most one job`},
	{"merge out.db", 2,
		`facescan merge wants a new job, or an earlier merge, and the jobs, or published folders, to unite`},
	{"man 1 run a b", 2, `facescan man wants at most a section and a command or topic`},
	{"retry a b", 2, `facescan retry wants a job, or the list it was made from`},
	{"forget --where x", 2, `facescan forget wants a job, or the list it was made from`},
	{"forget a b --where x", 2, `facescan forget wants a job, or the list it was made from`},
	{"status", 2, `facescan status wants a job, or the list it was made from, or several parts of a list`},
	{"pause", 2, `facescan pause wants a job, or the list it was made from`},
	{"sidecar a", 2, `facescan sidecar wants no arguments`},
	{"try-decode a", 2, `facescan try-decode wants an image on stdin`},
	{"status postgres://127.0.0.1:1/x", 1, `cannot be reached: see that it runs`},
	{"detect one.jpg --verify-faces", 2, `--verify-faces`},
	{"doctor --list nofile.txt", 1, `nofile.txt: no such file or directory`},
	{"estimate urls.txt --min-score 3", 2, `--min-score 3: scores of yunet lie between 0 and 1`},
	{"estimate urls.txt --header nothing", 2, `--header: not a header: write 'Name: value'`},
	{"forget nofile --where 'id = 1'", 1, `nofile is not a job: neither it nor nofile.facescan.db exists`},
	{"forget nofile --where 'id = 1' --yes", 1,
		`nofile is not a job: neither it nor nofile.facescan.db exists`},
	{"import urls.txt --db nowhere/x.db", 1, `create job nowhere/x.db: nowhere: no such file or directory`},
	{"man --dir urls.txt", 1, `urls.txt: it is not a folder, or is in something that is not a folder`},
	{"man --dir pages", 1, `pages/facescan.1: is a directory`},
	{"merge nowhere/x.db urls.txt", 1, `create job nowhere/x.db: nowhere: no such file or directory`},
	{"run urls.txt --db text --dry-run", 1, `text is not a job, and text.facescan.db does not exist`},
	{"status urls.txt folder", 1, `folder: there are no segments in this folder`},
	{"status urls.txt nofile", 1, `nofile is not a job: neither it nor nofile.facescan.db exists`},
}

// foreign are words that are not for people: of Go's libraries, its types, temporary names, numbers of
// errors, a prefix said twice.
var foreign = regexp.MustCompile(`strconv\.|time: |\b(open|stat|lstat|mkdir|read|readdirent|rename|create) \S+: |dial tcp|` +
	`listen tcp|bind: |lookup \S+ on |\.part\b|\*?\b[a-z]+\.[A-Z][a-z]+Error|errno|%!|facescan: facescan:|` +
	`facescan: facescan [a-z]+:|invalid argument "|&\{|<nil>|goroutine|panic`)

// TestMistakes: an error says what happened to which thing, why, and what to type next, in plain words.
func TestMistakes(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{"urls.txt": "http://127.0.0.1:1/x.jpg\n", "text": "hello\n",
		"scans.TAR": "", "one.jpg": "", "spoilt.facescan.db": "none\n",
		"a.csv": "id,url\n1,http://127.0.0.1:1/x.jpg\n"} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"folder", "pages/facescan.1"} {
		if err := os.MkdirAll(name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, statement := range map[string]string{"empty.db": "VACUUM",
		"two.db": "CREATE TABLE t(a, url); CREATE TABLE u(b, url)"} {
		db, err := sql.Open("sqlite3", name)
		if err == nil {
			_, err = db.Exec(statement)
		}
		if err != nil {
			t.Fatal(err)
		}
		db.Close()
	}
	mustHere(t, quietRun("urls.txt", "--retries", "0")...)
	for _, m := range mistakes {
		code, out, said := here(t, shellWords(m.line)...)
		if code != m.code || !strings.Contains(said, m.want) {
			t.Errorf("facescan %s: exit %d, want %d and %q:\n%s", m.line, code, m.code, m.want, said)
		}
		for line := range strings.Lines(said) {
			if !strings.HasPrefix(line, "facescan: ") && !strings.HasPrefix(line, "  ") {
				t.Errorf("facescan %s has a line without its name: %s", m.line, line)
			}
		}
		if word := foreign.FindString(out + said); word != "" {
			t.Errorf("facescan %s says %q:\n%s", m.line, word, said)
		}
	}
	if n := len(mistakes); n < 60 {
		t.Errorf("%d mistakes", n)
	}
	if left, err := os.ReadDir("."); err != nil || len(left) != 11 {
		t.Errorf("something was left behind: %v, %v", left, err)
	}
}

// shellWords are the words of a line, of which some are in single quotes.
func shellWords(line string) (words []string) {
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			words = append(words, part)
		} else {
			words = append(words, strings.Fields(part)...)
		}
	}
	return words
}
