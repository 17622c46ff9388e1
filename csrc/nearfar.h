/* nearfar: contrastive representation learning on the CPU.
 *
 * The public C interface, in the data's order: images -> views -> features -> embeddings -> loss and gradient ->
 * parameters.
 *
 * Conventions
 *   - Every operation returns an nf_status. Anything but NF_OK leaves a message in nf_last_message(); outputs are then
 * undefined.
 *   - Outputs come first, then inputs, then sizes. `d_x` is the gradient of the loss with respect to `x` and has its
 * shape.
 *   - Images and activations are NHWC with channels contiguous; matrices are row-major and dense.
 *   - The caller owns every array. Nothing is kept after a call returns, except by the opaque objects that say so.
 *   - The caller checks types, shapes and overlap; an operation checks values and ranges.
 *   - Results do not depend on the number of threads. Calls from several threads are safe.
 */
#ifndef NEARFAR_H
#define NEARFAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- Status -------------------------------------------------------------------------------------------------------
 */

typedef enum nf_status {
    NF_OK = 0,
    NF_BAD_VALUE,   /* an argument's value is out of range */
    NF_NO_MEMORY,   /* an allocation failed */
    NF_INTERRUPTED, /* the interrupt check asked to stop (Ctrl-C) */
} nf_status;

/* The message of this thread's last failure; valid until its next one. */
const char *nf_last_message(void);

/* ---- Threads ------------------------------------------------------------------------------------------------------
 */

enum { NF_MAX_THREADS = 64 };

/* Number of threads that operations use, the caller included, 1..NF_MAX_THREADS. At first NEARFAR_NUM_THREADS, else
 * OMP_NUM_THREADS, else the number of CPUs this process may run on. */
int nf_get_num_threads(void);
nf_status nf_set_num_threads(int count);

/* Called now and then by long operations, on the thread that started them, to ask whether to stop; returns non-zero to
 * stop. NULL: never. The setting is the calling thread's own. Returns the previous one. */
typedef int (*nf_interrupt_check)(void);
nf_interrupt_check nf_set_interrupt_check(nf_interrupt_check check);

/* ---- Networks ------------------------------------------------------------------------------------------------------
 */

/* A network is a list of layers, each reading the outputs of earlier ones. It holds the plan of a step and the memory
 * for it; parameters, gradients and statistics are the caller's: one float32 vector each, laid out by the network's
 * slots. */
typedef struct nf_network nf_network;

typedef enum nf_layer_kind {
    NF_CONV,                /* see nn/conv.h; weight (kernel_h, kernel_w, in, out), bias (out) */
    NF_LINEAR,              /* y = x weight + bias; weight (in, out); in = h w c of the input */
    NF_BATCH_NORM,          /* see nn/batch_norm.h; weight (c), bias (c), running_mean (c), running_var (c) */
    NF_LAYER_NORM,          /* see nn/layer_norm.h; weight (c), bias (c) */
    NF_DEPTHWISE_CONV,      /* see nn/depthwise.h; weight (kernel_h, kernel_w, 1, c), bias (c) */
    NF_RELU,                /* y = max(x, 0) */
    NF_GELU,                /* y = x Phi(x), Phi the normal distribution's integral */
    NF_SILU,                /* y = x / (1 + exp(-x)) */
    NF_SUM,                 /* y = a + b */
    NF_MAX_POOL,            /* see nn/pool.h */
    NF_GLOBAL_AVERAGE_POOL, /* (n, h, w, c) -> (n, c) */
} nf_layer_kind;

typedef struct nf_layer {
    nf_layer_kind kind;
    int64_t inputs[2];            /* indices of earlier layers, -1: the network's input; [1] only for NF_SUM */
    int64_t out_channels;         /* NF_CONV, NF_LINEAR: >= 1 */
    int64_t kernel_h, kernel_w;   /* convolutions: 1..31; NF_MAX_POOL: kernel_h only, 1..15 */
    int64_t stride;               /* convolutions, NF_MAX_POOL: >= 1; NF_DEPTHWISE_CONV: 1..8 */
    int64_t padding_h, padding_w; /* 0..kernel - 1; NF_MAX_POOL: padding_h only, at most kernel_h / 2 */
    bool bias;                    /* convolutions, NF_LINEAR */
    float eps, momentum;          /* normalisations: > 0; NF_BATCH_NORM: 0..1 */
} nf_layer;

/* Shape of a batch; flat: (n, c), with h = w = 1. */
typedef struct nf_shape {
    int64_t n, h, w, c;
    bool flat;
} nf_shape;

/* How convolutions are computed. Which one NF_CONV_AUTO takes for a layer depends on its shape alone, so the same run
 * gives the same bits tomorrow. */
typedef enum nf_conv_algorithm {
    NF_CONV_AUTO,      /* the one that should be the fastest for the layer's shape */
    NF_CONV_DIRECT,    /* as the formula says; rounding errors of about 4e-7 of the output's root mean square */
    NF_CONV_WINOGRAD2, /* tiles of 2 x 2 where kernel 3, stride 1 and no bias allow it, else direct; about as exact */
    NF_CONV_WINOGRAD4, /* tiles of 4 x 4 where kernel 3, stride 1, or 2 with padding 1, and no bias allow it, else
                          direct; some 2e-6 */
} nf_conv_algorithm;

/* How activations are kept from forward to backward; computation is in float32 either way. */
typedef enum nf_activation_type {
    NF_ACTIVATIONS_FLOAT32,
    NF_ACTIVATIONS_BFLOAT16, /* rounded to 8 significant bits, in half the memory */
} nf_activation_type;

/* Copies `layers`. `input` gives the channels and, where h and w are not 0 (any size will do), the size; n is not used.
 * Free with nf_network_free, which accepts NULL. */
nf_status nf_network_create(nf_network **network, const nf_layer *layers, int64_t count, nf_shape input,
                            nf_conv_algorithm algorithm, nf_activation_type activations);
void nf_network_free(nf_network *network);

/* Where a parameter, or a running statistic, lies in its vector. */
typedef struct nf_slot {
    int64_t layer;
    const char *name; /* "weight", "bias"; "running_mean", "running_var" */
    int64_t offset, ndim, shape[4];
} nf_slot;

int64_t nf_network_parameter_slots(const nf_network *network, const nf_slot **slots); /* owned by the network */
int64_t nf_network_statistic_slots(const nf_network *network, const nf_slot **slots);
int64_t nf_network_parameter_count(const nf_network *network);
int64_t nf_network_statistic_count(const nf_network *network);
int64_t nf_network_in_channels(const nf_network *network);
int64_t nf_network_out_channels(const nf_network *network);

/* The output's shape for an input of this shape. */
nf_status nf_network_out_shape(const nf_network *network, nf_shape *output, nf_shape input);

/* Bytes of memory that a step on such a batch takes besides parameters, gradients and the caller's arrays. */
nf_status nf_network_memory(nf_network *network, size_t *bytes, nf_shape input, bool training, int64_t groups);

/* y = the network's output. In training batch norm uses the batch's statistics, separate for each of `groups` equal
 * runs of samples, moves the running ones in `statistics` towards them, and what backward needs is kept. x must be
 * finite. */
nf_status nf_network_forward(nf_network *network, float *y, float *statistics, const float *x, const float *parameters,
                             nf_shape input, bool training, int64_t groups);

