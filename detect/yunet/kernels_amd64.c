//go:build cgo

#include "kernels.h"

#include <immintrin.h>

// ---- SSE2: what every processor has ----

// mulr2 is pmulhrsw, which came later.
INLINE __m128i mulr2(__m128i a, __m128i b) {
  const __m128i low = _mm_srli_epi16(_mm_mullo_epi16(a, b), 14),
                high = _mm_slli_epi16(_mm_mulhi_epi16(a, b), 1);
  return _mm_add_epi16(high, _mm_srli_epi16(_mm_add_epi16(low, _mm_set1_epi16(1)), 1));
}

INLINE void narrow2(uint8_t *p, __m128i v) {
  v = _mm_srai_epi16(v, FRACTION);
  _mm_storel_epi64((__m128i *)p, _mm_packus_epi16(v, v));
}

#define TARGET
#define NAME(x)     x##_sse2
#define V           __m128i
#define LANES       8
#define LOAD(p)     _mm_loadu_si128((const __m128i *)(p))
#define STORE(p, v) _mm_storeu_si128((__m128i *)(p), v)
#define ADDS        _mm_adds_epi16
#define MULR        mulr2
#define NARROW      narrow2
#include "lanes.h"

// shift2 shifts each lane by its own number, 0 to 3, of which masks[0] and masks[1] have the two bits.
INLINE __m128i shift2(__m128i v, const int32_t *masks, int32_t pitch) {
  const __m128i one = _mm_load_si128((const __m128i *)masks),
                two = _mm_load_si128((const __m128i *)(masks + pitch));
  v = _mm_xor_si128(v, _mm_and_si128(one, _mm_xor_si128(v, _mm_srai_epi32(v, 1))));
  return _mm_xor_si128(v, _mm_and_si128(two, _mm_xor_si128(v, _mm_srai_epi32(v, 2))));
}

// points2 computes eight channels of np cells.
INLINE void points2(const int16_t *in, const int ci, const int co, const int np, const int16_t *w,
                    const int32_t *bias, const int32_t *shift, int16_t *out) {
  __m128i sum[10];
  UNROLL
  for (int p = 0; p < np; p++) {
    sum[2 * p] = _mm_load_si128((const __m128i *)bias);
    sum[2 * p + 1] = _mm_load_si128((const __m128i *)(bias + 4));
  }
  for (int k = 0; k < ci / 2; k++) {
    const __m128i w0 = _mm_load_si128((const __m128i *)(w + 2 * k * co)),
                  w1 = _mm_load_si128((const __m128i *)(w + 2 * k * co + 8));
    UNROLL
    for (int p = 0; p < np; p++) {
      const __m128i x = _mm_set1_epi32(load32(in + p * ci + 2 * k));
      sum[2 * p] = _mm_add_epi32(sum[2 * p], _mm_madd_epi16(x, w0));
      sum[2 * p + 1] = _mm_add_epi32(sum[2 * p + 1], _mm_madd_epi16(x, w1));
    }
  }
  UNROLL
  for (int p = 0; p < np; p++)
    _mm_storeu_si128((__m128i *)(out + p * co),
                     _mm_packs_epi32(shift2(sum[2 * p], shift, co), shift2(sum[2 * p + 1], shift + 4, co)));
}

INLINE void point_of_sse2(const block *b, const uint8_t *weights, const int16_t *in, int32_t n, int16_t *out,
                          const int ci, const int co) {
  for (int g = 0; g < co; g += 8) {
    const int16_t *w = (const int16_t *)(weights + b->point_at) + 2 * g;
    const int32_t *bias = (const int32_t *)(weights + b->bias_at) + g,
                  *shift = (const int32_t *)(weights + b->shift_at) + g;
    if (n < 5) {
      for (int32_t x = 0; x < n; x++) points2(in + x * ci, ci, co, 1, w, bias, shift, out + x * co + g);
      continue;
    }
    for (int32_t x = 0; x < n; x += 5) {
      const int32_t y = x + 5 > n ? n - 5 : x;  // the last five overlap those before
      points2(in + y * ci, ci, co, 5, w, bias, shift, out + y * co + g);
    }
  }
}

