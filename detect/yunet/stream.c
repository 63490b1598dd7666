//go:build cgo && (amd64 || arm64)

// The network row by row: each block takes a row and gives the one before it, so that memory grows with the
// width of a picture and not with its height, and everything stays in the processor's second-level cache.
#include "kernels.h"

#include <stddef.h>

// Blocks, in the order of the weights.
enum {
  HALF,
  QUARTER1,
  QUARTER2,
  QUARTER3,
  QUARTER4,
  EIGHTH1,
  EIGHTH2,
  SIXTEENTH1,
  SIXTEENTH2,
  THIRTYSECOND1,
  THIRTYSECOND2,
  NECK32,
  NECK16,
  NECK8,
  HEAD8,
  HEAD16,
  HEAD32
};

// A run at work: where its buffers lie, and who writes what.
typedef struct {
  const kernels *k;
  const network *net;
  const uint8_t *weights;
  const threshold *least;
  progress *at;
  int32_t width;  // of the input, padded

  uint8_t *rows[3];  // the last rows of the input, a zero in front
  uint8_t *first;    // a row of the stem
  int16_t *wide;     // a row in 16 bits
  int16_t *zeros;
  uint16_t *sums;  // for a third of the input
  int16_t *inner[BLOCKS][3];
  uint8_t *pairs[BLOCKS][2];  // of blocks that are pooled: the last two rows of the output
  uint8_t *pooled[BLOCKS];
  uint8_t *neck[BLOCKS];  // of blocks that are added to a finer map: the last row
  uint8_t *out;           // the last row of any other block: the next block takes it at once
  uint8_t *map8[WAITING8], *map16[WAITING16];
  int16_t *scores;

  cell *cells;
  int32_t count;
} run;

// take gives the next n bytes of the room.
static void *take(uint8_t **room, int64_t n) {
  void *p = *room;
  *room += (n + SPARE + 63) / 64 * 64;
  return p;
}

// carve divides the room. It only computes addresses.
static uint8_t *carve(run *r, const network *net, int32_t width, uint8_t *room) {
  r->net = net;
  r->width = width;
  for (int i = 0; i < 3; i++) r->rows[i] = take(&room, width + 2);
  r->first = take(&room, width / 2 * CHANNELS);
  r->sums = take(&room, 2 * (int64_t)width);
  int64_t longest = 0;
  for (int i = 0; i < BLOCKS; i++) {
    const block *b = &net->blocks[i];
    const int64_t n = width / b->stride, inner = 2 * (n + 2) * b->out;
    for (int j = 0; j < 3; j++) r->inner[i][j] = take(&room, inner);
    if (i == HALF || i == QUARTER4)
      for (int j = 0; j < 2; j++) r->pairs[i][j] = take(&room, n * b->out);
    if (i == HALF || i == QUARTER4 || i == EIGHTH2 || i == SIXTEENTH2)
      r->pooled[i] = take(&room, n / 2 * b->out);
    if (i == NECK32 || i == NECK16) r->neck[i] = take(&room, n * b->out);
    if (inner > longest) longest = inner;
  }
  r->out = take(&room, longest / 2);
  r->wide = take(&room, longest);
  r->zeros = take(&room, longest);
  for (int i = 0; i < WAITING8; i++) r->map8[i] = take(&room, width / 8 * 64);
  for (int i = 0; i < WAITING16; i++) r->map16[i] = take(&room, width / 16 * 64);
  r->scores = take(&room, 2 * (int64_t)(width / 8) * CHANNELS);
  return room;
}

int64_t yunet_room(const network *n, int32_t width) {
  run r;
  uint8_t *base = (uint8_t *)(uintptr_t)64;
  return carve(&r, n, width, base) - base;
}

// clear_edges writes the zeros that rows begin and end with.
static void clear_edges(run *r) {
  int64_t longest = 0;
  for (int i = 0; i < 3; i++) memset(r->rows[i], 0, r->width + 2 + SPARE);
  memset(r->sums, 0, 2 * (size_t)r->width);
  for (int i = 0; i < BLOCKS; i++) {
    const block *b = &r->net->blocks[i];
    const int64_t n = r->width / b->stride;
    for (int j = 0; j < 3; j++) {
      memset(r->inner[i][j], 0, 2 * (size_t)b->out);
      memset(r->inner[i][j] + (n + 1) * b->out, 0, 2 * (size_t)b->out);
    }
    if ((n + 2) * b->out > longest) longest = (n + 2) * b->out;
  }
  memset(r->zeros, 0, 2 * (size_t)longest + SPARE);
}

