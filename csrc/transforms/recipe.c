/* Recipes: drawing records, checking them, and running them, one view a task. */
#include "deep.h"
#include "normalize.h"
#include "transform.h"

#include "../core/integers.h"

/* ---- Checks ---- */

static nf_status check_recipe(const nf_recipe *recipe) {
    if (recipe->count < 0 || recipe->count > NF_MAX_TRANSFORMS)
        return nf_fail(NF_BAD_VALUE, "a recipe may have up to %d operations, got %lld", NF_MAX_TRANSFORMS,
                       (long long)recipe->count);
    if (recipe->views < 1 || recipe->views > NF_MAX_VIEWS)
        return nf_fail(NF_BAD_VALUE, "views must be in 1..%d, got %lld", NF_MAX_VIEWS, (long long)recipe->views);
    if (recipe->first_view < 0 || recipe->first_view > NF_MAX_VIEWS - recipe->views)
        return nf_fail(NF_BAD_VALUE, "there may be up to %d views, got views %lld to %lld", NF_MAX_VIEWS,
                       (long long)recipe->first_view, (long long)(recipe->first_view + recipe->views - 1));
    for (int64_t i = 0; i < recipe->count; i++)
        NF_TRY(nf_transform_check(&recipe->transforms[i]));
    return NF_OK;
}

size_t nf_recipe_record_size(const nf_recipe *recipe) {
    size_t size = 0;
    for (int64_t i = 0; i < recipe->count; i++)
        size += nf_transform_types[recipe->transforms[i].kind]->draw_size;
    return size;
}

static nf_status plan_transform(nf_extent *out, const nf_transform *transform, nf_extent in, int64_t channels) {
    *out = in;
    const nf_transform_type *type = nf_transform_types[transform->kind];
    return type->plan ? type->plan(out, transform, in, channels) : NF_OK;
}

nf_status nf_recipe_view_size(int64_t *height, int64_t *width, const nf_recipe *recipe, int64_t image_height,
                              int64_t image_width) {
    NF_TRY(check_recipe(recipe));
    nf_extent extent = {image_height, image_width};
    for (int64_t i = 0; i < recipe->count; i++)
        NF_TRY(plan_transform(&extent, &recipe->transforms[i], extent, recipe->channels));
    *height = extent.height;
    *width = extent.width;
    return NF_OK;
}

static nf_status check_image_size(nf_extent size, int64_t n) {
    if (size.height < 1 || size.width < 1 || size.height > INT32_MAX / 4 || size.width > INT32_MAX / 4)
        return nf_fail(NF_BAD_VALUE, "images must have 1..%d rows and columns, got %lld x %lld for image %lld",
                       INT32_MAX / 4, (long long)size.height, (long long)size.width, (long long)n);
    return NF_OK;
}

/* How many slots of this size a worker has for taps: that all the sizes of boxes of small images fit, that they stay in
 * its cache, and that they are worth the making. */
static size_t slots_of(size_t size, int64_t views) {
    enum { MOST = 128, LEAST = 32, BYTES = 1 << 18, LEAST_VIEWS = 64 };
    if (size == 0 || BYTES / size < LEAST || views < LEAST_VIEWS)
        return 0;
    return BYTES / size < MOST ? BYTES / size / 4 * 4 : MOST;
}

/* Are the recipe and the images fit for each other? `views`: what becomes of them. */
static nf_status plan_recipe(nf_extent *views, nf_room *room, const nf_recipe *recipe, const nf_image *images,
                             int64_t count) {
    NF_TRY(check_recipe(recipe));
    if (recipe->channels < 1)
        return nf_fail(NF_BAD_VALUE, "images must have at least one channel, got %lld", (long long)recipe->channels);
    *views = (nf_extent){0, 0};
    *room = (nf_room){{0, 0}, 0, 0, 0};
    size_t most = 0;
    nf_extent previous = {0, 0};
    for (int64_t n = 0; n < count; n++) {
        nf_extent extent = {images[n].height, images[n].width};
        if (n > 0 && extent.height == previous.height && extent.width == previous.width)
            continue;
        previous = extent;
        NF_TRY(check_image_size(extent, n));
        bool loaded = false;
        for (int64_t i = 0; i <= recipe->count; i++) {
            const nf_transform *transform = &recipe->transforms[i];
            /* a crop that comes first reads the caller's image; all else works on planes */
            loaded = loaded || i == recipe->count || transform->kind != NF_RANDOM_RESIZED_CROP;
            if (loaded && nf_plane_size(extent) > most)
                most = nf_plane_size(room->planes = extent);
            if (i == recipe->count)
                break;
            const nf_transform_type *type = nf_transform_types[transform->kind];
            size_t size = type->scratch_size ? type->scratch_size(transform, extent, recipe->channels) : 0;
            room->scratch_size = nf_larger(room->scratch_size, size);
            size = type->slot_size ? type->slot_size(transform, extent) : 0;
            room->slot_size = nf_larger(room->slot_size, size);
            NF_TRY(plan_transform(&extent, transform, extent, recipe->channels));
            loaded = true;
        }
        if (n > 0 && (extent.height != views->height || extent.width != views->width))
            return nf_fail(NF_BAD_VALUE,
                           "images of different sizes need a recipe with RandomResizedCrop: image %lld gives views of "
                           "%lld x %lld, those before it %lld x %lld",
                           (long long)n, (long long)extent.height, (long long)extent.width, (long long)views->height,
                           (long long)views->width);
        *views = extent;
    }
    room->slots = slots_of(room->slot_size, recipe->views * count);
    return NF_OK;
}

