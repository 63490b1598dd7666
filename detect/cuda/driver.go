//go:build linux && !static

package cuda

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"github.com/ebitengine/purego"

	"facescan/detect/pigo"
)

// library is the driver's shared library.
const library = "libcuda.so.1"

// errMemory means that the GPU, or pinned memory, is full.
var errMemory = errors.New("out of the GPU's memory")

const outOfMemory = 2 // CUDA_ERROR_OUT_OF_MEMORY

// function is a function of the driver: all take words and return a CUresult.
type function struct {
	name  string
	entry uintptr
}

// driver is a GPU, with the kernel and the cascade on it. Its functions may be called by any thread that
// called use first.
type driver struct {
	handle  uintptr
	device  int32
	context uintptr
	module  uintptr
	search  uintptr
	name    string

	trees trees
	mems  []uintptr // of the cascade

	errorString function

	init, deviceCount, deviceGet, deviceName, retain, release, setCurrent, moduleLoad, moduleUnload,
	moduleFunction, alloc, free, hostAlloc, hostFree, streamCreate, streamDestroy, synchronize, toDevice,
	toHost, fill, launch function
}

// trees is trees_t: the cascade, by addresses on the GPU.
type trees struct {
	codes, leaves, stages uintptr
	count, depth          int32
	last                  float32
	_                     int32
}

// newDriver loads the driver, opens a GPU, and loads kernel and cascade.
func newDriver(library string, device int, t pigo.Tables) (d *driver, err error) {
	handle, err := purego.Dlopen(library, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("no NVIDIA driver on this machine: %w", err)
	}
	d = &driver{handle: handle}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
			d = nil
		}
	}()
	for name, f := range map[string]*function{
		"cuInit": &d.init, "cuDeviceGetCount": &d.deviceCount, "cuDeviceGet": &d.deviceGet,
		"cuDeviceGetName": &d.deviceName, "cuDevicePrimaryCtxRetain": &d.retain,
		"cuDevicePrimaryCtxRelease_v2": &d.release, "cuCtxSetCurrent": &d.setCurrent,
		"cuModuleLoadData": &d.moduleLoad, "cuModuleUnload": &d.moduleUnload,
		"cuModuleGetFunction": &d.moduleFunction, "cuMemAlloc_v2": &d.alloc, "cuMemFree_v2": &d.free,
		"cuMemHostAlloc": &d.hostAlloc, "cuMemFreeHost": &d.hostFree, "cuStreamCreate": &d.streamCreate,
		"cuStreamDestroy_v2": &d.streamDestroy, "cuStreamSynchronize": &d.synchronize,
		"cuMemcpyHtoDAsync_v2": &d.toDevice, "cuMemcpyDtoHAsync_v2": &d.toHost,
		"cuMemsetD32Async": &d.fill, "cuLaunchKernel": &d.launch, "cuGetErrorString": &d.errorString,
	} {
		f.name = name
		if f.entry, err = purego.Dlsym(handle, name); err != nil {
			return d, fmt.Errorf("the NVIDIA driver lacks %s: it is too old", name)
		}
	}
	if err := d.call(&d.init, 0); err != nil {
		return d, fmt.Errorf("the NVIDIA driver does not start: %w", err)
	}
	var count int32
	if err := d.call(&d.deviceCount, uintptr(unsafe.Pointer(&count))); err != nil {
		return d, err
	}
	if device < 0 || device >= int(count) {
		return d, fmt.Errorf("there is no GPU %d: the driver sees %d", device, count)
	}
	if err := d.call(&d.deviceGet, uintptr(unsafe.Pointer(&d.device)), uintptr(device)); err != nil {
		return d, err
	}
	var name [256]byte
	if err := d.call(&d.deviceName, uintptr(unsafe.Pointer(&name[0])), uintptr(len(name)),
		uintptr(d.device)); err != nil {
		return d, err
	}
	for i, c := range name {
		if c == 0 {
			d.name = string(name[:i])
			break
		}
	}
	if err := d.call(&d.retain, uintptr(unsafe.Pointer(&d.context)), uintptr(d.device)); err != nil {
		return d, err
	}
	defer d.use()()
	source := append(ptx[:len(ptx):len(ptx)], 0)
	if err := d.call(&d.moduleLoad, uintptr(unsafe.Pointer(&d.module)),
		uintptr(unsafe.Pointer(&source[0]))); err != nil {
		return d, fmt.Errorf("the driver does not take the kernel: %w", err)
	}
	entry := append([]byte("search"), 0)
	if err := d.call(&d.moduleFunction, uintptr(unsafe.Pointer(&d.search)), d.module,
		uintptr(unsafe.Pointer(&entry[0]))); err != nil {
		return d, err
	}
	return d, d.load(t)
}