static void point_sse2(const block *b, const uint8_t *weights, const uint8_t *in, int32_t n, int16_t *out,
                       int16_t *wide) {
  for (int32_t i = 0; i < n * b->in; i++) wide[i] = in[i];
  OF(point_of_sse2, b, b, weights, wide, n, out);
}

static void stem_sse2(const network *net, const uint8_t *weights, const uint8_t *const rows[3], int32_t n,
                      uint8_t *out) {
  const __m128i *w = (const __m128i *)(weights + net->weights_at),
                *bias = (const __m128i *)(weights + net->bias_at);
  const __m128i *factor = (const __m128i *)(weights + net->factor_at), zero = _mm_setzero_si128();
  const __m128i shift = _mm_cvtsi32_si128(net->shift);
  for (int32_t x = 0; x < n; x++) {
    __m128i sum[4];
    UNROLL
    for (int c = 0; c < 4; c++) sum[c] = bias[c];
    UNROLL
    for (int k = 0; k < 3; k++) {
      const __m128i v = _mm_unpacklo_epi8(_mm_cvtsi32_si128(load32(rows[k] + 2 * x)), zero);
      const __m128i a = _mm_shuffle_epi32(v, 0), b = _mm_shuffle_epi32(v, 0x55);
      UNROLL
      for (int c = 0; c < 4; c++)
        sum[c] = _mm_add_epi32(
            sum[c], _mm_add_epi32(_mm_madd_epi16(a, w[8 * k + c]), _mm_madd_epi16(b, w[8 * k + 4 + c])));
    }
    UNROLL
    for (int c = 0; c < 4; c++) sum[c] = _mm_sra_epi32(sum[c], shift);
    const __m128i low = mulr2(_mm_packs_epi32(sum[0], sum[1]), factor[0]),
                  high = mulr2(_mm_packs_epi32(sum[2], sum[3]), factor[1]);
    _mm_storeu_si128((__m128i *)(out + x * CHANNELS), _mm_packus_epi16(low, high));
  }
}

// ---- AVX2 ----

#define AVX2_TARGET __attribute__((target("avx2")))

AVX2_TARGET INLINE void narrow_avx2(uint8_t *p, __m256i v) {
  v = _mm256_srai_epi16(v, FRACTION);
  v = _mm256_permute4x64_epi64(_mm256_packus_epi16(v, v), 0xd8);
  _mm_storeu_si128((__m128i *)p, _mm256_castsi256_si128(v));
}

#define TARGET      AVX2_TARGET
#define NAME(x)     x##_avx2
#define V           __m256i
#define LANES       16
#define LOAD(p)     _mm256_loadu_si256((const __m256i *)(p))
#define STORE(p, v) _mm256_storeu_si256((__m256i *)(p), v)
#define ADDS        _mm256_adds_epi16
#define MULR        _mm256_mulhrs_epi16
#define NARROW      narrow_avx2
#include "lanes.h"

// points_avx2 computes 16 channels of np cells. Accumulators are arrays of a fixed size, so that they stay in
// registers.
AVX2_TARGET INLINE void points_avx2(const int16_t *in, const int ci, const int co, const int np,
                                    const int16_t *w, const int32_t *bias, const int32_t *shift,
                                    int16_t *out) {
  __m256i sum[12];
  const __m256i b0 = _mm256_load_si256((const __m256i *)bias),
                b1 = _mm256_load_si256((const __m256i *)(bias + 8));
  UNROLL
  for (int p = 0; p < np; p++) sum[2 * p] = b0, sum[2 * p + 1] = b1;
  for (int k = 0; k < ci / 2; k++) {
    const __m256i w0 = _mm256_load_si256((const __m256i *)(w + 2 * k * co)),
                  w1 = _mm256_load_si256((const __m256i *)(w + 2 * k * co + 16));
    UNROLL
    for (int p = 0; p < np; p++) {
      const __m256i x = _mm256_set1_epi32(load32(in + p * ci + 2 * k));
      sum[2 * p] = _mm256_add_epi32(sum[2 * p], _mm256_madd_epi16(x, w0));
      sum[2 * p + 1] = _mm256_add_epi32(sum[2 * p + 1], _mm256_madd_epi16(x, w1));
    }
  }
  const __m256i s0 = _mm256_load_si256((const __m256i *)shift),
                s1 = _mm256_load_si256((const __m256i *)(shift + 8));
  UNROLL
  for (int p = 0; p < np; p++)
    _mm256_storeu_si256((__m256i *)(out + p * co), _mm256_packs_epi32(_mm256_srav_epi32(sum[2 * p], s0),
                                                                      _mm256_srav_epi32(sum[2 * p + 1], s1)));
}

