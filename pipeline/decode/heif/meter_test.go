package heif_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/tetratelabs/wazero"

	"facescan/pipeline/decode/heif"
)

// section is a section of a WebAssembly module: its number, and its content after the length.
func section(id byte, content ...[]byte) []byte {
	data := slices.Concat(content...)
	return append(binary.AppendUvarint([]byte{id}, uint64(len(data))), data...)
}

// imported is an entry of the import section.
func imported(name string, description ...byte) []byte {
	return slices.Concat([]byte{1, 'e', byte(len(name))}, []byte(name), description)
}

// instructions have operands of every form; each leaves the stack as it was. Type 0 is i32 to i32.
var instructions = map[string]string{
	"block, br_if":  "\x02\x40\x41\x00\x0d\x00\x0b",
	"br_table":      "\x02\x40\x41\x00\x0e\x02\x00\x00\x00\x0b",
	"if, else":      "\x41\x00\x04\x40\x01\x05\x01\x0b",
	"br":            "\x02\x40\x0c\x00\x0b",
	"call":          "\x41\x00\x10\x01\x1a",
	"call_indirect": "\x41\x00\x41\x00\x11\x00\x00\x1a",
	"select, typed": "\x41\x00\x41\x00\x41\x00\x1c\x01\x7f\x1a",
	"global":        "\x23\x00\x1a",
	"load, store":   "\x41\x00\x41\x00\x28\x02\x83\x01\x36\x02\x00",
	"memory":        "\x3f\x00\x40\x00\x1a",
	"constants": "\x41\xff\x7e\x1a\x42\x80\x80\x01\x1a\x43\x03\x40\x03\x40\x1a" +
		"\x44\x03\x40\x03\x40\x03\x40\x03\x40\x1a",
	"references":  "\xd0\x70\x1a\xd2\x02\x1a",
	"saturating":  "\x43\x00\x00\x00\x00\xfc\x00\x1a",
	"memory.fill": "\x41\x00\x41\x00\x41\x00\xfc\x0b\x00",
	"memory.copy": "\x41\x00\x41\x00\x41\x00\xfc\x0a\x00\x00",
	"table.size":  "\xfc\x10\x00\x1a",
	"table.copy":  "\x41\x00\x41\x00\x41\x00\xfc\x0e\x00\x00",
	"vectors": "\x41\x00\xfd\x00\x04\x03\x1a" +
		"\xfd\x0c\x03\x40\x03\x40\x03\x40\x03\x40\x03\x40\x03\x40\x03\x40\x03\x40\x1a",
	"lanes":               "\x41\x00\xfd\x11\xfd\x1b\x03\x1a",
	"lanes in memory":     "\x41\x00\x41\x00\xfd\x11\xfd\x54\x00\x03\x03\x1a",
	"first and last load": "\x41\x00\x2d\x00\x03\x1a\x41\x00\x42\x00\x3e\x00\x03",
	"tables":              "\x41\x00\x41\x00\x25\x00\x26\x00",
	"local":               "\x20\x00\x21\x00\x20\x00\x22\x00\x1a",
	"set global":          "\x41\x00\x24\x01",
	"select":              "\x41\x00\x41\x00\x41\x00\x1b\x1a",
	"last saturating":     "\x44\x00\x00\x00\x00\x00\x00\x00\x00\xfc\x07\x1a",
	"table.grow":          "\xd0\x70\x41\x00\xfc\x0f\x00\x1a",
	"table.fill":          "\x41\x00\xd0\x70\x41\x00\xfc\x11\x00",
	"shuffle": "\x41\x00\xfd\x11\x41\x00\xfd\x11" +
		"\xfd\x0d\x03\x00\x03\x00\x03\x00\x03\x00\x03\x00\x03\x00\x03\x00\x03\x00\x1a",
	"last vector load, store": "\x41\x00\x41\x00\xfd\x5d\x03\x03\xfd\x0b\x04\x03",
	"swizzle":                 "\x41\x00\xfd\x11\x41\x00\xfd\x11\xfd\x0e\x1a",
	"first and last lane": "\x41\x00\xfd\x0f\xfd\x15\x03\x1a\x41\x00\xfd\x11\x44\x00\x00\x00\x00" +
		"\x00\x00\x00\x00\xfd\x22\x01\x1a",
	"a comparison of vectors": "\x41\x00\xfd\x11\x41\x00\xfd\x11\xfd\x23\x1a",
	"last lane in memory":     "\x41\x00\x41\x00\xfd\x11\xfd\x5b\x03\x03\x01",
	"a vector's bits":         "\x41\x00\xfd\x11\xfd\x53\x1a\x41\x00\xfd\x11\xfd\x5e\x1a",
	"loaded zeros":            "\x41\x00\xfd\x5c\x02\x03\x1a",
}

// simple is a module with the sections that the meter reads, and one function of that code.
func simple(imports []byte, globals []byte, code []byte) []byte {
	body := slices.Concat([]byte{0}, code)
	return slices.Concat([]byte("\x00asm\x01\x00\x00\x00"), section(1, []byte{1, 0x60, 1, 0x7f, 1, 0x7f}),
		imports, section(3, []byte{1, 0}), globals, section(7, []byte{1, 1, 'f', 0, 1}),
		section(10, []byte{1}, binary.AppendUvarint(nil, uint64(len(body))), body))
}

var (
	closer = section(2, []byte{1}, imported("fd_close", 0, 0))
	global = section(6, []byte{1, 0x7f, 1, 0x41, 0, 0x0b})
)

