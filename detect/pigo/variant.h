// One variant of the evaluator, for vectors of WIDTH windows, compiled for TARGET. native.c includes it once
// for each.

#define V VARIANT(vector)
typedef uint8_t V __attribute__((vector_size(WIDTH), aligned(1), may_alias));

// masked evaluates the first trees for the windows from number 0 on that are side by side, their centres at
// p, and appends those of the first n that exceed what they have to after each tree.
INLINE TARGET int32_t VARIANT(masked)(trees t, int32_t masked, const node *nodes, const float *least,
                                      const uint8_t *p, int32_t n, int32_t at, candidates list) {
  int32_t kept = 0;
#define PIXELS(offset) (*(const V *)(p + (offset)))
#if WIDTH == 64
// Left to itself, the compiler loads far ahead and spills.
#define DARKER(i)                                              \
  ({                                                           \
    __m512i d;                                                 \
    __asm__("vmovdqu8 %1, %0\n\tvpsubusb %2, %0, %0"           \
            : "=&v"(d)                                         \
            : "m"(PIXELS(tree[i].a)), "m"(PIXELS(tree[i].b))); \
    d;                                                         \
  })
#define MASK(v) _mm512_test_epi8_mask(v, v)
#define PICK(k, left, right) _mm512_mask_blend_epi8(k, left, right)
  uint8_t leaf[WIDTH] __attribute__((aligned(WIDTH)));
  __m512 sum[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
  uint64_t keep = n < WIDTH ? (1ull << n) - 1 : ~0ull;
  for (int32_t i = 0; i < masked; i++) {
    const node *tree = nodes + i * TREE;
    const float *leaves = t.leaves + i * TREE;
    LEVELS(const __mmask64)
    __m512i all = _mm512_maskz_set1_epi8(k0, 32);
    all = _mm512_or_si512(all, _mm512_maskz_set1_epi8(k1, 16));
    all = _mm512_or_si512(all, _mm512_maskz_set1_epi8(k2, 8));
    all = _mm512_or_si512(all, _mm512_maskz_set1_epi8(k3, 4));
    all = _mm512_or_si512(all, _mm512_maskz_set1_epi8(k4, 2));
    all = _mm512_or_si512(all, _mm512_maskz_set1_epi8(k5, 1));
    _mm512_store_si512(leaf, all);
    uint64_t pass = 0;
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
      const __m512i l = _mm512_cvtepu8_epi32(_mm_load_si128((const __m128i *)(leaf + 16 * j)));
      const __m512 low = _mm512_permutex2var_ps(_mm512_loadu_ps(leaves), l, _mm512_loadu_ps(leaves + 16));
      const __m512 high =
          _mm512_permutex2var_ps(_mm512_loadu_ps(leaves + 32), l, _mm512_loadu_ps(leaves + 48));
      sum[j] = _mm512_add_ps(
          sum[j], _mm512_mask_blend_ps(_mm512_test_epi32_mask(l, _mm512_set1_epi32(32)), low, high));
      pass |= (uint64_t)_mm512_cmp_ps_mask(sum[j], _mm512_set1_ps(least[i]), _CMP_GT_OQ) << 16 * j;
    }
    keep &= pass;
    if (!keep) return 0;
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; j++) {
    const __mmask16 part = keep >> 16 * j;
    const __m512i where =
        _mm512_add_epi32(_mm512_set1_epi32(at + 16 * j),
                         _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    _mm512_storeu_si512(list.at + kept, _mm512_maskz_compress_epi32(part, where));
    _mm512_storeu_ps(list.sum + kept, _mm512_maskz_compress_ps(part, sum[j]));
    kept += _mm_popcnt_u32(part);
  }
#elif WIDTH == 32
// Masks are of those that go left, by which leaves count backwards.
#define DARKER(i)                                              \
  ({                                                           \
    __m256i d;                                                 \
    __asm__("vmovdqu %1, %0\n\tvpsubusb %2, %0, %0"            \
            : "=&x"(d)                                         \
            : "m"(PIXELS(tree[i].a)), "m"(PIXELS(tree[i].b))); \
    d;                                                         \
  })
#define MASK(v) _mm256_cmpeq_epi8(v, _mm256_setzero_si256())
#define PICK(k, left, right) _mm256_blendv_epi8(right, left, k)
// PLANE is byte j of every window's leaf, which is one of 64: looked up among 16 in four ways.
#define SIXTEEN(j, i) \
  _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(planes + 4 * (j) + (i))), all)