AVX2_TARGET INLINE void point_of_avx2(const block *b, const uint8_t *weights, const int16_t *in, int32_t n,
                                      int16_t *out, const int ci, const int co) {
  for (int g = 0; g < co; g += 16) {
    const int16_t *w = (const int16_t *)(weights + b->point_at) + 2 * g;
    const int32_t *bias = (const int32_t *)(weights + b->bias_at) + g,
                  *shift = (const int32_t *)(weights + b->shift_at) + g;
    if (n < 6) {
      for (int32_t x = 0; x < n; x++) points_avx2(in + x * ci, ci, co, 1, w, bias, shift, out + x * co + g);
      continue;
    }
    for (int32_t x = 0; x < n; x += 6) {
      const int32_t y = x + 6 > n ? n - 6 : x;
      points_avx2(in + y * ci, ci, co, 6, w, bias, shift, out + y * co + g);
    }
  }
}

AVX2_TARGET static void point_avx2(const block *b, const uint8_t *weights, const uint8_t *in, int32_t n,
                                   int16_t *out, int16_t *wide) {
  for (int32_t i = 0; i < n * b->in; i += 16)
    _mm256_storeu_si256((__m256i *)(wide + i),
                        _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(in + i))));
  OF(point_of_avx2, b, b, weights, wide, n, out);
}

AVX2_TARGET static void stem_avx2(const network *net, const uint8_t *weights, const uint8_t *const rows[3],
                                  int32_t n, uint8_t *out) {
  const __m256i *w = (const __m256i *)(weights + net->weights_at),
                *bias = (const __m256i *)(weights + net->bias_at);
  const __m256i factor = *(const __m256i *)(weights + net->factor_at), b0 = bias[0], b1 = bias[1];
  const __m128i shift = _mm_cvtsi32_si128(net->shift);
  for (int32_t x = 0; x < n; x++) {
    __m256i s0 = b0, s1 = b1;
    UNROLL
    for (int k = 0; k < 3; k++) {
      const __m128i v = _mm_cvtepu8_epi16(_mm_cvtsi32_si128(load32(rows[k] + 2 * x)));
      const __m256i a = _mm256_broadcastd_epi32(v), b = _mm256_broadcastd_epi32(_mm_shuffle_epi32(v, 1));
      s0 = _mm256_add_epi32(
          s0, _mm256_add_epi32(_mm256_madd_epi16(a, w[4 * k]), _mm256_madd_epi16(b, w[4 * k + 2])));
      s1 = _mm256_add_epi32(
          s1, _mm256_add_epi32(_mm256_madd_epi16(a, w[4 * k + 1]), _mm256_madd_epi16(b, w[4 * k + 3])));
    }
    __m256i t = _mm256_packs_epi32(_mm256_sra_epi32(s0, shift), _mm256_sra_epi32(s1, shift));
    t = _mm256_mulhrs_epi16(t, factor);
    t = _mm256_permute4x64_epi64(_mm256_packus_epi16(t, t), 0xd8);
    _mm_storeu_si128((__m128i *)(out + x * CHANNELS), _mm256_castsi256_si128(t));
  }
}