static int32_t smaller(int32_t a, int32_t b) { return a < b ? a : b; }

// quarters is how many pixels three quarters of n are.
static int32_t quarters(int32_t n) { return (3 * n + 3) / 4; }

// shrunk makes row y of three quarters of a picture (input.go).
static void shrunk(const kernels *k, const picture *p, int32_t y, int32_t width, uint8_t *to) {
  const int32_t from = y / 3 * 4 + y % 3, last = p->height - 1, wa = 3 - y % 3;
  const uint8_t *a = p->pix + (int64_t)smaller(from, last) * p->stride;
  const uint8_t *b = p->pix + (int64_t)smaller(from + 1, last) * p->stride;
  for (int32_t x = 3 * k->shrink(a, b, wa, p->width / 4, to); x < width; x++) {
    const int32_t i = x / 3 * 4 + x % 3, end = p->width - 1, va = 3 - x % 3;
    const int32_t l = smaller(i, end), m = smaller(i + 1, end);
    to[x] = (va * (wa * a[l] + (4 - wa) * b[l]) + (4 - va) * (wa * a[m] + (4 - wa) * b[m]) + 8) >> 4;
  }
}

// third adds row y to a third of the input (input.go).
static void third(run *r, const picture *p, const uint8_t *row, int32_t y, int32_t width, int32_t height) {
  r->k->sum(r->sums, row, y == height - 1 ? 3 - y % 3 : 1, width);
  if (y % 3 != 2 && y != height - 1) return;
  uint8_t *to = p->next + (int64_t)(y / 3) * p->next_stride;
  const int32_t n = (width + 2) / 3;
  for (int32_t x = 0; x < n - 1; x++)
    to[x] = (((uint32_t)r->sums[3 * x] + r->sums[3 * x + 1] + r->sums[3 * x + 2]) * 3641 + (1 << 14)) >> 15;
  const uint32_t a = r->sums[3 * (n - 1)], b = r->sums[smaller(3 * n - 2, width - 1)],
                 c = r->sums[smaller(3 * n - 1, width - 1)];
  to[n - 1] = ((a + b + c) * 3641 + (1 << 14)) >> 15;
  memset(r->sums, 0, 2 * (size_t)width);
}

// read puts row y of the input behind the first byte of to. Below the picture it is zeros.
static void read(run *r, const picture *p, int32_t y, uint8_t *to) {
  const int32_t width = p->shrink ? quarters(p->width) : p->width,
                height = p->shrink ? quarters(p->height) : p->height;
  if (y >= height) {
    memset(to, 0, r->width + 2);
    return;
  }
  to++;
  if (p->shrink) {
    shrunk(r->k, p, y, width, to);
    memset(to + width, 0, r->width + 1 - width);
  } else {
    memcpy(to, p->pix + (int64_t)y * p->stride, width);
  }
  if (p->next) third(r, p, to, y, width, height);
}

static void feed(run *r, int i, const uint8_t *row);

// pool feeds the next block the greatest of two by two cells, once it has both rows.
static void pool(run *r, int i, int32_t y, const uint8_t *a, const uint8_t *b) {
  if (y % 2 == 0) return;
  const block *bl = &r->net->blocks[i];
  r->k->pool(a, b, r->width / bl->stride / 2, bl->out, r->pooled[i]);
  feed(r, i + 1, r->pooled[i]);
}

// collect keeps the cells of a head's row that may hold a face.
static void collect(run *r, int32_t level, int32_t y) {
  const threshold least = r->least[level];
  const int32_t n = r->width / (8 << level);
  for (int32_t x = 0; x < n; x++) {
    const int16_t *v = r->scores + x * CHANNELS;
    if (v[0] < least.class_ || v[1] < least.object) continue;
    cell *c = &r->cells[r->count++];
    c->level = level, c->x = x, c->y = y;
    memcpy(c->v, v, sizeof c->v);
  }
}

