//go:build cgo

#include "kernels.h"

#include <arm_neon.h>

#ifdef __linux__
#include <sys/auxv.h>
#endif

#define TARGET
#define NAME(x)      x##_neon
#define V            int16x8_t
#define LANES        8
#define LOAD         vld1q_s16
#define STORE        vst1q_s16
#define ADDS         vqaddq_s16
#define MULR         vqrdmulhq_s16  // saturates only for two times -32768, which no weight is
#define NARROW(p, v) vst1_u8(p, vqshrun_n_s16(v, FRACTION))
#include "lanes.h"

// narrow shifts 16 sums, each by its channel's number, and stores them in 16 bits.
INLINE void narrow(const int32x4_t sum[4], const int32_t *shift, int16_t *out) {
  for (int h = 0; h < 2; h++) {
    const int32x4_t a = vshlq_s32(sum[2 * h], vnegq_s32(vld1q_s32(shift + 8 * h)));
    const int32x4_t b = vshlq_s32(sum[2 * h + 1], vnegq_s32(vld1q_s32(shift + 8 * h + 4)));
    vst1q_s16(out + 8 * h, vcombine_s16(vqmovn_s32(a), vqmovn_s32(b)));
  }
}

// ---- without dot product: 16-bit inputs and weights ----

// points_neon computes 16 channels of np cells, at most 4.
INLINE void points_neon(const int16_t *in, const int ci, const int co, const int np, const int16_t *w,
                        const int32_t *bias, const int32_t *shift, int16_t *out) {
  int32x4_t sum[4][4];
  UNROLL
  for (int p = 0; p < np; p++) {
    UNROLL
    for (int j = 0; j < 4; j++) sum[p][j] = vld1q_s32(bias + 4 * j);
  }
  for (int k = 0; k < ci; k++) {
    const int16x8_t low = vld1q_s16(w + k * co), high = vld1q_s16(w + k * co + 8);
    UNROLL
    for (int p = 0; p < np; p++) {
      const int16_t x = in[p * ci + k];
      sum[p][0] = vmlal_n_s16(sum[p][0], vget_low_s16(low), x);
      sum[p][1] = vmlal_n_s16(sum[p][1], vget_high_s16(low), x);
      sum[p][2] = vmlal_n_s16(sum[p][2], vget_low_s16(high), x);
      sum[p][3] = vmlal_n_s16(sum[p][3], vget_high_s16(high), x);
    }
  }
  UNROLL
  for (int p = 0; p < np; p++) narrow(sum[p], shift, out + p * co);
}

INLINE void point_of_neon(const block *b, const uint8_t *weights, const int16_t *in, int32_t n, int16_t *out,
                          const int ci, const int co) {
  for (int g = 0; g < co; g += 16) {
    const int16_t *w = (const int16_t *)(weights + b->point_at) + g;
    const int32_t *bias = (const int32_t *)(weights + b->bias_at) + g,
                  *shift = (const int32_t *)(weights + b->shift_at) + g;
    if (n < 4) {
      for (int32_t x = 0; x < n; x++) points_neon(in + x * ci, ci, co, 1, w, bias, shift, out + x * co + g);
      continue;
    }
    for (int32_t x = 0; x < n; x += 4) {
      const int32_t y = x + 4 > n ? n - 4 : x;  // the last four overlap those before
      points_neon(in + y * ci, ci, co, 4, w, bias, shift, out + y * co + g);
    }
  }
}

static void point_neon(const block *b, const uint8_t *weights, const uint8_t *in, int32_t n, int16_t *out,
                       int16_t *wide) {
  for (int32_t i = 0; i < n * b->in; i++) wide[i] = in[i];
  OF(point_of_neon, b, b, weights, wide, n, out);
}

// stem_out scales 16 sums to activations.
INLINE void stem_out(const int32x4_t sum[4], int32_t shift, const int16_t *factor, uint8_t *out) {
  const int32x4_t by = vdupq_n_s32(-shift);
  for (int h = 0; h < 2; h++) {
    const int16x8_t t =
        vcombine_s16(vqmovn_s32(vshlq_s32(sum[2 * h], by)), vqmovn_s32(vshlq_s32(sum[2 * h + 1], by)));
    vst1_u8(out + 8 * h, vqmovun_s16(vqrdmulhq_s16(t, vld1q_s16(factor + 8 * h))));
  }
}

static void stem_neon(const network *net, const uint8_t *weights, const uint8_t *const rows[3], int32_t n,
                      uint8_t *out) {
  const int16_t *w = (const int16_t *)(weights + net->weights_at),
                *factor = (const int16_t *)(weights + net->factor_at);
  const int32_t *bias = (const int32_t *)(weights + net->bias_at);
  for (int32_t x = 0; x < n; x++) {
    int32x4_t sum[4];
    UNROLL
    for (int j = 0; j < 4; j++) sum[j] = vld1q_s32(bias + 4 * j);
    UNROLL
    for (int k = 0; k < 3; k++) {
      UNROLL
      for (int i = 0; i < 3; i++) {  // the fourth weight of a row is zero
        const int16_t v = rows[k][2 * x + i];
        UNROLL
        for (int j = 0; j < 4; j++)
          sum[j] = vmlal_n_s16(sum[j], vld1_s16(w + (4 * k + i) * CHANNELS + 4 * j), v);
      }
    }
    stem_out(sum, net->shift, factor, out + x * CHANNELS);
  }
}

