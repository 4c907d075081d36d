#include "target.h"

#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096 };

struct guard {
    uint8_t *memory; /* each region: pages, and one more that is never accessible */
    size_t stride;   /* from one region to the next, in bytes */
    size_t room;
    unsigned regions;
    unsigned taken;
};

guard *guard_new(unsigned regions, size_t room) {
    guard *g = malloc(sizeof *g);
    size_t pages = (room + PAGE - 1) / PAGE * PAGE;
    void *memory = mmap(NULL, regions * (pages + PAGE) + PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    DEMAND(g != NULL && memory != MAP_FAILED, "no memory for %u regions", regions);
    *g = (guard){
        .memory = (uint8_t *)memory + PAGE, /* nothing may be read before the first either */
        .stride = pages + PAGE,
        .room = pages,
        .regions = regions,
    };
    return g;
}

void guard_free(guard *g) {
    munmap(g->memory - PAGE, g->regions * g->stride + PAGE);
    free(g);
}

static void set_access(const guard *g, unsigned region, int access) {
    DEMAND(mprotect(g->memory + region * g->stride, g->room, access) == 0, "mprotect");
}

/* Opens the next region, of which `length` bytes are wanted; its first byte, or NULL. */
static uint8_t *take_region(guard *g, size_t length) {
    if (g->taken == g->regions || length > g->room) {
        return NULL;
    }
    set_access(g, g->taken, PROT_READ | PROT_WRITE);
    return g->memory + g->taken++ * g->stride;
}

void *guard_copy(guard *g, const void *bytes, size_t length) {
    uint8_t *region = take_region(g, length);
    if (region == NULL || length == 0) {
        return region == NULL ? NULL : region + g->room;
    }
    return memcpy(region + g->room - length, bytes, length);
}

void *guard_copy_behind(guard *g, const void *bytes, size_t length) {
    uint8_t *region = take_region(g, length);
    return region == NULL || length == 0 ? region : memcpy(region, bytes, length);
}

void guard_end(guard *g) {
    while (g->taken > 0) {
        set_access(g, --g->taken, PROT_NONE);
    }
}
