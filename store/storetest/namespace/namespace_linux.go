// Package namespace gives tests a part of the system to themselves: a network, or a small disk.
package namespace

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// smallDisk says to the process that SmallDisk starts where its disk is.
const smallDisk = "FACESCAN_TEST_SMALL_DISK"

// Own has a command run in namespaces of its own, such as syscall.CLONE_NEWNET. It is killed when this
// process dies. Root needs nothing for it, others user namespaces.
func Own(c *exec.Cmd, namespaces uintptr) {
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 {
		c.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		c.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		c.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
}

// SmallDisk runs the test of this name once more, in a process that has a file system of this many bytes.
// It returns the folder of that in the process, and "" where the test began.
func SmallDisk(t *testing.T, size int64) (dir string) {
	t.Helper()
	if dir := os.Getenv(smallDisk); dir != "" {
		return dir
	}
	dir = t.TempDir()
	// The file system goes with its last process.
	c := exec.Command("sh", "-c", `set -eu
		mount --make-rprivate /
		mount -t tmpfs -o size="$1" none "$2"
		exec "$0" -test.run="^$3\$" -test.v`, os.Args[0], fmt.Sprint(size), dir, t.Name())
	c.Env = append(os.Environ(), smallDisk+"="+dir)
	Own(c, syscall.CLONE_NEWNS)
	out, err := c.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Fatalf("on a disk of %d bytes: %v\n%s", size, err, out)
	}
	return ""
}

// Leave fills a file system until it has about this many bytes left, and returns what makes room again.
func Leave(t *testing.T, dir string, bytes int64) (makeRoom func()) {
	t.Helper()
	var s syscall.Statfs_t
	err := syscall.Statfs(dir, &s)
	filler := dir + "/filler"
	if err == nil {
		err = os.WriteFile(filler, make([]byte, max(0, int64(s.Bavail)*s.Bsize-bytes)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
	}
}
