package cmd

import (
	"os"
	"os/signal"
	"syscall"

	"facescan/pipeline/crash"
)

// onUSR1 calls f for each SIGUSR1 until the function it returns is called.
func onUSR1(f func()) (stop func()) {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGUSR1)
	done := make(chan struct{})
	go func() {
		defer crash.Exit()
		defer close(done)
		for range ch {
			f()
		}
	}()
	return func() {
		signal.Stop(ch)
		close(ch)
		<-done
	}
}
