/* Runs recipes and single operations on images with more than 8 bits a value. */
#include "deep.h"
#include "transform.h"

#include "../core/integers.h"

#include <string.h>

/* What works on these images, and the names of what does not. */
static const struct {
    nf_deep_operation *apply;
    nf_deep_scratch_size *scratch_size; /* NULL: none */
    const char *name;
} OPERATIONS[] = {
    [NF_RANDOM_RESIZED_CROP] = {nf_deep_crop, nf_deep_crop_scratch, NULL},
    [NF_HORIZONTAL_FLIP] = {nf_deep_flip, NULL, NULL},
    [NF_COLOR_JITTER] = {nf_deep_jitter, NULL, NULL},
    [NF_GRAYSCALE] = {nf_deep_grayscale, NULL, NULL},
    [NF_GAUSSIAN_BLUR] = {nf_deep_blur, nf_deep_blur_scratch, NULL},
    [NF_SOLARIZE] = {nf_deep_solarize, NULL, NULL},
    [NF_POSTERIZE] = {NULL, NULL, "Posterize"},
    [NF_INVERT] = {nf_deep_invert, NULL, NULL},
    [NF_AUTOCONTRAST] = {nf_deep_autocontrast, NULL, NULL},
    [NF_EQUALIZE] = {NULL, NULL, "Equalize"},
    [NF_SHARPNESS] = {nf_deep_sharpen, NULL, NULL},
    [NF_PILLOW_BLUR] = {NULL, NULL, "PillowGaussianBlur"},
    [NF_GAUSSIAN_NOISE] = {nf_deep_noise, NULL, NULL},
    [NF_CUTOUT] = {nf_deep_cutout, NULL, NULL},
    [NF_JIGSAW] = {nf_deep_jigsaw, NULL, NULL},
    [NF_VERTICAL_FLIP] = {nf_deep_vertical_flip, NULL, NULL},
    [NF_RANDOM_ROTATION] = {nf_deep_rotate, nf_deep_warp_scratch, NULL},
    [NF_RANDOM_AFFINE] = {nf_deep_affine, nf_deep_warp_scratch, NULL},
    [NF_RANDOM_PERSPECTIVE] = {nf_deep_perspective, nf_deep_warp_scratch, NULL},
    [NF_RANDOM_CROP] = {nf_deep_random_crop, NULL, NULL},
    [NF_RANDOM_ERASING] = {nf_deep_erase, NULL, NULL},
    [NF_RESIZE] = {nf_deep_resize, nf_deep_resize_scratch, NULL},
    [NF_CENTER_CROP] = {nf_deep_center_crop, NULL, NULL},
};

nf_status nf_deep_check(const nf_recipe *recipe) {
    for (int64_t i = 0; i < recipe->count; i++) {
        nf_transform_kind kind = recipe->transforms[i].kind;
        if (!OPERATIONS[kind].apply)
            return nf_fail(NF_BAD_VALUE, "%s needs uint8 images, got %s", OPERATIONS[kind].name,
                           recipe->pixel_type == NF_PIXEL_SHORT ? "uint16" : "float32");
    }
    return NF_OK;
}

/* ---- One view ---- */

double nf_white(nf_pixel_type type) {
    return type == NF_PIXEL_BYTE ? 255 : type == NF_PIXEL_SHORT ? 65535 : 1;
}

void nf_deep_convert(float *out, const void *in, nf_pixel_type type, int64_t first, int64_t n) {
    if (type == NF_PIXEL_FLOAT)
        memcpy(out, (const float *)in + first, (size_t)n * sizeof *out);
    else
        for (int64_t i = 0; i < n; i++)
            out[i] = ((const uint16_t *)in)[first + i];
}

void nf_deep_read(float *out, const nf_deep_view *view, int64_t first, int64_t n) {
    if (view->source)
        nf_deep_convert(out, view->source, view->type, first, n);
    else
        memcpy(out, view->pixels + first, (size_t)n * sizeof *out);
}

void nf_deep_load(nf_deep_view *view) {
    if (!view->source)
        return;
    nf_deep_read(view->pixels, view, 0, view->height * view->width * view->channels);
    view->source = NULL;
}