// load copies the cascade to the GPU.
func (d *driver) load(t pigo.Tables) error {
	d.trees = trees{count: int32(len(t.Stages)), depth: int32(t.Depth), last: t.Last}
	for _, part := range []struct {
		to    *uintptr
		from  unsafe.Pointer
		bytes int
	}{
		{&d.trees.codes, unsafe.Pointer(&t.Codes[0]), len(t.Codes)},
		{&d.trees.leaves, unsafe.Pointer(&t.Leaves[0]), 4 * len(t.Leaves)},
		{&d.trees.stages, unsafe.Pointer(&t.Stages[0]), 8 * len(t.Stages)},
	} {
		if err := d.call(&d.alloc, uintptr(unsafe.Pointer(part.to)), uintptr(part.bytes)); err != nil {
			return err
		}
		d.mems = append(d.mems, *part.to)
		if err := d.call(&d.toDevice, *part.to, uintptr(part.from), uintptr(part.bytes), 0); err != nil {
			return err
		}
	}
	err := d.call(&d.synchronize, 0)
	runtime.KeepAlive(t)
	return err
}

// use makes the GPU current for this goroutine, and locks it to its thread until the returned function is
// called.
func (d *driver) use() (done func()) {
	runtime.LockOSThread()
	_ = d.call(&d.setCurrent, d.context) // an error here shows in the calls that follow
	return runtime.UnlockOSThread
}

// call calls one of the driver's functions. Memory that arguments point to does not move meanwhile.
//
//go:uintptrescapes
func (d *driver) call(f *function, args ...uintptr) error {
	r, _, _ := purego.SyscallN(f.entry, args...)
	if r = uintptr(uint32(r)); r == 0 {
		return nil
	}
	if r == outOfMemory {
		return fmt.Errorf("%w (%s)", errMemory, f.name)
	}
	return fmt.Errorf("%s: error %d: %s", f.name, r, d.words(r))
}

// words returns the driver's text for an error.
func (d *driver) words(code uintptr) string {
	words := new(*byte)
	pin := runtime.Pinner{}
	pin.Pin(words)
	defer pin.Unpin()
	purego.SyscallN(d.errorString.entry, code, uintptr(unsafe.Pointer(words)))
	if *words == nil {
		return "unknown"
	}
	var text []byte
	for b := *words; *b != 0; b = (*byte)(unsafe.Add(unsafe.Pointer(b), 1)) {
		text = append(text, *b)
	}
	return string(text)
}

// close frees the GPU. The library stays loaded: drivers do not support unloading well.
func (d *driver) close() error {
	var errs []error
	if d.context != 0 {
		done := d.use()
		for _, m := range d.mems {
			errs = append(errs, d.call(&d.free, m))
		}
		if d.module != 0 {
			errs = append(errs, d.call(&d.moduleUnload, d.module))
		}
		done()
		errs = append(errs, d.call(&d.release, uintptr(d.device)))
	}
	d.context, d.module, d.mems = 0, 0, nil
	return errors.Join(errs...)
}