// feed gives block i its next row, null for the one below the last, and passes on what the block gives.
static void feed(run *r, int i, const uint8_t *row) {
  const block *b = &r->net->blocks[i];
  const int32_t n = r->width / b->stride, y = r->at->fed[i] - 1;
  int16_t **inner = r->inner[i];
  if (row) r->k->point(b, r->weights, row, n, inner[(y + 1) % 3] + b->out, r->wide);
  r->at->fed[i]++;
  if (y < 0) return;
  const int16_t *const rows[3] = {y > 0 ? inner[(y - 1) % 3] : r->zeros, inner[y % 3],
                                  row ? inner[(y + 1) % 3] : r->zeros};
  void *out = r->out;
  switch (i) {
    case HALF:
    case QUARTER4:
      out = r->pairs[i][y % 2];
      break;
    case NECK32:
    case NECK16:
      out = r->neck[i];
      break;
    case EIGHTH2:
      out = r->map8[y % WAITING8];
      break;
    case SIXTEENTH2:
      out = r->map16[y % WAITING16];
      break;
    case HEAD8:
    case HEAD16:
    case HEAD32:
      out = r->scores;
      break;
  }
  r->k->depth(b, r->weights, rows, n, out);
  switch (i) {
    case HALF:
    case QUARTER4:
      pool(r, i, y, r->pairs[i][0], r->pairs[i][1]);
      break;
    case EIGHTH2:
      pool(r, i, y, r->map8[(y - y % 2) % WAITING8], out);
      break;
    case SIXTEENTH2:
      pool(r, i, y, r->map16[(y - y % 2) % WAITING16], out);
      break;
    case NECK32:
      feed(r, HEAD32, out);
      for (int j = 0; j < 2; j++) {
        uint8_t *fine = r->map16[(2 * y + j) % WAITING16];
        r->k->add(fine, out, n);
        feed(r, NECK16, fine);
      }
      break;
    case NECK16:
      feed(r, HEAD16, out);
      for (int j = 0; j < 2; j++) {
        uint8_t *fine = r->map8[(2 * y + j) % WAITING8];
        r->k->add(fine, out, n);
        feed(r, NECK8, fine);
      }
      break;
    case NECK8:
      feed(r, HEAD8, out);
      break;
    case HEAD8:
    case HEAD16:
    case HEAD32:
      collect(r, i - HEAD8, y);
      break;
    default:
      feed(r, i + 1, out);
  }
}

int32_t yunet_run(int32_t path, const network *n, const uint8_t *weights, picture p, const threshold *least,
                  uint8_t *room, progress *at, cell *cells, int32_t size) {
  static const uint8_t order[BLOCKS] = {
      HALF,          QUARTER1,      QUARTER2, QUARTER3, QUARTER4, EIGHTH1, EIGHTH2, SIXTEENTH1, SIXTEENTH2,
      THIRTYSECOND1, THIRTYSECOND2, NECK32,   HEAD32,   NECK16,   HEAD16,  NECK8,   HEAD8};
  const int32_t width = ((p.shrink ? quarters(p.width) : p.width) + 31) / 32 * 32;
  const int32_t height = ((p.shrink ? quarters(p.height) : p.height) + 31) / 32 * 32;
  const int32_t enough = size - width / 32 * CELLS;
  run r = {.k = kernels_of(path), .weights = weights, .least = least, .at = at, .cells = cells};
  carve(&r, n, width, room);
  if (at->y == 0) clear_edges(&r);
  for (; at->y < height; at->y += 2) {
    if (r.count > enough) return r.count;
    const int32_t y = at->y;
    read(&r, &p, y, r.rows[(y + 1) % 3]);
    read(&r, &p, y + 1, r.rows[(y + 2) % 3]);
    const uint8_t *const rows[3] = {r.rows[y % 3], r.rows[(y + 1) % 3], r.rows[(y + 2) % 3]};
    r.k->stem(n, weights, rows, width / 2, r.first);
    feed(&r, HALF, r.first);
  }
  for (; at->flushed < BLOCKS; at->flushed++) {
    if (r.count > enough) return r.count;
    feed(&r, order[at->flushed], NULL);
  }
  at->done = 1;
  return r.count;
}
