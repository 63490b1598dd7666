// The kernels that differ between code paths only in the width of a vector. Included once for each path, with
//
//   TARGET, NAME(x)          the attribute of its functions, and their names
//   V, LANES                 a vector of 16-bit numbers, and how many it has
//   LOAD, STORE              unaligned
//   ADDS                     saturating sum
//   MULR(a, b)               (a * b + 2^14) >> 15
//   NARROW(p, v)             stores v >> FRACTION, saturated to 8 bits without sign

TARGET INLINE void NAME(depth_of)(const int16_t *w, const int16_t *rest, const int16_t *const rows[3],
                                  int32_t n, const int c, const int head, void *out) {
  const int pitch = c < PITCH ? PITCH : c, step = c < LANES ? LANES : c;
  for (int g = 0; g < c; g += LANES) {
    V taps[9];
    UNROLL
    for (int k = 0; k < 9; k++) taps[k] = LOAD(w + k * pitch + g);
    const V bias = LOAD(rest + g);
    for (int32_t i = g; i < n * c; i += step) {
      V sum = bias;
      UNROLL
      for (int k = 0; k < 9; k++) sum = ADDS(sum, MULR(LOAD(rows[k / 3] + i + k % 3 * c), taps[k]));
      if (head)
        STORE((int16_t *)out + i, sum);
      else
        NARROW((uint8_t *)out + i, sum);
    }
  }
}

TARGET static void NAME(depth)(const block *b, const uint8_t *weights, const int16_t *const rows[3],
                               int32_t n, void *out) {
  const int16_t *w = (const int16_t *)(weights + b->depth_at),
                *rest = (const int16_t *)(weights + b->rest_at);
  if (b->head)
    NAME(depth_of)(w, rest, rows, n, CHANNELS, 1, out);
  else if (b->out == 16)
    NAME(depth_of)(w, rest, rows, n, 16, 0, out);
  else if (b->out == 32)
    NAME(depth_of)(w, rest, rows, n, 32, 0, out);
  else
    NAME(depth_of)(w, rest, rows, n, 64, 0, out);
}

TARGET INLINE void NAME(pool_of)(const uint8_t *a, const uint8_t *b, int32_t n, const int c, uint8_t *out) {
  for (int32_t x = 0; x < n; x++, a += 2 * c, b += 2 * c, out += c) {
    for (int k = 0; k < c; k++) {
      const uint8_t p = a[k] > a[c + k] ? a[k] : a[c + k], q = b[k] > b[c + k] ? b[k] : b[c + k];
      out[k] = p > q ? p : q;
    }
  }
}

TARGET static void NAME(pool)(const uint8_t *restrict a, const uint8_t *restrict b, int32_t n, int32_t c,
                              uint8_t *restrict out) {
  if (c == 16)
    NAME(pool_of)(a, b, n, 16, out);
  else
    NAME(pool_of)(a, b, n, 64, out);
}

TARGET static void NAME(add)(uint8_t *restrict fine, const uint8_t *restrict coarse, int32_t n) {
  for (int32_t x = 0; x < 2 * n; x++) {
    for (int k = 0; k < 64; k++) {
      const int v = fine[x * 64 + k] + coarse[x / 2 * 64 + k];
      fine[x * 64 + k] = v > 255 ? 255 : v;
    }
  }
}

TARGET static void NAME(sum)(uint16_t *restrict sums, const uint8_t *restrict row, int32_t times, int32_t n) {
  for (int32_t x = 0; x < n; x++) sums[x] += times * row[x];
}

#undef TARGET
#undef NAME
#undef V
#undef LANES
#undef LOAD
#undef STORE
#undef ADDS
#undef MULR
#undef NARROW
