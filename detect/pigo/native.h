// The native evaluator, as Go calls it. cascade.go says what it computes.
#ifndef FACESCAN_CASCADE_NATIVE_H
#define FACESCAN_CASCADE_NATIVE_H

#include <stdint.h>

enum {
  TREE = 64,     // nodes of a tree of depth 6, the first one unused, and leaves
  MASKED = 2,    // trees that are evaluated for vectors of windows, where their pixels lie side by side
  SORTED = 4,    // largest step for which columns are sorted, so that they do
  LARGE = 10000, // largest size for which they are
  EARLY = 28,    // trees that are evaluated band by band
  BAND = 4096,   // windows, about as many as share a first-level cache with the rows they lie in
  REST = 2048,   // candidates that are worth fetching the deep stages' tables for
  FAR = 25200,   // columns, more than a window reaches to the left of its centre, divisible by 1 to SORTED
  SPARE = 64,    // elements that may be read behind the last one of a copy, and written behind that of a list
};

// Trees up to `to`, of which only the last one can reject.
typedef struct {
  int32_t to;
  float threshold;
} stage;

// A cascade.
typedef struct {
  const stage *stages;
  int32_t stages_count, trees_count;
  const int8_t *codes;
  const float *leaves;
  const uint8_t *planes;  // of the masked trees: the leaves' first bytes, their second ones, third and fourth
} trees;

// An image, with a border where windows are turned.
typedef struct {
  const uint8_t *pix;
  int32_t stride, width, height;
} raster;

// The windows of one size.
typedef struct {
  int32_t size;
  int32_t row, col;    // of the first one's centre
  int32_t rows, cols;  // their number
  int32_t step;        // between them, in pixels
  int32_t sin, cos;    // of their angle, times 256 and their size
  int32_t mirror;      // -1 where columns of codes count to the left, else 1
} grid;

// Where a node's two pixels lie, as offsets from the window's centre.
typedef struct {
  int32_t a, b;
} node;

// Windows that were not rejected so far: centres, as offsets into the image or its copy, and sums.
typedef struct {
  int32_t *at;
  float *sum;
} candidates;

// A window that was not rejected, by its centre in the image with its border.
typedef struct {
  int32_t grid, row, col;
  float sum;
} hit;

// Room for what a search needs.
typedef struct {
  uint8_t *copy;    // of the image, with sorted columns
  node *nodes;      // of all trees
  candidates list;  // for REST and BAND windows, or a row of them
  hit *hits;        // for as many, and more
  int32_t list_size, hits_size;
} room;

// How far a search is. It begins with zeros.
typedef struct {
  int32_t grid, row;  // what comes next
  int32_t copied;     // step for which the copy is sorted
  int32_t built;      // trees whose offsets are in nodes
} state;

// native_level is the best variant that this processor can run: 2 = AVX-512, 1 = AVX2, 0 = any.
int32_t native_level(void);

// native_search looks for hits on count grids, in their order, each in reading order, and returns their
// number. It is called again while s->grid is below count, for it stops where there may be too little room.
int32_t native_search(int32_t level, trees t, raster img, const grid *grids, int32_t count, room r, state *s);

// native_smooth is Smooth, of an image and from it without a border.
void native_smooth(int32_t level, uint8_t *to, int32_t to_stride, const uint8_t *from, int32_t from_stride,
                   int32_t width, int32_t height);

#endif
