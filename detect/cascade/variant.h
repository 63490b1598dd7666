// One variant of the evaluator, for vectors of WIDTH windows, compiled for TARGET. native.c includes it once for each.

#define V VARIANT(vector)
typedef uint8_t V __attribute__((vector_size(WIDTH), aligned(1), may_alias));

// first evaluates a tree for the windows from number 0 on that lie side by side, their centres at p in sorted columns, and appends those
// above the threshold of the first n.
static inline __attribute__((always_inline)) TARGET int32_t VARIANT(first)(const uint8_t *p, const node *tree, const float *leaves, const uint8_t *pass,
                                                                   float threshold, int32_t n, int32_t at, int32_t step, candidates list) {
  uint8_t leaf[WIDTH] __attribute__((aligned(WIDTH)));
  int32_t kept = 0;
#define PIXELS(offset) (*(const V *)(p + (offset)))
#if WIDTH == 64
// Left to itself, the compiler loads far ahead and spills.
#define DARKER(i)                                                                                                               \
  ({                                                                                                                            \
    __m512i d;                                                                                                                  \
    __asm__("vmovdqu8 %1, %0\n\tvpsubusb %2, %0, %0" : "=&v"(d) : "m"(PIXELS(tree[i].a)), "m"(PIXELS(tree[i].b)));              \
    d;                                                                                                                          \
  })
#define MASK(v) _mm512_test_epi8_mask(v, v)
#define PICK(k, left, right) _mm512_mask_blend_epi8(k, left, right)
  LEVELS(const __mmask64)
  __m512i all = _mm512_maskz_set1_epi8(k0, 32);
  all = _mm512_or_si512(all, _mm512_maskz_set1_epi8(k1, 16));
  all = _mm512_or_si512(all, _mm512_maskz_set1_epi8(k2, 8));
  all = _mm512_or_si512(all, _mm512_maskz_set1_epi8(k3, 4));
  all = _mm512_or_si512(all, _mm512_maskz_set1_epi8(k4, 2));
  all = _mm512_or_si512(all, _mm512_maskz_set1_epi8(k5, 1));
  _mm512_store_si512(leaf, all);
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  for (int i = 0; i < WIDTH; i += 16) {
    const __m512i l = _mm512_cvtepu8_epi32(_mm_load_si128((const __m128i *)(leaf + i)));
    const __m512 low = _mm512_permutex2var_ps(_mm512_loadu_ps(leaves), l, _mm512_loadu_ps(leaves + 16));
    const __m512 high = _mm512_permutex2var_ps(_mm512_loadu_ps(leaves + 32), l, _mm512_loadu_ps(leaves + 48));
    const __m512 sum = _mm512_mask_blend_ps(_mm512_test_epi32_mask(l, _mm512_set1_epi32(32)), low, high);
    const __m512i number = _mm512_add_epi32(lanes, _mm512_set1_epi32(i));
    const __mmask16 keep = _mm512_mask_cmp_ps_mask(_mm512_cmplt_epi32_mask(number, _mm512_set1_epi32(n)), sum, _mm512_set1_ps(threshold), _CMP_GT_OQ);
    const __m512i where = _mm512_add_epi32(_mm512_set1_epi32(at), _mm512_mullo_epi32(number, _mm512_set1_epi32(step)));
    _mm512_storeu_si512(list.at + kept, _mm512_maskz_compress_epi32(keep, where));
    _mm512_storeu_ps(list.sum + kept, _mm512_maskz_compress_ps(keep, sum));
    kept += _mm_popcnt_u32(keep);
  }
#elif WIDTH == 32
// Masks are of those that go left, by which leaves count backwards.
#define DARKER(i)                                                                                                               \
  ({                                                                                                                            \
    __m256i d;                                                                                                                  \
    __asm__("vmovdqu %1, %0\n\tvpsubusb %2, %0, %0" : "=&x"(d) : "m"(PIXELS(tree[i].a)), "m"(PIXELS(tree[i].b)));               \
    d;                                                                                                                          \
  })
#define MASK(v) _mm256_cmpeq_epi8(v, _mm256_setzero_si256())
#define PICK(k, left, right) _mm256_blendv_epi8(right, left, k)
  LEVELS(const __m256i)
  __m256i all = _mm256_sub_epi8(_mm256_setzero_si256(), k0);
  all = _mm256_sub_epi8(_mm256_add_epi8(all, all), k1);
  all = _mm256_sub_epi8(_mm256_add_epi8(all, all), k2);
  all = _mm256_sub_epi8(_mm256_add_epi8(all, all), k3);
  all = _mm256_sub_epi8(_mm256_add_epi8(all, all), k4);
  all = _mm256_sub_epi8(_mm256_add_epi8(all, all), k5);
  all = _mm256_xor_si256(all, _mm256_set1_epi8(TREE - 1));
  _mm256_store_si256((__m256i *)leaf, all);
#define PASSES(quarter) _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)pass + (quarter))), all)
  const __m256i keep = PICK(k0, PICK(k1, PASSES(0), PASSES(1)), PICK(k1, PASSES(2), PASSES(3)));
#undef PASSES
  uint64_t left = (uint32_t)_mm256_movemask_epi8(keep);
  if (n < WIDTH) left &= (1ull << n) - 1;
  const int32_t count = _mm_popcnt_u32(left);
  while (left) {
    // Four at a time: what is written too much lies behind the last one.
    for (int j = 0; j < 4; j++) {
      const int i = _tzcnt_u64(left | 1ull << (WIDTH - 1));
      list.at[kept + j] = at + i * step;
      list.sum[kept + j] = leaves[leaf[i]];
      left &= left - 1;
    }
    kept += 4;
  }
  kept = count;
#else
#define DARKER(i) (V)(PIXELS(tree[i].b) < PIXELS(tree[i].a))
#define MASK(v) (v)
#define PICK(k, left, right) (((left) & ~(k)) | ((right) & (k)))
  LEVELS(const V)
  V all = -k0;
  all = all + all - k1;
  all = all + all - k2;
  all = all + all - k3;
  all = all + all - k4;
  all = all + all - k5;
  memcpy(leaf, &all, sizeof leaf);
  for (int i = 0; i < WIDTH; i++) {
    list.at[kept] = at + i * step;
    list.sum[kept] = leaves[leaf[i]];
    kept += (leaves[leaf[i]] > threshold) & (i < n);
  }
#endif
  return kept;
#undef PIXELS
#undef DARKER
#undef MASK
#undef PICK
}

