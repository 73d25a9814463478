/* torch_file.h - the files that torch.save() writes: a zip archive of a pickle and of stored values.
 *
 * Opening reads the list of tensors only; values come front to back as they are asked for, however large the
 * tensor is. Nothing in the file is run (unpickle.h). A file belongs to one thread. */
#ifndef TRM_ENGINE_DATA_TORCH_FILE_H
#define TRM_ENGINE_DATA_TORCH_FILE_H

#include "engine/data/unpickle.h"

typedef struct data_torch_file data_torch_file;

/* Opens `path` and lists its tensors, each with as many bytes in the archive as its shape needs. TRM_FORMAT, also for
 * compressed entries, which torch.save() does not write; TRM_IO. */
trm_status data_torch_open(const char *path, data_torch_file **file, trm_error *err);
void data_torch_close(data_torch_file *file); /* NULL is fine */

size_t data_torch_count(const data_torch_file *file);
const struct data_pickled_tensor *data_torch_at(const data_torch_file *file, size_t index); /* index < count */

/* Stores `count` values of tensor `index`, as f32, in `out`. `first` is 0, or where the last call ended; the call that
 * reaches the end of the tensor checks its checksum. TRM_FORMAT also for values that are not finite. */
trm_status data_torch_read(data_torch_file *file, size_t index, size_t first, float *out, size_t count, trm_error *err);

#endif
