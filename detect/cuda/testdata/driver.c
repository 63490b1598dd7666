// A CUDA driver without a GPU, for tests: it runs kernel.cu on the processor, compiled as plain C, with the
// number of threads per block that a test sets. It is as strict as it can be about contexts, addresses and
// sizes, and counts what is allocated.
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int threads = 1;
static _Thread_local int thread;
static _Thread_local unsigned block;
static pthread_barrier_t barrier;

#define KERNEL static void
#define SHARED static
#define THREAD thread
#define THREADS threads
#define BLOCK block
#define BARRIER (threads > 1 ? (void)pthread_barrier_wait(&barrier) : (void)0)
#define ADD(p, n) __atomic_fetch_add((p), (n), __ATOMIC_RELAXED)
#include "../kernel.cu"

enum { OK, BAD_VALUE = 1, NO_MEMORY = 2, NO_DEVICE = 100, BAD_PTX = 218, NO_CONTEXT = 201, NOT_FOUND = 500,
       MISALIGNED = 716, UNKNOWN = 999 };
enum { AREAS = 4096 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct { char *at; size_t size; int device; } areas[AREAS];
static size_t limit = (size_t)-1, used;
static long allocations, launches, live;
static int devices = 1, retained, streams, modules, broken, failing;
static _Thread_local void *current;
static char context, module, function;

// fake sets what the tests want of the driver, and returns what it did.
long fake(int what, long value) {
  switch (what) {
    case 0: limit = (size_t)value; return 0;
    case 1: threads = (int)value; return 0;
    case 2: devices = (int)value; return 0;
    case 3: broken = (int)value; return 0;  // launches that fail
    case 4: return allocations;
    case 5: return live + retained + streams + modules;
    case 6: return launches;
    case 7: return sizeof(grid_t);
    case 8: return sizeof(tile_t);
    case 9: return sizeof(hit_t);
    case 10: return sizeof(search_t);
    case 11: return TILE;
    case 12: {  // the call that fails, counted from now; returns how many are left to it, 0 if it was
      long left = failing;
      failing = (int)value;
      return left;
    }
  }
  return -1;
}

// failed reports whether this call is the one that is to fail.
static int failed(void) { return failing && !--failing; }

// STEP is the beginning of a call that may fail, and then has done nothing.
#define STEP if (failed()) return UNKNOWN

// ended is the result of a call that gives something back, which it does even if it is to fail.
static int ended(int result) { return failed() ? UNKNOWN : result; }

int cuInit(unsigned flags) { STEP; return flags ? BAD_VALUE : devices ? OK : NO_DEVICE; }
int cuDeviceGetCount(int *n) { STEP; *n = devices; return OK; }
int cuDeviceGet(int *d, int n) { STEP; *d = n + 7; return OK; }
int cuDeviceGetName(char *s, int n, int d) { STEP; snprintf(s, n, "no GPU %d", d - 7); return OK; }
int cuDevicePrimaryCtxRetain(void **c, int d) {
  STEP;
  *c = &context;
  __atomic_add_fetch(&retained, 1, 5);
  return d < 7 ? BAD_VALUE : OK;
}
int cuDevicePrimaryCtxRelease_v2(int d) {
  __atomic_sub_fetch(&retained, 1, 5);
  return ended(d < 7 ? BAD_VALUE : OK);
}
int cuCtxSetCurrent(void *c) { current = c; return OK; }

#define CHECK if (current != &context) return NO_CONTEXT

int cuModuleLoadData(void **m, const char *ptx) {
  CHECK;
  STEP;
  if (!strstr(ptx, ".entry search(") || !strstr(ptx, ".target sm_75")) return BAD_PTX;
  if (ptx[strlen(ptx) - 1] != '\n') return BAD_PTX;  // the text and its end, nothing between
  __atomic_add_fetch(&modules, 1, 5);
  *m = &module;
  return OK;
}
int cuModuleUnload(void *m) {
  CHECK;
  __atomic_sub_fetch(&modules, 1, 5);
  return ended(m == &module ? OK : BAD_VALUE);
}
int cuModuleGetFunction(void **f, void *m, const char *name) {
  CHECK;
  STEP;
  if (m != &module || strcmp(name, "search")) return NOT_FOUND;
  *f = &function;
  return OK;
}

static int take(void **p, size_t size, int device) {
  CHECK;
  STEP;
  if (!size) return BAD_VALUE;
  pthread_mutex_lock(&lock);
  int i = 0, result = NO_MEMORY;
  while (i < AREAS && areas[i].at) i++;
  if (i < AREAS && (!device || used + size <= limit)) {
    areas[i].at = malloc(size);
    memset(areas[i].at, 0xA5, size);
    areas[i].size = size;
    areas[i].device = device;
    if (device) used += size;
    allocations++;
    live++;
    *p = areas[i].at;
    result = OK;
  }
  pthread_mutex_unlock(&lock);
  return result;
}

static int give(void *p, int device) {
  CHECK;
  pthread_mutex_lock(&lock);
  int result = BAD_VALUE;
  for (int i = 0; i < AREAS; i++)
    if (areas[i].at && areas[i].at == p && areas[i].device == device) {
      free(p);
      if (device) used -= areas[i].size;
      areas[i].at = 0;
      live--;
      result = OK;
    }
  pthread_mutex_unlock(&lock);
  return ended(result);
}

// inside reports whether a range is within one area of that kind.
static int inside(const void *p, size_t size, int device) {
  pthread_mutex_lock(&lock);
  int found = 0;
  for (int i = 0; i < AREAS && !found; i++)
    found = areas[i].at && areas[i].device == device && (const char *)p >= areas[i].at &&
            (const char *)p + size <= areas[i].at + areas[i].size;
  pthread_mutex_unlock(&lock);
  return found;
}

int cuMemAlloc_v2(void **p, size_t size) { return take(p, size, 1); }
int cuMemFree_v2(void *p) { return give(p, 1); }
int cuMemHostAlloc(void **p, size_t size, unsigned flags) { return flags ? BAD_VALUE : take(p, size, 0); }
int cuMemFreeHost(void *p) { return give(p, 0); }
int cuStreamCreate(void **s, unsigned flags) {
  CHECK;
  STEP;
  *s = &streams;
  __atomic_add_fetch(&streams, 1, 5);
  return flags == 1 ? OK : BAD_VALUE;
}
int cuStreamDestroy_v2(void *s) {
  CHECK;
  __atomic_sub_fetch(&streams, 1, 5);
  return ended(s == &streams ? OK : BAD_VALUE);
}
int cuStreamSynchronize(void *s) { CHECK; STEP; return !s || s == &streams ? OK : BAD_VALUE; }
int cuMemcpyHtoDAsync_v2(void *d, const void *h, size_t n, void *s) {
  CHECK;
  STEP;
  if (!inside(d, n, 1) || (s && !inside(h, n, 0))) return BAD_VALUE;  // what a stream copies is pinned
  memcpy(d, h, n);
  return OK;
}
int cuMemcpyDtoHAsync_v2(void *h, const void *d, size_t n, void *s) {
  CHECK;
  STEP;
  if (!s || !inside(d, n, 1) || !inside(h, n, 0)) return BAD_VALUE;
  memcpy(h, d, n);
  return OK;
}
int cuMemsetD32Async(void *d, unsigned v, size_t n, void *s) {
  CHECK;
  STEP;
  if (!s || !inside(d, 4 * n, 1)) return BAD_VALUE;
  for (size_t i = 0; i < n; i++) ((unsigned *)d)[i] = v;
  return OK;
}
int cuGetErrorString(int e, const char **s) {
  *s = e == NO_DEVICE ? "no CUDA-capable device is detected" : 0;
  return *s ? OK : BAD_VALUE;
}

typedef struct { search_t s; unsigned blocks; int thread; } work_t;

static void *work(void *p) {
  work_t *w = p;
  thread = w->thread;
  for (block = 0; block < w->blocks; block++) {
    search(w->s);
    BARRIER;  // blocks do not share what they share
  }
  return 0;
}

int cuLaunchKernel(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void *stream, void **params, void **extra) {
  CHECK;
  STEP;
  search_t *s = params[0];
  if (f != &function || gy != 1 || gz != 1 || bx % 32 || by != 1 || bz != 1 || shared || !stream || extra)
    return BAD_VALUE;
  if (broken > 0) return broken--, 719;
  if (!inside(s->tiles, gx * sizeof(tile_t), 1) || !inside(s->hits, s->room * sizeof(hit_t), 1) ||
      !inside(s->count, 4, 1))
    return BAD_VALUE;
  if ((uintptr_t)s->grids % 16 || (uintptr_t)s->tiles % 16 || (uintptr_t)s->hits % 16)
    return MISALIGNED;
  for (unsigned i = 0; i < gx; i++) {
    const grid_t *g = &s->grids[s->tiles[i].grid];
    if (!inside(g, sizeof *g, 1) || !inside(s->pixels + g->at, (size_t)g->width * g->height, 1) ||
        s->tiles[i].first >= g->windows)
      return BAD_VALUE;
  }
  static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
  pthread_mutex_lock(&one);
  launches++;
  work_t w[64];
  pthread_t t[64];
  pthread_barrier_init(&barrier, 0, threads);
  for (int i = 0; i < threads; i++) {
    w[i] = (work_t){*s, gx, i};
    if (i) pthread_create(&t[i], 0, work, &w[i]);
  }
  work(&w[0]);
  for (int i = 1; i < threads; i++) pthread_join(t[i], 0);
  pthread_barrier_destroy(&barrier);
  pthread_mutex_unlock(&one);
  return OK;
}
