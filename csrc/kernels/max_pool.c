#include "kernels.h"
#include "vector.h"

/* The largest of the taps, and which it was unless index is NULL; the first of equal ones. */
void NF_KERNEL(max_pool)(float *y, uint8_t *index, const float *const *taps, size_t tap_count, size_t c) {
    for (size_t j = 0; j < c; j += NF_WIDTH) {
        size_t rest = c - j, count = rest < NF_WIDTH ? rest : NF_WIDTH;
        vreal best = v_load_some(taps[0] + j, rest), place = v_zero();
        for (size_t t = 1; t < tap_count; t++) {
            vreal x = v_load_some(taps[t] + j, rest);
            vmask larger = v_gt(x, best);
            best = v_select(larger, x, best);
            place = v_select(larger, v_set((float)t), place);
        }
        v_store_some(y + j, best, rest);
        if (!index)
            continue;
        float places[NF_WIDTH];
        v_store(places, place);
        for (size_t i = 0; i < count; i++)
            index[j + i] = (uint8_t)places[i];
    }
}

/* Adds d_y to the gradient of the tap that was chosen. */
void NF_KERNEL(max_pool_backward)(float *const *d_taps, size_t tap_count, const float *d_y, const uint8_t *index,
                                  size_t c) {
    for (size_t j = 0; j < c; j += NF_WIDTH) {
        size_t rest = c - j, count = rest < NF_WIDTH ? rest : NF_WIDTH;
        float places[NF_WIDTH] = {0};
        for (size_t i = 0; i < count; i++)
            places[i] = (float)index[j + i];
        vreal place = v_load(places), d = v_load_some(d_y + j, rest);
        for (size_t t = 0; t < tap_count; t++) {
            vreal chosen = v_keep(v_eq(place, v_set((float)t)), d);
            v_store_some(d_taps[t] + j, v_add(v_load_some(d_taps[t] + j, rest), chosen), rest);
        }
    }
}
