package fetch

import (
	"errors"
	"io/fs"
	"syscall"
	"testing"
)

// TestFileError: what an error of a file means; the ones of this machine are no outcome of a row.
func TestFileError(t *testing.T) {
	for errno, want := range map[syscall.Errno]string{
		syscall.EMFILE: "", syscall.ENFILE: "", syscall.ENOMEM: "",
		syscall.ENOENT: FileMissing, syscall.ENOTDIR: FileMissing, syscall.ELOOP: FileMissing,
		syscall.EINVAL: BadURL, syscall.ENAMETOOLONG: BadURL,
		syscall.EACCES: FileUnreadable, syscall.EIO: FileUnreadable,
	} {
		err := fileError("/images", &fs.PathError{Op: "open", Path: "a", Err: errno})
		var e *Error
		var gone *GoneError
		switch {
		case want == "" && (!errors.As(err, &gone) || gone.Source != "/images" || gone.Err != errno),
			want != "" && (!errors.As(err, &e) || e.Reason != want || e.Err != errno):
			t.Errorf("%v: %v, want %q", errno, err, want)
		}
	}
}
