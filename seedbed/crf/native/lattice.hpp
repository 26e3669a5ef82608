// The permutohedral lattice of Adams, Baek & Davis (Eurographics 2010); lattice.py is the same with
// tensors.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <new>

#include "blur.hpp"
#include "image.hpp"
#include "store.hpp"
#include "vectors.hpp"
#include "vertices.hpp"

namespace {

// A pixel in a lattice: the vertices of its simplex, as numbers and after normalise() as offsets of
// their rows in a table, and its weights there.
template <int D>
struct Place {
  uint32_t vertex[D + 1];
  float weight[D + 1];
};

template <int D>
struct Lattice {
  Array<Place<D>> places;
  size_t vertices = 0;
  bool diagonal = false;
  Lines lines[D + 1];  // along each axis
  explicit Lattice(size_t points) : places(points) {}
};

// A vertex's key has its first D coordinates as digits in mixed radix; the last follows from them.
template <int D>
struct Keys {
  uint64_t stride[D + 1] = {}, origin = 0;
  uint64_t step[D + 1];  // from a vertex to its next one along each axis

  Keys(const Settings& s, const double* sigma, const float* scale) {
    double reach[D];
    for (int j = 0; j < D; ++j)
      reach[j] = ((j == 0 ? s.width : j == 1 ? s.height : 256) - 1) / sigma[j] * scale[j];
    uint64_t total = 1, ones = 0;
    for (int j = 0; j < D; ++j) {
      const int64_t low = int64_t(j ? j * reach[j - 1] : 0) + 3 * (D + 1);
      double high = 0;
      for (int k = j; k < D; ++k) high += reach[k];
      stride[j] = total;
      ones += total;
      origin += total * uint64_t(low);
      total *= uint64_t(low + int64_t(high) + 3 * (D + 1));
    }
    for (int j = 0; j <= D; ++j) step[j] = ones - (D + 1) * stride[j];
  }
};

// Simplex and barycentric weights of eight points from their features (Adams et al., section 3).
template <int D>
INLINE void enclose(const Floats* features, const float* scale, Ints* corner, Ints* rank,
                    Floats* weight) {
  Floats elevated[D + 1], sum = {}, delta[D + 1], rounds = {};
  for (int j = D; j > 0; --j) {
    const Floats part = features[j - 1] * scale[j - 1];
    elevated[j] = sum - float(j) * part;
    sum += part;
  }
  elevated[0] = sum;
  for (int i = 0; i <= D; ++i) {
    const Floats round = (elevated[i] * (1.0f / (D + 1)) + ROUND) - ROUND;
    rounds += round;
    corner[i] = __builtin_convertvector(round, Ints) * (D + 1);
    delta[i] = elevated[i] - round * float(D + 1);
  }
  // The rank of each difference, the largest first; a corner off the plane sum = 0 moves there
  // along the coordinates of the extreme ranks. Comparisons give -1 for true.
  for (int i = 0; i <= D; ++i) rank[i] = __builtin_convertvector(rounds, Ints);
  for (int i = 0; i <= D; ++i)
    for (int j = i + 1; j <= D; ++j) {
      const Ints less = delta[i] < delta[j];
      rank[i] -= less;
      rank[j] += less + 1;
    }
  Floats share[D + 1] = {};
  for (int i = 0; i <= D; ++i) {
    const Ints shift = ((rank[i] > D) - (rank[i] < 0)) * (D + 1);
    rank[i] += shift;
    corner[i] += shift;
    const Floats part = (delta[i] - __builtin_convertvector(shift, Floats)) * (1.0f / (D + 1));
    for (int r = 0; r <= D; ++r) share[r] += rank[i] == r ? part : Floats{};
  }
  weight[0] = 1.0f + share[D] - share[0];
  for (int r = 1; r <= D; ++r) weight[r] = share[D - r] - share[D + 1 - r];
}

template <int D>
INLINE void place_pixels(const Settings& s, const Vector<Tile>& tiles, const uint8_t* image,
                         const double* sigma, const float* scale, const Keys<D>& keys,
                         Vertices& vertices, Place<D>* places) {
  for (const Tile& tile : tiles) {
    int x = tile.x, y = tile.y;
    for (int first = 0; first < tile.size(); first += WIDTH) {
      const int lanes = std::min(WIDTH, tile.size() - first);
      Floats features[D] = {}, weight[D + 1];
      Ints corner[D + 1], rank[D + 1];
      for (int lane = 0; lane < lanes; ++lane) {
        const size_t pixel = size_t(y) * s.width + x;
        for (int j = 0; j < D; ++j)
          features[j][lane] = j == 0 ? x : j == 1 ? y : image[3 * pixel + j - 2];
        if (++x == tile.x + tile.width) x = tile.x, ++y;
      }
      for (int j = 0; j < D; ++j) features[j] /= float(sigma[j]);
      enclose<D>(features, scale, corner, rank, weight);
      for (int lane = 0; lane < lanes; ++lane) {
        Place<D>& place = places[tile.first + tile.position[first + lane]];
        uint64_t key = keys.origin, step[D + 1];
        for (int i = 0; i <= D; ++i) {
          key += uint64_t(int64_t(corner[i][lane])) * keys.stride[i];
          step[rank[i][lane]] = keys.step[i];
        }
        for (int r = 0; r <= D; ++r) {
          place.vertex[r] = vertices.find_or_add(key);
          place.weight[r] = weight[r][lane];
          key += step[D - r];
        }
      }
    }
  }
}

// Normalise to weight · D^-1/2 K D^-1/2, D holding K's row sums over the sending pixels. The factor
// √(weight / D_i) is multiplied into pixel i's weights, which splat and slice share. Logits are to
// base 2. `row`: floats per row of a table.
template <int D>
INLINE void normalise(Lattice<D>& lattice, const Vector<Tile>& tiles, int points, double weight,
                      int row) {
  Vector<float> table(lattice.vertices);
  Place<D>* places = lattice.places;
  for (const Tile& tile : tiles)
    for (int p = tile.first; p < tile.first + tile.senders; ++p)
      for (int r = 0; r <= D; ++r) table[places[p].vertex[r]] += places[p].weight[r];
  for (const auto& lines : lattice.lines) blur<float, 1>(table.data(), 1, lines);
  for (int p = 0; p < points; ++p) {
    float degree = 0;
    for (int r = 0; r <= D; ++r) degree += places[p].weight[r] * table[places[p].vertex[r]];
    const float factor = float(std::sqrt(weight * M_LOG2E / (double(degree) + 1e-20)));
    for (int r = 0; r <= D; ++r) {
      places[p].weight[r] *= factor;
      places[p].vertex[r] *= row;
    }
  }
}

// Whether no pixel shares a vertex or a neighbouring vertex with another one, as where the standard
// deviation is far below a pixel. Each then has its own vertices, numbered in the pixels' order.
template <int D>
bool diagonal(const Lattice<D>& lattice, size_t points) {
  if (lattice.vertices != (D + 1) * points) return false;
  for (const Lines& lines : lattice.lines) {
    const int32_t* line = lines.vertices.data();
    for (const Lines::Group& group : lines.groups)
      for (size_t i = 0; i < group.count; ++i, line += group.length)
        if (std::any_of(line, line + group.length,
                        [&](int32_t v) { return v / (D + 1) != line[0] / (D + 1); }))
          return false;
  }
  return true;
}

template <int D>
INLINE Lattice<D> build(const Settings& s, const Vector<Tile>& tiles, const uint8_t* image,
                        const double* sigma, double weight, int row) {
  float scale[D];
  for (int j = 0; j < D; ++j)
    scale[j] = float(std::sqrt(2.0 / 3.0) * (D + 1) / std::sqrt((j + 1.0) * (j + 2.0)));
  const int points = s.height * s.width;
  const Keys<D> keys(s, sigma, scale);
  Lattice<D> lattice(points);
  Vertices vertices;
  place_pixels<D>(s, tiles, image, sigma, scale, keys, vertices, lattice.places);
  lattice.vertices = vertices.keys.size();
  if (lattice.vertices * size_t(row) > UINT32_MAX) throw std::bad_alloc();
  for (int j = 0; j <= D; ++j) lattice.lines[j] = lines_along(vertices, keys.step[j]);
  lattice.diagonal = s.stride == 1 && diagonal(lattice, points);
  normalise<D>(lattice, tiles, points, weight, row);
  return lattice;
}

}  // namespace
