// The search of a batch. Made into kernel.ptx by `go generate`; the tests run it as plain C
// (testdata/driver.c).
//
// A block takes a tile: TILE windows of one grid, side by side. Stage by stage it evaluates those that are
// left, and compacts them into a list in shared memory, so that its threads stay busy although nearly all
// windows fall at the first stages.

#if defined(__CUDACC__) || defined(__CUDA__)
#define FN static __attribute__((device)) inline __attribute__((always_inline))
#if defined(__clang__)
#define KERNEL extern "C" __attribute__((global)) void
#define SHARED __attribute__((shared))
#define THREAD __nvvm_read_ptx_sreg_tid_x()
#define THREADS __nvvm_read_ptx_sreg_ntid_x()
#define BLOCK __nvvm_read_ptx_sreg_ctaid_x()
#define BARRIER __syncthreads()
#define ADD(p, n) __nvvm_atom_add_gen_i((int *)(p), (n))
#else
#define KERNEL extern "C" __global__ void
#define SHARED __shared__
#define THREAD threadIdx.x
#define THREADS blockDim.x
#define BLOCK blockIdx.x
#define BARRIER __syncthreads()
#define ADD(p, n) atomicAdd((int *)(p), (n))
#endif
#elif !defined(KERNEL)
#error "in plain C the including file defines KERNEL, SHARED, THREAD, THREADS, BLOCK, BARRIER and ADD"
#endif

#include "window.h"

enum { TILE = 1024 };

// Some windows of a grid.
typedef struct {
  int grid;
  int first;
} tile_t;

// A detection.
typedef struct {
  int grid, window;
  float score;
} hit_t;

typedef struct {
  trees_t trees;
  const pixel_t *pixels;
  const grid_t *grids;
  const tile_t *tiles;
  hit_t *hits;
  int *count;  // of hits; may exceed room, beyond which none are kept
  int room;
  int spare;
} search_t;

KERNEL search(search_t s) {
  SHARED unsigned short windows[2][TILE];
  SHARED float sums[2][TILE];
  SHARED int left[2];
  tile_t tile = s.tiles[BLOCK];
  grid_t g = s.grids[tile.grid];
  int n = g.windows - tile.first;
  if (n > TILE) n = TILE;
  int from = 0;
  for (int stage = 0; stage < s.trees.count && n > 0; stage++) {
    int to = 1 - from;
    if (THREAD == 0) left[to] = 0;
    BARRIER;
    for (int i = THREAD; i < n; i += THREADS) {
      int window = stage ? windows[from][i] : i;
      float sum = stage ? sums[from][i] : 0;
      if (passes(&s.trees, stage, &g, s.pixels, tile.first + window, &sum)) {
        int at = ADD(&left[to], 1);
        windows[to][at] = (unsigned short)window;
        sums[to][at] = sum;
      }
    }
    BARRIER;
    n = left[to];
    from = to;
  }
  for (int i = THREAD; i < n; i += THREADS) {
    float score = sums[from][i] - s.trees.last;
    if (score > 0) {
      int at = ADD(s.count, 1);
      if (at < s.room) {
        hit_t h = {tile.grid, tile.first + windows[from][i], score};
        s.hits[at] = h;
      }
    }
  }
}
