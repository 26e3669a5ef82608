// Energies and posteriors, label by label, to and from rows of labels, pixel by pixel.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "image.hpp"
#include "vectors.hpp"

namespace {

// The least energy of each of up to eight pixels of a row.
INLINE Floats least_energy(const Settings& s, const float* unary, size_t points, int pixels) {
  Floats least = spread(INFINITY);
  for (int c = 0; c < s.labels; ++c) {
    const float* from = unary + s.channels[c] * points;
    __builtin_prefetch(from + Tile::WIDE);
    least = smaller(least, load(from, pixels));
  }
  return least;
}

// A tile's logits to base 2, each pixel's largest 0; those of padding labels are far below.
INLINE void pack(const Settings& s, const Tile& tile, const float* unary, Floats* logits, int n) {
  const size_t points = size_t(s.height) * s.width;
  for (int y = 0; y < tile.height; ++y)
    for (int x = 0; x < tile.width; x += WIDTH) {
      const int pixels = std::min(WIDTH, tile.width - x);
      const float* from = unary + size_t(tile.y + y) * s.width + tile.x + x;
      const int16_t* position = tile.position + y * tile.width + x;
      const Floats least = least_energy(s, from, points, pixels);
      for (int k = 0; k < n; ++k) {
        Floats eight[WIDTH];
        for (int i = 0; i < WIDTH; ++i) {
          const int c = k * WIDTH + i;
          eight[i] = spread(-1e30f);
          if (c < s.labels)
            eight[i] = float(M_LOG2E) * (least - load(from + s.channels[c] * points, pixels));
        }
        transpose(eight);
        for (int i = 0; i < pixels; ++i) logits[position[i] * n + k] = eight[i];
      }
    }
}

INLINE void unpack(const Settings& s, const Tile& tile, const Floats* values, float* posterior,
                   int n) {
  const size_t points = size_t(s.height) * s.width;
  for (int y = 0; y < tile.height; ++y)
    for (int x = 0; x < tile.width; x += WIDTH) {
      const int pixels = std::min(WIDTH, tile.width - x);
      const int16_t* position = tile.position + y * tile.width + x;
      float* to = posterior + size_t(tile.y + y) * s.width + tile.x + x;
      for (int k = 0; k < n; ++k) {
        Floats eight[WIDTH] = {};
        for (int i = 0; i < pixels; ++i) eight[i] = values[position[i] * n + k];
        transpose(eight);
        const int labels = std::min(WIDTH, s.labels - k * WIDTH);
        for (int i = 0; i < labels; ++i) {
          float* row = to + s.channels[k * WIDTH + i] * points;
          __builtin_prefetch(row + Tile::WIDE, 1);
          store(eight[i], row, pixels);
        }
      }
    }
}

}  // namespace
