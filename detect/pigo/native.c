//go:build cgo && (amd64 || arm64)

#include "native.h"

#include <math.h>
#include <string.h>

// The layout of the pixels that a grid's windows compare.
typedef struct {
  const uint8_t *pix;  // of the image, or of its copy
  int32_t stride;
  int32_t parts, part;  // that columns are sorted into, 1 where they are not, and the columns of one
  int32_t remainder;    // of the centres' columns, by which part they are in
} layout;

#define INLINE static inline __attribute__((always_inline))

// down goes from node i of a tree to its left child, or, if pixel b is darker than pixel a, to its right one.
// Compilers spend a third more instructions on it.
INLINE uint64_t down(const uint8_t *p, const node *tree, uint64_t i) {
#ifdef __x86_64__
  uint64_t a, b;
  __asm__("movq (%[tree],%[i],8), %[b]\n\t"
          "movslq %k[b], %[a]\n\t"
          "sarq $32, %[b]\n\t"
          "movzbl (%[p],%[a]), %k[a]\n\t"
          "cmpb %b[a], (%[p],%[b])\n\t"
          "adcq %[i], %[i]"
          : [i] "+r"(i), [a] "=&r"(a), [b] "=&r"(b)
          : [tree] "r"(tree), [p] "r"(p), "m"(*(const node(*)[TREE])tree), "m"(*(const uint8_t(*)[1 << 20])p)
          : "cc");
  return i;
#else
  return i + i + (p[tree[i].b] < p[tree[i].a]);
#endif
}

// A tree for a vector of windows: DARKER(i) is not zero where node i goes right, MASK(v) makes masks of such
// vectors, PICK(k, left, right) chooses by mask. K k0 to k5 become the masks of the six levels.
#define LEVELS(K)                                                  \
  K k0 = MASK(DARKER(1));                                          \
  K k1 = MASK(PICK(k0, DARKER(2), DARKER(3)));                     \
  K k2 = MASK(PICK(k1, PICK0(4, 0), PICK0(4, 1)));                 \
  K k3 = MASK(PICK(k2, PICK1(8, 0), PICK1(8, 1)));                 \
  K k4 = MASK(PICK(k3, PICK2(16, 0), PICK2(16, 1)));               \
  K k5 = MASK(PICK(k4, PICK3(32, 0), PICK3(32, 1)));

// PICKn is what the first n+1 masks leave of the level that begins at node `at`: of every 2^(n+1) nodes one,
// those equal to i.
#define PICK0(at, i) PICK(k0, DARKER(at + (i)), DARKER(at + at / 2 + (i)))
#define PICK1(at, i) PICK(k1, PICK0(at, i), PICK0(at, at / 4 + (i)))
#define PICK2(at, i) PICK(k2, PICK1(at, i), PICK1(at, at / 8 + (i)))
#define PICK3(at, i) PICK(k3, PICK2(at, i), PICK2(at, at / 16 + (i)))

#define VARIANT(name) name##_any
#define TARGET
#define WIDTH 16
#include "variant.h"

#ifdef __x86_64__
#include <immintrin.h>
#define VARIANT(name) name##_avx2
#define TARGET __attribute__((target("avx2,bmi,bmi2,popcnt")))
#define WIDTH 32
#include "variant.h"

#define VARIANT(name) name##_avx512
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx2,bmi,bmi2,popcnt")))
#define WIDTH 64
#include "variant.h"
#endif

int32_t native_level(void) {
#ifdef __x86_64__
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi") || !__builtin_cpu_supports("bmi2") ||
      !__builtin_cpu_supports("popcnt"))
    return 0;
  const int wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512vl");
  return wide ? 2 : 1;
#else
  return 0;
#endif
}

int32_t native_search(int32_t level, trees t, raster img, const grid *grids, int32_t count, room r,
                      state *s) {
#ifdef __x86_64__
  if (level == 2) return search_avx512(t, img, grids, count, r, s);
  if (level == 1) return search_avx2(t, img, grids, count, r, s);
#endif
  return search_any(t, img, grids, count, r, s);
}

void native_smooth(int32_t level, uint8_t *to, int32_t to_stride, const uint8_t *from, int32_t from_stride,
                   int32_t width, int32_t height) {
#ifdef __x86_64__
  if (level == 2) return smooth_avx512(to, to_stride, from, from_stride, width, height);
  if (level == 1) return smooth_avx2(to, to_stride, from, from_stride, width, height);
#endif
  smooth_any(to, to_stride, from, from_stride, width, height);
}
