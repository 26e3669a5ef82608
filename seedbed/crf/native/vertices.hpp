// The vertices of a lattice, in a hash table.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "store.hpp"
#include "vectors.hpp"

namespace {

// Vertices by key, numbered as they are added: a hash table of numbers, at most an eighth full.
class Vertices {
 public:
  Vector<uint64_t> keys;

  // For each vertex the number of the one whose key is larger by `step`, or -1. Whether there is
  // one is unpredictable, so no branch depends on it, only on whether another key has its slot,
  // which is rare.
  INLINE void find_all(uint64_t step, int32_t* found) const {
    const uint64_t* key = keys.data();
    const int32_t* slots = slots_.data();
    const size_t count = keys.size();
    for (size_t v = 0; v < count; ++v) found[v] = slots[home(key[v] + step)];
    for (size_t v = 0; v < count; ++v) {
      const int32_t number = found[v];
      const bool own = key[std::max(number, 0)] == key[v] + step;
      if (__builtin_expect((number >= 0) & !own, 0)) found[v] = slots[place(key[v] + step)];
    }
  }

  INLINE int32_t find_or_add(uint64_t key) {
    const int32_t number = slots_[place(key)];
    return number >= 0 ? number : add(key);
  }

 private:
  int bits_ = 15;
  Vector<int32_t> slots_ = Vector<int32_t>(size_t(1) << bits_, -1);

  INLINE size_t home(uint64_t key) const { return (key * 0x9E3779B97F4A7C15u) >> (64 - bits_); }

  INLINE size_t place(uint64_t key) const {
    const size_t mask = slots_.size() - 1;
    size_t at = home(key);
    while (slots_[at] >= 0 && keys[slots_[at]] != key) at = (at + 1) & mask;
    return at;
  }

  __attribute__((noinline)) int32_t add(uint64_t key) {
    const int32_t number = int32_t(keys.size());
    slots_[place(key)] = number;
    keys.push_back(key);
    if (8 * keys.size() > slots_.size()) {
      ++bits_;
      slots_.assign(size_t(1) << bits_, -1);
      for (size_t i = 0; i < keys.size(); ++i) slots_[place(keys[i])] = int32_t(i);
    }
    return number;
  }
};

}  // namespace
