// Package crash ends the process when the program itself is at fault. The runtime's own way is exit code 2,
// which here means a wrong command line. Every package may import this one; it imports no other of facescan.
package crash

import (
	"fmt"
	"os"
	"runtime/debug"
)

// exitCode is that of an error.
const exitCode = 1

// Setup has the runtime's fatal errors, such as a lack of memory, end the process by a signal (SIGABRT).
func Setup() { debug.SetTraceback("crash") }

// Exit ends the process with an error when the function that defers it panics. Every goroutine begins by
// deferring it: a panic that none recovers cannot be caught from elsewhere.
func Exit() {
	v := recover()
	if v == nil {
		return
	}
	// What a panic says may hold anything, hence quoted.
	fmt.Fprintf(os.Stderr, "facescan: error: this is a fault of facescan itself: %q\n"+
		"facescan: what was committed is not lost; please report this, with the lines below:\n%s",
		fmt.Sprint(v), debug.Stack())
	os.Exit(exitCode)
}
