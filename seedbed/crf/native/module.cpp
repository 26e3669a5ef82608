// The Python module seedbed_lattice: the dense CRF of one image. setup.py defines SOURCE_HASH.

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <algorithm>
#include <cstdint>
#include <new>

#ifdef __SSE__
#include <xmmintrin.h>
#endif

#include "image.hpp"
#include "mean_field.hpp"
#include "store.hpp"

namespace {

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

// Treats denormals as zero during its lifetime.
struct FlushDenormals {
#ifdef __SSE__
  const unsigned mode = _mm_getcsr();
  FlushDenormals() { _mm_setcsr(mode | 0x8040); }
  ~FlushDenormals() { _mm_setcsr(mode); }
#endif
};

// Whether the buffers' sizes match the settings, and the channels exist.
bool fit(const Settings& s, const Py_buffer& image, const Py_buffer& unary,
         const Py_buffer& posterior, const Py_buffer& channels) {
  const Py_ssize_t points = Py_ssize_t(s.height) * s.width;
  if (points <= 0 || s.stride <= 0 || image.len != 3 * points || posterior.len != unary.len)
    return false;
  if (s.labels == 0 || channels.len != 4 * Py_ssize_t(s.labels)) return false;
  const Py_ssize_t all = unary.len / (4 * points);
  return unary.len == 4 * points * all &&
         std::all_of(s.channels, s.channels + s.labels, [&](int c) { return 0 <= c && c < all; });
}

PyObject* python_mean_field(PyObject*, PyObject* args) {
  Settings s;
  Py_buffer image, unary, posterior, channels;
  if (!PyArg_ParseTuple(args, "y*y*w*y*iiidddddi", &image, &unary, &posterior, &channels, &s.height,
                        &s.width, &s.iterations, &s.gaussian_weight, &s.gaussian_sxy,
                        &s.bilateral_weight, &s.bilateral_sxy, &s.bilateral_srgb, &s.stride))
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
  PyErr_SetString(PyExc_ValueError,
                  "the buffers do not fit the height, width, channels and stride");
  return nullptr;
}

PyMethodDef methods[] = {
    {"mean_field", python_mean_field, METH_VARARGS,
     "mean_field(image, unary, posterior, channels, height, width, iterations, gaussian_weight, "
     "gaussian_sxy, bilateral_weight, bilateral_sxy, bilateral_srgb, stride)\n\n"
     "Write the posterior, float32 (C, height, width), of an image, uint8 (height, width, 3), and "
     "energies, float32 (C, height, width), in the channels, int32 (labels,), which alone take "
     "part. All are contiguous. Releases the GIL."},
    {nullptr, nullptr, 0, nullptr}};

PyModuleDef module = {PyModuleDef_HEAD_INIT, "seedbed_lattice", "Dense CRF of one image.", -1,
                      methods, nullptr, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit_seedbed_lattice() {
  PyObject* created = PyModule_Create(&module);
  if (created && PyModule_AddStringConstant(created, "source_hash", SOURCE_HASH) < 0)
    Py_CLEAR(created);
  return created;
}
