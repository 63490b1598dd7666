package sqlite

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// networked are file systems whose locks do not reach the other machines that see them, or reach them late.
var networked = map[int64]string{
	0x6969: "NFS", 0x517b: "SMB", 0xfe534d42: "SMB", 0xff534d42: "SMB", 0x0bd00bd0: "Lustre",
	0x00c36400: "Ceph", 0x47504653: "GPFS", 0x19830326: "BeeGFS", 0x5346414f: "AFS",
}

// checkFilesystem refuses a folder on a network file system.
func checkFilesystem(dir string) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	return refuseNetworked(dir, int64(s.Type))
}

// refuseNetworked decides by a file system's magic number.
func refuseNetworked(dir string, magic int64) error {
	if name, bad := networked[magic&0xffffffff]; bad {
		return fmt.Errorf("%s is on %s, where SQLite's locks cannot be trusted: name a job on a local disk "+
			"with --db", dir, name)
	}
	return nil
}

// checkRoom refuses a folder that has not as many bytes free.
func checkRoom(dir string, bytes int64) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if free := int64(s.Bavail) * int64(s.Bsize); free < bytes {
		return fmt.Errorf("%s has %d MB free, and %d MB are needed", dir, free>>20, bytes>>20+1)
	}
	return nil
}

// leaseClock runs on through suspension and is never set, in nanoseconds; all processes of a machine share
// it. It starts from 0 at boot, when every owner of an older lease is dead.
func leaseClock() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic("no CLOCK_BOOTTIME: " + err.Error()) // Linux has had it since 2.6.39
	}
	return t.Nano()
}
