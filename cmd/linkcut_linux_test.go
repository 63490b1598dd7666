package cmd

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"facescan/pipeline/fetch/fetchtest"
	"facescan/store/storetest/namespace"
)

// inNamespace marks the process that lives in a network of its own.
const inNamespace = "FACESCAN_TEST_IN_NAMESPACE"

// ownNetwork runs the test of this name once more, in a process whose network is its own, and reports whether
// this is that process. Root needs nothing for it, others user namespaces.
func ownNetwork(t *testing.T) bool {
	if os.Getenv(inNamespace) != "" {
		link(t, "up")
		return true
	}
	c := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=10m")
	c.Env = append(os.Environ(), inNamespace+"=1", beMain+"=")
	namespace.Own(c, syscall.CLONE_NEWNET)
	out, err := c.CombinedOutput()
	if c.ProcessState == nil {
		t.Fatalf("a network of its own: %v; run as root, or allow user namespaces: sysctl "+
			"kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0, "+
			"user.max_user_namespaces above 0", err)
	}
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	return false
}

// TestLinkCut takes this machine's link away in the middle of a run. Nothing fails for it: the table is that
// of a run that was not disturbed.
func TestLinkCut(t *testing.T) {
	t.Parallel()
	if !ownNetwork(t) {
		return
	}
	rows, cut := 600, time.Duration(0)
	if os.Getenv("FACESCAN_SOAK") != "" {
		rows, cut = 3000, 30*time.Second
	}
	s := fetchtest.New(pictures(t), 20*time.Millisecond)
	defer s.Close()
	bases := []string{s.URL}
	for i := range 19 {
		bases = append(bases, s.Listen(fmt.Sprintf("127.0.0.%d:0", 2+i)))
	}
	lines, _ := badList(s, rows)
	for i, l := range lines {
		lines[i] = strings.Replace(l, s.URL, bases[i/12%len(bases)], 1)
	}
	table := func(disturb func(begun int, stderr *transcript)) (table, told string) {
		list := writeList(t, t.TempDir(), lines)
		begun := s.Total()
		p, stderr := child(t, ".", "run", list, "--allow-private", "--progress", "none", "--fetchers", "8",
			"--timeout", "2s")
		disturb(begun, stderr)
		if err := p.Wait(); err != nil {
			t.Fatalf("%v\n%s", err, stderr)
		}
		return mustHere(t, "export", list, "--columns",
				"id,url,status,reason,http_status,format,width,height,bytes,faces,boxes,attempts,final_url,partial"),
			stderr.String()
	}
	want, _ := table(func(int, *transcript) {})
	got, told := table(func(begun int, stderr *transcript) {
		eventually(t, "a third of the run", func() bool { return s.Total()-begun > rows/3 })
		link(t, "down")
		eventually(t, "word of the outage",
			func() bool { return strings.Contains(stderr.String(), "cut off") })
		time.Sleep(cut) // for a soak: however long it is
		link(t, "up")
	})
	if !strings.Contains(told, "the outage is over") {
		t.Errorf("the end of the outage was not told of:\n%s", told)
	}
	if got != want {
		w := strings.Split(want, "\n")
		for i, l := range strings.Split(got, "\n") {
			if l != w[i] {
				t.Errorf("after the cut %s\nwithout     %s", l, w[i])
			}
		}
	}
}

func link(t *testing.T, state string) {
	if out, err := exec.Command("ip", "link", "set", "lo", state).CombinedOutput(); err != nil {
		t.Fatalf("ip link set lo %s: %v %s(of iproute2: make deps-test)", state, err, out)
	}
}