/* What the next nf_network_backward refers to: the shapes of x and y of the last forward in training. Fails if there
 * was none, or it has been used. */
nf_status nf_network_pending(nf_network *network, nf_shape *input, nf_shape *output);

/* gradients (+)= the gradient of the parameters, and d_x, unless NULL, that of the input. d_y has the shape of y and
 * must be finite; `input` is what nf_network_pending gave. One call for each forward in training. */
nf_status nf_network_backward(nf_network *network, float *d_x, float *gradients, const float *d_y,
                              const float *parameters, nf_shape input, bool accumulate);

/* ---- Losses -------------------------------------------------------------------------------------------------------
 *
 * Value and gradient in one call, in nats; the formulas are those of the mean over anchors. If `normalize`, rows are
 * scaled to length 1 first (a row of zeros stays one and gets a zero gradient), and gradients are those of the rows
 * that were passed in. Numbers must be finite, temperature > 0: else NF_BAD_VALUE. No matrix of scores is stored beyond
 * 144 MB: memory is O(rows width). Results do not depend on the number of threads. Float rows whose scores may exceed
 * 128 in size, or spread further than float can hold, are computed in double.
 *
 * weights, one for each of the values that NF_REDUCE_NONE gives, or NULL for ones, are factors w_i of these values L_i:
 * loss and gradients are those of sum_i w_i L_i, and the mean is divided by the same number as without weights. They
 * may be of either sign, as is the gradient of some function of the values: with v_i = df/dL_i for weights, and
 * NF_REDUCE_SUM, gradients are those of f. Errors: weights that are not finite, or above 1e30 in size. */

/* What becomes of the values of the anchors (or pairs, or triplets: a loss's comment says of what). `loss` is one
 * number, with NF_REDUCE_NONE one for each, with its weight; gradients are those of the mean, else those of the sum. */
typedef enum nf_reduction { NF_REDUCE_MEAN, NF_REDUCE_SUM, NF_REDUCE_NONE } nf_reduction;

/* NT-Xent of V views of N samples, z (views, samples, width):
 *
 *     loss = 1 / (V N) sum_i 1 / (V - 1) sum_{p positive of i} -log( exp(s_ip) / sum_{j != i} exp(s_ij) ),
 *     s_ij = z_i . z_j / temperature,
 *
 * where i and j run over all V N rows, the anchors, and the positives of a row are the other views of its sample. d_z
 * has the shape of z, weights (views, samples); d_temperature is one number; none may overlap z. views >= 2; samples,
 * width >= 1.
 * Source: Chen et al., "A simple framework for contrastive learning of visual representations", ICML 2020; for V > 2
 * the L_out of Khosla et al., "Supervised contrastive learning", NeurIPS 2020. */
nf_status nf_nt_xent_f32(double *loss, float *d_z, double *d_temperature, const float *z, const double *weights,
                         int64_t views, int64_t samples, int64_t width, double temperature, bool normalize,
                         nf_reduction reduction);
nf_status nf_nt_xent_f64(double *loss, double *d_z, double *d_temperature, const double *z, const double *weights,
                         int64_t views, int64_t samples, int64_t width, double temperature, bool normalize,
                         nf_reduction reduction);

/* The decoupled contrastive loss of V views of N samples: NT-Xent without positives in the denominator,
 *
 *     loss = 1 / (V N) sum_i ( log sum_{n negative of i} exp(s_in) - c_i / (V - 1) sum_{p positive of i} s_ip ),
 *
 * with c_i = 2 - N softmax_i(z_i . z'_i / sigma) over the pairs of two views, a constant for the gradients; all c_i are
 * 1 if sigma is infinite. Shapes as above; samples >= 2, sigma > 0; if sigma is finite, views must be 2.
 * Source: Yeh et al., "Decoupled contrastive learning", ECCV 2022. */
nf_status nf_dcl_f32(double *loss, float *d_z, double *d_temperature, const float *z, const double *weights,
                     int64_t views, int64_t samples, int64_t width, double temperature, double sigma, bool normalize,
                     nf_reduction reduction);
nf_status nf_dcl_f64(double *loss, double *d_z, double *d_temperature, const double *z, const double *weights,
                     int64_t views, int64_t samples, int64_t width, double temperature, double sigma, bool normalize,
                     nf_reduction reduction);

/* Debiased NT-Xent with hard negatives, of two views of N samples, z (2, samples, width), rows scaled to length 1. With
 * M = 2 N - 2 negatives n and the positive p of each anchor i,
 *
 *     loss = 1 / (2 N) sum_i -log( exp(s_ip) / (exp(s_ip) + G_i) ),
 *     G_i  = max( (R_i - M tau_plus exp(s_ip)) / (1 - tau_plus), M exp(-1 / temperature) ),
 *     R_i  = M sum_n exp((1 + beta) s_in) / sum_n exp(beta s_in).
 *
 * Shapes as for NT-Xent. samples >= 2; 0 <= tau_plus <= 0.999; beta is 0 or 1e-6..1e4. Float goes to double from
 * (1 + beta) / temperature > 64 on if tau_plus > 0.
 * Sources: Chuang et al., "Debiased contrastive learning", NeurIPS 2020; Robinson et al., "Contrastive learning with
 * hard negative samples", ICLR 2021. */
nf_status nf_debiased_nt_xent_f32(double *loss, float *d_z, double *d_temperature, const float *z,
                                  const double *weights, int64_t samples, int64_t width, double temperature,
                                  double tau_plus, double beta, nf_reduction reduction);
nf_status nf_debiased_nt_xent_f64(double *loss, double *d_z, double *d_temperature, const double *z,
                                  const double *weights, int64_t samples, int64_t width, double temperature,
                                  double tau_plus, double beta, nf_reduction reduction);

/* Where the mean over an anchor's positives is taken. */
typedef enum nf_positives {
    NF_POSITIVES_OUT, /* outside the logarithm */
    NF_POSITIVES_IN,  /* inside */
} nf_positives;

/* SupCon of V views of N samples, z (views, samples, width), labels (samples). The positives P(i) of a row are all
 * other rows with its label:
 *
 *     L_out = mean_i 1 / |P(i)| sum_{p in P(i)} -log( exp(s_ip) / sum_{j != i} exp(s_ij) ),
 *     L_in  = mean_i -log( 1 / |P(i)| sum_{p in P(i)} exp(s_ip) / sum_{j != i} exp(s_ij) ),
 *     s_ij  = z_i . z_j / temperature,
 *
 * where j runs over all V N rows and i over those that have a positive, of which there are `active`; if none has, loss
 * and gradients are 0. Rows without a positive have the value 0 with NF_REDUCE_NONE, and do not count in the mean. d_z
 * has the shape of z, weights (views, samples), one for each row; d_temperature is one number; none may overlap z.
 * views, samples, width >= 1. With L_in the time for the pairs of a class grows with the square of its size. Source:
 * Khosla et al., "Supervised contrastive learning", NeurIPS 2020. */
nf_status nf_sup_con_f32(double *loss, float *d_z, double *d_temperature, int64_t *active, const float *z,
                         const int64_t *labels, const double *weights, int64_t views, int64_t samples, int64_t width,
                         nf_positives positives, double temperature, bool normalize, nf_reduction reduction);
