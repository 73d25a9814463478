/* matmul.c - the adapter to oneDNN, with the plain loops beside it.
 *
 * Why its own file: the API of oneDNN changed between 2.6 (Debian 12) and 3.x (Debian 13), and its
 * traps are many (DESIGN section 3): runtime dimensions and transposed destinations fall to
 * reference kernels, two OpenMP threads inside one product lose half of the speed. All of that is
 * known here and nowhere else. A context and its plans are owned by one thread. */
#include "engine/ops/matmul.h"

#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/ops/bf16.h"

enum { MATMUL_RANK = 3, ALIGNMENT = 64 };

struct op_context {
    enum trm_backend backend;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    void *scratch; /* [scratch_size] bytes, shared by the context's plans */
    size_t scratch_size;
};

struct op_matmul {
    op_context *context;
    struct op_matmul_shape shape;
    size_t packed_size;
    dnnl_primitive_t primitive;
    dnnl_memory_t a, b, c, scratch;
    dnnl_memory_t plain_b; /* f32 as the caller stores it: the source of packing */
    dnnl_primitive_t packer;
};

static trm_status dnnl_fail(trm_error *err, dnnl_status_t status, const char *what) {
    return trm_fail(err, status == dnnl_out_of_memory ? TRM_NO_MEMORY : TRM_UNSUPPORTED, "oneDNN: %s failed (%d)", what,
                    (int)status);
}

/* Every call below first pins oneDNN to the calling thread: the setting is per thread and cheap. */
static void run_single_threaded(void) {
    omp_set_num_threads(1);
}

trm_status op_context_create(enum trm_backend backend, op_context **out, trm_error *err) {
    op_context *context = calloc(1, sizeof *context);
    if (!context)
        return trm_fail_memory(err, sizeof *context);
    context->backend = backend;
    if (backend == TRM_BACKEND_ONEDNN) {
        run_single_threaded();
        dnnl_status_t status = dnnl_engine_create(&context->engine, dnnl_cpu, 0);
        if (status == dnnl_success)
            status = dnnl_stream_create(&context->stream, context->engine, dnnl_stream_default_flags);
        if (status != dnnl_success) {
            op_context_destroy(context);
            return dnnl_fail(err, status, "creating an engine");
        }
    }
    *out = context;
    return TRM_OK;
}

void op_context_destroy(op_context *context) {
    if (!context)
        return;
    if (context->stream)
        dnnl_stream_destroy(context->stream);
    if (context->engine)
        dnnl_engine_destroy(context->engine);
    free(context->scratch);
    free(context);
}

enum trm_backend op_context_backend(const op_context *context) {
    return context->backend;
}

const char *op_library_version(char *text, size_t size) {
    const dnnl_version_t *version = dnnl_version();
    snprintf(text, size, "oneDNN %d.%d.%d", version->major, version->minor, version->patch);
    return text;
}

/* True if this CPU has bf16 dot products, which run at twice the rate of f32. */
static bool has_fast_bf16(void) {
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx512bf16");
#else
    return false;
#endif
}

enum trm_dtype op_settle_dtype(enum trm_backend backend, enum trm_dtype dtype) {
    if (dtype != TRM_DTYPE_AUTO)
        return dtype;
    return backend == TRM_BACKEND_ONEDNN && has_fast_bf16() ? TRM_DTYPE_BF16 : TRM_DTYPE_F32;
}

enum op_dtype op_operand_type(enum trm_dtype dtype) {
    return dtype == TRM_DTYPE_BF16 ? OP_BF16 : OP_F32;
}

/* ---- shapes ---- */

static void fill_defaults(struct op_matmul_shape *s) {
    if (s->batch == 0)
        s->batch = 1;
    if (s->lda == 0)
        s->lda = s->a_transposed ? s->m : s->k;
    if (s->ldb == 0)
        s->ldb = s->b_transposed ? s->k : s->n;
    if (s->ldc == 0)
        s->ldc = s->n;
    if (s->a_step == 0)
        s->a_step = (size_t)s->m * (size_t)s->k;
    if (s->b_step == 0)
        s->b_step = (size_t)s->k * (size_t)s->n;
    if (s->c_step == 0)
        s->c_step = (size_t)s->m * (size_t)s->n;
}