/* ---- Drawing ---- */

typedef struct sample_job {
    char *records;
    size_t record_size;
    const nf_recipe *recipe;
    const nf_image *images;
    const int64_t *indices;
    int64_t count;
    uint64_t seed;
    uint32_t epoch;
} sample_job;

enum { SAMPLES_PER_TASK = 64 };

static void draw_record(const sample_job *job, int64_t view, int64_t n) {
    const nf_recipe *recipe = job->recipe;
    char *record = job->records + (size_t)(view * job->count + n) * job->record_size;
    nf_extent extent = {job->images[n].height, job->images[n].width};
    nf_random random[NF_MAX_TRANSFORMS]; /* all beforehand: what is drawn decides branches, which need not wait then */
    for (int64_t i = 0; i < recipe->count; i++)
        random[i] = nf_random_at(job->seed, job->epoch, (uint64_t)job->indices[n],
                                 (uint32_t)((recipe->first_view + view) * NF_MAX_TRANSFORMS + i));
    for (int64_t i = 0; i < recipe->count; i++) {
        const nf_transform *transform = &recipe->transforms[i];
        const nf_transform_type *type = nf_transform_types[transform->kind];
        type->draw(record, transform, extent, &random[i]);
        record += type->draw_size;
        (void)plan_transform(&extent, transform, extent, recipe->channels);
    }
}

static void sample_some(void *context, int64_t task, int worker) {
    (void)worker;
    const sample_job *job = context;
    int64_t begin = task * SAMPLES_PER_TASK;
    int64_t end = begin + SAMPLES_PER_TASK < job->count ? begin + SAMPLES_PER_TASK : job->count;
    for (int64_t n = begin; n < end; n++)
        for (int64_t view = 0; view < job->recipe->views; view++)
            draw_record(job, view, n);
}

nf_status nf_recipe_sample(void *records, const nf_recipe *recipe, const nf_image *images, const int64_t *indices,
                           int64_t count, uint64_t seed, uint32_t epoch) {
    nf_extent views;
    nf_room room;
    NF_TRY(plan_recipe(&views, &room, recipe, images, count));
    for (int64_t n = 0; n < count; n++)
        if (indices[n] < 0)
            return nf_fail(NF_BAD_VALUE, "indices must be >= 0, got %lld", (long long)indices[n]);
    sample_job job = {.records = records,
                      .record_size = nf_recipe_record_size(recipe),
                      .recipe = recipe,
                      .images = images,
                      .indices = indices,
                      .count = count,
                      .seed = seed,
                      .epoch = epoch};
    return nf_parallel(sample_some, &job, (count + SAMPLES_PER_TASK - 1) / SAMPLES_PER_TASK, NF_MAX_THREADS);
}

/* ---- Applying ---- */

typedef struct apply_job {
    nf_view views[NF_MAX_THREADS];
    void *out;
    nf_view_type type;
    nf_view_layout layout;
    float *scale, *offset;
    bool streams; /* views that no core's cache could hold until they are read are not put there */
    const nf_recipe *recipe;
    const nf_image *images;
    const char *records;
    size_t record_size;
    int64_t count, views_per_task;
} apply_job;

enum { LEAST_STREAM = 4 << 20 };

static nf_status check_record(const apply_job *job, int64_t view, int64_t n) {
    const nf_recipe *recipe = job->recipe;
    const char *record = job->records + (size_t)(view * job->count + n) * job->record_size;
    nf_extent extent = {job->images[n].height, job->images[n].width};
    for (int64_t i = 0; i < recipe->count; i++) {
        const nf_transform *transform = &recipe->transforms[i];
        const nf_transform_type *type = nf_transform_types[transform->kind];
        NF_TRY(type->check_draw(record, transform, extent));
        record += type->draw_size;
        NF_TRY(plan_transform(&extent, transform, extent, recipe->channels));
    }
    return NF_OK;
}