// spread sorts n columns of an image row by their remainder: to[r * width + i] is from[i * k + r].
static inline __attribute__((always_inline)) TARGET void VARIANT(spread)(uint8_t *restrict to, const uint8_t *restrict from, int32_t n, int32_t k,
                                                                 int32_t width) {
  const int32_t whole = n / k;
  for (int32_t i = 0; i < whole; i++)
    for (int32_t r = 0; r < k; r++) to[r * width + i] = from[i * k + r];
  for (int32_t r = 0; r < n - whole * k; r++) to[r * width + whole] = from[whole * k + r];
}

// sorted evaluates the first tree for all windows of a band, in copies of its rows with sorted columns, and puts those above the threshold into lists.
static TARGET int32_t VARIANT(sorted)(trees t, const grid *g, float threshold, const uint8_t *pix, int32_t at, int32_t rows, uint8_t *columns,
                                      candidates list) {
  int32_t row[TREE][2], col[TREE][2], top = 0, bottom = 0, left = 0, right = 0;
  for (int i = 1; i < TREE; i++)
    for (int j = 0; j < 2; j++) {
      const int8_t *c = t.codes + 4 * i + 2 * j;
      const int32_t y = row[i][j] = (g->cos * c[0] - g->sin * c[1]) >> 16;
      const int32_t x = col[i][j] = g->mirror * ((g->sin * c[0] + g->cos * c[1]) >> 16);
      top = y < top ? y : top;
      bottom = y > bottom ? y : bottom;
      left = x < left ? x : left;
      right = x > right ? x : right;
    }
  const int32_t k = g->step, pixels = right - left + (g->cols - 1) * k + 1, width = pixels / k + 1;
  node tree[TREE];
  for (int i = 1; i < TREE; i++) {
    tree[i].a = ((row[i][0] - top) * k + (col[i][0] - left) % k) * width + (col[i][0] - left) / k;
    tree[i].b = ((row[i][1] - top) * k + (col[i][1] - left) % k) * width + (col[i][1] - left) / k;
  }
  const uint8_t *from = pix + at + (int64_t)top * g->stride + left;
  for (int32_t y = 0; y <= (rows - 1) * k + bottom - top; y++, from += g->stride) {
    uint8_t *to = columns + (int64_t)y * k * width;
    if (k == 1) memcpy(to, from, pixels);
    if (k == 2) VARIANT(spread)(to, from, pixels, 2, width);
    if (k == 3) VARIANT(spread)(to, from, pixels, 3, width);
    if (k == 4) VARIANT(spread)(to, from, pixels, 4, width);
  }
  uint8_t pass[TREE] __attribute__((aligned(16)));  // by leaf, 255 where it is above the threshold
  for (int i = 0; i < TREE; i++) pass[i] = t.leaves[i] > threshold ? 255 : 0;
  int32_t n = 0;
  for (int32_t r = 0; r < rows; r++)
    for (int32_t c = 0; c < g->cols; c += WIDTH)
      n += VARIANT(first)(columns + (int64_t)r * k * k * width + c, tree, t.leaves, pass, threshold, g->cols - c, at + (r * g->stride + c) * k, k,
                          (candidates){list.at + n, list.sum + n});
  return n;
}

// build makes the offsets of the trees up to `to` that were not made yet.
static TARGET void VARIANT(build)(trees t, grid *g, node *nodes, int32_t to) {
  const int32_t sin = g->sin, cos = g->cos, stride = g->stride, mirror = g->mirror;
  for (int32_t i = g->built * TREE; i < to * TREE; i++) {
    const int8_t *c = t.codes + 4 * i;
    nodes[i].a = ((cos * c[0] - sin * c[1]) >> 16) * stride + mirror * ((sin * c[0] + cos * c[1]) >> 16);
    nodes[i].b = ((cos * c[2] - sin * c[3]) >> 16) * stride + mirror * ((sin * c[2] + cos * c[3]) >> 16);
  }
  g->built = to;
}

