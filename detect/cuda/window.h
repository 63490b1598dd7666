// The evaluation of one window. This file compiles as CUDA and as plain C, so that it is tested without a
// GPU.
#ifndef FACESCAN_CUDA_WINDOW_H
#define FACESCAN_CUDA_WINDOW_H

#ifndef FN
#define FN static inline
#endif

typedef unsigned char pixel_t;

// A node's two places: row and column of each, signed bytes, in the order of memory on a little-endian
// machine. One load takes all.
typedef unsigned code_t;

// The windows of one size in one image, as in pigo.Grid. The rows of the image have no gaps between them.
typedef struct {
  long long at;  // of its first pixel, in the batch
  int width, height;
  int row, col;  // centre of the first window
  int cols;      // windows in a row
  int windows;   // in all
  int step;
  int sin, cos;
  int mirror;  // -1 where columns of codes count to the left, else 1
  int turned;  // pixels of codes may be beyond the image
  int spare;
} grid_t;

// Trees up to `to`, of which only the last one can reject.
typedef struct {
  int to;
  float threshold;
} stage_t;

// A cascade, as in pigo.Tables.
typedef struct {
  const code_t *codes;
  const float *leaves;
  const stage_t *stages;
  int count;  // stages
  int depth;
  float last;
  int spare;
} trees_t;

FN int clamp(int v, int n) { return v < 0 ? 0 : v >= n ? n - 1 : v; }

// luma is the pixel that a code names.
FN int luma(const grid_t *g, const pixel_t *image, int row, int col, int r, int c) {
  int y = row + ((g->cos * r - g->sin * c) >> 16);
  int x = col + g->mirror * ((g->sin * r + g->cos * c) >> 16);
  if (g->turned) {
    y = clamp(y, g->height);
    x = clamp(x, g->width);
  }
  return image[(long long)y * g->width + x];
}

// passes adds a stage's trees to the sum of a window, one after the other as pigo does, and reports whether
// the window passes it.
FN int passes(const trees_t *t, int stage, const grid_t *g, const pixel_t *pixels, int window,
              float *sum) {
  const pixel_t *image = pixels + g->at;
  int row = g->row + window / g->cols * g->step;
  int col = g->col + window % g->cols * g->step;
  int nodes = 1 << t->depth;
  for (int tree = stage ? t->stages[stage - 1].to : 0; tree < t->stages[stage].to; tree++) {
    const code_t *codes = t->codes + (long long)tree * nodes;
    int i = 1;
    while (i < nodes) {
      code_t c = codes[i];
      int a = luma(g, image, row, col, (signed char)c, (signed char)(c >> 8));
      int b = luma(g, image, row, col, (signed char)(c >> 16), (signed char)(c >> 24));
      i = 2 * i + (b < a);
    }
    *sum += t->leaves[(long long)tree * nodes + i - nodes];
  }
  return *sum > t->stages[stage].threshold;
}

#endif
