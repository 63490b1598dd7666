// The network in C, as Go calls it. plain.go says what it computes; the bits are the same.
#ifndef FACESCAN_YUNET_NATIVE_H
#define FACESCAN_YUNET_NATIVE_H

#include <stdint.h>

enum {
  CHANNELS = 16,  // of the stem's output, and of a head's
  BLOCKS = 17,
  WAITING8 = 24,  // rows of the maps at strides 8 and 16 that wait for the coarser map (plain.go)
  WAITING16 = 8,
  PITCH = 32,    // least number of channels that 3x3 weights are stored for, by repeating them
  FRACTION = 4,  // bits below an activation's unit while a 3x3 convolution sums
  SPARE = 128,   // bytes behind a buffer that vectors may touch
  CELLS = 21,    // a row of the input gives at most so many cells for each 32 pixels of its width
};

// Code paths. Each works on weights that are packed for it (native.go).
enum { SSE2, AVX2, AVX512_VNNI, NEON, NEON_DOT };

// A block: a 1x1 convolution and a depthwise 3x3 one. What ends in _at is an offset into the packed weights.
typedef struct {
  int32_t in, out, stride, head;
  int32_t point_at, bias_at, shift_at, depth_at, rest_at;
} block;

typedef struct {
  int32_t weights_at, bias_at, factor_at, shift;
  block blocks[BLOCKS];
} network;

// A picture, and room for a third of the network's input, if next is not null.
typedef struct {
  const uint8_t *pix;
  int32_t stride, width, height;
  int32_t shrink;  // read three quarters of it
  uint8_t *next;
  int32_t next_stride;
} picture;

typedef struct {
  int16_t class_, object;
} threshold;

// What a head says about a cell of its map; level 0, 1, 2 is stride 8, 16, 32.
typedef struct {
  int32_t level, x, y;
  int16_t v[CHANNELS];
} cell;

// How far a run has come; zeros at the beginning.
typedef struct {
  int32_t y;            // rows of the input that were read
  int32_t flushed;      // blocks that gave their last row
  int32_t fed[BLOCKS];  // rows that each block took
  int32_t done;
} progress;

// yunet_path is the fastest code path of this processor, and yunet_runs reports whether it can run one.
int32_t yunet_path(void);
int32_t yunet_runs(int32_t path);

// yunet_room is how many bytes of room a run needs, for an input `width` pixels wide with its padding.
int64_t yunet_room(const network *n, int32_t width);

// yunet_run reads the picture, row by row, and writes the cells that reach their level's thresholds. It
// returns their number, and comes back early, with done unset, when `size` cells may not hold the next row's.
// room is aligned to 64.
int32_t yunet_run(int32_t path, const network *n, const uint8_t *weights, picture p, const threshold *least,
                  uint8_t *room, progress *at, cell *cells, int32_t size);

#endif
