// Weighted means of the pixels of rows, in the integers of Pillow's resampling: sums of 8-bit pixels times
// weights of which 2^22 is a whole, rounded to 8 bits. A weight is stored as two halves, so that products fit
// into 32 bits: weight = (high << 11) + low.

#include <stdint.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

// The number of weights of a mean is a multiple of TAPS.
enum { TAPS = 16, SHIFT = 11, WHOLE = 22 };

static inline uint8_t rounded(uint32_t sum)
{
	int32_t v = (int32_t)(sum + (1u << (WHOLE - 1))) >> WHOLE;
	return v < 0 ? 0 : v > 255 ? 255 : (uint8_t)v;
}

static inline uint32_t plain_sum(const int16_t *p, const int16_t *high, const int16_t *low, int taps)
{
	uint32_t h = 0, l = 0;
	for (int i = 0; i < taps; i++) {
		h += (uint32_t)(p[i] * high[i]);
		l += (uint32_t)(p[i] * low[i]);
	}
	return (h << SHIFT) + l;
}

#if defined(__x86_64__)
__attribute__((target("avx2")))
static inline uint32_t avx2_sum(const int16_t *p, const int16_t *high, const int16_t *low, int taps)
{
	__m256i h = _mm256_setzero_si256(), l = h;
	for (int i = 0; i < taps; i += TAPS) {
		__m256i v = _mm256_loadu_si256((const __m256i *)(p + i));
		h = _mm256_add_epi32(h, _mm256_madd_epi16(v, _mm256_loadu_si256((const __m256i *)(high + i))));
		l = _mm256_add_epi32(l, _mm256_madd_epi16(v, _mm256_loadu_si256((const __m256i *)(low + i))));
	}
	h = _mm256_add_epi32(_mm256_slli_epi32(h, SHIFT), l);
	__m128i s = _mm_add_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
	s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
	s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
	return (uint32_t)_mm_cvtsi128_si32(s);
}
#endif

// MEANS makes n means of each of the rows, which are contiguous. The result is turned: a row of means for
// each column. wide is room for a row and taps more, whose weights are 0.
#define MEANS(name, sum) \
static void name(const uint8_t *src, int width, int rows, uint8_t *dst, int16_t *wide, int n, \
	const int32_t *first, const int16_t *high, const int16_t *low, int taps) \
{ \
	for (int y = 0; y < rows; y++, src += width) { \
		for (int x = 0; x < width; x++) \
			wide[x] = src[x]; \
		for (int k = 0; k < n; k++) \
			dst[k * rows + y] = rounded(sum(wide + first[k], high + k * taps, low + k * taps, taps)); \
	} \
}

MEANS(plain_means, plain_sum)
#if defined(__x86_64__)
__attribute__((target("avx2")))
MEANS(avx2_means, avx2_sum)
#endif

static void means(const uint8_t *src, int width, int rows, uint8_t *dst, int16_t *wide, int n,
	const int32_t *first, const int16_t *high, const int16_t *low, int taps)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx2")) {
		avx2_means(src, width, rows, dst, wide, n, first, high, low, taps);
		return;
	}
#endif
	plain_means(src, width, rows, dst, wide, n, first, high, low, taps);
}
