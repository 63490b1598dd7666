//go:build !linux

package cuda

import (
	"context"
	"errors"

	"facescan/detect"
	"facescan/detect/pigo"
)

// Engine is unavailable on this platform.
type Engine struct{}

// Open returns an error: there is no CUDA on this platform.
func Open(*pigo.Cascade, int) (*Engine, error) {
	return nil, errors.New("GPUs are used on Linux only")
}

func (*Engine) Name() string                             { return "" }
func (*Engine) Run(context.Context, []pigo.Search) error { return detect.ErrUnavailable }
func (*Engine) Close() error                             { return nil }