nf_status nf_sup_con_f64(double *loss, double *d_z, double *d_temperature, int64_t *active, const double *z,
                         const int64_t *labels, const double *weights, int64_t views, int64_t samples, int64_t width,
                         nf_positives positives, double temperature, bool normalize, nf_reduction reduction);

/* What a query is told apart from. */
typedef enum nf_negatives {
    NF_IN_BATCH,           /* the other samples' keys */
    NF_IN_BATCH_SYMMETRIC, /* so, and each key from the other samples' queries: the mean of both directions */
    NF_SHARED_NEGATIVES,   /* negatives (negative_count, width), the same for all queries */
    NF_PAIRED_NEGATIVES,   /* negatives (samples, negative_count, width), each query's own */
} nf_negatives;

/* InfoNCE of N pairs, query and key (samples, width):
 *
 *     loss = 1 / N sum_i -log( exp(s_i) / (exp(s_i) + sum_{n negative of i} exp(q_i . n / temperature)) ),
 *     s_i = q_i . k_i / temperature.
 *
 * d_query, d_key and d_negatives have the shapes of query, key and negatives, and overlap none of the inputs;
 * d_negatives and negatives are NULL for the in-batch kinds, and negative_count is then ignored; it may be 0. weights
 * (samples), of the queries; in both directions of NF_IN_BATCH_SYMMETRIC they are those of the pairs. samples, width
 * >= 1.
 * Source: van den Oord et al., "Representation learning with contrastive predictive coding", 2018. */
nf_status nf_info_nce_f32(double *loss, float *d_query, float *d_key, float *d_negatives, double *d_temperature,
                          const float *query, const float *key, const float *negatives, const double *weights,
                          int64_t samples, int64_t width, int64_t negative_count, nf_negatives kind, double temperature,
                          bool normalize, nf_reduction reduction);
nf_status nf_info_nce_f64(double *loss, double *d_query, double *d_key, double *d_negatives, double *d_temperature,
                          const double *query, const double *key, const double *negatives, const double *weights,
                          int64_t samples, int64_t width, int64_t negative_count, nf_negatives kind, double temperature,
                          bool normalize, nf_reduction reduction);

/* The margin losses, of distances D_ij = |z_i - z_j|. Where D is 0 its gradient is taken as 0. Squares of rows must
 * stay below 1e300; margins are at most 1e30. */

/* What tells pairs apart. */
typedef enum nf_pair_form {
    NF_PAIR_HADSELL, /* D^2 / 2 if the same, else max(0, margin - D)^2 / 2 */
    NF_PAIR_CHOPRA,  /* 2 / Q E^2 if the same, else 2 Q exp(-2.77 E / Q); E = |a - b|_1, Q = margin bounds it */
} nf_pair_form;

/* N pairs of rows a_i, b_i (samples, width), same (samples) 0 or 1. The values are those of the pairs, loss and weights
 * (samples) with NF_REDUCE_NONE. d_a and d_b have the shapes of a and b and may overlap neither. samples, width >= 1;
 * margin > 0; rows are shorter than 1e37 (float), 1e150 (double). Sources: Hadsell, Chopra, LeCun, "Dimensionality
 * reduction by learning an invariant mapping", CVPR 2006; Chopra, Hadsell, LeCun, "Learning a similarity metric
 * discriminatively, with application to face verification", CVPR 2005. */
nf_status nf_pair_f32(double *loss, float *d_a, float *d_b, const float *a, const float *b, const int64_t *same,
                      const double *weights, int64_t samples, int64_t width, nf_pair_form form, double margin,
                      bool normalize, nf_reduction reduction);
nf_status nf_pair_f64(double *loss, double *d_a, double *d_b, const double *a, const double *b, const int64_t *same,
                      const double *weights, int64_t samples, int64_t width, nf_pair_form form, double margin,
                      bool normalize, nf_reduction reduction);

/* All pairs i != j of a labelled batch, z (count, width), labels (count): the mean of max(0, D_ij - positive_margin)
 * over pairs with the same label plus the mean of max(0, negative_margin - D_ij) over the others, each over the pairs
 * that are not 0. The values are those of the rows i, loss (count) with NF_REDUCE_NONE: the sums over their pairs. d_z
 * has the shape of z and may not overlap it. count, width >= 1; margins >= 0. */
nf_status nf_contrastive_f32(double *loss, float *d_z, const float *z, const int64_t *labels, const double *weights,
                             int64_t count, int64_t width, double positive_margin, double negative_margin,
                             bool normalize, nf_reduction reduction);
nf_status nf_contrastive_f64(double *loss, double *d_z, const double *z, const int64_t *labels, const double *weights,
                             int64_t count, int64_t width, double positive_margin, double negative_margin,
                             bool normalize, nf_reduction reduction);

/* The triplets of a labelled batch: anchor a, positive p != a of its label, negative n of another one. */
typedef enum nf_mining {
    NF_MINE_ALL,       /* all */
    NF_MINE_HARD,      /* for each a the farthest p and the nearest n */
    NF_MINE_SEMI_HARD, /* for each a, p the nearest n with D_an > D_ap, or if there is none the farthest n */
} nf_mining;

/* The triplet loss of a labelled batch, z (count, width), labels (count):
 *
 *     loss = mean over triplets of h(D_ap - D_an + margin),
 *
 * h(e) = max(0, e), or if `soft` log(1 + exp(e)); D^2 in place of D if `squared`. The mean is over all triplets, or if
 * `nonzero` over those that are not 0; without any, loss and gradient are 0. The values are those of the anchors, loss
 * (count) with NF_REDUCE_NONE: the sums over their triplets. Of negatives at the same distance one is taken, the same
 * each time. d_z has the shape of z and may not overlap it. count, width >= 1; margin >= 0. The time for all triplets
 * grows with their number.
 * Sources: Schroff, Kalenichenko, Philbin, "FaceNet", CVPR 2015; Hermans, Beyer, Leibe, "In defense of the triplet loss
 * for person re-identification", 2017. */
nf_status nf_triplet_f32(double *loss, float *d_z, const float *z, const int64_t *labels, const double *weights,
                         int64_t count, int64_t width, double margin, nf_mining mining, bool squared, bool soft,
                         bool nonzero, bool normalize, nf_reduction reduction);
nf_status nf_triplet_f64(double *loss, double *d_z, const double *z, const int64_t *labels, const double *weights,
                         int64_t count, int64_t width, double margin, nf_mining mining, bool squared, bool soft,
                         bool nonzero, bool normalize, nf_reduction reduction);

/* N triplets that are given as rows of three arrays (samples, width), with h and D as above; if `swap`, D_an is the
 * smaller of D_an and D_pn. The values are those of the triplets, loss (samples) with NF_REDUCE_NONE. d_anchor, ...
 * have the shapes of anchor, ... and overlap none of them. samples, width >= 1; margin >= 0; rows are shorter than 1e37
 * (float), 1e150 (double).
 * Source of `swap`: Balntas et al., "Learning local feature descriptors with triplets and shallow convolutional neural
 * networks", BMVC 2016. */
nf_status nf_triplet_margin_f32(double *loss, float *d_anchor, float *d_positive, float *d_negative,
                                const float *anchor, const float *positive, const float *negative,
                                const double *weights, int64_t samples, int64_t width, double margin, bool squared,
                                bool soft, bool swap, bool normalize, nf_reduction reduction);
