// Settings of the CRF, and the order of the pixels.

#pragma once

#include <algorithm>
#include <cstdint>

#include "store.hpp"

namespace {

struct Settings {
  int height, width, labels, iterations;
  const int32_t* channels;  // of the energies and of the posterior, one for each label
  double gaussian_weight, gaussian_sxy, bilateral_weight, bilateral_sxy, bilateral_srgb;
  int stride;  // only pixels of every stride-th row and column send messages
};

// The image is processed in tiles, so that the rows in use of the tables stay in the L1 cache; the
// pixels are numbered in that order, and within a tile those that send messages come first.
struct Tile {
  static constexpr int WIDE = 16, HIGH = 16;
  int first, x, y, width, height;
  int senders;
  int16_t position[WIDE * HIGH];  // in the tile's numbers, of its pixels row by row
  int size() const { return width * height; }

  void number_pixels(int stride) {
    int next = 0;
    for (const bool sending : {true, false}) {
      for (int row = 0; row < height; ++row)
        for (int column = 0; column < width; ++column)
          if (sending == ((y + row) % stride == 0 && (x + column) % stride == 0))
            position[row * width + column] = int16_t(next++);
      if (sending) senders = next;
    }
  }
};

Vector<Tile> tiles_of(const Settings& s) {
  Vector<Tile> tiles;
  int first = 0;
  for (int y = 0; y < s.height; y += Tile::HIGH)
    for (int x = 0; x < s.width; x += Tile::WIDE) {
      const int width = std::min(Tile::WIDE, s.width - x);
      const int height = std::min(Tile::HIGH, s.height - y);
      tiles.push_back({first, x, y, width, height});
      tiles.back().number_pixels(s.stride);
      first += width * height;
    }
  return tiles;
}

}  // namespace
