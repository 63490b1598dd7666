package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"facescan/pipeline/decode"
)

// newTryDecode is the child that decodes a suspect image where a crash harms nobody: one that was in a
// decoder when its process died. It exits 0 when the decoder came back, with an error or without.
func newTryDecode(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:    "try-decode",
		Hidden: true,
		Args:   args(cobra.NoArgs, "an image on stdin"),
		RunE: func(*cobra.Command, []string) error {
			body, err := io.ReadAll(g.in)
			if err != nil {
				return err
			}
			d := decode.New(decode.Options{MaxPixels: 1 << 40})
			defer d.Close()
			_, _ = d.Decode(body) // its verdict is the parent's to get; here only survival counts
			return nil
		},
	}
}

// trialTime is how long a trial may take: far more than any decoder needs for an image within --max-pixels.
const trialTime = 2 * time.Minute

// tryDecodeInChild returns an error if decoding the body killed the child, or never ended; nil if no child
// could be started.
func tryDecodeInChild(ctx context.Context, body []byte) error {
	self, err := os.Executable()
	if err != nil {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, trialTime)
	defer cancel()
	c := exec.CommandContext(limited, self, "try-decode")
	c.Stdin = bytes.NewReader(body)
	// a Ctrl-C is not for it: its end by that would be the image's fault
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var gone *exec.ExitError
	if err := c.Run(); errors.As(err, &gone) && ctx.Err() == nil {
		return fmt.Errorf("the trial decode ended with %v", gone.ProcessState)
	}
	return nil
}
