// The permutohedral lattice of Adams, Baek & Davis (Eurographics 2010); lattice.py is the same with
// tensors.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <new>

#include "image.hpp"
#include "store.hpp"

namespace {

// Vertices by key, numbered as they are added: a hash table, at most a quarter full.
class Vertices {
 public:
  Vector<uint64_t> keys;

  // The number, or -1. Whether a key is present is unpredictable, so no branch depends on it, only
  // on whether another key has its slot, which is rare.
  INLINE int32_t find(uint64_t key) const {
    const Slot& slot = slots_[home(key)];
    const int32_t number = (-int32_t(slot.key == key) & (slot.number + 1)) - 1;
    return __builtin_expect(number == slot.number, 1) ? number : slots_[place(key)].number;
  }

  INLINE int32_t find_or_add(uint64_t key) {
    const int32_t number = slots_[place(key)].number;
    return number >= 0 ? number : add(key);
  }

 private:
  struct Slot {
    uint64_t key;
    int32_t number;
  };
  int bits_ = 12;
  Vector<Slot> slots_ = Vector<Slot>(size_t(1) << bits_, Slot{0, -1});

  INLINE size_t home(uint64_t key) const { return (key * 0x9E3779B97F4A7C15u) >> (64 - bits_); }

  INLINE size_t place(uint64_t key) const {
    const size_t mask = slots_.size() - 1;
    size_t at = home(key);
    while (slots_[at].number >= 0 && slots_[at].key != key) at = (at + 1) & mask;
    return at;
  }

  __attribute__((noinline)) int32_t add(uint64_t key) {
    keys.push_back(key);
    const int32_t number = int32_t(keys.size()) - 1;
    slots_[place(key)] = {key, number};
    if (4 * keys.size() > slots_.size()) {
      slots_.assign(size_t(1) << ++bits_, Slot{0, -1});
      for (size_t i = 0; i < keys.size(); ++i) slots_[place(keys[i])] = {keys[i], int32_t(i)};
    }
    return number;
  }
};

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
  // For each axis the vertices with neighbours along it, line by line, each line ended by -1.
  Vector<int32_t> lines[D + 1];
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

constexpr float ROUND = 12582912.0f;  // 1.5 * 2^23: floats this large have no fraction

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
INLINE void place_pixels(const Settings& s, const uint8_t* image, const double* sigma,
                         const float* scale, const Keys<D>& keys, Vertices& vertices,
                         Place<D>* places) {
  for (const Tile& tile : tiles_of(s)) {
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
        Place<D>& place = places[tile.first + first + lane];
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

// The lines of vertices along one axis, padded with AHEAD numbers so that blur() can prefetch.
constexpr int AHEAD = 24;

Vector<int32_t> lines_along(const Vertices& vertices, uint64_t step) {
  const size_t count = vertices.keys.size();
  Array<int32_t> next(count), starts(count + 1);
  Vector<char> inner(count + 1);  // the first is that of no vertex
  for (size_t v = 0; v < count; ++v) {
    next[v] = vertices.find(vertices.keys[v] + step);
    inner[next[v] + 1] = 1;
  }
  size_t number = 0;  // of lines; written without unpredictable branches
  for (size_t v = 0; v < count; ++v) {
    starts[number] = int32_t(v);
    number += !inner[v + 1] & (next[v] >= 0);
  }
  Vector<int32_t> lines(count + number + AHEAD);
  size_t end = 0;
  for (size_t i = 0; i < number; ++i) {
    for (int32_t v = starts[i]; v >= 0; v = next[v]) lines[end++] = v;
    lines[end++] = -1;
  }
  lines.resize(end + AHEAD);
  std::fill_n(lines.data() + end, AHEAD, 0);
  return lines;
}

// Convolve with 1/2 1 1/2 along one axis, in place. A row has n values, taken N at a time.
template <class T, int N>
INLINE void blur(T* table, int n, const Vector<int32_t>& lines) {
  const int32_t* line = lines.data();
  const int32_t* end = line + lines.size() - AHEAD;
  while (line < end) {
    const int32_t* v = line;
    for (int first = 0; first < n; first += N) {
      v = line;
      T before[N] = {}, now[N];
      for (int c = 0; c < N; ++c) now[c] = table[size_t(*v) * n + first + c];
      for (; v[1] >= 0; ++v) {
        const T* ahead = table + int64_t(v[AHEAD]) * n + first;
        for (int c = 0; c < N; c += 2) __builtin_prefetch(ahead + c);
        T* row = table + size_t(v[0]) * n + first;
        const T* next = table + size_t(v[1]) * n + first;
        for (int c = 0; c < N; ++c) {
          const T after = next[c];
          row[c] = now[c] + 0.5f * (before[c] + after);
          before[c] = now[c];
          now[c] = after;
        }
      }
      for (int c = 0; c < N; ++c) table[size_t(*v) * n + first + c] = now[c] + 0.5f * before[c];
    }
    line = v + 2;
  }
}

// D^-1/2 K D^-1/2: a pixel's factor and the root of the kernel's weight go into its weights, which
// splat and slice both use. Energies are to base 2; a row of a table has `row` floats.
template <int D>
INLINE void normalise(Lattice<D>& lattice, int points, double weight, int row) {
  Vector<float> table(lattice.vertices);
  Place<D>* places = lattice.places;
  for (int p = 0; p < points; ++p)
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
  for (const auto& lines : lattice.lines)
    for (size_t i = 1; i + AHEAD < lines.size(); ++i)
      if (lines[i - 1] >= 0 && lines[i] >= 0 && lines[i - 1] / (D + 1) != lines[i] / (D + 1))
        return false;
  return true;
}

template <int D>
INLINE Lattice<D> build(const Settings& s, const uint8_t* image, const double* sigma,
                        double weight, int row) {
  float scale[D];
  for (int j = 0; j < D; ++j)
    scale[j] = float(std::sqrt(2.0 / 3.0) * (D + 1) / std::sqrt((j + 1.0) * (j + 2.0)));
  const int points = s.height * s.width;
  const Keys<D> keys(s, sigma, scale);
  Lattice<D> lattice(points);
  Vertices vertices;
  place_pixels<D>(s, image, sigma, scale, keys, vertices, lattice.places);
  lattice.vertices = vertices.keys.size();
  if (lattice.vertices * size_t(row) > UINT32_MAX) throw std::bad_alloc();
  for (int j = 0; j <= D; ++j) lattice.lines[j] = lines_along(vertices, keys.step[j]);
  lattice.diagonal = diagonal(lattice, points);
  normalise<D>(lattice, points, weight, row);
  return lattice;
}

}  // namespace
