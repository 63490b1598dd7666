package crash

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

const asked = "FACESCAN_CRASH_TEST"

func TestMain(m *testing.M) {
	switch os.Getenv(asked) {
	case "panic":
		defer Exit()
		panic("a \x1b[31mbug")
	case "return":
		func() { defer Exit() }()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestExit: a panic ends the process as an error does, and says whose fault it is; what it says is quoted.
func TestExit(t *testing.T) {
	t.Parallel()
	run := func(how string) (stderr string, err error) {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), asked+"="+how)
		var text strings.Builder
		cmd.Stderr = &text
		err = cmd.Run()
		return text.String(), err
	}
	if text, err := run("return"); err != nil || text != "" {
		t.Errorf("without a panic: %v, %q", err, text)
	}
	text, err := run("panic")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("ended with %v", err)
	}
	for _, want := range []string{`a fault of facescan itself: "a \x1b[31mbug"`, "is not lost",
		"crash_test.go"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}
