package cmd

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"facescan/pipeline/fetch/fetchtest"
)

// TestNothingLeaks: after a run over many hosts there are no more goroutines and open files than before it.
func TestNothingLeaks(t *testing.T) {
	hosts, rows := 50, 1200
	if os.Getenv("FACESCAN_SOAK") != "" {
		hosts, rows = 1000, 100_000
	}
	run := func(hosts, rows int) {
		s := fetchtest.New(pictures(t), 0)
		defer s.Close()
		var bases []string
		for i := range hosts {
			bases = append(bases, s.Listen(fmt.Sprintf("127.2.%d.%d:0", i/250, 1+i%250)))
		}
		lines, outcomes := badList(s, rows)
		for i, l := range lines {
			if i%12 != 0 { // the photo takes long
				l = strings.Replace(l, fmt.Sprintf("/i/%d/", i), fmt.Sprintf("/i/%d/", i/3*3+1), 1)
			}
			lines[i] = strings.Replace(l, s.URL, bases[i%hosts], 1)
		}
		list := writeList(t, t.TempDir(), lines)
		mustHere(t, quietRun(list, "--min-face", "80")...)
		checkExport(t, list, lines, outcomes)
	}
	run(2, 24) // whatever is made once is there
	files, goroutines := openFiles(t), goleak.IgnoreCurrent()
	run(hosts, rows)
	eventually(t, "open files as before",
		func() bool { return len(openFiles(t)) <= len(files) })
	goleak.VerifyNone(t, goroutines)
}

// openFiles lists what this process has open.
func openFiles(t *testing.T) (names []string) {
	entries, err := os.ReadDir("/proc/self/fd")
	if os.IsNotExist(err) { // not Linux
		entries, err = os.ReadDir("/dev/fd")
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
