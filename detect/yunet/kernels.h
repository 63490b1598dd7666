// What a code path provides: the inner loops, each over one row.
#ifndef FACESCAN_YUNET_KERNELS_H
#define FACESCAN_YUNET_KERNELS_H

#include "native.h"

#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 64")
#endif

typedef struct {
  // stem computes n cells of the first convolution from three rows, each with a zero in front.
  void (*stem)(const network *net, const uint8_t *weights, const uint8_t *const rows[3], int32_t n, uint8_t *out);
  // point computes a 1x1 convolution of n cells; wide has room for the row in 16 bits.
  void (*point)(const block *b, const uint8_t *weights, const uint8_t *in, int32_t n, int16_t *out, int16_t *wide);
  // depth computes a 3x3 convolution of n cells from three rows of n+2.
  void (*depth)(const block *b, const uint8_t *weights, const int16_t *const rows[3], int32_t n, void *out);
  // pool takes the greatest of two by two cells of c channels, n times.
  void (*pool)(const uint8_t *a, const uint8_t *b, int32_t n, int32_t c, uint8_t *out);
  // add adds n cells of 64 channels, each to two cells of the finer map, and saturates.
  void (*add)(uint8_t *fine, const uint8_t *coarse, int32_t n);
  // shrink makes four pixels three, of groups of four within two rows, and returns how many groups it did. The rows have
  // the weights wa and 4 - wa. It may write 16 bytes behind the last pixel.
  int32_t (*shrink)(const uint8_t *a, const uint8_t *b, int32_t wa, int32_t groups, uint8_t *to);
  // sum adds `times` a row of n pixels to sums.
  void (*sum)(uint16_t *sums, const uint8_t *row, int32_t times, int32_t n);
} kernels;

const kernels *kernels_of(int32_t path);

INLINE uint32_t load32(const void *p) {
  uint32_t v;
  memcpy(&v, p, sizeof v);
  return v;
}

#endif
