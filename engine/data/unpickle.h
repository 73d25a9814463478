/* unpickle.h - the list of tensors in a state dict that PyTorch pickled.
 *
 * A pickle is a program, and Python's machine for it can call any function of any module. This one can
 * call nothing: it knows the instructions and the names that torch.save() writes for a state dict
 * (golden README section 7), keeps what they say about tensors, and refuses everything else. */
#ifndef TRM_ENGINE_DATA_UNPICKLE_H
#define TRM_ENGINE_DATA_UNPICKLE_H

#include "engine/model/safetensors.h"

/* The largest pickle that is read: a model of hundreds of tensors has some 100 KB. */
enum { DATA_PICKLE_MAX = 1 << 20 };

struct data_pickled_tensor {
    char name[128];   /* printable ASCII */
    char storage[16]; /* digits: the archive has its values as data/<storage>, all of them and no others, */
    enum st_dtype dtype;
    int rank; /* in row-major order */
    size_t shape[ST_MAX_RANK];
    size_t count; /* product of the shape; count values of dtype fit a size_t */
};

/* Reads the pickle `bytes` [size] into fresh memory, *tensors [*count], that the caller frees. TRM_FORMAT says at
 * which byte what is wrong. Any thread. */
trm_status data_unpickle(const uint8_t *bytes, size_t size, struct data_pickled_tensor **tensors, size_t *count,
                         trm_error *err);

#endif
