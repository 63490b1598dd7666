// The native evaluator, as Go calls it. What the numbers mean is told in native.go and cascade.go.
#ifndef FACESCAN_CASCADE_NATIVE_H
#define FACESCAN_CASCADE_NATIVE_H

#include <stdint.h>

enum { TREE = 64, EARLY = 28 };  // nodes, and leaves, of a tree of depth 6; trees that are evaluated band by band

// A node's two pixels, as offsets from the window's centre.
typedef struct {
  int32_t a, b;
} node;

// A window that was not rejected so far.
typedef struct {
  int32_t at;  // its centre, as an offset into the image
  float sum;
} candidate;

// Trees up to `to`, of which only the last one can reject.
typedef struct {
  int32_t to;
  float threshold;
} stage;

// The windows of one size, and how codes turn into offsets.
typedef struct {
  int32_t level;       // of the processor, see native_level
  int32_t stages;      // of the cascade
  int32_t stride;      // of the image
  int32_t sin, cos;    // of the window's angle, times 256 and its size
  int32_t mirror;      // -1: columns of codes count to the left; else 1
  int32_t step;        // between windows, in pixels
  int32_t cols;        // windows in a row
  int32_t built;       // trees whose offsets are in nodes
  float first;         // threshold of the first tree
} scan;

// native_level is the best variant that this processor can run: 2 = AVX-512, 1 = AVX2, 0 = any.
int32_t native_level(void);

// native_band looks at the windows of some rows, the first one's first centre at `at`, and appends those that pass the early stages to
// list. It returns their number. columns is room for the sorted columns of the rows that the first tree touches, see native_columns.
int32_t native_band(scan *s, const stage *stages, const int8_t *codes, const float *leaves, node *nodes, const uint8_t *pix,
                    int32_t at, int32_t rows, uint8_t *columns, candidate *list);

// native_rest evaluates the other stages for n candidates, and keeps those that pass in place. It returns their number.
int32_t native_rest(scan *s, const stage *stages, const int8_t *codes, const float *leaves, node *nodes, const uint8_t *pix,
                    candidate *list, int32_t n);

#endif