#define PLANE(j) PICK(k0, PICK(k1, SIXTEEN(j, 0), SIXTEEN(j, 1)), PICK(k1, SIXTEEN(j, 2), SIXTEEN(j, 3)))
  __m256 sum[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                   _mm256_setzero_ps()};  // of windows 0-3, 16-19; 4-7, 20-23; ...
  __m256i keep = _mm256_set1_epi8(-1);
  for (int32_t i = 0; i < masked; i++) {
    const node *tree = nodes + i * TREE;
    const __m128i *planes = (const __m128i *)(t.planes + i * TREE * sizeof(float));
    LEVELS(const __m256i)
    __m256i all = _mm256_sub_epi8(_mm256_setzero_si256(), k0);
    all = _mm256_sub_epi8(_mm256_add_epi8(all, all), k1);
    all = _mm256_sub_epi8(_mm256_add_epi8(all, all), k2);
    all = _mm256_sub_epi8(_mm256_add_epi8(all, all), k3);
    all = _mm256_sub_epi8(_mm256_add_epi8(all, all), k4);
    all = _mm256_sub_epi8(_mm256_add_epi8(all, all), k5);
    all = _mm256_xor_si256(all, _mm256_set1_epi8(TREE - 1));
    const __m256i p0 = PLANE(0), p1 = PLANE(1), p2 = PLANE(2), p3 = PLANE(3);
    const __m256i low0 = _mm256_unpacklo_epi8(p0, p1), low1 = _mm256_unpackhi_epi8(p0, p1);
    const __m256i high0 = _mm256_unpacklo_epi8(p2, p3), high1 = _mm256_unpackhi_epi8(p2, p3);
    sum[0] = _mm256_add_ps(sum[0], _mm256_castsi256_ps(_mm256_unpacklo_epi16(low0, high0)));
    sum[1] = _mm256_add_ps(sum[1], _mm256_castsi256_ps(_mm256_unpackhi_epi16(low0, high0)));
    sum[2] = _mm256_add_ps(sum[2], _mm256_castsi256_ps(_mm256_unpacklo_epi16(low1, high1)));
    sum[3] = _mm256_add_ps(sum[3], _mm256_castsi256_ps(_mm256_unpackhi_epi16(low1, high1)));
#define PASSES(j) _mm256_castps_si256(_mm256_cmp_ps(sum[j], _mm256_set1_ps(least[i]), _CMP_GT_OQ))
    const __m256i pass = _mm256_packs_epi16(_mm256_packs_epi32(PASSES(0), PASSES(1)),
                                            _mm256_packs_epi32(PASSES(2), PASSES(3)));
#undef PASSES
    keep = _mm256_and_si256(keep, pass);
    if (_mm256_testz_si256(keep, keep)) return 0;
  }
#undef PLANE
#undef SIXTEEN
  uint64_t left = (uint32_t)_mm256_movemask_epi8(keep);
  if (n < WIDTH) left &= (1ull << n) - 1;
  float sums[WIDTH] __attribute__((aligned(WIDTH)));
#pragma GCC unroll 4
  for (int j = 0; j < 4; j++) {
    _mm_store_ps(sums + 4 * j, _mm256_castps256_ps128(sum[j]));
    _mm_store_ps(sums + 16 + 4 * j, _mm256_extractf128_ps(sum[j], 1));
  }
  const int32_t count = _mm_popcnt_u32(left);
  while (left) {
    // Four at a time: what is written too much lies behind the last one.
    for (int j = 0; j < 4; j++) {
      const int i = _tzcnt_u64(left | 1ull << (WIDTH - 1));
      list.at[kept + j] = at + i;
      list.sum[kept + j] = sums[i];
      left &= left - 1;
    }
    kept += 4;
  }
  kept = count;
#else
#define DARKER(i) (V)(PIXELS(tree[i].b) < PIXELS(tree[i].a))
#define MASK(v) (v)
#define PICK(k, left, right) (((left) & ~(k)) | ((right) & (k)))
  uint8_t leaf[WIDTH], keep[WIDTH];
  float sum[WIDTH] = {0};
  for (int j = 0; j < WIDTH; j++) keep[j] = j < n;
  for (int32_t i = 0; i < masked; i++) {
    const node *tree = nodes + i * TREE;
    LEVELS(const V)
    V all = -k0;
    all = all + all - k1;
    all = all + all - k2;
    all = all + all - k3;
    all = all + all - k4;
    all = all + all - k5;
    memcpy(leaf, &all, sizeof leaf);
    uint8_t some = 0;
    for (int j = 0; j < WIDTH; j++) {
      sum[j] += t.leaves[i * TREE + leaf[j]];
      some |= keep[j] &= sum[j] > least[i];
    }
    if (!some) return 0;
  }
  for (int j = 0; j < WIDTH; j++) {
    list.at[kept] = at + j;
    list.sum[kept] = sum[j];
    kept += keep[j];
  }
#endif
  return kept;
