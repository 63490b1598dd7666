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
  void (*stem)(const network *net, const uint8_t *weights, const uint8_t *const rows[3], int32_t n,
               uint8_t *out);
  // point computes a 1x1 convolution of n cells; wide has room for the row in 16 bits.
  void (*point)(const block *b, const uint8_t *weights, const uint8_t *in, int32_t n, int16_t *out,
                int16_t *wide);
  // depth computes a 3x3 convolution of n cells from three rows of n+2.
  void (*depth)(const block *b, const uint8_t *weights, const int16_t *const rows[3], int32_t n, void *out);
  // pool takes the greatest of two by two cells of c channels, n times.
  void (*pool)(const uint8_t *a, const uint8_t *b, int32_t n, int32_t c, uint8_t *out);
  // add adds n cells of 64 channels, each to two cells of the finer map, and saturates.
  void (*add)(uint8_t *fine, const uint8_t *coarse, int32_t n);
  // shrink makes four pixels three, of groups of four within two rows, and returns how many groups it did.
  // The rows have the weights wa and 4 - wa. It may write 16 bytes behind the last pixel.
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

// OF calls f, which is inlined, for a block's channels: they are known when it is compiled.
#define OF(f, b, ...)                     \
  do {                                    \
    if (b->in == 16 && b->out == 16)      \
      f(__VA_ARGS__, 16, 16);             \
    else if (b->in == 16)                 \
      f(__VA_ARGS__, 16, 32);             \
    else if (b->in == 32 && b->out == 32) \
      f(__VA_ARGS__, 32, 32);             \
    else if (b->in == 32)                 \
      f(__VA_ARGS__, 32, 64);             \
    else if (b->out == 64)                \
      f(__VA_ARGS__, 64, 64);             \
    else                                  \
      f(__VA_ARGS__, 64, 16);             \
  } while (0)

// shrink_plain is shrink where there are no vectors for it.
static inline int32_t shrink_plain(const uint8_t *a, const uint8_t *b, int32_t wa, int32_t groups,
                                   uint8_t *to) {
  const int wb = 4 - wa;
  for (int32_t g = 0; g < groups; g++, a += 4, b += 4, to += 3) {
    const int p = wa * a[0] + wb * b[0], q = wa * a[1] + wb * b[1], r = wa * a[2] + wb * b[2],
              s = wa * a[3] + wb * b[3];
    to[0] = (3 * p + q + 8) >> 4;
    to[1] = (2 * q + 2 * r + 8) >> 4;
    to[2] = (r + 3 * s + 8) >> 4;
  }
  return groups;
}

#endif
