// Vectors of eight floats.

#pragma once

#include <cstdint>
#include <cstring>

// Functions inlined into solve_avx2 (module.cpp) are compiled for AVX2.
#define INLINE inline __attribute__((always_inline))

namespace {

constexpr int WIDTH = 8;
typedef float Floats __attribute__((vector_size(4 * WIDTH)));
typedef int32_t Ints __attribute__((vector_size(4 * WIDTH)));

constexpr float ROUND = 12582912.0f;  // 1.5 * 2^23: floats this large have no fraction

INLINE Floats spread(float x) { return Floats{} + x; }

INLINE Floats larger(Floats a, Floats b) { return a > b ? a : b; }

INLINE Floats smaller(Floats a, Floats b) { return a < b ? a : b; }

INLINE float largest(Floats x) {
  float y = x[0];
  for (int i = 1; i < WIDTH; ++i) y = x[i] > y ? x[i] : y;
  return y;
}

// The first `count` floats at any address, the rest 0; and back.
INLINE Floats load(const float* from, int count = WIDTH) {
  Floats x = {};
  if (__builtin_expect(count == WIDTH, 1)) {
    std::memcpy(&x, from, sizeof(x));
  } else {
    for (int i = 0; i < count; ++i) x[i] = from[i];
  }
  return x;
}

INLINE void store(Floats x, float* to, int count = WIDTH) {
  if (__builtin_expect(count == WIDTH, 1)) {
    std::memcpy(to, &x, sizeof(x));
  } else {
    for (int i = 0; i < count; ++i) to[i] = x[i];
  }
}

// 2^x for x <= 126. Below -86 it is 0, so that there are no denormals, which are slow.
INLINE Floats power_of_two(Floats x) {
  const Floats shifted = x + ROUND;
  const Floats r = x - (shifted - ROUND);
  Floats y = spread(1.32765e-3f);  // within 1e-7 of 2^r for |r| <= 1/2
  y = y * r + 9.67554e-3f;
  y = y * r + 5.550713e-2f;
  y = y * r + 2.402212e-1f;
  y = y * r + 6.9314697e-1f;
  y = y * r + 1.0f;
  const Floats power = (Floats)((Ints)y + ((Ints)shifted << 23));
  return x < -86.0f ? Floats{} : power;
}

// The lower or the upper halves of two vectors.
template <bool LOW>
INLINE Floats halves(Floats a, Floats b) {
  if (LOW) return __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11);
  return __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
}

// The sum, the maximum … of the elements of each of eight vectors.
template <class Operation>
INLINE Floats reduce(const Floats* x, const Operation& operation) {
  Floats fours[4], twos[2];
  for (int i = 0; i < 4; ++i)
    fours[i] =
        operation(halves<true>(x[2 * i], x[2 * i + 1]), halves<false>(x[2 * i], x[2 * i + 1]));
  for (int i = 0; i < 2; ++i) {
    const Floats a = fours[2 * i], b = fours[2 * i + 1];
    twos[i] = operation(__builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13),
                        __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15));
  }
  const Floats y = operation(__builtin_shufflevector(twos[0], twos[1], 0, 2, 8, 10, 4, 6, 12, 14),
                             __builtin_shufflevector(twos[0], twos[1], 1, 3, 9, 11, 5, 7, 13, 15));
  return __builtin_shufflevector(y, y, 0, 4, 1, 5, 2, 6, 3, 7);
}

struct Plus {
  INLINE Floats operator()(Floats a, Floats b) const { return a + b; }
};

struct Larger {
  INLINE Floats operator()(Floats a, Floats b) const { return larger(a, b); }
};

// Eight vectors as the columns of a matrix become its rows.
INLINE void transpose(Floats* x) {
  Floats y[WIDTH];
  for (int i = 0; i < 4; ++i) {
    y[i] = halves<true>(x[i], x[i + 4]);
    y[i + 4] = halves<false>(x[i], x[i + 4]);
  }
  for (int i = 0; i < WIDTH; i += 4)
    for (int k = i; k < i + 2; ++k) {
      x[k] = __builtin_shufflevector(y[k], y[k + 2], 0, 1, 8, 9, 4, 5, 12, 13);
      x[k + 2] = __builtin_shufflevector(y[k], y[k + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
  for (int i = 0; i < WIDTH; i += 2) {
    y[i] = __builtin_shufflevector(x[i], x[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
    y[i + 1] = __builtin_shufflevector(x[i], x[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
  }
  for (int i = 0; i < WIDTH; ++i) x[i] = y[i];
}

}  // namespace
