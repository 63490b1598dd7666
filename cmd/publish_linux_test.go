package cmd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"facescan/pipeline/fetch/fetchtest"
	"facescan/store/storetest/namespace"
)

// TestPublishNoRoom publishes to a file system that is too small: the run does its rows and ends with the
// cause, and leaves no draft there. With more room the same command publishes what is missing, and fetches
// nothing again.
func TestPublishNoRoom(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(drawn(t), 5*time.Millisecond)
	defer s.Close()
	dir := t.TempDir()
	lines, outcomes := plainList(s, 1_500)
	list, published := writeList(t, dir, lines), filepath.Join(dir, "published")
	if err := os.Mkdir(published, 0o700); err != nil {
		t.Fatal(err)
	}
	// The file system goes with its last process.
	c := exec.Command("sh", "-c", `set -eu
		mount --make-rprivate /
		mount -t tmpfs -o size=256k none published
		code=0; "$0" "$@" 2>full.txt || code=$?
		ls -A published >left.txt
		mount -o remount,size=64m published
		[ $code = 1 ] || { cat full.txt; exit 1; }
		"$0" "$@"
		mkdir durable
		cp published/* durable`,
		os.Args[0], "run", list, "--publish", published, "--publish-every", "100ms", "--allow-private",
		"--progress", "none", "--fetchers", "8",
		"--detector", "none")
	c.Dir, c.Env = dir, append(os.Environ(), beMain+"=1")
	namespace.Own(c, syscall.CLONE_NEWNS)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	read := func(name string) string { return readFile(t, filepath.Join(dir, name)) }
	for _, want := range []string{"publish to " + published,
		"no space left on device", "nothing is lost", "run the same command again", "1500 of 1500 rows are " +
			"done"} {
		if !strings.Contains(read("full.txt"), want) {
			t.Errorf("stderr lacks %q:\n%s", want, read("full.txt"))
		}
	}
	for _, name := range strings.Fields(read("left.txt")) {
		if !strings.HasSuffix(name, ".segment.db") {
			t.Errorf("%s was left where there was no room", name)
		}
	}
	merged := filepath.Join(dir, "merged.db")
	mustHere(t, "merge", merged, filepath.Join(dir, "durable"), "-q")
	mustHere(t, "verify", merged, "--deep", "--require-source", "-q")
	checkExport(t, merged, lines, outcomes)
	if s.Total() != len(lines) {
		t.Errorf("%d requests for %d rows", s.Total(), len(lines))
	}
}
