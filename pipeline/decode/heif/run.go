package heif

import (
	"bytes"
	"compress/gzip"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"image"
	"io"
	"math"
	"sync"
	"sync/atomic"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

//go:embed avif.wasm.gz
var avifModule []byte

//go:embed heic.wasm.gz
var heicModule []byte

// Limits of the decoders: several times what was measured.
const (
	baseMemory = 16 << 20
	// bytes; 8-bit RGBA twice, planes at full resolution with their references and alpha: 10 to 15
	pixelMemory = 20
	deepMemory  = 2 * pixelMemory
	alphaMemory = 6 // more: what decoding a picture leaves behind when its opacity is decoded, and that

	// MaxMemory is the largest memory a module can have.
	MaxMemory = 2 << 30

	baseLoops  = 1 << 26 // iterations
	pixelLoops = 1000    // 6 to 30
	byteLoops  = 1000    // 60 to 200
)

// Memory is the most bytes that Decode takes. More than MaxMemory is refused.
func (f Info) Memory() int64 {
	n := int64(pixelMemory)
	if f.deep {
		n = deepMemory
	}
	if f.alpha {
		n += alphaMemory
	}
	return baseMemory + n*int64(f.coded.X)*int64(f.coded.Y) + 3*int64(f.body)
}

// loops is the most loop iterations that Decode runs.
func (f Info) loops() int64 {
	loops := baseLoops + pixelLoops*int64(f.coded.X)*int64(f.coded.Y) + byteLoops*int64(f.body)
	if f.alpha {
		loops *= 2
	}
	return loops
}

// program is a compiled module, shared by all decoders.
type program struct {
	runtime  wazero.Runtime
	compiled wazero.CompiledModule
}

// module is a decoder; it is compiled for its first picture.
type module struct {
	packed   []byte
	fix      func([]byte) []byte // changes its code; may be nil
	memory   int64               // peak of compiling, in bytes
	once     sync.Once
	program  *program
	err      error
	compiled atomic.Bool
}

// The peaks were measured as 85 and 55 MB.
var modules = map[string]*module{
	AVIF: {packed: avifModule, memory: 112 << 20},
	HEIC: {packed: heicModule, memory: 80 << 20, fix: fixCr},
}

func (m *module) get() (*program, error) {
	m.once.Do(func() {
		m.program, m.err = compile(m.packed, m.fix)
		m.compiled.Store(true)
	})
	return m.program, m.err
}

// Compiling is how many bytes decoding a picture of that format takes besides Info.Memory: 0 once the decoder
// is compiled.
func Compiling(format string) int64 {
	m := modules[format]
	if m.compiled.Load() {
		return 0
	}
	return m.memory
}

// fixCr corrects the plane Cr in heic's decode call. The call passes NULL for the length of a row, which this
// libheif refuses; it then copies the beginning of the module's memory. In its code
//
//	heif_image_get_plane_readonly(img, heif_channel_Cr, NULL)
//
// NULL becomes the lowest address of decode's own frame on the stack, which is no longer in use. A build of
// the module without these instructions is left unchanged.
func fixCr(code []byte) []byte {
	const img, cr, null, frame, call = "\x20\x29\x28\x02\x0c", "\x41\x02", "\x41\x00", "\x20\x29", "\x10"
	if old := []byte(img + cr + null + call); bytes.Count(code, old) == 1 {
		return bytes.Replace(code, old, []byte(img+cr+frame+call), 1)
	}
	return code
}

// compile unpacks a module, applies fix if there is one, and compiles it.
func compile(packed []byte, fix func([]byte) []byte) (*program, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	code, err := io.ReadAll(z)
	if err != nil {
		return nil, err
	}
	if fix != nil {
		code = fix(code)
	}
	if code, err = meter(code); err != nil {
		return nil, err
	}
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().
		WithCoreFeatures(api.CoreFeaturesV2|experimental.CoreFeaturesThreads))
	c, err := r.CompileModule(ctx, code)
	if err != nil {
		return nil, errors.Join(err, r.Close(ctx))
	}
	if err := emptyWorld(ctx, r, c); err != nil {
		return nil, errors.Join(err, r.Close(ctx))
	}
	return &program{r, c}, nil
}

