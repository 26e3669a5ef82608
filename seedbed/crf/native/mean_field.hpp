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
#include "pack.hpp"
#include "store.hpp"
#include "vectors.hpp"

namespace {

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
  INLINE Floats slice(Floats sum, int c) const {
    for (int r = 0; r <= D; ++r) sum += weight[r] * row[r][c];
    return sum;
  }
};

// Whose messages are added to a pixel's logits: no kernel's; the bilateral one's and, for a
// Gaussian kernel that is diagonal, the pixel's own; both kernels'.
enum class Messages { NONE, DIAGONAL, BOTH };

// What a tile is inferred from.
struct Inputs {
  const Place<2>* near_places;
  const Place<5>* far_places;
  Floats *near, *far;
  const Floats *logits, *beliefs;
  float own_weight;  // of a pixel's belief in its logits, if the Gaussian kernel is diagonal
  int ahead;         // where the next tile's pixels begin
};

INLINE void prefetch(const void* from, size_t bytes) {
  for (size_t at = 0; at < bytes; at += 64)
    __builtin_prefetch(static_cast<const char*>(from) + at);
}

// Pixels whose softmax is computed together: eight of a tile, or the last few.
constexpr int BLOCK = WIDTH;

// N is a pixel's number of vectors if the compiler knows it, else 0, and `count` is that number.
template <int N, Messages M>
INLINE void add_messages(const Inputs& in, int first, int size, Floats* to, int count) {
  const int n = N ? N : count;
  for (int i = 0; i < size; ++i) {
    const int p = first + i;
    const Rows<2> near(in.near_places[p], in.near);
    const Rows<5> far(in.far_places[p], in.far);
    for (int c = 0; c < n; ++c) {
      Floats x = in.logits[p * n + c];
      if (M == Messages::DIAGONAL) x += in.own_weight * in.beliefs[p * n + c];
      if (M == Messages::BOTH) x = near.slice(x, c);
      if (M != Messages::NONE) x = far.slice(x, c);
      to[i * n + c] = x;
    }
  }
}

// A value of each of a block's pixels over all of its labels, such as their sum.
template <int N, class Operation>
INLINE Floats over_labels(const Floats* x, int size, int count, const Operation& operation) {
  const int n = N ? N : count;
  Floats eight[BLOCK];
  for (int p = 0; p < BLOCK; ++p) {
    const Floats* row = x + std::min(p, size - 1) * n;
    eight[p] = row[0];
    for (int c = 1; c < n; ++c) eight[p] = operation(eight[p], row[c]);
  }
  return reduce(eight, operation);
}

// In separate loops, so that the processor can overlap several pixels. Returns the largest logits.
template <int N>
INLINE Floats soft_max(Floats* x, int size, int count) {
  const int n = N ? N : count;
  Floats top = x[0];
  for (int i = 0; i < size * n; ++i) {
    top = larger(top, x[i]);
    x[i] = power_of_two(x[i]);
  }
  const Floats factor = 1.0f / over_labels<N>(x, size, n, Plus());
  for (int p = 0; p < size; ++p)
    for (int c = 0; c < n; ++c) x[p * n + c] *= factor[p];
  return top;
}

template <int N>
INLINE void subtract_maxima(Floats* x, int size, int count) {
  const int n = N ? N : count;
  const Floats top = over_labels<N>(x, size, n, Larger());
  for (int p = 0; p < size; ++p)
    for (int c = 0; c < n; ++c) x[p * n + c] -= top[p];
}