// TestMeterCounts: the code calls fd_close once in 65,536 iterations, however far it counts itself.
func TestMeterCounts(t *testing.T) {
	// loop: local = local - 1; again unless it is 0; the result is the global, which nobody changes
	code := []byte("\x03\x40\x20\x00\x41\x01\x6b\x22\x00\x0d\x00\x0b\x23\x00\x0b")
	metered, err := heif.Meter(simple(closer, global, code))
	must(t, err)
	ctx := context.Background()
	r := wazero.NewRuntime(ctx)
	defer r.Close(ctx)
	var ticks []uint32
	_, err = r.NewHostModuleBuilder("e").NewFunctionBuilder().WithFunc(func(v uint32) uint32 {
		ticks = append(ticks, v)
		return 9
	}).Export("fd_close").Instantiate(ctx)
	must(t, err)
	mod, err := r.Instantiate(ctx, metered)
	must(t, err)
	done := 0
	for _, n := range []int{1, 1<<16 - 2, 1, 1, 5 << 16, 1<<16 - 2, 1} {
		out, err := mod.ExportedFunction("f").Call(ctx, uint64(n))
		must(t, err)
		if done += n; len(ticks) != done>>16 || out[0] != 0 {
			t.Errorf("after %d iterations: %d calls, %v", done, len(ticks), out)
		}
	}
	for _, v := range ticks {
		if v != 0x7fffff1c {
			t.Errorf("called with %#x", v)
		}
	}
}

// TestMeterRefuses: what cannot be metered is an error that says why.
func TestMeterRefuses(t *testing.T) {
	end := []byte{0x20, 0, 0x0b}
	for name, c := range map[string]struct {
		module []byte
		want   string // none: taken
	}{
		"as it should be": {simple(closer, global, end), ""},
		"no import":       {simple(nil, global, end), "wasm: fd_close is not imported"},
		"another import": {simple(section(2, []byte{1}, imported("fd_open", 0, 0)), global, end),
			"wasm: fd_close is not imported"},
		"not a function": {simple(section(2, []byte{1}, imported("fd_close", 3, 0x7f, 0)), global, end),
			"wasm: fd_close is not imported"},
		"no globals":      {simple(closer, nil, end), "wasm: no globals"},
		"an opcode":       {simple(closer, global, []byte{0xd3, 0x0b}), "wasm: opcode d3"},
		"the last opcode": {simple(closer, global, []byte{0xff, 0x0b}), "wasm: opcode ff"},
		"one of memory":   {simple(closer, global, []byte{0xfc, 18, 0x0b}), "wasm: opcode fc 12"},
		"its last":        {simple(closer, global, []byte{0xfc, 17, 0, 0x0b}), ""},
		"a long number": {simple(closer, global, []byte{0xfc, 0xff, 0xff, 0xff, 0xff, 0x1f}),
			"wasm: module cut"},
		"a cut operand":   {simple(closer, global, []byte{0x43, 0, 0, 0}), "wasm: module cut"},
		"a cut head":      {[]byte("\x00asm\x01\x00\x00"), "wasm: not a module"},
		"another version": {[]byte("\x00asm\x02\x00\x00\x00"), "wasm: not a module"},
		"nothing in it":   {[]byte("\x00asm\x01\x00\x00\x00"), ""},
		"a cut section":   {[]byte("\x00asm\x01\x00\x00\x00\x03\x02\x00"), "wasm: module cut"},
	} {
		got := ""
		if _, err := heif.Meter(c.module); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestMeterForms meters small modules with imports and instructions of every form: what comes out is valid,
// and the counter is in the loop alone.
func TestMeterForms(t *testing.T) {
	limits := map[string][]byte{"open": {0, 1}, "bounded": {1, 1, 2}}
	for kind, limit := range limits {
		for name, code := range instructions {
			body := slices.Concat([]byte{1, 1, 0x7f, 0x03, 0x40}, []byte(code), []byte{0x0b, 0x0b})
			module := slices.Concat([]byte("\x00asm\x01\x00\x00\x00"),
				section(1, []byte{2, 0x60, 1, 0x7f, 1, 0x7f, 0x60, 0, 0}),
				section(2, []byte{5}, imported("t", slices.Concat([]byte{1, 0x70}, limit)...),
					imported("m", slices.Concat([]byte{2}, limit)...), imported("g", 3, 0x7f, 0),
					imported("other", 0, 0), imported("fd_close", 0, 0)),
				section(3, []byte{1, 1}),
				section(6, []byte{1, 0x7f, 1, 0x41, 0, 0x0b}),
				section(7, []byte{1, 1, 'f', 0, 2}),
				section(10, []byte{1}, binary.AppendUvarint(nil, uint64(len(body))), body))
			metered, err := heif.Meter(module)
			if err != nil {
				t.Errorf("%s, %s: %v", kind, name, err)
				continue
			}
			// The counter is the third global, behind one imported and one of its own;
			// fd_close is the second function.
			if n := bytes.Count(metered, []byte{0x03, 0x40, 0x23, 2}); n != 1 ||
				!bytes.Contains(metered, []byte{0x10, 1, 0x1a, 0x0b}) {
				t.Errorf("%s, %s: %d loops count", kind, name, n)
			}
			for what, code := range map[string][]byte{"as it was": module, "metered": metered} {
				r := wazero.NewRuntime(context.Background())
				if _, err := r.CompileModule(context.Background(), code); err != nil {
					t.Errorf("%s, %s, %s: %v", kind, name, what, err)
				}
				must(t, r.Close(context.Background()))
			}
		}
	}
}
