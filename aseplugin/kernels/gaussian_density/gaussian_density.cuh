// Polynomials times Gaussians to a grid, and moments of a grid; see cpu.py for the mathematics.
//
// Gather form: a thread owns a stretch of a column and writes it once, so that there are no
// atomics and sums do not depend on the schedule. Images are Gaussians moved by lattice vectors;
// each works on the points of the grid alone.
//
// Compiled by NVRTC for a GPU and, with HOST_BUILD defined, by any C++ compiler for the CPU, where
// the launch is a loop.

#ifdef HOST_BUILD
#include <cmath>
using std::ceil;
using std::exp;
using std::fabs;
using std::floor;
using std::sqrt;
#define KERNEL extern "C" void
#define INLINE static inline
#define FOR_EACH(t, n) for (long long t = 0; t < (n); ++t)
#else
#define KERNEL extern "C" __global__ void
#define INLINE static __device__ __forceinline__
#define FOR_EACH(t, n)                                                                    \
    for (long long t = blockIdx.x * (long long)blockDim.x + threadIdx.x; t < (n);          \
         t += (long long)gridDim.x * blockDim.x)
#endif

#define TILE 8        // columns of a tile along each axis
#define STRETCH 16    // points of a column that a thread owns
#define MOST 10       // powers of a coordinate: the highest degree, 9 with derivatives, and one

// exp(-alpha w^2), from a table if all columns have the same w.
INLINE double bell(const double* table, long long place, double exponent, double w) {
    return table ? table[place] : exp(-exponent * w * w);
}

KERNEL spread(double* out, const long long* shape, const double* steps, const long long* start,
              const int* entries, const double* centres, const int* owners, const int* first,
              const double* table, long long width, const double* cartesian,
              const long long* offsets, const int* degrees, const double* exponents,
              const double* radii, long long n_threads) {
    const long long nx = shape[0], ny = shape[1], nz = shape[2];
    const long long across = (ny + TILE - 1) / TILE, along = (nz + STRETCH - 1) / STRETCH;
    const double h = steps[8];
    FOR_EACH(t, n_threads) {
        const long long tile = t / (TILE * TILE), lane = t % (TILE * TILE);
        const long long i = tile / (across * along) * TILE + lane / TILE;
        const long long j = tile / along % across * TILE + lane % TILE;
        const long long bottom = tile % along * STRETCH;
        if (i >= nx || j >= ny) continue;
        double sum[STRETCH];
        for (int s = 0; s < STRETCH; ++s) sum[s] = 0.0;
        for (long long e = start[tile]; e < start[tile + 1]; ++e) {
            const int image = entries[e], g = owners[image], degree = degrees[g];
            const double di = i - centres[3 * image], dj = j - centres[3 * image + 1];
            const double u = di * steps[0], v = di * steps[1] + dj * steps[4];
            const double square = u * u + v * v, radius = radii[g];
            if (square > radius * radius) continue;
            double p[MOST];
            for (int c = 0; c <= degree; ++c) p[c] = 0.0;
            double by_u = exp(-exponents[g] * square);
            const double* value = cartesian + offsets[g];
            for (int a = 0; a <= degree; ++a, by_u *= u) {
                double power = by_u;
                for (int b = 0; b <= degree - a; ++b, power *= v)
                    for (int c = 0; c <= degree - a - b; ++c) p[c] += power * *value++;
            }
            const double foot = (bottom - centres[3 * image + 2]) * h + di * steps[2]
                                + dj * steps[5];
            const long long row = g * width + bottom - first[image];
            for (int s = 0; s < STRETCH; ++s) {
                const double w = foot + s * h;
                if (fabs(w) > radius) continue;
                double total = p[degree];
                for (int c = degree - 1; c >= 0; --c) total = total * w + p[c];
                sum[s] += total * bell(table, row + s, exponents[g], w);
            }
        }
        double* column = out + (i * ny + j) * nz + bottom;
        for (int s = 0; s < STRETCH && bottom + s < nz; ++s) column[s] += sum[s];
    }
}

// Sums over a plane i of the grid times v^b w^c, for each image that reaches it; lines are rows of
// `size`, b running fastest.
KERNEL plane_moments(const double* grid, const long long* shape, const double* steps,
                     const int* plane_images, const int* planes, const double* centres,
                     const int* owners, const int* first, const double* table, long long width,
                     const int* degrees, const double* exponents, const double* radii,
                     long long extra, long long size, double* lines, long long n_planes) {
    const long long ny = shape[1], nz = shape[2];
    const double h = steps[8];
    FOR_EACH(t, n_planes) {
        const int image = plane_images[t], g = owners[image];
        const int degree = degrees[g] + (int)extra;
        const double di = planes[t] - centres[3 * image], radius = radii[g];
        const double u = di * steps[0], chord = radius * radius - u * u;
        double* line = lines + t * size;
        for (long long n = 0; n < size; ++n) line[n] = 0.0;
        if (chord < 0.0) continue;
        const double middle = centres[3 * image + 1] - di * steps[1] / steps[4];
        const double reach = sqrt(chord) / steps[4];
        const long long low = (long long)ceil(middle - reach), high = (long long)floor(middle + reach);
        for (long long j = low < 0 ? 0 : low; j <= high && j < ny; ++j) {
            const double dj = j - centres[3 * image + 1];
            const double v = di * steps[1] + dj * steps[4], square = u * u + v * v;
            if (square > radius * radius) continue;
            const double lean = di * steps[2] + dj * steps[5];
            const double foot = centres[3 * image + 2] - lean / h;
            long long k = (long long)floor(foot - radius / h);
            if (k < 0) k = 0;
            double m[MOST];
            for (int c = 0; c <= degree; ++c) m[c] = 0.0;
            const double* column = grid + ((long long)planes[t] * ny + j) * nz;
            for (; k < nz && k <= foot + radius / h + 1.0; ++k) {
                const double w = (k - centres[3 * image + 2]) * h + lean;
                if (fabs(w) > radius) continue;
                double value = column[k]
                               * bell(table, g * width + k - first[image], exponents[g], w);
                for (int c = 0; c <= degree; ++c, value *= w) m[c] += value;
            }
            const double factor = exp(-exponents[g] * square);
            double* place = line;
            for (int c = 0; c <= degree; ++c) {
                double power = factor * m[c];
                for (int b = 0; b <= degree - c; ++b, power *= v) *place++ += power;
            }
        }
    }
}

// Moments of each Gaussian from the lines of its planes, which follow one another.
KERNEL join_planes(const double* lines, long long size, const long long* plane_start,
                   const int* plane_images, const int* planes, const double* centres,
                   const double* steps, const long long* offsets, const int* degrees,
                   long long extra, double* out, long long n_gaussians) {
    FOR_EACH(g, n_gaussians) {
        const int degree = degrees[g] + (int)extra;
        for (long long t = plane_start[g]; t < plane_start[g + 1]; ++t) {
            const double u = (planes[t] - centres[3 * plane_images[t]]) * steps[0];
            double power = 1.0;
            double* place = out + offsets[g];
            for (int a = 0; a <= degree; ++a, power *= u)
                for (int b = 0; b <= degree - a; ++b)
                    for (int c = 0; c <= degree - a - b; ++c) {
                        // Row c starts after those of the lower powers of w.
                        const int row = c * (degree + 1) - c * (c - 1) / 2;
                        *place++ += power * lines[t * size + row + b];
                    }
        }
    }
}
