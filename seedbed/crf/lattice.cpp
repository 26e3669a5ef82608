// Mean field of a fully connected CRF on permutohedral lattices: one image, one thread.
//
// The filter is that of Adams, Baek & Davis (Eurographics 2010), the CRF that of Krähenbühl &
// Koltun (NIPS 2011); lattice.py and meanfield.py say the same with tensors. The values of all
// labels lie side by side, eight to a vector. An update goes over the pixels once: slice both
// lattices, soft-max, splat into the next tables.

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#ifdef __SSE__
#include <xmmintrin.h>
#endif
#ifdef __linux__
#include <sys/mman.h>
#endif

// What is inlined into solve_avx2 is compiled for its instructions.
#define INLINE inline __attribute__((always_inline))

namespace {

constexpr int WIDTH = 8;
typedef float Floats __attribute__((vector_size(4 * WIDTH)));
typedef int32_t Ints __attribute__((vector_size(4 * WIDTH)));

struct Settings {
  int height, width, labels, iterations;
  const int32_t* channels;  // of the energies and of the posterior, one for each label
  double gaussian_weight, gaussian_sxy, bilateral_weight, bilateral_sxy, bilateral_srgb;
};

// Memory is kept for the next image instead of being given back: to get it anew from the system,
// page by page and one thread at a time, takes a third of an image's time. Sizes are powers of two.
// A thread has a store to itself as long as it solves an image, and mostly the same one for the
// next, so that what lies in its processor's cache stays there.
class Store {
 public:
  Store() {
    const std::lock_guard<std::mutex> lock(mutex());
    if (idle().empty()) idle().push_back(new Shelves);
    shelves = idle().back();
    idle().pop_back();
  }
  ~Store() {
    const std::lock_guard<std::mutex> lock(mutex());
    idle().push_back(shelves);
  }

  static void* take(size_t bytes) {
    const int kind = kind_of(bytes);
    auto& kept = shelves->blocks[kind];
    if (!kept.empty()) {
      void* data = kept.back();
      kept.pop_back();
      return data;
    }
    const size_t size = size_t(1) << kind;
    void* data = std::aligned_alloc(std::min(size, PAGE), size);
    if (!data) throw std::bad_alloc();
#ifdef __linux__
    if (size >= PAGE) madvise(data, size, MADV_HUGEPAGE);
#endif
    return data;
  }

  static void give(void* data, size_t bytes) {
    const int kind = kind_of(bytes);
    if (kind > LARGEST) return std::free(data);
    shelves->blocks[kind].push_back(data);
  }

 private:
  static constexpr size_t LINE = 64, PAGE = 1 << 21;
  static constexpr int LARGEST = 28;  // 256 MiB; what is larger is rare and goes back
  struct Shelves {
    std::vector<void*> blocks[64];
  };
  static thread_local Shelves* shelves;
  static int kind_of(size_t bytes) { return 64 - __builtin_clzll(std::max(bytes, LINE) - 1); }
  static std::mutex& mutex() {
    static std::mutex mutex;
    return mutex;
  }
  static std::vector<Shelves*>& idle() {
    static auto& idle = *new std::vector<Shelves*>;  // to the very end: threads outlive statics
    return idle;
  }
};

thread_local Store::Shelves* Store::shelves = nullptr;

template <class T>
struct Stored {
  typedef T value_type;
  Stored() = default;
  template <class U>
  Stored(const Stored<U>&) {}
  T* allocate(size_t size) { return static_cast<T*>(Store::take(size * sizeof(T))); }
  void deallocate(T* data, size_t size) { Store::give(data, size * sizeof(T)); }
  bool operator==(const Stored&) const { return true; }
  bool operator!=(const Stored&) const { return false; }
};

template <class T>
using Vector = std::vector<T, Stored<T>>;

// As Vector, but not set to zero.
template <class T>
class Array {
 public:
  explicit Array(size_t size) : size_(size), data_(Stored<T>().allocate(size)) {}
  Array(Array&& other) : size_(other.size_), data_(std::exchange(other.data_, nullptr)) {}
  ~Array() {
    if (data_) Stored<T>().deallocate(data_, size_);
  }
  void swap(Array& other) {
    std::swap(size_, other.size_);
    std::swap(data_, other.data_);
  }
  operator T*() const { return data_; }

 private:
  size_t size_;
  T* data_;
};

// The image is worked on by tiles, so that the rows of the tables in use stay in the nearest
// cache; the pixels are numbered in that order.
struct Tile {
  static constexpr int WIDE = 16, HIGH = 16;
  int first, x, y, width, height;
  int size() const { return width * height; }
};

Vector<Tile> tiles_of(const Settings& s) {
  Vector<Tile> tiles;
  int first = 0;
  for (int y = 0; y < s.height; y += Tile::HIGH)
    for (int x = 0; x < s.width; x += Tile::WIDE) {
      const int width = std::min(Tile::WIDE, s.width - x);
      const int height = std::min(Tile::HIGH, s.height - y);
      tiles.push_back({first, x, y, width, height});
      first += width * height;
    }
  return tiles;
}

// Vertices by key, numbered as they are met: a hash table, at most a quarter full.
class Vertices {
 public:
  Vector<uint64_t> keys;