// The posterior of a tile's pixels. A pixel's largest logit is at least 0. With common weights it
// is small, and need not be subtracted from the others; if it proves to be large, the tile is
// inferred again.
template <int N, Messages M>
INLINE void infer(const Inputs& in, int size, Floats* to, int count) {
  constexpr float LARGE = 120;  // 2^120 is far from overflow, even the sum of all labels'
  const int n = N ? N : count;
  for (const bool subtract : {false, true}) {
    Floats top = {};
    for (int p = 0; p < size; p += BLOCK) {
      // Prefetch what the next tile reads while this one is computed.
      const int pixels = std::min(BLOCK, size - p);
      prefetch(in.logits + size_t(in.ahead + p) * n, pixels * n * sizeof(Floats));
      prefetch(in.near_places + in.ahead + p, pixels * sizeof(Place<2>));
      prefetch(in.far_places + in.ahead + p, pixels * sizeof(Place<5>));
      add_messages<N, M>(in, p, pixels, to + p * n, n);
      if (__builtin_expect(subtract, 0)) subtract_maxima<N>(to + p * n, pixels, n);
      top = larger(top, soft_max<N>(to + p * n, pixels, n));
    }
    if (largest(top) <= LARGE) break;
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

template <int N>
INLINE void mean_field(const Settings& s, const Vector<Tile>& tiles, int count,
                       const Lattice<2>& gaussian, const Lattice<5>& bilateral, const float* unary,
                       float* posterior) {
  const int n = N ? N : count;
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
      // Only the last beliefs of pixels that send nothing are of use.
      const int size = iteration < s.iterations ? tile.senders : tile.size();
      const Place<2>* near_places = gaussian.places + tile.first;
      const Place<5>* far_places = bilateral.places + tile.first;
      Floats* own = logits + size_t(tile.first) * n;
      Floats* belief = beliefs + size_t(tile.first) * n;
      const Inputs in{near_places, far_places, near.now, far.now, own, belief,
                      own_weight, tile.size()};
      if (iteration == 0) {
        pack(s, tile, unary, own, n);
        infer<N, Messages::NONE>(in, size, values, n);
      } else if (diagonal) {
        infer<N, Messages::DIAGONAL>(in, size, values, n);
      } else {
        infer<N, Messages::BOTH>(in, size, values, n);
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
INLINE std::shared_ptr<const Lattice<2>> gaussian_lattice(const Settings& s,
                                                         const Vector<Tile>& tiles, int row) {
  struct Entry {
    int height, width, stride, row;
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
      if (entry.height == s.height && entry.width == s.width && entry.stride == s.stride &&
          entry.row == row && entry.sxy == s.gaussian_sxy && entry.weight == s.gaussian_weight)
        return entry.lattice;
  }
  const double sigma[] = {s.gaussian_sxy, s.gaussian_sxy};
  auto lattice = std::make_shared<const Lattice<2>>(
      build<2>(s, tiles, nullptr, sigma, s.gaussian_weight, row));
  if (s.height * s.width <= MAX_PIXELS) {
    const std::lock_guard<std::mutex> lock(mutex);
    cache.push_front(
        {s.height, s.width, s.stride, row, s.gaussian_sxy, s.gaussian_weight, lattice});
    if (cache.size() > MAX_ENTRIES) cache.pop_back();
  }
  return lattice;
}

INLINE void solve(const Settings& s, const uint8_t* image, const float* unary, float* posterior) {
  const size_t points = size_t(s.height) * s.width;
  if (s.labels == 1) {  // which is certain
    std::fill_n(posterior + s.channels[0] * points, points, 1.0f);
    return;
  }
  const double xy = s.bilateral_sxy, rgb = s.bilateral_srgb;
  const double sigma[] = {xy, xy, rgb, rgb, rgb};
  const int n = (s.labels + WIDTH - 1) / WIDTH;
  const Vector<Tile> tiles = tiles_of(s);
  const auto gaussian = gaussian_lattice(s, tiles, n * WIDTH);
  const auto bilateral = build<5>(s, tiles, image, sigma, s.bilateral_weight, n * WIDTH);
  switch (n) {
    case 1: return mean_field<1>(s, tiles, n, *gaussian, bilateral, unary, posterior);
    case 2: return mean_field<2>(s, tiles, n, *gaussian, bilateral, unary, posterior);
    case 3: return mean_field<3>(s, tiles, n, *gaussian, bilateral, unary, posterior);
    default: return mean_field<0>(s, tiles, n, *gaussian, bilateral, unary, posterior);
  }
}

}  // namespace
