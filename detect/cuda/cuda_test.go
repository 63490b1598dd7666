//go:build linux && !static

package cuda

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"image"
	_ "image/jpeg"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/ebitengine/purego"

	"facescan/detect"
	"facescan/detect/detecttest"
	"facescan/detect/detecttest/sample"
	"facescan/detect/pigo"
)

// fake is testdata/driver.c, compiled: a driver that runs the kernel's sources on the processor.
var fake struct {
	path string
	set  uintptr
}

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "facescan-cuda-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	fake.path = filepath.Join(dir, "driver.so")
	if err := compile(fake.path, filepath.Join("testdata", "driver.c")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	handle, err := purego.Dlopen(fake.path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err == nil {
		fake.set, err = purego.Dlsym(handle, "fake")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func compile(to, from string) error {
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "cc"
	}
	out, err := exec.Command(cc, "-O2", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", "-shared",
		"-fPIC", "-pthread", "-o", to, from).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// Controls and counters of the fake driver.
const (
	setLimit, setThreads, setDevices, setBroken           = 0, 1, 2, 3
	allocations, held, launches                           = 4, 5, 6
	sizeGrid, sizePlace, sizeHit, sizeArgs, windowsInTile = 7, 8, 9, 10, 11
	setFailing                                            = 12
)

func tell(what, value int) int {
	r, _, _ := purego.SyscallN(fake.set, uintptr(what), uintptr(value))
	return int(r)
}

func embedded(t testing.TB) *pigo.Cascade {
	t.Helper()
	c, err := pigo.Parse(pigo.Facefinder)
	must(t, err)
	return c
}

// engine is one on the fake driver. When the test ends nothing of it may be left there.
func engine(t testing.TB) *Engine {
	t.Helper()
	e, err := open(embedded(t), fake.path, 0)
	must(t, err)
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if n := tell(held, 0); n != 0 {
			t.Errorf("%d things are left with the driver", n)
		}
	})
	return e
}

// searches are of images of all sorts, in all the ways there are.
func searches(t testing.TB) (all []pigo.Search) {
	images := []*image.Gray{sample.Photo(t, 180), sample.Photo(t, 97),
		sample.Photo(t, 140).SubImage(image.Rect(11, 7, 131, 150)).(*image.Gray)}
	for _, img := range detecttest.Awkward() {
		images = append(images, img.Luma)
	}
	for i, m := range images {
		for _, p := range []pigo.Pass{
			{MinSize: 20, MaxSize: 1000, Shift: 0.1, Scale: 1.1},
			{MinSize: 12, MaxSize: 90, Shift: 0.2, Scale: 1.3, Turn: 1.0 / 32},
			{MinSize: 17, MaxSize: 1000, Shift: 0.13, Scale: 1.2, Mirror: true},
			{MinSize: 24, MaxSize: 1000, Shift: 0.15, Scale: 1.25, Turn: float64(i%32) / 32,
				Mirror: i%2 == 0},
			{MinSize: 25, MaxSize: 24, Shift: 0.1, Scale: 1.1},
		} {
			all = append(all, pigo.Search{Luma: m, Pass: p})
		}
	}
	return all
}

// fresh is the same searches, nothing found.
func fresh(all []pigo.Search) []pigo.Search {
	out := slices.Clone(all)
	for i := range out {
		out[i].Found = nil
	}
	return out
}

func compare(t *testing.T, what string, got, want []pigo.Search) (windows int) {
	t.Helper()
	for i := range want {
		windows += len(want[i].Found)
		if !slices.Equal(got[i].Found, want[i].Found) {
			t.Errorf("%s: search %d, %+v of %v: %v, want %v", what, i, want[i].Pass, want[i].Luma.Bounds(),
				got[i].Found, want[i].Found)
		}
	}
	return windows
}

// TestPigo holds the kernel's sources to pigo: the same windows in the same order, scores bit for bit, in one
// batch and each search alone, with one thread per block and with several.
func TestPigo(t *testing.T) {
	p, err := pigo.NewOracle(pigo.Facefinder)
	must(t, err)
	want := searches(t)
	must(t, p.Run(t.Context(), want))
	e := engine(t)
	defer tell(setThreads, 1)
	for _, n := range []int{1, 3} {
		tell(setThreads, n)
		got := fresh(want)
		must(t, e.Run(t.Context(), got))
		if windows := compare(t, fmt.Sprintf("%d threads", n), got, want); windows < 100 {
			t.Errorf("only %d windows were compared", windows)
		}
	}
	tell(setThreads, 1)
	alone := fresh(want)
	for i := range alone {
		must(t, e.Run(t.Context(), alone[i:i+1]))
	}
	compare(t, "alone", alone, want)
}

// TestSuite runs the suite of every detector.
func TestSuite(t *testing.T) {
	detecttest.Run(t, detect.Pigo, func(p detect.Params) (detect.Detector, error) {
		e, err := open(embedded(t), fake.path, 0)
		if err != nil {
			return nil, err
		}
		return detect.NewWith(p, e)
	}, []*image.Gray{sample.Photo(t, 240)})
}

// manyHits is a search that finds more windows than there is room for at first.
func manyHits(t testing.TB) pigo.Search {
	one := sample.Photo(t, 80)
	many := image.NewGray(image.Rect(0, 0, 480, one.Rect.Dy()))
	for i := range many.Pix {
		many.Pix[i] = one.GrayAt(i%480%80, i/480).Y
	}
	return pigo.Search{Luma: many, Pass: pigo.Pass{MinSize: 36, MaxSize: 64, Shift: 0.01, Scale: 1.01}}
}

// TestManyHits: more windows are found than there was room for.
func TestManyHits(t *testing.T) {
	e := engine(t)
	got := []pigo.Search{manyHits(t)}
	want := fresh(got)
	want[0].Found = pigo.NewSearcher(embedded(t)).Search(nil, got[0].Luma, want[0].Pass)
	if len(want[0].Found) <= leastHits {
		t.Fatalf("%d windows are no more than %d", len(want[0].Found), leastHits)
	}
	for range 2 {
		got[0].Found = nil
		must(t, e.Run(t.Context(), got))
		compare(t, "many", got, want)
	}
}

// TestSteady: once the buffers have grown, no batch allocates.
func TestSteady(t *testing.T) {
	e := engine(t)
	all := searches(t)[5:25]
	for range lanes + 1 {
		must(t, e.Run(t.Context(), fresh(all)))
	}
	before, ran := tell(allocations, 0), tell(launches, 0)
	for n := range 8 {
		must(t, e.Run(t.Context(), fresh(all[n:len(all)-n])))
	}
	if n := tell(allocations, 0) - before; n != 0 {
		t.Errorf("%d allocations in %d batches", n, tell(launches, 0)-ran)
	}
	if n := tell(launches, 0) - ran; n != 8 {
		t.Errorf("%d launches for 8 batches", n)
	}
}

// TestMemory: a batch that does not fit is halved, and answered as it would be otherwise; one image that does
// not fit waits for better times.
func TestMemory(t *testing.T) {
	defer tell(setLimit, -1)
	e, err := open(embedded(t), fake.path, 0)
	must(t, err)
	var all []pigo.Search
	for range 12 {
		all = append(all, pigo.Search{Luma: image.NewGray(image.Rect(0, 0, 900, 500)),
			Pass: pigo.Pass{MinSize: 100, MaxSize: 200, Shift: 0.3, Scale: 1.5}})
	}
	m := sample.Photo(t, 180)
	all = append(all, pigo.Search{Luma: m, Pass: pigo.Pass{MinSize: 40, MaxSize: 200, Shift: 0.1,
		Scale: 1.1}})
	want := fresh(all)
	want[12].Found = pigo.NewSearcher(embedded(t)).Search(nil, m, all[12].Pass)
	tell(setLimit, 3<<20)
	before := tell(launches, 0)
	must(t, e.Run(t.Context(), all))
	compare(t, "halved", all, want)
	if n := tell(launches, 0) - before; n < 3 {
		t.Errorf("%d launches", n)
	}
	large := []pigo.Search{{Luma: image.NewGray(image.Rect(0, 0, 3000, 2000)), Pass: all[12].Pass}}
	if err := e.Run(t.Context(), large); !errors.Is(err, errMemory) ||
		!errors.Is(err, detect.ErrUnavailable) || !strings.Contains(err.Error(), "3000x2000") {
		t.Errorf("an image that does not fit: %v", err)
	}
	tell(setLimit, -1)
	if err := e.Run(t.Context(), large); err != nil {
		t.Errorf("with room for it: %v", err)
	}
	must(t, e.Close())
	broken, err := open(embedded(t), fake.path, 0)
	must(t, err)
	tell(setLimit, 3<<20)
	tell(setBroken, 1)
	if err := broken.Run(t.Context(), all); err == nil || !strings.Contains(err.Error(), "error 719") {
		t.Errorf("a half fails: %v", err)
	}
	must(t, broken.Close())
	if n := tell(held, 0); n != 0 {
		t.Errorf("%d things are left with the driver", n)
	}
}

// TestConcurrent: many callers, more than there are lanes.
func TestConcurrent(t *testing.T) {
	e := engine(t)
	want := searches(t)[:20]
	must(t, e.Run(t.Context(), want))
	var callers sync.WaitGroup
	for n := range 8 {
		callers.Go(func() {
			got := fresh(want[n:])
			if err := e.Run(t.Context(), got); err != nil {
				t.Error(err)
			}
			compare(t, "beside others", got, want[n:])
		})
	}
	callers.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Run(ctx, fresh(want)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	var l *lane
	for range lanes {
		l = <-e.free
	}
	if err := e.run(ctx, l, fresh(want)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before a half: %v", err)
	}
	soon, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := e.Run(soon, fresh(want)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while all lanes are in use: %v", err)
	}
	e.free <- l
	if err := e.Run(t.Context(), fresh(want)); err != nil {
		t.Errorf("with a lane again: %v", err)
	}
	if err := e.Run(t.Context(), nil); err != nil {
		t.Errorf("no searches: %v", err)
	}
}

// TestErrors: an error names what is missing or failed.
func TestErrors(t *testing.T) {
	c := embedded(t)
	says := func(what string, err error, text string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v, want %q", what, err, text)
		}
	}
	if _, err := Open(c, -1); err == nil {
		t.Error("a GPU less than none, of this machine's driver")
	}
	_, err := open(c, "/nonexistent/libcuda.so", 0)
	says("no driver", err, "no NVIDIA driver on this machine")
	empty := filepath.Join(t.TempDir(), "empty.so")
	source := empty + ".c"
	if err := os.WriteFile(source, []byte("int cuInit(unsigned flags) { return (int)flags; }\n"),
		0o600); err != nil {
		t.Fatal(err)
	}
	must(t, compile(empty, source))
	_, err = open(c, empty, 0)
	says("an old driver", err, "it is too old")
	_, err = open(c, fake.path, 1)
	says("another GPU", err, "there is no GPU 1: the driver sees 1")
	_, err = open(c, fake.path, -1)
	says("less than none", err, "there is no GPU -1")
	tell(setDevices, 0)
	_, err = open(c, fake.path, 0)
	tell(setDevices, 1)
	says("no GPU", err, "no CUDA-capable device")
	tell(setLimit, 1000)
	_, err = open(c, fake.path, 0)
	tell(setLimit, -1)
	says("a full GPU", err, "out of the GPU's memory")
	if n := tell(held, 0); n != 0 {
		t.Errorf("%d things are left with the driver", n)
	}

	e := engine(t)
	if e.Name() != "no GPU 0" {
		t.Errorf("it is called %q", e.Name())
	}
	s := []pigo.Search{{Luma: sample.Photo(t, 90), Pass: pigo.Pass{MinSize: 20, MaxSize: 90, Shift: 0.1,
		Scale: 1.1}}}
	tell(setBroken, 1)
	says("a launch that fails", e.Run(t.Context(), s), "cuLaunchKernel: error 719")
	if err := e.Run(t.Context(), s); err != nil || len(s[0].Found) == 0 {
		t.Errorf("afterwards: %v, %v", s[0].Found, err)
	}
}

// TestEachCallFails: that a call of the driver fails, any of those that an engine makes from its start to its
// end, is an error that says so. What was allocated is given back, and the engine goes on.
func TestEachCallFails(t *testing.T) {
	defer tell(setFailing, 0)
	c := embedded(t)
	want := []pigo.Search{{Luma: sample.Photo(t, 90), Pass: pigo.Pass{MinSize: 20, MaxSize: 90, Shift: 0.1,
		Scale: 1.1}}}
	want[0].Found = pigo.NewSearcher(c).Search(nil, want[0].Luma, want[0].Pass)
	calls := 0
	for n := 1; calls == 0 && n < 1000; n++ {
		tell(setFailing, n)
		e, err := open(c, fake.path, 0)
		if err == nil {
			got := fresh(want)
			if err = e.Run(t.Context(), got); err != nil {
				got = fresh(want)
				err = errors.Join(err, e.Run(t.Context(), got))
			}
			compare(t, fmt.Sprintf("call %d fails", n), got, want)
			err = errors.Join(err, e.Close())
		}
		if tell(setFailing, 0) > 0 { // there are fewer calls
			calls = n
			must(t, err)
		} else if err == nil || strings.Count(err.Error(), ": error 999: unknown") != 1 {
			t.Errorf("call %d fails: %v", n, err)
		}
		if left := tell(held, 0); left != 0 {
			t.Errorf("call %d fails: %d things are left with the driver", n, left)
		}
	}
	if calls < 30 {
		t.Errorf("an engine makes %d calls", calls)
	}
	// Where there is too little room for what is found: the last calls, and one of those that make room.
	many, rest := []pigo.Search{manyHits(t)}, 0
	for _, before := range []int{-1, 0, 1, 9} {
		e, err := open(c, fake.path, 0)
		must(t, err)
		if tell(setFailing, rest-before); before < 0 { // the first counts them
			tell(setFailing, 1000)
		}
		many[0].Found = nil
		err = e.Run(t.Context(), many)
		if left := tell(setFailing, 0); before < 0 {
			rest = 1000 - left
		}
		if (err == nil) != (before < 0) || (err == nil) != (len(many[0].Found) > leastHits) {
			t.Errorf("call %d of %d fails: %d windows, %v", rest-before, rest, len(many[0].Found), err)
		}
		must(t, e.Close())
	}
}

// TestLayout: Go and C lay their types out alike.
func TestLayout(t *testing.T) {
	for what, sizes := range map[string][2]int{
		"grid": {gridBytes, tell(sizeGrid, 0)}, "tile": {placeBytes, tell(sizePlace, 0)},
		"hit":               {hitBytes, tell(sizeHit, 0)},
		"arguments":         {int(unsafe.Sizeof(args{})), tell(sizeArgs, 0)},
		"windows in a tile": {tile, tell(windowsInTile, 0)},
	} {
		if sizes[0] != sizes[1] {
			t.Errorf("%s: %d here, %d there", what, sizes[0], sizes[1])
		}
	}
}

// TestKernelIsCurrent: kernel.ptx was made of the sources as they are, for the GPUs that it should be.
func TestKernelIsCurrent(t *testing.T) {
	h := sha256.New()
	for _, f := range []string{"window.h", "kernel.cu"} {
		b, err := os.ReadFile(f)
		must(t, err)
		h.Write(b)
	}
	text := string(ptx)
	for _, want := range []string{fmt.Sprintf("// made of %x", h.Sum(nil)), ".target sm_75",
		".address_size 64", ".visible .entry search(",
		fmt.Sprintf(".b8 search_param_0[%d]", unsafe.Sizeof(args{})), "bar.sync", "atom.shared.add",
		"atom.global.add"} {
		if !strings.Contains(text, want) {
			t.Errorf("kernel.ptx lacks %q: run go generate ./detect/cuda", want)
		}
	}
	if bytes.Contains(ptx, []byte("fma.")) {
		t.Error("kernel.ptx fuses multiplications: sums must be pigo's")
	}
}

// must fails the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
