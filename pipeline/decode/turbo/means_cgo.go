//go:build cgo

package turbo

// #cgo CFLAGS: -O3
// #cgo noescape means
// #cgo nocallback means
// #include "means.h"
import "C"

import "unsafe"

func means(w *Weights, dst, src []byte, rows int, wide []int16) {
	if len(src) == 0 {
		return
	}
	C.means((*C.uint8_t)(unsafe.Pointer(&src[0])), C.int(w.Width), C.int(rows),
		(*C.uint8_t)(unsafe.Pointer(&dst[0])), (*C.int16_t)(unsafe.Pointer(&wide[0])), C.int(w.N),
		(*C.int32_t)(unsafe.Pointer(&w.First[0])),
		(*C.int16_t)(unsafe.Pointer(&w.High[0])), (*C.int16_t)(unsafe.Pointer(&w.Low[0])), C.int(w.Taps))
}