// shrink_avx2 makes 16 pixels 12. Four bytes of each eight that it stores are overwritten by the next.
AVX2_TARGET static int32_t shrink_avx2(const uint8_t *a, const uint8_t *b, int32_t wa, int32_t groups,
                                       uint8_t *to) {
  const __m256i va = _mm256_set1_epi16(wa), vb = _mm256_set1_epi16(4 - wa), half = _mm256_set1_epi16(8);
  const __m256i first = _mm256_setr_epi8(0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13, -1, -1, -1, -1, 0, 1, 2, 3,
                                         4, 5, 8, 9, 10, 11, 12, 13, -1, -1, -1, -1);
  const __m256i second = _mm256_setr_epi8(2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 15, -1, -1, -1, -1, 2, 3, 4,
                                          5, 6, 7, 10, 11, 12, 13, 14, 15, -1, -1, -1, -1);
  const __m256i w1 = _mm256_setr_epi16(3, 2, 1, 3, 2, 1, 0, 0, 3, 2, 1, 3, 2, 1, 0, 0);
  const __m256i w2 = _mm256_setr_epi16(1, 2, 3, 1, 2, 3, 0, 0, 1, 2, 3, 1, 2, 3, 0, 0);
  int32_t g = 0;
  for (; g + 4 <= groups; g += 4) {
    const __m256i p = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(a + 4 * g)));
    const __m256i q = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(b + 4 * g)));
    const __m256i s = _mm256_add_epi16(_mm256_mullo_epi16(p, va), _mm256_mullo_epi16(q, vb));
    const __m256i l = _mm256_mullo_epi16(_mm256_shuffle_epi8(s, first), w1),
                  r = _mm256_mullo_epi16(_mm256_shuffle_epi8(s, second), w2);
    __m256i v = _mm256_srli_epi16(_mm256_add_epi16(_mm256_add_epi16(l, r), half), 4);
    v = _mm256_packus_epi16(v, v);
    _mm_storel_epi64((__m128i *)(to + 3 * g), _mm256_castsi256_si128(v));
    _mm_storel_epi64((__m128i *)(to + 3 * g + 6), _mm256_extracti128_si256(v, 1));
  }
  return g;
}

// ---- AVX-512 with VNNI ----

#define VNNI_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2")))

VNNI_TARGET INLINE void narrow_vnni(uint8_t *p, __m512i v) {
  v = _mm512_max_epi16(_mm512_srai_epi16(v, FRACTION), _mm512_setzero_si512());
  _mm256_storeu_si256((__m256i *)p, _mm512_cvtusepi16_epi8(v));
}

#define TARGET      VNNI_TARGET
#define NAME(x)     x##_vnni
#define V           __m512i
#define LANES       32
#define LOAD(p)     _mm512_loadu_si512(p)
#define STORE(p, v) _mm512_storeu_si512(p, v)
#define ADDS        _mm512_adds_epi16
#define MULR        _mm512_mulhrs_epi16
#define NARROW      narrow_vnni
#include "lanes.h"

// points_vnni computes nv vectors of channels of np cells: np times nv is at most 20.
VNNI_TARGET INLINE void points_vnni(const uint8_t *in, const int ci, const int nv, const int np,
                                    const int8_t *w, const int32_t *bias, const int32_t *shift,
                                    int16_t *out) {
  __m512i sum[20];
  UNROLL
  for (int i = 0; i < np * nv; i++) sum[i] = _mm512_load_si512(bias + i % nv * 16);
  for (int k = 0; k < ci / 4; k++) {
    __m512i v[4];
    UNROLL
    for (int j = 0; j < nv; j++) v[j] = _mm512_load_si512(w + (k * nv + j) * 64);
    UNROLL
    for (int p = 0; p < np; p++) {
      const __m512i x = _mm512_set1_epi32(load32(in + p * ci + 4 * k));
      UNROLL
      for (int j = 0; j < nv; j++) sum[p * nv + j] = _mm512_dpbusd_epi32(sum[p * nv + j], x, v[j]);
    }
  }
  UNROLL
  for (int i = 0; i < np * nv; i++)
    sum[i] = _mm512_srav_epi32(sum[i], _mm512_load_si512(shift + i % nv * 16));
  if (nv == 1) {
    UNROLL
    for (int p = 0; p < np; p++)
      _mm256_storeu_si256((__m256i *)(out + p * 16), _mm512_cvtsepi32_epi16(sum[p]));
  } else {
    UNROLL
    for (int i = 0; i < np * nv; i += 2)
      _mm512_storeu_si512(out + i * 16, _mm512_packs_epi32(sum[i], sum[i + 1]));
  }
}