static trm_status check_shape(const struct op_matmul_shape *s, trm_error *err) {
    if (s->batch < 0 || s->m <= 0 || s->n <= 0 || s->k <= 0)
        return trm_fail(err, TRM_INVALID, "matrix product of %d x [%d, %d] by [%d, %d]", s->batch, s->m, s->k, s->k,
                        s->n);
    return TRM_OK;
}

/* ---- reference ---- */

static float element(const void *matrix, enum op_dtype dtype, size_t index) {
    return dtype == OP_BF16 ? op_bf16_to_f32(((const op_bf16 *)matrix)[index]) : ((const float *)matrix)[index];
}

/* Where the caller stores element [k, j] of B. */
static size_t b_index(const struct op_matmul_shape *s, int k, int j) {
    return s->b_transposed ? (size_t)j * (size_t)s->ldb + (size_t)k : (size_t)k * (size_t)s->ldb + (size_t)j;
}

/* The reference's packed form: dense [k, n]. */
static void pack_reference(const struct op_matmul_shape *s, const float *b, void *packed) {
    for (int k = 0; k < s->k; k++)
        for (int j = 0; j < s->n; j++) {
            const float value = b[b_index(s, k, j)];
            const size_t to = (size_t)k * (size_t)s->n + (size_t)j;
            if (s->dtype == OP_BF16)
                ((op_bf16 *)packed)[to] = op_bf16_round(value);
            else
                ((float *)packed)[to] = value;
        }
}

static void run_reference(const struct op_matmul_shape *s, const void *a, const void *b, float *c) {
    for (int batch = 0; batch < s->batch; batch++) {
        size_t a0 = s->a_shared ? 0 : (size_t)batch * s->a_step;
        size_t b0 = s->b_packed ? 0 : (size_t)batch * s->b_step;
        size_t c0 = (size_t)batch * s->c_step;
        for (int i = 0; i < s->m; i++)
            for (int j = 0; j < s->n; j++) {
                size_t at = c0 + (size_t)i * (size_t)s->ldc + (size_t)j;
                float sum = s->accumulate ? c[at] : 0.0f;
                for (int k = 0; k < s->k; k++) {
                    size_t ai = s->a_transposed ? (size_t)k * (size_t)s->lda + (size_t)i
                                                : (size_t)i * (size_t)s->lda + (size_t)k;
                    size_t bi = s->b_packed ? (size_t)k * (size_t)s->n + (size_t)j : b_index(s, k, j);
                    sum += element(a, s->dtype, a0 + ai) * element(b, s->dtype, b0 + bi);
                }
                c[at] = sum;
            }
    }
}

/* ---- oneDNN: the parts that differ between 2.x and 3.x ---- */

#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t memory_desc; /* opaque, owned */
typedef const_dnnl_memory_desc_t memory_desc_ref;

static dnnl_status_t desc_strided(memory_desc *desc, const dnnl_dims_t dims, dnnl_data_type_t type,
                                  const dnnl_dims_t strides) {
    return dnnl_memory_desc_create_with_strides(desc, MATMUL_RANK, dims, type, strides);
}

static dnnl_status_t desc_any(memory_desc *desc, const dnnl_dims_t dims, dnnl_data_type_t type) {
    return dnnl_memory_desc_create_with_tag(desc, MATMUL_RANK, dims, type, dnnl_format_tag_any);
}

static void desc_destroy(memory_desc *desc) {
    if (*desc)
        dnnl_memory_desc_destroy(*desc);
}

static memory_desc_ref desc_ref(const memory_desc *desc) {
    return *desc;
}

