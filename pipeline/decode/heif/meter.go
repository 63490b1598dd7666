package heif

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// tick is the argument that the metered code passes to fd_close, which it needs for nothing else.
const tick = 0x7fffff1c

// perTick is the number of loop iterations between two ticks.
const perTick = 1 << 16

// meter rewrites a WebAssembly module so that it counts its loop iterations and calls fd_close(tick) every
// perTick of them. Compiled WebAssembly cannot be interrupted while it runs: an endless loop could not be
// stopped, and the garbage collector, and with it every goroutine, would wait until a picture is finished.
// The calls solve both. wazero's own way, one call per iteration, makes decoding five times slower.
//
// The counter is one more global; the code of every loop begins with
//
//	counter++; if counter % perTick == 0 { fd_close(tick) }
//
// No function or type is added, so no index in the module changes (WebAssembly core specification, 5.4 and
// 5.5).
func meter(module []byte) (out []byte, err error) {
	defer func() {
		if recover() != nil { // an index beyond the end
			out, err = nil, errors.New("wasm: module cut")
		}
	}()
	if len(module) < 8 || string(module[:8]) != "\x00asm\x01\x00\x00\x00" {
		return nil, errors.New("wasm: not a module")
	}
	out = append(out, module[:8]...)
	close, globals := -1, 0
	var prologue []byte
	for r := (wasm{module[8:]}); len(r.b) > 0; {
		id := r.byte()
		section := wasm{r.bytes(r.u32())}
		var body []byte
		switch id {
		case 2:
			body = section.b
			close, globals = section.imports()
		case 6:
			n := section.u32()
			globals += n
			body = binary.AppendUvarint(nil, uint64(n+1))
			body = append(body, section.b...)
			body = append(body, 0x7f, 1, 0x41, 0, 0x0b) // i32, mutable, i32.const 0, end
			if close < 0 {
				return nil, errors.New("wasm: fd_close is not imported")
			}
			prologue = loopPrologue(uint64(close), uint64(globals-1+1))
		case 10:
			if prologue == nil {
				return nil, errors.New("wasm: no globals")
			}
			n := section.u32()
			body = binary.AppendUvarint(nil, uint64(n))
			for range n {
				f := wasm{section.bytes(section.u32())}
				code, err := f.meterFunction(prologue)
				if err != nil {
					return nil, err
				}
				body = binary.AppendUvarint(body, uint64(len(code)))
				body = append(body, code...)
			}
		default:
			body = section.b
		}
		out = append(out, id)
		out = binary.AppendUvarint(out, uint64(len(body)))
		out = append(out, body...)
	}
	return out, nil
}

// loopPrologue is the code that every loop begins with.
func loopPrologue(close, counter uint64) []byte {
	g := binary.AppendUvarint(nil, counter)
	return slices.Concat(
		[]byte{0x23}, g, []byte{0x41, 1, 0x6a, 0x24}, g, // global.get, i32.const 1, i32.add, global.set
		[]byte{0x23}, g, []byte{0x41}, signed(perTick-1), []byte{0x71, 0x45, 0x04, 0x40}, // and, i32.eqz, if
		// call, drop, end
		[]byte{0x41}, signed(tick), []byte{0x10}, binary.AppendUvarint(nil, close), []byte{0x1a, 0x0b},
	)
}

// signed is v as signed LEB128.
func signed(v int) (b []byte) {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

// wasm reads a module's bytes and panics at their end.
type wasm struct{ b []byte }

func (r *wasm) byte() byte {
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *wasm) bytes(n int) []byte {
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *wasm) u32() int {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > 1<<32-1 {
		panic("wasm: number")
	}
	r.b = r.b[n:]
	return int(v)
}

// leb skips a number of any size and sign.
func (r *wasm) leb() {
	for r.byte()&0x80 != 0 {
	}
}

func (r *wasm) lebs(n int) {
	for range n {
		r.leb()
	}
}

// imports finds the function fd_close, and counts the globals.
func (r *wasm) imports() (close, globals int) {
	close = -1
	functions := 0
	for range r.u32() {
		r.bytes(r.u32())
		name := string(r.bytes(r.u32()))
		switch r.byte() {
		case 0:
			r.leb()
			if name == "fd_close" {
				close = functions
			}
			functions++
		case 1:
			r.byte()
			r.limits()
		case 2:
			r.limits()
		case 3:
			r.bytes(2)
			globals++
		}
	}
	return close, globals
}

func (r *wasm) limits() {
	if r.byte()&1 != 0 {
		r.leb()
	}
	r.leb()
}

// meterFunction copies a function's body with the prologue in every loop.
func (r *wasm) meterFunction(prologue []byte) ([]byte, error) {
	start := r.b
	for range r.u32() { // locals
		r.leb()
		r.byte()
	}
	out := bytes.Clone(start[:len(start)-len(r.b)])
	for len(r.b) > 0 {
		from := r.b
		op := r.byte()
		if err := r.immediates(op); err != nil {
			return nil, err
		}
		out = append(out, from[:len(from)-len(r.b)]...)
		if op == 0x03 {
			out = append(out, prologue...)
		}
	}
	return out, nil
}

// immediates skips the operands of an opcode.
func (r *wasm) immediates(op byte) error {
	switch {
	case op == 0x02, op == 0x03, op == 0x04: // block, loop, if: a type
		r.leb()
	case op == 0x0c, op == 0x0d, op == 0x10: // br, br_if, call
		r.leb()
	case op == 0x0e: // br_table
		r.lebs(r.u32() + 1)
	case op == 0x11: // call_indirect
		r.lebs(2)
	case op == 0x1c: // select with types
		r.lebs(r.u32())
	case op >= 0x20 && op <= 0x26: // variables, tables
		r.leb()
	case op >= 0x28 && op <= 0x3e: // loads and stores: alignment, offset
		r.lebs(2)
	case op == 0x3f, op == 0x40: // memory.size, memory.grow
		r.byte()
	case op == 0x41, op == 0x42: // constants
		r.leb()
	case op == 0x43:
		r.bytes(4)
	case op == 0x44:
		r.bytes(8)
	case op == 0xd0, op == 0xd2: // references
		r.leb()
	case op == 0xfc:
		switch sub := r.u32(); {
		case sub <= 7: // saturating conversions
		case sub == 8, sub == 10, sub == 12, sub == 14: // two indices
			r.lebs(2)
		case sub == 9, sub == 11, sub == 13, sub >= 15 && sub <= 17: // one
			r.leb()
		default:
			return fmt.Errorf("wasm: opcode fc %x", sub)
		}
	case op == 0xfd:
		switch sub := r.u32(); {
		case sub <= 11, sub == 92, sub == 93: // vector loads and stores
			r.lebs(2)
		case sub == 12, sub == 13: // a constant, a shuffle
			r.bytes(16)
		case sub >= 21 && sub <= 34: // lanes
			r.byte()
		case sub >= 84 && sub <= 91: // lanes in memory
			r.lebs(2)
			r.byte()
		}
	case op == 0xfe:
		if r.u32() == 3 { // fence
			r.byte()
		} else {
			r.lebs(2)
		}
	case op > 0xd2:
		return fmt.Errorf("wasm: opcode %x", op)
	}
	return nil
}
