package heif

import (
	"errors"
	"image"
)

// EncodeAVIF encodes opaque RGBA pixels without loss.
func EncodeAVIF(rgba []byte, width, height int) ([]byte, error) {
	p, err := modules[AVIF].get()
	if err != nil {
		return nil, err
	}
	i, err := p.start(512<<20, 1<<40)
	if err != nil {
		return nil, err
	}
	defer i.mod.Close(i.ctx)
	in, err := i.alloc(len(rgba), rgba)
	if err != nil {
		return nil, err
	}
	size, err := i.alloc(8, nil)
	if err != nil {
		return nil, err
	}
	const lossless, fastest, chroma444 = 100, 10, 1
	out, err := i.call("encode", in, uint64(width), uint64(height), size, lossless, lossless, fastest,
		chroma444, 1)
	if err != nil {
		return nil, err
	}
	n, _ := i.mod.Memory().ReadUint32Le(uint32(size))
	b, ok := i.mod.Memory().Read(out, n)
	if n == 0 || !ok {
		return nil, errors.New("nothing encoded")
	}
	return b, nil
}

// DecodeWithin is Decode with another limit of loop iterations.
func DecodeWithin(body []byte, f Info, loops int64) error {
	p, err := modules[f.Format].get()
	if err != nil {
		return err
	}
	i, err := p.start(f.Memory(), loops/perTick)
	if err != nil {
		return err
	}
	defer i.mod.Close(i.ctx)
	_, err = i.decode(body, f)
	return err
}

var (
	Meter      = meter
	AVIFModule = avifModule
	HEICModule = heicModule
	ErrEndless = errEndless
)

// Limits are the limits for a picture of that size in a file of so many bytes.
func Limits(width, height, body int, alpha, deep bool) (memory, loops int64) {
	f := Info{Format: HEIC, coded: image.Pt(width, height), body: body, alpha: alpha, deep: deep}
	return f.Memory(), f.loops()
}