// run evaluates trees [from, to) for n candidates, keeps those above the threshold, in place and in order, and returns their
// number. Ten are interleaved, so that the latency of their loads overlaps.
static TARGET int32_t VARIANT(run)(const node *nodes, const float *leaves, int32_t from, int32_t to, float threshold, const uint8_t *pix, candidates list,
                                   int32_t n) {
  enum { N = 10 };
  for (int k = 0; k < N; k++) list.at[n + k] = list.at[n - 1];
  int32_t kept = 0;
  for (int32_t c = 0; c < n; c += N) {
    const uint8_t *p[N];
    float sum[N];
    for (int k = 0; k < N; k++) {
      p[k] = pix + list.at[c + k];
      sum[k] = list.sum[c + k];
    }
    for (int32_t t = from; t < to; t++) {
      const node *tree = nodes + t * TREE;
      uint64_t i[N];
#pragma GCC unroll 16
      for (int k = 0; k < N; k++) i[k] = 2 + (p[k][tree[1].b] < p[k][tree[1].a]);
#pragma GCC unroll 16
      for (int level = 1; level < 6; level++)
#pragma GCC unroll 16
        for (int k = 0; k < N; k++) i[k] = down(p[k], tree, i[k]);
#pragma GCC unroll 16
      for (int k = 0; k < N; k++) sum[k] += leaves[t * TREE + i[k] - TREE];
    }
    for (int k = 0; k < N; k++) {
      list.at[kept] = (int32_t)(p[k] - pix);
      list.sum[kept] = sum[k];
      kept += (sum[k] > threshold) & (c + k < n);
    }
  }
  return kept;
}

// stages evaluates the stages that end in (after, until] for n candidates; tree 0 is done where from is 1.
static TARGET int32_t VARIANT(stages)(trees t, grid *g, node *nodes, int32_t from, int32_t after, int32_t until, const uint8_t *pix, candidates list,
                                      int32_t n) {
  for (int32_t s = 0; s < t.count && n > 0; s++) {
    const stage st = t.stages[s];
    if (st.to > after && st.to <= until && st.to > from) {
      if (st.to > g->built) VARIANT(build)(t, g, nodes, st.to);
      n = VARIANT(run)(nodes, t.leaves, from, st.to, st.threshold, pix, list, n);
    }
    from = st.to > from ? st.to : from;
  }
  return n;
}

static TARGET int32_t VARIANT(band)(trees t, grid *g, node *nodes, const uint8_t *pix, int32_t at, int32_t rows, uint8_t *columns, candidates list) {
  int32_t from = 0, n = 0;
  if (g->step <= SORTED) {
    n = VARIANT(sorted)(t, g, t.stages[0].to == 1 ? t.stages[0].threshold : -INFINITY, pix, at, rows, columns, list);
    from = 1;
  } else {
    for (int32_t r = 0; r < rows; r++)
      for (int32_t c = 0; c < g->cols; c++, n++) list.at[n] = at + (r * g->stride + c) * g->step, list.sum[n] = 0;
  }
  return VARIANT(stages)(t, g, nodes, from, 0, EARLY, pix, list, n);
}

static TARGET int32_t VARIANT(rest)(trees t, grid *g, node *nodes, const uint8_t *pix, candidates list, int32_t n) {
  return VARIANT(stages)(t, g, nodes, g->step <= SORTED, EARLY, INT32_MAX, pix, list, n);
}

static TARGET void VARIANT(smooth)(uint8_t *to, int32_t to_stride, const uint8_t *from, int32_t from_stride, int32_t width, int32_t height) {
  enum { PART = 1024 };  // columns at a time
  for (int32_t y = 0; y < height; y++) {
    const uint8_t *b = from + (int64_t)y * from_stride, *a = y > 0 ? b - from_stride : b, *c = y < height - 1 ? b + from_stride : b;
    uint8_t *restrict out = to + (int64_t)y * to_stride;
    for (int32_t x = 0; x < width; x += PART) {
      const int32_t n = width - x < PART ? width - x : PART, left = x > 0 ? x - 1 : 0, right = x + n < width ? x + n : width - 1;
      uint16_t sum[PART + 2];  // of three rows, from column x - 1 on
      sum[0] = a[left] + 2 * b[left] + c[left];
      for (int32_t i = 0; i < n; i++) sum[i + 1] = a[x + i] + 2 * b[x + i] + c[x + i];
      sum[n + 1] = a[right] + 2 * b[right] + c[right];
      for (int32_t i = 0; i < n; i++) out[x + i] = (sum[i] + 2 * sum[i + 1] + sum[i + 2] + 8) >> 4;
    }
  }
}

#undef V
#undef VARIANT
#undef TARGET
#undef WIDTH