const badFile = 8 // EBADF, as WASI numbers it

// emptyWorld gives the module the system calls that it imports. All fail except three: the end of the program
// ends the call, the meter's ticks are counted, and the environment is empty.
func emptyWorld(ctx context.Context, r wazero.Runtime, c wazero.CompiledModule) error {
	b := r.NewHostModuleBuilder("wasi_snapshot_preview1")
	for _, f := range c.ImportedFunctions() {
		_, name, _ := f.Import()
		call := api.GoModuleFunc(func(_ context.Context, _ api.Module, stack []uint64) { stack[0] = badFile })
		switch name {
		case "fd_close":
			call = func(ctx context.Context, _ api.Module, stack []uint64) {
				if uint32(stack[0]) == tick {
					ctx.Value(fuelKey{}).(*fuel).burn()
				}
				stack[0] = badFile
			}
		case "environ_sizes_get": // no variables, in no bytes
			call = func(_ context.Context, m api.Module, stack []uint64) {
				m.Memory().WriteUint32Le(uint32(stack[0]), 0)
				m.Memory().WriteUint32Le(uint32(stack[1]), 0)
				stack[0] = 0
			}
		case "proc_exit":
			call = func(context.Context, api.Module, []uint64) { panic(errGaveUp) }
		}
		b.NewFunctionBuilder().WithGoModuleFunction(call, f.ParamTypes(), f.ResultTypes()).Export(name)
	}
	_, err := b.Instantiate(ctx)
	return err
}

// fuel is how many ticks a call may still take.
type fuel struct{ ticks int64 }

type fuelKey struct{}

var (
	errEndless = errors.New("takes too long")
	errGaveUp  = errors.New("decoder gave up")
)

func (f *fuel) burn() {
	if f.ticks--; f.ticks < 0 {
		panic(errEndless)
	}
}

// memory is a module's, up to a limit.
type memory struct {
	limit uint64
	b     []byte
}

// Reallocate implements experimental.LinearMemory.
func (m *memory) Reallocate(size uint64) []byte {
	if size > m.limit {
		return nil
	}
	if m.b == nil {
		m.b = make([]byte, m.limit)
	}
	return m.b[:size]
}

// Free implements experimental.LinearMemory.
func (m *memory) Free() { m.b = nil }

// instance is a module at work on one picture.
type instance struct {
	ctx context.Context
	mod api.Module
}

// start makes an instance with limits on its memory and its ticks.
func (p *program) start(limit, ticks int64) (*instance, error) {
	ctx := context.WithValue(context.Background(), fuelKey{}, &fuel{ticks})
	ctx = experimental.WithMemoryAllocator(ctx,
		experimental.MemoryAllocatorFunc(func(_, _ uint64) experimental.LinearMemory {
			return &memory{limit: uint64(limit)}
		}))
	mod, err := p.runtime.InstantiateModule(ctx, p.compiled,
		wazero.NewModuleConfig().WithName("").WithStartFunctions("_initialize"))
	if err != nil {
		return nil, err
	}
	return &instance{ctx, mod}, nil
}

// call calls a function that returns one number.
func (i *instance) call(name string, args ...uint64) (uint32, error) {
	out, err := i.mod.ExportedFunction(name).Call(i.ctx, args...)
	if err != nil {
		return 0, err
	}
	return uint32(out[0]), nil
}

// alloc takes n bytes of the instance's memory and fills them from data, as far as that goes.
func (i *instance) alloc(n int, data []byte) (uint64, error) {
	p, err := i.call("malloc", uint64(n))
	if err != nil {
		return 0, err
	}
	if p == 0 || !i.mod.Memory().Write(p, data) {
		return 0, errors.New("out of memory")
	}
	return uint64(p), nil
}