nf_status nf_triplet_margin_f64(double *loss, double *d_anchor, double *d_positive, double *d_negative,
                                const double *anchor, const double *positive, const double *negative,
                                const double *weights, int64_t samples, int64_t width, double margin, bool squared,
                                bool soft, bool swap, bool normalize, nf_reduction reduction);

/* The lifted structured loss of a labelled batch, z (count, width), labels (count):
 *
 *     loss = mean over pairs i < j of the same label of max(0, J_ij)^2 / 2,
 *     J_ij = D_ij + log( sum_{k negative of i} exp(margin - D_ik) + sum_{k negative of j} exp(margin - D_jk) ).
 *
 * If `nonzero` the mean is over the pairs that are not 0. Without any pair, or any negative, loss and gradient are 0.
 * The values are those of the rows, loss (count) with NF_REDUCE_NONE: half the sums over their pairs. So
 * the weight of a pair is the mean of its rows' two. d_z has the shape of z and may not overlap it. count, width >= 1.
 * Source: Oh Song et al., "Deep metric learning via lifted structured feature embedding", CVPR 2016. */
nf_status nf_lifted_structure_f32(double *loss, float *d_z, const float *z, const int64_t *labels,
                                  const double *weights, int64_t count, int64_t width, double margin, bool nonzero,
                                  bool normalize, nf_reduction reduction);
nf_status nf_lifted_structure_f64(double *loss, double *d_z, const double *z, const int64_t *labels,
                                  const double *weights, int64_t count, int64_t width, double margin, bool nonzero,
                                  bool normalize, nf_reduction reduction);

/* Binary NCE of N queries: a logistic regression of each query's positive and one of each of its negatives,
 *
 *     loss_i = log(1 + exp(-s_i)) + sum_{n negative of i} log(1 + exp(s_in)),
 *     s_i = q_i . k_i / temperature - key_offsets_i,   s_in = q_i . n / temperature - negative_offsets_n.
 *
 * With m negatives drawn from a distribution p, offsets are log(m p(k_i)) and log(m p(n)); NULL: zeros. query, key
 * (samples, width), key_offsets (samples); kind NF_SHARED_NEGATIVES or NF_PAIRED_NEGATIVES, with negatives and their
 * offsets as for InfoNCE, without the width. Gradients have the shapes of what they belong to and overlap no input.
 * samples, width >= 1, negative_count >= 0.
 * Sources: Gutmann and Hyvarinen, "Noise-contrastive estimation", AISTATS 2010; Mikolov et al., "Distributed
 * representations of words and phrases and their compositionality", NIPS 2013. */
nf_status nf_nce_f32(double *loss, float *d_query, float *d_key, float *d_negatives, double *d_temperature,
                     const float *query, const float *key, const float *negatives, const double *key_offsets,
                     const double *negative_offsets, const double *weights, int64_t samples, int64_t width,
                     int64_t negative_count, nf_negatives kind, double temperature, bool normalize,
                     nf_reduction reduction);
nf_status nf_nce_f64(double *loss, double *d_query, double *d_key, double *d_negatives, double *d_temperature,
                     const double *query, const double *key, const double *negatives, const double *key_offsets,
                     const double *negative_offsets, const double *weights, int64_t samples, int64_t width,
                     int64_t negative_count, nf_negatives kind, double temperature, bool normalize,
                     nf_reduction reduction);

/* The same against rows of a bank (bank_count, width), taken as they are and constant for the gradient: the positive of
 * query i is row indices_i (samples), its negatives rows negative_indices_ij (samples, negative_count), and all offsets
 * are log_offset. With m negatives, n rows and exp(s) / Z the probability of a row, that is log(Z) + log(m / n).
 * Errors: as above, indices out of range, rows of the bank that are met and not finite. Source: Wu et al.,
 * "Unsupervised feature learning via non-parametric instance discrimination", CVPR 2018. */
nf_status nf_npid_f32(double *loss, float *d_query, double *d_temperature, const float *query, const float *bank,
                      const int64_t *indices, const int64_t *negative_indices, const double *weights, int64_t samples,
                      int64_t width, int64_t bank_count, int64_t negative_count, double log_offset, double temperature,
                      bool normalize, nf_reduction reduction);
nf_status nf_npid_f64(double *loss, double *d_query, double *d_temperature, const double *query, const double *bank,
                      const int64_t *indices, const int64_t *negative_indices, const double *weights, int64_t samples,
                      int64_t width, int64_t bank_count, int64_t negative_count, double log_offset, double temperature,
                      bool normalize, nf_reduction reduction);

/* How x_i and y_j are scored. */
typedef enum nf_score {
    NF_SCORE_DOT,      /* x_i . y_j */
    NF_SCORE_COSINE,   /* the same of rows scaled to length 1; rows of zeros stay zeros */
    NF_SCORE_BILINEAR, /* x_i . w y_j */
    NF_SCORE_DISTANCE, /* -|x_i - y_j|^2 */
} nf_score;

/* scores (x_count, y_count) of x (x_count, x_width) and y (y_count, y_width). w (x_width, y_width) is for the bilinear
 * score, else NULL, and both widths are the same. Errors: empty arrays, numbers that are not finite, scores that may
 * reach 1e300 (float: 1e38). */
nf_status nf_scores_f32(float *scores, const float *x, const float *y, const float *w, int64_t x_count, int64_t y_count,
                        int64_t x_width, int64_t y_width, nf_score score);
nf_status nf_scores_f64(double *scores, const double *x, const double *y, const double *w, int64_t x_count,
                        int64_t y_count, int64_t x_width, int64_t y_width, nf_score score);

/* d_x, d_y and, unless NULL, d_w, given that of the scores, d_scores (x_count, y_count). Gradients overlap no input. */
nf_status nf_scores_backward_f32(float *d_x, float *d_y, float *d_w, const float *d_scores, const float *x,
                                 const float *y, const float *w, int64_t x_count, int64_t y_count, int64_t x_width,
                                 int64_t y_width, nf_score score);
nf_status nf_scores_backward_f64(double *d_x, double *d_y, double *d_w, const double *d_scores, const double *x,
                                 const double *y, const double *w, int64_t x_count, int64_t y_count, int64_t x_width,
                                 int64_t y_width, nf_score score);

/* What a critic with scores s_ij of N x N pairs is trained for: to tell the N pairs (i, i) from all others. Values of
 * sample i, of which the loss is the mean: */
typedef enum nf_objective {
    NF_SIGMOID,          /* log(1 + exp(-s_ii)) + sum_{j != i} log(1 + exp(s_ij)) */
    NF_JENSEN_SHANNON,   /* log(1 + exp(-s_ii)) + 1 / (N - 1) sum_{j != i} log(1 + exp(s_ij)) */
    NF_NWJ,              /* -s_ii + 1 / (N - 1) sum_{j != i} exp(s_ij - 1) */
    NF_DONSKER_VARADHAN, /* -mean_i s_ii + log( 1 / (N (N - 1)) sum_{i != j} exp(s_ij) ): of all samples together */
} nf_objective;

/* The loss for scores s_ij = scale score(x_i, y_j) + bias, x (samples, x_width), y (samples, y_width), w as above;
 * d_log_scale is the derivative with respect to log(scale). scale > 0; samples >= 2, 1 for NF_SIGMOID;
 * NF_DONSKER_VARADHAN has the mean only, without weights. For NF_NWJ scores of different samples must stay below 680
 * (80 in float32). Sources: Zhai et al., "Sigmoid loss for language image pre-training", ICCV 2023; Hjelm et al.,
 * "Learning deep representations by mutual information estimation and maximization", ICLR 2019; Nguyen, Wainwright and
 * Jordan, "Estimating divergence functionals and the likelihood ratio by convex risk minimization", 2010; Donsker and
 * Varadhan 1983, as in Belghazi et al., "Mutual information neural estimation", ICML 2018. */
