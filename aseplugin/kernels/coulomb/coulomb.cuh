// Pairs of Gaussian charges: values, slopes, matvec and adjoints, one thread a pair.
//
// Compiled by NVRTC for a GPU and, with HOST_BUILD defined, by any C++ compiler for the CPU, where
// the launch is a loop. Arrays are float64, indices int32; offsets and positions are (n, 3) rows.

#ifdef HOST_BUILD
#include <cmath>
using std::erf;
using std::exp;
using std::sqrt;
#define KERNEL extern "C" void
#define FOR_EACH_PAIR(p, n) for (long long p = 0; p < (n); ++p)
static inline void add(double* place, double value) { *place += value; }
#else
#define KERNEL extern "C" __global__ void
#define FOR_EACH_PAIR(p, n)                                                              \
    for (long long p = blockIdx.x * (long long)blockDim.x + threadIdx.x; p < (n);         \
         p += (long long)gridDim.x * blockDim.x)
static __device__ inline void add(double* place, double value) { atomicAdd(place, value); }
#endif

#define SLOPE 1.1283791670955126  // 2/sqrt(pi)

KERNEL assemble(const double* positions, const int* first, const int* second,
                const double* offsets, const double* width, double alpha, double coulomb,
                long long n_pairs, double* values, double* slopes) {
    FOR_EACH_PAIR(p, n_pairs) {
        const int i = first[p], j = second[p];
        double square = 0.0;
        for (int a = 0; a < 3; ++a) {
            const double apart = positions[3 * j + a] - positions[3 * i + a] + offsets[3 * p + a];
            square += apart * apart;
        }
        const double r = sqrt(square);
        const double gamma = 1.0 / sqrt(2.0 * (width[i] * width[i] + width[j] * width[j]));
        double value = erf(gamma * r);
        double bells = gamma * exp(-gamma * gamma * square);
        if (alpha > 0.0) {
            value -= erf(alpha * r);
            bells -= alpha * exp(-alpha * alpha * square);
        }
        value /= r;
        values[p] = coulomb * value;
        slopes[p] = coulomb * (SLOPE * bells - value) / square;
    }
}

KERNEL matvec(const double* values, const int* first, const int* second, const double* charges,
              long long n_pairs, double* potentials) {
    FOR_EACH_PAIR(p, n_pairs) {
        const int i = first[p], j = second[p];
        add(&potentials[i], values[p] * charges[j]);
        add(&potentials[j], values[p] * charges[i]);
    }
}

KERNEL matvec_adjoint(const int* first, const int* second, const double* x, const double* y,
                      long long n_pairs, double* out) {
    FOR_EACH_PAIR(p, n_pairs) {
        const int i = first[p], j = second[p];
        out[p] = x[i] * y[j] + x[j] * y[i];
    }
}

KERNEL assemble_adjoint(const double* weights, const double* slopes, const double* positions,
                        const int* first, const int* second, const double* offsets,
                        const double* width, double coulomb, long long n_pairs,
                        double* by_positions, double* by_strain, double* by_width) {
    FOR_EACH_PAIR(p, n_pairs) {
        const int i = first[p], j = second[p];
        const double pull = weights[p] * slopes[p];
        double apart[3], square = 0.0;
        for (int a = 0; a < 3; ++a) {
            apart[a] = positions[3 * j + a] - positions[3 * i + a] + offsets[3 * p + a];
            square += apart[a] * apart[a];
        }
        for (int a = 0; a < 3; ++a) {
            add(&by_positions[3 * j + a], pull * apart[a]);
            add(&by_positions[3 * i + a], -pull * apart[a]);
            for (int b = 0; b < 3; ++b) add(&by_strain[3 * a + b], pull * apart[a] * apart[b]);
        }
        const double sharp = 0.5 / (width[i] * width[i] + width[j] * width[j]);  // gamma squared
        const double spread = -2.0 * coulomb * SLOPE * weights[p] * sharp * sqrt(sharp)
                              * exp(-sharp * square);
        add(&by_width[i], spread * width[i]);
        add(&by_width[j], spread * width[j]);
    }
}
