package heif

import (
	"bytes"
	"compress/gzip"
	"errors"
	"strings"
	"testing"
)

// TestInstance: a decoder gets as much memory and as many loops as it was promised, and no more.
func TestInstance(t *testing.T) {
	p, err := modules[AVIF].get()
	if err != nil {
		t.Fatal(err)
	}
	if Compiling(AVIF) != 0 {
		t.Errorf("a decoder that is compiled takes %d bytes for it", Compiling(AVIF))
	}
	const limit = 64 << 20
	i, err := p.start(limit, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer i.mod.Close(i.ctx)
	at, err := i.alloc(5, []byte("bytes"))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := i.view(at, 5); err != nil || string(b) != "bytes" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := i.alloc(limit, nil); err == nil || err.Error() != "out of memory" {
		t.Errorf("more memory than allowed: %v", err)
	}
	size := uint64(i.mod.Memory().Size())
	if size > limit {
		t.Errorf("%d bytes of memory", size)
	}
	if _, err := i.view(size-5, 5); err != nil {
		t.Errorf("the last bytes: %v", err)
	}
	if _, err := i.view(size-5, 6); !errors.Is(err, errCut) {
		t.Errorf("beyond the memory: %v", err)
	}
	var asked []uint64
	decode := func(headerOnly, out uint64) error {
		asked = append(asked, headerOnly, out)
		i.mod.Memory().WriteUint32Le(uint32(at), 7)
		i.mod.Memory().WriteUint32Le(uint32(at)+4, 9)
		return nil
	}
	if n, err := i.header(decode, at, 2); err != nil || len(n) != 2 || n[0] != 7 || n[1] != 9 ||
		len(asked) != 2 || asked[0] != 1 || asked[1] != 0 {
		t.Errorf("%v, %v, after %v", n, err, asked)
	}
	if _, err := i.header(decode, size-4, 2); !errors.Is(err, errCut) {
		t.Errorf("numbers beyond the memory: %v", err)
	}
	if _, err := i.header(func(_, _ uint64) error { return errRefused }, at, 2); !errors.Is(err, errRefused) {
		t.Errorf("refused: %v", err)
	}
}

// TestFuel: a call may take as many ticks as it was given.
func TestFuel(t *testing.T) {
	f := fuel{ticks: 2}
	f.burn()
	f.burn()
	defer func() {
		if err, _ := recover().(error); !errors.Is(err, errEndless) {
			t.Errorf("the third tick: %v", err)
		}
	}()
	f.burn()
}

// TestCompile: what is not one of the modules is refused with the reason.
func TestCompile(t *testing.T) {
	packed := func(code string) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		if _, err := z.Write([]byte(code)); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	const empty = "\x00asm\x01\x00\x00\x00"
	whole := packed(empty)
	for name, c := range map[string]struct {
		packed []byte
		want   string
	}{
		"nothing":       {nil, "EOF"},
		"not packed":    {[]byte("a file of text, longer than a header"), "invalid header"},
		"cut":           {whole[:len(whole)-9], "unexpected EOF"},
		"no module":     {packed("text"), "not a module"},
		"no such part":  {packed(empty + "\x1d\x00"), "section"},
		"not a section": {packed(empty + "\x01"), "module cut"},
	} {
		if p, err := compile(c.packed, nil); p != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	fixed := 0
	if _, err := compile(whole, func(code []byte) []byte {
		fixed = len(code)
		return code
	}); err != nil || fixed != len(empty) {
		t.Errorf("%d bytes changed, %v", fixed, err)
	}
}

// TestFixCr: only the one call is changed.
func TestFixCr(t *testing.T) {
	const call, fixed = " )(\x02\x0cA\x02A\x00\x10", " )(\x02\x0cA\x02 )\x10"
	for in, want := range map[string]string{"": "", "other": "other", "a" + call + "b": "a" + fixed + "b",
		call + call: call + call} {
		if got := string(fixCr([]byte(in))); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}