nf_status nf_critic_loss_f32(double *loss, float *d_x, float *d_y, float *d_w, double *d_log_scale, double *d_bias,
                             const float *x, const float *y, const float *w, const double *weights, int64_t samples,
                             int64_t x_width, int64_t y_width, nf_objective objective, nf_score score, double scale,
                             double bias, nf_reduction reduction);
nf_status nf_critic_loss_f64(double *loss, double *d_x, double *d_y, double *d_w, double *d_log_scale, double *d_bias,
                             const double *x, const double *y, const double *w, const double *weights, int64_t samples,
                             int64_t x_width, int64_t y_width, nf_objective objective, nf_score score, double scale,
                             double bias, nf_reduction reduction);

/* The same of a matrix of scores (samples, samples), below 1e290 in size; d_scores has its shape. */
nf_status nf_critic_matrix_loss_f32(double *loss, float *d_scores, const float *scores, const double *weights,
                                    int64_t samples, nf_objective objective, nf_reduction reduction);
nf_status nf_critic_matrix_loss_f64(double *loss, double *d_scores, const double *scores, const double *weights,
                                    int64_t samples, nf_objective objective, nf_reduction reduction);

/* Alignment and uniformity of N pairs, x and y (samples, width):
 *
 *     loss = alignment mean_i |x_i - y_i|^alpha + uniformity (u(x) + u(y)) / 2,
 *     u(x) = log( mean_{i < j} exp(-t |x_i - x_j|^2) ).
 *
 * samples >= 2; alpha 1..100, t > 0, alignment and uniformity >= 0. Where x_i = y_i alignment has the gradient 0.
 * Source: Wang and Isola, "Understanding contrastive representation learning through alignment and uniformity on the
 * hypersphere", ICML 2020. */
nf_status nf_align_uniform_f32(double *loss, float *d_x, float *d_y, const float *x, const float *y, int64_t samples,
                               int64_t width, double alpha, double t, double alignment, double uniformity,
                               bool normalize);
nf_status nf_align_uniform_f64(double *loss, double *d_x, double *d_y, const double *x, const double *y,
                               int64_t samples, int64_t width, double alpha, double t, double alignment,
                               double uniformity, bool normalize);

/* ---- Optimisers: one pass over flat float32 vectors --------------------------------------------------------------
 *
 * `parameters`, `gradients` and the state are vectors of the same length n, element by element in step. The state
 * starts as zeros and is the caller's to keep. Arrays must not overlap. NaN in a gradient is not looked for and ends up
 * in its parameter. Elements are updated in float32; scalars are worked out in double. */

/* Stochastic gradient descent with momentum mu and weight decay wd:
 *     d = g + wd p;   b = mu b + d;   p -= lr b,   or lr (d + mu b) in Nesterov's form
 * buffer: b, (n), may be NULL if momentum is 0. Errors: lr or weight_decay negative or not finite, momentum outside
 * [0, 1), Nesterov's form without momentum. Source: Sutskever et al., "On the importance of initialization and momentum
 * in deep learning", ICML 2013, as in torch.optim.SGD with dampening 0. */
nf_status nf_sgd_step(float *parameters, float *buffer, const float *gradients, int64_t n, double lr, double momentum,
                      double weight_decay, bool nesterov);

/* Adam with decoupled weight decay. With t the number of this step, from 1:
 *     m = beta1 m + (1 - beta1) g;   v = beta2 v + (1 - beta2) g^2
 *     p = (1 - lr wd) p - lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)
 * first: m, (n); second: v, (n). Errors: as above; betas outside [0, 1), eps not a positive float32, step < 1.
 * Source: Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019, as in torch.optim.AdamW. */
nf_status nf_adamw_step(float *parameters, float *first, float *second, const float *gradients, int64_t n, int64_t step,
                        double lr, double beta1, double beta2, double eps, double weight_decay);

/* One weight or bias of a network: elements offset..offset+size-1 of its flat vectors. */
typedef struct nf_lars_slot {
    int64_t offset, size, adapted; /* adapted: 0 for biases and batch normalisation's parameters */
} nf_lars_slot;

/* Layer-wise adaptive rate scaling. For each adapted slot, with r = trust |p| / (|g| + wd |p| + eps):
 *     d = r (g + wd p);   b = mu b + d;   p -= lr b,   or lr (d + mu b) in Nesterov's form
 * For the other slots, and where |p| or |g| is 0, d = g. slots: (slot_count), ascending and disjoint; elements in no
 * slot are left as they are. Errors: as above; trust_coefficient not > 0, eps < 0, bad slots, no memory. Source: You,
 * Gitman and Ginsburg, "Large batch training of convolutional networks", 2017. */
nf_status nf_lars_step(float *parameters, float *buffer, const float *gradients, int64_t n, const nf_lars_slot *slots,
                       int64_t slot_count, double lr, double momentum, double weight_decay, bool nesterov,
                       double trust_coefficient, double eps);

/* The momentum encoder: key = m key + (1 - m) query, both (n). It is computed as key + (1 - m) (query - key), so that
 * equal vectors stay equal; m = 0 copies. Errors: m outside [0, 1]. Source: He et al., "Momentum contrast", CVPR 2020.
 */
nf_status nf_momentum_update(float *key, const float *query, int64_t n, double m);

/* ---- Measures ----------------------------------------------------------------------------------------------------
 *
 * Matrices of all pairs are met tile by tile and never stored. */

/* The k training rows most similar to each test row, by the cosine of the angle between them; a row of zeros has
 * similarity 0 to all. Of equal similarities the row with the lower index comes first.
 * indices, similarities: (m, k), best first. train_v: (n, d), test_v: (m, d), any lengths. Errors: empty arrays, k
 * outside 1..n, rows that are not finite, no memory. */
nf_status nf_knn_search(int64_t *indices, float *similarities, const float *train_v, const float *test_v, int64_t n,
                        int64_t m, int64_t d, int64_t k);

/* The label with the largest sum of exp(similarity / temperature) among the neighbours found by nf_knn_search; of equal
 * ones the smallest. predicted: (m); indices, similarities: (m, k); train_y: (n), values 0..classes-1. Errors:
 * temperature not > 0, indices or labels out of range, no memory. Source: Wu et al., "Unsupervised feature learning via
 * non-parametric instance discrimination", CVPR 2018. */
nf_status nf_knn_vote(int64_t *predicted, const int64_t *indices, const float *similarities, const int64_t *train_y,
                      int64_t n, int64_t m, int64_t k, int64_t classes, double temperature);

/* *uniformity = log of the mean of exp(-t |x_i - x_j|^2) over all pairs i < j. x: (n, d), taken as it is, n >= 2.
 * Errors: fewer rows, t not > 0, values that are not finite, no memory. Source: Wang and Isola, "Understanding
 * contrastive representation learning through alignment and uniformity on the hypersphere", ICML 2020. */
nf_status nf_uniformity(double *uniformity, const double *x, int64_t n, int64_t d, double t);

