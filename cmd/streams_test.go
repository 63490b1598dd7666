package cmd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"facescan/pipeline/fetch/fetchtest"
	"facescan/store/storetest/pgtest"
)

// readStdin are the arguments of a run that reads standard input.
func readStdin(job string, more ...string) []string {
	return append([]string{"run", "-", "--db", job, "--allow-private", "--detector", "none",
		"--progress", "none"}, more...)
}

// TestStreamsOfOneName has two live processes with one --as name: the second one reads its standard input
// when the first one has ended or is killed, and its lines follow.
func TestStreamsOfOneName(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(drawn(t), 0)
	defer s.Close()
	for name, job := range map[string]string{"sqlite": "job.db", "postgres": pgtest.Start(t)} {
		for _, killed := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " killed ", killed), func(t *testing.T) {
				dir := t.TempDir()
				as := fmt.Sprint("as", killed)
				args := readStdin(job, "--as", as, "--lease-ttl", "2s")
				n := 0
				write := func(f *filter, lines int) (last string) {
					for range lines {
						n++
						last = fmt.Sprintf("/i/%d/%s%v.jpg", n, name, killed)
						fmt.Fprintf(f.in, "%s%s\n", s.URL, last)
					}
					return last
				}
				fetched := func(path string) {
					t.Helper()
					eventually(t, path+" is fetched", func() bool { return s.Hits(path) > 0 })
				}
				a := startFilter(t, dir, args...)
				fetched(write(a, 5))
				b := startFilter(t, dir, args...)
				eventually(t, "the second one says that it waits", func() bool {
					return strings.Contains(b.stderr.String(), "another process imports this source")
				})
				fetched(write(a, 5))
				last := write(b, 5)
				if killed {
					a.c.Process.Kill()
					a.c.Wait()
				} else {
					a.in.Close()
				}
				fetched(last)
				b.in.Close()
				b.exits(exitOK)
				if !killed {
					a.exits(exitOK)
				}
				path := job
				if name == "sqlite" {
					path = filepath.Join(dir, job)
				}
				got := strings.Split(mustHere(t, "export", path, "--columns", "id,url,status", "--where",
					"source = '"+as+"'"), "\n")
				for i, line := range got[1 : len(got)-1] {
					if !strings.Contains(line, fmt.Sprintf("/i/%d/%s%v.jpg,ok", i+1, name, killed)) {
						t.Errorf("row %d is %q", i+1, line)
					}
				}
				if len(got) != n+2 {
					t.Errorf("%d rows, want %d", len(got)-2, n)
				}
				mustHere(t, "verify", path, "-q")
			})
		}
	}
}

// TestSecondStream begins a second standard input without a name while the first one is read: when that has
// ended, the same stream resumes, and another one is refused with the way out.
func TestSecondStream(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(drawn(t), 0)
	defer s.Close()
	dir := t.TempDir()
	text := func(from, to int) (lines string) {
		for i := from; i <= to; i++ {
			lines += fmt.Sprintf("%s/i/%d/p.jpg\n", s.URL, i)
		}
		return lines
	}
	first := startFilter(t, dir, readStdin("job.db")...)
	fmt.Fprint(first.in, text(1, 3))
	eventually(t, "3 rows", func() bool { return s.Total() == 3 })
	other, same := startFilter(t, dir, readStdin("job.db")...), startFilter(t, dir, readStdin("job.db")...)
	for _, f := range []*filter{other, same} {
		eventually(t, "it says that it waits", func() bool {
			return strings.Contains(f.stderr.String(), "another process imports this source")
		})
	}
	fmt.Fprint(other.in, text(7, 12))
	other.in.Close()
	fmt.Fprint(same.in, text(1, 5))
	same.in.Close()
	fmt.Fprint(first.in, text(4, 4))
	first.in.Close()
	first.exits(exitOK)
	other.exits(exitError)
	if !strings.Contains(other.stderr.String(), "standard input is not the stream whose import began") ||
		!strings.Contains(other.stderr.String(), "--as NAME") {
		t.Error(&other.stderr)
	}
	same.exits(exitOK)
	if s.Total() != 5 {
		t.Errorf("%d requests for 5 rows", s.Total())
	}
	if out := mustHere(t, "export", filepath.Join(dir, "job.db"), "--columns",
		"id,status"); out != "id,status\n1,ok\n2,ok\n3,ok\n4,ok\n5,ok\n" {
		t.Error(out)
	}
	mustHere(t, "verify", filepath.Join(dir, "job.db"), "-q")
}

