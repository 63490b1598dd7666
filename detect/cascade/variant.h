// One variant of the evaluator, of WIDTH windows a vector, compiled for TARGET. native.c includes it once for each.

#define V VARIANT(vector)
#define LOAD VARIANT(load)
typedef uint8_t V __attribute__((vector_size(WIDTH)));

static inline TARGET V LOAD(const uint8_t *p) {
  V v;
  memcpy(&v, p, sizeof v);
  return v;
}

// first appends the windows that pass the first tree, of n that lie side by side in the sorted columns at p.
static inline TARGET int32_t VARIANT(first)(const uint8_t *p, const node *tree, const float *leaves, float threshold, int32_t n, int32_t at, int32_t step,
                                    candidate *list) {
  uint8_t leaf[WIDTH] __attribute__((aligned(WIDTH)));
#if WIDTH == 64
#define ABOVE(i) _mm512_subs_epu8(_mm512_loadu_si512(p + tree[i].a), _mm512_loadu_si512(p + tree[i].b))
#define MASK(v) _mm512_testn_epi8_mask(v, v)
#define PICK(k, zero, one) _mm512_mask_blend_epi8(k, zero, one)
#define BIT(k, level) _mm512_maskz_set1_epi8(k, 32 >> level)
  LEVELS(__mmask64, PICK, ABOVE, MASK)
  __m512i all = _mm512_or_si512(_mm512_or_si512(_mm512_or_si512(BIT(k0, 0), BIT(k1, 1)), _mm512_or_si512(BIT(k2, 2), BIT(k3, 3))),
                                _mm512_or_si512(BIT(k4, 4), BIT(k5, 5)));
  _mm512_store_si512(leaf, all);
  const __m512 table[4] = {_mm512_loadu_ps(leaves), _mm512_loadu_ps(leaves + 16), _mm512_loadu_ps(leaves + 32), _mm512_loadu_ps(leaves + 48)};
  const __m512i sixteen = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  int32_t kept = 0;
  for (int i = 0; i < WIDTH; i += 16) {
    const __m512i index = _mm512_cvtepu8_epi32(_mm_load_si128((const __m128i *)(leaf + i)));
    const __m512 sum = _mm512_mask_blend_ps(_mm512_test_epi32_mask(index, _mm512_set1_epi32(32)), _mm512_permutex2var_ps(table[0], index, table[1]),
                                            _mm512_permutex2var_ps(table[2], index, table[3]));
    const __m512i number = _mm512_add_epi32(sixteen, _mm512_set1_epi32(i));
    const __mmask16 pass = _mm512_cmp_ps_mask(sum, _mm512_set1_ps(threshold), _CMP_GT_OQ) & _mm512_cmplt_epi32_mask(number, _mm512_set1_epi32(n));
    const __m512i where = _mm512_add_epi32(_mm512_set1_epi32(at), _mm512_mullo_epi32(number, _mm512_set1_epi32(step)));
    const __m512i wheres = _mm512_maskz_compress_epi32(pass, where), sums = _mm512_castps_si512(_mm512_maskz_compress_ps(pass, sum));
    const __m512i lo = _mm512_unpacklo_epi32(wheres, sums), hi = _mm512_unpackhi_epi32(wheres, sums);
    _mm512_storeu_si512(list + kept, _mm512_permutex2var_epi64(lo, _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), hi));
    _mm512_storeu_si512(list + kept + 8, _mm512_permutex2var_epi64(lo, _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15), hi));
    kept += _mm_popcnt_u32(pass);
  }
#undef BIT
#else
#define ABOVE(i) (V)(LOAD(p + tree[i].a) > LOAD(p + tree[i].b))
#define MASK(v) (v)
#define PICK(k, zero, one) (((zero) & (k)) | ((one) & ~(k)))
  LEVELS(const V, PICK, ABOVE, MASK)
  V all = k0 + 1;
  all += all + k1 + 1;
  all += all + k2 + 1;
  all += all + k3 + 1;
  all += all + k4 + 1;
  all += all + k5 + 1;
  memcpy(leaf, &all, sizeof all);
  int32_t kept = 0;
  for (int i = 0; i < WIDTH; i++) {
    const float sum = leaves[leaf[i]];
    list[kept] = (candidate){at + i * step, sum};
    kept += (sum > threshold) & (i < n);
  }
#endif
#undef ABOVE
#undef MASK
#undef PICK
  return kept;
}

// build makes the offsets of the trees up to `to` that were not made yet.
static TARGET void VARIANT(build)(scan *s, const int8_t *codes, node *nodes, int32_t to) {
  const int32_t sin = s->sin, cos = s->cos, stride = s->stride, mirror = s->mirror;
  for (int32_t i = s->built * TREE; i < to * TREE; i++) {
    const int8_t *c = codes + 4 * i;
    nodes[i].a = ((cos * c[0] - sin * c[1]) >> 16) * stride + mirror * ((sin * c[0] + cos * c[1]) >> 16);
    nodes[i].b = ((cos * c[2] - sin * c[3]) >> 16) * stride + mirror * ((sin * c[2] + cos * c[3]) >> 16);
  }
  if (to > s->built) s->built = to;
}