/* ---- Configuration ------------------------------------------------------------------------------------------------
 */

/* Instruction set in use: "avx512", "avx2" or "scalar". The best that the machine has, or NEARFAR_ISA if that is lower.
 */
const char *nf_instruction_set(void);

/* Description of the BLAS library that does plain matrix products. */
const char *nf_blas_config(void);

/* ---- Transforms: one operation on images --------------------------------------------------------------------------
 *
 * `images` and `out` are (count, height, width, channels) values of the images' type; the caller owns both, and they
 * must not overlap. Any number of channels unless a function says otherwise. Errors: NF_BAD_VALUE for sizes or values
 * out of range, NF_NO_MEMORY, NF_INTERRUPTED.
 *
 * Results of bytes agree with Pillow's (the blur with torchvision's) to one grey level; all but that blur, the noise
 * and warps (rotations but by quarter turns, affine maps, perspectives) are equal to Pillow 13's bit by bit, where
 * Pillow has them.
 *
 * uint16_t and float go by torchvision's formulas for float tensors, in single precision: `white`, 65535 or 1, takes
 * 255's place in what is said below, and no fraction is dropped; results of uint16_t are rounded and clipped to
 * 0..65535. Results of brightness, contrast, saturation, hue, gamma, sharpness, autocontrast and noise are clamped to
 * 0..white, others of floats are not. What only moves pixels is exact. Float pixels must be finite and at most 1e30 in
 * size. Fills, values and thresholds are in units of the images. Functions that take uint8_t take no other type. */

enum { NF_MAX_IMAGE_SIZE = 16384 }; /* of height and width that are asked for */
enum { NF_MAX_GRID = 8 };           /* tiles along a side */

/* With the number that is white: full scale, 1 for mean and std. */
typedef enum nf_pixel_type {
    NF_PIXEL_BYTE = 0,  /* uint8_t, 255 */
    NF_PIXEL_SHORT = 1, /* uint16_t, 65535 */
    NF_PIXEL_FLOAT = 2, /* float, 1 */
} nf_pixel_type;

typedef struct nf_images {
    int64_t count, height, width, channels;
    nf_pixel_type type;
} nf_images;

typedef enum nf_interpolation { NF_BILINEAR = 0, NF_BICUBIC = 1, NF_NEAREST = 2 } nf_interpolation;

typedef struct nf_box { /* rows top .. top + height - 1, columns left .. left + width - 1 */
    int32_t top, left, height, width;
} nf_box;

/* Cuts `box` out of each image and resizes it to (out_height, out_width), with the filter widened by the scale when
 * that shrinks the image (antialiasing), unless it is NF_NEAREST. out: (count, out_height, out_width, channels).
 * Source: Pillow's Resample.c, 22-bit weights. */
nf_status nf_resized_crop(void *out, const void *images, nf_images shape, nf_box box, int64_t out_height,
                          int64_t out_width, nf_interpolation interpolation);

/* Mirrors each row; mirrors each column. */
nf_status nf_hflip(void *out, const void *images, nf_images shape);
nf_status nf_vflip(void *out, const void *images, nf_images shape);

/* Cuts `box`, which lies within the image, out. out: (count, box.height, box.width, channels). */
nf_status nf_crop(void *out, const void *images, nf_images shape, nf_box box);

/* What stands beyond the image: a fill, its outermost pixels, or its mirror image, with those once or twice. */
typedef enum nf_padding_mode { NF_PAD_CONSTANT, NF_PAD_EDGE, NF_PAD_REFLECT, NF_PAD_SYMMETRIC } nf_padding_mode;

typedef struct nf_padding {
    int64_t left, top, right, bottom; /* >= 0 */
    nf_padding_mode mode;
} nf_padding;

/* Adds rows and columns around each image. out: as nf_padded_size says, which fails if that is more than
 * NF_MAX_IMAGE_SIZE. `fill`, here and below: the value of pixels that have none, one number (fill_count 1) or one for
 * each channel. */
nf_status nf_padded_size(int64_t *height, int64_t *width, nf_images shape, nf_padding padding);
nf_status nf_pad(void *out, const void *images, nf_images shape, nf_padding padding, const void *fill,
                 int64_t fill_count);

/* Rotates by `angle` degrees counter-clockwise about `center` (x, y; NULL: the middle), the corner of the first pixel
 * being (0, 0). Quarter turns about the middle move pixels without sampling, unless the result would not fit.
 * `expands`: the result has room for all corners; nf_rotated_size gives its size. Angles must be finite. Source:
 * Pillow's Image.rotate.
 *
 * This and the following sample each pixel of the result where it comes from: the nearest pixel, or weighted sums of
 * 2 x 2 or 4 x 4 (cubic convolution with a = -1), beyond the image's borders of its outermost pixels; fractions are
 * dropped. Places outside the image have the fill's value. At most 65536 rows and columns, less than 2^31 bytes an
 * image. Source: Pillow's Geometry.c. */
nf_status nf_rotated_size(int64_t *height, int64_t *width, nf_images shape, double angle, bool expands,
                          const double *center);
nf_status nf_rotate(void *out, const void *images, nf_images shape, double angle, bool expands, const double *center,
                    nf_interpolation interpolation, const void *fill, int64_t fill_count);

/* Rotates by `angle` degrees clockwise, scales by `scale` (1e-6..1e6) and shears by the angles `shear` (x, y; degrees,
 * within -89.9..89.9) about `center` (x, y; NULL: the middle), then shifts by `translate` (x, y; pixels). out has the
 * shape of images. Source: torchvision's affine. */
nf_status nf_affine(void *out, const void *images, nf_images shape, double angle, const double translate[2],
                    double scale, const double shear[2], const double *center, nf_interpolation interpolation,
                    const void *fill, int64_t fill_count);

/* The perspective that takes four points (x, y) of the image to four of the result, which has the shape of images. No
 * three of either four may lie on a line. Source: torchvision's perspective. */
nf_status nf_perspective(void *out, const void *images, nf_images shape, const double startpoints[8],
                         const double endpoints[8], nf_interpolation interpolation, const void *fill,
                         int64_t fill_count);

/* Gives all pixels of `box`, which lies within the image and may be empty, one value. */
nf_status nf_erase(void *out, const void *images, nf_images shape, nf_box box, const void *value, int64_t value_count);

/* out = clip(factor x); factor >= 0. 0 gives black, 1 the image. */
nf_status nf_adjust_brightness(void *out, const void *images, nf_images shape, double factor);

/* out = clip(m + factor (x - m)) with m the rounded mean of the image's luma (of all its values unless it has three
 * channels); factor >= 0. */
nf_status nf_adjust_contrast(void *out, const void *images, nf_images shape, double factor);

/* out = clip(g + factor (x - g)) with g the pixel's luma; factor >= 0. Three channels, or one, which is copied. */
nf_status nf_adjust_saturation(void *out, const void *images, nf_images shape, double factor);

/* Shifts the hue by `factor` turns, -0.5..0.5, through 8-bit HSV. Three channels, or one, which is copied. */
nf_status nf_adjust_hue(void *out, const void *images, nf_images shape, double factor);

/* Luma (19595 r + 38470 g + 7471 b + 2^15) >> 16 (0.299 r + 0.587 g + 0.114 b of the other types), written to each of
 * out_channels (1 or 3) channels. out: (count, height, width, out_channels). Three channels, or one, which is copied.
 */
