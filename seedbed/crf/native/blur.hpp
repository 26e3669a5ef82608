// The lattice's blur: 1/2 1 1/2 along each axis, in place.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "store.hpp"
#include "vectors.hpp"
#include "vertices.hpp"

namespace {

// The lines of neighbouring vertices along one axis. Most are short, and where a line ends would be
// unpredictable: those of one length are therefore stored together.
struct Lines {
  struct Group {
    int length;
    size_t count;  // of lines
  };
  Vector<Group> groups;
  Vector<int32_t> vertices;  // line after line; AHEAD more, so that blur() can prefetch
  static constexpr size_t AHEAD = 24;

  size_t size() const { return vertices.size() - AHEAD; }
};

// Write the vertices of `count` lines of one length.
INLINE int32_t* write_lines(const int32_t* starts, size_t count, int length, const int32_t* next,
                            int32_t* to) {
  for (size_t i = 0; i < count; ++i) {
    int32_t v = starts[i];
    for (int k = 0; k < length; ++k, v = next[v]) *to++ = v;
  }
  return to;
}

// All lines grow by a vertex at a time, and those that end are moved to `done`: without a branch
// that depends on which.
INLINE Lines lines_along(const Vertices& vertices, uint64_t step) {
  const size_t count = vertices.keys.size();
  Array<int32_t> next(count), starts(count + 1), last(count + 1), done(count + 1);
  vertices.find_all(step, next);
  Vector<char> inner(count + 1);  // the first is that of no vertex
  for (size_t v = 0; v < count; ++v) inner[next[v] + 1] = 1;
  size_t open = 0;
  for (size_t v = 0; v < count; ++v) {
    starts[open] = int32_t(v);
    last[open] = next[v];
    open += !inner[v + 1] & (next[v] >= 0);
  }
  Lines lines;
  lines.vertices.resize(count + Lines::AHEAD);
  int32_t* to = lines.vertices.data();
  for (int length = 2; open > 0; ++length) {
    size_t ended = 0, grown = 0;
    for (size_t i = 0; i < open; ++i) {
      const int32_t start = starts[i], beyond = next[last[i]];
      done[ended] = start;
      ended += beyond < 0;
      starts[grown] = start;
      last[grown] = beyond;
      grown += beyond >= 0;
    }
    open = grown;
    to = write_lines(done, ended, length, next, to);
    if (ended) lines.groups.push_back({length, ended});
  }
  lines.vertices.resize(to - lines.vertices.data() + Lines::AHEAD);
  std::fill_n(lines.vertices.end() - Lines::AHEAD, Lines::AHEAD, 0);
  return lines;
}

// A row of the table has n values, taken N at a time.
template <class T, int N>
INLINE void blur(T* table, int n, const Lines& lines) {
  const int32_t* line = lines.vertices.data();
  for (const Lines::Group& group : lines.groups)
    for (size_t i = 0; i < group.count; ++i, line += group.length)
      for (int first = 0; first < n; first += N) {
        T* row = table + size_t(line[0]) * n + first;
        T before[N] = {}, now[N];
        for (int c = 0; c < N; ++c) now[c] = row[c];
        for (int k = 1; k < group.length; ++k) {
          const T* ahead = table + size_t(line[k + Lines::AHEAD]) * n + first;
          for (int c = 0; c < N; c += 2) __builtin_prefetch(ahead + c);
          T* next = table + size_t(line[k]) * n + first;
          for (int c = 0; c < N; ++c) {
            const T after = next[c];
            row[c] = now[c] + 0.5f * (before[c] + after);
            before[c] = now[c];
            now[c] = after;
          }
          row = next;
        }
        for (int c = 0; c < N; ++c) row[c] = now[c] + 0.5f * before[c];
      }
}

}  // namespace
