/* Runs recipes on images with more than 8 bits a value. */
#include "deep.h"
#include "transform.h"

#include "../core/integers.h"

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

/* Crops and resizes that come first read the caller's image, row by row. */
static bool reads_source(const nf_recipe *recipe) {
    nf_transform_kind first = recipe->count ? recipe->transforms[0].kind : NF_HORIZONTAL_FLIP;
    return first == NF_RANDOM_RESIZED_CROP || first == NF_RESIZE || first == NF_RANDOM_CROP || first == NF_CENTER_CROP;
}

static nf_status measure(nf_deep_room *room, const nf_recipe *recipe, nf_extent in) {
    size_t channels = (size_t)recipe->channels;
    for (int64_t i = 0; i <= recipe->count; i++) {
        if (i > 0 || !reads_source(recipe))
            room->pixels = nf_larger(room->pixels, (size_t)in.height * (size_t)in.width * channels);
        if (i == recipe->count)
            break;
        const nf_transform *transform = &recipe->transforms[i];
        nf_deep_scratch_size *scratch_size = OPERATIONS[transform->kind].scratch_size;
        if (scratch_size)
            room->scratch = nf_larger(room->scratch, scratch_size(transform, in, recipe->channels));
        const nf_transform_type *type = nf_transform_types[transform->kind];
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
        record += nf_transform_types[kind]->draw_size;
    }
    store(job->out + index * view->height * view->width * recipe->channels, view, job);
}

nf_status nf_deep_apply(const nf_deep_job *job) {
    deep_run run = {.job = job};
    const nf_recipe *recipe = job->recipe;
    if (recipe->pixel_type == NF_PIXEL_FLOAT)
        NF_TRY(nf_check_floats(job->images, job->count, recipe->channels, "images"));
    nf_deep_room room = {0};
    for (int64_t n = 0; n < job->count; n++)
        NF_TRY(measure(&room, recipe, (nf_extent){job->images[n].height, job->images[n].width}));
    int64_t tasks = recipe->views * job->count;
    int workers = nf_workers(tasks);
    void *memory;
    NF_TRY(nf_deep_views_alloc(run.views, &memory, workers, room, recipe->pixel_type, recipe->channels));
    nf_status status = nf_parallel(make_view, &run, tasks, workers);
    nf_free(memory);
    return status;
}