#undef PIXELS
#undef DARKER
#undef MASK
#undef PICK
}

INLINE TARGET void VARIANT(spread)(uint8_t *restrict to, const uint8_t *restrict from, int32_t width,
                                   int32_t k, int32_t part) {
  const int32_t whole = width / k;
  for (int32_t i = 0; i < whole; i++)
    for (int32_t r = 0; r < k; r++) to[r * part + i] = from[i * k + r];
  for (int32_t r = 0; r < width - whole * k; r++) to[r * part + whole] = from[whole * k + r];
}

// sort copies an image and sorts the columns of every row: first those at multiples of k, part of them, then
// those right of these, and so on.
static TARGET void VARIANT(sort)(uint8_t *to, raster img, int32_t k, int32_t part) {
  const uint8_t *from = img.pix;
  for (int32_t y = 0; y < img.height; y++, from += img.stride, to += k * part) {
    if (k == 1) memcpy(to, from, img.width);
    if (k == 2) VARIANT(spread)(to, from, img.width, 2, part);
    if (k == 3) VARIANT(spread)(to, from, img.width, 3, part);
    if (k == 4) VARIANT(spread)(to, from, img.width, 4, part);
  }
}

// place is the distance in memory from a window's centre to the pixel x columns to the right of it. Columns
// are counted from so far on the left that no quotient is negative.
INLINE TARGET int32_t VARIANT(place)(layout l, int32_t x) {
  const uint32_t parts = l.parts, part = l.part, remainder = l.remainder;
  const uint32_t zero = remainder + FAR;
  // Exact where FAR + x < 1 << 15, or parts are not 3.
  const uint32_t inverse = (1 << 16) / parts + (parts == 3);
  const uint32_t c = x + zero, quotient = c * inverse >> 16;
  return (c - quotient * parts) * part + quotient - remainder * part - FAR / parts;
}

// build makes the offsets of the trees up to `to` that were not made yet.
static TARGET void VARIANT(build)(trees t, const grid *g, layout l, node *nodes, state *s, int32_t to) {
  const int32_t sin = g->sin, cos = g->cos, mirror = g->mirror, stride = l.stride;
  int32_t i = s->built * TREE;
#if WIDTH >= 32
  if (sin == 0 && g->size < 256 && stride < 1 << 15) {
    // The same by words: of four nodes, rows and columns alternate.
    const int32_t parts = l.parts, zero = l.remainder + 252;
#define PAIR(row, column) _mm256_set1_epi32((uint16_t)(row) | (uint32_t)(column) << 16)
    const __m256i size = _mm256_set1_epi16(cos / 256), sign = PAIR(1, mirror);
    const __m256i scale = PAIR(stride, parts > 1 ? l.part : 1);
    const __m256i shift = PAIR(0, zero), back = PAIR(0, 1 - stride);
    const __m256i inverse = PAIR(0, parts > 1 ? (1 << 16) / parts + (parts == 3) : 0);
    const __m256i base = _mm256_set1_epi32(parts > 1 ? zero / parts * (1 - stride) : 0);
#undef PAIR
    for (; i < to * TREE; i += 4) {
      const __m256i codes = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(t.codes + 4 * i)));
      const __m256i pixels = _mm256_sign_epi16(_mm256_srai_epi16(_mm256_mullo_epi16(codes, size), 8), sign);
      const __m256i quotients = _mm256_mulhi_epu16(_mm256_add_epi16(pixels, shift), inverse);
      const __m256i offsets =
          _mm256_add_epi32(_mm256_madd_epi16(pixels, scale), _mm256_madd_epi16(quotients, back));
      _mm256_storeu_si256((__m256i *)(nodes + i), _mm256_sub_epi32(offsets, base));
    }
  }
#endif
  for (; i < to * TREE; i++) {
    const int8_t *c = t.codes + 4 * i;
    nodes[i].a = ((cos * c[0] - sin * c[1]) >> 16) * stride +
                 VARIANT(place)(l, mirror * ((sin * c[0] + cos * c[1]) >> 16));
    nodes[i].b = ((cos * c[2] - sin * c[3]) >> 16) * stride +
                 VARIANT(place)(l, mirror * ((sin * c[2] + cos * c[3]) >> 16));
  }
  s->built = to;
}

