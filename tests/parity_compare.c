/* parity_compare.c - judging differences. No state. */
#include <math.h>
#include <stdio.h>

#include "tests/parity.h"

trm_status parity_find(const st_file *file, const char *name, enum st_dtype dtype, size_t count,
                       const struct st_tensor **out, trm_error *err) {
    const struct st_tensor *tensor = st_find(file, name);
    if (!tensor || tensor->dtype != dtype || tensor->count != count)
        return trm_fail(err, TRM_FORMAT, "tensor %s is absent, or not %zu values of the expected type", name, count);
    *out = tensor;
    return TRM_OK;
}

void parity_compare(struct parity *parity, const char *name, const float *got, const float *want, size_t count,
                    double absolute, double relative, size_t outliers) {
    double worst = 0.0;
    size_t beyond = 0;
    for (size_t i = 0; i < count; i++) {
        double difference = fabs((double)got[i] - (double)want[i]);
        if (!(difference <= worst) && !isnan(worst))
            worst = difference;
        if (!(difference <= absolute + relative * fabs((double)want[i])))
            beyond++;
    }
    const bool passed = beyond <= outliers && !isnan(worst);
    printf("  %-44s worst %9.2e  tolerance %.0e + %.0e relative  ", name, worst, absolute, relative);
    if (beyond > 0)
        printf("%zu of %zu beyond it, %zu allowed  ", beyond, count, outliers);
    puts(passed ? "ok" : "FAILED");
    if (!passed)
        parity->passed = false;
}