// run evaluates trees [from, to) for n candidates, keeps those above the threshold, in place and in order, and returns their
// number. Eight are interleaved, so that the latency of their loads overlaps; there is room for that behind the last one.
static TARGET int32_t VARIANT(run)(const uint8_t *pix, const node *nodes, const float *leaves, int32_t from, int32_t to, float threshold,
                                   candidate *list, int32_t n) {
  enum { N = 8 };
  if (n == 0) return 0;
  for (int k = 0; k < N; k++) list[n + k] = list[n - 1];
  int32_t kept = 0;
  for (int32_t c = 0; c < n; c += N) {
    const uint8_t *p[N];
    float sum[N];
    for (int k = 0; k < N; k++) {
      p[k] = pix + list[c + k].at;
      sum[k] = list[c + k].sum;
    }
    for (int32_t t = from; t < to; t++) {
      const node *tree = nodes + t * TREE;
      uint64_t i[N];
      for (int k = 0; k < N; k++) i[k] = 1;
      for (int level = 0; level < 6; level++)
        for (int k = 0; k < N; k++) i[k] += i[k] + (p[k][tree[i[k]].a] <= p[k][tree[i[k]].b]);
      for (int k = 0; k < N; k++) sum[k] += leaves[t * TREE + i[k] - TREE];
    }
    for (int k = 0; k < N; k++) {
      list[kept] = (candidate){(int32_t)(p[k] - pix), sum[k]};
      kept += (sum[k] > threshold) & (c + k < n);
    }
  }
  return kept;
}

// spread sorts n columns of an image row by their remainder: to[r * width + i] is from[i * k + r].
static inline __attribute__((always_inline)) TARGET void VARIANT(spread)(uint8_t *restrict to, const uint8_t *restrict from, int32_t n, int32_t k,
                                                                 int32_t width) {
  const int32_t whole = n / k;
  for (int32_t i = 0; i < whole; i++)
    for (int32_t r = 0; r < k; r++) to[r * width + i] = from[i * k + r];
  for (int32_t r = 0; r < n - whole * k; r++) to[r * width + whole] = from[whole * k + r];
}

// sorted evaluates the first tree for all windows of a band, in copies of the rows with sorted columns.
static TARGET int32_t VARIANT(sorted)(const scan *s, const int8_t *codes, const float *leaves, const uint8_t *pix, int32_t at, int32_t rows,
                                      uint8_t *columns, candidate *list) {
  int32_t row[TREE][2], col[TREE][2], top = 0, bottom = 0, left = 0, right = 0;
  for (int i = 1; i < TREE; i++)
    for (int j = 0; j < 2; j++) {
      const int8_t *c = codes + 4 * i + 2 * j;
      const int32_t y = row[i][j] = (s->cos * c[0] - s->sin * c[1]) >> 16, x = col[i][j] = s->mirror * ((s->sin * c[0] + s->cos * c[1]) >> 16);
      if (y < top) top = y;
      if (y > bottom) bottom = y;
      if (x < left) left = x;
      if (x > right) right = x;
    }
  const int32_t k = s->step, pixels = right - left + (s->cols - 1) * k + 1, width = pixels / k + 1;
  const uint8_t *from = pix + at + (int64_t)top * s->stride + left;
  for (int32_t y = 0; y < (rows - 1) * k + bottom - top + 1; y++) {
    uint8_t *to = columns + (int64_t)y * k * width;
    const uint8_t *f = from + (int64_t)y * s->stride;
    if (k == 1) memcpy(to, f, pixels);
    if (k == 2) VARIANT(spread)(to, f, pixels, 2, width);
    if (k == 3) VARIANT(spread)(to, f, pixels, 3, width);
    if (k == 4) VARIANT(spread)(to, f, pixels, 4, width);
  }
  node tree[TREE];
  for (int i = 1; i < TREE; i++) {
    int32_t o[2];
    for (int j = 0; j < 2; j++) o[j] = ((row[i][j] - top) * k + (col[i][j] - left) % k) * width + (col[i][j] - left) / k;
    tree[i] = (node){o[0], o[1]};
  }
  int32_t n = 0;
  for (int32_t r = 0; r < rows; r++)
    for (int32_t c = 0; c < s->cols; c += WIDTH)
      n += VARIANT(first)(columns + (int64_t)r * k * k * width + c, tree, leaves, s->first, s->cols - c, at + r * k * s->stride + c * k, k, list + n);
  return n;
}

static TARGET int32_t VARIANT(band)(scan *s, const stage *stages, const int8_t *codes, const float *leaves, node *nodes, const uint8_t *pix, int32_t at,
                                    int32_t rows, uint8_t *columns, candidate *list) {
  int32_t from = 0, n = 0;
  if (s->step <= 4) {
    n = VARIANT(sorted)(s, codes, leaves, pix, at, rows, columns, list);
    from = 1;
  } else {
    for (int32_t r = 0; r < rows; r++)
      for (int32_t c = 0; c < s->cols; c++) list[n++] = (candidate){at + (r * s->stride + c) * s->step, 0};
  }
  for (int32_t i = 0; i < s->stages && stages[i].to <= EARLY && n > 0; i++) {
    if (from == stages[i].to) continue;
    VARIANT(build)(s, codes, nodes, stages[i].to);
    n = VARIANT(run)(pix, nodes, leaves, from, stages[i].to, stages[i].threshold, list, n);
    from = stages[i].to;
  }
  return n;
}

static TARGET int32_t VARIANT(rest)(scan *s, const stage *stages, const int8_t *codes, const float *leaves, node *nodes, const uint8_t *pix,
                                    candidate *list, int32_t n) {
  int32_t from = s->step <= 4 ? 1 : 0;
  for (int32_t i = 0; i < s->stages && n > 0; i++) {
    if (stages[i].to > EARLY) {
      VARIANT(build)(s, codes, nodes, stages[i].to);
      n = VARIANT(run)(pix, nodes, leaves, from, stages[i].to, stages[i].threshold, list, n);
    }
    from = stages[i].to;
  }
  return n;
}

#undef V
#undef LOAD
#undef VARIANT
#undef TARGET
#undef WIDTH
