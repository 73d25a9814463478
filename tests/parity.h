/* parity.h - what the parts of the parity program share. One thread. */
#ifndef TRM_TESTS_PARITY_H
#define TRM_TESTS_PARITY_H

#include <stdbool.h>

#include "engine/engine.h"
#include "engine/model/checkpoint.h"
#include "engine/train/comm.h"

struct parity {
    bool passed;
    train_comm *comm; /* of training runs */
};

/* Runs the file's computation and compares. A returned error means that it could not be run;
 * differences are printed and clear parity->passed. */
trm_status parity_infer(const model_checkpoint *golden, enum trm_backend backend, struct parity *parity,
                        trm_error *err);
/* The run of `golden` in bf16 or int8: no further from the f32 values in it than the original's own bf16 run,
 * recorded in `original`, or than is usual where that is NULL. */
trm_status parity_infer_near(const model_checkpoint *golden, const st_file *original,
                             const struct trm_model_options *options, struct parity *parity, trm_error *err);
trm_status parity_train(const model_checkpoint *golden, enum trm_backend backend, struct parity *parity,
                        trm_error *err);

/* A tensor that must be there; prints nothing. */
trm_status parity_find(const st_file *file, const char *name, enum st_dtype dtype, size_t count,
                       const struct st_tensor **tensor, trm_error *err);

/* Prints "name worst difference (tolerance)" and judges: |got - want| <= absolute + relative * |want|
 * for all but `outliers` of the count values. NaN never passes. */
void parity_compare(struct parity *parity, const char *name, const float *got, const float *want, size_t count,
                    double absolute, double relative, size_t outliers);

#endif
