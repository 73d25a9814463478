/* matmul.c - the adapter to oneDNN, with the plain loops beside it.
 *
 * Why its own file: the API of oneDNN changed between 2.6 (Debian 12) and 3.x (Debian 13), and its
 * traps are many (DESIGN section 3): runtime dimensions and transposed destinations fall to
 * reference kernels, two OpenMP threads inside one product lose half of the speed, a batched product
 * (rank 3) copies its right operand at every run where a plain one (rank 2) takes it packed, which
 * costs 5 to 15%. All of that is known here and nowhere else. A context and its plans are owned by
 * one thread. */
#include "engine/ops/matmul.h"

#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/ops/bf16.h"

enum { ALIGNMENT = 64 };

struct op_context {
    enum trm_backend backend;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    void *scratch; /* [scratch_size] bytes, shared by the context's plans */
    size_t scratch_size;
    struct op_meter meter;
};

struct op_matmul {
    op_context *context;
    struct op_matmul_shape shape;
    size_t packed_size;
    dnnl_primitive_t primitive;
    dnnl_memory_t a, b, c, scratch;
    dnnl_memory_t plain_b; /* as the caller stores it: the source of packing */
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

struct op_meter *op_context_meter(op_context *context) {
    return &context->meter;
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

size_t op_operand_size(enum op_dtype dtype) {
    return dtype == OP_F32 ? sizeof(float) : dtype == OP_BF16 ? sizeof(op_bf16) : sizeof(int8_t);
}

enum op_dtype op_passed_type(enum op_dtype dtype) {
    return dtype == OP_INT8 ? OP_F32 : dtype;
}

enum op_dtype op_operand_type(enum trm_dtype dtype) {
    return dtype == TRM_DTYPE_BF16 ? OP_BF16 : dtype == TRM_DTYPE_INT8 ? OP_INT8 : OP_F32;
}

/* True where 8-bit sums are exact: without VNNI, pairs of products are summed in saturating 16 bits. */
static bool has_vnni(void) {
    const unsigned isa = dnnl_get_effective_cpu_isa();
    return (isa & dnnl_cpu_isa_avx512_core_vnni) == dnnl_cpu_isa_avx512_core_vnni ||
           (isa & dnnl_cpu_isa_avx2_vnni) == dnnl_cpu_isa_avx2_vnni;
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
    if (s->batch < 0 || s->m <= 0 || s->n <= 0 || s->k <= 0 || (s->b_packed && s->batch > 1))
        return trm_fail(err, TRM_INVALID, "matrix product of %d x [%d, %d] by [%d, %d]", s->batch, s->m, s->k, s->k,
                        s->n);
    if (s->dtype == OP_INT8 && s->k > OP_INT8_MAX_K)
        return trm_fail(err, TRM_UNSUPPORTED, "8-bit sums of %d products can leave 32 bits", s->k);
    return TRM_OK;
}

/* ---- reference ---- */

static float element(const void *matrix, enum op_dtype dtype, size_t index) {
    return dtype == OP_BF16 ? op_bf16_to_f32(((const op_bf16 *)matrix)[index]) : ((const float *)matrix)[index];
}

/* A row of A or a column of B: element i is at first + i * step. */
struct place {
    size_t first, step;
};

static struct place row_of(const struct op_matmul_shape *s, int i) {
    return s->a_transposed ? (struct place){(size_t)i, (size_t)s->lda} : (struct place){(size_t)i * (size_t)s->lda, 1};
}

static struct place column_of(const struct op_matmul_shape *s, int j) {
    return s->b_transposed ? (struct place){(size_t)j * (size_t)s->ldb, 1} : (struct place){(size_t)j, (size_t)s->ldb};
}

/* The reference's packed form: dense [k, n]. */
static void pack_reference(const struct op_matmul_shape *s, const void *b, void *packed) {
    for (int j = 0; j < s->n; j++) {
        const struct place column = column_of(s, j);
        for (int k = 0; k < s->k; k++) {
            const size_t from = column.first + (size_t)k * column.step, to = (size_t)k * (size_t)s->n + (size_t)j;
            if (s->dtype == OP_INT8)
                ((int8_t *)packed)[to] = ((const int8_t *)b)[from];
            else if (s->dtype == OP_BF16)
                ((op_bf16 *)packed)[to] = op_bf16_round(((const float *)b)[from]);
            else
                ((float *)packed)[to] = ((const float *)b)[from];
        }
    }
}

static float sum_f32(const struct op_matmul_shape *s, const void *a, struct place row, const void *b,
                     struct place column, float sum) {
    for (int k = 0; k < s->k; k++)
        sum += element(a, s->dtype, row.first + (size_t)k * row.step) *
               element(b, s->dtype, column.first + (size_t)k * column.step);
    return sum;
}

static int32_t sum_int8(const struct op_matmul_shape *s, const void *a, struct place row, const void *b,
                        struct place column, int32_t sum) {
    for (int k = 0; k < s->k; k++)
        sum += ((const uint8_t *)a)[row.first + (size_t)k * row.step] *
               ((const int8_t *)b)[column.first + (size_t)k * column.step];
    return sum;
}

static void run_reference(const struct op_matmul_shape *s, const void *a, const void *b, void *c) {
    float *c_f32 = c;
    int32_t *c_int32 = c;
    for (int batch = 0; batch < s->batch; batch++)
        for (int i = 0; i < s->m; i++)
            for (int j = 0; j < s->n; j++) {
                const size_t at = (size_t)batch * s->c_step + (size_t)i * (size_t)s->ldc + (size_t)j;
                struct place row = row_of(s, i), column = column_of(s, j);
                if (s->b_packed)
                    column = (struct place){(size_t)j, (size_t)s->n};
                row.first += s->a_shared ? 0 : (size_t)batch * s->a_step;
                column.first += (size_t)batch * s->b_step;
                if (s->dtype == OP_INT8)
                    c_int32[at] = sum_int8(s, a, row, b, column, s->accumulate ? c_int32[at] : 0);
                else
                    c_f32[at] = sum_f32(s, a, row, b, column, s->accumulate ? c_f32[at] : 0.0f);
            }
}

/* ---- oneDNN: matrices ---- */

/* How a matrix lies in memory, as oneDNN takes it. */
struct matrix {
    int rank; /* 2, or 3 with the batch first */
    dnnl_dims_t dims, strides;
};

static struct matrix plain_matrix(int rows, int cols, int row_stride, int col_stride) {
    return (struct matrix){.rank = 2, .dims = {rows, cols}, .strides = {row_stride, col_stride}};
}

static struct matrix batched_matrix(int batch, size_t step, struct matrix m) {
    return (struct matrix){
        .rank = 3, .dims = {batch, m.dims[0], m.dims[1]}, .strides = {(dnnl_dim_t)step, m.strides[0], m.strides[1]}};
}

/* ---- oneDNN: the parts that differ between 2.x and 3.x ---- */

#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t memory_desc; /* opaque, owned */
typedef const_dnnl_memory_desc_t memory_desc_ref;

static dnnl_status_t desc_strided(memory_desc *desc, const struct matrix *m, dnnl_data_type_t type) {
    return dnnl_memory_desc_create_with_strides(desc, m->rank, m->dims, type, m->strides);
}

static dnnl_status_t desc_any(memory_desc *desc, const struct matrix *m, dnnl_data_type_t type) {
    return dnnl_memory_desc_create_with_tag(desc, m->rank, m->dims, type, dnnl_format_tag_any);
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

static dnnl_status_t desc_strided(memory_desc *desc, const struct matrix *m, dnnl_data_type_t type) {
    return dnnl_memory_desc_init_by_strides(desc, m->rank, m->dims, type, m->strides);
}

static dnnl_status_t desc_any(memory_desc *desc, const struct matrix *m, dnnl_data_type_t type) {
    return dnnl_memory_desc_init_by_tag(desc, m->rank, m->dims, type, dnnl_format_tag_any);
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

/* The types of a plan's operands and of its result. */
struct types {
    dnnl_data_type_t a, b, c;
};

static struct types types_of(enum op_dtype dtype) {
    switch (dtype) {
    case OP_INT8:
        return (struct types){dnnl_u8, dnnl_s8, dnnl_s32};
    case OP_BF16:
        return (struct types){dnnl_bf16, dnnl_bf16, dnnl_f32};
    default:
        return (struct types){dnnl_f32, dnnl_f32, dnnl_f32};
    }
}

static struct matrix a_matrix(const struct op_matmul_shape *s) {
    return plain_matrix(s->m, s->k, s->a_transposed ? 1 : s->lda, s->a_transposed ? s->lda : 1);
}

static struct matrix b_matrix(const struct op_matmul_shape *s) {
    return plain_matrix(s->k, s->n, s->b_transposed ? 1 : s->ldb, s->b_transposed ? s->ldb : 1);
}

/* The reorder from the caller's plain matrix to the layout that the product wants. */
static dnnl_status_t plan_packing(op_matmul *mm, memory_desc_ref packed_desc) {
    const struct op_matmul_shape *s = &mm->shape;
    dnnl_engine_t engine = mm->context->engine;
    const struct matrix b = b_matrix(s);
    memory_desc plain = {0};
    dnnl_primitive_desc_t pd = NULL;
    dnnl_status_t status = desc_strided(&plain, &b, s->dtype == OP_INT8 ? dnnl_s8 : dnnl_f32);
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
    const struct types types = types_of(s->dtype);
    struct matrix a_lies = a_matrix(s), b_lies = b_matrix(s), c_lies = plain_matrix(s->m, s->n, s->ldc, 1);
    memory_desc a = {0}, b = {0}, c = {0};
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    memory_desc_ref scratch_desc;
    const char *name = "";

    if (!s->b_packed) {
        a_lies = batched_matrix(s->a_shared ? 1 : s->batch, s->a_step, a_lies);
        b_lies = batched_matrix(s->batch, s->b_step, b_lies);
        c_lies = batched_matrix(s->batch, s->c_step, c_lies);
    }
    dnnl_status_t status = desc_strided(&a, &a_lies, types.a);
    if (status == dnnl_success)
        status = s->b_packed ? desc_any(&b, &b_lies, types.b) : desc_strided(&b, &b_lies, types.b);
    if (status == dnnl_success)
        status = desc_strided(&c, &c_lies, types.c);
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
    if (result == TRM_OK && shape->dtype == OP_INT8 && context->backend == TRM_BACKEND_ONEDNN && !has_vnni())
        result = trm_fail(err, TRM_UNSUPPORTED, "this CPU has no instructions for exact 8-bit products (VNNI)");
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
        static const char *const NAMES[] = {[OP_F32] = "f32", [OP_BF16] = "bf16", [OP_INT8] = "int8"};
        bool slow = false;
        run_single_threaded();
        dnnl_status_t status = plan(mm, &slow);
        if (status != dnnl_success || slow) {
            op_matmul_destroy(mm);
            return slow || status == dnnl_unimplemented
                       ? trm_fail(err, TRM_UNSUPPORTED,
                                  "oneDNN has no fast %s kernel for [%d, %d] x [%d, %d] on this CPU",
                                  NAMES[shape->dtype], shape->m, shape->k, shape->k, shape->n)
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

static trm_status run_product(op_matmul *mm, const void *a, const void *b, void *c, trm_error *err) {
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

static double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

trm_status op_matmul_run(op_matmul *mm, const void *a, const void *b, void *c, trm_error *err) {
    struct op_meter *meter = &mm->context->meter;
    if (!meter->on)
        return run_product(mm, a, b, c, err);
    const double start = seconds_now();
    trm_status status = run_product(mm, a, b, c, err);
    meter->seconds += seconds_now() - start;
    meter->flops += 2.0 * mm->shape.batch * mm->shape.m * mm->shape.n * mm->shape.k;
    return status;
}

size_t op_matmul_packed_size(const op_matmul *mm) {
    return mm->packed_size;
}

trm_status op_matmul_pack(op_matmul *mm, const void *b, void *packed, trm_error *err) {
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
