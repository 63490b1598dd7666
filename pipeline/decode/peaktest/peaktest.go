// Package peaktest measures for tests how much memory decoding takes at its peak. Garbage and what C
// allocates count, so each measurement is a process of its own: the test binary, run again.
package peaktest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// child names the file whose decoding is measured to the process that does it.
const child = "FACESCAN_PEAK_OF"

// Main is a package's TestMain. What is measured is decode, which returns how many bytes it announced to
// take.
func Main(m *testing.M, decode func(body []byte) (announced int64, err error)) {
	name := os.Getenv(child)
	if name == "" {
		os.Exit(m.Run())
	}
	if err := measure(name, decode); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func measure(name string, decode func([]byte) (int64, error)) error {
	body, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	// The kernel restarts its count of the peak. A decoder's refusal is a valid result.
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		return err
	}
	before, err := resident()
	if err != nil {
		return err
	}
	announced, refusal := decode(body)
	after, err := resident()
	if err != nil {
		return err
	}
	_, err = fmt.Println(after-before, announced, refusal)
	return err
}

// resident is the most memory that this process had in use, in bytes.
func resident() (n int64, err error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &n); err == nil {
			return n << 10, nil
		}
	}
	return 0, errors.New("the kernel does not report the peak of the memory in use")
}

// Of is what decoding body took, and announced to take, in bytes. It must succeed.
func Of(t *testing.T, body []byte) (took, announced int64) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(name, body, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), child+"="+name)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var refusal string
	if _, err := fmt.Sscan(string(out), &took, &announced, &refusal); err != nil || refusal != "<nil>" {
		t.Fatalf("%v: %s", err, out)
	}
	return took, announced
}