// TestWatchLimited ends a run that watches by its limits: the exit code says that there may be more, and the
// next run goes on.
func TestWatchLimited(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(drawn(t), 0)
	defer s.Close()
	dir := t.TempDir()
	list := filepath.Join(dir, "urls.txt")
	url := func(i int) string { return fmt.Sprintf("%s/i/%d/p.jpg", s.URL, i) }
	appendTo(t, list, url(1)+"\n"+url(2)+"\n"+url(3)+"\n"+url(4)+"\n")
	args := watches("job.db", "urls.txt")
	f := startFilter(t, dir, append(args, "--max-rows", "3")...)
	for i := range 3 {
		f.brings(url(i + 1))
	}
	f.ends(exitLimited)
	if s.Total() != 3 {
		t.Errorf("%d requests, want 3", s.Total())
	}
	// Lines that come while it watches count, too.
	f = startFilter(t, dir, append(args, "--max-rows", "2")...)
	f.brings(url(4))
	appendTo(t, list, url(5)+"\n"+url(6)+"\n")
	f.brings(url(5))
	f.ends(exitLimited)
	f = startFilter(t, dir, append(args, "--max-duration", "2s")...)
	f.brings(url(6))
	f.ends(exitLimited) // with nothing left to do
	f = startFilter(t, dir, append(args, "--max-duration", "1m")...)
	appendTo(t, list, url(7)+"\n")
	f.brings(url(7))
	f.interrupt()
	if s.Total() != 7 {
		t.Errorf("%d requests, want 7", s.Total())
	}
}

// TestWatchRotation renames a list that is watched: away for a moment, into its place by an editor that
// rewrote it, longer, and away for a new list, which is refused.
func TestWatchRotation(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(drawn(t), 0)
	defer s.Close()
	dir := t.TempDir()
	list := filepath.Join(dir, "urls.txt")
	url := func(i int) string { return fmt.Sprintf("%s/i/%d/p.jpg", s.URL, i) }
	rename := func(from, to string) {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	appendTo(t, list, url(1)+"\n")
	f := startFilter(t, dir, watches("job.db", "urls.txt")...)
	f.brings(url(1))
	rename(list, list+".away")
	appendTo(t, list+".away", url(2)+"\n")
	rename(list+".away", list)
	f.brings(url(2))
	appendTo(t, list+".new", url(1)+"\n"+url(2)+"\n"+url(3)+"\n")
	rename(list+".new", list)
	f.brings(url(3))
	rename(list, list+".1")
	appendTo(t, list, url(4)+"\n")
	f.ends(exitError)
	if !strings.Contains(f.stderr.String(), "urls.txt has changed since its import began") || s.Total() != 3 {
		t.Errorf("%d requests\n%s", s.Total(), &f.stderr)
	}
	// The list as it was, longer again, resumes.
	rename(list+".1", list)
	appendTo(t, list, url(4)+"\n")
	f = startFilter(t, dir, watches("job.db", "urls.txt")...)
	f.brings(url(4))
	f.interrupt()
	mustHere(t, "verify", filepath.Join(dir, "job.db"), "-q")
}

// TestWatchZstd appends frames to a .zst, also in parts.
func TestWatchZstd(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(drawn(t), 0)
	defer s.Close()
	dir := t.TempDir()
	list := filepath.Join(dir, "urls.txt.zst")
	url := func(i int) string { return fmt.Sprintf("%s/i/%d/p.jpg", s.URL, i) }
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	frame := func(text string) string { return string(z.EncodeAll([]byte(text), nil)) }
	appendTo(t, list, frame(url(1)+"\n"+url(2)[:9]))
	f := startFilter(t, dir, watches("job.db", "urls.txt.zst")...)
	f.brings(url(1))
	appendTo(t, list, frame(url(2)[9:]+"\n"))
	f.brings(url(2))
	for i := 3; i < 8; i++ {
		whole := frame(url(i) + "\n")
		cut := (i - 2) * len(whole) / 6
		appendTo(t, list, whole[:cut])
		appendTo(t, list, whole[cut:])
		f.brings(url(i))
	}
	// A frame that is cut off is waited for; what comes before it is there.
	whole := frame(url(9) + "\n")
	appendTo(t, list, frame(url(8)+"\n")+whole[:len(whole)/2])
	f.brings(url(8))
	appendTo(t, list, whole[len(whole)/2:])
	f.brings(url(9))
	f.interrupt()
	mustHere(t, quietRun(list, "--db", filepath.Join(dir, "job.db"))...)
	if s.Total() != 9 {
		t.Errorf("%d requests, want 9", s.Total())
	}
}
