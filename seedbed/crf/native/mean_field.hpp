// Mean field of Krähenbühl & Koltun's CRF (NIPS 2011): one image, one thread; meanfield.py says the
// same with tensors. The values of all labels lie side by side, eight to a vector. An update goes
// over the pixels once: slice both lattices, soft-max, splat into the next tables.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <utility>

#include "image.hpp"
#include "lattice.hpp"
#include "store.hpp"

namespace {

// 2^x for x <= 0; what would end as denormals, which are slow, is held a little above them.
INLINE Floats power_of_two(Floats x) {
  x = larger(x, spread(-86.0f));
  const Floats shifted = x + ROUND;
  const Floats r = x - (shifted - ROUND);
  Floats y = spread(1.32765e-3f);  // within 1e-7 of 2^r for |r| <= 1/2
  y = y * r + 9.67554e-3f;
  y = y * r + 5.550713e-2f;
  y = y * r + 2.402212e-1f;
  y = y * r + 6.9314697e-1f;
  y = y * r + 1.0f;
  return (Floats)((Ints)y + ((Ints)shifted << 23));
}

template <int DISTANCE>
INLINE Floats swapped(Floats x) {
  if (DISTANCE == 4) return __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3);
  if (DISTANCE == 2) return __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5);
  return __builtin_shufflevector(x, x, 1, 0, 3, 2, 5, 4, 7, 6);
}

// Step by step, so that the processor can work on several pixels at a time. N is the number of
// vectors a pixel has where it is known to the compiler, else 0; n is that number.
template <int N>
INLINE void soft_max(const Floats* from, Floats* to, int size, int count) {
  const int n = N ? N : count;
  for (int p = 0; p < size; ++p) {
    Floats top = from[p * n];
    for (int c = 1; c < n; ++c) top = larger(top, from[p * n + c]);
    top = larger(top, swapped<4>(top));
    top = larger(top, swapped<2>(top));
    top = larger(top, swapped<1>(top));
    for (int c = 0; c < n; ++c) to[p * n + c] = from[p * n + c] - top;
  }
  for (int i = 0; i < size * n; ++i) to[i] = power_of_two(to[i]);
  for (int p = 0; p < size; ++p) {
    Floats sum = to[p * n];
    for (int c = 1; c < n; ++c) sum += to[p * n + c];
    sum += swapped<4>(sum);
    sum += swapped<2>(sum);
    sum += swapped<1>(sum);
    const Floats factor = 1.0f / sum;
    for (int c = 0; c < n; ++c) to[p * n + c] *= factor;
  }
}

// A pixel's rows of a table.
template <int D>
struct Rows {
  Floats* row[D + 1];
  float weight[D + 1];
  INLINE Rows(const Place<D>& place, Floats* table) {
    for (int r = 0; r <= D; ++r) {
      row[r] = reinterpret_cast<Floats*>(reinterpret_cast<float*>(table) + place.vertex[r]);
      weight[r] = place.weight[r];
    }
  }
};

template <int D, int N>
INLINE void slice(const Place<D>* places, int size, Floats* table, const Floats* from, Floats* to,
                  int count) {
  const int n = N ? N : count;
  for (int p = 0; p < size; ++p) {
    const Rows<D> rows(places[p], table);
    for (int c = 0; c < n; ++c) {
      Floats sum = from[p * n + c];
      for (int r = 0; r <= D; ++r) sum += rows.weight[r] * rows.row[r][c];
      to[p * n + c] = sum;
    }
  }
}

template <int D, int N>
INLINE void splat(const Place<D>* places, int size, const Floats* from, Floats* table, int count) {
  const int n = N ? N : count;
  for (int p = 0; p < size; ++p) {
    const Rows<D> rows(places[p], table);
    for (int c = 0; c < n; ++c) {
      const Floats value = from[p * n + c];
      for (int r = 0; r <= D; ++r) rows.row[r][c] += rows.weight[r] * value;
    }
  }
}

// A tile's logits to base 2, largest 0; of labels that only fill a vector up, far below.
INLINE void pack(const Settings& s, const Tile& tile, const float* unary, Floats* logits, int n) {
  const size_t points = size_t(s.height) * s.width;
  const float* corner = unary + size_t(tile.y) * s.width + tile.x;
  float least[Tile::HIGH * Tile::WIDE];
  std::fill_n(least, tile.size(), INFINITY);
  for (int c = 0; c < s.labels; ++c)
    for (int y = 0; y < tile.height; ++y) {
      const float* from = corner + s.channels[c] * points + size_t(y) * s.width;
      float* row = least + y * tile.width;
      __builtin_prefetch(from + Tile::WIDE);
      for (int x = 0; x < tile.width; ++x) row[x] = std::min(row[x], from[x]);
    }
  float* to = reinterpret_cast<float*>(logits);
  for (int c = 0; c < s.labels; ++c)
    for (int y = 0; y < tile.height; ++y) {
      const float* from = corner + s.channels[c] * points + size_t(y) * s.width;
      for (int x = 0; x < tile.width; ++x) {
        const int p = y * tile.width + x;
        to[p * n * WIDTH + c] = float(M_LOG2E) * (least[p] - from[x]);
      }
    }
  for (int c = s.labels; c < n * WIDTH; ++c)
    for (int p = 0; p < tile.size(); ++p) to[p * n * WIDTH + c] = -1e30f;
}

INLINE void unpack(const Settings& s, const Tile& tile, const Floats* values, float* posterior,
                   int n) {
  const size_t points = size_t(s.height) * s.width;
  const float* from = reinterpret_cast<const float*>(values);
  for (int c = 0; c < s.labels; ++c)
    for (int y = 0; y < tile.height; ++y) {
      float* to = posterior + s.channels[c] * points + size_t(tile.y + y) * s.width + tile.x;
      for (int x = 0; x < tile.width; ++x) to[x] = from[(y * tile.width + x) * n * WIDTH + c];
    }
}

// The vertices' values that are sliced, and those that are splatted meanwhile.
struct Tables {
  Array<Floats> now, next;
  size_t size;
  explicit Tables(size_t size) : now(size), next(size), size(size) {}
  void turn() {
    now.swap(next);
    std::memset(next, 0, size * sizeof(Floats));
  }
};

INLINE void fetch(const void* from, size_t bytes) {
  for (size_t at = 0; at < bytes; at += 64)
    __builtin_prefetch(static_cast<const char*>(from) + at);
}

template <int N>
INLINE void mean_field(const Settings& s, int count, const Lattice<2>& gaussian,
                       const Lattice<5>& bilateral, const float* unary, float* posterior) {
  const int n = N ? N : count;
  const Vector<Tile> tiles = tiles_of(s);
  const size_t points = size_t(s.height) * s.width;
  const bool alone = gaussian.diagonal;
  const float own_weight = float(M_LOG2E * s.gaussian_weight);
  Tables near(alone ? 0 : gaussian.vertices * n), far(bilateral.vertices * n);
  Array<Floats> logits(points * n), values(Tile::HIGH * Tile::WIDE * n);
  Array<Floats> beliefs(alone ? points * n : 0);
  for (int iteration = 0; iteration <= s.iterations; ++iteration) {
    near.turn();
    far.turn();
    if (iteration > 0) {
      if (!alone)
        for (const auto& lines : gaussian.lines) blur<Floats, N ? N : 1>(near.now, n, lines);
      for (const auto& lines : bilateral.lines) blur<Floats, N ? N : 1>(far.now, n, lines);
    }
    for (const Tile& tile : tiles) {
      const int size = tile.size();
      const Place<2>* near_places = gaussian.places + tile.first;
      const Place<5>* far_places = bilateral.places + tile.first;
      Floats* own = logits + size_t(tile.first) * n;
      const Floats* from = own;
      Floats* belief = beliefs + size_t(tile.first) * n;
      if (iteration == 0) {
        pack(s, tile, unary, own, n);
      } else {
        if (alone)
          for (int i = 0; i < size * n; ++i) values[i] = own[i] + own_weight * belief[i];
        else
          slice<2, N>(near_places, size, near.now, own, values, n);
        slice<5, N>(far_places, size, far.now, values, values, n);
        from = values;
      }
      for (int p = 0; p < size; p += WIDTH) {
        // What the next tile reads comes from main memory while this one computes.
        const int some = std::min(WIDTH, size - p);
        fetch(own + size_t(size + p) * n, some * n * sizeof(Floats));
        fetch(near_places + size + p, some * sizeof(Place<2>));
        fetch(far_places + size + p, some * sizeof(Place<5>));
        soft_max<N>(from + p * n, values + p * n, some, n);
      }
      if (iteration < s.iterations) {
        if (alone)
          std::copy_n(static_cast<Floats*>(values), size * n, belief);
        else
          splat<2, N>(near_places, size, values, near.next, n);
        splat<5, N>(far_places, size, values, far.next, n);
      } else {
        unpack(s, tile, values, posterior, n);
      }
    }
  }
}

// The Gaussian lattice hangs on positions alone, so that images of one size, as the grids of a
// training are and most photographs of a dataset, share it. The newest few are kept.
INLINE std::shared_ptr<const Lattice<2>> gaussian_lattice(const Settings& s, int row) {
  struct Kept {
    int height, width, row;
    double sxy, weight;
    std::shared_ptr<const Lattice<2>> lattice;
  };
  constexpr size_t MOST = 4;
  constexpr int LARGEST = 1 << 20;  // pixels, of 24 bytes each
  static std::mutex mutex;
  static auto& shelf = *new std::deque<Kept>;  // to the very end, as above
  {
    const std::lock_guard<std::mutex> lock(mutex);
    for (const Kept& kept : shelf)
      if (kept.height == s.height && kept.width == s.width && kept.row == row &&
          kept.sxy == s.gaussian_sxy && kept.weight == s.gaussian_weight)
        return kept.lattice;
  }
  const double sigma[] = {s.gaussian_sxy, s.gaussian_sxy};
  auto lattice =
      std::make_shared<const Lattice<2>>(build<2>(s, nullptr, sigma, s.gaussian_weight, row));
  if (s.height * s.width <= LARGEST) {
    const std::lock_guard<std::mutex> lock(mutex);
    shelf.push_front({s.height, s.width, row, s.gaussian_sxy, s.gaussian_weight, lattice});
    if (shelf.size() > MOST) shelf.pop_back();
  }
  return lattice;
}

INLINE void solve(const Settings& s, const uint8_t* image, const float* unary, float* posterior) {
  const double xy = s.bilateral_sxy, rgb = s.bilateral_srgb;
  const double sigma[] = {xy, xy, rgb, rgb, rgb};
  const int n = (s.labels + WIDTH - 1) / WIDTH;
  const auto gaussian = gaussian_lattice(s, n * WIDTH);
  const auto bilateral = build<5>(s, image, sigma, s.bilateral_weight, n * WIDTH);
  switch (n) {
    case 1: return mean_field<1>(s, n, *gaussian, bilateral, unary, posterior);
    case 2: return mean_field<2>(s, n, *gaussian, bilateral, unary, posterior);
    case 3: return mean_field<3>(s, n, *gaussian, bilateral, unary, posterior);
    default: return mean_field<0>(s, n, *gaussian, bilateral, unary, posterior);
  }
}

}  // namespace