// ---- with dot product: bytes. Inputs are taken less 128, to be signed; the bias makes up for it ----

#ifdef __clang__
#define DOT_TARGET __attribute__((target("dotprod")))
#else
#define DOT_TARGET __attribute__((target("arch=armv8.2-a+dotprod")))
#endif

// points_dot computes 16 channels of np cells, at most 6.
DOT_TARGET INLINE void points_dot(const uint8_t *in, const int ci, const int co, const int np,
                                  const int8_t *w, const int32_t *bias, const int32_t *shift, int16_t *out) {
  int32x4_t sum[6][4];
  UNROLL
  for (int p = 0; p < np; p++) {
    UNROLL
    for (int j = 0; j < 4; j++) sum[p][j] = vld1q_s32(bias + 4 * j);
  }
  for (int k = 0; k < ci / 4; k++) {
    int8x16_t v[4];
    UNROLL
    for (int j = 0; j < 4; j++) v[j] = vld1q_s8(w + 4 * k * co + 16 * j);
    UNROLL
    for (int p = 0; p < np; p++) {
      const int8x16_t x = vreinterpretq_s8_u32(vdupq_n_u32(load32(in + p * ci + 4 * k) ^ 0x80808080u));
      UNROLL
      for (int j = 0; j < 4; j++) sum[p][j] = vdotq_s32(sum[p][j], v[j], x);
    }
  }
  UNROLL
  for (int p = 0; p < np; p++) narrow(sum[p], shift, out + p * co);
}

DOT_TARGET INLINE void point_of_dot(const block *b, const uint8_t *weights, const uint8_t *in, int32_t n,
                                    int16_t *out, const int ci, const int co) {
  for (int g = 0; g < co; g += 16) {
    const int8_t *w = (const int8_t *)(weights + b->point_at) + 4 * g;
    const int32_t *bias = (const int32_t *)(weights + b->bias_at) + g,
                  *shift = (const int32_t *)(weights + b->shift_at) + g;
    if (n < 6) {
      for (int32_t x = 0; x < n; x++) points_dot(in + x * ci, ci, co, 1, w, bias, shift, out + x * co + g);
      continue;
    }
    for (int32_t x = 0; x < n; x += 6) {
      const int32_t y = x + 6 > n ? n - 6 : x;
      points_dot(in + y * ci, ci, co, 6, w, bias, shift, out + y * co + g);
    }
  }
}

DOT_TARGET static void point_dot(const block *b, const uint8_t *weights, const uint8_t *in, int32_t n,
                                 int16_t *out, int16_t *wide) {
  (void)wide;
  OF(point_of_dot, b, b, weights, in, n, out);
}

DOT_TARGET static void stem_dot(const network *net, const uint8_t *weights, const uint8_t *const rows[3],
                                int32_t n, uint8_t *out) {
  const int8_t *w = (const int8_t *)(weights + net->weights_at);
  const int16_t *factor = (const int16_t *)(weights + net->factor_at);
  const int32_t *bias = (const int32_t *)(weights + net->bias_at);
  for (int32_t x = 0; x < n; x++) {
    int32x4_t sum[4];
    UNROLL
    for (int j = 0; j < 4; j++) sum[j] = vld1q_s32(bias + 4 * j);
    UNROLL
    for (int k = 0; k < 3; k++) {
      const int8x16_t v = vreinterpretq_s8_u32(vdupq_n_u32(load32(rows[k] + 2 * x) ^ 0x80808080u));
      UNROLL
      for (int j = 0; j < 4; j++) sum[j] = vdotq_s32(sum[j], vld1q_s8(w + 64 * k + 16 * j), v);
    }
    stem_out(sum, net->shift, factor, out + x * CHANNELS);
  }
}

static const kernels paths[] = {
    [NEON] = {stem_neon, point_neon, depth_neon, pool_neon, add_neon, shrink_plain, sum_neon},
    [NEON_DOT] = {stem_dot, point_dot, depth_neon, pool_neon, add_neon, shrink_plain, sum_neon},
};

const kernels *kernels_of(int32_t path) { return &paths[path]; }

// has_dot reports whether the processor has the dot product. Every Mac does.
static int has_dot(void) {
#ifdef __linux__
  return (getauxval(AT_HWCAP) & (1 << 20)) != 0;  // HWCAP_ASIMDDP
#elif defined(__APPLE__)
  return 1;
#else
  return 0;
#endif
}

int32_t yunet_runs(int32_t path) { return path == NEON || (path == NEON_DOT && has_dot()); }

int32_t yunet_path(void) { return has_dot() ? NEON_DOT : NEON; }