VNNI_TARGET INLINE void point_of_vnni(const block *b, const uint8_t *weights, const uint8_t *in, int32_t n,
                                      int16_t *out, const int ci, const int co) {
  const int8_t *w = (const int8_t *)(weights + b->point_at);
  const int32_t *bias = (const int32_t *)(weights + b->bias_at),
                *shift = (const int32_t *)(weights + b->shift_at);
  const int nv = co / 16, np = nv == 4 ? 5 : nv == 2 ? 10 : 16;
  if (n < np) {
    for (int32_t x = 0; x < n; x++) points_vnni(in + x * ci, ci, nv, 1, w, bias, shift, out + x * co);
    return;
  }
  for (int32_t x = 0; x < n; x += np) {
    const int32_t y = x + np > n ? n - np : x;
    points_vnni(in + y * ci, ci, nv, np, w, bias, shift, out + y * co);
  }
}

VNNI_TARGET static void point_vnni(const block *b, const uint8_t *weights, const uint8_t *in, int32_t n,
                                   int16_t *out, int16_t *wide) {
  (void)wide;
  OF(point_of_vnni, b, b, weights, in, n, out);
}

VNNI_TARGET static void stem_vnni(const network *net, const uint8_t *weights, const uint8_t *const rows[3],
                                  int32_t n, uint8_t *out) {
  const __m512i *w = (const __m512i *)(weights + net->weights_at),
                bias = *(const __m512i *)(weights + net->bias_at);
  const __m512i w0 = w[0], w1 = w[1], w2 = w[2];
  const __m256i factor = *(const __m256i *)(weights + net->factor_at);
  const __m128i shift = _mm_cvtsi32_si128(net->shift);
  for (int32_t x = 0; x < n; x++) {
    __m512i sum = _mm512_dpbusd_epi32(bias, _mm512_set1_epi32(load32(rows[0] + 2 * x)), w0);
    sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi32(load32(rows[1] + 2 * x)), w1);
    sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi32(load32(rows[2] + 2 * x)), w2);
    __m256i t = _mm256_mulhrs_epi16(_mm512_cvtsepi32_epi16(_mm512_sra_epi32(sum, shift)), factor);
    t = _mm256_max_epi16(t, _mm256_setzero_si256());
    _mm_storeu_si128((__m128i *)(out + x * CHANNELS), _mm256_cvtusepi16_epi8(t));
  }
}

static const kernels paths[] = {
    [SSE2] = {stem_sse2, point_sse2, depth_sse2, pool_sse2, add_sse2, shrink_plain, sum_sse2},
    [AVX2] = {stem_avx2, point_avx2, depth_avx2, pool_avx2, add_avx2, shrink_avx2, sum_avx2},
    [AVX512_VNNI] = {stem_vnni, point_vnni, depth_vnni, pool_vnni, add_vnni, shrink_avx2, sum_vnni},
};

const kernels *kernels_of(int32_t path) { return &paths[path]; }

int32_t yunet_runs(int32_t path) {
  if (path == SSE2) return 1;
  if (path == AVX2) return __builtin_cpu_supports("avx2");
  return path == AVX512_VNNI && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx2");
}

int32_t yunet_path(void) { return yunet_runs(AVX512_VNNI) ? AVX512_VNNI : yunet_runs(AVX2) ? AVX2 : SSE2; }
