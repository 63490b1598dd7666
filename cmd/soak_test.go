package cmd

import (
	"crypto/sha256"
	"database/sql"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"facescan/pipeline/fetch/fetchtest"
	"facescan/pipeline/keep/keeptest"
)

// scenario is a command that is killed again and again, and what there is to see of its work in the end.
type scenario struct {
	args []string                          // of the command; the same ones resume
	see  func(t *testing.T) map[string]any // by name
}

// TestKilledEqualsUndisturbed kills a command at random moments until it is through, and holds everything it
// leaves behind against what an undisturbed one left.
func TestKilledEqualsUndisturbed(t *testing.T) {
	t.Parallel()
	n := 6
	if os.Getenv("FACESCAN_SOAK") != "" {
		n = 200
	}
	s := fetchtest.New(pictures(t), 5*time.Millisecond)
	t.Cleanup(s.Close)
	run := []string{"--allow-private", "--progress", "none", "-q", "--shard-size", "50", "--fetchers", "4"}
	lines := keepList(s, 30*n)

	for name, begin := range map[string]func(t *testing.T, dir string) scenario{
		"outputs": func(t *testing.T, dir string) scenario {
			list := filepath.Join(dir, "urls.csv")
			text := "url,album\n"
			for i, line := range lines {
				text += fmt.Sprintf("%s,album %d\n", line, i%7)
			}
			if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			args := append([]string{"run", list, "--group-column", "album", "--out",
				filepath.Join(dir, "out.csv"), "--keep", filepath.Join(dir, "kept"), "--crops",
				filepath.Join(dir, "crops")}, run...)
			return scenario{args, func(t *testing.T) map[string]any {
				groups := strings.Split(mustHere(t, "export", list, "--rows", "groups", "--columns",
					"group,images,ok,failed,faces,images_with_faces,largest_face"), "\n")
				slices.Sort(groups) // they are in the order in which they were finished
				return map[string]any{
					"export": mustHere(t, "export", list), "groups": groups,
					"output": readFile(t, filepath.Join(dir, "out.csv")),
					"crops":  tree(t, filepath.Join(dir, "crops")),
					"kept":   archives(t, filepath.Join(dir, "kept")),
				}
			}}
		},
		"table": func(t *testing.T, dir string) scenario {
			file := filepath.Join(dir, "photos.db")
			db, err := sql.Open("sqlite3", file)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { db.Close() })
			if _, err := db.Exec("CREATE TABLE photos (id INTEGER PRIMARY KEY, url TEXT)"); err != nil {
				t.Fatal(err)
			}
			for _, line := range lines {
				if _, err := db.Exec("INSERT INTO photos (url) VALUES (?)", line); err != nil {
					t.Fatal(err)
				}
			}
			return scenario{append([]string{"run", file, "--table", "photos"}, run...),
				func(t *testing.T) map[string]any {
					var done int
					if err := db.QueryRow("SELECT count(*) FROM photos WHERE done = 1").Scan(
						&done); err != nil {
						t.Fatal(err)
					}
					return map[string]any{"export": mustHere(t, "export", file), "marks": done}
				}}
		},
		"postgres": func(t *testing.T, dir string) scenario {
			url := database(t)
			list := writeList(t, dir, lines)
			// A dead owner's rows are free once its leases end.
			args := append([]string{"run", list, "--db", url, "--lease-ttl", "1s"}, run...)
			return scenario{args, func(t *testing.T) map[string]any {
				return map[string]any{"export": mustHere(t, "export", url)}
			}}
		},
		"merge": func(t *testing.T, dir string) scenario {
			list := writeList(t, dir, lines)
			args := []string{"merge", filepath.Join(dir, "all.db")}
			for i := range 3 {
				part := filepath.Join(dir, fmt.Sprintf("part%d.db", i))
				mustHere(t, quietRun(list, "--node", fmt.Sprintf("%d/3", i), "--db", part)...)
				args = append(args, part)
			}
			return scenario{args, func(t *testing.T) map[string]any {
				mustHere(t, "verify", args[1], "-q")
				return map[string]any{"export": mustHere(t, "export", args[1])}
			}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			calm := begin(t, t.TempDir())
			mustHere(t, calm.args...)
			dir := t.TempDir()
			wild := begin(t, dir)
			killAgainAndAgain(t, n, dir, wild.args)
			mustHere(t, wild.args...)
			want := calm.see(t)
			for what, got := range wild.see(t) {
				if fmt.Sprint(got) != fmt.Sprint(want[what]) {
					t.Errorf("%s differ:\n%.2000v\nundisturbed:\n%.2000v", what, got, want[what])
				}
			}
		})
	}
}

// killAgainAndAgain starts a command and kills it at a random moment, n times. When one comes to its end
// before that, the next one has less time.
func killAgainAndAgain(t *testing.T, n int, dir string, args []string) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	life, killed := 50*time.Millisecond, 0
	for range 10 * n {
		if killed == n {
			return
		}
		c, stderr := child(t, dir, args...)
		ended := make(chan error, 1)
		go func() { ended <- c.Wait() }()
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("a command that nobody killed: %v\n%s", err, stderr)
			}
			life -= life / 4
		case <-time.After(life/2 + time.Duration(rng.Int64N(int64(life)))):
			c.Process.Kill()
			<-ended
			killed++
			life += life / 50 // on a machine that is too slow for it the command gets further with time
		}
	}
	t.Errorf("only %d of %d were killed", killed, n)
}

// tree is the content of all files below a folder but for what facescan itself keeps there, by name.
func tree(t *testing.T, folder string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == ".facescan" {
			return fs.SkipDir
		}
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(folder, path)
		out[name] = sum([]byte(readFile(t, path)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// archives is the content of all tar files in a folder, by the names in them, with how often each is there.
func archives(t *testing.T, folder string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, entries := range keeptest.Tars(t, folder) {
		for _, e := range entries {
			out[e.Name] += sum(e.Content)
		}
	}
	if len(out) == 0 {
		t.Errorf("nothing is kept in %s, of %v", folder, slices.Collect(maps.Keys(out)))
	}
	return out
}

func sum(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }
