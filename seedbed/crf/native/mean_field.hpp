// Mean field of Krähenbühl & Koltun's CRF (NIPS 2011): one image, one thread; meanfield.py is the
// same with tensors. The labels of a pixel are contiguous, eight to a vector. An update passes over
// the pixels once: slice both lattices, softmax, splat into the next tables.

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

// 2^x for x <= 0, clamped above the denormals, which are slow.
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

// In separate loops, so that the processor can overlap several pixels. N is a pixel's number of
// vectors if the compiler knows it, else 0, and `count` is that number.
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

// A tile's logits to base 2, each pixel's largest 0; those of padding labels are far below.
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

// The vertices' values that are sliced, and those that are splatted at the same time.
struct Tables {
  Array<Floats> now, next;
  size_t size;
  explicit Tables(size_t size) : now(size), next(size), size(size) {}
  void swap_and_clear() {
    now.swap(next);
    std::memset(next, 0, size * sizeof(Floats));
  }
};

INLINE void prefetch(const void* from, size_t bytes) {
  for (size_t at = 0; at < bytes; at += 64)
    __builtin_prefetch(static_cast<const char*>(from) + at);
}

template <int N>
INLINE void mean_field(const Settings& s, int count, const Lattice<2>& gaussian,
                       const Lattice<5>& bilateral, const float* unary, float* posterior) {
  const int n = N ? N : count;
  const Vector<Tile> tiles = tiles_of(s);
  const size_t points = size_t(s.height) * s.width;
  const bool diagonal = gaussian.diagonal;
  const float own_weight = float(M_LOG2E * s.gaussian_weight);
  Tables near(diagonal ? 0 : gaussian.vertices * n), far(bilateral.vertices * n);
  Array<Floats> logits(points * n), values(Tile::HIGH * Tile::WIDE * n);
  Array<Floats> beliefs(diagonal ? points * n : 0);
  for (int iteration = 0; iteration <= s.iterations; ++iteration) {
    near.swap_and_clear();
    far.swap_and_clear();
    if (iteration > 0) {
      if (!diagonal)
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
        if (diagonal)
          for (int i = 0; i < size * n; ++i) values[i] = own[i] + own_weight * belief[i];
        else
          slice<2, N>(near_places, size, near.now, own, values, n);
        slice<5, N>(far_places, size, far.now, values, values, n);
        from = values;
      }
      for (int p = 0; p < size; p += WIDTH) {
        // Prefetch what the next tile reads while this one is computed.
        const int pixels = std::min(WIDTH, size - p);
        prefetch(own + size_t(size + p) * n, pixels * n * sizeof(Floats));
        prefetch(near_places + size + p, pixels * sizeof(Place<2>));
        prefetch(far_places + size + p, pixels * sizeof(Place<5>));
        soft_max<N>(from + p * n, values + p * n, pixels, n);
      }
      if (iteration < s.iterations) {
        if (diagonal)
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

// The Gaussian lattice depends on positions only, so that images of one size, such as a training's
// grids and most photographs of a dataset, share it. The most recent few are cached.
INLINE std::shared_ptr<const Lattice<2>> gaussian_lattice(const Settings& s, int row) {
  struct Entry {
    int height, width, row;
    double sxy, weight;
    std::shared_ptr<const Lattice<2>> lattice;
  };
  constexpr size_t MAX_ENTRIES = 4;
  constexpr int MAX_PIXELS = 1 << 20;  // of 24 bytes each
  static std::mutex mutex;
  static auto& cache = *new std::deque<Entry>;  // never destroyed: threads outlive statics
  {
    const std::lock_guard<std::mutex> lock(mutex);
    for (const Entry& entry : cache)
      if (entry.height == s.height && entry.width == s.width && entry.row == row &&
          entry.sxy == s.gaussian_sxy && entry.weight == s.gaussian_weight)
        return entry.lattice;
  }
  const double sigma[] = {s.gaussian_sxy, s.gaussian_sxy};
  auto lattice =
      std::make_shared<const Lattice<2>>(build<2>(s, nullptr, sigma, s.gaussian_weight, row));
  if (s.height * s.width <= MAX_PIXELS) {
    const std::lock_guard<std::mutex> lock(mutex);
    cache.push_front({s.height, s.width, row, s.gaussian_sxy, s.gaussian_weight, lattice});
    if (cache.size() > MAX_ENTRIES) cache.pop_back();
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
