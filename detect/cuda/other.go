//go:build !linux || static

package cuda

import (
	"context"
	"errors"

	"facescan/detect"
	"facescan/detect/pigo"
)

// Engine is unavailable on this platform.
type Engine struct{}

// Open returns an error: GPUs are used on Linux only, and a static program cannot load the driver.
func Open(*pigo.Cascade, int) (*Engine, error) {
	return nil, errors.New("this build cannot use a GPU: build facescan on Linux, with go build, and " +
		"without the tag static that packages are built with")
}

func (*Engine) Name() string                             { return "" }
func (*Engine) Run(context.Context, []pigo.Search) error { return detect.ErrUnavailable }
func (*Engine) Close() error                             { return nil }