// run evaluates trees [from, to) for n candidates, keeps those above the threshold, in place and in order,
// and returns their number. Ten are interleaved, so that the latency of their loads overlaps.
static TARGET int32_t VARIANT(run)(const node *nodes, const float *leaves, int32_t from, int32_t to,
                                   float threshold, const uint8_t *pix, candidates list, int32_t n) {
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

// stages evaluates the stages that end in (after, until] for n candidates, of which the trees before `from`
// are done.
static TARGET int32_t VARIANT(stages)(trees t, const grid *g, layout l, node *nodes, state *s, int32_t from,
                                      int32_t after, int32_t until, candidates list, int32_t n) {
  for (int32_t i = 0; i < t.stages_count && n > 0; i++) {
    const stage st = t.stages[i];
    if (st.to > after && st.to <= until && st.to > from) {
      if (st.to > s->built) VARIANT(build)(t, g, l, nodes, s, st.to);
      n = VARIANT(run)(nodes, t.leaves, from, st.to, st.threshold, l.pix, list, n);
    }
    from = st.to > from ? st.to : from;
  }
  return n;
}

// band evaluates some rows of windows, the first one's centre at `at`, and puts those that pass the early
// stages into a list.
static TARGET int32_t VARIANT(band)(trees t, const grid *g, layout l, node *nodes, state *s, int32_t masked,
                                    int32_t at, int32_t rows, candidates list) {
  float least[MASKED];
  for (int32_t i = 0; i < masked; i++) least[i] = -INFINITY;
  for (int32_t i = 0; i < t.stages_count && t.stages[i].to <= masked; i++)
    least[t.stages[i].to - 1] = t.stages[i].threshold;
  if (masked > s->built) VARIANT(build)(t, g, l, nodes, s, masked);
  int32_t n = 0;
  for (int32_t r = 0; r < rows; r++, at += g->step * l.stride)
    if (masked > 0) {
      for (int32_t c = 0; c < g->cols; c += WIDTH)
        n += VARIANT(masked)(t, masked, nodes, least, l.pix + at + c, g->cols - c, at + c,
                             (candidates){list.at + n, list.sum + n});
    } else {
      for (int32_t c = 0; c < g->cols; c++, n++) list.at[n] = at + c * g->step, list.sum[n] = 0;
    }
  return VARIANT(stages)(t, g, l, nodes, s, masked, 0, EARLY, list, n);
}

static TARGET int32_t VARIANT(search)(trees t, raster img, const grid *grids, int32_t count, room r,
                                      state *s) {
  int32_t found = 0;
  for (; s->grid < count; s->grid++, s->row = 0) {
    const grid *g = grids + s->grid;
    const int sorted = g->step <= SORTED && g->size <= LARGE;
    const int32_t parts = sorted ? g->step : 1;
    const int32_t part = sorted ? (img.width + parts - 1) / parts : img.stride;
    const int32_t stride = parts * part;
    if (s->row == 0) {
      if (sorted && s->copied != parts) {
        VARIANT(sort)(r.copy, img, parts, part);
        __asm__ volatile("" ::: "memory");  // down reads more of it than it can say
        s->copied = parts;
      }
      s->built = 0;
    }
    const layout l = {sorted ? r.copy : img.pix, stride, parts, part, g->col % parts};
    const int32_t masked = !sorted ? 0 : t.trees_count < MASKED ? t.trees_count : MASKED;
    const int32_t most = g->cols < BAND ? BAND / g->cols : 1;
    int32_t n = 0;
    while (s->row < g->rows) {
      if (n == 0 && r.hits_size - found < r.list_size) return found;
      const int32_t rows = g->rows - s->row < most ? g->rows - s->row : most;
      const int32_t at = (g->row + s->row * g->step) * stride + l.remainder * part + g->col / parts;
      n += VARIANT(band)(t, g, l, r.nodes, s, masked, at, rows, (candidates){r.list.at + n, r.list.sum + n});
      s->row += rows;
      if (n < REST && s->row < g->rows) continue;
      n = VARIANT(stages)(t, g, l, r.nodes, s, masked, EARLY, INT32_MAX, r.list, n);
      for (int32_t i = 0; i < n; i++, found++) {
        const int32_t place = r.list.at[i] % stride;
        r.hits[found] =
            (hit){s->grid, r.list.at[i] / stride, place % part * parts + place / part, r.list.sum[i]};
      }
      n = 0;
    }
  }
  return found;
}

static TARGET void VARIANT(smooth)(uint8_t *to, int32_t to_stride, const uint8_t *from, int32_t from_stride,
                                   int32_t width, int32_t height) {
  enum { PART = 1024 };  // columns at a time
  for (int32_t y = 0; y < height; y++) {
    const uint8_t *b = from + (int64_t)y * from_stride;
    const uint8_t *a = y > 0 ? b - from_stride : b, *c = y < height - 1 ? b + from_stride : b;
    uint8_t *restrict out = to + (int64_t)y * to_stride;
    for (int32_t x = 0; x < width; x += PART) {
      const int32_t n = width - x < PART ? width - x : PART;
      const int32_t left = x > 0 ? x - 1 : 0, right = x + n < width ? x + n : width - 1;
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