// Decode decodes the picture that Parse described: RGBA or RGBA64 for AVIF; YCbCr, Gray, RGBA or NRGBA for
// HEIC.
func Decode(body []byte, f Info) (image.Image, error) {
	if f.Memory() > MaxMemory {
		return nil, errors.New("too large")
	}
	p, err := modules[f.Format].get()
	if err != nil {
		return nil, fmt.Errorf("%s decoder: %w", f.Format, err)
	}
	i, err := p.start(f.Memory(), f.loops()/perTick)
	if err != nil {
		return nil, err
	}
	defer i.mod.Close(i.ctx)
	return i.decode(body, f)
}

// decode is Decode in an instance.
func (i *instance) decode(body []byte, f Info) (image.Image, error) {
	in, err := i.alloc(len(body), body)
	if err != nil {
		return nil, err
	}
	file, err := i.view(in, len(body)) // the module's copy, which is what it reads
	if err != nil {
		return nil, err
	}
	size := uint64(len(body))
	if f.Format == AVIF {
		brand := "avif"
		if f.sequence {
			brand = "avis"
		}
		rebrand(file, brand)
		return i.avif(in, size, f)
	}
	rebrand(file, "heic")
	m, err := i.heic(in, size, f)
	if err != nil || !f.alpha || !showAlpha(file) {
		return m, err
	}
	opacity, err := i.heic(in, size, f)
	if errors.Is(err, errEndless) {
		return nil, err
	}
	return masked(m, opacity), nil // keep the picture without its alpha
}

// masked applies the luma of another picture as opacity, if there is one.
func masked(m, opacity image.Image) image.Image {
	var a *image.Gray
	switch o := opacity.(type) {
	case *image.Gray:
		a = o
	case *image.YCbCr:
		a = &image.Gray{Pix: o.Y, Stride: o.YStride, Rect: o.Rect}
	default:
		return m
	}
	switch m := m.(type) {
	case *image.YCbCr:
		return &image.NYCbCrA{YCbCr: *m, A: a.Pix, AStride: a.Stride}
	case *image.Gray:
		for y := range m.Rect.Dy() {
			row, opacity := m.Pix[y*m.Stride:][:m.Rect.Dx()], a.Pix[y*a.Stride:]
			for x, v := range row { // on white
				o := uint32(opacity[x])
				row[x] = uint8((uint32(v)*o + 255*(255-o) + 127) / 255)
			}
		}
	}
	return m
}

// decodeCall calls the module's decode function, whose result is 0 for a refusal.
func (i *instance) decodeCall(args ...uint64) error {
	ok, err := i.call("decode", args...)
	if err == nil && ok == 0 {
		err = errRefused
	}
	return err
}

// header calls decode for the header only, and reads the n numbers that it stores at p.
func (i *instance) header(decode func(headerOnly, out uint64) error, p uint64, n int) ([]int, error) {
	if err := decode(1, 0); err != nil {
		return nil, err
	}
	out := make([]int, n)
	for k := range out {
		v, ok := i.mod.Memory().ReadUint32Le(uint32(p) + 4*uint32(k))
		if !ok {
			return nil, errCut
		}
		out[k] = int(v)
	}
	return out, nil
}

// view is a part of the instance's memory. It stays valid when the instance is closed.
func (i *instance) view(p uint64, n int) ([]byte, error) {
	b, ok := i.mod.Memory().Read(uint32(p), uint32(n))
	if !ok {
		return nil, errCut
	}
	return b, nil
}

var (
	errRefused = errors.New("decoder refuses it")
	errSize    = errors.New("size differs from the container's")
)