static dnnl_status_t matmul_desc(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const memory_desc *a,
                                 const memory_desc *b, const memory_desc *c, dnnl_primitive_attr_t attr) {
    return dnnl_matmul_primitive_desc_create(pd, engine, *a, *b, NULL, *c, attr);
}
#else
typedef dnnl_memory_desc_t memory_desc; /* a plain struct */
typedef const dnnl_memory_desc_t *memory_desc_ref;

static dnnl_status_t desc_strided(memory_desc *desc, const dnnl_dims_t dims, dnnl_data_type_t type,
                                  const dnnl_dims_t strides) {
    return dnnl_memory_desc_init_by_strides(desc, MATMUL_RANK, dims, type, strides);
}

static dnnl_status_t desc_any(memory_desc *desc, const dnnl_dims_t dims, dnnl_data_type_t type) {
    return dnnl_memory_desc_init_by_tag(desc, MATMUL_RANK, dims, type, dnnl_format_tag_any);
}

static void desc_destroy(memory_desc *desc) {
    (void)desc;
}

static memory_desc_ref desc_ref(const memory_desc *desc) {
    return desc;
}

static dnnl_status_t matmul_desc(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const memory_desc *a,
                                 const memory_desc *b, const memory_desc *c, dnnl_primitive_attr_t attr) {
    dnnl_matmul_desc_t desc;
    dnnl_status_t status = dnnl_matmul_desc_init(&desc, a, b, NULL, c);
    return status == dnnl_success ? dnnl_primitive_desc_create(pd, &desc, attr, engine, NULL) : status;
}
#endif

/* ---- oneDNN: planning ---- */

static dnnl_status_t create_attr(bool accumulate, dnnl_primitive_attr_t *attr) {
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t status = dnnl_primitive_attr_create(attr);
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user);
    if (status == dnnl_success && accumulate) {
        status = dnnl_post_ops_create(&ops);
        if (status == dnnl_success)
#if DNNL_VERSION_MAJOR >= 3
            status = dnnl_post_ops_append_sum(ops, 1.0f, 0, dnnl_data_type_undef);
#else
            status = dnnl_post_ops_append_sum(ops, 1.0f);
#endif
        if (status == dnnl_success)
            status = dnnl_primitive_attr_set_post_ops(*attr, ops);
        if (ops)
            dnnl_post_ops_destroy(ops);
    }
    return status;
}

static dnnl_status_t grow_scratch(op_context *context, size_t size) {
    if (size <= context->scratch_size)
        return dnnl_success;
    void *scratch = NULL;
    if (posix_memalign(&scratch, ALIGNMENT, size) != 0)
        return dnnl_out_of_memory;
    free(context->scratch);
    context->scratch = scratch;
    context->scratch_size = size;
    return dnnl_success;
}

static dnnl_status_t create_memory(dnnl_memory_t *memory, memory_desc_ref desc, dnnl_engine_t engine) {
    return dnnl_memory_create(memory, desc, engine, DNNL_MEMORY_NONE);
}

/* The reorder from the caller's plain f32 matrix to the layout that the product wants. */
static dnnl_status_t plan_packing(op_matmul *mm, memory_desc_ref packed_desc) {
    const struct op_matmul_shape *s = &mm->shape;
    dnnl_engine_t engine = mm->context->engine;
    const dnnl_dims_t dims = {1, s->k, s->n};
    const dnnl_dims_t strides = {(dnnl_dim_t)s->k * s->n, s->b_transposed ? 1 : s->ldb, s->b_transposed ? s->ldb : 1};
    memory_desc plain = {0};
    dnnl_primitive_desc_t pd = NULL;
    dnnl_status_t status = desc_strided(&plain, dims, dnnl_f32, strides);
    if (status == dnnl_success)
        status = dnnl_reorder_primitive_desc_create(&pd, desc_ref(&plain), engine, packed_desc, engine, NULL);
    if (status == dnnl_success)
        status = dnnl_primitive_create(&mm->packer, pd);
    if (status == dnnl_success)
        status = create_memory(&mm->plain_b, desc_ref(&plain), engine);
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    desc_destroy(&plain);
    mm->packed_size = dnnl_memory_desc_get_size(packed_desc);
    return status;
}