  // The number, or -1. Whether a key is there cannot be foretold, so no branch hangs on it, only
  // on whether another one has its place, which is rare.
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

// A pixel in a lattice: the vertices of its simplex, by number and later by where their rows of a
// table begin, and its weights there.
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
  // For each axis the vertices with neighbours on it, line by line, each line ended by -1.
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

INLINE Floats spread(float x) { return Floats{} + x; }

INLINE Floats larger(Floats a, Floats b) { return a > b ? a : b; }

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
  // by the coordinates with the extreme ranks. Comparisons give -1 for true.
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

// The lines of vertices along one axis, and some more numbers so that blurring can look ahead.
constexpr int AHEAD = 24;

Vector<int32_t> lines_along(const Vertices& vertices, uint64_t step) {
  const size_t count = vertices.keys.size();
  Array<int32_t> next(count), starts(count + 1);
  Vector<char> inner(count + 1);  // the first is that of no vertex
  for (size_t v = 0; v < count; ++v) {
    next[v] = vertices.find(vertices.keys[v] + step);
    inner[next[v] + 1] = 1;
  }
  size_t number = 0;  // of lines; written so that nothing has to be foretold
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

// D^-1/2 K D^-1/2: a pixel's factor goes into its weights, which splat and slice both use, and so
// does the root of the kernel's weight. Energies are to base 2; a row of a table has `row` floats.
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

// Whether no pixel hears another one, as where the standard deviation is far below a pixel: each
// has vertices of its own, which are numbered in the order of the pixels.
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

typedef void Solver(const Settings&, const uint8_t*, const float*, float*);

void solve_anywhere(const Settings& s, const uint8_t* image, const float* unary, float* out) {
  solve(s, image, unary, out);
}

#ifdef __x86_64__
__attribute__((target("avx2,fma"))) void solve_avx2(const Settings& s, const uint8_t* image,
                                                    const float* unary, float* out) {
  solve(s, image, unary, out);
}
#endif

Solver* solver() {
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return solve_avx2;
#endif
  return solve_anywhere;
}

// Denormals count as zero as long as one of these lives.
struct FlushDenormals {
#ifdef __SSE__
  const unsigned mode = _mm_getcsr();
  FlushDenormals() { _mm_setcsr(mode | 0x8040); }
  ~FlushDenormals() { _mm_setcsr(mode); }
#endif
};

// Whether the buffers hold what the settings say, and the channels are there.
bool fit(const Settings& s, const Py_buffer& image, const Py_buffer& unary,
         const Py_buffer& posterior, const Py_buffer& channels) {
  const Py_ssize_t points = Py_ssize_t(s.height) * s.width;
  if (points <= 0 || image.len != 3 * points || posterior.len != unary.len) return false;
  if (s.labels == 0 || channels.len != 4 * Py_ssize_t(s.labels)) return false;
  const Py_ssize_t all = unary.len / (4 * points);
  return unary.len == 4 * points * all &&
         std::all_of(s.channels, s.channels + s.labels, [&](int c) { return 0 <= c && c < all; });
}

PyObject* python_mean_field(PyObject*, PyObject* args) {
  Settings s;
  Py_buffer image, unary, posterior, channels;
  if (!PyArg_ParseTuple(args, "y*y*w*y*iiiddddd", &image, &unary, &posterior, &channels, &s.height,
                        &s.width, &s.iterations, &s.gaussian_weight, &s.gaussian_sxy,
                        &s.bilateral_weight, &s.bilateral_sxy, &s.bilateral_srgb))
    return nullptr;
  s.channels = static_cast<const int32_t*>(channels.buf);
  s.labels = int(channels.len / 4);
  const bool fits = fit(s, image, unary, posterior, channels);
  bool enough = true;
  if (fits) {
    Py_BEGIN_ALLOW_THREADS
    try {
      FlushDenormals flush;
      Store store;
      solver()(s, static_cast<const uint8_t*>(image.buf), static_cast<const float*>(unary.buf),
               static_cast<float*>(posterior.buf));
    } catch (const std::bad_alloc&) {
      enough = false;
    }
    Py_END_ALLOW_THREADS
  }
  for (Py_buffer* buffer : {&image, &unary, &posterior, &channels}) PyBuffer_Release(buffer);
  if (!enough) return PyErr_NoMemory();
  if (fits) Py_RETURN_NONE;
  PyErr_SetString(PyExc_ValueError, "the buffers do not fit the height, width and channels");
  return nullptr;
}

PyMethodDef methods[] = {
    {"mean_field", python_mean_field, METH_VARARGS,
     "mean_field(image, unary, posterior, channels, height, width, iterations, gaussian_weight, "
     "gaussian_sxy, bilateral_weight, bilateral_sxy, bilateral_srgb)\n\n"
     "Write the posterior, float32 (C, height, width), of an image, uint8 (height, width, 3), and "
     "energies, float32 (C, height, width), in the channels, int32 (labels,), which alone take "
     "part. All are contiguous. Releases the GIL."},
    {nullptr, nullptr, 0, nullptr}};

PyModuleDef module = {PyModuleDef_HEAD_INIT, "seedbed_lattice", "Dense CRF of one image.", -1,
                      methods, nullptr, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit_seedbed_lattice() { return PyModule_Create(&module); }