// avif calls decode(in, size, header only, all frames, &width, &height, &depth, &count, &delay, out).
func (i *instance) avif(in, size uint64, f Info) (image.Image, error) {
	p, err := i.alloc(32, nil)
	if err != nil {
		return nil, err
	}
	decode := func(headerOnly, out uint64) error {
		return i.decodeCall(in, size, headerOnly, 0, p, p+4, p+8, p+12, p+16, out)
	}
	a, err := i.header(decode, p, 3)
	if err != nil {
		return nil, err
	}
	if a[0] != f.coded.X || a[1] != f.coded.Y {
		return nil, errSize
	}
	pixel := 4
	if a[2] > 8 {
		pixel = 8
	}
	n := a[0] * a[1] * pixel
	out, err := i.alloc(n, nil)
	if err != nil {
		return nil, err
	}
	// A frame that cannot be decoded is skipped silently; its duration then keeps the value set here.
	i.mod.Memory().WriteUint64Le(uint32(p+16), math.MaxUint64)
	if err := decode(0, out); err != nil {
		return nil, err
	}
	if d, _ := i.mod.Memory().ReadUint64Le(uint32(p + 16)); d == math.MaxUint64 {
		return nil, errRefused
	}
	pix, err := i.view(out, n)
	if err != nil {
		return nil, err
	}
	stride := pixel * a[0]
	pix = pix[f.crop.Min.Y*stride+f.crop.Min.X*pixel:]
	r := image.Rectangle{Max: f.crop.Size()}
	if pixel == 4 {
		return &image.RGBA{Pix: pix, Stride: stride, Rect: r}, nil
	}
	for k := 0; k+1 < len(pix); k += 2 { // the module's numbers are little-endian
		pix[k], pix[k+1] = pix[k+1], pix[k]
	}
	return &image.RGBA64{Pix: pix, Stride: stride, Rect: r}, nil
}

// libheif's words for what heic gets.
const (
	spaceYCbCr = 0
	spaceRGB   = 1
	spaceGrey  = 2
	chroma420  = 1
	chroma422  = 2
	chroma444  = 3
	leastRow   = 64 // pixels in a row of a plane, at least, and an even number
	rowAlign   = 16 // bytes of whose multiples a row's length is one
)

// heic calls decode(in, size, header only, &width, &height, &space, &chroma, &premultiplied, out).
func (i *instance) heic(in, size uint64, f Info) (image.Image, error) {
	p, err := i.alloc(32, nil)
	if err != nil {
		return nil, err
	}
	decode := func(headerOnly, out uint64) error {
		return i.decodeCall(in, size, headerOnly, p, p+4, p+8, p+12, p+16, out)
	}
	a, err := i.header(decode, p, 5)
	if err != nil {
		return nil, err
	}
	w, h := a[0], a[1]
	if w != f.Width || h != f.Height {
		return nil, errSize
	}
	row := func(pixels, size int) int {
		return (max(leastRow, pixels+pixels&1)*size + rowAlign - 1) &^ (rowAlign - 1)
	}
	r := image.Rect(0, 0, w, h)
	var stride, chroma, chromaRows int
	var ratio image.YCbCrSubsampleRatio
	switch a[2] {
	case spaceYCbCr:
		stride, chroma, chromaRows, ratio = row(w, 1), row(w, 1), h, image.YCbCrSubsampleRatio444
		switch a[3] {
		case chroma420:
			chroma, chromaRows, ratio = row((w+1)/2, 1), (h+1)/2, image.YCbCrSubsampleRatio420
		case chroma422:
			chroma, ratio = row((w+1)/2, 1), image.YCbCrSubsampleRatio422
		case chroma444:
		default:
			return nil, fmt.Errorf("chroma format %d", a[3])
		}
	case spaceGrey:
		stride = row(w, 1)
	case spaceRGB:
		stride = row(w, 4)
	default:
		return nil, fmt.Errorf("colour space %d", a[2])
	}
	luma, plane := stride*h, chroma*chromaRows
	out, err := i.alloc(luma+2*plane, nil)
	if err != nil {
		return nil, err
	}
	if err := decode(0, out); err != nil {
		return nil, err
	}
	pix, err := i.view(out, luma+2*plane)
	if err != nil {
		return nil, err
	}
	switch {
	case a[2] == spaceYCbCr:
		return &image.YCbCr{Y: pix[:luma], Cb: pix[luma : luma+plane], Cr: pix[luma+plane:],
			YStride: stride, CStride: chroma, SubsampleRatio: ratio, Rect: r}, nil
	case a[2] == spaceGrey:
		return &image.Gray{Pix: pix, Stride: stride, Rect: r}, nil
	case a[4] == 1:
		return &image.RGBA{Pix: pix, Stride: stride, Rect: r}, nil
	}
	return &image.NRGBA{Pix: pix, Stride: stride, Rect: r}, nil
}
