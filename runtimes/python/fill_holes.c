/* What is free between an allocator's blocks is given away for good, in a template before it is
 * forked: a fork then allocates in pages that are its own, and not a block here and a block there
 * in pages of the template's, each of which it would have to copy.
 *
 * dormouse_fill_holes(take, give, size_max, header)   `take` and `give` are malloc() and free(), or
 *   the interpreter's own for small objects; each size up to `size_max`, a multiple of 16, the
 *   largest first, is asked for until blocks lie side by side over more than a page. If 8 MiB do
 *   not, they are given back, and that is all: the allocator is another one than was thought, or
 *   has more holes than are worth it. `header` is what it keeps beside each block. For one thread.
 *   Gives the bytes that nobody will have any more. */
#include <stddef.h>
#include <stdint.h>

enum { PAGE = 4096, STEP = 16, BYTES_MAX = 8 << 20, BLOCKS_MAX = BYTES_MAX / STEP };

/* 0: there were none; BYTES_MAX: it did not come to an end. */
static size_t fill(void* (*take)(size_t), void (*give)(void*), size_t size, size_t apart) {
  static void* blocks[BLOCKS_MAX];
  const size_t enough = PAGE / size + 2;
  size_t count = 0, side_by_side = 0;
  while (count < BYTES_MAX / size && side_by_side < enough) {
    void* block = take(size);
    if (!block) break;
    const int joins = count > 0 && (uintptr_t)block == (uintptr_t)blocks[count - 1] + apart;
    side_by_side = joins ? side_by_side + 1 : 1;
    blocks[count++] = block;
  }
  const size_t kept = side_by_side < enough ? 0 : count - side_by_side;
  while (count > kept) give(blocks[--count]);
  return side_by_side < enough ? BYTES_MAX : kept * size;
}

size_t dormouse_fill_holes(void* (*take)(size_t), void (*give)(void*), size_t size_max,
                           size_t header) {
  size_t lost = 0;
  for (size_t size = size_max; size >= STEP; size -= STEP) {
    const size_t more = fill(take, give, size, (size + header + STEP - 1) / STEP * STEP);
    if (more == BYTES_MAX) break;
    lost += more;
  }
  return lost;
}