static dnnl_status_t execute(const op_matmul *mm, dnnl_memory_t a, dnnl_memory_t b, dnnl_memory_t c) {
    const dnnl_exec_arg_t args[] = {
        {DNNL_ARG_SRC, a}, {DNNL_ARG_WEIGHTS, b}, {DNNL_ARG_DST, c}, {DNNL_ARG_SCRATCHPAD, mm->scratch}};
    dnnl_memory_set_data_handle(mm->scratch, mm->context->scratch);
    return dnnl_primitive_execute(mm->primitive, mm->context->stream, (int)(sizeof args / sizeof *args), args);
}

/* Runs once on memory of its own: oneDNN 2.6 compiles the kernels of strided products when they first run, which
 * takes as long as many supervision steps. */
static dnnl_status_t warm_up(const op_matmul *mm) {
    const dnnl_memory_t operands[] = {mm->a, mm->b, mm->c};
    dnnl_memory_t own[3] = {NULL};
    dnnl_status_t status = dnnl_success;
    for (int i = 0; i < 3 && status == dnnl_success; i++) {
        memory_desc_ref desc;
        status = dnnl_memory_get_memory_desc(operands[i], &desc);
        if (status == dnnl_success)
            status = dnnl_memory_create(&own[i], desc, mm->context->engine, DNNL_MEMORY_ALLOCATE);
    }
    if (status == dnnl_success)
        status = execute(mm, own[0], own[1], own[2]);
    for (int i = 0; i < 3; i++)
        if (own[i])
            dnnl_memory_destroy(own[i]);
    return status;
}

static dnnl_status_t plan(op_matmul *mm, bool *slow) {
    const struct op_matmul_shape *s = &mm->shape;
    dnnl_engine_t engine = mm->context->engine;
    dnnl_data_type_t type = s->dtype == OP_BF16 ? dnnl_bf16 : dnnl_f32;
    const dnnl_dims_t a_dims = {s->a_shared ? 1 : s->batch, s->m, s->k};
    const dnnl_dims_t b_dims = {s->b_packed ? 1 : s->batch, s->k, s->n};
    const dnnl_dims_t c_dims = {s->batch, s->m, s->n};
    const dnnl_dims_t a_strides = {(dnnl_dim_t)s->a_step, s->a_transposed ? 1 : s->lda, s->a_transposed ? s->lda : 1};
    const dnnl_dims_t b_strides = {(dnnl_dim_t)s->b_step, s->b_transposed ? 1 : s->ldb, s->b_transposed ? s->ldb : 1};
    const dnnl_dims_t c_strides = {(dnnl_dim_t)s->c_step, s->ldc, 1};
    memory_desc a = {0}, b = {0}, c = {0};
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    memory_desc_ref scratch_desc;
    const char *name = "";

    dnnl_status_t status = desc_strided(&a, a_dims, type, a_strides);
    if (status == dnnl_success)
        status = s->b_packed ? desc_any(&b, b_dims, type) : desc_strided(&b, b_dims, type, b_strides);
    if (status == dnnl_success)
        status = desc_strided(&c, c_dims, dnnl_f32, c_strides);
    if (status == dnnl_success)
        status = create_attr(s->accumulate, &attr);
    if (status == dnnl_success)
        status = matmul_desc(&pd, engine, &a, &b, &c, attr);
    if (status != dnnl_success)
        goto cleanup;

    dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &name);
    *slow = strstr(name, "ref") != NULL;
    scratch_desc = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    status = grow_scratch(mm->context, dnnl_memory_desc_get_size(scratch_desc));
    if (status == dnnl_success)
        status = dnnl_primitive_create(&mm->primitive, pd);
    if (status == dnnl_success)
        status = create_memory(&mm->scratch, scratch_desc, engine);
    if (status == dnnl_success)
        status = create_memory(&mm->a, desc_ref(&a), engine);
    if (status == dnnl_success)
        status = create_memory(&mm->b, dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0), engine);
    if (status == dnnl_success)
        status = create_memory(&mm->c, desc_ref(&c), engine);
    if (status == dnnl_success && s->b_packed)
        status = plan_packing(mm, dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0));
    if (status == dnnl_success && !*slow)
        status = warm_up(mm);

