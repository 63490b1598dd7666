//go:build !linux

package cuda

import (
	"context"
	"errors"

	"facescan/detect"
	"facescan/detect/cascade"
)

// Engine is none on this system.
type Engine struct{}

// Open says so.
func Open(*cascade.Cascade, int) (*Engine, error) {
	return nil, errors.New("GPUs are used on Linux only")
}

func (*Engine) Name() string                               { return "" }
func (*Engine) Run(context.Context, []detect.Search) error { return detect.ErrUnavailable }
func (*Engine) Close() error                               { return nil }