void nf_deep_swap(nf_deep_view *view, nf_extent size) {
    float *pixels = view->spare;
    view->spare = view->pixels;
    view->pixels = pixels;
    view->source = NULL;
    view->height = size.height;
    view->width = size.width;
}

static void store(float *out, nf_deep_view *view, const nf_deep_job *job) {
    nf_deep_load(view);
    int64_t n = view->height * view->width, channels = view->channels;
    for (int64_t c = 0; c < channels; c++) {
        int64_t step = job->layout == NF_VIEW_NHWC ? channels : 1;
        float *to = job->layout == NF_VIEW_NHWC ? out + c : out + c * n;
        for (int64_t i = 0; i < n; i++)
            to[i * step] = view->pixels[i * channels + c] * job->scale[c] + job->offset[c];
    }
}

/* ---- Views of a recipe ---- */

typedef struct deep_sizes { /* the most that a view needs: floats of pixels, bytes of scratch */
    size_t pixels, scratch;
} deep_sizes;

/* Crops and resizes that come first read the caller's image, row by row. */
static bool reads_source(const nf_recipe *recipe) {
    nf_transform_kind first = recipe->count ? recipe->transforms[0].kind : NF_HORIZONTAL_FLIP;
    return first == NF_RANDOM_RESIZED_CROP || first == NF_RESIZE || first == NF_RANDOM_CROP || first == NF_CENTER_CROP;
}

static nf_status measure(deep_sizes *sizes, const nf_recipe *recipe, nf_extent in) {
    size_t channels = (size_t)recipe->channels;
    for (int64_t i = 0; i <= recipe->count; i++) {
        if (i > 0 || !reads_source(recipe))
            sizes->pixels = nf_larger(sizes->pixels, (size_t)in.height * (size_t)in.width * channels);
        if (i == recipe->count)
            break;
        const nf_transform *transform = &recipe->transforms[i];
        nf_deep_scratch_size *scratch_size = OPERATIONS[transform->kind].scratch_size;
        if (scratch_size)
            sizes->scratch = nf_larger(sizes->scratch, scratch_size(transform, in, recipe->channels));
        const nf_transform_type *type = nf_transform_type_of(transform->kind);
        if (type->plan)
            NF_TRY(type->plan(&in, transform, in, recipe->channels));
    }
    return NF_OK;
}

typedef struct deep_run {
    const nf_deep_job *job;
    nf_deep_view views[NF_MAX_THREADS];
} deep_run;

static void make_view(void *context, int64_t task, int worker) {
    deep_run *run = context;
    const nf_deep_job *job = run->job;
    const nf_recipe *recipe = job->recipe;
    int64_t n = task / recipe->views, index = task % recipe->views * job->count + n;
    nf_deep_view *view = &run->views[worker];
    view->source = job->images[n].pixels;
    view->height = job->images[n].height;
    view->width = job->images[n].width;
    const char *record = job->records + (size_t)index * job->record_size;
    for (int64_t i = 0; i < recipe->count; i++) {
        nf_transform_kind kind = recipe->transforms[i].kind;
        OPERATIONS[kind].apply(view, &recipe->transforms[i], record);
        record += nf_transform_type_of(kind)->draw_size;
    }
    store(job->out + index * view->height * view->width * recipe->channels, view, job);
}

/* The workers' memory: two buffers of pixels and scratch each, in one block for nf_free; none after a failure. */
static nf_status alloc_views(nf_deep_view views[NF_MAX_THREADS], void **memory, int workers, deep_sizes s,
                             nf_pixel_type type, int64_t channels) {
    if (s.pixels > PTRDIFF_MAX / 32 / NF_MAX_THREADS || s.scratch > PTRDIFF_MAX / 4 / NF_MAX_THREADS)
        return nf_fail(NF_NO_MEMORY, "out of memory: the images are too large");
    size_t scratch = (s.scratch + 63) / 64 * 64, pixels = (s.pixels + 15) / 16 * 16;
    size_t bytes = scratch + 2 * pixels * sizeof(float);
    NF_TRY(nf_alloc(memory, bytes * (size_t)workers));
    for (int i = 0; i < workers; i++) {
        char *own = (char *)*memory + bytes * (size_t)i;
        float *planes = (float *)(own + scratch);
        views[i] = (nf_deep_view){.type = type,
                                  .channels = channels,
                                  .white = (float)nf_white(type),
                                  .scratch = own,
                                  .pixels = planes,
                                  .spare = planes + pixels};
    }
    return NF_OK;
}