cleanup:
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    desc_destroy(&c);
    desc_destroy(&b);
    desc_destroy(&a);
    return status;
}

trm_status op_matmul_create(op_context *context, const struct op_matmul_shape *shape, op_matmul **out, trm_error *err) {
    trm_status result = check_shape(shape, err);
    if (result != TRM_OK)
        return result;
    op_matmul *mm = calloc(1, sizeof *mm);
    if (!mm)
        return trm_fail_memory(err, sizeof *mm);
    mm->context = context;
    mm->shape = *shape;
    fill_defaults(&mm->shape);
    mm->packed_size = (size_t)shape->k * (size_t)shape->n * sizeof(float);

    if (context->backend == TRM_BACKEND_ONEDNN) {
        bool slow = false;
        run_single_threaded();
        dnnl_status_t status = plan(mm, &slow);
        if (status != dnnl_success || slow) {
            op_matmul_destroy(mm);
            return slow ? trm_fail(err, TRM_UNSUPPORTED, "oneDNN has only a reference kernel for [%d, %d] x [%d, %d]",
                                   shape->m, shape->k, shape->k, shape->n)
                        : dnnl_fail(err, status, "planning a matrix product");
        }
    }
    *out = mm;
    return TRM_OK;
}

void op_matmul_destroy(op_matmul *mm) {
    if (!mm)
        return;
    dnnl_memory_t memories[] = {mm->a, mm->b, mm->c, mm->scratch, mm->plain_b};
    for (size_t i = 0; i < sizeof memories / sizeof *memories; i++)
        if (memories[i])
            dnnl_memory_destroy(memories[i]);
    if (mm->primitive)
        dnnl_primitive_destroy(mm->primitive);
    if (mm->packer)
        dnnl_primitive_destroy(mm->packer);
    free(mm);
}

/* ---- running ---- */

trm_status op_matmul_run(op_matmul *mm, const void *a, const void *b, float *c, trm_error *err) {
    if (mm->context->backend == TRM_BACKEND_REFERENCE) {
        run_reference(&mm->shape, a, b, c);
        return TRM_OK;
    }
    run_single_threaded();
    /* oneDNN takes one pointer type for what it reads and what it writes. */
    dnnl_memory_set_data_handle(mm->a, (void *)(uintptr_t)a);
    dnnl_memory_set_data_handle(mm->b, (void *)(uintptr_t)b);
    dnnl_memory_set_data_handle(mm->c, c);
    const dnnl_status_t status = execute(mm, mm->a, mm->b, mm->c);
    return status == dnnl_success ? TRM_OK : dnnl_fail(err, status, "a matrix product");
}

size_t op_matmul_packed_size(const op_matmul *mm) {
    return mm->packed_size;
}

trm_status op_matmul_pack(op_matmul *mm, const float *b, void *packed, trm_error *err) {
    const struct op_matmul_shape *s = &mm->shape;
    if (mm->context->backend == TRM_BACKEND_REFERENCE) {
        pack_reference(s, b, packed);
        return TRM_OK;
    }
    run_single_threaded();
    dnnl_memory_set_data_handle(mm->plain_b, (void *)(uintptr_t)b);
    dnnl_memory_set_data_handle(mm->b, packed);
    const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, mm->plain_b}, {DNNL_ARG_TO, mm->b}};
    dnnl_status_t status =
        dnnl_primitive_execute(mm->packer, mm->context->stream, (int)(sizeof args / sizeof *args), args);
    return status == dnnl_success ? TRM_OK : dnnl_fail(err, status, "packing weights");
}