nf_status nf_rgb_to_grayscale(void *out, const void *images, nf_images shape, int64_t out_channels);

/* Gaussian filter of kernel_height x kernel_width weights exp(-d^2 / (2 sigma^2)), normalised, borders reflected
 * (without repeating the edge); of bytes with weights of 14 to 18 bits. Kernel sizes odd and >= 1, half of them below
 * the image's size; sigmas > 0. */
nf_status nf_gaussian_blur(void *out, const void *images, nf_images shape, int64_t kernel_height, int64_t kernel_width,
                           double sigma_y, double sigma_x);

/* out = 255 - x where x >= threshold, else x; threshold in 0..256 (0..65536; finite). Source: Pillow,
 * ImageOps.solarize. */
nf_status nf_solarize(void *out, const void *images, nf_images shape, double threshold);

/* out = x with its lower 8 - bits bits cleared; bits in 0..8. Source: Pillow, ImageOps.posterize. */
nf_status nf_posterize(uint8_t *out, const uint8_t *images, nf_images shape, int64_t bits);

/* out = 255 - x. */
nf_status nf_invert(void *out, const void *images, nf_images shape);

/* out = clip(255.999 gain (x / 255)^gamma), fraction dropped (of the other types: clip(white gain (x / white)^gamma),
 * x < 0 as 0); gamma >= 0, gain in 0..1e6. Source: torchvision, adjust_gamma. */
nf_status nf_adjust_gamma(void *out, const void *images, nf_images shape, double gamma, double gain);

/* out = 255 (x - low) / (high - low), fraction dropped, with low and high the least and the largest value of the
 * channel; channels of one value stay as they are. Source: Pillow, ImageOps.autocontrast. */
nf_status nf_autocontrast(void *out, const void *images, nf_images shape);

/* Equalises the histogram of each channel: out = (step / 2 + count of values below x) / step in whole numbers, with
 * step = (count of all values but the largest that occurs) / 255; channels with step 0 stay as they are. Source:
 * Pillow, ImageOps.equalize. */
nf_status nf_equalize(uint8_t *out, const uint8_t *images, nf_images shape);

/* out = clip(s + factor (x - s)) with s the weighted mean of 3 x 3 pixels (x five times, its neighbours once), rounded;
 * factor >= 0. Pixels at the border stay as they are. Source: Pillow, ImageEnhance.Sharpness. */
nf_status nf_adjust_sharpness(void *out, const void *images, nf_images shape, double factor);

/* The mean over boxes of 2 radius + 1 pixels, first along rows, then along columns, rounded each time: the pixels at
 * most floor(radius) away, and the fraction of the radius of the next ones. Beyond the borders the last pixel goes on.
 * Radii in 0..NF_MAX_IMAGE_SIZE; 0 leaves out its direction. Source: Pillow, BoxBlur.c. */
nf_status nf_box_blur(uint8_t *out, const uint8_t *images, nf_images shape, double radius_y, double radius_x);

/* Pillow's GaussianBlur: three box blurs along rows, then three along columns, whose radius gives them the variance of
 * the Gaussian with standard deviation `radius` (Gwosdek et al., 2011). */
nf_status nf_pillow_gaussian_blur(uint8_t *out, const uint8_t *images, nf_images shape, double radius_y,
                                  double radius_x);

/* out = clip(x + 255 (mean + sigma z)), rounded to nearest, halves up, with z standard normal. sigma in 0..1e6, mean in
 * -1e6..1e6. z of the i-th pixel (row by row) of channel c in image n is a function of (seed, index + n, c, i): with
 * words w0..w3 of the Philox counter (16 floor(i / 64) + i % 16, c, index + n), and q = i / 16 % 4, it is the q % 2-th
 * of the pair that Box and Muller's method makes of w(q - q % 2) and the word after it: radius sqrt(-2 ln((w / 2^8 + 1)
 * / 2^24)); angle pi / 2 ((w / 2^8) / 2^24 - 1/2 + w % 4) (divisions by 2^8 in whole numbers). */
nf_status nf_gaussian_noise(void *out, const void *images, nf_images shape, double mean, double sigma, uint64_t seed,
                            uint64_t index);

/* Fills the box of `height` x `width` pixels around pixel (y, x), as far as it lies in the image: rows y - height / 2
 * to y - height / 2 + height - 1, columns likewise. Sizes in 1..NF_MAX_IMAGE_SIZE. */
nf_status nf_cutout(void *out, const void *images, nf_images shape, int64_t y, int64_t x, int64_t height, int64_t width,
                    const void *fill, int64_t fill_count);

/* Cuts the images into grid x grid equal tiles, numbered row by row; the k-th tile of the result is tile order[k].
 * grid in 1..NF_MAX_GRID, a divisor of height and width; order (grid * grid): a permutation. */
nf_status nf_jigsaw(void *out, const void *images, nf_images shape, const uint8_t *order, int64_t grid);

/* out = (x / 255 - mean[c]) / std[c]; out, as float32, has the shape of images; mean, std: (channels); std > 0. */
nf_status nf_normalize(float *out, const void *images, nf_images shape, const double *mean, const double *std);

/* ---- Transforms: recipes ------------------------------------------------------------------------------------------
 *
 * A recipe is a list of random transforms. What it draws for a view is a record: the transforms' draws one after the
 * other, each as the struct below. Draws are a function of (seed, epoch, index of the sample, view, place in the list).
 */

/* Operations that move pixels have numbers from 32 on, all but the first two. */
typedef enum nf_transform_kind {
    NF_RANDOM_RESIZED_CROP = 0, /* draws nf_box */
    NF_HORIZONTAL_FLIP = 1,     /* draws nf_switch */
    NF_COLOR_JITTER = 2,        /* draws nf_jitter_draw */
    NF_GRAYSCALE = 3,           /* draws nf_switch */
    NF_GAUSSIAN_BLUR = 4,       /* draws nf_blur_draw */
    NF_SOLARIZE = 5,            /* draws nf_switch */
    NF_POSTERIZE = 6,           /* draws nf_switch */
    NF_INVERT = 7,              /* draws nf_switch */
    NF_AUTOCONTRAST = 8,        /* draws nf_switch */
    NF_EQUALIZE = 9,            /* draws nf_switch */
    NF_SHARPNESS = 10,          /* draws nf_sharpness_draw */
    NF_PILLOW_BLUR = 11,        /* draws nf_pillow_blur_draw */
    NF_GAUSSIAN_NOISE = 12,     /* draws nf_noise_draw */
    NF_CUTOUT = 13,             /* draws nf_cutout_draw */
    NF_JIGSAW = 14,             /* draws nf_jigsaw_draw */
    NF_VERTICAL_FLIP = 15,      /* draws nf_switch */
    NF_RANDOM_ROTATION = 16,    /* draws nf_rotation_draw */
    NF_RANDOM_AFFINE = 17,      /* draws nf_affine_draw */
    NF_RANDOM_PERSPECTIVE = 18, /* draws nf_perspective_draw */
    NF_RANDOM_CROP = 19,        /* draws nf_place */
    NF_RANDOM_ERASING = 20,     /* draws nf_erasing_draw */
    NF_RESIZE = 21,             /* draws nothing */
    NF_CENTER_CROP = 22,        /* draws nothing */
} nf_transform_kind;

