//go:build cgo && (amd64 || arm64)

#include "native.h"

#include <math.h>
#include <string.h>

// The first tree in vectors: PICK(k, zero, one) is `one` where mask k says that the first pixel is not brighter; ABOVE(i) is 0 there for
// node i, and MASK makes the mask of such a vector. The leaf's number is made of the masks of the six levels.
#define LEVELS(K, PICK, ABOVE, MASK)                                                                                     \
  K k0 = MASK(ABOVE(1));                                                                                                 \
  K k1 = MASK(PICK(k0, ABOVE(2), ABOVE(3)));                                                                             \
  K k2 = MASK(PICK(k1, PICK(k0, ABOVE(4), ABOVE(6)), PICK(k0, ABOVE(5), ABOVE(7))));                                     \
  K k3 = MASK(PICK(k2, PICK1(PICK, ABOVE, 8, 4, 0), PICK1(PICK, ABOVE, 8, 4, 1)));                                       \
  K k4 = MASK(PICK(k3, PICK2(PICK, ABOVE, 16, 8, 0), PICK2(PICK, ABOVE, 16, 8, 1)));                                     \
  K k5 = MASK(PICK(k4, PICK3(PICK, ABOVE, 32, 16, 0), PICK3(PICK, ABOVE, 32, 16, 1)));
#define PICK0(PICK, ABOVE, at, half, i) PICK(k0, ABOVE(at + i), ABOVE(at + half + i))
#define PICK1(PICK, ABOVE, at, half, i) PICK(k1, PICK0(PICK, ABOVE, at, half, i), PICK0(PICK, ABOVE, at, half, half / 2 + i))
#define PICK2(PICK, ABOVE, at, half, i) PICK(k2, PICK1(PICK, ABOVE, at, half, i), PICK1(PICK, ABOVE, at, half, half / 4 + i))
#define PICK3(PICK, ABOVE, at, half, i) PICK(k3, PICK2(PICK, ABOVE, at, half, i), PICK2(PICK, ABOVE, at, half, half / 8 + i))

#define VARIANT(name) name##_any
#define TARGET
#define WIDTH 16
#include "variant.h"

#ifdef __x86_64__
#include <immintrin.h>
#define VARIANT(name) name##_avx2
#define TARGET __attribute__((target("avx2,bmi,bmi2")))
#define WIDTH 32
#include "variant.h"

#define VARIANT(name) name##_avx512
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,bmi,bmi2,popcnt")))
#define WIDTH 64
#include "variant.h"
#endif

int32_t native_level(void) {
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("bmi2"))
    return 2;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2")) return 1;
#endif
  return 0;
}

int32_t native_band(scan *s, const stage *stages, const int8_t *codes, const float *leaves, node *nodes, const uint8_t *pix,
                    int32_t at, int32_t rows, uint8_t *columns, candidate *list) {
#ifdef __x86_64__
  if (s->level == 2) return band_avx512(s, stages, codes, leaves, nodes, pix, at, rows, columns, list);
  if (s->level == 1) return band_avx2(s, stages, codes, leaves, nodes, pix, at, rows, columns, list);
#endif
  return band_any(s, stages, codes, leaves, nodes, pix, at, rows, columns, list);
}

int32_t native_rest(scan *s, const stage *stages, const int8_t *codes, const float *leaves, node *nodes, const uint8_t *pix,
                    candidate *list, int32_t n) {
#ifdef __x86_64__
  if (s->level == 2) return rest_avx512(s, stages, codes, leaves, nodes, pix, list, n);
  if (s->level == 1) return rest_avx2(s, stages, codes, leaves, nodes, pix, list, n);
#endif
  return rest_any(s, stages, codes, leaves, nodes, pix, list, n);
}
