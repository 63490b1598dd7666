// The native evaluator, as Go calls it. What it computes is told in cascade.go.
#ifndef FACESCAN_CASCADE_NATIVE_H
#define FACESCAN_CASCADE_NATIVE_H

#include <stdint.h>

enum {
  TREE = 64,    // nodes of a tree of depth 6, the first one unused, and leaves
  EARLY = 28,   // trees that are evaluated band by band
  SORTED = 4,   // largest step for which the first tree is evaluated in vectors
  SPARE = 64,   // elements that may be written behind the last one of columns and lists
};

// Where a node's two pixels lie, as offsets from the window's centre.
typedef struct {
  int32_t a, b;
} node;

// Trees up to `to`, of which only the last one can reject.
typedef struct {
  int32_t to;
  float threshold;
} stage;

// Windows that were not rejected so far: centres, as offsets into the image, and sums.
typedef struct {
  int32_t *at;
  float *sum;
} candidates;

// A cascade.
typedef struct {
  const stage *stages;
  int32_t count;
  const int8_t *codes;
  const float *leaves;
} trees;

// The windows of one size.
typedef struct {
  int32_t level;     // variant, see native_level
  int32_t stride;    // of the image
  int32_t sin, cos;  // of the windows' angle, times 256 and their size
  int32_t mirror;    // -1 where columns of codes count to the left, else 1
  int32_t step;      // between windows, in pixels
  int32_t cols;      // windows in a row
  int32_t built;     // trees whose offsets are in nodes
} grid;

// native_level is the best variant that this processor can run: 2 = AVX-512, 1 = AVX2, 0 = any.
int32_t native_level(void);

// native_band looks at some rows of windows, the first one's centre at `at` of pix, and puts those that pass the early stages into
// lists. It returns their number. columns is room for the rows that the windows touch.
int32_t native_band(trees t, grid *g, node *nodes, const uint8_t *pix, int32_t at, int32_t rows, uint8_t *columns, candidates list);

// native_rest evaluates the other stages for n candidates, keeps those that pass, in place, and returns their number.
int32_t native_rest(trees t, grid *g, node *nodes, const uint8_t *pix, candidates list, int32_t n);

// native_smooth is Smooth, of an image and from it without a border.
void native_smooth(int32_t level, uint8_t *to, int32_t to_stride, const uint8_t *from, int32_t from_stride, int32_t width, int32_t height);

#endif