typedef struct nf_range { /* a uniform distribution, or one value if low == high */
    double low, high;
} nf_range;

enum { NF_MAX_COLORS = 4 };
typedef struct nf_colors { /* one value for all channels (count 1), or one for each */
    uint8_t values[NF_MAX_COLORS];
    int32_t count;
} nf_colors;

typedef struct nf_transform {
    nf_transform_kind kind;
    double probability; /* of being applied, 0..1; only of those that draw whether they are */
    union {
        struct {
            int64_t height, width; /* of the result */
            nf_range scale;        /* the box's share of the image's area */
            nf_range ratio;        /* the box's width / height, log-uniform */
            nf_interpolation interpolation;
        } crop;
        struct { /* factors as in nf_adjust_...; a range that changes nothing (1..1, hue 0..0) leaves its step out */
            nf_range brightness, contrast, saturation, hue;
        } jitter;
        struct {
            int64_t kernel_height, kernel_width;
            nf_range sigma;
        } blur;
        struct {
            double threshold;
        } solarize;
        struct {
            int64_t bits;
        } posterize;
        struct {
            nf_range factor;
        } sharpness;
        struct {
            nf_range radius;
        } pillow_blur;
        struct {
            double mean;
            nf_range sigma;
        } noise;
        struct {
            int64_t height, width, fill;
        } cutout;
        struct {
            int64_t grid;
        } jigsaw;
        struct { /* about the middle, as nf_rotate; the size stays */
            nf_range degrees;
            nf_interpolation interpolation;
            nf_colors fill;
        } rotation;
        struct {
            nf_range degrees;
            double translate[2]; /* the largest shift in x and y, as a share of width and height */
            nf_range scale, shear_x, shear_y;
            nf_interpolation interpolation;
            nf_colors fill;
        } affine;
        struct {
            double distortion_scale; /* how far the corners may move, as a share of half the image */
            nf_interpolation interpolation;
            nf_colors fill;
        } perspective;
        struct {                   /* NF_RANDOM_CROP, NF_CENTER_CROP */
            int64_t height, width; /* of the result */
            nf_padding padding;    /* before the crop */
            nf_colors fill;
        } window;
        struct {
            nf_range scale; /* the box's share of the image's area */
            nf_range ratio; /* the box's height / width, log-uniform */
            nf_colors value;
        } erasing;
        struct {
            int64_t height, width; /* width 0: the shorter side becomes `height`, the other one keeps the ratio */
            nf_interpolation interpolation;
        } resize;
    };
} nf_transform;

typedef struct nf_switch {
    uint8_t applied, unused[7];
} nf_switch;

typedef struct nf_jitter_draw {
    double brightness, contrast, saturation, hue;
    uint8_t applied, order[4], unused[3]; /* order: a permutation of 0 brightness, 1 contrast, 2 saturation, 3 hue */
} nf_jitter_draw;

typedef struct nf_blur_draw {
    double sigma;
    uint8_t applied, unused[7];
} nf_blur_draw;

typedef struct nf_sharpness_draw {
    double factor;
    uint8_t applied, unused[7];
} nf_sharpness_draw;

typedef struct nf_pillow_blur_draw {
    double radius;
    uint8_t applied, unused[7];
} nf_pillow_blur_draw;

typedef struct nf_noise_draw {
    double sigma;
    uint64_t seed; /* the noise is that of nf_gaussian_noise with this seed and index 0 */
    uint8_t applied, unused[7];
} nf_noise_draw;

typedef struct nf_cutout_draw {
    int32_t y, x;
    uint8_t applied, unused[7];
} nf_cutout_draw;

typedef struct nf_jigsaw_draw {
    uint8_t order[NF_MAX_GRID * NF_MAX_GRID]; /* the first grid * grid of them */
    uint8_t applied, unused[7];
} nf_jigsaw_draw;

typedef struct nf_rotation_draw {
    double angle; /* degrees, counter-clockwise */
} nf_rotation_draw;

typedef struct nf_affine_draw { /* as nf_affine */
    double angle, scale, shear_x, shear_y, translate_x, translate_y;
} nf_affine_draw;

typedef struct nf_perspective_draw {
    int32_t endpoints[8]; /* where the corners go: top left, top right, bottom right, bottom left; x, y */
    uint8_t applied, unused[7];
} nf_perspective_draw;

typedef struct nf_place { /* the corner of a crop in the padded image */
    int32_t top, left;
} nf_place;

typedef struct nf_erasing_draw {
    nf_box box;
    uint8_t applied, unused[7];
} nf_erasing_draw;

typedef struct nf_recipe {
    const nf_transform *transforms;
    int64_t count, views, channels;
    nf_pixel_type pixel_type;
    int64_t first_view;       /* draws depend on a view's number: first_view, first_view + 1, ... */
    const double *mean, *std; /* (channels): views of floats are normalised as by nf_normalize */
} nf_recipe;

typedef enum nf_view_type {
    NF_VIEW_FLOATS = 0, /* float, normalised */
    NF_VIEW_BYTES = 1,  /* uint8_t, 0..255 */
} nf_view_type;

typedef enum nf_view_layout {
    NF_VIEW_NHWC = 0, /* (views, count, height, width, channels) */
    NF_VIEW_NCHW = 1, /* (views, count, channels, height, width) */
} nf_view_layout;

typedef struct nf_image {
    const void *pixels; /* (height, width, channels) of the recipe's pixel_type */
    int64_t height, width;
} nf_image;

enum { NF_MAX_TRANSFORMS = 64, NF_MAX_VIEWS = 4096 };

/* Whether the values of one transform are in range, apart from what depends on images. */
nf_status nf_transform_check(const nf_transform *transform);

/* Bytes of a recipe's record. The recipe has valid kinds. */
size_t nf_recipe_record_size(const nf_recipe *recipe);

/* Height and width of the views made of an image of the given size. */
nf_status nf_recipe_view_size(int64_t *height, int64_t *width, const nf_recipe *recipe, int64_t image_height,
                              int64_t image_width);

/* Draws records: (views, count) records for `count` samples; `images` gives their sizes only; `indices` (count) are the
 * samples' indices in their dataset. The crop makes up to ten tries to fit a box, then takes the largest box of allowed
 * ratio in the centre. Source: Chen et al., "A simple framework for contrastive learning of visual representations",
 * 2020, appendix A; torchvision's transforms. */
nf_status nf_recipe_sample(void *records, const nf_recipe *recipe, const nf_image *images, const int64_t *indices,
                           int64_t count, uint64_t seed, uint32_t epoch);

/* Makes the views that records describe, in an array of the given type and layout. Records are checked: those that were
 * not drawn for these images are errors if they can't be carried out. All views must have the same size.
 *
 * Images of uint16_t or float become float views, all in single precision, nothing rounded on the way: by the same
 * draws and geometry as bytes, and the formulas of torchvision's transforms of float tensors; white is 65535 or 1, and
 * fills and thresholds, 0..255, are scaled to that. Results of brightness, contrast, saturation, hue, sharpness,
 * autocontrast and noise are clamped to black and white, others are not. NF_POSTERIZE, NF_EQUALIZE and NF_PILLOW_BLUR
 * need bytes. Float pixels must be finite. */
nf_status nf_recipe_apply(void *views, nf_view_type type, nf_view_layout layout, const nf_recipe *recipe,
                          const nf_image *images, const void *records, int64_t count);

#endif
