/* matmul.h - matrix products of fixed shape, and the only door to oneDNN.
 *
 * A product is planned once for its shape and then run many times. With the oneDNN backend a plan
 * is a primitive (single-threaded: the engine runs one worker per core); with the reference
 * backend it is three plain loops. Both take the same operands, so that each can stand in for the
 * other in a test.
 *
 * Threads: a context and the plans made from it belong to one thread. Packed matrices are plain
 * bytes: any thread may read them. */
#ifndef TRM_ENGINE_OPS_MATMUL_H
#define TRM_ENGINE_OPS_MATMUL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"
#include "engine/status.h"

typedef struct op_context op_context; /* a thread's stream and scratch memory */
typedef struct op_matmul op_matmul;   /* a plan */

/* OP_INT8: A is uint8_t, B is int8_t, C is int32_t, and every sum is exact. CPUs multiply no other signs
 * at full speed, so a signed left operand is stored with OP_INT8_ZERO added to each value, and the
 * reader of C subtracts OP_INT8_ZERO times the sum of B's column (struct op_int8_sums, kernels.h). */
enum op_dtype { OP_F32, OP_BF16, OP_INT8 };

enum { OP_INT8_ZERO = 128, OP_INT8_MAX_K = 65536 };

/* C[i] = A[i] B[i] (+ C[i]), i < batch: A[i] is [m, k], B[i] is [k, n], C[i] is [m, n], f32 or int32.
 * Zero-initialised members mean: f32, dense, plain, not accumulated. */
struct op_matmul_shape {
    int batch; /* 0 means 1; 1 where B is packed */
    int m, n, k;
    bool a_transposed;             /* A is stored [k, m] */
    bool b_transposed;             /* B is stored [n, k], as linear weights are */
    bool a_shared;                 /* one A for the whole batch */
    bool b_packed;                 /* B was rearranged by op_matmul_pack() */
    bool accumulate;               /* add to C */
    enum op_dtype dtype;           /* of A and B */
    int lda, ldb, ldc;             /* distance between stored rows in elements; 0: dense */
    size_t a_step, b_step, c_step; /* distance between batch elements; 0: dense */
};

trm_status op_context_create(enum trm_backend backend, op_context **context, trm_error *err);
void op_context_destroy(op_context *context); /* after its plans; NULL is fine */
enum trm_backend op_context_backend(const op_context *context);

/* What the context's products cost, while `on`: for profiles. The owner of the context reads and resets it. */
struct op_meter {
    bool on;
    double seconds; /* of the thread's processor time */
    double flops;
};
struct op_meter *op_context_meter(op_context *context);

/* TRM_UNSUPPORTED when oneDNN has no kernel for the shape on this CPU, or only its slow reference one, or, for OP_INT8,
 * when the CPU lacks VNNI (older instructions saturate sums of two products at 16 bits) or k > OP_INT8_MAX_K. */
trm_status op_matmul_create(op_context *context, const struct op_matmul_shape *shape, op_matmul **matmul,
                            trm_error *err);
void op_matmul_destroy(op_matmul *matmul); /* NULL is fine */

/* `a`, `b`: elements of shape.dtype (b packed where the shape says so); `c`: f32, or int32 for OP_INT8. */
trm_status op_matmul_run(op_matmul *matmul, const void *a, const void *b, void *c, trm_error *err);

/* For b_packed plans: the size of the packed matrix, and the packing from plain f32, or int8 for OP_INT8
 * (stored as b_transposed says). The packed layout of a weight does not depend on m. */
size_t op_matmul_packed_size(const op_matmul *matmul);
trm_status op_matmul_pack(op_matmul *matmul, const void *b, void *packed, trm_error *err);

/* Bytes of one operand element. */
size_t op_operand_size(enum op_dtype dtype);

/* The type in which operations hand arrays to each other: that of the operands, but f32 for OP_INT8, which
 * every operation quantises for itself. */
enum op_dtype op_passed_type(enum op_dtype dtype);

/* What AUTO comes to on this CPU: never int8; any other type is itself. */
enum trm_dtype op_settle_dtype(enum trm_backend backend, enum trm_dtype dtype);

/* The operands that a settled type stands for. */
enum op_dtype op_operand_type(enum trm_dtype dtype);

/* "oneDNN 2.6.3", for the log. */
const char *op_library_version(char *text, size_t size);

#endif