static void apply_one(const apply_job *job, nf_view *view, int64_t number) {
    const nf_recipe *recipe = job->recipe;
    int64_t n = number / recipe->views, index = number % recipe->views * job->count + n;
    nf_view_start(view, job->images[n].pixels, (nf_extent){job->images[n].height, job->images[n].width});
    const char *record = job->records + (size_t)index * job->record_size;
    for (int64_t i = 0; i < recipe->count; i++) {
        const nf_transform *transform = &recipe->transforms[i];
        const nf_transform_type *type = nf_transform_types[transform->kind];
        const char *next = record + type->draw_size;
        if (transform->kind == NF_RANDOM_RESIZED_CROP && i + 1 < recipe->count &&
            recipe->transforms[i + 1].kind == NF_HORIZONTAL_FLIP) {
            /* a flip right after a crop costs nothing if the crop runs its columns backwards */
            nf_extent out = {transform->crop.height, transform->crop.width};
            nf_view_crop(view, *(const nf_box *)record, out, transform->crop.interpolation,
                         ((const nf_switch *)next)->applied != 0);
            next += nf_flip_type.draw_size;
            i++;
        } else {
            type->apply(view, transform, record);
        }
        record = next;
    }
    nf_view_store(job->out, job->type, job->layout, index, view, job->scale, job->offset, job->streams);
}

static void apply_some(void *context, int64_t task, int worker) {
    apply_job *job = context;
    int64_t all = job->recipe->views * job->count, begin = task * job->views_per_task;
    for (int64_t number = begin; number < nf_min(begin + job->views_per_task, all); number++)
        apply_one(job, &job->views[worker], number);
    if (job->streams)
        nf_kernel->end_streams();
}

/* Views of small images are made some at a time, so that what is written of one may be on its way while the next is
 * made; but few enough for all threads to end at about the same time. */
static int64_t views_per_task(const apply_job *job, nf_extent out) {
    enum { VALUES = 1 << 16, TASKS = 64 };
    int64_t views = job->recipe->views * job->count, most = 1;
    for (int64_t n = 0; n < job->count; n++)
        most = nf_max(most, job->images[n].height * job->images[n].width);
    most = nf_max(most, out.height * out.width) * job->recipe->channels;
    return nf_max(1, nf_min(VALUES / most, views / TASKS));
}

static nf_status apply_all(apply_job *job, nf_room room) {
    const nf_recipe *recipe = job->recipe;
    if (job->type == NF_VIEW_FLOATS)
        NF_TRY(nf_normalize_weights(job->scale, job->offset, recipe->mean, recipe->std, recipe->channels,
                                    nf_white(recipe->pixel_type)));
    for (int64_t view = 0; view < recipe->views; view++)
        for (int64_t n = 0; n < job->count; n++)
            NF_TRY(check_record(job, view, n));
    if (recipe->pixel_type != NF_PIXEL_BYTE)
        return nf_deep_apply(&(nf_deep_job){job->out, job->layout, recipe, job->images, job->records, job->record_size,
                                            job->count, job->scale, job->offset});
    int64_t tasks = nf_ceil_div(recipe->views * job->count, job->views_per_task);
    int workers = nf_workers(tasks);
    void *memory;
    NF_TRY(nf_views_alloc(job->views, &memory, workers, room, recipe->channels));
    nf_status status = nf_parallel(apply_some, job, tasks, workers);
    nf_free(memory);
    return status;
}

nf_status nf_recipe_apply(void *views, nf_view_type type, nf_view_layout layout, const nf_recipe *recipe,
                          const nf_image *images, const void *records, int64_t count) {
    apply_job job = {.out = views,
                     .type = type,
                     .layout = layout,
                     .recipe = recipe,
                     .images = images,
                     .records = records,
                     .count = count};
    nf_extent extent;
    nf_room room;
    NF_TRY(plan_recipe(&extent, &room, recipe, images, count));
    if (recipe->pixel_type != NF_PIXEL_BYTE) {
        NF_TRY(nf_deep_check(recipe));
        if (type != NF_VIEW_FLOATS)
            return nf_fail(NF_BAD_VALUE, "views of uint16 or float32 images must be float32, got uint8");
    }
    job.record_size = nf_recipe_record_size(recipe);
    void *weights;
    NF_TRY(nf_alloc(&weights, 2 * (size_t)recipe->channels * sizeof(float)));
    job.scale = weights;
    job.offset = job.scale + recipe->channels;
    int64_t values = extent.height * extent.width * recipe->channels * recipe->views;
    job.streams = values * (int64_t)sizeof(float) >= LEAST_STREAM / (count > 0 ? count : 1);
    job.views_per_task = views_per_task(&job, extent);
    nf_status status = apply_all(&job, room);
    nf_free(weights);
    return status;
}