nf_status nf_deep_apply(const nf_deep_job *job) {
    deep_run run = {.job = job};
    const nf_recipe *recipe = job->recipe;
    if (recipe->pixel_type == NF_PIXEL_FLOAT)
        NF_TRY(nf_check_floats(job->images, job->count, recipe->channels, "images"));
    deep_sizes s = {0};
    for (int64_t n = 0; n < job->count; n++)
        NF_TRY(measure(&s, recipe, (nf_extent){job->images[n].height, job->images[n].width}));
    int64_t tasks = recipe->views * job->count;
    int workers = nf_workers(tasks);
    void *memory;
    NF_TRY(alloc_views(run.views, &memory, workers, s, recipe->pixel_type, recipe->channels));
    nf_status status = nf_parallel(make_view, &run, tasks, workers);
    nf_free(memory);
    return status;
}

/* ---- One operation on a batch ---- */

typedef struct deep_map {
    nf_deep_view views[NF_MAX_THREADS];
    void *out;
    int64_t out_size;
    const void *images;
    nf_images shape;
    nf_deep_image_operation operation;
    const void *arguments;
} deep_map;

static void store_shorts(uint16_t *out, const float *pixels, int64_t n) {
    const float whole = 0x1.8p23f; /* numbers of that size have no fraction, so adding it rounds */
    for (int64_t i = 0; i < n; i++) {
        float rounded = (nf_deep_clamp(pixels[i], 65535) + whole) - whole;
        out[i] = (uint16_t)(int32_t)rounded;
    }
}

static void map_one(void *context, int64_t task, int worker) {
    deep_map *job = context;
    nf_images shape = job->shape;
    nf_deep_view *view = &job->views[worker];
    int64_t size = shape.height * shape.width * shape.channels, first = task * job->out_size;
    bool is_short = shape.type == NF_PIXEL_SHORT;
    view->source = (const char *)job->images + task * size * (int64_t)nf_value_size(shape.type);
    view->height = shape.height;
    view->width = shape.width;
    view->channels = shape.channels;
    view->number = task;
    job->operation(view, job->arguments);
    nf_deep_load(view);
    if (is_short)
        store_shorts((uint16_t *)job->out + first, view->pixels, job->out_size);
    else
        memcpy((float *)job->out + first, view->pixels, (size_t)job->out_size * sizeof(float));
}

nf_status nf_deep_map_images(void *out, int64_t out_size, const void *images, nf_images shape, int64_t room,
                             size_t scratch_size, nf_deep_image_operation operation, const void *arguments) {
    NF_TRY(nf_check_images(images, shape));
    deep_map job = {.out = out,
                    .out_size = out_size,
                    .images = images,
                    .shape = shape,
                    .operation = operation,
                    .arguments = arguments};
    int workers = nf_workers(shape.count);
    void *memory;
    NF_TRY(
        alloc_views(job.views, &memory, workers, (deep_sizes){(size_t)room, scratch_size}, shape.type, shape.channels));
    nf_status status = nf_parallel(map_one, &job, shape.count, workers);
    nf_free(memory);
    return status;
}

nf_status nf_deep_map_alike(void *out, const void *images, nf_images shape, size_t scratch_size,
                            nf_deep_image_operation operation, const void *arguments) {
    int64_t size = shape.height * shape.width * shape.channels;
    return nf_deep_map_images(out, size, images, shape, size, scratch_size, operation, arguments);
}

typedef struct adjustment {
    void (*operation)(nf_deep_view *, double);
    double factor;
} adjustment;

static void adjust_one(nf_deep_view *view, const void *arguments) {
    const adjustment *a = arguments;
    a->operation(view, a->factor);
}

nf_status nf_deep_adjust(void *out, const void *images, nf_images shape, void (*operation)(nf_deep_view *, double),
                         double factor) {
    return nf_deep_map_alike(out, images, shape, 0, adjust_one, &(adjustment){operation, factor});
}
